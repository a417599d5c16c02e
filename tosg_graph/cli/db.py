"""Commands of the graph server."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    errors,
    server_options,
    settings,
)


@click.group()
def db() -> None:
    """Start, stop and look at the graph server."""


@db.command("start")
@server_options
def db_start(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Start the local server, or check the one that is named, and say where it is."""
    from tosg_graph import show
    from tosg_graph.progress import progress
    from tosg_graph.server import ensure_running, status

    with errors(debug):
        chosen = settings(uri, user, password)
        with progress() as bar:
            ensure_running(chosen, progress=bar)
        show.facts(status(chosen).as_facts())


@db.command("stop")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def db_stop(debug: bool) -> None:
    """Stop the local server; its data stay."""
    from tosg_graph.server import stop

    with errors(debug):
        was_running = stop(settings(None, None, None))
        click.echo("Stopped." if was_running else "It was not running.")


@db.command("status")
@server_options
def db_status(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Say whether the server runs, where, and which version."""
    from tosg_graph import show
    from tosg_graph.server import status

    with errors(debug):
        show.facts(status(settings(uri, user, password)).as_facts())


@db.command("console")
@server_options
@click.option("--no-open", is_flag=True, help="Only print the address.")
@click.option(
    "--save-queries",
    "queries",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="Also write the saved queries, to drop onto the editor of any Browser.",
)
def db_console(
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
    no_open: bool,
    queries: Path | None,
) -> None:
    """Open Neo4j Browser with our style, guide and saved queries, and say how to log in."""
    from tosg_graph import show
    from tosg_graph.browser import write_saved_queries
    from tosg_graph.progress import progress
    from tosg_graph.server import browser_login, ensure_running

    with errors(debug):
        chosen = settings(uri, user, password)
        if queries is not None:
            write_saved_queries(queries)
        with progress() as bar:
            address = ensure_running(chosen, progress=bar)
        login = browser_login(chosen, address)
        show.facts(login)
        if not no_open:
            click.launch(login["browser"])
