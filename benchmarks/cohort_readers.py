"""The cells of ``benchmarks/cohorts.py`` written in each layout, and a cohort read from it; one process each.

``cohort_readers.py write LAYOUT WORK`` or ``cohort_readers.py read READER WORK CASE`` prints one JSON object: seconds,
and the peak of resident memory in GB. A reader imports what it needs before the clock starts. It then opens what lies
on the disk, finds the cells by what is known of them, and returns their names and raw counts: compressed rows, sorted.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_array

Tests = list[tuple[str, str, Any]]  # column, operator (==, < or in), value; all must hold
# Names of cells; genes by place, one per column, or None for all in the order of the file; counts (cells, genes).
Found = tuple[Any, Any, Any]
Read = Callable[[Path, Tests, list[int] | None], Found]  # genes by place, sorted; None: all

LIST_GROUP = 2048  # cells in a row group of lists
CHUNK = 16_384  # cells written at a time


# --------------------------------------------------------------------------- layouts


def write_store(work: Path) -> None:
    from synthetic_cells import Names

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.cells import add
    from tosg_graph.obs import ObsMapping

    names = Names(json.loads((work / "genes.json").read_text()))
    add(work / "cells.h5ad", names, AbundanceStore.open(work / "cells.store"), mapping=ObsMapping())


def write_rows(work: Path) -> None:
    """Our store with its copy cell by cell beside it."""
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.row_copy import copy_rows

    shutil.copytree(work / "cells.store", work / "cells.rows")
    copy_rows(AbundanceStore.open(work / "cells.rows"))


def write_gzip(work: Path) -> None:
    """As .h5ad files are mostly passed on: anndata's own gzip."""
    import anndata

    anndata.read_h5ad(work / "cells.h5ad").write_h5ad(work / "cells.gzip", compression="gzip")


def write_soma(work: Path) -> None:
    import tiledbsoma.io

    tiledbsoma.io.from_h5ad(
        str(work / "cells.soma"), work / "cells.h5ad", measurement_name="RNA", X_layer_name="raw"
    )


def write_lists(work: Path) -> None:
    """One row per cell. Plain values under lz4 and small row groups: the fastest to read of those measured."""
    import anndata
    import pyarrow as pa
    import pyarrow.parquet as pq

    cells = anndata.read_h5ad(work / "cells.h5ad", backed="r")
    obs = pa.Table.from_pandas(cells.obs.rename_axis("barcode").reset_index(), preserve_index=False)
    writer = None
    for start in range(0, cells.n_obs, CHUNK):
        counts = cells.X[start : start + CHUNK]
        starts = pa.array(counts.indptr, pa.int32())
        some = obs.slice(start, CHUNK)
        for name, values in (("genes", counts.indices), ("counts", counts.data)):
            some = some.append_column(
                name, pa.ListArray.from_arrays(starts, pa.array(values.astype(np.int32)))
            )
        writer = writer or pq.ParquetWriter(
            work / "cells.parquet", some.schema, compression="lz4", use_dictionary=obs.column_names
        )
        writer.write_table(some, row_group_size=LIST_GROUP)
    if writer:
        writer.close()


# --------------------------------------------------------------------------- readers


def ours(name: str = "cells.store") -> Read:
    for module in ("deltalake", "duckdb", "lark", "pyarrow.dataset", "scipy.sparse", "yaml"):
        import_module(module)  # our code imports them where it needs them

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore

    def read(work: Path, tests: Tests, genes: list[int] | None) -> Found:
        with AbundanceReader.open(AbundanceStore.open(work / name)) as reader:
            found = reader.cells(_sql(tests), lambda column, value: None, ["barcode", "block", "cell"])
            found = found.sort_by([("block", "ascending"), ("cell", "ascending")])  # as an export reads them
            wanted = range(len(reader.axis)) if genes is None else genes
            columns = reader.axis_columns([f"HGNC:{g}" for g in wanted])
            counts = reader.csr(found, list(columns.values()))
            return found["barcode"].to_numpy(), [int(name[5:]) for name in columns], counts

    return read


def backed_h5ad(name: str = "cells.h5ad") -> Read:
    import anndata

    def read(work: Path, tests: Tests, genes: list[int] | None) -> Found:
        # A mask over the rows is what anndata reads fastest from the disk; genes are then taken in memory.
        cells = anndata.read_h5ad(work / name, backed="r")
        chosen = cells.obs.eval(_python(tests)).to_numpy()
        counts = cells.X[chosen]
        return cells.obs_names[chosen].to_numpy(), genes, counts if genes is None else counts[:, genes]

    return read


def soma() -> Read:
    import tiledbsoma

    def read(work: Path, tests: Tests, genes: list[int] | None) -> Found:
        cells = tiledbsoma.AxisQuery(value_filter=_python(tests))
        columns = tiledbsoma.AxisQuery(coords=(genes,)) if genes else tiledbsoma.AxisQuery()
        with (
            tiledbsoma.Experiment.open(str(work / "cells.soma")) as experiment,
            experiment.axis_query("RNA", obs_query=cells, var_query=columns) as query,
        ):
            names = query.obs(column_names=["obs_id"]).concat()["obs_id"].to_numpy()
            found = query.X("raw").tables().concat()
            rows = query.indexer.by_obs(found["soma_dim_0"])
            slots = query.indexer.by_var(found["soma_dim_1"])
            shape = (query.n_obs, query.n_vars)
            return names, genes, csr_array((found["soma_data"].to_numpy(), (rows, slots)), shape=shape)

    return read


