"""What may be asked: an attack list against the real server, and what must stay possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tosg_graph.errors import QueryError
from tosg_graph.read_guard import check_reads_only

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

WRITES = [
    "CREATE (n:Entity {id: 'X:1'}) RETURN n",
    "MERGE (n:Entity {id: 'X:1'}) RETURN n",
    "MATCH (n) SET n.name = 'x' RETURN n",
    "MATCH (n) REMOVE n.name RETURN n",
    "MATCH (n) DETACH DELETE n",
    "MATCH (n) CALL (n) { SET n.name = 'x' RETURN 1 AS x } RETURN x",
    "FOREACH (i IN [1] | CREATE (:Entity {id: 'X:' + i}))",
    "MATCH (n) CALL (n) { CREATE (:X) } IN TRANSACTIONS RETURN count(*)",
    "CREATE INDEX evil IF NOT EXISTS FOR (n:Entity) ON (n.evil)",
    "DROP INDEX gene_symbol IF EXISTS",
    "CREATE CONSTRAINT evil IF NOT EXISTS FOR (n:Entity) REQUIRE n.evil IS UNIQUE",
    "MATCH (n:Entity) CALL db.create.setNodeVectorProperty(n, 'text_embedding', [1.0]) RETURN n",
    "CALL db.createLabel('Evil')",
]
ATTACKS = [  # query, what the message must name
    *((query, "") for query in WRITES),
    ("LOAD CSV FROM 'file:///etc/passwd' AS line RETURN line", "LOAD CSV"),
    ("load /* */ csv FROM 'file:///etc/passwd' AS line RETURN line", "LOAD CSV"),
    ("CALL { LOAD CSV FROM 'file:///x.csv' AS line RETURN line } RETURN line", "LOAD CSV"),
    ("MATCH (n) CALL (n) { RETURN 1 AS x } IN TRANSACTIONS OF 10 ROWS RETURN x", "TRANSACTIONS"),
    ("MATCH (n) CALL (n) { RETURN 1 AS x } IN 4 CONCURRENT TRANSACTIONS RETURN x", "TRANSACTIONS"),
    ("RETURN 1 AS a; MATCH (n) DETACH DELETE n", "several statements"),
    ("RETURN 1 AS a; RETURN 2 AS a;", "several statements"),
    ("EXPLAIN RETURN 1", "EXPLAIN"),
    ("/* hidden */ explain RETURN 1", "EXPLAIN"),
    ("PROFILE RETURN 1", "PROFILE"),
    ("CYPHER runtime=slotted RETURN 1", "CYPHER"),
    ("USE system SHOW USERS", "USE"),
    ("USE neo4j RETURN 1", "USE"),
    ("RETURN 1 AS a UNION USE neo4j RETURN 2 AS a", "USE"),
    ("CALL () { USE neo4j RETURN 2 AS a } RETURN a", "USE"),
    ("SHOW USERS", "SHOW"),
    ("SHOW INDEXES YIELD name RETURN name", "SHOW"),
    (
        "SHOW TRANSACTIONS YIELD transactionId AS t TERMINATE TRANSACTION t YIELD message RETURN message",
        "SHOW",
    ),
    ("TERMINATE TRANSACTION 'neo4j-transaction-1'", "TERMINATE"),
    ("ALTER USER neo4j SET PASSWORD 'abcdefgh'", "ALTER"),
    ("CREATE USER evil SET PASSWORD 'abcdefgh'", ""),
    ("CALL dbms.listConfig() YIELD name RETURN name", "dbms.listConfig"),
    ("CALL dbms.killQuery('x')", "dbms.killQuery"),
    ("CALL db.clearQueryCaches()", "db.clearQueryCaches"),
    ("CALL gds.graph.project('g', '*', '*')", "gds.graph.project"),
    ("CALL gds.graph.project.cypher('g', 'x', 'y') YIELD graphName RETURN graphName", "gds.graph.project"),
    ("MATCH (a)-->(b) RETURN gds.graph.project('g', a, b) AS g", "gds.graph.project"),
    ("CALL gds.graph.drop('g')", "gds.graph.drop"),
    ("CALL apoc.cypher.run('CREATE (n)', {}) YIELD value RETURN value", "apoc.cypher.run"),
    ("CALL apoc.cypher.doIt('CREATE (n)', {}) YIELD value RETURN value", "apoc.cypher.doIt"),
    ("call\n`apoc` . `cypher` /* x */ .run('CREATE (n)', {}) YIELD value RETURN value", "apoc.cypher.run"),
    ("RETURN apoc.cypher.runFirstColumnSingle('CREATE (n)', {}) AS x", "apoc.cypher"),
    (
        "RETURN [x IN [1] | apoc . cypher // x\n . runFirstColumnSingle ('CREATE (n)', {})] AS x",
        "apoc.cypher",
    ),
    ("CALL apoc.load.json('file:///etc/passwd') YIELD value RETURN value", "apoc.load.json"),
    ("CALL apoc.export.csv.query('RETURN 1', null, {stream: true}) YIELD data RETURN data", "apoc.export"),
    ("CALL apoc.periodic.iterate('RETURN 1', 'CREATE (n)', {}) YIELD total RETURN total", "apoc.periodic"),
    ("CALL apoc.util.sleep(10000)", "apoc.util.sleep"),
    (
        "RETURN CASE 1 WHEN 2 THEN [] ELSE collect { CALL dbms.listConfig() YIELD name RETURN name } END",
        "dbms.listConfig",
    ),
    ("RETURN count { CALL dbms.listConfig() YIELD name RETURN name } AS c", "dbms.listConfig"),
    ("\\u0043REATE (n) RETURN n", "escape"),
    ("CALL db\\u002ecreateLabel('Evil')", "escape"),
    ("CALL\u200bdb.createLabel('Evil')", "U+200B"),
    ("", "empty"),
    ("  // nothing\n", "comment"),
    ("MATCH (n) FINISH", "no columns"),
]
READS = [
    ("MATCH (g:Gene {symbol: $symbol}) RETURN g, g.name, count(*) AS n", ["g", "g.name", "n"]),
    ("RETURN 1 AS `a, b`, 2 AS `c``d`;", ["a, b", "c`d"]),
    ("// CREATE (n)\nRETURN 'CREATE (n); LOAD CSV' AS text", ["text"]),
    ("RETURN 'it\\'s' + \"\\\"; CALL dbms.x()\" AS text", ["text"]),
    ("MATCH (n) RETURN n AS call UNION ALL MATCH (n:Gene) RETURN n AS call", ["call"]),
    ("MATCH p = shortestPath((a:Gene {id: 'a'})-[*1..3]->(b:Gene {id: 'b'})) RETURN p", ["p"]),
    ("MATCH (n:Gene) WHERE n.symbol IN ['A'] AND EXISTS { (n)-->() } RETURN n {.id, x: 1.5} AS m", ["m"]),
    ("CALL db.labels() YIELD label RETURN label", ["label"]),
    ("CALL db.labels", ["label"]),
    (
        "CALL db.index.fulltext.queryNodes('entity_names', 'x') YIELD node, score RETURN node, score",
        ["node", "score"],
    ),
    ("RETURN date.truncate('year', date()) AS d, apoc.text.join(['a'], ',') AS t", ["d", "t"]),
    ("MATCH (n) CALL (n) { RETURN 1 AS x } RETURN x", ["x"]),
]


@pytest.mark.parametrize(("query", "named"), ATTACKS)
def test_attack_is_refused_in_one_line(server_graph: Graph, query: str, named: str) -> None:
    before = _census(server_graph)
    with pytest.raises(QueryError) as refusal:
        check_reads_only(server_graph, query, {})
    message = str(refusal.value)
    assert named.lower() in message.lower()
    assert "\n" not in message
    assert message.endswith((".", "RETURN g")), message
    assert _census(server_graph) == before


@pytest.mark.parametrize(("query", "columns"), READS)
def test_reading_is_allowed_and_columns_are_named(
    server_graph: Graph, query: str, columns: list[str]
) -> None:
    assert check_reads_only(server_graph, query, {"symbol": "STAT1"}) == columns


@pytest.mark.parametrize("query", WRITES)
def test_read_access_mode_refuses_writes_without_the_guard(server_graph: Graph, query: str) -> None:
    with server_graph.driver.session() as session:
        session.run("MERGE (n:Entity {id: 'X:0'}) SET n.name = 'kept'").consume()
    before = _census(server_graph)
    with pytest.raises(QueryError):
        server_graph.rows(query)
    assert _census(server_graph) == before


def test_syntax_error_keeps_the_carets_of_the_server(server_graph: Graph) -> None:
    with pytest.raises(QueryError) as refusal:
        check_reads_only(server_graph, "MATCH (g:Gene)\nRETUR g", {})
    lines = str(refusal.value).splitlines()
    assert "line 2, column 1" in lines[0]
    assert lines[-2].strip() == '"RETUR g"'
    assert lines[-1].index("^") == lines[-2].index("R")


def _census(graph: Graph) -> list[list[dict[str, object]]]:
    return [
        graph.rows("MATCH (n) RETURN count(n) AS nodes, count(n.name) AS names"),
        graph.rows("CALL db.labels() YIELD label RETURN label ORDER BY label"),
        graph.rows("SHOW INDEXES YIELD name RETURN name ORDER BY name"),
        graph.rows("SHOW CONSTRAINTS YIELD name RETURN name ORDER BY name"),
    ]
