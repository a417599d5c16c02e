"""The edge task of a bundle as PyTorch Geometric reads it: where messages pass, and which edges are to be predicted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tosg_graph import bundle
from tosg_graph.errors import BundleError

with warnings.catch_warnings():
    # PyG scripts some functions when imported, which newer torch calls deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.data import Data, HeteroData

if TYPE_CHECKING:
    from numpy.typing import NDArray

EdgeKey = tuple[str, str, str]


@dataclass(frozen=True)
class EdgeTaskSplit:
    """Edges of one split of a bundle's edge task, in node numbers.

    Parameters
    ----------
    edge_index
        int64 ``(2, E)``: edges along which messages pass, the same in every split; none joins a pair of val or test.
    edge_type
        int64 ``(E,)``: place in ``edge_types``.
    edge_position
        int64 ``(E,)``: place among the edges of its type in the bundle, which is that of its attributes.
    direction
        int8 ``(E,)``: 1 as it is stored, -1 the other way round.
    edge_label_index
        int64 ``(2, K)``: pairs to tell apart, edges first, then negatives.
    edge_label
        float32 ``(K,)``: 1 for an edge, 0 for a negative.
    edge_label_type
        int64 ``(K,)``: place in ``edge_types``.
    edge_types
        (source type, verb, target type) of all edges of the bundle, sorted by name.
    node_offsets
        Node type -> its first node and the end.
    """

    edge_index: Tensor
    edge_type: Tensor
    edge_position: Tensor
    direction: Tensor
    edge_label_index: Tensor
    edge_label: Tensor
    edge_label_type: Tensor
    edge_types: list[EdgeKey]
    node_offsets: dict[str, tuple[int, int]]

    @property
    def num_nodes(self) -> int:
        """N, over all node types."""
        return max((end for _, end in self.node_offsets.values()), default=0)

    def with_reverse(self) -> EdgeTaskSplit:
        """Add each edge the other way round, loops excepted, behind the others; ``direction`` tells them apart.

        What is held out is held out as a pair, so that no reverse of it is among them.
        """
        other = (self.direction == 1) & (self.edge_index[0] != self.edge_index[1])
        return replace(
            self,
            edge_index=torch.cat([self.edge_index, self.edge_index[:, other].flip(0)], dim=1),
            edge_type=torch.cat([self.edge_type, self.edge_type[other]]),
            edge_position=torch.cat([self.edge_position, self.edge_position[other]]),
            direction=torch.cat([self.direction, -self.direction[other]]),
        )

    def data(self) -> Data:
        """All of it as ``Data``, as PyG's ``RandomLinkSplit`` names it; node numbers are those of the bundle."""
        return Data(
            num_nodes=self.num_nodes,
            edge_index=self.edge_index,
            edge_type=self.edge_type,
            edge_position=self.edge_position,
            direction=self.direction,
            edge_label_index=self.edge_label_index,
            edge_label=self.edge_label,
            edge_label_type=self.edge_label_type,
        )

    def hetero(self) -> HeteroData:
        """All of it as ``HeteroData``; reversed edges are of types ``rev_<verb>``, as those of PyG's ``ToUndirected``.

        Nodes are numbered within their type; ``node_row`` has the numbers of the bundle.
        """
        found = HeteroData()
        for kind, (first, end) in self.node_offsets.items():
            found[kind].num_nodes = end - first
            found[kind].node_row = torch.arange(first, end)
        for number, (source, verb, target) in enumerate(self.edge_types):
            firsts = torch.tensor([[self.node_offsets[source][0]], [self.node_offsets[target][0]]])
            mine = self.edge_type == number
            stored, reversed_ = mine & (self.direction == 1), mine & (self.direction == -1)
            found[source, verb, target].edge_index = self.edge_index[:, stored] - firsts
            found[source, verb, target].edge_position = self.edge_position[stored]
            if reversed_.any():
                found[target, f"rev_{verb}", source].edge_index = self.edge_index[:, reversed_] - firsts.flip(
                    0
                )
                found[target, f"rev_{verb}", source].edge_position = self.edge_position[reversed_]
            asked = self.edge_label_type == number
            if asked.any():
                found[source, verb, target].edge_label_index = self.edge_label_index[:, asked] - firsts
                found[source, verb, target].edge_label = self.edge_label[asked]
        return found


