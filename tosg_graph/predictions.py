"""What models predict of the cells that they did not learn from: ``run.json`` and ``predictions.parquet`` of a run.

``tosg train`` writes them, ``tosg evaluate`` reads them; neither needs torch. docs/evaluation.md names the fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle_cells import COPY
from tosg_graph.donors import people
from tosg_graph.errors import EvaluationError, TosgError
from tosg_graph.hashes import sha256_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

FORMAT_VERSION = 1
RUN = "run.json"
PREDICTIONS = "predictions.parquet"
HISTORY = "history.parquet"  # model, seed, epoch, what, value; only where something was trained in epochs
SPLITS = ("val", "test")
TOLERANCE = 1e-3  # of the sum of the probabilities of a cell; float16 on a GPU is off by as much


@dataclass(frozen=True)
class Predicted:
    """What one model, trained from one seed, says of the cells of one split.

    Parameters
    ----------
    model
        Name in reports.
    split
        ``val`` or ``test``.
    rows
        int64 ``(n,)``: rows of the ``cells`` table of the dataset of that split, each once.
    probability
        float32 ``(n, classes)``; each row sums to 1.
    seconds
        Of training and choosing.
    parameters
        Numbers that were fitted.
    chosen
        What validation chose, such as the epoch; JSON-able.
    """

    model: str
    seed: int
    split: str
    rows: NDArray[np.int64]
    probability: NDArray[np.float32]
    seconds: float
    parameters: int
    chosen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """The predictions of a run.

    Parameters
    ----------
    table
        ``model`` string, ``seed`` int64, ``split`` string, ``cell_id`` string, ``dataset`` string, ``donor`` string,
        null where unknown, ``label_index`` int64, ``probability`` list<float32>; one row per model, seed and cell.
    classes
        Labels; ``label_index`` and ``probability`` count along them.
    about
        Content of ``run.json``.
    """

    table: pa.Table
    classes: list[str]
    about: dict[str, Any]


# --------------------------------------------------------------------------- writing


def write(run: Path, bundle_folder: Path, predicted: Sequence[Predicted], about: Mapping[str, Any]) -> None:
    """Write ``predictions.parquet``, then ``run.json``, into a folder that is made where it is missing.

    Parameters
    ----------
    bundle_folder
        The bundle that the rows are of.
    predicted
        Reports keep the order of the models. A model has a val and a test prediction for each of its seeds.
    about
        Further keys of ``run.json``: task, plan, software and the like, JSON-able. Those below win over them.

    Raises
    ------
    EvaluationError
        If rows are not of the split, probabilities are none, or a model, seed and split are given twice.
    BundleError
        If the bundle is damaged.
    """
    manifest = bundle.read_manifest(bundle_folder)
    classes: list[str] = list(manifest["classes"])
    cells = _cells(bundle_folder, manifest)
    table = _table(predicted, cells, classes)
    run.mkdir(parents=True, exist_ok=True)
    bundle.write_table(table, run / PREDICTIONS)
    reasons = _diagnostics(bundle_folder, manifest).get("reasons", [])
    content = {
        **about,
        "format_version": FORMAT_VERSION,
        "bundle_sha256": sha256_of(bundle_folder / bundle.MANIFEST),
        "label": manifest["label"],
        "classes": classes,
        "split_unit": manifest["split_unit"],
        "verdict": manifest["verdict"],
        "reasons": reasons,
        "splits": {name: _side(cells[name], classes) for name in bundle.SPLITS},
        "models": _models(predicted),
        "files": {PREDICTIONS: sha256_of(run / PREDICTIONS)},
    }
    bundle.write_json(content, run / RUN)


def _cells(folder: Path, manifest: Mapping[str, Any]) -> dict[str, pa.Table]:
    """``cell_id``, ``dataset``, ``donor`` and ``label_index`` of the cells of each split, in their order."""
    import pyarrow as pa

    cells = bundle.read_table(bundle.checked_path(folder, manifest, bundle.CELLS))
    # Of two donors that share a copy of a cell, both are the first: they are one person.
    copies = cells[COPY].cast(pa.string()).to_pylist() if COPY in cells.column_names else None
    donors = [None if name is None else name.replace("\x1f", " / ") for name in people(cells, copies)]
    kept = pa.table(
        {
            "split": cells["split"],
            "cell_id": cells["cell_id"].cast(pa.string()),
            "dataset": cells["dataset"].cast(pa.string()),
            "donor": pa.array(donors, pa.string()),
            "label_index": cells["label_index"].cast(pa.int64()),
        }
    )
    return {name: _equal(kept, "split", name).drop_columns("split") for name in bundle.SPLITS}


def _table(predicted: Sequence[Predicted], cells: Mapping[str, pa.Table], classes: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    if not predicted:
        raise EvaluationError("There are no predictions to write: no model was trained.")
    seen: set[tuple[str, int, str]] = set()
    parts = []
    for one in predicted:
        name = (one.model, one.seed, one.split)
        if name in seen:
            raise EvaluationError(f"{_said(*name)} is given twice. Give each model, seed and split once.")
        seen.add(name)
        parts.append(_rows(one, cells, classes))
    return pa.concat_tables(parts)


def _rows(one: Predicted, cells: Mapping[str, pa.Table], classes: Sequence[str]) -> pa.Table:
    import numpy as np
    import pyarrow as pa

    said = _said(one.model, one.seed, one.split)
    if one.split not in SPLITS:
        raise EvaluationError(f"{said}: the split is none of {', '.join(SPLITS)}.")
    known = cells[one.split]
    rows = np.asarray(one.rows, np.int64)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(known):
        raise EvaluationError(
            f"{said} has rows {rows.min()} to {rows.max()}, the split {len(known):,} cells."
        )
    if len(np.unique(rows)) != len(rows):
        raise EvaluationError(f"{said} has a cell twice. Predict each cell once.")
    if one.probability.shape != (len(rows), len(classes)):
        raise EvaluationError(
            f"{said} has probabilities of shape {one.probability.shape}, expected {(len(rows), len(classes))}."
        )
    _check(said, one.probability)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * len(classes)
    values = np.ascontiguousarray(one.probability, np.float32).ravel()
    taken = known.take(pa.array(rows))
    return pa.table(
        {
            "model": pa.array([one.model] * len(rows), pa.string()),
            "seed": pa.array([one.seed] * len(rows), pa.int64()),
            "split": pa.array([one.split] * len(rows), pa.string()),
            **{name: taken[name] for name in taken.column_names},
            "probability": pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)),
        }
    )


def _check(said: str, probability: NDArray[np.floating[Any]]) -> None:
    """Raise `EvaluationError` where numbers are no probabilities."""
    import numpy as np

    sums = probability.sum(axis=1, dtype=np.float64)
    bad = ~np.isfinite(sums) | (np.abs(sums - 1) > TOLERANCE) | (probability < 0).any(axis=1)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise EvaluationError(
            f"{said}: {int(bad.sum()):,} of {len(bad):,} rows are no probabilities, first row {row} with sum "
            f"{sums[row]:.6g} and least value {probability[row].min():.6g}. Give the softmax of the logits."
        )


def _side(cells: pa.Table, classes: Sequence[str]) -> dict[str, Any]:
    """Count cells, donors and labels of one split, and the cells of each donor."""
    from collections import Counter

    donors = Counter(cells["donor"].to_pylist())
    unknown = donors.pop(None, 0)
    labels = Counter(cells["label_index"].to_pylist())
    return {
        "cells": len(cells),
        "cells_of_donors": dict(sorted(donors.items())),
        "unknown_donor_cells": unknown,
        "labels": {name: labels[place] for place, name in enumerate(classes)},
    }


def _models(predicted: Sequence[Predicted]) -> list[dict[str, Any]]:
    """What a report says of each model beside its predictions, in their order: a line per seed."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for one in predicted:
        line = {"seed": one.seed, "seconds": round(one.seconds, 3), "parameters": one.parameters}
        found.setdefault(one.model, {})[one.seed] = {**line, "chosen": dict(one.chosen)}
    return [{"model": name, "seeds": list(seeds.values())} for name, seeds in found.items()]


