"""What a subgraph says of measured genes: relations between two, and the pathways and so on that some share.

What it says of a protein that was not measured itself counts for the genes that encode it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.bundle_content import EdgeKey

    Ints = NDArray[np.int64]

NAMED_GENES = 5  # of those that share a pathway
# What is said of two genes: verb, sign, words. The order is the order in a sentence; a sign outdoes an unknown one.
PHRASES = (
    ("SIGNALS_TO", 1, "activates"),
    ("SIGNALS_TO", -1, "inhibits"),
    ("SIGNALS_TO", 0, "signals to"),
    ("LIGAND_OF", 0, "is a ligand of"),
    ("INTERACTS_WITH", 0, "interacts with"),
)
SYMMETRIC = "INTERACTS_WITH"


@dataclass(frozen=True)
class Owners:
    """Whose abundance a node stands for: a measured node for its own, another protein for that of its genes.

    Parameters
    ----------
    genes
        How many are measured: columns of the counts.
    pointer
        int64 ``(N + 1,)``: node ``n`` stands for ``column[pointer[n]:pointer[n + 1]]``.
    column
        int64, columns of the counts.
    """

    genes: int
    pointer: Ints
    column: Ints

    @classmethod
    def of(cls, measured: Ints, nodes: int, edges: Mapping[EdgeKey, pa.Table]) -> Owners:
        """Return them for measured node rows, one per column of the counts, among ``nodes`` nodes."""
        column = np.full(nodes, -1, np.int64)
        column[measured] = np.arange(len(measured))
        rows, columns = [measured], [np.arange(len(measured))]
        for (_, verb, _), table in edges.items():
            if verb == "ENCODES":
                source, target = _ends(stated(table))
                lent = (column[source] >= 0) & (column[target] < 0)
                rows.append(target[lent])
                columns.append(column[source[lent]])
        pairs = np.unique(np.stack([np.concatenate(rows), np.concatenate(columns)]), axis=1)
        sizes = np.bincount(pairs[0], minlength=nodes)
        return cls(len(measured), np.concatenate([[0], np.cumsum(sizes)]), pairs[1])

    def expand(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return, for each gene that each of ``rows`` stands for, the index into ``rows`` and the gene."""
        length = np.diff(self.pointer)[rows]
        at = np.repeat(np.arange(len(rows)), length)
        within = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length)
        return at, self.column[np.repeat(self.pointer[rows], length) + within]


@dataclass(frozen=True)
class Relations:
    """What is said of ordered pairs of genes.

    Parameters
    ----------
    genes
        Columns of the counts.
    keys
        int64 ``(P,)``, ascending: ``source * genes + target``, both columns of the counts.
    bits
        int64 ``(P,)``: bit b says that `PHRASES` b is stated.
    """

    genes: int
    keys: Ints
    bits: Ints

    @classmethod
    def of(cls, edges: Mapping[EdgeKey, pa.Table], owners: Owners) -> Relations:
        """Return what the edges say."""
        keys, bits = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for (_, verb, _), table in edges.items():
            if not any(verb == said for said, _, _ in PHRASES):
                continue
            said = stated(table)
            rows, targets = _ends(said)
            at, source = owners.expand(rows)
            again, target = owners.expand(targets[at])
            source, at = source[again], at[again]
            if verb == SYMMETRIC:
                source, target = np.minimum(source, target), np.maximum(source, target)
            keys.append(source * owners.genes + target)
            bits.append(_phrase_bits(verb, said)[at])
        every, place = np.unique(np.concatenate(keys), return_inverse=True)
        joined = np.zeros(len(every), np.int64)
        np.bitwise_or.at(joined, place, np.concatenate(bits))
        return cls(owners.genes, every, joined)

    def among(self, top: Ints, most: int) -> list[list[tuple[int, int, int]]]:
        """Return of each cell ``(rank, rank, bits)`` of pairs of its genes, those of higher genes first.

        ``top`` is int64 ``(cells, K)``: columns of the counts, -1 for none. At most ``most`` pairs are returned.
        """
        found: list[list[tuple[int, int, int]]] = [[] for _ in top]
        if not len(self.keys):
            return found
        absent = top < 0
        keys = top[:, :, None] * self.genes + top[:, None, :]
        keys[absent[:, :, None] | absent[:, None, :]] = -1
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        cell, i, j = np.nonzero(self.keys[place] == keys)
        order = first_of_rows(cell, (i, np.minimum(i, j), np.maximum(i, j)), len(top), most)
        cell, i, j = cell[order], i[order], j[order]
        bits = self.bits[place[cell, i, j]]
        for c, *relation in zip(*(part.tolist() for part in (cell, i, j, bits)), strict=True):
            found[c].append((relation[0], relation[1], relation[2]))
        return found


