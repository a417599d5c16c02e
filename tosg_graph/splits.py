"""Train, validation and test: which cell goes where, so that no donor and no copied cell is on two sides.

Where donors are known the split is by donor, a donor being ``dataset`` and ``donor`` together; cells of unknown
donors go to train. Where no donor is known at all the split is by cell, which says little about new people. Donors that
share a cell, because it is in the store twice, are one unit. A study that is left out is a dataset.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tosg_graph.donors import people, rank, studies
from tosg_graph.errors import ExportError
from tosg_graph.split_plan import SPLITS, SplitPlan, check_plan
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    import pyarrow as pa

FEW_DONORS = 6  # below it a split is at best `caution`


@dataclass(frozen=True)
class SplitResult:
    """The split of each row, and how far it can be trusted.

    Parameters
    ----------
    split
        ``train``, ``val`` or ``test`` per row of the cells given; null where a cell can be on no side.
    unit
        ``donor``, ``cell`` or ``study``.
    verdict
        ``ok``, ``caution`` or ``unreliable``.
    reasons
        Why it is not ``ok``.
    donors
        Number of donors per split; cells of unknown donors are not counted.
    left_out
        Cells without a side.
    held_out
        The study that is the test set, of a split by study.
    """

    split: pa.Array
    unit: str
    verdict: str
    reasons: tuple[str, ...]
    donors: dict[str, int]
    left_out: tuple[LeftOut, ...] = ()
    held_out: str | None = None


def assign_splits(
    cells: pa.Table,
    *,
    seed: int,
    plan: SplitPlan | None = None,
    label: str | None = None,
    copies: Sequence[str | None] | None = None,
) -> SplitResult:
    """Assign each cell to train, val or test.

    Parameters
    ----------
    cells
        Columns ``cell_id`` and ``dataset``; ``donor`` where donors are known; the column ``label``, if given.
    seed
        Another seed gives another split; the order of the rows makes no difference.
    plan
        Fractions by donor without it.
    label
        Where the split is by cell, stratified or in folds, each label is split in these shares.
    copies
        Per row what `duplicates.copies` found; cells with the same value are kept on one side.

    Raises
    ------
    ExportError
        If a cell is listed twice, or the plan does not fit the cells: more folds than donors, one study alone.
    """
    plan = plan or SplitPlan()
    check_plan(plan)
    _check_once(cells["cell_id"].to_pylist())
    rows = _Rows(
        ids=cells["cell_id"].to_pylist(),
        donors=people(cells, copies),
        strata=[repr(v) for v in cells[label].to_pylist()] if label else ["None"] * len(cells),
        copies=list(copies) if copies is not None else [None] * len(cells),
    )
    if plan.by == "study":
        return _without_study(cells["dataset"].to_pylist(), studies(cells), rows, seed, plan)
    if any(rows.donors):
        return _by_donor(rows, seed, plan)
    split = _folds_of_cells(rows, seed, plan) if plan.folds else _by_cell(rows, seed, plan.fractions)
    reasons = ["no donor is known: the split is by cell, so test cells may come from donors seen in training"]
    reasons += _empty_sides(split, plan)
    return _result(
        split, "cell", "unreliable" if len(reasons) > 1 else "caution", reasons, rows, by_donor=False
    )


@dataclass(frozen=True)
class _Rows:
    ids: list[str]
    donors: list[str | None]  # unit that must stay together: a donor, or donors that share a cell
    strata: list[str]
    copies: list[str | None]

    def take(self, rows: Sequence[int]) -> _Rows:
        return _Rows(
            *([values[row] for row in rows] for values in (self.ids, self.donors, self.strata, self.copies))  # type: ignore[arg-type]
        )


# --------------------------------------------------------------------------- by donor


def _by_donor(rows: _Rows, seed: int, plan: SplitPlan) -> SplitResult:
    sizes = Counter(donor for donor in rows.donors if donor)
    if plan.folds:
        side_of = _folds_of_donors(rows, sizes, seed, plan)
    else:
        shares = dict(zip(SPLITS, plan.fractions, strict=True))
        # Test and val first, one donor each, so that two or three donors still give a test set.
        first = [side for side in ("test", "val")[: 2 if len(sizes) > 2 else 1] if shares[side] > 0]
        side_of = _deal(rows, sizes, seed, shares, first, plan.stratify)
    split = [side_of[donor] if donor else "train" for donor in rows.donors]
    unknown = sum(donor is None for donor in rows.donors)
    reasons = []
    if unknown:
        reasons.append(f"{unknown} cells of unknown donors are in train")
    if len(sizes) < FEW_DONORS:
        reasons.append(f"only {len(sizes)} donors are known")
    empty = _empty_sides(split, plan)
    verdict = "unreliable" if empty else "caution" if reasons else "ok"
    return _result(split, "donor", verdict, [*reasons, *empty], rows)


def _deal(
    rows: _Rows,
    sizes: Counter[str],
    seed: int,
    shares: Mapping[str, float],
    first: Sequence[str],
    stratify: bool,
) -> dict[str, str]:
    """Give whole donors, in seeded order, to the side that is furthest below its share of cells."""
    order = sorted(sizes, key=lambda donor: rank(seed, donor))
    side_of = dict(zip(order, first, strict=False))
    if stratify:
        return _stratified(rows, order, {s: f for s, f in shares.items() if f > 0}, side_of)
    held = Counter({side_of[d]: sizes[d] for d in side_of})
    held["train"] += sum(donor is None for donor in rows.donors)
    for donor in order[len(side_of) :]:
        missing = {side: share * len(rows.ids) - held[side] for side, share in shares.items()}
        side = "train" if "train" not in side_of.values() else max(shares, key=lambda s: missing[s])
        side_of[donor] = side
        held[side] += sizes[donor]
    return side_of


def _stratified(
    rows: _Rows, order: Sequence[str], shares: Mapping[str, float], side_of: dict[str, str]
) -> dict[str, str]:
    """Give each donor to the side where it adds least to the imbalance of labels.

    The imbalance is the sum over sides s and labels l of ``f_s * (c_sl / (f_s * N_l))^2``, with c cells held, N all
    cells of a label and f the share of a side: it is smallest where every side has its share of every label.
    """
    total = Counter(rows.strata)
    of_donor: dict[str, Counter[str]] = {donor: Counter() for donor in order}
    held: dict[str, Counter[str]] = {side: Counter() for side in shares}
    for donor, stratum in zip(rows.donors, rows.strata, strict=True):
        if donor is None:
            held["train"][stratum] += "train" in held
        else:
            of_donor[donor][stratum] += 1
    for donor, side in side_of.items():
        held[side].update(of_donor[donor])

    def added(side: str, donor: str) -> float:
        adds = of_donor[donor].items()
        return sum((2 * held[side][s] * n + n * n) / total[s] ** 2 for s, n in adds) / shares[side]

    for donor in order[len(side_of) :]:
        if "train" in shares and "train" not in side_of.values():
            side = "train"
        else:
            # Of equal sides the one with fewest cells: no side stays empty where there are donors enough.
            side = min(shares, key=lambda s: (round(added(s, donor), 12), held[s].total()))
        side_of[donor] = side
        held[side].update(of_donor[donor])
    return side_of


# --------------------------------------------------------------------------- in folds


def _folds_of_donors(rows: _Rows, sizes: Counter[str], seed: int, plan: SplitPlan) -> dict[str, str]:
    folds = plan.folds or 0
    if folds > len(sizes):
        hint = f"Give --folds {len(sizes)} or fewer." if len(sizes) > 1 else "Widen --cells."
        raise ExportError(f"{folds} folds need {folds} donors, {len(sizes)} known. {hint}")
    # Large donors first: small ones then fill up what is uneven.
    order = sorted(sizes, key=lambda donor: (-sizes[donor], rank(seed, donor)))
    known = rows.take([row for row, donor in enumerate(rows.donors) if donor])
    fold_of = _stratified(known, order, {str(k): 1 / folds for k in range(folds)}, {})
    return {donor: _side(int(fold), plan) for donor, fold in fold_of.items()}


def _folds_of_cells(rows: _Rows, seed: int, plan: SplitPlan) -> list[str]:
    folds = plan.folds or 0
    units = len(set(_together(rows)))
    if folds > units:
        raise ExportError(f"{folds} folds need {folds} cells, and there are {units}. Give fewer folds.")
    split = [""] * len(rows.ids)
    place = 0  # counted on from stratum to stratum, so that rare labels do not all begin in fold 0
    for units_of_stratum in _ranked_units(rows, seed):
        for unit in units_of_stratum:
            for row in unit:
                split[row] = _side(place % folds, plan)
            place += 1
    return split


def _side(fold: int, plan: SplitPlan) -> str:
    folds, test = plan.folds or 0, plan.fold or 0
    if fold == test:
        return "test"
    return "val" if folds > 2 and fold == (test + 1) % folds else "train"


# --------------------------------------------------------------------------- by cell


def _by_cell(rows: _Rows, seed: int, fractions: Sequence[float]) -> list[str]:
    split = [""] * len(rows.ids)
    for units in _ranked_units(rows, seed):
        size = sum(map(len, units))
        test, val = round(size * fractions[2]), round(size * fractions[1])
        place = 0
        for unit in units:
            for row in unit:
                split[row] = "test" if place < test else "val" if place < test + val else "train"
            place += len(unit)
    return split


def _ranked_units(rows: _Rows, seed: int) -> list[list[list[int]]]:
    """Rows of each unit, a cell and its copies, in seeded order, by the stratum of its first cell."""
    units: dict[str, list[int]] = {}
    for row, unit in enumerate(_together(rows)):
        units.setdefault(unit, []).append(row)
    strata: dict[str, list[str]] = {}
    for unit, members in units.items():
        first = min(members, key=lambda row: rows.ids[row])
        strata.setdefault(rows.strata[first], []).append(unit)
    return [
        [units[unit] for unit in sorted(found, key=lambda unit: rank(seed, unit))]
        for _, found in sorted(strata.items())
    ]


def _together(rows: _Rows) -> list[str]:
    return [copy or cell for cell, copy in zip(rows.ids, rows.copies, strict=True)]


# --------------------------------------------------------------------------- by study


def _without_study(
    datasets: list[str], origins: list[str], rows: _Rows, seed: int, plan: SplitPlan
) -> SplitResult:
    """Test on one dataset; the others are split by donor into train and val."""
    held_out = _held_out(sorted(set(datasets)), plan)
    split: list[str | None] = [None] * len(datasets)
    tested = [row for row, dataset in enumerate(datasets) if dataset == held_out]
    # Two donors that share a cell are one person, whom another study calls by another name.
    inside = {rows.copies[row] for row in tested} | {rows.donors[row] for row in tested}
    inside.discard(None)
    tested_origins = {origins[row] for row in tested}
    left, again, rest = [], [], []
    for row, dataset in enumerate(datasets):
        if dataset == held_out:
            split[row] = "test"
        elif origins[row] in tested_origins:
            again.append(rows.ids[row])
        elif rows.copies[row] in inside or rows.donors[row] in inside:
            left.append(rows.ids[row])
        else:
            rest.append(row)
    others, unit = _train_and_val(rows.take(rest), seed, plan)
    for row, side in zip(rest, others, strict=True):
        split[row] = side
    unknown = sum(rows.donors[row] is None for row in rest)
    reasons = []
    if unit == "cell":
        reasons.append("no donor of the other studies is known: train and val are split by cell")
    elif unknown:
        reasons.append(f"{unknown} cells of unknown donors are in train")
    if len(set(datasets)) == 2:
        reasons.append("only one study is left to learn from")
    reasons += _unseen(split, rows.strata)
    empty = _empty_sides(split, plan)
    verdict = "unreliable" if empty else "caution" if reasons else "ok"
    found = _result(split, "study", verdict, [*reasons, *empty], rows)
    why = {
        f"a copy of it, or of a cell of its donor, is in the study that is left out, {held_out}": left,
        f"a metacell of the same cells' study as those of the study that is left out, {held_out}": again,
    }
    return SplitResult(
        found.split,
        found.unit,
        found.verdict,
        found.reasons,
        found.donors,
        tuple(LeftOut(reason, ids) for reason, ids in why.items() if ids),
        held_out,
    )


def _held_out(studies: list[str], plan: SplitPlan) -> str:
    if len(studies) < 2:
        raise ExportError(
            f"All cells are of one study, {studies[0]!r}, so none can be left out. Widen --cells, or use --split donor."
        )
    if plan.hold_out is not None:
        if plan.hold_out not in studies:
            near = difflib.get_close_matches(plan.hold_out, studies, n=3, cutoff=0.3) or studies[:5]
            raise ExportError(f"No study is called {plan.hold_out!r}. Nearest: {', '.join(map(repr, near))}.")
        return plan.hold_out
    if plan.fold is None:
        raise ExportError(
            f"One of {len(studies)} studies is left out: name it with --hold-out, or by --fold 0 to "
            f"{len(studies) - 1}. First: {', '.join(map(repr, studies[:5]))}."
        )
    if not 0 <= plan.fold < len(studies):
        raise ExportError(f"--fold {plan.fold} is none of {len(studies)} studies, 0 to {len(studies) - 1}.")
    return studies[plan.fold]


def _train_and_val(rows: _Rows, seed: int, plan: SplitPlan) -> tuple[list[str], str]:
    whole = plan.fractions[0] + plan.fractions[1]
    shares = (
        {"train": plan.fractions[0] / whole, "val": plan.fractions[1] / whole} if whole else {"train": 1.0}
    )
    if not any(rows.donors):
        return _by_cell(rows, seed, (shares["train"], shares.get("val", 0.0), 0.0)), "cell"
    sizes = Counter(donor for donor in rows.donors if donor)
    first = ("val",) if len(sizes) > 1 and shares.get("val") else ()
    side_of = _deal(rows, sizes, seed, shares, first, plan.stratify)
    return [side_of[donor] if donor else "train" for donor in rows.donors], "donor"


def _unseen(split: Sequence[str | None], strata: Sequence[str]) -> list[str]:
    """Labels of the test set that no cell of train has."""
    seen = {stratum for side, stratum in zip(split, strata, strict=True) if side == "train"}
    tested = {stratum for side, stratum in zip(split, strata, strict=True) if side == "test"}
    unseen = sorted(tested - seen)
    return (
        [f"{len(unseen)} labels of the test set are in no other study, first {unseen[0]}"] if unseen else []
    )


# --------------------------------------------------------------------------- what they share


def _result(
    split: Sequence[str | None],
    unit: str,
    verdict: str,
    reasons: Sequence[str],
    rows: _Rows,
    *,
    by_donor: bool = True,
) -> SplitResult:
    import pyarrow as pa

    sides = {
        (donor, side) for donor, side in zip(rows.donors, split, strict=True) if donor and side and by_donor
    }
    counts = Counter(side for _, side in sides)
    return SplitResult(
        pa.array(split, pa.string()), unit, verdict, tuple(reasons), {s: counts[s] for s in SPLITS}
    )


def _empty_sides(split: Sequence[str | None], plan: SplitPlan) -> list[str]:
    """Sides that were asked for and have no cell."""
    held = set(split)
    wanted = [side for side, share in zip(SPLITS, plan.fractions, strict=True) if share > 0]
    if plan.by == "study" or plan.folds:
        wanted = ["train", "test"] if plan.folds == 2 or plan.fractions[1] == 0 else list(SPLITS)
    return [f"no cell is in {side}" for side in wanted if side not in held]


def _check_once(ids: Sequence[str]) -> None:
    if len(set(ids)) != len(ids):
        twice = next(i for i, n in Counter(ids).items() if n > 1)
        raise ExportError(f"The cell {twice!r} is listed twice; a cell may be on one side only.")
