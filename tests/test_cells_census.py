"""A query of a SOMA experiment, as the CELLxGENE Census is one; written here by tiledbsoma itself."""

from __future__ import annotations

import builtins
import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from cell_files import adata, coordinates
from scipy.sparse import vstack

from loaders import cell_chunks
from loaders.cells_census import _address
from loaders.cells_readers import read, reader_of
from tosg_graph.errors import CellsError

CELLS = coordinates()


def census_like() -> anndata.AnnData:
    """obs and var as the Census has them; the last cell is a copy of one in another data set."""
    data = adata(CELLS)
    data.var = pd.DataFrame({"feature_id": CELLS.ids, "feature_name": CELLS.features}, index=CELLS.ids)
    data.obs["dataset_id"] = ["d1", "d1", "d2", "d2", "d2"]
    data.obs["observation_joinid"] = ["j0", "j1", "j0", "j1", "j2"]
    data.obs["tissue"] = pd.Categorical(["blood", "lung", "blood", "lung", "blood"])
    data.obs["is_primary_data"] = [True, True, True, True, False]
    data.obs["age"] = np.arange(5, dtype=np.int32)
    return data


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install '.[census]'")
    return written(tmp_path_factory.mktemp("soma") / "my.soma", census_like())


def written(path: Path, data: anndata.AnnData) -> Path:
    import tiledbsoma.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tiledbsoma.io.from_anndata(str(path), data, measurement_name="RNA", X_layer_name="raw")
    return path


def refusal(path: Path, layer: str | None = None, **options: str) -> str:
    with pytest.raises(CellsError) as raised:
        list(read(path, layer, options).chunks())
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("chunk", [1, 2, 16_384])
def test_all_cells_come_with_their_counts(
    experiment: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", chunk)
    assert reader_of(experiment).module == "cells_census"
    found = read(experiment)
    parts = list(found.chunks())
    assert all(part.dtype == np.int32 and part.shape[0] <= chunk for part in parts)
    assert vstack(parts).toarray().tolist() == CELLS.counts.tolist()
    assert found.features == CELLS.features
    assert found.feature_ids == CELLS.ids
    assert found.note == "1 of 5 cells are not primary data: copies of cells elsewhere"


def test_a_filter_picks_cells_and_their_counts_stay_with_them(experiment: Path) -> None:
    found = read(experiment, None, {"filter": "tissue == 'blood' and is_primary_data == True"})
    assert found.barcodes == ["d1:j0", "d2:j0"]
    assert vstack(list(found.chunks())).toarray().tolist() == CELLS.counts[[0, 2]].tolist()
    assert found.obs["tissue"].to_pylist() == ["blood", "blood"]
    assert found.obs["age"].to_pylist() == [0, 2]
    assert str(found.obs["age"].type) == "int64"
    assert found.note == ""


def test_cells_of_an_experiment_without_a_census_are_named_by_it(tmp_path: Path) -> None:
    pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install '.[census]'")
    data = adata(CELLS)
    found = read(written(tmp_path / "my.soma", data))
    assert found.barcodes == CELLS.barcodes
    assert found.features == CELLS.features
    assert found.feature_ids == CELLS.ids


@pytest.mark.parametrize(
    ("layer", "options", "says"),
    [
        (None, {"filter": "tissue == 'bone'"}, "no cell matches \"tissue == 'bone'\""),
        (None, {"filter": "organ == 'blood'"}, "is no filter of its cells"),
        (None, {"filter": "tissue = = 'blood'"}, "is no filter of its cells"),
        ("normalized", {}, "has no layer 'normalized'. It has raw"),
        (None, {"measurement": "ATAC"}, "has no measurement 'ATAC'. It has RNA"),
        (None, {"tissue": "blood"}, "has no option 'tissue'. It has filter, version, measurement"),
    ],
)
def test_a_query_that_means_nothing_is_refused(
    experiment: Path, layer: str | None, options: dict[str, str], says: str
) -> None:
    assert says in refusal(experiment, layer, **options)


def test_what_is_no_raw_count_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tiledbsoma", reason="tiledbsoma is not installed: pip install '.[census]'")
    data = census_like()
    data.X = data.X * 0.5
    assert "cell 'd1:j0', feature 'G00001' is 0.5" in refusal(written(tmp_path / "my.soma", data))


def test_an_experiment_that_is_damaged_is_one_line(tmp_path: Path, experiment: Path) -> None:
    import shutil

    path = tmp_path / "my.soma"
    shutil.copytree(experiment, path)
    shutil.rmtree(path / "obs")
    assert "cannot be read as a SOMA experiment" in refusal(path)


# --------------------------------------------------------------------------- the Census's address


def test_the_census_is_opened_where_it_is_published() -> None:
    address, context = _address(Path("census:mus_musculus"), "tissue == 'lung'", "2025-01-30")
    assert address == (
        "s3://cellxgene-census-public-us-west-2/cell-census/2025-01-30/soma/census_data/mus_musculus"
    )
    assert context == {"vfs.s3.region": "us-west-2", "vfs.s3.no_sign_request": "true"}


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("census:human", {}, "'human' is no organism of the Census"),
        ("census:../x", {}, "is no organism of the Census"),
        ("census:homo_sapiens", {"filter": "x == 1"}, "needs a release of the Census, not None"),
        ("census:homo_sapiens", {"filter": "x == 1", "version": "stable"}, "not 'stable'"),
        (
            "census:homo_sapiens",
            {"version": "2025-01-30"},
            "without a filter means tens of millions of cells",
        ),
    ],
)
def test_a_query_of_the_census_says_which_release_and_cells(
    path: str, options: dict[str, str], says: str
) -> None:
    assert says in refusal(Path(path), **options)


def test_without_tiledbsoma_the_extra_is_named(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refused(name: str, *args: Any) -> Any:
        if name == "tiledbsoma":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", refused)
    assert "pip install 'tosg-graph[census]'" in refusal(experiment)
