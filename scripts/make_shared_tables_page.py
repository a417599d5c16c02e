"""Load every source whose files a folder holds into an empty graph and write docs/shared-tables.md from the ledger.

Run: ``TOSG_HOME=/some/empty/folder python scripts/make_shared_tables_page.py FOLDER``. The page keeps what stands
outside its two marks.
"""

from __future__ import annotations

import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders import LOADERS
from tosg_graph.platform import open as open_platform
from tosg_graph.sources import ALL

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.types import LedgerLine

PAGE = Path(__file__).parents[1] / "docs" / "shared-tables.md"
BEGIN, END = "<!-- made by scripts/make_shared_tables_page.py -->", "<!-- end -->"
# Said of rows that were loaded or merged.
_NOTES = ("same ", "conflicting ", "merged by the loader", "kept apart", "joined")
NUMBERS = ("read", "loaded", "merged", "rejected")


def main(folder: Path) -> None:
    """Load and write."""
    started = time.monotonic()
    with open_platform(progress=_say) as platform:
        lines = platform.load(ALL, path=folder)
        took = time.monotonic() - started
        counts = platform.counts()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux says kilobytes
    figures = (
        f"{took:.0f} s from files to online with constraints and indexes, {time.process_time():.0f} s of them of this "
        f"process's own; it took {peak:.1f} GB at most."
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [BEGIN, figures, sources(lines), rejects(lines), *map(of_arrow, counts), END]
    PAGE.write_text(before + "\n\n".join(parts) + after, encoding="utf-8")


def sources(lines: Sequence[LedgerLine]) -> str:
    """One row per source, and their sum."""
    rows: list[list[Any]] = []
    for key in dict.fromkeys(line.source for line in lines):
        own = [line for line in lines if line.source == key]
        rows.append([f"`{key}`", LOADERS[key].SOURCE.version, len(own), *_sums(own)])
    rows.append(["**all**", "", len(lines), *_sums(lines)])
    return markdown(["source", "version", "tables", *NUMBERS], rows)


def rejects(lines: Sequence[LedgerLine]) -> str:
    """One row per reason for which rows of a table were rejected."""
    rows = []
    for line in lines:
        refused: Counter[str] = Counter()
        for reason, count in line.reasons.items():
            if not reason.startswith(_NOTES):
                refused[re.sub(r" into [A-Za-z]+:.*", "", reason)] += count  # what an id was split into
        for reason, count in refused.most_common():
            example = next((e.value for e in line.examples if e.reason.startswith(reason)), "")
            rows.append(
                [f"`{line.source}`", line.table, reason, f"`{example[:40]}`" if example else "", count]
            )
    return markdown(["source", "table", "rejected because", "such as", "rows"], rows)


def of_arrow(table: pa.Table) -> str:
    """Any small table."""
    return markdown(table.column_names, [list(row.values()) for row in table.to_pylist()])


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Table in Markdown; numbers are right-aligned."""
    body = [list(row) for row in rows]
    right = [bool(body) and all(isinstance(row[i], int) for row in body) for i in range(len(columns))]
    lines = ["| " + " | ".join(columns) + " |", "|" + "|".join("--:" if r else "--" for r in right) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in body)])


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def _sums(lines: Sequence[LedgerLine]) -> list[int]:
    return [sum(getattr(line, name) for line in lines) for name in NUMBERS]


def _say(description: str, done: int, total: int | None) -> None:
    print(description, done, total, file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
