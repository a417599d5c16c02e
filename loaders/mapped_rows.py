"""Rows of a table as a mapping wants them: column by column, every row kept or rejected with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.columns import REJECT_COLUMNS, column, split_cells
from loaders.mapped_files import IN_JSON_LIST, Files
from loaders.mapping_rules import COLUMN, Condition, Part, TableRule, Value
from tosg_graph.contract import allowed_values, id_prefixes
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    Bools = npt.NDArray[np.bool_]
    Ints = npt.NDArray[np.int64]

_MADE = "\x00"  # in front of the names of result columns
_SHARE = "\x01"  # name of the column that says which case a row is
_NUMBER = {"int": r"^[+-]?\d{1,18}$", "float": r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$"}
_BOOLS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_CURIE = r"^[A-Za-z][A-Za-z0-9_.-]*:\S+$"


def parsed(key: str, nodes: Sequence[TableRule], edges: Sequence[TableRule], files: Files) -> Parsed:
    """Tables of a source, in the order of its rules."""
    return Parsed(
        tuple(
            NodeTable(
                key, made.rule.name, made.rule.labels[0], made.data, made.read, 0, made.rejects, made.lines
            )
            for rule in nodes
            for made in _made(rule, files)
        ),
        tuple(
            EdgeTable(
                *(key, made.rule.name, made.rule.labels[0], str(made.rule.verb), made.rule.labels[1]),
                *(made.data, made.read, 0, made.rejects, made.lines),
            )
            for rule in edges
            for made in _made(rule, files)
        ),
    )


# --------------------------------------------------------------------------- one table


@dataclass
class _Rows:
    """Rows of a file that are still in, and what became of the others."""

    rule: TableRule
    cells: pa.Table  # columns of the file, those that `let` makes, and those of the result after `_MADE`
    numbers: Ints  # 1-based rows of the file
    made_of: dict[str, str] = field(default_factory=dict)  # column made by `let` -> the column it is made of
    _rejects: list[pa.Table] = field(default_factory=list)

    @property
    def data(self) -> pa.Table:
        """The result."""
        names = [name for name in self.cells.column_names if name.startswith(_MADE)]
        return self.cells.select(names).rename_columns([name.removeprefix(_MADE) for name in names])

    @property
    def lines(self) -> pa.Array | None:
        """Row of the file of each row of the result; None where that is its place."""
        import pyarrow as pa

        in_place = np.array_equal(self.numbers, np.arange(1, len(self.numbers) + 1))
        return None if in_place else pa.array(self.numbers, pa.int32())

    @property
    def rejects(self) -> pa.Table:
        """Rejected rows, in the order of the file."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kinds = [pa.int64(), pa.string(), pa.string(), pa.string()]
        nothing = pa.schema(list(zip(REJECT_COLUMNS, kinds, strict=True))).empty_table()
        whole = pa.concat_tables([nothing, *self._rejects])
        return whole.take(pc.sort_indices(whole["row"]))

    @property
    def read(self) -> int:
        """Rows presented: a row of the file, or each of the rows that a list in it became."""
        return len(self.numbers) + sum(len(part) for part in self._rejects)

    def drop(self, bad: Bools, name: str, reason: str) -> None:
        """Reject the rows where ``bad`` holds for what stands in column ``name``."""
        import pyarrow as pa

        if not bad.any():
            return
        at = np.flatnonzero(bad)
        said = self.made_of.get(name, name)
        values = column(self.cells, said).take(pa.array(at)) if said else pa.repeat("", len(at))
        told = said.removeprefix(_MADE)
        parts = (pa.array(self.numbers[at]), pa.repeat(told, len(at)), values, pa.repeat(reason, len(at)))
        self._rejects.append(pa.table(parts, names=list(REJECT_COLUMNS)))
        self.take(np.flatnonzero(~bad))

    def take(self, at: Ints) -> None:
        """Leave these rows, possibly some of them several times."""
        import pyarrow as pa

        self.cells, self.numbers = self.cells.take(pa.array(at)), self.numbers[at]

    def add(self, name: str, values: pa.Array) -> None:
        """Add a column."""
        self.cells = self.cells.append_column(name, values)

    def among(self, rule: TableRule, which: Bools) -> _Rows:
        """Return some of the rows, for a rule of their own."""
        import pyarrow as pa

        return _Rows(rule, self.cells.filter(pa.array(which)), self.numbers[which], dict(self.made_of))

    def take_over_rejects(self, other: _Rows) -> None:
        """Count what another one rejected here."""
        self._rejects = other._rejects + self._rejects


