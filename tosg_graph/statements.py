"""The statements of each source of a load, as files of hashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph import stated
from tosg_graph.ledger import TableAccount
from tosg_graph.merge import MergedEdges, MergedNodes

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa


def write_statements(
    folder: Path,
    node_tables: Mapping[str, int],
    nodes: MergedNodes,
    edges: Mapping[str, MergedEdges],
    accounts: Mapping[str, Sequence[TableAccount]],
) -> dict[str, str]:
    """Write what each source states; return source -> name of its file, see `tosg_graph.stated`.

    Parameters
    ----------
    node_tables
        Source -> number of its tables of nodes, in load order.
    accounts
        Verb -> accounts of its tables, which say whose a relationship is.
    """
    import pyarrow as pa

    hashes, types = nodes.hashes, nodes.types()
    files, number = {}, 0
    for source, tables in node_tables.items():
        mine, own = nodes.stated_by(range(number, number + tables), hashes)
        number += tables
        given = {"id": nodes.ids, "label": types, "hash": pa.array(hashes), "own": pa.array(own)}
        stated_nodes = pa.table(given).filter(pa.array(mine))
        files[source] = stated.write(folder, source, stated_nodes, _edges(source, edges, accounts))
    return files


def _edges(
    source: str, edges: Mapping[str, MergedEdges], accounts: Mapping[str, Sequence[TableAccount]]
) -> Iterator[tuple[str, pa.Table]]:
    """Yield verb, and key and hash of each relationship of a source; one verb at a time, for there may be many."""
    import pyarrow as pa

    for verb, merged in edges.items():
        theirs = np.array([a.source == source for a in accounts[verb]])[merged.owner]
        if theirs.any():
            mine = merged
            if not theirs.all():
                mine = MergedEdges(merged.data.filter(pa.array(theirs)), merged.owner[theirs])
            yield verb, pa.table({"key": mine.data["edge_key"], "hash": pa.array(edge_hashes(mine))})


def edge_hashes(edges: MergedEdges) -> npt.NDArray[np.uint64]:
    """Hash of what a load says of each relationship, uint64, shape ``(n,)``."""
    said = [c for c in edges.data.column_names if c not in ("subject", "object", "source", "edge_key")]
    return stated.row_hashes(edges.data.select(said)) if said else np.zeros(len(edges.data), np.uint64)
