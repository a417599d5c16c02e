"""DRKG's table, by hand in the exact format."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders import drkg
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, Parsed

ROWS = [
    ("Gene::2157", "bioarx::HumGenHumGen:Gene:Gene", "Gene::5264"),
    ("Gene::2157", "INTACT::PHYSICAL ASSOCIATION::Gene:Gene", "Gene::5264"),
    ("Gene::2157", "Hetionet::Gr>G::Gene:Gene", "Gene::5264"),
    ("Gene::2157", "Hetionet::GpBP::Gene:Biological Process", "Biological Process::GO:0007596"),
    ("Gene::2157", "Hetionet::GpPW::Gene:Pathway", "Pathway::WP558_r83610"),
    ("Compound::DB00014", "DRUGBANK::target::Compound:Gene", "Gene::2157"),
    ("Compound::DB00014", "DRUGBANK::enzyme::Compound:Gene", "Gene::2157"),
    ("Gene::2157", "DGIDB::INHIBITOR::Gene:Compound", "Compound::CHEMBL411"),
    ("Compound::pubchem:5743", "DRUGBANK::treats::Compound:Disease", "Disease::MESH:D003924"),
    ("Compound::MESH:D003907", "GNBR::T::Compound:Disease", "Disease::DOID:9352"),
    ("Compound::DB00014", "Hetionet::CcSE::Compound:Side Effect", "Side Effect::C0000729"),
    ("Disease::DOID:9352", "Hetionet::DpS::Disease:Symptom", "Symptom::D005221"),
    ("Disease::SARS-CoV2 E", "bioarx::Covid2_acc_host_gene::Disease:Gene", "Gene::2157"),
    ("Compound::DB00014", "DRUGBANK::x-atc::Compound:Atc", "Atc::A01"),
]


def parse(folder: Path, rows: list[tuple[str, ...]]) -> Parsed:
    path = folder / "drkg.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return drkg.parse({"statements": path})


@pytest.fixture
def parsed(tmp_path: Path) -> Parsed:
    return parse(tmp_path, ROWS)


def edges(parsed: Parsed, predicate: str) -> EdgeTable:
    return next(t for t in parsed.edges if t.name.startswith(predicate))


def test_the_first_row_is_no_header_and_every_row_has_its_place(parsed: Parsed) -> None:
    contract.check(parsed)
    assert sum(t.read for t in parsed.edges) == len(ROWS)
    assert edges(parsed, "bioarx::Hum").data.to_pylist() == [
        {
            "subject": "NCBIGene:2157",
            "object": "NCBIGene:5264",
            "source": "bioarx",
            "relation": "HumGenHumGen",
        }
    ]
    rejects = edges(parsed, "statements not loaded").rejects.to_pylist()
    assert [(r["row"], r["column"], r["value"], r["reason"]) for r in rejects] == [
        (13, "subject", "Disease::SARS-CoV2 E", "subject not loaded: not an id of Disease"),
        (14, "object", "Atc::A01", "object not loaded: type 'Atc' is not in the schema"),
    ]


def test_ids_are_curies(parsed: Parsed) -> None:
    ids = {t.label: t.data["id"].to_pylist() for t in parsed.nodes if not len(t.rejects)}
    assert ids["Drug"] == [
        "CHEMBL.COMPOUND:CHEMBL411",
        "DRUGBANK:DB00014",
        "MESH:D003907",
        "PUBCHEM.COMPOUND:5743",
    ]
    assert ids["Disease"] == ["DOID:9352", "MESH:D003924"]
    assert ids["Phenotype"] == ["MESH:D005221", "UMLS:C0000729"]
    assert (ids["Pathway"], ids["BiologicalProcess"]) == (["WIKIPATHWAYS:WP558"], ["GO:0007596"])


def test_relations_become_verbs_and_keep_their_resource(parsed: Parsed) -> None:
    verbs = {
        t.name.split("::")[1].split(":")[0]: (t.subject_label, t.verb) for t in parsed.edges if "::" in t.name
    }
    assert verbs["PHYSICAL ASSOCIATION"] == ("Gene", "INTERACTS_WITH")
    assert verbs["Gr>G"] == ("Gene", "SIGNALS_TO")
    assert (verbs["GpBP"][1], verbs["GpPW"][1]) == ("INVOLVED_IN", "PARTICIPATES_IN")
    assert (verbs["target"], verbs["enzyme"][1]) == (("Drug", "TARGETS"), "ASSOCIATED_WITH")
    assert verbs["INHIBITOR"] == ("Drug", "TARGETS")
    assert (verbs["treats"][1], verbs["T"][1]) == ("INDICATED_FOR", "ASSOCIATED_WITH")
    inhibitor = edges(parsed, "DGIDB").data.to_pylist()[0]
    assert (inhibitor["subject"], inhibitor["action"], inhibitor["source"]) == (
        "CHEMBL.COMPOUND:CHEMBL411",
        "inhibitor",
        "DGIDB",
    )


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"drkg\.tsv: after row 0 the file cannot be read \(2 fields, not 3"):
        parse(tmp_path, [("Gene::1", "a")])
