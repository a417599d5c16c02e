"""Every metric by hand, and as scikit-learn has it; intervals over donors and not over cells."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from tosg_graph import bootstrap
from tosg_graph.metrics import BINS, Scorer, curves

# Of six cells, two of each class. The first class is found twice, the second once, the third never.
TRUTH = np.array([0, 0, 1, 1, 2, 2])
GIVEN = np.array(
    [
        [0.8, 0.1, 0.1],
        [0.6, 0.3, 0.1],
        [0.2, 0.7, 0.1],
        [0.5, 0.4, 0.1],
        [0.1, 0.6, 0.3],
        [0.4, 0.35, 0.25],
    ]
)
ALONE = np.arange(6)


def scores(truth: Any = TRUTH, given: Any = GIVEN, units: Any = None, weights: Any = None, **how: Any) -> Any:
    units = np.arange(len(truth)) if units is None else units
    scorer = Scorer(np.asarray(truth), np.asarray(given), units, **how)
    return scorer.score(np.ones((1, units.max() + 1)) if weights is None else weights)


def overall(name: str, **how: Any) -> float:
    return float(scores(**how).overall[name][0])


# --------------------------------------------------------------------------- by hand


def test_accuracy_is_the_share_of_cells_that_are_right() -> None:
    assert overall("accuracy") == pytest.approx(3 / 6)


def test_macro_f1_is_the_mean_over_the_classes() -> None:
    # predicted: 0 0 1 0 1 0; F1 = 2 right / (true + predicted)
    assert scores().by_class["f1"][0].tolist() == pytest.approx([4 / 6, 2 / 4, 0])
    assert overall("macro_f1") == pytest.approx((4 / 6 + 2 / 4 + 0) / 3)
    assert scores().by_class["precision"][0].tolist() == pytest.approx([2 / 4, 1 / 2, 0])
    assert scores().by_class["recall"][0].tolist() == pytest.approx([1, 1 / 2, 0])


def test_auroc_counts_the_pairs_that_are_in_order_and_half_of_ties() -> None:
    # class 0: .8 .6 above all of .2 .5 .1 .4; class 1: .7 .4 against .1 .3 .6 .35; class 2: .3 .25 against .1 x 4
    assert scores().by_class["auroc"][0].tolist() == pytest.approx([1, 7 / 8, 1])
    assert overall("auroc", given=np.full((6, 3), 1 / 3)) == pytest.approx(0.5)


def test_auprc_is_the_mean_precision_where_a_cell_of_the_class_is_found() -> None:
    # class 1 in order .7+ .6- .4+ ...: precision 1 at the first, 2 of 3 at the second
    assert scores().by_class["auprc"][0].tolist() == pytest.approx([1, (1 + 2 / 3) / 2, 1])


def test_ece_weighs_the_gap_of_each_bin_by_its_cells() -> None:
    # Confidences .8 .6 .7 .5 .6 .4; of 15 bins the two of .6 share the ninth, one of them right.
    gaps = [abs(0.8 - 1), abs(1.2 - 1), abs(0.7 - 1), 0.5, 0.4]
    assert overall("ece") == pytest.approx(sum(gaps) / 6)


def test_brier_is_the_squared_error_over_all_classes() -> None:
    first = (0.8 - 1) ** 2 + 0.1**2 + 0.1**2
    assert overall("brier", truth=TRUTH[:1], given=GIVEN[:1]) == pytest.approx(first)
    assert overall("brier", truth=np.array([1]), given=np.array([[1.0, 0.0]])) == pytest.approx(2)


def test_the_reliability_of_each_bin_is_that_of_its_cells() -> None:
    found = Scorer(TRUTH, GIVEN, ALONE).reliability()
    assert found["cells"].sum() == 6
    assert len(found["cells"]) == BINS
    assert found["cells"][8] == 2  # 0.533 to 0.6
    assert found["confidence"][8] == pytest.approx(0.6)
    assert found["accuracy"][8] == pytest.approx(0.5)
    assert math.isnan(found["accuracy"][0])


def test_curves_are_read_off_at_a_grid() -> None:
    found = curves(TRUTH, GIVEN, [0.0, 0.25, 1.0])
    assert found["roc"][0] is not None
    assert found["pr"][1] is not None
    assert found["roc"][0].tolist() == [1, 1, 1]
    # class 1: recall .5 at precision 1, recall 1 at precision 2/3
    assert found["pr"][1].tolist() == pytest.approx([1, 1, 2 / 3])
    assert curves(np.zeros(6, np.int64), GIVEN, [0.5])["roc"] == [None, None, None]


def test_a_class_without_cells_has_no_figures_and_is_not_in_the_means() -> None:
    kept = TRUTH != 2
    found = scores(TRUTH[kept], GIVEN[kept])
    assert np.isnan(found.by_class["f1"][0]).tolist() == [False, False, True]
    assert overall("macro_f1", truth=TRUTH[kept], given=GIVEN[kept]) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert overall("auroc", truth=TRUTH[kept], given=GIVEN[kept]) == 1


def test_one_class_alone_has_no_auroc() -> None:
    assert math.isnan(overall("auroc", truth=np.zeros(6, np.int64)))
    assert overall("auprc", truth=np.zeros(6, np.int64)) == 1


# --------------------------------------------------------------------------- as scikit-learn has it


@st.composite
def predictions(draw: Any) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Labels, probabilities with many ties, and how often each cell is drawn."""
    cells, classes = draw(st.integers(2, 20)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    truth = rng.integers(0, classes, cells)
    raw = rng.integers(1, 4, (cells, classes)).astype(float)
    return truth, raw / raw.sum(axis=1, keepdims=True), rng.integers(1, 4, cells).astype(float)


@settings(max_examples=40, deadline=None)
@given(predictions())
def test_every_metric_is_that_of_scikit_learn(given: Any) -> None:
    truth, probability, weights = given
    found = scores(truth, probability, weights=weights[None])
    predicted, present = probability.argmax(axis=1), np.unique(truth)
    says: dict[str, Any] = {"sample_weight": weights}
    assert found.overall["accuracy"][0] == pytest.approx(sklearn.accuracy_score(truth, predicted, **says))
    f1 = sklearn.f1_score(truth, predicted, labels=present, average="macro", zero_division=0, **says)
    assert found.overall["macro_f1"][0] == pytest.approx(f1)
    wanted = np.eye(probability.shape[1])[truth]
    squares = np.average(((probability - wanted) ** 2).sum(axis=1), weights=weights)
    assert found.overall["brier"][0] == pytest.approx(squares)
    for place in present:
        mine = truth == place
        precision = sklearn.average_precision_score(mine, probability[:, place], **says)
        assert found.by_class["auprc"][0, place] == pytest.approx(precision)
        if not mine.all():
            area = sklearn.roc_auc_score(mine, probability[:, place], **says)
            assert found.by_class["auroc"][0, place] == pytest.approx(area)


@settings(max_examples=20, deadline=None)
@given(predictions())
def test_a_weight_is_as_many_copies_of_the_cell(given: Any) -> None:
    truth, probability, weights = given
    copied = np.repeat(np.arange(len(truth)), weights.astype(int))
    one, other = scores(truth, probability, weights=weights[None]), scores(truth[copied], probability[copied])
    for name, values in one.overall.items():
        np.testing.assert_allclose(values, other.overall[name], err_msg=name)


@settings(max_examples=20, deadline=None)
@given(predictions(), st.integers(0, 100))
def test_sums_over_units_are_those_over_their_cells(given: Any, seed: int) -> None:
    truth, probability, _ = given
    units = np.random.default_rng(seed).integers(0, 3, len(truth))
    units[0] = 2  # all three are there
    drawn = np.array([[2.0, 0.0, 1.0]])
    together = scores(truth, probability, units, drawn)
    apart = scores(truth, probability, weights=drawn[:, units])
    for name, values in together.overall.items():
        np.testing.assert_allclose(values, apart.overall[name], err_msg=name)


def test_many_scores_in_few_levels_change_the_areas_little() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random(20_000) < 0.02).astype(int)
    first = 1 / (1 + np.exp(-(rng.normal(size=20_000) + 2 * truth)))
    given, one = np.stack([1 - first, first], axis=1), np.zeros(20_000, int)
    exact, coarse = (scores(truth, given, one, levels=levels) for levels in (None, 1000))
    assert exact.overall["auroc"][0] != coarse.overall["auroc"][0]
    np.testing.assert_allclose(exact.by_class["auroc"], coarse.by_class["auroc"], atol=3e-4)
    np.testing.assert_allclose(exact.by_class["auprc"], coarse.by_class["auprc"], atol=2e-3)


