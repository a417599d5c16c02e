"""The bundle on disk: file names, manifest, checksums, tensors. Knows no graph, no store and no torch."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import BundleError, ExportError
from tosg_graph.hashes import sha256_of
from tosg_graph.resources import schema
from tosg_graph.threads import threads

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
NODES = "nodes.parquet"
GENES = "genes.parquet"
TOPOLOGY = "topology.safetensors"
TEXT = "text.safetensors"
FEATURES = "features.safetensors"  # only where features were asked for
PROTEINS = "proteins.parquet"  # only where proteins were asked for
GATHER = "gather.safetensors"  # only where abundance of transcripts or proteins is gathered from genes
UNPICKED = "unpicked_genes.parquet"  # where some of these genes are no nodes of the bundle
MEASURED = "measured.safetensors"  # where it is known which features each dataset measured
CORRECTION = "correction.safetensors"  # only where a correction was asked for
TEXTS = "text"  # folder; only where texts for language models were asked for
EDGE_SPLITS = "edge_splits.safetensors"  # only where an edge task was asked for
CELLS = "cells.parquet"
DIAGNOSTICS = "diagnostics.json"
DIAGNOSTICS_PAGE = "diagnostics.html"  # the same for people; not in bundles of before
SPLITS = ("train", "val", "test")
_SYNCED_AT_ONCE = 4  # files: the disk writes its journal once for several
EXAMPLES = 5  # ids that are named of what was left out

SOFTWARE = ("tosg-graph", "numpy", "pyarrow", "safetensors", "duckdb", "deltalake", "neo4j")
_DTYPES = {"I64": "<i8", "I32": "<i4", "I8": "<i1", "F64": "<f8", "F32": "<f4", "BOOL": "?", "U8": "<u1"}


@dataclass(frozen=True)
class Manifest:
    """A finished bundle: its folder, and ``manifest.json`` as a dict."""

    folder: Path
    content: dict[str, Any]

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        c = self.content
        dropped = [f"{d['count']:,} {d['what']}: {d['reason']}" for d in c["dropped"]]
        facts = {
            "bundle": str(self.folder),
            "nodes": _counted(c["nodes"]),
            "edges": _counted(c["edges"]),
            "genes": f"{c['genes']:,} with abundance",
            **_said_of_layers(c),
            "cells": _counted(c["splits"]),
            "classes": f"{len(c['classes'])} of {c['label']}",
            "split by": f"{c['split_unit']}, verdict {c['verdict']}",
            "left out": "; ".join(dropped) or "nothing",
        }
        for name, splits in c.get("edge_task", {}).get("edges", {}).items():
            facts[f"predict {name}"] = ", ".join(
                f"{split} {splits[split]['positives']:,} and {splits[split]['negatives']:,} negatives"
                for split in SPLITS
            )
        if made := c.get("correction"):
            facts["corrected"] = (
                f"{made['method']} by {made['batch']}: {len(made['batches'])} batches, fitted on "
                f"{made['cells_fitted']:,} cells; as they were: {made['genes_uncorrected']:,} genes, "
                f"{made['cells_unseen']:,} cells of other batches"
            )
        if texts := c.get("text"):
            facts["text"] = (
                f"text/*.jsonl: sentences of up to {texts['genes']:,} genes and {texts['chars']:,} characters; "
                f"{texts['names_left_out']:,} names that would tell of the cells left out, "
                f"{texts['nodes_without_text']:,} nodes without text"
            )
        return facts


def _said_of_layers(content: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    if proteins := content.get("proteins"):
        found["proteins"] = f"{proteins['count']:,} with counts, measured in {proteins['cells']:,} cells"
    for type_, level in content.get("gather", {}).get("levels", {}).items():
        found[f"{type_.lower()} level"] = f"{level['nodes']:,} gathered from genes, policy {level['policy']}"
    if measured := content.get("measured"):
        gaps = {name: count for name, count in measured["not_measured"].items() if count}
        if gaps:
            listed = ", ".join(f"{count:,} pairs of dataset and {name[:-1]}" for name, count in gaps.items())
            found["not measured"] = f"{listed}: unknown there, not zero (measured.safetensors)"
    return found


def _counted(counts: Mapping[str, int]) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{sum(counts.values()):,} ({parts})"


def dropped(what: str, reason: str, ids: Sequence[str], *, kept: bool) -> dict[str, Any]:
    """Entry of the manifest's ``dropped``: how many, why, and the first few ids in sorted order."""
    return {
        "what": what,
        "reason": reason,
        "count": len(ids),
        "kept": kept,
        "examples": sorted(ids)[:EXAMPLES],
    }


