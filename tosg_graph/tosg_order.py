"""Level ``tosg``: all transcripts and proteins of an OmniCellTOSG folder, in the order of its rows.

Node i is row i of ``s_name.csv``, so that edges, embeddings and matrices of the folder fit without a look-up. A node
takes the count of the gene whose columns ``bmg_gene_index.csv`` lists; proteins, and transcripts of no gene, have none.
`TosgOrder.gather` says this as one number per node, so that a network can widen genes on the device and nobody needs
the matrix of all nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

NAMES, GENE_INDEX = "s_name.csv", "bmg_gene_index.csv"
EDGES = ("edge_index", "internal_edge_index", "ppi_edge_index")
_AT_ONCE = 256  # cells whose genes are made dense together


@dataclass(frozen=True)
class TosgOrder:
    """The nodes of a folder in their order.

    Parameters
    ----------
    ids
        Entity id of each node, such as ``BMGC:TS000001``; transcripts first, then proteins.
    transcripts
        How many of them are transcripts; the matrices of the folder have as many columns.
    genes
        Names of the genes, in the order of ``bmg_gene_index.csv``.
    gene_of
        int32 ``(n_nodes,)``: position in ``genes`` of the gene whose count a node has; -1 for none.
    """

    ids: list[str]
    transcripts: int
    genes: list[str]
    gene_of: NDArray[np.int32]

    @classmethod
    def read(cls, folder: Path, gene_index: Path | None = None) -> TosgOrder:
        """Read ``s_name.csv`` and ``bmg_gene_index.csv`` of a folder, the latter from elsewhere if it is named.

        Raises
        ------
        LoadError
            If a file is missing or malformed.
        CellsError
            If the index names a column that is no transcript, or one for two genes.
        """
        from loaders.omnicelltosg import gene_columns, node_rows

        ids, transcripts = node_rows(folder / NAMES)
        columns = gene_columns(gene_index or folder / GENE_INDEX)
        gene_of = np.full(len(ids), -1, np.int32)
        for number, (gene, own) in enumerate(columns.items()):
            for at in own:
                if at >= transcripts or gene_of[at] >= 0:
                    why = (
                        "another gene has it too"
                        if at < transcripts
                        else f"{NAMES} has {transcripts} transcripts"
                    )
                    raise CellsError(
                        f"{folder}: column {at} of gene {gene!r}: {why}. Give the files of one release."
                    )
                gene_of[at] = number
        return cls(ids, transcripts, list(columns), gene_of)

    @property
    def num_nodes(self) -> int:
        """Transcripts and proteins."""
        return len(self.ids)

    def rows_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each node, int64, by its id as the graph or the folder (``BMGC_TS000001``) writes it.

        Raises
        ------
        CellsError
            If an id is no node here.
        """
        found = np.array([self._row_of.get(id_.replace("_", ":", 1), -1) for id_ in ids], np.int64)
        if (found < 0).any():
            gone = [id_ for id_, row in zip(ids, found.tolist(), strict=True) if row < 0]
            raise CellsError(
                f"{len(gone)} of {len(ids)} nodes are not in {NAMES} (first {gone[0]}). Load the graph of this release."
            )
        return found

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.ids)}

    def gather(self, names: Sequence[str | None]) -> NDArray[np.int64]:
        """For each node the column, among ``names`` of genes, that its count is in; -1 for none. int64 ``(n_nodes,)``.

        ``names`` may be the symbols of any store's axis or of a bundle's genes: other cells can be put on these nodes.
        """
        place = {name: column for column, name in reversed(list(enumerate(names))) if name is not None}
        of_gene = np.array([*(place.get(gene, -1) for gene in self.genes), -1], np.int64)
        return of_gene[self.gene_of]

    def expand(
        self,
        counts: csr_array[Any, Any] | NDArray[Any],
        columns: NDArray[np.integer[Any]] | None = None,
        *,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Copy the value of each gene to its nodes; all others are zero.

        Parameters
        ----------
        counts
            Cells x genes, sparse or dense.
        columns
            What `gather` gave for the columns of ``counts``; by default these are ``genes``.
        out
            Zeros, written in place: cells x nodes, or only the first nodes, such as the transcripts. May be a mapped
            file. By default a new float32 array ``(cells, n_nodes)``.

        Returns
        -------
        ``out``.
        """
        out = np.zeros((counts.shape[0], self.num_nodes), np.float32) if out is None else out
        columns = (self.gene_of if columns is None else columns)[: out.shape[1]]
        nodes = np.flatnonzero(columns >= 0)
        for start in range(0, counts.shape[0], _AT_ONCE):
            part = counts[start : start + _AT_ONCE]
            dense = part if isinstance(part, np.ndarray) else part.toarray()
            out[start : start + _AT_ONCE, nodes] = dense[:, columns[nodes]]
        return out

    def edges(self, folder: Path) -> dict[str, NDArray[np.integer[Any]]]:
        """Edge indexes of the folder by the stem of their file, as they are: ``(2, n)``, their integer type and order.

        Raises
        ------
        LoadError
            If a file is missing or no edge index, an edge leads to no node, or ``edge_index`` is not the sum of the
            other two.
        """
        from loaders.omnicelltosg import edge_indexes

        edges, internal, ppi = (folder / f"{name}.npy" for name in EDGES)
        return dict(zip(EDGES, edge_indexes(edges, internal, ppi, self.num_nodes), strict=True))
