"""Where each cell of a store lies, and where it will in blocks of alike cells; more cells than memory holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.cell_blocks import SORTED_BY, block_sizes
from tosg_graph.counts_files import ROW_GROUP
from tosg_graph.errors import StoreError
from tosg_graph.progress import Progress, silent

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.store_log import Record

SORT_MEMORY = "1GB"


@dataclass(frozen=True)
class CellPlaces:
    """Where each cell lay, and where it will.

    Parameters
    ----------
    start
        int64, shape ``(n_old_blocks + 1,)``: number of cells before each old block.
    new
        int64, shape ``(n_cells,)``: the place in the new order of the cell that was at ``start[block] + cell``.
    n_counts
        int64, shape ``(n_cells,)``, in the new order: sum of the cell's counts of all layers as the cells table has
        it, -1 unknown.
    bounds
        int64, shape ``(n_new_blocks + 1,)``: number of cells before each new block.
    in_order
        Whether nothing moves.
    order
        What SQL sorts the cells by; ``connection`` has them as the view ``cells``.
    """

    start: NDArray[np.int64]
    new: NDArray[np.int64]
    n_counts: NDArray[np.int64]
    bounds: NDArray[np.int64]
    in_order: bool
    connection: duckdb.DuckDBPyConnection
    order: str

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.new)

    @property
    def blocks(self) -> int:
        """Number of new blocks."""
        return len(self.bounds) - 1

    def of(self, block: NDArray[np.int32], cell: NDArray[np.int32]) -> NDArray[np.int64]:
        """Places in the new order, by old block and cell.

        Raises
        ------
        StoreError
            If no cell was there.
        """
        if len(block) and (block.min() < 0 or block.max() >= len(self.start) - 1 or cell.min() < 0):
            raise StoreError("A file of counts names a block that no cell is in. Run `tosg cells verify`.")
        was = self.start[block] + cell
        if (was >= self.start[block + 1]).any():
            raise StoreError("A file of counts names a place that no cell is at. Run `tosg cells verify`.")
        now: NDArray[np.int64] = self.new[was]
        return now

    def split(self, place: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """New block, and place in it, of places in the new order."""
        import numpy as np

        block = np.searchsorted(self.bounds, place, side="right") - 1
        return block, (place - self.bounds[block]).astype(np.int32)

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield all columns of the cells in the new order."""
        # The text holds checked column names only.
        yield from self.connection.sql(f"SELECT * FROM cells ORDER BY {self.order}").to_arrow_reader(rows)  # noqa: S608


@contextmanager
def cell_places(
    store: AbundanceStore, record: Record, work: Path, progress: Progress = silent
) -> Iterator[CellPlaces]:
    """Sort the cells of a version by organ, disease, cell type and ``cell_id``; null comes last.

    Parameters
    ----------
    work
        Folder for what the sort spills, and for the places, which are mapped into memory.

    Raises
    ------
    StoreError
        If cells lack a place or share one.
    """
    import numpy as np

    from tosg_graph.store_connection import connection_to

    connection = connection_to(
        store, store.cells_files(record.version), memory_limit=SORT_MEMORY, spill=work / "sort"
    )
    try:
        known = [row[0] for row in connection.execute("DESCRIBE cells").fetchall()]
        order = ", ".join(f"{name} NULLS LAST" for name in (*SORTED_BY, "cell_id") if name in known)
        start = _old_blocks(connection, store, record.blocks)
        count = int(start[-1])
        new, n_counts = (np.memmap(work / name, np.int64, "w+", shape=(count,)) for name in ("new", "depth"))
        n_genes = np.memmap(work / "genes", np.int32, "w+", shape=(count,))
        done, in_order = 0, True
        for batch in _sorted_places(connection, known, order):
            progress("Sorting cells", done, count)
            was = start[batch["block"].to_numpy()] + batch["cell"].to_numpy()
            here = slice(done, done + len(was))
            now = np.arange(here.start, here.stop)
            new[was] = now
            n_counts[here], n_genes[here] = batch["n_counts"].to_numpy(), batch["n_genes"].to_numpy()
            in_order = in_order and bool((was == now).all())
            done = here.stop
        progress("Sorting cells", count, count)
        bounds = np.concatenate([[0], np.cumsum(block_sizes(n_genes))]).astype(np.int64)
        in_order = in_order and np.array_equal(start, bounds)
        yield CellPlaces(start, new, n_counts, bounds, in_order, connection, order)
    finally:
        connection.close()


def _old_blocks(
    connection: duckdb.DuckDBPyConnection, store: AbundanceStore, blocks: int
) -> NDArray[np.int64]:
    """Number of cells before each block, and of all."""
    import numpy as np

    found = connection.sql(
        "SELECT block, count(*) AS cells, count(DISTINCT cell) AS places, min(cell) AS low, max(cell) AS high "
        "FROM cells GROUP BY block"
    ).to_arrow_table()
    block, cells, places, low, high = (column.to_numpy() for column in found.columns)
    sound = (cells == places) & (low == 0) & (high == cells - 1) & (block >= 0) & (block < blocks)
    if not len(found) or not sound.all():
        raise StoreError(f"Cells of {store} lack a place or share one. Run `tosg cells verify`.")
    sizes = np.zeros(blocks, np.int64)
    sizes[block] = cells
    return np.concatenate([[0], np.cumsum(sizes)])


def _sorted_places(connection: duckdb.DuckDBPyConnection, known: Sequence[str], order: str) -> Any:
    """``block``, ``cell``, ``n_counts`` and ``n_genes`` in the new order; -1 and 0 where it is not known."""
    n_counts = "coalesce(n_counts, -1)" if "n_counts" in known else "-1"
    n_genes = "coalesce(n_genes, 0)" if "n_genes" in known else "0"
    if "n_protein_counts" in known and "n_counts" in known:  # both layers move with the cell
        n_counts = "coalesce(n_counts + coalesce(n_protein_counts, 0), -1)"
        n_genes += " + coalesce(n_proteins, 0)"
    # The text holds checked column names only.
    text = f"SELECT block, cell, {n_counts} AS n_counts, {n_genes} AS n_genes FROM cells ORDER BY {order}"  # noqa: S608
    return connection.sql(text).to_arrow_reader(ROW_GROUP)
