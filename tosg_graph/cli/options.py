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
    from types import FrameType

    from tosg_graph.comparison import Arms
    from tosg_graph.correction import Plan
    from tosg_graph.edge_splits import EdgeTask
    from tosg_graph.hops import Hops
    from tosg_graph.platform import Platform
    from tosg_graph.sampling import Sampling
    from tosg_graph.sentences import TextPlan
    from tosg_graph.settings import Settings
    from tosg_graph.split_plan import SplitPlan

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


def _remember_store_version(context: click.Context, _: click.Parameter, value: int | None) -> None:
    context.meta[_STORE_VERSION] = value


_STORE_VERSION = "tosg_graph.store_version"
store_version_option = click.option(  # no argument of the command: `platform` finds it
    "--store-version",
    type=click.IntRange(min=0),
    metavar="N",
    expose_value=False,
    callback=_remember_store_version,
    help="Read this version of the cells [default: the newest]; `tosg cells versions` lists them.",
)


def _remember_engine(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    context.meta[f"tosg_graph.{parameter.name}"] = value


def engine_name() -> str:
    """What --engine says; "local" for a command without it."""
    name: str = click.get_current_context().meta.get("tosg_graph.engine", "local")
    return name


engine_options = options(  # no arguments of the command, either
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        expose_value=False,
        callback=_remember_engine,
        help="Where cells are read and counted; ray needs pip install 'tosg-graph[ray]'.",
    ),
    click.option(
        "--address",
        metavar="HOST:PORT",
        expose_value=False,
        callback=_remember_engine,
        help="With --engine ray: the cluster [env TOSG_RAY_ADDRESS; default: this machine alone].",
    ),
)
parameter_option = click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A Cypher $parameter; numbers, true/false and JSON lists are recognised. Repeatable.",
)
_ALL_VERBS = "*"  # of --induce without a value
selection_options = options(
    click.option(
        "--query",
        "queries",
        required=True,
        multiple=True,
        metavar="[NAME=]CYPHER",
        help="What it returns is the subgraph; or a canned question's name. Repeatable: their union.",
    ),
    click.option(
        "--induce",
        is_flag=False,
        flag_value=_ALL_VERBS,
        metavar="[A,B]",
        help="Add every relationship among the picked nodes, or those of these types.",
    ),
    click.option("--hops", type=int, metavar="K", help="Add what is up to K relationships around."),
    click.option(
        "--hop-cap",
        type=int,
        metavar="N",
        help="With --hops: follow at most N relationships of a type from a node [default: all].",
    ),
    click.option("--hop-types", metavar="A,B", help="With --hops: follow these types [default: all]."),
    click.option(
        "--hop-seed", type=int, metavar="S", help="With --hop-cap: which ones are followed [default: 0]."
    ),
    click.option(
        "--no-cache", is_flag=True, help="Read the subgraph from the server, whatever is kept of it."
    ),
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
cells_query_options = options(
    click.option(
        "--cells-query",
        metavar="CYPHER",
        help="Only cells of the terms that this returns, and of what is below them; or a canned question's name.",
    ),
    click.option(
        "--cells-param",
        "cells_parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Its $parameter. Repeatable.",
    ),
    click.option("--exact-terms", is_flag=True, help="A returned term means itself alone."),
)


def _check_reports(
    _context: click.Context, _option: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    if odd := [path.name for path in paths if path.suffix not in (".html", ".json")]:
        raise click.UsageError(f"--report {odd[0]} does not end in .html or .json.")
    return paths


report_option = click.option(
    "--report",
    "reports",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_check_reports,
    help="Write the diagnostics of the cells as a page (.html) or as JSON (.json). Repeatable.",
)
comparison_options = options(
    click.option("--case", metavar="EXPR", help="Cells of the cohort that are cases."),
    click.option(
        "--control", metavar="EXPR", help="Those that are controls [default: all known not to be cases]."
    ),
    click.option(
        "--match",
        metavar="A,B,C:WIDTH",
        help="Columns in which cases and controls agree; numbers with the width of their bins.",
    ),
    click.option("--ratio", type=click.IntRange(1), help="Controls per case [default: 1]."),
    click.option(
        "--cap", "caps", multiple=True, metavar="COLUMN=N", help="At most N cells of each value. Repeatable."
    ),
    click.option("--balance", is_flag=True, help="As many cells of each class, or arm, as the smallest has."),
    click.option("--sample", "size", type=click.IntRange(1), metavar="N", help="Draw N cells."),
    click.option(
        "--sample-by", "size_by", metavar="COLUMN", help="Draw each value of it with the same chance."
    ),
)
split_options = options(
    click.option("--weight-by", metavar="COLUMN", help="Write weights under which its values count alike."),
    click.option(
        "--split",
        "by",
        type=click.Choice(["donor", "study"]),
        default="donor",
        show_default=True,
        help="What is never on two sides; study leaves one dataset out for the test.",
    ),
    click.option(
        "--fractions", metavar="A,B,C", help="Shares of train, val and test [default: 0.8,0.1,0.1]."
    ),
    click.option("--folds", type=int, metavar="K", help="K-fold by donor; needs --fold."),
    click.option("--fold", type=int, metavar="I", help="Which fold, or study, is the test set; from 0."),
    click.option("--hold-out", metavar="DATASET", help="The study that is the test set."),
    click.option(
        "--stratify", is_flag=True, help="Deal donors so that each side has its share of each label."
    ),
)
edge_options = options(
    click.option(
        "--edge-task",
        "edge_types",
        metavar="VERB[,VERB]",
        help="Hold edges of these verbs, or of types as Gene__SIGNALS_TO__Gene, out for prediction, with negatives.",
    ),
    click.option(
        "--edge-fractions",
        metavar="A,B,C",
        help="Shares of the joined pairs for train, val and test [default: 0.8,0.1,0.1].",
    ),
    click.option(
        "--negatives", type=click.FloatRange(0), metavar="R", help="Negatives per edge [default: 1]."
    ),
    click.option(
        "--edge-pairs",
        type=click.Choice(["any", "verb"]),
        help="What stays on one side: all edges between two nodes [default], or those of one verb.",
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
text_options = options(
    click.option(
        "--text", "with_text", is_flag=True, help="Write texts of nodes and sentences of cells as JSON Lines."
    ),
    click.option(
        "--text-genes",
        type=click.IntRange(1),
        metavar="N",
        help="With --text: genes that a sentence ranks [default: 50].",
    ),
    click.option(
        "--text-chars",
        type=click.IntRange(1),
        metavar="N",
        help="With --text: characters of a sentence at most [default: 2000].",
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
def heard_interrupts() -> Iterator[threading.Event]:
    """Yield what is set when Ctrl-C is pressed: libraries may hide it behind errors of their own."""
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        heard.set()
        signal.default_int_handler(number, frame)

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield heard
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn known errors into one line and exit code 1, Ctrl-C into one line and 130."""
    with heard_interrupts() as heard:
        try:
            with every_interrupt_counts():
                yield
        except (Exception, KeyboardInterrupt) as error:
            interrupted = heard.is_set() or _was_interrupted(error)
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

    context = click.get_current_context(silent=True)
    said = context.meta if context else {}
    engine, address = engine_name() if context else "local", said.get("tosg_graph.address")
    if address and engine != "ray":
        raise click.UsageError("--address names a Ray cluster. Add --engine ray.")
    at = said.get(_STORE_VERSION)
    with (
        errors(debug),
        progress() as show,
        open_platform(uri, user, password, show, at, engine, address) as opened,
    ):
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


def read_induce(induce: str | None) -> bool | tuple[str, ...]:
    """Whether to add relationships among the picked nodes, or the types of those to add."""
    if induce in (None, _ALL_VERBS):
        return induce is not None
    return tuple(str(induce).split(","))


def read_hops(steps: int | None, cap: int | None, types: str | None, seed: int | None) -> Hops | None:
    """Make a plan of the options of hops; None where there is none."""
    from tosg_graph.hops import Hops

    if steps is None:
        given = {"--hop-cap": cap, "--hop-types": types, "--hop-seed": seed}
        if alone := [name for name, value in given.items() if value is not None]:
            raise click.UsageError(f"{alone[0]} belongs to --hops K.")
        return None
    if seed is not None and cap is None:
        raise click.UsageError("--hop-seed decides what a cap leaves out. Add --hop-cap N.")
    return Hops(steps, cap, tuple(types.split(",")) if types else (), seed or 0)


def read_arms(case: str | None, control: str | None, match: str | None, ratio: int | None) -> Arms | None:
    """Make a comparison of its options; None where there is none."""
    from tosg_graph.comparison import Arms

    if case is None:
        given = {"--control": control, "--match": match, "--ratio": ratio}
        if alone := [name for name, value in given.items() if value is not None]:
            raise click.UsageError(f"{alone[0]} belongs to a comparison. Add --case EXPR.")
        return None
    if ratio is not None and not match:
        raise click.UsageError("--ratio belongs to a match. Add --match COLUMN,...")
    return Arms(case, control, tuple(match.split(",")) if match else (), ratio or 1)


def read_sampling(
    caps: tuple[str, ...],
    balance: bool,
    size: int | None,
    size_by: str | None,
    weight_by: str | None = None,
) -> Sampling:
    """Make a plan of the options of sampling."""
    from tosg_graph.sampling import Sampling

    if size_by and size is None:
        raise click.UsageError("--sample-by says how --sample draws. Add --sample N.")
    pairs = parse_pairs("--cap", caps)
    for column, most in pairs.items():
        if not most.isascii() or not most.isdigit():
            raise click.UsageError(f"--cap {column}={most} is not COLUMN=N.")
    return Sampling(
        tuple((column, int(most)) for column, most in pairs.items()), balance, size, size_by, weight_by
    )


def read_split(
    by: str,
    fractions: str | None,
    folds: int | None,
    fold: int | None,
    hold_out: str | None,
    stratify: bool,
) -> SplitPlan:
    """Make a plan of the options of a split."""
    from tosg_graph.split_plan import FRACTIONS, SplitPlan

    shares = read_numbers("--fractions", fractions, "0.8,0.1,0.1") or FRACTIONS
    return SplitPlan(by, shares, folds, fold, hold_out, stratify)


def read_numbers(option: str, text: str | None, example: str) -> tuple[float, ...]:
    """Numbers of an option, parted by commas; none where it was not given."""
    try:
        return tuple(map(float, text.split(","))) if text is not None else ()
    except ValueError:
        raise click.UsageError(f"{option} {text} is not numbers, as in {example}.") from None


def read_edge_task(
    types: str | None, fractions: str | None, negatives: float | None, pairs: str | None
) -> EdgeTask | None:
    """Make an edge task of its options; None where there is none."""
    from tosg_graph.edge_splits import EdgeTask

    if types is None:
        given = {"--edge-fractions": fractions, "--negatives": negatives, "--edge-pairs": pairs}
        if alone := [name for name, value in given.items() if value is not None]:
            raise click.UsageError(f"{alone[0]} belongs to an edge task. Add --edge-task VERB.")
        return None
    chosen = {
        "fractions": read_numbers("--edge-fractions", fractions, "0.8,0.1,0.1") or None,
        "negatives": negatives,
        "pairs": pairs,
    }
    asked = tuple(types.split(","))
    return EdgeTask(asked, **{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]


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


def read_text(with_text: bool, genes: int | None, chars: int | None) -> TextPlan | None:
    """Make a plan of the options of texts; None where none are asked for."""
    from tosg_graph.sentences import TextPlan

    given = {name: n for name, n in (("genes", genes), ("chars", chars)) if n is not None}
    if not with_text:
        if given:
            raise click.UsageError(f"--text-{min(given)} belongs to texts for language models. Add --text.")
        return None
    return TextPlan(**given)


def write_rows(rows: Any, format_: str, out: Path | None) -> None:
    """Print rows, or write them to a file."""
    from tosg_graph.rows import write

    if format_ == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE.")
    write(rows, format_, out)
