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


def compounds_by_drug(paths: dict[str, Path]) -> dict[str, dict[str, str]]:
    """DrugBank id -> name in lower case -> ChEBI id, of the compounds that ChEBI maps to this drug alone."""
    terms = read_terms(paths["chebi"])
    drugs: dict[str, set[str]] = {}
    for _, row in read_rows(paths["drugbank"], ["DRUGBANK_ID", "ID", "SOURCE"]):
        compound = live(terms, f"CHEBI:{row['ID']}") if row["SOURCE"] == "chebi" else None
        if compound is not None:
            drugs.setdefault(compound, set()).add(row["DRUGBANK_ID"])
    found: dict[str, dict[str, str]] = {}
    for compound, mapped in sorted(drugs.items()):
        if len(mapped) == 1:
            found.setdefault(min(mapped), {}).setdefault(terms[compound]["label"].lower(), compound)
    return found


def drug_row(drugbank_id: str, name: str, compounds: dict[str, dict[str, str]]) -> Row:
    """Drug node of a DrugBank id.

    It is a ChEBI compound where ChEBI maps exactly one to the drug, or one of several has the drug's name
    (the others are salts); otherwise it keeps its DrugBank id.
    """
    curie = f"DRUGBANK:{drugbank_id}"
    named = compounds.get(drugbank_id, {})
    drug = next(iter(named.values())) if len(named) == 1 else named.get(name.lower(), curie)
    return {"id": drug, "name": name, "xrefs": [] if drug == curie else [curie]}


def human_genes(paths: dict[str, Path]) -> set[str]:
    """NCBI Gene ids of approved human genes, as text."""
    return {row["ncbi"] for _, row in entries(paths["hgnc"]) if row["status"] == "Approved"} - {""}
