"""Weights of a network on disk: safetensors, and beside them plan and schema as JSON. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tosg_graph.bundle import write_json
from tosg_graph.errors import ModelError
from tosg_graph.hashes import sha256_of
from tosg_graph.models.model_graph import ModelGraph
from tosg_graph.models.network import NetworkPlan, SignalingNetwork
from tosg_graph.models.typed_conv import TypedConv

FORMAT_VERSION = 1
JOINT = ("text", "adapters")
"""Beside the weights, where the encoder of texts was trained too: ``model.text.safetensors`` and so on."""


@dataclass(frozen=True)
class Transferred:
    """What `load_shared` took over.

    Parameters
    ----------
    copied
        Weights that do not depend on the graph, by name.
    nodes
        How many nodes have the own vector that they had before, and how many there are.
    edge_groups
        Groups of edges with the weights that they had before.
    new_edge_groups
        Groups that the checkpoint does not know.
    new
        Other weights that stay as first made, by name; the last layer is always among them.
    """

    copied: list[str]
    nodes: tuple[int, int]
    edge_groups: list[str]
    new_edge_groups: list[str]
    new: list[str]

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        return {
            "weights copied": f"{len(self.copied):,}",
            "own vectors": f"{self.nodes[0]:,} of {self.nodes[1]:,} nodes are in the checkpoint",
            "edge groups": f"{len(self.edge_groups):,} known, new: {', '.join(self.new_edge_groups) or 'none'}",
            "weights new": ", ".join(self.new) or "none",
        }


def save(network: SignalingNetwork, path: str | Path, adapters: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights to ``path`` (``.safetensors``), and plan and schema beside them (``.json``).

    Parameters
    ----------
    adapters
        Of the encoder of texts, where it was trained too; the graph's vectors of texts are written with them.
    """
    path = Path(path)
    _save_tensors(network.state_dict(), path)
    joint = {"text": {"embedding": network.graph.text}, "adapters": adapters} if adapters else {}
    for name, tensors in joint.items():
        _save_tensors(tensors, _beside(path, name))
    said = {
        "format_version": FORMAT_VERSION,
        "plan": network.plan.as_dict(),
        "schema": schema_of(network),
        "node_ids": network.graph.node_ids,
        "sha256": sha256_of(path),
    }
    if joint:
        said["joint"] = {name: sha256_of(_beside(path, name)) for name in JOINT}
    with _replaced(path.with_suffix(".json")) as temporary:
        write_json(said, temporary)


def _beside(path: Path, name: str) -> Path:
    return path.with_suffix(f".{name}.safetensors")


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    with _replaced(path) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, temporary)


def load(path: str | Path, graph: ModelGraph) -> SignalingNetwork:
    """Read a network that was made for this graph; its edges may be others, its nodes and edge types not.

    Where the encoder of texts was trained too, the vectors of texts are those of the run, and not the graph's.

    Raises
    ------
    ModelError
        If the checkpoint is damaged, of another format version or of another schema.
    """
    said, weights = _read(Path(path))
    if "joint" in said:
        graph = replace(graph, text=_joint_text(Path(path), said["joint"]))
    network = SignalingNetwork(graph, NetworkPlan.from_dict(said["plan"]), said["schema"]["classes"], seed=0)
    found, wanted = schema_of(network), said["schema"]
    for name in sorted(wanted):
        if found.get(name) != wanted[name]:
            raise ModelError(
                f"{path} is of another schema: its {name} is {_short(wanted[name])}, that of the graph is "
                f"{_short(found.get(name))}. Take the bundle that it was trained on, or load_shared."
            )
    network.load_state_dict(_fitting(weights, network, path))
    return network


def load_shared(
    path: str | Path, graph: ModelGraph, classes: int, *, seed: int
) -> tuple[SignalingNetwork, Transferred]:
    """Read a network for another graph: own vectors by node id, weights of edges by their type, the rest as it is.

    The last layer is made anew, for its classes are others.

    Raises
    ------
    ModelError
        If the checkpoint is damaged, its texts have vectors of another length or encoder, or the encoder was trained
        too: vectors of other nodes are not known then.
    """
    said, weights = _read(Path(path))
    if "joint" in said:
        raise ModelError(
            f"{path} was trained with its encoder of texts: it knows vectors of its own nodes only. Start from a run "
            "that was made without --joint."
        )
    for name, here in (("text_dimension", graph.text.shape[1]), ("encoder", graph.encoder)):
        if said["plan"]["text"] and said["schema"][name] != here:
            raise ModelError(
                f"{path} was trained with {name} {said['schema'][name]!r}, the graph has {here!r}. Embed the "
                "texts with the same encoder, or train without text."
            )
    network = SignalingNetwork(graph, NetworkPlan.from_dict(said["plan"]), classes, seed=seed)
    return network, _transfer(network, said, weights)


