"""What a process keeps of the memory that it freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from tosg_graph import memory
if sys.argv[1] == "keep":
    memory.keep()
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before = pages()
piece = bytearray(200_000_000)
del piece
held = pages() - before
memory.give_back()
print(held * 4096 > 150_000_000, (pages() - before) * 4096 > 150_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no such options")
@pytest.mark.parametrize(("way", "said"), [("keep", "True False"), ("as it is", "False False")])
def test_freed_memory_is_kept_until_it_is_given_back(way: str, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, way], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
