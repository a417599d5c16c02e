"""Which protein each antibody of a panel means, by stated rules; what is none keeps an axis row under its own name.

Antibodies are named as their makers please (``CD4_TotalSeqB``, ``anti-human CD279 (PD-1)``): the name is looked up as
it stands, then without what says nothing about the protein; first to the letter, then without case and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from tosg_graph.errors import CellsError
from tosg_graph.gene_axis import ALIAS, AMBIGUOUS, PREVIOUS, SYMBOL, GeneNames
from tosg_graph.resources import cypher, schema

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

DECIDED, TARGET, UNIPROT, NAME = "decision", "antibody target", "UniProt id", "protein name"
CONTROL, SUGAR = "isotype control", "binds a sugar"
SECOND, UNKNOWN, NO_NODE = "second antibody of its protein", "no such protein", "its gene has no protein node"
CONTROL_WORD, NONE_WORD = "control", "none"  # what a decision may say instead of a protein
_RULES = (
    DECIDED,
    UNIPROT,
    SYMBOL,
    PREVIOUS,
    ALIAS,
    NAME,
    TARGET,
)  # of two antibodies of a protein the first wins

_SILENT = (  # parts of a name that say nothing about the protein
    re.compile(r"[\s_.-]*total-?seq[\s_-]*[a-d]?$", re.IGNORECASE),
    re.compile(r"[\s_.-]+(adt|prot|protein|ab|antibody)$", re.IGNORECASE),
    re.compile(r"^(adt|prot|protein|ab)[\s_.:-]+", re.IGNORECASE),
    re.compile(r"^anti[\s_.-]*(mouse/human|human/mouse|human|hu)?[\s_.-]+", re.IGNORECASE),
    re.compile(r"^hu(ms)?(rt)?[._]", re.IGNORECASE),
    re.compile(r"\.\d+$"),  # R makes names unique so
)
_IN_BRACKETS = re.compile(r"^(?P<outside>[^()]+?)[\s_.-]*\((?P<inside>[^()]+)\)$")
_CONTROL = re.compile(r"isotype|iso[\s_-]*(ctrl|control)|(^|[\s_-])(ctrl|control)([\s_-]|$)", re.IGNORECASE)
_SPECIES = r"(?P<species>(mouse|rat|armenian[\s_.-]*hamster|hamster|goat|rabbit|human|m|r|ah)[\s_.-]*)?"
_IMMUNOGLOBULIN = re.compile(
    rf"^{_SPECIES}ig[gmae](?P<number>\d[abc]?)?[\s_.-]*(k|kappa|λ|lambda|fc)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class ProteinNames:
    """Look-ups from genes and names to proteins.

    Parameters
    ----------
    of_gene
        Gene id -> ids of its proteins.
    by_id
        Accession, CURIE or entry name, in lower case -> protein id.
    by_name
        Folded name or synonym -> ids of the proteins that have it.
    symbol_of
        Protein id -> symbol, or name where there is none.
    gene_of
        Protein id -> the gene that encodes it, where that is one.
    """

    of_gene: Mapping[str, tuple[str, ...]]
    by_id: Mapping[str, str]
    by_name: Mapping[str, tuple[str, ...]]
    symbol_of: Mapping[str, str]
    gene_of: Mapping[str, str]


NO_PROTEINS = ProteinNames({}, {}, {}, {}, {})
"""Of no graph: each antibody keeps an axis row under its own name."""


@dataclass(frozen=True)
class FeatureProtein:
    """What became of one antibody; ``protein_id`` is None where it keeps an axis row under its own name."""

    feature: str
    protein_id: str | None
    gene_id: str | None
    symbol: str | None
    rule: str
    candidates: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Name of its axis row: the protein's id, or its own name."""
        return self.protein_id or self.feature


