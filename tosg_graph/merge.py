"""One node per id and one relationship per key, out of many tables.

Rules: tables count in load order. Of a scalar, the first value that is not missing wins, and each other value
that was given is counted as a conflict. Lists are united and sorted. Missing is null, an empty string or an
empty list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.contract import (
    arrow_type,
    file_rows,
    is_symmetric,
    labels,
    primary_type,
    stored_edge_columns,
    stored_node_columns,
)
from tosg_graph.ids import IdResolver, edge_keys, one_dictionary
from tosg_graph.ledger import TableAccount
from tosg_graph.stated import row_hashes
from tosg_graph.text import entity_texts, text_sha
from tosg_graph.types import EdgeTable, NodeTable, Reject

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

_IN_ORDER = ("labels", "sources")  # lists whose order says something: not sorted when united
_NAMES = ("name", "symbol")  # of nodes; one that is only the id gives way
_BATCH = 50_000  # nodes that are wide, with their texts, at a time

SAME_ID = "same id as an earlier row"
SAME_EDGE = "same relationship as an earlier row"
COLLISION = "edge key collision"


@dataclass
class MergedNodes:
    """Nodes to be stored, one per id. The tables stay as they are; rows are completed batch by batch.

    Parameters
    ----------
    ids
        Id of each node, string, shape ``(n,)``: first those that one row states, then the united ones.
    owner
        Index into the accounts of the table that a node came from first, int32, shape ``(n,)``.
    label_counts
        Label -> number of nodes that have it.
    """

    ids: pa.Array
    owner: npt.NDArray[np.int32]
    label_counts: Counter[str]
    _tables: Sequence[NodeTable]
    _alone: Sequence[npt.NDArray[np.int64]]  # of each table, the rows that are alone with their id
    _united: pa.Table

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Hash of what this load says of each node, uint64, shape ``(n,)``; see `tosg_graph.stated`."""
        found = [np.zeros(0, np.uint64)]
        for table, rows in zip(self._tables, self._alone, strict=True):
            said = _said_by(table)
            parts = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
            found.extend(row_hashes(_take(table.data, part)) ^ said for part in parts)
        return np.concatenate([*found, row_hashes(self._united)])

    def types(self) -> pa.DictionaryArray:
        """Label that is the type of each node."""
        import pyarrow as pa

        known = {label: code for code, label in enumerate(labels())}
        codes = [np.zeros(0, np.int32)]
        for table, rows in zip(self._tables, self._alone, strict=True):
            codes.append(np.full(len(rows), known[table.label], np.int32))
        several = [known[primary_type(given)] for given in self._united["labels"].to_pylist()]
        codes.append(np.array(several, np.int32))
        return pa.DictionaryArray.from_arrays(pa.array(np.concatenate(codes)), pa.array(known, pa.string()))

    def stated_by(
        self, which: Collection[int], hashes: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint64]]:
        """Say which nodes some of the tables state, and hash what they alone say of each.

        Parameters
        ----------
        which
            Numbers of the tables.
        hashes
            As `hashes` gives them.

        Returns
        -------
        stated
            Whether they state a node, bool, shape ``(n,)``.
        own
            Hash, uint64, shape ``(n,)``; of a node that they do not state, nothing.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        mine, own = np.zeros(len(self.ids), bool), hashes.copy()
        united = len(self.ids) - len(self._united)
        own[united:] = 0
        first = 0
        for number, (table, alone) in enumerate(zip(self._tables, self._alone, strict=True)):
            last = first + len(alone)
            if number in which:
                mine[first:last] = True
                rows = np.delete(np.arange(len(table.data)), alone)
                data = _take(table.data, rows)
                ids = pc.index_in(data["id"].cast(pa.string()), value_set=self._united["id"].combine_chunks())
                at = united + ids.to_numpy()
                mine[at] = True
                # A sum, for several rows may say something and their order says nothing.
                np.add.at(own, at, row_hashes(data) ^ _said_by(table))
            first = last
        return mine, own

    def batches(self, which: npt.NDArray[np.bool_] | None = None) -> Iterator[pa.Table]:
        """Yield the nodes in order, with ``labels``, ``sources``, ``text`` and ``text_sha``.

        Parameters
        ----------
        which
            Nodes to yield, bool, shape ``(n,)``; all without it.
        """
        first = 0
        for table, rows in zip(self._tables, self._alone, strict=True):
            wanted = rows if which is None else rows[which[first : first + len(rows)]]
            first += len(rows)
            for start in range(0, len(wanted), _BATCH):
                yield _with_text(_complete(table, _take(table.data, wanted[start : start + _BATCH])))
        united = self._united if which is None else _take(self._united, np.flatnonzero(which[first:]))
        for start in range(0, len(united), _BATCH):
            yield _with_text(united.slice(start, _BATCH))


@dataclass
class MergedEdges:
    """Relationships of one verb to be stored, one per key, in order of first appearance.

    Parameters
    ----------
    data
        ``subject``, ``object``, ``source`` and ``edge_key``, and the properties of the schema that some table
        gives; text is dictionary-encoded.
    owner
        Index into the accounts of the table that a row came from first, int32, shape ``(n,)``.
    """

    data: pa.Table
    owner: npt.NDArray[np.int32]


# --------------------------------------------------------------------------- nodes


def merge_nodes(
    tables: Sequence[NodeTable],
    accounts: Sequence[TableAccount],
    moved: Sequence[npt.NDArray[np.int64]] = (),
) -> MergedNodes:
    """Merge node tables into one row per id.

    Parameters
    ----------
    tables
        Checked tables in load order, with the ids of entities; see `tosg_graph.identity`.
    accounts
        One per table; merged rows and conflicts are counted there.
    moved
        Of each table, the rows whose id is that of the entity they joined; why is noted in the account already.
    """
    import pyarrow as pa

    ids = [_typed(table.data, "id", "string") for table in tables]
    encoded = pa.chunked_array(ids, pa.string()).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    table_of = np.repeat(np.arange(len(tables), dtype=np.int32), [len(i) for i in ids])
    row_of = np.concatenate([np.arange(len(i)) for i in ids]) if ids else np.zeros(0, np.int64)
    _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    is_first, is_alone = first[inverse] == np.arange(len(codes)), counts[inverse] == 1
    has_moved = np.zeros(len(codes), bool)
    for start, rows in zip(np.searchsorted(table_of, np.arange(len(tables))), moved, strict=False):
        has_moved[start + rows] = True
    _count(accounts, table_of[is_first], table_of[~is_first & ~has_moved], SAME_ID)
    _count(accounts, table_of[:0], table_of[~is_first & has_moved], None)
    alone = [row_of[is_alone & (table_of == index)] for index in range(len(tables))]
    parts = []
    for index, table in enumerate(tables):
        rows = row_of[~is_alone & (table_of == index)]
        if len(rows):
            whole = _complete(table, table.data.take(pa.array(rows)))
            parts.append(_with_origin(whole, index, file_rows(table, rows)))
    united = _unite_groups(parts, inverse[~is_alone], accounts)
    label_counts = Counter(dict.fromkeys((t.label for t in tables), 0))
    for table, rows in zip(tables, alone, strict=True):
        label_counts[table.label] += len(rows)
    label_counts.update(label for given in united["labels"].to_pylist() for label in given)
    return MergedNodes(
        ids=pa.chunked_array(
            [i.take(pa.array(rows)) for i, rows in zip(ids, alone, strict=True)] + united["id"].chunks,
            pa.string(),
        ).combine_chunks(),
        owner=np.concatenate([table_of[is_alone], table_of[~is_alone & is_first]]),
        label_counts=label_counts,
        _tables=tables,
        _alone=alone,
        _united=united,
    )


def _said_by(table: NodeTable) -> np.uint64:
    return np.uint64(int(text_sha(f"{table.label} {table.source}")[:16], 16))


def _take(rows: pa.Table, at: npt.NDArray[np.int64]) -> pa.Table:
    import pyarrow as pa

    return rows.take(pa.array(at))


def _kinds() -> dict[str, str]:
    """Columns of a node before its text is added."""
    made_later = ("text", "text_sha", "release", "sources")
    columns = {c: k for c, k in stored_node_columns().items() if c not in made_later}
    return {**columns, "labels": "list", "sources": "list"}


def _complete(table: NodeTable, rows: pa.Table) -> pa.Table:
    """Rows of one table with all columns of the schema, their label and their source."""
    import pyarrow as pa

    constant = {"labels": table.label, "sources": table.source}
    part = {name: _typed(rows, name, kind) for name, kind in _kinds().items() if name not in constant}
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32))
    for name, value in constant.items():
        part[name] = pa.ListArray.from_arrays(offsets, pa.repeat(value, len(rows)))
    return pa.table(part)


def _unite_groups(
    parts: Sequence[pa.Table], codes: npt.NDArray[np.int64], accounts: Sequence[TableAccount]
) -> pa.Table:
    import pyarrow as pa

    kinds = _kinds()
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in kinds.items()])
    if not parts:
        return schema.empty_table()
    united = _unite(pa.concat_tables(parts), codes, kinds, accounts)
    return pa.Table.from_pylist(united, schema)


def _with_text(nodes: pa.Table) -> pa.Table:
    import pyarrow as pa

    texts = entity_texts(nodes)
    hashes = [text_sha(text) for text in texts.to_pylist()]
    return nodes.append_column("text", texts).append_column("text_sha", pa.array(hashes, pa.string()))


# --------------------------------------------------------------------------- relationships


def merge_edges(
    verb: str, tables: Sequence[EdgeTable], accounts: Sequence[TableAccount], resolver: IdResolver
) -> MergedEdges:
    """Merge the edge tables of one verb into one row per ``edge_key``.

    Endpoints become entity ids; rows whose endpoint cannot be resolved, or whose key collides with that of
    another relationship, are rejected and counted.

    Parameters
    ----------
    tables
        Checked tables of this verb in load order, at least one.
    accounts
        One per table.
    """
    import pyarrow as pa

    given = {name for table in tables for name in table.data.column_names}
    kinds = {name: kind for name, kind in stored_edge_columns(verb).items() if name in given - {"source"}}
    parts = []
    for index, (table, account) in enumerate(zip(tables, accounts, strict=True)):
        parts.append(_resolved(table, account, resolver, index, kinds))
    del tables, table
    rows = pa.concat_tables(parts)
    parts.clear()
    for name in ("subject", "object", "source"):
        rows = rows.set_column(rows.column_names.index(name), name, one_dictionary(rows[name]))
    keys = _keys(verb, rows)
    rows = rows.append_column("edge_key", pa.array(keys))
    repeated, kept = _repeats(keys)
    if len(repeated):
        rows = _united(rows, repeated, kept, kinds, accounts)
    rows = rows.drop_columns(["_row"])
    columns = dict(zip(rows.column_names, rows.columns, strict=True))
    del rows
    if len(repeated):
        is_kept = np.ones(len(keys), bool)
        is_kept[repeated] = False
        for name in columns:  # one after the other: the whole twice would be gigabytes
            columns[name] = columns[name].filter(pa.array(is_kept))
    owner = columns.pop("_table").to_numpy()
    _count(accounts, owner, np.zeros(0, np.int32), SAME_EDGE)
    return MergedEdges(pa.table(columns), owner)


def _keys(verb: str, rows: pa.Table) -> npt.NDArray[np.int64]:
    subjects, objects, sources = (rows[name].chunk(0) for name in ("subject", "object", "source"))
    relations = one_dictionary(rows["relation"]) if "relation" in rows.column_names else None
    return edge_keys(verb, subjects, objects, sources, relations)


def _repeats(keys: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows whose key an earlier row has, in order, and the first row of each one's key."""
    order = np.argsort(keys)  # equal keys in any order: a stable one takes three times as long
    in_order = keys[order]
    starts = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1])[: len(keys)])
    del in_order
    if len(starts) == len(keys):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lengths = np.diff(starts, append=len(keys))
    several = lengths > 1
    rows = order[np.repeat(several, lengths)]
    kept = np.repeat(np.minimum.reduceat(order, starts)[several], lengths[several])
    again = rows != kept
    rows, kept = rows[again], kept[again]
    by_row = np.argsort(rows)
    return rows[by_row], kept[by_row]


