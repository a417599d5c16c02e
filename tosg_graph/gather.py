"""Counts of genes become counts of transcripts and proteins: what `levels` wrote, applied to batches of cells.

The same on the processor, where it is a product of sparse matrices, and on a device. A node that has exactly what one
gene has, as most transcripts do, is not computed but copied when the gene's layer is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tosg_graph.raw_rows import RawRows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from scipy.sparse import csr_array


class Gather:
    """How counts of nodes come out of counts of genes.

    A node has the sum over its links of weight times the gene's count, or the largest of these.

    Parameters
    ----------
    feature_rows
        int64: node of each column of raw counts; -1 for genes that are no nodes. Genes come first, then proteins.
    genes
        How many of these are genes.
    tensors
        ``gene`` (int32, column), ``node_row`` (int64), ``weight`` (float64), ``largest`` (bool): one of each per link,
        sorted by node. No node has a column and links.

    Attributes
    ----------
    rows : int64, ascending
        Nodes whose abundance is gathered.
    feature_rows : int64
        As given; but a gene that is no node is put on the first node that has exactly what it has.
    """

    def __init__(
        self, feature_rows: NDArray[np.int64], genes: int, tensors: Mapping[str, NDArray[Any]]
    ) -> None:
        gene, row = tensors["gene"].astype(np.int64), np.asarray(tensors["node_row"])
        weight, largest = np.asarray(tensors["weight"]), np.asarray(tensors["largest"])
        self.rows, self._starts, lengths = np.unique(row, return_index=True, return_counts=True)
        self.feature_rows, self._genes, self._sources = feature_rows.copy(), genes, gene
        alone = (weight == 1) & (np.repeat(lengths, lengths) == 1)
        for_itself, first = np.unique(gene[alone], return_index=True)
        nowhere = feature_rows[for_itself] < 0
        self.feature_rows[for_itself[nowhere]] = row[alone][first[nowhere]]
        copied = alone & (self.feature_rows[gene] != row)
        self._copies = np.stack([self.feature_rows[gene[copied]], row[copied]])
        rest = ~alone
        self._gene, self._row, self._weight, self._largest = (
            gene[rest],
            row[rest],
            weight[rest],
            largest[rest],
        )
        self._on: dict[torch.device, _Links] = {}

    @cached_property
    def nodes(self) -> NDArray[np.int64]:
        """int64: node of each column of what `counts` returns: genes that have one, what is computed, proteins."""
        genes, proteins = self.feature_rows[: self._genes], self.feature_rows[self._genes :]
        return np.concatenate([genes[genes >= 0], np.unique(self._row), proteins])

    @property
    def genes(self) -> int:
        """Number of these columns that are normalised as genes are."""
        return len(self.nodes) - (len(self.feature_rows) - self._genes)

    def counts(self, rows: RawRows) -> RawRows:
        """Raw counts of `nodes`: ``(B, len(nodes))``."""
        if not len(self._row) and self.feature_rows.min(initial=0) >= 0:
            return rows
        first, *others = self._products
        matrix = rows.matrix @ first
        for other in others:
            matrix = matrix.maximum(rows.matrix @ other)
        return RawRows(matrix, rows.totals, rows.scales)

    def copy(self, out: NDArray[np.float32]) -> None:
        """Give nodes what the genes have that they come from; ``out`` is ``(B, N)`` and holds that of `nodes`."""
        sources, targets = self._copies
        for cell in out:  # which fits the processor's cache
            cell[targets] = cell[sources]

    def known(self, measured: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether all genes of each of `rows` were measured: ``(D, genes)`` in, ``(D, len(rows))`` out."""
        if not len(self.rows):
            return np.empty((len(measured), 0), np.bool_)
        return np.logical_and.reduceat(measured[:, self._sources], self._starts, axis=1)

    @cached_property
    def _products(self) -> list[csr_array[Any, Any]]:
        """Matrices ``(columns, nodes)``; counts are the largest of the products with them.

        The first has every column that is a node, every summed link, and one link of each node that has the largest of
        several; each other one has the next link of such nodes.
        """
        from scipy.sparse import csr_array

        shape = (len(self.feature_rows), len(self.nodes))
        place = np.full(int(self.nodes.max(initial=0)) + 1, -1)
        place[self.nodes] = np.arange(len(self.nodes))
        own = np.flatnonzero(self.feature_rows >= 0)
        turn = np.arange(len(self._row)) - np.searchsorted(self._row, self._row)
        turn[~self._largest] = 0
        found = []
        for number in range(int(turn.max(initial=0)) + 1):
            mine, itself = turn == number, own if number == 0 else own[:0]
            weight = np.concatenate([np.ones(len(itself)), self._weight[mine]])
            column = np.concatenate([itself, self._gene[mine]])
            node = place[np.concatenate([self.feature_rows[itself], self._row[mine]])]
            found.append(csr_array((weight, (column, node)), shape=shape))
        return found

    def copy_on_device(self, x: Tensor) -> None:
        """As `copy`."""
        links = self._links(x.device)
        x.index_copy_(1, links.targets, x.index_select(1, links.sources))

    def add_on_device(self, x: Tensor, cell: Tensor, column: Tensor, values: Tensor) -> None:
        """Write gathered values into ``x``, float32 ``(B, N)`` of zeros.

        Parameters
        ----------
        cell, column, values
            ``(nnz,)``, on the device of ``x``: values of raw counts, scaled at most.
        """
        links = self._links(x.device)
        number = links.lengths[column]
        entry = torch.repeat_interleave(number)  # of each product: the value, and below the link
        first = torch.cumsum(number, 0) - number
        link = links.starts[column][entry] + torch.arange(len(entry), device=x.device) - first[entry]
        at = cell[entry] * x.shape[1] + links.rows[link]
        products = (values[entry] * links.weights[link]).float()
        largest, flat = links.largest[link], x.view(-1)
        flat.index_add_(0, at[~largest], products[~largest])
        flat.scatter_reduce_(0, at[largest], products[largest], "amax")

    def _links(self, device: torch.device) -> _Links:
        if device not in self._on:
            order = np.argsort(self._gene, kind="stable")
            lengths = np.bincount(self._gene, minlength=len(self.feature_rows))
            of_genes = (lengths, np.cumsum(lengths) - lengths)
            of_links = (self._row[order], self._weight[order], self._largest[order])
            parts = (*of_genes, *of_links, *self._copies)
            self._on[device] = _Links(*(torch.from_numpy(part).to(device) for part in parts))
        return self._on[device]


@dataclass(frozen=True)
class _Links:
    """Links on a device: how many each column has, and where they begin among the others, by column; what is copied."""

    lengths: Tensor
    starts: Tensor
    rows: Tensor
    weights: Tensor
    largest: Tensor
    sources: Tensor
    targets: Tensor
