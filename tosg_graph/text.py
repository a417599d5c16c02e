"""The text of an entity: one deterministic function, so that the same knowledge has the same embedding."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from tosg_graph.contract import labels as type_labels

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
    name = _clean(node.get("name")) or str(node["id"])
    lines = [f"{kind}: {name}"]
    symbol, full_name = _clean(node.get("symbol")), _clean(node.get("full_name"))
    if symbol and symbol != name:
        lines.append(f"Symbol: {symbol}")
    if full_name and full_name != name:
        lines.append(f"Full name: {full_name}")
    for column, title in (("locus_type", "Locus type"), ("description", "Description")):
        value = _clean(node.get(column))
        if value:
            lines.append(f"{title}: {value}")
    listed = (node.get(column) for column in ("synonyms", "alias_symbols", "previous_symbols"))
    others = _distinct(listed) - {name, symbol, full_name}
    if others:
        lines.append(f"Synonyms: {'; '.join(sorted(others)[:MAX_SYNONYMS])}")
    return _cut("\n".join(lines))


def text_sha(text: str) -> str:
    """Hash of a text: sha256 of its UTF-8 bytes, in hex."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _clean(value: object) -> str:
    return " ".join(unicodedata.normalize("NFC", str(value)).split()) if value is not None else ""


def _distinct(lists: Iterable[Iterable[str] | None]) -> set[str]:
    return {_clean(value) for values in lists for value in values or ()} - {""}


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    cut = text[:MAX_CHARS]
    space = cut.rfind(" ")
    # One unbroken run of 2,000 characters is a sequence or noise: cut inside it.
    return cut[:space] if space > MAX_CHARS // 2 else cut
