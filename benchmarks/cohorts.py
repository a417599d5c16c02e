"""How fast, and in how much memory, does a cohort come out of our store, and how out of the layouts that others use?

Synthetic cells with the marginals of real ones (`synthetic_cells.py`), sorted as our store sorts them so that no
layout has to jump more than another, are written as .h5ad without compression and from there into our store, the same
with its copy cell by cell (`tosg cells rows`), .h5ad with gzip, a SOMA experiment, and Parquet with one row per cell
and lists of genes and counts (`cohort_readers.py`). Each reader then reads the same cohorts, in turn, each time in a
process of its own, from "nothing open" to "compressed rows in memory"; what the readers return is compared by cell and
gene. Needs `pip install '.[bench]'`.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

import cohort_readers
import command_line
import numpy as np
import synthetic_cells

SEED = 51
CELLS = 200_000
GENES_PER_CELL = 1000
PATHWAY = 500
REPEATS = 3
FIVE = ["disease 2", "disease 5", "disease 7", "disease 8", "disease 9"]
CASES: dict[
    str, tuple[cohort_readers.Tests, bool]
] = {  # what is asked of the cells; the pathway's genes only?
    "pathway": ([("disease", "in", FIVE)], True),
    "pathway_scattered": ([("percent_mito", "<", 0.5)], True),
    "all_genes": ([("organ", "==", "brain"), ("disease", "in", FIVE)], False),
    "all_genes_of_half": ([("disease", "in", FIVE)], False),
}


def measure(work: Path, share: float) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    full = share == 1.0  # the aims are for the full size
    real = synthetic_cells.real_marginals()
    _write(work, real, round(CELLS * share))
    places = np.random.default_rng(SEED).choice(len(real.genes), PATHWAY, replace=False)
    figures: dict[str, Any] = {}
    slowest: dict[str, list[float]] = {reader: [] for reader in cohort_readers.OURS}
    for case, (tests, few) in CASES.items():
        asked = json.dumps({"tests": tests, "genes": sorted(places.tolist()) if few else None})
        took = _read(work, asked, REPEATS if full else 1)
        print(f"{case}: {took}", file=sys.stderr)
        answers = {(t["cells"], t["values"], t["digest"]) for t in took.values()}
        if len(answers) != 1:
            raise SystemExit(f"{case}: the readers do not return the same counts: {took}")
        figures[f"{case}_cells"] = command_line.figure(took["ours"]["cells"], "cells")
        for reader, said in took.items():
            figures[f"{case}_{reader}_seconds"] = command_line.figure(said["seconds"], "s")
            figures[f"{case}_{reader}_peak_gb"] = command_line.figure(said["peak_gb"], "GB")
        best = min(said["seconds"] for reader, said in took.items() if reader not in cohort_readers.OURS)
        for reader, ratios in slowest.items():
            ratios.append(took[reader]["seconds"] / best)
        with_rows, without = (ratios[-1] for ratios in slowest.values())
        aim = (1.0 if few else 1.2) if full else None
        figures[f"{case}_ratio_to_best_peer"] = command_line.figure(with_rows, "", aim)
        figures[f"{case}_ratio_without_rows"] = command_line.figure(without, "")
    with_rows, without = (max(ratios) for ratios in slowest.values())
    figures["slowest_ratio_to_best_peer"] = command_line.figure(with_rows, "", 1.2 if full else None)
    figures["slowest_ratio_without_rows"] = command_line.figure(without, "")
    copied = _size(work / "cells.rows" / "rows")
    figures["rows_bytes_per_cell"] = command_line.figure(copied / round(CELLS * share), "B")
    for name in ("cells.h5ad", *(f"cells.{layout}" for layout in cohort_readers.LAYOUTS)):
        figures[f"{name.replace('.', '_')}_gb"] = command_line.figure(_size(work / name) / 1e9, "GB")
    return {
        "name": "cohorts",
        "machine": command_line.machine(),
        "marginals": real.origin,
        "figures": figures,
        "peers": {},
    }


def _write(work: Path, real: synthetic_cells.Marginals, cells: int) -> None:
    """Write all layouts, unless ``work`` has them of as many cells."""
    from tosg_graph.cell_blocks import SORTED_BY

    held = work / "written.json"
    size = {"cells": cells, "genes_per_cell": GENES_PER_CELL}
    if held.exists() and json.loads(held.read_text()) == size:
        return
    (work / "genes.json").write_text(json.dumps(real.genes))
    file = work / "cells.h5ad"
    marginals = real.scaled(GENES_PER_CELL)
    synthetic_cells.write(file, marginals, cells, SEED, level=0, sorted_by=SORTED_BY)
    for layout in cohort_readers.LAYOUTS:
        target = work / f"cells.{layout}"
        if target.is_dir():
            shutil.rmtree(target)
        print(
            f"{layout}: {command_line.answer_of(cohort_readers.__file__, 'write', layout, work)}",
            file=sys.stderr,
        )
    held.write_text(json.dumps(size))


def _read(work: Path, asked: str, repeats: int) -> dict[str, dict[str, Any]]:
    """What each reader says, seconds and peaks as medians; in rounds, so that what else runs meets all of them."""
    runs: dict[str, list[dict[str, Any]]] = {reader: [] for reader in cohort_readers.READERS}
    for _ in range(repeats):
        for reader, said in runs.items():
            said.append(command_line.answer_of(cohort_readers.__file__, "read", reader, work, asked))
    return {
        reader: {
            **said[0],
            **{key: statistics.median(r[key] for r in said) for key in ("seconds", "peak_gb")},
        }
        for reader, said in runs.items()
    }


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


if __name__ == "__main__":
    command_line.run(
        __doc__, "cohorts", (0.03, "6,000 cells instead of 200,000, each read once; within a minute"), measure
    )
