"""Names of licences in one form, and what a filter lets through: at load, in answers, in bundles."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_bundle
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from loaders import LOADERS
from loaders.tables import ROW, edge_table, node_table
from tosg_graph import cli, licences
from tosg_graph.errors import LicenceError, QueryError
from tosg_graph.graph import Graph
from tosg_graph.licences import UNKNOWN, Filter, allowed_in, make_filter, normal
from tosg_graph.load import load
from tosg_graph.platform import Platform
from tosg_graph.settings import Settings
from tosg_graph.types import Parsed, Source

SPELLINGS = {
    "CC0-1.0": [
        "CC0-1.0",
        "CC0",
        "CC0 1.0",
        "Creative Commons Zero 1.0 Universal",
        "cc0-1.0 (original content)",
    ],
    "CC-BY-4.0": [
        "CC BY 4.0",
        "CC-BY-4.0",
        "cc-by 4.0",
        "Creative Commons Attribution 4.0 International",
        "https://creativecommons.org/licenses/by/4.0/",
        "CC BY 4.0 (hetio-dag, per README)",
        "CC-BY-4.0; some rows otherwise",
        "CC-BY-4.0, stated per row",
        "CC-BY-4.0; package Artistic-2.0",
        "CC-BY 4",
    ],
    "CC-BY-SA-3.0": ["CC BY-SA 3.0", "Creative Commons Attribution-ShareAlike 3.0 Unported", "CC-BY-SA-3.0"],
    "CC-BY-NC-ND-4.0": [
        "CC BY-NC-ND 4.0",
        "http://creativecommons.org/licenses/by-nc-nd/4.0",
        "Attribution-NonCommercial-NoDerivatives 4.0",
    ],
    "CC-BY-NC-4.0": ["Creative Commons Attribution-NonCommercial 4.0", "CC BY-NC 4.0"],
    "CC-BY": ["CC BY", "Creative Commons Attribution"],
    "MIT": ["MIT", "mit"],
    "GPL-3.0": ["GPL-3", "GPLv3", "GPL-3.0"],
    "GPL-2.0-or-later": ["GPL (>= 2)"],
    "ODbL-1.0": ["ODbL 1.0", "ODbL", "Open Database License"],
    "Apache-2.0": ["Apache 2.0", "Apache-2.0"],
    "EUPL-1.2": ["EUPL-1.2"],
    "LicenseRef-Mine": ["LicenseRef-Mine"],
    "CC-BY-4.0 AND GPL-3.0": [
        "GPL-3.0 AND CC-BY-4.0; the package, and UniProt",
        "CC BY 4.0 AND GPLv3",
        "CC-BY-4.0 AND GPL-3 (package)",
    ],
    "CC0-1.0 AND NOASSERTION": ["CC0-1.0 AND NOASSERTION; the resources keep their own terms"],
    UNKNOWN: [
        "GPL-3.0 AND something",
        "GPL-3.0 AND CC-BY-4.0; parts are MIT",
        "NOASSERTION AND NOASSERTION",
        "",
        "mixed: each resource keeps its own terms",
        "as stated by the graph's own sources",
        "CC",
        "CC SA 4.0",
        "MIT (package); free to use",
        "CC0-1.0 (as deposited); resources keep their own terms",
        "Apache-2.0 (EFO); CC-BY-3.0 (PATO)",
    ],
}
# Without a word that says whose licence it is, nothing is guessed.
SPELLINGS["CC-BY-NC-ND-4.0"].pop()


@pytest.mark.parametrize(
    ("spdx", "text"), [(spdx, text) for spdx, texts in SPELLINGS.items() for text in texts]
)
def test_a_licence_has_one_name(spdx: str, text: str) -> None:
    assert normal(text) == spdx


@given(st.text())
def test_a_normal_name_stays_as_it_is(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def test_every_source_has_a_licence_that_is_known_or_says_that_it_is_mixed() -> None:
    for key, loader in LOADERS.items():
        licence = loader.SOURCE.licence
        assert normal(licence) != UNKNOWN or re.search("mixed|stat|own terms|package|[;,]", licence), key


@pytest.mark.parametrize(
    ("allowed", "fits", "fits_not"),
    [
        (
            "CC-BY-*",
            ["CC BY 3.0", "CC-BY-4.0", "CC BY"],
            ["CC BY-SA 4.0", "CC BY-NC 4.0", "CC0", "", "mixed"],
        ),
        ("CC-BY-4.0", ["CC BY 4.0"], ["CC BY 3.0", "CC BY"]),
        ("*", ["CC BY-NC 4.0", "MIT"], ["", "mixed: all sorts"]),
        (UNKNOWN, ["", "mixed: all sorts"], ["MIT"]),
        ("cc0,MIT", ["CC0-1.0", "MIT"], ["CC-BY-4.0"]),
        (
            "MIT,CC-BY-*",
            ["CC BY 4.0 AND MIT", "CC-BY-3.0 AND CC-BY-4.0"],
            ["MIT AND GPL-3.0", "MIT AND NOASSERTION"],
        ),
        ("*", ["CC0 AND MIT"], ["CC0 AND NOASSERTION"]),
        ("CC0,NOASSERTION", ["CC0 AND NOASSERTION"], ["MIT AND NOASSERTION"]),
    ],
)
def test_a_family_is_its_versions_and_no_other_licence(
    allowed: str, fits: list[str], fits_not: list[str]
) -> None:
    found = make_filter(None, [allowed])
    assert found is not None
    assert all(found.licenses(name) for name in fits)
    assert not any(found.licenses(name) for name in fits_not)


def test_filters_are_lists_or_repeated() -> None:
    assert make_filter((), ()) is None
    assert make_filter(["a,b", "c"], None) == Filter(("a", "b", "c"), None)
    assert make_filter(None, ["CC BY 4.0", "cc0,"]) == Filter(None, ("CC-BY-4.0", "CC0-1.0"))
    with pytest.raises(LicenceError, match=r"Name each that you allow: CC-BY-4\.0,MIT"):
        make_filter(None, ["MIT AND CC BY 4.0"])
    with pytest.raises(LicenceError, match=r"'CC-BYE' is no licence that is known here\. Write SPDX ids"):
        make_filter(None, ["CC-BYE"])


# --------------------------------------------------------------------------- a load


def source(key: str, licence: str, **more: Any) -> Source:
    return Source(key, key.title(), "1", licence, "https://example.org", 0.1, {}, **more)


OPEN = source("open", "CC0-1.0")
SHARED = source("shared", "CC BY-SA 4.0", own_licences=True)
CARRIER = source("carrier", "CC-BY-4.0")


def genes(source: str, *numbers: int, **more: Any) -> Any:
    rows = [{"id": f"HGNC:{n}", "name": f"G{n}", "symbol": f"G{n}", **more} for n in numbers]
    return node_table(source, "genes", "Gene", rows, read=len(rows))


def signals(source: str, *pairs: tuple[int, int], **more: Any) -> Any:
    rows = [{"subject": f"HGNC:{a}", "object": f"HGNC:{b}", "sign": 1, **more} for a, b in pairs]
    ends = ("Gene", "SIGNALS_TO", "Gene")
    return edge_table(source, f"signals {more}", ends, rows, read=len(rows))


def world() -> list[tuple[Source, Parsed]]:
    """Genes 1-3 are open, 3-5 shared; 5 has its own licence, as has one of two relationships from 4."""
    return [
        (OPEN, Parsed((genes("open", 1, 2, 3),), (signals("open", (1, 2), (2, 3)),))),
        (
            SHARED,
            Parsed(
                (genes("shared", 3, 4), replace(genes("shared", 5, licence="CC BY 4.0"), name="own")),
                (
                    signals("shared", (1, 2), (3, 4)),
                    signals("shared", (1, 3), licence="CC0"),
                    signals("shared", (2, 1), licence="CC BY-SA 4.0"),
                ),
            ),
        ),
        (CARRIER, Parsed((), (signals("carrier", (1, 3), resource="carried"),))),
    ]


def test_licences_are_settled_before_they_are_stored() -> None:
    _, parsed = world()[1]
    tables = licences.settled(SHARED, parsed)
    assert [t.data["licence"].to_pylist() for t in tables.nodes[1:]] == [["CC-BY-4.0"]]
    assert [t.data["licence"].to_pylist() for t in tables.edges[1:]] == [["CC0-1.0"], [None]]
    assert licences.own_licences(tables) == ["CC-BY-4.0", "CC0-1.0"]


def test_rows_that_are_not_allowed_are_rejects() -> None:
    allowed = make_filter(None, ["CC0-1.0", "CC-BY-*"])
    found = licences.filtered(allowed, SHARED, world()[1][1])
    assert [(len(t.data), len(t.rejects)) for t in (*found.nodes, *found.edges)] == [
        (0, 2),
        (1, 0),
        (0, 2),
        (1, 0),
        (0, 1),
    ]
    for table in (*found.nodes, *found.edges):
        assert table.read == len(table.data) + table.merged + len(table.rejects)
    left, genes_of = found.edges[2], found.nodes[1]
    assert left.rows is not None
    assert genes_of.rows is None  # nothing was left out of it
    rejects = found.nodes[0].rejects
    assert isinstance(rejects, pa.Table)
    assert rejects.to_pylist()[1] == {
        "row": 2,
        "column": "licence",
        "value": "HGNC:4",
        "reason": "licence CC-BY-SA-4.0 is not allowed",
    }


def test_resources_are_named_alone_or_by_their_carrier() -> None:
    parsed = world()[2][1]
    for names, left in (("carried", 1), ("carrier", 1), ("other", 0)):
        found = licences.filtered(make_filter([names], None), CARRIER, parsed)
        assert len(found.edges[0].data) == left


def test_a_source_of_which_nothing_is_allowed_is_not_read() -> None:
    known = ("open", "shared", "carrier")
    assert licences.skipped(None, OPEN, known) is None
    line = licences.skipped(make_filter(None, ["MIT"]), OPEN, known)
    assert line is not None
    assert (line.read, line.rejected, line.reasons) == (1, 1, {"licence CC0-1.0 is not allowed": 1})
    assert licences.skipped(make_filter(None, ["MIT"]), SHARED, known) is None  # its rows have their own
    assert licences.skipped(make_filter(["shared"], None), OPEN, known) is not None
    assert licences.skipped(make_filter(["carried"], None), CARRIER, known) is None  # may be carried


# --------------------------------------------------------------------------- on the server


@pytest.fixture(scope="module")
def loaded(server_graph: Graph) -> Graph:
    """The toy world on the real server; the tests below only read it."""
    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
    server_graph.write("CREATE (:Seed)")  # a database that is not empty is upserted, without a restart
    load(server_graph, world())
    return server_graph


@pytest.fixture
def platform(loaded: Graph, settings: Settings) -> Iterator[Platform]:
    with Platform(replace(settings, uri=loaded.address.uri, password=loaded.address.password)) as p:
        yield p


def test_the_graph_says_which_licences_a_source_has(loaded: Graph) -> None:
    rows = loaded.rows(
        "MATCH (s:Source) RETURN s.key AS key, s.licence AS licence, s.licences AS own ORDER BY key"
    )
    assert [tuple(r.values()) for r in rows] == [
        ("carried", None, None),
        ("carrier", "CC-BY-4.0", []),
        ("open", "CC0-1.0", []),
        ("shared", "CC BY-SA 4.0", ["CC-BY-4.0", "CC0-1.0"]),
    ]
    stored = loaded.rows("MATCH (g:Gene {id: 'HGNC:5'}) RETURN g.licence AS licence")
    assert stored == [{"licence": "CC-BY-4.0"}]


@pytest.mark.parametrize(
    ("sources", "allow", "keys", "whole"),
    [
        (None, "CC0-1.0", {"open"}, ("open",)),
        (None, "CC-BY-*", {"carrier", "carried"}, ("carried", "carrier")),
        (None, "CC-BY-SA-4.0", {"shared"}, ()),  # some of its statements are CC0
        (None, "CC-BY-SA-4.0,CC-BY-4.0,CC0", {"open", "shared", "carrier", "carried"}, None),
        ("carrier", None, {"carrier", "carried"}, ("carried", "carrier")),
        ("open,shared", "CC0", {"open"}, ("open",)),
    ],
)
def test_sources_of_a_graph_are_judged(
    loaded: Graph, sources: str | None, allow: str | None, keys: set[str], whole: tuple[str, ...] | None
) -> None:
    wanted = make_filter(sources, allow)
    assert wanted is not None
    found = allowed_in(loaded, wanted)
    assert found.keys == keys
    assert found.whole == (tuple(sorted(keys)) if whole is None else whole)


def test_a_source_that_is_not_there_is_refused(loaded: Graph) -> None:
    for names, allow, says in (
        ("opne", None, "no source 'opne'. Did you mean 'open'"),
        (None, "MIT", "No source of"),
    ):
        wanted = make_filter(names, allow)
        assert wanted is not None
        with pytest.raises(LicenceError, match=says):
            allowed_in(loaded, wanted)


def test_rows_keep_their_place_in_the_file_when_others_are_left_out() -> None:
    rows = [
        {ROW: 2 * n, "id": f"HGNC:{n}", "name": "G", "symbol": "G", "licence": "CC0" if n % 2 else "MIT"}
        for n in range(1, 6)
    ]
    table = node_table("shared", "genes", "Gene", rows, read=5)
    (kept,) = licences.filtered(make_filter(None, "CC0"), SHARED, Parsed((table,))).nodes
    assert kept.rows is not None
    assert isinstance(kept.rejects, pa.Table)
    assert (kept.rows.to_pylist(), kept.rejects["row"].to_pylist()) == ([2, 6, 10], [4, 8])


def test_a_filter_over_an_empty_graph_says_what_to_load(
    loaded: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "rows", lambda *_: [])
    wanted = make_filter("open", None)
    assert wanted is not None
    with pytest.raises(LicenceError, match=r"nothing is loaded.*tosg load demo"):
        allowed_in(loaded, wanted)


def test_a_query_that_asks_for_the_sources_gets_them(platform: Platform) -> None:
    asked = (
        "MATCH (:Gene)-[r:SIGNALS_TO]->() WHERE $sources IS NULL OR r.source IN $sources RETURN count(r) AS n"
    )
    assert platform.query(asked).to_pylist() == [{"n": 7}]
    assert platform.query(asked, sources=["open"]).to_pylist() == [{"n": 2}]
    said: list[str] = []
    allow = ["CC0-1.0", "CC-BY-SA-4.0"]  # shared has a node of CC-BY-4.0
    assert platform.query(asked, license_allow=allow, notice=said.append).to_pylist() == [{"n": 2}]
    assert len(said) == 1
    assert "$sources leaves out shared" in said[0]
    with pytest.raises(QueryError, match="cannot be used together"):
        platform.query(asked, {"sources": ["open"]}, sources=["open"])
    assert platform.query(asked, {"sources": ["shared"]}).to_pylist() == [{"n": 4}]


@pytest.mark.parametrize(
    ("returned", "left"),
    [
        ("r", 3),
        ("a, r, b", 3),
        ("[a, {x: r}] AS nested", 3),
        ("p", 3),
        ("a", 7),  # genes 1 and 2 and 3 are open
        ("b", 6),  # gene 4 is shared only
        ("a, b.name AS name", 7),
    ],
)
def test_rows_with_something_that_is_not_allowed_are_left_out(
    platform: Platform, returned: str, left: int
) -> None:
    said: list[str] = []
    found = platform.query(
        f"MATCH p = (a:Gene)-[r:SIGNALS_TO]->(b:Gene) RETURN {returned}",
        license_allow=["CC0"],
        notice=said.append,
    )
    assert len(found) == left
    assert said == ([] if left == 7 else [f"{7 - left} of 7 rows left out: not allowed by licences CC0-1.0."])


def test_plain_values_cannot_be_judged(platform: Platform) -> None:
    for text in ("MATCH (g:Gene) RETURN g.name AS name", "MATCH (g:Gene) RETURN count(g) AS n // $sources"):
        with pytest.raises(LicenceError, match=r"plain values only.* Use \$sources"):
            platform.query(text, sources=["open"])
    assert len(platform.query("MATCH (g:Gene {id: 'HGNC:99'}) RETURN g", sources=["open"])) == 0
    assert len(platform.query("MATCH (s:Source) RETURN s", sources=["open"])) == 4  # they say what is stated


def test_the_command_line_passes_filters_on(loaded: Graph, tmp_path: Path) -> None:
    address = loaded.address
    env = {"TOSG_HOME": str(tmp_path), "TOSG_NEO4J_URI": address.uri, "TOSG_NEO4J_PASSWORD": address.password}
    asked = ["query", "MATCH (g:Gene) RETURN g ORDER BY g.id", "--format", "csv"]
    done = CliRunner().invoke(cli.main, [*asked, "--license-allow", "MIT,CC0", "--sources", "open"], env=env)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == ["g", "HGNC:1", "HGNC:2", "HGNC:3"]
    assert "2 of 5 rows left out: not allowed by sources open; licences MIT, CC0-1.0." in done.stderr
    done = CliRunner().invoke(cli.main, [*asked, "--license-allow", "free"], env=env)
    assert done.exit_code == 1
    assert "Error: 'free' is no licence that is known here." in done.stderr


def test_a_selection_keeps_what_is_allowed(platform: Platform) -> None:
    query = "MATCH (a:Gene) OPTIONAL MATCH (a)-[r:SIGNALS_TO]->(b) RETURN a, r, b"
    everything = platform.select(query).selection
    assert (len(everything.nodes), len(everything.edges["Gene", "SIGNALS_TO", "Gene"])) == (5, 7)
    assert everything.left_out == ()
    found = platform.select(query, license_allow=["CC0", "CC-BY-4.0"]).selection
    assert found.nodes["id"].to_pylist() == ["HGNC:1", "HGNC:2", "HGNC:3", "HGNC:5"]
    edges = (
        found.edges["Gene", "SIGNALS_TO", "Gene"].select(["source_row", "target_row", "source"]).to_pylist()
    )
    assert sorted(tuple(e.values()) for e in edges) == [
        (0, 1, "open"),
        (0, 2, "carried"),
        (0, 2, "shared"),
        (1, 2, "open"),
    ]
    reason = "not stated by an allowed source or licence (licences CC0-1.0, CC-BY-4.0)"
    assert [(d["what"], d["reason"], d["count"], d["examples"]) for d in found.left_out] == [
        ("nodes", reason, 1, ["HGNC:4"]),
        ("edges", reason, 3, []),
    ]
    with pytest.raises(LicenceError, match="None of the 5 picked nodes is allowed by sources carrier"):
        platform.select(query, sources=["carrier"])  # it states no nodes


def test_the_manifest_counts_what_a_filter_left_out(tmp_path: Path) -> None:
    from tosg_graph.export import write_bundle

    picked = toy_bundle.selection()
    edges = {key: _with(table, "licence", None) for key, table in picked.edges.items()}
    sources = pa.array([["open"]] * len(picked.nodes), pa.list_(pa.string()))
    nodes = _with(picked.nodes, "licence", None)
    picked = replace(picked, nodes=_with(nodes, "sources", sources), edges=edges)
    names = sorted({s for table in edges.values() for s in table["source"].to_pylist()})
    wanted = Filter(("open", *names[1:]), None)
    allowed = licences.Allowed(wanted, frozenset(wanted.sources or ()), frozenset(wanted.sources or ()), ())
    found = licences.restrict(picked, allowed)
    kept = sum(len(t) for t in found.edges.values())
    manifest = write_bundle(
        found, toy_bundle.measured(), cohort="true", label="cell_type", out=tmp_path / "b"
    ).content
    dropped = [d for d in manifest["dropped"] if "allowed" in d["reason"]]
    assert [(d["what"], d["count"], d["kept"]) for d in dropped] == [
        ("nodes", 0, False),
        ("edges", sum(len(t) for t in edges.values()) - kept, False),
    ]
    assert str(wanted) in dropped[0]["reason"]
    assert sum(manifest["edges"].values()) == kept


def _with(table: pa.Table, name: str, values: pa.Array | None) -> pa.Table:
    column = pa.nulls(len(table), pa.string()) if values is None else values
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def test_the_page_of_licences_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(str(root / "scripts"))
    make_licences_page = importlib.import_module("make_licences_page")
    page = (root / "docs" / "licences.md").read_text(encoding="utf-8")
    assert make_licences_page.licences_table() in page, "run python scripts/make_licences_page.py"
    assert all(f"| `{key}` |" in page for key in LOADERS)


def test_nothing_left_is_an_error(platform: Platform) -> None:
    with pytest.raises(LicenceError, match="None of the 1 picked nodes is allowed"):
        platform.select("MATCH (a:Gene {id: 'HGNC:4'}) RETURN a", license_allow=["CC0"])


def test_a_filtered_load_keeps_its_ledger(graph: Graph, settings: Settings, tmp_path: Path) -> None:
    """Through the platform with real sources: one is skipped unread, one loses rows."""
    own = replace(settings, uri=graph.address.uri, password=graph.address.password, home=tmp_path)
    said: list[str] = []
    with Platform(own) as p:
        lines = p.load("signaling", "cl", license_allow=["CC0-1.0"], announce=said.append)
        again = p.load("signaling", "cl", license_allow=["CC0-1.0"])
        with pytest.raises(
            LicenceError, match=r"None of cl is allowed by licences CC0-1\.0; nothing was loaded"
        ):
            p.load("cl", license_allow=["CC0-1.0"])
    assert [(x.source, x.table, x.read, x.rejected) for x in lines][-1] == ("cl", "(whole source)", 1, 1)
    assert lines[-1].reasons == {"licence CC-BY-4.0 is not allowed": 1}
    assert [replace(x, created=0, updated=0) for x in lines] == again
    assert said[0].startswith(
        "signaling: Signaling steps of textbook pathways, curated for this project, version 1, "
    )
    assert said[-1] == "cl: skipped, licence CC-BY-4.0 is not allowed."
    stored = graph.rows("MATCH (r:Release) RETURN r.ledger AS ledger")
    assert [("(whole source)" in row["ledger"]) for row in stored] == [True]
    source = graph.rows("MATCH (s:Source {key: 'signaling'}) RETURN s.files AS files, s.size_mb AS mb")[0]
    assert source["files"][0].startswith("steps: signaling.tsv, ")
    assert "sha256 " in source["files"][0]
