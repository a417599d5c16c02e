"""Compaction: other blocks, the same answers; a kill leaves the last good state."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_store
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cells_stream import add_all, write_file

from tosg_graph import cell_blocks
from tosg_graph import compact as compact_module
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.compact import Compaction, compact
from tosg_graph.counts_files import counts_schema
from tosg_graph.errors import StoreError
from tosg_graph.store_files import recorded_sha256
from tosg_graph.store_log import StoreLog
from tosg_graph.verify import verify

BLOCK = 4
ORGANS = ["liver", "blood", None]


def no_terms(column: str, value: str) -> None:
    return None


def compact_by(store: AbundanceStore, block_cells: int) -> Compaction:
    """Compact into blocks of at most so many cells."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_blocks, "BLOCK_CELLS", block_cells)
        return compact(store)


def three_adds(folder: Path, url: str = "") -> AbundanceStore:
    """Seventeen cells of three datasets, the second with a column more, in blocks that are half empty."""
    store = AbundanceStore.open(folder, url)
    toy_store.add(store, 0, 6, "a", organ=organs(0, 6))
    toy_store.add(store, 6, 1, "b", organ=organs(6, 1), site=pa.array(["x"]))
    toy_store.add(store, 7, 10, "c", organ=organs(7, 10))
    return store


def organs(first: int, size: int) -> pa.Array:
    return pa.array([ORGANS[k % 3] for k in range(first, first + size)], pa.string())


def answers(store: AbundanceStore) -> list[Any]:
    """Everything that a reader can be asked, apart from where the cells lie."""
    with AbundanceReader.open(store) as reader:
        cells = reader.cells("true", no_terms)
        ids = cells["cell_id"].to_pylist()
        columns = range(len(reader.axis))
        return [
            cells.drop_columns(["block", "cell"]).to_pydict(),
            reader.csr(ids, columns).toarray().tolist(),
            reader.aggregate(columns, "dataset", None, no_terms).to_pydict(),
            [facet.to_pydict() for facet in reader.facets("true", no_terms)],
            store.datasets().to_pydict(),
            reader.axis.to_pydict(),
        ]


