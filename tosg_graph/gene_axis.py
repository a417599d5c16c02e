"""The gene axis: which gene each measured feature is, by stated rules, and which axis row it gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tosg_graph.errors import CellsError
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.protein_axis import FeatureProtein

ENSEMBL, SYMBOL, PREVIOUS, ALIAS = "ensembl id", "approved symbol", "previous symbol", "alias"
AMBIGUOUS, SECOND, UNKNOWN = "ambiguous", "second feature of its gene", "no such gene"
MAPPED_RULES = (ENSEMBL, SYMBOL, PREVIOUS, ALIAS)
MIN_MAPPED = 0.1  # share of features; below it the file is of another species or id system


@dataclass(frozen=True)
class GeneNames:
    """Look-ups from every name a gene has to the ids of the genes that have it."""

    symbol_of: dict[str, str]
    by_rule: dict[str, dict[str, tuple[str, ...]]]


NO_GENES = GeneNames({}, {rule: {} for rule in MAPPED_RULES})
"""Of no graph: each feature keeps an axis row under its own name."""


@dataclass(frozen=True)
class FeatureGene:
    """What became of one feature; ``gene_id`` is None where it keeps an axis row under its own name."""

    feature: str
    gene_id: str | None
    symbol: str | None
    rule: str
    candidates: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of its axis row: the gene's id, or its own name."""
        return self.gene_id or self.feature


def read_gene_names(graph: Graph) -> GeneNames:
    """Read the names of all genes in the graph.

    Raises
    ------
    CellsError
        If the graph has no genes.
    """
    rows = graph.rows(cypher("axis_genes"))
    if not rows:
        raise CellsError("The graph has no genes to map features to. Load them first: tosg load hgnc")
    found: dict[str, dict[str, set[str]]] = {rule: {} for rule in MAPPED_RULES}
    for row in rows:
        names = {
            ENSEMBL: [row["ensembl_id"]],
            SYMBOL: [row["symbol"]],
            PREVIOUS: row["previous"],
            ALIAS: row["alias"],
        }
        for rule, given in names.items():
            for name in given or ():
                if name:
                    found[rule].setdefault(name, set()).add(row["id"])
    by_rule = {
        rule: {name: tuple(sorted(ids)) for name, ids in names.items()} for rule, names in found.items()
    }
    return GeneNames({row["id"]: row["symbol"] for row in rows}, by_rule)


def map_features(
    features: Sequence[str], ensembl_ids: Sequence[str | None], genes: GeneNames
) -> list[FeatureGene]:
    """Find the gene of each feature: Ensembl id, approved symbol, previous symbol, alias, in this order.

    A name that several genes have is ambiguous. Of two features of one gene the one that carries the approved symbol
    wins, then the one with the Ensembl id, then by rule and name. Ambiguous, second and unknown features keep an
    axis row of their own; nothing is summed and nothing is dropped.
    """
    found = [_one(name, ensembl, genes) for name, ensembl in zip(features, ensembl_ids, strict=True)]
    of_gene: dict[str, list[FeatureGene]] = {}
    for feature in found:
        if feature.gene_id:
            of_gene.setdefault(feature.gene_id, []).append(feature)
    winners = {gene: min(claims, key=_precedence).feature for gene, claims in of_gene.items()}
    return [
        FeatureGene(f.feature, None, None, SECOND, (f.gene_id,))
        if f.gene_id and winners[f.gene_id] != f.feature
        else f
        for f in found
    ]


def check_species(features: Sequence[FeatureGene], path: object) -> None:
    """Refuse a file of which hardly any feature is a gene of the graph.

    Raises
    ------
    CellsError
        Naming the share and the first unknown feature.
    """
    mapped = sum(f.gene_id is not None for f in features)
    if mapped >= MIN_MAPPED * len(features):
        return
    first = next(f.feature for f in features if f.gene_id is None)
    raise CellsError(
        f"{path}: only {mapped:,} of {len(features):,} features are genes of the graph (first unknown: {first!r}); at "
        f"least {MIN_MAPPED:.0%} are expected of human genes. Is it another species? --allow-unmapped adds it anyway."
    )


def new_axis_rows(features: Iterable[FeatureGene | FeatureProtein], axis: pa.Table) -> pa.Table:
    """Rows for an axis of `AbundanceStore`, of features whose key is not on it yet, sorted by key."""
    import pyarrow as pa

    held = set(axis["feature"].to_pylist())
    fresh = {f.key: f for f in features if f.key not in held}
    rows = [fresh[key] for key in sorted(fresh)]
    more = [name for name in axis.column_names if name not in ("column", "feature")]
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in more}
    return pa.table({"feature": pa.array([row.key for row in rows], pa.string()), **columns})


def _one(name: str, ensembl: str | None, genes: GeneNames) -> FeatureGene:
    stable = (ensembl or name).split(".")[0] if (ensembl or name).startswith("ENS") else None
    looked_up = [(ENSEMBL, stable), (SYMBOL, name), (PREVIOUS, name), (ALIAS, name)]
    for rule, key in looked_up:
        ids = genes.by_rule[rule].get(key, ()) if key else ()
        if len(ids) == 1:
            return FeatureGene(name, ids[0], genes.symbol_of[ids[0]], rule)
        if ids:
            return FeatureGene(name, None, None, AMBIGUOUS, ids)
    return FeatureGene(name, None, None, UNKNOWN)


def _precedence(feature: FeatureGene) -> tuple[bool, int, str]:
    return feature.feature != feature.symbol, MAPPED_RULES.index(feature.rule), feature.feature
