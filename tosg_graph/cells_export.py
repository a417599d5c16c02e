"""Cells out again: the raw counts of a cohort as a file that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.bundle import refuse_existing
from tosg_graph.count_files import CountMatrix, feature_table, write_h5ad, write_lists, write_mtx
from tosg_graph.errors import ExportError
from tosg_graph.progress import Progress, silent

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.cohort import Cohort, ExpandTerm

CHUNK_CELLS = 4_096  # whose counts are held at once
FORMATS: dict[str, Callable[[CountMatrix, Path], None]] = {
    "h5ad": write_h5ad,
    "mtx": write_mtx,
    "parquet": write_lists,
}
_POSITIONS = ["block", "cell"]  # of the store; compaction changes them


@dataclass(frozen=True)
class CellsExport:
    """What was written."""

    path: Path
    format: str
    cells: int
    features: int
    store_version: int


def export_cells(
    reader: AbundanceReader,
    cells: Cohort | str,
    expand_term: ExpandTerm,
    out: Path,
    *,
    format_: str = "h5ad",
    progress: Progress = silent,
) -> CellsExport:
    """Write the raw counts of a cohort, over all features of the gene axis, with all columns of the cells.

    Parameters
    ----------
    format_
        ``h5ad``: a file; ``mtx``: a folder as Cell Ranger 3 writes it; ``parquet``: a folder with one row and two lists
        per cell.

    Raises
    ------
    ExportError
        If the format is unknown, or ``out`` exists or cannot be written; nothing is left then.
    CohortError
        If no cell is selected.
    """
    if format_ not in FORMATS:
        raise ExportError(f"{format_!r} is no format of cells. Choose {', '.join(FORMATS)}.")
    out = refuse_existing(out)
    matrix = cohort_matrix(reader, cells, expand_term, progress)
    FORMATS[format_](matrix, out)
    return CellsExport(out, format_, len(matrix.names), len(matrix.features), reader.version.cells)


def cohort_matrix(
    reader: AbundanceReader, cells: Cohort | str, expand_term: ExpandTerm, progress: Progress = silent
) -> CountMatrix:
    """Return the counts of a cohort; rows are named by ``cell_id``, in the order of the store: each block is read once.

    Raises
    ------
    CohortError
        If no cell is selected.
    """
    found = reader.cells(cells, expand_term).sort_by([(name, "ascending") for name in _POSITIONS])
    names = found["cell_id"].to_pylist()
    columns = reader.axis["column"].to_pylist()

    def chunks() -> Iterator[csr_array[Any, Any]]:
        progress("Reading counts", 0, len(names))
        done = 0
        for chunk in reader.iter_csr(found, columns, CHUNK_CELLS):
            done += chunk.shape[0]
            yield chunk
            progress("Reading counts", done, len(names))

    return CountMatrix(
        names=names,
        obs=found.drop(_POSITIONS),
        features=feature_table(reader.axis),
        chunks=chunks,
        facts={
            "cells": cells if isinstance(cells, str) else cells.expression,
            "store_version": str(reader.version.cells),
            "axis_sha256": reader.version.axis_sha256,
            "values": "raw counts",
            "layer": reader.layer,
        },
    )
