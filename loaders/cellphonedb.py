"""CellPhoneDB: ligands and receptors with their roles, complexes by their members, receptors to their factors."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from loaders.tables import ROW, Row, edge_table, node_table, read_rows, split_list
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject, Source, WebFile

_HOME = "https://github.com/ventolab/cellphonedb-data"
_DATA = "https://raw.githubusercontent.com/ventolab/cellphonedb-data/71ffa8a163389913907d40993bec2821a111f64d/data"


def _file(path: str, sha256: str) -> WebFile:
    return WebFile(f"{_DATA}/{path}", f"{path.rpartition('/')[2]}*", sha256)


SOURCE = Source(
    key="cellphonedb",
    title="CellPhoneDB",
    version="5 (ventolab/cellphonedb-data 71ffa8a)",
    licence="MIT AND NOASSERTION AND CC-BY-4.0; the package, the data repository, which states none, and UniProt",
    homepage=_HOME,
    size_mb=1.0,
    files={
        "genes": _file("gene_input.csv", "538fff62a77d9077e0307337552bed087817632da015c620f17666d088066623"),
        "proteins": _file(
            "protein_input.csv", "322f277963ca2fc879c97660eb1409478603a3d2d7442c6606bce79a45f14ae2"
        ),
        "complexes": _file(
            "complex_input.csv", "c761b75f5438d5b23f9fefa5ddaac84acb127fe5dd72fe931d5c07d8a557b362"
        ),
        "interactions": _file(
            "interaction_input.csv", "3cf0ceace45dcb42478f0e6a7be9a50104794eac68d731f7c82d4c13325175ab"
        ),
        "factors": _file(
            "transcription_factor_input.csv",
            "f91c295cdaf46ccef376ea524a8e5c8157ebf830cc2012f31059ab831ccf1ada",
        ),
        "uniprot": _file(
            "sources/uniprot.tab", "29cb01d5f5cea889d0ca1722edc3f149d681ff83d73316beab706a1da9cf7904"
        ),
    },
    in_demo=False,
    note="A small-molecule ligand is coded as a complex of the enzymes that make it, so its pairs name those.",
)

_ROLES = ("transmembrane", "peripheral", "secreted", "receptor", "integrin")
_MEMBERS = [f"uniprot_{n}" for n in range(1, 6)]
_ACCESSION = re.compile(r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2}")
_PMID = re.compile(r"PMID: ?(\d+)")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse proteins, ENCODES, LIGAND_OF, INTERACTS_WITH and SIGNALS_TO.

    A complex stands for its members: every member of one side is linked to every member of the other, and
    ``complex`` names it. ``read`` counts these pairs, and a refused row as one.

    Parameters
    ----------
    paths
        The six tables of the data repository.
    """
    complexes = _complexes(paths["complexes"])
    uniprot = _uniprot(paths["uniprot"])
    names = dict(zip(uniprot.data["name"].to_pylist(), uniprot.data["id"].to_pylist(), strict=True))
    return Parsed(
        (uniprot, _proteins(paths["proteins"], names), _genes(paths["genes"])),
        (
            _encodes(paths["genes"], names),
            *_interactions(paths["interactions"], complexes, names),
            _factors(paths["factors"], complexes, names),
        ),
    )


# --------------------------------------------------------------------------- nodes


def _uniprot(path: Path) -> NodeTable:
    rows: list[Row] = []
    for number, row in read_rows(path, ["Entry", "Entry name", "Protein names", "Gene names"]):
        primary = row["Gene names"].split(";")[0].split(" ")[0]
        protein: Row = {"id": f"UniProtKB:{row['Entry']}", "name": row["Entry name"], "symbol": primary}
        rows.append(
            {ROW: number, **protein, "entry_name": row["Entry name"], "full_name": row["Protein names"]}
        )
    return node_table("cellphonedb", "uniprot", "Protein", rows, read=len(rows))


def _proteins(path: Path, names: dict[str, str]) -> NodeTable:
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, row in read_rows(path, ["uniprot", "protein_name", *_ROLES], separator=","):
        roles = sorted(role for role in _ROLES if row[role].upper() == "TRUE")
        protein = _protein(row["uniprot"], names)
        if protein is None:
            rejects.append(Reject(number, "uniprot", row["uniprot"], "not a UniProt accession"))
            continue
        entry = row["protein_name"] if row["protein_name"] != row["uniprot"] else None
        named: Row = {"id": protein, "name": entry or protein, "roles": roles, "entry_name": entry}
        rows.append({ROW: number, **named})
    read = len(rows) + len(rejects)
    return node_table("cellphonedb", "proteins", "Protein", rows, read=read, rejects=rejects)


def _genes(path: Path) -> NodeTable:
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, row in read_rows(path, ["hgnc_symbol", "ensembl"], separator=","):
        if not row["ensembl"].startswith("ENSG"):
            rejects.append(Reject(number, "ensembl", row["ensembl"], "not an Ensembl gene"))
            continue
        symbol = row["hgnc_symbol"] or row["ensembl"]
        gene: Row = {"id": f"ENSEMBL:{row['ensembl']}", "name": symbol, "symbol": symbol}
        rows.append({ROW: number, **gene, "ensembl_id": row["ensembl"]})
    read = len(rows) + len(rejects)
    return node_table("cellphonedb", "genes", "Gene", rows, read=read, rejects=rejects)


