"""Commands that look at the knowledge graph as a whole: its releases, what changed between them, its size."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    errors,
    parameter_option,
    parse_parameters,
    platform,
    rows_options,
    server_options,
    settings,
    write_rows,
)


@click.group()
def kg() -> None:
    """Look at the knowledge graph as a whole."""


@kg.command("releases")
@rows_options
@server_options
def releases(
    format_: str, out: Path | None, uri: str | None, user: str | None, password: str | None, debug: bool
) -> None:
    """List the releases of the graph, newest first, with the sources that each holds.

    Example: tosg kg releases
    """
    with platform(uri, user, password, debug) as p:
        write_rows(p.releases(), format_, out)


@kg.command("merges")
@click.option("--release", metavar="ID", help="Of this release's load; the newest without it.")
@click.option("--ambiguous", is_flag=True, help="Only what was kept apart.")
@rows_options
@server_options
def merges(
    release: str | None,
    ambiguous: bool,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """List the rows that joined another entity by its xrefs, or were kept apart, and why.

    Example: tosg kg merges --ambiguous
    """
    with platform(uri, user, password, debug) as p:
        write_rows(p.merges(release, ambiguous=ambiguous), format_, out)


@kg.command("diff")
@click.argument("before", required=False)
@click.argument("after", required=False)
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(path_type=Path),
    help="An export to look at beside those made from this home. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def diff(
    before: str | None, after: str | None, bundles: tuple[Path, ...], as_json: bool, debug: bool
) -> None:
    """Say what changed from release BEFORE to AFTER, by source, and which exports that touches.

    Without them: the newest release and the one before it. Ids may be shortened. Needs no server.

    Example: tosg kg diff
    """
    from tosg_graph import show
    from tosg_graph.diff import diff as compare

    with errors(debug):
        show.diff(compare(settings(None, None, None), before, after, bundles), as_json)


@kg.command("prune")
@click.option(
    "--keep", required=True, type=click.IntRange(1), help="How many of the newest releases to keep."
)
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def prune(keep: int, debug: bool) -> None:
    """Forget what older releases held; `tosg kg diff` cannot compare them any more. The graph stays as it is."""
    from tosg_graph import history

    with errors(debug):
        releases, files = history.prune(settings(None, None, None).stated, keep)
        click.echo(f"Forgot {releases} releases and removed {files} files.")


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


@kg.command("export")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--query", "cypher", metavar="CYPHER", help="Only what this returns; the whole graph without it."
)
@parameter_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["kgx", "kgx-jsonl"]),
    default="kgx",
    show_default=True,
    help="KGX as TSV, or as JSON Lines.",
)
@server_options
def export(
    out: Path,
    cypher: str | None,
    parameters: tuple[str, ...],
    format_: str,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Write the graph into the new folder OUT for other programs.

    Example: tosg kg export my-graph; `tosg load kgx --path my-graph` reads it back.
    """
    from dataclasses import asdict

    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        given = parse_parameters(parameters)
        show.facts(
            asdict(p.export_kgx(out, query=cypher, parameters=given, json_lines=format_ == "kgx-jsonl"))
        )


@kg.command("dump")
@click.argument("out", type=click.Path(path_type=Path))
@server_options
def dump(out: Path, uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Write the whole graph into the new folder OUT as Parquet, with vectors, releases and ledgers.

    Example: tosg kg dump my-graph; `tosg kg restore my-graph` makes the same graph of it elsewhere.
    """
    from dataclasses import asdict

    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        show.facts(asdict(p.dump(out)))


@kg.command("restore")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@server_options
def restore(folder: Path, uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Fill the empty database of the local server from a dump.

    Example: TOSG_HOME=~/another-graph tosg kg restore my-graph
    """
    from dataclasses import asdict

    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        show.facts(asdict(p.restore(folder)))
