"""Load: parsed tables into the graph, by bulk import or by upsert, with a ledger that adds up."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import contract, history, ledger, licences, stated
from tosg_graph import recipe as recipes
from tosg_graph.bulk_csv import write_edges, write_nodes
from tosg_graph.changes import Changes
from tosg_graph.graph_counts import stored_counts
from tosg_graph.home_lock import TEMPORARY, only_one_load
from tosg_graph.identity import find_identity
from tosg_graph.ids import IdResolver, fulltext_term
from tosg_graph.indexes import bring_online
from tosg_graph.memory import give_back
from tosg_graph.merge import MergedEdges, MergedNodes, merge_edges, merge_nodes
from tosg_graph.progress import Progress, silent
from tosg_graph.release import (
    GRAPH_FORMAT,
    content_line,
    graph_release,
    latest_contents,
    release_id,
    stored_release,
)
from tosg_graph.resources import cypher
from tosg_graph.statements import write_statements
from tosg_graph.threads import threads
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Parsed, Source
from tosg_graph.upsert import (
    CREATED,
    REFUSED,
    UPDATED,
    retire_edges,
    retire_nodes,
    retire_orphans,
    upsert_edges,
    upsert_nodes,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from tosg_graph.graph import Graph

__all__ = ["graph_release", "load"]

_LOOKUP_BATCH = 5_000
_MERGED_AT_ONCE = 2  # verbs; each needs memory of its own


@dataclass
class _Work:
    """What one load is about to write, and the accounts of its tables."""

    nodes: MergedNodes
    node_accounts: list[ledger.TableAccount]
    edges: dict[str, MergedEdges]
    edge_accounts: dict[str, list[ledger.TableAccount]]
    in_order: list[ledger.TableAccount]
    merges: pa.Table
    refused: dict[str, pa.Array] = field(default_factory=dict)  # verb -> keys that are another's

    def keys(self, verb: str) -> pa.Array:
        """Keys of all relationships of a verb that this load states, those that are another's too."""
        import pyarrow as pa

        chunks = self.edges[verb].data["edge_key"].chunks if verb in self.edges else []
        refused = [self.refused[verb]] if verb in self.refused else []
        return pa.chunked_array([*chunks, *refused], pa.int64()).combine_chunks()


@dataclass(frozen=True)
class _Said:
    """What is kept of a source when its tables are merged.

    Parameters
    ----------
    properties
        Of its ``(:Source)``.
    node_tables
        Number of its tables of nodes.
    resources
        Keys of all that its relationships name as their source.
    """

    properties: dict[str, Any]
    node_tables: int
    resources: frozenset[str]

    @classmethod
    def by(cls, source: Source, tables: Parsed) -> _Said:
        import pyarrow.compute as pc

        named: set[str] = set()
        for table in tables.edges:
            for name in {"source", "resource"} & set(table.data.column_names):
                named.update(pc.unique(table.data[name].drop_null()).to_pylist())
        kept = (
            "key",
            "title",
            "version",
            "licence",
            "homepage",
            "knowledge_level",
            "note",
            "terms",
            "size_mb",
        )
        properties = {name: getattr(source, name) for name in kept}
        properties |= {"licences": licences.own_licences(tables), "files": list(source.files_read)}
        return cls(properties, len(tables.nodes), frozenset(named))


