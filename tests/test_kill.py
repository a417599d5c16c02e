"""`tosg load` killed at any moment: the next load ends in the graph of a load that nobody disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loaders import kgx
from tosg_graph.graph import Graph
from tosg_graph.load import graph_release, load
from tosg_graph.settings import Settings
from tosg_graph.types import LedgerLine

pytestmark = [pytest.mark.server, pytest.mark.slow]

# `tosg load kgx`, in batches of 50, which says "reached" at one moment and waits there to be killed.
_CHILD = """
import sys, time
from loaders import kgx
from tosg_graph import cli, load, upsert

moment, folder = sys.argv[1:]
upsert._BATCH = 50

def reached(what):
    if what.startswith(moment):
        print("reached", flush=True)
        time.sleep(600)

def around(module, name):
    real = getattr(module, name)
    def wrapped(*arguments, **named):
        reached(f"before {name}")
        found = real(*arguments, **named)
        reached(f"after {name}")
        return found
    setattr(module, name, wrapped)

def loading(graph, parsed, progress, real=load.load, **more):
    def show(what, done, total):
        progress(what, done, total)
        reached(f"{what} {done}")
    return real(graph, parsed, show, **more)

load.load = loading
for module, name in ((kgx, "parse"), (load, "_record"), (load, "_remember")):
    around(module, name)
cli.main(["load", "kgx", "--path", folder])
"""


def kill_at(settings: Settings, moment: str, folder: Path) -> None:
    """Start `tosg load kgx`, and kill it at a moment."""
    environment = {**os.environ, "TOSG_HOME": str(settings.home), "TOSG_CACHE": str(settings.cache)}
    environment |= {"TOSG_NEO4J_HEAP": settings.heap, "TOSG_NEO4J_PAGECACHE": settings.page_cache}
    command = [sys.executable, "-c", _CHILD, moment, str(folder)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout
    with child.stdout:
        said = child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    ended = child.wait()
    assert (said, ended) == ("reached\n", -signal.SIGKILL), f"{moment} was never reached"


def graph_files(folder: Path, genes: dict[int, str], signals: dict[tuple[int, int], str]) -> Path:
    """A KGX graph; gene i is HGNC:i, and a faulty row stands in each file."""
    folder.mkdir()
    rows = [f"HGNC:{i}\tbiolink:Gene\t{name}\t{name}\tNCBIGene:{i}\n" for i, name in genes.items()]
    rows.append("X:1\tbiolink:Publication\tof a kind that we do not have\t\t\n")
    (folder / "nodes.tsv").write_text("id\tcategory\tname\tsymbol\txref\n" + "".join(rows))
    rows = [f"HGNC:{a}\tbiolink:{p}\tHGNC:{b}\tinfores:x\n" for (a, b), p in signals.items()]
    rows.append("HGNC:1\tbiolink:regulates\tHGNC:99999\tinfores:x\n")
    header = "subject\tpredicate\tobject\tprimary_knowledge_source\n"
    (folder / "edges.tsv").write_text(header + "".join(rows))
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return graph_files(
        tmp_path / "old",
        {i: f"G{i}" for i in range(1, 201)},
        {(i, i + 1): "positively_regulates" for i in range(1, 200)},
    )


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Against ``old``: 60 genes gone, 60 new, one renamed; the same of relationships, one with another sign."""
    return graph_files(
        tmp_path / "new",
        {i: f"G{i}" if i != 70 else "seventy" for i in range(61, 261)},
        {(i, i + 1): "positively_regulates" if i != 90 else "negatively_regulates" for i in range(61, 260)},
    )


def undisturbed(graph: Graph, folder: Path) -> tuple[list[tuple[int, ...]], Any]:
    """Load in this process; where the rows went, and all that is stored but which release wrote it."""
    parsed = kgx.parse({name: folder / f"{name}.tsv" for name in ("nodes", "edges")})
    return counts(load(graph, [(kgx.SOURCE, parsed)])), stored(graph)


def counts(lines: list[LedgerLine]) -> list[tuple[int, ...]]:
    return [(line.read, line.loaded, line.merged, line.rejected) for line in lines]


def stored(graph: Graph) -> Any:
    nodes = graph.rows(
        "MATCH (n) WHERE n:Entity OR n:Retired RETURN n.id AS id, labels(n) AS l, n.name AS name, n.xrefs AS x, "
        "n.sources AS s, n.text_sha AS t ORDER BY id, l"
    )
    edges = graph.rows(
        "MATCH (a)-[r]->(b) RETURN a.id AS a, type(r) AS t, b.id AS b, r.sign AS sign, r.source AS s, "
        "r.edge_key AS k ORDER BY a, b, k"
    )
    return nodes, edges


def reconnect(graph: Graph) -> None:
    """After a killed process took the server down, or started another."""
    graph.driver.close()
    time.sleep(1)
    fresh = Graph.connect(graph.settings)
    graph.address, graph.driver = fresh.address, fresh.driver


MOMENTS = [
    "before parse",
    "Merging tables 1",
    "Writing nodes 50",
    "Writing SIGNALS_TO 50",
    "Retiring SIGNALS_TO 50",
    "Retiring nodes 50",
    "before _record",
    "after _record",
]


def test_a_killed_upsert_is_finished_or_undone_by_the_next_load(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, old: Path, new: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "is_local", property(lambda self: False))
        undisturbed(graph, old)
    wanted = undisturbed(graph, new)
    before = undisturbed(graph, old)
    assert (len(wanted[1][1]), len(before[1][1])) == (199, 199)
    for moment in MOMENTS:
        kill_at(graph.settings, moment, new)
        assert undisturbed(graph, new) == wanted, moment
        assert graph_release(graph)
        assert undisturbed(graph, old) == before, moment
    # What a dead load wrote and no other states is retired by whatever is loaded next.
    kill_at(graph.settings, "Writing SIGNALS_TO 50", new)
    assert len(stored(graph)[1]) > 199
    assert undisturbed(graph, old) == before


def test_a_killed_bulk_import_is_finished_by_the_next_load(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, old: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Graph, "is_local", property(lambda self: False))
        wanted = undisturbed(graph, old)
    graph.write("MATCH (n) DETACH DELETE n")
    for moment in ("Bulk import", "Constraints and indexes 5", "after _record"):
        kill_at(graph.settings, moment, old)
        reconnect(graph)
        assert graph.rows("MATCH (n:Entity) RETURN count(n) AS n")[0]["n"] in (0, 200)
    assert undisturbed(graph, old) == wanted
    assert graph_release(graph)
    assert not list(graph.settings.home.glob(".import-*"))
    left = [p for folder in ("stated", "ledgers") for p in (graph.settings.home / folder).glob(".*")]
    assert left == []
