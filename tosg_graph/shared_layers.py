"""PyG's own layers on one topology that B cells share: the sum over neighbours as one sparse product where it is one.

``(N, B, F)`` is the node-major form of ``(B, N, F)``; viewed as ``(N, B * F)``, one product with an ``(N, N)`` matrix
serves all cells, and no tensor of messages ``(B, E, F)`` is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tosg_graph.conv_modes import MODES, SPARSE, Mode, conv_mode
from tosg_graph.errors import LayerError
from tosg_graph.shared_attention import Scoring, attend

if TYPE_CHECKING:
    from tosg_graph.topology import Matrix, Topology


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class SharedLayer(torch.nn.Module):
    """A layer of PyG, with its own weights, on cells that share a topology.

    Parameters
    ----------
    conv
        A layer of ``torch_geometric.nn.conv``.
    topology
        The graph; one object for all layers.
    how
        ``sparse``, ``direct`` or ``block_diagonal``; by default what `conv_mode` says. All that can run give
        equal results.
    node_major
        Whether ``x`` and the output are ``(N, B, F)`` instead of ``(B, N, F)``.
    per_edge
        Other input of the layer that has one row per edge, by its name there, such as ``edge_attr`` or ``edge_type``.

    Raises
    ------
    LayerError
        If the layer cannot run that way, or does not take what is given per edge.

    Examples
    --------
    >>> topology = Topology(data.edge_index, data.num_nodes)
    >>> layer = SharedLayer(GCNConv(1, 32), topology)
    >>> layer(batch.x)  # (B, N, 1) -> (B, N, 32)
    """

    def __init__(
        self,
        conv: torch.nn.Module,
        topology: Topology,
        how: Mode | None = None,
        *,
        node_major: bool = False,
        **per_edge: Tensor,
    ) -> None:
        super().__init__()
        if how is not None and how not in MODES:
            raise LayerError(f"how={how!r} is unknown; choose {', '.join(MODES)}.")
        self.conv, self.topology, self.node_major = conv, topology, node_major
        self.how: Mode = conv_mode(conv) if how is None else how
        self._takes = inspect.signature(conv.forward).parameters
        self._check(per_edge)
        self._per_edge = tuple(per_edge)
        for name, value in per_edge.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer: ``(B, N, F)`` to ``(B, N, F')``, or node-major both."""
        nodes, dimension = self.topology.num_nodes, 0 if self.node_major else 1
        if x.dim() != 3 or x.shape[dimension] != nodes:
            wanted = f"({nodes}, B, F)" if self.node_major else f"(B, {nodes}, F)"
            raise LayerError(f"x has shape {tuple(x.shape)}; {type(self.conv).__name__} here takes {wanted}.")
        if self.how == "sparse":
            return self._turned(self._sparse(self._turned(x, not self.node_major)), not self.node_major)
        run = self._direct if self.how == "direct" else self._block_diagonal
        return self._turned(run(self._turned(x, self.node_major)), self.node_major)

    @staticmethod
    def _turned(x: Tensor, turn: bool) -> Tensor:
        """Swap the first two dimensions: a view, which layers that follow turn back for nothing."""
        return x.transpose(0, 1) if turn else x

    def _sparse(self, x: Tensor) -> Tensor:
        nodes, cells, _ = x.shape
        flat = x.reshape(
            nodes * cells, -1
        )  # (N * B, F): parts such as batch normalisation see one row per node
        out = _RULES[type(self.conv).__name__](self.conv, self.topology, flat)
        return out.view(nodes, cells, -1)

    def _direct(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x, self.topology.index(x.device), **self._named(x, 1))
        return out

    def _block_diagonal(self, x: Tensor) -> Tensor:
        cells, nodes, _ = x.shape
        named = self._named(x, cells)
        if "batch" in self._takes:  # attention over all nodes, sampling: within a cell
            named["batch"] = torch.arange(cells, device=x.device).repeat_interleave(nodes)
        edges = self.topology.blocks(cells, x.device)
        out = self.conv(x.reshape(cells * nodes, -1), edges, **named)
        return out.view(cells, nodes, -1)  # type: ignore[no-any-return]  # a layer of PyG, which is not typed

    def _named(self, x: Tensor, copies: int) -> dict[str, Tensor]:
        """What the layer takes per edge, once per copy of the graph."""
        named = {name: getattr(self, name) for name in self._per_edge}
        weight = self.topology.weight(x)
        if weight is not None:
            named["edge_weight"] = weight
        return {name: _repeated(value, copies) for name, value in named.items()}

    def _check(self, per_edge: dict[str, Tensor]) -> None:
        name = type(self.conv).__name__
        if self.how == "sparse":
            _check_sparse(self.conv, per_edge)
        given = {*per_edge, *(() if self.topology.edge_weight is None else ("edge_weight",))}
        unknown = sorted(given - set(self._takes))
        if unknown:
            raise LayerError(f"{name} does not take {unknown[0]!r}; it takes {', '.join(self._takes)}.")
        needed = [p.name for p in self._takes.values() if p.default is p.empty and p.kind not in _VARIADIC]
        missing = [p for p in needed if p not in {"x", "edge_index", *given}]
        if missing:
            raise LayerError(
                f"{name} needs {missing[0]!r} too. What has a row per edge is given by name; a layer that needs "
                "anything else has to be called itself (docs/layers.md)."
            )
        for argument, value in per_edge.items():
            if len(value) != self.topology.num_edges:
                raise LayerError(
                    f"{argument} has {len(value)} rows; the topology has {self.topology.num_edges} edges."
                )