def edge_file(key: tuple[str, str, str]) -> str:
    """File of the edges of one type, which is also how the topology names them."""
    return f"edges/{edge_name(key)}.parquet"


def edge_name(key: tuple[str, str, str]) -> str:
    """``Gene__SIGNALS_TO__Protein``; types and verbs hold no double underscore."""
    return "__".join(key)


def edge_key(name: str) -> tuple[str, str, str]:
    """(source type, verb, target type) of what `edge_name` made."""
    source, verb, target = name.split("__")
    return source, verb, target


# --------------------------------------------------------------------------- writing


def refuse_existing(out: Path) -> Path:
    """Return the folder that ``out`` names, ``~`` being the home, before any work is done.

    Raises
    ------
    ExportError
        If it exists, or can never be made because of the folder above it.
    """
    try:
        out = out.expanduser()
    except RuntimeError as error:
        raise ExportError(f"{out}: {error} Choose another folder.") from error
    if os.path.lexists(out):
        raise ExportError(f"{out} exists already and is not overwritten. Remove it, or choose another name.")
    above = next(folder for folder in out.absolute().parents if os.access(folder, os.F_OK))
    if not (above.is_dir() and os.access(above, os.W_OK)):
        why = "is not writable" if above.is_dir() else "is a file"
        raise ExportError(f"{out} cannot be made: {above} {why}. Choose another folder.")
    return out


@contextmanager
def new_bundle(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that becomes ``out`` when the block ends without error.

    Raises
    ------
    ExportError
        If ``out`` exists, its parent cannot be written, or the disk fills up. Nothing is left behind.
    """
    with _published(out, Path) as temporary:
        yield temporary


@contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes the file ``out`` when the block ends without error; as `new_bundle`."""
    with _published(out, lambda folder: folder / out.name) as temporary:
        yield temporary / out.name


@contextmanager
def _published(out: Path, made: Callable[[Path], Path]) -> Iterator[Path]:
    """Yield a temporary folder beside ``out``; what ``made`` says of it becomes ``out``."""
    out = refuse_existing(out).absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error
    try:
        yield temporary
        sync_all([*temporary.rglob("*"), temporary])
        temporary.chmod(0o777 & ~_umask())
        if out.exists():
            raise ExportError(f"{out} was made by something else meanwhile. Choose another --out.")
        made(temporary).rename(out)
        sync(out.parent)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}. Nothing was left.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def sync_all(paths: Iterable[Path]) -> None:
    """Have files, and the names in folders, written to the disk, several at once."""
    with threads(_SYNCED_AT_ONCE) as pool:
        list(pool.map(sync, paths))


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet; the same table gives the same bytes."""
    import pyarrow.parquet as pq

    path.parent.mkdir(exist_ok=True)
    # No dictionaries for numbers: a million hashes in one would only be written twice.
    strings = [f.name for f in table.schema if "string" in str(f.type)]
    pq.write_table(table, path, compression="zstd", compression_level=1, use_dictionary=strings)


def write_tensors(tensors: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Write safetensors without metadata, whose order is not fixed."""
    import numpy as np
    from safetensors.numpy import save_file

    path.parent.mkdir(exist_ok=True)
    save_file({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}, path)


def write_json(content: object, path: Path) -> None:
    """Write JSON with sorted keys, one key a line."""
    text = json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=str)
    path.write_text(text + "\n", encoding="utf-8")


@cache
def software() -> dict[str, str]:
    """Versions of Python and of the packages whose work is in a bundle."""
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}


