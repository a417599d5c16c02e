"""Mapping YAMLs: the worked example of the docs, every key, and what is said where one is wrong."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loaders.mapping import Mapping
from tosg_graph import contract
from tosg_graph.downloads import fetch
from tosg_graph.errors import LoadError
from tosg_graph.settings import read_settings
from tosg_graph.sources import named
from tosg_graph.types import EdgeTable, NodeTable, PackageFile, Parsed, Reject, UserFile, WebFile

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "your-own-table.md").read_text(encoding="utf-8")
GENES: dict[str, Any] = {"table": "genes", "file": "t", "label": "Gene", "id": "NCBIGene:{id}"}
EDGES: dict[str, Any] = {
    "table": "pairs",
    "file": "t",
    "subject": {"label": "Gene", "id": "NCBIGene:{id}"},
    "verb": "ASSOCIATED_WITH",
    "object": {"label": "Disease", "id": "{disease}"},
}


def mapping(folder: Path, **more: Any) -> Mapping:
    top = {"key": "mine", "title": "Mine", "version": "1", "licence": "CC0-1.0", "files": {"t": "t.tsv"}}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**top, **more}, sort_keys=False), encoding="utf-8")
    return Mapping(path)


def parse(folder: Path, text: str, *, name: str = "t.tsv", **more: Any) -> Parsed:
    (folder / name).write_text(text, encoding="utf-8")
    made = mapping(folder, **{"files": {"t": name}, **more})
    parsed = made.parse(fetch(made.SOURCE, read_settings(), path=folder))
    contract.check(parsed)
    for table in (*parsed.nodes, *parsed.edges):
        assert table.read == len(table.data) + table.merged + len(table.rejects)
    return parsed


def lines(table: NodeTable | EdgeTable) -> list[int]:
    return contract.file_rows(table, np.arange(len(table.data))).tolist()


def rejects(table: NodeTable | EdgeTable) -> list[tuple[int, str, str, str]]:
    assert not isinstance(table.rejects, tuple)
    return [tuple(row.values()) for row in table.rejects.to_pylist()]


# --------------------------------------------------------------------------- the page


def example(folder: Path) -> Path:
    table, text = (re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("tsv", "yaml"))
    assert table
    assert text
    rows = table[1].splitlines()
    width = rows[0].count("\t")
    rows = [row + "\t" * (width - row.count("\t")) for row in rows]  # the page cannot end a line with a tab
    (folder / "screen.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "screen.yaml").write_text(text[1], encoding="utf-8")
    return folder / "screen.yaml"


def test_the_worked_example(tmp_path: Path) -> None:
    made = Mapping(example(tmp_path))
    parsed = made.parse({"hits": tmp_path / "screen.tsv"})
    contract.check(parsed)
    (genes,), (edges,) = parsed.nodes, parsed.edges
    assert genes.data.select(["id", "symbol", "alias_symbols"]).to_pylist() == [
        {"id": "NCBIGene:7157", "symbol": "TP53", "alias_symbols": ["LFS1", "P53"]},
        {"id": "NCBIGene:672", "symbol": "BRCA1", "alias_symbols": None},
        {"id": "NCBIGene:1956", "symbol": "EGFR", "alias_symbols": ["ERBB", "HER1"]},
    ]
    assert edges.data.to_pylist() == [
        {
            "subject": f"NCBIGene:{gene}",
            "object": "MONDO:0007254",
            "relation": "knock-out screen",
            "score": score,
            "sign": sign,
            "publications": publications,
        }
        for gene, score, sign, publications in [
            (7157, 0.93, 1, ["PMID:12345", "PMID:23456"]),
            (672, 0.71, -1, ["PMID:12345"]),
        ]
    ]
    assert (lines(genes), lines(edges)) == ([1, 2, 4], [1, 2])
    assert rejects(genes) == [(3, "verdict", "failed", "the screen failed")]
    assert rejects(edges) == [
        (3, "verdict", "failed", "the screen failed"),
        (4, "score", "high", "score: not a number"),
    ]


def test_the_worked_example_is_loaded_and_finds_what_is_there(graph: Graph, tmp_path: Path) -> None:
    from tosg_graph.platform import Platform

    graph.write("CREATE (:Elsewhere)")  # not empty: loads are upserts, and the server stays up
    (tmp_path / "diseases.tsv").write_text("id\tname\nMONDO:0007254\tbreast cancer\n", encoding="utf-8")
    diseases = {"table": "d", "file": "t", "label": "Disease", "id": "{id}", "properties": {"name": "{name}"}}
    mapping(tmp_path, files={"t": "diseases.tsv"}, nodes=[diseases])
    platform = Platform(graph.settings)
    platform.__dict__["graph"] = graph
    platform.load(str(tmp_path / "mine.yaml"))
    lines = {line.table: line for line in platform.load(str(example(tmp_path)))}
    assert (lines["genes"].loaded, lines["genes"].rejected) == (3, 1)
    assert (lines["associations"].loaded, lines["associations"].rejected) == (2, 2)
    found = graph.rows(
        "MATCH (g:Gene)-[r:ASSOCIATED_WITH]->(d:Disease) RETURN g.name AS gene, r.source AS source, d.name AS disease"
    )
    assert {tuple(row.values()) for row in found} == {
        (gene, "my_screen", "breast cancer") for gene in ("TP53", "BRCA1")
    }
    labels, verbs, genes = platform.counts()
    assert labels.to_pylist() == [{"label": "Gene", "entities": 3}, {"label": "Disease", "entities": 1}]
    assert verbs.to_pylist() == [{"verb": "ASSOCIATED_WITH", "relationships": 2}]
    assert genes.to_pylist() == [{"genes": 3, "connected": 2}]


def test_every_key_is_in_the_reference() -> None:
    from loaders import mapping as m

    for key in {*m._TOP, *m._FILE, *m._PACKAGE, *m._VALUE, *m._NODE, *m._EDGE, *m._TESTS}:
        assert re.search(rf"`[^`]*\b{key}\b[^`]*`", PAGE), key


# --------------------------------------------------------------------------- values


def test_templates_fallbacks_and_constants(tmp_path: Path) -> None:
    rows = "id\tsymbol\tname\tchr\n1\tA\talpha\t7\n2\t\tbeta\t\n3\t\t\tX\n"
    properties = {"name": ["{symbol}", "{name}"], "locus_type": "gene", "description": "{name} on {chr}"}
    (genes,) = parse(tmp_path, rows, nodes=[{**GENES, "properties": properties}]).nodes
    columns = ["name", "symbol", "locus_type", "description"]
    assert [tuple(row.values()) for row in genes.data.select(columns).to_pylist()] == [
        ("A", "A", "gene", "alpha on 7"),
        ("beta", "beta", "gene", None),
        ("NCBIGene:3", "NCBIGene:3", "gene", None),
    ]


def test_lists_are_split_trimmed_sorted_and_distinct(tmp_path: Path) -> None:
    rows = "id\tx\ty\n1\tb; a;;b\tNM_1|NM_2\n2\t\t\n"
    properties = {
        "synonyms": {"from": "{x}", "split": ";"},
        "xrefs": [{"from": "RefSeq:{y}", "split": "|"}, "X:{id}"],
        "description": {"from": "{x}", "split": ";", "join": " + "},
    }
    (genes,) = parse(tmp_path, rows, nodes=[{**GENES, "properties": properties}]).nodes
    one, two = genes.data.to_pylist()
    assert (one["synonyms"], one["xrefs"]) == (["a", "b"], ["RefSeq:NM_1", "RefSeq:NM_2", "X:1"])
    assert (two["synonyms"], two["xrefs"], two["description"]) == (None, ["X:2"], None)
    assert one["description"] == "a + b"


def test_two_separators(tmp_path: Path) -> None:
    publications = {"from": "PMID:{p}", "split": ["|", ", "], "pattern": "^[0-9]+$", "else": ""}
    edge = {**EDGES, "properties": {"publications": publications}}
    rows = "id\tdisease\tp\n1\tMONDO:1\t9|8, 9, x|\n2\tMONDO:1\t\n"
    (edges,) = parse(tmp_path, rows, edges=[edge]).edges
    assert edges.data["publications"].to_pylist() == [["PMID:8", "PMID:9"], None]


def test_a_pattern_takes_its_group_and_what_does_not_match_is_rejected(tmp_path: Path) -> None:
    rows = "id\tdisease\nENSG0001.12\tMONDO:1\nx\tMONDO:1\n"
    edge = {**EDGES, "subject": {"label": "Gene", "id": {"from": "ENSEMBL:{id}", "pattern": r"^(ENSG\d+)"}}}
    (edges,) = parse(tmp_path, rows, edges=[edge]).edges
    assert edges.data["subject"].to_pylist() == ["ENSEMBL:ENSG0001"]
    assert rejects(edges) == [(2, "id", "x", r"does not look like ^(ENSG\d+)")]


def test_a_lookup_finds_one_value_or_none(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text('A,1\nA,1\nB,2\nB,3\n"C, c",4\n', encoding="utf-8")
    files = {"t": "t.tsv", "names": {"file": "names.csv", "columns": ["symbol", "entrez"]}}
    lookup = {"file": "names", "key": "symbol", "value": "entrez"}
    node = {
        **GENES,
        "let": {"id": {"from": "{symbol}", "lookup": lookup}},
        "properties": {"name": "{symbol}"},
    }
    (genes,) = parse(tmp_path, "symbol\nA\nB\nC, c\nD\n", files=files, nodes=[node]).nodes
    assert genes.data["id"].to_pylist() == ["NCBIGene:1", "NCBIGene:4"]
    reason = "not one entrez in file names"
    assert rejects(genes) == [(2, "symbol", "B", reason), (4, "symbol", "D", reason)]


def test_a_lookup_among_some_rows_and_a_comparison_with_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text(
        "id\tsymbol\tstatus\n1\tA\told\n1\tB\tlive\n2\tC\tlive\n", encoding="utf-8"
    )
    lookup = {"file": "names", "key": "id", "value": "symbol", "where": {"status": "live"}}
    node = {
        **GENES,
        "let": {"symbol": {"from": "{id}", "lookup": lookup}},
        "properties": {"name": "{symbol}"},
    }
    node["where"] = {"column": "alias", "is_not": "{symbol}", "reason": "the symbol itself"}
    node["properties"] = {"name": "{symbol}", "alias_symbols": "{alias}"}
    files = {"t": "t.tsv", "names": "names.tsv"}
    (genes,) = parse(tmp_path, "id\talias\n1\tX\n1\tB\n2\tA\n", files=files, nodes=[node]).nodes
    columns = ["name", "alias_symbols"]
    assert [tuple(r.values()) for r in genes.data.select(columns).to_pylist()] == [("B", ["X"]), ("C", ["A"])]
    assert rejects(genes) == [(2, "alias", "B", "the symbol itself")]


def test_a_map_with_and_without_else(tmp_path: Path) -> None:
    rows = "id\tdisease\teffect\n1\tMONDO:1\tup\n2\tMONDO:1\tdown\n3\tMONDO:1\t?\n4\tMONDO:1\t\n"
    for otherwise, signs in ((None, [1, -1, None]), ("0", [1, -1, 0, None])):
        value = {"from": "{effect}", "map": {"up": "1", "down": "-1"}}
        value |= {"else": otherwise} if otherwise else {}
        (edges,) = parse(tmp_path, rows, edges=[{**EDGES, "properties": {"sign": value}}]).edges
        assert edges.data["sign"].to_pylist() == signs
        assert rejects(edges) == ([] if otherwise else [(3, "effect", "?", "not in the map")])


def test_numbers_and_truth_values_that_are_none_are_rejected(tmp_path: Path) -> None:
    cells = [
        ("1.5e-3", "1", "TRUE"),
        ("+2", "-1", "no"),
        ("", "", ""),
        ("inf", "1", "yes"),
        ("1", "2", "yes"),
        ("1", "1", "maybe"),
        ("1", "0.5", "0"),
    ]
    rows = "id\tdisease\ta\tb\tc\n" + "".join(
        f"{i}\tMONDO:1\t{a}\t{b}\t{c}\n" for i, (a, b, c) in enumerate(cells, 1)
    )
    properties = {"score": "{a}", "sign": "{b}", "negated": "{c}"}
    (edges,) = parse(tmp_path, rows, edges=[{**EDGES, "properties": properties}]).edges
    assert [tuple(r[c] for c in properties) for r in edges.data.to_pylist()] == [
        (0.0015, 1, True),
        (2.0, -1, False),
        (None, None, None),
    ]
    assert rejects(edges) == [
        (4, "a", "inf", "score: not a number"),
        (5, "b", "2", "sign: allowed are -1, 0, 1"),
        (6, "c", "maybe", "negated: not true or false"),
        (7, "b", "0.5", "sign: allowed are -1, 0, 1"),
    ]


# --------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"is": "a"}, [1]),
        ({"is": ["a", "b"]}, [1, 2]),
        ({"is_not": "a"}, [2, 3, 4]),
        ({"is_not": ""}, [1, 2, 3]),
        ({"is": "{other}"}, [1, 4]),
        ({"matches": "^[ab]$"}, [1, 2]),
        ({"at_least": "5"}, [3]),
        ({"at_most": "10"}, [3]),
    ],
)
def test_conditions(tmp_path: Path, condition: dict[str, Any], kept: list[int]) -> None:
    rows = "id\tx\tother\n1\ta\ta\n2\tb\ta\n3\t7\ta\n4\t\t\n"
    node = {**GENES, "where": [{"column": "x", "reason": "not wanted", **condition}]}
    node["properties"] = {"name": "{other}"}
    (genes,) = parse(tmp_path, rows, nodes=[node]).nodes
    assert genes.data["id"].to_pylist() == [f"NCBIGene:{i}" for i in kept]
    assert [row for row, *_ in rejects(genes)] == [i for i in range(1, 5) if i not in kept]
    assert {reason for *_, reason in rejects(genes)} <= {"not wanted"}


def test_a_list_of_ids_becomes_rows_of_their_own(tmp_path: Path) -> None:
    rows = "id\tdisease\tscore\n1;2\tMONDO:1|MONDO:2\t0.5\n\tMONDO:1\t1\n3\t\t1\n4;5 6\tMONDO:1\t1\n7;8\tMONDO:9\tx\n"
    edge = {
        **EDGES,
        "subject": {"label": "Gene", "id": {"from": "NCBIGene:{id}", "split": ";"}},
        "object": {"label": "Disease", "id": {"from": "{disease}", "split": "|"}},
        "properties": {"score": "{score}"},
    }
    (edges,) = parse(tmp_path, rows, edges=[edge]).edges
    assert [tuple(row.values()) for row in edges.data.to_pylist()] == [
        ("NCBIGene:1", "MONDO:1", 0.5),
        ("NCBIGene:1", "MONDO:2", 0.5),
        ("NCBIGene:2", "MONDO:1", 0.5),
        ("NCBIGene:2", "MONDO:2", 0.5),
        ("NCBIGene:4", "MONDO:1", 1.0),
    ]
    assert rejects(edges) == [
        (2, "id", "", "no value"),
        (3, "disease", "", "no value"),
        (4, "subject", "NCBIGene:5 6", "not a CURIE such as HGNC:3236"),
        (5, "score", "x", "score: not a number"),
        (5, "score", "x", "score: not a number"),
    ]
    assert edges.read == 10


def test_an_id_of_another_form_and_a_bad_xref_are_rejected(tmp_path: Path) -> None:
    node = {**GENES, "id": "{id}", "properties": {"xrefs": "{x}"}}
    (genes,) = parse(tmp_path, "id\tx\nHGNC:1\tX:1\nFOO:2\tX:1\nHGNC:3\tno curie\n", nodes=[node]).nodes
    assert genes.data["id"].to_pylist() == ["HGNC:1"]
    assert rejects(genes) == [
        (2, "id", "FOO:2", "not an id of Gene"),
        (3, "x", "no curie", "xrefs: not a CURIE such as HGNC:3236"),
    ]


def test_cases_share_the_rows_out(tmp_path: Path) -> None:
    lines = (
        "gene term aspect code",
        "1 GO:1 P IDA",
        "2 GO:2 F IEA",
        "3 GO:3 X IEA",
        "4 GO:4 ? IEA",
        "5 GO:5 F ",
    )
    rows = "".join(line.replace(" ", "\t") + "\n" for line in lines)
    text = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    (edge,) = yaml.safe_load(text)
    involved, enables = parse(tmp_path, rows, files={"annotations": "t.tsv"}, edges=[edge]).edges
    assert (involved.name, involved.verb, involved.object_label) == (
        "involved_in",
        "INVOLVED_IN",
        "BiologicalProcess",
    )
    assert (enables.name, enables.verb, enables.object_label) == ("enables", "ENABLES", "MolecularFunction")
    assert involved.data.to_pylist() == [{"subject": "NCBIGene:1", "object": "GO:1", "evidence": ["IDA"]}]
    assert enables.data["subject"].to_pylist() == ["NCBIGene:2"]
    assert rejects(involved) == [
        (3, "aspect", "X", "the annotation was withdrawn"),
        (4, "aspect", "?", "no case for this value"),
    ]
    assert rejects(enables) == [(5, "code", "", "no evidence")]


# --------------------------------------------------------------------------- files


def test_csv_with_quotes_gz_and_no_header(tmp_path: Path) -> None:
    node = {**GENES, "properties": {"name": "{name}"}}
    with gzip.open(tmp_path / "t.csv.gz", "wt", encoding="utf-8") as out:
        out.write('1,"a, ""b"""\n2,"two\nlines"\n')
    files = {"t": {"file": "t.csv*", "columns": ["id", "name"]}}
    made = mapping(tmp_path, files=files, nodes=[node])
    (genes,) = made.parse(fetch(made.SOURCE, read_settings(), path=tmp_path)).nodes
    assert genes.data["name"].to_pylist() == ['a, "b"', "two\nlines"]


