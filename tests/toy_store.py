"""A small real store whose counts encode their place: 100 * cell + axis column, in blocks of four cells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tosg_graph.abundance_store import AbundanceStore

BLOCK = 4
FEATURES = ["HGNC:10", "HGNC:20", "HGNC:30", "orphan", "HGNC:50"]


def cell_id(k: int) -> str:
    return f"cell-{k:02d}"


def count(k: int, column: int) -> int:
    """Raw count of cell ``k`` in axis column ``column``; column 4 is measured in even cells only."""
    return 0 if column == 4 and k % 2 else 100 * k + column


def axis_rows() -> pa.Table:
    genes = [feature if feature.startswith("HGNC") else None for feature in FEATURES]
    return pa.table(
        {
            "feature": FEATURES,
            "gene_id": genes,
            "symbol": [None if gene is None else f"S{gene[5:]}" for gene in genes],
            "rule": ["approved symbol" if gene else "no such gene" for gene in genes],
        }
    )


def cells_table(first: int, size: int, first_block: int, dataset: str = "toy") -> pa.Table:
    """Cells ``first .. first + size - 1``; their order in blocks is reversed, so that place and number differ."""
    numbers = list(range(first, first + size))
    place = {k: at for at, k in enumerate(reversed(numbers))}
    kinds = ["T cell", "B cell", None]
    return pa.table(
        {
            "cell_id": [cell_id(k) for k in numbers],
            "block": pa.array([first_block + place[k] // BLOCK for k in numbers], pa.int32()),
            "cell": pa.array([place[k] % BLOCK for k in numbers], pa.int32()),
            "dataset": [dataset] * size,
            "barcode": [f"bc{k}" for k in numbers],
            "cell_type": pa.array([kinds[k % 3] for k in numbers], pa.string()),
            "cell_type_id": pa.array(
                [{0: "CL:0000084", 1: "CL:0000236"}.get(k % 3) for k in numbers], pa.string()
            ),
            "cell_type_raw": pa.array([f"raw {kinds[k % 3]}" for k in numbers], pa.string()),
            "donor": pa.array([f"d{k % 4}" for k in numbers], pa.string()),
            "n_counts": pa.array([sum(count(k, c) for c in range(5)) for k in numbers], pa.int64()),
        }
    )


def blocks(first: int, size: int) -> Iterator[tuple[Any, Any, Any]]:
    order = list(reversed(range(first, first + size)))
    for start in range(0, size, BLOCK):
        rows = [
            (column, position, count(k, column))
            for column in range(len(FEATURES))
            for position, k in enumerate(order[start : start + BLOCK])
            if count(k, column)
        ]
        gene, cell, value = (np.array(part, np.int32) for part in zip(*rows, strict=True))
        yield gene, cell, value


def record(dataset: str, cells: int, counts: int) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "cells": cells,
        "counts": counts,
        "file": f"{dataset}.h5ad",
        "sha256": dataset * 4,
        "note": "",
    }


def add(store: AbundanceStore, first: int, size: int, dataset: str = "toy", **more: pa.Array) -> None:
    """Append cells ``first .. first + size - 1`` as one dataset; ``more`` are further columns."""
    with store.writer() as append:
        if not len(append.axis):
            append.extend_axis(axis_rows())
        first_block = append.next_block
        total = append.write_counts(f"file-{dataset}", blocks(first, size))
        cells = cells_table(first, size, first_block, dataset)
        for name, values in more.items():
            cells = cells.append_column(name, values)
        append.commit(cells, record(dataset, size, total))


def make(folder: Path, cells: int = 10) -> AbundanceStore:
    store = AbundanceStore.open(folder)
    add(store, 0, cells)
    return store
