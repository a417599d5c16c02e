"""Counts of some cells as compressed rows, out of the copy that holds them cell by cell; see `tosg_graph.row_files`.

In a folder the files are mapped: of scattered cells nothing else is read. From a bucket whole batches come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tosg_graph.errors import StoreError
from tosg_graph.row_files import LARGE, Lists, layout, lists
from tosg_graph.threads import threads

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.store_files import StoreFiles

S = TypeVar("S")
T = TypeVar("T")

ROWS = "rows"  # folder of the files, beside the tables


class _Place(NamedTuple):
    """Where a block lies."""

    file: str
    batch_cells: int
    first_batch: int
    cells: int


class _Piece(NamedTuple):
    """Cells of one batch."""

    file: str
    batch: int
    rows: NDArray[np.int64]
    asked: slice  # their places among those asked for


@dataclass(frozen=True)
class CopiedRows:
    """Blocks of counts in files of rows. What the files say of themselves is read once, when it is first needed."""

    files: StoreFiles
    names: Sequence[str]
    layer: str

    def holds(self, block: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the block of each cell is among them."""
        import numpy as np

        return np.isin(block, list(self._blocks))

    def rows(
        self, block: NDArray[np.int32], cell: NDArray[np.int32], columns: Sequence[int], axis_size: int
    ) -> csr_array[Any, Any]:
        """Raw counts, int32, shape ``(len(cell), len(columns))``, indices sorted; see `CountsBlocks.rows`."""
        import numpy as np
        from scipy.sparse import csr_array

        order = np.lexsort((cell, block)) if not _rises(block, cell) else None
        if order is not None:
            block, cell = block[order], cell[order]
        lengths, indices, counts = self._read([*self._pieces(block, cell)], len(cell), columns, axis_size)
        bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if bounds[-1] < 2**31:
            bounds = bounds.astype(np.int32)
        found = csr_array((counts, indices, bounds), shape=(len(cell), len(columns)))
        if (np.diff(columns) > 0).all():
            found.has_sorted_indices = True  # as they lie
        found.sort_indices()
        return found if order is None else found[np.argsort(order)]

    def _read(
        self, pieces: list[_Piece], cells: int, columns: Sequence[int], axis_size: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Values of each cell, their columns and counts."""
        import numpy as np

        slots = _slots(columns, axis_size)
        found = self._each(lambda piece: self._lists(piece, slots, axis_size), pieces)
        bounds = [0, *accumulate(len(part.columns) for part in found)]
        indices, counts = (np.empty(bounds[-1], np.int32) for _ in range(2))
        places = list(zip(pieces, found, map(slice, bounds, bounds[1:]), strict=True))

        def fill(place: tuple[_Piece, Lists, slice]) -> None:
            piece, part, here = place
            with damage_named(piece.file):
                part.fill(indices[here], counts[here])

        self._each(fill, places)
        lengths = np.zeros(cells, np.int32)
        for piece, part in zip(pieces, found, strict=True):
            lengths[piece.asked] = part.lengths
        return lengths, indices, counts

    def _pieces(self, block: NDArray[np.int32], cell: NDArray[np.int32]) -> Iterator[_Piece]:
        """Cells by the batch they lie in, in their order; those behind the last one with a count are passed over."""
        import numpy as np

        numbers, starts = np.unique(block, return_index=True)
        for number, (start, stop) in zip(numbers.tolist(), pairwise([*starts, len(block)]), strict=True):
            place, inside = self._blocks[number], cell[start:stop]
            step = place.batch_cells
            firsts = np.arange(0, place.cells + step, step).clip(max=place.cells)
            bounds = np.searchsorted(inside, firsts).tolist()
            for batch, (a, b) in enumerate(pairwise(bounds)):
                if b > a:
                    rows = inside[a:b].astype(np.int64) - firsts[batch]
                    asked = slice(int(start) + a, int(start) + b)
                    yield _Piece(place.file, place.first_batch + batch, rows, asked)

    def _lists(self, piece: _Piece, slots: pa.Array | None, axis_size: int) -> Lists:
        with damage_named(piece.file):
            batch = self._opened(piece.file).get_batch(piece.batch)
            found = lists(batch, self.layer, piece.rows)
            if slots is not None:
                return _picked(found, slots)
            if found.columns.max(initial=0) >= max(1, axis_size):
                raise ValueError(f"column {found.columns.max()} of an axis of {axis_size}")
            return found

    def _opened(self, name: str) -> pa.RecordBatchFileReader:
        import pyarrow as pa

        # A reader is for one thread. To open one takes no time beside a batch.
        return pa.ipc.open_file(self.files.mapped(ROWS, name))

    @cached_property
    def _blocks(self) -> dict[int, _Place]:
        def places(name: str) -> dict[int, _Place]:
            with damage_named(name), self.files.mapped(ROWS, name) as file:
                said = layout(file)
            return {number: _Place(name, said.batch_cells, *at) for number, at in said.blocks.items()}

        return {number: place for found in self._each(places, self.names) for number, place in found.items()}

    def _each(self, function: Callable[[T], S], items: Sequence[T]) -> list[S]:
        import pyarrow as pa

        at_once = pa.cpu_count() if self.files.is_local else pa.io_thread_count()
        with threads(max(1, min(at_once, len(items)))) as pool:
            return list(pool.map(function, items))


@contextmanager
def damage_named(file: str) -> Iterator[None]:
    """Say which file of rows cannot be read, and what to do.

    Raises
    ------
    StoreError
        In place of what Arrow raises.
    """
    import pyarrow as pa

    try:
        yield
    except (OSError, LookupError, ValueError, pa.ArrowException) as error:
        raise StoreError(
            f"{ROWS}/{file} cannot be read: {' '.join(str(error).split())}. Counts are read without it after `tosg "
            "cells rows --remove`."
        ) from error


def _rises(block: NDArray[np.int32], cell: NDArray[np.int32]) -> bool:
    import numpy as np

    places = block.astype(np.int64) << 32 | cell
    return bool((np.diff(places) > 0).all())


def _slots(columns: Sequence[int], axis_size: int) -> pa.Array | None:
    """Column of the answer of each column of the axis, or -1; None where they are the same."""
    import numpy as np
    import pyarrow as pa

    numbers = np.arange(len(columns), dtype=np.int32)
    if len(columns) == axis_size and np.array_equal(columns, numbers):
        return None
    slots = np.full(axis_size, -1, np.int32)
    slots[columns] = numbers
    return pa.array(slots)


def _picked(found: Lists, slots: pa.Array) -> Lists:
    """Those of the columns that are asked for, as columns of the answer."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    slot = pc.take(slots, pa.array(found.columns)).to_numpy()
    at = np.flatnonzero(slot >= 0)
    if len(at) == len(slot):
        return found._replace(columns=slot)
    bounds = np.searchsorted(at, np.cumsum(found.lengths), side="left")
    large = found.large[slot[np.flatnonzero(found.counts == LARGE)] >= 0]
    return Lists(np.diff(bounds, prepend=0).astype(np.int32), slot[at], found.counts[at], large)