def test_tsv_takes_quotes_as_they_are_unless_told(tmp_path: Path) -> None:
    node = {**GENES, "properties": {"name": "{name}"}}
    for quoted, name in (("false", '"a"'), ("true", "a")):
        files = {"t": {"file": "t.tsv", "quoted": quoted}}
        (genes,) = parse(tmp_path, 'id\tname\n1\t"a"\n', files=files, nodes=[node]).nodes
        assert genes.data["name"].to_pylist() == [name]


def test_json_objects_with_lists(tmp_path: Path) -> None:
    content = [{"id": 1, "name": "a", "also": ["y", "x"], "ok": True}, {"id": 2, "name": None, "also": []}]
    node = {**GENES, "properties": {"name": "{name}", "synonyms": "{also}"}}
    node["where"] = {"column": "ok", "is_not": "false", "reason": "not ok"}
    text = json.dumps(content)
    (genes,) = parse(tmp_path, text, name="t.json", files={"t": "t.json"}, nodes=[node]).nodes
    assert genes.data["name"].to_pylist() == ["a", "NCBIGene:2"]
    assert genes.data["synonyms"].to_pylist() == [["x", "y"], None]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": 1}', "is not a JSON list of objects"),
        ('[{"name": "a"}]', "no object has 'id'"),
        ('[{"id": {"x": 1}}]', "row 1, 'id' holds an object"),
    ],
)
def test_json_of_another_form(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LoadError, match=re.escape(said)):
        parse(tmp_path, text, name="t.json", files={"t": "t.json"}, nodes=[GENES])


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"t\.tsv: line 1 has no column 'id'; it has gene"):
        parse(tmp_path, "gene\n1\n", nodes=[GENES])