def schema_of(network: SignalingNetwork) -> dict[str, Any]:
    """What of a graph decides the shape and the meaning of weights."""
    graph = network.graph
    return {
        "classes": network.classes,
        "edge_types": ["__".join(key) for key in graph.edge_type_names],
        "encoder": graph.encoder,
        "groups": {name: conv.groups for name, conv in _typed(network)},
        "node_types": graph.type_names,
        "nodes": graph.num_nodes,
        "nodes_sha256": graph.node_hash,
        "text_dimension": graph.text.shape[1],
    }


def _transfer(
    network: SignalingNetwork, said: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> Transferred:
    schema, graph, own = said["schema"], network.graph, network.state_dict()
    rows = {
        **dict.fromkeys(("fusion.own", "fusion.mean", "fusion.scale"), (said["node_ids"], graph.node_ids)),
        "fusion.kind": (schema["node_types"], graph.type_names),
    }
    edge_types = (schema["edge_types"], ["__".join(key) for key in graph.edge_type_names])
    rows |= {"pairs.relation": edge_types, "pairs.bias": edge_types}
    groups = {f"{name}.mix": (schema["groups"].get(name, []), conv.groups) for name, conv in _typed(network)}
    copied, new = [], []
    with torch.no_grad():
        for name, value in own.items():
            if name.startswith("readout.out.") or name not in weights:
                new.append(name)
            elif name in rows or name in groups:
                _copy_rows(value, weights[name], *(rows | groups)[name])
            elif value.shape == weights[name].shape:
                value.copy_(weights[name])
                copied.append(name)
            else:
                new.append(name)
    here, before = ({g for _, pair in groups.items() for g in pair[side]} for side in (1, 0))
    known = len(set(graph.node_ids) & set(said["node_ids"])) if "fusion.own" in weights else 0
    return Transferred(copied, (known, graph.num_nodes), sorted(here & before), sorted(here - before), new)


def _copy_rows(value: Tensor, before: Tensor, names_before: list[str], names: list[str]) -> None:
    """Copy the rows whose names were there before."""
    place = {name: row for row, name in enumerate(names_before)}
    here = [row for row, name in enumerate(names) if name in place]
    value[here] = before[[place[names[row]] for row in here]].to(value)


def _typed(network: SignalingNetwork) -> Iterator[tuple[str, TypedConv]]:
    return ((name, part) for name, part in network.named_modules() if isinstance(part, TypedConv))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    beside = path.with_suffix(".json")
    try:
        said = json.loads(beside.read_text(encoding="utf-8"))
        if said.get("format_version") != FORMAT_VERSION:
            raise ModelError(
                f"{beside} has format version {said.get('format_version')!r}; this program reads {FORMAT_VERSION}."
            )
        if sha256_of(path) != said["sha256"]:
            raise ModelError(f"{path} is damaged: its sha256 is not that of {beside.name}. Train again.")
        return said, load_file(path)
    except OSError as error:
        raise ModelError(f"{error.filename or path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{beside} is not what a checkpoint has: {error}. Train again.") from error


def _joint_text(path: Path, said: Mapping[str, str]) -> Tensor:
    beside = _beside(path, "text")
    try:
        if sha256_of(beside) != said["text"]:
            raise ModelError(f"{beside} is damaged: its sha256 is not that of the checkpoint. Train again.")
        # A copy, as aligned as any tensor: sums of a mapped one may round otherwise.
        return load_file(beside)["embedding"].clone()
    except OSError as error:
        raise ModelError(f"{beside} cannot be read: {error.strerror or error}.") from error


def _fitting(weights: dict[str, Tensor], network: SignalingNetwork, path: str | Path) -> dict[str, Tensor]:
    own = network.state_dict()
    odd = [
        n
        for n in sorted({*own, *weights})
        if n not in own or n not in weights or own[n].shape != weights[n].shape
    ]
    if odd:
        raise ModelError(
            f"{path} does not fit its own plan: {odd[0]!r} is missing or of another shape. Train again."
        )
    return weights


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` that takes its place at the end: a reader finds the old file or the new one."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
