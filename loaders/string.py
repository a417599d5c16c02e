"""STRING: scored associations between human proteins; the user says from which score on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loaders.columns import column, csv_blocks, read_csv
from loaders.tables import Row, node_table
from loaders.triples import Numbers
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, NodeTable, Parsed, Source, SourceOption, WebFile

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

_DOWNLOADS = "https://stringdb-downloads.org/download"

SOURCE = Source(
    key="string",
    title="STRING protein associations, human",
    version="12.0, or as given",
    licence="CC-BY-4.0",
    homepage="https://string-db.org",
    size_mb=0.0,
    files={
        "links": WebFile(
            f"{_DOWNLOADS}/protein.links.detailed.v12.0/9606.protein.links.detailed.v12.0.txt.gz",
            "*.protein*.links*.txt*",
        ),
        "info": WebFile(
            f"{_DOWNLOADS}/protein.info.v12.0/9606.protein.info.v12.0.txt.gz",
            "*.protein.info*.txt*",
            optional=True,
        ),
    },
    in_demo=False,
    knowledge_level="prediction",
    note="Associations of any kind, not physical contacts: `score` is the combined one, `method` has the channels.",
    options=(
        SourceOption("min_score", "combined score from which on links are loaded, 0 to 1000 (700 is high)"),
    ),
)

_ENDS = ("protein1", "protein2")
# Names as they stand in links.detailed; links.full has some more, and one of them under another name.
_CHANNELS = {
    "neighborhood": "neighborhood",
    "fusion": "fusion",
    "cooccurence": "cooccurrence",
    "homology": "homology",
    "coexpression": "coexpression",
    "experimental": "experimental",
    "experiments": "experimental",
    "database": "database",
    "textmining": "textmining",
}
_CHANNELS |= {f"{name}_transferred": f"{shown} transferred" for name, shown in _CHANNELS.items()}
_ID = r"^9606\.ENSP\d+$"


@dataclass(frozen=True)
class _Links:
    """Links from the threshold on, shape ``(n,)``: numbers of the ends, 1-based row, scores from 0 to 1000."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    score: npt.NDArray[np.int16]
    channels: dict[str, npt.NDArray[np.int16]]


def parse(paths: dict[str, Path], *, min_score: int | str) -> Parsed:
    """Parse links between human proteins into INTERACTS_WITH; every pair stands both ways and is stored once.

    Parameters
    ----------
    paths
        ``links``: ``9606.protein.links``, ``.links.detailed`` or ``.links.full``, separated by spaces;
        ``info``, where given: ``9606.protein.info``, for names and texts.
    min_score
        Combined score from 0 to 1000; links below it are rejected and counted.

    Raises
    ------
    LoadError
        If ``min_score`` is none, a protein is not human, or a score is not one.
    """
    least = _threshold(min_score)
    proteins = Numbers()
    parts, below = [], []
    for part, rejects in _read(paths["links"], least, proteins):
        parts.append(part)
        below.append(rejects)
    ids = [f"ENSEMBL:{text.removeprefix('9606.')}" for text in proteins.number]
    links = _joined(parts)
    return Parsed((_proteins(paths.get("info"), ids),), tuple(_edges(links, below, ids)))


def _threshold(given: int | str) -> int:
    text = str(given)
    if not text.isdecimal() or int(text) > 1000:
        raise LoadError(f"string: min_score {text!r} is not a whole number from 0 to 1000; 700 is common.")
    return int(text)


# --------------------------------------------------------------------------- reading


def _read(path: Path, least: int, proteins: Numbers) -> Iterator[tuple[_Links, pa.Table]]:
    """Yield the links of each block from the threshold on, and the others as rejects."""
    import pyarrow as pa

    wanted, known = [*_ENDS, "combined_score"], list(_CHANNELS)
    for first, rows in csv_blocks(path, wanted, separator=" ", optional=known, codes=_ENDS):
        score = _scores(path, first, rows, "combined_score")
        ends = [proteins.of(_human(path, first, rows, name)) for name in _ENDS]
        keep = np.flatnonzero(score >= least)
        there = [name for name in known if name in rows.column_names]
        kept = rows.take(pa.array(keep))
        yield (
            _Links(
                ends[0][keep],
                ends[1][keep],
                first + keep + 1,
                score[keep],
                {name: _scores(path, first, kept, name) for name in there},
            ),
            _rejects(np.flatnonzero(score < least) + first, score[score < least], f"below min_score {least}"),
        )


def _scores(path: Path, first: int, rows: pa.Table, name: str) -> npt.NDArray[np.int16]:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = column(rows, name)
    good = pc.match_substring_regex(texts, r"^(\d{1,3}|1000)$")
    if not pc.all(good).as_py():
        at = pc.index(good, pa.scalar(False)).as_py()
        raise LoadError(
            f"{path.name}: row {first + at + 1}, column {name!r}, value {texts[at].as_py()!r}: not a score from 0 to"
            " 1000; fetch the file again."
        )
    found: npt.NDArray[np.int16] = texts.cast(pa.int16()).to_numpy(False)
    return found


