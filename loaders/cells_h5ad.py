"""AnnData files: raw counts, read a run of cells at a time and checked value by value, with their obs and var."""

from __future__ import annotations

import errno
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import CellsError
from tosg_graph.types import CHUNK_CELLS, MeasuredCells

if TYPE_CHECKING:
    import h5py
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

CHUNK_VALUES = 2**22  # at most so many are read at a time, but never less than one cell
_TOO_LARGE = 2**31  # counts are stored as int32
_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "ensembl_gene_id", "feature_id")


def read(path: Path, layer: str | None = None) -> MeasuredCells:
    """Read one ``.h5ad`` file: obs and var at once, the counts (CSR, CSC or dense) when they are asked for.

    Counts in CSC are written once to a temporary file (12 bytes or more per count; in ``TMPDIR``), cell by cell.

    Parameters
    ----------
    path
        The file.
    layer
        Which matrix holds raw counts: ``X`` (default), ``raw`` or the name of a layer.

    Raises
    ------
    CellsError
        If the file cannot be read, holds no cells or genes, repeats a barcode or feature, or measures something else
        than genes; and, when the counts are read, if they are anything but non-negative whole numbers below 2^31.
    """
    name = layer or "X"
    with _opened(path) as file:
        others = [other for other in _matrices(file) if other != name]
        place = _matrix_place(file, name, others, path)
        obs, var = _frames(file, path, "raw" if name == "raw" else "")
        if not len(obs) or not len(var):
            raise CellsError(f"{path} holds {len(obs)} cells and {len(var)} genes. There is nothing to add.")
        barcodes = _unique(path, "barcode", obs.index)
        features = _unique(path, "feature", var.index)
        _only_genes(path, var)
        shape = (len(barcodes), len(features))
        _check_shape(file[place], shape, path, name)

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with _opened(path) as opened:
            start = 0
            for part in _parts(opened[place], shape):
                some = barcodes[start : start + part.shape[0]]
                yield checked_counts(part, some, features, f"{path}, {name}", others)
                start += part.shape[0]

    return MeasuredCells(barcodes, features, _ensembl_ids(var), obs_table(obs), chunks)


