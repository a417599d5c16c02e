"""The encoder of texts, trained together with the network: low-rank adapters in a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tosg_graph.errors import BundleError, EmbeddingError, ModelError

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
LEAST_COSINE = 0.99  # of a vector and the same text embedded here: rounding of another device is far above it
_BATCH, _COMPARED = 64, 8


@dataclass(frozen=True)
class Joint:
    """How the encoder of texts learns beside a network.

    Parameters
    ----------
    encoder
        Name or folder of a model, see `tosg_graph.encoders.open_encoder`; empty: the one that the bundle names.
    nodes
        K: texts that are embedded anew in each step. Memory and time of a step grow with it.
    rank
        Of the adapters.
    """

    encoder: str = ""
    nodes: int = 16
    rank: int = 8

    def __post_init__(self) -> None:
        for name, number in (("nodes", self.nodes), ("rank", self.rank)):
            if number < 1:
                raise ModelError(f"joint {name}={number} is below 1.")


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

    def train(self, mode: bool = True) -> TextTuner:
        """Stay as in evaluation: vectors of a step have to be comparable with those that are kept, so no dropout."""
        return super().train(False)

    def adapters(self) -> dict[str, nn.Parameter]:
        """What is fitted, by name."""
        return {name: value for name, value in self.named_parameters() if value.requires_grad}

    def load_adapters(self, adapters: Mapping[str, Tensor]) -> None:
        """Take adapters as `adapters` gave them.

        Raises
        ------
        ModelError
            If they are of another rank or model.
        """
        own = self.adapters()
        odd = [n for n in sorted({*own, *adapters}) if n not in own or n not in adapters]
        odd += [n for n in own if n in adapters and own[n].shape != adapters[n].shape]
        if odd:
            raise ModelError(
                f"Adapters are of another model or rank: {odd[0]!r} is missing or of another shape."
            )
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(adapters[name])

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
        found = self.embed([one for one in said if one]).to(text)
        return text.index_copy(0, rows.to(text.device), found)

    def drawn(self, nodes: int, text: Tensor) -> Tensor:
        """`vectors` of so many nodes, drawn from torch's own generator; of all, where there are fewer."""
        rows = self.rows
        return self.vectors(rows[torch.randperm(len(rows))[:nodes]], text)

    @torch.no_grad()
    def renewed(self, text: Tensor) -> Tensor:
        """All texts embedded anew, ``(N, D)``, without gradient; nodes without a text keep what they have."""
        # Those of like length together: less padding.
        rows = sorted(self.rows.tolist(), key=lambda row: len(self.texts[row] or ""))
        found = text.clone()
        for start in range(0, len(rows), _BATCH):
            found = self.vectors(torch.tensor(rows[start : start + _BATCH]), found)
        return found

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of unit length, ``(K, D)``, with gradient."""
        from sentence_transformers.util import batch_to_device

        # The name of sentence-transformers 6, and before.
        tokenize = getattr(self.encoder, "preprocess", None) or self.encoder.tokenize
        features = batch_to_device(tokenize(list(texts)), next(self.encoder.parameters()).device)
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


def tuner_of(dataset: TosgDataset, joint: Joint, *, seed: int, order: Tensor | None = None) -> TextTuner:
    """Make the tuner of a bundle's texts, on the processor.

    Parameters
    ----------
    order
        int64 ``(N,)``: the node whose text each node has, where texts are dealt out anew.

    Raises
    ------
    BundleError
        If the bundle has no texts.
    ModelError
        If ``peft`` is not installed, or the encoder is not at hand or cannot be tuned.
    """
    from tosg_graph.encoders import open_encoder

    texts, known = node_texts(dataset), dataset.text_mask.tolist()
    places = range(len(texts)) if order is None else order.tolist()
    said = [texts[place] if known[place] else None for place in places]
    if not any(said):
        raise BundleError(f"{dataset.folder} has no text of any node. Run tosg embed, and export it again.")
    name = joint.encoder or dataset.manifest.get("encoder", "")
    try:
        encoder = open_encoder(name).model("cpu")
    except EmbeddingError as error:
        raise ModelError(
            f"The encoder {name!r} cannot be trained, as it is not at hand: {error} "
            "Name the folder of the bundle's encoder by --joint-encoder."
        ) from error
    return TextTuner(encoder, said, rank=joint.rank, seed=seed)


def check_joint(dataset: TosgDataset, joint: Joint) -> None:
    """Refuse an encoder that did not make the vectors of a bundle from its texts; see `tuner_of`, too.

    Raises
    ------
    ModelError
        If vectors of the first texts are others.
    """
    tuner, text = tuner_of(dataset, joint, seed=0), dataset.text
    rows = tuner.rows[:_COMPARED]
    name = joint.encoder or dataset.manifest["encoder"]
    with torch.no_grad():
        found = tuner.embed([tuner.texts[row] or "" for row in rows.tolist()])
    if found.shape[1] != text.shape[1]:
        raise ModelError(
            f"The encoder {name!r} makes vectors of length {found.shape[1]}, those of {dataset.folder} have "
            f"{text.shape[1]}. Name the one that made them by --joint-encoder."
        )
    cosine = nn.functional.cosine_similarity(found, text[rows], dim=-1)
    if (worst := int(cosine.argmin())) >= 0 and cosine[worst] < LEAST_COSINE:
        node = dataset.nodes["id"][int(rows[worst])].as_py()
        raise ModelError(
            f"The encoder {name!r} did not make the vectors of {dataset.folder} from its texts: the cosine is "
            f"{cosine[worst]:.2f} for {node}. Name the one that did by --joint-encoder, or run tosg embed and "
            "export it again."
        )


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
