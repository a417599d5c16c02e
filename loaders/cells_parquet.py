"""Parquet with one row per cell and two lists in it, genes and their counts, as data sets on Hugging Face have them.

Genes are names (symbols or Ensembl ids) or numbers (tokens); a table says which gene a token is. Example: Tahoe-100M,
with ``genes``, ``expressions`` and a ``gene_metadata`` table, whose cells start with a marker that is no gene.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.cell_chunks import checked, reading, spans
from loaders.cell_names import ensembl_ids, gene_features, obs_of_arrow, something, texts, unique
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa
    from scipy.sparse import csr_array

    from loaders.cell_chunks import Part

_GENES = ("genes", "gene_ids", "gene_names", "gene_symbols", "gene_token_ids", "token_ids", "input_ids")
_COUNTS = ("expressions", "expression", "counts", "raw_counts", "values")
_BARCODES = (
    "barcode",
    "BARCODE_SUB_LIB_ID",
    "cell_barcode",
    "cell_id",
    "CellID",
    "obs_id",
    "__index_level_0__",
)
_TOKEN, _SYMBOL, _ID = (
    ("token_id", "token"),
    ("gene_symbol", "gene_name", "symbol"),
    ("ensembl_id", "gene_id"),
)
_BY_ROW = "row"
_PER_CELL = 64 << 10  # bytes of a cell as its lists are read, some thousand genes


@dataclass(frozen=True)
class _Lists:
    """Where the counts stand, and which column of the matrix a gene is."""

    genes: str
    counts: str
    keys: pa.Array  # what stands for each feature in the lists; sorted


def read(
    path: Path,
    layer: str | None = None,
    *,
    genes: str | None = None,
    barcode: str | None = None,
    tokens: str | None = None,
) -> MeasuredCells:
    """Read one Parquet file, or all of a folder in the order of their names.

    Parameters
    ----------
    layer
        List column with the raw counts, where it has none of the usual names (``expressions``, ``counts`` ...).
    genes
        List column with the genes.
    barcode
        Column that names the cells, or ``row``: then a cell is named by its place, ``file:row``.
    tokens
        Table of the tokens, Parquet, CSV or TSV, with ``token_id`` and ``gene_symbol`` or ``ensembl_id``. By default
        ``gene_metadata.*`` beside the files.

    Raises
    ------
    CellsError
        If a file or table cannot be read, columns cannot be told or are not there, files differ in their columns, a
        barcode repeats or there are no cells. When their chunk is read: lists of different length, unknown tokens,
        genes that repeat in a cell, values that are no raw counts.
    """
    import pyarrow as pa

    files, table = _files(path, tokens)
    schema = _schema(files)
    counts_name, genes_name = _list_columns(path, schema, layer, genes)
    barcode_name = _barcode_column(path, schema, barcode)
    if _is_text(schema.field(genes_name).type.value_type):
        features = _gene_names(files, genes_name)
        ids, keys = ensembl_ids(features), pa.array(features, pa.string())
    else:
        features, ids, keys = _tokens(path, genes_name, table)
    obs, left = _obs(files, [n for n in schema.names if n not in (genes_name, counts_name)])
    if barcode_name == _BY_ROW:
        barcodes = [f"{file.name}:{row}" for file in files for row in range(_length(file))]
    else:
        barcodes = unique(
            path, "barcode", texts("" if v is None else v for v in obs[barcode_name].to_pylist())
        )
        obs = obs.drop_columns([barcode_name])
    something(path, len(barcodes), len(features))
    lists = _Lists(genes_name, counts_name, keys)

    def chunks() -> Iterator[csr_array[Any, Any]]:
        first = 0
        for file in files:
            length, where = _length(file), f"{file}, {counts_name}"
            own = barcodes[first : first + length]
            yield from checked(_parts(file, lists, own), own, features, where)
            first += length

    note = f"not read: {', '.join(left)} of the cells, which have several values per cell" if left else ""
    return MeasuredCells(barcodes, features, ids, obs, chunks, note)


# --------------------------------------------------------------------------- files and columns


def _files(path: Path, tokens: str | None) -> tuple[list[Path], Path | None]:
    """The files with cells, and the table of tokens, if there is one."""
    if not path.exists():
        raise CellsError(f"There is no {path}. Name a Parquet file or a folder of them.")
    folder = path if path.is_dir() else path.parent
    beside = sorted(folder.glob("gene_metadata.*"))
    table = Path(tokens) if tokens else beside[0] if beside else None
    files = sorted(folder.glob("*.parquet")) if path.is_dir() else [path]
    files = [file for file in files if table is None or file.resolve() != table.resolve()]
    if not files:
        raise CellsError(
            f"{path} holds no Parquet files with cells. Name the files, or the folder that has them."
        )
    return files, table


def _schema(files: Sequence[Path]) -> pa.Schema:
    import pyarrow.parquet as pq

    found = []
    for file in files:
        with reading(file, "Parquet"):
            found.append(pq.read_schema(file).remove_metadata())
    for file, schema in zip(files, found, strict=True):
        if schema != found[0]:
            other = {f"{f.name} ({f.type})" for f in schema} ^ {f"{f.name} ({f.type})" for f in found[0]}
            raise CellsError(
                f"{file} and {files[0].name} differ in {', '.join(sorted(other)) or 'the order of columns'}. Add "
                "them one by one."
            )
    return found[0]


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_list(kind) or kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind))


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind))


def _list_columns(path: Path, schema: pa.Schema, counts: str | None, genes: str | None) -> tuple[str, str]:
    """The columns with counts and genes."""
    lists = [field.name for field in schema if _is_list(field.type)]
    listed = ", ".join(lists) or "none"
    for name in (counts, genes):
        if name is not None and name not in lists:
            raise CellsError(f"{path} has no list column {name!r}. Its list columns: {listed}.")
    counts_name = counts or next((name for name in _COUNTS if name in lists), None)
    genes_name = genes or next((name for name in _GENES if name in lists), None)
    if counts_name is None or genes_name is None:
        ranks = " Ranks of genes alone (input_ids) cannot become counts." if lists == ["input_ids"] else ""
        raise CellsError(
            f"{path}: cannot tell the lists of genes and counts of each cell; list columns: {listed}.{ranks} Name them "
            "by --option genes=COLUMN and --layer COLUMN."
        )
    return counts_name, genes_name


def _barcode_column(path: Path, schema: pa.Schema, barcode: str | None) -> str:
    found = barcode or next((name for name in _BARCODES if name in schema.names), None)
    if found is None or (found not in schema.names and found != _BY_ROW):
        single = [field.name for field in schema if not _is_list(field.type)]
        what = f"has no column {barcode!r}" if barcode else "does not say which column names its cells"
        raise CellsError(
            f"{path} {what}; it has {', '.join(single) or 'only lists'}. Name one by --option barcode=COLUMN, or "
            f"number the cells by --option barcode={_BY_ROW}."
        )
    return found


def _length(file: Path) -> int:
    import pyarrow.parquet as pq

    with reading(file, "Parquet"):
        return int(pq.read_metadata(file).num_rows)


def _obs(files: Sequence[Path], columns: list[str]) -> tuple[pa.Table, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not columns:  # a table that is read without columns has forgotten its rows
        return pa.table({"_": pa.nulls(sum(map(_length, files)))}).select([]), []
    tables = []
    for file in files:
        with reading(file, "Parquet"), pq.ParquetFile(file) as opened:
            tables.append(opened.read(columns=columns))
    with reading(files[0], "Parquet"):
        return obs_of_arrow(pa.concat_tables(tables))


# --------------------------------------------------------------------------- genes


def _gene_names(files: Sequence[Path], column: str) -> list[str]:
    """Every gene that some cell names, sorted, so that the order of cells does not matter."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: set[str | None] = set()
    for file in files:
        with reading(file, "Parquet"), pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=_batch(), columns=[column]):
                found.update(pc.unique(pc.list_flatten(batch[0])).to_pylist())
    if found & {None, ""}:
        raise CellsError(f"{files[0].parent}: {column} has a gene without a name. Correct the file.")
    return sorted(name for name in found if name)


