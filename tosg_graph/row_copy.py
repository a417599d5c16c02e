"""The counts of a store once more, cell by cell: an optional copy that makes reading all genes of some cells fast.

One file per file of counts, in the folder ``rows`` beside the tables: ``<sha256 of the counts>-<its own>.arrow``. What
a file of counts says never changes, so its copy is never out of date. Counts without a copy are read as ever.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.abundance_store import PART
from tosg_graph.copied_rows import ROWS
from tosg_graph.errors import StoreError
from tosg_graph.progress import Progress, silent
from tosg_graph.row_files import write_rows_file
from tosg_graph.store_files import recorded_sha256

if TYPE_CHECKING:
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion


@dataclass(frozen=True)
class RowCopy:
    """What of the counts of the newest version has a copy, and what was done about it.

    Parameters
    ----------
    counts_files, copied_files
        Files of counts, and how many of them have a copy.
    bytes
        Of these copies.
    cells
        Cells of the version.
    written, removed
        Files that this call wrote or removed.
    """

    counts_files: int
    copied_files: int
    bytes: int
    cells: int
    written: int = 0
    removed: int = 0


def copy_rows(store: AbundanceStore, progress: Progress = silent) -> RowCopy:
    """Write the copy of each file of counts of the newest version that has none.

    Each file takes effect when it is complete; one block at a time is held in memory.

    Raises
    ------
    StoreError
        If the store is empty, locked or full, or its counts are damaged. Files that were finished stay.
    """
    with store.locked():
        version = _newest(store)
        held, names = copies(store), store.log.file_names("counts", version.counts)
        unnamed = [name for name in names if recorded_sha256(name) is None]
        if unnamed:
            raise StoreError(
                f"counts/{unnamed[0]} has no checksum in its name, which a copy is known by. Run `tosg cells compact` "
                "first."
            )
        missing = [name for name in names if recorded_sha256(name) not in held]
        genes = len(store.axis(version))
        with tempfile.TemporaryDirectory(prefix=".rows-", suffix=PART, dir=store.folder) as work:
            for done, name in enumerate(missing):
                progress("Writing rows", done, len(missing))
                _copy(store, name, genes, Path(work) / "rows")
        progress("Writing rows", len(missing), len(missing))
        return _state(store, version, written=len(missing))


def remove_rows(store: AbundanceStore) -> RowCopy:
    """Remove the copy, of all versions.

    Raises
    ------
    StoreError
        If the store is empty or locked.
    """
    with store.locked():
        version, names = _newest(store), store.files.listing(ROWS)
        for name in names:
            store.files.remove(ROWS, name)
        return _state(store, version, removed=len(names))


def row_copy(store: AbundanceStore) -> RowCopy | None:
    """What of the newest version (or the pinned one) has a copy; None for an empty store."""
    version = store.version()
    return None if version is None else _state(store, version)


def copies(store: AbundanceStore) -> dict[str, str]:
    """Sha256 of a file of counts -> the name of its copy."""
    return {
        name.partition("-")[0]: name for name in sorted(store.files.listing(ROWS)) if recorded_sha256(name)
    }


def copies_of(store: AbundanceStore, counts: Iterable[str]) -> list[str]:
    """Names of the copies of some files of counts; of those that have one."""
    held = copies(store)
    return [held[sha256] for sha256 in map(recorded_sha256, counts) if sha256 in held]


def _copy(store: AbundanceStore, name: str, genes: int, part: Path) -> None:
    import pyarrow.parquet as pq

    with store.files.open("counts", name) as opened:
        cells = write_rows_file(
            part, pq.ParquetFile(opened, pre_buffer=not store.files.is_local), name, genes
        )
    store.files.put(ROWS, part, str(recorded_sha256(name)), cells, "arrow")


def _newest(store: AbundanceStore) -> StoreVersion:
    version = store.version()
    if version is None:
        raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
    return version


def _state(store: AbundanceStore, version: StoreVersion, written: int = 0, removed: int = 0) -> RowCopy:
    names, sizes = store.log.file_names("counts", version.counts), store.files.listing(ROWS)
    copied = copies_of(store, names)
    cells = sum(store.datasets()["cells"].to_pylist())
    return RowCopy(len(names), len(copied), sum(sizes[name] for name in copied), cells, written, removed)
