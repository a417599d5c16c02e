"""Edges that a network has to find without seeing them: some held out for good, others hidden for a few steps.

What is hidden is a pair of nodes: all edges between the two, whichever way round and of whatever source and verb, leave
the messages with it (`tosg_graph.edge_splits` says why). Negatives have the types and degrees of the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tosg_graph import bundle
from tosg_graph.edge_negatives import Taken, negatives
from tosg_graph.edge_pairs import EdgePairs, distinct, in_sorted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tosg_graph.dataset import TosgDataset

    Rows = NDArray[np.int64]

HELD_OUT = 0.1  # of the pairs of each type, where the bundle has no edge task
LEAST_PAIRS = 20  # of a type that is predicted
MOST_HIDDEN = 4096  # edges at once
MOST_JUDGED = 20_000  # edges of a validation


@dataclass(frozen=True)
class Judged:
    """Pairs of nodes to tell apart.

    Parameters
    ----------
    pairs
        int64 ``(2, P)``: source, target.
    edge_type
        int64 ``(P,)``: place in the edge types of the dataset.
    label
        float32 ``(P,)``: 1 where an edge joins them.
    """

    pairs: Tensor
    edge_type: Tensor
    label: Tensor

    def __len__(self) -> int:
        return len(self.label)


class MaskedEdges:
    """Which edges of a bundle are held out, and which of the others are hidden when.

    With the bundle's edge task, its edges of val and test are held out and those of val are judged. Else a tenth of the
    pairs of each edge type that joins at least 20 is held out, by the seed.

    Parameters
    ----------
    dataset
        Any split of the bundle.
    share
        Of the other edges that are to be predicted: how many are hidden at once.

    Attributes
    ----------
    types : list of str
        Edge types that are predicted; none where no type joins pairs enough.
    messages : Tensor
        bool ``(E,)``: edges of the dataset that are not held out.
    """

    def __init__(self, dataset: TosgDataset, seed: int, share: float) -> None:
        self.seed, self.share = seed, share
        self._names = [bundle.edge_name(key) for key in dataset.edge_types]
        tensors, self.types, by = _given(dataset) or _dealt(dataset, seed)
        edges = {bundle.edge_name(key): t.numpy() for key, t in dataset.edge_index_dict.items()}
        offsets = np.array([start for start, _ in dataset.node_offsets.values()] + [dataset.num_nodes])
        self._graph = EdgePairs.made(dataset.node_types, offsets, edges, by)
        sides = [tensors.get(f"{name}.side", np.zeros(edges[name].shape[1], np.int8)) for name in self._names]
        self.messages = torch.from_numpy(np.concatenate([np.empty(0, np.int8), *sides]) <= 0)
        self._train = {name: np.asarray(tensors[f"{name}.train.positive"]) for name in self.types}
        self._val = {name: np.asarray(tensors[f"{name}.val.positive"]) for name in self.types}
        self._drawn = {name: np.asarray(tensors[f"{name}.val.negative"]) for name in self.types}

    # ----------------------------------------------------------------- for a few steps

    def hidden(self, epoch: int, number: int) -> tuple[Tensor, Judged]:
        """Draw edges to hide.

        Returns
        -------
        bool ``(E,)``, the edges along which messages still pass, and what is to be told apart.
        """
        rng = np.random.default_rng([self.seed, 1, epoch, number])
        total = sum(map(len, self._train.values()))
        wanted = max(1, min(MOST_HIDDEN, round(self.share * total)))
        chosen = {
            name: rng.permutation(positions)[: -(-wanted * len(positions) // total)]
            for name, positions in self._train.items()
        }
        pairs = distinct(np.concatenate([self._graph.pairs[name][at] for name, at in chosen.items()]))
        shown = ~torch.from_numpy(in_sorted(pairs, self._all_pairs)) & self.messages
        taken = Taken(self._known)
        drawn = {name: self._negatives(rng, name, at, taken) for name, at in chosen.items()}
        return shown, self._judged(chosen, drawn)

    @cached_property
    def _all_pairs(self) -> Rows:
        return np.concatenate([self._graph.pairs[name] for name in self._names])

    @cached_property
    def _known(self) -> Rows:
        return distinct(self._all_pairs)

    def _negatives(self, rng: np.random.Generator, name: str, positions: Rows, taken: Taken) -> Rows:
        """Pairs with the sources of edges, and targets as often as each is one; fewer where there are no more."""
        edges = self._graph.edges[name]
        every = edges[:, np.concatenate([self._train[name], positions])]
        found = negatives(
            rng, edges[0][positions], every, len(positions), taken, lambda s, t: self._graph.pair(name, s, t)
        )
        # Verbs without direction are stored from the smaller to the larger node: else the order would tell.
        return np.sort(found, axis=0) if (every[0] < every[1]).all() else found

    def _judged(self, positions: Mapping[str, Rows], drawn: Mapping[str, Rows]) -> Judged:
        columns, kinds, marks = (
            [np.empty((2, 0), np.int64)],
            [np.empty(0, np.int64)],
            [np.empty(0, np.float32)],
        )
        for name, at in positions.items():
            edges = self._graph.edges[name][:, at]
            for part, mark in ((edges, 1.0), (drawn[name], 0.0)):
                columns.append(part)
                kinds.append(np.full(part.shape[1], self._names.index(name)))
                marks.append(np.full(part.shape[1], mark, np.float32))
        joined = (np.concatenate(columns, axis=1), np.concatenate(kinds), np.concatenate(marks))
        return Judged(*(torch.from_numpy(part) for part in joined))

    # ----------------------------------------------------------------- held out

    @cached_property
    def matched(self) -> Judged:
        """Held-out edges, and negatives of their types and degrees."""
        rng, taken = np.random.default_rng([self.seed, 2]), Taken(self._known)
        positions = self._judged_positions
        drawn = {
            name: self._drawn[name] if self._drawn[name].shape[1] else self._negatives(rng, name, at, taken)
            for name, at in positions.items()
        }
        return self._judged(positions, drawn)

    @cached_property
    def uniform(self) -> Judged:
        """The same edges, and pairs of any two nodes: what is often reported, and says little beyond node types."""
        rng = np.random.default_rng([self.seed, 3])
        drawn = {name: self._anywhere(rng, name, len(at)) for name, at in self._judged_positions.items()}
        return self._judged(self._judged_positions, drawn)

    @cached_property
    def _judged_positions(self) -> dict[str, Rows]:
        rng = np.random.default_rng([self.seed, 4])
        total = sum(map(len, self._val.values()))
        share = min(1.0, MOST_JUDGED / max(1, total))
        return {
            name: np.sort(rng.permutation(at)[: round(share * len(at))]) for name, at in self._val.items()
        }

    def _anywhere(self, rng: np.random.Generator, name: str, wanted: int) -> Rows:
        tried = rng.integers(self._graph.nodes, size=(2, 4 * wanted))
        free = (tried[0] != tried[1]) & ~in_sorted(self._known, self._graph.pair(name, *tried))
        return tried[:, free][:, :wanted]

    def degrees(self) -> Tensor:
        """float64 ``(N,)``: edges of each node along which messages pass."""
        every = np.concatenate([np.empty((2, 0), np.int64), *self._graph.edges.values()], axis=1)
        shown = every[:, self.messages.numpy()]
        return torch.from_numpy(np.bincount(shown.ravel(), minlength=self._graph.nodes).astype(np.float64))


Sides = tuple[Mapping[str, "NDArray[Any]"], list[str], str]


def _given(dataset: TosgDataset) -> Sides | None:
    """Sides and edges of the bundle's edge task, where it has one with edges of val."""
    said = dataset.manifest.get("edge_task")
    if said is None:
        return None
    path = bundle.checked_path(dataset.folder, dataset.manifest, bundle.EDGE_SPLITS)
    return bundle.map_tensors(path), list(said["types"]), said["pairs"]


