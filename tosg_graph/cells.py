"""Cells into the store: one file read, mapped to genes and terms, written, accounted for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance_store import BLOCK_CELLS, cell_id
from tosg_graph.errors import CellsError
from tosg_graph.gene_axis import (
    AMBIGUOUS,
    FeatureGene,
    check_species,
    map_features,
    new_axis_rows,
    read_gene_names,
)
from tosg_graph.obs import ObsMapping, core_columns, other_columns, read_mapping, unmapped_values
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path
from tosg_graph.term_audit import with_candidates
from tosg_graph.terms import Vocabulary
from tosg_graph.types import CellsLedger, MeasuredCells

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.graph import Graph

_SORTED_BY = ("organ", "disease", "cell_type")
PBMC68K = "pbmc68k_reduced"


def add(
    path: Path,
    graph: Graph,
    store: AbundanceStore,
    *,
    mapping: ObsMapping,
    layer: str | None = None,
    dataset: str | None = None,
    allow_unmapped: bool = False,
    progress: Progress | None = None,
) -> CellsLedger:
    """Add one ``.h5ad`` file with raw counts.

    Parameters
    ----------
    dataset
        Name in the store, by default the file's stem. The same file again changes nothing and says so.
    layer
        ``X`` (default), ``raw`` or a layer's name.
    allow_unmapped
        Add a file of which hardly any feature is a gene of the graph.

    Raises
    ------
    CellsError
        If the file cannot be used, or the sums in file and store differ; the store is as it was.
    StoreError
        If the store is locked, full or damaged.
    """
    from loaders.cells_h5ad import read

    show = progress or silent
    path = Path(path)
    show(f"Reading {path.name}", 0, 1)
    measured = read(path, layer)
    show(f"Reading {path.name}", 1, 1)
    return add_measured(
        measured,
        path,
        graph,
        store,
        mapping=mapping,
        dataset=dataset or path.stem,
        allow_unmapped=allow_unmapped,
        progress=show,
    )


def add_scanpy_pbmc(graph: Graph, store: AbundanceStore, progress: Progress | None = None) -> CellsLedger:
    """Add the 700 blood cells that scanpy ships, with counts reconstructed from its normalised values.

    ``raw.X`` is log1p of counts per 10,000, and ``obs.n_counts`` the sum it was scaled by, so
    ``expm1(raw.X) * n_counts / 10000`` is a whole number up to rounding; 765 genes of each cell are in the file.

    Raises
    ------
    CellsError
        If scanpy is not installed with its data, or a value is further than 0.1 from a whole number.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = [f for f in files("scanpy") or () if f.name == "10x_pbmc68k_reduced.h5ad"]
    except PackageNotFoundError:
        listed = []
    if not listed:
        raise CellsError(
            "scanpy is installed without its data set 10x_pbmc68k_reduced.h5ad. Install scanpy again."
        )
    path = Path(str(listed[0].locate()))
    return add_measured(
        _reconstructed(path),
        path,
        graph,
        store,
        mapping=read_mapping(facts_path("pbmc68k_cell_types.yaml")),
        dataset=PBMC68K,
        progress=progress or silent,
    )


def add_measured(
    measured: MeasuredCells,
    path: Path,
    graph: Graph,
    store: AbundanceStore,
    *,
    mapping: ObsMapping,
    dataset: str,
    allow_unmapped: bool = False,
    progress: Progress = silent,
) -> CellsLedger:
    """Add cells that were read and checked; see `add`."""
    import pyarrow as pa

    content = content_sha256(measured, mapping)
    features = map_features(measured.features, measured.feature_ids, read_gene_names(graph))
    if not allow_unmapped:
        check_species(features, path)
    total = int(measured.counts.data.sum(dtype="int64"))
    ledger = CellsLedger(
        dataset=dataset,
        path=path,
        cells=len(measured.barcodes),
        genes_mapped=sum(f.gene_id is not None for f in features),
        own_axis_row=sum(f.gene_id is None for f in features),
        ambiguous=sum(f.rule == AMBIGUOUS for f in features),
        counts_file=total,
        counts_stored=total,
        already_present=False,
        mapping=pa.table({}),
    )
    held = _already_held(store, content, dataset)
    if held:
        return replace(
            ledger, dataset=held, already_present=True, mapping=_mapping_table(features, store.axis())
        )
    vocabulary = Vocabulary(graph)
    cells = _cells_table(measured, mapping, dataset, vocabulary)
    with store.writer() as append:
        _already_held(store, content, dataset)  # another process may have been faster
        axis = append.extend_axis(new_axis_rows(features, append.axis))
        rows = _block_order(cells)
        first_block = append.next_block
        stored = append.write_counts(content[:24], _blocks(measured, features, axis, rows, progress))
        if stored != total:
            raise CellsError(
                f"{path}: the counts sum to {total:,} in the file but to {stored:,} in the store. Nothing was added; "
                "please report this."
            )
        append.commit(
            _placed(cells, rows, first_block), _dataset_record(dataset, path, content, measured, total)
        )
    odd = with_candidates(unmapped_values(cells), vocabulary)
    return replace(ledger, counts_stored=stored, mapping=_mapping_table(features, axis), unmapped=odd)


def content_sha256(measured: MeasuredCells, mapping: ObsMapping) -> str:
    """Sha256 of the cells, their counts and how obs is mapped; not of the file, whose bytes vary between writers."""
    digest = hashlib.sha256()
    for part in (measured.counts.indptr, measured.counts.indices, measured.counts.data):
        digest.update(part.tobytes())
    texts = [measured.barcodes, measured.features, measured.feature_ids, measured.obs.to_pydict()]
    texts += [dict(mapping.columns), dict(mapping.constants), {k: dict(v) for k, v in mapping.terms.items()}]
    digest.update(repr(texts).encode())
    return digest.hexdigest()


