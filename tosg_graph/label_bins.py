"""Numbers of the cells as classes: which bin each of them is in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tosg_graph.errors import ExportError

if TYPE_CHECKING:
    import pyarrow as pa

MOST_WHOLE_NUMBERS = 100  # that are taken for categories, such as clusters; more of them are a quantity


def bin_names(edges: Sequence[float]) -> list[str]:
    """Names of the bins between edges, ascending: ``[0, 20)`` holds its lower edge and not its upper one."""
    return [f"[{low:.15g}, {high:.15g})" for low, high in pairwise(edges)]


def check_bins(edges: Sequence[float]) -> None:
    """Raise `ExportError` unless these are two or more edges, ascending; ``inf`` and ``-inf`` are edges."""
    ascending = all(low < high for low, high in pairwise(edges))
    if len(edges) < 2 or not ascending:
        given = ",".join(f"{edge:.15g}" for edge in edges)
        raise ExportError(
            f"The bins {given} are not two or more ascending edges. Write them as 0,20,40,60,inf."
        )


def binned(values: pa.ChunkedArray, edges: Sequence[float], name: str) -> pa.Array:
    """Return the name of each number's bin; null where it is unknown or in none.

    Raises
    ------
    ExportError
        If the column holds no numbers.
    """
    import numpy as np
    import pyarrow as pa

    check_bins(edges)
    if not is_number(values.type):
        raise ExportError(
            f"The column {name!r} is {values.type}: it has no numbers for bins. Leave --bins out."
        )
    numbers = values.cast(pa.float64(), safe=False).to_numpy()  # null is NaN
    at = np.searchsorted(edges, numbers, side="right") - 1  # NaN sorts behind the last edge
    inside = (at >= 0) & (at < len(edges) - 1)
    return pa.array(bin_names(edges)).take(pa.array(at, mask=~inside))


def check_category(values: pa.ChunkedArray, name: str) -> None:
    """Raise `ExportError` where a column holds a quantity, or nothing that can be a class.

    Text, true and false are categories, and so are up to `MOST_WHOLE_NUMBERS` different whole numbers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return
    if not is_number(kind):
        raise ExportError(f"The column {name!r} is {kind}, which is no category. Choose another --label.")
    distinct = pc.count_distinct(values).as_py()
    if pa.types.is_floating(kind) or distinct > MOST_WHOLE_NUMBERS:
        span = pc.min_max(values)
        said = f"{distinct:,} different numbers from {_plain(span['min'])} to {_plain(span['max'])}"
        raise ExportError(
            f"The column {name!r} is {kind}, which is no category: {said}. Say where its classes begin and "
            "end: --bins 0,20,40,60,inf"
        )


def is_number(kind: pa.DataType) -> bool:
    """Whether numbers of this type can be put into bins."""
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def as_json(edges: Sequence[float]) -> list[float | str]:
    """Edges as the manifest has them: JSON has no infinity."""
    return [edge if math.isfinite(edge) else f"{edge:g}" for edge in edges]


def _plain(value: pa.Scalar) -> str:
    return "-" if value.as_py() is None else f"{value.as_py():g}"
