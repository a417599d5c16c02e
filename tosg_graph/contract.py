"""What may exist in the graph: ``schema/nodes.yaml`` and ``edges.yaml``, checked and turned into Cypher.

Types in the schema are ``string``, ``int`` (64 bit), ``float`` (64 bit), ``bool`` and ``list`` (of strings).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import ContractError
from tosg_graph.resources import schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.types import EdgeTable, NodeTable, Parsed

_AT_ONCE = 2  # tables that are checked at a time
_CURIE = r"^[A-Za-z][A-Za-z0-9_.-]*:\S+$"
# The importer cannot carry these, and none of them belongs in a name: C0 controls except tab and line ends,
# and the two non-characters that it takes for the end of a file.
# Longer text is a fault of the file: the importer reads fields of 4 MiB at most, and an index takes a key of 8 kB
# and terms of 32 kB.
MOST_CHARACTERS = 1_000_000
MOST_INDEXED = 2_000
_INDEXED = frozenset({"id", "symbol", "xrefs", "subject", "object", "source"})
_UNPRINTABLE = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x{fffe}\x{ffff}]"


# --------------------------------------------------------------------------- what the schema says


def labels() -> list[str]:
    """Type labels in the order of ``schema/nodes.yaml``."""
    return list(schema("nodes")["labels"])


def verbs() -> list[str]:
    """Relationship types in the order of ``schema/edges.yaml``."""
    return list(schema("edges")["verbs"])


def finding() -> str:
    """Relationship type of what runs found; it is no knowledge, and no verb."""
    return str(schema("edges")["findings"])


def primary_type(labels: Iterable[str]) -> str:
    """Return the label that is a node's type in exports: the first in the order of ``schema/nodes.yaml``.

    Raises
    ------
    ContractError
        If none of the labels is a type label.
    """
    given = set(labels)
    for label in schema("nodes")["labels"]:
        if label in given:
            return str(label)
    raise ContractError(
        f"{sorted(given)} holds no type label of schema/nodes.yaml; add the label there first."
    )


def node_columns(label: str) -> dict[str, str]:
    """Return the columns that a node table of ``label`` may have: name -> type of the schema."""
    entity = schema("nodes")["entity"]
    return {**entity["required"], **entity["optional"], **schema("nodes")["labels"][label]["properties"]}


def edge_columns(verb: str) -> dict[str, str]:
    """Return the columns that an edge table of ``verb`` may have, ``subject`` and ``object`` first."""
    own = schema("edges")["verbs"][verb].get("properties", {})
    given = {"subject": "string", "object": "string", "source": "string"}
    return {**given, **schema("edges")["edge"]["optional"], **own}


@cache
def stored_node_columns() -> Mapping[str, str]:
    """Every property a load may write on a node, ``id`` first: name -> type, the same for all labels."""
    found: dict[str, str] = {}
    for label in labels():
        for name, kind in node_columns(label).items():
            if found.setdefault(name, kind) != kind:
                raise ContractError(f"schema/nodes.yaml gives {name!r} two types: {found[name]} and {kind}.")
    return {**found, **schema("nodes")["entity"]["computed"]}


def stored_edge_columns(verb: str) -> dict[str, str]:
    """Every property a load may write on a relationship of ``verb``: name -> type."""
    given = {k: v for k, v in edge_columns(verb).items() if k not in ("subject", "object")}
    return {**schema("edges")["edge"]["computed"], **given}


def node_required(label: str) -> list[str]:
    """Columns that a node table of ``label`` must have."""
    return [*schema("nodes")["entity"]["required"], *schema("nodes")["labels"][label].get("required", [])]


def edge_required(verb: str) -> list[str]:
    """Columns that an edge table of ``verb`` must have."""
    return ["subject", "object", *schema("edges")["verbs"][verb].get("required", [])]


def allowed_values(name: str) -> list[Any]:
    """Values that a property of relationships may have; none listed: any of its type."""
    return list(schema("edges")["edge"]["values"].get(name, []))


@cache
def property_types() -> Mapping[str, str]:
    """Every property of any label or verb: name -> type."""
    found: dict[str, str] = {}
    for columns in (stored_node_columns(), *(stored_edge_columns(verb) for verb in verbs())):
        for name, kind in columns.items():
            if found.setdefault(name, kind) != kind:
                raise ContractError(f"schema/*.yaml gives {name!r} two types: {found[name]} and {kind}.")
    return found


@cache
def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a type of the schema."""
    import pyarrow as pa

    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.list_(pa.string()) if kind == "list" else types[kind]


