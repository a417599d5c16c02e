"""Whether a bundle can be learned from: refused with the next step, or what has to be said about it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tosg_graph import bundle
from tosg_graph.bundle_cells import COPY
from tosg_graph.donors import people
from tosg_graph.errors import TrainingError

_NAMED = 3  # classes that a message names


def check(folder: Path, manifest: Mapping[str, Any], *, allow_one_donor: bool) -> list[str]:
    """Refuse a bundle whose label cannot be learned, or not be judged; return what a reader of scores has to know.

    Raises
    ------
    TrainingError
        If a split is empty, the label has one class, or a class has cells of one donor where donors are known.
    """
    check_splits(folder, manifest, bundle.SPLITS)
    classes: list[str] = list(manifest["classes"])
    columns = bundle.read_table(bundle.checked_path(folder, manifest, bundle.CELLS))
    seen: dict[str, set[str]] = {split: set() for split in bundle.SPLITS}
    for split, name in zip(columns["split"].to_pylist(), columns["label"].to_pylist(), strict=True):
        seen[split].add(name)
    if len(seen["train"]) < 2:
        raise TrainingError(
            f"The training cells of {folder} have one class of {manifest['label']}, {min(seen['train'])!r}: there is "
            "nothing to tell apart. Export more cells, or another --label."
        )
    alone = [name for name, number in _donors_of_classes(columns).items() if number == 1]
    if alone and not allow_one_donor:
        raise TrainingError(
            f"{_named(alone)} of {manifest['label']} has cells of one donor only: whether the class or the donor was "
            "learned cannot be told. Add donors, leave the class out with --cells, or accept it by --allow-one-donor."
        )
    notes = [f"{_named(alone)}: all cells are of one donor"] if alone else []
    unlearned = [name for name in classes if name not in seen["train"]]
    if unlearned:
        notes.append(f"{_named(unlearned)}: no training cell, so that it is never predicted rightly")
    unjudged = [name for name in classes if name not in seen["test"]]
    if unjudged:
        notes.append(f"{_named(unjudged)}: no test cell, so that nothing is known of it")
    return notes


def check_splits(folder: Path, manifest: Mapping[str, Any], splits: Sequence[str]) -> None:
    """Raise `TrainingError` where one of the splits has no cell."""
    for split in splits:
        if not manifest["splits"].get(split):
            raise TrainingError(
                f"{folder} has no {split} cells. Export it again with other --fractions, more cells or more donors."
            )


def check_text(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raise `TrainingError` where no node has a text embedding."""
    path = bundle.checked_path(folder, manifest, bundle.TEXT)
    if not bundle.map_tensors(path)["mask"].any():
        raise TrainingError(
            f"{folder} has no text embedding of any node. Run tosg embed and export it again, or add --no-text."
        )


def said_of(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle says of its split, for ``run.json``: unit, verdict, its reasons, and cells per split."""
    path = bundle.checked_path(folder, manifest, bundle.DIAGNOSTICS)
    reasons = json.loads(path.read_text(encoding="utf-8")).get("reasons", [])
    return {
        "split_unit": manifest["split_unit"],
        "verdict": manifest["verdict"],
        "reasons": reasons,
        "splits": {split: {"cells": number} for split, number in manifest["splits"].items()},
    }


def _donors_of_classes(cells: Any) -> dict[str, int]:
    """Known donors of each class; 0 where some of its cells are of unknown ones."""
    copies = cells[COPY].to_pylist() if COPY in cells.column_names else None
    donors: dict[str, set[str | None]] = defaultdict(set)
    for name, donor in zip(cells["label"].to_pylist(), people(cells, copies), strict=True):
        donors[name].add(donor)
    return {name: 0 if None in found else len(found) for name, found in sorted(donors.items())}


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more
