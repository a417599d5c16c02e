"""The label of cells as a task to fit: the network, what is fitted of it, and how its epoch is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import TrainingError
from tosg_graph.measured_values import MeasuredValues, node_scale
from tosg_graph.models.checkpoint import load_shared
from tosg_graph.models.model_graph import ModelGraph, model_graph
from tosg_graph.models.network import NetworkPlan, SignalingNetwork
from tosg_graph.models.text_encoder import Joint, TextTuner, tuner_of
from tosg_graph.training import Task, Validated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.dataset import Cells

MODEL = "graph"
ABLATIONS = {
    "text": "graph without text",
    "edges": "graph without edges",
    "shuffled-edges": "graph with shuffled edges",
    "shuffled-text": "graph with shuffled text",
    "scratch": "graph from scratch",
    "frozen-text": "graph with frozen text",
}
"""What --ablations names -> the model in predictions."""

ADAPTER_RATE = 0.1
"""Share of the learning rate for adapters of the text encoder: what is learned already moves slower."""

TEXT, ADAPTERS = "joint/text", "joint/adapters/"
"""In the state of a joint fit: vectors of all nodes, and the adapters."""

STANDARDISED_BY = 512  # training cells, before each validation; exports shuffle them

MODES = ("scratch", "frozen", "fine-tuned")
Mode = Literal["scratch", "frozen", "fine-tuned"]


@dataclass(frozen=True)
class Source:
    """Where cells come from.

    Parameters
    ----------
    bundle
        The folder.
    store
        The store that a bundle without abundance was exported from.
    """

    bundle: Path
    store: str | None = None

    def open(self, split: str) -> TosgDataset:
        """Open one split of the bundle, log1p of abundance."""
        return TosgDataset(self.bundle, split, layer="log1p", store=self.store, verify=False)


# --------------------------------------------------------------------------- one fit


class Classifying(Task):
    """The label of cells from logits of a network.

    The epoch is chosen by the cross-entropy of the validation cells, those of classes that train lacks left out.

    Where the encoder of texts learns too, each step embeds ``drawn`` texts anew, and each validation all of them:
    so the network that is chosen has one matrix of vectors, the one that it was judged with.
    """

    def __init__(
        self,
        network: SignalingNetwork,
        train: TosgDataset,
        val: TosgDataset,
        weights: Tensor | None,
        frozen: bool,
        tuner: TextTuner | None = None,
        drawn: int = 0,
    ) -> None:
        super().__init__()
        self.tuner, self.drawn = tuner, drawn
        self.network: SignalingNetwork = network
        self.cells, self.val = train, val
        self.frozen = frozen
        self.known = MeasuredValues(train)
        self.judged = np.isin(labels(val), labels(train))
        if not self.judged.any():
            raise TrainingError(
                f"None of the {len(val):,} validation cells is of a class of the training cells: nothing can be "
                "chosen on them. Export the bundle with another --split or --seed."
            )
        self.register_buffer("weights", weights, persistent=False)
        self.weights: Tensor | None
        for part in (network.abundance_head, network.pairs):
            part.requires_grad_(False)  # heads of pretraining
        if frozen:
            network.requires_grad_(False)
            network.readout.requires_grad_(True)  # type: ignore[union-attr]  # made with classes

    def train(self, mode: bool = True) -> Classifying:
        """As of any module; a frozen encoder drops nothing out."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
            self.network.readout.train(mode)  # type: ignore[union-attr]
        return self

    def loss(self, cells: Cells) -> Tensor:
        """Mean cross-entropy of a batch."""
        text = None if self.tuner is None else self.tuner.drawn(self.drawn, self.network.fusion.vectors)
        logits = self.network(self.known.x(cells), text).float()
        return nn.functional.cross_entropy(logits, cells.y, self.weights)

    def validate(self) -> Validated:
        """Macro-F1, accuracy and cross-entropy of the validation cells."""
        if self.tuner is not None:
            self.network.fusion.vectors = self.tuner.renewed(self.network.fusion.vectors)
        self._standardise()
        probability, truth = predict(self.network, self.val)[self.judged], labels(self.val)[self.judged]
        given = probability[np.arange(len(truth)), truth].astype(np.float64)
        said = probability.argmax(1)
        loss = float(-np.log(np.maximum(given, 1e-15)).mean()) if np.isfinite(given).all() else np.nan
        metrics = {"loss": loss, "macro-F1": macro_f1(truth, said), "accuracy": float((truth == said).mean())}
        return Validated(-loss, metrics)

    @torch.no_grad()
    def _standardise(self) -> None:
        """Take what the readout standardises by over training cells anew.

        What it gathered while the weights moved is of other weights (Wu and Johnson 2021, "precise" statistics).
        """
        norm = self.network.readout.norm  # type: ignore[union-attr]  # made with classes
        self.network.eval()
        momentum, norm.momentum = norm.momentum, None  # all batches weigh the same
        norm.reset_running_stats()
        norm.train()
        device = next(self.network.parameters()).device
        for rows in np.array_split(np.arange(len(self.cells))[:STANDARDISED_BY], 2):
            cells = self.cells.take(rows).to(device)
            self.network(self.known.x(cells))
        norm.momentum = momentum
        norm.eval()

    def rates(self) -> list[tuple[list[nn.Parameter], float]]:
        """As of any task; adapters learn at `ADAPTER_RATE` of the rate."""
        if self.tuner is None:
            return super().rates()
        own = [p for p in self.network.parameters() if p.requires_grad]
        return [(own, 1.0), (list(self.tuner.adapters().values()), ADAPTER_RATE)]

    def state(self) -> dict[str, Tensor]:
        """As of any task, and adapters and vectors where the encoder learns; its own weights stay as they are."""
        if self.tuner is None:
            return super().state()
        adapters = {f"{ADAPTERS}{name}": value for name, value in self.tuner.adapters().items()}
        return {**super().state(), TEXT: self.network.fusion.vectors, **adapters}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take what `state` gave."""
        super().load_state(network_of(state))
        if self.tuner is not None:
            self.network.fusion.vectors = state[TEXT].clone().to(self.network.fusion.vectors)
            self.tuner.load_adapters(adapters_of(state))


def network_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the network in the state of a fit."""
    return {name: t for name, t in state.items() if name != TEXT and not name.startswith(ADAPTERS)}


