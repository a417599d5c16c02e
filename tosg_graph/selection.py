"""The subgraph that a user's Cypher picks, numbered: nodes sorted by (type, id), edges per type.

Two steps, so that no entity and no unwanted property crosses the wire. The first runs the query once and
returns internal ids as flat lists; the second reads the properties of each picked id once, in chunks.
Internal ids live for the length of one selection only.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import ContractError, QueryError
from tosg_graph.resources import cypher
from tosg_graph.types import Selection

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph

    Ids = NDArray[np.int64]
    EdgeKey = tuple[str, str, str]

NESTING = 4  # levels of lists, maps and paths that select_pick_nested.cypher opens
CHUNK = 50_000  # ids per list and per statement: bounds memory on both sides
NODE_CHUNK = 10_000  # nodes carry texts
TIMEOUT_SECONDS = 600.0
READERS = 2  # sessions at a time: one is decoded here while the server prepares the other

# Properties of relationships that take few different values: sent once per group instead of once per edge.
GROUPED = frozenset(
    {"source", "sign", "negated", "relation", "resource", "action", "kind", "method", "store_version"}
)
LISTED = 6  # slots of select_edges.cypher for the other properties


@dataclass(frozen=True)
class _Edges:
    """Relationships of one verb, unsorted: internal ids of both ends and one Arrow array per property."""

    starts: Ids
    ends: Ids
    properties: pa.Table


def select(
    graph: Graph, query: str, parameters: Mapping[str, object] | None = None, *, induce: bool = False
) -> Selection:
    """Pick every node, relationship and path in the rows of ``query``, however nested.

    Both ends of a picked relationship are picked too. Values that are not graph elements are ignored.

    Parameters
    ----------
    query
        Cypher that only reads. Each returned expression needs a name (``RETURN nodes(p) AS n``).
    parameters
        Values of its ``$parameters``.
    induce
        Also pick every relationship among the picked nodes.

    Returns
    -------
    Selection
        Properties are those of ``schema/nodes.yaml`` and ``schema/edges.yaml``.

    Raises
    ------
    QueryError
        If the query is refused or fails, returns nothing, returns values only, nests graph elements more
        than four levels deep, or picks nodes or relationships that the schema does not know.
    """
    from tosg_graph.read_guard import check_reads_only

    given = dict(parameters or {})
    text = query.strip().rstrip(";").rstrip()
    columns = check_reads_only(graph, text, given)
    nodes, relationships = _pick(graph, text, given, columns)
    if induce:
        ends = (end for verb, ids in relationships.items() for end in _ends(graph, verb, ids))
        nodes = _union([nodes, *ends])
        relationships = _induced(graph, nodes)
    edges = {verb: _read_edges(graph, verb, ids) for verb, ids in sorted(relationships.items())}
    nodes = _union([nodes, *(end for e in edges.values() for end in (e.starts, e.ends))])
    table, internal = _read_nodes(graph, nodes)
    return Selection(
        nodes=table,
        edges=_typed_edges(edges, internal, table),
        query=query,
        parameters=given,
        induced=induce,
    )


def quote(name: str) -> str:
    """Back-quote a column name for Cypher, the one place where a user's name enters a statement.

    Inside back-quotes only the back-quote itself is special; it is doubled. Cypher also reads ``\\uXXXX`` as
    a character anywhere in a statement, so a name with a backslash is refused.

    Raises
    ------
    QueryError
        If ``name`` holds a backslash.
    """
    if "\\" in name:
        raise QueryError(f"The returned column {name!r} has a backslash in its name. Name it with AS.")
    return "`" + name.replace("`", "``") + "`"


# --------------------------------------------------------------------------- first step: ids


def _pick(
    graph: Graph, query: str, parameters: Mapping[str, object], columns: Sequence[str]
) -> tuple[Ids, dict[str, Ids]]:
    """Run the query once; internal ids of its nodes, and of its relationships by verb."""
    if "chunk" in parameters:
        raise QueryError("The parameter $chunk is used by the export itself. Rename it.")
    nodes, relationships, counts = _run_pick(graph, "select_pick", query, parameters, columns)
    if counts["(nested)"]:
        nodes, relationships, counts = _run_pick(graph, "select_pick_nested", query, parameters, columns)
    if counts["(nested)"]:
        raise QueryError(
            f"The query nests {counts['(nested)']:,} lists, maps or paths more than {NESTING} levels deep. "
            "Return the nodes and relationships themselves."
        )
    if not nodes and not relationships:
        raise _nothing_picked(graph, query, parameters, columns, counts["(value)"])
    return _union(nodes), {verb: _union(ids) for verb, ids in relationships.items()}


def _run_pick(
    graph: Graph, name: str, query: str, parameters: Mapping[str, object], columns: Sequence[str]
) -> tuple[list[Ids], dict[str, list[Ids]], Counter[str]]:
    """Lists of node ids, lists of relationship ids by verb, and how much else the rows hold."""
    import numpy as np

    statement = cypher(name).replace("{{columns}}", ", ".join(map(quote, columns)))
    statement = statement.replace("{{query}}", query)  # last: nothing is replaced inside the user's text
    nodes: list[Ids] = []
    relationships: dict[str, list[Ids]] = {}
    others: Counter[str] = Counter()
    for row in _records(graph, statement, {**parameters, "chunk": CHUNK}):
        if not row["element"]:
            others[row["kind"]] += row["items"]
        elif row["kind"] == "(node)":
            nodes.append(np.array(row["ids"], np.int64))
        else:
            relationships.setdefault(row["kind"], []).append(np.array(row["ids"], np.int64))
    return nodes, relationships, others


def _nothing_picked(
    graph: Graph, query: str, parameters: Mapping[str, object], columns: Sequence[str], values: int
) -> QueryError:
    if values:
        names = ", ".join(columns)
        return QueryError(
            f"The query returns no nodes, relationships or paths, only values ({names}). "
            "Return the elements themselves: RETURN g, not g.name."
        )
    asked = _texts(query, parameters)
    looked_for = f" Looked for {', '.join(map(repr, asked))}." if asked else ""
    near = [name for text in asked for name in _nearest(graph, text)]
    hint = f" Nearest names: {', '.join(map(repr, dict.fromkeys(near)))}." if near else ""
    return QueryError(f"The query matches nothing.{looked_for}{hint} Try `tosg search` for the spelling.")


def _texts(query: str, parameters: Mapping[str, object]) -> list[str]:
    """Text values in the query and its parameters, in order, at most five."""
    literals = re.findall(r"'((?:[^'\\]|\\.)+)'|\"((?:[^\"\\]|\\.)+)\"", query)
    found = [a or b for a, b in literals]
    for value in parameters.values():
        found += [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, str)]
    return list(dict.fromkeys(found))[:5]


def _nearest(graph: Graph, text: str) -> list[str]:
    from tosg_graph.search import nearest_names

    try:
        return list(nearest_names(graph, text))[:3]
    except Exception:  # a suggestion that fails must not hide the error that it belongs to
        return []


def _induced(graph: Graph, nodes: Ids) -> dict[str, Ids]:
    """Internal ids of all relationships among ``nodes``, by verb."""
    found: dict[str, list[list[int]]] = {}
    everything = nodes.tolist()
    for ids in _chunks(nodes, CHUNK):
        parameters = {"ids": ids.tolist(), "all": everything, "chunk": CHUNK}
        for row in _records(graph, cypher("select_induce"), parameters):
            found.setdefault(row["verb"], []).append(row["ids"])
    return {verb: _union(ids) for verb, ids in found.items()}


def _ends(graph: Graph, verb: str, ids: Ids) -> tuple[Ids, Ids]:
    edges = _read_edges(graph, verb, ids)
    return edges.starts, edges.ends


# --------------------------------------------------------------------------- second step: properties


def _read_nodes(graph: Graph, ids: Ids) -> tuple[pa.Table, Ids]:
    """Table of the nodes sorted by (type, id), and the internal id of each of its rows."""
    import numpy as np
    import pyarrow as pa

    from tosg_graph.contract import stored_node_columns

    columns = stored_node_columns()
    keys = list(columns)
    read = _parallel(
        lambda part: list(_records(graph, cypher("select_nodes"), {"ids": part.tolist(), "keys": keys})),
        _chunks(ids, NODE_CHUNK),
    )
    tables, internal = [], []
    for row in (row for rows in read for row in rows):
        type_ = _type_of(row["labels"], len(row["ids"]))
        values = list(zip(*row["rows"], strict=True))
        table = pa.table({k: _array(k, kind, values[i]) for i, (k, kind) in enumerate(columns.items())})
        if table["id"].null_count:
            raise QueryError(
                f"{table['id'].null_count:,} picked {type_} nodes have no id, so this program did not "
                "load them. Leave them out of the query, or load them with `tosg load`."
            )
        n = len(table)
        labels = pa.array([sorted(set(row["labels"]) - {"Entity"})] * n, pa.list_(pa.string()))
        table = table.add_column(1, "type", pa.array([type_] * n)).add_column(2, "labels", labels)
        tables.append(table)
        internal.append(np.array(row["ids"], np.int64))
    nodes, numbers = pa.concat_tables(tables), np.concatenate(internal)
    _check_complete("nodes", len(ids), len(nodes))
    import pyarrow.compute as pc

    order = pc.sort_indices(nodes, sort_keys=[("type", "ascending"), ("id", "ascending")])
    return nodes.take(order).combine_chunks(), numbers[order.to_numpy()]


def _type_of(labels: Sequence[str], count: int) -> str:
    from tosg_graph.contract import primary_type

    try:
        return primary_type(labels)
    except ContractError:
        names = ":".join(sorted(labels)) or "no label"
        raise QueryError(
            f"The query picks {count:,} nodes with {names}, which is no type of schema/nodes.yaml. "
            "Leave them out of the query."
        ) from None


def _read_edges(graph: Graph, verb: str, ids: Ids) -> _Edges:
    """Read all relationships of one verb, two sessions at a time."""
    import numpy as np
    import pyarrow as pa

    from tosg_graph.contract import stored_edge_columns, verbs

    if verb not in verbs():
        raise QueryError(
            f"The query picks {len(ids):,} {verb} relationships, which schema/edges.yaml does not know. "
            "Leave them out of the query."
        )
    columns = stored_edge_columns(verb)
    parts = _parallel(lambda part: _read_edge_chunk(graph, columns, part), _chunks(ids, CHUNK))
    found = [edges for part in parts for edges in part]
    table = pa.concat_tables([e.properties for e in found]).unify_dictionaries().combine_chunks()
    edges = _Edges(np.concatenate([e.starts for e in found]), np.concatenate([e.ends for e in found]), table)
    _check_complete(f"{verb} relationships", len(ids), len(edges.starts))
    return edges


def _read_edge_chunk(graph: Graph, columns: Mapping[str, str], ids: Ids) -> list[_Edges]:
    """Relationships of one chunk, one `_Edges` per group of equal grouped properties."""
    grouped = [name for name in columns if name in GROUPED]
    listed = [name for name in columns if name not in GROUPED]
    # An absent slot asks for the property "", which no relationship has.
    slots = [*listed, *[""] * (LISTED - len(listed))]
    parameters = {"ids": ids.tolist(), "grouped": grouped, "listed": slots}
    rows = list(_records(graph, cypher("select_edges"), parameters))
    if any(0 < len(row[f"v{i}"]) < len(row["starts"]) for row in rows for i in range(LISTED)):
        rows = list(_records(graph, cypher("select_edges_with_gaps"), {**parameters, "listed": listed}))
        lists: list[list[Any]] = [list(map(list, zip(*row["rows"], strict=True))) for row in rows]
    else:
        lists = [[row[f"v{i}"] or None for i in range(len(listed))] for row in rows]
    return [_group(columns, grouped, listed, row, values) for row, values in zip(rows, lists, strict=True)]


def _group(
    columns: Mapping[str, str],
    grouped: Sequence[str],
    listed: Sequence[str],
    row: Mapping[str, Any],
    values: Sequence[list[Any] | None],
) -> _Edges:
    import numpy as np
    import pyarrow as pa

    n = len(row["starts"])
    arrays = {
        name: _constant(columns[name], value, n) for name, value in zip(grouped, row["constant"], strict=True)
    }
    for name, column in zip(listed, values, strict=True):
        kind = columns[name]
        arrays[name] = pa.nulls(n, _arrow_type(kind)) if column is None else _array(name, kind, column)
    table = pa.table({name: arrays[name] for name in columns})
    return _Edges(np.array(row["starts"], np.int64), np.array(row["ends"], np.int64), table)


def _typed_edges(edges: Mapping[str, _Edges], internal: Ids, nodes: pa.Table) -> dict[EdgeKey, pa.Table]:
    """Number the ends, part the relationships by the types of their ends, and sort them."""
    import numpy as np

    by_internal = np.argsort(internal)
    known = internal[by_internal]
    codes, names = _codes(nodes["type"])
    typed: dict[EdgeKey, pa.Table] = {}
    for verb, found in edges.items():
        source = by_internal[np.searchsorted(known, found.starts)]
        target = by_internal[np.searchsorted(known, found.ends)]
        pair = codes[source] * len(names) + codes[target]
        for value in np.unique(pair):
            key = (names[value // len(names)], verb, names[value % len(names)])
            at = np.flatnonzero(pair == value)
            typed[key] = _sorted_edges(source[at], target[at], found.properties.take(at))
    return dict(sorted(typed.items()))


def _codes(types: pa.ChunkedArray) -> tuple[Ids, list[str]]:
    import numpy as np

    encoded = types.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _sorted_edges(source: Ids, target: Ids, properties: pa.Table) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    order = np.lexsort((properties["edge_key"].to_numpy(), target, source))
    head = pa.table({"source_row": source[order], "target_row": target[order]})
    for name in properties.column_names:
        column = properties[name].take(order)
        head = head.append_column(name, _tidy(column) if pa.types.is_dictionary(column.type) else column)
    return head


def _tidy(column: pa.ChunkedArray) -> pa.Array:
    """Sort the dictionary of a column and drop what it does not use, so that chunks leave no trace."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = column.combine_chunks()
    plain = plain.cast(pa.string())
    used = plain.unique().drop_null().sort()
    return pa.DictionaryArray.from_arrays(pc.index_in(plain, used), used)


