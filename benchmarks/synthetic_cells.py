"""Cells whose genes have the marginals of real ones, written a run at a time; no question of its own.

Each gene is detected as often as in real files, and a count of it is one that the files have of that gene; genes are
independent of each other, which real ones are not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

ROOT = Path(__file__).parent.parent
REAL = ("pbmc3k", "soupx_pbmc", "celltypist_sample", "scvi_pbmc_5k")  # human, whole counts
RUN = 1024  # cells made at a time
DISEASES = [f"disease {k}" for k in range(10)]
KINDS = [f"cell type {k:02d}" for k in range(30)]
ORGANS = ["blood", "brain", "lung", "skin"]


@dataclass(frozen=True)
class Marginals:
    """Of each gene: how often it is detected, and the counts where it is."""

    genes: list[str]
    detected: np.ndarray  # (genes,) 0 to 1
    counts: np.ndarray  # of all genes, one after the other
    starts: np.ndarray  # (genes + 1,) of each gene in counts
    origin: str

    def scaled(self, per_cell: float) -> Marginals:
        """As if cells were read deeper, or less deep: ``per_cell`` genes detected in a cell on average."""
        low, high = 1e-3, 1e3
        for _ in range(100):
            power = (low * high) ** 0.5
            low, high = (power, high) if self._at(power).sum() < per_cell else (low, power)
        return Marginals(self.genes, self._at(power), self.counts, self.starts, self.origin)

    def _at(self, power: float) -> np.ndarray:
        return 1 - (1 - np.minimum(self.detected, 0.9999)) ** power


def real_marginals() -> Marginals:
    """Marginals of the genes of the shared data, or fixed ones where it is missing; ``origin`` says which."""
    files = real_files()
    if files is None:
        return fixed_marginals()
    from loaders.cells_h5ad import read

    tested: dict[str, int] = {}
    found: dict[str, list[np.ndarray]] = {}
    for file in files:
        measured = read(file)
        for chunk in measured.chunks():
            by_gene = chunk.tocsc()
            for g, name in enumerate(measured.features):
                tested[name] = tested.get(name, 0) + chunk.shape[0]
                found.setdefault(name, []).append(by_gene.data[by_gene.indptr[g] : by_gene.indptr[g + 1]])
    held = {name: np.concatenate(parts) for name, parts in sorted(found.items())}
    held = {name: counts for name, counts in held.items() if len(counts)}
    detected = np.array([len(counts) / tested[name] for name, counts in held.items()])
    return _marginals(list(held), detected, list(held.values()), f"resampled from {', '.join(REAL)}")


def real_files() -> list[Path] | None:
    """The real files, or None where one is missing."""
    folder = Path(os.environ.get("TOSG_SHARED_DATA", ROOT.parent / "shared" / "data")) / "cells"
    files = [folder / f"{name}.h5ad" for name in REAL]
    return files if all(file.is_file() for file in files) else None


def fixed_marginals() -> Marginals:
    """A heavy tail of detection, and two counts in three are 1, as in real cells of 10x Genomics."""
    rng = np.random.default_rng(1)
    genes = [f"G{g:05d}" for g in range(20_000)]
    counts = np.minimum(rng.zipf(2.1, (len(genes), 50)), 2000).astype(np.int32)
    origin = "fixed: the shared data is missing"
    return _marginals(genes, rng.beta(0.15, 2.5, len(genes)), list(counts), origin)


def _marginals(genes: list[str], detected: np.ndarray, counts: list[np.ndarray], origin: str) -> Marginals:
    starts = np.concatenate([[0], np.cumsum([len(c) for c in counts])])
    return Marginals(genes, detected, np.concatenate(counts).astype(np.int32), starts, origin)


def write(
    path: Path, marginals: Marginals, cells: int, seed: int, level: int = 1, sorted_by: Sequence[str] = ()
) -> int:
    """Write ``cells`` cells as an .h5ad of today's layout, CSR, gzip; return the number of non-zero counts.

    Level 0 leaves gzip out. The cells are in no order, or sorted by columns of ``obs``, then by name.
    """
    import anndata

    rng = np.random.default_rng(seed)
    frame = obs(cells, rng)
    if sorted_by:
        frame = frame.sort_values(list(sorted_by), kind="stable")
    var = pd.DataFrame(index=pd.Index(marginals.genes))
    anndata.AnnData(obs=frame, var=var).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        file.pop("X", None)
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([cells, len(marginals.genes)])
        gzip = {"compression": "gzip", "compression_opts": level} if level else {}
        kept: dict[str, Any] = {**gzip, "maxshape": (None,)}
        data = group.create_dataset("data", (0,), "f4", chunks=(2**18,), **kept)
        indices = group.create_dataset("indices", (0,), "i4", chunks=(2**18,), **kept)
        lengths = []
        for start in range(0, cells, 8 * RUN):
            parts = [
                run(marginals, min(RUN, cells - at), rng)
                for at in range(start, min(start + 8 * RUN, cells), RUN)
            ]
            for dataset, held in ((data, 1), (indices, 2)):
                values = np.concatenate([part[held] for part in parts])
                dataset.resize((len(dataset) + len(values),))
                dataset[-len(values) :] = values
            lengths += [part[0] for part in parts]
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
        group["indptr"] = indptr
    return int(indptr[-1])


def run(
    marginals: Marginals, cells: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row lengths, counts and genes of some cells."""
    # 16 random bits decide: much faster than a float, and finer than any gene's rate is known.
    bits = np.frombuffer(rng.bytes(2 * cells * len(marginals.genes)), np.uint16)
    hit = bits.reshape(cells, -1) < np.rint(marginals.detected * 2**16).astype(np.uint16)
    _, gene = np.nonzero(hit)
    sizes = np.diff(marginals.starts)[gene]
    at = marginals.starts[gene] + (rng.random(len(gene), np.float32) * sizes).astype(np.int64)
    counts = marginals.counts[np.minimum(at, marginals.starts[gene + 1] - 1)]
    return hit.sum(axis=1), counts.astype(np.float32), gene.astype(np.int32)


