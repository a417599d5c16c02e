"""Tests with the donor as the unit: known statistics, an exact null, uniform p where nothing differs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csr_array

from tosg_graph.donor_tests import (
    Design,
    Moderated,
    benjamini_hochberg,
    compare_features,
    compare_sets,
)

BLOCKLESS = np.zeros(12, np.int64)
CASE = np.arange(12) < 6


def drawn(units: int, features: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(units, features))


def directions(design: Design, count: int = 10_000) -> tuple[Any, bool]:
    chunks, every = design.directions(count, np.random.default_rng(0))
    return np.concatenate(list(chunks)), every


def test_without_a_prior_t_is_students() -> None:
    values = drawn(12, 40, 1)
    moderated = Moderated.fit(Design(CASE, BLOCKLESS), values)
    plain = Moderated(moderated.centred, moderated.squares, moderated.df, 0.0, moderated.prior)
    found = plain.t(Design(CASE, BLOCKLESS).direction[None, :])[0]
    assert found == pytest.approx(stats.ttest_ind(values[CASE], values[~CASE]).statistic)


def test_donors_with_both_arms_give_the_paired_t() -> None:
    values, pairs = drawn(12, 5, 2), np.arange(12) % 6
    design = Design(CASE, pairs)
    moderated = Moderated.fit(design, values)
    plain = Moderated(moderated.centred, moderated.squares, moderated.df, 0.0, moderated.prior)
    expected = stats.ttest_rel(values[:6], values[6:])
    assert plain.t(design.direction[None, :])[0] == pytest.approx(expected.statistic)
    assert (design.df, design.permutations) == (5, 64)
    found = compare_features(design, values, permutations=100, seed=0)
    assert found.difference == pytest.approx((values[:6] - values[6:]).mean(axis=0))


def test_the_prior_is_that_of_its_variances() -> None:
    # Variances drawn as s0 d0 / chi2(d0) times chi2(df) / df: their moments give d0 and s0 back.
    rng, features = np.random.default_rng(3), 20_000
    spread = np.sqrt(0.5 * 8 / rng.chisquare(8, features))
    moderated = Moderated.fit(Design(CASE, BLOCKLESS), rng.normal(size=(12, features)) * spread)
    assert moderated.prior_df == pytest.approx(8, rel=0.15)
    assert np.median(moderated.prior) == pytest.approx(0.5, rel=0.05)


def test_every_permutation_is_listed_once_where_they_are_few() -> None:
    design = Design(np.array([1, 0, 0, 1, 0], bool), np.array([0, 0, 0, 1, 1]))
    found, every = directions(design)
    assert every
    assert len(found) == design.permutations == 6
    assert len(np.unique(np.round(found, 9), axis=0)) == 6
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)
    assert found @ (design.block == 0) == pytest.approx(0)
    assert any(np.allclose(row, design.direction) for row in found)


def test_drawn_permutations_stay_within_their_blocks() -> None:
    design = Design(np.arange(20) % 4 == 0, np.arange(20) // 10)
    found, every = directions(design, 500)
    assert not every
    for rows in design.members:
        assert found[:, rows].sum(axis=1) == pytest.approx(0)
        assert ((found[:, rows] > 0).sum(axis=1) == design.case[rows].sum()).all()


def test_an_exact_p_of_a_single_feature_is_the_share_of_permutations_that_reach_it() -> None:
    values = drawn(12, 1, 4)
    values[CASE] += 1.5
    found = compare_features(Design(CASE, BLOCKLESS), values, permutations=1_000, seed=0)

    def distance(a: Any, b: Any) -> Any:
        return np.abs(a.mean(axis=0) - b.mean(axis=0))

    expected = stats.permutation_test((values[CASE, 0], values[~CASE, 0]), distance, alternative="greater")
    assert found.p[0] == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("null", ["permutation", "rotation"])
def test_p_are_uniform_where_nothing_differs(null: Any) -> None:
    design = Design(CASE, BLOCKLESS)
    features = np.concatenate(
        [
            compare_features(design, drawn(12, 20, s), permutations=200, seed=s, null=null).p[:1]
            for s in range(200)
        ]
    )
    assert stats.kstest(features, "uniform").pvalue > 0.01
    sets = csr_array(np.kron(np.eye(2), np.ones(10)))
    p = []
    for seed in range(200):
        # Members go together: a test that took them for independent would find too much.
        shared = drawn(12, 2, 1_000 + seed).repeat(10, axis=1)
        values = drawn(12, 20, seed) + shared
        p.append(compare_sets(design, values, sets, permutations=100, seed=seed, null=null).p[0])
    assert stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("kind", "shifts"), [("up", (12, 0)), ("down", (0, 12)), ("mixed", (12, 12))])
def test_a_set_with_some_shifted_members_is_found_and_the_others_are_not(
    kind: str, shifts: tuple[int, int]
) -> None:
    up, down = shifts
    rng, design = np.random.default_rng(6), Design(np.arange(20) < 10, np.zeros(20, np.int64))
    values = rng.normal(size=(20, 400))
    values[:10, :up] += 1.5  # of the 40 members of the first set
    values[:10, 12 : 12 + down] -= 1.5
    sets = csr_array(np.kron(np.eye(10), np.ones(40)))
    found = compare_sets(design, values, sets, permutations=200, seed=0)
    assert (found.q <= 0.1).tolist() == [True] + [False] * 9
    assert found.kind[0] == kind
    assert found.draws[0] > found.draws[1:].min()


def test_the_seed_decides_and_nothing_else() -> None:
    design = Design(np.arange(20) < 10, np.zeros(20, np.int64))
    sets = csr_array(np.kron(np.eye(3), np.ones(10)))
    first, same, other = (
        compare_sets(design, drawn(20, 30, 7), sets, permutations=100, seed=seed) for seed in (1, 1, 2)
    )
    assert first.p.tolist() == same.p.tolist()
    assert first.score.tolist() == same.score.tolist()
    assert first.p.tolist() != other.p.tolist()


def test_rates_are_those_of_benjamini_and_hochberg() -> None:
    p = np.random.default_rng(8).uniform(size=50) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))


def test_z_of_a_t_is_its_normal_deviate() -> None:
    moderated = Moderated(np.empty((1, 0)), np.empty(0), 8, 2.0, np.empty(0))
    t = np.array([[-6.0, -1.0, 0.0, 0.5, 3.0]])
    expected = stats.norm.isf(stats.t.sf(t, 10))
    assert moderated.z(t) == pytest.approx(expected, abs=0.02)
    assert math.isclose(moderated.total_df, 10)


def test_nothing_to_test_is_no_error() -> None:
    design = Design(CASE, BLOCKLESS)
    assert len(compare_features(design, np.empty((12, 0)), permutations=100, seed=0).p) == 0
    assert len(compare_sets(design, drawn(12, 3, 0), csr_array((0, 3)), permutations=100, seed=0).p) == 0
