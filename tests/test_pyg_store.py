"""PyG's stores over the live graph: the same numbers as an export, sampled inside the database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import NodeLoader

from tosg_graph.errors import QueryError
from tosg_graph.graph import Graph
from tosg_graph.pyg_store import Neo4jFeatureStore, Neo4jGraphStore, Neo4jSampler
from tosg_graph.selection import select

ROOT = Path(__file__).parent.parent
GENES = 12
SIGNALS = ("Gene", "SIGNALS_TO", "Gene")
MEMBERS = ("Gene", "PARTICIPATES_IN", "Pathway")
HUB = "HGNC:100"


@pytest.fixture(scope="module")
def world(server_graph: Graph) -> Graph:
    """Gene k has level 100 + k; all lead to the hub, and each to the next; every third is in one pathway."""
    with server_graph.driver.session() as session:
        session.run("MATCH (n) DETACH DELETE n").consume()
    server_graph.write(
        "UNWIND range(0, $n - 1) AS k "
        "CREATE (g:Entity:Gene {id: 'HGNC:' + toString(100 + k), name: 'G', level: 100.0 + k}) "
        "WITH g, k WHERE k % 2 = 0 SET g.both = [toFloat(k), 1.0]",
        n=GENES,
    )
    server_graph.write(
        "CREATE (:Entity:Pathway {id: 'REACT:2', name: 'P'}), (:Entity:Pathway {id: 'REACT:1', name: 'Q'})"
    )
    server_graph.write(
        "MATCH (g:Gene), (hub:Gene {id: $hub}) WITH g, hub, toInteger(split(g.id, ':')[1]) AS k "
        "CREATE (g)-[:SIGNALS_TO {edge_key: k, source: 's'}]->(hub) "
        "WITH g, k MATCH (next:Gene {id: 'HGNC:' + toString(k + 1)}) "
        "CREATE (g)-[:SIGNALS_TO {edge_key: 1000 + k, source: 's'}]->(next)",
        hub=HUB,
    )
    server_graph.write(
        "MATCH (g:Gene), (p:Pathway {id: 'REACT:2'}) WITH g, p, toInteger(split(g.id, ':')[1]) AS k WHERE k % 3 = 0 "
        "CREATE (g)-[:PARTICIPATES_IN {edge_key: 5000 + k, source: 's'}]->(p)"
    )
    return server_graph


@pytest.fixture
def store(world: Graph) -> Neo4jGraphStore:
    return Neo4jGraphStore(world, [SIGNALS, MEMBERS])


def test_the_edge_index_is_that_of_a_selection(store: Neo4jGraphStore, world: Graph) -> None:
    picked = select(world, "MATCH (a)-[r]->(b) RETURN a, r, b UNION MATCH (a) RETURN a, null AS r, null AS b")
    offset = picked.nodes["type"].to_pylist().index("Pathway")
    for edge_type, shift in ((SIGNALS, 0), (MEMBERS, offset)):
        table = picked.edges[edge_type]
        row, col = store.get_edge_index(edge_type=edge_type, layout="coo")
        assert row.tolist() == table["source_row"].to_pylist()
        assert (col + shift).tolist() == table["target_row"].to_pylist()
    assert len(store.get_edge_index(edge_type=SIGNALS, layout="coo")[0]) == GENES + GENES - 1


def test_features_land_on_their_nodes_and_what_lacks_one_has_zeros(store: Neo4jGraphStore) -> None:
    features = Neo4jFeatureStore(store, {"Gene": {"x": "level", "pair": "both"}})
    assert features.get_tensor("Gene", "x", index=torch.tensor([3, 0])).tolist() == [[103.0], [100.0]]
    assert features.get_tensor("Gene", "pair", index=None)[:3].tolist() == [
        [0.0, 1.0],
        [0.0, 0.0],
        [2.0, 1.0],
    ]
    assert features.get_tensor_size("Gene", "pair") == (GENES, 2)
    with pytest.raises(QueryError, match="No Gene has a property 'levl'"):
        Neo4jFeatureStore(store, {"Gene": {"x": "levl"}}).get_tensor("Gene", "x", index=None)


def batches(store: Neo4jGraphStore, seed: int = 0, neighbors: tuple[int, ...] = (2, 2)) -> list[HeteroData]:
    features = Neo4jFeatureStore(store, {"Gene": {"x": "level"}})
    loader = NodeLoader(
        (features, store),
        Neo4jSampler(store, neighbors, seed),
        input_nodes=("Gene", torch.arange(GENES)),
        batch_size=5,
    )
    return list(loader)


def said(batch: HeteroData) -> dict[str, Any]:
    return {str(edge): batch[edge].edge_index.tolist() for edge in batch.edge_types} | {
        "x": batch["Gene"].x.tolist(),
        "n": batch["Gene"].n_id.tolist(),
    }


def test_a_batch_is_a_part_of_the_graph_with_bounded_fan_in(store: Neo4jGraphStore) -> None:
    row, col = store.get_edge_index(edge_type=SIGNALS, layout="coo")
    there = set(zip(row.tolist(), col.tolist(), strict=True))
    found = batches(store)
    assert [batch["Gene"].n_id[:2].tolist() for batch in found] == [[0, 1], [5, 6], [10, 11]]
    for batch in found:
        nodes = batch["Gene"].n_id
        assert batch["Gene"].x[:, 0].tolist() == (nodes + 100).tolist()
        start, end = batch[SIGNALS].edge_index
        pairs = list(zip(nodes[start].tolist(), nodes[end].tolist(), strict=True))
        assert pairs
        assert set(pairs) <= there
        assert torch.bincount(end).max() <= 2
        assert len(set(nodes.tolist())) == len(nodes)


def test_the_same_seed_chooses_the_same_and_another_one_does_not(store: Neo4jGraphStore) -> None:
    first = [said(batch) for batch in batches(store)]
    assert first == [said(batch) for batch in batches(store)]
    others = [[said(batch) for batch in batches(store, seed)] for seed in range(1, 6)]
    assert any(other != first for other in others)


def test_with_room_for_all_neighbours_none_is_missing(store: Neo4jGraphStore) -> None:
    [batch] = [b for b in batches(store, neighbors=(100,)) if 0 in b["Gene"].n_id[:5].tolist()]
    nodes = batch["Gene"].n_id
    into_hub = nodes[batch[SIGNALS].edge_index[0][batch[SIGNALS].edge_index[1] == nodes.tolist().index(0)]]
    assert sorted(into_hub.tolist()) == list(range(GENES))


def test_what_cannot_be_done_says_so(store: Neo4jGraphStore, world: Graph) -> None:
    with pytest.raises(QueryError, match="no entity of the type 'Drug'"):
        store.numbers.ids("Drug")
    with pytest.raises(QueryError, match="'Genes' is no type"):
        store.numbers.ids("Genes")
    with pytest.raises(QueryError, match="num_neighbors is"):
        Neo4jSampler(store, [0])
    with pytest.raises(QueryError, match="not written through PyG"):
        store.put_edge_index((torch.tensor([0]), torch.tensor([0])), edge_type=SIGNALS, layout="coo")
    with pytest.raises(KeyError):
        store.get_edge_index(edge_type=("Gene", "ENCODES", "Protein"), layout="coo")


def test_the_example_of_the_page_runs(world: Graph) -> None:
    page = (ROOT / "docs" / "pyg.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}

    class Open:
        graph = world

        def __enter__(self) -> Open:
            return self

        def __exit__(self, *rest: object) -> None: ...

    exec(
        code.replace("tg.open()", "opened()").replace('"text_embedding"', '"level"'), {"opened": Open}, names
    )
    assert names["batch"]["Gene"].x.shape[1] == 1
    assert names["batch"][SIGNALS].edge_index.shape[0] == 2
