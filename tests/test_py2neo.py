"""The page on py2neo does what it says, against the real server; the program itself never imports it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tosg_graph.graph import Graph

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "py2neo.md"


# What follows the page's example. In a process of its own: py2neo leaves its connections open.
MORE = """
import json
from py2neo import ClientError, Node
refused = []
for work in (lambda: graph.query("CREATE (:Note)"), lambda: graph.schema.get_uniqueness_constraints("Gene")):
    try:
        work()
    except ClientError as error:
        refused.append(str(error))
graph.merge(Node("Note", id="n"), "Note", "id")
print(json.dumps([rows, gene["id"], total, refused]))
"""


def test_the_example_of_the_page_runs(graph: Graph) -> None:
    pytest.importorskip("py2neo", reason='py2neo is missing: pip install "tosg-graph[py2neo]"')
    graph.write(
        "CREATE (e:Entity:Gene {id: 'HGNC:3236', name: 'EGFR', symbol: 'EGFR'})"
        "-[:SIGNALS_TO {sign: 1, edge_key: 1}]->(:Entity:Gene {id: 'HGNC:4566', name: 'GRB2', symbol: 'GRB2'}) "
        "CREATE (e)-[:SIGNALS_TO {sign: -1, edge_key: 2}]->(:Entity:Gene {id: 'HGNC:1541', name: 'CBL', symbol: 'CBL'})"
    )
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    address = graph.address
    named = {
        "TOSG_NEO4J_URI": address.uri,
        "TOSG_NEO4J_USER": address.user,
        "TOSG_NEO4J_PASSWORD": address.password,
    }
    done = subprocess.run(
        [sys.executable, "-c", code + MORE],
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows, gene, total, refused = json.loads(done.stdout)
    assert rows == [{"symbol": "CBL", "sign": -1}, {"symbol": "GRB2", "sign": 1}]
    assert (gene, total) == ("HGNC:3236", 3)
    assert ["AccessMode" in refused[0], "ProcedureNotFound" in refused[1]] == [True, True]
    assert graph.rows("MATCH (n:Note) RETURN n.id AS id") == [{"id": "n"}]


def test_the_program_does_not_import_py2neo() -> None:
    files = [*ROOT.glob("tosg_graph/**/*.py"), *ROOT.glob("loaders/**/*.py")]
    assert files
    assert not [path for path in files if "py2neo" in path.read_text(encoding="utf-8")]
