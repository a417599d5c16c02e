"""PrimeKG's CSV, by hand in the exact format: one row each way for each relation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders import primekg
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, Parsed

Node = tuple[str, str, str, str]  # id, type, name, source
EGFR: Node = ("1956", "gene/protein", "EGFR", "NCBI")
GENE2: Node = ("2", "gene/protein", "A2M", "NCBI")
ORGAN2: Node = ("2", "anatomy", "cervix", "UBERON")
SIGN2: Node = ("2", "effect/phenotype", "Abnormality of body height", "HPO")
GEFITINIB: Node = ("DB00317", "drug", "Gefitinib", "DrugBank")
ASPIRIN: Node = ("DB00945", "drug", "Acetylsalicylic acid", "DrugBank")
LUNG: Node = ("5233", "disease", "non-small cell lung carcinoma, familial", "MONDO")
GROUP: Node = ("14383_24531", "disease", "osteogenesis imperfecta", "MONDO_grouped")
PROCESS: Node = ("7173", "biological_process", "EGFR signaling pathway", "GO")
PATHWAY: Node = ("R-HSA-177929", "pathway", "Signaling by EGFR", "REACTOME")
EXPOSURE: Node = ("C006780", "exposure", "bisphenol A", "CTD")
NODES = [EGFR, GENE2, ORGAN2, SIGN2, GEFITINIB, ASPIRIN, LUNG, GROUP, PROCESS, PATHWAY, EXPOSURE]

RELATIONS: list[tuple[str, str, Node, Node]] = [
    ("protein_protein", "ppi", EGFR, GENE2),
    ("drug_protein", "target", EGFR, GEFITINIB),
    ("drug_protein", "carrier", GEFITINIB, GENE2),
    ("drug_protein", "enzyme", GEFITINIB, GENE2),
    ("indication", "indication", GEFITINIB, LUNG),
    ("contraindication", "contraindication", ASPIRIN, LUNG),
    ("off-label use", "off-label use", ASPIRIN, GROUP),
    ("disease_phenotype_negative", "phenotype absent", LUNG, SIGN2),
    ("disease_phenotype_positive", "phenotype present", GROUP, SIGN2),
    ("anatomy_protein_absent", "expression absent", EGFR, ORGAN2),
    ("anatomy_protein_present", "expression present", ORGAN2, GENE2),
    ("bioprocess_protein", "interacts with", PROCESS, EGFR),
    ("pathway_protein", "interacts with", PATHWAY, EGFR),
    ("disease_disease", "parent-child", GROUP, LUNG),
    ("exposure_protein", "interacts with", EXPOSURE, EGFR),
]
HEADER = "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source"


def line(relation: str, shown: str, left: Node, right: Node) -> str:
    ends = []
    for node in (left, right):
        name = f'"{node[2]}"' if "," in node[2] else node[2]
        ends.append(f"{NODES.index(node) if node in NODES else 99},{node[0]},{node[1]},{name},{node[3]}")
    return f"{relation},{shown},{ends[0]},{ends[1]}"


def both_ways(relations: list[tuple[str, str, Node, Node]]) -> list[str]:
    return [line(*r) for r in relations] + [line(r, s, right, left) for r, s, left, right in relations]


def parse(folder: Path, lines: list[str]) -> Parsed:
    path = folder / "kg.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    return primekg.parse({"kg": path})


def table(parsed: Parsed, name: str) -> EdgeTable:
    return next(t for t in parsed.edges if t.name == name)


def rows(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table(parsed, name).data.to_pylist()
    return found


@pytest.fixture
def parsed(tmp_path: Path) -> Parsed:
    return parse(tmp_path, both_ways(RELATIONS))


def test_a_relation_that_stands_both_ways_is_stored_once(parsed: Parsed) -> None:
    contract.check(parsed)
    assert sum(t.read for t in parsed.edges) == 2 * len(RELATIONS)
    assert sum(len(t.data) for t in parsed.edges) == sum(t.merged for t in parsed.edges) == len(RELATIONS)
    assert not any("one direction" in t.name for t in parsed.edges)


def test_the_number_2_is_three_things_and_ontology_ids_are_padded(parsed: Parsed) -> None:
    ids = {t.label: t.data["id"].to_pylist() for t in parsed.nodes}
    assert ids["Gene"] == ["NCBIGene:1956", "NCBIGene:2"]
    assert (ids["Organ"], ids["Phenotype"]) == (["UBERON:0000002"], ["HP:0000002"])
    assert (ids["BiologicalProcess"], ids["Pathway"]) == (["GO:0007173"], ["REACT:R-HSA-177929"])
    assert ids["Exposure"] == ["MESH:C006780"]


def test_a_group_of_diseases_is_one_node_that_claims_none_of_their_ids(parsed: Parsed) -> None:
    diseases = next(t for t in parsed.nodes if t.label == "Disease").data.to_pylist()
    assert [(row["id"], row["xrefs"]) for row in diseases] == [
        ("MONDO:0005233", None),
        ("PRIMEKG:14383_24531", ["MONDO:0014383", "MONDO:0024531"]),
    ]
    assert diseases[0]["name"] == "non-small cell lung carcinoma, familial"


def test_verbs_get_their_direction_from_the_types(parsed: Parsed) -> None:
    targets = table(parsed, "drug_protein / target: Gene-Drug")
    assert (targets.subject_label, targets.verb, targets.object_label) == ("Drug", "TARGETS", "Gene")
    assert targets.data.to_pylist() == [{"subject": "DRUGBANK:DB00317", "object": "NCBIGene:1956"}]
    others = [t for t in parsed.edges if t.name.startswith("drug_protein") and t is not targets]
    assert sorted(t.data["relation"][0].as_py() for t in others) == ["carrier", "enzyme"]
    assert {t.verb for t in others} == {"ASSOCIATED_WITH"}
    process = next(t for t in parsed.edges if t.name.startswith("bioprocess"))
    assert (process.subject_label, process.verb) == ("Gene", "INVOLVED_IN")
    assert process.data["evidence"].to_pylist() == [["not_provided"]]


def test_negative_evidence_is_negated_and_never_a_treatment(parsed: Parsed) -> None:
    negated = {t.data["relation"][0].as_py() for t in parsed.edges if "negated" in t.data.column_names}
    assert negated == {"contraindication", "disease_phenotype_negative", "anatomy_protein_absent"}
    treatments = [row for t in parsed.edges if t.verb == "INDICATED_FOR" for row in t.data.to_pylist()]
    assert [(row["subject"], row["object"], row["kind"]) for row in treatments] == [
        ("DRUGBANK:DB00317", "MONDO:0005233", "indication"),
        ("DRUGBANK:DB00945", "PRIMEKG:14383_24531", "off-label use"),
    ]


def test_a_row_without_its_opposite_is_kept_and_shown(tmp_path: Path) -> None:
    lines = [line("protein_protein", "ppi", GENE2, EGFR), line("protein_protein", "ppi", GENE2, EGFR)]
    parsed = parse(tmp_path, [*lines, line("protein_protein", "ppi", EGFR, ("9", *GENE2[1:]))])
    only = table(parsed, "protein_protein / ppi: Gene-Gene (one direction only)")
    assert (only.read, len(only.data), only.merged) == (3, 2, 1)
    assert sorted(only.rows.to_pylist()) == [1, 3]
    assert len(parsed.edges) == 1


def test_an_unknown_type_or_id_is_rejected_with_its_rows(tmp_path: Path) -> None:
    odd: Node = ("x1", "cell line", "HeLa", "Cellosaurus")
    bad: Node = ("not a number", "disease", "?", "MONDO")
    parsed = parse(tmp_path, both_ways([("a_b", "c", odd, EGFR), ("d_e", "f", EGFR, bad)]))
    contract.check(parsed)
    assert [(r.value.split("::")[2], r.reason) for r in parsed.nodes[-1].rejects] == [
        ("x1", "type 'cell line' is not in the schema"),
        ("not a number", "not an id of source 'MONDO'"),
    ]
    lost = table(parsed, "statements not loaded")
    found = {(r["row"], r["column"]) for r in lost.rejects.to_pylist()}
    assert found == {(1, "subject"), (2, "object"), (3, "object"), (4, "subject")}


def test_nodes_and_edges_apart_give_the_same(tmp_path: Path, parsed: Parsed) -> None:
    nodes, edges = tmp_path / "nodes.csv", tmp_path / "edges.csv"
    listed = [f'{n},{i},{kind},"{name}",{source}' for n, (i, kind, name, source) in enumerate(NODES)]
    nodes.write_text("\n".join(["node_index,node_id,node_type,node_name,node_source", *listed]) + "\n")
    pairs = [(r, s, NODES.index(a), NODES.index(b)) for r, s, a, b in RELATIONS]
    lines = [f"{r},{s},{a},{b}\n{r},{s},{b},{a}" for r, s, a, b in pairs]
    edges.write_text("\n".join(["relation,display_relation,x_index,y_index", *lines]) + "\n")
    apart = primekg.parse({"nodes": nodes, "edges": edges})
    mine = {t.name: t.data.to_pylist() for t in (*parsed.nodes, *parsed.edges)}
    assert {t.name: t.data.to_pylist() for t in (*apart.nodes, *apart.edges)} == mine


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"give kg\.csv"):
        primekg.parse({"nodes": tmp_path / "nodes.csv"})
    path = tmp_path / "kg.csv"
    path.write_text("relation,display_relation,x_index\n", encoding="utf-8")
    with pytest.raises(LoadError, match="no column 'x_source'"):
        primekg.parse({"kg": path})
