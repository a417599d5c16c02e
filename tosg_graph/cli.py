"""The commands: options in, one call into the program, a table or one line out. No logic lives here."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tosg_graph.errors import TosgError

if TYPE_CHECKING:
    from tosg_graph.platform import Platform
    from tosg_graph.settings import Settings

INTERRUPTED = 130  # what shells use for a process ended by Ctrl-C
AGAIN_AFTER = 0.05  # seconds; enough for a finalizer to be left


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


server_options = _options(
    click.option(
        "--uri", metavar="URI", help="Neo4j address [env TOSG_NEO4J_URI; default: the local server]."
    ),
    click.option("--user", metavar="NAME", help="User at --uri [env TOSG_NEO4J_USER; default: neo4j]."),
    click.option("--password", metavar="TEXT", help="Password at --uri; better in env TOSG_NEO4J_PASSWORD."),
    click.option("--debug", is_flag=True, help="Show the whole trace of an error."),
)
parameter_option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A Cypher $parameter; numbers, true/false and JSON lists are recognised. Repeatable.",
)
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv", "parquet"]),
    default="table",
    show_default=True,
    help="How rows are written; parquet needs --out.",
)


@contextmanager
def _every_interrupt_counts() -> Iterator[None]:
    """Press Ctrl-C again where Python dropped it: an exception inside a finalizer is printed and forgotten."""
    outer = sys.unraisablehook
    main_thread = threading.main_thread().ident

    def press() -> None:
        if main_thread:  # the thread itself: only a real signal ends a wait on the network
            signal.pthread_kill(main_thread, signal.SIGINT)

    def repeat(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_AFTER, press).start()
        else:
            outer(unraisable)

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = outer


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Turn known errors into one line and exit code 1, Ctrl-C into one line and 130."""
    try:
        with _every_interrupt_counts():
            yield
    except TosgError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        if debug:
            raise
        click.echo(
            "Interrupted. What was complete is kept, nothing half-written counts; the same command goes on.",
            err=True,
        )
        sys.exit(INTERRUPTED)


@contextmanager
def _platform(uri: str | None, user: str | None, password: str | None, debug: bool) -> Iterator[Platform]:
    from tosg_graph.platform import open as open_platform
    from tosg_graph.progress import progress

    with _errors(debug), progress() as show, open_platform(uri, user, password, show) as platform:
        yield platform


def _settings(uri: str | None, user: str | None, password: str | None) -> Settings:
    from tosg_graph.settings import read_settings

    return read_settings(uri, user, password)


def _parameters(pairs: tuple[str, ...]) -> dict[str, object]:
    import json

    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--param {pair!r} is not NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tosg-graph")
def main() -> None:
    """Text-omic signaling graphs: knowledge in Neo4j, cells in Parquet, tensors from a Cypher query.

    Start with `tosg demo`.
    """


# --------------------------------------------------------------------------- server


@main.group()
def db() -> None:
    """Start, stop and look at the graph server."""


