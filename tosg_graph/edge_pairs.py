"""Which edges join one pair of nodes, and what of a split of them crosses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS
from tosg_graph.contract import is_symmetric, verbs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.types import Selection

    Rows = NDArray[np.int64]


@dataclass(frozen=True)
class EdgePairs:
    """Edges by type, in node numbers, and a number for the pair that each of them joins.

    Parameters
    ----------
    first
        Node type -> its first node and the end.
    edges
        Name of an edge type -> int64 ``(2, E)``.
    pairs
        The same -> int64 ``(E,)``: equal for edges that must be on one side.
    by_verb
        Whether edges of other verbs are other pairs.
    """

    first: Mapping[str, tuple[int, int]]
    edges: Mapping[str, Rows]
    pairs: Mapping[str, Rows]
    by_verb: bool

    @classmethod
    def of(cls, selection: Selection, pairs: str) -> EdgePairs:
        """Of a selection; ``pairs`` is ``any`` or ``verb``."""
        from tosg_graph.diagnostics import count_values

        sizes = count_values(selection.nodes["type"])
        offsets = np.cumsum([0, *sizes.values()])
        edges = {
            bundle.edge_name(key): np.stack([table["source_row"].to_numpy(), table["target_row"].to_numpy()])
            for key, table in sorted(selection.edges.items())
        }
        return cls.made(list(sizes), offsets, edges, pairs)

    @classmethod
    def made(
        cls, node_types: Sequence[str], offsets: Rows, edges: Mapping[str, Rows], pairs: str
    ) -> EdgePairs:
        """Of edges by type name and of where each type's nodes begin, the end last."""
        first = {t: (int(offsets[k]), int(offsets[k + 1])) for k, t in enumerate(node_types)}
        graph = cls(first, edges, {}, pairs == "verb")
        return cls(
            first, edges, {name: graph.pair(name, *rows) for name, rows in edges.items()}, graph.by_verb
        )

    @property
    def names(self) -> list[str]:
        """Edge types, sorted."""
        return list(self.edges)

    @property
    def nodes(self) -> int:
        """Number of nodes, over all types."""
        return max((end for _, end in self.first.values()), default=0)

    def pair(self, name: str, source: Rows, target: Rows) -> Rows:
        """Number of each pair of nodes, whichever way round, and of its verb where verbs are told apart."""
        verb = 0
        if self.by_verb:
            verb = sorted({verb_of(n) for n in self.edges}).index(verb_of(name))
        low, high = np.minimum(source, target), np.maximum(source, target)
        found: Rows = (verb * self.nodes + low) * self.nodes + high  # below 2^63 up to 500 million nodes
        return found

    def directed(self, name: str) -> Rows:
        """Number of each edge: equal for parallel ones, and, of a verb without direction, for mirrored ones."""
        source, target = self.edges[name]
        if verb_of(name) in verbs() and is_symmetric(verb_of(name)):
            return self.pair(name, source, target)
        found: Rows = source * self.nodes + target
        return found


def verb_of(name: str) -> str:
    """Verb of an edge type."""
    return name.split("__")[1]


def distinct(values: Rows) -> Rows:
    """Each value once, sorted: many times as fast as ``np.unique``, which hashes millions of numbers."""
    ordered = np.sort(values)
    found: Rows = ordered[np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])]
    return found


def in_sorted(values: Rows, asked: Rows) -> NDArray[np.bool_]:
    """Whether each number asked for is among values that are sorted."""
    if not len(values):
        return np.zeros(len(asked), np.bool_)
    found: NDArray[np.bool_] = values[np.minimum(np.searchsorted(values, asked), len(values) - 1)] == asked
    return found


# --------------------------------------------------------------------------- the proof


