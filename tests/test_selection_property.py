"""Any selection over a random small graph equals what networkx and a few lines of Python pick from it.

The key of an edge is ``10000 * source + 100 * target + number``, so that a wrong edge shows which one it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tosg_graph.errors import QueryError
from tosg_graph.hops import Hops
from tosg_graph.selection import manifest_keys, select

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

TYPES = ("Gene", "Protein", "Pathway")
VERBS = ("ASSOCIATED_WITH", "INTERACTS_WITH", "SIGNALS_TO")
# Ways to return x: what a person may write around a graph element.
SHAPES = (
    "x",
    "[x]",
    "{a: x}",
    "[[null, 1, x], {k: ['text', x]}]",
    "{a: {b: [x]}}",
    "[date({year: 2020}), [[], [x]]]",
)
CLEAR = "MATCH (n) DETACH DELETE n"
NODES = "UNWIND $rows AS row CREATE (n:Entity:$(row.type) {id: row.id, name: row.id})"
EDGES = """
UNWIND $rows AS row
MATCH (a:Entity {id: row.source}), (b:Entity {id: row.target})
CREATE (a)-[:$(row.verb) {edge_key: row.key, source: 'toy'}]->(b)
"""

Picked = tuple[set[str], set[int]]


@dataclass(frozen=True)
class Question:
    """A query, and what networkx says that it picks."""

    text: str
    parameters: dict[str, Any]
    expected: Picked = field(compare=False)


# --------------------------------------------------------------------------- random graphs and questions


@st.composite
def graphs(draw: st.DrawFn) -> nx.MultiDiGraph:
    world = nx.MultiDiGraph()
    size = draw(st.integers(2, 7))
    for k in range(size):
        world.add_node(f"HGNC:{k}", type=draw(st.sampled_from(TYPES)))
    ends = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1), st.sampled_from(VERBS))
    for number, (source, target, verb) in enumerate(draw(st.lists(ends, min_size=1, max_size=16))):
        key = 10_000 * source + 100 * target + number
        world.add_edge(f"HGNC:{source}", f"HGNC:{target}", key=key, verb=verb)
    return world


@st.composite
def questions(draw: st.DrawFn, world: nx.MultiDiGraph) -> Question:
    shape = draw(st.sampled_from(SHAPES))
    kind = draw(st.sampled_from(["nodes", "relationships", "paths", "both"]))
    ids = draw(st.lists(st.sampled_from(sorted(world.nodes)), unique=True, min_size=1))
    every = sorted(key for _, _, key in world.edges(keys=True))
    keys = draw(st.lists(st.sampled_from(every), unique=True, min_size=1))
    if kind == "nodes":
        text = f"MATCH (x:Entity) WHERE x.id IN $ids RETURN {shape} AS found"
        return Question(text, {"ids": ids}, (set(ids), set()))
    if kind == "relationships":
        beside = draw(st.sampled_from(["", ", x.edge_key AS key", ", n"]))
        text = f"MATCH (n)-[x]->() WHERE x.edge_key IN $keys RETURN {shape} AS found{beside}"
        return Question(text, {"keys": keys}, with_ends(world, keys))
    if kind == "both":
        text = f"MATCH (n:Entity)-[x]->() WHERE x.edge_key IN $keys RETURN n, {shape} AS found, collect(n) AS all"
        return Question(text, {"keys": keys}, with_ends(world, keys))
    steps = draw(st.integers(1, 2))
    text = f"MATCH x = (a:Entity)-[*1..{steps}]->() WHERE a.id IN $ids RETURN {shape} AS found"
    return Question(text, {"ids": ids}, with_ends(world, trails(world, ids, steps)))


@st.composite
def selections(draw: st.DrawFn) -> dict[str, Any]:
    world = draw(graphs())
    asked = draw(st.lists(questions(world), min_size=1, max_size=3))
    some_verbs = st.lists(st.sampled_from(VERBS), unique=True, min_size=1)
    hops = st.builds(
        Hops,
        steps=st.integers(1, 3),
        cap=st.none() | st.integers(1, 2),
        verbs=st.just(()) | some_verbs.map(tuple),
        seed=st.integers(0, 3),
    )
    return {
        "world": world,
        "asked": asked,
        "induce": draw(st.booleans() | some_verbs),
        "hops": draw(st.none() | hops),
    }


# --------------------------------------------------------------------------- the reference


def with_ends(world: nx.MultiDiGraph, keys: Iterable[int]) -> Picked:
    keys = set(keys)
    ends = {end for a, b, key in world.edges(keys=True) if key in keys for end in (a, b)}
    return ends, keys


def trails(world: nx.MultiDiGraph, starts: Iterable[str], steps: int) -> set[int]:
    """Keys of all edges on directed trails of at most ``steps`` edges; a trail uses no edge twice."""
    found: set[int] = set()

    def walk(at: str, used: tuple[int, ...]) -> None:
        for _, end, key in world.out_edges(at, keys=True):
            if key not in used:
                found.add(key)
                if len(used) + 1 < steps:
                    walk(end, (*used, key))

    for start in starts:
        walk(start, ())
    return found


def hashed(key: int, seed: int) -> int:
    """SplitMix64's finaliser in Python's own integers."""
    mask = 2**64 - 1

    def mixed(x: int) -> int:
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    return mixed((key & mask) ^ mixed((seed + 0x9E3779B97F4A7C15) & mask))


def grown(world: nx.MultiDiGraph, nodes: set[str], hops: Hops) -> tuple[set[int], set[int]]:
    """Keys of the edges that hops follow from ``nodes``, and of all that they pass."""
    followed: set[int] = set()
    seen: set[int] = set()
    reached, border = set(nodes), set(nodes)
    for _ in range(hops.steps):
        ends: set[str] = set()
        for node in border:
            for verb in hops.verbs or VERBS:
                touching = {
                    key: b if a == node else a
                    for a, b, key, v in world.edges(keys=True, data="verb")
                    if v == verb and node in (a, b)
                }
                kept = sorted(touching, key=lambda key: (hashed(key, hops.seed), key))[: hops.cap]
                seen |= set(touching)
                followed |= set(kept)
                ends |= {touching[key] for key in kept}
        border = ends - reached
        reached |= border
    return followed, seen


def expected_of(case: dict[str, Any]) -> tuple[Picked, int]:
    """Ids and keys, and how many edges the cap left out."""
    world, hops, induce = case["world"], case["hops"], case["induce"]
    nodes: set[str] = set().union(*(q.expected[0] for q in case["asked"]))
    keys: set[int] = set().union(*(q.expected[1] for q in case["asked"]))
    seen: set[int] = set()
    if hops:
        followed, seen = grown(world, nodes, hops)
        keys |= followed
        nodes |= with_ends(world, keys)[0]
    if induce:
        among = world.subgraph(nodes).edges(keys=True, data="verb")
        keys |= {key for _, _, key, verb in among if induce is True or verb in induce}
    return (nodes, keys), len(seen - keys)


# --------------------------------------------------------------------------- the property


def write(graph: Graph, world: nx.MultiDiGraph) -> None:
    nodes = [{"id": node, "type": type_} for node, type_ in world.nodes(data="type")]
    edges = [
        {"source": a, "target": b, "key": key, "verb": verb}
        for a, b, key, verb in world.edges(keys=True, data="verb")
    ]
    with graph.driver.session() as session, session.begin_transaction() as transaction:
        transaction.run(CLEAR)
        transaction.run(NODES, rows=nodes)
        transaction.run(EDGES, rows=edges)
        transaction.commit()


@pytest.fixture(scope="module")
def emptied(server_graph: Graph) -> Graph:
    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
    return server_graph


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(case=selections())
def test_any_selection_equals_the_reference(emptied: Graph, case: dict[str, Any]) -> None:
    write(emptied, case["world"])
    queries = {f"q{k}": q.text for k, q in enumerate(case["asked"])}
    parameters = {f"q{k}.{n}": v for k, q in enumerate(case["asked"]) for n, v in q.parameters.items()}
    asked = {"induce": case["induce"], "hops": case["hops"]}
    if not all(q.expected[0] for q in case["asked"]):  # no path begins there
        with pytest.raises(QueryError, match="matches nothing"):
            select(emptied, queries, parameters, **asked)
        return
    found = select(emptied, queries, parameters, **asked)
    (nodes, keys), capped = expected_of(case)
    ids = found.nodes["id"].to_pylist()
    rows = [{**row, "verb": key[1]} for key, table in found.edges.items() for row in table.to_pylist()]
    assert set(ids) == nodes
    assert len(ids) == len(nodes)
    assert sorted(row["edge_key"] for row in rows) == sorted(keys)
    for row in rows:
        key = row["edge_key"]
        assert (ids[row["source_row"]], ids[row["target_row"]]) == (
            f"HGNC:{key // 10_000}",
            f"HGNC:{key // 100 % 100}",
        )
        assert case["world"].edges[ids[row["source_row"]], ids[row["target_row"]], key]["verb"] == row["verb"]
    assert sum(entry["count"] for entry in found.left_out) == capped
    if len(queries) > 1:
        for name, question in zip(queries, case["asked"], strict=True):
            column = f"picked_by_{name}"
            by_it = zip(ids, found.nodes[column].to_pylist(), strict=True)
            assert {node for node, yes in by_it if yes} == question.expected[0]
            assert {row["edge_key"] for row in rows if row[column]} == question.expected[1]
        counts = [(q["nodes"], q["edges"]) for q in manifest_keys(found)["queries"]]
        assert counts == [tuple(map(len, q.expected)) for q in case["asked"]]
        json.dumps(manifest_keys(found))
