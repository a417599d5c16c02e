"""What each query picks, as internal ids: the query runs once, and no entity crosses the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import QueryError
from tosg_graph.hops import CHUNK, union
from tosg_graph.named_queries import OWN_PARAMETER, NamedQuery
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph
    from tosg_graph.reading import Reading

    Ids = NDArray[np.int64]

NESTING = 4  # levels of lists, maps and paths that select_pick_nested.cypher opens


@dataclass(frozen=True)
class Pick:
    """Internal ids, sorted and distinct: nodes that a query returns, and relationships by verb."""

    nodes: Ids
    relationships: dict[str, Ids]


def pick(reading: Reading, query: NamedQuery) -> Pick:
    """Run a query, and keep every node, relationship and path in its rows, however nested.

    Raises
    ------
    QueryError
        If it is refused or fails, returns nothing, returns values only, or nests graph elements more than four levels
        deep.
    """
    from tosg_graph.contract import finding
    from tosg_graph.empty_pick import explain_empty
    from tosg_graph.read_guard import check_reads_only

    columns = check_reads_only(reading.graph, query.text, query.parameters)
    found, others = _run(reading, _statement(reading.graph, query, columns), query)
    if others["(nested)"]:
        found, others = _run(reading, _wrapped("select_pick_nested", query, columns), query)
    if others["(nested)"]:
        raise QueryError(
            f"The query nests {others['(nested)']:,} lists, maps or paths more than {NESTING} levels deep. "
            "Return the nodes and relationships themselves."
        )
    if not len(found.nodes) and not found.relationships:
        if others[finding()]:
            raise QueryError(
                f"The query picks {others[finding()]:,} {finding()} relationships, which are findings of runs and no "
                "part of a selection. Return their ends too."
            )
        raise explain_empty(reading.graph, query, columns, others["(value)"])
    return found


def quote(name: str) -> str:
    """Back-quote a column name for Cypher, the one place where a user's name enters a statement.

    Inside back-quotes only the back-quote itself is special; it is doubled. Cypher also reads ``\\uXXXX`` as
    a character anywhere in a statement, so a name with a backslash is refused.

    Raises
    ------
    QueryError
        If ``name`` holds a backslash.
    """
    if "\\" in name:
        raise QueryError(f"The returned column {name!r} has a backslash in its name. Name it with AS.")
    return "`" + name.replace("`", "``") + "`"


def _run(reading: Reading, statement: str, query: NamedQuery) -> tuple[Pick, Counter[str]]:
    """Graph elements in the rows of a query, and how much else these hold; findings of runs are such else."""
    import numpy as np

    from tosg_graph.contract import finding

    nodes: list[Ids] = []
    relationships: dict[str, list[Ids]] = {}
    others: Counter[str] = Counter()
    for row in reading.records(statement, _with_chunk(query.parameters)):
        if not row["element"] or row["kind"] == finding():
            others[row["kind"]] += row["items"]
        elif row["kind"] == "(node)":
            nodes.append(np.array(row["ids"], np.int64))
        else:
            relationships.setdefault(row["kind"], []).append(np.array(row["ids"], np.int64))
    return Pick(union(nodes), {verb: union(ids) for verb, ids in relationships.items()}), others


def _statement(graph: Graph, query: NamedQuery, columns: Sequence[str]) -> str:
    if query.saved:
        return _wrapped("select_pick_named", query, columns)
    return _typed(graph, query, columns) or _wrapped("select_pick", query, columns)


def _typed(graph: Graph, query: NamedQuery, columns: Sequence[str]) -> str | None:
    """Statement for columns of which the server says that one holds relationships and all others nodes."""
    relationships = list(islice((name for name in columns if _takes(graph, "type", query, name)), 2))
    if len(relationships) != 1 or _takes(graph, "labels", query, *relationships):
        return None  # of a column that may hold anything both are planned
    ordered = relationships + [name for name in columns if name not in relationships]
    lists = [f"collect(DISTINCT id({quote(name)})) AS v{at}" for at, name in enumerate(ordered)]
    found = ["[verb, v0]", *(f"['(node)', v{at}]" for at in range(1, len(ordered)))]
    statement = cypher("select_pick_typed").replace("{{relationship}}", quote(*relationships))
    statement = statement.replace("{{lists}}", ", ".join(lists)).replace("{{found}}", ", ".join(found))
    statement = statement.replace("{{query}}", query.text)
    return statement if _plans(graph, statement, query) else None  # not where another column holds values


def _takes(graph: Graph, function: str, query: NamedQuery, column: str) -> bool:
    statement = cypher("select_typed").replace("{{function}}", function).replace("{{column}}", quote(column))
    return _plans(graph, statement.replace("{{query}}", query.text), query)


def _plans(graph: Graph, statement: str, query: NamedQuery) -> bool:
    try:
        graph.explain(statement, _with_chunk(query.parameters))
    except QueryError:
        return False
    return True


def _wrapped(name: str, query: NamedQuery, columns: Sequence[str]) -> str:
    statement = cypher(name).replace("{{columns}}", ", ".join(map(quote, columns)))
    return statement.replace("{{query}}", query.text)  # last: nothing is replaced inside the user's text


def _with_chunk(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {**parameters, OWN_PARAMETER: CHUNK}