def test_an_empty_table(tmp_path: Path) -> None:
    (genes,) = parse(tmp_path, "id\tx\n", nodes=[{**GENES, "properties": {"xrefs": "{x}"}}]).nodes
    assert (genes.read, genes.data.num_rows) == (0, 0)


def test_where_files_come_from(tmp_path: Path) -> None:
    box = {"name": "p", "version": "1", "archive": "p.whl", "archive_sha256": "0", "member": "a/t.tsv"}
    files = {
        "t": "t.tsv",
        "web": {"file": "w*.tsv", "url": "https://example.org/w.tsv", "sha256": "0"},
        "own": {"file": "o.tsv", "homepage": "https://example.org"},
        "packed": {"file": "t.tsv*", "package": box},
    }
    found = mapping(tmp_path, files=files, nodes=[GENES]).SOURCE.files
    assert found["t"] == UserFile("t.tsv", "")
    assert found["web"] == WebFile("https://example.org/w.tsv", "w*.tsv", "0")
    assert found["own"] == UserFile("o.tsv", "https://example.org")
    assert found["packed"] == PackageFile("p", "1", "p.whl", "0", "a/t.tsv", "t.tsv*")


def test_a_file_beside_the_mapping_comes_before_others_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "t.tsv").write_text("id\n9\n", encoding="utf-8")
    (genes,) = parse(tmp_path, "id\n1\n", nodes=[GENES]).nodes
    assert genes.data["id"].to_pylist() == ["NCBIGene:1"]


