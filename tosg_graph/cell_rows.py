"""Counts of some cells as compressed rows, decoded straight from the row groups that hold their blocks.

Inside a block counts lie gene by gene, so what is kept of them is compressed columns as it comes, and one counting sort
makes rows of them, sorted. In SQL the same is a join over every count, and a sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from tosg_graph.threads import threads

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.store_files import StoreFiles

    Ints = NDArray[np.int32]

_BATCH = 2**17  # counts decoded at a time: what is made of them stays in the cache of a core
_PIECE = 2**20


class RowGroup(NamedTuple):
    """One row group of counts: all of one block, sorted by gene, then cell."""

    file: str
    footer: pq.FileMetaData
    number: int
    genes: tuple[int, int]  # first and last
    last_cell: int


class Kept(NamedTuple):
    """What is kept of some counts: runs of one gene each, one after the other."""

    slots: Ints  # (runs,) column of the answer
    lengths: NDArray[np.int64]  # (runs,)
    rows: Ints  # (counts,) row of the answer
    counts: NDArray[
        np.integer[Any]
    ]  # (counts,) in the narrowest type: little memory to touch, and to scatter


@dataclass(frozen=True)
class CountsBlocks:
    """The blocks of counts in some files of a store. Footers are read once, when they are first needed."""

    files: StoreFiles
    names: Sequence[str]

    def rows(self, block: Ints, cell: Ints, columns: Sequence[int], axis_size: int) -> csr_array[Any, Any]:
        """Raw counts, int32, shape ``(len(cell), len(columns))``, indices sorted.

        Parameters
        ----------
        block, cell
            Block of each cell, in the order of the answer, and its position in the block.
        columns
            Distinct columns of the gene axis, in the order of the answer.
        axis_size
            Columns of the whole axis.
        """
        import numpy as np
        import pyarrow as pa

        slots = np.full(axis_size, -1, np.int32)
        slots[columns] = np.arange(len(columns), dtype=np.int32)
        row_groups = self._with_rows(block, cell, slots)
        workers = max(1, min(pa.cpu_count(), len(row_groups)))
        with threads(workers) as pool:
            found = pool.map(lambda some: self._kept(some[0], some[1], slots), row_groups)
            kept = [part for parts in found for part in parts]
        return _rows(kept, (len(cell), len(columns)))

    def _with_rows(self, block: Ints, cell: Ints, slots: Ints) -> list[tuple[RowGroup, Ints]]:
        """Row groups that may hold something asked for, block by block, and the row of each cell of the block or -1."""
        import numpy as np

        found = []
        for number in np.unique(block).tolist():
            inside, held = np.flatnonzero(block == number), self._by_block.get(number, [])
            rows = np.full(max((group.last_cell for group in held), default=0) + 1, -1, np.int32)
            known = inside[cell[inside] < len(rows)]  # the others have no counts
            rows[cell[known]] = known
            found += [
                (group, rows) for group in held if (slots[group.genes[0] : group.genes[1] + 1] >= 0).any()
            ]
        return found

    def _kept(self, group: RowGroup, rows: Ints, slots: Ints) -> list[Kept]:
        import pyarrow.parquet as pq

        with self.files.open("counts", group.file) as opened:
            file = pq.ParquetFile(opened, metadata=group.footer, pre_buffer=not self.files.is_local)
            batches = file.iter_batches(
                _BATCH, row_groups=[group.number], columns=["gene", "cell", "count"], use_threads=False
            )
            return [_kept(batch, rows, slots) for batch in batches]

    @cached_property
    def _by_block(self) -> dict[int, list[RowGroup]]:
        import pyarrow.parquet as pq

        found: dict[int, list[RowGroup]] = {}
        for name in self.names:
            with self.files.open("counts", name) as opened:
                footer = pq.read_metadata(opened)
            for number in range(footer.num_row_groups):
                part = footer.row_group(number)
                block, gene, cell = (part.column(at).statistics for at in range(3))
                group = RowGroup(name, footer, number, (gene.min, gene.max), cell.max)
                found.setdefault(block.min, []).append(group)
        return found


def _kept(batch: pa.RecordBatch, rows: Ints, slots: Ints) -> Kept:
    import numpy as np

    gene, cell, count = (column.to_numpy() for column in batch.columns)
    if len(gene) and gene[-1] >= len(slots):  # proteins lie behind all genes
        genes = np.searchsorted(gene, len(slots))
        gene, cell, count = gene[:genes], cell[:genes], count[:genes]
    starts, lengths = _runs(gene)
    wanted = slots[gene[starts]] >= 0
    if not wanted.all():
        asked = np.repeat(wanted, lengths)
        gene, cell, count = gene[asked], cell[asked], count[asked]
    row = _take(rows, cell)
    here = row >= 0
    gene = gene[here]
    starts, lengths = _runs(gene)
    counts = count[here]
    return Kept(
        slots[gene[starts]], lengths, row[here], counts.astype(np.min_scalar_type(counts.max(initial=0)))
    )


def _runs(gene: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of one gene starts, and how long it is."""
    import numpy as np

    if not len(gene):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(gene[1:] != gene[:-1]) + 1])
    return starts, np.diff(starts, append=len(gene))


def _take(values: Ints, places: Ints) -> Ints:
    """``values[places]``; Arrow's does not make 64-bit places first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: Ints = pc.take(pa.array(values), pa.array(places)).to_numpy()
    return found


def _rows(kept: list[Kept], shape: tuple[int, int]) -> csr_array[Any, Any]:
    """Rows out of runs, which are compressed columns that rise with the gene in each block; empties ``kept``."""
    import numpy as np
    from scipy.sparse import csc_array, csr_array

    if not kept:
        return csr_array(shape, dtype=np.int32)
    slots, lengths = (np.concatenate([part[at] for part in kept]) for at in range(2))
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.concatenate([part.rows for part in kept], dtype=np.int32)
    counts = np.concatenate([part.counts for part in kept])
    kept.clear()
    if bounds[-1] < 2**31:
        bounds = bounds.astype(np.int32)
    runs = csc_array((counts, rows, bounds), shape=(shape[0], len(slots))).tocsr()
    del rows, counts
    for start in range(0, len(runs.indices), _PIECE):  # in place: no second copy
        piece = runs.indices[start : start + _PIECE]
        piece[:] = _take(slots, piece)
    found = csr_array((runs.data.astype(np.int32), runs.indices, runs.indptr), shape=shape)
    if not found.data.all():
        found.eliminate_zeros()
    found.sort_indices()
    return found
