"""Abundance of every node, dense: raw counts become layers, each value on the node of its gene or protein.

The same on the processor and on a device: there the compressed rows travel, and are made dense where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tosg_graph import normalise
from tosg_graph.gather import Gather

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.raw_rows import RawRows

_WIDTHS = (torch.uint8, torch.int16, torch.int32)


@dataclass(frozen=True)
class Layers:
    """What is made of raw counts.

    Parameters
    ----------
    genes
        Number of columns that are genes; those that follow are proteins.
    of_genes, of_proteins
        One of `normalise.LAYERS`, and of `normalise.PROTEIN_LAYERS`.
    gather
        How raw counts of further nodes come out of those of genes, before anything is made of them. The node of each
        column is then what its ``feature_rows`` say.
    """

    genes: int
    of_genes: str = normalise.COUNTS
    of_proteins: str = normalise.COUNTS
    gather: Gather | None = None


@dataclass(frozen=True)
class CompressedRows:
    """Raw counts of some cells as they travel to a device.

    Parameters
    ----------
    lengths
        int32 ``(B,)``: features that are not zero.
    indices
        int16 or int32 ``(nnz,)``: columns.
    data
        uint8, int16 or int32 ``(nnz,)``: the narrowest that holds the counts.
    totals
        int64 ``(B,)``: ``n_counts``.
    scales
        float64 ``(B,)``, of the proteins; ones where there are none.
    """

    lengths: Tensor
    indices: Tensor
    data: Tensor
    totals: Tensor
    scales: Tensor

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

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.lengths, self.indices, self.data, self.totals, self.scales


def compress(rows: RawRows) -> CompressedRows:
    """Return raw counts in the narrowest types that hold them."""
    matrix = rows.matrix
    largest = int(matrix.data.max(initial=0))
    width = next(w for w in _WIDTHS if largest <= torch.iinfo(w).max)
    column = torch.int16 if matrix.shape[1] <= torch.iinfo(torch.int16).max else torch.int32
    return CompressedRows(
        torch.from_numpy(np.diff(matrix.indptr).astype(np.int32)),
        torch.from_numpy(matrix.indices).to(column),
        torch.from_numpy(matrix.data).to(width),
        torch.from_numpy(rows.totals),
        torch.ones(len(rows.totals), dtype=torch.double)
        if rows.scales is None
        else torch.from_numpy(rows.scales),
    )


def dense(rows: RawRows, layers: Layers, feature_rows: NDArray[np.int64], out: NDArray[np.float32]) -> None:
    """Fill ``out`` with the layers.

    Parameters
    ----------
    feature_rows
        Node of each column, each another one; -1 where it has none.
    out
        ``(B, N)``, contiguous; what it held is lost.
    """
    from scipy.sparse import csr_array

    if gather := layers.gather:
        rows, feature_rows = gather.counts(rows), gather.nodes
        layers = replace(layers, genes=gather.genes, gather=None)
    matrix = rows.matrix
    nodes = feature_rows.astype(matrix.indices.dtype, copy=False)[matrix.indices]
    csr_array((_values(rows, layers), nodes, matrix.indptr), shape=out.shape).toarray(out=out)
    if gather:
        gather.copy(out)


def _values(rows: RawRows, layers: Layers) -> NDArray[np.float32]:
    """Values of the counts that are not zero."""
    matrix, lengths = rows.matrix, np.diff(rows.matrix.indptr)
    if layers.of_genes == normalise.COUNTS:
        values = matrix.data.astype(np.float32)
    else:
        spread = np.repeat(rows.totals, lengths)
        values = normalise.normalise(matrix.data, spread, layers.of_genes).astype(np.float32)
    if rows.scales is not None:
        at = np.flatnonzero(matrix.indices >= layers.genes)
        counts = matrix.data[at]
        if layers.of_proteins == normalise.CLR:
            counts = np.log1p(counts / np.repeat(rows.scales, lengths)[at])
        values[at] = counts
    return values


def dense_on_device(rows: CompressedRows, layers: Layers, feature_rows: Tensor, nodes: int) -> Tensor:
    """Return the layers as float32 ``(B, nodes)`` on the device of ``rows``; as `dense`, to float32 rounding."""
    device, size = rows.data.device, len(rows.lengths)
    cell = torch.repeat_interleave(
        torch.arange(size, device=device), rows.lengths, output_size=len(rows.data)
    )
    column = rows.indices.int()
    counts = rows.data.double()
    values = counts
    if layers.of_genes != normalise.COUNTS:
        values = counts * (normalise.TARGET_SUM / rows.totals.clamp(min=1))[cell]
    x = torch.zeros(size, nodes, device=device)
    if layers.gather is not None:
        layers.gather.add_on_device(x, cell, column, values)
        if layers.of_genes == normalise.LOG1P:
            x.log1p_()
    if layers.of_genes == normalise.LOG1P:
        values = values.log1p()
    if len(feature_rows) > layers.genes:
        of_proteins = (counts / rows.scales[cell]).log1p() if layers.of_proteins == normalise.CLR else counts
        values = torch.where(column >= layers.genes, of_proteins, values)
    place = feature_rows[column]
    if layers.gather is not None:
        kept = place >= 0
        cell, place, values = cell[kept], place[kept], values[kept]
    x.view(-1)[cell * nodes + place] = values.float()
    if layers.gather is not None:
        layers.gather.copy_on_device(x)
    return x
