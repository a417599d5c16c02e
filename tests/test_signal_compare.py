"""Findings of several groups side by side: what is shared, what is specific, and what cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import planted_bundle as planted
import pyarrow as pa
import pytest
from click.testing import CliRunner

from tosg_graph import signal_files
from tosg_graph.cli import main
from tosg_graph.errors import SignalError
from tosg_graph.signal_comparison import Comparison, beside, compare
from tosg_graph.signal_comparison_files import read, read_results, write
from tosg_graph.signal_findings import SignalPlan, find
from tosg_graph.signal_heatmap import order
from tosg_graph.signal_scores import Contrast
from tosg_graph.signal_sharing import side_by_side

CONTRAST = Contrast("group", "case", "control", min_cells=3)
PLAN = SignalPlan(CONTRAST, permutations=100)
SITES = [
    "skin",
    "gut",
    "eye",
    "tiny",
]  # of a donor's cells, four to each of three sites; two donors have a fourth


def sites() -> list[str]:
    own = [SITES[k % 3] for k in range(planted.CELLS)]
    return own * (2 * planted.DONORS - 2) + ["tiny"] * planted.CELLS + ["unknown"] * planted.CELLS


def counts() -> np.ndarray[Any, Any]:
    """Genes 0-9 are up everywhere, 10-19 down in skin alone, 20-22 up in skin and down in gut."""
    matrix = planted.counts(3.0, seed=8).astype(float)
    site, case = np.array(sites()), np.arange(len(matrix)) < planted.DONORS * planted.CELLS
    matrix[np.ix_(~case & (site == "skin"), range(10, 20))] *= 3
    matrix[np.ix_(case & (site == "skin"), range(20, 23))] *= 3
    matrix[np.ix_(~case & (site == "gut"), range(20, 23))] *= 3
    return matrix.astype(np.int32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare") / "bundle"
    planted.write(out, counts(), site=sites())
    return out


@pytest.fixture(scope="module")
def compared(folder: Path) -> Comparison:
    return compare(folder, PLAN, "site")


def genes_of(compared: Comparison, sharing: str) -> set[str]:
    return {row["id"] for row in compared.nodes.to_pylist() if row["sharing"] == sharing}


def test_what_is_shared_specific_and_opposite_is_told_apart(compared: Comparison) -> None:
    assert list(compared.groups) == ["eye", "gut", "skin"]
    assert genes_of(compared, "shared") == {planted.gene(k) for k in range(10)}
    assert genes_of(compared, "specific") == {planted.gene(k) for k in range(10, 20)}
    assert genes_of(compared, "opposite") == {planted.gene(k) for k in range(20, 23)}
    pathways = {row["id"]: row for row in compared.pathways.to_pylist()}
    said = [pathways[f"WIKIPATHWAYS:WP{k}"]["sharing"] for k in range(4)]
    assert said == ["shared", "specific", None, None]
    assert pathways["WIKIPATHWAYS:WP1"]["found_in"] == ["skin"]
    assert pathways["WIKIPATHWAYS:WP1"]["heterogeneity_q"] < 0.01
    assert pathways["WIKIPATHWAYS:WP3"]["found_in"] == []
    first = compared.edges.to_pylist()[0]
    assert (first["sharing"], first["found_in"]) == ("shared", ["eye", "gut", "skin"])
    alone = {
        row["sharing"]
        for row in compared.edges.to_pylist()
        if row["source_id"] in genes_of(compared, "specific")
    }
    assert alone == {"specific"}
    own = compared.groups["skin"].nodes
    at = own["id"].to_pylist().index(planted.gene(12))
    row = next(row for row in compared.nodes.to_pylist() if row["id"] == planted.gene(12))
    assert row["difference:skin"] == own["difference"][at].as_py()
    assert compared.about["sharing"]["nodes"] == {
        "shared": 10,
        "opposite": 3,
        "specific": 10,
        "unclear": 0,
        "tested in one": 0,
    }


def test_values_that_cannot_be_compared_and_donors_of_several_groups_are_said(compared: Comparison) -> None:
    left = {x["value"]: x["reason"] for x in compared.about["left_out"]}
    assert left == {"tiny": left["tiny"], "unknown": "12 cells without a known site"}
    assert "has 0 donors of 3 cells or more" in left["tiny"]
    assert "14 of 14 donors are in several groups" in compared.about["notes"][0]


def test_each_value_of_the_column_itself_is_compared_with_the_control(tmp_path: Path) -> None:
    matrix = planted.counts(3.0)
    kind = ["lupus"] * 48 + ["flu"] * 48 + ["healthy"] * 96
    planted.write(tmp_path / "bundle", matrix, disease=kind)
    plan = SignalPlan(Contrast("disease", "", "healthy"), permutations=100)
    found = compare(tmp_path / "bundle", plan, "disease")
    assert list(found.groups) == ["flu", "lupus"]
    assert genes_of(found, "shared") == {planted.gene(k) for k in planted.PLANTED}
    assert "8 of 16 donors are in several groups" in found.about["notes"][0]
    with pytest.raises(SignalError, match="name it with --control"):
        compare(tmp_path / "bundle", SignalPlan(Contrast("disease", "", None)), "disease")


def test_fewer_than_two_groups_are_refused_with_the_reasons(folder: Path) -> None:
    with pytest.raises(SignalError, match=r"0 values of donor can be compared.*donor00: .*has 0 donors"):
        compare(folder, PLAN, "donor")
    with pytest.raises(SignalError, match="Did you mean 'site'"):
        compare(folder, PLAN, "sites")
    with pytest.raises(SignalError, match=r"has group = 'cas'\. Did you mean 'case'"):
        compare(folder, SignalPlan(Contrast("group", "cas", "control")), "site")
    with pytest.raises(
        SignalError, match=r"1 value of group can be compared, and two are the fewest \(only case\)"
    ):
        compare(folder, SignalPlan(Contrast("group", "", "control", min_cells=1)), "group")


# --------------------------------------------------------------------------- sharing


def table(**columns: Any) -> pa.Table:
    n = len(columns["id"])
    given = {
        "name": columns["id"],
        "type": ["Gene"] * n,
        "error": [0.2] * n,
        "p": [0.001] * n,
        "q": [0.001] * n,
    }
    return pa.table({**given, **columns, "found": [q <= 0.1 for q in columns.get("q", given["q"])]})


def test_found_here_and_not_there_is_no_difference_between_groups() -> None:
    one = table(id=["g"], difference=[1.0])
    # Nearly as far, with fewer donors: not found, yet no other than the first.
    weak = table(id=["g"], difference=[0.8], error=[0.6], p=[0.2], q=[0.4])
    assert side_by_side({"a": one, "b": weak}, "nodes", 0.1)["sharing"].to_pylist() == ["unclear"]
    clear = table(id=["g"], difference=[0.0], error=[0.2], p=[0.9], q=[0.9])
    assert side_by_side({"a": one, "b": clear}, "nodes", 0.1)["sharing"].to_pylist() == ["specific"]
    # One of two others is like it.
    groups = {"a": one, "b": clear, "c": weak}
    assert side_by_side(groups, "nodes", 0.1)["sharing"].to_pylist() == ["unclear"]
    # It goes the same way there, at a p that is no finding after correction.
    near = table(id=["g"], difference=[0.4], error=[0.15], p=[0.01], q=[0.2])
    assert side_by_side({"a": one, "b": near}, "nodes", 0.1)["sharing"].to_pylist() == ["unclear"]
    assert side_by_side({"a": one, "b": one.slice(0, 0)}, "nodes", 0.1)["sharing"].to_pylist() == [
        "tested in one"
    ]


def test_cochrans_test_is_that_of_the_formula() -> None:
    tables = [table(id=["g"], difference=[d], error=[e]) for d, e in ((1.0, 0.5), (0.2, 0.25), (-0.4, 0.5))]
    found = side_by_side(dict(zip("abc", tables, strict=True)), "nodes", 0.1)
    weights = np.array([4.0, 16.0, 4.0])
    mean = (weights * [1.0, 0.2, -0.4]).sum() / 24
    q = (weights * (np.array([1.0, 0.2, -0.4]) - mean) ** 2).sum()
    assert found["heterogeneity_p"][0].as_py() == pytest.approx(np.exp(-q / 2))  # chi square of two degrees


def test_pathways_that_are_one_in_every_group_are_one() -> None:
    def pathways(ids: list[str], same: list[list[str]]) -> pa.Table:
        columns: dict[str, Any] = {"id": ids, "difference": [1.0] * len(ids)}
        return (
            table(**columns)
            .append_column("same_as", pa.array(same, pa.list_(pa.string())))
            .append_column("kind", pa.array(["up"] * len(ids)))
        )

    one = pathways(["a", "d"], [["b", "c"], []])
    other = pathways(["b", "d"], [["a"], []])  # c has other members there, too few
    rows = {row["id"]: row for row in side_by_side({"x": one, "y": other}, "pathways", 0.1).to_pylist()}
    assert {key: (row["same_as"], row["sharing"]) for key, row in rows.items()} == {
        "a": (["b"], "shared"),
        "c": ([], "tested in one"),
        "d": ([], "shared"),
    }


def test_differences_of_nothing_are_not_tested_for_heterogeneity() -> None:
    flat = table(id=["g", "h"], difference=[0.0, 1.0], error=[np.nan, 0.2], p=[1.0, 0.01], q=[1.0, 0.02])
    found = side_by_side({"a": flat, "b": flat}, "nodes", 0.1)
    assert found["heterogeneity_q"].to_pylist() == [1.0, None]


def test_the_order_of_a_map_puts_like_beside_like() -> None:
    values = np.array([[0.0, 0.0], [9.0, 9.0], [0.1, 0.0], [9.0, 8.9]])
    leaves, tree = order(values)
    assert {frozenset(leaves[:2]), frozenset(leaves[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert tree[-1][4] == 1.0
    assert order(values[:1]) == ([0], [])


# --------------------------------------------------------------------------- files and the command


def test_the_folder_is_the_same_twice_and_reads_back(compared: Comparison, tmp_path: Path) -> None:
    for name in "ab":
        write(compared, tmp_path / name)
    first, second = (
        {
            p.relative_to(tmp_path / n).as_posix(): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in "ab"
    )
    assert first == second
    assert set(first) >= {
        "findings.json",
        "report.html",
        "pathways.svg",
        "nodes.parquet",
        "groups/02/findings.json",
    }
    back = read(tmp_path / "a")
    assert (back.run_id, back.about["left_out"]) == (compared.run_id, compared.about["left_out"])
    assert back.pathways.equals(compared.pathways)
    report = first["report.html"].decode()
    assert "Pathway &lt;1&gt;" in report
    assert "<script" not in report
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    drawn = first["nodes.svg"].decode()
    assert drawn.count("<circle") == 10 * 3 + 10 + 3 * 2 + 1, "what was found, and one that says so"
    assert "Nodes that were found in any site" in drawn
    assert "difference / its error" in drawn
    with pytest.raises(SignalError, match="holds findings of several groups"):
        signal_files.read(tmp_path / "a")
    with pytest.raises(SignalError, match="holds no comparison"):
        read(tmp_path / "a" / "groups" / "00")


def test_results_are_set_side_by_side_under_the_names_of_their_folders(folder: Path, tmp_path: Path) -> None:
    for site in ("skin", "gut"):
        where = Contrast("group", "case", "control", min_cells=3, where=(("site", site),))
        signal_files.write(find(folder, SignalPlan(where, permutations=100)), tmp_path / site)
    found = read_results([tmp_path / "skin", tmp_path / "gut"])
    assert list(found.groups) == ["skin", "gut"]
    assert genes_of(found, "specific") == {planted.gene(k) for k in range(10, 20)}
    with pytest.raises(SignalError, match="/skin'"):
        read_results([tmp_path / "skin", tmp_path / "skin"])
    with pytest.raises(SignalError, match="given twice"):
        beside({"a": found.groups["skin"], "b": found.groups["skin"]})
    with pytest.raises(SignalError, match="two are the fewest"):
        read_results([tmp_path / "skin"])
    found.groups["gut"].about["fdr"] = 0.2
    with pytest.raises(SignalError, match=r"fdr = 0\.2, another result 0\.1"):
        beside(found.groups)


def test_the_command_compares_and_refuses(folder: Path, tmp_path: Path) -> None:
    words = ["signal", "compare", str(folder), "--over", "site"]
    own = ["--by", "group", "--case", "case", "--min-cells", "3", "--permutations", "100"]
    done = CliRunner().invoke(main, [*words, *own, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "3 groups: eye, gut, skin" in done.stdout
    assert "Pathway <1>" in done.stdout
    assert json.loads((tmp_path / "out" / "findings.json").read_text())["over"] == "site"
    for more, code, message in (
        (["--by", "group"], 2, "--by and --case belong together"),
        ([], 1, "name it with --control"),
    ):
        refused = CliRunner().invoke(main, [*words, *more])
        assert (refused.exit_code, message in refused.stderr) == (code, True), refused.stderr
    refused = CliRunner().invoke(main, ["signal", "compare", str(folder), "--by", "group"])
    assert (refused.exit_code, "Add --over" in refused.stderr) == (2, True)
