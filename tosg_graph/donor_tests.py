"""Tests of two groups of cells with the donor as the unit: features one by one, and sets of features.

Cells of a donor are no replicates of each other, so everything here works on one value per donor and arm (a *unit*),
and the null is made of the units: arms are permuted among them, within blocks, and every feature is permuted alike,
which keeps how features go together. docs/signaling.md writes the formulas out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    Floats = NDArray[np.floating[Any]]

Null = Literal["permutation", "rotation"]
NULLS = ("permutation", "rotation")
POOLED = 20_000_000  # statistics of single features under the null that are enough for the smallest p
BLOCK = 4_000_000  # statistics that are held at once
BACKGROUND = 500  # features that say what a statistic of a set is where the set means nothing
FURTHER = 100  # times the first permutations, for sets that few of these reach
REACHED = 10  # permutations that reach a set, after which its p is known well enough
WIDE = 50_000_000  # members times sets, up to which their product is faster dense
_CLOSE = 1 - 1e-5  # permutations that mirror each other differ by rounding


@dataclass(frozen=True)
class Design:
    """Which units are cases, and which are comparable.

    Parameters
    ----------
    case
        bool ``(n,)``.
    block
        int64 ``(n,)``: only units of one block are compared, as those of a data set or of one donor.
    """

    case: NDArray[np.bool_]
    block: NDArray[np.int64]

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        """Units of each block."""
        return [np.flatnonzero(self.block == b) for b in np.unique(self.block)]

    @property
    def df(self) -> int:
        """Degrees of freedom that are left by the blocks and the arms."""
        return len(self.case) - len(self.members) - 1

    @property
    def permutations(self) -> int:
        """How many ways there are to call as many units of each block cases."""
        return math.prod(math.comb(len(m), int(self.case[m].sum())) for m in self.members)

    def centred(self, values: Floats) -> Floats:
        """Values ``(n, F)`` less the mean of their block."""
        found = np.array(values, np.float64)
        for rows in self.members:
            found[rows] -= found[rows].mean(axis=0)
        return found

    @property
    def direction(self) -> Floats:
        """Unit vector ``(n,)`` along which cases and controls of a block differ."""
        found: Floats = self._unit(self.case[None, :])[0]
        return found

    @property
    def size(self) -> float:
        """Length of the arms' indicator after the blocks: a difference of means is the projection over it."""
        return float(np.linalg.norm(self.centred(self.case[:, None].astype(np.float64))))

    def directions(
        self, count: int, rng: np.random.Generator, null: Null = "permutation"
    ) -> tuple[Iterator[Floats], bool]:
        """Return directions ``(k, n)`` of the null, in chunks, and whether they are all that there are.

        ``rotation`` draws directions evenly from all that are orthogonal to the blocks, which is exact for
        normal values (Langsrud 2005; Wu et al. 2010, ROAST).
        """
        if null == "rotation":
            return (self._rotated(k, rng) for k in _chunks(count)), False
        if self.permutations <= count:
            return self._every(), True
        return (self._drawn(k, rng) for k in _chunks(count)), False

    def _drawn(self, count: int, rng: np.random.Generator) -> Floats:
        arms = np.empty((count, len(self.case)), np.bool_)
        for rows in self.members:
            arms[:, rows] = rng.permuted(np.tile(self.case[rows], (count, 1)), axis=1)
        return self._unit(arms)

    def _every(self) -> Iterator[Floats]:
        choices = [list(combinations(rows.tolist(), int(self.case[rows].sum()))) for rows in self.members]
        every = product(*choices)
        for size in _chunks(self.permutations):
            arms = np.zeros((size, len(self.case)), np.bool_)
            for row in arms:
                for chosen in next(every):
                    row[list(chosen)] = True
            yield self._unit(arms)

    def _rotated(self, count: int, rng: np.random.Generator) -> Floats:
        drawn = self.centred(rng.standard_normal((len(self.case), count))).T
        return np.ascontiguousarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))

    def _unit(self, arms: NDArray[np.bool_]) -> Floats:
        # A permutation within blocks leaves the length as it is.
        return np.ascontiguousarray(self.centred(arms.T.astype(np.float64)).T / self.size)


