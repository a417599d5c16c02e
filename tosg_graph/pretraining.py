"""``tosg train pretrain``: a network that fills in hidden abundance and finds hidden edges.

No label is read, and no test cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tosg_graph import bundle, predictions, run_folder, trainable
from tosg_graph.errors import TrainingError
from tosg_graph.hashes import sha256_of
from tosg_graph.label_task import Source
from tosg_graph.masked_edges import Judged, MaskedEdges
from tosg_graph.measured_values import MeasuredValues, node_scale
from tosg_graph.model_card import write_card
from tosg_graph.models.checkpoint import save
from tosg_graph.models.model_graph import model_graph
from tosg_graph.models.network import NetworkPlan, SignalingNetwork
from tosg_graph.progress import Progress, silent
from tosg_graph.training import Machine, Schedule, Task, Validated, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.dataset import Cells, TosgDataset

MODEL = "pretrained"
REDRAWN = 20  # steps after which other edges are hidden
EDGE_CELLS = 8  # of a batch, whose states score edges; an edge is the same in all
SCORED = 1024  # pairs per step
_CHUNK = 4096


@dataclass(frozen=True)
class Masking:
    """What is hidden.

    Parameters
    ----------
    abundance
        Share of the measured values of a cell.
    edges
        Share of the edges at once; at most 4,096 edges.
    edge_weight
        Of the loss of edges beside that of abundance, which is 1 where nodes' means are predicted; 0: no edges.
    """

    abundance: float = 0.15
    edges: float = 0.15
    edge_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, option, more in (
            ("abundance", "--mask", ""),
            ("edges", "--mask-edges", " edge_weight=0 (--edge-weight 0) learns from abundance only."),
        ):
            if not 0 < getattr(self, name) < 1:
                raise TrainingError(f"{name}={getattr(self, name)} ({option}) is not between 0 and 1.{more}")
        if not 0 <= self.edge_weight < np.inf:
            raise TrainingError(f"edge_weight={self.edge_weight} is below 0.")


class Pretraining(Task):
    """Hidden abundance from the rest of the cell, hidden edges from the rest of the graph."""

    def __init__(
        self, network: SignalingNetwork, train: TosgDataset, val: TosgDataset, masking: Masking, seed: int
    ) -> None:
        super().__init__()
        self.network: SignalingNetwork = network
        self.cells, self.val, self.masking = train, val, masking
        self.known, self.val_known = MeasuredValues(train), MeasuredValues(val)
        self.edges = MaskedEdges(train, seed, masking.edges)
        self.scores_edges = bool(masking.edge_weight and self.edges.types)
        network.pairs.requires_grad_(self.scores_edges)
        scale = node_scale(train)
        network.set_scale(scale.mean, scale.deviation)
        self.register_buffer("mean", scale.mean, persistent=False)
        self.mean: Tensor
        self.variance = scale.variance
        self.register_buffer("group", torch.from_numpy(linked(train)), persistent=False)
        self.group: Tensor
        self.shown: tuple[int, int] | None = None
        self.asked: Judged | None = None

    def prepare(self, epoch: int, batch: int) -> None:
        """Hide other edges every few steps."""
        now = (epoch, batch // REDRAWN)
        if self.shown == now:
            return
        if self.scores_edges:
            shown, self.asked = self.edges.hidden(*now)
        else:
            shown = self.edges.messages
        self.network.keep_edges(shown)
        self.shown = now

    def loss(self, cells: Cells) -> Tensor:
        """Squared error of hidden abundance, as a share of that of nodes' means, and cross-entropy of hidden edges."""
        hidden = self._hide(self.known.mask(cells))
        states = self.network.states(self._without(cells, hidden, self.known))
        error = self.network.abundance(states).float() - cells.x[..., 0]
        loss = (error.square() * hidden).sum() / hidden.sum().clamp(min=1) / self.variance
        if self.asked is None or not len(self.asked):
            return loss
        some = torch.randint(len(self.asked), (min(SCORED, len(self.asked)),))
        pairs, kind, label = (t.to(states.device) for t in _taken(self.asked, some))
        logits = self.network.edge_logits(states[:EDGE_CELLS], pairs, kind).float()
        wrong = nn.functional.binary_cross_entropy_with_logits(logits, label.expand_as(logits))
        return loss + self.masking.edge_weight * wrong

    def _hide(self, measured: Tensor) -> Tensor:
        """bool ``(B, N)``: what to hide; nodes that have their abundance of one gene are hidden together."""
        drawn = torch.rand(len(measured), int(self.group.max()) + 1, device=measured.device)
        return (drawn < self.masking.abundance)[:, self.group] & measured

    def _without(self, cells: Cells, hidden: Tensor, known: MeasuredValues) -> Tensor:
        return known.x(cells).masked_fill(hidden.unsqueeze(-1), torch.nan)

    # ----------------------------------------------------------------- validation

    def validate(self) -> Validated:
        """Abundance of held-out donors and held-out edges, each beside what a simple rule reaches."""
        self.network.keep_edges(self.edges.messages)
        self.shown = None
        found = self._validate_abundance()
        loss = found["abundance loss"]
        if self.scores_edges:
            found |= self._validate_edges()
            loss += self.masking.edge_weight * found["edge loss"]
        return Validated(-loss, found)

    def _validate_abundance(self) -> dict[str, float]:
        network, means = _Agreement(), _Agreement()
        for cells in self._val_cells():
            hidden = self._hide(self.val_known.mask(cells))
            states = self.network.states(self._without(cells, hidden, self.val_known))
            true = cells.x[..., 0][hidden].double()
            network.add(true, self.network.abundance(states)[hidden].double())
            means.add(true, self.mean.expand_as(hidden)[hidden].double())
        return {
            "abundance loss": network.error / max(means.error, 1e-12),
            "abundance R2": network.r2,
            "abundance R2, by mean of the node": means.r2,
            "abundance Pearson": network.pearson,
            "abundance Pearson, by mean of the node": means.pearson,
        }

    def _val_cells(self) -> Iterator[Cells]:
        device = self.mean.device
        for cells in self.val.feed(256, shuffle=False, rank=0, world_size=1):
            yield cells.to(device)

    def _validate_edges(self) -> dict[str, float]:
        from sklearn.metrics import average_precision_score, roc_auc_score

        first = next(iter(self.val.feed(EDGE_CELLS * 4, shuffle=False, rank=0, world_size=1))).to(
            self.mean.device
        )
        states, degree = self.network.states(self.val_known.x(first)), self.edges.degrees()
        found = {}
        for name, judged in (("matched", self.edges.matched), ("uniform", self.edges.uniform)):
            logits, label = self._logits(states, judged), judged.label
            by_degree = degree[judged.pairs].prod(dim=0)
            found[f"edge AUROC, {name} negatives"] = float(roc_auc_score(label, logits))
            found[f"edge AP, {name} negatives"] = float(average_precision_score(label, logits))
            found[f"edge AUROC, {name} negatives, by degree"] = float(roc_auc_score(label, by_degree))
            found[f"edge AP, {name} negatives, by degree"] = float(average_precision_score(label, by_degree))
            if name == "matched":
                loss = nn.functional.binary_cross_entropy_with_logits(logits, label)
                found["edge loss"] = float(loss)
        return found

    def _logits(self, states: Tensor, judged: Judged) -> Tensor:
        """Mean over cells of the logits of each pair, on the processor."""
        parts = []
        for some in torch.arange(len(judged)).split(_CHUNK):  # type: ignore[no-untyped-call]  # torch
            pairs, kind, _ = (t.to(states.device) for t in _taken(judged, some))
            parts.append(self.network.edge_logits(states, pairs, kind).float().mean(dim=0).cpu())
        return torch.cat(parts)


