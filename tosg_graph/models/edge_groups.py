"""Edges that share a weight, and all their sums over neighbours as two sparse products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tosg_graph.contract import is_symmetric, verbs
from tosg_graph.models.model_graph import EdgeKey, ModelGraph
from tosg_graph.topology import Matrix, sparse_matrix


@dataclass(frozen=True)
class EdgeGroup:
    """Edges of one type, whose messages have one weight.

    Parameters
    ----------
    name
        Edge type, ``signed`` or ``plain``, and ``forward``, ``reverse`` or ``both``.
    source, target
        int64 ``(K,)``: where messages come from, and where they arrive.
    sign
        float32 ``(K,)``: what the message is multiplied by; 1 in plain groups.
    edge
        int64 ``(K,)``: number of the edge in the graph.
    """

    name: str
    source: Tensor
    target: Tensor
    sign: Tensor
    edge: Tensor

    def kept(self, keep: Tensor) -> EdgeGroup:
        """Only the edges where ``keep``, bool ``(E,)``, is true."""
        mine = keep[self.edge]
        return EdgeGroup(self.name, self.source[mine], self.target[mine], self.sign[mine], self.edge[mine])

    def value(self, num_nodes: int) -> Tensor:
        """float64 ``(K,)``: the sign over the number of edges of the group that arrive at the target.

        Schlichtkrull et al. (2018), eq. 2, with signs.
        """
        count = torch.bincount(self.target, minlength=num_nodes)
        return self.sign.double() / count[self.target]


def edge_groups(
    graph: ModelGraph, *, direction: bool = True, reverse: bool = True, sign: bool = True
) -> list[EdgeGroup]:
    """Group the edges of a graph by type, whether their sign is known, and the way a message goes.

    Parameters
    ----------
    direction
        Forward and reverse messages have weights of their own, but for verbs that know no direction; otherwise all
        edges are passed both ways by one weight.
    reverse
        Whether messages also go from target to source.
    sign
        Whether edges of known sign are a group of their own.
    """
    found = []
    for number, key in enumerate(graph.edge_type_names):
        mine = graph.edge_type == number
        for kind, chosen in _by_sign(graph.sign, mine, sign):
            edges = chosen.nonzero().squeeze(1)
            signs = graph.sign[edges] if kind == "signed" else torch.ones(len(edges))
            source, target = graph.edge_index[:, edges]
            one_way = EdgeGroup(f"{'__'.join(key)} {kind}", source, target, signs, edges)
            found += _ways(one_way, direction=direction and not knows_no_direction(key), reverse=reverse)
    return found


def knows_no_direction(key: EdgeKey) -> bool:
    """Whether the verb of an edge type is symmetric; verbs outside the schema are not."""
    return key[1] in verbs() and is_symmetric(key[1])


def _by_sign(sign: Tensor, mine: Tensor, apart: bool) -> list[tuple[str, Tensor]]:
    if not apart:
        return [("plain", mine)]
    parts = [("signed", mine & (sign != 0)), ("plain", mine & (sign == 0))]
    return [(kind, chosen) for kind, chosen in parts if chosen.any()]


def _ways(group: EdgeGroup, *, direction: bool, reverse: bool) -> list[EdgeGroup]:
    turned = EdgeGroup(f"{group.name} reverse", group.target, group.source, group.sign, group.edge)
    if direction:
        forward = EdgeGroup(f"{group.name} forward", group.source, group.target, group.sign, group.edge)
        return [forward, turned] if reverse else [forward]
    other = group.source != group.target  # a loop is one message
    both = [
        group,
        EdgeGroup("", *(t[other] for t in (turned.source, turned.target, turned.sign, turned.edge))),
    ]
    joined = {
        name: torch.cat([getattr(g, name) for g in both]) for name in ("source", "target", "sign", "edge")
    }
    return [EdgeGroup(f"{group.name} both", **joined)]


class Routes:
    """How messages of some groups travel: gathered by one sparse product, weighted, and delivered by another.

    A group is summed before it is weighted where fewer nodes receive than send, and after otherwise: linear maps and
    sums commute, and a weight costs by the row.

    Parameters
    ----------
    groups
        G groups of edges.
    num_nodes
        N.
    """

    def __init__(self, groups: Sequence[EdgeGroup], num_nodes: int) -> None:
        self.groups = list(groups)
        self.sizes: list[int] = []
        gather, deliver, start = [], [], 0
        for group in self.groups:
            first, last, rows = _two_steps(group, group.value(num_nodes), num_nodes)
            gather.append((first[0] + start, first[1], first[2]))
            deliver.append((last[0], last[1] + start, last[2]))
            self.sizes.append(rows)
            start += rows
        self.rows = start
        self._steps = (_joined(gather), (start, num_nodes)), (_joined(deliver), (num_nodes, start))
        self._kept: dict[tuple[Any, ...], tuple[Matrix, Matrix]] = {}

    def matrices(self, like: Tensor) -> tuple[Matrix, Matrix]:
        """``(M, N)`` that gathers and ``(N, M)`` that delivers, on the device of ``like``; made once."""
        key = (like.device, like.dtype == torch.float64)
        if key not in self._kept:
            gather, deliver = (sparse_matrix(*entries, size, like) for entries, size in self._steps)
            self._kept[key] = gather, deliver
        return self._kept[key]


Entries = tuple[Tensor, Tensor, Tensor]  # row, column, value


def _two_steps(group: EdgeGroup, value: Tensor, num_nodes: int) -> tuple[Entries, Entries, int]:
    senders, sender = torch.unique(group.source, return_inverse=True)
    receivers, receiver = torch.unique(group.target, return_inverse=True)
    if len(receivers) <= len(senders):
        rows = torch.arange(len(receivers))
        return (receiver, group.source, value), (receivers, rows, torch.ones(len(rows))), len(rows)
    rows = torch.arange(len(senders))
    return (rows, senders, torch.ones(len(rows))), (group.target, sender, value), len(rows)


def _joined(parts: Sequence[Entries]) -> Entries:
    rows, columns = (torch.cat([torch.empty(0, dtype=torch.long), *(p[i] for p in parts)]) for i in (0, 1))
    return rows, columns, torch.cat([torch.empty(0, dtype=torch.double), *(p[2] for p in parts)])
