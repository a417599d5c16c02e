"""OptimusKG's Parquet files, by hand in the exact format: combined with JSON, per type with structs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loaders import optimuskg
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, Parsed

NODES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "ENSG00000146648",
        "GEN",
        {"symbol": "EGFR", "name": "epidermal growth factor receptor", "biotype": "coding"},
    ),
    ("ENSG00000141510", "GEN", {"symbol": "TP53", "synonyms": [{"label": "p53", "source": "HGNC"}]}),
    ("DB00317", "DRG", {"name": "Gefitinib", "synonyms": ["Iressa"]}),
    ("CHEMBL25", "DRG", {"name": "ASPIRIN"}),
    (
        "MONDO_0005233",
        "DIS",
        {"name": "lung carcinoma", "description": "of the lung", "exact_synonyms": ["NSCLC"]},
    ),
    ("MONDO:0005148", "DIS", {"name": "type 2 diabetes mellitus"}),
    ("EFO_0000305", "DIS", {"name": "breast carcinoma"}),
    ("HP_0000002", "PHE", {"name": "Abnormality of body height"}),
    ("HP_0000002", "DIS", {"name": "not a disease"}),
    ("UBERON_0000002", "ANA", {"name": "cervix", "definition": "Lower part."}),
    ("CL_0000540", "ANA", {"name": "neuron"}),
    ("GO_0007173", "BPO", {"name": "EGFR signaling pathway"}),
    ("R-HSA-177929", "PWY", {"name": "Signaling by EGFR"}),
    ("D001151", "EXP", {"name": "Arsenic"}),
]
EDGES: list[tuple[str, str, str, str, list[str]]] = [
    ("ENSG00000146648", "ENSG00000141510", "GEN-GEN", "INTERACTS_WITH", ["BIOGRID", "INTACT"]),
    ("DB00317", "ENSG00000146648", "DRG-GEN", "INHIBITOR", ["OPEN_TARGETS"]),
    ("DB00317", "ENSG00000141510", "DRG-GEN", "CARRIER", ["DRUG_BANK"]),
    ("DB00317", "MONDO_0005233", "DRG-DIS", "INDICATION", []),
    ("CHEMBL25", "MONDO_0005233", "DRG-DIS", "CONTRAINDICATION", ["DRUG_CENTRAL"]),
    ("UBERON_0000002", "ENSG00000146648", "ANA-GEN", "EXPRESSION_ABSENT", ["BGEE"]),
    ("CL_0000540", "ENSG00000146648", "ANA-GEN", "EXPRESSION_PRESENT", ["BGEE"]),
    ("GO_0007173", "ENSG00000146648", "BPO-GEN", "INTERACTS_WITH", ["GO"]),
    ("R-HSA-177929", "ENSG00000146648", "PWY-GEN", "INTERACTS_WITH", ["REACTOME"]),
    ("MONDO:0005148", "EFO_0000305", "DIS-DIS", "PARENT", ["OPEN_TARGETS"]),
    ("MONDO_0005233", "HP_0000002", "DIS-PHE", "PHENOTYPE_PRESENT", ["HPO"]),
    ("D001151", "ENSG99999999999", "EXP-GEN", "INTERACTS_WITH", ["CTD"]),
    ("HP_0000002", "ENSG00000146648", "DIS-GEN", "ASSOCIATED_WITH", ["CTD"]),
]


def sources(direct: list[str]) -> dict[str, Any]:
    return {"sources": {"direct": direct, "indirect": ["X"]}, "score": 0.5}


def combined(folder: Path) -> dict[str, Path]:
    texts = [json.dumps(said) for _, _, said in NODES]
    ids, kinds = ([row[k] for row in NODES] for k in (0, 1))
    pq.write_table(pa.table({"id": ids, "label": kinds, "properties": texts}), folder / "nodes.parquet")
    left, right, label, relation = ([row[k] for row in EDGES] for k in range(4))
    said = [json.dumps(sources(row[4]), separators=(",", ":")) for row in EDGES]
    columns = {"from": left, "to": right, "label": label, "relation": relation}
    columns |= {"undirected": [False] * len(EDGES), "properties": said}
    pq.write_table(pa.table(columns), folder / "edges.parquet")
    return {"nodes": folder / "nodes.parquet", "edges": folder / "edges.parquet"}


def by_type(folder: Path) -> dict[str, Path]:
    """One file per type, with properties of that type's own fields."""
    for name in ("nodes", "edges"):
        (folder / name).mkdir()
    for kind in {row[1] for row in NODES}:
        rows = [{"id": i, "label": k, "properties": said} for i, k, said in NODES if k == kind]
        if kind == "GEN":
            rows[0]["properties"] = {**NODES[0][2], "synonyms": []}
        name = "gene" if kind == "GEN" else kind.lower()
        pq.write_table(pa.Table.from_pylist(rows), folder / "nodes" / f"{name}.parquet")
    names = ("from", "to", "label", "relation")
    for label in {row[2] for row in EDGES}:
        rows = [
            {**dict(zip(names, row[:4], strict=True)), "undirected": False, "properties": sources(row[4])}
            for row in EDGES
            if row[2] == label
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "edges" / f"{label.lower()}.parquet")
    return {"by_type": folder / "nodes" / "gene.parquet"}


