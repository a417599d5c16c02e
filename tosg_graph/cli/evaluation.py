"""The command that judges what was learnt."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import errors


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("other_run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="The page; the JSON stands beside it [default: report.html in RUN; of two runs comparison.html].",
)
@click.option(
    "--resamples",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Bootstrap resamples of the donors of the test cells.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the resamples.")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def evaluate(
    run: Path, other_run: Path | None, out: Path | None, resamples: int, seed: int, debug: bool
) -> None:
    """Judge the models of a run on its test cells, or compare two runs of the same test cells.

    Example: tosg evaluate run
    """
    from tosg_graph import evaluation, evaluation_page, show

    with errors(debug):
        found = evaluation.evaluate(run, other_run, resamples=resamples, seed=seed)
        name = evaluation_page.REPORT if other_run is None else evaluation_page.COMPARISON
        show.evaluation(found, evaluation_page.write(found, out or run / f"{name}.html")[0])
