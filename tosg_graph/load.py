"""Load: parsed tables into the graph, by bulk import or by upsert, with a ledger that adds up."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import contract, ledger
from tosg_graph.bulk_csv import write_edges, write_nodes
from tosg_graph.errors import LoadError
from tosg_graph.ids import IdResolver, fulltext_term
from tosg_graph.merge import MergedEdges, MergedNodes, merge_edges, merge_nodes
from tosg_graph.progress import Progress, silent
from tosg_graph.release import content_line, graph_release, latest_contents, release_id, stored_release
from tosg_graph.resources import cypher
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Parsed, Source
from tosg_graph.upsert import CREATED, REFUSED, UPDATED, upsert_edges, upsert_nodes

if TYPE_CHECKING:
    import numpy.typing as npt

    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

__all__ = ["graph_release", "load"]

_LOOKUP_BATCH = 5_000


@dataclass
class _Work:
    """What one load is about to write, and the accounts of its tables."""

    nodes: MergedNodes
    node_accounts: list[ledger.TableAccount]
    edges: dict[str, MergedEdges]
    edge_accounts: dict[str, list[ledger.TableAccount]]
    in_order: list[ledger.TableAccount]


def load(
    graph: Graph, parsed: Sequence[tuple[Source, Parsed]], progress: Progress | None = None
) -> list[LedgerLine]:
    """Load sources into the graph.

    All tables are checked before anything is written. An empty database of the local server is filled by bulk
    import (the server restarts); any other is upserted in batches, writing only what differs. The ledger is
    checked against ``count()`` in the database, kept as ``(:Release)`` and as a file in ``settings.ledgers``.
    A load that died is finished by running it again.

    Parameters
    ----------
    graph
        A connected graph.
    parsed
        Sources and their tables; where two state the same thing, the first in this order wins.

    Returns
    -------
    list of LedgerLine
        One per table, in the order given, nodes before edges within a source.

    Raises
    ------
    ContractError
        If a table breaks the contract; nothing was written.
    LedgerError
        If rows do not add up, or the database counts differ from the ledger.
    LoadError
        If another process is loading into the same home, or the import fails.
    """
    show = progress or silent
    for _, tables in parsed:
        contract.check(tables)
    with _only_one(graph.settings):
        is_empty = graph.rows(cypher("load_is_empty"))[0]["nodes"] == 0
        if not is_empty:
            _apply_schema(graph, show)  # upsert needs the indexes
        work = _merge(graph, parsed, is_empty, show)
        before = stored_release(graph)
        contents = [content_line(source, tables) for source, tables in parsed]
        release = release_id(before["id"] if before else "", contents)
        if is_empty and graph.is_local:
            expected = _bulk(graph, work, release, show)
        else:
            if is_empty:
                _apply_schema(graph, show)
            expected = _upsert(graph, work, frozenset(s.key for s, _ in parsed), release, show)
        ledger.check_counts(expected, _counts(graph, list(work.edges)))
        lines = [account.line() for account in work.in_order]
        _record(graph, parsed, work, release, before, contents, lines)
    return lines


def _merge(graph: Graph, parsed: Sequence[tuple[Source, Parsed]], is_empty: bool, show: Progress) -> _Work:
    node_tables: list[NodeTable] = []
    edge_tables: dict[str, list[EdgeTable]] = {}
    node_accounts: list[ledger.TableAccount] = []
    edge_accounts: dict[str, list[ledger.TableAccount]] = {}
    in_order = []
    for _, tables in parsed:
        for nodes in tables.nodes:
            node_tables.append(nodes)
            node_accounts.append(ledger.open_account(nodes))
            in_order.append(node_accounts[-1])
        for edges in tables.edges:
            edge_tables.setdefault(edges.verb, []).append(edges)
            edge_accounts.setdefault(edges.verb, []).append(ledger.open_account(edges))
            in_order.append(edge_accounts[edges.verb][-1])
    total = 1 + len(edge_tables)
    show("Merging tables", 0, total)
    merged = merge_nodes(node_tables, node_accounts)
    show("Merging tables", 1, total)
    resolver = IdResolver(
        node_tables, None if is_empty else lambda label, curies: _lookup(graph, label, curies)
    )
    edges_of = {}
    for done, (verb, of_verb) in enumerate(edge_tables.items(), start=2):
        edges_of[verb] = merge_edges(verb, of_verb, edge_accounts[verb], resolver)
        show("Merging tables", done, total)
    return _Work(merged, node_accounts, edges_of, edge_accounts, in_order)


def _lookup(graph: Graph, label: str, curies: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Ask the database which entities of a label have a CURIE as id or as xref."""
    for start in range(0, len(curies), _LOOKUP_BATCH):
        batch = list(curies[start : start + _LOOKUP_BATCH])
        ids = set(graph.rows(cypher("load_lookup_ids"), ids=batch, label=label)[0]["ids"])
        yield from ((i, i) for i in ids)
        terms = [[curie, fulltext_term(curie)] for curie in batch if curie not in ids]
        yield from graph.rows(cypher("load_lookup_xrefs"), xrefs=terms, label=label)[0]["pairs"]


# --------------------------------------------------------------------------- the two ways in


