"""The graph of an OmniCellTOSG folder: transcripts, proteins, and the edges of its index files.

Row i of ``s_name.csv`` is node i of the index files, row i of each ``x_*_emb.npy`` and, for a transcript, column i of
the expression matrices; `node_ids` gives the entity id of each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.columns import column, csv_blocks, fold_lists, read_csv, reject_columns
from loaders.hgnc import HGNC_FILE, entries
from loaders.tables import ROW, Row, edge_table
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Reject, Source, UserFile

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Index = npt.NDArray[np.int64]

_HOME = "https://github.com/FuhaiLiAiLab/OmniCellTOSG"

SOURCE = Source(
    key="omnicelltosg",
    title="OmniCellTOSG, graph part",
    version="as given",
    licence="MIT AND NOASSERTION; by its README, and the resources of BioMedGraphica, which keep their own terms",
    homepage=_HOME,
    size_mb=0.0,
    files={
        "names": UserFile("s_name.csv", _HOME),
        "descriptions": UserFile("s_desc.csv", _HOME, optional=True),
        "types": UserFile("s_bio.csv", _HOME, optional=True),
        "edges": UserFile("edge_index.npy", _HOME),
        "internal": UserFile("internal_edge_index.npy", _HOME),
        "ppi": UserFile("ppi_edge_index.npy", _HOME),
        "genes": UserFile("bmg_gene_index.csv*", _HOME, optional=True),
        "hgnc": HGNC_FILE,
    },
    in_demo=False,
    note="Ids are BioMedGraphica's; edges have no resource of their own; sequences are not read.",
)

_ID = "BioMedGraphica_ID"
_ALSO = {_ID: "BioMedGraphica_Conn_ID"}
_KINDS = ("Transcript", "Protein")  # in the order of the nodes
_FORM = r"^BMGC?_(TS|PT)\d+$"
_ENSEMBL = r"^ENS[TP]\d{11}(\.\d+)?$"


@dataclass(frozen=True)
class _Rows:
    """Rows of ``s_name.csv``: id of each, and which may be nodes."""

    ids: pa.Array
    names: pa.Array
    good: npt.NDArray[np.bool_]
    rejects: pa.Table
    transcripts: int  # rows before the first protein


def parse(paths: dict[str, Path]) -> Parsed:
    """Parse the graph part of a folder.

    Parameters
    ----------
    paths
        ``names``, ``edges``, ``internal``, ``ppi``: ``s_name.csv``, ``edge_index.npy``,
        ``internal_edge_index.npy``, ``ppi_edge_index.npy``; ``hgnc``: for the symbols of genes. Where given,
        ``descriptions`` and ``types``: ``s_desc.csv`` and ``s_bio.csv``; ``genes``: ``bmg_gene_index.csv``.

    Raises
    ------
    LoadError
        If a file cannot be read, rows of two files are not of the same nodes, an index file has another shape
        or type, or ``edge_index.npy`` is not the sum of the other two.
    """
    rows = _rows(paths["names"])
    if "types" in paths:
        _check_types(paths["types"], rows)
    internal, ppi = (_index(paths[name]) for name in ("internal", "ppi"))
    _check_sum(paths["edges"], internal, ppi)
    edges = [*_translated(internal, rows), *_interacting(ppi, rows)]
    if "genes" in paths:
        edges.append(_transcribed(paths["genes"], paths["hgnc"], rows))
    return Parsed(tuple(_nodes(rows, paths.get("descriptions"))), tuple(edges))


def node_ids(paths: dict[str, Path]) -> list[str | None]:
    """Entity id of each row of ``s_name.csv``, and so of ``x_*_emb.npy``; None for a row that is no node."""
    rows = _rows(paths["names"])
    return [id_ if good else None for id_, good in zip(rows.ids.to_pylist(), rows.good, strict=True)]


def node_rows(path: Path) -> tuple[list[str], int]:
    """Entity id of each row of ``s_name.csv``, and how many rows, the first ones, are transcripts.

    Raises
    ------
    LoadError
        If the file cannot be read, or a transcript stands after the first protein.
    """
    rows = _rows(path)
    return rows.ids.to_pylist(), rows.transcripts


def edge_indexes(
    edges: Path, internal: Path, ppi: Path, nodes: int
) -> tuple[npt.NDArray[np.integer[Any]], ...]:
    """The three index files as they are, shape ``(2, n)`` each, their type and order kept.

    Raises
    ------
    LoadError
        If a file is no edge index, an edge leads to no node, or ``edges`` is not the sum of the other two.
    """
    found = [_opened_index(path) for path in (edges, internal, ppi)]
    for path, index in zip((edges, internal, ppi), found, strict=True):
        if index.size and not (index.min() >= 0 and index.max() < nodes):
            raise LoadError(
                f"{path.name}: rows {index.min()} to {index.max()} are named, s_name.csv has 0 to {nodes - 1}; "
                "give the files of one release."
            )
    _check_sum(edges, *(np.asarray(index, np.int64) for index in found[1:]))
    return tuple(np.array(index, order="K") for index in found)


def gene_columns(path: Path) -> dict[str, list[int]]:
    """Columns of the expression matrices that hold each gene's value, 0-based, out of ``bmg_gene_index.csv``.

    Raises
    ------
    LoadError
        If an index is not a number, or a gene occurs twice.
    """
    rows = read_csv(path, ["gene_name", "indices"])
    found: dict[str, list[int]] = {}
    cells = zip(column(rows, "gene_name").to_pylist(), column(rows, "indices").to_pylist(), strict=True)
    for number, (gene, indices) in enumerate(cells, start=1):
        parts = [part.strip() for part in indices.split(";")]
        if gene in found or not all(part.isdecimal() for part in parts):
            what = f"gene {gene!r} again" if gene in found else f"indices {indices[:60]!r} are not numbers"
            raise LoadError(f"{path.name}: row {number}: {what}; fetch the file again.")
        found[gene] = [int(part) for part in parts]
    return found


# --------------------------------------------------------------------------- nodes


def _rows(path: Path) -> _Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_csv(path, [_ID, "Name"], also=_ALSO)
    given = column(table, _ID)
    fits = pc.match_substring_regex(given, _FORM).to_numpy(False)
    is_protein = pc.match_substring(given, "_PT").to_numpy(False) & fits
    first = int(is_protein.argmax()) if is_protein.any() else len(given)
    late = np.flatnonzero(fits[first:] & ~is_protein[first:])
    if len(late):
        raise LoadError(
            f"{path.name}: row {first + late[0] + 1}, {given[first + int(late[0])].as_py()}: a transcript after the "
            "first protein, so columns and rows do not agree; give the published file."
        )
    codes = given.dictionary_encode().indices.to_numpy()
    again = np.ones(len(given), bool)
    again[np.unique(codes, return_index=True)[1]] = False
    good, rejects = reject_columns(
        [("not an id of a transcript or protein", ~fits), ("id of an earlier row", again)], _ID, given
    )
    ids = pc.replace_substring(given, "_", ":", max_replacements=1)
    return _Rows(ids, column(table, "Name"), pa.array(good).to_numpy(False), rejects, first)


def _nodes(rows: _Rows, descriptions: Path | None) -> Iterator[NodeTable]:
    import pyarrow as pa
    import pyarrow.compute as pc

    said = None
    if descriptions is not None:
        table = read_csv(descriptions, [_ID, "Description"], also=_ALSO)
        _check_rows(descriptions, column(table, _ID), rows)
        said = column(table, "Description")
    for kind, start, end in (
        ("Transcript", 0, rows.transcripts),
        ("Protein", rows.transcripts, len(rows.ids)),
    ):
        at = np.flatnonzero(rows.good[start:end]) + start
        taken = pa.array(at)
        ids = rows.ids.take(taken)
        data = _named(ids, rows.names.take(taken))
        data["bmg_ids"] = pa.ListArray.from_arrays(pa.array(np.arange(len(at) + 1, dtype=np.int32)), ids)
        if kind == "Transcript":
            data["omics_column"] = pa.array(at, pa.int64())
        if said is not None:
            data["description"] = said.take(taken)
        number = rows.rejects["row"]
        inside = pc.and_(pc.greater(number, start), pc.less_equal(number, end))
        bad = rows.rejects.filter(inside)
        lines = pa.array(at + 1, pa.int32())
        yield NodeTable("omnicelltosg", f"{kind.lower()}s", kind, pa.table(data), end - start, 0, bad, lines)


def _named(ids: pa.Array, cells: pa.Array) -> dict[str, Any]:
    """Name: the first that a row has, else its id. Synonyms: the others. Ensembl ids are xrefs as well."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = pc.split_pattern_regex(cells, r"\s*[;|]\s*")
    values = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    owner = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    given = pc.not_equal(values, "").to_numpy(False)
    owner, values = owner[given], values.filter(pa.array(given))
    first = np.full(len(ids), -1)
    first[owner[::-1]] = np.arange(len(owner))[::-1]
    name = pc.coalesce(values.take(pa.array(first, mask=first < 0)), ids)
    known = pc.match_substring_regex(values, _ENSEMBL)
    ensembl = pc.replace_substring_regex(values.filter(known), r"\..*$", "")
    xrefs = (owner[known.to_numpy(False)], pc.binary_join_element_wise("ENSEMBL", ensembl, ":"))
    return {
        "id": ids,
        "name": name,
        "synonyms": fold_lists(len(ids), [(owner, values)], without=name),
        "xrefs": fold_lists(len(ids), [xrefs], without=ids),
    }


