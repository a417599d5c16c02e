"""Abundance of transcripts and proteins, gathered from genes along the graph: which gene gives which node how much.

Counts stay per gene. A bundle says beside them how those of a picked transcript or protein come out of its genes', also
where these genes are no nodes of the bundle.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.bundle_features import NO_PROTEIN_COUNTS, Joined
from tosg_graph.errors import ExportError
from tosg_graph.layers import GENE
from tosg_graph.measured_features import MeasuredFeatures
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph
    from tosg_graph.licences import Allowed

COPY, SHARE, SUM, MEAN, MAX = "copy", "share", "sum", "mean", "max"
POLICIES = {
    "transcript": (COPY, SHARE),
    "protein": (SUM, MEAN, MAX),
}  # the first one is what goes without saying
TYPES = {"transcript": "Transcript", "protein": "Protein"}
ROUTES = {"Transcript": ("gather_transcribed",), "Protein": ("gather_encoded", "gather_translated")}
ALONG = {
    "Transcript": ["TRANSCRIBED_TO"],
    "Protein": ["ENCODES", "TRANSCRIBED_TO, TRANSLATED_TO"],
}  # as manifests state them
ORDER = "raw counts are gathered, then normalised by n_counts of the cell"
CHUNK = 10_000  # nodes per statement


@dataclass(frozen=True)
class Levels:
    """What gets abundance beside genes.

    Parameters
    ----------
    policies
        Node type -> policy: ``Transcript`` -> ``copy`` or ``share``, ``Protein`` -> ``sum``, ``mean`` or ``max``.
    allowed
        What a filter by source and licence lets through; other relationships are not followed.
    """

    policies: Mapping[str, str] = field(default_factory=dict)
    allowed: Allowed | None = None


@dataclass(frozen=True)
class Links:
    """Genes of picked nodes.

    Parameters
    ----------
    policies
        As of `Levels`.
    table
        ``node_row`` (int64), ``gene_id``; each pair once, sorted.
    """

    policies: Mapping[str, str]
    table: pa.Table


@dataclass(frozen=True)
class Gathered:
    """What a bundle says of gathered abundance.

    Parameters
    ----------
    joined
        Genes, those of them that are no nodes apart.
    tensors
        Content of ``gather.safetensors``.
    facts
        The manifest's ``gather``.
    """

    joined: Joined
    tensors: dict[str, NDArray[Any]]
    facts: dict[str, Any]

    @property
    def rows(self) -> NDArray[np.int64]:
        """Nodes that have gathered abundance."""
        return np.unique(self.tensors["node_row"])

    def write(self, folder: Path) -> None:
        """Write the files that are read beside ``genes.parquet``."""
        bundle.write_tensors(self.tensors, folder / bundle.GATHER)
        if self.joined.unpicked is not None:
            bundle.write_table(self.joined.unpicked, folder / bundle.UNPICKED)


def parse_levels(texts: Sequence[str]) -> Levels | None:
    """Read ``gene``, ``transcript``, ``protein``, each ``LEVEL`` or ``LEVEL=POLICY``, also several with commas.

    Returns
    -------
    None where there is no level but ``gene``, which is always there.

    Raises
    ------
    ExportError
        If a level or policy is unknown, or a level is named twice.
    """
    policies: dict[str, str] = {}
    for word in (word.strip() for text in texts for word in text.split(",")):
        level, _, policy = word.partition("=")
        if level == GENE and not policy:
            continue
        if level not in POLICIES:
            raise ExportError(_unknown("level", word, [GENE, *POLICIES]))
        if policy and policy not in POLICIES[level]:
            raise ExportError(_unknown(f"policy of level {level}", policy, POLICIES[level]))
        if TYPES[level] in policies:
            raise ExportError(f"--level names {level} twice. Choose one policy.")
        policies[TYPES[level]] = policy or POLICIES[level][0]
    return Levels(dict(sorted(policies.items()))) if policies else None


def _unknown(what: str, name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Choose {', '.join(known)}."
    return f"--level: {name!r} is no {what}. {hint}"


# --------------------------------------------------------------------------- links out of the graph


def read_links(graph: Graph, nodes: pa.Table, levels: Levels) -> Links:
    """Read which genes the picked transcripts and proteins come from, picked or not.

    Raises
    ------
    ExportError
        If no node of a level was picked.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for type_ in levels.policies:
        ids = nodes["id"].filter(pc.equal(nodes["type"], type_)).to_pylist()
        if not ids:
            raise ExportError(
                f"--level {type_.lower()}: none of the {len(nodes):,} picked nodes is a {type_}. Let the query return "
                "some, or leave the level out."
            )
        for route in ROUTES[type_]:
            found += [
                pair
                for start in range(0, len(ids), CHUNK)
                for pair in _read(graph, route, ids[start : start + CHUNK], levels.allowed)
            ]
    row_of = dict(zip(nodes["id"].to_pylist(), range(len(nodes)), strict=True))
    pairs = sorted({(row_of[node], gene) for node, gene in found})
    rows, genes = zip(*pairs, strict=True) if pairs else ((), ())
    table = pa.table({"node_row": pa.array(rows, pa.int64()), "gene_id": pa.array(genes, pa.string())})
    return Links(levels.policies, table)


def _read(graph: Graph, route: str, ids: Sequence[str], allowed: Allowed | None) -> Iterator[tuple[str, str]]:
    """Pairs of node and gene of one route, as far as every step of it may be shown."""
    for row in graph.rows(cypher(route), ids=list(ids)):
        steps = [
            zip(row[f"{p}sources"], row[f"{p}licences"], strict=True)
            for p in ("", "then_")
            if f"{p}sources" in row
        ]
        for node, gene, *stated in zip(row["nodes"], row["genes"], *steps, strict=True):
            if allowed is None or all(
                allowed.edge(source or None, licence or None) for source, licence in stated
            ):
                yield node, gene