def _bulk(graph: Graph, work: _Work, release: str, show: Progress) -> Counter[str]:
    from tosg_graph import server

    settings = graph.settings
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=_TEMPORARY) as name:
        folder = Path(name)
        show("Writing import files", 0, 1 + len(work.edges))
        nodes = list(write_nodes(work.nodes, release, folder))
        edges = []
        for done, (verb, merged) in enumerate(work.edges.items(), start=1):
            show("Writing import files", done, 1 + len(work.edges))
            if len(merged.data):
                edges.append(write_edges(verb, merged, work.nodes.ids, folder))
        show("Writing import files", 1 + len(work.edges), 1 + len(work.edges))
        report = folder / "report.txt"
        graph.restart_around(
            lambda: server.admin_import(settings, nodes, edges, report, show, id_type="integer"), show
        )
    _apply_schema(graph, show)
    _own(work.nodes.owner, work.node_accounts, "created")
    for verb, merged in work.edges.items():
        _own(merged.owner, work.edge_accounts[verb], "created")
    found = Counter({"Entity": len(work.nodes.ids)}) + work.nodes.label_counts
    found.update({verb: len(merged.data) for verb, merged in work.edges.items()})
    return found


def _upsert(
    graph: Graph, work: _Work, loaded_sources: frozenset[str], release: str, show: Progress
) -> Counter[str]:
    import pyarrow as pa

    expected = _counts(graph, list(work.edges))
    status, added = upsert_nodes(graph, work.nodes, loaded_sources, release, show)
    expected.update(added)
    _own(work.nodes.owner[status == CREATED], work.node_accounts, "created")
    _own(work.nodes.owner[status == UPDATED], work.node_accounts, "updated")
    for verb, merged in work.edges.items():
        accounts = work.edge_accounts[verb]
        status = upsert_edges(graph, verb, merged, accounts, show)
        _own(merged.owner[status == CREATED], accounts, "created")
        _own(merged.owner[status == UPDATED], accounts, "updated")
        expected[verb] += int((status == CREATED).sum())
        if (status == REFUSED).any():
            work.edges[verb] = MergedEdges(
                merged.data.filter(pa.array(status != REFUSED)), merged.owner[status != REFUSED]
            )
    return expected


def _own(owner: npt.NDArray[np.int32], accounts: Sequence[ledger.TableAccount], what: str) -> None:
    for account, count in zip(accounts, np.bincount(owner, minlength=len(accounts)).tolist(), strict=True):
        setattr(account, what, getattr(account, what) + count)


# --------------------------------------------------------------------------- schema, counts, release


def _apply_schema(graph: Graph, show: Progress) -> None:
    """Create constraints and indexes that are missing, and wait until they are online."""
    statements = [s for name in ("schema_constraints", "schema_indexes") for s in _split(cypher(name))]
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


def _counts(graph: Graph, verbs: Sequence[str]) -> Counter[str]:
    """Count entities per label, and relationships per verb."""
    found = Counter({row["label"]: row["nodes"] for row in graph.rows(cypher("load_count_labels"))})
    for verb in verbs:
        found[verb] = graph.rows(cypher(f"load_edges_count_{verb.lower()}"))[0]["edges"]
    return found


def _record(
    graph: Graph,
    parsed: Sequence[tuple[Source, Parsed]],
    work: _Work,
    release: str,
    before: dict[str, Any] | None,
    contents: list[str],
    lines: list[LedgerLine],
) -> None:
    """Write sources, release and ledger, unless the graph already was this release and nothing changed."""
    wrote = any(line.created or line.updated for line in lines)
    if before and not wrote and set(contents) <= set(before["contents"]):
        return
    everything = latest_contents(before["contents"] if before else [], contents)
    ledger.write_rejects(graph.settings.ledgers, release, work.in_order)
    ledger.write(graph.settings.ledgers, release, lines)
    graph.write(
        cypher("load_release_write"),
        sources=[_source_properties(source) for source, _ in parsed],
        resources=_resources(parsed, work),
        release={
            "id": release,
            "number": before["number"] + 1 if before else 1,
            "previous": before["id"] if before else "",
            "contents": everything,
            "source_versions": [" ".join(line.split(" ")[:-1]) for line in everything],
            "ledger": ledger.to_json(lines),
        },
    )


def _source_properties(source: Source) -> dict[str, Any]:
    return {
        "key": source.key,
        "title": source.title,
        "version": source.version,
        "licence": source.licence,
        "homepage": source.homepage,
        "knowledge_level": source.knowledge_level,
        "note": source.note,
    }


def _resources(parsed: Sequence[tuple[Source, Parsed]], work: _Work) -> list[dict[str, Any]]:
    """One stub per resource that a source passes on, so that the ``source`` of every edge has its node."""
    import pyarrow.compute as pc

    keys = {source.key for source, _ in parsed}
    stated = {key for merged in work.edges.values() for key in pc.unique(merged.data["source"]).to_pylist()}
    found: dict[str, dict[str, Any]] = {}
    for source, tables in parsed:
        for table in tables.edges:
            for name in {"source", "resource"} & set(table.data.column_names):
                for key in pc.unique(table.data[name].drop_null()).to_pylist():
                    if key in stated - keys:
                        note = f"Carried by {source.title} {source.version}; its own terms apply."
                        found.setdefault(
                            key, {"key": key, "title": key, "carried_by": source.key, "note": note}
                        )
    return [found[key] for key in sorted(found)]


# --------------------------------------------------------------------------- one load at a time

_TEMPORARY = ".import-"


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Hold the lock of this home, and clear what a killed load left behind."""
    from filelock import FileLock, Timeout

    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.home / "load.lock", timeout=0):
            for left in settings.home.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(left)
            yield
    except Timeout as error:
        raise LoadError(f"Another process is loading into {settings.home}; wait until it is done.") from error
