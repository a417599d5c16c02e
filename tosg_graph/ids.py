"""Identity: which node a CURIE names, and the key of a relationship."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from tosg_graph.types import NodeTable

Lookup = Callable[[str, Sequence[str]], Iterable[tuple[str, str]]]
"""``(label, CURIEs) -> (CURIE, id)`` of stored nodes of that label whose id or xref is the CURIE."""

UNKNOWN = "unknown id"


class IdResolver:
    """Find the entity of a label that a CURIE names: by exact id first, then by an xref only one entity has.

    Parameters
    ----------
    tables
        Node tables of this load: ``id`` and, where present, ``xrefs``.
    lookup
        Asks the database for what the tables do not hold; None for an empty database.
    """

    def __init__(self, tables: Iterable[NodeTable], lookup: Lookup | None = None) -> None:
        self._tables: dict[str, list[pa.Table]] = defaultdict(list)
        for table in tables:
            self._tables[table.label].append(table.data)
        self._lookup = lookup
        self._ids: dict[str, set[str]] = {}
        self._xrefs: dict[str, dict[str, set[str]]] = {}
        self._stored: dict[str, dict[str, set[str]]] = defaultdict(dict)

    def resolve(self, label: str, curies: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[str, str]]:
        """Resolve many CURIEs at once.

        Parameters
        ----------
        label
            Label that the entity must have.
        curies
            String column without nulls, length n.

        Returns
        -------
        ids
            Entity ids, length n; null where the CURIE names no entity, or several.
        reasons
            CURIE -> why it has none: ``unknown id`` or ``ambiguous id (k candidates)``.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        distinct = pc.unique(curies).cast(pa.string())
        found, reasons = self._resolve_distinct(label, distinct.to_pylist())
        at = pc.index_in(curies.cast(pa.string()), value_set=distinct)
        return pc.take(pa.chunked_array([pa.array(found, pa.string())]), at), reasons

    def _resolve_distinct(self, label: str, curies: list[str]) -> tuple[list[str | None], dict[str, str]]:
        ids = self._ids_of(label)
        open_ones = [c for c in curies if c not in ids]
        stored = self._stored_of(label, open_ones)
        xrefs = self._xrefs_of(label) if open_ones else {}
        found: list[str | None] = []
        reasons: dict[str, str] = {}
        for curie in curies:
            if curie in ids or curie in stored.get(curie, ()):
                found.append(curie)
                continue
            candidates = xrefs.get(curie, set()) | stored.get(curie, set())
            found.append(next(iter(candidates)) if len(candidates) == 1 else None)
            if len(candidates) != 1:
                reasons[curie] = f"ambiguous id ({len(candidates)} candidates)" if candidates else UNKNOWN
        return found, reasons

    def _ids_of(self, label: str) -> set[str]:
        if label not in self._ids:
            self._ids[label] = {i for data in self._tables[label] for i in data["id"].to_pylist()}
        return self._ids[label]

    def _stored_of(self, label: str, curies: list[str]) -> dict[str, set[str]]:
        """Ask the database once for each CURIE; several tables name the same genes."""
        stored = self._stored[label]
        if self._lookup:
            unasked = [curie for curie in curies if curie not in stored]
            stored.update((curie, set()) for curie in unasked)
            for curie, entity in self._lookup(label, unasked) if unasked else ():
                stored[curie].add(entity)
        return stored

    def _xrefs_of(self, label: str) -> dict[str, set[str]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        if label not in self._xrefs:
            found: dict[str, set[str]] = defaultdict(set)
            for data in self._tables[label]:
                if "xrefs" not in data.column_names or pa.types.is_null(data["xrefs"].type):
                    continue
                owners = pc.take(data["id"], pc.list_parent_indices(data["xrefs"]))
                for xref, owner in zip(
                    pc.list_flatten(data["xrefs"]).to_pylist(), owners.to_pylist(), strict=True
                ):
                    if xref:
                        found[xref].add(owner)
            self._xrefs[label] = found
        return self._xrefs[label]


def fulltext_term(value: str) -> str:
    r"""Quote a value so that a full-text index with the ``keyword`` analyzer looks for exactly it.

    >>> fulltext_term('HGNC:5')
    '"HGNC:5"'
    """
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def edge_key(subject: str, verb: str, object_: str, source: str) -> int:
    """Key of a relationship: blake2b-64 of ``subject|verb|object|source``, read as little-endian, signed."""
    text = f"{subject}|{verb}|{object_}|{source}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def edge_keys(
    verb: str, subjects: list[str], objects: list[str], sources: list[str]
) -> npt.NDArray[np.int64]:
    """Return the `edge_key` of n relationships of one verb as int64, shape ``(n,)``."""
    import numpy as np

    keys = (edge_key(s, verb, o, source) for s, o, source in zip(subjects, objects, sources, strict=True))
    return np.fromiter(keys, dtype=np.int64, count=len(subjects))
