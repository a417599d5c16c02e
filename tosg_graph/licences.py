"""Which sources and licences are allowed: names in one form, and filters over tables, rows and selections."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from tosg_graph.contract import file_rows
from tosg_graph.errors import LicenceError
from tosg_graph.graph_counts import NOTHING_LOADED
from tosg_graph.resources import cypher
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable, Parsed, Reject, Selection, Source

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.graph import Graph

UNKNOWN = "NOASSERTION"  # SPDX's word for a licence that nobody states, or that is many
ALL_OF = " AND "  # SPDX's way to say that several licences hold together
EXAMPLES = 5

# What people write -> SPDX id, compared in lower case without blanks and dashes.
_NAMES = {
    re.sub(r"[\s_.()-]", "", name.lower()): spdx
    for spdx, names in {
        "MIT": ("MIT", "Expat"),
        "Apache-2.0": ("Apache-2.0", "Apache 2", "ASL 2.0"),
        "BSD-2-Clause": ("BSD-2-Clause", "2-clause BSD", "Simplified BSD"),
        "BSD-3-Clause": ("BSD-3-Clause", "3-clause BSD", "New BSD"),
        "Artistic-2.0": ("Artistic-2.0",),
        "ODbL-1.0": ("ODbL-1.0", "ODbL", "Open Database License 1.0", "Open Database License"),
        "ODC-By-1.0": ("ODC-By-1.0", "ODC-By"),
        "PDDL-1.0": ("PDDL-1.0", "PDDL"),
        "GPL-2.0": ("GPL-2.0", "GPL-2", "GPLv2"),
        "GPL-2.0-or-later": ("GPL-2.0-or-later", "GPL (>= 2)", "GPL-2+"),
        "GPL-3.0": ("GPL-3.0", "GPL-3", "GPLv3"),
        "GPL-3.0-or-later": ("GPL-3.0-or-later", "GPL (>= 3)", "GPL-3+"),
        "LicenseRef-public-domain": ("LicenseRef-public-domain", "public domain"),
        UNKNOWN: (UNKNOWN,),
    }.items()
    for name in names
}
_OTHERS = re.compile(
    r"\bCC0|\bCC[ -]BY(?:[ -](?:NC|ND|SA))*[ -]\d\.\d|\b(?:L?GPL|ODbL|BSD|Apache|MIT)\b[-\w.]*"
)
_PARTS = {
    "attribution": "by",
    "noncommercial": "nc",
    "noderivatives": "nd",
    "noderivs": "nd",
    "sharealike": "sa",
}
_FILLERS = {
    "cc",
    "creative",
    "commons",
    "licence",
    "license",
    "international",
    "unported",
    "generic",
    "universal",
}
_FILLERS |= {"public", "domain", "dedication", "deed", "en", "the", "legalcode"}


# --------------------------------------------------------------------------- names


@cache
def normal(text: str | None) -> str:
    """One form of a licence's name: SPDX's id where there is one (``CC BY 4.0`` is ``CC-BY-4.0``).

    What stands behind a semicolon or comma or in parentheses is a remark. ``A AND B``, as SPDX writes it, is both,
    sorted; `UNKNOWN` may be one of them. Other text that names no licence or several, or only that of a package, is
    `UNKNOWN`.
    """
    text = text or ""
    name = re.split("[;,]", re.sub(r"\((?!>=)[^)]*\)", " ", text))[0].strip()
    found = _every(name)
    rest = re.sub(r"package [A-Z]\S*", " ", text.replace(name, " ", 1))
    others = {_one(other) for other in _OTHERS.findall(rest)} - set(found.split(ALL_OF))
    is_vague = ALL_OF not in found and re.search(r"\(package\b|own terms", text)
    return UNKNOWN if is_vague or others else found


def _every(name: str) -> str:
    """Every licence of an ``A AND B``; `UNKNOWN` where one of them is none."""
    parts = [part.strip() for part in name.split(ALL_OF)]
    found = {_one(part) for part in parts}
    if UNKNOWN in found and UNKNOWN not in parts:
        return UNKNOWN
    return ALL_OF.join(sorted(found))


def _one(name: str) -> str:
    if found := _NAMES.get(re.sub(r"[\s_.()-]", "", name.lower())):
        return found
    if found := _creative_commons(name):
        return found
    # A word of its own with a version, or SPDX's prefix for all others, is somebody's id.
    is_id = re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+|[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*-\d[\d.]*", name)
    return name if is_id else UNKNOWN


def _creative_commons(name: str) -> str | None:
    text = re.sub(r"^.*creativecommons\.org/(licenses|publicdomain)/", "cc/", name.lower())
    text = re.sub(r"(non|no|share)[ -](commercial|derivatives|derivs|alike)", r"\1\2", text)
    words = [_PARTS.get(w, w) for w in re.findall(r"\d+(?:\.\d+)?|[a-z]+0?", text)]
    if not words or words[0] not in ("cc", "cc0", "creative"):
        return None
    if "cc0" in words or "zero" in words:
        return "CC0-1.0"
    parts = [w for w in words if w not in _FILLERS]
    version = parts.pop() if parts and parts[-1][0].isdigit() else ""
    order = ["by", "nc", "nd", "sa"]
    if (
        not parts
        or parts[0] != "by"
        or sorted(parts, key=order.index if set(parts) <= set(order) else None) != parts
    ):
        return None
    if version and "." not in version:
        version += ".0"
    return "-".join(["CC", *(p.upper() for p in parts), *([version] if version else [])])


# --------------------------------------------------------------------------- a filter


@dataclass(frozen=True)
class Filter:
    """What a user allows; None allows every source, or every licence.

    Parameters
    ----------
    sources
        Keys of sources or of the resources that they carry.
    licences
        Names as `normal` gives them, one licence each. A last part ``*`` stands for any version: ``CC-BY-*`` allows
        CC-BY-3.0 and CC-BY-4.0, and neither CC-BY-SA-4.0 nor CC-BY-NC-4.0. ``*`` alone allows every licence that is
        known.
    """

    sources: tuple[str, ...] | None
    licences: tuple[str, ...] | None

    def names(self, key: str, carrier: str | None = None) -> bool:
        """Whether a source is among those named, itself or through the source that carries it."""
        return self.sources is None or key in self.sources or carrier in self.sources

    def licenses(self, licence: str | None) -> bool:
        """Whether a licence is allowed, in any spelling; of several that hold together, each must be."""
        if self.licences is None:
            return True
        parts = normal(licence).split(ALL_OF)
        return all(any(_fits(part, allowed) for allowed in self.licences) for part in parts)

    def __str__(self) -> str:
        parts = [f"sources {', '.join(self.sources)}"] if self.sources is not None else []
        parts += [f"licences {', '.join(self.licences)}"] if self.licences is not None else []
        return "; ".join(parts)


def make_filter(sources: Iterable[str] | None, license_allow: Iterable[str] | None) -> Filter | None:
    """Make a filter of names, each of which may be a comma list; None where nothing is given.

    Raises
    ------
    LicenceError
        If a licence is none that can be recognised.
    """
    keys = _split(sources)
    licences = [_allowed_name(name) for name in _split(license_allow)]
    if not keys and not licences:
        return None
    return Filter(tuple(dict.fromkeys(keys)) or None, tuple(dict.fromkeys(licences)) or None)


def _split(values: Iterable[str] | None) -> list[str]:
    given = [values] if isinstance(values, str) else values or ()
    return [part.strip() for value in given for part in value.split(",") if part.strip()]


def _allowed_name(text: str) -> str:
    if text == "*":
        return text
    family = text.endswith("-*")
    name = normal(text[:-2] if family else text)
    if name == UNKNOWN and text.upper() != UNKNOWN:
        raise LicenceError(
            f"{text!r} is no licence that is known here. Write SPDX ids such as CC0-1.0, CC-BY-4.0 or MIT; CC-BY-* "
            f"stands for all versions, {UNKNOWN} for what states none. `tosg load --list` shows those of the sources."
        )
    if ALL_OF in name:
        raise LicenceError(
            f"{text!r} is several licences. Name each that you allow: {','.join(name.split(ALL_OF))}."
        )
    return f"{name}-*" if family else name


def _fits(licence: str, allowed: str) -> bool:
    if allowed == "*":
        return licence != UNKNOWN
    if not allowed.endswith("-*"):
        return licence == allowed
    return re.fullmatch(re.escape(allowed[:-2]) + r"(-\d[\d.]*)?", licence) is not None


# --------------------------------------------------------------------------- tables of a load


def settled(source: Source, parsed: Parsed) -> Parsed:
    """Tables whose ``licence`` is in its normal form, and null where it is that of the source."""
    own = normal(source.licence)

    def rows(data: pa.Table) -> pa.Table:
        import pyarrow as pa

        if "licence" not in data.column_names:
            return data
        found = [normal(v) if v else None for v in data["licence"].to_pylist()]
        column = pa.array([None if v == own else v for v in found], pa.string())
        return data.set_column(data.column_names.index("licence"), "licence", column)

    return _mapped(parsed, lambda table: replace(table, data=rows(table.data)))


def own_licences(parsed: Parsed) -> list[str]:
    """Licences that rows have instead of their source's, sorted."""
    import pyarrow.compute as pc

    found: set[str] = set()
    for data in [*(table.data for table in parsed.nodes), *(table.data for table in parsed.edges)]:
        if "licence" in data.column_names:
            found |= set(pc.unique(data["licence"].drop_null()).to_pylist())
    return sorted(found)


