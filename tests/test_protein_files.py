"""Surface proteins are read beside the genes from every format that has them, count by count, and refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import protein_files as files
import pytest
from scipy.sparse import csc_matrix, csr_matrix, vstack

from loaders import cell_proteins, cells_h5ad
from loaders.cells_readers import read
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

CELLS = 8  # not as many as features
SHUFFLED = [5, 0, 6, 2, 1, 7, 4, 3]
FORMATS: dict[str, Callable[[Path], Path]] = {
    "array in obsm": lambda folder: files.in_obsm(folder, CELLS),
    "sparse in obsm": lambda folder: files.in_obsm(folder, CELLS, csr_matrix(files.proteins(CELLS))),
    "frame in obsm": lambda folder: files.as_frame(folder, CELLS),
    "among the features": lambda folder: files.among_features(folder, CELLS),
    "mudata": lambda folder: files.mudata(folder, CELLS),
    "mudata, sparse": lambda folder: files.mudata(folder, CELLS, matrix=csr_matrix),
    "mudata, cells in another order": lambda folder: files.mudata(folder, CELLS, SHUFFLED),
    "mudata, sparse in another order": lambda folder: files.mudata(folder, CELLS, SHUFFLED, csr_matrix),
    "10x": lambda folder: files.ten_x(folder, CELLS),
    "mtx": lambda folder: files.mtx(folder, CELLS),
}


def counts(measured: MeasuredCells) -> np.ndarray:
    found: np.ndarray = vstack(list(measured.chunks())).toarray()
    return found


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    monkeypatch.setattr(cells_h5ad, "CHUNK_CELLS", 3)  # several runs of cells
    monkeypatch.setattr(cell_proteins, "_VALUES", 2 * files.PROTEINS)
    measured = read(write(tmp_path))
    assert measured.features == [f"G{g}" for g in range(files.GENES)]
    assert [name[:2] for name in measured.proteins] == ["G0", "G2", "Ig"]
    assert measured.protein_cells is None
    wanted = np.concatenate([files.genes(CELLS), files.proteins(CELLS)], axis=1)
    assert counts(measured).tolist() == wanted.tolist()
    assert counts(measured).tolist() == wanted.tolist()  # and again from the start
    assert {chunk.indices.dtype for chunk in measured.chunks()} == {np.dtype(np.int32)}


def test_cells_without_proteins_are_told_from_zeros(tmp_path: Path) -> None:
    measured = read(files.mudata(tmp_path, CELLS, [4, 1, 6]))
    assert measured.protein_cells is not None
    assert np.flatnonzero(measured.protein_cells).tolist() == [1, 4, 6]
    found = counts(measured)[:, files.GENES :]
    assert found[[1, 4, 6]].tolist() == files.proteins(CELLS)[[1, 4, 6]].tolist()
    assert not found[[0, 2, 3, 5, 7]].any()
    assert measured.obs["donor"].to_pylist() == [f"dc{k}" for k in range(CELLS)]


@pytest.mark.parametrize(
    ("write", "options"),
    [
        (FORMATS["array in obsm"], {"proteins": "none"}),
        (FORMATS["among the features"], {"proteins": "none"}),
        (FORMATS["mudata"], {"proteins": "none"}),
        (FORMATS["10x"], {"proteins": "none"}),
        (FORMATS["mtx"], {"proteins": "none"}),
    ],
    ids=["obsm", "features", "mudata", "10x", "mtx"],
)
def test_proteins_can_be_left_out(
    tmp_path: Path, write: Callable[[Path], Path], options: dict[str, str]
) -> None:
    measured = read(write(tmp_path), options=options)
    assert list(measured.proteins) == []
    assert counts(measured).tolist() == files.genes(CELLS).tolist()


def test_other_keys_are_taken_by_option(tmp_path: Path) -> None:
    path = files.in_obsm(tmp_path, CELLS, key="adt")
    assert list(read(path).proteins) == []
    measured = read(path, options={"proteins": "adt", "protein_names": "protein_names"})
    assert list(measured.proteins) == files.NAMES
    assert counts(measured)[:, files.GENES :].tolist() == files.proteins(CELLS).tolist()


def test_types_beside_genes_and_antibodies_are_refused_until_both_are_asked_for(tmp_path: Path) -> None:
    types = [
        "Antibody Capture",
        "Antibody Capture",
        "CRISPR Guide Capture",
        *["Gene Expression"] * files.GENES,
    ]
    path = files.ten_x(tmp_path, CELLS, types)
    with pytest.raises(CellsError, match=r"several types.*'proteins=Antibody Capture'"):
        read(path)
    both = read(path, "Gene Expression", {"proteins": "Antibody Capture"})
    assert len(both.proteins) == 2
    assert both.note == "not read: 1 features of 'CRISPR Guide Capture'"
    assert counts(both)[:, files.GENES :].tolist() == files.proteins(CELLS)[:, :2].tolist()
    assert not read(path, "Gene Expression").proteins


def changed(place: tuple[int, int], value: float) -> np.ndarray:
    values = files.proteins(CELLS).astype("float64")
    values[place] = value
    return values


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "negative": (lambda f: files.in_obsm(f, CELLS, changed((3, 1), -2)), "cell 'c3', feature 'G2' is -2"),
    "fraction": (
        lambda f: files.in_obsm(f, CELLS, changed((6, 2), 0.5)),
        "cell 'c6', feature 'IgG1_control' is 0.5",
    ),
    "NaN": (lambda f: files.in_obsm(f, CELLS, changed((0, 0), np.nan)), "'G0_TotalSeqB' is nan"),
    "too large": (
        lambda f: files.in_obsm(f, CELLS, changed((0, 0), 2**31)),
        "whole numbers from 0 to 2^31-1",
    ),
    "normalised": (
        lambda f: files.in_obsm(f, CELLS, np.log1p(files.proteins(CELLS))),
        "--option proteins=KEY, or leave the proteins out",
    ),
    "a name twice": (lambda f: files.in_obsm(f, CELLS, names=["a", "b", "a"]), "repeats the protein 'a'"),
    "an empty name": (lambda f: files.in_obsm(f, CELLS, names=["a", "", "b"]), "protein 2 is empty"),
    "no names": (lambda f: files.in_obsm(f, CELLS, names=None), "no names in uns 'protein_names'"),
    "fewer names": (lambda f: files.in_obsm(f, CELLS, names=["a", "b"]), "8 cells and 2 names of proteins"),
    "protein by protein": (
        lambda f: files.in_obsm(f, CELLS, csc_matrix(files.proteins(CELLS))),
        "stored protein by protein",
    ),
}


@pytest.mark.parametrize(("write", "says"), BAD.values(), ids=BAD)
def test_what_is_no_raw_count_of_a_named_protein_is_refused(
    tmp_path: Path, write: Callable[[Path], Path], says: str
) -> None:
    with pytest.raises(CellsError) as refusal:
        list(read(write(tmp_path)).chunks())
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_rows_that_are_not_those_of_the_cells_are_refused(tmp_path: Path) -> None:
    import h5py

    path = files.in_obsm(tmp_path, CELLS)
    with h5py.File(path, "r+") as file:
        del file["obsm/protein_expression"]
        file["obsm/protein_expression"] = files.proteins(CELLS)[:-1]
    with pytest.raises(CellsError, match=r"shape \(7, 3\), but there are 8 cells"):
        read(path)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"proteins": "adt"}, "has no obsm 'adt' with proteins. It has protein_expression"),
        ({"genes": "rna"}, "has no option 'genes'"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(CellsError) as refusal:
        read(files.in_obsm(tmp_path, CELLS), options=options)
    assert says in str(refusal.value)


def test_a_modality_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CellsError, match=r"has no modality 'gex'. It has prot, rna"):
        read(files.mudata(tmp_path, CELLS), options={"genes": "gex"})


def test_proteins_of_cells_without_genes_are_refused(tmp_path: Path) -> None:
    rna, prot = files.adata(3), files.adata(5)
    prot.var_names = [f"p{k}" for k in range(files.GENES)]
    path = files.write(files.joined(rna, prot), tmp_path / "x.h5mu")
    with pytest.raises(CellsError, match="2 of 5 cells of 'prot' have no genes \\(first 'c3'\\)"):
        read(path)


def test_the_proteins_of_a_real_file_are_those_in_it(shared_data: Path) -> None:
    import h5py

    path = shared_data / "cells" / "scvi_pbmc_5k.h5ad"
    measured = read(path)
    with h5py.File(path) as file:
        held: Any = file["obsm/protein_expression"][:]
    assert len(measured.proteins) == 29
    assert counts(measured)[:, len(measured.features) :].tolist() == held.tolist()