# --------------------------------------------------------------------------- what a bundle says


def gathered(joined: Joined, links: Links, nodes: pa.Table) -> Gathered:
    """Say how the abundance of the linked nodes comes out of that of genes.

    Parameters
    ----------
    joined
        Its genes are those of `bundle_features.gene_table` with the linked ones: ``node_row`` is null where a gene was
        not picked. A node that has counts of its own, as a measured protein, keeps these.

    Raises
    ------
    ExportError
        If no gene is left that anything comes out of.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    own = joined.proteins.table["node_row"].to_numpy() if joined.proteins else np.empty(0, np.int64)
    rows = links.table["node_row"].to_numpy()
    at = pc.index_in(links.table["gene_id"], joined.genes["gene_id"].combine_chunks())
    used = pc.is_valid(at).to_numpy(zero_copy_only=False) & ~np.isin(rows, own)
    row, gene = rows[used], at.filter(pa.array(used)).to_numpy().astype(np.int64)
    gone = _unused(joined, gene)
    joined, place = _apart(joined, gene)
    if not joined.columns:
        raise ExportError(
            "No gene that the picked nodes come from was measured. Leave --level out, or pick others."
        )
    types = nodes["type"].take(pa.array(row)).to_numpy(zero_copy_only=False)
    tensors = _tensors(row, place[gene], types, links.policies)
    return Gathered(
        replace(joined, dropped=[*_without_proteins(joined, links), *gone, *_bare(nodes, links, row, own)]),
        tensors,
        {
            "levels": {t: _facts(t, row[types == t], links, nodes, own) for t in links.policies},
            "unpicked_genes": len(joined.columns) - len(joined.genes),
            "order": ORDER,
        },
    )


def _apart(joined: Joined, used: NDArray[np.int64]) -> tuple[Joined, NDArray[np.int64]]:
    """Set apart genes that are no nodes, as far as they are used; also the new position of each old one."""
    import pyarrow as pa

    picked = joined.genes["node_row"].is_valid().to_numpy(zero_copy_only=False)
    other = ~picked & np.isin(np.arange(len(picked)), used)
    kept = np.concatenate([np.flatnonzero(picked), np.flatnonzero(other)])
    place = np.full(len(picked), -1)
    place[kept] = np.arange(len(kept))
    measured = dict(joined.measured)
    if of_genes := measured.get(GENE):
        measured[GENE] = MeasuredFeatures(of_genes.datasets, of_genes.columns[kept], of_genes.mask[:, kept])
    unpicked = joined.genes.filter(pa.array(other)).drop_columns("node_row") if other.any() else None
    return replace(
        joined, genes=joined.genes.filter(pa.array(picked)), unpicked=unpicked, measured=measured
    ), place


def _tensors(
    row: NDArray[np.int64], gene: NDArray[np.int64], types: NDArray[Any], policies: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    order = np.lexsort((gene, row))
    row, gene, types = row[order], gene[order], types[order]
    policy = np.array([policies[t] for t in types], dtype=object)
    weight = np.ones(len(row))
    shared, mean = policy == SHARE, policy == MEAN
    weight[shared] = 1 / np.bincount(gene[shared])[gene[shared]]
    weight[mean] = 1 / np.bincount(row[mean])[row[mean]]
    return {
        "node_row": row.astype(np.int64),
        "gene": gene.astype(np.int32),
        "weight": weight,
        "largest": (policy == MAX).astype(np.bool_),
    }


def _facts(
    type_: str, row: NDArray[np.int64], links: Links, nodes: pa.Table, own: NDArray[np.int64]
) -> dict[str, Any]:
    import pyarrow.compute as pc

    genes = np.unique(row, return_counts=True)[1]
    mine = np.flatnonzero(pc.equal(nodes["type"], type_).to_numpy(zero_copy_only=False))
    linked = np.unique(links.table["node_row"].to_numpy())
    return {
        "policy": links.policies[type_],
        "along": ALONG[type_],
        "nodes": len(genes),
        "links": len(row),
        "several_genes": int((genes > 1).sum()),
        "own_counts": int(np.isin(np.intersect1d(linked, mine), own).sum()),
    }


def _unused(joined: Joined, used: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Genes that were wanted for nodes that keep counts of their own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    spare = np.ones(len(joined.genes), np.bool_)
    spare[used] = False
    ids = (
        joined.genes["gene_id"]
        .filter(pc.and_(pc.is_null(joined.genes["node_row"]), pa.array(spare)))
        .to_pylist()
    )
    reason = "not picked by the query; of a protein that has counts of its own"
    return [bundle.dropped("features", reason, ids, kept=False)] if ids else []


def _without_proteins(joined: Joined, links: Links) -> list[dict[str, Any]]:
    """What was dropped, but for proteins without counts of their own where they may have gathered ones."""
    return [d for d in joined.dropped if "Protein" not in links.policies or d["reason"] != NO_PROTEIN_COUNTS]


def _bare(
    nodes: pa.Table, links: Links, row: NDArray[np.int64], own: NDArray[np.int64]
) -> Iterator[dict[str, Any]]:
    """Nodes of a level that have no abundance all the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    without = np.ones(len(nodes), np.bool_)
    without[row] = without[own] = False
    for type_ in links.policies:
        ids = nodes["id"].filter(pc.and_(pc.equal(nodes["type"], type_), pa.array(without))).to_pylist()
        if ids:
            yield bundle.dropped("nodes", f"{type_} without a measured gene: no abundance", ids, kept=True)
