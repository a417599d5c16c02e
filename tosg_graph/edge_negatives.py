"""Negatives of an edge task: pairs of nodes that no edge joins, with the degrees of those that one does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]
    PairOf = Callable[[Rows, Rows], Rows]

ROUNDS = (
    50  # of drawing at random, before what is free is looked up; a source of which half is taken needs few
)


class Taken:
    """Pairs that cannot be drawn: edges, and what was drawn already.

    Parameters
    ----------
    edges
        Numbers of pairs, sorted, each once.
    """

    def __init__(self, edges: Rows) -> None:
        self._edges = edges
        self._drawn: Rows = np.empty(0, np.int64)

    def holds(self, pairs: Rows) -> NDArray[np.bool_]:
        """Whether each pair is taken."""
        return _in_sorted(self._edges, pairs) | _in_sorted(self._drawn, pairs)

    def add(self, pairs: Rows) -> None:
        """Take pairs that were free."""
        if len(pairs):
            self._drawn = np.sort(np.concatenate([self._drawn, pairs]))


def _in_sorted(values: Rows, asked: Rows) -> NDArray[np.bool_]:
    if not len(values):
        return np.zeros(len(asked), np.bool_)
    found: NDArray[np.bool_] = values[np.minimum(np.searchsorted(values, asked), len(values) - 1)] == asked
    return found


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
        int64 ``(2, E)``: a target is drawn as often as it is one here; its sources stand in for those without a target.
    pair_of
        Number of each pair of nodes.

    Returns
    -------
    int64 ``(2, K)``; K is below ``wanted`` only where no source has a target left.
    """
    if not wanted:
        return np.empty((2, 0), np.int64)
    source = _repeated(rng, sources, wanted)
    target, missing = _at_random(rng, source, edges[1], taken, pair_of)
    if len(missing):
        source, target, missing = _looked_up(rng, source, target, missing, edges, taken, pair_of)
    return np.delete(np.stack([source, target]), missing, axis=1)


def _repeated(rng: np.random.Generator, sources: Rows, wanted: int) -> Rows:
    whole, rest = divmod(wanted, len(sources))
    return np.concatenate([np.tile(sources, whole), rng.choice(sources, rest, replace=False)])


def _at_random(
    rng: np.random.Generator, source: Rows, pool: Rows, taken: Taken, pair_of: PairOf
) -> tuple[Rows, Rows]:
    """Target of each source, and the places where none was found."""
    target = np.full(len(source), -1, np.int64)
    missing = np.arange(len(source))
    for _ in range(ROUNDS):
        if not len(missing):
            break
        tried = pool[rng.integers(len(pool), size=len(missing))]
        pairs = pair_of(source[missing], tried)
        good = np.zeros(len(missing), np.bool_)
        good[np.unique(pairs, return_index=True)[1]] = True
        good &= (source[missing] != tried) & ~taken.holds(pairs)
        target[missing[good]] = tried[good]
        taken.add(pairs[good])
        missing = missing[~good]
    return target, missing


def _looked_up(
    rng: np.random.Generator,
    source: Rows,
    target: Rows,
    missing: Rows,
    edges: Rows,
    taken: Taken,
    pair_of: PairOf,
) -> tuple[Rows, Rows, Rows]:
    """Fill the missing places out of all that is free; the places that stay empty come last."""
    values, weights = np.unique(edges[1], return_counts=True)
    others = deque(dict.fromkeys([*rng.permutation(source).tolist(), *rng.permutation(edges[0]).tolist()]))

    def free_of(node: int) -> NDArray[np.bool_]:
        held = taken.holds(pair_of(np.full(len(values), node), values))
        found: NDArray[np.bool_] = ~held & (values != node)
        return found

    for done, place in enumerate(missing):
        node = int(source[place])
        free = free_of(node)
        while not free.any() and others:
            node = others[0]
            free = free_of(node)
            if not free.any():
                others.popleft()  # nothing becomes free again
        if not free.any():
            return source, target, missing[done:]
        others.rotate(-1)
        source[place] = node
        target[place] = rng.choice(values[free], p=weights[free] / weights[free].sum())
        taken.add(pair_of(source[[place]], target[[place]]))
    return source, target, missing[:0]
