"""Several devices learn together what one would, and end together."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import learning_bundle as world
import process_functions as work
import pytest
import torch
from torch import Tensor, nn

from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import TrainingError
from tosg_graph.training import Fitted, Machine, Schedule, Task, Validated, fit
from tosg_graph.training_processes import together

CELLS = 90


class Plain(Task):
    """A line through the abundance of 90 cells; nothing is drawn."""

    def __init__(self, bundle: Path) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Linear(world.NODES, 2)
        self.cells = TosgDataset(bundle, layer="log1p").only(range(CELLS))
        self.epochs = 0

    def loss(self, cells: Any) -> Tensor:
        return nn.functional.cross_entropy(self.network(cells.x[..., 0]), cells.y)

    def validate(self) -> Validated:
        self.epochs += 1
        return Validated(self.epochs, {})


def fitted(bundle: Path, out: Path, devices: int, told: list[tuple[str, int, int | None]]) -> Fitted:
    """Two epochs of 20 steps, each over all cells; some of their gradients are longer than ``clip``, others are not."""
    schedule = Schedule(epochs=2, batch_size=CELLS // devices, learning_rate=0.01, clip=0.5)
    machine = Machine(device="cpu", devices=devices)

    def tell(*said: Any) -> None:
        told.append(said)

    return fit(partial(Plain, bundle), out, schedule, machine, name="line", seed=0, progress=tell)


def test_two_devices_with_half_of_the_cells_each_learn_what_one_does_with_all(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Cells that both read, or a sum of gradients in place of their mean, would differ by 0.01 and more."""
    bundle = world.write(tmp_path / "bundle")
    told: dict[int, list[Any]] = {1: [], 2: []}
    one, two = (fitted(bundle, tmp_path / str(n), n, told[n]) for n in (1, 2))
    for name, weight in one.weights.items():
        torch.testing.assert_close(two.weights[name], weight, rtol=0, atol=1e-5)
    assert two.parameters == one.parameters
    assert told[2] == told[1], "the first of them tells, and only the first"
    assert capfd.readouterr() == ("", ""), "nor does Lightning"


def test_a_process_is_not_disturbed_by_ctrl_c_which_its_parent_hears() -> None:
    told: list[Any] = []
    together(work.interrupted, 2, lambda *said: told.append(said))
    assert told == [("rank 0", 1, 2)]


def test_one_that_fails_ends_the_others() -> None:
    with pytest.raises(TrainingError, match=r"^The second refuses"):
        together(work.second_refuses, 2)
    with pytest.raises(TrainingError, match=r"One of 2 processes .* was killed.*fewer --devices"):
        together(work.second_dies, 2)
