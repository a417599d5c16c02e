"""Cells of the CELLxGENE Census, or of any SOMA experiment: a query of obs, read in chunks of cells.

The Census is opened at its public address by `tiledbsoma` alone; releases stay where they are, so that a query can be
repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loaders.cell_chunks import checked, reading, spans
from loaders.cell_names import gene_features, obs_of_arrow, unique
from tosg_graph.errors import CellsError
from tosg_graph.types import MeasuredCells

if TYPE_CHECKING:
    import pyarrow as pa
    from scipy.sparse import csr_array

    from loaders.cell_chunks import Part

SCHEME = "census:"
_HOME = "s3://cellxgene-census-public-us-west-2/cell-census/{version}/soma/census_data/{organism}"
_PUBLIC = {"vfs.s3.region": "us-west-2", "vfs.s3.no_sign_request": "true"}
_KIND = "a SOMA experiment"
_PER_CELL = 64 << 10  # bytes of a cell as it is read, some thousand genes
_JOIN = "soma_joinid"
_IDS = ("feature_id", "gene_ids", "var_id", _JOIN)  # of genes; the first that is there
_SYMBOLS = ("feature_name", "gene_symbols", "var_id", _JOIN)


def read(
    path: Path,
    layer: str | None = None,
    *,
    filter: str | None = None,
    version: str | None = None,
    measurement: str = "RNA",
) -> MeasuredCells:
    """Read the cells that a filter picks.

    Parameters
    ----------
    path
        ``census:homo_sapiens``, or a folder with a SOMA experiment.
    layer
        Layer of X with raw counts; ``raw`` by default.
    filter
        Expression over obs columns: ``tissue == 'blood' and is_primary_data == True``. The Census needs one.
    version
        Release of the Census, such as ``2025-01-30``. The Census needs one.
    measurement
        Which measurement of the experiment.

    Raises
    ------
    CellsError
        If `tiledbsoma` is not installed, the experiment cannot be read, the filter is malformed or matches no cell, or
        there is no such layer. Values that are no raw counts are refused when their chunk is read.
    """
    address, context = _address(path, filter, version)
    layer = layer or "raw"
    with reading(path, _KIND), _opened(address, context) as experiment:
        held = _layers(path, experiment, measurement)
        if layer not in held:
            raise CellsError(f"{path} has no layer {layer!r}. It has {', '.join(held)} (--layer).")
        obs = _obs(path, experiment, filter)
        var = experiment.ms[measurement].var.read().concat().sort_by(_JOIN)
    found = gene_features(path, _texts(var, _IDS), _texts(var, _SYMBOLS))
    barcodes = unique(path, "barcode", _barcodes(obs))
    kept, left = obs_of_arrow(obs.drop_columns([_JOIN]))
    cells, genes = (table[_JOIN].to_numpy() for table in (obs, var))

    def chunks() -> Iterator[csr_array[Any, Any]]:
        with reading(path, _KIND), _opened(address, context) as experiment:
            parts = _parts(experiment.ms[measurement].X[layer], cells, genes)
            yield from checked(
                parts, barcodes, found.names, f"{path}, {layer}", [h for h in held if h != layer]
            )

    return MeasuredCells(barcodes, found.names, found.ids, kept, chunks, _note(obs, left))


def _address(path: Path, filter: str | None, version: str | None) -> tuple[str, dict[str, str]]:
    """Where the experiment is, and how to reach it."""
    if not str(path).startswith(SCHEME):
        return str(path), {}
    organism = str(path).removeprefix(SCHEME)
    if not re.fullmatch(r"[a-z]+(_[a-z]+)+", organism):
        raise CellsError(
            f"{path}: {organism!r} is no organism of the Census. Name one as in census:homo_sapiens."
        )
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", version or ""):
        raise CellsError(
            f"{path} needs a release of the Census, not {version!r}: --option version=2025-01-30, a date, so that the "
            "query can be repeated."
        )
    if not filter:
        raise CellsError(
            f"{path} without a filter means tens of millions of cells. Pick some: --option "
            "\"filter=tissue == 'blood' and is_primary_data == True\""
        )
    return _HOME.format(version=version, organism=organism), _PUBLIC


def _opened(address: str, context: dict[str, str]) -> Any:
    try:
        import tiledbsoma
    except ImportError:
        raise CellsError(
            "Reading SOMA needs tiledbsoma, which is not installed: pip install 'tosg-graph[census]'"
        ) from None
    return tiledbsoma.Experiment.open(
        address, context=tiledbsoma.SOMATileDBContext(tiledb_config=dict(context))
    )


def _layers(path: Path, experiment: Any, measurement: str) -> list[str]:
    if measurement not in experiment.ms:
        raise CellsError(
            f"{path} has no measurement {measurement!r}. It has {', '.join(experiment.ms.keys())}."
        )
    return sorted(experiment.ms[measurement].X.keys())


def _obs(path: Path, experiment: Any, filter: str | None) -> pa.Table:
    """Rows of obs that the filter picks, in the order of their numbers."""
    try:
        found = experiment.obs.read(value_filter=filter).concat()
    except Exception as error:
        if filter is None:
            raise
        says = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        names = ", ".join(sorted(set(experiment.obs.keys()) - {_JOIN}))
        raise CellsError(
            f"{path}: {filter!r} is no filter of its cells: {says}. Columns: {names}."
        ) from error
    if not len(found):
        raise CellsError(f"{path}: no cell matches {filter!r}. Look at the values of its obs columns.")
    return found.sort_by(_JOIN)


def _barcodes(obs: pa.Table) -> list[str]:
    """Names that stay from one release to the next, where the experiment has such."""
    if {"dataset_id", "observation_joinid"} <= set(obs.column_names):
        parts = zip(obs["dataset_id"].to_pylist(), obs["observation_joinid"].to_pylist(), strict=True)
        return [f"{dataset}:{cell}" for dataset, cell in parts]
    return [str(value) for value in obs["obs_id" if "obs_id" in obs.column_names else _JOIN].to_pylist()]


def _texts(var: pa.Table, names: Sequence[str]) -> list[str]:
    name = next(name for name in names if name in var.column_names)
    return ["" if value is None else str(value) for value in var[name].to_pylist()]


def _note(obs: pa.Table, left: list[str]) -> str:
    notes = [f"not read: {', '.join(left)} of the cells"] if left else []
    if "is_primary_data" in obs.column_names:
        primary = sum(map(bool, obs["is_primary_data"].to_pylist()))
        if primary < len(obs):
            notes.append(
                f"{len(obs) - primary} of {len(obs)} cells are not primary data: copies of cells elsewhere"
            )
    return "; ".join(notes)


def _parts(matrix: Any, cells: Any, genes: Any) -> Iterator[Part]:
    import numpy as np
    from scipy.sparse import coo_array

    for first, end in spans(len(cells), _PER_CELL):
        own = cells[first:end]
        table = matrix.read((own,)).tables().concat()
        row = np.searchsorted(own, table["soma_dim_0"].to_numpy())
        column = np.searchsorted(genes, table["soma_dim_1"].to_numpy())
        values = table["soma_data"].to_numpy()
        yield first, coo_array((values, (row, column)), shape=(end - first, len(genes))).tocsr()
