"""Case and control: cells that agree in every key, each used once, and what stayed unmatched, and why.

Keys match exactly. A cell whose value of a key is unknown matches nothing, least of all another unknown. Within one
combination of values, m cases get ``ratio`` controls each, with the largest m for which there are enough; nobody is
used twice. Who is taken is decided by the hash of seed and ``cell_id``, in turns over the donors, so that no donor
fills an arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.cohort import kind_of, single_valued
from tosg_graph.donors import rank
from tosg_graph.errors import CohortError
from tosg_graph.harmonise import UNMAPPED
from tosg_graph.resources import schema
from tosg_graph.sampling import groups_of
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    import pyarrow as pa

ARM = "arm"
CASE, CONTROL = "case", "control"
# What stands in files for "nobody knows"; compared in lower case.
UNCLASSIFIED = frozenset(
    {
        UNMAPPED,
        "unclassified",
        "unassigned",
        "undetermined",
        "not classified",
        "not available",
        "not reported",
    }
)


@dataclass(frozen=True)
class Key:
    """One key of a match: a column, and for numbers the width of the bins in which they agree."""

    column: str
    width: float | None = None

    def __str__(self) -> str:
        return self.column if self.width is None else f"{self.column}:{self.width:g}"


@dataclass(frozen=True)
class Matched:
    """The outcome of a match.

    Parameters
    ----------
    rows
        Numbers of the rows that were matched, ascending.
    group
        For each of these rows, the ``cell_id`` of the case that it is or was matched with.
    report
        One row per combination: the keys as text, ``cases``, ``controls``, ``matched_cases``, ``matched_controls``,
        ``unmatched_cases``, ``unmatched_controls``, ``reason`` (why cells of it stayed unmatched).
    left_out
        The cells that stayed unmatched, by arm and reason.
    """

    rows: list[int]
    group: list[str]
    report: pa.Table
    left_out: list[LeftOut]


def parse_keys(text: str | Sequence[str], columns: Mapping[str, str]) -> tuple[Key, ...]:
    """Read ``cell_type_id,sex,age_years:10``.

    Parameters
    ----------
    columns
        Name -> DuckDB type of the columns of the cells.

    Raises
    ------
    CohortError
        If a column is unknown or named twice, or a number has no width, or text has one.
    """
    parts = text.split(",") if isinstance(text, str) else text
    keys = [_key(part.strip(), columns) for part in parts]
    if "donor" in {key.column for key in keys} and "dataset" in columns:
        keys.append(Key("dataset"))  # a donor's name says nothing outside its dataset
    once = list(dict.fromkeys(keys))
    if len({key.column for key in once}) != len(once):
        raise CohortError(f"A column is named twice in --match {','.join(map(str, keys))}. Name each once.")
    return tuple(once)


def _key(part: str, columns: Mapping[str, str]) -> Key:
    column, width = part, None
    if part not in columns and ":" in part:
        column, _, digits = part.rpartition(":")
        try:
            width = float(digits)
        except ValueError:
            width = -1.0
        if not 0 < width < float("inf"):
            raise CohortError(f"{digits!r} in --match {part} is no width of bins. Write age_years:10.")
    single_valued(column, columns)
    kind = kind_of(columns[column])
    if kind == "number" and width is None:
        raise CohortError(
            f"The column {column!r} holds numbers, which are seldom equal. Say the width of bins: {column}:10."
        )
    if kind != "number" and width is not None:
        raise CohortError(f"The column {column!r} holds {kind}, which has no bins. Write {column} alone.")
    return Key(column, width)


def is_unclassified(value: object) -> bool:
    """Tell whether a value of a cell only says that nobody knows.

    ``none`` is a value: in core columns it was read as unknown already, in others it may be a treatment.
    """
    if value is None or value != value:  # NaN
        return True
    low = str(value).strip().lower()
    return low in UNCLASSIFIED or (low in schema("cells")["unknown_values"] and low != "none")


def match(cells: pa.Table, keys: Sequence[Key], *, ratio: int = 1, seed: int = 0) -> Matched:
    """Match the cells of two arms.

    Parameters
    ----------
    cells
        ``cell_id``, ``arm`` (``case`` or ``control``), the columns of the keys, and ``dataset`` and ``donor`` where
        donors are known. Row order makes no difference.
    keys
        Without any, all cells of an arm are one combination.
    ratio
        Controls per case.

    Raises
    ------
    CohortError
        If an arm is empty, a key is unknown in a whole arm, or no case finds its controls.
    """
    if ratio < 1:
        raise CohortError(f"{ratio} controls per case is none. Give --ratio 1 or more.")
    arms = cells[ARM].to_pylist()
    for arm in (CASE, CONTROL):
        if arm not in arms:
            raise CohortError(f"No cell is a {arm}. Widen --{arm}.")
    values = {str(key): _values(cells, key) for key in keys}
    _check_known(values, arms)
    strata: dict[tuple[Any, ...], dict[str, list[int]]] = {}
    unknown: dict[tuple[str, str], list[int]] = {}
    for row, arm in enumerate(arms):
        found = tuple(column[row] for column in values.values())
        missing = [name for name, value in zip(values, found, strict=True) if value is None]
        if missing:
            unknown.setdefault((arm, missing[0]), []).append(row)
        else:
            strata.setdefault(found, {CASE: [], CONTROL: []})[arm].append(row)
    ids = cells["cell_id"].to_pylist()
    donors = groups_of(cells, "donor") if "donor" in cells.column_names else [None] * len(ids)
    ranks = [rank(seed, cell) for cell in ids]
    return _Matching(ids, list(values), ratio, ranks, [repr(donor) for donor in donors]).run(strata, unknown)


@dataclass(frozen=True)
class _Matching:
    ids: list[str]
    names: list[str]
    ratio: int
    ranks: list[bytes]
    donors: list[str]

    def run(
        self,
        strata: Mapping[tuple[Any, ...], Mapping[str, list[int]]],
        unknown: Mapping[tuple[str, str], list[int]],
    ) -> Matched:
        group_of: dict[int, str] = {}
        lines, left = [], dict[tuple[str, str], list[int]]()
        for (arm, name), rows in sorted(unknown.items()):
            left.setdefault((arm, f"{name} is unknown"), []).extend(rows)
        for values, sides in sorted(strata.items(), key=lambda item: tuple(map(str, item[0]))):
            taken = self._pair(sides, group_of)
            reason = self._reason(sides, taken)
            lines.append(self._line(values, sides, taken, reason))
            for arm, rows in sides.items():
                unmatched = [row for row in rows if row not in group_of]
                if unmatched:
                    left.setdefault((arm, reason), []).extend(unmatched)
        lines += [self._unknown_line(name, unknown) for name in sorted({name for _, name in unknown})]
        if not group_of:
            raise CohortError(self._nothing(strata))
        order = sorted(group_of)
        return Matched(order, [group_of[row] for row in order], self._table(lines), self._left(left))

    def _pair(self, sides: Mapping[str, list[int]], group_of: dict[int, str]) -> int:
        """Match one combination; return how many cases found their controls."""
        cases, controls = self._in_turns(sides[CASE]), self._in_turns(sides[CONTROL])
        taken = min(len(cases), len(controls) // self.ratio)
        for place, case in enumerate(cases[:taken]):
            group_of[case] = self.ids[case]
            for row in controls[place * self.ratio : (place + 1) * self.ratio]:
                group_of[row] = self.ids[case]
        return taken

    def _in_turns(self, rows: Sequence[int]) -> list[int]:
        """Sort by hash, but the first cell of every donor before the second of any; unknown donors are one."""
        turn: dict[int, tuple[int, bytes]] = {}
        seen: dict[str, int] = {}
        for row in sorted(rows, key=lambda row: self.ranks[row]):
            seen[self.donors[row]] = seen.get(self.donors[row], -1) + 1
            turn[row] = (seen[self.donors[row]], self.ranks[row])
        return sorted(rows, key=lambda row: turn[row])

    def _reason(self, sides: Mapping[str, list[int]], taken: int) -> str:
        cases, controls = len(sides[CASE]), len(sides[CONTROL])
        if not controls:
            return "no control has these values"
        if not cases:
            return "no case has these values"
        if taken < cases:
            return "too few controls" if controls >= self.ratio else f"fewer than {self.ratio} controls"
        return "no case is left" if controls > taken * self.ratio else ""

    def _line(
        self, values: Sequence[Any], sides: Mapping[str, list[int]], taken: int, reason: str
    ) -> dict[str, Any]:
        cases, controls = len(sides[CASE]), len(sides[CONTROL])
        return {
            **dict(zip(self.names, map(str, values), strict=True)),
            "cases": cases,
            "controls": controls,
            "matched_cases": taken,
            "matched_controls": taken * self.ratio,
            "unmatched_cases": cases - taken,
            "unmatched_controls": controls - taken * self.ratio,
            "reason": reason,
        }

    def _unknown_line(self, name: str, unknown: Mapping[tuple[str, str], list[int]]) -> dict[str, Any]:
        cases, controls = (len(unknown.get((arm, name), ())) for arm in (CASE, CONTROL))
        sides = {CASE: [0] * cases, CONTROL: [0] * controls}
        return self._line([""] * len(self.names), sides, 0, f"{name} is unknown")

    def _table(self, lines: Sequence[dict[str, Any]]) -> pa.Table:
        import pyarrow as pa

        counts = [f"{which}{arm}s" for which in ("", "matched_", "unmatched_") for arm in (CASE, CONTROL)]
        kinds = {**dict.fromkeys(self.names, pa.string()), **dict.fromkeys(counts, pa.int64())}
        return pa.Table.from_pylist(list(lines), schema=pa.schema([*kinds.items(), ("reason", pa.string())]))

    def _left(self, left: Mapping[tuple[str, str], list[int]]) -> list[LeftOut]:
        return [
            LeftOut(f"{arm} without a match: {reason}", sorted(self.ids[row] for row in rows))
            for (arm, reason), rows in sorted(left.items())
        ]

    def _nothing(self, strata: Mapping[tuple[Any, ...], Mapping[str, list[int]]]) -> str:
        """Say which key keeps the arms apart."""
        said = []
        for place, name in enumerate(self.names):
            held = {arm: {v[place] for v, sides in strata.items() if sides[arm]} for arm in (CASE, CONTROL)}
            shared = len(held[CASE] & held[CONTROL])
            said.append(
                f"{name}: {len(held[CASE])} values of cases, {len(held[CONTROL])} of controls, {shared} shared"
            )
        return (
            f"No case finds {self.ratio} controls that agree in {', '.join(self.names) or 'nothing'} "
            f"({'; '.join(said)}). Match on fewer columns, or lower --ratio."
        )


def _values(cells: pa.Table, key: Key) -> list[Any]:
    """Value of each cell, or its bin; None where it is unknown."""
    if key.column not in cells.column_names:
        raise CohortError(f"The cells have no column {key.column!r} to match on.")
    values = [None if is_unclassified(v) else v for v in cells[key.column].to_pylist()]
    if key.width is None:
        return values
    return [None if v is None else _bin(v, key.width) for v in values]


def _bin(value: float, width: float) -> str:
    low = value // width * width
    return f"{low:g} to {low + width:g}"


def _check_known(values: Mapping[str, Sequence[Any]], arms: Sequence[str]) -> None:
    for name, column in values.items():
        for arm in (CASE, CONTROL):
            mine = [v for v, of in zip(column, arms, strict=True) if of == arm]
            if all(v is None for v in mine):
                raise CohortError(
                    f"{name} is unknown in all {len(mine):,} cells of the {arm}s, and unknown matches nothing. "
                    "Leave it out of --match."
                )
