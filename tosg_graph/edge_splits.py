"""Edge tasks: edges held out for train, val and test, negatives beside them, and the proof that nothing crosses.

What is dealt is a *pair* of nodes, whichever way round, never a single edge: its parallel edges (other sources) and
its mirrored twin go with it, and so does, with ``pairs="any"``, every edge of another verb between the two, because a
model that passes messages along it has been told the answer. Edges that are not dealt stay where messages pass, unless
they join a pair that is held out. Reverse edges are made of what is left, by the reader (`tosg_graph.edge_task`).

A negative takes the source of a positive and a target drawn from all targets of the type, each as often as it has
edges: the configuration model, in which a node's degree says little about which of the two it is.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS
from tosg_graph.edge_negatives import Taken, negatives
from tosg_graph.edge_pairs import EdgePairs, count_overlap, distinct, verb_of
from tosg_graph.errors import ExportError
from tosg_graph.split_plan import FRACTIONS, check_fractions, refuse_overlap

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tosg_graph.types import Selection

    Rows = NDArray[np.int64]

PAIRS = ("any", "verb")
FREE = -1  # side of an edge that was not dealt; 0, 1 and 2 are places in SPLITS


@dataclass(frozen=True)
class EdgeTask:
    """Which edges are to be predicted.

    Parameters
    ----------
    types
        Verbs, which mean all their edge types, or edge types as ``Gene__SIGNALS_TO__Gene``.
    fractions
        Shares of pairs for train, val and test; they add up to 1.
    negatives
        Per positive.
    pairs
        ``any``: all edges between two nodes are on one side, whatever their verb. ``verb``: those of one verb are.
    """

    types: tuple[str, ...]
    fractions: tuple[float, ...] = FRACTIONS
    negatives: float = 1.0
    pairs: str = "any"


@dataclass(frozen=True)
class EdgeSplits:
    """Edges that were dealt, as tensors, and what the manifest says of them.

    Parameters
    ----------
    tensors
        Content of ``edge_splits.safetensors``; docs/bundle-format.md describes it.
    facts
        The manifest's ``edge_task``, without what is counted on the written files.
    """

    tensors: dict[str, NDArray[Any]]
    facts: dict[str, Any]


def split_edges(selection: Selection, task: EdgeTask, seed: int) -> EdgeSplits:
    """Deal the edges of a task and draw their negatives.

    Parameters
    ----------
    seed
        Another seed gives other sides and other negatives; nothing else decides.

    Raises
    ------
    ExportError
        If the task does not fit the selection: a verb without edges, too few pairs for a side, or so many edges that
        there are not negatives enough.
    """
    _check(task)
    graph = EdgePairs.of(selection, task.pairs)
    types = _types(task, graph)
    dealt = {name: _dealt(selection, graph, name) for name in types}
    side = _sides(graph, dealt, task.fractions, np.random.default_rng([seed, 0]))
    positives = {name: _positives(graph, name, dealt[name], side[name]) for name in types}
    _check_sizes(graph, positives, task.fractions)
    drawn = _all_negatives(graph, positives, task.negatives, seed)
    tensors: dict[str, NDArray[Any]] = {f"{name}.side": values for name, values in side.items()}
    for name in types:
        for k, split in enumerate(SPLITS):
            tensors[f"{name}.{split}.positive"] = positives[name][k]
            tensors[f"{name}.{split}.negative"] = drawn[name][k]
    facts = {
        "types": types,
        "fractions": list(task.fractions),
        "pairs": task.pairs,
        "negatives": task.negatives,
        "seed": seed,
        "edges": {name: _counted(graph, name, positives[name], drawn[name]) for name in types},
        "not_dealt": {name: _not_dealt(graph, name, dealt[name]) for name in types},
        "message_passing": {name: int((side[name] <= 0).sum()) for name in graph.names},
        "cold_nodes": _cold(graph, side, positives, selection.nodes["id"].to_pylist),
    }
    return EdgeSplits(tensors, facts)


def write_edge_splits(splits: EdgeSplits, node_types: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write ``edge_splits.safetensors`` beside the topology, and return the manifest's ``edge_task``.

    Raises
    ------
    ExportError
        If anything in the written files crosses a split.
    """
    bundle.write_tensors(splits.tensors, folder / bundle.EDGE_SPLITS)
    overlap = count_overlap(
        bundle.map_tensors(folder / bundle.TOPOLOGY),
        bundle.map_tensors(folder / bundle.EDGE_SPLITS),
        node_types,
        splits.facts["pairs"],
    )
    refuse_overlap(overlap)
    return {**splits.facts, "overlap": overlap}


