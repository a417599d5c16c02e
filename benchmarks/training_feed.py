"""How many cells a second reach a model, dense and shuffled in blocks, from an export, and from other loaders?

Synthetic cells with the marginals of real ones (`synthetic_cells.py`), in which the 2,000 genes detected most often are
selected: at least 400 of them are not zero in every cell. `TosgDataset.feed` reads our export of them, and streams
the same cells from our store, which holds these genes; the same
counts lie in an .h5ad without compression and in a SOMA experiment, of these 2,000 genes only, for the peers
(`feed_readers.py`). Each loader is a process of its own; cells per second are the median of three passes after a first
one, or of as much as it does in the seconds that it is given. The entropy of the labels in a batch is given as a share
of what batches of random cells have. Needs `pip install '.[bench]'`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import command_line
import feed_readers
import numpy as np
import pyarrow as pa
import synthetic_cells

SEED = 61
CELLS = 200_000
GENES = 2_000
NONZERO, FEWEST = 485, 400  # of the selected genes in a cell on average, and in every cell
EDGES = 10_000
SECONDS = 20.0
AIMS = {"export_cells_per_second": 300_000, "stream_cells_per_second": 20_000}


def measure(work: Path, share: float) -> dict[str, Any]:
    work.mkdir(parents=True, exist_ok=True)
    full = share == 1.0
    real = synthetic_cells.real_marginals()
    cells = round(CELLS * share)
    fewest = _write(work, real, cells)
    quarter = work / "quarter"
    quarter.mkdir(exist_ok=True)
    _write(quarter, real, cells // 4, peers=False)
    figures: dict[str, Any] = {"fewest_genes_in_a_cell": command_line.figure(fewest, "genes", FEWEST)}
    for reader in feed_readers.READERS:
        said = command_line.answer_of(feed_readers.__file__, reader, work, SECONDS if full else 2.0)
        print(f"{reader}: {said}", file=sys.stderr)
        figures[f"{reader}_cells_per_second"] = command_line.figure(
            round(said["cells_per_second"]),
            "cells/s",
            AIMS.get(f"{reader}_cells_per_second") if full else None,
        )
        figures[f"{reader}_peak_gb"] = command_line.figure(said["peak_gb"], "GB")
        if said["label_entropy"]:
            figures[f"{reader}_label_entropy"] = command_line.figure(
                said["label_entropy"], "of random", 1.0 if full else None
            )
    figures["peak_gb"] = figures.pop("export_peak_gb")
    of_quarter = command_line.answer_of(feed_readers.__file__, "export", quarter, SECONDS)
    figures["peak_gb_quarter"] = command_line.figure(of_quarter["peak_gb"], "GB")
    return {
        "name": "training_feed",
        "machine": command_line.machine(),
        "marginals": real.origin,
        "figures": figures,
        "peers": {},
    }


def _write(work: Path, real: synthetic_cells.Marginals, cells: int, peers: bool = True) -> int:
    """Write all layouts, unless ``work`` has them of as many cells; fewest genes that are not zero in a cell."""
    held = work / "written.json"
    if held.exists() and (said := json.loads(held.read_text()))["cells"] == cells:
        return int(said["fewest"])
    marginals = _selected(real)
    file = work / "selected.h5ad"
    synthetic_cells.write(file, marginals, cells, SEED, level=0)
    import anndata

    counts = anndata.read_h5ad(file, backed="r").X
    _export(work, marginals.genes)
    if peers:
        import tiledbsoma.io

        uri = str(work / "selected.soma")
        tiledbsoma.io.from_h5ad(uri, file, measurement_name="RNA", X_layer_name="raw")
    fewest = int(np.diff(counts._indptr).min())
    if fewest < FEWEST:
        raise SystemExit(f"a cell has {fewest} genes, fewer than {FEWEST}; NONZERO is too small")
    held.write_text(json.dumps({"cells": cells, "fewest": fewest}))
    return fewest


def _selected(real: synthetic_cells.Marginals) -> synthetic_cells.Marginals:
    """Marginals of the genes that are detected most often, scaled."""
    most = np.sort(np.argsort(-real.detected, kind="stable")[:GENES])
    counts = [real.counts[real.starts[g] : real.starts[g + 1]] for g in most]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in counts])])
    genes = [real.genes[g] for g in most]
    found = synthetic_cells.Marginals(genes, real.detected[most], np.concatenate(counts), starts, real.origin)
    return found.scaled(NONZERO)


def _export(work: Path, genes: list[str]) -> None:
    """Add the cells to a store, and write two bundles as an export does, one of them without abundance."""
    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.cells import add
    from tosg_graph.export import Measured, write_bundle
    from tosg_graph.obs import ObsMapping
    from tosg_graph.split_plan import SplitPlan
    from tosg_graph.types import Selection

    names = synthetic_cells.Names(genes)  # no server is part of the question
    store = AbundanceStore.open(work / "selected.store")
    add(work / "selected.h5ad", names, store, mapping=ObsMapping())
    ids = sorted(f"HGNC:{k}" for k in range(len(genes)))
    ends = np.random.default_rng(SEED).integers(0, len(ids), (2, EDGES))
    nodes = pa.table(
        {
            "id": ids,
            "type": ["Gene"] * len(ids),
            "labels": pa.array([["Gene"]] * len(ids), pa.list_(pa.string())),
            "name": ids,
            "text_sha": [None] * len(ids),
        }
    )
    edges = pa.table(
        {
            "source_row": ends[0],
            "target_row": ends[1],
            "source": ["made up"] * EDGES,
            "edge_key": np.arange(EDGES),
        }
    )
    selection = Selection(nodes, {("Gene", "SIGNALS_TO", "Gene"): edges}, "MATCH (n) RETURN n", {})
    everything = SplitPlan(fractions=(1.0, 0.0, 0.0))
    with AbundanceReader.open(store) as reader:
        measured = Measured(
            cells=reader.cells("true", lambda *_: None),
            axis=reader.axis,
            counts=reader.csr,
            version=reader.version,
            text=np.zeros((len(ids), 1), np.float32),
            text_mask=np.zeros(len(ids), np.bool_),
            encoder="none",
            release="none",
        )
        for name, abundance in (("bundle", True), ("light", False)):
            out = work / name
            write_bundle(
                selection,
                measured,
                cohort="true",
                label="cell_type",
                out=out,
                split=everything,
                abundance=abundance,
            )


if __name__ == "__main__":
    command_line.run(
        __doc__, "training_feed", (0.05, "10,000 cells instead of 200,000; within a minute"), measure
    )
