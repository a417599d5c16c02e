"""Constraints and indexes of the schema: made where they are missing, and waited for until they are online."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tosg_graph.errors import LoadError
from tosg_graph.progress import Progress
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    from tosg_graph.graph import Graph


def bring_online(graph: Graph, used: Sequence[str], show: Progress) -> None:
    """Create what is missing, and wait for it.

    Parameters
    ----------
    used
        Verbs of the graph; the key of their relationships is unique.

    Raises
    ------
    LoadError
        If an index could not be built.
    """
    statements = [s for name in ("schema_constraints", "schema_indexes") for s in _split(cypher(name))]
    statements += [cypher(f"load_edges_key_{verb.lower()}") for verb in used]
    for done, statement in enumerate(statements):
        show("Constraints and indexes", done, len(statements))
        graph.write(statement)
    while waiting := graph.rows(cypher("schema_await")):
        failed = [row["name"] for row in waiting if row["state"] == "FAILED"]
        if failed:
            raise LoadError(
                f"The index {failed[0]!r} could not be built. Look for it in the server's log, drop it "
                f"(DROP INDEX {failed[0]}) and load again."
            )
        time.sleep(0.2)
    show("Constraints and indexes", len(statements), len(statements))


def _split(text: str) -> list[str]:
    code = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    return [statement.strip() for statement in code.split(";\n") if statement.strip(" ;\n")]