def read_protein_names(graph: Graph) -> ProteinNames:
    """Read the names of all proteins in the graph; there may be none."""
    of_gene: dict[str, list[str]] = {}
    by_id: dict[str, str] = {}
    by_name: dict[str, list[str]] = {}
    symbol_of, gene_of = {}, {}
    for row in graph.rows(cypher("axis_proteins")):
        protein, entry = row["id"], row["entry_name"]
        for gene in row["genes"]:
            of_gene.setdefault(gene, []).append(protein)
        for name in (protein, protein.partition(":")[2], entry):
            if name:
                by_id[name.lower()] = protein
        for name in {folded(n) for n in (row["name"], *(row["synonyms"] or ())) if n and n != entry}:
            by_name.setdefault(name, []).append(protein)
        symbol_of[protein] = row["symbol"] or (entry or row["name"] or protein).removesuffix("_HUMAN")
        if len(row["genes"]) == 1:
            gene_of[protein] = row["genes"][0]
    return ProteinNames(_tuples(of_gene), by_id, _tuples(by_name), symbol_of, gene_of)


def map_proteins(
    antibodies: Sequence[str], decisions: Mapping[str, str], proteins: ProteinNames, genes: GeneNames
) -> list[FeatureProtein]:
    """Find the protein of each antibody.

    In this order, and the first that finds anything decides: what a person decided, isotype controls, the table
    ``schema/antibodies.yaml``, UniProt ids, approved symbol, previous symbol and alias of the gene, names of proteins.
    What several proteins may be is ambiguous. Of two antibodies of one protein the one that is named more plainly wins;
    where each sees an isoform of it (CD45RA, CD45RO), none does and they are ambiguous.
    Ambiguous, second, unknown ones and controls keep an axis row of their own; nothing is summed, nothing is dropped.

    Parameters
    ----------
    decisions
        Name of an antibody -> a protein's id, a gene's symbol, ``control`` or ``none``.

    Raises
    ------
    CellsError
        If a decision names nothing in the graph, or several proteins.
    """
    look_up = _look_up(proteins, genes)
    found = [
        _decided(name, decisions[name], proteins, look_up)
        if name in decisions
        else _one(name, proteins, look_up)
        for name in antibodies
    ]
    claims: dict[str, list[FeatureProtein]] = {}
    for feature in sorted((f for f in found if f.protein_id), key=_precedence):
        claims.setdefault(feature.key, []).append(feature)
    return [_settled(f, claims[f.key]) if f.protein_id else f for f in found]


def _settled(feature: FeatureProtein, claims: Sequence[FeatureProtein]) -> FeatureProtein:
    """What stays of a claim beside the others of its protein, the strongest first."""
    isoforms = len(claims) > 1 and claims[0].rule == TARGET
    if feature is claims[0] and not isoforms:
        return feature
    rule = AMBIGUOUS if isoforms else SECOND
    return FeatureProtein(feature.feature, None, None, None, rule, (feature.key,))


def folded(name: str) -> str:
    """A name without case and punctuation, Greek letters spelled out as makers do; CD4.1 does not become CD41."""
    greek = {"α": "a", "β": "b", "γ": "g", "δ": "d", "ε": "e"}
    plain = "".join(greek.get(c, c) for c in name.lower())
    return re.sub(r"[\s_.,/-]+", "", re.sub(r"(?<=\d)[\s_.,/-]+(?=\d)", "|", plain))


# --------------------------------------------------------------------------- inside

_LookUp = Callable[[str], "tuple[str, tuple[str, ...], tuple[str, ...]] | None"]  # rule, genes, proteins


