"""Metacells of an OmniCellTOSG folder: dense matrices by transcript, folded back to the genes they were copied from.

The published matrices repeat the count of a gene in the column of each of its transcripts (``bmg_gene_index.csv`` says
which). Here the copies become one count again, after a check that they agree and that nothing stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.cell_chunks import checked, reading, spans
from loaders.cell_names import ensembl_ids, obs_of_arrow, something
from loaders.omnicelltosg import gene_columns
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    from scipy.sparse import csr_array

    from loaders.cell_chunks import Part

MATRICES = "expression_matrix"
METADATA = "cell_metadata_with_mappings.parquet"
_INDEX = "bmg_gene_index.csv"
_FILE, _ROW = "matrix_file_path", "matrix_row_idx"


@dataclass(frozen=True)
class _Genes:
    """Which columns hold which gene.

    Parameters
    ----------
    names
        Symbols, in the order of the index.
    columns
        int64, sorted: the columns that hold some gene.
    of
        int64, one per value of ``columns``: its gene.
    first
        int64, one per gene: the first of its columns.
    """

    names: list[str]
    columns: npt.NDArray[np.int64]
    of: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def read(path: Path, layer: str | None = None, *, gene_index: str | None = None) -> MeasuredCells:
    """Read the metacells of a data set folder, or of one file in its ``expression_matrix``.

    A cell is named by its place, ``file:row``: the data set gives no other name.

    Parameters
    ----------
    gene_index
        The file ``bmg_gene_index.csv``, where it does not lie in the folder.

    Raises
    ------
    CellsError
        If a file is missing or cannot be read, metadata and matrices do not name the same cells, or columns of the
        index are not there or in two genes. When their chunk is read: copies of one gene that differ, values in
        columns of no gene, and values that are no raw counts, such as fractions.
    LoadError
        If the gene index is malformed.
    """
    if layer is not None:
        raise CellsError(f"{path}: an OmniCellTOSG folder has one matrix; leave out --layer.")
    root, only = (path, None) if path.is_dir() else (path.parent.parent, path.name)
    cells = _metadata(root, only)
    names, counts = _shards(root, cells)
    genes = _genes(Path(gene_index) if gene_index else root / _INDEX, _opened(root, names[0]).shape[1])
    barcodes = [f"{f}:{r}" for f, r in zip(cells[_FILE].to_pylist(), cells[_ROW].to_pylist(), strict=True)]
    with reading(root / METADATA, "Parquet"):
        obs, left = obs_of_arrow(cells)
    something(path, len(barcodes), len(genes.names))

    def chunks() -> Iterator[csr_array[Any, Any]]:
        first = 0
        for name, count in zip(names, counts, strict=True):
            own, where = barcodes[first : first + count], str(root / MATRICES / name)
            with reading(root / MATRICES / name, "a NumPy matrix"):
                yield from checked(_folded(_opened(root, name), genes, where), own, genes.names, where)
            first += count

    note = f"not read: {', '.join(left)} of the metadata" if left else ""
    return MeasuredCells(barcodes, genes.names, ensembl_ids(genes.names), obs, chunks, note)


# --------------------------------------------------------------------------- metadata


def _metadata(root: Path, only: str | None) -> pa.Table:
    """Rows of the metadata, sorted by file and row; of one file where ``only`` names it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = root / METADATA
    if not path.is_file():
        raise CellsError(
            f"{root} has no {METADATA}. Name the folder of the data set, or a file in its {MATRICES}."
        )
    with reading(path, "Parquet"):
        table = pq.read_table(path)
        missing = {_FILE, _ROW} - set(table.column_names)
        if missing:
            raise CellsError(f"{path} has no column {', '.join(sorted(missing))}. Fetch it again.")
        file = table[_FILE].cast(pa.string())
        table = table.set_column(table.column_names.index(_FILE), _FILE, file)
        row = table[_ROW].cast(pa.int64())
        table = table.set_column(table.column_names.index(_ROW), _ROW, row)
        if only is not None:
            table = table.filter(pc.equal(table[_FILE], only))
        if not len(table):
            raise CellsError(f"{path} has no cells{f' of {only}' if only else ''}. There is nothing to add.")
        return table.take(pc.sort_indices(table, [(_FILE, "ascending"), (_ROW, "ascending")]))


