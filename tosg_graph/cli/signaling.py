"""Commands of signaling inference: what differs between two groups of cells of a bundle."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tosg_graph.cli.options import errors, options, platform, server_options

if TYPE_CHECKING:
    from tosg_graph.donor_tests import Null
    from tosg_graph.graph import Graph
    from tosg_graph.progress import Progress
    from tosg_graph.signal_comparison import Comparison
    from tosg_graph.signal_findings import Findings
    from tosg_graph.signal_graph import Written
    from tosg_graph.signal_prompt import Format
    from tosg_graph.signaling import Score


class _DefaultGroup(click.Group):
    """A group whose first word, where it is no command and none misspelled, belongs to ``find``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks = bool(args) and args[0] not in self.commands and args[0] not in ("-h", "--help")
        if asks and not Path(args[0]).exists():
            asks = not difflib.get_close_matches(args[0], self.commands, n=1, cutoff=0.75)
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
    click.option(
        "--seed",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Of permutations and the picture.",
    ),
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
write_options = options(
    click.option(
        "--write", "to_graph", is_flag=True, help="Write what was found to the graph, tagged by run."
    ),
    click.option(
        "--skip-unknown",
        is_flag=True,
        help="With --write: leave out and count findings about what the graph lacks.",
    ),
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
@write_options
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
    to_graph: bool,
    skip_unknown: bool,
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
    from tosg_graph.signaling import signal as compare

    if (ask_graph or uri is not None) and not explain:
        raise click.UsageError("--graph and --uri say where --explain looks for drugs and diseases. Add it.")
    if explain and out is None:
        raise click.UsageError(
            "--explain writes into the folder of --out. Add it, or use tosg signal explain."
        )
    with _opened(ask_graph, uri, user, password, debug) as (graph, bar):
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
    if to_graph:
        _write(found, skip_unknown, uri, user, password, debug)


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

    with _opened(ask_graph, uri, user, password, debug) as (graph, _):
        click.echo(
            signaling.explain(
                folder, bundle=bundle, graph=graph, chars=chars, format=cast("Format", format_)
            ),
            nl=False,
        )


@signal.command("compare")
@click.argument("folders", metavar="BUNDLE | RESULT RESULT ...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--over", metavar="COLUMN", help="Compare within each of its values, such as each organ.")
@click.option("--by", metavar="COLUMN", help="Column that has the two groups [default: that of --over].")
@click.option("--case", metavar="VALUE", help="Its value of the cases.")
@click.option("--control", metavar="VALUE", help="Of the controls [default: every other known value].")
@contrast_options
@click.option("--out", type=click.Path(path_type=Path), help="New folder for tables, report and heat maps.")
@write_options
@server_options
def compare(
    folders: tuple[Path, ...],
    over: str | None,
    by: str | None,
    case: str | None,
    control: str | None,
    donor: str,
    within: str | None,
    min_cells: int,
    permutations: int,
    null: str,
    fdr: float,
    top: int,
    seed: int,
    out: Path | None,
    to_graph: bool,
    skip_unknown: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Put findings of several groups side by side: of each value of a column of BUNDLE, or of finished results.

    Example: tosg signal compare BUNDLE --over organ --by disease --case lupus --control normal --out organs
    """
    from tosg_graph import show
    from tosg_graph.bundle import refuse_existing
    from tosg_graph.progress import progress
    from tosg_graph.signal_comparison import compare as compare_over
    from tosg_graph.signal_comparison_files import read_results, write
    from tosg_graph.signal_findings import SignalPlan
    from tosg_graph.signal_scores import Contrast

    if over is None and (by or case or control):
        raise click.UsageError("--by, --case and --control are of a bundle. Add --over COLUMN.")
    if over is not None and len(folders) != 1:
        raise click.UsageError(f"--over takes one BUNDLE, and {len(folders)} folders are given.")
    if over is not None and (by is None) != (case is None):
        raise click.UsageError(
            "--by and --case belong together; without both, each value of --over is a case."
        )
    with errors(debug):
        if out is not None:
            out = refuse_existing(out)
        if over is None:
            compared = read_results(folders)
        else:
            contrast = Contrast(by or over, case or "", control, donor, within, min_cells)
            plan = SignalPlan(contrast, permutations, fdr, top, seed, cast("Null", null))
            with progress() as bar:
                compared = compare_over(folders[0], plan, over, progress=bar)
        show.signal_comparison(compared)
        if out is not None:
            show.facts({"written": write(compared, out)})
    if to_graph:
        _write_comparison(compared, skip_unknown, uri, user, password, debug)


@signal.command("write")
@click.argument("folder", metavar="RESULT", type=click.Path(path_type=Path))
@click.option("--skip-unknown", is_flag=True, help="Leave out and count findings about what the graph lacks.")
@server_options
def write(
    folder: Path, skip_unknown: bool, uri: str | None, user: str | None, password: str | None, debug: bool
) -> None:
    """Write the findings of a finished RESULT, or of a comparison, to the graph.

    Example: tosg signal write findings
    """
    from tosg_graph import signal_comparison_files, signal_files

    with errors(debug):
        is_comparison = signal_comparison_files.is_comparison(folder)
        found: Findings | Comparison = (
            signal_comparison_files.read(folder) if is_comparison else signal_files.read(folder)
        )
    if is_comparison:
        _write_comparison(cast("Comparison", found), skip_unknown, uri, user, password, debug)
    else:
        _write(cast("Findings", found), skip_unknown, uri, user, password, debug)


@signal.command("list")
@server_options
def list_runs(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """List the runs whose findings are in the graph."""
    from tosg_graph import show
    from tosg_graph.signal_graph import runs

    with platform(uri, user, password, debug) as p:
        show.arrow(runs(p.graph))


@signal.command("remove")
@click.argument("run")
@server_options
def remove(run: str, uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Remove all that a RUN wrote to the graph."""
    from tosg_graph.signal_graph import remove as remove_run

    with platform(uri, user, password, debug) as p:
        click.echo(f"Removed {remove_run(p.graph, run):,} findings.")


@contextmanager
def _opened(
    ask_graph: bool, uri: str | None, user: str | None, password: str | None, debug: bool
) -> Iterator[tuple[Graph | None, Progress]]:
    """The graph where it is asked for, and what shows progress."""
    from tosg_graph.progress import progress

    if ask_graph or uri is not None:
        with platform(uri, user, password, debug) as opened:
            yield opened.graph, opened.progress
    else:
        with errors(debug), progress() as bar:
            yield None, bar


def _write(
    found: Findings, skip_unknown: bool, uri: str | None, user: str | None, password: str | None, debug: bool
) -> None:
    from tosg_graph.signal_graph import write as write_findings

    with platform(uri, user, password, debug) as p:
        _written(write_findings(p.graph, found, skip_unknown=skip_unknown, progress=p.progress))


def _write_comparison(
    compared: Comparison,
    skip_unknown: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    from tosg_graph.signal_graph import write_comparison

    with platform(uri, user, password, debug) as p:
        _written(write_comparison(p.graph, compared, skip_unknown=skip_unknown, progress=p.progress))


def _written(written: Written) -> None:
    from tosg_graph import show

    show.facts(written.as_facts())
