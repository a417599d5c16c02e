"""Metacells: sums of alike cells of one donor, of one cell type, in one dataset; a dataset of their own in the store.

A metacell has the donor of its cells, and splits know its cells' dataset: no member crosses a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.abundance_store import cell_id
from tosg_graph.cell_groups import CellGroups, agreed, donor_groups
from tosg_graph.cohort import single_valued
from tosg_graph.errors import CellsError
from tosg_graph.layers import GENE
from tosg_graph.metacell_methods import assign, check_method
from tosg_graph.progress import Progress, silent
from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore, Append
    from tosg_graph.cohort import Cohort, ExpandTerm

SIZE = 50
MIN_CELLS = 10
SUFFIX = "_metacells"
BLOCK = 4_096  # metacells; each has about five times the genes of a cell
PILE = 20_000  # cells of a group that are clustered at once: bounds memory
SUMS = 20_000_000  # sums of a gene in a metacell that are held at once
_LARGEST = 2**31 - 1  # counts are stored as int32
_BLOCK_ORDER = ("organ", "disease", "cell_type", "cell_id")
_OWN = (METACELL_OF, "metacell_size", "metacell_purity", "metacell_members")


@dataclass(frozen=True)
class MetacellsAdded:
    """One dataset of metacells."""

    dataset: str
    metacells: int
    cells: int  # that are members
    counts: int
    purity: float  # mean over metacells
    already_present: bool


@dataclass(frozen=True)
class Metacells:
    """What was added, and why cells of the cohort are in no metacell -> their number."""

    added: tuple[MetacellsAdded, ...]
    left_out: dict[str, int]


def add_metacells(
    reader: AbundanceReader,
    store: AbundanceStore,
    cells: Cohort | str,
    expand_term: ExpandTerm,
    *,
    size: int = SIZE,
    method: str = "kmeans",
    purity: str = "cell_type_raw",
    min_cells: int = MIN_CELLS,
    suffix: str = SUFFIX,
    seed: int = 0,
    progress: Progress = silent,
) -> Metacells:
    """Make metacells of a cohort and add them to the store, one dataset ``<dataset><suffix>`` for each of its datasets.

    Parameters
    ----------
    size
        Mean number of cells of a metacell. A group of fewer than 1.5 times as many cells is one metacell.
    method
        ``kmeans``, ``seacells`` or ``metacell2``; see `tosg_graph.metacell_methods`.
    purity
        Column of the cells of which ``metacell_purity`` is the share of the most frequent value.
    min_cells
        Groups of fewer cells are left out and counted.

    Raises
    ------
    CellsError
        If size, method or suffix cannot be used, no group is left, a sum does not fit, or the store has other metacells
        under the same name.
    CohortError
        If no cell is selected, a column is unknown, or the cohort holds metacells.
    """
    _check(size, min_cells, suffix)
    check_method(method)
    reader.check_one_kind(cells, expand_term)
    found = reader.cells(cells, expand_term)
    _only_cells(found)
    single_valued(purity, reader.cell_columns())
    groups = donor_groups(found, ["cell_type"])
    row, left_out = _assigned(reader, found, groups, size, method, min_cells, seed, progress)
    said = f"{method}, size {size}, seed {seed}"
    added = []
    for name in sorted(set(found["dataset"].to_pylist())):
        mine = (row >= 0) & (found["dataset"].to_numpy() == name)
        if mine.any():
            part = _described(found, np.where(mine, row, -1), name, name + suffix, purity)
            added.append(_added(reader, store, found, part, said, progress))
    return Metacells(tuple(added), {**groups.left_out, **left_out})


# --------------------------------------------------------------------------- which cells


def _check(size: int, min_cells: int, suffix: str) -> None:
    for name, value in (("size", size), ("min_cells", min_cells)):
        if value < 1:
            raise CellsError(f"{name}={value} is below 1. A metacell needs a cell.")
    if not suffix:
        raise CellsError(f"The suffix is empty: metacells need a dataset of their own, such as pbmc{SUFFIX}.")


def _only_cells(found: pa.Table) -> None:
    if METACELL_OF in found.column_names and found[METACELL_OF].null_count < len(found):
        raise CellsError(
            f"The cohort holds metacells, of which none are made. Add AND {METACELL_OF} IS NULL to --cells."
        )


def _assigned(
    reader: AbundanceReader,
    found: pa.Table,
    groups: CellGroups,
    size: int,
    method: str,
    min_cells: int,
    seed: int,
    progress: Progress,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Metacell of each cell, counted from 0 over all groups, -1 for none; and why there is none."""
    ids, totals = found["cell_id"].to_pylist(), found["n_counts"].to_numpy()
    columns = reader.axis["column"].to_pylist()
    row, made = np.full(len(found), -1, np.int64), 0
    few = outliers = 0
    for number in range(len(groups.keys)):
        progress("Making metacells", number, len(groups.keys))
        members = np.flatnonzero(groups.row == number)  # in the order of cell_id, which is a hash: at random
        if len(members) < min_cells:
            few += 1
            continue
        for pile in np.array_split(members, -(-len(members) // PILE)):
            counts = reader.csr([ids[k] for k in pile], columns)
            place = assign(method, counts, totals[pile], size, seed)
            row[pile[place >= 0]] = made + place[place >= 0]
            made += int(place.max()) + 1
            outliers += int((place < 0).sum())
    progress("Making metacells", len(groups.keys), len(groups.keys))
    if not made:
        raise CellsError(
            f"None of the {len(groups.keys):,} groups of dataset, donor and cell type has {min_cells} cells, the "
            f"largest has {groups.sizes.max()}. Ask for fewer with --min-cells, or choose more cells."
        )
    small = int((groups.row >= 0).sum() - (row >= 0).sum()) - outliers
    reasons = {
        f"in {few:,} groups of fewer than {min_cells} cells": small,
        "outliers of their group": outliers,
    }
    return row, {reason: count for reason, count in reasons.items() if count}


# --------------------------------------------------------------------------- what they are


def _described(found: pa.Table, row: NDArray[np.int64], source: str, dataset: str, purity: str) -> _Described:
    """The metacells of one dataset in block order, and the metacell of each cell, numbered in this order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers, place = np.unique(row[row >= 0], return_inverse=True)
    own = np.full(len(found), -1, np.int64)
    own[row >= 0] = place
    order = np.flatnonzero(row >= 0)[np.argsort(place, kind="stable")]
    sizes = np.bincount(place)
    members = np.split(np.array(found["cell_id"].to_pylist(), object)[order], np.cumsum(sizes)[:-1])
    shared = agreed(found.drop([c for c in (*_OWN, "dataset") if c in found.column_names]), own)
    within = _within(shared)
    barcodes = [
        "|".join(_escaped(v) for v in (donor, kind, f"{k:04d}"))
        for donor, kind, k in zip(
            shared["donor"].to_pylist(), shared["cell_type"].to_pylist(), within, strict=True
        )
    ]
    totals = np.zeros(len(numbers), np.int64)
    np.add.at(totals, place, found["n_counts"].to_numpy()[row >= 0])
    table = pa.table(
        {
            "cell_id": [cell_id(dataset, barcode) for barcode in barcodes],
            "dataset": [dataset] * len(numbers),
            "barcode": barcodes,
            **{name: shared[name] for name in shared.column_names},
            "n_counts": totals,
            METACELL_OF: [source] * len(numbers),
            "metacell_size": sizes.astype(np.int64),
            "metacell_purity": _purity(found[purity], own, sizes),
            "metacell_members": pa.array(
                [m.tolist() for m in members], pa.list_(pa.field("element", pa.string()))
            ),
        }
    )
    keys = [(name, "ascending") for name in _BLOCK_ORDER if name in table.column_names]
    block_order = pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)
    renumbered = np.empty(len(block_order), np.int64)
    renumbered[block_order] = np.arange(len(block_order))
    own[row >= 0] = renumbered[place]
    return _Described(table.take(pa.array(block_order)), own)


@dataclass(frozen=True)
class _Described:
    table: pa.Table
    row: NDArray[np.int64]  # of each cell of the cohort; -1 where it is in no metacell of this dataset


def _within(shared: pa.Table) -> list[int]:
    """Number of each metacell within its donor and cell type."""
    seen: dict[Any, int] = {}
    numbers = []
    for key in zip(shared["donor"].to_pylist(), shared["cell_type"].to_pylist(), strict=True):
        seen[key] = seen.get(key, -1) + 1
        numbers.append(seen[key])
    return numbers


def _purity(labels: pa.ChunkedArray, row: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the most frequent value among the cells of each metacell; a missing one is no value."""
    import pyarrow.compute as pc

    codes = pc.fill_null(pc.dictionary_encode(labels.combine_chunks()).indices, -1).to_numpy(
        zero_copy_only=False
    )
    known = (row >= 0) & (codes >= 0)
    pairs, times = np.unique(np.stack([row[known], codes[known]]), axis=1, return_counts=True)
    most = np.zeros(len(sizes), np.int64)
    np.maximum.at(most, pairs[0].astype(np.int64), times)
    return most / sizes


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("|", "\\|")


# --------------------------------------------------------------------------- into the store


def _added(
    reader: AbundanceReader,
    store: AbundanceStore,
    found: pa.Table,
    described: _Described,
    said: str,
    progress: Progress,
) -> MetacellsAdded:
    """Write one dataset of metacells, unless the store has it."""
    import pyarrow as pa

    table, row = described.table, described.row
    dataset, total = table["dataset"][0].as_py(), int(np.sum(table["n_counts"].to_numpy()))
    result = MetacellsAdded(
        dataset=dataset,
        metacells=len(table),
        cells=int((row >= 0).sum()),
        counts=total,
        purity=float(np.mean(table["metacell_purity"].to_numpy())),
        already_present=False,
    )
    content = _content(table)
    with store.writer() as append:
        if _is_held(store, dataset, content):
            return replace(result, already_present=True)
        placed = (
            found.select(["block", "cell"]).append_column("row", pa.array(row)).filter(pa.array(row >= 0))
        )
        genes: list[NDArray[np.int64]] = []
        first = append.next_block
        _fits_axis(append, reader)
        stored = append.write_counts(
            content[:24], _blocks(reader, placed, dataset, len(table), genes, progress)
        )
        if stored != total:
            raise CellsError(
                f"The cells of {dataset} have {total:,} counts, the sums in the store {stored:,}. Nothing was added; "
                "please report this."
            )
        place = np.arange(len(table))
        cells = table.add_column(1, "block", pa.array((first + place // BLOCK).astype(np.int32)))
        cells = cells.add_column(2, "cell", pa.array((place % BLOCK).astype(np.int32)))
        cells = cells.append_column("n_genes", pa.array(np.concatenate(genes).astype(np.int32)))
        source = table[METACELL_OF][0].as_py()
        columns = reader.axis["column"].to_numpy()
        measured = columns[reader.measured([source], columns).mask[0]]
        note = f"metacells of {source}: {said}"
        append.commit(
            cells,
            {
                "dataset": dataset,
                "cells": len(table),
                "counts": total,
                "file": "",
                "sha256": content,
                "note": note,
            },
            {GENE: measured},
        )
    return result


def _fits_axis(append: Append, reader: AbundanceReader) -> None:
    """The axis only grows, so columns of the version that was read mean the same in the newest one."""
    if append.axis["feature"].slice(0, len(reader.axis)).to_pylist() != reader.axis["feature"].to_pylist():
        raise CellsError("The gene axis of the store is not the one that was read. Run this again.")


def _blocks(
    reader: AbundanceReader,
    placed: pa.Table,
    dataset: str,
    count: int,
    genes: list[NDArray[np.int64]],
    progress: Progress,
) -> Iterator[tuple[Any, Any, Any]]:
    """Gene-major sums, a block of metacells at a time; ``genes`` takes the number of genes of each."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from scipy.sparse import vstack

    held = max(1, SUMS // max(1, len(reader.axis)))
    for start in range(0, count, BLOCK):
        progress(f"Writing {dataset}", start, count)
        inside = pc.and_(pc.greater_equal(placed["row"], start), pc.less(placed["row"], start + BLOCK))
        part = placed.filter(inside)
        part = part.set_column(2, "row", pc.subtract(part["row"], pa.scalar(start, pa.int64())))
        block = vstack(list(reader.iter_sums(part, held)), format="csr")
        if block.nnz and block.data.max() > _LARGEST:
            raise CellsError(
                f"A metacell of {dataset} has a sum of {block.data.max():,}, at most {_LARGEST:,} can be stored. "
                "Choose a smaller --size."
            )
        genes.append(np.diff(block.indptr))
        cells = np.repeat(np.arange(block.shape[0], dtype=np.int32), np.diff(block.indptr))
        order = np.lexsort((cells, block.indices))
        yield block.indices[order].astype(np.int32), cells[order], block.data[order].astype(np.int32)
    progress(f"Writing {dataset}", count, count)


def _content(table: pa.Table) -> str:
    """Sha256 of what the metacells are: members, their totals and what is said of them."""
    return hashlib.sha256(
        repr([table.column_names, *(c.to_pylist() for c in table.columns)]).encode()
    ).hexdigest()


def _is_held(store: AbundanceStore, dataset: str, content: str) -> bool:
    for held in store.datasets().to_pylist():
        if held["dataset"] == dataset and held["sha256"] == content:
            return True
        if held["dataset"] == dataset:
            raise CellsError(
                f"The store has a dataset {dataset!r} of other cells or made in another way. Give these metacells "
                "another name: --suffix TEXT"
            )
    return False
