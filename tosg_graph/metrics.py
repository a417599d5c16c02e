"""How well probabilities fit labels, for many weightings of the cells at once: what a bootstrap needs.

Each metric is a function of sums over the cells of a unit (a donor, or a cell), so that a resample is a product of
small matrices and never touches the cells again. docs/evaluation.md defines every metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

METRICS = ("accuracy", "macro_f1", "auroc", "auprc", "ece", "brier")
TITLES = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "ECE",
    "brier": "Brier",
}
BINS = 15  # of equal width, of the probability of the predicted class: Guo et al. 2017, arXiv:1706.04599
LEVELS = 1000  # of scores that resamples tell apart


@dataclass(frozen=True)
class Scores:
    """Metrics under R weightings; NaN where one is not defined.

    Parameters
    ----------
    overall
        Metric -> float64 ``(R,)``. Means over classes are over those that have cells.
    by_class
        ``precision``, ``recall``, ``f1``, ``auroc``, ``auprc`` -> float64 ``(R, C)``; NaN where the class has no cell.
    """

    overall: dict[str, NDArray[np.float64]]
    by_class: dict[str, NDArray[np.float64]]


class Scorer:
    """The sums of one prediction.

    Parameters
    ----------
    truth
        int64 ``(n,)``: class of each cell.
    probability
        ``(n, C)``: its predicted probabilities. The predicted class is the first of the largest.
    units
        int64 ``(n,)``: what each cell is drawn with, 0 to ``U - 1``.
    levels
        Scores told apart in AUROC and AUPRC: None for all of them. With fewer, those between two levels are ties;
        half of the levels follow the cells of the class and half the others.
    """

    def __init__(
        self,
        truth: NDArray[np.int64],
        probability: NDArray[np.floating[Any]],
        units: NDArray[np.int64],
        *,
        levels: int | None = None,
    ) -> None:
        self._truth, self._units, self._levels = truth, units, levels
        self._probability = probability.astype(np.float64)  # not made to sum to 1: that would part ties
        self._classes = probability.shape[1]
        self._count = int(units.max()) + 1 if len(units) else 0

    def score(self, weights: NDArray[np.floating[Any]]) -> Scores:
        """Score weightings of the units, shape ``(R, U)``: how often each is drawn."""
        confusion = self.confusion(weights)
        by_class = _of_confusion(confusion)
        present = confusion.sum(axis=2) > 0
        curves = [_areas(weights @ positive, weights @ negative) for positive, negative in self._ranked]
        by_class["auroc"], by_class["auprc"] = (np.stack(a, axis=1) for a in zip(*curves, strict=True))
        size = confusion.sum(axis=(1, 2))
        overall = {
            "accuracy": _ratio(np.trace(confusion, axis1=1, axis2=2), size),
            "macro_f1": _mean(by_class["f1"], present),
            "auroc": _mean(by_class["auroc"], np.isfinite(by_class["auroc"])),
            "auprc": _mean(by_class["auprc"], present),
            "ece": _ratio(self._gaps(weights), size),
            "brier": _ratio(weights @ self._squares, size),
        }
        return Scores(overall, by_class)

    def confusion(self, weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Weight of each true and predicted class, ``(R, C, C)``."""
        return np.asarray(weights @ self._pairs).reshape(len(weights), self._classes, self._classes)

    def reliability(self) -> dict[str, NDArray[np.float64]]:
        """Cells, mean probability of the predicted class and share that is right, of each bin ``(BINS,)``."""
        cells, confidence, right = (np.asarray(sums.sum(axis=0)).ravel() for sums in self._bins)
        return {
            "cells": cells.astype(np.float64),
            "confidence": _ratio(confidence, cells),
            "accuracy": _ratio(right, cells),
        }

    # ----------------------------------------------------------------- sums of each unit

    @cached_property
    def _predicted(self) -> NDArray[np.int64]:
        found: NDArray[np.int64] = self._probability.argmax(axis=1)
        return found

    @cached_property
    def _pairs(self) -> csr_array[Any, Any]:
        return self._summed(self._truth * self._classes + self._predicted, self._classes**2)

    @cached_property
    def _squares(self) -> NDArray[np.float64]:
        """Brier's score in its form for several classes, 0 to 2: the squared errors of a cell's probabilities."""
        wanted = np.eye(self._classes)[self._truth]
        errors = ((self._probability - wanted) ** 2).sum(axis=1)
        return np.bincount(self._units, errors, self._count).astype(np.float64)

    @cached_property
    def _bins(self) -> tuple[csr_array[Any, Any], csr_array[Any, Any], csr_array[Any, Any]]:
        """Cells, summed confidence and cells that are right, ``(U, BINS)`` each; a bin holds its upper edge."""
        confidence = self._probability.max(axis=1)
        place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
        right = (self._predicted == self._truth).astype(np.float64)
        return (
            self._summed(place, BINS),
            self._summed(place, BINS, confidence),
            self._summed(place, BINS, right),
        )

    def _gaps(self, weights: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        _, confidence, right = self._bins
        found: NDArray[np.float64] = np.abs(weights @ right - weights @ confidence).sum(axis=1)
        return found

    @cached_property
    def _ranked(self) -> list[tuple[csr_array[Any, Any], csr_array[Any, Any]]]:
        """Per class, its cells and the others by level of score, ``(U, L)`` each."""
        found = []
        for place in range(self._classes):
            scores, mine = self._probability[:, place], self._truth == place
            level, count = _leveled(scores, mine, self._levels)
            found.append((self._summed(level, count, mine), self._summed(level, count, ~mine)))
        return found

    def _summed(
        self, column: NDArray[np.int64], columns: int, values: NDArray[Any] | None = None
    ) -> csr_array[Any, Any]:
        from scipy.sparse import coo_array

        given = np.ones(len(column)) if values is None else values.astype(np.float64)
        kept = given != 0
        entries = (given[kept], (self._units[kept], column[kept]))
        return coo_array(entries, shape=(self._count, columns)).tocsr()


def _of_confusion(confusion: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
    # A class that is never predicted has precision 0; one that has no cell has none.
    absent = np.where(true > 0, 0.0, np.nan)
    return {
        "precision": absent + np.nan_to_num(_ratio(right, predicted)),
        "recall": _ratio(right, true),
        "f1": absent + np.nan_to_num(_ratio(2 * right, true + predicted)),
    }


def _areas(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area under the ROC curve, ties counting half, and average precision, ``(R,)`` each, of ``(R, L)`` weights."""
    below = np.cumsum(negative, axis=1) - negative
    all_positive, all_negative = positive.sum(axis=1), negative.sum(axis=1)
    wins = (positive * (below + negative / 2)).sum(axis=1)
    found = np.cumsum(positive[:, ::-1], axis=1)[:, ::-1]
    drawn = found + np.cumsum(negative[:, ::-1], axis=1)[:, ::-1]
    precision = np.divide(found, drawn, out=np.zeros_like(found), where=drawn > 0)
    return (
        _ratio(wins, all_positive * all_negative),
        _ratio((positive * precision).sum(axis=1), all_positive),
    )


def _leveled(
    scores: NDArray[np.float64], mine: NDArray[np.bool_], at_most: int | None
) -> tuple[NDArray[np.int64], int]:
    """Level of each score, ascending, and how many there are."""
    values = np.unique(scores)
    if at_most is not None and len(values) > at_most:
        shares = np.linspace(0, 1, at_most // 2, endpoint=False)
        halves = [
            np.quantile(side, shares, method="lower") for side in (scores[mine], scores[~mine]) if len(side)
        ]
        values = np.unique(np.concatenate(halves))
    return np.searchsorted(values, scores, side="right") - 1, len(values)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """``part / whole``, NaN where ``whole`` is 0."""
    found: NDArray[np.float64] = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def _mean(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the classes that are known, ``(R,)``."""
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


# --------------------------------------------------------------------------- curves


def curves(
    truth: NDArray[np.int64], probability: NDArray[np.floating[Any]], grid: Sequence[float]
) -> dict[str, list[NDArray[np.float64] | None]]:
    """ROC and precision-recall curve of each class, read off at ``grid``.

    Returns
    -------
    dict
        ``roc``: true-positive rate at each false-positive rate; ``pr``: best precision at each recall or a larger
        one. None where the class, or every other, has no cell.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    found: dict[str, list[NDArray[np.float64] | None]] = {"roc": [], "pr": []}
    for place in range(probability.shape[1]):
        mine, scores = truth == place, probability[:, place]
        if mine.all() or not mine.any():
            found["roc"].append(None)
            found["pr"].append(None)
            continue
        false, true, _ = roc_curve(mine, scores)
        precision, recall, _ = precision_recall_curve(mine, scores)
        best = np.maximum.accumulate(precision[:-1])  # recall falls along it, so the best so far has more
        at = np.searchsorted(recall[:-1][::-1], grid)
        found["roc"].append(np.interp(grid, false, true))
        found["pr"].append(best[::-1][at])
    return found
