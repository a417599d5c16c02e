"""The canned questions on the real demo graph: each explains itself, runs, and knows what is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tosg_graph.graph import Graph
from tosg_graph.query import CannedQuery, list_canned, run
from tosg_graph.read_guard import check_reads_only

ROOT = Path(__file__).parent.parent
CANNED = list_canned()
each = pytest.mark.parametrize("canned", CANNED, ids=lambda c: c.name)


def test_there_are_at_least_ten() -> None:
    assert len(CANNED) >= 10


@each
def test_each_explains_itself(canned: CannedQuery) -> None:
    assert canned.title.endswith("?")
    assert canned.description.endswith(".")
    assert all(p.meaning for p in canned.parameters)
    body = "\n".join(line for line in canned.statement.splitlines() if not line.startswith("//"))
    assert set(re.findall(r"\$(\w+)", body)) == {p.name for p in canned.parameters}
    assert set(canned.example) <= {p.name for p in canned.parameters}
    assert "ORDER BY" in body  # the same answer every time


@each
def test_each_example_returns_rows(demo_graph: Graph, canned: CannedQuery) -> None:
    assert check_reads_only(demo_graph, canned.statement, {p.name: None for p in canned.parameters})
    found = run(demo_graph, canned.name, canned.example)
    assert len(found) > 0
    assert found.equals(run(demo_graph, canned.name, canned.example))


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


def test_the_docs_list_exactly_these() -> None:
    text = (ROOT / "docs" / "query.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (.+?) \| (.*?) \|$", text, re.MULTILINE)
    expected = [(c.name, c.title, c.signature and f"`{c.signature}`") for c in CANNED]
    assert listed == expected
