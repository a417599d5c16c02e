"""Batch correction: what it removes, what it must not see, and when it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import toy_bundle as toy
from safetensors.numpy import load_file
from scipy.sparse import csr_array

from tosg_graph import bundle
from tosg_graph.correction import Correction, Plan, fit
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import BundleError, CorrectionError
from tosg_graph.export import write_bundle

GENES = 60


def simulated(
    seed: int = 0, sizes: tuple[int, ...] = (40, 60, 50)
) -> tuple[np.ndarray, list[str], list[str]]:
    """Cells with a shift and a scale per batch and gene, and a difference of case and control in ten genes."""
    random = np.random.default_rng(seed)
    batch = np.repeat(np.arange(len(sizes)), sizes)
    case = np.array([k % (b + 2) == 0 for b, size in enumerate(sizes) for k in range(size)])
    shift = random.normal(0, 1, (len(sizes), GENES))
    scale = random.uniform(0.5, 2, (len(sizes), GENES))
    noise = random.normal(0, 1, (len(batch), GENES))
    values = 5 + shift[batch] + scale[batch] * noise
    values[:, :10] += 3 * case[:, None]
    return values, [f"b{b}" for b in batch], ["case" if c else "control" for c in case]


def corrected(values: np.ndarray, batch: list[str], **options: Any) -> np.ndarray:
    return fit([values], batch, genes=values.shape[1], **options).apply(values, batch)


# --------------------------------------------------------------------------- what it removes


def test_without_covariates_it_is_the_combat_of_scanpy() -> None:
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    values, batch, _ = simulated()
    data = AnnData(values, obs=pd.DataFrame({"batch": batch}, index=[str(k) for k in range(len(batch))]))
    data.obs["batch"] = data.obs["batch"].astype("category")
    theirs = sc.pp.combat(data, "batch", inplace=False)
    np.testing.assert_allclose(corrected(values, batch), theirs, rtol=2e-3, atol=2e-3)


def test_batches_come_to_have_one_mean_and_one_variance() -> None:
    values, batch, _ = simulated(sizes=(400, 600, 500))
    after, of = corrected(values, batch), np.array(batch)
    for what, close in ((np.mean, 0.2), (np.std, 0.2)):
        before = np.array([what(values[of == b], axis=0) for b in np.unique(of)])
        now = np.array([what(after[of == b], axis=0) for b in np.unique(of)])
        assert np.ptp(now, axis=0).max() < close < np.ptp(before, axis=0).mean()


def test_a_covariate_in_the_fit_keeps_what_the_batches_share_with_it() -> None:
    """Batches have other shares of cases: without the covariate, part of the difference is taken for the batch's."""
    random = np.random.default_rng(3)
    batch = np.repeat(["a", "b"], 1000)
    case = np.concatenate([np.arange(1000) % 10 < 9, np.arange(1000) % 10 < 1])
    values = random.normal(5, 1, (2000, GENES)) + 2 * case[:, None] + (batch == "b")[:, None]
    label = ["case" if c else "control" for c in case]

    def difference(after: np.ndarray) -> float:
        return float((after[case].mean(axis=0) - after[~case].mean(axis=0)).mean())

    assert difference(corrected(values, list(batch), covariates={"label": label})) == pytest.approx(
        2, abs=0.1
    )
    assert difference(corrected(values, list(batch))) < 1.5


def test_chunks_and_sparse_matrices_give_the_same_lines() -> None:
    values, batch, label = simulated()
    values = np.where(values > 4.5, values, 0)
    whole = fit([values], batch, genes=GENES, covariates={"label": label, "age": list(range(len(batch)))})
    cut = fit(
        [csr_array(values[:7]), csr_array(values[7:90]), csr_array(values[90:])],
        batch,
        genes=GENES,
        covariates={"label": label, "age": list(range(len(batch)))},
    )
    np.testing.assert_allclose(cut.scale, whole.scale, rtol=1e-8)
    np.testing.assert_allclose(cut.shift, whole.shift, rtol=1e-8, atol=1e-8)


