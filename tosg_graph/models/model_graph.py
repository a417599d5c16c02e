"""What a network needs of a bundle: nodes, edges and texts as tensors, and nothing about cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tosg_graph.errors import BundleError, ModelError

if TYPE_CHECKING:
    from tosg_graph.dataset import TosgDataset

EdgeKey = tuple[str, str, str]


@dataclass(frozen=True)
class ModelGraph:
    """A graph of N nodes and E edges as a network reads it.

    Parameters
    ----------
    node_ids, node_names
        N each, in the order of the bundle's nodes.
    node_type
        int64 ``(N,)``: place in ``type_names``.
    edge_index
        int64 ``(2, E)``: node numbers; row 0 is the source.
    edge_type
        int64 ``(E,)``: place in ``edge_type_names``, which are (source type, verb, target type).
    sign
        float32 ``(E,)``: 1 activates, -1 inhibits, 0 unknown or none.
    has_abundance
        bool ``(N,)``: whether anything was measured of the node.
    text, text_mask
        float32 ``(N, D)``, and bool ``(N,)``: whether the node has a text.
    members
        int64 ``(2, M)``: node, and the pathway that it takes part in.
    encoder
        What made ``text``, empty where unknown.
    """

    node_ids: list[str]
    node_names: list[str]
    node_type: Tensor
    type_names: list[str]
    edge_index: Tensor
    edge_type: Tensor
    edge_type_names: list[EdgeKey]
    sign: Tensor
    has_abundance: Tensor
    text: Tensor
    text_mask: Tensor
    members: Tensor
    encoder: str = ""

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.node_ids)

    @property
    def num_edges(self) -> int:
        """E."""
        return self.edge_index.shape[1]

    @property
    def node_hash(self) -> str:
        """Sha256 over the ids of the nodes, in order."""
        return hashlib.sha256("\n".join(self.node_ids).encode()).hexdigest()

    def edges_of(self, verbs: Sequence[str]) -> Tensor:
        """bool ``(E,)``: whether the edge is of one of the verbs."""
        chosen = torch.tensor([verb in verbs for _, verb, _ in self.edge_type_names], dtype=torch.bool)
        return chosen[self.edge_type]

    def without_edges(self, mask: Tensor) -> ModelGraph:
        """Leave out the edges where ``mask``, bool ``(E,)``, is true; their pathways lose the members too."""
        if mask.shape != (self.num_edges,) or mask.dtype != torch.bool:
            raise ModelError(
                f"mask is {mask.dtype} {tuple(mask.shape)}; it has to be torch.bool ({self.num_edges},)."
            )
        kept = ~mask
        return self._with_edges(self.edge_index[:, kept], self.edge_type[kept], self.sign[kept])

    def shuffled_edges(self, seed: int) -> ModelGraph:
        """Deal the targets of each edge type out anew: every node keeps its in- and out-degree of each type.

        The configuration model (Newman 2010, 13.2) per type; it may make loops and parallel edges. A sign stays with
        the edge's source.
        """
        order = torch.arange(self.num_edges)
        generator = torch.Generator().manual_seed(seed)
        for kind in range(len(self.edge_type_names)):
            mine = (self.edge_type == kind).nonzero().squeeze(1)
            order[mine] = mine[torch.randperm(len(mine), generator=generator)]
        edges = torch.stack([self.edge_index[0], self.edge_index[1][order]])
        return self._with_edges(edges, self.edge_type, self.sign)

    def shuffled_text(self, seed: int) -> ModelGraph:
        """Deal the texts out anew among the nodes of a type that have one."""
        order = torch.arange(self.num_nodes)
        generator = torch.Generator().manual_seed(seed)
        for kind in range(len(self.type_names)):
            mine = ((self.node_type == kind) & self.text_mask).nonzero().squeeze(1)
            order[mine] = mine[torch.randperm(len(mine), generator=generator)]
        return replace(self, text=self.text[order])

    def _with_edges(self, edge_index: Tensor, edge_type: Tensor, sign: Tensor) -> ModelGraph:
        members = _members(edge_index, edge_type, self.edge_type_names)
        return replace(self, edge_index=edge_index, edge_type=edge_type, sign=sign, members=members)


def model_graph(dataset: TosgDataset) -> ModelGraph:
    """Read what a network needs out of a bundle.

    Raises
    ------
    BundleError
        If the bundle is damaged.
    """
    offsets = torch.tensor([dataset.node_offsets[kind] for kind in dataset.node_types]).view(-1, 2)
    kinds, keys = torch.arange(len(dataset.node_types)), dataset.edge_types
    return ModelGraph(
        node_ids=dataset.nodes["id"].to_pylist(),
        node_names=[name or "" for name in dataset.nodes["name"].to_pylist()],
        node_type=torch.repeat_interleave(kinds, offsets[:, 1] - offsets[:, 0]),
        type_names=list(dataset.node_types),
        edge_index=dataset.edge_index,
        edge_type=dataset.edge_type,
        edge_type_names=keys,
        sign=torch.cat([torch.empty(0), *(_sign(dataset, key) for key in keys)]),
        has_abundance=dataset.node_mask,
        text=dataset.text,
        text_mask=dataset.text_mask,
        members=_members(dataset.edge_index, dataset.edge_type, keys),
        encoder=dataset.manifest.get("encoder", ""),
    )


def _sign(dataset: TosgDataset, key: EdgeKey) -> Tensor:
    try:
        return dataset.edge_attribute(key, "sign").nan_to_num(0.0)
    except BundleError:  # no edge of the type states one
        return torch.zeros(dataset.edge_index_dict[key].shape[1])


def _members(edge_index: Tensor, edge_type: Tensor, names: Sequence[EdgeKey]) -> Tensor:
    """Pairs of PARTICIPATES_IN, each once: two sources may state the same."""
    chosen = torch.tensor([verb == "PARTICIPATES_IN" for _, verb, _ in names], dtype=torch.bool)
    found: Tensor = torch.unique(edge_index[:, chosen[edge_type]], dim=1)
    return found
