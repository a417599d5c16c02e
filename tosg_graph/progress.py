"""Progress that fits where it is shown: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, int, int | None], None]
"""``(description, done, total)``; total is None where it is not known."""

_LOG_EVERY_SECONDS = 5.0


def silent(description: str, done: int, total: int | None) -> None:
    """Show nothing."""


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a `Progress` that writes to stderr, so that data on stdout stays clean."""
    if sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, object] = {}

        def show(description: str, done: int, total: int | None) -> None:
            if description not in tasks:
                tasks[description] = bars.add_task(description, total=total)
            bars.update(tasks[description], completed=done, total=total)  # type: ignore[arg-type]  # opaque id

        yield show


def _lines() -> Progress:
    last: dict[str, float] = {}

    def show(description: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if finished or now - last.get(description, float("-inf")) >= _LOG_EVERY_SECONDS:
            last[description] = now
            of = "" if total is None else f"/{total:,}"
            print(f"{description}: {done:,}{of}", file=sys.stderr, flush=True)

    return show
