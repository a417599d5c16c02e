"""Pretraining: what is hidden is hidden both ways, held out is held out, and what is reported has a rule beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import learning_bundle as world
import numpy as np
import pytest
import torch

from tosg_graph import label_task
from tosg_graph.edge_splits import EdgeTask
from tosg_graph.errors import TrainingError
from tosg_graph.label_task import Source
from tosg_graph.masked_edges import Judged, MaskedEdges
from tosg_graph.models.network import NetworkPlan
from tosg_graph.pretraining import Masking, Pretrained, Pretraining, Recipe, pretrain
from tosg_graph.training import Machine, Schedule

SMALL = NetworkPlan(hidden=8, layers=1, dropout=0.0)
SIGNALS = "Gene__SIGNALS_TO__Gene"
CPU = Machine(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretraining")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return world.write(folder / "bundle")


@pytest.fixture(scope="module")
def with_task(folder: Path) -> Path:
    return world.write(folder / "with_task", edge_task=EdgeTask(("SIGNALS_TO",), (0.6, 0.2, 0.2)))


def edges_of(bundle: Path, seed: int = 0, share: float = 0.3) -> tuple[Any, MaskedEdges]:
    train = Source(bundle).open("train")
    return train, MaskedEdges(train, seed, share)


def pairs(edges: torch.Tensor) -> set[tuple[int, int]]:
    """Pairs of nodes, whichever way round."""
    return {(min(a, b), max(a, b)) for a, b in edges.T.tolist()}


def positives(judged: Judged) -> torch.Tensor:
    return judged.pairs[:, judged.label == 1]


# --------------------------------------------------------------------------- edges


@pytest.mark.parametrize("made", ["bundle", "with_task"])
def test_no_message_passes_along_an_edge_to_find(made: str, request: pytest.FixtureRequest) -> None:
    train, edges = edges_of(request.getfixturevalue(made))
    every = train.edge_index
    held_out = pairs(positives(edges.matched))
    assert held_out
    assert not held_out & pairs(every[:, edges.messages])
    for number in range(5):
        shown, asked = edges.hidden(0, number)
        assert not pairs(positives(asked)) & pairs(every[:, shown])
        assert not pairs(every[:, shown]) & held_out
        assert pairs(every[:, edges.messages]) - pairs(every[:, shown]) == pairs(positives(asked))
    assert edges.types == [SIGNALS], "other types join fewer than twenty pairs"


def test_test_edges_of_the_bundle_stay_out_of_messages_and_are_not_judged(with_task: Path) -> None:
    from tosg_graph.edge_task import edge_task

    train, edges = edges_of(with_task)
    of_test = edge_task(with_task, "test")
    hidden = pairs(of_test.edge_label_index[:, of_test.edge_label == 1])
    assert hidden
    assert not hidden & pairs(train.edge_index[:, edges.messages])
    assert not hidden & pairs(positives(edges.matched))
    of_val = edge_task(with_task, "val")
    ours = sorted(map(tuple, edges.matched.pairs.T.tolist()))
    assert ours == sorted(map(tuple, of_val.edge_label_index.T.tolist())), (
        "edges and negatives are the bundle's"
    )


def test_negatives_are_no_edges_and_have_the_types_of_edges(bundle: Path) -> None:
    train, edges = edges_of(bundle)
    known = pairs(train.edge_index)
    for asked in (edges.matched, edges.uniform, edges.hidden(0, 0)[1]):
        drawn = asked.pairs[:, asked.label == 0]
        assert drawn.shape[1] > 0
        assert not pairs(drawn) & known
        assert (drawn[0] != drawn[1]).all()
    genes = range(*train.node_offsets["Gene"])
    matched = edges.matched.pairs[:, edges.matched.label == 0]
    assert set(matched.flatten().tolist()) <= set(genes)


def test_other_edges_are_hidden_later_and_the_same_ones_again(bundle: Path) -> None:
    _, edges = edges_of(bundle)
    _, again = edges_of(bundle)
    assert torch.equal(edges.hidden(1, 2)[0], again.hidden(1, 2)[0])
    assert torch.equal(edges.hidden(1, 2)[1].pairs, again.hidden(1, 2)[1].pairs)
    assert not torch.equal(edges.hidden(1, 2)[0], edges.hidden(1, 3)[0])


# --------------------------------------------------------------------------- abundance


def task(bundle: Path, **masking: float) -> Pretraining:
    return Recipe(Source(bundle), SMALL, Masking(**masking), 0)()


def test_a_hidden_value_does_not_tell_of_itself(bundle: Path) -> None:
    """What is said of a hidden node is the same whatever its value is."""
    made = task(bundle)
    made.prepare(0, 0)
    cells = made.cells.take([0, 1])
    hidden = torch.zeros(2, world.NODES, dtype=torch.bool)
    hidden[:, 3] = True
    said = []
    for value in (0.0, 7.0):
        x = cells.x.clone()
        x[:, 3] = value
        with torch.no_grad():
            seen = made._without(type(cells)(x, cells.y, cells.rows), hidden, made.known)
            said.append(made.network.abundance(made.network.states(seen)))
    assert torch.equal(*said)


def test_only_measured_values_are_hidden_in_their_share(bundle: Path) -> None:
    made = task(bundle, abundance=0.5)
    mask = made.known.mask(made.cells.take(range(100)))
    torch.manual_seed(0)
    hidden = made._hide(mask)
    assert not (hidden & ~mask).any()
    assert 0.45 < hidden[mask].float().mean() < 0.55


def test_means_are_those_of_the_training_cells(bundle: Path) -> None:
    made = task(bundle)
    x = made.cells.take(range(len(made.cells))).x[..., 0]
    genes = made.cells.node_mask
    assert torch.allclose(made.mean[genes], x[:, genes].mean(0), atol=1e-6)
    assert made.variance == pytest.approx(float(x[:, genes].var(0, correction=0).mean()), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 1.0], ids=["abundance", "abundance and edges"])
@pytest.mark.parametrize("conv", ["typed", "gat"])
def test_every_weight_that_is_fitted_takes_part(bundle: Path, conv: Any, weight: float) -> None:
    """Else several devices would wait for a gradient that does not come."""
    plan = NetworkPlan(hidden=8, layers=1, conv=conv)
    tasks = [
        Recipe(Source(bundle), plan, Masking(edge_weight=weight), 0)(),
        label_task.Recipe(Source(bundle), plan, 0)(),
    ]
    for made in tasks:
        made.prepare(0, 0)
        made.loss(made.cells.take(range(8))).backward()
        idle = [name for name, p in made.named_parameters() if p.requires_grad and p.grad is None]
        assert not idle


# --------------------------------------------------------------------------- the run


@pytest.fixture(scope="module")
def run(folder: Path, with_task: Path) -> Pretrained:
    return pretrain(
        with_task,
        folder / "run",
        plan=SMALL,
        schedule=Schedule(epochs=8, batch_size=16, learning_rate=0.01),
        machine=CPU,
    )


def test_a_run_reports_simple_rules_beside_the_network(run: Pretrained, with_task: Path) -> None:
    assert {
        "val abundance R2",
        "val abundance R2, by mean of the node",
        "val edge AUROC, matched negatives",
        "val edge AUROC, matched negatives, by degree",
        "val edge AUROC, uniform negatives",
    } <= set(run.metrics)
    about = json.loads((run.run / "run.json").read_text())
    assert about["metrics"] == run.metrics
    card = (run.run / "card.md").read_text()
    assert about["bundle_sha256"] in card
    assert str(with_task.parent) not in card + json.dumps(about)
    assert run.metrics["val abundance R2"] > run.metrics["val abundance R2, by mean of the node"] - 0.05


def test_the_same_seed_gives_the_same_network_after_a_stop(folder: Path, with_task: Path) -> None:
    def go(out: str, stop: int = -1) -> bytes:
        def show(what: str, done: int, total: int | None) -> None:
            if done == stop:
                raise KeyboardInterrupt

        given: dict[str, Any] = {"plan": SMALL, "machine": CPU, "progress": show}
        pretrain(
            with_task, folder / out, schedule=Schedule(epochs=2, batch_size=16, checkpoint_steps=7), **given
        )
        return (folder / out / "model.safetensors").read_bytes()

    with pytest.raises(KeyboardInterrupt):
        go("part", stop=38)  # in the second epoch, where other edges are hidden than at its beginning
    assert go("part") == go("whole")


def test_test_cells_and_labels_are_not_read(
    folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = set()
    monkeypatch.setattr(
        Source, "open", lambda self, split, before=Source.open: (opened.add(split), before(self, split))[1]
    )
    pretrain(bundle, folder / "watched", plan=SMALL, schedule=Schedule(epochs=1, batch_size=64), machine=CPU)
    assert opened == {"train", "val"}


def test_without_edges_to_find_abundance_is_learned(folder: Path, bundle: Path) -> None:
    found = pretrain(
        bundle,
        folder / "no_edges",
        plan=SMALL,
        masking=Masking(edge_weight=0),
        schedule=Schedule(epochs=1, batch_size=64),
        machine=CPU,
    )
    assert not [name for name in found.metrics if "edge" in name]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"abundance": 0.0}, r"\(--mask\) is not between 0 and 1"),
        ({"edges": 1.5}, r"\(--mask-edges\) is not between 0 and 1. edge_weight=0"),
        ({"edge_weight": -1.0}, "below 0"),
    ],
    ids=str,
)
def test_masking_is_checked(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Masking(**wrong)


def test_a_plan_that_hides_nothing_is_refused(folder: Path, bundle: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to hide"):
        pretrain(bundle, folder / "x", plan=NetworkPlan(abundance=False), machine=CPU)
    assert not np.any([path.name.startswith("x") for path in folder.iterdir()])
