"""Ages: what people and HsapDv write, in completed years or in days before birth; nothing is guessed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.ages import OLDEST, age_bin, parse_age
from tosg_graph.resources import schema
from tosg_graph.terms import Vocabulary

DAY = 1 / 365.25


@pytest.mark.parametrize(
    ("text", "years", "first", "last", "bin_"),
    [
        ("25-year-old stage", 25, 25, 25, "adult"),
        ("25-year-old human stage", 25, 25, 25, "adult"),
        ("18-year-old stage", 18, 18, 18, "adolescent"),
        ("third decade stage", 24.5, 20, 29, None),  # 20 to 24 is another bin than 25 to 29
        ("third decade human stage", 24.5, 20, 29, None),
        ("fourth decade stage", 34.5, 30, 39, "adult"),
        ("eighth decade stage", 74.5, 70, 79, "aged"),
        ("65-79 year-old stage", 72, 65, 79, "aged"),
        ("15-19 year-old", 17, 15, 19, None),
        ("80 year-old and over stage", None, 80, None, "80 and over"),
        ("centenarian stage", None, 100, None, "80 and over"),
        ("newborn stage (0-28 days)", 14 * DAY, 0, 28 * DAY, "newborn"),
        ("1-month-old stage", 1 / 12, 1 / 12, 1 / 12, "infant"),
        ("12-month-old stage", 1, 1, 1, "preschool"),
        ("nursing stage (0-11 months)", 5.5 / 12, 0, 11 / 12, None),
        ("juvenile stage (5-14 yo)", 9.5, 5, 14, None),
        ("infant stage", None, 1 / 12, 11 / 12, "infant"),
        ("adult", None, 15, None, None),
        ("aged stage", None, 65, None, None),
        ("aged 70 years", 70, 70, 70, "aged"),
        ("P7D", 7 * DAY, 7 * DAY, 7 * DAY, "newborn"),
        ("P2Y6M", 2.5, 2.5, 2.5, "preschool"),
        ("34 years", 34, 34, 34, "adult"),
        ("34.5 y", 34.5, 34.5, 34.5, "adult"),
        ("34yo", 34, 34, 34, "adult"),
        ("60s", 64.5, 60, 69, None),
        ("50s", 54.5, 50, 59, "middle aged"),
        ("45+ years", None, 45, None, None),
        (">= 80 years", None, 80, None, "80 and over"),
        ("19–22 years", 20.5, 19, 22, "young adult"),
        ("6 months", 0.5, 0.5, 0.5, "infant"),
        ("10 weeks old", 70 * DAY, 70 * DAY, 70 * DAY, "infant"),
        ("0 years", 0, 0, 0, None),  # less than one: newborn or infant
    ],
)
def test_ages_after_birth(text, years, first, last, bin_) -> None:  # type: ignore[no-untyped-def]
    age = parse_age(text)
    assert age is not None
    assert not age.prenatal
    assert age.pf_days is age.pf_days_min is age.pf_days_max is None
    for found, expected in ((age.years, years), (age.years_min, first), (age.years_max, last)):
        assert found == (None if expected is None else pytest.approx(expected))
    assert age.bin == bin_


@pytest.mark.parametrize(
    ("text", "days", "first", "last", "bin_"),
    [
        ("Carnegie stage 17", 42, 41, 43, "embryonic"),
        ("CS23", 58, 56, 60, "embryonic"),
        ("Carnegie stage 05b", 9.5, 9, 10, "embryonic"),
        ("20th week post-fertilization stage", 136, 133, 139, "fetal"),
        ("9th week post-fertilization human stage", 59, 56, 62, "fetal"),
        ("8th week post-fertilization stage", 52, 49, 55, "embryonic"),
        ("38th week post-fertilization and over stage", None, 259, None, "fetal"),
        ("12 pcw", 87, 84, 90, "fetal"),
        ("GW20", 129, 126, 132, "fetal"),  # two weeks less after fertilisation
        ("20 gestational weeks", 129, 126, 132, "fetal"),
        ("third LMP month stage", 62, 47, 77, "fetal"),
        ("41 dpc", 41, 41, 41, "embryonic"),
        ("fetal stage", None, 56, None, "fetal"),
        ("prenatal stage", None, 0, None, None),
    ],
)
def test_ages_before_birth_have_no_years(text, days, first, last, bin_) -> None:  # type: ignore[no-untyped-def]
    age = parse_age(text)
    assert age is not None
    assert age.prenatal
    assert age.years is age.years_min is age.years_max is None
    assert (age.pf_days, age.pf_days_min, age.pf_days_max, age.bin) == (days, first, last, bin_)


@pytest.mark.parametrize(
    "text",
    [
        *("", "unknown", "nan", "NA", "E12", "P7", "P", "-1", "999 years", "1e3 years", "5/6", "30-20 years"),
        *("20 weeks", "3 days", "10-12 week", "Carnegie stage 24", "0th decade", "34", "25 years?", "year"),
        *("adult mouse", "2 months-3 years", "9" * 400 + " years", "99th week post-fertilization stage"),
    ],
)
def test_an_unknown_form_is_not_guessed(text: str) -> None:
    assert parse_age(text) is None


def test_a_bare_number_needs_a_unit() -> None:
    assert parse_age("34") is None
    age = parse_age("34", unit="year")
    assert age
    assert age.years == 34


def test_every_stage_of_hsapdv_is_read_but_those_without_an_age() -> None:
    labels = Vocabulary().terms("development_stage").name_of.values()
    assert len(labels) > 200
    assert sorted(label for label in labels if parse_age(label) is None) == ["life cycle", "life cycle stage"]


def test_the_years_of_hsapdv_are_those_of_the_label() -> None:
    labels = Vocabulary().terms("development_stage").name_of.values()
    found = {
        n: parse_age(label) for label in labels for n in [label.partition("-year-old")[0]] if n.isdigit()
    }
    assert len(found) > 100
    assert all(age and age.years == age.years_min == age.years_max == int(n) for n, age in found.items())


@given(
    st.integers(0, 129), st.integers(0, 20), st.sampled_from(["years", "yrs", " year-old", "y", " years old"])
)
def test_a_range_has_its_bounds_and_its_middle(first: int, more: int, unit: str) -> None:
    age = parse_age(f"{first}-{first + more}{unit}")
    if first + more > OLDEST:
        assert age is None
        return
    assert age
    assert (age.years_min, age.years_max, age.years) == (first, first + more, first + more / 2)
    if age.bin:
        assert age.bin == age_bin(first, first + more + 1)


@given(st.integers(1, 38))
def test_weeks_after_fertilisation_are_never_years(week: int) -> None:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(
        week if week in (1, 2, 3) else week % 10 if week > 20 else 0, "th"
    )
    age = parse_age(f"{week}{ending} week post-fertilization stage")
    assert age
    assert age.years is None
    assert age.pf_days_min == 7 * (week - 1)
    assert age.bin == ("fetal" if week > 8 else "embryonic")


@given(st.text(max_size=30), st.sampled_from([None, "year"]))
def test_no_text_breaks_it_and_what_it_gives_is_possible(text: str, unit: str | None) -> None:
    age = parse_age(text, unit=unit)
    if age is None:
        return
    bounds = (age.pf_days_min, age.pf_days_max) if age.prenatal else (age.years_min, age.years_max)
    assert bounds[0] is not None
    assert bounds[0] >= 0
    assert bounds[1] is None or bounds[0] <= bounds[1]


def test_bins_are_half_open_and_leave_no_gap() -> None:
    edges = [spec["below"] for spec in schema("ages")["bins"] if "below" in spec]
    assert edges == sorted(edges)
    names = [spec["name"] for spec in schema("ages")["bins"]]
    for edge, name, following in zip(edges, names, names[1:], strict=False):
        assert age_bin(edge - 1e-6, edge) == name
        assert age_bin(edge, edge + 1e-6) == following
        assert age_bin(edge - 1e-6, edge + 1e-6) is None
    assert age_bin(edges[-1], None) == names[-1]


def test_carnegie_stages_follow_each_other() -> None:
    days = schema("ages")["carnegie"]
    whole = [days[str(n)] for n in range(1, 24)]
    assert all(first <= last for first, last in days.values())
    assert all(a[1] < b[0] for a, b in pairwise(whole))
