"""Ontology terms for the values of obs: exact label, synonym, CURIE, or a person's decision; never a guess."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tosg_graph.errors import CellsError
from tosg_graph.resources import cypher, schema
from tosg_graph.spellings import without_possessives

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

UNMAPPED = "unmapped"
CURATED, CURIE, LABEL, SYNONYM = "curated", "id", "label", "synonym"
_SCORES = {CURATED: 1.0, CURIE: 1.0, LABEL: 1.0, SYNONYM: 0.9}


@dataclass(frozen=True)
class Terms:
    """The terms of one kind, by everything they are called; keys are in lower case."""

    name_of: dict[str, str]  # id -> label
    by_label: dict[str, tuple[str, ...]]
    by_synonym: dict[str, tuple[str, ...]]

    def find(self, value: str) -> tuple[tuple[str, ...], str]:
        """Return the ids that ``value`` may mean, and by which rule; several ids mean that it is ambiguous."""
        if value in self.name_of:
            return (value,), CURIE
        low = value.strip().lower()
        for rule, names in ((LABEL, self.by_label), (SYNONYM, self.by_synonym)):
            if low in names:
                return names[low], rule
        return (), ""


def read_terms(graph: Graph, label: str) -> Terms:
    """Read the terms of one node label."""
    by_label: dict[str, set[str]] = {}
    by_synonym: dict[str, set[str]] = {}
    name_of = {}
    for row in graph.rows(cypher("term_names"), label=label):
        name_of[row["id"]] = row["name"]
        by_label.setdefault(row["name"].lower(), set()).add(row["id"])
        for synonym in row["synonyms"] or ():
            by_synonym.setdefault(synonym.lower(), set()).add(row["id"])
    return Terms(name_of, _sorted(by_label), _sorted(by_synonym))


def ontology_labels() -> dict[str, str]:
    """Ontology column -> label of the nodes that are its terms."""
    return {name: c["label"] for name, c in schema("cells")["columns"].items() if "ontology" in c}


def is_unknown(value: str | None) -> bool:
    """Tell whether a value only says that nothing is known."""
    return value is None or value.strip().lower() in schema("cells")["unknown_values"]


def harmonise(
    column: str, values: Sequence[str | None], terms: Terms, curated: Mapping[str, str]
) -> dict[str, pa.Array]:
    """Map the values of one ontology column.

    Parameters
    ----------
    column
        Name of the core column, e.g. ``cell_type``.
    values
        As given in the file.
    curated
        Value -> CURIE: a person's decisions, which win.

    Returns
    -------
    dict
        ``<column>`` (label, ``unmapped``, or null for an unknown value), ``_id``, ``_raw`` (as given), ``_rule``,
        ``_score`` (1 for label, id and curated; 0.9 for a synonym).

    Raises
    ------
    CellsError
        If a curated CURIE is no term of this kind.
    """
    import pyarrow as pa

    for value, curie in curated.items():
        if curie not in terms.name_of:
            raise CellsError(
                f"The mapping says {column} {value!r} is {curie}, which is no term in the graph. Correct the id, or "
                "load its ontology: tosg load --list"
            )
    decided = {value: _decide(value, terms, curated) for value in set(values) if value is not None}
    rows = [
        decided.get(value, (None, None, None, None)) if value is not None else (None,) * 4 for value in values
    ]
    label, identifier, rule, score = zip(*rows, strict=True) if rows else ((), (), (), ())
    return {
        column: pa.array(label, pa.string()),
        f"{column}_id": pa.array(identifier, pa.string()),
        f"{column}_raw": pa.array(list(values), pa.string()),
        f"{column}_rule": pa.array(rule, pa.string()),
        f"{column}_score": pa.array(score, pa.float64()),
    }


def term_expander(graph: Graph) -> Callable[[str, str], frozenset[str] | None]:
    """Return a function ``(column, value) -> ids`` of a term and all below it (IS_A, PART_OF), None if it is no term.

    ``value`` is a label, synonym or CURIE; one that is none of these is compared without possessives ("Alzheimer
    disease", "Alzheimer's disease"). A name that several terms have means all of them.
    """
    labels = ontology_labels()
    terms_of = cache(lambda label: read_terms(graph, label))
    loosely_of = cache(lambda label: _without_possessives(terms_of(label)))

    @cache
    def expand(column: str, value: str) -> frozenset[str] | None:
        ids, _ = terms_of(labels[column]).find(value)
        ids = ids or loosely_of(labels[column]).get(without_possessives(value), ())
        return descendants(graph, ids) if ids else None

    return expand


def _without_possessives(terms: Terms) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for names in (terms.by_label, terms.by_synonym):
        for name, ids in names.items():
            found.setdefault(without_possessives(name), set()).update(ids)
    return _sorted(found)


def descendants(graph: Graph, ids: Sequence[str]) -> frozenset[str]:
    """Ids of terms and of everything below them (IS_A, PART_OF)."""
    # Level by level: a variable-length pattern would walk every path of the hierarchy, and there are very many.
    found = set(ids)
    edge = list(ids)
    while edge:
        edge = sorted(set(graph.rows(cypher("term_children"), ids=edge)[0]["ids"]) - found)
        found.update(edge)
    return frozenset(found)


def _decide(
    value: str, terms: Terms, curated: Mapping[str, str]
) -> tuple[str | None, str | None, str | None, float | None]:
    if value in curated:
        return terms.name_of[curated[value]], curated[value], CURATED, _SCORES[CURATED]
    if is_unknown(value):
        return None, None, None, None
    ids, rule = terms.find(value)
    if len(ids) == 1:
        return terms.name_of[ids[0]], ids[0], rule, _SCORES[rule]
    return UNMAPPED, None, f"ambiguous {rule}" if ids else None, 0.0


def _sorted(names: Mapping[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(ids)) for name, ids in names.items()}
