"""The whole graph as Parquet and back: everything that is in it, value by value, and the same bytes again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_kgx_export import toy

from tosg_graph import stated
from tosg_graph.dump import MANIFEST, DumpReport, dump
from tosg_graph.errors import BundleError, ExportError, LoadError
from tosg_graph.graph import Graph
from tosg_graph.load import load
from tosg_graph.restore import restore
from tosg_graph.types import Parsed, Source
from tosg_graph.vector_index import GraphEncoder, claim

DIMENSIONS = 5
ODD = 'a "quoted" text, with α, =1+1;\nlines\tand | bars'


def vector(number: int) -> list[float]:
    """Values that say whose they are, and that 32 bits hold as they are."""
    return np.array([number + k / 3 for k in range(DIMENSIONS)], np.float32).astype(float).tolist()


def wipe(graph: Graph) -> None:
    graph.write("MATCH (n) DETACH DELETE n")
    for folder in (graph.settings.stated, graph.settings.ledgers):
        shutil.rmtree(folder, ignore_errors=True)


def everything(graph: Graph) -> list[str]:
    """Every node and relationship with all it has, in no database's order."""
    nodes = graph.rows("MATCH (n) RETURN labels(n) AS labels, properties(n) AS has")
    edges = graph.rows(
        "MATCH (s)-[r]->(o) RETURN coalesce(s.id, s.name) AS s, type(r) AS type, coalesce(o.id, o.name) AS o, "
        "properties(r) AS has"
    )
    for row in nodes:
        row["labels"] = sorted(row["labels"])
    return sorted(json.dumps(row, sort_keys=True) for row in [*nodes, *edges])


def fill(graph: Graph) -> list[tuple[Source, Parsed]]:
    """Two releases (one gene retired), vectors, a run, and what people do by hand."""
    (source, tables), *others = toy()
    load(graph, [(source, tables), *others])
    fewer = Parsed(
        tuple(replace(t, data=t.data.slice(0, 2), read=min(2, len(t.data))) for t in tables.nodes),
        tuple(replace(t, data=t.data.slice(0, 2), read=min(2, len(t.data))) for t in tables.edges),
    )
    second = [(source, fewer), *others]
    load(graph, second)
    claim(graph, GraphEncoder("made-up", "0" * 40, DIMENSIONS), replace=False)
    ids = sorted(row["id"] for row in graph.rows("MATCH (n:Entity) RETURN n.id AS id"))
    for number, id_ in enumerate(ids[1:]):
        graph.write(
            "MATCH (n:Entity {id: $id}) CALL db.create.setNodeVectorProperty(n, 'text_embedding', $v)",
            id=id_,
            v=vector(number),
        )
    graph.write(
        """
        MATCH (a:Gene {id: 'HGNC:1'}), (b:Gene {id: 'HGNC:2'}), (d:Disease)
        SET a.annotated = 'stamp', a.pagerank_x = 0.1, a.fastrp_x = [0.5, 1.0, -2.25], a.seen = true, a.level = 3,
            a.tags = [$odd, 'b'], a.none = [], a.empty = '', b.pagerank_x = 1, b.sources = [], b.start = 'by hand',
            b:Favourite
        CREATE (note:Note {name: $odd, at: [1, 2]})-[:ABOUT {why: $odd}]->(a), (a)-[:TARGETS]->(d),
            (a)-[:PREDICTED {p: 0.25, edge_key: 'mine'}]->(b),
            (a)-[:SIGNAL_FOUND {run: 'signal_x', kind: 'pathway', q: 0.01, leading: ['HGNC:1'], groups: []}]->(a),
            (note)-[:ABOUT]->(note), (:Note {name: $odd})
        CREATE (:Run {id: 'pagerank_x', parameters: '{}', nodes: 3}),
            (:Run {id: 'comparison_x'})-[:GROUP {name: 'x'}]->(:Run {id: 'signal_x', reasons: []})
        WITH a MATCH (a)-[r:SIGNALS_TO]->() WITH r LIMIT 1 SET r.checked = true, r.sign = 'odd'
        """,
        odd=ODD,
    )
    return second


