"""Loom files: one dense matrix of genes x cells in HDF5, with attributes of rows and columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.cell_chunks import checked, dense_rows, reading
from loaders.cell_names import gene_features, something, texts, unique
from loaders.cells_h5ad import obs_table
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# As loompy, velocyto, scanpy and others name them; the first that is there.
_BARCODES = ("CellID", "obs_names", "cell_id", "barcode", "barcodes", "cell_names")
_SYMBOLS = ("Gene", "var_names", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "Symbol")
_IDS = ("Accession", "gene_ids", "gene_id", "ensembl_id", "ensembl_gene_id", "EnsemblID")


def read(path: Path, layer: str | None = None) -> MeasuredCells:
    """Read one ``.loom`` file.

    Parameters
    ----------
    layer
        ``X`` (default) for the main matrix, or the name of a layer, such as ``spliced``.

    Raises
    ------
    CellsError
        If the file cannot be read, names no cells or genes, repeats a barcode or feature, or attributes and matrix
        differ in length. Values that are no raw counts are refused when their chunk is read.
    """
    with reading(path, "loom"):
        import h5py

        with h5py.File(path, "r") as file:
            layers = sorted(file["layers"]) if "layers" in file else []
            name = _matrix(path, layer, layers, "matrix" in file)
            rows, columns = _attributes(file, "row_attrs"), _attributes(file, "col_attrs")
            genes, cells = _shape(path, file[name])
            found = gene_features(path, *_gene_names(path, rows))
            barcodes = unique(path, "barcode", texts(_taken(path, columns, _BARCODES, "cells")[:]))
            obs, left = _obs(columns, barcodes)
    _check_length(path, "row", genes, len(found.names))
    _check_length(path, "column", cells, len(barcodes))
    something(path, cells, genes)
    others = [other for other in ["X", *layers] if other != (layer or "X")]

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with reading(path, "loom"), h5py.File(path, "r") as file:
            parts = dense_rows(file[name], cells, genes, transposed=True)
            yield from checked(parts, barcodes, found.names, f"{path}, {layer or 'X'}", others)

    note = f"not read: {', '.join(left)} of the cells, which have several values per cell" if left else ""
    return MeasuredCells(barcodes, found.names, found.ids, obs, chunks, note)


def _matrix(path: Path, layer: str | None, layers: list[str], has_main: bool) -> str:
    if not has_main:
        raise CellsError(f"{path} is no loom file: it has no matrix. Check it with h5ls or fetch it again.")
    if layer not in (None, "X", *layers):
        raise CellsError(f"{path} has no matrix {layer!r}. It has {', '.join(['X', *layers])}.")
    return "matrix" if layer in (None, "X") else f"layers/{layer}"


def _attributes(file: Any, name: str) -> dict[str, Any]:
    return dict(file[name].items()) if name in file else {}


def _shape(path: Path, matrix: Any) -> tuple[int, int]:
    if len(matrix.shape) != 2 or matrix.dtype.kind not in "iuf":
        raise CellsError(
            f"{path}: a matrix of shape {matrix.shape}, {matrix.dtype}, is no loom. Fetch it again."
        )
    return int(matrix.shape[0]), int(matrix.shape[1])


def _taken(path: Path, held: dict[str, Any], names: Sequence[str], what: str) -> Any:
    for name in names:
        if name in held:
            return held[name]
    raise CellsError(
        f"{path} does not name its {what}: it has {', '.join(sorted(held)) or 'no attributes'}, none of "
        f"{', '.join(names)}."
    )


def _gene_names(path: Path, rows: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Ids and symbols; each stands for the other where a file has one of them only."""
    symbols = texts(_taken(path, rows, (*_SYMBOLS, *_IDS), "genes")[:])
    ids = next((texts(rows[name][:]) for name in _IDS if name in rows), symbols)
    _check_length(path, "row", len(symbols), len(ids))
    return ids, symbols


def _check_length(path: Path, axis: str, of_matrix: int, of_names: int) -> None:
    if of_matrix != of_names:
        raise CellsError(
            f"{path}: the matrix has {of_matrix} {axis}s, their names are {of_names}. Fetch it again."
        )


def _obs(columns: dict[str, Any], barcodes: list[str]) -> tuple[Any, list[str]]:
    """The attributes with one value per cell, barcodes excepted, and the names of the others."""
    import pandas as pd

    data: dict[str, Any] = {}
    left = []
    for name, held in columns.items():
        if held.shape != (len(barcodes),):
            left.append(name)
        elif name != next(b for b in _BARCODES if b in columns):
            values = held[:]
            data[name] = values if values.dtype.kind in "biuf" else texts(values)
    return obs_table(pd.DataFrame(data, index=range(len(barcodes)))), left
