"""The copy of a store cell by cell: the same answers, whatever of it is there; what is damaged is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import protein_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_store
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from test_compact import BLOCK, answers, compact_by, no_terms, three_adds
from test_protein_layer import added

from tosg_graph import abundance, row_files
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cell_rows import CountsBlocks
from tosg_graph.copied_rows import ROWS, CopiedRows
from tosg_graph.counts_files import write_counts_files
from tosg_graph.errors import StoreError
from tosg_graph.layers import FIRST_PROTEIN, GENE, MEASURED_LAYERS, PROTEIN
from tosg_graph.row_copy import RowCopy, copy_rows, remove_rows, row_copy
from tosg_graph.row_files import write_rows_file
from tosg_graph.store_files import StoreFiles
from tosg_graph.vacuum import vacuum
from tosg_graph.verify import verify

BATCH = 2


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Batches of two cells, and the copy asked for any number of genes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_files, "BATCH_CELLS", BATCH)
        patch.setattr(abundance, "_FEW_COPIED", 0)
        patch.setattr(abundance, "_CELLS_PER_COLUMN", np.inf)
        yield


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    return three_adds(tmp_path / "store")


def rows_of(store: AbundanceStore, seed: int = 0, layer: str = GENE) -> list[csr_array[Any, Any]]:
    """Counts of all cells in their order, of cells and genes in any order, and of few cells in chunks."""
    rng = np.random.default_rng(seed)
    with AbundanceReader.open(store, layer=layer) as reader:
        cells = reader.cells("true", no_terms, ["block", "cell"])
        ordered = cells.sort_by([("block", "ascending"), ("cell", "ascending")])
        mixed = cells.take(pa.array(rng.permutation(len(cells))))
        columns = rng.permutation(len(reader.axis))[: rng.integers(1, len(reader.axis) + 1)].tolist()
        return [
            reader.csr(ordered, range(len(reader.axis))),
            reader.csr(mixed, columns),
            reader.csr(ordered, sorted(columns)),
            *reader.iter_csr(mixed.slice(0, 1 + len(mixed) // 2), columns, 3),
        ]


def assert_same(found: list[csr_array[Any, Any]], expected: list[csr_array[Any, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        for part in ("indptr", "indices", "data"):
            assert getattr(one, part).dtype == getattr(other, part).dtype
            np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def only_copy(store: AbundanceStore) -> Path:
    (name,) = store.files.listing(ROWS)
    return store.folder / ROWS / name


Counts = list[list[int]]  # of the cells of a block


@st.composite
def files_of_counts(draw: st.DrawFn) -> list[list[Counts]]:
    """Blocks of each file: cells with counts of up to four genes and two proteins, mostly zero."""
    value = st.sampled_from([0, 0, 0, 1, 254, 255, 256, 2**31 - 1])
    cell = st.lists(value, min_size=6, max_size=6)
    block = st.lists(cell, min_size=1, max_size=7)
    return draw(st.lists(st.lists(block, min_size=1, max_size=3), min_size=1, max_size=2))


def write_files(folder: Path, files: list[list[Counts]]) -> StoreFiles:
    """Files of counts and their rows, without a store."""
    first, found = 0, StoreFiles(str(folder))
    (folder / ROWS).mkdir()
    (folder / "counts").mkdir()
    columns = np.array([0, 1, 2, 3, FIRST_PROTEIN, FIRST_PROTEIN + 1], np.int32)
    for number, blocks in enumerate(files):
        dense = [np.array(cells, np.int32).T for cells in blocks]
        places = [np.nonzero(values) for values in dense]
        made = (
            (columns[gene], cell.astype(np.int32), values[gene, cell])
            for values, (gene, cell) in zip(dense, places, strict=True)
        )
        (path,) = write_counts_files(folder / "counts", f"file{number}", made, first).rows
        first += len(blocks)
        with pq.ParquetFile(path) as opened:
            write_rows_file(folder / ROWS / f"{number}.arrow", opened, path.name, 4)
    return found


@settings(max_examples=40, deadline=None)
@given(files_of_counts(), st.randoms(use_true_random=False))
def test_any_cells_and_genes_are_the_same_out_of_rows_and_counts(
    files: list[list[Counts]], random: Random
) -> None:
    blocks = [np.array(cells) for file in files for cells in file]
    places = [(b, c) for b, cells in enumerate(blocks) for c in range(len(cells))]
    asked = random.sample(places, random.randint(1, len(places)))
    columns = random.sample(range(4), random.randint(1, 4))
    if random.random() < 0.5:
        asked, columns = sorted(asked), list(range(4))
    block, cell = np.array(asked, np.int32).T
    with tempfile.TemporaryDirectory() as folder:
        found = write_files(Path(folder), files)
        for layer, wanted, size in ((GENE, columns, 4), (PROTEIN, [1, 0], 2)):
            copied = CopiedRows(found, sorted(found.listing(ROWS)), layer)
            here = copied.holds(block)
            assert here.tolist() == [blocks[b].any() for b, _ in asked]
            rows = copied.rows(block[here], cell[here], wanted, size)
            dense = [blocks[b][c][[k + 4 * (layer == PROTEIN) for k in wanted]] for b, c in asked]
            np.testing.assert_array_equal(rows.toarray(), np.array(dense)[here])
            if layer == GENE:
                counts = CountsBlocks(found, sorted(found.listing("counts")))
                assert_same([rows], [counts.rows(block[here], cell[here], wanted, size)])


def test_counts_come_out_of_the_copy_and_of_what_has_none(
    store: AbundanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(store)
    done = copy_rows(store)
    assert (done.counts_files, done.copied_files, done.written, done.cells) == (3, 3, 3, 17)
    assert done.bytes == sum(store.files.listing(ROWS).values())
    with monkeypatch.context() as patch:
        patch.setattr(AbundanceReader, "_from_counts", None)  # is not asked
        assert_same(rows_of(store), before)
    toy_store.add(store, 17, 6, "d")
    assert row_copy(store) == RowCopy(4, 3, done.bytes, 23)
    mixed = rows_of(store)
    held = store.files.listing(ROWS)
    assert copy_rows(store).written == 1
    assert held.items() < store.files.listing(ROWS).items()
    assert_same(rows_of(store), mixed)
    assert copy_rows(store).written == 0
    assert remove_rows(store).removed == 4
    assert_same(rows_of(store), mixed)


def test_a_file_is_read_by_arrow_alone(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store", 6)
    copy_rows(store)
    with pa.memory_map(str(only_copy(store))) as file:
        rows = pa.ipc.open_file(file).read_all()
    (name,) = store.files.listing("counts")
    said = json.loads(rows.schema.metadata[b"tosg"])
    assert said == {"format_version": 1, "counts": name, "batch_cells": BATCH, "blocks": [[0, 4], [1, 2]]}
    assert rows["block"].to_pylist() == [0, 0, 0, 0, 1, 1]
    assert rows["cell"].to_pylist() == [0, 1, 2, 3, 0, 1]
    assert rows.schema.field("gene").type == pa.list_(pa.uint16())
    for at, k in enumerate(reversed(range(6))):
        large = iter(rows["gene_large"][at].as_py())
        counts = [next(large) if n == 255 else n for n in rows["gene_count"][at].as_py()]
        held = {column: toy_store.count(k, column) for column in range(5) if toy_store.count(k, column)}
        assert dict(zip(rows["gene"][at].as_py(), counts, strict=True)) == held


def test_many_genes_take_four_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = toy_store.make(tmp_path / "store", 6)
    expected = rows_of(store)
    monkeypatch.setattr("tosg_graph.row_copy.len", lambda axis: 2**16 + 1, raising=False)
    copy_rows(store)
    monkeypatch.undo()
    with pa.memory_map(str(only_copy(store))) as file:
        assert pa.ipc.open_file(file).schema.field("gene").type == pa.list_(pa.int32())
    assert_same(rows_of(store), expected)


def test_proteins_lie_beside_the_genes(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    added(store, protein_files.in_obsm(tmp_path, 7))
    expected = {layer: rows_of(store, layer=layer) for layer in MEASURED_LAYERS}
    toy_store_of_genes = AbundanceStore.open(tmp_path / "genes")
    toy_store.add(toy_store_of_genes, 0, 5, "genes")
    for one in (store, toy_store_of_genes):
        copy_rows(one)
        assert verify(one).findings == ()
    for layer in MEASURED_LAYERS:
        assert_same(rows_of(store, layer=layer), expected[layer])
    with pa.memory_map(str(only_copy(store))) as file:
        assert "protein_large" in pa.ipc.open_file(file).schema.names
    with pa.memory_map(str(only_copy(toy_store_of_genes))) as file:
        assert "protein" not in pa.ipc.open_file(file).schema.names


# --------------------------------------------------------------------------- keeping it


def test_compaction_leaves_the_copy_to_old_versions_until_a_vacuum(
    store: AbundanceStore, tmp_path: Path
) -> None:
    before, old = answers(store), store.version()
    copy_rows(store)
    compact_by(store, BLOCK)
    copied = row_copy(store)
    assert copied
    assert (copied.copied_files, copied.bytes) == (0, 0)
    assert answers(store) == before
    assert verify(store).findings == ()
    assert copy_rows(store).written == 1
    assert len(store.files.listing(ROWS)) == 4
    assert old
    assert (row_copy(store.at(old.cells)) or copied).copied_files == 3
    done = vacuum(store, tmp_path, keep_versions=1)
    assert sum(name.startswith(f"{ROWS}/") for name in done.files) == 3
    only_copy(store)
    assert answers(store) == before
    assert verify(store).findings == ()


def test_what_is_wrong_with_the_copy_is_named(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store", 6)
    copy_rows(store)
    path = only_copy(store)
    sound = path.read_bytes()
    assert verify(store).files == 5
    again = "; `tosg cells rows --remove` and `tosg cells rows` make it anew"
    for at in range(0, len(sound), len(sound) // 5):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert [str(x) for x in verify(store).findings] == [
            f"file rows/{path.name}: damaged: its sha256 is not the one in its name{again}"
        ]
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(
        StoreError, match=rf"^rows/{path.name} cannot be read: .* after `tosg cells rows --remove`"
    ):
        rows_of(store)
    path.unlink()
    (path.parent / "stray.arrow").write_bytes(b"x")
    assert [x.problem for x in verify(store).findings] == [
        "foreign: no version has its counts; `tosg cells vacuum` removes it"
    ]
    assert f"{ROWS}/stray.arrow" in vacuum(store, tmp_path).files
    assert verify(store).findings == ()


def test_sums_that_differ_are_named_by_cell(tmp_path: Path) -> None:
    store, other = (toy_store.make(tmp_path / name, cells) for name, cells in (("a", 6), ("b", 7)))
    copy_rows(other)
    source = only_copy(other)
    (counts,) = store.files.listing("counts")
    (store.folder / ROWS).mkdir()
    own = source.name.split("-")[1]
    (store.folder / ROWS / f"{counts[-72:-8]}-{own}").write_bytes(source.read_bytes())
    (problem,) = [finding.problem for finding in verify(store).findings]
    assert problem.startswith(
        f"n_counts of cell cell-05 is {sum(toy_store.count(6, c) for c in range(5))} in it, "
    )


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store", 6)
    copy_rows(store)
    path = only_copy(store)
    with pa.memory_map(str(path)) as file:
        rows = pa.ipc.open_file(file).read_all()
    path.unlink()  # what is mapped must not change
    newer = rows.schema.with_metadata({b"tosg": b'{"format_version": 2}'})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, newer) as writer:
        writer.write_table(rows.cast(newer))
    with pytest.raises(StoreError, match="Rows of format 2 cannot be read; this version reads 1"):
        rows_of(store)


def test_a_store_without_cells_is_refused(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    assert row_copy(store) is None
    with pytest.raises(StoreError, match="holds no cells yet"):
        copy_rows(store)


def _die(folder: Path, after: int) -> None:
    """Copy, and kill this process before a file takes effect."""
    put, done = StoreFiles.put, iter(range(9))

    def dying(*arguments: Any, **more: Any) -> Any:
        if next(done) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(*arguments, **more)

    StoreFiles.put = dying  # type: ignore[method-assign]
    copy_rows(AbundanceStore.open(folder))


def test_a_kill_leaves_whole_files_and_the_next_run_goes_on(store: AbundanceStore) -> None:
    before = rows_of(store)
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(store.folder, 1))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(store.files.listing(ROWS)) == 1
    assert_same(rows_of(store), before)
    assert verify(store).findings == ()
    assert copy_rows(store).written == 2
    assert not list(store.folder.glob(".*"))
    assert_same(rows_of(store), before)