def _diagnostics(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    path = bundle.checked_path(folder, manifest, bundle.DIAGNOSTICS)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _said(model: str, seed: int, split: str) -> str:
    return f"The {split} prediction of {model!r}, seed {seed},"


# --------------------------------------------------------------------------- reading

_COLUMNS = ("model", "seed", "split", "cell_id", "dataset", "donor", "label_index", "probability")
_KEYS = ("label", "classes", "split_unit", "verdict", "reasons", "splits", "models", "files")


def read(run: Path) -> Predictions:
    """Read the predictions of a run.

    Raises
    ------
    EvaluationError
        If the folder is no run, of another format version, damaged, or holds numbers that are no probabilities.
    """
    about = _about(run)
    classes = list(about["classes"])
    path = run / PREDICTIONS
    if not path.is_file():
        raise EvaluationError(f"{path} is missing. Train again.")
    if sha256_of(path) != about["files"].get(PREDICTIONS):
        raise EvaluationError(f"{path} was changed or cut off after the training. Train again.")
    try:
        table = bundle.read_table(path)
    except TosgError as error:
        raise EvaluationError(f"{path} is no Parquet that can be read. Train again.") from error
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise EvaluationError(f"{path} lacks the column {missing[0]!r}. Train again.")
    found = Predictions(table.select(_COLUMNS), classes, about)
    for said, rows in groups(found):
        _check(said, matrix(rows, len(classes), said))
        _check_labels(rows, len(classes), said)
    return found


def _about(run: Path) -> dict[str, Any]:
    path = run / RUN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if run.is_file():
            raise EvaluationError(f"{run} is a file. Name the folder of the run.") from None
        unfinished = run.with_name(f"{run.name}.partial")
        hint = (
            f"Its training has not ended ({unfinished.name}): run the same command again, and it goes on."
            if unfinished.is_dir()
            else "Make one with tosg train."
        )
        raise EvaluationError(f"{run} is no run: it has no {RUN}. {hint}") from None
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read: {error}. Train again.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise EvaluationError(f"{path} names no format version. Train again.")
    if version != FORMAT_VERSION:
        raise EvaluationError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}. Upgrade tosg-graph."
        )
    if content.get("task") == "pretrain":
        raise EvaluationError(
            f"{run} is of tosg train pretrain, which predicts no label. Evaluate what tosg train classify BUNDLE "
            f"--from {run} makes."
        )
    if missing := [name for name in _KEYS if name not in content]:
        raise EvaluationError(f"{path} lacks {missing[0]!r}. Train again.")
    found: dict[str, Any] = content
    return found


