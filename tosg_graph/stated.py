"""What the last load of each source stated, as hashes: a reload writes what differs and retires what is gone.

One Parquet file per source in ``settings.stated``. It counts only while the release that it was written for is in
the graph, and it is removed before a load writes anything, so that it never says more than the graph holds.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 1 << 20  # of a row group


@dataclass(frozen=True)
class Stated:
    """Rows of one source as they were stored; read in parts, for there may be many."""

    _file: pq.ParquetFile

    def nodes(self) -> pa.Table:
        """``id`` (string) and ``hash`` (uint64) of each node."""
        return self._file.read_row_groups(self._groups().get("", []), columns=["id", "hash"])

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


def read(folder: Path, source: str, releases: Collection[str]) -> Stated | None:
    """Open what a source stated; None if that is not known for one of the releases in the graph.

    The file may be removed while it is open.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(folder / f"{source}.parquet")
    except (OSError, pa.ArrowInvalid):
        return None
    known = {_signature(release) for release in releases}
    return Stated(file) if (file.schema_arrow.metadata or {}).get(b"signature") in known else None


def write(folder: Path, source: str, release: str, nodes: pa.Table, edges: Mapping[str, pa.Table]) -> None:
    """Keep what a source stated in a release, complete or not at all; tables as `Stated` gives them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = {"verb": pa.string(), "id": pa.string(), "key": pa.int64(), "hash": pa.uint64()}
    schema = pa.schema(fields, {b"signature": _signature(release)})
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{source}.{os.getpid()}.part"
    try:
        # Hashes do not compress.
        with pq.ParquetWriter(part, schema, compression="NONE", use_dictionary=["verb"]) as writer:
            for verb, whole in {"": nodes, **edges}.items():
                for start in range(0, len(whole), _ROWS):
                    rows = whole.slice(start, _ROWS)
                    n = len(rows)
                    given = {
                        "verb": pa.repeat(verb, n),
                        "id": rows["id"] if verb == "" else pa.nulls(n, pa.string()),
                        "key": pa.nulls(n, pa.int64()) if verb == "" else rows["key"],
                        "hash": rows["hash"],
                    }
                    writer.write_table(pa.table(given, schema=schema))
        part.replace(folder / f"{source}.parquet")
    finally:
        part.unlink(missing_ok=True)


def forget(folder: Path, source: str) -> None:
    """Remove what is kept of a source."""
    (folder / f"{source}.parquet").unlink(missing_ok=True)


def unchanged(
    known: pa.Table | None, name: str, keys: pa.Array, hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Which rows are known with this hash.

    Parameters
    ----------
    known
        ``name`` (``id`` or ``key``) and ``hash``; None where nothing is known.
    """
    import pyarrow.compute as pc

    if known is None or not len(known):
        return np.zeros(len(keys), bool)
    place = pc.index_in(keys, value_set=known[name].combine_chunks())
    at = pc.fill_null(place, 0).to_numpy(zero_copy_only=False)
    same = known["hash"].to_numpy()[at] == hashes
    same &= place.is_valid().to_numpy(zero_copy_only=False)
    return np.asarray(same, np.bool_)


def gone(known: pa.Table, name: str, keys: pa.Array) -> pa.Array:
    """Keys that were stated and are not any more."""
    import pyarrow.compute as pc

    theirs = known[name].combine_chunks()
    return theirs.filter(pc.invert(pc.is_in(theirs, value_set=keys)))


def _signature(release: str) -> bytes:
    import duckdb

    return f"{release} duckdb {duckdb.__version__}".encode()
