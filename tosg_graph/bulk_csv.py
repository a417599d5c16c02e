"""Tables as the CSV files that ``neo4j-admin database import`` reads.

Nodes are numbered in the order of the load; relationships name them by number, which the importer resolves
faster than text and which is shorter to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph.contract import labels, stored_edge_columns, stored_node_columns
from tosg_graph.server_import import ARRAY_DELIMITER

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.merge import MergedEdges, MergedNodes

CSV_TYPES = {"string": "string", "int": "long", "float": "double", "bool": "boolean", "list": "string[]"}
_ROWS = 1_000_000  # relationships that are text at a time


def write_nodes(nodes: MergedNodes, release: str, folder: Path) -> Iterator[tuple[list[str], Path]]:
    """Write files of nodes, and yield (labels with ``Entity`` first, path) of each.

    A file holds nodes of one set of labels, at most one batch of them, so that a column without values can
    be left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    header = {"_number": ":ID"} | {c: f"{c}:{CSV_TYPES[k]}" for c, k in stored_node_columns().items()}
    first = files = 0
    for batch in nodes.batches():
        numbers = pa.array(np.arange(first, first + len(batch)))
        first += len(batch)
        rows = batch.append_column("_number", numbers)
        rows = rows.append_column("release", pa.repeat(release, len(rows)))
        key = pc.binary_join(rows["labels"].combine_chunks(), ";").dictionary_encode()
        for code, joined in enumerate(key.dictionary.to_pylist()):
            given = joined.split(";")
            path = folder / f"nodes_{files}.csv"
            files += 1
            write_csv(rows.filter(pc.equal(key.indices, code)), header, path)
            yield ["Entity", *(label for label in labels() if label in given)], path


def write_edges(verb: str, edges: MergedEdges, ids: pa.Array, folder: Path) -> tuple[str, Path]:
    """Write the relationships of one verb.

    Parameters
    ----------
    ids
        Ids of the nodes, in the order in which `write_nodes` numbers them.
    """
    import pyarrow.compute as pc

    kinds = {c: k for c, k in stored_edge_columns(verb).items() if c in edges.data.column_names}
    header = {"subject": ":START_ID", "object": ":END_ID"} | {
        c: f"{c}:{CSV_TYPES[k]}" for c, k in kinds.items()
    }
    data = edges.data
    for end in ("subject", "object"):
        column = data[end].combine_chunks()
        number_of = pc.index_in(column.dictionary, value_set=ids)
        data = data.set_column(data.column_names.index(end), end, number_of.take(column.indices))
    path = folder / f"edges_{verb.lower()}.csv"
    write_csv(data, header, path)
    return verb, path


def write_csv(rows: pa.Table, header: Mapping[str, str], path: Path) -> None:
    """Write one file for the bulk import.

    Parameters
    ----------
    header
        Column -> what its head says; lists are of text or of numbers.
    """
    from pyarrow import csv

    # A column without values would cost the importer a look at every empty field.
    used = [name for name in header if rows[name].null_count < len(rows)]
    with path.open("wb") as sink:
        sink.write((",".join(header[name] for name in used) + "\n").encode())
        for start in range(0, len(rows), _ROWS):
            part = rows.slice(start, _ROWS).select(used)
            csv.write_csv(_as_text(part), sink, csv.WriteOptions(include_header=False))


def _as_text(rows: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, name in enumerate(rows.column_names):
        kind = rows[name].type
        if pa.types.is_list(kind):
            # The contract refuses control characters in text, so no list element holds the delimiter.
            texts = rows[name].cast(pa.list_(pa.string()))
            rows = rows.set_column(at, name, pc.binary_join(texts, ARRAY_DELIMITER))
        elif pa.types.is_dictionary(kind):
            rows = rows.set_column(at, name, rows[name].cast(pa.string()))
    return rows
