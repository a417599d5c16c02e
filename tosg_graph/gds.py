"""Runs of graph data science: values on the nodes, tagged by the run that wrote them, and the run itself."""

from __future__ import annotations

import difflib
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph import walk
from tosg_graph.errors import GdsError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

PREFIX = "gds_"  # of the properties that runs write
SEED = 42
_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}")
_OURS = {"G", "self", "mutate_property", "sudo", "username", "job_id", "log_progress", "kwargs"}


@dataclass(frozen=True)
class Algorithm:
    """One algorithm of OpenGDS as we call it.

    Parameters
    ----------
    endpoint
        Attribute of the ``graphdatascience`` client.
    gives
        ``score``: a number. ``group``: the number of a community. ``vector``: a list of numbers.
    fixed
        What makes two runs on the same graph equal; options of the caller win.
    """

    name: str
    endpoint: str
    gives: str
    meaning: str
    fixed: Mapping[str, Any]


_ALONE = {"concurrency": 1}  # several threads would race for the order of moves
ALGORITHMS = {
    a.name: a
    for a in (
        Algorithm("pagerank", "page_rank", "score", "importance by the importance of what points here", {}),
        Algorithm("degree", "degree", "score", "number of relationships", {}),
        Algorithm("betweenness", "betweenness", "score", "how many shortest paths lead through", {}),
        Algorithm("wcc", "wcc", "group", "connected components", {"consecutive_ids": True}),
        Algorithm(
            "louvain", "louvain", "group", "communities by modularity", {**_ALONE, "consecutive_ids": True}
        ),
        Algorithm(
            "leiden",
            "leiden",
            "group",
            "well connected communities",
            {**_ALONE, "random_seed": SEED, "consecutive_ids": True},
        ),
        Algorithm(
            "labelpropagation",
            "label_propagation",
            "group",
            "communities by majority of neighbours",
            {**_ALONE, "consecutive_ids": True},
        ),
        Algorithm(
            "fastrp",
            "fast_rp",
            "vector",
            "vectors by random projection",
            {**_ALONE, "random_seed": SEED, "embedding_dimension": 128},
        ),
        Algorithm(
            "node2vec",
            "node2vec",
            "vector",
            "vectors by random walks",
            {**_ALONE, "random_seed": SEED, "embedding_dimension": 128},
        ),
    )
}


@dataclass(frozen=True)
class Run:
    """What one run wrote: ``property`` of ``nodes`` nodes; ``top`` is the table to show."""

    id: str
    algorithm: str
    projection: str
    property: str
    nodes: int
    relationships: int
    top: pa.Table

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        return {
            "run": self.id,
            "projection": f"{self.projection}: {self.nodes:,} nodes, {self.relationships:,} relationships",
            "written": f"{self.property} on {self.nodes:,} nodes",
        }


def run(
    graph: Graph,
    algorithm: str,
    projection: str,
    *,
    name: str | None = None,
    options: Mapping[str, Any] | None = None,
    top: int = 10,
    progress: Progress | None = None,
) -> Run:
    """Run an algorithm on a canned projection and write its values to the nodes, as ``gds_<name>``.

    What an earlier run of this name wrote is replaced. The projection is gone afterwards, also after Ctrl-C.

    Parameters
    ----------
    algorithm
        Key of `ALGORITHMS`.
    projection
        Name in ``schema/projections.yaml``.
    name
        Of the run; ``<algorithm>_<projection>`` by default.
    options
        Of the algorithm, as the ``graphdatascience`` client calls them.
    top
        Most rows of the table that comes back.

    Raises
    ------
    GdsError
        If a name or an option is unknown, the graph holds nothing of the projection, or the server refuses.
    """
    chosen = ALGORITHMS.get(algorithm)
    if chosen is None:
        raise GdsError(_unknown("algorithm", algorithm, ALGORITHMS))
    run_id = _run_id(name or f"{algorithm}_{projection}")
    progress = progress or silent
    progress(f"Running {algorithm} on {projection}", 0, 1)
    with _client(graph) as client, _projected(client, graph, projection, f"tosg_{run_id}") as projected:
        endpoint = getattr(client, chosen.endpoint)
        given = _checked(endpoint, chosen, options or {})
        _interruptible(
            graph,
            projected.name(),
            lambda: endpoint.mutate(projected, mutate_property="value", **given),
        )
        _forget(graph, run_id)
        written = client.graph.node_properties.write(projected, {"value": PREFIX + run_id})
        relationships = int(projected.relationship_count())
    _record(graph, run_id, chosen, projection, given, int(written.properties_written))
    progress(f"Running {algorithm} on {projection}", 1, 1)
    return Run(
        run_id,
        algorithm,
        projection,
        PREFIX + run_id,
        int(written.properties_written),
        relationships,
        _top(graph, chosen, PREFIX + run_id, top),
    )


def runs(graph: Graph) -> pa.Table:
    """All runs whose values are in the graph, one row each."""
    import pyarrow as pa

    names = ("run", "algorithm", "projection", "property", "nodes", "parameters", "release")
    kinds = {name: pa.int64() if name == "nodes" else pa.string() for name in names}
    return pa.Table.from_pylist(graph.rows(cypher("gds_run_list")), pa.schema(kinds))