def skipped(allowed: Filter | None, source: Source, known: Iterable[str]) -> LedgerLine | None:
    """Ledger line of a source of which nothing is allowed, so that its files need not be read.

    Parameters
    ----------
    known
        Keys of all sources; a name that is none of them may be a resource that any source carries.
    """
    if allowed is None:
        return None
    reason = None
    if not allowed.licenses(source.licence) and not source.own_licences:
        reason = f"licence {normal(source.licence)} is not allowed"
    elif not allowed.names(source.key) and set(allowed.sources or ()) <= set(known):
        reason = f"source {source.key} is not allowed"
    if reason is None:
        return None
    example = Reject(1, "licence", source.licence, reason)
    return LedgerLine(source.key, "(whole source)", 1, 0, 0, 1, 0, 0, {reason: 1}, (example,))


def filtered(allowed: Filter | None, source: Source, parsed: Parsed) -> Parsed:
    """Tables without the rows that are not allowed, which become rejects with the reason."""
    if allowed is None:
        return parsed
    return _mapped(parsed, lambda table: _filter_table(allowed, source, table))


def _mapped(parsed: Parsed, change: Any) -> Parsed:
    return Parsed(tuple(map(change, parsed.nodes)), tuple(map(change, parsed.edges)))


def _filter_table(allowed: Filter, source: Source, table: NodeTable | EdgeTable) -> NodeTable | EdgeTable:
    import numpy as np
    import pyarrow as pa

    from tosg_graph.ledger import reject_table

    data = table.data
    reasons = _reasons(allowed, source, data)
    bad = np.array([reason is not None for reason in reasons], bool)
    if not bad.any():
        return table
    at = np.flatnonzero(bad)
    refused = data.take(pa.array(at))
    values = refused["id"] if "id" in data.column_names else refused["object"]
    if "subject" in data.column_names:
        ends = zip(refused["subject"].to_pylist(), values.to_pylist(), strict=True)
        values = pa.array([f"{s} {o}" for s, o in ends], pa.string())
    rejects = pa.table(
        {
            "row": pa.array(file_rows(table, at), pa.int64()),
            "column": pa.repeat("licence" if allowed.sources is None else "source", len(at)),
            "value": values.cast(pa.string()),
            "reason": pa.array([reasons[place] for place in at], pa.string()),
        }
    )
    before = table.rejects if not isinstance(table.rejects, tuple) else reject_table(table.rejects)
    every = pa.concat_tables([before.select(rejects.column_names).cast(rejects.schema), rejects])
    kept = pa.array(file_rows(table, np.flatnonzero(~bad)), pa.int32())
    return replace(table, data=data.filter(pa.array(~bad)), rejects=every, rows=kept)


