"""Cells on their way into the store: cut, spilled, sorted and put together again, they are the same cells."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_array, csr_matrix, vstack
from toy_graph import ToyGraph

from tosg_graph import cell_blocks, counts_files
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore, cell_id
from tosg_graph.cell_blocks import InOrder, Spilled, Tally, block_order, block_sizes, blocks, spill
from tosg_graph.cells import add_files, add_measured
from tosg_graph.errors import CellsError, StoreError
from tosg_graph.obs import ObsMapping
from tosg_graph.types import CellsLedger, MeasuredCells

GENES = 7


def count(k: int, g: int) -> int:
    """Zero for one cell in five; otherwise it names cell and gene."""
    return 0 if k % 5 == 3 else 100 * k + g


def matrix(cells: int, first: int = 0) -> np.ndarray:
    return np.array([[count(k, g) for g in range(GENES)] for k in range(first, first + cells)])


def cut(rows: csr_array, sizes: list[int]) -> Iterator[csr_array]:
    start = 0
    for size in sizes:
        yield rows[start : start + size]
        start += size


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_blocks, "BLOCK_CELLS", 8)


# --------------------------------------------------------------------------- rows into blocks


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.booleans(),
    st.sampled_from([1, 3, 8]),
)
def test_rows_come_back_in_block_order_gene_major(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    shuffler: random.Random,
    on_disk: bool,
    block_cells: int,
) -> None:
    cells = sum(sizes)
    dense = matrix(cells)
    order = np.array(shuffler.sample(range(cells), cells))
    columns = np.array(shuffler.sample(range(100), GENES), np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_blocks, "BLOCK_CELLS", block_cells)
        tally = Tally(cells)
        place = tmp_path_factory.mktemp("spill") / "counts" if on_disk else None
        held = spill(tally.over(cut(csr_array(dense), sizes)), order, tally, GENES, place)
        assert tally.n_counts.tolist() == dense.sum(axis=1).tolist()
        assert tally.n_genes.tolist() == (dense > 0).sum(axis=1).tolist()
        made = block_sizes(tally.n_genes[order])
        assert sum(made) == cells
        assert max(made) <= block_cells
        start = 0
        for (gene, cell, value), size in zip(blocks(held, made, columns), made, strict=True):
            assert gene.dtype == cell.dtype == value.dtype == np.int32
            rows = dense[order[start : start + size]]
            expected = sorted((columns[g], c, rows[c, g]) for c, g in zip(*np.nonzero(rows), strict=True))
            assert list(zip(gene, cell, value, strict=True)) == expected
            start += size


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_the_hash_and_the_buckets_do_not_know_how_a_file_was_cut(sizes: list[int]) -> None:
    rows = csr_array(matrix(sum(sizes)))
    whole, parts = Tally(rows.shape[0]), Tally(rows.shape[0])
    list(whole.over(iter([rows])))
    list(parts.over(cut(rows, sizes)))
    assert whole.digest() == parts.digest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_blocks, "BLOCK_CELLS", 12)
        buckets = list(InOrder(lambda: cut(rows, sizes)).read())
        assert [b.shape[0] for b in buckets[:-1]] == [3] * (len(buckets) - 1)
        assert (vstack(buckets).toarray() == rows.toarray()).all()


def test_the_hash_knows_rows_genes_and_counts() -> None:
    def digest(dense: list[list[int]]) -> bytes:
        tally = Tally(len(dense))
        list(tally.over(iter([csr_array(np.array(dense))])))
        return tally.digest()

    found = {digest(d) for d in ([[1, 2], [0, 0]], [[1, 0], [0, 2]], [[2, 1], [0, 0]], [[0, 0], [1, 2]])}
    assert len(found) == 4


def test_counts_of_any_size_survive_the_spill(small_blocks: None) -> None:
    dense = np.array([[0, 255, 256], [65_535, 65_536, 2**31 - 1], [0, 0, 0]] * 5)
    order, tally = np.arange(15)[::-1].copy(), Tally(15)
    held = spill(tally.over(iter([csr_array(dense)])), order, tally, 3, None)
    buckets = list(held.read())
    assert (vstack(buckets).toarray() == dense[::-1]).all()
    assert {b.indices.dtype for b in buckets} == {np.dtype(np.int32)}  # twice the memory otherwise


def test_blocks_of_heavy_rows_have_fewer_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_blocks, "BLOCK_CELLS", 8)
    monkeypatch.setattr(cell_blocks, "BLOCK_VALUES", 100)
    light, heavy = np.full(16, 1, np.int32), np.full(16, 20, np.int32)
    assert block_sizes(light) == [8, 8]
    assert block_sizes(heavy) == [4, 4, 4, 4]
    assert block_sizes(np.full(4, 1000, np.int32)) == [2, 2]  # never less than a bucket
    assert block_sizes(np.concatenate([light[:6], heavy[:3]])) == [8, 1]


def test_cells_are_ordered_by_organ_disease_type_and_id_with_the_unknown_last() -> None:
    def encoded(values: list[str | None]) -> pa.DictionaryArray:
        # A null may stand among the values of a dictionary, and a value twice.
        return pa.DictionaryArray.from_arrays(
            pa.array(range(len(values)), pa.int32()), pa.array(values, pa.string())
        )

    rows = [
        ("b", "x", "t", "1"),
        ("a", None, "t", "9"),
        ("a", "x", None, "3"),
        ("a", "x", "t", "7"),
        ("a", "x", "t", "2"),
        (None, "a", "a", "0"),
        ("a", None, "s", "8"),
    ]
    organ, disease, kind, ids = (list(c) for c in zip(*rows, strict=True))
    for encode in (encoded, partial(pa.array, type=pa.string())):
        table = pa.table(
            {"organ": encode(organ), "disease": encode(disease), "cell_type": encode(kind), "cell_id": ids}
        )
        assert [ids[k] for k in block_order(table)] == ["2", "7", "3", "8", "9", "1", "0"]


def test_files_of_counts_hold_a_bounded_number_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts_files, "FILE_BLOCKS", 2)
    one = np.array([3, 5], np.int32)
    made = counts_files.write_counts_files(tmp_path, "x", ((one, one, one + k) for k in range(5)), 7)
    assert [path.name for path in made.rows] == ["x-0000.parquet", "x-0001.parquet", "x-0002.parquet"]
    assert list(made.rows.values()) == [4, 4, 2]
    assert (made.blocks, made.total) == (5, sum(8 + 2 * k for k in range(5)))
    assert [set(pq.read_table(path)["block"].to_pylist()) for path in made.rows] == [{7, 8}, {9, 10}, {11}]


# --------------------------------------------------------------------------- files into the store


def write_file(folder: Path, name: str, cells: int, first: int = 0, kind: Any = csr_matrix) -> Path:
    kinds, diseases = ["T cell", "B cell", "other", None], ["lupus", "gout"]
    obs = pd.DataFrame(
        {
            "cell_type": [kinds[k % 4] for k in range(cells)],
            "disease": pd.Categorical([diseases[k % 2] for k in range(cells)]),
            "donor": [k % 3 for k in range(cells)],
        },
        index=[f"bc{k}" for k in range(first, first + cells)],
    )
    var = pd.DataFrame(index=[f"G{g}" for g in range(first % 3, first % 3 + GENES)])
    path = folder / f"{name}.h5ad"
    anndata.AnnData(kind(matrix(cells, first).astype(np.float32)), obs=obs, var=var).write_h5ad(path)
    return path


def content(store: AbundanceStore) -> dict[str, Any]:
    """All that a reader can see: the axis, the datasets, each row of cells and counts in its place."""
    version = store.version()
    assert version
    tables = {
        name: store.log.table(name, version.of(name)).to_pyarrow_table() for name in ("cells", "counts")
    }
    return {
        "axis": store.axis().to_pydict(),
        "datasets": [{**row, "file": None} for row in store.datasets().to_pylist()],
        "blocks": store.blocks(),
        "cells": tables["cells"].sort_by([("block", "ascending"), ("cell", "ascending")]).to_pydict(),
        "counts": tables["counts"].sort_by([(n, "ascending") for n in ("block", "gene", "cell")]).to_pydict(),
    }


def add_all(paths: list[Path], folder: Path, **more: Any) -> tuple[AbundanceStore, list[CellsLedger]]:
    store = AbundanceStore.open(folder)
    return store, list(add_files(paths, ToyGraph(20), store, mapping=ObsMapping(), **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [csr_matrix, csc_matrix, np.asarray], ids=["CSR", "CSC", "dense"])
def test_a_file_in_many_blocks_is_stored_count_by_count(
    tmp_path: Path, small_blocks: None, kind: Any
) -> None:
    store, (ledger,) = add_all([write_file(tmp_path, "study", 37, kind=kind)], tmp_path / "store")
    assert ledger.counts_stored == ledger.counts_file == matrix(37).sum()
    with AbundanceReader.open(store) as reader:
        column = reader.axis_columns([f"HGNC:{g}" for g in range(GENES)])
        ids = [cell_id("study", f"bc{k}") for k in range(37)]
        found = reader.csr(ids, [column[f"HGNC:{g}"] for g in range(GENES)])
        assert found.toarray().tolist() == matrix(37).tolist()
        rows = reader.cells("true", lambda *_: None).sort_by([("block", "ascending"), ("cell", "ascending")])
    keys = [
        (r["disease"], r["cell_type"] is None, r["cell_type"] or "", r["cell_id"]) for r in rows.to_pylist()
    ]
    assert keys == sorted(keys)
    sums = dict(zip(rows["barcode"].to_pylist(), rows["n_counts"].to_pylist(), strict=True))
    assert sums == {f"bc{k}": matrix(37)[k].sum() for k in range(37)}
    assert not list(store.folder.glob(".*"))


def test_the_order_of_the_cells_in_a_file_does_not_move_their_counts(
    tmp_path: Path, small_blocks: None
) -> None:
    data = anndata.read_h5ad(write_file(tmp_path, "study", 37))
    stored = []
    for number, order in enumerate((range(37), reversed(range(37)))):
        path = tmp_path / str(number) / "study.h5ad"
        path.parent.mkdir()
        data[list(order)].copy().write_h5ad(path)
        store, _ = add_all([path], tmp_path / f"store{number}")
        stored.append({k: v for k, v in content(store).items() if k != "datasets"})
    assert stored[0] == stored[1]


def test_a_file_that_is_in_order_is_not_spilled(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spilled, _ = add_all([path := write_file(tmp_path, "study", 37)], tmp_path / "store")
    rows = content(spilled)["cells"]
    data = anndata.read_h5ad(path)
    (tmp_path / "again").mkdir()
    data[rows["barcode"]].copy().write_h5ad(tmp_path / "again" / "study.h5ad")
    monkeypatch.setattr(Spilled, "read", None)
    in_order, _ = add_all([tmp_path / "again" / "study.h5ad"], tmp_path / "other")
    assert content(in_order)["counts"] == content(spilled)["counts"]
    assert content(in_order)["cells"] == rows


def test_several_processes_make_the_same_store_as_one(tmp_path: Path) -> None:
    paths = [write_file(tmp_path, f"s{n}", 9 + n, first=20 * n) for n in range(4)]
    paths.insert(2, shutil.copy(paths[0], tmp_path / "copy.h5ad"))
    one, ledgers = add_all(paths, tmp_path / "one")
    two, again = add_all(paths, tmp_path / "two", processes=2, connect=partial(ToyGraph, 20))
    assert content(one) == content(two)
    assert [replace(x, mapping=None) for x in ledgers] == [replace(x, mapping=None) for x in again]  # type: ignore[arg-type]
    assert [x.mapping for x in ledgers] == [x.mapping for x in again]
    assert [x.already_present for x in again] == [False, False, True, False, False]
    assert (
        len({p.name for p in two.folder.iterdir()} - {"axis", "cells", "counts", "measured", "write.lock"})
        == 0
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_refused_file_ends_the_add_after_those_before_it(tmp_path: Path, processes: int) -> None:
    paths = [write_file(tmp_path, f"s{n}", 9, first=20 * n) for n in range(3)]
    data = anndata.read_h5ad(paths[1])
    data.X[4, 2] = -1
    data.write_h5ad(paths[1])
    store = AbundanceStore.open(tmp_path / "store")
    added = add_files(
        paths,
        ToyGraph(20),  # type: ignore[arg-type]
        store,
        mapping=ObsMapping(),
        processes=processes,
        connect=partial(ToyGraph, 20),  # type: ignore[arg-type]
    )
    assert next(added).dataset == "s0"
    with pytest.raises(CellsError, match="cell 'bc24', feature 'G4' is -1"):
        list(added)
    assert store.datasets()["dataset"].to_pylist() == ["s0"]
    assert not list(store.folder.glob(".*"))


def test_the_same_bytes_are_known_without_reading_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(tmp_path, "study", 9)
    store, (first,) = add_all([path], tmp_path / "store")
    version = store.version()
    copy = shutil.copy(path, tmp_path / "copy.h5ad")
    with monkeypatch.context() as patch:
        patch.setattr(Tally, "over", None)
        _, (again,) = add_all([copy], tmp_path / "store")
    assert again.already_present
    assert (again.dataset, again.cells, again.counts_file) == ("study", 9, first.counts_file)
    # Other bytes with the same cells are known by what they hold; another mapping makes other cells.
    anndata.read_h5ad(path).write_h5ad(copy, compression="gzip")
    _, (third,) = add_all([copy], tmp_path / "store")
    assert third.already_present
    assert store.version() == version
    with pytest.raises(CellsError, match="with other cells or another mapping"):
        list(add_files([path], ToyGraph(20), store, mapping=ObsMapping(constants={"sex": "f"})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cells", "says"),
    [(0, "0 cells and 7 genes"), (8, "names of no more"), (10, "names 10 cells but has counts of 9")],
)
def test_names_and_counts_of_different_cells_are_refused(tmp_path: Path, cells: int, says: str) -> None:
    measured = MeasuredCells(
        barcodes=[f"bc{k}" for k in range(cells)],
        features=[f"G{g}" for g in range(GENES)],
        feature_ids=[None] * GENES,
        obs=pa.table({"kind": ["a"] * cells}),
        chunks=lambda: iter([csr_array(matrix(4)), csr_array(matrix(5))]),
    )
    store = AbundanceStore.open(tmp_path / "store")
    with pytest.raises(CellsError, match=says):
        add_measured(measured, tmp_path, ToyGraph(20), store, mapping=ObsMapping(), dataset="x")  # type: ignore[arg-type]
    assert store.version() is None


def test_a_full_disk_while_spilling_is_one_line(
    tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cell_blocks, "_spill_chunk", full)
    with pytest.raises(StoreError, match="No space left on device"):
        add_all([write_file(tmp_path, "study", 37)], tmp_path / "store")
    assert AbundanceStore.open(tmp_path / "store").version() is None
    assert not list((tmp_path / "store").glob(".*"))


# --------------------------------------------------------------------------- killed

MOMENTS = 20
# Everything is imported once; each add then runs in a fork of its own, which is there at once.
_CHILD = """
import os, signal, sys, time
from pathlib import Path
import anndata, deltalake, filelock, pyarrow.compute, pyarrow.ipc, pyarrow.parquet, scipy.sparse
from toy_graph import ToyGraph
from tosg_graph import cell_blocks, counts_files
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add_files
from tosg_graph.obs import ObsMapping

