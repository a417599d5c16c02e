"""The same counts written in every format that cells are read from, by the format's own library where there is one."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.io import mmwrite
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix


@dataclass(frozen=True)
class Cells:
    """Counts with their coordinates in them, unless given: 100 * cell + gene."""

    counts: np.ndarray

    @property
    def barcodes(self) -> list[str]:
        return [f"c{k}-1" for k in range(self.counts.shape[0])]

    @property
    def features(self) -> list[str]:
        return [f"G{g:05}" for g in range(self.counts.shape[1])]

    @property
    def ids(self) -> list[str]:
        return [f"ENSG{g:011}" for g in range(self.counts.shape[1])]


def coordinates(cells: int = 5, genes: int = 4) -> Cells:
    return Cells(np.array([[100 * cell + gene for gene in range(genes)] for cell in range(cells)]))


# --------------------------------------------------------------------------- AnnData


def adata(cells: Cells, matrix: Callable[[Any], Any] = csr_matrix, dtype: str = "float32") -> anndata.AnnData:
    obs = pd.DataFrame({"kind": [f"k{k % 2}" for k in range(len(cells.barcodes))]}, index=cells.barcodes)
    var = pd.DataFrame({"gene_ids": cells.ids}, index=cells.features)
    return anndata.AnnData(matrix(cells.counts.astype(dtype)), obs=obs, var=var)


def write_zarr(folder: Path, data: anndata.AnnData, format_: int = 2) -> Path:
    path = folder / "my.zarr"
    with warnings.catch_warnings(), anndata.settings.override(zarr_write_format=format_):
        warnings.simplefilter("ignore")
        data.write_zarr(path)
    return path


# --------------------------------------------------------------------------- 10x HDF5


def write_10x_v3(
    folder: Path,
    cells: Cells,
    types: list[str] | None = None,
    dtype: str = "int32",
    symbols: list[str] | None = None,
) -> Path:
    path, matrix = folder / "my.h5", csc_matrix(cells.counts.T.astype(dtype))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(cells.barcodes, "S18")
        _compressed(group, matrix)
        held = group.create_group("features")
        held["_all_tag_keys"] = np.array(["genome"], "S6")
        held["feature_type"] = np.array(types or ["Gene Expression"] * len(cells.features), "S24")
        held["genome"] = np.array(["GRCh38"] * len(cells.features), "S6")
        held["id"] = np.array(cells.ids, "S15")
        held["name"] = np.array(symbols or cells.features, "S15")
    return path


def write_10x_v2(folder: Path, cells: Cells, genomes: tuple[str, ...] = ("GRCh38",)) -> Path:
    path = folder / "my.h5"
    with h5py.File(path, "w") as file:
        for number, genome in enumerate(genomes):
            group = file.create_group(genome)
            group["barcodes"] = np.array(cells.barcodes, "S18")
            group["genes"] = np.array(cells.ids, "S15")
            group["gene_names"] = np.array(cells.features, "S15")
            _compressed(group, csc_matrix(cells.counts.T + number * (cells.counts.T > 0)))
    return path


def _compressed(group: h5py.Group, matrix: csc_matrix) -> None:
    group.create_dataset("data", data=matrix.data, compression="gzip")
    group.create_dataset("indices", data=matrix.indices.astype(np.int64), compression="gzip")
    group.create_dataset("indptr", data=matrix.indptr.astype(np.int64), compression="gzip")
    group["shape"] = np.array(matrix.shape, np.int32)


# --------------------------------------------------------------------------- Matrix Market


def write_mtx(
    folder: Path,
    cells: Cells,
    *,
    order: str = "C",
    transposed: bool = True,
    gz: bool = False,
    prefix: str = "",
    old: bool = False,
    field: str = "integer",
    types: list[str] | None = None,
) -> Path:
    """``order`` C: entries sorted by cell; F: by gene. ``transposed``: genes x cells, as 10x writes it."""
    row, column = np.indices(cells.counts.shape).reshape(2, -1, order=order)
    full = coo_matrix((cells.counts[row, column], (row, column)), shape=cells.counts.shape)
    full.data = full.data.astype(float) if field == "real" else full.data
    keep = full.data != 0
    matrix = coo_matrix((full.data[keep], (row[keep], column[keep])), shape=full.shape)
    mmwrite(
        folder / f"{prefix}matrix.mtx", matrix.T if transposed else matrix, field=field, symmetry="general"
    )
    kinds = types or ["Gene Expression"] * len(cells.features)
    rows = zip(cells.ids, cells.features, kinds, strict=True)
    lines = ["\t".join(row[:2] if old else row) for row in rows]
    name = f"{prefix}{'genes' if old else 'features'}.tsv"
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    (folder / f"{prefix}barcodes.tsv").write_text("".join(f"{b}\n" for b in cells.barcodes))
    if gz:
        for path in [folder / name, folder / f"{prefix}barcodes.tsv", folder / f"{prefix}matrix.mtx"]:
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return folder


# --------------------------------------------------------------------------- loom


def write_loom(folder: Path, cells: Cells, dtype: str = "int32", **columns: Any) -> Path:
    path, text = folder / "my.loom", h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=cells.counts.T.astype(dtype), chunks=True, compression="gzip")
        file.create_group("layers")
        file.create_group("attrs")["LOOM_SPEC_VERSION"] = "3.0.0"
        rows = file.create_group("row_attrs")
        rows.create_dataset("Gene", data=cells.features, dtype=text)
        rows.create_dataset("Accession", data=cells.ids, dtype=text)
        held = file.create_group("col_attrs")
        held.create_dataset("CellID", data=cells.barcodes, dtype=text)
        for name, values in columns.items():
            kind = text if np.asarray(values).dtype.kind in "UO" else None
            held.create_dataset(name, data=values, dtype=kind)
    return path


# --------------------------------------------------------------------------- lists


def lists(cells: Cells, keys: list[Any]) -> dict[str, list[Any]]:
    """Genes and counts of each cell, zeros left out."""
    rows = [[(keys[g], float(v)) for g, v in enumerate(row) if v] for row in cells.counts]
    return {
        "genes": [[k for k, _ in row] for row in rows],
        "expressions": [[v for _, v in row] for row in rows],
    }


def write_parquet(folder: Path, cells: Cells, tokens: bool = True, **columns: Any) -> Path:
    """Tokens as in Tahoe-100M: from 3 on, a marker (token 1, value -2) before the genes of each cell."""
    data = lists(cells, list(range(3, 3 + len(cells.features))) if tokens else cells.features)
    if tokens:
        data["genes"] = [[1, *genes] for genes in data["genes"]]
        data["expressions"] = [[-2, *values] for values in data["expressions"]]
        names = {
            "gene_symbol": cells.features,
            "ensembl_id": cells.ids,
            "token_id": range(3, 3 + len(cells.ids)),
        }
        pq.write_table(pa.table({k: pa.array(v) for k, v in names.items()}), folder / "gene_metadata.parquet")
    kinds = {"genes": pa.list_(pa.int64() if tokens else pa.string()), "expressions": pa.list_(pa.float32())}
    arrays = {name: pa.array(values, kinds[name]) for name, values in data.items()}
    path = folder / "train-00000-of-00001.parquet"
    table = pa.table({**arrays, "BARCODE_SUB_LIB_ID": cells.barcodes, **columns})
    pq.write_table(table, path, row_group_size=2)
    return folder


# --------------------------------------------------------------------------- OmniCellTOSG

COPIES = 3  # columns of every third gene; the others have one


def transcript_columns(genes: int) -> list[list[int]]:
    """Columns of each gene, neither together nor in order."""
    counts = [COPIES if gene % 3 == 0 else 1 for gene in range(genes)]
    places = iter(np.random.default_rng(0).permutation(sum(counts) + 5).tolist())
    return [[next(places) for _ in range(count)] for count in counts]


def expanded(cells: Cells) -> np.ndarray:
    """Each gene's counts copied to all its columns; five columns belong to no gene."""
    columns = transcript_columns(len(cells.features))
    matrix = np.zeros((len(cells.barcodes), sum(map(len, columns)) + 5), np.float32)
    for gene, own in enumerate(columns):
        matrix[:, own] = cells.counts[:, [gene]]
    return matrix