def adapters_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Adapters in the state of a fit, none where the encoder did not learn."""
    return {name.removeprefix(ADAPTERS): t for name, t in state.items() if name.startswith(ADAPTERS)}


def predict(network: SignalingNetwork, cells: TosgDataset, batch_size: int = 256) -> NDArray[np.float32]:
    """Probabilities ``(n, classes)`` of all cells of a dataset, by row, on the device of the network."""
    network.eval()
    known, device = MeasuredValues(cells), next(network.parameters()).device
    found = np.empty((len(cells), network.classes), np.float32)
    feed = cells.feed(batch_size, shuffle=False, rank=0, world_size=1)
    with torch.no_grad():
        for batch in feed:
            logits = network(known.x(batch.to(device))).float()
            found[batch.rows.numpy()] = logits.softmax(1).cpu().numpy()
    return found


def labels(cells: TosgDataset) -> NDArray[np.int64]:
    """Label index of each cell."""
    found: NDArray[np.int64] = cells.cells["label_index"].to_numpy().astype(np.int64)
    return found


def macro_f1(truth: NDArray[np.int64], said: NDArray[np.int64]) -> float:
    """Mean of F1 over the classes that occur in the truth, as `tosg_graph.metrics` has it."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, said, labels=np.unique(truth), average="macro", zero_division=0.0))


