"""What picks a subgraph: queries with names, each a Cypher text or a canned question, and their parameters."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tosg_graph.errors import QueryError
from tosg_graph.licences import Allowed
from tosg_graph.query import SOURCES, canned, with_sources
from tosg_graph.read_guard import parameter_names

OWN_PARAMETER = "tosg_chunk"  # of the statements that a query is wrapped in
# No Cypher statement begins like this, so a name in front of one cannot be mistaken.
_NAMED = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(?=\S)")


@dataclass(frozen=True)
class NamedQuery:
    """One query of a selection.

    Parameters
    ----------
    name
        What tells it from the others.
    text
        Cypher, without a semicolon at its end.
    parameters
        Values of its ``$parameters``.
    saved
        Name of the canned question that it is; the entities whose ids it returns are picked.
    """

    name: str
    text: str
    parameters: dict[str, Any]
    saved: str | None = None


def named_queries(
    queries: str | Sequence[str] | Mapping[str, str],
    parameters: Mapping[str, Any] | None = None,
    allowed: Allowed | None = None,
) -> list[NamedQuery]:
    """Read what picks a subgraph.

    Parameters
    ----------
    queries
        Each Cypher or the name of a canned question, with ``NAME=`` in front where it is named; or name -> query.
        Without a name a canned question has its own, other Cypher ``query_1``, ``query_2`` by its place.
    parameters
        Each goes to the queries that use it; ``NAME.parameter`` to the query of that name alone.
    allowed
        Sources that count: ``$sources`` of a query that uses it.

    Raises
    ------
    QueryError
        If a name cannot be one or stands twice, there is no such canned question, or no query has such a parameter.
    """
    texts = _texts(queries)
    given = _shared_out(texts, parameters or {})
    return [_read(name, text, given[name], allowed) for name, text in texts.items()]


def _texts(queries: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Text by name, in order."""
    if isinstance(queries, Mapping):
        pairs = [(name, text) for name, text in queries.items()]
    else:
        every = [queries] if isinstance(queries, str) else list(queries)
        pairs = [_split(text, place) for place, text in enumerate(every, 1)]
    if not pairs:
        raise QueryError("No query is given. Write Cypher that returns something: MATCH (g:Gene) RETURN g")
    found: dict[str, str] = {}
    for name, text in pairs:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name):
            raise QueryError(
                f"{name!r} cannot name a query. Use up to 64 letters, digits and '_', a letter first."
            )
        if name in found:
            raise QueryError(f"Two queries are called {name!r}. Give each a name of its own: NAME=CYPHER.")
        found[name] = text.strip().rstrip(";").rstrip()
    return found


def _split(query: str, place: int) -> tuple[str, str]:
    named = _NAMED.match(query)
    if named:
        return named[1], query[named.end() :]
    word = query.strip()
    return (word if re.fullmatch(r"[a-z][a-z0-9_]*", word) else f"query_{place}"), query


def _shared_out(texts: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters of each query, by its name."""
    uses = {name: _uses(text) for name, text in texts.items()}
    given: dict[str, dict[str, Any]] = {name: {} for name in texts}
    for key, value in parameters.items():
        if key == OWN_PARAMETER:
            raise QueryError(f"The parameter ${OWN_PARAMETER} is used by the export itself. Rename it.")
        query, dot, own = key.partition(".")
        if dot and query not in texts:
            near = difflib.get_close_matches(query, list(texts), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are {', '.join(texts)}."
            raise QueryError(f"The parameter {key!r} is for a query {query!r}, which is not given.{hint}")
        takers = [query] if dot else [name for name, used in uses.items() if len(texts) == 1 or key in used]
        if not takers:
            raise QueryError(
                f"None of the queries {', '.join(texts)} has a parameter {key!r}. Correct its name."
            )
        for name in takers:
            if dot or f"{name}.{key}" not in parameters:
                given[name][own if dot else key] = value
    return given


def _uses(text: str) -> set[str]:
    question = canned(text)
    return {p.name for p in question.parameters} if question else parameter_names(text)


def _read(name: str, text: str, given: dict[str, Any], allowed: Allowed | None) -> NamedQuery:
    from tosg_graph.query import completed

    question = canned(text)
    if question:
        text, given = question.statement.strip(), completed(question, given)
    if SOURCES in parameter_names(text):
        given = with_sources(given, allowed)
    return NamedQuery(name, text, given, question.name if question else None)
