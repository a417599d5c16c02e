"""KGX out and in again: the same graph, with everything that KGX itself has no place for."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loaders import kgx
from tosg_graph.errors import ExportError, QueryError
from tosg_graph.graph import Graph
from tosg_graph.kgx_export import export
from tosg_graph.load import load
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Source

ODD = 'a "quoted" name; with | bars, a tab\tand\nlines, α→β, =1+1'


def source(key: str) -> Source:
    return Source(key, key, "1", "CC0-1.0", "https://example.org", 0, {}, knowledge_level="observation")


def toy() -> list[tuple[Source, Parsed]]:
    genes = pa.table(
        {
            "id": ["HGNC:1", "HGNC:2", "HGNC:3"],
            "name": ["G1", ODD, "G3"],
            "symbol": ["G1", "G2", "G3"],
            "synonyms": [["b|c", "a"], None, ["x"]],
            "xrefs": [["NCBIGene:1"], None, None],
            "description": [ODD, None, "  kept  "],
            "ensembl_id": ["ENSG1", None, None],
        }
    )
    both = {"id": ["CHEBI:7"], "name": ["both kinds"]}
    diseases = pa.table({"id": ["MONDO:5"], "name": ["five"], "licence": ["CC-BY-4.0"]})
    signals = pa.table(
        {
            "subject": ["HGNC:1", "HGNC:1", "HGNC:2"],
            "object": ["HGNC:2", "HGNC:2", "HGNC:3"],
            "sign": [1, -1, 0],
            "score": [0.125, None, 3.0],
            "resource": ["one", "two", "a|b"],
            "publications": [["PMID:2", "PMID:1"], None, None],
        }
    )
    targets = pa.table(
        {"subject": ["CHEBI:7"], "object": ["HGNC:1"], "action": ["inhibitor"], "affinity_nm": [2.5]}
    )
    about = pa.table(
        {
            "subject": ["HGNC:1", "HGNC:1", "HGNC:3"],
            "object": ["MONDO:5", "MONDO:5", "MONDO:5"],
            "relation": ["causes", "prevents", "causes"],
            "negated": [None, True, False],
        }
    )

    def nodes(label: str, data: pa.Table) -> NodeTable:
        return NodeTable("toy", label.lower(), label, data, len(data))

    def edges(left: str, verb: str, right: str, data: pa.Table) -> EdgeTable:
        return EdgeTable("toy", f"{left}-{right}", left, verb, right, data, len(data))

    return [
        (
            source("toy"),
            Parsed(
                (
                    nodes("Gene", genes),
                    nodes("Drug", pa.table(both)),
                    nodes("Metabolite", pa.table(both)),
                    nodes("Disease", diseases),
                ),
                (
                    edges("Gene", "SIGNALS_TO", "Gene", signals),
                    edges("Drug", "TARGETS", "Gene", targets),
                    edges("Gene", "ASSOCIATED_WITH", "Disease", about),
                ),
            ),
        )
    ]


def content(graph: Graph) -> tuple[list[Any], list[Any]]:
    """Everything but what a load computes: text, release, and who stated a node."""
    nodes = graph.rows(
        "MATCH (n:Entity) RETURN labels(n) AS labels, "
        "apoc.map.removeKeys(properties(n), ['text', 'text_sha', 'release', 'sources']) AS of ORDER BY n.id"
    )
    edges = graph.rows(
        "MATCH (a)-[r]->(b) WHERE a:Entity AND b:Entity "
        "RETURN a.id AS a, type(r) AS verb, b.id AS b, properties(r) AS of ORDER BY r.edge_key"
    )
    return [(sorted(n["labels"]), n["of"]) for n in nodes], edges


def empty(graph: Graph) -> None:
    with graph.driver.session() as session:
        session.run("MATCH (n) DETACH DELETE n").consume()


@pytest.fixture
def upserting(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """Without the server's restart that a bulk import costs."""
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    return graph


def test_a_graph_comes_back_equal_from_tsv_and_from_json_lines(upserting: Graph, tmp_path: Path) -> None:
    load(upserting, toy())
    before = content(upserting)
    assert (len(before[0]), len(before[1])) == (5, 7)
    for name, lines in (("tsv", False), ("jsonl", True)):
        report = export(upserting, tmp_path / name, json_lines=lines)
        assert (report.nodes, report.edges) == (5, 7)
    for name in ("tsv", "jsonl"):
        empty(upserting)
        files = {kind: tmp_path / name / f"graph_{kind}.{name}" for kind in ("nodes", "edges")}
        load(upserting, [(kgx.SOURCE, kgx.parse(files))])
        assert content(upserting) == before


def test_other_programs_find_biolink_terms_one_line_a_row_and_no_vectors(
    upserting: Graph, tmp_path: Path
) -> None:
    load(upserting, toy())
    upserting.write(
        "MATCH (n:Gene {id: 'HGNC:1'}) CALL db.create.setNodeVectorProperty(n, 'text_embedding', $v)",
        v=[0.5] * 384,
    )
    export(upserting, tmp_path / "out")
    with (tmp_path / "out/graph_nodes.tsv").open(encoding="utf-8", newline="") as file:
        nodes = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["id"] for row in nodes] == ["CHEBI:7", "HGNC:1", "HGNC:2", "HGNC:3", "MONDO:5"]
    assert nodes[0]["category"] == "biolink:Drug|biolink:SmallMolecule"
    assert nodes[4]["license"] == "CC-BY-4.0"
    assert all(row["provided_by"] == "infores:toy" for row in nodes)
    assert "text_embedding" not in (tmp_path / "out/graph_nodes.tsv").read_text(encoding="utf-8")
    with (tmp_path / "out/graph_edges.tsv").open(encoding="utf-8", newline="") as file:
        edges = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    predicates = {(row["subject"], row["object"], row["predicate"]) for row in edges}
    assert ("HGNC:1", "HGNC:2", "biolink:negatively_regulates") in predicates
    assert ("HGNC:2", "HGNC:3", "biolink:regulates") in predicates
    assert {row["negated"] for row in edges} == {"", "true", "false"}
    assert {row["knowledge_level"] for row in edges} == {"observation"}
    assert json.loads(edges[0]["tosg"])["verb"] in {"SIGNALS_TO", "TARGETS", "ASSOCIATED_WITH"}


def test_a_query_picks_what_is_written(upserting: Graph, tmp_path: Path) -> None:
    load(upserting, toy())
    report = export(
        upserting,
        tmp_path / "out",
        query="MATCH (g:Gene {id: $gene})-[r:SIGNALS_TO]->(h) RETURN g, r, h",
        parameters={"gene": "HGNC:1"},
    )
    assert (report.nodes, report.edges) == (2, 2)
    with pytest.raises(QueryError):
        export(upserting, tmp_path / "none", query="MATCH (g:Gene {id: 'HGNC:9'}) RETURN g")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_exists_is_left_alone(upserting: Graph, tmp_path: Path) -> None:
    load(upserting, toy())
    (tmp_path / "mine").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        export(upserting, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []
