"""The load ledger: where every row of every table went, checked and kept."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.errors import LedgerError
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Reject

if TYPE_CHECKING:
    import pyarrow as pa

EXAMPLES_PER_REASON = 3
SAME_ENTITY = "same entity by xref"
_REJECTS_AT_A_TIME = 1 << 20


@dataclass
class TableAccount:
    """Counts of one table while it is being loaded."""

    source: str
    table: str
    read: int
    loaded: int = 0
    merged: int = 0
    rejected: int = 0
    created: int = 0
    updated: int = 0
    retired: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[Reject] = field(default_factory=list)
    rejects: list[pa.Table] = field(default_factory=list)

    def note(self, reason: str, count: int, examples: Sequence[Reject] = ()) -> None:
        """Count a reason; keep its first examples."""
        known = sum(e.reason == reason for e in self.examples)
        self.reasons[reason] += count
        self.examples += examples[: max(0, EXAMPLES_PER_REASON - known)]

    def merge(self, reason: str | None, count: int) -> None:
        """Count rows that joined an earlier row; without a reason where it is noted already."""
        self.merged += count
        if count and reason:
            self.note(reason, count)

    def reject(self, rejects: Sequence[Reject] | pa.Table) -> None:
        """Count rows that are not loaded, and keep them for the file of rejects."""
        if not len(rejects):
            return
        table = rejects if not isinstance(rejects, Sequence) else reject_table(rejects)
        self.rejected += len(table)
        self.rejects.append(table)
        for reason, count in _by_reason(table).items():
            self.note(reason, count, _examples(table, reason))

    def line(self) -> LedgerLine:
        """Close the account.

        Raises
        ------
        LedgerError
            If rows read differ from rows loaded, merged and rejected.
        """
        if (
            self.read != self.loaded + self.merged + self.rejected
            or self.created + self.updated > self.loaded
        ):
            raise LedgerError(
                f"{self.source}/{self.table}: {self.read} rows read, but {self.loaded} loaded "
                f"({self.created} created, {self.updated} updated), {self.merged} merged and "
                f"{self.rejected} rejected. Do not trust this load; please report it."
            )
        return LedgerLine(
            source=self.source,
            table=self.table,
            read=self.read,
            loaded=self.loaded,
            merged=self.merged,
            rejected=self.rejected,
            created=self.created,
            updated=self.updated,
            retired=self.retired,
            reasons=dict(sorted(self.reasons.items())),
            examples=tuple(self.examples),
        )


def open_account(table: NodeTable | EdgeTable) -> TableAccount:
    """Open the account of a table with what its loader counted.

    Raises
    ------
    LedgerError
        If the loader's own numbers do not add up.
    """
    rows = len(table.data)
    if table.read != rows + table.merged + len(table.rejects):
        raise LedgerError(
            f"{table.source}/{table.name}: the loader read {table.read} rows, but returned {rows}, merged "
            f"{table.merged} and rejected {len(table.rejects)}. Nothing was loaded; correct the loader."
        )
    account = TableAccount(table.source, table.name, table.read)
    account.merge("merged by the loader", table.merged)
    account.reject(table.rejects)
    return account


def reject_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejects as an Arrow table, as `Rejects` allows."""
    import pyarrow as pa

    rows = [asdict(reject) for reject in rejects]
    return pa.Table.from_pylist(rows, pa.schema(_kinds()))


def _kinds() -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {
        name: pa.int64() if name == "row" else pa.string() for name in ("row", "column", "value", "reason")
    }


def _by_reason(rejects: pa.Table) -> dict[str, int]:
    import pyarrow.compute as pc

    return {row["values"]: row["counts"] for row in pc.value_counts(rejects["reason"]).to_pylist()}


def _examples(rejects: pa.Table, reason: str) -> list[Reject]:
    import pyarrow.compute as pc

    rows = rejects.filter(pc.equal(rejects["reason"], reason)).slice(0, EXAMPLES_PER_REASON)
    return [Reject(**row) for row in rows.to_pylist()]


def write_rejects(folder: Path, release: str, accounts: Sequence[TableAccount]) -> Path | None:
    """Write every rejected row of a load to ``folder/<release>.rejects.parquet``; None where there is none.

    Columns: ``source``, ``table``, ``row`` (1-based in the table's file), ``column``, ``value``, ``reason``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not any(account.rejects for account in accounts):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{release}.rejects.parquet"
    part = folder / f".{release}.{os.getpid()}.rejects.part"
    schema = pa.schema({"source": pa.string(), "table": pa.string(), **_kinds()})
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as file:
            for account in accounts:
                for rejects in account.rejects:
                    for batch in rejects.to_batches(max_chunksize=_REJECTS_AT_A_TIME):
                        file.write_table(_named(account, batch))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _named(account: TableAccount, rejects: pa.RecordBatch) -> pa.Table:
    import pyarrow as pa

    named = {name: pa.repeat(getattr(account, name), len(rejects)) for name in ("source", "table")}
    return pa.table(named | {name: rejects.column(name).cast(kind) for name, kind in _kinds().items()})


def write_merges(folder: Path, release: str, merges: pa.Table) -> Path | None:
    """Write which rows joined an entity, or were kept apart, to ``folder/<release>.merges.parquet``.

    Columns as `tosg_graph.identity.Identity.rows` gives them; None where there is no row.
    """
    import pyarrow.parquet as pq

    if not len(merges):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{release}.merges.parquet"
    part = folder / f".{release}.{os.getpid()}.merges.part"
    try:
        pq.write_table(merges, part, compression="zstd")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_merges(folder: Path, release: str, ambiguous: bool = False) -> pa.Table:
    """Read what `write_merges` wrote; with ``ambiguous`` only what did not join. No row where nothing was written.

    Raises
    ------
    LedgerError
        If the release has no ledger in this home.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    if not (folder / f"{release}.json").is_file():
        raise LedgerError(f"Release {release!r} has no ledger in {folder}; `tosg kg releases` lists all.")
    path = folder / f"{release}.merges.parquet"
    empty = pa.table({name: pa.array([], pa.string()) for name in ("id", "entity", "reason")})
    rows = pq.read_table(path) if path.is_file() else empty
    return rows.filter(pc.not_equal(rows["reason"], SAME_ENTITY)) if ambiguous else rows


def check_counts(expected: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Compare what the load says is stored with the database's own ``count()``.

    Raises
    ------
    LedgerError
        Naming the first thing whose numbers differ.
    """
    for what in sorted(expected.keys() | found.keys()):
        if expected.get(what, 0) != found.get(what, 0):
            raise LedgerError(
                f"{what}: the database counts {found.get(what, 0):,}, the load expects "
                f"{expected.get(what, 0):,}. Was the graph changed by somebody else meanwhile? Load again."
            )


def to_json(lines: Sequence[LedgerLine]) -> str:
    """Ledger as JSON text, the same for the same lines."""
    return json.dumps([asdict(line) for line in lines], ensure_ascii=False, sort_keys=True, indent=1)


def from_json(text: str) -> list[LedgerLine]:
    """Read back what `to_json` wrote."""
    return [
        LedgerLine(**{**line, "examples": tuple(Reject(**example) for example in line["examples"])})
        for line in json.loads(text)
    ]


def write(folder: Path, release: str, lines: Sequence[LedgerLine]) -> Path:
    """Write the ledger of a release to ``folder/<release>.json``: complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{release}.json"
    part = folder / f".{release}.{os.getpid()}.part"
    try:
        part.write_text(to_json(lines) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
