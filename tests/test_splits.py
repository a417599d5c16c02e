"""Splits: no donor on two sides, the same from the same seed, honest about what is not known."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tosg_graph.errors import ExportError
from tosg_graph.split_plan import SPLITS, SplitPlan
from tosg_graph.splits import assign_splits


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


# --------------------------------------------------------------------------- copies


def shared(values: list[str | None], split: pa.Array) -> set[str]:
    """Values that are on more than one side."""
    sides = defaultdict(set)
    for value, side in zip(values, split.to_pylist(), strict=True):
        if value is not None and side is not None:
            sides[value].add(side)
    return {value for value, found in sides.items() if len(found) > 1}


PLANS = [
    SplitPlan(),
    SplitPlan(stratify=True),
    SplitPlan(folds=2, fold=1),
    SplitPlan(folds=3, fold=0),
    SplitPlan(by="study", fold=1),
    SplitPlan(by="study", hold_out="x", stratify=True),
]


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", "d", None]),
            st.sampled_from(["x", "y", "z"]),
            st.sampled_from(["k", "l", "m", None, None, None, None]),
            st.sampled_from(["t", "b"]),
        ),
        min_size=1,
        max_size=50,
    ),
    st.sampled_from(PLANS),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_neither_donors_nor_copies_cross_a_split_of_any_kind(rows, plan, seed, random) -> None:  # type: ignore[no-untyped-def]
    donors, datasets, copies, labels = (list(column) for column in zip(*rows, strict=True))
    table = cells(donors, labels=labels).set_column(1, "dataset", pa.array(datasets))
    try:
        found = assign_splits(table, seed=seed, plan=plan, label="label", copies=copies)
    except ExportError:
        return
    whole = [None if d is None else f"{s}/{d}" for d, s in zip(donors, datasets, strict=True)]
    assert not shared(whole, found.split)
    assert not shared(copies, found.split)
    left = {cell for x in found.left_out for cell in x.cell_ids}
    assert {
        c for c, s in zip(table["cell_id"].to_pylist(), found.split.to_pylist(), strict=True) if s is None
    } == left
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = assign_splits(
        table.take(order), seed=seed, plan=plan, label="label", copies=[copies[k] for k in order]
    )
    assert shuffled.split.to_pylist() == [found.split.to_pylist()[k] for k in order]


def test_donors_that_share_a_cell_are_one() -> None:
    table = cells(["a", "b", "c"] * 10)
    copies = ["k", "k", *[None] * 28]
    found = assign_splits(table, seed=0, copies=copies)
    assert sum(found.donors.values()) == 2
    assert found.split[0] == found.split[1]


# --------------------------------------------------------------------------- folds


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(list("abcdefgh")), min_size=8, max_size=80), st.integers(2, 5), st.integers(0, 9)
)
def test_each_donor_is_tested_exactly_once_over_all_folds(donors, folds, seed) -> None:  # type: ignore[no-untyped-def]
    table = cells(donors, labels=["t"] * len(donors))
    if len(set(donors)) < folds:
        return
    tested = []
    for fold in range(folds):
        found = assign_splits(table, seed=seed, plan=SplitPlan(folds=folds, fold=fold), label="label")
        side = dict(zip(donors, found.split.to_pylist(), strict=True))
        tested += [d for d, s in side.items() if s == "test"]
        assert "test" in side.values()
        assert ("val" in side.values()) == (folds > 2)
    assert sorted(tested) == sorted(set(donors))


def test_cells_of_unknown_donors_are_in_train_of_every_fold() -> None:
    table = cells(["a", "b", "c", None] * 5, labels=["t"] * 20)
    for fold in range(3):
        found = assign_splits(table, seed=0, plan=SplitPlan(folds=3, fold=fold), label="label")
        assert set(found.split.to_pylist()[3::4]) == {"train"}


def test_folds_are_alike_in_labels() -> None:
    """Donors of one label each: every fold gets the same number of both."""
    donors = [f"d{k // 5}" for k in range(100)]
    labels = ["sick" if (k // 5) % 2 else "well" for k in range(100)]
    for fold in range(5):
        found = assign_splits(
            cells(donors, labels=labels), seed=fold, plan=SplitPlan(folds=5, fold=fold), label="label"
        )
        tested = [
            label for label, side in zip(labels, found.split.to_pylist(), strict=True) if side == "test"
        ]
        assert (tested.count("sick"), tested.count("well")) == (10, 10)


def test_another_seed_deals_other_folds() -> None:
    table = cells([f"d{k // 5}" for k in range(100)], labels=["t"] * 100)
    plan = SplitPlan(folds=5, fold=0)
    first, second = (assign_splits(table, seed=s, plan=plan, label="label").split for s in (1, 2))
    assert first != second


def test_stratified_fractions_keep_the_shares_of_each_label() -> None:
    donors = [f"d{k // 10}" for k in range(1000)]
    labels = ["rare" if (k // 10) % 10 == 0 else "common" for k in range(1000)]
    table = cells(donors, labels=labels)
    for seed in range(5):
        found = assign_splits(
            table, seed=seed, plan=SplitPlan(stratify=True), label="label"
        ).split.to_pylist()
        rare = [side for side, label in zip(found, labels, strict=True) if label == "rare"]
        assert {side: rare.count(side) for side in SPLITS} == {"train": 80, "val": 10, "test": 10}


def test_folds_without_known_donors_are_of_cells() -> None:
    table = cells([None] * 20, labels=["t"] * 20)
    tested = []
    for fold in range(4):
        found = assign_splits(table, seed=3, plan=SplitPlan(folds=4, fold=fold), label="label")
        assert (found.unit, found.verdict) == ("cell", "caution")
        tested += [k for k, side in enumerate(found.split.to_pylist()) if side == "test"]
    assert sorted(tested) == list(range(20))


# --------------------------------------------------------------------------- studies


def three_studies() -> pa.Table:
    return pa.concat_tables([cells([f"p{k // 4}" for k in range(20)], name) for name in ("x", "y", "z")])


@pytest.mark.parametrize("plan", [SplitPlan(by="study", hold_out="y"), SplitPlan(by="study", fold=1)])
def test_the_test_set_is_one_whole_study(plan: SplitPlan) -> None:
    table = three_studies()
    found = assign_splits(table, seed=0, plan=plan)
    tested = {
        d for d, s in zip(table["dataset"].to_pylist(), found.split.to_pylist(), strict=True) if s == "test"
    }
    assert tested == {"y"}
    assert counts(found.split)["test"] == 20
    assert counts(found.split)["val"] > 0
    assert (found.unit, found.held_out, found.left_out) == ("study", "y", ())


def test_cells_of_a_donor_whose_copy_is_in_the_study_left_out_are_left_out_too() -> None:
    table = three_studies()
    copies: list[str | None] = [None] * 60
    copies[0] = copies[20] = "k"  # donor p0 of x shares a cell with donor p0 of y
    found = assign_splits(table, seed=0, plan=SplitPlan(by="study", hold_out="y"), copies=copies)
    [left] = found.left_out
    assert left.cell_ids == [f"x-{k:04d}" for k in range(4)]
    assert "in the study that is left out, y" in left.reason


def test_metacells_of_the_study_left_out_are_left_out_under_any_name() -> None:
    """Two datasets of metacells of one study: their donors differ here, and the study is the same."""
    table = three_studies().append_column("metacell_of", pa.array(["x"] * 40 + [None] * 20, pa.string()))
    donors = [f"p{k // 4}" for k in range(60)]
    table = table.set_column(table.column_names.index("donor"), "donor", pa.array(donors))
    found = assign_splits(table, seed=0, plan=SplitPlan(by="study", hold_out="y"))
    [left] = found.left_out
    assert left.cell_ids == [f"x-{k:04d}" for k in range(20)]
    assert "of the study that is left out, y" in left.reason
    assert counts(found.split) == {"train": 16, "val": 4, "test": 20}


def test_labels_that_only_the_study_left_out_has_are_told() -> None:
    table = three_studies().append_column("label", pa.array(["t"] * 40 + ["new"] * 20))
    found = assign_splits(table, seed=0, plan=SplitPlan(by="study", hold_out="z"), label="label")
    assert found.verdict == "caution"
    assert "1 labels of the test set are in no other study, first 'new'" in found.reasons


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (SplitPlan(folds=16, fold=0), "16 folds need 16 donors, 15 known. Give --folds 15 or fewer"),
        (SplitPlan(folds=3), "--folds and --fold belong together"),
        (SplitPlan(fold=3), "--folds and --fold belong together"),
        (SplitPlan(folds=3, fold=3), "numbered from 0"),
        (SplitPlan(folds=1, fold=0), "folds are 2 or more"),
        (SplitPlan(folds=3, fold=0, fractions=(0.6, 0.2, 0.2)), "Folds are of equal size"),
        (SplitPlan(hold_out="x"), "Add --split study"),
        (SplitPlan(by="study"), "One of 3 studies is left out: name it with --hold-out"),
        (SplitPlan(by="study", fold=3), "--fold 3 is none of 3 studies, 0 to 2"),
        (SplitPlan(by="study", fold=0, hold_out="x"), "both name the study"),
        (SplitPlan(by="study", folds=3, fold=0), "one fold per study"),
        (SplitPlan(by="study", hold_out="xx"), "No study is called 'xx'. Nearest: 'x'"),
        (SplitPlan(by="row"), "'row' is no way to split"),
    ],
)
def test_plans_that_do_not_fit_are_refused(plan: SplitPlan, says: str) -> None:
    with pytest.raises(ExportError, match=says) as refusal:
        assign_splits(three_studies(), seed=0, plan=plan)
    assert "\n" not in str(refusal.value)


def test_one_study_alone_cannot_be_left_out() -> None:
    with pytest.raises(ExportError, match="All cells are of one study, 'd', so none can be left out"):
        assign_splits(cells(["a", "b", "c"]), seed=0, plan=SplitPlan(by="study", fold=0))


def test_more_folds_than_cells_are_refused() -> None:
    with pytest.raises(ExportError, match="5 folds need 5 cells, and there are 3"):
        assign_splits(cells([None] * 3), seed=0, plan=SplitPlan(folds=5, fold=0))


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(("fractions", "empty"), [((0.8, 0.0, 0.2), "val"), ((0.8, 0.2, 0.0), "test")])
def test_a_side_without_a_share_gets_nothing_and_is_no_fault(
    stratify: bool, fractions: tuple[float, ...], empty: str
) -> None:
    plan = SplitPlan(fractions=fractions, stratify=stratify)
    for donors in ([f"d{k // 10}" for k in range(200)], [None] * 200):
        found = assign_splits(cells(donors, labels=["t", "b"] * 100), seed=1, plan=plan, label="label")
        assert {side: bool(n) for side, n in counts(found.split).items()} == {
            side: side != empty for side in SPLITS
        }
        assert not [reason for reason in found.reasons if "no cell is in" in reason]
