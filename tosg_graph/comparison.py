"""A comparison: which cells are cases, which are controls, and which of them are compared.

cohort -> arms -> one cell of each set of copies -> sample -> match -> diagnostics. Sampling comes before matching, so
that the ratio of the match holds in what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph import diagnostics
from tosg_graph.cohort import Cohort, Every, ExpandTerm, Not, parse, tests
from tosg_graph.duplicates import Counts, copies
from tosg_graph.errors import CohortError
from tosg_graph.matching import ARM, CASE, CONTROL, Key, Matched, is_unclassified, match, parse_keys
from tosg_graph.sampling import Sampling, sample
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance import AbundanceReader

GROUP = "match_group"  # column: cell_id of the case that a cell was matched with
OWN_COLUMNS = (ARM, GROUP, "weight")


@dataclass(frozen=True)
class Arms:
    """What is compared.

    Parameters
    ----------
    case, control
        Cohort expressions; the cohort's own expression holds for both. Without ``control``, all cells that are known
        not to be cases.
    match
        Keys, as `matching.parse_keys` reads them; none: the arms are taken as they are.
    ratio
        Controls per case.
    """

    case: str
    control: str | None = None
    match: tuple[str, ...] = ()
    ratio: int = 1


@dataclass(frozen=True)
class Compared:
    """Two arms, ready to be compared.

    Parameters
    ----------
    cells
        Columns of the store, ``arm``, and ``match_group`` where the arms were matched; sorted by ``cell_id``.
    matched
        The report of the match.
    left_out
        Cells of the cohort that are not compared, by reason.
    diagnostics
        As `diagnostics.compare` returns.
    """

    cells: pa.Table
    matched: Matched | None
    left_out: list[LeftOut]
    diagnostics: dict[str, Any]


def compare(
    reader: AbundanceReader,
    cohort: Cohort,
    expand_term: ExpandTerm,
    arms: Arms,
    *,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Compared:
    """Form the arms of a cohort, thin and match them, and say how far a difference between them can be trusted.

    Raises
    ------
    CohortError
        If an arm is empty, a cell is in both, or the arms cannot be sampled or matched.
    """
    keys = parse_keys(arms.match, reader.cell_columns())
    cells, left = in_arms(reader, cohort, expand_term, arms)
    cells, copied = without_copies(cells, copies(cells, all_counts(reader)))
    before = cells
    cells, sampled = sample(cells, sampling or Sampling(), label=ARM, seed=seed)
    cells, matched = matched_cells(cells, keys, arms.ratio, seed)
    left += [*copied, *sampled, *(matched.left_out if matched else [])]
    found = diagnostics.compare(
        cells,
        before=before,
        defining=defining_columns(reader, arms),
        keys=[key.column for key in keys],
    )
    found["match"] = match_record(arms, keys, matched)
    found["left_out"] = [{"reason": x.reason, "cells": len(x.cell_ids)} for x in left]
    return Compared(cells, matched, left, found)


def all_counts(reader: AbundanceReader) -> Counts:
    """Return a function that reads all counts of some cells."""
    columns = reader.axis["column"].to_pylist()
    return lambda cell_ids: reader.csr(cell_ids, columns)


def in_arms(
    reader: AbundanceReader, cohort: Cohort, expand_term: ExpandTerm, arms: Arms
) -> tuple[pa.Table, list[LeftOut]]:
    """Cells of both arms with the column ``arm``, sorted by ``cell_id``, and the other cells of the cohort by reason.

    A cell whose value in a column that an arm tests only says that nobody knows ("unclassified") is in no arm, unless
    the arm names that value.

    Raises
    ------
    CohortError
        If an arm is empty, a cell is in both, or the cohort holds cells and metacells.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    reader.check_one_kind(cohort, expand_term)
    cells = reader.cells(cohort, expand_term)
    of_arm: dict[str, list[str]] = {}
    left: list[LeftOut] = []
    for arm, wanted in _parsed(reader, arms).items():
        expression = f"({wanted.expression}) within {cohort.expression}"
        within = Cohort(expression, Every((cohort.tree, wanted.tree)), cohort.types)
        kept, unclear = _classified(reader.cells(within, expand_term), wanted, arm)
        if not len(kept):
            raise CohortError(f"No cell is a {arm}: {unclear[0].reason}. Write another --{arm}.")
        of_arm[arm], left = kept["cell_id"].to_pylist(), left + unclear
    both = set(of_arm[CASE]) & set(of_arm[CONTROL])
    if both:
        raise CohortError(
            f"{len(both):,} cells are case and control at once, first {min(both)!r}. Make --case and --control exclude "
            "each other."
        )
    named = {cell: arm for arm, ids in of_arm.items() for cell in ids}
    arm_of = pa.array([named.get(cell) for cell in cells["cell_id"].to_pylist()], pa.string())
    said = {cell for x in left for cell in x.cell_ids}
    others = [c for c in cells["cell_id"].filter(pc.is_null(arm_of)).to_pylist() if c not in said]
    if others:
        left.append(LeftOut("neither case nor control", others))
    taken = [f"obs_{name}" if name in OWN_COLUMNS else name for name in cells.column_names]
    return cells.rename_columns(taken).append_column(ARM, arm_of).filter(pc.is_valid(arm_of)), left


