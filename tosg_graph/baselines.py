"""Models without graph or text, on the same cells and genes as the networks: what a network must beat.

All see log1p of counts per 10,000 of the bundle's genes that have abundance, those that other nodes gather from among
them, and the centred log ratio of surface proteins where the bundle has them. They learn from train, choose on val by
the mean negative log-likelihood, and predict val and test once.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import EvaluationError
from tosg_graph.normalise import clr, normalised
from tosg_graph.predictions import Predicted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.dataset import TosgDataset

BASELINES = ("majority", "logistic", "mlp", "boosting")
COSTS = (
    0.0001,
    0.001,
    0.01,
    0.1,
    1.0,
)  # inverse strength of the logistic regression's penalty, strongest first
BOOSTED_GENES = 2000  # of the largest variance in train; each tree reads all of them
_LOGISTIC_STEPS = 200
_HIDDEN, _BATCH, _ROUNDS, _PATIENCE = 128, 64, 100, 10
_ROUND_STEPS = 20  # at least, between two looks at val: five cells of a class are one step
_TREES, _LEAVES, _LEAF_CELLS = 200, 15, 20


@dataclass(frozen=True)
class Fitted:
    """A model that has learnt and chosen.

    Parameters
    ----------
    probability
        Features ``(n, F)`` -> float ``(n, K)``, of the classes that train has.
    """

    probability: Callable[[csr_array[Any, Any]], NDArray[np.floating[Any]]]
    parameters: int
    chosen: dict[str, Any]


@dataclass(frozen=True)
class _Cells:
    x: csr_array[Any, Any]  # float64 (n, F)
    y: NDArray[np.int64]  # (n,), among the classes that train has


def fit(name: str, train: TosgDataset, val: TosgDataset, test: TosgDataset, seed: int) -> list[Predicted]:
    """Fit one baseline, and predict val and test.

    Parameters
    ----------
    name
        One of `BASELINES`: the shares of the classes in train; logistic regression; a network of one hidden layer;
        gradient boosting of the `BOOSTED_GENES` genes of the largest variance.
    train, val, test
        Splits of one bundle, in any layer. Cells of val whose class train lacks are predicted, and choose nothing.
    seed
        Of what is random: the first two do not depend on it.

    Raises
    ------
    EvaluationError
        If the name is unknown, train has one class, or val no cell of a class of train.
    """
    if name not in BASELINES:
        raise EvaluationError(f"There is no baseline {name!r}; choose {', '.join(BASELINES)}.")
    start = time.perf_counter()
    learnt, chooses, seen = _learnt(train, val)
    model = _FITS[name](learnt, chooses, seed)
    seconds = time.perf_counter() - start
    found = []
    for side in (val, test):
        probability = np.zeros((len(side), train.num_classes), np.float32)
        if len(side):
            probability[:, seen] = model.probability(features(side))
        rows = np.arange(len(side), dtype=np.int64)
        found.append(
            Predicted(name, seed, side.split, rows, probability, seconds, model.parameters, model.chosen)
        )
    return found


def features(cells: TosgDataset) -> csr_array[Any, Any]:
    """Return what the baselines see, float64 ``(n, genes + proteins)``, sparse."""
    from scipy.sparse import csr_array, hstack

    raw = cells.counts.take(np.arange(len(cells), dtype=np.int64))
    genes = raw.matrix.shape[1] - cells.counts.proteins
    found = normalised(raw.matrix[:, :genes], raw.totals)
    if raw.scales is not None:
        found = hstack([found, clr(raw.matrix[:, genes:], raw.scales)], format="csr")
    return csr_array(found)


def _learnt(train: TosgDataset, val: TosgDataset) -> tuple[_Cells, _Cells, NDArray[np.int64]]:
    """Cells to learn from, cells to choose on, and the classes that train has."""
    y, held = _labels(train), _labels(val)
    seen = np.unique(y)
    if len(seen) < 2:
        raise EvaluationError(
            f"The {len(y):,} training cells are of {len(seen)} class; a baseline needs two. Choose another --label."
        )
    known = np.isin(held, seen)
    if not known.any():
        raise EvaluationError(
            f"None of the {len(held):,} validation cells is of a class of train, so nothing can be chosen on them. "
            "Export the bundle with another --split or --seed."
        )
    chooses = _Cells(features(val)[known], np.searchsorted(seen, held[known]))
    return _Cells(features(train), np.searchsorted(seen, y)), chooses, seen


def _labels(cells: TosgDataset) -> NDArray[np.int64]:
    found: NDArray[np.int64] = cells.cells["label_index"].to_numpy().astype(np.int64)
    return found


def _loss(probability: NDArray[np.floating[Any]], y: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood, natural logarithm."""
    given = probability[np.arange(len(y)), y].astype(np.float64)
    return float(-np.log(np.maximum(given, 1e-15)).mean())


def _scale(x: csr_array[Any, Any]) -> NDArray[np.float64]:
    """Return 1 / standard deviation of each feature, ``(F,)``; 0 where it is constant."""
    mean = np.asarray(x.mean(axis=0)).ravel()
    spread = np.sqrt(np.maximum(np.asarray(x.multiply(x).mean(axis=0)).ravel() - mean**2, 0))
    return np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-12)


def _scaled(x: csr_array[Any, Any], scale: NDArray[np.float64]) -> csr_array[Any, Any]:
    """Not centred, so that x stays sparse: a free intercept takes it up."""
    from scipy.sparse import csr_array

    return csr_array((x.data * scale[x.indices], x.indices, x.indptr), shape=x.shape)


