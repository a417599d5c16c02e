"""Selections that are kept: their tables as the files that a bundle would hold, under the state of the database.

A folder per selection, named by the hash of all that decides it, made beside its name and renamed. Whoever finds it
compares every file with its sha256, so that a damaged one is as good as none. No lock: two processes that make the same
one write the same, and the second drops its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle_topology import edge_tensors
from tosg_graph.errors import BundleError
from tosg_graph.hashes import sha256_of
from tosg_graph.named_queries import NamedQuery
from tosg_graph.picked_tables import tidy_column
from tosg_graph.resources import cypher, schema
from tosg_graph.threads import threads
from tosg_graph.types import Selection, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.hops import Hops
    from tosg_graph.reading import State

EdgeKey = tuple[str, str, str]
FORMAT = 2  # of the folder, and of what this program makes of a query
LIMIT_BYTES = 2 << 30  # of all snapshots of a home together; the ones that were not used for longest go
_LONG = 2_000_000  # rows
_ABANDONED_SECONDS = 86_400.0  # after which an unfinished folder is of a process that was killed
_ABOUT = "snapshot.json"
_STATEMENTS = (
    "select_pick",
    "select_pick_typed",
    "select_pick_nested",
    "select_pick_named",
    "select_hop",
    "select_induce",
    "select_nodes",
    "select_edges",
)
# What gives another answer from the same graph: chance, and the clock.
_CHANCE = re.compile(r"rand|shuffle|uuid", re.IGNORECASE)
_CLOCK = re.compile(r"\b(date|datetime|localdatetime|time|localtime|timestamp)\b", re.IGNORECASE)


def repeatable(queries: Sequence[NamedQuery]) -> bool:
    """Whether the same graph gives the same answer: the text names no function of chance or of the clock."""
    return not any(_CHANCE.search(q.text) or _CLOCK.search(q.text) for q in queries)


def key_of(
    state: State,
    user: str,
    queries: Sequence[NamedQuery],
    induce: Sequence[str] | None,
    hops: Hops | None,
) -> str:
    """Hash of all that decides the tables of a selection, and the bytes of their files."""
    from importlib.metadata import version

    decides = [
        FORMAT,
        [version(name) for name in ("tosg-graph", "pyarrow")],
        [schema("nodes"), schema("edges"), [cypher(name) for name in _STATEMENTS]],
        [state.name, user],
        [asdict(query) for query in queries],
        None if induce is None else list(induce),
        hops and hops.facts(),
    ]
    text = json.dumps(decides, sort_keys=True, default=lambda value: f"{type(value).__name__} {value!r}")
    return hashlib.sha256(text.encode()).hexdigest()


class _KeptEdges(Mapping[EdgeKey, "pa.Table"]):
    """Edges by type, each table read when it is asked for; open files can be read after others removed them."""

    def __init__(self, files: Mapping[EdgeKey, pa.NativeFile]) -> None:
        self._files = files

    def __getitem__(self, key: EdgeKey) -> pa.Table:
        return _read(self._files[key])

    def __iter__(self) -> Iterator[EdgeKey]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def load(folder: Path, key: str) -> Selection | None:
    """Read a selection that was kept; None where there is none, or it is damaged and now removed."""
    import pyarrow as pa

    kept = folder / key
    try:
        about = json.loads((kept / _ABOUT).read_text(encoding="utf-8"))
        files: dict[str, str] = about["files"]
        opened = {name: pa.OSFile(str(kept / name)) for name in files}
        snapshot = Snapshot(kept, files, _mapped(kept, about["tensors"]))
        with threads(2) as pool:
            expected = {**files, **about["tensors"]}
            checked = pool.map(lambda name: _check(kept / name, expected[name]), expected)
            nodes = _read(opened.pop(bundle.NODES))  # meanwhile; it is not used unless all are whole
            list(checked)
        edges = {_edge_key(name): file for name, file in opened.items()}
        os.utime(kept / _ABOUT)
    except FileNotFoundError:
        if kept.exists():
            shutil.rmtree(kept, ignore_errors=True)
        return None
    # pyarrow's errors are among them
    except (BundleError, OSError, ValueError, KeyError, TypeError, AttributeError):
        shutil.rmtree(kept, ignore_errors=True)
        return None
    return Selection(
        nodes,
        _KeptEdges(dict(sorted(edges.items()))),
        "",
        {},
        left_out=tuple(about["left_out"]),
        snapshot=snapshot,
    )


def save(folder: Path, key: str, state: State, selection: Selection) -> Selection:
    """Keep a selection; where that cannot be done (a full disk, say) it is returned as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=folder))
        try:
            files = _write(part, state, selection)
            with suppress(FileExistsError, IsADirectoryError, NotADirectoryError):
                _rename(part, folder / key)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        _make_room(folder, key, state)
        kept = Snapshot(folder / key, files, _mapped(folder / key, selection.edges))
    except (OSError, BundleError):
        return selection
    return replace(selection, snapshot=kept) if kept.folder.is_dir() else selection


