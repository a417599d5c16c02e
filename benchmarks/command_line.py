"""The command line that all benchmarks share, and the machine that they name; no question of its own."""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil


def run(
    doc: str | None,
    name: str,
    small: tuple[float, str],
    measure: Callable[[Path, float], dict[str, Any]],
) -> None:
    """Parse ``--json``, ``--small`` and ``--work``, measure, and print the figures.

    Parameters
    ----------
    small
        Share of the full size that ``--small`` measures, and what its help says.
    measure
        Takes the folder for all data and the share of the full size.
    """
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--small", action="store_true", help=small[1])
    parser.add_argument("--work", type=Path, help="folder for all data; it stays for inspection")
    options = parser.parse_args()
    work = (options.work or Path(tempfile.mkdtemp(prefix=f"{name}."))).absolute()
    result = measure(work, small[0] if options.small else 1.0)
    for figure, said in result["figures"].items():
        aim = f" (aim {said['aim']} {said['unit']})" if said["aim"] is not None else ""
        print(f"{figure}: {said['value']} {said['unit']}{aim}")
    if not options.work:
        shutil.rmtree(work)
    if options.json:
        print(json.dumps(result))


def answer_of(script: str | None, *arguments: Any) -> dict[str, Any]:
    """Run a file in a process of its own; the JSON object that it prints last."""
    command = [sys.executable, str(script), *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def figure(value: float, unit: str, aim: float | None = None) -> dict[str, Any]:
    """A figure as `run` prints it."""
    return {"value": round(value, 2), "unit": unit, "aim": aim}


def machine() -> str:
    memory = psutil.virtual_memory().total / 1e9
    return f"{psutil.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"
