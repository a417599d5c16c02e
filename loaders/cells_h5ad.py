"""AnnData files: raw counts, read a run of cells at a time and checked value by value, with their obs and var."""

from __future__ import annotations

import errno
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.cell_names import ANTIBODIES, GENES
from loaders.cell_proteins import NONE, Beside, cut, in_obsm, joined
from loaders.raw_counts import checked_counts
from tosg_graph.errors import CellsError
from tosg_graph.types import CHUNK_CELLS, MeasuredCells

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

CHUNK_VALUES = 2**22  # at most so many are read at a time, but never less than one cell
_OTHER_PROTEINS = (
    "Choose another matrix by --option proteins=KEY, or leave the proteins out by proteins=none."
)
_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "ensembl_gene_id", "feature_id")


def read(
    path: Path, layer: str | None = None, *, proteins: str | None = None, protein_names: str | None = None
) -> MeasuredCells:
    """Read one ``.h5ad`` file: obs and var at once, the counts (CSR, CSC or dense) when they are asked for.

    Counts in CSC are written once to a temporary file (12 bytes or more per count; in ``TMPDIR``), cell by cell.

    Parameters
    ----------
    path
        The file.
    layer
        Which matrix holds raw counts: ``X`` (default), ``raw`` or the name of a layer.
    proteins, protein_names
        Keys of surface proteins in obsm and of their names in uns; see `loaders.cell_proteins.in_obsm`. The features of
        type ``Antibody Capture`` are proteins too. ``none`` leaves both out.

    Raises
    ------
    CellsError
        If the file cannot be read, holds no cells or genes, repeats a barcode or feature, or measures something else
        than genes and proteins; and, when the counts are read, if they are anything but non-negative whole numbers
        below 2^31.
    """

    def find(file: h5py.File, barcodes: Sequence[str]) -> Beside | None:
        return in_obsm(file, path, barcodes, proteins, protein_names)

    return read_group(path, layer, find=find, with_proteins=proteins != NONE)


def read_group(
    path: Path,
    layer: str | None,
    *,
    at: str = "/",
    kind: str = ".h5ad",
    find: Callable[[h5py.File, Sequence[str]], Beside | None],
    with_proteins: bool = True,
    more_obs: Callable[[h5py.File, pd.DataFrame], pd.DataFrame] | None = None,
) -> MeasuredCells:
    """Read the AnnData at a place in a file, and proteins beside it.

    Parameters
    ----------
    find
        ``(file, barcodes)`` -> where proteins stand in a matrix of their own.
    with_proteins
        Whether features of type ``Antibody Capture`` are taken.
    more_obs
        ``(file, obs)`` -> obs with what the rest of the file says of the cells.
    """
    name = layer or "X"
    with opened(path, kind) as whole:
        file = whole[at]
        others = [other for other in matrices(file) if other != name]
        place = _matrix_place(file, name, others, path)
        obs, var = _frames(file, path, "raw" if name == "raw" else "")
        if not len(obs) or not len(var):
            raise CellsError(f"{path} holds {len(obs)} cells and {len(var)} genes. There is nothing to add.")
        barcodes = _unique(path, "barcode", obs.index)
        shape = (len(barcodes), len(var))
        _check_shape(file[place], shape, path, name)
        genes, antibodies, note = _by_type(path, var, with_proteins)
        features, within = (
            _unique(path, "feature", var.index[genes]),
            _unique(path, "protein", var.index[antibodies]),
        )
        beside = find(whole, barcodes)
        if within and beside:
            raise CellsError(
                f"{path} holds proteins both among its features and in {beside.place}. Keep one of the two in the file."
            )
        ids = _ensembl_ids(var.iloc[genes])
        obs = more_obs(whole, obs) if more_obs else obs

    def chunks() -> Iterator[csr_array[Any, Any]]:
        columns = np.concatenate([genes, antibodies]) if len(genes) < shape[1] else None
        with opened(path, kind) as whole:
            start = 0
            for part in _parts(whole[at][place], shape):
                for piece in cut(part, len(beside.names)) if beside else [part]:
                    some = barcodes[start : start + piece.shape[0]]
                    taken = piece if columns is None else piece[:, columns]
                    counts = checked_counts(taken, some, features + within, f"{path}, {name}", others)
                    if beside:
                        raw = beside.read(whole[beside.place], start, start + piece.shape[0])
                        where = f"{path}, {beside.place}"
                        counts = joined(
                            counts, checked_counts(raw, some, beside.names, where, [], _OTHER_PROTEINS)
                        )
                    yield counts
                    start += piece.shape[0]

    return MeasuredCells(
        barcodes,
        features,
        ids,
        obs_table(obs),
        chunks,
        note,
        proteins=beside.names if beside else within,
        protein_cells=beside.cells if beside else None,
    )


