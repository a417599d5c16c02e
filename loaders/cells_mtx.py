"""Matrix Market: ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv`` or ``genes.tsv``, each plain or gzipped."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from loaders.cell_chunks import checked, reading, rows_of_entries
from loaders.cell_names import Features, gene_features, something, unique
from loaders.cells_h5ad import obs_table
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from loaders.cell_chunks import Entries

MATRIX = re.compile(r"(?P<prefix>.*?)(matrix|counts)?\.mtx(\.gz)?", re.IGNORECASE)
_ENTRY = re.compile(r"\S+([ \t])\S+\1\S+\s*$")
_BLOCK = 4 << 20  # bytes of text
_KIND = "Matrix Market"


@dataclass(frozen=True)
class _Header:
    """What a matrix file says before its entries."""

    shape: tuple[int, int]
    entries: int
    whole: bool  # values are written as integers
    delimiter: str  # "" where there are no entries


def read(
    path: Path, layer: str | None = None, *, rows: str | None = None, proteins: str | None = None
) -> MeasuredCells:
    """Read a folder with one matrix, or the matrix file of a folder with several.

    Genes x cells (10x) and cells x genes are told apart by the lengths of the two lists. The lists are found by the
    matrix's prefix: ``GSM1_matrix.mtx.gz`` has ``GSM1_barcodes.tsv.gz``.

    Parameters
    ----------
    layer
        Feature type (``Gene Expression``), where ``features.tsv`` has several.
    rows
        ``genes`` or ``cells``: what the rows of a square matrix are.
    proteins
        See `loaders.cell_names.gene_features`.

    Raises
    ------
    CellsError
        If a file is missing or cannot be read, lengths differ, a barcode or feature repeats or there are none. What is
        wrong with entries is found when their chunk is read: values that are no raw counts, places outside the matrix,
        more or fewer entries than announced.
    """
    matrix, barcode_file, feature_file = _files(path)
    barcodes = unique(barcode_file, "barcode", [row[0] for row in _rows(barcode_file)])
    found = _features(feature_file, layer, proteins)
    total = len(_rows(feature_file))
    header = _header(matrix)
    transposed = _transposed(matrix, header, (barcode_file, len(barcodes)), (feature_file, total), rows)
    something(matrix, len(barcodes), len(found.names))

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with reading(matrix, _KIND):
            parts = rows_of_entries(
                _entries(matrix, header, transposed), (len(barcodes), total), header.entries, str(matrix)
            )
            names = found.names + found.proteins
            yield from checked(parts, barcodes, names, str(matrix), columns=found.columns)

    import pandas as pd

    obs = obs_table(pd.DataFrame(index=range(len(barcodes))))
    return MeasuredCells(barcodes, found.names, found.ids, obs, chunks, found.note, found.proteins)


# --------------------------------------------------------------------------- the three files


def matrices(folder: Path) -> list[Path]:
    """Matrix Market files in a folder, sorted by name."""
    return sorted(p for p in folder.iterdir() if MATRIX.fullmatch(p.name) and p.is_file())


def _files(path: Path) -> tuple[Path, Path, Path]:
    if not path.exists():
        raise CellsError(f"There is no {path}. Name a folder with matrix.mtx, or the matrix file.")
    found = matrices(path) if path.is_dir() else [path]
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:5]) or "none"
        raise CellsError(
            f"{path} must hold one .mtx file; it has {len(found)} ({names}). Name the file to add."
        )
    named = MATRIX.fullmatch(found[0].name)
    prefix = named["prefix"] if named else ""
    return (
        found[0],
        _beside(found[0], prefix, ("barcodes.tsv",)),
        _beside(found[0], prefix, ("features.tsv", "genes.tsv")),
    )


def _beside(matrix: Path, prefix: str, names: tuple[str, ...]) -> Path:
    wanted = [prefix + name + end for name in names for end in ("", ".gz")]
    found = [matrix.parent / name for name in wanted if (matrix.parent / name).is_file()]
    if len(found) != 1:
        held = f"there are {', '.join(p.name for p in found)}" if found else "there is none"
        raise CellsError(f"{matrix} needs exactly one of {', '.join(wanted)} beside it; {held}.")
    return found[0]


def _rows(path: Path) -> list[list[str]]:
    """Fields of each line."""
    with reading(path, "tab-separated text"), _opened(path) as file:
        return [line.rstrip(b"\r\n").decode().split("\t") for line in file if line.strip()]


def _features(path: Path, layer: str | None, proteins: str | None) -> Features:
    rows = _rows(path)
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise CellsError(f"{path}: lines have {min(widths)} to {max(widths)} fields. Fetch it again.")
    ids = [row[0] for row in rows]
    width = max(widths, default=1)
    symbols = [row[1] for row in rows] if width > 1 else ids
    types = [row[2] for row in rows] if width > 2 else None
    return gene_features(path, ids, symbols, types, layer, proteins)


# --------------------------------------------------------------------------- entries


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield cast("IO[bytes]", file)


def _header(path: Path) -> _Header:
    with reading(path, _KIND), _opened(path) as file:
        words = file.readline(200).decode("latin-1").lower().split()
        sizes = _sizes(file)
        first = file.readline(200).decode("latin-1")
    if len(words) != 5 or words[:2] != ["%%matrixmarket", "matrix"]:
        raise CellsError(f"{path} is no Matrix Market file: line 1 is not '%%MatrixMarket matrix ...'.")
    if words[2] != "coordinate" or words[3] not in ("integer", "real") or words[4] != "general":
        raise CellsError(
            f"{path} is {' '.join(words[2:])}; counts are 'coordinate integer general' or 'coordinate real general'."
        )
    if len(sizes) != 3 or not all(size.isdecimal() for size in sizes):
        raise CellsError(f"{path}: the line of sizes is {' '.join(sizes)[:60]!r}, not three numbers.")
    rows, columns, entries = map(int, sizes)
    if first.strip() and not _ENTRY.match(first):
        raise CellsError(
            f"{path}: {first.strip()[:60]!r} is no entry: row, column, value, one space or tab between."
        )
    delimiter = "" if not first.strip() else "\t" if "\t" in first else " "
    return _Header((rows, columns), entries, words[3] == "integer", delimiter)


def _transposed(
    path: Path, header: _Header, barcodes: tuple[Path, int], features: tuple[Path, int], rows: str | None
) -> bool:
    """Whether the matrix is genes x cells, as 10x writes it."""
    (barcode_file, cells), (feature_file, genes) = barcodes, features
    fits = {"genes": header.shape == (genes, cells), "cells": header.shape == (cells, genes)}
    if not any(fits.values()):
        raise CellsError(
            f"{path} is {header.shape[0]} x {header.shape[1]}, but {feature_file.name} names {genes} features and "
            f"{barcode_file.name} {cells} cells. Give the files of one matrix."
        )
    if rows not in (None, *(name for name in fits if fits[name])):
        raise CellsError(
            f"{path} is {header.shape[0]} x {header.shape[1]}, of {genes} genes and {cells} cells; rows={rows} does "
            "not fit. Leave it out, or say genes or cells."
        )
    if rows is None and all(fits.values()):
        raise CellsError(
            f"{path} is {genes} x {cells}: genes x cells or cells x genes cannot be told. Say --option rows=genes (as "
            "10x writes it) or --option rows=cells."
        )
    return fits["genes"] if rows is None else rows == "genes"


def _sizes(file: IO[bytes]) -> list[str]:
    """Words of the line of sizes, the first that is no comment."""
    for line in file:
        if line.strip() and not line.startswith(b"%"):
            return line.decode("latin-1").split()
    return []


def _entries(path: Path, header: _Header, transposed: bool) -> Iterator[Entries]:
    """Yield blocks of (cell, feature, value), counted from 0."""
    import numpy as np

    seen = 0
    for row, column, value in _blocks(path, header):
        for what, numbers, end in (("row", row, header.shape[0]), ("column", column, header.shape[1])):
            outside = (numbers < 1) | (numbers > end)
            if outside.any():
                at = int(outside.argmax())
                raise CellsError(
                    f"{path}: entry {seen + at + 1} is in {what} {numbers[at]}, of {end}. Fetch the file again."
                )
        seen += len(row)
        cell, feature = (column, row) if transposed else (row, column)
        yield (cell - 1).astype(np.int32), (feature - 1).astype(np.int32), value
    if seen != header.entries:
        raise CellsError(
            f"{path} announces {header.entries} entries but holds {seen}. Is the download complete? Fetch it again."
        )


def _blocks(path: Path, header: _Header) -> Iterator[Entries]:
    """Yield blocks of (row, column, value) as the file has them, counted from 1."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pcsv

    if not header.delimiter:
        return
    kinds = {"row": pa.int64(), "column": pa.int64(), "value": pa.int64() if header.whole else pa.float64()}
    convert = pcsv.ConvertOptions(column_types=kinds, null_values=[])
    read_options = pcsv.ReadOptions(block_size=_BLOCK, column_names=list(kinds))
    parse = pcsv.ParseOptions(delimiter=header.delimiter, quote_char=False)
    with _opened(path) as file:
        file.readline()
        _sizes(file)
        with pcsv.open_csv(file, read_options, parse, convert) as blocks:
            for block in blocks:
                row, column, value = (np.asarray(block[name]) for name in kinds)
                yield row, column, value
