"""The topology of a bundle: what its tables of edges are as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tosg_graph.bundle import edge_name

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.types import Selection


def edge_tensors(selection: Selection) -> Mapping[str, NDArray[Any]]:
    """``<type>.edge_index``, int64 (2, edges), and per number that edges have ``<type>.<name>``, float32 (edges,).

    Those of a selection that is kept are mapped, and no table is read.
    """
    if selection.snapshot:
        return selection.snapshot.tensors
    return {
        name: tensor
        for key, table in selection.edges.items()
        for name, tensor in _tensors(key, table).items()
    }


def edge_counts(selection: Selection) -> dict[str, int]:
    """Edges of each type, by the name of the type."""
    if kept := selection.snapshot:
        return {
            (name := edge_name(key)): kept.tensors[f"{name}.edge_index"].shape[1] for key in selection.edges
        }
    return {edge_name(key): len(table) for key, table in selection.edges.items()}


def _tensors(key: tuple[str, str, str], table: pa.Table) -> dict[str, NDArray[Any]]:
    import numpy as np

    name = edge_name(key)
    rows = [table["source_row"].to_numpy(), table["target_row"].to_numpy()]
    tensors: dict[str, NDArray[Any]] = {f"{name}.edge_index": np.stack(rows).astype(np.int64, copy=False)}
    for attribute in _numeric(table):
        values = table[attribute].cast("float32", safe=False).to_numpy(zero_copy_only=False)
        tensors[f"{name}.{attribute}"] = values.astype(np.float32)  # null is NaN
    return tensors


def _numeric(table: pa.Table) -> list[str]:
    """Columns that are numbers and not all null, apart from rows and keys."""
    import pyarrow as pa

    def is_number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    names = [f.name for f in table.schema if is_number(f.type)]
    hidden = {"source_row", "target_row", "edge_key"}
    return [n for n in names if n not in hidden and table[n].null_count < len(table)]