def load(
    graph: Graph,
    parsed: Iterable[tuple[Source, Parsed]],
    progress: Progress | None = None,
    *,
    skipped: Sequence[LedgerLine] = (),
    recipe: str = "",
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
        Sources and their tables; where two state the same thing, the first in this order wins. Tables of relationships
        are let go as they are merged, so that an iterator that keeps none spares memory.
    skipped
        Lines of sources that were not read; they are kept at the end of the ledger.
    recipe
        What `tosg_graph.recipe.recipe` says of the load; kept for `lines_of_same_load`.

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
    parsed = [(source, _checked(source, tables)) for source, tables in parsed]
    with only_one_load(graph.settings):
        is_empty = graph.rows(cypher("load_is_empty"))[0]["nodes"] == 0
        before = stored_release(graph)
        contents = [content_line(source, tables) for source, tables in parsed]
        # Somebody may have written in Browser since the last load; then every row is compared.
        untouched = before is not None and _is_untouched(graph, before)
        releases = before["releases"] if before else []
        known = {s.key: stated.known(graph.settings.stated, s.key, releases) for s, _ in parsed}
        release = release_id(before["id"] if before else "", contents)
        alone = is_empty or (before is not None and untouched and _states_all(parsed, before["contents"]))
        in_bulk = is_empty and graph.is_local
        if not in_bulk:  # ids are looked up in the indexes, and an upsert needs them
            bring_online(graph, _verbs(parsed), show)
        said = [_Said.by(source, tables) for source, tables in parsed]
        work = _merge(graph, parsed, is_empty, alone, show)
        give_back()
        node_tables = {of.properties["key"]: of.node_tables for of in said}
        files = write_statements(
            graph.settings.stated, node_tables, work.nodes, work.edges, work.edge_accounts
        )
        if work.node_accounts:
            recipes.forget(graph.settings.stated)
        for key, name in files.items():
            stated.announce(graph.settings.stated, key, name)
        give_back()
        if in_bulk:
            expected = _bulk(graph, work, release, show)
        else:
            sure = {key: found.last for key, found in known.items() if found.last and untouched}
            expected = _upsert(graph, work, files, sure, known, releases, release, show)
        found = stored_counts(graph)
        ledger.check_counts(expected, found)
        lines = [*(account.line() for account in work.in_order), *skipped]
        _record(graph, said, work, release, before, contents, lines, found)
        if work.refused:  # a key that is another's must not be retired one day
            files = write_statements(
                graph.settings.stated, node_tables, work.nodes, work.edges, work.edge_accounts
            )
        _remember(graph, files)
        if recipe:
            recipes.remember(graph.settings.stated, recipe, graph_release(graph), list(files), lines)
    return lines


def _checked(source: Source, tables: Parsed) -> Parsed:
    contract.check(tables)
    return licences.settled(source, tables)


def _verbs(parsed: Sequence[tuple[Source, Parsed]]) -> list[str]:
    return list(dict.fromkeys(edges.verb for _, tables in parsed for edges in tables.edges))


def lines_of_same_load(graph: Graph, recipe: str) -> list[LedgerLine]:
    """Ledger of an earlier load of this recipe; empty where the graph is not as it left it."""
    with only_one_load(graph.settings):
        before = stored_release(graph)
        if before is None or not _is_untouched(graph, before):
            return []
        return recipes.lines_of(graph.settings.stated, recipe, before["releases"])


def _is_untouched(graph: Graph, before: dict[str, Any]) -> bool:
    """Whether the graph counts what it did after the newest release."""
    return bool(before["counts"] == _as_text(stored_counts(graph)))


def _states_all(parsed: Sequence[tuple[Source, Parsed]], contents: Sequence[str]) -> bool:
    """Whether every source of the graph is in this load."""
    return {line.split(" ", 1)[0] for line in contents} <= {source.key for source, _ in parsed}


def _merge(
    graph: Graph, parsed: list[tuple[Source, Parsed]], is_empty: bool, alone: bool, show: Progress
) -> _Work:
    """Merge the tables; ``parsed`` is emptied, and each table of relationships is let go when it is merged."""
    claims = {} if alone else _stored_claims(graph, parsed)
    node_tables, edge_tables, node_accounts, edge_accounts, in_order = _opened(parsed)
    parsed.clear()
    total = 1 + len(edge_tables)
    show("Merging tables", 0, total)
    identity = find_identity(node_tables, claims)
    merges = identity.rows(node_tables)
    applied = [
        identity.apply(table, account) for table, account in zip(node_tables, node_accounts, strict=True)
    ]
    node_tables = [table for table, _ in applied]
    merged = merge_nodes(node_tables, node_accounts, [rows for _, rows in applied])
    show("Merging tables", 1, total)
    resolver = IdResolver(
        node_tables,
        None if is_empty else lambda label, curies: _lookup(graph, label, curies),
        {label: identity.entities(label) for label in identity.verdicts},
    )
    of_verbs = list(edge_tables)
    with threads(_MERGED_AT_ONCE) as pool:
        merging = {
            verb: pool.submit(lambda v: merge_edges(v, edge_tables.pop(v), edge_accounts[v], resolver), verb)
            for verb in of_verbs
        }
        pool.submit(lambda: merged.hashes)
        edges_of = {}
        for done, verb in enumerate(of_verbs, start=2):
            edges_of[verb] = merging.pop(verb).result()
            give_back()
            show("Merging tables", done, total)
    return _Work(merged, node_accounts, edges_of, edge_accounts, in_order, merges)


def _opened(
    parsed: Sequence[tuple[Source, Parsed]],
) -> tuple[
    list[NodeTable],
    dict[str, list[EdgeTable]],
    list[ledger.TableAccount],
    dict[str, list[ledger.TableAccount]],
    list[ledger.TableAccount],
]:
    """Tables of nodes, those of relationships by verb, the accounts of each, and all accounts in order."""
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
    return node_tables, edge_tables, node_accounts, edge_accounts, in_order


def _stored_claims(graph: Graph, parsed: Sequence[tuple[Source, Parsed]]) -> dict[str, pa.Table]:
    """Nodes that sources outside this load state, with their xrefs, of each label that this load is about."""
    import pyarrow as pa

    keys = [source.key for source, _ in parsed]
    labels = {nodes.label for _, tables in parsed for nodes in tables.nodes}
    labels |= {x for _, tables in parsed for e in tables.edges for x in (e.subject_label, e.object_label)}
    texts = pa.list_(pa.string())
    schema = pa.schema([("id", pa.string()), ("sources", texts), ("xrefs", texts)])
    found = {}
    for label in sorted(labels):
        if prefixes := list(contract.identity_rules(label)):
            rows = graph.rows(cypher("load_identity"), label=label, sources=keys, prefixes=prefixes)
            found[label] = pa.Table.from_pylist(rows, schema)
    return found


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
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=TEMPORARY) as name:
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
    bring_online(graph, list(work.edges), show)
    _own(work.nodes.owner, work.node_accounts, "created")
    for verb, merged in work.edges.items():
        _own(merged.owner, work.edge_accounts[verb], "created")
    found = Counter({"Entity": len(work.nodes.ids)}) + work.nodes.label_counts
    found.update({verb: len(merged.data) for verb, merged in work.edges.items()})
    return found


