"""How long does BioMedGraphica at full size take to load, to load again, and to bring to its next release?

Files of the published size and shape are made up (`bmg_files`). Three processes, one after the other, each read
them and load them into a server of its own home: from nothing; the same files again; a release of which 1 %
differs. The clock runs from "connected" to "ledger checked": reading, bulk import, start of the server,
constraints and full-text indexes online. `ledger_mismatches` counts the numbers of the ledger, and of the file of
rejects, that differ from what the generator wrote.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import bmg_files
import command_line
import pyarrow.parquet as pq

from tosg_graph.settings import read_settings

# One measured load; a process of its own, so that its peak is its own.
CHILD = """
import json, sys, time
from dataclasses import asdict, replace
from pathlib import Path
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings

home, data = sys.argv[1:]
settings = replace(read_settings(), home=Path(home), uri=None, user="neo4j", password=None)
at = {}
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024 / 1e9
def show(what, done, total):
    at.setdefault(what, time.perf_counter() - start)
    print(f"{time.perf_counter() - start:7.1f} s {peak():5.2f} GB  {what} {done}/{total}", file=sys.stderr)
start = time.perf_counter()
with Platform(settings, show) as platform:
    platform.graph
    start = time.perf_counter()
    lines = platform.load("biomedgraphica", path=Path(data))
    seconds = time.perf_counter() - start
print(json.dumps({
    "seconds": seconds, "peak_gb": peak(), "lines": [asdict(x) for x in lines], "stages": at,
}))
"""

# What parsing alone takes.
PARSING = """
import sys, time
from pathlib import Path
from loaders import LOADERS
from tosg_graph.downloads import fetch
from tosg_graph.settings import read_settings

loader = LOADERS["biomedgraphica"]
start = time.perf_counter()
loader.parse(fetch(loader.SOURCE, read_settings(), Path(sys.argv[1])))
print(time.perf_counter() - start)
"""


def measure(work: Path, share: float) -> dict[str, Any]:
    from tosg_graph import server

    home = work / "home"
    settings = replace(read_settings(), home=home, uri=None, user="neo4j", password=None)
    for left in (home, work / "one", work / "two"):
        shutil.rmtree(left, ignore_errors=True)
    written = bmg_files.write(work / "one", share)
    bmg_files.write_next_release(work / "one", work / "two")
    try:
        first = run(home, work / "one")
        wrong = mismatches(first["lines"], written, home / "ledgers")
        for text in wrong:
            print(f"mismatch: {text}", file=sys.stderr)
        again, second = run(home, work / "one"), run(home, work / "two")
        parsing = [float(python(PARSING, work / name)) for name in ("one", "two")]
    finally:
        server.stop(settings)
    full = share == 1.0
    aims = {"load_seconds": 480, "client_peak_gb": 4.0, "ledger_mismatches": 0}
    aims |= {"again_written": 0, "again_seconds": parsing[0], "upsert_seconds": parsing[1] + 60}
    values = {
        "load_seconds": (first["seconds"], "s"),
        "client_peak_gb": (max(r["peak_gb"] for r in (first, again, second)), "GB"),
        "ledger_mismatches": (len(wrong), "numbers"),
        "parse_seconds": (parsing[0], "s"),
        "again_seconds": (again["seconds"], "s"),
        "again_written": (changed(again["lines"]), "rows"),
        "upsert_parse_seconds": (parsing[1], "s"),
        "upsert_seconds": (second["seconds"], "s"),
        "upsert_written": (changed(second["lines"]), "rows"),
        "entities": (sum(written.entities.values()), "nodes"),
        "relations_read": (written.rows["Relation"], "rows"),
        "relationships_stored": (sum(written.stored.values()), "relationships"),
        "rejected": (sum(line["rejected"] for line in first["lines"]), "rows"),
    }
    figures = {}
    for name, (value, unit) in values.items():
        aim = aims.get(name) if full or unit in ("numbers", "rows") else None
        figures[name] = {
            "value": round(value, 2),
            "unit": unit,
            "aim": round(aim, 1) if aim is not None else None,
        }
    return {"name": "load_full_graph", "machine": command_line.machine(), "figures": figures, "peers": {}}


def run(home: Path, data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(python(CHILD, home, data))
    return found


def python(program: str, *folders: Path) -> str:
    """Run a program in a process of its own, and return the last line that it prints."""
    command = [sys.executable, "-c", program, *map(str, folders)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


def changed(lines: list[dict[str, Any]]) -> int:
    """Rows that a load created, updated or retired."""
    return sum(line["created"] + line["updated"] + line["retired"] for line in lines)


def mismatches(lines: list[dict[str, Any]], written: bmg_files.Written, ledgers: Path) -> list[str]:
    """Numbers of the ledger that are not those of the generator."""
    table = {line["table"]: line for line in lines}
    found = []

    def compare(what: str, ours: int, theirs: int) -> None:
        if ours != theirs:
            found.append(f"{what}: ledger {ours:,}, generator {theirs:,}")

    for kind, n in written.entities.items():
        line = table[kind.lower()]
        compare(f"{kind} rows", line["read"], written.rows[kind])
        compare(f"{kind} nodes", line["loaded"], n)
        for reason, fault in zip(
            ("no id", "not an id of this type", "id of an earlier row"), bmg_files.ENTITY_FAULTS, strict=True
        ):
            compare(f"{kind}, {fault}", line["reasons"].get(reason, 0), written.faults[kind, fault])
    relations = [line for line in lines if line["table"] not in {k.lower() for k in written.entities}]
    compare("relationships", sum(r["loaded"] for r in relations), sum(written.stored.values()))
    starts = dict(
        zip(
            ("unknown From_ID", "unknown To_ID", "no From_ID", "unknown type", "From_ID is not a"),
            bmg_files.RELATION_FAULTS[:5],
            strict=True,
        )
    )
    for start, fault in starts.items():
        ours = sum(n for r in relations for reason, n in r["reasons"].items() if reason.startswith(start))
        compare(fault, ours, written.faults["Relation", fault])
    kept = pq.read_metadata(next(ledgers.glob("*.rejects.parquet"))).num_rows
    compare("rows in the file of rejects", kept, sum(line["rejected"] for line in lines))
    return found


if __name__ == "__main__":
    command_line.run(__doc__, "load_full_graph", (0.01, "1 % of the size; within a minute or two"), measure)
