"""Train and test of metacells, and samples of them, for the tasks of OmniCellTOSG; see docs/celltosg.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

from tosg_graph.celltosg_cohort import (
    CELL_TYPE,
    MIN_PER_CLASS,
    PRETRAIN,
    PRETRAIN_COLUMN,
    SIDES,
    TASKS,
    Account,
    column_of,
    donor_columns,
    folded,
    in_arms,
    known_only,
    matched,
    without_pretraining,
)
from tosg_graph.donors import rank
from tosg_graph.errors import CohortError
from tosg_graph.matching import ARM, CASE, CONTROL
from tosg_graph.sampling import Sampling, sample
from tosg_graph.split_plan import SplitPlan
from tosg_graph.splits import SplitResult, assign_splits

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.celltosg_cohort import Task

TRAIN, INFERENCE = "train", "inference"
CORRECTIONS = ("combat_seq", "combat", "pycombat_seq")
_TEST_SHARE = 0.2
_STRATUM = "stratum"


@dataclass(frozen=True)
class Request:
    """What a program asked for, by the reference's names; `checked` refuses what contradicts itself."""

    extract_mode: str
    task: str
    stratified_balancing: bool
    shuffle: bool
    sample_ratio: float | None
    sample_size: int | None
    random_state: int
    correction_method: str | None
    match_keys: tuple[str, ...]

    def checked(self) -> Request:
        """Return itself.

        Raises
        ------
        CohortError
            Naming the parameter, its value and what it may be.
        """
        _one_of("task", self.task, tuple(TASKS))
        _one_of("extract_mode", self.extract_mode, (INFERENCE, TRAIN))
        _one_of("correction_method", self.correction_method, (None, *CORRECTIONS))
        ratio, size = self.sample_ratio, self.sample_size
        if ratio is not None and size is not None:
            raise CohortError(
                f"sample_ratio {ratio} and sample_size {size} both say how many. Give one of them."
            )
        if ratio is not None and not 0 < ratio <= 1:
            raise CohortError(
                f"sample_ratio {ratio} is no share of the metacells. Give more than 0, at most 1."
            )
        if size is not None and not _is_count(size):
            raise CohortError(f"sample_size {size} is no number of metacells. Give 1 or more.")
        train = self.extract_mode == TRAIN
        if self.task == PRETRAIN and not train:
            raise CohortError("task 'pretrain' has a train and a test set. Use extract_mode='train'.")
        if self.task == PRETRAIN and size is not None:
            raise CohortError(
                "task 'pretrain' is sampled by study and disease. Give sample_ratio, not sample_size."
            )
        if TASKS[self.task].has_arms and train and not self.stratified_balancing:
            raise CohortError(
                f"task {self.task!r} is trained on cases with their controls. Set stratified_balancing=True."
            )
        if self.correction_method is not None and not train:
            raise CohortError(
                "A correction is fitted on training cells and changes log1p values, while extract_mode='inference' "
                "returns raw counts. Leave correction_method out, or use extract_mode='train'."
            )
        return self

    def facts(self) -> dict[str, Any]:
        """As a report states it."""
        return asdict(self)