def count_overlap(
    topology: Mapping[str, NDArray[Any]],
    splits: Mapping[str, NDArray[Any]],
    node_types: Sequence[str],
    pairs: str,
) -> dict[str, int]:
    """Count in the tensors of a bundle what crosses a split; all must be zero.

    Parameters
    ----------
    topology, splits
        Content of ``topology.safetensors`` and ``edge_splits.safetensors``.
    node_types
        In the order of ``node_offsets``.
    pairs
        As in `EdgeTask`.

    Returns
    -------
    dict
        ``pairs``: to predict in two splits. ``parallel_edges``: groups of parallel edges on two sides, and
        ``mirrored_edges``: edges of one verb between two nodes, whichever way round.
        ``held_out_pairs_with_messages``: pairs of val or test along which messages pass. ``positives_repeated``.
        ``negatives_that_are_edges``, ``negatives_repeated`` (in one split or several, whichever way round),
        ``negatives_to_themselves``, ``negatives_of_other_types``.
    """
    names = [name.removesuffix(".edge_index") for name in topology if name.endswith(".edge_index")]
    edges = {name: topology[f"{name}.edge_index"] for name in sorted(names)}
    graph = EdgePairs.made(node_types, topology["node_offsets"], edges, pairs)
    one_verb = EdgePairs.made(node_types, topology["node_offsets"], edges, "verb")
    side = {name: splits[f"{name}.side"] for name in graph.names}
    types = [name for name in graph.names if f"{name}.train.positive" in splits]
    positive = {(name, s): splits[f"{name}.{s}.positive"] for name in types for s in SPLITS}
    negative = {(name, s): splits[f"{name}.{s}.negative"] for name in types for s in SPLITS}
    asked = [_joined(graph.pairs[n][p] for (n, s), p in positive.items() if s == split) for split in SPLITS]
    drawn = _joined(graph.pair(n, *rows) for (n, _), rows in negative.items())
    messages = _joined(graph.pairs[name][side[name] <= 0] for name in graph.names)
    return {
        "pairs": _in_two(asked),
        "parallel_edges": sum(_on_two(rows[0] * graph.nodes + rows[1], side[n]) for n, rows in edges.items()),
        "mirrored_edges": _on_two(
            _joined(one_verb.pairs[n] for n in graph.names), _joined(side[n] for n in graph.names)
        ),
        "held_out_pairs_with_messages": int(
            in_sorted(distinct(messages), distinct(_joined(asked[1:]))).sum()
        ),
        "positives_repeated": sum(
            _repeated(_joined(graph.directed(n)[positive[n, s]] for s in SPLITS)) for n in types
        ),
        "negatives_that_are_edges": int(in_sorted(distinct(_joined(graph.pairs.values())), drawn).sum()),
        "negatives_repeated": _repeated(drawn),
        "negatives_to_themselves": sum(int((rows[0] == rows[1]).sum()) for rows in negative.values()),
        "negatives_of_other_types": sum(_misplaced(graph, n, rows) for (n, _), rows in negative.items()),
    }


def _joined(parts: Iterable[NDArray[Any]]) -> Rows:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _in_two(sets: Sequence[Rows]) -> int:
    return _repeated(np.concatenate([distinct(values) for values in sets]))


def _repeated(values: Rows) -> int:
    """How many values occur more than once."""
    ordered = np.sort(values)
    return len(distinct(ordered[1:][ordered[1:] == ordered[:-1]]))


def _on_two(groups: Rows, side: NDArray[Any]) -> int:
    """How many groups have members on more than one side."""
    if not len(groups):
        return 0
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order][0] - 1))
    low, high = (f.reduceat(side[order], starts) for f in (np.minimum, np.maximum))
    return int((low != high).sum())


def _misplaced(graph: EdgePairs, name: str, rows: Rows) -> int:
    source_type, _, target_type = bundle.edge_key(name)
    inside = np.ones(rows.shape[1], np.bool_)
    for ends, kind in zip(rows, (source_type, target_type), strict=True):
        first, end = graph.first[kind]
        inside &= (ends >= first) & (ends < end)
    return int((~inside).sum())
