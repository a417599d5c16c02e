"""Locked-down DuckDB connections over the files of a store version: they can read these files and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import StoreError
from tosg_graph.layers import PROTEIN, counts_sql

if TYPE_CHECKING:
    import duckdb

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

MEMORY_LIMIT = "4GB"


def locked_connection(
    store: AbundanceStore, version: StoreVersion, layer: str | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """Connect to an in-memory DuckDB with the views ``cells`` and ``counts`` of a version; it can read nothing else.

    Parameters
    ----------
    layer
        The views show this layer alone, its columns counted from 0; of proteins, the cells in which they were measured.
        None where the version has no other layer than genes, which costs nothing.
    threads
        Of DuckDB; one per core by default.

    Raises
    ------
    StoreError
        If a file of the version is not there.
    """
    _check_present(store, version)
    return connection_to(
        store, store.cells_files(version), store.counts_files(version), layer=layer, threads=threads
    )


def connection_to(
    store: AbundanceStore,
    cells: Sequence[str],
    counts: Sequence[str] = (),
    memory_limit: str = MEMORY_LIMIT,
    spill: Path | None = None,
    layer: str | None = None,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """Connect to an in-memory DuckDB that can read these files of a store and nothing else.

    Parameters
    ----------
    cells, counts
        Files that become the views ``cells`` and, where there are any, ``counts``.
    spill
        Folder for what a sort cannot hold in memory.
    layer, threads
        As in `locked_connection`.
    """
    import duckdb

    config: dict[str, Any] = {"memory_limit": memory_limit, **({"threads": threads} if threads else {})}
    connection = duckdb.connect(":memory:", config=config)
    if spill:
        connection.execute("SET temp_directory = ?", [str(spill)])
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    if not store.files.is_local:
        connection.register_filesystem(store.files.for_duckdb())
    connection.execute("SET allowed_paths = ?", [[*cells, *counts]])
    # Older files lack the obs columns that newer ones brought: null there.
    connection.read_parquet(list(cells), union_by_name=True).create_view(
        "all_cells" if layer == PROTEIN else "cells"
    )
    if layer == PROTEIN:
        connection.execute("CREATE VIEW cells AS SELECT * FROM all_cells WHERE n_protein_counts IS NOT NULL")
    if counts:
        connection.read_parquet(list(counts)).create_view("all_counts" if layer else "counts")
    if counts and layer:
        connection.execute(f"CREATE VIEW counts AS {counts_sql(layer, 'all_counts')}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _check_present(store: AbundanceStore, version: StoreVersion) -> None:
    for name in ("cells", "counts"):
        gone = set(store.log.file_names(name, version.of(name))) - set(store.files.listing(name))
        if gone:
            raise StoreError(
                f"Version {version.cells} of {store} lacks {len(gone)} of its files, first {name}/{min(gone)}. Either "
                "`tosg cells vacuum` removed it (`tosg cells versions`), or the store is damaged (`tosg cells verify`)."
            )
