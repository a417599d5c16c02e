"""GO annotations as GAF 2.2, by hand in the exact format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from loaders import go_annotations
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed

HEAD = ["!gaf-version: 2.2", "!", "!generated-by: GOC"]


def line(accession: str, qualifier: str, term: str, aspect: str, **changes: str) -> str:
    fields = {"db": "UniProtKB", "ref": "PMID:1", "code": "IDA", "taxon": "taxon:9606", **changes}
    cells = [fields["db"], accession, "EGFR", qualifier, term, fields["ref"], fields["code"], "", aspect]
    cells += [
        "Epidermal growth factor receptor",
        "EGFR|ERBB",
        "protein",
        fields["taxon"],
        "20200101",
        "UniProt",
    ]
    return "\t".join([*cells, "", ""])


LINES = [
    line("P00533", "enables", "GO:0004714", "F"),
    line("P00533", "enables", "GO:0004714", "F", code="IEA", ref="GO_REF:0000002|PMID:2"),
    line("P00533", "NOT|enables", "GO:0004714", "F"),
    line("P00533", "contributes_to", "GO:0005006", "F"),
    line("P00533", "involved_in", "GO:0007173", "P"),
    line("P00533", "acts_upstream_of_or_within", "GO:0008284", "P"),
    line("P00533", "is_active_in", "GO:0005886", "C"),
    line("P00533", "located_in", "GO:0005886", "C"),
    line("P99999", "involved_in", "GO:0008150", "P", code="ND", ref="GO_REF:0000015"),
    line("URS1", "involved_in", "GO:0007173", "P", db="RNAcentral"),
    line("P00533", "involved_in", "GO:0007173", "P", taxon="taxon:9606|taxon:1280"),
    line("Q01279", "involved_in", "GO:0007173", "P", taxon="taxon:10090"),
]


def parse(folder: Path, lines: list[str]) -> Parsed:
    path = folder / "goa_human.gaf.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return go_annotations.parse({"annotations": path})


def rows(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(t for t in parsed.edges if t.name == name).data.to_pylist()
    return found


def test_not_is_negated_and_apart_from_what_is_so(tmp_path: Path) -> None:
    parsed = parse(tmp_path, [*HEAD, *LINES])
    contract.check(parsed)
    enables = rows(parsed, "enables")
    kept = [(row["object"], row["relation"], row["negated"], row["evidence"]) for row in enables]
    assert kept == [
        ("GO:0004714", None, None, ["IDA", "IEA"]),
        ("GO:0004714", "NOT enables", True, ["IDA"]),
        ("GO:0005006", "contributes_to", None, ["IDA"]),
    ]
    assert enables[0]["publications"] == ["GO_REF:0000002", "PMID:1", "PMID:2"]
    assert {row["subject"] for row in enables} == {"UniProtKB:P00533"}


def test_qualifiers_that_say_more_are_kept(tmp_path: Path) -> None:
    parsed = parse(tmp_path, [*HEAD, *LINES])
    assert [row["relation"] for row in rows(parsed, "located_in")] == [None, "is_active_in"]
    upstream = next(t for t in parsed.edges if t.name == "acts_upstream_of")
    assert (upstream.verb, upstream.data["relation"].to_pylist()) == (
        "ASSOCIATED_WITH",
        ["acts_upstream_of_or_within"],
    )


def test_every_other_line_is_rejected_with_its_reason(tmp_path: Path) -> None:
    process = next(t for t in parse(tmp_path, [*HEAD, *LINES]).edges if t.name == "involved_in")
    assert [(r.row, r.column, r.reason) for r in process.rejects] == [
        (12, "Evidence Code", "no biological data"),
        (13, "DB", "not a gene or its protein"),
        (15, "Taxon", "not human"),
    ]
    assert (process.read, len(process.data), process.merged) == (5, 1, 1)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (LINES, "line 1: no line '!gaf-version: 2.x' before it; give a GAF 2 file"),
        (["!gaf-version: 1.0", LINES[0]], "give a GAF 2 file"),
        ([*HEAD, LINES[0].replace("\t", " ")], "line 4: 1 fields; give a GAF 2 file"),
        ([*HEAD, line("P00533", "enables", "GO:0004714", "X")], "column 'Aspect', value 'X': not P, F or C"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        parse(tmp_path, lines)
