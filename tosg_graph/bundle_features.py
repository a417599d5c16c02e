"""The measured features of a bundle: genes, and proteins where asked for, joined to the picked nodes that they are.

What a dataset did not measure is unknown in its cells and not zero: `measured_facts` says so, per dataset and feature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.diagnostics import count_values
from tosg_graph.errors import ExportError, StoreError
from tosg_graph.layers import GENE, PROTEIN
from tosg_graph.measured_features import MeasuredFeatures
from tosg_graph.normalise import CLR_PARAMETERS, clr_scales

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

NO_PROTEIN_COUNTS = "Protein that is not on the protein axis: no abundance"
ANY, ALL = "any", "all"  # datasets that must have measured a feature
Read = Callable[[Sequence[str], Sequence[int]], "csr_array[Any, Any]"]


@dataclass(frozen=True)
class LayerSource:
    """What a store has of one layer.

    Parameters
    ----------
    axis
        Axis of the layer.
    counts
        ``counts(cell_ids, axis_columns)``: raw int32 counts, rows and columns as given.
    measured
        ``measured(datasets, axis_columns)``: what each dataset measured; None where that is not known.
    """

    axis: pa.Table
    counts: Read
    measured: Callable[[Sequence[str], Sequence[int]], MeasuredFeatures] | None = None


@dataclass(frozen=True)
class JoinedProteins:
    """Proteins that were joined to picked nodes.

    Parameters
    ----------
    table
        ``node_row`` (int64, ascending), ``protein_id``, ``axis_column`` (int32), ``feature``.
    source
        Where their counts are read.
    """

    table: pa.Table
    source: LayerSource

    def shard(self, cells: pa.Table) -> dict[str, NDArray[Any]]:
        """Tensors of a shard; ``protein_scale`` is NaN in cells whose proteins were not measured."""
        from scipy.sparse import csr_array

        has = cells["n_protein_counts"].is_valid().to_numpy(zero_copy_only=False)
        every = self.source.axis["column"].to_pylist()
        whole = self.source.counts(cells.filter(has)["cell_id"].to_pylist(), every)
        lengths = np.zeros(len(cells), np.int64)
        lengths[has] = np.diff(whole.indptr)
        rows = csr_array(
            (whole.data, whole.indices, np.concatenate([[0], np.cumsum(lengths)])),
            shape=(len(cells), len(every)),
        )
        place = {column: at for at, column in enumerate(every)}
        picked = rows[:, [place[c] for c in self.table["axis_column"].to_pylist()]]
        picked.sort_indices()
        return {
            "protein_indptr": picked.indptr.astype(np.int64),
            "protein_indices": picked.indices.astype(np.int32),
            "protein_data": picked.data.astype(np.int32),
            "protein_scale": clr_scales(rows, np.where(has, self._measured_in(cells, every), 0)),
        }

    def facts(self, cells: pa.Table, total: int) -> dict[str, Any]:
        """What the manifest says of them."""
        return {
            "count": len(self.table),
            "cells": int(len(cells) - cells["n_protein_counts"].null_count),
            "total_counts": total,
            "normalisation": CLR_PARAMETERS,
        }

    def _measured_in(self, cells: pa.Table, columns: Sequence[int]) -> NDArray[np.int64]:
        """Number of proteins that were measured in each cell."""
        names = cells["dataset"].to_pylist()
        if self.source.measured is None:
            return np.full(len(names), len(columns))
        found = self.source.measured(names, columns)
        sizes = dict(zip(found.datasets, found.mask.sum(axis=1).tolist(), strict=True))
        return np.array([sizes[name] for name in names], np.int64)


def gene_table(
    nodes: pa.Table, axis: pa.Table, also: pa.ChunkedArray | None = None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Match the picked genes with the axis.

    Parameters
    ----------
    also
        Genes that are wanted though they were not picked; their ``node_row`` is null, and they come last.

    Returns
    -------
    genes
        ``node_row`` (int64, ascending), ``gene_id``, ``axis_column`` (int32), ``feature``. The row number is
        the column of the abundance shards.
    dropped
        Picked genes that were not measured, and measured features that were not picked.

    Raises
    ------
    ExportError
        If no picked node is a gene of the axis.
    StoreError
        If the axis gives one gene two columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = axis.filter(pc.is_valid(axis["gene_id"]))
    if pc.count_distinct(known["gene_id"]).as_py() != len(known):
        raise StoreError("The gene axis gives one gene two columns. Add the cells to a new store.")
    is_gene = pc.equal(nodes["type"], "Gene")
    at = pc.index_in(nodes["id"], known["gene_id"].combine_chunks())
    rows = np.flatnonzero(pc.and_(is_gene, pc.is_valid(at)).to_numpy(zero_copy_only=False))
    picked = pc.sum(is_gene).as_py() or 0
    found = known.take(at.take(pa.array(rows)))
    others = None if also is None else _unpicked(known, found, also)
    if not len(rows) and not others:
        raise ExportError(
            f"None of the {len(nodes):,} picked nodes has abundance: {picked:,} are genes, none of them "
            f"among the {len(known):,} genes of the store. Let the query return genes that were measured."
        )
    genes = pa.table(
        {
            "node_row": rows.astype(np.int64),
            "gene_id": found["gene_id"],
            "axis_column": found["column"].cast(pa.int32()),
            "feature": found["feature"],
        }
    )
    if others is not None:
        genes = pa.concat_tables([genes, others])
    missing = nodes["id"].filter(pc.and_(is_gene, pc.is_null(at)))
    reason = "Gene that is not on the gene axis: no abundance"
    dropped = [
        bundle.dropped("nodes", reason, missing.to_pylist(), kept=True),
        {
            "what": "features",
            "reason": "on the gene axis, not picked by the query",
            "count": len(axis) - len(genes),
            "kept": False,
            "examples": [],
        },
    ]
    return genes, [d for d in dropped if d["count"]]


def _unpicked(known: pa.Table, picked: pa.Table, wanted: pa.ChunkedArray) -> pa.Table:
    """Rows of `gene_table` of genes that are wanted and were not picked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    also = pc.is_in(known["gene_id"], wanted.combine_chunks())
    there = pc.is_in(known["gene_id"], picked["gene_id"].combine_chunks())
    found = known.filter(pc.and_not(also, there))
    return pa.table(
        {
            "node_row": pa.nulls(len(found), pa.int64()),
            "gene_id": found["gene_id"],
            "axis_column": found["column"].cast(pa.int32()),
            "feature": found["feature"],
        }
    )


