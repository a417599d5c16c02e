"""Expression in the graph: EXPRESSED_IN from genes to cell types, summarised from the abundance store.

The relationships are what a source `expression` states, whose version is that of the store: they go through
`load` and its ledger, and each run replaces what the run before stated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph import stated
from tosg_graph.cohort import ontology_columns
from tosg_graph.errors import CellsError
from tosg_graph.load import load
from tosg_graph.progress import Progress, silent
from tosg_graph.release import stored_release
from tosg_graph.resources import cypher
from tosg_graph.types import EdgeTable, LedgerLine, Parsed, Source

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.cohort import Cohort, ExpandTerm
    from tosg_graph.graph import Graph

SOURCE = "expression"
VERB = "EXPRESSED_IN"
MIN_FRACTION = 0.05
_NO_VALUE = "no value"
_NO_GENE = "no gene node"
_BATCH = 5_000
_COLUMNS = 4_096  # of the gene axis that are summarised at a time


@dataclass(frozen=True)
class Summary:
    """What `summarize` wrote, and what it left out.

    Parameters
    ----------
    store_version
        Version of the cells table that was summarised.
    cells
        Cells that were summarised: those of a cell type that the graph has.
    cell_types
        Id of each cell type -> its number of cells.
    unmapped
        What the cells of no known type are called -> their number.
    features_without_gene
        Features with a count that are no gene of the graph, so that no relationship can start there.
    below
        Pairs of gene and cell type that are measured, but in a smaller fraction of the cells.
    ledger
        Where the rows went.
    """

    store_version: int
    cells: int
    cell_types: dict[str, int]
    unmapped: dict[str, int]
    features_without_gene: int
    below: int
    ledger: LedgerLine


def summarize(
    graph: Graph,
    reader: AbundanceReader,
    *,
    cells: str | Cohort = "true",
    by: str = "cell_type",
    min_fraction: float = MIN_FRACTION,
    progress: Progress | None = None,
) -> Summary:
    """Write EXPRESSED_IN (gene to cell type), in place of whatever the run before wrote.

    ``mean`` is in raw counts per cell, ``fraction`` the share of cells with a count above zero, ``cells`` the
    number of cells of the type, ``store_version`` that of the cells table. The same store and choices again
    write nothing.

    Parameters
    ----------
    cells
        Cohort, as expression or checked: the cells that count.
    by
        Column of the cells that names their type: an ontology column, or one that holds ids of cell types.
    min_fraction
        Smallest fraction for which a relationship is written, 0 to 1; it bounds their number. At 0, one cell
        with a count is enough.

    Raises
    ------
    CellsError
        If no cell is of a type that the graph has, or ``min_fraction`` is out of bounds; nothing is written.
    CohortError
        If ``cells`` or ``by`` cannot be used.
    """
    from tosg_graph.harmonise import term_expander

    if not 0 <= min_fraction <= 1:
        raise CellsError(f"min_fraction is {min_fraction:g}; it is a share of cells, from 0 to 1.")
    show = progress or silent
    expand = term_expander(graph)
    types, unmapped = _cell_types(graph, reader, cells, by, expand)
    measured = _measured(reader, cells, by, expand, types, show)
    genes = _known_ids(graph, "Gene", measured["feature"].unique().to_pylist())
    enough = measured.filter(_above(measured, min_fraction))
    table = _edge_table(enough, genes, reader.version.cells)
    _recall(graph)
    said = cells if isinstance(cells, str) else cells.expression
    source = _source(reader.version.cells, said, by, min_fraction)
    [line] = load(graph, [(source, Parsed(edges=(table,)))], progress=show)
    return Summary(
        store_version=reader.version.cells,
        cells=sum(types.values()),
        cell_types=types,
        unmapped=unmapped,
        features_without_gene=len(measured["feature"].unique()) - len(genes),
        below=len(measured) - len(enough),
        ledger=line,
    )


def _cell_types(
    graph: Graph, reader: AbundanceReader, cells: str | Cohort, by: str, expand: ExpandTerm
) -> tuple[dict[str, int], dict[str, int]]:
    """Cells per known type, and per name of what is none."""
    columns = _columns(reader, by)
    groups = reader.groups(cells, expand, columns).to_pylist()
    known = _known_ids(graph, "CellType", [row[columns[0]] for row in groups])
    types: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for row in groups:
        if row[columns[0]] in known:
            types[row[columns[0]]] += row["cells"]
        else:
            called = next((str(row[c]) for c in reversed(columns) if row[c] is not None), _NO_VALUE)
            others[called] += row["cells"]
    if not types:
        raise CellsError(
            f"No cell has a cell type of the graph in the column {by!r} (first: {next(iter(others))!r}). Load the "
            "cell types (tosg load cl) before cells are added, or name another column with --by."
        )
    return dict(types), dict(others)


def _columns(reader: AbundanceReader, by: str) -> list[str]:
    """The column with the ids, and those that name what has none."""
    known = reader.cell_columns()
    named = [c for c in (f"{by}_id", by, f"{by}_raw") if c in known]
    return named if by in ontology_columns() and len(named) == 3 else [by]


def _known_ids(graph: Graph, label: str, ids: Sequence[str | None]) -> set[str]:
    """Those of ``ids`` that are nodes with the label."""
    given = sorted({i for i in ids if isinstance(i, str)})
    found: set[str] = set()
    for start in range(0, len(given), _BATCH):
        batch = given[start : start + _BATCH]
        found.update(graph.rows(cypher("load_lookup_ids"), ids=batch, label=label)[0]["ids"])
    return found


def _measured(
    reader: AbundanceReader,
    cells: str | Cohort,
    by: str,
    expand: ExpandTerm,
    types: Mapping[str, int],
    show: Progress,
) -> pa.Table:
    """``feature``, ``cell_type``, ``mean``, ``fraction``, ``cells`` of each pair with at least one count."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _columns(reader, by)[0]
    wanted = pa.array(sorted(types), pa.string())
    features = pc.coalesce(reader.axis["gene_id"], reader.axis["feature"]).combine_chunks()
    places = reader.axis["column"].to_pylist()
    parts = []
    for start in range(0, len(places), _COLUMNS):
        show("Summarizing genes", start, len(places))
        found = reader.aggregate(places[start : start + _COLUMNS], column, cells, expand)
        found = found.filter(pc.and_(pc.is_in(found[column], wanted), pc.greater(found["pct"], 0)))
        # Cells with a count, as a whole number again: a percentage is rounded twice.
        hits = pc.round(pc.divide(pc.multiply(found["pct"], found["cells"].cast(pa.float64())), 100.0))
        parts.append(
            pa.table(
                {
                    "feature": features.take(found["axis_column"].combine_chunks()),
                    "cell_type": found[column],
                    "mean": found["mean"],
                    "fraction": pc.divide(hits, found["cells"].cast(pa.float64())),
                    "cells": found["cells"],
                }
            )
        )
    show("Summarizing genes", len(places), len(places))
    return pa.concat_tables(parts)


