"""A graph out of what `tosg_graph.dump` wrote: everything by one bulk import, then indexes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.bulk_csv import CSV_TYPES, write_csv
from tosg_graph.contract import stored_edge_columns
from tosg_graph.dump import DUMP_FORMAT, MANIFEST, NODES, OTHER_EDGES, OTHER_NODES, VECTOR, node_kinds
from tosg_graph.errors import BundleError, LedgerError, LoadError
from tosg_graph.graph_counts import stored_counts
from tosg_graph.hashes import sha256_of
from tosg_graph.home_lock import TEMPORARY, only_one_load
from tosg_graph.indexes import bring_online
from tosg_graph.progress import Progress, silent
from tosg_graph.release import GRAPH_FORMAT, graph_release
from tosg_graph.resources import cypher
from tosg_graph.vector_index import fit_index, graph_encoder

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

_LABELS, _TYPE, _ID, _START, _END = ":LABEL", ":TYPE", ":ID", ":START_ID", ":END_ID"
_BATCH = 10_000
_EMPTY = "tosg_empty_lists"  # names of properties; the bulk import takes an empty list for a missing one
_TYPE_OF = {str: "string", int: "long", float: "double", bool: "boolean"}


@dataclass(frozen=True)
class RestoreReport:
    """What the graph holds now; ``restored`` is no where it held just this before."""

    release: str
    restored: bool
    entities: int
    vectors: int
    relationships: int
    other_nodes: int
    other_relationships: int


def restore(graph: Graph, folder: Path, progress: Progress | None = None) -> RestoreReport:
    """Fill the empty database of the local server from a dump, and the home's ledgers with it.

    All files are checked before anything is written. The database is built beside the empty one and takes its place
    when it is complete. A restore that was killed is finished by running it again; one that was finished is left.

    Raises
    ------
    BundleError
        If the folder is no dump, a file of it is damaged, or it is of another format.
    LoadError
        If the database is not empty, the server is not the local one, or a load is running.
    LedgerError
        If the database's counts differ from the dump's.
    """
    show = progress or silent
    manifest = _checked(folder, show)
    if not graph.is_local:
        raise LoadError(
            f"A dump is restored by bulk import, which needs the server that tosg starts; {graph.address.uri} is "
            "another one. Leave --uri and TOSG_NEO4J_URI out, or load the sources there: tosg load"
        )
    with only_one_load(graph.settings):
        is_empty = graph.rows(cypher("load_is_empty"))[0]["nodes"] == 0
        if not is_empty and not _holds(graph, manifest):
            raise LoadError(
                "The database is not empty, and a restore would replace what it holds. Set TOSG_HOME to a new folder "
                "and run the same command again."
            )
        _bring_memory(graph, folder)
        if is_empty:
            _import(graph, folder, show)
        for what in ("nodes", "edges"):
            while graph.write(cypher(f"restore_empty_lists_of_{what}"), limit=_BATCH).counters.properties_set:
                show("Making empty lists", 0, None)
        if encoder := graph_encoder(graph):
            fit_index(graph, encoder.dimension)
        bring_online(graph, [path.stem for path in _edge_files(folder)], show)
        _check_counts(graph, manifest)
    named = ("entities", "vectors", "relationships", "other_nodes", "other_relationships")
    return RestoreReport(manifest["release"], is_empty, *(int(manifest[name]) for name in named))


def _checked(folder: Path, show: Progress) -> dict[str, Any]:
    """Read the manifest and compare every file with its sha256."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        written, files = (manifest["dump_format"], manifest["graph_format"]), dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{folder} is no dump: it has no readable {MANIFEST}. Make one: tosg kg dump DIR"
        ) from error
    if written != (DUMP_FORMAT, GRAPH_FORMAT):
        raise BundleError(
            f"{folder} is of dump format {written[0]} and graph format {written[1]}; this program reads {DUMP_FORMAT} "
            f"and {GRAPH_FORMAT}. Use the version of tosg-graph that wrote it: {manifest.get('written_by')}."
        )
    for done, (name, wanted) in enumerate(sorted(files.items())):
        show("Checking files", done, len(files))
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
        if not inside or not (folder / name).is_file() or sha256_of(folder / name) != wanted:
            raise BundleError(
                f"{folder / name} is missing or differs from what was written. Copy the dump again."
            )
    show("Checking files", len(files), len(files))
    return dict(manifest)


