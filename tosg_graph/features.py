"""Numeric properties of the picked nodes as float32 rows with a mask, for ``tosg-export --features``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import ExportError
from tosg_graph.gds import PREFIX
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph

_BATCH = 20_000  # nodes per query: bounds what the server holds for an answer


@dataclass(frozen=True)
class Feature:
    """One property of the nodes: float32 ``(N, D)`` and bool ``(N,)``; rows without a value are zero."""

    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


def node_features(graph: Graph, ids: Sequence[str], names: Sequence[str]) -> dict[str, Feature]:
    """Read properties of the nodes ``ids``, in their order.

    Parameters
    ----------
    names
        Numeric properties, or runs of `tosg_graph.gds`, whose properties begin with ``gds_``. A number gives
        one column, a list of D numbers gives D, true and false give 1 and 0.

    Raises
    ------
    ExportError
        If no node has the property, or a value is no number, not finite, or of another length.
    """
    found = {}
    for name in dict.fromkeys(names):
        values = _read(graph, ids, name) or _read(graph, ids, PREFIX + name)
        if not values:
            raise ExportError(_missing(graph, ids, name))
        found[name] = _feature(name, ids, values)
    return found


def _read(graph: Graph, ids: Sequence[str], name: str) -> dict[str, Any]:
    if name == schema("nodes")["text_vector"]["property"]:
        raise ExportError(
            f"--features {name}: text vectors are in every bundle already, in text.safetensors."
        )
    found: dict[str, Any] = {}
    for start in range(0, len(ids), _BATCH):
        rows = graph.rows(cypher("features_read"), ids=list(ids[start : start + _BATCH]), property=name)
        found.update((row["id"], row["value"]) for row in rows)
    return found


def _feature(name: str, ids: Sequence[str], values: Mapping[str, Any]) -> Feature:
    import numpy as np

    size = 0
    matrix = np.zeros((len(ids), 0), np.float32)
    mask = np.zeros(len(ids), np.bool_)
    for row, id_ in enumerate(ids):
        if id_ not in values:
            continue
        numbers = _numbers(name, id_, values[id_])
        if not mask.any():
            size = len(numbers)
            matrix = np.zeros((len(ids), size), np.float32)
        if len(numbers) != size:
            raise ExportError(f"--features {name}: {id_} has {len(numbers)} numbers, others {size}.")
        matrix[row] = numbers
        mask[row] = True
    if not np.isfinite(matrix).all():
        odd = ids[int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])]
        raise ExportError(f"--features {name}: the value of {odd} is not finite in 32 bits.")
    return Feature(matrix, mask)


def _numbers(name: str, id_: str, value: Any) -> list[float]:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or not all(isinstance(number, int | float) for number in numbers):
        raise ExportError(f"--features {name}: {id_} has {str(value)[:60]!r}, which is not numeric.")
    return [float(number) for number in numbers]


def _missing(graph: Graph, ids: Sequence[str], name: str) -> str:
    known: set[str] = set()
    for start in range(0, len(ids), _BATCH):
        known |= {
            row["name"] for row in graph.rows(cypher("features_names"), ids=list(ids[start : start + _BATCH]))
        }
    known.discard(schema("nodes")["text_vector"]["property"])
    near = difflib.get_close_matches(name, sorted(known | {n.removeprefix(PREFIX) for n in known}), n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Numbers are in: {', '.join(sorted(known)) or 'none'}."
    return f"None of the {len(ids):,} picked nodes has a value of {name!r} for --features. {hint}"
