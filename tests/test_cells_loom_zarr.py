"""Loom files and zarr folders: which are taken, and what each refused one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from cell_files import Cells, adata, coordinates, write_loom, write_zarr
from scipy.sparse import csr_matrix, vstack

from loaders import cells_h5ad
from loaders.cells_readers import read
from tosg_graph.errors import CellsError

CELLS = coordinates()


def refusal(path: Path, layer: str | None = None) -> str:
    with pytest.raises(CellsError) as raised:
        list(read(path, layer).chunks())
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


# --------------------------------------------------------------------------- loom


def test_loom_attributes_become_columns_of_their_kind(tmp_path: Path) -> None:
    path = write_loom(
        tmp_path,
        CELLS,
        ClusterName=["α", "b", "c", "d", "e"],
        ClusterID=np.arange(5),
        Score=np.array([0.5, np.nan, 1, 2, 3]),
        Valid=np.array([True, False, True, True, True]),
        UMAP=np.zeros((5, 2)),
    )
    found = read(path)
    assert {name: str(found.obs[name].type) for name in sorted(found.obs.column_names)} == {
        "ClusterID": "int64",
        "ClusterName": "string",
        "Score": "double",
        "Valid": "bool",
    }
    assert found.obs["ClusterName"][0].as_py() == "α"
    assert found.obs["Score"].to_pylist()[:3] == [0.5, None, 1]
    assert found.note == "not read: UMAP of the cells, which have several values per cell"


def test_a_loom_layer_is_taken_by_name_and_the_others_are_offered(tmp_path: Path) -> None:
    path = write_loom(tmp_path, CELLS)
    with h5py.File(path, "r+") as file:
        file["layers/spliced"] = (CELLS.counts + 1).T
        file["layers/smooth"] = CELLS.counts.T + 0.5
    assert vstack(list(read(path, "spliced").chunks())).toarray()[0, 0] == 1
    assert "Other matrices: X, spliced (--layer)" in refusal(path, "smooth")
    assert "no matrix 'unspliced'. It has X, smooth, spliced" in refusal(path, "unspliced")


def test_a_loom_with_repeated_symbols_uses_accessions(tmp_path: Path) -> None:
    path = write_loom(tmp_path, CELLS)
    with h5py.File(path, "r+") as file:
        file["row_attrs/Gene"][:] = ["A", "A", "C", "D"]
    assert read(path).features == [CELLS.ids[0], CELLS.ids[1], "C", "D"]
    with h5py.File(path, "r+") as file:
        del file["row_attrs/Accession"]
    assert "repeats the feature 'A'" in refusal(path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("col_attrs/CellID", None, "does not name its cells: it has no attributes, none of CellID"),
        ("col_attrs/CellID", ["a", "b", "c", "d"], "the matrix has 5 columns, their names are 4"),
        ("col_attrs/CellID", ["a", "b", "c", "d", "d"], "repeats the barcode 'd'"),
        ("row_attrs/Gene", ["a", "b", "c"], "their names are 4"),
        ("matrix", None, "is no loom file: it has no matrix"),
        ("matrix", np.zeros((4, 5, 2)), "a matrix of shape (4, 5, 2)"),
        ("matrix", np.zeros((4, 0)), "the matrix has 0 columns"),
    ],
)
def test_a_loom_whose_parts_do_not_fit_is_refused(tmp_path: Path, name: str, value: Any, says: str) -> None:
    path = write_loom(tmp_path, CELLS)
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value
    assert says in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_loom_is_one_line(tmp_path: Path, share: float) -> None:
    path = write_loom(tmp_path, CELLS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as loom" in refusal(path)


def test_a_loom_without_cells_is_nothing_to_add(tmp_path: Path) -> None:
    assert "holds 0 cells and 4 genes" in refusal(write_loom(tmp_path, Cells(np.zeros((0, 4), int))))


# --------------------------------------------------------------------------- zarr


@pytest.mark.parametrize("format_", [2, 3])
def test_zarr_gives_what_the_same_h5ad_gives(tmp_path: Path, format_: int) -> None:
    data = adata(CELLS)
    data.obs["cluster"] = pd.Categorical([3, 1, 2, 3, 1])
    data.obs["note"] = ["a", None, "c", "d", "e"]
    data.obs["score"] = np.array([0.5, np.nan, 1, 2, 3], "float32")
    data.obs["flag"] = [True, False, True, True, False]
    data.write_h5ad(tmp_path / "my.h5ad")
    expected, found = cells_h5ad.read(tmp_path / "my.h5ad"), read(write_zarr(tmp_path, data, format_))
    assert found.obs.equals(expected.obs)
    assert found.features == expected.features
    assert found.feature_ids == expected.feature_ids


@pytest.mark.parametrize(("layer", "value"), [(None, 3), ("X", 3), ("raw", 203), ("spliced", 103)])
def test_a_matrix_of_zarr_is_taken_by_name(tmp_path: Path, layer: str | None, value: int) -> None:
    data = adata(Cells(CELLS.counts + 200))
    data.raw = data.copy()
    data.X = csr_matrix(CELLS.counts.astype(float))
    data.layers["spliced"] = CELLS.counts + 100.0
    path = write_zarr(tmp_path, data)
    assert vstack(list(read(path, layer).chunks()), format="csr")[0, 3] == value
    assert "no matrix 'unspliced'. It has X, raw, spliced (--layer)" in refusal(path, "unspliced")


def test_zarr_without_x_names_its_layers(tmp_path: Path) -> None:
    data = adata(CELLS)
    data.layers["counts"] = data.X.copy()
    data.X = None
    path = write_zarr(tmp_path, data)
    assert "no matrix 'X'. It has counts (--layer)" in refusal(path)
    assert vstack(list(read(path, "counts").chunks())).toarray().tolist() == CELLS.counts.tolist()


def test_what_is_no_raw_count_offers_the_other_matrices_of_zarr(tmp_path: Path) -> None:
    data = adata(CELLS)
    data.layers["counts"] = data.X.copy()
    data.X = data.X * 0.5
    path = write_zarr(tmp_path, data)
    assert "feature 'G00001' is 0.5" in refusal(path)
    assert "Other matrices: counts (--layer)" in refusal(path)


def test_proteins_in_zarr_are_refused(tmp_path: Path) -> None:
    data = adata(CELLS)
    data.var["feature_types"] = ["Gene Expression"] * 3 + ["Antibody Capture"]
    assert "1 features of type 'Antibody Capture' beside genes (first 'G00003')" in refusal(
        write_zarr(tmp_path, data)
    )


def test_zarr_without_cells_is_nothing_to_add(tmp_path: Path) -> None:
    assert "0 cells and 4 genes" in refusal(write_zarr(tmp_path, adata(CELLS)[:0].copy()))


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_repeated_barcodes_in_zarr_are_refused(tmp_path: Path) -> None:
    data = adata(CELLS)
    data.obs_names = list("abcac")
    assert "repeats the barcode 'a'" in refusal(write_zarr(tmp_path, data))


@pytest.mark.parametrize("part", ["obs", "var", "X", "X/indptr", "X/data"])
@pytest.mark.parametrize("format_", [2, 3])
def test_a_part_of_zarr_that_is_missing_is_one_line(tmp_path: Path, part: str, format_: int) -> None:
    import shutil

    path = write_zarr(tmp_path, adata(CELLS), format_)
    shutil.rmtree(path / part)
    (path / ".zmetadata").unlink(missing_ok=True)  # a list of parts, which would still name it
    refusal(path)


@pytest.mark.parametrize("format_", [2, 3])
@pytest.mark.parametrize("part", ["data", "indices", "indptr"])
def test_pieces_that_a_copy_lacks_are_not_taken_for_zeros(tmp_path: Path, format_: int, part: str) -> None:
    path = write_zarr(tmp_path, adata(CELLS), format_)
    (path / "X" / part / ("0" if format_ == 2 else "c/0")).unlink()
    says = "indptr has 6 values up to 0" if part == "indptr" else f"1 of 1 pieces of /X/{part} are missing"
    assert says in refusal(path)


def test_pieces_of_a_dense_matrix_that_are_not_there_are_counted(tmp_path: Path) -> None:
    path = write_zarr(tmp_path, adata(CELLS, np.asarray))
    assert read(path).note == ""
    (path / "X" / "0.0").unlink()
    assert read(path).note == "1 of 1 pieces of the matrix are not there, which means zeros in zarr"


def test_a_zarr_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_zarr(tmp_path, adata(CELLS))
    attributes = json.loads((path / "X" / ".zattrs").read_text())
    (path / "X" / ".zattrs").write_text(json.dumps({**attributes, "shape": [6, 4]}))
    (path / ".zmetadata").unlink(missing_ok=True)
    assert "the matrix is 6 x 4, but obs has 5 rows and var 4" in refusal(path)


@pytest.mark.parametrize("format_", [2, 3])
def test_a_damaged_chunk_of_zarr_is_found_when_it_is_read(tmp_path: Path, format_: int) -> None:
    path = write_zarr(tmp_path, adata(CELLS), format_)
    file = path / "X" / "data" / ("0" if format_ == 2 else "c/0")
    file.write_bytes(file.read_bytes()[:10])
    found = read(path)
    says = {2: "X/data/0 has 10 bytes of 16: it was cut short", 3: "cannot be read as AnnData in zarr"}
    with pytest.raises(CellsError, match=says[format_]):
        list(found.chunks())


def test_a_zarr_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    import zarr

    zarr.open_group(str(tmp_path / "my.zarr"), mode="w", zarr_format=2)
    assert "has no matrix 'X'. It has none" in refusal(tmp_path / "my.zarr")


def test_real_cells_with_all_their_names(tmp_path: Path, shared_data: Path) -> None:
    """The whole of pbmc3k through zarr gives what its .h5ad gives."""
    source = shared_data / "cells" / "pbmc3k.h5ad"
    expected = cells_h5ad.read(source)
    found = read(write_zarr(tmp_path, anndata.read_h5ad(source), 3))
    assert (found.barcodes, found.features) == (expected.barcodes, expected.features)
    assert found.obs.equals(expected.obs)
    counts, same = (vstack(list(cells.chunks()), format="csr") for cells in (expected, found))
    assert counts.shape == (2700, 13714)
    assert (counts != same).nnz == 0
