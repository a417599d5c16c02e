"""The graph part of an OmniCellTOSG folder: five transcripts and four proteins in the exact format."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loaders import omnicelltosg
from loaders.hgnc import HGNC_FILE
from tosg_graph import contract
from tosg_graph.downloads import fetch
from tosg_graph.errors import LoadError
from tosg_graph.settings import Settings
from tosg_graph.types import EdgeTable, Parsed, Source

TRANSCRIPTS, PROTEINS = 5, 4
INTERNAL = [(0, 5), (1, 5), (2, 6), (4, 8)]
PPI = [(5, 6), (6, 5), (7, 8), (8, 7), (5, 5), (6, 7)]  # both ways, once with itself, once one way only
NAMES = ["ENST00000275493.7; EGFR-201", "ENST00000342916; EGFR-202", "", '"TP53-201; a, b"', "TP53-202"]
NAMES += ["P00533; EGFR; ENSP00000275493", "P62993", "P04637", "P38398 | BRCA1"]
GENES = "gene_name,indices\nEGFR,0;1\nTP53,3\nERBB,4\nNOGENE,2\nKRAS,7\n"
HGNC = (
    "hgnc_id\tsymbol\tname\tlocus_type\tstatus\talias_symbol\tprev_symbol\tentrez_id\tensembl_gene_id\tuniprot_ids\t"
    "mgd_id\trgd_id\tenzyme_id\tomim_id\trefseq_accession\n"
    "HGNC:3236\tEGFR\tx\t\tApproved\t\tERBB\t\t\t\t\t\t\t\t\n"
    "HGNC:11998\tTP53\tx\t\tApproved\t\t\t\t\t\t\t\t\t\t\n"
    "HGNC:6407\tKRAS\tx\t\tApproved\t\t\t\t\t\t\t\t\t\t\n"
)


def ids(conn: bool) -> list[str]:
    code = "BMGC" if conn else "BMG"
    return [f"{code}_TS{k:06d}" for k in range(1, 6)] + [f"{code}_PT{k:06d}" for k in range(1, 5)]


def write(folder: Path, *, conn: bool = True, **changes: Any) -> dict[str, Path]:
    """Write the folder; ``changes``: name of a file -> text or array in its place."""
    key, own = ("BioMedGraphica_Conn_ID" if conn else "BioMedGraphica_ID"), ids(conn)
    texts = {
        "names": "\n".join([f"{key},Name", *map(",".join, zip(own, NAMES, strict=True))]) + "\n",
        "descriptions": "\n".join([f"{key},Description", *(f'{i},"of, {i}"' for i in own)]) + "\n",
        "types": "\n".join(
            [f"{key},Sequence,Type", *(f"{i},AUG,{'Transcript' if '_TS' in i else 'Protein'}" for i in own)]
        )
        + "\n",
        "genes": GENES,
        "hgnc": HGNC,
    }
    arrays = {"internal": INTERNAL, "ppi": PPI, "edges": sorted([*INTERNAL, *PPI])}
    names = {"names": "s_name.csv", "descriptions": "s_desc.csv", "types": "s_bio.csv"}
    names |= {"genes": "bmg_gene_index.csv", "hgnc": "hgnc_complete_set.txt", "edges": "edge_index.npy"}
    names |= {"internal": "internal_edge_index.npy", "ppi": "ppi_edge_index.npy"}
    paths = {name: folder / file for name, file in names.items()}
    for name, text in texts.items():
        paths[name].write_text(changes.get(name, text), encoding="utf-8")
    for name, pairs in arrays.items():
        given = changes.get(name, np.array(pairs, np.int64).T)
        np.save(paths[name], given, allow_pickle=True)
    return paths


def table(parsed: Parsed, name: str) -> Any:
    return next(t for t in (*parsed.nodes, *parsed.edges) if t.name == name)


def pairs(edges: EdgeTable) -> list[tuple[str, str]]:
    return [(r["subject"][-8:], r["object"][-8:]) for r in edges.data.to_pylist()]


@pytest.mark.parametrize("conn", [True, False], ids=["Conn", "full"])
def test_a_row_is_a_node_with_its_column(tmp_path: Path, conn: bool) -> None:
    parsed = omnicelltosg.parse(write(tmp_path, conn=conn))
    contract.check(parsed)
    transcripts = table(parsed, "transcripts").data.to_pylist()
    prefix = "BMGC" if conn else "BMG"
    assert [row["omics_column"] for row in transcripts] == [0, 1, 2, 3, 4]
    assert transcripts[0] == {
        "id": f"{prefix}:TS000001",
        "name": "ENST00000275493.7",
        "synonyms": ["EGFR-201"],
        "xrefs": ["ENSEMBL:ENST00000275493"],
        "bmg_ids": [f"{prefix}:TS000001"],
        "omics_column": 0,
        "description": f"of, {prefix}_TS000001",
    }
    assert (transcripts[2]["name"], transcripts[3]["synonyms"]) == (f"{prefix}:TS000003", ["a, b"])
    proteins = table(parsed, "proteins").data.to_pylist()
    assert [row["name"] for row in proteins] == ["P00533", "P62993", "P04637", "P38398"]
    assert (proteins[0]["xrefs"], proteins[3]["synonyms"]) == (["ENSEMBL:ENSP00000275493"], ["BRCA1"])
    assert "omics_column" not in proteins[0]


def test_index_files_become_edges_and_a_pair_is_stored_once(tmp_path: Path) -> None:
    parsed = omnicelltosg.parse(write(tmp_path))
    internal, ppi, alone = parsed.edges[:3]
    assert pairs(internal) == [(f"TS00000{a + 1}", f"PT00000{b - 4}") for a, b in INTERNAL]
    assert pairs(ppi) == [("PT000001", "PT000001"), ("PT000001", "PT000002"), ("PT000003", "PT000004")]
    assert (ppi.read, ppi.merged) == (5, 2)
    assert (alone.name, pairs(alone)) == ("ppi (one direction only)", [("PT000002", "PT000003")])


def test_genes_lead_to_the_columns_that_hold_their_values(tmp_path: Path) -> None:
    paths = write(tmp_path)
    assert omnicelltosg.gene_columns(paths["genes"])["EGFR"] == [0, 1]
    edges = table(omnicelltosg.parse(paths), "gene columns")
    assert [(r["subject"], r["object"]) for r in edges.data.to_pylist()] == [
        ("HGNC:11998", "BMGC:TS000004"),
        ("HGNC:3236", "BMGC:TS000001"),
        ("HGNC:3236", "BMGC:TS000002"),
        ("HGNC:3236", "BMGC:TS000005"),  # by its previous symbol
    ]
    assert [(r.row, r.value, r.reason) for r in edges.rejects] == [
        (4, "NOGENE", "not an approved symbol, nor a previous one"),
        (5, "7", "not the row of a transcript"),
    ]


def test_rows_keep_their_place_when_one_is_no_node(tmp_path: Path) -> None:
    own = ids(True)
    lines = ["BioMedGraphica_Conn_ID,Name", *(f"{i}," for i in [*own[:2], "x", own[0], own[4], *own[5:]])]
    paths = write(tmp_path, names="\n".join(lines) + "\n")
    for name in ("descriptions", "types", "genes"):
        del paths[name]
    found = omnicelltosg.node_ids(paths)
    assert found[:5] == ["BMGC:TS000001", "BMGC:TS000002", None, None, "BMGC:TS000005"]
    parsed = omnicelltosg.parse(paths)
    assert table(parsed, "transcripts").data["omics_column"].to_pylist() == [0, 1, 4]
    assert table(parsed, "transcripts").rows.to_pylist() == [1, 2, 5]
    rejects = table(parsed, "transcripts").rejects.to_pylist()
    assert [(r["row"], r["reason"]) for r in rejects] == [
        (3, "not an id of a transcript or protein"),
        (4, "id of an earlier row"),
    ]
    lost = table(parsed, "internal").rejects.to_pylist()
    assert [(r["row"], r["value"], r["reason"]) for r in lost] == [(3, "2", "its node was rejected")]


def test_edges_out_of_range_or_between_other_types_are_rejected(tmp_path: Path) -> None:
    internal = np.array([[0, 5, 9, -1], [5, 1, 5, 6]], np.int32)
    edges = np.concatenate([internal, np.array(PPI).T], axis=1)
    table_ = table(omnicelltosg.parse(write(tmp_path, internal=internal, edges=edges)), "internal")
    assert [(r["row"], r["column"], r["value"], r["reason"]) for r in table_.rejects.to_pylist()] == [
        (3, "from", "9", "not a row of s_name.csv"),
        (4, "from", "-1", "not a row of s_name.csv"),
        (2, "from", "5", "not a Transcript"),
    ]
    assert (table_.read, len(table_.data), table_.rows.to_pylist()) == (4, 1, [1])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"edges": np.zeros((2, 3), np.int64)},
            r"edge_index\.npy: 3 edges, internal and ppi have 10 together",
        ),
        (
            {"edges": np.array(sorted([*INTERNAL, *PPI[:-1], (7, 6)])).T},
            r"edge_index\.npy: \d edges are not those of internal and ppi, first 6 to 7",
        ),
        (
            {"ppi": np.zeros((3, 4), np.int64)},
            r"ppi_edge_index\.npy: shape \(3, 4\), type int64; an edge index is",
        ),
        ({"ppi": np.zeros((2, 4))}, r"type float64; an edge index is \(2, n\) of integers"),
        ({"ppi": np.array([{"a": 1}, None], object)}, r"ppi_edge_index\.npy: cannot be read as an array"),
        (
            {"names": "BioMedGraphica_ID,Name\nBMG_PT1,a\nBMG_TS1,b\n"},
            "row 2, BMG_TS1: a transcript after the first",
        ),
        (
            {"descriptions": "BioMedGraphica_Conn_ID,Description\nBMGC_TS000002,a\n"},
            "row 1 is BMGC_TS000002, in s_name",
        ),
        (
            {"types": "BioMedGraphica_Conn_ID,Type\nBMGC_TS000001,Protein\n"},
            "Type 'Protein': its id says Transcript",
        ),
        ({"genes": "gene_name,indices\nEGFR,0;x\n"}, "row 1: indices '0;x' are not numbers"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(LoadError, match=says):
        omnicelltosg.parse(write(tmp_path, **changes))


def test_the_real_map_of_genes(settings: Settings, shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "bmg_gene_index.csv"
    path.write_bytes(gzip.decompress((shared_data / "kg/omnicelltosg/bmg_gene_index.csv.gz").read_bytes()))
    found = omnicelltosg.gene_columns(path)
    slots = [k for columns in found.values() for k in columns]
    assert (len(found), len(slots), len(set(slots)), max(slots)) == (41_149, 48_379, 48_379, 411_915)
    hgnc = fetch(Source("h", "", "", "", "", 0, {"hgnc": HGNC_FILE}), settings)["hgnc"]
    rows = omnicelltosg._rows(_names(tmp_path, max(slots) + 1))
    edges = omnicelltosg._transcribed(path, hgnc, rows)
    assert edges.read == len(slots) == len(edges.data) + edges.merged + len(edges.rejects)
    assert len(edges.data) > 0.9 * 41_064


def _names(folder: Path, transcripts: int) -> Path:
    path = folder / "s_name.csv"
    lines = (f"BMG_TS{k:06d}," for k in range(1, transcripts + 1))
    path.write_text("BioMedGraphica_ID,Name\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path
