"""DrugBank ids as other sources write them, and the drug nodes they name."""

from __future__ import annotations

from pathlib import Path

from loaders.chebi import DRUGBANK_FILE, TERMS_FILE, live
from loaders.hgnc import HGNC_FILE, entries
from loaders.ontology import read_terms
from loaders.tables import Row, read_rows
from tosg_graph.types import SourceFile

# Files that a table of DrugBank ids and NCBI genes needs besides its own.
FILES: dict[str, SourceFile] = {"chebi": TERMS_FILE, "drugbank": DRUGBANK_FILE, "hgnc": HGNC_FILE}


def preferred_ids(paths: dict[str, Path]) -> dict[str, str]:
    """DrugBank id -> ChEBI id where ChEBI maps the two one to one; other drugs keep their DrugBank id."""
    terms = read_terms(paths["chebi"])
    compounds: dict[str, set[str]] = {}
    drugs: dict[str, set[str]] = {}
    for _, row in read_rows(paths["drugbank"], ["DRUGBANK_ID", "ID", "SOURCE"]):
        compound = live(terms, f"CHEBI:{row['ID']}") if row["SOURCE"] == "chebi" else None
        if compound is not None:
            compounds.setdefault(row["DRUGBANK_ID"], set()).add(compound)
            drugs.setdefault(compound, set()).add(row["DRUGBANK_ID"])
    return {
        drug: next(iter(found))
        for drug, found in compounds.items()
        if len(found) == 1 and len(drugs[min(found)]) == 1
    }


def drug_row(drugbank_id: str, name: str, preferred: dict[str, str]) -> Row:
    """Drug node of a DrugBank id."""
    curie = f"DRUGBANK:{drugbank_id}"
    drug = preferred.get(drugbank_id, curie)
    return {"id": drug, "name": name, "xrefs": [] if drug == curie else [curie]}


def human_genes(paths: dict[str, Path]) -> set[str]:
    """NCBI Gene ids of approved human genes, as text."""
    return {row["ncbi"] for _, row in entries(paths["hgnc"]) if row["status"] == "Approved"} - {""}
