"""The live graph as PyTorch Geometric's `GraphStore` and `FeatureStore`, and a sampler that asks the database.

For graphs that shall not be exported as a whole: neighbours are chosen inside the database, and only what a batch
needs crosses the wire. Nodes are numbered per type, sorted by id, as in an export.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch_geometric.data import EdgeAttr, FeatureStore, GraphStore, TensorAttr
from torch_geometric.data.graph_store import EdgeLayout
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, NodeSamplerInput

from tosg_graph.contract import labels
from tosg_graph.errors import QueryError
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

EdgeType = tuple[str, str, str]
_BATCH = 10_000


class NodeNumbers:
    """Number of each entity within its type, by sorted id; read once per type.

    The type of an entity is the first of its labels in the order of ``schema/nodes.yaml``.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._ids: dict[str, list[str]] = {}
        self._rows: dict[str, dict[str, int]] = {}

    def ids(self, type_: str) -> list[str]:
        """Ids of a type: the id of node k is at place k.

        Raises
        ------
        QueryError
            If the graph has no entity of the type.
        """
        if type_ not in self._ids:
            found = self._graph.rows(cypher("pyg_ids"), **of_type(type_))[0]["ids"]
            if not found:
                raise QueryError(
                    f"The graph has no entity of the type {type_!r}; it may be one of {', '.join(labels())}."
                )
            self._ids[type_] = found
        return self._ids[type_]

    def rows(self, type_: str) -> dict[str, int]:
        """Id -> number."""
        if type_ not in self._rows:
            self._rows[type_] = {id_: row for row, id_ in enumerate(self.ids(type_))}
        return self._rows[type_]


def of_type(type_: str) -> dict[str, Any]:
    """Parameters that pick the entities of a type in a statement."""
    known = labels()
    if type_ not in known:
        raise QueryError(f"{type_!r} is no type of entity; there are {', '.join(known)}.")
    return {"label": type_, "before": known[: known.index(type_)]}


class Neo4jGraphStore(GraphStore):  # type: ignore[misc]  # PyG ships no types
    """Relationships of the live graph, read when asked for; nothing can be written through it.

    Parameters
    ----------
    graph
        A connected graph.
    edge_types
        ``(source type, verb, target type)`` of the relationships that count, e.g. ``("Gene", "SIGNALS_TO", "Gene")``.
    """

    def __init__(self, graph: Graph, edge_types: Sequence[EdgeType]) -> None:
        super().__init__()
        self.graph = graph
        self.edge_types = list(edge_types)
        self.numbers = NodeNumbers(graph)

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """One per edge type, in coordinate layout."""
        return [EdgeAttr(edge_type, EdgeLayout.COO) for edge_type in self.edge_types]

    def _get_edge_index(self, edge_attr: EdgeAttr) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Rows and columns, int64, sorted by source, target and key."""
        if edge_attr.edge_type not in self.edge_types or edge_attr.layout != EdgeLayout.COO:
            return None
        source, verb, target = edge_attr.edge_type
        starts, ends = self.numbers.rows(source), self.numbers.rows(target)
        ids = self.numbers.ids(source)
        parts = []
        for first in range(0, len(ids), _BATCH):
            [found] = self.graph.rows(
                cypher("pyg_edges"), ids=ids[first : first + _BATCH], verb=verb, **of_type(target)
            )
            columns = [
                [starts[i] for i in found["sources"]],
                [ends[i] for i in found["targets"]],
                found["keys"],
            ]
            parts.append(np.array(columns, np.int64).reshape(3, -1))
        whole = np.concatenate(parts, axis=1)
        whole = whole[:, np.lexsort(whole[::-1])]
        return torch.from_numpy(whole[0].copy()), torch.from_numpy(whole[1].copy())

    def _put_edge_index(self, edge_index: Any, edge_attr: EdgeAttr) -> bool:
        raise QueryError("The graph is not written through PyG. Load a source instead: tosg load.")

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> bool:
        raise QueryError("The graph is not written through PyG. Load a source instead: tosg load.")


class Neo4jFeatureStore(FeatureStore):  # type: ignore[misc]  # as above
    """Numeric properties and vectors of the live graph's nodes as float32; a node without one has zeros.

    Parameters
    ----------
    store
        Whose numbering counts.
    features
        Type -> {name of the tensor: property}, e.g. ``{"Gene": {"x": "text_embedding"}}``.
    """

    def __init__(self, store: Neo4jGraphStore, features: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__()
        # FeatureStore takes attributes for tensors, so these go around it.
        self.__dict__.update(store=store, features=features, widths={})

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """One per type and name."""
        return [TensorAttr(type_, name) for type_, named in self.features.items() for name in named]

    def _get_tensor(self, attr: TensorAttr) -> torch.Tensor | None:
        """Rows that ``attr.index`` names, float32, shape ``(n, width)``; all without it."""
        ids = np.array(self.store.numbers.ids(attr.group_name), object)
        index = attr.index
        chosen = ids if index is None else ids[index.numpy() if isinstance(index, torch.Tensor) else index]
        name = self.features.get(attr.group_name, {}).get(attr.attr_name)
        if name is None:
            return None
        values = np.zeros((len(chosen), self._width(attr.group_name, name)), np.float32)
        for first in range(0, len(chosen), _BATCH):
            part = list(chosen[first : first + _BATCH])
            for place, value in self.store.graph.rows(cypher("pyg_values"), ids=part, name=name)[0]["values"]:
                if value is not None:
                    values[first + place] = value
        return torch.from_numpy(values)

    def _width(self, type_: str, name: str) -> int:
        """Length of a property's values; 1 for a number."""
        if (type_, name) not in self.widths:
            ids = self.store.numbers.ids(type_)
            for first in range(0, len(ids), _BATCH):
                part = ids[first : first + _BATCH]
                found = self.store.graph.rows(cypher("pyg_values"), ids=part, name=name)[0]["values"]
                value = next((v for _, v in found if v is not None), None)
                if value is not None:
                    self.widths[type_, name] = len(value) if isinstance(value, list) else 1
                    break
            else:
                raise QueryError(
                    f"No {type_} has a property {name!r}. Embed first (tosg embed), or name another."
                )
        return int(self.widths[type_, name])

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...] | None:
        name = self.features.get(attr.group_name, {}).get(attr.attr_name)
        if name is None:
            return None
        return len(self.store.numbers.ids(attr.group_name)), self._width(attr.group_name, name)

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> bool:
        raise QueryError("The graph is not written through PyG. Load a source instead: tosg load.")

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        raise QueryError("The graph is not written through PyG. Load a source instead: tosg load.")


