"""What an add says of a file: the hashes that it is known by, and the ledger of what became of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.gene_axis import AMBIGUOUS, FeatureGene
from tosg_graph.layers import PROTEIN
from tosg_graph.protein_axis import CONTROL, FeatureProtein
from tosg_graph.types import CHUNK_CELLS, CellsLedger, MeasuredCells, ProteinsLedger

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore


def file_hashes(store: AbundanceStore) -> dict[str, dict[str, Any]]:
    """Hash of a file -> its dataset in the store."""
    return {row["file_sha256"]: row for row in store.datasets().to_pylist() if row["file_sha256"]}


def files_sha256(path: Path, recipe: str) -> str:
    """Sha256 of the bytes of a file, or of all in a folder, and of how they are read: cheaper than reading counts."""
    whole = hashlib.sha256(recipe.encode())
    for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with part.open("rb") as file:
            whole.update(
                f"{part.relative_to(path)}\0".encode() + hashlib.file_digest(file, "sha256").digest()
            )
    return whole.hexdigest()


def described_sha256(measured: MeasuredCells, recipe: str) -> bytes:
    """Sha256 of barcodes, features, obs and how it is mapped; not of the file, whose bytes vary between writers."""
    import pyarrow as pa

    digest = hashlib.sha256(repr((measured.features, measured.feature_ids, recipe)).encode())
    if measured.proteins:
        digest.update(repr(list(measured.proteins)).encode())
        if measured.protein_cells is not None:
            digest.update(measured.protein_cells.tobytes())
    obs = measured.obs
    for start in range(0, len(measured.barcodes), CHUNK_CELLS):
        some = slice(start, start + CHUNK_CELLS)
        table = pa.table([measured.barcodes[some], *obs[some].columns], names=["", *obs.column_names])
        digest.update(repr(table.to_pydict()).encode())
    return digest.digest()


def axis_columns(features: Sequence[FeatureGene | FeatureProtein], axis: pa.Table) -> NDArray[np.int32]:
    """Columns of features on the axis of their layer."""
    import numpy as np

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    return np.array([column_of[f.key] for f in features], np.int32)


def cells_ledger(
    store: AbundanceStore,
    path: Path,
    features: Sequence[FeatureGene],
    proteins: Sequence[FeatureProtein],
    record: dict[str, Any],
    *,
    unmapped: pa.Table | None,
    already_present: bool,
) -> CellsLedger:
    """Account for a file that is in the store as the dataset ``record``."""
    return CellsLedger(
        dataset=record["dataset"],
        path=path,
        cells=record["cells"],
        genes_mapped=sum(f.gene_id is not None for f in features),
        own_axis_row=sum(f.gene_id is None for f in features),
        ambiguous=sum(f.rule == AMBIGUOUS for f in features),
        counts_file=record["counts"],
        counts_stored=record["counts"],
        already_present=already_present,
        mapping=_mapping_table(features, store.axis(), "gene_id"),
        unmapped=unmapped,
        proteins=_proteins_ledger(store, proteins, record) if proteins else None,
    )


def _proteins_ledger(
    store: AbundanceStore, proteins: Sequence[FeatureProtein], record: dict[str, Any]
) -> ProteinsLedger:
    import pyarrow as pa

    mapping = _mapping_table(proteins, store.axis(layer=PROTEIN), "protein_id")
    symbols = pa.array([f.symbol for f in proteins], pa.string())
    return ProteinsLedger(
        cells=record["protein_cells"],
        mapped=sum(f.protein_id is not None for f in proteins),
        controls=sum(f.rule == CONTROL for f in proteins),
        ambiguous=sum(f.rule == AMBIGUOUS for f in proteins),
        counts=record["protein_counts"],
        mapping=mapping.add_column(2, "symbol", symbols),
    )


def _mapping_table(
    features: Sequence[FeatureGene | FeatureProtein], axis: pa.Table, id_column: str
) -> pa.Table:
    import pyarrow as pa

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    return pa.table(
        {
            "feature": pa.array([f.feature for f in features], pa.string()),
            id_column: pa.array([getattr(f, id_column) for f in features], pa.string()),
            "rule": pa.array([f.rule for f in features], pa.string()),
            "candidates": pa.array([list(f.candidates) for f in features], pa.list_(pa.string())),
            "axis_column": pa.array([column_of.get(f.key) for f in features], pa.int32()),
        }
    )
