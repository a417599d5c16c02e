"""The store: what goes in comes out, an add is visible as a whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_store
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from tosg_graph import abundance_store, store_log
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore, cell_id
from tosg_graph.axis_table import axis_sha256
from tosg_graph.counts_files import counts_schema
from tosg_graph.errors import StoreError
from tosg_graph.verify import verify


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file of a store but its lock, with what would change if somebody wrote it."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "write.lock")
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in found}


def parquet(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.parquet")}


# --------------------------------------------------------------------------- round trip


@st.composite
def additions(draw: st.DrawFn) -> list[list[np.ndarray]]:
    """Several adds, each of several blocks: dense int32 matrices of genes by cells, mostly zero."""
    genes = draw(st.integers(1, 5))
    value = st.sampled_from([0, 0, 0, 1, 2, 255, 256, 65_536, 2**31 - 1])
    return [
        [
            np.array(
                draw(
                    st.lists(st.lists(value, min_size=cells, max_size=cells), min_size=genes, max_size=genes)
                )
            )
            for cells in draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
        ]
        for _ in range(draw(st.integers(1, 3)))
    ]


def sparse(dense: np.ndarray) -> tuple[Any, Any, Any]:
    gene, cell = np.nonzero(dense)
    return gene.astype(np.int32), cell.astype(np.int32), dense[gene, cell].astype(np.int32)


@settings(max_examples=4, deadline=None)
@mock.patch("tosg_graph.counts_files.ROW_GROUP", 5)  # a block of several, a gene in two
@mock.patch("tosg_graph.cell_rows._BATCH", 3)
@mock.patch("tosg_graph.cell_rows._PIECE", 4)
@given(additions())
def test_what_goes_in_comes_out(adds: list[list[np.ndarray]]) -> None:
    genes = len(adds[0][0])
    with tempfile.TemporaryDirectory() as folder:
        store = AbundanceStore.open(Path(folder) / "store")
        expected = {}
        for number, blocks in enumerate(adds):
            with store.writer() as append:
                if not number:
                    names = [f"g{g}" for g in range(genes)]
                    append.extend_axis(
                        pa.table({"feature": names, "gene_id": names, "symbol": names, "rule": names})
                    )
                rows = []
                for at, dense in enumerate(blocks):
                    for place in range(dense.shape[1]):
                        name = f"{number}-{at}-{place}"
                        rows.append({"cell_id": name, "block": append.next_block + at, "cell": place})
                        expected[name] = dense[:, place]
                total = append.write_counts(f"add{number}", map(sparse, blocks))
                assert total == sum(int(dense.sum()) for dense in blocks)
                schema = pa.schema([("cell_id", pa.string()), ("block", pa.int32()), ("cell", pa.int32())])
                append.commit(
                    pa.Table.from_pylist(rows, schema), toy_store.record(f"add{number}", len(rows), total)
                )
        with AbundanceReader.open(AbundanceStore.open(store.folder)) as reader:
            ids = sorted(expected, reverse=True)
            columns = list(reversed(range(genes)))
            for few in (0, 2):  # block by block, by SQL
                with mock.patch("tosg_graph.abundance._FEW_GENES", few):
                    found = [reader.csr(ids, columns), reader.csr(ids, columns[::2])]
                dense = [expected[i][columns].tolist() for i in ids]
                assert all(rows.has_sorted_indices and rows.data.all() for rows in found)
                assert found[0].toarray().tolist() == dense
                assert found[1].toarray().tolist() == [row[::2] for row in dense]


def test_counts_lie_gene_major_in_blocks_that_no_row_group_crosses(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    version = store.version()
    assert version
    (path,) = store.counts_files(version)
    file = pq.ParquetFile(path)
    assert file.schema_arrow == counts_schema()
    assert file.num_row_groups == 3  # ten cells in blocks of four
    for at in range(3):
        table = file.read_row_group(at)
        assert set(table["block"].to_pylist()) == {at}
        pairs = list(zip(table["gene"].to_pylist(), table["cell"].to_pylist(), strict=True))
        assert pairs == sorted(pairs)
        encodings = {
            file.metadata.row_group(at).column(c).path_in_schema: file.metadata.row_group(at)
            .column(c)
            .encodings
            for c in range(4)
        }
        assert "DELTA_BINARY_PACKED" in encodings["gene"]
        assert "BYTE_STREAM_SPLIT" in encodings["count"]
        assert not any("DICTIONARY" in e for found in encodings.values() for e in found)


def test_the_commit_of_cells_names_the_other_versions(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    toy_store.add(store, 10, 3, "more")
    version = store.version()
    assert version
    assert (version.cells, version.counts, version.axis) == (1, 1, 0)
    assert version.axis_sha256 == axis_sha256(store.axis())
    assert store.datasets()["dataset"].to_pylist() == ["toy", "more"]
    assert store.axis()["feature"].to_pylist() == toy_store.FEATURES


def test_the_axis_only_grows(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    before = store.axis()
    row = {"feature": ["HGNC:60"], "gene_id": ["HGNC:60"], "symbol": ["S60"], "rule": ["alias"]}
    with store.writer() as append:
        append.extend_axis(pa.table(row))
        total = append.write_counts("new", toy_store.blocks(20, 2))
        append.commit(toy_store.cells_table(20, 2, 3, "new"), toy_store.record("new", 2, total))
    assert store.axis().slice(0, 5).equals(before)
    assert store.axis().to_pylist()[5] == {"column": 5, **{k: v[0] for k, v in row.items()}}
    with pytest.raises(StoreError, match="'HGNC:60' is on the gene axis already"), store.writer() as append:
        append.extend_axis(pa.table(row))


def test_a_cell_id_depends_on_dataset_and_barcode_and_on_their_border() -> None:
    assert cell_id("a", "bc") != cell_id("ab", "c")
    assert cell_id("a", "bc") == cell_id("a", "bc")
    assert len(cell_id("a", "bc")) == 32


# --------------------------------------------------------------------------- what goes wrong


class Boom(Exception):
    """Something outside of the store went wrong."""


def _fail(store: AbundanceStore, at: str) -> None:
    def half() -> Any:
        yield next(toy_store.blocks(0, 4))
        raise Boom

    with store.writer() as append:
        if at == "axis":
            raise Boom
        row = ["HGNC:60"]
        append.extend_axis(pa.table({"feature": row, "gene_id": row, "symbol": row, "rule": row}))
        append.write_counts("add", half() if at == "counts" else toy_store.blocks(0, 4))
        raise Boom


@pytest.mark.parametrize("at", ["axis", "counts", "commit"])
@pytest.mark.parametrize("filled", [False, True], ids=["empty store", "filled store"])
def test_a_failed_add_leaves_what_was_there(tmp_path: Path, at: str, filled: bool) -> None:
    store = toy_store.make(tmp_path / "store") if filled else AbundanceStore.open(tmp_path / "store")
    before = parquet(store.folder)
    version = store.version()
    with pytest.raises(Boom):
        _fail(store, at)
    assert store.version() == version
    assert parquet(store.folder) == before
    toy_store.add(store, 10, 6, "after")  # and the store goes on
    with AbundanceReader.open(store) as reader:
        assert reader.csr([toy_store.cell_id(12)], [2]).toarray().tolist() == [[1202]]


def _die_in_the_middle(folder: Path, step: str) -> None:
    store = AbundanceStore.open(folder)
    with store.writer() as append:
        row = ["HGNC:60"]
        append.extend_axis(pa.table({"feature": row, "gene_id": row, "symbol": row, "rule": row}))
        if step == "half a file":

            def half() -> Any:
                yield next(toy_store.blocks(0, 4))
                os.kill(os.getpid(), signal.SIGKILL)

            append.write_counts("half", half())
        append.write_counts("whole", toy_store.blocks(0, 4))
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("step", ["half a file", "before the commit"])
def test_what_a_killed_add_leaves_is_invisible_and_undone(tmp_path: Path, step: str) -> None:
    store = toy_store.make(tmp_path / "store")
    before, version = parquet(store.folder), store.version()
    process = multiprocessing.get_context("spawn").Process(
        target=_die_in_the_middle, args=(store.folder, step)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert parquet(store.folder) > before
    assert store.version() == version
    assert len(store.axis()) == 5
    with AbundanceReader.open(store) as reader:
        assert reader.csr([toy_store.cell_id(3)], [4, 1]).toarray().tolist() == [[0, 301]]
    toy_store.add(store, 10, 6, "after")
    left = parquet(store.folder) - before
    assert {Path(p).parts[0] for p in left} == {"cells", "counts", "measured"}
    assert len(left) == 3
    assert len(store.axis()) == 5
    with AbundanceReader.open(store) as reader:
        assert reader.csr([toy_store.cell_id(15), toy_store.cell_id(0)], [1]).toarray().tolist() == [
            [1501],
            [1],
        ]


def test_a_full_disk_is_one_line_and_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = toy_store.make(tmp_path / "store")
    before, version = parquet(store.folder), store.version()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(StoreError, match=r"No space left on device.*make room"):
            toy_store.add(store, 10, 6, "more")
    assert (parquet(store.folder), store.version()) == (before, version)


def _hold(folder: Path, ready: Any, done: Any) -> None:
    with AbundanceStore.open(folder).writer():
        ready.set()
        done.wait(30)


def test_two_writers_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abundance_store, "_LOCK_SECONDS", 0.2)
    store = toy_store.make(tmp_path / "store")
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(store.folder, ready, done))
    process.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StoreError, match="Another process is adding cells"), store.writer():
            pass
        with AbundanceReader.open(store) as reader:  # readers need no lock
            assert len(reader.axis) == 5
    finally:
        done.set()
        process.join()


def _add_beside(store: AbundanceStore, other: AbundanceStore) -> None:
    with store.writer() as append:
        total = append.write_counts("mine", toy_store.blocks(10, 2))
        toy_store.add(other, 12, 3, "theirs")
        append.commit(toy_store.cells_table(10, 2, 3, "mine"), toy_store.record("mine", 2, total))


def test_a_machine_that_knows_no_lock_of_ours_is_noticed(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    other = AbundanceStore(tmp_path / "other", str(store.folder))  # its lock is its own
    with pytest.raises(StoreError, match=r"Another machine is writing to .*store\. Nothing was added"):
        _add_beside(store, other)
    assert store.datasets()["dataset"].to_pylist() == ["toy", "theirs"]
    assert verify(store).findings == ()


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_log, "FORMAT_VERSION", 2)
        store = toy_store.make(tmp_path / "store")
    before = files(store.folder)
    with pytest.raises(StoreError, match=r"format 2; this version reads up to 1\. Update tosg-graph"):
        AbundanceStore.open(store.folder)
    assert files(store.folder) == before


def test_a_delta_table_of_somebody_else_is_refused(tmp_path: Path) -> None:
    from deltalake import write_deltalake

    write_deltalake(tmp_path / "store" / "cells", pa.table({"x": [1]}))
    with pytest.raises(StoreError, match="not one of ours"):
        AbundanceStore.open(tmp_path / "store")


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    toy_store.add(store, 10, 2, "more", age=pa.array([1, 2]))
    before = parquet(store.folder)
    with pytest.raises(StoreError, match="'age' is string in this file, but int64 in the store"):
        toy_store.add(store, 12, 2, "third", age=pa.array(["1", "2"]))
    assert parquet(store.folder) == before


def test_a_damaged_version_says_so(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    version = store.version()
    assert version
    (log,) = (store.folder / "axis" / "_delta_log").glob("*.json")
    log.write_text("no json")
    with pytest.raises(StoreError, match="no readable version"):
        store.axis(version)


def test_other_programs_can_read_the_tables(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    table = DeltaTable(store.folder / "counts").to_pyarrow_table()
    assert sum(table["count"].to_pylist()) == sum(toy_store.count(k, c) for k in range(10) for c in range(5))
    commit = DeltaTable(store.folder / "cells").history()[0]
    assert json.loads(commit["tosg"])["format_version"] == 1
