"""The subgraph that a user's Cypher picks, numbered: nodes sorted by (type, id), edges per type.

Two steps, so that no entity and no unwanted property crosses the wire. The first runs the query once and
returns internal ids as flat lists; the second reads the properties of each picked id once, in chunks.
Internal ids live for the length of one selection only.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import arrow_type
from tosg_graph.errors import ContractError, QueryError
from tosg_graph.graph_counts import NOTHING_LOADED, nothing_loaded
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
_TABLE = 20_000_000  # internal ids below this are looked up in a table (160 MB), others are searched
READERS = 2  # sessions at a time: one is decoded here while the server prepares the other

# Properties of relationships that take few different values: sent once per group instead of once per edge.
GROUPED = frozenset(
    {
        "source",
        "sign",
        "negated",
        "relation",
        "resource",
        "action",
        "kind",
        "method",
        "store_version",
        "licence",
    }
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
        nodes = _union([nodes, *_ends(_read_edges(graph, relationships))])
        relationships = _induced(graph, nodes)
    edges = _read_edges(graph, relationships)
    nodes = _union([nodes, *_ends(edges)])
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
    if not columns:
        raise QueryError(
            "The query returns no columns. End it with RETURN and nodes, relationships or paths."
        )
    if "tosg_chunk" in parameters:
        raise QueryError("The parameter $tosg_chunk is used by the export itself. Rename it.")
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
    for row in _records(graph, statement, {**parameters, "tosg_chunk": CHUNK}):
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
    if nothing_loaded(graph):
        return QueryError(f"The query matches nothing: {NOTHING_LOADED}.")
    unknown = _unknown_names(graph, query, parameters)
    if unknown:
        return QueryError(f"The query matches nothing: {'; '.join(unknown)}.")
    asked = _texts(query, parameters)
    looked_for = f" Looked for {', '.join(map(repr, asked))}." if asked else ""
    near = [name for text in asked for name in _nearest(graph, text)]
    hint = f" Nearest names: {', '.join(map(repr, dict.fromkeys(near)))}." if near else ""
    return QueryError(f"The query matches nothing.{looked_for}{hint} Try `tosg search` for the spelling.")


_UNKNOWN = {"01N50": "label", "01N51": "relationship type", "01N52": "property"}  # of Neo4j's status codes


def _unknown_names(graph: Graph, query: str, parameters: Mapping[str, object]) -> list[str]:
    """Labels, types and properties in the query that the server has never seen, with what may help."""
    from tosg_graph.contract import labels, verbs

    known = {"label": labels(), "relationship type": verbs(), "property": []}
    found = []
    for status in graph.explain(query, dict(parameters)).gql_status_objects:
        kind = _UNKNOWN.get(status.gql_status)
        name = re.search(r"`([^`]+)`", status.status_description or "")
        if kind and name:
            found.append(f"the graph has no {kind} {name[1]!r}, {_advice(name[1], known[kind])}")
    return found


def _advice(name: str, known: Sequence[str]) -> str:
    if name in known:
        return "which no source that is loaded states; load one that does, `tosg load --list` shows all"
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "correct the spelling"


def _texts(query: str, parameters: Mapping[str, object]) -> list[str]:
    """Text values in the query and its parameters, in order, at most five."""
    literals = re.findall(r"'((?:[^'\\]|\\.)+)'|\"((?:[^\"\\]|\\.)+)\"", query)
    found = [a or b for a, b in literals]
    for value in parameters.values():
        found += [v for v in (value if isinstance(value, list | tuple) else [value]) if isinstance(v, str)]
    return list(dict.fromkeys(found))[:5]


def _nearest(graph: Graph, text: str) -> list[str]:
    try:
        from tosg_graph.search import nearest_names

        return list(nearest_names(graph, text))[:3]
    except Exception:  # a suggestion that fails must not hide the error that it belongs to
        return []


def _induced(graph: Graph, nodes: Ids) -> dict[str, Ids]:
    """Internal ids of all relationships among ``nodes``, by verb."""
    import numpy as np

    found: dict[str, list[Ids]] = {}
    for row in _records(graph, cypher("select_induce"), {"ids": nodes.tolist(), "chunk": CHUNK}):
        found.setdefault(row["verb"], []).append(np.array(row["ids"], np.int64))
    return {verb: _union(ids) for verb, ids in found.items()}


def _ends(edges: Mapping[str, _Edges]) -> list[Ids]:
    return [end for e in edges.values() for end in (e.starts, e.ends)]


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


def _read_edges(graph: Graph, relationships: Mapping[str, Ids]) -> dict[str, _Edges]:
    """Ends and properties of relationships by verb."""
    from tosg_graph.contract import stored_edge_columns, verbs

    for verb in sorted(set(relationships) - set(verbs())):
        raise QueryError(
            f"The query picks {len(relationships[verb]):,} {verb} relationships, which schema/edges.yaml "
            "does not know. Leave them out of the query."
        )
    order = sorted(relationships)
    tasks = [(verb, part) for verb in order for part in _chunks(relationships[verb], CHUNK)]
    parts = _parallel(lambda task: _read_edge_chunk(graph, stored_edge_columns(task[0]), task[1]), tasks)
    found: dict[str, list[_Edges]] = {verb: [] for verb in order}
    for (verb, _), part in zip(tasks, parts, strict=True):
        found[verb] += part
    return {verb: _joined(verb, found[verb], len(relationships[verb])) for verb in order}


def _joined(verb: str, parts: Sequence[_Edges], expected: int) -> _Edges:
    import numpy as np
    import pyarrow as pa

    starts, ends = (np.concatenate([getattr(e, side) for e in parts]) for side in ("starts", "ends"))
    _check_complete(f"{verb} relationships", expected, len(starts))
    table = pa.concat_tables([e.properties for e in parts]).unify_dictionaries()
    return _Edges(starts, ends, table.combine_chunks())


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
        arrays[name] = pa.nulls(n, arrow_type(kind)) if column is None else _array(name, kind, column)
    table = pa.table({name: arrays[name] for name in columns})
    return _Edges(np.array(row["starts"], np.int64), np.array(row["ends"], np.int64), table)


def _typed_edges(edges: Mapping[str, _Edges], internal: Ids, nodes: pa.Table) -> dict[EdgeKey, pa.Table]:
    """Number the ends, part the relationships by the types of their ends, and sort them."""
    import numpy as np
    import pyarrow as pa

    codes, names = _codes(nodes["type"])
    typed: dict[EdgeKey, pa.Table] = {}
    for verb, found in edges.items():
        source, target = _rows_of(found.starts, internal), _rows_of(found.ends, internal)
        pair = codes[source] * len(names) + codes[target]
        order = _order(source * len(nodes) + target, found.properties["edge_key"].to_numpy())
        order = order[np.argsort(pair[order].astype(np.int16), kind="stable")]
        rows = pa.table({"source_row": source[order], "target_row": target[order]})
        for name, column in zip(found.properties.column_names, found.properties.columns, strict=True):
            # Nothing to move where all is null; the type stays.
            empty = column.null_count == len(column)
            rows = rows.append_column(name, column if empty else column.take(pa.array(order)))
        ordered = pair[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        for start, end in zip(starts, [*starts[1:], len(pair)], strict=True):
            value = ordered[start]
            key = (names[value // len(names)], verb, names[value % len(names)])
            typed[key] = _tidy(rows.slice(start, end - start))
    return dict(sorted(typed.items()))


def _rows_of(ids: Ids, internal: Ids) -> Ids:
    """Row of each internal id; ``internal`` holds each row's id."""
    import numpy as np

    if internal.max() < _TABLE:  # ids are offsets in the server's store, so a table of them is small
        row_of = np.zeros(internal.max() + 1, np.int64)
        row_of[internal] = np.arange(len(internal))
        return row_of[ids]
    order = np.argsort(internal)
    return order[np.searchsorted(internal[order], ids)]