# --------------------------------------------------------------------------- Arrow and Bolt


def _arrow_type(kind: str) -> pa.DataType:
    """Arrow type of a type of the schema."""
    import pyarrow as pa

    return {
        "string": pa.string(),
        "int": pa.int64(),
        "float": pa.float64(),
        "bool": pa.bool_(),
        "list": pa.list_(pa.string()),
    }[kind]


def _array(name: str, kind: str, values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, _arrow_type(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise QueryError(
            f"The property {name!r} in the graph is not the {kind} that schema/*.yaml names: {error}. "
            "Load its source again."
        ) from error


def _constant(kind: str, value: Any, n: int) -> pa.Array:
    """``value`` n times; strings as a dictionary, so that a million equal ones stay small."""
    import numpy as np
    import pyarrow as pa

    if kind != "string":
        return pa.repeat(pa.scalar(value, _arrow_type(kind)), n)
    if value is None:
        return pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], pa.string()))
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([value], pa.string()))


def _records(graph: Graph, statement: str, parameters: Mapping[str, object]) -> Iterator[Any]:
    """Stream the records of a read; the server's message becomes a `QueryError`."""
    import neo4j
    from neo4j.exceptions import DriverError, Neo4jError

    asked = neo4j.Query(statement, timeout=TIMEOUT_SECONDS)
    try:
        # Rows are long lists: few of them at a time keep the buffer small.
        with graph.driver.session(
            database=graph._database, default_access_mode=neo4j.READ_ACCESS, fetch_size=8
        ) as session:
            yield from session.run(asked, dict(parameters))
    except Neo4jError as error:
        raise QueryError(_server_message(error)) from error
    except DriverError as error:
        raise QueryError(f"The server stopped answering during the selection: {error}") from error


def _server_message(error: Any) -> str:
    message = str(error.message or error)
    if "must be aliased" in message:
        return (
            "Each expression that the query returns needs a name of its own: write RETURN nodes(p) AS n, "
            "not RETURN nodes(p)."
        )
    return f"The query failed: {message.splitlines()[0]}"


def _parallel(read: Callable[[Ids], Any], chunks: Iterable[Ids]) -> list[Any]:
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, chunks))


def _chunks(ids: Ids, size: int) -> list[Ids]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def _union(parts: Iterable[Sequence[int] | Ids]) -> Ids:
    """Sorted, distinct ids of all parts."""
    import numpy as np

    return np.unique(np.concatenate([np.empty(0, np.int64), *(np.asarray(p, np.int64) for p in parts)]))


def _check_complete(what: str, asked: int, got: int) -> None:
    if asked != got:
        raise QueryError(
            f"{asked:,} {what} were picked but {got:,} could be read: the graph changed. Run it again."
        )
