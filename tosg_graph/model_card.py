"""``card.md``: what a model was made of and what it is good for, written by the program that trained it.

Sections follow Mitchell et al. 2019, arXiv:1810.03993; every figure comes out of the run and the bundle's manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tosg_graph import predictions

CARD = "card.md"
_NAMED = 12


def write_card(run: Path, manifest: Mapping[str, Any]) -> None:
    """Write the card of a run out of its ``run.json`` and the manifest of the bundle."""
    said = json.loads((run / predictions.RUN).read_text(encoding="utf-8"))
    (run / CARD).write_text("\n".join(card(said, manifest)) + "\n", encoding="utf-8")


def card(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the card."""
    task = said["task"]
    yield f"# Model card: {_title(said, manifest)}"
    yield ""
    yield "Written by the program that trained the model. Nothing in it was typed by hand."
    yield from _section("Data", _data(said, manifest))
    yield from _section("Network", _facts(said["plan"]))
    yield from _section("Training", _training(said))
    if task == "pretrain":
        yield from _section("Validation", _metrics(said["metrics"]))
    else:
        yield from _section("Models of this run", _models(said))
    yield from _section("Limits", (f"- {line}" for line in _limits(said, manifest)))


def _title(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    if said["task"] == "pretrain":
        return "hidden abundance and hidden edges"
    return f"{manifest['label']}, {len(manifest['classes'])} classes"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield from ("", f"## {title}", "", *lines)


def _data(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    splits = said["splits"]
    cells = ", ".join(f"{name} {side['cells']:,}" for name, side in splits.items())
    donors = ", ".join(
        f"{name} {len(side['cells_of_donors']):,}"
        for name, side in splits.items()
        if "cells_of_donors" in side
    )
    yield from _facts(
        {
            "manifest sha256": said["bundle_sha256"],
            "graph release": manifest["graph_release"],
            "subgraph": f"`{' '.join(manifest['query'].split())}`",
            "nodes": _counted(manifest["nodes"]),
            "edges": _counted(manifest["edges"]),
            "cohort": f"`{manifest['cells']}`",
            "cells": cells,
            **({"donors": donors} if manifest["split_unit"] != "cell" and donors else {}),
            "split by": manifest["split_unit"],
            "verdict": manifest["verdict"],
            "text embeddings": manifest["encoder"] or "none",
        }
    )
    if said["task"] == "classify":
        yield from _facts({"label": manifest["label"], "classes": _listed(manifest["classes"])})
    for reason in said["reasons"]:
        yield f"- {reason}"


def _training(said: Mapping[str, Any]) -> Iterator[str]:
    schedule, machine = said["schedule"], said["machine"]
    facts: dict[str, Any] = {"seeds": _listed(said["seeds"])}
    if said["task"] == "pretrain":
        masking = said["masking"]
        facts |= {"hidden abundance": masking["abundance"], "hidden edges": masking["edges"]}
        facts["weight of edges"] = masking["edge_weight"]
    else:
        facts["mode"] = said["mode"]
        if said["pretrained_sha256"]:
            facts["pretrained network sha256"] = said["pretrained_sha256"]
            facts |= said["taken_over"]
        if joint := said.get("joint"):
            facts["text encoder"] = (
                f"trained too, from {joint['encoder']} (sha256 {joint['encoder_sha256']}), by adapters of rank "
                f"{joint['rank']}, {joint['nodes']} texts in each step"
            )
        facts["labels per class"] = said["per_class"] or "all"
        facts["classes weigh"] = "the same" if said["balanced"] else "as many as they are"
    yield from _facts(
        {
            **facts,
            **{name.replace("_", " "): value for name, value in schedule.items()},
            **{name: value for name, value in machine.items() if name != "compile" or value},
            "software": ", ".join(f"{name} {version}" for name, version in said["software"].items()),
        }
    )


def _metrics(metrics: Mapping[str, float]) -> Iterator[str]:
    """A row per metric, what a simple rule reaches beside it."""
    yield "| metric | model | simple rule | |"
    yield "|--|--:|--:|--|"
    for name, value in metrics.items():
        if ", by " not in name:
            rule = next((n for n in metrics if n.startswith(f"{name}, by ")), None)
            beside = (f"{metrics[rule]:.3f}", rule.rpartition(", by ")[2]) if rule else ("", "")
            yield f"| {name} | {value:.3f} | {beside[0]} | {beside[1]} |"


def _models(said: Mapping[str, Any]) -> Iterator[str]:
    yield "`model.safetensors` is the first of them, of the seed with the best validation. `tosg evaluate` judges all."
    yield from ("", "| model | parameters | seconds of all seeds | chosen on validation |", "|--|--:|--:|--|")
    for model in said["models"]:
        lines: Sequence[Mapping[str, Any]] = model["seeds"]
        chosen = "; ".join(", ".join(f"{k} {v}" for k, v in line["chosen"].items()) for line in lines)
        seconds = sum(line["seconds"] for line in lines)
        yield f"| {model['model']} | {lines[0]['parameters']:,} | {seconds:.1f} | {chosen} |"


def _limits(said: Mapping[str, Any], manifest: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know before using the model, each out of a fact of the run."""
    yield from said.get("notes", ())
    if manifest["split_unit"] == "cell":
        yield "The split is by cell: scores say nothing about donors that were not seen."
    elif "cells_of_donors" in said["splits"].get("test", {}):
        donors = len(said["splits"]["test"]["cells_of_donors"])
        yield f"Donors of the test cells: {donors:,}. What varies between donors is known no better than that."
    if manifest["verdict"] != "ok":
        yield f"The bundle's verdict is {manifest['verdict']}: see its diagnostics before trusting a score."
    if said.get("per_class"):
        yield f"Learned from {said['per_class']} labels per class; epochs were chosen on all validation labels."
    if len(said["seeds"]) == 1:
        yield "One seed: how much the result varies from fit to fit is not known."
    if said["plan"]["text"]:
        yield "Texts that tosg annotate wrote name neighbours in the graph, so that text vectors know of edges."
    if said.get("joint"):
        yield "Text vectors are those of this run, for its nodes: other nodes have to be embedded with its adapters."
    yield "Trained for this subgraph and these measurements; on others it is not tested."
    yield "For research; not for decisions about patients."


def _facts(pairs: Mapping[str, Any]) -> Iterator[str]:
    for name, value in pairs.items():
        yield f"- {name}: {value}"


def _counted(counts: Mapping[str, int]) -> str:
    return f"{sum(counts.values()):,} ({', '.join(f'{name} {count:,}' for name, count in counts.items())})"


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _NAMED} more" if len(values) > _NAMED else ""
    return ", ".join(map(str, values[:_NAMED])) + more
