"""Why a query picks nothing, and what may help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tosg_graph.errors import QueryError
from tosg_graph.graph_counts import NOTHING_LOADED, nothing_loaded

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.named_queries import NamedQuery

_UNKNOWN = {"01N50": "label", "01N51": "relationship type", "01N52": "property"}  # of Neo4j's status codes


def explain_empty(graph: Graph, query: NamedQuery, columns: Sequence[str], values: int) -> QueryError:
    """Make the error of a query without graph elements in its answer.

    Parameters
    ----------
    columns
        That it returns.
    values
        How many values it returns.
    """
    if values:
        names = ", ".join(columns)
        return QueryError(
            f"The query returns no nodes, relationships or paths, only values ({names}). "
            "Return the elements themselves: RETURN g, not g.name."
        )
    if nothing_loaded(graph):
        return QueryError(f"The query matches nothing: {NOTHING_LOADED}.")
    unknown = _unknown_names(graph, query.text, query.parameters)
    if unknown and not query.saved:  # what a canned question asks for is spelled right
        return QueryError(f"The query matches nothing: {'; '.join(unknown)}.")
    asked = _texts("" if query.saved else query.text, query.parameters)
    looked_for = f" Looked for {', '.join(map(repr, asked))}." if asked else ""
    near = [name for text in asked for name in _nearest(graph, text)]
    hint = f" Nearest names: {', '.join(map(repr, dict.fromkeys(near)))}." if near else ""
    return QueryError(f"The query matches nothing.{looked_for}{hint} Try `tosg search` for the spelling.")


def _unknown_names(graph: Graph, query: str, parameters: Mapping[str, object]) -> list[str]:
    """Labels, types and properties in the query that the graph does not have, with what may help."""
    from tosg_graph.contract import labels, verbs
    from tosg_graph.graph_counts import stored_counts

    known = {"label": labels(), "relationship type": verbs(), "property": []}
    missing: dict[str, str] = {}  # name -> what it is of
    for status in graph.explain(query, dict(parameters)).gql_status_objects:
        kind = _UNKNOWN.get(status.gql_status)
        name = re.search(r"`([^`]+)`", status.status_description or "")
        if kind and name:
            missing[name[1]] = kind
    stored = stored_counts(graph)  # the server goes on knowing the names of what was deleted
    for name in re.findall(r"[:|&]\s*`?([A-Za-z_]\w*)", query):
        kind = next((k for k, names in known.items() if name in names), None)
        if kind and not stored[name]:
            missing.setdefault(name, kind)
    return [f"the graph has no {k} {name!r}, {_advice(name, known[k])}" for name, k in missing.items()]


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
