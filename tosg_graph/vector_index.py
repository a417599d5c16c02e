"""The vector index of texts, and which encoder its vectors are of: one at a time, since two cannot be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tosg_graph.errors import EmbeddingError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    from tosg_graph.encoders import Encoder
    from tosg_graph.graph import Graph

_BATCH = 10_000


@dataclass(frozen=True)
class GraphEncoder:
    """What made the vectors of a graph; ``(:Encoder)`` holds it.

    Parameters
    ----------
    name, revision, dimension
        Of the encoder.
    folder
        Where its model is, for one that was given as a folder; empty otherwise.
    imported
        The vectors were made elsewhere: nothing here can make more of them.
    """

    name: str
    revision: str
    dimension: int
    folder: str = ""
    imported: bool = False

    @classmethod
    def of(cls, encoder: Encoder, asked: str, dimension: int) -> GraphEncoder:
        """Describe an encoder that was asked for by a name or a folder."""
        folder = str(encoder.folder) if asked != encoder.name else ""
        return cls(encoder.name, encoder.revision, dimension, folder)


def graph_encoder(graph: Graph) -> GraphEncoder | None:
    """Return what made the vectors of the graph; None where there are none, or they are just being replaced."""
    found = graph.rows(cypher("vector_encoder_read"))
    if not found or found[0].pop("replacing"):
        return None
    return GraphEncoder(**found[0])


def claim(graph: Graph, encoder: GraphEncoder, *, replace: bool, progress: Progress = silent) -> str:
    """Make the index ready for vectors of ``encoder``, and return what was done in words.

    An interrupted replacement is finished by the next call.

    Raises
    ------
    EmbeddingError
        If the graph has vectors of another encoder or revision, and ``replace`` is not set.
    """
    held = graph.rows(cypher("vector_encoder_read"))
    same = bool(held) and (held[0]["name"], held[0]["revision"]) == (encoder.name, encoder.revision)
    if held and not same and not replace:
        raise EmbeddingError(
            f"The graph's vectors are of {held[0]['name']} (revision {held[0]['revision'][:8]}), not of {encoder.name} "
            f"(revision {encoder.revision[:8]}), and two encoders cannot be compared. Leave --encoder out, or add "
            "--replace to remove all vectors first."
        )
    if not same or held[0]["replacing"]:
        graph.write(cypher("vector_encoder_write"), encoder={**asdict(encoder), "replacing": True})
    done = fit_index(graph, encoder.dimension)
    if not same or held[0]["replacing"]:
        keep = (
            "" if held else encoder.name
        )  # a graph without a record has vectors of an older version, if any
        removed = _remove_vectors(graph, keep, progress)
        graph.write(cypher("vector_encoder_write"), encoder={**asdict(encoder), "replacing": False})
        if removed:
            done = f"{removed:,} vectors of another encoder removed; {done}"
    return done


def fit_index(graph: Graph, dimension: int) -> str:
    """Make the index again where its vectors have another length; the schema's own length is that of the default."""
    found = graph.rows(cypher("vector_index_read"))
    before = found[0]["dimension"] if found else None
    if before == dimension:
        return "kept"
    similarity = schema("nodes")["text_vector"]["similarity"]
    graph.write(cypher("vector_index_drop"))
    graph.write(
        cypher("vector_index_create"),
        options={"indexConfig": {"vector.dimensions": dimension, "vector.similarity_function": similarity}},
    )
    graph.rows(cypher("vector_index_await"))
    return f"made for {dimension} dimensions" + (f"; it had {before}" if before else "")


def _remove_vectors(graph: Graph, keep: str, progress: Progress) -> int:
    ids = graph.rows(cypher("vector_embedded_ids"), keep=keep)[0]["ids"]
    for start in range(0, len(ids), _BATCH):
        progress("Removing vectors", start, len(ids))
        graph.write(cypher("vector_remove"), ids=ids[start : start + _BATCH])
    return len(ids)