cell_blocks.BLOCK_CELLS, counts_files.FILE_BLOCKS = 64, 4
print("ready", flush=True)
for line in sys.stdin:
    after, folder, *paths = line.strip().split("|")
    began = time.perf_counter()
    if child := os.fork():
        if after:
            time.sleep(float(after))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(time.perf_counter() - began, flush=True)
    else:
        store = AbundanceStore.open(Path(folder))
        list(add_files([Path(p) for p in paths], ToyGraph(20), store, mapping=ObsMapping()))
        os._exit(0)
"""


@pytest.fixture
def adder() -> Iterator[subprocess.Popen[str]]:
    """A process that adds files, in a fork, for each line ``seconds|folder|file|file`` that it is sent."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _CHILD], env=environment, text=True, **pipes) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process


def add_and_kill(adder: subprocess.Popen[str], folder: Path, paths: list[Path], after: float | None) -> float:
    """Add files in another process, which is killed after some seconds, and return how long it lived."""
    assert adder.stdin
    assert adder.stdout
    adder.stdin.write("|".join(map(str, ["" if after is None else after, folder, *paths])) + "\n")
    adder.stdin.flush()
    return float(adder.stdout.readline())


@pytest.mark.slow
def test_an_add_killed_at_any_moment_ends_like_one_that_nobody_disturbed(
    tmp_path: Path, adder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_blocks, "BLOCK_CELLS", 64)
    paths = [write_file(tmp_path, f"s{n}", 1500, first=2000 * n) for n in range(2)]
    took = add_and_kill(adder, tmp_path / "wanted", paths, None)
    wanted = content(AbundanceStore.open(tmp_path / "wanted"))
    moments = random.Random(5)
    finished = []
    for number in range(MOMENTS // 2):
        folder = tmp_path / f"killed{number}"
        for _ in range(2):  # the second time in what the first one left
            add_and_kill(adder, folder, paths, moments.uniform(0, took))
            store = AbundanceStore.open(folder)
            held = store.datasets()["sha256"].to_pylist()
            assert held == [row["sha256"] for row in wanted["datasets"]][: len(held)]
            verify(store)
            finished.append(len(held))
        _, ledgers = add_all(paths, folder)
        assert [x.already_present for x in ledgers] == [n < len(held) for n in range(2)]
        assert content(store) == wanted
        assert files_of_no_commit(store) == set()
        shutil.rmtree(folder)
    assert min(finished) < len(paths), "no add was killed before its end"


def files_of_no_commit(store: AbundanceStore) -> set[Path]:
    version = store.version()
    found = set(store.folder.glob(".*"))
    for name in ("axis", "cells", "counts"):
        kept = set(store.log.uris(name, version.of(name)))
        found |= {path for path in (store.folder / name).glob("*.parquet") if str(path) not in kept}
    return found


def verify(store: AbundanceStore) -> None:
    """Sums per dataset and cell are what the store says they are."""
    if store.version() is None:
        return
    with AbundanceReader.open(store) as reader:
        sums = reader._connection.sql("""
            SELECT dataset, sum(n_counts), sum(found), count(*) FILTER (n_counts != coalesce(found, 0)) FROM cells
            LEFT JOIN (SELECT block, cell, sum(count) AS found FROM counts GROUP BY ALL) USING (block, cell)
            GROUP BY dataset ORDER BY dataset
        """).fetchall()
    assert sums == [(row["dataset"], row["counts"], row["counts"], 0) for row in store.datasets().to_pylist()]
