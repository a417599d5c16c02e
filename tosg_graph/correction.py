"""Batch correction that is learnt from training cells and applied to any cell: one straight line per batch and gene.

``combat`` is the empirical Bayes model of `tosg_graph.combat` on log1p of counts per 10,000. Covariates enter the fit
only, so that what they explain is not taken for an effect of the batch; what is then applied depends on the batch of a
cell and on nothing else that is known of it: no label of a test cell can be seen. Only sums over cells are kept while
fitting, so memory does not grow with the cells.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.combat import Lines, Moments, combat_lines, normal_matrix
from tosg_graph.errors import BundleError, CorrectionError
from tosg_graph.normalise import LOG1P

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

NONE, COMBAT = "none", "combat"
UNSEEN = ("error", "keep")  # what becomes of cells whose batch was not fitted
_MIN_CELLS = 2  # of a batch: a variance needs two


@dataclass(frozen=True)
class Correction:
    """A fitted correction: ``corrected = log1p * scale[batch] + shift[batch]``.

    Parameters
    ----------
    method
        ``combat`` or ``none``.
    batches
        Names of the batches that were fitted, sorted.
    scale, shift
        float64 ``(n_batches, n_genes)``, in units of log1p(CP10k).
    uncorrected
        bool ``(n_genes,)``: genes that do not vary within every batch of the training cells, and are left as they are.
    cells
        Number of cells that were fitted.
    """

    method: str
    batches: tuple[str, ...]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    uncorrected: NDArray[np.bool_]
    cells: int

    def batch_index(self, batch: Sequence[str | None], unseen: str = "error") -> NDArray[np.int64]:
        """Row of `scale` for each cell, shape ``(n_cells,)``; -1 where the batch was not fitted and is kept.

        Raises
        ------
        CorrectionError
            If a cell has no batch, or one that was not fitted and ``unseen`` is ``error``.
        """
        if self.method == NONE:
            return np.full(len(batch), -1, np.int64)
        return batch_rows(self.batches, batch, unseen)

    def apply(
        self, values: NDArray[Any], batch: Sequence[str | None], unseen: str = "error"
    ) -> NDArray[np.float64]:
        """Correct cells by their batch alone.

        Parameters
        ----------
        values
            log1p(CP10k), dense, ``(n_cells, n_genes)``: zeros move as well.
        batch
            Batch of each cell.
        unseen
            ``keep`` leaves cells of a batch that was not fitted as they are.

        Returns
        -------
        float64 ``(n_cells, n_genes)``.

        Raises
        ------
        CorrectionError
            As `batch_index`, or if the number of genes is another than was fitted.
        """
        if values.ndim != 2 or values.shape[1] != len(self.uncorrected):
            raise CorrectionError(
                f"The correction was fitted on {len(self.uncorrected):,} genes, the values are {values.shape}. "
                "Give the same genes in the same order."
            )
        return self.corrected(values, self.batch_index(batch, unseen))

    def corrected(self, values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Apply to cells whose `batch_index` is at hand."""
        found, known = values.astype(np.float64), rows >= 0
        found[known] = values[known] * self.scale[rows[known]] + self.shift[rows[known]]
        return found


def batch_rows(batches: Sequence[str], batch: Sequence[Any], unseen: str = "error") -> NDArray[np.int64]:
    """Place of each cell's batch among those that were fitted; see `Correction.batch_index`."""
    if unseen not in UNSEEN:
        raise CorrectionError(
            f"{unseen!r} does not say what becomes of unseen batches. Choose {', '.join(UNSEEN)}."
        )
    place = {name: row for row, name in enumerate(batches)}
    _all_known("batch", batch)
    strange = Counter(str(name) for name in batch if str(name) not in place)
    if strange and unseen == "error":
        name, cells = strange.most_common(1)[0]
        raise CorrectionError(
            f"{sum(strange.values()):,} cells are of a batch that no training cell has (first: {name!r}, {cells:,} "
            f"cells); {', '.join(batches[:5])} were fitted. Keep such cells as they are (--unseen-batch keep), or "
            "choose another batch column."
        )
    return np.array([place.get(str(name), -1) for name in batch], np.int64)


def fit(
    chunks: Iterable[csr_array[Any, Any] | NDArray[Any]],
    batch: Sequence[str | None],
    *,
    genes: int,
    method: str = COMBAT,
    covariates: Mapping[str, Sequence[Any]] | None = None,
    label: Sequence[str] | None = None,
) -> Correction:
    """Fit a correction on training cells.

    Parameters
    ----------
    chunks
        log1p(CP10k) of consecutive cells, ``(n, genes)`` each, sparse or dense.
    batch
        Batch of each cell, in the order of the chunks.
    covariates
        Name -> value per cell, text or numbers: what must not be taken for an effect of the batch. Used here only.
    label
        What a model shall learn: refused where removing the batch removes it as well.

    Raises
    ------
    CorrectionError
        If the method is unknown, or the effect of a batch cannot be told: fewer than two batches, a batch of one
        cell, a batch confounded with label or covariates, no gene that varies in every batch, no convergence.
    """
    fitting = Fitting(batch, genes=genes, method=method, covariates=covariates, label=label)
    for chunk in chunks:
        fitting.add(chunk)
    return fitting.result()


