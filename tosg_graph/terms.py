"""The terms that values of obs may mean: of the graph where it holds the kind, else of the installed ontologies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.resemblance import Resemblance
    from tosg_graph.types import Source

IDENTIFIER, REPLACED, XREF, LABEL, SYNONYM = "id", "replaced id", "xref", "label", "synonym"
_IRI = re.compile(r"(?:https?://\S*/)?([A-Za-z]+)[_:](\w+)")
SHARED_LABEL = "Attribute"  # of several ontologies: only the prefix tells a stage from an assay


@dataclass(frozen=True)
class Terms:
    """The terms of one kind, by everything they are called; keys of names are in lower case."""

    name_of: Mapping[str, str]  # id -> label
    by_label: Mapping[str, tuple[str, ...]]
    by_synonym: Mapping[str, tuple[str, ...]]
    by_xref: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # ids that terms replaced, ids elsewhere

    def find(self, value: str) -> tuple[tuple[str, ...], str]:
        """Return the ids that ``value`` may mean, and by which rule; several ids mean that it is ambiguous."""
        text = " ".join(value.split())
        for curie in _curies(text):
            if curie in self.name_of:
                return (curie,), IDENTIFIER
            if curie in self.by_xref:
                ids = self.by_xref[curie]
                same = all(_prefix(i) == _prefix(curie) for i in ids)
                return ids, REPLACED if same else XREF
        low = text.lower()
        for rule, names in ((LABEL, self.by_label), (SYNONYM, self.by_synonym)):
            if low in names:
                return names[low], rule
        return (), ""

    @cached_property
    def alike(self) -> Resemblance:
        """Index of what the names look like; takes a second for 100,000 names, so only where it is asked for."""
        from tosg_graph.resemblance import Resemblance

        return Resemblance(self)

    def term(self, curie: str) -> str | None:
        """Id of the one live term that a CURIE means, itself or what replaced it; None where there is none."""
        ids, rule = self.find(curie)
        return ids[0] if len(ids) == 1 and rule in (IDENTIFIER, REPLACED) else None


class Vocabulary:
    """The terms of each column of `schema/cells.yaml`; without a graph, those of the installed ontologies.

    A function instead of the graph is called when the first term is looked up.
    """

    def __init__(self, graph: Graph | Callable[[], Graph] | None = None) -> None:
        self._given = graph
        self.terms: Callable[[str], Terms] = cache(self._terms)
        self._stored: Callable[[str], list[dict[str, Any]]] = cache(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process, perhaps on another machine, is given the terms and not the connection.
        return _Given, ({column: self.terms(column) for column in term_columns()},)

    @cached_property
    def _graph(self) -> Graph | None:
        return self._given() if callable(self._given) else self._given

    def below(self, column: str, ids: Iterable[str]) -> frozenset[str]:
        """Terms of a column and everything below them (IS_A, PART_OF)."""
        wanted = set(ids)
        spec = schema("cells")["columns"][column]
        if self._graph is not None and self._of_graph(spec["label"], spec["ontology"]):
            return descendants(self._graph, sorted(wanted))
        found = {t for t, above in _installed(spec["ontology"])[1].items() if wanted & above}
        return frozenset(wanted | found)

    def _terms(self, column: str) -> Terms:
        spec = schema("cells")["columns"][column]
        if "values" in spec:
            return make_terms({"id": value, "name": value} for value in spec["values"])
        rows = self._rows(spec["label"], spec["ontology"])
        if "under" in spec:
            inside = self.below(column, spec["under"])
            rows = [row for row in rows if row["id"] in inside]
        for ontology, ids in spec.get("also", {}).items():
            more = self._rows(SHARED_LABEL, ontology)
            rows = [*rows, *(row for row in more if row["id"] in ids)]
        return make_terms(rows)

    def _rows(self, label: str, ontology: str) -> Sequence[Mapping[str, Any]]:
        return self._of_graph(label, ontology) or _installed(ontology)[0]

    def _of_graph(self, label: str, ontology: str) -> list[dict[str, Any]]:
        rows = self._stored(label)
        return [row for row in rows if label != SHARED_LABEL or row["id"].startswith(f"{ontology}:")]

    def _read(self, label: str) -> list[dict[str, Any]]:
        return self._graph.rows(cypher("term_names"), label=label) if self._graph is not None else []


@dataclass(frozen=True)
class _Given:
    """The terms of a `Vocabulary` in another process."""

    by_column: Mapping[str, Terms]

    def terms(self, column: str) -> Terms:
        return self.by_column[column]


def make_terms(rows: Iterable[Mapping[str, Any]]) -> Terms:
    """Index terms given as ``id``, ``name`` and, where they have any, ``synonyms`` and ``xrefs``."""
    name_of: dict[str, str] = {}
    by: dict[str, dict[str, set[str]]] = {"name": {}, "synonyms": {}, "xrefs": {}}
    for row in rows:
        name_of[row["id"]] = row["name"]
        by["name"].setdefault(row["name"].lower(), set()).add(row["id"])
        for synonym in row.get("synonyms") or ():
            by["synonyms"].setdefault(synonym.lower(), set()).add(row["id"])
        for xref in row.get("xrefs") or ():
            by["xrefs"].setdefault(xref, set()).add(row["id"])
    sorted_ids = {kind: {name: tuple(sorted(ids)) for name, ids in of.items()} for kind, of in by.items()}
    return Terms(name_of, sorted_ids["name"], sorted_ids["synonyms"], sorted_ids["xrefs"])


def term_columns() -> list[str]:
    """Columns whose values are mapped: to terms of an ontology, or to values that the schema lists."""
    return [name for name, c in schema("cells")["columns"].items() if "ontology" in c or "values" in c]


def ontology_labels() -> dict[str, str]:
    """Ontology column -> label of the nodes that are its terms; these columns have a ``<name>_id``."""
    return {name: c["label"] for name, c in schema("cells")["columns"].items() if "ontology" in c}


def descendants(graph: Graph, ids: Sequence[str]) -> frozenset[str]:
    """Terms of the graph and everything below them."""
    # Level by level: a variable-length pattern would walk every path of the hierarchy, and there are very many.
    found = set(ids)
    edge = list(ids)
    while edge:
        edge = sorted(set(graph.rows(cypher("term_children"), ids=edge)[0]["ids"]) - found)
        found.update(edge)
    return frozenset(found)


@cache
def _installed(ontology: str) -> tuple[list[dict[str, Any]], dict[str, frozenset[str]]]:
    """Read an ontology of ``cellxgene-ontology-guide``: its live terms, and term -> all above it."""
    from loaders.ontology import final_replacement, live_terms, read_terms
    from tosg_graph.downloads import installed_file

    found = read_terms(installed_file(*_source(ontology)))
    old: dict[str | None, list[str]] = {}
    for term, fields in found.items():
        if fields["deprecated"]:
            old.setdefault(final_replacement(found, term), []).append(term)
    rows = [
        {"id": t, "name": f["label"], "synonyms": f.get("synonyms"), "xrefs": old.get(t)}
        for t, f in live_terms(found).items()
        if f["label"].strip()
    ]
    return rows, {row["id"]: frozenset(found[row["id"]]["ancestors"]) for row in rows}


def _source(ontology: str) -> tuple[Source, str]:
    from loaders import attributes, cl, mondo, uberon

    shared = {"HsapDv": "stages", "EFO": "assays", "PATO": "qualities"}
    if ontology in shared:
        return attributes.SOURCE, shared[ontology]
    return {"CL": cl.SOURCE, "MONDO": mondo.SOURCE, "UBERON": uberon.SOURCE}[ontology], "terms"


def _curies(text: str) -> list[str]:
    """Return the CURIEs that a text may be: itself, or what stands in it as ``CL_0000084`` or as an address."""
    match = _IRI.fullmatch(text)
    return [text, f"{match[1]}:{match[2]}"] if match else [text]


def _prefix(curie: str) -> str:
    return curie.partition(":")[0]
