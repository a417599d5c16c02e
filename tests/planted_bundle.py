"""A small bundle with a planted difference: 40 genes in 4 pathways, 8 donors in each of two groups, 12 cells each.

Genes 0-9 are of pathway WP0, 10-19 of WP1 and so on; gene k signals to gene k + 1 within its pathway. In the group
``case``, genes 0-9 have three times as many counts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from tosg_graph import bundle
from tosg_graph.export import Measured, write_bundle
from tosg_graph.types import Selection, StoreVersion

GENES, PATHWAYS, DONORS, CELLS = 40, 4, 8, 12
PLANTED = range(10)
MEAN = 20.0  # counts of a gene in a cell
REST = 100_000  # of all others


def gene(k: int) -> str:
    return f"HGNC:{k:02d}"


def edges(rows: list[tuple[int, int, int]], first_key: int) -> pa.Table:
    sources, targets, signs = (list(column) for column in zip(*rows, strict=True))
    return pa.table(
        {
            "source_row": pa.array(sources, pa.int64()),
            "target_row": pa.array(targets, pa.int64()),
            "source": pa.array(["toy"] * len(rows)).dictionary_encode(),
            "edge_key": pa.array(range(first_key, first_key + len(rows)), pa.int64()),
            "sign": pa.array(signs, pa.int64()),
        }
    )


def selection() -> Selection:
    size = GENES // PATHWAYS
    ids = [gene(k) for k in range(GENES)] + [f"WIKIPATHWAYS:WP{k}" for k in range(PATHWAYS)]
    types = ["Gene"] * GENES + ["Pathway"] * PATHWAYS
    nodes = pa.table(
        {
            "id": ids,
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": [f"G{k}" for k in range(GENES)] + [f"Pathway <{k}>" for k in range(PATHWAYS)],
        }
    )
    steps = [(k, k + 1, (-1) ** k) for k in range(GENES - 1) if (k + 1) % size]
    members = [(k, GENES + k // size, 0) for k in range(GENES)]
    return Selection(
        nodes,
        {
            ("Gene", "PARTICIPATES_IN", "Pathway"): edges(members, 1_000),
            ("Gene", "SIGNALS_TO", "Gene"): edges(steps, 2_000),
        },
        "planted",
        {},
    )


def counts(fold: float, seed: int = 5) -> np.ndarray[Any, Any]:
    """Counts ``(cells, genes)`` of 2 * DONORS donors; the first half are cases, whose planted genes have ``fold``."""
    rng = np.random.default_rng(seed)
    level = np.repeat(MEAN * rng.lognormal(0, 0.2, (2 * DONORS, GENES)), CELLS, axis=0)
    level[: DONORS * CELLS, list(PLANTED)] *= fold
    return rng.poisson(level).astype(np.int32)


def cells(matrix: np.ndarray[Any, Any], **more: list[Any]) -> pa.Table:
    donor = np.arange(len(matrix)) // CELLS
    columns: dict[str, Any] = {
        "cell_id": [f"{k:04d}" for k in range(len(matrix))],
        "dataset": ["toy"] * len(matrix),
        "barcode": [f"BC{k}" for k in range(len(matrix))],
        "donor": [f"donor{d:02d}" for d in donor],
        "group": ["case" if d < DONORS else "control" for d in donor],
        # Most counts are of genes that nobody picked: what is planted moves no share of the others.
        "n_counts": pa.array(matrix.sum(axis=1) + REST, pa.int64()),
    }
    return pa.table(columns | more)


def write(out: Path, matrix: np.ndarray[Any, Any], **more: list[Any]) -> bundle.Manifest:
    ids = [gene(k) for k in range(GENES)]
    measured = Measured(
        cells=cells(matrix, **more),
        axis=pa.table({"column": pa.array(range(GENES), pa.int32()), "feature": ids, "gene_id": ids}),
        counts=lambda wanted, columns: csr_array(matrix[[int(c) for c in wanted]][:, list(columns)]),
        version=StoreVersion(cells=1, counts=1, axis=1, axis_sha256="0" * 64),
        text=np.zeros((GENES + PATHWAYS, 1), np.float32),
        text_mask=np.zeros(GENES + PATHWAYS, np.bool_),
        encoder="none",
        release="toy",
    )
    return write_bundle(selection(), measured, cohort="true", label="group", out=out)