class Fitting:
    """A fit in progress: cells are added in order and forgotten; `fit` says what the parameters are."""

    def __init__(
        self,
        batch: Sequence[str | None],
        *,
        genes: int,
        method: str = COMBAT,
        covariates: Mapping[str, Sequence[Any]] | None = None,
        label: Sequence[str] | None = None,
    ) -> None:
        _check_method(method)
        self.method, self._genes, self._done = method, genes, 0
        self._cells = len(batch)
        if method == NONE:
            return
        _all_known("batch", batch)
        self.batches = _checked_batches([str(name) for name in batch])
        if label is not None:
            _separable(batch, label, "the label")
        place = {name: row for row, name in enumerate(self.batches)}
        self._rows = np.array([place[str(name)] for name in batch], np.int64)
        self._design = _design(batch, covariates or {}, self._cells)
        width = self._design.shape[1]
        self._gram = np.zeros((len(self.batches), width, width))
        self._sums = np.zeros((len(self.batches), width, genes))
        self._squares = np.zeros((len(self.batches), genes))
        for row in range(len(self.batches)):
            mine = self._design[self._rows == row]
            self._gram[row] = mine.T @ mine
        _full_rank(normal_matrix(self._gram))

    def add(self, values: csr_array[Any, Any] | NDArray[Any]) -> None:
        """Add the next cells: log1p(CP10k), ``(n, genes)``."""
        if values.shape[1] != self._genes or self._done + values.shape[0] > self._cells:
            raise CorrectionError(
                f"{self._done:,} of {self._cells:,} cells of {self._genes:,} genes are fitted and {values.shape} more "
                "came. Give one batch per cell, and the same genes in each chunk."
            )
        start, self._done = self._done, self._done + values.shape[0]
        if self.method == NONE:
            return
        rows, design = self._rows[start : self._done], self._design[start : self._done]
        for row in np.unique(rows):
            mine = rows == row
            part = values[mine]
            self._sums[row] += (part.T @ design[mine]).T
            self._squares[row] += np.asarray((part * part).sum(axis=0)).ravel()

    def result(self) -> Correction:
        """Return what was fitted, once all cells were added."""
        if self._done != self._cells:
            raise CorrectionError(f"{self._done:,} of {self._cells:,} cells were given. Add all of them.")
        if self.method == NONE:
            empty = np.zeros((0, self._genes))
            return Correction(NONE, (), empty, empty, np.ones(self._genes, np.bool_), self._cells)
        moments = Moments(self.batches, self._gram, self._sums, self._squares)
        scale, shift, flat = METHODS[self.method](moments)
        return Correction(self.method, self.batches, scale, shift, flat, self._cells)


# --------------------------------------------------------------------------- in a bundle


@dataclass(frozen=True)
class Plan:
    """What an export was asked to correct.

    Parameters
    ----------
    method
        ``combat``.
    batch
        Column of the cells that names the batch.
    covariates
        Columns of the cells that enter the fit; the label may be one of them, for only training cells are fitted.
    unseen
        ``error`` or ``keep``: what becomes of cells of a batch that no training cell has.
    """

    method: str
    batch: str
    covariates: tuple[str, ...] = ()
    unseen: str = "error"

    def start(self, cells: pa.Table, genes: int) -> Fitting:
        """Check everything that can be told before counts are read, and return the empty fit.

        Parameters
        ----------
        cells
            All cells of the bundle: ``label``, ``split``, and the columns that are named here.

        Raises
        ------
        CorrectionError
            If a column is missing or no category, or as `fit`.
        """
        import pyarrow.compute as pc

        _check_method(self.method)
        batch = _category(cells, self.batch)
        train = cells.filter(pc.equal(cells["split"], "train"))
        fitting = Fitting(
            _category(train, self.batch),
            genes=genes,
            method=self.method,
            covariates={name: _values(train, name) for name in self.covariates},
            label=train["label"].to_pylist(),
        )
        batch_rows(fitting.batches, batch, self.unseen)
        return fitting

    def facts(self, correction: Correction, cells: pa.Table) -> dict[str, Any]:
        """Entry of the manifest."""
        rows = batch_rows(correction.batches, _category(cells, self.batch), self.unseen)
        return {
            "method": self.method,
            "layer": LOG1P,
            "batch": self.batch,
            "batches": list(correction.batches),
            "covariates": list(self.covariates),
            "unseen": self.unseen,
            "cells_fitted": correction.cells,
            "cells_unseen": int((rows < 0).sum()),
            "genes_uncorrected": int(correction.uncorrected.sum()),
        }


def as_tensors(correction: Correction) -> dict[str, NDArray[Any]]:
    """Return ``scale`` and ``shift``, float64 ``(batches, genes)``, and ``uncorrected``, bool ``(genes,)``."""
    return {"scale": correction.scale, "shift": correction.shift, "uncorrected": correction.uncorrected}


