"""AnnData files: which are taken, and what each refused one is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_array, csr_matrix, vstack

from loaders import cells_h5ad
from loaders.cells_h5ad import read
from tosg_graph.errors import CellsError

CELLS, GENES = 5, 4
COUNTS = np.array([[100 * cell + gene for gene in range(GENES)] for cell in range(CELLS)])
COUNTS[1, 2] = 0


def adata(x: Any = COUNTS, **parts: Any) -> anndata.AnnData:
    genes = pd.DataFrame(index=[f"G{g}" for g in range(GENES)])
    obs = pd.DataFrame({"kind": list("aabbb")}, index=[f"c{k}" for k in range(CELLS)])
    return anndata.AnnData(x, **{"obs": obs, "var": genes, **parts})


def counts_in(path: Path, layer: str | None = None) -> csr_array:
    return vstack(list(read(path, layer).chunks()), format="csr")


def written(tmp_path: Path, data: anndata.AnnData) -> Path:
    path = tmp_path / "my.h5ad"
    data.write_h5ad(path)
    return path


@pytest.mark.parametrize("matrix", [np.asarray, csr_matrix, csc_matrix], ids=["dense", "CSR", "CSC"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint16"])
def test_every_matrix_gives_the_same_counts(tmp_path: Path, matrix: Any, dtype: str) -> None:
    found = read(written(tmp_path, adata(matrix(COUNTS.astype(dtype)))))
    (counts,) = found.chunks()
    assert counts.dtype == counts.indices.dtype == counts.indptr.dtype == np.int32
    assert counts.toarray().tolist() == COUNTS.tolist()
    assert counts.has_sorted_indices
    assert (counts.data > 0).all()
    assert found.barcodes == [f"c{k}" for k in range(CELLS)]
    assert found.features == [f"G{g}" for g in range(GENES)]
    assert found.note == ""


@pytest.mark.parametrize("matrix", [np.asarray, csr_matrix, csc_matrix], ids=["dense", "CSR", "CSC"])
@pytest.mark.parametrize(("cells", "values"), [(2, 1000), (16_384, 7), (16_384, 1), (3, 5)])
def test_counts_come_in_runs_of_cells_that_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrix: Any, cells: int, values: int
) -> None:
    monkeypatch.setattr(cells_h5ad, "CHUNK_CELLS", cells)
    monkeypatch.setattr(cells_h5ad, "CHUNK_VALUES", values)
    found = read(written(tmp_path, adata(matrix(COUNTS.astype("float32")))))
    for _ in range(2):  # each call reads from the start
        chunks = list(found.chunks())
        assert len(chunks) > 1
        assert max(chunk.shape[0] for chunk in chunks) <= cells
        assert vstack(chunks).toarray().tolist() == COUNTS.tolist()


@pytest.mark.parametrize("matrix", [np.asarray, csr_matrix, csc_matrix], ids=["dense", "CSR", "CSC"])
def test_a_bad_value_in_a_later_run_is_named_by_its_own_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, matrix: Any
) -> None:
    monkeypatch.setattr(cells_h5ad, "CHUNK_CELLS", 2)
    chunks = read(written(tmp_path, adata(matrix(with_value(-1.0))))).chunks()
    assert next(chunks).toarray().tolist() == COUNTS[:2].tolist()
    with pytest.raises(CellsError, match="cell 'c3', feature 'G1' is -1"):
        next(chunks)


@pytest.mark.parametrize(
    ("place", "value"),
    [("X/indptr", 99), ("X/indices", 99), ("X/indices", -1)],
    ids=["longer", "beyond", "before"],
)
@pytest.mark.parametrize("matrix", [csr_matrix, csc_matrix], ids=["CSR", "CSC"])
def test_indices_that_do_not_fit_are_refused(tmp_path: Path, matrix: Any, place: str, value: int) -> None:
    path = written(tmp_path, adata(matrix(COUNTS.astype("float32"))))
    with h5py.File(path, "r+") as file:
        file[place][-1] = value
    with pytest.raises(CellsError, match=r"cannot be read as \.h5ad|beyond its 4|is damaged"):
        counts_in(path)


def test_small_numbers_stored_twice_do_not_overflow(tmp_path: Path) -> None:
    matrix = csr_matrix(
        (np.array([200, 100], "uint8"), np.array([1, 1]), np.array([0, 2, 2, 2, 2, 2])), shape=(5, 4)
    )
    for stored in (
        matrix,
        csc_matrix((matrix.data, np.array([0, 0]), np.array([0, 0, 2, 2, 2])), shape=(5, 4)),
    ):
        assert counts_in(written(tmp_path, adata(stored)))[0, 1] == 300


def test_entries_stored_twice_are_summed_and_zeros_are_not_stored(tmp_path: Path) -> None:
    matrix = csr_matrix(
        (np.array([1.0, 2.0, 0.0]), np.array([1, 1, 2]), np.array([0, 3, 3, 3, 3, 3])), shape=(5, 4)
    )
    counts = counts_in(written(tmp_path, adata(matrix)))
    assert counts.nnz == 1
    assert counts[0, 1] == 3


@pytest.mark.parametrize(("layer", "value"), [(None, 3), ("X", 3), ("raw", 203), ("spliced", 103)])
def test_a_layer_is_taken_by_name(tmp_path: Path, layer: str | None, value: int) -> None:
    data = adata(COUNTS + 200.0)
    data.raw = data.copy()
    data.X = COUNTS.astype(float)
    data.layers["spliced"] = COUNTS + 100.0
    assert counts_in(written(tmp_path, data), layer)[0, 3] == value


def test_obs_columns_keep_their_kind(tmp_path: Path) -> None:
    obs = pd.DataFrame(
        {
            "text": ["a", None, "c", "d", "e"],
            "category": pd.Categorical(["x", "y", None, "x", "x"]),
            "cluster": pd.Categorical([3, 1, 2, 3, 1]),
            "whole": np.arange(5, dtype="int8"),
            "real": np.array([1.5, np.nan, 2, 3, 4], "float32"),
            "flag": [True, False, True, True, False],
        },
        index=[f"c{k}" for k in range(CELLS)],
    )
    found = read(written(tmp_path, adata(COUNTS.astype(float), obs=obs))).obs
    assert {name: str(found[name].type) for name in found.column_names} == {
        "text": "string",
        "category": "string",
        "cluster": "string",
        "whole": "int64",
        "real": "double",
        "flag": "bool",
    }
    assert found["category"].to_pylist() == ["x", "y", None, "x", "x"]
    assert found["cluster"].to_pylist() == ["3", "1", "2", "3", "1"]
    assert found["real"].to_pylist() == [1.5, None, 2, 3, 4]


def test_ensembl_ids_are_found_beside_the_symbols(tmp_path: Path) -> None:
    var = pd.DataFrame({"gene_ids": ["ENSG1", "ENSG2.3", "custom", "ENSG4"]}, index=list("ABCD"))
    assert read(written(tmp_path, adata(COUNTS.astype(float), var=var))).feature_ids == [
        "ENSG1",
        "ENSG2.3",
        None,
        "ENSG4",
    ]


def normalised(target: float = 1e4) -> np.ndarray:
    return np.log1p(target * (COUNTS + 1.0) / (COUNTS + 1.0).sum(axis=1, keepdims=True))


def with_value(value: float) -> np.ndarray:
    x = COUNTS.astype(float)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (normalised(), "look like log1p of counts per 10,000"),
        (normalised(1e6), "look like log1p of counts per 1,000,000"),
        (with_value(-1.0), "cell 'c3', feature 'G1' is -1"),
        (with_value(0.5), "cell 'c3', feature 'G1' is 0.5"),
        (with_value(np.nan), "cell 'c3', feature 'G1' is nan"),
        (with_value(np.inf), "cell 'c3', feature 'G1' is inf"),
        (with_value(2.0**31), "Raw counts are whole numbers from 0 to 2^31-1"),
    ],
)
def test_what_is_no_raw_count_is_refused_with_the_first_example(
    tmp_path: Path, x: np.ndarray, says: str
) -> None:
    path = written(tmp_path, adata(x))
    with pytest.raises(CellsError) as refusal:
        counts_in(path)
    assert says in str(refusal.value)
    assert "no other matrix" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_matrices_to_try_instead_are_named(tmp_path: Path) -> None:
    data = adata(normalised())
    data.layers["counts"] = COUNTS.astype(float)
    data.raw = adata(COUNTS.astype(float))
    with pytest.raises(CellsError, match=r"Other matrices: raw, counts \(--layer\)"):
        counts_in(written(tmp_path, data))


def test_an_unknown_layer_names_those_there_are(tmp_path: Path) -> None:
    data = adata(COUNTS.astype(float))
    data.layers["counts"] = COUNTS.astype(float)
    with pytest.raises(CellsError, match=r"no matrix 'count'. It has X, counts"):
        read(written(tmp_path, data), "count")


@pytest.mark.filterwarnings("ignore:Observation names are not unique", "ignore:Variable names are not unique")
@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"obs": pd.DataFrame(index=list("abcac"))}, "repeats the barcode 'a'"),
        ({"var": pd.DataFrame(index=list("AABC"))}, "repeats the feature 'A'"),
        (
            {
                "var": pd.DataFrame(
                    {"feature_types": ["Gene Expression"] * 3 + ["Peaks"]},
                    index=["A", "B", "C", "CD3"],
                )
            },
            "1 features of type 'Peaks' beside genes (first 'CD3')",
        ),
    ],
    ids=["barcodes", "features", "peaks"],
)
def test_files_that_cannot_be_told_apart_are_refused(
    tmp_path: Path, parts: dict[str, Any], says: str
) -> None:
    with pytest.raises(CellsError, match=re.escape(says)):
        read(written(tmp_path, adata(COUNTS.astype(float), **parts)))


def test_no_cells_or_no_genes_are_nothing_to_add(tmp_path: Path) -> None:
    with pytest.raises(CellsError, match="0 cells and 4 genes"):
        read(written(tmp_path, adata(COUNTS.astype(float))[:0].copy()))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_one_line(tmp_path: Path, share: float) -> None:
    path = written(tmp_path, adata(COUNTS.astype(float)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CellsError, match=r"cannot be read as \.h5ad") as refusal:
        read(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"not an hdf5 file", b"PK\x03\x04 a zip"])
def test_a_file_of_another_kind_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "my.h5ad"
    path.write_bytes(content)
    with pytest.raises(CellsError, match=r"cannot be read as \.h5ad"):
        read(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CellsError, match=r"There is no file .*nothing.h5ad"):
        read(tmp_path / "nothing.h5ad")
    with pytest.raises(CellsError, match="is a folder"):
        read(tmp_path)
