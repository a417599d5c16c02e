"""The store in order: cells of many adds sorted together into full blocks, as a new version; older ones stay.

Cells are ordered by organ, disease, cell type and ``cell_id``, cut into blocks, and their counts follow::

    cells --sort--> places --> new cells files
    counts files --by new block--> unfinished blocks --sort--> new counts files --> log of counts --> log of cells

The sort of the cells spills to disk, counts pass through files, one per new block; one block is held in memory.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance_store import PART
from tosg_graph.cell_blocks import BLOCK_CELLS
from tosg_graph.cell_places import CellPlaces, cell_places
from tosg_graph.counts_files import FILE_BLOCKS, ROW_GROUP, counts_schema, write_counts_files
from tosg_graph.errors import StoreError
from tosg_graph.layers import FIRST_PROTEIN, apart, side_by_side
from tosg_graph.progress import Progress, silent
from tosg_graph.store_files import CELLS_ROW_GROUP, StoredFile, recorded_sha256, write_cells_file
from tosg_graph.store_log import Record

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

CELLS_PER_FILE = 64 * BLOCK_CELLS
BLOCKS_AT_ONCE = 512  # unfinished blocks on disk; more take another pass over the counts


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


def compact(store: AbundanceStore, progress: Progress = silent) -> Compaction:
    """Sort all cells of the store together, and write their counts anew in full blocks.

    Every answer stays the same; ``cell_id`` is permanent, ``block`` and ``cell`` change. Needs free disk for the new
    files and for up to `BLOCKS_AT_ONCE` blocks.

    Raises
    ------
    StoreError
        If the store is empty, locked, full or damaged; it is as it was.
    """
    with store.writer():
        record = store.log.record()
        if record is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        with (
            tempfile.TemporaryDirectory(prefix=".compact-", suffix=PART, dir=store.folder) as name,
            cell_places(store, record, Path(name), progress) as places,
        ):
            return _compacted(store, record, places, Path(name), progress)


def _compacted(
    store: AbundanceStore, record: Record, places: CellPlaces, work: Path, progress: Progress
) -> Compaction:
    before = record.version
    old_counts = store.log.file_names("counts", before.counts)
    sizes = [
        *store.log.file_sizes("counts", before).values(),
        *store.log.file_sizes("cells", before).values(),
    ]
    unchanged = Compaction(
        before=before,
        written=None,
        cells=places.cells,
        blocks_before=record.blocks,
        blocks=record.blocks,
        files_before=len(sizes),
        files=len(sizes),
        bytes_before=sum(sizes),
        bytes=sum(sizes),
    )
    filled = len(old_counts) == len(_file_ranges(0, places.blocks))
    if places.in_order and filled and all(map(recorded_sha256, old_counts)):
        return unchanged
    counts, total = _write_counts(store, old_counts, places, work, progress)
    expected = sum(row["counts"] + (row.get("protein_counts") or 0) for row in record.datasets)
    if total != expected:
        raise StoreError(
            f"The counts of {store} sum to {total:,} but {expected:,} were added. Run `tosg cells verify`."
        )
    cells, schema = _write_cells(store, record, places, work, progress)
    version = store.log.register_counts(counts, before.counts, instead=True)
    said = {
        "counts": version,
        "axis": _joined(store, "axis", store.axis_rows, before),
        "axis_sha256": before.axis_sha256,
        "measured": _joined(store, "measured", store.measured, before),
        "blocks": places.blocks,
        "datasets": record.datasets,
        "operation": "compact",
    }
    written = store.log.register_cells(cells, schema, said, instead=True)
    new = (*counts, *cells)
    size = sum(file.size for file in new)
    return replace(unchanged, written=written, blocks=places.blocks, files=len(new), bytes=size)


def _joined(
    store: AbundanceStore, name: str, rows: Callable[[StoreVersion], pa.Table], version: StoreVersion
) -> int:
    """Put the rows of a small table into one file, where each add left its own, and return its new version."""
    from deltalake import write_deltalake

    if len(store.log.file_names(name, version.of(name))) == 1:
        return version.of(name)
    write_deltalake(store.files.table(name), rows(version), mode="overwrite")
    return store.log.newest(name)


# --------------------------------------------------------------------------- counts


def _file_ranges(first: int, last: int) -> list[range]:
    """Blocks of each file: as few files as can be, as equal as can be."""
    count = -(-(last - first) // FILE_BLOCKS)
    bounds = [first + (last - first) * i // count for i in range(count + 1)] if count else []
    return [range(a, b) for a, b in pairwise(bounds)]


def _write_counts(
    store: AbundanceStore, files: Sequence[str], places: CellPlaces, work: Path, progress: Progress
) -> tuple[list[StoredFile], int]:
    """Write the counts in their new blocks; return the files, and the sum of all counts as read back."""
    found: list[StoredFile] = []
    total = 0
    at_once = max(FILE_BLOCKS, BLOCKS_AT_ONCE // FILE_BLOCKS * FILE_BLOCKS)
    for first in range(0, places.blocks, at_once):
        some = range(first, min(first + at_once, places.blocks))
        filled = _distribute(store, files, places, some, work, progress)
        for numbers in _file_ranges(some.start, some.stop):
            progress("Writing blocks", numbers.start, places.blocks)
            blocks = (_sorted_block(places, number, filled[number], work) for number in numbers)
            written = write_counts_files(work, f"blocks-{numbers.start:05d}", blocks, numbers.start)
            found += [
                store.files.put("counts", path, path.stem[:-5], rows) for path, rows in written.rows.items()
            ]
            total += written.total
    progress("Writing blocks", places.blocks, places.blocks)
    return found, total


def _distribute(
    store: AbundanceStore,
    files: Sequence[str],
    places: CellPlaces,
    blocks: range,
    work: Path,
    progress: Progress,
) -> Counter[int]:
    """Append each count to the unfinished block that it will be in, and return the number of counts of each.

    Those of no block in ``blocks`` are passed over.
    """
    import numpy as np

    filled: Counter[int] = Counter()
    for block, gene, cell, count in _read_counts(store, files, progress):
        number, now = places.split(places.of(block, cell))
        order = np.argsort(number, kind="stable")  # genes stay in order, which packs better
        rows = np.stack([gene, now, count])[:, order]
        bounds = np.searchsorted(number[order], range(blocks.start, blocks.stop + 1)).tolist()
        for target, (a, b) in zip(blocks, pairwise(bounds), strict=True):
            if b > a:
                _append(work / f"block-{target}", rows[:, a:b])
                filled[target] += b - a
    return filled


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


def _unfinished(path: Path, rows: int) -> NDArray[np.int32]:
    """Read an unfinished block back, and remove its file: int32, shape ``(3, rows)``."""
    import numpy as np
    import pyarrow as pa

    found = np.empty((3, rows), np.int32)
    done = 0
    if rows:  # cells may have no counts at all
        with path.open("rb") as file:
            while header := file.read(16):
                some, size = np.frombuffer(header, np.int64).tolist()
                plain = pa.Codec("lz4").decompress(file.read(size), some * 12, asbytes=True)
                found[:, done : done + some] = np.frombuffer(plain, np.int32).reshape(3, some)
                done += some
        path.unlink()
    return found


def _sorted_block(places: CellPlaces, number: int, rows: int, work: Path) -> tuple[Any, Any, Any]:
    """``gene, cell, count`` of a new block by gene, then cell; its sums are those of the cells table."""
    import numpy as np
    from scipy.sparse import coo_array

    gene, cell, count = _unfinished(work / f"block-{number}", rows)
    expected = places.n_counts[places.bounds[number] : places.bounds[number + 1]]
    sums = np.bincount(cell, weights=count, minlength=len(expected)).astype(np.int64)
    if ((expected >= 0) & (sums != expected)).any():
        raise StoreError("The counts of a cell do not sum to its n_counts. Run `tosg cells verify`.")
    # A counting sort; scipy would add up two counts of one gene in one cell.
    genes_end = int(gene[gene < FIRST_PROTEIN].max(initial=-1)) + 1
    gene = side_by_side(gene, genes_end)
    shape = (int(gene.max(initial=-1)) + 1, len(expected))
    matrix = coo_array((count, (gene, cell)), shape=shape).tocsr()
    matrix.sort_indices()
    if matrix.nnz != rows:
        raise StoreError("A cell has two counts of one gene. Run `tosg cells verify`.")
    genes = np.repeat(np.arange(shape[0], dtype=np.int32), np.diff(matrix.indptr))
    return apart(genes, genes_end), matrix.indices.astype(np.int32, copy=False), matrix.data


# --------------------------------------------------------------------------- cells


def _write_cells(
    store: AbundanceStore, record: Record, places: CellPlaces, work: Path, progress: Progress
) -> tuple[list[StoredFile], pa.Schema]:
    """Write the cells in their new order and places."""
    import pyarrow as pa

    schema = store.log.cells_schema(record.version)
    written: list[StoredFile] = []
    done, total = 0, places.cells
    batches = places.batches(CELLS_ROW_GROUP)

    def run(first: int) -> Iterator[pa.RecordBatch]:
        nonlocal done
        while done < total and done - first < CELLS_PER_FILE:
            progress("Writing cells", done, total)
            table = _placed(pa.Table.from_batches([next(batches)]), done, places, schema)
            done += len(table)
            yield from table.to_batches()

    while done < total:
        part = work / "cells"
        rows = write_cells_file(part, pa.RecordBatchReader.from_batches(schema, run(done)))
        written.append(store.files.put("cells", part, "cells", rows))
    progress("Writing cells", total, total)
    return written, schema


def _placed(cells: pa.Table, first: int, places: CellPlaces, schema: pa.Schema) -> pa.Table:
    """Cells in the columns of ``schema``, ``block`` and ``cell`` counted on from ``first``."""
    import numpy as np
    import pyarrow as pa

    block, cell = places.split(np.arange(first, first + len(cells)))
    now = {"block": pa.array(block.astype(np.int32)), "cell": pa.array(cell)}
    columns = []
    for field in schema:
        if field.name in now:
            columns.append(now[field.name])
        elif field.name in cells.column_names:
            columns.append(cells[field.name].cast(field.type))
        else:  # what an add brought that was killed before its commit
            columns.append(pa.nulls(len(cells), field.type))
    return pa.table(columns, schema=schema)
