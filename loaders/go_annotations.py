"""GO annotations of human genes: the committed table of ids and evidence codes."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import Row, edge_table
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, FactsFile, Parsed, Reject, Source

SOURCE = Source(
    key="go_annotations",
    title="GO annotations of human genes",
    version="2022-09-12 (org.Hs.eg.db 3.16.0)",
    licence="CC-BY-4.0",
    homepage="https://geneontology.org",
    size_mb=0.9,
    files={"annotations": FactsFile("go_annotations.parquet")},
    note="Rows with evidence ND are left out; the package gives no qualifier (NOT) and no reference.",
)

_KINDS = {
    "P": ("INVOLVED_IN", "BiologicalProcess"),
    "F": ("ENABLES", "MolecularFunction"),
    "C": ("LOCATED_IN", "CellularComponent"),
}
_COLUMNS = ("gene", "term", "evidence", "aspect")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse annotations into INVOLVED_IN, ENABLES and LOCATED_IN; a pair's codes are merged.

    Parameters
    ----------
    paths
        ``annotations``: Parquet with ``gene`` (NCBI Gene, int), ``term`` (GO, int), ``evidence`` and
        ``aspect`` (P, F, C).

    Raises
    ------
    LoadError
        If the file is not Parquet, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = paths["annotations"]
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (pa.ArrowInvalid, OSError) as e:
        raise LoadError(f"{path.name}: cannot be read as Parquet ({e}); reinstall the package.") from e
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise LoadError(f"{path.name}: has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    edges: dict[str, list[Row]] = {aspect: [] for aspect in _KINDS}
    rejects: dict[str, list[Reject]] = {aspect: [] for aspect in _KINDS}
    for number, row in enumerate(table.to_pylist(), start=1):
        if row["aspect"] not in _KINDS:
            raise LoadError(
                f"{path.name}: row {number}, column 'aspect', value {row['aspect']!r}: not P, F or C."
            )
        if row["evidence"] == "ND":
            rejects[row["aspect"]].append(Reject(number, "evidence", "ND", "no biological data"))
        else:
            edge = {"subject": f"NCBIGene:{row['gene']}", "object": f"GO:{row['term']:07d}"}
            edges[row["aspect"]].append({**edge, "evidence": [row["evidence"]]})
    return Parsed(edges=tuple(_edges(a, edges[a], rejects[a]) for a in _KINDS))


def _edges(aspect: str, rows: list[Row], rejects: list[Reject]) -> EdgeTable:
    verb, label = _KINDS[aspect]
    ends = ("Gene", verb, label)
    read = len(rows) + len(rejects)
    return edge_table("go_annotations", verb.lower(), ends, rows, read=read, rejects=rejects)
