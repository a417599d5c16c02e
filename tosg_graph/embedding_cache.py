"""Vectors by the hash of their text, in Parquet: one folder per revision of an encoder, one file per batch.

A text is encoded once; graphs, exports and later runs read its vector here.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import EmbeddingError
from tosg_graph.resources import schema

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_FORMAT = "float16"


@dataclass(frozen=True)
class EmbeddingCache:
    """Vectors by text hash: Parquet files of 16-bit floats, in one folder per revision of an encoder."""

    folder: Path
    encoder: str
    revision: str

    @classmethod
    def open(cls, folder: Path, encoder: str, revision: str) -> EmbeddingCache:
        """Open the cache of an encoder below ``folder``; it may not exist yet.

        Two models of one name have two revisions, so they never share a folder.

        Raises
        ------
        EmbeddingError
            If it was written by a version of another format.
        """
        own, before = (re.sub(r"[^A-Za-z0-9.-]+", "_", s) for s in (f"{encoder}-{revision[:12]}", encoder))
        cache = cls(Path(folder) / own, encoder, revision)
        older = replace(
            cache, folder=Path(folder) / before
        )  # of a version that named it by the encoder alone
        if (
            not cache.folder.exists()
            and older._says().items() >= {"revision": revision, "format": _FORMAT}.items()
        ):
            return older
        cache._meta()
        return cache

    @property
    def exists(self) -> bool:
        """Whether anything was ever cached."""
        return self._meta() is not None

    @property
    def dimension(self) -> int:
        """Length of the vectors; that of the schema's vector index where nothing is cached yet."""
        meta = self._meta()
        return int(meta["dimension"]) if meta else int(schema("nodes")["text_vector"]["dimensions"])

    def has(self, text_shas: Sequence[str]) -> NDArray[np.bool_]:
        """Which texts have a vector, bool ``(n,)``."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted = pa.array(text_shas, pa.string())
        found = np.zeros(len(wanted), np.bool_)
        for path in self._parts():
            known = pq.read_table(path, columns=["text_sha"])["text_sha"].combine_chunks()
            found |= pc.is_in(wanted, value_set=known).to_numpy(zero_copy_only=False)
        return found

    def stream(self, text_shas: Sequence[str]) -> Iterator[tuple[pa.Array, NDArray[np.float32]]]:
        """Yield, file by file, the wanted hashes that are there and their vectors, float32 ``(k, dimension)``."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted = pa.array(text_shas, pa.string())
        for path in self._parts():
            known = pq.read_table(path, columns=["text_sha"])["text_sha"].combine_chunks()
            at = np.flatnonzero(pc.is_in(known, value_set=wanted).to_numpy(zero_copy_only=False))
            if len(at):
                rows = pq.read_table(path, columns=["vector"])["vector"].combine_chunks().take(pa.array(at))
                vectors = rows.flatten().to_numpy(zero_copy_only=False).reshape(len(at), -1)
                yield known.take(pa.array(at)), vectors.astype(np.float32)

    def lookup(self, text_shas: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return float32 ``(n, dim)`` vectors and bool ``(n,)``: which are there; the others are zero."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        vectors = np.zeros((len(text_shas), self.dimension), np.float32)
        found = np.zeros(len(text_shas), np.bool_)
        wanted = pa.array(text_shas, pa.string())
        for shas, rows in self.stream(text_shas):
            place = pc.index_in(wanted, value_set=shas)
            hit = place.is_valid().to_numpy(zero_copy_only=False)
            vectors[hit] = rows[place.drop_null().to_numpy()]
            found |= hit
        return vectors, found

    def append(self, text_shas: Sequence[str], vectors: NDArray[np.floating[Any]]) -> None:
        """Add vectors as one file, complete or not at all.

        Raises
        ------
        EmbeddingError
            If the cache holds vectors of another length, a value is no 16-bit float, or the disk is full.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.parquet as pq

        with np.errstate(over="ignore"):
            halves = vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            raise EmbeddingError(
                f"{self.encoder} gives values that are not finite 16-bit floats. Choose another encoder."
            )
        flat = pa.array(halves.ravel(), pa.float16())
        part = pa.table(
            {
                "text_sha": pa.array(text_shas, pa.string()),
                "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
            }
        )
        temporary = self.folder / f".{uuid.uuid4().hex}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._check(vectors.shape[1])
            if not self.exists:
                self._describe(vectors.shape[1])
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

    def _meta(self) -> dict[str, str | int] | None:
        meta = self._says()
        if not meta:
            return None
        if meta.get("format") != _FORMAT:
            raise EmbeddingError(
                f"{self.folder} holds vectors as {meta.get('format', 'float32')}, of another version of this program, "
                f"which reads {_FORMAT}. Move the folder away and run tosg embed again."
            )
        return meta

    def _says(self) -> dict[str, str | int]:
        """What the folder says of itself; nothing where it is not there."""
        path = self.folder / "encoder.json"
        if not path.is_file():
            return {}
        said: dict[str, str | int] = json.loads(path.read_text(encoding="utf-8"))
        return said

    def _check(self, dimension: int) -> None:
        """Refuse vectors that cannot be kept beside those that are here."""
        if self._meta() not in (None, self._described(dimension)):
            raise EmbeddingError(
                f"{self.folder} holds vectors of another encoder, revision or length than {self.encoder} gives "
                f"({dimension}). Move the folder away and embed again."
            )

    def _describe(self, dimension: int) -> None:
        temporary = self.folder / ".encoder.json.part"
        said = json.dumps(self._described(dimension), indent=1)
        temporary.write_text(said + "\n", encoding="utf-8")
        temporary.replace(self.folder / "encoder.json")

    def _described(self, dimension: int) -> dict[str, str | int]:
        return {
            "encoder": self.encoder,
            "revision": self.revision,
            "dimension": dimension,
            "format": _FORMAT,
        }