def test_the_order_of_cells_makes_no_difference() -> None:
    values, batch, _ = simulated()
    order = np.random.default_rng(1).permutation(len(batch))
    other = fit([values[order]], [batch[k] for k in order], genes=GENES)
    np.testing.assert_allclose(other.shift, fit([values], batch, genes=GENES).shift, atol=1e-9)


def test_genes_that_do_not_vary_in_a_batch_are_left_alone_and_marked() -> None:
    values, batch, _ = simulated()
    values[np.array(batch) == "b1", 4] = 0  # not measured there
    values[:, 7] = 2.5
    found = fit([values], batch, genes=GENES)
    assert np.flatnonzero(found.uncorrected).tolist() == [4, 7]
    after = found.apply(values, batch)
    assert (after[:, [4, 7]] == values[:, [4, 7]]).all()
    assert (after[:, 5] != values[:, 5]).all()


def test_none_changes_nothing() -> None:
    values, batch, _ = simulated()
    assert (corrected(values, batch, method="none") == values).all()


# --------------------------------------------------------------------------- held-out cells


def test_a_cell_gets_the_same_in_any_company() -> None:
    values, batch, _ = simulated()
    found = fit([values], batch, genes=GENES)
    np.testing.assert_array_equal(found.apply(values, batch)[[3]], found.apply(values[[3]], [batch[3]]))


def test_an_unseen_batch_is_an_error_or_kept_by_choice() -> None:
    values, batch, _ = simulated()
    found = fit([values], batch, genes=GENES)
    with pytest.raises(
        CorrectionError, match=r"2 cells .* \(first: 'new', 2 cells\); b0, b1, b2 were fitted"
    ):
        found.apply(values[:3], ["new", "b0", "new"])
    kept = found.apply(values[:3], ["new", "b0", "new"], unseen="keep")
    assert (kept[[0, 2]] == values[[0, 2]]).all()
    assert (kept[1] != values[1]).all()


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.update(method="combat_seq"), "'combat_seq' is no method"),
        (lambda a: a.update(batch=["b0"] * 150), "there is only 'b0'"),
        (
            lambda a: a.update(batch=["x", *a["batch"][1:]]),
            "1 of 4 batches have fewer than 2 training cells, first 'x'",
        ),
        (lambda a: a.update(batch=[None, *a["batch"][1:]]), "1 of 150 cells have no batch"),
        (lambda a: a.update(label=a["batch"]), "confounded with the label"),
        (
            lambda a: a.update(label=["x" if b == "b2" else "y" for b in a["batch"]]),
            "have only 'y', others only 'x'",
        ),
        (lambda a: a.update(covariates={"site": a["batch"]}), "confounded with the covariate site"),
        (lambda a: a.update(covariates={"age": [int(b[1]) for b in a["batch"]]}), "design is singular"),
        (lambda a: a.update(covariates={"age": [1.0] * 150}), "design is singular"),
        (
            lambda a: a.update(covariates={"sex": [None] * 150}),
            "150 of 150 cells have no value of the covariate sex",
        ),
        (lambda a: a.update(chunks=[np.zeros((150, GENES))]), "0 of 60 genes vary within every batch"),
        (lambda a: a.update(chunks=[a["chunks"][0][:, :3]]), "the same genes in each chunk"),
        (lambda a: a.update(chunks=[a["chunks"][0][:9]]), "9 of 150 cells were given"),
    ],
    ids=[
        "no such method",
        "one batch",
        "a batch of one cell",
        "no batch",
        "batch is the label",
        "two parts",
        "batch is a covariate",
        "batch determines a number",
        "a constant covariate",
        "no value of a covariate",
        "nothing measured",
        "other genes",
        "too few cells",
    ],
)
def test_what_cannot_be_fitted_is_an_error(change: Callable[[dict[str, Any]], None], says: str) -> None:
    values, batch, label = simulated()
    arguments: dict[str, Any] = {"chunks": [values], "batch": batch, "genes": GENES, "label": label}
    change(arguments)
    with pytest.raises(CorrectionError, match=says):
        fit(**arguments)


