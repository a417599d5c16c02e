"""Files of 10x Genomics, HDF5 and Matrix Market: which are taken, and what each refused one is told."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cell_files import Cells, coordinates, write_10x_v2, write_10x_v3, write_mtx
from scipy.sparse import vstack

from loaders import cell_chunks, cells_10x, cells_mtx
from loaders.cells_10x import feature_types
from loaders.cells_readers import read
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

CELLS = coordinates()
MIXED = ["Gene Expression", "Peaks", "Gene Expression", "Peaks"]


def refusal(path: Path, layer: str | None = None, **options: str) -> str:
    """What reading the whole file ends with: one line that names it."""
    with pytest.raises(CellsError) as raised:
        list(read(path, layer, options).chunks())
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("gz", [False, True])
def test_scanpy_reads_the_same_from_a_folder(tmp_path: Path, gz: bool) -> None:
    import scanpy

    folder = write_mtx(tmp_path, CELLS, gz=gz, old=not gz)
    same_as(scanpy.read_10x_mtx(folder), read(folder))


@pytest.mark.parametrize("write", [write_10x_v2, write_10x_v3], ids=["v2", "v3"])
def test_scanpy_reads_the_same_from_hdf5(tmp_path: Path, write: Callable[..., Path]) -> None:
    import scanpy

    path = write(tmp_path, CELLS)
    same_as(scanpy.read_10x_h5(path), read(path))


def same_as(expected: Any, found: MeasuredCells) -> None:
    assert found.barcodes == list(expected.obs_names)
    assert found.features == list(expected.var_names)
    assert found.feature_ids == list(expected.var["gene_ids"])
    assert vstack(list(found.chunks())).toarray().tolist() == expected.X.toarray().tolist()


# --------------------------------------------------------------------------- feature types and names


@pytest.mark.parametrize("write", [write_10x_v3, write_mtx], ids=["h5", "mtx"])
def test_several_feature_types_are_refused_until_genes_are_asked_for(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    path = write(tmp_path, CELLS, types=MIXED)
    assert "several types: 2 of 'Gene Expression', 2 of 'Peaks'" in refusal(path)
    assert "--layer 'Gene Expression'" in refusal(path)
    found = read(path, "Gene Expression")
    assert found.features == ["G00000", "G00002"]
    assert found.feature_ids == [CELLS.ids[0], CELLS.ids[2]]
    counts = vstack(list(found.chunks())).toarray()
    assert counts.tolist() == CELLS.counts[:, [0, 2]].tolist()
    assert found.note == "not read: 2 features of 'Peaks'"
    assert "are no genes" in refusal(path, "Peaks")
    assert "no features of type 'Guides'" in refusal(path, "Guides")


def test_a_file_of_proteins_alone_is_refused(tmp_path: Path) -> None:
    path = write_10x_v3(tmp_path, CELLS, types=["Antibody Capture"] * 4)
    assert "'Antibody Capture' are no genes" in refusal(path)
    assert feature_types(path) == {"Antibody Capture": 4}


def test_a_symbol_that_several_genes_have_gives_way_to_their_ids(tmp_path: Path) -> None:
    found = read(write_10x_v3(tmp_path, CELLS, symbols=["A", "TBCE", "TBCE", ""]))
    assert found.features == ["A", CELLS.ids[1], CELLS.ids[2], CELLS.ids[3]]


def test_one_genome_of_an_old_file_is_chosen_by_name(tmp_path: Path) -> None:
    path = write_10x_v2(tmp_path, CELLS, ("GRCh38", "mm10"))
    assert "several genomes: GRCh38, mm10. Choose one by --layer." in refusal(path)
    assert "no genome 'hg19'" in refusal(path, "hg19")
    found = read(path, "mm10")
    counts = vstack(list(found.chunks())).toarray()
    assert counts.tolist() == (CELLS.counts + (CELLS.counts > 0)).tolist()


# --------------------------------------------------------------------------- broken HDF5


def changed(tmp_path: Path, name: str, value: Any) -> Path:
    path = write_10x_v3(tmp_path, CELLS)
    with h5py.File(path, "r+") as file:
        del file[f"matrix/{name}"]
        if value is not None:
            file[f"matrix/{name}"] = value
    return path


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("shape", np.array([4, 6]), "the matrix is 4 x 6, but the file names 4 features and 5 barcodes"),
        ("barcodes", np.array(["a", "b", "c", "d"], "S1"), "names 4 features and 4 barcodes"),
        ("barcodes", np.array(["a", "b", "c", "a", "e"], "S1"), "repeats the barcode 'a'"),
        ("barcodes", np.array(["a", "b", "", "d", "e"], "S1"), "barcode 3 is empty"),
        ("features/id", np.array(["E1", "E2", "E3"], "S2"), "has 3 ids of features, 4 names and 4 types"),
        ("indptr", np.array([0, 3, 7, 11, 15]), "indptr has 5 values up to 15, for 5 rows"),
        ("indptr", np.array([0, 3, 7, 11, 15, 20]), "up to 20, for 5 rows, 19 values and 19 indices"),
        ("indptr", np.array([0, 7, 3, 11, 15, 19]), "indptr has 6 values"),
        ("indices", np.arange(19), "index 4, of an axis that is 4 long"),
        ("indices", np.full(19, -1), "index -1, of an axis that is 4 long"),
        ("data", np.arange(18), "18 values and 19 indices"),
        ("data", None, "is no 10x HDF5: it has matrix, but no matrix with features"),
        ("barcodes", None, "no matrix with features and no genome"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    tmp_path: Path, name: str, value: Any, says: str
) -> None:
    assert says in refusal(changed(tmp_path, name, value))


def test_features_that_repeat_in_id_and_symbol_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path, "features/id", np.array(["E1", "E1", "E3", "E4"], "S2"))
    with h5py.File(path, "r+") as file:
        file["matrix/features/name"][:] = np.array(["A", "A", "C", "D"], "S15")
    assert "repeats the feature 'E1'" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_a_truncated_file_is_one_line(tmp_path: Path, share: float) -> None:
    path = write_10x_v3(tmp_path, CELLS)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cannot be read as 10x HDF5" in refusal(path)


def test_bytes_damaged_inside_are_found_when_they_are_read(tmp_path: Path) -> None:
    path = write_10x_v3(tmp_path, coordinates(50, 40))
    with h5py.File(path) as file:
        place = file["matrix/data"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset + 20 : place.byte_offset + 60] = bytes(40)
    path.write_bytes(content)
    found = cells_10x.read(path)
    with pytest.raises(CellsError, match="cannot be read as 10x HDF5"):
        list(found.chunks())


def test_an_anndata_file_by_another_name_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "my.h5"
    with h5py.File(path, "w") as file:
        file.create_group("obs"), file.create_group("X")
    assert "It looks like AnnData: name it .h5ad" in refusal(path)


def test_no_cells_are_nothing_to_add(tmp_path: Path) -> None:
    none = Cells(np.zeros((0, 4), int))
    assert "0 cells and 4 genes" in refusal(write_10x_v3(tmp_path, none))


# --------------------------------------------------------------------------- Matrix Market


def edited(tmp_path: Path, line: int, text: str | None, **how: Any) -> Path:
    """A good folder of which one line of the matrix is replaced, or left out."""
    folder = write_mtx(tmp_path, CELLS, **how)
    lines = (folder / "matrix.mtx").read_text().splitlines()
    line %= len(lines)
    lines[line : line + 1] = [] if text is None else [text]
    (folder / "matrix.mtx").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        (0, "not a matrix", "is no Matrix Market file"),
        (
            0,
            "%%MatrixMarket matrix array integer general",
            "is array integer general; counts are 'coordinate",
        ),
        (0, "%%MatrixMarket matrix coordinate pattern general", "is coordinate pattern general"),
        (0, "%%MatrixMarket matrix coordinate complex general", "is coordinate complex general"),
        (2, "4 5", "the line of sizes is '4 5', not three numbers"),
        (2, "4 6 19", "is 4 x 6, but features.tsv names 4 features and barcodes.tsv 5 cells"),
        (2, "3 5 19", "is 3 x 5"),
        (2, "4 5 20", "announces 20 entries but holds 19"),
        (2, "4 5 18", "announces 18 entries but holds 19"),
        (-1, None, "announces 19 entries but holds 18"),
        (-1, "5 5 1", "entry 19 is in row 5, of 4"),
        (-1, "4 0 1", "entry 19 is in column 0, of 5"),
        (-1, "4 5", "cannot be read as Matrix Market"),
        (-1, "4 5 1 1", "cannot be read as Matrix Market"),
        (-1, "4 5 0.5", "cannot be read as Matrix Market"),
        (-1, "4 5 many", "cannot be read as Matrix Market"),
        (-1, "4 5 99999999999999999999", "cannot be read as Matrix Market"),
        (-1, "4 5 -7", "cell 'c4-1', feature 'G00003' is -7"),
        (-1, "4 5 2147483648", "cell 'c4-1', feature 'G00003' is 2.14748e+09"),
        (3, "2   1   1", "'2   1   1' is no entry"),
    ],
)
def test_a_matrix_with_one_wrong_line_is_refused(tmp_path: Path, line: int, text: str, says: str) -> None:
    folder = edited(tmp_path, line, text)
    with pytest.raises(CellsError) as raised:
        list(read(folder).chunks())
    assert says in str(raised.value)
    assert str(folder / "matrix.mtx") in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["4 5 0.5", "4 5 nan", "4 5 inf", "4 5 -1"])
def test_values_that_are_no_counts_name_cell_and_feature(tmp_path: Path, text: str) -> None:
    folder = edited(tmp_path, -1, text, field="real")
    with pytest.raises(CellsError, match=f"cell 'c4-1', feature 'G00003' is {text.split()[2]}"):
        list(read(folder).chunks())


@pytest.mark.parametrize("tabs", [False, True])
def test_whole_numbers_may_be_written_as_reals_and_between_tabs(tmp_path: Path, tabs: bool) -> None:
    folder = edited(tmp_path, -1, "4 5 4.03e2", field="real")
    if tabs:
        lines = (folder / "matrix.mtx").read_text().splitlines()
        text = "\r\n".join([*lines[:3], *(line.replace(" ", "\t") for line in lines[3:])])
        (folder / "matrix.mtx").write_text(text)
    assert vstack(list(read(folder).chunks())).toarray().tolist() == CELLS.counts.tolist()


def test_an_order_that_changes_half_way_is_refused_not_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_mtx(tmp_path, CELLS)
    lines = (folder / "matrix.mtx").read_text().splitlines()
    (folder / "matrix.mtx").write_text("\n".join([*lines[:3], *lines[6:], *lines[3:6]]) + "\n")
    monkeypatch.setattr(cells_mtx, "_BLOCK", 30)
    assert "sorted by cell at first but not after cell 5" in refusal(folder)


def test_a_matrix_without_entries_has_silent_cells(tmp_path: Path) -> None:
    found = read(write_mtx(tmp_path, Cells(np.zeros((5, 4), int))))
    assert vstack(list(found.chunks())).toarray().tolist() == [[0] * 4] * 5


def test_the_rows_of_a_square_matrix_must_be_named(tmp_path: Path) -> None:
    square = coordinates(4, 4)
    folder = write_mtx(tmp_path, square)
    assert "is 4 x 4: genes x cells or cells x genes cannot be told" in refusal(folder)
    for rows, counts in (("genes", square.counts), ("cells", square.counts.T)):
        found = read(folder, None, {"rows": rows})
        assert vstack(list(found.chunks())).toarray().tolist() == counts.tolist()
    assert "rows=columns does not fit" in refusal(folder, rows="columns")


def test_rows_that_do_not_fit_the_lists_are_refused(tmp_path: Path) -> None:
    assert "rows=cells does not fit" in refusal(write_mtx(tmp_path, CELLS), rows="cells")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("barcodes.tsv", "needs exactly one of barcodes.tsv, barcodes.tsv.gz beside it; there is none"),
        ("features.tsv", "needs exactly one of features.tsv, features.tsv.gz, genes.tsv, genes.tsv.gz"),
    ],
)
def test_a_companion_that_is_missing_is_named(tmp_path: Path, name: str, says: str) -> None:
    (write_mtx(tmp_path, CELLS) / name).unlink()
    assert says in refusal(tmp_path)


def test_two_candidates_for_a_companion_are_named(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path, CELLS)
    (folder / "genes.tsv").write_text("x\n")
    assert "there are features.tsv, genes.tsv" in refusal(folder)


def test_a_folder_of_several_matrices_wants_one_named(tmp_path: Path) -> None:
    write_mtx(tmp_path, CELLS, prefix="GSM1_")
    write_mtx(tmp_path, coordinates(3, 4), prefix="GSM2_", gz=True)
    assert "it has 2 (GSM1_matrix.mtx, GSM2_matrix.mtx.gz). Name the file to add." in refusal(tmp_path)
    assert len(read(tmp_path / "GSM1_matrix.mtx").barcodes) == 5
    assert len(read(tmp_path / "GSM2_matrix.mtx.gz").barcodes) == 3


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("barcodes.tsv", "a\nb\nc\nd\na\n", "repeats the barcode 'a'"),
        ("barcodes.tsv", "a\nb\nc\nd\n", "barcodes.tsv 4 cells"),
        ("features.tsv", "E1\tA\nE2\tB\n", "features.tsv names 2 features"),
        ("features.tsv", "E1\tA\nE2\nE3\tC\nE4\tD\n", "lines have 1 to 2 fields"),
        ("features.tsv", "E1\tA\nE1\tA\nE3\tC\nE4\tD\n", "repeats the feature 'E1'"),
        ("barcodes.tsv", "\xff\xfe", "cannot be read as tab-separated text"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    folder = write_mtx(tmp_path, CELLS)
    (folder / name).write_bytes(text.encode("latin-1"))
    assert says in refusal(folder)


def test_a_list_of_names_alone_is_taken(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path, CELLS)
    (folder / "features.tsv").write_text("".join(f"{i}\n" for i in CELLS.ids))
    found = read(folder)
    assert found.features == found.feature_ids == CELLS.ids


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
def test_a_gzip_file_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_mtx(tmp_path, coordinates(40, 30), gz=True)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) - 30])
    with pytest.raises(CellsError, match="cannot be read as") as raised:
        list(read(folder).chunks())
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_gzip_file_that_is_none_is_refused(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path, CELLS, gz=True)
    (folder / "matrix.mtx.gz").write_bytes(gzip.decompress((folder / "matrix.mtx.gz").read_bytes()))
    assert "Not a gzipped file" in refusal(folder)


def test_a_file_cut_short_after_a_chunk_is_refused_when_it_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_chunks, "CHUNK_CELLS", 1)
    monkeypatch.setattr(cells_mtx, "_BLOCK", 48)
    chunks = read(edited(tmp_path, -1, None)).chunks()
    assert next(chunks).toarray().tolist() == [CELLS.counts[0].tolist()]
    with pytest.raises(CellsError, match="announces 19 entries but holds 18"):
        list(chunks)
