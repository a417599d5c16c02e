"""OBO and obograph files, by hand in the exact formats, with every trap of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loaders import obo, obograph
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed

OBO = """format-version: 1.4
data-version: releases/2026-01-01
ontology: cl
remark: a remark ! with a comment

[Term]
id: CL:0000001
name: cell ! not part of the name
namespace: cell
alt_id: CL:0000101
def: "A \\"cell\\", {as such} ! really.\\nTwo lines." [GOC:x, PMID:1 "a title"] {source="GO"}
synonym: "zell \\"A\\"" EXACT [] {note="x"}
synonym: "cells" RELATED PLURAL [GOC:x]
xref: MESH:D002477
xref: FMA:68646 {source="x"} ! a comment
xref: http://en.wikipedia.org/wiki/Cell
xref: Wikipedia:Cell_(biology) "with a title"
subset: common
property_value: IAO:0000589 "cell" xsd:string

[Term]
id: CL:0000002
name: neuron
is_a: CL:0000001 {is_inferred="true"} ! cell
relationship: part_of UBERON:0000955 ! brain
relationship: RO:0002202 CL:0000003 {x="y"} ! develops from neuroblast
relationship: capable_of GO:0019226 ! of no known namespace
intersection_of: CL:0000001
disjoint_from: CL:0000003

[Term]
id: CL:0000003
name: neuroblast
is_a: CL:0000101 ! by its alternative id
is_a: CL:0000004 ! obsolete, replaced
is_a: CL:0000005 ! obsolete, not replaced
relationship: BFO:0000050 CL:0000001

[Term]
id: CL:0000004
name: obsolete old neuron
is_obsolete: true
replaced_by: CL:0000006

[Term]
id: CL:0000005
name: obsolete thing
is_obsolete: true
consider: CL:0000001

[Term]
id: CL:0000006
name: obsolete older neuron
is_obsolete: true
replaced_by: CL:0000002

[Term]
id: CL:0000007

[Term]
id: UBERON:0000955
name: brain

[Term]
id: GO:0005634
name: nucleus
namespace: cellular_component
relationship: part_of CL:0000001

