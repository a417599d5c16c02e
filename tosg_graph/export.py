"""A selection and a cohort become a bundle: topology, node text, cells with a split, abundance shards.

Nothing here imports torch, and nothing is written under the final name before it is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle, diagnostics_page
from tosg_graph.bundle import SPLITS, Manifest
from tosg_graph.bundle_cells import CellPlan, check_label_column, prepare, proved
from tosg_graph.bundle_draft import new_draft, refuse_taken
from tosg_graph.bundle_features import (
    ANY,
    JoinedProteins,
    LayerSource,
    gene_table,
    join,
    masked_nodes,
    measured_facts,
)
from tosg_graph.bundle_shards import UNPICKED, write_shards
from tosg_graph.bundle_topology import edge_counts, edge_tensors
from tosg_graph.cell_terms import CellTerms, CohortDefinition, check
from tosg_graph.comparison import Arms, defining_columns, in_arms
from tosg_graph.diagnostics import count_values, rows_of
from tosg_graph.edge_splits import EdgeTask, split_edges, write_edge_splits
from tosg_graph.engine import LOCAL, Engine
from tosg_graph.errors import ExportError
from tosg_graph.history import record_export
from tosg_graph.label_bins import check_bins
from tosg_graph.layers import GENE, PROTEIN
from tosg_graph.levels import Gathered, Levels, Links, gathered, read_links
from tosg_graph.matching import ARM, Key, parse_keys
from tosg_graph.measured_features import MeasuredFeatures
from tosg_graph.normalise import PARAMETERS
from tosg_graph.progress import Progress, silent
from tosg_graph.sampling import Sampling
from tosg_graph.selection import manifest_keys
from tosg_graph.snapshots import copy_tables
from tosg_graph.split_plan import SplitPlan
from tosg_graph.threads import threads
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
    from tosg_graph.sentences import TextPlan


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
    version, counts_files
        What the store was at, and the names of its files of counts, which hold the sha256 of their bytes.
    text, text_mask, encoder
        Float32 ``(N, D)`` vectors of the nodes, bool ``(N,)``, and the encoder's name.
    release
        Release of the graph.
    features
        Name -> values of the nodes, where asked for.
    measured
        ``measured(datasets, axis_columns)``: the genes that each dataset measured, where that is known.
    proteins
        The layer of proteins, where asked for; cells then have ``n_protein_counts``.
    links
        Genes that picked transcripts and proteins gather abundance from, where asked for.
    left_out
        Cells of the cohort that are in no arm of a comparison.
    definition, terms
        What picked the cells, and the terms that its query returned.
    engine
        Where counts are read, several shards at a time.
    """

    cells: pa.Table
    axis: pa.Table
    counts: Callable[[Sequence[str], Sequence[int]], csr_array[Any, Any]]
    version: StoreVersion
    text: NDArray[np.float32]
    text_mask: NDArray[np.bool_]
    encoder: str
    release: str
    counts_files: Sequence[str] = ()
    features: Mapping[str, Feature] = field(default_factory=dict)
    measured: Callable[[Sequence[str], Sequence[int]], MeasuredFeatures] | None = None
    proteins: LayerSource | None = None
    links: Links | None = None
    left_out: Sequence[LeftOut] = ()
    definition: CohortDefinition = field(default_factory=CohortDefinition)
    terms: CellTerms | None = None
    engine: Engine = LOCAL


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
    bins: Sequence[float] = (),
    features: Sequence[str] = (),
    arms: Arms | None = None,
    sampling: Sampling | None = None,
    split: SplitPlan | None = None,
    correct: Plan | None = None,
    proteins: bool = False,
    measured_by: str = ANY,
    levels: Levels | None = None,
    engine: Engine = LOCAL,
    text: TextPlan | None = None,
    edge_task: EdgeTask | None = None,
    abundance: bool = True,
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
        Decides the split and the order of the cells, and the edge task, nothing else.
    strict
        Refuse cells without a label instead of leaving them out.
    bins
        Edges of the bins that make classes of the label's numbers; each holds its lower edge.
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
    proteins
        Join the counts of surface proteins to the picked proteins.
    measured_by
        ``any``: a gene or protein that some dataset of the cohort did not measure stays, and the bundle says where it
        is unknown; ``all``: it is left out.
    levels
        Gather abundance for picked transcripts or proteins from their genes.
    engine
        Where counts are read; the bytes are the same.
    text
        Write texts for language models along, with sentences of this length.
    edge_task
        Edges to hold out, and negatives, to write along; the topology stays as it is.
    abundance
        Write the counts; without, `TosgDataset` reads them from the store, at the version that the bundle names.

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

    out = refuse_taken(out)
    if bins:
        check_bins(bins)
    if levels and correct:
        raise ExportError(
            "--correct is fitted per gene, and --level gathers raw counts. Export with one of them."
        )
    version = store.version()
    if version is None:
        raise ExportError("The store has no cells yet. Add some: tosg cells add FILE.h5ad.")
    reader = AbundanceReader.open(store, version, engine)
    of_proteins = None
    try:
        of_proteins = AbundanceReader.open(store, version, layer=PROTEIN) if proteins else None
        known = reader.cell_columns()
        check_label_column(label, {**known, ARM: "VARCHAR"} if arms else known)
        definition = cells if isinstance(cells, CohortDefinition) else CohortDefinition(cells)
        measured = _measure(selection, graph, reader, of_proteins, definition, features, arms)
        links = read_links(graph, selection.nodes, levels) if levels else None
        measured = replace(measured, engine=engine, links=links)
        manifest = write_bundle(
            selection,
            measured,
            cohort=definition.expression,
            label=label,
            out=out,
            seed=seed,
            strict=strict,
            bins=bins,
            arms=arms,
            keys=parse_keys(arms.match, known) if arms else (),
            defining=defining_columns(reader, arms) if arms else (),
            sampling=sampling,
            split=split,
            correct=correct,
            measured_by=measured_by,
            text=text,
            edge_task=edge_task,
            abundance=abundance,
            progress=progress or silent,
        )
    finally:
        reader.close()
        if of_proteins:
            of_proteins.close()
    with suppress(OSError):  # the bundle is complete; a home that cannot be written forgets it
        record_export(graph.settings.home, out, measured.release)
    return manifest


