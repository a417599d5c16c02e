"""One entity per thing in the real server, in whatever order its sources come."""

from __future__ import annotations

from typing import Any

import pytest

from tosg_graph.errors import LedgerError
from tosg_graph.graph import Graph
from tosg_graph.identity import STORED
from tosg_graph.ledger import SAME_ENTITY, read_merges
from tosg_graph.load import graph_release, load
from tosg_graph.platform import Platform
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Parsed, Source

pytestmark = pytest.mark.server

Tables = list[tuple[Source, Parsed]]


def source(key: str, *nodes: NodeTable, edges: tuple[EdgeTable, ...] = ()) -> Tables:
    return [(Source(key, key, "1", "CC0-1.0", "https://example.org", 0.0, {}), Parsed(nodes, edges))]


def genes(key: str, rows: dict[str, list[str]]) -> NodeTable:
    import pyarrow as pa

    xrefs = pa.array(rows.values(), pa.list_(pa.string()))
    names = [f"{i}@{key}" for i in rows]
    data = pa.table({"id": list(rows), "name": names, "symbol": names})
    return NodeTable(key, "genes", "Gene", data.append_column("xrefs", xrefs), len(rows))


def signals(key: str, *pairs: tuple[str, str]) -> EdgeTable:
    import pyarrow as pa

    columns = {"subject": [s for s, _ in pairs], "object": [o for _, o in pairs], "sign": [1] * len(pairs)}
    return EdgeTable(key, "signals", "Gene", "SIGNALS_TO", "Gene", pa.table(columns), len(pairs))


HGNC = source("hgnc", genes("hgnc", {f"HGNC:{i}": [f"NCBIGene:{i}", "ENSEMBL:two"] for i in (1, 2, 3)}))
HETIONET = source(
    "hetionet",
    genes("hetionet", {"NCBIGene:1": [], "NCBIGene:2": [], "NCBIGene:9": [], "ENSEMBL:two": []}),
    edges=(signals("hetionet", ("NCBIGene:1", "NCBIGene:2"), ("NCBIGene:2", "NCBIGene:9")),),
)
OTHER = source("other", edges=(signals("other", ("NCBIGene:2", "NCBIGene:1"), ("NCBIGene:9", "NCBIGene:1")),))


@pytest.fixture
def upserting(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    return graph


def stored(graph: Graph) -> tuple[Any, Any]:
    nodes = graph.rows(
        "MATCH (n:Entity) RETURN n.id AS id, labels(n) AS l, n.name AS n, n.xrefs AS x, n.sources AS s, n.text AS t "
        "ORDER BY id"
    )
    edges = graph.rows(
        "MATCH (a)-[r]->(b) RETURN a.id AS a, b.id AS b, r.source AS s, r.edge_key AS k ORDER BY a, b, s"
    )
    return nodes, edges


def merges(graph: Graph) -> list[dict[str, Any]]:
    return [dict(row) for row in read_merges(graph.settings.ledgers, graph_release(graph)).to_pylist()]


def total(lines: list[LedgerLine], name: str) -> int:
    return sum(getattr(line, name) for line in lines)


def test_every_order_of_sources_ends_in_the_same_graph(upserting: Graph) -> None:
    lines = load(upserting, [*HGNC, *HETIONET, *OTHER])
    together = stored(upserting)
    assert [row["id"] for row in together[0]] == ["ENSEMBL:two", "HGNC:1", "HGNC:2", "HGNC:3", "NCBIGene:9"]
    assert [(row["a"], row["b"], row["s"]) for row in together[1]] == [
        ("HGNC:1", "HGNC:2", "hetionet"),
        ("HGNC:2", "HGNC:1", "other"),
        ("HGNC:2", "NCBIGene:9", "hetionet"),
        ("NCBIGene:9", "HGNC:1", "other"),
    ]
    assert lines[1].reasons == {
        SAME_ENTITY: 2,
        "kept apart: several entities have this id as xref": 1,
        **{"conflicting name, first kept": 2, "conflicting symbol, first kept": 2},
    }
    assert (lines[1].loaded, lines[1].merged) == (2, 2)
    kept = read_merges(upserting.settings.ledgers, graph_release(upserting), ambiguous=True).to_pylist()
    assert [(row["id"], row["candidates"]) for row in kept] == [
        ("ENSEMBL:two", ["HGNC:1", "HGNC:2", "HGNC:3"])
    ]
    with Platform(upserting.settings) as p:
        assert p.merges(ambiguous=True).to_pylist() == kept
        assert p.merges(graph_release(upserting))["reason"].to_pylist().count(SAME_ENTITY) == 2
        with pytest.raises(LedgerError, match="'f00' has no ledger"):
            p.merges("f00")

    upserting.write("MATCH (n) DETACH DELETE n")
    for one in (HGNC, HETIONET, OTHER):
        load(upserting, one)
    assert stored(upserting) == together

    upserting.write("MATCH (n) DETACH DELETE n")
    for one in (HETIONET, OTHER):
        load(upserting, one)
    assert len(stored(upserting)[0]) == 4
    load(upserting, HGNC)
    there = [row for row in merges(upserting) if row["reason"] == STORED]
    assert [(row["source"], row["id"], row["entity"]) for row in there] == [
        ("hetionet", "NCBIGene:1", "HGNC:1"),
        ("hetionet", "NCBIGene:2", "HGNC:2"),
    ]
    assert len(stored(upserting)[0]) == 7  # nothing moves by itself
    again = load(upserting, HETIONET)
    assert total(again, "created") == 2  # its relationships
    assert total(again, "retired") == 2  # and those that led to the old nodes
    held = upserting.rows("MATCH (n:Entity) WHERE n.sources = [] RETURN n.id AS id ORDER BY id")
    assert [row["id"] for row in held] == ["NCBIGene:1", "NCBIGene:2"]  # `other` still leads to them
    last = load(upserting, OTHER)
    assert (total(last, "created"), total(last, "retired")) == (2, 4)
    assert stored(upserting) == together
    assert [row for row in merges(upserting) if row["reason"] == STORED] == []
    retired = upserting.rows("MATCH (n:Retired) RETURN n.id AS id ORDER BY id")
    assert [row["id"] for row in retired] == ["NCBIGene:1", "NCBIGene:2"]