def _check_sparse(conv: torch.nn.Module, per_edge: dict[str, Tensor]) -> None:
    name = type(conv).__name__
    if name not in SPARSE or conv_mode(conv) != "sparse":
        raise LayerError(
            f"{name} here is not a sum or mean over neighbours, so it is no sparse product; those are "
            f"{', '.join(sorted(SPARSE))} with aggr 'sum' or 'mean' and no edge_dim. Leave out how='sparse'."
        )
    if per_edge:
        raise LayerError(
            f"{min(per_edge)!r} cannot go into a sparse product; weights of edges belong to the Topology."
        )


def _repeated(value: Tensor, copies: int) -> Tensor:
    return value if copies == 1 else value.repeat(copies, *[1] * (value.dim() - 1))


# ----------------------------------------------------------------- one rule per layer: its forward, by products


def _gcn(conv: Any, topology: Topology, x: Tensor) -> Tensor:
    """Kipf and Welling (2017), eq. 2."""
    reverse = conv.flow == "target_to_source"
    if conv.normalize:
        matrix = topology.gcn_matrix(x, improved=conv.improved, loops=conv.add_self_loops, reverse=reverse)
    else:
        matrix = _summed(conv, topology, x)
    out = _linear_of_sum(conv.lin, matrix, x)
    return out if conv.bias is None else out + conv.bias


def _sage(conv: Any, topology: Topology, x: Tensor) -> Tensor:
    """Hamilton et al. (2017), algorithm 1 with sum or mean."""
    sent = conv.lin(x).relu() if conv.project else x
    out = _linear_of_sum(conv.lin_l, _summed(conv, topology, x), sent)
    out = out + conv.lin_r(x) if conv.root_weight else out
    return torch.nn.functional.normalize(out, dim=-1) if conv.normalize else out


def _gin(conv: Any, topology: Topology, x: Tensor) -> Tensor:
    """Xu et al. (2019), eq. 4.1."""
    summed = _product(_summed(conv, topology, x), x)
    out: Tensor = conv.nn(summed + (1 + conv.eps) * x)
    return out


def _graph(conv: Any, topology: Topology, x: Tensor) -> Tensor:
    """Morris et al. (2019), eq. 4, with weights."""
    out: Tensor = _linear_of_sum(conv.lin_rel, _summed(conv, topology, x), x) + conv.lin_root(x)
    return out


def _gat(conv: Any, topology: Topology, x: Tensor) -> Tensor:
    """Velickovic et al. (2018), eq. 3 to 6."""
    nodes, heads = topology.num_nodes, conv.heads
    sent, received = (conv.lin, conv.lin) if conv.lin is not None else (conv.lin_src, conv.lin_dst)
    value = sent(x).view(nodes, -1, conv.out_channels)  # (N, B * heads, C)
    # A node's score is linear in x too; both at once read x once.
    scored = torch.cat([_folded(sent, conv.att_src), _folded(received, conv.att_dst)])
    with torch.autocast(x.device.type, enabled=False):  # a softmax follows: PyG does not round here either
        scores = torch.nn.functional.linear(x.to(scored.dtype), scored).view(nodes, -1, 2, heads)
    sender, receiver = (scores[:, :, end].reshape(nodes, -1) for end in (0, 1))
    share = conv.dropout if conv.training else 0.0
    scoring = Scoring(conv.negative_slope, share, conv.add_self_loops, conv.flow == "target_to_source")
    out = attend(sender, receiver, value, topology, scoring).view(len(x), heads, -1)
    out = out.flatten(1) if conv.concat else out.mean(1)
    out = out if conv.res is None else out + conv.res(x)
    return out if conv.bias is None else out + conv.bias


def _folded(linear: Any, attention: Tensor) -> Tensor:
    """What ``x`` is multiplied by for ``attention . linear(x)`` of each head, ``(heads, F)``."""
    weight = linear.weight.view(*attention.shape[1:], -1)  # (heads, C, F)
    found: Tensor = (weight * attention[0].unsqueeze(2)).sum(1)
    return found


_RULES: dict[str, Callable[[Any, Topology, Tensor], Tensor]] = {
    "GATConv": _gat,
    "GCNConv": _gcn,
    "GINConv": _gin,
    "GraphConv": _graph,
    "SAGEConv": _sage,
}


def _summed(conv: Any, topology: Topology, x: Tensor) -> Matrix:
    return topology.matrix(x, mean=conv.aggr == "mean", reverse=conv.flow == "target_to_source")


def _linear_of_sum(linear: Any, matrix: Matrix, x: Tensor) -> Tensor:
    """``linear(matrix @ x)``, multiplying on the narrower side of the linear layer: they commute."""
    if (
        linear.out_channels >= linear.in_channels
    ):  # also where the width is not known before the first call (-1)
        out: Tensor = linear(_product(matrix, x))
        return out
    out = _product(matrix, torch.nn.functional.linear(x, linear.weight))
    return out if linear.bias is None else out + linear.bias


def _product(matrix: Matrix, x: Tensor) -> Tensor:
    """Multiply ``(N * B, F)``, node-major, as ``(N, B * F)``."""
    nodes = matrix.csr.shape[0]
    return (matrix @ x.reshape(nodes, -1)).view(x.shape)
