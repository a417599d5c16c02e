"""What can be said about a cohort before anybody trusts a difference in it: the split, and two arms beside each other.

Standardised mean differences are those of Austin 2009 (doi:10.1002/sim.3697), with sample variances v and shares p:

    numbers             (m1 - m2) / sqrt((v1 + v2) / 2)
    level of a category (p1 - p2) / sqrt((p1 (1 - p1) + p2 (1 - p2)) / 2)

docs/comparisons.md explains every figure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tosg_graph import confounding
from tosg_graph.matching import ARM, CASE, CONTROL, is_unclassified
from tosg_graph.resources import schema
from tosg_graph.splits import SPLITS, donor_keys, studies
from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 2  # of diagnostics.json; 1 had the split alone and named no version
TECHNICAL = ("dataset", "assay", "suspension")
_NUMBERS = ("age_years", "n_counts", "n_genes")
_LEVELS = 30  # of a column; the rarest beyond them are not listed
_DONORS_LISTED = 100
_BINS = 24
_NOT_PEOPLE = frozenset(
    {"pool", "pooled", "mix", "mixed", "multiple", "several", "various", "anonymous", "all"}
)


# --------------------------------------------------------------------------- one cohort


def describe(cells: pa.Table) -> dict[str, Any]:
    """Say of whom a cohort is made.

    Parameters
    ----------
    cells
        ``dataset``, ``n_counts``, and ``donor`` where donors are known.

    Returns
    -------
    dict
        The figures of an arm, and ``verdict``, ``reasons`` and ``notes`` that come of them alone.
    """
    arm = _arm(cells)
    judged = confounding.judge_cohort("the cohort", arm, _pseudo_donors([cells]))
    return {
        **arm,
        "notes": _notes(cells, [arm]),
        "verdict": confounding.worst(verdict for verdict, _ in judged),
        "reasons": [f"{verdict}: {reason}" for verdict, reason in judged],
    }


# --------------------------------------------------------------------------- two arms


def compare(
    cells: pa.Table,
    *,
    before: pa.Table | None = None,
    defining: Iterable[str] = (),
    keys: Sequence[str] = (),
    column: str = ARM,
    names: tuple[str, str] = (CASE, CONTROL),
) -> dict[str, Any]:
    """Set two arms beside each other.

    Parameters
    ----------
    cells
        ``column`` with the ``names`` of the arms, ``cell_id``, ``dataset``, ``n_counts``, and what else of the core
        columns is known.
    before
        The arms before they were sampled and matched.
    defining
        Columns that the arms are made by; they and their ids and raw values are not compared.
    keys
        Further columns to compare: those that were matched on.

    Returns
    -------
    dict
        Plain JSON: ``names``, ``arms``, ``overlap``, ``depth_ratio``, ``depth``, ``balance``, ``verdict``,
        ``reasons``, ``notes``, ``unjudged``, ``thresholds``.
    """
    sides = _sides(cells, column, names)
    earlier = _sides(before, column, names) if before is not None else None
    skipped = {_family(column) for column in defining}
    arms = {name: _arm(side) for name, side in sides.items()}
    overlap = {c: _overlap(sides, c) for c in TECHNICAL if c not in skipped and c in cells.column_names}
    depth = [arms[name]["median_n_counts"] for name in names]
    columns = [c for c in _compared(cells, keys) if _family(c) not in skipped]
    found: dict[str, Any] = {
        "names": list(names),
        "arms": arms,
        "overlap": overlap,
        "depth_ratio": _rounded(min(depth) / max(depth)) if max(depth) else None,
        "depth": _histogram({name: side["n_counts"].to_pylist() for name, side in sides.items()}),
        "balance": _balance(list(sides.values()), list(earlier.values()) if earlier else None, columns),
        "notes": _notes(cells, list(arms.values())),
        "unjudged": sorted(
            [
                *(c for c in TECHNICAL if c not in overlap),
                *(c for c, o in overlap.items() if o["jaccard"] is None),
            ]
        ),
        "thresholds": confounding.THRESHOLDS,
    }
    judged = confounding.judge(found, _pseudo_donors(list(sides.values())))
    found["verdict"] = confounding.worst(verdict for verdict, _ in judged)
    found["reasons"] = [f"{verdict}: {reason}" for verdict, reason in judged]
    return found


def _sides(cells: pa.Table, column: str, names: Sequence[str]) -> dict[str, pa.Table]:
    import pyarrow.compute as pc

    return {name: cells.filter(pc.equal(cells[column], name)) for name in names}


def _arm(cells: pa.Table) -> dict[str, Any]:
    donors = Counter(_donors(cells))
    unknown = donors.pop(None, 0)
    largest = sorted(donors.items(), key=lambda item: (-item[1], item[0] or ""))
    return {
        "cells": len(cells),
        "donors": len(donors),
        "datasets": len(set(cells["dataset"].to_pylist())),
        "unknown_donor_cells": unknown,
        "unknown_donor_share": _share(unknown, len(cells)),
        "top_donor": largest[0][0] if largest else None,
        "top_donor_share": _share(largest[0][1], len(cells)) if largest else None,
        "cells_per_donor": [count for _, count in largest[:_DONORS_LISTED]],
        "median_cells_per_donor": _median(list(donors.values())),
        "median_n_counts": _median(cells["n_counts"].to_pylist()) or 0.0,
    }


def _donors(cells: pa.Table) -> list[str | None]:
    return [None if key is None else key.replace("\x1f", " / ") for key in donor_keys(cells)]


def _overlap(sides: Mapping[str, pa.Table], column: str) -> dict[str, Any]:
    """Values of both arms; ``jaccard`` is None where an arm has no known value."""
    counts = {name: Counter(_known(side[column].to_pylist())) for name, side in sides.items()}
    unknown = {name: counter.pop(None, 0) for name, counter in counts.items()}
    values = [set(counter) for counter in counts.values()]
    shared, either = values[0] & values[1], values[0] | values[1]
    known = all(values)
    return {
        "jaccard": _rounded(len(shared) / len(either)) if known else None,
        "shared": {
            name: _share(sum(n for v, n in counter.items() if v in shared), counter.total())
            if known
            else None
            for name, counter in counts.items()
        },
        "unknown": {name: _share(unknown[name], len(side)) for name, side in sides.items()},
        "values": {name: dict(_most(counter)) for name, counter in counts.items()},
    }


def _known(values: Sequence[Any]) -> list[str | None]:
    return [None if is_unclassified(value) else str(value) for value in values]


def _most(counter: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))[:_LEVELS]


# --------------------------------------------------------------------------- balance


def smd(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standardised mean difference of numbers; None where a variance is unknown, or zero and the means differ."""
    if len(first) < 2 or len(second) < 2:
        return None
    (m1, v1), (m2, v2) = _mean_variance(first), _mean_variance(second)
    return _standardised(m1 - m2, (v1 + v2) / 2)


