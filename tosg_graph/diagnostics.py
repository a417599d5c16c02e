"""What can be said about a cohort before anybody trusts a difference in it: of whom it is, and its arms side by side.

docs/comparisons.md explains every figure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tosg_graph import confounding
from tosg_graph.balance import balance, count_known, most_frequent, rounded
from tosg_graph.donors import donor_keys, studies
from tosg_graph.errors import CohortError
from tosg_graph.matching import ARM, CASE, CONTROL, is_unclassified
from tosg_graph.resources import schema
from tosg_graph.split_plan import SPLITS
from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 3  # of diagnostics.json; 1 had the split alone and named no version, 2 had two arms at most
WHOLE = "the cohort"  # the arm of a cohort without arms
TECHNICAL = ("dataset", "assay", "suspension")
_DONORS_LISTED = 100
_BINS = 24
_NOT_PEOPLE = frozenset(
    {"pool", "pooled", "mix", "mixed", "multiple", "several", "various", "anonymous", "all"}
)


def columns(known: Iterable[str], by: str | None = None) -> list[str]:
    """Those of the columns of the cells that are looked at."""
    core = [name for name in schema("cells")["columns"] if name not in ("cell_id", "barcode")]
    held = set(known)
    looked_at = [name for name in (*core, METACELL_OF) if name in held]
    return list(dict.fromkeys([*looked_at, *([by] if by else [])]))


# --------------------------------------------------------------------------- one cohort


def describe(cells: pa.Table, by: str | None = None) -> dict[str, Any]:
    """Say of whom and of what a cohort is made.

    Parameters
    ----------
    cells
        As `compare` takes them.
    by
        Column whose values are set beside each other as arms; cells without a value are in none. Without it the
        cohort is one arm.

    Returns
    -------
    dict
        As `compare` returns, of the one arm ``the cohort`` or one arm per value, and ``left_out``.

    Raises
    ------
    CohortError
        If no cell has a known value in ``by``.
    """
    import pyarrow as pa

    if by is None:
        return {**_found({WHOLE: cells}, None, set(), ()), "left_out": []}
    values = cells[by].cast(pa.string())
    known = pa.array([not is_unclassified(v) for v in values.to_pylist()], pa.bool_())
    without = len(cells) - sum(known.to_pylist())
    if without == len(cells):
        raise CohortError(
            f"None of the {len(cells):,} cells has a known value in {by!r}. Choose another --by."
        )
    at = cells.column_names.index(by)
    found = classes(cells.set_column(at, by, values).filter(known), by, defining=[by])
    if without:
        found["left_out"].append({"reason": f"no known value in {by}", "cells": without})
    return found


# --------------------------------------------------------------------------- arms beside each other


def classes(
    cells: pa.Table, column: str, *, before: pa.Table | None = None, defining: Iterable[str] = ()
) -> dict[str, Any]:
    """Set the values of a text column beside each other, the 30 most frequent where there are more; see `compare`."""
    counted = count_values(cells[column])
    names = sorted(name for name, _ in most_frequent(Counter(counted)))
    found = compare(cells, before=before, defining=defining, column=column, names=names)
    rare = {name: size for name, size in counted.items() if name not in set(names)}
    reason = f"of the {len(rare):,} rarer values of {column}"
    found["left_out"] = [{"reason": reason, "cells": sum(rare.values())}] if rare else []
    return found


def compare(
    cells: pa.Table,
    *,
    before: pa.Table | None = None,
    defining: Iterable[str] = (),
    keys: Sequence[str] = (),
    column: str = ARM,
    names: Sequence[str] = (CASE, CONTROL),
) -> dict[str, Any]:
    """Set arms beside each other.

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
    earlier = _sides(before, column, names) if before is not None else None
    return _found(_sides(cells, column, names), earlier, {_family(c) for c in defining}, keys)


def _sides(cells: pa.Table, column: str, names: Sequence[str]) -> dict[str, pa.Table]:
    import pyarrow.compute as pc

    return {name: cells.filter(pc.equal(cells[column], name)) for name in names}


