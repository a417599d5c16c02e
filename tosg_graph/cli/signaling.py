"""Commands of signaling inference: what differs between two groups of cells of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tosg_graph.cli.options import errors, options

if TYPE_CHECKING:
    from tosg_graph.donor_tests import Null


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
@click.option("--out", type=click.Path(path_type=Path), help="New folder for tables, report and picture.")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
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
    out: Path | None,
    debug: bool,
) -> None:
    """Compare two groups of cells of BUNDLE, donor by donor.

    Example: tosg signal BUNDLE --by disease --case lupus --control normal --out findings
    """
    from tosg_graph import show
    from tosg_graph.bundle import refuse_existing
    from tosg_graph.progress import progress
    from tosg_graph.signal_files import write
    from tosg_graph.signal_findings import SignalPlan
    from tosg_graph.signal_findings import find as compare
    from tosg_graph.signal_scores import Contrast

    with errors(debug):
        if out is not None:
            out = refuse_existing(out)
        contrast = Contrast(by, case, control, donor, within, min_cells)
        plan = SignalPlan(contrast, permutations, fdr, top, seed, cast("Null", null))
        with progress() as bar:
            found = compare(folder, plan, progress=bar)
        show.signal(found)
        if out is not None:
            show.facts({"written": write(found, out)})
