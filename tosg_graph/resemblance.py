"""Terms that a value resembles: the same words in other spelling, never other words, numbers or signs.

A name counts only if it has the words of the value in their order ("B cell, memory" is "memory B cell"), but for one
that differs by a slip of the pen; of the names that remain, `rapidfuzz` says how alike they are. What may differ:
capitals, punctuation, plurals, genitives, British spelling. What never may: numbers, signs, Greek letters, short
words, and words that the ontology knows ("osteoclast" is no misspelt "osteoblast").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tosg_graph.terms import Terms

CUT_OFF = 90.0  # of 100, rapidfuzz.fuzz.token_sort_ratio
MARGIN = 2.0  # to the best name of any other term
MIN_LETTERS = 6  # of the value, and of a word that may be misspelt
SHARED_START = 0.6  # of a misspelt word: prefixes are what tells medical words apart (hypo-, hyper-)
_EITHER = "/|;&?'"  # one of several things, doubt, a prime
_WORD = re.compile(r"[^\W_]+(?:\++|-+(?![^\W_]))?")
_MARK = re.compile(r"[^\W_]*\d[^\W_]*[+-]+")


@dataclass(frozen=True)
class Match:
    """A term that a value may mean; ``score`` from 0 to 100."""

    id: str
    name: str
    score: float


@dataclass(frozen=True)
class _Name:
    id: str
    name: str
    orders: tuple[tuple[str, ...], ...]  # its words as they stand, and as a comma turns them
    marks: tuple[str, ...]


class Resemblance:
    """Finds the terms that a value resembles. See `Terms.alike`."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._names: dict[tuple[str, ...], list[_Name]] = {}
        for name, ids in (*terms.by_label.items(), *terms.by_synonym.items()):
            orders, marks = _orders(name), _marks(name)
            same_words = self._names.setdefault(_rigid(orders[0]), [])
            same_words += [_Name(identifier, name, orders, marks) for identifier in ids]
        self._known = {word for names in self._names.values() for n in names for word in n.orders[0]}

    def find(self, value: str) -> list[Match]:
        """Return the terms at or above the cut-off, best first; more than one means that it is not decided."""
        from rapidfuzz import fuzz

        orders, marks = _orders(value), _marks(value)
        if sum(map(str.isalnum, value)) < MIN_LETTERS:
            return []
        best: dict[str, Match] = {}
        for name in self._names.get(_rigid(orders[0]), ()):
            if name.marks != marks or not any(self._same(a, b) for a in orders for b in name.orders):
                continue
            score = fuzz.token_sort_ratio(_plain(value), _plain(name.name))
            if score >= CUT_OFF and (name.id not in best or score > best[name.id].score):
                best[name.id] = Match(name.id, self._terms.name_of[name.id], score)
        ranked = sorted(best.values(), key=lambda m: (-m.score, m.id))
        return [m for m in ranked if m.score > ranked[0].score - MARGIN]

    def nearest(self, value: str, limit: int = 3) -> list[Match]:
        """Return the terms whose names look most like a value, for a person to choose from; best first."""
        from rapidfuzz import fuzz, process

        names = self._all_names()
        found: dict[str, Match] = {}
        for _, score, place in process.extract(_plain(value), names[0], scorer=fuzz.WRatio, limit=10 * limit):
            for identifier in names[1][place]:
                found.setdefault(identifier, Match(identifier, self._terms.name_of[identifier], score))
        return list(found.values())[:limit]

    def _all_names(self) -> tuple[list[str], list[tuple[str, ...]]]:
        pairs = [*self._terms.by_label.items(), *self._terms.by_synonym.items()]
        return [name for name, _ in pairs], [ids for _, ids in pairs]

    def _same(self, value: tuple[str, ...], name: tuple[str, ...]) -> bool:
        """Tell whether two rows of words of one length are the same, but for one slip."""
        others = [(v, n) for v, n in zip(value, name, strict=True) if v != n]
        return not others or (len(others) == 1 and others[0][0] not in self._known and _is_slip(*others[0]))


def _is_slip(word: str, meant: str) -> bool:
    """Tell whether a word is another with one letter wrong, missing or doubled, or two of them swapped."""
    from rapidfuzz.distance import OSA

    shorter = min(len(word), len(meant))
    start = next((n for n, (a, b) in enumerate(zip(word, meant, strict=False)) if a != b), shorter)
    if shorter < MIN_LETTERS or start < SHARED_START * max(len(word), len(meant)):
        return False
    return bool(OSA.distance(word, meant) == 1)


def _rigid(words: Collection[str]) -> tuple[str, ...]:
    """Words that must be equal: short ones, and those with a number or a sign; then the number of all others."""
    fixed = sorted(w for w in words if len(w) < MIN_LETTERS or not w.isalpha())
    return (*fixed, str(len(words) - len(fixed)))


def _plain(text: str) -> str:
    """Text as rapidfuzz compares it: lower case, words only, signs kept."""
    return " ".join(_WORD.findall(_folded(text)))


def _orders(text: str) -> tuple[tuple[str, ...], ...]:
    """Words of a name in one spelling; where it has one comma, also with what follows it in front."""
    parts = [[_spelling(word) for word in _WORD.findall(part)] for part in _folded(text).split(",")]
    plain = tuple(word for part in parts for word in part)
    return (plain, (*parts[1], *parts[0])) if len(parts) == 2 else (plain,)


def _marks(text: str) -> tuple[str, ...]:
    """What must be the same in both texts beside the words: ``CD4-`` and the like, signs of plus, signs of doubt."""
    folded = _folded(text)
    others = sorted(c for c in folded if c in _EITHER or c == "+")
    return (*sorted(_MARK.findall(folded)), *others)


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = re.sub(r"[‐‑‒–—−]", "-", plain).replace("’", "'")
    return re.sub(r"(?<=\w)'s\b|(?<=s)'(?!\w)", "", plain)


def _spelling(word: str) -> str:
    word = word.replace("ae", "e").replace("oe", "e").replace("our", "or")
    if len(word) >= 5 and word.isalpha() and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = f"{word[:-3]}y" if word.endswith("ies") else word[:-1]
    return word