def obs_table(obs: pd.DataFrame) -> pa.Table:
    """Convert obs to Arrow: text, int64, float64 or bool; what is missing is null."""
    import pandas as pd
    import pyarrow as pa

    columns = {}
    for name in obs.columns:
        values = obs[name]
        # Numbers stored as categories are names, such as cluster "3".
        kind: Any = object if isinstance(values.dtype, pd.CategoricalDtype) else values.dtype
        if pd.api.types.is_bool_dtype(kind):
            columns[str(name)] = pa.array(values, pa.bool_(), from_pandas=True)
        elif pd.api.types.is_integer_dtype(kind):
            columns[str(name)] = pa.array(values, pa.int64(), from_pandas=True)
        elif pd.api.types.is_float_dtype(kind):
            columns[str(name)] = pa.array(values.astype("float64"), pa.float64(), from_pandas=True)
        elif isinstance(values.dtype, pd.CategoricalDtype):
            codes = values.cat.codes.to_numpy()
            names = pa.array([str(value) for value in values.cat.categories], pa.string())
            columns[str(name)] = pa.DictionaryArray.from_arrays(
                pa.array(codes, pa.int32(), mask=codes < 0), names
            ).cast(pa.string())
        else:
            texts = [None if pd.isna(value) else str(value) for value in values]
            columns[str(name)] = pa.array(texts, pa.string())
    return pa.table(columns) if columns else pa.table({"_": pa.nulls(len(obs))}).select([])


# --------------------------------------------------------------------------- the file


