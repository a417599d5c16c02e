"""How cells are to be split, and which plans contradict themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tosg_graph.errors import ExportError

SPLITS = ("train", "val", "test")
FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class SplitPlan:
    """How cells are to be split.

    Parameters
    ----------
    by
        ``donor``, or ``study``: the test set is one whole dataset.
    fractions
        Shares of cells for train, val and test; they add up to 1. Of a study split, train and val share the rest.
    folds, fold
        K-fold: donors are dealt to ``folds`` folds; number ``fold``, from 0, is the test set and the next one, where
        there are three or more, is val. Over all folds each known donor is tested once. Of a study split, ``fold`` is
        the place of the study among their sorted names.
    hold_out
        Name of the study that is the test set.
    stratify
        Deal donors so that each label has its share on each side, as far as whole donors allow; folds always do.
    """

    by: str = "donor"
    fractions: tuple[float, ...] = FRACTIONS
    folds: int | None = None
    fold: int | None = None
    hold_out: str | None = None
    stratify: bool = False


def check_plan(plan: SplitPlan) -> None:
    """Refuse a plan that contradicts itself.

    Raises
    ------
    ExportError
        Naming the options.
    """
    check_fractions(plan.fractions, "split")
    if plan.by not in ("donor", "study"):
        raise ExportError(f"{plan.by!r} is no way to split. Choose donor or study.")
    _check_folds(plan)


def check_fractions(fractions: Sequence[float], what: str) -> None:
    """Raise `ExportError` unless these are shares of train, val and test."""
    if len(fractions) != 3 or not min(fractions) >= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ExportError(f"The {what} fractions {tuple(fractions)} are not three shares that add up to 1.")


def refuse_overlap(overlap: Mapping[str, int]) -> None:
    """Raise `ExportError` where anything was counted on two sides of a written split."""
    for what, count in overlap.items():
        if count:
            raise ExportError(
                f"{count:,} {what.replace('_', ' ')} were found across the splits that were written, and none may be. "
                "Nothing was kept; please report this."
            )


def _check_folds(plan: SplitPlan) -> None:
    if plan.by == "study":
        if plan.folds is not None:
            raise ExportError(
                "A split by study has one fold per study: leave --folds out, and give --fold or --hold-out."
            )
        if plan.hold_out is not None and plan.fold is not None:
            raise ExportError("--hold-out and --fold both name the study that is left out. Give one of them.")
        return
    if plan.hold_out is not None:
        raise ExportError("--hold-out names a study. Add --split study.")
    if (plan.folds is None) != (plan.fold is None):
        raise ExportError("--folds and --fold belong together: --folds 5 --fold 0 is the first of five.")
    if plan.folds is not None and plan.fold is not None:
        if plan.folds < 2 or not 0 <= plan.fold < plan.folds:
            raise ExportError(
                f"--folds {plan.folds} --fold {plan.fold} is none: folds are 2 or more, and numbered from 0."
            )
        if plan.fractions != FRACTIONS:
            raise ExportError("Folds are of equal size: leave --fractions out, or --folds and --fold.")
