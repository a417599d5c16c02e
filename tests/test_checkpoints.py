"""A checkpoint is whole or the one before, and gives back what it was given, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tosg_graph import checkpoints
from tosg_graph.errors import TrainingError

TENSORS = {"a": torch.tensor([1.0, float("nan"), 1e-45]), "b/c": torch.arange(6).view(2, 3).T}


def test_tensors_and_numbers_come_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, TENSORS, {"loss": 0.1 + 0.2, "score": None})
    tensors, said = checkpoints.read(tmp_path) or ({}, {})
    assert said == {"loss": 0.1 + 0.2, "score": None}
    assert {name: t.numpy().tobytes() for name, t in tensors.items()} == {
        name: t.contiguous().numpy().tobytes() for name, t in TENSORS.items()
    }


def test_there_is_none_at_first_and_one_after_many(tmp_path: Path) -> None:
    assert checkpoints.read(tmp_path) is None
    for step in range(3):
        checkpoints.write(tmp_path, {"step": torch.tensor(step)}, {"step": step})
    assert len(list(tmp_path.iterdir())) == 2
    found = checkpoints.read(tmp_path)
    assert found is not None
    assert (found[1]["step"], int(found[0]["step"])) == (2, 2)


@pytest.mark.parametrize("broken", ["save_file", "replace"])
def test_a_kill_while_writing_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    checkpoints.write(tmp_path, {"step": torch.tensor(1)}, {"step": 1})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    target = "safetensors.torch.save_file" if broken == "save_file" else "pathlib.Path.replace"
    with monkeypatch.context() as patch:
        patch.setattr(target, killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.write(tmp_path, {"step": torch.tensor(2)}, {"step": 2})
    found = checkpoints.read(tmp_path)
    assert found is not None
    assert (found[1]["step"], int(found[0]["step"])) == (1, 1)
    checkpoints.write(tmp_path, {"step": torch.tensor(3)}, {"step": 3})
    found = checkpoints.read(tmp_path)
    assert found is not None
    assert int(found[0]["step"]) == 3


def test_damage_and_another_schema_are_told(tmp_path: Path) -> None:
    checkpoints.write(tmp_path, TENSORS, {})
    path = tmp_path / checkpoints.CHECKPOINT
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "schema": 99}))
    with pytest.raises(TrainingError, match=r"has schema 99, this program reads 2\. Remove"):
        checkpoints.read(tmp_path)
    path.write_text(json.dumps(content)[:-5])
    with pytest.raises(TrainingError, match="cannot be read"):
        checkpoints.read(tmp_path)
    path.write_text(json.dumps(content))
    tensors = next(tmp_path.glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(TrainingError, match="was changed or cut off"):
        checkpoints.read(tmp_path)


def test_an_optimizer_goes_on_as_if_it_had_not_stopped() -> None:
    def steps(weight: torch.nn.Parameter, adam: torch.optim.AdamW, first: int, end: int) -> None:
        for k in range(first, end):
            adam.zero_grad()
            (weight * (k + 1)).sin().sum().backward()
            adam.step()

    whole, half = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    adam = torch.optim.AdamW([whole])
    steps(whole, adam, 0, 6)
    first = torch.optim.AdamW([half])
    steps(half, first, 0, 3)
    second = torch.optim.AdamW([half])
    checkpoints.load_optimizer(second, checkpoints.optimizer_tensors(first))
    steps(half, second, 3, 6)
    assert torch.equal(whole, half)
