"""Annotation lines: drawn from the real graph, bounded, the same each time, and kept by a load that changes nothing."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import annotate as module
from tosg_graph.annotate import AnnotateReport, annotate, annotation_lines, steps
from tosg_graph.contract import allows
from tosg_graph.graph import Graph
from tosg_graph.load import load
from tosg_graph.resources import schema
from tosg_graph.text import text_sha
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Source

RULES = schema("annotations")


# --------------------------------------------------------------------------- the rules and the lines


@pytest.mark.parametrize("label", RULES["labels"])
def test_every_path_of_the_rules_may_exist(label: str) -> None:
    for title, paths in RULES["labels"][label].items():
        for path in paths:
            here = label
            assert 1 <= len(steps(path)) <= 2, path
            for step in steps(path):
                ways = [(here, step.label)] if not step.against else []
                ways += [(step.label, here)] if not step.along else []
                assert any(allows(step.verb, *way) for way in ways), (title, path)
                here = step.label
            # Written back, it is what was read: nothing was skipped.
            written = " ".join(f"{'<' * s.against}{s.verb}{'>' * s.along} {s.label}" for s in steps(path))
            assert written == path


def test_a_line_names_the_first_by_code_point_and_says_how_many_more() -> None:
    names = [f"n{k:02d}" for k in range(25)]
    random.Random(7).shuffle(names)
    assert annotation_lines({"Genes": names, "Drugs": [], "Diseases": None}) == [
        "Genes: n00; n01; n02; n03; n04; n05; n06; n07; n08; n09 (and 15 more)",
        "Diseases: more than 2,000",
    ]


@given(st.lists(st.text(max_size=300)), st.randoms())
def test_a_line_is_bounded_and_order_and_repeats_never_matter(
    names: list[str], chance: random.Random
) -> None:
    shuffled = names * 2
    chance.shuffle(shuffled)
    lines = annotation_lines({"T": names})
    assert lines == annotation_lines({"T": shuffled})
    assert all(len(line) <= len("T: ") + RULES["chars"] + len(" (and 9,999 more)") for line in lines)
    assert all("\n" not in line for line in lines)


# --------------------------------------------------------------------------- in the graph


def _nodes(label: str, **columns: Any) -> NodeTable:
    data = pa.table(columns)
    return NodeTable("toy", label.lower(), label, data, len(data))


def _edges(subject: str, verb: str, object_: str, rows: list[tuple[str, str]], **columns: Any) -> EdgeTable:
    data = pa.table({"subject": [r[0] for r in rows], "object": [r[1] for r in rows], **columns})
    return EdgeTable("toy", verb.lower() + object_.lower(), subject, verb, object_, data, len(data))


SOURCE = Source("toy", "Toy", "1", "CC0-1.0", "https://example.org", 0.0, {})


def toy(disease: str = "plague", negated: bool = True) -> list[tuple[Source, Parsed]]:
    """A gene, its protein, and around both one of each kind; the gene's second disease is a negated statement."""
    nodes = (
        _nodes("Gene", id=["HGNC:1", "HGNC:2"], name=["G1", "G2"], symbol=["G1", "G2"]),
        _nodes("Protein", id=["UniProtKB:P1", "UniProtKB:P2"], name=["prot 1", "prot 2"]),
        _nodes("Transcript", id=["ENSEMBL:ENST1"], name=["G1-201"]),
        _nodes("BiologicalProcess", id=["GO:1", "GO:2"], name=["growth", "life"]),
        _nodes("MolecularFunction", id=["GO:3"], name=["binding"]),
        _nodes("CellularComponent", id=["GO:4"], name=["nucleus"]),
        _nodes("Pathway", id=["REACT:R1"], name=["path"]),
        _nodes("Disease", id=["MONDO:1", "MONDO:2"], name=[disease, "cold"]),
        _nodes("Drug", id=["DRUGBANK:1"], name=["aspirin"]),
    )
    edges = (
        _edges("Gene", "ENCODES", "Protein", [("HGNC:1", "UniProtKB:P1")]),
        _edges("Gene", "TRANSCRIBED_TO", "Transcript", [("HGNC:1", "ENSEMBL:ENST1")]),
        _edges("Gene", "INVOLVED_IN", "BiologicalProcess", [("HGNC:1", "GO:1")], evidence=[["IDA"]]),
        _edges("Protein", "ENABLES", "MolecularFunction", [("UniProtKB:P1", "GO:3")], evidence=[["IDA"]]),
        _edges("Protein", "LOCATED_IN", "CellularComponent", [("UniProtKB:P1", "GO:4")], evidence=[["IDA"]]),
        _edges("Protein", "PARTICIPATES_IN", "Pathway", [("UniProtKB:P1", "REACT:R1")]),
        _edges(
            "Gene",
            "ASSOCIATED_WITH",
            "Disease",
            [("HGNC:1", "MONDO:1"), ("HGNC:1", "MONDO:2")],
            negated=[None, negated or None],
        ),
        _edges("Drug", "TARGETS", "Protein", [("DRUGBANK:1", "UniProtKB:P1")]),
        _edges("Drug", "INDICATED_FOR", "Disease", [("DRUGBANK:1", "MONDO:1")]),
        _edges("Protein", "LIGAND_OF", "Protein", [("UniProtKB:P2", "UniProtKB:P1")]),
        _edges("BiologicalProcess", "IS_A", "BiologicalProcess", [("GO:1", "GO:2")]),
    )
    return [(SOURCE, Parsed(nodes, edges))]


