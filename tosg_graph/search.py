"""Hits for words and meaning: exact names, full text and vectors, fused by reciprocal rank."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import labels, primary_type
from tosg_graph.errors import EmbeddingError, QueryError
from tosg_graph.graph_counts import NOTHING_LOADED
from tosg_graph.ids import fulltext_term
from tosg_graph.resources import cypher
from tosg_graph.spellings import curies, spellings, symbols

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

_K = 60  # of reciprocal rank fusion (Cormack, Clarke, Buettcher 2009)
_POOL = 100  # hits taken from each list
_DEPTH = 10_000  # hits looked through when only one kind is wanted: a full-text index knows no labels
_NEIGHBOURS = 1_000  # the same, of the vector index
_EXACT = 500  # hits looked through for one that is called exactly that; short names come first
_MAX_LENGTH = 1_000
_ALIKE = 0.6  # a name that is spelled like the text, 1 being equal


def search(graph: Graph, text: str, *, limit: int = 10, type: str | None = None) -> pa.Table:
    """Find entities by what they are called and by what their text means.

    Parameters
    ----------
    text
        Words, a symbol or a CURIE. All of it is data: Lucene operators have no meaning here.
    limit
        At most this many hits.
    type
        Only this label, e.g. ``Pathway``.

    Returns
    -------
    Table
        ``type``, ``id``, ``name``, ``score``: the sum over the lists of ``1 / (60 + rank)``, plus 1 for the exact
        id or name, plus 0.5 for an exact symbol, synonym or CURIE that means the same; best first, ties by id.
        Vectors count where entities are embedded (`tosg embed`). `did_you_mean` and `note` read its metadata.

    Raises
    ------
    QueryError
        If ``text`` is empty, ``type`` is unknown, nothing is loaded, or nothing is found (the nearest names are
        given).
    EmbeddingError
        If the model that the graph's vectors are of is not here, or is another revision.
    """
    text = " ".join(text.split())
    _check(text, type)
    state = graph.rows(cypher("search_state"))[0]
    if not state["loaded"]:
        raise QueryError(f"There is nothing to search: {NOTHING_LOADED}.")
    said = _said(graph, text, type)
    near, note = _by_meaning(graph, text, type, state["encoder"])
    score: dict[str, float] = {hit["id"]: 1.0 if hit["named"] else 0.5 for hit in said["exact"]}
    found: dict[str, dict[str, Any]] = {}
    for hits in (said["exact"], said["called"], said["told"], near):
        for rank, hit in enumerate(hits, start=1):
            score[hit["id"]] = score.get(hit["id"], 0.0) + 1 / (_K + rank)
            found[hit["id"]] = hit
    misspelt = not said["exact"] and (said["unknown"] or not found)
    alike = nearest_names(graph, text, label=type) if misspelt else []
    if not found:
        hint = f" Nearest names: {', '.join(map(repr, alike))}." if alike else ""
        raise QueryError(f"Nothing is found for {text!r}.{hint} Are its sources loaded? `tosg load --list`")
    best = sorted(found, key=lambda id_: (-score[id_], id_))[:limit]
    return _table([found[id_] for id_ in best], score, _alike(text, alike), note)


def did_you_mean(found: pa.Table) -> list[str]:
    """Return names that may have been meant, where a word of the search is nowhere in the graph."""
    names: list[str] = json.loads((found.schema.metadata or {}).get(b"did_you_mean", b"[]"))
    return names


def note(found: pa.Table) -> str:
    """Return what is to be known about a search, in one line; mostly nothing."""
    said: bytes = (found.schema.metadata or {}).get(b"note", b"")
    return said.decode()


def neighbourhood(graph: Graph, ids: Sequence[str], *, hops: int = 1, cap: int = 10) -> pa.Table:
    """Walk away from entities, step by step.

    Parameters
    ----------
    ids
        Where to begin.
    hops
        How many steps.
    cap
        At most this many relationships of each node and step, the first by verb and id; a hub has thousands.

    Returns
    -------
    Table
        ``hop``, ``from``, ``verb`` (``<-VERB`` where it leads to ``from``), ``type``, ``id``, ``name``, ``statements``
        (relationships that say so). An entity that was reached before is shown, but not walked from again.
    """
    import pyarrow as pa

    seen, here = set(ids), list(ids)
    rows: list[dict[str, Any]] = []
    for hop in range(1, hops + 1):
        found = graph.rows(cypher("search_hop"), ids=here, cap=cap)
        rows += [
            {
                "hop": hop,
                "from": row["name"],
                "verb": row["verb"] if row["outward"] else f"<-{row['verb']}",
                "type": primary_type(row["labels"]),
                "id": row["other"],
                "name": row["other_name"],
                "statements": row["statements"],
            }
            for row in found
        ]
        here = sorted({row["other"] for row in found} - seen)
        seen.update(here)
    text = {name: pa.string() for name in ("from", "verb", "type", "id", "name")}
    kinds = {"hop": pa.int64(), **text, "statements": pa.int64()}
    return pa.Table.from_pylist(rows, pa.schema(kinds))


def nearest_names(graph: Graph, text: str, limit: int = 5, *, label: str | None = None) -> list[str]:
    """Return names in the graph that are spelled like ``text``, nearest first."""
    words = re.findall(r"\w+", text.lower())
    if not words:
        return []
    terms = " ".join(f"{word}~" for word in words)
    depth = _DEPTH if label else 2 * _POOL
    rows = graph.rows(cypher("search_alike"), terms=terms, label=label, limit=_POOL, depth=depth)
    names = list(dict.fromkeys(row["name"] for row in rows))
    return sorted(names, key=lambda name: (-_likeness(text, name), name))[:limit]


def lucene_terms(text: str) -> str:
    """Write ``text`` as a Lucene query in which every word is a plain word, and the whole phrase counts more.

    Other spellings of it count as much as the phrase; a hyphen parts words for the index as a space does.
    """
    words = text.split()
    phrase = [f"{fulltext_term(text)}^4"] if len(words) > 1 else []
    own = _parts(text)
    others = {_parts(other): other for other in spellings(text)}
    others.pop(own, None)
    phrase += [f"{fulltext_term(other)}^4" for _, other in sorted(others.items())]
    return " ".join([*phrase, *map(fulltext_term, words)])


def _parts(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _check(text: str, type: str | None) -> None:
    if not text or len(text) > _MAX_LENGTH:
        raise QueryError(f"Search for 1 to {_MAX_LENGTH:,} characters; these are {len(text):,}.")
    if type is not None and type not in labels():
        near = difflib.get_close_matches(type, labels(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise QueryError(f"{type!r} is no kind of entity.{hint} There are {', '.join(labels())}.")


def _said(graph: Graph, text: str, label: str | None) -> dict[str, Any]:
    """Hits by words: ``exact``, ``called`` (names), ``told`` (texts); ``unknown``: words that are nowhere."""
    ways, ids = spellings(text), curies(text)
    found = graph.rows(
        cypher("search_said"),
        curies=ids,
        symbols=symbols(text),
        spellings=ways,
        phrases=" ".join(map(fulltext_term, dict.fromkeys([text, *ways]))),
        xrefs=" ".join(map(fulltext_term, ids)),
        terms=lucene_terms(text),
        words=[fulltext_term(word) for word in dict.fromkeys(text.split()) if re.search(r"\w\w", word)],
        label=label,
        limit=_POOL,
        exact=_EXACT,
        depth=_DEPTH if label else 2 * _POOL,
    )
    return found[0]


def _by_meaning(
    graph: Graph, text: str, label: str | None, made_by: Mapping[str, Any] | None
) -> tuple[list[dict[str, Any]], str]:
    if made_by is None or made_by["replacing"]:
        return (
            [],
            "The graph's vectors are being replaced: words only. Run tosg embed again." if made_by else "",
        )
    if made_by["imported"]:
        return (
            [],
            f"The graph's vectors were imported as {made_by['name']}; no model reads the question: words only.",
        )

    def ask(vector: list[float], neighbours: int) -> list[dict[str, Any]]:
        return graph.rows(
            cypher("search_vectors"), vector=vector, neighbours=neighbours, label=label, limit=_POOL
        )

    from tosg_graph.encoders import open_encoder

    encoder = open_encoder(made_by["folder"] or made_by["name"])
    neighbours = _NEIGHBOURS if label else _POOL
    if not encoder.is_loaded:
        if encoder.revision != made_by["revision"]:
            raise EmbeddingError(
                f"The graph's vectors are of {made_by['name']} revision {made_by['revision'][:8]}, the model here is "
                f"{encoder.revision[:8]}. Bring that model back, or run tosg embed --replace."
            )
        if label and not ask([1.0, *[0.0] * (made_by["dimension"] - 1)], neighbours):
            return [], ""  # nothing of this kind is embedded: loading the encoder would only cost seconds
    return ask(encoder.encode([text])[0].tolist(), neighbours), ""


def _likeness(text: str, name: str) -> float:
    return difflib.SequenceMatcher(None, text.lower(), name.lower()).ratio()


def _alike(text: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if _likeness(text, name) >= _ALIKE]


def _table(
    hits: Sequence[Mapping[str, Any]], score: Mapping[str, float], near: list[str], note: str
) -> pa.Table:
    import pyarrow as pa

    metadata = {"did_you_mean": json.dumps(near)} if near else {}
    if note:
        metadata["note"] = note
    return pa.table(
        {
            "type": pa.array([primary_type(hit["labels"]) for hit in hits], pa.string()),
            "id": pa.array([hit["id"] for hit in hits], pa.string()),
            "name": pa.array([hit["name"] for hit in hits], pa.string()),
            "score": pa.array([round(score[hit["id"]], 4) for hit in hits], pa.float64()),
        },
        metadata=metadata or None,
    )
