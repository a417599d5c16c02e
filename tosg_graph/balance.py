"""How alike the columns of arms are: standardised mean differences.

They are those of Austin 2009 (doi:10.1002/sim.3697), with sample variances v and shares p:

    numbers             (m1 - m2) / sqrt((v1 + v2) / 2)
    level of a category (p1 - p2) / sqrt((p1 (1 - p1) + p2 (1 - p2)) / 2)

Of three arms or more the largest difference between any two counts (McCaffrey et al. 2013, doi:10.1002/sim.5753).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from tosg_graph.matching import is_unclassified

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBERS = ("age_years", "n_counts", "n_genes")
LEVELS = 30  # of a column; the rarest beyond them are not listed


Moments = tuple[float | None, float | None]
"""Mean and sample variance; None where there are too few values."""


def smd(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Standardised mean difference of numbers; None where a variance is unknown, or zero and the means differ."""
    return _apart(_moments(first), _moments(second))


def smd_of_share(p1: float, p2: float) -> float | None:
    """Standardised mean difference of the share of one level; None where it is 0 in one arm and 1 in the other."""
    return _standardised(p1 - p2, (p1 * (1 - p1) + p2 * (1 - p2)) / 2)


def _apart(first: Moments, second: Moments) -> float | None:
    (m1, v1), (m2, v2) = first, second
    if m1 is None or m2 is None or v1 is None or v2 is None:
        return None
    return _standardised(m1 - m2, (v1 + v2) / 2)


def _standardised(difference: float, variance: float) -> float | None:
    if difference == 0:
        return 0.0
    return difference / math.sqrt(variance) if variance > 0 else None


def _moments(values: Sequence[float]) -> Moments:
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def balance(
    sides: Sequence[pa.Table], before: Sequence[pa.Table] | None, columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Set the values of columns in arms beside each other: one line per number, and per frequent level of a category.

    Parameters
    ----------
    sides
        Cells of each arm.
    before
        The same before they were sampled and matched.

    Returns
    -------
    list of dict
        ``column``, ``level`` (None for numbers), ``kind`` (``number`` or ``share``), ``values`` (mean or share in each
        arm), ``smd`` (the largest between two arms) and ``smd_before``.
    """
    lines = []
    for column in columns:
        numeric = _is_number(sides[0], column)
        now = _numbers(sides, column) if numeric else _levels(sides, column)
        then = {} if before is None else _numbers(before, column) if numeric else _levels(before, column)
        for level, (values, difference) in now.items():
            lines.append(
                {
                    "column": column,
                    "level": level,
                    "kind": "number" if numeric else "share",
                    "values": [rounded(value) for value in values],
                    "smd": rounded(difference),
                    "smd_before": rounded(then[level][1]) if level in then else None,
                }
            )
    return lines


Line = tuple[list[float | None], float | None]
"""Mean or share of each arm, and the largest difference between two."""


def _numbers(sides: Sequence[pa.Table], column: str) -> dict[str | None, Line]:
    found = [_moments([float(v) for v in side[column].to_pylist() if v is not None]) for side in sides]
    means = [mean for mean, _ in found]
    if all(mean is None for mean in means):
        return {}
    apart = [_apart(first, second) for first, second in combinations(found, 2)]
    return {None: (means, max((d for d in apart if d is not None), key=abs, default=None))}


def _levels(sides: Sequence[pa.Table], column: str) -> dict[str | None, Line]:
    """Share of each level, ``(unknown)`` among them; nothing where all is unknown."""
    counts = [count_known(side[column]) for side in sides]
    together = sum(counts, Counter[str | None]())
    if set(together) <= {None}:
        return {}
    sizes = [max(1, counter.total()) for counter in counts]
    found: dict[str | None, Line] = {}
    for level, _ in most_frequent(together):
        shares = [counter[level] / size for counter, size in zip(counts, sizes, strict=True)]
        apart = [smd_of_share(first, second) for first, second in combinations(shares, 2)]
        # None is infinite here: one arm has the level wholly, another not at all.
        largest = max((math.inf if d is None else d for d in apart), key=abs, default=math.inf)
        found["(unknown)" if level is None else level] = (
            list(shares),
            None if largest == math.inf else largest,
        )
    return found


def _is_number(cells: pa.Table, column: str) -> bool:
    import pyarrow as pa

    kind = cells.schema.field(column).type
    return column in _NUMBERS or bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


# --------------------------------------------------------------------------- values


def count_known(column: pa.ChunkedArray) -> Counter[str | None]:
    """Value as text -> cells; whatever only says that nobody knows is None."""
    import pyarrow.compute as pc

    found: Counter[str | None] = Counter()
    for item in pc.value_counts(column).to_pylist():
        value = item["values"]
        found[None if is_unclassified(value) else str(value)] += item["counts"]
    return found


def most_frequent(counter: Counter[Any]) -> list[tuple[Any, int]]:
    """Return up to `LEVELS` values with their counts, the most frequent first."""
    return sorted(counter.items(), key=lambda item: (-item[1], str(item[0])))[:LEVELS]


def rounded(value: float | None) -> float | None:
    """Keep six digits: what a report needs, and the same on every machine."""
    return None if value is None else round(value, 6)