def _reasons(allowed: Filter, source: Source, data: pa.Table) -> list[str | None]:
    """Why each row is not allowed; None where it is. Each pair of source and licence is judged once."""
    columns = [data[n].to_pylist() for n in ("source", "resource", "licence") if n in data.column_names]
    names = [n for n in ("source", "resource", "licence") if n in data.column_names]

    @cache
    def reason(values: tuple[str | None, ...]) -> str | None:
        row = dict(zip(names, values, strict=True))
        stated = row.get("source") or row.get("resource") or source.key
        if not allowed.names(stated, source.key):
            return f"source {stated} is not allowed"
        licence = row.get("licence") or source.licence
        return None if allowed.licenses(licence) else f"licence {normal(licence)} is not allowed"

    if not columns:
        return [reason(())] * len(data)
    return [reason(values) for values in zip(*columns, strict=True)]


# --------------------------------------------------------------------------- what a graph holds


@dataclass(frozen=True)
class Allowed:
    """Sources of a graph that a filter lets through.

    Parameters
    ----------
    named
        Sources that the filter names.
    keys
        Of these, those under an allowed licence.
    whole
        Of these, those none of whose statements has another licence that is not allowed: the value of ``$sources``.
    """

    filter: Filter
    named: frozenset[str]
    keys: frozenset[str]
    whole: tuple[str, ...]

    def node(self, sources: Iterable[str], licence: str | None) -> bool:
        """Whether a node may be shown: one of its sources is allowed, and its own licence where it has one."""
        if licence:
            return self.filter.licenses(licence) and not self.named.isdisjoint(sources)
        return not self.keys.isdisjoint(sources)

    def edge(self, source: str | None, licence: str | None) -> bool:
        """Whether a relationship may be shown."""
        return self.node([source] if source else [], licence)


