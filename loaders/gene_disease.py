"""Genes whose variants cause a Mendelian disease: a small curated table, each row with its MIM number."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import ROW, edge_table, read_rows
from tosg_graph.types import FactsFile, Parsed, Source

SOURCE = Source(
    key="gene_disease",
    title="Mendelian disease genes, curated for this project",
    version="1",
    licence="CC0-1.0",
    homepage="https://www.omim.org",
    size_mb=0.01,
    files={"rows": FactsFile("gene_disease.tsv")},
    note="Small on purpose; only MIM numbers are cited, no OMIM text. The full table is `diseases`.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the table into ASSOCIATED_WITH from Gene to Disease.

    Parameters
    ----------
    paths
        ``rows``: ``gene_id`` (HGNC), ``disease_id`` (MONDO), ``relation``, ``reference``.
    """
    given = list(read_rows(paths["rows"], ["gene_id", "disease_id", "relation", "reference"]))
    edges = [
        {
            ROW: number,
            "subject": r["gene_id"],
            "object": r["disease_id"],
            "relation": r["relation"],
            "reference": r["reference"],
        }
        for number, r in given
    ]
    ends = ("Gene", "ASSOCIATED_WITH", "Disease")
    return Parsed(edges=(edge_table("gene_disease", "pairs", ends, edges, read=len(given)),))