def _found(
    sides: Mapping[str, pa.Table],
    earlier: Mapping[str, pa.Table] | None,
    skipped: set[str],
    keys: Sequence[str],
) -> dict[str, Any]:
    import pyarrow as pa

    cells = pa.concat_tables(sides.values())
    arms = {name: _arm(side) for name, side in sides.items()}
    overlap = {c: _overlap(sides, c) for c in TECHNICAL if c not in skipped and c in cells.column_names}
    depth = [arm["median_n_counts"] for arm in arms.values()]
    columns = [c for c in _compared(cells, keys) if _family(c) not in skipped]
    several = len(sides) > 1
    found: dict[str, Any] = {
        "names": list(sides),
        "arms": arms,
        "overlap": overlap,
        "depth_ratio": rounded(min(depth) / max(depth)) if several and max(depth) else None,
        "depth": _histogram({name: side["n_counts"].to_pylist() for name, side in sides.items()}),
        "balance": balance(list(sides.values()), list(earlier.values()) if earlier else None, columns),
        "notes": _notes(cells, list(arms.values())),
        "unjudged": sorted(c for c in TECHNICAL if c not in overlap or overlap[c]["jaccard"] is None)
        if several
        else [],
        "thresholds": confounding.THRESHOLDS,
    }
    judged = confounding.judge(found, _pseudo_donors(list(sides.values())))
    found["verdict"] = confounding.worst(verdict for verdict, _ in judged)
    found["reasons"] = [f"{verdict}: {reason}" for verdict, reason in judged]
    return found


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
    """Values that two arms or more have; ``jaccard`` is None where an arm has no known value, or there is one arm."""
    counts = {name: count_known(side[column]) for name, side in sides.items()}
    unknown = {name: counter.pop(None, 0) for name, counter in counts.items()}
    arms_with = Counter(value for counter in counts.values() for value in counter)
    shared = {value for value, arms in arms_with.items() if arms > 1}
    known = len(sides) > 1 and all(counts.values())
    return {
        "jaccard": rounded(len(shared) / len(arms_with)) if known else None,
        "shared": {
            name: _share(sum(n for v, n in counter.items() if v in shared), counter.total())
            if known
            else None
            for name, counter in counts.items()
        },
        "unknown": {name: _share(unknown[name], len(side)) for name, side in sides.items()},
        "values": {name: dict(most_frequent(counter)) for name, counter in counts.items()},
    }


def _compared(cells: pa.Table, keys: Sequence[str]) -> list[str]:
    core = [
        name
        for name in schema("cells")["columns"]
        if name not in ("cell_id", "barcode", "donor") and name in cells.column_names
    ]
    return list(dict.fromkeys([*core, *(key for key in keys if key != "donor")]))


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
        for dataset, donor in _datasets_and_donors(cells):
            if _is_nobody(donor, dataset):
                found.add(f"{dataset} / {donor}")
    return sorted(found)


def _datasets_and_donors(cells: pa.Table) -> list[tuple[str, str]]:
    """Each dataset with each of its known donors, once."""
    if "donor" not in cells.column_names:
        return []
    rows = cells.select(["dataset", "donor"]).group_by(["dataset", "donor"]).aggregate([]).to_pylist()
    return [(row["dataset"], row["donor"]) for row in rows if row["donor"] is not None]


def _is_nobody(donor: str, dataset: str) -> bool:
    low = donor.strip().lower()
    return low in _NOT_PEOPLE or is_unclassified(donor) or low == (dataset or "").strip().lower()


def _notes(cells: pa.Table, arms: Sequence[Mapping[str, Any]]) -> list[str]:
    """Facts that a reader may need and that are no fault."""
    datasets_of: dict[str, set[str]] = {}
    donors_of: dict[str, set[str]] = {}
    for dataset, donor in _datasets_and_donors(cells):
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
    if "donor" in cells.column_names and sum(arm["unknown_donor_cells"] for arm in arms):
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
        return {"edges": [], "cells": {name: [] for name in values}}
    low, high = min(every), max(every)
    width = (high - low) / _BINS or 1 / _BINS
    counted = {name: [0] * _BINS for name in logs}
    for name, column in logs.items():
        for value in column:
            counted[name][min(_BINS - 1, int((value - low) / width))] += 1
    return {"edges": [rounded(low + k * width) for k in range(_BINS + 1)], "cells": counted}


def _median(values: Sequence[float]) -> float | None:
    from statistics import median

    return float(median(values)) if values else None


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
