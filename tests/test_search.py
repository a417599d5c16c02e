"""Search on the real demo graph: names, symbols that are stop words, meaning, and text that is only text."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from tosg_graph.contract import schema_statements
from tosg_graph.errors import QueryError
from tosg_graph.graph import Graph
from tosg_graph.release import GRAPH_FORMAT
from tosg_graph.search import did_you_mean, lucene_terms, nearest_names, neighbourhood, note, search


def hits(graph: Graph, text: str, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = search(graph, text, **options).to_pylist()
    return found


@pytest.mark.parametrize(
    ("text", "id_"),
    [
        ("WAS", "HGNC:12731"),  # a stop word of English
        ("was", "HGNC:12731"),
        ("STAT1", "HGNC:11362"),
        ("HGNC:11362", "HGNC:11362"),
        ("ENSEMBL:ENSG00000115415", "HGNC:11362"),
        ("T cell", "CL:0000084"),
        ("T-lymphocyte", "CL:0000084"),
        ("alzheimer disease", "MONDO:0004975"),
        ("ibuprofen", "CHEBI:5855"),
        ("hgnc:11362", "HGNC:11362"),  # prefixes are known in any case
        ("ENSG00000115415", "HGNC:11362"),  # an accession says whose it is
        ("P42224", "UniProtKB:P42224"),
        ("IL-6", "HGNC:6018"),  # the symbol has no hyphen
        ("TNFα", "HGNC:11892"),  # an alias, in Latin letters
        ("IFN-γ", "HGNC:5438"),
        ("TGFβ1", "HGNC:11766"),
        ("interleukin-1 beta", "UniProtKB:P01584"),
        ("NF-κB", "FPLX:NFkappaB"),
        ("OR", "FPLX:OR"),  # an operator of Lucene
        ("NOT", "HGNC:7981"),
    ],
)
def test_what_is_called_exactly_that_comes_first(demo_graph: Graph, text: str, id_: str) -> None:
    first = hits(demo_graph, text)[0]
    assert first["id"] == id_
    assert first["score"] > 0.5


def test_the_columns_are_type_id_name_and_score_best_first(demo_graph: Graph) -> None:
    found = search(demo_graph, "interferon response", limit=7)
    assert found.column_names == ["type", "id", "name", "score"]
    assert len(found) == 7
    scores = found["score"].to_pylist()
    assert scores == sorted(scores, reverse=True)
    assert sum("interferon" in name.lower() for name in found["name"].to_pylist()) >= 4


def test_one_kind_can_be_asked_for(demo_graph: Graph) -> None:
    found = hits(demo_graph, "interferon", type="Pathway")
    assert found
    assert {hit["type"] for hit in found} == {"Pathway"}


@pytest.mark.parametrize(
    "text", ["+", "AND OR NOT", "name:*", "a* -b ~2 ^3", '"', "\\", "({[", "*:*", "/.*/", "x' OR 1=1"]
)
def test_operators_are_only_text(demo_graph: Graph, text: str) -> None:
    with contextlib.suppress(QueryError):  # nothing found is an answer too
        assert len(hits(demo_graph, text)) <= 10
    assert demo_graph.rows("MATCH (g:Gene {symbol: 'STAT1'}) RETURN count(g) AS n") == [{"n": 1}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": "  "}, "1 to 1,000 characters"),
        ({"text": "x" * 1001}, "these are 1,001"),
        ({"text": "x", "type": "Pathwy"}, "Did you mean 'Pathway'?"),
    ],
)
def test_what_cannot_be_searched_is_one_line(demo_graph: Graph, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(QueryError) as refusal:
        search(demo_graph, **arguments)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_typo_is_answered_with_the_nearest_names(demo_graph: Graph) -> None:
    assert "ibuprofen" in nearest_names(demo_graph, "ibuprofn")
    with pytest.raises(QueryError, match=r"Nearest names: .*ibuprofen"):
        search(demo_graph, "ibuprofn", type="Drug")


def test_a_typo_is_noticed_also_where_another_word_is_found(demo_graph: Graph) -> None:
    found = search(demo_graph, "alzhiemer disease", type="Disease")
    assert len(found) == 10
    assert did_you_mean(found)[0] == "Alzheimer disease"
    assert did_you_mean(search(demo_graph, "alzheimer disease")) == []
    assert did_you_mean(search(demo_graph, "sugar lowering medicine target")) == []


def test_symbols_that_are_words_or_operators_are_found(graph: Graph) -> None:
    for statement in schema_statements():
        graph.write(statement)
    names = ["AND", "OR", "NOT", "IT", "WAS", "A", "TO"]
    graph.write(
        "CREATE (:Release {id: 'r', number: 1, format: $format}) WITH 1 AS one UNWIND $names AS name "
        "CREATE (:Entity:Gene {id: 'HGNC:' + name, name: name, symbol: name, text: 'Gene: ' + name})",
        names=names,
        format=GRAPH_FORMAT,
    )
    graph.rows("CALL db.awaitIndexes(60)")
    graph.write("CALL db.index.fulltext.awaitEventuallyConsistentIndexRefresh()")
    for name in names:
        for asked in (name, name.lower()):
            assert hits(graph, asked)[0]["id"] == f"HGNC:{name}"
    assert {hit["name"] for hit in hits(graph, "AND OR NOT")} == {"AND", "OR", "NOT"}


def test_few_questions_are_asked_of_the_server(demo_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = Graph.rows
    monkeypatch.setattr(Graph, "rows", lambda self, s, **given: asked.append(s) or rows(self, s, **given))
    search(demo_graph, "interferon")
    assert len(asked) <= 3


def test_words_become_quoted_terms() -> None:
    assert lucene_terms("a b") == '"a b"^4 "a" "b"'
    assert lucene_terms('x"y').endswith('"x\\"y"')
    assert lucene_terms("TNFα") == '"tnf-alpha"^4 "tnf-α"^4 "tnfalpha"^4 "TNFα"'
    assert lucene_terms("AND") == '"AND"'


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_meaning_counts_where_entities_are_embedded(demo_graph: Graph) -> None:
    from tosg_graph.embeddings import embed
    from tosg_graph.encoders import DEFAULT_ENCODER
    from tosg_graph.vector_index import graph_encoder

    text = "sugar lowering medicine target"
    query = "MATCH (p:Pathway) RETURN p ORDER BY p.id LIMIT 40"
    report = embed(demo_graph, query=query)
    assert report.entities == 40
    made_by = graph_encoder(demo_graph)
    assert made_by is not None
    assert (made_by.name, made_by.dimension) == (DEFAULT_ENCODER, 384)
    demo_graph.rows("CALL db.awaitIndexes(60)")
    embedded = set(
        demo_graph.rows("MATCH (p:Pathway) WHERE p.text_embedding IS NOT NULL RETURN collect(p.id) AS ids")[
            0
        ]["ids"]
    )
    found = {hit["id"] for hit in hits(demo_graph, text, type="Pathway", limit=100)}
    # None of them shares a word with the question; the index is approximate, so a few may be missing.
    assert len(found & embedded) > 0.8 * len(embedded)
    assert embed(demo_graph, query=query).written == 0
    demo_graph.write("MATCH (e:Encoder) SET e.imported = true")
    try:
        assert "words only" in note(search(demo_graph, "interferon"))
    finally:
        demo_graph.write("MATCH (e:Encoder) SET e.imported = false")


def test_an_empty_graph_says_what_to_load(graph: Graph) -> None:
    with pytest.raises(QueryError, match="tosg load demo"):
        search(graph, "STAT1")


# --------------------------------------------------------------------------- neighbourhood

STAT1 = "HGNC:11362"


def test_one_step_is_what_cypher_says(demo_graph: Graph) -> None:
    found = neighbourhood(demo_graph, [STAT1], cap=1_000).to_pylist()
    asked = demo_graph.rows(
        "MATCH (:Gene {id: $id})-[r]-(m:Entity) RETURN type(r) AS verb, m.id AS id, count(*) AS n", id=STAT1
    )
    assert {row["hop"] for row in found} == {1}
    assert {(row["verb"].removeprefix("<-"), row["id"]) for row in found} == {
        (r["verb"], r["id"]) for r in asked
    }
    assert sum(row["statements"] for row in found) == sum(row["n"] for row in asked)
    encodes = next(row for row in found if row["verb"] == "ENCODES")
    assert (encodes["from"], encodes["type"], encodes["id"]) == ("STAT1", "Protein", "UniProtKB:P42224")


def test_each_step_is_bounded_and_nothing_is_walked_from_twice(demo_graph: Graph) -> None:
    found = neighbourhood(demo_graph, [STAT1], hops=2, cap=3).to_pylist()
    first = [row for row in found if row["hop"] == 1]
    second = [row for row in found if row["hop"] == 2]
    assert len(first) == 3
    assert 3 <= len(second) <= 9
    assert "STAT1" not in {row["from"] for row in second}


def test_a_node_without_relationships_has_no_neighbourhood(graph: Graph) -> None:
    graph.write("CREATE (:Entity:Gene {id: 'HGNC:1', name: 'alone'})")
    assert len(neighbourhood(graph, ["HGNC:1"], hops=3)) == 0