# --------------------------------------------------------------------------- what is asked for


def _types(task: EdgeTask, graph: EdgePairs) -> list[str]:
    """Edge types that the task means, sorted."""
    found = set()
    for asked in task.types:
        meant = [name for name in graph.names if asked in (name, verb_of(name)) and graph.edges[name].size]
        if not meant:
            known = sorted({verb_of(name) for name in graph.names} | set(graph.names))
            near = difflib.get_close_matches(asked, known, n=3, cutoff=0.6) or known[:6]
            hint = f"Nearest: {', '.join(near)}." if near else "It has no edges."
            raise ExportError(f"The selection has no edge {asked!r} for --edge-task. {hint}")
        found.update(meant)
    return sorted(found)


def _dealt(selection: Selection, graph: EdgePairs, name: str) -> NDArray[np.bool_]:
    """Edges of a type that state something that can be predicted: no loops, and nothing that is denied."""
    import pyarrow.compute as pc

    source, target = graph.edges[name]
    table = selection.edges[bundle.edge_key(name)]
    stated: NDArray[np.bool_] = source != target
    if "negated" in table.column_names:
        denied = pc.fill_null(table["negated"].cast("bool"), False)
        stated &= ~denied.to_numpy(zero_copy_only=False)
    return stated


# --------------------------------------------------------------------------- dealing


def _sides(
    graph: EdgePairs,
    dealt: Mapping[str, NDArray[np.bool_]],
    fractions: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.int8]]:
    """Side of every edge: place in SPLITS, or FREE."""
    units = distinct(np.concatenate([graph.pairs[name][mask] for name, mask in dealt.items()]))
    of_unit = _deal(_strata(graph, dealt, units), fractions, rng)
    found = {}
    for name, pairs in graph.pairs.items():
        at = np.minimum(np.searchsorted(units, pairs), max(0, len(units) - 1))
        known = units[at] == pairs if len(units) else np.zeros(len(pairs), np.bool_)
        found[name] = np.full(len(pairs), FREE, np.int8)
        found[name][known] = of_unit[at[known]]
    return found


def _strata(graph: EdgePairs, dealt: Mapping[str, NDArray[np.bool_]], units: Rows) -> NDArray[np.int16]:
    """First type that has each pair: every type is dealt in its shares."""
    stratum = np.full(len(units), len(dealt), np.int16)
    for number, (name, mask) in reversed(list(enumerate(dealt.items()))):
        stratum[np.searchsorted(units, graph.pairs[name][mask])] = number
    return stratum


def _deal(
    stratum: NDArray[np.int16], fractions: Sequence[float], rng: np.random.Generator
) -> NDArray[np.int8]:
    side = np.zeros(len(stratum), np.int8)
    for number in np.unique(stratum):
        members = rng.permutation(np.flatnonzero(stratum == number))
        test, val = (round(len(members) * fractions[k]) for k in (2, 1))
        side[members[:test]] = 2
        side[members[test : test + val]] = 1
    return side


def _positives(
    graph: EdgePairs, name: str, dealt: NDArray[np.bool_], side: NDArray[np.int8]
) -> tuple[Rows, ...]:
    """Positions of the edges to predict per split, ascending; of parallel edges the first."""
    _, first = np.unique(graph.directed(name)[dealt], return_index=True)
    positions = np.sort(np.flatnonzero(dealt)[first])
    return tuple(positions[side[positions] == k] for k in range(len(SPLITS)))


def _check_sizes(
    graph: EdgePairs, positives: Mapping[str, tuple[Rows, ...]], fractions: Sequence[float]
) -> None:
    for name, found in positives.items():
        for split, share, edges in zip(SPLITS, fractions, found, strict=True):
            if share > 0 and not len(edges):
                number = len(distinct(np.concatenate([graph.pairs[name][p] for p in found])))
                raise ExportError(
                    f"{name} joins {number:,} pairs of nodes, too few for {split} to get {share:g} of them. Widen the "
                    "query, give --edge-fractions, or name the edge types that have enough in --edge-task."
                )


