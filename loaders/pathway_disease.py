"""Pathways named after a disease: matched by label or exact synonym, and marked as such."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from loaders import wikipathways
from loaders.ontology import Terms, guide_file, live_terms, read_terms
from loaders.tables import ROW, Row, edge_table
from tosg_graph.contract import file_rows
from tosg_graph.types import Parsed, Reject, Source

SOURCE = Source(
    key="pathway_disease",
    title="Pathways named after a disease (WikiPathways x MONDO, by name)",
    version="1 (WikiPathways 2022-06-10, MONDO 2026-05-05)",
    licence="CC-BY-4.0",
    homepage="https://mondo.monarchinitiative.org",
    size_mb=2.1,
    files={"gmt": wikipathways.GMT_FILE, "diseases": guide_file("MONDO", "v2026-05-05")},
    knowledge_level="prediction",
    note="Derived: the pathway's name holds the disease's label or synonym; nobody asserted the link.",
)

# A shorter name is an abbreviation with other meanings; a name that is one of these words says nothing.
_SHORTEST = 6
_DISEASE = "MONDO:0000001"
_GENERIC = frozenset(
    {"disease", "diseases", "disorder", "disorders", "condition", "syndrome", "infection", "injury"}
)


def parse(paths: dict[str, Path]) -> Parsed:
    """Match pathway names to diseases: ASSOCIATED_WITH, ``relation`` is ``label match`` or ``synonym match``.

    Rule: names are compared in lower case with white space for punctuation. A disease matches where its
    label or synonym (6 characters or more) stands in the pathway's name as whole words and no longer match
    covers it.
    A name of several diseases is refused. ``read`` counts the matches.

    Parameters
    ----------
    paths
        ``gmt``: WikiPathways; ``diseases``: MONDO of ``cellxgene-ontology-guide``.
    """
    names = _disease_names(live_terms(read_terms(paths["diseases"])))
    longest = max((len(name.split()) for name in names), default=0)
    table = wikipathways.parse({"gmt": paths["gmt"]}).nodes[0]
    pathways, lines = table.data, file_rows(table, np.arange(len(table.data))).tolist()
    rows: list[Row] = []
    rejects: list[Reject] = []
    for number, pathway, title in zip(
        lines, pathways["id"].to_pylist(), pathways["name"].to_pylist(), strict=True
    ):
        for name in _longest_matches(_plain(title).split(), names, longest):
            found = names[name]
            labelled = {disease for disease, relation in found if relation == "label match"}
            chosen = labelled or {disease for disease, _ in found}
            if len(chosen) > 1:
                rejects.append(Reject(number, "name", name, "name of several diseases"))
                continue
            relation = "label match" if labelled else "synonym match"
            edge: Row = {"subject": pathway, "object": chosen.pop(), "relation": relation}
            rows.append({ROW: number, **edge})
    ends = ("Pathway", "ASSOCIATED_WITH", "Disease")
    read = len(rows) + len(rejects)
    return Parsed(edges=(edge_table("pathway_disease", "matches", ends, rows, read=read, rejects=rejects),))


def _disease_names(terms: Terms) -> dict[str, set[tuple[str, str]]]:
    names: dict[str, set[tuple[str, str]]] = {}
    for term, fields in terms.items():
        if _DISEASE not in fields["ancestors"]:
            continue  # MONDO also names characteristics, such as "congenital" and "common"
        given = [(fields["label"], "label match")]
        given += [(synonym, "synonym match") for synonym in fields.get("synonyms", ())]
        for name, relation in given:
            plain = _plain(name)
            if len(plain) >= _SHORTEST and plain not in _GENERIC:
                names.setdefault(plain, set()).add((term, relation))
    return names


def _plain(name: str) -> str:
    return " ".join(re.sub(r"[^0-9a-z]+", " ", name.lower()).split())


def _longest_matches(words: list[str], names: dict[str, set[tuple[str, str]]], longest: int) -> list[str]:
    """Names that stand in the words, longest first from the left; a word belongs to one name."""
    found: list[str] = []
    taken = [False] * len(words)
    for length in range(min(longest, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            name = " ".join(words[start : start + length])
            if name in names and not any(taken[start : start + length]):
                found.append(name)
                taken[start : start + length] = [True] * length
    return found
