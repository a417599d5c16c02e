"""One piece of work in several processes of this machine, which find one another by `torch.distributed`."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import TosgError, TrainingError
from tosg_graph.progress import Progress, silent
from tosg_graph.workers import spawned

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

_LOOK = 0.1  # seconds between two looks at how far they are
_LAST_WORDS = 2.0  # seconds in which one that fails, or is killed, is heard of

_said: SimpleQueue[tuple[str, int, int | None]]  # of the process that asked, in each that it spawned


def together(work: Callable[[Progress], None], processes: int, progress: Progress = silent) -> None:
    """Call ``work`` in spawned processes, which know their rank by the environment; one that fails ends all.

    So do an error or Ctrl-C here, and the end of this process.

    Parameters
    ----------
    work
        Is pickled. It is given what shows progress, which is ours in the first process and silent in the others.

    Raises
    ------
    TrainingError
        If one of the processes was killed. What ``work`` raised is raised here.
    """
    said: SimpleQueue[tuple[str, int, int | None]] = multiprocessing.get_context("spawn").SimpleQueue()
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    with spawned(processes, _hear_of, said) as submit:
        try:
            coming: Any = [submit(_work, work, rank, place) for rank in range(processes)]
            _wait(coming, said, progress)
        except BrokenProcessPool as error:
            raise TrainingError(
                f"One of {processes} processes of the training was killed, perhaps for want of memory. The same "
                "command goes on; fewer --devices need less."
            ) from error


def _wait(coming: list[Future[None]], said: SimpleQueue[Any], progress: Progress) -> None:
    working = True
    while working:
        done, others = wait(coming, _LOOK, FIRST_EXCEPTION)
        while not said.empty():
            progress(*said.get())
        if any(future.exception() for future in done):
            raise _reason(coming)
        working = bool(others)


def _reason(coming: list[Future[None]]) -> BaseException:
    """Why the first one failed; others, whose connection broke by that, may have complained earlier."""
    for patience in (0.0, _LAST_WORDS):
        done, _ = wait(coming, patience)
        errors = [error for future in done if (error := future.exception())]
        known = [error for error in errors if isinstance(error, TosgError | BrokenProcessPool)]
        if known:
            break
    return (known or errors)[0]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# --------------------------------------------------------------------------- in a spawned process


def _hear_of(said: SimpleQueue[tuple[str, int, int | None]]) -> None:
    global _said
    _said = said


def _work(work: Callable[[Progress], None], rank: int, place: Mapping[str, str]) -> None:
    os.environ |= {**place, "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    work(_tell if rank == 0 else silent)


def _tell(description: str, done: int, total: int | None) -> None:
    _said.put((description, done, total))
