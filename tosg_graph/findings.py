"""What made the difference: models set against each other in the same resamples, and the sentences that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bootstrap
from tosg_graph.balance import rounded
from tosg_graph.metrics import METRICS, TITLES

if TYPE_CHECKING:
    from tosg_graph.bootstrap import Units
    from tosg_graph.evaluation import Model, Resampled

JUDGED_BY = "macro_f1"
# What the whole network has and the ablation lacks.
ABLATED = {
    "graph without text": "the text",
    "graph with shuffled text": "the text",
    "graph without edges": "the graph",
    "graph with shuffled edges": "the graph",
    "graph from scratch": "the pretraining",
    "graph with frozen text": "training the text encoder too",
}
HELPS, HURTS, NO_EVIDENCE, TOO_FEW = "helps", "hurts", "no evidence", "too few donors"


def differences(
    models: Sequence[Model],
    drawn: Mapping[str, Resampled],
    pairs: Sequence[tuple[Model, Model]],
    units: Units,
) -> list[dict[str, Any]]:
    """Subtract the metrics of the second model of each pair from those of the first, resample by resample.

    Returns
    -------
    list of dict
        ``model``, ``against``, ``metrics`` (``difference`` of the means over seeds, ``low``, ``high``, and ``by_seed``
        of the seeds that both have), ``verdict`` and ``sentence``, by macro-F1.
    """
    found = []
    for one, other in pairs:
        metrics = {m: _difference(one, other, drawn, m) for m in METRICS}
        verdict = _verdict(metrics[JUDGED_BY], units)
        found.append(
            {
                "model": one.name,
                "against": other.name,
                "metrics": metrics,
                "verdict": verdict,
                "sentence": _sentence(one.name, other.name, metrics[JUDGED_BY], verdict, units),
            }
        )
    return found


def _difference(one: Model, other: Model, drawn: Mapping[str, Resampled], metric: str) -> dict[str, Any]:
    ours, theirs = one.by_seed, other.by_seed
    middle = float(
        np.mean([v[metric] for v in ours.values()]) - np.mean([v[metric] for v in theirs.values()])
    )
    if not np.isfinite(middle):
        return {"difference": None, "low": None, "high": None, "by_seed": []}
    replicates = drawn[one.name].overall[metric] - drawn[other.name].overall[metric]
    low, high = bootstrap.interval(replicates) or (None, None)
    shared = [seed for seed in ours if seed in theirs]
    by_seed = [rounded(ours[seed][metric] - theirs[seed][metric]) for seed in shared]
    return {
        "difference": rounded(middle),
        "low": rounded(low),
        "high": rounded(high),
        "by_seed": by_seed,
    }


def _verdict(found: Mapping[str, Any], units: Units) -> str:
    """Say that a model is better only where the interval and every seed say so."""
    if units.few:
        return TOO_FEW
    if found["low"] is None:
        return NO_EVIDENCE
    if found["low"] > 0 and all(value > 0 for value in found["by_seed"]):
        return HELPS
    if found["high"] < 0 and all(value < 0 for value in found["by_seed"]):
        return HURTS
    return NO_EVIDENCE


def _sentence(model: str, against: str, found: Mapping[str, Any], verdict: str, units: Units) -> str:
    part = ABLATED.get(against) if model == "graph" else None
    said = {
        HELPS: f"{_capital(part)} helps" if part else f"{model} is better than {against}",
        HURTS: f"{_capital(part)} hurts" if part else f"{model} is worse than {against}",
        NO_EVIDENCE: f"No evidence that {part} helps"
        if part
        else f"No evidence that {model} and {against} differ",
        TOO_FEW: f"Too few donors to say whether {part} helps"
        if part
        else f"Too few donors to say whether {model} and {against} differ",
    }[verdict]
    if found["difference"] is None:
        return f"{said}: {TITLES[JUDGED_BY]} is not defined."
    interval = f" [{found['low']:+.3f}, {found['high']:+.3f}]" if found["low"] is not None else ""
    over = {"donor": "donors", "cell": "cells, not people"}[units.kind]
    beside = f" against {against}" if part else ""
    return f"{said}: {TITLES[JUDGED_BY]} {found['difference']:+.3f}{interval}{beside}, over {over}."


def _capital(words: str | None) -> str:
    return f"{words[:1].upper()}{words[1:]}" if words else ""


def findings(models: Sequence[Model], unlike: Sequence[Mapping[str, Any]], units: Units) -> list[str]:
    """Return the sentences that a reader should take away."""
    said = [str(line["sentence"]) for line in unlike]
    parts = {
        part: [
            line["verdict"]
            for line in unlike
            if line["model"] == "graph" and ABLATED.get(line["against"]) == part
        ]
        for part in ("the text", "the graph")
    }
    idle = [part for part, verdicts in parts.items() if verdicts and HELPS not in verdicts]
    if idle and not units.few:
        whom = "Neither the text nor the graph is" if len(idle) == 2 else f"{_capital(idle[0])} is not"
        said.insert(0, f"{whom} shown to help on this data set.")
    several = [model for model in models if len(model.probability) > 1]
    if not several:
        said.append("Each model was trained from one seed: how much seeds differ is unknown.")
    return said
