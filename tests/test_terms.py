"""Vocabularies of the installed ontologies, the packaged table, and what a value resembles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.harmonise import UNMAPPED, harmonise, map_value
from tosg_graph.resources import schema
from tosg_graph.terms import Terms, Vocabulary, make_terms, term_columns

VOCABULARY = Vocabulary()


def mapped(column: str, value: str) -> tuple[str | None, str | None, str | None]:
    found = map_value(column, value, VOCABULARY.terms(column), {})
    return found.label, found.id, found.rule


@pytest.mark.parametrize(
    ("column", "value", "identifier", "rule"),
    [
        ("cell_type", "CL:0000084", "CL:0000084", "id"),
        ("cell_type", "CL_0000084", "CL:0000084", "id"),
        ("cell_type", "http://purl.obolibrary.org/obo/CL_0000084", "CL:0000084", "id"),
        ("cell_type", "T cell", "CL:0000084", "label"),
        ("cell_type", "pDC", "CL:0000784", "synonym"),
        ("cell_type", "CD14+ Mono", "CL:0001054", "packaged"),
        ("cell_type", "neutrophils", "CL:0000775", "fuzzy"),
        ("cell_type", "oligodendorcyte", "CL:0000128", "fuzzy"),
        ("cell_type", "B cell, memory", "CL:0000787", "fuzzy"),
        ("disease", "Alzheimer's disease", "MONDO:0004975", "synonym"),
        ("disease", "type 2 diabetes mellitus", "MONDO:0005148", "label"),
        ("disease", "normal", "PATO:0000461", "label"),
        ("disease", "Healthy", "PATO:0000461", "packaged"),
        ("disease", "control", "PATO:0000461", "packaged"),
        ("disease", "none", "PATO:0000461", "packaged"),
        ("disease", "acute myeloid leukaemia", "MONDO:0018874", "fuzzy"),
        ("disease", "Crohns disease", "MONDO:0005011", "fuzzy"),
        ("tissue", "PBMC", "UBERON:0000178", "packaged"),
        ("organ", "blood", "UBERON:0000178", "label"),
        ("development_stage", "25-year-old stage", "HsapDv:0000119", "label"),
        ("development_stage", "25-year-old human stage", "HsapDv:0000119", "label"),
        ("sex", "F", "PATO:0000383", "packaged"),
        ("sex", "male", "PATO:0000384", "label"),
        ("assay", "10x 3' v2", "EFO:0009899", "label"),
        ("assay", "EFO:0009310", "EFO:0009899", "replaced id"),
        ("assay", "snRNA-seq", "EFO:0009809", "synonym"),
        ("assay", "10x_v3", "EFO:0009922", "packaged"),
        ("suspension", "nuclei", "nucleus", "packaged"),
        ("suspension", "Cell", "cell", "label"),
        ("suspension", "na", "na", "id"),
    ],
)
def test_a_value_finds_its_term_by_the_first_rule_that_fits(
    column: str, value: str, identifier: str, rule: str
) -> None:
    label, found, by = mapped(column, value)
    assert (found, by) == (identifier, rule)
    assert label == VOCABULARY.terms(column).name_of[identifier]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("disease", "unknown"),
        ("disease", "None"),  # how a program writes nothing
        ("disease", "Unclassified"),  # neither case nor control
        ("sex", "not reported"),
        ("suspension", "NA"),
        ("cell_type", "?"),
    ],
)
def test_what_only_says_that_nothing_is_known_is_null(column: str, value: str) -> None:
    assert mapped(column, value) == (None, None, None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("cell_type", "Microglia/Macrophage"),
        ("cell_type", "NK/T cell"),
        ("cell_type", "T cell?"),
        ("cell_type", "malignant_MGH36"),
        ("cell_type", "Oligodendrocytes (non-malignant)"),
        ("disease", "type 3 diabetes mellitus"),
        ("disease", "COVID-19 || normal"),
        ("assay", "10x 7' v2"),
        ("sex", "pooled"),
        ("disease", "a disease of the north"),
    ],
)
def test_what_finds_no_term_is_unmapped(column: str, value: str) -> None:
    assert mapped(column, value) == (UNMAPPED, None, None)


def test_several_terms_are_listed_and_none_is_taken() -> None:
    found = map_value("disease", "RA", VOCABULARY.terms("disease"), {})
    assert (found.label, found.id) == (UNMAPPED, None)
    assert found.rule == "ambiguous synonym: MONDO:0005272, MONDO:0008383"


def test_a_deprecated_id_without_a_replacement_is_unmapped() -> None:
    assert mapped("development_stage", "HsapDv:0000087") == (UNMAPPED, None, None)


def test_assays_and_sexes_are_kept_apart_from_the_rest_of_their_ontology() -> None:
    assert "EFO:0000311" not in VOCABULARY.terms("assay").name_of  # cancer
    assert "PATO:0000461" not in VOCABULARY.terms("sex").name_of
    assert VOCABULARY.terms("assay").find("cancer") == ((), "")


def test_below_a_term_is_what_its_ontology_says() -> None:
    assert {"CL:0000084", "CL:0000624", "CL:0000815"} <= VOCABULARY.below("cell_type", ["CL:0000084"])
    assert "CL:0000236" not in VOCABULARY.below("cell_type", ["CL:0000084"])
    assert "EFO:0009899" in VOCABULARY.below("assay", ["EFO:0008995"])


# --------------------------------------------------------------------------- the packaged table


PACKAGED = [
    (column, entry["id"], value)
    for column, entries in schema("curated_terms").items()
    for entry in entries
    for value in entry["values"]
]


def test_the_packaged_table_names_terms_that_exist_and_says_why() -> None:
    for column, entries in schema("curated_terms").items():
        assert column in term_columns()
        for entry in entries:
            assert entry["id"] in VOCABULARY.terms(column).name_of, entry
            assert entry["source"]
            assert entry["why"]


def test_no_value_of_the_packaged_table_means_two_things_or_is_a_name_already() -> None:
    assert len({(c, v) for c, _, v in PACKAGED}) == len(PACKAGED)
    found = {(c, v): VOCABULARY.terms(c).find(v)[0] for c, _, v in PACKAGED}
    exact = {key for key, ids in found.items() if len(ids) == 1}
    assert exact == {("suspension", "na")}  # there only so that it is not taken for an unknown value
    assert all(v == " ".join(v.lower().split()) for _, _, v in PACKAGED)


def test_every_value_of_the_packaged_table_is_mapped_by_it() -> None:
    for column, identifier, value in PACKAGED:
        assert mapped(column, value)[1] == identifier, value


# --------------------------------------------------------------------------- resemblance

NAMES = [
    *("CD4-positive T cell", "type 1 diabetes mellitus", "osteoblast", "hyperthyroidism", "hepatitis B"),
    *("CD25+ B cell", "alpha-beta T cell", "Parkinson disease", "monocyte", "mature B cell"),
]
TOY = make_terms({"id": f"X:{n}", "name": name} for n, name in enumerate(NAMES))


@pytest.mark.parametrize(
    "value",
    [
        *("CD8-positive T cell", "type 2 diabetes mellitus", "type I diabetes mellitus", "osteoclast"),
        *(
            "hypothyroidism",
            "hepatitis C",
            "CD25- B cell",
            "CD25 B cell",
            "gamma-delta T cell",
            "immature B cell",
        ),
        *(
            "CD4-negative T cell",
            "CD4+ T cell",
            "mono",
            "Parkinson",
            "non-Parkinson disease",
            "alpha-alpha T cell",
        ),
        *("monocyte or T cell", "cell B mature", "CD44-positive T cell", "Parkinson disease 1"),
    ],
)
def test_numbers_signs_and_other_words_never_resemble(value: str) -> None:
    assert TOY.alike.find(value) == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Monocytes", "monocyte"),
        ("Parkinson's disease", "Parkinson disease"),
        ("Parkinsons disease", "Parkinson disease"),
        ("parkinson-disease", "Parkinson disease"),
        ("osteoblsat", "osteoblast"),
        ("B cell, mature", "mature B cell"),
        ("CD25+ B cells", "CD25+ B cell"),
    ],
)
def test_another_spelling_resembles(value: str, name: str) -> None:
    (match,) = TOY.alike.find(value)
    assert match.name == name
    assert match.score >= 90


def test_two_terms_that_are_as_near_decide_nothing() -> None:
    terms = make_terms(
        [
            {"id": "X:1", "name": "monocytes"},
            {"id": "X:2", "name": "macrophage"},
            {"id": "X:3", "name": "monocytes."},
        ]
    )
    found = map_value("cell_type", "monocyte", terms, {})
    assert found.label == UNMAPPED
    assert found.rule == "ambiguous fuzzy: X:1, X:3"


@given(st.sampled_from(sorted(VOCABULARY.terms("cell_type").name_of.values())), st.data())
def test_a_name_with_another_digit_or_sign_is_never_taken_for_the_name(
    name: str, data: st.DataObject
) -> None:
    places = [n for n, c in enumerate(name) if c.isdigit() or c == "+"]
    if not places:
        return
    place = data.draw(st.sampled_from(places))
    other = data.draw(st.sampled_from([c for c in "0123456789+-" if c != name[place]]))
    changed = name[:place] + other + name[place + 1 :]
    terms = VOCABULARY.terms("cell_type")
    meant = set(terms.by_label.get(name.lower(), ()))
    assert not meant & {match.id for match in terms.alike.find(changed)}


def test_a_term_that_is_missing_is_not_replaced_by_another() -> None:
    """Some cell types are taken out of the ontology and asked for."""
    whole = VOCABULARY.terms("cell_type")
    wrong = set()
    for identifier in sorted(whole.name_of)[::250]:
        others = Terms(
            {i: n for i, n in whole.name_of.items() if i != identifier},
            {
                n: rest
                for n, ids in whole.by_label.items()
                if (rest := tuple(i for i in ids if i != identifier))
            },
            {
                n: rest
                for n, ids in whole.by_synonym.items()
                if (rest := tuple(i for i in ids if i != identifier))
            },
        )
        if others.find(whole.name_of[identifier])[0]:
            continue
        if others.alike.find(whole.name_of[identifier]):
            wrong.add(whole.name_of[identifier])
    assert not wrong


def test_columns_share_one_row_per_value() -> None:
    columns = harmonise("sex", ["F", "M", None, "F", "?"], VOCABULARY.terms("sex"), {})
    assert columns["sex"].to_pylist() == ["female", "male", None, "female", None]
    assert columns["sex_raw"].to_pylist() == ["F", "M", None, "F", "?"]
    assert len(columns["sex"].dictionary) == 3
