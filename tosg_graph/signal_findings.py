"""Findings: what differs between two groups of cells of a bundle, as tables and in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.bundle_content import BundleContent
from tosg_graph.diagnostics import compare
from tosg_graph.donor_tests import NULLS, FeatureTests, Null, compare_features, compare_sets, errors
from tosg_graph.errors import SignalError
from tosg_graph.gene_relations import Owners, stated
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress, silent
from tosg_graph.signal_overlap import explained_by
from tosg_graph.signal_scores import Contrast, Scores, activity

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

FORMAT_VERSION = 1
SMALLEST, LARGEST = 10, 500  # tested members of a pathway
LEADING = 1.0  # deviation from which a member leads its pathway


@dataclass(frozen=True)
class SignalPlan:
    """How two groups of cells are compared.

    Parameters
    ----------
    contrast
        The groups.
    permutations
        Of arms among donors, at first; pathways that few of them reach get up to 100 times as many.
    fdr
        Rate of false discoveries up to which something is found.
    top
        Most edges of the subgraph.
    null
        ``permutation`` of donors, or ``rotation``, which needs normal values and few donors.
    """

    contrast: Contrast
    permutations: int = 1_000
    fdr: float = 0.1
    top: int = 50
    seed: int = 0
    null: Null = "permutation"

    def check(self) -> None:
        """Raise `SignalError` where a number is out of bounds."""
        if self.permutations < 100:
            raise SignalError(f"permutations={self.permutations} is below 100: no p would be small enough.")
        if not 0 < self.fdr < 1:
            raise SignalError(f"fdr={self.fdr} is not between 0 and 1. 0.1 allows one false finding in ten.")
        if self.top < 1:
            raise SignalError(f"top={self.top} is below 1. A picture needs an edge.")
        if self.seed < 0:
            raise SignalError(f"seed={self.seed} is below 0.")
        if self.null not in NULLS:
            raise SignalError(f"null={self.null!r} is unknown; choose {' or '.join(NULLS)}.")


@dataclass(frozen=True)
class Findings:
    """What was found.

    Parameters
    ----------
    about
        Content of ``findings.json``.
    nodes, edges, pathways
        All that was tested, the smallest p first; ``found`` tells what is below the rate.
    subgraph
        ``source``, ``target``, ``verb``, ``sign``, and which pathway: the edges of the picture.
    """

    about: dict[str, Any]
    nodes: pa.Table
    edges: pa.Table
    pathways: pa.Table
    subgraph: pa.Table

    @property
    def run_id(self) -> str:
        """What the run is called in the graph: a hash of what was compared and how."""
        return str(self.about["run"])

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        said, units = self.about, self.about["units"]
        pairs = " in pairs" if units["paired"] else ""
        arms = " against ".join(f"{arm['donors']} donors of {arm['name']}" for arm in units["arms"])
        tests = said["tests"]
        facts = {
            "compared": f"{arms}{pairs}, {sum(arm['cells'] for arm in units['arms']):,} cells",
            **{
                f"{what} found": f"{tests[what]['found']:,} of {tests[what]['tested']:,} at a rate of {said['fdr']:g}"
                for what in ("pathways", "edges", "nodes")
            },
            "left out": "; ".join(f"{n:,} {why}" for why, n in sorted(said["left_out"].items())) or "nothing",
            "verdict": f"{said['verdict']}{''.join('; ' + reason for reason in said['reasons'])}",
        }
        if explained := said["pathways_explained_by_others"]:
            facts["pathways found"] += f"; {explained:,} of them differ only where a stronger one does"
        if said["notes"]:
            facts["to know"] = "; ".join(said["notes"])
        return facts


def find(folder: str | Path, plan: SignalPlan, *, store: Any = None, progress: Progress = silent) -> Findings:
    """Compare two groups of cells of a bundle.

    Raises
    ------
    SignalError
        If the plan does not fit the bundle.
    BundleError
        If the bundle is damaged.
    """
    plan.check()
    scores = activity(folder, plan.contrast, store=store, progress=progress)
    return judge(BundleContent.open(folder), scores, plan, score="activity", progress=progress)


def judge(
    content: BundleContent, scores: Scores, plan: SignalPlan, *, score: str, progress: Progress = silent
) -> Findings:
    """Test scores and say what was found."""
    design = scores.units.design
    options: dict[str, Any] = {"permutations": plan.permutations, "seed": plan.seed, "null": plan.null}
    progress("Testing", 0, 3)
    nodes = compare_features(design, scores.values, **options)
    progress("Testing", 1, 3)
    edges = compare_features(design, scores.edge_values, **options)
    progress("Testing", 2, 3)
    rows, members = pathway_members(content, scores.nodes)
    pathways = compare_sets(design, scores.values, members, **options)
    found = np.flatnonzero(pathways.q <= plan.fdr)
    strongest = found[_order(pathways.p[found], pathways.score[found])].tolist()
    explained = explained_by(design, scores.values, members, strongest, **options)
    progress("Testing", 3, 3)
    tables = {
        "nodes": _node_table(content, scores, nodes, plan),
        "edges": _edge_table(content, scores, edges, plan),
        "pathways": _pathway_table(content, scores, nodes, (rows, members, pathways, explained), plan),
    }
    about = _about(content, scores, plan, score, tables)
    return Findings(about, **tables, subgraph=_subgraph(tables, plan))


# --------------------------------------------------------------------------- tables


def pathway_members(
    content: BundleContent, nodes: NDArray[np.int64]
) -> tuple[list[list[int]], csr_array[Any, Any]]:
    """Return which tested nodes take part in which pathways.

    A protein that was not measured stands for the genes that encode it. Pathways with the same tested members are one.

    Returns
    -------
    rows of the pathways of each set, and 1.0 ``(W, F)`` where a node is a member.
    """
    from scipy.sparse import csr_array

    tables = dict(content.edges())
    owners = Owners.of(nodes, len(content.nodes), tables)
    pairs = [np.empty((2, 0), np.int64)]
    for (_, verb, target), table in sorted(tables.items()):
        if verb == "PARTICIPATES_IN" and target == "Pathway":
            said = stated(table)
            at, member = owners.expand(said["source_row"].to_numpy())
            pairs.append(np.stack([said["target_row"].to_numpy()[at], member]))
    every = np.unique(np.concatenate(pairs, axis=1), axis=1)
    same: dict[tuple[int, ...], list[int]] = {}
    starts = np.flatnonzero(np.diff(every[0], prepend=-1))
    for start, end in zip(starts, [*starts[1:], every.shape[1]], strict=True):
        if SMALLEST <= end - start <= LARGEST:
            same.setdefault(tuple(every[1, start:end].tolist()), []).append(int(every[0, start]))
    sizes = [len(members) for members in same]
    indices = np.array([m for members in same for m in members], np.int64)
    pointer = np.cumsum([0, *sizes])
    return list(same.values()), csr_array(
        (np.ones(len(indices)), indices, pointer), shape=(len(same), len(nodes))
    )


def _arm_means(scores: Scores, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    case = scores.units.design.case
    return {"mean_case": values[case].mean(axis=0), "mean_control": values[~case].mean(axis=0)}


def _tested(found: FeatureTests, plan: SignalPlan) -> dict[str, Any]:
    return {"error": found.error, "t": found.t, "p": found.p, "q": found.q, "found": found.q <= plan.fdr}


def _node_table(content: BundleContent, scores: Scores, found: FeatureTests, plan: SignalPlan) -> pa.Table:
    import pyarrow as pa

    picked = content.nodes.take(scores.nodes)
    columns: dict[str, Any] = {name: picked[name] for name in ("id", "name", "type")}
    columns |= _arm_means(scores, scores.values) | {"difference": found.difference}
    case = scores.units.design.case
    columns |= {"fraction_case": scores.fractions[case].mean(axis=0)}
    columns |= {"fraction_control": scores.fractions[~case].mean(axis=0)}
    return _sorted(pa.table(columns | _tested(found, plan)))


def _edge_table(content: BundleContent, scores: Scores, found: FeatureTests, plan: SignalPlan) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for end in ("source", "target"):
        picked = content.nodes.take(scores.edges[f"{end}_row"])
        columns |= {f"{end}_id": picked["id"], f"{end}_name": picked["name"], f"{end}_type": picked["type"]}
    for name in ("verb", "sign", "sources", "edge_keys", "publications"):
        columns[name] = scores.edges[name]
    columns |= _arm_means(scores, scores.edge_values) | {"difference": found.difference}
    return _sorted(pa.table(columns | _tested(found, plan)))


def _pathway_table(
    content: BundleContent, scores: Scores, nodes: FeatureTests, tested: Any, plan: SignalPlan
) -> pa.Table:
    import pyarrow as pa

    rows, members, found, explained = tested
    names, ids = content.nodes["name"].to_pylist(), content.nodes["id"].to_pylist()
    genes = [ids[row] for row in scores.nodes.tolist()]
    leading, sizes, up = [], np.diff(members.indptr), []
    for at, kind in enumerate(found.kind):
        own = members.indices[members.indptr[at] : members.indptr[at + 1]]
        t = nodes.t[own]
        wanted = {"up": t, "down": -t, "mixed": np.abs(t)}[kind]
        order = own[np.argsort(-wanted, kind="stable")][: int((wanted > LEADING).sum())]
        leading.append([genes[k] for k in order.tolist()])
        up.append(float(nodes.difference[own].mean()))
    columns = {
        "id": [ids[group[0]] for group in rows],
        "name": [names[group[0]] for group in rows],
        "same_as": pa.array([[ids[row] for row in group[1:]] for group in rows], pa.list_(pa.string())),
        "tested": pa.array(sizes, pa.int64()),
        "difference": pa.array(up, pa.float64()),
        "error": errors(scores.units.design, scores.values @ members.T / sizes),
        "kind": pa.array(found.kind, pa.string()),
        "score": found.score,
        "p": found.p,
        "q": found.q,
        "permutations": found.draws,
        "found": found.q <= plan.fdr,
        "explained_by": pa.array(
            [ids[rows[explained[k]][0]] if k in explained else None for k in range(len(rows))], pa.string()
        ),
        "leading": pa.array(leading, pa.list_(pa.string())),
    }
    table = _sorted(pa.table(columns), "score")
    # Those that others explain come after all others that were found.
    place = (
        2 - table["found"].to_numpy() - table["explained_by"].is_null().to_numpy() * table["found"].to_numpy()
    )
    return table.take(np.argsort(place, kind="stable"))


def _sorted(table: pa.Table, by: str = "t") -> pa.Table:
    """Smallest p first, then what is farther from the null, then by place."""
    return table.take(_order(table["p"].to_numpy(), np.abs(table[by].to_numpy())))


def _order(p: NDArray[np.floating[Any]], score: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    return np.lexsort((-score, p))


def _subgraph(tables: Mapping[str, pa.Table], plan: SignalPlan) -> pa.Table:
    """Edges that were found, then those between leading members of pathways that were found; ``top`` at most."""
    import pyarrow as pa

    edges, pathways = tables["edges"], tables["pathways"]
    shown = pathways.filter(pathways["found"])
    where: dict[str, list[str]] = {}
    for name, ids in zip(shown["id"].to_pylist(), shown["leading"].to_pylist(), strict=True):
        for node in ids:
            where.setdefault(node, []).append(name)
    sources, targets = edges["source_id"].to_pylist(), edges["target_id"].to_pylist()
    shared = [
        next((p for p in where.get(s, []) if p in where.get(t, [])), None)
        for s, t in zip(sources, targets, strict=True)
    ]
    found = edges["found"].to_pylist()
    chosen = [k for k in range(len(edges)) if found[k]][: plan.top]
    rest = [k for k in range(len(edges)) if not found[k] and shared[k]]
    chosen += rest[: plan.top - len(chosen)]
    picked = edges.take(pa.array(chosen, pa.int64()))
    return picked.append_column("pathway", pa.array([shared[k] for k in chosen], pa.string()))


# --------------------------------------------------------------------------- what is said


def _about(
    content: BundleContent,
    scores: Scores,
    plan: SignalPlan,
    score: str,
    tables: Mapping[str, pa.Table],
) -> dict[str, Any]:
    found = scores.units
    cells = _cells_with_arms(content, scores, plan.contrast)
    judged = compare(cells, defining=_defining(plan.contrast))
    settings = {**asdict(plan), "score": score, **scores.network}
    manifest = sha256_of(content.folder / bundle.MANIFEST)
    return {
        "format_version": FORMAT_VERSION,
        "run": _run_id(settings, manifest),
        **{
            name: settings[name]
            for name in ("contrast", "score", "permutations", "fdr", "top", "seed", "null")
        },
        "network": dict(scores.network),
        "bundle": {
            "manifest_sha256": manifest,
            "graph_release": content.manifest["graph_release"],
            "cells": content.manifest["cells"],
            "query": content.manifest["query"],
        },
        "units": {
            "paired": found.paired,
            "donors": found.table.to_pylist(),
            "arms": [_arm(found.table, name) for name in plan.contrast.arms],
            "permutations_possible": min(found.design.permutations, 2**53),
        },
        "left_out": {**{f"cells {why}": n for why, n in found.left_out.items()}, **scores.left_out},
        "verdict": judged["verdict"],
        "reasons": judged["reasons"],
        "notes": [*judged["notes"], *scores.notes, *_notes(found, plan, tables)],
        "tests": {
            name: {"tested": len(table), "found": sum(table["found"].to_pylist())}
            for name, table in sorted(tables.items())
        },
        "pathways_explained_by_others": len(tables["pathways"])
        - tables["pathways"]["explained_by"].null_count,
        "software": {name: version(name) for name in ("tosg-graph", "numpy", "scipy", "pyarrow")},
    }


def _run_id(settings: Mapping[str, Any], manifest: str) -> str:
    said = json.dumps([settings, manifest], sort_keys=True)
    return f"signal_{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _arm(table: pa.Table, name: str) -> dict[str, Any]:
    import pyarrow.compute as pc

    mine = table.filter(pc.equal(table["arm"], name))
    return {"name": name, "donors": len(mine), "cells": int(np.sum(mine["cells"].to_numpy()))}


def _cells_with_arms(content: BundleContent, scores: Scores, contrast: Contrast) -> pa.Table:
    """Cells that were compared, with the column ``arm`` as diagnostics call it, and the donor as they take it."""
    import pyarrow as pa

    row = scores.units.row
    cells = content.cells.filter(pa.array(row >= 0))
    arm = np.where(scores.units.design.case, "case", "control")[row[row >= 0]]
    cells = _with(cells, "arm", pa.array(arm.tolist()))
    donors = scores.units.table["donor"].take(row[row >= 0])
    return _with(cells, "donor", donors.combine_chunks())


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    if name in table.column_names:
        table = table.drop_columns([name])
    return table.append_column(name, values)


def _defining(contrast: Contrast) -> list[str]:
    stem = contrast.by.removesuffix("_id").removesuffix("_raw")
    return [stem, f"{stem}_id", f"{stem}_raw", "label", "label_index"]


def _notes(units: Any, plan: SignalPlan, tables: Mapping[str, pa.Table]) -> list[str]:
    ways, count = units.design.permutations, len(tables["pathways"])
    notes = []
    if plan.null == "permutation" and count and 1 / ways > plan.fdr / count:
        notes.append(
            f"there are {ways:,} ways to permute the donors, so no p of a pathway is below {1 / ways:.2g}: with "
            f"{count:,} pathways few can be found; more donors help, or --null rotation, which assumes normal values"
        )
    if not count:
        notes.append(
            f"no pathway has {SMALLEST} to {LARGEST} tested members: export pathways and PARTICIPATES_IN with the genes"
        )
    if not len(tables["edges"]):
        notes.append("no edge joins two tested nodes: export SIGNALS_TO, LIGAND_OF or INTERACTS_WITH")
    return notes
