"""Baselines learn from train, choose on val, and see the genes that the networks see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import run_files as files
import torch

from tosg_graph import baselines
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import EvaluationError
from tosg_graph.predictions import Predicted

Splits = dict[str, TosgDataset]


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    folder = files.make_bundle(tmp_path_factory.mktemp("baselines") / "bundle")
    return {name: TosgDataset(folder, split=name) for name in ("train", "val", "test")}


def fitted(name: str, splits: Splits, seed: int = 0, **changes: Any) -> dict[str, Predicted]:
    given = {**splits, **changes}
    return {p.split: p for p in baselines.fit(name, given["train"], given["val"], given["test"], seed)}


def right(one: Predicted, cells: TosgDataset) -> float:
    truth = cells.cells["label_index"].to_numpy()[one.rows]
    return float((one.probability.argmax(axis=1) == truth).mean())


class Relabelled:
    """A split whose cells say another class than they are."""

    def __init__(self, cells: TosgDataset, labels: Any) -> None:
        self.split, self.counts, self.num_classes = cells.split, cells.counts, cells.num_classes
        at = cells.cells.column_names.index("label_index")
        self.cells = cells.cells.set_column(at, "label_index", [labels])

    def __len__(self) -> int:
        return len(self.cells)


def test_the_features_are_log1p_of_the_genes_with_abundance(splits: Splits) -> None:
    found = baselines.features(splits["test"]).toarray()
    layer = TosgDataset(splits["test"].folder, split="test", layer="log1p")
    x = layer.take(np.arange(len(layer))).x.squeeze(-1).numpy()
    np.testing.assert_allclose(found, x[:, layer.gene_rows], rtol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "mlp", "boosting"])
def test_a_class_that_a_gene_tells_is_learnt_and_the_same_seed_gives_the_same(
    name: str, splits: Splits
) -> None:
    one, again = fitted(name, splits), fitted(name, splits)
    assert set(one) == {"val", "test"}
    for split, predicted in one.items():
        assert right(predicted, splits[split]) > 0.95
        np.testing.assert_allclose(predicted.probability.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_array_equal(predicted.probability, again[split].probability)
    assert one["test"].chosen["val_loss"] < 0.2
    assert one["test"].parameters > 3


@pytest.mark.parametrize("name", ["logistic", "mlp", "boosting"])
def test_five_cells_of_a_class_are_enough_where_a_gene_tells(name: str, splits: Splits) -> None:
    labels = splits["train"].cells["label_index"].to_numpy()
    few = np.concatenate([np.flatnonzero(labels == k)[:5] for k in range(3)])
    found = fitted(name, splits, train=splits["train"].only(few))["test"]
    assert right(found, splits["test"]) > 0.9


def test_the_majority_is_the_shares_of_train(splits: Splits) -> None:
    found = fitted("majority", splits)["test"]
    shares = np.bincount(splits["train"].cells["label_index"].to_numpy(), minlength=3) / len(splits["train"])
    np.testing.assert_allclose(found.probability, np.tile(shares, (len(splits["test"]), 1)), rtol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "mlp"])
def test_labels_that_are_permuted_in_train_give_chance_in_test(name: str, splits: Splits) -> None:
    shuffled = np.random.default_rng(0).permutation(splits["train"].cells["label_index"].to_numpy())
    found = fitted(name, splits, train=Relabelled(splits["train"], shuffled))
    assert right(found["test"], splits["test"]) < 0.6


def test_labels_of_test_change_nothing(splits: Splits) -> None:
    other = Relabelled(splits["test"], np.zeros(len(splits["test"]), np.int64))
    for name in baselines.BASELINES:
        one, blind = fitted(name, splits), fitted(name, splits, test=other)
        np.testing.assert_array_equal(one["test"].probability, blind["test"].probability)
        assert one["test"].chosen == blind["test"].chosen


def test_val_chooses(splits: Splits) -> None:
    # Where val says that every cell is of another class, a stronger penalty and an earlier stop are better.
    labels = splits["val"].cells["label_index"].to_numpy()
    wrong = Relabelled(splits["val"], (labels + 1) % 3)
    for name, what in (("logistic", "C"), ("boosting", "iterations"), ("mlp", "epoch")):
        said = [fitted(name, splits, **changes)["test"].chosen[what] for changes in ({}, {"val": wrong})]
        assert said[0] > said[1], name
    assert fitted("logistic", splits, val=wrong)["test"].chosen["C"] == baselines.COSTS[0]


def test_a_class_that_train_lacks_gets_no_probability(splits: Splits) -> None:
    labels = splits["train"].cells["label_index"].to_numpy()
    without = Relabelled(splits["train"], np.where(labels == 1, 2, labels))
    for name in baselines.BASELINES:
        found = fitted(name, splits, train=without)["test"].probability
        assert (found[:, 1] == 0).all()
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_boosting_reads_the_most_variable_genes_of_train(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "BOOSTED_GENES", 2)
    x = baselines.features(splits["train"])
    spread = x.toarray().std(axis=0)
    assert baselines._most_variable(x).tolist() == sorted(np.argsort(-spread)[:2].tolist())
    assert fitted("boosting", splits)["test"].chosen["genes"] == 2


def test_the_networks_random_numbers_are_left_alone(splits: Splits) -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    fitted("mlp", splits)
    assert torch.rand(1) == before


def test_what_cannot_be_fitted_is_said(splits: Splits) -> None:
    one = Relabelled(splits["train"], np.zeros(len(splits["train"]), np.int64))
    with pytest.raises(EvaluationError, match="are of 1 class; a baseline needs two"):
        fitted("logistic", splits, train=one)
    halves = Relabelled(splits["train"], np.arange(len(splits["train"])) % 2)
    other = Relabelled(splits["val"], np.full(len(splits["val"]), 2))
    with pytest.raises(EvaluationError, match="is of a class of train, so nothing can be chosen"):
        fitted("mlp", splits, train=halves, val=other)
    with pytest.raises(EvaluationError, match="no baseline 'forest'; choose majority"):
        fitted("forest", splits)
