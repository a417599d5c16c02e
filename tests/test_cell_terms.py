"""Cypher that returns terms picks the cells: what it returned, what that means, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_store
from click.testing import CliRunner

from tosg_graph import cli
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cell_terms import CohortDefinition, check
from tosg_graph.errors import CohortError, QueryError
from tosg_graph.harmonise import term_expander
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

LABELS = {
    "CL:0000542": "CellType",  # lymphocyte, above the other two
    "CL:0000084": "CellType",
    "CL:0000236": "CellType",
    "UBERON:1": "Organ",
    "MONDO:1": "Disease",
    "HGNC:10": "Gene",
}
BELOW = {"CL:0000542": ["CL:0000084", "CL:0000236"]}


class FakeGraph:
    """Answers the two statements that look terms up."""

    def rows(self, statement: str, **given: Any) -> list[dict[str, Any]]:
        if "labels(t)" in statement:
            return [{"id": i, "labels": ["Entity", LABELS[i]]} for i in given["ids"] if i in LABELS]
        assert "IS_A|PART_OF" in statement
        return [{"ids": [child for i in given["ids"] for child in BELOW.get(i, ())]}]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[AbundanceReader]:
    store = toy_store.make(tmp_path / "store")
    with AbundanceReader.open(store) as reader:
        yield reader


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The columns that the query will return, to be filled by a test."""
    columns: dict[str, Any] = {}
    monkeypatch.setattr("tosg_graph.query.run", lambda *_, **__: pa.table(columns))
    return columns


def picked(reader: AbundanceReader, **options: Any) -> list[int]:
    definition = CohortDefinition(query="MATCH ...", **options)
    cohort, _ = check(definition, reader.cell_columns(), FakeGraph())  # type: ignore[arg-type]
    found = reader.cells(cohort, lambda column, value: None, ["cell_id"])["cell_id"].to_pylist()
    return [int(cell.split("-")[1]) for cell in found]


T_CELLS, B_CELLS = [0, 3, 6, 9], [1, 4, 7]


@pytest.mark.parametrize(
    ("columns", "options", "numbers"),
    [
        ({"c": ["CL:0000084"]}, {}, T_CELLS),
        ({"c": ["CL:0000542"]}, {}, sorted(T_CELLS + B_CELLS)),
        ({"c": ["CL:0000084", "CL:0000236", None]}, {"exact": True}, sorted(T_CELLS + B_CELLS)),
        ({"c": [["CL:0000084"], ["CL:0000236"]]}, {}, sorted(T_CELLS + B_CELLS)),
        ({"name": ["T cell"], "id": ["CL:0000084"], "n": [3]}, {}, T_CELLS),
        ({"c": ["CL:0000542"]}, {"expression": "donor = 'd1'"}, [1, 9]),
        ({"a": ["CL:0000084"], "b": ["CL:0000236"]}, {}, sorted(T_CELLS + B_CELLS)),
    ],
    ids=["a term", "what is below it", "exact", "lists", "other columns", "and an expression", "two columns"],
)
def test_the_cells_are_those_of_the_terms(
    reader: AbundanceReader, answer: dict[str, Any], columns: Any, options: Any, numbers: list[int]
) -> None:
    answer |= columns
    assert picked(reader, **options) == numbers


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        (
            {"c": ["CL:0000542"]},
            {"exact": True},
            r"No cell is selected by 'true and the terms of its query \(1\)'",
        ),
        ({"c": ["CL:0000084", "HGNC:10"]}, {}, "'c' of the cells' query holds 'HGNC:10' beside terms"),
        ({"g": ["HGNC:10"]}, {}, "returned 1 rows and no term of cell_type"),
        ({"n": [1, 2]}, {}, "returned 2 rows and no term"),
        ({"c": pa.array([], pa.string())}, {}, "returned 0 rows and no term"),
        ({"d": ["MONDO:1"]}, {}, "no term of cell_type"),  # this store has no disease column
    ],
    ids=["nothing below", "a gene among terms", "genes alone", "numbers", "no row", "another kind"],
)
def test_a_query_that_picks_nothing_says_why(
    reader: AbundanceReader, answer: dict[str, Any], columns: Any, options: Any, says: str
) -> None:
    answer |= columns
    with pytest.raises(CohortError, match=says) as refusal:
        picked(reader, **options)
    assert "\n" not in str(refusal.value)


def test_kinds_that_two_columns_hold_may_be_in_either(answer: dict[str, Any]) -> None:
    """And between kinds both must hold."""
    answer |= {"o": ["UBERON:1"], "c": ["CL:0000084"]}
    columns = dict.fromkeys(["organ_id", "tissue_id", "cell_type_id"], "VARCHAR")
    cohort, terms = check(CohortDefinition(query="..."), columns, FakeGraph())  # type: ignore[arg-type]
    assert terms
    assert terms.returned == {"cell_type": ("CL:0000084",), "organ,tissue": ("UBERON:1",)}
    where, parameters = cohort.to_sql(lambda column, value: None)
    mark = "IN (SELECT unnest(?::VARCHAR[]))"
    assert where == (
        f'(TRUE) AND (("cell_type_id" {mark})) AND (("organ_id" {mark}) OR ("tissue_id" {mark}))'
    )
    assert parameters == [["CL:0000084"], ["UBERON:1"], ["UBERON:1"]]


