"""The encoder of texts, trained together with the network: low-rank adapters in a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tosg_graph.errors import BundleError, ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tosg_graph.dataset import TosgDataset

TARGETS = {
    "bert": ("query", "value"),
    "roberta": ("query", "value"),
    "xlm-roberta": ("query", "value"),
    "mpnet": ("q", "v"),
    "distilbert": ("q_lin", "v_lin"),
}
"""Which linear layers get adapters: queries and values of attention (Hu et al. 2022, 7.1), by their names."""


class TextTuner(nn.Module):
    """A sentence-transformers model that learns by low-rank adapters; its own weights stay as they are.

    Hu et al. (2022), eq. 3: ``W x + (alpha / r) B A x``, B zero at first, so that vectors begin as they were.

    Parameters
    ----------
    encoder
        The model; changed in place: it gets the adapters.
    texts
        Text of each node, None where it has none.
    rank
        r; alpha is twice that.
    seed
        Decides A.

    Raises
    ------
    ModelError
        If ``peft`` is not installed, or the model is of a kind whose attention has other names.
    """

    def __init__(
        self, encoder: SentenceTransformer, texts: Sequence[str | None], *, rank: int = 8, seed: int
    ) -> None:
        super().__init__()
        self.texts = list(texts)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = _with_adapters(encoder, rank)

    @property
    def rows(self) -> Tensor:
        """int64: the nodes that have a text, to draw from."""
        return torch.tensor([row for row, text in enumerate(self.texts) if text], dtype=torch.long)

    def vectors(self, rows: Tensor, text: Tensor) -> Tensor:
        """Embed the texts of some nodes anew; all others keep their vectors, and give no gradient.

        Parameters
        ----------
        rows
            int64 ``(K,)``: nodes with a text. Memory grows with K, not with N.
        text
            ``(N, D)``: vectors of all nodes, such as `ModelGraph.text`.

        Returns
        -------
        ``(N, D)``, for `SignalingNetwork.states`.
        """
        said = [self.texts[row] for row in rows.tolist()]
        if missing := [row for row, one in zip(rows.tolist(), said, strict=True) if not one]:
            raise ModelError(f"Node {missing[0]} has no text to embed. Draw nodes from TextTuner.rows.")
        return text.index_copy(0, rows, self.embed([one for one in said if one]).to(text))

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of unit length, ``(K, D)``, with gradient."""
        from sentence_transformers.util import batch_to_device

        features = batch_to_device(self.encoder.tokenize(list(texts)), next(self.encoder.parameters()).device)
        found: Tensor = self.encoder(features)["sentence_embedding"]
        return nn.functional.normalize(found, dim=-1)


def node_texts(dataset: TosgDataset) -> list[str | None]:
    """Text of each node, as the bundle has it.

    Raises
    ------
    BundleError
        If the bundle has none.
    """
    if "text" not in dataset.nodes.column_names:
        raise BundleError(f"{dataset.folder} has no texts of nodes. Run tosg embed, and export it again.")
    found: list[str | None] = dataset.nodes["text"].to_pylist()
    return found


def _with_adapters(encoder: SentenceTransformer, rank: int) -> SentenceTransformer:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ModelError(
            "Training the encoder too needs peft. Run: pip install 'tosg-graph[joint]'"
        ) from error
    transformer: Any = encoder[0]
    model = getattr(transformer, "model", None) or transformer.auto_model
    kind = model.config.model_type
    if kind not in TARGETS:
        raise ModelError(
            f"Where adapters go in a model of kind {kind!r} is not known; {', '.join(TARGETS)} are."
        )
    encoder.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(TARGETS[kind]), lora_dropout=0.0)
    inject_adapter_in_model(config, model)
    return encoder
