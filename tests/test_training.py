"""The loop: what it learns, when it stops, that a kill changes nothing, and what it refuses."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import learning_bundle as world
import pytest
import torch
from torch import Tensor, nn

from tosg_graph.classification import classify
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import TrainingError
from tosg_graph.models.network import NetworkPlan
from tosg_graph.progress import Progress, silent
from tosg_graph.training import Fitted, Machine, Schedule, Task, Validated, fit, using_threads

CPU = Machine(device="cpu")
PLAN = Schedule(epochs=3, batch_size=16, checkpoint_steps=2)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.write(tmp_path_factory.mktemp("training") / "bundle")


class Line(Task):
    """A line through the abundance, with dropout; validation says what it is told to say."""

    def __init__(self, bundle: Path, scores: list[float], seed: int = 0, *, stop: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Dropout(0.5), nn.Linear(world.NODES, 2))
        self.cells = TosgDataset(bundle, layer="log1p")
        self.scores, self.stop = scores, stop
        self.said = 0
        self.steps: list[tuple[int, int]] = []

    def prepare(self, epoch: int, batch: int) -> None:
        self.steps.append((epoch, batch))
        self.said = epoch
        if len(self.steps) == self.stop:
            raise KeyboardInterrupt

    def loss(self, cells: Any) -> Tensor:
        return nn.functional.cross_entropy(self.network(cells.x[..., 0]), cells.y)

    def validate(self) -> Validated:
        score = self.scores[self.said % len(self.scores)]
        return Validated(score, {"said": score})


def fitted(
    task: Task, folder: Path, schedule: Schedule = PLAN, machine: Machine = CPU, seed: int = 0
) -> Fitted:
    return fit(lambda: task, folder, schedule, machine, name="line", seed=seed)


def same(one: Fitted, other: Fitted) -> bool:
    return all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


# --------------------------------------------------------------------------- epochs


def test_the_best_epoch_is_kept_and_patience_ends_the_rest(bundle: Path, tmp_path: Path) -> None:
    schedule = Schedule(epochs=9, patience=2, batch_size=16)
    task = Line(bundle, [1.0, 3.0, 2.0, 2.5, 9.0])
    found = fitted(task, tmp_path / "fit", schedule)
    assert (found.epoch, found.epochs, found.score) == (1, 4, 3.0)
    assert {epoch for epoch, _, _ in found.history} == {0, 1, 2, 3}
    assert found.metrics()["val said"] == 3.0
    short = fitted(Line(bundle, [1.0, 3.0]), tmp_path / "short", Schedule(epochs=2, batch_size=16))
    assert same(found, short), "the weights are those of the epoch that was chosen"


def test_an_epoch_of_few_cells_is_several_passes(bundle: Path, tmp_path: Path) -> None:
    task = Line(bundle, [1.0])
    task.cells = task.cells.only(range(10))
    fitted(task, tmp_path / "fit", Schedule(epochs=1, batch_size=4))
    assert len(task.steps) == 21, "seven passes of three batches make twenty steps"


def test_a_seed_decides_the_weights_and_nothing_else_does(bundle: Path, tmp_path: Path) -> None:
    first, again = (fitted(Line(bundle, [1.0]), tmp_path / name) for name in ("a", "b"))
    torch.manual_seed(99)
    before = torch.get_rng_state()
    third = fitted(Line(bundle, [1.0]), tmp_path / "c")
    assert same(first, again)
    assert same(first, third)
    assert not same(first, fitted(Line(bundle, [1.0]), tmp_path / "d", seed=1)), (
        "another order, another dropout"
    )
    torch.manual_seed(0)
    Line(bundle, [1.0])
    assert before.shape == torch.get_rng_state().shape
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_finished_fit_is_read_and_not_made_again(bundle: Path, tmp_path: Path) -> None:
    first = fitted(Line(bundle, [1.0]), tmp_path / "fit")
    task = Line(bundle, [1.0])
    assert same(first, fitted(task, tmp_path / "fit"))
    assert not task.steps


# --------------------------------------------------------------------------- kills


@pytest.mark.parametrize("stop", [2, 10, 28, 29, 55], ids=lambda n: f"in step {n}")
def test_a_fit_that_was_killed_gives_the_weights_of_one_that_was_not(
    bundle: Path, tmp_path: Path, stop: int
) -> None:
    whole = fitted(Line(bundle, [1.0, 2.0, 3.0]), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fitted(Line(bundle, [1.0, 2.0, 3.0], stop=stop), tmp_path / "part")
    task = Line(
        bundle, [1.0, 2.0, 3.0], seed=5
    )  # its first weights are not used, but where there is no checkpoint
    if stop == 2:
        task = Line(bundle, [1.0, 2.0, 3.0])
    rest = fitted(task, tmp_path / "part")
    assert same(whole, rest)
    assert whole.history == rest.history
    assert len(task.steps) < 81 or stop == 2, "it went on, and did not begin anew"


def test_a_fit_goes_on_with_as_many_threads_as_it_began_with(bundle: Path, tmp_path: Path) -> None:
    """Sums of others round otherwise; a loop of numba in the same process, or another machine, changes the number."""
    seen: list[int] = []

    class Counting(Line):
        def prepare(self, epoch: int, batch: int) -> None:
            seen.append(torch.get_num_threads())
            super().prepare(epoch, batch)

    with using_threads(1), pytest.raises(KeyboardInterrupt):
        fitted(Counting(bundle, [1.0], stop=10), tmp_path / "fit")
    with using_threads(2):
        fitted(Counting(bundle, [1.0]), tmp_path / "fit")
        assert torch.get_num_threads() == 2
        fitted(Counting(bundle, [1.0]), tmp_path / "other", Schedule(epochs=1, batch_size=96))
    assert seen[:-20] == [1] * (len(seen) - 20)
    assert seen[-20:] == [2] * 20


def test_a_process_that_is_killed_for_good_goes_on(bundle: Path, tmp_path: Path) -> None:
    """With a real network, and SIGKILL, which no code of ours sees; in processes that no other test has touched."""

    def trained(out: str, progress: str) -> int:
        code = f"import sys, test_training as t; t.train(sys.argv[1], sys.argv[2], t.{progress})"
        command = [sys.executable, "-W", "ignore", "-c", code, str(bundle), str(tmp_path / out)]
        return subprocess.run(command, cwd=Path(__file__).parent, check=False).returncode

    assert trained("part", "kill") == -signal.SIGKILL
    assert (tmp_path / "part.partial").is_dir()
    assert not (tmp_path / "part").exists()
    assert (trained("part", "silent"), trained("whole", "silent")) == (0, 0)
    assert not (tmp_path / "part.partial").exists()
    for name in ("model.safetensors", "predictions.parquet", "history.parquet"):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def kill(what: str, done: int, total: int | None) -> None:
    if done == 33:  # in the second epoch, three steps after a checkpoint
        os.kill(os.getpid(), signal.SIGKILL)


def train(bundle: Path | str, out: Path | str, progress: Progress = silent) -> None:
    classify(
        bundle,
        out,
        plan=NetworkPlan(hidden=8, layers=1),
        seeds=1,
        ablations=(),
        baselines=False,
        schedule=Schedule(epochs=2, batch_size=16, checkpoint_steps=5),
        machine=CPU,
        progress=progress,
    )


# --------------------------------------------------------------------------- what is refused


def test_a_loss_that_is_no_number_stops_with_a_message(bundle: Path, tmp_path: Path) -> None:
    class Broken(Line):
        def loss(self, cells: Any) -> Tensor:
            return super().loss(cells) * (math.nan if len(self.steps) == 30 else 1)

    with pytest.raises(
        TrainingError, match=r"loss of line, seed 0, is nan at epoch 1, step 8\. .*lower --lr, now 0.001"
    ):
        fitted(Broken(bundle, [1.0]), tmp_path / "run.partial" / "fits" / "fit")
    with pytest.raises(TrainingError, match=r"validation of line, seed 0, is nan after epoch 0"):
        fitted(Line(bundle, [math.nan]), tmp_path / "run.partial" / "fits" / "other")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs=0 is below 1"),
        ({"batch_size": 0}, "batch_size=0 is below 1"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 is not above 0"),
        ({"learning_rate": math.nan}, "learning_rate=nan is not above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0 is below 0"),
    ],
    ids=str,
)
def test_a_schedule_is_checked(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Schedule(**wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told() -> None:
    with pytest.raises(TrainingError, match=r"finds no GPU here\. Use --device cpu"):
        Machine(device="cuda")
    assert Machine().kind == "cpu"


def test_a_machine_is_checked() -> None:
    with pytest.raises(TrainingError, match="precision='16' is unknown; choose 32, bf16"):
        Machine(precision="16")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="devices=0 is below 1"):
        Machine(devices=0)
    with pytest.raises(TrainingError, match=r"devices=99999: at most \d+ processes here\. Ask for fewer"):
        Machine(device="cpu", devices=99999)


def test_products_in_bfloat16_learn_too(bundle: Path, tmp_path: Path) -> None:
    found = fitted(Line(bundle, [1.0]), tmp_path / "a", machine=Machine(device="cpu", precision="bf16"))
    plain = fitted(Line(bundle, [1.0]), tmp_path / "b")
    assert not same(found, plain)
    assert all(tensor.dtype == torch.float32 for tensor in found.weights.values())