def remove(graph: Graph, run_id: str) -> int:
    """Remove what a run wrote; returns how many nodes had a value.

    Raises
    ------
    GdsError
        If there is no such run.
    """
    known = runs(graph)["run"].to_pylist()
    removed = _forget(graph, run_id)
    if not removed and run_id not in known:
        raise GdsError(_unknown("run", run_id, known))
    return removed


def projections() -> dict[str, dict[str, Any]]:
    """Return the canned projections by name: ``meaning``, ``labels``, ``verbs`` with their direction."""
    found: dict[str, dict[str, Any]] = schema("projections")["projections"]
    return found


# --------------------------------------------------------------------------- inside


def _run_id(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise GdsError(f"{name!r} is no name of a run. Use up to 61 small letters, digits and underscores.")
    return name


def _unknown(what: str, name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(known)) or 'none'}."
    return f"No {what} is called {name!r}. {hint}"


@contextmanager
def _client(graph: Graph) -> Iterator[Any]:
    """Yield the client of the algorithms on our own connection; the server's refusals become one line."""
    from graphdatascience import GraphDataScience
    from neo4j.exceptions import Neo4jError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own deprecated parts
            yield GraphDataScience(
                graph.driver, database=graph._database, aura_ds=False, arrow=False, show_progress=False
            )
    except Neo4jError as error:
        message = " ".join((error.message or str(error)).split()).split("Caused by: ")[-1]
        raise GdsError(f"The server did not run it: {message}") from error


@contextmanager
def _projected(client: Any, graph: Graph, projection: str, name: str) -> Iterator[Any]:
    """Yield the part of the graph in the server's memory, and drop it in any case."""
    labels, verbs = _present(graph, projection)
    try:
        if client.graph.exists(name):
            client.graph.drop(name)  # its process was killed
        yield client.graph.project.native(name, labels, verbs).graph
    finally:
        client.graph.drop(name, fail_if_missing=False)


def _interruptible(graph: Graph, name: str, work: Callable[[], object]) -> None:
    """Do ``work`` in a thread: the driver would wait for its end before it lets a Ctrl-C through."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            future.result()
        except KeyboardInterrupt:
            with graph._errors(), graph.driver.session(database=graph._database) as session:
                text: Any = cypher("gds_terminate")
                session.run(text, name=name).consume()
            raise


def _present(graph: Graph, projection: str) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Labels and verbs of the projection that the graph has."""
    known = projections()
    if projection not in known:
        raise GdsError(_unknown("projection", projection, known))
    counted = {row["label"] for row in graph.rows(cypher("load_count_labels")) if row["nodes"]}
    labels = [label for label in known[projection]["labels"] if label in counted]
    # Counted, not listed: a constraint keeps a verb in the server's list that no relationship has.
    verbs = {v: {"orientation": o} for v, o in known[projection]["verbs"].items() if walk.count(graph, v)}
    if not labels or not verbs:
        raise GdsError(
            f"The graph has no {', '.join(known[projection]['verbs'])} between "
            f"{', '.join(known[projection]['labels'])}. Load a source that states them: tosg load --list"
        )
    return labels, verbs


def _checked(endpoint: Any, algorithm: Algorithm, options: Mapping[str, Any]) -> dict[str, Any]:
    known = set(inspect.signature(endpoint.mutate).parameters) - _OURS
    for name in options:
        if name not in known:
            raise GdsError(_unknown(f"option of {algorithm.name}", name, sorted(known)))
    return {**algorithm.fixed, **options}


def _forget(graph: Graph, run_id: str) -> int:
    graph.write(cypher("gds_run_remove"), id=run_id)
    with graph._errors(), graph.driver.session(database=graph._database) as session:
        text: Any = cypher("gds_clear")  # in batches, so not within one transaction
        record = session.run(text, property=PREFIX + run_id).single(strict=True)
    return int(record["nodes"])


def _record(
    graph: Graph, run_id: str, algorithm: Algorithm, projection: str, given: Mapping[str, Any], nodes: int
) -> None:
    from tosg_graph.release import graph_release

    told = {
        "id": run_id,
        "algorithm": algorithm.name,
        "projection": projection,
        "property": PREFIX + run_id,
        "nodes": nodes,
        "parameters": json.dumps(dict(given), sort_keys=True),
        "release": graph_release(graph),
    }
    graph.write(cypher("gds_run_write"), run=told)


def _top(graph: Graph, algorithm: Algorithm, name: str, limit: int) -> pa.Table:
    import pyarrow as pa

    from tosg_graph.contract import primary_type

    if algorithm.gives == "group":
        rows = graph.rows(cypher("gds_top_groups"), property=name, limit=limit)
        kinds = pa.schema({"group": pa.int64(), "nodes": pa.int64(), "members": pa.list_(pa.string())})
        return pa.Table.from_pylist(rows, kinds)
    if algorithm.gives == "vector":
        return pa.table({"type": pa.array([], pa.string())})
    rows = graph.rows(cypher("gds_top_scores"), property=name, limit=limit)
    shown = [{**row, "type": primary_type(row["labels"])} for row in rows]
    kinds = pa.schema({"type": pa.string(), "id": pa.string(), "name": pa.string(), "value": pa.float64()})
    return pa.Table.from_pylist(shown, kinds)
