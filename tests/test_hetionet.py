"""Hetionet's JSON, by hand in the exact format."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from loaders import hetionet
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed


def edge(left: tuple[str, Any], kind: str, right: tuple[str, Any], **data: Any) -> dict[str, Any]:
    direction = "forward" if kind == "regulates" else "both"
    return {
        "source_id": list(left),
        "target_id": list(right),
        "kind": kind,
        "direction": direction,
        "data": data,
    }


GENE, OTHER, DRUG, DISEASE = ("Gene", 9021), ("Gene", 5345), ("Compound", "DB00014"), ("Disease", "DOID:263")
GRAPH: dict[str, Any] = {
    "metanode_kinds": ["Gene"],
    "metaedge_tuples": [["Gene", "Gene", "regulates", "forward"]],
    "kind_to_abbrev": {"Gene": "G"},
    "nodes": [
        {"kind": "Gene", "identifier": 9021, "name": "SOCS3", "data": {"description": "suppressor"}},
        {"kind": "Gene", "identifier": 5345, "name": "SERPINF2", "data": {}},
        {
            "kind": "Compound",
            "identifier": "DB00014",
            "name": "Goserelin",
            "data": {"license": "CC BY-NC 4.0"},
        },
        {"kind": "Disease", "identifier": "DOID:263", "name": "kidney cancer", "data": {}},
        {"kind": "Pathway", "identifier": "WP100_r74146", "name": "Glutathione", "data": {}},
        {"kind": "Pathway", "identifier": "PC7_10442", "name": "mRNA", "data": {}},
        {"kind": "Side Effect", "identifier": "C0023448", "name": "Lymphocytic leukaemia", "data": {}},
        {"kind": "Symptom", "identifier": "D020150", "name": "Chorea", "data": {}},
        {"kind": "Pharmacologic Class", "identifier": "N0000175503", "name": "Sulfonamide", "data": {}},
    ],
    "edges": [
        edge(GENE, "regulates", OTHER, subtypes=["knockdown downregulates"]),
        edge(OTHER, "interacts", GENE),
        edge(GENE, "participates", ("Pathway", "WP100_r74146")),
        edge(DRUG, "treats", DISEASE),
        edge(DRUG, "binds", GENE, pubmed_ids=[2, 1]),
        edge(DRUG, "upregulates", GENE),
        edge(DRUG, "downregulates", GENE),
        edge(DRUG, "causes", ("Side Effect", "C0023448")),
        edge(("Pharmacologic Class", "N0000175503"), "includes", DRUG),
    ],
}


def parse(folder: Path, content: Any = GRAPH) -> Parsed:
    path = folder / "hetionet-v1.0.json.bz2"
    path.write_bytes(bz2.compress(json.dumps(content).encode()))
    return hetionet.parse({"graph": path})


def rows(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    tables = (*parsed.nodes, *parsed.edges)
    found: list[dict[str, Any]] = next(t for t in tables if t.name == name).data.to_pylist()
    return found


def test_every_node_and_edge_is_loaded_or_rejected(tmp_path: Path) -> None:
    parsed = parse(tmp_path)
    contract.check(parsed)
    assert sum(t.read for t in parsed.nodes) == len(GRAPH["nodes"])
    assert sum(t.read for t in parsed.edges) == len(GRAPH["edges"])
    rejects = [(r.row, r.value) for t in (*parsed.nodes, *parsed.edges) for r in t.rejects]
    assert rejects == [(9, "PharmacologicClass:N0000175503"), (9, "PharmacologicClass:N0000175503")]


def test_ids_are_curies(tmp_path: Path) -> None:
    parsed = parse(tmp_path)
    assert [row["id"] for row in rows(parsed, "gene")] == ["NCBIGene:5345", "NCBIGene:9021"]
    assert [row["id"] for row in rows(parsed, "pathway")] == [
        "PATHWAYCOMMONS:PC7_10442",
        "WIKIPATHWAYS:WP100",
    ]
    assert [row["id"] for row in rows(parsed, "phenotype")] == ["MESH:D020150", "UMLS:C0023448"]
    assert rows(parsed, "gene")[1]["symbol"] == "SOCS3"


def test_kinds_become_verbs_and_two_kinds_of_one_pair_stay_two(tmp_path: Path) -> None:
    parsed = parse(tmp_path)
    assert rows(parsed, "gene-signals_to-gene")[0]["subject"] == "NCBIGene:9021"
    assert rows(parsed, "drug-targets-gene")[0]["publications"] == ["PMID:1", "PMID:2"]
    assert rows(parsed, "drug-indicated_for-disease")[0]["kind"] == "treats"
    both = [row["relation"] for row in rows(parsed, "drug-associated_with-gene")]
    assert both == ["downregulates", "upregulates"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="has no 'edges'"):
        parse(tmp_path, {"nodes": []})
    pointer = tmp_path / "hetionet.json.bz2"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(LoadError, match="Git LFS"):
        hetionet.parse({"graph": pointer})
