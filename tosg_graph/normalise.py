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
CLR = "clr"
PROTEIN_LAYERS = (COUNTS, CLR)  # what is made of counts of proteins, whose totals say nothing about depth
CLR_PARAMETERS = {
    "clr": "log1p(count / protein_scale)",
    "logarithm": "natural",
    "protein_scale": "geometric mean of 1 + count over the proteins measured in the cell",
    "source": "Stoeckius et al. 2017, doi:10.1038/nmeth.4380",
}


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


def clr(matrix: csr_array[Any, Any], scales: NDArray[np.float64]) -> csr_array[Any, Any]:
    """Return the centred log ratio of counts of proteins per cell; as sparse as they were, float64.

    ``log1p(count / scale)``, natural: the transformation of Stoeckius et al. 2017 (CITE-seq, Nat. Methods 14, 865) in
    the form that keeps zero at zero, as Seurat's ``CLR`` with ``margin = 2``.

    Parameters
    ----------
    matrix
        Raw counts, cells in rows; any of their proteins.
    scales
        `clr_scales` of each row, shape ``(n_cells,)``.
    """
    from scipy.sparse import csr_array

    values = np.log1p(matrix.data / np.repeat(scales, np.diff(matrix.indptr)))
    return csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)


def clr_scales(matrix: csr_array[Any, Any], proteins: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """Geometric mean of 1 + count over all proteins that were measured in a cell, whose counts of zero are part of it.

    Parameters
    ----------
    matrix
        Raw counts of all proteins, cells in rows.
    proteins
        Number of proteins that were measured in each cell, shape ``(n_cells,)``, isotype controls among them; 0 gives
        NaN.
    """
    logs = np.log1p(matrix.data.astype(np.float64))
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    sums = np.bincount(rows, weights=logs, minlength=matrix.shape[0])
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = np.exp(np.divide(sums, proteins))
    return found


def layer_sql(layer: str) -> str:
    """SQL for one layer of ``counts.count`` in a cell whose total is ``n_counts``."""
    scaled = f"counts.count * ({TARGET_SUM!r} / greatest(chosen.n_counts, 1))"
    return {COUNTS: "counts.count", CP10K: scaled, LOG1P: f"ln(1 + {scaled})"}[layer]
