"""Questions on small graphs: what each value becomes, what is refused, and the join with abundance."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toy_store

from tosg_graph import rows as rows_module
from tosg_graph.abundance import AbundanceReader
from tosg_graph.errors import CohortError, QueryError, TosgError
from tosg_graph.graph import Graph
from tosg_graph.query import run


@pytest.fixture
def world(graph: Graph) -> Graph:
    """Genes HGNC:10 -> 20 -> 30 by SIGNALS_TO; 10 and 20 take part in P:1; HGNC:99 was never measured."""
    graph.write(
        "UNWIND [10, 20, 30, 50, 99] AS n CREATE (:Entity:Gene {id: 'HGNC:' + n, name: 'S' + n, symbol: 'S' + n,"
        " text_embedding: [0.5, 0.5]})"
    )
    graph.write(
        "CREATE (:Entity:Pathway {id: 'P:1', name: 'one', synonyms: ['a', 'b'], size: 3, born: date('2020-02-01')})"
    )
    graph.write(
        "UNWIND [[10, 20], [20, 30]] AS e MATCH (a {id: 'HGNC:' + e[0]}), (b {id: 'HGNC:' + e[1]})"
        " CREATE (a)-[:SIGNALS_TO {sign: 1}]->(b)"
    )
    graph.write(
        "MATCH (g:Gene), (p:Pathway) WHERE g.id IN ['HGNC:10', 'HGNC:20'] CREATE (g)-[:PARTICIPATES_IN]->(p)"
    )
    graph.write(
        "UNWIND [['CL:0000084', 'T cell'], ['CL:0000236', 'B cell']] AS t"
        " CREATE (:Entity:CellType {id: t[0], name: t[1]})"
    )
    return graph


def values(graph: Graph, returned: str) -> list[Any]:
    """Values of the one row of ``MATCH ... RETURN returned``."""
    text = (
        "MATCH (a:Gene {id: 'HGNC:10'})-[r:SIGNALS_TO]->(b:Gene), (p:Pathway), "
        "path = (c:Gene {id: 'HGNC:30'})<-[:SIGNALS_TO]-(b)-[:PARTICIPATES_IN]->(p) RETURN " + returned
    )
    (row,) = run(graph, text).to_pylist()
    return list(row.values())


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("a", "HGNC:10"),
        ("r", "HGNC:10 -SIGNALS_TO-> HGNC:20"),
        ("path", "HGNC:30 <-SIGNALS_TO- HGNC:20 -PARTICIPATES_IN-> P:1"),
        ("[a, b]", ["HGNC:10", "HGNC:20"]),
        ("p.synonyms", ["a", "b"]),
        ("p.size", 3),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ("a.no_such_property", None),
        ("p.born", "2020-02-01"),
        ("duration('P1D')", "P1D"),
        ("{x: 1, y: {z: [a]}}", '{"x": 1, "y": {"z": ["HGNC:10"]}}'),
        ("[[1, 2], [3]]", "[[1, 2], [3]]"),
    ],
)
def test_each_kind_of_value_becomes_something_readable(world: Graph, returned: str, expected: Any) -> None:
    assert values(world, f"{returned} AS value") == [expected]


def test_a_map_of_a_node_leaves_the_embedding_out(world: Graph) -> None:
    found = json.loads(values(world, "properties(a) AS value")[0])
    assert found == {"id": "HGNC:10", "name": "S10", "symbol": "S10"}


def test_an_embedding_as_a_value_is_refused(world: Graph) -> None:
    world.write("MATCH (g:Gene {id: 'HGNC:10'}) SET g.text_embedding = [x IN range(1, 384) | 0.5]")
    with pytest.raises(QueryError, match="'v' holds embeddings"):
        run(world, "MATCH (g:Gene {id: 'HGNC:10'}) RETURN g.text_embedding AS v")


def test_a_column_of_several_types_becomes_text(world: Graph) -> None:
    found = run(world, "UNWIND [1, 'two', null, true] AS v RETURN v")
    assert found["v"].to_pylist() == ["1", "two", None, "true"]


def test_an_answer_without_rows_keeps_its_columns(world: Graph) -> None:
    found = run(world, "MATCH (g:Gene {id: 'nobody'}) RETURN g, g.name AS name")
    assert (found.column_names, len(found)) == (["g", "name"], 0)


def test_parameters_reach_the_query_as_values(world: Graph) -> None:
    found = run(
        world,
        "MATCH (g:Gene) WHERE g.id IN $ids RETURN g.id AS id ORDER BY id",
        {"ids": ["HGNC:30", "x' OR true"]},
    )
    assert found["id"].to_pylist() == ["HGNC:30"]


@pytest.mark.parametrize("limit", [4, 1])
def test_more_rows_than_the_limit_are_refused_and_not_cut(world: Graph, limit: int) -> None:
    with pytest.raises(QueryError, match=f"more than {limit} rows. Add LIMIT"):
        run(world, "MATCH (g:Gene) RETURN g", limit=limit)
    assert len(run(world, "MATCH (g:Gene) RETURN g", limit=5)) == 5


def test_no_rows_out_of_an_empty_graph_are_explained(graph: Graph) -> None:
    said: list[str] = []
    answer = run(graph, "pathway_genes", {"pathway": "interferon"}, notice=said.append)
    assert len(answer) == 0
    assert len(said) == 1
    assert "nothing is loaded" in said[0]
    assert "tosg load demo" in said[0]


def test_no_rows_out_of_a_graph_with_entities_are_an_answer(world: Graph) -> None:
    said: list[str] = []
    assert len(run(world, "MATCH (g:Gene {id: 'HGNC:999'}) RETURN g.id AS id", notice=said.append)) == 0
    assert said == []


def test_a_query_that_takes_too_long_is_stopped(world: Graph) -> None:
    with pytest.raises(QueryError, match="was stopped"):
        run(world, "UNWIND range(1, 100000000) AS x WITH x WHERE x % 3 = 5 RETURN x", timeout=0.5)


@pytest.mark.parametrize(
    "query", ["CREATE (n:Gene) RETURN n", "LOAD CSV FROM 'file:///x' AS r RETURN r", "CALL dbms.listConfig()"]
)
def test_what_is_no_reading_is_refused_in_one_line(world: Graph, query: str) -> None:
    with pytest.raises(QueryError) as refusal:
        run(world, query)
    assert "\n" not in str(refusal.value)
    assert len(run(world, "MATCH (n) RETURN n")) == 8


def test_a_syntax_error_shows_the_carets_of_the_server(world: Graph) -> None:
    with pytest.raises(QueryError) as refusal:
        run(world, "MATCH (g:Gene) RETRUN g")
    *_, text, caret = str(refusal.value).splitlines()
    assert text[caret.index("^") :].startswith("RETRUN")


# --------------------------------------------------------------------------- canned questions


@pytest.mark.parametrize(
    ("name", "parameters", "says"),
    [
        ("pathway_gene", {}, "Did you mean 'pathway_genes'"),
        ("pathway_genes", {}, "needs --param pathway=VALUE"),
        ("pathway_genes", {"pathway": ""}, "needs --param pathway=VALUE"),
        ("pathway_genes", {"pathway": "x", "size": 1}, "no parameter 'size'. It takes $pathway."),
        ("pathway_genes", {"pathway": ["x"]}, "is no string"),
        ("downstream_genes", {"gene": "S10", "steps": "two"}, "steps='two' is no int"),
        ("downstream_genes", {"gene": "S10", "steps": True}, "is no int"),
    ],
)
def test_a_canned_question_that_cannot_be_asked_says_why(
    world: Graph, name: str, parameters: dict[str, Any], says: str
) -> None:
    with pytest.raises(QueryError) as refusal:
        run(world, name, parameters)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, [("S20", 1)]), (2, [("S20", 1), ("S30", 2)]), (3, [("S20", 1), ("S30", 2)])]
)
def test_downstream_genes_come_with_their_fewest_steps(
    world: Graph, steps: int, expected: list[tuple[str, int]]
) -> None:
    found = run(world, "downstream_genes", {"gene": "S10", "steps": steps})
    assert list(zip(found["symbol"].to_pylist(), found["steps"].to_pylist(), strict=True)) == expected


def test_a_number_is_taken_for_a_text_parameter(world: Graph) -> None:
    world.write("MATCH (p:Pathway) SET p.name = 'type 1 signaling'")
    assert run(world, "pathway_genes", {"pathway": 1})["symbol"].to_pylist() == ["S10", "S20"]


# --------------------------------------------------------------------------- abundance


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[AbundanceReader]:
    with AbundanceReader.open(toy_store.make(tmp_path / "store")) as reader:
        yield reader


GENES = "MATCH (g:Gene) WHERE g.id IN ['HGNC:20', 'HGNC:99', 'HGNC:50'] RETURN {} ORDER BY g.id"


def mean(cells: list[int], column: int) -> float:
    return sum(toy_store.count(k, column) for k in cells) / len(cells)


@pytest.mark.parametrize("returned", ["g", "g.id AS gene", "'x' AS other, g"])
def test_each_gene_is_joined_with_its_own_abundance(
    world: Graph, reader: AbundanceReader, returned: str
) -> None:
    found = run(world, GENES.format(returned), abundance=["mean", "pct"], reader=reader)
    assert found.column_names[-3:] == ["mean", "pct", "cells"]
    cells = list(range(10))
    expected = [(mean(cells, 1), 100.0, 10), (mean(cells, 4), 50.0, 10), (None, None, None)]
    assert list(zip(*(found[c].to_pylist() for c in ("mean", "pct", "cells")), strict=True)) == expected


def test_groups_and_cohorts_give_one_row_each(world: Graph, reader: AbundanceReader) -> None:
    found = run(
        world,
        GENES.format("g.id AS gene"),
        abundance=["mean"],
        by="cell_type",
        cells="donor IN ('d0', 'd1')",
        reader=reader,
    )
    cohort = {"B cell": [1, 4], "T cell": [0, 9], None: [5, 8]}
    expected: list[dict[str, Any]] = [
        {"gene": gene, "cell_type": kind, "mean": mean(cells, column), "cells": 2}
        for gene, column in (("HGNC:20", 1), ("HGNC:50", 4))
        for kind, cells in cohort.items()
    ]
    expected.append({"gene": "HGNC:99", "cell_type": None, "mean": None, "cells": None})
    assert found.to_pylist() == expected


def test_a_gene_that_is_returned_twice_is_joined_twice(world: Graph, reader: AbundanceReader) -> None:
    found = run(world, "UNWIND ['HGNC:20', 'HGNC:20'] AS gene RETURN gene", abundance=["mean"], reader=reader)
    assert found["mean"].to_pylist() == [mean(list(range(10)), 1)] * 2


@pytest.mark.parametrize(
    ("query", "options", "error", "says"),
    [
        ("RETURN 1 AS x", {"abundance": ["mean"]}, QueryError, "No returned column holds genes"),
        ("MATCH (p:Pathway) RETURN p", {"abundance": ["mean"]}, QueryError, "No returned column holds genes"),
        ("MATCH (g:Gene) RETURN g", {"abundance": ["median"]}, QueryError, "'median' is no statistic"),
        ("MATCH (g:Gene) RETURN g", {"by": "donor"}, QueryError, "--by is about abundance"),
        ("MATCH (g:Gene) RETURN g", {"cells": "true"}, QueryError, "--cells is about abundance"),
        ("MATCH (g:Gene) RETURN g", {"layer": "log1p"}, QueryError, "--layer is about abundance"),
        (
            "MATCH (g:Gene) RETURN g, 1 AS mean",
            {"abundance": ["mean"]},
            QueryError,
            "already returns a column 'mean'",
        ),
        ("MATCH (g:Gene) RETURN g", {"abundance": ["mean"], "by": "donr"}, CohortError, "'donor'"),
        (
            "MATCH (g:Gene) RETURN g",
            {"abundance": ["mean"], "cells": "donor = 'd7'"},
            CohortError,
            "no value 'd7'",
        ),
    ],
)
def test_a_join_that_cannot_be_made_says_why(
    world: Graph,
    reader: AbundanceReader,
    query: str,
    options: dict[str, Any],
    error: type[TosgError],
    says: str,
) -> None:
    with pytest.raises(error) as refusal:
        run(world, query, reader=reader, **options)
    assert says in str(refusal.value)


# --------------------------------------------------------------------------- output


def test_rows_are_written_as_json_csv_and_parquet(
    world: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(
        world, "MATCH (p:Pathway) RETURN p.id AS id, p.synonyms AS names, p.size AS size, null AS nothing"
    )
    expected = {"id": "P:1", "names": ["a", "b"], "size": 3, "nothing": None}
    rows_module.write(found, "json", None)
    assert json.loads(capsys.readouterr().out) == [expected]
    rows_module.write(found, "csv", None)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out))) == [
        ["id", "names", "size", "nothing"],
        ["P:1", "a|b", "3", ""],
    ]
    rows_module.write(found, "parquet", tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == [expected]
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["rows.parquet"]


def test_a_file_that_cannot_be_written_is_named(world: Graph, tmp_path: Path) -> None:
    with pytest.raises(TosgError, match="cannot be written"):
        rows_module.write(run(world, "RETURN 1 AS x"), "csv", tmp_path / "nowhere" / "rows.csv")
