"""The whole graph as Parquet: a copy that `tosg_graph.restore` makes the same graph of again.

::

    dump.json                   what it holds, and the sha256 of every file
    nodes.parquet               entities by id: labels, properties of the schema, vector, ``more`` (JSON of the others)
    edges/<VERB>.parquet        relationships by key: ``subject``, ``object``, properties of the schema, ``more``
    other_nodes.parquet         sources, releases, tombstones, runs, and what somebody made by hand
    other_edges.parquet         relationships that no load wrote
    stated/, ledgers/           what the home keeps of the loads, so that the next load knows what is there

The same graph gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import history, stated, walk
from tosg_graph.bundle import checksums, new_bundle, refuse_existing, write_json
from tosg_graph.contract import arrow_type, stored_edge_columns, stored_node_columns, verbs
from tosg_graph.errors import ExportError
from tosg_graph.graph_counts import stored_counts
from tosg_graph.home_lock import only_one_load
from tosg_graph.progress import Progress, silent
from tosg_graph.release import GRAPH_FORMAT, stored_release
from tosg_graph.resources import cypher, schema
from tosg_graph.server_import import ARRAY_DELIMITER

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

DUMP_FORMAT = 1
MANIFEST = "dump.json"
NODES, OTHER_NODES, OTHER_EDGES = "nodes.parquet", "other_nodes.parquet", "other_edges.parquet"
VECTOR = "vector"  # kind of the column of vectors, which the schema's table of types does not have
_NODE_ROWS, _EDGE_ROWS = 50_000, 500_000  # of a row group


@dataclass(frozen=True)
class DumpReport:
    """What a dump holds."""

    folder: Path
    release: str
    entities: int
    vectors: int
    relationships: int
    other_nodes: int
    other_relationships: int
    size_mb: float


def dump(graph: Graph, out: Path, progress: Progress | None = None) -> DumpReport:
    """Write the whole graph into a new folder.

    Vectors keep their 32 bits. Nothing of the abundance store is written, nor the cache of embeddings.

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written, the graph is empty, it changed while it was read, or a property
        outside the schema holds something else than text, numbers, true or false, or lists of one of these.
    LoadError
        If a load is running, or the graph is of another format.
    """
    show = progress or silent
    out = refuse_existing(out)
    with only_one_load(graph.settings), new_bundle(out) as folder:
        release = stored_release(graph)
        counts = stored_counts(graph)
        others, places = _other_nodes(graph)
        links = _other_edges(graph, places)
        if not counts["Entity"] and not others:
            raise ExportError("The graph is empty: there is nothing to dump. Load sources first: tosg load")
        entities, vectors = _write_nodes(graph, folder, counts["Entity"], show)
        relationships = _write_edges(graph, folder, links, show)
        _write_table(folder / OTHER_NODES, others)
        _write_table(folder / OTHER_EDGES, links)
        if (stored_release(graph), stored_counts(graph)) != (release, counts):
            raise ExportError(
                "The graph changed while it was read; nothing was kept. Run the same command again."
            )
        _copy_memory(graph.settings, release["releases"] if release else [], folder)
        manifest = {
            "kind": "tosg-graph dump",
            "dump_format": DUMP_FORMAT,
            "graph_format": GRAPH_FORMAT,
            "written_by": version("tosg-graph"),
            "release": release["id"] if release else "",
            "counts": {what: n for what, n in counts.items() if n},
            "entities": entities,
            "vectors": vectors,
            "relationships": relationships,
            "other_nodes": len(others),
            "other_relationships": len(links),
            "files": checksums(folder),
        }
        write_json(manifest, folder / MANIFEST)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    return DumpReport(
        out,
        str(manifest["release"]),
        entities,
        vectors,
        relationships,
        len(others),
        len(links),
        round(size, 1),
    )


def node_kinds() -> dict[str, str]:
    """Columns of ``nodes.parquet`` that are properties: name -> kind; what `annotate` and `embed` add comes last."""
    vector = schema("nodes")["text_vector"]["property"]
    return {**stored_node_columns(), "annotated": "string", vector: VECTOR}


# --------------------------------------------------------------------------- entities and their relationships


def _write_nodes(graph: Graph, folder: Path, expected: int, show: Progress) -> tuple[int, int]:
    kinds = node_kinds()
    vector = list(kinds).index(schema("nodes")["text_vector"]["property"])
    found = {"entities": 0, "vectors": 0}

    def pages() -> Iterator[pa.Table]:
        for page in walk.nodes(graph, list(kinds), more=True):
            found["entities"] += len(page)
            found["vectors"] += sum(node.values[vector] is not None for node in page)
            show("Writing entities", found["entities"], expected)
            lead = {"labels": [list(node.labels) for node in page]}
            yield _table(
                lead, kinds, [n.values for n in page], [n.more for n in page], [n.values[0] for n in page]
            )

    if expected:
        _write(folder / NODES, pages(), _NODE_ROWS)
    return found["entities"], found["vectors"]


def _write_edges(graph: Graph, folder: Path, links: pa.Table, show: Progress) -> int:
    (folder / "edges").mkdir()
    total = 0
    for verb in walk.used_verbs(graph):
        kinds = stored_edge_columns(verb)
        apart = [
            key
            for kind, key in zip(*(links[c].to_pylist() for c in ("type", "key")), strict=True)
            if kind == verb
        ]
        expected = walk.count(graph, verb) - len(apart)
        if expected:
            pages = _edge_pages(graph, verb, kinds, apart, expected, show)
            _write(folder / "edges" / f"{verb}.parquet", pages, _EDGE_ROWS)
        total += expected
    return total


def _edge_pages(
    graph: Graph,
    verb: str,
    kinds: Mapping[str, str],
    apart: Sequence[int | None],
    expected: int,
    show: Progress,
) -> Iterator[pa.Table]:
    done = 0
    keys = ["edge_key", *(name for name in kinds if name != "edge_key")]
    for page in walk.edges(graph, verb, keys, more=True, apart=apart):
        done += len(page)
        show(f"Writing {verb}", done, expected)
        ends = {"subject": [e.subject for e in page], "object": [e.object for e in page]}
        names = [f"{e.subject} -{verb}-> {e.object}" for e in page]
        yield _table(
            ends, {k: kinds[k] for k in keys}, [e.values for e in page], [e.more for e in page], names
        )


def _table(
    lead: Mapping[str, list[Any]],
    kinds: Mapping[str, str],
    values: Sequence[Sequence[Any]],
    more: Sequence[list[Any]],
    names: Sequence[str],
) -> pa.Table:
    """Make rows of Parquet; a value of another type than its column's goes to ``more``, as it is.

    Parameters
    ----------
    names
        What each row is called in a message.
    """
    import pyarrow as pa

    columns: dict[str, Any] = dict(lead)
    rest = [dict(pairs) for pairs in more]
    for at, (name, kind) in enumerate(kinds.items()):
        given = [row[at] for row in values]
        column = _column(given, kind)
        if column is None:
            for number, value in enumerate(given):
                if _column([value], kind) is None:
                    rest[number][name], given[number] = value, None
            column = _column(given, kind)
        columns[name] = column
    columns["more"] = pa.array(
        [as_json(name, own) for name, own in zip(names, rest, strict=True)], pa.string()
    )
    return pa.table(columns)


def _column(values: list[Any], kind: str) -> pa.Array | None:
    """Make a column of one kind; None where a value would not come back as it was."""
    import pyarrow as pa

    if kind in ("int", "float"):  # Arrow takes one for the other
        wanted = int if kind == "int" else float
        if not all(value is None or (type(value) is wanted and isfinite(value)) for value in values):
            return None
    try:
        found = pa.array(values, pa.list_(pa.float32()) if kind == VECTOR else arrow_type(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return None
    if kind == VECTOR:
        wide = np.array([x for value in values if value is not None for x in value], np.float64)
        if not np.array_equal(found.flatten().to_numpy(zero_copy_only=False), wide):
            return None
    return found


def as_json(name: str, properties: Mapping[str, Any]) -> str | None:
    """Write properties as JSON, sorted; None where there are none.

    Raises
    ------
    ExportError
        If a value is of a type that a dump cannot hold.
    """
    if not properties:
        return None
    for key, value in properties.items():
        if not _can_be_held(value) or ":" in key:
            raise ExportError(
                f"{name} has {key} = {str(value)[:80]!r}, a {type(value).__name__}. A dump holds text, numbers, true "
                "and false, and lists of one of these, under names without a colon. Change or remove it, and try again."
            )
    return json.dumps(properties, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _can_be_held(value: Any) -> bool:
    if isinstance(value, list):
        if {type(item) for item in value} == {str}:  # how the bulk import reads lists of text
            return value != [""] and not any(ARRAY_DELIMITER in item for item in value)
        return (
            len({type(item) for item in value} & {bool, int, float})
            == len({type(item) for item in value})
            <= 1
        )
    return type(value) in (bool, int, float, str)


# --------------------------------------------------------------------------- everything else


def _other_nodes(graph: Graph) -> tuple[pa.Table, dict[str, int]]:
    """Columns ``labels``, ``properties`` (JSON); and the row of each by its element id of today."""
    import pyarrow as pa

    rows = []
    for found in graph.rows(cypher("dump_other_nodes")):
        labels = sorted(found["labels"])
        name = f"A node {':'.join(labels)}"
        rows.append((labels, as_json(name, found["properties"]), found["element"]))
    rows.sort(key=lambda row: (row[0], row[1] or ""))
    table = pa.table(
        {
            "labels": pa.array([labels for labels, _, _ in rows], pa.list_(pa.string())),
            "properties": pa.array([properties for _, properties, _ in rows], pa.string()),
        }
    )
    return table, {element: number for number, (_, _, element) in enumerate(rows)}


def _other_edges(graph: Graph, places: Mapping[str, int]) -> pa.Table:
    """Columns ``type``, ``key``, ``properties`` (JSON), and per end the id of an entity or the row of another node."""
    import pyarrow as pa

    rows = []
    for found in graph.rows(cypher("dump_other_edges"), verbs=verbs()):
        key = found["properties"].get("edge_key")
        row: dict[str, Any] = {"type": found["type"], "key": key if type(key) is int else None}
        for end in ("start", "end"):
            row[f"{end}_id"] = found[f"{end}_id"]
            row[f"{end}_row"] = places.get(found[f"{end}_element"])
        row["properties"] = as_json(f"A relationship {found['type']}", found["properties"])
        rows.append(row)
    rows.sort(key=lambda row: json.dumps(row, sort_keys=True))
    kinds = pa.schema(
        [
            *(
                ("type", pa.string()),
                ("key", pa.int64()),
                ("start_id", pa.string()),
                ("start_row", pa.int64()),
            ),
            *(("end_id", pa.string()), ("end_row", pa.int64()), ("properties", pa.string())),
        ]
    )
    return pa.Table.from_pylist(rows, schema=kinds)


def _copy_memory(settings: Settings, releases: Iterable[str], folder: Path) -> None:
    """Copy what the home keeps of these releases; what it keeps of others says nothing about this graph."""
    known = set(releases)
    for path in sorted(settings.ledgers.glob("*")):
        if path.is_file() and path.name.split(".")[0] in known:
            _copy(path, folder / "ledgers")
    kept = [release for release in history.releases(settings.stated) if release.id in known]
    for release in kept:
        _copy(settings.stated / "releases" / f"{release.id}.json", folder / "stated" / "releases")
    named = {name for release in kept for name in release.files.values()}
    for path in sorted(settings.stated.glob("*.json")):
        if names := stated.files_of(path, known):
            _copy(path, folder / "stated")
            named |= names
    for name in sorted(named):
        if (settings.stated / name).is_file():
            _copy(settings.stated / name, folder / "stated")


def _copy(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, folder / path.name)


# --------------------------------------------------------------------------- Parquet


def _write(path: Path, pages: Iterable[pa.Table], rows: int) -> None:
    """Write pages as row groups of the same size, whatever the pages are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pages = iter(pages)
    first = next(pages)
    names = [f.name for f in first.schema if "string" in str(f.type)]  # numbers do not repeat
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "use_dictionary": names}
    with pq.ParquetWriter(path, first.schema, **options) as writer:
        waiting: list[pa.Table] = []
        for page in chain([first], pages):
            waiting.append(page)
            if sum(map(len, waiting)) >= rows:
                writer.write_table(pa.concat_tables(waiting).combine_chunks())
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", compression_level=1)
