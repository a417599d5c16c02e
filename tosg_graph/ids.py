"""Identity: which node a CURIE names, and the key of a relationship."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from tosg_graph.contract import cluster_prefixes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from tosg_graph.types import NodeTable

Lookup = Callable[[str, Sequence[str]], Iterable[tuple[str, str]]]
"""``(label, CURIEs) -> (CURIE, id)`` of stored nodes of that label whose id or xref is the CURIE."""

UNKNOWN = "unknown id"
_MIX_BLOCK = 1 << 16


class IdResolver:
    """Find the entity of a label that a CURIE names: by exact id first, then by an xref only one entity has.

    Several threads may ask.

    Parameters
    ----------
    tables
        Node tables of this load: ``id`` and, where present, ``xrefs``.
    lookup
        Asks the database for what the tables do not hold; None for an empty database.
    joined
        Label -> id -> the entity that it joins; see `tosg_graph.identity`.
    """

    def __init__(
        self,
        tables: Iterable[NodeTable],
        lookup: Lookup | None = None,
        joined: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._joined = joined or {}
        self._tables: dict[str, list[pa.Table]] = defaultdict(list)
        for table in tables:
            self._tables[table.label].append(table.data)
        self._lookup = lookup
        self._clusters = tuple(f"{prefix}:" for prefix in cluster_prefixes())
        self._ids: dict[str, pa.Array] = {}
        self._xrefs: dict[str, dict[str, set[str]]] = {}
        self._stored: dict[str, dict[str, set[str]]] = defaultdict(dict)
        self._one_at_a_time = Lock()

    def resolve(self, label: str, curies: pa.ChunkedArray) -> tuple[pa.DictionaryArray, dict[str, str]]:
        """Resolve many CURIEs at once.

        Parameters
        ----------
        label
            Label that the entity must have.
        curies
            String or dictionary column without nulls, length n.

        Returns
        -------
        ids
            Entity ids, length n; null where the CURIE names no entity, or several.
        reasons
            CURIE -> why it has none: ``unknown id`` or ``ambiguous id (k candidates)``.
        """
        import pyarrow as pa

        given = one_dictionary(curies)
        with self._one_at_a_time:  # what was asked is kept for the next
            found, reasons = self._resolve_distinct(label, given.dictionary)
        encoded = found.dictionary_encode()
        codes = encoded.indices.take(given.indices)
        return pa.DictionaryArray.from_arrays(codes, encoded.dictionary), reasons

    def _resolve_distinct(self, label: str, curies: pa.Array) -> tuple[pa.Array, dict[str, str]]:
        import pyarrow as pa
        import pyarrow.compute as pc

        curies = self._entities(label, curies)
        exact = pc.is_in(curies, value_set=self._ids_of(label))
        open_ones = curies.filter(pc.invert(exact)).to_pylist()
        if not open_ones:
            return curies, {}
        stored = self._stored_of(label, open_ones)
        xrefs = self._xrefs_of(label)
        found: list[str | None] = []
        reasons: dict[str, str] = {}
        for curie in open_ones:
            if curie in stored.get(curie, ()):
                found.append(curie)
                continue
            candidates = self._candidates(label, xrefs.get(curie, set()) | stored.get(curie, set()))
            found.append(next(iter(candidates)) if len(candidates) == 1 else None)
            if len(candidates) != 1:
                reasons[curie] = f"ambiguous id ({len(candidates)} candidates)" if candidates else UNKNOWN
        return pc.replace_with_mask(curies, pc.invert(exact), pa.array(found, pa.string())), reasons

    def _entities(self, label: str, curies: pa.Array) -> pa.Array:
        """Replace ids that joined an entity by its id."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not (joined := self._joined.get(label)):
            return curies
        place = pc.index_in(curies, value_set=pa.array(joined.keys(), pa.string()))
        return pc.coalesce(pa.array(joined.values(), pa.string()).take(place), curies)

    def _candidates(self, label: str, owners: set[str]) -> set[str]:
        """Entities that have an xref; a cluster of several things counts only where nothing else has it."""
        joined = self._joined.get(label, {})
        entities = {joined.get(owner, owner) for owner in owners}
        single = {entity for entity in entities if not entity.startswith(self._clusters)}
        return single or entities

    def _ids_of(self, label: str) -> pa.Array:
        import pyarrow as pa

        if label not in self._ids:
            chunks = [c for data in self._tables[label] for c in data["id"].cast(pa.string()).chunks]
            self._ids[label] = pa.chunked_array(chunks, pa.string()).combine_chunks()
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


