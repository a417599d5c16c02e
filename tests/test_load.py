"""Loading into the real server: two ways in, one graph; twice changes nothing; a kill can be repaired."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tosg_graph import contract, ledger
from tosg_graph.errors import ContractError, LedgerError, LoadError
from tosg_graph.graph import Graph
from tosg_graph.ids import edge_key, fulltext_term
from tosg_graph.load import graph_release, load
from tosg_graph.release import releases
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Parsed, Reject, Source

pytestmark = pytest.mark.server

Tables = list[tuple[Source, Parsed]]


def source(key: str, version: str = "1") -> Source:
    return Source(key, key.upper(), version, "CC0-1.0", f"https://example.org/{key}", 0.0, {}, note="n")


def nodes(key: str, label: str, rejects: tuple[Reject, ...] = (), **columns: Any) -> NodeTable:
    data = pa.table(columns)
    return NodeTable(key, label.lower(), label, data, len(data) + len(rejects), 0, rejects)


def edges(key: str, ends: tuple[str, str, str], **columns: Any) -> EdgeTable:
    data = pa.table(columns)
    return EdgeTable(key, ends[1].lower(), *ends, data, len(data))


def small() -> Tables:
    """Gene i is HGNC:i with Entrez id 100+i and is row i; the score of an edge is 10*subject+object."""
    genes = nodes(
        "hgnc",
        "Gene",
        (Reject(9, "id", "HGNC:9", "withdrawn"),),
        id=[f"HGNC:{i}" for i in range(1, 6)],
        name=["G1", 'G"2', "G,3", "Γ4", "G\n5"],
        symbol=[f"G{i}" for i in range(1, 6)],
        xrefs=[[f"NCBIGene:{100 + i}", "ENSEMBL:shared"] for i in range(1, 6)],
        alias_symbols=[["b;c", "a"], None, [], ["'", '"'], ["x\\", "y"]],
    )
    metabolites = nodes("chebi", "Metabolite", id=["CHEBI:1", "CHEBI:2"], name=["one", "two"])
    drugs = nodes("drugs", "Drug", id=["CHEBI:1"], name=["One"], approved=[True])
    signals = edges(
        "indra",
        ("Gene", "SIGNALS_TO", "Gene"),
        subject=["HGNC:1", "NCBIGene:102", "HGNC:1", "ENSEMBL:shared", "HGNC:77"],
        object=["HGNC:2", "HGNC:3", "HGNC:2", "HGNC:1", "HGNC:1"],
        sign=[1, -1, 1, 0, 0],
        score=[12.0, 23.5, None, None, None],
        resource=["SIGNOR", None, "SIGNOR", None, None],
        publications=[["PMID:2"], None, ["PMID:1"], None, None],
    )
    binds = edges(
        "ppi", ("Gene", "INTERACTS_WITH", "Gene"), subject=["HGNC:4", "HGNC:5"], object=["HGNC:3", "HGNC:5"]
    )
    isa = edges("chebi", ("Metabolite", "IS_A", "Metabolite"), subject=["CHEBI:2"], object=["CHEBI:1"])
    return [
        (source("hgnc"), Parsed((genes,))),
        (source("chebi"), Parsed((metabolites,), (isa,))),
        (source("drugs"), Parsed((drugs,))),
        (source("indra"), Parsed((), (signals,))),
        (source("ppi"), Parsed((), (binds,))),
    ]


def dump(graph: Graph) -> tuple[Any, Any]:
    """Read everything that is stored, in an order of its own."""
    found = graph.rows("MATCH (n) RETURN labels(n) AS labels, properties(n) AS p")
    stored = sorted((sorted(row["labels"]), sorted(row["p"].items())) for row in found)
    found = graph.rows("MATCH (a)-[r]->(b) RETURN a.id AS a, type(r) AS t, b.id AS b, properties(r) AS p")
    return stored, sorted((row["a"], row["t"], row["b"], sorted(row["p"].items())) for row in found)


def totals(lines: list[LedgerLine], *names: str) -> tuple[int, ...]:
    return tuple(sum(getattr(line, name) for line in lines) for name in names)


@pytest.fixture
def upserting(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Graph:
    """The server, treated as one that cannot be stopped: an empty database is upserted too."""
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    return graph


def names(graph: Graph) -> dict[str, str]:
    return {
        row["id"]: row["name"] for row in graph.rows("MATCH (n:Entity) RETURN n.id AS id, n.name AS name")
    }


# --------------------------------------------------------------------------- what is stored


def test_upsert_stores_what_the_tables_say(upserting: Graph) -> None:
    lines = load(upserting, small())
    assert names(upserting) == {
        **{"HGNC:1": "G1", "HGNC:2": 'G"2', "HGNC:3": "G,3", "HGNC:4": "Γ4", "HGNC:5": "G\n5"},
        **{"CHEBI:1": "one", "CHEBI:2": "two"},
    }
    both = upserting.rows(
        "MATCH (n:Drug:Metabolite:Entity) RETURN n.id AS id, n.sources AS s, n.approved AS a"
    )
    assert both == [{"id": "CHEBI:1", "s": ["chebi", "drugs"], "a": True}]
    signals = upserting.rows(
        "MATCH (a:Gene)-[r:SIGNALS_TO]->(b:Gene) RETURN a.id AS a, b.id AS b, r.sign AS sign, "
        "r.score AS score, r.source AS source, r.publications AS p, r.edge_key AS k ORDER BY a"
    )
    assert [list(row.values())[:6] for row in signals] == [
        ["HGNC:1", "HGNC:2", 1, 12.0, "SIGNOR", ["PMID:1", "PMID:2"]],
        ["HGNC:2", "HGNC:3", -1, 23.5, "indra", None],
    ]
    assert signals[1]["k"] == edge_key("HGNC:2", "SIGNALS_TO", "HGNC:3", "indra")
    binds = upserting.rows("MATCH (a)-[:INTERACTS_WITH]->(b) RETURN a.id AS a, b.id AS b ORDER BY a")
    assert [(row["a"], row["b"]) for row in binds] == [("HGNC:3", "HGNC:4"), ("HGNC:5", "HGNC:5")]
    by_table = {(line.source, line.table): line for line in lines}
    genes, signal = by_table["hgnc", "gene"], by_table["indra", "signals_to"]
    assert (genes.read, genes.loaded, genes.rejected, genes.reasons) == (6, 5, 1, {"withdrawn": 1})
    assert (signal.read, signal.loaded, signal.merged, signal.rejected) == (5, 2, 1, 2)
    assert signal.reasons["ambiguous id (5 candidates)"] == signal.reasons["unknown id"] == 1
    assert by_table["drugs", "drug"].merged == 1
    assert totals(lines, "loaded", "created", "updated") == (12, 12, 0)


@pytest.mark.slow
def test_bulk_import_and_upsert_give_the_same_graph(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = load(graph, small())
    in_bulk = dump(graph)
    kept = graph_release(graph)
    assert (graph.settings.ledgers / f"{kept}.json").is_file()
    assert not list(graph.settings.home.glob(".import-*"))
    assert totals(load(graph, small()), "created", "updated") == (0, 0)
    assert dump(graph) == in_bulk
    graph.write("MATCH (n) DETACH DELETE n")
    monkeypatch.setattr(Graph, "is_local", property(lambda self: False))
    assert load(graph, small()) == imported
    assert dump(graph) == in_bulk


def test_an_identical_second_load_sends_no_write(upserting: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(upserting, small())
    before = dump(upserting)
    sent = written_by(monkeypatch)
    again = load(upserting, small())
    assert [s for s in sent if "IF NOT EXISTS" not in s] == []
    assert totals(again, "created", "updated") == (0, 0)
    assert [replace(line, created=0) for line in first] == again
    assert dump(upserting) == before


def written_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statements that are sent to be written, from now on."""
    sent: list[str] = []
    write = Graph.write

    def counted(self: Graph, statement: str, **parameters: object) -> Any:
        sent.append(statement)
        return write(self, statement, **parameters)

    monkeypatch.setattr(Graph, "write", counted)
    return sent


