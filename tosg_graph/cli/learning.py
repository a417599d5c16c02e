"""Commands that learn from a bundle: `tosg train pretrain`, `tosg train classify`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tosg_graph.cli.options import errors, options

if TYPE_CHECKING:
    from tosg_graph.models.network import NetworkPlan
    from tosg_graph.models.text_encoder import Joint
    from tosg_graph.training import Machine, Schedule

run_options = options(
    click.argument("bundle", type=click.Path(path_type=Path)),
    click.option(
        "--out", required=True, type=click.Path(path_type=Path), help="Run to write; must not exist."
    ),
    click.option(
        "--store", metavar="FOLDER", help="The store that a bundle without abundance was exported from."
    ),
    click.option("--debug", is_flag=True, help="Show the whole trace of an error."),
)
plan_options = options(
    click.option("--hidden", type=int, metavar="N", help="Size of a node's state [default: 64]."),
    click.option("--layers", type=int, metavar="N", help="Layers of signaling [default: 2]."),
    click.option(
        "--conv",
        type=click.Choice(["typed", "gcn", "sage", "gin", "gat"]),
        help="How messages are made [default: typed, with weights per edge type].",
    ),
    click.option(
        "--readout",
        type=click.Choice(["pathway+attention", "pathway", "attention", "mean"]),
        help="How states become one vector per cell [default: pathway+attention].",
    ),
    click.option("--dropout", type=float, metavar="RATE", help="[default: 0.1]"),
    click.option("--no-text", is_flag=True, help="Without text embeddings."),
    click.option("--no-graph", is_flag=True, help="Without messages and pathways."),
    click.option("--no-sign", is_flag=True, help="Inhibition is an edge as any other."),
    click.option("--no-direction", is_flag=True, help="Messages go both ways alike."),
    click.option("--no-own", is_flag=True, help="Without a learned vector per node."),
    click.option(
        "--no-translation", is_flag=True, help="Without messages from genes to proteins before the others."
    ),
)
joint_options = options(
    click.option("--joint", is_flag=True, help="Train the text encoder too, by adapters; needs peft."),
    click.option(
        "--joint-nodes", "nodes", type=int, metavar="K", help="Texts embedded anew per step [default: 16]."
    ),
    click.option("--joint-rank", "rank", type=int, metavar="R", help="Of the adapters [default: 8]."),
    click.option(
        "--joint-encoder",
        "encoder",
        metavar="FOLDER",
        help="The encoder [default: the one the bundle names].",
    ),
)
schedule_options = options(
    click.option("--epochs", type=int, metavar="N", help="At most [default: 50]."),
    click.option(
        "--patience", type=int, metavar="N", help="Epochs without a better validation [default: 8]."
    ),
    click.option("--batch-size", type=int, metavar="N", help="Cells per batch and device [default: 64]."),
    click.option("--lr", "learning_rate", type=float, metavar="RATE", help="Learning rate [default: 0.001]."),
    click.option("--weight-decay", type=float, metavar="RATE", help="[default: 0.01]"),
    click.option("--clip", type=float, metavar="NORM", help="Largest norm of a gradient [default: 1]."),
    click.option(
        "--checkpoint-steps",
        type=int,
        metavar="N",
        help="Steps between checkpoints within an epoch [default: 500]; one follows each epoch.",
    ),
)
machine_options = options(
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        help="[default: auto, a GPU where there is one]",
    ),
    click.option("--devices", type=int, metavar="N", help="GPUs, or processes without one [default: 1]."),
    click.option(
        "--precision",
        type=click.Choice(["32", "bf16"]),
        help="bf16: mixed, for GPUs that have it [default: 32].",
    ),
    click.option("--compile", is_flag=True, help="Run through torch.compile."),
)


@click.group()
def train() -> None:
    """Learn from a bundle: networks over text, graph and cells, beside plain baselines."""


@train.command()
@run_options
@click.option(
    "--mask", "abundance", type=float, metavar="SHARE", help="Of measured values, hidden [default: 0.15]."
)
@click.option(
    "--mask-edges", "edges", type=float, metavar="SHARE", help="Of edges, hidden at once [default: 0.15]."
)
@click.option("--edge-weight", type=float, metavar="W", help="Of edges in the loss; 0: none [default: 1].")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0), help="Decides all that is random."
)
@plan_options
@schedule_options
@machine_options
def pretrain(bundle: Path, out: Path, store: str | None, debug: bool, seed: int, **given: Any) -> None:
    """Learn to fill in hidden abundance and to find hidden edges; no label is read.

    Example: tosg train pretrain BUNDLE --out pretrained
    """
    with errors(debug):
        from tosg_graph import show
        from tosg_graph.pretraining import Masking, pretrain
        from tosg_graph.progress import progress

        masking = Masking(**_given(given, "abundance", "edges", "edge_weight"))
        plan, schedule, machine = _plan(given), _schedule(given), _machine(given)
        with progress() as bars:
            found = pretrain(
                bundle,
                out,
                plan=plan,
                masking=masking,
                seed=seed,
                schedule=schedule,
                machine=machine,
                store=store,
                progress=bars,
            )
        show.pretrained(found)


@train.command()
@run_options
@click.option(
    "--from",
    "pretrained",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Start from a pretrained network.",
)
@click.option(
    "--mode",
    type=click.Choice(["scratch", "frozen", "fine-tuned"]),
    help="frozen: fit the readout only [default: fine-tuned with --from, else scratch].",
)
@click.option("--seeds", default=3, show_default=True, type=int, metavar="N", help="Fits of each model.")
@click.option("--per-class", type=int, metavar="N", help="Learn from N labels of each class [default: all].")
@click.option("--balanced", is_flag=True, help="Let each class weigh the same in the loss.")
@click.option(
    "--ablations",
    default="all",
    show_default=True,
    metavar="A,B",
    help="Models with a part left out, beside it: all, none, text, edges, shuffled-edges, shuffled-text, "
    "scratch, frozen-text.",
)
@click.option(
    "--baselines",
    type=click.Choice(["all", "none"]),
    default="all",
    show_default=True,
    help="Models without a graph, beside it.",
)
@click.option("--allow-one-donor", is_flag=True, help="Accept classes whose cells are all of one donor.")
@joint_options
@plan_options
@schedule_options
@machine_options
def classify(
    bundle: Path,
    out: Path,
    store: str | None,
    debug: bool,
    pretrained: Path | None,
    mode: str | None,
    seeds: int,
    per_class: int | None,
    balanced: bool,
    ablations: str,
    baselines: str,
    allow_one_donor: bool,
    **given: Any,
) -> None:
    """Learn the label of a bundle: organ, disease, sex, cell type, bins of age, or any other.

    Example: tosg train classify BUNDLE --out run
    """
    with errors(debug):
        from tosg_graph import show
        from tosg_graph.classification import classify
        from tosg_graph.progress import progress

        plan, schedule, machine = _plan(given), _schedule(given), _machine(given)
        chosen: Any = {"all": "all", "none": ()}.get(ablations, tuple(ablations.split(",")))
        with progress() as bars:
            found = classify(
                bundle,
                out,
                pretrained=pretrained,
                mode=mode,  # type: ignore[arg-type]  # one of the choices
                plan=plan,
                joint=_joint(given),
                seeds=seeds,
                per_class=per_class,
                balanced=balanced,
                ablations=chosen,
                baselines=baselines == "all",
                schedule=schedule,
                machine=machine,
                allow_one_donor=allow_one_donor,
                store=store,
                progress=bars,
            )
        show.classified(found)


def _given(options_: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of the options that were given: what was not has its default where it is used."""
    return {name: options_[name] for name in names if options_[name] is not None}


