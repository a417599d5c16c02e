"""Identity: which ids of a load name one thing, by xrefs and the rules of ``schema/nodes.yaml``.

A row whose id another entity of its label has as xref joins that entity. What depends on the number of rows is done
in columns; only ids that somebody claims are looked at one by one. Every id is looked at in each round before any
joins, so the order of rows and tables decides nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph.contract import cluster_prefixes, file_rows, identity_rules
from tosg_graph.ledger import SAME_ENTITY
from tosg_graph.types import NodeTable

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from tosg_graph.ledger import TableAccount

SEVERAL = "kept apart: several entities have this id as xref"
NOT_ONE_TO_ONE = "kept apart: not one to one"
CIRCULAR = "kept apart: circular xrefs"
VERDICTS = (SAME_ENTITY, SEVERAL, NOT_ONE_TO_ONE, CIRCULAR)
STORED = "stored under its own id: load its sources again"

Claims = Mapping[str, frozenset[str]]
"""id -> ids of the entities that have it as xref."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one id that others claim.

    Parameters
    ----------
    entity
        The id it joins; None where it is kept apart.
    reason
        ``SAME_ENTITY``, or why it is kept apart.
    candidates
        Entities that claim it, sorted.
    """

    entity: str | None
    reason: str
    candidates: tuple[str, ...]


@dataclass
class Identity:
    """Verdicts of one load: label -> id -> `Verdict`.

    Parameters
    ----------
    stored
        Per label, who states the nodes that are stored under an id which now names another entity.
    """

    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)
    stored: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def entities(self, label: str) -> dict[str, str]:
        """Id -> the entity that it joins."""
        return {i: v.entity for i, v in self.verdicts.get(label, {}).items() if v.entity is not None}

    def apply(self, table: NodeTable, account: TableAccount) -> tuple[NodeTable, npt.NDArray[np.int64]]:
        """Give rows the id of their entity; the row's own id becomes an xref.

        Returns
        -------
        table
            The same object where no row joins another entity.
        rows
            Rows that do, int64.
        """
        import pyarrow as pa

        verdicts = self.verdicts.get(table.label, {})
        rows, ids = _rows_of(table.data, verdicts)
        for reason, count in sorted(Counter(verdicts[i].reason for i in ids).items()):
            account.note(reason, count)
        joins = np.array([verdicts[i].entity is not None for i in ids], bool)
        at, names = rows[joins], [i for i, does in zip(ids, joins, strict=True) if does]
        if not len(at):
            return table, at
        entities = pa.array([verdicts[i].entity for i in names], pa.string())
        data = _replaced(_with_xrefs(table.data), "id", at, entities)
        for column in {"name", "symbol"} & set(
            data.column_names
        ):  # a name that is only the id gives way, as ever
            given = data[column].take(pa.array(at)).to_pylist()
            named = [
                entity if name in (i, i.partition(":")[2]) else name
                for name, i, entity in zip(given, names, entities.to_pylist(), strict=True)
            ]
            data = _replaced(data, column, at, pa.array(named, pa.string()))
        given = data["xrefs"].take(pa.array(at)).to_pylist()
        xrefs = [[*(old or ()), i] for old, i in zip(given, names, strict=True)]
        return replace(table, data=_replaced(data, "xrefs", at, pa.array(xrefs, pa.list_(pa.string())))), at

    def rows(self, tables: Sequence[NodeTable]) -> pa.Table:
        """Return the merge ledger: one row per row of a table, or per stored node, that a verdict is about.

        Columns: ``source``, ``table``, ``row`` (of the file; 0 of a stored node), ``id``, ``label``, ``entity`` (null
        where kept apart), ``rule``, ``candidates``, ``reason``.

        Parameters
        ----------
        tables
            As the loaders gave them.
        """
        import pyarrow as pa

        found = []
        for table in tables:
            verdicts = self.verdicts.get(table.label, {})
            at, ids = _rows_of(table.data, verdicts)
            for row, i in zip(file_rows(table, at).tolist(), ids, strict=True):
                found.append((table.source, table.name, row, i, table.label, verdicts[i]))
        for label, nodes in self.stored.items():
            for i, sources in nodes.items():
                verdict = replace(self.verdicts[label][i], reason=STORED)
                found.append((", ".join(sources), "", 0, i, label, verdict))
        rows = [
            {
                **dict(zip(("source", "table", "row", "id", "label"), line[:5], strict=True)),
                "entity": line[5].entity,
                "rule": _rule(line[4], line[3], line[5].candidates),
                "candidates": list(line[5].candidates),
                "reason": line[5].reason,
            }
            for line in found
        ]
        text = ("source", "table", "id", "label", "entity", "rule", "reason")
        kinds = dict.fromkeys(text, pa.string()) | {"row": pa.int64(), "candidates": pa.list_(pa.string())}
        order = ("source", "table", "row", "id", "label", "entity", "rule", "candidates", "reason")
        return pa.Table.from_pylist(rows, pa.schema([(name, kinds[name]) for name in order]))


def find_identity(tables: Sequence[NodeTable], stored: Mapping[str, pa.Table]) -> Identity:
    """Find out which ids of a load name the same entity.

    Parameters
    ----------
    tables
        Node tables of the load.
    stored
        Label -> ``id``, ``sources`` and ``xrefs`` of the stored nodes that other sources state.
    """
    import pyarrow as pa

    found = Identity()
    for label in sorted({t.label for t in tables} | stored.keys()):
        own = [t.data for t in tables if t.label == label]
        there = stored.get(label)
        verdicts = _verdicts(label, own if there is None else [*own, there])
        if not verdicts:
            continue
        found.verdicts[label] = verdicts
        if there is not None:
            rows, ids = _rows_of(there, {i: v for i, v in verdicts.items() if v.entity is not None})
            sources = there["sources"].take(pa.array(rows)).to_pylist()
            found.stored[label] = {i: by for i, by in zip(ids, sources, strict=True) if by}
    return found


# --------------------------------------------------------------------------- columns: who claims whom


def _verdicts(label: str, parts: Sequence[pa.Table]) -> dict[str, Verdict]:
    rules = identity_rules(label)
    if not rules:
        return {}
    candidates = _ids_with_prefix(parts, rules)
    owners: dict[str, set[str]] = defaultdict(set)
    for xref, owner in _pairs(parts, candidates):
        owners[xref].add(owner)
    if not owners:
        return {}
    claims = {xref: frozenset(by) for xref, by in owners.items()}
    single = [prefix for prefix, rule in rules.items() if rule == "one"]
    held = _held(parts, {*claims, *(o for by in claims.values() for o in by)}, single) if single else {}
    return judge(claims, rules, held)


def _ids_with_prefix(parts: Sequence[pa.Table], prefixes: Iterable[str]) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    chunks = []
    for data in parts:
        for chunk in data["id"].chunks:
            ids = chunk.cast(pa.string())
            chunks += [ids.filter(pc.starts_with(ids, f"{prefix}:")) for prefix in prefixes]
    return pc.unique(pa.chunked_array(chunks, pa.string()).combine_chunks())


def _pairs(parts: Sequence[pa.Table], wanted: pa.Array) -> Iterable[tuple[str, str]]:
    """Yield xref and owner for each xref that is among the wanted ids; clusters claim nothing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    clusters = tuple(f"{prefix}:" for prefix in cluster_prefixes())
    for data in parts:
        if not len(wanted) or "xrefs" not in data.column_names or pa.types.is_null(data["xrefs"].type):
            continue
        flat = pc.list_flatten(data["xrefs"])
        hit = pc.is_in(flat, value_set=wanted)
        if not pc.any(hit).as_py():
            continue
        owners = data["id"].take(pc.list_parent_indices(data["xrefs"]).filter(hit))
        for xref, owner in zip(flat.filter(hit).to_pylist(), owners.to_pylist(), strict=True):
            if xref != owner and not owner.startswith(clusters):
                yield xref, owner