def test_every_answer_is_the_same_and_the_blocks_are_full(tmp_path: Path) -> None:
    store = three_adds(tmp_path / "store")
    before = answers(store)
    done = compact_by(store, BLOCK)
    assert (done.cells, done.blocks_before, done.blocks) == (17, 6, 5)
    assert (done.files_before, done.files) == (6, 2)
    assert done.written == store.version()
    assert answers(AbundanceStore.open(store.folder)) == before
    with AbundanceReader.open(store) as reader:
        cells = reader.cells("true", no_terms).sort_by([("block", "ascending"), ("cell", "ascending")])
    places = list(zip(cells["block"].to_pylist(), cells["cell"].to_pylist(), strict=True))
    assert places == [(at // BLOCK, at % BLOCK) for at in range(17)]
    keys = [
        [(value is None, value or "") for value in row.values()]
        for row in cells.select(["organ", "cell_type", "cell_id"]).to_pylist()
    ]
    assert keys == sorted(keys)


def test_counts_lie_gene_major_in_blocks_that_no_row_group_crosses(tmp_path: Path) -> None:
    store = three_adds(tmp_path / "store")
    version = compact_by(store, BLOCK).written
    assert version
    (path,) = store.counts_files(version)
    file = pq.ParquetFile(path)
    assert file.schema_arrow == counts_schema()
    assert file.num_row_groups == 5
    for at in range(5):
        table = file.read_row_group(at)
        assert set(table["block"].to_pylist()) == {at}
        pairs = list(zip(table["gene"].to_pylist(), table["cell"].to_pylist(), strict=True))
        assert pairs == sorted(set(pairs))
        encodings = {c: file.metadata.row_group(at).column(c).encodings for c in range(4)}
        assert "DELTA_BINARY_PACKED" in encodings[1]
        assert "BYTE_STREAM_SPLIT" in encodings[3]
        assert not any("DICTIONARY" in e for found in encodings.values() for e in found)


def test_files_have_from_half_as_many_blocks_to_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [len(r) for r in compact_module._file_ranges(0, 17)] == [8, 9]
    assert [len(r) for r in compact_module._file_ranges(32, 65)] == [11, 11, 11]
    assert [len(r) for r in compact_module._file_ranges(0, 3)] == [3]
    assert compact_module._file_ranges(0, 0) == []
    # And the counts of more blocks than fit at once are read again for each lot.
    monkeypatch.setattr(compact_module, "FILE_BLOCKS", 2)
    monkeypatch.setattr(compact_module, "BLOCKS_AT_ONCE", 3)
    monkeypatch.setattr(compact_module, "CELLS_PER_FILE", 1)
    monkeypatch.setattr(compact_module, "CELLS_ROW_GROUP", 2048)
    store = three_adds(tmp_path / "store")
    before = answers(store)
    version = compact_by(store, BLOCK).written
    assert version
    held = [set(pq.read_table(p)["block"].to_pylist()) for p in store.counts_files(version)]
    assert sorted(map(sorted, held)) == [[0, 1], [2, 3], [4]]
    assert answers(store) == before


def test_an_add_of_one_file_is_compact_and_two_are_not(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_blocks, "BLOCK_CELLS", 8)
        store, _ = add_all([write_file(tmp_path, "one", 37)], tmp_path / "store")
        assert compact(store).written is None  # both put cells into the same order
        add_all([write_file(tmp_path, "two", 21, first=40)], store.folder)
        before = answers(store)
        assert len(store.files.listing("axis")) == 2
        assert compact(store).blocks == 8
    version = store.version()
    assert version
    assert len(store.log.file_names("axis", version.axis)) == 1
    assert len(store.log.file_names("axis", store.version_at(0).axis)) == 1
    assert answers(store) == before
    assert verify(store).findings == ()


def test_a_compact_store_is_not_written_again(tmp_path: Path) -> None:
    store = three_adds(tmp_path / "store")
    compact_by(store, BLOCK)
    held, version = files(store.folder), store.version()
    again = compact_by(store, BLOCK)
    assert again.written is None
    assert (again.blocks, again.files, again.bytes) == (5, 2, again.bytes_before)
    assert (files(store.folder), store.version()) == (held, version)


def test_an_older_version_stays_readable_and_adds_go_on(tmp_path: Path) -> None:
    store = three_adds(tmp_path / "store")
    old, before = store.version(), answers(store)
    assert old
    compact_by(store, BLOCK)
    toy_store.add(store, 17, 3, "d")
    toy_store.add(store, 20, 2, "e")  # the lock clears what no version names, and only that
    with AbundanceReader.open(store, store.version_at(old.cells)) as reader:
        ids = before[0]["cell_id"]
        assert reader.csr(ids, range(5)).toarray().tolist() == before[1]
        assert len(reader.cells("true", no_terms)) == 17
    with AbundanceReader.open(store) as reader:
        assert reader.csr([toy_store.cell_id(18)], [1]).toarray().tolist() == [[1801]]
        assert len(reader.cells("true", no_terms)) == 22
    assert compact_by(store, BLOCK).blocks == 6


def test_names_of_files_hold_their_sha256(tmp_path: Path) -> None:
    store = three_adds(tmp_path / "store")
    compact_by(store, BLOCK)
    held = [(name, file) for name in ("counts", "cells") for file in store.files.listing(name)]
    assert len(held) == 8
    assert all(recorded_sha256(file) == store.files.sha256(name, file) for name, file in held)


def files(folder: Path) -> dict[str, int]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != "write.lock")
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in found}


def test_blocks_of_heavy_cells_have_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_blocks, "BLOCK_VALUES", 40)
    store = AbundanceStore.open(tmp_path / "store")
    n_genes = pa.array([sum(toy_store.count(k, c) > 0 for c in range(5)) for k in range(17)], pa.int32())
    toy_store.add(store, 0, 17, "a", n_genes=n_genes)
    before = answers(store)
    assert compact_by(store, 16).blocks == 3  # at most 40 counts, of 4 or 5 per cell
    assert answers(store) == before
    assert compact_by(store, 16).written is None


# --------------------------------------------------------------------------- any store


@st.composite
def random_stores(draw: st.DrawFn) -> list[list[tuple[str | None, list[int]]]]:
    """Adds of cells: organ, and counts of up to four genes, mostly zero."""
    genes = draw(st.integers(1, 4))
    value = st.sampled_from([0, 0, 0, 1, 2, 256, 65_536, 2**31 - 1])
    cell = st.tuples(st.sampled_from(["b", "a", "ü", None]), st.lists(value, min_size=genes, max_size=genes))
    return draw(st.lists(st.lists(cell, min_size=1, max_size=9), min_size=1, max_size=4))


