"""DISEASES: curated gene-disease associations, all evidence in one table."""

from __future__ import annotations

from pathlib import Path

from loaders.hgnc import HGNC_FILE, entries
from loaders.tables import ROW, Row, edge_table, read_rows
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Reject, Source, WebFile

_HOME = "https://diseases.jensenlab.org"

SOURCE = Source(
    key="diseases",
    title="DISEASES, knowledge channel",
    version="2016 (dhimmel/diseases 60f9551), or as given",
    licence="CC-BY-4.0",
    homepage=_HOME,
    size_mb=0.3,
    files={
        "knowledge": WebFile(
            url="https://raw.githubusercontent.com/dhimmel/diseases/60f955165e297caaba86d2f3d370fba71d3b26bc/"
            "download/human_disease_knowledge_full.tsv.gz",
            pattern="human_disease_knowledge_full.tsv*",
            sha256="abfb6060c13de38cf2e2743b09ce659d1aee7133f6af5d7336423d5327a72f38",
        ),
        "hgnc": HGNC_FILE,
    },
    in_demo=False,
    note="Diseases are DOIDs, found through MONDO; ICD10 rows are rejected; ancestors are stated too.",
)

_COLUMNS = ("ensp", "symbol", "disease_id", "disease_name", "source", "evidence", "stars")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the table, which has no header, into ASSOCIATED_WITH from Gene to Disease; stars are ``score``.

    Parameters
    ----------
    paths
        ``knowledge``: seven columns; ``hgnc``: symbols, approved first, then previous ones of a single gene.

    Raises
    ------
    LoadError
        If ``stars`` is not a number.
    """
    genes = _genes(paths["hgnc"])
    best: dict[tuple[str, str], float] = {}
    rows: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for number, row in read_rows(paths["knowledge"], list(_COLUMNS), header=False):
        read += 1
        if not row["disease_id"].startswith("DOID:"):
            kind = row["disease_id"].partition(":")[0]
            rejects.append(Reject(number, "disease_id", row["disease_id"], f"{kind} code, not a DOID"))
            continue
        gene = genes.get(row["symbol"])
        if gene is None:
            rejects.append(Reject(number, "symbol", row["symbol"], "not a symbol of one human gene"))
            continue
        pair = (gene, row["disease_id"])
        best[pair] = max(best.get(pair, 0.0), _stars(row["stars"], number, paths["knowledge"]))
        evidence = f"{row['source']} {row['evidence']}"
        rows.append(
            {
                ROW: number,
                "subject": gene,
                "object": row["disease_id"],
                "evidence": [evidence],
                "relation": "knowledge channel",
            }
        )
    for edge in rows:  # several rows of a pair become one edge: it has the most stars of them
        edge["score"] = best[edge["subject"], edge["object"]]
    ends = ("Gene", "ASSOCIATED_WITH", "Disease")
    return Parsed(edges=(edge_table("diseases", "knowledge", ends, rows, read=read, rejects=rejects),))


def _genes(path: Path) -> dict[str, str]:
    """Symbol -> HGNC id: approved symbols, and previous ones that lead to one gene only."""
    approved = [row for _, row in entries(path) if row["status"] == "Approved"]
    found: dict[str, set[str]] = {}
    for row in approved:
        for symbol in row["previous_symbols"]:
            found.setdefault(symbol, set()).add(row["id"])
    single = {symbol: min(ids) for symbol, ids in found.items() if len(ids) == 1}
    return {**single, **{row["symbol"]: row["id"] for row in approved}}


def _stars(text: str, number: int, path: Path) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise LoadError(f"{path.name}: row {number}, column 'stars', value {text!r}: not a number.") from e
