"""Tables of picked nodes and relationships: properties are read once per internal id, in chunks, as flat lists.

Nodes are numbered by their rows, sorted by (type, id); relationships are parted by the types of their ends. Internal
ids live for the length of one selection only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import arrow_type
from tosg_graph.errors import ContractError, QueryError
from tosg_graph.hops import CHUNK, chunks, union, within
from tosg_graph.reading import Reading, parallel
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.pick import Pick

    Ids = NDArray[np.int64]
    EdgeKey = tuple[str, str, str]

NODE_CHUNK = 10_000  # nodes carry texts
_AT_ONCE = 2  # verbs that are sorted at a time: each takes memory
PICKED_BY = "picked_by_"  # how the columns begin that say which query picked a row
_TABLE = 20_000_000  # internal ids below this are looked up in a table (160 MB), others are searched

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


@dataclass
class _Edges:
    """Relationships of one verb, unsorted: internal ids, and the chunks of each property.

    Chunks, because sixteen million relationships are joined one column at a time: `columns` is emptied on the way. A
    chunk without any value has the type null, which takes no memory.
    """

    starts: Ids
    ends: Ids
    ids: Ids  # of the relationships; empty where nobody asks which query picked them
    columns: dict[str, list[pa.Array]]
    types: dict[str, pa.DataType]


def picked_tables(
    reading: Reading, nodes: Ids, relationships: Mapping[str, Ids], queries: Mapping[str, Pick]
) -> tuple[pa.Table, dict[EdgeKey, pa.Table]]:
    """Read what was picked.

    Parameters
    ----------
    nodes
        Internal ids; the ends of the relationships are added.
    relationships
        Internal ids by verb, distinct.
    queries
        Name -> what that query picked, for the columns ``picked_by_<name>``; empty for none.

    Returns
    -------
    tuple
        Nodes and edges as in `tosg_graph.types.Selection`.

    Raises
    ------
    QueryError
        If what was picked is not in the schema, has no id, or changed meanwhile.
    """
    edges = _read_edges(reading, relationships, bool(queries))
    nodes = union([nodes, *(side for e in edges.values() for side in (e.starts, e.ends))])
    table, internal = _read_nodes(reading, nodes)
    for name, picked in queries.items():
        column = PICKED_BY + name
        of_query = [picked.nodes]
        for verb, found in edges.items():
            mask = within(found.ids, picked.relationships.get(verb, found.ids[:0]))
            of_query += [found.starts[mask], found.ends[mask]]
            found.columns[column], found.types[column] = [_bools(mask)], _bools(mask).type
        table = table.append_column(column, _bools(within(internal, union(of_query))))
    return table, _typed_edges(edges, internal, table)


# --------------------------------------------------------------------------- nodes


def _read_nodes(reading: Reading, ids: Ids) -> tuple[pa.Table, Ids]:
    """Table of the nodes sorted by (type, id), and the internal id of each of its rows."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    read = parallel(lambda part: _node_chunk(reading, part), chunks(ids, NODE_CHUNK))
    tables = [table for part in read for table, _ in part]
    nodes, numbers = pa.concat_tables(tables), np.concatenate([n for part in read for _, n in part])
    _check_complete("nodes", len(ids), len(nodes))
    order = pc.sort_indices(nodes, sort_keys=[("type", "ascending"), ("id", "ascending")])
    return nodes.take(order).combine_chunks(), numbers[order.to_numpy()]


def _node_chunk(reading: Reading, ids: Ids) -> list[tuple[pa.Table, Ids]]:
    """A table per set of labels, and the internal ids of its rows."""
    import numpy as np
    import pyarrow as pa

    from tosg_graph.contract import stored_node_columns

    columns = stored_node_columns()
    found = []
    for row in reading.records(cypher("select_nodes"), {"ids": ids.tolist(), "keys": list(columns)}):
        n, type_ = len(row["ids"]), _type_of(row["labels"], len(row["ids"]))
        values = list(zip(*row["rows"], strict=True))
        table = pa.table({k: _array(k, kind, values[i]) for i, (k, kind) in enumerate(columns.items())})
        if table["id"].null_count:
            raise QueryError(
                f"{table['id'].null_count:,} picked {type_} nodes have no id, so this program did not "
                "load them. Leave them out of the query, or load them with `tosg load`."
            )
        labels = pa.array([sorted(set(row["labels"]) - {"Entity"})] * n, pa.list_(pa.string()))
        table = table.add_column(1, "type", pa.array([type_] * n)).add_column(2, "labels", labels)
        found.append((table, np.array(row["ids"], np.int64)))
    return found


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


