"""Arrow files of counts cell by cell: what one file of counts holds, laid out for reading all genes of some cells.

One row per cell, in the order of blocks and cells: ``block``, ``cell``, and three lists per layer, ``gene`` (axis
column, rising), ``gene_count`` (the count, or 255 where it is 255 or more) and ``gene_large`` (those counts, in the
same order); ``protein``, ``protein_count`` and ``protein_large`` where the file has proteins. Nothing is compressed, so
that a file is read where it lies; no batch holds cells of two blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tosg_graph.errors import StoreError
from tosg_graph.layers import FIRST_PROTEIN, GENE, MEASURED_LAYERS, PROTEIN

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

BATCH_CELLS = 2048  # what is read at once from a bucket
LARGE = 255  # a count from here on stands in a list of its own: few do, so that the others take a byte
_METADATA = b"tosg"


@dataclass(frozen=True)
class RowsLayout:
    """What a file says of itself: the counts it was made of, and where each block begins."""

    counts: str  # name of the file of counts
    batch_cells: int  # in each batch of a block but its last
    blocks: dict[int, tuple[int, int]]  # block -> its first batch, its cells up to the last one with a count


class Lists(NamedTuple):
    """Counts of some cells in a layer, one after the other."""

    lengths: NDArray[np.int32]  # (cells,)
    columns: NDArray[np.integer[Any]]  # (values,), uint16 or int32
    counts: NDArray[np.uint8]  # (values,)
    large: NDArray[np.int32]  # (values of `LARGE`,)

    def fill(self, columns: NDArray[np.int32], counts: NDArray[np.int32]) -> None:
        """Write what they stand for into arrays of as many values."""
        import numpy as np

        np.copyto(columns, self.columns)
        np.copyto(counts, self.counts)
        if len(self.large):
            counts[np.flatnonzero(self.counts == LARGE)] = self.large


def write_rows_file(path: Path, counts: pq.ParquetFile, name: str, genes: int) -> int:
    """Write the rows of a file of counts, one block in memory at a time; return how many cells they are.

    Parameters
    ----------
    name
        Of the file of counts, which the new one states.
    genes
        Size of the gene axis; up to 65,536 columns take two bytes each.

    Raises
    ------
    StoreError
        If a count is below 1, or what was written does not sum to the counts.
    """
    import numpy as np
    import pyarrow as pa

    groups = _groups(counts.metadata)
    said = {
        "format_version": 1,
        "counts": name,
        "batch_cells": BATCH_CELLS,
        "blocks": [(b, cells) for b, (_, cells, _) in groups.items()],
    }
    has_proteins = any(proteins for *_, proteins in groups.values())
    gene = pa.uint16() if genes <= 2**16 else pa.int32()
    schema = _schema(gene, has_proteins).with_metadata({_METADATA: json.dumps(said).encode()})
    total = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for block, (numbers, cells, _) in groups.items():
            table = counts.read_row_groups(numbers, columns=["gene", "cell", "count"])
            values = [table[column].to_numpy() for column in table.column_names]
            del table
            if len(values[2]) and values[2].min() < 1:
                raise StoreError(f"counts/{name} has a count of {values[2].min()}. Run `tosg cells verify`.")
            total += int(values[2].sum(dtype=np.int64))
            for batch in _batches(values, block, cells, schema):
                writer.write_batch(batch)
    with pa.memory_map(str(path)) as file:
        found = sum(int(sums.sum()) for rows in row_sums(file) for sums in rows.sums.values())
    if found != total:
        raise StoreError(
            f"The rows of counts/{name} sum to {found:,}, its counts to {total:,}. Run this again."
        )
    return sum(cells for _, cells, _ in groups.values())


def layout(file: pa.NativeFile) -> RowsLayout:
    """Read what a file says of itself.

    Raises
    ------
    StoreError
        If it is none of ours, or of a newer format.
    """
    import pyarrow as pa

    said = json.loads((pa.ipc.open_file(file).schema.metadata or {}).get(_METADATA, b"{}"))
    if said.get("format_version") != 1:
        raise StoreError(
            f"Rows of format {said.get('format_version')} cannot be read; this version reads 1. Update tosg-graph, "
            "or make them anew: tosg cells rows --remove, then tosg cells rows"
        )
    blocks, first = {}, 0
    for block, cells in said["blocks"]:
        blocks[block] = (first, cells)
        first += -(-cells // said["batch_cells"])
    return RowsLayout(said["counts"], said["batch_cells"], blocks)


def lists(batch: pa.RecordBatch, layer: str, rows: NDArray[np.int64]) -> Lists:
    """Counts of some rows of a batch, rising, in a layer; a run of rows is not copied.

    Raises
    ------
    ValueError
        If a list does not lie inside what the file holds: it is damaged.
    """
    import numpy as np

    if layer == PROTEIN and PROTEIN not in batch.schema.names:
        none = np.zeros(len(rows), np.int32)
        return Lists(none, none[:0], none[:0].astype(np.uint8), none[:0])
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    firsts, lasts = rows[np.concatenate([[0], breaks])], rows[np.concatenate([breaks - 1, [len(rows) - 1]])]
    parts = [batch[f"{layer}{what}"] for what in ("", "_count", "_large")]
    lengths = np.diff(parts[0].offsets.to_numpy())[rows]
    return Lists(lengths, *(_values(part, firsts, lasts) for part in parts))


def _values(part: pa.ListArray, firsts: NDArray[np.int64], lasts: NDArray[np.int64]) -> NDArray[Any]:
    """The values of runs of lists. Arrow's own ``take`` needs ten times as long for them."""
    import numpy as np

    part.validate()  # looks at the ends alone
    offsets, values = part.offsets.to_numpy(), part.values.to_numpy()
    if (np.diff(offsets) < 0).any():
        raise ValueError("a list ends before it begins")
    bounds = zip(offsets[firsts].tolist(), offsets[lasts + 1].tolist(), strict=True)
    runs = [values[start:stop] for start, stop in bounds]
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


