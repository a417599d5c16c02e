"""KGX as TSV and as JSON Lines, by hand in the exact format: the same graph, every row accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from loaders import kgx
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.graph import Graph
from tosg_graph.platform import Platform
from tosg_graph.types import Parsed

NODES: list[dict[str, Any]] = [
    {
        "id": "HGNC:3236",
        "category": ["biolink:NamedThing", "biolink:Gene", "biolink:BiologicalEntity"],
        "name": "EGFR",
        "xref": ["NCBIGene:1956", "not a curie"],
        "synonym": ["ERBB1", "ERBB"],
        "symbol": "EGFR",
    },
    {"id": "UniProtKB:P00533", "category": ["biolink:Protein"], "name": 'the "epidermal" receptor'},
    {"id": "HGNC:3229", "category": ["biolink:Gene"], "name": "EGF"},
    {"id": "MONDO:0005148", "category": ["biolink:Disease"], "name": "diabetes; type 2"},
    {"id": "DRUGBANK:DB00331", "category": ["biolink:SmallMolecule"], "name": "metformin"},
    {"id": "GO:0005886", "category": ["biolink:CellularComponent"], "name": "plasma membrane"},
    {"id": "SNOMEDCT:1", "category": ["biolink:Disease"], "name": "of a prefix that we do not have"},
    {"id": "X:1", "category": ["biolink:Publication"], "name": "of a kind that we do not have"},
]


def edge(
    subject: str, predicate: str, object_: str, source: str = "infores:x", **more: Any
) -> dict[str, Any]:
    known = {"knowledge_level": "knowledge_assertion", "agent_type": "manual_agent"}
    return {
        "subject": subject,
        "predicate": f"biolink:{predicate}",
        "object": object_,
        "primary_knowledge_source": [source],
        **known,
        **more,
    }


EDGES = [
    edge("UniProtKB:P00533", "gene_product_of", "HGNC:3236"),
    edge(
        "HGNC:3229", "negatively_regulates", "HGNC:3236", "infores:signor", publications=["PMID:2", "PMID:1"]
    ),
    edge("HGNC:3229", "negatively_regulates", "HGNC:3236", "infores:reactome"),
    edge("DRUGBANK:DB00331", "treats", "MONDO:0005148"),
    edge("GO:0005886", "location_of", "UniProtKB:P00533"),
    edge("HGNC:3236", "gene_associated_with_condition", "MONDO:0005148", negated="true"),
    edge("HGNC:3236", "treats", "MONDO:0005148", "infores:odd"),
    edge("HGNC:3236", "interacts_with", "HGNC:404"),
    edge("SNOMEDCT:1", "subclass_of", "MONDO:0005148"),
]


def tsv(folder: Path) -> Parsed:
    for name, rows in (("g_nodes.tsv", NODES), ("g_edges.tsv", EDGES)):
        columns = list(dict.fromkeys(column for row in rows for column in row))
        cells = [[row.get(column, "") for column in columns] for row in rows]
        lines = [
            "\t".join("|".join(v) if isinstance(v, list) else v for v in row) for row in [columns, *cells]
        ]
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return kgx.parse({"nodes": folder / "g_nodes.tsv", "edges": folder / "g_edges.tsv"})


def jsonl(folder: Path) -> Parsed:
    for name, rows in (("g_nodes.jsonl", NODES), ("g_edges.jsonl", EDGES)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return kgx.parse({"nodes": folder / "g_nodes.jsonl", "edges": folder / "g_edges.jsonl"})


def content(parsed: Parsed) -> list[Any]:
    return [(t.name, t.read, t.data.to_pylist(), t.rejects) for t in (*parsed.nodes, *parsed.edges)]


def rows(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(
        t for t in (*parsed.nodes, *parsed.edges) if t.name == name
    ).data.to_pylist()
    return found


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    one = tsv(tmp_path)
    assert content(one) == content(jsonl(tmp_path))
    contract.check(one)


def test_every_row_is_loaded_or_rejected_with_its_reason(tmp_path: Path) -> None:
    parsed = tsv(tmp_path)
    assert sum(t.read for t in parsed.nodes) == len(NODES)
    assert sum(t.read for t in parsed.edges) == len(EDGES)
    rejects = [(r.row, r.value, r.reason) for t in (*parsed.nodes, *parsed.edges) for r in t.rejects]
    assert rejects == [
        (7, "SNOMEDCT:1", "no id of Disease"),
        (8, "X:1", "type 'Publication' is not in the schema"),
        (8, "HGNC:404", "not among the nodes"),
        (9, "SNOMEDCT:1", "not among the nodes"),
    ]
    for tables, given in ((parsed.nodes, NODES), (parsed.edges, EDGES)):
        found = [
            row
            for t in tables
            for row in [*(t.rows or pa.array([])).to_pylist(), *(r.row for r in t.rejects)]
        ]
        assert sorted(found) == list(range(1, len(given) + 1))


def test_a_graph_has_the_key_that_it_is_given(tmp_path: Path) -> None:
    tsv(tmp_path)
    paths = {"nodes": tmp_path / "g_nodes.tsv", "edges": tmp_path / "g_edges.tsv"}
    rows = [line.split("\t") for line in paths["edges"].read_text(encoding="utf-8").splitlines()]
    at = rows[0].index("primary_knowledge_source")
    unstated = ["\t".join([*row[:at], "" if n else row[at], *row[at + 1 :]]) for n, row in enumerate(rows)]
    paths["edges"].write_text("\n".join(unstated) + "\n", encoding="utf-8")
    parsed = kgx.parse(paths, key="mine")
    tables = (*parsed.nodes, *parsed.edges)
    assert {table.source for table in tables} == {"mine"}
    assert {s for table in parsed.edges if len(table.data) for s in table.data["source"].to_pylist()} == {
        "mine"
    }


def test_two_graphs_stand_side_by_side(graph: Graph, tmp_path: Path) -> None:
    graph.write("CREATE (:Elsewhere)")  # not empty: loads are upserts, and the server stays up
    platform = Platform(graph.settings)
    platform.__dict__["graph"] = graph
    folders = [tmp_path / name for name in ("one", "two")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        ids = [f"HGNC:{3 * number + i}" for i in (1, 2, 3)]
        nodes = "".join(f"{i}\tbiolink:Gene\t{i}\n" for i in ids)
        (folder / "g_nodes.tsv").write_text("id\tcategory\tname\n" + nodes, encoding="utf-8")
        edge = f"{ids[0]}\tbiolink:regulates\t{ids[1]}\n"
        (folder / "g_edges.tsv").write_text("subject\tpredicate\tobject\n" + edge, encoding="utf-8")
    platform.load("kgx", path=folders[0])
    for _ in range(2):
        lines = platform.load("kgx", path=folders[1], options={"key": "second"})
        assert {(line.source, line.retired) for line in lines} == {("second", 0)}
    said = "MATCH (n:Gene) RETURN n.sources AS by, count(*) AS genes ORDER BY by"
    assert graph.rows(said) == [{"by": ["kgx"], "genes": 3}, {"by": ["second"], "genes": 3}]
    stated = "MATCH ()-[r:SIGNALS_TO]->() RETURN r.source AS by ORDER BY by"
    assert [row["by"] for row in graph.rows(stated)] == ["kgx", "second"]
    platform.load("kgx", path=folders[0], options={"key": "second"})
    assert graph.rows(said) == [{"by": ["kgx", "second"], "genes": 3}]
    graph.write("MERGE (s:Source {key: 'signor'}) SET s.carried_by = 'omnipath'")
    graph.write("MERGE (s:Source {key: 'mine'}) SET s.title = 'My table'")
    for key, says in {
        "hgnc": "taken by another source",
        "all": "taken by another source",
        "My Graph": "lower-case letters",
        "signor": "a resource that omnipath carries",
        "mine": "the key of 'My table'",
    }.items():
        with pytest.raises(LoadError, match=says):
            platform.load("kgx", path=folders[0], options={"key": key})
    with pytest.raises(LoadError, match="taken by another source"):
        platform.load("kgx", "obo", path=tmp_path, options={"key": "second"})


def test_nodes_get_the_most_specific_label_that_their_id_allows(tmp_path: Path) -> None:
    parsed = tsv(tmp_path)
    gene = rows(parsed, "gene")[1]
    assert (gene["id"], gene["symbol"], gene["synonyms"]) == ("HGNC:3236", "EGFR", ["ERBB", "ERBB1"])
    assert gene["xrefs"] == ["NCBIGene:1956"]
    assert rows(parsed, "drug")[0]["id"] == "DRUGBANK:DB00331"  # a small molecule with a drug's id
    assert rows(parsed, "protein")[0]["name"] == 'the "epidermal" receptor'


def test_statements_become_verbs_with_sign_direction_and_source(tmp_path: Path) -> None:
    parsed = tsv(tmp_path)
    assert rows(parsed, "gene-encodes-protein")[0]["subject"] == "HGNC:3236"
    signals = rows(parsed, "gene-signals_to-gene")
    assert [(r["sign"], r["source"], r["publications"]) for r in signals] == [
        (-1, "reactome", None),
        (-1, "signor", ["PMID:1", "PMID:2"]),
    ]
    assert rows(parsed, "drug-indicated_for-disease")[0]["kind"] == "treats"
    located = rows(parsed, "protein-located_in-cellularcomponent")[0]
    assert (located["object"], located["evidence"]) == ("GO:0005886", ["not_provided"])
    kept = rows(parsed, "gene-associated_with-disease")
    assert [(r["relation"], r["source"], r["negated"]) for r in kept] == [
        ("treats", "odd", None),
        ("gene_associated_with_condition", "x", True),
    ]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("g_nodes.tsv", "id\tname\n", "no column 'category'"),
        ("g_edges.tsv", "subject\tpredicate\tobject\na\tb\n", "line 2 has 2 fields, not 3"),
        ("g_edges.jsonl", '{"subject": "a"\n', "line 1, column"),
        ("g_edges.jsonl", '{"subject": "a", "predicate": "b"}\n', "line 1 has no 'object'"),
    ],
)
def test_files_of_another_shape_are_refused(tmp_path: Path, name: str, text: str, says: str) -> None:
    tsv(tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    kind = name.split("_")[1].split(".")[0]
    paths = {"nodes": tmp_path / "g_nodes.tsv", "edges": tmp_path / "g_edges.tsv", kind: tmp_path / name}
    with pytest.raises(LoadError, match=says):
        kgx.parse(paths)
