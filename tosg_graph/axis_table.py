"""The axes of the store: which feature each column of a layer is. One table holds those of all layers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tosg_graph.errors import StoreError
from tosg_graph.layers import GENE, PROTEIN

if TYPE_CHECKING:
    import pyarrow as pa


def axis_schema(layer: str = GENE) -> pa.Schema:
    """One row per measured feature; what names it in the graph is null where nothing there is known to be it.

    ``column`` (int32), ``feature``, ``gene_id``, ``symbol``, ``rule``; of proteins also ``protein_id``, and ``gene_id``
    is the gene that it was found by.
    """
    import pyarrow as pa

    names = ("feature", "gene_id", "symbol", "rule", *(["protein_id"] if layer == PROTEIN else []))
    return pa.schema([pa.field("column", pa.int32()), *(pa.field(name, pa.string()) for name in names)])


def stored_axis_schema() -> pa.Schema:
    """The axes of all layers in one table."""
    import pyarrow as pa

    return pa.schema([pa.field("layer", pa.string()), *axis_schema(PROTEIN)])


def axis_of(rows: pa.Table, layer: str) -> pa.Table:
    """The rows of one layer of `stored_axis_schema`, as `axis_schema` has them."""
    import pyarrow.compute as pc

    found = rows.filter(pc.equal(rows["layer"], layer)).select(axis_schema(layer).names).combine_chunks()
    place = found["column"].to_numpy()
    in_order = (place[1:] > place[:-1]).all()  # as the store gives them
    return found if in_order else found.sort_by("column").combine_chunks()


def to_store(axis: pa.Table, layer: str) -> pa.Table:
    """Rows of a layer as `stored_axis_schema` has them."""
    import pyarrow as pa

    columns = {"layer": pa.array([layer] * len(axis), pa.string()), **{n: axis[n] for n in axis.column_names}}
    columns.setdefault("protein_id", pa.nulls(len(axis), pa.string()))
    return pa.table(columns, schema=stored_axis_schema())


def extended_axis(axis: pa.Table, rows: pa.Table, layer: str = GENE) -> pa.Table:
    """The axis of a layer with features appended (its columns but ``column``), each with the next column.

    Raises
    ------
    StoreError
        If a feature is on the axis already.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    again = pc.is_in(rows["feature"], value_set=axis["feature"].combine_chunks())
    if len(rows) and pc.any(again).as_py():
        first = rows["feature"].filter(again)[0].as_py()
        raise StoreError(f"The feature {first!r} is on the {layer} axis already. Please report this.")
    columns = pa.array(range(len(axis), len(axis) + len(rows)), pa.int32())
    schema = axis_schema(layer)
    fresh = pa.table([columns, *(rows[n] for n in schema.names[1:])], schema=schema)
    return pa.concat_tables([axis, fresh]).combine_chunks()


def axis_sha256(genes: pa.Table, proteins: pa.Table | None = None) -> str:
    """Sha256 of the axes: column, feature and id in the graph of each row, genes before proteins."""
    lines = _lines(genes, "gene_id")
    if proteins is not None and len(proteins):
        lines += [PROTEIN, *_lines(proteins, "protein_id")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(axis: pa.Table, id_column: str) -> list[str]:
    rows = zip(*(axis[name].to_pylist() for name in ("column", "feature", id_column)), strict=True)
    return ["\t".join(map(str, row)) for row in rows]
