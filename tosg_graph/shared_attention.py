"""Attention over neighbours on one topology that B cells share, without a tensor that has channels per edge.

A weight is ``softmax over the edges of a target of leaky_relu(sender[source] + receiver[target])`` (Velickovic et al.,
2018, eq. 3). Weights are not kept for the backward pass but made again from one number per node, as attention over
long texts does it (Dao et al., 2022). On the processor that is a pass over the edges of `tosg_graph.attention_kernels`;
on other devices the weighted sum is a sparse product, and the gradient of the weights one that is sampled at the edges.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from tosg_graph.attention_kernels import Edges, Nodes, Options
    from tosg_graph.topology import EdgeOrder, Topology

# Cells and heads are taken together up to this many edges: small graphs would otherwise wait for Python.
EDGES_AT_ONCE = 2**19


class Scoring(NamedTuple):
    """How a layer turns senders and receivers into weights."""

    slope: float  # of leaky_relu below 0
    dropout: float = 0.0  # share of the weights that are set to 0; the others grow by 1 / (1 - dropout)
    loops: bool = True  # each node has exactly one self-loop, instead of those of the graph
    reverse: bool = False  # PyG's flow="target_to_source"


def attend(sender: Tensor, receiver: Tensor, value: Tensor, topology: Topology, scoring: Scoring) -> Tensor:
    """Sum values of neighbours by attention.

    Parameters
    ----------
    sender, receiver
        Scores of a node at either end of an edge, float ``(N, K)``; K is cells times heads.
    value
        What is summed, float ``(N, K, C)``.
    topology
        The graph of N nodes.
    scoring
        Options; dropout draws from torch's own generator.

    Returns
    -------
    float ``(N, K, C)``; 0 where no edge arrives. Half-precision numbers are summed in float32. It can be derived once.
    """
    full = torch.float64 if value.dtype == torch.float64 else torch.float32
    seed = int(torch.randint(2**62, ())) if scoring.dropout else 0
    with torch.autocast(value.device.type, enabled=False):
        given = (part.to(full).contiguous() for part in (sender, receiver, value))
        out: Tensor = _Attention.apply(*given, topology, scoring, seed)
    return out.to(value.dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        ctx.options = given[3:]  # topology, scoring, seed
        nodes = [part.detach() for part in given[:3]]
        forward: Any = _forward_compiled if _compiles(nodes[0]) else _forward
        out: Tensor
        out, level = forward(*nodes, *ctx.options)
        ctx.save_for_backward(*given[:3], out, level)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *nodes, out, level = ctx.saved_tensors
        backward: Any = _backward_compiled if _compiles(out) else _backward
        return *backward(*nodes, grads[0].contiguous(), out, level, *ctx.options), None, None, None


def _compiles(like: Tensor) -> bool:
    """Whether kernels for the processor serve; elsewhere sparse products of torch do, which also run there."""
    return like.device.type == "cpu"


# ------------------------------------------------------------------------------------------ on the processor


def _forward_compiled(
    sender: Tensor, receiver: Tensor, value: Tensor, topology: Topology, scoring: Scoring, seed: int
) -> tuple[Tensor, Tensor]:
    from tosg_graph import attention_kernels as kernels

    nodes = kernels.Nodes(sender.numpy(), receiver.numpy(), value.numpy())
    edges, options = _for_kernels(nodes, topology, scoring, seed)
    out, level = kernels.weighted_sums(edges, nodes, options, torch.get_num_threads())
    return torch.from_numpy(out), torch.from_numpy(level)


def _backward_compiled(
    sender: Tensor,
    receiver: Tensor,
    value: Tensor,
    grad: Tensor,
    out: Tensor,
    level: Tensor,
    topology: Topology,
    scoring: Scoring,
    seed: int,
) -> tuple[Tensor, ...]:
    from tosg_graph import attention_kernels as kernels

    nodes = kernels.Nodes(*(part.detach().numpy() for part in (sender, receiver, value)))
    at_target = grad.numpy(), out.numpy(), level.numpy()
    edges, options = _for_kernels(nodes, topology, scoring, seed)
    found = kernels.gradients(edges, nodes, options, at_target, torch.get_num_threads())
    return tuple(map(torch.from_numpy, found))


def _for_kernels(nodes: Nodes, topology: Topology, scoring: Scoring, seed: int) -> tuple[Edges, Options]:
    from tosg_graph import attention_kernels as kernels

    order = topology.by_target(1, torch.device("cpu"), loops=scoring.loops, reverse=scoring.reverse)
    edges = kernels.Edges(*(getattr(order, name).numpy() for name in kernels.Edges._fields))
    return edges, kernels.Options(nodes.value.dtype.type(scoring.slope), scoring.dropout, seed)


# ------------------------------------------------------------------------------------------ on any device


def _forward(
    sender: Tensor, receiver: Tensor, value: Tensor, topology: Topology, scoring: Scoring, seed: int
) -> tuple[Tensor, Tensor]:
    out, level = torch.empty_like(value), torch.empty_like(sender)
    for k, edges in _parts(value, topology, scoring):
        score, _ = _scores(_flat(sender[:, k]), _flat(receiver[:, k]), edges, scoring.slope)
        top = torch.segment_reduce(score, "max", offsets=edges.starts, unsafe=True)
        weight = score.sub_(top.index_select(0, edges.target)).exp_()
        # The edge with the largest score has 1; a node without edges 0.
        total = _segment_sum(weight, edges.starts).clamp_(min=1)
        weight = _dropped(weight, scoring.dropout, seed, k)
        summed = _csr(edges.starts, edges.source, weight) @ _flat(value[:, k])
        _put(out, k, summed.div_(total.unsqueeze(1)))
        _put(level, k, total.log_().add_(top))
    return out, level


def _backward(
    sender: Tensor,
    receiver: Tensor,
    value: Tensor,
    grad: Tensor,
    out: Tensor,
    level: Tensor,
    topology: Topology,
    scoring: Scoring,
    seed: int,
) -> tuple[Tensor, ...]:
    of_sender, of_receiver, of_value = (torch.empty_like(part) for part in (sender, receiver, value))
    mean = torch.linalg.vecdot(grad, out)  # of the gradients of weights, over the edges of a target
    for k, edges in _parts(value, topology, scoring):
        score, slope = _scores(_flat(sender[:, k]), _flat(receiver[:, k]), edges, scoring.slope)
        weight = score.sub_(_flat(level[:, k]).index_select(0, edges.target)).exp_()
        kept = _dropped(weight, scoring.dropout, seed, k)
        g, v = _flat(grad[:, k]), _flat(value[:, k])
        of_weight = _sampled(edges, g, v).mul_(kept)
        # By the softmax: weight * (gradient of the weight - its mean over the edges of the target).
        change = of_weight.sub_(weight.mul(_flat(mean[:, k]).index_select(0, edges.target))).mul_(slope)
        _put(of_receiver, k, _segment_sum(change, edges.starts))
        _put(of_sender, k, _segment_sum(_by_source(change, edges), edges.source_starts))
        back = _csr(edges.source_starts, edges.target_by_source, _by_source(kept, edges))
        _put(of_value, k, back @ g)
    return of_sender, of_receiver, of_value


def _by_source(values: Tensor, edges: EdgeOrder) -> Tensor:
    return torch.empty_like(values).index_copy_(0, edges.at_source.long(), values)


def _parts(value: Tensor, topology: Topology, scoring: Scoring) -> Iterator[tuple[slice, EdgeOrder]]:
    """Runs of cells and heads, each with the edges of as many copies of the graph."""
    count = value.shape[1]
    size = min(count, max(1, EDGES_AT_ONCE // max(1, topology.num_edges + topology.num_nodes)))
    for begin in range(0, count, size):
        part = slice(begin, min(begin + size, count))
        copies = part.stop - part.start
        yield part, topology.by_target(copies, value.device, loops=scoring.loops, reverse=scoring.reverse)


def _flat(part: Tensor) -> Tensor:
    """Turn ``(N, k, ...)`` into ``(k * N, ...)``, the nodes of k copies; a view where k is 1."""
    return part.transpose(0, 1).reshape(-1, *part.shape[2:])


def _put(whole: Tensor, part: slice, flat: Tensor) -> None:
    into = whole[:, part]
    into.copy_(flat.view(into.transpose(0, 1).shape).transpose(0, 1))


def _scores(sender: Tensor, receiver: Tensor, edges: EdgeOrder, slope: float) -> tuple[Tensor, Tensor]:
    """Scores of edges, and the derivative of each."""
    raw = sender.index_select(0, edges.source).add_(receiver.index_select(0, edges.target))
    derived = torch.full_like(raw, slope).masked_fill_(raw > 0, 1)
    return raw.mul_(derived), derived


def _dropped(weight: Tensor, share: float, seed: int, part: slice) -> Tensor:
    """Weights after dropout; the backward pass draws the same ones again."""
    if not share:
        return weight
    draw = torch.Generator(weight.device).manual_seed(seed + part.start)
    return weight * torch.empty_like(weight).bernoulli_(1 - share, generator=draw).div_(1 - share)


def _segment_sum(values: Tensor, starts: Tensor) -> Tensor:
    found: Tensor = torch.segment_reduce(values, "sum", offsets=starts, unsafe=True)
    return found


def _csr(starts: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    size = (len(starts) - 1,) * 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)


def _sampled(edges: EdgeOrder, at_target: Tensor, at_source: Tensor) -> Tensor:
    """Products of the vectors at both ends of each edge."""
    nothing = _csr(edges.starts, edges.source, at_target.new_zeros(len(edges.source)))
    found: Tensor = torch.sparse.sampled_addmm(nothing, at_target, at_source.t(), beta=0).values()
    return found
