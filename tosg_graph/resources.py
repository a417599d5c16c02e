"""Files that are installed with the package: the only module that reads them."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
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
    content: dict[str, Any] = yaml.safe_load(text)
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


def web(name: str) -> str:
    """Text of a file in ``web``, what Neo4j Browser is given."""
    return (files("tosg_graph.web") / name).read_text(encoding="utf-8")
