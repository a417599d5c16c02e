"""Reading large source files column by column: nothing here makes a Python object per row."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.tables import ROW
from tosg_graph.errors import LoadError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

_BLOCK = 64 << 20  # bytes; a field must fit into one
REJECT_COLUMNS = ("row", "column", "value", "reason")


def read_csv(
    path: Path,
    columns: Sequence[str],
    *,
    also: Mapping[str, str] | None = None,
    separator: str = ",",
    optional: Sequence[str] = (),
    names: Sequence[str] = (),
    quoted: bool | None = None,
) -> pa.Table:
    """Read columns of a delimited file as text; an empty cell is an empty text.

    Parameters
    ----------
    columns
        Columns that must be there.
    also
        Other names that some of them go by.
    optional
        Columns that are read where they are there.
    names
        Names of all columns, where the file has no header.
    quoted
        Whether `"` quotes a field; by default only where commas separate.

    Raises
    ------
    LoadError
        If the file cannot be read, lacks a column, is not UTF-8 or has rows with another number of fields.
    """
    import pyarrow as pa

    read = csv_blocks(path, columns, also, separator=separator, optional=optional, names=names, quoted=quoted)
    blocks = [block for _, block in read]
    return pa.concat_tables(blocks)


def csv_blocks(
    path: Path,
    columns: Sequence[str],
    also: Mapping[str, str] | None = None,
    *,
    separator: str = ",",
    optional: Sequence[str] = (),
    codes: Sequence[str] = (),
    header: bool = True,
    names: Sequence[str] = (),
    quoted: bool | None = None,
) -> Iterator[tuple[int, pa.Table]]:
    """Yield (0-based number of its first row, some rows) of a delimited file; see `read_csv`.

    Parameters
    ----------
    codes
        Columns with few distinct values, which come as dictionary codes.
    header
        Whether line 1 names the columns; ``columns`` are the names of all, in order, where it does not.
    names
        Names of all columns of a file without a header of which only some are read.
    quoted
        Whether `"` quotes a field; by default only where commas separate.
    """
    import pyarrow as pa
    import pyarrow.csv as pcsv

    all_names = list(names) or (_header(path, separator) if header else list(columns))
    has_header = header and not names
    quotes = separator == "," if quoted is None else quoted
    found = {name: _found(path, name, (also or {}).get(name), all_names) for name in columns}
    found |= {name: name for name in optional if name in all_names}
    ragged: list[str] = []

    def refuse(row: Any) -> str:
        ragged.append(f"{row.actual_columns} fields, not {row.expected_columns}: {row.text[:60]!r}")
        return "error"

    kinds = {found[name]: pa.string() for name in found}
    kinds |= {found[name]: pa.dictionary(pa.int32(), pa.string()) for name in codes if name in found}
    convert = pcsv.ConvertOptions(
        include_columns=list(found.values()), column_types=kinds, null_values=[], strings_can_be_null=False
    )
    parse = pcsv.ParseOptions(
        delimiter=separator,
        quote_char='"' if quotes else False,
        newlines_in_values=quotes,
        invalid_row_handler=refuse,
    )
    read = pcsv.ReadOptions(block_size=_BLOCK, column_names=None if has_header else all_names)
    first = 0
    try:
        with pcsv.open_csv(path, read, parse, convert) as reader:
            for batch in reader:
                yield first, pa.Table.from_batches([batch]).rename_columns(list(found))
                first += len(batch)
    except (pa.ArrowInvalid, OSError, EOFError) as e:
        said = ragged[0] if ragged else str(e).splitlines()[0]
        raise LoadError(
            f"{path.name}: after row {first} the file cannot be read ({said}); correct or fetch it again."
        ) from e
    if not first:
        yield 0, pa.table({name: pa.array([], kinds[found[name]]) for name in found})


def _header(path: Path, separator: str) -> list[str]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            line = lines.readline().decode("utf-8-sig").rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError) as e:
        raise LoadError(f"{path}: line 1 cannot be read ({e}); give another file.") from e
    return next(csv.reader([line], delimiter=separator), [])


def _found(path: Path, name: str, other: str | None, names: Sequence[str]) -> str:
    for candidate in (name, other):
        if candidate in names:
            return str(candidate)
    raise LoadError(f"{path.name}: line 1 has no column {name!r}; it has {', '.join(names[:20])}.")


# --------------------------------------------------------------------------- columns


def column(rows: pa.Table, name: str) -> pa.Array:
    """One column as one array, trimmed where some cell has white space around it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = rows[name].cast(pa.string()).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # no chunks, or more text than one array holds
        whole = pa.concat_arrays(whole.chunks) if whole.num_chunks else pa.array([], pa.string())
    odd = pc.or_(pc.starts_with(whole, " "), pc.ends_with(whole, " "))
    return pc.utf8_trim_whitespace(whole) if pc.any(odd).as_py() else whole


def numbered(first: int, rows: pa.Table) -> pa.Table:
    """Rows of a block with `ROW`, their 1-based place in the file; ``first`` as `csv_blocks` gives it."""
    import pyarrow as pa

    return rows.append_column(ROW, pa.array(np.arange(first + 1, first + len(rows) + 1), pa.int32()))


def split_cells(cells: pa.Array, separator: str | None) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Return (row, value) of every value in the cells, trimmed, empty ones left out, in order of the rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if separator is None or not pc.any(pc.match_substring(cells, separator)).as_py():
        given = pc.not_equal(cells, "").to_numpy(False)
        return np.flatnonzero(given), cells.filter(pa.array(given))
    lists = pc.split_pattern(cells, separator)
    values = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    owner = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    given = pc.not_equal(values, "").to_numpy(False)
    return owner[given], values.filter(pa.array(given))


def fold_lists(
    n: int, parts: Sequence[tuple[npt.NDArray[np.int64], pa.Array]], without: pa.Array
) -> pa.ListArray:
    """Return one list per row out of (row, value) parts, without the row's own value in ``without``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not parts:
        return pa.nulls(n, pa.list_(pa.string()))
    owner = np.concatenate([o for o, _ in parts])
    values = pa.concat_arrays([v.cast(pa.string()) for _, v in parts])
    keep = pc.not_equal(values, without.take(pa.array(owner))).to_numpy(False)
    order = np.flatnonzero(keep)[np.argsort(owner[keep], kind="stable")]
    lengths = np.bincount(owner[order], minlength=n)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values.take(pa.array(order)))


def reject_columns(
    reasons: Sequence[tuple[str, npt.NDArray[np.bool_]]],
    name: str,
    values: pa.Array,
    numbers: npt.NDArray[np.int64] | None = None,
) -> tuple[pa.Array, pa.Table]:
    """Return which rows are good, and a table of the others, each with the first reason that holds.

    Parameters
    ----------
    numbers
        1-based row numbers; counted from the first row by default.
    """
    import pyarrow as pa

    good = np.ones(len(values), bool)
    parts = []
    for reason, bad in reasons:
        at = np.flatnonzero(bad & good)
        good[at] = False
        rows = at + 1 if numbers is None else numbers[at]
        parts.append(
            pa.table(
                {
                    "row": pa.array(rows, pa.int64()),
                    "column": pa.repeat(name, len(at)),
                    "value": values.take(pa.array(at)),
                    "reason": pa.repeat(reason, len(at)),
                }
            )
        )
    return pa.array(good), pa.concat_tables(parts)
