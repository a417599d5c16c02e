"""Which cells make which batch: computed before anything is read.

The cells lie in blocks that are read together. An epoch permutes the blocks, gives each rank an equal stretch of them,
cuts that into pools, and permutes the cells within each pool. So the batches do not depend on threads or workers, and
any batch of an epoch can be the first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tosg_graph.errors import FeedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

POOL_CELLS = 16_384  # cells that are shuffled with one another: 60 MB at 450 genes that are not zero
BLOCK_CELLS = 256


@dataclass(frozen=True)
class Order:
    """Which cells make which batch.

    Parameters
    ----------
    batch_size
        Cells per batch.
    shuffle
        Permute blocks, and cells within pools; otherwise all cells come in their own order.
    seed
        Decides every permutation, together with the epoch.
    rank, world_size
        Which of how many processes this one is.
    uneven
        What becomes of cells that cannot be dealt out equally. ``drop``: they are left out, others in each epoch.
        ``repeat``: the first ones are given twice, so that all are seen.
    drop_last
        Leave out a last batch that is smaller than the others.
    pool_cells, block_cells
        Cells that are shuffled with one another, and that are read together.
    """

    batch_size: int
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    uneven: Literal["drop", "repeat"] = "drop"
    drop_last: bool = False
    pool_cells: int = POOL_CELLS
    block_cells: int = BLOCK_CELLS

    def __post_init__(self) -> None:
        for name in ("batch_size", "world_size", "pool_cells", "block_cells"):
            if getattr(self, name) < 1:
                raise FeedError(f"{name}={getattr(self, name)} is below 1.")
        if self.seed < 0:
            raise FeedError(f"seed={self.seed} is below 0.")
        if not 0 <= self.rank < self.world_size:
            raise FeedError(f"rank={self.rank} is not between 0 and world_size - 1 = {self.world_size - 1}.")
        if self.uneven not in ("drop", "repeat"):
            raise FeedError(f"uneven={self.uneven!r} is unknown; choose drop, repeat.")

    @property
    def batches_per_pool(self) -> int:
        """Pools hold whole batches, so that each can be made on its own."""
        return max(1, self.pool_cells // self.batch_size)

    def share(self, cells: int) -> int:
        """Cells that each rank is given in an epoch."""
        return cells // self.world_size if self.uneven == "drop" else -(-cells // self.world_size)

    def batches(self, cells: int) -> int:
        """Batches of an epoch, the same on every rank."""
        share = self.share(cells)
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def pools(self, blocks: NDArray[np.int64], epoch: int, first: int = 0) -> Iterator[Pool]:
        """Yield the pools of an epoch from batch ``first`` on; the first without the batches before."""
        cells = int((blocks[:, 1] - blocks[:, 0]).sum())
        if self.shuffle:
            blocks = blocks[np.random.default_rng([self.seed, epoch]).permutation(len(blocks))]
        if self.uneven == "repeat":
            blocks = np.concatenate([blocks, blocks])
        share, size = self.share(cells), self.batches_per_pool * self.batch_size
        end = share if not self.drop_last else self.batches(cells) * self.batch_size
        for number in range(first // self.batches_per_pool, -(-end // size)):
            start = number * size
            ranges = _cut(blocks, self.rank * share + start, self.rank * share + min(start + size, end))
            skipped = max(0, first * self.batch_size - start)
            in_file_order = ranges[np.argsort(ranges[:, 0], kind="stable")]
            yield Pool(in_file_order, self._within(ranges, epoch, number)[skipped:])

    def _within(self, ranges: NDArray[np.int64], epoch: int, number: int) -> NDArray[np.int64]:
        order = np.arange((ranges[:, 1] - ranges[:, 0]).sum())
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch, self.rank, number]).permutation(order)
        return order


@dataclass(frozen=True)
class Pool:
    """Cells that are read together: ranges of places, and the order in which all of them are used."""

    ranges: NDArray[np.int64]
    order: NDArray[np.int64]

    def places(self) -> NDArray[np.int64]:
        """Places in the order of the ranges."""
        return np.concatenate([np.arange(a, b) for a, b in self.ranges])


def _cut(ranges: NDArray[np.int64], start: int, end: int) -> NDArray[np.int64]:
    """Return what lies from place ``start`` to ``end`` of the ranges laid end to end."""
    places = np.cumsum(np.concatenate([[0], ranges[:, 1] - ranges[:, 0]]))
    first = int(np.searchsorted(places, start, side="right")) - 1
    last = int(np.searchsorted(places, end, side="left"))
    found = ranges[first:last].copy()
    found[0, 0] += start - places[first]
    found[-1, 1] -= places[last] - end
    return found
