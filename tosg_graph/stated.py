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


@dataclass(frozen=True)
class Stated:
    """Rows of one source as they were stored.

    Parameters
    ----------
    nodes
        ``id`` (string) and ``hash`` (uint64) of each node.
    edges
        Verb -> ``key`` (int64) and ``hash`` (uint64) of each relationship.
    """

    nodes: pa.Table
    edges: Mapping[str, pa.Table]


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
    """Return what a source stated; None if that is not known for one of the releases in the graph."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = folder / f"{source}.parquet"
    try:
        if _meta(pq.read_schema(path)) not in {_signature(release) for release in releases}:
            return None
        whole = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    verbs = whole["verb"].unify_dictionaries().combine_chunks()
    parts = {}
    for code, verb in enumerate(verbs.dictionary.to_pylist()):
        parts[verb] = whole.filter(pc.equal(verbs.indices, code))
    nodes = parts.pop("", whole.slice(0, 0))
    return Stated(
        nodes.select(["id", "hash"]), {verb: rows.select(["key", "hash"]) for verb, rows in parts.items()}
    )


def write(folder: Path, source: str, release: str, stated: Stated) -> None:
    """Keep what a source stated in a release: complete or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = {"verb": pa.dictionary(pa.int32(), pa.string()), "id": pa.string(), "key": pa.int64()}
    schema = pa.schema(fields | {"hash": pa.uint64()}, {b"signature": _signature(release)})
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{source}.{os.getpid()}.part"
    try:
        plain = {"compression": "NONE", "use_dictionary": ["verb"]}  # hashes do not compress
        with pq.ParquetWriter(part, schema, **plain) as writer:
            for verb, rows in {"": stated.nodes, **stated.edges}.items():
                given = {
                    "verb": pa.repeat(pa.scalar(verb), len(rows)).dictionary_encode(),
                    "id": rows["id"] if verb == "" else pa.nulls(len(rows), pa.string()),
                    "key": pa.nulls(len(rows), pa.int64()) if verb == "" else rows["key"],
                    "hash": rows["hash"],
                }
                writer.write_table(pa.table(given).cast(schema))
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


def _meta(schema: pa.Schema) -> bytes:
    return bytes((schema.metadata or {}).get(b"signature", b""))
