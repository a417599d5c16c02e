"""Cells out again: other programs read the same counts, and what was written can be added again."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scanpy as sc
import toy_store
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from test_cli import tosg

from loaders.cells_h5ad import read
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells_export import export_cells
from tosg_graph.count_files import CountMatrix, feature_table, write_h5ad, write_lists, write_long, write_mtx
from tosg_graph.errors import CohortError, ExportError
from tosg_graph.saved_cohorts import SavedCohort, save

NAMES = ["S10", "S20", "S30", "orphan", "S50"]


def no_terms(column: str, value: str) -> None:
    return None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    """Two datasets in five blocks; the second has a column that the first lacks."""
    made = toy_store.make(tmp_path_factory.mktemp("store"))
    toy_store.add(made, 10, 7, "more", treated=pa.array([True, None] * 3 + [False]))
    return made


@pytest.fixture
def reader(store: AbundanceStore) -> Any:
    with AbundanceReader.open(store) as reader:
        yield reader


def numbers(names: Any) -> list[int]:
    return [int(name.split("-")[1]) for name in names]


def expected(cells: list[int]) -> list[list[int]]:
    return [[toy_store.count(k, column) for column in range(5)] for k in cells]


# --------------------------------------------------------------------------- what other programs read


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_scanpy_reads_the_h5ad(
    reader: AbundanceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr("tosg_graph.cells_export.CHUNK_CELLS", chunk)
    done = export_cells(reader, "n_counts > 600", no_terms, tmp_path / "out.h5ad")
    data = sc.read_h5ad(tmp_path / "out.h5ad")
    kept = [k for k in range(17) if sum(toy_store.count(k, c) for c in range(5)) > 600]
    assert sorted(numbers(data.obs_names)) == kept
    assert (done.cells, done.features) == (len(kept), 5) == data.shape
    assert data.X.toarray().tolist() == expected(numbers(data.obs_names))
    assert data.X.dtype == np.int32
    assert list(data.var_names) == NAMES
    assert data.var["feature"].tolist() == toy_store.FEATURES
    assert data.var["gene_ids"].isna().tolist() == [False, False, False, True, False]
    assert data.uns["cells"] == "n_counts > 600"


def test_every_column_of_the_cells_is_in_obs(reader: AbundanceReader, tmp_path: Path) -> None:
    export_cells(reader, "true", no_terms, tmp_path / "out.h5ad")
    obs = sc.read_h5ad(tmp_path / "out.h5ad").obs
    cells = reader.cells("true", no_terms)
    assert set(obs.columns) == set(cells.column_names) - {"block", "cell"}
    for row in cells.to_pylist():
        found = obs.loc[row["cell_id"]]
        for name in ("barcode", "dataset", "cell_type", "donor", "n_counts", "treated"):
            assert (None if pd.isna(found[name]) else found[name]) == row[name], name


def test_scanpy_reads_the_10x_folder(
    reader: AbundanceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tosg_graph.cells_export.CHUNK_CELLS", 4)
    export_cells(reader, "true", no_terms, tmp_path / "out", format_="mtx")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "barcodes.tsv.gz",
        "cells.parquet",
        "features.tsv.gz",
        "matrix.mtx.gz",
    ]
    data = sc.read_10x_mtx(tmp_path / "out")
    assert data.X.toarray().tolist() == expected(numbers(data.obs_names))
    assert list(data.var_names) == NAMES
    assert data.var["gene_ids"].tolist() == toy_store.FEATURES
    assert pq.read_table(tmp_path / "out" / "cells.parquet")["cell_id"].to_pylist() == list(data.obs_names)
    with gzip.open(tmp_path / "out" / "matrix.mtx.gz", "rt") as file:
        assert file.readline() == "%%MatrixMarket matrix coordinate integer general\n"


def test_parquet_has_two_lists_per_cell(
    reader: AbundanceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tosg_graph.cells_export.CHUNK_CELLS", 5)
    export_cells(reader, "true", no_terms, tmp_path / "out", format_="parquet")
    genes = pq.read_table(tmp_path / "out" / "genes.parquet").to_pylist()
    assert [g["name"] for g in genes] == NAMES
    assert [g["gene"] for g in genes] == list(range(5))
    rows = pq.read_table(tmp_path / "out" / "cells.parquet").to_pylist()
    assert len(rows) == 17
    for row in rows:
        k = int(row["cell_id"].split("-")[1])
        found = dict(zip(row["genes"], row["counts"], strict=True))
        assert [found.get(c, 0) for c in range(5)] == expected([k])[0]
        assert row["barcode"] == f"bc{k}"


def test_the_same_export_gives_the_same_bytes(reader: AbundanceReader, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_cells(reader, "true", no_terms, tmp_path / f"{name}.h5ad")
        export_cells(reader, "true", no_terms, tmp_path / name, format_="mtx")
    assert (tmp_path / "a.h5ad").read_bytes() == (tmp_path / "b.h5ad").read_bytes()
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


# --------------------------------------------------------------------------- round trips

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=6
)


@st.composite
def matrices(draw: st.DrawFn) -> tuple[CountMatrix, np.ndarray[Any, Any]]:
    cells = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
    features = draw(st.lists(texts, min_size=1, max_size=5, unique=True))
    symbols = [draw(st.none() | texts) for _ in features]
    values = st.one_of(st.just(0), st.integers(0, 3), st.just(2**31 - 1))
    size = (len(cells), len(features))
    dense = np.array([[draw(values) for _ in features] for _ in cells], np.int32).reshape(size)
    cut = draw(st.integers(1, len(cells)))
    obs = pa.table(
        {
            "cell_id": cells,
            "donor": pa.array([draw(st.none() | texts) for _ in cells], pa.string()),
            "age": pa.array([draw(st.none() | st.integers(-(2**63), 2**63 - 1)) for _ in cells], pa.int64()),
            "share": pa.array([draw(st.none() | st.floats(allow_nan=False)) for _ in cells], pa.float64()),
            "good": pa.array([draw(st.none() | st.booleans()) for _ in cells], pa.bool_()),
        }
    )
    axis = pa.table(
        {
            "column": pa.array(range(len(features)), pa.int32()),
            "feature": features,
            "gene_id": pa.array([s and f"HGNC:{s}" for s in symbols], pa.string()),
            "symbol": pa.array(symbols, pa.string()),
        }
    )

    def chunks() -> Any:
        return (csr_array(dense[start : start + cut]) for start in range(0, len(cells), cut))

    return CountMatrix(cells, obs, feature_table(axis), chunks, {}), dense


@settings(max_examples=25)
@given(matrices())
def test_h5ad_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[CountMatrix, np.ndarray[Any, Any]]
) -> None:
    matrix, dense = made
    path = tmp_path_factory.mktemp("round") / "trip.h5ad"
    write_h5ad(matrix, path)
    data = anndata.read_h5ad(path)
    assert data.X.toarray().tolist() == dense.tolist()
    assert list(data.obs_names) == matrix.names
    assert list(data.var_names) == matrix.features["name"].to_pylist()
    assert len(set(data.var_names)) == len(data.var_names)
    back = read(path)  # what `tosg cells add` reads
    assert (back.barcodes, back.features) == (matrix.names, matrix.features["name"].to_pylist())
    assert back.obs.select(matrix.obs.column_names).to_pylist() == matrix.obs.to_pylist()


@settings(max_examples=40)
@given(matrices())
def test_folders_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[CountMatrix, np.ndarray[Any, Any]]
) -> None:
    matrix, dense = made
    folder = tmp_path_factory.mktemp("round")
    write_mtx(matrix, folder / "mtx")
    with gzip.open(folder / "mtx" / "matrix.mtx.gz", "rt") as file:
        _, size, *lines = file.read().splitlines()
    found = np.zeros_like(dense)
    for line in lines:
        gene, cell, count = map(int, line.split())
        found[cell - 1, gene - 1] = count
    assert found.tolist() == dense.tolist()
    assert size == f"{dense.shape[1]} {dense.shape[0]} {np.count_nonzero(dense)}"
    write_lists(matrix, folder / "lists")
    rows = pq.read_table(folder / "lists" / "cells.parquet")
    assert rows.select(matrix.obs.column_names).to_pylist() == matrix.obs.to_pylist()
    for row, values in zip(rows.to_pylist(), dense.tolist(), strict=True):
        assert dict(zip(row["genes"], row["counts"], strict=True)) == {
            g: v for g, v in enumerate(values) if v
        }


class Genes:
    """A graph that knows the genes of the toy store and no term."""

    def rows(self, statement: str, **_: Any) -> list[dict[str, Any]]:
        known = [f for f in toy_store.FEATURES if f.startswith("HGNC")] if "symbol" in statement else []
        no = {"ensembl_id": None, "previous": None, "alias": None}
        return [{"id": gene, "symbol": f"S{gene[5:]}", **no} for gene in known]


def test_what_was_exported_can_be_added_to_an_empty_store(reader: AbundanceReader, tmp_path: Path) -> None:
    from tosg_graph.cells import add
    from tosg_graph.obs import ObsMapping

    export_cells(reader, "true", no_terms, tmp_path / "out.h5ad")
    store = AbundanceStore.open(tmp_path / "second")
    graph: Any = Genes()
    add(tmp_path / "out.h5ad", graph, store, mapping=ObsMapping())
    with AbundanceReader.open(store) as second:
        columns = second.axis_columns(["HGNC:10", "HGNC:20", "HGNC:30", "HGNC:50"])
        assert len(columns) == 4
        cells = second.cells("true", no_terms)
        found = second.csr(cells["cell_id"].to_pylist(), list(columns.values())).toarray()
        wanted = np.array(expected(numbers(cells["barcode"].to_pylist())))
        assert found.tolist() == wanted[:, [toy_store.FEATURES.index(gene) for gene in columns]].tolist()
        assert sorted(second.axis["feature"].to_pylist()) == sorted(toy_store.FEATURES)
        before = {r["cell_id"]: r for r in reader.cells("true", no_terms).to_pylist()}
        for row in cells.to_pylist():
            assert row["n_counts"] == before[row["barcode"]]["n_counts"]
            assert row["donor"] == before[row["barcode"]]["donor"]


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("format_", ["h5ad", "mtx", "parquet"])
def test_what_exists_is_not_overwritten(reader: AbundanceReader, tmp_path: Path, format_: str) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(ExportError, match="exists already and is not overwritten"):
        export_cells(reader, "true", no_terms, out, format_=format_)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("format_", ["h5ad", "mtx", "parquet"])
def test_an_export_that_breaks_off_leaves_nothing(
    reader: AbundanceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    def broken(*_: Any) -> Any:
        yield csr_array((4, 5), dtype=np.int32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reader, "iter_csr", broken)
    with pytest.raises(ExportError, match=r"No space left on device\. Nothing was left"):
        export_cells(reader, "true", no_terms, tmp_path / "out", format_=format_)
    assert not list(tmp_path.iterdir())


def odd(column: str = "donor", feature: str = "x") -> CountMatrix:
    none = pa.array([None], pa.string())
    axis = pa.table(
        {"column": pa.array([0], pa.int32()), "feature": [feature], "gene_id": none, "symbol": none}
    )
    counts = csr_array(np.ones((1, 1), np.int32))
    return CountMatrix(["c"], pa.table({column: ["a"]}), feature_table(axis), lambda: iter([counts]), {})


@pytest.mark.parametrize(
    ("write", "matrix", "says"),
    [
        (write_h5ad, odd("a/b"), "'a/b' has a name that .h5ad cannot hold. Choose --format parquet"),
        (write_h5ad, odd("_index"), "'_index' has a name that .h5ad cannot hold"),
        (write_mtx, odd(feature="x\ty"), "has a tab or a line break. Choose --format h5ad"),
        (write_lists, odd("counts"), "'counts', the name of a list. Choose --format h5ad"),
        (write_long, odd("symbol"), "'symbol', as the features do. Write .h5ad instead"),
    ],
    ids=["a slash", "a reserved name", "a tab", "the name of a list", "the name of a feature's column"],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, write: Any, matrix: CountMatrix, says: str
) -> None:
    with pytest.raises(ExportError, match=says):
        write(matrix, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_bad_questions_are_refused(reader: AbundanceReader, tmp_path: Path) -> None:
    for expression, says in (
        ("donor = 'd0' AND n_counts < 0", "No cell is selected"),
        ("donr = 'd0'", "no column 'donr'"),
    ):
        with pytest.raises(CohortError, match=says):
            export_cells(reader, expression, no_terms, tmp_path / "out")
    with pytest.raises(ExportError, match=r"'loom' is no format of cells\. Choose h5ad, mtx, parquet"):
        export_cells(reader, "true", no_terms, tmp_path / "out", format_="loom")
    assert not list(tmp_path.iterdir())


def test_the_command_needs_no_server_where_no_term_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOSG_HOME", str(tmp_path))
    toy_store.make(tmp_path / "store")
    said = tosg("cells", "export", "--cells", "donor = 'd1'", "--out", str(tmp_path / "d1.h5ad"))
    assert "3 cells, 5 features" in said
    assert sc.read_h5ad(tmp_path / "d1.h5ad").n_obs == 3
    assert "exists already" in tosg("cells", "export", "--out", str(tmp_path / "d1.h5ad"), code=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "cohorts", SavedCohort("some", "donor = 'd1'", None, {}, False, 3, 0))
    tosg("cells", "export", "--cells", "@some", "--store-version", "0", "--out", str(tmp_path / "some.h5ad"))
    assert sc.read_h5ad(tmp_path / "some.h5ad").n_obs == 3
    assert "has no version 7" in tosg("cells", "export", "--store-version", "7", "--out", "x", code=1)
    tosg("cells", "export", "--out", "~/all", "--format", "mtx")
    tosg("cells", "pseudobulk", "--min-cells", "1", "--out", "~/sums.h5ad")
    assert sc.read_10x_mtx(tmp_path / "all").n_obs == 10
    assert sc.read_h5ad(tmp_path / "sums.h5ad").n_obs > 0
