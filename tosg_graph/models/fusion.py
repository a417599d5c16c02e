"""The first state of a node in a cell: what it is, by type, text and an own vector, and what was measured of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tosg_graph.models.model_graph import ModelGraph

LARGEST = 10.0  # standard deviations from the mean: a gene of one cell in a thousand has thirty
LEAST = 1e-3  # a smaller deviation is of a node that does not vary


class NodeFusion(nn.Module):
    """Text and measured value fused by a gate.

    ``h = b_n + sigmoid(c_n z + d_n) * a_n z`` where the value is known, ``b_n + m`` where it is not: the learned
    ``m`` says "not measured", which is no zero. ``z`` is the value, standardised by `set_scale`. ``a, c, d``
    are linear in the node's base ``b``, so that a node that was never seen, but has a text, has a gate too.

    Parameters
    ----------
    graph
        The graph; its text stays out of the weights.
    width
        H.
    text, abundance, own
        What takes part; the type of the node always does.
    """

    def __init__(self, graph: ModelGraph, width: int, *, text: bool, abundance: bool, own: bool) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.randn(len(graph.type_names), width) * 0.1)
        self.own = nn.Parameter(torch.randn(graph.num_nodes, width) * 0.1) if own else None
        self.text = nn.Linear(graph.text.shape[1], width) if text else None
        self.no_text = nn.Parameter(torch.zeros(width)) if text else None
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 3 * width) if abundance else None
        self.missing = nn.Parameter(torch.randn(width) * 0.1) if abundance else None
        self.register_buffer("node_type", graph.node_type, persistent=False)
        self.register_buffer("has_abundance", graph.has_abundance, persistent=False)
        self.register_buffer("vectors", graph.text if text else None, persistent=False)
        self.register_buffer("text_mask", graph.text_mask if text else None, persistent=False)
        self.register_buffer("mean", torch.zeros(graph.num_nodes))
        self.register_buffer("scale", torch.ones(graph.num_nodes))
        self.node_type: Tensor
        self.mean: Tensor
        self.scale: Tensor
        self.has_abundance: Tensor
        self.vectors: Tensor
        self.text_mask: Tensor

    def set_scale(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise values by mean and standard deviation of each node, ``(N,)``, over the cells of training."""
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > LEAST, deviation, 1.0))

    def base(self, text: Tensor | None = None) -> Tensor:
        """``(N, H)``: what each node is, the same in every cell; ``text`` ``(N, D)`` replaces that of the graph."""
        found = self.kind[self.node_type]
        if self.own is not None:
            found = found + self.own
        if self.text is not None and self.no_text is not None:
            said = self.text(self.vectors if text is None else text)
            found = found + torch.where(self.text_mask[:, None], said, self.no_text)
        normed: Tensor = self.norm(found)
        return normed

    def forward(self, x: Tensor, base: Tensor) -> Tensor:
        """Fuse ``(N, B, 1)``, log1p of abundance, NaN where unknown, with ``(N, H)``, to ``(N, B, H)``."""
        if self.gate is None or self.missing is None:
            return base[:, None, :].expand(-1, x.shape[1], -1)
        scale, slope, bias = self.gate(base)[:, None, :].chunk(3, dim=-1)  # (N, 1, H) each
        known = self.has_abundance[:, None, None] & ~x.isnan()
        value = ((x - self.mean[:, None, None]) / self.scale[:, None, None]).clamp(-LARGEST, LARGEST)
        value = torch.where(known, value, 0.0)
        fused = torch.addcmul(bias, value, slope).sigmoid() * (value * scale)
        return base[:, None, :] + torch.where(known, fused, self.missing)