# --------------------------------------------------------------------------- what is wrong with a mapping

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"titel": "x"}, "key 'titel' is unknown; did you mean 'title'?"),
    "no key": ({"key": ""}, "'key' is missing; add it."),
    "bad key": ({"key": "My Key"}, "'My Key' is not lower-case letters"),
    "no tables": ({}, "has neither nodes nor edges; add a table."),
    "label": ({"nodes": [{**GENES, "label": "Genes"}]}, "label 'Genes' is unknown; did you mean 'Gene'?"),
    "verb": ({"edges": [{**EDGES, "verb": "ASSOCIATED"}]}, "verb 'ASSOCIATED' is unknown; did you mean"),
    "pair": (
        {"edges": [{**EDGES, "verb": "ENCODES"}]},
        "ENCODES from Gene to Disease is not in schema/edges.yaml",
    ),
    "prefix": (
        {"nodes": [{**GENES, "id": "NCBIgene:{id}"}]},
        "id prefix of Gene 'NCBIgene' is unknown; did you mean",
    ),
    "file": ({"nodes": [{**GENES, "file": "u"}]}, "file 'u' is unknown; known are t."),
    "property": (
        {"nodes": [{**GENES, "properties": {"synonym": "{x}"}}]},
        "nodes, table genes: property 'synonym' is unknown; did you mean 'synonyms'?",
    ),
    "split of one": (
        {"nodes": [{**GENES, "properties": {"name": {"from": "{x}", "split": ";"}}}]},
        "property 'name' holds one value; add `join` or leave `split` out.",
    ),
    "required": (
        {"edges": [{**EDGES, "verb": "SIGNALS_TO", "object": {"label": "Gene", "id": "{x}"}}]},
        "SIGNALS_TO needs the property 'sign'; add it.",
    ),
    "columns": (
        {"nodes": [{**GENES, "id": {"from": "NCBIGene:{a}{b}", "split": ";"}}]},
        "has 2 columns; split, pattern, lookup and map take one.",
    ),
    "pattern": ({"nodes": [{**GENES, "id": {"from": "{a}", "pattern": "("}}]}, "is no regular expression"),
    "groups": ({"nodes": [{**GENES, "id": {"from": "{a}", "pattern": "(a)(b)"}}]}, "has 2 groups"),
    "tests": (
        {"nodes": [{**GENES, "where": {"column": "x", "reason": "r", "is": "a", "is_not": "b"}}]},
        "x has 2 tests; give one of is, is_not",
    ),
    "bound": (
        {"nodes": [{**GENES, "where": {"column": "x", "reason": "r", "at_least": "much"}}]},
        "at_least 'much' is not a number",
    ),
    "twice": ({"nodes": [GENES, GENES]}, "table genes: is there twice; rename one."),
    "by": ({"nodes": [{**GENES, "by": "{x}"}]}, "`by` and `cases` belong together"),
    "reasons": ({"nodes": [{**GENES, "by": "{x}", "cases": {"a": "no"}}]}, "every case is a reason"),
    "format": ({"files": {"t": {"file": "t.xls", "format": "xls"}}, "nodes": [GENES]}, "format 'xls' is not"),
    "quoted": ({"files": {"t": {"file": "t", "quoted": "maybe"}}, "nodes": [GENES]}, "is not true or false"),
    "package": (
        {"files": {"t": {"file": "t", "package": {"name": "p"}}}, "nodes": [GENES]},
        "files.t.package: 'version' is missing; add it.",
    ),
    "list": ({"nodes": GENES}, "is not a list of tables"),
    "value": ({"nodes": [{**GENES, "id": {"form": "{id}"}}]}, "key 'form' is unknown; did you mean 'from'?"),
}