def edges(parsed: Parsed, name: str) -> EdgeTable:
    return next(t for t in parsed.edges if t.name.startswith(name))


@pytest.fixture
def parsed(tmp_path: Path) -> Parsed:
    return optimuskg.parse(combined(tmp_path))


def test_both_spellings_of_ids_become_curies(parsed: Parsed) -> None:
    contract.check(parsed)
    ids = {t.label: t.data["id"].to_pylist() for t in parsed.nodes if t.rejects == ()}
    assert ids["Disease"] == ["EFO:0000305", "MONDO:0005148", "MONDO:0005233"]
    assert ids["Drug"] == ["CHEMBL.COMPOUND:CHEMBL25", "DRUGBANK:DB00317"]
    assert (ids["Organ"], ids["CellType"]) == (["UBERON:0000002"], ["CL:0000540"])
    assert (ids["Gene"][1], ids["Exposure"]) == ("ENSEMBL:ENSG00000146648", ["MESH:D001151"])
    assert ids["Pathway"] == ["REACT:R-HSA-177929"]
    rejects = [(r.row, r.value, r.reason) for t in parsed.nodes for r in t.rejects]
    assert (9, "DIS / HP_0000002", "no id of Disease") in rejects


def test_names_and_synonyms_are_read_in_either_form(parsed: Parsed) -> None:
    genes = next(t for t in parsed.nodes if t.label == "Gene").data.to_pylist()
    assert (genes[1]["symbol"], genes[1]["full_name"]) == ("EGFR", "epidermal growth factor receptor")
    assert (genes[0]["name"], genes[0]["synonyms"]) == ("TP53", ["p53"])
    drugs = next(t for t in parsed.nodes if t.label == "Drug").data.to_pylist()
    assert drugs[1]["synonyms"] == ["Iressa"]


def test_one_statement_per_direct_resource(parsed: Parsed) -> None:
    contract.check(parsed)
    pairs = edges(parsed, "GEN-GEN").data.to_pylist()
    assert [row["source"] for row in pairs] == ["BIOGRID", "INTACT"]
    assert edges(parsed, "DRG-DIS / INDICATION").data["source"].to_pylist() == ["optimuskg"]
    assert sum(t.read for t in parsed.edges) == len(EDGES) + 1


def test_verbs_direction_and_negation(parsed: Parsed) -> None:
    target = edges(parsed, "DRG-GEN / INHIBITOR")
    assert (target.verb, target.data.to_pylist()[0]["action"]) == ("TARGETS", "inhibitor")
    assert edges(parsed, "DRG-GEN / CARRIER").verb == "ASSOCIATED_WITH"
    process = edges(parsed, "BPO-GEN")
    assert (process.subject_label, process.verb, process.object_label) == (
        "Gene",
        "INVOLVED_IN",
        "BiologicalProcess",
    )
    assert edges(parsed, "PWY-GEN").verb == "PARTICIPATES_IN"
    child = edges(parsed, "DIS-DIS").data.to_pylist()[0]
    assert (child["subject"], child["object"]) == ("EFO:0000305", "MONDO:0005148")
    negated = [t.name.split(": ")[0] for t in parsed.edges if "negated" in t.data.column_names]
    assert sorted(negated) == ["ANA-GEN / EXPRESSION_ABSENT", "DRG-DIS / CONTRAINDICATION"]
    assert edges(parsed, "DRG-DIS / CONTRAINDICATION").verb == "ASSOCIATED_WITH"


def test_an_edge_without_its_nodes_is_rejected_by_row(parsed: Parsed) -> None:
    rejects = edges(parsed, "statements not loaded").rejects.to_pylist()
    assert [(r["row"], r["column"], r["value"]) for r in rejects] == [
        (13, "subject", "DIS / HP_0000002"),
        (12, "object", "GEN / ENSG99999999999"),
    ]


def test_files_per_type_give_the_same(tmp_path: Path, parsed: Parsed) -> None:
    apart = optimuskg.parse(by_type(tmp_path))
    contract.check(apart)
    mine = {t.name: t.data.to_pylist() for t in (*parsed.nodes, *parsed.edges)}
    theirs = {t.name: t.data.to_pylist() for t in (*apart.nodes, *apart.edges)}
    assert theirs == mine


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="give the folder that holds them"):
        optimuskg.parse({"nodes": tmp_path / "nodes.parquet"})
    paths = combined(tmp_path)
    paths["nodes"].write_bytes(b"PAR1 no")
    with pytest.raises(LoadError, match=r"nodes\.parquet: cannot be read as Parquet"):
        optimuskg.parse(paths)
    pq.write_table(pa.table({"id": ["a"]}), paths["nodes"])
    with pytest.raises(LoadError, match=r"nodes\.parquet: has no column 'label'; it has id"):
        optimuskg.parse(paths)
