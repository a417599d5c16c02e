"""``tosg evaluate``: how good the models of a run are on its test cells, how sure that is, what made the difference.

Predictions in, one JSON-able dict out; `evaluation_page` writes it. docs/evaluation.md explains every figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bootstrap, bundle, predictions
from tosg_graph.balance import rounded
from tosg_graph.bootstrap import Units
from tosg_graph.errors import BundleError, EvaluationError
from tosg_graph.findings import differences, findings
from tosg_graph.metrics import LEVELS, METRICS, Scorer, curves
from tosg_graph.predictions import Predictions

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

VERSION = 1  # of report.json
RESAMPLES = 2000
MAIN = "graph"  # the model that others are set against
GRID = [round(step / 100, 2) for step in range(101)]  # of curves
_POINTS = 200  # of a learning curve
_BY_CLASS = ("precision", "recall", "f1", "auroc", "auprc")


@dataclass(frozen=True)
class Test:
    """The test cells of a run, sorted by id.

    Parameters
    ----------
    truth
        int64 ``(n,)``: index into ``classes``.
    """

    ids: list[str]
    truth: NDArray[np.int64]
    classes: list[str]
    units: Units


@dataclass(frozen=True)
class Model:
    """One model of a run, for all its seeds.

    Parameters
    ----------
    probability
        Seed -> float32 ``(n, classes)``, in the order of the test cells.
    validation
        Seed -> metrics on val; empty where it has no val cells.
    said
        Per seed: ``seed``, ``seconds``, ``parameters``, ``chosen``.
    """

    name: str
    test: Test
    probability: dict[int, NDArray[np.float32]]
    validation: dict[int, dict[str, float]]
    said: list[dict[str, Any]]

    def scorers(self, levels: int | None) -> dict[int, Scorer]:
        """One per seed."""
        test = self.test
        return {
            seed: Scorer(test.truth, given, test.units.of_cell, levels=levels)
            for seed, given in self.probability.items()
        }

    @cached_property
    def exact(self) -> dict[int, Scorer]:
        """Scorers that tell every score apart."""
        return self.scorers(None)

    @cached_property
    def by_seed(self) -> dict[int, dict[str, float]]:
        """Metrics on the test cells."""
        once = np.ones((1, self.test.units.count))
        return {
            seed: {name: float(v[0]) for name, v in s.score(once).overall.items()}
            for seed, s in self.exact.items()
        }


@dataclass(frozen=True)
class Resampled:
    """Metrics of one model in each resample, means over its seeds: ``(R,)``, and F1 of each class ``(R, C)``."""

    overall: dict[str, NDArray[np.float64]]
    f1: NDArray[np.float64]


def evaluate(
    run: str | Path, other: str | Path | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Judge the predictions of a run, or set those of two runs of the same test cells beside each other.

    Parameters
    ----------
    run
        Folder that ``tosg train`` wrote.
    other
        A second one: then models of the same name are compared, ``run`` against ``other``.
    resamples
        Bootstrap resamples of the donors of the test cells; of cells where no donor is known.
    seed
        Of the resamples; all models have the same.

    Returns
    -------
    dict
        Content of ``report.json``: ``runs``, ``test``, ``models``, ``differences``, ``findings``, ``history``; see
        docs/evaluation.md.

    Raises
    ------
    EvaluationError
        If a folder is no run or damaged, holds no test predictions, has one class, or two runs are not of the same
        test cells and labels.
    """
    if resamples < 1:
        raise EvaluationError(f"resamples={resamples} is below 1.")
    if seed < 0:
        raise EvaluationError(f"seed={seed} is below 0.")
    folders = [Path(run), *([] if other is None else [Path(other)])]
    names = _run_names(folders)
    runs = [predictions.read(folder) for folder in folders]
    tests = [_test(found, folder) for found, folder in zip(runs, folders, strict=True)]
    if other is not None:
        _check_same(tests[0], tests[1], names)
    models = [
        model
        for name, found in zip(names, runs, strict=True)
        for model in _models(found, tests[0], f" · {name}" if other is not None else "")
    ]
    drawn, absent = _resample(models, tests[0], resamples, seed)
    pairs = _pairs(models, [len(r.about["models"]) for r in runs])
    unlike = differences(models, drawn, pairs, tests[0].units)
    return {
        "version": VERSION,
        "runs": [{"name": n, **_said_of_run(r)} for n, r in zip(names, runs, strict=True)],
        "classes": tests[0].classes,
        "test": _said_of_test(tests[0], absent, resamples),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": bootstrap.LEVEL},
        "models": [_described(model, drawn[model.name]) for model in models],
        "differences": unlike,
        "findings": findings(models, unlike, tests[0].units),
        "history": [
            line for n, f in zip(names, folders, strict=True) for line in _history(f, n, len(names) > 1)
        ],
    }


