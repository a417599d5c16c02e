"""Terms for obs values: by label, id, synonym or a person's decision, and never by a guess."""

from __future__ import annotations

import pytest

from tosg_graph.errors import CellsError
from tosg_graph.graph import Graph
from tosg_graph.harmonise import harmonise, term_expander
from tosg_graph.terms import Terms, Vocabulary

TERMS = Terms(
    name_of={"CL:1": "T cell", "CL:2": "B cell", "CL:3": "T lymphoblast"},
    by_label={"t cell": ("CL:1",), "b cell": ("CL:2",), "t lymphoblast": ("CL:3",)},
    by_synonym={"t-lymphocyte": ("CL:1",), "blast": ("CL:2", "CL:3"), "b cell": ("CL:3",)},
)


@pytest.mark.parametrize(
    ("value", "label", "identifier", "rule", "score"),
    [
        ("T cell", "T cell", "CL:1", "label", 1.0),
        ("  t CELL ", "T cell", "CL:1", "label", 1.0),
        ("T-lymphocyte", "T cell", "CL:1", "synonym", 0.9),
        ("CL:2", "B cell", "CL:2", "id", 1.0),
        ("B cell", "B cell", "CL:2", "label", 1.0),  # a label beats a synonym
        ("blast", "unmapped", None, "ambiguous synonym: CL:2, CL:3", 0.0),
        ("T cells", "T cell", "CL:1", "fuzzy", 0.8308),  # a plural
        ("NK cells", "unmapped", None, None, 0.0),
        ("my cluster 7", "T lymphoblast", "CL:3", "curated", 1.0),
        ("unknown", None, None, None, None),
        ("NA", None, None, None, None),
        ("", None, None, None, None),
        (None, None, None, None, None),
    ],
)
def test_each_value_says_by_which_rule_it_was_mapped(value, label, identifier, rule, score) -> None:  # type: ignore[no-untyped-def]
    columns = harmonise("cell_type", [value, "T cell"], TERMS, {"my cluster 7": "CL:3"})
    row = {name: column.to_pylist()[0] for name, column in columns.items()}
    assert row == {
        "cell_type": label,
        "cell_type_id": identifier,
        "cell_type_raw": value,
        "cell_type_rule": rule,
        "cell_type_score": score,
    }


def test_a_decision_wins_over_the_look_up() -> None:
    columns = harmonise("cell_type", ["T cell"], TERMS, {"T cell": "CL:2"})
    assert columns["cell_type_id"].to_pylist() == ["CL:2"]


def test_a_decision_for_a_term_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CellsError, match="cell_type 'x' is CL:99, which is no term"):
        harmonise("cell_type", ["x"], TERMS, {"x": "CL:99"})


@pytest.fixture
def hierarchy(graph: Graph) -> Graph:
    """1 <- 2 <- 4, 1 <- 3 <- 4, 4 PART_OF 5; a loop 6 <-> 7, as bad data may have."""
    graph.write(
        "UNWIND range(1, 7) AS n "
        "CREATE (:Entity:CellType {id: 'CL:' + n, name: 'type ' + n, synonyms: ['shared', 'syn' + n]})"
    )
    graph.write(
        "UNWIND [[2, 1], [3, 1], [4, 2], [4, 3], [6, 7], [7, 6]] AS pair "
        "MATCH (a:Entity {id: 'CL:' + pair[0]}), (b:Entity {id: 'CL:' + pair[1]}) CREATE (a)-[:IS_A]->(b)"
    )
    graph.write("MATCH (a:Entity {id: 'CL:4'}), (b:Entity {id: 'CL:5'}) CREATE (a)-[:PART_OF]->(b)")
    return graph


@pytest.mark.parametrize(
    ("value", "numbers"),
    [
        ("type 1", [1, 2, 3, 4]),
        ("TYPE 2", [2, 4]),
        ("syn3", [3, 4]),
        ("CL:4", [4]),
        ("type 5", [4, 5]),
        ("type 6", [6, 7]),
        ("shared", range(1, 8)),
    ],
)
def test_a_term_means_itself_and_everything_below(hierarchy: Graph, value: str, numbers) -> None:  # type: ignore[no-untyped-def]
    assert term_expander(hierarchy)("cell_type", value) == {f"CL:{n}" for n in numbers}


def test_what_is_no_term_of_the_column_is_none(hierarchy: Graph) -> None:
    expand = term_expander(hierarchy)
    assert expand("cell_type", "type 99") is None
    assert expand("disease", "type 1") is None


def test_terms_are_read_by_label_and_synonym(hierarchy: Graph) -> None:
    terms = Vocabulary(hierarchy).terms("cell_type")
    assert terms.find("syn7") == (("CL:7",), "synonym")
    assert terms.find("shared")[0] == tuple(f"CL:{n}" for n in range(1, 8))


def test_terms_come_from_the_graph_where_it_holds_the_kind(hierarchy: Graph) -> None:
    hierarchy.write(
        "UNWIND [['EFO:0010183', 'library construction'], ['EFO:1', 'our assay'], ['EFO:2', 'a disease'], "
        "['PATO:0000461', 'normal here']] AS t "
        "CREATE (:Entity:Attribute {id: t[0], name: t[1], xrefs: ['EFO:old' + t[0]]})"
    )
    hierarchy.write("MATCH (a:Entity {id: 'EFO:1'}), (b:Entity {id: 'EFO:0010183'}) CREATE (a)-[:IS_A]->(b)")
    vocabulary = Vocabulary(hierarchy)
    assert vocabulary.terms("assay").name_of == {"EFO:0010183": "library construction", "EFO:1": "our assay"}
    assert vocabulary.terms("assay").find("EFO:oldEFO:1") == (("EFO:1",), "replaced id")
    assert vocabulary.terms("disease").name_of["PATO:0000461"] == "normal here"
    assert "MONDO:0004975" in vocabulary.terms("disease").name_of  # no Disease in this graph
    assert vocabulary.terms("sex").find("female") == ((), "")  # PATO is in the graph, without it
    assert "HsapDv:0000119" in vocabulary.terms("development_stage").name_of
    assert "HsapDv:0000119" in (term_expander(hierarchy)("development_stage", "adult stage") or ())


class Diseases:
    """A graph of two diseases with their synonyms; nothing lies below them."""

    def rows(self, statement: str, **given: object) -> list[dict[str, object]]:
        if "ids" in given:
            return [{"ids": []}]
        return [
            {"id": "MONDO:1", "name": "Alzheimer disease", "synonyms": ["AD"]},
            {"id": "MONDO:2", "name": "Parkinson's disease", "synonyms": ["Parkinson's disease, late"]},
            {"id": "MONDO:3", "name": "late Parkinson disease", "synonyms": ["Parkinson disease, late"]},
        ]


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("Alzheimer's Disease", {"MONDO:1"}),
        ("alzheimer\u2019s disease", {"MONDO:1"}),
        ("Parkinson disease", {"MONDO:2"}),
        ("Parkinson disease, late", {"MONDO:3"}),  # as it stands, before anything is left out
        ("Parkinson\u2019s disease, late", {"MONDO:2", "MONDO:3"}),
        ("Alzheimers disease", None),
    ],
)
def test_a_term_is_found_with_and_without_possessives(value: str, ids: set[str] | None) -> None:
    expand = term_expander(Diseases())  # type: ignore[arg-type]
    assert expand("disease", value) == (None if ids is None else frozenset(ids))
