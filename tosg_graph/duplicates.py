"""Cells that are in the store twice: the same barcode with the same counts, in two datasets or two files.

Public collections publish a cell again and again. A pair is looked for where barcode, ``n_counts`` and ``n_genes``
agree, and believed where the whole vectors of counts do; only the vectors of such candidates are read. Of barcodes
the nucleotides count, so that ``AAACCTGAGAAACCAT-1`` and ``batch2_AAACCTGAGAAACCAT`` are one. A copy that was counted
again, against other genes, has other counts and is not found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

READ_CELLS = 4096  # candidates whose counts are held at once
_NUCLEOTIDES = re.compile(r"[ACGTacgt]{8,}")

Counts = Callable[[Sequence[str]], "csr_array[Any, Any]"]
"""``cell_ids`` -> raw counts of all features, int32, rows as given."""


def copies(cells: pa.Table, counts: Counts) -> list[str | None]:
    """Return for each cell the id that stands for it and its copies; None for a cell that is there once.

    Parameters
    ----------
    cells
        ``cell_id``, ``barcode``, ``n_counts``, and ``n_genes`` where the store has it.
    counts
        Reads the counts of the candidates.

    Returns
    -------
    list
        The smallest ``cell_id`` of the copies. A cell without any count is no copy of another.
    """
    ids = cells["cell_id"].to_pylist()
    candidates = sorted(ids[row] for rows in _alike(cells) for row in rows)
    content = dict(_digests(candidates, counts))
    first: dict[tuple[str, bytes], str] = {}
    barcodes = dict(zip(ids, cells["barcode"].to_pylist(), strict=True))
    found: dict[str, list[str]] = {}
    for cell in candidates:
        standing = first.setdefault((_core(barcodes[cell]), content[cell]), cell)
        found.setdefault(standing, []).append(cell)
    of = {cell: standing for standing, group in found.items() if len(group) > 1 for cell in group}
    return [of.get(cell) for cell in ids]


def _alike(cells: pa.Table) -> list[list[int]]:
    """Rows of cells that agree in barcode, sum of counts and number of genes."""
    totals = cells["n_counts"].to_pylist()
    genes = cells["n_genes"].to_pylist() if "n_genes" in cells.column_names else [None] * len(cells)
    rows_of: dict[tuple[object, ...], list[int]] = {}
    for row, barcode in enumerate(cells["barcode"].to_pylist()):
        if totals[row]:
            rows_of.setdefault((_core(barcode), totals[row], genes[row]), []).append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def _core(barcode: str | None) -> str:
    """Nucleotides of a barcode, or all of it where it has none."""
    runs = _NUCLEOTIDES.findall(barcode or "")
    return "-".join(runs).upper() or (barcode or "")


def _digests(ids: Sequence[str], counts: Counts) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(ids), READ_CELLS):
        some = ids[start : start + READ_CELLS]
        matrix = counts(some)
        matrix.sort_indices()
        for row, cell in enumerate(some):
            span = slice(matrix.indptr[row], matrix.indptr[row + 1])
            genes, values = matrix.indices[span], matrix.data[span]
            kept = values != 0
            content = genes[kept].astype("<i4").tobytes() + b"|" + values[kept].astype("<i4").tobytes()
            yield cell, hashlib.blake2b(content, digest_size=16).digest()
