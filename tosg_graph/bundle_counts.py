"""Raw counts of one split of a bundle, by row of its cells: compressed rows, mapped from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.errors import BundleError
from tosg_graph.raw_rows import RawRows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

OF_GENES = ("indptr", "indices", "data", "n_counts")
OF_UNPICKED = ("unpicked_indptr", "unpicked_indices", "unpicked_data")
OF_PROTEINS = ("protein_indptr", "protein_indices", "protein_data", "protein_scale")


@dataclass(frozen=True)
class _Shard:
    genes: csr_array[Any, Any]
    totals: NDArray[np.int64]
    unpicked: csr_array[Any, Any] | None
    proteins: csr_array[Any, Any] | None
    scales: NDArray[np.float64] | None


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
        self.unpicked: int = manifest.get("gather", {}).get("unpicked_genes", 0)
        self.proteins: int = manifest.get("proteins", {}).get("count", 0)
        self._bounds = np.cumsum([0, *(s["cells"] for s in self._listed)])
        self._opened: dict[int, _Shard] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A worker opens the files itself.
        return {**self.__dict__, "_opened": {}}

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each place in the order of the files: the same."""
        return places

    def blocks(self, cells: int) -> NDArray[np.int64]:
        """First row and end of each run of ``cells`` cells, shape ``(K, 2)``; the last may be shorter."""
        starts = np.arange(0, len(self), cells)
        return np.stack([starts, np.minimum(starts + cells, len(self))], axis=1)

    def take(self, rows: NDArray[np.int64]) -> RawRows:
        """Counts of some cells, rows as given."""
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"cells {rows.min()} to {rows.max()} of {len(self)}")
        order = np.argsort(rows, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self.read(np.stack([rows[order], rows[order] + 1], axis=1)).take(back)

    def read(self, ranges: NDArray[np.int64]) -> RawRows:
        """Counts of the cells in ``ranges``, ``(K, 2)``, one after the other; each value is copied once."""
        from scipy.sparse import hstack

        pieces = list(self._pieces(ranges))
        parts = [_joined([(self._shard(k).genes, a, b) for k, a, b in pieces], self.genes)]
        totals = _concatenated([self._shard(k).totals[a:b] for k, a, b in pieces], np.int64)
        scales = None
        if self.unpicked:
            parts.append(_joined([(self._shard(k).unpicked, a, b) for k, a, b in pieces], self.unpicked))
        if self.proteins:
            parts.append(_joined([(self._shard(k).proteins, a, b) for k, a, b in pieces], self.proteins))
            scales = _concatenated([self._shard(k).scales[a:b] for k, a, b in pieces], np.float64)
        return RawRows(hstack(parts, format="csr") if len(parts) > 1 else parts[0], totals, scales)

    def _pieces(self, ranges: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
        """Shard, first row in it and end of each range, cut where a shard ends."""
        for start, end in ranges.tolist():
            while start < end:
                number = int(np.searchsorted(self._bounds, start, side="right")) - 1
                stop = min(end, int(self._bounds[number + 1]))
                yield number, start - int(self._bounds[number]), stop - int(self._bounds[number])
                start = stop

    def _shard(self, number: int) -> Any:
        if number not in self._opened:
            self._opened[number] = self._open(self._listed[number])
        return self._opened[number]

    def _open(self, listed: Mapping[str, Any]) -> _Shard:
        path = bundle.checked_path(self._folder, self._manifest, listed["file"], verified=self._verified)
        wanted = {*OF_GENES, *(OF_UNPICKED if self.unpicked else ()), *(OF_PROTEINS if self.proteins else ())}
        shard, genes = open_shard(path, listed, self.genes, wanted)
        bundle.check_length(path, "totals", len(shard["n_counts"]), listed["cells"])
        unpicked = _compressed(shard, "unpicked_", self.unpicked) if self.unpicked else None
        proteins = _compressed(shard, "protein_", self.proteins) if self.proteins else None
        return _Shard(genes, shard["n_counts"], unpicked, proteins, shard.get("protein_scale"))


def open_shard(
    path: Path, listed: Mapping[str, Any], genes: int, wanted: Set[str] = frozenset(OF_GENES[:3])
) -> tuple[dict[str, NDArray[Any]], csr_array[Any, Any]]:
    """Map a shard into memory: its tensors, and the raw counts of genes, int32 ``(cells, genes)``.

    Parameters
    ----------
    listed
        Its entry in the manifest.
    wanted
        Tensors that it must have.

    Raises
    ------
    BundleError
        If it does not hold what its entry in the manifest says.
    """
    shard = bundle.map_tensors(path)
    if missing := wanted - set(shard):
        raise BundleError(f"{path} lacks {min(missing)!r}. Export the bundle again.")
    bundle.check_length(path, "cells", len(shard["indptr"]) - 1, listed["cells"])
    bundle.check_length(path, "values", len(shard["data"]), listed["nonzeros"])
    bundle.check_length(path, "indices", len(shard["indices"]), listed["nonzeros"])
    return shard, _compressed(shard, "", genes)


def _compressed(shard: Mapping[str, Any], prefix: str, columns: int) -> csr_array[Any, Any]:
    indptr, indices, data = (shard[f"{prefix}{part}"] for part in ("indptr", "indices", "data"))
    return _csr(indptr, indices, data, columns)


def _joined(pieces: list[tuple[Any, int, int]], columns: int) -> csr_array[Any, Any]:
    """Rows ``start`` to ``end`` of each matrix, one after the other."""
    lengths = [np.diff(matrix.indptr[a : b + 1]) for matrix, a, b in pieces]
    indptr = np.cumsum(np.concatenate([[0], *lengths]))
    indices, data = (np.empty(indptr[-1], np.int32) for _ in range(2))
    at = 0
    for matrix, a, b in pieces:
        theirs = slice(matrix.indptr[a], matrix.indptr[b])
        ours = slice(at, at + theirs.stop - theirs.start)
        indices[ours], data[ours] = matrix.indices[theirs], matrix.data[theirs]
        bundle.release(matrix.data)  # or a pass over all shards counts as memory of the process
        at = ours.stop
    return _csr(indptr, indices, data, columns)


def _concatenated(parts: list[Any], kind: type) -> Any:
    return np.concatenate([np.empty(0, kind), *parts])


def _csr(indptr: Any, indices: Any, data: Any, columns: int) -> csr_array[Any, Any]:
    from scipy.sparse import csr_array

    # Both index arrays of one width: where they differ, scipy copies the one of a mapped file.
    width = np.int32 if len(data) < 2**31 else np.int64
    parts = (data, indices.astype(width, copy=False), indptr.astype(width, copy=False))
    return csr_array(parts, shape=(len(indptr) - 1, columns))