# --------------------------------------------------------------------------- intervals over donors


def test_cells_of_one_donor_are_one_unit_and_those_of_none_each_their_own() -> None:
    found = bootstrap.units(["b", None, "a", "b", None])
    assert found.of_cell.tolist() == [1, 2, 0, 1, 3]
    assert (found.count, found.kind, found.donors, found.unknown) == (4, "donor", 2, 2)
    assert "Only 2 donors" in found.notes()[0]
    assert "2 test cells are of unknown donors" in found.notes()[1]
    alone = bootstrap.units([None, None])
    assert (alone.count, alone.kind, alone.few) == (2, "cell", False)
    assert "over cells" in alone.notes()[0]


def test_each_resample_draws_as_many_units_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = np.concatenate(list(bootstrap.draws(7, 50, seed=3)))
    assert (drawn.sum(axis=1) == 7).all()
    assert len({row.tobytes() for row in drawn}) > 40
    monkeypatch.setattr(bootstrap, "_DRAWN", 7 * 8)  # eight resamples at a time
    np.testing.assert_array_equal(drawn, np.concatenate(list(bootstrap.draws(7, 50, seed=3))))
    other = np.concatenate(list(bootstrap.draws(7, 50, seed=4)))
    assert (drawn != other).any()


def accuracy_interval(right: NDArray[Any], donors: list[str | None]) -> tuple[float, float]:
    units = bootstrap.units(donors)
    given = np.stack([1 - right, right], axis=1).astype(float)
    scorer = Scorer(np.ones(len(right), np.int64), given, units.of_cell)
    drawn = [scorer.score(w).overall["accuracy"] for w in bootstrap.draws(units.count, 400, seed=0)]
    found = bootstrap.interval(np.concatenate(drawn))
    assert found is not None
    return found


