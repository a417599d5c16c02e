"""What each source stated, as hashes: a reload writes what differs and retires what is gone.

A file ``<source>.<digest>.parquet`` holds the statements of a source, named by its content; releases that did not
change them share it (see `tosg_graph.history`). ``<source>.json`` names the file of the last load, and those of
loads that were begun since and did not end. Hashes are believed only while the release that they were written for is
in the graph and no load was broken off; what is gone is looked for in all of these files, so that a load that died
leaves nothing behind.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.threads import ahead

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 1 << 20  # of a row group


@dataclass(frozen=True)
class Stated:
    """Rows of one source as they were stored; read in parts, for there may be many."""

    _file: pq.ParquetFile

    @property
    def hashed_by(self) -> str:
        """What made the hashes; those of another maker say nothing about these."""
        return str((self._file.schema_arrow.metadata or {}).get(b"hashed_by", b""), "utf-8")

    def nodes(self) -> pa.Table:
        """Each node: ``id``, ``label`` (its type), ``hash`` of what the load said, ``own`` of what this source said."""
        return self._file.read_row_groups(self._groups().get("", []), columns=["id", "label", "hash", "own"])

    def edges(self, verb: str) -> pa.Table:
        """``key`` (int64) and ``hash`` (uint64) of each relationship of a verb."""
        return self._file.read_row_groups(self._groups().get(verb, []), columns=["key", "hash"])

    def verbs(self) -> list[str]:
        """Verbs of the source."""
        return [verb for verb in self._groups() if verb]

    def _groups(self) -> dict[str, list[int]]:
        """Verb -> its row groups; a row group has one verb."""
        found: dict[str, list[int]] = {}
        for number in range(self._file.num_row_groups):
            verb = self._file.metadata.row_group(number).column(0).statistics.min
            found.setdefault(verb, []).append(number)
        return found


def row_hashes(rows: pa.Table) -> npt.NDArray[np.uint64]:
    """Hash of each row, uint64, shape ``(n,)``; the same within one version of DuckDB."""
    import duckdb

    if not rows.num_columns or not len(rows):
        return np.zeros(len(rows), np.uint64)
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        found = connection.sql("SELECT hash(rows) AS hash FROM rows").fetchnumpy()
    return np.asarray(found["hash"], np.uint64)


@dataclass(frozen=True)
class Known:
    """What the graph may hold of one source.

    Parameters
    ----------
    last
        What its last load stated; None where that is not known for sure.
    possible
        Everything that it may have left in the graph.
    """

    last: Stated | None
    possible: tuple[Stated, ...]


def known(folder: Path, source: str, releases: Collection[str]) -> Known:
    """Open what a source stated, as far as a graph with these releases may hold it."""
    entry = _entry(folder, source)
    names = [entry["file"]] if entry["release"] in releases else []
    opened = (open_file(folder / name) for name in dict.fromkeys([*names, *entry["pending"]]))
    files = tuple(file for file in opened if file)
    sure = len(files) == len(names) == 1 and not entry["pending"] and files[0].hashed_by == hasher()
    return Known(files[0] if sure else None, files)


def of_others(folder: Path, sources: Collection[str], releases: Collection[str]) -> list[Stated]:
    """Open what all other sources stated, as far as a graph with these releases may hold it."""
    keys = sorted({path.stem for path in folder.glob("*.json")} - set(sources))
    return [file for key in keys for file in known(folder, key, releases).possible]


def announce(folder: Path, source: str, name: str) -> None:
    """Say that a load is about to write the statements of a file: from now on the graph may hold any of them."""
    entry = _entry(folder, source)
    if name not in entry["pending"]:
        write_json(folder / f"{source}.json", {**entry, "pending": [*entry["pending"], name]})


def settle(folder: Path, source: str, name: str, release: str) -> None:
    """Say that the graph holds just the statements of a file, since a release."""
    write_json(folder / f"{source}.json", {"file": name, "release": release, "pending": []})


def settled_in(folder: Path, source: str) -> str | None:
    """Release since which the graph holds what the last load of a source stated."""
    found: str | None = _entry(folder, source)["release"]
    return found


def files_of(path: Path, releases: Collection[str]) -> set[str]:
    """Names of the files that a graph with these releases may hold of a source, whose ``<source>.json`` this is."""
    entry = _entry(path.parent, path.stem)
    settled = {entry["file"]} if entry["release"] in releases else set()
    return settled | set(entry["pending"])


def named_files(folder: Path) -> set[str]:
    """Names of all files that the graph may hold."""
    entries = [_entry(folder, path.stem) for path in folder.glob("*.json")]
    return {name for entry in entries for name in (entry["file"], *entry["pending"]) if name}


def _entry(folder: Path, source: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"file": None, "release": None, "pending": []}
    try:
        return {**nothing, **json.loads((folder / f"{source}.json").read_text(encoding="utf-8"))}
    except (OSError, ValueError):
        return nothing


def open_file(path: Path) -> Stated | None:
    """Open one file of statements; None where it is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Stated(pq.ParquetFile(path))
    except (OSError, pa.ArrowInvalid):
        return None


