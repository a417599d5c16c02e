"""OptimusKG: Parquet files of nodes of ten types and the edges between them, each with its resources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.statements import NEUTRAL, label_for
from loaders.tables import Row
from loaders.triples import Meaning, Triples
from tosg_graph.contract import allows
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, UserFile

if TYPE_CHECKING:
    import pyarrow as pa

_HOME = "https://doi.org/10.7910/DVN/IYNGEV"

SOURCE = Source(
    key="optimuskg",
    title="OptimusKG",
    version="as given",
    licence="mixed: each resource keeps its own terms; some are for academic or non-commercial use only",
    homepage=_HOME,
    size_mb=0.0,
    files={
        "nodes": UserFile("nodes.parquet", _HOME, optional=True),
        "edges": UserFile("edges.parquet", _HOME, optional=True),
        "by_type": UserFile("gene.parquet", _HOME, optional=True, beside=("*.parquet", "../edges/*.parquet")),
    },
    in_demo=False,
    note="`source` of an edge is its direct resource as OptimusKG writes it; its other properties are not read.",
    terms="Holds content of DrugBank, DisGeNET and others: check their terms before redistribution or commercial use.",
)

# Code of a type -> labels it may become; the id decides.
_LABELS = {
    "GEN": ["Gene"],
    "DIS": ["Disease"],
    "DRG": ["Drug"],
    "PHE": ["Phenotype"],
    "ANA": ["Organ", "CellType"],
    "BPO": ["BiologicalProcess"],
    "MFN": ["MolecularFunction"],
    "CCO": ["CellularComponent"],
    "PWY": ["Pathway"],
    "EXP": ["Exposure"],
}
# Form of an id without a prefix -> prefix. A prefix is followed by ":" in some releases and "_" in others.
_FORMS = {"ENSG": "ENSEMBL", "CHEMBL": "CHEMBL.COMPOUND", "DB": "DRUGBANK", "R-": "REACT"}
_PREFIXES = {
    "EFO": "EFO",
    "ORPHANET": "Orphanet",
    "NCBIGENE": "NCBIGene",
    "MESH": "MESH",
    "REACTOME": "REACT",
}
_CURIE = re.compile(r"^([A-Za-z]+)[:_](\S+)$")
_MESH = re.compile(r"^[CD]\d{6,}$")
# Types of the ends -> verb of their INTERACTS_WITH.
_INTERACTS = {
    "GEN-GEN": "INTERACTS_WITH",
    "BPO-GEN": "INVOLVED_IN",
    "MFN-GEN": "ENABLES",
    "CCO-GEN": "LOCATED_IN",
    "PWY-GEN": "PARTICIPATES_IN",
}
# What a drug does to a gene's product, without which it is no target.
_NOT_TARGETS = ("CARRIER", "ENZYME", "TRANSPORTER", "SUBSTRATE", "OTHER")
_NEGATIVE = ("_ABSENT", "CONTRAINDICATION")
_SEPARATOR = " / "
_READ = ("symbol", "name", "description", "definition", "synonyms", "exact_synonyms", "biotype")
_NODES, _EDGES = ("id", "label", "properties"), ("from", "to", "label", "relation")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse OptimusKG's combined files, or the folders ``nodes`` and ``edges`` with one file per type.

    Parameters
    ----------
    paths
        ``nodes`` and ``edges``: ``nodes.parquet`` and ``edges.parquet``; or ``by_type``: ``nodes/gene.parquet``,
        whose folder lies beside ``edges``.

    Raises
    ------
    LoadError
        If a file is missing, cannot be read as Parquet or lacks a column.
    """
    import pyarrow as pa

    nodes, edges = _files(paths)
    found = Triples("optimuskg")
    rows: dict[str, Mapping[str, Any]] = {}
    for path in nodes:
        for batch in _batches(path, _NODES):
            _add_nodes(batch, rows)
    found.keys.of(pa.array(list(rows), pa.string()))
    first = 0
    for path in edges:
        for batch in _batches(path, (*_EDGES, "properties")):
            _add_edges(batch, found, first)
            first += len(batch)
    return found.parsed(lambda key: _node(key, rows), _meaning)


def _files(paths: dict[str, Path]) -> tuple[list[Path], list[Path]]:
    if "nodes" in paths and "edges" in paths:
        return [paths["nodes"]], [paths["edges"]]
    if "by_type" in paths:
        folder = paths["by_type"].parent
        nodes, edges = (sorted(f.glob("*.parquet")) for f in (folder, folder.parent / "edges"))
        if edges:
            return nodes, edges
    raise LoadError(
        "optimuskg: neither nodes.parquet with edges.parquet nor the folders nodes and edges are there; "
        "give the folder that holds them."
    )


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [name for name in columns if name not in names]
            if missing:
                raise LoadError(f"{path.name}: has no column {missing[0]!r}; it has {', '.join(names[:20])}.")
            yield from file.iter_batches(columns=_leaves(file.schema_arrow, columns))
    except (pa.ArrowInvalid, OSError) as e:
        raise LoadError(f"{path.name}: cannot be read as Parquet ({str(e)[:120]}); fetch it again.") from e


def _leaves(schema: pa.Schema, columns: tuple[str, ...]) -> list[str]:
    """Columns to read; of edges' properties the sources only, where they are a struct."""
    import pyarrow.types as t

    is_struct = "properties" in columns and t.is_struct(schema.field("properties").type)
    if is_struct and "relation" in columns:
        return [*(c for c in columns if c != "properties"), "properties.sources"]
    return list(columns)


# --------------------------------------------------------------------------- nodes