def test_what_somebody_deleted_is_there_again_after_the_same_load(upserting: Graph) -> None:
    load(upserting, small())
    before = dump_of_entities(upserting)
    upserting.write("MATCH (:Gene {id: 'HGNC:2'})-[r:SIGNALS_TO]->() DELETE r")
    lines = load(upserting, small())
    assert totals(lines, "created", "updated", "retired") == (1, 0, 0)
    assert dump_of_entities(upserting) == before


# --------------------------------------------------------------------------- a new release of a source


def release(version: str, genes: dict[int, str], signals: dict[tuple[int, int], int]) -> Tables:
    table = nodes(
        "hgnc",
        "Gene",
        id=[f"HGNC:{i}" for i in genes],
        name=list(genes.values()),
        symbol=list(genes.values()),
    )
    pairs = edges(
        "hgnc",
        ("Gene", "SIGNALS_TO", "Gene"),
        subject=[f"HGNC:{a}" for a, _ in signals],
        object=[f"HGNC:{b}" for _, b in signals],
        sign=list(signals.values()),
    )
    return [(replace(source("hgnc"), version=version), Parsed((table,), (pairs,)))]


OLD = release("1", {i: f"G{i}" for i in range(1, 301)}, {(i, i + 1): 1 for i in range(1, 300)})
NEW = release(
    "2",
    {i: f"G{i}" if i != 7 else "seven" for i in range(3, 302)},
    {(i, i + 1): 1 if i != 50 else -1 for i in range(3, 301)},
)


