"""Raw counts of one split straight from the abundance store: the cells of a bundle that holds no abundance.

A feed reads them in the order in which the store holds them, whole blocks together: a block is decoded once.
"""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import BundleError
from tosg_graph.raw_rows import RawRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion


class StoreCounts:
    """Counts of some cells at the version of the store that a bundle names.

    Parameters
    ----------
    store
        The abundance store.
    manifest
        Of the bundle.
    cells
        ``cell_id`` and ``n_counts`` of the split, in its order.
    columns
        Column of the gene axis of each gene of the bundle.

    Raises
    ------
    BundleError
        If the bundle was made of another store.
    """

    proteins = unpicked = 0  # of an export only

    def __init__(
        self, store: AbundanceStore, manifest: Mapping[str, Any], cells: pa.Table, columns: Sequence[int]
    ) -> None:
        self._store, self._columns, self.genes = store, list(columns), len(columns)
        self._version = _version(store, manifest)
        self._lock = Lock()  # a thread reads ahead, and a connection is for one at a time
        self._totals = cells["n_counts"].to_numpy().astype(np.int64)
        block, cell = self._reader.places(cells["cell_id"].to_pylist())
        self._order = np.lexsort((cell, block))  # place in the store's order -> row
        self._places = np.empty_like(self._order)
        self._places[self._order] = np.arange(len(self._order))
        self._block, self._cell = block[self._order], cell[self._order]

    def __getstate__(self) -> dict[str, Any]:
        # A worker has a connection of its own.
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_reader")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def __len__(self) -> int:
        return len(self._order)

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each place in the store's order."""
        found: NDArray[np.int64] = self._order[places]
        return found

    def blocks(self, cells: int) -> NDArray[np.int64]:  # a block is read as a whole
        """First place and end of each block of the store, ``(K, 2)``."""
        starts = np.flatnonzero(np.diff(self._block, prepend=-1))
        return np.stack([starts, np.append(starts[1:], len(self))], axis=1)

    def read(self, ranges: NDArray[np.int64]) -> RawRows:
        """Counts of the cells at places in the store's order."""
        return self._at(np.concatenate([np.arange(a, b) for a, b in ranges]))

    def take(self, rows: NDArray[np.int64]) -> RawRows:
        """Counts of some cells, by row of the split."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"cells {rows.min()} to {rows.max()} of {len(self)}")
        return self._at(self._places[rows])

    def _at(self, places: NDArray[np.int64]) -> RawRows:
        import pyarrow as pa

        asked = pa.table({"block": self._block[places], "cell": self._cell[places]})
        with self._lock:
            matrix = self._reader.csr(asked, self._columns)
        return RawRows(matrix, self._totals[self._order[places]])

    @cached_property
    def _reader(self) -> AbundanceReader:
        from tosg_graph.abundance import AbundanceReader

        return AbundanceReader.open(self._store, self._version)


def _version(store: AbundanceStore, manifest: Mapping[str, Any]) -> StoreVersion:
    version = store.version_at(manifest["store"]["cells"])
    if version.axis_sha256 != manifest["axis_sha256"]:
        raise BundleError(
            f"The bundle was not made of {store}: the gene axis of its version {version.cells} is another. Name the "
            "store that it was exported from."
        )
    return version
