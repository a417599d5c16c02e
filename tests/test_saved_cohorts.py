"""Saved cohorts: a name stands for its definition wherever an expression is taken, and for nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_store
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import cli, saved_cohorts
from tosg_graph.cell_terms import CohortDefinition
from tosg_graph.errors import CohortError
from tosg_graph.platform import Platform
from tosg_graph.saved_cohorts import SavedCohort, define, names, read, remove, save
from tosg_graph.settings import read_settings


def saved(name: str, expression: str = "sex = 'f'", query: str | None = None) -> SavedCohort:
    return SavedCohort(name, expression, query, {"x": 1} if query else {}, False, 7, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, expression in [("women", "sex = 'f'"), ("deep", "n_counts > 5 OR sex = 'm'"), ("all", "true")]:
        save(tmp_path / "cohorts", saved(name, expression))
    save(tmp_path / "cohorts", saved("lupus", query="MATCH (d:Disease) RETURN d"))
    return tmp_path / "cohorts"


@given(
    st.builds(
        SavedCohort,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
        st.text(min_size=1, max_size=40),
        st.none() | st.text(max_size=40),
        st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.lists(st.integers())),
        st.booleans(),
        st.integers(0, 2**40),
        st.integers(0, 2**31),
    )
)
def test_what_is_saved_is_read(tmp_path_factory: Any, cohort: SavedCohort) -> None:
    folder = tmp_path_factory.mktemp("cohorts")
    save(folder, cohort)
    assert read(folder, cohort.name) == cohort
    assert names(folder) == [cohort.name]
    assert [p.name for p in folder.iterdir()] == [f"{cohort.name}.json"]  # no part is left
    remove(folder, cohort.name)
    assert names(folder) == []


@pytest.mark.parametrize(
    ("expression", "written", "used"),
    [
        ("@women", "sex = 'f'", ("women",)),
        ("  @all ", "true", ("all",)),
        ("@women AND NOT @deep", "(sex = 'f') AND NOT (n_counts > 5 OR sex = 'm')", ("women", "deep")),
        ("(@women)", "((sex = 'f'))", ("women",)),
        ("name = 'me@women'", "name = 'me@women'", ()),
        ("name = 'it''s @women' OR \"a@women\" = 1", "name = 'it''s @women' OR \"a@women\" = 1", ()),
        ("n > 1", "n > 1", ()),
        ("'open @women", "'open (sex = 'f')", ("women",)),  # which the grammar refuses, as it should
    ],
)
def test_names_are_written_out_outside_quotes(
    folder: Path, expression: str, written: str, used: tuple[str, ...]
) -> None:
    assert define(folder, expression) == CohortDefinition(written, saved_as=used)


def test_a_saved_query_comes_along_where_the_name_stands_alone(folder: Path) -> None:
    found = define(folder, "@lupus")
    assert found == CohortDefinition("sex = 'f'", "MATCH (d:Disease) RETURN d", {"x": 1}, saved_as=("lupus",))
    assert define(folder, "@women", "MATCH (c:CellType) RETURN c").query == "MATCH (c:CellType) RETURN c"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("@wimen",), "No cohort 'wimen' is saved. Nearest: women"),
        (("@women AND @loopus",), "No cohort 'loopus' is saved. Nearest: lupus"),
        (("@lupus AND sex = 'm'",), "'lupus' has a query of its own, so it stands alone"),
        (("@lupus", "MATCH (n) RETURN n"), "'lupus' has a query of its own"),
        (("@",), "'' cannot be the name of a cohort"),
        (("@../women",), r"cannot be the name of a cohort"),
        (("true", None, {"x": 1}), "Add --cells-query"),
    ],
)
def test_names_that_cannot_be_written_out_are_refused(folder: Path, arguments: Any, says: str) -> None:
    with pytest.raises(CohortError, match=says) as refusal:
        define(folder, *arguments)
    assert "\n" not in str(refusal.value)


def test_a_name_is_replaced_only_when_asked(folder: Path) -> None:
    with pytest.raises(CohortError, match="'women' is saved already: sex = 'f'"):
        save(folder, saved("women", "sex = 'w'"))
    save(folder, saved("women", "sex = 'w'"), replace=True)
    assert read(folder, "women").expression == "sex = 'w'"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "ä"])
def test_names_that_are_no_file_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CohortError, match="cannot be the name of a cohort"):
        save(tmp_path, saved(name))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format_version": 1}', "cannot be read"),
        (
            '{"format_version": 1, "name": "x", "expression": 5, "query": null, "parameters": {}, "exact": false, '
            '"cells": 1, "store_version": 1}',
            "expression and query are text",
        ),
        ('{"format_version": 2}', "has format 2, this program reads 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(CohortError, match=says) as refusal:
        read(tmp_path, "x")
    assert "\n" not in str(refusal.value)


def test_a_save_that_fails_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CohortError, match="No space left on device"):
        save(folder, saved("women", "sex = 'w'"), replace=True)
    assert read(folder, "women").expression == "sex = 'f'"
    assert not list(folder.glob(".*"))


# --------------------------------------------------------------------------- commands, without a server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A home with twelve cells of three datasets; a graph that would fail at the first question."""
    monkeypatch.setenv("TOSG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Platform, "graph", object())
    p = Platform(read_settings())
    for place, dataset in enumerate(("a", "b", "c")):
        toy_store.add(p.store, 4 * place, 4, dataset, sex=pa.array(["f", "m", "f", "m"]))
    return p


def tosg(*arguments: str) -> str:
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0, done.stderr
    return done.stdout


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code in (1, 2)
    assert not done.stdout
    return done.stderr


def test_a_cohort_is_saved_listed_used_and_forgotten(home: Platform) -> None:
    assert "women" in tosg("cohort", "sex = 'f'", "--save", "women")
    assert read(home.settings.cohorts, "women") == SavedCohort("women", "sex = 'f'", None, {}, False, 6, 2)
    tosg("cohort", "@women AND dataset = 'a'", "--save", "few")
    assert read(home.settings.cohorts, "few").expression == "(sex = 'f') AND dataset = 'a'"
    listed = tosg("cohort", "--list")
    assert all(text in listed for text in ("women", "few", "sex = 'f'"))
    assert sum(f.num_rows for f in home.cohort("@few", ["barcode"])) == 2
    assert tosg("cohort", "@women", "--by", "sex").split()[-3:] == ["f", "6", "100"]
    tosg("cohort", "--remove", "women")
    assert "No cohort 'women' is saved. Nearest: few" in refused("cohort", "@women")
    assert read(home.settings.cohorts, "few").cells == 2  # it does not hang on the other


def test_a_saved_name_means_more_cells_when_there_are_more(home: Platform) -> None:
    tosg("cohort", "sex = 'f'", "--save", "women")
    toy_store.add(home.store, 12, 4, "d", sex=pa.array(["f"] * 4))
    assert home.cohort("@women", ["sex"])[0].to_pylist() == [{"sex": "f", "cells": 10, "pct": 100.0}]
    assert (
        read(home.settings.cohorts, "women").cells,
        read(home.settings.cohorts, "women").store_version,
    ) == (6, 2)


def test_a_cohort_says_of_whom_it_is_unless_asked_for_one_column(home: Platform) -> None:
    said = tosg("cohort", "sex = 'f'")
    assert "cells    6 of 3 datasets\n" in said
    assert "donors   6\n" in said
    assert "verdict  caution\n" in said
    assert "caution: half of the donors of the cohort or more have one cell" in said
    assert "verdict" not in tosg("cohort", "sex = 'f'", "--by", "sex")


def test_a_cohort_without_arms_is_reported_too(home: Platform, tmp_path: Path) -> None:
    page, data = tmp_path / "c.html", tmp_path / "c.json"
    said = tosg("cohort", "sex = 'f'", "--report", str(page), "--report", str(data))
    found = json.loads(data.read_text())
    assert found == home.describe("sex = 'f'")
    assert found["arms"]["the cohort"]["cells"] == 6
    assert f"verdict  {found['verdict']}\n" in said
    assert all(reason in page.read_text() for reason in found["reasons"])
    said = tosg("cohort", "true", "--by", "sex", "--report", str(data))
    found = json.loads(data.read_text())
    assert found["names"] == ["f", "m"]
    assert f"verdict: {found['verdict']}" in said


def test_an_empty_cohort_is_not_saved(home: Platform) -> None:
    assert "No cell is selected" in refused("cohort", "n_counts < 0", "--save", "nobody")
    assert names(home.settings.cohorts) == []


def test_a_comparison_is_printed_and_written(home: Platform, tmp_path: Path) -> None:
    tosg("cohort", "sex = 'f'", "--save", "women")
    page, data = tmp_path / "out" / "c.html", tmp_path / "out" / "c.json"
    arguments = ["--case", "@women", "--match", "dataset", "--report", str(page), "--report", str(data)]
    said = tosg("cohort", "true", *arguments)
    found = json.loads(data.read_text())
    assert f"verdict: {found['verdict']}" in said
    assert all(reason in said for reason in found["reasons"])
    assert found["match"]["case"] == "sex = 'f'"  # the name is written out
    assert [line["matched_cases"] for line in found["match"]["report"]] == [2, 2, 2]
    assert page.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--match", "sex"], "--match belongs to a comparison. Add --case EXPR"),
        (["--sample", "3"], "belong to a comparison. Add --case EXPR"),
        (
            ["--report", "x.html", "--by", "sex", "--by", "donor"],
            "the values of one column beside each other",
        ),
        (["--case", "sex = 'f'", "--by", "sex"], "Leave one of them out"),
        (["--case", "sex = 'f'", "--report", "x.pdf"], "--report x.pdf does not end in .html or .json"),
        (["--case", "sex = 'f'", "--ratio", "2"], "--ratio belongs to a match"),
        (["--case", "sex = 'f'", "--cap", "sex=many"], "--cap sex=many is not COLUMN=N"),
        (["--case", "sex = 'f'", "--sample-by", "sex"], "Add --sample N"),
        (["--replace"], "--replace belongs to --save NAME"),
        (["--exact-terms"], "Add --cells-query"),
        (["--case", "sex = 'f'", "--control", "true"], "6 cells are case and control at once"),
        (["--case", "sex = 'f'", "--match", "n_counts"], "Say the width of bins: n_counts:10"),
        (["--save", "a b"], "'a b' cannot be the name of a cohort"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_fit_are_refused(home: Platform, arguments: list[str], says: str) -> None:
    text = refused("cohort", "true", *arguments)
    assert says in " ".join(text.split())
    assert names(home.settings.cohorts) == []


def test_the_folder_is_that_of_the_home(home: Platform) -> None:
    assert home.settings.cohorts == home.settings.home / "cohorts"
    assert saved_cohorts.names(home.settings.cohorts) == []
