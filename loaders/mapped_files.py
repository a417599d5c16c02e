"""The files of a mapping as tables of text, each read once, and what stands beside a key in one of them."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.columns import column, read_csv
from loaders.mapping_rules import FileRule, Lookup, TableRule
from loaders.tables import read_json
from tosg_graph.errors import LoadError

if TYPE_CHECKING:
    import pyarrow as pa

IN_JSON_LIST = "\x1f"  # between the values of a JSON list, while it is a cell


class Files:
    """The files of a mapping, each read once.

    Parameters
    ----------
    paths, how
        File name -> where it is, and how it is read.
    rules
        Tables that read them; they decide which columns are read.
    """

    def __init__(self, paths: Dict[str, Path], how: Dict[str, FileRule], rules: Sequence[TableRule]) -> None:
        self._paths, self._how, self._rules = paths, how, rules
        self._tables: dict[str, pa.Table] = {}
        self._lookups: dict[Lookup, tuple[pa.Array, pa.Array]] = {}

    def table(self, name: str) -> pa.Table:
        """Columns of a file that any of its tables, or a lookup, reads."""
        if name not in self._tables:
            self._tables[name] = _read(self._paths[name], self._how[name], self._wanted(name))
        return self._tables[name]

    def _wanted(self, name: str) -> list[str]:
        found = [c for rule in self._rules if rule.file == name for c in rule.columns()]
        for part in (p for rule in self._rules for value in rule.values() for p in value.parts):
            if part.lookup and part.lookup.file == name:
                found += [part.lookup.key, part.lookup.value, *(name for name, _ in part.lookup.where)]
        return list(dict.fromkeys(found))

    def beside(self, lookup: Lookup) -> tuple[pa.Array, pa.Array]:
        """Keys that stand beside one value only, and that value."""
        import pyarrow as pa

        if lookup not in self._lookups:
            rows = self.table(lookup.file)
            for name, text in lookup.where:
                rows = rows.filter(pa.compute.equal(column(rows, name), text))
            keys, values = column(rows, lookup.key), column(rows, lookup.value)
            pairs = pa.table({"key": keys, "value": values}).group_by(["key", "value"]).aggregate([])
            firsts = pairs.group_by("key").aggregate([("value", "min"), ("value", "count")])
            alone = firsts.filter(pa.compute.equal(firsts["value_count"], 1))
            self._lookups[lookup] = (column(alone, "key"), column(alone, "value_min"))
        return self._lookups[lookup]


def _read(path: Path, rule: FileRule, wanted: Sequence[str]) -> pa.Table:
    kind = rule.format or _format_of(path)
    if kind == "json":
        return _json_table(path, wanted)
    separator = {"tsv": "\t", "csv": ","}.get(kind, kind)
    return read_csv(path, wanted, separator=separator, names=rule.columns, quoted=rule.quoted)


def _format_of(path: Path) -> str:
    for suffix in path.suffixes:
        if suffix in (".csv", ".json"):
            return suffix[1:]
    return "tsv"


def _json_table(path: Path, wanted: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise LoadError(f"{path.name}: is not a JSON list of objects; give one, or a tsv or csv file.")
    known = {name for row in content for name in row}
    for name in wanted:
        if content and name not in known:
            raise LoadError(
                f"{path.name}: no object has {name!r}; they have {', '.join(sorted(known)[:20])}."
            )
    return pa.table(
        {
            name: pa.array(
                [_json_cell(path, n, name, row.get(name)) for n, row in enumerate(content, 1)], "string"
            )
            for name in wanted
        }
    )


def _json_cell(path: Path, row: int, name: str, value: Any) -> str:
    if isinstance(value, list):
        return IN_JSON_LIST.join(_json_cell(path, row, name, one) for one in value)
    if isinstance(value, dict):
        raise LoadError(f"{path.name}: row {row}, {name!r} holds an object; a mapping reads texts and lists.")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
