"""Normalisation at read: layers of abundance out of raw counts and the totals of the cells.

Nothing normalised is stored. The total of a cell is ``n_counts``, the sum over all features that were measured in it:
a layer does not depend on which genes somebody picked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

COUNTS, CP10K, LOG1P = "counts", "cp10k", "log1p"
LAYERS = (COUNTS, CP10K, LOG1P)
TARGET_SUM = 10_000.0
PARAMETERS = {
    "target_sum": TARGET_SUM,
    "logarithm": "natural",
    "total": "n_counts",
}  # as manifests state them


def normalise(
    counts: NDArray[Any], totals: NDArray[np.integer[Any]], layer: str = LOG1P
) -> NDArray[np.float64]:
    """Return one layer of raw counts.

    Parameters
    ----------
    counts
        Raw counts, any shape.
    totals
        ``n_counts`` of the cell of each count; broadcast against ``counts``. A cell of total 0 has counts of 0 only.
    layer
        ``counts``; ``cp10k``: counts per 10,000 of the total; ``log1p``: natural logarithm of 1 + cp10k.

    Returns
    -------
    float64, shape of ``counts``.
    """
    values = counts.astype(np.float64)
    if layer != COUNTS:
        values *= TARGET_SUM / np.maximum(totals, 1)
    return np.log1p(values) if layer == LOG1P else values


def normalised(
    matrix: csr_array[Any, Any], totals: NDArray[np.integer[Any]], layer: str = LOG1P
) -> csr_array[Any, Any]:
    """Return one layer of a matrix of raw counts, cells in rows; as sparse as it was, float64.

    Parameters
    ----------
    totals
        ``n_counts`` of each row, shape ``(n_cells,)``.
    """
    from scipy.sparse import csr_array

    values = normalise(matrix.data, np.repeat(totals, np.diff(matrix.indptr)), layer)
    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def layer_sql(layer: str) -> str:
    """SQL for one layer of ``counts.count`` in a cell whose total is ``n_counts``."""
    scaled = f"counts.count * ({TARGET_SUM!r} / greatest(chosen.n_counts, 1))"
    return {COUNTS: "counts.count", CP10K: scaled, LOG1P: f"ln(1 + {scaled})"}[layer]
