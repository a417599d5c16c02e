"""Parquet with lists of genes and counts: which is taken, and what each refused one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cell_files import coordinates, lists, write_parquet
from scipy.sparse import vstack

from loaders.cells_readers import read
from tosg_graph.errors import CellsError

CELLS = coordinates()
FILE = "train-00000-of-00001.parquet"


def refusal(path: Path, layer: str | None = None, **options: str) -> str:
    with pytest.raises(CellsError) as raised:
        list(read(path, layer, options).chunks())
    assert "\n" not in str(raised.value)
    return str(raised.value)


def counts_in(path: Path, layer: str | None = None, **options: str) -> list[list[int]]:
    rows: list[list[int]] = vstack(list(read(path, layer, options).chunks())).toarray().tolist()
    return rows


def table(**columns: Any) -> pa.Table:
    data = lists(CELLS, CELLS.features)
    return pa.table({"cell_id": CELLS.barcodes, **data, **columns})


def written(folder: Path, data: pa.Table, name: str = FILE) -> Path:
    pq.write_table(data, folder / name, row_group_size=2)
    return folder / name


def test_tahoe_lists_are_read_with_their_table_of_tokens(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path, CELLS, drug=["a", "b", "c", "d", None], plate=[1, 2, 3, 4, 5])
    found = read(folder)
    assert found.features == CELLS.features
    assert found.feature_ids == CELLS.ids
    assert found.obs.column_names == ["drug", "plate"]
    assert counts_in(folder) == CELLS.counts.tolist()
    assert counts_in(folder / FILE) == CELLS.counts.tolist()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_the_table_of_tokens_may_be_named(tmp_path: Path, suffix: str) -> None:
    folder = write_parquet(tmp_path, CELLS)
    names = pq.read_table(folder / "gene_metadata.parquet").to_pandas().sample(frac=1, random_state=0)
    (folder / "gene_metadata.parquet").unlink()
    assert "genes holds numbers. Say which gene each is by --option tokens=FILE" in refusal(folder)
    path = tmp_path / f"tokens.{suffix}"
    if suffix == "parquet":
        names.to_parquet(path)
    else:
        names.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    assert counts_in(folder, None, tokens=str(path)) == CELLS.counts.tolist()


def test_several_files_are_one_data_set_in_the_order_of_their_names(tmp_path: Path) -> None:
    written(tmp_path, table()[3:], "b.parquet")
    written(tmp_path, table()[:3], "a.parquet")
    found = read(tmp_path)
    assert found.barcodes == CELLS.barcodes
    assert counts_in(tmp_path) == CELLS.counts.tolist()
    rows = read(tmp_path, None, {"barcode": "row"})
    assert rows.barcodes == ["a.parquet:0", "a.parquet:1", "a.parquet:2", "b.parquet:0", "b.parquet:1"]
    assert rows.obs["cell_id"].to_pylist() == CELLS.barcodes


def test_the_order_of_genes_in_a_cell_does_not_matter(tmp_path: Path) -> None:
    turned = {name: [row[::-1] for row in rows] for name, rows in lists(CELLS, CELLS.features).items()}
    assert (
        counts_in(written(tmp_path, pa.table({"cell_id": CELLS.barcodes, **turned}))) == CELLS.counts.tolist()
    )


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list], ids=["list", "large list"])
@pytest.mark.parametrize("value", [pa.int32(), pa.uint16(), pa.float64()], ids=str)
def test_lists_of_every_kind_give_the_same_counts(tmp_path: Path, kind: Any, value: pa.DataType) -> None:
    data = lists(CELLS, CELLS.features)
    columns = {
        "genes": pa.array(data["genes"], kind(pa.string())),
        "expressions": pa.array(data["expressions"], kind(value)),
    }
    assert (
        counts_in(written(tmp_path, pa.table({"cell_id": CELLS.barcodes, **columns})))
        == CELLS.counts.tolist()
    )


def test_columns_are_named_by_options(tmp_path: Path) -> None:
    data = table().rename_columns(["who", "which", "how_many"])
    path = written(tmp_path, data)
    assert "cannot tell the lists of genes and counts of each cell; list columns: which, how_many" in refusal(
        path
    )
    assert "does not say which column names its cells; it has who" in refusal(path, "how_many", genes="which")
    assert counts_in(path, "how_many", genes="which", barcode="who") == CELLS.counts.tolist()
    assert "has no list column 'who'. Its list columns: which, how_many" in refusal(path, "who")
    assert "has no column 'x'; it has who" in refusal(path, "how_many", genes="which", barcode="x")


def test_ranks_of_genes_cannot_become_counts(tmp_path: Path) -> None:
    path = written(tmp_path, pa.table({"input_ids": [[5, 3, 9]], "length": [3], "cell_type": ["B"]}))
    assert "Ranks of genes alone (input_ids) cannot become counts" in refusal(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"genes": [["A", "B"], ["A"]]}, "cell 'y' has 1 genes and 2 expressions"),
        ({"genes": [["A", "B"], None]}, "cell 'y' has 0 genes and 2 expressions"),
        ({"expressions": [[1, 2], None]}, "cell 'y' has 2 genes and 0 expressions"),
        ({"genes": [["A", "B"], ["B", "B"]]}, "cell 'y' has gene B twice"),
        ({"genes": [["A", "B"], ["A", None]]}, "has a gene without a name"),
        ({"expressions": [[1, 2], [3, None]]}, "cell 'y', feature 'B' is nan"),
        ({"expressions": [[1, 2], [3, -4]]}, "cell 'y', feature 'B' is -4"),
        ({"expressions": [[1, 2], [-2, 4]]}, "cell 'y', feature 'A' is -2"),
        ({"expressions": [[1.0, 2.0], [3.0, 0.25]]}, "cell 'y', feature 'B' is 0.25"),
        ({"cell_id": ["x", "x"]}, "repeats the barcode 'x'"),
        ({"cell_id": ["x", None]}, "barcode 2 is empty"),
    ],
)
def test_cells_that_are_wrong_are_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    good = {"cell_id": ["x", "y"], "genes": [["A", "B"], ["A", "B"]], "expressions": [[1, 2], [3, 4]]}
    assert says in refusal(written(tmp_path, pa.table({**good, **change})))


@pytest.mark.parametrize(
    ("genes", "values", "says"),
    [
        ([[1, 3], [3, 77]], [[-2, 1], [1, 1]], "cell 'y' has token 77, which the table of tokens lacks"),
        ([[1, 3], [3, 1]], [[-2, 1], [1, -2]], "cell 'y' has token 1, which the table"),
        ([[1, 3], [1, 3]], [[-2, 1], [2, 1]], "cell 'y' has token 1, which the table"),
        ([[1, 3], [3, 4]], [[-2, 1], [-2, 1]], "cell 'y', feature 'B' is -2"),
    ],
    ids=["unknown", "marker at the end", "marker with a count", "negative count"],
)
def test_only_a_marker_before_the_genes_is_passed_over(
    tmp_path: Path, genes: list[list[int]], values: list[list[int]], says: str
) -> None:
    pq.write_table(
        pa.table({"token_id": [3, 4], "gene_symbol": ["B", "A"]}), tmp_path / "gene_metadata.parquet"
    )
    written(tmp_path, pa.table({"cell_id": ["x", "y"], "genes": genes, "expressions": values}))
    assert says in refusal(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ({"token_id": [3, 3], "gene_symbol": ["A", "B"]}, "repeats a token"),
        ({"token": ["a", "b"], "gene_symbol": ["A", "B"]}, "cannot be read as a table of tokens"),
        ({"token_id": [3, 4], "name": ["A", "B"]}, "has token_id, name; a table of tokens has token_id and"),
    ],
)
def test_a_table_of_tokens_that_does_not_fit_is_refused(
    tmp_path: Path, tokens: dict[str, Any], says: str
) -> None:
    write_parquet(tmp_path, CELLS)
    pq.write_table(pa.table(tokens), tmp_path / "gene_metadata.parquet")
    assert says in refusal(tmp_path)


def test_lists_beside_the_counts_are_named_as_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, table(embedding=[[0.5, 1.0]] * 5, donor=list("aabbc")))
    found = read(path)
    assert found.note == "not read: embedding of the cells, which have several values per cell"
    assert found.obs.column_names == ["donor"]


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    written(tmp_path, table(donor=list("aabbc")), "a.parquet")
    written(tmp_path, table(donor=np.arange(5)), "b.parquet")
    assert "differ in donor (int64), donor (string)" in refusal(tmp_path)


def test_cells_without_counts_stay(tmp_path: Path) -> None:
    data = pa.table({"cell_id": ["x", "y", "z"], "genes": [[], ["A"], []], "expressions": [[], [4], []]})
    assert counts_in(written(tmp_path, data)) == [[0], [4], [0]]


def test_lists_alone_have_cells_named_by_their_row(tmp_path: Path) -> None:
    path = written(tmp_path, table().drop_columns(["cell_id"]))
    found = read(path, None, {"barcode": "row"})
    assert found.barcodes == [f"{FILE}:{row}" for row in range(5)]
    assert (len(found.obs), found.obs.column_names) == (5, [])
    assert counts_in(path, None, barcode="row") == CELLS.counts.tolist()


def test_columns_of_other_kinds_become_text_numbers_or_truth(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        table(
            code=pa.array([3, None, 1, 2, 3], pa.int8()).dictionary_encode(),
            day=pa.array([0, 1, None, 3, 4], pa.date32()),
            empty=pa.nulls(5),
            share=pa.array([0.5, None, 1, 2, 3], pa.float32()),
            flag=pa.array([True, None, False, True, True]),
        ),
    )
    obs = read(path).obs
    assert [str(obs[name].type) for name in obs.column_names] == [
        "int64",
        "string",
        "string",
        "double",
        "bool",
    ]
    assert obs["code"].to_pylist() == [3, None, 1, 2, 3]
    assert obs["day"].to_pylist()[:3] == ["1970-01-01", "1970-01-02", None]
    assert obs["flag"].to_pylist()[:2] == [True, None]


def test_no_cells_are_nothing_to_add(tmp_path: Path) -> None:
    assert "holds 0 cells" in refusal(written(tmp_path, table()[:0]))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_file_is_one_line(tmp_path: Path, share: float) -> None:
    path = written(tmp_path, table())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "cannot be read as Parquet" in refusal(path)
