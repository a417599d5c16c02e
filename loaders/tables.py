"""Reading source files row by row, and making the tables that loaders return."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import property_types
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Reject

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
ROW = "_row"  # key of a `Row` under which a loader notes the file's row; no property

# Arrow types of the schema's types.
_TYPES = {"string": "string", "int": "int64", "float": "float64", "bool": "bool"}


# --------------------------------------------------------------------------- reading


def read_text(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (1-based line number, line without its end) of a UTF-8 file, plain or gzipped.

    Raises
    ------
    LoadError
        If the file cannot be opened, is not UTF-8, or ends inside a gzip stream.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as e:
        raise LoadError(
            f"{path.name}: line {number}, byte {e.start + 1} is not UTF-8; convert or fetch the file again."
        ) from e
    except (OSError, EOFError, zlib.error) as e:
        raise LoadError(
            f"{path.name}: cannot be read after line {number} ({e}); fetch the file again."
        ) from e


def read_rows(
    path: Path, columns: Sequence[str], *, separator: str = "\t", header: bool = True
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (1-based data row, column -> text) of a delimited file; quoting only where commas separate.

    Parameters
    ----------
    columns
        Columns that must be there; others are left out. Without a header: the names of all columns, in order.

    Raises
    ------
    LoadError
        If a column is missing, or a row has another number of fields; file, line and column are named.
    """
    split = _split_csv if separator == "," else (lambda line: line.split(separator))
    lines = read_text(path)
    names = list(columns)
    if header:
        names = split(next(lines, (0, ""))[1].removeprefix("\ufeff"))
        missing = [name for name in columns if name not in names]
        if missing:
            raise LoadError(
                f"{path.name}: line 1 has no column {missing[0]!r}; it has {', '.join(names[:20])}."
            )
    wanted = [(name, names.index(name)) for name in columns]
    for row, (number, line) in enumerate(lines, start=1):
        try:
            fields = split(line)
        except csv.Error as e:
            raise LoadError(f"{path.name}: line {number} cannot be split into fields ({e}).") from e
        if len(fields) != len(names):
            raise LoadError(
                f"{path.name}: line {number} has {len(fields)} fields, not {len(names)}; "
                f"the last one read belongs to column {names[min(len(fields), len(names)) - 1]!r}."
            )
        yield row, {name: fields[at] for name, at in wanted}


def _split_csv(line: str) -> list[str]:
    return next(csv.reader([line]), [])


def read_json(path: Path) -> Any:
    """Content of a JSON file, plain, gzipped or compressed with Zstandard.

    Raises
    ------
    LoadError
        If it cannot be read, or is not JSON; the line and column are named.
    """
    if path.suffix == ".zst":
        import zstandard

        try:
            with path.open("rb") as raw:
                text = zstandard.ZstdDecompressor().stream_reader(raw).read().decode("utf-8")
        except (OSError, zstandard.ZstdError, UnicodeDecodeError) as e:
            raise LoadError(f"{path.name}: cannot be read ({e}); fetch or install the file again.") from e
    else:
        text = "\n".join(line for _, line in read_text(path))
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise LoadError(f"{path.name}: line {e.lineno}, column {e.colno} is not JSON ({e.msg}).") from e


def split_list(text: str, separator: str) -> list[str]:
    """Parts of a list in a cell: trimmed, without empty parts and repeats, sorted by code point."""
    return sorted({part.strip() for part in text.split(separator)} - {""})


# --------------------------------------------------------------------------- making tables


def node_table(
    source: str, name: str, label: str, rows: Iterable[Row], *, read: int, rejects: Sequence[Reject] = ()
) -> NodeTable:
    """Make a node table: sorted by id, one row per id.

    Rows of one id are merged: lists are united, of other values the first in sorted order stays, so that the
    order of the rows in the file does not matter. Where each row has `ROW`, the table knows the rows of the file.
    """
    merged = _merge(rows, ("id",))
    joined = read - len(merged) - len(rejects)
    data = arrow(merged, ("id", "name"))
    return NodeTable(source, name, label, data, read, joined, tuple(rejects), rows_of(merged))


def edge_table(
    source: str,
    name: str,
    ends: tuple[str, str, str],
    rows: Iterable[Row],
    *,
    read: int,
    rejects: Sequence[Reject] = (),
    apart: Sequence[str] = (),
) -> EdgeTable:
    """Make an edge table: sorted, one row per subject, object and the columns in ``apart``; `ROW` as in `node_table`.

    Parameters
    ----------
    ends
        Subject label, verb, object label.
    """
    merged = _merge(rows, ("subject", "object", *apart))
    joined = read - len(merged) - len(rejects)
    data = arrow(merged, ("subject", "object"))
    return EdgeTable(source, name, *ends, data, read, joined, tuple(rejects), rows_of(merged))


def rows_of(rows: Sequence[Row]) -> pa.Array | None:
    """Rows of the file, int32, that rows of a table came from; None where some of them do not say."""
    import pyarrow as pa

    known = bool(rows) and all(ROW in row for row in rows)
    return pa.array([row[ROW] for row in rows], pa.int32()) if known else None


def content(row: Row) -> Row:
    """Row without `ROW`, so that its place in the file decides nothing."""
    return {name: value for name, value in row.items() if name != ROW}


def _merge(rows: Iterable[Row], keys: tuple[str, ...]) -> list[Row]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(k) or "" for k in keys), []).append(row)
    return [_unite(groups[key]) for key in sorted(groups)]


def _unite(rows: list[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    united: Row = {}
    for row in sorted(rows, key=lambda row: repr(content(row))):
        for name, value in row.items():
            if name == ROW:
                united[ROW] = min(value, united.get(ROW, value))
            elif _kind(name) == "list":
                united[name] = sorted({*united.get(name, ()), *value})
            elif united.get(name) in (None, ""):
                united[name] = value
    return united


def arrow(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> pa.Table:
    """Rows as an Arrow table, typed by column name; empty text and lists are null; ``columns`` are always there."""
    import pyarrow as pa

    names = list(dict.fromkeys([*columns, *(name for row in rows for name in row if name != ROW)]))
    return pa.table({name: pa.array([_value(row.get(name)) for row in rows], _type(name)) for name in names})


def _value(value: Any) -> Any:
    return None if value in ("", []) else value


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    kind = _kind(name)
    return pa.list_(pa.string()) if kind == "list" else pa.type_for_alias(_TYPES[kind])


def _kind(name: str) -> str:
    """Type that the schema gives a column; a name has one, whichever label or verb it belongs to."""
    return property_types().get(name, "string")