def protein_table(nodes: pa.Table, axis: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Match the picked proteins with the axis of proteins; as `gene_table`.

    Returns
    -------
    proteins
        ``node_row`` (int64, ascending), ``protein_id``, ``axis_column`` (int32), ``feature``.
    dropped
        Picked proteins that were not measured, and measured ones that were not picked or are none of the graph.

    Raises
    ------
    ExportError
        If no picked node is a protein of the axis.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = axis.filter(pc.is_valid(axis["protein_id"]))
    is_protein = pc.equal(nodes["type"], "Protein")
    at = pc.index_in(nodes["id"], known["protein_id"].combine_chunks())
    rows = np.flatnonzero(pc.and_(is_protein, pc.is_valid(at)).to_numpy(zero_copy_only=False))
    picked = pc.sum(is_protein).as_py() or 0
    if not len(rows):
        raise ExportError(
            f"None of the {len(nodes):,} picked nodes has counts of proteins: {picked:,} are proteins, none of them "
            f"among the {len(known):,} of the store. Let the query return proteins that were measured."
        )
    found = known.take(at.take(pa.array(rows)))
    proteins = pa.table(
        {
            "node_row": rows.astype(np.int64),
            "protein_id": found["protein_id"],
            "axis_column": found["column"].cast(pa.int32()),
            "feature": found["feature"],
        }
    )
    missing = nodes["id"].filter(pc.and_(is_protein, pc.is_null(at)))
    left = axis["feature"].filter(pc.invert(pc.is_in(axis["column"], found["column"].combine_chunks())))
    dropped = [
        bundle.dropped("nodes", NO_PROTEIN_COUNTS, missing.to_pylist(), kept=True),
        bundle.dropped(
            "proteins", "on the protein axis, not picked by the query", left.to_pylist(), kept=False
        ),
    ]
    return proteins, [d for d in dropped if d["count"]]


def masked_nodes(
    nodes: pa.Table, joined: Sequence[str], text_mask: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Nodes that are kept with a mask: types without abundance, nodes without a text vector.

    Parameters
    ----------
    joined
        Types that abundance was joined to; nodes of these that have none are named elsewhere.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = [
        {
            "what": "nodes",
            "reason": f"{type_}: abundance is per gene",
            "count": count,
            "kept": True,
            "examples": [],
        }
        for type_, count in count_values(nodes["type"]).items()
        if type_ not in joined
    ]
    bare = nodes["id"].filter(pc.invert(pa.array(text_mask))).to_pylist()
    if bare:
        found.append(bundle.dropped("nodes", "no text vector; run tosg embed", bare, kept=True))
    return found


def features_measured_by(
    table: pa.Table, source: LayerSource, datasets: Sequence[str], wanted: str
) -> tuple[pa.Table, MeasuredFeatures | None, list[dict[str, Any]]]:
    """Keep the features that were measured by ``any`` or ``all`` of the datasets that measured the layer.

    Returns
    -------
    table
        Rows of ``table`` that stay.
    measured
        What each dataset measured of these; None where that is not known.
    dropped
        Features that went.

    Raises
    ------
    ExportError
        If none stays, or all datasets must have measured a feature and nobody knows what they did.
    """
    import pyarrow as pa

    if source.measured is None:
        if wanted == ALL:
            raise ExportError("Nothing says what each dataset measured. Export without --measured-by all.")
        return table, None, []
    found = source.measured(datasets, table["axis_column"].to_pylist())
    if wanted == ANY:
        return table, found, []
    kept = found.by_all
    if not kept.any():
        raise ExportError(
            f"None of the {len(table):,} picked features was measured by all {len(datasets):,} datasets of the cohort. "
            "Take fewer datasets, or --measured-by any."
        )
    gone = table["feature"].filter(pa.array(~kept)).to_pylist()
    reason = "not measured by all datasets of the cohort"
    dropped = [bundle.dropped("features", reason, gone, kept=False)] if gone else []
    return (
        table.filter(pa.array(kept)),
        MeasuredFeatures(found.datasets, found.columns[kept], found.mask[:, kept]),
        dropped,
    )


@dataclass(frozen=True)
class Joined:
    """What has abundance in a bundle.

    Parameters
    ----------
    genes
        See `gene_table`.
    proteins
        Where they were asked for.
    measured
        Layer -> what each dataset measured, where that is known.
    dropped
        Entries of the manifest's ``dropped``.
    unpicked
        ``gene_id``, ``axis_column``, ``feature``: genes that are no nodes, and that others gather from. Their columns
        follow those of ``genes``, also in ``measured``.
    """

    genes: pa.Table
    proteins: JoinedProteins | None
    measured: dict[str, MeasuredFeatures]
    dropped: list[dict[str, Any]]
    unpicked: pa.Table | None = None

    @property
    def columns(self) -> list[int]:
        """Axis columns of all genes whose counts are written."""
        tables = [self.genes] if self.unpicked is None else [self.genes, self.unpicked]
        return [column for table in tables for column in table["axis_column"].to_pylist()]


def join(
    nodes: pa.Table,
    genes: pa.Table,
    source: LayerSource,
    of_proteins: LayerSource | None,
    datasets: Sequence[str],
    wanted: str = ANY,
) -> Joined:
    """Take genes and proteins of the picked nodes as far as ``any`` or ``all`` datasets of the cohort measured them.

    Raises
    ------
    ExportError
        If nothing is left of a layer, or ``wanted`` is neither.
    """
    if wanted not in (ANY, ALL):
        raise ExportError(f"Features are taken that {ANY} or {ALL} datasets measured, not {wanted!r}.")
    genes, measured, dropped = features_measured_by(genes, source, datasets, wanted)
    known = {GENE: measured} if measured else {}
    if of_proteins is None:
        return Joined(genes, None, known, dropped)
    table, more = protein_table(nodes, of_proteins.axis)
    table, measured, gone = features_measured_by(table, of_proteins, datasets, wanted)
    known |= {PROTEIN: measured} if measured else {}
    return Joined(genes, JoinedProteins(table, of_proteins), known, [*dropped, *more, *gone])


def measured_facts(joined: Joined, wanted: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What the manifest says of features that some dataset did not measure, and the tensors that say which."""
    names = {GENE: "genes", PROTEIN: "proteins"}
    facts: dict[str, Any] = {"by": wanted, "datasets": next(iter(joined.measured.values())).datasets}
    masks = {names[layer]: of_layer.mask for layer, of_layer in joined.measured.items()}
    if joined.unpicked is not None and "genes" in masks:
        masks["genes"], masks["unpicked_genes"] = np.split(masks["genes"], [len(joined.genes)], axis=1)
    facts["not_measured"] = {name: int((~mask).sum()) for name, mask in masks.items()}
    return facts, masks
