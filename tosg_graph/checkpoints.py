"""Where a fit stands, on disk: tensors as safetensors, all else as JSON, replaced in one step: a kill is harmless.

Nothing is pickled. A checkpoint is the JSON file: it names the safetensors file that belongs to it, with its hash, and
replaces the one before by a rename.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import TrainingError
from tosg_graph.hashes import sha256_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

SCHEMA = 2
CHECKPOINT = "checkpoint.json"
_OPTIMIZER = "optimizer/"


def write(folder: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Replace the checkpoint of a folder; whoever reads meanwhile finds the one before or this one.

    Parameters
    ----------
    said
        JSON-able; floats come back bit for bit.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.glob("*.safetensors")}
    name = next(f"{k}.safetensors" for k in range(len(before) + 1) if f"{k}.safetensors" not in before)
    # safetensors refuses tensors that share memory, and such that are no plain block of it.
    save_file({key: t.detach().cpu().contiguous().clone() for key, t in tensors.items()}, folder / name)
    _sync(folder / name)
    content = {"schema": SCHEMA, "tensors": name, "sha256": sha256_of(folder / name), "said": said}
    temporary = folder / f".{CHECKPOINT}.part"
    temporary.write_text(json.dumps(content, sort_keys=True, allow_nan=False), encoding="utf-8")
    _sync(temporary)
    temporary.replace(folder / CHECKPOINT)
    _sync(folder)
    for other in before:
        (folder / other).unlink()


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors, on the processor, and what was said with them; None where there is no checkpoint.

    Raises
    ------
    TrainingError
        If it is damaged or of another schema.
    """
    from safetensors.torch import load_file

    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    anew = "Remove the .partial folder that it is in, and run the same command again."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content["schema"]
        if schema != SCHEMA:
            raise TrainingError(f"{path} has schema {schema!r}, this program reads {SCHEMA}. {anew}")
        tensors = folder / content["tensors"]
        if sha256_of(tensors) != content["sha256"]:
            raise TrainingError(f"{tensors} was changed or cut off after it was written. {anew}")
        return load_file(tensors), content["said"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}. {anew}") from error


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


# --------------------------------------------------------------------------- optimizers


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Moments and step counts, by place of the parameter and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{_OPTIMIZER}{place}/{name}": tensor
        for place, values in state.items()
        for name, tensor in values.items()
    }


def load_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimizer the moments that `optimizer_tensors` took; its settings stay."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith(_OPTIMIZER):
            place, name = key.removeprefix(_OPTIMIZER).split("/")
            state.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