def _made(rule: TableRule, files: Files) -> Iterator[_Rows]:
    cells = files.table(rule.file)
    rows = _Rows(rule, cells, np.arange(1, len(cells) + 1))
    _select(rows, files)
    for part in _cases(rows, files) if rule.by else [rows]:
        _finish(part, files)
        yield part


def _cases(rows: _Rows, files: Files) -> Iterator[_Rows]:
    """Share the rows out among the cases; what fits none is rejected by the first of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rule, first = rows.rule, True
    assert rule.by is not None  # for mypy: cases come with it
    name = _first_column(rule.by)
    _drop_unmatched(rule.by, rows, files)
    said = _texts(rule.by, rows, files)
    known = pc.is_in(said, value_set=pa.array(list(rule.cases), pa.string())).to_numpy(False)
    rows.add(_SHARE, said)
    rows.drop(~known, name, "no case for this value")
    for value, reason in rule.cases.items():
        if isinstance(reason, str):
            rows.drop(pc.equal(rows.cells[_SHARE], value).to_numpy(), name, reason)
    for value, case in rule.cases.items():
        if isinstance(case, TableRule):
            mine = rows.among(case, pc.equal(rows.cells[_SHARE], value).to_numpy())
            if first:
                mine.take_over_rejects(rows)
            first = False
            _select(mine, files)
            yield mine


def _select(rows: _Rows, files: Files) -> None:
    """Reject rows that fail a condition; those on columns of the file first, for they say it better."""
    rule = rows.rule
    for condition in rule.where:
        if not {*condition.columns} & {*rule.let}:
            rows.drop(~_holds(condition, rows), condition.column, condition.reason)
    for name, value in rule.let.items():
        if name in rows.made_of:
            continue  # made before the rows were shared out among cases
        if name in rows.cells.column_names:
            raise LoadError(f"`let` makes {name!r}, which is a column of file {rule.file}; use another name.")
        _drop_unmatched(value, rows, files)
        rows.add(name, _texts(value, rows, files))
        rows.made_of[name] = _first_column(value)
    for condition in rule.where:
        if {*condition.columns} & {*rule.let}:
            rows.drop(~_holds(condition, rows), condition.column, condition.reason)


def _holds(condition: Condition, rows: _Rows) -> Bools:
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = column(rows.cells, condition.column)
    allowed = condition.allowed
    if condition.test in ("is", "is_not"):
        among = pc.is_in(cells, value_set=pa.array(allowed, pa.string()))
        for other in condition.columns[1:]:
            among = pc.or_(among, pc.equal(cells, column(rows.cells, other)))
        found: Bools = among.to_numpy(False)
        return found if condition.test == "is" else ~found
    if condition.test == "matches":
        return np.asarray(pc.match_substring_regex(cells, allowed[0]).to_numpy(False), bool)
    is_number = pc.match_substring_regex(cells, _NUMBER["float"])
    numbers = pc.if_else(is_number, cells, "nan").cast("float64").to_numpy(zero_copy_only=False)
    bound = float(allowed[0])
    return np.asarray(numbers >= bound if condition.test == "at_least" else numbers <= bound, bool)


def _finish(rows: _Rows, files: Files) -> None:
    """Make the columns of the result."""
    rule = rows.rule
    for (end, value), label in zip(rule.ids.items(), rule.labels, strict=True):
        _add_ids(end, value, rows, files, None if rule.verb else label)
    for name, value in rule.properties.items():
        _drop_unmatched(value, rows, files)
        _add_property(name, value, rows, files)
    if not rule.verb:
        _add_fallback("name", "id", rows)
        if "symbol" in rule.required():
            _add_fallback("symbol", "name", rows)
    for name in rule.required():
        if name in rule.properties:
            empty = rows.cells[_MADE + name].is_null().to_numpy()
            rows.drop(empty, _first_column(rule.properties[name]), f"no {name}")


def _add_ids(end: str, value: Value, rows: _Rows, files: Files, label: str | None) -> None:
    """Add the ids of a node or of one end; a row becomes several where a cell holds several."""
    import pyarrow.compute as pc

    name = _first_column(value)
    _drop_unmatched(value, rows, files)
    owner, made = _values(value, rows, files)
    empty = np.ones(len(rows.numbers), bool)
    empty[owner] = False
    rows.drop(empty, name, "no value")
    rows.take((np.cumsum(~empty) - 1)[owner])
    rows.add(_MADE + end, made)
    pattern, reason = _CURIE, "not a CURIE such as HGNC:3236"
    if label is not None:
        prefixes = "|".join(p.replace(".", "[.]") for p in id_prefixes(label))
        pattern, reason = rf"^({prefixes}):\S+$", f"not an id of {label}"
    rows.drop(~pc.match_substring_regex(made, pattern).to_numpy(False), _MADE + end, reason)


def _add_property(name: str, value: Value, rows: _Rows, files: Files) -> None:
    """Add one property, typed; rows whose value does not fit are rejected."""
    import pyarrow.compute as pc

    kind = rows.rule.kinds()[name]
    if kind == "list":
        if name == "xrefs":
            owner, made = _values(value, rows, files)
            bad = np.zeros(len(rows.numbers), bool)
            bad[owner[~pc.match_substring_regex(made, _CURIE).to_numpy(False)]] = True
            rows.drop(bad, _first_column(value), "xrefs: not a CURIE such as HGNC:3236")
        rows.add(_MADE + name, _lists(value, rows, files))
        return
    said = _texts(value, rows, files)
    if kind == "string":
        rows.add(_MADE + name, pc.if_else(pc.equal(said, ""), None, said))
        return
    typed, reason = _typed(said, name, kind, bool(rows.rule.verb))
    rows.add(_MADE + name, typed)
    unread = pc.and_(typed.is_null(), pc.not_equal(said, "")).to_numpy(False)
    rows.drop(unread, _first_column(value), f"{name}: {reason}")


def _typed(said: pa.Array, name: str, kind: str, of_edge: bool) -> tuple[pa.Array, str]:
    """Numbers or truth values; null where there is none, and what is wrong with such a text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind == "bool":
        at = pc.index_in(pc.utf8_lower(said), value_set=pa.array(list(_BOOLS), pa.string()))
        return pa.array(list(_BOOLS.values())).take(at), "not true or false"
    fits = pc.match_substring_regex(said, _NUMBER[kind])
    bare = pc.utf8_ltrim(said, "+")
    typed = pc.if_else(fits, bare, None).cast({"int": "int64", "float": "float64"}[kind])
    allowed = allowed_values(name) if of_edge else []
    if not allowed:
        return typed, "not a whole number" if kind == "int" else "not a number"
    among = pc.is_in(typed, value_set=pa.array(allowed, typed.type))
    return pc.if_else(among, typed, None), f"allowed are {', '.join(map(str, allowed))}"


