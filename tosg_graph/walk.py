"""Every entity and every relationship of the graph in a fixed order, a page at a time.

Entities come by id, relationships by verb and key; both orders are read from an index, so no page costs more than
the one before it, and memory does not grow with the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import verbs
from tosg_graph.errors import QueryError
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

NODES, EDGES = 5_000, 20_000  # rows of a page; nodes carry texts and vectors
_FIRST_KEY = -(2**63)


@dataclass(frozen=True)
class Node:
    """One entity: its type labels, sorted, the asked properties in their order, and the others."""

    labels: tuple[str, ...]
    values: list[Any]
    more: list[tuple[str, Any]]


@dataclass(frozen=True)
class Edge:
    """One relationship: ids of its ends, the asked properties in their order, and the others."""

    subject: str
    object: str
    values: list[Any]
    more: list[tuple[str, Any]]


def nodes(graph: Graph, keys: Sequence[str], *, more: bool = False) -> Iterator[list[Node]]:
    """Yield all entities by id.

    Parameters
    ----------
    keys
        Properties to read, ``id`` first.
    more
        Read all other properties too.
    """
    after = ""
    while rows := graph.rows(cypher("walk_nodes"), keys=list(keys), more=more, after=after, limit=NODES)[0][
        "rows"
    ]:
        yield [Node(tuple(sorted({*labels} - {"Entity"})), values, rest) for labels, values, rest in rows]
        after = rows[-1][1][0]


def edges(
    graph: Graph, verb: str, keys: Sequence[str], *, more: bool = False, apart: Collection[int | None] = ()
) -> Iterator[list[Edge]]:
    """Yield all relationships of a verb by key.

    Parameters
    ----------
    keys
        Properties to read, ``edge_key`` first.
    more
        Read all other properties too.
    apart
        Keys of relationships to leave out, each once; None for one without a key.

    Raises
    ------
    QueryError
        If one has no key or leads to something that is no entity: this program did not load it.
    """
    after, seen, left_out = _FIRST_KEY, len(apart), frozenset(apart)
    statement = cypher(f"walk_edges_{verb.lower()}")
    while rows := graph.rows(statement, keys=list(keys), more=more, after=after, limit=EDGES)[0]["rows"]:
        found = [edge for edge in (Edge(*row) for row in rows) if edge.values[0] not in left_out]
        if any(edge.subject is None or edge.object is None for edge in found):
            raise QueryError(f"A {verb} relationship leads to a node without an id. Delete it and try again.")
        yield found
        seen += len(found)
        after = rows[-1][2][0]
    there = count(graph, verb)
    if seen != there:
        raise QueryError(
            f"{there:,} {verb} relationships are there, {seen:,} of them with an edge_key. Those without were not "
            "loaded by this program, or the graph changed meanwhile: delete them, or try again."
        )


def count(graph: Graph, verb: str) -> int:
    """How many relationships of a verb there are."""
    return int(graph.rows(cypher(f"load_edges_count_{verb.lower()}"))[0]["edges"])


def used_verbs(graph: Graph) -> list[str]:
    """Verbs of the schema that have relationships, in its order."""
    return [verb for verb in verbs() if count(graph, verb)]