def groups(found: Predictions) -> Iterator[tuple[str, pa.Table]]:
    """What is said of each model, seed and split in a message, and its rows, in the order of the table."""
    names = zip(*(found.table[name].to_pylist() for name in ("model", "seed", "split")), strict=True)
    for model, seed, split in dict.fromkeys(names):
        yield _said(model, seed, split), chosen(found.table, model=model, seed=seed, split=split)


def chosen(table: pa.Table, **equal: str | int) -> pa.Table:
    """Rows whose columns have the values given."""
    for name, value in equal.items():
        table = _equal(table, name, value)
    return table


def _equal(table: pa.Table, column: str, value: str | int) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.equal(table[column], value)).combine_chunks()


def matrix(rows: pa.Table, classes: int, said: str) -> NDArray[np.float32]:
    """Probabilities as float32 ``(n, classes)``.

    Raises
    ------
    EvaluationError
        If a row has another number of them.
    """
    import numpy as np
    import pyarrow.compute as pc

    lists = rows["probability"]
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if lengths not in ([classes], []):
        raise EvaluationError(
            f"{said} has {lengths} probabilities a cell, the run {classes} classes. Train again."
        )
    values: NDArray[np.float32] = pc.list_flatten(lists).to_numpy().astype(np.float32, copy=False)
    return values.reshape(len(rows), classes)


def _check_labels(rows: pa.Table, classes: int, said: str) -> None:
    labels = rows["label_index"].to_numpy()
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise EvaluationError(
            f"{said} has labels {labels.min()} to {labels.max()}, the run {classes} classes."
        )
    if len(set(rows["cell_id"].to_pylist())) != len(rows):
        raise EvaluationError(f"{said} has a cell twice. Train again.")
