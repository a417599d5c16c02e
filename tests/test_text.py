"""The text of an entity is a function of what the node says, not of how it arrived."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.text import LISTED, MAX_CHARS, MAX_SYNONYMS, TEXT_COLUMNS, entity_text, entity_texts, text_sha

EGFR = {
    "id": "HGNC:3236",
    "labels": ["Gene"],
    "name": "EGFR",
    "symbol": "EGFR",
    "full_name": "epidermal growth factor receptor",
    "synonyms": None,
    "alias_symbols": ["NISBD2", "ERBB1"],
    "previous_symbols": ["ERBB"],
    "locus_type": "gene with protein product",
    "description": None,
}


def test_the_text_of_a_gene() -> None:
    assert entity_text(EGFR) == (
        "Gene: EGFR\n"
        "Full name: epidermal growth factor receptor\n"
        "Locus type: gene with protein product\n"
        "Synonyms: ERBB; ERBB1; NISBD2"
    )


def test_the_hash_is_pinned() -> None:
    """A changed format would make every stored embedding stale: change it on purpose only."""
    assert text_sha(entity_text(EGFR)) == "aa60e8f647dbcbe624ac5ba130121db27c1983fe45b7c84a2053997372317283"


def test_labels_come_in_schema_order_and_names_are_not_their_own_synonyms() -> None:
    node = {
        "id": "CHEBI:1",
        "labels": ["Metabolite", "Entity", "Drug"],
        "name": "x",
        "synonyms": ["x", "b", "a", "b"],
    }
    assert entity_text(node) == "Drug, Metabolite: x\nSynonyms: a; b"


def test_a_node_with_a_name_only() -> None:
    assert (
        entity_text({"id": "GO:1", "labels": ["BiologicalProcess"], "name": "growth"})
        == "BiologicalProcess: growth"
    )


@given(st.lists(st.text(min_size=1), max_size=40), st.integers())
def test_order_of_synonyms_never_matters(synonyms: list[str], seed: int) -> None:
    shuffled = random.Random(seed).sample(synonyms, len(synonyms))
    node = {"id": "GO:1", "labels": ["Organ"], "name": "n"}
    assert entity_text({**node, "synonyms": synonyms}) == entity_text({**node, "synonyms": shuffled})


@given(st.text(), st.lists(st.text()))
def test_the_length_is_bounded_and_fields_are_lines(description: str, synonyms: list[str]) -> None:
    node = {
        "id": "GO:1",
        "labels": ["Organ"],
        "name": "n",
        "description": description * 50,
        "synonyms": synonyms,
    }
    text = entity_text(node)
    assert len(text) <= MAX_CHARS
    assert all(line.startswith(("Organ: ", "Description: ", "Synonyms: ")) for line in text.split("\n"))


def test_composed_and_decomposed_letters_give_one_text() -> None:
    composed, decomposed = (
        {"id": "GO:1", "labels": ["Disease"], "name": n} for n in ("Sj\u00f6gren", "Sjo\u0308gren")
    )
    assert entity_text(composed) == entity_text(decomposed)


def test_long_texts_are_cut_between_words_and_synonyms_are_limited() -> None:
    node = {"id": "GO:1", "labels": ["Organ"], "name": "n", "description": "abcdefghi " * 400}
    assert entity_text(node).endswith("abcdefghi")
    many = entity_text(
        {"id": "GO:1", "labels": ["Organ"], "name": "n", "synonyms": [f"s{i:03d}" for i in range(50)]}
    )
    assert many.count(";") == MAX_SYNONYMS - 1
    assert "s019" in many
    assert "s020" not in many


VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from(" \t\n;ab"), max_size=8)
LISTS = st.lists(VALUES.filter(bool), min_size=1, max_size=30)
NODES = st.fixed_dictionaries(
    {"id": st.just("GO:1"), "labels": st.sampled_from([["Gene"], ["Metabolite", "Drug"]])}
    | {
        name: st.none() | VALUES | VALUES.map(lambda v: v * 400)
        for name in TEXT_COLUMNS
        if name not in LISTED
    }
    | {name: st.none() | LISTS for name in LISTED}
    | {"id": st.just("GO:1")}
)


def as_table(nodes: list[dict[str, Any]]) -> pa.Table:
    schema = {name: pa.list_(pa.string()) if name in LISTED else pa.string() for name in TEXT_COLUMNS}
    return pa.Table.from_pylist(nodes, pa.schema(schema | {"labels": pa.list_(pa.string())}))


@given(st.lists(NODES, max_size=6))
def test_many_texts_at_once_are_the_texts_one_by_one(nodes: list[dict[str, Any]]) -> None:
    assert entity_texts(as_table(nodes)).to_pylist() == [entity_text(node) for node in nodes]


def test_plain_nodes_take_the_fast_way_and_say_the_same() -> None:
    nodes = [
        EGFR | {"id": f"HGNC:{k}", "name": f"G{k}", "synonyms": [f"s{j}" for j in range(k % 40)] or None}
        for k in range(100)
    ]
    assert entity_texts(as_table(nodes)).to_pylist() == [entity_text(node) for node in nodes]
