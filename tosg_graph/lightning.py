"""A bundle as Lightning trains on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule

from tosg_graph.dataset import TosgDataset
from tosg_graph.feed import Feed


class TosgDataModule(LightningDataModule):
    """Feeds of a bundle's splits: the training cells shuffled anew in each epoch, the others in order.

    Each process of a distributed run reads cells of its own, and as many batches as the others. A checkpoint in the
    middle of an epoch (``ModelCheckpoint(every_n_train_steps=...)``) holds the feed's state: training goes on with the
    next batch.

    Parameters
    ----------
    folder
        The bundle.
    batch_size
        Cells per batch and process.
    mode, layer
        As in `tosg_graph.dataset.TosgDataset`.
    seed
        Decides the order of the training cells.
    feed
        Further arguments of `tosg_graph.dataset.TosgDataset.feed`, such as ``workers`` or ``pool_cells``.
    """

    def __init__(
        self,
        folder: str | Path,
        batch_size: int,
        *,
        mode: Literal["shared", "block_diagonal", "data"] = "shared",
        layer: Literal["counts", "cp10k", "log1p", "corrected"] = "log1p",
        seed: int = 0,
        **feed: Any,
    ) -> None:
        super().__init__()
        self.folder, self.batch_size, self.seed = Path(folder), batch_size, seed
        self._how: dict[str, Any] = {"mode": mode, "layer": layer}
        self._feed = feed
        self._datasets: dict[str, TosgDataset] = {}

    def dataset(self, split: str) -> TosgDataset:
        """Return the cells of a split, with the topology, text and classes of the bundle."""
        if split not in self._datasets:
            self._datasets[split] = TosgDataset(self.folder, split, **self._how)
        return self._datasets[split]

    def train_dataloader(self) -> Feed:
        """Return the training cells, shuffled."""
        return self.dataset("train").feed(self.batch_size, seed=self.seed, **self._feed)

    def val_dataloader(self) -> Feed:
        """Return the validation cells in order."""
        return self._in_order("val")

    def test_dataloader(self) -> Feed:
        """Return the test cells in order."""
        return self._in_order("test")

    def predict_dataloader(self) -> Feed:
        """Return the test cells in order."""
        return self._in_order("test")

    def _in_order(self, split: str) -> Feed:
        return self.dataset(split).feed(self.batch_size, shuffle=False, **self._feed)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch; Lightning asks."""
        return batch.to(device)
