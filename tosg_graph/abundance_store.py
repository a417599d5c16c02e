"""The abundance store: raw counts and cells in Delta tables of Parquet, with one commit point.

``axis``    feature -> int32 column, append-only
``counts``  (block, gene, cell, count), gene-major inside blocks of cells
``cells``   one row per cell; its commit binds the versions of the other two, and is what makes an add visible

What a killed add leaves in ``axis`` or ``counts`` is invisible to readers and undone by the next add.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import StoreError
from tosg_graph.types import StoreVersion

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

FORMAT_VERSION = 1
BLOCK_CELLS = 16_384
ROW_GROUP = 2**20
_LOCK_SECONDS = 10
_METADATA = "tosg"  # key of our record in the commit's metadata


@dataclass(frozen=True)
class AbundanceStore:
    """A store in a folder; opening creates nothing."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> AbundanceStore:
        """Open the store in ``folder``, which need not exist yet.

        Raises
        ------
        StoreError
            If it was written by a newer format.
        """
        store = cls(Path(folder))
        store.version()
        return store

    # ----------------------------------------------------------------- reading

    def version(self) -> StoreVersion | None:
        """Return the versions that the newest commit binds together, or None for an empty store."""
        record = self._record()
        return None if record is None else record.version

    def axis(self, version: StoreVersion | None = None) -> pa.Table:
        """Return the gene axis sorted by column: ``column``, ``feature``, ``gene_id``, ``symbol``, ``rule``."""
        version = version or self.version()
        if version is None:
            return axis_schema().empty_table()
        return (
            self._table("axis", version.axis).to_pyarrow_table().select(axis_schema().names).sort_by("column")
        )

    def cells_files(self, version: StoreVersion) -> list[str]:
        """Paths of the Parquet files of the cells table, sorted."""
        return self._files("cells", version.cells)

    def counts_files(self, version: StoreVersion) -> list[str]:
        """Paths of the Parquet files of the counts table, sorted."""
        return self._files("counts", version.counts)

    def datasets(self) -> pa.Table:
        """One row per dataset in the store: ``dataset``, ``cells``, ``counts``, ``file``, ``sha256``, ``note``."""
        import pyarrow as pa

        record = self._record()
        return pa.Table.from_pylist(record.datasets if record else [], schema=datasets_schema())

    # ----------------------------------------------------------------- writing

    @contextmanager
    def writer(self) -> Iterator[Append]:
        """Hold the store for one append; leftovers of a killed one are undone first.

        Raises
        ------
        StoreError
            If another process is writing, or the disk is full or read-only; nothing is added then.
        """
        from deltalake.exceptions import DeltaError
        from filelock import FileLock, Timeout

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be created: {error.strerror}. Set TOSG_HOME.") from error
        lock = FileLock(self.folder / "write.lock")
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise StoreError(
                f"Another process is adding cells to {self.folder}. Wait until it ends, then run this again."
            ) from None
        try:
            self._undo_leftovers()
            yield Append(self, self._record())
        except BaseException as error:
            self._undo_leftovers()
            if isinstance(error, OSError | DeltaError):
                reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
                raise StoreError(
                    f"{self.folder} cannot be written: {reason}. Nothing was added; make room there, or set "
                    "TOSG_HOME to another disk, and run this again."
                ) from error
            raise
        finally:
            lock.release()

    # ----------------------------------------------------------------- inside

    def _table(self, name: str, version: int) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            return DeltaTable(self.folder / name, version=version)
        except DeltaError as error:
            raise StoreError(
                f"The {name} table of {self.folder} has no readable version {version}: {error}. "
                "Restore the folder from a copy, or add the files again into a new TOSG_HOME."
            ) from error

    def _files(self, name: str, version: int) -> list[str]:
        return sorted(self._table(name, version).file_uris())

    def _record(self) -> _Record | None:
        """Read what the newest commit of ``cells`` says."""
        from deltalake import DeltaTable

        folder = self.folder / "cells"
        if not DeltaTable.is_deltatable(str(folder)):
            return None
        for commit in DeltaTable(folder).history():
            if _METADATA in commit:
                said = json.loads(commit[_METADATA])
                if said["format_version"] > FORMAT_VERSION:
                    raise StoreError(
                        f"{self.folder} was written in store format {said['format_version']}; this version reads up to "
                        f"{FORMAT_VERSION}. Update tosg-graph."
                    )
                version = StoreVersion(commit["version"], said["counts"], said["axis"], said["axis_sha256"])
                return _Record(version, said["blocks"], said["datasets"])
        raise StoreError(f"{folder} is a Delta table, but not one of ours. Set TOSG_HOME to another folder.")

    def _undo_leftovers(self) -> None:
        """Bring ``axis`` and ``counts`` back to what the newest commit names, and remove files of no commit."""
        import shutil

        from deltalake import DeltaTable

        record = self._record()
        for name in ("axis", "counts"):
            folder = self.folder / name
            if record is None:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            committed = record.version.axis if name == "axis" else record.version.counts
            kept = self._files(name, committed)
            newest = DeltaTable(folder)
            if sorted(newest.file_uris()) != kept:
                newest.restore(committed)
            names = {Path(path).name for path in kept}
            for path in folder.glob("*.parquet"):
                if path.name not in names:
                    path.unlink()


