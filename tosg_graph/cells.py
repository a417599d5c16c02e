"""`tosg cells add`: files of cells, what their obs means, and their way into the store."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.abundance_store import cell_id
from tosg_graph.errors import CellsError
from tosg_graph.harmonise import Terms, harmonise, is_unknown, ontology_labels, read_terms
from tosg_graph.ingest import Choices, ingest, ingest_measured
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path, schema
from tosg_graph.types import CHUNK_CELLS, CellsLedger, MeasuredCells

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance_store import AbundanceStore
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
    allow_unmapped: bool = False,
    progress: Progress | None = None,
) -> CellsLedger:
    """Add one ``.h5ad`` file with raw counts.

    Parameters
    ----------
    dataset
        Name in the store, by default the file's stem. The same file again changes nothing and says so.
    layer
        ``X`` (default), ``raw`` or a layer's name.
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
    files = [Path(path) for path in paths]
    choices = _choices(mapping, layer, allow_unmapped)
    return ingest(
        list(zip(files, datasets or [path.stem for path in files], strict=True)),
        graph,
        store,
        choices,
        processes=processes,
        connect=connect,
        progress=progress or silent,
    )


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
    choices = _choices(mapping, None, allow_unmapped)
    return ingest_measured(measured, path, dataset, graph, store, choices, progress)


def _choices(mapping: ObsMapping, layer: str | None, allow_unmapped: bool) -> Choices:
    terms = {k: dict(v) for k, v in mapping.terms.items()}
    recipe = repr((dict(mapping.columns), dict(mapping.constants), terms))
    return Choices(partial(_cells_table, mapping=mapping), recipe, layer, allow_unmapped)


# --------------------------------------------------------------------------- cells


def _cells_table(measured: MeasuredCells, dataset: str, graph: Graph, mapping: ObsMapping) -> pa.Table:
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