def _add_fallback(name: str, fallback: str, rows: _Rows) -> None:
    """Give nodes without a name their id as one, and genes without a symbol their name."""
    import pyarrow.compute as pc

    instead = rows.cells[_MADE + fallback]
    if _MADE + name not in rows.cells.column_names:
        rows.add(_MADE + name, instead)
        return
    at = rows.cells.column_names.index(_MADE + name)
    rows.cells = rows.cells.set_column(at, _MADE + name, pc.coalesce(rows.cells[_MADE + name], instead))


# --------------------------------------------------------------------------- values


def _first_column(value: Value) -> str:
    return next((c for part in value.parts for c in part.columns), "")


def _texts(value: Value, rows: _Rows, files: Files) -> pa.Array:
    """One text per row: of the first part that has one, else an empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if value.join is not None:
        return pc.fill_null(pc.binary_join(_lists(value, rows, files), value.join), "")
    said = pa.repeat("", len(rows.numbers))
    for part in value.parts:
        _, made, _, _ = _elements(part, rows, files, whole=True)
        said = pc.if_else(pc.equal(said, ""), made, said)
    return said


def _values(value: Value, rows: _Rows, files: Files) -> tuple[Ints, pa.Array]:
    """(row, value) of every value of all parts; empty ones left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    owners, found = [], []
    for part in value.parts:
        owner, made, _, _ = _elements(part, rows, files)
        given = pc.not_equal(made, "").to_numpy(False)
        owners.append(owner[given])
        found.append(made.filter(pa.array(given)))
    return np.concatenate(owners), pa.concat_arrays(found)


