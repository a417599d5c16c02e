"""Cohorts that were given a name: one small JSON file each, in the ``cohorts`` folder of the home.

``@NAME`` in an expression stands for what was saved. What is kept is the definition, not the cells: the same name
selects more cells once more were added, and the file says of which store version it was when it was saved.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tosg_graph.cell_terms import CohortDefinition
from tosg_graph.errors import CohortError

FORMAT_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# Text in quotes is passed over; what is left may hold references.
_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|@([A-Za-z0-9_.-]*)|[^'\"@]+|.", re.DOTALL)


@dataclass(frozen=True)
class SavedCohort:
    """One saved cohort.

    Parameters
    ----------
    expression, query, parameters, exact
        As in `CohortDefinition`; names of other cohorts are written out.
    cells
        How many cells it selected when it was saved.
    store_version
        Version of the cells table then.
    """

    name: str
    expression: str
    query: str | None
    parameters: dict[str, Any]
    exact: bool
    cells: int
    store_version: int


def save(folder: Path, cohort: SavedCohort, *, replace: bool = False) -> Path:
    """Write a cohort under its name, whole or not at all.

    Raises
    ------
    CohortError
        If the name cannot be one, is taken, or the folder cannot be written.
    """
    path = _path(folder, cohort.name)
    if path.exists() and not replace:
        raise CohortError(
            f"A cohort {cohort.name!r} is saved already: {read(folder, cohort.name).expression}. Choose another name, "
            "or add --replace."
        )
    text = json.dumps({"format_version": FORMAT_VERSION, **asdict(cohort)}, ensure_ascii=False, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=folder)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(path)
        finally:
            Path(part).unlink(missing_ok=True)
    except OSError as error:
        raise CohortError(f"{path} cannot be written: {error.strerror}. Set TOSG_HOME.") from error
    return path


def read(folder: Path, name: str) -> SavedCohort:
    """Return the cohort of this name.

    Raises
    ------
    CohortError
        If there is none (the nearest names are given), or its file is damaged or of a newer format.
    """
    path = _path(folder, name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("format_version")
        if version > FORMAT_VERSION:
            raise CohortError(
                f"{path} has format {version}, this program reads {FORMAT_VERSION}. Upgrade it."
            )
        return _typed(SavedCohort(**content))
    except FileNotFoundError:
        raise CohortError(_no_such(folder, name)) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CohortError(f"{path} cannot be read: {error}. Remove it, and save the cohort again.") from error


def _typed(cohort: SavedCohort) -> SavedCohort:
    """Raise `TypeError` where a file that somebody wrote by hand holds something else."""
    query = cohort.query is None or isinstance(cohort.query, str)
    if not (isinstance(cohort.expression, str) and query and isinstance(cohort.parameters, dict)):
        raise TypeError("expression and query are text, parameters a map")
    return cohort


def names(folder: Path) -> list[str]:
    """Names of all saved cohorts, sorted."""
    return sorted(path.stem for path in folder.glob("*.json") if _NAME.fullmatch(path.stem))


def remove(folder: Path, name: str) -> None:
    """Forget a saved cohort.

    Raises
    ------
    CohortError
        If there is none of this name.
    """
    path = _path(folder, name)
    try:
        path.unlink()
    except FileNotFoundError:
        raise CohortError(_no_such(folder, name)) from None


def define(
    folder: Path,
    expression: str = "true",
    query: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    exact: bool = False,
) -> CohortDefinition:
    """Write out the saved cohorts that an expression names.

    ``@NAME`` alone is the saved cohort, query included; inside an expression it is the saved expression in parentheses.

    Raises
    ------
    CohortError
        If a name is not saved, or a cohort with a query is combined with anything else.
    """
    if query is None and (parameters or exact):
        raise CohortError(
            "Parameters and --exact-terms belong to a query that picks cells. Add --cells-query."
        )
    alone = re.fullmatch(r"\s*@([A-Za-z0-9_.-]+)\s*", expression)
    if alone:
        saved = read(folder, alone[1])
        if saved.query is None:
            return CohortDefinition(saved.expression, query, dict(parameters or {}), exact, (saved.name,))
        if query is not None:
            raise CohortError(_has_query(saved.name))
        return CohortDefinition(saved.expression, saved.query, saved.parameters, saved.exact, (saved.name,))
    text, used = _written_out(folder, expression)
    return CohortDefinition(text, query, dict(parameters or {}), exact, used)


def _written_out(folder: Path, expression: str) -> tuple[str, tuple[str, ...]]:
    used: dict[str, None] = {}
    pieces = []
    for piece in _PIECE.finditer(expression):
        name = piece[1]
        if name is None:
            pieces.append(piece[0])
            continue
        saved = read(folder, name)
        if saved.query is not None:
            raise CohortError(_has_query(name))
        used[name] = None
        pieces.append(f"({saved.expression})")
    return "".join(pieces), tuple(used)


def _has_query(name: str) -> str:
    return (
        f"The saved cohort {name!r} has a query of its own, so it stands alone: --cells @{name}, without AND, OR, NOT "
        "and --cells-query."
    )


def _path(folder: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise CohortError(
            f"{name!r} cannot be the name of a cohort. Use up to 100 letters, digits, '_', '.' and '-', a letter or "
            "digit first."
        )
    return folder / f"{name}.json"


def _no_such(folder: Path, name: str) -> str:
    known = names(folder)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known[:5]
    hint = f" Nearest: {', '.join(near)}." if near else " None is saved yet: tosg cohort EXPR --save NAME."
    return f"No cohort {name!r} is saved.{hint} `tosg cohort --list` shows all."
