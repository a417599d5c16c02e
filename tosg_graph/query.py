"""Rows of a Cypher question, or of a canned one by name, joined with abundance at query time."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import QueryError
from tosg_graph.graph_counts import NOTHING_LOADED, nothing_loaded
from tosg_graph.licences import Allowed, Filter, allowed_in, allowed_rows
from tosg_graph.normalise import COUNTS
from tosg_graph.read_guard import check_reads_only, parameter_names
from tosg_graph.resources import canned_names, cypher, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.cohort import Cohort
    from tosg_graph.graph import Graph

STATS = ("mean", "pct")
_CANNED_NAME = re.compile(r"[a-z][a-z0-9_]*")
_GENE_ID = re.compile(r"HGNC:\d+")
_FETCH_ROWS = 1_000
SOURCES = "sources"  # $sources of a canned question: whose statements count; null for everybody's


@dataclass(frozen=True)
class CannedParameter:
    """One ``$parameter`` of a canned question; ``type`` is string, int or list."""

    name: str
    type: str
    meaning: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class CannedQuery:
    """A question of ``cypher/queries``, as its header comments describe it."""

    name: str
    topic: str
    title: str
    description: str
    parameters: tuple[CannedParameter, ...]
    signature: str  # "$source $target $steps=4"
    example: dict[str, Any]
    statement: str


def run(
    graph: Graph,
    cypher_or_name: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    abundance: Sequence[str] | None = None,
    layer: str = COUNTS,
    by: str | None = None,
    cells: str | Cohort | None = None,
    reader: AbundanceReader | None = None,
    limit: int = 10_000,
    timeout: float = 60.0,
    allowed: Filter | None = None,
    notice: Callable[[str], None] | None = None,
) -> pa.Table:
    """Answer a question as one Arrow table.

    A node becomes its id, a relationship or path the ids along it (``HGNC:1 -SIGNALS_TO-> HGNC:2``), a map
    JSON text, a time ISO text. Embeddings are left out of maps and refused as values.

    Parameters
    ----------
    cypher_or_name
        Cypher that reads only, or the name of a canned question (`list_canned`).
    abundance
        ``mean`` (by default of raw counts) and/or ``pct`` (percentage of cells with a count above zero): the genes
        in the first column that holds any (Gene nodes, or ids such as ``HGNC:11362``) are joined with their
        abundance. One row per row of the answer and group of ``by``; a gene that was never measured keeps
        one row with nulls.
    layer
        What ``mean`` is of: ``counts``, ``cp10k`` or ``log1p``.
    by
        Column of the cells to group by.
    cells
        Cohort, as expression or checked; all cells without it.
    reader
        Open store version, needed with ``abundance``.
    limit
        Most rows that the question itself may return.
    timeout
        Seconds that the server may work on it.
    allowed
        Sources and licences to keep to. A query that uses ``$sources`` gets the list of them; of any other, rows
        with a graph element that is not allowed are left out. ``$sources`` is null without a filter.
    notice
        Told in one line what was left out, or that the graph is empty.

    Raises
    ------
    QueryError
        If the query is refused or fails, returns more than ``limit`` rows (nothing is cut off silently), or
        has no genes to join.
    LicenceError
        If the filter cannot be used, or the query returns plain values whose sources it cannot tell.
    CohortError
        If ``cells`` or ``by`` cannot be used.
    """
    if limit < 1 or not timeout > 0:
        raise QueryError(f"limit {limit} and timeout {timeout} must both be above zero.")
    _check_join(abundance, layer, by, cells, reader)
    statement, given = _statement(cypher_or_name, parameters or {})
    asks = SOURCES in parameter_names(statement)
    known = allowed_in(graph, allowed) if allowed else None
    if asks:
        given = with_sources(given, known)
    check_reads_only(graph, statement, given)
    columns, rows = _read(graph, statement, given, limit, timeout)
    tell = notice or (lambda _: None)
    if not rows and nothing_loaded(graph):
        tell(f"No rows: {NOTHING_LOADED}.")
    if known:
        rows = _kept(known, rows, asks, tell)
    answer = _table(graph, columns, rows)
    if not abundance or reader is None:
        return answer
    return _join(graph, answer, _genes(columns, rows), abundance, layer, by, cells, reader)


# --------------------------------------------------------------------------- canned questions


def list_canned() -> list[CannedQuery]:
    """All canned questions, by topic and name."""
    return sorted((_canned(name) for name in canned_names()), key=lambda q: (q.topic, q.name))


def _canned(name: str) -> CannedQuery:
    text = cypher(f"queries/{name}")
    headers = re.findall(r"^// (topic|title|description|param|example): (.*)$", text, re.MULTILINE)
    lines = {key: value for key, value in headers if key != "param"}
    parameters = tuple(_parameter(name, value) for key, value in headers if key == "param")
    return CannedQuery(
        name=name,
        topic=lines["topic"],
        title=lines["title"],
        description=lines["description"],
        parameters=parameters,
        signature=" ".join(
            f"${p.name}" if p.required else f"${p.name}={json.dumps(p.default)}" for p in parameters
        ),
        example={
            key: json.loads(value)
            for key, value in re.findall(
                r'(\w+)=("(?:[^"\\]|\\.)*"|\[[^\]]*\]|\S+)', lines.get("example", "")
            )
        },
        statement=text,
    )


def _parameter(query: str, header: str) -> CannedParameter:
    match = re.fullmatch(r"(\w+) (string|int|list)(?: = (.+?))? — (.+)", header)
    if match is None:
        raise QueryError(f"cypher/queries/{query}.cypher: {header!r} is not 'name type = default — meaning'.")
    name, kind, default, meaning = match.groups()
    value = None if default is None else json.loads(default)
    return CannedParameter(name, kind, meaning, required=default is None, default=value)


def canned(query: str) -> CannedQuery | None:
    """Return the canned question that ``query`` names; None where it is Cypher.

    Raises
    ------
    QueryError
        If it is one word, and no canned question is called that; the nearest are named.
    """
    name = query.strip()
    if not _CANNED_NAME.fullmatch(name):
        return None
    if name not in canned_names():
        near = difflib.get_close_matches(name, canned_names(), n=2)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise QueryError(f"No canned question is called {name!r}.{hint} `tosg query --list` shows all.")
    return _canned(name)


def _statement(cypher_or_name: str, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Cypher and its parameters; those of a canned question are checked and completed."""
    question = canned(cypher_or_name)
    if question is None:
        return cypher_or_name, dict(parameters)
    return question.statement, completed(question, parameters)