# --------------------------------------------------------------------------- counts


def _blocks(
    measured: MeasuredCells,
    features: Sequence[FeatureGene],
    axis: pa.Table,
    rows: NDArray[np.int64],
    progress: Progress,
) -> Iterator[tuple[Any, Any, Any]]:
    """Yield gene-major counts of one block of cells after the other."""
    import numpy as np

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    columns = np.array([column_of[f.key] for f in features], np.int32)
    for start in range(0, len(rows), BLOCK_CELLS):
        progress("Writing cells", start, len(rows))
        block = measured.counts[rows[start : start + BLOCK_CELLS]].tocoo()
        gene = columns[block.coords[1]]
        cell = block.coords[0].astype(np.int32)
        order = np.lexsort((cell, gene))
        yield gene[order], cell[order], block.data[order]
    progress("Writing cells", len(rows), len(rows))


def _block_order(cells: pa.Table) -> NDArray[np.int64]:
    """Rows in the order in which they fill blocks: alike cells together, so that a cohort touches few blocks."""
    import pyarrow.compute as pc

    keys = [(name, "ascending") for name in (*_SORTED_BY, "cell_id")]
    order: NDArray[np.int64] = pc.sort_indices(cells, sort_keys=keys).to_numpy().astype("int64")
    return order


def _placed(cells: pa.Table, rows: NDArray[np.int64], first_block: int) -> pa.Table:
    """Cells in block order, with ``block`` and ``cell`` (position in the block) after ``cell_id``."""
    import numpy as np
    import pyarrow as pa

    place = np.arange(len(rows))
    placed = cells.take(pa.array(rows))
    block = pa.array((first_block + place // BLOCK_CELLS).astype(np.int32))
    cell = pa.array((place % BLOCK_CELLS).astype(np.int32))
    return placed.add_column(1, "block", block).add_column(2, "cell", cell)


def _reconstructed(path: Path) -> MeasuredCells:
    import warnings

    import anndata
    import numpy as np
    from scipy.sparse import csr_array

    from loaders.cells_h5ad import checked_counts, obs_table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is of an older layout
        data = anndata.read_h5ad(path)
    values = csr_array(data.raw.X).astype(np.float64)
    scale = np.repeat(data.obs["n_counts"].to_numpy(np.float64) / 10_000, np.diff(values.indptr))
    exact = np.expm1(values.data) * scale
    whole = np.rint(exact)
    off = float(np.abs(exact - whole).max())
    if off > 0.1:
        raise CellsError(
            f"{path}: a reconstructed count is {off:.2g} from a whole number, at most 0.1 is expected."
        )
    counts = csr_array((whole, values.indices, values.indptr), shape=values.shape)
    barcodes, features = list(data.obs_names), list(data.raw.var_names)
    return MeasuredCells(
        barcodes=barcodes,
        features=features,
        feature_ids=[None] * len(features),
        obs=obs_table(data.obs.rename(columns={"n_counts": "n_counts_whole_cell"})),
        counts=checked_counts(counts, barcodes, features, str(path), []),
        note=f"counts reconstructed from log1p of counts per 10,000; largest deviation from a whole number {off:.3f}",
    )


# --------------------------------------------------------------------------- cells


def _cells_table(
    measured: MeasuredCells, mapping: ObsMapping, dataset: str, vocabulary: Vocabulary
) -> pa.Table:
    """One row per cell in file order: core columns, then the other obs columns."""
    import numpy as np
    import pyarrow as pa

    columns: dict[str, Any] = {
        "cell_id": [cell_id(dataset, barcode) for barcode in measured.barcodes],
        "dataset": [dataset] * len(measured.barcodes),
        "barcode": measured.barcodes,
    }
    core = core_columns(measured.obs, mapping, vocabulary)
    columns |= {name: column.dictionary_decode() for name, column in core.items()}
    columns["n_counts"] = pa.array(np.asarray(measured.counts.sum(axis=1)).ravel().astype(np.int64))
    columns["n_genes"] = pa.array(np.diff(measured.counts.indptr).astype(np.int32))
    columns |= other_columns(measured.obs, mapping, [*columns, "block", "cell"])
    return pa.table(columns)


# --------------------------------------------------------------------------- accounts


def _already_held(store: AbundanceStore, content: str, dataset: str) -> str | None:
    """Name of the dataset that has the same content; another content under the same name is refused."""
    for row in store.datasets().to_pylist():
        if row["sha256"] == content:
            return str(row["dataset"])
        if row["dataset"] == dataset:
            raise CellsError(
                f"The store has a dataset {dataset!r} with other cells or another mapping. Give this one another name: "
                "--dataset NAME"
            )
    return None


def _dataset_record(
    dataset: str, path: Path, content: str, measured: MeasuredCells, total: int
) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "cells": len(measured.barcodes),
        "counts": total,
        "file": path.name,
        "sha256": content,
        "note": measured.note,
    }


def _mapping_table(features: Sequence[FeatureGene], axis: pa.Table) -> pa.Table:
    import pyarrow as pa

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    return pa.table(
        {
            "feature": pa.array([f.feature for f in features], pa.string()),
            "gene_id": pa.array([f.gene_id for f in features], pa.string()),
            "rule": pa.array([f.rule for f in features], pa.string()),
            "candidates": pa.array([list(f.candidates) for f in features], pa.list_(pa.string())),
            "axis_column": pa.array([column_of[f.key] for f in features], pa.int32()),
        }
    )
