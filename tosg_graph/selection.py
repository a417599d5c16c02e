"""The subgraph that queries pick, numbered: nodes sorted by (type, id), edges per type.

Two steps, so that no entity and no unwanted property crosses the wire: each query runs once and gives internal ids as
flat lists (`pick`, `hops`), then the properties of each id are read once (`picked_tables`). What was picked is kept
under the state that the database was in (`snapshots`), and read from there while that is still its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph import snapshots
from tosg_graph.errors import QueryError
from tosg_graph.hops import Hops, check_verbs, ends_of, grow, induced, union, within
from tosg_graph.named_queries import NamedQuery, named_queries
from tosg_graph.pick import Pick, pick
from tosg_graph.picked_tables import PICKED_BY, picked_tables
from tosg_graph.reading import Reading, state_of
from tosg_graph.types import Selection

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph
    from tosg_graph.licences import Allowed

    Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Asked:
    """What a selection is made of; ``induce`` is None, or the verbs that are added, none of them meaning all."""

    queries: list[NamedQuery]
    induce: tuple[str, ...] | None
    hops: Hops | None

    @property
    def tells(self) -> bool:
        """Whether columns and manifest tell what each query picked: where it is not one Cypher text."""
        return len(self.queries) > 1 or self.queries[0].saved is not None


def select(
    graph: Graph,
    query: str | Sequence[str] | Mapping[str, str],
    parameters: Mapping[str, object] | None = None,
    *,
    induce: bool | Sequence[str] = False,
    hops: Hops | None = None,
    allowed: Allowed | None = None,
    cache: bool = False,
) -> Selection:
    """Pick every node, relationship and path in the rows of the queries, however nested.

    Both ends of a picked relationship are picked too. Values that are not graph elements are ignored, but for canned
    questions, whose answers name entities by their ids.

    Parameters
    ----------
    query
        Cypher that only reads, or the name of a canned question; or several of them, with names
        (`tosg_graph.named_queries.named_queries`). Each returned expression needs a name (``RETURN nodes(p) AS n``).
    parameters
        Values of the ``$parameters``; ``NAME.parameter`` is for the query of that name alone.
    induce
        Also pick every relationship among the picked nodes, or those of the verbs that are named.
    hops
        Also pick what is some steps around, before ``induce``.
    allowed
        Sources that count: ``$sources`` of queries that use it. Nothing else is left out by it here.
    cache
        Keep what was picked in the home, and read it from there while the database is in the same state.

    Returns
    -------
    Selection
        Properties are those of ``schema/nodes.yaml`` and ``schema/edges.yaml``. With several queries, or a canned
        question, nodes and edges have a column ``picked_by_<name>`` (bool) per query.

    Raises
    ------
    QueryError
        If a query is refused or fails, returns nothing, returns values only, nests graph elements more
        than four levels deep, or picks nodes or relationships that the schema does not know.
    """
    asked = _Asked(named_queries(query, parameters, allowed), _verbs(induce), hops)
    state = state_of(graph) if cache and snapshots.repeatable(asked.queries) else None
    if state is None:
        return _read(Reading(graph), asked)
    key = snapshots.key_of(state, graph.address.user, asked.queries, asked.induce, hops)
    kept = snapshots.load(graph.settings.selections, key)
    if kept:
        return _described(kept, asked)
    made = _read(Reading(graph, state), asked)
    again = state_of(graph)
    if again is None or again.name != state.name:
        return made  # something was written meanwhile: it may be of neither state
    return snapshots.save(graph.settings.selections, key, state, made)


def manifest_keys(selection: Selection) -> dict[str, Any]:
    """Return the further keys of a bundle's manifest that say what picked its graph; none where one query did."""
    keys: dict[str, Any] = dict(selection.asked)
    if "queries" in keys:
        keys["queries"] = [
            {**query, **_counts(selection, PICKED_BY + query["name"])} for query in keys["queries"]
        ]
    return keys


def _counts(selection: Selection, column: str) -> dict[str, int]:
    import pyarrow.compute as pc

    def count(tables: Sequence[Any]) -> int:
        return sum(pc.sum(table[column]).as_py() or 0 for table in tables)

    return {"nodes": count([selection.nodes]), "edges": count(list(selection.edges.values()))}


def _verbs(induce: bool | Sequence[str]) -> tuple[str, ...] | None:
    if isinstance(induce, bool):
        return () if induce else None
    verbs = (induce,) if isinstance(induce, str) else tuple(induce)
    if not verbs:
        raise QueryError("induce names no relationship type. Name some, or give True for all.")
    check_verbs(verbs)
    return verbs


# --------------------------------------------------------------------------- reading


def _read(reading: Reading, asked: _Asked) -> Selection:
    picks = {query.name: _pick(reading, query, len(asked.queries) > 1) for query in asked.queries}
    nodes = union([p.nodes for p in picks.values()])
    relationships = _united([p.relationships for p in picks.values()])
    left_out: list[dict[str, Any]] = []
    if asked.hops or asked.induce is not None:
        nodes = union([nodes, *ends_of(reading, relationships)])
    seen = nodes[:0]
    if asked.hops:
        grown = grow(reading, nodes, asked.hops)
        relationships, seen = _united([relationships, grown.relationships]), grown.seen
    if asked.induce is not None:
        nodes = union([nodes, *ends_of(reading, relationships)]) if asked.hops else nodes
        relationships = _united([relationships, induced(reading, nodes, asked.induce)])
    if asked.hops and asked.hops.cap is not None:
        left_out.append(_capped(asked.hops, seen, union(list(relationships.values()))))
    table, edges = picked_tables(reading, nodes, relationships, picks if asked.tells else {})
    return _described(Selection(table, edges, "", {}, left_out=tuple(left_out)), asked)


def _pick(reading: Reading, query: NamedQuery, several: bool) -> Pick:
    try:
        return pick(reading, query)
    except QueryError as error:
        if several:
            raise QueryError(f"{query.name}: {error}") from error
        raise


def _united(parts: Sequence[Mapping[str, Ids]]) -> dict[str, Ids]:
    verbs = sorted({verb for part in parts for verb in part})
    return {verb: union([part[verb] for part in parts if verb in part]) for verb in verbs}


def _capped(hops: Hops, seen: Ids, picked: Ids) -> dict[str, Any]:
    """Entry of the manifest's ``dropped``; also where the cap left nothing out."""
    return {
        "what": "edges",
        "reason": f"beyond {hops.cap} of one verb at a node, within {hops.steps} hops (seed {hops.seed})",
        "count": int((~within(seen, picked)).sum()),
        "kept": False,
        "examples": [],
    }


def _described(selection: Selection, asked: _Asked) -> Selection:
    """Selection with what was asked."""
    from dataclasses import replace

    queries = asked.queries
    further: dict[str, Any] = {}
    if asked.tells:
        further["queries"] = [
            {"name": q.name, "query": q.text, "parameters": q.parameters, "saved": q.saved} for q in queries
        ]
    if asked.induce:
        further["induced_verbs"] = sorted(set(asked.induce))
    if asked.hops:
        further["hops"] = asked.hops.facts()
    one = len(queries) == 1
    return replace(
        selection,
        query=";\n".join(q.text for q in queries),
        parameters=queries[0].parameters if one else {q.name: q.parameters for q in queries},
        induced=asked.induce is not None,
        asked=further,
    )
