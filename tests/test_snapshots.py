"""Selections that are kept: found again whole, or not at all; and never once anything was written."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from toy_bundle import measured, selection

from tosg_graph import bundle, reading, snapshots
from tosg_graph import selection as selecting
from tosg_graph.bundle_topology import edge_counts
from tosg_graph.export import write_bundle
from tosg_graph.hops import Hops
from tosg_graph.named_queries import NamedQuery
from tosg_graph.picked_tables import tidy
from tosg_graph.reading import State, state_of
from tosg_graph.selection import select
from tosg_graph.types import Selection

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

NOW = State("store start bookmark", "store", None)  # type: ignore[arg-type]
ASKED = [NamedQuery("query_1", "MATCH (g:Gene) RETURN g", {"a": 1})]


def equal(a: Selection, b: Selection) -> bool:
    tables = list(a.edges) == list(b.edges) and all(
        a.edges[key].equals(b.edges[key]) and a.edges[key].schema.equals(b.edges[key].schema)
        for key in a.edges
    )
    return a.nodes.equals(b.nodes) and a.nodes.schema.equals(b.nodes.schema) and tables


def toy() -> Selection:
    made = selection()
    return replace(
        made,
        nodes=made.nodes.combine_chunks(),
        edges={key: tidy(table) for key, table in made.edges.items()},
        left_out=({"what": "edges", "reason": "cap", "count": 2, "kept": False, "examples": []},),
    )


# --------------------------------------------------------------------------- on disk, without a server


def test_what_is_kept_is_found_again_whole(tmp_path: Path) -> None:
    made = snapshots.save(tmp_path, "key", NOW, toy())
    found = snapshots.load(tmp_path, "key")
    assert found is not None
    assert equal(found, toy())
    assert found.left_out == toy().left_out
    assert found.snapshot == made.snapshot
    assert found.snapshot is not None
    assert found.snapshot.folder == tmp_path / "key"
    assert snapshots.load(tmp_path, "other") is None


def test_edges_are_found_after_others_removed_the_folder(tmp_path: Path) -> None:
    snapshots.save(tmp_path, "key", NOW, toy())
    found = snapshots.load(tmp_path, "key")
    assert found is not None
    shutil.rmtree(tmp_path / "key")
    assert equal(found, toy())
    assert len(found.edges) == len(toy().edges)
    assert edge_counts(found) == {bundle.edge_name(k): len(table) for k, table in toy().edges.items()}


def test_nodes_alone_are_kept(tmp_path: Path) -> None:
    snapshots.save(tmp_path, "key", NOW, replace(toy(), edges={}))
    found = snapshots.load(tmp_path, "key")
    assert found is not None
    assert equal(found, replace(toy(), edges={}))
    assert found.snapshot is not None
    assert not found.snapshot.tensors


def test_a_bundle_of_a_kept_selection_has_the_same_bytes(tmp_path: Path) -> None:
    fresh, kept = toy(), snapshots.save(tmp_path / "at", "key", NOW, toy())
    found = snapshots.load(tmp_path / "at", "key")
    assert found is not None
    found = replace(found, query=kept.query, parameters=kept.parameters)
    bundles = {
        name: write_bundle(made, measured(), cohort="true", label="cell_type", out=tmp_path / name).content
        for name, made in {"fresh": fresh, "kept": kept, "found": found}.items()
    }
    assert bundles["fresh"] == bundles["kept"] == bundles["found"]
    shutil.rmtree(tmp_path / "at")  # as where another process needed the room
    late = write_bundle(found, measured(), cohort="true", label="cell_type", out=tmp_path / "late").content
    assert late == bundles["fresh"]


@pytest.mark.parametrize(
    "name",
    ["nodes.parquet", "edges/Gene__ENCODES__Protein.parquet", "topology.safetensors", "snapshot.json"],
)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_snapshot_is_none_and_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    snapshots.save(tmp_path, "key", NOW, toy())
    path = tmp_path / "key" / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes({"flip": content, "truncate": content[:-7], "empty": b""}[damage])
    assert snapshots.load(tmp_path, "key") is None
    assert not (tmp_path / "key").exists()
    snapshots.save(tmp_path, "key", NOW, toy())
    assert snapshots.load(tmp_path, "key") is not None


def test_the_second_of_two_processes_drops_its_own(tmp_path: Path) -> None:
    snapshots.save(tmp_path, "key", NOW, toy())
    before = (tmp_path / "key" / "nodes.parquet").stat().st_ino
    assert snapshots.save(tmp_path, "key", NOW, toy()).snapshot is not None
    assert (tmp_path / "key" / "nodes.parquet").stat().st_ino == before
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_the_oldest_go_where_the_limit_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age, key in enumerate(("newest", "middle", "oldest")):
        snapshots.save(tmp_path, key, NOW, toy())
        os.utime(tmp_path / key / "snapshot.json", (1_000_000 - age, 1_000_000 - age))
    size = sum(f.stat().st_size for f in (tmp_path / "newest").rglob("*") if f.is_file())
    monkeypatch.setattr(snapshots, "LIMIT_BYTES", 2 * size + size // 2)
    snapshots.load(tmp_path, "oldest")  # a use makes it the newest
    snapshots.save(tmp_path, "now", NOW, toy())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["now", "oldest"]
    monkeypatch.setattr(snapshots, "LIMIT_BYTES", size // 2)
    assert snapshots.save(tmp_path, "huge", NOW, toy()).snapshot is None
    assert list(tmp_path.iterdir()) == []


def test_states_that_cannot_come_back_go(tmp_path: Path) -> None:
    snapshots.save(tmp_path, "before", NOW, toy())
    snapshots.save(tmp_path, "elsewhere", replace(NOW, name="other", store="other store"), toy())
    snapshots.save(tmp_path, "after", replace(NOW, name="store start later"), toy())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["after", "elsewhere"]


def test_a_folder_that_cannot_be_written_leaves_the_selection_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "selections").write_text("a file")
    assert snapshots.save(tmp_path / "selections", "key", NOW, toy()).snapshot is None


def test_everything_that_decides_a_selection_is_in_its_key() -> None:
    def key(state: State = NOW, user: str = "neo4j", **changes: Any) -> str:
        asked = [
            replace(ASKED[0], **{k: v for k, v in changes.items() if k in ("text", "parameters", "name")})
        ]
        return snapshots.key_of(state, user, asked, changes.get("induce"), changes.get("hops"))

    keys = [
        key(),
        key(replace(NOW, name="later")),
        key(user="reader"),
        key(text="MATCH (g:Gene) RETURN g LIMIT 1"),
        key(parameters={"a": 2}),
        key(parameters={"a": "1"}),
        key(parameters={"a": True}),
        key(name="genes"),
        key(induce=()),
        key(induce=("SIGNALS_TO",)),
        key(hops=Hops(1)),
        key(hops=Hops(1, seed=1)),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("MATCH (g:Gene) RETURN g", True),
        ("MATCH (g:Gene) WHERE rand() < 0.5 RETURN g", False),
        ("MATCH (g) WITH collect(g) AS all RETURN apoc.coll.shuffle(all) AS x LIMIT 1", False),
        ("MATCH (g) WHERE g.day < date() RETURN g", False),
        ("MATCH (g) WHERE g.at < timestamp() RETURN g", False),
        ("MATCH (g) WHERE g.at < datetime.realtime() RETURN g", False),
    ],
)
def test_what_chance_or_the_clock_decides_is_not_kept(text: str, same: bool) -> None:
    assert snapshots.repeatable([*ASKED, NamedQuery("x", text, {})]) is same


# --------------------------------------------------------------------------- on the server

QUERY = "MATCH (g:Gene)-[r:SIGNALS_TO]->(h:Gene) RETURN g, r, h"
WORLD = """
CREATE (a:Entity:Gene {id: 'HGNC:1', name: 'A'}), (b:Entity:Gene {id: 'HGNC:2', name: 'B'}),
       (a)-[:SIGNALS_TO {source: 'x', edge_key: 1, sign: 1}]->(b),
       (b)-[:SIGNALS_TO {source: 'y', edge_key: 2, sign: -1, publications: ['PMID:1']}]->(a)
