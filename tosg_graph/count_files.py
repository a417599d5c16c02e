"""A matrix of raw counts as a file for other programs: ``.h5ad``, a 10x folder, or Parquet.

Counts are written chunk by chunk, and nothing stands under the final name before it is complete. The same matrix gives
the same bytes.
"""

from __future__ import annotations

import gzip
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.bundle import new_bundle, new_file
from tosg_graph.errors import ExportError

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import pyarrow as pa
    from scipy.sparse import csr_array

_MATRIX_MARKET = "%%MatrixMarket matrix coordinate integer general\n"
_ANTIBODIES = "Antibody Capture"  # feature type of 10x Genomics
_PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@dataclass(frozen=True)
class CountMatrix:
    """Raw counts with what their rows and columns are.

    Parameters
    ----------
    names
        Name of each row; unique.
    obs
        One row per row of the counts.
    features
        One row per column of the counts: ``name`` (unique: the symbol, or what it was measured under), ``gene_id``,
        ``symbol`` (both null where the feature is no known gene), ``feature`` (name on the axis), ``axis_column``; of
        proteins also ``protein_id``.
    chunks
        Each call reads the counts from the start: int32 or int64 CSR, some rows at a time.
    facts
        What a reader of the file should know.
    """

    names: list[str]
    obs: pa.Table
    features: pa.Table
    chunks: Callable[[], Iterator[csr_array[Any, Any]]]
    facts: dict[str, str]


def feature_table(axis: pa.Table) -> pa.Table:
    """Return the features of a gene axis as `CountMatrix.features`, in the order of its columns."""
    import pyarrow as pa

    features, symbols = axis["feature"].to_pylist(), axis["symbol"].to_pylist()
    names = [symbol or feature for symbol, feature in zip(symbols, features, strict=True)]
    times = Counter(names)
    names = [f if times[n] > 1 else n for n, f in zip(names, features, strict=True)]
    # A feature may be called what is the symbol of another; on the axis, each feature stands once.
    names = names if len(set(names)) == len(names) else features
    table = pa.table(
        {
            "name": names,
            "gene_id": axis["gene_id"],
            "symbol": axis["symbol"],
            "feature": axis["feature"],
            "axis_column": axis["column"],
        }
    )
    return (
        table.append_column("protein_id", axis["protein_id"]) if "protein_id" in axis.column_names else table
    )


def as_anndata(matrix: CountMatrix, X: Any = None, **parts: Any) -> anndata.AnnData:
    """Return obs and var with all columns, the facts in ``uns``, and further ``parts`` of AnnData, such as ``varp``.

    Raises
    ------
    ExportError
        If a column has a name that AnnData cannot hold.
    """
    import anndata

    genes = frame(matrix.features.drop(["name"]), matrix.features["name"].to_pylist())
    odd = [name for name in matrix.obs.column_names if "/" in name or name == "_index"]
    if odd:
        raise ExportError(
            f"The column {odd[0]!r} has a name that .h5ad cannot hold. Choose --format parquet."
        )
    # What 10x files call it, and what scanpy and our own reader look for.
    genes = genes.rename(columns={"gene_id": "gene_ids"})
    if _of_proteins(matrix):  # so that nobody takes them for genes
        genes["feature_types"] = _ANTIBODIES
    return anndata.AnnData(
        X, obs=frame(matrix.obs, matrix.names), var=genes, **{"uns": dict(matrix.facts), **parts}
    )


def write_h5ad(matrix: CountMatrix, out: Path, **parts: Any) -> None:
    """Write AnnData: ``X`` as CSR of raw counts, chunk by chunk, and what `as_anndata` says.

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written, or a column has a name that AnnData cannot hold.
    """
    import h5py
    from anndata.io import sparse_dataset, write_elem

    whole = as_anndata(matrix, **parts)
    with new_file(out) as path:
        whole.write_h5ad(path)
        with h5py.File(path, "r+") as file:
            for number, chunk in enumerate(matrix.chunks()):
                if number:
                    sparse_dataset(file["X"]).append(chunk)
                else:
                    file.pop("X", None)
                    write_elem(file, "X", chunk, dataset_kwargs=_PACKED)


def write_mtx(matrix: CountMatrix, out: Path) -> None:
    """Write a folder as Cell Ranger 3 does (matrix, barcodes, features), and ``cells.parquet`` with all columns.

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written, or a feature has a tab or a line break in its name.
    """
    import pyarrow.parquet as pq

    features = matrix.features
    odd = [n for n in features["name"].to_pylist() if set(n) & set("\t\r\n")]
    if odd:
        raise ExportError(f"The feature {odd[0]!r} has a tab or a line break. Choose --format h5ad.")
    with new_bundle(out) as folder:
        of = "protein_id" if _of_proteins(matrix) else "gene_id"
        ids = [g or f for g, f in zip(*(features[c].to_pylist() for c in (of, "feature")), strict=True)]
        kinds = [_ANTIBODIES if _of_proteins(matrix) else "Gene Expression"] * len(ids)
        _write_lines(folder / "features.tsv.gz", zip(ids, features["name"].to_pylist(), kinds, strict=True))
        _write_lines(folder / "barcodes.tsv.gz", ((name,) for name in matrix.names))
        body = folder / "body.gz"
        stored = _write_coordinates(matrix, body)
        # Two members of gzip, one after the other, are one file: the number of counts is known at the end only.
        with (folder / "matrix.mtx.gz").open("wb") as file:
            head = f"{_MATRIX_MARKET}{len(features)} {len(matrix.names)} {stored}\n"
            file.write(gzip.compress(head.encode(), mtime=0))
            with body.open("rb") as counts:
                shutil.copyfileobj(counts, file)
        body.unlink()
        pq.write_table(_named(matrix), folder / "cells.parquet", compression="zstd")