def files(folder: Path) -> list[Path]:
    """Every file of the bundle that is there now, but the manifest, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)


def checksums(
    folder: Path, known: Mapping[str, str] | None = None, of: Sequence[Path] | None = None
) -> dict[str, str]:
    """Sha256 of every file of the bundle, or of some of them; ``known`` ones are not computed again."""
    names = {path.relative_to(folder).as_posix(): path for path in (files(folder) if of is None else of)}
    return {name: (known or {}).get(name) or sha256_of(path) for name, path in names.items()}


# --------------------------------------------------------------------------- reading


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check ``manifest.json``; each listed file must exist.

    Raises
    ------
    BundleError
        If the folder holds no manifest, the manifest is damaged or of a newer format, or a file is missing.
    """
    path = folder / MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        hint = "Name the folder of the bundle." if folder.is_file() else "Make one with tosg-export."
        what = "a file" if folder.is_file() else f"no bundle: it has no {MANIFEST}"
        raise BundleError(f"{folder} is {what}. {hint}") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Export the bundle again.") from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise BundleError(f"{path} names no format version. Export the bundle again.")
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, this program reads {FORMAT_VERSION}. Upgrade tosg-graph."
        )
    missing = sorted(set(schema("bundle")["manifest"]) - set(content))
    if missing:
        raise BundleError(f"{path} lacks {missing[0]!r}. Export the bundle again.")
    for name in content["files"]:
        if not _inside(name):
            raise BundleError(f"{path} lists {name!r}, which is not a file of a bundle. Export it again.")
        if not (folder / name).is_file():
            raise BundleError(f"{folder / name} is missing. Export the bundle again.")
    return content


def _inside(name: str) -> bool:
    return bool(re.fullmatch(r"((edges|abundance|text)/)?[A-Za-z0-9_.-]+", name)) and ".." not in name


def verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the sha256 of every file with the manifest.

    Raises
    ------
    BundleError
        Naming the first file that differs.
    """
    for name, expected in manifest["files"].items():
        if sha256_of(folder / name) != expected:
            raise BundleError(f"{folder / name} was changed after the export. Export the bundle again.")


def checked_path(folder: Path, manifest: Mapping[str, Any], name: str, *, verified: bool = True) -> Path:
    """Path of a file that the manifest lists, compared with its sha256 unless ``verified`` is False.

    Raises
    ------
    BundleError
        If it is not listed, or was changed.
    """
    if name not in manifest["files"]:
        raise BundleError(f"{folder / MANIFEST} does not list {name}. Export the bundle again.")
    if verified:
        verify(folder, {"files": {name: manifest["files"][name]}})
    return folder / name


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Map a safetensors file into memory: read-only arrays that cost nothing until they are used.

    Raises
    ------
    BundleError
        If the file is missing, truncated or no safetensors file.
    """
    import numpy as np

    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else None
        if not isinstance(header, dict):
            raise BundleError(f"{path} is truncated or no safetensors file. Export the bundle again.")
        content = np.memmap(path, np.uint8, "r", 8 + length)
        header.pop("__metadata__", None)
        return {name: _tensor(content, field) for name, field in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} cannot be read: {error}. Export the bundle again.") from error


def _tensor(content: np.memmap[Any, Any], field: Mapping[str, Any]) -> NDArray[Any]:
    import numpy as np

    start, end = field["data_offsets"]
    if not 0 <= start <= end <= len(content):
        raise ValueError(f"it ends before byte {end}")
    return np.asarray(content[start:end].view(_DTYPES[field["dtype"]]).reshape(field["shape"]))


def release(mapped: NDArray[Any]) -> None:
    """Let go of the memory of an array of `map_tensors`; what is read again comes from the disk's cache."""
    import mmap

    held: Any = mapped
    while held is not None and not isinstance(held, mmap.mmap):
        held = held.base
    if held is not None and hasattr(mmap, "MADV_DONTNEED"):
        held.madvise(mmap.MADV_DONTNEED)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of the bundle, or some columns of it.

    Raises
    ------
    BundleError
        If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path} cannot be read: {error}. Export the bundle again.") from error


def column_names(path: Path) -> list[str]:
    """Columns of a Parquet file of the bundle.

    Raises
    ------
    BundleError
        If it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise BundleError(f"{path} cannot be read: {error}. Export the bundle again.") from error


def check_length(path: Path, what: str, found: int, expected: int) -> None:
    """Raise `BundleError` where a file does not hold what the manifest says."""
    if found != expected:
        raise BundleError(f"{path} has {found:,} {what}, the manifest {expected:,}. Export the bundle again.")