def with_sources(given: Mapping[str, Any], known: Allowed | None) -> dict[str, Any]:
    """Parameters with ``$sources``: those that are allowed, or null for everybody's.

    Raises
    ------
    QueryError
        If it is given and there is a filter.
    """
    if known is None:
        return {SOURCES: None, **given}
    if SOURCES in given:
        raise QueryError("--param sources and --sources or --license-allow cannot be used together.")
    return {**given, SOURCES: list(known.whole)}


def _kept(
    known: Allowed, rows: list[Sequence[Any]], asks: bool, notice: Callable[[str], None]
) -> list[Sequence[Any]]:
    """Rows that the filter lets through; a query that asked for ``$sources`` has looked after itself."""
    if asks:
        partly = sorted(known.keys - set(known.whole))
        if partly:
            notice(
                f"$sources leaves out {', '.join(partly)}: some of their statements have a licence that is not "
                "allowed. Return the elements themselves to see the others."
            )
        return rows
    kept = allowed_rows(known, rows)
    if len(kept) < len(rows):
        notice(f"{len(rows) - len(kept):,} of {len(rows):,} rows left out: not allowed by {known.filter}.")
    return kept


def completed(canned: CannedQuery, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a canned question, checked, with defaults.

    Raises
    ------
    QueryError
        If one is missing, unknown or of another type.
    """
    known = {p.name: p for p in canned.parameters}
    usage = f"It takes {canned.signature}."
    for name in given:
        if name not in known:
            raise QueryError(f"{canned.name} has no parameter {name!r}. {usage}")
    missing = [p.name for p in canned.parameters if p.required and given.get(p.name) in (None, "")]
    if missing:
        raise QueryError(f"{canned.name} needs --param {missing[0]}=VALUE. {usage}")
    return {name: _typed(canned, p, given.get(name, p.default)) for name, p in known.items()}


def _typed(canned: CannedQuery, parameter: CannedParameter, value: Any) -> Any:
    if parameter.type == "string" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)  # --param name=7 arrives as a number
    if parameter.type == "int" and isinstance(value, int) and not isinstance(value, bool):
        return value
    if parameter.type == "list" and isinstance(value, list | tuple):
        return list(value)
    if value is None and not parameter.required:
        return None
    raise QueryError(f"{canned.name}: {parameter.name}={value!r} is no {parameter.type}. {parameter.meaning}")


# --------------------------------------------------------------------------- rows


def _read(
    graph: Graph, statement: str, parameters: dict[str, Any], limit: int, timeout: float
) -> tuple[list[str], list[Sequence[Any]]]:
    """Columns and rows, as the driver has them; never more than ``limit`` rows are held."""
    import neo4j

    text: Any = statement  # the driver wants LiteralString; this one has passed the guard
    rows: list[Sequence[Any]] = []
    # The connection's own error words (timeout, memory, unreachable) are those of every other read.
    with (
        graph._errors(),
        graph.driver.session(
            database=graph._database,
            default_access_mode=neo4j.READ_ACCESS,
            fetch_size=min(limit + 1, _FETCH_ROWS),
        ) as session,
    ):
        result = session.run(neo4j.Query(text, timeout=timeout), parameters)
        columns = list(result.keys())
        for record in result:
            if len(rows) == limit:
                raise QueryError(
                    f"The query returns more than {limit:,} rows. Add LIMIT to it, or raise --limit."
                )
            rows.append(record.values())
    return columns, rows


def _table(graph: Graph, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    import pyarrow as pa

    ids = _end_ids(graph, rows)
    arrays = []
    for place, column in enumerate(columns):
        values = [_readable(row[place], ids, column) for row in rows]
        arrays.append(_array(values))
    return pa.table(arrays, names=list(columns))


def _array(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    if any(isinstance(v, list) and any(isinstance(x, list) for x in v) for v in values):
        values = [None if v is None else _json(v) for v in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        # Several types in one column: as text, which every output format can hold.
        return pa.array([v if v is None or isinstance(v, str) else _json(v) for v in values], pa.string())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)  # maps come in no fixed order


def _readable(value: Any, ids: Mapping[str, str], column: str) -> Any:
    from neo4j.graph import Node, Path, Relationship

    if isinstance(value, Node):
        return _node_id(value, ids)
    if isinstance(value, Relationship):
        start, end = value.nodes
        return f"{_node_id(start, ids)} -{value.type}-> {_node_id(end, ids)}"
    if isinstance(value, Path):
        return _path(value, ids)
    if isinstance(value, Mapping):
        return _json(_plain_map(value, ids, column))
    iso = getattr(value, "iso_format", None)
    if iso:  # before lists: a duration is a tuple
        return iso()
    if isinstance(value, list | tuple):
        if _is_embedding(value):
            raise QueryError(
                f"The column {column!r} holds embeddings, which are not returned. "
                "Export a bundle to get them as a tensor: tosg-export."
            )
        return [_readable(v, ids, column) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _plain_map(value: Mapping[str, Any], ids: Mapping[str, str], column: str) -> dict[str, Any]:
    """Copy a map for JSON, without the embedding; maps inside it stay maps."""
    embedding = schema("nodes")["text_vector"]["property"]
    return {
        key: _plain_map(v, ids, column) if isinstance(v, dict) else _readable(v, ids, column)
        for key, v in value.items()
        if key != embedding
    }


def _is_embedding(value: Sequence[Any]) -> bool:
    dimensions: int = schema("nodes")["text_vector"]["dimensions"]
    return len(value) == dimensions and all(isinstance(v, float) for v in value)


def _path(path: Any, ids: Mapping[str, str]) -> str:
    parts = [_node_id(path.start_node, ids)]
    here = path.start_node
    for edge in path.relationships:
        forward = edge.nodes[0].element_id == here.element_id
        here = edge.nodes[1] if forward else edge.nodes[0]
        parts.append(f"-{edge.type}->" if forward else f"<-{edge.type}-")
        parts.append(_node_id(here, ids))
    return " ".join(parts)


def _node_id(node: Any, ids: Mapping[str, str]) -> str:
    known = node.get("id")
    return str(known) if known is not None else ids.get(node.element_id, node.element_id)


def _end_ids(graph: Graph, rows: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Ids of the nodes at the ends of returned relationships, which the server sends without properties."""
    bare: set[str] = set()
    stack: list[Any] = [value for row in rows for value in row if not isinstance(value, str | int | float)]
    from neo4j.graph import Relationship

    while stack:
        value = stack.pop()
        if isinstance(value, Relationship):
            bare |= {node.element_id for node in value.nodes if node is not None and node.get("id") is None}
        elif isinstance(value, list | tuple):
            stack += [v for v in value if not isinstance(v, str | int | float)]
        elif isinstance(value, dict):
            stack += value.values()
    if not bare:
        return {}
    found = graph.rows(cypher("search_node_ids"), nodes=sorted(bare))
    return {row["node"]: row["id"] for row in found}


# --------------------------------------------------------------------------- abundance


def _check_join(
    abundance: Sequence[str] | None,
    layer: str,
    by: str | None,
    cells: str | Cohort | None,
    reader: AbundanceReader | None,
) -> None:
    if not abundance:
        if by or cells or layer != COUNTS:
            named = "--by" if by else "--cells" if cells else "--layer"
            raise QueryError(f"{named} is about abundance. Add --abundance mean,pct, or leave it out.")
        return
    unknown = [s for s in abundance if s not in STATS]
    if unknown:
        raise QueryError(f"{unknown[0]!r} is no statistic of abundance. Choose from {', '.join(STATS)}.")
    if reader is None:
        raise QueryError("Abundance needs an open store: pass reader=AbundanceReader.open(store).")


def _genes(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str | None]:
    """Gene id per row, from the first column that holds any gene."""
    for place in range(len(columns)):
        genes = [_gene_id(row[place]) for row in rows]
        if any(genes):
            return genes
    if not rows:
        return []
    raise QueryError(
        "No returned column holds genes, so there is no abundance to join. "
        "Return Gene nodes or their ids: RETURN g, or g.id AS gene."
    )


def _gene_id(value: Any) -> str | None:
    from neo4j.graph import Node

    if isinstance(value, Node):
        return str(value["id"]) if "Gene" in value.labels else None
    return value if isinstance(value, str) and _GENE_ID.fullmatch(value) else None


def _join(
    graph: Graph,
    answer: pa.Table,
    genes: Sequence[str | None],
    stats: Sequence[str],
    layer: str,
    by: str | None,
    cells: str | Cohort | None,
    reader: AbundanceReader,
) -> pa.Table:
    import pyarrow as pa

    from tosg_graph.harmonise import term_expander

    axis = reader.axis_columns(sorted({g for g in genes if g}))
    known = [s for s in STATS if s in stats]
    expand = term_expander(graph)
    summary = reader.aggregate(sorted(axis.values()), by, cells or "true", expand, known, layer)
    added = [by, *known, "cells"] if by else [*known, "cells"]
    for name in added:
        if name in answer.column_names:
            raise QueryError(f"The query already returns a column {name!r}. Rename it with AS.")
    places: dict[int, list[int]] = {}
    for place, column in enumerate(summary["axis_column"].to_pylist()):
        places.setdefault(column, []).append(place)
    left: list[int] = []
    right: list[int | None] = []
    for row, gene in enumerate(genes):
        groups: Sequence[int | None] = places.get(axis[gene], [None]) if gene in axis else [None]
        left += [row] * len(groups)
        right += groups
    joined = answer.take(pa.array(left, pa.int64()))
    taken = summary.take(pa.array(right, pa.int64()))
    for name in added:
        joined = joined.append_column(name, taken[name])
    return joined
