"""Memory that was freed and is not given back: Arrow and the C library keep it for later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt
_AS_IT_WAS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65_536}
_KEPT = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


def give_back() -> None:
    """Give freed memory back to the system; after large tables that is gigabytes that the server could use."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    if trim := _of_glibc("malloc_trim"):
        trim(0)


@contextmanager
def kept() -> Iterator[None]:
    """Keep freed memory meanwhile; glibc gives that of a large array back, and gets it anew page by page."""
    option = _of_glibc("mallopt")
    if option is None:
        yield
        return
    for name, value in _KEPT.items():
        option(name, value)
    try:
        yield
    finally:
        for name, value in _AS_IT_WAS.items():
            option(name, value)
        give_back()


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    """Return a function of glibc; other C libraries have none of these, and keep less."""
    import ctypes

    try:
        found: Callable[..., int] = getattr(ctypes.CDLL(None), name)
        return found
    except (AttributeError, OSError, TypeError):
        return None
