"""UniProt entry names of human proteins."""

from __future__ import annotations

from pathlib import Path

from loaders.hgnc import HGNC_FILE, protein_rows
from loaders.ontology import guide_file, read_terms
from loaders.tables import ROW, Row, node_table
from tosg_graph.types import Parsed, Reject, Source

SOURCE = Source(
    key="uniprot",
    title="UniProtKB/Swiss-Prot, human entry names",
    version="2026-01-28",
    licence="CC-BY-4.0",
    homepage="https://www.uniprot.org",
    size_mb=9.5,
    files={"entries": guide_file("UniProt", "2026-01-28"), "hgnc": HGNC_FILE},
    note="Accessions and entry names only, without protein names or functions; names come from HGNC's genes.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the human entries into Protein nodes.

    Parameters
    ----------
    paths
        ``entries``: ``UniProt-ontology-<version>.json.zst``; ``hgnc``: ``hgnc_entries.tsv``, for the names of
        the proteins it knows. The others are named by their entry name.
    """
    named = protein_rows(paths["hgnc"])
    rows: list[Row] = []
    rejects: list[Reject] = []
    terms = read_terms(paths["entries"])
    for number, (term, fields) in enumerate(terms.items(), start=1):
        entry = fields["label"]
        if fields["deprecated"]:
            rejects.append(Reject(number, "deprecated", term, "deprecated"))
        elif not entry.endswith("_HUMAN"):
            rejects.append(Reject(number, "label", entry, "not human"))
        else:
            protein = "UniProtKB:" + term.partition(":")[2]
            own: Row = {"name": entry, **named.get(protein, {}), "id": protein, "entry_name": entry}
            rows.append({ROW: number, **own})
    return Parsed(
        nodes=(node_table("uniprot", "proteins", "Protein", rows, read=len(terms), rejects=rejects),)
    )