def test_a_new_release_updates_adds_and_retires_and_touches_nothing_else(
    upserting: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(upserting, OLD)
    seen: list[str] = []
    rows = Graph.rows

    def counted(self: Graph, statement: str, **parameters: Any) -> Any:
        seen.extend(parameters.get("ids", ()))
        return rows(self, statement, **parameters)

    monkeypatch.setattr(Graph, "rows", counted)
    lines = load(upserting, NEW)
    monkeypatch.undo()
    assert [(x.table, x.created, x.updated, x.retired) for x in lines] == [
        ("gene", 1, 1, 2),
        ("signals_to", 1, 1, 2),
    ]
    assert set(seen) <= {"HGNC:7", "HGNC:301", "HGNC:1", "HGNC:2"}  # the others were not even read
    assert len(names(upserting)) == 299
    assert names(upserting)["HGNC:7"] == "seven"
    assert upserting.rows(
        "MATCH (r:Retired) RETURN r.id AS id, r.name AS name, r.labels AS labels ORDER BY id"
    ) == [{"id": f"HGNC:{i}", "name": f"G{i}", "labels": ["Entity", "Gene"]} for i in (1, 2)]
    there = upserting.rows("MATCH (:Gene {id: 'HGNC:50'})-[r:SIGNALS_TO]->() RETURN r.sign AS sign")
    assert there == [{"sign": -1}]


def test_the_old_release_again_brings_back_what_was_retired(upserting: Graph) -> None:
    load(upserting, OLD)
    before = dump_of_entities(upserting)
    load(upserting, NEW)
    lines = load(upserting, OLD)
    assert [(x.created, x.updated, x.retired) for x in lines] == [(2, 1, 1), (2, 1, 1)]
    assert dump_of_entities(upserting) == before
    assert upserting.rows("MATCH (r:Retired) RETURN r.id AS id") == [{"id": "HGNC:301"}]


def dump_of_entities(graph: Graph) -> Any:
    found = graph.rows(
        "MATCH (n:Entity) RETURN n.id AS id, labels(n) AS l, n.name AS name, n.text AS t, n.sources AS s"
    )
    return sorted((row["id"], sorted(row["l"]), row["name"], row["t"], row["s"]) for row in found), dump(
        graph
    )[1]


def carried(key: str, *objects: int) -> tuple[Source, Parsed]:
    """A source that passes on what SIGNOR states: HGNC:1 signals to each of the objects."""
    ends = {"subject": ["HGNC:1"] * len(objects), "object": [f"HGNC:{i}" for i in objects]}
    signals = edges(
        key, ("Gene", "SIGNALS_TO", "Gene"), **ends, sign=[1] * len(objects), source=["SIGNOR"] * len(objects)
    )
    return source(key), Parsed((), (signals,))


@pytest.mark.parametrize("apart", [False, True], ids=["in one load", "in loads of their own"])
def test_an_edge_that_another_source_states_too_stays(upserting: Graph, apart: bool) -> None:
    ids = [f"HGNC:{i}" for i in range(1, 5)]
    genes = (source("hgnc"), Parsed((nodes("hgnc", "Gene", id=ids, name=ids, symbol=ids),)))
    old, new, other = carried("indra", 2, 3), carried("indra", 3), carried("omnipath", 2, 4)
    for tables in ([genes], [old], [other], [new]) if apart else ([genes, old, other], [genes, new, other]):
        load(upserting, tables)
    found = upserting.rows("MATCH ()-[r:SIGNALS_TO]->(o) RETURN o.id AS id ORDER BY id")
    assert [row["id"] for row in found] == ["HGNC:2", "HGNC:3", "HGNC:4"]
    gone = carried("omnipath", 4)
    for tables in ([gone],) if apart else ([genes, new, gone],):
        load(upserting, tables)
    found = upserting.rows("MATCH ()-[r:SIGNALS_TO]->(o) RETURN o.id AS id ORDER BY id")
    assert [row["id"] for row in found] == ["HGNC:3", "HGNC:4"]


def test_a_retired_node_that_others_hold_stays(upserting: Graph) -> None:
    other = [
        (
            source("ppi"),
            Parsed(
                (), (edges("ppi", ("Gene", "INTERACTS_WITH", "Gene"), subject=["HGNC:1"], object=["HGNC:9"]),)
            ),
        )
    ]
    also = [
        (source("uniprot"), Parsed((nodes("uniprot", "Gene", id=["HGNC:2"], name=["G2"], symbol=["G2"]),)))
    ]
    load(upserting, OLD)
    load(upserting, other)
    load(upserting, also)
    lines = load(upserting, NEW)
    assert sum(x.retired for x in lines) == 2  # the two relationships
    held = upserting.rows(
        "MATCH (n:Entity) WHERE n.id IN ['HGNC:1', 'HGNC:2'] RETURN n.id AS id, n.sources AS s ORDER BY id"
    )
    assert held == [{"id": "HGNC:1", "s": []}, {"id": "HGNC:2", "s": ["uniprot"]}]


def test_the_same_tables_make_the_same_release_and_others_another(upserting: Graph) -> None:
    assert graph_release(upserting) == ""
    lines = load(upserting, small())
    first = graph_release(upserting)
    stored = upserting.rows("MATCH (r:Release) RETURN r.ledger AS ledger, r.source_versions AS v")
    assert ledger.from_json(stored[0]["ledger"]) == lines
    assert stored[0]["v"] == ["chebi 1", "drugs 1", "hgnc 1", "indra 1", "ppi 1"]
    upserting.write("MATCH (n) DETACH DELETE n")
    chunked = [
        (
            s,
            replace(
                p,
                nodes=tuple(
                    replace(t, data=pa.concat_tables([t.data.slice(0, 1), t.data.slice(1)])) for t in p.nodes
                ),
            ),
        )
        for s, p in small()
    ]
    load(upserting, chunked)
    assert graph_release(upserting) == first
    load(upserting, [(source("hgnc", "2"), small()[0][1])])
    second = graph_release(upserting)
    assert second != first
    listed = releases(upserting)
    assert listed["number"].to_pylist() == [2, 1]
    assert listed["id"].to_pylist() == [second, first]
    assert listed["previous"].to_pylist() == [first, ""]
    assert listed["sources"].to_pylist()[0] == ["chebi 1", "drugs 1", "hgnc 2", "indra 1", "ppi 1"]
    assert upserting.rows("MATCH (s:Source {key: 'hgnc'}) RETURN s.version AS v") == [{"v": "2"}]


def test_every_source_of_an_edge_has_its_node(upserting: Graph) -> None:
    load(upserting, small())
    orphans = upserting.rows(
        "MATCH ()-[r]->() WHERE NOT EXISTS { MATCH (:Source {key: r.source}) } RETURN r.source AS source"
    )
    assert orphans == []
    carried = upserting.rows(
        "MATCH (s:Source) WHERE s.carried_by IS NOT NULL RETURN s.key AS k, s.carried_by AS by"
    )
    assert carried == [{"k": "SIGNOR", "by": "indra"}]


def test_an_xref_is_found_through_its_index(upserting: Graph) -> None:
    load(upserting, small())
    found = "CALL db.index.fulltext.queryNodes('entity_xrefs', $term) YIELD node RETURN node.id AS id"
    assert upserting.rows(found, term=fulltext_term("NCBIGene:104")) == [{"id": "HGNC:4"}]
    assert upserting.rows(found, term=fulltext_term("NCBIGene:10")) == []
    indexes = upserting.rows("SHOW INDEXES YIELD name, state, type RETURN name, state, type")
    states = {row["name"]: row["state"] for row in indexes}
    wanted = [
        statement.split()[2 + (statement.split()[1] in ("FULLTEXT", "VECTOR"))]
        for statement in contract.schema_statements()
    ]
    assert {states[name] for name in wanted} == {"ONLINE"}


# --------------------------------------------------------------------------- into a graph that holds some


def test_edges_find_stored_nodes_by_id_and_by_xref(upserting: Graph) -> None:
    load(upserting, small()[:1])
    later = edges(
        "go",
        ("Gene", "SIGNALS_TO", "Gene"),
        subject=["NCBIGene:103", "HGNC:5", "ENSEMBL:shared"],
        object=["HGNC:1", "NCBIGene:999", "HGNC:1"],
        sign=[1, 1, 1],
    )
    (line,) = load(upserting, [(source("go"), Parsed((), (later,)))])
    assert upserting.rows("MATCH (a)-[:SIGNALS_TO]->(b) RETURN a.id AS a, b.id AS b") == [
        {"a": "HGNC:3", "b": "HGNC:1"}
    ]
    assert line.reasons == {"unknown id": 1, "ambiguous id (5 candidates)": 1}


def test_sources_loaded_one_after_another_keep_their_precedence(upserting: Graph) -> None:
    def protein(key: str, **columns: Any) -> Tables:
        return [(source(key), Parsed((nodes(key, "Protein", id=["UniProtKB:P1"], **columns),)))]

    def stored() -> dict[str, Any]:
        (row,) = upserting.rows("MATCH (n:Protein) RETURN properties(n) AS p")
        return dict(row["p"])

    load(upserting, protein("a", name=["one"], synonyms=[["x"]]))
    load(upserting, protein("b", name=["uno"], description=["from b"], synonyms=[["y"]]))
    found = stored()
    assert (found["name"], found["description"], found["synonyms"]) == ("one", "from b", ["x", "y"])
    assert found["sources"] == ["a", "b"]
    assert found["text"] == "Protein: one\nDescription: from b\nSynonyms: x; y"
    for again in (
        protein("b", name=["uno"], description=["from b"], synonyms=[["y"]]),
        protein("a", name=["one"], synonyms=[["x"]]),
    ):
        assert totals(load(upserting, again), "created", "updated") == (0, 0)
    assert totals(load(upserting, protein("a", name=["two"], synonyms=[["x"]])), "created", "updated") == (
        0,
        1,
    )
    assert stored()["name"] == "two"
    upserting.write("MATCH (n:Protein) SET n.text_embedding = [1.0], n.description = 'stale'")
    load(upserting, [*protein("a", name=["three"]), *protein("b", name=["uno"])])
    found = stored()
    assert (found["name"], found.get("description"), found.get("synonyms")) == ("three", None, None)
    assert found["text_embedding"] == [1.0]


def test_an_edge_is_what_the_last_load_of_its_source_says(upserting: Graph) -> None:
    load(upserting, small()[:1])

    def signal(**columns: Any) -> Tables:
        table = edges("s", ("Gene", "SIGNALS_TO", "Gene"), subject=["HGNC:1"], object=["HGNC:2"], **columns)
        return [(source("s"), Parsed((), (table,)))]

    load(upserting, signal(sign=[1], score=[0.5]))
    (line,) = load(upserting, signal(sign=[-1]))
    assert (line.created, line.updated) == (0, 1)
    (row,) = upserting.rows("MATCH ()-[r:SIGNALS_TO]->() RETURN properties(r) AS p")
    assert (row["p"]["sign"], "score" in row["p"]) == (-1, False)


def test_a_key_stored_for_something_else_is_refused_and_counted(upserting: Graph) -> None:
    load(upserting, small()[:1])
    key = edge_key("HGNC:1", "SIGNALS_TO", "HGNC:2", "s")
    upserting.write(
        "MATCH (a:Gene {id: 'HGNC:4'}), (b:Gene {id: 'HGNC:5'}) "
        "CREATE (a)-[:SIGNALS_TO {edge_key: $key, source: 's', sign: 0}]->(b)",
        key=key,
    )
    table = edges(
        "s", ("Gene", "SIGNALS_TO", "Gene"), subject=["HGNC:1", "HGNC:2"], object=["HGNC:2"] * 2, sign=[1, 1]
    )
    (line,) = load(upserting, [(source("s"), Parsed((), (table,)))])
    assert (line.read, line.loaded, line.rejected, line.created) == (2, 1, 1, 1)
    assert line.reasons == {"edge key collision": 1}
    assert upserting.rows("MATCH (a)-[:SIGNALS_TO {edge_key: $key}]->() RETURN a.id AS id", key=key) == [
        {"id": "HGNC:4"}
    ]


# --------------------------------------------------------------------------- what is refused


def test_one_bad_table_stops_the_load_before_anything_is_written(upserting: Graph) -> None:
    bad = edges("bad", ("Gene", "SIGNALS_TO", "Gene"), subject=["HGNC:1"], object=["HGNC:2"], sign=[5])
    with pytest.raises(ContractError, match=r"bad/signals_to: row 1, column 'sign', value 5"):
        load(upserting, [*small(), (source("bad"), Parsed((), (bad,)))])
    assert dump(upserting) == ([], [])


def test_a_load_whose_counts_differ_fails_and_makes_no_release(upserting: Graph) -> None:
    done: list[Any] = []

    def meddle(description: str, _: int, total: int | None) -> None:
        if description == "Writing SIGNALS_TO" and not done:
            done.append(upserting.write("MATCH (n:Gene {id: 'HGNC:4'}) DETACH DELETE n"))

    with pytest.raises(LedgerError, match=r"Entity: the database counts 6, the load expects 7"):
        load(upserting, small(), meddle)
    assert graph_release(upserting) == ""
    load(upserting, small())
    assert len(names(upserting)) == 7
    assert graph_release(upserting)


def test_two_loads_at_once_are_refused(upserting: Graph) -> None:
    with (
        FileLock(upserting.settings.home / "load.lock"),
        pytest.raises(LoadError, match="Another process is loading"),
    ):
        load(upserting, small())


# --------------------------------------------------------------------------- any text survives the import

printable = st.text(
    st.characters(
        codec="utf-8",
        exclude_characters="".join(map(chr, [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF])),
    )
)
nasty = [
    '"',
    '""',
    '"\n"',
    "\r\n",
    "\\",
    '\\"',
    ";",
    "|",
    "'",
    ",",
    " ",
    "\t",
    "a\rb",
    "\u2028",
    "\U0001f9ec",
    "\x7f\x85",
    "NaN",
    "null",
]


@pytest.mark.slow
@hypothesis_settings(
    max_examples=1, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(st.lists(st.tuples(printable, st.lists(printable, max_size=4)), min_size=300, max_size=300))
def test_any_text_survives_the_bulk_import(graph: Graph, drawn: list[tuple[str, list[str]]]) -> None:
    while graph.rows("MATCH (n) RETURN count(n) AS n")[0]["n"]:
        graph.write("MATCH (n) DETACH DELETE n")
    given_ones = [*drawn, *((text, [text, text + text, "x" + text]) for text in nasty)]
    texts = {f"GO:{i}": row for i, row in enumerate(given_ones)}
    table = nodes(
        "go",
        "BiologicalProcess",
        id=list(texts),
        name=[f"n{text}" for text, _ in texts.values()],
        description=[text for text, _ in texts.values()],
        synonyms=pa.array([many for _, many in texts.values()], pa.list_(pa.string())),
    )
    load(graph, [(source("go"), Parsed((table,)))])
    found = graph.rows(
        "MATCH (n:Entity) RETURN n.id AS id, n.name AS name, n.description AS d, n.synonyms AS s"
    )
    assert len(found) == len(texts)
    for row in found:
        text, many = texts[row["id"]]
        assert row["name"] == f"n{text}"
        assert row["d"] == (text or None)
        assert row["s"] == (sorted({m for m in many if m}) or None)
    assert totals(load(graph, [(source("go"), Parsed((table,)))]), "created", "updated") == (0, 0)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (3, "graph format 3; .*Upgrade"),
        (1, "graph format 1; .*empty database"),
        (None, "a format older than 1; .*empty database"),
    ],
)
def test_a_graph_of_another_format_is_refused_in_one_line(
    upserting: Graph, written: int | None, says: str
) -> None:
    load(upserting, small())
    upserting.write("MATCH (r:Release) SET r.format = $written", written=written)
    for ask in (lambda: load(upserting, small()), lambda: graph_release(upserting)):
        with pytest.raises(LoadError, match=says) as refused:
            ask()
        assert "\n" not in str(refused.value)
