"""Reads of the abundance store: one layer of one store version behind one locked-down DuckDB connection.

Mean abundance is in raw counts per cell, or in a layer made of them; ``pct`` is the percentage of cells with a count
above zero. Cells without any count of a gene are part of both.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.axis_table import axis_of
from tosg_graph.cell_rows import CountsBlocks
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
from tosg_graph.copied_rows import CopiedRows
from tosg_graph.engine import LOCAL, Engine
from tosg_graph.errors import CohortError, StoreError
from tosg_graph.layers import GENE, MEASURED_LAYERS, PROTEIN
from tosg_graph.measured_features import MeasuredFeatures, measured
from tosg_graph.normalise import COUNTS, LAYERS, layer_sql
from tosg_graph.row_copy import copies_of
from tosg_graph.store_connection import locked_connection
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

_NEAREST = 5
_FACET_VALUES = 30
_FEW_GENES = 0.05  # share of the axis up to which a join is faster than decoding all that the blocks hold
_FEW_COPIED, _CELLS_PER_COLUMN = 32, 64  # genes up to which a join is faster than the copy cell by cell
_FEW_CELLS = 2048  # one batch of DuckDB's
CHUNKS_HELD = 16  # matrices that other machines may have ready before they are asked for


class AbundanceReader:
    """Answers over one store version. Not for several threads or forked processes: open one in each.

    What is read is asked of each shard by the same function, wherever the engine runs it. A reader that is pickled with
    such a function is opened anew in the other process.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: AbundanceStore,
        version: StoreVersion,
        axis: pa.Table,
        layer: str,
        engine: Engine,
    ) -> None:
        self._connection = connection
        self._store = store
        self._engine = engine
        self._measured = store.measured(version)
        self._counts_files = store.log.file_names("counts", version.counts)
        self._blocks = CountsBlocks(store.files, self._counts_files)
        self.axis = axis
        self.version = version
        self.layer = layer

    @classmethod
    def open(
        cls,
        store: AbundanceStore,
        version: StoreVersion | None = None,
        engine: Engine = LOCAL,
        threads: int | None = None,
        layer: str = GENE,
    ) -> AbundanceReader:
        """Open the store at ``version``, by default its newest, for one layer of what was measured.

        A reader of ``protein`` sees the cells in which proteins were measured, and no others.

        Parameters
        ----------
        engine
            Where counts are read and cells are counted.
        threads
            Of DuckDB; one per core by default.

        Raises
        ------
        StoreError
            If nothing was ever added to the store, or no proteins.
        EngineError
            If a machine of the engine cannot read it.
        """
        version = version or store.version()
        if version is None:
            raise StoreError("The store holds no cells yet. Add some: tosg cells add FILE.h5ad")
        if layer not in MEASURED_LAYERS:
            raise StoreError(f"{layer!r} is no layer of the store. It has {', '.join(MEASURED_LAYERS)}.")
        rows = store.axis_rows(version)
        axis, has_proteins = axis_of(rows, layer), len(axis_of(rows, PROTEIN)) > 0
        if layer == PROTEIN and not has_proteins:
            raise StoreError(
                f"Version {version.cells} of the store has no proteins. `tosg cells add` takes those of CITE-seq files."
            )
        if store.files.is_local:
            engine.check([Path(path) for path in store.cells_files(version)[:1]])
        connection = locked_connection(store, version, layer if has_proteins else None, threads)
        return cls(connection, store, version, axis, layer, engine)

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened_here, (self._store, self.version, self.layer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> AbundanceReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def counts_files(self) -> Sequence[str]:
        """Names of the files of counts of this version, sorted; each holds the sha256 of its bytes."""
        return self._blocks.names

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
        names = list(by) or self._facet_columns(known, where, parameters)
        shards = [(blocks, names, where, parameters) for blocks in self._all_blocks()]
        tables = []
        for name, *parts in zip(names, *self._engine.map(self._value_counts, shards), strict=True):
            rows = sorted(self._added_up(parts), key=_by_count)
            if not rows:
                raise CohortError(self._nothing(checked))
            if by or name == "dataset" or 2 <= len(rows) <= _FACET_VALUES:
                values, counts = zip(*rows, strict=True)
                pct = [100 * n / sum(counts) for n in counts]
                tables.append(pa.table({name: list(values), "cells": list(counts), "pct": pct}))
        return tables

    def _all_blocks(self) -> list[list[int] | None]:
        """The blocks of each shard; None for all where there is one shard."""
        if not self._engine.elsewhere:
            return [None]
        rows = self._connection.execute("SELECT DISTINCT block FROM cells").fetchall()
        return [*self._engine.split([row[0] for row in rows])]

    def _value_counts(
        self, blocks: list[int] | None, names: list[str], where: str, parameters: list[Any]
    ) -> list[pa.Table]:
        """Per column: ``value`` and ``cells`` of a cohort's cells in some blocks."""
        known = self.cell_columns()
        in_blocks, numbers = _in_blocks(blocks)
        # The text holds checked column names and ? marks only.
        texts = [
            f"SELECT {identifier(name, known)} AS value, count(*) AS cells FROM cells "  # noqa: S608
            f"WHERE ({where}) AND {in_blocks} GROUP BY ALL"
            for name in names
        ]
        given = [*parameters, *numbers]
        return [self._connection.sql(text, params=given).to_arrow_table() for text in texts]

    def _added_up(self, parts: Sequence[pa.Table]) -> list[tuple[Any, int]]:
        """Value and cells, of the counts of all shards."""
        import pyarrow as pa

        with _registered(self._connection, "parts", pa.concat_tables(parts)):
            text = "SELECT value, CAST(sum(cells) AS BIGINT) FROM parts GROUP BY ALL"
            return self._connection.execute(text).fetchall()

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

    def axis_columns(self, ids: Sequence[str]) -> dict[str, int]:
        """Id of a gene (in the layer of proteins, of a protein) -> axis column, of those that were ever measured."""
        wanted = set(ids)
        named = self.axis["protein_id" if self.layer == PROTEIN else "gene_id"].to_pylist()
        pairs = zip(named, self.axis["column"].to_pylist(), strict=True)
        return {one: column for one, column in pairs if one in wanted}

    def measured_cells(self, cohort: Cohort | str | None, expand_term: ExpandTerm) -> pa.Table:
        """Count a cohort's cells by dataset and layer: ``dataset``, ``gene`` (all), ``protein`` (those measured)."""
        known = self.cell_columns()
        _, where, parameters = self._where(cohort, known, expand_term)
        proteins = "count(n_protein_counts)" if "n_protein_counts" in known else "0"
        # The text holds checked column names and ? marks only.
        text = f"SELECT dataset, count(*) AS gene, {proteins} AS protein FROM cells WHERE {where} GROUP BY 1 ORDER BY 1"  # noqa: S608
        return self._connection.sql(text, params=parameters).to_arrow_table()

    def measured(self, datasets: Sequence[str], axis_columns: Sequence[int]) -> MeasuredFeatures:
        """Say which columns each of some datasets measured; what it did not is unknown in its cells, not zero."""
        return measured(self._measured, datasets, axis_columns, self.layer)

    def csr(self, cells: Sequence[str] | pa.Table, axis_columns: Sequence[int]) -> csr_array[Any, Any]:
        """Raw counts, int32, shape ``(len(cells), len(axis_columns))``; rows and columns as given.

        Parameters
        ----------
        cells
            Ids of cells; or a table with ``block`` and ``cell`` as `cells` of this reader gives them, which saves the
            look-up of the ids.
        axis_columns
            Columns of the gene axis.

        Raises
        ------
        StoreError
            If a cell is not in the store, or a cell or a column is given twice.
        """
        return next(self.iter_csr(cells, axis_columns, rows_per_chunk=max(1, len(cells))))

    def iter_csr(
        self, cells: Sequence[str] | pa.Table, axis_columns: Sequence[int], rows_per_chunk: int
    ) -> Iterator[csr_array[Any, Any]]:
        """Yield `csr` in chunks of ``rows_per_chunk``, which bounds memory; no cells yield one empty chunk."""
        columns = _distinct("axis column", axis_columns)
        positions = self._positions(cells)
        block, cell = (positions[name].to_numpy() for name in ("block", "cell"))
        starts = range(0, max(1, len(positions)), rows_per_chunk)
        shards = (
            (block[start : start + rows_per_chunk], cell[start : start + rows_per_chunk], columns)
            for start in starts
        )
        yield from self._engine.map(self._chunk, shards, at_most=CHUNKS_HELD)

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
        if layer != COUNTS and self.layer == PROTEIN:
            raise CohortError(
                f"{layer!r} is made by the total of genes. Proteins are summarised as {COUNTS}."
            )
        columns = _distinct("axis column", axis_columns)
        known = self.cell_columns()
        group = single_valued(by, known) if by else "NULL"
        self.check_one_kind(cohort, expand_term)
        checked, where, parameters = self._where(cohort, known, expand_term)
        # The text holds checked column names and ? marks only.
        touched = self._connection.sql(f"SELECT DISTINCT block FROM cells WHERE {where}", params=parameters)  # noqa: S608
        touched_blocks = [row[0] for row in touched.fetchall()]
        wanted = pa.table(
            {"gene": pa.array(columns, pa.int32()), "place": pa.array(range(len(columns)), pa.int64())}
        )
        shards = (
            (blocks, wanted, group, where, parameters, layer) for blocks in self._engine.split(touched_blocks)
        )
        parts = pa.concat_tables(self._engine.map(self._totals, shards))
        with _registered(self._connection, "parts", parts):
            found = self._connection.sql("""
                SELECT gene AS axis_column, grp, sum(total) / sum(cells) AS mean,
                       100.0 * sum(hits) / sum(cells) AS pct, CAST(sum(cells) AS BIGINT) AS cells
                FROM parts GROUP BY place, gene, grp ORDER BY place, grp NULLS LAST
            """).to_arrow_table()
        if not len(found) and columns:
            raise CohortError(self._nothing(checked))
        found = found.set_column(2, "mean", found["mean"].cast(pa.float64()))
        found = found.set_column(3, "pct", found["pct"].cast(pa.float64()))
        kept = ["axis_column", *(["grp"] if by else []), *(s for s in STATS if s in stats), "cells"]
        return found.select(kept).rename_columns([by if c == "grp" and by else c for c in kept])

    def _totals(
        self,
        blocks: list[int],
        wanted: pa.Table,
        group: str,
        where: str,
        parameters: list[Any],
        layer: str,
    ) -> pa.Table:
        """Sum genes over the cells of a cohort in some blocks: one row per gene and group.

        Returns
        -------
        Table
            ``place``, ``gene`` (as in ``wanted``), ``grp``, ``total`` (of the layer; whole for counts), ``hits`` (cells
            with a count), ``cells`` (of the group).
        """
        in_blocks, numbers = _in_blocks(blocks)
        total = "BIGINT" if layer == COUNTS else "DOUBLE"
        # The text holds checked column names and ? marks only.
        text = f"""
            WITH chosen AS (
                SELECT block, cell, n_counts, {group} AS grp FROM cells WHERE ({where}) AND {in_blocks}
            ),
            groups AS (SELECT grp, count(*) AS cells FROM chosen GROUP BY grp),
            sums AS (
                SELECT counts.gene, chosen.grp, sum({layer_sql(layer)}) AS total,
                       count(*) FILTER (counts.count > 0) AS hits
                FROM counts JOIN wanted USING (gene) JOIN chosen USING (block, cell)
                WHERE {in_blocks}
                GROUP BY counts.gene, chosen.grp
            )
            SELECT wanted.place, wanted.gene, groups.grp, CAST(coalesce(sums.total, 0) AS {total}) AS total,
                   coalesce(sums.hits, 0) AS hits, groups.cells
            FROM wanted CROSS JOIN groups
            LEFT JOIN sums ON sums.gene = wanted.gene AND sums.grp IS NOT DISTINCT FROM groups.grp
            ORDER BY wanted.place, groups.grp
        """  # noqa: S608
        with _registered(self._connection, "wanted", wanted):
            return self._connection.sql(text, params=[*parameters, *numbers, *numbers]).to_arrow_table()

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
        import pyarrow as pa
        import pyarrow.compute as pc

        size = (pc.max(groups["row"]).as_py() + 1) if len(groups) else 0
        for start in range(0, size, rows_per_chunk):
            end = min(size, start + rows_per_chunk)
            inside = pc.and_(pc.greater_equal(groups["row"], start), pc.less(groups["row"], end))
            grouped = groups.filter(inside)
            blocks = self._engine.split(pc.unique(grouped["block"]).to_pylist())
            parts = (
                grouped.filter(pc.is_in(grouped["block"], pa.array(some, pa.int32()))) for some in blocks
            )
            shards = ((part, start, end - start) for part in parts)
            yield reduce(add, self._engine.map(self._sums, shards, at_most=CHUNKS_HELD))

    def _sums(self, grouped: pa.Table, first: int, rows: int) -> csr_array[Any, Any]:
        """Sums of raw counts over the groups ``first`` .. ``first + rows - 1``, of some of their cells."""
        with _registered(self._connection, "grouped", grouped):
            found = self._connection.sql(
                "SELECT grouped.row AS place, counts.gene AS slot, CAST(sum(counts.count) AS BIGINT) AS count "
                "FROM counts JOIN grouped USING (block, cell) WHERE counts.count > 0 GROUP BY ALL ORDER BY ALL"
            ).to_arrow_table()
        place = found["place"].to_numpy() - first
        return _csr(place, found["slot"], found["count"], (rows, len(self.axis)))

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
                f"The column {test.column!r} has no value {absent[0]!r}{self._among}.{hint} `tosg cohort true` shows "
                "what there is."
            )

    @property
    def _among(self) -> str:
        return " among the cells with proteins" if self.layer == PROTEIN else ""

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
        selected = f"No cell is selected by {cohort.expression!r}{self._among}."
        return f"{selected}{hint} `tosg cohort true` shows what there is."

    def places(self, cell_ids: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Block of each cell, and its position in the block; `csr` takes them instead of ids.

        Raises
        ------
        StoreError
            If a cell is not in the store, or given twice.
        """
        found = self._positions(cell_ids)
        return found["block"].to_numpy(), found["cell"].to_numpy()

    def _positions(self, cells: Sequence[str] | pa.Table) -> pa.Table:
        """``block`` and ``cell`` of each cell, int32, in the order given."""
        import pyarrow as pa

        if isinstance(cells, pa.Table):
            found = cells.select(["block", "cell"])
            if len(found.group_by(found.column_names).aggregate([])) != len(found):
                raise StoreError("A cell was asked for twice. Name each once.")
            return found
        wanted = pa.table(
            {
                "cell_id": pa.array(_distinct("cell", cells), pa.string()),
                "place": pa.array(range(len(cells)), pa.int32()),
            }
        )
        with _registered(self._connection, "wanted_cells", wanted):
            found = self._connection.sql(
                "SELECT place, block, cell FROM wanted_cells JOIN cells USING (cell_id) ORDER BY place"
            ).to_arrow_table()
        if len(found) != len(cells):
            held = set(found["place"].to_pylist())
            missing = [cell for place, cell in enumerate(cells) if place not in held]
            raise StoreError(
                f"{len(missing)} of {len(cells)} cells are not in the store, first {missing[:1]}. "
                "Read the cells of this store version again."
            )
        return found.select(["block", "cell"])

    @cached_property
    def _copied(self) -> CopiedRows:
        return CopiedRows(self._store.files, copies_of(self._store, self._counts_files), self.layer)

    def _chunk(
        self, block: NDArray[np.int32], cell: NDArray[np.int32], columns: list[int]
    ) -> csr_array[Any, Any]:
        """Rows out of the copy of their blocks, where there is one, and out of the counts."""
        import numpy as np
        from scipy.sparse import vstack

        copied = self._copied.holds(block) & self._are_many(columns, block)
        if not copied.any():
            return self._from_counts(block, cell, columns)
        here = self._copied.rows(block[copied], cell[copied], columns, len(self.axis))
        if copied.all():
            return here
        both = vstack([here, self._from_counts(block[~copied], cell[~copied], columns)], format="csr")
        order = np.concatenate([np.flatnonzero(copied), np.flatnonzero(~copied)])
        found: csr_array[Any, Any] = both[np.argsort(order)]
        return found

    def _are_many(self, columns: list[int], block: NDArray[np.int32]) -> bool:
        """Whether decoding a block for these columns takes longer than going over the rows of the cells in it.

        Measured from 256 to 100,000 cells; a cell has few proteins, which it takes no time to go over.
        """
        import numpy as np

        cells_of_a_block = len(block) / max(1, len(np.unique(block)))
        return self.layer == PROTEIN or len(columns) >= _FEW_COPIED + cells_of_a_block / _CELLS_PER_COLUMN

    def _from_counts(
        self, block: NDArray[np.int32], cell: NDArray[np.int32], columns: list[int]
    ) -> csr_array[Any, Any]:
        if self.layer == PROTEIN or len(columns) < _FEW_GENES * len(self.axis):
            return self._joined(block, cell, columns)
        return self._blocks.rows(block, cell, columns, len(self.axis))

    def _joined(
        self, block: NDArray[np.int32], cell: NDArray[np.int32], columns: list[int]
    ) -> csr_array[Any, Any]:
        """Rows by SQL."""
        import pyarrow as pa

        places = pa.table({"block": block, "cell": cell, "place": pa.array(range(len(cell)), pa.int32())})
        genes = pa.table(
            {"gene": pa.array(columns, pa.int32()), "slot": pa.array(range(len(columns)), pa.int32())}
        )
        in_blocks, blocks = _in_blocks(places["block"].unique().to_pylist())
        with (
            _registered(self._connection, "places", places),
            _registered(self._connection, "wanted", genes),
        ):
            found = self._connection.sql(
                "SELECT place, slot, count FROM counts JOIN wanted USING (gene) "  # noqa: S608  # ? marks only
                f"JOIN places USING (block, cell) WHERE count > 0 AND {in_blocks}",
                params=blocks,
            ).to_arrow_table()
        return _csr(found["place"].to_numpy(), found["slot"], found["count"], (len(places), len(columns)))


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


@lru_cache(maxsize=1)
def _opened_here(store: AbundanceStore, version: StoreVersion, layer: str) -> AbundanceReader:
    """A reader that came from another process, opened once in this one; there is a task per core beside it."""
    import platform

    try:
        return AbundanceReader.open(store, version, threads=1, layer=layer)
    except OSError as error:
        raise StoreError(
            f"{store} cannot be read on {platform.node()}: {' '.join(str(error).split())}. Give the processes of the "
            "cluster the store's credentials in their environment."
        ) from error


def _in_blocks(blocks: Sequence[int] | None) -> tuple[str, list[int]]:
    """A condition that lets a scan skip what lies in other blocks, and its bound parameters; None for all blocks."""
    if blocks is None:
        return "true", []
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
