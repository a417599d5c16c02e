"""What a mapping YAML says, as rules: files, values, conditions and tables."""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass, field

from tosg_graph.contract import edge_columns, edge_required, node_columns, node_required

COLUMN = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Lookup:
    """Where a cell stands in another file: the value beside it."""

    file: str
    key: str
    value: str
    where: tuple[tuple[str, str], ...] = ()  # columns of that file, and what stands in them


@dataclass(frozen=True)
class Part:
    """Text made of the cells of a row; with ``split``, of each value in one cell."""

    template: str
    split: tuple[str, ...] = ()
    pattern: str | None = None
    lookup: Lookup | None = None
    map: Dict[str, str] | None = None
    otherwise: str | None = None  # where pattern, lookup or map has nothing; None: the row is rejected

    @property
    def columns(self) -> list[str]:
        """Columns that the text is made of."""
        return COLUMN.findall(self.template)

    @property
    def prefix(self) -> str:
        """What stands before the first column."""
        return self.template.partition("{")[0]


@dataclass(frozen=True)
class Value:
    """Parts of which the first that is not empty counts; in a list, all."""

    parts: tuple[Part, ...]
    join: str | None = None


@dataclass(frozen=True)
class Condition:
    """What a row must fulfil to be loaded, and the reason given for the others."""

    column: str
    test: str  # one of `_TESTS`
    allowed: tuple[str, ...]
    reason: str

    @property
    def columns(self) -> list[str]:
        """The column, and those that it is compared with."""
        if self.test not in ("is", "is_not"):
            return [self.column]
        return [self.column, *(m[1] for text in self.allowed if (m := COLUMN.fullmatch(text)))]


@dataclass(frozen=True)
class FileRule:
    """How a file is read."""

    format: str  # tsv, csv, json, or a single character; "" tells by the name
    columns: tuple[str, ...]  # names, where the file has no header
    quoted: bool | None


@dataclass(frozen=True)
class TableRule:
    """How rows of one file become nodes, or edges."""

    name: str
    file: str
    labels: tuple[str, ...]  # of the node, or of subject and object
    verb: str | None
    ids: Dict[str, Value]  # "id", or "subject" and "object"
    properties: Dict[str, Value]
    let: Dict[str, Value] = field(default_factory=dict)
    where: tuple[Condition, ...] = ()
    by: Value | None = None
    cases: Dict[str, TableRule | str] = field(default_factory=dict)  # a text: why such rows are rejected

    def kinds(self) -> dict[str, str]:
        """Properties that the schema knows: name -> type."""
        return edge_columns(self.verb) if self.verb else node_columns(self.labels[0])

    def required(self) -> list[str]:
        """Properties that the schema requires, beside ids."""
        return edge_required(self.verb) if self.verb else node_required(self.labels[0])

    def values(self) -> list[Value]:
        """Everything that reads cells."""
        found = [*self.let.values(), *self.ids.values(), *self.properties.values()]
        found += [self.by] if self.by else []
        return found + [
            v for case in self.cases.values() if isinstance(case, TableRule) for v in case.values()
        ]

    def columns(self) -> list[str]:
        """Columns of the file that are read."""
        found = [c for value in self.values() for part in value.parts for c in part.columns]
        found += [c for rule in self._rules() for condition in rule.where for c in condition.columns]
        made = {name for rule in self._rules() for name in rule.let}
        return [c for c in dict.fromkeys(found) if c not in made]

    def _rules(self) -> list[TableRule]:
        return [self, *(case for case in self.cases.values() if isinstance(case, TableRule))]