def _upsert(
    graph: Graph,
    work: _Work,
    files: Mapping[str, str],
    sure: Mapping[str, stated.Stated],
    known: Mapping[str, stated.Known],
    releases: Collection[str],
    release: str,
    show: Progress,
) -> Counter[str]:
    expected = stored_counts(graph)
    folder, sources = graph.settings.stated, frozenset(known)
    changes = Changes(folder, files, sure, stated.of_others(folder, sources, releases))
    with threads(1) as beside:  # compares while this thread writes; two writers would lock each other out
        same_nodes = beside.submit(changes.same, "", work.nodes.ids)
        same_edges = {v: beside.submit(lambda v: changes.same(v, work.keys(v)), v) for v in work.edges}
        expected.update(_upsert_nodes(graph, work, sources, same_nodes.result(), release, show))
        for verb in work.edges:
            expected[verb] += _upsert_edges(graph, work, verb, same_edges.pop(verb).result(), show)
    for source, found in known.items():
        for file in found.possible:
            expected.subtract(_retire(graph, work, source, file, changes, release, show))
    return expected


def _upsert_nodes(
    graph: Graph,
    work: _Work,
    sources: frozenset[str],
    same: npt.NDArray[np.bool_],
    release: str,
    show: Progress,
) -> Counter[str]:
    """Write nodes; return label -> number of nodes that have got it."""
    status, added = upsert_nodes(graph, work.nodes, sources, release, same, show)
    _own(work.nodes.owner[status == CREATED], work.node_accounts, "created")
    _own(work.nodes.owner[status == UPDATED], work.node_accounts, "updated")
    return added


def _upsert_edges(graph: Graph, work: _Work, verb: str, same: npt.NDArray[np.bool_], show: Progress) -> int:
    """Write relationships of a verb; return how many were created."""
    import pyarrow as pa

    merged, accounts = work.edges[verb], work.edge_accounts[verb]
    status = upsert_edges(graph, verb, merged, accounts, same, show)
    _own(merged.owner[status == CREATED], accounts, "created")
    _own(merged.owner[status == UPDATED], accounts, "updated")
    if (status == REFUSED).any():
        work.refused[verb] = merged.data["edge_key"].combine_chunks().filter(pa.array(status == REFUSED))
        work.edges[verb] = MergedEdges(
            merged.data.filter(pa.array(status != REFUSED)), merged.owner[status != REFUSED]
        )
    return int((status == CREATED).sum())


