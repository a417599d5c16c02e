"""Ontologies as ``cellxgene-ontology-guide`` packs them: an object, id -> label, description, ancestors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loaders.tables import ROW, Row, edge_table, node_table, read_json, read_rows, split_list
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, InstalledFile, NodeTable, Reject

Terms = dict[str, dict[str, Any]]

_TABLE = ("id", "label", "description", "deprecated", "replaced_by", "parents", "synonyms")
_DATA = "cellxgene_ontology_guide/data/"


def guide_file(name: str, version: str) -> InstalledFile:
    """One ontology of ``cellxgene-ontology-guide``, e.g. ``guide_file("CL", "v2026-03-26")``."""
    member = f"{_DATA}{name}-ontology-{version}.json.zst"
    return InstalledFile(
        package="cellxgene-ontology-guide", version="1.11.1", member=member, in_folder=f"{name}.tsv*"
    )


def read_terms(path: Path) -> Terms:
    """Terms of one ontology file, in sorted order.

    Raises
    ------
    LoadError
        If the file is not an object of terms with ``label``, ``deprecated`` and ``ancestors``.
    """
    content = _tabular(path) if ".tsv" in path.suffixes else read_json(path)
    if not isinstance(content, dict):
        raise LoadError(
            f"{path.name}: holds a {type(content).__name__}, not an object of terms; reinstall the package."
        )
    for term, fields in content.items():
        missing = {"label", "deprecated", "ancestors"} - set(fields)
        if missing:
            raise LoadError(f"{path.name}: term {term} has no {min(missing)!r}; reinstall the package.")
    return {term: content[term] for term in sorted(content)}


def _tabular(path: Path) -> Terms:
    """Read terms of a table with the same content: lists joined by ``|``, parents in place of ancestors."""
    found: Terms = {}
    for _, row in read_rows(path, _TABLE):
        found[row["id"]] = {
            "label": row["label"],
            "description": row["description"],
            "deprecated": row["deprecated"] == "true",
            "ancestors": dict.fromkeys(split_list(row["parents"], "|"), 1),
            "synonyms": split_list(row["synonyms"], "|"),
            **({"replaced_by": row["replaced_by"]} if row["replaced_by"] else {}),
        }
    return found


def live_terms(terms: Terms) -> Terms:
    """Terms that are not deprecated."""
    return {term: fields for term, fields in terms.items() if not fields["deprecated"]}


def parents(fields: Mapping[str, Any]) -> list[str]:
    """Parents of a term: its ancestors at distance 1, sorted."""
    return sorted(a for a, distance in fields["ancestors"].items() if distance == 1)


def term_nodes(
    source: str,
    label: str,
    terms: Terms,
    *,
    rejects: Iterable[Reject] = (),
    keep: set[str] | None = None,
    xrefs: Mapping[str, Iterable[str]] | None = None,
) -> NodeTable:
    """Node table of the live terms; an id that a live term replaced becomes one of its xrefs.

    Parameters
    ----------
    terms
        All terms of the file, deprecated ones too.
    keep
        Live terms to keep; all, if None. The others must be in ``rejects``.
    xrefs
        Term -> more CURIEs of the same thing.
    """
    kept = {t: f for t, f in live_terms(terms).items() if keep is None or t in keep}
    old: dict[str, set[str]] = {}
    refused = list(rejects)
    for row, (term, fields) in enumerate(terms.items(), start=1):
        if fields["deprecated"]:
            target = final_replacement(terms, term)
            if target in kept:
                old.setdefault(target, set()).add(term)
            refused.append(
                Reject(row, "deprecated", term, "deprecated, replaced" if target in kept else "deprecated")
            )
        elif not fields["label"].strip() and term in kept:
            refused.append(Reject(row, "label", term, "no label"))
            del kept[term]
    rows: list[Row] = []
    for row, (term, fields) in enumerate(terms.items(), start=1):
        if term not in kept:
            continue
        name = clean(fields["label"])
        rows.append(
            {
                ROW: row,
                "id": term,
                "name": name,
                "synonyms": sorted({clean(s) for s in fields.get("synonyms", ())} - {"", name}),
                "description": clean(fields.get("description", "")),
                "xrefs": sorted({*old.get(term, ()), *(xrefs or {}).get(term, ())}),
            }
        )
    refused.sort(key=lambda r: (r.row, r.column))
    return node_table(source, "terms", label, rows, read=len(terms), rejects=refused)


def final_replacement(terms: Terms, term: str) -> str | None:
    """Live term at the end of the ``replaced_by`` chain of a deprecated one; None where there is none."""
    seen = {term}
    at = terms[term].get("replaced_by")
    while at in terms and terms[at]["deprecated"] and at not in seen:
        seen.add(at)
        at = terms[at].get("replaced_by")
    return at if at in terms and not terms[at]["deprecated"] else None


def hierarchy(source: str, label: str, terms: Terms, kept: Iterable[str], relation: str) -> EdgeTable:
    """IS_A edges from each kept term to its parents; ``relation`` says what the file knows of their kind."""
    inside = set(kept)
    rows: list[Row] = []
    rejects: list[Reject] = []
    read = 0
    for row, term in enumerate(terms, start=1):
        if term not in inside:
            continue
        for parent in parents(terms[term]):
            read += 1
            if parent in inside:
                rows.append({ROW: row, "subject": term, "object": parent, "relation": relation})
            else:
                rejects.append(Reject(row, "ancestors", parent, "parent is not a node"))
    return edge_table(source, "hierarchy", (label, "IS_A", label), rows, read=read, rejects=rejects)


def clean(text: str) -> str:
    """Text without HTML tags, line breaks and doubled spaces."""
    return " ".join(
        re.sub(
            r"</?(?:i|b|em|sub|sup|small|strong|small-caps|smallsup|smallsub|stereo|locant|element|ital|br|p|a)\b[^>]*>",
            "",
            text,
            flags=re.I,
        ).split()
    )