def _resolved(
    table: EdgeTable, account: TableAccount, resolver: IdResolver, index: int, kinds: Mapping[str, str]
) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = {}
    good = np.ones(len(table.data), bool)
    for end, label in (("subject", table.subject_label), ("object", table.object_label)):
        ends[end], reasons = resolver.resolve(label, table.data[end])
        missing = ends[end].is_null().to_numpy(zero_copy_only=False)
        at = np.flatnonzero(missing & good)
        values = table.data[end].take(pa.array(at)).cast(pa.string()).to_pylist()
        places = file_rows(table, at).tolist()
        account.reject([Reject(n, end, v, reasons[v]) for n, v in zip(places, values, strict=True)])
        good &= ~missing
    part = dict(ends) | {name: _edge_column(table.data, name, kind) for name, kind in kinds.items()}
    stated = _edge_column(
        table.data, "source" if "source" in table.data.column_names else "resource", "string"
    )
    stated = pc.fill_null(stated.dictionary_decode(), table.source) if stated.null_count else stated
    part["source"] = one_dictionary(stated)
    rows = _with_origin(pa.table(part), index, file_rows(table, np.arange(len(good), dtype=np.int32)))
    rows = rows if good.all() else rows.filter(pa.array(good))
    return _turned(rows) if is_symmetric(table.verb) else rows


