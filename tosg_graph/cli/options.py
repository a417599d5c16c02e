"""What the commands share: option stacks, and errors turned into one line and an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tosg_graph.errors import TosgError

if TYPE_CHECKING:
    from tosg_graph.correction import Plan
    from tosg_graph.platform import Platform
    from tosg_graph.settings import Settings

INTERRUPTED = 130  # what shells use for a process ended by Ctrl-C
AGAIN_AFTER = 0.05  # seconds; enough for a finalizer to be left


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Stack decorators, so that several commands share one list of options."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


server_options = options(
    click.option(
        "--uri", metavar="URI", help="Neo4j address [env TOSG_NEO4J_URI; default: the local server]."
    ),
    click.option("--user", metavar="NAME", help="User at --uri [env TOSG_NEO4J_USER; default: neo4j]."),
    click.option("--password", metavar="TEXT", help="Password at --uri; better in env TOSG_NEO4J_PASSWORD."),
    click.option("--debug", is_flag=True, help="Show the whole trace of an error."),
)
parameter_option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A Cypher $parameter; numbers, true/false and JSON lists are recognised. Repeatable.",
)
filter_options = options(
    click.option(
        "--sources",
        multiple=True,
        metavar="A,B",
        help="Keep to what these sources, or resources that they carry, state. Repeatable.",
    ),
    click.option(
        "--license-allow",
        multiple=True,
        metavar="CC0-1.0,...",
        help="Keep to these licences; CC-BY-* is any version of CC-BY. Repeatable.",
    ),
)
correction_options = options(
    click.option(
        "--correct",
        type=click.Choice(["none", "combat"]),
        default="none",
        show_default=True,
        help="Fit a batch correction on the training cells: the dataset's layer `corrected`.",
    ),
    click.option(
        "--batch", metavar="COLUMN", help="With --correct: column of the cells that names the batch."
    ),
    click.option(
        "--covariate",
        "covariates",
        multiple=True,
        metavar="COLUMN",
        help="With --correct: what is not to be taken for an effect of the batch, such as the label. Repeatable.",
    ),
    click.option(
        "--unseen-batch",
        "unseen",
        type=click.Choice(["error", "keep"]),
        default="error",
        show_default=True,
        help="Cells of a batch that no training cell has: refuse them, or keep them uncorrected.",
    ),
)
rows_options = options(
    click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json", "csv", "parquet"]),
        default="table",
        show_default=True,
        help="How rows are written; parquet needs --out.",
    ),
    click.option("--out", type=click.Path(path_type=Path), help="Write to this file."),
)


@contextmanager
def every_interrupt_counts() -> Iterator[None]:
    """Press Ctrl-C again where Python dropped it: an exception inside a finalizer is printed and forgotten."""
    outer = sys.unraisablehook
    main_thread = threading.main_thread().ident

    def press() -> None:
        if main_thread:  # the thread itself: only a real signal ends a wait on the network
            signal.pthread_kill(main_thread, signal.SIGINT)

    def repeat(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_AFTER, press).start()
        else:
            outer(unraisable)

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = outer


@contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn known errors into one line and exit code 1, Ctrl-C into one line and 130."""
    try:
        with every_interrupt_counts():
            yield
    except (Exception, KeyboardInterrupt) as error:
        interrupted = _was_interrupted(error)
        if debug or not (interrupted or isinstance(error, TosgError)):
            raise
        if not interrupted:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)
        click.echo(
            "Interrupted. What was complete is kept, nothing half-written counts; the same command goes on.",
            err=True,
        )
        sys.exit(INTERRUPTED)


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a connection that it broke may complain of anything when it is closed."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def platform(uri: str | None, user: str | None, password: str | None, debug: bool) -> Iterator[Platform]:
    """Open everything the program works with, its progress shown and its errors translated."""
    from tosg_graph.platform import open as open_platform
    from tosg_graph.progress import progress

    with errors(debug), progress() as show, open_platform(uri, user, password, show) as opened:
        yield opened


def settings(uri: str | None, user: str | None, password: str | None) -> Settings:
    """Read the settings; options win over the environment."""
    from tosg_graph.settings import read_settings

    return read_settings(uri, user, password)


def parse_parameters(pairs: tuple[str, ...]) -> dict[str, object]:
    """Turn ``NAME=VALUE`` pairs into Cypher parameters; JSON values are recognised."""
    import json

    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--param {pair!r} is not NAME=VALUE.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def parse_pairs(option: str, pairs: tuple[str, ...]) -> dict[str, str]:
    """Turn ``NAME=VALUE`` pairs of an option into a dict of texts."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{option} {pair!r} is not NAME=VALUE.")
        found[name] = value
    return found


def correction_plan(correct: str, batch: str | None, covariates: tuple[str, ...], unseen: str) -> Plan | None:
    """Turn the options of a correction into a plan; None where there is nothing to correct."""
    from tosg_graph.correction import NONE, Plan

    if correct == NONE:
        if batch or covariates:
            raise click.UsageError("--batch and --covariate belong to --correct combat.")
        return None
    if not batch:
        raise click.UsageError(f"--correct {correct} needs --batch COLUMN.")
    return Plan(correct, batch, covariates, unseen)


def write_rows(rows: Any, format_: str, out: Path | None) -> None:
    """Print rows, or write them to a file."""
    from tosg_graph.rows import write

    if format_ == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE.")
    write(rows, format_, out)
