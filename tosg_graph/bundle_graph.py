"""The subgraph of a bundle for other programs: NetworkX, GraphML, and a plain list of edges. Cells stay behind."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.bundle import new_file
from tosg_graph.bundle_content import BundleContent
from tosg_graph.errors import BundleError, ExportError

if TYPE_CHECKING:
    import networkx as nx
    import pyarrow as pa

MOST_IN_MEMORY = 1_000_000  # nodes and edges together: about a kilobyte each in NetworkX
MOST_IN_GRAPHML = 200_000  # the programs that read GraphML draw graphs
ROWS = 65_536  # edges that are written at once
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def to_networkx(folder: str | Path, *, limit: int = MOST_IN_MEMORY) -> nx.MultiDiGraph[str]:
    """Return the subgraph in memory.

    Parameters
    ----------
    limit
        Nodes and edges together, at most.

    Returns
    -------
    networkx.MultiDiGraph
        Nodes are ids, in the order of their rows, with ``row``, ``type`` and every property that the node has. Edges
        have ``edge_key`` as key, and ``verb`` and every property that the edge has, ``source`` among them: who states
        it. Parallel edges stay apart; edges of symmetric verbs stand once, smaller id first.

    Raises
    ------
    BundleError
        If the bundle is damaged, or two parallel edges have the same key.
    ExportError
        If it has more than ``limit`` nodes and edges.
    """
    import networkx as nx

    content = BundleContent.open(folder)
    _check_size(content, limit, "NetworkX")
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph(
        query=content.manifest["query"], graph_release=content.manifest["graph_release"]
    )
    for row, node in enumerate(content.nodes.to_pylist()):
        graph.add_node(node.pop("id"), row=row, **_known(node))
    ids = list(graph)
    for (_, verb, _), table in content.edges():
        for edge in table.to_pylist():
            ends = ids[edge.pop("source_row")], ids[edge.pop("target_row")]
            graph.add_edge(*ends, key=edge.pop("edge_key"), verb=verb, **_known(edge))
    if graph.number_of_edges() != content.edge_count:
        raise BundleError(
            f"{content.folder} has {content.edge_count:,} edges of {graph.number_of_edges():,} keys: some parallel "
            "edges share one. Take the edge list: .parquet."
        )
    return graph


def write_graphml(folder: str | Path, out: Path, *, limit: int = MOST_IN_GRAPHML) -> dict[str, str]:
    """Write the subgraph as GraphML, for Gephi, Cytoscape, yEd, igraph; say what was written.

    What `to_networkx` returns; lists are written as JSON.

    Raises
    ------
    ExportError
        If the graph is larger than ``limit``, ``out`` cannot be written, or a text holds a character that XML cannot.
    """
    import networkx as nx

    _check_size(BundleContent.open(folder), limit, "GraphML")
    graph = to_networkx(folder, limit=limit)
    described = [
        graph.graph,
        *(a for _, a in graph.nodes(data=True)),
        *(a for *_, a in graph.edges(data=True)),
    ]
    for attributes in described:
        for name, value in attributes.items():
            attributes[name] = _as_xml(name, value)
    with new_file(out) as path:
        nx.write_graphml_xml(graph, path)
    return {"nodes": f"{graph.number_of_nodes():,}", "edges": f"{graph.number_of_edges():,}"}


def write_edges(folder: str | Path, out: Path) -> dict[str, str]:
    """Write every edge as a line of a table, ``.tsv`` or ``.parquet``, one edge type at a time; say what was written.

    Columns: ``subject``, ``subject_type``, ``verb``, ``object``, ``object_type`` (string), ``sign`` (int64), ``score``
    (float64), ``source`` (who states it), ``negated`` (bool: the source says that it is not so), ``edge_key`` (int64).
    What an edge does not state is null, in TSV empty.

    Raises
    ------
    ExportError
        If ``out`` cannot be written, or a text cannot stand in TSV.
    """
    import pyarrow as pa

    content = BundleContent.open(folder)
    schema = pa.schema(
        [(name, pa.string()) for name in ("subject", "subject_type", "verb", "object", "object_type")]
        + [("sign", pa.int64()), ("score", pa.float64()), ("source", pa.string())]
        + [("negated", pa.bool_()), ("edge_key", pa.int64())]
    )
    with new_file(out) as path, _writer(path, schema) as writer:
        for table in _edge_tables(content, schema):
            try:
                writer.write_table(table)
            except pa.ArrowInvalid as error:
                raise ExportError(f"{out} cannot hold an id of the graph: {error} Take .parquet.") from error
    return {"edges": f"{content.edge_count:,}"}


def _edge_tables(content: BundleContent, schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa

    ids = content.nodes["id"].cast(pa.string()).combine_chunks()
    for (source, verb, target), table in content.edges():
        for start in range(0, len(table), ROWS):
            part = table.slice(start, ROWS)
            given: dict[str, Any] = {name: part[name] for name in schema.names if name in part.column_names}
            given |= {"subject": ids.take(part["source_row"]), "object": ids.take(part["target_row"])}
            given |= {"subject_type": source, "verb": verb, "object_type": target}
            columns = [_column(given.get(f.name), f.type, len(part)) for f in schema]
            yield pa.table(columns, schema=schema)


def _column(given: Any, kind: pa.DataType, rows: int) -> Any:
    """Values of a column: as given, one for all rows, or null."""
    import pyarrow as pa

    if given is None or isinstance(given, str):
        return pa.repeat(pa.scalar(given, kind), rows)
    return given.cast(kind)


def _writer(path: Path, schema: pa.Schema) -> Any:
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return pq.ParquetWriter(path, schema, compression="zstd")
    return csv.CSVWriter(
        path,
        schema,
        write_options=csv.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none"),
    )


def _check_size(content: BundleContent, limit: int, what: str) -> None:
    size = sum(content.manifest["nodes"].values()) + content.edge_count
    if size > limit:
        raise ExportError(
            f"{content.folder} has {size:,} nodes and edges, {what} takes {limit:,}. Export fewer, or take the "
            "edge list: .parquet."
        )


def _known(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value is not None}


def _as_xml(name: str, value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
    if isinstance(text, str) and (odd := _NOT_XML.search(text)):
        raise ExportError(
            f"The {name} {text[:60]!r} holds the character {odd[0]!r}, which XML cannot. Take .parquet."
        )
    return text