def lists_pyarrow() -> Read:
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq

    def read(work: Path, tests: Tests, genes: list[int] | None) -> Found:
        lists = ds.dataset(work / "cells.parquet")
        slots = None if genes is None else _slots(genes)
        names, parts = [], []
        for batch in lists.to_batches(
            columns=["barcode", "genes", "counts"], filter=pq.filters_to_expression(tests)
        ):
            names.append(batch["barcode"])
            lengths = np.diff(batch["genes"].offsets.to_numpy())
            found, counts = batch["genes"].flatten().to_numpy(), batch["counts"].flatten().to_numpy()
            if slots is not None:
                slot = slots[found]
                wanted = slot >= 0
                passed = np.concatenate([[0], np.cumsum(wanted)])
                bounds = np.concatenate([[0], np.cumsum(lengths)])
                lengths, found, counts = np.diff(passed[bounds]), slot[wanted], counts[wanted]
            parts.append((lengths, found, counts))
        lengths, found, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
        return pa.chunked_array(names).to_numpy(), genes, _rows(lengths, found, counts, _width(work, genes))

    return read


def lists_duckdb() -> Read:
    import duckdb
    import pyarrow as pa

    def read(work: Path, tests: Tests, genes: list[int] | None) -> Found:
        with duckdb.connect() as connection:
            connection.read_parquet(str(work / "cells.parquet")).create_view("lists")
            where = _sql(tests)
            if genes is None:
                text = f"SELECT barcode, genes, counts FROM lists WHERE {where}"  # noqa: S608
                found = connection.sql(text).to_arrow_table().combine_chunks()
                names, found_genes = found["barcode"], found["genes"].combine_chunks()
                lengths = np.diff(found_genes.offsets.to_numpy())
                columns = found_genes.flatten(), found["counts"].combine_chunks().flatten()
                return names.to_numpy(), None, _rows(lengths, *map(np.asarray, columns), _width(work, None))
            wanted = pa.table({"gene": pa.array(genes, pa.int32()), "slot": pa.array(range(len(genes)))})
            connection.register("wanted", wanted)
            # The places of lists in the file are unique and rise; names come in the same order.
            text = f"""
                SELECT place, slot, count FROM (
                    SELECT file_row_number AS place, unnest(genes) AS gene, unnest(counts) AS count
                    FROM read_parquet('{work / "cells.parquet"}', file_row_number = true) WHERE {where}
                ) JOIN wanted USING (gene)
            """  # noqa: S608
            found = connection.sql(text).to_arrow_table()
            text = f"""
                SELECT barcode, file_row_number AS place
                FROM read_parquet('{work / "cells.parquet"}', file_row_number = true) WHERE {where} ORDER BY place
            """  # noqa: S608
            names = connection.sql(text).to_arrow_table()
        rows = np.searchsorted(names["place"].to_numpy(), found["place"].to_numpy())
        values = (found["count"].to_numpy(), (rows, found["slot"].to_numpy()))
        return names["barcode"].to_numpy(), genes, csr_array(values, shape=(len(names), len(genes)))

    return read


def _rows(lengths: Any, slots: Any, counts: Any, width: int) -> csr_array:
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    return csr_array((counts, slots, bounds), shape=(len(lengths), width))


def _width(work: Path, genes: list[int] | None) -> int:
    return len(json.loads((work / "genes.json").read_text())) if genes is None else len(genes)


def _slots(genes: list[int]) -> Any:
    slots = np.full(2**17, -1, np.int32)
    slots[genes] = np.arange(len(genes))
    return slots


def _sql(tests: Tests) -> str:
    """As our cohort expressions and SQL say it."""
    said = {"==": "=", "in": "IN", "<": "<"}
    return " AND ".join(
        f"{column} {said[operator]} {tuple(value) if operator == 'in' else repr(value)}"
        for column, operator, value in tests
    )


def _python(tests: Tests) -> str:
    """As pandas and SOMA say it."""
    return " and ".join(f"{column} {operator} {value!r}" for column, operator, value in tests)


# --------------------------------------------------------------------------- one process

LAYOUTS: dict[str, Callable[[Path], None]] = {
    "store": write_store,
    "rows": write_rows,
    "gzip": write_gzip,
    "soma": write_soma,
    "parquet": write_lists,
}
READERS: dict[str, Callable[[], Read]] = {
    "ours": partial(ours, "cells.rows"),
    "ours_without_rows": ours,
    "backed_h5ad": backed_h5ad,
    "backed_h5ad_gzip": partial(backed_h5ad, "cells.gzip"),
    "tiledbsoma": soma,
    "lists_pyarrow": lists_pyarrow,
    "lists_duckdb": lists_duckdb,
}
OURS = ("ours", "ours_without_rows")


def digest(names: Any, genes: Any, counts: Any) -> str:
    """Of the values by cell and gene, whatever the order of both."""
    places = np.arange(counts.shape[1]) if genes is None else np.asarray(genes)
    weights = np.random.default_rng(7).integers(1, 2**20, 2**17)[places]
    whole = csr_array((counts.data.astype(np.int64), counts.indices, counts.indptr), shape=counts.shape)
    order = np.argsort(names.astype(str))
    parts = (
        names.astype(str)[order],
        (whole @ weights)[order],
        np.diff(whole.indptr).astype(np.int64)[order],
    )
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def main(verb: str, name: str, folder: str, case: str = "{}") -> None:
    work, asked = Path(folder), json.loads(case)
    read = READERS[name]() if verb == "read" else None
    start = time.perf_counter()
    found = read(work, asked["tests"], asked["genes"]) if read else LAYOUTS[name](work)
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    said: dict[str, Any] = {"seconds": seconds, "peak_gb": peak * 1024 / 1e9}
    if found:
        names, genes, counts = found
        counts.sort_indices()
        said |= {"cells": counts.shape[0], "values": int(counts.nnz), "digest": digest(names, genes, counts)}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
