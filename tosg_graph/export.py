"""A selection and a cohort become a bundle: topology, node text, cells with a split, abundance shards.

Nothing here imports torch, and nothing is written under the final name before it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle
from tosg_graph.bundle import SPLITS, Manifest
from tosg_graph.bundle_cells import CellPlan, check_label_column, prepare
from tosg_graph.cell_terms import CellTerms, CohortDefinition, check
from tosg_graph.comparison import Arms, defining_columns, in_arms
from tosg_graph.diagnostics import count_values, rows_of
from tosg_graph.errors import ExportError, StoreError
from tosg_graph.history import record_export
from tosg_graph.matching import ARM, Key, parse_keys
from tosg_graph.normalise import PARAMETERS, normalised
from tosg_graph.progress import Progress, silent
from tosg_graph.sampling import Sampling
from tosg_graph.selection import manifest_keys
from tosg_graph.snapshots import copy_tables
from tosg_graph.splits import SplitPlan
from tosg_graph.types import LeftOut, Selection, StoreVersion

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.correction import Fitting, Plan
    from tosg_graph.features import Feature
    from tosg_graph.graph import Graph

SHARD_CELLS = 8192  # cells per file: bounds memory, and the number of scans of the store
SOFTWARE = ("tosg-graph", "numpy", "pyarrow", "safetensors", "duckdb", "deltalake", "neo4j")


@dataclass(frozen=True)
class Measured:
    """What the store and the embedding cache contribute to a bundle.

    Parameters
    ----------
    cells
        One row per cell of the cohort, sorted by ``cell_id``; has the label column and ``n_counts``.
    axis
        ``column`` (int32), ``feature``, ``gene_id``: the gene axis.
    counts
        ``counts(cell_ids, axis_columns)``: raw int32 counts, rows and columns as given.
    version
        What the store was at.
    text, text_mask, encoder
        Float32 ``(N, D)`` vectors of the nodes, bool ``(N,)``, and the encoder's name.
    release
        Release of the graph.
    features
        Name -> values of the nodes, where asked for.
    left_out
        Cells of the cohort that are in no arm of a comparison.
    definition, terms
        What picked the cells, and the terms that its query returned.
    """

    cells: pa.Table
    axis: pa.Table
    counts: Callable[[Sequence[str], Sequence[int]], csr_array[Any, Any]]
    version: StoreVersion
    text: NDArray[np.float32]
    text_mask: NDArray[np.bool_]
    encoder: str
    release: str
    features: Mapping[str, Feature] = field(default_factory=dict)
    left_out: Sequence[LeftOut] = ()
    definition: CohortDefinition = field(default_factory=CohortDefinition)
    terms: CellTerms | None = None


def export(
    selection: Selection,
    graph: Graph,
    store: AbundanceStore,
    *,
    cells: str | CohortDefinition,
    label: str,
    out: Path,
    seed: int = 0,
    strict: bool = False,
    features: Sequence[str] = (),
    arms: Arms | None = None,
    sampling: Sampling | None = None,
    split: SplitPlan | None = None,
    correct: Plan | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write the bundle of ``selection`` and the cohort ``cells`` to ``out``.

    Parameters
    ----------
    cells
        Cohort expression, ``true`` for all cells; or that and a query that picks terms.
    label
        Column of the cells table that becomes the class of each cell; ``arm`` where there are arms.
    out
        Folder to make; must not exist.
    seed
        Decides the split and the order of the cells, nothing else.
    strict
        Refuse cells without a label instead of leaving them out.
    features
        Numeric properties of the nodes, or runs of graph algorithms, to write along.
    arms
        Keep to the cells of a comparison, matched on each side of the split.
    sampling
        Thin the cells before they are split and matched.
    split
        How cells are split; by donor in fractions without it.
    correct
        Batch correction to fit on the training cells and write along; the counts stay as they are.

    Raises
    ------
    CorrectionError
        If the correction cannot be fitted.
    ExportError
        If ``out`` exists or cannot be written, the label cannot be used, or no gene has abundance.
    CohortError
        If the expression is refused or selects no cell.
    """
    from tosg_graph.abundance import AbundanceReader

    out = bundle.refuse_existing(out)
    version = store.version()
    if version is None:
        raise ExportError("The store has no cells yet. Add some: tosg cells add FILE.h5ad.")
    reader = AbundanceReader.open(store, version)
    try:
        known = reader.cell_columns()
        check_label_column(label, {**known, ARM: "VARCHAR"} if arms else known)
        definition = cells if isinstance(cells, CohortDefinition) else CohortDefinition(cells)
        measured = _measure(selection, graph, store, reader, version, definition, features, arms)
        manifest = write_bundle(
            selection,
            measured,
            cohort=definition.expression,
            label=label,
            out=out,
            seed=seed,
            strict=strict,
            arms=arms,
            keys=parse_keys(arms.match, known) if arms else (),
            defining=defining_columns(reader, arms) if arms else (),
            sampling=sampling,
            split=split,
            correct=correct,
            progress=progress or silent,
        )
    finally:
        reader.close()
    with suppress(OSError):  # the bundle is complete; a home that cannot be written forgets it
        record_export(graph.settings.home, out, measured.release)
    return manifest


