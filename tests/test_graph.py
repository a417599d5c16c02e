"""`Graph` against the real server: values come back as they are, errors in one line, reads stay reads."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tosg_graph.errors import QueryError, ServerError, TosgError
from tosg_graph.graph import Graph

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def one_line(error: pytest.ExceptionInfo[TosgError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_and_columns_agree(graph: Graph) -> None:
    graph.write(
        "UNWIND $rows AS row CREATE (:Gene {id: row.id, n: row.n})",
        rows=[{"id": f"X:{i}", "n": 100 * i} for i in range(30)],
    )
    statement = "MATCH (g:Gene) WHERE g.n >= $least RETURN g.id AS id, g.n AS n, [g.n, 1] AS list ORDER BY n"
    rows = graph.rows(statement, least=100)
    assert rows == [{"id": f"X:{i}", "n": 100 * i, "list": [100 * i, 1]} for i in range(1, 30)]
    table = graph.columns(statement, least=100)
    assert table.column_names == ["id", "n", "list"]
    assert [str(t) for t in table.schema.types] == ["string", "int64", "list<item: int64>"]
    assert table.to_pylist() == rows


@given(value=st.one_of(INT64, TEXT, st.booleans(), st.floats(allow_nan=False), st.lists(INT64), st.none()))
@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_values_come_back_as_they_were_sent(server_graph: Graph, value: object) -> None:
    assert server_graph.rows("RETURN $value AS value", value=value) == [{"value": value}]
    assert server_graph.columns("RETURN $value AS value", value=value).to_pylist() == [{"value": value}]


def test_dates_come_back_as_pythons(server_graph: Graph) -> None:
    statement = (
        "RETURN date('2026-01-02') AS d, [date('2026-01-03')] AS l, datetime('2026-01-02T03:04:05Z') AS t"
    )
    [row] = server_graph.rows(statement)
    assert row == {
        "d": date(2026, 1, 2),
        "l": [date(2026, 1, 3)],
        "t": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    assert server_graph.columns(statement)["d"].to_pylist() == [date(2026, 1, 2)]


def test_no_rows_keep_their_columns(graph: Graph) -> None:
    statement = "MATCH (n:Nothing) RETURN n.id AS id"
    assert graph.rows(statement) == []
    table = graph.columns(statement)
    assert (table.num_rows, table.column_names) == (0, ["id"])


@pytest.mark.parametrize("what", ["n", "n.value"])
def test_columns_refuse_what_is_not_one_type(graph: Graph, what: str) -> None:
    graph.write("CREATE (:A {value: 1}), (:A {value: 'one'})")
    with pytest.raises(QueryError, match=r"Column 'x' holds .*Return properties"):
        graph.columns(f"MATCH (n:A) RETURN {what} AS x")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE (n:Written) RETURN n",
        "MERGE (n:Written) RETURN n",
        "CREATE INDEX written FOR (n:Written) ON (n.id)",
        "CALL db.createLabel('Written')",
        "MATCH (n) DETACH DELETE n",
    ],
)
def test_reading_methods_do_not_write(graph: Graph, statement: str) -> None:
    graph.write("CREATE (:Kept)")
    for read in (graph.rows, graph.columns):
        with pytest.raises(QueryError, match="Only reading is allowed here") as error:
            read(statement)
        one_line(error)
    assert graph.rows("MATCH (n) RETURN labels(n) AS labels") == [{"labels": ["Kept"]}]


def test_a_write_that_fails_leaves_nothing(graph: Graph) -> None:
    with pytest.raises(QueryError, match="by zero"):
        graph.write("UNWIND [1, 1, 0] AS x CREATE (:Half {value: 1 / x})")
    assert graph.rows("MATCH (n) RETURN count(n) AS n") == [{"n": 0}]
    counters = graph.write("UNWIND [1, 2] AS x CREATE (:Whole {value: x})").counters
    assert (counters.nodes_created, counters.properties_set) == (2, 2)


@pytest.mark.parametrize(
    ("statement", "kind"), [("MATCH (n) RETURN n", "r"), ("CREATE (n) RETURN n", "rw"), ("CREATE (n)", "w")]
)
def test_explain_says_what_it_would_do_and_does_nothing(graph: Graph, statement: str, kind: str) -> None:
    assert graph.explain(statement, {}).query_type == kind
    assert graph.rows("MATCH (n) RETURN count(n) AS n") == [{"n": 0}]


def test_the_caret_points_into_the_users_text(server_graph: Graph) -> None:
    statement = "MATCH (g:Gene)\nRETURN g.id ORDER g.id"
    with pytest.raises(QueryError) as ran:
        server_graph.rows(statement)
    with pytest.raises(QueryError) as explained:
        server_graph.explain(statement)
    assert str(explained.value) == str(ran.value)
    message, quoted, caret = str(ran.value).splitlines()
    assert "(line 2, column 19 (offset: 33))" in message
    assert quoted[caret.index("^") :].startswith("g.id")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("RETURN $missing", "missing"),
        ("LOAD CSV FROM 'file:///etc/passwd' AS row RETURN row", "Cannot load from URL"),
        ("CALL apoc.cypher.doIt('CREATE (n)', {})", "no procedure"),
        ("CALL apoc.load.json('file:///etc/passwd')", "no procedure"),
        ("CALL apoc.periodic.iterate('RETURN 1', 'RETURN 1', {})", "no procedure"),
        ("CALL apoc.export.csv.all('x.csv', {})", "no procedure"),
        ("CALL gds.graph.export('g', {dbName: 'x'})", "no procedure"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(server_graph: Graph, statement: str, said: str) -> None:
    with pytest.raises(QueryError) as error:
        server_graph.rows(statement)
    assert said in one_line(error)


def test_what_is_allowed_works(graph: Graph) -> None:
    [row] = graph.rows(
        "RETURN gds.version() AS gds, apoc.coll.sum([1, 2]) AS sum, apoc.text.join(['a', 'b'], '-') AS text"
    )
    assert row == {"gds": "2.13.9", "sum": 3.0, "text": "a-b"}
    [component] = graph.rows("CALL dbms.components() YIELD name, versions, edition RETURN *")
    assert (component["versions"], component["edition"]) == (["5.26.30"], "community")
    graph.write("CREATE (a:G {id: 1})-[:R]->(b:G {id: 2})-[:R]->(c:G {id: 3}), (a)-[:R]->(c)")
    graph.rows("CALL gds.graph.project('g', 'G', 'R') YIELD graphName RETURN graphName")
    ranks = graph.rows(
        "CALL gds.pageRank.stream('g') YIELD nodeId, score "
        "RETURN gds.util.asNode(nodeId).id AS id, score ORDER BY score DESC"
    )
    graph.rows("CALL gds.graph.drop('g') YIELD graphName RETURN graphName")
    assert [r["id"] for r in ranks] == [3, 2, 1]
    assert graph.rows("CALL apoc.meta.stats() YIELD nodeCount RETURN nodeCount") == [{"nodeCount": 3}]


def test_a_parameter_that_cannot_be_sent_is_one_line(server_graph: Graph) -> None:
    with pytest.raises(QueryError) as error:
        server_graph.rows("RETURN $x AS x", x=2**63)
    one_line(error)
    assert "whole numbers below 2^63" in str(error.value)
    with pytest.raises(QueryError, match="cannot be sent"):
        server_graph.rows("RETURN $x AS x", x=object())


def test_one_graph_serves_several_threads(graph: Graph) -> None:
    graph.write("UNWIND range(0, 999) AS i CREATE (:N {i: i})")
    found: list[list[int]] = []

    def read() -> None:
        found.append([r["i"] for r in graph.rows("MATCH (n:N) RETURN n.i AS i ORDER BY i")])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(1000))] * 8


def test_a_named_server_is_used_but_never_stopped(server_graph: Graph) -> None:
    address = server_graph.address
    named = replace(server_graph.settings, uri=address.uri, password=address.password)
    with Graph.connect(named) as other:
        assert server_graph.is_local
        assert not other.is_local
        assert other.rows("RETURN 1 AS one") == [{"one": 1}]
        with pytest.raises(ServerError, match="was not started by tosg"):
            other.restart_around(lambda: None)


def test_a_closed_graph_says_so(server_graph: Graph) -> None:
    other = Graph.connect(server_graph.settings)
    other.close()
    with pytest.raises(TosgError):
        other.rows("RETURN 1")