def _held(
    parts: Sequence[pa.Table], entities: Iterable[str], prefixes: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Id -> its xrefs with one of the prefixes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(entities), pa.string())
    starts = tuple(f"{prefix}:" for prefix in prefixes)
    found: dict[str, set[str]] = defaultdict(set)
    for data in parts:
        if "xrefs" not in data.column_names:
            continue
        rows = data.select(["id", "xrefs"]).filter(pc.is_in(data["id"].cast(pa.string()), value_set=wanted))
        for row in rows.to_pylist():
            found[row["id"]].update(x for x in row["xrefs"] or () if x and x.startswith(starts))
    return {i: frozenset(xrefs) for i, xrefs in found.items()}


def _rows_of(data: pa.Table, ids: Iterable[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Rows whose id is one of these, and the id of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(ids), pa.string())
    if not len(wanted):
        return np.zeros(0, np.int64), []
    codes = pc.index_in(data["id"].cast(pa.string()), value_set=wanted)
    at = np.flatnonzero(codes.is_valid().to_numpy())
    return at, wanted.take(codes.combine_chunks().drop_null()).to_pylist()


def _with_xrefs(data: pa.Table) -> pa.Table:
    import pyarrow as pa

    if "xrefs" in data.column_names:
        return data
    return data.append_column("xrefs", pa.nulls(len(data), pa.list_(pa.string())))


def _replaced(data: pa.Table, name: str, at: npt.NDArray[np.int64], values: pa.Array) -> pa.Table:
    import pyarrow as pa

    where = np.arange(len(data))
    where[at] = len(data) + np.arange(len(at))
    longer = pa.chunked_array([*data[name].cast(values.type).chunks, values])
    return data.set_column(data.column_names.index(name), name, longer.take(pa.array(where)))


# --------------------------------------------------------------------------- ids: who joins whom


def judge(
    claims: Claims, rules: Mapping[str, str], held: Mapping[str, frozenset[str]] | None = None
) -> dict[str, Verdict]:
    """Decide for each claimed id whether it joins an entity.

    Parameters
    ----------
    claims
        Id -> entities that have it as xref.
    rules
        Prefix -> ``many`` or ``one``, best prefix first.
    held
        Id -> its xrefs with a prefix of the rule ``one``; of every id in ``claims``.

    Returns
    -------
    Verdict per id; ids that only lesser entities claim have none.
    """
    apart: dict[str, str] = {}
    while True:
        joined = _join(claims, rules, apart)
        bad = _broken(claims, rules, held or {}, joined)
        if not bad:
            break
        apart |= bad  # none of them may join, so their claims go: begin again
    found = {}
    for i in claims:
        by = tuple(sorted(_claimants(i, claims, rules, joined)))
        if i in joined:
            found[i] = Verdict(_root(i, joined), SAME_ENTITY, (_root(i, joined),))
        elif by and i in apart:
            found[i] = Verdict(None, apart[i], by)
        elif len(by) > 1:
            found[i] = Verdict(None, SEVERAL, by)
    return found


def _join(claims: Claims, rules: Mapping[str, str], apart: dict[str, str]) -> dict[str, str]:
    """Let ids with one claimant join it, round by round; a joined id's claims become its entity's."""
    joined: dict[str, str] = {}
    while True:
        targets = {}
        for i in claims.keys() - joined.keys() - apart.keys():
            by = _claimants(i, claims, rules, joined)
            if len(by) == 1:
                targets[i] = next(iter(by))
        circles = {i for i in targets if _comes_back(i, targets)}
        apart |= dict.fromkeys(circles, CIRCULAR)
        if not targets.keys() - circles:
            return joined
        joined |= {i: entity for i, entity in targets.items() if i not in circles}


def _claimants(i: str, claims: Claims, rules: Mapping[str, str], joined: Mapping[str, str]) -> set[str]:
    """Entities that claim an id, and whose prefix is not worse than its own."""
    order = list(rules)
    rank = order.index(_prefix(i))
    roots = {_root(owner, joined) for owner in claims[i]} - {_root(i, joined)}
    return {root for root in roots if _prefix(root) in order[: rank + 1]}


def _broken(
    claims: Claims, rules: Mapping[str, str], held: Mapping[str, frozenset[str]], joined: Mapping[str, str]
) -> dict[str, str]:
    """Joined ids that another entity claims as well, that claim it or are not one to one, once all have joined."""
    members: dict[str, list[str]] = defaultdict(list)
    for i in joined:
        members[_root(i, joined)].append(i)
    found = {}
    for i in joined:
        root, prefix = _root(i, joined), _prefix(i)
        if _claimants(i, claims, rules, joined):
            found[i] = SEVERAL
        elif prefix == _prefix(root) and i in claims.get(root, ()):
            found[i] = CIRCULAR  # the next load of this row alone would not let it join
        elif rules[prefix] == "one":
            of_entity = [root, *members[root]]
            ids = {*of_entity, *(x for member in of_entity for x in held.get(member, ()))}
            if {x for x in ids if _prefix(x) == prefix} != {i}:
                found[i] = NOT_ONE_TO_ONE
    return found


def _root(i: str, joined: Mapping[str, str]) -> str:
    while i in joined:
        i = joined[i]
    return i


def _comes_back(i: str, targets: Mapping[str, str]) -> bool:
    at, seen = targets.get(i), {i}
    while at is not None and at not in seen:
        seen.add(at)
        at = targets.get(at)
    return at == i


def _prefix(i: str) -> str:
    return i.split(":", 1)[0]


def _rule(label: str, i: str, entities: Sequence[str]) -> str:
    rules = identity_rules(label)
    best = min((_prefix(entity) for entity in entities), key=list(rules).index)
    return f"{label}: {_prefix(i)} to {best}, {rules[_prefix(i)]}"
