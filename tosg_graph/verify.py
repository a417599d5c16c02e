"""What is wrong with a store: damaged, missing and foreign files, blocks that break the layout, sums that differ.

Files are checked by the sha256 in their name where they have one, by their size in the log and by a full read; then the
counts of each cell, dataset and block are added up and compared with the cells table and with what the adds recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from tosg_graph.axis_table import axis_of, axis_sha256
from tosg_graph.copied_rows import ROWS
from tosg_graph.counts_files import ROW_GROUP, counts_schema
from tosg_graph.errors import StoreError
from tosg_graph.layers import FIRST_PROTEIN, GENE, MEASURED_LAYERS, PROTEIN, stored_columns
from tosg_graph.measured_features import measured
from tosg_graph.progress import Progress, silent
from tosg_graph.row_check import wrong_rows
from tosg_graph.store_files import recorded_sha256
from tosg_graph.store_log import TABLES, Record

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

_SUMS = ("n_counts", "n_genes", "n_protein_counts", "n_proteins")  # of a cell, by layer
_CHANGED = "damaged: its sha256 is not the one in its name"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    kind: str  # file, block, cell, dataset or axis
    name: str
    problem: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.problem}"


@dataclass(frozen=True)
class Verification:
    """What was checked, and what is wrong."""

    version: StoreVersion
    files: int
    bytes: int
    without_checksum: int  # files that another program wrote: size and a full read only
    cells: int
    blocks: int
    counts: int  # sum
    findings: tuple[Finding, ...]


def verify(store: AbundanceStore, number: int | None = None, progress: Progress = silent) -> Verification:
    """Check a version of the store, by default the newest, and all files that older ones share with it.

    Raises
    ------
    StoreError
        If the store is empty, has no such version, or its log cannot be read.
    """
    # In this order: what an add brings meanwhile is either seen in the lock, or in the versions.
    early = {table: store.files.listing(table) for table in TABLES}
    copied = store.files.listing(ROWS)
    quiet = not store.is_being_written()
    records = store.log.records()
    if not records:
        raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
    record = records[0] if number is None else store.log.record_at(number)
    files = _check_files(store, record, records, progress)
    if quiet:
        files.findings += _foreign_files(store, early, records)
    contents = _Contents(store, record, files, progress)
    contents.check()
    rows = wrong_rows(store, record, records, copied, cells=not files.unreadable, progress=progress)
    contents.findings += [Finding("file", f"{ROWS}/{name}", problem) for name, problem in rows]
    tables = (*files.readable, *files.unreadable)
    return Verification(
        version=record.version,
        files=len(tables) + len(copied),
        bytes=sum(files.sizes[table].get(name, 0) for table, name in tables) + sum(copied.values()),
        without_checksum=files.without_checksum,
        cells=contents.cells,
        blocks=len(contents.blocks),
        counts=contents.total,
        findings=(*files.findings, *contents.findings),
    )


# --------------------------------------------------------------------------- files


@dataclass
class _Files:
    sizes: dict[str, dict[str, int]]  # table -> name -> bytes, as found
    readable: list[tuple[str, str]]
    unreadable: list[tuple[str, str]]
    findings: list[Finding]
    without_checksum: int = 0


def _check_files(store: AbundanceStore, record: Record, records: list[Record], progress: Progress) -> _Files:
    sizes = {table: store.files.listing(table) for table in TABLES}
    found = _Files(sizes, [], [], [])
    wanted = [(t, n, s) for t in TABLES for n, s in store.log.file_sizes(t, record.version).items()]
    for done, (table, name, size) in enumerate(wanted):
        progress("Checking files", done, len(wanted))
        problem = _problem(store, table, name, size, sizes[table].get(name))
        # The commit has a checksum of the rows of the axis; those of `measured` are compared with the counts.
        found.without_checksum += table in ("counts", "cells") and recorded_sha256(name) is None
        (found.unreadable if problem else found.readable).append((table, name))
        if problem:
            found.findings.append(Finding("file", f"{table}/{name}", problem))
    progress("Checking files", len(wanted), len(wanted))
    own = {(table, name) for table, name, _ in wanted}
    for table in TABLES:
        # What a vacuum removed is not missing.
        older = store.log.named_files(table, records) & set(sizes[table])
        for name in sorted(name for name in older if (table, name) not in own):
            if _is_changed(store, table, name):
                found.findings.append(
                    Finding("file", f"{table}/{name}", f"{_CHANGED}; older versions need it")
                )
    return found


def _foreign_files(
    store: AbundanceStore, listings: dict[str, dict[str, int]], records: list[Record]
) -> Iterator[Finding]:
    for table, listing in listings.items():
        for name in sorted(set(listing) - store.log.named_files(table, records)):
            problem = "foreign: no version names it; `tosg cells vacuum` removes it"
            yield Finding("file", f"{table}/{name}", problem)


def _problem(store: AbundanceStore, table: str, name: str, size: int, found: int | None) -> str | None:
    """Say what is wrong with the bytes of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if found is None:
        return "missing"
    if found != size:
        return f"damaged: {found:,} bytes, {size:,} were written"
    try:
        if recorded_sha256(name):  # the bytes that were written, and read back then
            return _CHANGED if _is_changed(store, table, name) else None
        with store.files.open(table, name) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(ROW_GROUP):
                batch.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        return f"damaged: {' '.join(str(error).split())}"
    return None


