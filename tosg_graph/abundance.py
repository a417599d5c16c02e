"""Reads of the abundance store: one store version behind one locked-down DuckDB connection.

Mean abundance is in raw counts per cell, or in a layer made of them; ``pct`` is the percentage of cells with a count
above zero. Cells without any count of a gene are part of both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.cohort import (
    Cohort,
    ExpandTerm,
    identifier,
    kind_of,
    ontology_columns,
    parse,
    single_valued,
    tests,
)
from tosg_graph.errors import CohortError, StoreError
from tosg_graph.normalise import COUNTS, LAYERS, layer_sql
from tosg_graph.types import METACELL_OF

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.types import StoreVersion

STATS = ("mean", "pct")
MEMORY_LIMIT = "4GB"
_NEAREST = 5
_FACET_VALUES = 30
_FEW_CELLS = 2048  # one batch of DuckDB's
_CSR_BATCH = 1_000_000  # counts per Arrow batch


class AbundanceReader:
    """Answers over one store version. Not for several threads or forked processes: open one in each."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, axis: pa.Table, version: StoreVersion) -> None:
        self._connection = connection
        self.axis = axis
        self.version = version

    @classmethod
    def open(cls, store: AbundanceStore, version: StoreVersion | None = None) -> AbundanceReader:
        """Open the store at ``version``, by default its newest.

        Raises
        ------
        StoreError
            If nothing was ever added to the store.
        """
        version = version or store.version()
        if version is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        return cls(locked_connection(store, version), store.axis(version), version)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> AbundanceReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ----------------------------------------------------------------- cells

    def cell_columns(self) -> dict[str, str]:
        """Column -> DuckDB type of the cells table."""
        return {row[0]: row[1] for row in self._connection.execute("DESCRIBE cells").fetchall()}

    def cells(
        self,
        cohort: Cohort | str | None,
        expand_term: ExpandTerm,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Return the cells of a cohort, sorted by ``cell_id``; all columns unless ``columns`` names some.

        Raises
        ------
        CohortError
            If nothing is selected (the nearest values are named), or a column is unknown.
        """
        known = self.cell_columns()
        wanted = ", ".join(identifier(c, known) for c in columns) if columns else "*"
        checked, where, parameters = self._where(cohort, known, expand_term)
        # The text holds checked column names and ? marks only.
        found = self._connection.sql(
            f"SELECT {wanted} FROM cells WHERE {where} ORDER BY cell_id",  # noqa: S608
            params=parameters,
        ).to_arrow_table()
        if not len(found):
            raise CohortError(self._nothing(checked))
        return found

    def facets(
        self, cohort: Cohort | str | None, expand_term: ExpandTerm, by: Sequence[str] = ()
    ) -> list[pa.Table]:
        """Count a cohort's cells by values: one table ``<column>``, ``cells``, ``pct`` per column.

        Without ``by``: by dataset, and by each text column that has from 2 to 30 values in the cohort.
        """
        import pyarrow as pa

        known = self.cell_columns()
        for column in by:
            single_valued(column, known)
        checked, where, parameters = self._where(cohort, known, expand_term)
        tables = []
        for name in by or self._facet_columns(known, where, parameters):
            # The text holds checked column names and ? marks only.
            text = f"SELECT {identifier(name, known)}, count(*) FROM cells WHERE {where} GROUP BY ALL"  # noqa: S608
            rows = sorted(self._connection.sql(text, params=parameters).fetchall(), key=_by_count)
            if not rows:
                raise CohortError(self._nothing(checked))
            if by or name == "dataset" or 2 <= len(rows) <= _FACET_VALUES:
                values, counts = zip(*rows, strict=True)
                pct = [100 * n / sum(counts) for n in counts]
                tables.append(pa.table({name: list(values), "cells": list(counts), "pct": pct}))
        return tables

    def _facet_columns(self, known: Mapping[str, str], where: str, parameters: Sequence[Any]) -> list[str]:
        """Dataset, and the text columns that may have few values: those that have not too many in a few cells."""
        import pyarrow.compute as pc

        texts = [c for c in known if c != "dataset" and kind_of(known[c]) == "text"]
        names = ", ".join(identifier(c, known) for c in texts)
        # The text holds checked column names and ? marks only.
        text = f"SELECT {names} FROM cells WHERE {where} LIMIT {_FEW_CELLS}"  # noqa: S608
        few = self._connection.sql(text, params=list(parameters)).to_arrow_table()
        return ["dataset", *(c for c in texts if len(pc.unique(few[c])) <= _FACET_VALUES)]

    def groups(self, cohort: Cohort | str | None, expand_term: ExpandTerm, by: Sequence[str]) -> pa.Table:
        """Count a cohort's cells by the values of several columns together, sorted: ``<by>...``, ``cells``."""
        known = self.cell_columns()
        names = ", ".join(identifier(column, known) for column in by)
        checked, where, parameters = self._where(cohort, known, expand_term)
        # The text holds checked column names and ? marks only.
        text = f"SELECT {names}, count(*) AS cells FROM cells WHERE {where} GROUP BY ALL ORDER BY ALL"  # noqa: S608
        found = self._connection.sql(text, params=parameters).to_arrow_table()
        if not len(found):
            raise CohortError(self._nothing(checked))
        return found

    def nearest(self, column: str, value: str) -> list[str]:
        """Return up to five values of a text column that look most like ``value``; the first five where none does."""
        name = identifier(column, self.cell_columns())
        rows = self._connection.sql(
            f"SELECT DISTINCT {name} FROM cells WHERE {name} IS NOT NULL ORDER BY 1"  # noqa: S608  # checked name
        ).fetchall()
        values = {str(row[0]).lower(): str(row[0]) for row in rows}
        near = difflib.get_close_matches(value.lower(), values, n=_NEAREST, cutoff=0.3)
        inside = [low for low in values if value.lower() in low]
        return [values[low] for low in dict.fromkeys([*inside, *near]) or values][:_NEAREST]

    # ----------------------------------------------------------------- counts

    def axis_columns(self, gene_ids: Sequence[str]) -> dict[str, int]:
        """Gene id -> axis column, of those of ``gene_ids`` that were ever measured."""
        wanted = set(gene_ids)
        pairs = zip(self.axis["gene_id"].to_pylist(), self.axis["column"].to_pylist(), strict=True)
        return {gene: column for gene, column in pairs if gene in wanted}

    def csr(self, cell_ids: Sequence[str], axis_columns: Sequence[int]) -> csr_array[Any, Any]:
        """Raw counts, int32, shape ``(len(cell_ids), len(axis_columns))``; rows and columns as given.

        Raises
        ------
        StoreError
            If a cell is not in the store, or an id or a column is given twice.
        """
        chunks = list(self.iter_csr(cell_ids, axis_columns, rows_per_chunk=max(1, len(cell_ids))))
        return chunks[0]

    def iter_csr(
        self, cell_ids: Sequence[str], axis_columns: Sequence[int], rows_per_chunk: int
    ) -> Iterator[csr_array[Any, Any]]:
        """Yield `csr` in chunks of ``rows_per_chunk``, which bounds memory; no cells yield one empty chunk."""
        columns = _distinct("axis column", axis_columns)
        _distinct("cell", cell_ids)
        for start in range(0, max(1, len(cell_ids)), rows_per_chunk):
            yield self._chunk(list(cell_ids[start : start + rows_per_chunk]), columns)

    def aggregate(
        self,
        axis_columns: Sequence[int],
        by: str | None,
        cohort: Cohort | str | None,
        expand_term: ExpandTerm,
        stats: Sequence[str] = STATS,
        layer: str = COUNTS,
    ) -> pa.Table:
        """Summarise genes over the cells of a cohort.

        Parameters
        ----------
        axis_columns
            Columns of the gene axis.
        by
            Column of the cells to group by; None for one group.
        stats
            ``mean`` (of the layer) and/or ``pct`` (percentage of cells with a count above zero).
        layer
            ``counts``, ``cp10k`` or ``log1p``, made at read; see `tosg_graph.normalise`.

        Returns
        -------
        Table
            ``axis_column``, ``<by>``, the stats, ``cells`` (size of the group); one row per column and group,
            in the order given and by value of the group; cells without a value form the group null.

        Raises
        ------
        CohortError
            If a statistic, layer or column is unknown, the cohort is empty, or cells and metacells are mixed.
        """
        import pyarrow as pa

        unknown = [s for s in stats if s not in STATS]
        if unknown or not stats:
            raise CohortError(
                f"{unknown[0] if unknown else '(none)'!r} is no statistic. Choose from {', '.join(STATS)}."
            )
        if layer not in LAYERS:
            raise CohortError(f"{layer!r} is no layer. Choose from {', '.join(LAYERS)}.")
        columns = _distinct("axis column", axis_columns)
        known = self.cell_columns()
        group = single_valued(by, known) if by else "NULL"
        self.check_one_kind(cohort, expand_term)
        checked, where, parameters = self._where(cohort, known, expand_term)
        # The text holds checked column names and ? marks only.
        touched = self._connection.sql(f"SELECT DISTINCT block FROM cells WHERE {where}", params=parameters)  # noqa: S608
        in_blocks, blocks = _in_blocks([row[0] for row in touched.fetchall()])
        wanted = pa.table(
            {"gene": pa.array(columns, pa.int32()), "place": pa.array(range(len(columns)), pa.int64())}
        )
        # The text holds checked column names and ? marks only.
        text = f"""
            WITH chosen AS (SELECT block, cell, n_counts, {group} AS grp FROM cells WHERE {where}),
            groups AS (SELECT grp, count(*) AS cells FROM chosen GROUP BY grp),
            sums AS (
                SELECT counts.gene, chosen.grp, sum({layer_sql(layer)}) AS total,
                       count(*) FILTER (counts.count > 0) AS hits
                FROM counts JOIN wanted USING (gene) JOIN chosen USING (block, cell)
                WHERE {in_blocks}
                GROUP BY counts.gene, chosen.grp
            )
            SELECT wanted.gene AS axis_column, groups.grp AS grp,
                   coalesce(sums.total, 0) / groups.cells AS mean,
                   100.0 * coalesce(sums.hits, 0) / groups.cells AS pct,
                   groups.cells AS cells
            FROM wanted CROSS JOIN groups
            LEFT JOIN sums ON sums.gene = wanted.gene AND sums.grp IS NOT DISTINCT FROM groups.grp
            ORDER BY wanted.place, groups.grp NULLS LAST
        """  # noqa: S608
        with _registered(self._connection, "wanted", wanted):
            found = self._connection.sql(text, params=[*parameters, *blocks]).to_arrow_table()
        if not len(found) and columns:
            raise CohortError(self._nothing(checked))
        found = found.set_column(2, "mean", found["mean"].cast(pa.float64()))
        found = found.set_column(3, "pct", found["pct"].cast(pa.float64()))
        kept = ["axis_column", *(["grp"] if by else []), *(s for s in STATS if s in stats), "cells"]
        return found.select(kept).rename_columns([by if c == "grp" and by else c for c in kept])

    def iter_sums(self, groups: pa.Table, rows_per_chunk: int) -> Iterator[csr_array[Any, Any]]:
        """Yield sums of raw counts over groups of cells, int64, ``(rows_per_chunk, features of the axis)`` at a time.

        Parameters
        ----------
        groups
            ``block``, ``cell`` (as `cells` gives them) and ``row`` (int64): the group of each cell, counted from 0
            without a gap.
        rows_per_chunk
            Groups that are summed in one pass over their blocks; bounds memory.
        """
        import pyarrow.compute as pc

        size = (pc.max(groups["row"]).as_py() + 1) if len(groups) else 0
        for start in range(0, size, rows_per_chunk):
            end = min(size, start + rows_per_chunk)
            inside = pc.and_(pc.greater_equal(groups["row"], start), pc.less(groups["row"], end))
            with _registered(self._connection, "grouped", groups.filter(inside)):
                found = self._connection.sql(
                    "SELECT grouped.row AS place, counts.gene AS slot, CAST(sum(counts.count) AS BIGINT) AS count "
                    "FROM counts JOIN grouped USING (block, cell) WHERE counts.count > 0 GROUP BY ALL ORDER BY ALL"
                ).to_arrow_table()
            place = found["place"].to_numpy() - start
            yield _csr(place, found["slot"], found["count"], (end - start, len(self.axis)))

    def check_one_kind(self, cohort: Cohort | str | None, expand_term: ExpandTerm) -> None:
        """Refuse a cohort of cells and metacells, whose counts would be counted twice.

        Raises
        ------
        CohortError
            If it holds both.
        """
        known = self.cell_columns()
        if METACELL_OF not in known:
            return
        checked, where, parameters = self._where(cohort, known, expand_term)
        # The text holds checked column names and ? marks only.
        text = f"SELECT count(*), count({METACELL_OF}) FROM cells WHERE {where}"  # noqa: S608
        [(cells, metacells)] = self._connection.sql(text, params=parameters).fetchall()
        if 0 < metacells < cells:
            raise CohortError(
                f"{checked.expression!r} selects {cells - metacells:,} cells and {metacells:,} metacells, which "
                f"are sums of cells. Add AND {METACELL_OF} IS NULL, or AND {METACELL_OF} IS NOT NULL."
            )

    # ----------------------------------------------------------------- inside

    def _where(
        self, cohort: Cohort | str | None, known: Mapping[str, str], expand_term: ExpandTerm
    ) -> tuple[Cohort, str, list[Any]]:
        checked = cohort if isinstance(cohort, Cohort) else parse(cohort or "true", known)
        self._check_values(checked, known, expand_term)
        text, parameters = checked.to_sql(expand_term)
        return checked, text, parameters

    def _check_values(self, cohort: Cohort, known: Mapping[str, str], expand_term: ExpandTerm) -> None:
        """Refuse text that is neither a term nor a value of its column: ``!= 'typo'`` would select everything."""
        for test in tests(cohort.tree):
            if test.operator not in ("=", "!=", "IN"):
                continue
            texts = [c for c in test.constants if isinstance(c, str)]
            if test.column in ontology_columns() and f"{test.column}_id" in known:
                texts = [text for text in texts if expand_term(test.column, text) is None]
            absent = self._absent(test.column, texts, known)
            if not absent:
                continue
            raw = f"{test.column}_raw"
            near = self.nearest(test.column, absent[0])
            hint = f" Nearest values: {', '.join(map(repr, near))}." if near else ""
            if raw in known and not self._absent(raw, absent[:1], known):
                hint = f" It is a value of {raw!r}."
            raise CohortError(
                f"The column {test.column!r} has no value {absent[0]!r}.{hint} `tosg cohort true` shows what there is."
            )

    def _absent(self, column: str, values: Sequence[str], known: Mapping[str, str]) -> list[str]:
        """Those of ``values`` that no cell has, as given."""
        if not values:
            return []
        name = identifier(column, known)
        # The text holds one checked column name.
        text = f"""
            SELECT value FROM (SELECT unnest(?::VARCHAR[]) AS value)
            WHERE NOT EXISTS (SELECT 1 FROM cells WHERE {name} = value)
        """  # noqa: S608
        rows = self._connection.sql(text, params=[list(values)]).fetchall()
        absent = {row[0] for row in rows}
        return [value for value in values if value in absent]

    def _nothing(self, cohort: Cohort) -> str:
        """Say what was looked for, and which values of that column come nearest."""
        hints = []
        for test in tests(cohort.tree):
            texts = [c for c in test.constants if isinstance(c, str)]
            near = self.nearest(test.column, texts[0]) if texts else []
            if near:
                hints.append(f"{test.column} has {', '.join(map(repr, near))}")
        hint = f" Nearest values: {'; '.join(dict.fromkeys(hints))}." if hints else ""
        return f"No cell is selected by {cohort.expression!r}.{hint} `tosg cohort true` shows what there is."

    def _chunk(self, cell_ids: list[str], columns: list[int]) -> csr_array[Any, Any]:
        import pyarrow as pa

        rows = pa.table(
            {"cell_id": pa.array(cell_ids, pa.string()), "place": pa.array(range(len(cell_ids)), pa.int32())}
        )
        genes = pa.table(
            {"gene": pa.array(columns, pa.int32()), "slot": pa.array(range(len(columns)), pa.int32())}
        )
        with (
            _registered(self._connection, "wanted_cells", rows),
            _registered(self._connection, "wanted", genes),
        ):
            places = self._connection.sql(
                "SELECT place, block, cell FROM wanted_cells JOIN cells USING (cell_id)"
            ).to_arrow_table()
            if len(places) != len(cell_ids):
                held = {cell_ids[place] for place in places["place"].to_pylist()}
                missing = [c for c in cell_ids if c not in held]
                raise StoreError(
                    f"{len(missing)} of {len(cell_ids)} cells are not in the store, first {missing[:1]}. "
                    "Read the cells of this store version again."
                )
            in_blocks, blocks = _in_blocks(places["block"].unique().to_pylist())
            with _registered(self._connection, "places", places):
                found = self._connection.sql(
                    "SELECT place, slot, count FROM counts JOIN wanted USING (gene) "  # noqa: S608  # ? marks only
                    f"JOIN places USING (block, cell) WHERE count > 0 AND {in_blocks}",
                    params=blocks,
                ).to_arrow_table()
        return _csr(found["place"].to_numpy(), found["slot"], found["count"], (len(cell_ids), len(columns)))


def _csr(
    place: NDArray[np.integer[Any]], slot: pa.ChunkedArray, count: pa.ChunkedArray, shape: tuple[int, int]
) -> csr_array[Any, Any]:
    """Compressed rows, columns sorted, out of values in any order, each place and slot at most once."""
    import numpy as np
    from scipy.sparse import coo_array

    values = coo_array(
        (
            count.to_numpy(),
            (place.astype(np.int32, copy=False), slot.to_numpy().astype(np.int32, copy=False)),
        ),
        shape=shape,
    )
    values.has_canonical_format = True  # nothing to add up, so nothing to sort for it
    # DuckDB's ORDER BY instead of both took twice the processor time. A row has few values, mostly in order already.
    rows = values.tocsr()
    rows.sort_indices()
    return rows


def locked_connection(store: AbundanceStore, version: StoreVersion) -> duckdb.DuckDBPyConnection:
    """Connect to an in-memory DuckDB with the views ``cells`` and ``counts`` of a version; it can read nothing else.

    Raises
    ------
    StoreError
        If a file of the version is not there.
    """
    _check_present(store, version)
    return connection_to(store, store.cells_files(version), store.counts_files(version))


def connection_to(
    store: AbundanceStore,
    cells: Sequence[str],
    counts: Sequence[str] = (),
    memory_limit: str = MEMORY_LIMIT,
    spill: Path | None = None,
) -> duckdb.DuckDBPyConnection:
    """Connect to an in-memory DuckDB that can read these files of a store and nothing else.

    Parameters
    ----------
    cells, counts
        Files that become the views ``cells`` and, where there are any, ``counts``.
    spill
        Folder for what a sort cannot hold in memory.
    """
    import duckdb

    connection = duckdb.connect(":memory:", config={"memory_limit": memory_limit})
    if spill:
        connection.execute("SET temp_directory = ?", [str(spill)])
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    if not store.files.is_local:
        connection.register_filesystem(store.files.for_duckdb())
    connection.execute("SET allowed_paths = ?", [[*cells, *counts]])
    # Older files lack the obs columns that newer ones brought: null there.
    connection.read_parquet(list(cells), union_by_name=True).create_view("cells")
    if counts:
        connection.read_parquet(list(counts)).create_view("counts")
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


def _in_blocks(blocks: Sequence[int]) -> tuple[str, list[int]]:
    """A condition that lets a scan of counts skip what lies in other blocks, and its bound parameters."""
    return (f"block IN ({', '.join('?' * len(blocks))})" if blocks else "false"), list(blocks)


class _registered:
    """An Arrow table under a name, for the time of one statement."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
        self._connection, self._name, self._table = connection, name, table

    def __enter__(self) -> None:
        self._connection.register(self._name, self._table)

    def __exit__(self, *exc: object) -> None:
        self._connection.unregister(self._name)


def _distinct(what: str, values: Sequence[Any]) -> list[Any]:
    found = list(values)
    if len(set(found)) != len(found):
        twice = next(v for place, v in enumerate(found) if v in found[:place])
        raise StoreError(f"The {what} {twice!r} was asked for twice. Name each once.")
    return found


def _by_count(row: tuple[Any, int]) -> tuple[int, bool, str]:
    value, count = row
    return -count, value is None, str(value)
