"""Negatives of an edge task: pairs of nodes that no edge joins, with the degrees of those that one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph.edge_pairs import distinct, in_sorted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    PairOf = Callable[[Rows, Rows], Rows]

LEAST_ROUNDS, MOST_ROUNDS = 20, 500  # of drawing at random, before what is free is looked up


class Taken:
    """Pairs that cannot be drawn: edges, and what was drawn already.

    Parameters
    ----------
    edges
        Numbers of pairs, sorted, each once.
    """

    def __init__(self, edges: Rows) -> None:
        # Three sorted arrays, so that what is added does not move everything each time.
        self._edges, self._drawn, self._recent = edges, np.empty(0, np.int64), np.empty(0, np.int64)

    def holds(self, pairs: Rows) -> NDArray[np.bool_]:
        """Whether each pair is taken."""
        found = in_sorted(self._edges, pairs) | in_sorted(self._drawn, pairs)
        return found | in_sorted(self._recent, pairs)

    def add(self, pairs: Rows) -> None:
        """Take pairs that were free."""
        self._recent = _merged(self._recent, pairs)
        if len(self._recent) > len(self._drawn) // 16:
            self._drawn, self._recent = _merged(self._drawn, self._recent), np.empty(0, np.int64)


def _merged(values: Rows, more: Rows) -> Rows:
    return np.sort(np.concatenate([values, more]), kind="stable")  # which knows runs that are sorted already


def negatives(
    rng: np.random.Generator,
    sources: Rows,
    edges: Rows,
    wanted: int,
    taken: Taken,
    pair_of: PairOf,
) -> Rows:
    """Draw pairs that are not taken, and take them.

    Parameters
    ----------
    sources
        Source of each positive: each is kept as often as the number of negatives allows.
    edges
        int64 ``(2, E)``: a target is drawn as often as it is one here; so are sources that stand in for others.
    pair_of
        Number of each pair of nodes.

    Returns
    -------
    int64 ``(2, K)``; K is below ``wanted`` only where no source has a target left.
    """
    if not wanted:
        return np.empty((2, 0), np.int64)
    drawing = _Drawing(
        rng, edges, taken, pair_of, _repeated(rng, sources, wanted), np.full(wanted, -1, np.int64)
    )
    drawing.at_random()
    short = drawing.missing()
    for node in distinct(drawing.source[short]):
        drawing.looked_up(int(node), short[drawing.source[short] == node])
    missing = drawing.missing()  # a source that has no target left gives its place to others
    drawing.source[missing] = rng.choice(edges[0], len(missing))
    drawing.at_random()
    for node in dict.fromkeys(rng.permutation(edges[0]).tolist()) if len(drawing.missing()) else ():
        drawing.looked_up(node, drawing.missing())
    found = drawing.target >= 0
    return np.stack([drawing.source[found], drawing.target[found]])


def _repeated(rng: np.random.Generator, sources: Rows, wanted: int) -> Rows:
    whole, rest = divmod(wanted, len(sources))
    return np.concatenate([np.tile(sources, whole), rng.choice(sources, rest, replace=False)])


@dataclass
class _Drawing:
    """Negatives that are being drawn; the target of those that are missing is -1."""

    rng: np.random.Generator
    edges: Rows
    taken: Taken
    pair_of: PairOf
    source: Rows
    target: Rows

    def missing(self) -> Rows:
        return np.flatnonzero(self.target < 0)

    def at_random(self) -> None:
        """Try targets for the sources that lack one."""
        pool, missing = self.edges[1], self.missing()
        # To look up what is free for a node costs as much as there are targets: the more, the longer it is put off.
        for _ in range(min(MOST_ROUNDS, LEAST_ROUNDS + len(pool) // 1000)):
            if not len(missing):
                return
            source, tried = self.source[missing], pool[self.rng.integers(len(pool), size=len(missing))]
            pairs = self.pair_of(source, tried)
            good = np.zeros(len(missing), np.bool_)
            good[np.unique(pairs, return_index=True)[1]] = True
            good &= (source != tried) & ~self.taken.holds(pairs)
            self.target[missing[good]] = tried[good]
            self.taken.add(pairs[good])
            missing = missing[~good]

    def looked_up(self, node: int, places: Rows) -> None:
        """Fill places with ``node`` and the targets that are free for it, as far as they go."""
        if not len(places):
            return
        values, weights = self._weighted
        free = ~self.taken.holds(self.pair_of(np.full(len(values), node), values)) & (values != node)
        places = places[: int(free.sum())]
        if len(places):
            shares = weights[free] / weights[free].sum()
            chosen = self.rng.choice(values[free], len(places), replace=False, p=shares)
            self.source[places], self.target[places] = node, chosen
            self.taken.add(self.pair_of(self.source[places], chosen))

    @cached_property
    def _weighted(self) -> tuple[Rows, Rows]:
        """Targets, each once, and how often each is one."""
        values, counts = np.unique(self.edges[1], return_counts=True)
        return values, counts