def _turned(rows: pa.Table) -> pa.Table:
    """Put the smaller id first, by code point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ends = [one_dictionary(rows[end]) for end in ("subject", "object")]
    both = pa.chunked_array(ends).unify_dictionaries()
    ids = both.chunk(1).dictionary  # unified: the same for both
    ranks = np.empty(len(ids), np.int32)
    ranks[pc.array_sort_indices(ids).to_numpy()] = np.arange(len(ids), dtype=np.int32)
    subject, object_ = (chunk.indices.to_numpy() for chunk in both.chunks)
    turn = ranks[subject] > ranks[object_]
    for name, codes in (
        ("subject", np.where(turn, object_, subject)),
        ("object", np.where(turn, subject, object_)),
    ):
        column = pa.DictionaryArray.from_arrays(pa.array(codes), ids)
        rows = rows.set_column(rows.column_names.index(name), name, column)
    return rows


def _united(
    rows: pa.Table,
    repeated: npt.NDArray[np.int64],
    kept: npt.NDArray[np.int64],
    kinds: Mapping[str, str],
    accounts: Sequence[TableAccount],
) -> pa.Table:
    """Refuse rows whose key another relationship has, unite rows of one key; equal rows never leave Arrow.

    Returns the rows, those that are kept with what the repeated ones say.
    """
    import pyarrow as pa

    collides = ~_equal(rows, kept, repeated, ("subject", "object", "source"))
    refused = rows.select(["_table", "_row", "subject"]).take(pa.array(repeated[collides]))
    for row in refused.to_pylist():
        accounts[row["_table"]].reject([Reject(row["_row"], "subject", row["subject"], COLLISION)])
    repeated, kept = repeated[~collides], kept[~collides]
    table_of = rows["_table"].to_numpy()
    _count(accounts, np.zeros(0, np.int32), table_of[repeated], SAME_EDGE)
    properties = [name for name in kinds if name not in ("source", "edge_key")]
    differs = ~_equal(rows, kept, repeated, properties)
    if not differs.any():
        return rows
    several = np.union1d(kept[differs], repeated[differs])
    wide = {"subject": "string", "object": "string", "source": "string", "edge_key": "int", **kinds}
    first_of = several.copy()  # a row that is kept is its own first
    first_of[np.searchsorted(several, repeated[differs])] = kept[differs]
    united = _unite(rows.take(pa.array(several)), first_of, wide, accounts)
    replaced = np.unique(kept[differs])  # in order of appearance, as the united rows are
    for name in properties:
        values = pa.array([row[name] for row in united], arrow_type(kinds[name]))
        rows = _replace(rows, name, replaced, values)
    return rows


def _equal(
    rows: pa.Table, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], names: Sequence[str]
) -> npt.NDArray[np.bool_]:
    """Whether rows have equal values; an absent value of the second row differs from nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    same = np.ones(len(left), bool)
    for name in names:
        column = rows[name]
        if column.null_count == len(column):
            continue
        if pa.types.is_list(column.type):
            ours, theirs = (column.take(pa.array(at)).to_pylist() for at in (left, right))
            same &= np.array([b is None or a == b for a, b in zip(ours, theirs, strict=True)], bool)
            continue
        if pa.types.is_dictionary(column.type):
            column = one_dictionary(column).indices
        ours, theirs = (column.take(pa.array(at)) for at in (left, right))
        equal = pc.or_(pc.fill_null(pc.equal(ours, theirs), False), theirs.is_null())
        same &= equal.to_numpy() if isinstance(equal, pa.ChunkedArray) else equal.to_numpy(False)
    return same


