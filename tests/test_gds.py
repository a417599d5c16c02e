"""Graph algorithms on the real server: values that are known, runs that replace each other, loads undisturbed."""

from __future__ import annotations

import signal
import threading
from typing import Any

import networkx as nx
import numpy as np
import pytest
from click.testing import CliRunner
from test_load import nodes, source

from tosg_graph import features, gds
from tosg_graph.cli import main
from tosg_graph.errors import ExportError, GdsError
from tosg_graph.gds import ALGORITHMS, PREFIX, projections, remove, run, runs
from tosg_graph.graph import Graph
from tosg_graph.load import load
from tosg_graph.resources import schema
from tosg_graph.types import EdgeTable, Parsed

# Two triangles joined by 3 -> 4 and 6 -> 1: every node leads on, so PageRank has no dead ends to spread.
EDGES = [(1, 2), (2, 3), (3, 1), (3, 4), (4, 5), (5, 6), (6, 4), (6, 1)]
IDS = [f"HGNC:{i}" for i in range(1, 8)]  # HGNC:7 is alone


def tables() -> Any:
    import pyarrow as pa

    genes = nodes(
        "hgnc", "Gene", id=IDS, name=[f"G{i}" for i in range(1, 8)], symbol=[f"G{i}" for i in range(1, 8)]
    )
    pairs = pa.table(
        {
            "subject": [f"HGNC:{a}" for a, _ in EDGES],
            "object": [f"HGNC:{b}" for _, b in EDGES],
            "sign": [1] * len(EDGES),
        }
    )
    signals = EdgeTable("sig", "signals_to", "Gene", "SIGNALS_TO", "Gene", pairs, len(pairs))
    return [(source("hgnc"), Parsed((genes,))), (source("sig"), Parsed((), (signals,)))]


