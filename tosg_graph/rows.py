"""Rows of an answer on stdout or in a file: table, JSON, CSV or Parquet."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.errors import TosgError

if TYPE_CHECKING:
    import pyarrow as pa


def write(rows: pa.Table, format_: str, out: Path | None) -> None:
    """Write ``rows`` as ``table``, ``json`` (a list of objects), ``csv`` or ``parquet``; to stdout by default.

    An audit of terms may also be ``yaml``, the form of a mapping file.

    A file is written beside its final name first, so that a failure leaves no half of it.

    Raises
    ------
    TosgError
        If ``out`` cannot be written.
    """
    if format_ == "table" and out is None:
        from tosg_graph import show

        show.arrow(rows)
        return
    content = _encode(rows, "csv" if format_ == "table" else format_)
    if out is None:
        sys.stdout.write(content.decode())
        return
    temporary = out.with_name(f".{out.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TosgError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error


def _encode(rows: pa.Table, format_: str) -> bytes:
    if format_ == "json":
        return (json.dumps(rows.to_pylist(), ensure_ascii=False, indent=1, default=str) + "\n").encode()
    if format_ == "csv":
        return _csv(rows).encode()
    if format_ == "yaml":
        from tosg_graph.decisions import audit_yaml

        return audit_yaml(rows.to_pylist()).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _csv(rows: pa.Table) -> str:
    import csv
    import io

    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(rows.column_names)
    for row in rows.to_pylist():
        # A list in one cell is joined with "|", which no CURIE or symbol contains.
        out.writerow("|".join(map(str, v)) if isinstance(v, list) else v for v in row.values())
    return text.getvalue()
