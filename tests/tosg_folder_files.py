"""OmniCellTOSG folders: expanded matrices whose values encode their place, metadata, edges, names and embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GENES = 6
SOURCE = "cellxgene_brain"


def layout(genes: int, seed: int = 0, spare: int = 3) -> list[list[int]]:
    """Columns of each gene among the transcripts, neither together nor in order; some transcripts have no gene."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, genes)
    places = iter(rng.permutation(int(sizes.sum()) + spare).tolist())
    return [[next(places) for _ in range(size)] for size in sizes]


def counts(cells: int, genes: int) -> np.ndarray:
    """Cell k has 100 * k + g of gene g, but none of the gene k % genes."""
    found = 100 * np.arange(cells)[:, None] + np.arange(genes)
    found[np.arange(cells), np.arange(cells) % genes] = 0
    return found.astype(np.int32)


def expanded(values: np.ndarray, columns: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Each gene's counts copied to all its columns."""
    matrix = np.zeros((len(values), width), np.float32)
    for gene, own in enumerate(columns):
        matrix[:, list(own)] = values[:, [gene]]
    return matrix


def write_graph(
    folder: Path, transcripts: int, proteins: int = 4, seed: int = 0, dtype: str = "int64"
) -> None:
    """Names, embeddings, and edges in no order; the last protein has none."""
    rng = np.random.default_rng(seed)
    ids = [f"BMGC_TS{k:06d}" for k in range(1, transcripts + 1)] + [
        f"BMGC_PT{k:06d}" for k in range(1, proteins + 1)
    ]
    key = "BioMedGraphica_Conn_ID"
    pd.DataFrame({key: ids, "Name": [f"n{k}" for k in range(len(ids))]}).to_csv(
        folder / "s_name.csv", index=False
    )
    said = [f"said {k}" if k % 2 else None for k in range(len(ids))]
    pd.DataFrame({key: ids, "Description": said}).to_csv(folder / "s_desc.csv", index=False)
    kinds = ["Transcript"] * transcripts + ["Protein"] * proteins
    pd.DataFrame({key: ids, "Sequence": "AUG", "Type": kinds}).to_csv(folder / "s_bio.csv", index=False)
    internal = np.stack([rng.permutation(transcripts)[:3], transcripts + rng.integers(0, proteins - 1, 3)])
    pairs = [(a, b) for a in range(proteins - 1) for b in range(a, proteins - 1)]
    both = [*pairs, *((b, a) for a, b in pairs if a != b)]
    ppi = transcripts + np.array(both, dtype).T[:, rng.permutation(len(both))]
    edges = np.concatenate([internal, ppi], axis=1)[:, rng.permutation(3 + len(both))]
    for name, index in (("edge_index", edges), ("internal_edge_index", internal), ("ppi_edge_index", ppi)):
        np.save(folder / f"{name}.npy", index.astype(dtype))
    for name in ("name", "desc", "bio"):
        np.save(folder / f"x_{name}_emb.npy", rng.normal(size=(len(ids), 1)).astype(np.float32))


def write_cells(
    folder: Path,
    metadata: Mapping[str, Sequence[Any]],
    values: np.ndarray,
    columns: Sequence[Sequence[int]],
    width: int,
    shards: int = 2,
) -> None:
    """Matrices, and the metadata in another order than theirs."""
    (folder / "expression_matrix").mkdir()
    files: list[str] = []
    rows: list[int] = []
    for number, part in enumerate(np.array_split(expanded(values, columns, width), min(shards, len(values)))):
        name = f"{SOURCE}_part_{number}.npy"
        np.save(folder / "expression_matrix" / name, part)
        files += [name] * len(part)
        rows += range(len(part))
    table = pd.DataFrame({**metadata, "matrix_file_path": files, "matrix_row_idx": rows})
    order = np.random.default_rng(1).permutation(len(table))
    table.iloc[order].to_parquet(folder / "cell_metadata_with_mappings.parquet", index=False)
    index = pd.DataFrame({"gene_name": [f"G{k}" for k in range(len(columns))]})
    index["indices"] = [";".join(map(str, own)) for own in columns]
    index.to_csv(folder / "bmg_gene_index.csv", index=False)


def metadata(cells: int, **changes: Sequence[Any]) -> dict[str, Sequence[Any]]:
    """Two studies of twelve donors each, half of them ill, two cell types, both sexes: every combination has cells."""
    donor = [k % 24 for k in range(cells)]
    found: dict[str, Sequence[Any]] = {
        "source": ["CellxGene"] * cells,
        "dataset_id": [f"study{d % 2}" for d in donor],
        "tissue_general": ["Brain" if k % 5 else "brain" for k in range(cells)],
        "tissue": ["cortex"] * cells,
        "suspension_type": ["nucleus"] * cells,
        "assay": ["10x 3' v3"] * cells,
        "donor_id": [f"d{d}" for d in donor],
        "CMT_id": [f"CMT{k // 24 % 2}" for k in range(cells)],
        "CMT_name": [("astrocyte", "microglia")[k // 24 % 2] for k in range(cells)],
        "disease": ["raw"] * cells,
        "disease_BMG_name": [("normal", "Alzheimer's Disease")[d // 2 % 2] for d in donor],
        "development_stage_category": ["aged"] * cells,
        "sex_normalized": [("female", "male")[d // 4 % 2] for d in donor],
        "is_pretrain_data": [False] * cells,
    }
    return {**found, **changes}


def write(
    folder: Path, cells: int = 240, genes: int = GENES, seed: int = 0, **changes: Sequence[Any]
) -> Path:
    """A whole folder."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = layout(genes, seed)
    width = sum(map(len, columns)) + 3
    write_cells(folder, metadata(cells, **changes), counts(cells, genes), columns, width)
    write_graph(folder, width, seed=seed)
    return folder
