"""Splits: no donor on two sides, the same from the same seed, honest about what is not known."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tosg_graph.errors import ExportError
from tosg_graph.splits import SPLITS, SplitPlan, assign_splits


def cells(donors: list[str | None], dataset: str = "d", labels: list[str] | None = None) -> pa.Table:
    columns = {
        "cell_id": [f"{dataset}-{k:04d}" for k in range(len(donors))],
        "dataset": [dataset] * len(donors),
        "donor": pa.array(donors, pa.string()),
    }
    return pa.table(columns | ({"label": labels} if labels else {}))


def counts(split: pa.Array) -> dict[str, int]:
    found = split.to_pylist()
    return {side: found.count(side) for side in SPLITS}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", None]), min_size=1, max_size=60),
    st.integers(0, 2**31),
    st.randoms(use_true_random=False),
)
def test_no_donor_crosses_and_the_order_of_rows_makes_no_difference(donors, seed, random) -> None:  # type: ignore[no-untyped-def]
    table = cells(donors)
    found = assign_splits(table, seed=seed)
    sides = defaultdict(set)
    for donor, side in zip(donors, found.split.to_pylist(), strict=True):
        sides[donor].add(side)
    if any(donors):
        assert found.unit == "donor"
        assert all(len(side) == 1 for side in sides.values())
        assert sides.get(None, {"train"}) == {"train"}
        assert sum(found.donors.values()) == len({d for d in donors if d})
    else:
        assert found.unit == "cell"
        assert found.verdict != "ok"
    order = list(range(len(donors)))
    random.shuffle(order)
    shuffled = assign_splits(table.take(order), seed=seed)
    assert shuffled.split.to_pylist() == [found.split.to_pylist()[k] for k in order]


def test_the_same_donor_name_in_two_datasets_is_two_donors() -> None:
    both = pa.concat_tables([cells(["p1", "p2", "p3"] * 10, "x"), cells(["p1", "p2", "p3"] * 10, "y")])
    assert sum(assign_splits(both, seed=1).donors.values()) == 6


def test_shares_of_cells_are_near_the_fractions() -> None:
    found = assign_splits(cells([f"d{k // 10}" for k in range(1000)]), seed=3)
    assert counts(found.split) == {"train": 800, "val": 100, "test": 100}
    assert (found.verdict, found.reasons) == ("ok", ())


def test_another_seed_gives_another_split() -> None:
    table = cells([f"d{k // 10}" for k in range(300)])
    assert assign_splits(table, seed=1).split != assign_splits(table, seed=2).split
    assert assign_splits(table, seed=1).split == assign_splits(table, seed=1).split


@pytest.mark.parametrize(
    ("donors", "verdict", "says"),
    [
        ([None] * 50, "caution", "no donor is known"),
        (["a"] * 20 + ["b"] * 20 + ["c"] * 20, "caution", "only 3 donors"),
        ([f"d{k % 8}" for k in range(80)] + [None] * 5, "caution", "5 cells of unknown donors are in train"),
        (["a"] * 50, "unreliable", "no cell is in"),
        ([None], "unreliable", "no cell is in test"),
    ],
)
def test_the_verdict_says_why_it_is_not_ok(donors: list[str | None], verdict: str, says: str) -> None:
    found = assign_splits(cells(donors), seed=0)
    assert found.verdict == verdict
    assert any(says in reason for reason in found.reasons)


def test_a_split_by_cell_keeps_the_shares_of_each_label() -> None:
    labels = ["rare"] * 20 + ["common"] * 180
    found = assign_splits(cells([None] * 200, labels=labels), seed=5, label="label").split.to_pylist()
    rare = [side for side, label in zip(found, labels, strict=True) if label == "rare"]
    assert {side: rare.count(side) for side in SPLITS} == {"train": 16, "val": 2, "test": 2}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.8, 0.1, 0.2), (1.2, -0.1, -0.1)])
def test_fractions_that_are_none_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ExportError, match="three shares"):
        assign_splits(cells(["a"]), seed=0, plan=SplitPlan(fractions=fractions))


def test_a_cell_listed_twice_is_refused() -> None:
    table = cells(["a", "b"])
    with pytest.raises(ExportError, match="'d-0000' is listed twice"):
        assign_splits(pa.concat_tables([table, table.slice(0, 1)]), seed=0)