def id_prefixes(label: str) -> list[str]:
    """Return the prefixes that ids of ``label`` may have."""
    return [*schema("nodes")["labels"][label]["prefixes"], *schema("nodes")["entity"]["cluster_prefixes"]]


def cluster_prefixes() -> list[str]:
    """Return the prefixes of ids that stand for several things; they never join anything."""
    return list(schema("nodes")["entity"]["cluster_prefixes"])


def identity_rules(label: str) -> dict[str, str]:
    """Return the prefixes whose ids may join another entity, best first: prefix -> ``many`` or ``one``."""
    return dict(schema("nodes")["labels"][label].get("identity", {}))


def allows(verb: str, subject_label: str, object_label: str) -> bool:
    """Whether a relationship of ``verb`` may lead from one label to the other."""
    pairs = schema("edges")["verbs"][verb]["pairs"]
    return pairs == "any" or [subject_label, object_label] in pairs


def is_symmetric(verb: str) -> bool:
    """Whether a relationship of ``verb`` has no direction and is stored once, smaller id first."""
    return bool(schema("edges")["verbs"][verb].get("symmetric", False))


# --------------------------------------------------------------------------- checks


def check(parsed: Parsed) -> None:
    """Check every table of one source against the schema.

    Raises
    ------
    ContractError
        Naming source, table, row (see `file_rows`), column, value and what is allowed.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # the first table that breaks it is the one that is named
        for checked in [
            *(pool.submit(_check_nodes, t) for t in parsed.nodes),
            *(pool.submit(_check_edges, t) for t in parsed.edges),
        ]:
            checked.result()


def file_rows(table: NodeTable | EdgeTable, at: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """1-based rows of the file, its header not counted, that some rows of a table came from.

    Of rows that the loader merged, the first. Where a loader gives no ``rows``, the place in its table instead:
    the same unless it sorted, split or dropped rows.

    Parameters
    ----------
    at
        Places in ``data``, counted from 0.
    """
    if table.rows is None:
        return at + 1
    found: NDArray[np.integer[Any]] = table.rows.to_numpy()[at]
    return found


def _named(table: NodeTable | EdgeTable) -> str:
    return f"{table.source}/{table.name}"


def _check_nodes(table: NodeTable) -> None:
    known = schema("nodes")["labels"]
    if table.label not in known:
        raise ContractError(
            f"{_named(table)}: label {table.label!r} is not allowed; schema/nodes.yaml has {', '.join(known)}."
        )
    rule = known[table.label]
    _check_columns(table, node_columns(table.label), node_required(table.label), {})
    prefixes = "|".join(re.escape(p) for p in id_prefixes(table.label))
    allowed = f"an id of {table.label} starts with {' or '.join(p + ':' for p in rule['prefixes'])}"
    _check_pattern(table, "id", rf"^({prefixes}):\S+$", allowed)


def _check_edges(table: EdgeTable) -> None:
    known = schema("edges")["verbs"]
    if table.verb not in known:
        raise ContractError(
            f"{_named(table)}: verb {table.verb!r} is not allowed; schema/edges.yaml has {', '.join(known)}."
        )
    rule, pair = known[table.verb], [table.subject_label, table.object_label]
    for label in pair:
        if label not in schema("nodes")["labels"]:
            raise ContractError(
                f"{_named(table)}: label {label!r} is not in schema/nodes.yaml; it has {', '.join(labels())}."
            )
    if rule["pairs"] != "any" and pair not in rule["pairs"]:
        pairs = ", ".join(f"{s}-{o}" for s, o in rule["pairs"])
        raise ContractError(
            f"{_named(table)}: {table.verb} from {pair[0]} to {pair[1]} is not allowed; allowed are {pairs}."
        )
    edge = schema("edges")["edge"]
    _check_columns(table, edge_columns(table.verb), edge_required(table.verb), edge["values"])
    for end in ("subject", "object"):
        _check_pattern(table, end, _CURIE, "an id is a CURIE such as HGNC:3236")


def _check_columns(
    table: NodeTable | EdgeTable,
    columns: dict[str, str],
    required: list[str],
    values: Mapping[str, list[Any]],
) -> None:
    data = table.data
    if table.rows is not None and len(table.rows) != len(data):
        raise ContractError(
            f"{_named(table)}: the loader names {len(table.rows)} rows of the file for {len(data)}; correct it."
        )
    if len(set(data.column_names)) != len(data.column_names):
        raise ContractError(
            f"{_named(table)}: a column name occurs twice in {', '.join(data.column_names)}; rename one."
        )
    unknown = [name for name in data.column_names if name not in columns]
    if unknown:
        raise ContractError(
            f"{_named(table)}: column {unknown[0]!r} is not allowed; allowed are {', '.join(columns)}."
        )
    missing = [name for name in required if name not in data.column_names]
    if missing:
        raise ContractError(
            f"{_named(table)}: column {missing[0]!r} is required and absent; it has {', '.join(data.column_names)}."
        )
    for name in data.column_names:
        _check_type(table, name, columns[name])
        _check_values(table, name, columns[name], name in required)
        if name in values:
            _check_members(table, name, values[name])


def _check_type(table: NodeTable | EdgeTable, name: str, kind: str) -> None:
    import pyarrow.types as t

    data = table.data
    found = data.schema.field(name).type
    if t.is_dictionary(found):
        found = found.value_type
    is_text = (t.is_string, t.is_large_string)
    fits = {
        "string": any(test(found) for test in is_text),
        "int": t.is_integer(found),
        "float": t.is_floating(found) or t.is_integer(found),
        "bool": t.is_boolean(found),
        "list": (t.is_list(found) or t.is_large_list(found))
        and any(test(found.value_type) for test in is_text),
    }[kind]
    if not fits and not t.is_null(found):
        raise ContractError(
            f"{_named(table)}: column {name!r} has type {data.schema.field(name).type}; the schema says {kind}."
        )


def _check_values(table: NodeTable | EdgeTable, name: str, kind: str, required: bool) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.data[name]
    if pa.types.is_null(column.type):
        if required and len(column):
            raise _violation(table, name, 0, "a value is required")
        return
    if required:
        empty = None
        if kind == "list":
            empty = pc.equal(pc.list_value_length(column), 0)
        elif kind == "string":
            empty = _where(column, lambda texts: pc.equal(texts, ""))
        bad = column.is_null() if empty is None else pc.or_(column.is_null(), pc.fill_null(empty, False))
        _refuse_first(table, name, bad, "a value is required")
    if kind == "float" and pa.types.is_floating(column.type):
        _refuse_first(
            table, name, pc.invert(pc.is_finite(column)), "a number is finite; leave unknown ones null"
        )
    most = MOST_INDEXED if name in _INDEXED else MOST_CHARACTERS
    too_long = f"text has at most {most:,} characters"
    if kind == "string":
        bad = _where(column, lambda texts: pc.greater(pc.utf8_length(texts), most))
        _refuse_first(table, name, bad, too_long)
        bad = _where(column, lambda texts: pc.match_substring_regex(texts, _UNPRINTABLE))
        _refuse_first(table, name, bad, "text has no control characters")
    if kind == "list":
        flat = pc.list_flatten(column)
        long = pc.greater(pc.utf8_length(flat), most)
        if pc.any(long).as_py():
            at = pc.index(long, pa.scalar(True)).as_py()
            row = pc.list_parent_indices(column)[at].as_py()
            raise _violation(table, name, row, too_long, flat[at].as_py()[:100])
        bad = pc.match_substring_regex(flat, _UNPRINTABLE)
        reason = "text has no control characters"
        if name == "xrefs":
            bad = pc.or_(bad, pc.invert(pc.match_substring_regex(flat, _CURIE)))
            reason = "an xref is a CURIE such as NCBIGene:1956"
        if pc.any(bad).as_py():
            at = pc.index(bad, pa.scalar(True)).as_py()
            row = pc.list_parent_indices(column)[at].as_py()
            raise _violation(table, name, row, reason, flat[at].as_py())


def _check_members(table: NodeTable | EdgeTable, name: str, allowed: list[Any]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.data[name]
    if pa.types.is_null(column.type):
        return
    known = pc.is_in(column, value_set=pa.array(allowed, type=column.type))
    bad = pc.and_(column.is_valid(), pc.invert(known))
    _refuse_first(table, name, bad, f"allowed are {', '.join(map(str, allowed))}")


def _check_pattern(table: NodeTable | EdgeTable, name: str, pattern: str, allowed: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_null(table.data[name].type):
        bad = _where(table.data[name], lambda texts: pc.invert(pc.match_substring_regex(texts, pattern)))
        _refuse_first(table, name, bad, allowed)


def _where(column: pa.ChunkedArray, test: Callable[[pa.Array], pa.Array]) -> pa.ChunkedArray:
    """Rows for which a test of their text holds; of codes, each distinct text is tested once."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        return test(column)
    parts = [test(chunk.dictionary.cast(pa.string())).take(chunk.indices) for chunk in column.chunks]
    return pa.chunked_array(parts, pa.bool_())


