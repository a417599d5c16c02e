"""Threads that work beside the one that asked for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_END = object()


@contextmanager
def threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads; where the work inside fails or is interrupted, what they have not begun is dropped."""
    pool = ThreadPoolExecutor(number)
    try:
        yield pool
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


def import_ahead(*modules: str) -> None:
    """Import modules in a thread of their own, while this one waits for something else; it need not wait for them."""

    def work() -> None:
        with suppress(Exception):  # whoever needs the module meets the error
            for name in modules:
                import_module(name)

    Thread(target=work, daemon=True).start()


def ahead(items: Iterator[T], number: int = 1) -> Iterator[T]:
    """Yield items in order; a thread makes the next ``number`` of them while others are in use."""
    with threads(1) as thread:
        coming = deque(thread.submit(next, items, _END) for _ in range(number))
        while (item := coming.popleft().result()) is not _END:
            coming.append(thread.submit(next, items, _END))
            yield item  # type: ignore[misc]  # not the end
