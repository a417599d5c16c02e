"""Write into a graph that already holds something: read, compare, and write only what differs.

Batches are transactions of their own. A load that dies between two of them is finished by running it again:
what is already there is found equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.contract import stored_edge_columns, stored_node_columns
from tosg_graph.ledger import TableAccount
from tosg_graph.merge import COLLISION, MergedEdges, MergedNodes, unite
from tosg_graph.resources import cypher
from tosg_graph.text import TEXT_COLUMNS, entity_text, text_sha
from tosg_graph.threads import ahead
from tosg_graph.types import Reject

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.progress import Progress

SAME, CREATED, UPDATED, REFUSED = 0, 1, 2, 3
_BATCH = 5_000


def upsert_nodes(
    graph: Graph,
    nodes: MergedNodes,
    loaded_sources: frozenset[str],
    release: str,
    same: npt.NDArray[np.bool_],
    progress: Progress,
) -> tuple[npt.NDArray[np.int8], Counter[str]]:
    """Bring the stored nodes to what this load says.

    Parameters
    ----------
    nodes
        Merged nodes of this load.
    loaded_sources
        Keys of all sources of this load. A stored node that only they state is rebuilt from the load; for any
        other, lists are united, and a scalar is replaced only if the source that stated the node first is
        in the load.
    release
        Written on the nodes that are created or changed.
    same
        Nodes that are known to be stored as they are, bool, shape ``(n,)``; they are not looked at.

    Returns
    -------
    status
        `SAME`, `CREATED` or `UPDATED` per row, int8.
    added
        Label -> number of nodes that have got it.
    """
    status = np.zeros(len(nodes.ids), np.int8)
    added: Counter[str] = Counter()
    kinds = {
        name: kind
        for name, kind in stored_node_columns().items()
        if name not in ("text", "text_sha", "release")
    }
    places, start = np.flatnonzero(~same), 0
    for rows, stored in ahead(_with_stored_nodes(graph, _batches(nodes, ~same))):
        writes = []
        for offset, row in enumerate(rows):
            old = stored.get(row["id"])
            new = row if old is None else _reconciled(old, row, loaded_sources, kinds)
            labels = [label for label in row["labels"] if old is None or label not in old["labels"]]
            changes = {
                name: new[name]
                for name in new
                if name not in ("labels", "text", "text_sha") and (old is None or new[name] != old.get(name))
            }
            if old is not None and not labels and not changes:
                continue
            if old is None or labels or not changes.keys().isdisjoint(TEXT_COLUMNS):
                # Its own lines: what was drawn from the graph comes back when it is annotated again.
                changes |= {"text": new["text"], "text_sha": new["text_sha"], "annotated": None}
            status[places[start + offset]] = CREATED if old is None else UPDATED
            added.update(labels if old is not None else [*labels, "Entity"])
            writes.append([row["id"], labels, {**changes, "release": release}])
        if writes:
            graph.write(cypher("load_nodes_revive"), ids=[write[0] for write in writes])
            graph.write(cypher("load_nodes_write"), rows=writes)
        start += len(rows)
        progress("Writing nodes", start, len(places))
    return status, added


def _batches(nodes: MergedNodes, which: npt.NDArray[np.bool_]) -> Iterator[list[dict[str, Any]]]:
    for wide in nodes.batches(which):
        for start in range(0, len(wide), _BATCH):
            yield wide.slice(start, _BATCH).to_pylist()


def _with_stored_nodes(
    graph: Graph, batches: Iterable[list[dict[str, Any]]]
) -> Iterator[tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]]:
    """Yield each batch, and what is stored of its nodes by id."""
    columns = [name for name in stored_node_columns() if name not in ("id", "text", "text_sha")]
    for batch in batches:
        found = graph.rows(cypher("load_nodes_read"), ids=[row["id"] for row in batch])[0]["rows"]
        yield batch, {row[0]: dict(zip(("id", "labels", *columns), row, strict=True)) for row in found}


def _reconciled(
    old: Mapping[str, Any], row: Mapping[str, Any], loaded_sources: frozenset[str], kinds: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the node shall be: the row itself, or the row and what sources outside this load say."""
    before = old["sources"] or []
    if loaded_sources.issuperset(before):
        return dict(row)
    first, second = (row, old) if before[0] in loaded_sources else (old, row)
    new = {name: first[name] for name in kinds}
    unite(new, second, kinds)
    # Precedence is the order in which sources came to the node, whichever of them is loaded again.
    new["sources"] = list(dict.fromkeys([*before, *row["sources"]]))
    new["text"] = entity_text({**new, "labels": [*old["labels"], *row["labels"]]})
    new["text_sha"] = text_sha(new["text"])
    return new


