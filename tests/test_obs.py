"""Obs to core columns without a server: terms of the installed ontologies, ages, donors, real files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.errors import CellsError
from tosg_graph.obs import (
    ObsMapping,
    core_columns,
    other_columns,
    read_mapping,
    settable_columns,
    unmapped_values,
)
from tosg_graph.resources import schema
from tosg_graph.term_audit import with_candidates
from tosg_graph.terms import Vocabulary

VOCABULARY = Vocabulary()


def core(obs: dict[str, list[Any]], **mapping: Any) -> dict[str, list[Any]]:
    found = core_columns(pa.table(obs), ObsMapping(**mapping), VOCABULARY)
    return {name: column.to_pylist() for name, column in found.items()}


def test_every_column_of_the_schema_comes_from_somewhere() -> None:
    made = {*core({"x": [1, 2]}), "cell_id", "dataset", "barcode", "n_counts", "n_genes"}
    made |= {"n_protein_counts", "n_proteins"}
    named = schema("cells")["columns"]
    ends = {
        f"{c}{end}" for c in named if "ontology" in named[c] for end in ("_id", "_raw", "_rule", "_score")
    }
    assert made == {*named, *ends, *(f"suspension_{end}" for end in ("raw", "rule", "score"))}


def test_a_file_in_cellxgenes_schema_needs_no_mapping() -> None:
    obs = {
        "cell_type": ["T cell", "B cell"],
        "disease": ["normal", "COVID-19"],
        "tissue": ["blood", "blood"],
        "tissue_general": ["blood", "blood"],
        "assay": ["10x 3' v3", "10x 3' v3"],
        "sex": ["female", "unknown"],
        "development_stage": ["third decade stage", "Carnegie stage 17"],
        "suspension_type": ["cell", "nucleus"],
        "donor_id": ["pooled", "d1"],
        "is_primary_data": [True, False],
    }
    found = core(obs)
    assert found["cell_type_id"] == ["CL:0000084", "CL:0000236"]
    assert found["disease_id"] == ["PATO:0000461", "MONDO:0100096"]
    assert found["organ_id"] == found["tissue_id"] == ["UBERON:0000178"] * 2
    assert found["assay_id"] == ["EFO:0009922"] * 2
    assert found["sex"] == ["female", None]
    assert found["suspension"] == ["cell", "nucleus"]
    assert found["donor"] == [None, "d1"]
    assert found["is_primary"] == [True, False]
    assert found["age_years"] == [24.5, None]
    assert found["prenatal"] == [False, True]
    assert found["pf_days"] == [None, 42]
    assert other_columns(pa.table(obs), ObsMapping(), []) == {}


def test_a_column_under_its_own_name_goes_before_cellxgenes() -> None:
    obs = {"donor": ["a"], "donor_id": ["b"]}
    assert core(obs)["donor"] == ["a"]
    assert list(other_columns(pa.table(obs), ObsMapping(), [])) == ["donor_id"]


@pytest.mark.parametrize("value", ["unknown", "NA", "", "nan", "None", " ", "pooled", "?", "not available"])
def test_donors_that_are_not_known_are_not_one_donor(value: str) -> None:
    assert core({"donor": [value, "d1", value]})["donor"] == [None, "d1", None]


@given(st.lists(st.sampled_from(["d1", "d2", "unknown", "NA", None, "7"]), max_size=20))
def test_known_donors_stay_as_they_are(donors: list[str | None]) -> None:
    known = {"d1", "d2", "7"}
    found = core_columns(pa.table({"donor": pa.array(donors, pa.string())}), ObsMapping(), VOCABULARY)
    assert found["donor"].to_pylist() == [d if d in known else None for d in donors]


def test_an_age_goes_before_a_stage_and_what_is_not_known_comes_from_the_stage() -> None:
    obs = {
        "age": ["34 years", None, "unknown", "old", "P7D", "45+"],
        "development_stage": ["30-year-old stage", "30-year-old stage", "adult", "60s", "unknown", None],
    }
    found = core(obs, columns={"age_years": "age"})
    assert found["age_years"] == [34, 30, None, 64.5, pytest.approx(7 / 365.25), None]
    assert found["age_min"] == [34, 30, 15, 60, pytest.approx(7 / 365.25), 45]
    assert found["age_max"] == [34, 30, None, 69, pytest.approx(7 / 365.25), None]
    assert found["age_bin"] == ["adult", "adult", None, None, "newborn", None]
    assert found["age_years_raw"] == obs["age"]
    assert found["age_years_rule"] == [
        *("age_years", "development_stage", "development_stage", "development_stage"),
        *("age_years", "age_years"),
    ]


@pytest.mark.parametrize("ages", [[34, 0, 80], [34.0, None, 80.5], ["34", "nan", "80.5"]])
def test_a_number_that_stands_alone_is_in_years(ages: list[Any]) -> None:
    found = core({"age_years": ages})["age_years"]
    assert found[0] == 34
    assert found[2] in (80, 80.5)


def test_ages_that_cannot_be_read_at_all_are_another_column() -> None:
    with pytest.raises(CellsError, match="age_years is 'p1' for a cell, and no value of that column"):
        core({"patient": ["p1", "p2"]}, columns={"age_years": "patient"})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True, False, None], [True, False, None]),
        (["True", "no", "unknown"], [True, False, None]),
        ([1, 0, None], [True, False, None]),
    ],
)
def test_truths_may_be_written_in_several_ways(values: list[Any], expected: list[Any]) -> None:
    assert core({"is_primary": values})["is_primary"] == expected


def test_what_is_no_truth_is_refused() -> None:
    with pytest.raises(CellsError, match="is_primary is 'maybe' for a cell"):
        core({"is_primary": ["true", "maybe"]})


def test_decisions_win_and_may_say_unmapped_or_unknown() -> None:
    terms = {
        "cell_type": {"T cell": "CL:0000236", "B cell": "unmapped", "NK": "unknown", "old": "CL:0000021"}
    }
    found = core(
        {"cell_type": ["T cell", "B cell", "NK", "T cell"]},
        terms={"cell_type": {**terms["cell_type"], "old": "unmapped"}},
    )
    assert found["cell_type"] == ["B cell", "unmapped", None, "B cell"]
    assert found["cell_type_rule"] == ["curated"] * 4
    assert found["cell_type_score"] == [1, 0, None, 1]


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (
            {"cell_type": {"x": "CL:99"}},
            "cell_type 'x' is CL:99, which is no term here: a term of CL is expected",
        ),
        ({"disease": {"x": "CL:0000084"}}, "a term of MONDO or PATO is expected"),
        ({"suspension": {"x": "tissue"}}, "one of cell, nucleus, na is expected"),
    ],
)
def test_a_decision_for_what_is_no_term_is_refused(terms: dict[str, dict[str, str]], says: str) -> None:
    with pytest.raises(CellsError) as refusal:
        core({"y": ["x"]}, terms=terms)
    assert says in str(refusal.value)


def test_a_replaced_id_in_a_decision_becomes_the_term_in_force() -> None:
    found = core({"assay": ["mine"]}, terms={"assay": {"mine": "EFO:0009310"}})
    assert (found["assay_id"], found["assay"]) == (["EFO:0009899"], ["10x 3' v2"])


def test_values_without_a_term_are_counted() -> None:
    obs = {
        "cell_type": ["weird", "weird", "T cell", "RA", "unknown"],
        "disease": ["RA"] * 5,
        "age_years": ["34", "odd", "odd", "odd", None],
    }
    rows = unmapped_values(core_columns(pa.table(obs), ObsMapping(), VOCABULARY))
    assert [tuple(row.values()) for row in rows.to_pylist()] == [
        ("disease", "RA", 5, "ambiguous synonym: MONDO:0005272, MONDO:0008383"),
        ("cell_type", "weird", 2, None),
        ("cell_type", "RA", 1, None),
        ("age_years", "odd", 3, None),
    ]
    near = with_candidates(rows, VOCABULARY)["candidates"].to_pylist()
    assert near[0] == (
        "MONDO:0005272 myelodysplastic syndrome with single lineage dysplasia; MONDO:0008383 rheumatoid arthritis"
    )
    assert near[1].startswith("CL:")
    assert near[3] == "no form of an age"


def test_no_cells_at_all() -> None:
    found = core({"cell_type": [], "age_years": []})
    assert set(map(len, found.values())) == {0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'cell_type:\n  terms:\n    "B": CL:0000236\n    "B": CL:0000084\n',
            "line 4: 'B' stands there again, first in line 3",
        ),
        ("cell_type: {terms: [a]}", "terms of cell_type is no list of"),
        ("donor: {terms: {a: CL:1}}", "'donor' takes no terms"),
        ("cell_type: &a {terms: *a}", "line 1: it refers to itself"),
        ("cell_type: {terms: {[a]: CL:1}}", "line 1: a name or value is expected"),
        ("cell_type: {terms: {a: !!python/name:os.system x}}", "is no YAML"),
        ("age_bin: {column: x}", "'age_bin' is no column that can be mapped"),
        ("cell_typ: {column: x}", "Did you mean 'cell_type'?"),
        ("cell_id: {column: x}", "'cell_id' is no column that can be mapped"),
        ("cell_type: x", "needs one entry per column"),
        ("- cell_type", "needs one entry per column"),
        ("cell_type: {columns: x}", "cell_type has 'columns'"),
        ("a: [", "is no YAML"),
    ],
)
def test_a_mapping_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(CellsError) as refusal:
        read_mapping(path)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_values_without_an_id_in_a_mapping_are_not_decided(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text('cell_type: {terms: {"B": , "C": CL:0000236}}')
    assert read_mapping(path).terms == {"cell_type": {"C": "CL:0000236"}}


def test_no_computed_column_can_be_set() -> None:
    assert {"cell_id", "age_bin", "prenatal", "n_counts"}.isdisjoint(settable_columns())


# --------------------------------------------------------------------------- real files

REAL = [  # file, obs column, values that stay unmapped
    ("pbmc3k.h5ad", "cell_type", set()),
    ("soupx_pbmc.h5ad", "Annotation", set()),
    (
        "oligodendroglioma.h5ad",
        "cell_type",
        {
            *(
                "Oligodendrocytes (non-malignant)",
                "Microglia/Macrophage",
                "malignant_MGH36",
                "malignant_MGH53",
            ),
            *("malignant_93", "malignant_97"),
        },
    ),
]


@pytest.mark.parametrize(("name", "column", "unmapped"), REAL, ids=[r[0] for r in REAL])
def test_the_cell_types_of_real_files(shared_data: Path, name: str, column: str, unmapped: set[str]) -> None:
    import anndata

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the files are of older layouts
        values = anndata.read_h5ad(shared_data / "cells" / name, backed="r").obs[column].astype(object)
    given = [v if isinstance(v, str) else None for v in values]
    found = core({"cell_type": given})
    odd = {raw for raw, label in zip(given, found["cell_type"], strict=True) if label == "unmapped"}
    assert odd == unmapped
    assert {raw for raw, label in zip(given, found["cell_type"], strict=True) if label is None} <= {
        "nan",
        "?",
        None,
    }


def test_monocytes_of_the_tutorial_are_told_apart(shared_data: Path) -> None:
    found = core({"cell_type": ["CD14+ Mono", "FCGR3A+ Mono"]})
    assert found["cell_type_id"] == ["CL:0001054", "CL:0002396"]
