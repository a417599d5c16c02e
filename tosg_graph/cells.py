"""`tosg cells add`: files of cells, what their obs means, and their way into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance_store import cell_id
from tosg_graph.engine import LOCAL, Engine
from tosg_graph.ingest import Choices, ingest, ingest_measured
from tosg_graph.memory import give_back
from tosg_graph.obs import (
    ObsMapping,
    constant,
    core_columns,
    other_columns,
    read_mapping,
    unmapped_values,
    used_columns,
)
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path
from tosg_graph.term_audit import with_candidates
from tosg_graph.types import CHUNK_CELLS, CellsLedger, MeasuredCells

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.graph import Graph
    from tosg_graph.terms import Vocabulary

PBMC68K = "pbmc68k_reduced"


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
    engine: Engine = LOCAL,
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
    engine
        Where files are read, if not in processes of this machine: ``processes`` and ``connect`` do not count then.

    Yields
    ------
    CellsLedger
        Of each file, when it is in the store.
    """
    files = [Path(path) for path in paths]
    choices = _choices(mapping, layer, options or {}, allow_unmapped)
    return ingest(
        list(zip(files, datasets or [path.stem for path in files], strict=True)),
        graph,
        store,
        choices,
        processes=processes,
        connect=connect,
        engine=engine,
        progress=progress or silent,
    )


def check_files(
    paths: Sequence[Path],
    *,
    mapping: ObsMapping,
    layer: str | None = None,
    options: Mapping[str, str] | None = None,
) -> None:
    """Refuse files that cannot be added, as far as that is seen without a graph: a server need not be started for them.

    Formats and options of all files, and the matrix and obs columns of the first one.

    Raises
    ------
    CellsError
        As `add_files`.
    """
    from loaders.cells_readers import check, is_local, read

    for path in paths:
        check(path, options or {})
    if paths and is_local(paths[0]):
        used_columns(mapping, read(paths[0], layer, options).obs)


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
    choices = _choices(mapping, None, {}, allow_unmapped)
    return ingest_measured(measured, path, dataset, graph, store, choices, progress)


def _choices(
    mapping: ObsMapping, layer: str | None, options: Mapping[str, str], allow_unmapped: bool
) -> Choices:
    terms = {k: dict(v) for k, v in mapping.terms.items()}
    antibodies = dict(mapping.proteins)
    recipe = repr(
        (dict(mapping.columns), dict(mapping.constants), terms, *([antibodies] if antibodies else []))
    )
    describe = partial(_described, mapping=mapping)
    return Choices(describe, recipe, layer, dict(options), allow_unmapped, antibodies)


def _described(
    measured: MeasuredCells, dataset: str, vocabulary: Vocabulary, mapping: ObsMapping
) -> tuple[pa.Table, pa.Table]:
    """One row per cell in file order: core columns (sums still null), then other obs columns; and values of no term."""
    import pyarrow as pa

    count = len(measured.barcodes)
    core = core_columns(measured.obs, mapping, vocabulary)
    unmapped = with_candidates(unmapped_values(core), vocabulary)
    give_back()  # of what mapping and counting took, before the rows are made
    columns: dict[str, Any] = {
        "cell_id": _cell_ids(dataset, measured.barcodes),
        "dataset": constant(dataset, count),
        "barcode": pa.array(measured.barcodes, pa.string()),
        **core,
        "n_counts": pa.nulls(count, pa.int64()),
        "n_genes": pa.nulls(count, pa.int32()),
    }
    of_proteins = {"n_protein_counts": pa.nulls(count, pa.int64()), "n_proteins": pa.nulls(count, pa.int32())}
    columns |= of_proteins if measured.proteins else {}
    columns |= other_columns(measured.obs, mapping, [*columns, *of_proteins, "block", "cell"])
    return pa.table(columns), unmapped


def _cell_ids(dataset: str, barcodes: list[str]) -> pa.ChunkedArray:
    import pyarrow as pa

    starts = range(0, len(barcodes), CHUNK_CELLS)
    parts = ([cell_id(dataset, b) for b in barcodes[start : start + CHUNK_CELLS]] for start in starts)
    return pa.chunked_array((pa.array(part, pa.string()) for part in parts), pa.string())
