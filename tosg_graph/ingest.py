"""Files of cells on their way into the store: read once, then written in their place, then committed in order.

A file is scanned (features to genes, obs to terms, counts checked, added up and put into buckets) and encoded (buckets
to Parquet), both in any process; what depends on the files before it, its axis columns and block numbers, is given
in between, and the commits follow in the order of the files.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tosg_graph.abundance_store import extended_axis
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
from tosg_graph.engine import LOCAL, Engine, give_up
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
from tosg_graph.memory import give_back
from tosg_graph.progress import Progress, silent
from tosg_graph.terms import Vocabulary
from tosg_graph.types import CHUNK_CELLS, CellsLedger, MeasuredCells
from tosg_graph.workers import Promise, spawned

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.counts_files import Block
    from tosg_graph.graph import Graph


@dataclass(frozen=True)
class Choices:
    """What holds for all files of an add; picklable.

    Parameters
    ----------
    describe
        ``(measured, dataset, vocabulary)`` -> one row per cell in file order, ``n_counts`` and ``n_genes`` still null;
        and the values of obs that have no term, see `CellsLedger`.
    recipe
        How obs is mapped, as text: another recipe makes other cells of the same file.
    layer, options, allow_unmapped
        See `tosg_graph.cells.add`.
    """

    describe: Callable[[MeasuredCells, str, Vocabulary], tuple[pa.Table, pa.Table]]
    recipe: str
    layer: str | None
    options: Mapping[str, str]
    allow_unmapped: bool
    here: bool = True  # in this process: a small file need not go through the disk
    held: dict[str, dict[str, Any]] = field(default_factory=dict)  # file hash -> dataset in the store


def ingest(
    files: Sequence[tuple[Path, str]],
    graph: Graph,
    store: AbundanceStore,
    choices: Choices,
    *,
    processes: int,
    connect: Callable[[], Graph] | None,
    engine: Engine,
    progress: Progress,
) -> Iterator[CellsLedger]:
    """Add files under their names, in the order given; see `tosg_graph.cells.add_files`."""
    processes = min(processes, len(files))
    with store.workspace() as folder:
        several = engine.elsewhere or processes > 1
        choices = replace(choices, here=not several, held=_file_hashes(store))
        tasks = [_Task(*named, folder / str(k), choices) for k, named in enumerate(files)]
        if not engine.elsewhere and several:
            opener = connect or partial(type(graph).connect, graph.settings)
            with spawned(processes, _prepare_worker, opener) as submit:
                pool = Engine(submit, 2 * processes)
                with closing(pool.map(_scan_in_worker, ((task,) for task in tasks))) as scans:
                    yield from _in_order(store, _told(scans, len(tasks), progress), pool, silent)
            return
        engine.check([folder, *(path for path, _ in files if path.exists())])
        known = engine.share(_Known(Vocabulary(graph), read_gene_names(graph)))
        inside = silent if several else progress  # of a file; another process cannot show it
        with closing(engine.map(_scan_file, ((task, known, inside) for task in tasks))) as scans:
            told = _told(scans, len(tasks), progress) if several else scans
            yield from _in_order(store, told, engine, inside)


def ingest_measured(
    measured: MeasuredCells,
    path: Path,
    dataset: str,
    graph: Graph,
    store: AbundanceStore,
    choices: Choices,
    progress: Progress,
) -> CellsLedger:
    """Add cells that were read in another way; see `tosg_graph.cells.add_measured`."""
    with store.workspace() as folder:
        task = _Task(path, dataset, folder / "0", choices)
        scanned = _scan(measured, task, _Known(Vocabulary(graph), read_gene_names(graph)), "", progress)
        (ledger,) = _in_order(store, iter([scanned]), LOCAL, progress)
    return ledger


# --------------------------------------------------------------------------- one file, read once


@dataclass(frozen=True)
class _Task:
    path: Path
    dataset: str
    folder: Path  # for what is made of it
    choices: Choices


@dataclass(frozen=True)
class _Known:
    """What the graph knows."""

    vocabulary: Vocabulary
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
    unmapped: pa.Table


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
    _worker = _Known(Vocabulary(graph), read_gene_names(graph))


def _scan_in_worker(task: _Task) -> _Scanned | _Held:
    if _worker is None:
        raise CellsError("A process for reading files was not prepared. Please report this.")
    return _scan_file(task, _worker, silent)


def _scan_file(task: _Task, known: _Known, progress: Progress) -> _Scanned | _Held:
    from loaders.cells_readers import read, reader_of

    choices = task.choices
    # Options may name files elsewhere, and a file may be read with others beside it: then the content alone tells.
    alone = reader_of(task.path).one_file or (task.path.is_dir() and not choices.options)
    opened = [read(task.path, choices.layer, choices.options)]
    file_sha256 = _file_sha256(task.path, choices) if alone else ""
    if file_sha256 in choices.held:
        features = map_features(opened[0].features, opened[0].feature_ids, known.genes)
        return _Held(task, features, choices.held[file_sha256])
    # Nobody else holds on to obs, which may be large.
    return _scan(opened.pop(), task, known, file_sha256, progress)


def _scan(
    measured: MeasuredCells, task: _Task, known: _Known, file_sha256: str, progress: Progress
) -> _Scanned:
    """Read a file once: obs to terms, counts checked, added up and put into buckets."""
    import numpy as np

    choices, count = task.choices, len(measured.barcodes)
    if not count or not measured.features:
        raise CellsError(
            f"{task.path} holds {count} cells and {len(measured.features)} genes. There is nothing to add."
        )
    features = map_features(measured.features, measured.feature_ids, known.genes)
    if not choices.allow_unmapped:
        check_species(features, task.path)
    described = _described_sha256(measured, choices.recipe)
    task.folder.mkdir(exist_ok=True)
    task = replace(task, folder=_own_folder(task.folder))
    cells, unmapped = choices.describe(measured, task.dataset, known.vocabulary)
    order = _write_cells(cells, task.folder)
    del cells  # like obs below, before the counts are read
    measured = replace(measured, obs=measured.obs.schema.empty_table())  # it is written, and may be large
    give_back()
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
        unmapped=unmapped,
    )


def _own_folder(folder: Path) -> Path:
    """A new folder inside: of a task that is done again, the first worker may be alive and still writing."""
    return Path(tempfile.mkdtemp(dir=folder))


def _shown(chunks: Iterator[Any], doing: str, total: int, progress: Progress) -> Iterator[Any]:
    done = 0
    for chunk in chunks:
        progress(doing, done, total)
        yield chunk
        done += chunk.shape[0]
        give_back()
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


def _told(scans: Iterator[_Scanned | _Held], files: int, progress: Progress) -> Iterator[_Scanned | _Held]:
    """Pass scans on, and tell how many files were read."""
    progress("Reading files", 0, files)
    for done, scanned in enumerate(scans, 1):
        progress("Reading files", done, files)
        yield scanned


def _in_order(
    store: AbundanceStore,
    scans: Iterator[_Scanned | _Held],
    engine: Engine,
    progress: Progress,
) -> Iterator[CellsLedger]:
    """Give each file its axis columns and blocks, have its counts written, and commit it when its turn comes."""
    encoding: list[Promise] = []
    try:
        yield from _committed(store, scans, engine, progress, encoding)
    except BaseException:
        give_up(encoding)  # before the folder goes that they write to
        raise


def _committed(
    store: AbundanceStore,
    scans: Iterator[_Scanned | _Held],
    engine: Engine,
    progress: Progress,
    encoding: list[Promise],
) -> Iterator[CellsLedger]:
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
                columns = _axis_columns(scanned.features, axis)
                counts = engine.submit(_encode, progress, scanned, columns, block)
                encoding.append(counts)
                waiting.append(partial(_commit, store, scanned, counts, block))
                known.append(_dataset_record(scanned))
                block += len(scanned.sizes)
            while len(waiting) > engine.ahead:
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
    folder = _own_folder(scanned.task.folder)
    return write_counts_files(folder, scanned.content[:24], shown, first_block)


def _shown_blocks(made: Iterator[Block], sizes: list[int], progress: Progress) -> Iterator[Block]:
    done = 0
    for size in sizes:
        progress("Writing cells", done, sum(sizes))
        yield next(made)
        done += size
    progress("Writing cells", done, done)


def _commit(store: AbundanceStore, scanned: _Scanned, counts: Promise, first_block: int) -> CellsLedger:

    written: CountsFiles = counts.result()
    path = scanned.task.path
    give_back()  # of the blocks; the writer of cells has memory of its own
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
        unmapped=None if held else cast("_Scanned", scanned).unmapped,
    )


def _file_hashes(store: AbundanceStore) -> dict[str, dict[str, Any]]:
    return {row["file_sha256"]: row for row in store.datasets().to_pylist() if row["file_sha256"]}


def _file_sha256(path: Path, choices: Choices) -> str:
    """Sha256 of the bytes of a file, or of all in a folder, and of how they are read: cheaper than reading counts."""
    whole = hashlib.sha256(f"{choices.layer or 'X'} {choices.recipe}".encode())
    for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with part.open("rb") as file:
            whole.update(
                f"{part.relative_to(path)}\0".encode() + hashlib.file_digest(file, "sha256").digest()
            )
    return whole.hexdigest()


def _described_sha256(measured: MeasuredCells, recipe: str) -> bytes:
    """Sha256 of barcodes, features, obs and how it is mapped; not of the file, whose bytes vary between writers."""
    import pyarrow as pa

    digest = hashlib.sha256(repr((measured.features, measured.feature_ids, recipe)).encode())
    obs = measured.obs
    for start in range(0, len(measured.barcodes), CHUNK_CELLS):
        some = slice(start, start + CHUNK_CELLS)
        table = pa.table([measured.barcodes[some], *obs[some].columns], names=["", *obs.column_names])
        digest.update(repr(table.to_pydict()).encode())
    return digest.digest()


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
