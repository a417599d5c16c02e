"""How long does the export of a million and of sixteen million edges take, and how much memory?

Synthetic graphs in our own schema are loaded by bulk import into servers of their own; a small store of cells
goes beside each. Then processes, one after the other, each connect, select by Cypher and export a bundle; the clock
runs from "connected" to "renamed". The cold ones find nothing that was kept of the selection and keep it, the cached
ones find it. All bundles of a graph have the same bytes, and the exporting process does not import torch.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
REPEATS = 5
PROTEINS, INTERACTIONS = 121_419, 16_484_820  # of the reference's protein graph, in directed rows
ROWS = 1_000_000  # written to a CSV file at a time
HEAP = {"million": "1g", "sixteen_million": "4g"}

# One measured run; a process of its own, so that its peak is its own.
CHILD = """
import json, sys, time
from dataclasses import replace
from pathlib import Path
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings

home, query, out = sys.argv[1:]
settings = replace(read_settings(), home=Path(home), uri=None, user="neo4j", password=None, page_cache="1g")
with Platform(settings) as p:
    p.graph  # connects
    start = time.perf_counter()
    picked = p.select(query)
    selected = time.perf_counter()
    manifest = picked.export(out, label="kind")
    seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
if "torch" in sys.modules:
    raise SystemExit("the exporting process imported torch")