def _replace(rows: pa.Table, name: str, at: npt.NDArray[np.int64], values: pa.Array) -> pa.Table:
    """Set the values of a column at some rows."""
    import pyarrow as pa

    where = np.arange(len(rows))
    where[at] = len(rows) + np.arange(len(at))
    old = rows[name]
    if pa.types.is_dictionary(old.type):
        values = values.dictionary_encode()
        longer = pa.chunked_array([*old.chunks, values]).unify_dictionaries()
    else:
        longer = pa.chunked_array([*old.chunks, values])
    return rows.set_column(rows.column_names.index(name), name, longer.take(pa.array(where)))


# --------------------------------------------------------------------------- shared


def _unite(
    rows: pa.Table, codes: npt.NDArray[np.int64], kinds: Mapping[str, str], accounts: Sequence[TableAccount]
) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for code, row in zip(codes.tolist(), rows.to_pylist(), strict=True):
        kept = found.get(code)
        if kept is None:
            found[code] = row
            continue
        for name in unite(kept, row, kinds):
            conflict = f"conflicting {name}, first kept"
            accounts[row["_table"]].note(conflict, 1, [Reject(row["_row"], name, str(row[name]), conflict)])
    return list(found.values())


def unite(kept: dict[str, Any], row: Mapping[str, Any], kinds: Mapping[str, str]) -> list[str]:
    """Merge ``row`` into ``kept`` by the rules of this module; return the columns whose values conflict."""
    conflicts = []
    for name, kind in kinds.items():
        ours, theirs = kept[name], row[name]
        if theirs is None or ours == theirs:
            continue
        if ours is None or (name in _NAMES and _is_only_id(ours, kept["id"])):
            kept[name] = theirs
        elif name in _NAMES and _is_only_id(theirs, kept["id"]):
            continue
        elif kind == "list":
            union = dict.fromkeys([*ours, *theirs])
            kept[name] = list(union) if name in _IN_ORDER else sorted(union)
        else:
            conflicts.append(name)
    return conflicts


