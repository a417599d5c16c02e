"""How fast does a graph of full size answer: searches by words and meaning, and counts of what is two steps away?

The files of `bmg_files` (2.3 million entities, 27 million relations) are loaded, and 200,000 entities get made-up
vectors of 384 numbers. Then one process asks: fifty searches of five kinds, with the encoder in memory as it is in a
notebook, and the number of entities within two steps of 100 proteins, ten of each tenth of the degrees. Each
question is asked once to warm the server and then five times. A whole `tosg search` from the shell is timed beside
them.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bmg_files
import command_line
import numpy as np
from load_full_graph import run

from tosg_graph.graph import Graph
from tosg_graph.platform import Platform
from tosg_graph.resources import schema
from tosg_graph.settings import Settings, read_settings

SEED = 20
VECTORS = 200_000
BATCH = 2_000
REPEATS = 5
# Memory of a laptop's server; the store is 3 GB.
HEAP, PAGE_CACHE = "3g", "4g"


def measure(work: Path, share: float) -> dict[str, Any]:
    from tosg_graph import server

    home = work / "home"
    settings = replace(
        read_settings(), home=home, uri=None, user="neo4j", password=None, heap=HEAP, page_cache=PAGE_CACHE
    )
    vectors = round(VECTORS * share)
    try:
        make_graph(work, settings, share, vectors)
        with Platform(settings) as platform:
            graph = platform.graph
            entities = graph.rows("MATCH (n:Entity) RETURN count(n) AS n")[0]["n"]
            search = timed([lambda text=text: platform.search(text) for text in searches(graph)])
            proteins = spread_over_degrees(graph)
            hops = timed([lambda one=one: two_steps(platform, one) for one in proteins])
        shell = [search_from_shell(settings, text) for text in ("SYM77", "made up gene 99", "SYM4242")]
    finally:
        server.stop(settings)
    full = share == 1.0
    values = {
        "search_ms": (statistics.median(search), "ms", 200.0),
        "search_p95_ms": (float(np.percentile(search, 95)), "ms", None),
        "search_cli_seconds": (statistics.median(shell), "s", None),
        "two_hop_ms": (statistics.median(hops), "ms", 100.0),
        "two_hop_p95_ms": (float(np.percentile(hops, 95)), "ms", None),
        "entities": (entities, "nodes", None),
        "vectors": (vectors, "vectors", None),
    }
    figures = {
        name: {"value": round(value, 2), "unit": unit, "aim": aim if full else None}
        for name, (value, unit, aim) in values.items()
    }
    return {"name": "graph_queries", "machine": command_line.machine(), "figures": figures, "peers": {}}


def make_graph(work: Path, settings: Settings, share: float, vectors: int) -> None:
    """Load the files and the vectors, unless this folder has them from an earlier run."""
    ready = work / "ready.json"
    wanted = {"share": share, "vectors": vectors}
    if ready.is_file() and json.loads(ready.read_text()) == wanted:
        return
    ready.unlink(missing_ok=True)
    shutil.rmtree(settings.home, ignore_errors=True)
    bmg_files.write(work / "one", share)
    run(settings.home, work / "one")
    from tosg_graph import server

    server.stop(settings)  # it was started with another size of memory
    with Graph.connect(settings) as graph:
        write_vectors(graph, vectors)
    ready.write_text(json.dumps(wanted))


def write_vectors(graph: Graph, n: int) -> None:
    """Made-up vectors under the name of the default encoder, so that a search encodes its words and asks them."""
    from tosg_graph.encoders import DEFAULT_ENCODER, open_encoder
    from tosg_graph.vector_index import GraphEncoder, claim

    dimensions = int(schema("nodes")["text_vector"]["dimensions"])
    claim(graph, GraphEncoder.of(open_encoder(), DEFAULT_ENCODER, dimensions), replace=False)
    rng = np.random.default_rng(SEED)
    vector = schema("nodes")["text_vector"]
    ids = graph.rows("MATCH (n:Entity) WITH n.id AS id ORDER BY id RETURN collect(id) AS ids")[0]["ids"]
    chosen = sorted(rng.choice(len(ids), n, replace=False).tolist())
    for start in range(0, n, BATCH):
        part = chosen[start : start + BATCH]
        values = rng.standard_normal((len(part), dimensions)).astype(np.float32)
        rows = [[ids[k], v] for k, v in zip(part, values.tolist(), strict=True)]
        graph.write(
            "UNWIND $rows AS row MATCH (n:Entity {id: row[0]}) "
            "CALL db.create.setNodeVectorProperty(n, $name, row[1])",
            rows=rows,
            name=vector["property"],
        )
        print(f"vectors {start + len(part):,} of {n:,}", file=sys.stderr)


def searches(graph: Graph) -> list[str]:
    """Ten each: symbols, names, ids, words of descriptions, and names with a mistake."""
    rng = np.random.default_rng(SEED)
    genes = rng.integers(1, 2_000, 10).tolist()
    words = [
        " ".join(str(row["text"]).rstrip(".").split()[-2:])
        for row in graph.rows(
            "MATCH (g:Disease) WHERE g.description IS NOT NULL "
            "WITH g ORDER BY g.id LIMIT 10 RETURN g.description AS text"
        )
    ]
    ids = [
        row["id"] for row in graph.rows("MATCH (d:Disease) WITH d ORDER BY d.id LIMIT 10 RETURN d.id AS id")
    ]
    return [
        *(f"SYM{k}" for k in genes),
        *(f"made up gene {k}" for k in genes),
        *ids,
        *words,
        *(f"made up protien {k}" for k in genes),
    ]


def spread_over_degrees(graph: Graph) -> list[str]:
    """Ten proteins of each tenth of the degrees, isolated ones left out."""
    found = graph.columns("MATCH (p:Protein) RETURN p.id AS id, COUNT { (p)--() } AS degree")
    degree = found["degree"].to_numpy()
    order = [k for k in np.lexsort((found["id"].to_pylist(), degree)) if degree[k] > 0]
    rng = np.random.default_rng(SEED)
    tenths = np.array_split(np.array(order), 10)
    chosen = [k for tenth in tenths for k in sorted(rng.choice(tenth, min(10, len(tenth)), replace=False))]
    ids = found["id"].to_pylist()
    print(f"degrees of the proteins: {[int(degree[k]) for k in chosen[::10]]}", file=sys.stderr)
    return [ids[k] for k in chosen]


def two_steps(platform: Platform, protein: str) -> int:
    answer = platform.query("entities_within_two_steps", {"entity": protein})
    return int(answer["entities"][0].as_py())


def timed(questions: Iterable[Callable[[], object]]) -> list[float]:
    """Median of each question in milliseconds, asked once before."""
    medians = []
    for ask in questions:
        ask()
        each = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            ask()
            each.append((time.perf_counter() - start) * 1000)
        medians.append(statistics.median(each))
    return medians


def search_from_shell(settings: Settings, text: str) -> float:
    environment = {**os.environ, "TOSG_HOME": str(settings.home)}
    tosg = Path(sys.executable).with_name("tosg")
    start = time.perf_counter()
    subprocess.run([tosg, "search", text], check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    command_line.run(__doc__, "graph_queries", (0.01, "1 % of the size; within a minute or two"), measure)
