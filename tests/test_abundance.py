"""Reads of the store: every count on its cell and gene, one store version, and a database that is locked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import toy_store
from test_cohort import ATTACKS

from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import CohortError, StoreError
from tosg_graph.normalise import normalise

T_CELLS = [0, 3, 6, 9]


def expand(column: str, value: str) -> frozenset[str] | None:
    return {"lymphocyte": frozenset({"CL:0000084", "CL:0000236"}), "T cell": frozenset({"CL:0000084"})}.get(
        value
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    return toy_store.make(tmp_path_factory.mktemp("store"))


@pytest.fixture
def reader(store: AbundanceStore) -> Iterator[AbundanceReader]:
    with AbundanceReader.open(store) as reader:
        yield reader


def ids(numbers: list[int]) -> list[str]:
    return [toy_store.cell_id(k) for k in numbers]


# --------------------------------------------------------------------------- counts


@pytest.fixture(params=["by SQL", "block by block"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Few genes are read by SQL, many block by block; here all in each way."""
    monkeypatch.setattr("tosg_graph.abundance._FEW_GENES", 2 if request.param == "by SQL" else 0)
    name: str = request.param
    return name


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("cells", [[0], list(range(10)), [9, 0, 4, 3], [5, 7]])
@pytest.mark.parametrize("columns", [[0], [4, 1, 0], [0, 1, 2, 3, 4], [3]])
def test_each_count_is_where_it_was_asked_for(
    reader: AbundanceReader, cells: list[int], columns: list[int]
) -> None:
    found = reader.csr(ids(cells), columns)
    assert found.dtype == np.int32
    assert found.has_sorted_indices
    assert found.toarray().tolist() == [[toy_store.count(k, c) for c in columns] for k in cells]
    assert (found.data > 0).all()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("rows", [1, 3, 10, 99])
def test_chunks_are_parts_of_the_whole(reader: AbundanceReader, rows: int) -> None:
    wanted = [7, 2, 9, 0, 1]
    chunks = list(reader.iter_csr(ids(wanted), [2, 0], rows))
    assert [c.shape[0] for c in chunks[:-1]] == [rows] * (len(chunks) - 1)
    whole = np.concatenate([c.toarray() for c in chunks])
    assert whole.tolist() == [[toy_store.count(k, 2), toy_store.count(k, 0)] for k in wanted]


@pytest.mark.usefixtures("way")
def test_cells_can_be_given_as_the_reader_gave_them(reader: AbundanceReader) -> None:
    found = reader.cells("cell_type = 'T cell'", expand, ["cell_id", "block", "cell"])
    assert found["cell_id"].to_pylist() == ids(T_CELLS)
    expected = [[toy_store.count(k, c) for c in (3, 1)] for k in T_CELLS]
    assert reader.csr(found, [3, 1]).toarray().tolist() == expected
    assert [c.toarray().tolist() for c in reader.iter_csr(found, [3, 1], 3)] == [expected[:3], expected[3:]]
    with pytest.raises(StoreError, match="twice"):
        reader.csr(pa.concat_tables([found, found]), [1])


def test_genes_find_their_axis_columns(reader: AbundanceReader) -> None:
    assert reader.axis_columns(["HGNC:50", "HGNC:10", "HGNC:77"]) == {"HGNC:10": 0, "HGNC:50": 4}


