"""Any ontology in OBO: terms, synonyms, cross-references and relations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from loaders.obo_terms import PREFIXES, Term, is_xref, tables
from loaders.statements import KEY
from loaders.tables import read_text
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, UserFile

_HOME = "https://obofoundry.org"

SOURCE = Source(
    key="obo",
    title="An ontology in OBO",
    version="as given",
    licence="as the ontology states",
    homepage=_HOME,
    size_mb=0.0,
    files={"ontology": UserFile("*.obo*", _HOME)},
    in_demo=False,
    note="The id prefix decides the label; other relations than is_a and part_of stay as `relation`.",
    options=(PREFIXES, KEY),
)

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"n": "\n", "t": "\t", "W": " "}


def parse(paths: dict[str, Path], prefixes: str = "", key: str = "") -> Parsed:
    """Parse an OBO file.

    Parameters
    ----------
    paths
        ``ontology``: OBO 1.2 or 1.4, plain or gzipped.
    prefixes
        Prefixes to make nodes of, joined by commas; the ontology's own without it.
    key
        Key of the source, ``obo`` without it.

    Raises
    ------
    LoadError
        If it is no OBO file or a line cannot be read.
    """
    path = paths["ontology"]
    ontology = ""
    terms: list[Term] = []
    term: Term | None = None
    for number, stanza, tag, value in _lines(path):
        if not tag:
            term = None
        elif not stanza:
            ontology = value if tag == "ontology" else ontology
        elif tag == "id" and stanza == "Term":
            term = Term(len(terms) + 1, _unescaped(value))
            terms.append(term)
        elif stanza == "Term" and term is not None:
            _add(term, tag, value, f"{path.name}: line {number}")
    if not terms:
        raise LoadError(f"{path.name}: has no [Term]; give an OBO file.")
    return tables(key or SOURCE.key, terms, ontology, prefixes)


def _lines(path: Path) -> Iterator[tuple[int, str, str, str]]:
    """Yield (line number, stanza, tag, value without comment and qualifiers); tag "" begins a stanza."""
    stanza = ""
    for number, line in read_text(path):
        line = line.strip()
        if line.startswith("[") and line.endswith("]"):
            stanza = line[1:-1]
            yield number, stanza, "", ""
        elif line and not line.startswith("!"):
            tag, colon, value = line.partition(":")
            if not colon:
                raise LoadError(f"{path.name}: line {number} {line[:60]!r} is not `tag: value`; correct it.")
            yield number, stanza, tag.strip(), _bare(value.strip())


def _bare(value: str) -> str:
    """Value without its trailing comment and qualifiers; quoted and escaped characters are part of it."""
    at, quoted, end = 0, False, len(value)
    opened: int | None = None
    while at < len(value):
        char = value[at]
        if char == "\\":
            at += 2
            continue
        if char == '"':
            quoted = not quoted
        elif not quoted and char == "!" and value[at - 1 : at] in ("", " "):
            end = at
            break
        elif not quoted and char == "{":
            opened = at if opened is None else opened
        at += 1
    value = value[:end].rstrip()
    return value[:opened].rstrip() if opened is not None and value.endswith("}") else value


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), text)


def _quoted(value: str, where: str) -> str:
    found = _QUOTED.match(value)
    if not found:
        raise LoadError(f"{where}: {value[:60]!r} does not begin with a quoted text; correct it.")
    return " ".join(_unescaped(found[1]).split())


def _add(term: Term, tag: str, value: str, where: str) -> None:
    if tag == "name":
        term.name = _unescaped(value)
    elif tag == "namespace":
        term.namespace = value
    elif tag == "def":
        term.definition = _quoted(value, where)
    elif tag == "synonym":
        term.synonyms.append(_quoted(value, where))
    elif tag == "is_obsolete":
        term.obsolete = value == "true"
    elif tag == "is_a":
        term.parents.append(("is_a", value.split(" ")[0]))
    elif tag == "relationship":
        relation, _, target = value.partition(" ")
        term.parents.append((relation, target.split(" ")[0]))
    elif tag == "xref":
        xref = _unescaped(value.partition(' "')[0])
        term.xrefs += [xref] if is_xref(xref) else []
    elif tag in ("alt_id", "replaced_by", "subset"):
        {"alt_id": term.alt_ids, "replaced_by": term.replaced_by, "subset": term.subsets}[tag].append(value)
