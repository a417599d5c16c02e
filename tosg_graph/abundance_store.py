"""The abundance store: raw counts and cells in Delta tables of Parquet, with one commit point.

``axis``      feature -> int32 column of its layer, append-only
``measured``  which columns each dataset measured
``counts``    (block, gene, cell, count), gene-major inside blocks of cells; `tosg_graph.layers`
``cells``     one row per cell; its commit binds the versions of the others, and is what makes an add visible

What a killed add leaves in the tables is invisible to readers and undone by the next add. Every version that a commit
of ``cells`` bound stays readable until `tosg_graph.vacuum` removes its files.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.axis_table import (
    axis_of,
    axis_sha256,
    extended_axis,
    stored_axis_schema,
    to_store,
)
from tosg_graph.counts_files import CountsFiles, write_counts_files
from tosg_graph.errors import StoreError
from tosg_graph.layers import GENE, PROTEIN
from tosg_graph.measured_features import measured_schema, runs
from tosg_graph.store_files import StoreFiles, write_cells_file
from tosg_graph.store_log import Record, StoreLog
from tosg_graph.types import StoreVersion

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PART = ".part"  # how names of unfinished files and folders end, which begin with a dot
_LOCK_SECONDS = 10


@dataclass(frozen=True)
class AbundanceStore:
    """A store in a folder or a bucket; opening creates nothing.

    Parameters
    ----------
    folder
        Where the tables lie; for a bucket, where its lock and its unfinished files do.
    url
        Address of a bucket, such as ``s3://bucket/path``; "" where the tables lie in ``folder``.
    pinned
        Version that is read in place of the newest, see `at`; such a store is not written.
    """

    folder: Path
    url: str = ""
    pinned: int | None = None

    @classmethod
    def open(cls, folder: Path, url: str = "") -> AbundanceStore:
        """Open the store in ``folder``, which need not exist yet, or at ``url``.

        Raises
        ------
        StoreError
            If it was written by a newer format, or cannot be reached.
        """
        store = cls(Path(folder), url.rstrip("/"))
        try:
            store.version()
        except OSError as error:
            # Messages about buckets are coloured trees of several lines.
            reason = " ".join(re.sub(r"\x1b\[\d*m|↳", " ", str(error)).split())
            raise StoreError(f"{store} cannot be reached: {reason}. Check TOSG_STORE.") from error
        return store

    def __str__(self) -> str:
        return self.url or str(self.folder)

    @property
    def files(self) -> StoreFiles:
        """The Parquet files of the tables."""
        return StoreFiles(self.url or str(self.folder.absolute()))

    @property
    def log(self) -> StoreLog:
        """What the logs of the tables say."""
        return StoreLog(self.files, self.pinned)

    # ----------------------------------------------------------------- reading

    def version(self) -> StoreVersion | None:
        """Return the versions that the newest commit binds together (or the pinned one), or None for an empty store."""
        record = self.log.record()
        return None if record is None else record.version

    def version_at(self, number: int) -> StoreVersion:
        """Return the versions that commit ``number`` of ``cells`` binds together; StoreError if it is none of ours."""
        return self.log.record_at(number).version

    def at(self, number: int) -> AbundanceStore:
        """Return this store as it was at a version, for reading; a StoreError if it has no such version."""
        self.log.record_at(number)
        return replace(self, pinned=number)

    def axis(self, version: StoreVersion | None = None, layer: str = GENE) -> pa.Table:
        """Return the axis of a layer sorted by column; see `axis_schema`."""
        return axis_of(self.axis_rows(version), layer)

    def axis_rows(self, version: StoreVersion | None = None) -> pa.Table:
        """Return the rows of all layers: ``layer``, then the columns of the axis of proteins."""
        rows = self._rows("axis", version or self.version(), stored_axis_schema())
        return rows.sort_by([("layer", "ascending"), ("column", "ascending")]).combine_chunks()

    def measured(self, version: StoreVersion | None = None) -> pa.Table:
        """Return which columns each dataset measured; see `tosg_graph.measured_features`."""
        return self._rows("measured", version or self.version(), measured_schema())

    def _rows(self, name: str, version: StoreVersion | None, schema: pa.Schema) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = [schema.empty_table()]
        for file_name in self.log.file_names(name, version.of(name)) if version else ():
            with self.files.open(name, file_name) as file:
                parts.append(pq.read_table(file, columns=schema.names).cast(schema))
        return pa.concat_tables(parts).combine_chunks()

    def cells_files(self, version: StoreVersion) -> list[str]:
        """Paths of the Parquet files of the cells table, sorted."""
        return self.log.uris("cells", version.cells)

    def counts_files(self, version: StoreVersion) -> list[str]:
        """Paths of the Parquet files of the counts table, sorted."""
        return self.log.uris("counts", version.counts)

    def blocks(self) -> int:
        """Number of blocks so far: the number of the next one."""
        record = self.log.record()
        return 0 if record is None else record.blocks

    def datasets(self) -> pa.Table:
        """One row per dataset in the store; see `datasets_schema`."""
        import pyarrow as pa

        record = self.log.record()
        return pa.Table.from_pylist(record.datasets if record else [], schema=datasets_schema())

    def is_being_written(self) -> bool:
        """Whether another process holds the store at this moment; False where this one may not ask."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.folder / "write.lock", is_singleton=True).acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    # ----------------------------------------------------------------- writing

    @contextmanager
    def writer(self) -> Iterator[Append]:
        """Hold the store for one append; leftovers of a killed one are undone first.

        Raises
        ------
        StoreError
            If another process is writing, or the disk is full or read-only; nothing is added then.
        """
        with self.locked():
            try:
                self.log.undo_leftovers()
                yield Append(self, self.log.record())
            except BaseException:
                self.log.undo_leftovers()
                raise

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Hold the store for several appends, with a folder for what is being prepared; it is removed at the end.

        Raises
        ------
        StoreError
            As `writer`.
        """
        with self.locked():
            # A folder of its own: what an orphan of a killed process still writes does not come here.
            work = Path(tempfile.mkdtemp(prefix=".adding-", suffix=PART, dir=self.folder))
            try:
                yield work
            finally:
                shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing; the one that holds the lock may take it again.

        Raises
        ------
        StoreError
            If another process is writing, or the store cannot be written.
        """
        from deltalake.exceptions import DeltaError
        from filelock import FileLock, Timeout

        if self.pinned is not None:
            raise StoreError(f"Version {self.pinned} of {self} is only read. Write without --store-version.")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be created: {error.strerror}. Set TOSG_HOME.") from error
        lock = FileLock(self.folder / "write.lock", is_singleton=True)
        outermost = not lock.is_locked
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise StoreError(
                f"Another process is adding cells to {self}. Wait until it ends, then run this again."
            ) from None
        try:
            if outermost:
                self._clear_unfinished()
            yield
        except (OSError, DeltaError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
            raise StoreError(
                f"{self} cannot be written: {reason}. Nothing was added; make room there, or set "
                "TOSG_HOME to another disk, and run this again."
            ) from error
        finally:
            lock.release()

    # ----------------------------------------------------------------- inside

    def _clear_unfinished(self) -> None:
        """Remove what killed processes were preparing."""
        for part in self.folder.glob(f".*{PART}"):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink()


class Append:
    """One add in progress: axis rows, then blocks of counts, then the commit. Made by `AbundanceStore.writer`."""

    def __init__(self, store: AbundanceStore, record: Record | None) -> None:
        self._store = store
        self._record = record
        self._axis = store.axis_rows(record.version) if record else stored_axis_schema().empty_table()
        self._axis_version = record.version.axis if record else -1
        self._counts_version = record.version.counts if record else -1
        self.next_block = record.blocks if record else 0

    @property
    def axis(self) -> pa.Table:
        """The gene axis including the rows of this add."""
        return self.axis_of(GENE)

    def axis_of(self, layer: str) -> pa.Table:
        """The axis of a layer including the rows of this add."""
        return axis_of(self._axis, layer)

    def extend_axis(self, rows: pa.Table, layer: str = GENE) -> pa.Table:
        """Append features (the columns of `axis_schema` but ``column``), give them columns, return the whole axis.

        Raises
        ------
        StoreError
            If a feature is on the axis of the layer already.
        """
        import pyarrow as pa
        from deltalake import write_deltalake

        held = self.axis_of(layer)
        whole = extended_axis(held, rows, layer)
        fresh = to_store(whole.slice(len(held)), layer)
        if len(fresh) or self._axis_version < 0:
            write_deltalake(self._store.files.table("axis"), fresh, mode="append")
            self._axis_version = self._store.log.newest("axis")
            self._axis = pa.concat_tables([self._axis, fresh])
        return whole

    def write_counts(self, name: str, blocks: Iterator[tuple[Any, Any, Any]]) -> int:
        """Write blocks of counts as Parquet files, register them, and return the sum that was read back.

        Parameters
        ----------
        name
            Stem of the files.
        blocks
            See `write_counts_files`.
        """
        with tempfile.TemporaryDirectory(prefix=".counts-", suffix=PART, dir=self._store.folder) as work:
            written = write_counts_files(Path(work), name, blocks, self.next_block)
            self.register_counts(written)
        return written.total

    def register_counts(self, written: CountsFiles) -> None:
        """Move files of counts into the store, and make them part of the table.

        Their blocks must be numbered from ``next_block`` on.
        """
        put = self._store.files.put
        files = [put("counts", path, path.stem, rows) for path, rows in written.rows.items()]
        self._counts_version = self._store.log.register_counts(files, self._counts_version)
        self.next_block += written.blocks

    def commit(
        self,
        cells: pa.Table | pa.RecordBatchReader,
        dataset: dict[str, Any],
        measured: Mapping[str, Sequence[int] | NDArray[np.int32]] | None = None,
    ) -> StoreVersion:
        """Make the add visible: append ``cells`` and record which versions belong together.

        Parameters
        ----------
        dataset
            A row of `datasets_schema`.
        measured
            Layer -> axis columns that the dataset measured; the whole gene axis where it is not said.

        Raises
        ------
        StoreError
            If a column has another type than in the store.
        """
        from deltalake import write_deltalake

        self._check_types(cells.schema)
        rows = runs(dataset["dataset"], measured or {GENE: self.axis["column"].to_numpy()})
        write_deltalake(self._store.files.table("measured"), rows, mode="append")
        said = {
            "counts": self._counts_version,
            "axis": self._axis_version,
            "axis_sha256": axis_sha256(self.axis, self.axis_of(PROTEIN)),
            "measured": self._store.log.newest("measured"),
            "blocks": self.next_block,
            "datasets": [*(self._record.datasets if self._record else []), dataset],
        }
        part = self._store.folder / f".cells{PART}"
        written = write_cells_file(part, cells)
        file = self._store.files.put("cells", part, "cells", written)
        return self._store.log.register_cells([file], cells.schema, said)

    def replace_cells(self, cells: pa.RecordBatchReader) -> StoreVersion:
        """Commit another content of the rows of ``cells``; counts and axis stay what they are.

        Raises
        ------
        StoreError
            If nothing is in the store, or the number of rows is not the one before.
        """
        record = self._record
        if record is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        part, expected = self._store.folder / f".cells{PART}", sum(row["cells"] for row in record.datasets)
        rows = write_cells_file(part, cells)
        if rows != expected:
            part.unlink()
            raise StoreError(
                f"{rows:,} rows of cells were read, but the store has {expected:,} cells. Nothing was changed; run "
                "`tosg cells verify`."
            )
        said = {
            "counts": record.version.counts,
            "axis": record.version.axis,
            "axis_sha256": record.version.axis_sha256,
            "measured": record.version.measured,
            "blocks": record.blocks,
            "datasets": record.datasets,
            "operation": "terms",
        }
        file = self._store.files.put("cells", part, "cells", rows)
        return self._store.log.register_cells([file], cells.schema, said, instead=True)

    def _check_types(self, cells: pa.Schema) -> None:
        import pyarrow as pa

        if self._record is None:
            return
        # The newest schema: it also has what an add brought that was killed before its commit.
        stored = pa.schema(self._store.log.table("cells").schema().to_arrow())
        for field in cells:
            place = stored.get_field_index(field.name)
            if place >= 0 and not _same_type(stored.field(place).type, field.type):
                raise StoreError(
                    f"The column {field.name!r} is {field.type} in this file, but {stored.field(place).type} in the "
                    "store. Rename or convert it in the file."
                )


def datasets_schema() -> pa.Schema:
    """One row per dataset; ``sha256`` is that of its content and mapping, ``file_sha256`` that of the file and both.

    ``counts`` is the sum of its counts of genes, ``protein_counts`` that of its proteins, which were measured in
    ``protein_cells`` of its cells; null where it has none.
    """
    import pyarrow as pa

    whole = [pa.field(name, pa.int64()) for name in ("cells", "counts", "protein_cells", "protein_counts")]
    return pa.schema(
        [
            pa.field("dataset", pa.string()),
            *whole,
            *(pa.field(n, pa.string()) for n in ("file", "sha256", "note", "file_sha256")),
        ]
    )


def open_store(place: AbundanceStore | str | Path) -> AbundanceStore:
    """Open the store that a folder or an address names; a store is itself."""
    if isinstance(place, AbundanceStore):
        return place
    is_url = isinstance(place, str) and "://" in place
    return AbundanceStore.open(Path("." if is_url else place), str(place) if is_url else "")


def cell_id(dataset: str, barcode: str) -> str:
    """Permanent id of a cell: first 32 hex digits of the sha256 of dataset, a zero byte, and barcode."""
    return hashlib.sha256(f"{dataset}\0{barcode}".encode()).hexdigest()[:32]


def _same_type(a: pa.DataType, b: pa.DataType) -> bool:
    import pyarrow.types as t

    def family(kind: pa.DataType) -> str:
        text = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
        return "text" if text else str(kind)

    return family(a) == family(b)