[Typedef]
id: part_of
name: part of
xref: BFO:0000050
is_transitive: true
"""

IRI = "http://purl.obolibrary.org/obo/"


def node(id_: str, name: str | None, **meta: Any) -> dict[str, Any]:
    made = {"id": IRI + id_.replace(":", "_"), "type": "CLASS", "meta": meta}
    return made if name is None else {**made, "lbl": name}


def value(pred: str, val: str) -> dict[str, str]:
    return {"pred": pred, "val": val}


def edge(sub: str, pred: str, obj: str) -> dict[str, str]:
    return {
        "sub": IRI + sub.replace(":", "_"),
        "pred": pred if pred == "is_a" else IRI + pred,
        "obj": IRI + obj.replace(":", "_"),
    }


GO = "http://www.geneontology.org/formats/oboInOwl#"
GRAPH: dict[str, Any] = {
    "graphs": [
        {
            "id": IRI + "cl.owl",
            "meta": {"version": IRI + "cl/releases/2026-01-01/cl.owl"},
            "nodes": [
                node(
                    "CL:0000001",
                    "cell",
                    definition={"val": 'A "cell", {as such} ! really.\nTwo lines.', "xrefs": ["PMID:1"]},
                    synonyms=[value("hasExactSynonym", 'zell "A"'), value("hasRelatedSynonym", "cells")],
                    xrefs=[
                        {"val": x} for x in ("MESH:D002477", "FMA:68646", "Wikipedia:Cell_(biology)", "a b")
                    ],
                    subsets=[IRI + "cl#common"],
                    basicPropertyValues=[value(GO + "hasAlternativeId", "CL:0000101")],
                ),
                node("CL:0000002", "neuron"),
                node("CL:0000003", "neuroblast"),
                node(
                    "CL:0000004",
                    "obsolete old neuron",
                    deprecated=True,
                    basicPropertyValues=[value(IRI + "IAO_0100001", IRI + "CL_0000006")],
                ),
                node("CL:0000005", "obsolete thing", deprecated=True),
                node(
                    "CL:0000006",
                    "obsolete older neuron",
                    deprecated=True,
                    basicPropertyValues=[value(IRI + "IAO_0100001", "CL:0000002")],
                ),
                node("CL:0000007", None),
                node("UBERON:0000955", "brain"),
                node(
                    "GO:0005634",
                    "nucleus",
                    basicPropertyValues=[value(GO + "hasOBONamespace", "cellular_component")],
                ),
                {"id": IRI + "RO_0002202", "lbl": "develops from", "type": "PROPERTY"},
                {"id": IRI + "BFO_0000050", "lbl": "part of", "type": "PROPERTY"},
                {"id": IRI + "CL_9999999", "lbl": "somebody", "type": "INDIVIDUAL"},
            ],
            "edges": [
                edge("CL:0000002", "is_a", "CL:0000001"),
                edge("CL:0000002", "BFO_0000050", "UBERON:0000955"),
                edge("CL:0000002", "RO_0002202", "CL:0000003"),
                edge("CL:0000002", "RO_0002215", "GO:0019226"),
                edge("CL:0000003", "is_a", "CL:0000101"),
                edge("CL:0000003", "is_a", "CL:0000004"),
                edge("CL:0000003", "is_a", "CL:0000005"),
                edge("CL:0000003", "BFO_0000050", "CL:0000001"),
                edge("GO:0005634", "BFO_0000050", "CL:0000001"),
                {"sub": IRI + "RO_1", "pred": "subPropertyOf", "obj": IRI + "RO_2"},
            ],
        }
    ]
}


def read_obo(folder: Path, prefixes: str = "", text: str = OBO) -> Parsed:
    (folder / "x.obo").write_text(text, encoding="utf-8")
    return obo.parse({"ontology": folder / "x.obo"}, prefixes=prefixes)


def read_graph(folder: Path, prefixes: str = "") -> Parsed:
    (folder / "x.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    return obograph.parse({"ontology": folder / "x.json"}, prefixes=prefixes)


READ = pytest.mark.parametrize("read", [read_obo, read_graph], ids=["obo", "obograph"])


def edges_of(parsed: Parsed) -> set[tuple[str, str, str, str]]:
    return {
        (row["subject"], table.verb, row["object"], row["relation"])
        for table in parsed.edges
        for row in table.data.to_pylist()
    }


@READ
def test_terms_of_the_ontologys_own_prefix(read: Callable[..., Parsed], tmp_path: Path) -> None:
    parsed = read(tmp_path)
    contract.check(parsed)
    (terms,) = parsed.nodes
    assert terms.label == "CellType"
    assert [row["id"] for row in terms.data.to_pylist()] == ["CL:0000001", "CL:0000002", "CL:0000003"]
    assert terms.data.to_pylist()[0] == {
        "id": "CL:0000001",
        "name": "cell",
        "description": 'A "cell", {as such} ! really. Two lines.',
        "synonyms": ["cells", 'zell "A"'],
        "xrefs": ["CL:0000101", "FMA:68646", "MESH:D002477", "Wikipedia:Cell_(biology)"],
        "subsets": ["common"],
    }
    assert terms.data.to_pylist()[1]["xrefs"] == ["CL:0000004", "CL:0000006"]
    assert [(r.value, r.reason) for r in terms.rejects] == [
        ("CL:0000004", "obsolete, replaced"),
        ("CL:0000005", "obsolete"),
        ("CL:0000006", "obsolete, replaced"),
        ("CL:0000007", "no name"),
        ("UBERON:0000955", "imported, not CL"),
        ("GO:0005634", "imported, not CL"),
    ]
    assert terms.read == 9


@READ
def test_relations(read: Callable[..., Parsed], tmp_path: Path) -> None:
    parsed = read(tmp_path)
    is_graph = read is read_graph
    part_of = ("part_of", "part_of") if is_graph else ("part_of", "BFO:0000050")
    develops = "develops_from" if is_graph else "RO:0002202"
    assert edges_of(parsed) == {
        ("CL:0000002", "IS_A", "CL:0000001", "is_a"),
        ("CL:0000002", "PART_OF", "UBERON:0000955", part_of[0]),
        ("CL:0000002", "ASSOCIATED_WITH", "CL:0000003", develops),
        ("CL:0000003", "IS_A", "CL:0000001", "is_a"),
        ("CL:0000003", "IS_A", "CL:0000002", "is_a"),
        (
            "CL:0000003",
            "ASSOCIATED_WITH",
            "CL:0000001",
            part_of[1],
        ),  # PART_OF of cell types is not in the schema
    }
    refused = [r for table in parsed.edges for r in table.rejects]
    assert [(r.value, r.reason) for r in refused] == [
        ("GO:0019226", "no label for its prefix"),
        ("CL:0000005", "obsolete"),
    ]
    for table in parsed.edges:
        assert table.read == len(table.data) + table.merged + len(table.rejects)


@READ
def test_other_prefixes_on_request(read: Callable[..., Parsed], tmp_path: Path) -> None:
    parsed = read(tmp_path, prefixes="UBERON, GO")
    contract.check(parsed)
    assert {(t.label, row["id"]) for t in parsed.nodes for row in t.data.to_pylist()} == {
        ("Organ", "UBERON:0000955"),
        ("CellularComponent", "GO:0005634"),
    }
    assert len(edges_of(parsed)) == 1
    with pytest.raises(LoadError, match=r"option prefixes: 'XX' is no prefix .* it has CL, GO, UBERON\."):
        read(tmp_path, prefixes="XX")


def test_the_most_frequent_prefix_where_the_file_has_no_name(tmp_path: Path) -> None:
    (terms,) = read_obo(tmp_path, text=OBO.replace("ontology: cl\n", "")).nodes
    assert terms.label == "CellType"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>", "is not `tag: value`"),
        ("format-version: 1.4\n", "has no [Term]"),
        (
            "[Term]\nid: CL:1\nname: a\ndef: no quotes",
            "line 4: 'no quotes' does not begin with a quoted text",
        ),
        ("[Term]\nid: XX:1\nname: a", "no term has a prefix with a label; the file has XX."),
    ],
)
def test_what_is_not_obo(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(LoadError) as raised:
        read_obo(tmp_path, text=text)
    assert said in str(raised.value)


@pytest.mark.parametrize("content", [[], {"graphs": []}, {"graphs": ["x"]}, {"nodes": []}, {"graphs": [{}]}])
def test_what_is_not_an_obograph(tmp_path: Path, content: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(LoadError, match="give an obograph file"):
        obograph.parse({"ontology": tmp_path / "x.json"})


@pytest.mark.parametrize(
    ("iri", "curie"),
    [
        (IRI + "CL_0000540", "CL:0000540"),
        ("http://www.orpha.net/ORDO/Orphanet_558", "Orphanet:558"),
        ("http://www.ebi.ac.uk/efo/EFO_0000001", "EFO:0000001"),
        ("CL:0000540", "CL:0000540"),
        ("is_a", "is_a"),
    ],
)
def test_iris(iri: str, curie: str) -> None:
    assert obograph.curie(iri) == curie


@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20),
    comment=st.sampled_from(["", " ! a comment", ' {x="y"}', ' {x="}"} ! a {comment} "here"']),
)
def test_what_is_escaped_comes_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, comment: str
) -> None:
    escaped = "".join("\\" + c if c in '\\"!{}' else c for c in name)
    text = f'[Term]\nid: CL:1\nname: {escaped}{comment}\ndef: "{escaped}" []{comment}\n'
    (terms,) = read_obo(tmp_path_factory.mktemp("obo"), text=text).nodes
    assert [(row["name"], row["description"]) for row in terms.data.to_pylist()] == [(name, name)]
