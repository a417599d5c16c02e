"""What a query picks, compared with what the driver itself counts on the real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import toy_bundle

from tosg_graph import bundle, hops, pick, picked_tables
from tosg_graph.errors import QueryError
from tosg_graph.export import write_bundle
from tosg_graph.hops import Hops
from tosg_graph.licences import Allowed, Filter, restrict
from tosg_graph.named_queries import NamedQuery
from tosg_graph.pick import quote
from tosg_graph.reading import Reading
from tosg_graph.resources import schema
from tosg_graph.selection import manifest_keys, select
from tosg_graph.types import Selection

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

WORLD = """
UNWIND range(1, 6) AS k
CREATE (:Entity:Gene {id: 'HGNC:' + k, name: 'G' + k, symbol: 'G' + k, synonyms: ['a' + k, 'b'],
                      text: 'text ' + k, text_embedding: [0.1, 0.2]})
WITH count(*) AS genes
CREATE (p1:Entity:Protein {id: 'UniProtKB:P1', name: 'P1'}),
       (p2:Entity:Protein {id: 'UniProtKB:P2', name: 'P2'}),
       (w:Entity:Pathway {id: 'WIKIPATHWAYS:WP1', name: 'Interferon signaling'}),
       (e:Entity:Pathway {id: 'WIKIPATHWAYS:WP2', name: 'empty'}),
       (d:Entity:Metabolite:Drug {id: 'CHEBI:1', name: 'both'}),
       (:Source {key: 'x'})
WITH p1, p2, w, d
MATCH (a:Gene {id: 'HGNC:1'}), (b:Gene {id: 'HGNC:2'}), (c:Gene {id: 'HGNC:3'}), (f:Gene {id: 'HGNC:4'})
CREATE (a)-[:SIGNALS_TO {source: 'x', edge_key: 1, sign: 1, score: 0.5}]->(b),
       (a)-[:SIGNALS_TO {source: 'y', edge_key: 2, sign: -1}]->(b),
       (b)-[:SIGNALS_TO {source: 'x', edge_key: 3, sign: 0, score: 0.25,
                       publications: ['PMID:1', 'PMID:2']}]->(c),
       (c)-[:SIGNALS_TO {source: 'x', edge_key: 4, sign: 1, negated: true}]->(c),
       (a)-[:ENCODES {source: 'hgnc', edge_key: 5}]->(p1), (b)-[:ENCODES {source: 'hgnc', edge_key: 6}]->(p2),
       (a)-[:PARTICIPATES_IN {source: 'wp', edge_key: 7}]->(w),
       (f)-[:PARTICIPATES_IN {source: 'wp', edge_key: 8}]->(w),
       (p1)-[:SIGNALS_TO {source: 'x', edge_key: 9, sign: 1}]->(p2),
       (d)-[:TARGETS {source: 'c', edge_key: 10, action: 'inhibitor', affinity_nm: 12.5}]->(p1)
