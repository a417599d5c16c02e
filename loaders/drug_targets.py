"""Targets of approved drugs: a small curated table, each row with what states it."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import ROW, edge_table, read_rows
from tosg_graph.types import FactsFile, Parsed, Source

SOURCE = Source(
    key="drug_targets",
    title="Targets of approved drugs, curated for this project",
    version="1",
    licence="CC0-1.0",
    homepage="https://labels.fda.gov",
    size_mb=0.06,
    files={"rows": FactsFile("drug_targets.tsv")},
    note="Small on purpose; drugs are ChEBI compounds. The full tables are `drugcentral` and `bindingdb`.",
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the table into TARGETS from Drug to Gene.

    Parameters
    ----------
    paths
        ``rows``: ``drug_id`` (ChEBI), ``target_id`` (HGNC), ``action``, ``reference``.
    """
    given = list(read_rows(paths["rows"], ["drug_id", "target_id", "action", "reference"]))
    edges = [
        {
            ROW: number,
            "subject": r["drug_id"],
            "object": r["target_id"],
            "action": r["action"],
            "reference": r["reference"],
        }
        for number, r in given
    ]
    ends = ("Drug", "TARGETS", "Gene")
    return Parsed(edges=(edge_table("drug_targets", "targets", ends, edges, read=len(given)),))
