"""Parquet files of the abundance store: how they are written, where they lie, and how a name proves the bytes.

A finished file is called ``<stem>-<sha256 of its bytes>.parquet``, so that a damaged one is known without any record
beside it. Tables lie in a folder, or in a bucket under an address such as ``s3://bucket/path``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs as pafs
    from deltalake.transaction import AddAction
    from fsspec import AbstractFileSystem

CELLS_ROW_GROUP = 2**17  # rows; several, so that a scan has work for several cores
_COPY_BYTES = 2**24
_NAMED = re.compile(r"([0-9a-f]{64})\.(parquet|arrow)$")


@dataclass(frozen=True)
class StoredFile:
    """A finished file in a table's folder, not yet registered in its log."""

    name: str
    size: int  # bytes
    rows: int

    def add_action(self) -> AddAction:
        """What registers the file in a Delta log."""
        from deltalake.transaction import AddAction

        stats = json.dumps({"numRecords": self.rows})
        return AddAction(self.name, self.size, {}, int(time.time() * 1000), True, stats)


@dataclass(frozen=True)
class StoreFiles:
    """The files of a store's tables, in a folder or in a bucket.

    Parameters
    ----------
    url
        Absolute path of a folder, or the address of a bucket with a prefix. Credentials and endpoint of a bucket
        come from its usual environment variables (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL`` ...).
    """

    url: str

    def table(self, name: str) -> str:
        """What Delta opens."""
        return f"{self.url}/{name}"

    def listing(self, name: str) -> dict[str, int]:
        """Name -> bytes of the files of a table; its log and hidden files aside."""
        import pyarrow.fs as pafs

        selector = pafs.FileSelector(f"{self._base}/{name}", allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return {
            f.base_name: f.size for f in found if f.type == pafs.FileType.File and f.base_name[0] not in "._"
        }

    def put(self, name: str, part: Path, stem: str, rows: int, kind: str = "parquet") -> StoredFile:
        """Move a finished local file into a table's folder, under a name that holds its sha256."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        stored = StoredFile(f"{stem}-{digest}.{kind}", part.stat().st_size, rows)
        target = self._path(name, stored.name)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
        else:
            try:
                with part.open("rb") as file, self.filesystem.open_output_stream(target) as out:
                    shutil.copyfileobj(file, out, _COPY_BYTES)
            except BaseException:  # half a file must not have this name
                with suppress(OSError):
                    self.remove(name, stored.name)
                raise
            part.unlink()
        return stored

    def open(self, name: str, file: str) -> pa.NativeFile:
        """Open a file of a table for reading."""
        return self.filesystem.open_input_file(self._path(name, file))

    def mapped(self, name: str, file: str) -> pa.NativeFile:
        """Open a file of a table so that what is read of it is not copied; in a bucket as `open` does."""
        import pyarrow as pa

        return pa.memory_map(self._path(name, file)) if self.is_local else self.open(name, file)

    def sha256(self, name: str, file: str) -> str:
        """Hex sha256 of a file's bytes."""
        digest = hashlib.sha256()
        with self.open(name, file) as opened:
            while chunk := opened.read(_COPY_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def remove(self, name: str, file: str) -> None:
        """Delete a file of a table."""
        self.filesystem.delete_file(self._path(name, file))

    def remove_table(self, name: str) -> None:
        """Delete a table with its log, where there is one."""
        self.filesystem.delete_dir_contents(f"{self._base}/{name}", missing_dir_ok=True)

    def for_duckdb(self) -> AbstractFileSystem:
        """The bucket as DuckDB reads it without an extension that would have to be downloaded."""
        from fsspec.implementations.arrow import ArrowFSWrapper

        protocol = self.url.partition("://")[0]
        kind = type("Bucket", (ArrowFSWrapper,), {"protocol": protocol, "cachable": False})
        wrapped: AbstractFileSystem = kind(self.filesystem)
        return wrapped

    @property
    def is_local(self) -> bool:
        """Whether the tables lie in a folder of this machine."""
        return "://" not in self.url

    @property
    def filesystem(self) -> pafs.FileSystem:
        """Arrow's face of the folder or the bucket."""
        return self._place[0]

    @property
    def _base(self) -> str:
        return self._place[1]

    @cached_property
    def _place(self) -> tuple[pafs.FileSystem, str]:
        import pyarrow as pa
        import pyarrow.fs as pafs

        if self.is_local:
            return pafs.LocalFileSystem(), self.url
        try:
            filesystem, base = pafs.FileSystem.from_uri(self.url)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{self.url} cannot be opened: {error}. Set TOSG_STORE.") from error
        return filesystem, base

    def _path(self, name: str, file: str) -> str:
        return f"{self._base}/{name}/{file}"


def recorded_sha256(file: str) -> str | None:
    """Return the sha256 that a file's name states; None for a file that another program wrote."""
    found = _NAMED.search(file)
    return found[1] if found else None


def write_cells_file(path: Path, cells: pa.Table | pa.RecordBatchReader) -> int:
    """Write one file of cells, in row groups of `CELLS_ROW_GROUP` however the cells come, and return its rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [f.name for f in cells.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)]
    rows, held = 0, cells.schema.empty_table()
    with pq.ParquetWriter(
        path,
        cells.schema,
        compression="zstd",
        compression_level=3,
        write_page_index=True,
        # A dictionary of what is another in every cell would only be written twice.
        use_dictionary=[name for name in texts if name not in ("cell_id", "barcode")],
    ) as writer:
        for batch in cells.to_reader(CELLS_ROW_GROUP) if isinstance(cells, pa.Table) else cells:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            if len(held) >= CELLS_ROW_GROUP:
                writer.write_table(held.slice(0, CELLS_ROW_GROUP))
                held = held.slice(CELLS_ROW_GROUP)
            rows += len(batch)
        writer.write_table(held)
    return rows