print(json.dumps({
    "seconds": seconds, "select_seconds": selected - start, "peak_gb": peak * 1024 / 1e9,
    "edges": sum(manifest.content["edges"].values()), "cells": sum(manifest.content["splits"].values()),
    "files": manifest.content["files"],
}))
"""

Run = dict[str, Any]


def measure(work: Path, share: float) -> dict[str, Any]:
    full = share == 1.0  # the aims are for the full size
    million = measure_graph(work, "million", round(1_000_000 * share), make_million, REPEATS)
    cold, cached = million["cold"], million["cached"]
    prefix = "" if full else "small_"
    figures = {
        f"{prefix}million_edges_cold_seconds": figure(cold, "seconds", "s", 3.0 if full else None),
        f"{prefix}million_edges_cached_seconds": figure(cached, "seconds", "s", 0.5 if full else None),
        # The server's code is not compiled yet when the first one runs.
        "first_run_seconds": figure(cold[:1], "seconds", "s"),
        "select_seconds": figure(cold, "select_seconds", "s"),
        "cached_select_seconds": figure(cached, "select_seconds", "s"),
        "peak_gb": figure([*cold, *cached], "peak_gb", "GB", 1.0 if full else None, max),
        "edges": figure(cold, "edges", "edges"),
        "cells": figure(cold, "cells", "cells"),
    }
    sixteen = measure_graph(work, "sixteen_million", round(INTERACTIONS * share), make_protein_graph, 1)
    large = [*sixteen["cold"], *sixteen["cached"]]
    figures |= {
        f"{prefix}sixteen_million_edges_seconds": figure(sixteen["cold"], "seconds", "s"),
        f"{prefix}sixteen_million_edges_cached_seconds": figure(sixteen["cached"], "seconds", "s"),
        f"{prefix}sixteen_million_edges_peak_gb": figure(large, "peak_gb", "GB", 4.0 if full else None, max),
        "sixteen_million_edges": figure(sixteen["cold"], "edges", "edges"),
    }
    return {"name": "export_edges", "machine": command_line.machine(), "figures": figures, "peers": {}}


def figure(
    runs: list[Run],
    key: str,
    unit: str,
    aim: float | None = None,
    summary: Callable[[list[float]], float] = statistics.median,
) -> dict[str, Any]:
    return {"value": round(summary([run[key] for run in runs]), 2), "unit": unit, "aim": aim}


def measure_graph(
    work: Path, name: str, edges: int, make: Callable[[Settings, Path, int], int], repeats: int
) -> dict[str, list[Run]]:
    """Runs without anything kept, and runs that find what the last of them kept; all write the same bytes."""
    from tosg_graph import server

    home = work / name
    settings = replace(
        read_settings(), home=home, uri=None, user="neo4j", password=None, heap=HEAP[name], page_cache="1g"
    )
    runs: dict[str, list[Run]] = {"cold": [], "cached": []}
    try:
        made = make(settings, work / f"{name}-csv", edges)
        make_store(settings)
        for kind, found in runs.items():
            for number in range(repeats):
                if kind == "cold":
                    shutil.rmtree(settings.selections, ignore_errors=True)
                found.append(one_run(home, work / f"{name}-{kind}-{number}"))
                print(f"{name} {kind} {number}: {without_files(found[-1])}", file=sys.stderr)
    finally:
        server.stop(settings)
    every = [*runs["cold"], *runs["cached"]]
    if any(run["edges"] != made for run in every):
        raise SystemExit(f"{every[0]['edges']:,} edges in a bundle, {made:,} in the graph")
    if any(run["files"] != every[0]["files"] for run in every):
        raise SystemExit("two bundles of the same graph differ")
    return runs


def one_run(home: Path, out: Path) -> Run:
    shutil.rmtree(out, ignore_errors=True)
    arguments = [sys.executable, "-c", CHILD, str(home), QUERY, str(out)]
    # Compiled modules stay, as they do where the program is installed.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: Run = json.loads(done.stdout.splitlines()[-1])
    return found


def without_files(run: Run) -> Run:
    return {key: value for key, value in run.items() if key != "files"}


# --------------------------------------------------------------------------- the graphs


def make_million(settings: Settings, folder: Path, edges: int) -> int:
    """Half SIGNALS_TO, half INTERACTS_WITH among genes and proteins; parallel edges and loops included."""
    size = max(edges // 50, 100)
    ids = [*write_genes(folder, size), *write_proteins(folder, size)]
    rng = np.random.default_rng(SEED)
    for verb in ("SIGNALS_TO", "INTERACTS_WITH"):
        ends = random_ends(rng, len(ids), edges // 2)
        write_edges(folder, verb, ids, ends, rng, signed=verb == "SIGNALS_TO")
    import_graph(settings, folder, ("SIGNALS_TO", "INTERACTS_WITH"))
    return edges // 2 * 2


def make_protein_graph(settings: Settings, folder: Path, edges: int) -> int:
    """INTERACTS_WITH among proteins in the reference's numbers, and the genes that encode some of them."""
    proteins = min(PROTEINS, edges // 100)
    genes = min(20_000, proteins)
    ids = [*write_genes(folder, genes), *write_proteins(folder, proteins)]
    rng = np.random.default_rng(SEED)
    encodes = [(np.arange(genes), genes + np.arange(genes))]
    write_edges(folder, "ENCODES", ids, encodes, rng)
    ends = ((genes + s, genes + t) for s, t in random_ends(rng, proteins, edges))
    write_edges(folder, "INTERACTS_WITH", ids, ends, rng)
    import_graph(settings, folder, ("ENCODES", "INTERACTS_WITH"))
    return edges + genes


def write_genes(folder: Path, size: int) -> list[str]:
    ids = [f"HGNC:{k}" for k in range(1, size + 1)]
    names = [f"G{k}" for k in range(1, size + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    pc.write_csv(pa.table({"id:ID": ids, "name": names, "symbol": names}), folder / "Gene.csv")
    return ids


def write_proteins(folder: Path, size: int) -> list[str]:
    ids = [f"UniProtKB:P{k:06d}" for k in range(size)]
    names = [f"protein {k}" for k in range(size)]
    pc.write_csv(pa.table({"id:ID": ids, "name": names}), folder / "Protein.csv")
    return ids


Ends = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def random_ends(rng: np.random.Generator, nodes: int, edges: int) -> Iterator[Ends]:
    for start in range(0, edges, ROWS):
        n = min(ROWS, edges - start)
        yield rng.integers(0, nodes, n), rng.integers(0, nodes, n)


def write_edges(
    folder: Path,
    verb: str,
    ids: list[str],
    ends: Iterable[Ends],
    rng: np.random.Generator,
    *,
    signed: bool = False,
) -> None:
    names = pa.array(ids)
    writer = None
    with (folder / f"{verb}.csv").open("wb") as file:
        for source, target in ends:
            n = len(source)
            columns: dict[str, Any] = {
                ":START_ID": names.take(pa.array(source)),
                ":END_ID": names.take(pa.array(target)),
                "source": rng.choice(["synthetic_a", "synthetic_b", "synthetic_c"], n),
                "edge_key:long": rng.integers(-(2**63), 2**63 - 1, n),
                "score:double": rng.random(n).round(4),
            }
            if signed:
                columns["sign:long"] = rng.integers(-1, 2, n)
            table = pa.table(columns)
            writer = writer or pc.CSVWriter(file, table.schema)
            writer.write(table)
        if writer:
            writer.close()


def import_graph(settings: Settings, folder: Path, verbs: Sequence[str]) -> None:
    from tosg_graph import server
    from tosg_graph.graph import Graph

    server.stop(settings)
    nodes = [(["Entity", name], folder / f"{name}.csv") for name in ("Gene", "Protein")]
    links = [(verb, folder / f"{verb}.csv") for verb in verbs]
    server.admin_import(settings, nodes, links, folder / "report.txt")
    shutil.rmtree(folder)
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
    command_line.run(__doc__, "export_edges", (0.05, "a twentieth of the edges; within a minute"), measure)
