"""Which node a CURIE names, and the key of a relationship."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import ids
from tosg_graph.ids import IdResolver, edge_key, edge_keys, fulltext_term
from tosg_graph.types import NodeTable


def table(
    label: str, ids: list[str], xrefs: list[list[str] | None] | None = None, source: str = "s"
) -> NodeTable:
    data = {"id": ids, "name": ids} | ({"xrefs": pa.array(xrefs, pa.list_(pa.string()))} if xrefs else {})
    return NodeTable(source, "t", label, pa.table(data), len(ids))


def resolve(resolver: IdResolver, label: str, curies: list[str]) -> tuple[list[str | None], dict[str, str]]:
    found, reasons = resolver.resolve(label, pa.chunked_array([curies[:1], curies[1:]], pa.string()))
    return found.to_pylist(), reasons


GENES = table(
    "Gene", ["HGNC:1", "HGNC:2", "HGNC:3"], [["NCBIGene:11", "ENSEMBL:E"], ["NCBIGene:12", "ENSEMBL:E"], None]
)


def test_exact_id_then_unique_xref_then_a_reason() -> None:
    curies = ["NCBIGene:12", "HGNC:3", "ENSEMBL:E", "HGNC:9", "NCBIGene:11", "HGNC:3"]
    found, reasons = resolve(IdResolver([GENES]), "Gene", curies)
    assert found == ["HGNC:2", "HGNC:3", None, None, "HGNC:1", "HGNC:3"]
    assert reasons == {"ENSEMBL:E": "ambiguous id (2 candidates)", "HGNC:9": "unknown id"}


def test_an_id_wins_over_an_xref_of_another_node() -> None:
    nodes = table("Gene", ["HGNC:1", "HGNC:2"], [["HGNC:2"], None])
    assert resolve(IdResolver([nodes]), "Gene", ["HGNC:2"]) == (["HGNC:2"], {})


def test_only_nodes_of_the_label_count() -> None:
    proteins = table("Protein", ["UniProtKB:P1"], [["NCBIGene:11"]])
    resolver = IdResolver([GENES, proteins])
    assert resolve(resolver, "Protein", ["NCBIGene:11", "HGNC:1"])[0] == ["UniProtKB:P1", None]
    assert resolve(resolver, "Gene", ["NCBIGene:11"])[0] == ["HGNC:1"]


def test_the_same_node_in_two_tables_is_one_candidate() -> None:
    again = table("Gene", ["HGNC:1"], [["NCBIGene:11"]], source="other")
    assert resolve(IdResolver([GENES, again]), "Gene", ["NCBIGene:11"]) == (["HGNC:1"], {})


def test_the_database_is_asked_only_for_what_no_table_has_as_id() -> None:
    asked: list[tuple[str, list[str]]] = []

    def lookup(label: str, curies: Sequence[str]) -> list[tuple[str, str]]:
        asked.append((label, sorted(curies)))
        stored = [
            ("HGNC:7", "HGNC:7"),
            ("NCBIGene:11", "HGNC:8"),
            ("NCBIGene:17", "HGNC:7"),
            ("NCBIGene:12", "HGNC:2"),
        ]
        return [pair for pair in stored if pair[0] in curies]

    curies = ["HGNC:1", "HGNC:7", "NCBIGene:11", "NCBIGene:12", "NCBIGene:17"]
    resolver = IdResolver([GENES], lookup)
    found, reasons = resolve(resolver, "Gene", curies)
    assert found == ["HGNC:1", "HGNC:7", None, "HGNC:2", "HGNC:7"]
    assert reasons == {"NCBIGene:11": "ambiguous id (2 candidates)"}
    assert asked == [("Gene", ["HGNC:7", "NCBIGene:11", "NCBIGene:12", "NCBIGene:17"])]
    assert resolve(resolver, "Gene", ["HGNC:7", "NCBIGene:99"])[0] == ["HGNC:7", None]
    assert asked[1:] == [("Gene", ["NCBIGene:99"])]


def test_nothing_to_resolve() -> None:
    assert resolve(IdResolver([GENES]), "Gene", []) == ([], {})


def test_each_of_half_a_million_endpoints_is_its_own() -> None:
    n = 50_000
    nodes = table("Gene", [f"HGNC:{i}" for i in range(n)], [[f"NCBIGene:{i}"] for i in range(n)])
    curies = pa.chunked_array([[f"NCBIGene:{i % n}" for i in range(500_000)]])
    found, reasons = IdResolver([nodes]).resolve("Gene", curies)
    assert not reasons
    assert found.to_pylist() == [f"HGNC:{i % n}" for i in range(500_000)]


def test_edge_keys_are_pinned() -> None:
    """A changed formula would orphan every stored relationship."""
    assert edge_key("HGNC:1", "SIGNALS_TO", "HGNC:2", "signor") == 3077474200618283899
    assert edge_key("HGNC:2", "SIGNALS_TO", "HGNC:1", "signor") == -2991672619948916068


@given(st.lists(st.text(max_size=40)), st.integers(0, 3))
def test_texts_are_hashed_as_the_formula_says(texts: list[str], skipped: int) -> None:
    def mixed(z: int) -> int:
        z = (z + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    def hashed(text: str) -> int:
        characters = text.encode()
        found = len(characters)
        for start in range(0, len(characters), 8):
            found = mixed(found ^ int.from_bytes(characters[start : start + 8], "little"))
        return found

    given_ones = pa.array(texts, pa.string()).slice(skipped)  # an array that begins within its buffers
    assert ids._hashes_of(given_ones).tolist() == [hashed(text) for text in texts[skipped:]]


def test_edge_keys_of_many_are_those_of_each() -> None:
    keys = edge_keys(
        "IS_A", *(pa.array(v).dictionary_encode() for v in (["A:1", "A:2"], ["A:3", "A:3"], ["x", "x"]))
    )
    assert keys.dtype == np.int64
    assert keys.tolist() == [edge_key("A:1", "IS_A", "A:3", "x"), edge_key("A:2", "IS_A", "A:3", "x")]


def test_two_relations_of_one_pair_have_two_keys_and_none_leaves_the_key_as_it_was() -> None:
    ends = [pa.array(v).dictionary_encode() for v in (["A:1"] * 3, ["A:2"] * 3, ["x"] * 3)]
    relations = pa.array(["causes", None, "resembles"]).dictionary_encode()
    keys = edge_keys("ASSOCIATED_WITH", *ends, relations).tolist()
    assert len(set(keys)) == 3
    assert keys[1] == edge_key("A:1", "ASSOCIATED_WITH", "A:2", "x")
    assert keys[2] == edge_key("A:1", "ASSOCIATED_WITH", "A:2", "x", "resembles")


def test_full_text_terms_are_quoted() -> None:
    assert fulltext_term('A:b "c" \\ d') == '"A:b \\"c\\" \\\\ d"'