@pytest.mark.parametrize(
    ("cells", "columns", "says"),
    [([0, 99], [1], "cell-99"), ([0, 0], [1], "cell-00"), ([0], [1, 1], "axis column 1")],
)
def test_cells_and_columns_that_cannot_be_had_are_named(
    reader: AbundanceReader, cells: list[int], columns: list[int], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        reader.csr(ids(cells), columns)


# --------------------------------------------------------------------------- aggregates


def expected_row(cells: list[int], column: int) -> tuple[float, float]:
    values = [toy_store.count(k, column) for k in cells]
    return sum(values) / len(cells), 100 * sum(v > 0 for v in values) / len(cells)


def test_means_and_percentages_per_group_count_cells_without_counts(reader: AbundanceReader) -> None:
    found = reader.aggregate([4, 0], "cell_type", "true", expand).to_pylist()
    groups = {"B cell": [1, 4, 7], "T cell": T_CELLS, None: [2, 5, 8]}
    expected = [(column, name, cells) for column in (4, 0) for name, cells in groups.items()]
    assert [(r["axis_column"], r["cell_type"]) for r in found] == [(c, name) for c, name, _ in expected]
    for row, (column, _, cells) in zip(found, expected, strict=True):
        assert (row["mean"], row["pct"]) == pytest.approx(expected_row(cells, column))
        assert row["cells"] == len(cells)


def test_without_a_group_there_is_one_row_per_gene(reader: AbundanceReader) -> None:
    found = reader.aggregate([1], None, "n_counts > 1000", expand, ["mean"])
    assert found.column_names == ["axis_column", "mean", "cells"]
    chosen = [k for k in range(10) if sum(toy_store.count(k, c) for c in range(5)) > 1000]
    assert found.to_pylist() == [
        {"axis_column": 1, "mean": pytest.approx(expected_row(chosen, 1)[0]), "cells": len(chosen)}
    ]


@pytest.mark.parametrize("layer", ["counts", "cp10k", "log1p"])
def test_means_can_be_of_a_layer(reader: AbundanceReader, layer: str) -> None:
    found = reader.aggregate([4, 1], "donor", "n_counts > 600", expand, layer=layer).to_pylist()
    assert found
    for row in found:
        cells = [k for k in range(10) if f"d{k % 4}" == row["donor"] and total(k) > 600]
        counts = np.array([toy_store.count(k, row["axis_column"]) for k in cells])
        assert row["mean"] == pytest.approx(
            normalise(counts, np.array([total(k) for k in cells]), layer).mean()
        )
        assert row["pct"] == 100 * np.count_nonzero(counts) / len(cells)


def total(k: int) -> int:
    return sum(toy_store.count(k, column) for column in range(5))


def test_a_layer_that_is_none_is_refused(reader: AbundanceReader) -> None:
    with pytest.raises(CohortError, match=r"'log2' is no layer\. Choose from counts, cp10k, log1p"):
        reader.aggregate([0], None, "true", expand, layer="log2")


def test_a_statistic_that_is_none_is_refused(reader: AbundanceReader) -> None:
    with pytest.raises(CohortError, match="'median' is no statistic"):
        reader.aggregate([0], None, "true", expand, ["median"])


# --------------------------------------------------------------------------- cohorts


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("true", range(10)),
        ("cell_type = 'T cell'", T_CELLS),
        ("cell_type = 'lymphocyte'", [0, 1, 3, 4, 6, 7, 9]),
        ("NOT cell_type = 'T cell'", [1, 4, 7]),
        ("cell_type IS NULL", [2, 5, 8]),
        ("donor IN ('d1', 'd2') AND cell_type_id = 'CL:0000084'", [6, 9]),
    ],
)
def test_a_cohort_is_sorted_by_cell_id(reader: AbundanceReader, expression: str, numbers: Any) -> None:
    found = reader.cells(expression, expand, ["cell_id"])["cell_id"].to_pylist()
    assert found == ids(list(numbers))


def test_facets_count_values_most_frequent_first(reader: AbundanceReader) -> None:
    facet = reader.facets("true", expand, ["cell_type"])[0]
    assert facet.to_pylist() == [
        {"cell_type": "T cell", "cells": 4, "pct": 40.0},
        {"cell_type": "B cell", "cells": 3, "pct": 30.0},
        {"cell_type": None, "cells": 3, "pct": 30.0},
    ]


