"""Abundance of every node, dense: raw counts per gene become one layer, each value on the node of its gene.

The same on the processor and on a device: there the compressed rows travel, and are made dense where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tosg_graph import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_WIDTHS = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True)
class CompressedRows:
    """Raw counts of some cells as they travel to a device.

    Parameters
    ----------
    lengths
        int32 ``(B,)``: genes that are not zero.
    indices
        int16 or int32 ``(nnz,)``: columns, one per gene.
    data
        uint8, int16 or int32 ``(nnz,)``: the narrowest that holds the counts.
    totals
        int64 ``(B,)``: ``n_counts``.
    """

    lengths: Tensor
    indices: Tensor
    data: Tensor
    totals: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(t.numel() * t.element_size() for t in self._tensors())

    def pinned(self) -> CompressedRows:
        """Copy into memory from which a device reads on its own."""
        return CompressedRows(*(t.pin_memory() for t in self._tensors()))

    def to(self, device: torch.device) -> CompressedRows:
        """Begin to copy to ``device``, without waiting where the memory is pinned."""
        return CompressedRows(*(t.to(device, non_blocking=True) for t in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.lengths, self.indices, self.data, self.totals


def compress(matrix: csr_array[Any, Any], totals: NDArray[np.int64]) -> CompressedRows:
    """Return rows of raw counts in the narrowest types that hold them."""
    largest = int(matrix.data.max(initial=0))
    width = next(w for w in _WIDTHS if largest <= torch.iinfo(w).max)
    column = torch.int16 if matrix.shape[1] <= torch.iinfo(torch.int16).max else torch.int32
    return CompressedRows(
        torch.from_numpy(np.diff(matrix.indptr).astype(np.int32)),
        torch.from_numpy(matrix.indices).to(column),
        torch.from_numpy(matrix.data).to(width),
        torch.from_numpy(totals),
    )


def dense(
    matrix: csr_array[Any, Any],
    totals: NDArray[np.int64],
    layer: str,
    gene_rows: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Fill ``out`` with one layer.

    Parameters
    ----------
    matrix
        Raw counts ``(B, n_genes)``.
    totals
        ``n_counts`` of each cell, ``(B,)``.
    layer
        ``counts``, ``cp10k`` or ``log1p``; see `tosg_graph.normalise`.
    gene_rows
        Node of each column, each another one.
    out
        ``(B, N)``, contiguous; what it held is lost.
    """
    from scipy.sparse import csr_array

    if layer == normalise.COUNTS:
        values = matrix.data.astype(np.float32)
    else:
        spread = np.repeat(totals, np.diff(matrix.indptr))
        values = normalise.normalise(matrix.data, spread, layer).astype(np.float32)
    nodes = gene_rows.astype(matrix.indices.dtype, copy=False)[matrix.indices]
    csr_array((values, nodes, matrix.indptr), shape=out.shape).toarray(out=out)


def dense_on_device(rows: CompressedRows, layer: str, gene_rows: Tensor, nodes: int) -> Tensor:
    """Return one layer as float32 ``(B, nodes)`` on the device of ``rows``; as `dense`, to float32 rounding."""
    device, size = rows.data.device, len(rows.lengths)
    cell = torch.repeat_interleave(
        torch.arange(size, device=device), rows.lengths, output_size=len(rows.data)
    )
    values = rows.data.double()
    if layer != normalise.COUNTS:
        values *= (normalise.TARGET_SUM / rows.totals.clamp(min=1))[cell]
    if layer == normalise.LOG1P:
        values = values.log1p()
    x = torch.zeros(size * nodes, device=device)
    x[cell * nodes + gene_rows[rows.indices.int()]] = values.float()
    return x.view(size, nodes)