# --------------------------------------------------------------------------- relationships


def _read_edges(reading: Reading, relationships: Mapping[str, Ids], with_ids: bool) -> dict[str, _Edges]:
    """Ends and properties of relationships by verb."""
    from tosg_graph.contract import stored_edge_columns, verbs

    for verb in sorted(set(relationships) - set(verbs())):
        raise QueryError(
            f"The query picks {len(relationships[verb]):,} {verb} relationships, which schema/edges.yaml "
            "does not know. Leave them out of the query."
        )
    columns = {verb: stored_edge_columns(verb) for verb in sorted(relationships)}
    tasks = [(verb, part) for verb in columns for part in chunks(relationships[verb], CHUNK)]
    read = parallel(lambda task: _edge_chunk(reading, columns[task[0]], task[1], with_ids), tasks)
    parts: dict[str, list[_Edges]] = {verb: [] for verb in columns}
    for (verb, _), found in zip(tasks, read, strict=True):
        parts[verb] += found
    del read
    joined = {verb: _joined(parts.pop(verb), columns[verb]) for verb in columns}
    for verb, edges in joined.items():
        _check_complete(f"{verb} relationships", len(relationships[verb]), len(edges.starts))
    return joined


def _joined(parts: Sequence[_Edges], columns: Mapping[str, str]) -> _Edges:
    import numpy as np

    starts, ends, ids = (np.concatenate([getattr(e, n) for e in parts]) for n in ("starts", "ends", "ids"))
    chunks_of = {name: [a for e in parts for a in e.columns[name]] for name in columns}
    return _Edges(starts, ends, ids, chunks_of, parts[0].types)


def _edge_chunk(reading: Reading, columns: Mapping[str, str], ids: Ids, with_ids: bool) -> list[_Edges]:
    """Relationships of one chunk, one `_Edges` per group of equal grouped properties."""
    grouped = [name for name in columns if name in GROUPED]
    listed = [name for name in columns if name not in GROUPED]
    slots = range(len(listed))
    lists_of = ", ".join(f"collect(p[$listed[{i}]]) AS v{i}" for i in slots)
    statement = cypher("select_edges").replace("{{lists}}", lists_of)
    parameters = {"ids": ids.tolist(), "with_ids": with_ids, "grouped": grouped, "listed": listed}
    rows = list(reading.records(statement, parameters))
    if any(0 < len(row[f"v{i}"]) < len(row["starts"]) for row in rows for i in slots):
        rows = list(reading.records(cypher("select_edges_with_gaps"), parameters))
        lists: list[list[Any]] = [list(map(list, zip(*row["rows"], strict=True))) for row in rows]
    else:
        lists = [[row[f"v{i}"] or None for i in slots] for row in rows]
    return [_group(columns, grouped, listed, row, values) for row, values in zip(rows, lists, strict=True)]


def _group(
    columns: Mapping[str, str],
    grouped: Sequence[str],
    listed: Sequence[str],
    row: Mapping[str, Any],
    values: Sequence[list[Any] | None],
) -> _Edges:
    import pyarrow as pa

    n = len(row["starts"])
    found = {
        name: _constant(columns[name], value, n) for name, value in zip(grouped, row["constant"], strict=True)
    }
    for name, column in zip(listed, values, strict=True):
        found[name] = pa.nulls(n) if column is None else _array(name, columns[name], column)
    starts, ends, ids = (_compact(row[name]) for name in ("starts", "ends", "ids"))
    text = pa.dictionary(pa.int32(), pa.string())
    types = {
        name: text if name in GROUPED and kind == "string" else arrow_type(kind)
        for name, kind in columns.items()
    }
    return _Edges(starts, ends, ids, {name: [found[name]] for name in columns}, types)


def _compact(ids: Sequence[int]) -> Ids:
    """Ids as int32 where they are small enough, as they are below two thousand million."""
    import numpy as np

    found = np.array(ids, np.int64)
    return found.astype(np.int32) if len(found) and found.max() < 2**31 else found


# --------------------------------------------------------------------------- rows and order


