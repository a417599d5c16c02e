"""Cells put into groups by the values of columns: which group each is of, and what the cells of a group agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.cohort import identifier
from tosg_graph.errors import CellsError
from tosg_graph.harmonise import UNMAPPED

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_OWN = (
    "cell_id",
    "barcode",
    "block",
    "cell",
    "n_counts",
    "n_genes",
    "n_protein_counts",
    "n_proteins",
)  # of one cell, never of a group


@dataclass(frozen=True)
class CellGroups:
    """Cells in groups.

    Parameters
    ----------
    keys
        One row per group, sorted: the values of the columns.
    row
        int64, shape ``(n_cells,)``: row of ``keys``; -1 for cells that are left out.
    left_out
        Why cells are in no group -> their number.
    """

    keys: pa.Table
    row: NDArray[np.int64]
    left_out: dict[str, int]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of cells of each group."""
        return np.bincount(self.row[self.row >= 0], minlength=len(self.keys)).astype(np.int64)


def donor_groups(cells: pa.Table, by: Sequence[str]) -> CellGroups:
    """Group cells by dataset, donor and the columns ``by``.

    A donor's name means something within its dataset only. Cells of unknown donors would make one big donor who never
    lived, so they are in no group; nor are cells without a value, or without a term, in a column of ``by``.

    Raises
    ------
    CohortError
        If a column is unknown.
    CellsError
        If a column makes no groups, or no cell is left.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = dict.fromkeys(cells.column_names, "")
    columns = list(dict.fromkeys(["dataset", "donor", *by]))
    for name in columns:
        identifier(name, known)
        if name in (*_OWN, "cells") or pa.types.is_nested(cells.schema.field(name).type):
            raise CellsError(
                f"Cells cannot be grouped by {name!r}, which is of one cell. Choose another column."
            )
    kept, left_out = np.ones(len(cells), np.bool_), {}
    for name in columns[1:]:
        values = cells[name]
        for reason, bad in (
            ("unknown donor" if name == "donor" else f"no value in {name}", pc.is_null(values)),
            (f"{name} is {UNMAPPED}", _is_unmapped(values)),
        ):
            lost = kept & _mask(bad)
            if lost.any():
                left_out[reason] = int(lost.sum())
            kept &= ~lost
    if not kept.any():
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        raise CellsError(
            f"None of the {len(cells):,} cells can be grouped by {', '.join(columns)}: {reasons}. Map these columns "
            "when the cells are added (--column donor=...), or choose other cells."
        )
    return CellGroups(*_numbered(cells.select(columns), kept), left_out)


def agreed(cells: pa.Table, row: NDArray[np.int64]) -> pa.Table:
    """One row per group: every column of the cells, null where the cells of a group differ.

    Columns that are of one cell, and lists, are left out.

    Parameters
    ----------
    row
        Group of each cell, counted from 0 without a gap; -1 for cells of no group.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    inside = np.flatnonzero(row >= 0)
    order = inside[np.argsort(row[inside], kind="stable")]
    starts = np.flatnonzero(np.diff(row[order], prepend=-1))
    columns = {}
    for name in cells.column_names:
        if name in _OWN or pa.types.is_nested(cells.schema.field(name).type):
            continue
        values = cells[name].combine_chunks().take(pa.array(order))
        codes = pc.fill_null(pc.dictionary_encode(values).indices, -1).to_numpy(zero_copy_only=False)
        same = np.minimum.reduceat(codes, starts) == np.maximum.reduceat(codes, starts)
        columns[name] = values.take(pa.array(starts, mask=~same))
    return pa.table(columns)


def _numbered(keys: pa.Table, kept: NDArray[np.bool_]) -> tuple[pa.Table, NDArray[np.int64]]:
    """Distinct rows of ``keys``, sorted, and the place of each row among them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = keys.filter(pa.array(kept))
    distinct = chosen.group_by(keys.column_names).aggregate([]).select(keys.column_names)
    distinct = distinct.sort_by([(name, "ascending") for name in keys.column_names])
    code, size = np.zeros(len(chosen), np.int64), 1
    own = np.zeros(len(distinct), np.int64)
    for name in keys.column_names:  # one number per combination of values
        values = pc.unique(distinct[name])
        code = code * len(values) + pc.index_in(chosen[name], values).to_numpy()
        own = own * len(values) + pc.index_in(distinct[name], values).to_numpy()
        size *= len(values)
    if size >= 2**63:
        raise CellsError(f"{', '.join(keys.column_names)} have too many values. Group by fewer columns.")
    order = np.argsort(own)
    row = np.full(len(keys), -1, np.int64)
    row[kept] = order[np.searchsorted(own[order], code)]
    return distinct, row


def _is_unmapped(values: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return pa.chunked_array([pa.repeat(False, len(values))])
    return pc.fill_null(pc.equal(values, UNMAPPED), False)


def _mask(values: Any) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = values.to_numpy()
    return found
