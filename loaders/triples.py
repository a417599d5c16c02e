"""Statements of somebody else's big graph as numbers: nothing here makes a Python object per statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.columns import reject_columns
from loaders.statements import DEFAULTS, NEUTRAL
from loaders.tables import Row, node_table
from tosg_graph.contract import allows, edge_columns, labels
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True)
class Meaning:
    """What a predicate says between nodes of two labels.

    Parameters
    ----------
    verb
        Our verb; where it is not allowed between the labels, the statement is ASSOCIATED_WITH.
    relation
        The source's own word, which keeps the statement apart from others between the same nodes.
    properties
        Properties of each of its edges.
    turned
        Whether the source says it from object to subject.
    """

    verb: str
    relation: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    turned: bool = False


NodeOf = Callable[[str], "tuple[str, Row] | str"]
"""Key of a node -> (label, row of its table), or why it is not loaded."""
MeaningOf = Callable[[str, str, str], Meaning]
"""(label of the first node, predicate, label of the second) -> what it says."""


class Numbers:
    """Number of each distinct text, in order of first appearance."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def of(self, cells: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Return the numbers of many texts, int32, shape ``(n,)``."""
        import pyarrow as pa

        whole = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
        coded = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
        number = self.number
        distinct = [number.setdefault(text, len(number)) for text in coded.dictionary.to_pylist()]
        found: npt.NDArray[np.int32] = np.array(distinct, np.int32)[coded.indices.to_numpy(False)]
        return found