def without_copies(cells: pa.Table, standing: Sequence[str | None]) -> tuple[pa.Table, list[LeftOut]]:
    """Keep one cell of each set of copies; where they are in both arms, none."""
    import pyarrow as pa

    ids, arms = cells["cell_id"].to_pylist(), cells[ARM].to_pylist()
    arms_of: dict[str, set[str]] = {}
    first: dict[str, str] = {}
    for cell, arm, copy in zip(ids, arms, standing, strict=True):
        if copy:
            arms_of.setdefault(copy, set()).add(arm)
            first[copy] = min(cell, first.get(copy, cell))
    torn = [c for c, copy in zip(ids, standing, strict=True) if copy and len(arms_of[copy]) > 1]
    again = [
        c
        for c, copy in zip(ids, standing, strict=True)
        if copy and len(arms_of[copy]) == 1 and first[copy] != c
    ]
    left = [
        LeftOut(reason, found)
        for reason, found in (
            ("copies of one cell are case and control", torn),
            ("a copy of another cell", again),
        )
        if found
    ]
    gone = {*torn, *again}
    kept = cells.filter(pa.array([cell not in gone for cell in ids], pa.bool_()))
    return kept, left


def matched_cells(
    cells: pa.Table, keys: Sequence[Key], ratio: int, seed: int
) -> tuple[pa.Table, Matched | None]:
    """Match on the keys and keep the matched cells, with the column ``match_group``; without keys all cells."""
    import pyarrow as pa

    if not keys:
        return cells, None
    found = match(cells, keys, ratio=ratio, seed=seed)
    kept = cells.take(pa.array(found.rows, pa.int64()))
    return kept.append_column(GROUP, pa.array(found.group, pa.string())), found


def match_record(arms: Arms, keys: Sequence[Key], matched: Matched | None) -> dict[str, Any]:
    """What a manifest and a report say about the arms and their match."""
    return {
        **_expressions(arms),
        "keys": [str(key) for key in keys],
        "ratio": arms.ratio,
        "report": matched.report.to_pylist() if matched else [],
    }


def defining_columns(reader: AbundanceReader, arms: Arms) -> set[str]:
    """Columns that the arms are made by: they differ on purpose."""
    return set().union(*(arm.columns() for arm in _parsed(reader, arms).values()))


def _expressions(arms: Arms) -> dict[str, str]:
    return {CASE: arms.case, CONTROL: arms.control or f"NOT ({arms.case})"}


def _parsed(reader: AbundanceReader, arms: Arms) -> dict[str, Cohort]:
    """Both arms; not to be a case has three values, so that a cell of unknown value is no control."""
    known = reader.cell_columns()
    case = parse(arms.case, known)
    others = Cohort(f"NOT ({arms.case})", Not(case.tree), known)
    return {CASE: case, CONTROL: parse(arms.control, known) if arms.control else others}


def _classified(cells: pa.Table, arm: Cohort, name: str) -> tuple[pa.Table, list[LeftOut]]:
    """Leave out cells with a word for "unknown" in a column that the arm tests, unless the arm names the word."""
    import pyarrow as pa

    named = {(t.column, str(c).lower()) for t in tests(arm.tree) for c in t.constants}
    unclear: dict[str, list[str]] = {}
    ids = cells["cell_id"].to_pylist()
    gone: set[str] = set()
    for column in sorted(arm.columns()):
        for cell, value in zip(ids, cells[column].to_pylist(), strict=True):
            word = isinstance(value, str) and is_unclassified(value) and (column, value.lower()) not in named
            if word and cell not in gone:
                unclear.setdefault(f"not taken for a {name}: {column} is {value!r}", []).append(cell)
                gone.add(cell)
    kept = cells.filter(pa.array([cell not in gone for cell in ids], pa.bool_()))
    return kept, [LeftOut(reason, found) for reason, found in sorted(unclear.items())]