def _retire(
    graph: Graph,
    work: _Work,
    source: str,
    file: stated.Stated,
    changes: Changes,
    release: str,
    show: Progress,
) -> Counter[str]:
    """Take out of the graph what a source stated in a file and does not any more; relationships before nodes."""
    removed: Counter[str] = Counter()
    own = [account for account in work.in_order if account.source == source]
    for verb in file.verbs():
        keys = changes.gone(source, file, verb, work.keys(verb))
        removed[verb] = retire_edges(graph, verb, keys, show)
        account = next((a for a in work.edge_accounts.get(verb, ()) if a.source == source), own[-1])
        account.retired += removed[verb]
    ids = changes.gone(source, file, "", work.nodes.ids)
    retired, labels = retire_nodes(graph, ids, source, release, show)
    if removed.total():  # a node that only these relationships held goes with them
        orphans, theirs = retire_orphans(graph, release)
        retired, labels = retired + orphans, labels + theirs
    own[0].retired += retired
    return removed + labels


def _remember(graph: Graph, files: Mapping[str, str]) -> None:
    """Note which statements the graph holds now, and in which release; a load that changed nothing made none."""
    now = stored_release(graph)
    assert now, "a load that is over has made a release, or found one"
    folder = graph.settings.stated
    for key, name in files.items():
        stated.settle(folder, key, name, now["id"])
    history.keep(folder, now["id"], now["number"], now["previous"], now["contents"], files)


def _own(owner: npt.NDArray[np.int32], accounts: Sequence[ledger.TableAccount], what: str) -> None:
    for account, count in zip(accounts, np.bincount(owner, minlength=len(accounts)).tolist(), strict=True):
        setattr(account, what, getattr(account, what) + count)


# --------------------------------------------------------------------------- schema, counts, release


def _as_text(counts: Counter[str]) -> str:
    return json.dumps({what: n for what, n in sorted(counts.items()) if n})


def _record(
    graph: Graph,
    said: Sequence[_Said],
    work: _Work,
    release: str,
    before: dict[str, Any] | None,
    contents: list[str],
    lines: list[LedgerLine],
    counts: Counter[str],
) -> None:
    """Write sources, release and ledger, unless the graph already was this release and nothing changed."""
    wrote = any(line.created or line.updated or line.retired for line in lines)
    if before and not wrote and set(contents) <= set(before["contents"]):
        return
    everything = latest_contents(before["contents"] if before else [], contents)
    ledger.write_rejects(graph.settings.ledgers, release, work.in_order)
    ledger.write_merges(graph.settings.ledgers, release, work.merges)
    ledger.write(graph.settings.ledgers, release, lines)
    graph.write(
        cypher("load_release_write"),
        sources=[of.properties for of in said],
        resources=_resources(said, work),
        release={
            "id": release,
            "format": GRAPH_FORMAT,
            "number": before["number"] + 1 if before else 1,
            "previous": before["id"] if before else "",
            "contents": everything,
            "source_versions": [" ".join(line.split(" ")[:-1]) for line in everything],
            "ledger": ledger.to_json(lines),
            "counts": _as_text(counts),
        },
    )


def _resources(said: Sequence[_Said], work: _Work) -> list[dict[str, Any]]:
    """One stub per resource that a source passes on, so that the ``source`` of every edge has its node."""
    import pyarrow.compute as pc

    stated = {key for merged in work.edges.values() for key in pc.unique(merged.data["source"]).to_pylist()}
    stated -= {of.properties["key"] for of in said}
    found: dict[str, dict[str, Any]] = {}
    for of in said:
        title, version, carrier = (of.properties[name] for name in ("title", "version", "key"))
        note = f"Carried by {title} {version}; its own terms apply."
        for key in of.resources:
            if key in stated:
                found.setdefault(key, {"key": key, "title": key, "carried_by": carrier, "note": note})
    return [found[key] for key in sorted(found)]
