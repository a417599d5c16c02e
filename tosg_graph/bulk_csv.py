"""Tables as the CSV files that ``neo4j-admin database import`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tosg_graph.contract import labels, stored_edge_columns, stored_node_columns
from tosg_graph.server_import import ARRAY_DELIMITER

if TYPE_CHECKING:
    import pyarrow as pa

_TYPES = {"string": "string", "int": "long", "float": "double", "bool": "boolean", "list": "string[]"}


def write_nodes(nodes: pa.Table, folder: Path) -> list[tuple[list[str], Path]]:
    """Write one file per set of labels.

    Parameters
    ----------
    nodes
        ``id``, ``labels`` and the stored properties, one row per node.

    Returns
    -------
    list of (labels with ``Entity`` first, path)
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    header = {**{c: f"{c}:{_TYPES[k]}" for c, k in stored_node_columns().items()}, "id": "id:ID"}
    joined = pc.binary_join(nodes["labels"].combine_chunks(), ";").to_numpy(zero_copy_only=False)
    files = []
    for number, key in enumerate(sorted(set(joined))):
        given = str(key).split(";")
        rows = nodes.filter(pa.array(joined == key)).select(list(header))
        path = folder / f"nodes_{number}.csv"
        _write(rows, header, path)
        files.append((["Entity", *(label for label in labels() if label in given)], path))
    return files


def write_edges(verb: str, edges: pa.Table, folder: Path) -> tuple[str, Path]:
    """Write the relationships of one verb: ``subject``, ``object`` and the stored properties."""
    own = {c: f"{c}:{_TYPES[k]}" for c, k in stored_edge_columns(verb).items()}
    path = folder / f"edges_{verb.lower()}.csv"
    _write(edges, {"subject": ":START_ID", "object": ":END_ID", **own}, path)
    return verb, path


def _write(rows: pa.Table, header: Mapping[str, str], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.csv import WriteOptions, write_csv

    # A column without values would cost the importer a look at every empty field.
    used = [name for name in header if rows[name].null_count < len(rows)]
    # The contract refuses control characters in text, so no list element holds the delimiter.
    columns = [
        pc.binary_join(rows[name], ARRAY_DELIMITER) if pa.types.is_list(rows[name].type) else rows[name]
        for name in used
    ]
    with path.open("wb") as sink:
        sink.write((",".join(header[name] for name in used) + "\n").encode())
        write_csv(pa.table(dict(zip(used, columns, strict=True))), sink, WriteOptions(include_header=False))