def _holds(graph: Graph, manifest: Mapping[str, Any]) -> bool:
    """Whether the graph is what this dump makes: restored before, perhaps by a command that was killed since."""
    return graph_release(graph) == manifest["release"] and _differences(graph, manifest) == {}


def _check_counts(graph: Graph, manifest: Mapping[str, Any]) -> None:
    if found := _differences(graph, manifest):
        said = "; ".join(
            f"{what}: {there:,} in the dump, {here:,} in the database"
            for what, (there, here) in found.items()
        )
        raise LedgerError(
            f"The restored graph differs from the dump. {said}. Remove the database and restore again."
        )


def _differences(graph: Graph, manifest: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    wanted = dict(manifest["counts"])
    found = {what: n for what, n in stored_counts(graph).items() if n}
    for what in ("nodes", "relationships"):
        wanted[f"all {what}"] = manifest["entities" if what == "nodes" else what] + manifest[f"other_{what}"]
        found[f"all {what}"] = graph.rows(cypher(f"dump_count_{what}"))[0]["n"]
    both = sorted({*wanted, *found})
    return {k: (wanted.get(k, 0), found.get(k, 0)) for k in both if wanted.get(k, 0) != found.get(k, 0)}


def _bring_memory(graph: Graph, folder: Path) -> None:
    """Copy ledgers and statements; they are believed only while their release is in the graph."""
    for name, target in (("ledgers", graph.settings.ledgers), ("stated", graph.settings.stated)):
        if (folder / name).is_dir():
            shutil.copytree(folder / name, target, dirs_exist_ok=True)


# --------------------------------------------------------------------------- the bulk import


def _import(graph: Graph, folder: Path, show: Progress) -> None:
    from tosg_graph import server

    settings = graph.settings
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=TEMPORARY) as name:
        work = Path(name)
        nodes = list(_node_files(folder, work, show))
        edges = list(_relationship_files(folder, work, show))
        report = work / "report.txt"
        graph.restart_around(
            lambda: server.admin_import(
                settings, [((), p) for p in nodes], [("", p) for p in edges], report, show, id_type="integer"
            ),
            show,
        )


def _node_files(folder: Path, work: Path, show: Progress) -> Iterator[Path]:
    """Entities are numbered in the order of the dump, other nodes after them."""
    import pyarrow as pa

    first = 0
    header = {
        name: f"{name}:{'float[]' if kind == VECTOR else CSV_TYPES[kind]}"
        for name, kind in node_kinds().items()
    }
    for rows, done, total in _row_groups(folder / NODES):
        show("Writing import files: entities", done, total)
        labels = pa.array([["Entity", *given] for given in rows["labels"].to_pylist()], pa.list_(pa.string()))
        rows = rows.set_column(rows.column_names.index("labels"), _LABELS, labels)
        rows = rows.append_column(_ID, pa.array(np.arange(first, first + len(rows))))
        first += len(rows)
        yield from _csv_files(rows, {_ID: _ID, _LABELS: _LABELS, **header}, "more", work / f"nodes_{first}")
    for rows, _, _ in _row_groups(folder / OTHER_NODES):
        rows = rows.rename_columns({"labels": _LABELS})
        rows = rows.append_column(_ID, pa.array(np.arange(first, first + len(rows))))
        first += len(rows)
        yield from _csv_files(rows, {_ID: _ID, _LABELS: _LABELS}, "properties", work / f"other_nodes_{first}")