def _refuse_first(table: NodeTable | EdgeTable, name: str, bad: pa.ChunkedArray, allowed: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    at = pc.index(bad, pa.scalar(True)).as_py()
    if at >= 0:
        raise _violation(table, name, at, allowed)


def _violation(
    table: NodeTable | EdgeTable, name: str, row: int, allowed: str, value: object = None
) -> ContractError:
    given = value if value is not None else table.data[name][row].as_py()
    shown = repr(given[:100] if isinstance(given, str) else given)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    number = row + 1 if table.rows is None else table.rows[row].as_py()
    return ContractError(f"{_named(table)}: row {number}, column {name!r}, value {shown}: {allowed}.")


# --------------------------------------------------------------------------- generated Cypher


def schema_statements() -> list[str]:
    """Return the constraints and indexes that follow from the schema, constraints first.

    They are what ``cypher/schema_constraints.cypher`` and ``cypher/schema_indexes.cypher`` hold; names are
    stable, and every statement can be repeated.
    """
    return [*_constraints(), *_indexes()]


def _constraints() -> list[str]:
    found = [_unique("entity_id", "(n:Entity)", "n.id")]
    found += [_unique(f"{_snake(label)}_id", f"(n:{label})", "n.id") for label in labels()]
    found += [_unique("source_key", "(n:Source)", "n.key"), _unique("release_id", "(n:Release)", "n.id")]
    found.append(_unique("retired_id", "(n:Retired)", "n.id"))
    found.append(_unique("encoder_property", "(n:Encoder)", "n.property"))
    return found


def _unique(name: str, pattern: str, what: str) -> str:
    return f"CREATE CONSTRAINT {name} IF NOT EXISTS FOR {pattern} REQUIRE {what} IS UNIQUE"


def _indexes() -> list[str]:
    found = [
        f"CREATE INDEX {_snake(label)}_{name} IF NOT EXISTS FOR (n:{label}) ON (n.{name})"
        for label, rule in schema("nodes")["labels"].items()
        for name in rule.get("indexed", [])
    ]
    names = "n.name, n.symbol, n.synonyms, n.full_name, n.alias_symbols, n.previous_symbols"
    found.append(_fulltext("entity_names", names, "standard-no-stop-words"))
    found.append(_fulltext("entity_text", "n.text, n.description", "standard-no-stop-words"))
    # A range index on a list finds whole lists only; a full-text index whose analyzer keeps each element as
    # one term finds the nodes that hold an element.
    found.append(_fulltext("entity_xrefs", "n.xrefs", "keyword"))
    vector = schema("nodes")["text_vector"]
    found.append(
        f"CREATE VECTOR INDEX entity_text_vec IF NOT EXISTS FOR (n:Entity) ON n.{vector['property']}\n"
        f"OPTIONS {{indexConfig: {{`vector.dimensions`: {vector['dimensions']}, "
        f"`vector.similarity_function`: '{vector['similarity']}'}}}}"
    )
    return found


def _fulltext(name: str, columns: str, analyzer: str) -> str:
    return (
        f"CREATE FULLTEXT INDEX {name} IF NOT EXISTS FOR (n:Entity) ON EACH [{columns}]\n"
        f"OPTIONS {{indexConfig: {{`fulltext.analyzer`: '{analyzer}'}}}}"
    )


def _snake(label: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", label).lower()


def load_statements() -> dict[str, str]:
    """Return the statements a load sends that depend on the schema: name in ``cypher/`` -> text.

    Labels, verbs and property names come from the schema, never from data.
    """
    columns = [c for c in stored_node_columns() if c not in ("id", "text", "text_sha")]
    found = {
        "load_nodes_read": (
            "// Stored properties of the nodes in $ids, one list each; texts follow from these.\n"
            "UNWIND $ids AS id\nMATCH (n:Entity {id: id})\n"
            f"RETURN collect([n.id, labels(n), {', '.join(f'n.{c}' for c in columns)}]) AS rows"
        )
    }
    counts = (
        f"MATCH (n:{label}) RETURN '{label}' AS label, count(n) AS nodes" for label in ("Entity", *labels())
    )
    found["load_count_labels"] = (
        "// How many entities carry each label, Entity included; read from the count store.\n"
        + "\nUNION ALL\n".join(counts)
    )
    for verb in verbs():
        read = ", ".join(f"r.{c}" for c in stored_edge_columns(verb) if c != "edge_key")
        found[f"load_edges_read_{verb.lower()}"] = (
            f"// Stored properties of the {verb} relationships in $keys, one list per relationship.\n"
            f"UNWIND $keys AS key\nMATCH (s)-[r:{verb} {{edge_key: key}}]->(o)\n"
            f"RETURN collect([key, s.id, o.id, {read}]) AS rows"
        )
        found[f"load_edges_write_{verb.lower()}"] = (
            f"// Create or update {verb} relationships: rows of [subject, object, edge_key, properties].\n"
            "UNWIND $rows AS row\nMATCH (s:Entity {id: row[0]})\nMATCH (o:Entity {id: row[1]})\n"
            f"MERGE (s)-[r:{verb} {{edge_key: row[2]}}]->(o)\nSET r += row[3]"
        )
        found[f"load_edges_count_{verb.lower()}"] = (
            f"// How many {verb} relationships there are; read from the count store.\n"
            f"MATCH ()-[r:{verb}]->()\nRETURN count(r) AS edges"
        )
        found[f"load_edges_retire_{verb.lower()}"] = (
            f"// Delete the {verb} relationships in $keys.\n"
            f"UNWIND $keys AS key\nMATCH ()-[r:{verb} {{edge_key: key}}]->()\nDELETE r"
        )
        found[f"walk_edges_{verb.lower()}"] = (
            f"// The next {verb} relationships by key, one list each: ends, properties $keys, where $more the others.\n"
            f"MATCH (s)-[r:{verb}]->(o) WHERE r.edge_key > $after\n"
            "WITH s, r, o ORDER BY r.edge_key LIMIT $limit\n"
            "RETURN collect([s.id, o.id, [k IN $keys | r[k]],\n"
            "  CASE WHEN $more THEN [k IN keys(r) WHERE NOT k IN $keys | [k, r[k]]] ELSE [] END]) AS rows"
        )
        found[f"load_edges_key_{verb.lower()}"] = (
            f"// Made when the first {verb} is loaded: an index on relationships costs time where there are many.\n"
            + _unique(f"{verb.lower()}_edge_key", f"()-[r:{verb}]-()", "r.edge_key")
        )
    return found