"""


def asked_again(graph: Graph, query: str = QUERY, **options: Any) -> tuple[Selection, bool]:
    """What `select` gives with the cache, and whether it was read from there."""
    runs: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selecting, "pick", lambda *given: (runs.append("ran"), pick(*given))[1])
        return select(graph, query, cache=True, **options), not runs


pick = selecting.pick


def test_the_same_question_to_the_same_graph_is_not_asked_twice(graph: Graph) -> None:
    graph.write(WORLD)
    fresh = select(graph, QUERY)
    first, again = asked_again(graph), asked_again(graph)
    assert (first[1], again[1]) == (False, True)
    assert equal(first[0], fresh)
    assert equal(again[0], fresh)
    assert (again[0].query, again[0].parameters) == (fresh.query, fresh.parameters)
    assert asked_again(graph, induce=True)[1] is False
    assert asked_again(graph, query={"a": QUERY, "b": "MATCH (g:Gene {id: 'HGNC:1'}) RETURN g"})[1] is False
    assert asked_again(graph)[1] is True


@pytest.mark.parametrize(
    "change",
    [
        "MATCH (g:Gene {id: 'HGNC:1'}) SET g.name = 'another'",
        "MATCH ()-[r {edge_key: 1}]->() SET r.sign = 0",
        "MATCH ()-[r {edge_key: 1}]->() DELETE r",
        "CREATE (:Entity:Gene {id: 'HGNC:3', name: 'C'})",
        "CREATE INDEX of_a_test IF NOT EXISTS FOR (n:OfATest) ON (n.x)",  # costs a miss, and no more
    ],
)
def test_any_write_of_anybody_makes_it_miss(graph: Graph, change: str) -> None:
    graph.write(WORLD)
    asked_again(graph)
    with graph.driver.session() as other:
        other.run(change).consume()
    again, kept = asked_again(graph)
    assert not kept
    assert equal(again, select(graph, QUERY))
    assert asked_again(graph)[1] is True


def test_what_was_read_while_somebody_wrote_is_not_kept(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.write(WORLD)

    def written_after(*given: Any) -> Any:
        found = pick(*given)
        graph.write("MATCH (g:Gene {id: 'HGNC:1'}) SET g.name = 'meanwhile'")
        return found

    monkeypatch.setattr(selecting, "pick", written_after)
    assert select(graph, QUERY, cache=True).snapshot is None
    monkeypatch.undo()
    again, kept = asked_again(graph)
    assert not kept
    assert "meanwhile" in again.nodes["name"].to_pylist()


def test_a_server_that_does_not_tell_its_state_is_always_asked(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph.write(WORLD)
    monkeypatch.setattr(selecting, "state_of", lambda graph: None)
    assert [asked_again(graph)[1] for _ in range(2)] == [False, False]


def test_a_bulk_import_of_another_graph_makes_it_miss(
    graph: Graph, settings: Settings, tmp_path: Path
) -> None:
    """Two imports count their transactions anew, so that their bookmarks are the same."""
    from tosg_graph import server

    def imported(sign: int) -> State:
        files = {
            "Gene.csv": [("id:ID", "name"), ("HGNC:1", "A"), ("HGNC:2", "B")],
            "SIGNALS_TO.csv": [
                (":START_ID", ":END_ID", "source", "edge_key:long", "sign:long"),
                ("HGNC:1", "HGNC:2", "x", 1, sign),
            ],
        }
        for name, rows in files.items():
            with (tmp_path / name).open("w", newline="") as file:
                csv.writer(file).writerows(rows)
        nodes = [(["Entity", "Gene"], tmp_path / "Gene.csv")]
        edges = [("SIGNALS_TO", tmp_path / "SIGNALS_TO.csv")]
        graph.restart_around(lambda: server.admin_import(settings, nodes, edges, tmp_path / "report.txt"))
        state = state_of(graph)
        assert state is not None
        return state

    def signs(selection: Selection) -> list[int]:
        return [s for table in selection.edges.values() for s in table["sign"].to_pylist()]

    before = imported(1)
    assert signs(asked_again(graph)[0]) == [1]
    after = imported(-1)
    assert before.bookmarks.raw_values == after.bookmarks.raw_values
    assert before.name != after.name
    assert signs(asked_again(graph)[0]) == [-1]
    assert reading.state_of(graph).name == after.name  # type: ignore[union-attr]  # reading changes nothing
