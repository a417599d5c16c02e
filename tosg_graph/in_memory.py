"""Cells of a small bundle as an ``InMemoryDataset`` of PyG, for programs that want one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from tosg_graph.dataset import TosgDataset  # isort: skip  # quiets a warning of PyG while it is imported
from torch_geometric.data import Data, InMemoryDataset

from tosg_graph.errors import BundleError

MOST_BYTES = 4 * 2**30
_AT_ONCE = 256  # cells that are made dense together


class TosgInMemoryDataset(InMemoryDataset):  # type: ignore[misc]  # PyG ships no types
    """One split of a bundle, all cells in memory as dense graphs that share one ``edge_index``.

    Nothing is written: PyG's own processed files are pickles, and a bundle is quick to read again.

    Parameters
    ----------
    folder, split, layer
        As of `TosgDataset`.
    transform
        Called on each ``Data`` when it is taken.
    most_bytes
        What the abundances may take: 4 bytes per cell and node.

    Raises
    ------
    BundleError
        If the bundle is damaged, or larger than ``most_bytes``.

    Notes
    -----
    Each ``Data`` has ``x`` float32 ``(N, 1)``, ``edge_index`` int64 ``(2, E)``, ``edge_type`` int64 ``(E,)``, ``y``
    int64 ``(1,)``, ``row`` int64 ``(1,)``: row in the cells of the split.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str = "train",
        layer: Literal["counts", "cp10k", "log1p", "corrected"] = "log1p",
        *,
        transform: Callable[[Data], Data] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        super().__init__(None, transform)
        cells = TosgDataset(folder, split=split, layer=layer)
        needed = 4 * len(cells) * cells.num_nodes
        if needed > most_bytes:
            raise BundleError(
                f"{folder} needs {needed:,} bytes in memory, {len(cells):,} cells of {cells.num_nodes:,} nodes; "
                f"{most_bytes:,} are allowed. Use TosgDataset, which reads batches, or raise most_bytes."
            )
        self.classes = cells.classes
        self._nodes = cells.num_nodes
        self._shared = {"edge_index": cells.edge_index, "edge_type": cells.edge_type}
        x, y = torch.empty(len(cells), self._nodes, 1), torch.empty(len(cells), dtype=torch.long)
        for start in range(0, len(cells), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(cells)))
            part = cells.take(list(rows))
            x[start : rows.stop], y[start : rows.stop] = part.x, part.y
        every = torch.arange(len(cells) + 1)
        self._data = Data(x=x.view(-1, 1), y=y, row=every[:-1])
        self.slices = {"x": every * self._nodes, "y": every, "row": every}

    @property
    def num_classes(self) -> int:
        """Number of classes over all splits."""
        return len(self.classes)

    def get(self, idx: int) -> Data:
        """One cell; all of them have the same ``edge_index`` object."""
        if "edge_index" in self._data:  # a copy, whose graphs PyG has collated
            return super().get(idx)
        own = slice(idx * self._nodes, (idx + 1) * self._nodes)
        one = slice(idx, idx + 1)
        return Data(x=self._data.x[own], y=self._data.y[one], row=self._data.row[one], **self._shared)

    def to(self, device: int | str) -> TosgInMemoryDataset:
        """Move everything, the shared topology included."""
        super().to(device)
        self._shared = {name: tensor.to(device) for name, tensor in self._shared.items()}
        return self

    def __getattr__(self, name: str) -> Any:
        shared = self.__dict__.get("_shared", {})
        return shared[name] if name in shared else super().__getattr__(name)