def write_omnicelltosg(folder: Path, cells: Cells, shards: int = 2) -> Path:
    """Rows of the metadata stand in another order than those of the matrices."""
    (folder / "expression_matrix").mkdir()
    files, rows = [], []
    for number, part in enumerate(np.array_split(expanded(cells), min(shards, max(1, len(cells.counts))))):
        name = f"cellxgene_small_intestine_part_{number}.npy"
        np.save(folder / "expression_matrix" / name, part)
        files += [name] * len(part)
        rows += range(len(part))
    obs = pd.DataFrame({"donor_id": [f"d{k}" for k in range(len(files))], "matrix_file_path": files})
    obs["matrix_row_idx"] = rows
    obs.iloc[::-1].to_parquet(folder / "cell_metadata_with_mappings.parquet", index=False)
    index = pd.DataFrame({"gene_name": cells.features})
    index["indices"] = [";".join(map(str, own)) for own in transcript_columns(len(cells.features))]
    index.to_csv(folder / "bmg_gene_index.csv", index=False)
    return folder


# --------------------------------------------------------------------------- all of them

WRITERS: dict[str, Callable[[Path, Cells], Path]] = {
    "10x v3": write_10x_v3,
    "10x v2": write_10x_v2,
    "mtx by cell": write_mtx,
    "mtx by gene": lambda folder, cells: write_mtx(folder, cells, order="F"),
    "mtx cells x genes": lambda folder, cells: write_mtx(folder, cells, transposed=False, field="real"),
    "mtx gzipped": lambda folder, cells: write_mtx(folder, cells, gz=True, old=True, prefix="GSM1_"),
    "loom": write_loom,
    "zarr 2 CSR": lambda folder, cells: write_zarr(folder, adata(cells)),
    "zarr 2 CSC": lambda folder, cells: write_zarr(folder, adata(cells, csc_matrix, "int64")),
    "zarr 2 dense": lambda folder, cells: write_zarr(folder, adata(cells, np.asarray)),
    "zarr 3 CSR": lambda folder, cells: write_zarr(folder, adata(cells), 3),
    "zarr 3 CSC": lambda folder, cells: write_zarr(folder, adata(cells, csc_matrix), 3),
    "zarr 3 dense": lambda folder, cells: write_zarr(folder, adata(cells, np.asarray, "uint32"), 3),
    "Parquet tokens": write_parquet,
    "Parquet names": lambda folder, cells: write_parquet(folder, cells, tokens=False),
    "OmniCellTOSG": write_omnicelltosg,
}