@dataclass(frozen=True)
class Recipe:
    """All that makes one network and its task; each process of a training makes them of it.

    Parameters
    ----------
    ablation
        A key of `ABLATIONS`, or None for the network as planned.
    pretrained
        Weights of a network to start from.
    per_class
        Labels to learn from, of each class; all where None. Which ones the seed decides.
    balanced
        Whether each class weighs the same in the loss.
    joint
        How the encoder of texts learns too; it does not in ablations without text, or with frozen text.
    """

    source: Source
    plan: NetworkPlan
    seed: int
    ablation: str | None = None
    pretrained: Path | None = None
    mode: Mode = "scratch"
    per_class: int | None = None
    balanced: bool = False
    joint: Joint | None = None

    @property
    def name(self) -> str:
        """Of the model, in predictions."""
        return ABLATIONS[self.ablation] if self.ablation else MODEL

    def __call__(self) -> Classifying:
        """Make the task."""
        every = self.source.open("train")
        train, network = labelled(every, self.per_class, self.seed), self.network(every)
        scale = node_scale(every)  # which no label decides
        network.set_scale(scale.mean, scale.deviation)
        weights = _class_weights(labels(train), train.num_classes) if self.balanced else None
        frozen = self.mode == "frozen" and self.ablation != "scratch"
        tuner = self._tuner(every)
        drawn = self.joint.nodes if self.joint else 0
        return Classifying(network, train, self.source.open("val"), weights, frozen, tuner, drawn)

    def network(self, cells: TosgDataset, text: Tensor | None = None) -> SignalingNetwork:
        """Make the network with its first weights, and with other vectors of texts where they are given."""
        graph, plan = self._varied(model_graph(cells))
        if text is not None:
            graph = replace(graph, text=text.clone())  # aligned, unlike what is mapped
        if self.pretrained and self.ablation != "scratch":
            return load_shared(self.pretrained, graph, cells.num_classes, seed=self.seed)[0]
        return SignalingNetwork(graph, plan, cells.num_classes, seed=self.seed)

    def fitted(self, cells: TosgDataset, state: Mapping[str, Tensor]) -> SignalingNetwork:
        """Make the network of a state that `fit` gave, with the vectors of texts that it was judged with."""
        network = self.network(cells, state.get(TEXT))
        network.load_state_dict(network_of(state))
        return network

    def _tuner(self, cells: TosgDataset) -> TextTuner | None:
        if self.joint is None or self.ablation in ("text", "frozen-text"):
            return None
        shuffled = self.ablation == "shuffled-text"
        order = model_graph(cells).text_order(self.seed) if shuffled else None
        return tuner_of(cells, self.joint, seed=self.seed, order=order)

    def _varied(self, graph: ModelGraph) -> tuple[ModelGraph, NetworkPlan]:
        match self.ablation:
            case "text":
                return graph, replace(self.plan, text=False)
            case "edges":
                return graph, replace(self.plan, graph=False)
            case "shuffled-edges":
                return graph.shuffled_edges(self.seed), self.plan
            case "shuffled-text":
                return graph.shuffled_text(self.seed), self.plan
        return graph, self.plan


def labelled(train: TosgDataset, per_class: int | None, seed: int) -> TosgDataset:
    """Training cells: all, or so many of each class, drawn from the seed.

    Raises
    ------
    TrainingError
        If a class has fewer.
    """
    if per_class is None:
        return train
    if per_class < 1:
        raise TrainingError(f"per_class={per_class} is below 1.")
    y, chosen = labels(train), []
    for number, name in enumerate(train.classes):
        of_class = np.flatnonzero(y == number)
        if 0 < len(of_class) < per_class:
            raise TrainingError(
                f"{name!r} has {len(of_class)} training cells, fewer than --per-class {per_class}. Ask for fewer."
            )
        drawn = np.random.default_rng([seed, number]).permutation(of_class)[:per_class]
        chosen.append(drawn)
    return train.only(np.sort(np.concatenate(chosen)))


def _class_weights(y: NDArray[np.int64], classes: int) -> Tensor:
    counts = np.bincount(y, minlength=classes)
    weights = np.where(counts > 0, len(y) / (np.maximum(counts, 1) * (counts > 0).sum()), 0.0)
    return torch.from_numpy(weights.astype(np.float32))