@pytest.fixture(scope="module")
def worlds(server_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The graph dumped, taken away, restored, dumped again."""
    folder = tmp_path_factory.mktemp("dumps")
    wipe(server_graph)
    loaded = fill(server_graph)
    before = everything(server_graph)
    first = dump(server_graph, folder / "first")
    wipe(server_graph)
    report = restore(server_graph, folder / "first")
    yield {
        "graph": server_graph,
        "loaded": loaded,
        "folder": folder,
        "before": before,
        "after": everything(server_graph),
        "first": first,
        "restored": report,
        "second": dump(server_graph, folder / "second"),
    }
    claim(
        server_graph, GraphEncoder("made-up", "1" * 40, 384), replace=True
    )  # the index as other tests expect it
    wipe(server_graph)


def test_the_restored_graph_is_the_same_in_every_value(worlds: dict[str, Any]) -> None:
    assert worlds["after"] == worlds["before"]
    assert any('"Retired"' in row for row in worlds["before"])
    assert any('"Favourite"' in row for row in worlds["before"])


def test_the_report_counts_what_the_database_counts(worlds: dict[str, Any]) -> None:
    first: DumpReport = worlds["first"]
    nodes = sum('"labels"' in row for row in worlds["before"])
    assert (first.entities + first.other_nodes, first.relationships + first.other_relationships) == (
        nodes,
        len(worlds["before"]) - nodes,
    )
    assert first.other_relationships == 6
    assert first.vectors == first.entities - 1
    assert worlds["restored"].restored
    assert worlds["restored"].entities == first.entities


def test_two_dumps_are_equal_byte_by_byte(worlds: dict[str, Any]) -> None:
    first, second = worlds["folder"] / "first", worlds["folder"] / "second"
    names = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert [n for n in names if (first / n).read_bytes() != (second / n).read_bytes()] == []
    assert {n.parts[0] for n in names} == {
        *(
            "dump.json",
            "edges",
            "ledgers",
            "nodes.parquet",
            "other_edges.parquet",
            "other_nodes.parquet",
            "stated",
        )
    }


def test_columns_are_typed_and_in_order(worlds: dict[str, Any]) -> None:
    nodes = pq.read_table(worlds["folder"] / "first" / "nodes.parquet")
    assert nodes["id"].to_pylist() == sorted(nodes["id"].to_pylist())
    assert str(nodes.schema.field("text_embedding").type) == "list<element: float>"
    found = dict(zip(nodes["id"].to_pylist()[1:], nodes["text_embedding"].to_pylist()[1:], strict=True))
    assert list(found.values()) == [vector(number) for number in range(len(found))]
    more = dict(zip(nodes["id"].to_pylist(), nodes["more"].to_pylist(), strict=True))
    assert json.loads(more["HGNC:2"]) == {"pagerank_x": 1, "start": "by hand"}


def test_a_second_restore_finds_it_done_and_another_graph_is_left_alone(worlds: dict[str, Any]) -> None:
    graph = worlds["graph"]
    assert not restore(graph, worlds["folder"] / "first").restored
    graph.write("CREATE (:Note {name: 'one more'})")
    before = everything(graph)
    with pytest.raises(LoadError, match=r"not empty.*TOSG_HOME"):
        restore(graph, worlds["folder"] / "first")
    assert everything(graph) == before
    graph.write("MATCH (n:Note {name: 'one more'}) DELETE n")


def test_a_dump_of_nothing_and_a_dump_over_another_are_refused(
    worlds: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="exists already"):
        dump(worlds["graph"], worlds["folder"] / "first")
    assert list(worlds["folder"].glob(".*.part")) == []


def test_a_value_that_cannot_be_held_is_named(worlds: dict[str, Any], tmp_path: Path) -> None:
    graph = worlds["graph"]
    graph.write("MATCH (n:Gene {id: 'HGNC:1'}) SET n.day = $day", day=date(2026, 1, 2))
    try:
        with pytest.raises(ExportError, match=r"HGNC:1 has day = '2026-01-02', a Date"):
            dump(graph, tmp_path / "out")
    finally:
        graph.write("MATCH (n:Gene {id: 'HGNC:1'}) REMOVE n.day")
    assert [p for p in tmp_path.iterdir() if "out" in p.name] == []


@pytest.mark.parametrize("what", ["manifest", "file", "missing", "format", "outside"])
def test_a_damaged_dump_is_refused_before_anything_is_written(
    worlds: dict[str, Any], tmp_path: Path, what: str
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(worlds["folder"] / "first", bad)
    manifest = json.loads((bad / MANIFEST).read_text())
    if what == "manifest":
        (bad / MANIFEST).write_text("{")
    elif what == "file":
        content = bytearray((bad / "nodes.parquet").read_bytes())
        content[len(content) // 2] ^= 1
        (bad / "nodes.parquet").write_bytes(content)
    elif what == "missing":
        (bad / "edges" / "TARGETS.parquet").unlink()
    elif what == "format":
        (bad / MANIFEST).write_text(json.dumps({**manifest, "dump_format": 99}))
    else:
        (bad / MANIFEST).write_text(json.dumps({**manifest, "files": {"../first/dump.json": "0"}}))
    says = {
        "manifest": "is no dump.*tosg kg dump",
        "format": "dump format 99.*reads 1",
    }.get(what, "missing or differs")
    before = everything(worlds["graph"])
    with pytest.raises(BundleError, match=says):
        restore(worlds["graph"], bad)
    assert everything(worlds["graph"]) == before


def test_the_next_load_knows_what_is_there(worlds: dict[str, Any]) -> None:
    graph = worlds["graph"]
    releases = [row["id"] for row in graph.rows("MATCH (r:Release) RETURN r.id AS id")]
    assert len(releases) == 2
    assert stated.known(graph.settings.stated, "toy", releases).last is not None
    repaired = load(graph, worlds["loaded"])  # two properties had been changed by hand
    assert sum(line.created + line.retired for line in repaired) == 0
    again = load(graph, worlds["loaded"])
    assert sum(line.created + line.updated + line.retired for line in again) == 0
