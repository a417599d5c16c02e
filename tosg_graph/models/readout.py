"""From the states of all nodes to one small vector per cell; its size does not depend on the number of nodes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tosg_graph.topology import Matrix, sparse_matrix

HEADS = 4


class Attention(nn.Module):
    """Pool over the first dimension by learned queries: a softmax of one linear score per head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, HEADS, bias=False)

    def weights(self, h: Tensor) -> Tensor:
        """``(N, B, H)`` to ``(N, B, heads)``; they add up to 1 over the first dimension."""
        scores: Tensor = self.score(h) / math.sqrt(h.shape[-1])
        return scores.softmax(dim=0)

    def forward(self, h: Tensor) -> Tensor:
        """``(N, B, H)`` to ``(B, heads * H)``."""
        return torch.einsum("nbk,nbh->bkh", self.weights(h), h).flatten(1)


class Pathways:
    """Means over the members of each pathway as one sparse product.

    Parameters
    ----------
    members
        int64 ``(2, M)``: node, pathway node.
    num_nodes
        N.
    """

    def __init__(self, members: Tensor, num_nodes: int) -> None:
        self.nodes: Tensor
        self.nodes, row = torch.unique(members[1], return_inverse=True)
        value = 1 / torch.bincount(row, minlength=len(self.nodes)).double()[row]
        self._entries = (row, members[0], value), (len(self.nodes), num_nodes)
        self._kept: dict[tuple[Any, ...], Matrix] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def means(self, h: Tensor) -> Tensor:
        """``(N, B, H)`` to ``(P, B, H)``."""
        key = (h.device, h.dtype == torch.float64)
        if key not in self._kept:
            entries, size = self._entries
            self._kept[key] = sparse_matrix(*entries, size, h)
        return (self._kept[key] @ h.reshape(len(h), -1)).view(len(self), *h.shape[1:])


class Standardised(nn.BatchNorm1d):
    """Batch normalisation over cells; a batch of one cell, which has no variance, is normalised as in evaluation.

    What is pooled over all nodes is nearly the same in every cell; only this makes the difference visible.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(B, F)`` to ``(B, F)``."""
        if self.training and len(x) == 1:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class Readout(nn.Module):
    """Logits out of states: pooled parts side by side, then two small linear layers.

    Parameters
    ----------
    parts
        ``pathway``: attention over the means of pathways; ``attention``: over nodes; ``mean`` of all nodes.
    width
        H.
    classes
        C.
    """

    def __init__(self, parts: tuple[str, ...], width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.pools = nn.ModuleDict({part: Attention(width) for part in parts if part != "mean"})
        size = sum(width if part == "mean" else HEADS * width for part in parts)
        self.parts = parts
        self.norm = Standardised(size)
        self.hidden, self.dropout = nn.Linear(size, width), nn.Dropout(dropout)
        self.out = nn.Linear(width, classes)

    def forward(self, h: Tensor, pathways: Pathways) -> Tensor:
        """``(N, B, H)`` to ``(B, C)``."""
        pooled = self.norm(torch.cat([self._pooled(part, h, pathways) for part in self.parts], dim=-1))
        out: Tensor = self.out(self.dropout(nn.functional.gelu(self.hidden(pooled))))
        return out

    def weights(self, h: Tensor, pathways: Pathways) -> dict[str, Tensor]:
        """Attention of the parts that have any: ``nodes`` ``(N, B, heads)``, ``pathways`` ``(P, B, heads)``."""
        names = {"attention": "nodes", "pathway": "pathways"}
        return {
            names[part]: pool.weights(self._read(part, h, pathways))
            for part, pool in self.pools.items()
            if isinstance(pool, Attention)
        }

    @staticmethod
    def _read(part: str, h: Tensor, pathways: Pathways) -> Tensor:
        return pathways.means(h) if part == "pathway" else h

    def _pooled(self, part: str, h: Tensor, pathways: Pathways) -> Tensor:
        if part == "mean":
            return h.mean(dim=0)
        found: Tensor = self.pools[part](self._read(part, h, pathways))
        return found
