"""What `tosg evaluate` says: figures by hand, differences in the same resamples, sentences that follow from them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import run_files as files
from click.testing import CliRunner
from sklearn import metrics as sklearn

import tosg_graph as tg
from tosg_graph import cli, evaluation, evaluation_page, predictions
from tosg_graph.errors import EvaluationError
from tosg_graph.hashes import sha256_of
from tosg_graph.metrics import METRICS

SKILLS = {
    "graph": 0.9,
    "graph without text": 0.9,
    "graph without edges": 0.4,
    "graph from scratch": 0.5,
    "logistic": 1.0,
    "majority": 0.0,
}
FEW = 300  # resamples: enough for tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.make_bundle(tmp_path_factory.mktemp("evaluation") / "bundle")


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    made = files.make_run(folder.with_name("run"), folder, SKILLS)
    rows = [
        {"model": "graph", "seed": seed, "epoch": epoch, "what": what, "value": 1 / (1 + epoch)}
        for seed in (0, 1)
        for what in ("train loss", "val macro-F1")
        for epoch in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), made / predictions.HISTORY)
    return made


@pytest.fixture(scope="module")
def found(run: Path) -> dict[str, Any]:
    return evaluation.evaluate(run, resamples=FEW)


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def changed(run: Path, change: Callable[[pa.Table], pa.Table], **about: Any) -> Path:
    """Rewrite the predictions of a run, with the right sum."""
    path = run / predictions.PREDICTIONS
    pq.write_table(change(pq.read_table(path)), path)
    said = json.loads((run / predictions.RUN).read_text())
    said |= {**about, "files": {predictions.PREDICTIONS: sha256_of(path)}}
    (run / predictions.RUN).write_text(json.dumps(said))
    return run


def model(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in found["models"] if m["model"] == name)


def difference(found: dict[str, Any], against: str) -> dict[str, Any]:
    return next(d for d in found["differences"] if d["against"] == against)


def predicted_of(run: Path, name: str, seed: int) -> tuple[Any, Any, list[str]]:
    table = predictions.chosen(predictions.read(run).table, model=name, seed=seed, split="test")
    return (
        table["label_index"].to_numpy(),
        np.array(table["probability"].to_pylist()),
        table["donor"].to_pylist(),
    )


# --------------------------------------------------------------------------- figures


def test_figures_are_means_over_seeds_of_those_of_scikit_learn(run: Path, found: dict[str, Any]) -> None:
    for name in ("graph", "graph without edges"):
        truths = [predicted_of(run, name, seed)[:2] for seed in (0, 1)]
        by_hand = {
            "accuracy": [sklearn.accuracy_score(t, p.argmax(1)) for t, p in truths],
            "macro_f1": [sklearn.f1_score(t, p.argmax(1), average="macro") for t, p in truths],
            "auroc": [sklearn.roc_auc_score(np.eye(3)[t], p, average="macro") for t, p in truths],
            "auprc": [sklearn.average_precision_score(np.eye(3)[t], p) for t, p in truths],
        }
        for metric, each in by_hand.items():
            figures = model(found, name)["test"][metric]
            assert figures["mean"] == pytest.approx(np.mean(each), abs=1e-6)
            assert (figures["min"], figures["max"]) == pytest.approx((min(each), max(each)), abs=1e-6)
            assert figures["low"] <= figures["mean"] <= figures["high"]


def test_the_confusion_counts_the_cells_of_the_first_seed(run: Path, found: dict[str, Any]) -> None:
    truth, given, _ = predicted_of(run, "graph", 0)
    assert model(found, "graph")["confusion"] == sklearn.confusion_matrix(truth, given.argmax(1)).tolist()
    lines = model(found, "graph")["by_class"]
    assert [line["cells"] for line in lines] == np.bincount(truth).tolist()
    assert all(line["f1_low"] <= line["f1"] <= line["f1_high"] for line in lines)


def test_donors_are_drawn_and_not_cells(run: Path, found: dict[str, Any], copy: Path) -> None:
    def doubled(table: pa.Table) -> pa.Table:
        """Every cell nine times, with ids of their own."""
        rows = [{**r, "cell_id": f"{r['cell_id']}/{k}"} for r in table.to_pylist() for k in range(9)]
        return pa.Table.from_pylist(rows, table.schema)

    often = evaluation.evaluate(changed(copy, doubled), resamples=FEW)
    for metric in METRICS:
        ours, theirs = (model(x, "graph")["test"][metric] for x in (found, often))
        assert ours == pytest.approx(theirs, abs=1e-5)
    cells = evaluation.evaluate(
        changed(copy, lambda t: t.set_column(5, "donor", pa.nulls(len(t), pa.string()))), resamples=FEW
    )
    widths = [x["high"] - x["low"] for x in (model(f, "graph")["test"]["accuracy"] for f in (often, cells))]
    assert widths[1] < widths[0] / 2
    assert cells["test"]["unit"] == "cell"
    assert "No donor is known" in cells["test"]["notes"][0]
    assert "over cells, not people" in cells["differences"][0]["sentence"]


def test_the_seed_decides_the_resamples(run: Path, found: dict[str, Any]) -> None:
    assert evaluation.evaluate(run, resamples=FEW) == found
    other = evaluation.evaluate(run, resamples=FEW, seed=1)
    assert model(other, "graph")["test"]["auroc"]["mean"] == model(found, "graph")["test"]["auroc"]["mean"]
    assert model(other, "graph")["test"]["auroc"]["low"] != model(found, "graph")["test"]["auroc"]["low"]


# --------------------------------------------------------------------------- differences


def test_a_difference_is_taken_in_the_same_resamples(run: Path, tmp_path: Path, folder: Path) -> None:
    labels = {split: files.truth(folder, split) for split in predictions.SPLITS}
    same = [
        predictions.Predicted(name, 0, split, np.arange(len(y)), files.sure(y, 5, 0.6), 1.0, 1)
        for name in ("graph", "graph without text")
        for split, y in labels.items()
    ]
    predictions.write(tmp_path / "run", folder, same, {})
    found = evaluation.evaluate(tmp_path / "run", resamples=FEW)
    one = found["differences"][0]["metrics"]["macro_f1"]
    # Each has an interval of its own; their difference is nothing in every resample.
    assert (
        model(found, "graph")["test"]["macro_f1"]["low"] < model(found, "graph")["test"]["macro_f1"]["high"]
    )
    assert (one["difference"], one["low"], one["high"]) == (0, 0, 0)
    assert found["differences"][0]["verdict"] == "no evidence"
    assert "The text is not shown to help on this data set." in found["findings"]
    assert "Each model was trained from one seed: how much seeds differ is unknown." in found["findings"]


def test_the_report_says_what_helps_and_what_does_not(found: dict[str, Any]) -> None:
    verdicts = {line["against"]: line["verdict"] for line in found["differences"]}
    assert verdicts == {
        "graph without text": "no evidence",
        "graph without edges": "helps",
        "graph from scratch": "helps",
        "logistic": "hurts",
        "majority": "helps",
    }
    said = "\n".join(found["findings"])
    assert said.startswith("The text is not shown to help on this data set.")
    assert "The graph helps: macro-F1 +0." in said
    assert "The pretraining helps: macro-F1 +0." in said
    assert "graph is worse than logistic: macro-F1 -0." in said
    assert "graph is better than majority" in said


def test_seeds_that_disagree_are_no_evidence(folder: Path, tmp_path: Path) -> None:
    labels = {split: files.truth(folder, split) for split in predictions.SPLITS}
    skills = {("graph", 0): 1.0, ("graph", 1): 0.5, ("logistic", 0): 0.0, ("logistic", 1): 0.7}
    given = [
        predictions.Predicted(name, seed, split, np.arange(len(y)), files.sure(y, seed, skill), 1.0, 1)
        for (name, seed), skill in skills.items()
        for split, y in labels.items()
    ]
    predictions.write(tmp_path / "run", folder, given, {})
    line = evaluation.evaluate(tmp_path / "run", resamples=FEW)["differences"][0]
    assert line["metrics"]["macro_f1"]["low"] > 0 > min(line["metrics"]["macro_f1"]["by_seed"])
    assert line["verdict"] == "no evidence"


def test_few_donors_allow_no_verdict(copy: Path) -> None:
    def merged(table: pa.Table) -> pa.Table:
        names = [f"donor {int(name[-1]) % 2}" for name in table["donor"].to_pylist()]
        return table.set_column(5, "donor", [names])

    found = evaluation.evaluate(changed(copy, merged), resamples=FEW)
    assert {line["verdict"] for line in found["differences"]} == {"too few donors"}
    assert "fewer than 5: the intervals are unreliable" in found["test"]["notes"][0]
    assert found["findings"][0].startswith("Too few donors to say whether the text helps")


def test_a_class_without_test_cells_is_said_and_left_out_of_the_means(copy: Path) -> None:
    def without(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in rows:
            row["label_index"] = min(row["label_index"], 1)
        return pa.Table.from_pylist(rows, table.schema)

    found = evaluation.evaluate(changed(copy, without), resamples=FEW)
    assert "No test cell is of 'C cell': means over classes leave them out." in found["test"]["notes"]
    line = model(found, "graph")["by_class"][2]
    assert line == {"class": "C cell", "cells": 0} | dict.fromkeys(
        ("precision", "recall", "f1", "auroc", "auprc", "f1_low", "f1_high")
    )
    assert model(found, "graph")["test"]["macro_f1"]["mean"] is not None
    assert evaluation_page.page(found)


def test_one_class_among_the_test_cells_has_no_auroc(copy: Path) -> None:
    found = evaluation.evaluate(
        changed(copy, lambda t: t.set_column(6, "label_index", [np.zeros(len(t), np.int64)])), resamples=20
    )
    assert model(found, "graph")["test"]["auroc"]["mean"] is None
    assert "All test cells are of one class: AUROC is not defined." in found["test"]["notes"]
    assert "not defined" in evaluation_page.page(found)


# --------------------------------------------------------------------------- two runs


def test_two_runs_are_compared_model_by_model(run: Path, folder: Path, tmp_path: Path) -> None:
    other = files.make_run(tmp_path / "other", folder, {"graph": 0.3, "logistic": 1.0})
    found = evaluation.evaluate(run, other, resamples=FEW)
    assert [(d["model"], d["against"]) for d in found["differences"]] == [
        ("graph · run", "graph · other"),
        ("logistic · run", "logistic · other"),
    ]
    assert found["differences"][0]["verdict"] == "helps"
    assert "graph · run is better than graph · other" in found["findings"][0]
    page = evaluation_page.page(found)
    assert "run against other" in page


def test_runs_of_other_cells_are_not_compared(run: Path, copy: Path, tmp_path: Path) -> None:
    fewer = shutil.copytree(copy, tmp_path / "fewer")
    gone = predictions.chosen(predictions.read(run).table, split="test")["cell_id"][0].as_py()
    changed(fewer, lambda t: t.filter(pa.array([c != gone for c in t["cell_id"].to_pylist()])))
    with pytest.raises(EvaluationError, match=rf"1 are in run alone, 0 in fewer alone, first '{gone}'"):
        evaluation.evaluate(run, fewer)

    def relabelled(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        for row in rows:
            if row["cell_id"] == gone:
                row["label_index"] = (row["label_index"] + 1) % 3
        return pa.Table.from_pylist(rows, table.schema)

    again = shutil.copytree(copy, tmp_path / "again")
    changed(again, relabelled)
    with pytest.raises(EvaluationError, match=rf"1 test cells have another label .* first '{gone}'"):
        evaluation.evaluate(run, again)
    renamed = shutil.copytree(copy, tmp_path / "renamed")
    changed(renamed, lambda t: t, classes=["A cell", "B cell", "D cell"])
    with pytest.raises(EvaluationError, match="classes of run and renamed differ, first 'C cell'"):
        evaluation.evaluate(run, renamed)


# --------------------------------------------------------------------------- what cannot be judged


def test_a_run_without_test_cells_or_with_one_class_is_refused(copy: Path, tmp_path: Path) -> None:
    only = shutil.copytree(copy, tmp_path / "val")
    changed(only, lambda t: predictions.chosen(t, split="val"))
    with pytest.raises(EvaluationError, match="has no test predictions"):
        evaluation.evaluate(only)

    def single(table: pa.Table) -> pa.Table:
        rows = [{**row, "label_index": 0, "probability": [1.0]} for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, table.schema)

    with pytest.raises(EvaluationError, match="has one class, 'A cell'"):
        evaluation.evaluate(changed(copy, single, classes=["A cell"]))


def test_models_of_other_cells_are_refused(copy: Path) -> None:
    def some(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        last = max(k for k, r in enumerate(rows) if (r["model"], r["split"]) == ("majority", "test"))
        return table.filter(pa.array([k != last for k in range(len(rows))]))

    with pytest.raises(EvaluationError, match="'majority', seed 1, predicts 119 test cells, 'graph' 120"):
        evaluation.evaluate(changed(copy, some))


def test_a_history_that_is_damaged_is_refused(copy: Path) -> None:
    path = copy / predictions.HISTORY
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(EvaluationError, match="is damaged, or of another format"):
        evaluation.evaluate(copy, resamples=5)


# --------------------------------------------------------------------------- the report


class _Tags(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_has_the_figures_of_the_json_and_loads_nothing(
    found: dict[str, Any], tmp_path: Path
) -> None:
    page, data = evaluation_page.write(found, tmp_path / "report.html")
    text, said = page.read_text(encoding="utf-8"), json.loads(data.read_text(encoding="utf-8"))
    assert said == json.loads(json.dumps(found))
    for one in said["models"]:
        for metric in METRICS:
            figures = one["test"][metric]
            assert f"{figures['mean']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]" in text
        assert f">{one['parameters']:,}<" in text
        for count in {n for row in one["confusion"] for n in row if n}:
            assert f">{count}</text>" in text
    for sentence in said["findings"]:
        assert sentence in text
    tags = _Tags()
    tags.feed(text)
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "img", "iframe", "object"}
    assert not [
        a for _, attributes in tags.seen for a in attributes if a in ("src", "href") or a.startswith("on")
    ]


def test_every_plot_is_sound(found: dict[str, Any]) -> None:
    plots = re.findall(r"<svg.*?</svg>", evaluation_page.page(found), re.DOTALL)
    assert len(plots) == 2 + 1 + len(SKILLS) + 2  # curves, calibration, confusion, learning
    for plot in plots:
        shapes = ElementTree.fromstring(plot)
        width, height = (float(shapes.attrib[k]) for k in ("width", "height"))
        for line in shapes.iter("polyline"):
            for point in line.attrib["points"].split():
                x, y = map(float, point.split(","))
                assert 0 <= x <= width
                assert 0 <= y <= height


def test_the_same_run_gives_the_same_bytes(copy: Path, tmp_path: Path) -> None:
    written = []
    for out in (None, str(tmp_path / "again.html")):
        options = ["--resamples", "50", *(["--out", out] if out else [])]
        done = CliRunner().invoke(cli.main, ["evaluate", str(copy), *options])
        assert done.exit_code == 0, done.output
        page = Path(out) if out else copy / "report.html"
        written.append((page.read_bytes(), page.with_suffix(".json").read_bytes()))
        assert f"Look at {page}" in done.output
    assert written[0] == written[1]
    assert not list(tmp_path.rglob("*.part"))
    assert "macro-F1 [95 %]" in done.output


def test_bad_input_is_one_line_and_leaves_no_report(copy: Path, tmp_path: Path) -> None:
    path = copy / predictions.PREDICTIONS
    path.write_bytes(path.read_bytes()[:-10])
    done = subprocess.run(
        [sys.executable, "-c", "from tosg_graph.cli import main; main()", "evaluate", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith("was changed or cut off after the training. Train again.")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(copy.glob("report*"))


def test_a_page_that_would_be_its_own_json_is_refused(found: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"Name the page .html"):
        evaluation_page.write(found, tmp_path / "report.json")
    with pytest.raises(EvaluationError, match=r"report is no name of a page"):
        evaluation_page.write(found, tmp_path / "report")
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match="cannot be written"):
        evaluation_page.write(found, tmp_path / "file" / "report.html")


def test_a_seed_below_zero_is_refused(run: Path) -> None:
    with pytest.raises(EvaluationError, match="seed=-1 is below 0"):
        evaluation.evaluate(run, seed=-1)


def test_torch_is_left_alone() -> None:
    code = "import tosg_graph.evaluation, tosg_graph.evaluation_page, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_python_face_is_the_same(run: Path, found: dict[str, Any]) -> None:
    assert tg.evaluate(run, resamples=FEW) == found
