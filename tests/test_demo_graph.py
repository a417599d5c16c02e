"""The demo graph holds what was promised, and an identical second load changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

FLOORS = {
    "genes": (40_000, "MATCH (n:Gene) RETURN count(n) AS n"),
    "proteins": (19_000, "MATCH (n:Protein) RETURN count(n) AS n"),
    "pathways": (600, "MATCH (n:Pathway) RETURN count(n) AS n"),
    "memberships": (20_000, "MATCH (:Gene)-[r:PARTICIPATES_IN]->(:Pathway) RETURN count(r) AS n"),
    "directed signaling pairs": (
        4_000,
        "MATCH (a)-[:SIGNALS_TO|LIGAND_OF]->(b) WITH DISTINCT a, b RETURN count(*) AS n",
    ),
    "function and location edges": (
        200_000,
        "MATCH (:Gene)-[r:INVOLVED_IN|ENABLES|LOCATED_IN]->() RETURN count(r) AS n",
    ),
    "ontology terms with definitions": (
        50_000,
        "MATCH (n:Disease|CellType|Organ|Metabolite) WHERE n.description IS NOT NULL RETURN count(n) AS n",
    ),
    "targets of approved drugs": (
        150,
        "MATCH (:Drug)-[:TARGETS]->(t) RETURN count(DISTINCT t) AS n",
    ),
    "gene-disease pairs": (
        100,
        "MATCH (:Gene)-[r:ASSOCIATED_WITH]->(:Disease) WHERE r.source = 'gene_disease' RETURN count(r) AS n",
    ),
}


@pytest.mark.parametrize("what", FLOORS)
def test_the_floor_is_reached(demo_graph: Graph, what: str) -> None:
    floor, statement = FLOORS[what]
    assert demo_graph.rows(statement)[0]["n"] >= floor


def test_every_edge_names_a_source_that_is_described(demo_graph: Graph) -> None:
    rows = demo_graph.rows(
        "MATCH ()-[r]->() WITH DISTINCT r.source AS key "
        "WHERE NOT EXISTS { MATCH (:Source {key: key}) } RETURN collect(key) AS missing"
    )
    assert rows[0]["missing"] == []


def test_every_entity_has_text_and_its_hash(demo_graph: Graph) -> None:
    from tosg_graph.text import text_sha

    lacking = demo_graph.rows(
        "MATCH (n:Entity) WHERE n.text IS NULL OR n.text = '' OR n.text_sha IS NULL RETURN count(n) AS n"
    )
    assert lacking[0]["n"] == 0
    some = demo_graph.rows("MATCH (n:Gene {symbol: 'STAT1'}) RETURN n.text AS text, n.text_sha AS sha")
    assert [text_sha(row["text"]) for row in some] == [row["sha"] for row in some]
    assert len(some) == 1


def test_the_same_thing_is_one_node(demo_graph: Graph) -> None:
    """STAT1's protein is stated by two sources and is one node with both."""
    rows = demo_graph.rows(
        "MATCH (p:Protein {id: 'UniProtKB:P42224'}) RETURN p.sources AS sources, p.entry_name AS e"
    )
    assert rows == [{"sources": ["hgnc", "uniprot"], "e": "STAT1_HUMAN"}]


@pytest.mark.slow
def test_loading_one_source_again_writes_nothing(demo_graph: Graph, settings: Settings) -> None:
    from loaders import LOADERS
    from tosg_graph.downloads import fetch
    from tosg_graph.load import graph_release, load

    before = graph_release(demo_graph)
    loader = LOADERS["wikipathways"]
    lines = load(demo_graph, [(loader.SOURCE, loader.parse(fetch(loader.SOURCE, settings)))])
    assert [(line.created, line.updated) for line in lines] == [(0, 0)] * len(lines)
    assert all(line.loaded for line in lines)
    assert graph_release(demo_graph) == before