# --------------------------------------------------------------------------- what is judged


def _run_names(folders: Sequence[Path]) -> list[str]:
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [f"{name} {place}" for place, name in zip("AB", names, strict=True)]


def _test(found: Predictions, folder: Path) -> Test:
    if len(found.classes) < 2:
        raise EvaluationError(
            f"{folder} has one class, {found.classes[0]!r}: there is nothing to tell apart. Choose another --label."
        )
    cells = predictions.chosen(found.table, split="test")
    if not len(cells):
        raise EvaluationError(
            f"{folder} has no test predictions: its bundle has no test cells. Export it with a test split."
        )
    said = _seeds(found)
    first = _sorted(found, *said[0])
    ids = first["cell_id"].to_pylist()
    for model, seed in said:
        theirs = _sorted(found, model, seed)["cell_id"].to_pylist()
        if theirs != ids:
            raise EvaluationError(
                f"{folder}: {model!r}, seed {seed}, predicts {len(theirs):,} test cells, {said[0][0]!r} {len(ids):,}, "
                f"and {len(set(ids) ^ set(theirs)):,} are not in both. Train all models on one bundle."
            )
    truth = first["label_index"].to_numpy()
    return Test(ids, truth, found.classes, bootstrap.units(first["donor"].to_pylist()))


def _seeds(found: Predictions) -> list[tuple[str, int]]:
    """Models with their seeds, in the order of the run."""
    return [(m["model"], line["seed"]) for m in found.about["models"] for line in m["seeds"]]


def _sorted(found: Predictions, model: str, seed: int, split: str = "test") -> pa.Table:
    return predictions.chosen(found.table, model=model, seed=seed, split=split).sort_by("cell_id")


def _check_same(ours: Test, theirs: Test, names: Sequence[str]) -> None:
    """Raise `EvaluationError` where two runs cannot be compared, saying what differs."""
    first, second = names
    again = "Compare runs of one bundle, or of bundles exported with one cohort, label, split and seed."
    if ours.classes != theirs.classes:
        odd = sorted(set(ours.classes) ^ set(theirs.classes))
        said = f", first {odd[0]!r}" if odd else " in their order"
        raise EvaluationError(f"The classes of {first} and {second} differ{said}. {again}")
    only = [sorted(set(a) - set(b)) for a, b in ((ours.ids, theirs.ids), (theirs.ids, ours.ids))]
    if only[0] or only[1]:
        example = (only[0] or only[1])[0]
        raise EvaluationError(
            f"{first} and {second} have other test cells: {len(only[0]):,} are in {first} alone, {len(only[1]):,} in "
            f"{second} alone, first {example!r}. {again}"
        )
    odd_labels = np.flatnonzero(ours.truth != theirs.truth)
    if len(odd_labels):
        at = int(odd_labels[0])
        was, now = (t.classes[int(t.truth[at])] for t in (ours, theirs))
        raise EvaluationError(
            f"{len(odd_labels):,} test cells have another label in {first} than in {second}, first {ours.ids[at]!r}: "
            f"{was!r} and {now!r}. {again}"
        )


def _models(found: Predictions, test: Test, suffix: str) -> list[Model]:
    said = {m["model"]: m["seeds"] for m in found.about["models"]}
    made = []
    for name, seeds in said.items():
        matrices, validation = {}, {}
        for seed in (line["seed"] for line in seeds):
            rows = _sorted(found, name, seed)
            matrices[seed] = predictions.matrix(rows, len(test.classes), f"{name!r}, seed {seed},")
            if len(val := _sorted(found, name, seed, "val")):
                validation[seed] = _score(val, len(test.classes))
        made.append(Model(f"{name}{suffix}", test, matrices, validation, seeds))
    return made


