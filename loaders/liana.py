"""LIANA's collection of ligand-receptor resources, each row with the resource that states it."""

from __future__ import annotations

from pathlib import Path

from loaders.tables import ROW, Row, edge_table, read_rows
from tosg_graph.errors import LoadError
from tosg_graph.types import PackageFile, Parsed, Reject, Source

SOURCE = Source(
    key="liana",
    title="LIANA ligand-receptor resources",
    version="1.10.0",
    licence="BSD-3-Clause AND NOASSERTION; the package, and its resources, which keep their own terms",
    homepage="https://liana-py.readthedocs.io",
    size_mb=2.0,
    files={
        "resources": PackageFile(
            package="liana",
            version="1.10.0",
            archive="liana-1.10.0-py3-none-any.whl",
            archive_sha256="f32393dfc5388462aa414b4068cb72965d9227baa9d9e83bdbd54d30a13c2e7e",
            member="liana/resource/omni_resource.csv",
            in_folder="omni_resource.csv*",
        )
    },
    note="Resources are kept apart; mouse rows and consensus rows that another resource states are left out.",
)

_MOUSE, _CONSENSUS = "mouseconsensus", "consensus"


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse ligand-receptor pairs into LIGAND_OF between proteins, one edge per pair and resource.

    A complex is linked by its members: every ligand member to every receptor member; ``complex`` names the
    complexes. ``read`` counts these member pairs, and a refused row as one.

    Parameters
    ----------
    paths
        ``resources``: ``omni_resource.csv``.
    """
    path = paths["resources"]
    table = list(read_rows(path, ["source", "target", "resource"], separator=","))
    stated = {(r["source"], r["target"]) for _, r in table if r["resource"] not in (_MOUSE, _CONSENSUS)}
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, row in table:
        if row["resource"] == _MOUSE:
            rejects.append(Reject(number, "resource", _MOUSE, "mouse"))
        elif row["resource"] == _CONSENSUS and (row["source"], row["target"]) in stated:
            rejects.append(
                Reject(number, "resource", _CONSENSUS, "consensus row that another resource states")
            )
        else:
            rows += _pairs(row, number, path)
    ends = ("Protein", "LIGAND_OF", "Protein")
    read = len(rows) + len(rejects)
    return Parsed(
        edges=(edge_table("liana", "pairs", ends, rows, read=read, rejects=rejects, apart=["resource"]),)
    )


def _pairs(row: dict[str, str], number: int, path: Path) -> list[Row]:
    complexes = sorted({row[end] for end in ("source", "target") if "_" in row[end]})
    members = [row[end].removeprefix("COMPLEX:").split("_") for end in ("source", "target")]
    if not all(accession.isalnum() for accession in [*members[0], *members[1]]):
        raise LoadError(
            f"{path.name}: row {number}, columns 'source' and 'target', values {row['source']!r} and "
            f"{row['target']!r}: not UniProt accessions joined by '_'; pin the version this was written for."
        )
    named = [f"COMPLEX:{c.removeprefix('COMPLEX:')}" for c in complexes]
    return [
        {
            ROW: number,
            "subject": f"UniProtKB:{ligand}",
            "object": f"UniProtKB:{receptor}",
            "resource": row["resource"],
            "complex": named,
        }
        for ligand in members[0]
        for receptor in members[1]
    ]
