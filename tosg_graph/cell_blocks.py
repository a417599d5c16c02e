"""Blocks of cells in their physical order, out of chunks in the order of a file, with bounded memory.

One pass reads the chunks: it adds up what each cell has (`Tally`) and puts its row into a bucket on disk (`spill`).
Then bucket after bucket is read back, a few of them make a block, and a block is turned gene-major (`blocks`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.counts_files import Block

BLOCK_CELLS = 16_384
BLOCK_VALUES = 2**26  # a block of heavier rows has fewer cells
_BUCKETS = 4  # in a full block
SORTED_BY = ("organ", "disease", "cell_type")  # then by cell_id: how cells fill blocks
_CODEC = "lz4"


class Buckets(Protocol):
    """The rows of a file, ready to be read in the order of the blocks."""

    def read(self) -> Iterator[csr_array[Any, Any]]:
        """Yield the rows of one bucket after the other."""


class Tally:
    """What passes by, added up: counts and features per cell in the order of the file, and the hash of all counts.

    Parameters
    ----------
    cells
        Number of cells that are announced.
    genes
        Width of the genes where proteins stand on their right; None where there are none. Their sums never mix.
    """

    def __init__(self, cells: int, genes: int | None = None) -> None:
        import numpy as np

        self.n_counts: NDArray[np.int64] = np.zeros(cells, np.int64)
        self.n_protein_counts: NDArray[np.int64] = np.zeros(cells, np.int64)
        self.n_proteins: NDArray[np.int32] = np.zeros(cells, np.int32)
        self.lengths: NDArray[np.int32] = np.zeros(cells, np.int32)  # counts of both layers
        self.cells = 0  # so far
        self._genes = genes
        self._indices, self._data = hashlib.sha256(), hashlib.sha256()

    @property
    def n_genes(self) -> NDArray[np.int32]:
        """Genes with a count, of each cell."""
        return self.lengths - self.n_proteins

    def over(self, chunks: Iterator[csr_array[Any, Any]]) -> Iterator[csr_array[Any, Any]]:
        """Pass chunks on and count them; more rows than cells are refused."""
        import numpy as np

        for chunk in chunks:
            if self.cells + chunk.shape[0] > len(self.lengths):
                raise CellsError(
                    f"There are counts of more than {len(self.lengths)} cells, but names of no more."
                )
            here = slice(self.cells, self.cells + chunk.shape[0])
            self.lengths[here] = np.diff(chunk.indptr)
            self.n_counts[here] = _row_sums(chunk.data, chunk.indptr)
            if self._genes is not None:
                protein = chunk.indices >= self._genes
                self.n_proteins[here] = _row_sums(protein, chunk.indptr)
                self.n_protein_counts[here] = _row_sums(np.where(protein, chunk.data, 0), chunk.indptr)
                self.n_counts[here] -= self.n_protein_counts[here]
            # Views of the same bytes in any chunks, so the hash does not know how the file was cut.
            self._indices.update(np.ascontiguousarray(chunk.indices, np.int32).data)
            self._data.update(np.ascontiguousarray(chunk.data, np.int32).data)
            self.cells += chunk.shape[0]
            yield chunk

    def digest(self) -> bytes:
        """Sha256 of the matrix that passed by."""
        parts = (
            hashlib.sha256(self.lengths.data).digest(),
            self._indices.digest(),
            self._data.digest(),
        )
        return hashlib.sha256(b"".join(parts)).digest()


def _row_sums(values: NDArray[Any], indptr: NDArray[Any]) -> NDArray[np.int64]:
    import numpy as np

    sums = np.zeros(len(indptr) - 1, np.int64)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        sums[filled] = np.add.reduceat(values, indptr[filled], dtype=np.int64)
    return sums


def block_order(cells: pa.Table) -> NDArray[np.int64]:
    """Rows in the order in which they fill blocks: alike cells together, so that a cohort touches few blocks.

    By organ, disease, cell type (what is unknown last), then ``cell_id``: the order in the file does not matter.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys = {name: _ranks(cells[name].combine_chunks()) for name in SORTED_BY}
    order = pc.sort_indices(
        pa.table({**keys, "cell_id": cells["cell_id"]}),
        sort_keys=[(name, "ascending") for name in (*SORTED_BY, "cell_id")],
    )
    found: NDArray[np.int64] = order.to_numpy().astype("int64")
    return found


