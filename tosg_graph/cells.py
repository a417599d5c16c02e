"""Cells into the store: files read once, mapped to genes and terms, written block by block, accounted for."""

from __future__ import annotations

import difflib
import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tosg_graph.abundance_store import cell_id, extended_axis
from tosg_graph.cell_blocks import (
    BLOCK_CELLS,
    Buckets,
    InOrder,
    Tally,
    block_order,
    block_sizes,
    blocks,
    spill,
)
from tosg_graph.counts_files import CountsFiles, write_counts_files
from tosg_graph.errors import CellsError, TosgError
from tosg_graph.gene_axis import (
    AMBIGUOUS,
    FeatureGene,
    GeneNames,
    check_species,
    map_features,
    new_axis_rows,
    read_gene_names,
)
from tosg_graph.harmonise import Terms, harmonise, is_unknown, ontology_labels, read_terms
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path, schema
from tosg_graph.types import CHUNK_CELLS, CellsLedger, MeasuredCells
from tosg_graph.workers import Submit, here, spawned

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.counts_files import Block
    from tosg_graph.graph import Graph

_COMPUTED = ("cell_id", "dataset", "barcode", "n_counts", "n_genes")  # core columns that no mapping may set
PBMC68K = "pbmc68k_reduced"


@dataclass(frozen=True)
class ObsMapping:
    """Where core columns come from.

    Parameters
    ----------
    columns
        Core column -> obs column. A core column that is not named is taken from the obs column of the same name.
    constants
        Core column -> the same value for every cell.
    terms
        Ontology column -> value -> CURIE: decisions that win over any look-up.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    terms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_mapping(
    map_file: Path | None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
) -> ObsMapping:
    """Read a mapping from YAML and command-line options; options win.

    The YAML has one entry per core column: ``cell_type: {column: bulk_labels, terms: {"B": CL:0000236}}`` or
    ``assay: {value: "10x 3' v2"}``.

    Raises
    ------
    CellsError
        If the file cannot be read, or names something that is no core column.
    """
    from_file = _read_yaml(map_file) if map_file else {}
    mapping = ObsMapping(
        {**{k: v["column"] for k, v in from_file.items() if "column" in v}, **(columns or {})},
        {**{k: str(v["value"]) for k, v in from_file.items() if "value" in v}, **(constants or {})},
        {k: {str(a): str(b) for a, b in v["terms"].items()} for k, v in from_file.items() if "terms" in v},
    )
    for name in {**mapping.columns, **mapping.constants, **mapping.terms}:
        if name not in settable_columns():
            near = difflib.get_close_matches(name, settable_columns(), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise CellsError(
                f"{name!r} is no column that can be mapped.{hint} There are {', '.join(settable_columns())}; all other "
                "obs columns are kept as they are."
            )
    for name in mapping.terms:
        if name not in ontology_labels():
            raise CellsError(f"{name!r} takes no terms. These do: {', '.join(ontology_labels())}.")
    return mapping


def settable_columns() -> list[str]:
    """Core columns that a mapping may set."""
    return [name for name in schema("cells")["columns"] if name not in _COMPUTED]


def add(
    path: Path,
    graph: Graph,
    store: AbundanceStore,
    *,
    mapping: ObsMapping,
    layer: str | None = None,
    dataset: str | None = None,
    options: Mapping[str, str] | None = None,
    allow_unmapped: bool = False,
    progress: Progress | None = None,
) -> CellsLedger:
    """Add one file or folder with raw counts, in any of the formats of `loaders.cells_readers`.

    Parameters
    ----------
    dataset
        Name in the store, by default the file's stem. The same file again changes nothing and says so.
    layer
        Which matrix holds the raw counts; the names are the format's, such as ``X``, ``raw`` or a layer of AnnData.
    options
        Choices that the format knows, by name.
    allow_unmapped
        Add a file of which hardly any feature is a gene of the graph.

    Raises
    ------
    CellsError
        If the file cannot be used, or the sums in file and store differ; the store is as it was.
    StoreError
        If the store is locked, full or damaged.
    """
    (ledger,) = add_files(
        [path],
        graph,
        store,
        mapping=mapping,
        layer=layer,
        datasets=[dataset] if dataset else None,
        options=options,
        allow_unmapped=allow_unmapped,
        progress=progress,
    )
    return ledger


def add_files(
    paths: Sequence[Path],
    graph: Graph,
    store: AbundanceStore,
    *,
    mapping: ObsMapping,
    layer: str | None = None,
    datasets: Sequence[str] | None = None,
    options: Mapping[str, str] | None = None,
    allow_unmapped: bool = False,
    processes: int = 1,
    connect: Callable[[], Graph] | None = None,
    progress: Progress | None = None,
) -> Iterator[CellsLedger]:
    """Add files one after the other, in the order given; see `add`.

    With ``processes`` they are read and written in parallel; the store becomes the same as without. A file that
    is refused ends the add; those before it are in the store.

    Parameters
    ----------
    datasets
        A name for each file, by default their stems.
    connect
        How another process gets at the graph; by default with the settings of ``graph``.

    Yields
    ------
    CellsLedger
        Of each file, when it is in the store.
    """
    show = progress or silent
    files = [Path(path) for path in paths]
    names = datasets or [path.stem for path in files]
    processes = min(processes, len(files))
    with store.workspace() as folder:
        choices = _Choices(
            mapping, layer, dict(options or {}), allow_unmapped, processes == 1, _file_hashes(store)
        )
        tasks = [
            _Task(*named, folder / str(number), choices)
            for number, named in enumerate(zip(files, names, strict=True))
        ]
        if processes == 1:
            known = _Known(graph, read_gene_names(graph))
            one_by_one = (_scan_file(task, known, show) for task in tasks)
            yield from _in_order(store, one_by_one, partial(here, _encode, show), 0)
            return
        opener = connect or partial(type(graph).connect, graph.settings)
        with spawned(processes, _prepare_worker, opener) as submit:
            ahead = 2 * processes
            scans = _ahead(submit, tasks, ahead, show)
            yield from _in_order(store, scans, partial(submit, _encode, silent), ahead)


def add_scanpy_pbmc(graph: Graph, store: AbundanceStore, progress: Progress | None = None) -> CellsLedger:
    """Add the 700 blood cells that scanpy ships; see `loaders.cells_pbmc68k`."""
    from loaders.cells_pbmc68k import packaged_file, read

    path = packaged_file()
    return add_measured(
        read(path),
        path,
        graph,
        store,
        mapping=read_mapping(facts_path("pbmc68k_cell_types.yaml")),
        dataset=PBMC68K,
        progress=progress or silent,
    )


def add_measured(
    measured: MeasuredCells,
    path: Path,
    graph: Graph,
    store: AbundanceStore,
    *,
    mapping: ObsMapping,
    dataset: str,
    allow_unmapped: bool = False,
    progress: Progress = silent,
) -> CellsLedger:
    """Add cells that were read in another way; see `add`."""
    with store.workspace() as folder:
        task = _Task(path, dataset, folder / "0", _Choices(mapping, None, {}, allow_unmapped, True, {}))
        scanned = _scan(measured, task, _Known(graph, read_gene_names(graph)), "", progress)
        (ledger,) = _in_order(store, iter([scanned]), partial(here, _encode, progress), 0)
    return ledger


# --------------------------------------------------------------------------- one file, read once


@dataclass(frozen=True)
class _Choices:
    """What holds for all files of an add."""

    mapping: ObsMapping
    layer: str | None
    options: dict[str, str]
    allow_unmapped: bool
    here: bool  # in this process: a small file need not go through the disk
    held: dict[str, dict[str, Any]]  # file hash -> dataset in the store


@dataclass(frozen=True)
class _Task:
    path: Path
    dataset: str
    folder: Path  # for what is made of it
    choices: _Choices


@dataclass(frozen=True)
class _Known:
    """What the graph knows."""

    graph: Graph
    genes: GeneNames


@dataclass(frozen=True)
class _Scanned:
    """One file that was read and checked; only its place in the store is open."""

    task: _Task
    features: list[FeatureGene]
    file_sha256: str
    content: str
    note: str
    total: int
    cells: int
    counts: Buckets
    sizes: list[int]  # cells of each block
    n_counts: NDArray[np.int64]  # of each cell, in block order
    n_genes: NDArray[np.int32]


@dataclass(frozen=True)
class _Held:
    """A file that the store has, known by the hash of its bytes."""

    task: _Task
    features: list[FeatureGene]
    dataset: dict[str, Any]


_worker: _Known | None = None  # of a spawned process


def _prepare_worker(connect: Callable[[], Graph]) -> None:
    global _worker
    graph = connect()
    _worker = _Known(graph, read_gene_names(graph))


def _scan_in_worker(task: _Task) -> _Scanned | _Held:
    if _worker is None:
        raise CellsError("A process for reading files was not prepared. Please report this.")
    return _scan_file(task, _worker, silent)


def _scan_file(task: _Task, known: _Known, progress: Progress) -> _Scanned | _Held:
    from loaders.cells_readers import read, reader_of

    choices = task.choices
    one_file = reader_of(task.path).one_file
    file_sha256 = _file_sha256(task.path, choices) if one_file else ""
    measured = read(task.path, choices.layer, choices.options)
    if file_sha256 in choices.held:
        features = map_features(measured.features, measured.feature_ids, known.genes)
        return _Held(task, features, choices.held[file_sha256])
    return _scan(measured, task, known, file_sha256, progress)


def _scan(
    measured: MeasuredCells, task: _Task, known: _Known, file_sha256: str, progress: Progress
) -> _Scanned:
    """Read a file once: obs to terms, counts checked, added up and put into buckets."""
    import numpy as np

    choices, count = task.choices, len(measured.barcodes)
    features = map_features(measured.features, measured.feature_ids, known.genes)
    if not choices.allow_unmapped:
        check_species(features, task.path)
    described = _described_sha256(measured, choices.mapping)
    task.folder.mkdir()
    order = _write_cells(_cells_table(measured, choices.mapping, task.dataset, known.graph), task.folder)
    measured = replace(measured, obs=measured.obs.slice(0, 0))  # it is written, and may be large
    tally = Tally(count)
    passing = tally.over(_shown(measured.chunks(), f"Reading {task.path.name}", count, progress))
    counts: Buckets
    if choices.here and (order == np.arange(count)).all():
        deque(passing, maxlen=0)
        counts = InOrder(measured.chunks)
    else:
        place = None if choices.here and count <= BLOCK_CELLS else task.folder / "counts.spill"
        counts = spill(passing, order, tally, len(features), place)
    if tally.cells != count:
        raise CellsError(f"{task.path} names {count} cells but has counts of {tally.cells}. Fetch it again.")
    n_genes = tally.n_genes[order]
    return _Scanned(
        task=task,
        features=features,
        file_sha256=file_sha256,
        content=hashlib.sha256(described + tally.digest()).hexdigest(),
        note=measured.note,
        total=int(tally.n_counts.sum()),
        cells=count,
        counts=counts,
        sizes=block_sizes(n_genes),
        n_counts=tally.n_counts[order],
        n_genes=n_genes,
    )


def _shown(chunks: Iterator[Any], doing: str, total: int, progress: Progress) -> Iterator[Any]:
    done = 0
    for chunk in chunks:
        progress(doing, done, total)
        yield chunk
        done += chunk.shape[0]
    progress(doing, done, total)


def _write_cells(cells: pa.Table, folder: Path) -> NDArray[np.int64]:
    """Write the cells in block order, where they take no memory while counts are read; return that order."""
    import pyarrow as pa

    order = block_order(cells)
    with pa.ipc.new_stream(folder / "cells.arrow", cells.schema) as out:
        for start in range(0, len(order), CHUNK_CELLS):
            out.write_table(cells.take(pa.array(order[start : start + CHUNK_CELLS])))
    return order


# --------------------------------------------------------------------------- files in their order


def _ahead(submit: Submit, tasks: list[_Task], ahead: int, progress: Progress) -> Iterator[_Scanned | _Held]:
    """Yield scans in the order of the files, while the next ones are being made."""
    left = iter(tasks)
    waiting = deque(submit(_scan_in_worker, task) for task in islice(left, ahead))
    for done in range(len(tasks)):
        progress("Reading files", done, len(tasks))
        scanned: _Scanned | _Held = waiting.popleft().result()
        waiting.extend(submit(_scan_in_worker, task) for task in islice(left, 1))
        yield scanned
    progress("Reading files", len(tasks), len(tasks))


def _in_order(
    store: AbundanceStore,
    scans: Iterator[_Scanned | _Held],
    encode: Callable[..., Future[CountsFiles]],
    ahead: int,
) -> Iterator[CellsLedger]:
    """Give each file its axis columns and blocks, have its counts written, and commit it when its turn comes."""
    axis, block = store.axis(), store.blocks()
    known = store.datasets().to_pylist()
    waiting: deque[Callable[[], CellsLedger]] = deque()
    refused = None
    try:
        for scanned in scans:
            held = scanned.dataset if isinstance(scanned, _Held) else _already_held(known, scanned)
            if held or isinstance(scanned, _Held):
                waiting.append(partial(_ledger, store, scanned, held))
            else:
                axis = extended_axis(axis, new_axis_rows(scanned.features, axis))
                counts = encode(scanned, _axis_columns(scanned.features, axis), block)
                waiting.append(partial(_commit, store, scanned, counts, block))
                known.append(_dataset_record(scanned))
                block += len(scanned.sizes)
            while len(waiting) > ahead:
                yield _first_of(waiting)
    except TosgError as error:
        refused = error
    while waiting:  # what comes before a file that is refused
        yield _first_of(waiting)
    if refused:
        raise refused


def _first_of(waiting: deque[Callable[[], CellsLedger]]) -> CellsLedger:
    try:
        return waiting.popleft()()
    except BaseException:
        waiting.clear()  # the places of the others in the store were given on top of this one
        raise


def _encode(
    progress: Progress, scanned: _Scanned, columns: NDArray[np.int32], first_block: int
) -> CountsFiles:
    shown = _shown_blocks(blocks(scanned.counts, scanned.sizes, columns), scanned.sizes, progress)
    return write_counts_files(scanned.task.folder, scanned.content[:24], shown, first_block)


def _shown_blocks(made: Iterator[Block], sizes: list[int], progress: Progress) -> Iterator[Block]:
    done = 0
    for size in sizes:
        progress("Writing cells", done, sum(sizes))
        yield next(made)
        done += size
    progress("Writing cells", done, done)


def _commit(
    store: AbundanceStore, scanned: _Scanned, counts: Future[CountsFiles], first_block: int
) -> CellsLedger:
    written, path = counts.result(), scanned.task.path
    with store.writer() as append:
        append.extend_axis(new_axis_rows(scanned.features, append.axis))
        append.register_counts(written)
        if written.total != scanned.total:
            raise CellsError(
                f"{path}: the counts sum to {scanned.total:,} in the file but to {written.total:,} in the store. "
                "Nothing was added; please report this."
            )
        append.commit(_placed(scanned, first_block), _dataset_record(scanned))
    shutil.rmtree(scanned.task.folder)
    return _ledger(store, scanned, None)


def _placed(scanned: _Scanned, first_block: int) -> pa.RecordBatchReader:
    """Cells in block order, with ``block`` and ``cell`` (position in the block) after ``cell_id``, and their sums."""
    import numpy as np
    import pyarrow as pa

    sizes = np.array(scanned.sizes)
    block = (first_block + np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)
    cell = (np.arange(scanned.cells) - np.repeat(np.cumsum(sizes) - sizes, sizes)).astype(np.int32)

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        with pa.ipc.open_stream(pa.OSFile(str(scanned.task.folder / "cells.arrow"))) as cells:
            for batch in cells:
                some = slice(start, start + len(batch))
                columns = {name: _plain(batch[name]) for name in batch.schema.names}
                columns["n_counts"] = pa.array(scanned.n_counts[some])
                columns["n_genes"] = pa.array(scanned.n_genes[some])
                places = {"block": pa.array(block[some]), "cell": pa.array(cell[some])}
                yield pa.RecordBatch.from_pydict({"cell_id": columns.pop("cell_id"), **places, **columns})
                start += len(batch)

    made = batches()
    first = next(made)
    return pa.RecordBatchReader.from_batches(first.schema, chain([first], made))


def _plain(values: pa.Array) -> pa.Array:
    return values.dictionary_decode() if hasattr(values, "dictionary") else values


# --------------------------------------------------------------------------- cells


def _cells_table(measured: MeasuredCells, mapping: ObsMapping, dataset: str, graph: Graph) -> pa.Table:
    """One row per cell in file order: core columns (sums still null), then the other obs columns."""
    import pyarrow as pa

    obs, count = measured.obs, len(measured.barcodes)
    used = _obs_columns(mapping, obs)
    columns: dict[str, Any] = {
        "cell_id": _cell_ids(dataset, measured.barcodes),
        "dataset": _constant(dataset, count),
        "barcode": pa.array(measured.barcodes, pa.string()),
    }
    labels = ontology_labels()
    for name in settable_columns():
        # Each value is looked at once, however many cells have it.
        column = obs[used[name]] if name in used else _constant(mapping.constants.get(name), count)
        named = column.combine_chunks().dictionary_encode() if name in used else column
        given = named.dictionary.to_pylist()
        made: dict[str, Any]
        if name in labels:
            texts = [_text(v) for v in given]
            # The terms are read only where there is something to map.
            terms = read_terms(graph, labels[name]) if any(v is not None for v in given) else _NO_TERMS
            made = harmonise(name, texts, terms, mapping.terms.get(name, {}))
        elif schema("cells")["columns"][name]["type"] == "double":
            made = {name: pa.array(_numbers(name, given), pa.float64())}
        else:
            made = {name: pa.array([None if is_unknown(_text(v)) else _text(v) for v in given], pa.string())}
        columns |= {
            key: pa.DictionaryArray.from_arrays(named.indices, values) for key, values in made.items()
        }
    columns["n_counts"] = pa.nulls(count, pa.int64())
    columns["n_genes"] = pa.nulls(count, pa.int32())
    taken = {*columns, "block", "cell"}
    for name in obs.column_names:
        if name not in used.values():
            columns[f"obs_{name}" if name in taken else name] = obs[name]
    return pa.table(columns)


def _cell_ids(dataset: str, barcodes: list[str]) -> pa.ChunkedArray:
    import pyarrow as pa

    starts = range(0, len(barcodes), CHUNK_CELLS)
    parts = ([cell_id(dataset, b) for b in barcodes[start : start + CHUNK_CELLS]] for start in starts)
    return pa.chunked_array((pa.array(part, pa.string()) for part in parts), pa.string())


def _constant(value: str | None, count: int) -> pa.DictionaryArray:
    import numpy as np
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(np.zeros(count, np.int32), pa.array([value], pa.string()))


def _obs_columns(mapping: ObsMapping, obs: pa.Table) -> dict[str, str]:
    """Core column -> obs column that fills it."""
    held = obs.column_names
    for core, column in mapping.columns.items():
        if column not in held:
            near = difflib.get_close_matches(column, held, n=3, cutoff=0.4)
            hint = f" Nearest: {', '.join(map(repr, near))}." if near else ""
            raise CellsError(
                f"The file has no obs column {column!r} for {core}.{hint} It has {', '.join(held) or 'none at all'}."
            )
    same = {name: name for name in settable_columns() if name in held and name not in mapping.constants}
    return {**same, **mapping.columns}


def _numbers(name: str, given: Sequence[Any]) -> list[float | None]:
    found: list[float | None] = []
    for value in given:
        try:
            found.append(None if is_unknown(_text(value)) else float(value))
        except ValueError:
            raise CellsError(
                f"{name} is {value!r} for a cell, which is no number. Map another column."
            ) from None
    return found


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


_NO_TERMS = Terms({}, {}, {})

# --------------------------------------------------------------------------- accounts


def _already_held(known: list[dict[str, Any]], scanned: _Scanned) -> dict[str, Any] | None:
    """The dataset that has the same content; another content under the same name is refused."""
    for row in known:
        if row["sha256"] == scanned.content:
            return row
        if row["dataset"] == scanned.task.dataset:
            raise CellsError(
                f"The store has a dataset {scanned.task.dataset!r} with other cells or another mapping. Give this one "
                "another name: --dataset NAME"
            )
    return None


def _dataset_record(scanned: _Scanned) -> dict[str, Any]:
    return {
        "dataset": scanned.task.dataset,
        "cells": scanned.cells,
        "counts": scanned.total,
        "file": scanned.task.path.name,
        "sha256": scanned.content,
        "note": scanned.note,
        "file_sha256": scanned.file_sha256,
    }


def _ledger(store: AbundanceStore, scanned: _Scanned | _Held, held: dict[str, Any] | None) -> CellsLedger:
    """Account for a file that is in the store; ``held``: as this dataset, since earlier."""
    features = scanned.features
    record = held or _dataset_record(cast("_Scanned", scanned))
    return CellsLedger(
        dataset=record["dataset"],
        path=scanned.task.path,
        cells=record["cells"],
        genes_mapped=sum(f.gene_id is not None for f in features),
        own_axis_row=sum(f.gene_id is None for f in features),
        ambiguous=sum(f.rule == AMBIGUOUS for f in features),
        counts_file=record["counts"],
        counts_stored=record["counts"],
        already_present=held is not None,
        mapping=_mapping_table(features, store.axis()),
    )


def _file_hashes(store: AbundanceStore) -> dict[str, dict[str, Any]]:
    return {row["file_sha256"]: row for row in store.datasets().to_pylist() if row["file_sha256"]}


def _file_sha256(path: Path, choices: _Choices) -> str:
    """Sha256 of the bytes of a file and of how it is read: cheaper than reading its counts."""
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").digest()
    how = (choices.layer or "X", sorted(choices.options.items()), _described(choices.mapping))
    return hashlib.sha256(content + repr(how).encode()).hexdigest()


def _described_sha256(measured: MeasuredCells, mapping: ObsMapping) -> bytes:
    """Sha256 of barcodes, features, obs and how it is mapped; not of the file, whose bytes vary between writers."""
    import pyarrow as pa

    digest = hashlib.sha256(repr((measured.features, measured.feature_ids, _described(mapping))).encode())
    obs = measured.obs
    for start in range(0, len(measured.barcodes), CHUNK_CELLS):
        some = slice(start, start + CHUNK_CELLS)
        table = pa.table([measured.barcodes[some], *obs[some].columns], names=["", *obs.column_names])
        digest.update(repr(table.to_pydict()).encode())
    return digest.digest()


def _described(mapping: ObsMapping) -> list[dict[str, Any]]:
    return [dict(mapping.columns), dict(mapping.constants), {k: dict(v) for k, v in mapping.terms.items()}]


def _axis_columns(features: Sequence[FeatureGene], axis: pa.Table) -> NDArray[np.int32]:
    import numpy as np

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    return np.array([column_of[f.key] for f in features], np.int32)


def _mapping_table(features: Sequence[FeatureGene], axis: pa.Table) -> pa.Table:
    import pyarrow as pa

    column_of = dict(zip(axis["feature"].to_pylist(), axis["column"].to_pylist(), strict=True))
    return pa.table(
        {
            "feature": pa.array([f.feature for f in features], pa.string()),
            "gene_id": pa.array([f.gene_id for f in features], pa.string()),
            "rule": pa.array([f.rule for f in features], pa.string()),
            "candidates": pa.array([list(f.candidates) for f in features], pa.list_(pa.string())),
            "axis_column": pa.array([column_of.get(f.key) for f in features], pa.int32()),
        }
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CellsError(f"{path} cannot be read: {error.strerror}. Name a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CellsError(f"{path} is no YAML: {' '.join(str(error).split())}. See docs/cells.md.") from error
    wrong = not isinstance(content, dict) or [k for k, v in content.items() if not isinstance(v, dict)]
    if wrong:
        raise CellsError(
            f"{path} needs one entry per column, as in `cell_type: {{column: celltype}}`. See docs/cells.md."
        )
    for name, entry in content.items():
        unknown = set(entry) - {"column", "value", "terms"}
        if unknown:
            raise CellsError(
                f"{path}: {name} has {sorted(unknown)[0]!r}; it may have column, value and terms."
            )
    return dict(content)
