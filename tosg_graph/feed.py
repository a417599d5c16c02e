"""Batches of cells for training: prepared ahead, on the processor or a device, to be gone on with after a stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from tosg_graph.dense import CompressedRows, Layers, compress, dense_on_device
from tosg_graph.errors import FeedError
from tosg_graph.feed_order import Order, Pool
from tosg_graph.threads import ahead

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from tosg_graph.dataset import Cells
    from tosg_graph.raw_rows import RawRows


class Counts(Protocol):
    """Where raw counts come from: the shards of a bundle, or a store."""

    def __len__(self) -> int: ...

    def blocks(self, cells: int) -> NDArray[np.int64]:
        """First place and end of runs that are read together, ``(K, 2)``; of ``cells`` cells where that is free."""

    def read(self, ranges: NDArray[np.int64]) -> RawRows:
        """Counts of the cells in ranges of places, one after the other."""

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of the cell at each place."""


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
    def layers(self) -> Layers:
        """What is made of the counts."""

    @property
    def num_nodes(self) -> int:
        """N."""

    @property
    def feature_rows(self) -> NDArray[np.int64]:
        """Node of each column of the counts."""

    def cells_of(self, x: Tensor, rows: NDArray[np.int64]) -> Cells:
        """Abundance with the labels of its cells."""

    def fill(self, rows: RawRows, at: NDArray[np.int64], out: NDArray[np.float32]) -> None:
        """Write the layers of raw counts into ``out``."""

    def batch(self, cells: Cells) -> Any:
        """Return cells as the mode has them."""


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
        return ahead(batches, self._ahead) if self._ahead else batches

    def _of_pools(self, pools: Iterator[Pool]) -> Iterator[Prepared]:
        for pool, held in self._read(pools):
            rows = self.dataset.counts.rows_of(pool.places())
            for start in range(0, len(pool.order), self.order.batch_size):
                at = pool.order[start : start + self.order.batch_size]
                yield self._prepare(held.take(at), rows[at])

    def _read(self, pools: Iterator[Pool]) -> Iterator[tuple[Pool, RawRows]]:
        """Counts of each pool, in the order of its ranges."""
        if self._workers:
            from tosg_graph.feed_workers import read_pools

            yield from read_pools(self.dataset.counts, list(pools), self._workers)
            return
        for pool in pools:
            yield pool, self.dataset.counts.read(pool.ranges)

    def _prepare(self, held: RawRows, rows: NDArray[np.int64]) -> Prepared:
        if self.device.type == "cpu":
            x = self._buffer(len(rows))
            self.dataset.fill(held, rows, x)
            return x, rows
        compressed = compress(held)
        return compressed.pinned() if self.device.type == "cuda" else compressed, rows

    def _finished(self, prepared: Prepared) -> Any:
        x, rows = prepared
        if isinstance(x, CompressedRows):
            self.bytes_copied += x.nbytes
            data, nodes = self.dataset, self._feature_rows_on_device
            tensor = dense_on_device(x.to(self.device), data.layers, nodes, data.num_nodes)
        else:
            tensor = torch.from_numpy(x)
        return self.dataset.batch(self.dataset.cells_of(tensor.unsqueeze(-1), rows))

    @cached_property
    def _feature_rows_on_device(self) -> Tensor:
        return torch.from_numpy(self.dataset.feature_rows).to(self.device)

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


Prepared = tuple["NDArray[np.float32] | CompressedRows", "NDArray[np.int64]"]


def _device(device: torch.device | str | None) -> torch.device:
    try:
        found = torch.device(device or "cpu")
    except RuntimeError as error:
        raise FeedError(f"device={device!r} is no device of PyTorch: {str(error).splitlines()[0]}") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise FeedError(f"device={str(device)!r}: PyTorch finds no GPU here. Use device='cpu'.")
    return found
