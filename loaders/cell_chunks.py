"""Chunks of whole cells out of matrices on disk, whatever order these hold their entries in.

A sparse matrix that is compressed by cell is sliced. Entries that come sorted by cell are cut where a chunk is full.
Entries in any other order (compressed by gene, or text sorted by gene) are first sorted in a temporary file.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from loaders.raw_counts import checked_counts
from tosg_graph.errors import CellsError, TosgError
from tosg_graph.types import CHUNK_CELLS

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array

    Entries = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]  # cell, feature, value of each
    Part = tuple[int, csr_array[Any, Any]]  # number of its first cell, cells x features

_BYTES = 64 << 20  # of a chunk as it is read; what is made of it takes some times as much
_ENTRIES = 1 << 22  # of a sparse matrix at once, where cells cannot be told apart yet
_RECORD = np.dtype([("cell", "<i4"), ("feature", "<i4"), ("value", "<f8")])


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library makes of a broken file into one line that names the file and its format."""
    try:
        yield
    except TosgError:
        raise
    except MemoryError:
        raise CellsError(f"{path} does not fit into memory. Split it by donor or sample.") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise CellsError(
                f"{tempfile.gettempdir()} is full; {path} is sorted by gene, and sorting it by cell needs room there. "
                "Set TMPDIR to another disk."
            ) from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CellsError(
            f"{path} cannot be read as {kind}: {lines[0][:200]}. Is the download complete? Fetch it again."
        ) from error


