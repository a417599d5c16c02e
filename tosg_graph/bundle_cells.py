"""The cells of a bundle: labelled, thinned, split, matched on each side, and in the order of the shards."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tosg_graph import diagnostics
from tosg_graph.bundle import CELLS, SPLITS, dropped, read_table
from tosg_graph.comparison import Arms, match_record, matched_cells, without_copies
from tosg_graph.confounding import judge_overlap, worst
from tosg_graph.duplicates import Counts, copies
from tosg_graph.errors import CohortError, ExportError
from tosg_graph.harmonise import UNMAPPED
from tosg_graph.label_bins import as_json, bin_names, binned, check_category
from tosg_graph.matching import Key
from tosg_graph.sampling import Sampling, sample, weights
from tosg_graph.split_plan import SplitPlan, refuse_overlap
from tosg_graph.splits import SplitResult, assign_splits
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

OWN_COLUMNS = ("cell_id", "dataset", "barcode", "label", "label_index", "split")
POSITIONS = ("block", "cell")  # of the store; compaction changes them
COPY = "copy_of"  # column: what stands for a cell and its copies; only where there are copies


@dataclass(frozen=True)
class CellPlan:
    """What is done with the cells of a cohort.

    Parameters
    ----------
    label
        Column that becomes the class of each cell.
    seed
        Decides the sample, the split, the match and the order of the cells.
    strict
        Refuse cells without a label instead of leaving them out.
    bins
        Edges that turn the numbers of the label into classes.
    arms, keys, defining
        The comparison, its keys, and the columns that its arms are made by; the cells then have the column ``arm``.
    """

    label: str
    seed: int = 0
    strict: bool = False
    bins: tuple[float, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    split: SplitPlan = field(default_factory=SplitPlan)
    arms: Arms | None = None
    keys: tuple[Key, ...] = ()
    defining: frozenset[str] = frozenset()


@dataclass(frozen=True)
class BundleCells:
    """Cells as a bundle holds them.

    Parameters
    ----------
    cells
        ``cell_id``, ``dataset``, ``barcode``, ``label``, ``label_index``, ``split``, then all other columns; train,
        val, test, each in seeded order.
    classes
        Labels, sorted, or bins in ascending order; ``label_index`` counts along them.
    diagnostics
        Content of ``diagnostics.json``, once `proved` has counted what crosses the split.
    dropped
        Entries of the manifest's ``dropped``.
    manifest
        Further keys of the manifest, as the diagnostics.
    has_copies
        Whether the column ``copy_of`` is ours.
    """

    cells: pa.Table
    classes: list[str]
    diagnostics: dict[str, Any]
    dropped: list[dict[str, Any]]
    manifest: dict[str, Any]
    has_copies: bool = False


def prepare(cells: pa.Table, counts: Counts, plan: CellPlan) -> BundleCells:
    """Turn the cells of a cohort into those of a bundle.

    Parameters
    ----------
    cells
        ``cell_id``, ``dataset``, ``barcode``, ``n_counts``, the label, and ``arm`` where there are arms.
    counts
        Reads all counts of some cells: to compare those that may be copies.

    Raises
    ------
    ExportError
        If the label cannot be used, or the plan does not fit the cells.
    """
    try:
        return _prepare(cells, counts, plan)
    except CohortError as error:
        raise ExportError(str(error)) from error


def _prepare(cells: pa.Table, counts: Counts, plan: CellPlan) -> BundleCells:
    import pyarrow as pa
    import pyarrow.compute as pc

    labelled, left = labelled_cells(cells, plan.label, plan.strict, plan.bins)
    labelled = labelled.sort_by("cell_id")
    standing = copies(labelled, counts)
    if plan.arms:
        labelled, again = without_copies(labelled, standing)
        left, standing = left + _entries(again), [None] * len(labelled)
    elif any(standing):
        labelled = _with_own(labelled, COPY, pa.array(standing, pa.string()))
    before = labelled
    labelled, thinned = sample(labelled, plan.sampling, label="label", seed=plan.seed)
    together = labelled[COPY].to_pylist() if any(standing) else None
    split = assign_splits(labelled, seed=plan.seed, plan=plan.split, label="label", copies=together)
    sided = labelled.append_column("split", split.split).filter(pc.is_valid(split.split))
    matched = None
    if plan.arms and plan.keys:
        sided, matched = matched_cells(sided, [*plan.keys, Key("split")], plan.arms.ratio, plan.seed)
    left += _entries([*thinned, *split.left_out, *(matched.left_out if matched else ())])
    if plan.sampling.weight_by:
        sided = _weighted(sided, plan.sampling.weight_by)
    ordered, classes = _ordered(sided, plan.seed, bin_names(plan.bins))
    said = diagnostics.of_split(ordered, label=plan.label)
    found = _diagnostics(said, ordered, before, classes, split, plan)
    if matched and plan.arms:
        found["comparison"]["match"] = match_record(plan.arms, [*plan.keys, Key("split")], matched)
    return BundleCells(ordered, classes, found, left, _manifest(found, split, plan), any(standing))


def proved(chosen: BundleCells, folder: Path) -> BundleCells:
    """Add to diagnostics and manifest what crosses the split, counted in the cells that were written to ``folder``.

    Raises
    ------
    ExportError
        If anything does.
    """
    split = chosen.manifest["split"]
    overlap = diagnostics.count_overlap(
        read_table(folder / CELLS),
        by_study=split["unit"] == "study",
        copies=COPY if chosen.has_copies else None,
    )
    refuse_overlap(overlap)
    return replace(
        chosen,
        diagnostics={**chosen.diagnostics, "overlap": overlap},
        manifest={**chosen.manifest, "split": {**split, "overlap": overlap}},
    )


def check_label_column(label: str, columns: Mapping[str, object]) -> None:
    """Raise `ExportError` where the cells have no such column; the nearest ones are named."""
    if label not in columns:
        near = difflib.get_close_matches(label, list(columns), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"There are {', '.join(columns)}."
        raise ExportError(f"The cells have no column {label!r} for --label. {hint}")


def labelled_cells(
    cells: pa.Table, label: str, strict: bool, bins: Sequence[float] = ()
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Cells that have a label, with the column ``label`` as strings, and the others counted by reason.

    Raises
    ------
    ExportError
        If the column is missing, no category, or has no numbers for the bins, no cell has a label, or some lack it
        and ``strict`` is set.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    check_label_column(label, dict.fromkeys(cells.column_names))
    given = cells[label]
    null = pc.is_null(given, nan_is_null=True)
    if bins:
        values = binned(given, bins, label)
        useless, why = pc.and_(pc.is_null(values), pc.invert(null)), f"{label} is in none of the bins"
    else:
        check_category(given, label)
        values = given.cast(pa.string())
        useless, why = pc.fill_null(pc.equal(values, UNMAPPED), False), f"{label} is {UNMAPPED}"
    left = [
        dropped("cells", f"no value in {label}", cells["cell_id"].filter(null).to_pylist(), kept=False),
        dropped("cells", why, cells["cell_id"].filter(useless).to_pylist(), kept=False),
    ]
    left = [d for d in left if d["count"]]
    without = sum(d["count"] for d in left)
    if without == len(cells):
        raise ExportError(
            f"None of the {len(cells):,} cells has a value in {label!r}{' that a bin holds' if bins else ''}. Choose "
            f"{'other --bins' if bins else 'another --label, or map the column when adding the cells'}."
        )
    if strict and without:
        raise ExportError(
            f"{without:,} of {len(cells):,} cells have no {label} and --strict is set. Narrow --cells, or "
            "leave --strict out to drop them."
        )
    renamed = [f"obs_{n}" if n in OWN_COLUMNS[3:] else n for n in cells.column_names]
    labelled = cells.rename_columns(renamed).append_column("label", values)
    return labelled.filter(pc.invert(pc.or_(null, useless))), left


# --------------------------------------------------------------------------- inside


def _entries(left: Sequence[LeftOut]) -> list[dict[str, Any]]:
    return [dropped("cells", x.reason, x.cell_ids, kept=False) for x in left]


def _with_own(cells: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Append a column of ours; one of the store of that name is called ``obs_<name>`` from here on."""
    renamed = [f"obs_{name}" if n == name else n for n in cells.column_names]
    return cells.rename_columns(renamed).append_column(name, values)


