"""Commands of graph data science."""

from __future__ import annotations

import click

from tosg_graph.cli.options import parse_parameters, platform, server_options
from tosg_graph.gds import ALGORITHMS, projections


@click.group()
def gds() -> None:
    """Run an algorithm on a part of the graph and write its values to the nodes."""


def _algorithm(name: str) -> click.Command:
    """Make the command of one algorithm."""

    @click.command(name, help=f"{ALGORITHMS[name].meaning.capitalize()}.")
    @click.argument("projection", type=click.Choice(sorted(projections())))
    @click.option(
        "--name", "run_name", metavar="RUN", help=f"Of the run; the property is gds_RUN [{name}_PROJECTION]."
    )
    @click.option(
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Of the algorithm, such as max_iterations=50. Repeatable.",
    )
    @click.option("--top", default=10, show_default=True, help="Most rows to show.")
    @server_options
    def command(
        projection: str,
        run_name: str | None,
        options: tuple[str, ...],
        top: int,
        uri: str | None,
        user: str | None,
        password: str | None,
        debug: bool,
    ) -> None:
        from tosg_graph import show

        with platform(uri, user, password, debug) as p:
            run = p.gds(name, projection, name=run_name, options=parse_parameters(options), top=top)
            show.facts(run.as_facts())
            if len(run.top):
                show.arrow(run.top)

    return command


@gds.command("list")
@server_options
def gds_list(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """List the runs whose values are in the graph, and the projections there are."""
    from tosg_graph import show
    from tosg_graph.gds import runs

    with platform(uri, user, password, debug) as p:
        show.arrow(runs(p.graph), title="runs")
        show.table(
            ("projection", "is"), ((name, told["meaning"]) for name, told in sorted(projections().items()))
        )


@gds.command("remove")
@click.argument("run")
@server_options
def gds_remove(run: str, uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Remove what a run wrote."""
    from tosg_graph.gds import remove

    with platform(uri, user, password, debug) as p:
        click.echo(f"Removed from {remove(p.graph, run):,} nodes.")


for _name in ALGORITHMS:
    gds.add_command(_algorithm(_name))
