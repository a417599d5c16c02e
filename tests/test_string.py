"""STRING's files, by hand in the exact format of links, detailed, full and info."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from loaders import string
from tosg_graph import contract, ledger
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, Parsed

CHANNELS = "neighborhood fusion cooccurence coexpression experimental database textmining combined_score"
FULL = (
    "protein1 protein2 neighborhood neighborhood_transferred fusion cooccurence homology coexpression "
    "coexpression_transferred experiments experiments_transferred database database_transferred textmining "
    "textmining_transferred combined_score"
)
EGFR, GRB2, SHC1 = "9606.ENSP00000275493", "9606.ENSP00000339007", "9606.ENSP00000401303"
INFO = (
    "#string_protein_id\tpreferred_name\tprotein_size\tannotation\n"
    f'{EGFR}\tEGFR\t1210\tReceptor "tyrosine" kinase\n{GRB2}\tGRB2\t217\tannotation not available\n'
)


def write(folder: Path, kind: str, header: str, rows: list[str]) -> Path:
    path = folder / f"9606.protein.{kind}.v12.0.txt.gz"
    path.write_bytes(gzip.compress("\n".join([header, *rows, ""]).encode()))
    return path


def both_ways(*pairs: tuple[str, str, str]) -> list[str]:
    return [f"{a} {b} {s}" for a, b, s in pairs] + [f"{b} {a} {s}" for a, b, s in pairs]


def links(folder: Path, rows: list[str], least: int | str = 700) -> Parsed:
    path = write(folder, "links", "protein1 protein2 combined_score", rows)
    return string.parse({"links": path}, min_score=least)


def pairs(table: EdgeTable) -> list[tuple[str, str, float]]:
    return [(r["subject"][-5:], r["object"][-5:], r["score"]) for r in table.data.to_pylist()]


PAIRS = both_ways((EGFR, GRB2, "999"), (EGFR, SHC1, "700"), (GRB2, SHC1, "699"))


def test_a_pair_that_stands_both_ways_is_stored_once(tmp_path: Path) -> None:
    parsed = links(tmp_path, PAIRS)
    contract.check(parsed)
    stored, alone = parsed.edges
    assert pairs(stored) == [("75493", "39007", 0.999), ("75493", "01303", 0.7)]
    assert [PAIRS[row - 1].split()[2] for row in stored.rows.to_pylist()] == ["999", "700"]
    assert (stored.read, stored.merged, len(alone.data), alone.read) == (6, 2, 0, 0)
    assert parsed.nodes[0].data["id"].to_pylist()[0] == "ENSEMBL:ENSP00000275493"


def test_links_below_the_threshold_are_rejected_and_kept(tmp_path: Path) -> None:
    parsed = links(tmp_path, PAIRS)
    assert [(r["row"], r["value"], r["reason"]) for r in parsed.edges[0].rejects.to_pylist()] == [
        (3, "699", "below min_score 700"),
        (6, "699", "below min_score 700"),
    ]
    account = ledger.open_account(parsed.edges[0])
    assert (account.reasons["below min_score 700"], account.examples[0].value) == (2, "699")
    path = ledger.write_rejects(tmp_path, "r1", [account])
    assert path is not None
    import pyarrow.parquet as pq

    kept = pq.read_table(path)
    assert kept.to_pylist()[1]["row"] == 6
    assert str(kept.schema.field("reason").type) == "string"


def test_zero_means_all(tmp_path: Path) -> None:
    assert len(links(tmp_path, PAIRS, "0").edges[0].data) == 3
    assert len(links(tmp_path, PAIRS, 1000).edges[0].data) == 0


def test_a_row_without_its_opposite_or_with_another_score_shows(tmp_path: Path) -> None:
    parsed = links(tmp_path, [f"{GRB2} {EGFR} 900", f"{EGFR} {SHC1} 800", f"{SHC1} {EGFR} 801"])
    stored, alone = parsed.edges
    assert (len(stored.data), pairs(alone)) == (0, [("75493", "39007", 0.9), ("75493", "01303", 0.8)])
    assert [(r["row"], r["reason"]) for r in stored.rejects.to_pylist()] == [
        (3, "another score than the opposite row")
    ]


@pytest.mark.parametrize(
    ("header", "scores", "method"),
    [
        (
            f"protein1 protein2 {CHANNELS}",
            "0 0 0 62 181 0 900 990",
            "coexpression 62; experimental 181; textmining 900",
        ),
        (FULL, "0 0 5 0 800 0 7 0 441 0 0 0 0 990", "fusion 5; homology 800; coexpression transferred 7; "),
    ],
    ids=["detailed", "full"],
)
def test_channels_are_kept(tmp_path: Path, header: str, scores: str, method: str) -> None:
    path = write(tmp_path, "links.detailed", header, both_ways((EGFR, GRB2, scores)))
    parsed = string.parse({"links": path}, min_score=700)
    contract.check(parsed)
    (row,) = parsed.edges[0].data.to_pylist()
    assert row["score"] == 0.99
    assert row["method"].startswith(method)
    if header is FULL:
        assert row["method"].endswith("experimental transferred 441")


def test_a_link_without_any_channel_keeps_its_place(tmp_path: Path) -> None:
    scores = ["0 0 0 0 0 0 0 999", "0 0 0 0 0 0 800 998"]
    rows = both_ways((EGFR, GRB2, scores[0]), (EGFR, SHC1, scores[1]))
    path = write(tmp_path, "links.detailed", f"protein1 protein2 {CHANNELS}", rows)
    stored = string.parse({"links": path}, min_score=700).edges[0].data.to_pylist()
    assert [(r["score"], r["method"]) for r in stored] == [(0.999, ""), (0.998, "textmining 800")]


def test_names_come_from_the_list_of_proteins(tmp_path: Path) -> None:
    info = tmp_path / "9606.protein.info.v12.0.txt"
    info.write_text(INFO, encoding="utf-8")
    path = write(tmp_path, "links", "protein1 protein2 combined_score", PAIRS)
    proteins = string.parse({"links": path, "info": info}, min_score=700).nodes[0].data.to_pylist()
    assert [(p["name"], p["symbol"], p["description"]) for p in proteins] == [
        ("EGFR", "EGFR", 'Receptor "tyrosine" kinase'),
        ("GRB2", "GRB2", None),
        ("ENSP00000401303", None, None),
    ]


@pytest.mark.parametrize(
    ("row", "least", "says"),
    [
        (
            f"10090.ENSMUSP00000020329 {GRB2} 900",
            700,
            r"row 7, column 'protein1', value '10090\.ENSM.*of organism 9606",
        ),
        (f"{GRB2} {EGFR} 1001", 700, "row 7, column 'combined_score', value '1001': not a score"),
        (f"{GRB2} {EGFR} 0.9", 700, "value '0.9': not a score"),
        (f"{GRB2} {EGFR}", 700, "2 fields, not 3"),
        (f"{GRB2} {EGFR} 900", "high", "min_score 'high' is not a whole number from 0 to 1000"),
        (f"{GRB2} {EGFR} 900", 1001, "min_score '1001' is not"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, row: str, least: int | str, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        links(tmp_path, [*PAIRS, row], least)