def _look_up(proteins: ProteinNames, genes: GeneNames) -> _LookUp:
    """What one spelling of a name finds: the rule, its genes and their proteins; None where nothing."""
    by_fold: dict[str, dict[str, set[str]]] = {}
    for rule in (SYMBOL, PREVIOUS, ALIAS):
        names = by_fold.setdefault(rule, {})
        for name, ids in genes.by_rule[rule].items():
            names.setdefault(folded(name), set()).update(ids)
    id_of = {symbol: gene for gene, symbol in genes.symbol_of.items()}

    def of_genes(rule: str, ids: Iterable[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        known = tuple(sorted(ids))
        return rule, known, tuple(p for gene in known for p in proteins.of_gene.get(gene, ()))

    def find(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]] | None:
        key = folded(name)
        if (symbols := _targets().get(key)) is not None:
            # Several stay ambiguous where the graph has one of them only.
            rule = TARGET if len(symbols) == 1 else AMBIGUOUS if symbols else SUGAR
            return of_genes(rule, (id_of[s] for s in symbols if s in id_of))
        if name.lower() in proteins.by_id:
            return UNIPROT, (), (proteins.by_id[name.lower()],)
        for rule in (SYMBOL, PREVIOUS, ALIAS):
            if ids := genes.by_rule[rule].get(name) or by_fold[rule].get(key):
                return of_genes(rule, ids)
        return (NAME, (), proteins.by_name[key]) if key in proteins.by_name else None

    return find


@cache
def _targets() -> dict[str, list[str]]:
    return {folded(name): symbols for name, symbols in schema("antibodies")["targets"].items()}


def _one(name: str, proteins: ProteinNames, look_up: _LookUp) -> FeatureProtein:
    spellings = _spellings(name)
    if any(_is_control(spelling) for spelling in spellings):
        return FeatureProtein(name, None, None, None, CONTROL)
    for spelling in spellings:
        if found := look_up(spelling):
            return _feature(name, *found, proteins)
    return FeatureProtein(name, None, None, None, UNKNOWN)


def _feature(
    name: str, rule: str, genes: tuple[str, ...], of: tuple[str, ...], proteins: ProteinNames
) -> FeatureProtein:
    if len(of) == 1 and rule != AMBIGUOUS:
        return FeatureProtein(name, of[0], proteins.gene_of.get(of[0]), proteins.symbol_of[of[0]], rule)
    if of or len(genes) > 1 or rule == AMBIGUOUS:
        return FeatureProtein(name, None, None, None, AMBIGUOUS, of or genes)
    nothing = SUGAR if rule == SUGAR else NO_NODE if genes else UNKNOWN
    return FeatureProtein(name, None, None, None, nothing, genes)


def _decided(name: str, target: str, proteins: ProteinNames, look_up: _LookUp) -> FeatureProtein:
    if target in (CONTROL_WORD, NONE_WORD):
        rule = CONTROL if target == CONTROL_WORD else DECIDED
        return FeatureProtein(name, None, None, None, rule)
    rule, genes, of = look_up(target) or ("", (), ())
    feature = _feature(name, rule, genes, of, proteins)
    if feature.protein_id is None:
        several = f"several proteins: {', '.join(feature.candidates)}" if feature.candidates else "none"
        raise CellsError(
            f"The antibody {name!r} is decided to be {target!r}, but of the proteins in the graph that is {several}. "
            f"Name one by its id (UniProtKB:P01730), or say {CONTROL_WORD} or {NONE_WORD}."
        )
    return replace(feature, rule=DECIDED)


def _is_control(name: str) -> bool:
    immunoglobulin = _IMMUNOGLOBULIN.match(name)
    # IgM and IgD alone are what B cells carry; IgG1 and "mouse IgG" are what binds nothing.
    return bool(_CONTROL.search(name)) or bool(
        immunoglobulin and (immunoglobulin["species"] or immunoglobulin["number"])
    )


def _spellings(name: str) -> list[str]:
    """The name as it stands, then with less and less beside the protein's own name."""
    found = [name.strip()]
    for silent in (*_SILENT, *_SILENT):  # one may stand behind another
        found.append(silent.sub("", found[-1]) or found[-1])
    if inside := _IN_BRACKETS.match(found[-1]):
        found += [inside["outside"], inside["inside"]]
    return list(dict.fromkeys(found))


def _precedence(feature: FeatureProtein) -> tuple[int, str]:
    return _RULES.index(feature.rule), feature.feature


def _tuples(names: Mapping[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(ids)) for name, ids in names.items()}