def copy_tables(selection: Selection, folder: Path) -> dict[str, str]:
    """Copy the files of nodes and edges into a bundle that is being written.

    Returns
    -------
    dict
        Sha256 of each; empty where they are not at hand.
    """
    kept = selection.snapshot
    if kept is None:
        return {}
    try:
        (folder / "edges").mkdir(exist_ok=True)
        for name in kept.files:
            shutil.copyfile(kept.folder / name, folder / name)
    except OSError:  # made room meanwhile, for another
        return {}
    return kept.files


def _check(path: Path, sha256: str) -> None:
    if sha256_of(path) != sha256:
        raise ValueError(f"{path} is damaged")


def _mapped(kept: Path, edges: Mapping[Any, Any]) -> Mapping[str, NDArray[Any]]:
    return bundle.map_tensors(kept / bundle.TOPOLOGY) if edges else {}


def _read(source: pa.NativeFile) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array] = {}
    file = pq.ParquetFile(source)
    names = file.schema_arrow.names
    # One at a time where they are long: no column is twice in memory with all others.
    for read in [names] if file.metadata.num_rows < _LONG else [[name] for name in names]:
        for name, column in zip(read, file.read(columns=read).columns, strict=True):
            # Parquet calls what is in a list by another name than Arrow does, and would write that.
            kind = pa.list_(column.type.value_type) if pa.types.is_list(column.type) else column.type
            columns[name] = tidy_column(column.cast(kind))
    return pa.table(columns)


def _write(folder: Path, state: State, selection: Selection) -> dict[str, str]:
    """Write all files, and return the sha256 of those that a bundle has, too."""
    tables = {
        bundle.NODES: selection.nodes,
        **{bundle.edge_file(k): table for k, table in selection.edges.items()},
    }
    with threads(2) as pool:
        list(pool.map(lambda name: bundle.write_table(tables[name], folder / name), tables))
    if selection.edges:
        bundle.write_tensors(edge_tensors(selection), folder / bundle.TOPOLOGY)
    files = bundle.checksums(folder)
    tensors = {name: files.pop(name) for name in [bundle.TOPOLOGY] if name in files}
    about: Mapping[str, Any] = {
        "store": state.store,
        "state": state.name,
        "left_out": list(selection.left_out),
        "files": files,
        "tensors": tensors,
    }
    bundle.write_json(about, folder / _ABOUT)
    return files


def _rename(part: Path, kept: Path) -> None:
    try:
        part.rename(kept)
    except OSError:
        if not kept.is_dir():  # else another process was first
            raise


def _make_room(folder: Path, key: str, state: State) -> None:
    """Remove what can never be found again, what was abandoned, and the oldest beyond the limit."""
    kept: list[tuple[float, Path]] = []
    for entry in folder.iterdir():
        with suppress(OSError, ValueError, KeyError):
            if entry.name.startswith("."):
                if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(entry, ignore_errors=True)
                continue
            about = json.loads((entry / _ABOUT).read_text(encoding="utf-8"))
            if about["store"] == state.store and about["state"] != state.name:
                shutil.rmtree(entry, ignore_errors=True)  # that database will not be in that state again
            else:
                kept.append(((entry / _ABOUT).stat().st_mtime, entry))
    total = 0
    for _, entry in sorted(kept, key=lambda item: (item[1].name == key, item[0]), reverse=True):
        total += sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
        if total > LIMIT_BYTES:
            shutil.rmtree(entry, ignore_errors=True)


def _edge_key(file: str) -> EdgeKey:
    source, verb, target = Path(file).stem.split("__")
    return source, verb, target
