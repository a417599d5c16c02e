"""The loop: epochs of a task, with early stop on validation, that go on after a kill as if nothing had been.

`lightning.fabric` places the work: devices, precision, several processes. What is random in a step (dropout, what is
masked) is decided by the seed and the number of the step, not by what was drawn before: so a checkpoint needs no state
of a random generator, and a step repeated is the same step.
"""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tosg_graph import checkpoints, memory
from tosg_graph.errors import TrainingError
from tosg_graph.progress import Progress, silent
from tosg_graph.training_processes import together

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from tosg_graph.dataset import Cells, TosgDataset
    from tosg_graph.feed import Feed

LEAST_STEPS = 20  # between two looks at validation: five cells of a class are a single step
_NETWORK, _BEST = "network/", "best/"
_VALIDATION = 1  # what random numbers are for: other numbers than those of a step


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    epochs
        At most. An epoch is a pass over the cells, or as many passes as make `LEAST_STEPS` steps.
    patience
        Epochs without a better validation after which training stops.
    batch_size
        Cells per batch and device.
    learning_rate, weight_decay
        Of AdamW.
    clip
        Largest norm of a gradient; longer ones are scaled down to it.
    checkpoint_steps
        A checkpoint is written after each epoch, and within one after so many steps.
    """

    epochs: int = 50
    patience: int = 8
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    checkpoint_steps: int = 500

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "checkpoint_steps"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name}={getattr(self, name)} is below 1.")
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"{name}={getattr(self, name)} is not above 0.")
        if not 0 <= self.weight_decay < math.inf:
            raise TrainingError(f"weight_decay={self.weight_decay} is below 0.")


@dataclass(frozen=True)
class Machine:
    """Where to learn.

    Parameters
    ----------
    device
        ``auto``: a GPU where PyTorch finds one.
    devices
        GPUs, or processes on the processor, that share each step.
    precision
        ``bf16``: products in bfloat16, weights and sums in float32.
    compile
        Run the network through ``torch.compile``.

    Raises
    ------
    TrainingError
        If a GPU is asked for and there is none, or not so many; or more processes than cores, and more than 2.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    precision: Literal["32", "bf16"] = "32"
    compile: bool = False

    def __post_init__(self) -> None:
        allowed = {"device": ("auto", "cpu", "cuda"), "precision": ("32", "bf16")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise TrainingError(f"{name}={getattr(self, name)!r} is unknown; choose {', '.join(values)}.")
        if self.devices < 1:
            raise TrainingError(f"devices={self.devices} is below 1.")
        found = torch.cuda.device_count()
        if self.device == "cuda" and not found:
            raise TrainingError("device='cuda': PyTorch finds no GPU here. Use --device cpu.")
        if self.kind == "cuda" and self.devices > found:
            raise TrainingError(f"devices={self.devices}: PyTorch finds {found} GPUs here. Ask for fewer.")
        cores = max(2, os.cpu_count() or 1)
        if self.kind == "cpu" and self.devices > cores:
            raise TrainingError(f"devices={self.devices}: at most {cores} processes here. Ask for fewer.")

    @property
    def kind(self) -> str:
        """``cpu`` or ``cuda``."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def autocast(self) -> AbstractContextManager[Any]:
        """Where a network runs outside of the loop as it does in it."""
        return torch.autocast(self.kind, torch.bfloat16, enabled=self.precision == "bf16")

    def fabric(self) -> Fabric:
        """Start Lightning's part, without its advice; of several devices, in each process."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Lightning's own imports
            from lightning.fabric import Fabric
            from lightning.fabric.plugins.environments.lightning import LightningEnvironment

        _quiet()
        fabric = Fabric(
            accelerator=self.kind,
            devices=self.devices,
            strategy="ddp" if self.devices > 1 else "auto",
            precision="bf16-mixed" if self.precision == "bf16" else "32-true",
            plugins=[LightningEnvironment()],  # processes are ours to start, in a batch system too
        )
        if self.devices > 1:
            fabric.launch()
        return fabric


def _quiet() -> None:
    """Leave out Lightning's advice and news; its imports turn them on."""
    for name in ("lightning", "lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.ERROR)


# --------------------------------------------------------------------------- what is learned


@dataclass(frozen=True)
class Validated:
    """What a validation found.

    Parameters
    ----------
    score
        Larger is better.
    metrics
        Name -> value, for the history.
    """

    score: float
    metrics: Mapping[str, float]


class Task(nn.Module):
    """What is learned, on which cells.

    Random numbers come from torch's own generator, which is seeded before each step.

    Attributes
    ----------
    network : torch.nn.Module
        Its parameters that require gradients are fitted; each of them must take part in the loss.
    cells : TosgDataset
        Those to learn from.
    """

    network: nn.Module
    cells: TosgDataset

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """Parameters to fit, and what share of the schedule's learning rate is theirs."""
        return [([p for p in self.parameters() if p.requires_grad], 1.0)]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold of what is learned."""
        return self.network.state_dict()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave."""
        self.network.load_state_dict(state)

    def prepare(self, epoch: int, batch: int) -> None:
        """Do what comes before a step, of an epoch from 0 and a batch from 0; nothing drawn may depend on more."""

    def forward(self, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        """The loss of a batch; Lightning passes tensors on, and knows no `Cells`."""
        from tosg_graph.dataset import Cells

        return self.loss(Cells(x, y, rows))

    @abstractmethod
    def loss(self, cells: Cells) -> Tensor:
        """What is to be made small for a batch, a scalar."""

    @abstractmethod
    def validate(self) -> Validated:
        """Look at the validation cells."""


@dataclass(frozen=True)
class Fitted:
    """The network of the best epoch.

    Parameters
    ----------
    weights
        `Task.state`, on the processor.
    epoch
        The one that validation chose, from 0.
    history
        (epoch, what, value).
    seconds
        Of all runs that it took.
    parameters
        Numbers that were fitted.
    """

    weights: dict[str, Tensor]
    epoch: int
    epochs: int
    score: float
    history: list[tuple[int, str, float]]
    seconds: float
    parameters: int

    def metrics(self) -> dict[str, float]:
        """What validation found in the epoch that it chose."""
        return {what: value for epoch, what, value in self.history if epoch == self.epoch}


def fit(
    make: Callable[[], Task],
    folder: Path,
    schedule: Schedule,
    machine: Machine,
    *,
    name: str,
    seed: int,
    progress: Progress = silent,
) -> Fitted:
    """Fit a task, or go on with it where ``folder`` holds a checkpoint; a finished one is only read.

    On the processor the same seed gives the same weights bit for bit, with the same number of threads, whether the
    fit was stopped in between or not: it goes on with as many as it began with. Several devices share them.

    Parameters
    ----------
    make
        Makes the task, seeded by itself. With several devices it is pickled and called in each process.
    name
        Of the model, in messages.
    progress
        Told of each step, in this process.

    Raises
    ------
    TrainingError
        If the loss is not finite, or the checkpoint damaged or of another schema.
    FeedError
        If the checkpoint is of other cells.
    """
    found = checkpoints.read(folder)
    if found is None or not found[1]["finished"]:
        threads = found[1]["threads"] if found else max(1, torch.get_num_threads() // machine.devices)
        job = _Job(make, folder, schedule, machine, name, seed, threads)
        if machine.devices == 1:
            _train(job, progress)
        else:
            together(partial(_train, job), machine.devices, progress)
        found = checkpoints.read(folder)
    if found is None or not found[1]["finished"]:
        raise TrainingError(f"{folder} holds no finished fit of {name}. Run the same command again.")
    return _fitted(*found)


@dataclass(frozen=True)
class _Job:
    """What `fit` was asked for; it travels to each process."""

    make: Callable[[], Task]
    folder: Path
    schedule: Schedule
    machine: Machine
    name: str
    seed: int
    threads: int

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}"


def _fitted(tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> Fitted:
    return Fitted(
        weights=_of(tensors, _BEST),
        epoch=said["best_epoch"],
        epochs=said["epoch"],
        score=said["score"],
        history=[(epoch, what, value) for epoch, what, value in said["history"]],
        seconds=said["seconds"],
        parameters=said["parameters"],
    )


def _train(job: _Job, progress: Progress) -> None:
    fabric = job.machine.fabric()
    with _reproducible(fabric.device, job.threads), memory.kept(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Grad strides do not match"
        )  # of a (1, n) weight, which has no other
        loop = _Loop(fabric, job, progress)
        loop.go_on()
        loop.run()
    if job.machine.devices > 1:
        torch.distributed.destroy_process_group()


@contextmanager
def _reproducible(device: torch.device, threads: int) -> Iterator[None]:
    """Leave torch's generators and settings as they were found; on the processor, use algorithms that repeat."""
    before = torch.are_deterministic_algorithms_enabled()
    deterministic: Any = torch.utils.deterministic
    filled = deterministic.fill_uninitialized_memory
    with using_threads(threads), torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            torch.use_deterministic_algorithms(before or device.type == "cpu")
            deterministic.fill_uninitialized_memory = False  # we read none
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            deterministic.fill_uninitialized_memory = filled


@contextmanager
def using_threads(number: int) -> Iterator[None]:
    """Let PyTorch use so many threads meanwhile.

    Sums of another number of threads round otherwise. Others change it behind our back: numba's parallel loops, which
    scanpy runs, set the threads of the OpenMP library that is PyTorch's too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seeded(*numbers: int) -> None:
    """Seed torch's generator with a mixture of numbers, none of them negative."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1)


# --------------------------------------------------------------------------- the loop


class _Loop:
    """One fit in one process."""

    def __init__(self, fabric: Fabric, job: _Job, progress: Progress) -> None:
        self.fabric, self.job, self.progress = fabric, job, progress
        schedule, task = job.schedule, job.make()
        groups = [{"params": p, "lr": share * schedule.learning_rate} for p, share in task.rates()]
        self.parameters = sum(p.numel() for group, _ in task.rates() for p in group)
        adam = torch.optim.AdamW(groups, weight_decay=schedule.weight_decay)
        module: Any = torch.compile(task) if job.machine.compile else task
        self.task, self.started = task, time.monotonic()
        self.model, self.optimizer = fabric.setup(module, adam)
        device = fabric.device if fabric.device.type == "cuda" else None
        self.feed: Feed = task.cells.feed(schedule.batch_size, seed=job.seed, device=device)
        if not len(self.feed):
            raise TrainingError(
                f"devices={job.machine.devices}: more than the {len(task.cells):,} cells to learn from. Ask for fewer."
            )
        self.passes = -(-LEAST_STEPS // len(self.feed))
        self.best: dict[str, Tensor] = {}
        self.best_epoch, self.score = -1, -math.inf
        self.epoch, self.batch, self.losses, self.seconds = 0, 0, 0.0, 0.0
        self.history: list[tuple[int, str, float]] = []

    def run(self) -> None:
        """Train until validation does not get better, or no epoch is left."""
        while not self._over():
            self._learn()
            self._look()
            self.epoch, self.batch, self.losses = self.epoch + 1, 0, 0.0
            self.keep()
        self.progress(str(self.job), self._steps, self._steps)

    def _over(self) -> bool:
        return (
            self.epoch >= self.job.schedule.epochs
            or self.epoch - 1 - self.best_epoch >= self.job.schedule.patience
        )

    @property
    def _steps(self) -> int:
        return self.job.schedule.epochs * self.passes * len(self.feed)

    def _learn(self) -> None:
        """Train for an epoch, or for what is left of one."""
        self.task.train()
        end = (self.epoch + 1) * self.passes
        while self.feed.epoch < end:
            for cells in self.feed:
                self.task.prepare(self.epoch, self.batch)
                seeded(self.job.seed, self.epoch, self.batch, self.fabric.global_rank)
                self._step(cells)
                self.batch += 1
                done = self.epoch * self.passes * len(self.feed) + self.batch
                self.progress(str(self.job), done, self._steps + 1)
                # The checkpoint after the last step comes with the validation.
                if self.batch % self.job.schedule.checkpoint_steps == 0 and self.feed.epoch < end:
                    self.keep()

    def _step(self, cells: Cells) -> None:
        loss = self._loss(cells)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss of {self.job}, is {value} at epoch {self.epoch}, step {self.batch}. Remove "
                f"{self.job.folder.parent.parent.name} and lower --lr, now {self.job.schedule.learning_rate:g}, "
                f"or --clip, now {self.job.schedule.clip:g}."
            )
        self.fabric.backward(loss)
        self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=self.job.schedule.clip, error_if_nonfinite=False
        )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses += value

    def _loss(self, cells: Cells) -> Tensor:
        try:
            loss: Tensor = self.model(cells.x, cells.y, cells.rows)
        except Exception as error:
            if not self.job.machine.compile:
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise TrainingError(
                f"torch.compile cannot run {self.job}: {lines[0]} Remove {self.job.folder.parent.parent.name} "
                "and leave --compile out."
            ) from error
        return loss

    def _look(self) -> None:
        """Validate in the first process; all others hear what it found, and stop when it does."""
        found: Any = self.fabric.broadcast(self._validated() if self.fabric.is_global_zero else None)
        self.history.append((self.epoch, "train loss", self.losses / max(1, self.batch)))
        self.history += [(self.epoch, f"val {what}", value) for what, value in found.metrics.items()]
        if not math.isfinite(found.score):
            raise TrainingError(
                f"The validation of {self.job}, is {found.score} after epoch {self.epoch}. "
                f"Remove {self.job.folder.parent.parent.name} and lower --lr, now {self.job.schedule.learning_rate:g}."
            )
        if found.score > self.score:
            self.score, self.best_epoch = found.score, self.epoch
            self.best = {name: t.detach().cpu().clone() for name, t in self.task.state().items()}

    def _validated(self) -> Validated:
        self.task.eval()
        seeded(self.job.seed, _VALIDATION)  # masks are the same after every epoch
        with torch.no_grad(), self.job.machine.autocast():
            return self.task.validate()

    def keep(self) -> None:
        """Write where the fit stands; of a finished one the best weights are all that is left to keep."""
        if not self.fabric.is_global_zero:
            return
        finished = self._over()
        tensors = {f"{_BEST}{name}": tensor for name, tensor in self.best.items()}
        if not finished:
            tensors |= {f"{_NETWORK}{name}": tensor for name, tensor in self.task.state().items()}
            tensors |= checkpoints.optimizer_tensors(self.optimizer)
        said = {
            "finished": finished,
            "epoch": self.epoch,
            "batch": self.batch,
            "losses": self.losses,
            "best_epoch": self.best_epoch,
            "score": None if self.best_epoch < 0 else self.score,
            "history": self.history,
            "seconds": self.seconds + time.monotonic() - self.started,
            "parameters": self.parameters,
            "threads": self.job.threads,
            "feed": self.feed.state_dict(),
        }
        checkpoints.write(self.job.folder, tensors, said)

    def go_on(self) -> None:
        """Stand where the checkpoint does, if there is one."""
        found = checkpoints.read(self.job.folder)
        if found is None:
            return
        tensors, said = found
        self.task.load_state(_of(tensors, _NETWORK))
        checkpoints.load_optimizer(self.optimizer, tensors)
        self.best = _of(tensors, _BEST)
        self.epoch, self.batch, self.losses = said["epoch"], said["batch"], said["losses"]
        self.best_epoch, self.seconds = said["best_epoch"], said["seconds"]
        self.score = self.score if said["score"] is None else said["score"]
        self.history = [(epoch, what, value) for epoch, what, value in said["history"]]
        self.feed.load_state_dict(said["feed"])


def _of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
