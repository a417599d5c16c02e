"""Sampling: seeded by the cell alone, so that rows may move and cells may come without moving the others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.errors import CohortError
from tosg_graph.sampling import Sampling, sample, weights

KINDS = st.lists(st.sampled_from(["t", "b", "nk", None]), min_size=1, max_size=60)


def cells(kinds: list[str | None], first: int = 0, donors: list[str | None] | None = None) -> pa.Table:
    found = {
        "cell_id": [f"c{first + k:04d}" for k in range(len(kinds))],
        "dataset": ["d"] * len(kinds),
        "kind": pa.array(kinds, pa.string()),
    }
    return pa.table(found | ({"donor": pa.array(donors, pa.string())} if donors else {}))


def taken(table: pa.Table, plan: Sampling, seed: int = 1) -> list[str]:
    ids: list[str] = sample(table, plan, label="kind", seed=seed)[0]["cell_id"].to_pylist()
    return ids


PLANS = [
    Sampling(caps=(("kind", 3),)),
    Sampling(balance=True),
    Sampling(size=1),
    Sampling(size=1, size_by="kind"),
    Sampling(caps=(("kind", 5),), balance=True, size=1),
]


@given(KINDS, st.sampled_from(PLANS), st.integers(0, 2**31), st.randoms(use_true_random=False))
def test_the_order_of_rows_makes_no_difference_and_every_cell_is_accounted_for(
    kinds, plan, seed, random
) -> None:  # type: ignore[no-untyped-def]
    table = cells(kinds)
    kept, left = sample(table, plan, label="kind", seed=seed)
    order = list(range(len(kinds)))
    random.shuffle(order)
    assert set(taken(table.take(order), plan, seed)) == set(kept["cell_id"].to_pylist())
    gone = [cell for x in left for cell in x.cell_ids]
    assert sorted([*kept["cell_id"].to_pylist(), *gone]) == table["cell_id"].to_pylist()
    assert all(x.reason and x.cell_ids for x in left)


@given(KINDS, KINDS, st.integers(0, 9))
def test_cells_that_are_added_in_one_group_leave_the_others_alone(kinds, more, seed) -> None:  # type: ignore[no-untyped-def]
    plan = Sampling(caps=(("kind", 3),))
    table = cells(kinds)
    added = pa.concat_tables([table, cells(["new"] * len(more), 1000)])
    old = [cell for cell in taken(added, plan, seed) if cell < "c1"]
    assert old == taken(table, plan, seed)


def test_caps_bound_each_value_and_unknown_donors_are_one() -> None:
    table = cells(["t"] * 9, donors=["a"] * 4 + ["b"] * 2 + [None] * 3)
    kept = sample(table, Sampling(caps=(("donor", 2),)), label=None, seed=0)[0]
    assert Counter(kept["donor"].to_pylist()) == {"a": 2, "b": 2, None: 2}


def test_the_same_donor_name_in_two_datasets_is_capped_in_each() -> None:
    both = pa.concat_tables([cells(["t"] * 3, 0, ["a"] * 3), cells(["t"] * 3, 10, ["a"] * 3)])
    both = both.set_column(1, "dataset", pa.array(["x"] * 3 + ["y"] * 3))
    assert len(sample(both, Sampling(caps=(("donor", 2),)), label=None, seed=0)[0]) == 4


def test_balanced_classes_are_as_large_as_the_smallest() -> None:
    kept = sample(cells(["t"] * 30 + ["b"] * 7 + ["nk"] * 12), Sampling(balance=True), label="kind", seed=4)[
        0
    ]
    assert Counter(kept["kind"].to_pylist()) == {"t": 7, "b": 7, "nk": 7}


def test_a_draw_by_group_gives_rare_groups_their_chance() -> None:
    table = cells(["rare"] * 40 + ["common"] * 960)
    plain, by = Sampling(size=60), Sampling(size=60, size_by="kind")
    rare = {
        plan: np.mean([sum(cell < "c0040" for cell in taken(table, plan, seed)) for seed in range(40)])
        for plan in (plain, by)
    }
    assert rare[plain] == pytest.approx(60 * 0.04, abs=1)  # its share of the cells
    assert rare[by] > 20  # near half, less what runs out of cells


@given(KINDS)
def test_weights_give_each_group_the_same_sum_and_a_mean_of_one(kinds) -> None:  # type: ignore[no-untyped-def]
    found = weights(cells(kinds), "kind")
    sums = Counter[str | None]()
    for kind, weight in zip(kinds, found, strict=True):
        sums[kind] += weight
    assert np.mean(found) == pytest.approx(1)
    assert list(sums.values()) == pytest.approx([len(kinds) / len(sums)] * len(sums))


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Sampling(caps=(("kine", 3),)), "no column 'kine' to sample by"),
        (Sampling(caps=(("kind", 0),)), "leaves none. Give 1 or more"),
        (Sampling(size=11), "11 cells cannot be drawn from 10. Give 1 to 10"),
        (Sampling(size=3, size_by="donor"), "no column 'donor'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan: Sampling, says: str) -> None:
    with pytest.raises(CohortError, match=says) as refusal:
        sample(cells(["t"] * 10), plan, label="kind", seed=0)
    assert "\n" not in str(refusal.value)
