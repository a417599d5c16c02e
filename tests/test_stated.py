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
    {"id": [f"HGNC:{i}" for i in range(5)], "hash": pa.array([10 * i for i in range(5)], pa.uint64())}
)


def edges(n: int, first: int = 0) -> pa.Table:
    keys = np.arange(first, first + n)
    return pa.table({"key": pa.array(keys), "hash": pa.array(keys * 7, pa.uint64())})


def test_what_goes_in_comes_out_verb_by_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stated, "_ROWS", 3)
    stated.write(
        tmp_path, "hgnc", "r1", NODES, {"IS_A": edges(7), "PART_OF": edges(2, 100), "MAPS_TO": edges(0)}
    )
    found = stated.read(tmp_path, "hgnc", ["r0", "r1"])
    assert found is not None
    stated.forget(tmp_path, "hgnc")  # a load forgets before it writes, and reads on
    assert found.nodes().to_pylist() == NODES.to_pylist()
    assert found.verbs() == ["IS_A", "PART_OF"]
    assert found.edges("IS_A").to_pylist() == edges(7).to_pylist()
    assert found.edges("PART_OF").to_pylist() == edges(2, 100).to_pylist()
    assert len(found.edges("TARGETS")) == 0
    assert not list(tmp_path.iterdir())


def test_a_release_that_the_graph_has_not_is_not_believed(tmp_path: Path) -> None:
    stated.write(tmp_path, "hgnc", "r1", NODES, {})
    assert stated.read(tmp_path, "hgnc", ["r2"]) is None
    assert stated.read(tmp_path, "other", ["r1"]) is None
    (tmp_path / "hgnc.parquet").write_bytes(b"half of a file")
    assert stated.read(tmp_path, "hgnc", ["r1"]) is None


def test_unchanged_and_gone() -> None:
    keys = pa.array([3, 4, 99, 5])
    hashes = np.array([21, 29, 0, 35], np.uint64)
    assert stated.unchanged(edges(6), "key", keys, hashes).tolist() == [True, False, False, True]
    assert stated.unchanged(None, "key", keys, hashes).tolist() == [False] * 4
    assert stated.gone(edges(6), "key", keys).to_pylist() == [0, 1, 2]


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
