"""Graphs and databases of others, as their own tests make them, loaded together into the real server."""

from __future__ import annotations

from pathlib import Path

import pytest
import test_drkg
import test_hgnc
import test_omnicelltosg
import test_optimuskg
import test_primekg
import test_reactome
import test_string

from loaders import LOADERS, omnicelltosg, optimuskg, reactome, string
from tosg_graph.graph import Graph
from tosg_graph.load import load
from tosg_graph.types import Parsed, Source

pytestmark = pytest.mark.server


def parsed(folder: Path) -> list[tuple[Source, Parsed]]:
    """Everything that the toys state; each has a folder of its own."""
    own = {key: folder / key for key in LOADERS}
    for path in own.values():
        path.mkdir()
    header = f"protein1 protein2 {test_string.CHANNELS}"
    pairs = test_string.both_ways(
        (test_string.EGFR, test_string.GRB2, "0 0 0 62 0 0 900 990"),
        (test_string.EGFR, test_string.SHC1, "0 0 0 0 0 0 0 150"),
    )
    links = test_string.write(own["string"], "links.detailed", header, pairs)
    members = [test_reactome.member("1956", "R-HSA-177929"), test_reactome.member("9999999", "R-HSA-177929")]
    found = {
        "hgnc": test_hgnc.parse(own["hgnc"], withdrawn=test_hgnc.WITHDRAWN),
        "primekg": test_primekg.parse(own["primekg"], test_primekg.both_ways(test_primekg.RELATIONS)),
        "optimuskg": optimuskg.parse(test_optimuskg.combined(own["optimuskg"])),
        "drkg": test_drkg.parse(own["drkg"], test_drkg.ROWS),
        "string": string.parse({"links": links}, min_score="700"),
        "omnicelltosg": omnicelltosg.parse(test_omnicelltosg.write(own["omnicelltosg"])),
        "reactome": reactome.parse(test_reactome.write(own["reactome"], ncbi=members)),
    }
    return [(LOADERS[key].SOURCE, found[key]) for key in LOADERS if key in found]


def test_all_of_them_load_and_the_ledger_adds_up(graph: Graph, tmp_path: Path) -> None:
    graph.write("CREATE (:Elsewhere)")  # not empty: loads are upserts, and the server stays up
    tables = parsed(tmp_path)
    lines = load(graph, tables)
    assert all(line.read == line.loaded + line.merged + line.rejected for line in lines)
    assert sum(line.loaded for line in lines) == sum(line.created for line in lines) > 90
    names = {(line.source, line.table): line for line in lines}
    links = names["string", "links"]
    assert (links.read, links.loaded, links.merged, links.rejected) == (4, 1, 1, 2)
    assert links.reasons["below min_score 700"] == 2
    assert names["reactome", "NCBI2Reactome: Gene"].reasons == {"unknown id": 1}

    rows = graph.rows(
        "MATCH (:Pathway)-[r:PART_OF]->(:Pathway {name: 'Signal Transduction'}) RETURN r.source AS s"
    )
    assert rows == [{"s": "reactome"}]
    rows = graph.rows(
        "MATCH (:Protein)-[r:INTERACTS_WITH {source: 'string'}]->() RETURN r.score AS s, r.method AS m"
    )
    assert rows == [{"s": 0.99, "m": "coexpression 62; textmining 900"}]
    rows = graph.rows(
        "MATCH (t:Transcript {omics_column: 4})-[:TRANSLATED_TO]->(p) RETURN t.bmg_ids AS b, p.id AS p"
    )
    assert rows == [{"b": ["BMGC:TS000005"], "p": "BMGC:PT000004"}]

    _check_negative_statements(graph)
    again = load(graph, tables)
    assert sum(line.created + line.updated for line in again) == 0


def _check_negative_statements(graph: Graph) -> None:
    """Absent, negative and contraindicated relations are negated, and no treatment is."""
    negated = graph.rows(
        "MATCH ()-[r {negated: true}]->() RETURN type(r) AS verb, r.relation AS said ORDER BY said"
    )
    assert {row["verb"] for row in negated} == {"ASSOCIATED_WITH"}
    assert [row["said"] for row in negated] == [
        "CONTRAINDICATION",
        "EXPRESSION_ABSENT",
        "anatomy_protein_absent",
        "contraindication",
        "disease_phenotype_negative",
    ]
    treated = graph.rows(
        "MATCH (d)-[r:INDICATED_FOR]->() WHERE r.source <> 'DRUGBANK' RETURN r.kind AS kind ORDER BY kind"
    )
    assert [row["kind"] for row in treated] == ["indication", "indication", "off-label use"]
