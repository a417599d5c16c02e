"""Any ontology as an obograph (JSON): terms, synonyms, cross-references and relations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from loaders.obo_terms import PREFIXES, Term, is_xref, tables
from loaders.statements import KEY
from loaders.tables import read_json
from tosg_graph.errors import LoadError
from tosg_graph.types import Parsed, Source, UserFile

_HOME = "https://github.com/geneontology/obographs"

SOURCE = Source(
    key="obograph",
    title="An ontology as an obograph",
    version="as given",
    licence="as the ontology states",
    homepage=_HOME,
    size_mb=0.0,
    files={"ontology": UserFile("*.json*", _HOME)},
    in_demo=False,
    note="The id prefix decides the label; other relations than is_a and part_of stay as `relation`.",
    options=(PREFIXES, KEY),
)

_REPLACED_BY = "IAO:0100001"


def parse(paths: dict[str, Path], prefixes: str = "", key: str = "") -> Parsed:
    """Parse an obograph file; several graphs in it count as one.

    Parameters
    ----------
    paths
        ``ontology``: an object with ``graphs``, plain or gzipped.
    prefixes
        Prefixes to make nodes of, joined by commas; the ontology's own without it.
    key
        Key of the source, ``obograph`` without it.

    Raises
    ------
    LoadError
        If the file is not an obograph.
    """
    path = paths["ontology"]
    content = read_json(path)
    graphs = content.get("graphs") if isinstance(content, dict) else None
    if not graphs or not all(isinstance(graph, dict) for graph in graphs):
        raise LoadError(f"{path.name}: has no `graphs`; give an obograph file.")
    terms: list[Term] = []
    relations: dict[str, str] = {}
    for node in (node for graph in graphs for node in graph.get("nodes", ())):
        if node.get("type") == "PROPERTY":
            relations[curie(node["id"])] = node.get("lbl", "").replace(" ", "_")
        elif node.get("type", "CLASS") == "CLASS":
            terms.append(_term(len(terms) + 1, node))
    by_id = {term.id: term for term in terms}
    for edge in (edge for graph in graphs for edge in graph.get("edges", ())):
        subject = by_id.get(curie(edge["sub"]))
        if subject is not None:
            relation = curie(edge["pred"])
            subject.parents.append((relations.get(relation) or relation, curie(edge["obj"])))
    if not terms:
        raise LoadError(f"{path.name}: has no terms; give an obograph file.")
    ontology = re.split(r"[/#]", str(graphs[0].get("id", "")))[-1].partition(".")[0]
    return tables(key or SOURCE.key, terms, ontology, prefixes)


def curie(iri: str) -> str:
    """CURIE of an IRI such as ``http://purl.obolibrary.org/obo/CL_0000540``; a text that is none stays.

    >>> curie("http://purl.obolibrary.org/obo/CL_0000540")
    'CL:0000540'
    """
    if "://" not in iri:
        return iri
    last = re.split(r"[/#]", iri)[-1]
    prefix, underscore, local = last.rpartition("_")
    return f"{prefix}:{local}" if underscore and prefix and local else last


def _term(number: int, node: dict[str, Any]) -> Term:
    meta = node.get("meta") or {}
    term = Term(number, curie(node["id"]), node.get("lbl") or "")
    term.definition = " ".join((meta.get("definition") or {}).get("val", "").split())
    term.synonyms = [synonym["val"] for synonym in meta.get("synonyms", ())]
    term.xrefs = [xref["val"] for xref in meta.get("xrefs", ()) if is_xref(xref["val"])]
    term.subsets = [re.split(r"[/#]", subset)[-1] for subset in meta.get("subsets", ())]
    term.obsolete = bool(meta.get("deprecated"))
    for said in meta.get("basicPropertyValues", ()):
        name, value = re.split(r"[/#]", said["pred"])[-1], str(said["val"])
        if curie(said["pred"]) == _REPLACED_BY:
            term.replaced_by.append(curie(value))
        elif name == "hasAlternativeId":
            term.alt_ids.append(curie(value))
        elif name == "hasOBONamespace":
            term.namespace = value
    return term
