"""One graph that many cells share, in the forms that layers multiply or index by; each made once and kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from tosg_graph.errors import LayerError

Kept = TypeVar("Kept")


class Matrix(NamedTuple):
    """A sparse matrix and its transpose, both CSR: the backward pass multiplies by the second."""

    csr: Tensor
    transposed: Tensor

    def __matmul__(self, x: Tensor) -> Tensor:
        """Multiply ``(N, K)``; half-precision numbers are summed in float32."""
        # Autocast would round the matrix, and with it one over the number of neighbours.
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = _Product.apply(x.to(self.csr.dtype), self.csr, self.transposed)
        return out.to(x.dtype)


class EdgeOrder(NamedTuple):
    """Edges sorted by target, and how to sort them by source; int32 where that holds them."""

    starts: Tensor  # (N + 1,): edges into node n are starts[n] to starts[n + 1]
    source: Tensor  # (E,)
    target: Tensor  # (E,)
    source_starts: Tensor  # (N + 1,): the same of edges out of node n, in the other order
    target_by_source: Tensor  # (E,)
    at_source: Tensor  # (E,): where each edge is in the other order

    def beginning(self, nodes: int) -> EdgeOrder:
        """Edges among the first nodes, of a graph in which no edge leaves them."""
        if nodes + 1 == len(self.starts):
            return self
        edges = int(self.starts[nodes])
        starts, source_starts = self.starts[: nodes + 1], self.source_starts[: nodes + 1]
        return EdgeOrder(
            starts,
            self.source[:edges],
            self.target[:edges],
            source_starts,
            self.target_by_source[:edges],
            self.at_source[:edges],
        )


class Topology:
    """A graph of N nodes and E edges, with the sparse matrices and block-diagonal indexes that layers use.

    Matrices and indexes are made when a layer first asks for them, on the device and in the precision of its
    ``x``, and kept: all layers on a topology should share one object.

    Parameters
    ----------
    edge_index
        int64 ``(2, E)`` of node numbers; row 0 is the source. Parallel edges count as often as they stand.
    num_nodes
        N.
    edge_weight
        float ``(E,)``, for layers that take weights; constant. A layer that learns its weights runs ``direct``
        and takes them itself.

    Raises
    ------
    LayerError
        If an edge names a node beyond N, or there is not one finite constant weight per edge.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, edge_weight: Tensor | None = None) -> None:
        if edge_index.dim() != 2 or len(edge_index) != 2 or edge_index.dtype != torch.long:
            shape = tuple(edge_index.shape)
            raise LayerError(f"edge_index is {edge_index.dtype} {shape}; it has to be torch.int64 (2, E).")
        if edge_index.numel() and not 0 <= int(edge_index.min()) <= int(edge_index.max()) < num_nodes:
            found = f"{int(edge_index.min())} to {int(edge_index.max())}"
            raise LayerError(
                f"edge_index names nodes {found}; a graph of {num_nodes} has 0 to {num_nodes - 1}."
            )
        if edge_weight is not None:
            _check_weight(edge_weight, edge_index.shape[1])
            edge_weight = edge_weight.to(edge_index.device)
        self.edge_index, self.num_nodes, self.edge_weight = edge_index, num_nodes, edge_weight
        self._kept: dict[tuple[Any, ...], Any] = {}

    @property
    def num_edges(self) -> int:
        """E."""
        return self.edge_index.shape[1]

    def index(self, device: torch.device) -> Tensor:
        """Edges on a device: int64 ``(2, E)``."""
        return self._keep(("index", device), lambda: self.edge_index.to(device))

    def weight(self, like: Tensor) -> Tensor | None:
        """Weights on the device and in the dtype of ``like``: ``(E,)``."""
        if self.edge_weight is None:
            return None
        given = self.edge_weight
        return self._keep(("weight", like.device, like.dtype), lambda: given.to(like))

    def blocks(self, size: int, device: torch.device) -> Tensor:
        """Edges of ``size`` copies of the graph, as one graph: int64 ``(2, size * E)``.

        Copy b has the node numbers ``b * N`` to ``(b + 1) * N``. Made for the largest size asked for; the index of
        a smaller one, such as a last batch, is its beginning.
        """
        key = ("blocks", device)
        if key not in self._kept or self._kept[key].shape[1] < size * self.num_edges:
            offsets = (torch.arange(size, device=device) * self.num_nodes).view(1, -1, 1)
            self._kept[key] = (self.index(device).unsqueeze(1) + offsets).reshape(2, -1)  # (2, size * E)
        found: Tensor = self._kept[key]
        return found[:, : size * self.num_edges]

    def matrix(self, like: Tensor, *, mean: bool = False, reverse: bool = False) -> Matrix:
        """The matrix whose product with ``(N, K)`` is the (weighted) sum over incoming edges.

        Parameters
        ----------
        like
            Of the device wanted; the matrix is float64 where ``like`` is, else float32.
        mean
            Divide by the number of incoming edges.
        reverse
            Sum over outgoing edges (PyG's ``flow="target_to_source"``).
        """

        def make() -> Matrix:
            source, target = _directed(self.edge_index, reverse)
            ones = torch.ones(self.num_edges, device=self.edge_index.device)
            values = ones if self.edge_weight is None else self.edge_weight
            if mean:
                count = torch.bincount(target, minlength=self.num_nodes)
                values = values.double() / count[target]
            return _matrix(source, target, values, self.num_nodes, like)

        return self._keep(("sum", mean, reverse, like.device, _precision(like)), make)

    def gcn_matrix(self, like: Tensor, *, improved: bool, loops: bool, reverse: bool = False) -> Matrix:
        """The symmetrically normalised matrix of Kipf and Welling (2017), by PyG's own ``gcn_norm``.

        Parameters
        ----------
        improved
            Self-loops that are added weigh 2, not 1.
        loops
            Add a self-loop to each node that has none.
        """

        def make() -> Matrix:
            from torch_geometric.nn.conv.gcn_conv import gcn_norm

            flow = "target_to_source" if reverse else "source_to_target"
            weight = None if self.edge_weight is None else self.edge_weight.double()
            edges, values = gcn_norm(
                self.edge_index, weight, self.num_nodes, improved, loops, flow, torch.double
            )
            if not bool(values.isfinite().all()):
                raise LayerError(
                    "edge_weight adds up to less than 0 at some nodes, and GCNConv divides by the root of that. "
                    "Give it weights of at least 0, or normalize=False."
                )
            return _matrix(*_directed(edges, reverse), values, self.num_nodes, like)

        return self._keep(("gcn", improved, loops, reverse, like.device, _precision(like)), make)

    def by_target(
        self, copies: int, device: torch.device, *, loops: bool, reverse: bool = False
    ) -> EdgeOrder:
        """Edges of some copies of the graph as one graph (see `blocks`), sorted by target.

        Made for the most copies asked for; those of fewer are its beginning.

        Parameters
        ----------
        loops
            Each node has exactly one self-loop, as attention layers of PyG make it; otherwise those that the graph has.
        reverse
            Messages go from the second row of edges to the first (PyG's ``flow="target_to_source"``).
        """
        key = ("by target", device, loops, reverse)
        if key not in self._kept or len(self._kept[key].starts) <= copies * self.num_nodes:
            edges = self.index(device) if copies == 1 else self.blocks(copies, device)
            source, target = _directed(edges, reverse)
            self._kept[key] = _edge_order(source, target, copies * self.num_nodes, loops)
        found: EdgeOrder = self._kept[key]
        return found.beginning(copies * self.num_nodes)

    def _keep(self, key: tuple[Any, ...], make: Callable[[], Kept]) -> Kept:
        if key not in self._kept:
            self._kept[key] = make()
        found: Kept = self._kept[key]
        return found


