"""What people decided about values: read from YAML or an edited audit, with the line of each; kept beside the store."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    import yaml

AUDIT_COLUMNS = ("column", "dataset", "raw", "term_id", "label", "rule", "score", "cells", "candidates")
_NEEDED = ("column", "raw", "term_id")


@dataclass(frozen=True)
class Decision:
    """What one value of a column means: a CURIE, ``unmapped`` or ``unknown``; None where nobody decided."""

    line: int
    column: str
    raw: str
    target: str | None
    dataset: str | None = None  # None: in all of them
    label: str | None = None  # as the file says; only to find a label that was edited in place of the id


def read_decisions(path: Path) -> list[Decision]:
    """Read an audit as CSV, or YAML in the form of a mapping file; by its ending.

    Raises
    ------
    CellsError
        If the file cannot be read; if a line lacks something, or contradicts another. The line is named.
    """
    found = _of_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else _of_csv(path)
    seen: dict[tuple[str, str, str | None], Decision] = {}
    for decision in found:
        for dataset in {decision.dataset, None}:
            other = seen.get((decision.column, decision.raw, dataset))
            if other and (other.target != decision.target or other.dataset == decision.dataset):
                raise CellsError(
                    f"{path} line {decision.line}: {decision.column} {decision.raw!r} is decided again; line "
                    f"{other.line} says {other.target or 'nothing'}. Keep one of the two."
                )
        seen[decision.column, decision.raw, decision.dataset] = decision
    return found


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    CellsError
        If it cannot be read, is no YAML, or has a key twice (of which YAML would take the last).
    """
    import yaml

    node = _composed(path)
    try:
        return None if node is None else yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise _no_yaml(path, error) from error


def read_kept(folder: Path) -> dict[str, dict[str, str]]:
    """Decisions that were kept beside a store: column -> value -> target."""
    path = kept_path(folder)
    if not path.exists():
        return {}
    return {
        column: {str(value): str(target) for value, target in entry["terms"].items()}
        for column, entry in (read_yaml(path) or {}).items()
    }


def keep(folder: Path, decisions: Iterable[Decision]) -> None:
    """Add decisions for all datasets to those that are kept beside a store; newer ones win."""
    import yaml

    kept = read_kept(folder)
    before = repr(kept)
    for decision in decisions:
        if decision.target and decision.dataset is None:
            kept.setdefault(decision.column, {})[decision.raw] = decision.target
    if repr(kept) == before:
        return
    content = {column: {"terms": dict(sorted(terms.items()))} for column, terms in sorted(kept.items())}
    path = kept_path(folder)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")
    temporary.replace(path)


def kept_path(folder: Path) -> Path:
    """File of the decisions that are kept beside the store in ``folder``."""
    return folder / "terms.yaml"


def audit_yaml(rows: Iterable[Mapping[str, Any]]) -> str:
    """An audit as a mapping file: decisions stand in it, of all other values a person may add the id.

    Raises
    ------
    CellsError
        If a value means different terms in different datasets, which this form cannot say.
    """
    import json

    lines: list[str] = []
    column, seen = None, set[tuple[str, str]]()
    for row in rows:
        if (row["column"], row["raw"]) in seen:
            raise CellsError(
                f"{row['column']} {row['raw']!r} means different things in different datasets, which YAML cannot say "
                "here. Name one with --dataset, or write CSV."
            )
        seen.add((row["column"], row["raw"]))
        if row["column"] != column:
            column = row["column"]
            lines += [f"{column}:", "  terms:"]
        said = ", ".join(str(v) for v in (row["label"], row["rule"], f"{row['cells']:,} cells") if v)
        more = f"; nearest: {row['candidates']}" if row.get("candidates") else ""
        value = json.dumps(row["raw"], ensure_ascii=False)  # JSON's quotes are YAML's
        lines.append(f"    {value}: {row['term_id'] or ''}  # {said}{more}")
    return "\n".join(lines) + "\n" if lines else "{}\n"


# --------------------------------------------------------------------------- files


def _of_csv(path: Path) -> list[Decision]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise CellsError(
            f"{path} line 1: there is no column {missing[0]!r}. It needs {', '.join(_NEEDED)}; write one with "
            "tosg cells terms --format csv --out FILE.csv"
        )
    found = []
    try:
        for row in reader:
            line = reader.line_num
            if None in row or None in row.values():
                raise CellsError(
                    f"{path} line {line}: it has {'more' if None in row else 'fewer'} cells than line 1. Quote a "
                    "value that holds a comma."
                )
            target = row["term_id"].strip() or None
            dataset, label = row.get("dataset") or None, row.get("label") or None
            found.append(Decision(line, row["column"].strip(), row["raw"], target, dataset, label))
    except csv.Error as error:
        raise CellsError(f"{path} line {reader.line_num}: {error}. Close the quotes.") from error
    return found


def _of_yaml(path: Path) -> list[Decision]:
    import yaml

    root = _composed(path)
    found = []
    for column, entry in _pairs(path, root, "one entry per column"):
        for name, terms in _pairs(path, entry, "terms: {value: id}"):
            if name.value != "terms":
                continue
            for raw, target in _pairs(path, terms, "value: id"):
                if not isinstance(target, yaml.ScalarNode):
                    raise CellsError(
                        f"{path} line {_line(target)}: {column.value} {raw.value!r} needs one id."
                    )
                given = None if target.tag.endswith(":null") else target.value.strip() or None
                found.append(Decision(_line(raw), column.value, raw.value, given))
    return found


def _pairs(path: Path, node: yaml.Node | None, wanted: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    import yaml

    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        raise CellsError(f"{path} line {_line(node)}: `{wanted}` is expected. See docs/terms.md.")
    found: list[tuple[yaml.ScalarNode, yaml.Node]] = node.value
    return found


def _composed(path: Path) -> yaml.Node | None:
    import yaml

    text = _text(path)
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _no_yaml(path, error) from error
    _refuse_twice(path, root, [])
    return root


def _no_yaml(path: Path, error: yaml.YAMLError) -> CellsError:
    return CellsError(f"{path} is no YAML: {' '.join(str(error).split())}. See docs/cells.md.")


def _refuse_twice(path: Path, node: yaml.Node | None, above: list[yaml.Node]) -> None:
    import yaml

    if any(node is other for other in above):
        raise CellsError(f"{path} line {_line(above[-1])}: it refers to itself. Write the value out.")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise CellsError(f"{path} line {_line(key)}: a name or value is expected. See docs/terms.md.")
            if key.value in seen:
                raise CellsError(
                    f"{path} line {_line(key)}: {key.value!r} stands there again, first in line {seen[key.value]}. "
                    "Keep one of the two."
                )
            seen[key.value] = _line(key)
            _refuse_twice(path, value, [*above, node])


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets write the mark
    except OSError as error:
        raise CellsError(f"{path} cannot be read: {error.strerror}. Name a YAML or CSV file.") from error
    except UnicodeDecodeError as error:
        raise CellsError(f"{path} is no YAML or CSV in UTF-8: {error}. Save it as UTF-8.") from error
