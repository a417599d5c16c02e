"""Does `tosg signal` find a pathway that differs between two groups of donors, and nothing else?

Real counts (PBMC 3k, 2,700 cells) are dealt out to 10 donors against 10, who differ in size, depth, shares of cell
types and, gene by gene, in abundance (log-normal). In the cases, 30 % of the expressed members of one pathway of
WikiPathways have a log2 fold change of 0.5: counts are thinned binomially or joined by Poisson counts, so that they
stay counts. Each of 100 seeds deals anew, and plants in another pathway of at least 20 such members. Every seed is a
bundle, written as an export writes it, that `signal_findings.find` reads; nothing needs a server.

A found pathway is *true* if one of its measured members was planted, for it does differ then. By the *strict* count
only the planted pathway is, and those of whose measured members at least 20 % were planted. *Leading* are those that no
stronger pathway explains.

Seeds from 2000 on were for development; those of the figures, from 5000 on, were looked at once, with all settings
fixed (20 from 4000 on, looked at before, tell rates to about 0.1 only). The recall that is aimed at is the power of 0.8
to which studies are commonly planned (Cohen 1988).

Peers on the same counts: a t-test of log1p CP10k per gene with cells as units, the same with donors as units, and of
the genes that each finds, pathways by the hypergeometric test; all with Benjamini and Hochberg's rate at 0.1.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pyarrow as pa
from scipy import stats
from scipy.sparse import csr_array

SEEDS, FIRST, FIRST_NULL = 100, 5_000, 5_100
RECALL = 0.8
DONORS = 10  # of each arm
RATE = 0.1
SHARE, LOG2_FOLD_CHANGE = 0.3, 0.5
DONOR_SD = {"main": 0.2, "noisy donors": 0.3}  # of the natural logarithm of a gene's abundance
SIZE_SD, DEPTH_SD, TYPE_SD = 0.3, 0.2, 0.3  # of a donor's cells, depth, and share of each cell type
EXPRESSED, MEMBERS = 0.1, (20, 200)  # share of cells with a count; so many such members a pathway has
STRICT = 0.2
SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@dataclass(frozen=True)
class Source:
    """Cells and knowledge that every seed starts from."""

    data: Path

    @cached_property
    def cells(self) -> Any:
        """Counts and cell types, as published."""
        import anndata

        return anndata.read_h5ad(self.data / "cells" / "pbmc3k.h5ad")

    @cached_property
    def counts(self) -> Any:
        """int64 ``(cells, genes)``, genes in the order of `genes`."""
        return csr_array(self.cells.X).astype(np.int64)[:, self.columns]

    @cached_property
    def types(self) -> Any:
        """Cell type of each cell."""
        return self.cells.obs["cell_type"].astype(str).to_numpy()

    @cached_property
    def genes(self) -> list[tuple[str, str]]:
        """HGNC id and symbol of each measured gene, sorted by id."""
        return sorted((id_, symbol) for id_, (symbol, _) in self._resolved.items())

    @cached_property
    def columns(self) -> list[int]:
        """Column of each gene in the file."""
        return [self._resolved[id_][1] for id_, _ in self.genes]

    @cached_property
    def _resolved(self) -> dict[str, tuple[str, int]]:
        rows = self._parsed("hgnc").nodes[0].data.to_pylist()
        named = {row["symbol"]: row for row in rows}
        for row in rows:
            for old in row["previous_symbols"] or []:
                named.setdefault(old, row)
        found: dict[str, tuple[str, int]] = {}
        for column, symbol in enumerate(self.cells.var_names):
            if row := named.get(symbol):
                found.setdefault(row["id"], (row["symbol"], column))
        return found

    @cached_property
    def pathways(self) -> dict[tuple[str, str], list[int]]:
        """Id and name of each pathway -> measured genes in it."""
        rows = self._parsed("hgnc").nodes[0].data.to_pylist()
        ncbi = {x: row["id"] for row in rows for x in row["xrefs"] or [] if x.startswith("NCBIGene")}
        place = {id_: k for k, (id_, _) in enumerate(self.genes)}
        parsed = self._parsed("wikipathways")
        names = {row["id"]: row["name"] for row in parsed.nodes[0].data.to_pylist()}
        found: dict[tuple[str, str], set[int]] = {}
        for row in parsed.edges[0].data.to_pylist():
            gene = place.get(ncbi.get(row["subject"], ""))
            if gene is not None:
                found.setdefault((row["object"], names[row["object"]]), set()).add(gene)
        return {key: sorted(found[key]) for key in sorted(found)}

    @cached_property
    def signals(self) -> list[tuple[int, int, str, int]]:
        """Genes, verb and sign: curated steps, and ligands with receptors through the genes that encode them."""
        place = {id_: k for k, (id_, _) in enumerate(self.genes)}
        gene = {e["object"]: e["subject"] for e in self._parsed("hgnc").edges[0].data.to_pylist()}
        found = set()
        for row in self._parsed("signaling").edges[0].data.to_pylist():
            found.add((row["subject"], row["object"], "SIGNALS_TO", row["sign"]))
        for row in self._parsed("liana").edges[0].data.to_pylist():
            found.add((gene.get(row["subject"]), gene.get(row["object"]), "LIGAND_OF", 0))
        known = [(s, t, v, sign) for s, t, v, sign in found if s in place and t in place and s != t]
        return sorted((place[s], place[t], v, sign) for s, t, v, sign in known)

    def _parsed(self, key: str) -> Any:
        from loaders import LOADERS
        from tosg_graph.downloads import fetch
        from tosg_graph.settings import read_settings

        settings = read_settings()
        mirror = settings.mirror or (self.data / "kg" if (self.data / "kg").is_dir() else None)
        return LOADERS[key].parse(fetch(LOADERS[key].SOURCE, replace(settings, mirror=mirror)))


@dataclass(frozen=True)
class Cohort:
    """Cells of simulated donors."""

    counts: Any  # (cells, genes)
    donor: Any  # (cells,)
    case: Any  # bool (donors,)
    pathway: tuple[str, str]
    planted: list[int]  # genes


def simulate(source: Source, seed: int, donor_sd: float, fold_change: float = LOG2_FOLD_CHANGE) -> Cohort:
    """Deal the cells out and plant a difference; of 0 where nothing is to be found."""
    rng = np.random.default_rng(seed)
    count = 2 * DONORS
    donor = np.empty(len(source.types), np.int64)
    size = rng.lognormal(0, SIZE_SD, count)
    for name in np.unique(source.types):
        weight = size * rng.lognormal(0, TYPE_SD, count)
        at = np.flatnonzero(source.types == name)
        donor[at] = rng.choice(count, len(at), p=weight / weight.sum())
    case = np.zeros(count, np.bool_)
    case[rng.permutation(count)[:DONORS]] = True
    expressed = np.asarray((source.counts > 0).mean(axis=0)).ravel() >= EXPRESSED
    members = {key: [g for g in genes if expressed[g]] for key, genes in source.pathways.items()}
    fitting = [key for key, genes in members.items() if MEMBERS[0] <= len(genes) <= MEMBERS[1]]
    pathway = fitting[rng.integers(len(fitting))]
    planted = rng.choice(members[pathway], int(np.ceil(SHARE * len(members[pathway]))), replace=False)
    effect = rng.normal(0, donor_sd, (count, source.counts.shape[1]))
    effect[np.ix_(case, planted)] += fold_change * np.log(2)
    factor = np.exp(effect) * rng.lognormal(0, DEPTH_SD, count)[:, None]
    counts = source.counts.tocoo()
    scale = factor[donor[counts.row], counts.col]
    changed = rng.binomial(counts.data, np.minimum(scale, 1)) + rng.poisson(
        counts.data * np.maximum(scale - 1, 0)
    )
    matrix = csr_array((changed, (counts.row, counts.col)), shape=counts.shape)
    return Cohort(matrix, donor, case, pathway, sorted(planted.tolist()))


def write(source: Source, cohort: Cohort, out: Path) -> None:
    """Write the cohort as a bundle."""
    from tosg_graph.export import Measured, write_bundle
    from tosg_graph.types import StoreVersion

    cells = len(cohort.donor)
    ids = [f"cell-{k:05d}" for k in range(cells)]
    selection, axis = _selection(source)
    table = pa.table(
        {
            "cell_id": ids,
            "dataset": ["pbmc3k"] * cells,
            "barcode": ids,
            "donor": [f"donor{d:02d}" for d in cohort.donor],
            "group": np.where(cohort.case[cohort.donor], "case", "control").tolist(),
            "n_counts": pa.array(np.asarray(cohort.counts.sum(axis=1)).ravel().astype(np.int64)),
        }
    )
    nodes = len(selection.nodes)
    measured = Measured(
        cells=table,
        axis=axis,
        counts=lambda wanted, columns: cohort.counts[[int(c[5:]) for c in wanted]][:, list(columns)].astype(
            np.int32
        ),
        version=StoreVersion(cells=0, counts=0, axis=0, axis_sha256="00" * 32),
        text=np.zeros((nodes, 1), np.float32),
        text_mask=np.zeros(nodes, np.bool_),
        encoder="none",
        release="planted",
    )
    write_bundle(selection, measured, cohort="true", label="group", out=out)


def _selection(source: Source) -> Any:
    from tosg_graph.types import Selection

    genes, pathways = source.genes, list(source.pathways)
    nodes = pa.table(
        {
            "id": [id_ for id_, _ in [*genes, *pathways]],
            "type": ["Gene"] * len(genes) + ["Pathway"] * len(pathways),
            "labels": pa.array(
                [["Gene"]] * len(genes) + [["Pathway"]] * len(pathways), pa.list_(pa.string())
            ),
            "name": [name for _, name in [*genes, *pathways]],
        }
    )
    members = [(g, len(genes) + k) for k, key in enumerate(pathways) for g in source.pathways[key]]
    edges = {("Gene", "PARTICIPATES_IN", "Pathway"): _edges([(*pair, 0) for pair in sorted(members)])}
    for verb in sorted({verb for *_, verb, _ in source.signals}):
        edges["Gene", verb, "Gene"] = _edges([(s, t, sign) for s, t, v, sign in source.signals if v == verb])
    axis = pa.table(
        {
            "column": pa.array(range(len(genes)), pa.int32()),
            "feature": [symbol for _, symbol in genes],
            "gene_id": [id_ for id_, _ in genes],
        }
    )
    return Selection(nodes, edges, "planted", {}), axis


def _edges(rows: list[tuple[int, int, int]]) -> pa.Table:
    sources, targets, signs = (list(column) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "source_row": pa.array(sources, pa.int64()),
            "target_row": pa.array(targets, pa.int64()),
            "source": pa.array(["file"] * len(rows)).dictionary_encode(),
            "edge_key": pa.array(range(len(rows)), pa.int64()),
            "sign": pa.array(signs, pa.int64()),
        }
    )


# --------------------------------------------------------------------------- what each method finds


def ours(bundle: Path) -> Any:
    from tosg_graph.signal_findings import SignalPlan, find
    from tosg_graph.signal_scores import Contrast

    return find(bundle, SignalPlan(Contrast("group", "case", "control"), fdr=RATE))


def peers(source: Source, cohort: Cohort) -> dict[str, tuple[set[str], set[str]]]:
    """Genes and pathways that plain tests find."""
    totals = np.asarray(cohort.counts.sum(axis=1)).ravel()
    rows = np.repeat(np.arange(len(totals)), np.diff(cohort.counts.indptr))
    logs = csr_array(
        (
            np.log1p(cohort.counts.data * 1e4 / np.maximum(totals[rows], 1)),
            cohort.counts.indices,
            cohort.counts.indptr,
        ),
        shape=cohort.counts.shape,
    ).toarray()
    cases = cohort.case[cohort.donor]
    seen = np.flatnonzero((logs > 0).mean(axis=0) >= 0.01)
    means = np.stack([logs[cohort.donor == d].mean(axis=0) for d in range(2 * DONORS)])
    found = {}
    for name, values, arm in (("cells", logs, cases), ("donors", means, cohort.case)):
        p = stats.ttest_ind(values[arm][:, seen], values[~arm][:, seen], equal_var=False).pvalue
        genes = {int(g) for g in seen[stats.false_discovery_control(np.nan_to_num(p, nan=1.0)) <= RATE]}
        found[name] = ({source.genes[g][0] for g in genes}, _enriched(source, genes, set(seen.tolist())))
    return found


def _enriched(source: Source, genes: set[int], seen: set[int]) -> set[str]:
    keys, p = [], []
    for (id_, _), members in source.pathways.items():
        own = seen & set(members)
        if 5 <= len(own) <= 500:
            keys.append(id_)
            p.append(stats.hypergeom.sf(len(own & genes) - 1, len(seen), len(genes), len(own)))
    rates = stats.false_discovery_control(p)
    return {key for key, rate in zip(keys, rates, strict=True) if rate <= RATE}


# --------------------------------------------------------------------------- figures


@dataclass
class Tally:
    """What a method found over the seeds."""

    recalled: list[float]
    false: list[float]
    strictly_false: list[float]
    genes_found: list[float]
    genes_false: list[float]
    leading: list[float] = field(default_factory=list)
    leading_strictly_false: list[float] = field(default_factory=list)

    def figures(self, prefix: str = "") -> dict[str, float]:
        """Means over the seeds."""
        names: dict[str, list[float]] = {
            "recall": self.recalled,
            "false_discovery_rate": self.false,
            "false_discovery_rate_strict": self.strictly_false,
            "gene_recall": self.genes_found,
            "gene_false_discovery_rate": self.genes_false,
        }
        if self.leading:
            names["leading_recall"] = self.leading
            names["leading_false_discovery_rate_strict"] = self.leading_strictly_false
        means = {f"{prefix}{name}": float(np.mean(values)) for name, values in names.items()}
        errors = {
            f"{prefix}{name}_standard_error": float(np.std(names[name], ddof=1) / np.sqrt(len(names[name])))
            for name in ("recall", "false_discovery_rate")
        }
        return means | errors


def tally() -> Tally:
    return Tally([], [], [], [], [])


def count(
    into: Tally,
    source: Source,
    cohort: Cohort,
    genes: set[str],
    found: set[str],
    same: Mapping[str, str],
    leading: set[str] | None = None,
) -> None:
    planted = {source.genes[g][0] for g in cohort.planted}
    members = {id_: {source.genes[g][0] for g in own} for (id_, _), own in source.pathways.items()}
    goal = same.get(cohort.pathway[0], cohort.pathway[0])
    false = [id_ for id_ in found if not members[id_] & planted]
    weak = [id_ for id_ in found if id_ != goal and len(members[id_] & planted) < STRICT * len(members[id_])]
    into.recalled.append(goal in found)
    into.false.append(len(false) / max(1, len(found)))
    into.strictly_false.append(len(weak) / max(1, len(found)))
    if leading is not None:
        into.leading.append(goal in leading)
        into.leading_strictly_false.append(len(leading & set(weak)) / max(1, len(leading)))
    into.genes_found.append(len(genes & planted) / len(planted))
    into.genes_false.append(len(genes - planted) / max(1, len(genes)))


def one(source: Source, work: Path, seed: int, sd: float, tallies: dict[str, Tally]) -> float:
    """Do one seed; returns seconds of ours."""
    import shutil

    cohort = simulate(source, seed, sd)
    folder = work / f"bundle-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    write(source, cohort, folder)
    start = time.perf_counter()
    found = ours(folder)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    same = {
        other: row["id"]
        for row in found.pathways.select(["id", "same_as"]).to_pylist()
        for other in row["same_as"]
    }
    table = found.pathways.filter(found.pathways["found"])
    pathways = set(table["id"].to_pylist())
    leading = set(table.filter(table["explained_by"].is_null())["id"].to_pylist())
    genes = set(found.nodes.filter(found.nodes["found"])["id"].to_pylist())
    count(tallies["ours"], source, cohort, genes, pathways, same, leading)
    for name, (own_genes, own_pathways) in peers(source, cohort).items():
        count(tallies[name], source, cohort, own_genes, own_pathways, {})
    return seconds


def null(source: Source, work: Path, seeds: range) -> dict[str, int]:
    """Findings where arms were dealt out without a difference."""
    import shutil

    kinds = ("pathways", "edges", "nodes")
    found = dict.fromkeys(("runs_with_any", *kinds, *(f"runs_with_{what}" for what in kinds)), 0)
    for seed in seeds:
        folder = work / f"null-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        write(source, simulate(source, seed, DONOR_SD["main"], fold_change=0), folder)
        tests = ours(folder).about["tests"]
        shutil.rmtree(folder)
        for what in kinds:
            found[what] += tests[what]["found"]
            found[f"runs_with_{what}"] += tests[what]["found"] > 0
        found["runs_with_any"] += any(tests[what]["found"] for what in kinds)
    return found


def measure(work: Path, share: float) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    source = Source(SHARED)
    small, seeds = share < 1, range(FIRST, FIRST + round(SEEDS * share))
    figures: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for setting, sd in DONOR_SD.items():
        if small and setting != "main":
            continue
        tallies = {"ours": tally(), "cells": tally(), "donors": tally()}
        # The harder setting is beside the point: a fifth of the seeds.
        chosen = seeds if setting == "main" else seeds[: len(seeds) // 5]
        seconds = [one(source, work, seed, sd, tallies) for seed in chosen]
        prefix = "" if setting == "main" else "noisy_"
        for name, value in tallies["ours"].figures(prefix).items():
            aim = {"recall": RECALL, "false_discovery_rate": RATE}.get(name)
            figures[name] = command_line.figure(value, "", aim)
        if not prefix:
            figures["seconds_per_comparison"] = command_line.figure(float(np.median(seconds)), "s")
        for peer in ("cells", "donors"):
            shown[f"t-test of {peer}, then hypergeometric{', noisy donors' if prefix else ''}"] = tallies[
                peer
            ].figures()
    empty = null(source, work, range(FIRST_NULL, FIRST_NULL + len(seeds)))
    figures["null_runs_with_findings"] = command_line.figure(empty["runs_with_any"] / len(seeds), "")
    for what in ("pathways", "edges", "nodes"):
        # Each kind has a rate of its own: where nothing differs, it is the share of runs with findings.
        figures[f"null_runs_with_{what}"] = command_line.figure(
            empty[f"runs_with_{what}"] / len(seeds), "", RATE
        )
        figures[f"null_{what}_found"] = command_line.figure(empty[what], "")
    return {
        "name": "planted_signal",
        "machine": command_line.machine(),
        "figures": figures,
        "peers": shown,
    }


if __name__ == "__main__":
    command_line.run(__doc__, "planted_signal", (0.03, "three seeds, the main setting"), measure)
