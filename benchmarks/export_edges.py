"""How long does the export of a million edges take, and how much memory?

A synthetic graph in our own schema is loaded by bulk import into a server of its own; a small store of cells
goes beside it. Then three processes, one after the other, each connect, select by Cypher and export a bundle;
the clock runs from "connected" to "renamed". Nothing is cached on our side, and the exporting process does
not import torch.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from tosg_graph.settings import Settings, read_settings

SEED = 20
QUERY = "MATCH (:Entity)-[r]->(:Entity) RETURN r"
REPEATS = 3

# One measured run; a process of its own, so that its peak is its own.
CHILD = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.export import export
from tosg_graph.graph import Graph
from tosg_graph.selection import select
from tosg_graph.settings import read_settings

home, query, out = sys.argv[1:]
settings = replace(read_settings(), home=Path(home), uri=None, user="neo4j", password=None, page_cache="1g")
with Graph.connect(settings) as graph:
    start = time.perf_counter()
    selection = select(graph, query)
    selected = time.perf_counter()
    store = AbundanceStore.open(settings.store)
    manifest = export(selection, graph, store, cells="true", label="kind", out=Path(out))
    seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
if "torch" in sys.modules:
    raise SystemExit("the exporting process imported torch")
print(json.dumps({
    "seconds": seconds, "select_seconds": selected - start, "peak_gb": peak * 1024 / 1e9,
    "edges": sum(manifest.content["edges"].values()), "cells": sum(manifest.content["splits"].values()),
}))
"""


def measure(work: Path, share: float) -> dict[str, Any]:
    from tosg_graph import server

    edges = round(1_000_000 * share)
    home = work / "home"
    settings = replace(
        read_settings(), home=home, uri=None, user="neo4j", password=None, heap="1g", page_cache="1g"
    )
    try:
        make_graph(settings, work / "csv", edges)
        make_store(settings)
        runs = []
        for number in range(REPEATS):
            out = work / f"bundle-{number}"
            shutil.rmtree(out, ignore_errors=True)
            arguments = [sys.executable, "-c", CHILD, str(home), QUERY, str(out)]
            done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"run {number}: {runs[-1]}", file=sys.stderr)
            if runs[-1]["edges"] != edges:
                raise SystemExit(f"{runs[-1]['edges']:,} edges in the bundle, {edges:,} in the graph")
    finally:
        server.stop(settings)

    def median(key: str) -> float:
        return round(statistics.median(run[key] for run in runs), 2)

    full = share == 1.0  # the aims are for the full size
    figure = "million_edges_cold_seconds" if full else "small_cold_seconds"
    return {
        "name": "export_edges",
        "machine": command_line.machine(),
        "figures": {
            figure: {"value": median("seconds"), "unit": "s", "aim": 4.0 if full else None},
            # The server's code is not compiled yet when the first one runs.
            "first_run_seconds": {"value": round(runs[0]["seconds"], 2), "unit": "s", "aim": None},
            "select_seconds": {"value": median("select_seconds"), "unit": "s", "aim": None},
            "peak_gb": {"value": median("peak_gb"), "unit": "GB", "aim": 1.0 if full else None},
            "edges": {"value": edges, "unit": "edges", "aim": None},
            "cells": {"value": runs[0]["cells"], "unit": "cells", "aim": None},
        },
        "peers": {},
    }


def make_graph(settings: Settings, folder: Path, edges: int) -> None:
    """Half SIGNALS_TO, half INTERACTS_WITH among genes and proteins; parallel edges and loops included."""
    from tosg_graph import server
    from tosg_graph.graph import Graph

    rng = np.random.default_rng(SEED)
    size = max(edges // 50, 100)
    folder.mkdir(parents=True, exist_ok=True)
    genes = pa.table(
        {
            "id:ID": [f"HGNC:{k}" for k in range(1, size + 1)],
            "name": [f"G{k}" for k in range(1, size + 1)],
            "symbol": [f"G{k}" for k in range(1, size + 1)],
        }
    )
    proteins = pa.table(
        {
            "id:ID": [f"UniProtKB:P{k:05d}" for k in range(size)],
            "name": [f"protein {k}" for k in range(size)],
        }
    )
    ids = np.array(genes["id:ID"].to_pylist() + proteins["id:ID"].to_pylist())
    pc.write_csv(genes, folder / "Gene.csv")
    pc.write_csv(proteins, folder / "Protein.csv")
    for verb in ("SIGNALS_TO", "INTERACTS_WITH"):
        n = edges // 2
        columns: dict[str, Any] = {
            ":START_ID": ids[rng.integers(0, len(ids), n)],
            ":END_ID": ids[rng.integers(0, len(ids), n)],
            "source": rng.choice(["synthetic_a", "synthetic_b", "synthetic_c"], n),
            "edge_key:long": rng.integers(-(2**63), 2**63 - 1, n),
            "score:double": rng.random(n).round(4),
        }
        if verb == "SIGNALS_TO":
            columns["sign:long"] = rng.integers(-1, 2, n)
        pc.write_csv(pa.table(columns), folder / f"{verb}.csv")
    server.stop(settings)
    nodes = [(["Entity", name], folder / f"{name}.csv") for name in ("Gene", "Protein")]
    links = [(verb, folder / f"{verb}.csv") for verb in ("SIGNALS_TO", "INTERACTS_WITH")]
    server.admin_import(settings, nodes, links, folder / "report.txt")
    with Graph.connect(settings) as graph:
        # Warm the server's pages and plans with another query: "cold" is our side, not the server's disk.
        graph.rows("MATCH ()-[r]->() RETURN count(r.score) AS n")


def make_store(settings: Settings) -> None:
    """One thousand cells of ten donors with 500 measured genes, added by the product's own code."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.cells import add
    from tosg_graph.graph import Graph
    from tosg_graph.obs import ObsMapping

    rng = np.random.default_rng(SEED)
    cells, genes = 1000, 500
    path = settings.home / "cells.h5ad"
    anndata.AnnData(
        X=csr_matrix(rng.poisson(0.3, (cells, genes)).astype(np.float32)),
        obs=pd.DataFrame(
            {
                "kind": rng.choice(["a", "b", "c"], cells),
                "donor": [f"donor{k % 10}" for k in range(cells)],
            },
            index=[f"cell{k}" for k in range(cells)],
        ),
        var=pd.DataFrame(index=[f"G{k}" for k in range(1, genes + 1)]),
    ).write_h5ad(path)
    with Graph.connect(settings) as graph:
        add(path, graph, AbundanceStore.open(settings.store), mapping=ObsMapping())


if __name__ == "__main__":
    command_line.run(__doc__, "export_edges", (0.1, "100,000 edges; within a minute"), measure)