@pytest.fixture
def world(graph: Graph) -> Graph:
    graph.write("CREATE (:Elsewhere)")  # not empty: the load is an upsert, and the server stays up
    load(graph, toy())
    return graph


def texts(graph: Graph) -> dict[str, str]:
    rows = graph.rows("MATCH (n:Entity) RETURN n.id AS id, n.text AS text, n.text_sha AS sha")
    assert [text_sha(row["text"]) for row in rows] == [row["sha"] for row in rows]
    return {row["id"]: row["text"] for row in rows}


def test_a_text_says_what_is_around_an_entity(world: Graph) -> None:
    own = texts(world)
    assert own["HGNC:1"] == "Gene: G1"
    assert annotate(world) == AnnotateReport(entities=13, read=13, changed=8)
    found = texts(world)
    gene = (
        "Functions: binding\nProcesses: growth\nLocations: nucleus\nPathways: path\nDiseases: plague\n"
        "Drugs: aspirin\nLigands: prot 2"
    )
    assert found["HGNC:1"] == f"Gene: G1\n{gene}"
    assert found["UniProtKB:P1"] == f"Protein: prot 1\nGene: G1\n{gene}"
    assert found["ENSEMBL:ENST1"] == "Transcript: G1-201\nGene: G1"
    assert found["REACT:R1"] == "Pathway: path\nGenes: G1\nProteins: prot 1"
    assert found["MONDO:1"] == "Disease: plague\nGenes: G1\nDrugs: aspirin"
    assert found["MONDO:2"] == "Disease: cold"  # the statement is negated
    assert found["DRUGBANK:1"] == "Drug: aspirin\nTargets: prot 1\nIndications: plague"
    assert found["GO:1"] == "BiologicalProcess: growth\nParents: life"
    assert found["UniProtKB:P2"] == "Protein: prot 2\nReceptors: prot 1"


def test_a_load_of_the_same_writes_nothing_and_keeps_the_lines(world: Graph) -> None:
    annotate(world)
    before = texts(world)
    assert {(line.created, line.updated) for line in load(world, toy())} == {(0, 0)}
    assert annotate(world) == AnnotateReport(entities=13, read=0, changed=0)
    assert {(line.created, line.updated) for line in load_in_another_home(world)} == {(0, 0)}
    assert texts(world) == before


def load_in_another_home(graph: Graph) -> Any:
    """Load where nothing is known of the last load: every row is read and compared."""
    for path in graph.settings.stated.glob("*.parquet"):
        path.unlink()
    graph.write("CREATE (:Elsewhere)")
    graph.write("MATCH (r:Release) SET r.contents = []")
    return load(graph, toy())


def test_a_new_release_changes_the_texts_around_what_changed(world: Graph) -> None:
    annotate(world)
    load(world, toy(disease="black death"))
    found = texts(world)
    assert found["MONDO:1"] == "Disease: black death"  # its own lines: stale, and seen to be
    assert "Diseases: plague" in found["HGNC:1"]
    assert annotate(world, ["HGNC:1", "HGNC:1", "no:such"]) == AnnotateReport(2, 1, 1)
    assert "Diseases: black death" in texts(world)["HGNC:1"]
    assert annotate(world) == AnnotateReport(entities=13, read=12, changed=3)  # disease, protein, drug
    assert "Indications: black death" in texts(world)["DRUGBANK:1"]


def test_an_interrupted_run_goes_on_where_it_was(world: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH", 4)

    def press(_: str, done: int, __: int | None) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(world, progress=press)
    report = annotate(world)
    assert (report.entities, report.read) == (13, 5)
    assert "Drugs: aspirin" in texts(world)["UniProtKB:P1"]


def test_a_hub_is_counted_not_read(world: Graph) -> None:
    world.write(
        "MATCH (n {id: 'REACT:R1'}) UNWIND range(1, 2001) AS k "
        "CREATE (:Gene {name: 'h' + k})-[:PARTICIPATES_IN]->(n)"
    )
    annotate(world)
    found = texts(world)
    assert found["REACT:R1"] == "Pathway: path\nGenes: more than 2,000\nProteins: prot 1"
    assert "Pathways: path" in found["HGNC:1"]  # a hub may be named


def test_a_text_that_a_load_has_changed_meanwhile_is_left_alone(world: Graph) -> None:
    rows = [{"id": "HGNC:1", "before": "another", "set": {"text": "old", "text_sha": "x"}}]
    from tosg_graph.resources import cypher

    world.write(cypher("annotate_write"), rows=rows)
    assert texts(world)["HGNC:1"] == "Gene: G1"
