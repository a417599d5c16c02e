"""Tasks in spawned processes that end when the process that wants their results does, however that ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class Promise(Protocol):
    """The answer of a task that was submitted, such as a `Future`."""

    def result(self) -> Any:
        """Wait for the answer; raises what the task raised."""

    def cancel(self) -> bool:
        """Give it up."""


Submit = Callable[..., Promise]
"""``submit(function, *arguments)``; function and arguments are pickled, so they come from a module."""


@contextmanager
def spawned(processes: int, prepare: Callable[..., None], *arguments: Any) -> Iterator[Submit]:
    """Yield a way to submit tasks to ``processes`` spawned processes; each calls ``prepare(*arguments)`` first.

    An error in the block, or the death of this process, ends what they are doing at once.

    Raises
    ------
    CellsError
        If one of them was killed.
    """
    context = multiprocessing.get_context("spawn")
    alive, held = context.Pipe(duplex=False)  # nobody ever writes: it is closed when this process is gone
    pool = ProcessPoolExecutor(processes, context, _begin, (alive, prepare, arguments))

    def submit(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with (
            _interrupts_later()
        ):  # it starts processes, which would show a trace if they heard of it while they import
            return pool.submit(function, *arguments)

    try:
        yield submit
    except BrokenProcessPool as error:
        raise CellsError(
            "A process that read a file was killed, perhaps for want of memory. What was added stays; run this again "
            "with fewer --processes."
        ) from error
    except BaseException:
        held.close()  # do not wait for what nobody will ask for
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        held.close()
        alive.close()


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C wait; what is started meanwhile never hears of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def here(function: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Do a task at once and in this process, as if it had been submitted."""
    done: Future[Any] = Future()
    try:
        done.set_result(function(*arguments))
    except BaseException as error:
        done.set_exception(error)
    return done


def _begin(alive: Connection, prepare: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    prepare(*arguments)


def _end_with_parent(alive: Connection) -> None:
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
