"""Hetionet 1.0: one JSON file of nodes of 11 kinds and edges of 24 kinds."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

from loaders.statements import Statements
from loaders.tables import Row, read_json
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, WebFile

_HOME = "https://github.com/hetio/hetionet"

SOURCE = Source(
    key="hetionet",
    title="Hetionet",
    version="1.0",
    licence="CC0-1.0 (original content); each node and edge names its own",
    homepage=_HOME,
    size_mb=16.1,
    files={
        "graph": WebFile(  # in Git LFS: the address leads on to the real file
            url=f"{_HOME}/raw/8a6cc0c5604d0e2908786e4de38af67b8e46ee4a/hetnet/json/hetionet-v1.0.json.bz2",
            pattern="hetionet*.json*",
            sha256="a342ab57e9073e6c02bb5e109d1f16917e6f933be4e5c77ebbaebfa26b984c19",
        )
    },
    in_demo=False,
    own_licences=True,
    note="`source` is hetionet for every edge; kinds without a verb of ours stay as `relation`.",
)

_NO_LICENCE = "NOASSERTION"  # the file leaves out the licence of what comes from a resource without one

# Kind -> labels it may become, and how an identifier becomes an id.
_KINDS: dict[str, tuple[list[str], str]] = {
    "Gene": (["Gene"], "NCBIGene:"),
    "Compound": (["Drug"], "DRUGBANK:"),
    "Disease": (["Disease"], ""),
    "Anatomy": (["Organ"], ""),
    "Biological Process": (["BiologicalProcess"], ""),
    "Molecular Function": (["MolecularFunction"], ""),
    "Cellular Component": (["CellularComponent"], ""),
    "Symptom": (["Phenotype"], "MESH:"),
    "Side Effect": (["Phenotype"], "UMLS:"),
}
# (source kind, edge kind, target kind) -> verb and properties; every other one stays a `relation`.
_VERBS: dict[tuple[str, str, str], tuple[str, Row]] = {
    ("Gene", "participates", "Pathway"): ("PARTICIPATES_IN", {}),
    ("Gene", "participates", "Biological Process"): ("INVOLVED_IN", {}),
    ("Gene", "participates", "Molecular Function"): ("ENABLES", {}),
    ("Gene", "participates", "Cellular Component"): ("LOCATED_IN", {}),
    ("Gene", "interacts", "Gene"): ("INTERACTS_WITH", {}),
    ("Gene", "regulates", "Gene"): ("SIGNALS_TO", {"sign": 0}),
    ("Compound", "binds", "Gene"): ("TARGETS", {}),
    ("Compound", "treats", "Disease"): ("INDICATED_FOR", {"kind": "treats"}),
    ("Compound", "palliates", "Disease"): ("INDICATED_FOR", {"kind": "palliates"}),
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the JSON file.

    Parameters
    ----------
    paths
        ``graph``: ``hetionet-v1.0.json``, plain or compressed with bzip2 or gzip.

    Raises
    ------
    LoadError
        If the file cannot be read, or is not Hetionet's JSON.
    """
    path = paths["graph"]
    content = _read(path)
    missing = [name for name in ("nodes", "edges", "metaedge_tuples") if name not in content]
    if missing:
        raise LoadError(f"{path.name}: has no {missing[0]!r}; give Hetionet's JSON file, not its TSV or SIF.")
    found = Statements("hetionet")
    for number, node in enumerate(content["nodes"], start=1):
        labels, _ = _KINDS.get(node["kind"], (["Pathway"] if node["kind"] == "Pathway" else [], ""))
        row: Row = {"id": _id(node["kind"], node["identifier"]), "name": node["name"]}
        row["description"] = node.get("data", {}).get("description", "")
        row["licence"] = node.get("data", {}).get("license") or _NO_LICENCE
        found.node(number, labels, row, node["kind"])
    for number, edge in enumerate(content["edges"], start=1):
        (left, subject), (right, object_) = edge["source_id"], edge["target_id"]
        verb, properties = _VERBS.get((left, edge["kind"], right), ("ASSOCIATED_WITH", {}))
        data = edge.get("data", {})
        row = {"subject": _id(left, subject), "object": _id(right, object_), **properties}
        row["publications"] = sorted(f"PMID:{p}" for p in data.get("pubmed_ids", ()))
        row["licence"] = data.get("license") or _NO_LICENCE
        found.edge(number, verb, row, edge["kind"])
    return found.parsed()


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".bz2":
        content = read_json(path)
    else:
        try:
            with bz2.open(path, "rt", encoding="utf-8") as lines:
                content = json.load(lines)
        except (OSError, EOFError, ValueError) as e:
            raise LoadError(
                f"{path.name}: cannot be read ({e}); a file of 130 bytes is a pointer of Git LFS, fetch the real one."
            ) from e
    if not isinstance(content, dict):
        raise LoadError(f"{path.name}: holds a {type(content).__name__}, not Hetionet's object.")
    return content


def _id(kind: str, identifier: str | int) -> str:
    """CURIE of an identifier, which is unique within its kind only."""
    text = str(identifier)
    if kind == "Pathway":
        if text.startswith("WP"):
            return "WIKIPATHWAYS:" + text.partition("_")[0]
        return "PATHWAYCOMMONS:" + text
    prefix = _KINDS[kind][1] if kind in _KINDS else ""
    return prefix + text if prefix or ":" in text else f"{kind.replace(' ', '')}:{text}"