def _taken(judged: Judged, some: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return judged.pairs[:, some], judged.edge_type[some], judged.label[some]


class _Agreement:
    """Sums of what was true and what was said, out of which R2 and Pearson's correlation come."""

    def __init__(self) -> None:
        self._n, self._sums, self.error = 0, np.zeros(5), 0.0

    def add(self, true: Tensor, said: Tensor) -> None:
        """Add float64 values of one batch."""
        self._n += len(true)
        self._sums += [float(part.sum()) for part in (true, said, true**2, said**2, true * said)]
        self.error += float(((said - true) ** 2).sum())

    @property
    def r2(self) -> float:
        """One minus the squared error over that of the mean of all true values."""
        true, _, squares, *_ = self._sums
        return 1 - self.error / max(squares - true**2 / max(1, self._n), 1e-12)

    @property
    def pearson(self) -> float:
        """Correlation; 0 where either does not vary."""
        true, said, true2, said2, both = self._sums / max(1, self._n)
        spread = (true2 - true**2) * (said2 - said**2)
        return float((both - true * said) / np.sqrt(spread)) if spread > 1e-24 else 0.0


def linked(dataset: TosgDataset) -> NDArray[np.int64]:
    """int64 ``(N,)``: equal for nodes whose abundance is gathered of one gene, which would tell of each other."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = dataset.num_nodes
    if "gather" not in dataset.manifest:
        return np.arange(nodes)
    links = bundle.map_tensors(bundle.checked_path(dataset.folder, dataset.manifest, bundle.GATHER))
    genes = dataset.gene_rows
    gene = np.concatenate([np.arange(len(genes)), links["gene"].astype(np.int64)])
    node = np.concatenate([genes, links["node_row"]])
    size = nodes + int(gene.max(initial=0)) + 1
    joined = coo_array((np.ones(len(gene), np.int8), (node, nodes + gene)), shape=(size, size))
    _, group = connected_components(joined, directed=False)
    return np.unique(group[:nodes], return_inverse=True)[1].astype(np.int64)


# --------------------------------------------------------------------------- the run


@dataclass(frozen=True)
class Recipe:
    """All that makes the network and its task; each process of a training makes them of it."""

    source: Source
    plan: NetworkPlan
    masking: Masking
    seed: int

    def __call__(self) -> Pretraining:
        """Make the task."""
        train = self.source.open("train")
        return Pretraining(self.network(train), train, self.source.open("val"), self.masking, self.seed)

    def network(self, cells: TosgDataset) -> SignalingNetwork:
        """Make the network with its first weights; it has no readout."""
        return SignalingNetwork(model_graph(cells), self.plan, 0, seed=self.seed)


@dataclass(frozen=True)
class Pretrained:
    """What a pretraining left.

    Parameters
    ----------
    run
        The folder.
    metrics
        Of validation, in the epoch that it chose.
    """

    run: Path
    metrics: dict[str, float]


def pretrain(
    folder: str | Path,
    out: str | Path,
    *,
    plan: NetworkPlan | None = None,
    masking: Masking | None = None,
    seed: int = 0,
    schedule: Schedule | None = None,
    machine: Machine | None = None,
    store: str | Path | None = None,
    progress: Progress = silent,
) -> Pretrained:
    """Learn to fill in hidden abundance, and to find hidden edges, of a bundle.

    Parameters
    ----------
    folder
        The bundle. Edges of its edge task that are not of train are held out; without one, a tenth is.
    out
        The run to write; while it is made, ``out.partial`` holds what the same call goes on from.
    plan
        What the network is made of.
    store
        The store that a bundle without abundance was exported from.

    Raises
    ------
    TrainingError
        If the bundle cannot be learned from, ``out`` exists, or the training diverges.
    BundleError
        If the bundle is damaged or of a newer format.
    """
    source = Source(Path(folder), None if store is None else str(store))
    plan, masking = plan or NetworkPlan(), masking or Masking()
    schedule, machine = schedule or Schedule(), machine or Machine()
    manifest = bundle.read_manifest(source.bundle)
    bundle.verify(source.bundle, manifest)
    trainable.check_splits(source.bundle, manifest, ("train", "val"))
    if not plan.abundance:
        raise TrainingError("The plan has abundance=False: there is nothing to hide. Leave it on.")
    if plan.text:
        trainable.check_text(source.bundle, manifest)
    command: dict[str, Any] = {
        "task": "pretrain",
        "bundle_sha256": sha256_of(source.bundle / bundle.MANIFEST),
        "plan": plan.as_dict(),
        "masking": asdict(masking),
        "seeds": [seed],
        "schedule": asdict(schedule),
        "machine": asdict(machine),
    }
    with run_folder.run_folder(Path(out), command) as partial:
        recipe = Recipe(source, plan, masking, seed)
        place = partial / run_folder.FITS / f"plan-{seed}"
        fitted = fit(recipe, place, schedule, machine, name=MODEL, seed=seed, progress=progress)
        run_folder.write_history(partial, [(MODEL, seed, fitted)])
        network = recipe.network(source.open("train"))
        network.load_state_dict(fitted.weights)
        save(network, partial / run_folder.WEIGHTS)
        line = {
            "seed": seed,
            "seconds": round(fitted.seconds, 3),
            "parameters": fitted.parameters,
            "chosen": {"epoch": fitted.epoch, "epochs": fitted.epochs},
        }
        about = {
            **command,
            "format_version": predictions.FORMAT_VERSION,
            "metrics": fitted.metrics(),
            "models": [{"model": MODEL, "seeds": [line]}],
            **trainable.said_of(source.bundle, manifest),
            "software": run_folder.software(),
        }
        bundle.write_json(about, partial / predictions.RUN)
        write_card(partial, manifest)
    return Pretrained(Path(out), fitted.metrics())
