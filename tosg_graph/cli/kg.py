"""Commands that look at the knowledge graph as a whole: its releases, what changed between them, its size."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import format_option, platform, server_options, write_rows


@click.group()
def kg() -> None:
    """Look at the knowledge graph as a whole."""


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


@kg.command("counts")
@server_options
def counts(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Count entities by label, relationships by verb, and the genes that have any relationship.

    Example: tosg kg counts
    """
    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        for table in p.counts():
            show.arrow(table)