def allowed_in(graph: Graph, wanted: Filter) -> Allowed:
    """Judge the sources of a graph, as ``(:Source)`` states them; a resource is under its carrier's licence.

    Raises
    ------
    LicenceError
        If nothing is loaded, a named source is not in the graph, or nothing is allowed.
    """
    rows = graph.rows(cypher("licence_sources"))
    known = sorted(row["key"] for row in rows)
    if not known:
        raise LicenceError(f"The graph has no source: {NOTHING_LOADED}.")
    for name in wanted.sources or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" It has {', '.join(known)[:200]}."
            raise LicenceError(f"The graph has no source {name!r}.{hint}")
    named = [row for row in rows if wanted.names(row["key"], row["carrier"])]
    keys = [row for row in named if wanted.licenses(row["licence"])]
    whole = [row["key"] for row in keys if all(map(wanted.licenses, row["licences"]))]
    partly = [row for row in named if any(map(wanted.licenses, row["licences"]))]
    if not keys and not partly:
        raise LicenceError(f"No source of the graph is allowed by {wanted}. Look at docs/licences.md.")
    return Allowed(
        wanted,
        frozenset(row["key"] for row in named),
        frozenset(row["key"] for row in keys),
        tuple(sorted(whole)),
    )


# --------------------------------------------------------------------------- rows of an answer