def _is_changed(store: AbundanceStore, table: str, name: str) -> bool:
    sha256 = recorded_sha256(name)
    return sha256 is not None and store.files.sha256(table, name) != sha256


# --------------------------------------------------------------------------- contents


class _Contents:
    """Counts added up per cell, dataset and block, file after file."""

    def __init__(self, store: AbundanceStore, record: Record, files: _Files, progress: Progress) -> None:
        self._store, self._record, self._progress = store, record, progress
        self._axis_rows = dict.fromkeys(MEASURED_LAYERS, 0)
        self._measured: dict[str, NDArray[np.int32]] = {}  # dataset -> its columns, as `counts` has them
        self._counts_files = [name for table, name in files.readable if table == "counts"]
        self._cells_files = [name for table, name in files.readable if table == "cells"]
        self._complete = not files.unreadable
        self._datasets: dict[str, list[int]] = {}  # cells, sum of counts of genes, of proteins
        self.findings: list[Finding] = []
        self.blocks: set[int] = set()
        self.cells = self.total = 0

    def check(self) -> None:
        """Compare everything; what lies in unreadable files cannot be compared and is named by its datasets."""
        import pyarrow as pa

        self._check_axis()
        if not self._cells_files:
            return
        connection = _cells_connection(self._store, self._record.version, self._cells_files)
        try:
            self._check_cells(connection)
            for done, name in enumerate(self._counts_files):
                self._progress("Adding up counts", done, len(self._counts_files))
                try:
                    self._check_counts(connection, name)
                except (OSError, pa.ArrowException) as error:
                    self._say("file", f"counts/{name}", f"damaged: {' '.join(str(error).split())}")
            self._progress("Adding up counts", len(self._counts_files), len(self._counts_files))
            self._check_unseen_blocks(connection)
        finally:
            connection.close()
        self._check_datasets()

    def _say(self, kind: str, name: object, problem: str) -> None:
        self.findings.append(Finding(kind, str(name), problem))

    def _check_axis(self) -> None:
        import pyarrow as pa

        try:
            rows = self._store.axis_rows(self._record.version)
            stated = self._store.measured(self._record.version)
        except (OSError, pa.ArrowException):
            return  # its file was named already
        axes = {layer: axis_of(rows, layer) for layer in MEASURED_LAYERS}
        self._axis_rows = {layer: len(axis) for layer, axis in axes.items()}
        if axis_sha256(axes[GENE], axes[PROTEIN]) != self._record.version.axis_sha256:
            self._say("axis", self._record.version.axis, "its rows are not those that the commit names")
        if any(axis["column"].to_pylist() != list(range(len(axis))) for axis in axes.values()):
            self._say("axis", self._record.version.axis, "its columns are not numbered from 0 on")
        self._read_measured(stated)

    def _read_measured(self, stated: pa.Table) -> None:
        import numpy as np

        for name in (row["dataset"] for row in self._record.datasets):
            parts = []
            for layer, size in self._axis_rows.items():
                mask = measured(stated, [name], range(size), layer).mask[0]
                parts.append(stored_columns(layer, np.flatnonzero(mask).astype(np.int32)))
            self._measured[name] = np.concatenate(parts)
            if not len(self._measured[name]):
                self._say("dataset", name, "nothing says which features it measured")

    def _check_cells(self, connection: duckdb.DuckDBPyConnection) -> None:
        twice = connection.execute(
            "SELECT cell_id, count(*) FROM cells GROUP BY cell_id HAVING count(*) > 1 OR cell_id IS NULL LIMIT 5"
        ).fetchall()
        for cell_id, count in twice:
            self._say("cell", cell_id, f"{count:,} rows of the cells table have this cell_id")
        places = connection.execute(
            "SELECT block, count(*), count(DISTINCT cell), min(cell), max(cell) FROM cells "
            "GROUP BY block ORDER BY block"
        ).fetchall()
        for block, count, places_, low, high in places:
            if not (places_ == count and low == 0 and high == count - 1):
                self._say("block", block, f"{count:,} cells are at {places_:,} places from {low} to {high}")
            if not 0 <= block < self._record.blocks:
                self._say("block", block, f"the store has blocks 0 to {self._record.blocks - 1}")
        for dataset, count in connection.execute(
            "SELECT dataset, count(*) FROM cells GROUP BY dataset ORDER BY dataset"
        ).fetchall():
            self._datasets[dataset] = [count, 0, 0]
            self.cells += count

    def _check_counts(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Check the layout of one file of counts, and add it up by its cells."""
        import numpy as np

        table = f"counts/{name}"
        if _schema_of(self._store, name) != counts_schema():
            self._say("file", table, "its columns are not block, gene, cell, count in int32")
            return
        for block, parts in _by_block(self._store, name):
            if block in self.blocks:
                self._say("block", block, f"its counts stand in two places, one is {table}")
            self.blocks.add(block)
            cells = _cells_of(connection, block)
            size = cells.num_rows
            if not size:
                if self._complete:
                    self._say("block", block, f"no cell is in it ({table})")
                continue
            sums = {name: np.zeros(size, np.int64) for name in _SUMS}
            allowed = self._measured_in(cells)
            last = -1
            for gene, cell, count in parts:
                problem, last = self._layout_problem(gene, cell, count, size, last)
                if not problem and len(foreign := np.setdiff1d(gene[np.diff(gene, prepend=-1) > 0], allowed)):
                    problem = f"a count is of axis column {foreign[0]}, which none of its datasets measured"
                if problem:
                    self._say("block", block, f"{problem} ({table})")
                    break
                _add_up(sums, gene >= FIRST_PROTEIN, cell, count)
            else:
                self._compare(block, cells, sums)

    def _measured_in(self, cells: pa.Table) -> NDArray[np.int32]:
        """Columns that any dataset of a block measured."""
        import numpy as np

        known = [self._measured[d] for d in cells["dataset"].unique().to_pylist() if d in self._measured]
        found: NDArray[np.int32] = np.unique(np.concatenate(known)) if known else np.empty(0, np.int32)
        return found

    def _layout_problem(
        self, gene: NDArray[np.int32], cell: NDArray[np.int32], count: NDArray[np.int32], size: int, last: int
    ) -> tuple[str | None, int]:
        """Say how a run of a block's counts breaks the layout; ``last`` is the key that it must come after."""
        import numpy as np

        if cell.min() < 0 or cell.max() >= size:
            return f"a count is at place {cell.max()}, but the block has {size:,} cells", last
        for layer, first, end in ((GENE, 0, FIRST_PROTEIN), (PROTEIN, FIRST_PROTEIN, 2**31)):
            own, held = gene[(gene >= first) & (gene < end)] - first, self._axis_rows[layer]
            if self._axis_rows[GENE] and len(own) and own.max() >= held:
                return f"a count is of axis column {own.max()}, but the axis has {held:,} ({layer})", last
        if gene.min() < 0:
            return f"a count is of axis column {gene.min()}", last
        if count.min() < 1:
            return f"a count is {count.min()}; only counts above zero are stored", last
        key = gene.astype(np.int64) * size + cell
        if key[0] <= last or (np.diff(key) <= 0).any():
            return "its counts are not sorted by gene, then cell, or one stands there twice", last
        return None, int(key[-1])

    def _compare(self, block: int, cells: pa.Table, sums: Mapping[str, NDArray[np.int64]]) -> None:
        """Compare a block's sums with the cells table, and add them to those of the datasets."""
        import numpy as np

        for column, found in sums.items():
            if column not in cells.column_names:
                continue
            # Proteins that were not measured in a cell have no counts.
            stated = cells[column].fill_null(0).to_numpy()
            wrong = np.flatnonzero(stated != found)
            if len(wrong):
                at = int(wrong[0])
                self._say(
                    "block",
                    block,
                    f"{column} of {len(wrong):,} cells differs, first {cells['cell_id'][at].as_py()}: "
                    f"{stated[at]} in the cells table, {found[at]} in the counts",
                )
        both = [sums["n_counts"], sums["n_protein_counts"]]
        self.total += int(sum(s.sum() for s in both))
        for dataset in cells["dataset"].unique().to_pylist():
            own = np.equal(np.asarray(cells["dataset"].to_pylist(), object), dataset).astype(bool)
            for at, of_layer in enumerate(both, start=1):
                self._datasets[dataset][at] += int(of_layer[own].sum())

    def _check_unseen_blocks(self, connection: duckdb.DuckDBPyConnection) -> None:
        """A block without any counts is one of empty cells, or it is lost."""
        if "n_counts" not in _columns(connection):
            return
        unseen = connection.execute(
            "SELECT block, count(*), sum(n_counts) FROM cells GROUP BY block HAVING sum(n_counts) > 0 ORDER BY block"
        ).fetchall()
        for block, count, total in unseen:
            if block not in self.blocks:
                self._say("block", block, f"its counts are missing: {total:,} of {count:,} cells")

    def _check_datasets(self) -> None:
        recorded = {row["dataset"]: row for row in self._record.datasets}
        for name in sorted({*recorded, *self._datasets}, key=str):
            cells, counts, proteins = self._datasets.get(name, [0, 0, 0])
            row = recorded.get(name)
            if row is None:
                self._say("dataset", name, f"{cells:,} cells are of a dataset that was never added")
                continue
            for what, found, stated in (
                ("cells", cells, row["cells"]),
                ("counts", counts, row["counts"]),
                ("counts of proteins", proteins, row.get("protein_counts") or 0),
            ):
                if found != stated:
                    self._say("dataset", name, f"{found:,} {what} are stored, {stated:,} were added")


def _add_up(
    sums: Mapping[str, NDArray[np.int64]],
    protein: NDArray[np.bool_],
    cell: NDArray[np.int32],
    count: NDArray[np.int32],
) -> None:
    """Add a run of a block's counts to the sums of its cells, each layer to its own."""
    import numpy as np

    size = len(sums["n_counts"])
    for of_layer, total, features in ((~protein, *_SUMS[:2]), (protein, *_SUMS[2:])):
        if of_layer.any():
            some = cell[of_layer]
            sums[total][:] += np.bincount(some, weights=count[of_layer], minlength=size).astype(np.int64)
            sums[features][:] += np.bincount(some, minlength=size)


def _cells_connection(
    store: AbundanceStore, version: StoreVersion, names: list[str]
) -> duckdb.DuckDBPyConnection:
    from tosg_graph.store_connection import connection_to

    uris = [uri for uri in store.cells_files(version) if uri.rsplit("/", 1)[1] in names]
    return connection_to(store, cells=uris)


def _schema_of(store: AbundanceStore, name: str) -> pa.Schema:
    import pyarrow.parquet as pq

    with store.files.open("counts", name) as opened:
        return pq.ParquetFile(opened).schema_arrow


def _by_block(store: AbundanceStore, name: str) -> Iterator[tuple[int, Iterator[tuple[Any, Any, Any]]]]:
    """Yield each block of a file with its ``gene, cell, count``, a run of rows at a time."""
    import numpy as np
    import pyarrow.parquet as pq

    def runs() -> Iterator[tuple[int, tuple[Any, Any, Any]]]:
        with store.files.open("counts", name) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(ROW_GROUP):
                block, *parts = (batch[column].to_numpy() for column in counts_schema().names)
                bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(block)]
                for a, b in pairwise(bounds):
                    if b > a:
                        yield int(block[a]), tuple(part[a:b] for part in parts)

    for number, group in groupby(runs(), key=lambda run: run[0]):
        yield number, (parts for _, parts in group)


def _columns(connection: duckdb.DuckDBPyConnection) -> set[str]:
    return {row[0] for row in connection.execute("DESCRIBE cells").fetchall()}


def _cells_of(connection: duckdb.DuckDBPyConnection, block: int) -> pa.Table:
    known = _columns(connection)
    names = ["cell_id", "dataset", *(n for n in _SUMS if n in known)]
    # The text holds fixed names only.
    text = f"SELECT {', '.join(names)} FROM cells WHERE block = ? ORDER BY cell"  # noqa: S608
    return connection.sql(text, params=[block]).to_arrow_table()
