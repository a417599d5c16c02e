"""GO annotations of human genes: the committed table of ids and evidence codes, or a GAF file that is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from loaders.statements import NEUTRAL
from loaders.tables import ROW, Row, edge_table, read_text
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, FactsFile, Parsed, Reject, Source, WebFile

SOURCE = Source(
    key="go_annotations",
    title="GO annotations of human genes",
    version="2022-09-12 (org.Hs.eg.db 3.16.0), or as given",
    licence="CC-BY-4.0",
    homepage="https://geneontology.org",
    size_mb=0.9,
    files={"annotations": FactsFile("go_annotations.parquet")},
    instead={
        "annotations": WebFile(
            "https://current.geneontology.org/annotations/goa_human.gaf.gz", "goa_human*.gaf*"
        )
    },
    note="Evidence ND is left out; the installed table has no qualifier (NOT) and no reference, a GAF file has.",
)

_KINDS = {
    "P": ("INVOLVED_IN", "BiologicalProcess"),
    "F": ("ENABLES", "MolecularFunction"),
    "C": ("LOCATED_IN", "CellularComponent"),
}
_COLUMNS = ("gene", "term", "evidence", "aspect")
# Qualifiers that say no more than the verb of their aspect; the others stay as `relation`.
_PLAIN = ("", "involved_in", "enables", "located_in")
_UPSTREAM = "acts_upstream_of"  # and its longer forms: not involved in the process itself
_GAF_COLUMNS = 15  # of GAF 1; version 2 has two more
_HUMAN = "taxon:9606"


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse annotations into INVOLVED_IN, ENABLES and LOCATED_IN; a pair's codes and references are merged.

    A gene product of a GAF file is stated as its gene, so that a GAF file takes the place of the installed table.

    Parameters
    ----------
    paths
        ``annotations``: Parquet with ``gene`` (NCBI Gene, int), ``term`` (GO, int), ``evidence`` and
        ``aspect`` (P, F, C); or GAF 2, plain or gzipped.

    Raises
    ------
    LoadError
        If the file is neither, or lacks a column.
    """
    path = paths["annotations"]
    return _facts(path) if path.suffix == ".parquet" else _gaf(path)


def _facts(path: Path) -> Parsed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (pa.ArrowInvalid, OSError) as e:
        raise LoadError(f"{path.name}: cannot be read as Parquet ({e}); reinstall the package.") from e
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise LoadError(f"{path.name}: has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    edges: dict[str, list[Row]] = {aspect: [] for aspect in _KINDS}
    rejects: dict[str, list[Reject]] = {aspect: [] for aspect in _KINDS}
    for number, row in enumerate(table.to_pylist(), start=1):
        if row["aspect"] not in _KINDS:
            raise LoadError(
                f"{path.name}: row {number}, column 'aspect', value {row['aspect']!r}: not P, F or C."
            )
        if row["evidence"] == "ND":
            rejects[row["aspect"]].append(Reject(number, "evidence", "ND", "no biological data"))
        else:
            edge = {"subject": f"NCBIGene:{row['gene']}", "object": f"GO:{row['term']:07d}"}
            edges[row["aspect"]].append({ROW: number, **edge, "evidence": [row["evidence"]]})
    return Parsed(edges=tuple(_edges(a, edges[a], rejects[a]) for a in _KINDS))


def _edges(aspect: str, rows: list[Row], rejects: list[Reject]) -> EdgeTable:
    verb, label = _KINDS[aspect]
    ends = ("Gene", verb, label)
    read = len(rows) + len(rejects)
    return edge_table("go_annotations", verb.lower(), ends, rows, read=read, rejects=rejects)


# --------------------------------------------------------------------------- GAF


def _gaf(path: Path) -> Parsed:
    edges: dict[tuple[str, str], list[Row]] = {kind: [] for kind in _KINDS.values()}
    rejects: dict[tuple[str, str], list[Reject]] = {kind: [] for kind in _KINDS.values()}
    for number, fields in _gaf_rows(path):
        aspect, qualifier = fields[8], fields[3]
        if aspect not in _KINDS:
            raise LoadError(f"{path.name}: line {number}, column 'Aspect', value {aspect!r}: not P, F or C.")
        verb, label = _KINDS[aspect]
        if bad := _why_not(fields):
            rejects[verb, label].append(Reject(number, *bad))
            continue
        said = [part for part in qualifier.split("|") if part != "NOT"]
        word = said[0] if said else ""
        row: Row = {"subject": f"UniProtKB:{fields[1]}", "object": fields[4], "evidence": [fields[6]]}
        row[ROW] = number
        row["publications"] = [part for part in fields[5].split("|") if part]
        if word not in _PLAIN:
            row["relation"] = word
        if "NOT" in qualifier.split("|"):
            row |= {"negated": True, "relation": f"NOT {word}".strip()}
        verb = NEUTRAL if word.startswith(_UPSTREAM) else verb
        edges.setdefault((verb, label), []).append(row)
    return Parsed(edges=tuple(_gaf_table(kind, edges[kind], rejects.get(kind, [])) for kind in edges))


def _gaf_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based line, fields) of a GAF file, whose comments begin with an exclamation mark."""
    version = ""
    for number, line in read_text(path):
        if line.startswith("!"):
            version = version or line.removeprefix("!gaf-version:").strip() * line.startswith("!gaf-version:")
            continue
        fields = line.split("\t")
        if not version.startswith("2") or len(fields) < _GAF_COLUMNS:
            found = f"{len(fields)} fields" if version else "no line '!gaf-version: 2.x' before it"
            raise LoadError(f"{path.name}: line {number}: {found}; give a GAF 2 file.")
        yield number, fields


def _why_not(fields: list[str]) -> tuple[str, str, str] | None:
    """Column, value and reason of a row that is not loaded."""
    if fields[12].split("|")[0] != _HUMAN:
        return "Taxon", fields[12], "not human"
    if fields[0] != "UniProtKB":
        return "DB", f"{fields[0]}:{fields[1]}", "not a gene or its protein"
    if fields[6] == "ND":
        return "Evidence Code", "ND", "no biological data"
    return None


def _gaf_table(kind: tuple[str, str], rows: list[Row], rejects: list[Reject]) -> EdgeTable:
    verb, label = kind
    name = verb.lower() if verb != NEUTRAL else _UPSTREAM
    ends, read = ("Gene", verb, label), len(rows) + len(rejects)
    return edge_table("go_annotations", name, ends, rows, read=read, rejects=rejects, apart=["relation"])
