"""The abundance of a bundle: shards of cells in their order, each a file of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS
from tosg_graph.bundle_counts import open_shard
from tosg_graph.bundle_draft import SHARDS, BundleDraft
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
    draft: BundleDraft,
    progress: Progress,
    fitting: Fitting | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """One safetensors file per shard that is not finished; returns what each holds, and the sum of all counts by layer.

    The files that say what is in the shards (cells, genes and so on) are there. ``fitting`` sees the training cells as
    they pass.
    """
    from tosg_graph.abundance import CHUNKS_HELD

    draft.resume(_inputs(measured), progress)
    planned = list(_shard_rows(cells))
    asked = (
        (rows["cell_id"].to_pylist(), joined.columns)
        for name, *_, rows in planned
        if name not in draft.finished
    )
    matrices = measured.engine.map(measured.counts, asked, at_most=CHUNKS_HELD)
    shards: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    totals = {GENE: 0, UNPICKED: 0, PROTEIN: 0}
    for name, split, start, rows in planned:
        progress("Writing abundance", start, len(cells))
        if name not in draft.finished:
            tensors = _tensors(next(matrices), rows, joined)
            draft.add(name, partial(bundle.write_tensors, tensors))
            del tensors
        # As it was written: a shard that a run before this one has finished is not told from another.
        shard = bundle.map_tensors(draft.folder / name)
        listed = {"file": name, "first_row": start, "cells": len(rows), "nonzeros": len(shard["data"])}
        shards[split].append(listed)
        for layer, counts in ((GENE, "data"), (UNPICKED, "unpicked_data"), (PROTEIN, "protein_data")):
            totals[layer] += int(shard[counts].sum(dtype="int64")) if counts in shard else 0
        if fitting and split == "train":
            _, counts_of_genes = open_shard(draft.folder / name, listed, len(joined.genes))
            fitting.add(normalised(counts_of_genes, shard["n_counts"]))
    progress("Writing abundance", len(cells), len(cells))
    return shards, totals


def _inputs(measured: Measured) -> dict[str, Any]:
    """What decides the bytes of the shards beside the other files of the bundle."""
    return {
        "store": {**asdict(measured.version), "counts_files": list(measured.counts_files)},
        "shard_cells": SHARD_CELLS,
        "format_version": bundle.FORMAT_VERSION,
        "software": bundle.software(),
    }


def _tensors(matrix: csr_array[Any, Any], rows: pa.Table, joined: Joined) -> dict[str, NDArray[Any]]:
    """Tensors of a shard, whose matrix holds the columns of ``joined``."""
    matrix.sort_indices()
    unpicked = {}
    if joined.unpicked is not None:
        matrix, others = matrix[:, : len(joined.genes)], matrix[:, len(joined.genes) :]
        unpicked = _compressed(others, "unpicked_")
    return {
        **_compressed(matrix),
        "n_counts": rows["n_counts"].to_numpy().astype("int64"),
        **unpicked,
        **(joined.proteins.shard(rows) if joined.proteins else {}),
    }


def _compressed(matrix: csr_array[Any, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Tensors of compressed rows."""
    parts = {"indptr": "int64", "indices": "int32", "data": "int32"}
    return {f"{prefix}{name}": getattr(matrix, name).astype(kind) for name, kind in parts.items()}


def _shard_rows(cells: pa.Table) -> Iterator[tuple[str, str, int, pa.Table]]:
    """``(file, split, first row, rows)`` of each shard."""
    start = 0
    for split in SPLITS:
        size = len(rows_of(cells, split))
        for number, first in enumerate(range(0, size, SHARD_CELLS)):
            length = min(SHARD_CELLS, size - first)
            name = f"{SHARDS}/{split}-{number:05d}.safetensors"
            yield name, split, start + first, cells.slice(start + first, length)
        start += size
