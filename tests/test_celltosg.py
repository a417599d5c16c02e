"""The face of CellTOSG_Loader: a program written for it runs, and what was wrong there is right here."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tosg_folder_files as files
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.celltosg import CellTOSGDataLoader, CellTOSGSubsetBuilder, load_expression_by_metadata
from tosg_graph.celltosg_sides import _quotas
from tosg_graph.errors import CohortError, CorrectionError, ExportError, LoadError, TosgError
from tosg_graph.tosg_order import TosgOrder

CELLS = 240
BRAIN = {"tissue_general": "brain", "disease": "Alzheimer's Disease"}
TRAINED = {
    "task": "disease",
    "label_column": "disease",
    "extract_mode": "train",
    "stratified_balancing": True,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("celltosg") / "data", cells=CELLS)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_this_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOSG_CACHE", str(cache))


def number(row: pd.Series) -> int:
    """Which cell of the generator a row of metadata is."""
    return int(row["matrix_row_idx"]) + (CELLS // 2 if "part_1" in row["matrix_file_path"] else 0)


def numbers(frame: pd.DataFrame) -> list[int]:
    return [number(row) for _, row in frame.iterrows()]


def other(folder: Path, **changes: Any) -> Path:
    """A folder of its own with other metadata."""
    return files.write(folder / "data", cells=CELLS, **changes)


def fingerprint(folder: Path) -> dict[str, str]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


# --------------------------------------------------------------------------- a program for the reference

PROGRAM = """
from IMPORTED import CellTOSGDataLoader
import numpy as np, torch