def block_sizes(lengths: NDArray[np.int32]) -> list[int]:
    """Cells in each block, of rows in block order: whole buckets, as many as fit.

    Parameters
    ----------
    lengths
        Values in each row.
    """
    import numpy as np

    bucket = _bucket_cells()
    starts = np.arange(0, len(lengths), bucket)
    sizes: list[int] = []
    values = 0
    for start, held in zip(starts, np.add.reduceat(lengths, starts, dtype=np.int64), strict=True):
        cells = min(bucket, len(lengths) - int(start))
        if sizes and sizes[-1] + cells <= BLOCK_CELLS and values + held <= BLOCK_VALUES:
            sizes[-1] += cells
            values += int(held)
        else:
            sizes.append(cells)
            values = int(held)
    return sizes


def blocks(buckets: Buckets, sizes: Sequence[int], columns: NDArray[np.int32]) -> Iterator[Block]:
    """Yield ``gene``, ``cell``, ``count`` of one block after the other, sorted by gene, then cell.

    Parameters
    ----------
    sizes
        Cells in each block; see `block_sizes`.
    columns
        Column of each feature of the file, as the table ``counts`` has it.
    """
    rows = buckets.read()
    for size in sizes:
        held: list[Any] = []
        while sum(part.shape[0] for part in held) < size:
            held.append(next(rows))
        yield _gene_major(held, columns)


def _gene_major(held: list[csr_array[Any, Any]], columns: NDArray[np.int32]) -> Block:
    """Turn rows gene-major by counting, not by comparing; ``held`` is emptied to save memory."""
    import numpy as np
    from scipy.sparse import csr_array, vstack

    rows = csr_array(held[0] if len(held) == 1 else vstack(held, format="csr"))
    held.clear()
    order = np.argsort(columns)
    place = np.empty(len(columns), np.int32)
    place[order] = np.arange(len(columns), dtype=np.int32)
    rows = csr_array((rows.data, place[rows.indices], rows.indptr), shape=rows.shape)
    genes = rows.tocsc()
    del rows
    gene = np.repeat(columns[order], np.diff(genes.indptr).astype(np.int64))
    return gene, genes.indices.astype(np.int32, copy=False), genes.data


# --------------------------------------------------------------------------- rows on their way


@dataclass(frozen=True)
class InOrder:
    """A file whose cells are in block order already: it is read once more instead of being copied."""

    chunks: Callable[[], Iterator[csr_array[Any, Any]]]

    def read(self) -> Iterator[csr_array[Any, Any]]:
        """Yield the rows of one bucket after the other."""
        from scipy.sparse import csr_array, vstack

        bucket, held, cells = _bucket_cells(), [], 0
        for chunk in self.chunks():
            start = 0
            while start < chunk.shape[0]:
                stop = min(chunk.shape[0], start + bucket - cells)
                held.append(chunk[start:stop])
                cells += stop - start
                start = stop
                if cells == bucket:
                    yield csr_array(vstack(held, format="csr"))
                    held, cells = [], 0
        if held:
            yield csr_array(vstack(held, format="csr"))


