"""What tests have Ray workers do; imports nothing that takes them long."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def node_of_a_task(number: int, meeting: Path, nodes: int) -> tuple[int, str]:
    """Wait until as many tasks as there are nodes have begun: they cannot all be on one."""
    import ray

    (meeting / str(number)).touch()
    while len(list(meeting.iterdir())) < nodes:
        time.sleep(0.02)
    return number, ray.get_runtime_context().get_node_id()


def kill_yourself_once(marker: Path) -> None:
    """End this process as the kernel does where memory runs out; a second one goes on."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def after_a_kill(marker: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Do half of the work, die, and do it again."""
    if not marker.exists():
        function(*arguments)
    kill_yourself_once(marker)
    return function(*arguments)


def square(number: int) -> int:
    return number**2