@dataclass(frozen=True)
class _Record:
    version: StoreVersion
    blocks: int  # number of blocks so far
    datasets: list[dict[str, Any]]


class Append:
    """One add in progress: axis rows, then blocks of counts, then the commit. Made by `AbundanceStore.writer`."""

    def __init__(self, store: AbundanceStore, record: _Record | None) -> None:
        self._store = store
        self._record = record
        self._axis = store.axis(record.version) if record else axis_schema().empty_table()
        self._axis_version = record.version.axis if record else -1
        self._counts_version = record.version.counts if record else -1
        self.next_block = record.blocks if record else 0

    @property
    def axis(self) -> pa.Table:
        """The gene axis including the rows of this add."""
        return self._axis

    def extend_axis(self, rows: pa.Table) -> pa.Table:
        """Append features (``feature``, ``gene_id``, ``symbol``, ``rule``), give them columns, return the whole axis.

        Raises
        ------
        StoreError
            If a feature is on the axis already.
        """
        import pyarrow as pa
        import pyarrow.compute as pc
        from deltalake import write_deltalake

        again = pc.is_in(rows["feature"], value_set=self._axis["feature"].combine_chunks())
        if len(rows) and pc.any(again).as_py():
            first = rows["feature"].filter(again)[0].as_py()
            raise StoreError(f"The feature {first!r} is on the gene axis already. Please report this.")
        columns = pa.array(range(len(self._axis), len(self._axis) + len(rows)), pa.int32())
        fresh = pa.table([columns, *(rows[n] for n in axis_schema().names[1:])], schema=axis_schema())
        if len(fresh) or self._axis_version < 0:
            write_deltalake(self._store.folder / "axis", fresh, mode="append")
            self._axis_version = _newest(self._store.folder / "axis")
            self._axis = pa.concat_tables([self._axis, fresh]).combine_chunks()
        return self._axis

    def write_counts(self, name: str, blocks: Iterator[tuple[Any, Any, Any]]) -> int:
        """Write blocks of counts as one Parquet file, register it, and return the sum that was read back.

        Parameters
        ----------
        name
            Stem of the file.
        blocks
            Per block three int32 arrays ``gene`` (axis column), ``cell`` (position in the block), ``count``,
            sorted by gene, then cell.
        """
        import pyarrow.parquet as pq
        from deltalake import Schema
        from deltalake.transaction import AddAction, create_table_with_add_actions

        folder = self._store.folder / "counts"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.parquet"
        rows = self._write_parquet(path, blocks)
        action = AddAction(
            path.name,
            path.stat().st_size,
            {},
            int(time.time() * 1000),
            True,
            json.dumps({"numRecords": rows}),
        )
        schema = Schema.from_arrow(counts_schema())
        if self._counts_version < 0:
            create_table_with_add_actions(str(folder), schema, [action], mode="append")
        else:
            from deltalake import DeltaTable

            DeltaTable(folder).create_write_transaction([action], "append", schema)
        self._counts_version = _newest(folder)
        counts = pq.read_table(path, columns=["count"])["count"]
        return sum(int(chunk.to_numpy().sum(dtype="int64")) for chunk in counts.chunks)

    def _write_parquet(self, path: Path, blocks: Iterator[tuple[Any, Any, Any]]) -> int:
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = 0
        writer = pq.ParquetWriter(
            path,
            counts_schema(),
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            write_page_index=True,
            column_encoding={
                "block": "DELTA_BINARY_PACKED",
                "gene": "DELTA_BINARY_PACKED",
                "cell": "DELTA_BINARY_PACKED",
                "count": "BYTE_STREAM_SPLIT",
            },
        )
        with writer:
            for gene, cell, count in blocks:
                block = np.full(len(gene), self.next_block, np.int32)
                # One write per block: a row group never crosses one.
                writer.write_table(
                    pa.table([block, gene, cell, count], schema=counts_schema()), row_group_size=ROW_GROUP
                )
                self.next_block += 1
                rows += len(gene)
        return rows

    def commit(self, cells: pa.Table, dataset: dict[str, Any]) -> StoreVersion:
        """Make the add visible: append ``cells`` and record which versions belong together.

        Raises
        ------
        StoreError
            If a column has another type than in the store.
        """
        from deltalake import CommitProperties, write_deltalake

        folder = self._store.folder / "cells"
        self._check_types(cells)
        said = {
            "format_version": FORMAT_VERSION,
            "counts": self._counts_version,
            "axis": self._axis_version,
            "axis_sha256": axis_sha256(self._axis),
            "blocks": self.next_block,
            "datasets": [*(self._record.datasets if self._record else []), dataset],
        }
        write_deltalake(
            folder,
            cells,
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(custom_metadata={_METADATA: json.dumps(said)}),
        )
        version = self._store.version()
        if version is None:
            raise StoreError(f"The commit to {folder} cannot be read back. Run `tosg cells list`.")
        return version

    def replace_cells(self, cells: pa.RecordBatchReader) -> StoreVersion:
        """Commit another content of the rows of ``cells``; counts and axis stay what they are.

        Raises
        ------
        StoreError
            If nothing is in the store, or the number of rows is not the one before.
        """
        from deltalake import CommitProperties, write_deltalake

        record = self._record
        if record is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        said = {
            "format_version": FORMAT_VERSION,
            "counts": record.version.counts,
            "axis": record.version.axis,
            "axis_sha256": record.version.axis_sha256,
            "blocks": record.blocks,
            "datasets": record.datasets,
            "operation": "terms",
        }
        write_deltalake(
            self._store.folder / "cells",
            _counted(cells, sum(dataset["cells"] for dataset in record.datasets)),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(custom_metadata={_METADATA: json.dumps(said)}),
        )
        version = self._store.version()
        if version is None:
            raise StoreError(
                f"The commit to {self._store.folder} cannot be read back. Run `tosg cells list`."
            )
        return version

    def _check_types(self, cells: pa.Table) -> None:
        import pyarrow as pa

        if self._record is None:
            return
        stored = pa.schema(self._store._table("cells", self._record.version.cells).schema().to_arrow())
        for field in cells.schema:
            place = stored.get_field_index(field.name)
            if place >= 0 and not _same_type(stored.field(place).type, field.type):
                raise StoreError(
                    f"The column {field.name!r} is {field.type} in this file, but {stored.field(place).type} in the "
                    "store. Rename or convert it in the file."
                )


