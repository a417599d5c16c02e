"""Disk back from old versions: files that no kept version names are removed, newest and exported versions stay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.copied_rows import ROWS
from tosg_graph.errors import StoreError
from tosg_graph.history import RecordedExport, exports
from tosg_graph.progress import Progress, silent
from tosg_graph.row_copy import copies_of
from tosg_graph.store_log import TABLES, Record
from tosg_graph.store_versions import readable

if TYPE_CHECKING:
    from tosg_graph.abundance_store import AbundanceStore

KEEP_DAYS = 7.0
_DAY = 86_400_000  # milliseconds


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum removed, or would remove."""

    kept: dict[int, str]  # version -> why
    given_up: tuple[int, ...]  # versions that can be read before, and not after
    files: dict[str, int]  # "<table>/<name>" -> bytes
    missing_exports: tuple[Path, ...]  # recorded, but not where they were written
    dry_run: bool

    @property
    def bytes(self) -> int:
        """Bytes of the files."""
        return sum(self.files.values())


def vacuum(
    store: AbundanceStore,
    home: Path,
    *,
    keep_days: float | None = None,
    keep_versions: int | None = None,
    forget_missing: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
) -> Vacuumed:
    """Remove the files that no kept version of the store names, and the copies of counts that go or are gone.

    Kept are the newest version, those of the last ``keep_days`` days (counted from when the next one took its place)
    or the newest ``keep_versions``, and those that the exports recorded in ``home`` name.

    Parameters
    ----------
    keep_days, keep_versions
        Where both are given, a version is kept for either reason; without both, those of 7 days.
    forget_missing
        Do not keep what only exports name that are not where they were written.
    dry_run
        Remove nothing.

    Raises
    ------
    StoreError
        If the store is empty, or another process is writing.
    """
    if (keep_days is not None and keep_days < 0) or (keep_versions is not None and keep_versions < 1):
        raise StoreError("At least 0 days and 1 version are kept; the newest version always is.")
    if keep_days is None and keep_versions is None:
        keep_days = KEEP_DAYS

    def plan() -> Vacuumed:
        return _plan(store, exports(home), keep_days, keep_versions or 1, forget_missing, dry_run)

    if dry_run:
        return plan()
    with store.locked():
        planned = plan()
        for done, place in enumerate(planned.files):
            progress("Removing files", done, len(planned.files))
            store.files.remove(*place.split("/", 1))
        progress("Removing files", len(planned.files), len(planned.files))
    return planned


def _plan(
    store: AbundanceStore,
    made: Sequence[RecordedExport],
    keep_days: float | None,
    keep_versions: int,
    forget_missing: bool,
    dry_run: bool,
) -> Vacuumed:
    listings = {table: store.files.listing(table) for table in TABLES}
    records = store.log.records()
    if not records:
        raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
    missing = [export for export in made if export.store is not None and not export.folder.is_dir()]
    counted = [export for export in made if not (forget_missing and export in missing)]
    kept = _kept(records, counted, keep_days, keep_versions)
    stay = [record for record in records if record.version.cells in kept]
    named = {table: store.log.named_files(table, stay) for table in TABLES}
    files = {
        f"{table}/{name}": size
        for table, listing in listings.items()
        for name, size in sorted(listing.items())
        if name not in named[table]
    }
    copied, counts = store.files.listing(ROWS), set(copies_of(store, named["counts"]))
    files |= {f"{ROWS}/{name}": size for name, size in sorted(copied.items()) if name not in counts}
    whole = readable(store, records)
    lost = {
        record.version.cells
        for record in records
        if record.version.cells in whole
        and any(set(store.log.file_names(table, record.version.of(table))) - named[table] for table in TABLES)
    }
    return Vacuumed(kept, tuple(sorted(lost)), files, tuple(e.folder for e in missing), dry_run)


def _kept(
    records: Sequence[Record], made: Sequence[RecordedExport], keep_days: float | None, keep_versions: int
) -> dict[int, str]:
    """Version -> why it is kept; ``records`` newest first."""
    since = None if keep_days is None else time.time() * 1000 - keep_days * _DAY
    kept: dict[int, str] = {}
    for place, record in enumerate(records):
        number = record.version.cells
        named = [str(export.folder) for export in made if export.store == number]
        if place == 0:
            kept[number] = "newest"
        elif place < keep_versions:
            kept[number] = f"one of the newest {keep_versions}"
        elif since is not None and records[place - 1].timestamp >= since:
            kept[number] = f"in use in the last {keep_days:g} days"
        elif named:
            more = f" and {len(named) - 1} more" if named[1:] else ""
            kept[number] = f"named by the export {named[0]}{more}"
    return kept
