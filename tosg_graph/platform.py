"""The Python face of the program: ``import tosg_graph as tg; p = tg.open()``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.errors import SettingsError
from tosg_graph.progress import Progress, silent
from tosg_graph.settings import Settings, read_settings

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.annotate import AnnotateReport
    from tosg_graph.bundle import Manifest
    from tosg_graph.cell_terms import CohortDefinition
    from tosg_graph.cells_export import CellsExport
    from tosg_graph.cohort import Cohort
    from tosg_graph.compact import Compaction
    from tosg_graph.comparison import Arms, Compared
    from tosg_graph.correction import Plan
    from tosg_graph.dump import DumpReport
    from tosg_graph.edge_splits import EdgeTask
    from tosg_graph.embedding_import import ImportReport
    from tosg_graph.embeddings import EmbedReport
    from tosg_graph.engine import Engine
    from tosg_graph.gds import Run
    from tosg_graph.graph import Graph
    from tosg_graph.hops import Hops
    from tosg_graph.kgx_export import KgxReport
    from tosg_graph.licences import Allowed
    from tosg_graph.metacells import Metacells
    from tosg_graph.obs import ObsMapping
    from tosg_graph.pseudobulk import Pseudobulk
    from tosg_graph.restore import RestoreReport
    from tosg_graph.row_copy import RowCopy
    from tosg_graph.sampling import Sampling
    from tosg_graph.saved_cohorts import SavedCohort
    from tosg_graph.sentences import TextPlan
    from tosg_graph.split_plan import SplitPlan
    from tosg_graph.summarize import Summary
    from tosg_graph.term_audit import Applied
    from tosg_graph.types import CellsLedger, LedgerLine, Loader, Parsed, Selection, Source
    from tosg_graph.vacuum import Vacuumed
    from tosg_graph.verify import Verification

ENGINES = (LOCAL_ENGINE, RAY_ENGINE) = ("local", "ray")


# What takes long to import and is needed after a selection, never by it: two threads import none of it at a time.
_OF_AN_EXPORT = (
    "tosg_graph.export",
    "tosg_graph.abundance",
    "deltalake",
    "duckdb",
    "filelock",
    "scipy.sparse",
)


def open(
    uri: str | None = None,
    user: str | None = None,
    password: str | None = None,
    progress: Progress = silent,
    store_version: int | None = None,
    engine: str = LOCAL_ENGINE,
    address: str | None = None,
    store: str | Path | None = None,
) -> Platform:
    """Open the platform: the local server (started when first needed), or the one at ``uri``.

    Parameters
    ----------
    uri, user, password
        A named server; without them the environment (``TOSG_NEO4J_URI`` ...) or the local server.
    progress
        Called as ``progress(description, done, total)`` during long work.
    store_version
        Read the abundance store as it was at this version; it cannot be written then.
    engine, address
        ``ray`` has cells added, read and counted by tasks of the Ray cluster at ``address`` (``host:port``), by default
        ``TOSG_RAY_ADDRESS``, else one of this machine alone; see ``docs/many-machines.md``. Results are the same.
    store
        Folder or bucket of another abundance store than the user's own, as ``TOSG_STORE``; a new one is empty.

    Raises
    ------
    SettingsError
        If the engine is unknown, or an address is given to another than ``ray``.
    """
    settings = read_settings(uri, user, password, store)
    if engine not in ENGINES or (address and engine == LOCAL_ENGINE):
        raise SettingsError(
            f"engine={engine!r}, address={address!r}: choose engine='ray' to give an address."
        )
    return Platform(
        replace(settings, ray_address=address or settings.ray_address), progress, store_version, engine
    )


class Platform:
    """The graph and the abundance store together. Use it as a context manager, or call `close`."""

    def __init__(
        self,
        settings: Settings,
        progress: Progress = silent,
        store_version: int | None = None,
        engine: str = LOCAL_ENGINE,
    ) -> None:
        self.settings = settings
        self.progress = progress
        self.store_version = store_version
        self._engine_name = engine
        self._opened = ExitStack()

    @cached_property
    def engine(self) -> Engine:
        """Where work on cells is done; the first use connects to Ray where that was chosen."""
        from tosg_graph.engine import LOCAL

        if self._engine_name == LOCAL_ENGINE:
            return LOCAL
        from tosg_graph.ray_tasks import ray_engine

        return self._opened.enter_context(ray_engine(self.settings.ray_address))

    @cached_property
    def graph(self) -> Graph:
        """The connected graph; the first use starts the local server where none is named."""
        from tosg_graph.graph import Graph

        return Graph.connect(self.settings, progress=self.progress)

    @property
    def store(self) -> AbundanceStore:
        """The abundance store of this home."""
        from tosg_graph.abundance_store import AbundanceStore

        store = AbundanceStore.open(self.settings.store, self.settings.store_url)
        return store if self.store_version is None else store.at(self.store_version)

    def reader(self, version: int | None = None, layer: str = "gene") -> AbundanceReader:
        """Open the abundance store for reading, by default its newest version; close it when done.

        ``layer`` is ``gene`` or ``protein``: the surface proteins, and the cells in which they were measured.
        """
        from tosg_graph.abundance import AbundanceReader

        return AbundanceReader.open(
            self.store if version is None else self.store.at(version), engine=self.engine, layer=layer
        )

    def datasets(self) -> pa.Table:
        """List the datasets in the store, and how many genes and proteins each measured. Needs no server."""
        from tosg_graph.measured_features import with_counts

        store = self.store
        return with_counts(store.datasets(), store.measured())

    def close(self) -> None:
        """Close the connections; the local server keeps running."""
        self._opened.close()
        self.__dict__.pop("engine", None)
        if "graph" in self.__dict__:
            self.graph.close()
            del self.graph

    def __enter__(self) -> Platform:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ----------------------------------------------------------------- knowledge

    def load(
        self,
        *keys: str,
        path: Path | None = None,
        options: Mapping[str, str] | None = None,
        newest: bool = False,
        sources: Sequence[str] | None = None,
        license_allow: Sequence[str] | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> list[LedgerLine]:
        """Load knowledge sources and return the ledger.

        The same files with the same choices again are not even parsed, while the graph is as that load left it.

        Parameters
        ----------
        keys
            Keys; ``demo`` for all of the demo graph; ``all`` for every source whose files ``path`` holds; or the
            path of a mapping YAML, see ``docs/your-own-table.md``.
        path
            File or folder to read instead of fetching; several sources need a folder.
        options
            Choices that the sources ask for, such as ``{"min_score": "700"}``; ``key`` names the source of files in a
            format that anybody's have, so that a second file does not replace the first.
        newest
            Download again what lies at an address that always holds the newest release.
        sources, license_allow
            Load only what these sources (or resources that they carry) state, and what is under these licences; see
            `tosg_graph.licences.Filter`. Other rows are rejected; a source without any is not read.
        announce
            Called with one line per source, before its files are read: version, licence, size and terms.

        Raises
        ------
        LoadError
            If a key or an option is unknown, or ``path`` is one file and more than one source is named.
        LicenceError
            If the filter cannot be used, or nothing is allowed.
        """
        from loaders import LOADERS
        from tosg_graph import sources as known
        from tosg_graph.downloads import describe, fetch
        from tosg_graph.errors import LicenceError, LoadError
        from tosg_graph.licences import filtered, make_filter, skipped
        from tosg_graph.load import lines_of_same_load, load
        from tosg_graph.recipe import Ingredient, is_kept, recipe

        wanted = known.named(keys, path)
        allowed = make_filter(sources, license_allow)
        if path is not None and path.is_file() and len(wanted) > 1:
            raise LoadError(
                f"{path.name} belongs to one source, {len(wanted)} were named. Give a folder, or load them one by one."
            )
        chosen = _options({key: loader.SOURCE for key, loader in wanted.items()}, options or {})
        called: dict[str, Source] = {}
        for key, loader in wanted.items():
            taken = {*wanted, *(source.key for source in called.values())}
            called[key] = known.called(loader.SOURCE, chosen[key].get(known.KEY_OPTION, ""), taken)
        tell = announce or (lambda _: None)
        found: list[tuple[Loader, Source, dict[str, Path], dict[str, str]]] = []
        left_out = []
        for key, loader in wanted.items():
            source, place = called[key], known.folder_of(loader, path)
            if source is not loader.SOURCE:
                known.refuse_key_of_another(self.graph, source)
            tell(terms_line(source))
            if line := skipped(allowed, source, {*LOADERS, *wanted}):
                tell(f"{key}: skipped, {next(iter(line.reasons))}.")
                left_out.append(line)
                continue
            files = fetch(loader.SOURCE, self.settings, path=place, progress=self.progress, newest=newest)
            found.append((loader, replace(source, files_read=describe(source, files)), files, chosen[key]))
        if not found:
            raise LicenceError(f"None of {', '.join(wanted)} is allowed by {allowed}; nothing was loaded.")
        made = recipe(
            [Ingredient(source, given, known.mapping_sha256(of)) for of, source, _, given in found],
            allowed,
        )
        if is_kept(self.settings.stated, made) and (lines := lines_of_same_load(self.graph, made)):
            return lines

        def parsed() -> Iterator[tuple[Source, Parsed]]:
            for done, (loader, source, files, given) in enumerate(found):
                self.progress("Reading sources", done, len(found))
                yield source, filtered(allowed, source, loader.parse(files, **given))
            self.progress("Reading sources", len(found), len(found))

        return load(self.graph, parsed(), progress=self.progress, skipped=left_out, recipe=made)

    def counts(self) -> list[pa.Table]:
        """Count what the graph holds: entities by label, relationships by verb, genes that are connected.

        A gene is connected if it has any relationship; an entity with two labels counts for both.
        """
        from tosg_graph.graph_counts import by_label, by_verb, connected_genes

        return [by_label(self.graph), by_verb(self.graph), connected_genes(self.graph)]

    def releases(self) -> pa.Table:
        """List the releases of the graph, newest first: ``number``, ``id``, ``previous``, ``sources``."""
        from tosg_graph.release import releases

        return releases(self.graph)

    def annotate(self, ids: Sequence[str] | None = None, *, query: str | None = None) -> AnnotateReport:
        """Draw what the graph says around entities into their texts; of all, without ``ids`` and ``query``."""
        from tosg_graph.annotate import annotate

        if query is not None:
            ids = self.select(query).selection.nodes["id"].to_pylist()
        return annotate(self.graph, ids, progress=self.progress)

    def merges(self, release: str | None = None, *, ambiguous: bool = False) -> pa.Table:
        """List what joined another entity in the load of a release (the newest), or only what did not."""
        from tosg_graph.ledger import read_merges
        from tosg_graph.release import graph_release

        return read_merges(self.settings.ledgers, release or graph_release(self.graph), ambiguous)

    def embed(
        self,
        ids: Sequence[str] | None = None,
        *,
        query: str | None = None,
        limit: int | None = None,
        encoder: str | None = None,
        replace: bool = False,
    ) -> EmbedReport:
        """Embed the text of the entities named by ``ids`` or picked by ``query``; of all, without either.

        Parameters
        ----------
        encoder
            Name or folder of a sentence-transformers model; without it the one that the graph's vectors are of.
        replace
            Remove the vectors of another encoder first.
        """
        from tosg_graph.embeddings import embed

        return embed(
            self.graph,
            ids=ids,
            query=query,
            limit=limit,
            encoder=encoder,
            replace=replace,
            progress=self.progress,
        )

    def import_embeddings(
        self, folder: str | Path, *, encoder: str, text: str = "name", replace: bool = False
    ) -> ImportReport:
        """Take vectors that were made elsewhere; see `tosg_graph.embedding_import.import_embeddings`."""
        from tosg_graph.embedding_import import import_embeddings

        return import_embeddings(
            self.graph, Path(folder), encoder=encoder, text=text, replace=replace, progress=self.progress
        )

    def search(self, text: str, *, limit: int = 10, type: str | None = None) -> pa.Table:
        """Find entities by words and by meaning: columns ``type``, ``id``, ``name``, ``score``.

        `tosg_graph.search.did_you_mean` tells of a typo, `tosg_graph.search.note` of vectors that did not count.
        """
        from tosg_graph.search import search

        return search(self.graph, text, limit=limit, type=type)

    def neighbourhood(self, ids: Sequence[str], *, hops: int = 1, cap: int = 10) -> pa.Table:
        """Walk ``hops`` steps from entities; see `tosg_graph.search.neighbourhood`."""
        from tosg_graph.search import neighbourhood

        return neighbourhood(self.graph, ids, hops=hops, cap=cap)

    def gds(
        self,
        algorithm: str,
        projection: str,
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        top: int = 10,
    ) -> Run:
        """Run a graph algorithm and write its values to the nodes; see `tosg_graph.gds.run`."""
        from tosg_graph.gds import run

        return run(
            self.graph, algorithm, projection, name=name, options=options, top=top, progress=self.progress
        )

    def export_kgx(
        self,
        out: str | Path,
        *,
        query: str | None = None,
        parameters: Mapping[str, object] | None = None,
        json_lines: bool = False,
    ) -> KgxReport:
        """Write the graph, or what ``query`` picks, as KGX; see `tosg_graph.kgx_export.export`."""
        from tosg_graph.bundle import refuse_existing
        from tosg_graph.kgx_export import export

        folder = refuse_existing(Path(out))  # a server that is not running need not be started for that
        return export(
            self.graph,
            folder,
            query=query,
            parameters=parameters,
            json_lines=json_lines,
            progress=self.progress,
        )

    def dump(self, out: str | Path) -> DumpReport:
        """Write the whole graph as Parquet; see `tosg_graph.dump.dump`."""
        from tosg_graph.bundle import refuse_existing
        from tosg_graph.dump import dump

        folder = refuse_existing(Path(out))
        return dump(self.graph, folder, self.progress)

    def restore(self, folder: str | Path) -> RestoreReport:
        """Fill an empty database from what `dump` wrote; see `tosg_graph.restore.restore`."""
        from tosg_graph.restore import restore

        return restore(self.graph, Path(folder), self.progress)

    # ----------------------------------------------------------------- cells

    def add_cells(
        self,
        path: str | Path,
        *,
        mapping: ObsMapping | None = None,
        layer: str | None = None,
        dataset: str | None = None,
        options: Mapping[str, str] | None = None,
        allow_unmapped: bool = False,
        kept_terms: bool = False,
    ) -> CellsLedger:
        """Add one file or folder with raw counts to the store; see `tosg_graph.cells.add`.

        With ``kept_terms`` the decisions that `apply_terms` kept count for this file too; those of ``mapping`` win.
        """
        from tosg_graph.cells import add

        mapping = self._mapping(mapping, kept_terms)
        store = self._checked_store([Path(path)], mapping, layer, options)
        return add(
            Path(path),
            self.graph,
            store,
            mapping=mapping,
            layer=layer,
            dataset=dataset,
            options=options,
            allow_unmapped=allow_unmapped,
            progress=self.progress,
        )

    def add_cells_files(
        self,
        paths: Iterable[str | Path],
        *,
        mapping: ObsMapping | None = None,
        layer: str | None = None,
        datasets: Sequence[str] | None = None,
        options: Mapping[str, str] | None = None,
        allow_unmapped: bool = False,
        kept_terms: bool = False,
        processes: int | None = None,
    ) -> Iterator[CellsLedger]:
        """Add files one after the other, read in ``processes`` processes at a time (one per core, if None).

        Yields the ledger of each file when it is in the store; see `tosg_graph.cells.add_files`, and `add_cells` for
        ``kept_terms``.
        """
        from tosg_graph.cells import add_files

        files = [Path(path) for path in paths]
        mapping = self._mapping(mapping, kept_terms)
        store = self._checked_store(files, mapping, layer, options)
        return add_files(
            files,
            self.graph,
            store,
            mapping=mapping,
            layer=layer,
            datasets=datasets,
            options=options,
            allow_unmapped=allow_unmapped,
            processes=processes or os.cpu_count() or 1,
            engine=self.engine,
            progress=self.progress,
        )

    def _checked_store(
        self,
        paths: Sequence[Path],
        mapping: ObsMapping,
        layer: str | None,
        options: Mapping[str, str] | None,
    ) -> AbundanceStore:
        """Open the store; refuse it, and files, before the server is started for them.

        With a connection the add itself says the same of the files.
        """
        from tosg_graph.cells import check_files

        store = self.store
        if "graph" not in self.__dict__:
            check_files(paths, mapping=mapping, layer=layer, options=options)
        return store

    def _mapping(self, mapping: ObsMapping | None, kept_terms: bool) -> ObsMapping:
        from tosg_graph.decisions import read_kept
        from tosg_graph.obs import ObsMapping

        mapping = mapping or ObsMapping()
        return mapping.with_decisions(read_kept(self.store.folder)) if kept_terms else mapping

    def terms(
        self, columns: Sequence[str] = (), *, dataset: str | None = None, unmapped: bool = False
    ) -> pa.Table:
        """List what the values of the cells were mapped to; see `tosg_graph.term_audit.audit`. Needs no server."""
        from tosg_graph.term_audit import audit
        from tosg_graph.terms import Vocabulary

        with self.reader() as reader:
            return audit(reader, dataset=dataset, columns=columns, unmapped=unmapped, vocabulary=Vocabulary())

    def apply_terms(self, path: str | Path, *, dataset: str | None = None) -> Applied:
        """Map cells in the store as an edited audit decides; see `tosg_graph.term_audit.apply`."""
        from tosg_graph.term_audit import apply
        from tosg_graph.terms import Vocabulary

        return apply(self.store, Path(path), Vocabulary(lambda: self.graph), dataset=dataset)

    def define_cells(
        self,
        expression: str = "true",
        query: str | None = None,
        parameters: Mapping[str, object] | None = None,
        *,
        exact_terms: bool = False,
    ) -> CohortDefinition:
        """Say which cells are meant: by an expression, saved cohorts (``@NAME``) and a query that returns terms.

        Parameters
        ----------
        query, parameters
            Cypher, or the name of a canned question. The cells are those of the terms that it returns and of
            everything below them; with ``exact_terms`` of the returned terms alone.
        """
        from tosg_graph.saved_cohorts import define

        return define(self.settings.cohorts, expression, query, parameters, exact=exact_terms)

    def cohort(self, cells: str | CohortDefinition = "true", by: Sequence[str] = ()) -> list[pa.Table]:
        """Count the cells that ``cells`` selects, by the values of each column of ``by``.

        Without ``by``: by dataset, and by each ontology column that has values.
        """
        with self.reader() as reader:
            return reader.facets(self._checked(cells, reader), self._expand_term, by)

    def measured(self, cells: str | CohortDefinition = "true") -> pa.Table:
        """Say what the datasets of a cohort measured; see `tosg_graph.measured_features.of_cohort`.

        ``by_all`` and ``by_any`` count the features of the layer that all or any of the cohort's datasets measured.
        """
        from tosg_graph.measured_features import of_cohort

        with self.reader() as reader:
            groups = reader.measured_cells(self._checked(cells, reader), self._expand_term)
            store = self.store
            return of_cohort(groups, store.measured(reader.version), store.axis_rows(reader.version))

    def describe(self, cells: str | CohortDefinition = "true", by: str | None = None) -> dict[str, Any]:
        """Say of whom and of what a cohort is made, or the cells of each value of ``by`` beside each other.

        See `tosg_graph.diagnostics.describe`; `tosg_graph.diagnostics_page.write` makes a page of it.
        """
        from tosg_graph.cohort import single_valued
        from tosg_graph.diagnostics import columns, describe

        with self.reader() as reader:
            wanted = columns(known := reader.cell_columns(), by)
            if by is not None:
                single_valued(by, known)
            return describe(reader.cells(self._checked(cells, reader), self._expand_term, wanted), by)

    def save_cohort(
        self, name: str, cells: str | CohortDefinition = "true", *, replace: bool = False
    ) -> SavedCohort:
        """Give a cohort a name: ``@name`` in an expression then stands for it; see `tosg_graph.saved_cohorts`."""
        from tosg_graph.saved_cohorts import SavedCohort, save

        wanted = self.define_cells(cells) if isinstance(cells, str) else cells
        with self.reader() as reader:
            found = reader.cells(self._checked(wanted, reader), self._expand_term, ["cell_id"])
            cohort = SavedCohort(
                name,
                wanted.expression,
                wanted.query,
                dict(wanted.parameters),
                wanted.exact,
                len(found),
                reader.version.cells,
            )
        save(self.settings.cohorts, cohort, replace=replace)
        return cohort

    def saved_cohorts(self) -> list[SavedCohort]:
        """List the cohorts that have a name, by name."""
        from tosg_graph.saved_cohorts import names, read

        return [read(self.settings.cohorts, name) for name in names(self.settings.cohorts)]

    def remove_cohort(self, name: str) -> None:
        """Forget a saved cohort; the cells stay."""
        from tosg_graph.saved_cohorts import remove

        remove(self.settings.cohorts, name)

    def compare(
        self,
        cells: str | CohortDefinition,
        arms: Arms,
        *,
        sampling: Sampling | None = None,
        seed: int = 0,
    ) -> Compared:
        """Set cases and controls of a cohort beside each other; see `tosg_graph.comparison.compare`."""
        from tosg_graph.comparison import compare

        with self.reader() as reader:
            return compare(
                reader,
                self._checked(cells, reader),
                self._expand_term,
                self._written_out(arms),
                sampling=sampling,
                seed=seed,
            )

    def check_columns(self, cells: str | CohortDefinition, columns: Sequence[str] = ()) -> None:
        """Refuse an empty store, an expression that does not fit it and unknown columns; needs no server.

        Raises
        ------
        StoreError
            If the store holds no cells.
        CohortError
            If the expression is refused, or a column is not there.
        """
        from tosg_graph.cohort import identifier, parse

        wanted = self.define_cells(cells) if isinstance(cells, str) else cells
        with self.reader() as reader:
            known = reader.cell_columns()
        parse(wanted.expression, known)
        for column in columns:
            identifier(column, known)

    def _checked(self, cells: str | CohortDefinition, reader: AbundanceReader) -> Cohort:
        """Check a cohort against the columns of the store; its query runs now."""
        from tosg_graph.cell_terms import check

        wanted = self.define_cells(cells) if isinstance(cells, str) else cells
        graph = self.graph if wanted.query else None
        return check(wanted, reader.cell_columns(), graph)[0]

    def _written_out(self, arms: Arms) -> Arms:
        """Write out the saved cohorts that the expressions of the arms name."""
        from tosg_graph.errors import CohortError

        def written(expression: str) -> str:
            definition = self.define_cells(expression)
            if definition.query:
                name = definition.saved_as[0]
                raise CohortError(
                    f"The saved cohort {name!r} has a query, which no arm can have. Use it as the cohort."
                )
            return definition.expression

        return replace(arms, case=written(arms.case), control=written(arms.control) if arms.control else None)

    def summarize(
        self,
        cells: str | CohortDefinition = "true",
        *,
        by: str = "cell_type",
        min_fraction: float | None = None,
    ) -> Summary:
        """Write EXPRESSED_IN into the graph, from the newest version of the store; see `tosg_graph.summarize`."""
        from tosg_graph.summarize import MIN_FRACTION, summarize

        with self.reader() as reader:
            checked = self._checked(cells, reader)
            return summarize(
                self.graph,
                reader,
                cells=checked,
                by=by,
                min_fraction=MIN_FRACTION if min_fraction is None else min_fraction,
                progress=self.progress,
            )

    def compact_cells(self) -> Compaction:
        """Sort all cells of the store together, as a new version; see `tosg_graph.compact.compact`."""
        from tosg_graph.compact import compact

        return compact(self.store, self.progress)

    def copy_rows(self) -> RowCopy:
        """Write the counts of the store once more, cell by cell; see `tosg_graph.row_copy.copy_rows`."""
        from tosg_graph.row_copy import copy_rows

        return copy_rows(self.store, self.progress)

    def remove_rows(self) -> RowCopy:
        """Remove that copy; see `tosg_graph.row_copy.remove_rows`."""
        from tosg_graph.row_copy import remove_rows

        return remove_rows(self.store)

    def row_copy(self) -> RowCopy | None:
        """Say how much of the store has such a copy; None for an empty store."""
        from tosg_graph.row_copy import row_copy

        return row_copy(self.store)

    def vacuum_cells(
        self,
        *,
        keep_days: float | None = None,
        keep_versions: int | None = None,
        forget_missing: bool = False,
        dry_run: bool = False,
    ) -> Vacuumed:
        """Remove what no kept version of the store needs; see `tosg_graph.vacuum.vacuum`."""
        from tosg_graph.vacuum import vacuum

        return vacuum(
            self.store,
            self.settings.home,
            keep_days=keep_days,
            keep_versions=keep_versions,
            forget_missing=forget_missing,
            dry_run=dry_run,
            progress=self.progress,
        )

    def verify_cells(self) -> Verification:
        """Say what is wrong with the store, if anything; see `tosg_graph.verify.verify`."""
        from tosg_graph.verify import verify

        return verify(self.store, self.store_version, self.progress)

    def store_versions(self) -> pa.Table:
        """List the versions of the store, newest first; see `tosg_graph.store_versions.versions`."""
        from tosg_graph.store_versions import versions

        return versions(self.store, self.settings.home)

    def export_cells(
        self,
        out: str | Path,
        *,
        cells: str | CohortDefinition = "true",
        format: str = "h5ad",
        layer: str = "gene",
    ) -> CellsExport:
        """Write the raw counts of a cohort for other programs; see `tosg_graph.cells_export.export_cells`.

        With ``layer="protein"``: of its cells in which surface proteins were measured.
        """
        from tosg_graph.bundle import refuse_existing
        from tosg_graph.cells_export import export_cells

        path = refuse_existing(Path(out))
        with self.reader(layer=layer) as reader:
            return export_cells(
                reader,
                self._checked(cells, reader),
                self._expand_term,
                path,
                format_=format,
                progress=self.progress,
            )

    def pseudobulk(
        self,
        out: str | Path,
        *,
        cells: str | CohortDefinition = "true",
        by: Sequence[str] = ("cell_type",),
        min_cells: int = 10,
    ) -> Pseudobulk:
        """Write sums of raw counts per donor to ``.h5ad`` or ``.parquet``; see `tosg_graph.pseudobulk.pseudobulk`."""
        from tosg_graph.pseudobulk import check_name, pseudobulk, write

        path = check_name(Path(out))
        with self.reader() as reader:
            sums = pseudobulk(
                reader,
                self._checked(cells, reader),
                self._expand_term,
                by=by,
                min_cells=min_cells,
                progress=self.progress,
            )
            write(sums, path)
            return sums

    def metacells(
        self,
        cells: str | CohortDefinition = "true",
        *,
        size: int = 50,
        method: str = "kmeans",
        purity: str = "cell_type_raw",
        min_cells: int = 10,
        suffix: str = "_metacells",
        seed: int = 0,
    ) -> Metacells:
        """Add metacells of a cohort to the store; see `tosg_graph.metacells.add_metacells`."""
        from tosg_graph.metacells import add_metacells

        with self.reader() as reader:
            return add_metacells(
                reader,
                self.store,
                self._checked(cells, reader),
                self._expand_term,
                size=size,
                method=method,
                purity=purity,
                min_cells=min_cells,
                suffix=suffix,
                seed=seed,
                progress=self.progress,
            )

    def _expand_term(self, column: str, value: str) -> frozenset[str] | None:
        """Terms of the graph, which is connected where a cohort names one and not before."""
        if "_terms" not in self.__dict__:
            from tosg_graph.harmonise import term_expander

            self._terms = term_expander(self.graph)
        return self._terms(column, value)

    # ----------------------------------------------------------------- questions

    def query(
        self,
        cypher: str,
        parameters: Mapping[str, object] | None = None,
        *,
        abundance: Iterable[str] | None = None,
        layer: str = "counts",
        by: str | None = None,
        cells: str | CohortDefinition | None = None,
        limit: int = 10_000,
        timeout: float = 60.0,
        sources: Sequence[str] | None = None,
        license_allow: Sequence[str] | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> pa.Table:
        """Answer a Cypher question, or a canned one by name, as an Arrow table.

        Parameters
        ----------
        abundance
            ``mean`` and/or ``pct``: join each returned gene with its abundance, one row per group of ``by``.
            ``mean`` is in raw counts per cell, ``pct`` is the percentage of cells with a count above zero.
        layer
            What ``mean`` is of: ``counts``, ``cp10k`` or ``log1p``; see `tosg_graph.normalise`.
        by
            Column of the cells table to group by.
        cells
            Cohort expression; all cells without it.
        sources, license_allow
            Keep to these sources and licences; see `tosg_graph.query.run`.
        notice
            Called with one line where such a filter left rows out, or where the graph is empty.

        Raises
        ------
        QueryError
            If the query writes, is refused or fails.
        LicenceError
            If the filter cannot be used.
        CohortError
            If ``cells`` or ``by`` cannot be used.
        """
        from tosg_graph.licences import make_filter
        from tosg_graph.query import run

        stats = list(abundance) if abundance else None
        reader = self.reader() if stats else None
        try:
            checked = self._checked(cells, reader) if cells and reader else _expression(cells)
            return run(
                self.graph,
                cypher,
                dict(parameters or {}),
                abundance=stats,
                layer=layer,
                by=by,
                cells=checked,
                reader=reader,
                limit=limit,
                timeout=timeout,
                allowed=make_filter(sources, license_allow),
                notice=notice,
            )
        finally:
            if reader is not None:
                reader.close()

    def select(
        self,
        query: str | Sequence[str] | Mapping[str, str],
        parameters: Mapping[str, object] | None = None,
        *,
        cells: str | CohortDefinition = "true",
        induce: bool | Sequence[str] = False,
        hops: Hops | int | None = None,
        sources: Sequence[str] | None = None,
        license_allow: Sequence[str] | None = None,
        cache: bool = True,
    ) -> Picked:
        """Pick a subgraph by Cypher and a cohort; nothing is written until `Picked.export`.

        ``query``, ``parameters``, ``induce``, ``hops`` and ``cache`` are those of `tosg_graph.selection.select`.
        ``sources`` and ``license_allow`` leave out what is not stated by an allowed source or licence.
        """
        from tosg_graph.hops import Hops
        from tosg_graph.licences import allowed_in, make_filter, restrict
        from tosg_graph.selection import select
        from tosg_graph.threads import import_ahead

        wanted = make_filter(sources, license_allow)
        import_ahead(*_OF_AN_EXPORT)  # while the server works
        definition = self.define_cells(cells) if isinstance(cells, str) else cells
        allowed = allowed_in(self.graph, wanted) if wanted else None
        grown = Hops(hops) if isinstance(hops, int) else hops
        picked = select(
            self.graph, query, parameters, induce=induce, hops=grown, allowed=allowed, cache=cache
        )
        return Picked(self, restrict(picked, allowed) if allowed else picked, definition, allowed)


@dataclass(frozen=True)
class Picked:
    """A selected subgraph and the cohort that goes with it."""

    platform: Platform
    selection: Selection
    cells: CohortDefinition
    allowed: Allowed | None = None  # by a filter of sources and licences

    def export(
        self,
        out: str | Path,
        *,
        label: str,
        seed: int = 0,
        strict: bool = False,
        bins: Sequence[float] = (),
        features: Sequence[str] = (),
        arms: Arms | None = None,
        sampling: Sampling | None = None,
        split: SplitPlan | None = None,
        correct: Plan | None = None,
        proteins: bool = False,
        measured_by: str = "any",
        level: str | Sequence[str] = "gene",
        text: TextPlan | None = None,
        edge_task: EdgeTask | None = None,
        abundance: bool = True,
    ) -> Manifest:
        """Write the bundle and return its manifest; see `tosg_graph.export.export`.

        ``level`` is as of ``--level``: ``"transcript=share,protein"``.
        """
        from tosg_graph.export import export
        from tosg_graph.levels import parse_levels

        p = self.platform
        levels = parse_levels([level] if isinstance(level, str) else level)
        return export(
            self.selection,
            p.graph,
            p.store,
            cells=self.cells,
            label=label,
            out=Path(out),
            seed=seed,
            strict=strict,
            bins=bins,
            features=features,
            arms=p._written_out(arms) if arms else None,
            sampling=sampling,
            split=split,
            correct=correct,
            proteins=proteins,
            measured_by=measured_by,
            levels=replace(levels, allowed=self.allowed) if levels else None,
            engine=p.engine,
            text=text,
            edge_task=edge_task,
            abundance=abundance,
            progress=p.progress,
        )


def _expression(cells: str | CohortDefinition | None) -> str | None:
    return cells if cells is None or isinstance(cells, str) else cells.expression


def _options(sources: Mapping[str, Source], given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Options of each source, with defaults; one that no source has, or that is missing, is an error."""
    from tosg_graph.errors import LoadError

    known = {option.name for source in sources.values() for option in source.options}
    for name in given:
        if name not in known:
            takes = f"they take {', '.join(sorted(known))}" if known else "there are none"
            raise LoadError(f"No option of {', '.join(sources)} is called {name!r}; {takes}.")
    found: dict[str, dict[str, str]] = {}
    for key, source in sources.items():
        found[key] = {}
        for option in source.options:
            value = given.get(option.name, option.default)
            if value is None:
                raise LoadError(
                    f"{key} needs {option.name}: {option.meaning}. Add --option {option.name}=VALUE."
                )
            found[key][option.name] = value
    return found


def terms_line(source: Source) -> str:
    """What a person should know of a source before its files are read, in one line."""
    size = f", {source.size_mb:g} MB" if source.size_mb else ""
    terms = f" {source.terms}" if source.terms else ""
    return f"{source.key}: {source.title}, version {source.version}, licence {source.licence}{size}.{terms}"


def source_table() -> list[dict[str, Any]]:
    """One dict per known source, for `tosg load --list`: key, version, licence, size_mb, in_demo, options, title."""
    from loaders import LOADERS

    fields = ("key", "version", "licence", "size_mb", "in_demo", "options", "title")
    rows = [{f: getattr(loader.SOURCE, f) for f in fields} for loader in LOADERS.values()]
    return [{**row, "options": ", ".join(option.name for option in row["options"])} for row in rows]
