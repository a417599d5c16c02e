"""PrimeKG: one CSV of relations between diseases, drugs, genes, phenotypes and more, both directions stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loaders.columns import column, csv_blocks, read_csv
from loaders.statements import NEUTRAL
from loaders.tables import Row
from loaders.triples import Meaning, Triples
from tosg_graph.contract import allows
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, UserFile, WebFile

if TYPE_CHECKING:
    import pyarrow as pa

_HOME = "https://github.com/mims-harvard/PrimeKG"

SOURCE = Source(
    key="primekg",
    title="PrimeKG",
    version="2.1, or as given",
    licence="CC0-1.0 AND NOASSERTION; as deposited, and the resources it is built from, which keep their own terms",
    homepage=_HOME,
    size_mb=982,
    files={
        "kg": WebFile("https://dataverse.harvard.edu/api/access/datafile/6180620", "kg.csv*", optional=True),
        "nodes": UserFile("nodes.csv*", _HOME, optional=True),
        "edges": UserFile("edges.csv*", _HOME, optional=True),
    },
    in_demo=False,
    note="Relations do not say which end is which; absent, negative and contraindicated ones are `negated`.",
    terms="Holds content of DrugBank, DisGeNET, SIDER and others: check their terms before commercial use.",
)

_SEPARATOR = "::"
_BETWEEN = " / "  # relation and display relation
# Type -> label; source -> how an id becomes a CURIE. Ontology ids come as bare integers.
_LABELS = {
    "gene/protein": "Gene",
    "drug": "Drug",
    "disease": "Disease",
    "effect/phenotype": "Phenotype",
    "biological_process": "BiologicalProcess",
    "molecular_function": "MolecularFunction",
    "cellular_component": "CellularComponent",
    "anatomy": "Organ",
    "exposure": "Exposure",
    "pathway": "Pathway",
}
_PREFIXES = {"NCBI": "NCBIGene", "DrugBank": "DRUGBANK", "REACTOME": "REACT", "CTD": "MESH"}
_PADDED = {"MONDO": "MONDO", "HPO": "HP", "GO": "GO", "UBERON": "UBERON"}
# (relation, display relation or "") -> verb.
_VERBS = {
    ("protein_protein", ""): "INTERACTS_WITH",
    ("drug_protein", "target"): "TARGETS",
    ("indication", ""): "INDICATED_FOR",
    ("off-label use", ""): "INDICATED_FOR",
    ("bioprocess_protein", ""): "INVOLVED_IN",
    ("molfunc_protein", ""): "ENABLES",
    ("cellcomp_protein", ""): "LOCATED_IN",
    ("pathway_protein", ""): "PARTICIPATES_IN",
}
_NEGATIVE = ("_absent", "_negative", "contraindication")
_ENDS = ("source", "type", "id", "name")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse PrimeKG.

    A relation that stands in both directions is stored once, after a look at each row for its opposite.

    Parameters
    ----------
    paths
        ``kg``: ``kg.csv``; or ``nodes`` and ``edges``: ``nodes.csv`` and ``edges.csv``.

    Raises
    ------
    LoadError
        If a file is missing, cannot be read or lacks a column.
    """
    found = Triples("primekg")
    names: dict[str, str] = {}
    if "kg" in paths:
        _read_kg(paths["kg"], found, names)
    elif "nodes" in paths and "edges" in paths:
        _read_tables(paths["nodes"], paths["edges"], found, names)
    else:
        raise LoadError("primekg: neither kg.csv nor both of nodes.csv and edges.csv is there; give kg.csv.")
    return found.parsed(_node_of(names), _meaning, mirrored=True)


def _read_kg(path: Path, found: Triples, names: dict[str, str]) -> None:
    ends = [f"{side}_{name}" for side in "xy" for name in _ENDS]
    for _, rows in csv_blocks(path, ["relation", "display_relation", *ends]):
        left, right = (
            _keys(found, names, *(column(rows, f"{side}_{name}") for name in _ENDS)) for side in "xy"
        )
        found.add(left, _predicates(rows), right)