"""


@pytest.fixture
def world(graph: Graph) -> Graph:
    graph.write(WORLD)
    return graph


Edge = tuple[str, str, str, int]


def picked(found: Selection) -> tuple[list[str], list[Edge]]:
    """Ids of the nodes, and (source id, verb, target id, edge key) of the edges, sorted."""
    ids = found.nodes["id"].to_pylist()
    edges = [
        (ids[row["source_row"]], verb, ids[row["target_row"]], row["edge_key"])
        for (_, verb, _), table in found.edges.items()
        for row in table.to_pylist()
    ]
    return sorted(ids), sorted(edges)


def counted(graph: Graph, query: str, *, induce: bool = False) -> tuple[list[str], list[Edge]]:
    """The same, from whole entities that the driver returns: no code of ours but the connection."""
    with graph.driver.session() as session:
        whole = session.run(query).graph()
        nodes = {n.element_id: n["id"] for n in whole.nodes if n["id"]}
        relationships = {r.element_id: r for r in whole.relationships}
        if induce:
            among = session.run(
                "MATCH (a)-[r]->(b) WHERE elementId(a) IN $ids AND elementId(b) IN $ids RETURN a, r, b",
                ids=list(nodes),
            ).graph()
            relationships |= {r.element_id: r for r in among.relationships}
    ends = {}
    for r in relationships.values():
        if r.start_node["id"] is None:  # the driver has bare end nodes where only r was returned
            with graph.driver.session() as session:
                ends |= {
                    row["e"]: row["id"]
                    for row in session.run(
                        "MATCH (n) WHERE elementId(n) IN $e RETURN elementId(n) AS e, n.id AS id",
                        e=[r.start_node.element_id, r.end_node.element_id],
                    )
                }
    nodes |= ends
    edges = [
        (nodes[r.start_node.element_id], r.type, nodes[r.end_node.element_id], r["edge_key"])
        for r in relationships.values()
    ]
    return sorted(nodes.values()), sorted(edges)


@pytest.mark.parametrize(
    ("query", "induce", "size"),
    [
        ("MATCH (g:Gene) RETURN g", True, (6, 4)),
        ("MATCH p = (:Gene {id: 'HGNC:1'})-[:SIGNALS_TO*1..3]->(:Gene) RETURN p", False, (3, 4)),
        ("MATCH (g:Gene)-[r:ENCODES|PARTICIPATES_IN]->(x) RETURN g, r, x", False, (6, 4)),
        ("MATCH ()-[r:TARGETS|SIGNALS_TO]->() RETURN r", False, (6, 6)),
        ("MATCH (n:Entity) RETURN n", True, (11, 10)),
    ],
    ids=["nodes with induce", "paths", "different labels", "relationships alone", "everything"],
)
def test_a_selection_holds_exactly_what_the_driver_counts(
    world: Graph, query: str, induce: bool, size: tuple[int, int]
) -> None:
    found = picked(select(world, query, induce=induce))
    assert found == counted(world, query, induce=induce)
    assert tuple(map(len, found)) == size


@pytest.mark.parametrize(
    "returned",
    [
        "g, r, x",
        "[g, r, x] AS all",
        "{a: g, b: [r, {c: x}]} AS nested",
        "[[[g]], r, null, [], {k: x}] AS deep",
        "collect({p: [p, 1, 'text', date()]}) AS paths, count(*) AS n",
        "p, g.name AS `odd ``name`, 1.5 AS ratio",
        "nodes(p) AS n, relationships(p) AS r",
    ],
)
def test_graph_elements_are_found_however_nested(world: Graph, returned: str) -> None:
    query = f"MATCH p = (g:Gene)-[r:ENCODES]->(x:Protein) RETURN {returned}"
    plain = select(world, "MATCH (g:Gene)-[r:ENCODES]->(x:Protein) RETURN g, r, x")
    assert picked(select(world, query)) == picked(plain)


@pytest.mark.parametrize(
    ("query", "known"),
    [
        ("MATCH ()-[r]->() RETURN r", True),
        ("MATCH (a:Gene)-[r]-(b) RETURN a, r, b", True),  # each relationship twice, in several types
        ("MATCH (g:Gene) OPTIONAL MATCH (g)-[r:ENCODES]->(x) RETURN r, g", True),  # null beside some nodes
        ("MATCH (verb)-[items]->(v0) RETURN v0, items, verb", True),
        ("MATCH (found)-[every]->(kind) RETURN kind AS at, every, found", True),
        ("MATCH (a)-[r]->()-[s]->() RETURN r, s", False),
        ("MATCH (a)-[r]->() RETURN a, r, r.score AS score", False),
        ("MATCH ()-[r]->() RETURN r, count(*) AS n", False),
        ("MATCH p = ()-[r]->() RETURN p, r", False),
        ("MATCH ()-[r]->() UNWIND [r, 1] AS x RETURN x", False),
        ("MATCH (g:Gene) RETURN g", False),
    ],
)
def test_what_the_server_knows_of_columns_changes_nothing(
    world: Graph, monkeypatch: pytest.MonkeyPatch, query: str, known: bool
) -> None:
    columns = world.columns("EXPLAIN\n" + query).column_names
    asked = NamedQuery("query", query, {}, None)
    assert (pick._typed(world, asked, columns) is not None) is known
    typed = picked(select(world, query))
    monkeypatch.setattr(pick, "_typed", lambda *_: None)
    assert typed == picked(select(world, query))


@pytest.mark.parametrize("name", ["x", "x0", "item", "items", "kind", "i", "every", "at"])
def test_a_column_may_have_any_name_that_the_wrapper_uses(world: Graph, name: str) -> None:
    for returned in (name, f"[{name}]"):
        found = select(world, f"MATCH ({name}:Drug) WITH {name} RETURN {name}, {returned} AS kinds")
        assert found.nodes["id"].to_pylist() == ["CHEBI:1"]


def test_too_deep_nesting_is_refused_and_not_lost(world: Graph) -> None:
    with pytest.raises(QueryError, match="more than 4 levels deep"):
        select(world, "MATCH (g:Gene) RETURN [[[[[g]]]]] AS deep")


def test_nodes_are_sorted_and_edges_refer_to_their_rows(world: Graph) -> None:
    found = select(world, "MATCH (n:Entity) RETURN n", induce=True)
    keys = list(zip(found.nodes["type"].to_pylist(), found.nodes["id"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    types = found.nodes["type"].to_pylist()
    assert list(found.edges) == sorted(found.edges)
    for (source, _, target), table in found.edges.items():
        rows = table.select(["source_row", "target_row", "edge_key"]).to_pylist()
        order = [tuple(r.values()) for r in rows]
        assert order == sorted(order)
        assert all(types[r["source_row"]] == source and types[r["target_row"]] == target for r in rows)


def test_parallel_edges_loops_row_zero_and_isolated_nodes_survive(world: Graph) -> None:
    found = select(world, "MATCH (n:Entity) RETURN n", induce=True)
    ids = found.nodes["id"].to_pylist()
    signals = found.edges["Gene", "SIGNALS_TO", "Gene"].to_pylist()
    by_type = Counter(found.nodes["type"].to_pylist())
    first_gene = ids.index("HGNC:1")
    assert [r["edge_key"] for r in signals if r["source_row"] == first_gene] == [1, 2]
    assert [r["edge_key"] for r in signals if r["source_row"] == r["target_row"]] == [4]
    assert by_type == {"Gene": 6, "Protein": 2, "Pathway": 2, "Drug": 1}
    assert {"HGNC:5", "HGNC:6", "WIKIPATHWAYS:WP2"} <= set(ids)  # no relationship touches them
    assert found.edges["Drug", "TARGETS", "Protein"]["source_row"].to_pylist() == [0]  # row 0 keeps its edge


def test_properties_come_back_with_gaps_and_without_vectors(world: Graph) -> None:
    found = select(world, "MATCH (n:Entity) RETURN n", induce=True)
    assert "text_embedding" not in found.nodes.column_names
    gene = next(n for n in found.nodes.to_pylist() if n["id"] == "HGNC:3")
    assert (gene["symbol"], gene["synonyms"], gene["text"]) == ("G3", ["a3", "b"], "text 3")
    assert gene["labels"] == ["Gene"]
    drug = next(n for n in found.nodes.to_pylist() if n["id"] == "CHEBI:1")
    assert (drug["type"], drug["labels"], drug["synonyms"]) == ("Drug", ["Drug", "Metabolite"], None)
    signals = {r["edge_key"]: r for r in found.edges["Gene", "SIGNALS_TO", "Gene"].to_pylist()}
    assert [signals[k]["source"] for k in (1, 2, 3, 4)] == ["x", "y", "x", "x"]
    assert [signals[k]["sign"] for k in (1, 2, 3, 4)] == [1, -1, 0, 1]
    assert [signals[k]["score"] for k in (1, 2, 3, 4)] == [0.5, None, 0.25, None]
    assert [signals[k]["publications"] for k in (1, 2, 3, 4)] == [None, None, ["PMID:1", "PMID:2"], None]
    assert [signals[k]["negated"] for k in (1, 2, 3, 4)] == [None, None, None, True]
    target = found.edges["Drug", "TARGETS", "Protein"].to_pylist()[0]
    assert (target["action"], target["affinity_nm"]) == ("inhibitor", 12.5)


def test_what_crosses_the_wire_does_not_grow_with_the_rows(
    world: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neo4j.graph import Entity

    world.write(
        "UNWIND range(1, 600) AS k CREATE (a:Entity:Gene {id: 'HGNC:' + (1000 + k)}) WITH a, k "
        "MATCH (b:Gene {id: 'HGNC:1'}) UNWIND [1, 2, 3] AS j "
        "CREATE (a)-[:SIGNALS_TO {source: 'x', edge_key: 1000 + 3 * k + j, sign: 1, score: 0.5}]->(b)"
    )
    received: list[object] = []
    records = Reading.records

    def counting(self: Reading, *arguments: Any) -> Iterator[Any]:
        for record in records(self, *arguments):
            received.extend(record.values())
            yield record

    monkeypatch.setattr(Reading, "records", counting)
    queries = ("MATCH (a:Gene)-[r]->(b:Gene) RETURN a, r, b", "MATCH p = (:Gene)-[]->(:Gene) RETURN p")
    for query in queries:  # of relationships and of paths
        received.clear()
        found = select(world, query)
        assert sum(map(len, found.edges.values())) == 1804
        assert len(received) < 100  # flat lists and what they are of: rows would be thousands
        assert not any(isinstance(value, Entity) for value in received)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_size_of_the_chunks_leaves_no_trace(
    world: Graph, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    query = "MATCH (n:Entity) RETURN n"
    whole = select(world, query, induce=True)
    for module, name in ((hops, "HOP_CHUNK"), (hops, "CHUNK"), (pick, "CHUNK"), (picked_tables, "CHUNK")):
        monkeypatch.setattr(module, name, size)
    monkeypatch.setattr(picked_tables, "NODE_CHUNK", size)
    parts = select(world, query, induce=True)
    assert parts.nodes.equals(whole.nodes)
    assert list(parts.edges) == list(whole.edges)
    assert all(parts.edges[key].equals(whole.edges[key]) for key in whole.edges)


def test_parameters_reach_the_query(world: Graph) -> None:
    found = select(world, "MATCH (g:Gene) WHERE g.id IN $ids RETURN g;", {"ids": ["HGNC:2", "HGNC:5"]})
    assert found.nodes["id"].to_pylist() == ["HGNC:2", "HGNC:5"]
    assert found.parameters == {"ids": ["HGNC:2", "HGNC:5"]}


def test_a_trailing_comment_does_not_swallow_the_wrapper(world: Graph) -> None:
    found = select(world, "MATCH (g:Gene) RETURN g // all of them")
    assert len(found.nodes) == 6


# --------------------------------------------------------------------------- several queries, canned ones, hops


def test_the_union_of_named_queries_says_which_picked_what(world: Graph, tmp_path: Path) -> None:
    found = select(
        world,
        {
            "genes": "MATCH (g:Gene) WHERE g.id IN $ids RETURN g",
            "drugs": "MATCH (:Drug)-[r:TARGETS]->() RETURN r",
        },
        {"genes.ids": ["HGNC:1", "HGNC:2"]},
        induce=["SIGNALS_TO"],
    )
    ids = found.nodes["id"].to_pylist()
    assert ids == ["CHEBI:1", "HGNC:1", "HGNC:2", "UniProtKB:P1"]
    assert found.nodes["picked_by_genes"].to_pylist() == [False, True, True, False]
    assert found.nodes["picked_by_drugs"].to_pylist() == [True, False, False, True]
    signals = found.edges["Gene", "SIGNALS_TO", "Gene"]
    assert signals["edge_key"].to_pylist() == [1, 2]  # no ENCODES, which would be among them too
    assert signals["picked_by_drugs"].to_pylist() == [False, False]
    text, mask = np.zeros((4, 4), np.float32), np.zeros(4, np.bool_)
    manifest = write_bundle(
        found,
        toy_bundle.measured(text=text, text_mask=mask),
        cohort="true",
        label="cell_type",
        out=tmp_path / "b",
    ).content
    assert set(manifest) <= set(schema("bundle")["manifest"] + schema("bundle")["optional_manifest"])
    assert [(q["name"], q["nodes"], q["edges"]) for q in manifest["queries"]] == [
        ("genes", 2, 0),
        ("drugs", 2, 1),
    ]
    assert manifest["parameters"] == {"genes": {"ids": ["HGNC:1", "HGNC:2"]}, "drugs": {}}
    assert manifest["induced_verbs"] == ["SIGNALS_TO"]
    tensors = bundle.map_tensors(tmp_path / "b" / bundle.TOPOLOGY)
    assert not [name for name in tensors if "picked_by" in name]


def test_the_query_that_picks_nothing_is_named(world: Graph) -> None:
    with pytest.raises(QueryError, match="drugs: The query matches nothing"):
        select(world, ["MATCH (g:Gene) RETURN g", "drugs=MATCH (d:Drug {name: 'x'}) RETURN d"])


def test_a_canned_question_picks_the_entities_that_it_names(world: Graph) -> None:
    found = select(world, "pathway_genes", {"pathway": "interferon"})
    assert found.nodes["id"].to_pylist() == ["HGNC:1", "HGNC:4", "WIKIPATHWAYS:WP1"]
    assert found.edges == {}
    assert found.asked["queries"][0]["saved"] == "pathway_genes"
    again = select(world, "near=pathway_genes", {"pathway": "interferon"}, induce=True)
    assert again.nodes["picked_by_near"].to_pylist() == [True, True, True]
    assert [(q["nodes"], q["edges"]) for q in manifest_keys(again)["queries"]] == [(3, 0)]
    assert picked(again)[1] == [
        ("HGNC:1", "PARTICIPATES_IN", "WIKIPATHWAYS:WP1", 7),
        ("HGNC:4", "PARTICIPATES_IN", "WIKIPATHWAYS:WP1", 8),
    ]
    with pytest.raises(QueryError, match=r"matches nothing\. Looked for 'no such pathway'"):
        select(world, "pathway_genes", {"pathway": "no such pathway"})


def test_a_filter_counts_its_own_beside_what_a_cap_left_out(world: Graph) -> None:
    world.write("MATCH (g:Gene) SET g.sources = ['x']")
    start = "MATCH (g:Gene {id: 'HGNC:1'}) RETURN g"
    found = select(world, start, hops=Hops(1, cap=1, verbs=("SIGNALS_TO",)))
    assert [entry["count"] for entry in found.left_out] == [1]  # of two parallel ones
    only_x = Allowed(Filter(("x",), None), frozenset("x"), frozenset("x"), ("x",))
    left = restrict(found, only_x)
    assert left.snapshot is None
    assert left.left_out[: len(found.left_out)] == found.left_out
    assert len(left.left_out) > len(found.left_out)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "MATCH (g:Gene) RETURN count(g) AS n",
            r"no nodes, relationships or paths, only values \(n\).*RETURN g",
        ),
        ("MATCH (g:Gene) RETURN g.name AS name", "only values"),
        ("MATCH p = (:Gene)-->() RETURN nodes(p)", "needs a name"),
        ("MATCH (s:Source) RETURN s", "picks 1 nodes with Source"),
        ("MATCH (g:Gene) RETURN g AS `a\\\\nb`", "backslash"),
        ("MATCH (g:Gene) RETURN g AS `a\\u0060b`", "escape"),
    ],
    ids=["numbers", "names", "no alias", "no type of ours", "backslash in a name", "escape in a name"],
)
def test_what_cannot_be_exported_is_refused_in_one_line(world: Graph, query: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as error:
        select(world, query)
    assert "\n" not in str(error.value)


def test_an_empty_answer_says_what_was_looked_for(world: Graph) -> None:
    query = "MATCH (p:Pathway {name: 'Intreferon signaling'}) WHERE p.id <> $other RETURN p"
    with pytest.raises(QueryError, match=r"matches nothing\. Looked for 'Intreferon signaling', 'WP9'"):
        select(world, query, {"other": "WP9"})


def test_an_empty_graph_says_what_to_load(graph: Graph) -> None:
    with pytest.raises(QueryError, match=r"nothing is loaded.*tosg load demo") as error:
        select(graph, "MATCH (g:Gene) RETURN g")
    assert "did you mean" not in str(error.value)


def test_a_name_of_the_schema_that_no_source_states_is_not_taken_for_a_typo(world: Graph) -> None:
    with pytest.raises(
        QueryError, match="no label 'Microbe', which no source that is loaded states"
    ) as error:
        select(world, "MATCH (m:Microbe) RETURN m")
    assert "did you mean" not in str(error.value)


def test_entities_of_our_labels_without_an_id_are_refused(world: Graph) -> None:
    world.write("CREATE (:Gene {name: 'stray'})")
    with pytest.raises(QueryError, match="1 picked Gene nodes have no id"):
        select(world, "MATCH (g:Gene) RETURN g")


def test_relationship_types_that_the_schema_does_not_know_are_refused(world: Graph) -> None:
    world.write("MATCH (g:Gene {id: 'HGNC:1'}) CREATE (g)-[:LIKES]->(g)")
    with pytest.raises(QueryError, match=r"1 LIKES relationships, which schema/edges[.]yaml does not know"):
        select(world, "MATCH ()-[r:LIKES]->() RETURN r")


def test_a_query_that_writes_is_refused_and_writes_nothing(world: Graph) -> None:
    with pytest.raises(QueryError):
        select(world, "CREATE (g:Gene {id: 'HGNC:9', name: 'new'}) RETURN g")
    assert world.rows("MATCH (g:Gene {id: 'HGNC:9'}) RETURN g") == []


@pytest.mark.parametrize(
    "escape",
    [
        "MATCH (g:Gene) RETURN g } MATCH (n) RETURN n //",
        "MATCH (g:Gene) RETURN g } CALL () { MATCH (n) RETURN n",
    ],
    ids=["closing brace and comment", "second subquery"],
)
def test_a_query_cannot_close_the_wrapper(world: Graph, escape: str) -> None:
    with pytest.raises(QueryError):
        select(world, escape)


# --------------------------------------------------------------------------- without a server


def test_names_are_quoted_so_that_they_stay_names() -> None:
    assert quote("g") == "`g`"
    assert quote("a`] AS x //") == "`a``] AS x //`"
    with pytest.raises(QueryError, match="backslash"):
        quote("a\\u0060b")