def _human(path: Path, first: int, rows: pa.Table, name: str) -> pa.DictionaryArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = rows[name].combine_chunks()
    bad = pc.invert(pc.match_substring_regex(coded.dictionary, _ID))
    if pc.any(bad).as_py():
        wrong = pc.index(bad, pa.scalar(True)).as_py()
        at = pc.index(coded.indices, pa.scalar(wrong, coded.indices.type)).as_py()
        raise LoadError(
            f"{path.name}: row {first + at + 1}, column {name!r}, value {coded.dictionary[wrong].as_py()!r}: "
            "not a human protein (9606.ENSP...); give STRING's file of organism 9606."
        )
    return coded


def _joined(parts: list[_Links]) -> _Links:
    names = parts[0].channels
    left, right, row, score = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("left", "right", "row", "score")
    )
    channels = {name: np.concatenate([part.channels[name] for part in parts]) for name in names}
    return _Links(left, right, row, score, channels)


# --------------------------------------------------------------------------- tables


def _proteins(info: Path | None, ids: list[str]) -> NodeTable:
    """Proteins of the links, and those of the list of proteins with their names and texts."""
    rows: list[Row] = [{"id": id_, "name": id_.partition(":")[2]} for id_ in ids]
    if info is not None:
        columns = ["#string_protein_id", "preferred_name", "annotation"]
        listed = read_csv(info, columns, separator="\t", also={columns[0]: "protein_external_id"})
        cells = zip(*(column(listed, name).to_pylist() for name in columns), strict=True)
        known = {
            f"ENSEMBL:{text.removeprefix('9606.')}": (name, said)
            for text, name, said in cells
            if text.startswith("9606.")
        }
        rows = [{"id": id_, "name": id_.partition(":")[2]} for id_ in ids if id_ not in known]
        rows += [
            {
                "id": id_,
                "name": name,
                "symbol": name,
                "description": "" if said == "annotation not available" else said,
            }
            for id_, (name, said) in known.items()
        ]
    return node_table("string", "proteins", "Protein", rows, read=len(rows))


def _edges(links: _Links, below: list[pa.Table], ids: list[str]) -> Iterator[EdgeTable]:
    """One row per pair: the first of the file, if the opposite row has the same score."""
    import pyarrow as pa

    rank = np.argsort(np.argsort(np.array(ids, object))) if ids else np.zeros(0, np.int64)
    turn = rank[links.left] > rank[links.right]
    subject = np.where(turn, links.right, links.left)
    object_ = np.where(turn, links.left, links.right)
    _, first, inverse = np.unique(
        (subject.astype(np.int64) << 32) | object_, return_index=True, return_inverse=True
    )
    same = links.score == links.score[first][inverse]
    forward = np.bincount(inverse, weights=~turn & same, minlength=len(first))
    both = (forward > 0) & (forward < np.bincount(inverse, weights=same, minlength=len(first)))
    rows = np.bincount(inverse, weights=same, minlength=len(first)).astype(np.int64)
    other = _rejects(links.row[~same] - 1, links.score[~same], "another score than the opposite row")
    names = pa.array(ids, pa.string())
    for name, which in (("links", both), ("links (one direction only)", ~both)):
        at = first[which]
        data: dict[str, Any] = {
            end: pa.DictionaryArray.from_arrays(pa.array(numbers[at], pa.int32()), names)
            for end, numbers in (("subject", subject), ("object", object_))
        }
        data["score"] = pa.array(links.score[at] / 1000)
        if links.channels:
            data["method"] = _method({channel: scores[at] for channel, scores in links.channels.items()})
        bad = pa.concat_tables([*below, other]) if name == "links" else pa.table({})
        merged = int(rows[which].sum()) - len(at)
        ends = ("Protein", "INTERACTS_WITH", "Protein")
        read, lines = len(at) + merged + len(bad), pa.array(links.row[at], pa.int32())
        yield EdgeTable("string", name, *ends, pa.table(data), read, merged, bad, lines)


def _method(channels: dict[str, npt.NDArray[np.int16]]) -> pa.Array:
    """Channels that say something, such as ``coexpression 62; textmining 181``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for name, scores in channels.items():
        shown = pa.array(["", *(f"{_CHANNELS[name]} {k}; " for k in range(1, 1001))])
        parts.append(shown.take(pa.array(scores, pa.int32())))
    # Skipping nulls instead would lose the rows that have nulls only.
    return pc.replace_substring_regex(pc.binary_join_element_wise(*parts, ""), "; $", "")


def _rejects(at: npt.NDArray[np.int64], score: npt.NDArray[np.int16], reason: str) -> pa.Table:
    """Rejects of many rows as codes; ``at`` counts rows from 0."""
    import pyarrow as pa

    def coded(codes: npt.NDArray[Any], values: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values, pa.string()))

    same = np.zeros(len(at), np.int32)
    return pa.table(
        {
            "row": pa.array(at + 1, pa.int64()),
            "column": coded(same, ["combined_score"]),
            "value": coded(score, [str(k) for k in range(1001)]),
            "reason": coded(same, [reason]),
        }
    )
