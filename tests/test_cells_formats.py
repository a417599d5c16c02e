"""Every format gives the same cells, whatever the size of a chunk."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import psutil
import pytest
from cell_files import WRITERS, Cells, coordinates
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.sparse import csr_array, vstack

from loaders import cell_chunks, cells_mtx
from loaders.cells_readers import read
from tosg_graph.errors import CellsError
from tosg_graph.types import CHUNK_CELLS, MeasuredCells

FORMATS = pytest.mark.parametrize("name", WRITERS)


def whole(found: MeasuredCells) -> csr_array:
    """All chunks; each keeps what the contract of `MeasuredCells` says."""
    parts = list(found.chunks())
    for part in parts:
        assert isinstance(part, csr_array)
        assert part.dtype == np.int32
        assert part.has_canonical_format
        assert (part.data > 0).all()
        assert 0 < part.shape[0] <= CHUNK_CELLS
    return vstack(parts, format="csr")


def assert_same(found: MeasuredCells, cells: Cells) -> None:
    counts = whole(found).toarray()
    assert counts.shape == (len(found.barcodes), len(found.features))
    assert len(found.obs) == len(found.barcodes)
    # Some formats name the cells by their place, or hold only the genes that a cell has.
    held = [cells.features.index(feature) for feature in found.features]
    assert counts.tolist() == cells.counts[:, held].tolist()
    assert cells.counts.sum() == counts.sum()


@FORMATS
def test_counts_stay_at_their_cell_and_gene_in_chunks_of_any_size(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = coordinates()
    found = read(WRITERS[name](tmp_path, cells))
    for chunk in (1, 2, 3, 5, CHUNK_CELLS):
        monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", chunk)
        assert_same(found, cells)
        assert max(part.shape[0] for part in found.chunks()) <= chunk
    if name not in ("OmniCellTOSG", "Parquet names"):
        assert found.feature_ids == cells.ids
    if name != "OmniCellTOSG":
        assert found.barcodes == cells.barcodes


@st.composite
def measured(draw: st.DrawFn) -> Cells:
    """Sparse counts with empty cells, silent genes and the largest count; at least one is not zero."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=7))
    values = st.sampled_from([0, 0, 0, 1, 2, 7, 2**24, 2**24 - 1])  # float32 holds these exactly
    counts = draw(arrays(np.int64, shape, elements=values))
    counts[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 3
    return Cells(counts)


# Each way to read zarr once: its folders take long to write.
@pytest.mark.parametrize(
    "name", [n for n in WRITERS if n not in ("zarr 2 CSR", "zarr 2 dense", "zarr 3 CSC")]
)
@given(cells=measured(), chunk=st.integers(1, 8))
@settings(max_examples=6)
def test_any_counts_come_back(name: str, cells: Cells, chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell_chunks, "CHUNK_CELLS", chunk)
        patch.setattr(cell_chunks, "_ENTRIES", 3)
        if "gene" not in name:  # a block of text must show whether it goes gene by gene
            patch.setattr(cells_mtx, "_BLOCK", 48)
        square = cells.counts.shape[0] == cells.counts.shape[1] and name.startswith("mtx")
        options = {"rows": "cells" if name == "mtx cells x genes" else "genes"} if square else {}
        assert_same(read(WRITERS[name](Path(folder), cells), None, options), cells)


@pytest.mark.parametrize("name", ["10x v3", "10x v2", "mtx by cell", "mtx by gene", "loom", "zarr 2 CSC"])
def test_the_largest_count_comes_back(tmp_path: Path, name: str) -> None:
    cells = Cells(np.array([[0, 2**31 - 1], [1, 0], [0, 0]]))
    assert whole(read(WRITERS[name](tmp_path, cells))).toarray().tolist() == cells.counts.tolist()


def opened_below(folder: Path) -> list[str]:
    return [f.path for f in psutil.Process().open_files() if str(folder) in f.path]


@pytest.mark.parametrize("name", ["mtx by gene", "zarr 2 CSC"])
def test_the_temporary_file_goes_with_the_chunks(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = tempfile.TemporaryFile

    def recorded(**options: Any) -> Any:
        made.append(original(**options))
        return made[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", recorded)
    monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", 2)
    chunks = read(WRITERS[name](tmp_path, coordinates())).chunks()
    next(chunks)
    assert [file.closed for file in made] == [False]
    chunks.close()
    assert made[0].closed


def test_a_full_disk_says_where_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    found = read(WRITERS["mtx by gene"](tmp_path, coordinates()))
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(CellsError, match=r"is full; .* Set TMPDIR to another disk"):
        list(found.chunks())


@pytest.mark.parametrize("name", ["10x v3", "loom", "mtx gzipped", "Parquet tokens"])
def test_files_are_closed_when_the_chunks_end_or_are_given_up(tmp_path: Path, name: str) -> None:
    found = read(WRITERS[name](tmp_path, coordinates()))
    whole(found)
    assert not opened_below(tmp_path)
    chunks = found.chunks()
    next(chunks)
    chunks.close()
    assert not opened_below(tmp_path)


BAD = {0.5: "0.5", -1.0: "-1", float("nan"): "nan", float("inf"): "inf", 2.0**31: "2.14748e+09"}
WHOLE_ONLY = ("10x v2", "mtx by cell", "mtx by gene", "mtx gzipped", "zarr 2 CSC", "zarr 3 dense")


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, 0.5) for n in WRITERS if n not in WHOLE_ONLY]
    + [(n, value) for n in ("10x v3", "loom", "Parquet tokens", "OmniCellTOSG") for value in list(BAD)[1:]],
)
def test_what_is_no_raw_count_is_refused_with_cell_and_feature(
    tmp_path: Path, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cell_files import adata, write_10x_v3, write_loom, write_zarr

    counts = coordinates().counts.astype(float)
    counts[3, 2] = value
    cells = Cells(counts)
    if name in ("10x v3", "loom"):
        path = (write_10x_v3 if name == "10x v3" else write_loom)(tmp_path, cells, dtype="float32")
    elif name.startswith("zarr"):
        path = write_zarr(tmp_path, adata(cells, np.asarray if "dense" in name else csr_of))
    elif name.startswith("Parquet"):
        path = parquet_with(tmp_path, cells, name)
    else:
        path = WRITERS[name](tmp_path, cells)
    monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", 2)  # so that the cell is not in the first chunk
    found = read(path)
    with pytest.raises(CellsError) as refusal:
        whole(found)
    assert f"cell {found.barcodes[3]!r}, feature 'G00002' is {BAD[value]}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def csr_of(counts: np.ndarray) -> csr_array:
    return csr_array(counts)


def parquet_with(folder: Path, cells: Cells, name: str) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = WRITERS[name](folder, coordinates())
    file = folder / "train-00000-of-00001.parquet"
    table = pq.read_table(file)
    rows = table["expressions"].to_pylist()
    rows[3][-2] = float(cells.counts[3, 2])
    column = table.column_names.index("expressions")
    pq.write_table(table.set_column(column, "expressions", pa.array(rows, pa.list_(pa.float32()))), file)
    return path


@pytest.fixture(scope="module")
def pbmc(shared_data: Path) -> anndata.AnnData:
    found = anndata.read_h5ad(shared_data / "cells" / "pbmc3k.h5ad")
    return found[:300].copy()


@pytest.mark.parametrize(
    "name",
    ["10x v3", "10x v2", "mtx by cell", "mtx by gene", "mtx gzipped", "loom", "zarr 2 CSR", "zarr 3 CSC"],
)
def test_real_cells_are_the_same_in_every_format(tmp_path: Path, pbmc: anndata.AnnData, name: str) -> None:
    """300 cells x 13,714 genes of 10x; names and ids are numbered, so that every writer takes them."""
    counts = pbmc.X.toarray().astype(np.int64)
    found = read(WRITERS[name](tmp_path, Cells(counts)))
    assert whole(found).sum() == counts.sum() > 500_000
    assert (whole(found) != csr_array(counts)).nnz == 0
