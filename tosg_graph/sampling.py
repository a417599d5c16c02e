"""Which cells of a cohort are taken: caps per value, classes of equal size, samples, and weights.

A cell is taken or left by the hash of the seed and its ``cell_id`` and by nothing else, so the order of the rows
makes no difference, and cells that are added in one group do not move the choice in another.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.donors import donor_keys, rank
from tosg_graph.errors import CohortError
from tosg_graph.types import LeftOut

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """How a cohort is thinned, in this order.

    Parameters
    ----------
    caps
        ``(column, n)``: at most ``n`` cells of each value of the column; ``donor`` is dataset and donor together.
    balance
        Whether every class of the label gets as many cells as the smallest has.
    size
        Number of cells to draw, without replacement; None for all.
    size_by
        Column whose values are drawn with equal chance, whatever their number of cells.
    weight_by
        Column whose values get equal weight, in a column ``weight`` beside the cells; nothing is left out.
    """

    caps: tuple[tuple[str, int], ...] = ()
    balance: bool = False
    size: int | None = None
    size_by: str | None = None
    weight_by: str | None = None

    def __bool__(self) -> bool:
        return self != Sampling()


def sample(
    cells: pa.Table, plan: Sampling, *, label: str | None, seed: int
) -> tuple[pa.Table, list[LeftOut]]:
    """Thin cells by a plan.

    Parameters
    ----------
    cells
        ``cell_id``, and the columns that the plan names.
    label
        Column of the classes, for ``balance``.

    Returns
    -------
    cells
        Those taken, in the order given.
    left_out
        The others, by reason.

    Raises
    ------
    CohortError
        If a column is missing or a number is below one, or more cells are asked for than there are.
    """
    left: list[LeftOut] = []
    for column, most in plan.caps:
        cells = _keep(
            cells, _capped(cells, column, most, seed), f"beyond {most:,} cells of one {column}", left
        )
    if plan.balance:
        if label is None:
            raise CohortError("Classes are balanced by a label. Name one with --label.")
        sizes = Counter(_groups(cells, label))
        most = min(sizes.values(), default=0)
        chosen = _capped(cells, label, most, seed) if sizes else []
        cells = _keep(cells, chosen, f"beyond {most:,}, the size of the smallest {label}", left)
    if plan.size is not None:
        chosen = _drawn(cells, plan.size, plan.size_by, seed)
        cells = _keep(cells, chosen, f"not among the {plan.size:,} drawn", left)
    return cells, left


def weights(cells: pa.Table, by: str) -> NDArray[np.float64]:
    """One weight per cell: each value of ``by`` has the same sum, and the mean over all cells is 1.

    Weights are those of inverse frequency, ``n / (k * n_group)`` for n cells in k groups. A cell whose value is
    unknown is in a group of its own kind with all others that are.
    """
    import numpy as np

    groups = _groups(cells, by)
    sizes = Counter(groups)
    return np.array([len(groups) / (len(sizes) * sizes[group]) for group in groups], np.float64)


def groups_of(cells: pa.Table, column: str) -> list[Any]:
    """Value of each cell; a donor is dataset and donor together, and None where it is unknown."""
    import pyarrow as pa

    if column not in cells.column_names:
        raise CohortError(
            f"The cells have no column {column!r} to sample by. They have {', '.join(cells.column_names)}."
        )
    if pa.types.is_nested(cells.schema.field(column).type):
        raise CohortError(
            f"The column {column!r} holds several values per cell, and cells are sampled by one. Choose another column."
        )
    found: list[Any] = donor_keys(cells) if column == "donor" else cells[column].to_pylist()
    return found


def _groups(cells: pa.Table, column: str) -> list[str]:
    return [repr(value) for value in groups_of(cells, column)]


def _capped(cells: pa.Table, column: str, most: int, seed: int) -> list[int]:
    """Rows of the first ``most`` cells of each group, in the order of their rank."""
    if most < 1:
        raise CohortError(f"At most {most} cells of each {column} leaves none. Give 1 or more.")
    ids = cells["cell_id"].to_pylist()
    members: dict[str, list[int]] = {}
    for row, group in enumerate(_groups(cells, column)):
        members.setdefault(group, []).append(row)
    return [
        row for rows in members.values() for row in sorted(rows, key=lambda row: rank(seed, ids[row]))[:most]
    ]


def _drawn(cells: pa.Table, size: int, by: str | None, seed: int) -> list[int]:
    """Rows of a sample without replacement, weighted by the inverse size of groups where ``by`` is given.

    A cell's key is ``-log(u) / w`` with u the hash of its id in (0, 1); the smallest keys are taken
    (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003, in the form with logarithms).
    """
    if not 1 <= size <= len(cells):
        raise CohortError(f"{size:,} cells cannot be drawn from {len(cells):,}. Give 1 to {len(cells):,}.")
    ids = cells["cell_id"].to_pylist()
    given: Sequence[float] = weights(cells, by).tolist() if by else [1.0] * len(ids)
    keys = [
        (-math.log(_uniform(rank(seed, cell))) / weight, cell)
        for cell, weight in zip(ids, given, strict=True)
    ]
    return sorted(range(len(ids)), key=lambda row: keys[row])[:size]


def _uniform(digest: bytes) -> float:
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48


def _keep(cells: pa.Table, rows: list[int], reason: str, left: list[LeftOut]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    chosen = np.zeros(len(cells), np.bool_)
    chosen[rows] = True
    others = cells["cell_id"].filter(pa.array(~chosen)).to_pylist()
    if others:
        left.append(LeftOut(reason, others))
    return cells.filter(pa.array(chosen))
