"""Attention over neighbours on the processor, compiled when first called: one pass over the edges, two backward.

What makes it fast is that the numbers of a neighbour, which lie anywhere in memory, are asked for some edges before
they are needed. Every node is one thread's own, so that results do not depend on the number of threads. Imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tosg_graph.threads import threads

AHEAD = 12  # edges; 8 to 24 take the same time
LINES = 8  # of 64 bytes; of longer rows the processor fetches the rest by itself
PARTS_PER_THREAD = 8  # neighbourhoods cost unequally
UNROLLED = 32  # channels up to which a kernel is compiled for their very number

# Sums may be taken in another order, but NaN stays NaN.
_MATHS = {"nsz", "arcp", "contract", "afn", "reassoc"}


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return numba.njit(nogil=True, fastmath=_MATHS, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder that could keep what is compiled
        return numba.njit(nogil=True, fastmath=_MATHS, error_model="numpy")(function)


def _line_fetcher(_: Any, array: Any, row: Any) -> Any:
    """Ask for a row of an array, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        held = context.make_array(array)(context, builder, arguments[0])
        size = builder.extract_value(held.strides, 0)
        begin = builder.mul(context.cast(builder, arguments[1], row, types.intp), size)
        pointer = ir.IntType(8).as_pointer()
        base = builder.bitcast(held.data, pointer)
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer] + [ir.IntType(32)] * 3)
        )
        read, keep, data = (ir.Constant(ir.IntType(32), value) for value in (0, 3, 1))
        lines = builder.udiv(builder.add(size, size.type(63)), size.type(64))
        few = builder.icmp_unsigned("<", lines, size.type(LINES))
        with cgutils.for_range(builder, builder.select(few, lines, size.type(LINES))) as loop:
            line = builder.gep(base, [builder.add(begin, builder.mul(loop.index, size.type(64)))])
            builder.call(prefetch, [line, read, keep, data])
        return context.get_dummy_value()

    return types.void(array, row), generate


_fetch: Any = intrinsic(_line_fetcher)


@_compiled
def _scale(seed: Any, place: Any, share: Any) -> Any:
    """0 for a share of the places, else 1 / (1 - share): dropout without a mask, by the finaliser of SplitMix64."""
    bits = np.uint64(seed) + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return 0.0 if np.float64(bits >> np.uint64(11)) * 2.0**-53 < share else 1.0 / (1.0 - share)


class Edges(NamedTuple):
    """Edges sorted by target and by source, as `tosg_graph.topology.EdgeOrder` has them; int32 or int64."""

    starts: NDArray[Any]
    source: NDArray[Any]
    at_source: NDArray[Any]
    source_starts: NDArray[Any]
    target_by_source: NDArray[Any]


class Nodes(NamedTuple):
    """What nodes give: scores ``(N, K)`` at either end of an edge and values ``(N, K, C)``, float32 or float64."""

    sender: NDArray[Any]
    receiver: NDArray[Any]
    value: NDArray[Any]


class Options(NamedTuple):
    """Slope of leaky_relu below 0, in the precision of the values; share of weights that are dropped, and seed."""

    slope: Any
    share: float
    seed: int


