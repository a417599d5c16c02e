"""One node per id and one relationship per key, out of many tables.

Rules: tables count in load order. Of a scalar, the first value that is not missing wins, and each other value
that was given is counted as a conflict. Lists are united and sorted. Missing is null, an empty string or an
empty list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.contract import edge_columns, is_symmetric, labels, stored_edge_columns, stored_node_columns
from tosg_graph.ids import IdResolver, edge_keys
from tosg_graph.ledger import TableAccount
from tosg_graph.text import TEXT_COLUMNS, entity_text, text_sha
from tosg_graph.types import EdgeTable, NodeTable, Reject

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

_IN_ORDER = ("labels", "sources")  # lists whose order says something: not sorted when united
_TEXT_BATCH = 20_000

SAME_ID = "same id as an earlier row"
SAME_EDGE = "same relationship as an earlier row"
COLLISION = "edge key collision"


@dataclass
class Merged:
    """Rows to be stored, and which table each came from first.

    Parameters
    ----------
    data
        One row per node (or relationship) in order of first appearance; columns typed as in the schema.
    owner
        Index into the accounts of the table that a row came from first, int32, shape ``(n,)``.
    """

    data: pa.Table
    owner: npt.NDArray[np.int32]


# --------------------------------------------------------------------------- nodes


def merge_nodes(tables: Sequence[NodeTable], accounts: Sequence[TableAccount]) -> Merged:
    """Merge node tables into one row per id, with ``labels``, ``sources``, ``text`` and ``text_sha``.

    Parameters
    ----------
    tables
        Checked tables in load order.
    accounts
        One per table; merged rows and conflicts are counted there.
    """
    import pyarrow as pa

    columns = {
        c: k for c, k in stored_node_columns().items() if c not in ("text", "text_sha", "release", "sources")
    }
    kinds = {**columns, "labels": "list", "sources": "list"}
    parts = []
    for index, table in enumerate(tables):
        n = len(table.data)
        part = {name: _typed(table.data, name, kind) for name, kind in columns.items()}
        part["labels"] = pa.array([[table.label]] * n, pa.list_(pa.string()))
        part["sources"] = pa.array([[table.source]] * n, pa.list_(pa.string()))
        parts.append(_with_origin(pa.table(part), index))
    if not parts:
        empty = {name: pa.array([], _arrow(kind)) for name, kind in kinds.items()}
        return Merged(add_text(pa.table(empty)), np.zeros(0, np.int32))
    rows = pa.concat_tables(parts)
    merged = _merge_equal(rows, _codes(rows["id"]), kinds, accounts, SAME_ID)
    return Merged(add_text(merged.data), merged.owner)


def add_text(nodes: pa.Table) -> pa.Table:
    """Append the columns ``text`` and ``text_sha`` to a table of merged nodes."""
    import pyarrow as pa

    texts: list[str] = []
    source = nodes.select([*TEXT_COLUMNS, "labels"])
    for start in range(0, len(nodes), _TEXT_BATCH):
        texts += [entity_text(row) for row in source.slice(start, _TEXT_BATCH).to_pylist()]
    hashes = [text_sha(text) for text in texts]
    with_text = nodes.append_column("text", pa.array(texts, pa.string()))
    return with_text.append_column("text_sha", pa.array(hashes, pa.string()))


def sort_labels(given: Sequence[str]) -> list[str]:
    """Type labels in the order of the schema."""
    return [label for label in labels() if label in given]


# --------------------------------------------------------------------------- relationships


def merge_edges(
    verb: str, tables: Sequence[EdgeTable], accounts: Sequence[TableAccount], resolver: IdResolver
) -> Merged:
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

    parts = []
    for index, (table, account) in enumerate(zip(tables, accounts, strict=True)):
        parts.append(_resolved(table, account, resolver, index))
    rows = pa.concat_tables(parts)
    ends = [rows[name].to_pylist() for name in ("subject", "object", "source")]
    keys = edge_keys(verb, *ends)
    del ends
    good = _without_collisions(rows, keys, accounts)
    if not good.all():
        rows, keys = rows.filter(pa.array(good)), keys[good]
    rows = rows.append_column("edge_key", pa.array(keys))
    kinds = {"subject": "string", "object": "string", **stored_edge_columns(verb)}
    _, codes = np.unique(keys, return_inverse=True)
    return _merge_equal(rows, codes, kinds, accounts, SAME_EDGE)


def _resolved(table: EdgeTable, account: TableAccount, resolver: IdResolver, index: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {c: k for c, k in edge_columns(table.verb).items() if c not in ("subject", "object")}
    ends = {}
    good = np.ones(len(table.data), bool)
    for end, label in (("subject", table.subject_label), ("object", table.object_label)):
        given = _typed(table.data, end, "string")
        ends[end], reasons = resolver.resolve(label, given)
        missing = ends[end].is_null().to_numpy()
        at = np.flatnonzero(missing & good)
        values = pc.take(given, pa.array(at)).to_pylist()
        account.reject([Reject(int(i) + 1, end, v, reasons[v]) for i, v in zip(at, values, strict=True)])
        good &= ~missing
    subject, object_ = ends["subject"], ends["object"]
    if is_symmetric(table.verb):
        turned = pc.fill_null(pc.greater(subject, object_), False)
        subject, object_ = pc.if_else(turned, object_, subject), pc.if_else(turned, subject, object_)
    part = {"subject": subject, "object": object_}
    part |= {name: _typed(table.data, name, kind) for name, kind in columns.items()}
    stated = part["resource"] if "resource" in part else pa.nulls(len(good), pa.string())
    part["source"] = pc.fill_null(stated, table.source)
    return _with_origin(pa.table(part), index).filter(pa.array(good))


def _without_collisions(
    rows: pa.Table, keys: npt.NDArray[np.int64], accounts: Sequence[TableAccount]
) -> npt.NDArray[np.bool_]:
    """Mark rows that have the same subject, object and source as the first row of their key."""
    import pyarrow as pa
    import pyarrow.compute as pc

    _, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[codes] != np.arange(len(keys)))
    same = np.ones(len(keys), bool)
    if len(repeated):
        ours, theirs = rows.take(pa.array(repeated)), rows.take(pa.array(first[codes[repeated]]))
        for name in ("subject", "object", "source"):
            same[repeated] &= pc.equal(ours[name], theirs[name]).to_numpy()
        bad = repeated[~same[repeated]]
        for row in rows.select(["_table", "_row", "subject"]).take(pa.array(bad)).to_pylist():
            accounts[row["_table"]].reject([Reject(row["_row"], "subject", row["subject"], COLLISION)])
    return same


# --------------------------------------------------------------------------- shared


def _merge_equal(
    rows: pa.Table,
    codes: npt.NDArray[np.int64],
    kinds: Mapping[str, str],
    accounts: Sequence[TableAccount],
    reason: str,
) -> Merged:
    """Merge rows with equal codes; rows that stand alone never leave Arrow."""
    import pyarrow as pa

    _, first, inverse, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    table_of = rows["_table"].to_numpy()
    is_first = first[inverse] == np.arange(len(rows))
    _count(accounts, table_of[is_first], table_of[~is_first], reason)
    alone = np.flatnonzero(counts[inverse] == 1)
    several = np.flatnonzero(counts[inverse] > 1)
    schema = pa.schema([(name, _arrow(kind)) for name, kind in kinds.items()])
    united = _unite(rows.take(pa.array(several)), inverse[several], kinds, accounts)
    merged = pa.concat_tables(
        [rows.select(schema.names).take(pa.array(alone)), pa.Table.from_pylist(united, schema)]
    )
    positions = np.concatenate([alone, several[is_first[several]]])
    order = np.argsort(positions)
    return Merged(merged.take(pa.array(order)), table_of[positions[order]])


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
        if ours is None:
            kept[name] = theirs
        elif kind == "list":
            union = dict.fromkeys([*ours, *theirs])
            kept[name] = list(union) if name in _IN_ORDER else sorted(union)
        else:
            conflicts.append(name)
    return conflicts


def _count(
    accounts: Sequence[TableAccount],
    loaded: npt.NDArray[np.int32],
    merged: npt.NDArray[np.int32],
    reason: str,
) -> None:
    for account, kept, joined in zip(
        accounts,
        np.bincount(loaded, minlength=len(accounts)).tolist(),
        np.bincount(merged, minlength=len(accounts)).tolist(),
        strict=True,
    ):
        account.loaded += kept
        account.merge(reason, joined)


def _with_origin(data: pa.Table, index: int) -> pa.Table:
    import pyarrow as pa

    n = len(data)
    with_table = data.append_column("_table", pa.array(np.full(n, index, np.int32)))
    return with_table.append_column("_row", pa.array(np.arange(1, n + 1, dtype=np.int64)))


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    codes: npt.NDArray[np.int64] = (
        column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    )
    return codes


def _arrow(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.list_(pa.string()) if kind == "list" else types[kind]


def _typed(data: pa.Table, name: str, kind: str) -> pa.Array:
    """Return the column as the schema's type, null where absent or empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name not in data.column_names:
        return pa.nulls(len(data), _arrow(kind))
    column = data[name].cast(_arrow(kind)).combine_chunks()
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