# --------------------------------------------------------------------------- the four


def _majority(train: _Cells, val: _Cells, seed: int) -> Fitted:
    shares = np.bincount(train.y) / len(train.y)
    return Fitted(lambda x: np.tile(shares, (x.shape[0], 1)), len(shares) - 1, {})


def _logistic(train: _Cells, val: _Cells, seed: int) -> Fitted:
    """Fit for each penalty, beginning with the weights of the one before; keep the best on val."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = _scale(train.x)

    def scaled(x: csr_array[Any, Any]) -> csr_array[Any, Any]:
        return _scaled(x, scale).astype(np.float32)  # three times as fast, and the same to three digits

    ours, theirs = scaled(train.x), scaled(val.x)
    model = LogisticRegression(warm_start=True, max_iter=_LOGISTIC_STEPS)
    tried: list[tuple[float, float, Any, Any]] = []
    for cost in COSTS:
        with warnings.catch_warnings():
            # To end before it converges is one more penalty, and val chooses among them.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=cost).fit(ours, train.y)
        tried.append(
            (_loss(model.predict_proba(theirs), val.y), cost, model.coef_.copy(), model.intercept_.copy())
        )
    loss, cost, weights, offset = min(tried, key=lambda one: one[:2])
    model.coef_, model.intercept_ = weights, offset

    def probability(x: csr_array[Any, Any]) -> NDArray[np.floating[Any]]:
        found: NDArray[np.floating[Any]] = model.predict_proba(scaled(x))
        return found

    return Fitted(probability, weights.size + offset.size, {"C": cost, "val_loss": round(loss, 6)})


def _boosting(train: _Cells, val: _Cells, seed: int) -> Fitted:
    from sklearn.ensemble import HistGradientBoostingClassifier

    genes = _most_variable(train.x)

    def dense(x: csr_array[Any, Any]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = x[:, genes].astype(np.float32).toarray()
        return found

    model = HistGradientBoostingClassifier(
        max_iter=_TREES,
        max_leaf_nodes=_LEAVES,
        # A leaf of twenty cells, which suits thousands, would not part 25 at all.
        min_samples_leaf=min(_LEAF_CELLS, max(2, len(train.y) // 50)),
        max_features=0.3,
        max_bins=63,  # log counts have few values
        early_stopping=True,
        n_iter_no_change=_PATIENCE,
        random_state=seed,
    )
    model.fit(dense(train.x), train.y, X_val=dense(val.x), y_val=val.y)
    best = max(1, int(np.argmax(model.validation_score_)))

    def probability(x: csr_array[Any, Any]) -> NDArray[np.floating[Any]]:
        *_, last = (p for p, _ in zip(model.staged_predict_proba(dense(x)), range(best), strict=False))
        found: NDArray[np.floating[Any]] = last
        return found

    chosen = {
        "iterations": best,
        "genes": len(genes),
        "val_loss": round(-float(model.validation_score_[best]), 6),
    }
    return Fitted(probability, best * model.n_trees_per_iteration_ * _LEAVES, chosen)


def _most_variable(x: csr_array[Any, Any]) -> NDArray[np.int64]:
    """Columns of the largest variance, at most `BOOSTED_GENES`, ascending."""
    scale = _scale(x)
    spread = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    found: NDArray[np.int64] = np.sort(np.argsort(-spread, kind="stable")[:BOOSTED_GENES])
    return found


def _mlp(train: _Cells, val: _Cells, seed: int) -> Fitted:
    """Keep the round of epochs that is best on val; stop when none has been better for some."""
    import torch
    from torch import nn

    scale = _scale(train.x)
    mean = np.asarray(train.x.mean(axis=0)).ravel()

    def tensor(x: csr_array[Any, Any]) -> torch.Tensor:
        return torch.from_numpy(((x.toarray() - mean) * scale).astype(np.float32))

    def predict(x: csr_array[Any, Any]) -> NDArray[np.floating[Any]]:
        net.eval()
        with torch.no_grad():
            parts = [net(tensor(x[at : at + 1024])).softmax(1).numpy() for at in range(0, x.shape[0], 1024)]
        return np.concatenate(parts)

    y, classes = torch.from_numpy(train.y), int(train.y.max()) + 1
    epochs = -(-_ROUND_STEPS // -(-len(y) // _BATCH))  # of a round
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(
            nn.Linear(train.x.shape[1], _HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(_HIDDEN, classes)
        )
        adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
        best, chosen, kept = np.inf, 0, {}
        for done in range(1, _ROUNDS + 1):
            net.train()
            for _ in range(epochs):
                for at in torch.split(torch.randperm(len(y)), _BATCH):
                    adam.zero_grad()
                    torch.autograd.backward(
                        nn.functional.cross_entropy(net(tensor(train.x[at.numpy()])), y[at])
                    )
                    adam.step()
            loss = _loss(predict(val.x), val.y)
            if loss < best:
                best, chosen = loss, done
                kept = {name: value.clone() for name, value in net.state_dict().items()}
            if done - chosen >= _PATIENCE:
                break
    if not kept:
        raise EvaluationError(f"The loss of the baseline mlp, seed {seed}, is no number. Please report this.")
    net.load_state_dict(kept)
    parameters = sum(p.numel() for p in net.parameters())
    return Fitted(predict, parameters, {"epoch": chosen * epochs, "val_loss": round(float(best), 6)})


_FITS: dict[str, Callable[[_Cells, _Cells, int], Fitted]] = {
    "majority": _majority,
    "logistic": _logistic,
    "mlp": _mlp,
    "boosting": _boosting,
}
