"""Predictions come back as they were written; what is none of them is refused in one line."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import run_files as files

from tosg_graph import bundle, predictions
from tosg_graph.errors import EvaluationError
from tosg_graph.hashes import sha256_of
from tosg_graph.predictions import Predicted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.make_bundle(tmp_path_factory.mktemp("predictions") / "bundle")


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    return files.make_run(folder.with_name("run"), folder, {"graph": 0.9, "majority": 0.0})


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "run")
    return tmp_path / "run"


def one(folder: Path, **changes: Any) -> Predicted:
    labels = files.truth(folder, "test")
    given = Predicted("graph", 0, "test", np.arange(len(labels)), files.sure(labels, 0, 0.5), 1.0, 10)
    return dataclasses.replace(given, **changes)


# --------------------------------------------------------------------------- as they were


def test_what_is_written_comes_back_beside_the_cells_it_is_of(folder: Path, tmp_path: Path) -> None:
    rows = np.array([5, 0, 3])
    given = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [0.1, 0.2, 0.7]], np.float32)
    predictions.write(tmp_path / "run", folder, [one(folder, rows=rows, probability=given)], {"task": "x"})
    found = predictions.read(tmp_path / "run")
    cells = [x for x in bundle.read_table(folder / bundle.CELLS).to_pylist() if x["split"] == "test"]
    for place, row in enumerate(rows.tolist()):
        read = found.table.slice(place, 1).to_pylist()[0]
        assert read["cell_id"] == cells[row]["cell_id"]
        assert read["donor"] == f"toy / {cells[row]['donor']}"
        assert found.classes[read["label_index"]] == cells[row]["cell_type"]
        assert read["probability"] == given[place].tolist()
    assert found.classes == files.CLASSES
    assert found.about["task"] == "x"
    assert found.about["bundle_sha256"] == sha256_of(folder / bundle.MANIFEST)


def test_the_run_counts_the_splits_by_donor(written: Path) -> None:
    splits = predictions.read(written).about["splits"]
    assert sum(side["cells"] for side in splits.values()) == files.CELLS
    donors = [name for side in splits.values() for name in side["cells_of_donors"]]
    assert sorted(donors) == [f"toy / donor{k:02d}" for k in range(files.DONORS)]
    assert all(sum(side["labels"].values()) == side["cells"] for side in splits.values())


def test_unknown_donors_are_none_and_not_one(tmp_path: Path) -> None:
    folder = files.make_bundle(tmp_path / "bundle", donors=False)
    found = predictions.read(files.make_run(tmp_path / "run", folder, {"graph": 1.0}))
    assert found.table["donor"].null_count == len(found.table)
    side = found.about["splits"]["test"]
    assert side["unknown_donor_cells"] == side["cells"]


def test_the_same_predictions_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    runs = [files.make_run(tmp_path / name, folder, {"graph": 0.9}) for name in "ab"]
    for name in (predictions.RUN, predictions.PREDICTIONS):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


# --------------------------------------------------------------------------- what is none


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"split": "train"}, "the split is none of val, test"),
        ({"rows": np.array([0, 0]), "probability": np.full((2, 3), 1 / 3)}, "a cell twice"),
        ({"rows": np.array([9999]), "probability": np.full((1, 3), 1 / 3)}, "rows 9999 to 9999"),
        ({"rows": np.array([0]), "probability": np.array([[0.5, 0.5]])}, "shape (1, 2), expected (1, 3)"),
        ({"rows": np.array([0]), "probability": np.array([[0.5, 0.5, 0.5]])}, "sum 1.5"),
        ({"rows": np.array([0]), "probability": np.array([[np.nan, 0.5, 0.5]])}, "first row 0 with sum nan"),
        ({"rows": np.array([0]), "probability": np.array([[-0.5, 0.5, 1.0]])}, "least value -0.5"),
    ],
    ids=["of train", "a cell twice", "no such row", "a class too few", "sum", "nan", "negative"],
)
def test_numbers_that_are_no_predictions_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(EvaluationError) as refused:
        predictions.write(tmp_path / "run", folder, [one(folder, **changes)], {})
    assert says in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_model_given_twice_and_no_model_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="given twice"):
        predictions.write(tmp_path / "run", folder, [one(folder), one(folder)], {})
    with pytest.raises(EvaluationError, match="no model was trained"):
        predictions.write(tmp_path / "run", folder, [], {})


# --------------------------------------------------------------------------- what cannot be read


def test_a_folder_that_is_no_run_is_told_from_one_that_is_not_done(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"is no run: it has no run.json. Make one with tosg train"):
        predictions.read(tmp_path / "run")
    (tmp_path / "run.partial").mkdir()
    with pytest.raises(EvaluationError, match=r"has not ended \(run.partial\)"):
        predictions.read(tmp_path / "run")
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"file is a file\. Name the folder of the run"):
        predictions.read(tmp_path / "file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"format_version": None}, "names no format version"),
        ({"classes": ...}, "lacks 'classes'"),
        ({"task": "pretrain", "label": ...}, "predicts no label. Evaluate what tosg train classify"),
    ],
    ids=["newer", "none", "key missing", "of pretraining"],
)
def test_another_format_is_refused(run: Path, change: dict[str, Any], says: str) -> None:
    content = {**json.loads((run / "run.json").read_text()), **change}
    (run / "run.json").write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
    with pytest.raises(EvaluationError, match=says):
        predictions.read(run)


def test_damage_is_named(run: Path) -> None:
    path = run / predictions.PREDICTIONS
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EvaluationError, match="changed or cut off"):
        predictions.read(run)
    path.unlink()
    with pytest.raises(EvaluationError, match="is missing"):
        predictions.read(run)
    (run / "run.json").write_text("{")
    with pytest.raises(EvaluationError, match="cannot be read"):
        predictions.read(run)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("probability", [0.9, 0.9, 0.9], "are no probabilities"),
        ("probability", [1.0], "probabilities a cell, the run 3 classes"),
        ("label_index", 7, "labels 0 to 7, the run 3 classes"),
        ("cell_id", "cell-000", "a cell twice"),
    ],
    ids=["no probabilities", "ragged", "label", "cells twice"],
)
def test_a_table_with_the_right_sum_and_wrong_values_is_refused(
    run: Path, column: str, value: Any, says: str
) -> None:
    path = run / predictions.PREDICTIONS
    table = pq.read_table(path)
    rows = table.to_pylist()
    for row in rows[:2]:
        row[column] = value
    pq.write_table(type(table).from_pylist(rows, table.schema), path)
    about = json.loads((run / "run.json").read_text())
    about["files"][predictions.PREDICTIONS] = sha256_of(path)
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(EvaluationError, match=says):
        predictions.read(run)
