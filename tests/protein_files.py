"""Files of cells with surface proteins in every format that has any; counts encode their place."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import anndata
import cell_files
import numpy as np
import pandas as pd
from scipy.io import mmwrite
from scipy.sparse import coo_matrix, csr_matrix

GENES, PROTEINS = 4, 3
NAMES = ["G0_TotalSeqB", "G2", "IgG1_control"]  # of proteins of ToyGraph's genes, and a control


def genes(cells: int) -> np.ndarray:
    """100 * cell + gene."""
    return np.array([[100 * cell + gene for gene in range(GENES)] for cell in range(cells)])


def proteins(cells: int) -> np.ndarray:
    """1000 * cell + 10 * protein; protein 0 has no count in any even cell."""
    found = np.array([[1000 * cell + 10 * p for p in range(PROTEINS)] for cell in range(cells)])
    found[::2, 0] = 0
    return found


def adata(cells: int, matrix: Any = csr_matrix) -> anndata.AnnData:
    data = anndata.AnnData(matrix(genes(cells).astype("float32")))
    data.obs_names = [f"c{k}" for k in range(cells)]
    data.var_names = [f"G{g}" for g in range(GENES)]
    return data


def write(data: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.write(path)
    return path


def in_obsm(
    folder: Path, cells: int, values: Any = None, key: str = "protein_expression", names: Any = NAMES
) -> Path:
    data = adata(cells)
    data.obsm[key] = proteins(cells).astype("float64") if values is None else values
    if names is not None:
        data.uns["protein_names"] = np.array(names)
    return write(data, folder / "study.h5ad")


def as_frame(folder: Path, cells: int) -> Path:
    frame = pd.DataFrame(proteins(cells), columns=NAMES, index=adata(cells).obs_names)
    return in_obsm(folder, cells, frame, names=None)


def among_features(folder: Path, cells: int) -> Path:
    both = np.concatenate([proteins(cells)[:, :1], genes(cells), proteins(cells)[:, 1:]], axis=1)
    data = anndata.AnnData(csr_matrix(both.astype("float32")))
    data.obs_names = [f"c{k}" for k in range(cells)]
    data.var_names = [
        NAMES[0],
        *(f"G{g}" for g in range(GENES)),
        *(f"{n}_" if n == "G2" else n for n in NAMES[1:]),
    ]
    data.var["feature_types"] = ["Antibody Capture", *["Gene Expression"] * GENES, *["Antibody Capture"] * 2]
    return write(data, folder / "study.h5ad")


def joined(rna: anndata.AnnData, prot: anndata.AnnData) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what will change
        from mudata import MuData

        return MuData({"rna": rna, "prot": prot})


def mudata(folder: Path, cells: int, rows: list[int] | None = None, matrix: Any = np.asarray) -> Path:
    """Proteins of the cells ``rows`` only, in that order."""
    rows = list(range(cells)) if rows is None else rows
    prot = anndata.AnnData(matrix(proteins(cells)[rows].astype("float32")))
    prot.obs_names = [f"c{k}" for k in rows]
    prot.var_names = [*NAMES[:1], "G2-prot", *NAMES[2:]]
    data = joined(adata(cells), prot)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.obs["donor"] = [f"d{name}" for name in data.obs_names]
    return write(data, folder / "study.h5mu")


def _both(cells: int) -> cell_files.Cells:
    return cell_files.Cells(np.concatenate([proteins(cells), genes(cells)], axis=1))


_TYPES = ["Antibody Capture"] * PROTEINS + ["Gene Expression"] * GENES
_SYMBOLS = [*NAMES, *(f"G{g}" for g in range(GENES - 1)), "G3"]


def ten_x(folder: Path, cells: int, types: list[str] = _TYPES) -> Path:
    symbols = [f"{n}-prot" if n == "G2" else n for n in _SYMBOLS[:PROTEINS]] + _SYMBOLS[PROTEINS:]
    return cell_files.write_10x_v3(folder, _both(cells), types, symbols=symbols)


def mtx(folder: Path, cells: int) -> Path:
    both = _both(cells)
    place = folder / "mtx"
    place.mkdir()
    mmwrite(str(place / "matrix.mtx"), coo_matrix(both.counts.T))
    lines = {
        "barcodes": [f"c{k}-1" for k in range(cells)],
        "features": ["\t".join(row) for row in zip(both.ids, _SYMBOLS, _TYPES, strict=True)],
    }
    for name, held in lines.items():
        with gzip.open(place / f"{name}.tsv.gz", "wt") as file:
            file.write("\n".join(held) + "\n")
    return place
