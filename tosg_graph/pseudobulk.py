"""Donor pseudobulk: sums of raw counts over the cells of one donor, in one dataset, of one kind.

Statistics between donors need one value per donor; cells of a donor are no replicates of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.bundle import refuse_existing
from tosg_graph.cell_groups import CellGroups, agreed, donor_groups
from tosg_graph.count_files import CountMatrix, feature_table, write_h5ad, write_long
from tosg_graph.errors import CellsError, ExportError
from tosg_graph.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.cohort import Cohort, ExpandTerm

MIN_CELLS = 10
SUMS = 20_000_000  # sums of a gene in a group that are held at once
WRITERS: dict[str, Callable[[CountMatrix, Path], None]] = {".h5ad": write_h5ad, ".parquet": write_long}


@dataclass(frozen=True)
class Pseudobulk:
    """Sums per donor, and what is not in them.

    Parameters
    ----------
    matrix
        One row per group: ``dataset``, ``donor``, the columns asked for, ``cells``, ``n_counts``, and every column on
        which all cells of each group agree. Sums are int64.
    cells
        Cells that were summed.
    left_out
        Why other cells of the cohort were not -> their number.
    """

    matrix: CountMatrix
    cells: int
    left_out: dict[str, int]


def pseudobulk(
    reader: AbundanceReader,
    cells: Cohort | str,
    expand_term: ExpandTerm,
    *,
    by: Sequence[str] = ("cell_type",),
    min_cells: int = MIN_CELLS,
    progress: Progress = silent,
) -> Pseudobulk:
    """Sum raw counts per dataset, donor and the columns ``by``.

    Parameters
    ----------
    min_cells
        Groups of fewer cells are left out and counted.

    Raises
    ------
    CohortError
        If no cell is selected, a column is unknown, or cells and metacells are mixed.
    CellsError
        If no group is left, or ``min_cells`` is below 1.
    """
    if min_cells < 1:
        raise CellsError(f"min_cells={min_cells} is below 1. A group needs a cell.")
    reader.check_one_kind(cells, expand_term)
    found = reader.cells(cells, expand_term)
    groups = donor_groups(found, by)
    enough, left_out = _large(groups, min_cells)
    obs = _obs(found, groups, enough)
    # Rows of groups that are too small are gone: the others are counted anew.
    row = np.where(groups.row >= 0, np.where(enough, np.cumsum(enough) - 1, -1)[groups.row], -1)
    return Pseudobulk(
        matrix=_matrix(reader, found, obs, row, groups.keys.column_names, progress),
        cells=int((row >= 0).sum()),
        left_out={**groups.left_out, **left_out},
    )


def write(result: Pseudobulk, out: Path) -> None:
    """Write ``.h5ad`` (a row per group) or ``.parquet`` (a row per group and feature with a count).

    Raises
    ------
    ExportError
        If ``out`` exists, cannot be written, or has another ending.
    """
    out = check_name(out)
    WRITERS[out.suffix](result.matrix, out)


def check_name(out: Path) -> Path:
    """Return ``out``, ``~`` being the home; raise `ExportError` where it exists or has an unknown ending."""
    if out.suffix not in WRITERS:
        raise ExportError(f"{out} ends in {out.suffix!r}; pseudobulk is written as {' or '.join(WRITERS)}.")
    return refuse_existing(out)


def _large(groups: CellGroups, min_cells: int) -> tuple[np.ndarray[Any, Any], dict[str, int]]:
    enough = groups.sizes >= min_cells
    if not enough.any():
        raise CellsError(
            f"None of the {len(enough):,} groups has {min_cells} cells, the largest has {groups.sizes.max()}. Ask for "
            "fewer with --min-cells, or group by fewer columns."
        )
    few = int(groups.sizes[~enough].sum())
    return enough, {f"in {int((~enough).sum()):,} groups of fewer than {min_cells} cells": few} if few else {}


def _obs(found: pa.Table, groups: CellGroups, enough: np.ndarray[Any, Any]) -> pa.Table:
    import pyarrow as pa

    shared = agreed(found, groups.row)
    totals = np.bincount(groups.row[groups.row >= 0], found["n_counts"].to_numpy()[groups.row >= 0])
    obs = groups.keys.append_column("cells", pa.array(groups.sizes))
    obs = obs.append_column("n_counts", pa.array(totals.astype(np.int64)))
    obs = obs.filter(pa.array(enough))
    for name in shared.column_names:
        values = shared[name].filter(pa.array(enough))
        if name not in obs.column_names and not values.null_count:
            obs = obs.append_column(name, values)
    return obs


def _matrix(
    reader: AbundanceReader,
    found: pa.Table,
    obs: pa.Table,
    row: np.ndarray[Any, Any],
    keys: Sequence[str],
    progress: Progress,
) -> CountMatrix:
    import pyarrow as pa

    placed = found.select(["block", "cell"]).append_column("row", pa.array(row)).filter(pa.array(row >= 0))

    def chunks() -> Iterator[csr_array[Any, Any]]:
        done = 0
        progress("Summing counts", 0, len(obs))
        for chunk in reader.iter_sums(placed, max(1, SUMS // max(1, len(reader.axis)))):
            done += chunk.shape[0]
            yield chunk
            progress("Summing counts", done, len(obs))

    return CountMatrix(
        names=[
            "|".join(_escaped(v) for v in values)
            for values in zip(*(obs[k].to_pylist() for k in keys), strict=True)
        ],
        obs=obs,
        features=feature_table(reader.axis),
        chunks=chunks,
        facts={
            "by": ", ".join(keys),
            "store_version": str(reader.version.cells),
            "axis_sha256": reader.version.axis_sha256,
            "values": "sums of raw counts",
        },
    )


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|")
