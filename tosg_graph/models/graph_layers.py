"""One layer of signaling: messages along the edges, then a residual step of every node."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tosg_graph.models.edge_groups import EdgeGroup, Routes
from tosg_graph.models.sent_messages import Sent
from tosg_graph.models.typed_conv import TypedConv
from tosg_graph.shared_layers import SharedLayer
from tosg_graph.topology import Topology

with warnings.catch_warnings():
    # PyG scripts some functions when imported, which newer torch calls deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv
    from torch_geometric.utils import softmax

HEADS = 4  # of attention


def _gin(width: int) -> nn.Module:
    inner = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
    conv: nn.Module = GINConv(inner, train_eps=True)
    return conv


# GCN needs loops: without, a node at which no edge arrives has the degree 0 and would send nothing. Attention needs
# none, for the residual step keeps a node's own state.
_PYG: dict[str, Callable[[int], nn.Module]] = {
    "gcn": lambda width: GCNConv(width, width),
    "sage": lambda width: SAGEConv(width, width),
    "gin": _gin,
    "gat": lambda width: GATConv(width, width // HEADS, heads=HEADS, add_self_loops=False),
}


class TypedMessages(nn.Module):
    """A node's own state and the messages of all groups of edges, by `TypedConv` with messages of half the width."""

    def __init__(self, width: int, groups: Sequence[str], bases: int) -> None:
        super().__init__()
        self.own, self.conv = nn.Linear(width, width), TypedConv(width, groups, bases, width // 2)

    def forward(self, h: Tensor, routes: Routes) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out: Tensor = self.own(h) + self.conv(h, routes)
        return out

    def sent(self, h: Tensor, routes: Routes) -> Iterator[Sent]:
        """Messages of each group of edges."""
        return self.conv.sent(h, routes)


class SharedMessages(nn.Module):
    """PyG's own convs, which know no types: one per sign and way of messages; their outputs are added up."""

    def __init__(self, conv: str, width: int, groups: Sequence[str]) -> None:
        super().__init__()
        self.convs = nn.ModuleDict({name: _PYG[conv](width) for name in groups})

    def forward(self, h: Tensor, topologies: Topologies) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out = torch.zeros_like(h)
        for (_, topology), conv in zip(topologies, self.convs.values(), strict=True):
            out = out + SharedLayer(conv, topology, node_major=True)(h)
        return out

    def sent(self, h: Tensor, topologies: Topologies) -> Iterator[Sent]:
        """Messages of each group of edges."""
        for (group, _), conv in zip(topologies, self.convs.values(), strict=True):
            yield from _SENT[type(conv).__name__](conv, h, group)


Topologies = list[tuple[EdgeGroup, Topology]]


def _weighted(values: Tensor, group: EdgeGroup, weight: Tensor) -> Iterator[Sent]:
    """Messages with the weights of their edges, and their sum at each receiver."""
    sent = Sent(values, torch.zeros_like(values), group, weight.to(values))
    for part, messages in sent.messages():
        sent.received.index_add_(0, group.target[part], messages)
    yield sent


def _sent_gcn(conv: Any, h: Tensor, group: EdgeGroup) -> Iterator[Sent]:
    """Kipf and Welling (2017), eq. 2; every node has one loop, which is an edge where the graph states some."""
    loop = group.source == group.target
    stated = torch.bincount(group.source[loop], minlength=len(h)).double()
    degree = torch.bincount(group.target[~loop], minlength=len(h)).double() + 1
    weight = (degree[group.source] * degree[group.target]).rsqrt()
    weight = torch.where(loop, weight / stated[group.source].clamp(min=1), weight)
    return _weighted(conv.lin(h), group, weight.view(-1, 1, 1))


def _sent_sage(conv: Any, h: Tensor, group: EdgeGroup) -> Iterator[Sent]:
    count = torch.bincount(group.target, minlength=len(h)).double()
    values = nn.functional.linear(h, conv.lin_l.weight)
    return _weighted(values, group, (1 / count[group.target]).view(-1, 1, 1))


def _sent_gin(conv: Any, h: Tensor, group: EdgeGroup) -> Iterator[Sent]:
    """What is added up before GIN's own network, which is not linear."""
    return _weighted(h, group, torch.ones(len(group.edge), 1, 1))


def _sent_gat(conv: Any, h: Tensor, group: EdgeGroup) -> Iterator[Sent]:
    values = conv.lin(h)
    heads = values.unflatten(-1, (HEADS, -1))
    source, target = ((heads * a.view(HEADS, -1)).sum(-1) for a in (conv.att_src, conv.att_dst))
    score = nn.functional.leaky_relu(source[group.source] + target[group.target], conv.negative_slope)
    return _weighted(values, group, softmax(score, group.target, num_nodes=len(h)))  # (K, B, heads)


_SENT: dict[str, Callable[[Any, Tensor, EdgeGroup], Iterator[Sent]]] = {
    "GCNConv": _sent_gcn,
    "SAGEConv": _sent_sage,
    "GINConv": _sent_gin,
    "GATConv": _sent_gat,
}


class GraphLayer(nn.Module):
    """``h + dropout(gelu(messages(norm(h))))``: a residual step before which states are normalised."""

    def __init__(self, width: int, messages: TypedMessages | SharedMessages, dropout: float) -> None:
        super().__init__()
        self.norm, self.messages = nn.LayerNorm(width), messages
        self.dropout = ChannelDropout(dropout)

    def forward(self, h: Tensor, along: Routes | Topologies) -> Tensor:
        """``(N, B, H)`` to ``(N, B, H)``."""
        out: Tensor = h + self.dropout(nn.functional.gelu(self.messages(self.norm(h), along)))
        return out

    def sent(self, h: Tensor, along: Any) -> Iterator[Sent]:
        """Messages of each group of edges."""
        return self.messages.sent(self.norm(h), along)


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