def edge_task(folder: str | Path, split: str = "train", *, verify: bool = True) -> EdgeTaskSplit:
    """Read one split of the edge task that a bundle was exported with (``--edge-task``).

    Parameters
    ----------
    split
        ``train``, ``val`` or ``test``.
    verify
        Compare the files' sha256 with the manifest.

    Raises
    ------
    BundleError
        If the bundle has no edge task or is damaged, or the split is unknown.
    """
    if split not in bundle.SPLITS:
        raise BundleError(f"split={split!r} is unknown; choose {', '.join(bundle.SPLITS)}.")
    folder = Path(folder)
    manifest = bundle.read_manifest(folder)
    if "edge_task" not in manifest:
        raise BundleError(f"{folder} has no edge task: it was exported without --edge-task. Export it again.")
    topology, tensors = (
        bundle.map_tensors(bundle.checked_path(folder, manifest, name, verified=verify))
        for name in (bundle.TOPOLOGY, bundle.EDGE_SPLITS)
    )
    names = sorted(manifest["edges"])
    _check(folder, manifest, names, tensors)
    passing = {name: np.flatnonzero(tensors[f"{name}.side"] <= 0) for name in names}
    types = manifest["edge_task"]["types"]
    positives = [topology[f"{t}.edge_index"][:, tensors[f"{t}.{split}.positive"]] for t in types]
    negatives = [tensors[f"{t}.{split}.negative"] for t in types]
    label_type = [
        torch.full((rows.shape[1],), names.index(t))
        for part in (positives, negatives)
        for t, rows in zip(types, part, strict=True)
    ]
    labels = [
        torch.full((sum(rows.shape[1] for rows in part),), value)
        for part, value in ((positives, 1.0), (negatives, 0.0))
    ]
    kinds, offsets = sorted(manifest["nodes"]), topology["node_offsets"].tolist()
    sizes = torch.tensor([len(passing[name]) for name in names], dtype=torch.long)
    return EdgeTaskSplit(
        edge_index=_joined([topology[f"{name}.edge_index"][:, passing[name]] for name in names]),
        edge_type=torch.repeat_interleave(torch.arange(len(names)), sizes),
        edge_position=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *passing.values()])),
        direction=torch.ones(int(sizes.sum()), dtype=torch.int8),
        edge_label_index=_joined([*positives, *negatives]),
        edge_label=torch.cat(labels),
        edge_label_type=torch.cat(label_type),
        edge_types=[bundle.edge_key(name) for name in names],
        node_offsets={kind: (offsets[k], offsets[k + 1]) for k, kind in enumerate(kinds)},
    )


def _joined(parts: list[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.concatenate([np.empty((2, 0), np.int64), *parts], axis=1))


def _check(
    folder: Path, manifest: Mapping[str, Any], names: list[str], tensors: Mapping[str, NDArray[Any]]
) -> None:
    """Raise `BundleError` where the file does not hold what the manifest says."""
    path = folder / bundle.EDGE_SPLITS
    said = manifest["edge_task"]["edges"]
    wanted = {f"{name}.side": manifest["edges"][name] for name in names}
    for name, splits in said.items():
        for split, numbers in splits.items():
            wanted[f"{name}.{split}.positive"] = numbers["positives"]
            wanted[f"{name}.{split}.negative"] = numbers["negatives"]
    for name, count in wanted.items():
        if name not in tensors:
            raise BundleError(f"{path} lacks {name!r}. Export the bundle again.")
        bundle.check_length(path, f"values of {name}", tensors[name].shape[-1], count)
