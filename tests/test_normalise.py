"""Layers out of raw counts: one formula, whoever asks."""

from __future__ import annotations

import numpy as np
import pytest
import scanpy as sc
from anndata import AnnData
from scipy.sparse import csr_array, csr_matrix

from tosg_graph.normalise import COUNTS, CP10K, LAYERS, LOG1P, normalise, normalised

COUNTED = np.array([[1, 0, 3], [0, 7, 0], [2**31 - 1, 5, 0]], np.int32)


def test_layers_are_those_of_scanpy() -> None:
    data = AnnData(csr_matrix(COUNTED, dtype=np.float64))
    sc.pp.normalize_total(data, target_sum=10_000)
    totals = COUNTED.sum(axis=1, dtype=np.int64)
    np.testing.assert_allclose(normalise(COUNTED, totals[:, None], CP10K), data.X.toarray())
    sc.pp.log1p(data)
    np.testing.assert_allclose(normalise(COUNTED, totals[:, None]), data.X.toarray())


def test_the_total_is_that_of_the_cell_and_not_of_the_picked_genes() -> None:
    totals = np.array([100, 200, 400])
    few = normalise(COUNTED[:, :1], totals[:, None], CP10K)
    all_ = normalise(COUNTED, totals[:, None], CP10K)
    assert few.tolist() == all_[:, :1].tolist() == [[100.0], [0.0], [(2**31 - 1) * 25.0]]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_sparse_matrix_keeps_its_pattern(layer: str) -> None:
    totals = COUNTED.sum(axis=1, dtype=np.int64)
    found = normalised(csr_array(COUNTED), totals, layer)
    assert found.nnz == csr_array(COUNTED).nnz
    np.testing.assert_allclose(found.toarray(), normalise(COUNTED, totals[:, None], layer))


def test_raw_counts_stay_as_they_are() -> None:
    assert normalise(COUNTED, np.zeros((3, 1), np.int64), COUNTS).tolist() == COUNTED.tolist()
    assert normalise(np.array([0]), np.array([0]), LOG1P).tolist() == [0.0]
