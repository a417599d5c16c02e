"""Terms for the values of obs, each with the rule that found it and a score; below the cut-off unmapped, never a guess.

The first rule that finds exactly one term decides: a decision of the user; id; label; synonym; the packaged table of
what people write (``schema/curated_terms.yaml``); resemblance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from tosg_graph.errors import CellsError
from tosg_graph.resources import schema
from tosg_graph.spellings import without_possessives
from tosg_graph.terms import IDENTIFIER, LABEL, REPLACED, SYNONYM, XREF, Terms, Vocabulary, ontology_labels

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.graph import Graph

UNMAPPED = "unmapped"
UNKNOWN = "unknown"  # as a decision: the value only says that nothing is known
CURATED, PACKAGED, FUZZY = "curated", "packaged", "fuzzy"
FIELDS = ("", "_id", "_raw", "_rule", "_score")
_SCORES = {IDENTIFIER: 1.0, REPLACED: 1.0, LABEL: 1.0, XREF: 0.9, SYNONYM: 0.9, PACKAGED: 0.9}
_FUZZY_SCORE = 0.9  # of one that is alike to the letter: no resemblance counts as much as a synonym


@dataclass(frozen=True)
class Mapped:
    """What became of one value."""

    label: str | None  # `UNMAPPED` where no term was found, None where the value says that nothing is known
    id: str | None
    rule: str | None
    score: float | None


_NOTHING = Mapped(None, None, None, None)


def is_unknown(value: str | None, column: str = "") -> bool:
    """Tell whether a value only says that nothing is known; some columns have words of their own for that."""
    if value is None:
        return True
    low = " ".join(value.lower().split())
    more = schema("cells")["columns"].get(column, {}).get("unknown", ())
    return (low in schema("cells")["unknown_values"] or low in more) and value.strip() not in _packaged(
        column
    )


def map_value(column: str, value: str | None, terms: Terms, decisions: Mapping[str, str]) -> Mapped:
    """Map one value of a column; see `harmonise`."""
    if value is not None and value in decisions:
        return _decided(decisions[value], terms)
    if value is None or is_unknown(value, column):
        return _NOTHING
    ignored = schema("cells")["columns"].get(column, {}).get("ignore", ())
    text = " ".join(word for word in value.split() if word.lower() not in ignored)
    ids, rule = terms.find(text)
    if len(ids) == 1:
        return Mapped(terms.name_of[ids[0]], ids[0], rule, _SCORES[rule])
    packaged = _packaged(column).get(text.lower())
    if packaged is not None and packaged in terms.name_of:
        return Mapped(terms.name_of[packaged], packaged, PACKAGED, _SCORES[PACKAGED])
    if ids:
        return Mapped(UNMAPPED, None, f"ambiguous {rule}: {', '.join(ids)}", 0.0)
    alike = terms.alike.find(text)
    if len(alike) == 1:
        return Mapped(alike[0].name, alike[0].id, FUZZY, round(_FUZZY_SCORE * alike[0].score / 100, 4))
    several = f"ambiguous {FUZZY}: {', '.join(m.id for m in alike)}" if alike else None
    return Mapped(UNMAPPED, None, several, 0.0)


def harmonise(
    column: str, values: pa.Array | Sequence[str | None], terms: Terms, decisions: Mapping[str, str]
) -> dict[str, pa.Array]:
    """Map the values of one column.

    Parameters
    ----------
    column
        Name of the core column, e.g. ``cell_type``.
    values
        Text, as given in the file.
    decisions
        Value -> CURIE, ``unmapped`` or ``unknown``: a person's decisions, which win.

    Returns
    -------
    dict
        Dictionary arrays, one row per value: ``<column>`` (label, ``unmapped``, or null for an unknown value),
        ``_id`` (not of a column whose values `schema/cells.yaml` lists), ``_raw`` (as given), ``_rule``, ``_score``: 1
        for label, id and decisions, 0.9 for a synonym, an id of elsewhere and the packaged table, less for
        resemblance, 0 where nothing was found.

    Raises
    ------
    CellsError
        If a decision names what is no term of this kind.
    """
    import pyarrow as pa

    for value, target in decisions.items():
        check_target(column, value, target, terms)
    given = (
        values
        if isinstance(values, pa.DictionaryArray)
        else pa.array(values, pa.string()).dictionary_encode()
    )
    found = [map_value(column, value, terms, decisions) for value in given.dictionary.to_pylist()]
    kinds = {"": pa.string(), "_id": pa.string(), "_rule": pa.string(), "_score": pa.float64()}
    parts = {"": "label", "_id": "id", "_rule": "rule", "_score": "score"}
    columns = {f"{column}_raw": given}
    for end, kind in kinds.items():
        if end != "_id" or column in ontology_labels():
            made = pa.array([getattr(m, parts[end]) for m in found], kind)
            columns[f"{column}{end}"] = pa.DictionaryArray.from_arrays(given.indices, made)
    return {name: columns[name] for end in FIELDS if (name := f"{column}{end}") in columns}


def check_target(column: str, value: str, target: str, terms: Terms) -> None:
    """Refuse a decision for what is no term of the column.

    Raises
    ------
    CellsError
        Names the value, the id, and where ids are to be had.
    """
    if target in (UNMAPPED, UNKNOWN) or terms.term(target):
        return
    known = schema("cells")["columns"][column]
    of = " or ".join((known["ontology"], *known.get("also", ()))) if "ontology" in known else ""
    expected = f"a term of {of}" if of else f"one of {', '.join(terms.name_of)}"
    raise CellsError(
        f"The mapping says {column} {value!r} is {target}, which is no term here: {expected} is expected, "
        f"or {UNMAPPED!r}, or {UNKNOWN!r}. Correct the id, or load its ontology: tosg load --list"
    )


def term_expander(graph: Graph) -> Callable[[str, str], frozenset[str] | None]:
    """Return a function ``(column, value) -> ids`` of a term and all below it (IS_A, PART_OF), None if it is no term.

    ``value`` is a label, synonym or CURIE; one that is none of these is compared without possessives ("Alzheimer
    disease", "Alzheimer's disease"). A name that several terms have means all of them.
    """
    vocabulary = Vocabulary(graph)
    loosely = cache(lambda column: _without_possessives(vocabulary.terms(column)))

    @cache
    def expand(column: str, value: str) -> frozenset[str] | None:
        ids: Iterable[str] = vocabulary.terms(column).find(value)[0]
        ids = ids or loosely(column).get(without_possessives(value), ())
        return vocabulary.below(column, ids) if ids else None

    return expand


def _without_possessives(terms: Terms) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for names in (terms.by_label, terms.by_synonym):
        for name, ids in names.items():
            found.setdefault(without_possessives(name), set()).update(ids)
    return found


def _decided(target: str, terms: Terms) -> Mapped:
    if target == UNKNOWN:
        return Mapped(None, None, CURATED, None)
    curie = terms.term(target)
    if curie is None:
        return Mapped(UNMAPPED, None, CURATED, 0.0)
    return Mapped(terms.name_of[curie], curie, CURATED, 1.0)


@cache
def _packaged(column: str) -> dict[str, str]:
    """What people write -> id, of a column."""
    entries = schema("curated_terms").get(column, ())
    return {str(value): entry["id"] for entry in entries for value in entry["values"]}
