"""How large is a cell in the store, how fast and in how much memory does it come in, and how fast are answers?

Synthetic cells with the marginals of real ones (`synthetic_cells.py`) are written as .h5ad and added by the product's
own code, each file in a process of its own: 32,768 cells with about 2,700 genes each for the size, 100,000 and
1,000,000 cells with about 900 genes each for memory and rate. Then a new process asks the large store three times:
facets of all cells, one gene over all cells by cell type, and the counts of 500 genes in the cells of one disease.
There is no Neo4j: the names of genes and terms are given (`synthetic_cells.Names`), everything else is the product.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import command_line
import synthetic_cells

SEED = 50
GENES_PER_CELL = 900
DEEP_GENES_PER_CELL = 2700
REPEATS = 3
PATHWAY = 500

# One file added; a process of its own, so that its peak is its own.
ADD = """
import json, sys, time
from pathlib import Path
from synthetic_cells import Names
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add
from tosg_graph.obs import ObsMapping

file, store, genes = map(Path, sys.argv[1:])
start = time.perf_counter()
ledger = add(file, Names(json.loads(genes.read_text())), AbundanceStore.open(store), mapping=ObsMapping())
seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak_gb": peak * 1024 / 1e9, "cells": ledger.cells}))
"""

# The questions; each from "nothing open" to "answer in memory".
ASK = """
import json, sys, time
from pathlib import Path
import numpy as np
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore

folder, disease, wanted, repeats = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
no_terms = lambda column, value: None

def facets(reader):
    return len(reader.facets("true", no_terms))

def one_gene(reader):
    return len(reader.aggregate([axis[len(axis) // 2]], "cell_type", "true", no_terms))

def cohort(reader):
    ids = reader.cells(f"disease = '{disease}'", no_terms, ["cell_id"])["cell_id"].to_pylist()
    found = reader.csr(ids, pathway)
    return [*found.shape, int(found.nnz)]

store = AbundanceStore.open(folder)
axis = store.axis()["column"].to_pylist()
pathway = sorted(np.random.default_rng(1).choice(axis, min(wanted, len(axis)), replace=False).tolist())
times, answers = {}, {}
for question in (facets, one_gene, cohort):
    for _ in range(repeats):
        start = time.perf_counter()
        with AbundanceReader.open(store) as reader:
            answers[question.__name__] = question(reader)
        times.setdefault(question.__name__, []).append(time.perf_counter() - start)
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"times": times, "answers": answers, "peak_gb": peak * 1024 / 1e9}))
"""


def measure(work: Path, share: float) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    full = share == 1.0  # the aims are for the full size
    real = synthetic_cells.real_marginals()
    genes = work / "genes.json"
    genes.write_text(json.dumps(real.genes))
    deep, deep_nnz = _add(work, "deep", real.scaled(DEEP_GENES_PER_CELL), round(32_768 * share), genes)
    small, _ = _add(work, "small", real.scaled(GENES_PER_CELL), round(100_000 * share), genes)
    large, large_nnz = _add(work, "large", real.scaled(GENES_PER_CELL), round(1_000_000 * share), genes)
    real_cells = _add_real(work, genes)
    asked = _run(ASK, work / "large.store", synthetic_cells.DISEASES[3], PATHWAY, REPEATS)
    print(f"questions: {asked}", file=sys.stderr)

    def figure(value: float, unit: str, aim: float | None = None, digits: int = 2) -> dict[str, Any]:
        return {"value": round(value, digits), "unit": unit, "aim": aim if full else None}

    def median(question: str) -> float:
        return statistics.median(asked["times"][question])

    return {
        "name": "cell_store",
        "machine": command_line.machine(),
        "marginals": real.origin,
        "figures": {
            "bytes_per_cell": figure(_size(work / "deep.store") / deep["cells"], "B", 2300, 0),
            "genes_per_cell": figure(deep_nnz / deep["cells"], "genes", None, 0),
            "h5ad_gzip_bytes_per_cell": figure(_size(work / "deep.h5ad") / deep["cells"], "B", None, 0),
            "large_bytes_per_cell": figure(_size(work / "large.store") / large["cells"], "B", None, 0),
            "large_genes_per_cell": figure(large_nnz / large["cells"], "genes", None, 0),
            "large_h5ad_gzip_bytes_per_cell": figure(
                _size(work / "large.h5ad") / large["cells"], "B", None, 0
            ),
            **({"real_bytes_per_cell": figure(real_cells, "B", None, 0)} if real_cells else {}),
            "ingest_cells_per_second": figure(large["cells"] / large["seconds"], "cells/s", None, 0),
            "peak_gb_100k": figure(small["peak_gb"], "GB"),
            "peak_gb_1m": figure(large["peak_gb"], "GB", round(1.2 * small["peak_gb"], 2)),
            "cohort_seconds": figure(median("cohort"), "s"),
            "cohort_cells": figure(asked["answers"]["cohort"][0], "cells", None, 0),
            "facet_seconds": figure(median("facets"), "s", 0.5),
            "one_gene_seconds": figure(median("one_gene"), "s", 0.5),
            "questions_peak_gb": figure(asked["peak_gb"], "GB"),
        },
        "peers": {},
    }


def _add(
    work: Path, name: str, marginals: synthetic_cells.Marginals, cells: int, genes: Path
) -> tuple[dict[str, Any], int]:
    """Write a file unless it is there, add it to a new store, and return what the add took and its genes."""
    file, held = work / f"{name}.h5ad", work / f"{name}.json"
    if not held.exists() or json.loads(held.read_text())["cells"] != cells:
        values = synthetic_cells.write(file, marginals, cells, SEED)
        held.write_text(json.dumps({"cells": cells, "values": values}))
    shutil.rmtree(work / f"{name}.store", ignore_errors=True)
    took = _run(ADD, file, work / f"{name}.store", genes)
    print(f"{name}: {took}", file=sys.stderr)
    return took, json.loads(held.read_text())["values"]


def _add_real(work: Path, genes: Path) -> float | None:
    """Bytes per cell of the real files in a store of their own, without the axis; None without them."""
    shutil.rmtree(work / "real.store", ignore_errors=True)
    cells = 0
    for file in synthetic_cells.real_files() or ():
        took = _run(ADD, file, work / "real.store", genes)
        print(f"{file.stem}: {took}", file=sys.stderr)
        cells += took["cells"]
    return sum(_size(work / "real.store" / name) for name in ("cells", "counts")) / cells if cells else None


def _run(script: str, *arguments: Any) -> dict[str, Any]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


if __name__ == "__main__":
    command_line.run(
        __doc__, "cell_store", (0.01, "10,000 cells instead of 1,000,000; within a minute"), measure
    )