def _typed_edges(edges: dict[str, _Edges], internal: Ids, nodes: pa.Table) -> dict[EdgeKey, pa.Table]:
    """Number the ends, part the relationships by the types of their ends, and sort them; ``edges`` is emptied."""
    codes, names = _codes(nodes["type"])

    def of_verb(verb: str) -> list[tuple[EdgeKey, pa.Table]]:
        parted = _parted(edges.pop(verb), internal, codes, len(names))
        return [((names[source], verb, names[target]), tidy(table)) for source, target, table in parted]

    return dict(sorted(item for found in parallel(of_verb, list(edges), _AT_ONCE) for item in found))


def _parted(found: _Edges, internal: Ids, codes: Ids, types: int) -> list[tuple[int, int, pa.Table]]:
    """Codes of the types of both ends, and the relationships between these, sorted."""
    import numpy as np
    import pyarrow as pa

    source, target = rows_of(found.starts, internal), rows_of(found.ends, internal)
    found.starts = found.ends = found.ids = found.ids[:0]
    keys = _joined_chunks(found.columns["edge_key"], pa.int64()).to_numpy(zero_copy_only=False)
    order = order_of(source.astype(np.int64) * len(internal) + target, keys)
    pair = (codes[source] * types + codes[target]).astype(np.int16)
    order = order[np.argsort(pair[order], kind="stable")]
    pair = pair[order]
    columns = {
        "source_row": pa.array(source[order].astype(np.int64)),
        "target_row": pa.array(target[order].astype(np.int64)),
    }
    del source, target, keys
    for name in list(found.columns):  # one at a time, each gone before the next is joined
        joined = _joined_chunks(found.columns.pop(name), found.types[name])
        # Nothing to move where all is null; the type stays.
        columns[name] = joined if joined.null_count == len(joined) else joined.take(pa.array(order))
    starts = np.flatnonzero(np.append(True, pair[1:] != pair[:-1]))
    rows = pa.table(columns)
    return [
        (int(pair[start]) // types, int(pair[start]) % types, rows.slice(start, end - start))
        for start, end in zip(starts, [*starts[1:], len(pair)], strict=True)
    ]


def _joined_chunks(parts: list[pa.Array], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if all(pa.types.is_null(part.type) for part in parts):
        return _nulls(sum(map(len, parts)), kind)
    typed = [_nulls(len(part), kind) if pa.types.is_null(part.type) else part for part in parts]
    column = pa.chunked_array(typed)
    return (column.unify_dictionaries() if pa.types.is_dictionary(kind) else column).combine_chunks()


def _nulls(n: int, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if not pa.types.is_dictionary(kind):
        return pa.nulls(n, kind)
    return pa.DictionaryArray.from_arrays(pa.nulls(n, pa.int32()), pa.array([], pa.string()))


def rows_of(ids: Ids, internal: Ids) -> Ids:
    """Row of each internal id; ``internal`` holds each row's id."""
    import numpy as np

    if internal.max() < _TABLE:  # ids are offsets in the server's store, so a table of them is small
        row_of = np.zeros(internal.max() + 1, np.int32)
        row_of[internal] = np.arange(len(internal))
        return row_of[ids]
    order = np.argsort(internal)
    return order[np.searchsorted(internal[order], ids)]


def order_of(ends: Ids, edge_key: Ids) -> Ids:
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


def tidy(table: pa.Table) -> pa.Table:
    """Join the chunks of each column, sort its dictionary and drop what it does not use: chunks leave no trace."""
    import pyarrow as pa

    return pa.table([tidy_column(column) for column in table.columns], names=table.column_names)


def tidy_column(column: pa.ChunkedArray) -> pa.Array:
    """As `tidy`, of one column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return column.combine_chunks()
    if column.null_count == len(column):
        return _nulls(len(column), column.type)
    plain = column.unify_dictionaries().combine_chunks()
    used = plain.dictionary.take(plain.indices.unique().drop_null()).sort()
    place = pc.index_in(plain.dictionary, used)  # old place -> new place
    return pa.DictionaryArray.from_arrays(place.take(plain.indices), used)


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

    if value is None:
        return pa.nulls(n)
    if kind != "string":
        return pa.repeat(pa.scalar(value, arrow_type(kind)), n)
    return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([value], pa.string()))


def _bools(mask: NDArray[np.bool_]) -> pa.Array:
    import pyarrow as pa

    return pa.array(mask)


def _check_complete(what: str, asked: int, got: int) -> None:
    if asked != got:
        raise QueryError(
            f"{asked:,} {what} were picked but {got:,} could be read: the graph changed. Run it again."
        )
