"""Raw counts out of whatever numbers a matrix holds, checked value by value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_TOO_LARGE = 2**31  # counts are stored as int32


def checked_counts(
    matrix: Any,
    barcodes: list[str],
    features: list[str],
    where: str,
    others: list[str],
    hint: str | None = None,
) -> csr_array[Any, Any]:
    """Return the matrix as int32 CSR, or refuse it with the first value that is no raw count.

    Raises
    ------
    CellsError
        Naming cell, feature and value, and ``others``, the matrices to try with ``--layer``; or ``hint``.
    """
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
        other = f"Other matrices: {', '.join(others)} (--layer)." if others else "It has no other matrix."
        raise CellsError(
            f"{where} does not hold raw counts: cell {barcodes[row]!r}, feature {features[sparse.indices[place]]!r} is "
            f"{value:g}{_guess(sparse, value)}. Raw counts are whole numbers from 0 to 2^31-1. "
            f"{hint or other}"
        )
    counts = csr_array(
        (values.astype(np.int32), sparse.indices.astype(np.int32), sparse.indptr.astype(np.int32)),
        shape=sparse.shape,
    )
    counts.eliminate_zeros()
    return counts


def _guess(sparse: csr_array[Any, Any], value: float) -> str:
    """Say what the values look like, if that can be told."""
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