def _all_negatives(
    graph: EdgePairs, positives: Mapping[str, tuple[Rows, ...]], ratio: float, seed: int
) -> dict[str, list[Rows]]:
    """Negatives per type and split, int64 ``(2, K)``; no pair is drawn twice, in whatever split or type."""
    taken = Taken(distinct(np.concatenate(list(graph.pairs.values()))))
    found: dict[str, list[Rows]] = {}
    for number, (name, positions) in enumerate(positives.items()):
        edges = graph.edges[name]
        every = edges[:, np.concatenate(positions)]
        drawn: list[Rows] = [np.empty((2, 0), np.int64)] * len(SPLITS)
        for k in (2, 1, 0):  # where pairs are scarce the test gets those that match best
            rng = np.random.default_rng([seed, 1, number, k])
            rows = edges[:, positions[k]]
            wanted = round(ratio * rows.shape[1])
            drawn[k] = negatives(rng, rows[0], every, wanted, taken, lambda s, t: graph.pair(name, s, t))  # noqa: B023
            if drawn[k].shape[1] < wanted:
                raise ExportError(
                    f"{name} is too dense: {wanted:,} negatives were asked for {SPLITS[k]}, and "
                    f"{drawn[k].shape[1]:,} are left among its nodes. Ask for fewer with --negatives, or widen --query."
                )
            if _ascending(graph, name, positions):
                drawn[k] = np.sort(drawn[k], axis=0)
        found[name] = drawn
    return found


def _ascending(graph: EdgePairs, name: str, positions: Sequence[Rows]) -> bool:
    """Whether every edge to predict leads from a smaller to a larger node, as verbs without direction are stored.

    Negatives then do the same: else the order of the two would tell them apart.
    """
    source, target = graph.edges[name][:, np.concatenate(positions)]
    return bool((source < target).all())


# --------------------------------------------------------------------------- what is said of it


def _counted(
    graph: EdgePairs, name: str, positives: Sequence[Rows], drawn: Sequence[Rows]
) -> dict[str, dict[str, Any]]:
    """Per split: positives, negatives, and the mean degree of their ends among the edges of the type."""
    source, target = graph.edges[name]
    degree = np.bincount(np.concatenate([source, target]), minlength=graph.nodes)
    return {
        split: {
            "positives": len(positives[k]),
            "negatives": drawn[k].shape[1],
            "degree_of_positives": _mean(degree[graph.edges[name][:, positives[k]]]),
            "degree_of_negatives": _mean(degree[drawn[k]]),
        }
        for k, split in enumerate(SPLITS)
    }


def _mean(values: NDArray[np.int64]) -> float | None:
    return round(float(values.mean()), 3) if values.size else None


def _not_dealt(graph: EdgePairs, name: str, dealt: NDArray[np.bool_]) -> dict[str, int]:
    source, target = graph.edges[name]
    loops = int((source == target).sum())
    return {"loops": loops, "negated": int((~dealt).sum()) - loops}


def _cold(
    graph: EdgePairs,
    side: Mapping[str, NDArray[np.int8]],
    positives: Mapping[str, tuple[Rows, ...]],
    ids: Any,
) -> dict[str, Any]:
    """Nodes with edges, none of which is left where messages pass; and edges to predict that have such an end."""
    had, has = np.zeros(graph.nodes, np.bool_), np.zeros(graph.nodes, np.bool_)
    for name, edges in graph.edges.items():
        had[edges] = True
        has[edges[:, side[name] <= 0]] = True
    cold = had & ~has
    rows = np.flatnonzero(cold)
    found: dict[str, Any] = {"count": len(rows), "examples": []}
    if len(rows):
        found["examples"] = sorted(np.array(ids(), object)[rows])[: bundle.EXAMPLES]
    for k, split in enumerate(SPLITS):
        ends = [cold[graph.edges[name][:, p[k]]].any(axis=0) for name, p in positives.items()]
        found[f"{split}_positives"] = int(np.concatenate(ends).sum())
    return found


def _check(task: EdgeTask) -> None:
    check_fractions(task.fractions, "edge")
    if task.pairs not in PAIRS:
        raise ExportError(f"{task.pairs!r} is no kind of pair. Choose {' or '.join(PAIRS)}.")
    if not 0 <= task.negatives < math.inf:
        raise ExportError(f"{task.negatives} negatives per edge cannot be drawn. Give 0 or more.")
