"""Sums per donor: every count of every cell of the group, and nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scanpy as sc
import toy_store
from test_cells_export import no_terms
from test_cli import tosg

from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import CellsError, CohortError
from tosg_graph.pseudobulk import Pseudobulk, pseudobulk, write

KINDS = ["T cell", "B cell", None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    """Cells 0-23 in ``toy`` and 24-41 in ``more``; donors d0 to d3 stand in both, and are others."""
    made = toy_store.make(tmp_path_factory.mktemp("store"), 24)
    toy_store.add(made, 24, 18, "more", sex=pa.array([f"sex of d{k % 4}" for k in range(24, 42)]))
    return made


@pytest.fixture
def reader(store: AbundanceStore) -> Any:
    with AbundanceReader.open(store) as reader:
        yield reader


def sums(result: Pseudobulk) -> dict[tuple[Any, ...], list[int]]:
    keys = [c for c in ("dataset", "donor", "cell_type") if c in result.matrix.obs.column_names]
    dense = np.vstack([chunk.toarray() for chunk in result.matrix.chunks()])
    rows = zip(*(result.matrix.obs[k].to_pylist() for k in keys), strict=True)
    return dict(zip(rows, dense.tolist(), strict=True))


def group(k: int) -> tuple[str, str, str | None]:
    return ("toy" if k < 24 else "more", f"d{k % 4}", KINDS[k % 3])


def expected(by_type: bool = True) -> dict[tuple[Any, ...], list[int]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for k in range(42):
        if by_type and group(k)[2] is None:
            continue
        key = group(k) if by_type else group(k)[:2]
        row = found.setdefault(key, [0] * 5)
        for column in range(5):
            row[column] += toy_store.count(k, column)
    return found


@pytest.mark.parametrize("held", [1, 15, 20_000_000], ids=["one group", "three groups", "all groups"])
def test_each_group_is_the_sum_of_its_cells(
    reader: AbundanceReader, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr("tosg_graph.pseudobulk.SUMS", held)
    result = pseudobulk(reader, "true", no_terms, min_cells=1)
    assert sums(result) == expected()
    assert result.left_out == {"no value in cell_type": 14}
    assert result.cells == 28
    totals = dict(zip(expected(), (sum(row) for row in expected().values()), strict=True))
    obs = result.matrix.obs.to_pylist()
    assert {(r["dataset"], r["donor"], r["cell_type"]): r["n_counts"] for r in obs} == totals
    assert sum(r["cells"] for r in obs) == 28


def test_without_columns_there_is_one_row_per_donor(reader: AbundanceReader) -> None:
    result = pseudobulk(reader, "true", no_terms, by=(), min_cells=1)
    assert sums(result) == expected(by_type=False)
    assert result.left_out == {}
    assert result.matrix.names[0] == "more|d0"


def test_small_groups_are_left_out_and_counted(reader: AbundanceReader) -> None:
    result = pseudobulk(reader, "true", no_terms, min_cells=2)
    sizes: dict[Any, int] = {}
    for k in range(42):
        if group(k)[2]:
            sizes[group(k)] = sizes.get(group(k), 0) + 1
    large = {key for key, cells in sizes.items() if cells >= 2}
    assert set(sums(result)) == large
    few = [cells for cells in sizes.values() if cells < 2]
    assert few
    assert result.left_out[f"in {len(few)} groups of fewer than 2 cells"] == sum(few)
    assert sums(result) == {key: row for key, row in expected().items() if key in large}


def test_columns_on_which_all_groups_agree_come_along(reader: AbundanceReader) -> None:
    obs = pseudobulk(reader, "dataset = 'more'", no_terms, by=(), min_cells=1).matrix.obs
    assert obs["sex"].to_pylist() == [f"sex of {donor}" for donor in obs["donor"].to_pylist()]
    assert not {"cell_id", "barcode", "block", "cell", "cell_type"} & set(obs.column_names)


def test_files_hold_the_sums(reader: AbundanceReader, tmp_path: Path) -> None:
    result = pseudobulk(reader, "true", no_terms, min_cells=1)
    write(result, tmp_path / "sums.h5ad")
    data = sc.read_h5ad(tmp_path / "sums.h5ad")
    keys = zip(*(data.obs[c] for c in ("dataset", "donor", "cell_type")), strict=True)
    assert dict(zip(keys, data.X.toarray().tolist(), strict=True)) == expected()
    write(result, tmp_path / "sums.parquet")
    found = {key: [0] * 5 for key in expected()}
    for row in pq.read_table(tmp_path / "sums.parquet").to_pylist():
        place = toy_store.FEATURES.index(row["feature"])
        assert row["gene_id"] == (None if row["feature"] == "orphan" else row["feature"])
        found[row["dataset"], row["donor"], row["cell_type"]][place] = row["count"]
    assert found == expected()


def test_cells_of_unknown_donors_are_no_donor(tmp_path: Path) -> None:
    """Defect 9 of the reference: they became one big donor."""
    store = AbundanceStore.open(tmp_path / "store")
    with store.writer() as append:
        append.extend_axis(toy_store.axis_rows())
        total = append.write_counts("file", toy_store.blocks(0, 8))
        cells = toy_store.cells_table(0, 8, 0)
        donors = pa.array([None if k < 5 else "d" for k in range(8)], pa.string())
        append.commit(
            cells.set_column(cells.column_names.index("donor"), "donor", donors),
            toy_store.record("toy", 8, total),
        )
    with AbundanceReader.open(store) as reader:
        result = pseudobulk(reader, "true", no_terms, by=(), min_cells=1)
        assert result.left_out == {"unknown donor": 5}
        assert result.matrix.obs["cells"].to_pylist() == [3]
        with pytest.raises(
            CellsError, match=r"None of the 5 cells can be grouped by dataset, donor: 5 unknown donor"
        ):
            pseudobulk(reader, "donor IS NULL", no_terms, by=(), min_cells=1)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"by": ["cell_tipe"]}, CohortError, "no column 'cell_tipe'.*'cell_type'"),
        ({"cells": "donor = 'd0' AND donor = 'd1'"}, CohortError, "No cell is selected"),
        ({"cells": "cell_type IS NULL"}, CellsError, "None of the 14 cells can be grouped"),
        ({"by": ["n_counts"]}, CellsError, "cannot be grouped by 'n_counts', which is of one cell"),
        ({"min_cells": 0}, CellsError, "min_cells=0 is below 1"),
        ({"min_cells": 100}, CellsError, r"None of the 16 groups has 100 cells, the largest has \d"),
    ],
    ids=["a typo", "no cell", "no type", "of one cell", "below 1", "too many"],
)
def test_what_cannot_be_summed_is_refused(
    reader: AbundanceReader, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        pseudobulk(reader, options.pop("cells", "true"), no_terms, **options)


def test_names_of_rows_are_unique_whatever_the_values_hold(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    with store.writer() as append:
        append.extend_axis(toy_store.axis_rows())
        total = append.write_counts("file", toy_store.blocks(0, 2))
        cells = toy_store.cells_table(0, 2, 0)
        for name, values in (("donor", ["a|b", "a"]), ("cell_type", ["c", "b|c"])):
            cells = cells.set_column(cells.column_names.index(name), name, pa.array(values))
        append.commit(cells, toy_store.record("toy", 2, total))
    with AbundanceReader.open(store) as reader:
        result = pseudobulk(reader, "true", no_terms, min_cells=1)
    assert sorted(result.matrix.names) == [r"toy|a\|b|c", r"toy|a|b\|c"]


def test_the_command_writes_and_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOSG_HOME", str(tmp_path))
    toy_store.make(tmp_path / "store", 24)
    said = tosg("cells", "pseudobulk", "--min-cells", "1", "--out", str(tmp_path / "sums.parquet"))
    assert "8 groups of 16 cells" in said
    assert "8 no value in cell_type" in said
    assert "'.csv'; pseudobulk is written as .h5ad or .parquet" in tosg(
        "cells", "pseudobulk", "--out", str(tmp_path / "sums.csv"), code=1
    )
    assert "exists already" in tosg("cells", "pseudobulk", "--out", str(tmp_path / "sums.parquet"), code=1)
