"""The versions of an abundance store: what made each, whether it can still be read, which exports name it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.history import exports
from tosg_graph.store_log import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.store_log import Record


def versions(store: AbundanceStore, home: Path) -> pa.Table:
    """One row per version, newest first.

    Returns
    -------
    Table
        ``version``, ``time`` (UTC), ``change`` (what made it), ``datasets``, ``cells``, ``readable`` (all its files
        are there), ``exports`` (how many recorded exports name it).
    """
    import pyarrow as pa

    records = store.log.records()
    here = readable(store, records)
    named = [export.store for export in exports(home)]
    rows = []
    for record, older in zip_longest(records, records[1:]):
        number = record.version.cells
        rows.append(
            {
                "version": number,
                "time": datetime.fromtimestamp(record.timestamp / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
                "change": _change(record, older),
                "datasets": len(record.datasets),
                "cells": sum(row["cells"] for row in record.datasets),
                "readable": number in here,
                "exports": named.count(number),
            }
        )
    return pa.Table.from_pylist(rows, schema=_schema())


def readable(store: AbundanceStore, records: Sequence[Record]) -> set[int]:
    """Numbers of the versions of which every file is there."""
    held = {table: set(store.files.listing(table)) for table in TABLES}
    found: set[int] = set()
    whole_era = -1
    for record in records:  # newest first
        # The last version of an era has the files of all others.
        if record.era == whole_era or all(
            set(store.log.file_names(table, record.version.of(table))) <= held[table] for table in TABLES
        ):
            whole_era = record.era
            found.add(record.version.cells)
    return found


def _change(record: Record, older: Record | None) -> str:
    if record.operation != "add":
        return record.operation
    before = {row["dataset"] for row in older.datasets} if older else set()
    return "add " + ", ".join(row["dataset"] for row in record.datasets if row["dataset"] not in before)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("version", pa.int64()),
            ("time", pa.string()),
            ("change", pa.string()),
            ("datasets", pa.int64()),
            ("cells", pa.int64()),
            ("readable", pa.bool_()),
            ("exports", pa.int64()),
        ]
    )
