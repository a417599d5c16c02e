"""Reads of one state of a database: flat lists of a statement, and what the state is called.

The name is exact. The bookmark of a read names the last transaction that was committed before it ended; a session that
is given the bookmark waits until all transactions up to that one are visible. So where the name is the same before and
after, whatever was read in between under the bookmark is that state, whole. Every transaction has another bookmark, but
an import starts to count anew: the store's own id and the time at which the database was started stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tosg_graph.errors import QueryError
from tosg_graph.resources import cypher
from tosg_graph.threads import threads

if TYPE_CHECKING:
    import neo4j

    from tosg_graph.graph import Graph

T = TypeVar("T")
R = TypeVar("R")

TIMEOUT_SECONDS = 600.0
READERS = 3  # sessions at a time: one is decoded here while the server prepares the others


@dataclass(frozen=True)
class State:
    """A state of a database: equal names, equal content."""

    name: str
    store: str  # id of the store that it is a state of
    bookmarks: neo4j.Bookmarks


@dataclass(frozen=True)
class Reading:
    """A graph, read at ``state`` or later; at any where it is None."""

    graph: Graph
    state: State | None = None

    def records(self, statement: str, parameters: Mapping[str, object]) -> Iterator[Any]:
        """Stream the records of a read.

        Raises
        ------
        QueryError
            In the server's words, or if it stops answering.
        """
        import neo4j
        from neo4j.exceptions import DriverError, Neo4jError

        asked = neo4j.Query(statement, timeout=TIMEOUT_SECONDS)
        try:
            # Rows are long lists: few of them at a time keep the buffer small.
            with self.graph.driver.session(
                database=self.graph._database,
                default_access_mode=neo4j.READ_ACCESS,
                bookmarks=self.state.bookmarks if self.state else None,
                fetch_size=8,
            ) as session:
                yield from session.run(asked, dict(parameters))
        except Neo4jError as error:
            raise QueryError(_server_message(error)) from error
        except DriverError as error:
            raise QueryError(f"The server stopped answering during the selection: {error}") from error


def parallel(read: Callable[[T], R], tasks: Iterable[T], at_once: int = READERS) -> list[R]:
    """Call ``read`` with each task, some at a time; the results in the order of the tasks."""
    with threads(at_once) as pool:
        return list(pool.map(read, tasks))


def state_of(graph: Graph) -> State | None:
    """Name the state that the database is in; None where the server does not tell, or has no such database."""
    from tosg_graph.errors import TosgError

    try:
        # Of each start, since nobody sees what is done to a store while its database is stopped.
        started = graph.rows(cypher("state_started"))
        store, bookmarks = _store_and_bookmarks(graph)
        times = {row["name"]: row["started"] for row in started}
    except TosgError:
        return None
    if not bookmarks.raw_values or store["name"] not in times:
        return None
    name = [store["id"], str(times[store["name"]]), *sorted(bookmarks.raw_values)]
    return State(" ".join(name), store["id"], bookmarks)


def _store_and_bookmarks(graph: Graph) -> tuple[Any, neo4j.Bookmarks]:
    import neo4j

    with (
        graph._errors(),
        graph.driver.session(database=graph._database, default_access_mode=neo4j.READ_ACCESS) as session,
    ):
        store = session.run(cypher("state_store")).single(strict=True)
        return store, session.last_bookmarks()


def _server_message(error: Any) -> str:
    message = str(error.message or error)
    if "must be aliased" in message:
        return (
            "Each expression that the query returns needs a name of its own: write RETURN nodes(p) AS n, "
            "not RETURN nodes(p)."
        )
    return f"The query failed: {message.splitlines()[0]}"
