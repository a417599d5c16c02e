"""The cells of a file in block order, with their places and sums: written before its counts are read, read after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.cell_blocks import block_order
from tosg_graph.types import CHUNK_CELLS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_FILE = "cells.arrow"


def write_cells(cells: pa.Table, folder: Path) -> NDArray[np.int64]:
    """Write the cells in block order, where they take no memory while counts are read; return that order."""
    import pyarrow as pa

    order = block_order(cells)
    with pa.ipc.new_stream(folder / _FILE, cells.schema) as out:
        for start in range(0, len(order), CHUNK_CELLS):
            out.write_table(cells.take(pa.array(order[start : start + CHUNK_CELLS])))
    return order


def placed_cells(
    folder: Path, block_cells: Sequence[int], sums: Mapping[str, pa.Array], first_block: int
) -> pa.RecordBatchReader:
    """Read them back with ``block`` and ``cell`` (position in the block) after ``cell_id``, and their sums.

    Parameters
    ----------
    block_cells
        Cells of each block; the first is number ``first_block``.
    sums
        Columns to fill in, in block order.
    """
    import numpy as np
    import pyarrow as pa

    sizes = np.array(block_cells)
    block = (first_block + np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    cell = (np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)).astype(np.int32)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        with pa.ipc.open_stream(pa.OSFile(str(folder / _FILE))) as cells:
            for batch in cells:
                some = slice(start, start + len(batch))
                columns = {name: _plain(batch[name]) for name in batch.schema.names}
                columns |= {name: values[some] for name, values in sums.items()}
                places = {"block": pa.array(block[some]), "cell": pa.array(cell[some])}
                yield pa.RecordBatch.from_pydict({"cell_id": columns.pop("cell_id"), **places, **columns})
                start += len(batch)

    made = batches()
    first = next(made)
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], made))


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if hasattr(values, "dictionary") else values
