"""Findings in the graph: written, asked, removed, and in nobody's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import planted_bundle as planted
import pyarrow as pa
import pytest
from test_load import edges, nodes, source
from test_signal_compare import PLAN, counts, sites

from tosg_graph import browser, gds
from tosg_graph.dump import dump
from tosg_graph.errors import QueryError, SignalError
from tosg_graph.graph import Graph
from tosg_graph.graph_counts import stored_counts
from tosg_graph.load import load
from tosg_graph.query import list_canned, run
from tosg_graph.release import graph_release
from tosg_graph.search import neighbourhood
from tosg_graph.selection import select
from tosg_graph.signal_comparison import Comparison, compare
from tosg_graph.signal_graph import remove, runs, write, write_comparison
from tosg_graph.types import Parsed

IDS = [planted.gene(k) for k in range(planted.GENES)]
PATHWAYS = [f"WIKIPATHWAYS:WP{k}" for k in range(planted.PATHWAYS)]
FOUND = "MATCH ()-[f:SIGNAL_FOUND]->() "


def tables(genes: int = planted.GENES, signs: int | None = None) -> Any:
    """The graph that the planted bundle is of; ``genes`` of them."""
    known = nodes("toy", "Gene", id=IDS[:genes], name=[f"G{k}" for k in range(genes)], symbol=IDS[:genes])
    named = nodes("toy", "Pathway", id=PATHWAYS, name=[f"Pathway <{k}>" for k in range(planted.PATHWAYS)])
    steps = [(k, k + 1) for k in range(genes - 1) if (k + 1) % 10]
    signals = edges(
        "toy",
        ("Gene", "SIGNALS_TO", "Gene"),
        subject=[IDS[a] for a, _ in steps],
        object=[IDS[b] for _, b in steps],
        sign=pa.array([(-1) ** a for a, _ in steps], pa.int64()),
    )
    members = edges(
        "toy",
        ("Gene", "PARTICIPATES_IN", "Pathway"),
        subject=IDS[:genes],
        object=[PATHWAYS[k // 10] for k in range(genes)],
    )
    return [(source("toy"), Parsed((known, named), (signals, members)))]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("signal_graph") / "bundle"
    planted.write(folder, counts(), site=sites())
    return compare(folder, PLAN, "site")


@pytest.fixture
def world(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    load(graph, tables())
    return graph


def state(graph: Graph) -> Any:
    """All that knowledge is made of, and what leads where."""
    untyped = select(graph, "MATCH (n:Gene {id: 'HGNC:03'})-[r]-(m)-[s]-(o) RETURN n, r, m, s, o")
    induced = select(graph, "MATCH (n:Gene) RETURN n", induce=True)
    selected = [[t.to_pylist() for t in (s.nodes, *s.edges.values())] for s in (untyped, induced)]
    ways = graph.rows(
        "MATCH p = shortestPath((a {id: 'HGNC:00'})-[*]-(b {id: 'HGNC:09'})) RETURN length(p) AS n"
    )
    near = neighbourhood(graph, ["HGNC:03"]).to_pylist()
    asked = [run(graph, "who_states", {"entity": "HGNC:03"}).to_pylist()]
    return selected, ways, near, asked, stored_counts(graph), graph_release(graph)


def everything(graph: Graph) -> Any:
    found = graph.rows(FOUND + "RETURN elementId(f) AS id, properties(f) AS said ORDER BY id")
    return found, graph.rows("MATCH (r:Run) RETURN elementId(r) AS id, properties(r) AS said ORDER BY id")


def test_findings_are_written_once_asked_drawn_and_in_nobodys_way(world: Graph, compared: Comparison) -> None:
    found = compared.groups["skin"]
    before = state(world)
    written = write(world, found)
    tests = found.about["tests"]
    assert written.counts == {what: tests[what]["found"] for what in ("nodes", "pathways", "edges")}
    assert min(written.counts.values()) > 0
    assert (written.unknown, written.again) == (0, False)
    assert written.notes[0].startswith("the bundle is of release toy, the graph is ")
    assert state(world) == before
    assert sum(x.created + x.updated + x.retired for x in load(world, tables())) == 0

    kept = everything(world)
    assert write(world, found).again
    assert everything(world) == kept
    [listed] = runs(world).to_pylist()
    assert (listed["run"], listed["state"]) == (found.run_id, "complete")
    assert listed["compares"] == "group = case against control, site = skin"
    assert len(gds.runs(world)) == 0

    rows = run(world, "signal_subgraph").to_pylist()
    assert [row["kind"] for row in rows] == sorted(
        (row["kind"] for row in rows), key=["pathway", "edge", "node"].index
    )
    top = found.pathways.to_pylist()[0]
    assert (rows[0]["source"], rows[0]["leading"], rows[0]["q"]) == (top["id"], top["leading"], top["q"])
    edge = next(row for row in rows if row["kind"] == "edge")
    assert (edge["verb"], edge["sign"]) == ("SIGNALS_TO", (-1) ** int(edge["source"][-2:]))
    assert len(run(world, "signal_runs_of_entity", {"entity": "HGNC:03"})) == 3
    canned = {c.name: c for c in list_canned()}
    drawn = world.rows(browser.drawn(canned["signal_subgraph"]))
    types = {r.type for row in drawn for r in row["relationships"]}
    assert types == {"SIGNAL_FOUND", "SIGNALS_TO", "PARTICIPATES_IN"}
    others = world.rows(browser.drawn(canned["gene_pathways"]).replace('"STAT1"', '"HGNC:03"'))
    assert {r.type for row in others for r in row["relationships"]} == {"PARTICIPATES_IN"}
    picked = select(world, "MATCH (a)-[f:SIGNAL_FOUND {kind: 'edge'}]->(b) RETURN a, b", induce=True)
    assert {verb for _, verb, _ in picked.edges} == {"SIGNALS_TO"}
    with pytest.raises(QueryError, match="findings of runs"):
        select(world, FOUND + "RETURN f")

    with pytest.raises(SignalError, match="Did you mean"):
        remove(world, found.run_id[:-1])
    assert remove(world, found.run_id) == listed["there"]
    assert everything(world) == ([], [])
    assert state(world) == before


def test_a_load_that_retires_a_gene_takes_its_findings_along(
    world: Graph, compared: Comparison, tmp_path: Path
) -> None:
    write(world, compared.groups["skin"])
    there = runs(world)["there"][0].as_py()
    lines = load(world, tables(5))  # genes 5 and up, and all edges at them, are stated no more
    assert sum(line.retired for line in lines) == 35 + 35 + 32
    assert len(world.rows("MATCH (n:Retired) RETURN n")) == 35
    [listed] = runs(world).to_pylist()
    assert 0 < listed["there"] < there
    assert listed["state"] == "some of what it found was retired"
    assert dump(world, tmp_path / "dump").other_relationships == listed["there"]
    load(world, tables())
    assert not write(world, compared.groups["skin"]).again
    assert runs(world)["there"].to_pylist() == [there]


def test_what_the_graph_lacks_is_refused_or_counted_and_a_broken_run_is_mended(
    world: Graph, compared: Comparison
) -> None:
    found = compared.groups["gut"]
    world.write("MATCH (g:Gene {id: 'HGNC:05'}) DETACH DELETE g")
    world.write("MATCH (:Gene {id: 'HGNC:01'})-[r:SIGNALS_TO]->() DELETE r")
    with pytest.raises(
        SignalError, match=r"4 of \d+ findings are about what the graph lacks \(such as HGNC:05, HGNC:01"
    ):
        write(world, found)
    assert everything(world) == ([], [])
    written = write(world, found, skip_unknown=True)
    assert written.unknown == 4  # the gene, both edges at it, and the edge that nobody states
    assert runs(world)["there"][0].as_py() == sum(written.counts.values())

    whole = everything(world)
    world.write(FOUND + "WITH f ORDER BY elementId(f) LIMIT 5 DELETE f")
    world.write("MATCH (r:Run) SET r.complete = false")
    assert runs(world)["state"].to_pylist() == ["incomplete: write it again, or remove it"]
    assert len(run(world, "signal_subgraph")) == 0
    assert not write(world, found, skip_unknown=True).again
    mended = everything(world)
    assert [row["said"] for row in mended[1]] == [row["said"] for row in whole[1]]
    assert len(mended[0]) == len(whole[0])


def test_a_comparison_ties_the_runs_of_its_groups(world: Graph, compared: Comparison) -> None:
    alone = write(world, compared.groups["eye"])
    write_comparison(world, compared)
    kept = everything(world)
    assert write_comparison(world, compared).again
    assert everything(world) == kept
    assert runs(world)["kind"].to_pylist() == ["signal", "signal", "signal", "comparison"]

    rows = run(world, "signal_comparison", {"sharing": "shared"}).to_pylist()
    genes = [row for row in rows if row["kind"] == "node"]
    assert {row["source"] for row in genes} == {planted.gene(k) for k in planted.PLANTED}
    assert genes[0]["groups"] == ["eye", "gut", "skin"]
    assert [text.split(":")[0] for text in genes[0]["differences"]] == ["eye", "gut", "skin"]
    specific = run(world, "signal_comparison", {"sharing": "specific"}).to_pylist()
    assert {row["source"] for row in specific if row["kind"] == "node"} == {
        planted.gene(k) for k in range(10, 20)
    }
    canned = next(c for c in list_canned() if c.name == "signal_comparison")
    assert world.rows(browser.drawn(canned))

    with pytest.raises(SignalError, match=f"is a group of {compared.run_id}"):
        remove(world, compared.groups["skin"].run_id)
    remove(world, compared.run_id)
    assert runs(world)["run"].to_pylist() == [alone.run]  # it was there before
