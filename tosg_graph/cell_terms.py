"""Cells picked by Cypher: the ontology terms that a query returns, and the columns of the cells that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tosg_graph.cohort import Cohort, parse
from tosg_graph.errors import CohortError
from tosg_graph.resources import cypher, schema
from tosg_graph.terms import SHARED_LABEL, descendants, ontology_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

MAX_ROWS = 100_000  # of the query; a term per row is far less than an ontology has


@dataclass(frozen=True)
class CohortDefinition:
    """What a person asked for: an expression, a query that picks terms, or both.

    Parameters
    ----------
    expression
        In the grammar of docs/cohort-grammar.md, without names of saved cohorts.
    query, parameters
        Cypher, or the name of a canned question, that returns terms; None for none.
    exact
        Whether a returned term means itself alone, without everything below it.
    saved_as
        Names of the saved cohorts that it was written with.
    """

    expression: str = "true"
    query: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    saved_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellTerms:
    """The terms that a query returned.

    Parameters
    ----------
    returned
        Columns of the cells, joined by a comma -> ids that were returned for them, sorted.
    meant
        The same keys -> those ids and, unless the query was exact, everything below them.
    """

    returned: dict[str, tuple[str, ...]]
    meant: dict[str, tuple[str, ...]]


def check(
    definition: CohortDefinition, columns: Mapping[str, str], graph: Graph | None
) -> tuple[Cohort, CellTerms | None]:
    """Parse a definition against the columns of a store and run its query.

    Parameters
    ----------
    columns
        Name -> DuckDB type of the columns of the cells.
    graph
        Where the query runs; may be None for a definition without one.

    Raises
    ------
    CohortError
        If the expression is refused, or the query returns no terms of the cells' columns.
    QueryError
        If the query writes, is refused or fails.
    """
    cohort = parse(definition.expression, columns)
    if definition.query is None:
        return cohort, None
    if graph is None:
        raise CohortError("A query that picks cells needs the graph. Give it, or leave the query out.")
    terms = _terms(graph, definition, columns)
    groups = [([f"{c}_id" for c in key.split(",")], ids) for key, ids in terms.meant.items()]
    count = sum(map(len, terms.meant.values()))
    return cohort.among(groups, f"and the terms of its query ({count:,})"), terms


def _terms(graph: Graph, definition: CohortDefinition, columns: Mapping[str, str]) -> CellTerms:
    from tosg_graph.query import run

    rows = run(graph, definition.query or "", definition.parameters, limit=MAX_ROWS)
    values = {name: set(_texts(rows[name])) for name in rows.column_names}
    known = _columns_of(graph, set().union(*values.values()), columns)
    returned: dict[str, set[str]] = {}
    for name, ids in values.items():
        terms = ids & set(known)
        if terms and terms != ids:
            stranger = min(ids - terms)
            raise CohortError(
                f"The column {name!r} of the cells' query holds {stranger!r} beside terms; it is no term of "
                f"{', '.join(_held(columns))}. Return terms alone, or their ids."
            )
        for term in terms:
            returned.setdefault(",".join(known[term]), set()).add(term)
    if not returned:
        raise CohortError(
            f"The cells' query returned {len(rows):,} rows and no term of {', '.join(_held(columns))}. Return "
            "nodes of these kinds, or their ids."
        )
    below = {
        key: ids if definition.exact else descendants(graph, sorted(ids)) for key, ids in returned.items()
    }
    return CellTerms(_sorted(returned), _sorted(below))


def _texts(column: pa.ChunkedArray) -> Iterator[str]:
    """Every text in a column, also inside lists."""
    waiting: list[Any] = column.to_pylist()
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value


def _columns_of(graph: Graph, ids: Iterable[str], columns: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Term id -> the ontology columns that can hold it; ids that are no terms of any are left out.

    Several columns may be of one kind (organ and tissue). Where the id's prefix is that of some of them, these count;
    of kinds that share a label (stages, sexes, assays) only these.
    """
    labels, held = ontology_labels(), _held(columns)
    specs = {name: schema("cells")["columns"][name] for name in held}
    found = {}
    for row in graph.rows(cypher("terms_by_id"), ids=sorted(ids)):
        prefix = row["id"].split(":")[0]
        single = [name for name in held if row["id"] in specs[name].get("also", {}).get(prefix, ())]
        kin = [name for name in held if labels[name] in row["labels"]]
        named = [name for name in kin if specs[name]["ontology"] == prefix]
        fitting = single or named or [name for name in kin if labels[name] != SHARED_LABEL]
        if fitting:
            found[row["id"]] = tuple(fitting)
    return found


def _held(columns: Mapping[str, str]) -> list[str]:
    """Ontology columns that this store has."""
    return [name for name in ontology_labels() if f"{name}_id" in columns]


def _sorted(groups: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {key: tuple(sorted(groups[key])) for key in sorted(groups)}