def obs(cells: int, rng: np.random.Generator) -> pd.DataFrame:
    """Ten diseases of equal size, cell types of unequal, a hundred donors; in no order."""

    def column(values: list[str], codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical.from_codes(codes, values)

    donor = rng.integers(0, 100, cells)
    disease = rng.permutation(np.arange(cells) % len(DISEASES))
    kind = np.minimum(rng.geometric(0.12, cells) - 1, len(KINDS) - 1)
    return pd.DataFrame(
        {
            "organ": column(ORGANS, donor % len(ORGANS)),
            "disease": column(DISEASES, disease),
            "cell_type": column(KINDS, kind),
            "donor": column([f"donor {k:03d}" for k in range(100)], donor),
            "sex": column(["female", "male"], donor % 2),
            "assay": column(["10x 3' v2", "10x 3' v3"], donor % 2),
            "age_years": 20.0 + donor % 60,
            "batch": column([f"batch {k}" for k in range(8)], donor % 8),
            "percent_mito": rng.random(cells).astype(np.float32),
        },
        index=pd.Index([f"CELL{k:07d}-1" for k in range(cells)]),
    )


class Names:
    """Answers what an add of cells asks the graph, from the names used here: no server is part of the question."""

    def __init__(self, genes: list[str]) -> None:
        self._genes = genes

    def rows(self, statement: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of the statements that an add sends."""
        from tosg_graph.resources import cypher

        if statement == cypher("axis_genes"):
            nothing: dict[str, Any] = {"ensembl_id": None, "previous": [], "alias": []}
            return [{"id": f"HGNC:{k}", "symbol": name, **nothing} for k, name in enumerate(self._genes)]
        if statement == cypher("axis_proteins"):  # antibodies of real files stay without a protein
            return []
        kinds = {"Organ": ("UBERON", ORGANS), "Disease": ("MONDO", DISEASES), "CellType": ("CL", KINDS)}
        if "ids" in parameters:  # nothing lies below these terms
            return [{"ids": []}]
        prefix, names = kinds.get(parameters["label"], ("", []))
        return [{"id": f"{prefix}:{k}", "name": name, "synonyms": []} for k, name in enumerate(names)]