def allowed_rows(allowed: Allowed, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Rows whose graph elements, however nested, are all allowed; a row without any cannot be judged and goes.

    Raises
    ------
    LicenceError
        If no row holds any element.
    """
    judged = [(row, *_judge(allowed, row)) for row in rows]
    if rows and not any(elements for _, elements, _ in judged):
        raise LicenceError(
            "The query returns plain values only, so their sources and licences cannot be told. Use $sources in it "
            "(WHERE r.source IN $sources), or return the nodes and relationships themselves."
        )
    return [row for row, elements, fine in judged if elements and fine]


def _judge(allowed: Allowed, row: Sequence[Any]) -> tuple[int, bool]:
    """How many elements a row holds, and whether all are allowed."""
    from neo4j.graph import Node, Path, Relationship

    elements, stack = 0, list(row)
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            elements += 1
            about = value.labels & {"Source", "Release"}  # they say what is stated; nobody states them
            if not about and not allowed.node(value.get("sources") or (), value.get("licence")):
                return elements, False
        elif isinstance(value, Relationship):
            elements += 1
            if not allowed.edge(value.get("source"), value.get("licence")):
                return elements, False
        elif isinstance(value, Path):
            stack += [*value.nodes, *value.relationships]
        elif isinstance(value, Mapping):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
    return elements, True


# --------------------------------------------------------------------------- a selection


def restrict(selection: Selection, allowed: Allowed) -> Selection:
    """Leave out nodes and edges that are not allowed, and edges that lose an end; ``left_out`` counts them.

    Raises
    ------
    LicenceError
        If no node is left.
    """
    import numpy as np
    import pyarrow as pa

    nodes = selection.nodes
    keep = np.array(
        [
            allowed.node(sources or (), licence)
            for sources, licence in zip(
                nodes["sources"].to_pylist(), nodes["licence"].to_pylist(), strict=True
            )
        ],
        bool,
    )
    if not keep.any():
        raise LicenceError(
            f"None of the {len(nodes):,} picked nodes is allowed by {allowed.filter}. Allow more, or pick others."
        )
    place = np.cumsum(keep) - 1
    edges, not_allowed, without_end = {}, 0, 0
    for key, table in selection.edges.items():
        fine = _allowed_edges(allowed, table)
        ends = [table[name].to_numpy() for name in ("source_row", "target_row")]
        both = keep[ends[0]] & keep[ends[1]]
        not_allowed += int((~fine).sum())
        without_end += int((fine & ~both).sum())
        left = table.filter(pa.array(fine & both))
        for at, name in enumerate(("source_row", "target_row")):
            left = left.set_column(at, name, pa.array(place[left[name].to_numpy()], pa.int64()))
        if len(left):
            edges[key] = left
    reason = f"not stated by an allowed source or licence ({allowed.filter})"
    gone = nodes["id"].filter(pa.array(~keep))
    left_out = [
        _left_out("nodes", reason, len(gone), sorted(gone.to_pylist())[:EXAMPLES]),
        _left_out("edges", reason, not_allowed, []),
    ]
    if without_end:
        left_out.append(_left_out("edges", "an end is not allowed", without_end, []))
    return replace(
        selection,
        nodes=nodes.filter(pa.array(keep)),
        edges=edges,
        left_out=(*selection.left_out, *left_out),
        snapshot=None,
    )


def _allowed_edges(allowed: Allowed, table: pa.Table) -> NDArray[np.bool_]:
    import numpy as np

    judge = cache(allowed.edge)
    pairs = zip(table["source"].to_pylist(), table["licence"].to_pylist(), strict=True)
    return np.fromiter((judge(source, licence) for source, licence in pairs), bool, len(table))


def _left_out(what: str, reason: str, count: int, examples: list[str]) -> dict[str, Any]:
    """As an entry of the manifest's ``dropped``."""
    return {"what": what, "reason": reason, "count": count, "kept": False, "examples": examples}
