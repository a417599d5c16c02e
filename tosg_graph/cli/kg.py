"""Commands that look at the knowledge graph as a whole: its releases and what changed between them."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import format_option, platform, server_options, write_rows


@click.group()
def kg() -> None:
    """Look at the releases of the knowledge graph."""


@kg.command("releases")
@format_option
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file.")
@server_options
def releases(
    format_: str, out: Path | None, uri: str | None, user: str | None, password: str | None, debug: bool
) -> None:
    """List the releases of the graph, newest first, with the sources that each holds.

    Example: tosg kg releases
    """
    with platform(uri, user, password, debug) as p:
        write_rows(p.releases(), format_, out)
