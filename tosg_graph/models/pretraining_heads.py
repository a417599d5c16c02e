"""What pretraining asks of states: the abundance of a node, and whether an edge joins two nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tosg_graph.models.edge_groups import knows_no_direction
from tosg_graph.models.model_graph import EdgeKey


class AbundanceHead(nn.Module):
    """``v = <norm(h), a_n> + b_n`` with ``a, b`` linear in the node's base: its size does not depend on N."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.decode = nn.LayerNorm(width), nn.Linear(width, width + 1)

    def forward(self, states: Tensor, base: Tensor) -> Tensor:
        """``(B, N, H)`` and ``(N, H)`` to ``(B, N)``, log1p of abundance."""
        decoded = self.decode(base)
        found: Tensor = (self.norm(states) * decoded[:, :-1]).sum(-1) / math.sqrt(base.shape[1])
        out: Tensor = found + decoded[:, -1]
        return out


class PairScorer(nn.Module):
    """``<P h_s * r, Q h_t> + b`` with ``r, b`` of the edge type, as DistMult with a side for each end.

    Types whose verb knows no direction have the mean of both ways, so that (s, t) and (t, s) score alike.
    """

    def __init__(self, width: int, edge_types: Sequence[EdgeKey]) -> None:
        super().__init__()
        self.norm, self.source, self.target = nn.LayerNorm(width), *_two(width)
        self.relation = nn.Parameter(torch.ones(len(edge_types), width))
        self.bias = nn.Parameter(torch.zeros(len(edge_types)))
        both = torch.tensor([knows_no_direction(key) for key in edge_types], dtype=torch.bool)
        self.register_buffer("both", both, persistent=False)
        self.both: Tensor

    def forward(self, states: Tensor, pairs: Tensor, edge_type: Tensor) -> Tensor:
        """``(B, N, H)``, int64 ``(2, P)`` and ``(P,)`` to logits ``(B, P)``."""
        first, second = (self.norm(states[:, end]) for end in pairs)  # (B, P, H)
        relation, both = self.relation[edge_type], self.both[edge_type]
        score = self._score(first, second, relation)
        if both.any():
            turned = self._score(second[:, both], first[:, both], relation[both])
            score = score.index_put(
                (torch.arange(len(score))[:, None], both.nonzero().T), (score[:, both] + turned) / 2
            )
        return score + self.bias[edge_type]

    def _score(self, first: Tensor, second: Tensor, relation: Tensor) -> Tensor:
        found: Tensor = (self.source(first) * relation * self.target(second)).sum(-1)
        return found / math.sqrt(relation.shape[-1])


def _two(width: int) -> tuple[nn.Linear, nn.Linear]:
    return nn.Linear(width, width), nn.Linear(width, width)
