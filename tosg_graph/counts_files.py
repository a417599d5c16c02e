"""Parquet files of counts: gene-major in blocks of cells, encodings set, no row group across two blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    Block = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]

ROW_GROUP = 2**20
FILE_BLOCKS = 16


@dataclass(frozen=True)
class CountsFiles:
    """Files of counts that are written and read back, but not part of a store yet."""

    rows: dict[Path, int]  # file -> rows in it
    blocks: int
    total: int  # sum of all counts, as read back


def counts_schema() -> pa.Schema:
    """``block``, ``gene`` (axis column), ``cell`` (position in the block), ``count``: int32, never null."""
    import pyarrow as pa

    return pa.schema(
        [pa.field(name, pa.int32(), nullable=False) for name in ("block", "gene", "cell", "count")]
    )


def write_counts_files(folder: Path, stem: str, blocks: Iterator[Block], first_block: int) -> CountsFiles:
    """Write blocks of counts into files of up to `FILE_BLOCKS` blocks, and read their sum back.

    Parameters
    ----------
    folder, stem
        The files are ``<folder>/<stem>-0000.parquet`` and so on.
    blocks
        Per block three int32 arrays ``gene`` (axis column), ``cell`` (position in the block), ``count``, sorted by
        gene, then cell.
    first_block
        Number of the first block; the others follow.
    """
    rows: dict[Path, int] = {}
    done = 0
    with ExitStack() as last:
        for block in blocks:
            if done % FILE_BLOCKS == 0:
                last.close()
                path = folder / f"{stem}-{len(rows):04d}.parquet"
                writer = last.enter_context(_writer(path))
                rows[path] = 0
            _write_block(writer, first_block + done, block)
            rows[path] += len(block[0])
            done += 1
            del block  # before the next one is made
    return CountsFiles(rows, done, sum(map(sum_of_counts, rows)))


def sum_of_counts(path: Path) -> int:
    """Sum of all counts in a file, one row group at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        groups = (file.read_row_group(at, columns=["count"])["count"] for at in range(file.num_row_groups))
        return sum(int(chunk.to_numpy().sum(dtype="int64")) for counts in groups for chunk in counts.chunks)


def _writer(path: Path) -> pq.ParquetWriter:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        path,
        counts_schema(),
        # Numbers of genes are next to nothing under either, and come out of lz4 in a third of the time. Positions of
        # cells without zstd would be read in half the time too, but a store of real cells would be 15 % larger.
        compression={"block": "zstd", "gene": "lz4", "cell": "zstd", "count": "zstd"},
        compression_level={"block": 3, "cell": 3, "count": 3},
        use_dictionary=False,
        write_page_index=True,
        column_encoding={
            "block": "DELTA_BINARY_PACKED",
            "gene": "DELTA_BINARY_PACKED",
            "cell": "DELTA_BINARY_PACKED",
            "count": "BYTE_STREAM_SPLIT",
        },
    )


def _write_block(writer: pq.ParquetWriter, number: int, block: Block) -> None:
    import numpy as np
    import pyarrow as pa

    # A write of its own per row group: none crosses a block, and the block's number is not held for all rows.
    for start in range(0, len(block[0]), ROW_GROUP):
        parts = [part[start : start + ROW_GROUP] for part in block]
        numbers = np.full(len(parts[0]), number, np.int32)
        writer.write_table(pa.table([numbers, *parts], schema=counts_schema()))
