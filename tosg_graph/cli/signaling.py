"""Commands of signaling inference: what differs between two groups of cells of a bundle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tosg_graph.cli.options import errors, options, platform, server_options

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tosg_graph.donor_tests import Null
    from tosg_graph.graph import Graph
    from tosg_graph.signal_prompt import Format
    from tosg_graph.signaling import Score


class _DefaultGroup(click.Group):
    """A group whose first word, where it is no command, belongs to ``find``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks = bool(args) and args[0] not in self.commands and args[0] not in ("-h", "--help")
        return super().parse_args(ctx, ["find", *args] if asks else args)


contrast_options = options(
    click.option("--donor", default="donor", show_default=True, metavar="COLUMN", help="Whose a cell is."),
    click.option(
        "--within",
        metavar="COLUMN",
        help="Compare donors of one value only, such as of one dataset, then join.",
    ),
    click.option(
        "--min-cells",
        type=click.IntRange(1),
        default=10,
        show_default=True,
        help="Leave out donors with fewer cells in an arm.",
    ),
    click.option(
        "--permutations",
        type=int,
        default=1_000,
        show_default=True,
        help="Of donors, at first; rare pathways get up to 100 times as many.",
    ),
    click.option(
        "--null",
        type=click.Choice(["permutation", "rotation"]),
        default="permutation",
        show_default=True,
        help="What the differences are compared with; rotation assumes normal values, for few donors.",
    ),
    click.option("--fdr", type=float, default=0.1, show_default=True, help="Rate of false discoveries."),
    click.option("--top", type=int, default=50, show_default=True, help="Most edges of the subgraph."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of permutations and the picture."),
)
explain_options = options(
    click.option(
        "--chars",
        type=click.IntRange(1),
        default=12_000,
        show_default=True,
        metavar="N",
        help="Most characters of the evidence.",
    ),
    click.option(
        "--graph",
        "ask_graph",
        is_flag=True,
        help="Ask the graph for drugs and diseases; --uri asks that one.",
    ),
    server_options,
)


@click.group(cls=_DefaultGroup)
def signal() -> None:
    """Find which edges, nodes and pathways carry the difference between two groups of cells.

    Example: tosg signal BUNDLE --by disease --case lupus --control normal --out findings
    """


@signal.command("find")
@click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--by", required=True, metavar="COLUMN", help="Column of the cells that has the two groups.")
@click.option("--case", required=True, metavar="VALUE", help="Its value of the cases.")
@click.option("--control", metavar="VALUE", help="Of the controls [default: every other known value].")
@contrast_options
@click.option(
    "--score",
    type=click.Choice(["activity", "model"]),
    default="activity",
    show_default=True,
    help="By abundance, or by the messages of a trained network.",
)
@click.option("--run", type=click.Path(path_type=Path), help="With --score model: what tosg train wrote.")
@click.option("--all-cells", is_flag=True, help="With --score model: also cells that it was trained on.")
@click.option(
    "--store", metavar="FOLDER", help="The store that a bundle without abundance was exported from."
)
@click.option("--out", type=click.Path(path_type=Path), help="New folder for tables, report and picture.")
@click.option("--explain", is_flag=True, help="Write the evidence for language models there too.")
@explain_options
def find(
    folder: Path,
    by: str,
    case: str,
    control: str | None,
    donor: str,
    within: str | None,
    min_cells: int,
    permutations: int,
    null: str,
    fdr: float,
    top: int,
    seed: int,
    score: str,
    run: Path | None,
    all_cells: bool,
    store: str | None,
    out: Path | None,
    explain: bool,
    chars: int,
    ask_graph: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Compare two groups of cells of BUNDLE, donor by donor.

    Example: tosg signal BUNDLE --by disease --case lupus --control normal --out findings
    """
    from tosg_graph import show
    from tosg_graph.progress import progress
    from tosg_graph.signaling import signal as compare

    if explain and out is None:
        raise click.UsageError(
            "--explain writes into the folder of --out. Add it, or use tosg signal explain."
        )
    with errors(debug), _graph(ask_graph, uri, user, password, debug) as graph:
        with progress() as bar:
            found = compare(
                folder,
                by=by,
                case=case,
                control=control,
                donor=donor,
                within=within,
                min_cells=min_cells,
                permutations=permutations,
                null=cast("Null", null),
                fdr=fdr,
                top=top,
                seed=seed,
                score=cast("Score", score),
                run=run,
                all_cells=all_cells,
                store=store,
                out=out,
                explain=explain,
                chars=chars,
                graph=graph,
                progress=bar,
            )
        show.signal(found)
        if out is not None:
            show.facts({"written": out})


@signal.command("explain")
@click.argument("folder", metavar="FINDINGS", type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="What was compared, for the texts of nodes.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
    help="How the evidence is written.",
)
@explain_options
def explain(
    folder: Path,
    bundle: Path | None,
    format_: str,
    chars: int,
    ask_graph: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Print the evidence of FINDINGS, ready for a language model's prompt.

    Example: tosg signal explain findings --bundle BUNDLE --graph > evidence.md
    """
    from tosg_graph import signaling

    with errors(debug), _graph(ask_graph, uri, user, password, debug) as graph:
        click.echo(
            signaling.explain(
                folder, bundle=bundle, graph=graph, chars=chars, format=cast("Format", format_)
            ),
            nl=False,
        )


def _graph(
    asked: bool, uri: str | None, user: str | None, password: str | None, debug: bool
) -> AbstractContextManager[Graph | None]:
    """The graph where it is asked for."""
    from contextlib import contextmanager, nullcontext

    if not asked and uri is None:
        return nullcontext()

    @contextmanager
    def connected() -> Iterator[Graph]:
        with platform(uri, user, password, debug) as opened:
            yield opened.graph

    return connected()
