"""OmniPath's table, by hand in the exact format."""

from __future__ import annotations

from pathlib import Path

import pytest

from loaders import omnipath
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed

HEADER = (
    "source\ttarget\tsource_genesymbol\ttarget_genesymbol\tis_directed\tis_stimulation\tis_inhibition\t"
    "consensus_direction\tconsensus_stimulation\tconsensus_inhibition\treferences\tncbi_tax_id_source\tncbi_tax_id_target"
)
ROWS = [
    "P01133\tP00533\tEGF\tEGFR\tTrue\tTrue\tFalse\tTrue\tTrue\tFalse\tSIGNOR:2;KEGG:1;2\t9606\t9606",
    "P00533\tP01133\tEGFR\tEGF\t1\t0\t1\t1\t0\t1\t\t9606\t9606",
    "P01133\tP04626\tEGF\tERBB2\t1\t1\t1\t1\t0\t1\t\t9606\t9606",  # both stated; the consensus inhibits
    "P04626\tP01133\tERBB2\tEGF\t1\t1\t1\t1\t1\t1\t\t9606\t9606",  # both, whomever one asks
    "COMPLEX:P00533_P04626\tP12931\tEGFR_ERBB2\tSRC\t1\t0\t0\t0\t0\t0\t\t9606\t9606",
    "P12931\tP06241\tSRC\tFYN\t0\t0\t0\t0\t0\t0\t\t9606\t9606",
    "Q01279\tP00533\tEgfr\tEGFR\t1\t1\t0\t1\t1\t0\t\t10090\t9606",
    "MIMAT0000062\tP00533\tlet-7a\tEGFR\t1\t0\t1\t1\t0\t1\t\t9606\t9606",
]


def parse(folder: Path, *rows: str, header: str = HEADER) -> Parsed:
    path = folder / "omnipath_interactions.tsv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return omnipath.parse({"interactions": path})


def test_direction_and_sign_are_kept(tmp_path: Path) -> None:
    parsed = parse(tmp_path, *ROWS)
    contract.check(parsed)
    directed, undirected = parsed.edges
    assert [(r["subject"][10:], r["object"][10:], r["sign"]) for r in directed.data.to_pylist()] == [
        ("P00533", "P01133", -1),
        ("P00533", "P12931", 0),
        ("P01133", "P00533", 1),
        ("P01133", "P04626", -1),
        ("P04626", "P01133", 0),
        ("P04626", "P12931", 0),
    ]
    assert directed.data.to_pylist()[2]["publications"] == ["PMID:1", "PMID:2"]
    assert [(r["subject"], r["object"]) for r in undirected.data.to_pylist()] == [
        ("UniProtKB:P12931", "UniProtKB:P06241")
    ]


def test_other_species_and_rna_are_rejected_and_counted(tmp_path: Path) -> None:
    directed, _ = parse(tmp_path, *ROWS).edges
    assert [(r.row, r.reason) for r in directed.rejects] == [(7, "not human"), (8, "not a UniProt accession")]
    assert directed.read == len(directed.data) + 2


def test_the_ten_columns_that_every_query_gives_are_enough(tmp_path: Path) -> None:
    short = ["\t".join(line.split("\t")[:10]) for line in (HEADER, *ROWS[:4])]
    directed, _ = parse(tmp_path, *short[1:], header=short[0]).edges
    assert sorted(directed.data["sign"].to_pylist()) == [-1, -1, 0, 1]


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        (HEADER.replace("is_directed", "directed"), ROWS[0], "no column 'is_directed'"),
        (HEADER, ROWS[0].replace("True", "maybe", 1), "value 'maybe': neither true nor false"),
        (HEADER, ROWS[0] + "\tmore", "14 fields, not 13"),
    ],
)
def test_a_table_of_another_shape_is_refused(tmp_path: Path, header: str, row: str, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        parse(tmp_path, row, header=header)