def _check_types(path: Path, rows: _Rows) -> None:
    """Compare the types that ``s_bio.csv`` states with the ids."""
    for first, block in csv_blocks(path, [_ID, "Type"], _ALSO):
        ids = column(block, _ID)
        _check_rows(path, ids, rows, first)
        expected = np.where(np.arange(first, first + len(ids)) < rows.transcripts, *_KINDS)
        wrong = np.flatnonzero(_texts(block, "Type") != expected)
        if len(wrong):
            at = int(wrong[0])
            raise LoadError(
                f"{path.name}: row {first + at + 1}, {ids[at].as_py()}, Type {_texts(block, 'Type')[at]!r}: "
                f"its id says {expected[at]}; give the files of one release."
            )


def _texts(block: pa.Table, name: str) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.array(column(block, name).to_pylist(), object)
    return found


def _check_rows(path: Path, given: pa.Array, rows: _Rows, first: int = 0) -> None:
    """Refuse a file whose rows are not those of ``s_name.csv``."""
    import pyarrow.compute as pc

    expected = rows.ids.slice(first, len(given))
    if len(given) != len(expected) or (first == 0 and len(given) > len(rows.ids)):
        raise LoadError(
            f"{path.name}: more rows than s_name.csv, which has {len(rows.ids)}; give the files of one release."
        )
    other = pc.not_equal(pc.replace_substring(given, "_", ":", max_replacements=1), expected).to_numpy(False)
    if other.any():
        at = int(other.argmax())
        raise LoadError(
            f"{path.name}: row {first + at + 1} is {given[at].as_py()}, in s_name.csv {expected[at].as_py()}; "
            "give the files of one release."
        )


