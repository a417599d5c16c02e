"""Metacells of an OmniCellTOSG folder: folded back to genes exactly, or refused with the first example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_files import coordinates, transcript_columns, write_omnicelltosg
from scipy.sparse import vstack

from loaders import cell_chunks
from loaders.cells_omnicelltosg import METADATA
from loaders.cells_readers import read
from tosg_graph.errors import TosgError

CELLS = coordinates(5, 7)
COLUMNS = transcript_columns(7)
SHARD = "cellxgene_small_intestine_part_0.npy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_omnicelltosg(tmp_path, CELLS)


def refusal(path: Path, layer: str | None = None, **options: str) -> str:
    with pytest.raises(TosgError) as raised:
        list(read(path, layer, options).chunks())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def with_value(folder: Path, row: int, column: int, value: float, shard: str = SHARD) -> None:
    matrix = np.load(folder / "expression_matrix" / shard)
    matrix[row, column] = value
    np.save(folder / "expression_matrix" / shard, matrix)


def test_cells_are_named_by_their_place_and_keep_their_metadata(folder: Path) -> None:
    found = read(folder)
    assert found.barcodes == [
        *(f"cellxgene_small_intestine_part_0.npy:{row}" for row in range(3)),
        *(f"cellxgene_small_intestine_part_1.npy:{row}" for row in range(2)),
    ]
    assert found.obs["donor_id"].to_pylist() == ["d0", "d1", "d2", "d3", "d4"]
    assert found.features == CELLS.features
    assert vstack(list(found.chunks())).toarray().tolist() == CELLS.counts.tolist()


def test_one_shard_is_read_alone(folder: Path) -> None:
    (folder / "expression_matrix" / SHARD).unlink()
    found = read(folder / "expression_matrix" / "cellxgene_small_intestine_part_1.npy")
    assert found.obs["donor_id"].to_pylist() == ["d3", "d4"]
    assert vstack(list(found.chunks())).toarray().tolist() == CELLS.counts[3:].tolist()
    assert f"lacks 1 of 2 files of the metadata (first {SHARD})" in refusal(folder)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_copies_of_a_gene_that_differ_are_refused(
    folder: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", 1)
    assert len(COLUMNS[3]) == 3
    with_value(folder, 2, sorted(COLUMNS[3])[1], value)
    columns = sorted(COLUMNS[3])
    assert (
        f"row 2, gene 'G00003': its columns {columns} hold 203, {value:g}, 203, but the copies of one gene are equal"
        in refusal(folder)
    )


def test_a_copy_that_alone_has_a_value_is_refused(folder: Path) -> None:
    with_value(folder, 0, max(COLUMNS[0]), 9)  # gene 0 of cell 0 has no count
    assert "row 0, gene 'G00000'" in refusal(folder)
    assert "hold 0, 0, 9" in refusal(folder)


def test_a_first_copy_that_alone_has_a_value_is_refused(folder: Path) -> None:
    with_value(folder, 0, min(COLUMNS[0]), 9)
    assert "hold 9, 0, 0" in refusal(folder)


def test_a_value_in_a_column_of_no_gene_is_refused(folder: Path) -> None:
    width = np.load(folder / "expression_matrix" / SHARD).shape[1]
    nobody = min(set(range(width)) - {at for own in COLUMNS for at in own})
    with_value(folder, 1, nobody, 4)
    assert f"row 1 has 4 in column {nobody}, which belongs to no gene" in refusal(folder)


@pytest.mark.parametrize(("value", "says"), [(2.5, "2.5"), (-1.0, "-1"), (np.nan, "nan")])
def test_a_fraction_in_all_copies_is_refused_with_its_metacell(folder: Path, value: float, says: str) -> None:
    for column in COLUMNS[3]:
        with_value(folder, 1, column, value)
    assert f"cell '{SHARD}:1', feature 'G00003' is {says}" in refusal(folder)


def rewritten(folder: Path, change: Any) -> None:
    table = pd.read_parquet(folder / METADATA)
    change(table).to_parquet(folder / METADATA, index=False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="matrix_row_idx"), "has no column matrix_row_idx"),
        (lambda t: t.iloc[:0], "has no cells"),
        (lambda t: t[t["donor_id"] != "d1"], "is 3 x 18, but the metadata has 2 cells in rows 0 to 2"),
        (lambda t: pd.concat([t, t[t["donor_id"] == "d1"]]), "the metadata has 4 cells in rows 0 to 2"),
        (lambda t: t.replace({"matrix_row_idx": {2: 7}}), "the metadata has 3 cells in rows 0 to 7"),
        (
            lambda t: t.replace({"matrix_file_path": {SHARD: "../x.npy"}}),
            "'../x.npy' in matrix_file_path is no file",
        ),
    ],
    ids=["no row numbers", "no cells", "a row too few", "a row twice", "a row outside", "a path"],
)
def test_metadata_that_do_not_fit_the_matrices_are_refused(folder: Path, change: Any, says: str) -> None:
    rewritten(folder, change)
    assert says in refusal(folder)


def test_a_shard_of_another_width_is_refused(folder: Path) -> None:
    path = folder / "expression_matrix" / "cellxgene_small_intestine_part_1.npy"
    np.save(path, np.load(path)[:, :-1])
    assert (
        f"is 2 x 17, but the metadata has 2 cells in rows 0 to 1 of it, and {SHARD} has 18 columns"
        in refusal(folder)
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_a_truncated_matrix_is_one_line(folder: Path, share: float) -> None:
    path = folder / "expression_matrix" / SHARD
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert f"{SHARD} cannot be read as a NumPy matrix" in refusal(folder)


def test_nothing_is_unpickled(folder: Path) -> None:
    np.save(folder / "expression_matrix" / SHARD, np.array([{"a": 1}], object), allow_pickle=True)
    assert "cannot be read as a NumPy matrix: Array can't be memory-mapped" in refusal(folder)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("gene_name,indices\nA,1;99\n", "column 99 of gene 'A': the matrices have 18"),
        ("gene_name,indices\nA,1\nB,1\n", "column 1 of gene 'B': another gene has it too"),
        ("gene_name,indices\nA,1\nA,2\n", "gene 'A' again"),
        ("gene_name,indices\nA,x\n", "indices 'x' are not numbers"),
        ("gene,indices\nA,1\n", "gene_name"),
    ],
)
def test_a_gene_index_that_does_not_fit_is_refused(folder: Path, index: str, says: str) -> None:
    (folder / "bmg_gene_index.csv").write_text(index)
    assert says in refusal(folder)


def test_a_gene_index_elsewhere_is_named(folder: Path, tmp_path: Path) -> None:
    moved = (folder / "bmg_gene_index.csv").rename(tmp_path / "index.csv")
    assert "There is no" in refusal(folder)
    assert "--option gene_index=FILE" in refusal(folder)
    assert len(read(folder, None, {"gene_index": str(moved)}).features) == 7


def test_layers_are_refused(folder: Path) -> None:
    assert "has one matrix; leave out --layer" in refusal(folder, "raw")


def test_a_folder_without_metadata_is_told_what_is_missing(folder: Path) -> None:
    (folder / METADATA).unlink()
    assert f"has no {METADATA}" in refusal(folder)
