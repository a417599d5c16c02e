"""A small graph network that learns labels from a bundle: the proof that its tensors are right."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tosg_graph.dataset import TosgDataset
from tosg_graph.progress import Progress, silent

with warnings.catch_warnings():
    # torch_geometric 2.8 scripts a class on import, which torch 2.15 calls deprecated: nothing a user can change.
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.nn import SAGEConv

HIDDEN = 32
BATCH = 64
LEARNING_RATE = 5e-3


@dataclass(frozen=True)
class Fit:
    """What the network reached; accuracies are shares of test cells."""

    epochs: int
    seconds: float
    train_cells: int
    test_cells: int
    test_accuracy: float
    majority_accuracy: float  # always naming the most frequent training label
    permuted_accuracy: float  # the same network trained on permuted labels: what chance looks like


class Network(torch.nn.Module):
    """Abundance times a vector per node (from its text, and learned), one round of messages, mean readout."""

    def __init__(self, bundle: TosgDataset, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        text = bundle.text
        self.register_buffer("text", text)
        one_way = bundle.edge_index
        # Knowledge edges point from gene to pathway; readout needs both ways.
        self.register_buffer("edge_index", torch.cat([one_way, one_way.flip(0)], dim=1))
        self.from_text = torch.nn.Linear(text.shape[1], HIDDEN)
        self.own = torch.nn.Parameter(torch.randn(text.shape[0], HIDDEN) / HIDDEN**0.5)
        self.messages = SAGEConv(HIDDEN, HIDDEN)
        self.head = torch.nn.Linear(HIDDEN, bundle.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(n_cells, n_classes)`` for abundance ``(n_cells, n_nodes, 1)``."""
        h = x * (self.from_text(self.text) + self.own)  # (n_cells, n_nodes, HIDDEN)
        h = torch.relu(h + self.messages(h, self.edge_index))
        logits: Tensor = self.head(h.mean(dim=1))
        return logits


def fit(bundle: Path, *, epochs: int = 20, seed: int = 0, progress: Progress = silent) -> Fit:
    """Train on the bundle's train cells and score its test cells, with true and with permuted labels.

    The number of epochs is fixed beforehand, so the test cells choose nothing.
    """
    started = time.monotonic()
    train = TosgDataset(bundle, split="train", layer="log1p")
    test = TosgDataset(bundle, split="test", layer="log1p")
    x, y = _all(train)
    x_test, y_test = _all(test)
    generator = torch.Generator().manual_seed(seed)
    permuted = y[torch.randperm(len(y), generator=generator)]
    reached = []
    for name, labels in (("Training", y), ("Training on permuted labels", permuted)):
        network = Network(train, seed)
        _train(network, x, labels, epochs, generator, lambda done, n=name: progress(n, done, epochs))  # type: ignore[misc]  # bound at once
        with torch.no_grad():
            reached.append(_share(network(x_test).argmax(1) == y_test))
    return Fit(
        epochs=epochs,
        seconds=time.monotonic() - started,
        train_cells=len(y),
        test_cells=len(y_test),
        test_accuracy=reached[0],
        majority_accuracy=_share(y_test == y.mode().values),
        permuted_accuracy=reached[1],
    )


def _train(
    network: Network,
    x: Tensor,
    y: Tensor,
    epochs: int,
    generator: torch.Generator,
    show: Callable[[int], None],
) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    for epoch in range(epochs):
        show(epoch)
        for rows in torch.randperm(len(y), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]  # torch
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
    show(epochs)


def _all(cells: TosgDataset) -> tuple[Tensor, Tensor]:
    """Abundance ``(n_cells, n_nodes, 1)`` and label index ``(n_cells,)`` of a whole split."""
    batches = list(cells.batches(batch_size=256))
    return torch.cat([b.x for b in batches]), torch.cat([b.y for b in batches])


def _share(hits: Tensor) -> float:
    return hits.double().mean().item()