def _measure(
    selection: Selection,
    graph: Graph,
    reader: AbundanceReader,
    of_proteins: AbundanceReader | None,
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
    if not mask.any():
        text = text[:, :0]  # of a large graph, zeros that say nothing are most of a bundle
    return Measured(
        cells=cells,
        axis=reader.axis,
        counts=reader.csr,
        version=reader.version,
        counts_files=reader.counts_files,
        text=text,
        text_mask=mask,
        encoder=encoder,
        release=graph_release(graph),
        features=node_features(graph, selection.nodes["id"].to_pylist(), features),
        measured=reader.measured,
        proteins=LayerSource(of_proteins.axis, of_proteins.csr, of_proteins.measured)
        if of_proteins
        else None,
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
    bins: Sequence[float] = (),
    arms: Arms | None = None,
    keys: Sequence[Key] = (),
    defining: Iterable[str] = (),
    sampling: Sampling | None = None,
    split: SplitPlan | None = None,
    correct: Plan | None = None,
    measured_by: str = ANY,
    text: TextPlan | None = None,
    edge_task: EdgeTask | None = None,
    abundance: bool = True,
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
    out = refuse_taken(out)
    links = measured.links
    genes, axis_dropped = gene_table(
        selection.nodes, measured.axis, links.table["gene_id"] if links else None
    )
    plan = CellPlan(
        label=label,
        seed=seed,
        strict=strict,
        bins=tuple(bins),
        sampling=sampling or Sampling(),
        split=split or SplitPlan(),
        arms=arms,
        keys=tuple(keys),
        defining=frozenset(defining),
    )
    if not abundance and (correct or text or measured.proteins or measured.links):
        raise ExportError(
            "Without abundance nothing can be made of it: leave out correction, texts, proteins and levels."
        )
    held_out = split_edges(selection, edge_task, seed) if edge_task else None
    every_column = measured.axis["column"].to_pylist()
    chosen = prepare(measured.cells, lambda ids: measured.counts(ids, every_column), plan)
    outside = [bundle.dropped("cells", x.reason, x.cell_ids, kept=False) for x in measured.left_out]
    source = LayerSource(measured.axis, measured.counts, measured.measured)
    datasets = sorted(set(chosen.cells["dataset"].to_pylist()))
    joined = join(selection.nodes, genes, source, measured.proteins, datasets, measured_by)
    gather = gathered(joined, links, selection.nodes) if links else None
    joined = gather.joined if gather else joined
    genes, proteins = joined.genes, joined.proteins
    types = ["Gene", *(["Protein"] if proteins else []), *(links.policies if links else ())]
    node_dropped = masked_nodes(selection.nodes, types, measured.text_mask)
    fitting = correct.start(chosen.cells, len(genes)) if correct else None
    with new_draft(out) as draft, threads(2) as beside:
        folder = draft.folder
        embedded = {"embedding": measured.text.astype("float32", copy=False), "mask": measured.text_mask}
        draft.put(bundle.TEXT, lambda path: bundle.write_tensors(embedded, path), beside)
        draft.known |= _write_graph(selection, genes, proteins, gather, folder)
        _write_features(measured.features, folder)
        draft.settle(beside)
        bundle.write_table(chosen.cells, folder / bundle.CELLS)
        chosen = proved(chosen, folder)
        bundle.write_json(chosen.diagnostics, folder / bundle.DIAGNOSTICS)
        page = diagnostics_page.bundle_page(chosen.diagnostics)
        (folder / bundle.DIAGNOSTICS_PAGE).write_text(page, encoding="utf-8")
        more: dict[str, Any] = {}
        if abundance:
            shards, totals = write_shards(chosen.cells, joined, measured, draft, progress, fitting)
        else:
            shards, totals, more = {name: [] for name in SPLITS}, {}, {"abundance_in_store": True}
        if joined.measured:
            more["measured"], masks = measured_facts(joined, measured_by)
            bundle.write_tensors(masks, folder / bundle.MEASURED)
        if proteins:
            more["proteins"] = proteins.facts(chosen.cells, totals[PROTEIN])
        if gather:
            more["gather"] = {**gather.facts, "unpicked_total_counts": totals[UNPICKED]}
        if measured.features:
            more["features"] = {name: f.values.shape[1] for name, f in measured.features.items()}
        if correct and fitting:
            more["correction"] = _write_correction(correct, fitting, chosen.cells, folder)
        if text:
            from tosg_graph.sentences import Written, write_texts

            written = Written(selection.nodes, genes, selection.edges, chosen.cells, shards, label)
            more["text"] = write_texts(folder, text, written)
        if held_out:
            kinds = list(count_values(selection.nodes["type"]))
            more["edge_task"] = write_edge_splits(held_out, kinds, folder)
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
            "edges": edge_counts(selection),
            "genes": len(genes),
            "splits": {name: len(rows_of(chosen.cells, name)) for name in SPLITS},
            "split_unit": chosen.diagnostics["split_unit"],
            "verdict": chosen.diagnostics["verdict"],
            "total_counts": totals.get(GENE),
            "normalisation": PARAMETERS,
            "dropped": [
                *selection.left_out,
                *outside,
                *chosen.dropped,
                *axis_dropped,
                *joined.dropped,
                *node_dropped,
            ],
            "shards": shards,
            "software": bundle.software(),
            "files": draft.checksums(),
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


# --------------------------------------------------------------------------- features and nodes


def _write_graph(
    selection: Selection,
    genes: pa.Table,
    proteins: JoinedProteins | None,
    gather: Gathered | None,
    folder: Path,
) -> dict[str, str]:
    """Write nodes, edges and topology; the sha256 of those files for which it is known."""
    import numpy as np

    copied = copy_tables(selection, folder)
    if not copied:
        bundle.write_table(selection.nodes, folder / bundle.NODES)
    bundle.write_table(genes, folder / bundle.GENES)
    has_abundance = np.zeros(len(selection.nodes), np.bool_)
    has_abundance[genes["node_row"].to_numpy()] = True
    if proteins:
        bundle.write_table(proteins.table, folder / bundle.PROTEINS)
        has_abundance[proteins.table["node_row"].to_numpy()] = True
    if gather:
        gather.write(folder)
        has_abundance[gather.rows] = True
    sizes = list(count_values(selection.nodes["type"]).values())
    tensors: dict[str, NDArray[Any]] = {
        "node_offsets": np.cumsum([0, *sizes], dtype=np.int64),
        "node_has_abundance": has_abundance,
    }
    if not copied:
        for key, table in selection.edges.items():
            bundle.write_table(table, folder / bundle.edge_file(key))
    bundle.write_tensors({**tensors, **edge_tensors(selection)}, folder / bundle.TOPOLOGY)
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
