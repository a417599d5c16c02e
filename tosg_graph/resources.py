"""Files that are installed with the package: the only module that reads them."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml


@cache
def cypher(name: str) -> str:
    """Text of ``cypher/<name>.cypher``; ``name`` may be ``queries/<name>``."""
    *folder, stem = name.split("/")
    package = ".".join(["tosg_graph.cypher", *folder])
    return (files(package) / f"{stem}.cypher").read_text(encoding="utf-8")


def canned_names() -> list[str]:
    """Names of the canned questions in ``cypher/queries``, sorted."""
    entries = files("tosg_graph.cypher.queries").iterdir()
    return sorted(e.name.removesuffix(".cypher") for e in entries if e.name.endswith(".cypher"))


@cache
def schema(name: str) -> dict[str, Any]:
    """Content of ``schema/<name>.yaml``."""
    text = (files("tosg_graph.schema") / f"{name}.yaml").read_text(encoding="utf-8")
    # libyaml's parser, where there is one, takes a tenth of the time; both read safely.
    content: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content


def facts_path(name: str) -> Path:
    """Path of a fact table in ``loaders/facts``."""
    return Path(str(files("loaders.facts") / name))


def lock_text(name: str) -> str:
    """Text of a lock file beside the program, e.g. ``jars.lock``."""
    return (files("tosg_graph") / name).read_text(encoding="utf-8")


def grammar(name: str) -> str:
    """Text of a grammar beside the program, e.g. ``cohort.lark``."""
    return (files("tosg_graph") / f"{name}.lark").read_text(encoding="utf-8")


def program_sha256() -> str:
    """Return the sha256, in hex, of the program and of all that is installed with it."""
    digest = hashlib.sha256()
    for package in ("loaders", "tosg_graph"):
        for name, file in sorted(_files_below(files(package), package)):
            content = file.read_bytes()
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _files_below(folder: Traversable, name: str) -> list[tuple[str, Traversable]]:
    found = []
    for entry in folder.iterdir():
        if entry.is_file():
            found.append((f"{name}/{entry.name}", entry))
        elif entry.name != "__pycache__":
            found += _files_below(entry, f"{name}/{entry.name}")
    return found


def web(name: str) -> str:
    """Text of a file in ``web``, what Neo4j Browser is given."""
    return (files("tosg_graph.web") / name).read_text(encoding="utf-8")
