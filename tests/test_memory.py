"""What a process keeps of the memory that it freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
from contextlib import nullcontext
import sys
from tosg_graph import memory
def held():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * 4096 - before
before = 0
before = held()
with memory.kept() if sys.argv[1] == "kept" else nullcontext():
    piece = bytearray(200_000_000)
    del piece
    print(held() > 150_000_000)
print(held() > 150_000_000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no such options")
@pytest.mark.parametrize(("way", "said"), [("kept", ["True", "False"]), ("as it is", ["False", "False"])])
def test_freed_memory_is_kept_meanwhile_and_then_given_back(way: str, said: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, way], capture_output=True, text=True, check=True)
    assert done.stdout.split() == said
