"""The page on neo4j-graphrag does what it says, against the real server and with the real encoder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tosg_graph as tg
from tosg_graph.contract import schema_statements
from tosg_graph.graph import Graph
from tosg_graph.platform import Platform

pytest.importorskip("neo4j_graphrag")

PAGE = Path(__file__).parent.parent / "docs" / "graphrag.md"
PATHWAYS = {
    "REACT:R1": "Type II interferon signaling",
    "REACT:R2": "Bile acid transport",
    "REACT:R3": "Muscle contraction",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
def test_the_example_of_the_page_answers(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for statement in schema_statements():
        graph.write(statement)
    graph.write(
        "UNWIND keys($names) AS id CREATE (:Entity:Pathway {id: id, name: $names[id]}) "
        "WITH count(*) AS n MATCH (p {id: 'REACT:R1'}) "
        "CREATE (p)<-[:PARTICIPATES_IN]-(:Entity:Gene {id: 'HGNC:5438', name: 'IFNG', symbol: 'IFNG'})"
        "-[:ENCODES]->(:Entity:Protein {id: 'UniProtKB:P01579', name: 'interferon gamma'})"
        "<-[:TARGETS]-(:Entity:Drug {id: 'DRUGBANK:1', name: 'emapalumab'})",
        names=PATHWAYS,
    )

    connected = graph

    class Opened(Platform):
        graph = connected

        def close(self) -> None: ...

    before = graph.settings
    graph.settings = replace(before, home=tmp_path / "home")
    monkeypatch.setattr(tg, "open", lambda: Opened(graph.settings))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    try:
        exec(compile(code, str(PAGE), "exec"), names)
    finally:
        graph.settings = before
    assert next(item.metadata["id"] for item in names["hits"]) == "REACT:R1"
    assert {item.metadata["id"] for item in names["hits"]} == set(PATHWAYS)
    assert names["hits"][0].content == "Pathway: Type II interferon signaling\nGenes: IFNG"
    assert {"UniProtKB:P01579", "REACT:R1"} <= {item.metadata["id"] for item in names["both"]}
    assert {item.metadata["id"]: item.metadata["drugs"] for item in names["drugs"]}["REACT:R1"] == [
        "emapalumab"
    ]
    assert names["answer"].answer == "Pathway: Type II interferon signaling"
