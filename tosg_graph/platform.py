"""The Python face of the program: ``import tosg_graph as tg; p = tg.open()``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.progress import Progress, silent
from tosg_graph.settings import Settings, read_settings

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from tosg_graph.abundance import AbundanceReader
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.annotate import AnnotateReport
    from tosg_graph.bundle import Manifest
    from tosg_graph.dump import DumpReport
    from tosg_graph.embedding_import import ImportReport
    from tosg_graph.embeddings import EmbedReport
    from tosg_graph.gds import Run
    from tosg_graph.graph import Graph
    from tosg_graph.kgx_export import KgxReport
    from tosg_graph.obs import ObsMapping
    from tosg_graph.restore import RestoreReport
    from tosg_graph.summarize import Summary
    from tosg_graph.term_audit import Applied
    from tosg_graph.types import CellsLedger, LedgerLine, Selection, Source


def open(
    uri: str | None = None,
    user: str | None = None,
    password: str | None = None,
    progress: Progress = silent,
) -> Platform:
    """Open the platform: the local server (started when first needed), or the one at ``uri``.

    Parameters
    ----------
    uri, user, password
        A named server; without them the environment (``TOSG_NEO4J_URI`` ...) or the local server.
    progress
        Called as ``progress(description, done, total)`` during long work.
    """
    return Platform(read_settings(uri, user, password), progress)


class Platform:
    """The graph and the abundance store together. Use it as a context manager, or call `close`."""

    def __init__(self, settings: Settings, progress: Progress = silent) -> None:
        self.settings = settings
        self.progress = progress

    @cached_property
    def graph(self) -> Graph:
        """The connected graph; the first use starts the local server where none is named."""
        from tosg_graph.graph import Graph

        return Graph.connect(self.settings, progress=self.progress)

    @property
    def store(self) -> AbundanceStore:
        """The abundance store of this home."""
        from tosg_graph.abundance_store import AbundanceStore

        return AbundanceStore.open(self.settings.store)

    def reader(self) -> AbundanceReader:
        """Open the newest version of the abundance store for reading; close it when done."""
        from tosg_graph.abundance import AbundanceReader

        return AbundanceReader.open(self.store)

    def close(self) -> None:
        """Close the connection; the local server keeps running."""
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
            Choices that the sources ask for, such as ``{"min_score": "700"}``.
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
        tell = announce or (lambda _: None)
        found, left_out = [], []
        for key, loader in wanted.items():
            source, place = loader.SOURCE, known.folder_of(loader, path)
            tell(terms_line(source))
            if line := skipped(allowed, source, {*LOADERS, *wanted}):
                tell(f"{key}: skipped, {next(iter(line.reasons))}.")
                left_out.append(line)
                continue
            files = fetch(source, self.settings, path=place, progress=self.progress, newest=newest)
            found.append((loader, replace(source, files_read=describe(source, files)), files))
        if not found:
            raise LicenceError(f"None of {', '.join(wanted)} is allowed by {allowed}; nothing was loaded.")
        made = recipe(
            [Ingredient(source, chosen[source.key], known.mapping_sha256(of)) for of, source, _ in found],
            allowed,
        )
        if is_kept(self.settings.stated, made) and (lines := lines_of_same_load(self.graph, made)):
            return lines
        parsed = []
        for done, (loader, source, files) in enumerate(found):
            self.progress("Reading sources", done, len(found))
            tables = loader.parse(files, **chosen[source.key])
            parsed.append((source, filtered(allowed, source, tables)))
        self.progress("Reading sources", len(found), len(found))
        return load(self.graph, parsed, progress=self.progress, skipped=left_out, recipe=made)

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

        refuse_existing(Path(out))  # a server that is not running need not be started for that
        return export(
            self.graph,
            Path(out),
            query=query,
            parameters=parameters,
            json_lines=json_lines,
            progress=self.progress,
        )

    def dump(self, out: str | Path) -> DumpReport:
        """Write the whole graph as Parquet; see `tosg_graph.dump.dump`."""
        from tosg_graph.bundle import refuse_existing
        from tosg_graph.dump import dump

        refuse_existing(Path(out))
        return dump(self.graph, Path(out), self.progress)

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
        allow_unmapped: bool = False,
        kept_terms: bool = False,
    ) -> CellsLedger:
        """Add one ``.h5ad`` file with raw counts to the store; see `tosg_graph.cells.add`.

        With ``kept_terms`` the decisions that `apply_terms` kept count for this file too; those of ``mapping`` win.
        """
        from tosg_graph.cells import add
        from tosg_graph.decisions import read_kept
        from tosg_graph.obs import ObsMapping

        mapping = mapping or ObsMapping()
        return add(
            Path(path),
            self.graph,
            self.store,
            mapping=mapping.with_decisions(read_kept(self.store.folder)) if kept_terms else mapping,
            layer=layer,
            dataset=dataset,
            allow_unmapped=allow_unmapped,
            progress=self.progress,
        )

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

        return apply(self.store, Path(path), Vocabulary(self.graph), dataset=dataset)

    def cohort(self, expression: str = "true", by: Sequence[str] = ()) -> list[pa.Table]:
        """Count the cells that ``expression`` selects, by the values of each column of ``by``.

        Without ``by``: by dataset, and by each ontology column that has values.
        """
        from tosg_graph.harmonise import term_expander

        reader = self.reader()
        try:
            return reader.facets(expression, term_expander(self.graph), by)
        finally:
            reader.close()

    def summarize(
        self, cells: str = "true", *, by: str = "cell_type", min_fraction: float | None = None
    ) -> Summary:
        """Write EXPRESSED_IN into the graph, from the newest version of the store; see `tosg_graph.summarize`."""
        from tosg_graph.summarize import MIN_FRACTION, summarize

        with self.reader() as reader:
            return summarize(
                self.graph,
                reader,
                cells=cells,
                by=by,
                min_fraction=MIN_FRACTION if min_fraction is None else min_fraction,
                progress=self.progress,
            )

    # ----------------------------------------------------------------- questions

    def query(
        self,
        cypher: str,
        parameters: Mapping[str, object] | None = None,
        *,
        abundance: Iterable[str] | None = None,
        by: str | None = None,
        cells: str | None = None,
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
        by
            Column of the cells table to group by.
        cells
            Cohort expression; all cells without it.
        sources, license_allow
            Keep to these sources and licences; see `tosg_graph.query.run`.
        notice
            Called with one line where such a filter left rows out.

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
            return run(
                self.graph,
                cypher,
                dict(parameters or {}),
                abundance=stats,
                by=by,
                cells=cells,
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
        query: str,
        parameters: Mapping[str, object] | None = None,
        *,
        cells: str = "true",
        induce: bool = False,
        sources: Sequence[str] | None = None,
        license_allow: Sequence[str] | None = None,
    ) -> Picked:
        """Pick a subgraph by Cypher and a cohort by expression; nothing is written until `Picked.export`.

        ``sources`` and ``license_allow`` leave out what is not stated by an allowed source or licence.
        """
        from tosg_graph.licences import allowed_in, make_filter, restrict
        from tosg_graph.selection import select

        wanted = make_filter(sources, license_allow)
        allowed = allowed_in(self.graph, wanted) if wanted else None
        picked = select(self.graph, query, dict(parameters or {}), induce=induce)
        return Picked(self, restrict(picked, allowed) if allowed else picked, cells)


@dataclass(frozen=True)
class Picked:
    """A selected subgraph and the cohort that goes with it."""

    platform: Platform
    selection: Selection
    cells: str

    def export(
        self,
        out: str | Path,
        *,
        label: str,
        seed: int = 0,
        strict: bool = False,
        features: Sequence[str] = (),
    ) -> Manifest:
        """Write the bundle and return its manifest; see `tosg_graph.export.export`."""
        from tosg_graph.export import export

        p = self.platform
        return export(
            self.selection,
            p.graph,
            p.store,
            cells=self.cells,
            label=label,
            out=Path(out),
            seed=seed,
            strict=strict,
            features=features,
            progress=p.progress,
        )


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
    """One dict per known source, for `tosg load --list`: key, version, licence, size_mb, in_demo, title."""
    from loaders import LOADERS

    fields = ("key", "version", "licence", "size_mb", "in_demo", "title")
    return [{f: getattr(loader.SOURCE, f) for f in fields} for loader in LOADERS.values()]
