"""Messages that know the type, the sign and the direction of their edge, for many cells at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tosg_graph.models.edge_groups import Routes
from tosg_graph.models.sent_messages import Sent


class TypedConv(nn.Module):
    """The sum of all messages that arrive at a node: one weight per group of edges, made of a few bases.

    ``U_t = P sum_g 1/|g(t)| sum_(s in g(t)) sign_st W_g D h_s`` with ``W_g = sum_k a_gk V_k``: Schlichtkrull et al.
    (2018), eq. 2 and 3, with signs, and with messages that are narrower than states where D and P are asked for.

    Parameters
    ----------
    width
        H.
    groups
        Names of the G groups.
    bases
        Number of ``V_k``, ``(inner, inner)`` each.
    inner
        Channels of a message; by default H, without D and P.
    """

    def __init__(self, width: int, groups: Sequence[str], bases: int, inner: int | None = None) -> None:
        super().__init__()
        self.groups = list(groups)
        self.down = nn.Linear(width, inner, bias=False) if inner else nn.Identity()
        self.up = nn.Linear(inner, width, bias=False) if inner else nn.Identity()
        inner = inner or width
        self.bases = nn.Parameter(torch.empty(bases, inner, inner))
        self.mix = nn.Parameter(torch.empty(len(self.groups), bases))
        nn.init.normal_(self.bases, std=1 / math.sqrt(inner))
        nn.init.normal_(self.mix, std=1 / math.sqrt(bases))

    @property
    def weights(self) -> Tensor:
        """``(G, inner, inner)``: what multiplies the narrowed state of a sender, from the right."""
        return torch.einsum("gk,kij->gij", self.mix, self.bases)

    def sums(self, h: Tensor, routes: Routes) -> Tensor:
        """``(N, B, H)`` node-major states to the sums of messages ``(N, B, inner)``, which `up` widens."""
        narrow: Tensor = self.down(h)
        nodes, cells, inner = narrow.shape
        gather, deliver = routes.matrices(narrow)
        found = (gather @ narrow.reshape(nodes, cells * inner)).view(routes.rows, cells, inner)
        # Not by slices: each of their gradients would be as large as all of them together.
        parts = torch.split(found, routes.sizes)
        sent = torch.cat([found[:0], *(part @ w for part, w in zip(parts, self.weights, strict=True))])
        return (deliver @ sent.view(routes.rows, cells * inner)).view(nodes, cells, inner)

    def forward(self, h: Tensor, routes: Routes) -> Tensor:
        """``(N, B, H)`` to the message term ``U`` of the same shape."""
        out: Tensor = self.up(self.sums(h, routes))
        return out

    def sent(self, h: Tensor, routes: Routes) -> Iterator[Sent]:
        """Messages of each group, in the space of `sums`."""
        narrow, received = self.down(h), self.sums(h, routes)
        for group, weight in zip(routes.groups, self.weights, strict=True):
            yield Sent(narrow @ weight, received, group, group.value(len(h)).to(h).view(-1, 1, 1))
