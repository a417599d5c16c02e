"""Terms of any OBO ontology as our tables: the prefix of an id decides what it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from loaders.tables import ROW, Row, edge_table, node_table
from tosg_graph.contract import allows, id_prefixes
from tosg_graph.errors import LoadError
from tosg_graph.types import EdgeTable, Parsed, Reject, SourceOption

PREFIXES = SourceOption(
    "prefixes",
    "id prefixes to make nodes of, joined by commas; without it, the ontology's own",
    default="",
)

LABELS = {
    "MONDO": "Disease",
    "DOID": "Disease",
    "HP": "Phenotype",
    "CL": "CellType",
    "UBERON": "Organ",
    "CHEBI": "Metabolite",
    "PW": "Pathway",
    "FPLX": "ProteinFamily",
    "NCBITaxon": "Microbe",
    **dict.fromkeys(id_prefixes("Attribute"), "Attribute"),
}
_BY_NAMESPACE = {
    "biological_process": "BiologicalProcess",
    "molecular_function": "MolecularFunction",
    "cellular_component": "CellularComponent",
}
_VERBS = {"is_a": "IS_A", "part_of": "PART_OF", "BFO:0000050": "PART_OF"}


@dataclass
class Term:
    """One class of an ontology."""

    number: int  # 1-based, of the terms of the file
    id: str
    name: str = ""
    namespace: str = ""
    definition: str = ""
    obsolete: bool = False
    replaced_by: list[str] = field(default_factory=list)
    synonyms: list[str] = field(default_factory=list)
    xrefs: list[str] = field(default_factory=list)
    alt_ids: list[str] = field(default_factory=list)
    subsets: list[str] = field(default_factory=list)
    parents: list[tuple[str, str]] = field(default_factory=list)  # relation, target

    @property
    def prefix(self) -> str:
        """What stands before the colon of the id."""
        return self.id.partition(":")[0]


def tables(source: str, terms: Sequence[Term], ontology: str, prefixes: str) -> Parsed:
    """Make node tables and edge tables.

    Obsolete terms are no nodes; they and alternative ids are xrefs of the term that replaced them. Other
    prefixes than the wanted ones are imported terms: no nodes, but relationships may lead to them.

    Parameters
    ----------
    ontology
        What the file calls itself, such as ``cl``; decides the prefix where none is given.
    prefixes
        Option of the user: prefixes to keep, joined by commas.
    """
    wanted = _wanted(terms, ontology, prefixes)
    by_id = {term.id: term for term in terms}
    now = _replacements(terms, by_id)
    kept: dict[str, list[Row]] = defaultdict(list)
    bad: list[Reject] = []
    old: dict[str, set[str]] = defaultdict(set)
    for id_, live in now.items():
        if live:
            old[live].add(id_)
    nodes = []
    for term in terms:
        reason = _why_not(term, wanted, now)
        if reason:
            bad.append(Reject(term.number, "id", term.id, reason))
            continue
        nodes.append(term)
        kept[_label(term.id, by_id) or ""].append(_row(term, old[term.id]))
    if not kept:
        kept[LABELS.get(min(wanted), "BiologicalProcess")] = []
    node_tables = []
    for place, (label, rows) in enumerate(sorted(kept.items())):
        rejects = [] if place else bad
        read = len(rows) + len(rejects)
        node_tables.append(
            node_table(source, f"terms_{label.lower()}", label, rows, read=read, rejects=rejects)
        )
    return Parsed(tuple(node_tables), tuple(_edges(source, nodes, by_id, now)))


def _wanted(terms: Sequence[Term], ontology: str, prefixes: str) -> set[str]:
    counts = Counter(term.prefix for term in terms if not term.obsolete)
    known = {prefix for prefix in counts if prefix in LABELS or prefix == "GO"}
    if prefixes:
        given = {prefix.strip() for prefix in prefixes.split(",")} - {""}
        for prefix in sorted(given - known):
            raise LoadError(
                f"option prefixes: {prefix!r} is no prefix of this file that has a label; it has {_listed(known)}."
            )
        return given
    own = {prefix for prefix in known if prefix.lower() == ontology.lower()}
    if not known:
        raise LoadError(f"no term has a prefix with a label; the file has {_listed(set(counts))}.")
    return own or {max(sorted(known), key=lambda prefix: counts[prefix])}


def _listed(prefixes: set[str]) -> str:
    return ", ".join(sorted(prefixes)[:20]) or "none"


def _replacements(terms: Sequence[Term], by_id: dict[str, Term]) -> dict[str, str | None]:
    """Obsolete and alternative ids -> the live term that stands for each, if there is just one."""
    steps = {term.id: set(term.replaced_by) for term in terms if term.obsolete}
    for term in terms:
        for id_ in term.alt_ids:
            if id_ not in by_id or by_id[id_].obsolete:
                steps.setdefault(id_, set()).add(term.id)
    found: dict[str, str | None] = {}
    for id_ in steps:
        ends, seen, open_ones = set(), {id_}, [*steps[id_]]
        while open_ones:
            at = open_ones.pop()
            if at in steps and at not in seen:
                open_ones += steps[at]
            elif at in by_id and not by_id[at].obsolete:
                ends.add(at)
            seen.add(at)
        found[id_] = min(ends) if len(ends) == 1 else None
    return found


def _why_not(term: Term, wanted: set[str], now: dict[str, str | None]) -> str | None:
    if term.prefix not in wanted:
        return f"imported, not {' or '.join(sorted(wanted))}"
    if term.obsolete:
        return "obsolete, replaced" if now.get(term.id) else "obsolete"
    if not term.name:
        return "no name"
    if term.prefix == "GO" and term.namespace not in _BY_NAMESPACE:
        return f"namespace {term.namespace!r} is none of GO's"
    return None


def _label(id_: str, by_id: dict[str, Term]) -> str | None:
    prefix = id_.partition(":")[0]
    if prefix == "GO":
        return _BY_NAMESPACE.get(by_id[id_].namespace) if id_ in by_id else None
    return LABELS.get(prefix)


def _row(term: Term, old: set[str]) -> Row:
    return {
        ROW: term.number,
        "id": term.id,
        "name": term.name,
        "description": term.definition,
        "synonyms": sorted({*term.synonyms} - {term.name, ""}),
        "xrefs": sorted({*term.xrefs, *old} - {term.id}),
        "subsets": sorted({*term.subsets} - {""}),
    }


def _edges(
    source: str, nodes: Sequence[Term], by_id: dict[str, Term], now: dict[str, str | None]
) -> list[EdgeTable]:
    rows: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    bad: list[Reject] = []
    for term in nodes:
        label = _label(term.id, by_id) or ""
        for relation, target in term.parents:
            object_ = now.get(target) or target
            other = _label(object_, by_id)
            if other is None or (object_ in by_id and by_id[object_].obsolete):
                reason = "obsolete" if other else "no label for its prefix"
                bad.append(Reject(term.number, relation, target, reason))
                continue
            verb = _VERBS.get(relation, "ASSOCIATED_WITH")
            verb = verb if allows(verb, label, other) else "ASSOCIATED_WITH"
            edge: Row = {"subject": term.id, "object": object_, "relation": relation}
            rows[label, verb, other].append({ROW: term.number, **edge})
    if not rows and bad:
        rows["Disease", "ASSOCIATED_WITH", "Disease"] = []
    found = []
    for place, (ends, stated) in enumerate(sorted(rows.items())):
        rejects = [] if place else bad
        name = "_".join(part.lower() for part in (ends[1], ends[0], ends[2]))
        read = len(stated) + len(rejects)
        found.append(edge_table(source, name, ends, stated, read=read, rejects=rejects, apart=["relation"]))
    return found


def is_xref(text: str) -> bool:
    """Whether a cross-reference is a CURIE; addresses and texts are not."""
    prefix, colon, rest = text.partition(":")
    proper = prefix[:1].isalpha() and prefix.replace("_", "").replace(".", "").replace("-", "").isalnum()
    return (
        bool(colon and rest) and proper and not rest.startswith("//") and not any(c.isspace() for c in text)
    )