def test_a_batch_with_one_label_is_no_reason_to_refuse_while_others_mix() -> None:
    values, batch, _ = simulated()
    label = ["case" if k % 2 and b != "b2" else "control" for k, b in enumerate(batch)]
    assert isinstance(fit([values], batch, genes=GENES, label=label), Correction)


def test_other_genes_than_were_fitted_are_refused() -> None:
    values, batch, _ = simulated()
    with pytest.raises(CorrectionError, match="fitted on 60 genes"):
        fit([values], batch, genes=GENES).apply(values[:, :5], batch)


# --------------------------------------------------------------------------- in a bundle


def cells(**changes: list[Any]) -> pa.Table:
    """Twelve cells of four donors; each donor has cells of both runs and both labels."""
    table = toy.cells().append_column("run", pa.array(["r1", "r1", "r2"] * 4))
    table = table.set_column(
        table.column_names.index("cell_type"), "cell_type", pa.array(["T", "B", "T", "T", "T", "B"] * 2)
    )
    for name, values in changes.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table


PLAN = Plan("combat", "run")


def export(out: Path, plan: Plan | None = PLAN, **changes: Any) -> dict[str, Any]:
    return write_bundle(
        toy.selection(),
        toy.measured(**changes),
        cohort="true",
        label="cell_type",
        out=out,
        seed=7,
        correct=plan,
    ).content


def layer(folder: Path, split: Any, name: Any = "corrected") -> dict[str, list[float]]:
    return {
        cell["cell_id"]: x[:, 0].tolist() for x, cell in TosgDataset(folder, split, layer=name).iter_cells()
    }


def test_a_bundle_holds_the_lines_beside_raw_counts(tmp_path: Path) -> None:
    manifest = export(tmp_path / "b", cells=cells())
    said = manifest["correction"]
    assert {
        k: said[k] for k in ("method", "layer", "batch", "batches", "covariates", "unseen", "cells_unseen")
    } == {
        "method": "combat",
        "layer": "log1p",
        "batch": "run",
        "batches": ["r1", "r2"],
        "covariates": [],
        "unseen": "error",
        "cells_unseen": 0,
    }
    assert said["cells_fitted"] == manifest["splits"]["train"]
    facts = bundle.Manifest(tmp_path / "b", manifest).as_facts()
    assert facts["corrected"].startswith("combat by run: 2 batches, fitted on")
    assert manifest["normalisation"] == {"target_sum": 10_000.0, "logarithm": "natural", "total": "n_counts"}
    lines = load_file(tmp_path / "b" / bundle.CORRECTION)
    genes = bundle.read_table(tmp_path / "b" / bundle.GENES)["node_row"].to_pylist()
    table = {c["cell_id"]: c for c in bundle.read_table(tmp_path / "b" / bundle.CELLS).to_pylist()}
    for split in bundle.SPLITS:
        plain, counts = layer(tmp_path / "b", split, "log1p"), layer(tmp_path / "b", split, "counts")
        for cell, found in layer(tmp_path / "b", split).items():
            row = said["batches"].index(table[cell]["run"])
            wanted = [0.0] * 7
            for place, node in enumerate(genes):
                wanted[node] = plain[cell][node] * lines["scale"][row, place] + lines["shift"][row, place]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
            assert counts[cell][0] == toy.count(int(cell[5:]), toy.AXIS_COLUMN["HGNC:1"])


