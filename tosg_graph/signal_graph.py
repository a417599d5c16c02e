"""Findings in the graph: relationships SIGNAL_FOUND, tagged by the run that found them, and the run as `(:Run)`.

A finding about an edge lies beside the relationships that it is about, one about a node or a pathway leads from it to
itself, and `(:Run)` leads to no entity: so nothing is nearer to anything than before. Loads, releases and selections
leave the type alone.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import SignalError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph
    from tosg_graph.signal_comparison import Comparison
    from tosg_graph.signal_findings import Findings

SIGNAL, COMPARISON = "signal", "comparison"  # kinds of runs; those of `tosg gds` have none
BATCH = 10_000  # findings of a transaction
_EXAMPLES = 3


@dataclass(frozen=True)
class Rows:
    """What is written of a run.

    Parameters
    ----------
    nodes
        ``id``, ``kind`` (node, pathway), ``values``.
    edges
        ``source``, ``target``, ``verb``, ``sign``, ``values``.
    """

    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.nodes) + len(self.edges)

    @property
    def counts(self) -> dict[str, int]:
        """How many of each kind."""
        pathways = sum(row["kind"] == "pathway" for row in self.nodes)
        return {"nodes": len(self.nodes) - pathways, "pathways": pathways, "edges": len(self.edges)}

    @property
    def sha256(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(json.dumps([self.nodes, self.edges], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Written:
    """What is in the graph of a run.

    Parameters
    ----------
    unknown
        Findings that were left out since the graph lacks what they are about.
    again
        Whether it all was there before.
    """

    run: str
    counts: Mapping[str, int]
    unknown: int
    again: bool
    notes: tuple[str, ...]

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        said = ", ".join(f"{n:,} {what}" for what, n in self.counts.items())
        facts = {
            "in the graph": f"{said}{' (they were there already)' if self.again else ''}",
            "run": self.run,
        }
        if self.unknown:
            facts["left out"] = f"{self.unknown:,} findings about what the graph lacks"
        if self.notes:
            facts["to know"] = "; ".join(self.notes)
        query = "signal_comparison" if self.run.startswith(COMPARISON) else "signal_subgraph"
        return facts | {
            "rows": f"tosg query {query} --param run={self.run}",
            "picture": "tosg db console, then the saved query of that name: it draws the newest run",
        }


def write(
    graph: Graph,
    found: Findings,
    *,
    skip_unknown: bool = False,
    made_for: str | None = None,
    progress: Progress = silent,
) -> Written:
    """Write what was found; the same findings again change nothing.

    Parameters
    ----------
    skip_unknown
        Write the others where the graph lacks nodes or edges that findings are about, and count them.
    made_for
        Comparison with which the run is removed.

    Raises
    ------
    SignalError
        If it lacks some otherwise; nothing is written then.
    """
    contrast = found.about["contrast"]
    about = {
        "kind": SIGNAL,
        **{name: contrast[name] for name in ("by", "case", "control", "donor", "within")},
        "where": [f"{column} = {value}" for column, value in contrast["where"]],
        **{name: found.about[name] for name in ("score", "null", "fdr", "permutations", "seed", "verdict")},
        "reasons": found.about["reasons"],
        "donors": [arm["donors"] for arm in found.about["units"]["arms"]],
        "bundle": found.about["bundle"]["manifest_sha256"],
        "bundle_release": found.about["bundle"]["graph_release"],
        "software": found.about["software"]["tosg-graph"],
    }
    return _write(graph, found.run_id, about, rows(found), skip_unknown, progress, made_for)


def write_comparison(
    graph: Graph, compared: Comparison, *, skip_unknown: bool = False, progress: Progress = silent
) -> Written:
    """Write a comparison: a run per group, and one of the comparison that leads to them.

    Raises
    ------
    SignalError
        As `write`.
    """
    said = compared.about
    groups = [{"name": name, "run": found.run_id} for name, found in compared.groups.items()]
    about = {
        "kind": COMPARISON,
        "over": said["over"],
        "groups": [group["name"] for group in groups],
        **{name: said[name] for name in ("score", "fdr")},
        "software": said["software"]["tosg-graph"],
        "bundle_release": said["groups"][0]["bundle"]["graph_release"],
    }
    chosen = compared_rows(compared)
    if not skip_unknown:
        _known(graph, chosen, about["bundle_release"], skip_unknown)  # before any group is written
    for found in compared.groups.values():
        write(graph, found, skip_unknown=skip_unknown, made_for=compared.run_id, progress=progress)
    return _write(graph, compared.run_id, about, chosen, skip_unknown, progress, groups=groups)


def runs(graph: Graph) -> pa.Table:
    """All runs of signaling inference, one row each: what they compared, and how many findings are there."""
    import pyarrow as pa

    found = [_listed(row) for row in graph.rows(cypher("signal_run_list"))]
    names = (
        "run",
        "kind",
        "compares",
        "pathways",
        "edges",
        "nodes",
        "there",
        "release",
        "bundle_release",
        "state",
    )
    numbers = {"pathways", "edges", "nodes", "there"}
    kinds = pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in names])
    return pa.Table.from_pylist(found, kinds)


def remove(graph: Graph, run: str) -> int:
    """Remove a run and all it found; of a comparison, also the runs that were written with it.

    Returns
    -------
    int
        How many findings were there.

    Raises
    ------
    SignalError
        If there is no such run, or it belongs to a comparison.
    """
    known = {row["run"]["id"]: row for row in graph.rows(cypher("signal_run_list"))}
    if run not in known:
        near = difflib.get_close_matches(run, list(known), n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known) or 'none'}."
        raise SignalError(f"No run of signaling inference is called {run!r}. {hint}")
    if part_of := known[run]["comparisons"]:
        raise SignalError(f"{run} is a group of {part_of[0]}. Remove that: tosg signal remove {part_of[0]}")
    removed = _forget(graph, run)
    for group in known[run]["own"]:
        if known[group]["comparisons"] == [run]:
            removed += _forget(graph, group)
    return removed


# --------------------------------------------------------------------------- rows


def rows(found: Findings) -> Rows:
    """Return what was found as it is written; pathways with the same members each have what was found of one."""
    nodes = [
        {"id": row["id"], "kind": "node", "values": _picked(row, "difference", "p", "q")}
        for row in _found(found.nodes)
    ]
    for row in _found(found.pathways):
        for id_ in sorted({row["id"], *row["same_as"]}):
            values = _picked(row, "difference", "p", "q", "leading") | {"direction": row["kind"]}
            nodes.append({"id": id_, "kind": "pathway", "values": values})
    edges = [_edge(row, _picked(row, "difference", "p", "q")) for row in _found(found.edges)]
    return Rows(nodes, edges)


def compared_rows(compared: Comparison) -> Rows:
    """Return what any group found: ``sharing``, the ``groups`` that found it, their mean difference and least q."""
    nodes = [{"id": row["id"], "kind": "node", "values": _shared(row)} for row in _any(compared.nodes)]
    leading: dict[str, set[str]] = {}
    for found in compared.groups.values():
        for row in _found(found.pathways):
            for id_ in (row["id"], *row["same_as"]):
                leading.setdefault(id_, set()).update(row["leading"])
    for row in _any(compared.pathways):
        for id_ in sorted({row["id"], *row["same_as"]}):
            values = _shared(row) | {"leading": sorted(leading.get(id_, ()))}
            nodes.append({"id": id_, "kind": "pathway", "values": values})
    return Rows(nodes, [_edge(row, _shared(row)) for row in _any(compared.edges)])


def _found(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.filter(table["found"]).to_pylist()
    return found


def _any(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.filter(table["sharing"].is_valid()).to_pylist()
    return found


def _picked(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _edge(row: Mapping[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    ends = {"source": row["source_id"], "target": row["target_id"]}
    return ends | _picked(row, "verb", "sign") | {"values": values | _picked(row, "sources", "edge_keys")}


def _shared(row: Mapping[str, Any]) -> dict[str, Any]:
    groups = row["found_in"]
    return {
        "sharing": row["sharing"],
        "groups": groups,
        "difference": sum(row[f"difference:{group}"] for group in groups) / len(groups),
        "q": min(row[f"q:{group}"] for group in groups),
    }


# --------------------------------------------------------------------------- writing


def _write(
    graph: Graph,
    run: str,
    about: Mapping[str, Any],
    found: Rows,
    skip_unknown: bool,
    progress: Progress,
    made_for: str | None = None,
    groups: Sequence[Mapping[str, str]] = (),
) -> Written:
    from tosg_graph.release import graph_release

    known = _known(graph, found, about["bundle_release"], skip_unknown)
    release = graph_release(graph)
    notes = (
        [f"the bundle is of release {about['bundle_release']}, the graph is {release or 'of none'}"]
        if release != about["bundle_release"]
        else []
    )
    there = next((row for row in graph.rows(cypher("signal_run_list")) if row["run"]["id"] == run), None)
    unknown = len(found) - len(known)
    if there and _is_whole(there, known):
        return Written(run, known.counts, unknown, True, tuple(notes))
    if there:
        _clear(graph, run)
    graph.write(cypher("signal_index"))
    graph.write(cypher("signal_run_begin"), id=run, kind=about["kind"], made_for=made_for)
    done = 0
    for name, part in (("nodes", known.nodes), ("edges", known.edges)):
        for batch in _batches(part):
            graph.write(cypher(f"signal_write_{name}"), run=run, rows=batch)
            progress("Writing findings", done := done + len(batch), len(known))
    facts = {
        **about,
        "id": run,
        **known.counts,
        "unknown": unknown,
        "sha256": known.sha256,
        "release": release,
    }
    _check_written(graph, run, len(known))
    graph.write(cypher("signal_run_groups"), id=run, groups=list(groups))
    graph.write(cypher("signal_run_end"), run=facts)
    return Written(run, known.counts, unknown, False, tuple(notes))


def _known(graph: Graph, found: Rows, release: str, skip_unknown: bool) -> Rows:
    """Findings about what the graph has."""
    ids = sorted(
        {row["id"] for row in found.nodes} | {row[e] for row in found.edges for e in ("source", "target")}
    )
    lacking: set[str] = set()
    for batch in _batches(ids):
        lacking.update(graph.rows(cypher("signal_unknown_nodes"), ids=batch)[0]["ids"])
    edges = [row for row in found.edges if not {row["source"], row["target"]} & lacking]
    unstated: set[int] = set()
    for start in range(0, len(edges), BATCH):
        part = [[row["source"], row["verb"], row["target"]] for row in edges[start : start + BATCH]]
        places = graph.rows(cypher("signal_unknown_edges"), rows=part)[0]["places"]
        unstated.update(start + place for place in places)
    kept = Rows(
        [row for row in found.nodes if row["id"] not in lacking],
        [row for place, row in enumerate(edges) if place not in unstated],
    )
    if len(kept) < len(found) and not skip_unknown:
        missing = [*sorted(lacking)]
        missing += ["{source} -{verb}-> {target}".format(**edges[place]) for place in sorted(unstated)]
        raise SignalError(
            f"{len(found) - len(kept):,} of {len(found):,} findings are about what the graph lacks (such as "
            f"{', '.join(missing[:_EXAMPLES])}); the bundle is of release {release}. Load what it was made of, or "
            "write the others with --skip-unknown."
        )
    return kept


def _is_whole(there: Mapping[str, Any], found: Rows) -> bool:
    run = there["run"]
    return bool(run["complete"]) and run["sha256"] == found.sha256 and there["there"] == len(found)


def _check_written(graph: Graph, run: str, expected: int) -> None:
    there = next(row["there"] for row in graph.rows(cypher("signal_run_list")) if row["run"]["id"] == run)
    if there != expected:
        raise SignalError(
            f"{there:,} of {expected:,} findings of {run} are in the graph: it changed meanwhile. Write them again."
        )


def _forget(graph: Graph, run: str) -> int:
    removed = _clear(graph, run)
    graph.write(cypher("signal_run_remove"), id=run)
    return removed


def _clear(graph: Graph, run: str) -> int:
    with graph._errors(), graph.driver.session(database=graph._database) as session:
        text: Any = cypher("signal_clear")  # in batches, so not within one transaction
        return int(session.run(text, id=run).single(strict=True)["findings"])


def _batches(rows: Sequence[Any]) -> Iterable[list[Any]]:
    return (list(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH))


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    run = row["run"]
    state = "complete" if run["complete"] else "incomplete: write it again, or remove it"
    counts = {name: run.get(name) for name in ("pathways", "edges", "nodes")}
    if run["complete"] and row["there"] < sum(counts.values()):
        state = "some of what it found was retired"
    return {
        "run": run["id"],
        "kind": run["kind"],
        "compares": _compares(run),
        **counts,
        "there": row["there"],
        "release": run.get("release"),
        "bundle_release": run.get("bundle_release"),
        "state": state,
    }


def _compares(run: Mapping[str, Any]) -> str:
    if run["kind"] == COMPARISON:
        over = f"each {run['over']}: " if run.get("over") else ""
        return over + ", ".join(run.get("groups", ()))
    if "by" not in run:
        return ""  # it was never finished
    where = "".join(f", {held}" for held in run.get("where", ()))
    return f"{run['by']} = {run['case']} against {run.get('control', 'the others')}{where}"
