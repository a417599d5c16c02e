"""What test_training_processes calls in processes of its own; imports nothing large."""

from __future__ import annotations

import os
import signal
import time

from tosg_graph.errors import TrainingError
from tosg_graph.progress import Progress


def rank() -> int:
    return int(os.environ["LOCAL_RANK"])


def interrupted(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGINT)  # as a terminal does to all
    progress(f"rank {rank()}", 1, 2)


def second_refuses(progress: Progress) -> None:
    if rank() == 1:
        raise TrainingError("The second refuses.")
    time.sleep(600)  # as one that waits for the other's part of a sum


def second_dies(progress: Progress) -> None:
    if rank() == 1:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    raise ConnectionError(
        "The other one is gone."
    )  # the first hears of it before the process that began both
