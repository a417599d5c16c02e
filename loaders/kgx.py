"""Any knowledge graph in KGX: nodes and edges as TSV or JSON Lines in Biolink's terms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loaders.statements import KEY, Statements
from loaders.tables import Row, read_text
from tosg_graph.contract import labels as all_labels
from tosg_graph.contract import node_columns, property_types, stored_node_columns
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, UserFile

_HOME = "https://github.com/biolink/kgx"

SOURCE = Source(
    key="kgx",
    title="A knowledge graph in KGX",
    version="as given",
    licence="as stated by the graph's own sources",
    homepage=_HOME,
    size_mb=0.0,
    files={"nodes": UserFile("*nodes.*", _HOME), "edges": UserFile("*edges.*", _HOME)},
    in_demo=False,
    own_licences=True,
    options=(KEY,),
    note="`source` of an edge is its primary knowledge source; predicates without a verb of ours stay as `relation`; "
    "what `tosg kg export` put into the column `tosg` comes back as it was.",
)

# Biolink category -> labels it may become; the id decides. Broader categories come later.
_LABELS = {
    "Gene": ["Gene"],
    "Transcript": ["Transcript"],
    "Protein": ["Protein"],
    "ProteinFamily": ["ProteinFamily"],
    "Pathway": ["Pathway"],
    "BiologicalProcess": ["BiologicalProcess"],
    "MolecularActivity": ["MolecularFunction"],
    "CellularComponent": ["CellularComponent"],
    "Cell": ["CellType"],
    "GrossAnatomicalStructure": ["Organ"],
    "AnatomicalEntity": ["Organ", "CellularComponent", "CellType"],
    "Disease": ["Disease"],
    "PhenotypicFeature": ["Phenotype"],
    "DiseaseOrPhenotypicFeature": ["Disease", "Phenotype"],
    "Drug": ["Drug", "Metabolite"],
    "SmallMolecule": ["Metabolite", "Drug"],
    "MolecularMixture": ["Drug", "Metabolite"],
    "ChemicalEntity": ["Metabolite", "Drug"],
    "OrganismTaxon": ["Microbe"],
    "ChemicalExposure": ["Exposure"],
    "EnvironmentalExposure": ["Exposure"],
    "GeneOrGeneProduct": ["Gene", "Protein"],
    "BiologicalProcessOrActivity": ["BiologicalProcess", "MolecularFunction"],
}

# Biolink predicate -> verb, whether it is said the other way round, properties.
_VERBS: dict[str, tuple[str, bool, Row]] = {
    "has_gene_product": ("ENCODES", False, {}),
    "gene_product_of": ("ENCODES", True, {}),
    "transcribed_to": ("TRANSCRIBED_TO", False, {}),
    "translates_to": ("TRANSLATED_TO", False, {}),
    "interacts_with": ("INTERACTS_WITH", False, {}),
    "physically_interacts_with": ("INTERACTS_WITH", False, {}),
    "directly_physically_interacts_with": ("INTERACTS_WITH", False, {}),
    "regulates": ("SIGNALS_TO", False, {"sign": 0}),
    "positively_regulates": ("SIGNALS_TO", False, {"sign": 1}),
    "negatively_regulates": ("SIGNALS_TO", False, {"sign": -1}),
    "participates_in": ("PARTICIPATES_IN", False, {}),
    "has_participant": ("PARTICIPATES_IN", True, {}),
    "actively_involved_in": ("INVOLVED_IN", False, {}),
    "enables": ("ENABLES", False, {}),
    "enabled_by": ("ENABLES", True, {}),
    "located_in": ("LOCATED_IN", False, {}),
    "location_of": ("LOCATED_IN", True, {}),
    "treats": ("INDICATED_FOR", False, {"kind": "treats"}),
    "treated_by": ("INDICATED_FOR", True, {"kind": "treats"}),
    "subclass_of": ("IS_A", False, {}),
    "superclass_of": ("IS_A", True, {}),
    "part_of": ("PART_OF", False, {}),
    "has_part": ("PART_OF", True, {}),
    "same_as": ("MAPS_TO", False, {}),
    "exact_match": ("MAPS_TO", False, {}),
    "close_match": ("MAPS_TO", False, {}),
}
_OTHER: tuple[str, bool, Row] = ("ASSOCIATED_WITH", False, {})


def parse(paths: dict[str, Path], key: str = "") -> Parsed:
    """Parse a KGX graph.

    Parameters
    ----------
    paths
        ``nodes``, ``edges``: TSV (lists separated by ``|``, no quoting) or JSON Lines, plain or gzipped.
    key
        Key of the source, ``kgx`` without it; also who states what names no primary source.

    Raises
    ------
    LoadError
        If a file cannot be read or lacks a required column.
    """
    found = Statements(key or SOURCE.key)
    for number, row in _rows(paths["nodes"], ("id", "category")):
        own = _own(paths["nodes"].name, number, row, {**stored_node_columns(), "labels": "list"})
        _add_node(found, number, row, own)
    for number, row in _rows(paths["edges"], ("subject", "predicate", "object")):
        own = _own(paths["edges"].name, number, row, {**property_types(), "verb": "string"})
        _add_edge(found, number, row, own)
    return found.parsed()


def _add_node(found: Statements, number: int, row: dict[str, Any], own: Row) -> None:
    kinds = [kind.removeprefix("biolink:") for kind in _list(row.get("category"))]
    best = min((k for k in kinds if k in _LABELS), key=list(_LABELS).index, default=None)
    node: Row = {"id": _text(row["id"]), "name": _text(row.get("name")) or _text(row["id"])}
    node["description"] = _text(row.get("description"))
    node["synonyms"] = sorted(set(_list(row.get("synonym"))))
    node["xrefs"] = sorted({x for x in _list(row.get("xref")) if _is_curie(x)})
    if symbol := _text(row.get("symbol")):
        node["symbol"] = symbol
    if licence := _text(row.get("license") or row.get("licence")):
        node["licence"] = licence
    if labels := own.pop("labels", None):
        for label in labels:
            columns = node_columns(label) if label in all_labels() else {}
            found.node(number, [label], {k: v for k, v in (node | own).items() if k in columns}, label)
        return
    labels = _LABELS[best] if best else []
    if labels not in (["Gene"], ["Protein"], ["Gene", "Protein"]):
        node.pop("symbol", None)
    found.node(number, labels, node, ", ".join(kinds))


def _add_edge(found: Statements, number: int, row: dict[str, Any], own: Row) -> None:
    predicate = _text(row["predicate"]).removeprefix("biolink:")
    verb, turned, properties = _VERBS.get(predicate, _OTHER)
    edge: Row = {"subject": _text(row["subject"]), "object": _text(row["object"])}
    edge["source"] = _stated_by(row) or found.source
    edge["publications"] = sorted(set(_list(row.get("publications"))))
    if _text(row.get("negated")).lower() == "true":
        edge["negated"] = True
    if licence := _text(row.get("license") or row.get("licence")):
        edge["licence"] = licence
    if verb_of_ours := own.pop("verb", None):
        found.edge(number, verb_of_ours, edge | own, own.get("relation", ""))
    else:
        found.edge(number, verb, properties | edge, predicate, turned=turned)


def _own(file: str, number: int, row: dict[str, Any], columns: Mapping[str, str]) -> Row:
    """What `tosg kg export` kept for us, as JSON in the column ``tosg``; empty where it is another's file."""
    said = row.get("tosg") or {}
    try:
        own: Row = json.loads(said) if isinstance(said, str) else said
        wrong = next((k for k, v in own.items() if k not in columns or not _is_a(columns[k], v)), None)
    except (ValueError, AttributeError):
        wrong = "no JSON object"
    if wrong is not None:
        raise LoadError(
            f"{file}: row {number}, column 'tosg': {wrong!r} is not of schema/*.yaml. Export the graph again, or "
            "remove the column."
        )
    return own