# --------------------------------------------------------------------------- edges


def _encodes(path: Path, names: dict[str, str]) -> EdgeTable:
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, row in read_rows(path, ["uniprot", "ensembl"], separator=","):
        protein = _protein(row["uniprot"], names)
        if protein and row["ensembl"].startswith("ENSG"):
            rows.append({ROW: number, "subject": f"ENSEMBL:{row['ensembl']}", "object": protein})
        else:
            rejects.append(Reject(number, "uniprot", row["uniprot"], "not an Ensembl gene and its protein"))
    ends = ("Gene", "ENCODES", "Protein")
    read = len(rows) + len(rejects)
    return edge_table("cellphonedb", "encodes", ends, rows, read=read, rejects=rejects)


def _interactions(path: Path, complexes: dict[str, list[str]], names: dict[str, str]) -> Iterator[EdgeTable]:
    """Ligand to receptor is directed; adhesion, gap junctions and pairs of one kind are not."""
    rows: dict[str, list[Row]] = defaultdict(list)
    rejects: list[Reject] = []
    columns = ["partner_a", "partner_b", "source", "classification", "directionality", "modulatory_effect"]
    for number, row in read_rows(path, columns, separator=","):
        sides = [_members(row[end], complexes, names) for end in ("partner_a", "partner_b")]
        if not all(sides):
            end = "partner_b" if sides[0] else "partner_a"
            rejects.append(Reject(number, end, row[end], "neither a UniProt accession nor a complex"))
            continue
        directed = row["directionality"] == "Ligand-Receptor"
        kind = "; ".join(
            filter(None, (row["directionality"], row["classification"], row["modulatory_effect"]))
        )
        for left, right in ((a, b) for a in sides[0] for b in sides[1]):
            edge: Row = {ROW: number, "subject": left, "object": right, "relation": kind}
            edge["publications"] = [f"PMID:{p}" for p in sorted(set(_PMID.findall(row["source"])))]
            if directed:
                edge["complex"] = sorted({row[e] for e in ("partner_a", "partner_b")} & set(complexes))
            rows["LIGAND_OF" if directed else "INTERACTS_WITH"].append(edge)
    for verb, name in (("LIGAND_OF", "ligands"), ("INTERACTS_WITH", "contacts")):
        refused = rejects if verb == "LIGAND_OF" else []
        read = len(rows[verb]) + len(refused)
        ends = ("Protein", verb, "Protein")
        yield edge_table(
            "cellphonedb", name, ends, rows[verb], read=read, rejects=refused, apart=["relation"]
        )


def _factors(path: Path, complexes: dict[str, list[str]], names: dict[str, str]) -> EdgeTable:
    rows: list[Row] = []
    rejects: list[Reject] = []
    columns = ["partner_receptor", "partner_TF", "Effect", "Source"]
    for number, row in read_rows(path, columns, separator=","):
        sides = [_members(row[end], complexes, names) for end in ("partner_receptor", "partner_TF")]
        if not all(sides) or row["Effect"] not in ("1", "-1"):
            end = "Effect" if all(sides) else "partner_TF" if sides[0] else "partner_receptor"
            rejects.append(Reject(number, end, row[end], "not a protein, a complex, or 1 or -1"))
            continue
        publications = [f"PMID:{p}" for p in sorted(set(_PMID.findall(row["Source"])))]
        signal: Row = {ROW: number, "sign": int(row["Effect"])}
        signal["relation"] = "receptor to transcription factor"
        signal["publications"] = publications
        rows += [{"subject": a, "object": b, **signal} for a in sides[0] for b in sides[1]]
    ends = ("Protein", "SIGNALS_TO", "Protein")
    read = len(rows) + len(rejects)
    return edge_table("cellphonedb", "factors", ends, rows, read=read, rejects=rejects)


def _complexes(path: Path) -> dict[str, list[str]]:
    """Name of each complex -> UniProt CURIEs of its members."""
    found = {}
    for _, row in read_rows(path, ["complex_name", *_MEMBERS], separator=","):
        members = {f"UniProtKB:{accession}" for name in _MEMBERS for accession in split_list(row[name], ";")}
        found[row["complex_name"]] = sorted(members)
    return found


def _protein(code: str, names: dict[str, str]) -> str | None:
    """CURIE of an accession, or of an entry name without its species; the tables have five of those."""
    if _ACCESSION.fullmatch(code):
        return f"UniProtKB:{code}"
    return names.get(f"{code}_HUMAN")


def _members(partner: str, complexes: dict[str, list[str]], names: dict[str, str]) -> list[str]:
    protein = _protein(partner, names)
    return complexes.get(partner.strip()) or ([protein] if protein else [])
