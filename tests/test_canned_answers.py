"""The canned questions on a small made-up world, whose every right answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tosg_graph.graph import Graph
from tosg_graph.query import list_canned, run

# name -> (labels, id); the name is the symbol of a gene, and of its protein too.
GENES = {name: f"HGNC:{n}" for n, name in enumerate("ABCDELRXY", start=1)}
PROTEINS = {name: f"UniProtKB:P0000{GENES[name][5:]}" for name in "LRY"}
TERMS = {
    "way one": ("Pathway", "WIKIPATHWAYS:WP1"),
    "way two": ("Pathway", "WIKIPATHWAYS:WP2"),
    "way three": ("Pathway", "WIKIPATHWAYS:WP3"),
    "way four": ("Pathway", "WIKIPATHWAYS:WP4"),
    "dis one": ("Disease", "MONDO:1"),
    "dis one kind": ("Disease", "MONDO:11"),
    "dis two": ("Disease", "MONDO:2"),
    "dis three": ("Disease", "MONDO:3"),
    "inhibits A": ("Drug", "CHEBI:1"),
    "turns R on": ("Drug", "CHEBI:2"),
    "not for one": ("Drug", "CHEBI:3"),
    "acts on B": ("Drug", "CHEBI:4"),
    "acts on Y": ("Drug", "CHEBI:5"),
    "func": ("MolecularFunction", "GO:1"),
    "func kind": ("MolecularFunction", "GO:11"),
    "process": ("BiologicalProcess", "GO:2"),
    "process part": ("BiologicalProcess", "GO:22"),
    "place": ("CellularComponent", "GO:3"),
    "place part": ("CellularComponent", "GO:33"),
    "cell": ("CellType", "CL:1"),
    "cell kind": ("CellType", "CL:11"),
    "other cell": ("CellType", "CL:2"),
    "family": ("ProteinFamily", "FPLX:F"),
    "subfamily": ("ProteinFamily", "FPLX:S"),
}
COMPLEX = "COMPLEX:P00007_P00009"  # the receptor R with Y
# subject, verb, object, source, properties. `p` before a gene's name means its protein.
EDGES: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("L", "ENCODES", "pL", "one", {}),
    ("R", "ENCODES", "pR", "one", {}),
    ("Y", "ENCODES", "pY", "one", {}),
    # A activates B, B inhibits C, A activates C: an incoherent feed-forward loop.
    ("A", "SIGNALS_TO", "B", "one", {"sign": 1}),
    ("B", "SIGNALS_TO", "C", "one", {"sign": -1}),
    ("A", "SIGNALS_TO", "C", "two", {"sign": 1}),
    # ... which goes on to D, which inhibits A: A C D A is negative, A B C D A positive.
    ("C", "SIGNALS_TO", "D", "one", {"sign": 1}),
    ("D", "SIGNALS_TO", "A", "one", {"sign": -1}),
    # The two sources disagree.
    ("A", "SIGNALS_TO", "E", "one", {"sign": 1}),
    ("A", "SIGNALS_TO", "E", "two", {"sign": -1}),
    # L binds R, with a sign that nobody states; R activates A. Somebody says that L does not signal to X.
    ("pL", "LIGAND_OF", "pR", "one", {}),
    ("pL", "LIGAND_OF", "pR", "two", {"complex": [COMPLEX]}),
    ("R", "SIGNALS_TO", "A", "one", {"sign": 1}),
    ("L", "SIGNALS_TO", "X", "one", {"sign": 1, "negated": True}),
    *[(g, "PARTICIPATES_IN", "way one", "one", {}) for g in "ABLR"],
    *[(g, "PARTICIPATES_IN", "way two", "one", {}) for g in "ACD"],
    ("X", "PARTICIPATES_IN", "way three", "one", {}),
    # Of Y, everything is stated of its protein.
    ("pY", "PARTICIPATES_IN", "way three", "one", {}),
    ("pY", "PARTICIPATES_IN", "way four", "one", {}),
    ("pY", "ASSOCIATED_WITH", "dis three", "one", {}),
    ("acts on Y", "TARGETS", "pY", "one", {}),
    ("dis one kind", "IS_A", "dis one", "one", {}),
    ("A", "ASSOCIATED_WITH", "dis one kind", "one", {}),
    ("A", "ASSOCIATED_WITH", "dis two", "two", {}),
    ("B", "ASSOCIATED_WITH", "dis one", "one", {"negated": True}),
    ("B", "ASSOCIATED_WITH", "dis two", "one", {}),
    ("way two", "ASSOCIATED_WITH", "dis two", "one", {}),
    ("inhibits A", "TARGETS", "A", "one", {"action": "inhibitor"}),
    ("turns R on", "TARGETS", "pR", "one", {"action": "agonist"}),
    ("not for one", "TARGETS", "A", "one", {"action": "inhibitor"}),
    ("not for one", "INDICATED_FOR", "dis one kind", "one", {"kind": "contraindication"}),
    ("acts on B", "TARGETS", "B", "one", {}),
    ("func kind", "IS_A", "func", "one", {}),
    ("A", "ENABLES", "func kind", "one", {"evidence": ["IDA"]}),
    ("X", "ENABLES", "func kind", "one", {"evidence": ["IDA"]}),
    ("process part", "PART_OF", "process", "one", {}),
    ("B", "INVOLVED_IN", "process part", "one", {"evidence": ["IDA"]}),
    ("place part", "PART_OF", "place", "one", {}),
    ("A", "LOCATED_IN", "place part", "one", {"evidence": ["IDA"]}),
    ("B", "LOCATED_IN", "place", "one", {"evidence": ["IDA"]}),
    ("pR", "LOCATED_IN", "place", "one", {"evidence": ["IDA"]}),
    ("cell kind", "IS_A", "cell", "one", {}),
    ("L", "EXPRESSED_IN", "cell kind", "expression", {"fraction": 0.5, "mean": 2.0, "cells": 10}),
    ("R", "EXPRESSED_IN", "other cell", "expression", {"fraction": 0.4, "mean": 3.0, "cells": 20}),
    ("A", "EXPRESSED_IN", "cell kind", "expression", {"fraction": 0.6, "mean": 1.0, "cells": 10}),
    ("A", "EXPRESSED_IN", "other cell", "expression", {"fraction": 0.05, "mean": 0.1, "cells": 20}),
    ("B", "EXPRESSED_IN", "cell kind", "expression", {"fraction": 0.3, "mean": 1.0, "cells": 10}),
    ("B", "EXPRESSED_IN", "other cell", "expression", {"fraction": 0.3, "mean": 1.0, "cells": 20}),
    ("A", "IS_A", "family", "one", {}),
    ("subfamily", "PART_OF", "family", "one", {}),
    ("B", "IS_A", "subfamily", "one", {}),
]


def _id(name: str) -> str:
    return GENES.get(name) or PROTEINS.get(name.removeprefix("p")) or TERMS[name][1]


@pytest.fixture(scope="module")
def world(server_graph: Graph) -> Graph:
    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
        nodes = [["Gene", curie, name, name] for name, curie in GENES.items()]
        nodes += [["Protein", curie, f"protein {name}", None] for name, curie in PROTEINS.items()]
        nodes += [[label, curie, name, None] for name, (label, curie) in TERMS.items()]
        session.run(
            "UNWIND $nodes AS n CREATE (e:Entity:$(n[0]) {id: n[1], name: n[2], symbol: n[3], sources: ['one']})",
            nodes=nodes,
        ).consume()
        session.run(
            "UNWIND $edges AS e MATCH (a:Entity {id: e[0]}), (b:Entity {id: e[2]}) "
            "CREATE (a)-[r:$(e[1])]->(b) SET r = e[4], r.source = e[3]",
            edges=[[_id(s), verb, _id(o), source, more] for s, verb, o, source, more in EDGES],
        ).consume()
        session.run(
            "CREATE (:Source {key: 'one', licence: 'CC0-1.0'}), (:Source {key: 'two', licence: 'MIT'})"
        )
    return server_graph


def ask(
    graph: Graph, name: str, *columns: str, sources: Sequence[str] | None = None, **given: Any
) -> list[Any]:
    """Rows of a question as tuples of some columns, in order; a single column as plain values."""
    canned = next(c for c in list_canned() if c.name == name)
    if sources is None:
        rows = run(graph, name, given).to_pylist()
    else:
        defaults = {p.name: p.default for p in canned.parameters}
        rows = graph.rows(canned.statement, **{**defaults, **given, "sources": list(sources)})
    found = [tuple(row[c] for c in columns) for row in rows]
    return [row[0] for row in found] if len(columns) == 1 else found


def test_signs_multiply_along_the_way_down(world: Graph) -> None:
    columns = ("symbol", "steps", "effect")
    one_step = [("B", 1, "activates"), ("C", 1, "activates"), ("E", 1, "inconsistent")]
    assert ask(world, "signed_downstream", *columns, gene="A", steps=1) == one_step
    # Over B, C is inhibited: both routes count.
    two = [("B", 1, "activates"), ("C", 1, "inconsistent"), ("E", 1, "inconsistent"), ("D", 2, "activates")]
    assert ask(world, "signed_downstream", *columns, gene="a", steps=2) == two
    three = ask(world, "signed_downstream", *columns, gene="HGNC:1", steps=3)
    assert three == [*two[:3], ("D", 2, "inconsistent")]
    # L does not signal to X: somebody states the contrary. What nobody gives a sign stays unknown.
    down = ask(world, "signed_downstream", *columns, gene="L", steps=2)
    assert down == [("R", 1, "unknown"), ("A", 2, "unknown")]


def test_signs_multiply_along_the_way_up(world: Graph) -> None:
    columns = ("symbol", "steps", "effect", "signs")
    up = [("D", 1, "inhibits", [-1]), ("R", 1, "activates", [1])]
    assert ask(world, "signed_upstream", *columns, gene="A", steps=1) == up
    up += [("C", 2, "inhibits", [-1]), ("L", 2, "unknown", [0])]
    assert ask(world, "signed_upstream", *columns, gene="A", steps=2) == up
    assert ask(world, "signed_upstream", "symbol", gene=PROTEINS["R"], steps=1) == ["L"]
    assert ask(world, "downstream_genes", "symbol", "steps", gene="A", steps=2) == [
        ("B", 1), ("C", 1), ("E", 1), ("D", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "target", "steps", "expected"),
    [
        ("A", "D", 6, [("A", "activates", "C", "activates"), ("C", "activates", "D", "activates")]),
        (
            "B",
            "A",
            6,
            [
                ("B", "inhibits", "C", "inhibits"),
                ("C", "activates", "D", "inhibits"),
                ("D", "inhibits", "A", "activates"),
            ],
        ),
        ("A", "E", 6, [("A", "inconsistent", "E", "inconsistent")]),
        (
            "L",
            "B",
            6,
            [("L", "unknown", "R", "unknown"), ("R", "activates", "A", "unknown"), ("A", "activates", "B", "unknown")],
        ),
        ("L", "B", 2, []),
        ("A", "X", 6, []),
        ("A", "A", 6, []),
    ],
    ids=["two steps", "signs turn twice", "disagreement", "over proteins", "too far", "no route", "itself"],
)  # fmt: skip
def test_the_shortest_path_is_found_with_its_signs(
    world: Graph, source: str, target: str, steps: int, expected: list[Any]
) -> None:
    columns = ("symbol", "effect", "target_symbol", "so_far")
    assert ask(world, "shortest_signed_path", *columns, source=source, target=target, steps=steps) == expected


def test_loops_have_the_sign_of_their_steps(world: Graph) -> None:
    negative = (["A", "C", "D", "A"], 3, "negative")
    positive = (["A", "B", "C", "D", "A"], 4, "positive")
    columns = ("loop", "steps", "feedback")
    assert ask(world, "feedback_loops", *columns, gene="A", steps=2) == []
    assert ask(world, "feedback_loops", *columns, gene="A", steps=3) == [negative]
    assert ask(world, "feedback_loops", *columns, gene="A", steps=4) == [negative, positive]
    columns = ("role", "regulator_symbol", "middle_symbol", "target_symbol", "kind")
    for gene, role in (("A", "regulator"), ("B", "middle"), ("C", "target")):
        found = ask(world, "feed_forward_loops", *columns, gene=gene)
        assert found == [(role, "A", "B", "C", "incoherent")]


def test_a_drug_reaches_the_pathway_of_a_disease_with_a_sign(world: Graph) -> None:
    def found(drug: str) -> list[Any]:
        columns = ("symbols", "steps", "effect", "actions", "pathway_name")
        return ask(world, "drug_path_to_disease", *columns, drug=drug, disease="dis two")

    assert found("inhibits A") == [(["A"], 0, "inhibits", ["inhibitor"], "way two")]
    assert found("turns R on") == [(["R", "A"], 1, "activates", ["agonist"], "way two")]
    assert found("acts on B") == [(["B", "C"], 1, "unknown", [], "way two")]
    assert ask(world, "drug_path_to_disease", "symbols", drug="inhibits A", disease="dis one") == []


def test_diseases_share_genes_and_pathways(world: Graph) -> None:
    both = {"first": "dis one", "second": "dis two"}
    columns = ("symbol", "first_diseases", "second_diseases")
    # Of B it is stated that it does not go with the first.
    assert ask(world, "genes_shared_by_diseases", *columns, **both) == [("A", ["dis one kind"], ["dis two"])]
    columns = ("name", "first_through", "second_through")
    assert ask(world, "pathways_shared_by_diseases", *columns, **both) == [
        ("way one", ["A"], ["A", "B"]),
        ("way two", ["A"], ["A", "stated"]),
    ]


def test_candidates_leave_out_what_is_used_or_contraindicated(world: Graph) -> None:
    columns = ("drug_name", "symbols", "reason", "through")
    one = [("inhibits A", ["A"], "gene of the disease", ["gene of dis one kind"])]
    assert ask(world, "repurposing_candidates", *columns, disease="dis one") == one
    through = ["gene of dis two", "in way two"]
    assert ask(world, "repurposing_candidates", *columns, disease="dis two") == [
        ("acts on B", ["B"], "gene of the disease", ["gene of dis two"]),
        ("inhibits A", ["A"], "gene of the disease", through),
        ("not for one", ["A"], "gene of the disease", through),
    ]
    # The source that states the contraindication does not count: nor do the others that it states.
    assert ask(world, "repurposing_candidates", "drug_name", disease="dis one", sources=["two"]) == []


def test_cells_are_asked_with_the_kinds_of_their_type(world: Graph) -> None:
    columns = (
        "ligand_symbol",
        "receptor_symbol",
        "sender",
        "ligand_pct",
        "receiver",
        "strength",
        "resources",
    )
    pairs = ask(world, "ligand_receptor_between_cell_types", *columns, sender="cell", receiver="other cell")
    assert pairs == [("L", "R", "cell kind", 50.0, "other cell", 6.0, 2)]
    back = {"sender": "other cell", "receiver": "cell"}
    assert ask(world, "ligand_receptor_between_cell_types", "ligand", **back) == []
    demanding = {"sender": "cell", "receiver": "CL:2", "min_pct": 45}
    assert ask(world, "ligand_receptor_between_cell_types", "ligand", **demanding) == []
    here = {"pathway": "way one", "cell_type": "other cell"}
    assert ask(world, "receptors_of_pathway_in_cell_type", "symbol", "pct", "ligands", **here) == [
        ("R", 40.0, 1)
    ]
    assert (
        ask(world, "receptors_of_pathway_in_cell_type", "symbol", pathway="way one", cell_type="cell") == []
    )
    columns = ("drug_name", "action", "symbol")
    assert ask(world, "drugs_for_cell_type_receptors", *columns, cell_type="CL:2") == [
        ("turns R on", "agonist", "R")
    ]
    columns = ("symbol", "pct", "elsewhere_pct", "elsewhere")
    assert ask(world, "marker_genes", *columns, cell_type="cell") == [
        ("A", 60.0, 5.0, "other cell"),
        ("L", 50.0, 0.0, None),
    ]
    assert ask(world, "marker_genes", "symbol", cell_type="cell", max_pct=4) == ["L"]
    assert ask(world, "cell_types_of_gene", "cell_type_name", "pct", gene="A") == [
        ("cell kind", 60.0),
        ("other cell", 5.0),
    ]


def test_interactions_are_restricted_to_a_place(world: Graph) -> None:
    columns = ("symbol", "verb", "partner_symbol")
    in_place = [("A", "SIGNALS_TO", "B"), ("R", "SIGNALS_TO", "A")]
    assert ask(world, "located_interactions", *columns, compartment="place") == in_place
    assert ask(world, "located_interactions", *columns, compartment="place", gene="B") == in_place[:1]
    assert ask(world, "located_interactions", *columns, compartment="place part") == []


def test_pathways_overlap_signal_and_have_hubs(world: Graph) -> None:
    columns = ("name", "shared", "overlap", "symbols")
    [(name, shared, overlap, symbols)] = ask(world, "pathway_crosstalk", *columns, pathway="way one")
    assert (name, shared, symbols) == ("way two", 1, ["A"])
    assert overlap == pytest.approx(1 / 6)
    columns = ("symbol", "signals_in", "signals_out", "inside")
    assert ask(world, "pathway_hubs", *columns, pathway="WIKIPATHWAYS:WP1") == [
        ("A", 2, 3, 2),
        ("B", 1, 1, 1),
        ("R", 1, 1, 2),
        ("L", 0, 1, 1),
    ]
    columns = ("symbol", "target_symbol", "effect")
    between = ask(world, "signals_between_pathways", *columns, first="way one", second="way two")
    assert between == [("B", "C", "inhibits")]
    assert ask(world, "isolated_pathway_genes", "symbol", pathway="way three") == ["X", "Y"]
    assert ask(world, "isolated_pathway_genes", "symbol", pathway="way one") == []


def test_what_is_said_of_a_protein_is_said_of_its_gene(world: Graph) -> None:
    assert ask(world, "pathway_genes", "symbol", pathway="way three") == ["X", "Y"]
    assert ask(world, "gene_pathways", "name", "genes", gene="Y") == [("way four", 1), ("way three", 2)]
    columns = ("name", "symbols", "overlap")
    assert ask(world, "pathway_crosstalk", *columns, pathway="way three") == [("way four", ["Y"], 0.5)]
    assert ask(world, "drug_target_disease", "symbol", "disease_name", drug="acts on Y") == [
        ("Y", "dis three")
    ]
    assert ask(world, "drugs_for_pathway", "drug_name", "symbol", pathway="way four") == [("acts on Y", "Y")]
    assert ask(world, "targets_of_drug", "symbol", "pathways", drug="acts on Y") == [("Y", 2)]
    assert ask(world, "genes_of_disease", "symbol", disease="dis three") == ["Y"]
    assert ask(world, "diseases_of_pathway_genes", "name", pathway="way four") == ["dis three"]


def test_terms_families_and_complexes_are_walked_down(world: Graph) -> None:
    assert ask(world, "terms_below", "name", "levels", term="dis one") == [("dis one kind", 1)]
    assert ask(world, "genes_of_function_without_drug", "symbol", function="func") == ["X"]
    assert ask(world, "genes_of_process", "symbol", "processes", process="process") == [
        ("B", ["process part"])
    ]
    assert ask(world, "family_members", "symbol", "verb", "family_name", family="family") == [
        ("A", "IS_A", "family"),
        ("B", "IS_A", "subfamily"),
    ]
    columns = ("complex", "role", "members", "partners", "sources")
    for gene, found in (("R", [(COMPLEX, "receptor", ["R", "Y"], ["L"], ["two"])]), ("L", [])):
        assert ask(world, "complex_members", *columns, gene=gene) == found
    names = ask(world, "cell_type_children", "name", "levels", cell_type="cell")
    assert names == [("cell", 0), ("cell kind", 1)]


def test_every_statement_has_its_source_and_licence(world: Graph) -> None:
    columns = ("verb", "source", "licence", "subject", "object")
    ends = (PROTEINS["L"], PROTEINS["R"])
    assert ask(world, "evidence_of_edge", *columns, first="R", second="L") == [
        ("LIGAND_OF", "one", "CC0-1.0", *ends),
        ("LIGAND_OF", "two", "MIT", *ends),
    ]
    assert ask(world, "evidence_of_edge", "verb", first="A", second="Y") == []
    columns = ("verb", "relationships", "example_subject", "example_object", "licence")
    assert ask(world, "stated_by_source", *columns, source="two") == [
        ("ASSOCIATED_WITH", 1, "HGNC:1", "MONDO:2", "MIT"),
        ("LIGAND_OF", 1, *ends, "MIT"),
        ("SIGNALS_TO", 2, "HGNC:1", "HGNC:3", "MIT"),
    ]


def test_only_the_sources_that_count_are_walked(world: Graph) -> None:
    columns = ("symbol", "effect")
    two = ask(world, "signed_downstream", *columns, gene="A", steps=3, sources=["two"])
    assert two == [("C", "activates"), ("E", "inhibits")]
    path = {"source": "A", "target": "D"}
    one = ask(world, "shortest_signed_path", "symbol", "so_far", **path, sources=["one"])
    assert one == [("A", "activates"), ("B", "inhibits"), ("C", "inhibits")]
    assert ask(world, "shortest_signed_path", "symbol", **path, sources=["two"]) == []
    cells = {"sender": "cell", "receiver": "other cell"}
    question = "ligand_receptor_between_cell_types"
    assert ask(world, question, "resources", **cells, sources=["one", "expression"]) == [1]
    assert ask(world, question, "resources", **cells, sources=["one"]) == []
