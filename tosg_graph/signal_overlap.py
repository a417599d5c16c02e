"""Which of the pathways that were found add nothing to a stronger one, because they share the members that differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.donor_tests import Design, Null, compare_sets

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

LEVEL = 0.05  # p up to which the members that are not shared still differ
FEWEST = 3  # members that are not shared, below which there is nothing to test


def explained_by(
    design: Design,
    values: NDArray[np.float64],
    sets: csr_array[Any, Any],
    found: Sequence[int],
    *,
    permutations: int,
    seed: int,
    null: Null = "permutation",
) -> dict[int, int]:
    """Return which found set is explained by which stronger one.

    From the strongest on, each set that nothing explains is taken out of the weaker ones that share members with it; a
    set whose other members do not differ by themselves, at a p of 0.05, is explained (as the pairs of SetRank,
    Simillion et al. 2017, doi:10.1186/s12859-017-1571-6, with the stronger one of a pair kept).

    Parameters
    ----------
    sets
        bool-like ``(W, F)``.
    found
        Rows of ``sets``, the strongest first.
    """
    members: dict[int, NDArray[Any]] = {
        row: sets.indices[sets.indptr[row] : sets.indptr[row + 1]] for row in found
    }
    explained: dict[int, int] = {}
    for place, leader in enumerate(found):
        if leader in explained:
            continue
        rests = {
            row: np.setdiff1d(members[row], members[leader])
            for row in found[place + 1 :]
            if row not in explained
        }
        rests = {row: rest for row, rest in rests.items() if len(rest) < len(members[row])}
        explained |= dict.fromkeys((row for row, rest in rests.items() if len(rest) < FEWEST), leader)
        tested = {row: rest for row, rest in rests.items() if row not in explained}
        p = compare_sets(
            design,
            values,
            _sets(list(tested.values()), sets.shape[1]),
            permutations=permutations,
            seed=seed,
            null=null,
            further=1,  # whether p is below 0.05 is known from the first permutations
        ).p
        explained |= {row: leader for row, one in zip(tested, p.tolist(), strict=True) if one > LEVEL}
    return explained


def _sets(members: Sequence[NDArray[Any]], features: int) -> csr_array[Any, Any]:
    from scipy.sparse import csr_array

    indices = np.concatenate([np.empty(0, np.int64), *members])
    pointer = np.cumsum([0, *(len(m) for m in members)])
    return csr_array((np.ones(len(indices)), indices, pointer), shape=(len(members), features))