args = dict(root=ROOT, tissue_general="brain", disease="Alzheimer's Disease")
dataset = CellTOSGDataLoader(
    root=args["root"],
    conditions={"tissue_general": args["tissue_general"], "disease": args["disease"], "suspension_type": None},
    task="disease", label_column="disease", sample_ratio=0.5, sample_size=None, shuffle=True,
    stratified_balancing=True, extract_mode="train", random_state=42, train_text=False, train_bio=False,
    correction_method=None, output_dir=OUT,
)
X, Y, metadata = dataset.data, dataset.labels, dataset.metadata
xTr, xTe, yTr, yTe = X["train"], X["test"], Y["train"], Y["test"]
num_entity = xTr.shape[1]
edges = torch.from_numpy(dataset.edge_index).long()
internal, ppi = dataset.internal_edge_index, dataset.ppi_edge_index
xTr = torch.from_numpy(xTr).float()
yTr = torch.from_numpy(yTr).long().view(-1, 1)
name_emb = torch.from_numpy(np.asarray(dataset.x_name_emb)).float()
hidden = torch.zeros_like(xTr).index_add_(1, edges[1], xTr[:, edges[0]])
loss = torch.nn.functional.cross_entropy(torch.stack([hidden.mean(1), xTr.mean(1)], 1), yTr.flatten())
loss_is_finite = bool(torch.isfinite(loss))
"""


def test_a_program_for_the_reference_runs_with_another_import(root: Path, tmp_path: Path) -> None:
    before, out = fingerprint(root), tmp_path / "out"
    space: dict[str, Any] = {"ROOT": str(root), "OUT": str(out)}
    exec(PROGRAM.replace("IMPORTED", "tosg_graph.celltosg"), space)
    dataset, order = space["dataset"], TosgOrder.read(root)
    assert space["loss_is_finite"]
    assert space["num_entity"] == order.num_nodes
    for side in ("train", "test"):
        x, y, frame = (held[side] for held in (dataset.data, dataset.labels, dataset.metadata))
        assert isinstance(x, np.ndarray)
        assert x.dtype == np.float32
        assert x.shape == (len(frame), order.num_nodes)
        assert y.dtype == np.int64
        assert y.shape == (len(frame),)
        assert frame["sample_index"].tolist() == list(range(len(frame)))
        assert set(frame["split"]) == {side}
    assert dataset.label_mapping == {"normal": 0, "Alzheimer's Disease": 1}
    for name in ("edge_index", "internal_edge_index", "ppi_edge_index"):
        assert np.array_equal(getattr(dataset, name), np.load(root / f"{name}.npy"))
        assert getattr(dataset, name).dtype == np.load(root / f"{name}.npy").dtype
    assert np.array_equal(dataset.x_desc_emb, np.load(root / "x_desc_emb.npy"))
    assert not hasattr(dataset, "s_name")
    assert fingerprint(root) == before
    # what it leaves in output_dir
    for side in ("train", "test"):
        assert np.array_equal(np.load(out / side / "expression_matrix.npy"), dataset.data[side])
        assert np.array_equal(np.load(out / side / f"labels_{side}.npy"), dataset.labels[side])
        assert len(pd.read_csv(out / side / "labels.csv")) == len(dataset.metadata[side])
    assert pd.read_csv(out / "label_mapping_disease.csv").columns.tolist() == ["label_name", "label_index"]
    assert len(pd.read_csv(out / "labels_full_disease.csv")) == sum(map(len, dataset.labels.values()))


def test_values_are_log1p_of_the_genes_copied_to_their_transcripts(root: Path) -> None:
    dataset = CellTOSGDataLoader(str(root), BRAIN, **TRAINED)
    counts, order = files.counts(CELLS, files.GENES), dataset.order
    for side in ("train", "test"):
        own = counts[numbers(dataset.metadata[side])].astype(np.float64)
        layer = np.log1p(own * (10_000 / own.sum(axis=1, keepdims=True))).astype(np.float32)
        assert len(own)
        assert np.array_equal(dataset.data[side], order.expand(layer))
        assert not dataset.data[side][:, order.transcripts :].any()
        kinds = dataset.metadata[side]["disease_BMG_name"]
        assert dataset.labels[side].tolist() == [int(kind != "normal") for kind in kinds]


def test_inference_gives_raw_counts_of_genes(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dataset = CellTOSGDataLoader(
        root,
        {"sex": ["FEMALE"]},
        task="disease",
        extract_mode="inference",
        output_dir=out,
        train_text=True,
        train_bio=True,
    )
    data = dataset.data
    assert isinstance(data, pd.DataFrame)
    assert data.index.name == "sample_index"
    assert data.columns.tolist() == [f"G{k}" for k in range(files.GENES)]
    assert set(data.dtypes) == {np.dtype(np.float32)}
    assert np.array_equal(data.to_numpy(), files.counts(CELLS, files.GENES)[numbers(dataset.metadata)])
    assert dataset.labels is dataset.metadata
    assert dataset.label_mapping is None
    assert set(dataset.metadata["sex_normalized"]) == {"female"}
    assert len(data) == CELLS // 2
    assert (len(dataset.s_name), len(dataset.s_desc), len(dataset.s_bio)) == (dataset.order.num_nodes,) * 3
    assert not hasattr(dataset, "x_name_emb")
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "expression_gene.csv", index_col=0).astype(np.float32), data, check_names=False
    )
    choice = pd.read_csv(out / "bmg_to_gene_choice.csv")
    assert choice.columns.tolist() == [
        "gene_name",
        "chosen_bmg_index",
        "candidate_bmg_indices",
        "choice_reason",
    ]


def test_rows_of_the_shards_are_given_as_they_are(root: Path) -> None:
    found = CellTOSGSubsetBuilder(root)
    found.view({"cell_type": "microglia"})
    _, frame = found.extract("inference", "cell_type", sample_ratio=0.2)
    values = load_expression_by_metadata(frame, root / "expression_matrix")
    shards = {p.name: np.load(p) for p in (root / "expression_matrix").iterdir()}
    rows = zip(frame["matrix_file_path"], frame["matrix_row_idx"], strict=True)
    assert np.array_equal(values, np.stack([shards[name][row] for name, row in rows]))


# --------------------------------------------------------------------------- conditions


def test_view_keeps_the_rows_of_the_metadata(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = CellTOSGSubsetBuilder(root=str(root))
    whole = pd.read_parquet(root / "cell_metadata_with_mappings.parquet")
    pd.testing.assert_frame_equal(builder.df_all, whole)
    found = builder.view({"tissue_general": "brain", "CMT_name": None, "disease": {"normal"}})
    pd.testing.assert_frame_equal(found, whole[whole["disease_BMG_name"] == "normal"])
    assert f"Matched {len(found)} samples" in capsys.readouterr().out
    assert builder.last_query_conditions_resolved == {
        "tissue_general": "brain",
        "disease_BMG_name": {"normal"},
    }


def test_4_case_matters_neither_with_nulls_nor_for_controls(tmp_path: Path) -> None:
    tissue = [None if k % 7 == 0 else ("Brain", "brain")[k % 2] for k in range(CELLS)]
    disease = [("Normal", "normal", "asthma")[k % 24 // 2 % 3] for k in range(CELLS)]
    root = other(tmp_path, tissue_general=tissue, disease_BMG_name=disease)
    for written in ("brain", "Brain", "BRAIN"):
        builder = CellTOSGSubsetBuilder(root)
        assert len(builder.view({"tissue_general": written})) == sum(t is not None for t in tissue)
        builder.view({"tissue_general": written, "disease": "ASTHMA"})
        (_, train), (_, test) = builder.extract("train", "disease", True)
        both = pd.concat([train, test])
        assert set(both["disease_BMG_name"]) == {"Normal", "normal", "asthma"}
    dataset = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TRAINED)
    assert dataset.label_mapping == {"Normal": 0, "normal": 0, "asthma": 1}


def test_5_every_value_that_is_offered_selects_metacells(root: Path) -> None:
    builder = CellTOSGSubsetBuilder(root)
    fields = [*CellTOSGSubsetBuilder.FIELD_ALIAS, "source", "is_pretrain_data", "matrix_row_idx"]
    offered = builder.available_conditions(fields, max_uniques=3)
    assert offered["metadata_rows"] == CELLS
    assert offered["unique_values"]["matrix_row_idx"]["n_returned"] == 3
    for name, field in offered["unique_values"].items():
        assert all(len(builder.view({name: value})) for value in field["values"])
    assert set(builder.available_conditions()["unique_values"]) >= {"CMT_name", "disease_BMG_name"}


def test_3_an_empty_answer_is_an_error_and_leaves_nothing_of_the_one_before(root: Path) -> None:
    builder = CellTOSGSubsetBuilder(root)
    with pytest.raises(CohortError, match="Call view"):
        builder.extract("inference")
    for wrong in (
        {"disease": "Alzheimer disease"},
        {"disease": "normal", "donor_id": "d2"},
        {"donor_id": []},
    ):
        builder.view(BRAIN)
        with pytest.raises(CohortError):
            builder.view(wrong)
        assert builder.last_query_result is None
        with pytest.raises(CohortError, match="Nothing is selected yet"):
            builder.extract("inference")


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        (
            {"disease": "Alzheimer disease"},
            "has no value 'Alzheimer disease'. Nearest: \"Alzheimer's Disease\"",
        ),
        ({"cell_type": ["astrocyte", "microgla"]}, "Nearest: 'microglia'"),
        ({"disease_name": "normal"}, "Did you mean 'disease'?"),
        ({"gender": "male"}, "Did you mean 'sex'?"),
        ({"tissue_genral": "brain"}, "Did you mean 'tissue_general'"),
        ({"sex": "male", "sex_normalized": "female"}, "Two conditions are about 'sex_normalized'"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_the_nearest(root: Path, conditions: Any, says: str) -> None:
    with pytest.raises(CohortError) as raised:
        CellTOSGSubsetBuilder(root).view(conditions)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


# --------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("downstream_task", "Did you mean 'task'?"),
        ("balanced", "Did you mean 'stratified_balancing'?"),
        ("dataset_output_dir", "Did you mean 'output_dir'?"),
        ("sample_ration", "Did you mean 'sample_ratio'?"),
        ("zzz", "There are root, conditions"),
    ],
)
def test_1_unknown_arguments_are_errors_that_name_the_nearest(root: Path, argument: str, says: str) -> None:
    with pytest.raises(TypeError) as raised:
        CellTOSGDataLoader(root, BRAIN, **{**TRAINED, argument: 1})
    assert f"There is no argument {argument!r}." in str(raised.value)
    assert says in str(raised.value)


def test_1_methods_refuse_unknown_arguments_too(root: Path) -> None:
    builder = CellTOSGSubsetBuilder(root)
    builder.view(BRAIN)
    for call in (
        lambda: builder.extract("train", ratio=1),
        lambda: builder.view(BRAIN, quiet=True),
        lambda: builder.available_conditions(fields=[]),
        lambda: CellTOSGSubsetBuilder(root, cache=1),
    ):
        with pytest.raises(TypeError, match="There is no argument"):
            call()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"task": None}, "task 'None' is unknown. Choose 'pretrain', 'disease', 'sex', 'cell_type'"),
        ({"extract_mode": None}, "extract_mode 'None' is unknown. Choose 'inference', 'train'"),
        ({"sample_ratio": 0.1, "sample_size": 5}, "Give one of them"),
        ({"sample_ratio": 0}, "Give more than 0"),
        ({"sample_ratio": 1.5}, "at most 1"),
        ({"sample_size": 0}, "Give 1 or more"),
        ({"sample_size": 9.5}, "Give 1 or more"),
        ({"sample_size": 1}, "less than one case with its control"),
        ({"stratified_balancing": False}, "Set stratified_balancing=True"),
        ({"task": "pretrain", "extract_mode": "inference"}, "Use extract_mode='train'"),
        ({"task": "pretrain", "sample_size": 5}, "Give sample_ratio"),
        ({"task": "pretrain"}, "is set apart for pretraining"),
        ({"correction_method": "limma"}, "correction_method 'limma' is unknown"),
        ({"correction_method": "combat", "extract_mode": "inference"}, "use extract_mode='train'"),
        ({"label_column": "gender"}, "Did you mean 'sex'?"),
        ({"match_keys": ["CMT"]}, "Did you mean 'CMT_id'"),
    ],
)
def test_parameters_that_cannot_be_are_refused(root: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TosgError) as raised:
        CellTOSGDataLoader(root, BRAIN, **{**TRAINED, **changes})
    assert says in str(raised.value)


# --------------------------------------------------------------------------- cases and controls


@pytest.mark.parametrize("seed", [1, 42, 2025])
def test_6_nobody_is_taken_twice_and_no_donor_is_on_both_sides(root: Path, seed: int) -> None:
    dataset = CellTOSGDataLoader(root, BRAIN, random_state=seed, **TRAINED)
    frames = dataset.metadata
    both = pd.concat(frames.values())
    assert not both["cell_id"].duplicated().any()
    donors = {side: set(zip(f["dataset_id"], f["donor_id"], strict=True)) for side, f in frames.items()}
    assert donors["train"]
    assert donors["test"]
    assert not donors["train"] & donors["test"]
    for labels in dataset.labels.values():
        assert Counter(labels.tolist())[0] == Counter(labels.tolist())[1] == len(labels) // 2
    again = CellTOSGDataLoader(root, BRAIN, random_state=seed, **TRAINED)
    for side in ("train", "test"):
        pd.testing.assert_frame_equal(again.metadata[side], frames[side])
        assert np.array_equal(again.data[side], dataset.data[side])


def test_8_other_seeds_test_other_donors(root: Path) -> None:
    tested = [
        frozenset(CellTOSGDataLoader(root, BRAIN, random_state=seed, **TRAINED).metadata["test"]["donor_id"])
        for seed in range(5)
    ]
    assert len(set(tested)) > 2


def test_7_matched_metacells_agree_in_the_keys_and_unknown_agrees_with_nothing(tmp_path: Path) -> None:
    stage = [("aged", "adult", "", "unknown")[k // 48 % 4] for k in range(CELLS)]
    root = other(tmp_path, development_stage_category=stage)
    builder = CellTOSGSubsetBuilder(root)
    builder.view(BRAIN)
    _, frame = builder.extract("inference", "disease", stratified_balancing=True)
    assert set(frame["development_stage_category"]) == {"aged", "adult"}
    keys = ["CMT_id", "sex_normalized", "development_stage_category"]
    per_arm = [Counter(map(tuple, part[keys].to_numpy())) for _, part in frame.groupby("disease_BMG_name")]
    assert per_arm[0] == per_arm[1]
    reasons = " ".join(x["reason"] for x in builder.report["left_out"])
    assert "development_stage_category is unknown" in reasons
    _, wide = builder.extract("inference", "disease", stratified_balancing=True, match_keys=["CMT_id"])
    assert len(wide) > len(frame)


def test_shuffling_changes_the_order_alone(root: Path) -> None:
    plain, shuffled = (CellTOSGDataLoader(root, BRAIN, **TRAINED, shuffle=s) for s in (False, True))
    for side in ("train", "test"):
        order = shuffled.metadata[side]["cell_id"].tolist()
        assert order != plain.metadata[side]["cell_id"].tolist()
        place = {cell: row for row, cell in enumerate(plain.metadata[side]["cell_id"])}
        rows = [place[cell] for cell in order]
        assert sorted(rows) == list(range(len(plain.labels[side])))
        assert np.array_equal(shuffled.data[side], plain.data[side][rows])
        assert np.array_equal(shuffled.labels[side], plain.labels[side][rows])


@pytest.mark.parametrize("sampled", [{"sample_ratio": 0.5}, {"sample_size": 11}])
def test_10_a_sample_keeps_as_many_controls_as_cases(root: Path, sampled: dict[str, Any]) -> None:
    whole = CellTOSGDataLoader(root, BRAIN, **TRAINED)
    dataset = CellTOSGDataLoader(root, BRAIN, **TRAINED, **sampled)
    for side, labels in dataset.labels.items():
        assert 0 < len(labels) <= min(len(whole.labels[side]), sampled.get("sample_size", CELLS))
        assert labels.sum() * 2 == len(labels)
    if "sample_size" in sampled:
        assert len(dataset.labels["train"]) == 10


def test_11_unclassified_is_neither_case_nor_control_nor_a_class(tmp_path: Path) -> None:
    disease = [("normal", "asthma", "unclassified", "unknown")[k % 24 // 2 % 4] for k in range(CELLS)]
    root = other(tmp_path, disease_BMG_name=disease)
    dataset = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TRAINED)
    assert {d for f in dataset.metadata.values() for d in f["disease_BMG_name"]} == {"normal", "asthma"}
    assert dataset.label_mapping == {"normal": 0, "asthma": 1}
    left = {x["reason"]: x["cells"] for x in dataset.report["left_out"]}
    assert left["disease_BMG_name says nothing"] == CELLS // 2
    with pytest.raises(CohortError, match="is unknown in all"):
        CellTOSGDataLoader(root, {"disease": "unclassified"}, **TRAINED)


def test_9_unknown_donors_are_not_one_donor_and_are_trained_on_only(tmp_path: Path) -> None:
    donors = [("unknown", "")[k % 2] if k % 3 == 0 else f"d{k % 24}" for k in range(CELLS)]
    dataset = CellTOSGDataLoader(other(tmp_path, donor_id=donors), BRAIN, **TRAINED)
    assert not {"unknown", ""} & set(dataset.metadata["test"]["donor_id"])
    assert {"unknown", ""} & set(dataset.metadata["train"]["donor_id"])
    assert dataset.report["split"]["case"]["verdict"] == "caution"


def test_one_name_in_two_studies_is_two_donors_and_one_donor_of_both_arms_is_one(tmp_path: Path) -> None:
    root = other(
        tmp_path,
        donor_id=[f"d{k % 12}" for k in range(CELLS)],  # each in both studies, ill and well
        dataset_id=[f"study{k // 12 % 2}" for k in range(CELLS)],
        disease_BMG_name=[("normal", "asthma")[k // 24 % 2] for k in range(CELLS)],
        CMT_id=["CMT0"] * CELLS,
    )
    for seed in range(4):
        dataset = CellTOSGDataLoader(root, {"disease": "asthma"}, random_state=seed, **TRAINED)
        donors = [set(zip(f["dataset_id"], f["donor_id"], strict=True)) for f in dataset.metadata.values()]
        assert not donors[0] & donors[1]


def test_an_arm_of_one_donor_cannot_be_trained_on(tmp_path: Path) -> None:
    donors = [f"d{k % 24}" if k % 24 // 2 % 2 == 0 else "only" for k in range(CELLS)]
    root = other(tmp_path, donor_id=donors, dataset_id=["study"] * CELLS)
    with pytest.raises(CohortError, match="All cases of known donor are of one, study only; two are needed"):
        CellTOSGDataLoader(root, BRAIN, **TRAINED)


def test_sex_is_told_apart_with_male_as_control(root: Path) -> None:
    asked = {**TRAINED, "task": "sex", "label_column": "sex"}
    dataset = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **asked)
    assert dataset.label_mapping == {"female": 0, "male": 1}
    for labels in dataset.labels.values():
        assert labels.sum() * 2 == len(labels) > 0


# --------------------------------------------------------------------------- cell types and pretraining

TYPED = {"task": "cell_type", "label_column": "cell_type", "extract_mode": "train"}


def test_cell_types_are_split_by_donor_and_none_is_copied(tmp_path: Path) -> None:
    kinds = ["astrocyte", "microglia", "cell", "unclassified", "rare"]
    types = [kinds[4] if k < 5 else kinds[k // 24 % 4] for k in range(CELLS)]
    dataset = CellTOSGDataLoader(other(tmp_path, CMT_name=types), {"tissue_general": "brain"}, **TYPED)
    assert dataset.label_mapping == {"astrocyte": 0, "microglia": 1}
    both = pd.concat(dataset.metadata.values())
    assert not both["cell_id"].duplicated().any()
    donors = [set(f["donor_id"]) for f in dataset.metadata.values()]
    assert not donors[0] & donors[1]


@pytest.mark.parametrize(
    ("sampled", "train"),
    [({"sample_ratio": 0.25}, None), ({"sample_size": 20}, 20), ({"sample_size": 33}, 33)],
)
def test_cell_types_are_sampled_each_for_itself(
    root: Path, sampled: dict[str, Any], train: int | None
) -> None:
    whole = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TYPED).metadata["train"]
    dataset = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TYPED, **sampled)
    sizes = Counter(dataset.metadata["train"]["CMT_name"])
    assert not dataset.metadata["train"]["cell_id"].duplicated().any()
    if train is None:
        assert sizes == {t: max(10, n // 4) for t, n in Counter(whole["CMT_name"]).items()}
    else:
        assert sizes.total() == train
        assert max(sizes.values()) - min(sizes.values()) <= 1
    with pytest.raises(CohortError, match=r"less than 10 of each of 2 cell types\. Give 20 or more"):
        CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TYPED, sample_size=19)


@given(
    counts=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 200), min_size=1),
    more=st.integers(0, 900),
)
def test_quotas_add_up_and_never_ask_for_more_than_there_is(counts: dict[str, int], more: int) -> None:
    size = 10 * len(counts) + more
    found = _quotas(Counter(counts), {t: min(n, 10) for t, n in counts.items()}, size)
    assert sum(found.values()) == min(size, sum(counts.values()))
    assert all(min(n, 10) <= found[t] <= n for t, n in counts.items())


def test_a_blank_label_is_left_out_of_inference(tmp_path: Path) -> None:
    disease = [("", None, "unknown", "normal")[k % 4] for k in range(CELLS)]
    dataset = CellTOSGDataLoader(
        other(tmp_path, disease_BMG_name=disease),
        {"source": "CellxGene"},
        task="disease",
        extract_mode="inference",
    )
    assert Counter(dataset.metadata["disease_BMG_name"]) == {"unknown": 60, "normal": 60}
    assert dataset.report["left_out"] == [{"reason": "disease_BMG_name is blank", "cells": 120}]


def test_pretraining_has_metacells_of_its_own(tmp_path: Path) -> None:
    apart = [k % 2 == 0 for k in range(CELLS)]
    root = other(tmp_path, is_pretrain_data=apart, dataset_id=[f"study{k // 2 % 2}" for k in range(CELLS)])
    dataset = CellTOSGDataLoader(
        root, {"tissue_general": "brain"}, task="pretrain", extract_mode="train", sample_ratio=0.1
    )
    both = pd.concat(dataset.metadata.values())
    assert both["is_pretrain_data"].all()
    assert set(both.groupby(["dataset_id", "disease_BMG_name"]).size()) == {10}
    assert dataset.labels["train"] is dataset.metadata["train"]
    trained = CellTOSGDataLoader(root, {"tissue_general": "brain"}, **TYPED)
    assert not pd.concat(trained.metadata.values())["is_pretrain_data"].any()


# --------------------------------------------------------------------------- correction


def test_12_a_correction_sees_no_test_metacell_and_no_test_label(tmp_path: Path) -> None:
    root = other(tmp_path, dataset_id=[f"study{k // 8 % 2}" for k in range(CELLS)])
    plain = CellTOSGDataLoader(root, BRAIN, **TRAINED)
    dataset = CellTOSGDataLoader(root, BRAIN, **TRAINED, correction_method="combat_seq")
    for side in ("train", "test"):
        assert dataset.data[side].dtype == np.float32
        assert not np.array_equal(dataset.data[side], plain.data[side])
        pd.testing.assert_frame_equal(dataset.metadata[side], plain.metadata[side])
        assert not dataset.data[side][:, dataset.order.transcripts :].any()
    assert dataset.report["correction"]["tissues"] == {"brain": ["study0", "study1"]}
    assert dataset.report["correction"]["cells_uncorrected"] == {"train": 0, "test": 0}
    # Other counts in one half of the test set: nothing else changes.
    changed = dataset.metadata["test"].iloc[::2]
    for name, own in changed.groupby("matrix_file_path"):
        matrix = np.load(root / "expression_matrix" / name)
        matrix[own["matrix_row_idx"]] = matrix[own["matrix_row_idx"]] ** 2  # copies of a gene stay equal
        np.save(root / "expression_matrix" / name, matrix)
    again = CellTOSGDataLoader(root, BRAIN, **TRAINED, correction_method="combat_seq")
    assert again.metadata["test"]["cell_id"].tolist() == dataset.metadata["test"]["cell_id"].tolist()
    assert np.array_equal(again.data["train"], dataset.data["train"])
    assert np.array_equal(again.data["test"][1::2], dataset.data["test"][1::2])
    assert not np.array_equal(again.data["test"][::2], dataset.data["test"][::2])


def test_12_a_batch_that_is_the_label_is_refused(tmp_path: Path) -> None:
    study = [f"study{k % 24 // 2 % 2}" for k in range(CELLS)]
    with pytest.raises(
        CorrectionError, match="tissue_general 'brain': The batch is confounded with the label"
    ):
        CellTOSGDataLoader(other(tmp_path, dataset_id=study), BRAIN, **TRAINED, correction_method="combat")


def test_a_correction_without_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorrectionError, match="nothing to correct"):
        CellTOSGDataLoader(
            other(tmp_path, dataset_id=["study"] * CELLS), BRAIN, **TRAINED, correction_method="combat"
        )


# --------------------------------------------------------------------------- files


def test_2_a_folder_of_another_query_is_never_taken_for_this_one(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = CellTOSGDataLoader(root, BRAIN, **TRAINED, output_dir=out)
    before = fingerprint(out)
    with pytest.raises(ExportError, match="answer to another query"):
        CellTOSGDataLoader(root, BRAIN, **TRAINED, output_dir=out, random_state=7)
    assert fingerprint(out) == before
    again = CellTOSGDataLoader(root, BRAIN, **TRAINED, output_dir=out)
    assert fingerprint(out) == before
    assert np.array_equal(again.data["train"], first.data["train"])
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(first.report))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ExportError, match="or something else"):
        CellTOSGDataLoader(root, BRAIN, **TRAINED, output_dir=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_a_change_to_the_matrix_does_not_reach_its_file(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dataset = CellTOSGDataLoader(root, BRAIN, **TRAINED, output_dir=out)
    before = fingerprint(out)
    dataset.data["train"][:] = 5
    assert fingerprint(out) == before


def test_what_does_not_fit_in_memory_is_refused_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Little:
        available, total = 100, 2**34

    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    for mode in ({"extract_mode": "inference"}, {}):
        with pytest.raises(TosgError, match=r"GB as a dense matrix, .* Take fewer \(sample_size\)"):
            CellTOSGDataLoader(root, BRAIN, **{**TRAINED, **mode})


def test_15_a_read_only_folder_is_enough(tmp_path: Path) -> None:
    root = files.write(tmp_path / "data", cells=48)
    before = fingerprint(root)
    paths = [root, *root.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & 0o555)  # for root this is a wish; the fingerprint is what counts
    try:
        CellTOSGDataLoader(
            root, {"sex": "male"}, task="sex", extract_mode="inference", cache_dir=tmp_path / "cache"
        )
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert fingerprint(root) == before


def test_embeddings_that_are_not_there_are_none_and_others_must_fit(tmp_path: Path) -> None:
    root = files.write(tmp_path / "data", cells=48)
    (root / "x_bio_emb.npy").unlink()
    asked = {"task": "sex", "extract_mode": "inference"}
    assert CellTOSGDataLoader(root, {"sex": "male"}, **asked).x_bio_emb is None
    np.save(root / "x_name_emb.npy", np.zeros((3, 1), np.float32))
    with pytest.raises(LoadError, match=r"x_name_emb\.npy: 3 rows, s_name.csv has"):
        CellTOSGDataLoader(root, {"sex": "male"}, **asked)


@pytest.mark.parametrize("name", ["edge_index", "internal_edge_index", "ppi_edge_index"])
def test_a_missing_edge_file_is_an_error(tmp_path: Path, name: str) -> None:
    root = files.write(tmp_path / "data", cells=48)
    (root / f"{name}.npy").unlink()
    with pytest.raises(LoadError, match=f"^{name}"):
        CellTOSGDataLoader(root, {"sex": "male"}, task="sex", extract_mode="inference")


# --------------------------------------------------------------------------- the page


def test_the_page_s_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = files.write(tmp_path / "CellTOSG_dataset_v2", cells=CELLS)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "celltosg.md").read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, space)
    assert space["dataset"].data["train"].shape == (len(space["y"]), space["order"].num_nodes)
    assert space["x"].shape == (CELLS, space["order"].num_nodes)
    assert np.array_equal(np.load(tmp_path / "again" / "edge_index.npy"), np.load(root / "edge_index.npy"))


def test_the_face_needs_neither_torch_nor_a_server() -> None:
    code = "import tosg_graph.celltosg, sys; print(*(m for m in ('torch', 'neo4j', 'pandas') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