def test_more_cells_of_the_same_donors_do_not_narrow_the_interval() -> None:
    right = np.array([1, 1, 1, 1, 1, 0, 1, 0])
    names: list[str | None] = [f"donor{k}" for k in range(8)]
    once = accuracy_interval(right, names)
    often = accuracy_interval(np.repeat(right, 50), [n for n in names for _ in range(50)])
    assert often == pytest.approx(once)
    cells = accuracy_interval(np.repeat(right, 50), [None] * 400)
    assert cells[1] - cells[0] < (once[1] - once[0]) / 4


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, held, tried = np.random.default_rng(1), 0, 150
    for _ in range(tried):
        skill = rng.beta(7, 3, size=30)  # of each donor; 0.7 in the mean
        right = (rng.random((30, 10)) < skill[:, None]).astype(int).ravel()
        low, high = accuracy_interval(right, [f"donor{k // 10}" for k in range(300)])
        held += low <= 0.7 <= high
    assert 0.86 <= held / tried <= 0.99


def test_replicates_that_are_not_defined_are_left_out_of_the_interval() -> None:
    assert bootstrap.interval(np.array([np.nan, 0.5, 0.5])) == (0.5, 0.5)
    assert bootstrap.interval(np.array([np.nan])) is None


def test_no_warning_is_given_where_nothing_is_defined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert math.isnan(scores(weights=np.zeros((1, 6))).overall["accuracy"][0])
