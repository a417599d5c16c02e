"""The graph, or what a query picks of it, as KGX: nodes and edges in Biolink's terms, as TSV or JSON Lines.

What KGX has no place for is kept as JSON in one more column, ``tosg``, so that `tosg load kgx` gives the same
graph again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tosg_graph import walk
from tosg_graph.contract import labels, stored_edge_columns, stored_node_columns
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.types import Selection

NODE_COLUMNS = (
    *("id", "category", "name", "description", "xref", "synonym", "symbol", "provided_by", "license", "tosg"),
)
EDGE_COLUMNS = (
    *("id", "subject", "predicate", "object", "primary_knowledge_source", "publications", "negated"),
    *("knowledge_level", "agent_type", "license", "tosg"),
)
_COMPUTED = frozenset({"text", "text_sha", "release", "sources"})  # a load makes them
_PLAIN = {
    "name": "name",
    "description": "description",
    "symbol": "symbol",
    "xrefs": "xref",
    "synonyms": "synonym",
    "licence": "license",
}

Row = dict[str, Any]


@dataclass(frozen=True)
class KgxReport:
    """What was written where."""

    folder: Path
    format: str
    nodes: int
    edges: int


def export(
    graph: Graph,
    out: Path,
    *,
    query: str | None = None,
    parameters: Mapping[str, object] | None = None,
    json_lines: bool = False,
    progress: Progress | None = None,
) -> KgxReport:
    """Write ``graph_nodes`` and ``graph_edges`` into a new folder.

    Retired nodes, vectors, computed texts, properties outside the schema, sources and releases stay out.

    Parameters
    ----------
    query
        Cypher whose nodes, relationships and paths are written; the whole graph without it.
    json_lines
        ``.jsonl`` instead of ``.tsv``.

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written; nothing is left behind.
    QueryError
        If the query is refused or picks nothing.
    """
    from tosg_graph.bundle import new_bundle, refuse_existing

    show = progress or silent
    out = refuse_existing(out)
    if query is None:
        nodes, edges = _all_nodes(graph), _all_edges(graph)
    else:
        from tosg_graph.selection import select

        picked = select(graph, query, parameters)
        nodes, edges = _picked_nodes(picked), _picked_edges(picked)
    levels = {row["key"]: row["level"] for row in graph.rows(cypher("walk_sources"))}
    ending = "jsonl" if json_lines else "tsv"
    with new_bundle(out) as folder:
        node_rows = (_node(row, given) for given, row in nodes)
        written = _write(folder / f"graph_nodes.{ending}", NODE_COLUMNS, node_rows, show)
        edge_rows = (_edge(verb, row, levels) for verb, row in edges)
        related = _write(folder / f"graph_edges.{ending}", EDGE_COLUMNS, edge_rows, show)
    return KgxReport(out, "KGX, JSON Lines" if json_lines else "KGX, TSV", written, related)


# --------------------------------------------------------------------------- rows of the graph


def _all_nodes(graph: Graph) -> Iterator[tuple[tuple[str, ...], Row]]:
    keys = [name for name in stored_node_columns() if name not in _COMPUTED]
    for page in walk.nodes(graph, [*keys, "sources"]):
        for node in page:
            yield node.labels, dict(zip([*keys, "sources"], node.values, strict=True))


def _all_edges(graph: Graph) -> Iterator[tuple[str, Row]]:
    for verb in walk.used_verbs(graph):
        keys = ["edge_key", *(name for name in stored_edge_columns(verb) if name != "edge_key")]
        for page in walk.edges(graph, verb, keys):
            for edge in page:
                ends = {"subject": edge.subject, "object": edge.object}
                yield verb, ends | dict(zip(keys, edge.values, strict=True))


def _picked_nodes(picked: Selection) -> Iterator[tuple[tuple[str, ...], Row]]:
    for batch in picked.nodes.to_batches(walk.NODES):
        for row in batch.to_pylist():
            yield tuple(row.pop("labels")), row


def _picked_edges(picked: Selection) -> Iterator[tuple[str, Row]]:
    ids: pa.Array = picked.nodes["id"].combine_chunks()
    for (_, verb, _), table in picked.edges.items():
        for batch in table.to_batches(walk.EDGES):
            subjects, objects = (ids.take(batch[end]).to_pylist() for end in ("source_row", "target_row"))
            for row, subject, object_ in zip(batch.to_pylist(), subjects, objects, strict=True):
                yield verb, {**row, "subject": subject, "object": object_}


# --------------------------------------------------------------------------- rows of KGX


def _node(row: Row, given: Iterable[str]) -> Row:
    order = [label for label in labels() if label in set(given)]
    classes = schema("biolink")["categories"]
    found: Row = {"id": row["id"], "category": [f"biolink:{classes[label]}" for label in order]}
    own: Row = {"labels": order}
    for name, column in _PLAIN.items():
        found[column] = _tidy(row.get(name))
        if found[column] != row.get(name) and row.get(name):
            own[name] = row[name]
    found["provided_by"] = [f"infores:{source}" for source in row.get("sources") or ()]
    kept = (name for name in stored_node_columns() if name not in _COMPUTED and name not in _PLAIN)
    own |= {name: row[name] for name in kept if name != "id" and row.get(name) not in (None, [], "")}
    return found | {"tosg": own}


def _edge(verb: str, row: Row, levels: Mapping[str, str]) -> Row:
    rule = schema("biolink")["predicates"][verb]
    predicate = rule.get("values", {}).get(row.get(rule.get("property", "")), rule["any"])
    found: Row = {
        "id": f"tosg:{row['edge_key']}",
        "subject": row["subject"],
        "predicate": f"biolink:{predicate}",
        "object": row["object"],
        "primary_knowledge_source": f"infores:{_tidy(row['source']).replace('|', '/')}",
        "publications": _tidy(row.get("publications")),
        "negated": row.get("negated"),
        "knowledge_level": levels.get(row["source"], "not_provided"),
        "agent_type": "not_provided",
        "license": _tidy(row.get("licence")),
    }
    own: Row = {"verb": verb}
    for name in stored_edge_columns(verb):
        value = row.get(name)
        as_is = name == "edge_key" or (name in found and found[name] == value and value is not False)
        if value not in (None, [], "") and not as_is:
            own[name] = value
    if found["primary_knowledge_source"] == f"infores:{row['source']}":
        del own["source"]
    return found | {"tosg": own}


def _tidy(value: Any) -> Any:
    """Text as KGX can carry it: no tabs, line ends, or spaces outside; no bars in lists, which are sorted."""
    if isinstance(value, list):
        return sorted({text for item in value if (text := _tidy(item).replace("|", "/"))})
    return re.sub(r"\s+", " ", value).strip() if isinstance(value, str) else value


# --------------------------------------------------------------------------- files


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[Row], show: Progress) -> int:
    done = 0
    line: Callable[[Row], str] = _json if path.suffix == ".jsonl" else lambda row: _cells(row, columns)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        _head(file, columns)
        for done, row in enumerate(rows, start=1):
            file.write(line(row))
            if done % walk.EDGES == 0:
                show(f"Writing {path.name}", done, None)
    show(f"Writing {path.name}", done, done)
    return done


def _head(file: TextIO, columns: tuple[str, ...]) -> None:
    if file.name.endswith(".tsv"):
        file.write("\t".join(columns) + "\n")


def _json(row: Row) -> str:
    filled = {name: value for name, value in row.items() if value not in (None, [], "")}
    return json.dumps(filled, ensure_ascii=False, allow_nan=False) + "\n"


def _cells(row: Row, columns: tuple[str, ...]) -> str:
    return "\t".join(_cell(row.get(name)) for name in columns) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):  # JSON writes tabs and line ends as \t and \n
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return str(value)
