"""The store in order: cells of many adds sorted together into full blocks, as a new version; older ones stay.

Cells are ordered by organ, disease, cell type and ``cell_id``, cut into blocks, and their counts follow::

    cells --sort--> places --> new cells files
    counts files --by new block--> unfinished blocks --sort--> new counts files --> log of counts --> log of cells

The sort of the cells spills to disk, counts pass through files, one per new block; one block is held in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance_store import (
    BLOCK_CELLS,
    BLOCK_ORDER,
    FORMAT_VERSION,
    PART,
    Record,
    counts_schema,
    write_block,
)
from tosg_graph.errors import StoreError
from tosg_graph.progress import Progress, silent
from tosg_graph.store_files import CELLS_ROW_GROUP, ROW_GROUP, StoredFile, cells_writer, counts_writer

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

FILE_BLOCKS = 16  # at most; a file has at least half as many, where there are so many
CELLS_PER_FILE = 64 * BLOCK_CELLS
BLOCKS_AT_ONCE = 512  # unfinished blocks on disk; more take another pass over the counts
SORT_MEMORY = "1GB"


@dataclass(frozen=True)
class Compaction:
    """What a compaction did; ``written`` is None where the store was compact already."""

    before: StoreVersion
    written: StoreVersion | None
    cells: int
    blocks_before: int
    blocks: int
    files_before: int
    files: int
    bytes_before: int  # of counts and cells
    bytes: int


def compact(
    store: AbundanceStore, progress: Progress = silent, *, block_cells: int = BLOCK_CELLS
) -> Compaction:
    """Sort all cells of the store together, and write their counts anew in full blocks.

    Every answer stays the same; ``cell_id`` is permanent, ``block`` and ``cell`` change. Needs free disk for the new
    files and for up to `BLOCKS_AT_ONCE` blocks.

    Raises
    ------
    StoreError
        If the store is empty, locked, full or damaged; it is as it was.
    """
    with store.writer():
        record = store.record()
        if record is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        with (
            tempfile.TemporaryDirectory(prefix=".compact-", suffix=PART, dir=store.folder) as work,
            closing(_Places.read(store, record, Path(work), block_cells, progress)) as places,
        ):
            return _compacted(store, record, places, progress)


def _compacted(store: AbundanceStore, record: Record, places: _Places, progress: Progress) -> Compaction:
    before = record.version
    old = {name: store.file_names(name, getattr(before, name)) for name in ("counts", "cells")}
    sizes = {name: store.files.listing(name) for name in old}
    blocks = places.blocks
    unchanged = Compaction(
        before=before,
        written=None,
        cells=len(places.new),
        blocks_before=record.blocks,
        blocks=record.blocks,
        files_before=sum(map(len, old.values())),
        files=sum(map(len, old.values())),
        bytes_before=(size := sum(sizes[name].get(file, 0) for name in old for file in old[name])),
        bytes=size,
    )
    if places.in_order and len(old["counts"]) == len(_file_ranges(0, blocks)):
        return unchanged
    counts = _write_counts(store, old["counts"], places, progress)
    total = sum(store.sum_of_counts(file.name) for file in counts)
    expected = sum(row["counts"] for row in record.datasets)
    if total != expected:
        raise StoreError(
            f"The counts of {store} sum to {total:,} but {expected:,} were added. Run `tosg cells verify`."
        )
    cells, schema = _write_cells(store, record, places, progress)
    version = store.register_counts(counts, before.counts, instead=True)
    said = {
        "format_version": FORMAT_VERSION,
        "counts": version,
        "axis": before.axis,
        "axis_sha256": before.axis_sha256,
        "blocks": blocks,
        "datasets": record.datasets,
        "operation": "compact",
    }
    written = store.register_cells(cells, schema, said, instead=True)
    new = (*counts, *cells)
    return replace(unchanged, written=written, blocks=blocks, files=len(new), bytes=sum(f.size for f in new))


# --------------------------------------------------------------------------- places


@dataclass(frozen=True)
class _Places:
    """Where each cell lay, and where it will.

    Parameters
    ----------
    start
        int64, shape ``(n_old_blocks + 1,)``: number of cells before each old block.
    new
        int64, shape ``(n_cells,)``: the place in the new order of the cell that was ``start[block] + cell``.
    depth
        int64, shape ``(n_cells,)``, in the new order: sum of the cell's counts as the cells table has it, -1 unknown.
    """

    start: NDArray[np.int64]
    new: NDArray[np.int64]
    depth: NDArray[np.int64]
    in_order: bool
    block_cells: int
    work: Path
    connection: duckdb.DuckDBPyConnection
    order: str

    @property
    def blocks(self) -> int:
        """Number of new blocks."""
        return -(-len(self.new) // self.block_cells)

    @classmethod
    def read(
        cls, store: AbundanceStore, record: Record, work: Path, block_cells: int, progress: Progress
    ) -> _Places:
        """Sort the cells; their places lie in files that are mapped into memory."""
        import numpy as np

        from tosg_graph.abundance import connection_to

        files = store.cells_files(record.version)
        connection = connection_to(store, files, memory_limit=SORT_MEMORY, spill=work / "sort")
        known = [row[0] for row in connection.execute("DESCRIBE cells").fetchall()]
        order = ", ".join(f"{name} NULLS LAST" for name in BLOCK_ORDER if name in known)
        depth = "coalesce(n_counts, -1)" if "n_counts" in known else "-1"
        sizes = np.zeros(record.blocks, np.int64)
        found = connection.sql(
            "SELECT block, count(*) AS cells, count(DISTINCT cell) AS places, min(cell) AS low, max(cell) AS high "
            "FROM cells GROUP BY block"
        ).to_arrow_table()
        block, cells, held, low, high = (column.to_numpy() for column in found.columns)
        if not (
            (cells == held) & (low == 0) & (high == cells - 1) & (block >= 0) & (block < len(sizes))
        ).all():
            raise StoreError(f"Cells of {store} lack a place or share one. Run `tosg cells verify`.")
        sizes[block] = cells
        start = np.concatenate([[0], np.cumsum(sizes)])
        count = int(start[-1])
        new = np.memmap(work / "new", np.int64, "w+", shape=(count,))
        depths = np.memmap(work / "depth", np.int64, "w+", shape=(count,))
        done = 0
        in_order = bool((sizes[:-1] == block_cells).all() and sizes.max(initial=0) <= block_cells)
        # The text holds checked column names only.
        query = f"SELECT block, cell, {depth} AS depth FROM cells ORDER BY {order}"  # noqa: S608
        for batch in connection.sql(query).to_arrow_reader(ROW_GROUP):
            progress("Sorting cells", done, count)
            was = start[batch["block"].to_numpy()] + batch["cell"].to_numpy()
            now = np.arange(done, done + len(was))
            new[was] = now
            depths[done : done + len(was)] = batch["depth"].to_numpy()
            in_order = in_order and bool((was == now).all())
            done += len(was)
        progress("Sorting cells", count, count)
        return cls(start, new, depths, in_order, block_cells, work, connection, order)

    def of(self, block: NDArray[np.int32], cell: NDArray[np.int32]) -> NDArray[np.int64]:
        """New places of counts, by their old block and cell."""
        if len(block) and (block.min() < 0 or block.max() >= len(self.start) - 1 or cell.min() < 0):
            raise StoreError("A file of counts names a block that no cell is in. Run `tosg cells verify`.")
        was = self.start[block] + cell
        if (was >= self.start[block + 1]).any():
            raise StoreError("A file of counts names a place that no cell is at. Run `tosg cells verify`.")
        now: NDArray[np.int64] = self.new[was]
        return now

    def close(self) -> None:
        """Close the connection that sorts."""
        self.connection.close()


# --------------------------------------------------------------------------- counts


def _file_ranges(first: int, last: int) -> list[range]:
    """Blocks of each file: as few files as can be, as equal as can be."""
    count = -(-(last - first) // FILE_BLOCKS)
    bounds = [first + (last - first) * i // count for i in range(count + 1)] if count else []
    return [range(a, b) for a, b in pairwise(bounds)]


def _write_counts(
    store: AbundanceStore, files: Sequence[str], places: _Places, progress: Progress
) -> list[StoredFile]:
    written = []
    at_once = max(FILE_BLOCKS, BLOCKS_AT_ONCE // FILE_BLOCKS * FILE_BLOCKS)
    for first in range(0, places.blocks, at_once):
        some = range(first, min(first + at_once, places.blocks))
        _distribute(store, files, places, some, progress)
        for blocks in _file_ranges(some.start, some.stop):
            progress("Writing blocks", blocks.start, places.blocks)
            part = places.work / "counts"
            rows = 0
            with counts_writer(part, counts_schema()) as writer:
                for number in blocks:
                    rows += write_block(writer, number, *_sorted_block(places, number))
            written.append(store.files.put("counts", part, f"blocks-{blocks.start:05d}", rows))
    progress("Writing blocks", places.blocks, places.blocks)
    return written


def _distribute(
    store: AbundanceStore, files: Sequence[str], places: _Places, blocks: range, progress: Progress
) -> None:
    """Append each count to the unfinished block that it will be in; those outside of ``blocks`` are passed over."""
    import numpy as np

    for block, gene, cell, count in _read_counts(store, files, progress):
        place = places.of(block, cell)
        number = place // places.block_cells
        order = np.argsort(number, kind="stable")  # genes stay in order, which packs better
        rows = np.stack([gene, (place % places.block_cells).astype(np.int32), count])[:, order]
        bounds = np.searchsorted(number[order], range(blocks.start, blocks.stop + 1))
        for target, a, b in zip(blocks, bounds, bounds[1:], strict=False):
            if b > a:
                _append(places.work / f"block-{target}", rows[:, a:b])


def _read_counts(
    store: AbundanceStore, files: Sequence[str], progress: Progress
) -> Iterator[tuple[Any, ...]]:
    """Yield ``block, gene, cell, count`` of one row group after the other."""
    import pyarrow.parquet as pq

    for done, name in enumerate(files):
        progress("Reading files of counts", done, len(files))
        with store.files.open("counts", name) as opened:
            for batch in pq.ParquetFile(opened).iter_batches(ROW_GROUP):
                yield tuple(batch[column].to_numpy() for column in counts_schema().names)
    progress("Reading files of counts", len(files), len(files))


def _append(path: Path, rows: NDArray[np.int32]) -> None:
    """Add ``gene, cell, count`` rows to an unfinished block: number of rows, number of bytes, packed bytes."""
    import numpy as np
    import pyarrow as pa

    packed = pa.Codec("lz4").compress(np.ascontiguousarray(rows), asbytes=True)
    with path.open("ab") as file:
        file.write(np.array([rows.shape[1], len(packed)], np.int64).tobytes())
        file.write(packed)


def _unpacked(path: Path) -> Iterator[NDArray[np.int32]]:
    import numpy as np
    import pyarrow as pa

    if not path.exists():  # cells without any count
        return
    with path.open("rb") as file:
        while header := file.read(16):
            rows, size = np.frombuffer(header, np.int64).tolist()
            plain = pa.Codec("lz4").decompress(file.read(size), rows * 12, asbytes=True)
            yield np.frombuffer(plain, np.int32).reshape(3, rows)


def _sorted_block(places: _Places, number: int) -> tuple[Any, Any, Any]:
    """``gene, cell, count`` of a new block by gene, then cell; its sums are those of the cells table."""
    import numpy as np
    from scipy.sparse import coo_array

    path = places.work / f"block-{number}"
    rows = np.concatenate([np.empty((3, 0), np.int32), *_unpacked(path)], axis=1)
    path.unlink(missing_ok=True)
    gene, cell, count = rows
    size = places.block_cells
    expected = places.depth[number * size : (number + 1) * size]
    sums = np.bincount(cell, weights=count, minlength=len(expected)).astype(np.int64)
    if ((expected >= 0) & (sums != expected)).any():
        raise StoreError("The counts of a cell do not sum to its n_counts. Run `tosg cells verify`.")
    # A counting sort; scipy would add up two counts of one gene in one cell.
    matrix = coo_array((count, (gene, cell)), shape=(int(gene.max(initial=-1)) + 1, size)).tocsr()
    matrix.sort_indices()
    if matrix.nnz != len(count):
        raise StoreError("A cell has two counts of one gene. Run `tosg cells verify`.")
    genes = np.repeat(np.arange(matrix.shape[0], dtype=np.int32), np.diff(matrix.indptr))
    return genes, matrix.indices.astype(np.int32, copy=False), matrix.data


# --------------------------------------------------------------------------- cells


def _write_cells(
    store: AbundanceStore, record: Record, places: _Places, progress: Progress
) -> tuple[list[StoredFile], pa.Schema]:
    """Write the cells in their new order and places."""
    import pyarrow as pa

    schema = store.cells_schema(record.version)
    written: list[StoredFile] = []
    done, total = 0, len(places.new)
    # The text holds checked column names only.
    query = f"SELECT * FROM cells ORDER BY {places.order}"  # noqa: S608
    batches = places.connection.sql(query).to_arrow_reader(CELLS_ROW_GROUP)
    while done < total:
        part, first = places.work / "cells", done
        with cells_writer(part, schema) as writer:
            while done < total and done - first < CELLS_PER_FILE:
                progress("Writing cells", done, total)
                table = _placed(pa.Table.from_batches([batches.read_next_batch()]), done, places, schema)
                writer.write_table(table, row_group_size=CELLS_ROW_GROUP)
                done += len(table)
        written.append(store.files.put("cells", part, "cells", done - first))
    progress("Writing cells", total, total)
    return written, schema


def _placed(cells: pa.Table, first: int, places: _Places, schema: pa.Schema) -> pa.Table:
    """Cells in the columns of ``schema``, ``block`` and ``cell`` counted on from ``first``."""
    import numpy as np
    import pyarrow as pa

    place = np.arange(first, first + len(cells))
    now = {"block": place // places.block_cells, "cell": place % places.block_cells}
    columns = []
    for field in schema:
        if field.name in now:
            columns.append(pa.array(now[field.name].astype(np.int32)))
        elif field.name in cells.column_names:
            columns.append(cells[field.name].cast(field.type))
        else:  # what an add brought that was killed before its commit
            columns.append(pa.nulls(len(cells), field.type))
    return pa.table(columns, schema=schema)
