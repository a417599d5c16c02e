"""The canned questions on the real demo graph: each explains itself, runs, and knows what is known."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tosg_graph.graph import Graph
from tosg_graph.query import CannedQuery, list_canned, run

ROOT = Path(__file__).parent.parent
CANNED = list_canned()
each = pytest.mark.parametrize("canned", CANNED, ids=lambda c: c.name)
# Nothing is found in the demo graph; tests/test_signal_graph.py asks these.
KNOWLEDGE = [c for c in CANNED if c.topic != "findings"]
each_of_knowledge = pytest.mark.parametrize("canned", KNOWLEDGE, ids=lambda c: c.name)
TOPICS = {
    "cells",
    "diseases",
    "drugs",
    "findings",
    "functions and terms",
    "ligands and receptors",
    "pathways",
    "signaling",
    "sources",
}


def body(canned: CannedQuery) -> str:
    return "\n".join(line for line in canned.statement.splitlines() if not line.startswith("//"))


def test_there_are_at_least_thirty() -> None:
    assert len(CANNED) >= 30
    assert {c.topic for c in CANNED} == TOPICS


@each
def test_each_explains_itself(canned: CannedQuery) -> None:
    assert canned.title.endswith("?")
    assert canned.description.endswith(".")
    assert all(p.meaning for p in canned.parameters)
    assert set(re.findall(r"\$(\w+)", body(canned))) == {"sources", *(p.name for p in canned.parameters)}
    assert set(canned.example) <= {p.name for p in canned.parameters}
    assert {p.name for p in canned.parameters if p.required} <= set(canned.example)
    assert "ORDER BY" in body(canned).split("RETURN")[-1]  # the same answer every time


@each_of_knowledge
def test_every_relationship_is_asked_for_its_source(canned: CannedQuery) -> None:
    """Each is named, and its name stands in a test of `source` as often as in a pattern."""
    text = body(canned)
    assert not re.search(r"\)\s*<?--?>?\s*\(", text), "a relationship without a name"
    patterns = re.findall(r"-\[(\w*)(?::[^\]]*)?\]-", text)
    assert all(patterns), "a relationship without a name"
    tested = re.findall(
        r"all\(x IN ([^()]+) WHERE \(\$sources IS NULL OR x\.source IN \$sources\)|"
        r"\$sources IS NULL OR (\w+)\.source IN \$sources",
        text,
    )
    names = Counter(name for lists in tested for name in re.findall(r"\w+", " ".join(lists)))
    assert Counter(patterns) <= names


@each_of_knowledge
def test_each_example_returns_rows_of_the_sources_that_count(demo_graph: Graph, canned: CannedQuery) -> None:
    found = run(demo_graph, canned.name, canned.example)
    assert len(found) > 0
    # The sources that count by name: all of them give the same rows in the same order, none of them gives none.
    given = {p.name: p.default for p in canned.parameters} | canned.example
    everybody = demo_graph.rows("MATCH (s:Source) RETURN collect(s.key) AS keys")[0]["keys"]
    assert len(demo_graph.rows(canned.statement, **given, sources=[])) == 0
    again = demo_graph.rows(canned.statement, **given, sources=everybody)
    assert [list(row) for row in again] == [found.column_names] * len(found)
    for name in found.column_names:
        assert [row[name] for row in again] == found[name].to_pylist()


KNOWN: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("pathway_genes", {"pathway": "Type II interferon signaling"}, {"symbol": "IFNG", "gene": "HGNC:5438"}),
    ("gene_pathways", {"gene": "stat1"}, {"name": "Type II interferon signaling"}),
    ("shared_pathways", {"first": "STAT1", "second": "JAK1"}, {"name": "Type III interferon signaling"}),
    ("ligands_of_receptor", {"receptor": "IFNGR1"}, {"symbol": "IFNG"}),
    ("receptors_of_ligand", {"ligand": "HGNC:11892"}, {"symbol": "TNFRSF1A"}),
    (
        "ligand_receptor_in_pathway",
        {"pathway": "Type II interferon"},
        {"ligand_symbol": "IFNG", "receptor_symbol": "IFNGR1"},
    ),
    ("downstream_genes", {"gene": "IFNG", "steps": 1}, {"symbol": "IFNGR1", "steps": 1}),
    (
        "drugs_for_pathway",
        {"pathway": "interferon"},
        {"drug_name": "ruxolitinib", "symbol": "JAK1", "action": "inhibitor"},
    ),
    ("drug_target_disease", {"drug": "ivacaftor"}, {"symbol": "CFTR", "disease_name": "cystic fibrosis"}),
    ("genes_of_disease", {"disease": "cystic fibrosis"}, {"symbol": "CFTR"}),
    (
        "genes_in_compartment_of_pathway",
        {"pathway": "interferon"},
        {"symbol": "IFNAR1", "compartment": "GO:0005886"},
    ),
    ("cell_type_children", {"cell_type": "CL:0000084"}, {"cell_type": "CL:0000912"}),
    ("who_states", {"entity": "STAT1"}, {"verb": "ENCODES", "source": "hgnc", "licence": "CC0-1.0"}),
    ("signed_downstream", {"gene": "IFNG", "steps": 3}, {"symbol": "STAT1", "effect": "activates"}),
    ("signed_upstream", {"gene": "UniProtKB:P42224", "steps": 1}, {"symbol": "PTPN11", "effect": "inhibits"}),
    (
        "shortest_signed_path",
        {"source": "IL6", "target": "STAT3"},
        {"step": 3, "symbol": "JAK1", "target_symbol": "STAT3", "so_far": "activates"},
    ),
    ("feedback_loops", {"gene": "TP53"}, {"loop": ["TP53", "MDM2", "TP53"], "feedback": "negative"}),
    (
        "drug_path_to_disease",
        {"drug": "tofacitinib", "disease": "hepatocellular carcinoma"},
        {"symbols": ["JAK3"], "steps": 0, "effect": "inhibits"},
    ),
    (
        "complex_members",
        {"gene": "IL6ST"},
        {"complex": "COMPLEX:P08887_P40189", "members": ["IL6R", "IL6ST"], "partners": ["IL6"]},
    ),
    ("cell_types_of_gene", {"gene": "CD79A"}, {"cell_type_name": "B cell", "cells": 95}),
    ("marker_genes", {"cell_type": "B cell"}, {"symbol": "MS4A1"}),
    ("family_members", {"family": "JAK"}, {"symbol": "TYK2", "verb": "IS_A"}),
    (
        "evidence_of_edge",
        {"first": "IFNG", "second": "IFNGR1"},
        {"source": "signaling", "licence": "CC0-1.0"},
    ),
]


@pytest.mark.parametrize(("name", "parameters", "fact"), KNOWN, ids=[k[0] for k in KNOWN])
def test_what_is_known_is_among_the_rows(
    demo_graph: Graph, name: str, parameters: dict[str, Any], fact: dict[str, Any]
) -> None:
    rows = run(demo_graph, name, parameters).to_pylist()
    assert any(fact.items() <= row.items() for row in rows), rows[:3]


def test_genes_with_a_drug_are_left_out_of_those_without(demo_graph: Graph) -> None:
    found = run(
        demo_graph, "genes_of_function_without_drug", {"function": "protein tyrosine kinase activity"}
    )
    targeted = demo_graph.rows(
        "MATCH (:Drug)-[:TARGETS]->(t)<-[:ENCODES*0..1]-(g:Gene) RETURN collect(DISTINCT g.id) AS ids"
    )
    assert len(found) > 5
    assert "HGNC:6190" in targeted[0]["ids"]  # JAK1
    assert not set(found["gene"].to_pylist()) & set(targeted[0]["ids"])


def test_a_path_that_there_is_not_is_no_row_and_no_endless_search(demo_graph: Graph) -> None:
    """From the genes that signal to the most others, to one that nothing signals to, at the most steps."""
    hubs = demo_graph.rows(
        "MATCH (g:Gene)-[:ENCODES*0..1]->()-[:SIGNALS_TO|LIGAND_OF]->(to) "
        "WITH g, count(DISTINCT to) AS n ORDER BY n DESC, g.id LIMIT 3 RETURN collect(g.symbol) AS symbols"
    )
    for hub in hubs[0]["symbols"]:
        found = run(
            demo_graph, "shortest_signed_path", {"source": hub, "target": "XIST", "steps": 6}, timeout=20
        )
        assert len(found) == 0


def test_both_ends_of_a_pair_can_be_joined_with_cells(demo_graph: Graph) -> None:
    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore

    with AbundanceReader.open(AbundanceStore.open(demo_graph.settings.store)) as reader:
        rows = run(
            demo_graph,
            "ligand_receptor_genes",
            {"pathway": "T-cell receptor signaling pathway"},
            abundance=["pct"],
            by="cell_type",
            cells="cell_type = 'B cell'",
            reader=reader,
        ).to_pylist()
    assert {row["role"] for row in rows} == {"ligand", "receptor"}
    assert any(row["pct"] and row["pct"] > 10 for row in rows)


def test_the_docs_list_exactly_these() -> None:
    text = (ROOT / "docs" / "query.md").read_text(encoding="utf-8")
    listed = re.findall(r"^### (.+)$|^\| `(\w+)` \| (.+?) \| (.*?) \|$", text, re.MULTILINE)
    found, topic = [], ""
    for heading, name, title, signature in listed:
        topic = heading or topic
        if name:
            found.append((topic, name, title, signature))
    expected = [(c.topic.capitalize(), c.name, c.title, c.signature and f"`{c.signature}`") for c in CANNED]
    assert found == expected
