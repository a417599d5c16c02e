"""Messages that know the type, the sign and the direction of their edge, for many cells at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tosg_graph.models.edge_groups import Routes


class TypedConv(nn.Module):
    """The sum of all messages that arrive at a node: one weight per group of edges, made of a few bases.

    ``U_t = sum_g 1/|g(t)| sum_(s in g(t)) sign_st W_g h_s`` with ``W_g = sum_k a_gk V_k``: Schlichtkrull et al. (2018),
    eq. 2 and 3, with signs.

    Parameters
    ----------
    width
        H.
    groups
        Names of the G groups.
    bases
        Number of ``V_k``.
    """

    def __init__(self, width: int, groups: Sequence[str], bases: int) -> None:
        super().__init__()
        self.groups = list(groups)
        self.bases = nn.Parameter(torch.empty(bases, width, width))
        self.mix = nn.Parameter(torch.empty(len(self.groups), bases))
        nn.init.normal_(self.bases, std=1 / math.sqrt(width))
        nn.init.normal_(self.mix, std=1 / math.sqrt(bases))

    @property
    def weights(self) -> Tensor:
        """``(G, H, H)``: what multiplies the state of a sender, from the right."""
        return torch.einsum("gk,kij->gij", self.mix, self.bases)

    def forward(self, h: Tensor, routes: Routes) -> Tensor:
        """``(N, B, H)`` node-major states to the message term ``U`` of the same shape."""
        nodes, cells, width = h.shape
        gather, deliver = routes.matrices(h)
        found = (gather @ h.reshape(nodes, -1)).view(routes.rows, cells, width)
        weights = self.weights
        parts = [found[a:b] @ w for (a, b), w in zip(routes.spans, weights, strict=True)]
        sent = torch.cat([found[:0], *parts])
        return (deliver @ sent.view(routes.rows, -1)).view(nodes, cells, width)
