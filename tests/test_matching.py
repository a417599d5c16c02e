"""Matching: exact, without replacement, the same whatever the order of the rows, and everybody accounted for."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.errors import CohortError
from tosg_graph.matching import Key, Matched, is_unclassified, match, parse_keys

COLUMNS = {
    "sex": "VARCHAR",
    "age_years": "DOUBLE",
    "donor": "VARCHAR",
    "dataset": "VARCHAR",
    "good": "BOOLEAN",
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["case", "control"]),
        st.sampled_from(["f", "m", "unknown", None]),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["a", "b", "c", None]),
    ),
    max_size=50,
)


def cells(rows: list[tuple[Any, ...]], first: int = 0) -> pa.Table:
    arm, sex, dataset, donor = zip(*rows, strict=True)
    return pa.table(
        {
            "cell_id": [f"c{first + k:04d}" for k in range(len(rows))],
            "arm": pa.array(arm, pa.string()),
            "sex": pa.array(sex, pa.string()),
            "dataset": pa.array(dataset, pa.string()),
            "donor": pa.array(donor, pa.string()),
        }
    )


def groups(table: pa.Table, found: Matched) -> dict[str, list[str]]:
    """Case -> the cells of its group."""
    of: dict[str, list[str]] = {}
    ids = table["cell_id"].to_pylist()
    for row, group in zip(found.rows, found.group, strict=True):
        of.setdefault(group, []).append(ids[row])
    return of


@given(ROWS, st.integers(1, 3), st.integers(0, 99), st.randoms(use_true_random=False))
def test_matches_are_exact_complete_and_do_not_depend_on_the_order(rows, ratio, seed, random) -> None:  # type: ignore[no-untyped-def]
    rows = [
        *rows,
        ("case", "f", "x", "a"),
        *[("control", "f", "x", "b")] * 3,
    ]  # one case always has its controls
    table = cells(rows)
    keys = [Key("sex"), Key("dataset")]
    found = match(table, keys, ratio=ratio, seed=seed)
    by_id = {row["cell_id"]: row for row in table.to_pylist()}
    seen: set[str] = set()
    for case, members in groups(table, found).items():
        assert case in members
        assert [by_id[m]["arm"] for m in members].count("case") == 1
        assert len(members) == ratio + 1
        assert len({(by_id[m]["sex"], by_id[m]["dataset"]) for m in members}) == 1
        assert by_id[case]["sex"] in ("f", "m")  # unknown matches nothing
        assert not seen & set(members)
        seen |= set(members)
    gone = [cell for x in found.left_out for cell in x.cell_ids]
    assert sorted([*seen, *gone]) == table["cell_id"].to_pylist()
    # The report adds up to the cells, arm by arm.
    lines = found.report.to_pylist()
    for arm in ("case", "control"):
        mine = sum(row[0] == arm for row in rows)
        assert sum(line[f"{arm}s"] for line in lines) == mine
        assert sum(line[f"unmatched_{arm}s"] for line in lines) == sum(
            len(x.cell_ids) for x in found.left_out if x.reason.startswith(f"{arm} ")
        )
    assert all(line["reason"] for line in lines if line["unmatched_cases"] or line["unmatched_controls"])
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = table.take(order)
    assert (
        groups(shuffled, match(shuffled, keys, ratio=ratio, seed=seed)).keys() == groups(table, found).keys()
    )
    again = match(shuffled, keys, ratio=ratio, seed=seed)
    assert {k: sorted(v) for k, v in groups(shuffled, again).items()} == {
        k: sorted(v) for k, v in groups(table, found).items()
    }


def test_as_many_cases_are_matched_as_can_be() -> None:
    table = cells([("case", "f", "x", "a")] * 3 + [("control", "f", "x", "b")] * 5)
    assert len(match(table, [Key("sex")]).rows) == 6
    [line] = match(table, [Key("sex")], ratio=2).report.to_pylist()
    assert line == {
        "sex": "f",
        "cases": 3,
        "controls": 5,
        "matched_cases": 2,
        "matched_controls": 4,
        "unmatched_cases": 1,
        "unmatched_controls": 1,
        "reason": "too few controls",
    }


def test_cells_of_another_combination_do_not_move_a_match() -> None:
    here = cells([("case", "f", "x", d) for d in "aab"] + [("control", "f", "x", d) for d in "aaabbc"])
    elsewhere = cells([("case", "m", "y", "a"), ("control", "m", "y", "b")] * 9, 1000)
    alone = match(here, [Key("sex")], seed=3)
    both = match(pa.concat_tables([here, elsewhere]), [Key("sex")], seed=3)
    assert groups(here, alone).items() <= groups(pa.concat_tables([here, elsewhere]), both).items()


def test_controls_are_taken_in_turns_from_the_donors() -> None:
    many = [("control", "f", "x", "big")] * 50 + [("control", "f", "x", d) for d in "abcd"]
    table = cells([("case", "f", "x", "p")] * 5 + many)
    found = match(table, [Key("sex")])
    donors = [table["donor"][row].as_py() for row in found.rows if table["arm"][row].as_py() == "control"]
    assert sorted(donors) == ["a", "b", "big", "c", "d"]


def test_numbers_agree_in_bins() -> None:
    table = cells([("case", "f", "x", "a"), ("control", "f", "x", "b"), ("control", "f", "x", "c")])
    table = table.append_column("age_years", pa.array([29.9, 30.0, 20.0]))
    found = match(table, [Key("age_years", 10)])
    assert groups(table, found) == {"c0000": ["c0000", "c0002"]}
    assert found.report["age_years:10"].to_pylist() == ["20 to 30", "30 to 40"]


def test_a_donor_brings_its_dataset_along() -> None:
    assert parse_keys("sex,donor,age_years:5", COLUMNS) == (
        Key("sex"),
        Key("donor"),
        Key("age_years", 5.0),
        Key("dataset"),
    )
    assert parse_keys("dataset,donor", COLUMNS) == (Key("dataset"), Key("donor"))


@pytest.mark.parametrize(
    "value", [None, "", "unknown", "NA", "Unclassified", " unmapped ", float("nan"), "nan"]
)
def test_words_for_nothing_known_are_known(value: object) -> None:
    assert is_unclassified(value)
    assert not is_unclassified("normal")
    assert not is_unclassified("None")  # as in "treatment: none"
    assert not is_unclassified(0)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("sexx", "no column 'sexx'. Did you mean 'sex'"),
        ("age_years", "Say the width of bins: age_years:10"),
        ("age_years:0", "'0' in --match age_years:0 is no width"),
        ("age_years:x", "'x' in --match age_years:x is no width"),
        ("sex:3", "holds text, which has no bins"),
        ("age_years:5,age_years:10", "named twice"),
        ("", "no column ''"),
    ],
)
def test_keys_that_cannot_be_are_refused(keys: str, says: str) -> None:
    with pytest.raises(CohortError, match=says) as refusal:
        parse_keys(keys, COLUMNS)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [("case", None, "x", "a"), ("control", "f", "x", "b")],
            "sex is unknown in all 1 cells of the cases",
        ),
        (
            [("case", "f", "x", "a"), ("control", "NA", "x", "b")],
            "sex is unknown in all 1 cells of the controls",
        ),
        (
            [("case", "f", "x", "a"), ("control", "m", "x", "b")],
            r"1 values of cases, 1 of controls, 0 shared",
        ),
        ([("case", "f", "x", "a")], "No cell is a control"),
        ([("control", "f", "x", "a")], "No cell is a case"),
    ],
)
def test_a_match_that_cannot_be_says_what_keeps_the_arms_apart(rows: list[Any], says: str) -> None:
    with pytest.raises(CohortError, match=says) as refusal:
        match(cells(rows), [Key("sex")])
    assert "\n" not in str(refusal.value)
