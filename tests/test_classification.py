"""`tosg train classify`: what it learns, what it must not learn, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import learning_bundle as world
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from tosg_graph import classification, cli, predictions
from tosg_graph.classification import Classified, classify
from tosg_graph.errors import BundleError, ModelError, TosgError, TrainingError
from tosg_graph.label_task import Recipe, Source, labelled, labels
from tosg_graph.models.network import NetworkPlan
from tosg_graph.pretraining import pretrain
from tosg_graph.training import Machine, Schedule, using_threads

SMALL = NetworkPlan(hidden=8, layers=1, dropout=0.0)
SHORT = Schedule(epochs=2, batch_size=32)
CPU = Machine(device="cpu")


def quick(bundle: Path, out: Path, **changes: Any) -> Classified:
    given: dict[str, Any] = {
        "seeds": 1,
        "ablations": (),
        "baselines": False,
        "schedule": SHORT,
        "machine": CPU,
    }
    if "pretrained" not in changes:
        given["plan"] = SMALL
    return classify(bundle, out, **{**given, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classification")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    return world.write(folder / "bundle")


@pytest.fixture(scope="module")
def run(folder: Path, bundle: Path) -> Path:
    """The planted rule, two ablations and the cheap baselines, through the command."""
    command = ["train", "classify", str(bundle), "--out", str(folder / "run"), "--seeds", "1"]
    command += ["--ablations", "text,edges", "--hidden", "16", "--layers", "1", "--epochs", "6"]
    command += ["--batch-size", "16", "--lr", "0.01", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosg_graph.baselines.BASELINES", ("majority", "logistic"))
        done = CliRunner().invoke(cli.main, command)
    assert done.exit_code == 0, done.output
    assert "graph without edges" in done.stdout
    assert f"tosg evaluate {folder / 'run'}" in done.stdout
    return folder / "run"


def accuracy(run: Path, model: str, split: str = "test") -> float:
    rows = predictions.chosen(predictions.read(run).table, model=model, split=split)
    said = np.array(rows["probability"].to_pylist()).argmax(1)
    return float((said == rows["label_index"].to_numpy()).mean())


# --------------------------------------------------------------------------- what it learns


def test_a_planted_rule_is_learned(run: Path) -> None:
    assert accuracy(run, "graph") >= 0.9
    assert accuracy(run, "logistic") >= 0.9
    assert accuracy(run, "majority") <= 0.7


def test_labels_permuted_within_train_give_chance_on_test(folder: Path, bundle: Path) -> None:
    cells = pq.read_table(bundle / "cells.parquet")
    label = dict(zip(cells["cell_id"].to_pylist(), cells["label"].to_pylist(), strict=True))
    train = [
        k
        for k, s in zip(cells["cell_id"].to_pylist(), cells["split"].to_pylist(), strict=True)
        if s == "train"
    ]
    shuffled = np.random.default_rng(3).permutation([label[name] for name in train])
    label |= dict(zip(train, shuffled.tolist(), strict=True))
    leaky = world.write(folder / "permuted", disease=[label[k] for k in sorted(label)])
    assert pq.read_table(leaky / "cells.parquet", columns=["cell_id", "split"]).equals(
        cells.select(["cell_id", "split"])
    ), "donors are dealt as before"
    quick(leaky, folder / "permuted-run", schedule=Schedule(epochs=6, batch_size=16, learning_rate=0.01))
    assert abs(accuracy(folder / "permuted-run", "graph") - 0.5) <= 0.2


def test_the_test_cells_are_opened_once_and_last(
    folder: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def told(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def tell(*arguments: Any, **named: Any) -> Any:
            events.append(arguments[1] if what == "open" else what)
            return function(*arguments, **named)

        return tell

    monkeypatch.setattr(Source, "open", told("open", Source.open))
    monkeypatch.setattr(classification, "fit", told("fit", classification.fit))
    quick(
        bundle, folder / "watched", seeds=2, ablations=("edges",), schedule=Schedule(epochs=1, batch_size=64)
    )
    assert events.count("fit") == 4
    assert events.count("test") == 1
    last_fit = len(events) - 1 - events[::-1].index("fit")
    assert "test" not in events[: last_fit + 1]


def test_ablations_change_what_they_name_and_nothing_else(bundle: Path) -> None:
    def graph_and_plan(ablation: str | None) -> tuple[Any, NetworkPlan]:
        network = Recipe(Source(bundle), SMALL, 0, ablation).network(Source(bundle).open("train"))
        return network.graph, network.plan

    plain, plan = graph_and_plan(None)
    assert plan == SMALL
    assert not graph_and_plan("text")[1].text
    assert not graph_and_plan("edges")[1].graph
    edges = graph_and_plan("shuffled-edges")[0]
    assert not torch.equal(edges.edge_index, plain.edge_index)
    assert torch.equal(edges.text, plain.text)
    text = graph_and_plan("shuffled-text")[0]
    assert not torch.equal(text.text, plain.text)
    assert torch.equal(text.edge_index, plain.edge_index)


# --------------------------------------------------------------------------- what it leaves


def test_a_run_says_what_it_was_made_of(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["plan"]["hidden"] == 16
    assert about["ablations"] == ["text", "edges"]
    assert [m["model"] for m in about["models"]][:3] == ["graph", "graph without text", "graph without edges"]
    assert [m["model"] for m in about["models"]][3:] == ["majority", "logistic"]
    history = pq.read_table(run / "history.parquet")
    assert set(history["what"].to_pylist()) == {"train loss", "val loss", "val macro-F1", "val accuracy"}
    assert sorted(p.name for p in run.iterdir()) == [
        "card.md",
        "history.parquet",
        "model.json",
        "model.safetensors",
        "predictions.parquet",
        "run.json",
    ]


def test_a_card_names_its_data_and_no_place_on_this_machine(run: Path, bundle: Path) -> None:
    card = (run / "card.md").read_text()
    about = json.loads((run / "run.json").read_text())
    assert about["bundle_sha256"] in card
    assert "Donors of the test cells: 3." in card
    for text in (card, json.dumps(about)):
        assert str(bundle.parent) not in text


def test_the_epoch_in_the_run_is_the_one_with_the_least_loss(run: Path) -> None:
    rows = pq.read_table(run / "history.parquet").to_pylist()
    losses = {r["epoch"]: r["value"] for r in rows if r["model"] == "graph" and r["what"] == "val loss"}
    [model] = [m for m in json.loads((run / "run.json").read_text())["models"] if m["model"] == "graph"]
    assert model["seeds"][0]["chosen"]["epoch"] == min(losses, key=lambda epoch: losses[epoch])


# --------------------------------------------------------------------------- few labels, pretrained networks


def test_few_labels_are_as_many_of_each_class_and_others_for_another_seed(bundle: Path) -> None:
    train = Source(bundle).open("train")
    few, other = (labelled(train, 5, seed) for seed in (0, 1))
    assert np.bincount(labels(few)).tolist() == [5, 5]
    assert few.cells["cell_id"].to_pylist() != other.cells["cell_id"].to_pylist()
    row = train.cells["cell_id"].to_pylist().index(few.cells["cell_id"][3].as_py())
    assert torch.equal(few.take([3]).x, train.take([row]).x)
    fed = torch.cat([cells.y for cells in few.feed(4)])
    assert sorted(fed.tolist()) == [0] * 5 + [1] * 5


def test_a_frozen_encoder_keeps_its_weights_and_a_fine_tuned_one_does_not(folder: Path, bundle: Path) -> None:
    pretrain(bundle, folder / "pretrained", plan=SMALL, schedule=SHORT, machine=CPU)
    before = load_file(folder / "pretrained" / "model.safetensors")
    for mode in ("frozen", "fine-tuned"):
        out = folder / mode
        quick(bundle, out, pretrained=folder / "pretrained", mode=mode, per_class=5, ablations="all")
        after = load_file(out / "model.safetensors")
        moved = [name for name in before if not torch.equal(before[name], after[name])]
        assert bool(moved) == (mode == "fine-tuned")
        about = json.loads((out / "run.json").read_text())
        assert [m["model"] for m in about["models"]] == ["graph", "graph from scratch"]
        assert about["taken_over"]["own vectors"].startswith("20 of 20 nodes")
    with pytest.raises(TrainingError, match=r"has hidden=8, not 16\. Leave options of the network out"):
        quick(
            bundle,
            folder / "x",
            pretrained=folder / "pretrained",
            plan=NetworkPlan(hidden=16, layers=1, dropout=0.0),
        )
    with pytest.raises(
        TrainingError, match="'text' says nothing here: the pretrained model has learned with it"
    ):
        quick(bundle, folder / "x", pretrained=folder / "pretrained", ablations=("text",))
    said = json.loads((folder / "pretrained" / "model.json").read_text())
    (folder / "pretrained" / "model.json").write_text(json.dumps({**said, "format_version": 99}))
    with pytest.raises(ModelError, match="format version 99"):
        quick(bundle, folder / "x", pretrained=folder / "pretrained")


# --------------------------------------------------------------------------- what it refuses

ONE_DONOR = [f"donor{k % world.DONORS:02d}" if world.IS_CASE[k] else "donor00" for k in range(world.CELLS)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"disease": ["case"] * world.CELLS},
            r"have one class of disease, 'case': there is nothing to tell apart",
        ),
        ({"donor": ONE_DONOR}, r"'control' of disease has cells of one donor only.*--allow-one-donor"),
        ({"donor": ["the only one"] * world.CELLS}, r"has no (train|val|test) cells\. Export it again"),
        ({"text": False}, r"has no text embedding of any node\. Run tosg embed .* --no-text"),
    ],
    ids=["one class", "one donor", "no test cells", "no text"],
)
def test_a_bundle_that_cannot_be_learned_is_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    made = world.write(tmp_path / "bundle", **columns)
    with pytest.raises(TrainingError, match=message):
        quick(made, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_of_another_version_is_refused(tmp_path: Path) -> None:
    made = world.write(tmp_path / "bundle")
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(BundleError, match="has format version 99, this program reads 1"):
        quick(made, tmp_path / "run")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "frozen"}, "needs a pretrained model. Add --from RUN"),
        ({"mode": "warm"}, "mode='warm' is unknown"),
        ({"seeds": 0}, "seeds=0 is below 1"),
        ({"per_class": 100}, "has .* training cells, fewer than --per-class 100"),
        ({"per_class": 0}, "per_class=0 is below 1"),
        ({"ablations": ("texts",)}, "There is no ablation 'texts'; choose all, none or text"),
        ({"ablations": ("scratch",)}, "it is trained from scratch already"),
        ({"ablations": ("text",), "plan": NetworkPlan(text=False)}, "no such part to leave out"),
        ({"pretrained": "nowhere"}, "nowhere is no run with a network"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, bundle: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(TosgError, match=message):
        quick(bundle, tmp_path / "run", **wrong)
    assert not list(tmp_path.iterdir()), "and leave nothing that a corrected command would stumble over"


def test_validation_standardises_what_is_pooled_by_the_weights_that_it_judges(bundle: Path) -> None:
    task = Recipe(Source(bundle), SMALL, 0)()
    with torch.no_grad():  # weights jump, and what was gathered before is of others
        task.network.fusion.kind.add_(3.0)
        task.network.readout.norm.running_mean.fill_(99.0)
    task.validate()
    pooled: list[torch.Tensor] = []
    norm = task.network.readout.norm
    norm.register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
    with torch.no_grad():
        task.network(task.cells.take(np.arange(len(task.cells))).x)
    torch.testing.assert_close(norm.running_mean, pooled[0].mean(0), atol=1e-4, rtol=1e-3)
    assert not task.network.training, "and drops nothing out"
    assert norm.momentum == 0.1, "and is as it was in training"


def test_a_run_is_not_overwritten_and_another_command_does_not_go_on_with_it(
    tmp_path: Path, bundle: Path
) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(TrainingError, match="exists already and is not overwritten"):
        quick(bundle, tmp_path / "run")
    (tmp_path / "run").rmdir()

    def killed(_: str, done: int, total: int | None) -> None:
        if done > 30:  # the first epoch is kept
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(bundle, tmp_path / "run", progress=killed)
    with pytest.raises(TrainingError, match=r"is of a training with seeds \[0\], this one has \[0, 1\]"):
        quick(bundle, tmp_path / "run", seeds=2)
    with pytest.raises(TrainingError, match=r"with schedule\.epochs 2, this one has 99\."):
        quick(bundle, tmp_path / "run", schedule=replace(SHORT, epochs=99))


def test_a_run_goes_on_with_as_many_threads_as_it_began_with(tmp_path: Path, bundle: Path) -> None:
    """In a fit that it had not begun too."""
    seen: set[int] = set()

    def killed(what: str, *_: Any) -> None:
        if what == "graph, seed 1":
            raise KeyboardInterrupt

    with using_threads(1), pytest.raises(KeyboardInterrupt):
        quick(bundle, tmp_path / "run", seeds=2, progress=killed)
    with using_threads(2):
        quick(bundle, tmp_path / "run", seeds=2, progress=lambda *_: seen.add(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    assert seen == {1}


def test_a_training_that_was_stopped_before_its_first_checkpoint_binds_no_other(
    tmp_path: Path, bundle: Path
) -> None:
    (tmp_path / "run.partial").mkdir()
    (tmp_path / "run.partial" / "command.json").write_text('{"seeds": [0, 1, 2]}')
    quick(bundle, tmp_path / "run")
    assert not (tmp_path / "run.partial").exists()


def test_one_donor_can_be_accepted_and_is_told(tmp_path: Path) -> None:
    made = world.write(tmp_path / "bundle", donor=ONE_DONOR)
    splits = json.loads((made / "manifest.json").read_text())["splits"]
    if not all(splits.values()):
        pytest.skip("the split left a side empty")
    quick(made, tmp_path / "run", allow_one_donor=True)
    assert "'control': all cells are of one donor" in (tmp_path / "run" / "card.md").read_text()
