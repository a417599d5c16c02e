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
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tosg_graph.axis_table import extended_axis
from tosg_graph.cell_blocks import (
    BLOCK_CELLS,
    Buckets,
    InOrder,
    Tally,
    block_sizes,
    blocks,
    spill,
)
from tosg_graph.cells_account import axis_columns, cells_ledger, described_sha256, file_hashes, files_sha256
from tosg_graph.counts_files import CountsFiles, write_counts_files
from tosg_graph.engine import LOCAL, Engine, give_up
from tosg_graph.errors import CellsError, TosgError
from tosg_graph.gene_axis import (
    NO_GENES,
    FeatureGene,
    GeneNames,
    check_species,
    map_features,
    new_axis_rows,
    read_gene_names,
)
from tosg_graph.layers import GENE, MEASURED_LAYERS, PROTEIN, stored_columns
from tosg_graph.memory import give_back
from tosg_graph.placed_cells import placed_cells, write_cells
from tosg_graph.progress import Progress, silent
from tosg_graph.protein_axis import (
    NO_PROTEINS,
    FeatureProtein,
    ProteinNames,
    map_proteins,
    read_protein_names,
)
from tosg_graph.terms import Vocabulary
from tosg_graph.types import CellsLedger, MeasuredCells
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
    antibodies
        What a person decided about names of antibodies; see `tosg_graph.protein_axis`.
    """

    describe: Callable[[MeasuredCells, str, Vocabulary], tuple[pa.Table, pa.Table]]
    recipe: str
    layer: str | None
    options: Mapping[str, str]
    allow_unmapped: bool
    antibodies: Mapping[str, str] = field(default_factory=dict)
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
        choices = replace(choices, here=not several, held=file_hashes(store))
        tasks = [_Task(*named, folder / str(k), choices) for k, named in enumerate(files)]
        if not engine.elsewhere and several:
            opener = connect or partial(type(graph).connect, graph.settings)
            with spawned(processes, _prepare_worker, opener) as submit:
                pool = Engine(submit, 2 * processes)
                with closing(pool.map(_scan_in_worker, ((task,) for task in tasks))) as scans:
                    yield from _in_order(store, _told(scans, len(tasks), progress), pool, silent)
            return
        engine.check([folder, *(path for path, _ in files if path.exists())])
        known = engine.share(_Known.of(graph, elsewhere=engine.elsewhere))
        inside = silent if several else progress  # of a file; another process cannot show it
        with closing(engine.map(_scan_file, ((task, known, inside) for task in tasks))) as scans:
            told = _told(scans, len(tasks), progress) if several else scans
            yield from _in_order(store, told, engine, inside)


def ingest_measured(
    measured: MeasuredCells,
    path: Path,
    dataset: str,
    graph: Graph | None,
    store: AbundanceStore,
    choices: Choices,
    progress: Progress,
) -> CellsLedger:
    """Add cells that were read in another way; see `tosg_graph.cells.add_measured`.

    Without a graph, genes and proteins keep their own names.
    """
    with store.workspace() as folder:
        task = _Task(path, dataset, folder / "0", choices)
        scanned = _scan(measured, task, _Known.of(graph), "", progress)
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
    proteins: Callable[[], ProteinNames]  # read where a file has any

    @classmethod
    def of(cls, graph: Graph | None, *, elsewhere: bool = False) -> _Known:
        """With ``elsewhere``, all of it is read now: other machines do not reach the graph."""
        if graph is None:
            return cls(Vocabulary(), NO_GENES, partial(_as_read, NO_PROTEINS))
        proteins: Callable[[], ProteinNames] = cache(partial(read_protein_names, graph))
        if elsewhere:
            proteins = partial(_as_read, proteins())
        return cls(Vocabulary(graph), read_gene_names(graph), proteins)


def _as_read(names: ProteinNames) -> ProteinNames:
    return names


@dataclass(frozen=True)
class _Scanned:
    """One file that was read and checked; only its place in the store is open."""

    task: _Task
    features: list[FeatureGene]
    proteins: list[FeatureProtein]
    file_sha256: str
    content: str
    note: str
    totals: dict[str, int]  # layer -> sum of its counts
    cells: int
    counts: Buckets
    sizes: list[int]  # cells of each block
    sums: dict[str, pa.Array]  # columns of the cells, in block order
    unmapped: pa.Table

    @property
    def of_layers(self) -> dict[str, Sequence[FeatureGene | FeatureProtein]]:
        """Layer -> its features, in the order of the columns of ``counts``."""
        return {GENE: self.features, **({PROTEIN: self.proteins} if self.proteins else {})}


@dataclass(frozen=True)
class _Held:
    """A file that the store has, known by the hash of its bytes."""

    task: _Task
    features: list[FeatureGene]
    proteins: list[FeatureProtein]
    dataset: dict[str, Any]


_worker: _Known | None = None  # of a spawned process


def _prepare_worker(connect: Callable[[], Graph]) -> None:
    global _worker
    graph = connect()
    _worker = _Known.of(graph)


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
    recipe = f"{choices.layer or 'X'} {sorted(choices.options.items()) or ''} {choices.recipe}"
    file_sha256 = files_sha256(task.path, recipe) if alone else ""
    if file_sha256 in choices.held:
        return _Held(task, *_mapped(opened[0], choices, known), choices.held[file_sha256])
    # Nobody else holds on to obs, which may be large.
    return _scan(opened.pop(), task, known, file_sha256, progress)


def _mapped(
    measured: MeasuredCells, choices: Choices, known: _Known
) -> tuple[list[FeatureGene], list[FeatureProtein]]:
    features = map_features(measured.features, measured.feature_ids, known.genes)
    if not measured.proteins:
        return features, []
    return features, map_proteins(measured.proteins, choices.antibodies, known.proteins(), known.genes)


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
    features, proteins = _mapped(measured, choices, known)
    if not choices.allow_unmapped:
        check_species(features, task.path)
    described = described_sha256(measured, choices.recipe)
    task.folder.mkdir(exist_ok=True)
    task = replace(task, folder=_own_folder(task.folder))
    cells, unmapped = choices.describe(measured, task.dataset, known.vocabulary)
    order = write_cells(cells, task.folder)
    del cells  # like obs below, before the counts are read
    measured = replace(measured, obs=measured.obs.schema.empty_table())  # it is written, and may be large
    give_back()
    tally = Tally(count, len(features) if proteins else None)
    passing = tally.over(_shown(measured.chunks(), f"Reading {task.path.name}", count, progress))
    counts: Buckets
    if choices.here and (order == np.arange(count)).all():
        deque(passing, maxlen=0)
        counts = InOrder(measured.chunks)
    else:
        place = None if choices.here and count <= BLOCK_CELLS else task.folder / "counts.spill"
        counts = spill(passing, order, tally, len(features) + len(proteins), place)
    if tally.cells != count:
        raise CellsError(f"{task.path} names {count} cells but has counts of {tally.cells}. Fetch it again.")
    totals = {GENE: int(tally.n_counts.sum()), PROTEIN: int(tally.n_protein_counts.sum())}
    return _Scanned(
        task=task,
        features=features,
        proteins=proteins,
        file_sha256=file_sha256,
        content=hashlib.sha256(described + tally.digest()).hexdigest(),
        note=measured.note,
        totals=totals,
        cells=count,
        counts=counts,
        sizes=block_sizes(tally.lengths[order]),
        sums=_sums(tally, order, measured),
        unmapped=unmapped,
    )


def _sums(tally: Tally, order: NDArray[np.int64], measured: MeasuredCells) -> dict[str, pa.Array]:
    """Sums of the cells in block order; null where proteins were not measured, which is not zero."""
    import pyarrow as pa

    found: dict[str, NDArray[Any]] = {"n_counts": tally.n_counts, "n_genes": tally.n_genes}
    sums = {name: pa.array(values[order]) for name, values in found.items()}
    if measured.proteins:
        without = None if measured.protein_cells is None else ~measured.protein_cells[order]
        of_proteins: dict[str, NDArray[Any]] = {
            "n_protein_counts": tally.n_protein_counts,
            "n_proteins": tally.n_proteins,
        }
        sums |= {name: pa.array(values[order], mask=without) for name, values in of_proteins.items()}
    return sums


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
    axes, block = {layer: store.axis(layer=layer) for layer in MEASURED_LAYERS}, store.blocks()
    known = store.datasets().to_pylist()
    waiting: deque[Callable[[], CellsLedger]] = deque()
    refused = None
    try:
        for scanned in scans:
            held = scanned.dataset if isinstance(scanned, _Held) else _already_held(known, scanned)
            if held or isinstance(scanned, _Held):
                waiting.append(partial(_ledger, store, scanned, held))
            else:
                columns: dict[str, NDArray[np.int32]] = {}
                for layer, features in scanned.of_layers.items():
                    fresh = new_axis_rows(features, axes[layer])
                    axes[layer] = extended_axis(axes[layer], fresh, layer)
                    columns[layer] = axis_columns(features, axes[layer])
                counts = engine.submit(_encode, progress, scanned, _as_stored(columns), block)
                encoding.append(counts)
                waiting.append(partial(_commit, store, scanned, counts, columns, block))
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


def _as_stored(columns: Mapping[str, NDArray[np.int32]]) -> NDArray[np.int32]:
    import numpy as np

    return np.concatenate([stored_columns(layer, of_layer) for layer, of_layer in columns.items()])


def _commit(
    store: AbundanceStore,
    scanned: _Scanned,
    counts: Promise,
    columns: Mapping[str, NDArray[np.int32]],
    first_block: int,
) -> CellsLedger:
    written: CountsFiles = counts.result()
    path = scanned.task.path
    give_back()  # of the blocks; the writer of cells has memory of its own
    with store.writer() as append:
        for layer, features in scanned.of_layers.items():
            append.extend_axis(new_axis_rows(features, append.axis_of(layer)), layer)
        append.register_counts(written)
        total = sum(scanned.totals.values())
        if written.total != total:
            raise CellsError(
                f"{path}: the counts sum to {total:,} in the file but to {written.total:,} in the store. "
                "Nothing was added; please report this."
            )
        cells = placed_cells(scanned.task.folder, scanned.sizes, scanned.sums, first_block)
        append.commit(cells, _dataset_record(scanned), columns)
    shutil.rmtree(scanned.task.folder)
    return _ledger(store, scanned, None)


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
    record = {
        "dataset": scanned.task.dataset,
        "cells": scanned.cells,
        "counts": scanned.totals[GENE],
        "file": scanned.task.path.name,
        "sha256": scanned.content,
        "note": scanned.note,
        "file_sha256": scanned.file_sha256,
    }
    if scanned.proteins:
        sums = scanned.sums["n_protein_counts"]
        record["protein_cells"] = len(sums) - sums.null_count
        record["protein_counts"] = scanned.totals[PROTEIN]
    return record


def _ledger(store: AbundanceStore, scanned: _Scanned | _Held, held: dict[str, Any] | None) -> CellsLedger:
    """Account for a file that is in the store; ``held``: as this dataset, since earlier."""
    return cells_ledger(
        store,
        scanned.task.path,
        scanned.features,
        scanned.proteins,
        held or _dataset_record(cast("_Scanned", scanned)),
        unmapped=None if held else cast("_Scanned", scanned).unmapped,
        already_present=held is not None,
    )
