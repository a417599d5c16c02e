"""10x Genomics HDF5 matrices: ``matrix`` (CellRanger 3 and later) or one group per genome (CellRanger 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.cell_chunks import Compressed, checked, reading
from loaders.cell_names import Features, gene_features, something, texts, unique
from loaders.cells_h5ad import obs_table
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_KIND = "10x HDF5"
_COLUMNS = {"barcodes", "data", "indices", "indptr"}


def read(path: Path, layer: str | None = None, *, proteins: str | None = None) -> MeasuredCells:
    """Read one ``.h5`` file of CellRanger.

    Parameters
    ----------
    layer
        Feature type (``Gene Expression``) of a file that has several; the genome of a file of CellRanger 2 that has
        several.
    proteins
        See `loaders.cell_names.gene_features`.

    Raises
    ------
    CellsError
        If the file cannot be read or is of another kind, holds no cells or genes, repeats a barcode or feature, has
        several feature types or genomes of which none is chosen, or its parts do not fit together. Values that are no
        raw counts are refused when their chunk is read.
    """
    with reading(path, _KIND):
        import h5py
        import pandas as pd

        with h5py.File(path, "r") as file:
            name = _group(file, path, layer)
            group = file[name]
            barcodes = texts(group["barcodes"][:])
            found = _features(group, path, layer if name == "matrix" else None, proteins)
            shape = _shape(group, path, len(barcodes))
            Compressed.of(group, shape, f"{path}, {name}")
        something(path, len(barcodes), len(found.names))
        unique(path, "barcode", barcodes)
        obs = obs_table(pd.DataFrame(index=range(len(barcodes))))

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with reading(path, _KIND), h5py.File(path, "r") as file:
            matrix = Compressed.of(file[name], shape, f"{path}, {name}")
            names = found.names + found.proteins
            yield from checked(matrix.rows(), barcodes, names, f"{path}, {name}", columns=found.columns)

    return MeasuredCells(barcodes, found.names, found.ids, obs, chunks, found.note, found.proteins)


def feature_types(path: Path) -> dict[str, int]:
    """How many features of each type a file of CellRanger 3 or later has."""
    from collections import Counter

    with reading(path, _KIND):
        import h5py

        with h5py.File(path, "r") as file:
            return dict(Counter(texts(file["matrix/features/feature_type"][:])))


def _group(file: Any, path: Path, layer: str | None) -> str:
    if "matrix" in file and set(file["matrix"]) >= {"features", *_COLUMNS}:
        return "matrix"
    genomes = [
        name for name, held in file.items() if set(getattr(held, "keys", list)()) >= {"genes", *_COLUMNS}
    ]
    if not genomes:
        kind = " It looks like AnnData: name it .h5ad." if {"X", "obs"} <= set(file) else ""
        raise CellsError(
            f"{path} is no {_KIND}: it has {', '.join(sorted(file)) or 'nothing'}, but no matrix with features and no "
            f"genome.{kind}"
        )
    if layer is None and len(genomes) > 1:
        raise CellsError(f"{path} holds several genomes: {', '.join(genomes)}. Choose one by --layer.")
    if layer not in (None, *genomes):
        raise CellsError(f"{path} has no genome {layer!r}. It has {', '.join(genomes)}.")
    return layer or genomes[0]


def _features(group: Any, path: Path, layer: str | None, proteins: str | None) -> Features:
    if "genes" in group:  # CellRanger 2
        return gene_features(path, texts(group["genes"][:]), texts(group["gene_names"][:]))
    held = group["features"]
    types = texts(held["feature_type"][:]) if "feature_type" in held else None
    return gene_features(path, texts(held["id"][:]), texts(held["name"][:]), types, layer, proteins)


def _shape(group: Any, path: Path, cells: int) -> tuple[int, int]:
    """Cells x all features, checked against ``shape``, which 10x writes as features x cells."""
    held = group["genes"] if "genes" in group else group["features/id"]
    stated = tuple(int(n) for n in group["shape"][:])
    if stated != (len(held), cells):
        raise CellsError(
            f"{path}: the matrix is {' x '.join(map(str, stated))}, but the file names {len(held)} features and "
            f"{cells} barcodes. Fetch the file again."
        )
    return cells, len(held)