def _measure(
    selection: Selection,
    graph: Graph,
    store: AbundanceStore,
    reader: AbundanceReader,
    version: StoreVersion,
    definition: CohortDefinition,
    features: Sequence[str],
    arms: Arms | None,
) -> Measured:
    from tosg_graph.embedding_cache import EmbeddingCache
    from tosg_graph.encoders import DEFAULT_ENCODER, open_encoder
    from tosg_graph.features import node_features
    from tosg_graph.harmonise import term_expander
    from tosg_graph.release import graph_release
    from tosg_graph.vector_index import graph_encoder

    cohort, terms = check(definition, reader.cell_columns(), graph)
    expand, left = term_expander(graph), list[LeftOut]()
    if arms:
        cells, left = in_arms(reader, cohort, expand, arms)
    else:
        reader.check_one_kind(cohort, expand)
        cells = reader.cells(cohort, expand)
    made_by = graph_encoder(graph)
    encoder = made_by.name if made_by else DEFAULT_ENCODER
    if made_by:
        revision = made_by.revision
    else:  # it is the hash of a model, which takes a while; nothing was ever embedded where there is no folder
        revision = open_encoder(encoder).revision if graph.settings.embeddings.is_dir() else ""
    cache = EmbeddingCache.open(graph.settings.embeddings, encoder, revision)
    text, mask = cache.lookup([sha or "" for sha in selection.nodes["text_sha"].to_pylist()])
    return Measured(
        cells=cells,
        axis=store.axis(version),
        counts=reader.csr,
        version=version,
        text=text,
        text_mask=mask,
        encoder=encoder,
        release=graph_release(graph),
        features=node_features(graph, selection.nodes["id"].to_pylist(), features),
        left_out=left,
        definition=definition,
        terms=terms,
    )


