"""One load into a home at a time; what a killed one left behind is cleared by the next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tosg_graph.errors import LoadError

if TYPE_CHECKING:
    from tosg_graph.settings import Settings

TEMPORARY = ".import-"  # how the names of folders begin that hold the files of an import


@contextmanager
def only_one_load(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home, and clear what a killed load left behind."""
    from filelock import FileLock, Timeout

    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.home / "load.lock", timeout=0):
            for left in settings.home.glob(f"{TEMPORARY}*"):
                shutil.rmtree(left)
            for folder in (settings.stated, settings.stated / "releases", settings.ledgers):
                for part in folder.glob(".*.part"):
                    part.unlink()
            yield
    except Timeout as error:
        raise LoadError(f"Another process is loading into {settings.home}; wait until it is done.") from error
