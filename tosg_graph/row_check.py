"""What is wrong with the copy of a store's counts cell by cell: damaged or foreign files, sums that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tosg_graph.copied_rows import ROWS
from tosg_graph.layers import GENE, PROTEIN
from tosg_graph.progress import Progress, silent
from tosg_graph.row_copy import copies, copies_of
from tosg_graph.row_files import row_sums
from tosg_graph.store_files import recorded_sha256

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.row_files import RowSums
    from tosg_graph.store_log import Record

CELLS_SUMS = {  # column of the cells table -> what it is the sum of
    "n_counts": ("sums", GENE),
    "n_genes": ("features", GENE),
    "n_protein_counts": ("sums", PROTEIN),
    "n_proteins": ("features", PROTEIN),
}


def wrong_rows(
    store: AbundanceStore,
    record: Record,
    records: Sequence[Record],
    listing: Mapping[str, int],
    *,
    cells: bool,
    progress: Progress = silent,
) -> Iterator[tuple[str, str]]:
    """Yield each file of the copy that is wrong, and what is wrong with it.

    Parameters
    ----------
    record, records
        The version whose cells the sums are compared with, and all versions: a copy may be of the counts of any.
    listing
        The files, from before ``records`` were read: a copy that is being written belongs to counts that are known.
    cells
        Whether the files of the cells table are sound, so that sums can be compared with them.
    """
    import pyarrow as pa

    known = set(copies_of(store, store.log.named_files("counts", records)))
    own = set(copies_of(store, store.log.file_names("counts", record.version.counts)))
    held = copies(store)
    for done, name in enumerate(sorted(listing)):
        progress("Checking rows", done, len(listing))
        if name not in known:
            twice = name != held.get(name.partition("-")[0], name)
            why = "there is another of its counts" if twice else "no version has its counts"
            yield name, f"foreign: {why}; `tosg cells vacuum` removes it"
            continue
        try:
            if store.files.sha256(ROWS, name) != recorded_sha256(name):
                yield name, _repair("damaged: its sha256 is not the one in its name")
            elif name in own and cells and (problem := _difference(store, record, name)):
                yield name, _repair(problem)
        except (OSError, LookupError, ValueError, pa.ArrowException) as error:
            yield name, _repair(f"damaged: {' '.join(str(error).split())}")
    progress("Checking rows", len(listing), len(listing))


def _repair(problem: str) -> str:
    return f"{problem}; `tosg cells rows --remove` and `tosg cells rows` make it anew"


def _difference(store: AbundanceStore, record: Record, name: str) -> str | None:
    """Say which cell of a file has other sums than the cells table."""
    from tosg_graph.store_connection import connection_to

    connection = connection_to(store, store.cells_files(record.version))
    try:
        columns = {row[0] for row in connection.execute("DESCRIBE cells").fetchall()}
        compared = [column for column in CELLS_SUMS if column in columns]
        with store.files.mapped(ROWS, name) as file:
            for found in row_sums(file):
                if problem := _compared(found, _stated(connection, found, compared), compared):
                    return problem
    finally:
        connection.close()
    return None


def _stated(connection: duckdb.DuckDBPyConnection, found: RowSums, compared: Sequence[str]) -> pa.Table:
    """What the cells table says of the cells of a batch."""
    # The text holds fixed names only.
    names = ", ".join(("cell_id", *compared))
    text = f"SELECT {names} FROM cells WHERE block = ? AND cell BETWEEN ? AND ? ORDER BY cell"  # noqa: S608
    given = [int(found.block[0]), int(found.cell[0]), int(found.cell[-1])]
    return connection.sql(text, params=given).to_arrow_table()


def _compared(found: RowSums, stated: pa.Table, compared: Sequence[str]) -> str | None:
    import numpy as np

    if len(stated) != len(found.cell):
        return (
            f"block {found.block[0]} has {len(found.cell):,} cells in it, {len(stated):,} in the cells table"
        )
    for column in compared:
        what, layer = CELLS_SUMS[column]
        here, there = getattr(found, what)[layer], stated[column].fill_null(0).to_numpy()
        wrong = np.flatnonzero(here != there)
        if len(wrong):
            at = int(wrong[0])
            cell = stated["cell_id"][at].as_py()
            return f"{column} of cell {cell} is {here[at]} in it, {there[at]} in the cells table"
    return None