def _shards(root: Path, cells: pa.Table) -> tuple[list[str], list[int]]:
    """Names of the matrices and how many cells each has, which are all its rows."""
    found = cells[_FILE].combine_chunks().value_counts().to_pylist()
    names, counts = [entry["values"] for entry in found], [int(entry["counts"]) for entry in found]
    strange = [name for name in names if not name or Path(name).name != name]
    if strange:
        raise CellsError(
            f"{root / METADATA}: {strange[0]!r} in {_FILE} is no file of {MATRICES}. Fetch it again."
        )
    gone = [name for name in names if not (root / MATRICES / name).is_file()]
    if gone:
        raise CellsError(
            f"{root / MATRICES} lacks {len(gone)} of {len(names)} files of the metadata (first {gone[0]}). Fetch "
            "them, or add those that are there one by one."
        )
    rows, first = cells[_ROW].to_numpy(), 0
    width = _opened(root, names[0]).shape[1]
    for name, count in zip(names, counts, strict=True):
        shape = _opened(root, name).shape
        own = rows[first : first + count]
        if shape != (count, width) or not np.array_equal(own, np.arange(count)):
            raise CellsError(
                f"{root / MATRICES / name} is {shape[0]} x {shape[1]}, but the metadata has {count} cells in rows "
                f"{own.min()} to {own.max()} of it, and {names[0]} has {width} columns. Fetch both again."
            )
        first += count
    return names, counts


def _opened(root: Path, name: str) -> npt.NDArray[Any]:
    """The matrix, mapped into memory; nothing is unpickled."""
    path = root / MATRICES / name
    with reading(path, "a NumPy matrix"):
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.ndim != 2 or found.dtype.kind not in "iuf":
        raise CellsError(
            f"{path}: shape {found.shape}, {found.dtype}; cells x transcripts of numbers expected."
        )
    return found


# --------------------------------------------------------------------------- genes


def _genes(path: Path, width: int) -> _Genes:
    if not path.is_file():
        raise CellsError(
            f"There is no {path}. It comes with the data set's loader: put it there, or name it by "
            "--option gene_index=FILE."
        )
    found = gene_columns(path)
    of: dict[int, int] = {}
    for number, (gene, columns) in enumerate(found.items()):
        for at in columns:
            if at >= width or at in of:
                what = f"the matrices have {width}" if at >= width else "another gene has it too"
                raise CellsError(
                    f"{path}: column {at} of gene {gene!r}: {what}. Give the files of one release."
                )
            of[at] = number
    held = np.array(sorted(of), np.int64)
    first = np.array([min(columns) for columns in found.values()], np.int64)
    return _Genes(list(found), held, np.array([of[at] for at in held.tolist()], np.int64), first)


def _folded(matrix: npt.NDArray[Any], genes: _Genes, where: str) -> Iterator[Part]:
    """Yield runs of cells x genes; each gene has the value that all its columns have."""
    from scipy.sparse import csr_array

    for start, end in spans(matrix.shape[0], matrix.shape[1] * matrix.dtype.itemsize):
        block = np.asarray(matrix[start:end])
        copies, lead = block[:, genes.columns], block[:, genes.first]
        _check_places(where, start, block, copies, genes)
        _check_copies(where, start, copies, lead[:, genes.of], genes)
        yield start, csr_array(lead)


def _check_places(where: str, start: int, block: Any, copies: Any, genes: _Genes) -> None:
    """Refuse a value in a column of no gene."""
    if np.count_nonzero(block) == np.count_nonzero(copies):  # NaN is not zero
        return
    outside = block != 0
    outside[:, genes.columns] = False
    row, column = (int(numbers[0]) for numbers in np.nonzero(outside))
    raise CellsError(
        f"{where}: row {start + row} has {block[row, column]:g} in column {column}, which belongs to no gene of "
        f"{_INDEX}. Give the files of one release."
    )


def _check_copies(where: str, start: int, copies: Any, expected: Any, genes: _Genes) -> None:
    """Refuse a cell in which two columns of a gene differ."""
    differ = copies != expected
    if not differ.any():
        return
    differ &= ~(np.isnan(copies) & np.isnan(expected))  # that it is no count is found later
    if differ.any():
        row, at = (int(numbers[0]) for numbers in np.nonzero(differ))
        own = np.flatnonzero(genes.of == genes.of[at])[:5]
        values = ", ".join(f"{value:g}" for value in copies[row, own])
        raise CellsError(
            f"{where}: row {start + row}, gene {genes.names[genes.of[at]]!r}: its columns "
            f"{genes.columns[own].tolist()} hold {values}, but the copies of one gene are equal. Fetch the file again."
        )