def _tokens(path: Path, column: str, table: Path | None) -> tuple[list[str], list[str | None], pa.Array]:
    """Names and ids of genes in the order of their tokens, and the tokens."""
    import pyarrow as pa

    if table is None:
        raise CellsError(
            f"{path}: {column} holds numbers. Say which gene each is by --option tokens=FILE, a table with token_id "
            "and gene_symbol or ensembl_id."
        )
    rows = _table(table)
    names = [next((n for n in given if n in rows.column_names), None) for given in (_TOKEN, _SYMBOL, _ID)]
    token, symbol, gene_id = names
    if token is None or (symbol is None and gene_id is None):
        raise CellsError(
            f"{table} has {', '.join(rows.column_names)}; a table of tokens has {_TOKEN[0]} and {_SYMBOL[0]} or "
            f"{_ID[0]}."
        )
    with reading(table, "a table of tokens"):
        keys = [int(value) for value in rows[token].to_pylist()]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        keys = [keys[at] for at in order]
        given = [rows[name].to_pylist() if name else None for name in (gene_id, symbol)]
        ids, symbols = ([str(c[at] or "") for at in order] if c else None for c in given)
    if len(set(keys)) != len(keys):
        raise CellsError(f"{table} repeats a token. Give one row per token.")
    found = gene_features(table, ids or symbols or [], symbols or ids or [])
    return found.names, found.ids, pa.array(keys, pa.int64())


