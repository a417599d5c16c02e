"""Raw counts of one split of a bundle, by row of its cells: compressed rows, mapped from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

PARTS = ("indptr", "indices", "data", "n_counts")


class BundleCounts:
    """Shards of one split, each opened and checked when it is first read.

    Parameters
    ----------
    folder, manifest
        The bundle.
    split
        ``train``, ``val`` or ``test``.
    verified
        Compare each shard's sha256 with the manifest.
    """

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], split: str, *, verified: bool = True
    ) -> None:
        self._folder, self._manifest, self._verified = folder, manifest, verified
        self._listed: list[dict[str, Any]] = manifest["shards"][split]
        self.genes: int = manifest["genes"]
        self._bounds = np.cumsum([0, *(s["cells"] for s in self._listed)])
        self._opened: dict[int, tuple[csr_array[Any, Any], NDArray[np.int64]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A worker opens the files itself.
        return {**self.__dict__, "_opened": {}}

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def blocks(self, cells: int) -> NDArray[np.int64]:
        """First row and end of each run of ``cells`` cells, shape ``(K, 2)``; the last may be shorter."""
        starts = np.arange(0, len(self), cells)
        return np.stack([starts, np.minimum(starts + cells, len(self))], axis=1)

    def csr(self, rows: NDArray[np.int64]) -> csr_array[Any, Any]:
        """Raw counts, int32 ``(len(rows), n_genes)``, rows as given, columns ascending within each."""
        from scipy.sparse import csr_array, vstack

        parts: list[csr_array[Any, Any]] = [self._shard(k)[0][local] for k, local, _ in self._in_shards(rows)]
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return csr_array((0, self.genes), dtype=np.int32)
        places = np.concatenate([at for _, _, at in self._in_shards(rows)])
        stacked: csr_array[Any, Any] = vstack(parts, format="csr")
        back = np.empty(len(rows), np.int64)
        back[places] = np.arange(len(rows))
        return stacked if np.array_equal(back, np.arange(len(rows))) else stacked[back]

    def totals(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """``n_counts`` of each cell: the sum over all features that were measured in it."""
        found = np.empty(len(rows), np.int64)
        for k, local, at in self._in_shards(rows):
            found[at] = self._shard(k)[1][local]
        return found

    def read(self, ranges: NDArray[np.int64]) -> tuple[csr_array[Any, Any], NDArray[np.int64]]:
        """Counts and totals of the cells in ``ranges``, ``(K, 2)``, one after the other; one copy of each value."""
        from scipy.sparse import csr_array

        pieces = list(self._pieces(ranges))
        lengths = [np.diff(self._shard(k)[0].indptr[start : end + 1]) for k, start, end in pieces]
        indptr = np.concatenate([[0], *lengths]).cumsum()
        indptr = indptr.astype(_width(int(indptr[-1])))
        indices, data = (np.empty(indptr[-1], kind) for kind in (indptr.dtype, np.int32))
        totals, row = np.empty(len(indptr) - 1, np.int64), 0
        for number, start, end in pieces:
            matrix, n_counts = self._shard(number)
            theirs = slice(matrix.indptr[start], matrix.indptr[end])
            ours = slice(indptr[row], indptr[row + end - start])
            indices[ours], data[ours] = matrix.indices[theirs], matrix.data[theirs]
            totals[row : row + end - start] = n_counts[start:end]
            bundle.release(n_counts)  # or a pass over all shards counts as memory of the process
            row += end - start
        return csr_array((data, indices, indptr), shape=(row, self.genes)), totals

    def _pieces(self, ranges: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Shard, first row in it and end of each range, cut where a shard ends."""
        for start, end in ranges.tolist():
            while start < end:
                number = int(np.searchsorted(self._bounds, start, side="right")) - 1
                stop = min(end, int(self._bounds[number + 1]))
                yield number, start - int(self._bounds[number]), stop - int(self._bounds[number])
                start = stop

    def _in_shards(self, rows: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Shard, rows within it, and their places among ``rows``."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"cells {rows.min()} to {rows.max()} of {len(self)}")
        shard_of = np.searchsorted(self._bounds, rows, side="right") - 1
        found = []
        for k in np.unique(shard_of).tolist():
            at = np.flatnonzero(shard_of == k)
            found.append((k, rows[at] - self._bounds[k], at))
        return found

    def _shard(self, number: int) -> tuple[csr_array[Any, Any], NDArray[np.int64]]:
        if number not in self._opened:
            self._opened[number] = self._open(self._listed[number])
        return self._opened[number]

    def _open(self, listed: Mapping[str, Any]) -> tuple[csr_array[Any, Any], NDArray[np.int64]]:
        from scipy.sparse import csr_array

        path = bundle.checked_path(self._folder, self._manifest, listed["file"], verified=self._verified)
        shard = bundle.map_tensors(path)
        if missing := set(PARTS) - set(shard):
            raise BundleError(f"{path} lacks {min(missing)!r}. Export the bundle again.")
        bundle.check_length(path, "cells", len(shard["indptr"]) - 1, listed["cells"])
        bundle.check_length(path, "values", len(shard["data"]), listed["nonzeros"])
        bundle.check_length(path, "indices", len(shard["indices"]), listed["nonzeros"])
        bundle.check_length(path, "totals", len(shard["n_counts"]), listed["cells"])
        width = _width(listed["nonzeros"])
        indptr, indices = (shard[part].astype(width, copy=False) for part in ("indptr", "indices"))
        matrix = csr_array((shard["data"], indices, indptr), shape=(listed["cells"], self.genes))
        return matrix, shard["n_counts"]


def _width(nonzeros: int) -> type[np.int32 | np.int64]:
    """Type of both index arrays: where they differ, scipy copies the one of the mapped file."""
    return np.int32 if nonzeros < 2**31 else np.int64