def _weighted(cells: pa.Table, by: str) -> pa.Table:
    """Give each cell a weight among those of its side of the split."""
    import numpy as np
    import pyarrow as pa

    found = np.zeros(len(cells))
    split = cells["split"].to_numpy(zero_copy_only=False)
    for name in SPLITS:
        mine = split == name
        if mine.any():
            found[mine] = weights(cells.filter(pa.array(mine)), by)
    return _with_own(cells, "weight", pa.array(found))


def _ordered(cells: pa.Table, seed: int, bins: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """Cells in the order of the shards, and the classes: bins that hold cells, or labels, sorted."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    split = cells["split"].to_numpy(zero_copy_only=False)
    orders = [
        np.random.default_rng([seed, i]).permutation(np.flatnonzero(split == name))
        for i, name in enumerate(SPLITS)
    ]
    order = np.concatenate(orders)
    if len(order) != len(cells):
        raise ExportError(f"{len(cells) - len(order):,} cells were given no split. Please report this.")
    classes = pc.unique(cells["label"]).sort()
    if bins:
        classes = pa.array([name for name in bins if name in set(classes.to_pylist())])
    cells = cells.append_column("label_index", pc.index_in(cells["label"], classes).cast(pa.int64()))
    cells = cells.take(pa.array(order))
    kept = [n for n in cells.column_names if n not in {*OWN_COLUMNS, *POSITIONS}]
    return cells.select([*OWN_COLUMNS, *kept]), classes.to_pylist()


def _diagnostics(
    of_split: dict[str, Any],
    cells: pa.Table,
    before: pa.Table,
    classes: Sequence[str],
    split: SplitResult,
    plan: CellPlan,
) -> dict[str, Any]:
    reasons, verdict = list(split.reasons), split.verdict
    held, had = set(cells["split"].to_pylist()), set(split.split.to_pylist())
    gone = [f"no cell is in {name} after the match" for name in SPLITS if name in had - held]
    if gone:
        reasons, verdict = [*reasons, *gone], "unreliable"
    found = {
        "version": diagnostics.VERSION,
        **of_split,
        "split_unit": split.unit,
        "reasons": reasons,
        "cohort": diagnostics.describe(cells),
        "comparison": None,
    }
    if plan.arms:
        keys = [key.column for key in plan.keys]
        found["comparison"] = diagnostics.compare(cells, before=before, defining=plan.defining, keys=keys)
    elif len(classes) > 1:
        found["comparison"] = diagnostics.classes(cells, "label", before=before, defining=[plan.label])
    return {**found, "verdict": worst([verdict, *_verdicts(found["comparison"])])}


def _verdicts(comparison: Mapping[str, Any] | None) -> list[str]:
    """Verdicts of a comparison that are the bundle's too.

    Two arms are compared as such. Of more classes, which a classifier is to tell apart, only what sets them apart
    beside the label counts: depth and donors differ between cell types that any sample holds.
    """
    if comparison is None:
        return []
    if len(comparison["names"]) == 2:
        return [comparison["verdict"]]
    return [verdict for verdict, _ in judge_overlap(comparison)]


def _manifest(found: Mapping[str, Any], split: SplitResult, plan: CellPlan) -> dict[str, Any]:
    """Keys that say how the cells were chosen; those of what was not asked for are left out."""
    keys: dict[str, Any] = {
        "split": {
            **asdict(replace(plan.split, hold_out=split.held_out)),
            "unit": split.unit,
            "seed": plan.seed,
        }
    }
    if plan.bins:
        keys["bins"] = as_json(plan.bins)
    if plan.sampling:
        keys["sampling"] = asdict(plan.sampling)
    if plan.arms:
        comparison = found["comparison"]
        arms = {name: comparison["arms"][name]["cells"] for name in comparison["names"]}
        match = {"keys": [str(key) for key in plan.keys], "ratio": plan.arms.ratio}
        record = match_record(plan.arms, plan.keys, None)
        keys["comparison"] = {
            "case": record["case"],
            "control": record["control"],
            **match,
            "cells": arms,
            "verdict": comparison["verdict"],
        }
    return keys
