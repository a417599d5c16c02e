"""Which features each dataset measured: a count that is not stored is zero for these, and unknown for all others.

The store keeps runs of axis columns per dataset and layer; a file's features mostly lie beside each other on the axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.layers import GENE, MEASURED_LAYERS

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


def measured_schema() -> pa.Schema:
    """One row per run of axis columns: ``dataset``, ``layer``, ``first`` and ``last`` (int32, both measured)."""
    import pyarrow as pa

    texts = [pa.field(name, pa.string()) for name in ("dataset", "layer")]
    return pa.schema([*texts, *(pa.field(name, pa.int32()) for name in ("first", "last"))])


def runs(dataset: str, columns: Mapping[str, Sequence[int] | NDArray[Any]]) -> pa.Table:
    """Rows of `measured_schema` for a dataset.

    Parameters
    ----------
    columns
        Layer -> axis columns that were measured, in any order.
    """
    import pyarrow as pa

    rows = []
    for layer in (name for name in MEASURED_LAYERS if name in columns):
        held = np.unique(np.asarray(columns[layer], np.int64))
        parts = np.split(held, np.flatnonzero(np.diff(held) > 1) + 1) if len(held) else []
        rows += [
            {"dataset": dataset, "layer": layer, "first": int(part[0]), "last": int(part[-1])}
            for part in parts
        ]
    return pa.Table.from_pylist(rows, schema=measured_schema())


@dataclass(frozen=True)
class MeasuredFeatures:
    """What was measured in each of some datasets, on one layer.

    Parameters
    ----------
    datasets
        Sorted names.
    columns
        Axis columns, int32, shape ``(n_features,)``.
    mask
        bool, shape ``(n_datasets, n_features)``: whether the dataset measured the feature.
    """

    datasets: list[str]
    columns: NDArray[np.int32]
    mask: NDArray[np.bool_]

    @property
    def by_all(self) -> NDArray[np.bool_]:
        """bool, shape ``(n_features,)``: measured by every dataset that measured any."""
        some = self.mask.any(axis=1)
        return np.asarray(self.mask[some].all(axis=0)) & bool(some.any())

    @property
    def by_any(self) -> NDArray[np.bool_]:
        """bool, shape ``(n_features,)``: measured by at least one of the datasets."""
        return np.asarray(self.mask.any(axis=0))

    @property
    def gaps(self) -> int:
        """Number of pairs of dataset and feature that were not measured."""
        return int((~self.mask).sum())


def measured(
    stored: pa.Table, datasets: Sequence[str], columns: Sequence[int], layer: str = GENE
) -> MeasuredFeatures:
    """Say which of some axis columns each of some datasets measured.

    Parameters
    ----------
    stored
        Rows of `measured_schema`.
    """
    names, wanted = sorted(set(datasets)), np.asarray(columns, np.int32)
    place = {name: at for at, name in enumerate(names)}
    mask = np.zeros((len(names), len(wanted)), np.bool_)
    for row in stored.to_pylist():
        if row["layer"] == layer and row["dataset"] in place:
            mask[place[row["dataset"]]] |= (wanted >= row["first"]) & (wanted <= row["last"])
    return MeasuredFeatures(names, wanted, mask)


def counted(stored: pa.Table) -> dict[tuple[str, str], int]:
    """(dataset, layer) -> number of features that it measured."""
    found: dict[tuple[str, str], int] = {}
    for row in stored.to_pylist():
        key = (row["dataset"], row["layer"])
        found[key] = found.get(key, 0) + row["last"] - row["first"] + 1
    return found
