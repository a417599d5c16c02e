"""The abundance of a bundle: shards of cells in their order, each a file of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS
from tosg_graph.diagnostics import rows_of
from tosg_graph.layers import GENE, PROTEIN
from tosg_graph.normalise import normalised
from tosg_graph.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.bundle_features import Joined
    from tosg_graph.correction import Fitting
    from tosg_graph.export import Measured

UNPICKED = "unpicked genes"  # of the totals
SHARD_CELLS = 8192  # cells per file: bounds memory, and the number of scans of the store


def write_shards(
    cells: pa.Table,
    joined: Joined,
    measured: Measured,
    folder: Path,
    progress: Progress,
    fitting: Fitting | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """One safetensors file per shard; returns what each holds, and the sum of all counts by layer.

    ``fitting`` sees the training cells as they pass.
    """
    import numpy as np

    from tosg_graph.abundance import CHUNKS_HELD

    columns = joined.columns
    shards: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    asked = ((rows["cell_id"].to_pylist(), columns) for *_, rows in _shard_rows(cells))
    matrices = measured.engine.map(measured.counts, asked, at_most=CHUNKS_HELD)
    totals = {GENE: 0, UNPICKED: 0, PROTEIN: 0}
    (folder / "abundance").mkdir()
    for split, number, start, rows in _shard_rows(cells):
        progress("Writing abundance", start, len(cells))
        matrix = next(matrices)
        matrix.sort_indices()
        unpicked = {}
        if joined.unpicked is not None:
            matrix, others = matrix[:, : len(joined.genes)], matrix[:, len(joined.genes) :]
            unpicked = _compressed(others, "unpicked_")
            totals[UNPICKED] += int(others.data.sum(dtype=np.int64))
        name = f"abundance/{split}-{number:05d}.safetensors"
        tensors = {
            **_compressed(matrix),
            "n_counts": rows["n_counts"].to_numpy().astype(np.int64),
        }
        of_proteins = joined.proteins.shard(rows) if joined.proteins else {}
        bundle.write_tensors({**tensors, **unpicked, **of_proteins}, folder / name)
        if fitting and split == "train":
            fitting.add(normalised(matrix, tensors["n_counts"]))
        totals[GENE] += int(matrix.data.sum(dtype=np.int64))
        totals[PROTEIN] += int(of_proteins["protein_data"].sum(dtype=np.int64)) if of_proteins else 0
        shards[split].append(
            {"file": name, "first_row": start, "cells": len(rows), "nonzeros": int(matrix.nnz)}
        )
    progress("Writing abundance", len(cells), len(cells))
    return shards, totals


def _compressed(matrix: csr_array[Any, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Tensors of compressed rows."""
    parts = {"indptr": "int64", "indices": "int32", "data": "int32"}
    return {f"{prefix}{name}": getattr(matrix, name).astype(kind) for name, kind in parts.items()}


def _shard_rows(cells: pa.Table) -> Iterator[tuple[str, int, int, pa.Table]]:
    """``(split, number, first row, rows)`` of each shard."""
    start = 0
    for split in SPLITS:
        size = len(rows_of(cells, split))
        for number, first in enumerate(range(0, size, SHARD_CELLS)):
            length = min(SHARD_CELLS, size - first)
            yield split, number, start + first, cells.slice(start + first, length)
        start += size
