"""What is known of each cell: values that were not measured are NaN, which is no zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from tosg_graph.dataset import Cells, TosgDataset

SCALED_BY = 16_384  # training cells that means of nodes are taken over


class MeasuredValues:
    """Tells what was measured in cells of a dataset.

    Bundles that do not say it are taken as if everything with abundance was measured in every cell.

    Parameters
    ----------
    dataset
        That whose rows the cells have.
    """

    def __init__(self, dataset: TosgDataset) -> None:
        self._dataset = dataset
        said = dataset.manifest.get("measured", {"not_measured": {}})
        proteins = dataset.manifest.get("proteins", {}).get("count", 0)  # measured in some cells only
        self.everything = not any(said["not_measured"].values()) and not proteins

    def mask(self, cells: Cells) -> Tensor:
        """bool ``(B, N)`` on the device of the cells: whether the node was measured in the cell."""
        device = cells.x.device
        if self.everything:
            return self._dataset.node_mask.to(device).expand(len(cells.x), -1)
        return self._dataset.measured(cells.rows.cpu().numpy()).to(device)

    def x(self, cells: Cells) -> Tensor:
        """``(B, N, 1)``: abundance as it is, NaN where it was not measured."""
        if self.everything:  # networks do not read what nodes without abundance have
            return cells.x
        return cells.x.masked_fill(~self.mask(cells).unsqueeze(-1), torch.nan)


@dataclass(frozen=True)
class NodeScale:
    """What values of each node are like in training cells where it was measured.

    Parameters
    ----------
    mean, deviation
        float32 ``(N,)``, of log1p; 0 where a node was never measured.
    variance
        Around the means, over all values of all nodes; never 0.
    """

    mean: Tensor
    deviation: Tensor
    variance: float


def node_scale(train: TosgDataset) -> NodeScale:
    """Mean and deviation of each node over the first cells of a dataset, which an export has shuffled."""
    known = MeasuredValues(train)
    total, squares, count = (torch.zeros(train.num_nodes, dtype=torch.float64) for _ in range(3))
    rows = np.arange(min(len(train), SCALED_BY))
    for start in range(0, len(rows), 256):
        cells = train.take(rows[start : start + 256])
        mask = known.mask(cells).double()
        x = cells.x[..., 0].double() * mask
        total, squares, count = total + x.sum(0), squares + (x**2).sum(0), count + mask.sum(0)
    mean = total / count.clamp(min=1)
    left = (squares - count * mean**2).clamp(min=0)
    variance = float(left.sum() / count.sum().clamp(min=1))
    return NodeScale(mean.float(), (left / count.clamp(min=1)).sqrt().float(), max(variance, 1e-6))