def _lists(value: Value, rows: _Rows, files: Files) -> pa.Array:
    """Sorted, distinct values of each row; null where there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    owner, made = _values(value, rows, files)
    words = made.dictionary_encode()
    order = pc.array_sort_indices(words.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    width = max(len(order), 1)
    pairs = np.unique(owner * width + rank[words.indices.to_numpy()])
    counts = np.bincount(pairs // width, minlength=len(rows.numbers))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    values = words.dictionary.take(pa.array(order[pairs % width]))
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(counts == 0))


def _drop_unmatched(value: Value, rows: _Rows, files: Files) -> None:
    """Reject rows in which a pattern, lookup or map of a value finds nothing."""
    for part in value.parts:
        owner, _, missing, reason = _elements(part, rows, files)
        if missing.any():
            bad = np.zeros(len(rows.numbers), bool)
            bad[owner[missing]] = True
            rows.drop(bad, part.columns[0], reason)


def _elements(
    part: Part, rows: _Rows, files: Files, *, whole: bool = False
) -> tuple[Ints, pa.Array, Bools, str]:
    """Return (row, text) of a part, and for which of them pattern, lookup or map found nothing, and why.

    Parameters
    ----------
    whole
        The cell is one value, even if it was a list in JSON.
    """
    import pyarrow.compute as pc

    n = len(rows.numbers)
    if len(part.columns) != 1:
        return np.arange(n), _filled(part, rows), np.zeros(n, bool), ""
    name, split = part.columns[0], part.split
    cells = column(rows.cells, name)
    if not split and not whole and pc.any(pc.match_substring(cells, IN_JSON_LIST)).as_py():
        split = (IN_JSON_LIST,)
    for other in split[1:]:
        cells = pc.replace_substring(cells, other, split[0])
    owner, made = split_cells(cells, split[0]) if split else (np.arange(n), cells)
    missing, reason = np.zeros(len(made), bool), ""
    for step, otherwise in _steps(part, files):
        found = pc.if_else(pc.equal(made, ""), "", step(made))
        lost = found.is_null().to_numpy(zero_copy_only=False)
        if part.otherwise is None and lost.any() and not missing.any():
            missing, reason = lost, otherwise
        made = pc.fill_null(found, part.otherwise or "")
    before, after = part.template.split("{" + name + "}")
    if before or after:
        made = pc.if_else(pc.equal(made, ""), "", pc.binary_join_element_wise(before, made, after, ""))
    return owner, made, missing, reason


def _steps(part: Part, files: Files) -> Iterator[tuple[Callable[[pa.Array], pa.Array], str]]:
    """What is done to the text of a cell, in order; a step gives null for what it does not know."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def through(keys: pa.Array, values: pa.Array) -> Callable[[pa.Array], pa.Array]:
        return lambda made: values.take(pc.index_in(made, value_set=keys))

    if part.pattern is not None:
        pattern = part.pattern
        yield (
            lambda made: pc.struct_field(pc.extract_regex(made, pattern), "found"),
            f"does not look like {pattern.replace('?P<found>', '')}",
        )
    if part.lookup is not None:
        yield through(*files.beside(part.lookup)), f"not one {part.lookup.value} in file {part.lookup.file}"
    if part.map is not None:
        keys, values = (pa.array(list(x), pa.string()) for x in (part.map, part.map.values()))
        yield through(keys, values), "not in the map"


def _filled(part: Part, rows: _Rows) -> pa.Array:
    """Fill a template of none or several columns; empty where any cell is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(rows.numbers)
    if not part.columns:
        return pa.repeat(part.template, n)
    pieces: list[Any] = []
    empty = pa.repeat(False, n)
    for place, text in enumerate(COLUMN.split(part.template)):
        if place % 2:
            pieces.append(column(rows.cells, text))
            empty = pc.or_(empty, pc.equal(pieces[-1], ""))
        elif text:
            pieces.append(text)
    return pc.if_else(empty, "", pc.binary_join_element_wise(*pieces, ""))
