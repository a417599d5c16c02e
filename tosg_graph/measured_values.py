"""What is known of each cell: values that were not measured are NaN, which is no zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from tosg_graph.dataset import Cells, TosgDataset


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