@dataclass(frozen=True)
class Moderated:
    """What turns a projection into a moderated t, and that into a z: the same for every permutation.

    The spread of a feature is drawn to what features of its mean have (Smyth 2004, with a trend as limma-trend). The
    prior is fitted on the sums of squares around the blocks' means alone, which know nothing of the arms; so a
    permutation changes nothing but the direction, and the null is exact.

    Parameters
    ----------
    centred
        float64 ``(n, F)``: values less the mean of their block.
    squares
        float64 ``(F,)``: their sums of squares.
    df
        Degrees of freedom of a feature.
    prior_df
        Of the prior; infinite where all features have the spread of their mean.
    prior
        float64 ``(F,)``: variance of the prior.
    """

    centred: Floats
    squares: Floats
    df: int
    prior_df: float
    prior: Floats

    @classmethod
    def fit(cls, design: Design, values: Floats) -> Moderated:
        """Fit on values ``(n, F)`` on a logarithmic scale."""
        centred = design.centred(values)
        squares = (centred**2).sum(axis=0)
        df = design.df + 1
        prior_df, prior = _prior(squares / df, df, values.mean(axis=0))
        return cls(centred, squares, design.df, prior_df, prior)

    @property
    def total_df(self) -> float:
        """Degrees of freedom of t."""
        return min(self.df + self.prior_df, 1e6)

    def of(self, features: NDArray[np.int64]) -> Moderated:
        """Return some of the features, in single precision."""
        narrow = np.ascontiguousarray(self.centred[:, features], np.float32)
        squares, prior = (a[features].astype(np.float32) for a in (self.squares, self.prior))
        return Moderated(narrow, squares, self.df, self.prior_df, prior)

    def t(self, directions: Floats) -> Floats:
        """Moderated t, ``(k, F)``, of directions ``(k, n)``."""
        along = directions @ self.centred
        variance = along * along
        np.subtract(self.squares, variance, out=variance)
        np.maximum(variance, 0, out=variance)
        # (d0 s0 + rest) / (d0 + df), which is s0 where d0 is infinite.
        share = 0.0 if math.isinf(self.prior_df) else 1 / (self.prior_df + self.df)
        variance *= share
        variance += np.maximum(self.prior * (1 - self.df * share), 1e-30)
        along /= np.sqrt(variance, out=variance)
        return along

    def z(self, t: Floats) -> Floats:
        """Normal deviates of t, by Wallace's approximation (1959, Ann. Math. Stat. 30, 1121)."""
        df = self.total_df
        found = t * t
        found /= df
        np.log1p(found, out=found)
        found *= df
        np.sqrt(found, out=found)
        found *= (8 * df + 1) / (8 * df + 3)
        return np.copysign(found, t, out=found)


@dataclass(frozen=True)
class FeatureTests:
    """One row per feature.

    Parameters
    ----------
    difference
        float64 ``(F,)``: mean of the cases less that of the controls, within blocks.
    t, p, q
        float64 ``(F,)``: moderated t; p against the pooled null; rate of false discoveries by Benjamini and Hochberg.
    error
        float64 ``(F,)``: of the difference; that of t, widened by what its degrees of freedom ask for, so that 1.96 of
        it to either side hold 95 %, whatever the design. NaN where there is no difference at all.
    """

    difference: Floats
    t: Floats
    p: Floats
    q: Floats
    error: Floats


