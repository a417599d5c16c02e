"""AnnData files: raw counts, checked value by value, with their obs and var."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import CellsError
from tosg_graph.types import CHUNK_CELLS, MeasuredCells

if TYPE_CHECKING:
    import anndata
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_TOO_LARGE = 2**31  # counts are stored as int32
_ID_COLUMNS = ("gene_ids", "gene_id", "ensembl_id", "ensembl", "ensembl_gene_id", "feature_id")


def read(path: Path, layer: str | None = None) -> MeasuredCells:
    """Read one ``.h5ad`` file.

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
    data = _open(path)
    matrix, var = _matrix(data, layer, path)
    if not data.n_obs or not len(var):
        raise CellsError(f"{path} holds {data.n_obs} cells and {len(var)} genes. There is nothing to add.")
    barcodes = _unique(path, "barcode", data.obs_names)
    features = _unique(path, "feature", var.index)
    _only_genes(path, var)
    name = layer or "X"

    def chunks() -> Iterator[csr_array[Any, Any]]:
        for start in range(0, len(barcodes), CHUNK_CELLS):
            some = slice(start, start + CHUNK_CELLS)
            yield checked_counts(
                matrix[some], barcodes[some], features, f"{path}, {name}", _others(data, name)
            )

    return MeasuredCells(
        barcodes=barcodes,
        features=features,
        feature_ids=_ensembl_ids(var),
        obs=obs_table(data.obs),
        chunks=chunks,
    )


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
        (values.astype(np.int32), sparse.indices.astype(np.int32), sparse.indptr.astype(np.int64)),
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
        else:
            texts = [None if pd.isna(value) else str(value) for value in values]
            columns[str(name)] = pa.array(texts, pa.string())
    return pa.table(columns) if columns else pa.table({"_": pa.nulls(len(obs))}).select([])


def _open(path: Path) -> anndata.AnnData:
    import anndata

    if not path.exists():
        raise CellsError(f"There is no file {path}. Name an .h5ad file.")
    if path.is_dir():
        raise CellsError(f"{path} is a folder. Name an .h5ad file in it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older files are moved to today's layout on reading
            return anndata.read_h5ad(path)
    except MemoryError:
        raise CellsError(
            f"{path} does not fit into memory. Split it by donor or sample and add the parts."
        ) from None
    except Exception as error:  # whatever h5py or anndata make of a broken file
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CellsError(
            f"{path} cannot be read as .h5ad: {first}. Is the download complete? Check it with h5ls or fetch it again."
        ) from error


def _matrix(data: anndata.AnnData, layer: str | None, path: Path) -> tuple[Any, pd.DataFrame]:
    if layer in (None, "X"):
        if data.X is None:
            raise CellsError(
                f"{path} has no X. Choose one of {', '.join(_others(data, 'X')) or 'nothing'} by --layer."
            )
        return data.X, data.var
    if layer == "raw" and data.raw is not None:
        return data.raw.X, data.raw.var
    if layer in data.layers:
        return data.layers[layer], data.var
    raise CellsError(f"{path} has no matrix {layer!r}. It has {', '.join(['X', *_others(data, 'X')])}.")


def _others(data: anndata.AnnData, name: str) -> list[str]:
    held = ["X"] if data.X is not None else []
    held += ["raw"] if data.raw is not None else []
    return [other for other in [*held, *data.layers] if other != name]


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