class RowSums(NamedTuple):
    """Sums of the cells of one batch."""

    block: NDArray[np.int32]
    cell: NDArray[np.int32]
    sums: dict[str, NDArray[np.int64]]  # layer -> counts of each cell
    features: dict[str, NDArray[np.int32]]  # layer -> how many of its features have a count


def row_sums(file: pa.NativeFile) -> Iterator[RowSums]:
    """Add up the cells of a file, one batch after the other."""
    import numpy as np
    import pyarrow as pa

    opened = pa.ipc.open_file(file)
    for number in range(opened.num_record_batches):
        batch = opened.get_batch(number)
        sums, features = {}, {}
        for layer in MEASURED_LAYERS:
            held = lists(batch, layer, np.arange(len(batch)))
            columns, counts = (np.empty(len(held.columns), np.int32) for _ in range(2))
            held.fill(columns, counts)
            bounds = np.concatenate([[0], np.cumsum(held.lengths)])
            passed = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
            sums[layer], features[layer] = np.diff(passed[bounds]), held.lengths
        yield RowSums(batch["block"].to_numpy(), batch["cell"].to_numpy(), sums, features)


# --------------------------------------------------------------------------- writing


def _groups(footer: pq.FileMetaData) -> dict[int, tuple[list[int], int, bool]]:
    """Block -> its row groups, its cells up to the last one with a count, and whether it has proteins."""
    found: dict[int, tuple[list[int], int, bool]] = {}
    for number in range(footer.num_row_groups):
        part = footer.row_group(number)
        block, gene, cell = (part.column(at).statistics for at in range(3))
        numbers, cells, proteins = found.get(block.min, ([], 0, False))
        proteins |= gene.max >= FIRST_PROTEIN
        found[block.min] = ([*numbers, number], max(cells, cell.max + 1), proteins)
    return found


def _schema(gene: pa.DataType, has_proteins: bool) -> pa.Schema:
    import pyarrow as pa

    fields: list[Any] = [("block", pa.int32()), ("cell", pa.int32())]
    for layer, kind in ((GENE, gene), (PROTEIN, pa.int32()))[: 1 + has_proteins]:
        kinds = (("", kind), ("_count", pa.uint8()), ("_large", pa.int32()))
        fields += [(f"{layer}{what}", pa.list_(of)) for what, of in kinds]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


def _batches(
    values: list[NDArray[np.int32]], block: int, cells: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Batches of one block; ``values`` are gene, cell and count, sorted by gene, and are given up."""
    import numpy as np
    import pyarrow as pa

    gene, cell, count = values
    values.clear()
    middle = int(np.searchsorted(gene, FIRST_PROTEIN))
    matrices = {GENE: _by_cell(gene[:middle], cell[:middle], count[:middle], cells)}
    if PROTEIN in schema.names:
        proteins = gene[middle:] - np.int32(FIRST_PROTEIN)
        matrices[PROTEIN] = _by_cell(proteins, cell[middle:], count[middle:], cells)
    del gene, cell, count
    for start in range(0, cells, BATCH_CELLS):
        stop = min(cells, start + BATCH_CELLS)
        numbers = np.arange(start, stop, dtype=np.int32)
        columns: list[Any] = [pa.array(np.full_like(numbers, block)), pa.array(numbers)]
        for layer, matrix in matrices.items():
            kind = schema.field(layer).type.value_type.to_pandas_dtype()
            columns += _columns(matrix, slice(start, stop), kind)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _by_cell(
    gene: NDArray[np.int32], cell: NDArray[np.int32], count: NDArray[np.int32], cells: int
) -> csr_array[Any, Any]:
    """Rows, each in the order of the columns, by a counting sort."""
    from scipy.sparse import coo_array

    columns = coo_array((count, (cell, gene)), shape=(cells, int(gene.max(initial=-1)) + 1))
    columns.has_canonical_format = True  # nothing to add up, so nothing to sort for it
    return columns.tocsr()


def _columns(matrix: csr_array[Any, Any], rows: slice, kind: type) -> list[pa.Array]:
    """Columns of a layer, their counts and the large ones among them, as lists per cell."""
    import numpy as np
    import pyarrow as pa

    bounds = matrix.indptr[rows.start : rows.stop + 1]
    here = slice(bounds[0], bounds[-1])
    offsets = (bounds - bounds[0]).astype(np.int32)
    counts = matrix.data[here]
    large = np.flatnonzero(counts >= LARGE)
    few = np.searchsorted(large, offsets).astype(np.int32)
    parts: tuple[tuple[NDArray[np.int32], NDArray[Any]], ...] = (
        (offsets, matrix.indices[here].astype(kind)),
        (offsets, np.minimum(counts, LARGE).astype(np.uint8)),
        (few, counts[large]),
    )
    return [pa.ListArray.from_arrays(pa.array(starts), pa.array(values)) for starts, values in parts]