@pytest.mark.parametrize(("more", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_mapping_is_refused_in_one_line(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadError, match=re.escape(said)) as raised:
        mapping(tmp_path, **more)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("mine.yaml: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key: [", "is not YAML"),
        ("key: a\nkey: b\n", "key 'key' occurs twice"),
        ("- a\n", "is not a mapping"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(LoadError, match=re.escape(said)):
        Mapping(tmp_path / "m.yaml")


def test_a_let_may_not_hide_a_column(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("id\tx\n1\ta\n", encoding="utf-8")
    node = {**GENES, "let": {"x": "{id}"}, "properties": {"name": {"from": "{id}"}}}
    other = {**GENES, "table": "others", "properties": {"name": "{x}"}}
    with pytest.raises(LoadError, match="`let` makes 'x', which is a column of file t"):
        parse(tmp_path, "id\tx\n1\ta\n", nodes=[node, other])


def test_a_key_of_the_program_is_taken(tmp_path: Path) -> None:
    path = mapping(tmp_path, key="hgnc", nodes=[GENES]).path
    with pytest.raises(LoadError, match=r"mine\.yaml: key 'hgnc' is taken by another source"):
        named([str(path)], None)


def test_all_needs_a_folder_that_holds_something(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="`all` needs --path FOLDER"):
        named(["all"], None)
    with pytest.raises(LoadError, match="holds the files of no source"):
        named(["all"], tmp_path)


# --------------------------------------------------------------------------- properties


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 9), st.sampled_from(["a", "b", ""]), st.lists(st.sampled_from("xyz"), max_size=4)
        ),
        max_size=30,
    )
)
def test_every_row_is_loaded_or_rejected_and_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("table")
    text = "id\tkind\tnames\n" + "".join(f"{i}\t{k}\t{';'.join(n)}\n" for i, k, n in rows)
    node = {
        **GENES,
        "where": {"column": "kind", "is": "a", "reason": "not a"},
        "properties": {"name": "{kind}{id}", "synonyms": {"from": "{names}", "split": ";"}},
    }
    (genes,) = parse(folder, text, nodes=[node]).nodes
    kept = [(i, n) for i, k, n in rows if k == "a"]
    assert genes.data["id"].to_pylist() == [f"NCBIGene:{i}" for i, _ in kept]
    assert genes.data["synonyms"].to_pylist() == [sorted(set(n)) or None for _, n in kept]
    assert [row for row, *_ in rejects(genes)] == [at for at, (_, k, _) in enumerate(rows, 1) if k != "a"]


def test_rejects_of_the_program_are_rows(tmp_path: Path) -> None:
    (genes,) = parse(tmp_path, "id\nx y\n", nodes=[GENES]).nodes
    assert [Reject(*row) for row in rejects(genes)] == [Reject(1, "id", "NCBIGene:x y", "not an id of Gene")]
