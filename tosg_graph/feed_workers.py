"""Pools read by spawned processes, in order; what they read comes back through shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tosg_graph.feed import Counts
from tosg_graph.feed_order import Pool
from tosg_graph.raw_rows import RawRows

if TYPE_CHECKING:
    from torch import Tensor


class _Pools(Dataset["list[Tensor]"]):
    """Counts of each pool as tensors: ``indptr``, ``indices``, ``data``, columns, totals, scales."""

    def __init__(self, counts: Counts, pools: Sequence[Pool]) -> None:
        self._counts, self._pools = counts, pools

    def __len__(self) -> int:
        return len(self._pools)

    def __getitem__(self, number: int) -> list[Tensor]:
        rows = self._counts.read(self._pools[number].ranges)
        matrix, scales = rows.matrix, np.empty(0) if rows.scales is None else rows.scales
        columns = np.array(matrix.shape[1])
        parts = (matrix.indptr, matrix.indices, matrix.data, columns, rows.totals, scales)
        return [torch.from_numpy(part) for part in parts]


def read_pools(counts: Counts, pools: Sequence[Pool], workers: int) -> Iterator[tuple[Pool, RawRows]]:
    """Yield each pool with its counts, read by ``workers`` processes; the order is that of ``pools``."""
    from scipy.sparse import csr_array

    loader = DataLoader(
        _Pools(counts, pools),
        batch_size=None,
        num_workers=min(workers, len(pools)),
        multiprocessing_context="spawn",  # neither DuckDB nor Arrow can be forked
        prefetch_factor=1,
    )
    for pool, parts in zip(pools, loader, strict=True):
        indptr, indices, data, columns, totals, scales = (part.numpy() for part in parts)
        matrix = csr_array((data, indices, indptr), shape=(len(totals), int(columns)))
        yield pool, RawRows(matrix, totals, scales if len(scales) else None)
