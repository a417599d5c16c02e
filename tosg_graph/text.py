"""The text of an entity: one deterministic function, so that the same knowledge has the same embedding."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import labels as type_labels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

MAX_CHARS = 2_000
MAX_SYNONYMS = 20

# Columns of a node that the text is made of, besides its labels.
TEXT_COLUMNS = (
    "id",
    "name",
    "full_name",
    "symbol",
    "locus_type",
    "description",
    "synonyms",
    "alias_symbols",
    "previous_symbols",
)


LISTED = ("synonyms", "alias_symbols", "previous_symbols")
_LINES = (
    ("symbol", "Symbol"),
    ("full_name", "Full name"),
    ("locus_type", "Locus type"),
    ("description", "Description"),
)
_END = "\x01"  # between lines while a text is built in columns; the contract keeps it out of values
# What needs cleaning or another order than that of its bytes, and so the slower function.
_ODD = r"[^\x20-\x7e\x01]|  | \x01|\x01 | ;|; ;| $"


def entity_text(node: Mapping[str, Any]) -> str:
    """Build the text of an entity.

    One line ``field: value`` per field that the node has, in this order: the type labels in schema order
    (``, `` between them) with the name; ``Symbol`` where it differs from the name; ``Full name``;
    ``Locus type``; ``Description``; ``Synonyms`` (synonyms, alias symbols and previous symbols: sorted by
    code point, names of the lines above left out, the first 20, ``; `` between them). Values are normalised
    to NFC and runs of white space to one space. A text longer than 2,000 characters is cut at a space.

    Parameters
    ----------
    node
        Properties of the node and its ``labels``; missing and None are the same.
    """
    given = set(node["labels"])
    kind = ", ".join(label for label in type_labels() if label in given) or "Entity"
    name = clean(node.get("name")) or str(node["id"])
    lines = [f"{kind}: {name}"]
    symbol, full_name = clean(node.get("symbol")), clean(node.get("full_name"))
    if symbol and symbol != name:
        lines.append(f"Symbol: {symbol}")
    if full_name and full_name != name:
        lines.append(f"Full name: {full_name}")
    for column, title in (("locus_type", "Locus type"), ("description", "Description")):
        value = clean(node.get(column))
        if value:
            lines.append(f"{title}: {value}")
    listed = (node.get(column) for column in ("synonyms", "alias_symbols", "previous_symbols"))
    others = _distinct(listed) - {name, symbol, full_name}
    if others:
        lines.append(f"Synonyms: {'; '.join(sorted(others)[:MAX_SYNONYMS])}")
    return _cut("\n".join(lines))


def entity_texts(nodes: pa.Table) -> pa.Array:
    """Build the texts of many entities: what `entity_text` says of each row, at the speed of columns.

    Parameters
    ----------
    nodes
        ``id``, ``labels`` and the other columns of the text; no control characters (the contract refuses them).

    Returns
    -------
    pa.Array
        Strings, length n, none of them null.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: _column(nodes, name) for name in TEXT_COLUMNS if name not in LISTED}
    empty = pa.scalar("")
    name = pc.if_else(pc.equal(columns["name"], empty), columns["id"], columns["name"])
    lines = [_kinds(nodes["labels"].combine_chunks()), name]
    for column, title in _LINES:
        value = columns[column]
        shown = pc.not_equal(value, empty)
        if column in ("symbol", "full_name"):
            shown = pc.and_(shown, pc.not_equal(value, name))
        lines.append(pc.if_else(shown, pc.binary_join_element_wise(f"{_END}{title}: ", value, ""), empty))
    lines.append(_synonym_lines(nodes, [name, columns["symbol"], columns["full_name"]]))
    texts = pc.binary_join_element_wise(*lines, "")
    plain = pc.and_(
        pc.less_equal(pc.binary_length(texts), MAX_CHARS), pc.invert(pc.match_substring_regex(texts, _ODD))
    )
    texts = pc.replace_substring(texts, _END, "\n")
    odd = np.flatnonzero(~plain.to_numpy(zero_copy_only=False))
    if len(odd):
        rows = nodes.select([*TEXT_COLUMNS, "labels"]).take(pa.array(odd)).to_pylist()
        texts = pc.replace_with_mask(texts, pc.invert(plain), pa.array([entity_text(row) for row in rows]))
    return texts


def _column(nodes: pa.Table, name: str) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.fill_null(nodes[name].cast(pa.string()).combine_chunks(), "")


def _kinds(labels: pa.ListArray) -> pa.Array:
    """``Drug, Metabolite: `` for each row; there are few sets of labels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    joined = pc.binary_join(labels, _END).dictionary_encode()
    shown = []
    for key in joined.dictionary.to_pylist():
        given = set(key.split(_END))
        shown.append((", ".join(label for label in type_labels() if label in given) or "Entity") + ": ")
    return pa.array(shown, pa.string()).take(joined.indices)


def _synonym_lines(nodes: pa.Table, names: list[pa.Array]) -> pa.Array:
    """``Synonyms: a; b`` for each row that has some beside its names."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values, owners = [], []
    for column in LISTED:
        lists = nodes[column].combine_chunks()
        if lists.null_count < len(lists):
            values.append(pc.list_flatten(lists).cast(pa.string()))
            owners.append(pc.list_parent_indices(lists).to_numpy().astype(np.int64))
    n = len(nodes)
    if not values:
        return pa.array([""] * n, pa.string())
    encoded = pa.concat_arrays(values).dictionary_encode()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    packed = np.unique(np.concatenate(owners) * len(order) + rank[encoded.indices.to_numpy()])
    owner, value = packed // len(order), encoded.dictionary.take(pa.array(order[packed % len(order)]))
    other = np.ones(len(owner), bool)
    for taken in names:
        other &= pc.not_equal(value, taken.take(pa.array(owner))).to_numpy(zero_copy_only=False)
    return _joined(n, owner[other], value.filter(pa.array(other)))


def _joined(n: int, owner: npt.NDArray[np.int64], value: pa.Array) -> pa.Array:
    """Join the first `MAX_SYNONYMS` values of each row; ``owner`` is sorted."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    first = place < MAX_SYNONYMS
    lengths = np.bincount(owner[first], minlength=n)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), value.filter(pa.array(first)))
    line = pc.binary_join_element_wise(f"{_END}Synonyms: ", pc.binary_join(lists, "; "), "")
    return pc.if_else(pa.array(lengths > 0), line, pa.scalar(""))


def text_sha(text: str) -> str:
    """Hash of a text: sha256 of its UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def clean(value: object) -> str:
    """Value as text: NFC, runs of white space as one space; empty for None."""
    return " ".join(unicodedata.normalize("NFC", str(value)).split()) if value is not None else ""


def _distinct(lists: Iterable[Iterable[str] | None]) -> set[str]:
    return {clean(value) for values in lists for value in values or ()} - {""}


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    cut = text[:MAX_CHARS]
    space = cut.rfind(" ")
    # One unbroken run of 2,000 characters is a sequence or noise: cut inside it.
    return cut[:space] if space > MAX_CHARS // 2 else cut
