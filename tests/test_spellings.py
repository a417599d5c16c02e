"""Other ways to write a name: each one that is needed is there, and none is empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.spellings import curies, spellings, symbols, without_possessives


@pytest.mark.parametrize(
    "text", ["Alzheimer disease", "Alzheimer's disease", "alzheimer’s  Disease", "Alzheimerʼs disease"]
)
def test_possessives_are_left_out_however_they_are_written(text: str) -> None:
    assert without_possessives(text) == "alzheimer disease"


def test_only_possessives_are_left_out() -> None:
    assert without_possessives("Graves' disease") == "graves disease"
    assert without_possessives("Crohns disease") == "crohns disease"
    assert without_possessives("5 prime end") == "5 prime end"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IL-6", {"il-6", "il6", "il 6"}),
        ("TNF alpha", {"tnf alpha", "tnf-alpha", "tnf α", "tnf-α"}),
        ("NF-κB", {"nf-κb", "nf-kappab", "nfkappab"}),
        ("Beta-2", {"beta-2", "β-2", "β2"}),
        ("τ", {"τ", "tau"}),
    ],
)
def test_names(text: str, expected: set[str]) -> None:
    assert expected <= set(spellings(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("was", "WAS"),
        ("IL-6", "IL6"),
        ("IL-1β", "IL1B"),
        ("IFN gamma", "IFNG"),
        ("HLA-DRA", "HLA-DRA"),
        ("hla-dra", "HLA-DRA"),
    ],
)
def test_symbols(text: str, expected: str) -> None:
    assert expected in symbols(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MONDO:0004975", "MONDO:0004975"),
        ("mondo:0004975", "MONDO:0004975"),
        ("uniprotkb:p42224", "UniProtKB:P42224"),
        ("a0a024r161", "UniProtKB:A0A024R161"),
        ("ENST00000361099", "ENSEMBL:ENST00000361099"),
        ("DB00945", "DRUGBANK:DB00945"),
        ("R-HSA-877300", "REACT:R-HSA-877300"),
        ("WP619", "WIKIPATHWAYS:WP619"),
    ],
)
def test_curies(text: str, expected: str) -> None:
    assert expected in curies(text)


@given(st.text(min_size=1, max_size=60))
def test_the_text_itself_is_always_among_them_and_none_is_empty(text: str) -> None:
    plain = " ".join(text.lower().split())
    assert not plain or plain in spellings(text)
    assert text in symbols(text)
    assert text in curies(text)
    for ways in (spellings(text), symbols(text), curies(text)):
        assert all(ways)
        assert ways == sorted(set(ways))
