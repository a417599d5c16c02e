"""AnnData in zarr, format 2 or 3: a folder with X, obs and var, read in chunks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.cell_chunks import Compressed, checked, dense_rows, reading
from loaders.cell_names import GENES, ID_COLUMNS, ensembl_ids, something, texts, unique
from loaders.cells_h5ad import obs_table
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

    from loaders.cell_chunks import Part

_KIND = "AnnData in zarr"


def read(path: Path, layer: str | None = None) -> MeasuredCells:
    """Read one zarr folder that anndata wrote.

    Parameters
    ----------
    layer
        Which matrix holds raw counts: ``X`` (default), ``raw`` or the name of a layer.

    Raises
    ------
    CellsError
        If the folder cannot be read, holds no cells or genes, repeats a barcode or feature, measures something else
        than genes, or its parts differ in length. Values that are no raw counts are refused when their chunk is read.
    """
    with reading(path, _KIND), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr announces what later versions change
        from anndata.io import read_elem

        group = _open(path)
        held = _matrices(group)
        name, var_name = _chosen(path, layer, held)
        obs, var = read_elem(group["obs"]), read_elem(group[var_name])
        shape = _shape(path, group[name], len(obs), len(var))
    something(path, *shape)
    barcodes = unique(path, "barcode", texts(obs.index))
    features = unique(path, "feature", texts(var.index))
    _only_genes(path, var)
    others = [other for other in held if other != (layer or "X")]
    where = f"{path}, {layer or 'X'}"

    with reading(path, _KIND):
        note = _missing(path, group[name], shape[0])

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with reading(path, _KIND):
            matrix = _open(path)[name]
            _refuse_cut_pieces(path, matrix)
            yield from checked(_parts(matrix, shape, where), barcodes, features, where, others)

    ids = next((ensembl_ids(var[column].astype(str)) for column in ID_COLUMNS if column in var.columns), None)
    return MeasuredCells(barcodes, features, ids or ensembl_ids(features), obs_table(obs), chunks, note)


def _open(path: Path) -> Any:
    import zarr

    return zarr.open_group(str(path), mode="r")


def _matrices(group: Any) -> list[str]:
    """Names that ``layer`` may have."""
    layers = sorted(group["layers"].keys()) if "layers" in group else []
    has_x = "X" in group and _encoding(group["X"]) != "null"
    return ["X"] * has_x + ["raw"] * ("raw" in group and "X" in group["raw"]) + layers


def _chosen(path: Path, layer: str | None, held: list[str]) -> tuple[str, str]:
    """Where the matrix and its var stand."""
    if (layer or "X") not in held:
        raise CellsError(
            f"{path} has no matrix {layer or 'X'!r}. It has {', '.join(held) or 'none'} (--layer)."
        )
    if layer == "raw":
        return "raw/X", "raw/var"
    return ("X" if layer in (None, "X") else f"layers/{layer}"), "var"


def _encoding(matrix: Any) -> str:
    return str(matrix.attrs.get("encoding-type", "array"))


def _shape(path: Path, matrix: Any, cells: int, features: int) -> tuple[int, int]:
    stated = matrix.attrs.get("shape") if _encoding(matrix) in ("csr_matrix", "csc_matrix") else matrix.shape
    if tuple(stated or ()) != (cells, features):
        raise CellsError(
            f"{path}: the matrix is {' x '.join(map(str, stated or ()))}, but obs has {cells} rows and var {features}. "
            "Write the file again."
        )
    return cells, features


def _missing(path: Path, matrix: Any, cells: int) -> str:
    """Refuse a sparse matrix of which pieces are missing, and say so of a dense one: zarr takes them for zeros.

    Pieces of zeros only need not be written. Counts in a sparse matrix are not zero; its indices are only if no cell
    in the piece has two genes.
    """
    if _encoding(matrix) not in ("csr_matrix", "csc_matrix"):
        gone = matrix.nchunks - matrix.nchunks_initialized
        return (
            f"{gone} of {matrix.nchunks} pieces of the matrix are not there, which means zeros in zarr"
            if gone
            else ""
        )
    for name in (
        ("data", "indices") if matrix["data"].shape[0] > max(cells, matrix.attrs["shape"][1]) else ("data",)
    ):
        gone = matrix[name].nchunks - matrix[name].nchunks_initialized
        if gone:
            raise CellsError(
                f"{path}: {gone} of {matrix[name].nchunks} pieces of {matrix.name}/{name} are missing. Fetch "
                "them again."
            )
    return ""


def _refuse_cut_pieces(path: Path, matrix: Any) -> None:
    """Blosc reads past the end of a piece that was cut short, and what stands there looks like counts."""
    sparse = _encoding(matrix) in ("csr_matrix", "csc_matrix")
    for array in [matrix[name] for name in ("data", "indices", "indptr")] if sparse else [matrix]:
        if not _is_blosc(array.metadata):
            continue
        for piece in (path / array.path).rglob("*"):
            if piece.is_file() and not piece.name.startswith((".", "zarr.json")):
                _refuse_cut(piece)


def _refuse_cut(piece: Path) -> None:
    with piece.open("rb") as file:
        stated = int.from_bytes(
            file.read(16)[12:], "little"
        )  # of Blosc's header: the bytes of the whole piece
    size = piece.stat().st_size
    if size < max(16, stated):
        raise CellsError(f"{piece} has {size} bytes of {max(16, stated)}: it was cut short. Fetch it again.")


def _is_blosc(metadata: Any) -> bool:
    if metadata.zarr_format == 2:
        return getattr(metadata.compressor, "codec_id", None) == "blosc"
    return any(type(codec).__name__ == "BloscCodec" for codec in metadata.codecs)


def _parts(matrix: Any, shape: tuple[int, int], where: str) -> Iterator[Part]:
    kind = _encoding(matrix)
    if kind == "csr_matrix":
        return Compressed.of(matrix, shape, where).rows()
    if kind == "csc_matrix":
        return Compressed.of(matrix, shape[::-1], where).columns()
    return dense_rows(matrix, *shape)


def _only_genes(path: Path, var: pd.DataFrame) -> None:
    if "feature_types" not in var.columns:
        return
    other = var["feature_types"][var["feature_types"] != GENES]
    if len(other):
        raise CellsError(
            f"{path} holds {len(other)} features of type {str(other.iloc[0])!r} beside genes (first "
            f"{str(other.index[0])!r}), whose names could be taken for genes. Keep {GENES!r} only."
        )
