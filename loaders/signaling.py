"""Directed, signed steps of textbook signaling pathways: a small curated table."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import ROW, Row, edge_table, read_rows
from tosg_graph.errors import LoadError
from tosg_graph.types import FactsFile, Parsed, Source

SOURCE = Source(
    key="signaling",
    title="Signaling steps of textbook pathways, curated for this project",
    version="1",
    licence="CC0-1.0",
    homepage="https://www.wikipathways.org",
    size_mb=0.02,
    files={"steps": FactsFile("signaling.tsv")},
    note="Small on purpose: no free table of directed, signed signaling was found in packages looked into.",
)

_COLUMNS = ("subject_id", "object_id", "sign", "mechanism", "reference")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the table into SIGNALS_TO between genes.

    Parameters
    ----------
    paths
        ``steps``: ``subject_id`` and ``object_id`` (HGNC), ``sign`` (1 or -1), ``mechanism`` and
        ``reference`` (the WikiPathways id in which both are drawn).
    """
    rows: list[Row] = []
    for number, row in read_rows(paths["steps"], list(_COLUMNS)):
        if row["sign"] not in ("1", "-1"):
            raise LoadError(
                f"{paths['steps'].name}: row {number}, column 'sign', value {row['sign']!r}: write 1 or -1."
            )
        rows.append(
            {
                ROW: number,
                "subject": row["subject_id"],
                "object": row["object_id"],
                "sign": int(row["sign"]),
                "relation": row["mechanism"],
                "publications": [row["reference"]],
            }
        )
    ends = ("Gene", "SIGNALS_TO", "Gene")
    return Parsed(edges=(edge_table("signaling", "steps", ends, rows, read=len(rows)),))
