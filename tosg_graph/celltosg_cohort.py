"""Which metacells a program written for OmniCellTOSG means: conditions, cases and controls, samples, train and test.

The words (tasks, fields, match keys) are the reference's; what is done with them is ours, see docs/celltosg.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import CohortError
from tosg_graph.matching import ARM, CASE, CONTROL, Key, is_unclassified, match
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

FIELD_ALIAS = {
    "cell_type": "CMT_name",
    "disease": "disease_BMG_name",
    "development_stage": "development_stage_category",
    "sex": "sex_normalized",
}
DISEASE, SEX, CELL_TYPE, PRETRAIN = "disease", "sex", "cell_type", "pretrain"
SIDES = ("train", "test")
MIN_PER_CLASS = 10  # of a cell type on each side, and of a study's disease in pretraining
PRETRAIN_COLUMN = "is_pretrain_data"
_RENAMED = {"gender": "sex", "disease_name": "disease", "organ": "tissue_general"}
_NOBODY_KNOWS = frozenset({"", "unknown", "unannotated", "unannoted", "none"})
_NO_TYPE = frozenset({"miscellaneous", "splatter", "cell"})  # names that say nothing of the type


@dataclass(frozen=True)
class Task:
    """What is told apart, and what cases and controls must agree in."""

    name: str
    field: str  # column of the label
    control: str = ""
    match_keys: tuple[str, ...] = ()

    @property
    def has_arms(self) -> bool:
        """Whether there are cases and controls."""
        return bool(self.control)


TASKS = {
    PRETRAIN: Task(PRETRAIN, FIELD_ALIAS[DISEASE]),
    DISEASE: Task(
        DISEASE, FIELD_ALIAS[DISEASE], "normal", ("CMT_id", "sex_normalized", "development_stage_category")
    ),
    SEX: Task(SEX, FIELD_ALIAS[SEX], "male", ("CMT_id", "development_stage_category")),
    CELL_TYPE: Task(CELL_TYPE, FIELD_ALIAS[CELL_TYPE]),
}


@dataclass
class Account:
    """What was done on the way to an answer, for its report."""

    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def leave(self, cells: pa.Table, kept: NDArray[np.bool_] | Sequence[bool], reason: str) -> pa.Table:
        """Return the kept cells, and write down the others."""
        import numpy as np
        import pyarrow as pa

        mask = np.asarray(kept, bool)
        if not mask.all():
            self.left_out.append(LeftOut(reason, cells["cell_id"].filter(pa.array(~mask)).to_pylist()))
        return cells.filter(pa.array(mask))


def nobody_knows(value: object) -> bool:
    """Tell whether a value of the metadata only says that it is not known, blank text included."""
    return is_unclassified(value) or str(value).strip().lower() in _NOBODY_KNOWS


# --------------------------------------------------------------------------- conditions


def resolved(conditions: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Name of the column -> what it must be; conditions that are None say nothing.

    Raises
    ------
    CohortError
        If a condition names no column, or two name the same one.
    """
    found: dict[str, Any] = {}
    for name, value in conditions.items():
        if value is None:
            continue
        column = column_of(name, columns)
        if column in found:
            raise CohortError(
                f"Two conditions are about {column!r}. Give one of them, with a list of values."
            )
        found[column] = value
    return found


def column_of(name: str, columns: Sequence[str]) -> str:
    """The column that a field means; a `CohortError` with the nearest names if there is none."""
    column = FIELD_ALIAS.get(name, name)
    if column not in columns:
        offered = [*FIELD_ALIAS, *columns]
        near = (
            [_RENAMED[name]]
            if name in _RENAMED
            else difflib.get_close_matches(name, offered, n=3, cutoff=0.4)
        )
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise CohortError(f"The metadata has no column {name!r}.{hint} There are {', '.join(offered)}.")
    return column