def _read_tables(nodes: Path, edges: Path, found: Triples, names: dict[str, str]) -> None:
    rows = read_csv(nodes, ["node_index", *(f"node_{name}" for name in _ENDS)])
    keys = _keys(found, names, *(column(rows, f"node_{name}") for name in _ENDS))
    number = dict(zip(rows["node_index"].to_pylist(), keys.tolist(), strict=True))

    def key_of(index: str) -> int:
        return (
            number[index] if index in number else found.keys.number.setdefault(index, len(found.keys.number))
        )

    for _, rows in csv_blocks(edges, ["relation", "display_relation", "x_index", "y_index"]):
        sides = []
        for side in "xy":
            coded = column(rows, f"{side}_index").dictionary_encode()
            distinct = np.array([key_of(index) for index in coded.dictionary.to_pylist()], np.int32)
            sides.append(distinct[coded.indices.to_numpy()])
        found.add(sides[0], _predicates(rows), sides[1])


def _predicates(rows: pa.Table) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(column(rows, "relation"), column(rows, "display_relation"), _BETWEEN)


def _keys(
    found: Triples, names: dict[str, str], sources: pa.Array, types: pa.Array, ids: pa.Array, called: pa.Array
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """Numbers of nodes, keyed by source, type and id: a bare 2 is a gene, a phenotype or an organ."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = pc.binary_join_element_wise(sources, types, ids, called, _SEPARATOR).dictionary_encode()
    keys = []
    for text in whole.dictionary.to_pylist():
        *key, name = text.split(_SEPARATOR, 3)
        keys.append(_SEPARATOR.join(key))
        names.setdefault(keys[-1], name)
    return found.keys.of(pa.DictionaryArray.from_arrays(whole.indices, pa.array(keys, pa.string())))


def _node_of(names: dict[str, str]) -> Callable[[str], tuple[str, Row] | str]:
    def node_of(key: str) -> tuple[str, Row] | str:
        parts = key.split(_SEPARATOR)
        if len(parts) != 3:
            return "not among the nodes"
        source, kind, given = parts
        label, ids = _LABELS.get(kind), _ids(source, given)
        if label is None:
            return f"type {kind!r} is not in the schema"
        if not ids:
            return f"not an id of source {source!r}"
        row: Row = {"id": ids[0], "name": names[key] or ids[0]}
        if len(ids) > 1:  # several diseases taken together by their names: one node, no one of them
            row |= {"id": f"PRIMEKG:{given}", "xrefs": sorted(ids)}
        if label == "Gene":
            row["symbol"] = row["name"]
        return label, row

    return node_of


def _ids(source: str, given: str) -> list[str]:
    """CURIEs of what an id names, padded where the ontology pads; none where it is not an id."""
    if source in _PADDED:
        return [f"{_PADDED[source]}:{int(given):07d}"] if given.isdecimal() and len(given) <= 7 else []
    if source == "MONDO_grouped":
        members = [_ids("MONDO", part) for part in given.split("_")]
        return [id_ for ids in members for id_ in ids] if all(members) else []
    if source == "NCBI" and not given.isdecimal():
        return []
    return [f"{_PREFIXES[source]}:{given}"] if source in _PREFIXES and given and " " not in given else []


def _meaning(left: str, predicate: str, right: str) -> Meaning:
    relation, _, shown = predicate.partition(_BETWEEN)
    verb = _VERBS.get((relation, ""), _VERBS.get((relation, shown), NEUTRAL))
    own: Row = {"kind": relation} if verb == "INDICATED_FOR" else {}
    if relation.endswith(_NEGATIVE):
        own["negated"] = True
    word = shown if relation == "drug_protein" else relation
    keep = word if verb in (NEUTRAL, "INDICATED_FOR") else None
    return Meaning(verb, keep, own, turned=not allows(verb, left, right) and allows(verb, right, left))
