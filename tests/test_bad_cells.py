"""Every input format with every fault that it can have: one line that names it, and a store as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cell_files import (
    Cells,
    adata,
    write_10x_v2,
    write_10x_v3,
    write_loom,
    write_mtx,
    write_omnicelltosg,
    write_parquet,
    write_zarr,
)
from toy_graph import ToyGraph

from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add_files
from tosg_graph.errors import TosgError
from tosg_graph.obs import ObsMapping
from tosg_graph.types import CellsLedger


@dataclass(frozen=True)
class Named(Cells):
    """Counts as floats, under names that may be wrong."""

    cells: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()
    accessions: tuple[str, ...] = ()

    @property
    def barcodes(self) -> list[str]:
        return list(self.cells)

    @property
    def features(self) -> list[str]:
        return list(self.genes)

    @property
    def ids(self) -> list[str]:
        return list(self.accessions)


def named(counts: np.ndarray | None = None, size: int = 5, **changes: tuple[str, ...]) -> Named:
    """Five cells of four genes that the graph knows; counts say where they belong."""
    if counts is None:
        counts = np.array([[100.0 * k + g for g in range(4)] for k in range(size)]).reshape(size, 4)
    given = {
        "cells": tuple(f"c{k}" for k in range(len(counts))),
        "genes": ("G0", "G1", "G2", "G3"),
        "accessions": tuple(f"ENSG{g:011}" for g in range(4)),
    }
    return Named(counts, **{**given, **changes})


def write_h5ad(folder: Path, cells: Cells) -> Path:
    path = folder / "my.h5ad"
    adata(cells).write_h5ad(path)
    return path


FORMATS: dict[str, Callable[[Path, Cells], Path]] = {
    "h5ad": write_h5ad,
    "10x v3": lambda folder, cells: write_10x_v3(folder, cells, dtype="float32"),
    "10x v2": write_10x_v2,
    "mtx": lambda folder, cells: write_mtx(folder, cells, field="real"),
    "loom": lambda folder, cells: write_loom(folder, cells, dtype="float32"),
    "zarr": lambda folder, cells: write_zarr(folder, adata(cells)),
    "Parquet": lambda folder, cells: write_parquet(folder, cells, tokens=False),
    "OmniCellTOSG": write_omnicelltosg,
}
EVERY = pytest.mark.parametrize("name", FORMATS)


pytestmark = pytest.mark.filterwarnings("ignore:.*names are not unique")


def add(folder: Path, path: Path, mapping: ObsMapping | None = None) -> list[CellsLedger]:
    store = AbundanceStore.open(folder / "store")
    return list(add_files([path], ToyGraph(20), store, mapping=mapping or ObsMapping()))  # type: ignore[arg-type]


def written(folder: Path, name: str, cells: Cells) -> Path:
    place = folder / "files"
    place.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries that write see the faults too
        return FORMATS[name](place, cells)


def refused(folder: Path, path: Path, mapping: ObsMapping | None = None) -> str:
    """What is said when the file is refused; nothing of it may be left."""
    with pytest.raises(TosgError) as refusal:
        add(folder, path, mapping)
    store = AbundanceStore.open(folder / "store")
    assert store.version() is None
    assert not [p for p in store.folder.rglob("*") if p.suffix in (".parquet", ".spill")]
    said = str(refusal.value)
    assert "\n" not in said
    return said


@EVERY
def test_a_good_file_is_added(tmp_path: Path, name: str) -> None:
    """Otherwise the refusals below could be of anything."""
    (ledger,) = add(tmp_path, written(tmp_path, name, named()))
    assert (ledger.cells, ledger.genes_mapped, ledger.counts_stored) == (5, 4, int(named().counts.sum()))


VALUES = {
    "negative": (-3.0, "-3"),
    "fractional": (0.5, "0.5"),
    "NaN": (float("nan"), "nan"),
    "infinite": (float("inf"), "inf"),
    "overflowing": (2.0**31, "2.14748e+09"),
}


@EVERY
@pytest.mark.parametrize("fault", VALUES)
def test_what_is_no_count_names_cell_and_feature(tmp_path: Path, name: str, fault: str) -> None:
    value, text = VALUES[fault]
    counts = named().counts
    counts[3, 2] = value
    said = refused(tmp_path, written(tmp_path, name, named(counts)))
    assert "feature 'G2'" in said
    assert text in said
    assert name == "OmniCellTOSG" or "cell 'c3'" in said  # there cells are named by their place


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "OmniCellTOSG"])
def test_barcodes_that_repeat_are_named(tmp_path: Path, name: str) -> None:
    assert "'c1'" in refused(tmp_path, written(tmp_path, name, named(cells=("c0", "c1", "c2", "c1", "c4"))))


@EVERY
def test_symbols_that_repeat_are_named_where_nothing_else_tells_genes_apart(
    tmp_path: Path, name: str
) -> None:
    twice = named(genes=("G0", "G1", "G2", "G1"), accessions=("ENSG0", "ENSG1", "ENSG2", "ENSG1"))
    said = refused(tmp_path, written(tmp_path, name, twice))
    assert "'G1'" in said or "'ENSG1'" in said or "G1" in said


@EVERY
def test_a_column_that_is_needed_and_not_there_is_named_with_what_there_is(tmp_path: Path, name: str) -> None:
    mapping = ObsMapping({"cell_type": "celltype"})
    assert "no obs column 'celltype' for cell_type" in refused(
        tmp_path, written(tmp_path, name, named()), mapping
    )


@EVERY
def test_genes_of_another_species_are_refused(tmp_path: Path, name: str) -> None:
    mouse = named(
        genes=("Actb", "Gapdh", "Cd3e", "Xist"), accessions=tuple(f"ENSMUSG{g:011}" for g in range(4))
    )
    said = refused(tmp_path, written(tmp_path, name, mouse))
    assert "only 0 of 4 features are genes of the graph" in said
    assert "Is it another species?" in said


@EVERY
def test_a_file_of_no_cells_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, written(tmp_path, name, named(size=0)))


@EVERY
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.97, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, kept: float) -> None:
    path = written(tmp_path, name, named())
    largest = max((p for p in (path, *path.rglob("*")) if p.is_file()), key=_counts_first)
    content = largest.read_bytes()
    largest.write_bytes(content[: int(kept * len(content))])
    assert path.name in refused(tmp_path, path)


def _counts_first(path: Path) -> tuple[bool, int]:
    """The file with the counts, of a folder."""
    inside = path.suffix in (".mtx", ".npy") or "X/data" in path.as_posix()
    return inside and path.name != ".zarray", path.stat().st_size