def test_a_bundle_without_correction_has_no_such_layer(tmp_path: Path) -> None:
    manifest = export(tmp_path / "b", None)
    assert "correction" not in manifest
    assert not (tmp_path / "b" / bundle.CORRECTION).exists()
    with pytest.raises(BundleError, match=r"exported without --correct\. Choose counts, cp10k, log1p"):
        TosgDataset(tmp_path / "b", layer="corrected")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("shift"), "The correction holds scale, uncorrected, not the lines of 2 batches"),
        (lambda t: t.update(scale=t["scale"][:1]), "not the lines of 2 batches"),
        (lambda t: t.update({k: t[k][..., :2].copy() for k in t}), "has 2 genes, the manifest 3"),
    ],
    ids=["no shift", "one batch", "two genes"],
)
def test_damaged_lines_are_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    export(tmp_path / "b", cells=cells())
    lines = load_file(tmp_path / "b" / bundle.CORRECTION)
    change(lines)
    bundle.write_tensors(lines, tmp_path / "b" / bundle.CORRECTION)
    with pytest.raises(BundleError, match="was changed after the export"):
        TosgDataset(tmp_path / "b", layer="corrected")
    with pytest.raises(BundleError, match=says):
        TosgDataset(tmp_path / "b", layer="corrected", verify=False)


def test_nothing_of_a_test_cell_reaches_the_model_or_the_training_cells(tmp_path: Path) -> None:
    """Defect 12 of the reference: it corrected test cells with the help of their labels."""
    export(tmp_path / "one", cells=cells())
    table = bundle.read_table(tmp_path / "one" / bundle.CELLS)
    held_out = {c["cell_id"] for c in table.to_pylist() if c["split"] != "train"}
    assert held_out
    labels = [
        ("B" if c["cell_type"] == "T" else "T") if c["cell_id"] in held_out else c["cell_type"]
        for c in cells().to_pylist()
    ]

    def other_counts(cell_ids: Any, columns: Any) -> Any:
        dense = toy.counts(cell_ids, columns).toarray()
        dense[[cell in held_out for cell in cell_ids]] *= 3
        return csr_array(dense)

    export(tmp_path / "two", cells=cells(cell_type=labels), counts=other_counts)
    one, two = ((tmp_path / name / bundle.CORRECTION).read_bytes() for name in ("one", "two"))
    assert one == two
    assert layer(tmp_path / "one", "train") == layer(tmp_path / "two", "train")
    # The other values are there, and changed labels alone change no test cell either.
    assert layer(tmp_path / "one", "test") != layer(tmp_path / "two", "test")
    export(tmp_path / "three", cells=cells(cell_type=labels))
    assert layer(tmp_path / "one", "test") == layer(tmp_path / "three", "test")


def test_an_unseen_batch_in_test_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    export(tmp_path / "one", cells=cells())
    test = {
        c["cell_id"]
        for c in bundle.read_table(tmp_path / "one" / bundle.CELLS).to_pylist()
        if c["split"] == "test"
    }
    runs = ["new" if c["cell_id"] in test else c["run"] for c in cells().to_pylist()]
    with pytest.raises(CorrectionError, match="batch that no training cell has"):
        export(tmp_path / "two", cells=cells(run=runs))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one"]
    said = export(tmp_path / "two", Plan("combat", "run", unseen="keep"), cells=cells(run=runs))["correction"]
    assert said["cells_unseen"] == len(test)
    assert layer(tmp_path / "two", "test") == layer(tmp_path / "two", "test", "log1p")


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (Plan("combat", "runn"), "no column 'runn' to correct by. Did you mean 'run'"),
        (Plan("combat", "age_years"), "'age_years' is double, which is no category"),
        (Plan("combat", "dataset"), "there is only 'toy'"),
        (Plan("combat", "label"), "confounded with the label"),
        (Plan("combat", "run", ("sexx",)), "no column 'sexx'"),
        (Plan("scvi", "run"), "'scvi' is no method of correction. Choose none, combat"),
        (Plan("combat", "run", unseen="drop"), "'drop' does not say"),
    ],
    ids=["a typo", "no category", "one batch", "the label", "no covariate", "no method", "no rule"],
)
def test_an_export_that_cannot_be_corrected_leaves_nothing(tmp_path: Path, plan: Plan, says: str) -> None:
    with pytest.raises(CorrectionError, match=says):
        export(tmp_path / "b", plan, cells=cells())
    assert not list(tmp_path.iterdir())