@contextmanager
def opened(path: Path, kind: str = ".h5ad") -> Iterator[h5py.File]:
    """Open the file; whatever its reading makes of a broken one is one line."""
    import h5py

    if not path.exists():
        raise CellsError(f"There is no file {path}. Name a file that ends in {kind}.")
    if path.is_dir():
        raise CellsError(f"{path} is a folder. Name a file in it that ends in {kind}.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except CellsError:
        raise
    except MemoryError:
        raise CellsError(
            f"The names and obs of {path} do not fit into memory. Split it by donor or sample and add the parts."
        ) from None
    except Exception as error:  # whatever h5py or anndata make of a broken file
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CellsError(
                f"{tempfile.gettempdir()} is full; {path} is stored gene by gene and needs room there. Set TMPDIR to "
                "another disk."
            ) from error
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CellsError(
            f"{path} cannot be read as {kind}: {first}. Is the download complete? Check it with h5ls or fetch it again."
        ) from error


def _frames(file: h5py.Group, path: Path, of: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read obs, and the var of X and the layers or (``of`` is raw) that of raw."""
    import anndata
    import h5py

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # older files are moved to today's layout on reading
        if isinstance(file["obs"], h5py.Group):
            read_elem = anndata.io.read_elem
            return read_elem(file["obs"]), read_elem(file["raw/var" if of else "var"])
        # Before anndata 0.7 they were arrays of records; it still reads these.
        older = anndata.read_h5ad(path, backed="r")
        try:
            return older.obs, older.raw.var if of else older.var
        finally:
            older.file.close()


def matrices(file: h5py.Group) -> dict[str, str]:
    """Name of each matrix, as ``--layer`` takes it -> its place in the file."""
    places = {"X": "X", "raw": "raw/X" if "raw/X" in file else "raw.X"}
    places |= {name: f"layers/{name}" for name in file.get("layers", ())}
    return {n: at for n, at in places.items() if at in file and file[at].attrs.get("encoding-type") != "null"}


def _matrix_place(file: h5py.Group, name: str, others: list[str], path: Path) -> str:
    held = matrices(file)
    if name in held:
        return held[name]
    if name == "X":
        raise CellsError(f"{path} has no X. Choose one of {', '.join(others) or 'nothing'} by --layer.")
    raise CellsError(f"{path} has no matrix {name!r}. It has {', '.join(held)}.")


def _check_shape(matrix: Any, shape: tuple[int, int], path: Path, name: str) -> None:
    found = getattr(matrix, "shape", None) or _attribute(matrix, "shape", "h5sparse_shape")
    if tuple(map(int, found)) != shape:
        raise CellsError(
            f"{path} is damaged: {name} has shape {tuple(map(int, found))}, obs and var say {shape}. Fetch it again."
        )


def _attribute(group: h5py.Group, name: str, older: str) -> Any:
    return group.attrs[name if name in group.attrs else older]


# --------------------------------------------------------------------------- the counts, run by run


def _parts(matrix: Any, shape: tuple[int, int]) -> Iterator[csr_array[Any, Any]]:
    """Yield runs of cells in the order of the file, of whatever numbers it holds."""
    import h5py

    if isinstance(matrix, h5py.Dataset):
        return _dense_parts(matrix, shape)
    kind = _attribute(matrix, "encoding-type", "h5sparse_format")
    return _csc_parts(matrix, shape) if str(kind).startswith("csc") else _csr_parts(matrix, shape)


def _dense_parts(matrix: h5py.Dataset, shape: tuple[int, int]) -> Iterator[csr_array[Any, Any]]:
    from scipy.sparse import csr_array

    rows = min(CHUNK_CELLS, max(1, CHUNK_VALUES // shape[1]))
    if matrix.chunks and matrix.chunks[0] < rows:
        rows -= rows % matrix.chunks[0]  # a chunk of the file is unpacked once
    for start in range(0, shape[0], rows):
        yield csr_array(matrix[start : start + rows])


def _csr_parts(group: h5py.Group, shape: tuple[int, int]) -> Iterator[csr_array[Any, Any]]:
    from scipy.sparse import csr_array

    indptr = _indptr(group, shape[0])
    for start, stop in _runs(indptr):
        some = slice(int(indptr[start]), int(indptr[stop]))
        # With 64-bit bounds scipy would make the indices 64-bit too.
        bounds = (indptr[start : stop + 1] - indptr[start]).astype(np.int32)
        yield csr_array((group["data"][some], group["indices"][some], bounds), shape=(stop - start, shape[1]))


def _runs(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield runs of rows, from and to, as long as `CHUNK_CELLS` and `CHUNK_VALUES` allow."""
    start = 0
    while start < len(indptr) - 1:
        full = int(np.searchsorted(indptr, indptr[start] + CHUNK_VALUES, side="right")) - 1
        stop = max(start + 1, min(start + CHUNK_CELLS, full))
        yield start, stop
        start = stop


def _csc_parts(group: h5py.Group, shape: tuple[int, int]) -> Iterator[csr_array[Any, Any]]:
    """One pass over the genes puts each value into the run of its cell, on disk; then run after run is read back."""
    from scipy.sparse import csr_array

    indptr = _indptr(group, shape[1])
    per_run = min(CHUNK_CELLS, max(1, CHUNK_VALUES * shape[0] // max(1, int(indptr[-1]))))
    starts = range(0, shape[0], per_run)
    value = group["data"].dtype
    # Sums of values that are stored twice must not overflow.
    wide = np.dtype(np.int64) if value.kind in "iub" else value
    entry = np.dtype([("cell", np.int32), ("gene", np.int32), ("value", wide)])
    with tempfile.TemporaryFile(prefix="tosg-csc-", buffering=0) as spill:
        bounds = [_spill(group, indptr, first, shape[0], per_run, entry, spill) for first in _slabs(indptr)]
        offsets = np.cumsum([0, *(slab[-1] for slab in bounds)])
        for run, start in enumerate(starts):
            pieces = []
            for slab, offset in zip(bounds, offsets, strict=False):
                spill.seek((int(offset) + int(slab[run])) * entry.itemsize)
                pieces.append(np.fromfile(spill, entry, int(slab[run + 1] - slab[run])))
            held = np.concatenate(pieces) if pieces else np.empty(0, entry)
            rows = min(per_run, shape[0] - start)
            yield csr_array((held["value"], (held["cell"] - start, held["gene"])), shape=(rows, shape[1]))


def _slabs(indptr: NDArray[np.int64]) -> range:
    return range(0, int(indptr[-1]), CHUNK_VALUES)


def _spill(
    group: h5py.Group,
    indptr: NDArray[np.int64],
    first: int,
    cells: int,
    per_run: int,
    entry: np.dtype[Any],
    spill: Any,
) -> NDArray[np.int64]:
    """Append one slab of values, sorted by run of cells, and return where each run starts in it."""
    last = min(first + CHUNK_VALUES, int(indptr[-1]))
    cell = group["indices"][first:last]
    if len(cell) and (cell.min() < 0 or cell.max() >= cells):
        raise ValueError(f"a cell of number {cell.min() if cell.min() < 0 else cell.max()}, of {cells}")
    run = cell // per_run
    order = np.argsort(run.astype(np.int32), kind="stable")
    lengths: NDArray[np.int64] = np.diff(np.clip(indptr, first, last)).astype(np.int64)
    held = np.empty(last - first, entry)
    held["cell"] = cell[order]
    held["gene"] = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)[order]
    held["value"] = group["data"][first:last][order]
    held.tofile(spill)
    return np.concatenate([[0], np.cumsum(np.bincount(run, minlength=-(-cells // per_run)))])


def _indptr(group: h5py.Group, length: int) -> NDArray[np.int64]:
    indptr: NDArray[np.int64] = group["indptr"][:].astype(np.int64)
    held = min(len(group["data"]), len(group["indices"]))
    if len(indptr) != length + 1 or indptr[0] or (np.diff(indptr) < 0).any() or indptr[-1] > held:
        raise ValueError(f"its indptr of {len(indptr)} entries does not fit {length} rows and {held} values")
    return indptr


# --------------------------------------------------------------------------- obs and var


def _unique(path: Path, what: str, names: pd.Index) -> list[str]:
    found = [str(name) for name in names]
    if len(set(found)) != len(found):
        twice = names[names.duplicated()][0]
        raise CellsError(
            f"{path} repeats the {what} {twice!r}. Make them unique first (AnnData.obs_names_make_unique, "
            "var_names_make_unique), or add the parts as datasets of their own."
        )
    return found


def _by_type(
    path: Path, var: pd.DataFrame, with_proteins: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Places of the genes and of the antibodies among the features, and a note of what was left out."""
    if "feature_types" not in var.columns:
        return np.arange(len(var)), np.empty(0, np.int64), ""
    types = var["feature_types"].astype(str)
    other = types[~types.isin([GENES, ANTIBODIES])]
    genes, antibodies = (np.flatnonzero(types == kind) for kind in (GENES, ANTIBODIES))
    if len(other) or not len(genes):
        wrong = other if len(other) else types
        raise CellsError(
            f"{path} holds {len(wrong)} features of type {str(wrong.iloc[0])!r} beside genes (first "
            f"{str(wrong.index[0])!r}), whose names could be taken for genes. Keep Gene Expression and Antibody "
            "Capture only: adata[:, adata.var.feature_types == 'Gene Expression']."
        )
    if with_proteins or not len(antibodies):
        return genes, antibodies, ""
    return genes, antibodies[:0], f"not read: {len(antibodies)} features of {ANTIBODIES!r}"


def _ensembl_ids(var: pd.DataFrame) -> list[str | None]:
    for name in _ID_COLUMNS:
        if name in var.columns:
            return [v if v.startswith("ENS") else None for v in var[name].astype(str)]
    return [None] * len(var)
