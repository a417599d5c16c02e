"""How strong the message of every edge is, summed over groups of cells: never a number per cell and edge at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tosg_graph.models.edge_groups import EdgeGroup

EDGES = 4096  # taken at once: (edges, cells, channels) has to fit the memory


@dataclass(frozen=True)
class Sent:
    """The messages of a group of K edges: what senders send, and what receivers get of all groups together.

    Parameters
    ----------
    values
        ``(N, B, F)``: the message of a sender, before the weight of the edge.
    received
        ``(N, B, F)``: the sum of all messages that arrive.
    group
        The edges.
    weight
        ``(K, 1, 1)``, or per cell and head of attention ``(K, B, heads)``: what a message is multiplied by, sign
        included.
    """

    values: Tensor
    received: Tensor
    group: EdgeGroup
    weight: Tensor

    def messages(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield some edges of the group, and their messages ``(k, B, F)``."""
        for start in range(0, len(self.group.edge), EDGES):
            part = slice(start, start + EDGES)
            values = self.values[self.group.source[part]]
            heads = values.view(*values.shape[:2], self.weight.shape[2], -1)
            yield part, (heads * self.weight[part, ..., None]).flatten(2)

    def shares(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield some edges of the group, and ``(k, B)``: the share of each in what its receiver gets.

        ``<m_st, U_t> / |U_t|``: how far the message m moves the receiver the way U that all its messages move it;
        negative where it pulls back. The shares of all edges that arrive at a node add up to ``|U_t|``.
        """
        towards = torch.nn.functional.normalize(self.received, dim=-1)
        for part, messages in self.messages():
            yield part, (messages * towards[self.group.target[part]]).sum(-1)


def summed_shares(sent: Iterator[Sent], edges: int, groups: Tensor, n_groups: int) -> Tensor:
    """Add up shares by edge and group of cells: float64 ``(n_groups, E)``.

    Parameters
    ----------
    edges
        E.
    groups
        int64 ``(B,)``: group of each cell.
    """
    total = torch.zeros(edges, n_groups, dtype=torch.double, device=groups.device)
    for messages in sent:
        for part, share in messages.shares():
            by_group = share.new_zeros(len(share), n_groups).index_add_(1, groups, share)
            total.index_add_(0, messages.group.edge[part].to(total.device), by_group.double())
    return total.T.contiguous()