def write(folder: Path, source: str, nodes: pa.Table, edges: Iterable[tuple[str, pa.Table]]) -> str:
    """Write what a source states, complete or not at all; tables as `Stated` gives them, edges with their verb.

    Relationships are written in the order of their keys, so that two files are compared in one pass.

    Returns
    -------
    Name of the file in ``folder``; an earlier load that stated the same wrote it already.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = {"verb": pa.string(), "id": pa.string(), "label": pa.string()}
    fields |= {"key": pa.int64(), "hash": pa.uint64(), "own": pa.uint64()}
    schema = pa.schema(fields, {b"hashed_by": hasher().encode()})
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{source}.{os.getpid()}.part"
    digest = blake2b(hasher().encode(), digest_size=8)
    try:
        # Hashes do not compress.
        dictionaries = ["verb", "label"]
        with pq.ParquetWriter(part, schema, compression="NONE", use_dictionary=dictionaries) as writer:
            for verb, whole in ahead(chain([("", nodes)], ((verb, _in_order(rows)) for verb, rows in edges))):
                for start in range(0, len(whole), _ROWS):
                    rows = whole.slice(start, _ROWS)
                    given = {"verb": pa.repeat(verb, len(rows))}
                    for name, kind in fields.items():
                        if name in rows.column_names:
                            given[name] = rows[name].cast(kind)
                        elif name != "verb":
                            given[name] = pa.nulls(len(rows), kind)
                    writer.write_table(pa.table(given, schema=schema))
                    _digest(digest, verb, rows)
        name = f"{source}.{digest.hexdigest()}.parquet"
        part.replace(folder / name)
    finally:
        part.unlink(missing_ok=True)
    return name


def _in_order(edges: pa.Table) -> pa.Table:
    import pyarrow as pa

    order = np.argsort(edges["key"].to_numpy())
    return pa.table({name: edges[name].to_numpy()[order] for name in edges.column_names})


def _digest(digest: blake2b, verb: str, rows: pa.Table) -> None:
    digest.update(f"{verb} {len(rows)}".encode())
    for name in rows.column_names:
        if name not in ("id", "label"):  # the hash of a node is of these too
            digest.update(np.ascontiguousarray(rows[name].to_numpy()).data)


def write_json(path: Path, content: object) -> None:
    """Write a small file, complete or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def without(keys: pa.Array | pa.ChunkedArray, others: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Keys that are not among the others, in their order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    left = keys.filter(pc.invert(pc.is_in(keys, value_set=others)))
    return left.combine_chunks() if isinstance(left, pa.ChunkedArray) else left


@dataclass(frozen=True)
class Difference:
    """Rows that only the newer table has, that it has with another hash, and that only the older one has."""

    added: pa.Table
    changed: pa.Table
    gone: pa.Table


def compare(was: pa.Table, now: pa.Table, key: str, hash_: str) -> Difference:
    """Compare what was stated with what is, by a column of distinct keys and one of hashes."""
    import pyarrow as pa

    place = _places(was[key], now[key])
    known = place >= 0
    at = place[known]
    differs = known.copy()
    differs[known] = now[hash_].to_numpy()[known] != was[hash_].to_numpy()[at]
    gone = np.ones(len(was), bool)
    gone[at] = False
    return Difference(now.filter(pa.array(~known)), now.filter(pa.array(differs)), was.filter(pa.array(gone)))


def _places(known: pa.ChunkedArray, keys: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Row of each key among the known ones; -1 where it is not known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(known.type):
        place = pc.index_in(keys, value_set=known.combine_chunks()).fill_null(-1)
        return np.asarray(place.to_numpy(), np.int64)
    theirs, ours = known.to_numpy(), keys.to_numpy()
    if not len(theirs):
        return np.full(len(ours), -1)
    order = None if bool(np.all(theirs[1:] > theirs[:-1])) else np.argsort(theirs)
    at = np.searchsorted(theirs, ours, sorter=order)  # fast where both are in order, as they are written
    at[at == len(theirs)] = 0
    at = at if order is None else order[at]
    return np.where(theirs[at] == ours, at, -1)


def hasher() -> str:
    """Name what makes the hashes."""
    import duckdb

    return f"duckdb {duckdb.__version__}"