def one_dictionary(column: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Return a text column as one array with one dictionary."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    elif column.type != pa.dictionary(pa.int32(), pa.string()):
        column = column.cast(pa.dictionary(pa.int32(), pa.string()))
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # combine_chunks of no chunks at all, or of too many values
        column = (
            column.chunk(0) if column.num_chunks else pa.array([], pa.dictionary(pa.int32(), pa.string()))
        )
    return column


def fulltext_term(value: str) -> str:
    r"""Quote a value so that a full-text index with the ``keyword`` analyzer looks for exactly it.

    >>> fulltext_term('HGNC:5')
    '"HGNC:5"'
    """
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def edge_key(subject: str, verb: str, object_: str, source: str, relation: str | None = None) -> int:
    """Key of one relationship; see `edge_keys`."""
    import pyarrow as pa

    parts = (pa.array([v], pa.string()).dictionary_encode() for v in (subject, object_, source, relation))
    return int(edge_keys(verb, *parts)[0])


def edge_keys(
    verb: str,
    subjects: pa.DictionaryArray,
    objects: pa.DictionaryArray,
    sources: pa.DictionaryArray,
    relations: pa.DictionaryArray | None = None,
) -> npt.NDArray[np.int64]:
    """Return the keys of n relationships of one verb as int64, shape ``(n,)``.

    m is the finalizer of splitmix64 (Steele, Lea and Flood, 2014). The hash h of a text of n bytes of UTF-8 begins as
    n; for each 8 bytes w, read as a little-endian number and filled up with zeros, it becomes ``m(h ^ w)``. The key is
    ``m(m(m(m(h(subject)) ^ h(verb)) ^ h(object)) ^ h(source))``, and ``m(that ^ h(relation))`` where there is a
    relation, read as a signed number. Each text is hashed once, however many relationships it has.
    """
    import numpy as np
    import pyarrow as pa

    verb_hash = _hashes_of(pa.array([verb], pa.string()))[0]
    ends = [
        (_hashes_of(texts.dictionary), texts.indices.to_numpy()) for texts in (subjects, objects, sources)
    ]
    keys = np.empty(len(subjects), np.uint64)
    for start in range(0, len(keys), _MIX_BLOCK):  # a block at a time: stays in the processor's cache
        rows = slice(start, start + _MIX_BLOCK)
        subject, object_, source = (hashes[codes[rows]] for hashes, codes in ends)
        _mix(subject)
        subject ^= verb_hash
        for other in (object_, source):
            _mix(subject)
            subject ^= other
        _mix(subject)
        keys[rows] = subject
    if relations is not None and relations.null_count < len(relations):
        given = relations.is_valid().to_numpy(zero_copy_only=False)
        hashes, codes = _hashes_of(relations.dictionary), relations.drop_null().indices.to_numpy()
        some = keys[given]
        for start in range(0, len(some), _MIX_BLOCK):
            block = some[start : start + _MIX_BLOCK]
            block ^= hashes[codes[start : start + _MIX_BLOCK]]
            _mix(block)
        keys[given] = some
    return keys.view(np.int64)


def _hashes_of(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Hash of each text without a null, uint64, shape ``(n,)``; the n-th 8 bytes of all of them at once."""
    import numpy as np
    import pyarrow as pa

    texts = texts.cast(pa.large_string())
    _, offsets, characters = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    given = np.frombuffer(characters or b"", np.uint8)
    words = np.lib.stride_tricks.sliding_window_view(np.concatenate([given, np.zeros(8, np.uint8)]), 8)
    lengths = np.diff(starts)
    hashes = lengths.astype(np.uint64)
    open_ones, done = np.flatnonzero(lengths), 0
    while len(open_ones):
        left = lengths[open_ones] - done
        word = words[starts[open_ones] + done].view("<u8")[:, 0]
        beyond = 8 * (8 - np.minimum(left, 8)).astype(np.uint64)  # bits of the next text
        mixed = hashes[open_ones] ^ (word << beyond >> beyond)
        _mix(mixed)
        hashes[open_ones] = mixed
        open_ones, done = open_ones[left > 8], done + 8
    return hashes


def _mix(z: npt.NDArray[np.uint64]) -> None:
    """Apply the finalizer of splitmix64 in place."""
    import numpy as np

    z += np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
