"""Which cells are drawn together, drawn how often, and the interval that follows: percentile bootstrap over donors.

Cells of one donor are alike: drawing cells would make every interval too narrow. Davison and Hinkley 1997, section 3.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tosg_graph.confounding import THRESHOLDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
FEW_DONORS: int = int(THRESHOLDS["donors_caution"])  # fewer: intervals say little
_DRAWN = 4_000_000  # weights held at a time


@dataclass(frozen=True)
class Units:
    """What is drawn.

    Parameters
    ----------
    of_cell
        int64 ``(n,)``: unit of each cell.
    count
        Number of units.
    kind
        ``donor``, or ``cell`` where no donor is known.
    donors
        Known donors.
    unknown
        Cells of unknown donors; each is a unit of its own.
    """

    of_cell: NDArray[np.int64]
    count: int
    kind: Literal["donor", "cell"]
    donors: int
    unknown: int

    @property
    def few(self) -> bool:
        """Whether there are too few donors for an interval to mean much."""
        return self.kind == "donor" and self.donors < FEW_DONORS

    def notes(self) -> list[str]:
        """What a reader of the intervals must know."""
        if self.kind == "cell":
            return ["No donor is known: intervals are over cells, and say nothing about other people."]
        said = []
        if self.few:
            one = "donor is" if self.donors == 1 else "donors are"
            said.append(
                f"Only {self.donors} {one} in the test set, fewer than {FEW_DONORS}: the intervals are unreliable."
            )
        if self.unknown:
            said.append(
                f"{self.unknown:,} test cells are of unknown donors and are drawn one by one: the intervals are too "
                "narrow if some of them are of one person."
            )
        return said


def units(donors: Sequence[str | None]) -> Units:
    """Group cells by donor; a cell of an unknown donor is alone."""
    known = {name: place for place, name in enumerate(sorted({d for d in donors if d is not None}))}
    place, unknown = [], 0
    for donor in donors:
        place.append(len(known) + unknown if donor is None else known[donor])
        unknown += donor is None
    kind: Literal["donor", "cell"] = "donor" if known else "cell"
    return Units(np.array(place, np.int64), len(known) + unknown, kind, len(known), unknown)


def draws(count: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield how often each of ``count`` units is drawn, ``(r, count)``, some resamples at a time.

    The same seed gives the same draws, however many are made at a time.
    """
    rng = np.random.default_rng([seed, count])
    at_once = max(1, _DRAWN // max(1, count))
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def interval(replicates: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float] | None:
    """Percentile interval of the replicates that are defined; None where none is."""
    known = replicates[np.isfinite(replicates)]
    if not len(known):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
