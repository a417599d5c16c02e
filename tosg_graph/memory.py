"""Memory that was freed: Arrow and the C library keep some of it for later, and give the rest back to the system."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Give freed memory back to the system; after large tables that is gigabytes that the server could use."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if trim := _of_glibc("malloc_trim"):
        trim(0)


def keep() -> None:
    """Keep freed memory in this process from now on, however large the pieces are.

    Steps of training ask for the same large tensors over and over. glibc would get each of them from the system anew,
    page by page, which takes longer than many a sum over neighbours. `give_back` still gives back.
    """
    if option := _of_glibc("mallopt"):
        option(-4, 0)  # M_MMAP_MAX: no piece has a mapping of its own
        option(-1, -1)  # M_TRIM_THRESHOLD: nothing is given back by itself


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function that other C libraries do not have; they keep less."""
    import ctypes

    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
        return found
    except (AttributeError, OSError, TypeError):
        return None