@pytest.mark.parametrize("probe", [1, 2048])
def test_without_a_column_facets_are_of_those_with_few_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe: int
) -> None:
    monkeypatch.setattr("tosg_graph.abundance._FEW_CELLS", probe)
    store = toy_store.AbundanceStore.open(tmp_path / "store")
    sizes = {
        "one": ["x"] * 40,
        "few": [f"v{k % 30}" for k in range(40)],
        "many": [f"v{k % 31}" for k in range(40)],
    }
    toy_store.add(store, 0, 40, **{name: pa.array(values) for name, values in sizes.items()})
    with AbundanceReader.open(store) as reader:
        facets = reader.facets("true", expand)
        names = [facet.column_names[0] for facet in facets]
        assert names == ["dataset", "cell_type", "cell_type_id", "cell_type_raw", "donor", "few"]
        assert all(sum(facet["cells"].to_pylist()) == 40 for facet in facets)
        with pytest.raises(CohortError, match="No cell is selected"):
            reader.facets("n_counts < 0", expand)


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("n_counts > 1000000", "No cell is selected by 'n_counts > 1000000'"),
        ("cell_type = 'T cell' AND donor = 'd9'", "no value 'd9'. Nearest values: 'd"),
        ("cell_type != 'T sell'", "Nearest values: 'T cell'"),
        ("cell_type = 'raw T cell'", "It is a value of 'cell_type_raw'"),
        ("cell_type = 'T cell' AND cell_type = 'B cell'", "No cell is selected"),
        ("cell_typ = 'T cell'", "'cell_type'"),
    ],
)
def test_an_empty_cohort_says_what_there_is(reader: AbundanceReader, expression: str, says: str) -> None:
    with pytest.raises(CohortError) as refusal:
        reader.cells(expression, expand)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


class Spy:
    """A connection that records every text it is given."""

    def __init__(self, inner: duckdb.DuckDBPyConnection) -> None:
        self.inner, self.seen = inner, list[str]()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def call(*arguments: Any, **keys: Any) -> Any:
            self.seen.append(f"{name} {arguments[0] if arguments else ''}")
            return method(*arguments, **keys)

        return call


@pytest.mark.parametrize(
    "expression", [a for a in ATTACKS if a.strip() and "born" not in a], ids=lambda a: a[:40]
)
def test_attacks_never_reach_the_database(reader: AbundanceReader, expression: str) -> None:
    spy = Spy(reader._connection)
    reader._connection = spy  # type: ignore[assignment]
    with pytest.raises(CohortError):
        reader.cells(expression, expand)
    assert spy.seen == ["execute DESCRIBE cells"]


# --------------------------------------------------------------------------- the second wall


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM glob('/*')",
        "COPY cells TO '{outside}.out'",
        "ATTACH '{outside}.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/']",
        "RESET lock_configuration",
        "SET lock_configuration = false",
        "EXPORT DATABASE '{outside}.dir'",
        "SELECT getenv('HOME')",
    ],
)
def test_the_connection_itself_is_locked(reader: AbundanceReader, statement: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside.csv"
    outside.write_text("secret\n1\n")
    with pytest.raises(duckdb.Error):
        reader._connection.execute(statement.format(outside=outside)).fetchall()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("outside")] == ["outside.csv"]


# --------------------------------------------------------------------------- versions


def test_a_reader_stays_at_its_version_while_cells_are_added(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    first = store.version()
    with AbundanceReader.open(store) as old:
        toy_store.add(store, 10, 6, "more", treated=pa.array([True] * 6))
        assert len(old.cells("true", expand)) == 10
    with AbundanceReader.open(store) as new, AbundanceReader.open(store, first) as past:
        assert len(new.cells("true", expand)) == 16
        assert len(past.cells("true", expand)) == 10
        assert new.cells("treated = TRUE", expand, ["cell_id"])["cell_id"].to_pylist() == ids(
            list(range(10, 16))
        )
        assert new.cells("treated IS NULL", expand, ["cell_id"])["cell_id"].to_pylist() == ids(
            list(range(10))
        )
        assert new.csr(ids([15, 0]), [1]).toarray().tolist() == [[1501], [1]]


def test_an_empty_store_says_how_to_add_cells(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="tosg cells add"):
        AbundanceReader.open(AbundanceStore.open(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()