def checked_counts(
    matrix: Any, barcodes: list[str], features: list[str], where: str, others: list[str]
) -> csr_array[Any, Any]:
    """Return the matrix as int32 CSR, or refuse it with the first value that is no raw count.

    Raises
    ------
    CellsError
        Naming cell, feature and value, and ``others``, the matrices to try with ``--layer``.
    """
    import numpy as np
    from scipy.sparse import csr_array

    sparse = csr_array(matrix)
    if sparse.nnz and (sparse.indices.min() < 0 or sparse.indices.max() >= len(features)):
        raise CellsError(f"{where} names features beyond its {len(features)}. Fetch the file again.")
    if not sparse.has_canonical_format:
        if sparse.dtype.kind in "iub":
            sparse = sparse.astype(np.int64)  # sums of values that are stored twice must not overflow
        sparse.sum_duplicates()
    values = sparse.data
    if values.dtype.kind not in "fiub":
        raise CellsError(f"{where} holds {values.dtype}, not numbers. Choose another --layer.")
    # Each comparison is false for NaN, so NaN is found too.
    good = (values >= 0) & (values < _TOO_LARGE)  # a float32 cannot hold 2^31-1
    if values.dtype.kind == "f":
        good &= values == np.rint(values)
    if not good.all():
        place = int(np.argmin(good))
        row = int(np.searchsorted(sparse.indptr, place, side="right")) - 1
        value = float(values[place])
        hint = f" Other matrices: {', '.join(others)} (--layer)." if others else " It has no other matrix."
        raise CellsError(
            f"{where} does not hold raw counts: cell {barcodes[row]!r}, feature {features[sparse.indices[place]]!r} is "
            f"{value:g}{_guess(sparse, value)}. Raw counts are whole numbers from 0 to 2^31-1.{hint}"
        )
    counts = csr_array(
        (values.astype(np.int32), sparse.indices.astype(np.int32), sparse.indptr.astype(np.int32)),
        shape=sparse.shape,
    )
    counts.eliminate_zeros()
    return counts


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
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open the file; whatever its reading makes of a broken one is one line."""
    import h5py

    if not path.exists():
        raise CellsError(f"There is no file {path}. Name an .h5ad file.")
    if path.is_dir():
        raise CellsError(f"{path} is a folder. Name an .h5ad file in it.")
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
            f"{path} cannot be read as .h5ad: {first}. Is the download complete? Check it with h5ls or fetch it again."
        ) from error


def _frames(file: h5py.File, path: Path, of: str) -> tuple[pd.DataFrame, pd.DataFrame]:
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


def _matrices(file: h5py.File) -> dict[str, str]:
    """Name of each matrix, as ``--layer`` takes it -> its place in the file."""
    places = {"X": "X", "raw": "raw/X" if "raw/X" in file else "raw.X"}
    places |= {name: f"layers/{name}" for name in file.get("layers", ())}
    return {n: at for n, at in places.items() if at in file and file[at].attrs.get("encoding-type") != "null"}


def _matrix_place(file: h5py.File, name: str, others: list[str], path: Path) -> str:
    held = _matrices(file)
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
    import numpy as np
    from scipy.sparse import csr_array

    indptr = _indptr(group, shape[0])
    for start, stop in _runs(indptr):
        some = slice(int(indptr[start]), int(indptr[stop]))
        # With 64-bit bounds scipy would make the indices 64-bit too.
        bounds = (indptr[start : stop + 1] - indptr[start]).astype(np.int32)
        yield csr_array((group["data"][some], group["indices"][some], bounds), shape=(stop - start, shape[1]))


def _runs(indptr: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield runs of rows, from and to, as long as `CHUNK_CELLS` and `CHUNK_VALUES` allow."""
    import numpy as np

    start = 0
    while start < len(indptr) - 1:
        full = int(np.searchsorted(indptr, indptr[start] + CHUNK_VALUES, side="right")) - 1
        stop = max(start + 1, min(start + CHUNK_CELLS, full))
        yield start, stop
        start = stop


def _csc_parts(group: h5py.Group, shape: tuple[int, int]) -> Iterator[csr_array[Any, Any]]:
    """One pass over the genes puts each value into the run of its cell, on disk; then run after run is read back."""
    import numpy as np
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
    import numpy as np

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
    import numpy as np

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


def _only_genes(path: Path, var: pd.DataFrame) -> None:
    if "feature_types" not in var.columns:
        return
    other = var["feature_types"][var["feature_types"] != "Gene Expression"]
    if len(other):
        raise CellsError(
            f"{path} holds {len(other)} features of type {str(other.iloc[0])!r} beside genes (first "
            f"{str(other.index[0])!r}), whose names could be taken for genes. Keep Gene Expression only: "
            "adata[:, adata.var.feature_types == 'Gene Expression']."
        )


def _ensembl_ids(var: pd.DataFrame) -> list[str | None]:
    for name in _ID_COLUMNS:
        if name in var.columns:
            return [v if v.startswith("ENS") else None for v in var[name].astype(str)]
    return [None] * len(var)


def _guess(sparse: csr_array[Any, Any], value: float) -> str:
    """Say what the values look like, if that can be told."""
    import numpy as np

    if not np.isfinite(value) or value < 0:
        return ""
    with np.errstate(over="ignore"):
        sums: NDArray[np.float64] = np.add.reduceat(
            np.expm1(sparse.data.astype(float)), sparse.indptr[:-1][_filled(sparse)]
        )
    if len(sums) and np.isfinite(sums).all() and sparse.data.max() < 20 and sums.std() < 0.01 * sums.mean():
        return f" (the values look like log1p of counts per {sums.mean():,.0f})"
    if len(sums) and np.isfinite(sparse.data).all() and sparse.data.max() < 20:
        return " (the values look log-normalised)"
    return " (the values look normalised or estimated)"


def _filled(sparse: csr_array[Any, Any]) -> NDArray[np.bool_]:
    filled: NDArray[np.bool_] = sparse.indptr[:-1] < sparse.indptr[1:]
    return filled