@dataclass(frozen=True)
class _Statements:
    """Statements as numbers, shape ``(n,)`` each; ``row`` is the 1-based row of the file."""

    subject: npt.NDArray[np.int32]
    predicate: npt.NDArray[np.int32]
    object: npt.NDArray[np.int32]
    by: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    merged: npt.NDArray[np.int32]  # rows that joined this one
    alone: npt.NDArray[np.bool_]  # whether the opposite row is not there, where both are expected

    def some(self, which: npt.NDArray[Any]) -> _Statements:
        return _Statements(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


class Triples:
    """Nodes and statements of one source while its files are read.

    Parameters
    ----------
    source
        Key of the source.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.keys = Numbers()
        self.predicates = Numbers()
        self.resources = Numbers()
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []
        self._read = 0

    def add(
        self,
        subjects: npt.NDArray[np.int32],
        predicates: pa.Array | pa.ChunkedArray,
        objects: npt.NDArray[np.int32],
        by: pa.Array | pa.ChunkedArray | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Add statements between keys that ``self.keys`` numbered.

        Parameters
        ----------
        by
            Who states each; the source itself without it.
        rows
            1-based row of each in its file; counted on by default.
        """
        n = len(subjects)
        number = np.arange(self._read + 1, self._read + n + 1) if rows is None else rows
        stated = self.resources.of(by) if by is not None else np.full(n, -1, np.int32)
        self._parts.append((subjects, self.predicates.of(predicates), objects, stated, number))
        self._read += n

    def parsed(self, node_of: NodeOf, meaning: MeaningOf, *, mirrored: bool = False) -> Parsed:
        """Tables of everything that was added; what is not loaded has tables of its own.

        Parameters
        ----------
        mirrored
            The source stores each statement in both directions. A row whose opposite is there as well is stored
            once; one whose opposite is missing has a table of its own, "(one direction only)".
        """
        nodes = _Nodes(self.source, list(self.keys.number), node_of)
        whole = self._joined()
        good, rejects = _known(whole, nodes)
        statements = whole.some(good)
        if mirrored:
            statements = _once(statements, nodes)
        return Parsed(
            tuple(nodes.tables()), tuple(self._edge_tables(statements, rejects, nodes, meaning, mirrored))
        )

    def _joined(self) -> _Statements:
        empty = (*[np.zeros(0, np.int32)] * 4, np.zeros(0, np.int64))
        subject, predicate, object_, by, row = map(np.concatenate, zip(empty, *self._parts, strict=True))
        n = len(subject)
        return _Statements(subject, predicate, object_, by, row, np.zeros(n, np.int32), np.zeros(n, bool))

    def _edge_tables(
        self, all_: _Statements, rejects: pa.Table, nodes: _Nodes, meaning: MeaningOf, mirrored: bool
    ) -> Iterator[EdgeTable]:
        predicates, known = list(self.predicates.number), labels()
        width = len(known)
        code = (all_.predicate.astype(np.int64) * width + nodes.label[all_.subject]) * width
        code = (code + nodes.label[all_.object]) * 2 + (all_.alone & mirrored)
        order = np.argsort(code, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if len(order) else ():
            first = int(code[at[0]])
            left, right = known[first // 2 // width % width], known[first // 2 % width]
            predicate = predicates[first // 2 // width // width]
            name = f"{predicate}: {left}-{right}" + (" (one direction only)" if first % 2 else "")
            yield self._edge_table(name, all_.some(at), left, right, meaning(left, predicate, right), nodes)
        if len(rejects):
            yield EdgeTable(
                self.source,
                "statements not loaded",
                "Gene",
                NEUTRAL,
                "Gene",
                _none(),
                len(rejects),
                0,
                rejects,
            )

    def _edge_table(
        self, name: str, some: _Statements, left: str, right: str, said: Meaning, nodes: _Nodes
    ) -> EdgeTable:
        import pyarrow as pa

        subject, object_, n = some.subject, some.object, len(some.subject)
        if said.turned:
            subject, object_, left, right = object_, subject, right, left
        verb = said.verb if allows(said.verb, left, right) else NEUTRAL
        own = {**DEFAULTS.get(verb, {}), **said.properties, "relation": said.relation}
        data = {"subject": nodes.coded(subject), "object": nodes.coded(object_)}
        if len(self.resources.number):
            names = pa.array([*self.resources.number, self.source])
            by = np.where(some.by < 0, len(names) - 1, some.by)
            data["source"] = pa.DictionaryArray.from_arrays(pa.array(by, pa.int32()), names)
        allowed = edge_columns(verb)
        data |= {k: _constant(v, n) for k, v in own.items() if v is not None and k in allowed}
        merged = int(some.merged.sum())
        lines = pa.array(some.row, pa.int32())
        return EdgeTable(self.source, name, left, verb, right, pa.table(data), n + merged, merged, rows=lines)


class _Nodes:
    """Where each key went: label, place in the table of its label, or the reason why it has none."""

    def __init__(self, source: str, keys: list[str], node_of: NodeOf) -> None:
        import pyarrow as pa

        self.source, self.keys = source, keys
        self.label: npt.NDArray[np.int32] = np.full(len(keys), -1, np.int32)
        self.reasons = [""] * len(keys)
        ids = [""] * len(keys)
        rows: dict[str, list[Row]] = {}
        for number, key in enumerate(keys):
            found = node_of(key)
            if isinstance(found, str):
                self.reasons[number] = found
                continue
            label, row = found
            self.label[number] = labels().index(label)
            ids[number] = row["id"]
            rows.setdefault(label, []).append(row)
        self._rows, self._ids = rows, pa.array(ids, pa.string())
        self.order: npt.NDArray[np.int64] = np.argsort(np.argsort(np.array(ids, object), kind="stable"))

    def coded(self, numbers: npt.NDArray[np.int32]) -> pa.DictionaryArray:
        """Ids of many keys; the dictionary holds those that occur."""
        import pyarrow as pa

        distinct, codes = np.unique(numbers, return_inverse=True)
        return pa.DictionaryArray.from_arrays(
            pa.array(codes, pa.int32()), self._ids.take(pa.array(distinct, pa.int64()))
        )

    def tables(self) -> Iterator[NodeTable]:
        for label, rows in sorted(self._rows.items()):
            yield node_table(self.source, label.lower(), label, rows, read=len(rows))
        bad = [Reject(n + 1, "id", self.keys[n], r) for n, r in enumerate(self.reasons) if r]
        if bad:
            yield node_table(self.source, "nodes not loaded", "Disease", [], read=len(bad), rejects=bad)


def _known(all_: _Statements, nodes: _Nodes) -> tuple[npt.NDArray[np.bool_], pa.Table]:
    """Which statements have two loaded ends, and the others as rejects with the first end that is not."""
    import pyarrow as pa

    good = np.ones(len(all_.subject), bool)
    parts = []
    for name, end in (("subject", all_.subject), ("object", all_.object)):
        at = np.flatnonzero(good & (nodes.label[end] < 0))
        good[at] = False
        values = pa.array([nodes.keys[k] for k in end[at]], pa.string())
        reasons = [f"{name} not loaded: {nodes.reasons[k]}" for k in end[at]]
        table = reject_columns([("", np.ones(len(at), bool))], name, values, all_.row[at])[1]
        parts.append(table.set_column(3, "reason", pa.array(reasons, pa.string())))
    return good, pa.concat_tables(parts)


def _once(all_: _Statements, nodes: _Nodes) -> _Statements:
    """Statements of one pair and predicate as one, from the label that comes first in the schema, then by id."""
    first = nodes.label.astype(np.int64) * (len(nodes.keys) + 1) + nodes.order
    turn = first[all_.subject] > first[all_.object]
    low = np.where(turn, all_.object, all_.subject)
    high = np.where(turn, all_.subject, all_.object)
    n = len(nodes.keys)
    code = (all_.predicate.astype(np.int64) * n + low) * n + high
    _, at, inverse, counts = np.unique(code, return_index=True, return_inverse=True, return_counts=True)
    forward = np.bincount(inverse, weights=~turn, minlength=len(at))
    both = (forward > 0) & (forward < counts)
    return _Statements(
        low[at], all_.predicate[at], high[at], all_.by[at], all_.row[at], (counts - 1).astype(np.int32), ~both
    )


def _constant(value: Any, n: int) -> pa.Array:
    import pyarrow as pa

    if isinstance(value, str):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([value]))
    if isinstance(value, list):
        flat = pa.array(value * n, pa.string())
        return pa.ListArray.from_arrays(pa.array(np.arange(n + 1, dtype=np.int32) * len(value)), flat)
    return pa.repeat(value, n)


def _none() -> pa.Table:
    import pyarrow as pa

    return pa.table({"subject": pa.array([], pa.string()), "object": pa.array([], pa.string())})