def spans(cells: int, bytes_per_cell: int, piece: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of runs of cells: ``CHUNK_CELLS`` at most, and 64 MB as they are read.

    ``piece`` cells lie together on disk: a run of more than that many is a multiple, so that each is unpacked once.
    """
    most = min(CHUNK_CELLS, max(1, _BYTES // max(1, bytes_per_cell)))
    most -= most % piece if most > piece else 0
    for first in range(0, cells, most):
        yield first, min(first + most, cells)


def checked(
    parts: Iterable[Part],
    barcodes: Sequence[str],
    features: list[str],
    where: str,
    others: Sequence[str] = (),
    columns: npt.NDArray[np.int64] | None = None,
) -> Iterator[csr_array[Any, Any]]:
    """Yield each part as raw counts, or refuse the first value that is none; see `checked_counts`.

    Parameters
    ----------
    columns
        Which of a part's columns are ``features``; all by default.
    """
    for first, part in parts:
        names = list(barcodes[first : first + part.shape[0]])
        yield checked_counts(
            part if columns is None else part[:, columns], names, features, where, list(others)
        )


@dataclass(frozen=True)
class Compressed:
    """A sparse matrix on disk, compressed along its first axis.

    Parameters
    ----------
    data, indices
        Arrays on disk, which are sliced.
    indptr
        Read whole; int64, one more than the first axis is long.
    shape
        Length of both axes, the compressed one first.
    """

    data: Any
    indices: Any
    indptr: npt.NDArray[np.int64]
    shape: tuple[int, int]
    where: str

    @classmethod
    def of(cls, group: Any, shape: tuple[int, int], where: str) -> Compressed:
        """Take ``data``, ``indices`` and ``indptr`` of an HDF5 or zarr group.

        Raises
        ------
        CellsError
            If the three arrays and the shape do not belong together.
        """
        indptr = np.asarray(group["indptr"][:], np.int64)
        matrix = cls(group["data"], group["indices"], indptr, shape, where)
        held = {matrix.data.shape[0], matrix.indices.shape[0]}
        fits = len(indptr) == shape[0] + 1 and indptr[0] == 0 and bool((np.diff(indptr) >= 0).all())
        if not fits or held != {int(indptr[-1])}:
            raise CellsError(
                f"{where}: indptr has {len(indptr)} values up to {int(indptr.max(initial=0))}, for {shape[0]} rows, "
                f"{matrix.data.shape[0]} values and {matrix.indices.shape[0]} indices. Fetch the file again."
            )
        return matrix

    def rows(self) -> Iterator[Part]:
        """Yield the matrix in runs of its first axis."""
        from scipy.sparse import csr_array

        first = 0
        while first < self.shape[0]:
            full = (
                int(np.searchsorted(self.indptr, self.indptr[first] + _BYTES // _RECORD.itemsize, "right"))
                - 1
            )
            end = max(first + 1, min(first + CHUNK_CELLS, full))
            start, stop = int(self.indptr[first]), int(self.indptr[end])
            indptr = self.indptr[first : end + 1] - start
            shape = (end - first, self.shape[1])
            yield first, csr_array((self.data[start:stop], self._indices(start, stop), indptr), shape=shape)
            first = end

    def _entries(self) -> Iterator[Entries]:
        """Yield blocks of entries, the second axis as the cells."""
        for start in range(0, int(self.indptr[-1]), _ENTRIES):
            stop = min(start + _ENTRIES, int(self.indptr[-1]))
            major = np.searchsorted(self.indptr, np.arange(start, stop), side="right") - 1
            yield self._indices(start, stop), major, self.data[start:stop]

    def columns(self) -> Iterator[Part]:
        """Yield the matrix in runs of its second axis, turned: of genes x cells, runs of cells."""
        total = int(self.indptr[-1])
        runs = list(spans(self.shape[1], _per_cell(total, self.shape[1])))
        return _sorted_on_disk(self._entries(), runs, self.shape[0])

    def _indices(self, start: int, stop: int) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self.indices[start:stop]
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) < self.shape[1]:
            bad = int(found[(found < 0) | (found >= self.shape[1])][0])
            raise CellsError(
                f"{self.where}: index {bad}, of an axis that is {self.shape[1]} long. Fetch it again."
            )
        return found


def dense_rows(matrix: Any, cells: int, features: int, *, transposed: bool = False) -> Iterator[Part]:
    """Yield a dense matrix on disk, cells x features or ``transposed``, as sparse runs of cells."""
    from scipy.sparse import csr_array

    runs = spans(cells, features * matrix.dtype.itemsize, _width(matrix, transposed))
    for first, end in runs:
        yield first, csr_array(matrix[:, first:end].T if transposed else matrix[first:end])


def _width(matrix: Any, transposed: bool) -> int:
    """Cells in one piece of a matrix that is stored in pieces, 1 where it is not."""
    pieces = getattr(matrix, "chunks", None)
    return int(pieces[1 if transposed else 0]) if pieces else 1


def _per_cell(entries: int, cells: int) -> int:
    return entries // max(1, cells) * _RECORD.itemsize


def rows_of_entries(
    entries: Iterable[Entries], shape: tuple[int, int], total: int, where: str
) -> Iterator[Part]:
    """Yield chunks of cells out of blocks of entries in any order; there are ``total``, ``shape`` is cells x features.

    If the first block goes through its cells one after the other, so must the others, and nothing is written. Otherwise
    each entry takes 16 bytes in the folder of temporary files until the last chunk is read.

    Raises
    ------
    CellsError
        If the order by cell breaks after the first block.
    """
    blocks = iter(entries)
    first = next(blocks, None)
    runs = list(spans(shape[0], _per_cell(total, shape[0])))
    if first is None:
        yield from (_part([], run, shape[1]) for run in runs)
    elif _by_cell(first[0]):
        yield from _cut(chain([first], blocks), runs, shape[1], where)
    else:
        yield from _sorted_on_disk(chain([first], blocks), runs, shape[1])


def _by_cell(cell: npt.NDArray[Any]) -> bool:
    """Whether entries are sorted by cell; cells that stand once each may be those of one gene."""
    steps = np.diff(cell)
    return bool((steps >= 0).all() and (steps == 0).any())


def _cut(
    blocks: Iterator[Entries], runs: Sequence[tuple[int, int]], features: int, where: str
) -> Iterator[Part]:
    held: list[Entries] = []
    todo = list(runs)[::-1]
    last = 0
    for cell, feature, value in blocks:
        if len(cell) and (cell[0] < last or (np.diff(cell) < 0).any()):
            raise CellsError(
                f"{where}: entries are sorted by cell at first but not after cell {last + 1}. Sort the file by cell."
            )
        last = int(cell[-1]) if len(cell) else last
        start = 0
        while last >= todo[-1][1]:
            end = int(np.searchsorted(cell, todo[-1][1]))
            held.append((cell[start:end], feature[start:end], value[start:end]))
            yield _part(held, todo.pop(), features)
            held, start = [], end
        held.append((cell[start:], feature[start:], value[start:]))
    while todo:
        yield _part(held, todo.pop(), features)
        held = []


def _part(held: list[Entries], span: tuple[int, int], features: int) -> Part:
    from scipy.sparse import coo_array

    first, end = span
    shape = (end - first, features)
    if not held:
        return first, coo_array(shape, dtype=np.int32).tocsr()
    cell, feature, value = (np.concatenate(parts) for parts in zip(*held, strict=True))
    return first, coo_array((value, (cell - first, feature)), shape=shape).tocsr()


def _sorted_on_disk(
    blocks: Iterator[Entries], runs: Sequence[tuple[int, int]], features: int
) -> Iterator[Part]:
    """One pass over the entries sorts each block by run of cells, on disk; then run after run is gathered from all."""
    starts = np.array([first for first, _ in runs])
    with tempfile.TemporaryFile(prefix="tosg-cells-", buffering=0) as spill:
        bounds, written = [], 0
        for cell, feature, value in blocks:
            run = np.searchsorted(starts, cell, side="right") - 1
            order = np.argsort(run, kind="stable")
            records = np.empty(len(cell), _RECORD)
            records["cell"], records["feature"], records["value"] = cell[order], feature[order], value[order]
            records.tofile(spill)
            bounds.append(written + np.searchsorted(run[order], np.arange(len(runs) + 1)))
            written += len(cell)
        for number, span in enumerate(runs):
            pieces = [_read(spill, int(block[number]), int(block[number + 1])) for block in bounds]
            yield _part([(p["cell"], p["feature"], p["value"]) for p in pieces], span, features)


def _read(spill: IO[bytes], first: int, end: int) -> npt.NDArray[Any]:
    spill.seek(first * _RECORD.itemsize)
    return np.fromfile(spill, _RECORD, end - first)
