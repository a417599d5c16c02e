"""Vectors of entity texts: made once per text, kept in the cache, copied into the vector index.

A vector is stale when the hash it was made of is not the hash of the entity's text any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tosg_graph.annotate import annotate
from tosg_graph.embedding_cache import EmbeddingCache
from tosg_graph.encoders import DEFAULT_ENCODER, Encoder, open_encoder
from tosg_graph.errors import EmbeddingError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher
from tosg_graph.vector_index import GraphEncoder, claim, graph_encoder

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

_SAVE_BATCHES = 8  # batches of the encoder per file; a kill loses at most this many
_READ_BATCH = 5_000
_WRITE_BATCH = 500


@dataclass(frozen=True)
class EmbedReport:
    """What `embed` did: ``entities`` = up to date before + ``written``."""

    entities: int
    annotated: int  # texts that were drawn anew from the graph
    embedded: int  # texts that the encoder read
    from_cache: int  # texts whose vector was in the cache
    written: int  # vectors put into the graph
    stale: int  # of these, those that replaced a vector of another text
    encoder: str
    revision: str
    dimension: int
    device: str  # where the encoder computed; empty where it read nothing
    index: str  # what was done with the vector index


def embed(
    graph: Graph,
    *,
    ids: Sequence[str] | None = None,
    query: str | None = None,
    limit: int | None = None,
    encoder: str | None = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed the texts of entities and put the vectors into the graph's vector index.

    The texts are annotated first. Texts whose vector is cached are not encoded again, and vectors that are up to
    date are not written again. Each batch is kept before the next one starts, so an interrupted run goes on where
    it was.

    Parameters
    ----------
    ids
        Entities to embed; or
    query
        Cypher that returns them; without either, all.
    limit
        At most this many, the first by id.
    encoder
        Name or folder of a sentence-transformers model; without it the one that the graph's vectors are of.
    replace
        Remove all vectors of another encoder first; without it they are a reason to refuse.

    Raises
    ------
    EmbeddingError
        If an id is unknown, the model cannot be loaded, the graph's vectors are of another encoder, or the disk is
        full.
    """
    import pyarrow as pa

    show = progress or silent
    asked = encoder or _encoder_in_use(graph)
    model = open_encoder(asked)
    cache = EmbeddingCache.open(graph.settings.embeddings, model.name, model.revision)
    wanted = _wanted_ids(graph, ids, query)[:limit]
    drawn = annotate(graph, wanted, show)
    targets = embedding_targets(graph, wanted)
    index = "kept"
    if len(targets):
        dimension = cache.dimension if cache.exists else model.dimension  # known without reading the weights
        made_by = GraphEncoder.of(model, asked, dimension)
        index = claim(graph, made_by, replace=replace, progress=show)
    shas = targets["text_sha"].unique()
    missing = shas.filter(pa.array(~cache.has(shas.to_pylist())))
    _fill(graph, cache, model, targets, missing, show)
    written, stale = write_vectors(graph, cache, targets, show)
    return EmbedReport(
        entities=len(targets),
        annotated=drawn.changed,
        embedded=len(missing),
        from_cache=len(shas) - len(missing),
        written=written,
        stale=stale,
        encoder=model.name,
        revision=model.revision,
        dimension=cache.dimension,
        device=model.device if len(missing) else "",
        index=index,
    )


def _encoder_in_use(graph: Graph) -> str:
    held = graph_encoder(graph)
    if held is None:
        return DEFAULT_ENCODER
    if held.imported:
        raise EmbeddingError(
            f"The graph's vectors were imported as {held.name}, and no model can add to them. Name one with --encoder, "
            "and --replace them all."
        )
    return held.folder or held.name


