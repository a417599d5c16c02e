"""HGNC's own files, by hand in their exact format: the complete set, old and new, and the withdrawn ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loaders import hgnc
from tosg_graph import contract
from tosg_graph.errors import LoadError
from tosg_graph.ids import IdResolver
from tosg_graph.types import Parsed

HEADER = (
    "hgnc_id symbol name locus_group locus_type status location location_sortable alias_symbol alias_name prev_symbol "
    "prev_name gene_family gene_family_id date_approved_reserved entrez_id ensembl_gene_id vega_id ucsc_id ena "
    "refseq_accession ccds_id uniprot_ids pubmed_id mgd_id rgd_id lsdb cosmic omim_id mirbase enzyme_id"
)
OLD = HEADER.split()
NEW = [{"gene_family": "gene_group", "gene_family_id": "gene_group_id"}.get(n, n) for n in OLD] + [
    "mane_select"
]

ENTRIES: list[dict[str, str]] = [
    {
        "hgnc_id": "HGNC:3236",
        "symbol": "EGFR",
        "name": 'epidermal growth factor receptor, "the" one',
        "locus_type": "gene with protein product",
        "status": "Approved",
        "alias_symbol": "ERBB1|ERRP",
        "alias_name": "erythroblastic leukemia viral (v-erb-b) oncogene homolog|proto-oncogene c-ErbB-1",
        "prev_symbol": "ERBB",
        "entrez_id": "1956",
        "ensembl_gene_id": "ENSG00000146648",
        "refseq_accession": "NM_005228",
        "uniprot_ids": "P00533",
        "mgd_id": "MGI:95294",
        "rgd_id": "RGD:2543",
        "omim_id": "131550",
        "enzyme_id": "2.7.10.1",
    },
    {
        "hgnc_id": "HGNC:4794",
        "symbol": "H4C2",
        "name": "H4 clustered histone 2",
        "status": "Approved",
        "uniprot_ids": "P62805|Q0VAS5",
    },
    {
        "hgnc_id": "HGNC:24",
        "symbol": "ABC1",
        "name": "symbol withdrawn, see HGNC:3236",
        "status": "Symbol Withdrawn",
    },
    {"hgnc_id": "HGNC:1", "symbol": "A12M1", "name": "site 1C", "status": "Entry Withdrawn"},
]
XREFS = (
    "HGNC:24 NCBIGene:1956 ENSEMBL:ENSG00000146648 UniProtKB:P00533 EC:2.7.10.1 OMIM:131550 RefSeq:NM_005228 "
    "MGI:95294 RGD:2543"
)
WITHDRAWN = [
    "HGNC_ID\tSTATUS\tWITHDRAWN_SYMBOL\tMERGED_INTO_REPORT(S) (i.e HGNC_ID|SYMBOL|STATUS)",
    "HGNC:100\tMerged/Split\tFIRST\tHGNC:101|SECOND|Merged/Split",  # two steps
    "HGNC:101\tMerged/Split\tSECOND\tHGNC:3236|EGFR|Approved",
    "HGNC:102\tMerged/Split\tTWO\tHGNC:3236|EGFR|Approved, HGNC:4794|H4C2|Approved",
    "HGNC:103\tEntry Withdrawn\tGONE\t",
    "HGNC:104\tMerged/Split\tNOWHERE\tHGNC:999|NONE|Approved",
    "HGNC:105\tMerged/Split\tROUND\tHGNC:105|ROUND|Merged/Split",
]


def cell(value: str) -> str:
    return '"' + value.replace('"', '""') + '"' if "|" in value or '"' in value else value


def write(folder: Path, header: list[str], rows: list[dict[str, str]]) -> Path:
    path = folder / "hgnc_complete_set_2026-10-01.txt"
    lines = [header, *([cell(row.get(name, "")) for name in header] for row in rows)]
    path.write_text("\n".join("\t".join(line) for line in lines) + "\n", encoding="utf-8")
    return path


def parse(folder: Path, header: list[str] = NEW, withdrawn: list[str] | None = None) -> Parsed:
    paths = {"entries": write(folder, header, ENTRIES)}
    if withdrawn:
        paths["withdrawn"] = folder / "withdrawn.txt"
        paths["withdrawn"].write_text("\n".join(withdrawn) + "\n", encoding="utf-8")
    return hgnc.parse(paths)


def genes(parsed: Parsed) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in parsed.nodes[0].data.to_pylist()}


@pytest.mark.parametrize("header", [OLD, NEW], ids=["gene_family", "gene_group"])
def test_lists_in_quotes_are_split_and_quotes_in_names_stay(tmp_path: Path, header: list[str]) -> None:
    parsed = parse(tmp_path, header)
    contract.check(parsed)
    egfr = genes(parsed)["HGNC:3236"]
    assert egfr["full_name"] == 'epidermal growth factor receptor, "the" one'
    assert (egfr["alias_symbols"], egfr["previous_symbols"]) == (["ERBB1", "ERRP"], ["ERBB"])
    assert egfr["xrefs"] == sorted(XREFS.split())
    pairs = [(row["subject"], row["object"]) for row in parsed.edges[0].data.to_pylist()]
    assert pairs == [
        ("HGNC:3236", "UniProtKB:P00533"),
        ("HGNC:4794", "UniProtKB:P62805"),
        ("HGNC:4794", "UniProtKB:Q0VAS5"),
    ]


def test_a_withdrawn_id_resolves_to_the_gene_it_became(tmp_path: Path) -> None:
    import pyarrow as pa

    parsed = parse(tmp_path, withdrawn=WITHDRAWN)
    contract.check(parsed)
    names = pa.chunked_array([["HGNC:24", "HGNC:100", "HGNC:101", "HGNC:102"]])
    found, reasons = IdResolver(parsed.nodes).resolve("Gene", names)
    assert found.to_pylist() == ["HGNC:3236", "HGNC:3236", "HGNC:3236", None]
    assert reasons == {"HGNC:102": "unknown id"}


def test_every_withdrawn_row_is_merged_or_listed(tmp_path: Path) -> None:
    parsed = parse(tmp_path, withdrawn=WITHDRAWN)
    table, _, withdrawn = parsed.nodes
    assert (table.read, len(table.data), table.merged) == (4, 2, 1)
    assert [(r.row, r.reason) for r in table.rejects] == [(4, "withdrawn: Entry Withdrawn")]
    assert (withdrawn.read, len(withdrawn.data), withdrawn.merged) == (6, 1, 1)
    assert [(r.row, r.reason) for r in withdrawn.rejects] == [
        (3, "withdrawn: split into HGNC:3236, HGNC:4794"),
        (4, "withdrawn: Entry Withdrawn"),
        (5, "withdrawn: merged into an id that is not approved"),
        (6, "withdrawn: merged into an id that is not approved"),
    ]


def test_a_file_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [name for name in NEW if name != "prev_symbol"], ENTRIES)
    with pytest.raises(LoadError, match=r"line 1 has no column 'prev_symbol'"):
        hgnc.parse({"entries": path})
    path.write_text("\t".join(NEW) + "\nHGNC:5\tA1BG\n", encoding="utf-8")
    with pytest.raises(LoadError, match=r"row 1 has 2 fields, not 32"):
        hgnc.parse({"entries": path})
