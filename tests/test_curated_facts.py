"""The committed fact tables: what they are, that they are facts only, and that others know them too."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from loaders import LOADERS, hgnc, mondo
from loaders.ontology import live_terms, read_terms
from loaders.tables import read_json
from tosg_graph.downloads import fetch
from tosg_graph.resources import facts_path

if TYPE_CHECKING:
    from tosg_graph.settings import Settings

FACTS = Path(__file__).parent.parent / "loaders" / "facts"
TABLES = ["drug_targets.tsv", "gene_disease.tsv", "signaling.tsv"]
AGREEMENT = 0.95


def rows_of(name: str) -> list[dict[str, str]]:
    with facts_path(name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def gz_rows(path: Path, columns: list[str] | None = None) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, columns, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="session")
def genes(settings: Settings) -> dict[str, dict[str, Any]]:
    """Approved entries by HGNC id."""
    path = fetch(hgnc.SOURCE, settings)["entries"]
    return {row["id"]: row for _, row in hgnc.entries(path) if row["status"] == "Approved"}


def test_all_tables_stay_small() -> None:
    files = [f for f in FACTS.iterdir() if f.suffix in (".tsv", ".parquet")]
    assert len(files) == 4
    assert sum(f.stat().st_size for f in files) < 5_000_000


def test_the_readme_names_each_table_with_its_hash_and_script() -> None:
    text = (FACTS / "README.md").read_text(encoding="utf-8")
    for file in FACTS.iterdir():
        if file.suffix in (".tsv", ".parquet"):
            line = next(line for line in text.splitlines() if line.startswith(f"| `{file.name}`"))
            assert hashlib.sha256(file.read_bytes()).hexdigest() in line, file.name
            script = re.search(r"`(scripts/\w+\.py)`", line)
            assert script
            assert (FACTS.parent.parent / script[1]).is_file()


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_facts_with_a_source_each_and_no_prose(name: str) -> None:
    rows = rows_of(name)
    assert rows == sorted(rows, key=lambda r: "\t".join(r.values()))
    assert len({tuple(r.values()) for r in rows}) == len(rows)
    for row in rows:
        assert row["reference"]
        assert all(len(value) < 200 for value in row.values()), row
        assert not any(value.count(". ") for value in row.values()), row


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        (
            "drug_targets.tsv",
            r"(United States prescribing information: .+, mechanism of action|Goodman & Gilman's .+: .+)",
        ),
        ("gene_disease.tsv", r"OMIM:\d{6}"),
        ("signaling.tsv", r"WIKIPATHWAYS:WP\d+"),
    ],
)
def test_references_have_their_form(name: str, pattern: str) -> None:
    assert all(re.fullmatch(pattern, row["reference"]) for row in rows_of(name))


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("drug_targets.tsv", [("target_id", "target")]),
        ("gene_disease.tsv", [("gene_id", "gene")]),
        ("signaling.tsv", [("subject_id", "subject"), ("object_id", "object")]),
    ],
)
def test_ids_and_symbols_belong_together(
    genes: dict[str, dict[str, Any]], name: str, ends: list[tuple[str, str]]
) -> None:
    for row in rows_of(name):
        for id_, symbol in ends:
            assert genes[row[id_]]["symbol"] == row[symbol]


def test_drug_ids_and_names_belong_together(settings: Settings) -> None:
    terms = live_terms(read_terms(fetch(LOADERS["chebi"].SOURCE, settings)["terms"]))
    assert all(terms[row["drug_id"]]["label"] == row["drug"] for row in rows_of("drug_targets.tsv"))


def test_mondo_itself_maps_each_disease_to_the_cited_mim_number(settings: Settings) -> None:
    paths = fetch(mondo.SOURCE, settings)
    xrefs = mondo.disease_xrefs(read_json(paths["xrefs"]))
    terms = live_terms(read_terms(paths["terms"]))
    for row in rows_of("gene_disease.tsv"):
        assert row["reference"] in xrefs[row["disease_id"]]
        assert terms[row["disease_id"]]["label"] == row["disease"]


def test_both_genes_of_a_step_are_drawn_in_the_cited_pathway(
    settings: Settings, genes: dict[str, dict[str, Any]]
) -> None:
    given = LOADERS["wikipathways"].parse(fetch(LOADERS["wikipathways"].SOURCE, settings)).edges[0].data
    drawn = set(zip(given["subject"].to_pylist(), given["object"].to_pylist(), strict=True))
    for row in rows_of("signaling.tsv"):
        for end in ("subject_id", "object_id"):
            assert (f"NCBIGene:{genes[row[end]]['ncbi']}", row["reference"]) in drawn, row


def test_a_step_has_one_sign() -> None:
    signs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows_of("signaling.tsv"):
        signs[row["subject"], row["object"]].add(row["sign"])
    assert {s for found in signs.values() for s in found} == {"1", "-1"}
    assert [pair for pair, found in signs.items() if len(found) > 1] == []


# --------------------------------------------------------------------------- others know them too


def test_drug_targets_are_known_to_drugcentral_or_bindingdb(
    shared_data: Path, genes: dict[str, dict[str, Any]]
) -> None:
    """A row is known where DrugCentral lists the target, or BindingDB has an affinity of 1 uM or better."""
    known: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for row in gz_rows(shared_data / "kg/drugcentral/targets.tsv.gz"):
        ids[row["drugbank_name"].lower()].add(row["drugbank_id"])
        known[row["drugbank_id"]].add(row["GeneID"])
    for row in gz_rows(shared_data / "kg/bindingdb/bindings-drugbank-gene.tsv.gz"):
        ids[row["drugbank_name"].lower()].add(row["drugbank_id"])
        if float(row["affinity_nM"]) <= 1000:
            known[row["drugbank_id"]].add(row["entrez_gene"])
    rows = rows_of("drug_targets.tsv")
    missing = []
    for row in rows:
        drugs = ids[row["drug"].lower().split(" (")[0]] | {row["drugbank_id"]}
        if not any(genes[row["target_id"]]["ncbi"] in known[drug] for drug in drugs):
            missing.append((row["drug"], row["target"]))
    assert len(rows) >= 150
    assert 1 - len(missing) / len(rows) >= AGREEMENT, missing


def test_gene_disease_pairs_are_known_to_diseases(
    settings: Settings, shared_data: Path, genes: dict[str, dict[str, Any]]
) -> None:
    """A row is known where DISEASES has the gene with the disease's DOID, or with that of a direct parent.

    Parents count because the Disease Ontology of the table (2016) has fewer subtypes than MONDO has; those
    that DISEASES gives to more than 300 genes, such as "genetic disease", do not.
    """
    columns = ["ensp", "symbol", "doid", "name", "source", "evidence", "stars"]
    known: dict[str, set[str]] = defaultdict(set)
    carriers: dict[str, set[str]] = defaultdict(set)
    for row in gz_rows(shared_data / "kg/diseases/human_disease_knowledge_full.tsv.gz", columns):
        known[row["symbol"]].add(row["doid"])
        carriers[row["doid"]].add(row["symbol"])
    paths = fetch(mondo.SOURCE, settings)
    xrefs = mondo.disease_xrefs(read_json(paths["xrefs"]))
    terms = read_terms(paths["terms"])
    rows = rows_of("gene_disease.tsv")
    missing = []
    for row in rows:
        near = [row["disease_id"], *(a for a, d in terms[row["disease_id"]]["ancestors"].items() if d == 1)]
        doids = {x for term in near for x in xrefs.get(term, ()) if len(carriers[x]) <= 300}
        symbols = [row["gene"], *genes[row["gene_id"]]["previous_symbols"]]
        if not any(doids & known[symbol] for symbol in symbols):
            missing.append((row["gene"], row["disease"]))
    assert len(rows) >= 100
    assert 1 - len(missing) / len(rows) >= AGREEMENT, missing