def matching_rows(cells: pa.Table, wanted: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which cells fulfil all conditions; text is compared without regard to case, null matches nothing.

    Raises
    ------
    CohortError
        If a value is in no cell at all (the nearest are named), or no cell fulfils all of them.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = np.ones(len(cells), bool)
    for column, value in wanted.items():
        held = _matching_values(cells, column, value)
        own = pc.is_in(cells[column], pa.array(held, cells.schema.field(column).type))
        mask &= own.to_numpy()
    if not mask.any():
        raise CohortError(f"No metacell has {_said(wanted)} together. Widen the conditions.")
    return mask


def _said(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{column} = {value!r}" for column, value in wanted.items())


def _matching_values(cells: pa.Table, column: str, value: Any) -> list[Any]:
    """Values of a column that a condition means, as they are written there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    if not wanted:
        raise CohortError(f"The condition on {column!r} is an empty list. Name a value, or leave it out.")
    held = [v for v in pc.unique(cells[column]).to_pylist() if v is not None]
    text = pa.types.is_string(cells.schema.field(column).type)
    key = folded if text else _same
    by_key: dict[Any, list[Any]] = {}
    for one in held:
        by_key.setdefault(key(one), []).append(one)
    found = []
    for one in wanted:
        if key(one) not in by_key:
            near = difflib.get_close_matches(folded(one), {folded(v): v for v in held}, n=3, cutoff=0.5)
            named = [repr(v) for v in held if folded(v) in near][:3] or [repr(v) for v in held[:5]]
            raise CohortError(
                f"{column!r} has no value {one!r}. Nearest: {', '.join(named) or 'it has none'}."
            )
        found += by_key[key(one)]
    return found


def folded(value: object) -> str:
    """As text is compared: lower case, no space around it."""
    return str(value).strip().lower()


def _same(value: Any) -> Any:
    return value


# --------------------------------------------------------------------------- labels


def known_only(cells: pa.Table, task: Task, account: Account) -> pa.Table:
    """Cells whose label says something: not unknown, and of cell types no name that stands for all of them."""
    vague = _NO_TYPE if task.name == CELL_TYPE else frozenset()
    values = cells[task.field].to_pylist()
    kept = [not nobody_knows(v) and folded(v) not in vague for v in values]
    found = account.leave(cells, kept, f"{task.field} says nothing")
    if not len(found):
        raise CohortError(f"{task.field} is unknown in all {len(cells):,} metacells. Widen the conditions.")
    return found


def without_pretraining(cells: pa.Table, account: Account) -> pa.Table:
    """Cells that are not set apart for pretraining."""
    if PRETRAIN_COLUMN not in cells.column_names:
        return cells
    kept = [not value for value in cells[PRETRAIN_COLUMN].to_pylist()]
    found = account.leave(cells, kept, "set apart for pretraining")
    if not len(found):
        raise CohortError(f"All {len(cells):,} metacells are set apart for pretraining. Use task='pretrain'.")
    return found


def encoded(
    values: Sequence[Any], others: Sequence[Any], column: str
) -> tuple[dict[str, int], list[int], list[int]]:
    """Numbers for labels: class 0 is ``normal`` or ``female`` where it occurs, the others follow in alphabetical order.

    Labels that differ in case only are one class; what is unknown or unclassified is -1 and no class.

    Returns
    -------
    mapping, numbers of ``values``, numbers of ``others``
    """
    zero = {DISEASE: "normal", SEX: "female"}.get(column)
    written: dict[str, list[str]] = {}
    for value in [*values, *others]:
        if not nobody_knows(value):
            spellings = written.setdefault(folded(value), [])
            spellings += [str(value)] if str(value) not in spellings else []
    order = sorted(written, key=lambda label: (label != zero, label))
    mapping = {spelling: number for number, label in enumerate(order) for spelling in written[label]}
    return mapping, *([mapping.get(str(v), -1) for v in side] for side in (values, others))  # type: ignore[return-value]


# --------------------------------------------------------------------------- cases and controls


def in_arms(
    everyone: pa.Table, chosen: pa.Table, wanted: Mapping[str, Any], task: Task, account: Account
) -> pa.Table:
    """Cells with the column ``arm``: cases are among the chosen, controls fulfil the other conditions.

    Raises
    ------
    CohortError
        If an arm is empty.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = known_only(chosen, task, account)
    is_control = [folded(v) == task.control for v in known[task.field].to_pylist()]
    cases = known.filter(pa.array([not c for c in is_control], pa.bool_()))
    if not len(cases):
        raise CohortError(
            f"No metacell is a case: {task.field} is {task.control!r} in all. Widen the conditions."
        )
    controls = everyone.filter(pa.array(matching_rows(everyone, {**wanted, task.field: task.control})))
    both = pa.concat_tables([cases, controls])
    arm = pa.array([CASE] * len(cases) + [CONTROL] * len(controls), pa.string())
    order = pc.sort_indices(pc.index_in(both["cell_id"], everyone["cell_id"]))  # as in the metadata
    return both.append_column(ARM, arm).take(order)


def matched(
    cells: pa.Table, task: Task, keys: Sequence[str], seed: int, account: Account, side: str = ""
) -> pa.Table:
    """Cells of both arms that agree in the keys, one control per case, each at most once; column ``match_group``."""
    import pyarrow as pa

    asked = [Key(column_of(key, cells.column_names)) for key in keys]
    blank = cells  # blanks are unknown here, and unknown matches nothing
    for key in asked:
        values = [None if nobody_knows(v) else v for v in cells[key.column].to_pylist()]
        at = blank.column_names.index(key.column)
        blank = blank.set_column(at, key.column, pa.array(values, cells.schema.field(key.column).type))
    try:
        found = match(donor_columns(blank), asked, seed=seed)
    except CohortError as error:
        named = ", ".join(map(repr, keys))
        raise CohortError(
            f"{side or 'Metacells'}: {error} Here they are named by match_keys=[{named}]."
        ) from error
    account.left_out += found.left_out
    account.facts.setdefault("match", {})[side or "all"] = found.report.to_pylist()
    kept = cells.take(pa.array(found.rows, pa.int64()))
    return kept.append_column("match_group", pa.array(found.group, pa.string()))


def donor_columns(cells: pa.Table) -> pa.Table:
    """Cells with ``dataset`` and ``donor``: a donor is known by both, and by the source where no dataset is."""
    import pyarrow as pa

    def text(name: str) -> list[str | None]:
        if name not in cells.column_names:
            return [None] * len(cells)
        return [None if nobody_knows(v) else str(v).strip() for v in cells[name].to_pylist()]

    study = [d or f"source {s}" for d, s in zip(text("dataset_id"), text("source"), strict=True)]
    others = [name for name in cells.column_names if name not in ("dataset", "donor")]
    columns = {"dataset": pa.array(study, pa.string()), "donor": pa.array(text("donor_id"), pa.string())}
    return pa.table({**{name: cells[name] for name in others}, **columns})
