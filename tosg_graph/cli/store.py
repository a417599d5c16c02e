"""Commands that keep the abundance store: `tosg cells compact`, `rows`, `vacuum`, `verify` and `versions`."""

from __future__ import annotations

import sys

import click

from tosg_graph.cli.options import platform, store_version_option

_debug_option = click.option("--debug", is_flag=True, help="Show the whole trace of an error.")


@click.command("compact")
@_debug_option
def compact(debug: bool) -> None:
    """Sort the cells of all adds together into full blocks; answers stay the same, reads touch less.

    Older versions stay readable until `tosg cells vacuum`.
    """
    from tosg_graph import show

    with platform(None, None, None, debug) as p:
        show.compaction(p.compact_cells())


@click.command("rows")
@click.option("--remove", is_flag=True, help="Remove the copy; counts are read without it again.")
@_debug_option
def rows(remove: bool, debug: bool) -> None:
    """Keep the counts once more, cell by cell: all genes of some cells are then read several times as fast.

    About three bytes per count. After an add or a compaction run it again: only what has no copy yet is written.
    """
    from tosg_graph import show

    with platform(None, None, None, debug) as p:
        show.row_copy(p.remove_rows() if remove else p.copy_rows())


@click.command("vacuum")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Keep versions that were in use in the last N days [default: 7].",
)
@click.option("--keep-versions", type=click.IntRange(min=1), metavar="N", help="Keep the newest N versions.")
@click.option(
    "--forget-missing",
    is_flag=True,
    help="Do not keep what only exports name that are not where they were written.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@_debug_option
def vacuum(
    keep_days: float | None, keep_versions: int | None, forget_missing: bool, dry_run: bool, debug: bool
) -> None:
    """Remove files that no kept version of the store needs; the newest and those of saved exports are kept.

    Example: tosg cells vacuum --keep-versions 1 --dry-run
    """
    from tosg_graph import show

    with platform(None, None, None, debug) as p:
        show.vacuumed(
            p.vacuum_cells(
                keep_days=keep_days,
                keep_versions=keep_versions,
                forget_missing=forget_missing,
                dry_run=dry_run,
            )
        )


@click.command("verify")
@store_version_option
@_debug_option
def verify(debug: bool) -> None:
    """Check every file and sum of the store; one line and exit code 1 for what is damaged, missing or foreign."""
    from tosg_graph import show

    with platform(None, None, None, debug) as p:
        found = p.verify_cells()
    show.verification(found)
    if found.findings:
        sys.exit(1)


@click.command("versions")
@_debug_option
def versions(debug: bool) -> None:
    """List the versions of the store: what made each, whether it can be read, how many exports name it."""
    from tosg_graph import show

    with platform(None, None, None, debug) as p:
        show.arrow(p.store_versions())
