"""Raw counts of some cells, as shards and stores hold them: genes, and surface proteins beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class RawRows:
    """Raw counts of some cells.

    Parameters
    ----------
    matrix
        int32 ``(B, genes + proteins)``; the proteins' columns come last. Among the genes, those that are no nodes and
        that others gather from follow the others.
    totals
        int64 ``(B,)``: ``n_counts``, the sum over all genes that were measured in the cell.
    scales
        float64 ``(B,)``: what ``clr`` divides counts of proteins by; None where there are no proteins.
    """

    matrix: csr_array[Any, Any]
    totals: NDArray[np.int64]
    scales: NDArray[np.float64] | None = None

    def take(self, at: NDArray[np.int64]) -> RawRows:
        """Some of the rows, in the order given."""
        scales = None if self.scales is None else self.scales[at]
        return RawRows(self.matrix[at], self.totals[at], scales)
