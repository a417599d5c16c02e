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
    negated
        bool ``(E,)``: the source says that the edge is not so, and no message passes along it; None: there are none.
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
    negated: Tensor | None = None

    @property
    def stated(self) -> Tensor:
        """bool ``(E,)``: whether the edge is so, and not said not to be."""
        everything = torch.ones(self.num_edges, dtype=torch.bool)
        return everything if self.negated is None else ~self.negated

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
        shown = replace(
            self,
            edge_index=self.edge_index[:, kept],
            edge_type=self.edge_type[kept],
            sign=self.sign[kept],
            negated=None if self.negated is None else self.negated[kept],
        )
        return replace(shown, members=_members(shown))

    def shuffled_edges(self, seed: int) -> ModelGraph:
        """Deal the targets of each edge type out anew: every node keeps its in- and out-degree of each type.

        The configuration model (Newman 2010, 13.2) per type; it may make loops and parallel edges. Sign and negation
        stay with the edge's source.
        """
        order = torch.arange(self.num_edges)
        generator = torch.Generator().manual_seed(seed)
        for kind in range(len(self.edge_type_names)):
            mine = (self.edge_type == kind).nonzero().squeeze(1)
            order[mine] = mine[torch.randperm(len(mine), generator=generator)]
        edges = torch.stack([self.edge_index[0], self.edge_index[1][order]])
        dealt = replace(self, edge_index=edges)
        return replace(dealt, members=_members(dealt))

    def shuffled_text(self, seed: int) -> ModelGraph:
        """Deal the texts out anew among the nodes of a type that have one."""
        return replace(self, text=self.text[self.text_order(seed)])

    def text_order(self, seed: int) -> Tensor:
        """int64 ``(N,)``: the node whose text each node has in `shuffled_text`."""
        order = torch.arange(self.num_nodes)
        generator = torch.Generator().manual_seed(seed)
        for kind in range(len(self.type_names)):
            mine = ((self.node_type == kind) & self.text_mask).nonzero().squeeze(1)
            order[mine] = mine[torch.randperm(len(mine), generator=generator)]
        return order


def model_graph(dataset: TosgDataset) -> ModelGraph:
    """Read what a network needs out of a bundle.

    Raises
    ------
    BundleError
        If the bundle is damaged.
    """
    offsets = torch.tensor([dataset.node_offsets[kind] for kind in dataset.node_types]).view(-1, 2)
    kinds, keys = torch.arange(len(dataset.node_types)), dataset.edge_types
    graph = ModelGraph(
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
        members=torch.empty(2, 0, dtype=torch.long),
        encoder=dataset.manifest.get("encoder", ""),
        negated=dataset.negated,
    )
    return replace(graph, members=_members(graph))


def _sign(dataset: TosgDataset, key: EdgeKey) -> Tensor:
    try:
        return dataset.edge_attribute(key, "sign").nan_to_num(0.0)
    except BundleError:  # no edge of the type states one
        return torch.zeros(dataset.edge_index_dict[key].shape[1])


def _members(graph: ModelGraph) -> Tensor:
    """Pairs of PARTICIPATES_IN, each once: two sources may state the same."""
    chosen = graph.edges_of(["PARTICIPATES_IN"]) & graph.stated
    found: Tensor = torch.unique(graph.edge_index[:, chosen], dim=1)
    return found
