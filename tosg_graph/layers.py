"""Layers of measurement: genes, and surface proteins beside them.

Both lie in the same blocks and files of counts. Each layer has an axis of its own, whose columns are counted from 0. In
the table ``counts`` a column of the proteins stands as `FIRST_PROTEIN` + column, so that all genes of a block come
before its proteins, a scan for one layer skips the other, and no sum can mix the two unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GENE, PROTEIN = "gene", "protein"
MEASURED_LAYERS = (GENE, PROTEIN)
FIRST_PROTEIN = 2**30


def stored_columns(layer: str, columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """How columns of an axis stand in the table ``counts``, int32."""
    return columns + columns.dtype.type(FIRST_PROTEIN) if layer == PROTEIN else columns


def side_by_side(columns: NDArray[np.int32], genes: int) -> NDArray[np.int32]:
    """Columns of ``counts`` with the gap between the layers closed: proteins follow on ``genes`` columns of genes."""
    return columns - (columns >= FIRST_PROTEIN) * columns.dtype.type(FIRST_PROTEIN - genes)


def apart(columns: NDArray[np.int32], genes: int) -> NDArray[np.int32]:
    """Undo `side_by_side`."""
    return columns + (columns >= genes) * columns.dtype.type(FIRST_PROTEIN - genes)


def counts_sql(layer: str, stored: str) -> str:
    """SQL for the counts of one layer, ``gene`` being a column of its axis, out of the view ``stored``."""
    column: Any = {GENE: "gene", PROTEIN: f"CAST(gene - {FIRST_PROTEIN} AS INTEGER) AS gene"}[layer]
    of_layer = f"gene {'>=' if layer == PROTEIN else '<'} {FIRST_PROTEIN}"
    return f"SELECT block, {column}, cell, count FROM {stored} WHERE {of_layer}"  # noqa: S608  # names of ours only
