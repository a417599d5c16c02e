"""What changed between two releases, by source, and which exports that touches. Needs no server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle, history, stated
from tosg_graph.errors import BundleError, LoadError

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.history import KeptRelease
    from tosg_graph.settings import Settings
    from tosg_graph.stated import Stated

EXAMPLES = 3


@dataclass(frozen=True)
class Diff:
    """What changed from release ``before`` to release ``after``.

    Parameters
    ----------
    changes
        One row per source and label or verb of which something changed: ``source``, ``kind`` (``nodes`` or
        ``relationships``), ``type``, ``added``, ``changed``, ``retired`` and ``examples``: ids, of relationships their
        keys, with ``+``, ``~`` or ``-`` before them. A source whose statements are not kept has ``kind`` ``unknown``.
    bundles
        One row per export: ``bundle``, ``release``, ``state`` and how many of its nodes and relationships have
        changed or are retired.
    """

    before: KeptRelease
    after: KeptRelease
    changes: pa.Table
    bundles: pa.Table


@dataclass
class _Touched:
    """Everything that is not in ``after`` as it was in ``before``; ids may repeat."""

    changed_ids: list[pa.Array]
    retired_ids: list[pa.Array]
    changed_keys: list[pa.Array]
    retired_keys: list[pa.Array]


def diff(
    settings: Settings, before: str | None = None, after: str | None = None, bundles: Sequence[Path] = ()
) -> Diff:
    """Compare two releases by what each source stated.

    Parameters
    ----------
    before, after
        Ids or their beginnings; without them the newest release and the one before it.
    bundles
        Exports to look at beside those that this home recorded.

    Raises
    ------
    LoadError
        If a release is not kept in this home.
    """
    import pyarrow as pa

    folder = settings.stated
    old, new = _chosen(history.releases(folder), before, after)
    touched = _Touched([], [], [], [])
    rows: list[dict[str, Any]] = []
    for source in sorted(new.sources.keys() | old.sources.keys()):
        rows += _changes_of(folder, source, old, new, touched)
    columns = {"source": pa.string(), "kind": pa.string(), "type": pa.string()}
    columns |= dict.fromkeys(("added", "changed", "retired"), pa.int64()) | {
        "examples": pa.list_(pa.string())
    }
    changes = pa.Table.from_pylist(rows, pa.schema(columns))
    folders = dict.fromkeys([*history.recorded_exports(settings.home), *(p.absolute() for p in bundles)])
    return Diff(old, new, changes, _bundle_table(folders, folder, old, new, touched))


def _chosen(
    kept: Sequence[KeptRelease], before: str | None, after: str | None
) -> tuple[KeptRelease, KeptRelease]:
    if not kept:
        raise LoadError("No release is kept in this home; they are kept from the next `tosg load` on.")
    new = history.find(kept, after) if after else kept[-1]
    if before:
        return history.find(kept, before), new
    old = next((release for release in kept if release.id == new.previous), None)
    if old is None:
        known = ", ".join(release.id for release in kept)
        raise LoadError(
            f"The release before {new.id} is not kept here, so there is nothing to compare with; kept: {known}."
        )
    return old, new


# --------------------------------------------------------------------------- statements


def _changes_of(
    folder: Path, source: str, old: KeptRelease, new: KeptRelease, touched: _Touched
) -> Iterator[dict[str, Any]]:
    if source in old.files and old.files[source] == new.files.get(source):
        return
    was, now = (_opened(folder, source, release) for release in (old, new))
    missing = (source in old.sources and was is None) or (source in new.sources and now is None)
    makers = {file.hashed_by for file in (was, now) if file}
    if missing or len(makers) > 1:
        if old.sources.get(source) != new.sources.get(source):
            why = (
                "what it stated is not kept here"
                if missing
                else f"hashed by {' and by '.join(sorted(makers))}"
            )
            yield {"source": source, "kind": "unknown", "type": why, "examples": []}
        return
    yield from _node_changes(source, was, now, touched)
    for verb in sorted({verb for file in (was, now) if file for verb in file.verbs()}):
        yield from _edge_changes(source, verb, was, now, touched)


def _opened(folder: Path, source: str, release: KeptRelease) -> Stated | None:
    return stated.open_file(folder / release.files[source]) if source in release.files else None


def _node_changes(
    source: str, old: Stated | None, new: Stated | None, touched: _Touched
) -> Iterator[dict[str, Any]]:
    import pyarrow.compute as pc

    empty = (new or old).nodes().slice(0, 0)  # type: ignore[union-attr]  # one of the two is there
    was, now = (file.nodes() if file else empty for file in (old, new))
    found = stated.compare(was, now, "id", "own")
    added, changed, retired = found.added, found.changed, found.gone
    touched.changed_ids.append(changed["id"].combine_chunks())
    touched.retired_ids.append(retired["id"].combine_chunks())
    labels = {x for part in (added, changed, retired) for x in pc.unique(part["label"]).to_pylist()}
    for label in sorted(labels):
        parts = [part.filter(pc.equal(part["label"], label)) for part in (added, changed, retired)]
        yield _row(source, "nodes", label, [part["id"] for part in parts])


def _edge_changes(
    source: str, verb: str, old: Stated | None, new: Stated | None, touched: _Touched
) -> Iterator[dict[str, Any]]:
    empty = (new or old).edges(verb).slice(0, 0)  # type: ignore[union-attr]  # one of the two is there
    was, now = (file.edges(verb) if file else empty for file in (old, new))
    found = stated.compare(was, now, "key", "hash")
    parts = [part["key"] for part in (found.added, found.changed, found.gone)]
    touched.changed_keys.append(parts[1].combine_chunks())
    touched.retired_keys.append(parts[2].combine_chunks())
    if any(len(part) for part in parts):
        yield _row(source, "relationships", verb, parts)


def _row(source: str, kind: str, type_: str, parts: Sequence[pa.ChunkedArray]) -> dict[str, Any]:
    """Count what was added, changed and retired, with the first of each in order of their ids."""
    import pyarrow.compute as pc

    examples = []
    for sign, part in zip("+~-", parts, strict=True):
        first = part.take(pc.sort_indices(part)[:EXAMPLES])
        examples += [f"{sign}{value}" for value in first.to_pylist()]
    counts = dict(zip(("added", "changed", "retired"), map(len, parts), strict=True))
    return {"source": source, "kind": kind, "type": type_, **counts, "examples": examples}


# --------------------------------------------------------------------------- exports


def _bundle_table(
    folders: Collection[Path],
    folder: Path,
    old: KeptRelease,
    new: KeptRelease,
    touched: _Touched,
) -> pa.Table:
    import pyarrow as pa

    counts = ("nodes_changed", "nodes_retired", "edges_changed", "edges_retired")
    columns = {"bundle": pa.string(), "release": pa.string(), "state": pa.string()}
    columns |= dict.fromkeys(counts, pa.int64())
    rows: list[dict[str, Any]] = []
    if folders:
        ids = [_joined(parts, pa.string()) for parts in (touched.changed_ids, touched.retired_ids)]
        keys = [_joined(parts, pa.int64()) for parts in (touched.changed_keys, touched.retired_keys)]
        ids = _without_restated(ids, folder, new)
        order = {release.id: release.number for release in history.releases(folder)}
        rows = [{"bundle": str(p), **_bundle(p, ids, keys, order, new, counts)} for p in folders]
    return pa.Table.from_pylist(rows, pa.schema(columns))


def _bundle(
    path: Path,
    ids: Sequence[pa.Array],
    keys: Sequence[pa.Array],
    order: dict[str, int],
    new: KeptRelease,
    counts: Sequence[str],
) -> dict[str, Any]:
    if not path.is_dir():
        return {"state": "missing"}
    try:
        release = str(bundle.read_manifest(path)["graph_release"])
        if order.get(release, -1) >= new.number:
            return {"release": release, "state": "made from this release or a later one"}
        nodes, edges = _held(path)
    except (BundleError, OSError, KeyError, ValueError) as error:
        return {"state": f"unreadable: {error}"}
    import pyarrow.compute as pc

    found = [int(pc.sum(pc.is_in(nodes, value_set=part)).as_py() or 0) for part in ids]
    found += [int(pc.sum(pc.is_in(edges, value_set=part)).as_py() or 0) for part in keys]
    state = "touched" if any(found) else "not touched"
    return {"release": release, "state": state, **dict(zip(counts, found, strict=True))}


def _held(path: Path) -> tuple[pa.Array, pa.Array]:
    """Ids of the nodes and keys of the relationships that a bundle holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = pq.read_table(path / bundle.NODES, columns=["id"])["id"].cast(pa.string()).combine_chunks()
    files = sorted((path / "edges").glob("*.parquet"))
    keys = [pq.read_table(file, columns=["edge_key"])["edge_key"].combine_chunks() for file in files]
    return ids, _joined(keys, pa.int64())


def _without_restated(ids: Sequence[pa.Array], folder: Path, new: KeptRelease) -> list[pa.Array]:
    """Turn nodes that a source dropped but another still states from retired into changed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    changed, retired = ids
    still = np.zeros(len(retired), bool)
    for name in new.files.values() if len(retired) else ():
        if file := stated.open_file(folder / name):
            there = file.nodes()["id"].combine_chunks()
            still |= pc.is_in(retired, value_set=there).to_numpy(zero_copy_only=False)
    kept = retired.filter(pa.array(still))
    return [_joined([changed, kept], pa.string()), retired.filter(pa.array(~still))]


def _joined(parts: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.chunked_array([part.cast(kind) for part in parts], kind).combine_chunks()
