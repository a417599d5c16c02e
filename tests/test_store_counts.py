"""The same cells straight from the store: a bundle without abundance feeds what the whole one feeds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import toy_bundle
from scipy.sparse import csr_matrix
from toy_graph import ToyGraph

from tosg_graph import abundance, cell_blocks
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add
from tosg_graph.correction import Plan
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import BundleError, ExportError
from tosg_graph.export import write_bundle
from tosg_graph.obs import ObsMapping
from tosg_graph.row_copy import copy_rows
from tosg_graph.types import Selection

CELLS, GENES, BLOCK = 90, 6, 16
PICKED = [5, 0, 3]  # genes of the bundle; the store has six


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    folder = tmp_path_factory.mktemp("streamed")
    counts = np.array([[1000 * c + g if (c + g) % 3 else 0 for g in range(GENES)] for c in range(CELLS)])
    obs = pd.DataFrame(
        {
            "donor_id": [f"d{c % 9}" for c in range(CELLS)],
            "cell_type": [["T cell", "B cell"][c % 2] for c in range(CELLS)],
        },
        index=[f"c{c}" for c in range(CELLS)],
    )
    var = pd.DataFrame(index=[f"G{g}" for g in range(GENES)])
    anndata.AnnData(csr_matrix(counts.astype("float32")), obs=obs, var=var).write_h5ad(folder / "cells.h5ad")
    found = AbundanceStore.open(folder / "store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_blocks, "BLOCK_CELLS", BLOCK)
        add(folder / "cells.h5ad", ToyGraph(GENES), found, mapping=ObsMapping())  # type: ignore[arg-type]
    return found


def write(store: AbundanceStore, out: Path, threads: int | None = None, **choices: Any) -> Path:
    ids = sorted(f"HGNC:{g}" for g in PICKED)
    nodes = pa.table(
        {
            "id": ids,
            "type": ["Gene"] * 3,
            "labels": pa.array([["Gene"]] * 3, pa.list_(pa.string())),
            "name": ids,
            "text_sha": ["x"] * 3,
        }
    )
    edges = {("Gene", "SIGNALS_TO", "Gene"): toy_bundle.edges([(0, 1, 1, "a", None, 1)])}
    with AbundanceReader.open(store, threads=threads) as reader:
        made = toy_bundle.measured(
            cells=reader.cells("true", lambda *_: None),
            axis=reader.axis,
            counts=reader.csr,
            version=reader.version,
            text=np.zeros((3, 1), np.float32),
            text_mask=np.zeros(3, np.bool_),
        )
        selection = Selection(nodes, edges, "MATCH (g) RETURN g", {})
        write_bundle(selection, made, cohort="true", label="cell_type", out=out, seed=3, **choices)
    return out


@pytest.fixture(scope="module")
def folders(store: AbundanceStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return write(store, folder / "whole"), write(store, folder / "light", abundance=False)


@pytest.mark.parametrize("few", [0.05, 1.0], ids=["blocks decoded by Arrow", "joined by DuckDB"])
def test_a_bundle_does_not_depend_on_the_number_of_threads(
    store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: float
) -> None:
    """Of DuckDB, Arrow, and the blocks that are decoded at a time; `test_engine_ray` compares processes."""
    monkeypatch.setattr("tosg_graph.abundance._FEW_GENES", few)
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 32)
    usual = pa.cpu_count()
    try:
        for threads in (1, 4):
            pa.set_cpu_count(threads)
            write(store, tmp_path / str(threads), threads)
    finally:
        pa.set_cpu_count(usual)
    one, four = (
        {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("1", "4")
    )
    assert one == four
    assert sum(name.startswith("abundance") for name in one) == 5


@pytest.mark.parametrize("layer", ["counts", "cp10k", "log1p"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_any_cells_are_those_of_the_whole_bundle(
    store: AbundanceStore, folders: tuple[Path, Path], split: str, layer: Any
) -> None:
    whole, light = folders
    expected = TosgDataset(whole, split, layer=layer)
    found = TosgDataset(light, split, layer=layer, store=store.folder)
    assert found.cells.equals(expected.cells)
    rows = np.random.default_rng(1).permutation(len(expected))
    assert torch.equal(found.take(rows).x, expected.take(rows).x)
    assert torch.equal(found.take(rows).y, expected.take(rows).y)
    assert found.take([]).x.shape == (0, 3, 1)
    with pytest.raises(IndexError):
        found.take([len(expected)])


@pytest.mark.parametrize("how", [{}, {"workers": 2}, {"shuffle": False}], ids=str)
def test_a_feed_gives_each_cell_once_and_its_own_counts(
    store: AbundanceStore, folders: tuple[Path, Path], how: dict[str, Any]
) -> None:
    whole, light = folders
    expected = TosgDataset(whole, layer="log1p")
    feed = TosgDataset(light, layer="log1p", store=store).feed(7, pool_cells=28, **how)
    seen: list[int] = []
    for batch in feed:
        rows = batch.rows.numpy()
        assert torch.equal(batch.x, expected.take(rows).x)
        assert torch.equal(batch.y, expected.take(rows).y)
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(expected)))


def test_blocks_of_the_store_are_read_as_wholes(store: AbundanceStore, folders: tuple[Path, Path]) -> None:
    counts = TosgDataset(folders[1], store=store).counts
    blocks = counts.blocks(1)
    assert blocks[0, 0] == 0
    assert blocks[-1, 1] == len(counts)
    assert (blocks[1:, 0] == blocks[:-1, 1]).all()
    assert len(blocks) == -(-CELLS // BLOCK), "cells of the split lie in each block"


def test_the_copy_cell_by_cell_gives_the_same_bundle_and_feed(
    store: AbundanceStore, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = AbundanceStore.open(shutil.copytree(store.folder, tmp_path / "store"))
    copy_rows(copied)
    monkeypatch.setattr(abundance, "_FEW_COPIED", 0)
    monkeypatch.setattr(abundance, "_CELLS_PER_COLUMN", np.inf)
    monkeypatch.setattr(AbundanceReader, "_from_counts", None)  # is not asked
    again = write(copied, tmp_path / "bundle")
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert files
    assert all((again / file).read_bytes() == (folders[0] / file).read_bytes() for file in files)
    expected = TosgDataset(folders[0])
    for batch in TosgDataset(folders[1], store=copied).feed(7, pool_cells=28):
        assert torch.equal(batch.x, expected.take(batch.rows.numpy()).x)


def test_a_bundle_without_abundance_says_what_it_needs(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"holds no abundance: .* Give the store too: TosgDataset\(folder, store="
    ):
        TosgDataset(folders[1])
    assert list((folders[1] / "abundance").glob("*")) == []


def test_another_store_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = AbundanceStore.open(tmp_path / "other")
    var, obs = pd.DataFrame(index=["G5"]), pd.DataFrame({"cell_type": ["T cell"]}, index=["x"])
    anndata.AnnData(csr_matrix([[1.0]]), obs=obs, var=var).write_h5ad(tmp_path / "x.h5ad")
    add(tmp_path / "x.h5ad", ToyGraph(GENES), other, mapping=ObsMapping())  # type: ignore[arg-type]
    with pytest.raises(
        BundleError, match=r"was not made of .*other: the gene axis of its version 0 is another"
    ):
        TosgDataset(folders[1], store=other)


def test_what_is_made_of_abundance_needs_it(store: AbundanceStore, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="leave out correction, texts, proteins and levels"):
        write(store, tmp_path / "b", abundance=False, correct=Plan("combat", "donor"))
    assert not (tmp_path / "b").exists()