def upsert_edges(
    graph: Graph,
    verb: str,
    edges: MergedEdges,
    accounts: Sequence[TableAccount],
    same: npt.NDArray[np.bool_],
    progress: Progress,
) -> npt.NDArray[np.int8]:
    """Bring the stored relationships of one verb to what this load says.

    A relationship is what the last load of its source says. One whose key is stored for another subject,
    object or source is refused and counted as a collision.

    Parameters
    ----------
    same
        Rows that are known to be stored as they are, bool, shape ``(n,)``; they are not looked at.

    Returns
    -------
    status
        `SAME`, `CREATED`, `UPDATED` or `REFUSED` per row, int8.
    """
    import pyarrow as pa

    status = np.zeros(len(edges.data), np.int8)
    columns = [name for name in stored_edge_columns(verb) if name != "edge_key"]
    read, write = cypher(f"load_edges_read_{verb.lower()}"), cypher(f"load_edges_write_{verb.lower()}")
    places = np.flatnonzero(~same)
    parts = [places[start : start + _BATCH] for start in range(0, len(places), _BATCH)]
    batches = (edges.data.take(pa.array(at)) for at in parts)
    asked = ahead(_with_stored_edges(graph, read, batches))  # the server reads a batch while one is written
    for start, at, (rows, keys, found) in zip(range(0, len(places), _BATCH), parts, asked, strict=True):
        stored = {row[0]: row[1:] for row in found}
        given = rows.column_names
        ours = zip(
            *(
                rows[name].to_pylist() if name in given else [None] * len(rows)
                for name in ("subject", "object", *columns)
            ),
            strict=True,
        )
        writes = []
        for offset, (key, new) in enumerate(zip(keys, ours, strict=True)):
            old = stored.get(key)
            if old == list(new):
                continue
            if old is not None and old[:3] != list(new[:3]):  # subject, object and source
                status[at[offset]] = REFUSED
                _refuse(accounts[edges.owner[at[offset]]], new[0])
                continue
            status[at[offset]] = CREATED if old is None else UPDATED
            writes.append([new[0], new[1], key, dict(zip(columns, new[2:], strict=True))])
        if writes:
            graph.write(write, rows=writes)
        progress(f"Writing {verb}", min(start + _BATCH, len(places)), len(places))
    return status


def _with_stored_edges(
    graph: Graph, statement: str, batches: Iterable[pa.Table]
) -> Iterator[tuple[pa.Table, list[int], list[list[Any]]]]:
    """Yield each batch, its keys and what is stored of them."""
    for batch in batches:
        keys = batch["edge_key"].to_pylist()
        yield batch, keys, graph.rows(statement, keys=keys)[0]["rows"]


def retire_edges(graph: Graph, verb: str, keys: pa.Array, progress: Progress) -> int:
    """Delete relationships that their source does not state any more; return how many there were."""
    deleted = 0
    for start in range(0, len(keys), _BATCH):
        batch = keys.slice(start, _BATCH).to_pylist()
        done = graph.write(cypher(f"load_edges_retire_{verb.lower()}"), keys=batch)
        deleted += done.counters.relationships_deleted
        progress(f"Retiring {verb}", min(start + _BATCH, len(keys)), len(keys))
    return deleted


def retire_nodes(
    graph: Graph, ids: pa.Array, source: str, release: str, progress: Progress
) -> tuple[int, Counter[str]]:
    """Retire nodes that their source does not state any more.

    A node that another source states stays, without this source. One that nobody states, but that other sources'
    relationships lead to, stays with no source. All others lose ``:Entity`` and their type labels and become
    ``(:Retired {id, name, labels, retired})``, so that their ids can still be explained.

    Returns
    -------
    retired
        Number of nodes that became ``:Retired``.
    removed
        Label -> number of nodes that have lost it.
    """
    removed: Counter[str] = Counter()
    retired = 0
    for start in range(0, len(ids), _BATCH):
        batch = ids.slice(start, _BATCH).to_pylist()
        rows = graph.rows(cypher("load_nodes_retirable"), ids=batch, source=source)
        alone = [row["id"] for row in rows if row["alone"]]
        removed.update(label for row in rows if row["alone"] for label in row["labels"])
        graph.write(cypher("load_nodes_unstate"), ids=[row["id"] for row in rows], source=source)
        graph.write(cypher("load_nodes_retire"), ids=alone, release=release)
        retired += len(alone)
        progress("Retiring nodes", min(start + _BATCH, len(ids)), len(ids))
    return retired, removed


def retire_orphans(graph: Graph, release: str) -> tuple[int, Counter[str]]:
    """Retire nodes without a source that no relationship holds any more; results as of `retire_nodes`."""
    rows = graph.rows(cypher("load_nodes_orphaned"))
    for start in range(0, len(rows), _BATCH):
        batch = [row["id"] for row in rows[start : start + _BATCH]]
        graph.write(cypher("load_nodes_retire"), ids=batch, release=release)
    return len(rows), Counter(label for row in rows for label in row["labels"])


def _refuse(account: TableAccount, subject: str) -> None:
    account.loaded -= 1
    account.reject([Reject(0, "subject", subject, COLLISION)])
