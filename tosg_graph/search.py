"""Hits for words and meaning: exact names, full text and vectors, fused by reciprocal rank."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import labels, primary_type
from tosg_graph.errors import QueryError
from tosg_graph.ids import fulltext_term
from tosg_graph.release import graph_release
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

_K = 60  # of reciprocal rank fusion (Cormack, Clarke, Buettcher 2009)
_POOL = 100  # hits taken from each list
_NEIGHBOURS = 1_000  # asked of the vector index when only one kind is wanted
_MAX_LENGTH = 1_000


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
        Vectors count where entities are embedded (`tosg embed`).

    Raises
    ------
    QueryError
        If ``text`` is empty, ``type`` is unknown, nothing is loaded, or nothing is found (the nearest names are
        given).
    """
    import pyarrow as pa

    text = text.strip()
    if not text or len(text) > _MAX_LENGTH:
        raise QueryError(f"Search for 1 to {_MAX_LENGTH:,} characters; these are {len(text):,}.")
    if type is not None and type not in labels():
        near = difflib.get_close_matches(type, labels(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise QueryError(f"{type!r} is no kind of entity.{hint} There are {', '.join(labels())}.")
    if not graph_release(graph):
        raise QueryError(
            "Nothing is loaded that could be searched. Load the demo graph first: tosg load demo"
        )
    exact = graph.rows(
        cypher("search_exact"),
        text=text,
        spellings=sorted({text, text.upper()}),
        term=fulltext_term(text),
        label=type,
        limit=_POOL,
    )
    lists = [
        exact,
        graph.rows(cypher("search_names"), terms=lucene_terms(text), label=type, limit=_POOL),
        graph.rows(cypher("search_text"), terms=lucene_terms(text), label=type, limit=_POOL),
        _by_meaning(graph, text, type),
    ]
    score: dict[str, float] = {hit["id"]: 1.0 if hit["named"] else 0.5 for hit in exact}
    found: dict[str, dict[str, Any]] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            score[hit["id"]] = score.get(hit["id"], 0.0) + 1 / (_K + rank)
            found[hit["id"]] = hit
    if not found:
        near = nearest_names(graph, text)
        hint = f" Nearest names: {', '.join(map(repr, near))}." if near else ""
        raise QueryError(f"Nothing is found for {text!r}.{hint} Are its sources loaded? `tosg load --list`")
    best = sorted(found, key=lambda id_: (-score[id_], id_))[:limit]
    return pa.table(
        {
            "type": pa.array([primary_type(found[i]["labels"]) for i in best], pa.string()),
            "id": pa.array(best, pa.string()),
            "name": pa.array([found[i]["name"] for i in best], pa.string()),
            "score": pa.array([round(score[i], 4) for i in best], pa.float64()),
        }
    )


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


def nearest_names(graph: Graph, text: str, limit: int = 5) -> list[str]:
    """Return names in the graph that are spelled like ``text``, nearest first."""
    words = [re.sub(r"([^\w])", r"\\\1", word) for word in text.split()]
    if not words:
        return []
    terms = " ".join(f"{word}~" for word in words)
    rows = graph.rows(cypher("search_names"), terms=terms, label=None, limit=_POOL)
    names = list(dict.fromkeys(row["name"] for row in rows))
    ratio = {name: difflib.SequenceMatcher(None, text.lower(), name.lower()).ratio() for name in names}
    return sorted(names, key=lambda name: (-ratio[name], name))[:limit]


def lucene_terms(text: str) -> str:
    """Write ``text`` as a Lucene query in which every word is a plain word, and the whole phrase counts more."""
    words = text.split()
    phrase = [f"{fulltext_term(text)}^4"] if len(words) > 1 else []
    return " ".join([*phrase, *map(fulltext_term, words)])


def _by_meaning(graph: Graph, text: str, label: str | None) -> Sequence[dict[str, Any]]:
    dimension = int(schema("nodes")["text_vector"]["dimensions"])

    def ask(vector: list[float], neighbours: int) -> list[dict[str, Any]]:
        return graph.rows(
            cypher("search_vectors"), vector=vector, neighbours=neighbours, label=label, limit=_POOL
        )

    if not ask([1.0, *[0.0] * (dimension - 1)], _NEIGHBOURS if label else 1):
        return []  # nothing of this kind is embedded: loading the encoder would only cost seconds
    from tosg_graph.embeddings import encode

    return ask(encode([text])[0].tolist(), _NEIGHBOURS if label else _POOL)
