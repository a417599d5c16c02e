"""What a source stated last time: kept as hashes, believed only for a release that the graph has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import stated

NODES = pa.table(
    {
        "id": [f"HGNC:{i}" for i in range(5)],
        "label": ["Gene"] * 5,
        "hash": pa.array([10 * i for i in range(5)], pa.uint64()),
        "own": pa.array([11 * i for i in range(5)], pa.uint64()),
    }
)


def edges(n: int, first: int = 0) -> pa.Table:
    keys = np.arange(first, first + n)
    return pa.table({"key": pa.array(keys), "hash": pa.array(keys * 7, pa.uint64())})


def test_what_goes_in_comes_out_verb_by_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stated, "_ROWS", 3)
    given = {"IS_A": edges(7), "PART_OF": edges(2, 100), "MAPS_TO": edges(0)}
    name = stated.write(tmp_path, "hgnc", NODES, given.items())
    found = stated.open_file(tmp_path / name)
    assert found is not None
    (tmp_path / name).unlink()  # it may be removed while it is open
    assert found.nodes().to_pylist() == NODES.to_pylist()
    assert found.verbs() == ["IS_A", "PART_OF"]
    assert found.edges("IS_A").to_pylist() == edges(7).to_pylist()
    assert found.edges("PART_OF").to_pylist() == edges(2, 100).to_pylist()
    assert len(found.edges("TARGETS")) == 0


def test_the_same_statements_are_one_file_and_others_another(tmp_path: Path) -> None:
    first = stated.write(tmp_path, "hgnc", NODES, [("IS_A", edges(7))])
    assert stated.write(tmp_path, "hgnc", NODES, [("IS_A", edges(7))]) == first
    second = stated.write(tmp_path, "hgnc", NODES, [("PART_OF", edges(7))])
    assert second != first
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([first, second])


def test_hashes_are_believed_for_a_release_of_the_graph_and_while_no_load_is_open(tmp_path: Path) -> None:
    def keys(found: stated.Known) -> list[list[int]]:
        return [file.edges("IS_A")["key"].to_pylist() for file in found.possible]

    one, two = (stated.write(tmp_path, "hgnc", NODES, [("IS_A", edges(1, k))]) for k in (1, 2))
    assert stated.known(tmp_path, "hgnc", ["r1"]) == stated.Known(None, ())
    stated.settle(tmp_path, "hgnc", one, "r1")
    assert stated.known(tmp_path, "hgnc", ["r0", "r1"]).last
    assert stated.known(tmp_path, "hgnc", ["r2"]) == stated.Known(None, ())
    for _ in range(2):  # a load that dies, and dies again
        stated.announce(tmp_path, "hgnc", two)
    died = stated.known(tmp_path, "hgnc", ["r1"])
    assert died.last is None
    assert keys(died) == [[1], [2]]
    assert keys(stated.known(tmp_path, "hgnc", ["another graph"])) == [[2]]
    assert stated.named_files(tmp_path) == {one, two}
    stated.settle(tmp_path, "hgnc", two, "r2")
    assert keys(stated.known(tmp_path, "hgnc", ["r2"])) == [[2]]


def test_damaged_files_are_as_none(tmp_path: Path) -> None:
    name = stated.write(tmp_path, "hgnc", NODES, [])
    stated.settle(tmp_path, "hgnc", name, "r1")
    (tmp_path / name).write_bytes(b"half of a file")
    assert stated.known(tmp_path, "hgnc", ["r1"]) == stated.Known(None, ())
    (tmp_path / "hgnc.json").write_text('{"file"')
    assert stated.known(tmp_path, "hgnc", ["r1"]) == stated.Known(None, ())


def test_what_differs_and_what_is_gone() -> None:
    now = pa.table({"key": [3, 4, 99, 5], "hash": pa.array([21, 29, 0, 35], pa.uint64())})
    found = stated.compare(edges(6), now, "key", "hash")
    assert [part["key"].to_pylist() for part in (found.added, found.changed, found.gone)] == [
        [99],
        [4],
        [0, 1, 2],
    ]
    assert stated.without(edges(6)["key"], now["key"]).to_pylist() == [0, 1, 2]


KEYS = st.lists(st.integers(-3, 9), unique=True)


@given(KEYS, KEYS, st.booleans(), st.booleans(), st.data())
def test_rows_in_any_order_are_compared_as_a_dictionary_would(
    before: list[int], now: list[int], texts: bool, in_order: bool, data: st.DataObject
) -> None:
    def table(keys: list[int], hashes: list[int]) -> pa.Table:
        named = pa.array([f"X:{k}" for k in keys], pa.string()) if texts else pa.array(keys, pa.int64())
        return pa.table({"key": named, "hash": pa.array(hashes, pa.uint64())})

    if in_order:
        before, now = sorted(before), sorted(now)
    was, is_ = ([data.draw(st.integers(0, 1)) for _ in keys] for keys in (before, now))
    known, new = dict(zip(before, was, strict=True)), dict(zip(now, is_, strict=True))
    found = stated.compare(table(before, was), table(now, is_), "key", "hash")
    kept = [k for k in now if k in known and known[k] != new[k]]
    for part, keys, hashes in (
        (found.added, [k for k in now if k not in known], new),
        (found.changed, kept, new),
        (found.gone, [k for k in before if k not in new], known),
    ):
        assert part.equals(table(keys, [hashes[k] for k in keys]))


def test_relationships_are_written_in_order(tmp_path: Path) -> None:
    mixed = edges(9).take(pa.array([5, 2, 8, 0, 1, 7, 3, 6, 4]))
    name = stated.write(tmp_path, "hgnc", NODES, [("IS_A", mixed)])
    assert name == stated.write(tmp_path, "hgnc", NODES, [("IS_A", edges(9))])
    found = stated.open_file(tmp_path / name)
    assert found is not None
    assert found.edges("IS_A").to_pylist() == edges(9).to_pylist()


@given(
    st.lists(
        st.tuples(st.text(max_size=3) | st.none(), st.lists(st.text(max_size=2), max_size=2) | st.none()),
        max_size=20,
    )
)
def test_rows_have_one_hash_exactly_if_they_are_equal(
    rows: list[tuple[str | None, list[str] | None]],
) -> None:
    columns = {
        "name": pa.array([name for name, _ in rows], pa.string()),
        "synonyms": pa.array([names for _, names in rows], pa.list_(pa.string())),
    }
    hashes = stated.row_hashes(pa.table(columns)).tolist()
    assert len(hashes) == len(rows)
    said = [repr((name, names or None)) for name, names in rows]  # an empty list is a missing one
    assert [hashes.index(h) for h in hashes] == [said.index(row) for row in said]
