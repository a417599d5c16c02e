"""Diagnostics of two arms: the figures against their definition, and each threshold from both sides."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.balance import smd, smd_of_share
from tosg_graph.confounding import worst
from tosg_graph.diagnostics import compare, count_overlap, describe
from tosg_graph.errors import CohortError

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)


def arms(size: int = 60, **columns: list[Any]) -> pa.Table:
    """Alternating cases and controls of ten donors in two datasets that nothing sets apart."""
    rows = range(size)
    found: dict[str, Any] = {
        "cell_id": [f"c{k:04d}" for k in rows],
        "dataset": ["x" if k // 2 % 2 else "y" for k in rows],
        "barcode": [f"b{k}" for k in rows],
        "arm": ["control" if k % 2 else "case" for k in rows],
        "donor": [f"p{k // 2 % 5}" for k in rows],
        "n_counts": [1000 + 7 * (k // 2) for k in rows],
    }
    return pa.table({**found, **columns})


def says(found: dict[str, Any], text: str) -> bool:
    return any(text in reason for reason in found["reasons"])


def by_arm(case: Any, control: Any, size: int = 60) -> list[Any]:
    return [control if k % 2 else case for k in range(size)]


# --------------------------------------------------------------------------- figures


@given(NUMBERS, NUMBERS)
def test_differences_of_numbers_are_those_of_the_formula(first: list[float], second: list[float]) -> None:
    found = smd(first, second)
    variance = (np.var(first, ddof=1) + np.var(second, ddof=1)) / 2
    if np.mean(first) == np.mean(second):
        assert found == pytest.approx(0)
    elif variance > 1e-6:
        assert found == pytest.approx(
            (np.mean(first) - np.mean(second)) / math.sqrt(variance), rel=1e-6, abs=1e-6
        )


def test_differences_by_hand() -> None:
    assert smd([1, 2, 3], [3, 4, 5]) == -2  # means 2 and 4, both variances 1
    assert smd([1, 1], [2, 2]) is None  # wholly apart
    assert smd([1, 1], [1, 1]) == 0
    assert smd([1], [1, 2]) is None  # one cell has no variance
    # Austin 2009, section 3: p1 = 0.5, p2 = 0.3 gives 0.2 / sqrt((0.25 + 0.21) / 2).
    assert smd_of_share(0.5, 0.3) == pytest.approx(0.2 / math.sqrt(0.23))
    assert smd_of_share(1, 0) is None
    assert smd_of_share(1, 1) == 0


def test_the_figures_of_an_arm_are_its_cells() -> None:
    table = arms(donor=[None if k in (0, 2) else f"p{k // 2 % 5}" for k in range(60)])
    found = compare(table)["arms"]
    assert found["case"] == {
        "cells": 30,
        "donors": 10,  # five names in two datasets
        "datasets": 2,
        "unknown_donor_cells": 2,
        "unknown_donor_share": round(2 / 30, 6),
        "top_donor": "x / p0",
        "top_donor_share": 0.1,
        "cells_per_donor": [3] * 8 + [2] * 2,
        "median_cells_per_donor": 3.0,
        "median_n_counts": 1000 + 7 * 14.5,
    }
    assert found["control"]["unknown_donor_cells"] == 0


def test_overlap_counts_values_and_the_cells_that_have_them() -> None:
    assay = [["v1", "v2", "v2", "v3"][(k % 2) + 2 * (k % 4 > 1)] for k in range(60)]
    found = compare(arms(assay=assay))["overlap"]["assay"]
    # cases: v1 and v2 in turns; controls: v2 and v3
    assert found["jaccard"] == round(1 / 3, 6)
    assert found["shared"] == {"case": 0.5, "control": 0.5}
    assert found["values"] == {"case": {"v1": 15, "v2": 15}, "control": {"v2": 15, "v3": 15}}


def test_levels_of_unknown_value_are_a_level_of_their_own() -> None:
    found = compare(arms(sex=by_arm("f", "unknown")))
    lines = {x["level"]: x for x in found["balance"] if x["column"] == "sex"}
    assert set(lines) == {"f", "(unknown)"}
    assert (lines["f"]["values"], lines["f"]["smd"]) == ([1.0, 0.0], None)
    assert says(found, "sex wholly")


def test_what_the_arms_are_made_by_is_not_compared() -> None:
    columns = {"disease": by_arm("lupus", "normal"), "disease_id": by_arm("MONDO:1", "MONDO:2")}
    assert says(compare(arms(**columns)), "disease wholly")
    found = compare(arms(**columns), defining={"disease_id"})
    assert found["verdict"] == "ok"
    assert not [x for x in found["balance"] if x["column"].startswith("disease")]


def test_differences_before_stand_beside_those_after() -> None:
    before = arms(sex=["f" if k % 4 else "m" for k in range(60)])
    after = before.filter(pa.array([k % 4 > 1 for k in range(60)]))
    [line] = [x for x in compare(after, before=before)["balance"] if x["level"] == "f"]
    assert line["smd"] == 0
    assert line["smd_before"] == round(smd_of_share(0.5, 1.0) or 0, 6)


def test_the_histogram_holds_every_cell() -> None:
    depth = compare(arms())["depth"]
    assert [sum(counts) for counts in depth["cells"].values()] == [30, 30]
    assert [len(depth["edges"]) - 1] * 2 == [len(counts) for counts in depth["cells"].values()]


# --------------------------------------------------------------------------- verdicts


def test_alike_arms_are_ok() -> None:
    found = compare(arms())
    assert (found["verdict"], found["reasons"]) == ("ok", [])
    assert found["unjudged"] == ["assay", "suspension"]
    assert found["notes"] == ["5 donor names occur in several datasets and count once in each, first 'p0'"]


HALF = [None if k % 4 == 0 else f"p{k // 2 % 5}" for k in range(60)]


@pytest.mark.parametrize(
    ("columns", "verdict", "reason"),
    [
        ({"donor": [None] * 60}, "unreliable", "case has no known donor"),
        ({"donor": by_arm("p", "q"), "dataset": ["x"] * 60}, "unreliable", "case has one known donor"),
        (
            {"donor": [f"p{k // 2 % 4}" for k in range(60)], "dataset": ["x"] * 60},
            "caution",
            "case has 4 known donors, too few to compare people",
        ),
        ({"donor": HALF}, "caution", "50 % of the cells of case have no known donor"),
        (
            {"donor": [None if k % 8 in (0, 2, 4) else f"p{k // 2 % 5}" for k in range(60)]},
            "unreliable",
            "of the cells of case have no known donor",
        ),
        (
            {"donor": ["big" if k < 36 else f"p{k // 2 % 9}" for k in range(60)], "dataset": ["x"] * 60},
            "caution",
            "60 % of the cells of case are of one donor, x / big",
        ),
        (
            {"donor": ["big" if k < 50 else f"p{k // 2}" for k in range(60)], "dataset": ["x"] * 60},
            "unreliable",
            "83 % of the cells of case are of one donor",
        ),
        (
            {"donor": [f"p{k // 2}" for k in range(60)], "dataset": ["x"] * 60},
            "caution",
            "half of the donors of case or more have one cell or metacell",
        ),
        ({"dataset": by_arm("x", "y")}, "unreliable", "the arms share no dataset"),
        ({"suspension": by_arm("cell", "nucleus")}, "unreliable", "the arms share no suspension"),
        ({"assay": by_arm("v1", None)}, "caution", "assay is known of case alone"),
        (
            {"assay": ["v1" if k % 2 == 0 or k % 6 == 1 else "v2" for k in range(60)]},
            "caution",
            "33 % of the cells of control have a value of assay that the other arm has too",
        ),
        (
            {"assay": ["v1" if k % 2 == 0 or k == 1 else "v2" for k in range(60)]},
            "unreliable",
            "3 % of the cells of control have a value of assay that the other arm has too",
        ),
        ({"n_counts": by_arm(1000, 1300)}, "caution", "the median counts of the arms are as 0.77 to 1"),
        ({"n_counts": by_arm(1000, 2100)}, "unreliable", "the median counts of the arms are as 0.48 to 1"),
        ({"n_counts": by_arm(2100, 1000)}, "unreliable", "the median counts of the arms are as 0.48 to 1"),
        ({"sex": ["f" if k % 2 or k % 4 else "m" for k in range(60)]}, "caution", "the arms differ in sex"),
        (
            {"donor": ["pooled" if k < 12 else f"p{k // 2 % 7}" for k in range(60)]},
            "caution",
            "the donor x / pooled is no person: a pseudo-donor",
        ),
        (
            {"donor": ["x" if k < 12 else f"p{k // 2 % 7}" for k in range(60)]},
            "caution",
            "the donor x / x is no person",
        ),
    ],
)
def test_each_fault_is_named_with_its_severity(columns: dict[str, Any], verdict: str, reason: str) -> None:
    found = compare(arms(**columns))
    assert says(found, reason), found["reasons"]
    assert [r.split(": ")[0] for r in found["reasons"] if reason in r] == [verdict]
    assert found["verdict"] == worst(r.split(": ")[0] for r in found["reasons"])


@pytest.mark.parametrize(
    "columns",
    [
        {"n_counts": by_arm(1000, 1250)},  # a ratio of 0.8
        {"donor": [None if k % 10 == 0 else f"p{k // 2 % 7}" for k in range(60)]},  # a fifth
        {"donor": [f"p{k // 2 % 5}" for k in range(60)], "dataset": ["x"] * 60},  # five donors
        {"sex": ["f" if k // 2 % 10 < 5 + k % 2 else "m" for k in range(60)]},  # 0.5 and 0.6: 0.2
    ],
    ids=["depth", "unknown donors", "five donors", "balance"],
)
def test_what_stays_within_a_threshold_is_not_named(columns: dict[str, Any]) -> None:
    reasons = [r for r in compare(arms(**columns))["reasons"] if "n_counts" not in r]
    assert reasons == []


def test_a_cohort_is_described_by_its_donors_alone() -> None:
    found = describe(
        arms(donor=[None if k < 30 else "pooled" for k in range(60)], n_counts=by_arm(10, 99999))
    )
    [arm] = found["arms"].values()
    assert (arm["cells"], arm["donors"], arm["unknown_donor_share"]) == (60, 2, 0.5)
    assert found["reasons"] == [
        "caution: the cohort has 2 known donors, too few to compare people",
        "caution: 50 % of the cells of the cohort have no known donor",
        "caution: the donor x / pooled is no person: a pseudo-donor hides how people differ",
        "caution: the donor y / pooled is no person: a pseudo-donor hides how people differ",
    ]
    assert found["verdict"] == "caution"
    assert describe(arms())["reasons"] == []


def test_a_cohort_is_described_by_what_it_is_made_of() -> None:
    found = describe(arms(assay=["v1" if k < 45 else "unknown" for k in range(60)]))
    assert found["names"] == ["the cohort"]
    assert found["overlap"]["assay"]["values"] == {"the cohort": {"v1": 45}}
    assert found["overlap"]["assay"]["unknown"] == {"the cohort": 0.25}
    assert found["overlap"]["dataset"]["values"] == {"the cohort": {"x": 30, "y": 30}}
    assert sum(found["depth"]["cells"]["the cohort"]) == 60
    [mean] = [x["values"] for x in found["balance"] if x["column"] == "n_counts"]
    assert mean == [1000 + 7 * 14.5]
    assert (found["depth_ratio"], found["unjudged"], found["left_out"]) == (None, [], [])


THREE = ["lupus", "normal", "myositis"]


def in_three(values: tuple[Any, Any, Any], size: int = 60) -> list[Any]:
    return [values[k % 3] for k in range(size)]


def test_the_values_of_a_column_are_set_beside_each_other() -> None:
    disease = [None if k < 3 else "unknown" if k < 6 else THREE[k % 3] for k in range(60)]
    columns = {"disease": disease, "n_counts": in_three((100, 100, 300)), "sex": in_three(("f", "m", "m"))}
    found = describe(arms(**columns), "disease")
    assert found["names"] == sorted(THREE)
    assert {name: arm["cells"] for name, arm in found["arms"].items()} == dict.fromkeys(THREE, 18)
    assert found["left_out"] == [{"reason": "no known value in disease", "cells": 6}]
    assert found["depth_ratio"] == round(100 / 300, 6)  # of the two that differ most
    [sex] = [x for x in found["balance"] if (x["column"], x["level"]) == ("sex", "f")]
    assert sex["values"] == [1, 0, 0]
    assert sex["smd"] is None  # lupus and normal are wholly apart
    assert not [x for x in found["balance"] if x["column"] == "disease"]
    assert says(found, "the median counts of the arms are as 0.33 to 1")


def test_of_many_arms_the_largest_difference_counts() -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.9}
    rows = [(arm, "f" if k < 100 * share else "m") for arm, share in shares.items() for k in range(100)]
    table = arms(300, disease=[arm for arm, _ in rows], sex=[sex for _, sex in rows])
    [line] = [x for x in describe(table, "disease")["balance"] if x["level"] == "f"]
    assert line["values"] == [0.5, 0.3, 0.9]
    assert line["smd"] == pytest.approx(smd_of_share(0.3, 0.9), abs=1e-6)


@pytest.mark.parametrize(
    ("assays", "reason"),
    [
        (("v1", "v2", "v3"), "the arms share no assay"),
        (("v1", "v1", "v2"), "0 % of the cells of myositis have a value of assay that another arm has too"),
        (("v1", "v1", None), "assay is known of lupus, normal alone"),
        (("v1", "v1", "v1"), None),
    ],
)
def test_what_sets_one_of_three_arms_apart_is_named(assays: tuple[Any, Any, Any], reason: str | None) -> None:
    found = describe(
        arms(disease=in_three(("lupus", "normal", "myositis")), assay=in_three(assays)), "disease"
    )
    named = [r for r in found["reasons"] if "assay" in r and "the arms differ in" not in r]
    assert [reason in r for r in named] == ([True] if reason else [])


def test_only_the_most_frequent_of_many_values_are_set_beside_each_other() -> None:
    names = [f"t{k:02d}" for k in range(35)]
    found = describe(
        arms(75, cell_type=[names[k] if k < 35 else names[k % 20] for k in range(75)]), "cell_type"
    )
    assert (
        found["names"] == names[:30]
    )  # the first twenty have two cells more, and of the others the first are taken
    assert found["left_out"] == [{"reason": "of the 5 rarer values of cell_type", "cells": 5}]


def test_a_column_of_nothing_known_sets_nothing_beside_each_other() -> None:
    with pytest.raises(CohortError, match="None of the 60 cells has a known value in 'disease'"):
        describe(arms(disease=["unknown"] * 60), "disease")


def test_what_crosses_a_split_is_counted() -> None:
    """A table in which everything crosses that can: the zeros of a manifest are counted, not assumed."""
    cells = pa.table(
        {
            "cell_id": ["a", "a", "b", "c", "d", "e"],
            "dataset": ["x", "x", "x", "y", "y", "x"],
            "barcode": ["1", "1", "2", "2", "3", "2"],
            "donor": ["p", "p", "p", "p", None, None],
            "set": ["a", "a", None, None, "k", "k"],
            "split": ["train", "test", "val", "train", "train", "test"],
        }
    )
    found = {
        "donors": 1,  # p of x; p of y is somebody else
        "cell_ids": 1,
        "barcodes": 2,
        "copies": 2,
        "metacell_members": 1,
    }
    assert count_overlap(cells, copies="set") == found
    assert count_overlap(cells, copies="set", by_study=True) == {
        **found,
        "studies": 1,
    }  # x; y is in train alone


def test_members_of_metacells_that_cross_a_split_are_counted() -> None:
    cells = pa.table(
        {
            "cell_id": ["a", "b", "m", "n", "o"],
            "dataset": ["x", "x", "x_metacells", "x_metacells", "x_others"],
            "barcode": ["1", "2", "3", "4", "5"],
            "split": ["train", "train", "test", "val", "test"],
            "metacell_of": [None, None, "x", "x", "x"],
            "metacell_members": [None, None, ["a", "c", "d"], ["d", "e"], ["c"]],
        }
    )
    assert count_overlap(cells, by_study=True) == {
        "donors": 0,
        "cell_ids": 0,
        "barcodes": 0,
        "copies": 0,
        "metacell_members": 2,  # a is in train itself, d in two sums; c is in two of one side
        "studies": 1,  # the metacells are of x
    }


def test_one_donor_per_dataset_is_noted() -> None:
    found = compare(arms(donor=["p" if k // 2 % 2 else "q" for k in range(60)]))
    assert "every dataset has exactly one donor: it may stand for several people" in found["notes"]


def test_what_is_found_is_plain_json_without_infinities() -> None:
    found = compare(arms(sex=by_arm("f", "m"), age_years=[20.0] * 60))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
