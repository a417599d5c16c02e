"""A bundle whose cells tell their class by one gene each, and runs of predictions of them; no server, no network.

Cell ``k`` is of donor ``k % DONORS``, class ``k // DONORS % 3``; the gene of its class has 200 counts more than noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import toy_bundle as toy
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tosg_graph import bundle, predictions
from tosg_graph.export import write_bundle
from tosg_graph.predictions import Predicted
from tosg_graph.split_plan import SplitPlan

DONORS = 20
CELLS = 300
CLASSES = ["A cell", "B cell", "C cell"]
GENE_OF = (3, 2, 0)  # axis columns of the classes


def count(k: int, column: int) -> int:
    noise = (7 * k + 3 * column) % 10
    return noise + (200 if column == GENE_OF[label(k)] else 0)


def label(k: int) -> int:
    return k // DONORS % len(CLASSES)


def counts(cell_ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
    dense = [[count(int(c.split("-")[1]), column) for column in columns] for c in cell_ids]
    return csr_array(np.array(dense, np.int32).reshape(len(cell_ids), len(columns)))


def cells(donors: bool = True) -> pa.Table:
    kept = {
        "cell_id": [f"cell-{k:03d}" for k in range(CELLS)],
        "dataset": ["toy"] * CELLS,
        "barcode": [f"BC{k}" for k in range(CELLS)],
        "donor": pa.array([f"donor{k % DONORS:02d}" if donors else None for k in range(CELLS)], pa.string()),
        "cell_type": [CLASSES[label(k)] for k in range(CELLS)],
        "n_counts": pa.array([sum(count(k, c) for c in range(5)) for k in range(CELLS)], pa.int64()),
    }
    return pa.table(kept)


def make_bundle(out: Path, *, donors: bool = True) -> Path:
    write_bundle(
        toy.selection(),
        toy.measured(cells=cells(donors), counts=counts),
        cohort="true",
        label="cell_type",
        out=out,
        seed=3,
        split=SplitPlan(fractions=(0.4, 0.2, 0.4)),
    )
    return out


def truth(folder: Path, split: str) -> NDArray[np.int64]:
    found = bundle.read_table(folder / bundle.CELLS, ["split", "label_index"]).to_pylist()
    return np.array([row["label_index"] for row in found if row["split"] == split])


def sure(labels: NDArray[np.int64], seed: int, skill: float, classes: int = 3) -> NDArray[np.float32]:
    """Probabilities of which a share ``skill``, and those right by chance, are right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), classes))
    known = rng.random(len(labels)) < skill
    logits[np.flatnonzero(known), labels[known]] += 6
    exponents = np.exp(logits)
    found: NDArray[np.float32] = (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
    return found


def make_run(run: Path, folder: Path, skills: dict[str, float], seeds: Sequence[int] = (0, 1)) -> Path:
    """Write a run with models of the given skills."""
    predicted = [
        Predicted(
            model,
            seed,
            split,
            np.arange(len(labels)),
            sure(labels, 100 * place + 10 * seed + (split == "test"), skill),
            1.5 + seed,
            10 * (place + 1),
            {"epoch": 3 + seed},
        )
        for place, (model, skill) in enumerate(skills.items())
        for seed in seeds
        for split in predictions.SPLITS
        for labels in (truth(folder, split),)
    ]
    predictions.write(run, folder, predicted, {"task": "classify cell_type"})
    return run