def _dealt(dataset: TosgDataset, seed: int) -> Sides:
    """Hold out edges of all types that join enough pairs, as an edge task of an export does."""
    from tosg_graph.edge_splits import EdgeTask, split_edges
    from tosg_graph.types import Selection

    tables = {
        key: bundle.read_table(bundle.checked_path(dataset.folder, dataset.manifest, bundle.edge_file(key)))
        for key in dataset.edge_types
    }
    types = tuple(bundle.edge_name(key) for key, table in tables.items() if _pairs(table) >= LEAST_PAIRS)
    if not types:
        return {}, [], "any"
    selection = Selection(nodes=dataset.nodes, edges=tables, query="", parameters={})
    dealt = split_edges(selection, EdgeTask(types, (1 - HELD_OUT, HELD_OUT, 0.0), negatives=0), seed)
    return dealt.tensors, list(types), "any"


def _pairs(table: Any) -> int:
    """Pairs that edges join, loops and what is denied left out."""
    source, target = table["source_row"].to_numpy(), table["target_row"].to_numpy()
    stated = source != target
    if "negated" in table.column_names:
        stated &= ~table["negated"].cast("bool").fill_null(False).to_numpy(zero_copy_only=False)
    ends = np.sort(np.stack([source, target])[:, stated], axis=0)
    return len(np.unique(ends, axis=1).T)