def _plan(given: Mapping[str, Any]) -> NetworkPlan | None:
    """Make a plan of the options of the network; None where none was given."""
    from tosg_graph.models.network import NetworkPlan

    parts = ("text", "graph", "sign", "direction", "own", "translation")
    chosen = _given(given, "hidden", "layers", "conv", "readout", "dropout")
    chosen |= {part: False for part in parts if given[f"no_{part}"]}
    return NetworkPlan(**chosen) if chosen else None


def _joint(given: Mapping[str, Any]) -> Joint | None:
    """Make of the options how the text encoder is trained; None where it is not."""
    from tosg_graph.models.text_encoder import Joint

    chosen = _given(given, "nodes", "rank", "encoder")
    if chosen and not given["joint"]:
        raise click.UsageError(f"--joint-{next(iter(chosen))} says how --joint works. Add --joint.")
    return Joint(**chosen) if given["joint"] else None


def _schedule(given: Mapping[str, Any]) -> Schedule:
    from tosg_graph.training import Schedule

    names = ("epochs", "patience", "batch_size", "learning_rate", "weight_decay", "clip", "checkpoint_steps")
    return Schedule(**_given(given, *names))


def _machine(given: Mapping[str, Any]) -> Machine:
    from tosg_graph.training import Machine

    return Machine(**_given(given, "device", "devices", "precision", "compile"))
