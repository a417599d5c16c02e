"""Gene Ontology with definitions, as Bioconductor's GO.db tabulates it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from loaders.tables import ROW, Row, edge_table, node_table, read_rows
from tosg_graph.contract import allows
from tosg_graph.types import Parsed, Reject, Source, UserFile

_HOME = "https://bioconductor.org/packages/GO.db"

SOURCE = Source(
    key="go_db",
    title="Gene Ontology (Bioconductor GO.db)",
    version="3.16.0, GO of 2022-07-01",
    licence="CC-BY-4.0; package Artistic-2.0",
    homepage=_HOME,
    size_mb=2.0,
    files={"terms": UserFile("go_terms.tsv*", _HOME), "parents": UserFile("go_parents.tsv*", _HOME)},
    in_demo=False,
    note="Definitions of 35,140 terms, which `go` lacks; obsolete terms are absent, and 8,419 have no definition.",
)

_LABELS = {"BP": "BiologicalProcess", "MF": "MolecularFunction", "CC": "CellularComponent"}
_VERBS = {"isa": "IS_A", "part of": "PART_OF"}
Ends = tuple[str, str, str]


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse terms, IS_A, PART_OF, and regulation as ASSOCIATED_WITH.

    Parameters
    ----------
    paths
        ``terms``: id, ontology, name and definition; ``parents``: child, parent and relationship.
    """
    nodes: dict[str, list[Row]] = {label: [] for label in _LABELS.values()}
    label_of: dict[str, str] = {}
    bad_terms: list[Reject] = []
    for number, row in read_rows(paths["terms"], ["go_id", "ontology", "term", "definition"]):
        label = _LABELS.get(row["ontology"])
        if label is None:
            bad_terms.append(Reject(number, "ontology", row["ontology"], "the root of all three, no term"))
            continue
        label_of[row["go_id"]] = label
        term: Row = {"id": row["go_id"], "name": row["term"], "description": row["definition"]}
        nodes[label].append({ROW: number, **term})
    rows: dict[Ends, list[Row]] = defaultdict(list)
    bad_parents: list[Reject] = []
    for number, row in read_rows(paths["parents"], ["go_id", "parent_go_id", "relationship"]):
        child, parent = row["go_id"], row["parent_go_id"]
        if parent not in label_of or child not in label_of:
            name, end = ("go_id", child) if child not in label_of else ("parent_go_id", parent)
            bad_parents.append(Reject(number, name, end, "not among the terms"))
            continue
        ends = (label_of[child], _VERBS.get(row["relationship"], ""), label_of[parent])
        if not ends[1] or not allows(ends[1], ends[0], ends[2]):
            ends = (ends[0], "ASSOCIATED_WITH", ends[2])
        edge: Row = {"subject": child, "object": parent, "relation": row["relationship"]}
        rows[ends].append({ROW: number, **edge})
    tables = []
    for label, found in nodes.items():
        rejects = bad_terms if label == "BiologicalProcess" else []
        read = len(found) + len(rejects)
        tables.append(node_table("go_db", _short(label), label, found, read=read, rejects=rejects))
    edges = []
    for place, (ends, stated) in enumerate(sorted(rows.items())):
        rejects = [] if place else bad_parents
        name = f"{ends[1].lower()}_{_short(ends[0])}_{_short(ends[2])}"
        read = len(stated) + len(rejects)
        edges.append(edge_table("go_db", name, ends, stated, read=read, rejects=rejects, apart=["relation"]))
    return Parsed(tuple(tables), tuple(edges))


def _short(label: str) -> str:
    return {long: short.lower() for short, long in _LABELS.items()}[label]
