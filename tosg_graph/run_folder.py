"""``RUN`` and ``RUN.partial``: what a training leaves, and where it goes on after a kill."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.checkpoints import CHECKPOINT
from tosg_graph.errors import TrainingError
from tosg_graph.predictions import HISTORY

if TYPE_CHECKING:
    from tosg_graph.training import Fitted

COMMAND = "command.json"
WEIGHTS = "model.safetensors"
FITS = "fits"
_LOCK = "lock"


@contextmanager
def run_folder(out: Path, command: Mapping[str, Any]) -> Iterator[Path]:
    """Yield ``RUN.partial``, which becomes ``RUN`` when the block ends without error; else it stays, to go on with.

    PyTorch has as many threads meanwhile as it had when the training began.

    Parameters
    ----------
    command
        All that decides what the training yields, JSON-able: only the same goes on with what is there.

    Raises
    ------
    TrainingError
        If ``out`` exists, cannot be written, or its ``.partial`` is of another command or in use.
    """
    from filelock import FileLock, Timeout

    from tosg_graph.training import using_threads

    out = _absent(out)
    partial = out.with_name(f"{out.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial / _LOCK, timeout=0):
            with using_threads(_going_on(partial, json.loads(json.dumps(command)))):
                try:
                    yield partial
                except BaseException:
                    if not _begun(partial):  # nothing to go on with
                        shutil.rmtree(partial, ignore_errors=True)
                    raise
            shutil.rmtree(partial / FITS, ignore_errors=True)
            (partial / COMMAND).unlink()
            (partial / _LOCK).unlink(missing_ok=True)
            _absent(out)
            partial.rename(out)
    except Timeout as error:
        raise TrainingError(f"Another process is training into {partial}; wait until it is done.") from error
    except OSError as error:
        raise TrainingError(
            f"{out} cannot be written: {error.strerror or error}. Choose another --out."
        ) from error


def _absent(out: Path) -> Path:
    out = out.expanduser().absolute()
    if os.path.lexists(out):
        raise TrainingError(
            f"{out} exists already and is not overwritten. Remove it, or choose another --out."
        )
    return out


def _going_on(partial: Path, command: dict[str, Any]) -> int:
    """Note what is begun, or check that it is the same that was; return with how many threads."""
    import torch

    path = partial / COMMAND
    if not path.exists() or not _begun(partial):
        threads = torch.get_num_threads()
        temporary = partial / f".{COMMAND}.part"
        bundle.write_json({"command": command, "threads": threads}, temporary)
        temporary.replace(path)
        return threads
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        before, threads = said["command"], said["threads"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} is damaged. Remove {partial} and run the command again.") from error
    former, ours = _flat(before), _flat(command)
    for name in sorted({*former, *ours}):
        if former.get(name) != ours.get(name):
            raise TrainingError(
                f"{partial} is of a training with {name} {_short(former.get(name))}, this one has "
                f"{_short(ours.get(name))}. Run the former command again, remove it, or choose another --out."
            )
    return int(threads)


def _begun(partial: Path) -> bool:
    """Whether a checkpoint is there: a command that was refused, or stopped before one, binds no other."""
    return any((partial / FITS).glob(f"*/{CHECKPOINT}"))


def _flat(command: Mapping[str, Any]) -> dict[str, Any]:
    """Name parts of the plan, the schedule and so on as ``schedule.epochs``: a message tells of one."""
    found: dict[str, Any] = {}
    for name, value in command.items():
        found |= (
            {f"{name}.{part}": v for part, v in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def write_history(folder: Path, fits: Sequence[tuple[str, int, Fitted]]) -> None:
    """Write what each fit, of a model and a seed, saw after each epoch: ``model, seed, epoch, what, value``."""
    import pyarrow as pa

    rows = [(model, seed, *line) for model, seed, fitted in fits for line in fitted.history]
    kinds = {
        "model": pa.string(),
        "seed": pa.int64(),
        "epoch": pa.int64(),
        "what": pa.string(),
        "value": pa.float64(),
    }
    columns = zip(*rows, strict=True)
    bundle.write_table(
        pa.table(
            [pa.array(c, kind) for c, kind in zip(columns, kinds.values(), strict=True)], names=list(kinds)
        ),
        folder / HISTORY,
    )


def software() -> dict[str, str]:
    """Versions of what trains."""
    import platform
    from importlib.metadata import version

    names = ("tosg-graph", "torch", "torch_geometric", "lightning", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
