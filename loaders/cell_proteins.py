"""Surface proteins beside the genes of a file: their names, and their counts on the right of those of the genes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.errors import CellsError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

NONE = "none"  # value of the option that leaves them out
OBSM = "protein_expression"  # where scvi-tools puts them, and
NAMES = "protein_names"  # their names
_VALUES = 2**22  # at most so many are held at a time, but never less than one cell


@dataclass(frozen=True)
class Beside:
    """Counts of proteins in a matrix of their own.

    Parameters
    ----------
    names
        Of the proteins; unique.
    place
        Of the matrix in the file.
    rows
        Row of each cell in the matrix, -1 where its proteins were not measured; None: the same rows.
    """

    names: list[str]
    place: str
    rows: NDArray[np.int64] | None = None

    @property
    def cells(self) -> NDArray[np.bool_] | None:
        """Which cells were measured, see `MeasuredCells`."""
        return None if self.rows is None or (self.rows >= 0).all() else self.rows >= 0

    def read(self, matrix: Any, start: int, stop: int) -> csr_array[Any, Any]:
        """Values of the cells from ``start`` to ``stop``, of whatever numbers the matrix holds."""
        from scipy.sparse import csr_array

        rows = np.arange(start, stop) if self.rows is None else self.rows[start:stop]
        here = np.flatnonzero(rows >= 0)
        found = _rows(matrix, rows[here])
        lengths = np.zeros(len(rows), np.int64)
        lengths[here] = np.diff(found.indptr)
        bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return csr_array((found.data, found.indices, bounds), shape=(len(rows), len(self.names)))


def cut(part: csr_array[Any, Any], proteins: int) -> Iterator[csr_array[Any, Any]]:
    """Cut a run of cells so that its proteins, held dense, stay few."""
    rows = max(1, _VALUES // max(1, proteins))
    for start in range(0, part.shape[0], rows):
        yield part[start : start + rows]


def joined(genes: csr_array[Any, Any], proteins: csr_array[Any, Any]) -> csr_array[Any, Any]:
    """Genes and proteins of the same cells side by side, int32."""
    from scipy.sparse import csr_array, hstack

    both = csr_array(hstack([genes, proteins], format="csr"))
    both.indices, both.indptr = both.indices.astype(np.int32), both.indptr.astype(np.int32)
    return both


def in_obsm(
    file: h5py.Group, path: Path, barcodes: Sequence[str], key: str | None, names_key: str | None
) -> Beside | None:
    """Find the proteins in ``obsm`` of an AnnData file; None where it has none, or they are not wanted.

    Parameters
    ----------
    key
        Of the matrix; by default ``protein_expression``, where there is one.
    names_key
        Of the names in ``uns``, by default ``protein_names``; a DataFrame has names of its own.

    Raises
    ------
    CellsError
        If it has no such matrix or names, their numbers do not fit, or a name repeats.
    """
    held = list(file.get("obsm", ()))
    if key == NONE or (key is None and OBSM not in held):
        return None
    key = key or OBSM
    if key not in held:
        raise CellsError(
            f"{path} has no obsm {key!r} with proteins. It has {', '.join(held) or 'none'} (--option proteins=)."
        )
    matrix = file["obsm"][key]
    names = _names(file, path, matrix, key, names_key or NAMES)
    check_shape(path, matrix, (len(barcodes), len(names)), f"obsm {key!r}")
    return Beside(names, f"obsm/{key}")


def by_name(path: Path, modality: str, barcodes: Sequence[str], obs: pd.Index) -> NDArray[np.int64]:
    """Row of each cell among the cells of the proteins, -1 where it has none.

    Raises
    ------
    CellsError
        If proteins were measured in a cell that has no genes, or a name repeats.
    """
    import pandas as pd

    names = unique(path, f"barcode of {modality}", [str(name) for name in obs])
    rows = pd.Index(names).get_indexer(pd.Index(list(barcodes)))
    alone = len(names) - int((rows >= 0).sum())
    if alone:
        first = next(iter(pd.Index(names).difference(pd.Index(list(barcodes)))))
        raise CellsError(
            f"{path}: {alone:,} of {len(names):,} cells of {modality!r} have no genes (first {first!r}). Keep those "
            "that have: mudata.pp.intersect_obs(mdata)."
        )
    return rows.astype(np.int64)


def check_shape(path: Path, matrix: Any, expected: tuple[int, int], what: str) -> None:
    """Raise `CellsError` where a matrix of proteins has another shape, or is stored protein by protein."""
    kind = str(matrix.attrs.get("encoding-type", ""))
    if kind.startswith("csc"):
        raise CellsError(
            f"{path}: {what} is stored protein by protein (CSC). Write it as CSR or dense: scipy.sparse.csr_array(x)."
        )
    found = _shape(matrix, kind)
    if found != expected:
        raise CellsError(
            f"{path}: {what} has shape {found}, but there are {expected[0]} cells and {expected[1]} names of proteins. "
            "Write both of the same cells and proteins."
        )


def unique(path: Path, what: str, names: Sequence[str]) -> list[str]:
    """Return the names, or refuse the first that is empty or stands twice."""
    from loaders.cell_names import unique as checked_names

    return checked_names(path, what, names)


# --------------------------------------------------------------------------- inside


def _names(file: h5py.Group, path: Path, matrix: Any, key: str, names_key: str) -> list[str]:
    import anndata
    import h5py

    if isinstance(matrix, h5py.Group) and matrix.attrs.get("encoding-type") == "dataframe":
        found = [str(name) for name in matrix.attrs["column-order"]]
    elif names_key in file.get("uns", ()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older files say less of their layout
            found = [str(name) for name in np.asarray(anndata.io.read_elem(file["uns"][names_key])).ravel()]
    else:
        held = ", ".join(file.get("uns", ())) or "nothing"
        raise CellsError(
            f"{path}: the proteins in obsm {key!r} have no names in uns {names_key!r}; uns has {held}. Name the key by "
            "--option protein_names=KEY, or leave the proteins out by --option proteins=none."
        )
    return unique(path, "protein", found)


def _shape(matrix: Any, kind: str) -> tuple[int, ...]:
    if kind == "dataframe":
        return len(matrix[matrix.attrs["_index"]]), len(matrix.attrs["column-order"])
    stated = matrix.attrs["shape"] if kind == "csr_matrix" else matrix.shape
    return tuple(map(int, stated))


def _rows(matrix: Any, rows: NDArray[np.int64]) -> csr_array[Any, Any]:
    """Some rows in the order given; those that follow each other in the file are read together."""
    from scipy.sparse import csr_array

    kind = str(matrix.attrs.get("encoding-type", ""))
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1) if len(rows) else np.empty(0, np.int64)
    runs = [
        (int(rows[a]), int(rows[b - 1]) + 1) for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)
    ]
    if kind == "csr_matrix":
        return _sparse_rows(matrix, runs)
    if kind == "dataframe":
        columns = [_column(matrix, str(name)) for name in matrix.attrs["column-order"]]
        read = [np.concatenate([c[a:b] for a, b in runs] or [c[:0]]) for c in columns]
        dense = np.stack(read, axis=1) if read else np.empty((len(rows), 0))
    else:
        dense = np.concatenate([matrix[a:b] for a, b in runs] or [matrix[:0]])
    return csr_array(dense)


def _column(frame: Any, name: str) -> Any:
    import h5py

    column = frame[name]
    if not isinstance(column, h5py.Dataset):
        raise ValueError(
            f"the column {name!r} of the proteins is {column.attrs.get('encoding-type')}, no numbers"
        )
    return column


def _sparse_rows(group: Any, runs: Sequence[tuple[int, int]]) -> csr_array[Any, Any]:
    from scipy.sparse import csr_array

    indptr, width = group["indptr"][:].astype(np.int64), int(group.attrs["shape"][1])
    spans = [(int(indptr[a]), int(indptr[b])) for a, b in runs]
    data, indices = (
        np.concatenate([group[name][a:b] for a, b in spans] or [group[name][:0]])
        for name in ("data", "indices")
    )
    lengths = np.concatenate([np.diff(indptr[a : b + 1]) for a, b in runs] or [np.empty(0, np.int64)])
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return csr_array((data, indices, bounds), shape=(len(lengths), width))
