"""Make the curated fact tables in ``loaders/facts`` from the hand-written lists beside this script.

``drug_targets.txt``, ``gene_disease.txt`` and ``signaling.txt`` name things as people do: drugs, symbols, MIM
numbers, pathways. This script turns the names into ids through ChEBI, HGNC, MONDO and WikiPathways, and
stops at the first name that has no id, or several. Run: ``python scripts/make_curated_facts.py``.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loaders import chebi, hgnc, mondo, wikipathways
from loaders.ontology import Terms, guide_file, live_terms, read_terms
from loaders.tables import read_json, read_rows, read_text
from tosg_graph.downloads import fetch
from tosg_graph.settings import read_settings
from tosg_graph.types import Source

HERE = Path(__file__).parent
FACTS = HERE.parent / "loaders" / "facts"
INPUTS = Source(
    key="facts",
    title="",
    version="",
    licence="",
    homepage="",
    size_mb=0,
    files={
        "hgnc": hgnc.HGNC_FILE,
        "chebi": chebi.TERMS_FILE,
        "mondo": guide_file("MONDO", "v2026-05-05"),
        "mondo_xrefs": mondo.XREF_FILE,
        "drugbank": chebi.DRUGBANK_FILE,
        "gmt": wikipathways.GMT_FILE,
    },
)
LABEL = "United States prescribing information: {drug}, mechanism of action"
TEXTBOOK = "Goodman & Gilman's The Pharmacological Basis of Therapeutics: {drug}"


def main() -> None:
    """Write the three tables."""
    paths = fetch(INPUTS, read_settings())
    genes = {row["symbol"]: row for _, row in hgnc.entries(paths["hgnc"]) if row["status"] == "Approved"}
    _write(
        "drug_targets.tsv",
        "drug_id drug drugbank_id target_id target action reference",
        _drug_targets(paths, genes),
    )
    _write(
        "gene_disease.tsv", "gene_id gene disease_id disease relation reference", _gene_disease(paths, genes)
    )
    _write(
        "signaling.tsv",
        "subject_id subject object_id object sign mechanism reference",
        _signaling(paths, genes),
    )


def _drug_targets(paths: dict[str, Path], genes: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    compounds = _by_label(read_terms(paths["chebi"]))
    drugbank: dict[str, list[str]] = defaultdict(list)
    for _, row in read_rows(paths["drugbank"], ["DRUGBANK_ID", "ID", "SOURCE"]):
        if row["SOURCE"] == "chebi":  # the other rows come from the licensed DrugBank file
            drugbank[f"CHEBI:{row['ID']}"].append(row["DRUGBANK_ID"])
    for drug, action, symbols, basis in _lines("drug_targets.txt"):
        compound = _one(compounds[drug], f"drug_targets.txt: {drug}")
        mapped = drugbank[compound][0] if len(drugbank[compound]) == 1 else ""
        reference = {"label": LABEL, "textbook": TEXTBOOK}[basis].format(drug=drug)
        for symbol in symbols.split():
            yield compound, drug, mapped, genes[symbol]["id"], symbol, action, reference


def _gene_disease(paths: dict[str, Path], genes: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    terms = live_terms(read_terms(paths["mondo"]))
    by_mim: dict[str, list[str]] = defaultdict(list)
    for disease, curies in mondo.disease_xrefs(read_json(paths["mondo_xrefs"])).items():
        for curie in curies:
            by_mim[curie].append(disease)
    for symbol, mim, known_as in _lines("gene_disease.txt"):
        disease = _one(by_mim[f"OMIM:{mim}"], f"gene_disease.txt: {mim} {known_as}")
        yield genes[symbol]["id"], symbol, disease, terms[disease]["label"], "Mendelian cause", f"OMIM:{mim}"


def _signaling(paths: dict[str, Path], genes: dict[str, dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    drawn: dict[str, set[str]] = {}
    for _, line in read_text(paths["gmt"]):
        name, _, *members = line.split("\t")
        drawn[name.split("%")[2]] = set(members)
    signs: dict[str, str] = {}
    for pathway, mechanism, sign, steps in _lines("signaling.txt"):
        for step in steps.split(","):
            symbols = step.strip().split(">")
            for symbol in symbols:
                if genes[symbol]["ncbi"] not in drawn[pathway]:
                    sys.exit(f"signaling.txt: {symbol} of {step.strip()} is not drawn in {pathway}")
            if signs.setdefault(step.strip(), sign) != sign:
                sys.exit(f"signaling.txt: {step.strip()} has two signs")
            ends = [part for symbol in symbols for part in (genes[symbol]["id"], symbol)]
            yield *ends, sign, mechanism, f"WIKIPATHWAYS:{pathway}"


def _lines(name: str) -> Iterator[list[str]]:
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield [part.strip() for part in line.split("|")]


def _by_label(terms: Terms) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for term, fields in live_terms(terms).items():
        found[fields["label"]].append(term)
    return found


def _one(found: list[str], what: str) -> str:
    if len(found) != 1:
        sys.exit(f"{what} has {len(found)} ids {found}")
    return found[0]


def _write(name: str, columns: str, rows: Iterator[tuple[str, ...]]) -> None:
    lines = sorted({"\t".join(row) for row in rows})
    text = "\n".join(["\t".join(columns.split()), *lines]) + "\n"
    (FACTS / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(lines)} rows, {len(text):,} bytes")


if __name__ == "__main__":
    main()