def _table(path: Path) -> pa.Table:
    import pyarrow.csv as pcsv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise CellsError(f"There is no table of tokens {path}.")
    with reading(path, "a table of tokens"):
        if path.suffix == ".parquet":
            return pq.read_table(path)
        delimiter = "\t" if path.suffix in (".tsv", ".txt") else ","
        return pcsv.read_csv(path, parse_options=pcsv.ParseOptions(delimiter=delimiter))


# --------------------------------------------------------------------------- counts


def _batch() -> int:
    return next(iter(spans(1 << 30, _PER_CELL)))[1]


def _parts(file: Path, lists: _Lists, barcodes: Sequence[str]) -> Iterator[Part]:
    import pyarrow.parquet as pq

    first = 0
    with reading(file, "Parquet"), pq.ParquetFile(file) as opened:
        for batch in opened.iter_batches(batch_size=_batch(), columns=[lists.genes, lists.counts]):
            own = barcodes[first : first + len(batch)]
            yield first, _matrix(file, batch[lists.genes], batch[lists.counts], lists, own)
            first += len(batch)


def _matrix(file: Path, genes: pa.Array, counts: pa.Array, lists: _Lists, barcodes: Sequence[str]) -> Any:
    """Cells x features of one batch."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from scipy.sparse import csr_array

    lengths = [pc.fill_null(pc.list_value_length(column), -1).to_numpy(False) for column in (genes, counts)]
    wrong = (lengths[0] != lengths[1]) | (lengths[0] < 0)
    if wrong.any():
        at = int(wrong.argmax())
        raise CellsError(
            f"{file}: cell {barcodes[at]!r} has {max(0, lengths[0][at])} {lists.genes} and {max(0, lengths[1][at])} "
            f"{lists.counts}. Each gene needs one count; correct the file."
        )
    row = np.repeat(np.arange(len(genes)), lengths[0])
    values = pc.list_flatten(counts).to_numpy(False)  # a missing value becomes NaN, which is refused
    given = pc.list_flatten(genes)
    if lists.keys.type == pa.int64():
        given = given.cast(pa.int64())
    found = pc.fill_null(pc.index_in(given, value_set=lists.keys), -1).to_numpy(False)
    unknown = found < 0
    if unknown.any() and not pa.types.is_string(lists.keys.type):
        # Some data sets put a marker of the cell ([CLS], with a negative value) before the genes.
        starts = np.zeros(len(row), bool)
        starts[np.flatnonzero(np.diff(row, prepend=-1))] = True
        marker = unknown & starts & (values < 0)
        row, values, found = row[~marker], values[~marker], found[~marker]
        given, unknown = given.filter(pa.array(~marker)), unknown[~marker]
    if unknown.any():
        at = int(unknown.argmax())
        raise CellsError(
            f"{file}: cell {barcodes[row[at]]!r} has token {given[at].as_py()}, which the table of tokens lacks. Give "
            "the table of this data set."
        )
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(genes)))])
    # Arrow's memory is read-only, and rows are sorted in place.
    matrix = csr_array((values, found, indptr), shape=(len(genes), len(lists.keys)), copy=True)
    _check_once(file, matrix, lists, barcodes)
    return matrix


def _check_once(file: Path, matrix: csr_array[Any, Any], lists: _Lists, barcodes: Sequence[str]) -> None:
    """Refuse a gene that stands twice in a cell: which count is meant cannot be told."""
    matrix.sort_indices()
    same: npt.NDArray[np.bool_] = np.diff(matrix.indices) == 0
    ends = matrix.indptr[1:-1] - 1
    same[ends[(ends >= 0) & (ends < len(same))]] = False
    if same.any():
        at = int(same.argmax())
        cell = int(np.searchsorted(matrix.indptr, at, side="right")) - 1
        raise CellsError(
            f"{file}: cell {barcodes[cell]!r} has gene {lists.keys[int(matrix.indices[at])].as_py()} twice. "
            "Correct the file."
        )
