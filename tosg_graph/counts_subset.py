"""Raw counts of some cells of a split, as if the split had no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.bundle_counts import BundleCounts
    from tosg_graph.raw_rows import RawRows
    from tosg_graph.store_counts import StoreCounts


class CountsSubset:
    """Raw counts of some cells.

    Parameters
    ----------
    counts
        Those of the whole split.
    rows
        int64: rows of the split; the place in it is the row of the subset.
    """

    def __init__(self, counts: BundleCounts | StoreCounts | CountsSubset, rows: NDArray[np.int64]) -> None:
        self._counts, self._rows = counts, rows
        self.genes: int = counts.genes
        self.unpicked: int = counts.unpicked
        self.proteins: int = counts.proteins

    def __len__(self) -> int:
        return len(self._rows)

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each place: the same."""
        return places

    def blocks(self, cells: int) -> NDArray[np.int64]:
        """First place and end of runs of ``cells`` cells, ``(K, 2)``; the last may be shorter."""
        starts = np.arange(0, len(self), cells)
        return np.stack([starts, np.minimum(starts + cells, len(self))], axis=1)

    def read(self, ranges: NDArray[np.int64]) -> RawRows:
        """Counts of the cells in ranges of places, one after the other."""
        return self.take(np.concatenate([np.arange(a, b) for a, b in ranges]))

    def take(self, rows: NDArray[np.int64]) -> RawRows:
        """Counts of some cells, by row of the subset."""
        return self._counts.take(self._rows[rows])