def _relationship_files(folder: Path, work: Path, show: Progress) -> Iterator[Path]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ids = pa.array([], pa.string())
    if (folder / NODES).is_file():
        ids = pq.read_table(folder / NODES, columns=["id"])["id"].combine_chunks()
    for path in _edge_files(folder):
        verb, header = path.stem, {_TYPE: _TYPE, _START: _START, _END: _END}
        header |= {name: f"{name}:{CSV_TYPES[kind]}" for name, kind in stored_edge_columns(verb).items()}
        for rows, done, total in _row_groups(path):
            show(f"Writing import files: {verb}", done, total)
            rows = rows.append_column(_TYPE, pa.repeat(verb, len(rows)))
            for end, column in (("subject", _START), ("object", _END)):
                rows = rows.append_column(column, pc.index_in(rows[end], value_set=ids))
            yield from _csv_files(rows, header, "more", work / f"{verb}_{done}")
    for rows, done, _ in _row_groups(folder / OTHER_EDGES):
        rows = rows.rename_columns({"type": _TYPE})
        for end, column in (("start", _START), ("end", _END)):
            entity = pc.index_in(rows[f"{end}_id"], value_set=ids).cast(pa.int64())
            rows = rows.append_column(column, pc.coalesce(entity, pc.add(rows[f"{end}_row"], len(ids))))
        yield from _csv_files(
            rows, {_TYPE: _TYPE, _START: _START, _END: _END}, "properties", work / f"other_edges_{done}"
        )


def _csv_files(rows: pa.Table, header: Mapping[str, str], more: str, path: Path) -> Iterator[Path]:
    """Write rows as one file per set of properties that the column ``more`` holds as JSON."""
    import pyarrow as pa

    empty = _empty_lists(rows, header)
    groups: dict[tuple[str, ...], list[tuple[int, list[Any]]]] = {}
    for at, text in enumerate(rows[more].to_pylist()):
        own = json.loads(text) if text else {}
        for name in [name for name, value in own.items() if value == []]:
            empty.setdefault(at, []).append(name)
            del own[name]
        kinds = tuple(f"{name}:{_kind(value)}" for name, value in own.items())
        groups.setdefault(kinds, []).append((at, list(own.values())))
    names = pa.array([empty.get(at) for at in range(len(rows))], pa.list_(pa.string()))
    rows = rows.append_column(_EMPTY, names)
    for number, (kinds, members) in enumerate(groups.items()):
        part = rows.drop_columns([more])
        if len(members) < len(rows):
            part = part.take(pa.array([at for at, _ in members]))
        for column in range(len(kinds)):
            texts = [_as_text(values[column]) for _, values in members]
            part = part.append_column(f"more {column}", pa.array(texts))
        heads = {
            **header,
            _EMPTY: f"{_EMPTY}:string[]",
            **{f"more {column}": kind for column, kind in enumerate(kinds)},
        }
        file = path.with_name(f"{path.name}_{number}.csv")
        write_csv(part, heads, file)
        yield file


def _empty_lists(rows: pa.Table, header: Mapping[str, str]) -> dict[int, list[str]]:
    """Row -> the properties that are empty lists there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: dict[int, list[str]] = {}
    for name in set(header) & set(rows.column_names) - {_LABELS}:
        if pa.types.is_list(rows[name].type):
            is_empty = pc.fill_null(pc.equal(pc.list_value_length(rows[name]), 0), False)
            for at in np.flatnonzero(is_empty.to_numpy(zero_copy_only=False)).tolist():
                found.setdefault(at, []).append(name)
    return found


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return f"{_TYPE_OF[type(value[0])]}[]"
    return _TYPE_OF[type(value)]


def _as_text(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(_as_text(item)) for item in value]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # as Java reads what Python calls nan and inf
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))
    return str(value)


def _edge_files(folder: Path) -> Sequence[Path]:
    return sorted((folder / "edges").glob("*.parquet"))


def _row_groups(path: Path) -> Iterator[tuple[pa.Table, int, int]]:
    """Yield rows, how many came before them, and how many there are."""
    import pyarrow.parquet as pq

    if not path.is_file():  # a graph without entities
        return
    done = 0
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            if len(rows):
                yield rows, done, file.metadata.num_rows
            done += len(rows)