def _add_nodes(batch: pa.RecordBatch, rows: dict[str, Mapping[str, Any]]) -> None:
    """Keep the properties of nodes under type and id; an id may occur in two types."""
    columns = (batch.column(name).to_pylist() for name in _NODES)
    for id_, label, given in zip(*columns, strict=True):
        said = (json.loads(given) if isinstance(given, str) else given) or {}
        kept = {name: said[name] for name in _READ if said.get(name)}  # others hold pictures of molecules
        rows.setdefault(f"{label}{_SEPARATOR}{id_}", kept)


def _node(key: str, rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, Row] | str:
    if key not in rows:
        return "not among the nodes"
    kind, _, given = key.partition(_SEPARATOR)
    if kind not in _LABELS:
        return f"type {kind!r} is not in the schema"
    id_ = _curie(given)
    label = label_for(id_, _LABELS[kind])
    if label is None:
        return f"no id of {' or '.join(_LABELS[kind])}"
    said = rows[key]
    name = said.get("symbol") or said.get("name") or id_
    row: Row = {"id": id_, "name": name}
    row["description"] = said.get("description") or said.get("definition") or ""
    row["synonyms"] = sorted(_synonyms(said) - {name})
    if label == "Gene":
        row |= {"symbol": name, "full_name": said.get("name"), "locus_type": said.get("biotype")}
    return label, row


def _synonyms(said: Mapping[str, Any]) -> set[str]:
    listed = [*(said.get("synonyms") or ()), *(said.get("exact_synonyms") or ())]
    return {text for s in listed if (text := s.get("label") if isinstance(s, Mapping) else s)}


def _curie(given: str) -> str:
    """``MONDO_0005148`` and ``MONDO:0005148`` -> the latter; ``ENSG00000146648`` -> ``ENSEMBL:...``."""
    for start, prefix in _FORMS.items():
        if given.startswith(start):
            return f"{prefix}:{given}"
    if _MESH.match(given):
        return f"MESH:{given}"
    if match := _CURIE.match(given):
        prefix, local = match.groups()
        return f"{_PREFIXES.get(prefix.upper(), prefix.upper())}:{local}"
    return given


# --------------------------------------------------------------------------- edges


def _add_edges(batch: pa.RecordBatch, found: Triples, first: int) -> None:
    """Add edges, one statement for each direct resource."""
    import pyarrow as pa
    import pyarrow.compute as pc

    label = batch.column("label").dictionary_encode()
    stated = _sources(batch)
    codes = stated.indices.to_numpy()
    lists = [_resources(text) for text in stated.dictionary.to_pylist()]
    lengths = np.array([len(names) for names in lists], np.int64)[codes]
    owner = np.repeat(np.arange(len(batch)), lengths)
    offsets = np.cumsum([0, *(len(names) for names in lists)])[:-1]
    within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    names = pa.array([name for part in lists for name in part], pa.string())
    by = names.take(pa.array(np.repeat(offsets[codes], lengths) + within))
    ends = []
    for side, name in enumerate(("from", "to")):
        kinds = pa.array(
            [(*text.split("-", 1), "")[side] for text in label.dictionary.to_pylist()], pa.string()
        )
        kind = kinds.take(label.indices)
        ends.append(found.keys.of(pc.binary_join_element_wise(kind, batch.column(name), _SEPARATOR))[owner])
    predicate = pc.binary_join_element_wise(label.cast(pa.string()), batch.column("relation"), _SEPARATOR)
    found.add(ends[0], predicate.take(pa.array(owner)), ends[1], by, first + owner + 1)


def _sources(batch: pa.RecordBatch) -> pa.DictionaryArray:
    """Direct resources of each edge as text, out of a JSON string or a struct."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    given = batch.column("properties")
    if t.is_struct(given.type):
        lists = pc.struct_field(given, ["sources", "direct"])
        return pc.binary_join(pc.fill_null(lists, []), ",").dictionary_encode()
    match = pc.extract_regex(given.cast(pa.string()), r'"direct":\s*\[(?P<direct>[^\]]*)\]')
    return pc.fill_null(pc.struct_field(match, "direct"), "").dictionary_encode()


def _resources(text: str) -> list[str]:
    """Names in a list, quoted or not; the graph itself where it names none."""
    return sorted({part.strip(' "') for part in text.split(",")} - {""}) or ["optimuskg"]


def _meaning(left: str, predicate: str, right: str) -> Meaning:
    ends, _, relation = predicate.partition(_SEPARATOR)
    verb, turned = _verb(ends, relation), False
    own: Row = {}
    if verb == "INDICATED_FOR":
        own["kind"] = relation.lower().replace("_", " ")
    if verb == "TARGETS" and relation != "TARGET":
        own["action"] = relation.lower().replace("_", " ")
    if relation.endswith(_NEGATIVE):
        own["negated"] = True
    keep = None if relation == "INTERACTS_WITH" and verb != NEUTRAL else relation
    if not allows(verb, left, right):
        turned = allows(verb, right, left)
    return Meaning(verb, keep, own, turned or (relation == "PARENT" and verb != NEUTRAL))


def _verb(ends: str, relation: str) -> str:
    if relation == "INTERACTS_WITH":
        return _INTERACTS.get(ends, NEUTRAL)
    if ends == "DRG-DIS" and relation in ("INDICATION", "OFF_LABEL_USE"):
        return "INDICATED_FOR"
    if ends == "DRG-GEN" and relation not in _NOT_TARGETS:
        return "TARGETS"
    if ends == "DIS-DIS" and relation == "PARENT":  # from the parent to the child
        return "IS_A"
    return NEUTRAL