def write_bundle(
    selection: Selection,
    measured: Measured,
    *,
    cohort: str,
    label: str,
    out: Path,
    seed: int = 0,
    strict: bool = False,
    arms: Arms | None = None,
    keys: Sequence[Key] = (),
    defining: Iterable[str] = (),
    sampling: Sampling | None = None,
    split: SplitPlan | None = None,
    correct: Plan | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Write a bundle from tables at hand; `export` says what the arguments mean.

    With ``arms`` the cells have the column ``arm``; ``keys`` are those of the match, ``defining`` the columns that
    the arms are made by.

    Raises
    ------
    ExportError
        As `export`.
    """
    out = bundle.refuse_existing(out)
    genes, axis_dropped = gene_table(selection.nodes, measured.axis)
    plan = CellPlan(
        label=label,
        seed=seed,
        strict=strict,
        sampling=sampling or Sampling(),
        split=split or SplitPlan(),
        arms=arms,
        keys=tuple(keys),
        defining=frozenset(defining),
    )
    every_column = measured.axis["column"].to_pylist()
    chosen = prepare(measured.cells, lambda ids: measured.counts(ids, every_column), plan)
    outside = [bundle.dropped("cells", x.reason, x.cell_ids, kept=False) for x in measured.left_out]
    node_dropped = _masked_nodes(selection.nodes, genes, measured.text_mask)
    fitting = correct.start(chosen.cells, len(genes)) if correct else None
    with bundle.new_bundle(out) as folder:
        copied = _write_graph(selection, genes, folder)
        text = {"embedding": measured.text.astype("float32", copy=False), "mask": measured.text_mask}
        bundle.write_tensors(text, folder / bundle.TEXT)
        _write_features(measured.features, folder)
        bundle.write_table(chosen.cells, folder / bundle.CELLS)
        bundle.write_json(chosen.diagnostics, folder / bundle.DIAGNOSTICS)
        shards, total = _write_shards(chosen.cells, genes, measured.counts, folder, progress, fitting)
        more: dict[str, Any] = {}
        if measured.features:
            more["features"] = {name: f.values.shape[1] for name, f in measured.features.items()}
        if correct and fitting:
            more["correction"] = _write_correction(correct, fitting, chosen.cells, folder)
        content = {
            "format_version": bundle.FORMAT_VERSION,
            "query": selection.query,
            "parameters": selection.parameters,
            "induced": selection.induced,
            "cells": cohort,
            "label": label,
            "classes": chosen.classes,
            "strict": strict,
            "seed": seed,
            "graph_release": measured.release,
            "store": {
                "cells": measured.version.cells,
                "counts": measured.version.counts,
                "axis": measured.version.axis,
            },
            "axis_sha256": measured.version.axis_sha256,
            "encoder": measured.encoder,
            "nodes": count_values(selection.nodes["type"]),
            "edges": {bundle.edge_name(key): len(table) for key, table in selection.edges.items()},
            "genes": len(genes),
            "splits": {name: sum(s["cells"] for s in shards[name]) for name in SPLITS},
            "split_unit": chosen.diagnostics["split_unit"],
            "verdict": chosen.diagnostics["verdict"],
            "total_counts": total,
            "normalisation": PARAMETERS,
            "dropped": [*selection.left_out, *outside, *chosen.dropped, *axis_dropped, *node_dropped],
            "shards": shards,
            "software": _software(),
            "files": bundle.checksums(folder, copied),
            **chosen.manifest,
            **_picked_by(measured),
            **manifest_keys(selection),
            **more,
        }
        bundle.write_json(content, folder / bundle.MANIFEST)
    return Manifest(out, bundle.read_manifest(out))


def _picked_by(measured: Measured) -> dict[str, Any]:
    """Keys of the manifest that say what picked the cells, beside the expression."""
    asked, terms = measured.definition, measured.terms
    found: dict[str, Any] = {}
    if asked.saved_as:
        found["saved_cohorts"] = list(asked.saved_as)
    if terms:
        found["cells_query"] = {
            "query": asked.query,
            "parameters": dict(asked.parameters),
            "exact_terms": asked.exact,
            "returned": terms.returned,
            "meant": {columns: len(ids) for columns, ids in terms.meant.items()},
        }
    return found


# --------------------------------------------------------------------------- genes and nodes


def gene_table(nodes: pa.Table, axis: pa.Table) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Match the picked genes with the axis.

    Returns
    -------
    genes
        ``node_row`` (int64, ascending), ``gene_id``, ``axis_column`` (int32), ``feature``. The row number is
        the column of the abundance shards.
    dropped
        Picked genes that were not measured, and measured features that were not picked.

    Raises
    ------
    ExportError
        If no picked node is a gene of the axis.
    StoreError
        If the axis gives one gene two columns.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    known = axis.filter(pc.is_valid(axis["gene_id"]))
    if pc.count_distinct(known["gene_id"]).as_py() != len(known):
        raise StoreError("The gene axis gives one gene two columns. Add the cells to a new store.")
    is_gene = pc.equal(nodes["type"], "Gene")
    at = pc.index_in(nodes["id"], known["gene_id"].combine_chunks())
    rows = np.flatnonzero(pc.and_(is_gene, pc.is_valid(at)).to_numpy(zero_copy_only=False))
    picked = pc.sum(is_gene).as_py() or 0
    if not len(rows):
        raise ExportError(
            f"None of the {len(nodes):,} picked nodes has abundance: {picked:,} are genes, none of them "
            f"among the {len(known):,} genes of the store. Let the query return genes that were measured."
        )
    found = known.take(at.take(pa.array(rows)))
    genes = pa.table(
        {
            "node_row": rows.astype(np.int64),
            "gene_id": found["gene_id"],
            "axis_column": found["column"].cast(pa.int32()),
            "feature": found["feature"],
        }
    )
    missing = nodes["id"].filter(pc.and_(is_gene, pc.is_null(at)))
    reason = "Gene that is not on the gene axis: no abundance"
    dropped = [
        bundle.dropped("nodes", reason, missing.to_pylist(), kept=True),
        {
            "what": "features",
            "reason": "on the gene axis, not picked by the query",
            "count": len(axis) - len(genes),
            "kept": False,
            "examples": [],
        },
    ]
    return genes, [d for d in dropped if d["count"]]


def _masked_nodes(nodes: pa.Table, genes: pa.Table, text_mask: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Nodes that are kept with a mask: types without abundance, nodes without a text vector."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = []
    for type_, count in count_values(nodes["type"]).items():
        if type_ != "Gene":
            found.append(
                {
                    "what": "nodes",
                    "reason": f"{type_}: abundance is per gene",
                    "count": count,
                    "kept": True,
                    "examples": [],
                }
            )
    bare = nodes["id"].filter(pc.invert(pa.array(text_mask))).to_pylist()
    if bare:
        found.append(bundle.dropped("nodes", "no text vector; run tosg embed", bare, kept=True))
    return found


def _write_graph(selection: Selection, genes: pa.Table, folder: Path) -> dict[str, str]:
    """Write nodes, edges and topology; the sha256 of those files for which it is known."""
    import numpy as np

    copied = copy_tables(selection, folder)
    if not copied:
        bundle.write_table(selection.nodes, folder / bundle.NODES)
    bundle.write_table(genes, folder / bundle.GENES)
    has_abundance = np.zeros(len(selection.nodes), np.bool_)
    has_abundance[genes["node_row"].to_numpy()] = True
    sizes = list(count_values(selection.nodes["type"]).values())
    tensors: dict[str, NDArray[Any]] = {
        "node_offsets": np.cumsum([0, *sizes], dtype=np.int64),
        "node_has_abundance": has_abundance,
    }
    for key, table in selection.edges.items():
        name = bundle.edge_name(key)
        rows = [table["source_row"].to_numpy(), table["target_row"].to_numpy()]
        tensors[f"{name}.edge_index"] = np.stack(rows).astype(np.int64, copy=False)
        for attribute in _numeric(table):
            values = table[attribute].cast("float32", safe=False).to_numpy(zero_copy_only=False)
            tensors[f"{name}.{attribute}"] = values.astype(np.float32)  # null is NaN
        if not copied:
            bundle.write_table(table, folder / bundle.edge_file(key))
    bundle.write_tensors(tensors, folder / bundle.TOPOLOGY)
    return copied


def _write_features(features: Mapping[str, Feature], folder: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {}
    for name, feature in features.items():
        tensors[name] = feature.values
        tensors[f"{name}.mask"] = feature.mask
    if tensors:
        bundle.write_tensors(tensors, folder / bundle.FEATURES)


def _write_correction(plan: Plan, fitting: Fitting, cells: pa.Table, folder: Path) -> dict[str, Any]:
    """Write the fitted lines, and return the manifest's entry."""
    from tosg_graph.correction import as_tensors

    correction = fitting.result()
    bundle.write_tensors(as_tensors(correction), folder / bundle.CORRECTION)
    return plan.facts(correction, cells)


def _numeric(table: pa.Table) -> list[str]:
    """Columns that are numbers and not all null, apart from rows and keys."""
    import pyarrow as pa

    def is_number(kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    names = [f.name for f in table.schema if is_number(f.type)]
    hidden = {"source_row", "target_row", "edge_key"}
    return [n for n in names if n not in hidden and table[n].null_count < len(table)]


# --------------------------------------------------------------------------- abundance


def _write_shards(
    cells: pa.Table,
    genes: pa.Table,
    counts: Callable[[Sequence[str], Sequence[int]], csr_array[Any, Any]],
    folder: Path,
    progress: Progress,
    fitting: Fitting | None = None,
) -> tuple[dict[str, list[dict[str, Any]]], int]:
    """One safetensors file per shard; returns what each holds, and the sum of all counts.

    ``fitting`` sees the training cells as they pass.
    """
    import numpy as np

    columns = genes["axis_column"].to_pylist()
    shards: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    total = 0
    (folder / "abundance").mkdir()
    for split, number, start, rows in _shard_rows(cells):
        progress("Writing abundance", start, len(cells))
        matrix = counts(rows["cell_id"].to_pylist(), columns)
        matrix.sort_indices()
        name = f"abundance/{split}-{number:05d}.safetensors"
        tensors = {
            "indptr": matrix.indptr.astype(np.int64),
            "indices": matrix.indices.astype(np.int32),
            "data": matrix.data.astype(np.int32),
            "n_counts": rows["n_counts"].to_numpy().astype(np.int64),
        }
        bundle.write_tensors(tensors, folder / name)
        if fitting and split == "train":
            fitting.add(normalised(matrix, tensors["n_counts"]))
        total += int(matrix.data.sum(dtype=np.int64))
        shards[split].append(
            {"file": name, "first_row": start, "cells": len(rows), "nonzeros": int(matrix.nnz)}
        )
    progress("Writing abundance", len(cells), len(cells))
    return shards, total


def _shard_rows(cells: pa.Table) -> Iterator[tuple[str, int, int, pa.Table]]:
    """``(split, number, first row, rows)`` of each shard."""
    start = 0
    for split in SPLITS:
        size = len(rows_of(cells, split))
        for number, first in enumerate(range(0, size, SHARD_CELLS)):
            length = min(SHARD_CELLS, size - first)
            yield split, number, start + first, cells.slice(start + first, length)
        start += size


def _software() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}