def _above(measured: pa.Table, min_fraction: float) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.greater_equal(measured["fraction"], min_fraction)


def _edge_table(enough: pa.Table, genes: set[str], store_version: int) -> EdgeTable:
    """Rows of genes as edges; rows of features that are no gene of the graph as rejects."""
    import pyarrow as pa
    import pyarrow.compute as pc

    has_gene = pc.is_in(enough["feature"], pa.array(sorted(genes), pa.string()))
    rows = enough.filter(has_gene)
    data = pa.table(
        {
            "subject": rows["feature"],
            "object": rows["cell_type"],
            **{name: rows[name] for name in ("mean", "fraction", "cells")},
            "store_version": pa.repeat(store_version, len(rows)),
        }
    )
    return EdgeTable(
        source=SOURCE,
        name="expressed_in",
        subject_label="Gene",
        verb=VERB,
        object_label="CellType",
        data=data,
        read=len(enough),
        rejects=_rejects(enough, pc.invert(has_gene)),
    )


def _rejects(enough: pa.Table, lacking: pa.ChunkedArray) -> pa.Table:
    import pyarrow as pa

    at = np.flatnonzero(lacking.to_numpy())
    return pa.table(
        {
            "row": pa.array(at + 1),
            "column": pa.repeat("subject", len(at)),
            "value": enough["feature"].take(pa.array(at)),
            "reason": pa.repeat(_NO_GENE, len(at)),
        }
    )


def _source(store_version: int, cells: str, by: str, min_fraction: float) -> Source:
    return Source(
        key=SOURCE,
        title="Expression summarised from the abundance store",
        version=str(store_version),
        licence="that of the cells",
        homepage="",
        size_mb=0,
        files={},
        in_demo=False,
        knowledge_level="observation",
        note=f"Version of the store. Cells: {cells}; types by {by}; fraction of cells at least {min_fraction:g}.",
    )


def _recall(graph: Graph) -> None:
    """Where it is not known what the run before wrote (another TOSG_HOME), read it from the graph.

    `load` then retires what this run does not state.
    """
    import pyarrow as pa

    release, folder = stored_release(graph), graph.settings.stated
    if release is None or stated.known(folder, SOURCE, release["releases"]).possible:
        return
    keys = graph.rows(cypher("expression_keys"), source=SOURCE)[0]["keys"]
    if keys:
        kinds = {"id": pa.string(), "label": pa.string(), "hash": pa.uint64(), "own": pa.uint64()}
        nodes = pa.schema(kinds).empty_table()
        edges = pa.table(
            {"key": pa.array(keys, pa.int64()), "hash": pa.repeat(pa.scalar(0, pa.uint64()), len(keys))}
        )
        stated.announce(folder, SOURCE, stated.write(folder, SOURCE, nodes, [(VERB, edges)]))
