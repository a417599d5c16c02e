"""Bulk import: a whole database from CSV files, put in place by a rename."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tosg_graph.errors import ServerError
from tosg_graph.progress import Progress, silent
from tosg_graph.server_config import DATABASE, Folders, admin_command, prepare_java
from tosg_graph.server_process import (
    ToolFailed,
    end_leftover_tool,
    find_running,
    find_unrecorded,
    one_at_a_time,
    run_tool,
    useful_line,
)
from tosg_graph.settings import Settings

ARRAY_DELIMITER = "\x1f"  # between the items of a list in the CSV files; it occurs in no name
_INCOMING = "incoming"  # database that is being imported; renamed to DATABASE when complete
_THREADS = 2


@dataclass(frozen=True)
class ImportResult:
    """What the bulk import counted."""

    nodes: int
    relationships: int
    properties: int
    seconds: float


def admin_import(
    settings: Settings,
    nodes: Sequence[tuple[Sequence[str], Path]],
    relationships: Sequence[tuple[str, Path]],
    report: Path,
    progress: Progress | None = None,
    *,
    id_type: str = "string",
) -> ImportResult:
    """Replace the whole database by the rows of CSV files; the server must be stopped.

    The new database is built beside the old one and takes its place when it is complete: an import that
    fails or is killed leaves the old database as it was.

    Parameters
    ----------
    nodes
        (labels, CSV file with a header); fields separated by comma, quoted by ``"``, items of a list by
        `ARRAY_DELIMITER`. Without labels, the file has them in a column ``:LABEL``.
    relationships
        (type, CSV file with a header). Without a type, the file has a column ``:TYPE``.
    report
        File that names the rows the import refused.
    id_type
        What the files name nodes by: ``string``, or ``integer``, which is faster.

    Raises
    ------
    ServerError
        The server runs, or a row is refused (no row is ever skipped).
    """
    folders = prepare_java(settings, progress or silent)
    if find_running(folders) or find_unrecorded(folders):
        raise ServerError("The bulk import needs the local server stopped. Run: tosg db stop")
    for path in [p for _, p in nodes] + [p for _, p in relationships]:
        if "," in str(path):
            raise ServerError(
                f"The bulk import cannot read {path}: its path has a comma. Set TOSG_HOME to another folder."
            )
    arguments = [
        *("database", "import", "full", _INCOMING),
        *("--nodes=" + "=".join(filter(None, [":".join(labels), str(path)])) for labels, path in nodes),
        *("--relationships=" + "=".join(filter(None, [verb, str(path)])) for verb, path in relationships),
        "--overwrite-destination=true",
        f"--report-file={report.absolute()}",
        f"--threads={_THREADS}",
        f"--id-type={id_type}",
        "--multiline-fields=true",
        f"--array-delimiter=U+{ord(ARRAY_DELIMITER):04X}",
        "--bad-tolerance=0",
        "--verbose",
    ]
    with one_at_a_time(folders, progress or silent):
        finish_import(folders)
        _begin(folders, "importing")
        started = time.monotonic()
        try:
            lines = run_tool(
                admin_command(settings, folders, arguments), folders, _stages(progress or silent)
            )
        except ToolFailed as error:
            finish_import(folders)
            raise ServerError(_refusal(error.lines)) from error
        except BaseException:
            finish_import(folders)
            raise
        _begin(folders, "replacing")  # the commit point: from here on a restart rolls forward
        finish_import(folders)
    return _counted(lines, time.monotonic() - started)


def finish_import(folders: Folders) -> bool:
    """Bring an interrupted import to an end: the old database, or the complete new one.

    Returns
    -------
    bool
        True if an unfinished import was found and its half-built database removed.
    """
    marker = folders.run / "import"
    try:
        stage = marker.read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    end_leftover_tool(folders)
    for parent in (folders.data / "databases", folders.data / "transactions"):
        incoming = parent / _INCOMING
        if stage == "replacing" and incoming.exists():
            shutil.rmtree(parent / DATABASE, ignore_errors=True)
            incoming.replace(parent / DATABASE)
        else:
            shutil.rmtree(incoming, ignore_errors=True)
    marker.unlink()
    return stage == "importing"


def _begin(folders: Folders, stage: str) -> None:
    fresh = folders.run / "import.fresh"
    fresh.write_text(stage, encoding="utf-8")
    fresh.replace(folders.run / "import")


def _stages(progress: Progress) -> Callable[[str], None]:
    def each_line(line: str) -> None:
        if match := re.search(r"([A-Z][^,\]]*), started ", line):
            # A warning may be printed on the same line, before the name of the stage.
            stage = match[1].rpartition("GiB")[2]
            progress(f"Bulk import: {stage}", 0, None)

    return each_line


def _counted(lines: list[str], seconds: float) -> ImportResult:
    text = "\n".join(lines)

    def count(what: str) -> int:
        match = re.search(rf"^\s*(\d+) {what}$", text, re.MULTILINE)
        if match is None:
            raise ServerError(f"The bulk import ended well but did not say how many {what} it imported.")
        return int(match[1])

    return ImportResult(count("nodes"), count("relationships"), count("properties"), seconds)


def _refusal(lines: list[str]) -> str:
    """Say in one line what was refused, from the trace: the report is empty where nothing may be skipped."""
    for number, line in enumerate(lines):
        if "InputException: " in line:
            said = [line.rpartition("InputException: ")[2]]
            for more in lines[number + 1 :]:
                if more.lstrip().startswith(("at ", "Caused by", "...")):
                    break
                said.append(more.strip())
            return f"The bulk import was refused: {'; '.join(said)[:400]}. The database is as it was."
    return f"The bulk import failed: {useful_line(chr(10).join(lines))} The database is as it was."
