"""Train, validation and test: which cell goes where, so that no donor is on two sides.

Where donors are known the split is by donor, a donor being ``dataset`` and ``donor`` together; cells of unknown
donors go to train. Where no donor is known at all the split is by cell, which says little about new people.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tosg_graph.errors import ExportError
from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "val", "test")
FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class SplitResult:
    """The split of each row, and how far it can be trusted.

    Parameters
    ----------
    split
        ``train``, ``val`` or ``test`` per row of the cells given.
    unit
        ``donor`` or ``cell``.
    verdict
        ``ok``, ``caution`` or ``unreliable``.
    reasons
        Why it is not ``ok``.
    donors
        Number of donors per split; cells of unknown donors are not counted.
    """

    split: pa.Array
    unit: str
    verdict: str
    reasons: tuple[str, ...]
    donors: dict[str, int]


def assign_splits(
    cells: pa.Table,
    *,
    seed: int,
    fractions: Sequence[float] = FRACTIONS,
    label: str | None = None,
) -> SplitResult:
    """Assign each cell to train, val or test.

    Parameters
    ----------
    cells
        Columns ``cell_id`` and ``dataset``; ``donor`` where donors are known; the column ``label``, if given.
    seed
        Another seed gives another split; the order of the rows makes no difference.
    fractions
        Shares of cells for train, val and test; they add up to 1.
    label
        Where the split is by cell, each label is split in these shares.

    Raises
    ------
    ExportError
        If a cell is listed twice, or the fractions are not three shares of 1.
    """
    import pyarrow as pa

    _check(cells, fractions)
    ids = cells["cell_id"].to_pylist()
    donors = _donor_keys(cells)
    if any(donors):
        return _by_donor(ids, donors, seed, fractions)
    strata = cells[label].to_pylist() if label else [None] * len(ids)
    split = _by_cell(ids, strata, seed, fractions)
    reasons = ["no donor is known: the split is by cell, so test cells may come from donors seen in training"]
    reasons += _empty_sides(split)
    verdict = "unreliable" if len(reasons) > 1 else "caution"
    return SplitResult(
        pa.array(split, pa.string()), "cell", verdict, tuple(reasons), dict.fromkeys(SPLITS, 0)
    )


def _by_donor(ids: list[str], donors: list[str | None], seed: int, fractions: Sequence[float]) -> SplitResult:
    """Give whole donors, in seeded order, to the side that is furthest below its share."""
    import pyarrow as pa

    sizes = Counter(donor for donor in donors if donor)
    order = sorted(sizes, key=lambda donor: _rank(seed, donor))
    # Test and val first, one donor each, so that two or three donors still give a test set.
    first = ("test", "val") if len(order) > 2 else ("test",)
    side_of = dict(zip(order, first, strict=False))
    held = Counter({side_of[d]: sizes[d] for d in side_of})
    unknown = sum(donor is None for donor in donors)
    held["train"] += unknown
    for donor in order[len(side_of) :]:
        missing = {s: f * len(ids) - held[s] for s, f in zip(SPLITS, fractions, strict=True)}
        side = "train" if "train" not in side_of.values() else max(SPLITS, key=lambda s: missing[s])
        side_of[donor] = side
        held[side] += sizes[donor]
    split = [side_of[donor] if donor else "train" for donor in donors]
    reasons = []
    if unknown:
        reasons.append(f"{unknown} cells of unknown donors are in train")
    if len(order) < 6:
        reasons.append(f"only {len(order)} donors are known")
    empty = _empty_sides(split)
    verdict = "unreliable" if empty else "caution" if reasons else "ok"
    counts = Counter(side_of.values())
    return SplitResult(
        pa.array(split, pa.string()), "donor", verdict, (*reasons, *empty), {s: counts[s] for s in SPLITS}
    )


def _by_cell(ids: list[str], strata: list[object], seed: int, fractions: Sequence[float]) -> list[str]:
    rows_of: dict[str, list[int]] = {}
    for row, stratum in enumerate(strata):
        rows_of.setdefault(repr(stratum), []).append(row)
    split = [""] * len(ids)
    for rows in rows_of.values():
        ranked = sorted(rows, key=lambda row: _rank(seed, ids[row]))
        test = round(len(rows) * fractions[2])
        val = round(len(rows) * fractions[1])
        for place, row in enumerate(ranked):
            split[row] = "test" if place < test else "val" if place < test + val else "train"
    return split


def _rank(seed: int, key: str) -> bytes:
    return hashlib.blake2b(key.encode(), key=str(seed).encode(), digest_size=16).digest()


def _donor_keys(cells: pa.Table) -> list[str | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if "donor" not in cells.column_names:
        return [None] * len(cells)
    # The donor of a metacell is that of its members, who are of another dataset.
    of = cells[METACELL_OF] if METACELL_OF in cells.column_names else pa.nulls(len(cells), pa.string())
    datasets = pc.coalesce(of, cells["dataset"].cast(pa.string()))
    pairs = zip(datasets.to_pylist(), cells["donor"].to_pylist(), strict=True)
    return [None if donor is None else f"{dataset}\x1f{donor}" for dataset, donor in pairs]


def _empty_sides(split: list[str]) -> list[str]:
    held = set(split)
    return [f"no cell is in {side}" for side in SPLITS if side not in held]


def _check(cells: pa.Table, fractions: Sequence[float]) -> None:
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ExportError(f"The split fractions {tuple(fractions)} are not three shares that add up to 1.")
    ids = cells["cell_id"].to_pylist()
    if len(set(ids)) != len(ids):
        twice = next(i for i, n in Counter(ids).items() if n > 1)
        raise ExportError(f"The cell {twice!r} is listed twice; a cell may be on one side only.")
