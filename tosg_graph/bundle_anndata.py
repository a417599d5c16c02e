"""A bundle as AnnData: counts of all its cells, edges among their genes in ``varp``, the whole subgraph in ``uns``."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.bundle import edge_name
from tosg_graph.bundle_content import BundleContent
from tosg_graph.count_files import CountMatrix, as_anndata, frame, write_h5ad
from tosg_graph.errors import ExportError
from tosg_graph.resources import schema

if TYPE_CHECKING:
    import anndata
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

MOST_EDGES = 10_000_000  # AnnData reads `uns` and `varp` whole


def to_anndata(folder: str | Path) -> anndata.AnnData:
    """Read a bundle into memory as AnnData.

    Returns
    -------
    anndata.AnnData
        ``X``: raw counts, int32 CSR ``(cells, genes)``, all splits in the order of ``cells.parquet``. ``obs``: its
        columns, the split among them; names are cell ids. ``var``: genes by name, with ``gene_ids`` and ``node_row``.
        ``varp``: per edge type that joins genes with abundance, up to three float32 matrices, see `adjacency`.
        ``uns["tosg"]``: ``nodes``, ``edges`` by type (every node and edge, with all properties, lists as JSON), and
        ``manifest`` (JSON).

    Raises
    ------
    BundleError
        If the bundle is damaged.
    ExportError
        If it has more than 10,000,000 edges.
    """
    from scipy.sparse import csr_matrix, vstack

    content = BundleContent.open(folder)
    matrix, parts = _count_matrix(content), _graph_parts(content)
    counts = csr_matrix(vstack(list(matrix.chunks()), format="csr"))
    return as_anndata(matrix, counts, **parts)


def write_anndata(folder: str | Path, out: Path) -> dict[str, str]:
    """Write what `to_anndata` returns as ``.h5ad``, its counts shard by shard; say what was written."""
    content = BundleContent.open(folder)
    matrix, parts = _count_matrix(content), _graph_parts(content)
    write_h5ad(matrix, out, **parts)
    return {
        "cells": f"{len(matrix.names):,}",
        "genes": f"{len(matrix.features):,}",
        "varp": ", ".join(parts["varp"]) or "nothing: no edge joins two genes with abundance",
        "uns['tosg']": f"{len(content.nodes):,} nodes, {content.edge_count:,} edges",
    }


def _count_matrix(content: BundleContent) -> CountMatrix:
    import pyarrow as pa

    genes, nodes = content.genes, content.nodes.take(content.genes["node_row"])
    names, ids = nodes["name"].to_pylist(), genes["gene_id"].to_pylist()
    times = Counter(names)
    names = [name if name and times[name] == 1 else id_ for name, id_ in zip(names, ids, strict=True)]
    names = names if len(set(names)) == len(names) else ids  # a gene may be called what is the id of another
    return CountMatrix(
        names=content.cells["cell_id"].to_pylist(),
        obs=content.cells,
        features=genes.add_column(0, "name", pa.array(names, pa.string())),
        chunks=content.counts,
        facts={},
    )


def _graph_parts(content: BundleContent) -> dict[str, Any]:
    """``varp`` and ``uns``."""
    if content.edge_count > MOST_EDGES:
        raise ExportError(
            f"{content.folder} has {content.edge_count:,} edges, AnnData takes {MOST_EDGES:,}: it reads them whole. "
            "Export fewer, or write an edge list: .parquet."
        )
    column = np.full(len(content.nodes), -1, np.int64)
    column[content.genes["node_row"].to_numpy()] = np.arange(len(content.genes))
    varp: dict[str, csr_matrix] = {}
    edges: dict[str, Any] = {}
    for key, table in content.edges():
        name = edge_name(key)
        edges[name] = frame(_lists_as_json(table), list(map(str, range(len(table)))))
        varp |= {f"{name}{part}": found for part, found in adjacency(key[1], table, column).items()}
    told = {
        "nodes": frame(_lists_as_json(content.nodes.drop(["id"])), content.nodes["id"].to_pylist()),
        "edges": edges,
        "manifest": json.dumps(content.manifest, sort_keys=True, ensure_ascii=False),
    }
    return {"varp": varp, "uns": {"tosg": told}}


def _lists_as_json(table: pa.Table) -> pa.Table:
    """The table with each list as one text: a data frame of AnnData holds no lists."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            values = table[field.name].to_pylist()
            texts = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table


def adjacency(verb: str, table: pa.Table, column: NDArray[np.int64]) -> dict[str, csr_matrix]:
    """Edges of one type as matrices over genes; row: source, column: target.

    Parameters
    ----------
    verb
        Edges of a symmetric verb, which are stored once, stand in both directions.
    table
        Edges as in the bundle. Those that a source states to be false are left out.
    column
        Node row -> column of the counts; -1 where it has none. Edges of such nodes are left out.

    Returns
    -------
    dict
        Of float32 ``(genes, genes)`` CSR, empty where no edge is left. ``""``: how many edges join the two, parallel
        ones of several sources counted each. ``".sign"``: 1 or -1 where at least one of them states it and none the
        other; no entry elsewhere. ``".score"``: the highest score that they state.
    """
    import pyarrow.compute as pc
    from scipy.sparse import csr_matrix

    if "negated" in table.column_names:
        table = table.filter(pc.invert(pc.fill_null(table["negated"].cast("bool"), False)))
    genes = int((column >= 0).sum())
    source, target = (column[table[end].to_numpy()] for end in ("source_row", "target_row"))
    sign, score = _numbers(table, "sign"), _numbers(table, "score")
    if schema("edges")["verbs"].get(verb, {}).get("symmetric"):
        back = np.flatnonzero(source != target)
        source, target = np.concatenate([source, target[back]]), np.concatenate([target, source[back]])
        sign, score = np.concatenate([sign, sign[back]]), np.concatenate([score, score[back]])
    inside = (source >= 0) & (target >= 0)
    pairs, place = np.unique(source[inside] * genes + target[inside], return_inverse=True)
    if not len(pairs):
        return {}
    signs = np.zeros((2, len(pairs)), bool)
    for row, value in enumerate((1, -1)):
        signs[row, place[sign[inside] == value]] = True
    scores = np.full(len(pairs), np.nan)
    np.fmax.at(scores, place, score[inside])
    values = {
        "": np.bincount(place).astype(np.float64),
        ".sign": signs[0].astype(np.float64) - signs[1],
        ".score": scores,
    }
    found = {}
    for name, value in values.items():
        stated = np.isfinite(value) & ((value != 0) | (name == ".score"))
        if stated.any():
            at = np.divmod(pairs[stated], genes)
            found[name] = csr_matrix((value[stated].astype(np.float32), at), shape=(genes, genes))
    return found


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        return np.full(len(table), np.nan)
    found: NDArray[np.float64] = table[name].cast("float64").to_numpy(zero_copy_only=False)
    return found
