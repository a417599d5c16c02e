"""How much the graph holds: entities by label, relationships by verb, genes that anything is said of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tosg_graph import walk
from tosg_graph.contract import labels, verbs
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph


NOTHING_LOADED = (
    "nothing is loaded. Load the demo graph first: tosg load demo; `tosg load --list` shows all sources"
)


def nothing_loaded(graph: Graph) -> bool:
    """Whether the graph holds no entity, so that no question has an answer."""
    return not graph.rows(cypher("count_any"))[0]["loaded"]


def by_label(graph: Graph) -> pa.Table:
    """Columns ``label`` and ``entities``, most first; an entity with two labels counts for both."""
    import pyarrow as pa

    rows = graph.rows(cypher("load_count_labels"))
    found = sorted((-row["nodes"], row["label"]) for row in rows if row["nodes"] and row["label"] in labels())
    return pa.table(
        {
            "label": pa.array([label for _, label in found], pa.string()),
            "entities": pa.array([-count for count, _ in found], pa.int64()),
        }
    )


def by_verb(graph: Graph) -> pa.Table:
    """Columns ``verb`` and ``relationships``, most first."""
    import pyarrow as pa

    rows = graph.rows(cypher("count_verbs"), verbs=verbs())
    return pa.table(
        {
            "verb": pa.array([row["verb"] for row in rows], pa.string()),
            "relationships": pa.array([row["relationships"] for row in rows], pa.int64()),
        }
    )


def connected_genes(graph: Graph) -> pa.Table:
    """One row: ``genes``, and of them ``connected``, which have any relationship."""
    return graph.columns(cypher("count_connected_genes"))


def stored_counts(graph: Graph) -> Counter[str]:
    """Count entities per label, and relationships per verb."""
    found = Counter({row["label"]: row["nodes"] for row in graph.rows(cypher("load_count_labels"))})
    for verb in verbs():
        found[verb] = walk.count(graph, verb)
    return found
