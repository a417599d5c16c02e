"""A trained network on disk: ``model.safetensors`` with its weights, ``model.json`` with what they are weights of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tosg_graph import bundle
from tosg_graph.errors import TrainingError
from tosg_graph.hashes import sha256_of
from tosg_graph.models.network import NetworkPlan, SignalingNetwork

if TYPE_CHECKING:
    from torch import Tensor

    from tosg_graph.models.model_graph import ModelGraph

SCHEMA = 1
WEIGHTS, SAID = "model.safetensors", "model.json"
_KEYS = ("schema", "plan", "task", "classes", "node_ids", "node_types", "edge_types", "encoder", "sha256")
_OWN, _READOUT = "fusion.own", "readout."


@dataclass(frozen=True)
class TrainedModel:
    """Weights, and what they are weights of.

    Parameters
    ----------
    weights
        ``state_dict`` of a `SignalingNetwork`, on the processor.
    said
        Content of ``model.json``: ``plan``, ``task``, ``classes``, ``node_ids``, ``node_types``, ``edge_types``,
        ``encoder`` and what was given when it was saved.
    """

    weights: dict[str, Tensor]
    said: dict[str, Any]

    @property
    def plan(self) -> NetworkPlan:
        """What the network is made of."""
        return NetworkPlan.from_dict(self.said["plan"])

    def network(self, graph: ModelGraph) -> SignalingNetwork:
        """Make the whole network anew on the graph that it was trained on, to predict with."""
        network = SignalingNetwork(graph, self.plan, len(self.said["classes"]), seed=0)
        self._check(graph)
        if self.said["node_ids"] != graph.node_ids:
            raise TrainingError(
                "The model was trained on other nodes. Use the bundle that it was trained on."
            )
        network.load_state_dict(self.weights)
        return network

    def start(self, network: SignalingNetwork) -> int:
        """Give a network the weights of all parts but the readout, and return how many of its nodes are known.

        Vectors of nodes follow their ids; nodes that the model has not seen keep what they have.

        Raises
        ------
        TrainingError
            If the graph has other types of nodes or edges, or vectors of another encoder.
        """
        self._check(network.graph)
        weights = {name: t for name, t in self.weights.items() if not name.startswith(_READOUT)}
        rows = {name: row for row, name in enumerate(self.said["node_ids"])}
        theirs = torch.tensor([rows.get(name, -1) for name in network.graph.node_ids], dtype=torch.long)
        known = theirs >= 0
        if _OWN in weights:
            own = network.state_dict()[_OWN].clone()
            own[known] = weights[_OWN][theirs[known]]
            weights[_OWN] = own
        left = network.load_state_dict(weights, strict=False)
        if odd := [*left.unexpected_keys, *(n for n in left.missing_keys if not n.startswith(_READOUT))]:
            raise TrainingError(f"The model does not fit the network: {odd[0]}. Train it again.")
        return int(known.sum())

    def _check(self, graph: ModelGraph) -> None:
        ours = {
            "node_types": graph.type_names,
            "edge_types": ["__".join(key) for key in graph.edge_type_names],
            **({"encoder": graph.encoder} if self.plan.text else {}),
        }
        for name, value in ours.items():
            if self.said[name] != value:
                raise TrainingError(
                    f"The model was trained on {name.replace('_', ' ')} {self.said[name]}, the bundle has {value}. "
                    "Export both by the same query, with the same embeddings."
                )


def save(folder: Path, weights: Mapping[str, Tensor], graph: ModelGraph, said: Mapping[str, Any]) -> None:
    """Write a model into a folder.

    Parameters
    ----------
    said
        ``plan``, ``task``, ``classes`` and further keys, JSON-able.
    """
    from safetensors.torch import save_file

    save_file({name: t.detach().cpu().contiguous() for name, t in weights.items()}, folder / WEIGHTS)
    content = {
        **said,
        "schema": SCHEMA,
        "node_ids": graph.node_ids,
        "node_types": graph.type_names,
        "edge_types": ["__".join(key) for key in graph.edge_type_names],
        "encoder": graph.encoder,
        "sha256": sha256_of(folder / WEIGHTS),
    }
    bundle.write_json(content, folder / SAID)


def load(folder: Path) -> TrainedModel:
    """Read what `save` wrote.

    Raises
    ------
    TrainingError
        If the folder holds no model, or one that is damaged or of another schema.
    """
    from safetensors.torch import load_file

    path = folder / SAID
    again = "Train it again."
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        schema = said.get("schema")
        if schema != SCHEMA:
            raise TrainingError(f"{path} has schema {schema!r}, this program reads {SCHEMA}. {again}")
        if missing := [name for name in _KEYS if name not in said]:
            raise TrainingError(f"{path} lacks {missing[0]!r}. {again}")
        if sha256_of(folder / WEIGHTS) != said["sha256"]:
            raise TrainingError(f"{folder / WEIGHTS} was changed or cut off after the training. {again}")
        return TrainedModel(load_file(folder / WEIGHTS), said)
    except FileNotFoundError as error:
        raise TrainingError(
            f"{folder} holds no trained model: {Path(error.filename).name} is missing. Make one with tosg train."
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise TrainingError(f"{path} cannot be read: {error}. {again}") from error
