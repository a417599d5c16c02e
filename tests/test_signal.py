"""Signaling inference on a bundle: what was planted is found, what was not is not, and donors are the units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import planted_bundle as planted
import pytest
from click.testing import CliRunner

from tosg_graph import signal_picture, signal_scores
from tosg_graph.cli import main
from tosg_graph.errors import ExportError, SignalError
from tosg_graph.signal_files import read, write
from tosg_graph.signal_findings import Findings, SignalPlan, find
from tosg_graph.signal_scores import Contrast, activity, units

SVG = "{http://www.w3.org/2000/svg}"
CONTRAST = Contrast("group", "case", "control")
PLAN = SignalPlan(CONTRAST, permutations=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("signal") / "bundle"
    planted.write(
        out,
        planted.counts(3.0),
        odd=[["case", "control"][k // 3 % 2] for k in range(192)],
        batch=["a", "a", "b", "b"] * 48,
    )
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Findings:
    return find(folder, PLAN)


def picked(table: Any, column: str) -> set[Any]:
    return set(table.filter(table["found"])[column].to_pylist())


# --------------------------------------------------------------------------- what is found


def test_the_planted_genes_edges_and_pathway_are_found(found: Findings) -> None:
    genes = {planted.gene(k) for k in planted.PLANTED}
    assert picked(found.nodes, "id") == genes
    assert picked(found.edges, "source_id") | picked(found.edges, "target_id") == genes
    assert len(found.edges.filter(found.edges["found"])) == 9
    first = found.pathways.to_pylist()[0]
    assert (first["id"], first["kind"], first["found"]) == ("WIKIPATHWAYS:WP0", "up", True)
    assert set(first["leading"]) == genes
    assert first["difference"] == pytest.approx(np.log2(3), abs=0.15)
    assert picked(found.subgraph, "source_id") < genes
    assert found.subgraph["pathway"].to_pylist() == ["WIKIPATHWAYS:WP0"] * len(found.subgraph)
    assert found.about["tests"]["pathways"] == {"tested": 4, "found": 1}


def test_nothing_is_found_where_labels_were_dealt_out_to_cells_or_donors(
    folder: Path, tmp_path: Path
) -> None:
    planted.write(tmp_path / "null", planted.counts(1.0, seed=6))
    null = find(tmp_path / "null", PLAN)
    assert [null.about["tests"][what]["found"] for what in ("nodes", "edges", "pathways")] == [0, 0, 0]
    # Every donor has half of its cells in either arm: donors are compared with themselves.
    halves = find(folder, SignalPlan(Contrast("odd", "case", "control", min_cells=3), permutations=200))
    assert halves.about["units"]["paired"]
    assert [halves.about["tests"][what]["found"] for what in ("nodes", "edges", "pathways")] == [0, 0, 0]


# --------------------------------------------------------------------------- the scores


def test_sums_over_batches_are_what_the_cells_have(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = activity(folder, CONTRAST)
    monkeypatch.setattr(signal_scores, "DENSE", 5 * 44)  # five cells of 44 nodes; edges in parts too
    again = activity(folder, CONTRAST)
    assert again.values == pytest.approx(whole.values)
    assert again.edge_values == pytest.approx(whole.edge_values)

    counts, donors = planted.counts(3.0).astype(float), np.repeat(np.arange(16), planted.CELLS)
    order = sorted(range(16), key=lambda d: f"donor{d:02d}")
    every = counts.sum(axis=1, keepdims=True) + planted.REST
    levels = np.log1p(counts * 1e4 / every)
    for row, donor in enumerate(order):
        mine = donors == donor
        edge = np.sqrt(levels[mine, 3] * levels[mine, 4]).mean()
        at = whole.edges["source_row"].to_pylist().index(3)
        assert whole.edge_values[row, at] == pytest.approx(edge, rel=1e-5)
    sums = np.stack([counts[donors == d].sum(axis=0) for d in order])
    totals = np.stack([every[donors == d].sum(axis=0) for d in order])
    prior = 2 * totals / totals.mean()
    assert whole.values == pytest.approx(np.log2((sums + prior) / (totals + 2 * prior) * 1e4))


def test_memory_of_the_sums_knows_donors_and_not_cells(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    add = signal_scores.Sums.add

    def watched(self: Any, dataset: Any, at: Any, rows: Any) -> None:
        add(self, dataset, at, rows)
        sizes.append(sum(v.nbytes for v in vars(self).values() if isinstance(v, np.ndarray)))

    monkeypatch.setattr(signal_scores.Sums, "add", watched)
    monkeypatch.setattr(signal_scores, "DENSE", 5 * 44)
    activity(folder, CONTRAST)
    assert len(sizes) > 30
    assert len(set(sizes)) == 1


def test_nothing_of_a_cell_changes_another_donor(tmp_path: Path) -> None:
    matrix = planted.counts(1.0)
    planted.write(tmp_path / "a", matrix)
    matrix[0, :] = 7
    planted.write(tmp_path / "b", matrix)
    a, b = (activity(tmp_path / name, CONTRAST).edge_values for name in "ab")
    assert (a[1:] == b[1:]).all()
    assert (a[0] != b[0]).any()


# --------------------------------------------------------------------------- whose cells


def test_donors_without_a_name_or_with_few_cells_are_left_out_and_counted() -> None:
    cells = planted.cells(planted.counts(1.0))
    donors = cells["donor"].to_pylist()
    donors[:12] = ["unknown"] * 12
    donors[12:20] = ["tiny"] * 8
    import pyarrow as pa

    cells = cells.set_column(cells.column_names.index("donor"), "donor", pa.array(donors))
    found = units(cells, Contrast("group", "case", "control", min_cells=9))
    assert found.left_out == {"of no known donor": 12, "of donors with fewer than 9 cells in an arm": 12}
    assert len(found.table) == 14
    assert (found.row[:24] == -1).all()


def test_donors_are_compared_within_the_values_of_a_column() -> None:
    cells = planted.cells(planted.counts(1.0), site=["x", "y"] * 96)
    found = units(cells, Contrast("group", "case", "control", within="site", min_cells=1))
    assert len(found.design.members) == 2
    assert len(found.table) == 32
    # A value with one arm tells nothing about the difference.
    alone = planted.cells(planted.counts(1.0), site=["x"] * 156 + ["y"] * 36)
    found = units(alone, Contrast("group", "case", "control", within="site"))
    assert found.left_out == {"of a site with one arm": 36}


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (Contrast("groop", "case", "control"), "no column 'groop'. Did you mean 'group'?"),
        (Contrast("group", "cases", "control"), "Did you mean 'case'?"),
        (Contrast("group", "case", "case"), "both 'case'"),
        (Contrast("group", "case", "control", donor="person"), "no column 'person'"),
        (Contrast("donor", "donor00", "donor15"), "has 1 donors of 10 cells or more, and 3 are the fewest"),
        (Contrast("group", "case", "control", min_cells=13), "192 cells of donors with fewer than 13"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    folder: Path, contrast: Contrast, message: str
) -> None:
    with pytest.raises(SignalError) as error:
        find(folder, SignalPlan(contrast))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "bad", [{"permutations": 10}, {"fdr": 1.5}, {"top": 0}, {"null": "bootstrap"}, {"seed": -1}]
)
def test_a_plan_out_of_bounds_is_refused(folder: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(SignalError, match=next(iter(bad))):
        find(folder, SignalPlan(CONTRAST, **bad))


# --------------------------------------------------------------------------- files and the command


def test_the_folder_is_the_same_twice_and_reads_back(folder: Path, found: Findings, tmp_path: Path) -> None:
    for name in "ab":
        write(find(folder, PLAN), tmp_path / name)
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    assert set(first) >= {"findings.json", "report.html", "subgraph.svg", "subgraph.png", "edges.parquet"}
    back = read(tmp_path / "a")
    assert back.pathways.equals(found.pathways)
    assert back.run_id == found.run_id
    report = first["report.html"].decode()
    assert "Pathway &lt;0&gt;" in report
    assert "<script" not in report
    assert "http://" not in report.replace("http://www.w3.org/2000/svg", "")
    assert "Pathway &lt;0&gt;" in first["subgraph.svg"].decode()

    (tmp_path / "a" / "edges.parquet").write_bytes(b"other")
    with pytest.raises(SignalError, match="is damaged"):
        read(tmp_path / "a")
    with pytest.raises(SignalError, match="holds no findings"):
        read(tmp_path)
    with pytest.raises(ExportError, match="exists already"):
        write(found, tmp_path / "b")


def test_the_picture_says_what_was_compared_and_what_its_signs_mean(found: Findings) -> None:
    tables = (found.nodes, found.subgraph, found.pathways)
    drawn = signal_picture.drawing(*tables, 0, "group", ("case <1>", "a control of a very long name"))
    said = [text.text for text in ElementTree.fromstring(signal_picture.svg(drawn)).iter(f"{SVG}text")]
    assert {"group: case <1> against a control of a very long name", "more in case <1>"} <= set(said)
    assert {"more in a control of a very l…", "signals", "inhibits", "ligand of", "interacts"} <= set(said)
    assert {f"G{k}" for k in planted.PLANTED} <= set(said)


def test_names_of_pathways_in_the_picture_do_not_lie_on_each_other() -> None:
    place = np.array([[300.0, 300.0], [400.0, 300.0], [350.0, 400.0]])
    groups = [(f"A pathway of the same genes {k}", [0, 1, 2]) for k in range(3)]
    drawn = signal_picture.Drawing(
        ["a", "b", "c"], ["a", "b", "c"], place, np.zeros(3), [], groups, "", ("x", "y")
    )
    lines = sorted(y for _, y, *_ in signal_picture._names_of_areas(drawn))
    assert min(np.diff(lines)) >= 12


def test_few_donors_and_missing_knowledge_are_said(folder: Path) -> None:
    few = Contrast("group", "case", "control", where=(("batch", "a"),), min_cells=1)
    assert (
        find(folder, SignalPlan(few, permutations=200)).about["left_out"]["cells not where it was asked for"]
        == 96
    )


def test_the_command_prints_and_writes(folder: Path, tmp_path: Path) -> None:
    words = ["signal", str(folder), "--by", "group", "--case", "case", "--permutations", "100"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "8 donors of case against 8 donors of the other cells" in done.stdout
    assert "Pathway <0>" in done.stdout
    said = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert said["tests"]["nodes"]["tested"] == planted.GENES
    refused = CliRunner().invoke(main, [*words, "--donor", "nobody"])
    assert refused.exit_code == 1
    assert "no column 'nobody'" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explian", "findings"], "No such command 'explian'. Did you mean 'explain'?"),
        (["nowhere", "--by", "group", "--case", "case"], "nowhere is no bundle: it has no manifest.json"),
        (["file", "--by", "group", "--case", "case"], "file is a file. Name the folder of the bundle."),
        (["explain", "nowhere"], "nowhere holds no findings: it has no findings.json. Make them with tosg"),
        (
            ["explain", "bundle"],
            "bundle holds no findings: it has no findings.json. Make them with tosg signal b",
        ),
        (["compare", "bundle"], "bundle holds no findings"),
    ],
)
def test_a_folder_or_command_that_is_another_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("file").touch()
    done = CliRunner().invoke(main, ["signal", *words])
    assert isinstance(done.exception, SystemExit)
    assert message in done.stderr.splitlines()[-1]