def _is_only_id(name: str, id_: str) -> bool:
    return name == id_ or name == id_.partition(":")[2]


def _count(
    accounts: Sequence[TableAccount],
    loaded: npt.NDArray[np.int32],
    merged: npt.NDArray[np.int32],
    reason: str | None,
) -> None:
    for account, kept, joined in zip(
        accounts,
        np.bincount(loaded, minlength=len(accounts)).tolist(),
        np.bincount(merged, minlength=len(accounts)).tolist(),
        strict=True,
    ):
        account.loaded += kept
        account.merge(reason, joined)


def _with_origin(data: pa.Table, index: int, rows: npt.NDArray[np.integer[Any]]) -> pa.Table:
    import pyarrow as pa

    with_table = data.append_column("_table", pa.array(np.full(len(data), index, np.int32)))
    return with_table.append_column("_row", pa.array(rows, pa.int32()))


def _edge_column(data: pa.Table, name: str, kind: str) -> pa.Array:
    """Return a column as the schema's type, text as codes; null where absent or empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind != "string":
        return _typed(data, name, kind)
    if name not in data.column_names:
        return pa.nulls(len(data), pa.string()).dictionary_encode()
    column = one_dictionary(data[name])
    if not pc.any(pc.equal(column.dictionary, "")).as_py():
        return column
    return _typed(data, name, kind).dictionary_encode()


def _typed(data: pa.Table, name: str, kind: str) -> pa.Array:
    """Return the column as the schema's type, null where absent or empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in data.column_names:
        return pa.nulls(len(data), arrow_type(kind))
    column = data[name].cast(arrow_type(kind)).combine_chunks()
    if kind == "string":
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    return _sorted_lists(column) if kind == "list" else column


def _sorted_lists(column: pa.ListArray) -> pa.ListArray:
    """Sort each list by code point, without repeats and empty strings; null where nothing is left."""
    import pyarrow as pa
    import pyarrow.compute as pc

    flat, parents = pc.list_flatten(column), pc.list_parent_indices(column)
    given = pc.fill_null(pc.not_equal(flat, ""), False)
    flat, owner = flat.filter(given), parents.filter(given).to_numpy()
    if not len(flat):
        return pa.nulls(len(column), pa.list_(pa.string()))
    encoded = flat.dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    packed = np.unique(owner.astype(np.int64) * len(order) + rank[encoded.indices.to_numpy()])
    lengths = np.bincount(packed // len(order), minlength=len(column))
    values = encoded.dictionary.take(pa.array(order[packed % len(order)]))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(lengths == 0))
