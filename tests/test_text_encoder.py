"""The encoder of texts learns together with the network: adapters only, for the texts that are drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import torch
from test_models import cells, world

from tosg_graph.errors import BundleError, ModelError
from tosg_graph.models.network import NetworkPlan, SignalingNetwork
from tosg_graph.models.text_encoder import TextTuner, node_texts

pytest.importorskip("peft", reason="training the encoder too needs peft: pip install 'tosg-graph[joint]'")

WORDS = ["kinase", "receptor", "ligand", "binds", "the"]
TEXTS = [
    "the kinase",
    "the receptor",
    None,
    "ligand binds the receptor",
    *[f"the {w}" for w in WORDS],
    "ligand",
]

GRAPH = replace(world(), text=torch.arange(80.0).view(10, 8) / 80)


def encoder(folder: Path, kind: str = "bert") -> Any:
    """A transformer of one layer whose vectors have eight numbers."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=10,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
        max_position_embeddings=16,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    transformer = Transformer(str(folder))
    found = SentenceTransformer(modules=[transformer, Pooling(8)], device="cpu")
    found[0].model.config.model_type = kind
    return found


@pytest.fixture
def tuner(tmp_path: Path) -> TextTuner:
    return TextTuner(encoder(tmp_path), TEXTS, rank=2, seed=3).eval()


def test_vectors_begin_as_those_of_the_model(tuner: TextTuner, tmp_path: Path) -> None:
    plain = encoder(tmp_path).encode(["the kinase", "ligand"], normalize_embeddings=True)
    torch.testing.assert_close(tuner.embed(["the kinase", "ligand"]), torch.from_numpy(plain))


def test_only_drawn_texts_are_embedded_anew(tuner: TextTuner) -> None:
    text = GRAPH.text
    found = tuner.vectors(torch.tensor([3, 0]), text)
    torch.testing.assert_close(found[[3, 0]], tuner.embed([TEXTS[3] or "", TEXTS[0] or ""]))
    assert torch.equal(found[[1, 2, *range(4, 10)]], text[[1, 2, *range(4, 10)]])
    assert tuner.rows.tolist() == [0, 1, *range(3, 10)]


def test_adapters_learn_with_the_network_and_the_model_stays(tuner: TextTuner) -> None:
    net = SignalingNetwork(GRAPH, NetworkPlan(hidden=8), 3, seed=1)
    before = {name: value.clone() for name, value in tuner.named_parameters()}
    optimizer = torch.optim.SGD([*net.parameters(), *tuner.parameters()], 1.0)
    for _ in range(2):  # B is zero at first, so that A has no gradient in the first step
        text = tuner.vectors(torch.tensor([0, 1, 3]), GRAPH.text)
        loss = torch.nn.functional.cross_entropy(net(cells(4), text), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    changed = {name for name, value in tuner.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if "lora_" in name} != set()


def test_a_text_that_is_not_there_is_refused(tuner: TextTuner) -> None:
    with pytest.raises(ModelError, match="Node 2 has no text"):
        tuner.vectors(torch.tensor([2]), GRAPH.text)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="kind 'mamba' is not known; bert"):
        TextTuner(encoder(tmp_path, "mamba"), TEXTS, seed=0)


def test_texts_are_those_of_the_bundle() -> None:
    data: Any = SimpleNamespace(folder="b", nodes=pa.table({"id": ["a", "b"], "text": ["x", None]}))
    assert node_texts(data) == ["x", None]
    data.nodes = data.nodes.drop_columns("text")
    with pytest.raises(BundleError, match="no texts of nodes"):
        node_texts(data)