class _Product(torch.autograd.Function):
    """``csr @ x`` whose gradient is ``transposed @ grad``: torch would transpose again at every step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, csr: Tensor, transposed: Tensor) -> Tensor:
        ctx.csr, ctx.transposed = csr, transposed
        out = x.new_empty(csr.shape[0], x.shape[1])
        # As csr @ x, which would fill a tensor with zeros first and copy it.
        return torch.addmm(out, csr, x, beta=0, out=out)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _Product.apply(grads[0], ctx.transposed, ctx.csr), None, None


def _precision(like: Tensor) -> torch.dtype:
    return torch.float64 if like.dtype == torch.float64 else torch.float32


def _directed(edges: Tensor, reverse: bool) -> tuple[Tensor, Tensor]:
    """Where messages come from, and where they arrive."""
    return (edges[1], edges[0]) if reverse else (edges[0], edges[1])


def _edge_order(source: Tensor, target: Tensor, nodes: int, loops: bool) -> EdgeOrder:
    if loops:
        other, each = source != target, torch.arange(nodes, device=source.device)
        source, target = torch.cat([source[other], each]), torch.cat([target[other], each])
    order = torch.argsort(target, stable=True)
    source, target = source[order], target[order]
    by_source = torch.argsort(source, stable=True)
    at_source = torch.empty_like(by_source)
    at_source[by_source] = torch.arange(len(by_source), device=source.device)
    starts, source_starts = (_starts(ends, nodes) for ends in (target, source))
    whole = EdgeOrder(starts, source, target, source_starts, target[by_source], at_source)
    small = _index_type(nodes, len(source))
    return EdgeOrder(*(part.to(small) for part in whole))


def _starts(ends: Tensor, nodes: int) -> Tensor:
    return torch.nn.functional.pad(torch.bincount(ends, minlength=nodes).cumsum(0), (1, 0))


def _index_type(nodes: int, edges: int) -> torch.dtype:
    """Half the memory of int64 where it can be, and what the libraries below take as it is."""
    return torch.int32 if max(nodes, edges) < 2**31 else torch.int64


def _matrix(source: Tensor, target: Tensor, values: Tensor, nodes: int, like: Tensor) -> Matrix:
    return sparse_matrix(target, source, values, (nodes, nodes), like)


def sparse_matrix(
    rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int], like: Tensor
) -> Matrix:
    """A matrix out of its entries, on the device of ``like`` and float64 where that is, else float32.

    Parameters
    ----------
    rows, columns, values
        ``(K,)``; entries of one place are added up.
    size
        Rows and columns of the matrix.
    """
    both = (
        _csr(torch.stack([rows, columns]), values, size),
        _csr(torch.stack([columns, rows]), values, (size[1], size[0])),
    )
    return Matrix(*(csr.to(like.device, _precision(like)) for csr in both))


def _csr(index: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """CSR of that size; parallel edges are added up, in float64."""
    values = values.double()
    summed = torch.sparse_coo_tensor(index, values, size, check_invariants=True).coalesce()
    small = _index_type(max(size), index.shape[1])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        csr = summed.to_sparse_csr()
        rows, columns = csr.crow_indices().to(small), csr.col_indices().to(small)
        return torch.sparse_csr_tensor(rows, columns, csr.values(), size, check_invariants=True)


def _check_weight(weight: Tensor, edges: int) -> None:
    if weight.shape != (edges,) or not weight.is_floating_point():
        raise LayerError(
            f"edge_weight is {weight.dtype} {tuple(weight.shape)}; there are {edges} edges, so it has to be "
            f"float ({edges},)."
        )
    if weight.requires_grad:
        raise LayerError(
            "edge_weight is learnt (requires_grad), but the weights of a Topology are constant. Give it to the layer "
            "itself, on (B, N, F)."
        )
    broken = int((~weight.isfinite()).sum())
    if broken:
        raise LayerError(
            f"edge_weight has {broken} values that are not finite, such as scores that a source does not "
            "state. Fill them first, e.g. with torch.nan_to_num."
        )