@dataclass(frozen=True)
class Spilled:
    """Rows in buckets: of each chunk, the rows of each bucket as one compressed piece."""

    place: Path | io.BytesIO  # of the pieces
    order: NDArray[np.int64]
    lengths: NDArray[np.int32]  # values of each row, in the order of the file
    chunk_starts: NDArray[np.int64]
    pieces: NDArray[Any]  # offset, size and bytes per count, by (chunk, bucket)
    features: int

    def read(self) -> Iterator[csr_array[Any, Any]]:
        """Yield the rows of one bucket after the other."""
        with self.place.open("rb") if isinstance(self.place, Path) else nullcontext(self.place) as file:
            for bucket in range(self.pieces.shape[1]):
                yield self._bucket(file, bucket)

    def _bucket(self, file: Any, bucket: int) -> csr_array[Any, Any]:
        import numpy as np
        import pyarrow as pa
        from scipy.sparse import csr_array

        size = _bucket_cells()
        rows = self.order[bucket * size : (bucket + 1) * size]
        chunk = np.searchsorted(self.chunk_starts, rows, side="right") - 1
        read = np.argsort(chunk, kind="stable")  # the pieces come chunk by chunk
        lengths = self.lengths[rows[read]].astype(np.int64)
        bounds = np.concatenate([[0], np.cumsum(lengths)])
        indices = np.empty(bounds[-1], np.int32)
        data = np.empty(bounds[-1], np.int32)
        gene_type = _gene_type(self.features)
        first_rows = np.searchsorted(chunk[read], np.arange(len(self.chunk_starts) + 1))
        for piece, start, stop in zip(
            self.pieces[:, bucket], bounds[first_rows[:-1]], bounds[first_rows[1:]], strict=True
        ):
            if stop == start:
                continue
            count_type = np.dtype(f"u{piece['count_bytes']}")
            file.seek(int(piece["offset"]))
            raw = pa.decompress(
                file.read(int(piece["size"])),
                decompressed_size=int(stop - start) * (gene_type.itemsize + count_type.itemsize),
                codec=_CODEC,
                asbytes=False,
            )
            indices[start:stop] = np.frombuffer(raw, gene_type, stop - start)
            data[start:stop] = np.frombuffer(raw, count_type, offset=int(stop - start) * gene_type.itemsize)
        # Rows of one bucket: with 64-bit bounds scipy would make the indices 64-bit too.
        as_read = csr_array((data, indices, bounds.astype(np.int32)), shape=(len(rows), self.features))
        back = np.empty(len(rows), np.int64)
        back[read] = np.arange(len(rows))
        return as_read[back]


def spill(
    chunks: Iterator[csr_array[Any, Any]],
    order: NDArray[np.int64],
    tally: Tally,
    features: int,
    place: Path | None,
) -> Spilled:
    """Put the rows of all chunks into their buckets.

    Parameters
    ----------
    chunks
        In the order of the file, as they pass by ``tally``.
    order
        Row of the file at each place of the block order.
    place
        File for the pieces; None keeps them in memory.
    """
    import numpy as np

    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    buckets = -(-len(order) // _bucket_cells())
    starts, pieces, start = [], [], 0
    kept = place or io.BytesIO()
    with kept.open("wb") if isinstance(kept, Path) else nullcontext(kept) as file:
        for chunk in chunks:
            starts.append(start)
            pieces.append(_spill_chunk(chunk, rank[start : start + chunk.shape[0]], buckets, file))
            start += chunk.shape[0]
    return Spilled(kept, order, tally.lengths, np.array(starts), np.stack(pieces), features)


def _spill_chunk(
    chunk: csr_array[Any, Any], rank: NDArray[np.int64], buckets: int, file: Any
) -> NDArray[Any]:
    import numpy as np
    import pyarrow as pa

    sorted_rows = np.argsort(rank)
    chunk = chunk[sorted_rows]
    bounds = np.searchsorted(rank[sorted_rows], np.arange(buckets + 1) * _bucket_cells())
    values = chunk.indptr[bounds]
    indices = chunk.indices.astype(_gene_type(chunk.shape[1]))
    pieces = np.zeros(buckets, [("offset", np.int64), ("size", np.int64), ("count_bytes", np.int8)])
    for bucket in np.flatnonzero(np.diff(values)):
        some = slice(values[bucket], values[bucket + 1])
        counts = chunk.data[some]
        counts = counts.astype(np.min_scalar_type(counts.max()))
        packed = pa.compress(indices[some].tobytes() + counts.tobytes(), codec=_CODEC, asbytes=True)
        pieces[bucket] = (file.tell(), len(packed), counts.itemsize)
        file.write(packed)
    return pieces


def _ranks(values: pa.Array) -> pa.Array:
    """Place of each value among the sorted ones; null stays null, and is sorted last."""
    import pyarrow.compute as pc

    named = values.dictionary_encode() if not hasattr(values, "dictionary") else values
    return pc.take(pc.rank(named.dictionary, tiebreaker="min"), named.indices)


def _gene_type(features: int) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(np.uint16 if features <= 2**16 else np.int32)


def _bucket_cells() -> int:
    return max(1, BLOCK_CELLS // _BUCKETS)
