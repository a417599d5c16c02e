"""Annotation lines: what the graph says around an entity, drawn into its text.

``text`` is the entity's own lines (`tosg_graph.text`) and then the lines of ``schema/annotations.yaml``. A load writes
own lines when they change; this step writes the whole. What was annotated with today's graph and rules carries their
stamp and is not looked at again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import labels
from tosg_graph.progress import Progress, silent
from tosg_graph.release import graph_release
from tosg_graph.resources import cypher, schema
from tosg_graph.text import TEXT_COLUMNS, clean, entity_text, text_sha

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

_BATCH = 2_000
_STEP = re.compile(r"(<?)([A-Z_]+)(>?) ([A-Za-z]+)")


@dataclass(frozen=True)
class AnnotateReport:
    """What `annotate` did: ``entities`` = up to date before + ``read``."""

    entities: int
    read: int  # whose neighbours were read
    changed: int  # whose text is another now


def annotate(
    graph: Graph, ids: Sequence[str] | None = None, progress: Progress | None = None
) -> AnnotateReport:
    """Draw what the graph says around entities into their texts.

    Batches are transactions of their own; an interrupted run goes on where it was. A text that a load has changed
    since it was read is left to the next run.

    Parameters
    ----------
    ids
        Entities; all without it. Those that are not in the graph are passed over.
    """
    show = progress or silent
    stamp = annotation_stamp(graph)
    known = (
        sorted(set(ids))
        if ids is not None
        else sorted(graph.rows(cypher("annotate_ids"), stamp=stamp)[0]["ids"])
    )
    read = changed = 0
    for start in range(0, len(known), _BATCH):
        show("Annotating texts", start, len(known))
        rows = graph.rows(cypher("annotate_read"), ids=known[start : start + _BATCH], stamp=stamp)
        writes = list(_writes(graph, rows, stamp))
        if writes:
            graph.write(cypher("annotate_write"), rows=writes)
        read += len(rows)
        changed += sum("text" in write["set"] for write in writes)
    if known:
        show("Annotating texts", len(known), len(known))
    total = len(known) if ids is not None else graph.rows(cypher("annotate_count"))[0]["entities"]
    return AnnotateReport(total, read, changed)


def annotation_stamp(graph: Graph) -> str:
    """Return what annotated entities carry: a hash of the graph's release and of the rules of this program."""
    said = json.dumps([graph_release(graph), schema("annotations"), TEXT_COLUMNS], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def annotated_text(node: Mapping[str, Any], lines: Sequence[str]) -> str:
    """Text of an entity: its own lines, then its annotation lines."""
    return "\n".join([entity_text(node), *lines])


def annotation_lines(found: Mapping[str, Iterable[str] | None]) -> list[str]:
    """Write the lines of an entity.

    Parameters
    ----------
    found
        Title -> names, in the order of the lines; None where there are more than the rules read.

    Returns
    -------
    list of str
        ``Title: a; b (and 3 more)``, ``Title: more than 2,000``; nothing for a title without names.
    """
    rules = schema("annotations")
    lines = []
    for title, names in found.items():
        if names is None:
            lines.append(f"{title}: more than {rules['hub']:,}")
            continue
        distinct = set(map(clean, names)) - {""}
        shown = list(_fitting(nsmallest(rules["names"], distinct), rules["chars"]))
        if shown:
            more = f" (and {len(distinct) - len(shown):,} more)" if len(distinct) > len(shown) else ""
            lines.append(f"{title}: {'; '.join(shown)}{more}")
    return lines


def _fitting(names: Iterable[str], chars: int) -> Iterator[str]:
    """Yield the names that fit into a line; one that is too long alone is cut."""
    left = chars
    for name in names:
        if len(name) > left:
            if left == chars:
                yield name[:chars].rstrip()
            return
        yield name
        left -= len(name) + len("; ")


def _writes(graph: Graph, rows: Sequence[dict[str, Any]], stamp: str) -> Iterator[dict[str, Any]]:
    around = _around(graph, rows)
    for row in rows:
        text = annotated_text(row, annotation_lines(around[row["id"]]))
        sha = text_sha(text)
        new: dict[str, str] = {"annotated": stamp}
        if sha != row["text_sha"]:
            new |= {"text": text, "text_sha": sha}
        yield {"id": row["id"], "before": row["text_sha"], "set": new}


def _around(graph: Graph, rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, set[str] | None]]:
    """Names around each entity; of one with several labels, the lines of all, the first of each title."""
    found: dict[str, dict[str, set[str] | None]] = {row["id"]: {} for row in rows}
    rules = schema("annotations")
    for label in labels():  # in schema order
        ids = [row["id"] for row in rows if label in row["labels"]]
        for title, paths in rules["labels"].get(label, {}).items() if ids else ():
            names = _named(graph, ids, paths, rules["hub"])
            for id_ in ids:
                found[id_].setdefault(title, names.get(id_, set()))
    return found


def _named(graph: Graph, ids: Sequence[str], paths: Sequence[str], hub: int) -> dict[str, set[str] | None]:
    """Names at the ends of several paths, together."""
    found: dict[str, set[str] | None] = {}
    for path in paths:
        for row in graph.rows(cypher(_statement_name(path)), ids=ids, limit=hub + 1):
            so_far = found.setdefault(row["id"], set())
            if so_far is not None:
                found[row["id"]] = so_far | set(row["names"]) if row["ends"] <= hub else None
    return found


# --------------------------------------------------------------------------- generated Cypher


@dataclass(frozen=True)
class Step:
    """One step of a path: ``ENCODES> Protein``."""

    verb: str
    label: str
    against: bool
    along: bool

    def pattern(self, name: str = "") -> str:
        """Write it as a Cypher relationship."""
        return f"{'<' if self.against else ''}-[{name}:{self.verb}]-{'>' if self.along else ''}"


@cache
def steps(path: str) -> tuple[Step, ...]:
    """Read a path of ``schema/annotations.yaml``: one step or two."""
    found = _STEP.findall(path)
    return tuple(Step(verb, label, bool(left), bool(right)) for left, verb, right, label in found)


def annotation_statements() -> dict[str, str]:
    """Return the statements that read names around entities: name in ``cypher/`` -> text, one per path."""
    titles = schema("annotations")["labels"].values()
    every = {path for of_label in titles for paths in of_label.values() for path in paths}
    return {_statement_name(path): _statement(steps(path)) for path in sorted(every)}


@cache
def _statement_name(path: str) -> str:
    ways = {(True, False): "_from", (False, True): "_to", (False, False): ""}
    parts = (f"{s.verb}{ways[s.against, s.along]}_{s.label}" for s in steps(path))
    return "annotate_" + "_".join(parts).lower()


def _statement(path: Sequence[Step]) -> str:
    """Read names at the end of a path; nodes are n, a (on the way) and m (the end)."""
    way, test = "(n)", []
    for number, step in enumerate(path):
        there = "m" if number == len(path) - 1 else "a"
        way += f"{step.pattern(f'r{number}')}({there}:{step.label})"
        test.append(f"NOT coalesce(r{number}.negated, false)")
    return (
        "// Names at the end of this path, of at most $limit nodes there: no hub is read to its end.\n"
        "UNWIND $ids AS id\nMATCH (n:Entity {id: id})\n"
        f"CALL (n) {{\n  MATCH {way}\n  WHERE {' AND '.join(test)}\n"
        "  WITH DISTINCT m LIMIT $limit\n  RETURN collect(m.name) AS names, count(m) AS ends\n}\n"
        "WITH n, names, ends WHERE ends > 0\nRETURN n.id AS id, names, ends"
    )
