"""Which cells of one group are one metacell: k-means on principal components, or a program made for it.

Each method takes raw counts of cells that may be put together, and gives each a number; -1 is a cell that fits nowhere.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError
from tosg_graph.normalise import normalised

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

VARIABLE_GENES = 2_000
COMPONENTS = 50
_PACKAGES = {"seacells": "SEACells", "metacell2": "metacells"}  # method -> module; `kmeans` needs none

Counts = "csr_array[Any, Any]"
Assign = Callable[[Any, "NDArray[np.int64]", int, int], "NDArray[np.int64]"]


def check_method(method: str) -> None:
    """Raise `CellsError` where a method is unknown, or what it needs is not installed."""
    if method not in METHODS:
        raise CellsError(f"{method!r} is no method of metacells. Choose {', '.join(METHODS)}.")
    if method in _PACKAGES and find_spec(_PACKAGES[method]) is None:
        raise CellsError(
            f"{method} needs the package {_PACKAGES[method]}, which is not installed. Install it: pip install "
            f"'tosg-graph[{method}]'"
        )


def assign(
    method: str, counts: csr_array[Any, Any], totals: NDArray[np.int64], size: int, seed: int
) -> NDArray[np.int64]:
    """Put cells into metacells.

    Parameters
    ----------
    counts
        Raw counts, int32, ``(n_cells, n_features)``.
    totals
        ``n_counts`` of each cell, int64.
    size
        Mean number of cells of a metacell.

    Returns
    -------
    int64 ``(n_cells,)``: 0, 1, ... in the order of each metacell's first cell; -1 for a cell that fits nowhere.
    """
    if round(counts.shape[0] / size) < 2:
        return np.zeros(counts.shape[0], np.int64)
    found = METHODS[method](counts, totals, size, seed)
    names, first, place = np.unique(found, return_index=True, return_inverse=True)
    rank = np.empty(len(names), np.int64)
    rank[np.argsort(np.where(names < 0, -1, first))] = np.arange(len(names))
    return rank[place] - bool((names < 0).any())


def _kmeans(counts: Any, totals: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """K-means on principal components of log1p(CP10k) of highly variable genes (scanpy, scikit-learn)."""
    from sklearn.cluster import KMeans

    components = principal_components(counts, totals, seed).obsm["X_pca"]
    clusters = round(counts.shape[0] / size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal cells make fewer clusters than were asked for
        found = KMeans(clusters, n_init=4, random_state=seed).fit_predict(components)
    return np.asarray(found, np.int64)


def principal_components(counts: Any, totals: NDArray[np.int64], seed: int) -> AnnData:
    """Return log1p(CP10k) of the genes that were counted, with ``obsm["X_pca"]``."""
    import scanpy as sc
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    measured = np.unique(counts.indices)
    values = csr_matrix(normalised(counts[:, measured], totals))
    data = AnnData(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a gene that does not vary is no news
        if len(measured) > VARIABLE_GENES:
            sc.pp.highly_variable_genes(data, n_top_genes=VARIABLE_GENES)
        size = min(COMPONENTS, min(data.n_obs, min(data.n_vars, VARIABLE_GENES)) - 1)
        if size < 1:  # one gene or none: its values are the component
            data.obsm["X_pca"] = values.toarray() if data.n_vars else np.zeros((data.n_obs, 1))
        else:
            sc.pp.pca(data, n_comps=size, random_state=seed)
    return data


def _seacells(counts: Any, totals: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """SEACells: archetypes of a kernel on principal components (Persad et al., Nature Biotechnology 2023)."""
    data = principal_components(counts, totals, seed)
    data.obs_names = [str(k) for k in range(data.n_obs)]
    wanted = round(data.n_obs / size)
    with _quiet(), _global_seed(seed):  # it draws from numpy's global generator
        core = importlib.import_module("SEACells").core
        eigenvalues = min(10, data.obsm["X_pca"].shape[1])
        model = core.SEACells(
            data, "X_pca", wanted, n_waypoint_eigs=eigenvalues, convergence_epsilon=1e-5, verbose=False
        )
        model.construct_kernel_matrix()
        model.initialize_archetypes()
        model.fit(min_iter=10, max_iter=50)
        names = model.get_hard_assignments()["SEACell"].astype(str)
    found: NDArray[np.int64] = np.unique(names.to_numpy(), return_inverse=True)[1]
    return found


def _metacell2(counts: Any, totals: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """MetaCell-2: divide and conquer (Ben-Kiki et al., Genome Biology 2022); outliers are in no metacell."""
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    data = AnnData(csr_matrix(counts[:, np.unique(counts.indices)], dtype=np.float32))
    with _quiet():
        program: Any = importlib.import_module("metacells")
        program.ut.set_name(data, "cells")
        for mark in ("lateral_gene", "noisy_gene"):
            program.ut.set_v_data(data, mark, np.zeros(data.n_vars, np.bool_))
        program.pl.divide_and_conquer_pipeline(
            data,
            target_metacell_size=size,
            min_metacell_size=max(1, size // 4),
            target_metacell_umis=max(1, int(size * totals.mean())),
            random_seed=seed or 1,  # 0 means no seed there
        )
    found: NDArray[np.int64] = data.obs["metacell"].to_numpy(np.int64)
    return np.maximum(found, -1)


METHODS: dict[str, Assign] = {"kmeans": _kmeans, "seacells": _seacells, "metacell2": _metacell2}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what other programs print and log out of ours."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
