"""Memory that was freed and is not given back: Arrow and the C library keep it for later."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give freed memory back to the system; after large tables that is gigabytes that the server could use."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """``malloc_trim`` of glibc; other C libraries have none, and keep less."""
    import ctypes

    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