def _score(rows: pa.Table, classes: int) -> dict[str, float]:
    given, truth = predictions.matrix(rows, classes, "A val prediction"), rows["label_index"].to_numpy()
    found = Scorer(truth, given, np.zeros(len(rows), np.int64)).score(np.ones((1, 1)))
    return {name: float(values[0]) for name, values in found.overall.items()}


# --------------------------------------------------------------------------- how sure it is


def _resample(
    models: Sequence[Model], test: Test, resamples: int, seed: int
) -> tuple[dict[str, Resampled], NDArray[np.int64]]:
    """Metrics of each model in the same resamples, and in how many of them each class has no cell."""
    scorers = {model.name: list(model.scorers(LEVELS).values()) for model in models}
    absent = np.zeros(len(test.classes), np.int64)
    parts: dict[str, list[Resampled]] = {model.name: [] for model in models}
    for weights in bootstrap.draws(test.units.count, resamples, seed):
        counted = scorers[models[0].name][0].confusion(weights).sum(axis=2)
        absent += (counted == 0).sum(axis=0)
        for name, each in scorers.items():
            found = [scorer.score(weights) for scorer in each]
            overall = {m: np.mean([s.overall[m] for s in found], axis=0) for m in METRICS}
            parts[name].append(Resampled(overall, np.mean([s.by_class["f1"] for s in found], axis=0)))
    joined = {
        name: Resampled(
            {m: np.concatenate([r.overall[m] for r in runs]) for m in METRICS},
            np.concatenate([r.f1 for r in runs]),
        )
        for name, runs in parts.items()
    }
    return joined, absent


def _pairs(models: Sequence[Model], sizes: Sequence[int]) -> list[tuple[Model, Model]]:
    """Which models are set against which: ``graph`` against all others, or those of one name in two runs."""
    if len(sizes) == 1:
        main = next((m for m in models if m.name == MAIN), None) or best_on_validation(models) or models[0]
        return [(main, model) for model in models if model is not main]
    ours, theirs = models[: sizes[0]], models[sizes[0] :]
    bare = [{m.name.rsplit(" · ", 1)[0]: m for m in side} for side in (ours, theirs)]
    if shared := [name for name in bare[0] if name in bare[1]]:
        return [(bare[0][name], bare[1][name]) for name in shared]
    return [(best_on_validation(ours) or ours[0], best_on_validation(theirs) or theirs[0])]


def best_on_validation(models: Sequence[Model]) -> Model | None:
    """Return the model of the highest macro-F1 on val, mean over seeds; None where no model has val cells."""
    known = [model for model in models if model.validation]
    return max(known, key=lambda m: _mean(m.validation, "macro_f1"), default=None)


def _mean(by_seed: Mapping[int, Mapping[str, float]], metric: str) -> float:
    return float(np.mean([values[metric] for values in by_seed.values()]))


# --------------------------------------------------------------------------- what is said


def _said_of_run(found: Predictions) -> dict[str, Any]:
    about = found.about
    keys = (
        "task",
        "label",
        "bundle_sha256",
        "split_unit",
        "verdict",
        "reasons",
        "splits",
        "plan",
        "software",
    )
    return {key: about[key] for key in keys if key in about}


def _said_of_test(test: Test, absent: NDArray[np.int64], resamples: int) -> dict[str, Any]:
    counts = np.bincount(test.truth, minlength=len(test.classes))
    none = [name for name, n in zip(test.classes, counts, strict=True) if not n]
    notes = test.units.notes()
    if none:
        notes.append(f"No test cell is of {', '.join(map(repr, none))}: means over classes leave them out.")
    for name, n, missing in zip(test.classes, counts, absent.tolist(), strict=True):
        if n and missing:
            notes.append(
                f"{name!r} has no cell in {missing:,} of {resamples:,} resamples: means over classes leave it out."
            )
    if len(test.classes) - len(none) == 1:
        notes.append("All test cells are of one class: AUROC is not defined.")
    return {
        "cells": len(test.ids),
        "unit": test.units.kind,
        "donors": test.units.donors,
        "unknown_donor_cells": test.units.unknown,
        "labels": dict(zip(test.classes, counts.tolist(), strict=True)),
        "notes": notes,
    }