def smd_of_share(p1: float, p2: float) -> float | None:
    """Standardised mean difference of the share of one level; None where it is 0 in one arm and 1 in the other."""
    return _standardised(p1 - p2, (p1 * (1 - p1) + p2 * (1 - p2)) / 2)


def _standardised(difference: float, variance: float) -> float | None:
    if difference == 0:
        return 0.0
    return difference / math.sqrt(variance) if variance > 0 else None


def _mean_variance(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def _compared(cells: pa.Table, keys: Sequence[str]) -> list[str]:
    core = [
        name
        for name in schema("cells")["columns"]
        if name not in ("cell_id", "barcode", "donor") and name in cells.column_names
    ]
    return list(dict.fromkeys([*core, *(key for key in keys if key != "donor")]))


def _balance(
    sides: Sequence[pa.Table], before: Sequence[pa.Table] | None, columns: Sequence[str]
) -> list[dict[str, Any]]:
    lines = []
    for column in columns:
        numeric = _is_number(sides[0], column)
        now = _numbers(sides, column) if numeric else _levels(sides, column)
        then = {} if before is None else _numbers(before, column) if numeric else _levels(before, column)
        for level, (first, second, difference) in now.items():
            earlier = then[level][2] if level in then else None
            lines.append(
                {
                    "column": column,
                    "level": level,
                    "kind": "number" if numeric else "share",
                    "first": _rounded(first),
                    "second": _rounded(second),
                    "smd": _rounded(difference),
                    "smd_before": _rounded(earlier),
                }
            )
    return lines


Line = tuple[float | None, float | None, float | None]


def _numbers(sides: Sequence[pa.Table], column: str) -> dict[str | None, Line]:
    first, second = ([float(v) for v in side[column].to_pylist() if v is not None] for side in sides)
    if not first and not second:
        return {}
    means = [math.fsum(values) / len(values) if values else None for values in (first, second)]
    return {None: (means[0], means[1], smd(first, second))}


def _levels(sides: Sequence[pa.Table], column: str) -> dict[str | None, Line]:
    """Share of each level, ``(unknown)`` among them; nothing where all is unknown."""
    counts = [Counter(_known(side[column].to_pylist())) for side in sides]
    both = counts[0] + counts[1]
    if set(both) <= {None}:
        return {}
    sizes = [max(1, counter.total()) for counter in counts]
    found: dict[str | None, Line] = {}
    for level, _ in _most(both):
        p1, p2 = (counter[level] / size for counter, size in zip(counts, sizes, strict=True))
        found["(unknown)" if level is None else level] = (p1, p2, smd_of_share(p1, p2))
    return found


def _is_number(cells: pa.Table, column: str) -> bool:
    import pyarrow as pa

    kind = cells.schema.field(column).type
    return column in _NUMBERS or bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _family(column: str) -> str:
    """``disease`` of ``disease_id``, ``disease_raw`` and the others that stand for it."""
    for suffix in ("_id", "_raw", "_rule", "_score"):
        if column.endswith(suffix) and column.removesuffix(suffix) in schema("cells")["columns"]:
            return column.removesuffix(suffix)
    return column


# --------------------------------------------------------------------------- people


def _pseudo_donors(sides: Sequence[pa.Table]) -> list[str]:
    """Donors whose name says that they are several people, or nobody."""
    found = set()
    for cells in sides:
        if "donor" in cells.column_names:
            for dataset, donor in zip(cells["dataset"].to_pylist(), cells["donor"].to_pylist(), strict=True):
                if donor is not None and _is_nobody(donor, dataset):
                    found.add(f"{dataset} / {donor}")
    return sorted(found)


def _is_nobody(donor: str, dataset: str) -> bool:
    low = donor.strip().lower()
    return low in _NOT_PEOPLE or is_unclassified(donor) or low == (dataset or "").strip().lower()


def _notes(cells: pa.Table, arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Facts that a reader may need and that are no fault."""
    if "donor" not in cells.column_names:
        return []
    datasets_of: dict[str, set[str]] = {}
    donors_of: dict[str, set[str]] = {}
    for dataset, donor in zip(cells["dataset"].to_pylist(), cells["donor"].to_pylist(), strict=True):
        if donor is not None:
            datasets_of.setdefault(donor, set()).add(dataset)
            donors_of.setdefault(dataset, set()).add(donor)
    repeated = sorted(donor for donor, datasets in datasets_of.items() if len(datasets) > 1)
    notes = []
    if repeated:
        notes.append(
            f"{len(repeated)} donor names occur in several datasets and count once in each, first {repeated[0]!r}"
        )
    if len(donors_of) > 1 and all(len(donors) == 1 for donors in donors_of.values()):
        notes.append("every dataset has exactly one donor: it may stand for several people")
    if sum(arm["unknown_donor_cells"] for arm in arms):
        notes.append("cells of unknown donors belong to no donor, and never to one that they share")
    return notes


# --------------------------------------------------------------------------- the split


def of_split(cells: pa.Table, *, label: str) -> dict[str, Any]:
    """Count what is on each side of a split.

    Parameters
    ----------
    cells
        ``label``, ``split``, and ``donor`` where donors are known.
    label
        Name of the column that became ``label``.
    """
    return {
        "label": label,
        "donors": {name: _donors_of(cells, name) for name in SPLITS},
        "labels": {name: count_values(rows_of(cells, name)["label"]) for name in SPLITS},
    }


def count_overlap(cells: pa.Table, *, by_study: bool = False, copies: str | None = None) -> dict[str, int]:
    """Count what is on more than one side of a split; all must be zero.

    Parameters
    ----------
    cells
        ``cell_id``, ``dataset``, ``barcode``, ``split``, and ``donor`` where donors are known.
    by_study
        Whether a study is left out: then no study may be in the test set and elsewhere.
    copies
        Column that names the set of copies of a cell.

    Returns
    -------
    dict
        ``donors``, ``cell_ids``, ``barcodes``, ``copies``, ``metacell_members`` (cells on two sides, as themselves or
        in a sum), and ``studies`` where one is left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    side = cells["split"].combine_chunks()
    barcodes = [cells[name].cast(pa.string()) for name in ("dataset", "barcode")]
    found = {
        "donors": _crossing(pa.array(donor_keys(cells), pa.string()), side),
        "cell_ids": _crossing(cells["cell_id"], side),
        "barcodes": _crossing(pc.binary_join_element_wise(*barcodes, "\x1f"), side),
        "copies": _crossing(cells[copies], side) if copies else 0,
        "metacell_members": _crossing(*_members(cells, side)),
    }
    if by_study:
        found["studies"] = _crossing(pa.array(studies(cells)), pc.equal(side, "test"))
    return found


def _members(cells: pa.Table, side: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Cells, and those that metacells are sums of, and their sides."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = cells["cell_id"].cast(pa.string()).combine_chunks()
    if not {METACELL_OF, "metacell_members"} <= set(cells.column_names):
        return ids, side
    members = cells["metacell_members"].combine_chunks()
    single = pc.is_null(cells[METACELL_OF].combine_chunks())
    return (
        pa.concat_arrays([ids.filter(single), pc.list_flatten(members).cast(pa.string())]),
        pa.concat_arrays([side.filter(single), side.take(pc.list_parent_indices(members))]),
    )


def rows_of(cells: pa.Table, split: str) -> pa.Table:
    """Cells of one side."""
    import pyarrow.compute as pc

    return cells.filter(pc.equal(cells["split"], split))


def count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Value -> how often it occurs, sorted by value."""
    import pyarrow.compute as pc

    return dict(sorted((v["values"], v["counts"]) for v in pc.value_counts(column).to_pylist()))


def _donors_of(cells: pa.Table, split: str) -> list[str]:
    """Donors of a split; one list per split is what a reader compares."""
    if "donor" not in cells.column_names:
        return []
    return sorted(d for d in rows_of(cells, split)["donor"].unique().to_pylist() if d is not None)


def _crossing(values: pa.Array | pa.ChunkedArray, side: pa.Array) -> int:
    """How many values occur on more than one side; unknown ones aside."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pa.table({"value": values, "side": side}).filter(pc.is_valid(values))
    sides = known.group_by("value").aggregate([("side", "count_distinct")])["side_count_distinct"]
    return pc.sum(pc.greater(sides, 1)).as_py() or 0


# --------------------------------------------------------------------------- numbers


def _histogram(values: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Count cells in bins of equal width of log10(1 + counts)."""
    logs = {name: [math.log10(1 + v) for v in column] for name, column in values.items()}
    every = [v for column in logs.values() for v in column]
    if not every:
        return {"edges": [], **{name: [] for name in values}}
    low, high = min(every), max(every)
    width = (high - low) / _BINS or 1 / _BINS
    counted = {name: [0] * _BINS for name in logs}
    for name, column in logs.items():
        for value in column:
            counted[name][min(_BINS - 1, int((value - low) / width))] += 1
    return {"edges": [_rounded(low + k * width) for k in range(_BINS + 1)], **counted}


def _median(values: Sequence[float]) -> float | None:
    from statistics import median

    return float(median(values)) if values else None


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