def compare_features(
    design: Design, values: Floats, *, permutations: int, seed: int, null: Null = "permutation"
) -> FeatureTests:
    """Test each feature of values ``(n, F)``.

    The statistics of all features under all permutations are one null (Tusher et al. 2001): a p can be smaller than one
    in the number of permutations. Of many features, fewer permutations are enough.
    """
    if values.shape[1] == 0:
        return FeatureTests(*(np.empty(0) for _ in range(5)))
    moderated = Moderated.fit(design, values)
    observed = moderated.t(design.direction[None, :])[0]
    order = np.sort(np.abs(observed))
    enough = max(min(permutations, 100), min(permutations, POOLED // values.shape[1]))
    chunks, every = design.directions(enough, np.random.default_rng(seed), null)
    below = np.zeros(len(order) + 1, np.int64)
    for directions in _resized(chunks, values.shape[1]):
        drawn = np.abs(moderated.t(directions)).ravel()
        # A statistic counts for all observed ones that it reaches.
        below += np.bincount(np.searchsorted(order * _CLOSE, drawn, side="right"), minlength=len(below))
    total = int(below.sum())
    reached = np.cumsum(below[::-1])[::-1][1:]
    if not every:
        reached, total = reached + np.arange(len(order), 0, -1), total + len(order)
    rank = np.searchsorted(order, np.abs(observed), side="left")
    p = reached[rank] / total
    difference = design.direction @ moderated.centred / design.size
    error = _errors(moderated, difference, observed)
    return FeatureTests(difference, observed, p, benjamini_hochberg(p), error)


def errors(design: Design, values: Floats) -> Floats:
    """Error of the difference of each feature of values ``(n, F)``; see `FeatureTests`."""
    if values.shape[1] == 0:
        return np.empty(0)
    moderated = Moderated.fit(design, values)
    direction = design.direction
    difference = direction @ moderated.centred / design.size
    return _errors(moderated, difference, moderated.t(direction[None, :])[0])


def _errors(moderated: Moderated, difference: Floats, t: Floats) -> Floats:
    from scipy.special import ndtri, stdtrit

    found: Floats = np.full(len(t), np.nan)
    np.divide(difference, t, out=found, where=t != 0)
    found *= stdtrit(moderated.total_df, 0.975) / ndtri(0.975)
    return found


@dataclass(frozen=True)
class SetTests:
    """One row per set.

    Parameters
    ----------
    score
        float64 ``(W,)``: the largest of three standardised statistics; see `compare_sets`.
    kind
        Where the members go, per set: ``up``, ``down``, or ``mixed`` where both are about as clear.
    p, q
        float64 ``(W,)``.
    draws
        int64 ``(W,)``: permutations behind p.
    """

    score: Floats
    kind: list[str]
    p: Floats
    q: Floats
    draws: NDArray[np.int64]


def compare_sets(
    design: Design,
    values: Floats,
    sets: csr_array[Any, Any],
    *,
    permutations: int,
    seed: int,
    null: Null = "permutation",
    further: int = FURTHER,
) -> SetTests:
    """Test sets of features, bool-like ``(W, F)``, against permutations that all their members share.

    Three statistics of a set's z: the mean square of the positive ones, of the negative ones, and of all (as ROAST's
    ``msq``, Wu et al. 2010, kept apart by direction as the maxmean of Efron and Tibshirani 2007). Each is compared with
    what features in general have under the same permutation, then with its own permutations; the largest of the three
    is the score. Sets that few permutations reach get more of them, up to ``further`` times as many.
    """
    count = sets.shape[0]
    if count == 0:
        return SetTests(np.empty(0), [], np.empty(0), np.empty(0), np.empty(0, np.int64))
    rng = np.random.default_rng(seed)
    moderated = Moderated.fit(design, values)
    background = _background(values.shape[1], rng)
    test = _SetStatistics(moderated, sets, background)
    chunks, every = design.directions(permutations, rng, null)
    drawn = np.concatenate([test(block) for block in _resized(chunks, values.shape[1])])  # (P, 3, W)
    observed = test(design.direction[None, :])  # (1, 3, W)
    centre, spread = drawn.mean(axis=0), np.maximum(drawn.std(axis=0), 1e-12)
    scores = (observed[0] - centre) / spread  # (3, W)
    score = scores.max(axis=0)
    bound = np.where(score > 0, score * _CLOSE, score / _CLOSE)
    reached = (((drawn - centre) / spread).max(axis=1) >= bound).sum(axis=0)
    draws = np.full(count, len(drawn))
    if every:
        p = reached / draws
    else:
        _go_on(design, test, (centre, spread, bound), reached, draws, rng, null, permutations, further)
        p = (1 + reached) / (1 + draws)
    return SetTests(score, _kinds(scores), p, benjamini_hochberg(p), draws)


class _SetStatistics:
    """Statistics of sets under directions."""

    def __init__(
        self, moderated: Moderated, sets: csr_array[Any, Any], background: NDArray[np.int64]
    ) -> None:
        self._moderated, self._sets, self._background = moderated, sets, background
        self._sizes = np.asarray(sets.sum(axis=1), np.float32).ravel()
        self._used = np.unique(sets.indices)
        members = sets[:, self._used].T.tocsr().astype(np.float32)
        self._members: Any = members.toarray() if math.prod(members.shape) <= WIDE else members
        # One product for the members and the background, whose columns come last.
        self._narrow = moderated.of(np.concatenate([self._used, background]))

    def of(self, rows: NDArray[np.int64]) -> _SetStatistics:
        return _SetStatistics(self._moderated, self._sets[rows], self._background)

    @property
    def width(self) -> int:
        return len(self._narrow.squares)

    def __call__(self, directions: Floats) -> Floats:
        """float64 ``(k, 3, W)``."""
        z = self._narrow.z(self._narrow.t(directions.astype(np.float32)))
        inside, around = z[:, : len(self._used)], z[:, len(self._used) :]
        found = np.empty((len(z), 3, len(self._sizes)))
        for row, part in enumerate(_PARTS):
            general = part(around)
            mean = general.mean(axis=1)[:, None]
            spread = np.maximum(general.std(axis=1), 1e-12)[:, None]
            means = part(inside) @ self._members / self._sizes
            found[:, row] = (means - mean) * np.sqrt(self._sizes) / spread
        return found


def _go_on(
    design: Design,
    test: _SetStatistics,
    standard: tuple[Floats, Floats, Floats],
    reached: NDArray[np.int64],
    draws: NDArray[np.int64],
    rng: np.random.Generator,
    null: Null,
    permutations: int,
    further: int,
) -> None:
    """Draw on, ten times as many each time, for sets that few draws reached (Besag and Clifford 1991)."""
    centre, spread, bound = standard
    step = permutations
    while step < permutations * further:
        step *= 10
        open_ = np.flatnonzero(reached < REACHED)
        if not len(open_):
            return
        narrow = test.of(open_)
        wanted = step - int(draws[open_[0]])
        for size in _chunks(wanted, max(1, BLOCK // narrow.width)):
            block = design._rotated(size, rng) if null == "rotation" else design._drawn(size, rng)
            scores = ((narrow(block) - centre[:, open_]) / spread[:, open_]).max(axis=1)
            reached[open_] += (scores >= bound[open_]).sum(axis=0)
        draws[open_] += wanted


def benjamini_hochberg(p: Floats) -> Floats:
    """Rate of false discoveries at each p (Benjamini and Hochberg 1995), shape of ``p``."""
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    found = np.empty(len(p))
    found[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1)
    return found


# --------------------------------------------------------------------------- inside


def _kinds(scores: Floats) -> list[str]:
    up, down = scores[:2]
    mixed = np.minimum(up, down) > np.maximum(up, down) / 2
    found: list[str] = np.where(mixed, "mixed", np.where(up > down, "up", "down")).tolist()
    return found


def _prior(variances: Floats, df: int, means: Floats) -> tuple[float, Floats]:
    """Degrees of freedom and variance per feature of the prior: moments of the log variances around a trend."""
    from scipy.special import digamma, polygamma

    known = variances > 1e-12
    if known.sum() < 3:
        return 0.0, np.ones_like(variances)
    logs = np.log(variances[known]) - digamma(df / 2) + math.log(df / 2)
    trend = _trend(means[known], logs, means)
    rest = logs - trend[known]
    count = len(rest)
    extra = float((rest**2).sum() / max(1, count - 4) - polygamma(1, df / 2))
    if extra <= 0:
        return math.inf, np.exp(trend)
    prior_df = 2 * _trigamma_inverse(extra)
    return prior_df, np.exp(trend + digamma(prior_df / 2) - math.log(prior_df / 2))


def _trend(x: Floats, y: Floats, at: Floats) -> Floats:
    """Cubic in the rank of x where there are enough features, else the mean."""
    if len(x) < 50:
        return np.full(len(at), y.mean())
    order = np.sort(x)

    def place(values: Floats) -> Floats:
        return np.searchsorted(order, values, side="left") / len(order)

    fitted: Floats = np.polynomial.Polynomial.fit(place(x), y, 3, domain=[0, 1])(place(at))
    return fitted


def _trigamma_inverse(value: float) -> float:
    """Newton's method of Smyth 2004, appendix."""
    from scipy.special import polygamma

    if value > 1e7:
        return float(1 / math.sqrt(value))
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        change = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += change
        if -change / y < 1e-8:
            break
    return y


def _background(features: int, rng: np.random.Generator) -> NDArray[np.int64]:
    if features <= BACKGROUND:
        return np.arange(features)
    return np.sort(rng.choice(features, BACKGROUND, replace=False))


def _up(z: Floats) -> Floats:
    return np.square(np.maximum(z, 0))


def _down(z: Floats) -> Floats:
    return np.square(np.minimum(z, 0))


_PARTS: tuple[Callable[[Floats], Floats], ...] = (_up, _down, np.square)


def _chunks(count: int, size: int = 256) -> Iterator[int]:
    for start in range(0, count, size):
        yield min(size, count - start)


def _resized(chunks: Iterator[Floats], width: int) -> Iterator[Floats]:
    """Cut chunks of directions so that their statistics of ``width`` features fit the block."""
    rows = max(1, BLOCK // max(1, width))
    for chunk in chunks:
        for start in range(0, len(chunk), rows):
            yield chunk[start : start + rows]