def _described(model: Model, drawn: Resampled) -> dict[str, Any]:
    first = next(iter(model.probability))
    scorer, test = model.exact[first], model.test
    kinds = {"seconds": [line["seconds"] for line in model.said]}
    return {
        "model": model.name,
        "seeds": list(model.probability),
        "test": {name: _figures(model, drawn, name) for name in METRICS},
        "val": {m: rounded(_mean(model.validation, m)) for m in METRICS} if model.validation else None,
        "by_class": _by_class(model, drawn),
        "shown_seed": first,
        "confusion": scorer.confusion(np.ones((1, test.units.count)))[0].astype(int).tolist(),
        "reliability": {k: _numbers(v) for k, v in scorer.reliability().items()},
        "curves": _curves(test, model.probability[first]),
        "parameters": max(line["parameters"] for line in model.said),
        "seconds": rounded(float(np.mean(kinds["seconds"]))),
        "chosen": [{"seed": line["seed"], **line["chosen"]} for line in model.said],
    }


def _figures(model: Model, drawn: Resampled, metric: str) -> dict[str, Any]:
    each = [values[metric] for values in model.by_seed.values()]
    if not np.isfinite(each).all():
        return dict.fromkeys(("mean", "low", "high", "min", "max"))
    low, high = bootstrap.interval(drawn.overall[metric]) or (None, None)
    found = {"mean": float(np.mean(each)), "low": low, "high": high, "min": min(each), "max": max(each)}
    return {name: rounded(value) for name, value in found.items()}


def _by_class(model: Model, drawn: Resampled) -> list[dict[str, Any]]:
    """One line per class, means over seeds; None where the class has no test cell."""
    test, once = model.test, np.ones((1, model.test.units.count))
    scores = [scorer.score(once).by_class for scorer in model.exact.values()]
    counts = np.bincount(test.truth, minlength=len(test.classes))
    lines = []
    for place, name in enumerate(test.classes):
        figures = {k: _number(np.mean([s[k][0, place] for s in scores])) for k in _BY_CLASS}
        low, high = (counts[place] and bootstrap.interval(drawn.f1[:, place])) or (None, None)
        lines.append(
            {
                "class": name,
                "cells": int(counts[place]),
                **figures,
                "f1_low": rounded(low),
                "f1_high": rounded(high),
            }
        )
    return lines


def _curves(test: Test, probability: NDArray[np.float32]) -> dict[str, Any]:
    """Curves at `GRID`: of each class, and their mean over the classes that have one."""
    found = {}
    for kind, lines in curves(test.truth, probability, GRID).items():
        known = [line for line in lines if line is not None]
        found[kind] = {
            "mean": _numbers(np.mean(known, axis=0)) if known else None,
            "by_class": [None if line is None else _numbers(line) for line in lines],
        }
    return found


def _number(value: float | np.floating[Any]) -> float | None:
    return rounded(float(value)) if np.isfinite(value) else None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values]


def _history(folder: Path, name: str, several: bool) -> list[dict[str, Any]]:
    """Learning curves, at most so many points of each."""
    path = folder / predictions.HISTORY
    if not path.is_file():
        return []
    try:
        table = bundle.read_table(path, ["model", "seed", "epoch", "what", "value"])
    except BundleError as error:
        raise EvaluationError(f"{path} is damaged, or of another format. Train again.") from error
    lines: dict[tuple[str, int, str], list[tuple[int, float]]] = {}
    for row in table.to_pylist():
        line = lines.setdefault((row["model"], row["seed"], row["what"]), [])
        if row["value"] is not None and np.isfinite(row["value"]):
            line.append((row["epoch"], row["value"]))
    found = []
    for (model, seed, what), points in lines.items():
        kept = points[:: max(1, -(-len(points) // _POINTS))]
        found.append(
            {
                "model": f"{model} · {name}" if several else model,
                "seed": seed,
                "what": what,
                "epochs": [epoch for epoch, _ in kept],
                "values": [_number(value) for _, value in kept],
            }
        )
    return found
