"""A toy world whose numbers encode their place: 4 genes, 2 proteins, 1 pathway; 12 cells of 4 donors.

The raw count of the gene in axis column ``c`` in cell ``k`` is ``100 * k + c`` (and 0 in cell 0, column 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from tosg_graph.export import Measured
from tosg_graph.types import Selection, StoreVersion

GENES = ["HGNC:1", "HGNC:2", "HGNC:3", "HGNC:4"]  # HGNC:3 is not on the axis
# Axis columns differ from node rows on purpose, and one feature has no gene.
AXIS = pa.table(
    {
        "column": pa.array([0, 1, 2, 3, 4], pa.int32()),
        "feature": ["D", "orphan", "B", "A", "other"],
        "gene_id": ["HGNC:4", None, "HGNC:2", "HGNC:1", "HGNC:99"],
    }
)
AXIS_COLUMN = {"HGNC:4": 0, "HGNC:2": 2, "HGNC:1": 3}
CELLS = 12


def cell_id(k: int) -> str:
    return f"cell-{k:02d}"


def count(k: int, column: int) -> int:
    return 100 * k + column


def counts(cell_ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
    dense = [[count(int(c.split("-")[1]), column) for column in columns] for c in cell_ids]
    return csr_array(np.array(dense, np.int32).reshape(len(cell_ids), len(columns)))


def edges(rows: list[tuple[int, int, int, str, float | None, int | None]]) -> pa.Table:
    """Source row, target row, edge key, source, score, sign."""
    source, target, key, by, score, sign = (list(c) for c in zip(*rows, strict=True))
    return pa.table(
        {
            "source_row": pa.array(source, pa.int64()),
            "target_row": pa.array(target, pa.int64()),
            "source": pa.array(by).dictionary_encode(),
            "edge_key": pa.array(key, pa.int64()),
            "score": pa.array(score, pa.float64()),
            "sign": pa.array(sign, pa.int64()),
        }
    )


def selection() -> Selection:
    """Rows: 4 genes (0-3), 1 pathway (4), 2 proteins (5, 6). No edge touches nodes 2 and 4."""
    ids = [*GENES, "WIKIPATHWAYS:WP1", "UniProtKB:P1", "UniProtKB:P2"]
    types = ["Gene"] * 4 + ["Pathway"] + ["Protein"] * 2
    nodes = pa.table(
        {
            "id": ids,
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": [f"name of {i}" for i in ids],
            "text_sha": [f"sha{k}" for k in range(len(ids))],
        }
    )
    return Selection(
        nodes=nodes,
        edges={
            ("Gene", "ENCODES", "Protein"): edges(
                [(0, 5, 11, "hgnc", None, None), (1, 6, 12, "hgnc", None, None)]
            ),
            ("Gene", "SIGNALS_TO", "Gene"): edges(
                [
                    (0, 1, 21, "a", 0.5, 1),  # row 0 keeps its edges
                    (0, 1, 22, "b", None, -1),  # parallel to the one before
                    (1, 0, 23, "a", 0.25, None),
                    (3, 3, 24, "a", 1.0, 1),  # self-loop
                ]
            ),
        },
        query="MATCH (g:Gene) RETURN g",
        parameters={"name": "interferon"},
    )


def cells() -> pa.Table:
    """Twelve cells, three of each donor; cell 10 has no label and cell 11 is unmapped."""
    types = ["T cell", "B cell"] * 5 + [None, "unmapped"]
    totals = [sum(count(k, column) for column in range(5)) for k in range(CELLS)]
    return pa.table(
        {
            "cell_id": [cell_id(k) for k in range(CELLS)],
            "dataset": ["toy"] * CELLS,
            "barcode": [f"BC{k}" for k in range(CELLS)],
            "donor": [f"donor{k // 3}" for k in range(CELLS)],
            "cell_type": types,
            "age_years": pa.array([20.5 + k for k in range(CELLS)]),
            "n_counts": pa.array(totals, pa.int64()),
        }
    )


def measured(**changes: Any) -> Measured:
    text = np.arange(7 * 4, dtype=np.float32).reshape(7, 4)
    text[6] = 0
    given: dict[str, Any] = {
        "cells": cells(),
        "axis": AXIS,
        "counts": counts,
        "version": StoreVersion(cells=3, counts=2, axis=1, axis_sha256="ab" * 32),
        "text": text,
        "text_mask": np.array([True] * 6 + [False]),
        "encoder": "toy",
        "release": "0123456789abcdef",
    }
    return Measured(**{**given, **changes})