def weighted_sums(
    edges: Edges, nodes: Nodes, options: Options, number: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sum values by attention.

    Returns
    -------
    Sums ``(N, K, C)``, and the logarithm of what exponentials of scores add up to, ``(N, K)``.
    """
    out, level = np.empty_like(nodes.value), np.empty_like(nodes.sender)
    _on_threads(_forward, edges.starts, number, _channels(nodes), edges, nodes, options, out, level)
    return out, level


def gradients(
    edges: Edges, nodes: Nodes, options: Options, at_target: tuple[NDArray[Any], ...], number: int
) -> Nodes:
    """Give the gradients of what nodes give.

    Parameters
    ----------
    at_target
        Gradient of the sums, ``(N, K, C)``, and the two that `weighted_sums` gave.
    number
        Of threads.
    """
    found = Nodes(*map(np.empty_like, nodes))
    of_edge = np.empty((len(edges.source), *nodes.sender.shape[1:]), nodes.value.dtype)
    grad, out, level = at_target
    mean = np.empty_like(level)
    _on_threads(_mean_gradient, edges.starts, number, grad, out, mean)
    given = _channels(nodes), edges, nodes, options, (grad, mean, level)
    _on_threads(_backward, edges.source_starts, number, *given, of_edge, found)
    _on_threads(_sum_by_target, edges.starts, number, edges, of_edge, found.receiver)
    return found


def _channels(nodes: Nodes) -> tuple[int, ...]:
    """A tuple, whose length belongs to its type: loops over few channels are unrolled."""
    width = nodes.value.shape[2]
    return (0,) * width if width <= UNROLLED else ()


def _on_threads(kernel: Any, starts: NDArray[Any], number: int, *arguments: Any) -> None:
    """Run a kernel on runs of nodes that have about as many edges."""
    if number == 1:
        kernel(0, len(starts) - 1, *arguments)
        return
    costs = starts + np.arange(len(starts))  # up to each node; a node costs as an edge does
    cuts = np.searchsorted(costs, np.linspace(0, costs[-1], number * PARTS_PER_THREAD + 1))
    with threads(number) as pool:
        list(pool.map(lambda begin, end: kernel(begin, end, *arguments), cuts[:-1], cuts[1:]))


@_compiled
def _forward(
    begin: Any, end: Any, channels: Any, edges: Any, nodes: Any, options: Any, out: Any, level: Any
) -> None:
    starts, source, at_source = edges.starts, edges.source, edges.at_source
    sender, receiver, value = nodes.sender, nodes.receiver, nodes.value
    slope, share, seed = options.slope, options.share, options.seed
    heads, width = value.shape[1], len(channels) or value.shape[2]
    top, total = np.empty(heads, value.dtype), np.empty(heads, value.dtype)
    weight, summed = np.empty(heads, value.dtype), np.empty((heads, width), value.dtype)
    for t in range(begin, end):
        for k in range(heads):
            top[k], total[k] = -np.inf, 0
            for c in range(width):
                summed[k, c] = 0
        for e in range(starts[t], starts[t + 1]):
            s, coming = source[e], source[min(e + AHEAD, len(source) - 1)]
            _fetch(sender, coming)
            _fetch(value, coming)
            for k in range(heads):
                raw = sender[s, k] + receiver[t, k]
                top[k] = max(top[k], raw if raw > 0 else slope * raw)
        for e in range(starts[t], starts[t + 1]):
            s = source[e]
            for k in range(heads):
                raw = sender[s, k] + receiver[t, k]
                weight[k] = np.exp((raw if raw > 0 else slope * raw) - top[k])
                total[k] += weight[k]
            if share > 0:
                for k in range(heads):
                    weight[k] *= _scale(seed, at_source[e] * heads + k, share)
            for k in range(heads):
                for c in range(width):
                    summed[k, c] += weight[k] * value[s, k, c]
        for k in range(heads):
            if starts[t] == starts[t + 1]:
                total[k] = 1
            for c in range(width):
                out[t, k, c] = summed[k, c] / total[k]
            level[t, k] = top[k] + np.log(total[k])


@_compiled
def _mean_gradient(begin: Any, end: Any, grad: Any, out: Any, mean: Any) -> None:
    """Of the gradients of weights, over the edges of a target."""
    for t in range(begin, end):
        for k in range(grad.shape[1]):
            mean[t, k] = 0
            for c in range(grad.shape[2]):
                mean[t, k] += grad[t, k, c] * out[t, k, c]


@_compiled
def _backward(
    begin: Any,
    end: Any,
    channels: Any,
    edges: Any,
    nodes: Any,
    options: Any,
    at_target: Any,
    of_edge: Any,
    found: Any,
) -> None:
    starts, target = edges.source_starts, edges.target_by_source
    sender, receiver, value = nodes.sender, nodes.receiver, nodes.value
    slope, share, seed = options.slope, options.share, options.seed
    grad, mean, level = at_target
    heads, width = value.shape[1], len(channels) or value.shape[2]
    weight, change = np.empty(heads, value.dtype), np.empty(heads, value.dtype)
    summed = np.empty((heads, width), value.dtype)
    for s in range(begin, end):
        for k in range(heads):
            found.sender[s, k] = 0
            for c in range(width):
                summed[k, c] = 0
        for e in range(starts[s], starts[s + 1]):
            t, coming = target[e], target[min(e + AHEAD, len(target) - 1)]
            _fetch(receiver, coming)
            _fetch(level, coming)
            _fetch(mean, coming)
            _fetch(grad, coming)
            for k in range(heads):
                raw = sender[s, k] + receiver[t, k]
                weight[k] = np.exp((raw if raw > 0 else slope * raw) - level[t, k])
                change[k] = 1
            if share > 0:
                for k in range(heads):
                    change[k] = _scale(seed, e * heads + k, share)
            for k in range(heads):
                kept, product = weight[k] * change[k], value.dtype.type(0)
                for c in range(width):
                    product += grad[t, k, c] * value[s, k, c]
                    summed[k, c] += kept * grad[t, k, c]
                change[k] *= product
            for k in range(heads):
                # By the softmax: weight * (gradient of the weight - its mean over the edges of the target).
                step = weight[k] * (change[k] - mean[t, k])
                step = step if sender[s, k] + receiver[t, k] > 0 else slope * step
                found.sender[s, k] += step
                of_edge[e, k] = step
        for k in range(heads):
            for c in range(width):
                found.value[s, k, c] = summed[k, c]


@_compiled
def _sum_by_target(begin: Any, end: Any, edges: Any, of_edge: Any, out: Any) -> None:
    starts, at_source = edges.starts, edges.at_source
    for t in range(begin, end):
        for k in range(out.shape[1]):
            out[t, k] = 0
        for e in range(starts[t], starts[t + 1]):
            _fetch(of_edge, at_source[min(e + AHEAD, len(at_source) - 1)])
            for k in range(out.shape[1]):
                out[t, k] += of_edge[at_source[e], k]