def from_tensors(facts: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> Correction:
    """Rebuild a correction from the manifest's entry and its tensors.

    Raises
    ------
    BundleError
        If they do not fit each other.
    """
    batches = tuple(facts["batches"])
    if set(tensors) != {"scale", "shift", "uncorrected"} or len(tensors["scale"]) != len(batches):
        raise BundleError(
            f"The correction holds {', '.join(sorted(tensors))}, not the lines of {len(batches)} batches. "
            "Export the bundle again."
        )
    return Correction(
        facts["method"],
        batches,
        tensors["scale"],
        tensors["shift"],
        tensors["uncorrected"],
        facts["cells_fitted"],
    )


def _category(cells: pa.Table, column: str) -> list[Any]:
    import pyarrow as pa

    values = _values(cells, column)
    kind = cells.schema.field(column).type
    if pa.types.is_floating(kind) or pa.types.is_nested(kind):
        raise CorrectionError(
            f"The column {column!r} is {kind}, which is no category. Choose another --batch."
        )
    return values


def _values(cells: pa.Table, column: str) -> list[Any]:
    if column not in cells.column_names:
        near = difflib.get_close_matches(column, cells.column_names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "`tosg cohort true` shows them."
        raise CorrectionError(f"The cells have no column {column!r} to correct by. {hint}")
    values: list[Any] = cells[column].to_pylist()
    return values


# --------------------------------------------------------------------------- what may be fitted


def _all_known(what: str, values: Sequence[Any]) -> None:
    missing = sum(value is None or value != value for value in values)
    if missing:
        raise CorrectionError(
            f"{missing:,} of {len(values):,} cells have no {what}. Leave them out by the cohort (... IS NOT NULL), "
            "or choose another column."
        )


def _checked_batches(batch: Sequence[str]) -> tuple[str, ...]:
    sizes = Counter(batch)
    if len(sizes) < 2:
        held = f"only {next(iter(sizes))!r}" if sizes else "none"
        raise CorrectionError(
            f"A correction needs two batches among the training cells; there is {held}. Choose another batch column, "
            "or leave the correction out."
        )
    few = [name for name, cells in sorted(sizes.items()) if cells < _MIN_CELLS]
    if few:
        raise CorrectionError(
            f"{len(few)} of {len(sizes)} batches have fewer than {_MIN_CELLS} training cells, first {few[0]!r}: their "
            "variance cannot be told. Leave them out by the cohort, or choose a coarser batch column."
        )
    return tuple(sorted(sizes))


def _separable(batch: Sequence[Any], other: Sequence[Any], what: str) -> None:
    """Refuse where batches fall into parts that share no value of ``other``: the parts differ by both at once."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, at = np.unique(np.array(batch, str), return_inverse=True)
    values, of = np.unique(np.array(other, str), return_inverse=True)
    shape = (len(names) + len(values),) * 2
    links = coo_array((np.ones(len(at), np.int8), (at, of + len(names))), shape=shape)
    parts, part = connected_components(links, directed=False)
    if parts > 1:
        here, there = (values[part[len(names) :] == p][:3].tolist() for p in (0, 1))
        first = str(names[part[: len(names)] == 0][0])
        raise CorrectionError(
            f"The batch is confounded with {what} among the training cells: batches such as {first!r} have only "
            f"{', '.join(map(repr, here))}, others only {', '.join(map(repr, there))}. A correction would remove both; "
            "choose cells in which they mix."
        )


def _design(batch: Sequence[Any], covariates: Mapping[str, Sequence[Any]], cells: int) -> NDArray[np.float64]:
    """One column of ones, then the covariates around their means: ``(n_cells, 1 + n_terms)``."""
    columns = [np.ones(cells)]
    for name, values in covariates.items():
        _all_known(f"value of the covariate {name}", values)
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            columns.append(np.array(values, np.float64))
            continue
        _separable(batch, values, f"the covariate {name}")
        texts = np.array([str(v) for v in values])
        columns += [(texts == level).astype(np.float64) for level in np.unique(texts)[1:]]
    design = np.column_stack(columns)
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    return design


def _full_rank(normal: NDArray[np.float64]) -> None:
    size = np.sqrt(np.diag(normal))
    scaled = normal / np.outer(size, size) if size.all() else np.zeros_like(normal)
    if np.linalg.eigvalsh(scaled)[0] < 1e-9:
        raise CorrectionError(
            "The covariates cannot be told apart from the batches, or from each other, among the training cells: the "
            "design is singular. Name fewer covariates."
        )


# --------------------------------------------------------------------------- methods

METHODS: dict[str, Callable[[Moments], Lines]] = {COMBAT: combat_lines}
"""Name -> what makes lines out of sums over the training cells; a further method is a further entry."""


def _check_method(method: str) -> None:
    if method not in (NONE, *METHODS):
        raise CorrectionError(f"{method!r} is no method of correction. Choose {', '.join((NONE, *METHODS))}.")
