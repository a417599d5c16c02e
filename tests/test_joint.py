"""`tosg train classify --joint`: the encoder of texts learns with the network, and the run predicts without it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import learning_bundle as world
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from test_text_encoder import WORDS, encoder

from tosg_graph import cli, encoders, predictions
from tosg_graph.classification import classify
from tosg_graph.errors import EmbeddingError, ModelError, TosgError
from tosg_graph.label_task import Source, predict
from tosg_graph.models.checkpoint import load
from tosg_graph.models.model_graph import model_graph
from tosg_graph.models.network import NetworkPlan
from tosg_graph.models.text_encoder import Joint, tuner_of
from tosg_graph.progress import Progress, silent
from tosg_graph.training import Machine, Schedule

TEXTS = [f"the {a} {b}" if a != b else None for a in WORDS for b in WORDS[:4]]
SPOKEN = np.array([text is not None for text in TEXTS])
RUN = ("model.safetensors", "model.text.safetensors", "model.adapters.safetensors", "predictions.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("joint")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Path:
    """Folder of a model of one layer."""
    (folder / "parts").mkdir()
    encoder(folder / "parts").save(str(folder / "tiny"))
    return folder / "tiny"


@pytest.fixture(scope="module")
def bundle(folder: Path, tiny: Path) -> Path:
    """The planted world, whose texts were embedded by the tiny model."""
    vectors = encoders.open_encoder(str(tiny)).encode([text or "" for text in TEXTS])
    return world.write(folder / "bundle", texts=TEXTS, vectors=vectors * SPOKEN[:, None])


def train(bundle: Path, out: Path, tiny: Path, progress: Progress = silent, **changes: Any) -> None:
    given: dict[str, Any] = {
        "plan": NetworkPlan(hidden=8, layers=1),
        "joint": Joint(str(tiny), nodes=4, rank=2),
        "seeds": 1,
        "ablations": (),
        "baselines": False,
        "schedule": Schedule(epochs=2, batch_size=16, checkpoint_steps=5),
        "machine": Machine(device="cpu"),
    }
    classify(bundle, out, progress=progress, **{**given, **changes})


@pytest.fixture(scope="module")
def run(folder: Path, bundle: Path, tiny: Path) -> Path:
    train(bundle, folder / "run", tiny)
    return folder / "run"


def test_a_run_predicts_by_its_own_vectors_of_texts(run: Path, bundle: Path, tiny: Path) -> None:
    cells = Source(bundle).open("val")
    network = load(run / "model.safetensors", model_graph(cells))
    said = predictions.matrix(predictions.chosen(predictions.read(run).table, split="val"), 2, "graph")
    np.testing.assert_array_equal(predict(network, cells), said)
    plain = load(run / "model.safetensors", model_graph(cells))
    plain.fusion.vectors = cells.text
    assert not np.array_equal(predict(plain, cells), said), "it would show if the bundle's vectors were read"
    before, after = cells.text, network.graph.text
    assert torch.equal(before[~SPOKEN], after[~SPOKEN])
    assert not torch.isclose(before[SPOKEN], after[SPOKEN], atol=1e-4).all(1).any()


def test_the_vectors_of_a_run_are_those_of_its_adapters(run: Path, bundle: Path, tiny: Path) -> None:
    cells = Source(bundle).open("train")
    tuner = tuner_of(cells, Joint(str(tiny), rank=2), seed=9)
    torch.testing.assert_close(tuner.renewed(cells.text), cells.text)
    adapters = load_file(run / "model.adapters.safetensors")
    assert adapters
    assert all("lora_" in name for name in adapters), "the model's own weights stay, and are not written"
    tuner.load_adapters(adapters)
    after = load_file(run / "model.text.safetensors")["embedding"]
    torch.testing.assert_close(tuner.renewed(cells.text), after)
    with pytest.raises(ModelError, match="of another model or rank"):
        tuner_of(cells, Joint(str(tiny), rank=3), seed=0).load_adapters(adapters)


def test_a_joint_fit_that_was_killed_gives_the_weights_of_one_that_was_not(
    run: Path, folder: Path, bundle: Path, tiny: Path
) -> None:
    def stop(what: str, done: int, total: int | None) -> None:
        if done == 33:  # in the second epoch, three steps after a checkpoint
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(bundle, folder / "part", tiny, stop)
    seen: list[int] = []
    train(bundle, folder / "part", tiny, lambda what, done, total: seen.append(done))
    assert 24 < seen[0] <= 33, "it went on within the second epoch"
    for name in RUN:
        assert (folder / "part" / name).read_bytes() == (run / name).read_bytes(), name


def test_the_command_trains_it_beside_frozen_text_and_says_so(folder: Path, bundle: Path, tiny: Path) -> None:
    command = ["train", "classify", str(bundle), "--out", str(folder / "cli"), "--seeds", "1", "--joint"]
    command += ["--joint-encoder", str(tiny), "--joint-nodes", "3", "--joint-rank", "2", "--hidden", "8"]
    command += ["--ablations", "shuffled-text,frozen-text", "--baselines", "none", "--epochs", "1"]
    done = CliRunner().invoke(cli.main, [*command, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "graph with frozen text" in done.stdout
    about = json.loads((folder / "cli" / "run.json").read_text())
    hash_ = encoders.open_encoder(str(tiny)).revision
    assert about["joint"] == {"encoder": "tiny", "encoder_sha256": hash_, "nodes": 3, "rank": 2}
    parameters = {m["model"]: m["seeds"][0]["parameters"] for m in about["models"]}
    adapters = sum(t.numel() for t in load_file(folder / "cli" / "model.adapters.safetensors").values())
    assert parameters["graph"] == parameters["graph with frozen text"] + adapters
    assert parameters["graph"] == parameters["graph with shuffled text"]
    card = (folder / "cli" / "card.md").read_text()
    assert f"trained too, from tiny (sha256 {hash_}), by adapters of rank 2, 3 texts in each step" in card
    assert str(folder) not in card


# --------------------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"plan": NetworkPlan(text=False)}, "--no-text leaves texts out. Choose one"),
        ({"machine": Machine(device="cpu", devices=2)}, "works on one device"),
        ({"joint": None, "ablations": ("frozen-text",)}, "the encoder of texts learns with --joint only"),
        ({"joint": Joint()}, "encoder 'toy' cannot be trained, as it is not at hand.*--joint-encoder"),
    ],
    ids=["no text", "two devices", "nothing frozen", "no encoder"],
)
def test_what_does_not_fit_joint_training_is_refused(
    tmp_path: Path, bundle: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, wrong: Any, message: str
) -> None:
    def offline(name: str) -> Path:
        raise EmbeddingError(f"No encoder {name!r}.")

    monkeypatch.setattr(encoders, "_fetched", offline)
    with pytest.raises(TosgError, match=message):
        train(bundle, tmp_path / "run", tiny, **wrong)
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_texts_or_of_another_encoder_is_refused(tmp_path: Path, tiny: Path) -> None:
    silent_ = world.write(tmp_path / "silent", texts=[None] * world.NODES)
    other = world.write(tmp_path / "other", texts=TEXTS)
    with pytest.raises(TosgError, match=r"has no text of any node\. Run tosg embed"):
        train(silent_, tmp_path / "run", tiny)
    with pytest.raises(TosgError, match=r"did not make the vectors of .* the cosine is"):
        train(other, tmp_path / "run", tiny)


def test_without_peft_it_is_said_how_to_install_it(
    tmp_path: Path, bundle: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"needs peft\. Run: pip install 'tosg-graph\[joint\]'"):
        train(bundle, tmp_path / "run", tiny)


def test_a_joint_network_is_no_start_for_another(tmp_path: Path, run: Path, bundle: Path, tiny: Path) -> None:
    with pytest.raises(ModelError, match="trained with its encoder of texts"):
        train(bundle, tmp_path / "run", tiny, plan=None, joint=None, pretrained=run)


def test_options_of_joint_without_it_are_refused(bundle: Path, tmp_path: Path) -> None:
    command = ["train", "classify", str(bundle), "--out", str(tmp_path / "run"), "--joint-nodes", "3"]
    done = CliRunner().invoke(cli.main, command)
    assert done.exit_code == 2
    assert "Add --joint" in done.output