@db.command("start")
@server_options
def db_start(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Start the local server, or check the one that is named, and say where it is."""
    from tosg_graph import show
    from tosg_graph.progress import progress
    from tosg_graph.server import ensure_running, status

    with _errors(debug):
        settings = _settings(uri, user, password)
        with progress() as bar:
            ensure_running(settings, progress=bar)
        show.facts(status(settings).as_facts())


@db.command("stop")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def db_stop(debug: bool) -> None:
    """Stop the local server; its data stay."""
    from tosg_graph.server import stop

    with _errors(debug):
        was_running = stop(_settings(None, None, None))
        click.echo("Stopped." if was_running else "It was not running.")


@db.command("status")
@server_options
def db_status(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Say whether the server runs, where, and which version."""
    from tosg_graph import show
    from tosg_graph.server import status

    with _errors(debug):
        show.facts(status(_settings(uri, user, password)).as_facts())


@db.command("console")
@server_options
@click.option("--no-open", is_flag=True, help="Only print the address.")
def db_console(uri: str | None, user: str | None, password: str | None, debug: bool, no_open: bool) -> None:
    """Open Neo4j Browser, and say how to log in."""
    from tosg_graph import show
    from tosg_graph.progress import progress
    from tosg_graph.server import browser_login, ensure_running

    with _errors(debug):
        settings = _settings(uri, user, password)
        with progress() as bar:
            address = ensure_running(settings, progress=bar)
        login = browser_login(settings, address)
        show.facts(login)
        if not no_open:
            click.launch(login["browser"])


# --------------------------------------------------------------------------- knowledge


@main.command()
@click.argument("source", nargs=-1)
@click.option("--path", type=click.Path(path_type=Path), help="File or folder to read instead of fetching.")
@click.option("--list", "list_", is_flag=True, help="Show source, version, licence and size of each.")
@server_options
def load(
    source: tuple[str, ...],
    path: Path | None,
    list_: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Load knowledge into the graph: one SOURCE or several, or `demo` for all of the demo graph.

    Example: tosg load hgnc wikipathways
    """
    from tosg_graph import show
    from tosg_graph.platform import source_table

    if list_:
        rows = source_table()
        show.table(list(rows[0]), (list(row.values()) for row in rows))
        return
    if not source:
        raise click.UsageError("Name a source, or `demo`. `tosg load --list` shows all.")
    with _platform(uri, user, password, debug) as platform:
        show.load_ledger(platform.load(*source, path=path))


@main.command()
@click.argument("text")
@click.option("--type", "type_", metavar="LABEL", help="Only this kind, such as Pathway.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--hops", type=click.IntRange(1, 3), help="Show what is this many steps around the hits instead."
)
@click.option(
    "--cap",
    default=10,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Of --hops, per entity and step.",
)
@format_option
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file.")
@server_options
def search(
    text: str,
    type_: str | None,
    limit: int,
    hops: int | None,
    cap: int,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Find genes, pathways, diseases ... by words and by meaning.

    Examples: tosg search "interferon response"; tosg search STAT1 --limit 1 --hops 1
    """
    with _platform(uri, user, password, debug) as platform:
        found = platform.search(text, limit=limit, type=type_)
        if hops:
            found = platform.neighbourhood(found["id"].to_pylist(), hops=hops, cap=cap)
        _write_rows(found, format_, out)


@main.command()
@click.option("--query", help="Cypher that returns the entities to embed; all without it.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@server_options
def embed(
    query: str | None, limit: int | None, uri: str | None, user: str | None, password: str | None, debug: bool
) -> None:
    """Embed the text of entities; can be interrupted and goes on where it was.

    Example: tosg embed --query "MATCH (p:Pathway) RETURN p"
    """
    from dataclasses import asdict

    from tosg_graph import show

    with _platform(uri, user, password, debug) as platform:
        show.facts(asdict(platform.embed(query=query, limit=limit)))


# --------------------------------------------------------------------------- cells


@main.group()
def cells() -> None:
    """Add cells to the abundance store and look at what is there."""


@cells.command("add")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dataset", help="Name of the dataset [default: the file's stem].")
@click.option("--layer", help="Matrix with the raw counts: X, raw, or a layer's name [default: X].")
@click.option(
    "--map", "map_file", type=click.Path(path_type=Path), help="YAML that maps obs columns and terms."
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=OBS",
    help="Take core column NAME (cell_type, donor, disease ...) from obs column OBS. Repeatable.",
)
@click.option(
    "--set",
    "constants",
    multiple=True,
    metavar="NAME=VALUE",
    help="The same value for every cell. Repeatable.",
)
@click.option(
    "--allow-unmapped", is_flag=True, help="Add a file of which hardly any feature is a known gene."
)
@server_options
def cells_add(
    paths: tuple[Path, ...],
    dataset: str | None,
    layer: str | None,
    map_file: Path | None,
    columns: tuple[str, ...],
    constants: tuple[str, ...],
    allow_unmapped: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Add .h5ad files with raw counts.

    Example: tosg cells add pbmc.h5ad --column cell_type=cell_type --column donor=patient
    """
    from tosg_graph import show
    from tosg_graph.cells import read_mapping

    if dataset and len(paths) > 1:
        raise click.UsageError("--dataset names one file; add the files one by one.")
    with _platform(uri, user, password, debug) as platform:
        mapping = read_mapping(
            map_file, columns=_pairs("--column", columns), constants=_pairs("--set", constants)
        )
        for path in paths:
            ledger = platform.add_cells(
                path, mapping=mapping, layer=layer, dataset=dataset, allow_unmapped=allow_unmapped
            )
            show.cells_ledger([ledger])


@cells.command("list")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def cells_list(debug: bool) -> None:
    """List the datasets in the store."""
    from tosg_graph import show
    from tosg_graph.platform import Platform

    with _errors(debug):
        show.arrow(Platform(_settings(None, None, None)).store.datasets())


@main.command()
@click.argument("expression", default="true")
@click.option("--by", multiple=True, help="Count the values of this column. Repeatable.")
@server_options
def cohort(
    expression: str,
    by: tuple[str, ...],
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Show what a cohort expression selects, before you export it.

    Example: tosg cohort "cell_type = 'T cell' AND n_counts > 500"
    """
    from tosg_graph import show

    with _platform(uri, user, password, debug) as platform:
        for facet in platform.cohort(expression, by):
            show.arrow(facet)


# --------------------------------------------------------------------------- questions


@main.command()
@click.argument("cypher", required=False)
@click.option("--list", "list_", is_flag=True, help="Show the canned questions and their parameters.")
@parameter_option
@click.option(
    "--abundance", metavar="mean,pct", help="Join returned genes with their abundance in the cells."
)
@click.option("--by", metavar="COLUMN", help="Group the cells by this column.")
@click.option("--cells", metavar="EXPR", help="Only the cells of this cohort.")
@click.option("--limit", default=10_000, show_default=True, type=click.IntRange(1), help="Row cap.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds.")
@format_option
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file.")
@server_options
def query(
    cypher: str | None,
    list_: bool,
    parameters: tuple[str, ...],
    abundance: str | None,
    by: str | None,
    cells: str | None,
    limit: int,
    timeout: float,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Answer a Cypher question, or a canned one by name. Reads only.

    Example: tosg query pathway_genes --param pathway="interferon" --abundance mean,pct --by cell_type
    """
    from tosg_graph import show

    if list_:
        from tosg_graph.query import list_canned

        with _errors(debug):
            show.table(
                ("name", "asks", "parameters"), ((q.name, q.title, q.signature) for q in list_canned())
            )
        return
    if not cypher:
        raise click.UsageError(
            "Write a Cypher query or the name of a canned one. `tosg query --list` shows these."
        )
    with _platform(uri, user, password, debug) as platform:
        rows = platform.query(
            cypher,
            _parameters(parameters),
            abundance=abundance.split(",") if abundance else None,
            by=by,
            cells=cells,
            limit=limit,
            timeout=timeout,
        )
        _write_rows(rows, format_, out)


@main.command()
@click.option("--query", "cypher", required=True, metavar="CYPHER", help="What it returns is the subgraph.")
@parameter_option
@click.option("--induce", is_flag=True, help="Add every relationship among the picked nodes.")
@click.option("--cells", "expression", default="true", show_default=True, metavar="EXPR", help="The cohort.")
@click.option("--label", required=True, metavar="COLUMN", help="Column of the cells that becomes the label.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder to write; must not exist."
)
@click.option("--seed", default=0, show_default=True, help="Split and order of the cells.")
@click.option("--strict", is_flag=True, help="Refuse cells without the label instead of leaving them out.")
@server_options
def export(
    cypher: str,
    parameters: tuple[str, ...],
    induce: bool,
    expression: str,
    label: str,
    out: Path,
    seed: int,
    strict: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Write a Cypher-selected subgraph and a cohort as a bundle of tensors for PyTorch Geometric.

    Example: tosg-export --query "MATCH (g:Gene)-[r:PARTICIPATES_IN]->(p:Pathway) RETURN g, r, p"
    --label cell_type --out bundle
    """
    from tosg_graph import show

    with _platform(uri, user, password, debug) as platform:
        picked = platform.select(cypher, _parameters(parameters), cells=expression, induce=induce)
        manifest = picked.export(out, label=label, seed=seed, strict=strict)
        show.facts(manifest.as_facts())


@main.command()
@server_options
def demo(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Do the main job once on real data: load, ask, export, train; a second run reuses what is there."""
    from tosg_graph.demo import run

    with _platform(uri, user, password, debug) as platform:
        run(platform)


def export_main() -> None:
    """Entry point of `tosg-export`, the same as `tosg export`."""
    export(prog_name="tosg-export")


def _pairs(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} {pair!r} is not NAME=VALUE.")
        found[name] = value
    return found


def _write_rows(rows: Any, format_: str, out: Path | None) -> None:
    from tosg_graph.rows import write

    if format_ == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE.")
    write(rows, format_, out)