class Neo4jSampler(BaseSampler):  # type: ignore[misc]  # as above
    """Neighbours of seed nodes, chosen in the database; use it with `torch_geometric.loader.NodeLoader`.

    Each layer follows relationships backwards, from where messages arrive to where they come from.

    Parameters
    ----------
    store
        The graph and its edge types.
    num_neighbors
        Relationships per node, edge type and layer at most.
    seed
        The same seed chooses the same relationships of a node, whichever batch it is in.
    """

    def __init__(self, store: Neo4jGraphStore, num_neighbors: Sequence[int], seed: int = 0) -> None:
        if not num_neighbors or min(num_neighbors) < 1:
            raise QueryError(
                f"num_neighbors is {list(num_neighbors)}; name at least one neighbour for each layer."
            )
        self.store = store
        self.num_neighbors = list(num_neighbors)
        self.seed = seed

    @cached_property
    def _types(self) -> list[str]:
        return sorted({end for source, _, target in self.store.edge_types for end in (source, target)})

    def sample_from_nodes(self, index: NodeSamplerInput, **kwargs: Any) -> HeteroSamplerOutput:
        """Sample around ``index.node`` of the type ``index.input_type``."""
        numbers = self.store.numbers
        seeds = [numbers.ids(index.input_type)[row] for row in index.node.tolist()]
        nodes: dict[str, dict[str, int]] = {type_: {} for type_ in {*self._types, index.input_type}}
        for id_ in seeds:
            nodes[index.input_type].setdefault(id_, len(nodes[index.input_type]))
        if len(nodes[index.input_type]) != len(seeds):
            raise QueryError("A seed node occurs twice in one batch; name each once.")
        edges: dict[EdgeType, dict[int, tuple[int, int]]] = {edge: {} for edge in self.store.edge_types}
        per_layer: dict[str, list[int]] = {type_: [len(found)] for type_, found in nodes.items()}
        frontier = {type_: list(found) for type_, found in nodes.items()}
        for cap in self.num_neighbors:
            before = {type_: len(found) for type_, found in nodes.items()}
            for edge_type in self.store.edge_types:
                self._follow(edge_type, frontier[edge_type[2]], cap, nodes, edges[edge_type])
            frontier = {type_: list(found)[before[type_] :] for type_, found in nodes.items()}
            for type_, found in frontier.items():
                per_layer[type_].append(len(found))
        found = self._output(nodes, edges, per_layer)
        found.metadata = (index.input_id, index.time)
        return found

    def _follow(
        self,
        edge_type: EdgeType,
        ids: list[str],
        cap: int,
        nodes: dict[str, dict[str, int]],
        edges: dict[int, tuple[int, int]],
    ) -> None:
        """Add what leads to ``ids``; a node that is new gets the next number of its type in the batch."""
        source, verb, target = edge_type
        if not ids:
            return
        [found] = self.store.graph.rows(
            cypher("pyg_sample"), ids=ids, verb=verb, cap=cap, seed=str(self.seed), **of_type(source)
        )
        order = sorted(range(len(found["keys"])), key=lambda k: (found["places"][k], found["keys"][k]))
        for k in order:
            start = nodes[source].setdefault(found["sources"][k], len(nodes[source]))
            edges[found["keys"][k]] = (start, nodes[target][ids[found["places"][k]]])

    def _output(
        self,
        nodes: dict[str, dict[str, int]],
        edges: dict[EdgeType, dict[int, tuple[int, int]]],
        per_layer: dict[str, list[int]],
    ) -> HeteroSamplerOutput:
        ends = {
            edge: torch.tensor(list(e.values()), dtype=torch.int64).reshape(-1, 2)
            for edge, e in edges.items()
        }
        rows = {
            type_: torch.tensor([self.store.numbers.rows(type_)[i] for i in found], dtype=torch.int64)
            for type_, found in nodes.items()
            if found
        }
        return HeteroSamplerOutput(
            node=rows,
            row={edge: e[:, 0] for edge, e in ends.items()},
            col={edge: e[:, 1] for edge, e in ends.items()},
            edge=dict.fromkeys(ends),
            num_sampled_nodes=per_layer,
        )

    def sample_from_edges(self, index: Any, neg_sampling: Any = None) -> HeteroSamplerOutput:
        """Not offered: export a bundle for edge tasks."""
        raise QueryError(
            "Neighbours are sampled around nodes only. Export a bundle for edge tasks: tosg-export."
        )
