"""The numbers of metacells as programs for OmniCellTOSG take them: genes as a frame, all nodes as a dense matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.celltosg_cohort import TASKS, nobody_knows
from tosg_graph.correction import Correction, Fitting
from tosg_graph.errors import CellsError, CorrectionError
from tosg_graph.normalise import normalised

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.tosg_folder import TosgFolder
    from tosg_graph.tosg_order import TosgOrder

_AT_ONCE = 256  # cells whose genes are dense at once
_TISSUE = "tissue_general"
_PROTOCOL = ("source", "tissue", "suspension_type", "assay")  # names a batch where no study does


def gene_frame(folder: TosgFolder, cells: pa.Table) -> pd.DataFrame:
    """Raw counts, float32, one row per metacell (``sample_index``) and one column per gene of the gene index."""
    import pandas as pd

    genes = folder.genes()
    values = np.zeros((_fitting_in_memory(len(cells), len(genes)), len(genes)), np.float32)
    start = 0
    for counts in folder.counts(cells, _AT_ONCE):
        values[start : start + counts.shape[0]] = counts.toarray()
        start += counts.shape[0]
    return pd.DataFrame(values, index=pd.RangeIndex(len(cells), name="sample_index"), columns=genes)


def node_matrix(
    folder: TosgFolder,
    order: TosgOrder,
    cells: pa.Table,
    corrections: TissueCorrections | None = None,
    file: Path | None = None,
) -> NDArray[np.float32]:
    """log1p of counts per 10,000 of every node, float32 ``(n_cells, n_nodes)``; proteins are zero.

    Parameters
    ----------
    corrections
        Applied to the genes, before they are copied to their transcripts.
    file
        Where the matrix is written as ``.npy``; what is returned is then that file, mapped so that a change to the
        array changes nothing on disk.

    Raises
    ------
    CellsError
        If it does not fit in memory and no file is named.
    """
    shape = (len(cells), order.num_nodes)
    if file is None:
        out: Any = np.zeros((_fitting_in_memory(*shape), shape[1]), np.float32)
    else:
        out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    totals, start = cells["n_counts"].to_numpy(), 0
    rows = None if corrections is None else corrections.of(cells)
    for counts in folder.counts(cells, _AT_ONCE):
        some = slice(start, start + counts.shape[0])
        values: Any = normalised(counts, totals[some])
        if corrections is not None and rows is not None:
            values = corrections.applied(values.toarray(), rows[some])
        order.expand(values, out=out[some])
        start = some.stop
    if file is None:
        found: NDArray[np.float32] = out
        return found
    out.flush()
    return mapped(file)


def mapped(file: Path) -> NDArray[np.float32]:
    """A matrix on disk as an array of this process, whose changes stay in memory."""
    found: NDArray[np.float32] = np.load(file, mmap_mode="c", allow_pickle=False)
    return found


def _fitting_in_memory(rows: int, columns: int) -> int:
    """Return ``rows``, or refuse a matrix that would need more memory than there is."""
    from psutil import virtual_memory

    needed, free = 4 * rows * columns, virtual_memory().available
    if needed > free:
        raise CellsError(
            f"{rows:,} metacells x {columns:,} columns need {needed / 2**30:,.1f} GB as a dense matrix, "
            f"{free / 2**30:,.1f} are free. Take fewer (sample_size), name an output_dir in train mode, or read "
            "genes: TosgFolder.counts."
        )
    return rows


# --------------------------------------------------------------------------- correction


@dataclass(frozen=True)
class TissueCorrections:
    """A correction per tissue, fitted on training cells; cells of other tissues and batches are left as they are."""

    fits: Mapping[str, Correction]
    facts: dict[str, Any]

    def of(self, cells: pa.Table) -> list[tuple[str, int]]:
        """Tissue and row of the fitted lines for each cell; -1 where none was fitted."""
        pairs = zip(_tissues(cells), _batches(cells), strict=True)
        place = {t: {b: row for row, b in enumerate(fit.batches)} for t, fit in self.fits.items()}
        return [(tissue, place.get(tissue, {}).get(batch, -1)) for tissue, batch in pairs]

    def applied(self, values: NDArray[Any], rows: list[tuple[str, int]]) -> NDArray[np.float64]:
        """Correct cells, log1p ``(n, genes)``, by what `of` says of them."""
        found = values.astype(np.float64)
        for tissue, fit in self.fits.items():
            own = np.array([t == tissue and row >= 0 for t, row in rows], bool)
            lines = np.array([row for t, row in rows if t == tissue and row >= 0], np.int64)
            found[own] = fit.corrected(values[own], lines)
        return found

    def uncorrected(self, cells: pa.Table) -> int:
        """How many cells are left as they are."""
        return sum(row < 0 for _, row in self.of(cells))


def fit_corrections(folder: TosgFolder, train: pa.Table, task_name: str) -> TissueCorrections:
    """Fit on training cells, each tissue for itself; batches of one training cell cannot be fitted.

    Raises
    ------
    CorrectionError
        If batch and label cannot be told apart in a tissue, or nothing can be fitted in any.
    """
    import pyarrow as pa

    tissues, batches = _tissues(train), _batches(train)
    sizes = Counter(zip(tissues, batches, strict=True))
    fits = {}
    for tissue in sorted(set(tissues)):
        usable = {batch for (of, batch), size in sizes.items() if of == tissue and size > 1}
        if len(usable) < 2:
            continue
        rows = [
            k
            for k, pair in enumerate(zip(tissues, batches, strict=True))
            if pair[0] == tissue and pair[1] in usable
        ]
        own = train.take(pa.array(rows, pa.int64()))
        try:
            fits[tissue] = _fit(folder, own, [batches[row] for row in rows], task_name)
        except CorrectionError as error:
            raise CorrectionError(f"{_TISSUE} {tissue!r}: {error}") from error
    if not fits:
        raise CorrectionError(
            "No tissue has two batches of two training metacells: there is nothing to correct. Leave correction_method "
            "out."
        )
    facts = {
        "method": "combat",
        "layer": "log1p",
        "tissues": {t: list(fit.batches) for t, fit in fits.items()},
    }
    return TissueCorrections(fits, facts)


def _fit(folder: TosgFolder, cells: pa.Table, batch: list[str], task_name: str) -> Correction:
    task = TASKS[task_name]
    label = ["unknown" if nobody_knows(v) else str(v) for v in cells[task.field].to_pylist()]
    covariates = {task.field: label} if task.control or task_name == "pretrain" else {}
    fitting = Fitting(batch, genes=len(folder.genes()), covariates=covariates, label=label)
    totals, start = cells["n_counts"].to_numpy(), 0
    for counts in folder.counts(cells, _AT_ONCE):
        fitting.add(normalised(counts, totals[start : start + counts.shape[0]]))
        start += counts.shape[0]
    return fitting.result()


def _tissues(cells: pa.Table) -> list[str]:
    if _TISSUE not in cells.column_names:
        return [""] * len(cells)
    return ["" if value is None else str(value).strip().lower() for value in cells[_TISSUE].to_pylist()]


def _batches(cells: pa.Table) -> list[str]:
    """The study of each cell, or how it was measured where that is not known."""
    known = [name for name in ("dataset_id", *_PROTOCOL) if name in cells.column_names]
    rows = cells.select(known).to_pylist()
    return [
        str(row["dataset_id"])
        if not nobody_knows(row.get("dataset_id"))
        else "__".join(str(row.get(n)) for n in _PROTOCOL)
        for row in rows
    ]


# --------------------------------------------------------------------------- shards as they are


def load_expression_by_metadata(df_meta: pd.DataFrame, dataset_dir: str | Path) -> NDArray[Any]:
    """Rows of the folder's own matrices, ``(n, n_transcripts)`` of their type, sorted by ``sample_index``.

    Parameters
    ----------
    df_meta
        Columns ``matrix_file_path``, ``matrix_row_idx``, ``sample_index``.
    dataset_dir
        Folder of the matrices.

    Raises
    ------
    CellsError
        If there are no rows, or a column or file is missing.
    """
    needed = ("matrix_file_path", "matrix_row_idx", "sample_index")
    gone = [name for name in needed if name not in df_meta.columns]
    if gone:
        raise CellsError(f"The metadata has no column {', '.join(gone)}. Give rows that extract returned.")
    if not len(df_meta):
        raise CellsError("The metadata has no rows. Give some that extract returned.")
    ordered = df_meta.sort_values("sample_index", kind="stable")
    files, rows = ordered[needed[0]].to_numpy(), ordered[needed[1]].to_numpy()
    paths = {name: Path(dataset_dir) / str(name) for name in dict.fromkeys(files.tolist())}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise CellsError(f"There is no {missing[0]}. Name the folder of the matrices, expression_matrix.")
    shards = {name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in paths.items()}
    first = shards[files[0]]
    out = np.empty((_fitting_in_memory(len(files), first.shape[1]), first.shape[1]), first.dtype)
    for name, matrix in shards.items():
        own = files == name
        out[own] = matrix[rows[own]]
    return out
