"""Batches of ``benchmarks/training_feed.py`` from each loader; one process each.

``feed_readers.py READER WORK SECONDS`` prints one JSON object: cells per second, and the peak of resident memory in GB.
Every loader gives dense float32 ``(256, 2000)``, shuffled; where it shuffles in blocks, blocks and pools are as large
as ours.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 256
BLOCK = 256
POOL = 16_384
STREAM_POOL = 65_536
EPOCHS = 3  # the first opens and checks files
Epoch = Callable[[], Iterable[Any]]  # dense batches of one pass over the cells: tensor or array (B, genes)


def ours(work: Path, layer: Any = "counts") -> Epoch:
    from tosg_graph.dataset import TosgDataset

    feed = TosgDataset(work / "bundle", layer=layer).feed(
        BATCH, reuse=True, pool_cells=POOL, block_cells=BLOCK
    )
    return lambda: (batch.x for batch in feed)


def ours_log1p(work: Path) -> Epoch:
    return ours(work, "log1p")


def stream(work: Path) -> Epoch:
    from tosg_graph.dataset import TosgDataset

    data = TosgDataset(work / "light", store=work / "selected.store")
    feed = data.feed(BATCH, reuse=True, pool_cells=STREAM_POOL)
    return lambda: (batch.x for batch in feed)


def label_entropy(reader: str, work: Path) -> float | None:
    """Mean entropy of the labels of a batch, as a share of that of batches of random cells; of our own loaders."""
    from tosg_graph.dataset import TosgDataset

    if reader not in ("export", "stream"):
        return None
    data = TosgDataset(work / "light", store=work / "selected.store")
    labels = data.take([0]).y.new_tensor(data.cells["label_index"].to_pylist()).numpy()
    if reader == "export":
        data = TosgDataset(work / "bundle")
    pool = POOL if reader == "export" else STREAM_POOL
    order = data.feed(BATCH, pool_cells=pool, block_cells=BLOCK).order
    blocks = data.counts.blocks(BLOCK)
    pools = list(order.pools(blocks, 1))
    fed = np.concatenate([data.counts.rows_of(p.places())[p.order] for p in pools])
    random = np.random.default_rng(1).permutation(len(labels))
    return _entropy(labels[fed]) / _entropy(labels[random])


def _entropy(labels: np.ndarray) -> float:
    whole = labels[: len(labels) // BATCH * BATCH].reshape(-1, BATCH)
    shares = np.stack([(whole == k).mean(axis=1) for k in range(labels.max() + 1)])
    return float(-(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=0).mean())


def annloader(work: Path) -> Epoch:
    import anndata
    from anndata.experimental import AnnLoader

    cells = anndata.read_h5ad(work / "selected.h5ad", backed="r")
    loader = AnnLoader(cells, batch_size=BATCH, shuffle=True)
    return lambda: (_dense(batch.X) for batch in loader)


def scdataset(work: Path) -> Epoch:
    import anndata
    import torch
    from scdataset import BlockShuffling, scDataset

    class Rows:
        """Rows of the file, without what an AnnData adds to each access."""

        held = anndata.read_h5ad(work / "selected.h5ad", backed="r").X

        def __len__(self) -> int:
            return int(self.held.shape[0])

        def __getitem__(self, rows: Any) -> Any:
            return self.held[rows]

    data = scDataset(
        Rows(),
        BlockShuffling(block_size=BLOCK),
        batch_size=BATCH,
        fetch_factor=POOL // BATCH,
        batch_transform=lambda part: torch.from_numpy(part.toarray().astype(np.float32)),
        seed=1,
    )
    return lambda: data


def tiledbsoma_ml(work: Path) -> Epoch:
    import tiledbsoma
    from tiledbsoma_ml import ExperimentDataset

    experiment = tiledbsoma.Experiment.open(str(work / "selected.soma"))
    data = ExperimentDataset(
        experiment.axis_query("RNA"),
        layer_name="raw",
        batch_size=BATCH,
        io_batch_size=POOL,
        shuffle=True,
        shuffle_chunk_size=BLOCK,
        seed=1,
    )
    return lambda: (batch[0] for batch in data)


def pyg_loader(work: Path) -> Epoch:
    """A list of Data, all in memory, as PyG's own examples have it; the edges are collated too."""
    import anndata
    import torch
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

    from tosg_graph.dataset import TosgDataset

    edges = TosgDataset(work / "bundle").edge_index
    counts = anndata.read_h5ad(work / "selected.h5ad", backed="r").X[: 8 * BATCH].toarray().astype(np.float32)
    cells = [Data(x=torch.from_numpy(row).unsqueeze(-1), edge_index=edges) for row in counts]
    loader = DataLoader(cells, batch_size=BATCH, shuffle=True)
    return lambda: (batch.x.view(batch.num_graphs, -1) for batch in loader)


def _dense(values: Any) -> Any:
    return values if values.layout == _strided() else values.to_dense()


def _strided() -> Any:
    import torch

    return torch.strided


READERS: dict[str, Callable[[Path], Epoch]] = {
    "export": ours,
    "export_log1p": ours_log1p,
    "stream": stream,
    "annloader": annloader,
    "scdataset": scdataset,
    "tiledbsoma_ml": tiledbsoma_ml,
    "pyg_loader": pyg_loader,
}


def timed(batches: Iterator[Any], seconds: float) -> tuple[int, float, float, bool]:
    """Cells, time and sum of the values of one pass, broken off after ``seconds``; whether it came to its end."""
    cells, total, start = 0, 0.0, time.perf_counter()
    for batch in batches:
        cells += len(batch)
        total += float(batch[0].sum())  # the first cell: summing all would be timed too
        if time.perf_counter() - start > seconds:
            return cells, time.perf_counter() - start, total, False
    return cells, time.perf_counter() - start, total, True


def main(reader: str, folder: str, seconds: str) -> None:
    warnings.simplefilter("ignore")  # of the peers' own
    epoch = READERS[reader](Path(folder))
    passes = [timed(iter(epoch()), float(seconds)) for _ in range(EPOCHS + 1)]
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    said: dict[str, Any] = {
        "cells_per_second": statistics.median(cells / took for cells, took, _, _ in passes[1:]),
        "first_pass_cells_per_second": passes[0][0] / passes[0][1],
        "label_entropy": label_entropy(reader, Path(folder)),
        "cells": passes[1][0] if passes[1][3] else None,
        "peak_gb": peak * 1024 / 1e9,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
