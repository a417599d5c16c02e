"""Spawned processes: they end when nobody waits for them any more."""

from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tosg_graph.errors import CellsError
from tosg_graph.workers import here, spawned

_PARENT = """
import os, time
from tosg_graph.workers import spawned

if __name__ == "__main__":
    with spawned(1, os.getpid) as submit:
        print(submit(os.getpid).result(), flush=True)
        submit(time.sleep, 600).result()
"""


def test_results_and_errors_come_back() -> None:
    with spawned(2, os.getpid) as submit:
        found = [submit(operator.mul, n, 10) for n in range(5)]
        assert [f.result() for f in found] == [0, 10, 20, 30, 40]
        assert os.getpid() != submit(os.getpid).result()
        with pytest.raises(ZeroDivisionError):
            submit(operator.truediv, 1, 0).result()
    assert here(operator.mul, 2, 10).result() == 20
    with pytest.raises(ZeroDivisionError):
        here(operator.truediv, 1, 0).result()


def test_an_error_does_not_wait_for_what_nobody_will_ask_for() -> None:
    with pytest.raises(KeyboardInterrupt), spawned(1, os.getpid) as submit:  # noqa: PT012
        submit(os.getpid).result()
        submit(time.sleep, 600)
        raise KeyboardInterrupt


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(CellsError, match="fewer --processes"), spawned(1, os.getpid) as submit:
        submit(os._exit, 1).result()


def test_workers_of_a_killed_process_end_too(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