def make_random(folder: Path, adds: list[list[tuple[str | None, list[int]]]]) -> AbundanceStore:
    store = AbundanceStore.open(folder)
    genes = len(adds[0][0][1])
    for number, cells in enumerate(adds):
        with store.writer() as append:
            if not number:
                names = [f"g{g}" for g in range(genes)]
                append.extend_axis(
                    pa.table({"feature": names, "gene_id": names, "symbol": names, "rule": names})
                )
            first = append.next_block
            dense = np.array([counts for _, counts in cells], np.int64).T
            lots = [dense[:, a : a + 3] for a in range(0, len(cells), 3)]  # blocks of three
            blocks = ((*np.nonzero(lot), lot[np.nonzero(lot)]) for lot in lots)
            total = append.write_counts(
                f"add{number}", (tuple(part.astype(np.int32) for part in block) for block in blocks)
            )
            table = pa.table(
                {
                    "cell_id": [f"{number}-{at}" for at in range(len(cells))],
                    "block": pa.array([first + at // 3 for at in range(len(cells))], pa.int32()),
                    "cell": pa.array([at % 3 for at in range(len(cells))], pa.int32()),
                    "dataset": [f"add{number}"] * len(cells),
                    "organ": pa.array([organ for organ, _ in cells], pa.string()),
                    "n_counts": pa.array([sum(counts) for _, counts in cells], pa.int64()),
                }
            )
            append.commit(table, toy_store.record(f"add{number}", len(cells), total))
    return store


@settings(max_examples=12, deadline=None)
@given(random_stores(), st.integers(1, 5))
def test_any_store_answers_the_same_after_compaction(
    adds: list[list[tuple[str | None, list[int]]]], block_cells: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = make_random(Path(folder) / "store", adds)
        before = answers(store)
        compact_by(store, block_cells)
        assert answers(store) == before
        assert compact_by(store, block_cells).written is None


# --------------------------------------------------------------------------- what goes wrong

MOMENTS = ["_distribute", "_write_cells", "register_counts", "_joined", "register_cells"]


def _die(folder: Path, moment: str) -> None:
    """Compact, and kill this process after the first call of a function."""
    owner: Any = StoreLog if moment.startswith("register") else compact_module
    real: Callable[..., Any] = getattr(owner, moment)

    def call(*arguments: Any, **more: Any) -> None:
        real(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, moment, call)
    compact_by(AbundanceStore.open(folder), BLOCK)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_leaves_the_last_good_state(tmp_path: Path, moment: str) -> None:
    store = three_adds(tmp_path / "store")
    with store.writer() as append:  # and a feature that the others have not
        first = append.next_block
        append.extend_axis(pa.table({name: ["HGNC:60"] for name in ("feature", "gene_id", "symbol", "rule")}))
        total = append.write_counts("d", toy_store.blocks(17, 2))
        append.commit(toy_store.cells_table(17, 2, first, "d"), toy_store.record("d", 2, total))
    before, version = answers(store), store.version()
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(store.folder, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    committed = moment == "register_cells"
    assert (store.version() == version) is not committed
    assert answers(store) == before
    done = compact_by(store, BLOCK)
    assert (done.written is None) is committed
    assert answers(store) == before
    assert not list(store.folder.glob(".*"))
    for name in ("axis", "counts", "cells"):
        assert set(store.files.listing(name)) == store.log.named_files(name)


def test_counts_that_do_not_sum_to_the_cells_are_refused(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    with store.writer() as append:
        append.extend_axis(toy_store.axis_rows())
        total = append.write_counts("a", toy_store.blocks(0, 6))
        cells = toy_store.cells_table(0, 6, 0)
        wrong = pa.array([n + 1 for n in cells["n_counts"].to_pylist()], pa.int64())
        cells = cells.set_column(cells.column_names.index("n_counts"), "n_counts", wrong)
        append.commit(cells, toy_store.record("a", 6, total))
    held, version = files(store.folder), store.version()
    with pytest.raises(StoreError, match=r"do not sum to its n_counts\. Run `tosg cells verify`"):
        compact_by(store, 3)
    assert (files(store.folder), store.version()) == (held, version)


def test_cells_that_share_a_place_are_refused(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    with store.writer() as append:
        append.extend_axis(toy_store.axis_rows())
        total = append.write_counts("a", toy_store.blocks(0, 4))
        cells = toy_store.cells_table(0, 4, 0)
        append.commit(
            cells.set_column(2, "cell", pa.array([0, 0, 1, 2], pa.int32())), toy_store.record("a", 4, total)
        )
    with pytest.raises(StoreError, match="lack a place or share one"):
        compact(store)


def test_an_empty_store_has_nothing_to_compact(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no cells yet"):
        compact(AbundanceStore.open(tmp_path / "store"))