# --------------------------------------------------------------------------- edges


def _index(path: Path) -> Index:
    """Ends of edges, int64, shape ``(2, n)``."""
    return np.asarray(_opened_index(path), np.int64)


def _opened_index(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Ends of edges, mapped into memory, shape ``(2, n)``; nothing is unpickled."""
    try:
        found: npt.NDArray[np.integer[Any]] = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as e:
        raise LoadError(f"{path.name}: cannot be read as an array ({str(e)[:120]}); fetch it again.") from e
    if found.ndim != 2 or found.shape[0] != 2 or not np.issubdtype(found.dtype, np.integer):
        raise LoadError(
            f"{path.name}: shape {found.shape}, type {found.dtype}; an edge index is (2, n) of integers."
        )
    return found


def _check_sum(path: Path, internal: Index, ppi: Index) -> None:
    """Check that ``edge_index.npy`` holds the edges of the other two and no others, in any order."""
    whole = _index(path)
    parts = internal.shape[1] + ppi.shape[1]
    if whole.shape[1] != parts:
        raise LoadError(
            f"{path.name}: {whole.shape[1]} edges, internal and ppi have {parts} together; "
            "give the files of one release."
        )
    mine = np.sort(_codes(whole))
    theirs = np.sort(np.concatenate([_codes(internal), _codes(ppi)]))
    differ = mine != theirs
    if differ.any():
        code = int(min(mine[differ.argmax()], theirs[differ.argmax()]))
        raise LoadError(
            f"{path.name}: {int(differ.sum())} edges are not those of internal and ppi, first {code >> 32} to "
            f"{code & 0xFFFFFFFF}; give the files of one release."
        )


def _codes(index: Index) -> Index:
    codes: Index = (index[0] << 32) | (index[1] & 0xFFFFFFFF)
    return codes


def _translated(index: Index, rows: _Rows) -> Iterator[EdgeTable]:
    good, rejects = _ends(index, rows, "Transcript", "Protein")
    kept = index[:, good]
    _, first = np.unique(_codes(kept), return_index=True)
    at = np.sort(first)
    ends = ("Transcript", "TRANSLATED_TO", "Protein")
    lines = np.flatnonzero(good)[at] + 1
    yield _edge_table("internal", ends, kept[:, at], rows, index.shape[1], rejects, lines)


def _interacting(index: Index, rows: _Rows) -> Iterator[EdgeTable]:
    """Each pair once, from the lower row to the higher; pairs that stand one way only have a table of their own."""
    good, rejects = _ends(index, rows, "Protein", "Protein")
    kept = index[:, good]
    low, high = np.minimum(kept[0], kept[1]), np.maximum(kept[0], kept[1])
    _, first, inverse, counts = np.unique(
        (low << 32) | high, return_index=True, return_inverse=True, return_counts=True
    )
    forward = np.bincount(inverse, weights=kept[0] <= kept[1], minlength=len(first)).astype(np.int64)
    both = ((forward > 0) & (forward < counts)) | (low[first] == high[first])
    ends = ("Protein", "INTERACTS_WITH", "Protein")
    for name, which, bad in (
        ("ppi", both, rejects),
        ("ppi (one direction only)", ~both, rejects.slice(0, 0)),
    ):
        at, read = first[which], int(counts[which].sum())
        pairs = np.stack([low[at], high[at]])
        yield _edge_table(name, ends, pairs, rows, read + len(bad), bad, np.flatnonzero(good)[at] + 1)


def _edge_table(
    name: str,
    ends: tuple[str, str, str],
    pairs: Index,
    rows: _Rows,
    read: int,
    rejects: pa.Table,
    lines: npt.NDArray[np.int64],
) -> EdgeTable:
    import pyarrow as pa

    data = {
        end: pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), rows.ids)
        for end, numbers in zip(("subject", "object"), pairs, strict=True)
    }
    merged = read - pairs.shape[1] - len(rejects)
    return EdgeTable(
        *("omnicelltosg", name, *ends, pa.table(data), read, merged, rejects, pa.array(lines, pa.int32()))
    )


def _ends(index: Index, rows: _Rows, left: str, right: str) -> tuple[npt.NDArray[np.bool_], pa.Table]:
    """Which edges lead from a node of one type to one of the other, and the others as rejects."""
    import pyarrow as pa

    good = np.ones(index.shape[1], bool)
    parts = []
    for name, numbers, kind in (("from", index[0], left), ("to", index[1], right)):
        inside = (numbers >= 0) & (numbers < len(rows.ids))
        place = np.where(inside, numbers, 0)
        fits = (place < rows.transcripts) == (kind == "Transcript")
        loaded = rows.good[place] if len(rows.good) else np.zeros(len(place), bool)
        reasons = [
            ("not a row of s_name.csv", ~inside),
            (f"not a {kind}", ~fits),
            ("its node was rejected", ~loaded),
        ]
        at = np.flatnonzero(good & ~(inside & fits & loaded))
        good[at] = False
        values = pa.array([str(k) for k in numbers[at]], pa.string())
        parts.append(reject_columns([(r, bad[at]) for r, bad in reasons], name, values, at + 1)[1])
    return good, pa.concat_tables(parts)


def _transcribed(path: Path, hgnc: Path, rows: _Rows) -> EdgeTable:
    """Genes and the transcripts whose columns hold their values; genes are found by symbol, approved first."""
    approved = [row for _, row in entries(hgnc) if row["status"] == "Approved"]
    previous: dict[str, set[str]] = {}
    for row in approved:
        for symbol in row["previous_symbols"]:
            previous.setdefault(symbol, set()).add(row["id"])
    ids = {symbol: min(found) for symbol, found in previous.items() if len(found) == 1}
    ids |= {row["symbol"]: row["id"] for row in approved}
    edges: list[Row] = []
    rejects: list[Reject] = []
    genes = gene_columns(path)
    for number, (gene, columns) in enumerate(genes.items(), start=1):
        for at in columns:
            if gene not in ids:
                rejects.append(
                    Reject(number, "gene_name", gene, "not an approved symbol, nor a previous one")
                )
            elif at >= rows.transcripts or not rows.good[at]:
                rejects.append(Reject(number, "indices", str(at), "not the row of a transcript"))
            else:
                edges.append({ROW: number, "subject": ids[gene], "object": rows.ids[at].as_py()})
    read = sum(map(len, genes.values()))
    ends = ("Gene", "TRANSCRIBED_TO", "Transcript")
    return edge_table("omnicelltosg", "gene columns", ends, edges, read=read, rejects=rejects)