def _order(ends: Ids, edge_key: Ids) -> Ids:
    """Order by (``ends``, ``edge_key``); the few parallel edges alone pay for the second key."""
    import numpy as np

    order = np.argsort(ends)
    ordered = ends[order]
    same = ordered[1:] == ordered[:-1]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    among = order[tied]
    order[tied] = among[np.lexsort((among, edge_key[among], ends[among]))]
    return order


def _codes(types: pa.ChunkedArray) -> tuple[Ids, list[str]]:
    """Number of each row's type, and the types in alphabetical order (the rows are sorted by type)."""
    import numpy as np

    encoded = types.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _tidy(table: pa.Table) -> pa.Table:
    """Sort each dictionary and drop what its column does not use, so that chunks leave no trace."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in table.columns:
        plain = column.combine_chunks()
        if pa.types.is_dictionary(plain.type):
            used = plain.dictionary.take(plain.indices.unique().drop_null())
            used = used.sort()
            place = pc.index_in(plain.dictionary, used)  # old place -> new place
            plain = pa.DictionaryArray.from_arrays(place.take(plain.indices), used)
        columns.append(plain)
    return pa.table(columns, names=table.column_names)


# --------------------------------------------------------------------------- Arrow and Bolt


def _array(name: str, kind: str, values: Sequence[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, arrow_type(kind))
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
        return pa.repeat(pa.scalar(value, arrow_type(kind)), n)
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


def _parallel(read: Callable[[Any], Any], tasks: Iterable[Any]) -> list[Any]:
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(read, tasks))


def _chunks(ids: Ids, size: int) -> list[Ids]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def _union(parts: Iterable[Sequence[int] | Ids]) -> Ids:
    """Sorted, distinct ids of all parts."""
    import numpy as np

    # numpy.unique hashes, which takes ten times as long as sorting does.
    ids = np.sort(np.concatenate([np.empty(0, np.int64), *(np.asarray(p, np.int64) for p in parts)]))
    return ids[np.append(True, ids[1:] != ids[:-1])] if len(ids) else ids


def _check_complete(what: str, asked: int, got: int) -> None:
    if asked != got:
        raise QueryError(
            f"{asked:,} {what} were picked but {got:,} could be read: the graph changed. Run it again."
        )