def test_kinds_that_share_a_label_are_told_apart_by_their_ids(
    answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["PATO:0000383", "PATO:0000461", "HsapDv:1", "HANCESTRO:1"]  # the last is of no column
    monkeypatch.setattr(sys.modules[__name__], "LABELS", dict.fromkeys(ids, "Attribute"))
    columns = dict.fromkeys(["sex_id", "assay_id", "development_stage_id", "disease_id"], "VARCHAR")
    answer |= {str(k): [term] for k, term in enumerate(ids)}
    _, terms = check(CohortDefinition(query="..."), columns, FakeGraph())  # type: ignore[arg-type]
    assert terms
    assert terms.returned == {
        "development_stage": ("HsapDv:1",),
        "disease": ("PATO:0000461",),  # normal
        "sex": ("PATO:0000383",),
    }


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [([], T_CELLS + B_CELLS), (["--exact-terms"], []), (["--cells", "donor = 'd1'"], [1, 9])],
)
def test_commands_that_make_something_of_cells_take_a_query_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    arguments: list[str],
    numbers: list[int],
) -> None:
    toy_store.make(read_settings().store)
    answer |= {"c": ["CL:0000542"]}
    monkeypatch.setattr(Platform, "graph", FakeGraph())
    asked = ["--cells-query", "MATCH ... {name: $n}", "--cells-param", "n=lymphocyte", *arguments]
    for name, more in {
        "export": [
            "--format",
            "parquet",
            "--out",
            str(tmp_path / "cells"),
            "--report",
            str(tmp_path / "r.json"),
        ],
        "pseudobulk": ["--min-cells", "1", "--out", str(tmp_path / "sums.parquet")],
        "metacell": ["--min-cells", "1"],
    }.items():
        done = CliRunner().invoke(cli.main, ["cells", name, *asked, *more])
        if not numbers:
            assert done.exit_code == 1
            assert "No cell is selected" in done.stderr
            continue
        assert done.exit_code == 0, done.output
    if numbers:
        cells = pq.read_table(tmp_path / "cells" / "cells.parquet")["cell_id"].to_pylist()
        assert sorted(cells) == [toy_store.cell_id(k) for k in sorted(numbers)]
        sums = pq.read_table(tmp_path / "sums.parquet").to_pylist()
        assert sum(row["count"] for row in sums) == sum(
            toy_store.count(k, c) for k in numbers for c in range(5)
        )
        found = json.loads((tmp_path / "r.json").read_text())
        assert found["arms"]["the cohort"]["cells"] == len(numbers)
        with AbundanceReader.open(AbundanceStore.open(read_settings().store)) as reader:
            made = reader.cells("dataset = 'toy_metacells'", lambda *_: None, ["metacell_members"])
        members = {cell for row in made["metacell_members"].to_pylist() for cell in row}
        assert members == set(cells)


# --------------------------------------------------------------------------- with the real server


@pytest.fixture
def terms(graph: Graph) -> Graph:
    graph.write(
        """
        UNWIND [['CL:0000542', 'lymphocyte'], ['CL:0000084', 'T cell'], ['CL:0000236', 'B cell']] AS t
        CREATE (:Entity:CellType {id: t[0], name: t[1]})
        WITH count(*) AS made
        CREATE (gene:Entity:Gene {id: 'HGNC:10', name: 'S10'})
        WITH gene MATCH (top:Entity {id: 'CL:0000542'}), (kind:CellType) WHERE kind <> top
        CREATE (kind)-[:IS_A {source: 'test', edge_key: CASE kind.name WHEN 'T cell' THEN 1 ELSE 2 END}]->(top)
        CREATE (gene)-[:EXPRESSED_IN {source: 'test', edge_key: CASE kind.name WHEN 'T cell' THEN 1 ELSE 2 END}]->(kind)
        """
    )
    return graph


def test_a_query_against_the_graph_picks_cells(terms: Graph, reader: AbundanceReader) -> None:
    def numbers(query: str, **options: Any) -> list[int]:
        cohort, _ = check(CohortDefinition(query=query, **options), reader.cell_columns(), terms)
        return [
            int(cell.split("-")[1])
            for cell in reader.cells(cohort, term_expander(terms), ["cell_id"])["cell_id"].to_pylist()
        ]

    top = "MATCH (c:CellType {name: $name}) RETURN c"
    assert numbers(top, parameters={"name": "lymphocyte"}) == sorted(T_CELLS + B_CELLS)
    assert (
        numbers("MATCH (:Gene {id: 'HGNC:10'})-->(c) WHERE c.name STARTS WITH 'T' RETURN c.id, c.name")
        == T_CELLS
    )
    assert numbers("MATCH (c:CellType) RETURN collect(c)", expression="donor = 'd1'") == [1, 9]
    assert numbers("terms_below", parameters={"term": "lymphocyte"}) == sorted(T_CELLS + B_CELLS)
    with pytest.raises(QueryError, match="The query writes"):
        numbers("MATCH (c:CellType) SET c.x = 1 RETURN c")
