"""Reactome: human pathways, their hierarchy, and the genes, proteins and compounds in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loaders.columns import column, csv_blocks, numbered, reject_columns
from loaders.tables import ROW, Row, edge_table, node_table
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Source, SourceFile, UserFile, WebFile

if TYPE_CHECKING:
    import pyarrow as pa

_HOME = "https://reactome.org"
_DOWNLOADS = f"{_HOME}/download/current"
# Key -> name of the file, label and prefix of its ids.
_MEMBERS = {
    "ncbi": ("NCBI2Reactome", "Gene", "NCBIGene"),
    "uniprot": ("UniProt2Reactome", "Protein", "UniProtKB"),
    "chebi": ("ChEBI2Reactome", "Metabolite", "CHEBI"),
    "ensembl": ("Ensembl2Reactome", "Gene", "ENSEMBL"),
}
_ALL, _ENTITIES = "_All_Levels", "_PE_Pathway"


def _files() -> dict[str, SourceFile]:
    """The files of the source; Ensembl repeats NCBI and UniProt, so it is read only where it is given."""
    found: dict[str, SourceFile] = {
        "pathways": WebFile(f"{_DOWNLOADS}/ReactomePathways.txt", "ReactomePathways[._]*"),
        "relations": WebFile(
            f"{_DOWNLOADS}/ReactomePathwaysRelation.txt", "ReactomePathwaysRelation*", optional=True
        ),
    }
    for key, (name, _, _) in _MEMBERS.items():
        pattern = f"{name}{_ALL}*.txt*"
        if key == "ensembl":
            found[f"{key}{_ALL}"] = UserFile(pattern, _HOME, optional=True)
        else:
            found[f"{key}{_ALL}"] = WebFile(f"{_DOWNLOADS}/{name}{_ALL}.txt", pattern, optional=True)
        found[key] = UserFile(f"{name}.txt*", _HOME, optional=True)
        found[f"{key}{_ENTITIES}"] = UserFile(f"{name}{_ENTITIES}*.txt*", _HOME, optional=True)
    return found


SOURCE = Source(
    key="reactome",
    title="Reactome pathways, human",
    version="current, or as given",
    licence="CC0-1.0",
    homepage=_HOME,
    size_mb=0.0,
    files=_files(),
    in_demo=False,
    note="Files called All_Levels state a pathway's members for its ancestors too; IEA evidence is inferred.",
)

_HUMAN = "Homo sapiens"
_PLAIN = ("id", "pathway", "url", "name", "evidence", "species")
_PE = ("id", "entity", "entity_name", "pathway", "url", "name", "evidence", "species")


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse human pathways, PART_OF between them, and PARTICIPATES_IN of genes, proteins and compounds.

    Parameters
    ----------
    paths
        ``pathways``: ``ReactomePathways.txt``; where given, ``relations``: ``ReactomePathwaysRelation.txt`` and, per
        database, one of ``X2Reactome.txt``, ``X2Reactome_All_Levels.txt`` and ``X2Reactome_PE_Pathway.txt``, under
        the keys of `SOURCE`. None has a header.

    Raises
    ------
    LoadError
        If several files of one database are there, or a file has another number of columns.
    """
    nodes = _pathways(paths["pathways"])
    human = set(nodes.data["id"].to_pylist())
    edges: list[EdgeTable] = []
    if "relations" in paths:
        edges.append(_hierarchy(paths["relations"], human))
    for key in _MEMBERS:
        given = [name for name in (key, f"{key}{_ALL}", f"{key}{_ENTITIES}") if name in paths]
        if len(given) > 1:
            names = " and ".join(paths[name].name for name in given)
            raise LoadError(f"reactome: {names} state the same members; give a folder with one of them.")
        for name in given:
            columns = _PE if name.endswith(_ENTITIES) else _PLAIN
            edges += _members(key, paths[name], columns)
    return Parsed((nodes,), tuple(edges))


def _pathways(path: Path) -> NodeTable:
    rows: list[Row] = []
    rejects, read = [], 0
    for first, block in csv_blocks(path, ["id", "name", "species"], separator="\t", header=False):
        block = numbered(first, block)
        good, bad = _human(block)
        rejects.append(bad)
        read += len(block)
        rows += [{**row, "id": f"REACT:{row['id']}"} for row in block.filter(good).to_pylist()]
    table = node_table("reactome", "pathways", "Pathway", rows, read=len(rows))
    return replace(table, read=read, rejects=_concat(rejects))


def _hierarchy(path: Path, human: set[str]) -> EdgeTable:
    """Children as parts of their parents; the file has no species, so other species are known by their ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows: list[Row] = []
    rejects, read = [], 0
    known = pa.array([id_.removeprefix("REACT:") for id_ in human], pa.string())
    for first, block in csv_blocks(path, ["parent", "child"], separator="\t", header=False):
        block = numbered(first, block)
        bad = pc.invert(pc.is_in(block["child"], known)).to_numpy()
        good, refused = reject_columns(
            [("not a human pathway", bad)], "child", column(block, "child"), block[ROW].to_numpy()
        )
        rejects.append(refused)
        read += len(block)
        rows += [
            {ROW: row[ROW], "subject": f"REACT:{row['child']}", "object": f"REACT:{row['parent']}"}
            for row in block.filter(good).to_pylist()
        ]
    table = edge_table("reactome", "hierarchy", ("Pathway", "PART_OF", "Pathway"), rows, read=len(rows))
    return replace(table, read=read, rejects=_concat(rejects))


def _members(key: str, path: Path, columns: tuple[str, ...]) -> Iterator[EdgeTable]:
    """Members of pathways; the rows of a pair that differ in evidence or physical entity are merged."""
    name, label, prefix = _MEMBERS[key]
    rows: dict[str, list[Row]] = {label: []}
    rejects, other = [], 0
    for first, block in csv_blocks(path, columns, separator="\t", header=False):
        block = numbered(first, block)
        good, bad = _human(block)
        rejects.append(bad)
        other += len(bad)
        for row in block.filter(good).select([ROW, "id", "pathway", "evidence"]).to_pylist():
            ends = {"subject": f"{prefix}:{row['id']}", "object": f"REACT:{row['pathway']}"}
            kind = label
            if key == "uniprot":  # an isoform is stated as its protein
                ends["subject"] = ends["subject"].partition("-")[0]
            if key == "ensembl" and row["id"].startswith("ENSP"):
                kind = "Protein"
            rows.setdefault(kind, []).append({ROW: row[ROW], **ends, "evidence": [row["evidence"]]})
    for kind, some in rows.items():
        table = edge_table(
            "reactome", f"{name}: {kind}", (kind, "PARTICIPATES_IN", "Pathway"), some, read=len(some)
        )
        if kind == label:
            table = replace(table, read=len(some) + other, rejects=_concat(rejects))
        yield table


def _human(block: pa.Table) -> tuple[pa.Array, pa.Table]:
    """Which rows are human, and the others as rejects with their species."""
    import pyarrow.compute as pc

    species = column(block, "species")
    bad = pc.not_equal(species, _HUMAN).to_numpy(False)
    return reject_columns([("not human", bad)], "species", species, block[ROW].to_numpy())


def _concat(parts: list[pa.Table]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables(parts)
