"""Batches of cells for training: in blocks, shuffled, prepared ahead, equal in number on every rank, resumable.

An order is computed before anything is read. The cells lie in blocks that are read together. An epoch permutes the
blocks, gives each rank an equal stretch of them, cuts that into pools, and permutes the cells within each pool. So the
batches do not depend on threads or workers, and any batch of an epoch can be the first one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from tosg_graph.dense import CompressedRows, compress, dense_on_device
from tosg_graph.errors import FeedError
from tosg_graph.threads import threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array
    from torch import Tensor

    from tosg_graph.dataset import Cells

POOL_CELLS = 16_384  # cells that are shuffled with one another: 60 MB at 450 genes that are not zero
BLOCK_CELLS = 256


class Counts(Protocol):
    """Where raw counts come from: the shards of a bundle, or a store."""

    def __len__(self) -> int: ...

    @property
    def genes(self) -> int:
        """Number of columns."""

    def blocks(self, cells: int) -> NDArray[np.int64]:
        """First row and end of runs that are read together, ``(K, 2)``; of ``cells`` cells where that is free."""

    def read(self, ranges: NDArray[np.int64]) -> tuple[csr_array[Any, Any], NDArray[np.int64]]:
        """Raw counts, int32 ``(cells, genes)``, and ``n_counts`` of the cells in ranges of rows."""


class Fed(Protocol):
    """What a feed needs of a dataset; `tosg_graph.dataset.TosgDataset` says more."""

    def __len__(self) -> int: ...

    @property
    def counts(self) -> Counts:
        """Raw counts of its cells."""

    @property
    def layer(self) -> str:
        """What ``x`` holds."""

    @property
    def num_nodes(self) -> int:
        """N."""

    @property
    def gene_rows(self) -> NDArray[np.int64]:
        """Node of each column of the counts."""

    def cells_of(self, x: Tensor, rows: NDArray[np.int64]) -> Cells:
        """Abundance with the labels of its cells."""

    def fill(
        self,
        matrix: csr_array[Any, Any],
        totals: NDArray[np.int64],
        rows: NDArray[np.int64],
        out: NDArray[np.float32],
    ) -> None:
        """Write the layer of raw counts into ``out``."""

    def batch(self, cells: Cells) -> Any:
        """Return cells as the mode has them."""


# --------------------------------------------------------------------------- the order


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
    """Cells that are read together: ranges of rows, and the order in which the rows of all of them are used."""

    ranges: NDArray[np.int64]
    order: NDArray[np.int64]

    def rows(self) -> NDArray[np.int64]:
        """Rows in the order of the ranges."""
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


# --------------------------------------------------------------------------- batches


class Feed:
    """Batches of a dataset, epoch after epoch; each iteration is one epoch, or the rest of one.

    Made by `tosg_graph.dataset.TosgDataset.feed`, which says what the arguments mean.

    Raises
    ------
    FeedError
        If an argument is out of bounds, the device is not there, or a state is of another feed.
    """

    def __init__(
        self,
        dataset: Fed,
        order: Order,
        *,
        device: torch.device | str | None = None,
        ahead: int = 2,
        workers: int = 0,
        reuse: bool = False,
    ) -> None:
        if ahead < 0 or workers < 0:
            raise FeedError(f"ahead={ahead} and workers={workers} cannot be below 0.")
        self.dataset, self.order = dataset, order
        self.device = _device(device)
        if self.device.type != "cpu" and dataset.layer == "corrected":
            raise FeedError(
                "layer='corrected' is computed on the processor. Leave device out and move batches."
            )
        self._ahead, self._workers, self._reuse = ahead, workers, reuse
        self._blocks = dataset.counts.blocks(order.block_cells)
        self._epoch = self._batch = 0
        self._buffers: deque[NDArray[np.float32]] = deque()
        self.bytes_copied = 0

    def __len__(self) -> int:
        """Batches of a whole epoch on this rank, and on every other."""
        return self.order.batches(len(self.dataset))

    @property
    def epoch(self) -> int:
        """The epoch that the next batch belongs to."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin ``epoch`` with the next iteration; it decides the order, together with the seed."""
        if epoch < 0:
            raise FeedError(f"epoch={epoch} is below 0.")
        self._epoch, self._batch = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to go on after the batch that was given last; plain numbers."""
        return {"epoch": self._epoch, "batch": self._batch, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the feed stood that gave ``state``.

        Raises
        ------
        FeedError
            If that feed had other cells, another seed or another way to deal them out.
        """
        missing = {"epoch", "batch", *self._identity()} - set(state)
        if missing:
            raise FeedError(f"The state has no {min(missing)!r}: it is not of a feed.")
        for name, ours in self._identity().items():
            if state[name] != ours:
                raise FeedError(
                    f"The state is of a feed with {name}={state[name]!r}, this one has {ours!r}. Make the feed "
                    "as it was, or begin anew."
                )
        self._epoch, self._batch = int(state["epoch"]), int(state["batch"])

    def _identity(self) -> dict[str, Any]:
        o = self.order
        names = ("batch_size", "shuffle", "seed", "world_size", "uneven", "drop_last", "pool_cells")
        named = {name: getattr(o, name) for name in names}
        return {**named, "block_cells": o.block_cells, "cells": len(self.dataset)}

    def __iter__(self) -> Iterator[Any]:
        if self._batch >= len(self):  # a state at the very end of an epoch
            self._epoch, self._batch = self._epoch + 1, 0
        epoch = self._epoch
        for prepared in self._prepared(epoch, self._batch):
            batch = self._finished(prepared)
            self._batch += 1
            if self._batch == len(self):
                self._epoch, self._batch = epoch + 1, 0
            yield batch

    def _prepared(self, epoch: int, first: int) -> Iterator[Prepared]:
        pools = self.order.pools(self._blocks, epoch, first)
        batches = self._of_pools(pools)
        return _ahead(batches, self._ahead) if self._ahead else batches

    def _of_pools(self, pools: Iterator[Pool]) -> Iterator[Prepared]:
        for pool, (matrix, totals) in self._read(pools):
            rows = pool.rows()
            for start in range(0, len(pool.order), self.order.batch_size):
                at = pool.order[start : start + self.order.batch_size]
                yield self._prepare(matrix[at], totals[at], rows[at])

    def _read(self, pools: Iterator[Pool]) -> Iterator[tuple[Pool, Read]]:
        """Counts of each pool, in the order of its ranges."""
        if self._workers:
            from tosg_graph.feed_workers import read_pools

            yield from read_pools(self.dataset.counts, list(pools), self._workers)
            return
        for pool in pools:
            yield pool, read_pool(self.dataset.counts, pool)

    def _prepare(
        self, matrix: csr_array[Any, Any], totals: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Prepared:
        if self.device.type == "cpu":
            x = self._buffer(len(rows))
            self.dataset.fill(matrix, totals, rows, x)
            return x, rows
        compressed = compress(matrix, totals)
        return compressed.pinned() if self.device.type == "cuda" else compressed, rows

    def _finished(self, prepared: Prepared) -> Any:
        x, rows = prepared
        if isinstance(x, CompressedRows):
            self.bytes_copied += x.nbytes
            genes = self._gene_rows_on_device
            tensor = dense_on_device(x.to(self.device), self.dataset.layer, genes, self.dataset.num_nodes)
        else:
            tensor = torch.from_numpy(x)
        return self.dataset.batch(self.dataset.cells_of(tensor.unsqueeze(-1), rows))

    @property
    def _gene_rows_on_device(self) -> Tensor:
        if not hasattr(self, "_genes"):
            self._genes = torch.from_numpy(self.dataset.gene_rows).to(self.device)
        return self._genes

    def _buffer(self, cells: int) -> NDArray[np.float32]:
        """Memory for a batch: new, or of the batch that was given longest ago."""
        nodes = self.dataset.num_nodes
        if not self._reuse:
            return np.empty((cells, nodes), np.float32)
        # One is in use, `ahead` wait, one is being filled.
        if len(self._buffers) < self._ahead + 2:
            self._buffers.append(np.zeros((self.order.batch_size, nodes), np.float32))
        else:
            self._buffers.rotate(-1)
        return self._buffers[-1][:cells]


Read = tuple["csr_array[Any, Any]", "NDArray[np.int64]"]
Prepared = tuple["NDArray[np.float32] | CompressedRows", "NDArray[np.int64]"]


def read_pool(counts: Counts, pool: Pool) -> Read:
    """Raw counts and totals of a pool's cells, in the order of its ranges."""
    return counts.read(pool.ranges)


def _ahead(items: Iterator[Prepared], number: int) -> Iterator[Prepared]:
    """Yield items in order, up to ``number`` of them made by a thread while others are in use."""
    end: Any = object()
    with threads(1) as thread:
        waiting: deque[Future[Any]] = deque()
        for _ in range(number):
            waiting.append(thread.submit(next, items, end))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item


def _device(device: torch.device | str | None) -> torch.device:
    try:
        found = torch.device(device or "cpu")
    except RuntimeError as error:
        raise FeedError(f"device={device!r} is no device of PyTorch: {str(error).splitlines()[0]}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise FeedError(f"device={str(device)!r}: PyTorch finds no GPU here. Use device='cpu'.")
    return found