def _is_a(kind: str, value: Any) -> bool:
    if kind == "list":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    allowed: dict[str, Any] = {"string": str, "int": int, "float": (int, float), "bool": bool}
    return isinstance(value, allowed[kind]) and (kind == "bool" or not isinstance(value, bool))


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (1-based data row, fields)."""
    lines = read_text(path)
    if ".jsonl" in path.suffixes:
        for number, line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError as e:
                raise LoadError(f"{path.name}: line {number}, column {e.colno} is not JSON ({e.msg}).") from e
            missing = [name for name in required if not row.get(name)]
            if missing:
                raise LoadError(
                    f"{path.name}: line {number} has no {missing[0]!r}; it has {', '.join(row)[:120]}."
                )
            yield number, row
        return
    names = [
        name.rpartition("/")[2].lstrip(":") for name in next(lines, (0, ""))[1].lstrip("\ufeff").split("\t")
    ]
    missing = [name for name in required if name not in names]
    if missing:
        raise LoadError(f"{path.name}: line 1 has no column {missing[0]!r}; it has {', '.join(names[:20])}.")
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(names):
            raise LoadError(f"{path.name}: line {number} has {len(fields)} fields, not {len(names)}.")
        yield number - 1, dict(zip(names, fields, strict=True))


def _stated_by(row: dict[str, Any]) -> str:
    """Primary knowledge source, in any of the ways in which it was ever written; empty where there is none."""
    for name in ("primary_knowledge_source", "knowledge_source", "provided_by"):
        if found := _list(row.get(name)):
            return found[0].removeprefix("infores:")
    return ""


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return "" if value is None else str(value).strip()


def _list(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(part).strip() for part in value if str(part).strip()]
    return [part.strip() for part in str(value or "").split("|") if part.strip()]


def _is_curie(text: str) -> bool:
    prefix, colon, rest = text.partition(":")
    return bool(colon and rest and prefix and prefix[0].isalpha() and not any(c.isspace() for c in text))
