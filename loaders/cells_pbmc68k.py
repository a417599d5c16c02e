"""The 700 blood cells that scanpy ships, with counts reconstructed from its normalised values."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from loaders.cells_h5ad import obs_table
from loaders.raw_counts import checked_counts
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells


def packaged_file() -> Path:
    """Path of the file inside the installed scanpy.

    Raises
    ------
    CellsError
        If scanpy is not installed with its data.
    """
    try:
        listed = [f for f in files("scanpy") or () if f.name == "10x_pbmc68k_reduced.h5ad"]
    except PackageNotFoundError:
        listed = []
    if not listed:
        raise CellsError(
            "scanpy is installed without its data set 10x_pbmc68k_reduced.h5ad. Install scanpy again."
        )
    return Path(str(listed[0].locate()))


def read(path: Path, layer: str | None = None) -> MeasuredCells:
    """Read the file, 700 cells at once.

    ``raw.X`` is log1p of counts per 10,000, and ``obs.n_counts`` the sum it was scaled by, so
    ``expm1(raw.X) * n_counts / 10000`` is a whole number up to rounding; 765 genes of each cell are in the file.

    Raises
    ------
    CellsError
        If a value is further than 0.1 from a whole number.
    """
    import anndata
    import numpy as np
    from scipy.sparse import csr_array

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is of an older layout
        data = anndata.read_h5ad(path)
    values = csr_array(data.raw.X).astype(np.float64)
    scale = np.repeat(data.obs["n_counts"].to_numpy(np.float64) / 10_000, np.diff(values.indptr))
    exact = np.expm1(values.data) * scale
    whole = np.rint(exact)
    off = float(np.abs(exact - whole).max())
    if off > 0.1:
        raise CellsError(
            f"{path}: a reconstructed count is {off:.2g} from a whole number, at most 0.1 is expected."
        )
    barcodes, features = list(data.obs_names), list(data.raw.var_names)
    matrix = csr_array((whole, values.indices, values.indptr), shape=values.shape)
    counts = checked_counts(matrix, barcodes, features, str(path), [])
    return MeasuredCells(
        barcodes=barcodes,
        features=features,
        feature_ids=[None] * len(features),
        obs=obs_table(data.obs.rename(columns={"n_counts": "n_counts_whole_cell"})),
        chunks=lambda: iter([counts]),
        note=f"counts reconstructed from log1p of counts per 10,000; largest deviation from a whole number {off:.3f}",
    )
