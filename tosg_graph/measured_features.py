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


def with_counts(datasets: pa.Table, stored: pa.Table) -> pa.Table:
    """Datasets with ``genes`` and ``proteins``, how many features of each layer they measured, after ``cells``."""
    import pyarrow as pa

    sizes: dict[tuple[str, str], int] = {}
    for row in stored.to_pylist():
        key = (row["dataset"], row["layer"])
        sizes[key] = sizes.get(key, 0) + row["last"] - row["first"] + 1
    names = datasets["dataset"].to_pylist()
    for layer in reversed(MEASURED_LAYERS):
        column = pa.array([sizes.get((name, layer), 0) for name in names], pa.int64())
        datasets = datasets.add_column(2, f"{layer}s", column)
    return datasets


def of_cohort(cells: pa.Table, stored: pa.Table, axes: pa.Table) -> pa.Table:
    """What the datasets of a cohort measured.

    Parameters
    ----------
    cells
        ``dataset``, and for each layer the number of the cohort's cells in which it was measured.
    stored, axes
        Rows of `measured_schema` and of the axes of all layers.

    Returns
    -------
    Table
        ``dataset``, ``layer``, ``cells``, ``features``; ``by_all``, ``by_any``: how many features of the layer all of
        these datasets that measured any, or any of them, measured. A layer that none measured has no row.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = []
    for layer in MEASURED_LAYERS:
        columns = axes["column"].filter(pc.equal(axes["layer"], layer)).to_pylist()
        found = measured(stored, cells["dataset"].to_pylist(), columns, layer)
        counts = dict(zip(cells["dataset"].to_pylist(), cells[layer].to_pylist(), strict=True))
        both = {"by_all": int(found.by_all.sum()), "by_any": int(found.by_any.sum())}
        rows += [
            {"dataset": name, "layer": layer, "cells": counts[name], "features": int(mask.sum()), **both}
            for name, mask in zip(found.datasets, found.mask, strict=True)
            if mask.any()
        ]
    texts = [pa.field(name, pa.string()) for name in ("dataset", "layer")]
    numbers = [pa.field(name, pa.int64()) for name in ("cells", "features", "by_all", "by_any")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*texts, *numbers]))
