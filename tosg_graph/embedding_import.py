"""Vectors that were made elsewhere: the ``x_*_emb.npy`` of an OmniCellTOSG folder, put on the entities they are of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.annotate import annotate
from tosg_graph.embedding_cache import EmbeddingCache
from tosg_graph.embeddings import embedding_targets, write_vectors
from tosg_graph.errors import EmbeddingError
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import cypher
from tosg_graph.vector_index import GraphEncoder, claim

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph

_ID_COLUMNS = ("BioMedGraphica_ID", "BioMedGraphica_Conn_ID")
_BLOCK = 8_192  # rows of vectors in memory


@dataclass(frozen=True)
class ImportReport:
    """What `import_embeddings` did: ``read`` = ``matched`` + ``unmatched`` + ``repeated``."""

    read: int
    matched: int  # rows whose vector an entity got
    unmatched: int  # rows whose id no entity of the graph has
    repeated: int  # rows of an entity that an earlier row names, or whose text an entity before it has
    unmatched_list: str  # file with all of them; empty where there are none
    written: int  # vectors put into the graph
    encoder: str
    dimension: int
    index: str  # what was done with the vector index


def import_embeddings(
    graph: Graph,
    folder: Path,
    *,
    encoder: str,
    text: str = "name",
    replace: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Put the vectors of an OmniCellTOSG folder on the entities whose ``bmg_ids`` its rows name.

    Parameters
    ----------
    folder
        Has ``s_<text>.csv`` and, row for row, ``x_<text>_emb.npy``.
    encoder
        What the vectors are recorded under; no model of that name is needed.
    text
        ``name``, ``desc`` or ``bio``.
    replace
        Remove the vectors of another encoder first.

    Raises
    ------
    EmbeddingError
        If a file is missing, damaged, of another shape or type, no row names an entity, or the graph's vectors are of
        another encoder.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    show = progress or silent
    ids = _row_ids(folder / f"s_{text}.csv")
    path = folder / f"x_{text}_emb.npy"
    vectors = _open_vectors(path, len(ids))
    stored = _stored_ids(graph)
    unmatched = np.flatnonzero(~pc.is_in(ids, value_set=stored["bmg_id"]).to_numpy(zero_copy_only=False))
    if len(unmatched) == len(ids):
        raise EmbeddingError(
            f"None of the {len(ids):,} ids of {folder / f's_{text}.csv'} is among the bmg_ids of the graph. Load that "
            "BioMedGraphica release first."
        )
    _check_values(path, vectors, show)
    row_of = _row_of_entity(stored, ids)
    annotate(graph, list(row_of), show)
    targets = embedding_targets(graph, sorted(row_of))
    row_of_sha: dict[str, int] = {}
    for id_, sha in zip(targets["id"].to_pylist(), targets["text_sha"].to_pylist(), strict=True):
        row_of_sha.setdefault(sha, row_of[id_])
    revision = sha256_of(path)
    made_by = GraphEncoder(encoder, revision, vectors.shape[1], imported=True)
    cache = EmbeddingCache.open(graph.settings.embeddings, encoder, revision)
    index = claim(graph, made_by, replace=replace, progress=show)
    missing = [sha for sha, there in zip(row_of_sha, cache.has(list(row_of_sha)), strict=True) if not there]
    for start in range(0, len(missing), _BLOCK):
        show("Reading vectors", start, len(missing))
        part = missing[start : start + _BLOCK]
        cache.append(part, vectors[[row_of_sha[sha] for sha in part]])
    matched = len(set(row_of_sha.values()))
    lost = ids.take(pa.array(unmatched))
    return ImportReport(
        read=len(ids),
        matched=matched,
        unmatched=len(unmatched),
        repeated=len(ids) - len(unmatched) - matched,
        unmatched_list=_list_unmatched(cache, unmatched, lost),
        written=write_vectors(graph, cache, targets, show)[0],
        encoder=encoder,
        dimension=vectors.shape[1],
        index=index,
    )


def _row_ids(path: Path) -> pa.Array:
    """Ids of the rows, in the file's order."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    try:
        table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise EmbeddingError(f"{path} cannot be read: {_one_line(error)}") from error
    columns = [name for name in _ID_COLUMNS if name in table.column_names]
    if not columns:
        raise EmbeddingError(
            f"{path} has the columns {', '.join(table.column_names)}; one called {' or '.join(_ID_COLUMNS)} is needed."
        )
    given = table[columns[0]].cast(pa.string()).combine_chunks()
    return pc.replace_substring_regex(given, "^(BMGC?)_", r"\1:")  # as CURIEs, which is what the graph has


def _open_vectors(path: Path, rows: int) -> NDArray[np.floating[Any]]:
    """Map the file into memory: numbers only, never objects."""
    import numpy as np

    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise EmbeddingError(f"{path} cannot be read: {_one_line(error)}") from error
    if vectors.ndim != 2 or vectors.shape[0] != rows or not vectors.shape[1]:
        raise EmbeddingError(
            f"{path} has the shape {vectors.shape}; one row for each of the {rows:,} rows beside it is needed."
        )
    if vectors.dtype.kind != "f":
        raise EmbeddingError(f"{path} holds {vectors.dtype}; floating-point numbers are needed.")
    found: NDArray[np.floating[Any]] = vectors
    return found


def _check_values(path: Path, vectors: NDArray[np.floating[Any]], show: Progress) -> None:
    """Refuse what the index or 16-bit floats cannot hold, before anything is written."""
    import numpy as np

    for start in range(0, len(vectors), _BLOCK):
        show("Checking vectors", start, len(vectors))
        block = np.asarray(vectors[start : start + _BLOCK], np.float64)
        bad = ~(np.abs(block).max(axis=1) <= np.finfo(np.float16).max)  # NaN is not
        bad |= ~block.any(axis=1)
        if bad.any():
            row = start + int(np.flatnonzero(bad)[0])
            raise EmbeddingError(
                f"{path}: row {row + 1} is all zeros, not finite, or above {np.finfo(np.float16).max:,.0f}; a vector "
                "has a direction and fits 16-bit floats."
            )


def _stored_ids(graph: Graph) -> pa.Table:
    """``id`` and ``bmg_id``: one row per BioMedGraphica id of an entity, entities sorted by id."""
    import pyarrow as pa

    rows = graph.rows(cypher("embed_bmg_ids"))
    pairs = sorted((row["id"], bmg_id) for row in rows for bmg_id in row["bmg_ids"])
    return pa.table(
        {
            "id": pa.array([pair[0] for pair in pairs], pa.string()),
            "bmg_id": pa.array([pair[1] for pair in pairs], pa.string()),
        }
    ).combine_chunks()


def _row_of_entity(stored: pa.Table, ids: pa.Array) -> dict[str, int]:
    """Entity -> the first row that names it."""
    import pyarrow.compute as pc

    row_of: dict[str, int] = {}
    places = pc.index_in(stored["bmg_id"], value_set=ids).to_pylist()
    for id_, row in zip(stored["id"].to_pylist(), places, strict=True):
        if row is not None:
            row_of[id_] = min(row, row_of.get(id_, row))
    return row_of


def _list_unmatched(cache: EmbeddingCache, rows: NDArray[np.int64], ids: pa.Array) -> str:
    """Write rows (1-based, header not counted) that no entity took; return the file's name."""
    import pyarrow as pa
    from pyarrow import csv

    path = cache.folder / "unmatched.csv"
    path.unlink(missing_ok=True)
    if not len(ids):
        return ""
    csv.write_csv(pa.table({"row": pa.array(rows + 1), "id": ids}), path)
    return str(path)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