def _counted(cells: pa.RecordBatchReader, expected: int) -> pa.RecordBatchReader:
    """Pass batches on, and fail at the end, before the commit, if their rows are not as many as expected."""
    import pyarrow as pa

    def batches() -> Iterator[pa.RecordBatch]:
        rows = 0
        for batch in cells:
            rows += len(batch)
            yield batch
        if rows != expected:
            raise StoreError(
                f"{rows:,} rows of cells were read, but the store has {expected:,} cells. Nothing was changed; run "
                "`tosg cells list`."
            )

    return pa.RecordBatchReader.from_batches(cells.schema, batches())


def counts_schema() -> pa.Schema:
    """``block``, ``gene`` (axis column), ``cell`` (position in the block), ``count``: int32, never null."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(name, pa.int32(), nullable=False) for name in ("block", "gene", "cell", "count")]
    )


def axis_schema() -> pa.Schema:
    """One row per measured feature; ``gene_id`` and ``symbol`` are null where it is no known gene."""
    import pyarrow as pa

    texts = [pa.field(name, pa.string()) for name in ("feature", "gene_id", "symbol", "rule")]
    return pa.schema([pa.field("column", pa.int32()), *texts])


def datasets_schema() -> pa.Schema:
    """What `AbundanceStore.datasets` returns."""
    import pyarrow as pa

    whole = [pa.field(name, pa.int64()) for name in ("cells", "counts")]
    return pa.schema(
        [
            pa.field("dataset", pa.string()),
            *whole,
            *(pa.field(n, pa.string()) for n in ("file", "sha256", "note")),
        ]
    )


def axis_sha256(axis: pa.Table) -> str:
    """Sha256 of the axis: column, feature and gene id of each row."""
    lines = zip(*(axis[name].to_pylist() for name in ("column", "feature", "gene_id")), strict=True)
    return hashlib.sha256("\n".join("\t".join(map(str, line)) for line in lines).encode()).hexdigest()


def cell_id(dataset: str, barcode: str) -> str:
    """Permanent id of a cell: first 32 hex digits of the sha256 of dataset, a zero byte, and barcode."""
    return hashlib.sha256(f"{dataset}\0{barcode}".encode()).hexdigest()[:32]


def _newest(folder: Path) -> int:
    from deltalake import DeltaTable

    version: int = DeltaTable(folder).version()
    return version


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    import pyarrow.types as t

    def family(kind: pa.DataType) -> str:
        text = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
        return "text" if text else str(kind)

    return family(a) == family(b)