def write_lists(matrix: CountMatrix, out: Path) -> None:
    """Write a folder of Parquet: ``cells.parquet`` with lists ``genes`` and ``counts`` per cell, and ``genes.parquet``.

    ``genes`` holds rows of ``genes.parquet``, ascending.

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written, or a column of the cells has the name of a list.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    taken = {"genes", "counts"} & set(matrix.obs.column_names)
    if taken:
        raise ExportError(
            f"The cells have a column {min(taken)!r}, the name of a list. Choose --format h5ad."
        )
    obs, start = _named(matrix), 0
    with new_bundle(out) as folder:
        features = matrix.features.add_column(0, "gene", pa.array(range(len(matrix.features)), pa.int32()))
        pq.write_table(features, folder / "genes.parquet", compression="zstd")
        with _Rows(folder / "cells.parquet") as rows:
            for chunk in matrix.chunks():
                lists = {
                    name: pa.ListArray.from_arrays(pa.array(chunk.indptr, pa.int32()), pa.array(values))
                    for name, values in (("genes", chunk.indices), ("counts", chunk.data))
                }
                part = obs.slice(start, chunk.shape[0])
                for name, values in lists.items():
                    part = part.append_column(name, values)
                rows.write(part)
                start += chunk.shape[0]


def write_long(matrix: CountMatrix, out: Path) -> None:
    """Write one Parquet file, a row per count above zero: the columns of obs and of its feature, ``count`` (int64).

    Raises
    ------
    ExportError
        If ``out`` exists or cannot be written, or a column of obs has the name of one of the features.
    """
    import pyarrow as pa

    features, start = matrix.features.select(["gene_id", "symbol", "feature"]), 0
    taken = {*features.column_names, "count"} & set(matrix.obs.column_names)
    if taken:
        raise ExportError(
            f"The groups have a column {min(taken)!r}, as the features do. Write .h5ad instead."
        )
    with new_file(out) as path, _Rows(path) as rows:
        for chunk in matrix.chunks():
            row = start + np.repeat(np.arange(chunk.shape[0]), np.diff(chunk.indptr))
            part = matrix.obs.take(pa.array(row))
            for name in features.column_names:
                part = part.append_column(name, features[name].take(pa.array(chunk.indices)))
            rows.write(part.append_column("count", pa.array(chunk.data, pa.int64())))
            start += chunk.shape[0]


# --------------------------------------------------------------------------- inside


def _of_proteins(matrix: CountMatrix) -> bool:
    return "protein_id" in matrix.features.column_names


class _Rows:
    """A Parquet file that takes its schema from the first table written to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def write(self, table: pa.Table) -> None:
        import pyarrow.parquet as pq

        self._writer = self._writer or pq.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table)

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._writer is not None:
            self._writer.close()


def _named(matrix: CountMatrix) -> pa.Table:
    """The cells, with the names of the rows first where no column holds them."""
    import pyarrow as pa

    held = "cell_id" in matrix.obs.column_names
    return matrix.obs if held else matrix.obs.add_column(0, "name", pa.array(matrix.names, pa.string()))


def frame(table: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return columns as AnnData stores them: text as categories, numbers and truth that may be missing as such."""
    import pandas as pd
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for field in table.schema:
        values, kind = table[field.name], field.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            texts = [None if v is None else " ".join(map(str, v)) for v in values.to_pylist()]
            columns[field.name] = pd.Categorical(texts)
        elif pa.types.is_integer(kind) and values.null_count:
            columns[field.name] = pd.array(values.to_pylist(), dtype="Int64")
        elif pa.types.is_boolean(kind) and values.null_count:
            columns[field.name] = pd.array(values.to_pylist(), dtype="boolean")
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            columns[field.name] = values.to_numpy()
        else:
            columns[field.name] = pd.Categorical(values.to_pylist())
    return pd.DataFrame(columns, index=pd.Index(list(names), dtype=object))


def _write_lines(path: Path, rows: Iterator[tuple[str, ...]]) -> None:
    with path.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as file:
        for row in rows:
            file.write(("\t".join(row) + "\n").encode())


def _write_coordinates(matrix: CountMatrix, path: Path) -> int:
    """Write ``feature cell count`` lines, counted from 1, cell by cell; return their number."""
    import pyarrow as pa
    from pyarrow import csv

    plain = csv.WriteOptions(include_header=False, delimiter=" ")
    stored = start = 0
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as file,
    ):
        for chunk in matrix.chunks():
            cell = start + 1 + np.repeat(np.arange(chunk.shape[0]), np.diff(chunk.indptr))
            lines = pa.table({"gene": chunk.indices + 1, "cell": cell, "count": chunk.data})
            csv.write_csv(lines, file, plain)
            stored += chunk.nnz
            start += chunk.shape[0]
    return stored