def _is_count(value: object) -> bool:
    """Tell whether a value is a whole number above zero, NumPy's included."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) > 0


def _one_of(name: str, value: object, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise CohortError(f"{name} {value!r} is unknown. Choose {', '.join(map(repr, allowed))}.")


# --------------------------------------------------------------------------- what a request takes


def taken(
    cells: pa.Table, chosen: NDArray[np.bool_], wanted: Mapping[str, Any], request: Request, account: Account
) -> dict[str, pa.Table]:
    """The metacells of a request by side: ``train`` and ``test``, or ``all`` for inference.

    Parameters
    ----------
    cells
        All metacells, in the order of the metadata.
    chosen
        Which of them fulfil the conditions ``wanted``.

    Raises
    ------
    CohortError
        If nothing is left, or train and test cannot be told apart.
    """
    import pyarrow as pa

    task = TASKS[request.task]
    own = cells.filter(pa.array(chosen))
    if request.stratified_balancing and not task.has_arms:
        account.notes.append(
            f"task {task.name!r} has no cases and controls: stratified_balancing does nothing"
        )
    if request.extract_mode == INFERENCE:
        sides = {"all": _for_inference(cells, own, wanted, task, request, account)}
    elif task.name == PRETRAIN:
        sides = _split(_pretraining(own, request, account), task, request.random_state, account)
    elif task.name == CELL_TYPE:
        typed = known_only(without_pretraining(own, account), task, account)
        sides = _covered_types(_split(typed, task, request.random_state, account), account)
        sides = {name: _drawn_types(held, request, account) for name, held in sides.items()}
    else:
        sides = _compared(cells, own, wanted, task, request, account)
    if request.shuffle:
        sides = {name: _shuffled(held, request.random_state) for name, held in sides.items()}
    return sides


def _for_inference(
    cells: pa.Table, own: pa.Table, wanted: Mapping[str, Any], task: Task, request: Request, account: Account
) -> pa.Table:
    import pyarrow.compute as pc

    seed = request.random_state
    if task.name == CELL_TYPE:
        return _drawn_types(known_only(own, task, account), request, account)
    if not request.stratified_balancing:
        said = [value is not None and str(value).strip() != "" for value in own[task.field].to_pylist()]
        own = account.leave(own, said, f"{task.field} is blank")
        if not len(own):
            raise CohortError(f"{task.field} is blank in all metacells. Widen the conditions.")
        return _drawn(own, _size(len(own), request), seed, account)
    arms = in_arms(cells, own, wanted, task, account)
    cases, controls = (arms.filter(pc.equal(arms[ARM], arm)) for arm in (CASE, CONTROL))
    cases = _drawn(
        cases, _size(len(cases), request), seed, account
    )  # before matching: the ratio holds in the end
    both = _in_order(arms, [cases, controls])
    return matched(both, task, request.match_keys or task.match_keys, seed, account)


def _compared(
    cells: pa.Table, own: pa.Table, wanted: Mapping[str, Any], task: Task, request: Request, account: Account
) -> dict[str, pa.Table]:
    """Cases and controls: dealt to train and test, matched within each, whole groups sampled."""
    everyone = without_pretraining(cells, Account())
    arms = in_arms(everyone, without_pretraining(own, account), wanted, task, account)
    keys, seed = request.match_keys or task.match_keys, request.random_state
    sides = {}
    for name, held in _split(arms, task, seed, account, keys).items():
        found = matched(held, task, keys, seed, account, name)
        sides[name] = _drawn_groups(found, request, account)
    return sides


def _split(
    cells: pa.Table, task: Task, seed: int, account: Account, keys: Sequence[str] = ()
) -> dict[str, pa.Table]:
    """Train and test, about 80 and 20 of 100 cells, with no donor in both; each arm is dealt for itself.

    Raises
    ------
    CohortError
        If a side would be empty, or an arm has fewer than two donors.
    """
    import pyarrow as pa

    table = donor_columns(cells)
    if task.has_arms:
        values = [cells[column_of(key, cells.column_names)].to_pylist() for key in keys]
        strata = pa.array([repr(found) for found in zip(*values, strict=True)], pa.string())
        side = _split_arms(table.append_column(_STRATUM, strata), seed, account)
    else:
        found = assign_splits(table, seed=seed, plan=_plan(stratify=task.name == CELL_TYPE), label=task.field)
        side = _sides(found, account, "all")
    sides = {name: cells.filter(pa.array([s == name for s in side], pa.bool_())) for name in SIDES}
    empty = [name for name, held in sides.items() if not len(held)]
    if empty:
        raise CohortError(
            f"{len(cells):,} metacells give no {empty[0]} set without a donor on both sides. Widen the conditions."
        )
    return sides


def _plan(stratify: bool = False) -> SplitPlan:
    return SplitPlan(fractions=(1 - _TEST_SHARE, 0.0, _TEST_SHARE), stratify=stratify)


def _split_arms(table: pa.Table, seed: int, account: Account) -> list[str]:
    """Split cases by donor, then controls; a donor of both stays where the cases are.

    What matched cells must agree in is dealt evenly, else all cases of a side may be women and all controls men.
    """
    import pyarrow as pa

    arms = table[ARM].to_pylist()
    donors = list(zip(table["dataset"].to_pylist(), table["donor"].to_pylist(), strict=True))
    side: list[str] = [""] * len(arms)
    side_of: dict[tuple[str, str], str] = {}
    for arm in (CASE, CONTROL):
        rows = [row for row, of in enumerate(arms) if of == arm]
        known = {donors[row] for row in rows if donors[row][1]}
        if len(known) == 1:
            raise CohortError(
                f"All {arm}s of known donor are of one, {' '.join(next(iter(known)))}; two are needed, for train "
                "and test. Widen the conditions."
            )
        free = [row for row in rows if donors[row] not in side_of]
        if free:
            own = table.take(pa.array(free, pa.int64()))
            found = assign_splits(own, seed=seed, plan=_plan(stratify=True), label=_STRATUM)
            for row, one in zip(free, _sides(found, account, arm), strict=True):
                side[row] = one
                if donors[row][1]:
                    side_of[donors[row]] = one
        for row in rows:
            side[row] = side[row] or side_of[donors[row]]
    return side


def _sides(found: SplitResult, account: Account, which: str) -> list[str]:
    said = {"unit": found.unit, "verdict": found.verdict, "reasons": list(found.reasons)}
    account.facts.setdefault("split", {})[which] = said
    sides: list[str] = found.split.to_pylist()
    return sides


def _covered_types(sides: dict[str, pa.Table], account: Account) -> dict[str, pa.Table]:
    """Cells whose type has at least ten of them on both sides.

    Raises
    ------
    CohortError
        If no type has.
    """
    column = TASKS[CELL_TYPE].field
    sizes = {name: Counter(held[column].to_pylist()) for name, held in sides.items()}
    types = {t for t in sizes["train"] if all(size[t] >= MIN_PER_CLASS for size in sizes.values())}
    if not types:
        raise CohortError(
            f"No cell type has {MIN_PER_CLASS} metacells in train and in test. Widen the conditions."
        )
    reason = f"of a cell type with fewer than {MIN_PER_CLASS} metacells in train or test"
    return {
        name: account.leave(held, [t in types for t in held[column].to_pylist()], f"{name}: {reason}")
        for name, held in sides.items()
    }


# --------------------------------------------------------------------------- samples


def _size(total: int, request: Request) -> int:
    """How many of ``total`` are taken: all where nothing is said, and at least one."""
    if request.sample_ratio is not None:
        return max(1, round(total * request.sample_ratio))
    return total if request.sample_size is None else min(request.sample_size, total)


def _drawn(cells: pa.Table, size: int, seed: int, account: Account) -> pa.Table:
    """A sample without replacement, in the order given."""
    if size >= len(cells):
        return cells
    kept, left = sample(cells, Sampling(size=size), label=None, seed=seed)
    account.left_out += left
    return kept


def _drawn_groups(cells: pa.Table, request: Request, account: Account) -> pa.Table:
    """Sample whole matched groups, so that as many controls as cases are left; ``size`` counts metacells."""
    size, groups = request.sample_size, cells["match_group"].to_pylist()
    names = sorted(set(groups), key=lambda group: rank(request.random_state, group))
    per_group = len(groups) // len(names)
    if size is not None and size < per_group:
        raise CohortError(
            f"sample_size {size} is less than one case with its control. Give {per_group} or more."
        )
    taken = _size(len(names), replace(request, sample_size=None if size is None else size // per_group))
    chosen = set(names[:taken])
    return account.leave(cells, [group in chosen for group in groups], "not among the matched groups drawn")


def _drawn_types(cells: pa.Table, request: Request, account: Account) -> pa.Table:
    """Sample each cell type: its share, but at least ten or all it has; none is taken twice.

    Raises
    ------
    CohortError
        If ``size`` is less than ten of each type.
    """
    import pyarrow as pa

    ratio, size, seed = request.sample_ratio, request.sample_size, request.random_state
    if ratio is None and size is None:
        return cells
    types = cells[TASKS[CELL_TYPE].field].to_pylist()
    counts = Counter(types)
    least = {t: min(n, MIN_PER_CLASS) for t, n in counts.items()}
    if size is None:
        take = {t: max(least[t], int(n * (ratio or 1.0))) for t, n in counts.items()}
    else:
        take = _quotas(counts, least, size)
    parts = [
        _drawn(cells.filter(pa.array([t == one for t in types], pa.bool_())), take[one], seed, account)
        for one in sorted(counts)
    ]
    return _in_order(cells, parts)


def _quotas(counts: Counter[str], least: Mapping[str, int], size: int) -> dict[str, int]:
    """Shares of ``size`` in proportion to ``counts``, by largest remainder, within ``least`` and ``counts``."""
    needed = MIN_PER_CLASS * len(counts)
    if size < needed:
        raise CohortError(
            f"sample_size {size:,} is less than {MIN_PER_CLASS} of each of {len(counts)} cell types. Give {needed:,} "
            "or more."
        )
    total = counts.total()
    if size >= total:
        return dict(counts)
    take = {t: max(least[t], size * n // total) for t, n in counts.items()}
    while (over := sum(take.values()) - size) != 0:
        # The one furthest above, or below, its share gives or gets one.
        step = -1 if over > 0 else 1
        open_ = [t for t in counts if (take[t] > least[t] if over > 0 else take[t] < counts[t])]
        first = max(open_, key=lambda t: (step * (size * counts[t] / total - take[t]), t))
        take[first] += step
    return take


def _pretraining(cells: pa.Table, request: Request, account: Account) -> pa.Table:
    """Metacells that are set apart for pretraining; of each study and disease a share, but at least ten or all.

    Raises
    ------
    CohortError
        If the metadata sets none apart.
    """
    import pyarrow as pa

    column = column_of(PRETRAIN_COLUMN, cells.column_names)
    kept = account.leave(cells, [bool(v) for v in cells[column].to_pylist()], "not set apart for pretraining")
    if not len(kept):
        raise CohortError(
            f"None of {len(cells):,} metacells is set apart for pretraining. Widen the conditions."
        )
    ratio, seed = request.sample_ratio, request.random_state
    if ratio is None:
        return kept
    studies = donor_columns(kept)["dataset"].to_pylist()
    groups = list(zip(studies, map(folded, kept[TASKS[PRETRAIN].field].to_pylist()), strict=True))
    parts = []
    for group, count in sorted(Counter(groups).items()):
        own = kept.filter(pa.array([g == group for g in groups], pa.bool_()))
        parts.append(_drawn(own, max(min(count, MIN_PER_CLASS), int(count * ratio)), seed, account))
    return _in_order(kept, parts)


def _in_order(cells: pa.Table, parts: Iterable[pa.Table]) -> pa.Table:
    import pyarrow as pa

    taken = {cell for part in parts for cell in part["cell_id"].to_pylist()}
    return cells.filter(pa.array([cell in taken for cell in cells["cell_id"].to_pylist()], pa.bool_()))


def _shuffled(cells: pa.Table, seed: int) -> pa.Table:
    """The cells in a seeded order that does not depend on the one given."""
    import pyarrow as pa

    ids = cells["cell_id"].to_pylist()
    return cells.take(
        pa.array(sorted(range(len(ids)), key=lambda row: rank(seed, f"order {ids[row]}")), pa.int64())
    )
