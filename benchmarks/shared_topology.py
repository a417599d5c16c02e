"""How long does a batch of eight cells on 533,458 nodes and 4 M edges take to prepare, and which bytes of edges move?

A bundle of the size of the reference's graph, written as an export does, of cells with 2,700 genes that are not zero
out of 41,149. `shared`: from the bytes of a shard to the finished ``x`` in a buffer that is used again.
`block_diagonal`: the same on eight copies of the graph, whose index is made once. `collate`: PyG's own
``Batch.from_data_list`` of eight ``Data``, as its ``DataLoader`` does at every step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

SEED = 71
NODES = 533_458
EDGES = 4_000_000
GENES = 41_149  # nodes with abundance
NONZERO = 2_700
CELLS = 512
GRAPHS = 8
STEPS = 30


def measure(work: Path, share: float) -> dict[str, Any]:
    from torch_geometric.data import Batch, Data

    from tosg_graph.dataset import TosgDataset

    work.mkdir(parents=True, exist_ok=True)
    if not (work / "bundle").exists():
        _write(work / "bundle", share)
    shared = TosgDataset(work / "bundle")
    # A pool of one batch: each step reads the bytes of its own cells.
    feed = shared.feed(GRAPHS, reuse=True, ahead=0, drop_last=True, pool_cells=GRAPHS, block_cells=GRAPHS)
    edges_before = shared.edge_index.data_ptr()
    batch_ms = _median_ms(_next(feed))
    moved = 0 if shared.edge_index.data_ptr() == edges_before else shared.edge_index.nbytes
    blocks = TosgDataset(work / "bundle", mode="block_diagonal").feed(GRAPHS, ahead=0, drop_last=True)
    start = time.perf_counter()
    pointers = {next(iter(blocks)).edge_index.data_ptr()}
    first_ms = (time.perf_counter() - start) * 1000
    step = _next(blocks)
    block_ms = _median_ms(lambda: pointers.add(step().edge_index.data_ptr()))
    singles = [Data(x=shared.take([k]).x[0], edge_index=shared.edge_index) for k in range(GRAPHS)]
    collate_ms = _median_ms(lambda: Batch.from_data_list(singles), steps=5)
    full = share == 1.0
    return {
        "name": "shared_topology",
        "machine": command_line.machine(),
        "figures": {
            "shared_batch_ms": command_line.figure(batch_ms, "ms", 10 if full else None),
            "edge_bytes_per_step": command_line.figure(moved, "B", 0),
            "block_diagonal_first_ms": command_line.figure(first_ms, "ms"),
            "block_diagonal_batch_ms": command_line.figure(block_ms, "ms"),
            "block_diagonal_edge_copies": command_line.figure(len(pointers) - 1, "", 0),
            "pyg_collate_ms": command_line.figure(collate_ms, "ms"),
            "pyg_edge_bytes_per_step": command_line.figure(shared.edge_index.nbytes * GRAPHS, "B"),
        },
        "peers": {},
    }


def _next(feed: Any) -> Callable[[], Any]:
    def endless() -> Any:
        while True:
            yield from feed

    batches = endless()
    return lambda: next(batches)


def _median_ms(step: Callable[[], Any], steps: int = STEPS) -> float:
    took = []
    for _ in range(steps + 3):
        start = time.perf_counter()
        step()
        took.append((time.perf_counter() - start) * 1000)
    return statistics.median(took[3:])  # the first ones open files and touch buffers


def _write(out: Path, share: float) -> None:
    from tosg_graph.export import Measured, write_bundle
    from tosg_graph.split_plan import SplitPlan
    from tosg_graph.types import Selection, StoreVersion

    rng = np.random.default_rng(SEED)
    nodes, edges, genes = (round(n * share) for n in (NODES, EDGES, GENES))
    nonzero = round(NONZERO * share)
    ids = [f"HGNC:{k:06d}" for k in range(genes)] + [f"UniProtKB:{k:06d}" for k in range(nodes - genes)]
    types = ["Gene"] * genes + ["Protein"] * (nodes - genes)
    columns = np.concatenate([np.sort(rng.choice(genes, nonzero, replace=False)) for _ in range(CELLS)])
    counts = rng.integers(1, 20, len(columns)).astype(np.int32)
    held = csr_array((counts, columns, np.arange(CELLS + 1) * nonzero), shape=(CELLS, genes))
    cells = pa.table(
        {
            "cell_id": [f"{k:08d}" for k in range(CELLS)],
            "dataset": ["synthetic"] * CELLS,
            "barcode": [f"BC{k}" for k in range(CELLS)],
            "donor": [f"donor {k % 20}" for k in range(CELLS)],
            "cell_type": [("T cell", "B cell")[k % 2] for k in range(CELLS)],
            "n_counts": np.asarray(held.sum(axis=1, dtype=np.int64)),
        }
    )
    table = pa.table(
        {
            "source_row": rng.integers(0, nodes, edges),
            "target_row": rng.integers(0, nodes, edges),
            "source": pa.array(["made up"] * edges).dictionary_encode(),
            "edge_key": np.arange(edges),
        }
    )
    selection = Selection(
        pa.table(
            {
                "id": ids,
                "type": types,
                "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
                "name": ids,
                "text_sha": [None] * nodes,
            }
        ),
        {("Gene", "SIGNALS_TO", "Gene"): table},
        "MATCH (n) RETURN n",
        {},
    )
    measured = Measured(
        cells=cells,
        axis=pa.table(
            {"column": pa.array(range(genes), pa.int32()), "feature": ids[:genes], "gene_id": ids[:genes]}
        ),
        counts=lambda cell_ids, wanted: held[[int(c) for c in cell_ids]][:, list(wanted)],
        version=StoreVersion(cells=1, counts=1, axis=1, axis_sha256="0" * 64),
        text=np.zeros((nodes, 1), np.float32),
        text_mask=np.zeros(nodes, np.bool_),
        encoder="none",
        release="none",
    )
    split = SplitPlan(fractions=(1.0, 0.0, 0.0))
    write_bundle(selection, measured, cohort="true", label="cell_type", out=out, split=split)


if __name__ == "__main__":
    command_line.run(__doc__, "shared_topology", (0.05, "a graph of a twentieth of the size"), measure)