@dataclass(frozen=True)
class Terms:
    """Which genes take part in which pathway, or process ...

    Parameters
    ----------
    node
        int64 ``(T,)``: rows of the pathways.
    sizes
        int64 ``(T,)``: how many measured genes each has.
    keys
        int64, ascending: ``gene * T + term``.
    genes
        Columns of the counts.
    """

    node: Ints
    sizes: Ints
    keys: Ints
    genes: int

    @classmethod
    def of(
        cls,
        verb: str,
        edges: Mapping[EdgeKey, pa.Table],
        owners: Owners,
        shown: Callable[[int], bool],
    ) -> tuple[Terms, int]:
        """Return the nodes that edges of ``verb`` lead to and that are ``shown``, and how many are not."""
        genes, nodes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for (_, said, _), table in edges.items():
            if said == verb:
                rows, targets = _ends(stated(table))
                at, gene = owners.expand(rows)
                genes.append(gene)
                nodes.append(targets[at])
        node, term = np.unique(np.concatenate(nodes), return_inverse=True)
        told = np.array([shown(int(row)) for row in node], bool)
        count, kept, number = int(told.sum()), told[term], np.cumsum(told) - 1
        keys = np.unique(np.concatenate(genes)[kept] * count + number[term[kept]])
        sizes = np.bincount(keys % max(count, 1), minlength=count)
        return cls(node[told], sizes, keys, owners.genes), len(node) - count

    @cached_property
    def _matrix(self) -> csr_array[Any, Any]:
        from scipy.sparse import csr_array

        gene, term = np.divmod(self.keys, len(self.node))
        ones = np.ones(len(gene), np.int64)
        return csr_array((ones, (gene, term)), shape=(self.genes, len(self.node)))

    def shared(self, top: Ints, most: int) -> list[list[tuple[int, list[int]]]]:
        """Return of each cell terms as node rows, each with the ranks of some of its genes that take part.

        Terms whose genes are most alike the cell's come first: by the cosine of the two sets of genes, which is
        c / sqrt(K * size) with c common genes. Its square is compared, times K, the same for all terms of a cell.
        """
        from scipy.sparse import csr_array

        found: list[list[tuple[int, list[int]]]] = [[] for _ in top]
        if not len(self.node) or not most:
            return found
        cell, rank = np.nonzero(top >= 0)
        of_cells = csr_array(
            (np.ones(len(cell), np.int64), (cell, top[cell, rank])), shape=(len(top), self.genes)
        )
        common = of_cells @ self._matrix  # (cells, terms)
        row = np.repeat(np.arange(len(top)), np.diff(common.indptr))
        alike = common.data.astype(np.float64) ** 2 / self.sizes[common.indices]
        order = first_of_rows(row, (common.indices, -alike), len(top), most)
        cells, terms = row[order], common.indices[order].astype(np.int64)
        wanted = np.where(top[cells] < 0, -1, top[cells] * len(self.node) + terms[:, None])  # (found, K)
        at = np.searchsorted(self.keys, wanted).clip(max=len(self.keys) - 1)
        takes_part = self.keys[at] == wanted
        for c, term, held in zip(cells.tolist(), terms.tolist(), takes_part, strict=True):
            found[c].append((int(self.node[term]), np.flatnonzero(held)[:NAMED_GENES].tolist()))
        return found


def _ends(table: pa.Table) -> tuple[Ints, Ints]:
    return table["source_row"].to_numpy(), table["target_row"].to_numpy()


def stated(table: pa.Table) -> pa.Table:
    """Edges without those that a source states to be false."""
    import pyarrow.compute as pc

    if "negated" not in table.column_names:
        return table
    return table.filter(pc.invert(pc.fill_null(table["negated"].cast("bool"), False)))


def _phrase_bits(verb: str, table: pa.Table) -> Ints:
    """Int64 ``(edges,)``: the bit of each edge's phrase."""
    sign = np.zeros(len(table), np.int64)
    if verb == "SIGNALS_TO" and "sign" in table.column_names:
        sign = table["sign"].cast("int64").fill_null(0).to_numpy()
    bits = np.zeros(len(table), np.int64)
    for bit, (said, value, _) in enumerate(PHRASES):
        if said == verb:
            bits[sign == value] = 1 << bit
    return bits


def first_of_rows(row: Ints, keys: tuple[NDArray[Any], ...], rows: int, most: int) -> Ints:
    """Return places of the first ``most`` of each row, rows ascending, by ``keys``, the last of which leads."""
    order = np.lexsort((*keys, row))
    sizes = np.bincount(row, minlength=rows)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[place < most]
