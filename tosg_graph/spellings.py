"""Ways to write a name: Greek letters and their names, hyphens, symbols, and CURIEs in other clothes."""

from __future__ import annotations

import re
from functools import cache

from tosg_graph.contract import id_prefixes, labels

_GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "ι": "iota",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "ν": "nu",
    "ξ": "xi",
    "ο": "omicron",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "υ": "upsilon",
    "φ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
}
_LETTER = {name: letter for letter, name in _GREEK.items()}
_PART = re.compile(rf"[{''.join(_GREEK)}]|[^\W_{''.join(_GREEK)}]+")
_POSSESSIVE = re.compile(r"(?<=\w)['’ʼ`´]s?\b|(?<=s)['’ʼ`´](?=\s|$)")
_SYMBOL_PARTS = 4  # a symbol is short
# Accessions that say by their form whose they are.
_ACCESSIONS = {
    "ENSEMBL": r"ENS[A-Z]*[GTP]\d{11}",
    "UniProtKB": r"[OPQ]\d[A-Z\d]{3}\d|[A-NR-Z]\d([A-Z][A-Z\d]{2}\d){1,2}",
    "REACT": r"R-[A-Z]{3}-\d+",
    "WIKIPATHWAYS": r"WP\d+",
    "DRUGBANK": r"DB\d{5}",
    "CHEMBL.COMPOUND": r"CHEMBL\d+",
}


def spellings(text: str) -> list[str]:
    """Return ways to write a name, in lower case, sorted: with and without hyphens, Greek letters or their names.

    >>> spellings("IL-6")
    ['il 6', 'il-6', 'il6']
    """
    words = [_PART.findall(word) for word in text.lower().replace("ς", "σ").split()]
    plain = " ".join(text.lower().split())
    found = {plain, "".join(_GREEK.get(letter, letter) for letter in plain)}
    for form in (_GREEK, _LETTER):
        parts = [[form.get(part, part) for part in word] for word in words if word]
        for joint in ("", "-", " "):
            found.add(" ".join(joint.join(word) for word in parts))
        found.add("-".join("-".join(word) for word in parts))
    return sorted(found - {""})


def without_possessives(text: str) -> str:
    """Return a name in lower case without the apostrophes of possessives, however these are written.

    >>> without_possessives("Alzheimer’s Disease")
    'alzheimer disease'
    """
    return " ".join(_POSSESSIVE.sub("", text.lower()).split())


def symbols(text: str) -> list[str]:
    """Return symbols that a text may stand for, sorted: as it is, in capitals, without hyphens, Greek as Latin.

    >>> symbols("IL1β")
    ['IL-1-B', 'IL1B', 'IL1Β', 'IL1β']
    """
    found = {text, text.upper()}
    parts = _PART.findall(text.lower())
    if len(parts) <= _SYMBOL_PARTS:
        latin = [_GREEK.get(part, part)[0] if part in _GREEK or part in _LETTER else part for part in parts]
        found |= {"".join(latin).upper(), "-".join(latin).upper()}
    return sorted(found - {""})


def curies(text: str) -> list[str]:
    """Return CURIEs that a text may be, sorted: itself, its prefix as the schema writes it, a bare accession."""
    found = {text}
    prefix, colon, rest = text.partition(":")
    if colon and prefix.lower() in _prefixes():
        found.add(f"{_prefixes()[prefix.lower()]}:{rest}")
        found.add(f"{_prefixes()[prefix.lower()]}:{rest.upper()}")
    for prefix, form in _ACCESSIONS.items():
        if re.fullmatch(form, text, re.IGNORECASE):
            found.add(f"{prefix}:{text.upper()}")
    return sorted(found)


@cache
def _prefixes() -> dict[str, str]:
    known = {prefix for label in labels() for prefix in id_prefixes(label)}
    return {prefix.lower(): prefix for prefix in known}
