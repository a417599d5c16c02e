"""One layer of signaling: messages along the edges, then a residual step of every node."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tosg_graph.models.edge_groups import EdgeGroup, Routes
from tosg_graph.models.typed_conv import TypedConv
from tosg_graph.shared_layers import SharedLayer
from tosg_graph.topology import Topology

with warnings.catch_warnings():
    # PyG scripts some functions when imported, which newer torch calls deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv

HEADS = 4  # of attention


def _gin(width: int) -> nn.Module:
    inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
    conv: nn.Module = GINConv(inner, train_eps=True)
    return conv


# The residual step keeps a node's own state, so that no conv needs loops.
_PYG: dict[str, Callable[[int], nn.Module]] = {
    "gcn": lambda width: GCNConv(width, width, add_self_loops=False),
    "sage": lambda width: SAGEConv(width, width),
    "gin": _gin,
    "gat": lambda width: GATConv(width, width // HEADS, heads=HEADS, add_self_loops=False),
}


class TypedMessages(nn.Module):
    """A node's own state and the messages of all groups of edges, by `TypedConv`."""

    def __init__(self, width: int, groups: list[EdgeGroup], bases: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.conv = TypedConv(width, [group.name for group in groups], bases)

    def forward(self, h: Tensor, routes: Routes) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out: Tensor = self.own(h) + self.conv(h, routes)
        return out


class SharedMessages(nn.Module):
    """PyG's own convs, which know no types: one per sign and way of messages; their outputs are added up."""

    def __init__(self, conv: str, width: int, names: list[str]) -> None:
        super().__init__()
        self.names = list(names)
        self.convs = nn.ModuleList(_PYG[conv](width) for _ in names)

    def forward(self, h: Tensor, topologies: list[Topology]) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out = torch.zeros_like(h)
        for conv, topology in zip(self.convs, topologies, strict=True):
            out = out + SharedLayer(conv, topology, node_major=True)(h)
        return out


class GraphLayer(nn.Module):
    """``h + dropout(gelu(messages(norm(h))))``: a residual step before which states are normalised."""

    def __init__(self, width: int, messages: nn.Module, dropout: float) -> None:
        super().__init__()
        self.norm, self.messages = nn.LayerNorm(width), messages
        self.dropout = ChannelDropout(dropout)

    def forward(self, h: Tensor, along: Routes | list[Topology]) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out: Tensor = h + self.dropout(nn.functional.gelu(self.messages(self.norm(h), along)))
        return out


class ChannelDropout(nn.Module):
    """Leave out channels of a cell at all its nodes alike (Tompson et al. 2015): N times fewer random numbers."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, h: Tensor) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        if not self.training or not self.rate:
            return h
        return h * nn.functional.dropout(h.new_ones(1, *h.shape[1:]), self.rate)
