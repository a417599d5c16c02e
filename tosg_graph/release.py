"""Which content a graph holds: the release, identified by what was loaded and never by when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import history
from tosg_graph.errors import LoadError
from tosg_graph.resources import cypher
from tosg_graph.types import NodeTable

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.types import EdgeTable, Parsed, Source


GRAPH_FORMAT = 2  # of labels, keys and bookkeeping in the database; another one is another number
_AT_ONCE = 2  # tables that are hashed at a time; each is copied in part
_BLOCK = 1 << 20  # rows hashed at a time, whatever the chunks of a table


def graph_release(graph: Graph) -> str:
    """Return the id of the newest release in the graph; an empty string where no load ever finished."""
    return str((stored_release(graph) or {"id": ""})["id"])


def stored_release(graph: Graph) -> dict[str, Any] | None:
    """Return ``id``, ``number`` and ``contents`` of the newest release, or None.

    Raises
    ------
    LoadError
        If the graph was written in another format than this program's.
    """
    found = graph.rows(cypher("load_release_read"))
    if not found:
        return None
    written = found[0]["format"]
    if written != GRAPH_FORMAT:
        named = f"graph format {written}" if written else "a format older than 1"
        step = (
            "Upgrade tosg-graph"
            if (written or 0) > GRAPH_FORMAT
            else "Load its sources again into an empty database (another TOSG_HOME)"
        )
        raise LoadError(
            f"The graph was written in {named}; this program reads and writes {GRAPH_FORMAT}. {step}."
        )
    return found[0]


def releases(graph: Graph) -> pa.Table:
    """Return ``number``, ``id``, ``previous`` and ``sources`` of every release, newest first.

    ``kept`` says whether this home keeps what it held; see `tosg_graph.history`.
    """
    import pyarrow as pa

    found = graph.columns(cypher("release_list"))
    kept = {release.id for release in history.releases(graph.settings.stated)}
    return found.append_column("kept", pa.array([i in kept for i in found["id"].to_pylist()], pa.bool_()))


def release_id(previous: str, contents: Sequence[str]) -> str:
    """Return the release that a load makes of the previous one: 16 hex digits of a sha256.

    Parameters
    ----------
    previous
        Id of the release the graph had before, empty for an empty graph.
    contents
        One line per source in load order: key, version and content hash.
    """
    return hashlib.sha256("\n".join([previous, *contents]).encode()).hexdigest()[:16]


def content_line(source: Source, parsed: Parsed) -> str:
    """Return key, version and the sha256 of what the source states about itself and of all its tables."""
    said = asdict(source)
    for fetched in ("files", "files_read", "size_mb", "in_demo", "own_licences"):
        del said[fetched]  # how it was read, not what it says
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(_table_digest, [*parsed.nodes, *parsed.edges]):
            digest.update(found)
    return f"{source.key} {source.version} {digest.hexdigest()}"


def latest_contents(before: Iterable[str], loaded: Sequence[str]) -> list[str]:
    """Return the newest content line of each source, sorted."""
    by_key = {line.split(" ", 1)[0]: line for line in [*before, *loaded]}
    return sorted(by_key.values())


def _table_digest(table: NodeTable | EdgeTable) -> bytes:
    kind = (
        f"nodes {table.label}"
        if isinstance(table, NodeTable)
        else f"edges {table.subject_label} {table.verb} {table.object_label}"
    )
    digest = hashlib.sha256(f"{kind} {table.name}\n".encode())
    for name in sorted(table.data.column_names):
        column = table.data[name].combine_chunks()
        digest.update(f"{name} {len(column)}\n".encode())
        _add_column(digest, column)
    return digest.digest()


def _add_column(digest: hashlib._Hash, column: pa.Array) -> None:
    """Hash values only, so that chunks, offsets, dictionaries and integer widths make no difference."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type):
        return
    if pa.types.is_dictionary(column.type):
        # Each distinct text once, in order of first appearance: whatever the dictionary is, and a fifth of the bytes.
        codes = column.indices.dictionary_encode(null_encoding="encode")
        _add_column(digest, column.dictionary.take(codes.dictionary).cast(pa.string()))
        column = codes.indices
    for start in range(0, len(column), _BLOCK):
        block = column.slice(start, _BLOCK)
        if pa.types.is_list(block.type) or pa.types.is_large_list(block.type):
            _add_numbers(digest, pc.fill_null(pc.list_value_length(block), -1))
            _add_column(digest, pc.list_flatten(block))
        elif pa.types.is_string(block.type) or pa.types.is_large_string(block.type):
            _add_numbers(digest, pc.fill_null(pc.binary_length(block), -1))
            _add_bytes(digest, block.cast(pa.large_string()).drop_null())
        else:
            _add_numbers(digest, block.is_valid())
            _add_numbers(digest, block.drop_null())


def _add_bytes(digest: hashlib._Hash, texts: pa.LargeStringArray) -> None:
    if len(texts):
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int64)[[texts.offset, texts.offset + len(texts)]]
        digest.update(memoryview(data)[ends[0] : ends[1]])


def _add_numbers(digest: hashlib._Hash, column: pa.Array) -> None:
    values = column.to_numpy(zero_copy_only=False)
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    digest.update(np.ascontiguousarray(values, dtype=wide).astype(wide).tobytes())
