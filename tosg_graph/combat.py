"""ComBat: the empirical Bayes location-scale model of batches, out of sums over cells.

Johnson, Li and Rabinovic, "Adjusting batch effects in microarray expression data using empirical Bayes methods",
Biostatistics 8 (2007) 118-127. A value of gene g in cell j of batch i is ``alpha_g + X beta_g + gamma_ig + delta_ig
e_ijg``; ``gamma`` and ``delta`` of a batch are drawn towards what its other genes say, which steadies small batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tosg_graph.errors import CorrectionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 1_000
_CLOSE = 1e-6  # change of an estimate, relative to 1 + its size, at which the iteration ends
_FLAT = 1e-10  # variance, relative to the mean square, below which a gene is constant up to rounding


@dataclass(frozen=True)
class Moments:
    """Sums over the cells of each batch; the terms are 1 and the centred covariates.

    ``gram`` ``(batches, terms, terms)``, ``sums`` of terms times values ``(batches, terms, genes)``, ``squares`` of
    values ``(batches, genes)``.
    """

    batches: tuple[str, ...]
    gram: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]


Lines = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.bool_]"]


def combat_lines(moments: Moments) -> Lines:
    """Scale, shift ``(batches, genes)`` and the genes left as they are; names are those of the paper's equations."""
    cells = moments.gram[:, 0, 0]  # n_i
    effect, residual = _least_squares(moments)  # of each batch: alpha + gamma, sums of squares
    alpha = cells @ effect / cells.sum()
    pooled = residual.sum(axis=0) / cells.sum()
    # A gene without variance in one batch is left alone in all, as in the authors' own program (sva).
    flat = np.any(residual <= _FLAT * moments.squares, axis=0)
    good = ~flat
    if good.sum() < 2:
        raise CorrectionError(
            f"{good.sum()} of {len(good):,} genes vary within every batch of the training cells, at least 2 are "
            "needed. Pick more genes, or a coarser batch column."
        )
    sigma = np.sqrt(pooled[good])
    gamma = (effect[:, good] - alpha[good]) / sigma
    delta = residual[:, good] / (cells[:, None] - 1) / pooled[good]  # variances
    scale, shift = np.ones_like(effect), np.zeros_like(effect)
    for row, name in enumerate(moments.batches):
        location, variance = _shrunk(gamma[row], delta[row], cells[row], name)
        factor = 1 / np.sqrt(variance)
        scale[row, good] = factor
        shift[row, good] = alpha[good] - (alpha[good] + sigma * location) * factor
    return scale, shift, flat


def normal_matrix(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normal matrix of the whole design: a column per batch, then the covariates."""
    batches, width, _ = gram.shape
    normal = np.zeros((batches + width - 1,) * 2)
    np.fill_diagonal(normal[:batches, :batches], gram[:, 0, 0])
    normal[:batches, batches:] = gram[:, 0, 1:]
    normal[batches:, :batches] = gram[:, 0, 1:].T
    normal[batches:, batches:] = gram[:, 1:, 1:].sum(axis=0)
    return normal


def _least_squares(moments: Moments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of each batch at mean covariates, and what is left: both ``(batches, genes)``."""
    batches = len(moments.batches)
    right = np.concatenate([moments.sums[:, 0], moments.sums[:, 1:].sum(axis=0)])
    solved = np.linalg.solve(normal_matrix(moments.gram), right)
    effect, beta = solved[:batches], solved[batches:]
    residual = np.empty_like(effect)
    for row in range(batches):
        terms = np.concatenate([effect[row : row + 1], beta])  # (terms, genes)
        explained = (terms * (2 * moments.sums[row] - moments.gram[row] @ terms)).sum(axis=0)
        residual[row] = np.maximum(moments.squares[row] - explained, 0)
    return effect, residual


def _shrunk(
    gamma: NDArray[np.float64], delta: NDArray[np.float64], cells: float, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Location and variance of one batch, drawn towards what its other genes say: the paper's equations 3.2 to 3.4."""
    mean, spread = gamma.mean(), gamma.var(ddof=1)
    middle, width = delta.mean(), delta.var(ddof=1)
    if not width > 0:
        raise CorrectionError(
            f"All {len(delta):,} genes have the same variance in the batch {name!r}, so that no prior can be told. "
            "Pick more genes."
        )
    shape, rate = 2 + middle**2 / width, middle + middle**3 / width  # of the inverse gamma prior
    location, variance = gamma, delta
    for _ in range(_STEPS):
        new = (cells * spread * gamma + variance * mean) / (cells * spread + variance)
        # Squares around the new location, from those around the mean.
        squares = (cells - 1) * delta + cells * (gamma - new) ** 2
        wider = (rate + squares / 2) / (cells / 2 + shape - 1)
        moved = max(_change(location, new), _change(variance, wider))
        location, variance = new, wider
        if moved < _CLOSE:
            return location, variance
    raise CorrectionError(
        f"The fit of the batch {name!r} did not converge in {_STEPS} steps. Check its cells, or leave the "
        "correction out."
    )


def _change(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    return float((np.abs(new - old) / (1 + np.abs(old))).max())