@pytest.fixture
def world(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """The seven genes, loaded without stopping the server."""
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    load(graph, tables())
    return graph


def values(graph: Graph, name: str) -> dict[str, Any]:
    rows = graph.rows(
        "MATCH (n:Entity) WHERE n[$name] IS NOT NULL RETURN n.id AS id, n[$name] AS v", name=name
    )
    return {row["id"]: row["v"] for row in rows}


def in_memory(graph: Graph) -> list[str]:
    return [row["graphName"] for row in graph.rows("CALL gds.graph.list() YIELD graphName RETURN graphName")]


def test_projections_name_only_what_the_schema_has() -> None:
    for told in projections().values():
        assert set(told["labels"]) <= {"Entity", *schema("nodes")["labels"]}
        assert set(told["verbs"]) <= set(schema("edges")["verbs"])
        assert set(told["verbs"].values()) <= {"NATURAL", "UNDIRECTED"}
    assert set(projections()["knowledge"]["verbs"]) == set(schema("edges")["verbs"]) - {"EXPRESSED_IN"}


def test_pagerank_is_that_of_networkx_and_a_second_run_replaces_the_first(world: Graph) -> None:
    done = run(world, "pagerank", "signaling", options={"tolerance": 1e-12, "max_iterations": 500})
    expected = nx.pagerank(nx.DiGraph(EDGES), tol=1e-14, max_iter=1000)
    found = values(world, "gds_pagerank_signaling")
    # OpenGDS starts each node with 1 - d and not with (1 - d) / n.
    assert {i: found[f"HGNC:{i}"] / 6 for i in range(1, 7)} == pytest.approx(expected, abs=1e-9)
    assert found["HGNC:7"] == pytest.approx(0.15)
    best = max(expected, key=lambda i: expected[i])
    assert done.top["id"][0].as_py() == f"HGNC:{best}"
    assert done.top["type"].to_pylist() == ["Gene"] * 7
    assert (done.nodes, done.relationships) == (7, 8)
    [listed] = runs(world).to_pylist()
    assert (listed["run"], listed["algorithm"], listed["nodes"]) == ("pagerank_signaling", "pagerank", 7)
    assert '"max_iterations": 500' in listed["parameters"]

    world.write("MATCH (n:Entity {id: 'HGNC:1'}) SET n.gds_pagerank_signaling = 99.0")
    run(world, "pagerank", "signaling", options={"tolerance": 1e-12, "max_iterations": 500})
    assert values(world, "gds_pagerank_signaling") == pytest.approx(found)
    assert len(runs(world)) == 1

    run(world, "degree", "interactions", name="hubs")
    assert values(world, "gds_hubs")["HGNC:3"] == 3.0
    assert remove(world, "pagerank_signaling") == 7
    assert values(world, "gds_pagerank_signaling") == {}
    assert runs(world)["run"].to_pylist() == ["hubs"]
    assert in_memory(world) == []


def test_every_algorithm_runs_and_gives_the_same_twice(world: Graph) -> None:
    small = {"embedding_dimension": 4}
    for name, algorithm in ALGORITHMS.items():
        options = small if algorithm.gives == "vector" else {}
        first = run(world, name, "interactions", options=options)
        before = values(world, first.property)
        assert len(before) == 7, name
        run(world, name, "interactions", options=options)
        assert values(world, first.property) == before, name
        if algorithm.gives == "vector":
            assert {len(v) for v in before.values()} == {4}
    groups = values(world, "gds_wcc_interactions")
    assert len({groups[i] for i in IDS[:6]}) == 1
    assert groups["HGNC:7"] != groups["HGNC:1"]
    assert in_memory(world) == []


def test_a_load_after_a_run_writes_nothing_and_keeps_the_values(world: Graph) -> None:
    run(world, "pagerank", "signaling")
    before = values(world, "gds_pagerank_signaling")
    lines = load(world, tables())  # a LedgerError would say that the counts do not add up
    assert sum(line.created + line.updated + line.retired for line in lines) == 0
    assert values(world, "gds_pagerank_signaling") == before
    assert len(runs(world)) == 1


def test_the_projection_goes_when_the_run_is_interrupted(
    world: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        assert in_memory(world) == ["tosg_pagerank_signaling"]
        raise KeyboardInterrupt

    run(world, "pagerank", "signaling")
    before = values(world, "gds_pagerank_signaling")
    monkeypatch.setattr(gds, "_forget", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(world, "pagerank", "signaling")
    assert in_memory(world) == []
    assert values(world, "gds_pagerank_signaling") == before  # it was computed before the old one is touched


def test_ctrl_c_ends_what_the_server_works_on(server_graph: Graph) -> None:
    def slow() -> object:
        return server_graph.rows(
            "UNWIND range(1, 100000000000) AS x WITH x, $graph_name AS g RETURN max(x)",
            graph_name="tosg_slow",
        )

    main_thread = threading.main_thread().ident
    assert main_thread
    press = threading.Timer(2, signal.pthread_kill, (main_thread, signal.SIGINT))
    # A shell starts a background job with Ctrl-C ignored; then this process is such a job.
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        press.start()
        with pytest.raises(KeyboardInterrupt):  # without the end on the server it would take hours
            gds._interruptible(server_graph, "tosg_slow", slow)
    finally:
        signal.signal(signal.SIGINT, outer)
    left = (
        "SHOW TRANSACTIONS YIELD parameters, status WHERE parameters.graph_name = 'tosg_slow' RETURN status"
    )
    assert [row for row in server_graph.rows(left) if row["status"] == "Running"] == []


@pytest.mark.parametrize(
    ("algorithm", "projection", "more", "message"),
    [
        ("pagerang", "signaling", {}, "Did you mean 'pagerank'?"),
        ("pagerank", "signalling", {}, "Did you mean 'signaling'?"),
        ("pagerank", "drugs", {}, "The graph has no TARGETS"),
        ("pagerank", "signaling", {"name": "Drop table"}, "is no name of a run"),
        ("pagerank", "signaling", {"options": {"dampingfactor": 0.5}}, "Did you mean 'damping_factor'?"),
        ("pagerank", "signaling", {"options": {"damping_factor": 7}}, "The server did not run it: "),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    world: Graph, algorithm: str, projection: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(GdsError) as error:
        run(world, algorithm, projection, **more)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert in_memory(world) == []
    assert len(runs(world)) == 0


def test_a_run_that_is_not_there_cannot_be_removed(world: Graph) -> None:
    run(world, "degree", "signaling")
    with pytest.raises(GdsError, match="Did you mean 'degree_signaling'"):
        remove(world, "degree_signalling")


def test_the_command_names_every_algorithm() -> None:
    said = CliRunner().invoke(main, ["gds", "--help"]).output
    assert all(name in said for name in [*ALGORITHMS, "list", "remove"])


# --------------------------------------------------------------------------- features of an export


def test_features_are_read_by_run_or_property_with_a_mask(world: Graph) -> None:
    run(world, "fastrp", "signaling", options={"embedding_dimension": 3})
    world.write("MATCH (n:Gene {id: 'HGNC:2'}) SET n.flag = true")
    found = features.node_features(world, ["HGNC:2", "HGNC:1"], ["fastrp_signaling", "flag", "flag"])
    stored = values(world, PREFIX + "fastrp_signaling")
    assert list(found) == ["fastrp_signaling", "flag"]
    assert found["fastrp_signaling"].values.tolist() == [
        pytest.approx(stored["HGNC:2"]),
        pytest.approx(stored["HGNC:1"]),
    ]
    assert found["fastrp_signaling"].values.dtype == np.float32
    assert found["flag"].values.tolist() == [[1.0], [0.0]]
    assert found["flag"].mask.tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pagerang_signaling", None, "Did you mean 'pagerank_signaling'?"),
        ("symbol", None, "'G1', which is not numeric"),
        ("text_embedding", None, "text.safetensors"),
        ("odd", [1.0, 2.0], "HGNC:2 has 2 numbers, others 1"),
        ("odd", float("inf"), "the value of HGNC:2 is not finite"),
    ],
)
def test_features_that_cannot_be_exported_are_refused(
    world: Graph, name: str, value: Any, message: str
) -> None:
    world.write("MATCH (n:Entity) SET n.gds_pagerank_signaling = 1.0")
    world.write("MATCH (n:Entity) SET n.odd = CASE n.id WHEN 'HGNC:2' THEN $value ELSE 1.0 END", value=value)
    with pytest.raises(ExportError) as error:
        features.node_features(world, IDS, [name])
    assert message in str(error.value)
