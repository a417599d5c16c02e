"""Which sources a load means: by key, by the names `demo` and `all`, or by a mapping YAML of the user's own."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.errors import LoadError
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.types import Loader, Source

DEMO = "demo"  # every source of the demo graph
ALL = "all"  # every source whose files PATH holds
KEY_OPTION = "key"  # of a format that anybody's files have: what to call the source of these
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_FORMATS = {"kgx", "obo", "obograph"}  # read anybody's files, so `ALL` never means them


def named(names: Sequence[str], path: Path | None) -> dict[str, Loader]:
    """Loaders in load order, the user's own last.

    Parameters
    ----------
    names
        Keys, `DEMO`, `ALL`, or paths of mapping YAMLs.
    path
        What the user gave as PATH; `ALL` needs a folder.

    Raises
    ------
    LoadError
        If a name is unknown, a key is taken, or no source has its files in the folder.
    """
    from loaders import LOADERS
    from loaders.mapping import Mapping

    wanted: set[str] = set()
    own: dict[str, Loader] = {}
    for name in names:
        if name.endswith((".yaml", ".yml")):
            mapping = Mapping(Path(name))
            key = mapping.SOURCE.key
            if key in LOADERS or key in own or key in (DEMO, ALL):
                raise LoadError(f"{name}: key {key!r} is taken by another source; choose another.")
            own[key] = mapping
        elif name == DEMO:
            wanted |= {key for key, loader in LOADERS.items() if loader.SOURCE.in_demo}
        elif name == ALL:
            wanted |= _lying_in(path)
        elif name in LOADERS:
            wanted.add(name)
        else:
            near = get_close_matches(name, [DEMO, ALL, *LOADERS], n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise LoadError(f"No source is called {name!r}.{hint} `tosg load --list` shows all.")
    return {key: loader for key, loader in LOADERS.items() if key in wanted} | own


def called(source: Source, key: str, taken: Collection[str]) -> Source:
    """Source under the key that the user gives it; the same without one.

    Parameters
    ----------
    taken
        Keys of the other sources of the load.

    Raises
    ------
    LoadError
        If the key has another form, or is that of another source.
    """
    from loaders import LOADERS

    if not key or key == source.key:
        return source
    if not _KEY.fullmatch(key):
        raise LoadError(
            f"--option key={key}: write lower-case letters, digits and `_`, such as monarch_2025."
        )
    if key in {*LOADERS, *taken, DEMO, ALL}:
        raise LoadError(f"--option key={key}: this key is taken by another source; choose another.")
    return replace(source, key=key)


def refuse_key_of_another(graph: Graph, source: Source) -> None:
    """Raise `LoadError` where the graph has a source of this key that is something else."""
    for found in graph.rows(cypher("source_read"), key=source.key):
        if found["carrier"] or found["title"] != source.title:
            what = f"a resource that {found['carrier']} carries" if found["carrier"] else repr(found["title"])
            raise LoadError(
                f"--option key={source.key}: in the graph this is the key of {what}; choose another."
            )


def folder_of(loader: Loader, path: Path | None) -> Path | None:
    """Where to look for a source's files: PATH, or beside the user's own mapping."""
    from loaders import LOADERS
    from loaders.mapping import Mapping

    if path is None and isinstance(loader, Mapping) and loader.SOURCE.key not in LOADERS:
        return loader.path.parent
    return path


def mapping_sha256(loader: Loader) -> str:
    """Return the sha256 of the user's own mapping; empty for what comes with the program."""
    from loaders import LOADERS
    from loaders.mapping import Mapping
    from tosg_graph.hashes import sha256_of

    if isinstance(loader, Mapping) and loader.SOURCE.key not in LOADERS:
        return sha256_of(loader.path)
    return ""


def _lying_in(path: Path | None) -> set[str]:
    """Keys of the sources of which a folder holds every file that a folder can hold."""
    from loaders import LOADERS
    from tosg_graph.downloads import lies_in

    if path is None or not path.is_dir():
        raise LoadError("`all` needs --path FOLDER: it loads every source whose files the folder holds.")
    found = {key for key, loader in LOADERS.items() if key not in _FORMATS and lies_in(loader.SOURCE, path)}
    if not found:
        raise LoadError(f"{path} holds the files of no source; `docs/sources.md` says what they are called.")
    return found
