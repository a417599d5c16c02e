"""What a load is made of, known before anything is parsed: the same recipe makes the same graph.

``recipes/<recipe>.json`` in the folder of statements keeps what a load said, and the release that it left. It is
believed while the graph still holds just what each of its sources stated then, and no load of nodes came after: that
could have changed which ids are one thing.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph import ledger, stated
from tosg_graph.resources import program_sha256
from tosg_graph.types import LedgerLine, Source

if TYPE_CHECKING:
    from tosg_graph.licences import Filter

_READERS = ("duckdb", "numpy", "pandas", "pyarrow")  # a new version may read the same file in another way


@dataclass(frozen=True)
class Ingredient:
    """One source of a load, its files described in `Source.files_read`."""

    source: Source
    options: Mapping[str, str]
    mapping: str = ""  # sha256 of the user's own YAML


def recipe(ingredients: Sequence[Ingredient], allowed: Filter | None) -> str:
    """Return the sha256, in hex, of files, choices, filter and program."""
    said = {
        "program": _program(),
        "allowed": asdict(allowed) if allowed else None,
        "ingredients": [asdict(ingredient) for ingredient in ingredients],
    }
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@cache
def _program() -> tuple[str, ...]:
    versions = (f"{name} {version(name)}" for name in _READERS)
    return (program_sha256(), platform.python_version(), *versions)


def is_kept(folder: Path, recipe: str) -> bool:
    """Whether a load of this recipe has ended; `lines_of` says whether the graph is still as it left it."""
    return _file(folder, recipe).is_file()


def lines_of(folder: Path, recipe: str, releases: Sequence[str]) -> list[LedgerLine]:
    """Return the ledger of the load of this recipe, with nothing written; empty where the graph is not as it left it.

    Parameters
    ----------
    releases
        Ids of the releases of the graph.
    """
    try:
        kept = json.loads(_file(folder, recipe).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    for key in kept["sources"]:
        known = stated.known(folder, key, releases)
        if known.last is None or stated.settled_in(folder, key) != kept["release"]:
            return []
    lines = ledger.from_json(kept["ledger"])
    return [replace(line, created=0, updated=0, retired=0) for line in lines]


def remember(
    folder: Path, recipe: str, release: str, sources: Sequence[str], lines: Sequence[LedgerLine]
) -> None:
    """Keep what a load said; ``release`` is the newest one of the graph after it."""
    path = _file(folder, recipe)
    path.parent.mkdir(exist_ok=True)
    kept = {"release": release, "sources": list(sources), "ledger": ledger.to_json(lines)}
    stated.write_json(path, kept)


def forget(folder: Path) -> None:
    """Believe no recipe any more."""
    shutil.rmtree(folder / "recipes", ignore_errors=True)


def _file(folder: Path, recipe: str) -> Path:
    return folder / "recipes" / f"{recipe}.json"