def _fill(
    graph: Graph, cache: EmbeddingCache, model: Encoder, targets: pa.Table, missing: pa.Array, show: Progress
) -> None:
    """Encode the texts that the cache lacks, batch by batch, those of like length together: less padding."""
    import numpy as np
    import pyarrow.compute as pc

    if not len(missing):
        return
    at = pc.index_in(missing, value_set=targets["text_sha"].combine_chunks())
    todo = (
        targets.select(["id", "text_sha", "chars"])
        .take(at)
        .sort_by([("chars", "ascending"), ("text_sha", "ascending")])
    )
    save = _SAVE_BATCHES * model.batch
    for start in range(0, len(todo), save):
        show("Embedding texts", start, len(todo))
        rows = graph.rows(cypher("embed_texts"), ids=todo["id"][start : start + save].to_pylist())
        text_of = {row["text_sha"]: row["text"] for row in rows}
        # An entity may have changed a moment ago, so some may be missing.
        kept = [sha for sha in todo["text_sha"][start : start + save].to_pylist() if sha in text_of]
        vectors = []
        for first in range(0, len(kept), model.batch):
            vectors.append(model.encode([text_of[sha] for sha in kept[first : first + model.batch]]))
            show("Embedding texts", min(start + first + model.batch, len(todo)), len(todo))
        if kept:
            cache.append(kept, np.concatenate(vectors))
    show("Embedding texts", len(todo), len(todo))


def write_vectors(graph: Graph, cache: EmbeddingCache, targets: pa.Table, show: Progress) -> tuple[int, int]:
    """Copy vectors out of the cache to the entities whose vector is of another text or encoder.

    Returns
    -------
    written
        Number of entities that got a vector.
    stale
        Of these, those that had one.
    """
    import pyarrow.compute as pc

    current = pc.and_(
        pc.fill_null(pc.equal(targets["embedding_sha"], targets["text_sha"]), False),
        pc.fill_null(pc.equal(targets["encoder"], cache.encoder), False),
    )
    # After another revision of this encoder, which was removed since the targets were read, none is current.
    if pc.any(current).as_py() and not graph.rows(cypher("vector_embedded_any"))[0]["embedded"]:
        current = pc.and_(current, False)
    pending = targets.filter(pc.invert(current))
    ids_of = defaultdict(list)
    for id_, sha in zip(pending["id"].to_pylist(), pending["text_sha"].to_pylist(), strict=True):
        ids_of[sha].append(id_)
    written = 0
    for shas, vectors in cache.stream(list(ids_of)):
        rows = [
            {"id": id_, "text_sha": sha, "vector": vector}
            for sha, vector in zip(shas.to_pylist(), vectors.tolist(), strict=True)
            for id_ in ids_of.pop(sha, ())  # a hash may be in two files
        ]
        for start in range(0, len(rows), _WRITE_BATCH):
            show("Writing vectors", written, len(pending))
            graph.write(cypher("embed_write"), rows=rows[start : start + _WRITE_BATCH], encoder=cache.encoder)
            written += len(rows[start : start + _WRITE_BATCH])
    if len(pending):
        show("Writing vectors", len(pending), len(pending))
    return written, len(pending) - pending["embedding_sha"].null_count


def _wanted_ids(graph: Graph, ids: Sequence[str] | None, query: str | None) -> list[str]:
    if ids is not None:
        return sorted(set(ids))
    if query is not None:
        from tosg_graph.selection import select

        picked: list[str] = select(graph, query).nodes["id"].to_pylist()
        return sorted(picked)
    return sorted(graph.rows(cypher("embed_ids"))[0]["ids"])


def embedding_targets(graph: Graph, ids: Sequence[str]) -> pa.Table:
    """Read which text each entity has now, and which text and encoder its vector is of.

    Returns
    -------
    Table
        ``id``, ``text_sha``, ``embedding_sha``, ``encoder`` (null without a vector), ``chars`` of the text; one row
        per entity that has a text.

    Raises
    ------
    EmbeddingError
        If an id is not in the graph.
    """
    import pyarrow as pa

    text = {name: pa.string() for name in ("id", "text_sha", "embedding_sha", "encoder")}
    kinds = pa.schema({**text, "chars": pa.int64()})
    parts = [kinds.empty_table()]
    for start in range(0, len(ids), _READ_BATCH):
        batch = list(ids[start : start + _READ_BATCH])
        rows = graph.rows(cypher("embed_targets"), ids=batch)
        if len(rows) < len(batch):
            unknown = sorted(set(batch) - {row["id"] for row in rows})
            raise EmbeddingError(
                f"{len(unknown)} of {len(batch)} ids are not in the graph, first {unknown[0]!r}. `tosg search` finds "
                "ids."
            )
        parts.append(pa.Table.from_pylist([row for row in rows if row["text_sha"]], kinds))
    return pa.concat_tables(parts).combine_chunks()
