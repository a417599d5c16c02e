"""``tosg train classify``: the label of a bundle learned from text, graph and abundance together.

Everything is chosen on the validation cells. The test split is opened by one function, `_predict_test`, when nothing
is left to choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tosg_graph import bundle, predictions, run_folder, trainable
from tosg_graph.errors import TrainingError
from tosg_graph.hashes import sha256_of
from tosg_graph.label_task import (
    ABLATIONS,
    MODES,
    Mode,
    Recipe,
    Source,
    adapters_of,
    labelled,
    macro_f1,
    predict,
)
from tosg_graph.model_card import write_card
from tosg_graph.models.checkpoint import load_shared, save
from tosg_graph.models.model_graph import model_graph
from tosg_graph.models.network import NetworkPlan
from tosg_graph.models.text_encoder import Joint, check_joint
from tosg_graph.predictions import Predicted
from tosg_graph.progress import Progress, silent
from tosg_graph.training import Fitted, Machine, Schedule, fit

if TYPE_CHECKING:
    from tosg_graph.dataset import TosgDataset


@dataclass(frozen=True)
class Classified:
    """What a training left.

    Parameters
    ----------
    run
        The folder.
    scores
        One row per model: ``model``, ``macro-F1 val``, ``macro-F1 test``, ``accuracy test``, means over seeds, and
        ``seconds`` of all seeds.
    """

    run: Path
    scores: list[dict[str, Any]]


def classify(
    folder: str | Path,
    out: str | Path,
    *,
    pretrained: str | Path | None = None,
    mode: Mode | None = None,
    plan: NetworkPlan | None = None,
    joint: Joint | None = None,
    seeds: int = 3,
    per_class: int | None = None,
    balanced: bool = False,
    ablations: Sequence[str] | Literal["all"] = "all",
    baselines: bool = True,
    schedule: Schedule | None = None,
    machine: Machine | None = None,
    allow_one_donor: bool = False,
    store: str | Path | None = None,
    progress: Progress = silent,
) -> Classified:
    """Learn the label of a bundle, and predict its validation and test cells.

    Parameters
    ----------
    folder
        The bundle.
    out
        The run to write; while it is made, ``out.partial`` holds what the same call goes on from.
    pretrained
        Run of `pretrain` to start from; the plan is its own then.
    mode
        ``scratch``, ``frozen`` (only the readout is fitted) or ``fine-tuned``, the default with ``pretrained``.
    plan
        What the network is made of.
    joint
        Train the encoder of texts too, by adapters; ``all`` ablations then have the network with frozen text.
    seeds
        How many fits of each model, from seeds 0, 1 and so on.
    per_class
        Learn from so many labels of each class only; another draw for each seed. Validation keeps all of its cells.
    balanced
        Let each class weigh the same in the loss.
    ablations
        Which of `ABLATIONS` to train beside it; ``all`` that apply.
    baselines
        Fit models without a graph beside it.
    allow_one_donor
        Accept classes whose cells are all of one donor.
    store
        The store that a bundle without abundance was exported from.

    Raises
    ------
    TrainingError
        If the bundle cannot be learned from, the options do not fit, ``out`` exists, or the training diverges.
    BundleError
        If the bundle is damaged or of a newer format, or has no texts and ``joint`` needs them.
    ModelError
        If the encoder that ``joint`` trains is not at hand, not that of the bundle, or ``peft`` is not installed.
    """
    source = Source(Path(folder), None if store is None else str(store))
    schedule, machine = schedule or Schedule(), machine or Machine()
    start = None if pretrained is None else Path(pretrained) / run_folder.WEIGHTS
    mode = _mode(mode, start)
    if start and not start.is_file():
        raise TrainingError(f"{pretrained} is no run with a network. Make one with tosg train pretrain.")
    if seeds < 1:
        raise TrainingError(f"seeds={seeds} is below 1.")
    manifest = bundle.read_manifest(source.bundle)
    bundle.verify(source.bundle, manifest)
    notes = trainable.check(source.bundle, manifest, allow_one_donor=allow_one_donor)
    plan, taken_over = _begin(plan, start, source)
    if plan.text:
        trainable.check_text(source.bundle, manifest)
    joint, encoder = _joint(joint, source, plan, mode, machine)
    chosen = _ablations(ablations, plan, start, joint)
    command = {
        "task": "classify",
        "bundle_sha256": sha256_of(source.bundle / bundle.MANIFEST),
        "plan": plan.as_dict(),
        "mode": mode,
        "joint": encoder,
        "pretrained_sha256": sha256_of(start) if start else None,
        "seeds": list(range(seeds)),
        "per_class": per_class,
        "balanced": balanced,
        "ablations": chosen,
        "baselines": baselines,
        "schedule": asdict(schedule),
        "machine": asdict(machine),
    }
    recipes = [
        Recipe(source, plan, seed, ablation, start, mode, per_class, balanced, joint)
        for ablation in (None, *chosen)
        for seed in range(seeds)
    ]
    with run_folder.run_folder(Path(out), command) as partial:
        fits = {}
        for recipe in recipes:
            place = partial / run_folder.FITS / f"{recipe.ablation or 'plan'}-{recipe.seed}"
            fits[recipe] = fit(
                recipe, place, schedule, machine, name=recipe.name, seed=recipe.seed, progress=progress
            )
        val = _predict_val(fits, machine)
        test = _predict_test(source, fits, machine, baselines, progress)
        about = {**command, "notes": notes, "taken_over": taken_over, "software": run_folder.software()}
        predictions.write(partial, source.bundle, [*val, *test], about)
        run_folder.write_history(partial, [(r.name, r.seed, f) for r, f in fits.items()])
        _save_best(partial, fits)
        write_card(partial, manifest)
    return Classified(Path(out), scores(Path(out).expanduser()))


def _predict_val(fits: Mapping[Recipe, Fitted], machine: Machine) -> list[Predicted]:
    return [_predicted(recipe, fitted, recipe.source.open("val"), machine) for recipe, fitted in fits.items()]


def _predict_test(
    source: Source, fits: Mapping[Recipe, Fitted], machine: Machine, baselines: bool, progress: Progress
) -> list[Predicted]:
    """Predict the test cells with networks that are chosen: nothing else in this package's training opens them.

    Baselines choose on validation inside `tosg_graph.baselines.fit`, and predict with what they chose.
    """
    test = source.open("test")
    found = [_predicted(recipe, fitted, test, machine) for recipe, fitted in fits.items()]
    return found + (_baselines(list(fits), test, progress) if baselines else [])


def _predicted(recipe: Recipe, fitted: Fitted, cells: TosgDataset, machine: Machine) -> Predicted:
    network = recipe.fitted(cells, fitted.weights).to(machine.kind)
    with machine.autocast():
        probability = predict(network, cells)
    return Predicted(
        model=recipe.name,
        seed=recipe.seed,
        split=cells.split,
        rows=np.arange(len(cells)),
        probability=probability,
        seconds=fitted.seconds,
        parameters=fitted.parameters,
        chosen={"epoch": fitted.epoch, "epochs": fitted.epochs},
    )


def _baselines(recipes: Sequence[Recipe], test: TosgDataset, progress: Progress) -> list[Predicted]:
    from tosg_graph.baselines import BASELINES, fit

    planned = [recipe for recipe in recipes if recipe.ablation is None]
    found: list[Predicted] = []
    for name in BASELINES:
        for recipe in planned:
            progress(f"baseline {name}", recipe.seed, len(planned))
            train = labelled(recipe.source.open("train"), recipe.per_class, recipe.seed)
            found += fit(name, train, recipe.source.open("val"), test, recipe.seed)
        progress(f"baseline {name}", len(planned), len(planned))
    return found


# --------------------------------------------------------------------------- what is asked for


def _mode(mode: Mode | None, start: Path | None) -> Mode:
    if mode is not None and mode not in MODES:
        raise TrainingError(f"mode={mode!r} is unknown; choose {', '.join(MODES)}.")
    if start is None and mode in ("frozen", "fine-tuned"):
        raise TrainingError(
            f"mode={mode!r} needs a pretrained model. Add --from RUN, made by tosg train pretrain."
        )
    if start is not None and mode == "scratch":
        raise TrainingError("mode='scratch' does not begin with a pretrained model. Leave --from out.")
    return mode or ("scratch" if start is None else "fine-tuned")


def _begin(
    plan: NetworkPlan | None, start: Path | None, source: Source
) -> tuple[NetworkPlan, dict[str, str]]:
    """The plan, which is that of a pretrained network where there is one, and what is taken over of it."""
    if start is None:
        return plan or NetworkPlan(), {}
    train = source.open("train")
    network, transferred = load_shared(start, model_graph(train), train.num_classes, seed=0)
    if plan is not None and plan != network.plan:
        ours, theirs = plan.as_dict(), network.plan.as_dict()
        odd = next(name for name in ours if ours[name] != theirs[name])
        raise TrainingError(
            f"The pretrained network has {odd}={theirs[odd]!r}, not {ours[odd]!r}. Leave options of the network out: "
            "they are its own."
        )
    return network.plan, transferred.as_facts()


def _joint(
    joint: Joint | None, source: Source, plan: NetworkPlan, mode: Mode, machine: Machine
) -> tuple[Joint | None, dict[str, Any] | None]:
    """How the encoder learns, with the encoder by name, and what a run says of it: no place on this machine."""
    from tosg_graph.encoders import open_encoder

    if joint is None:
        return None, None
    if not plan.text:
        raise TrainingError(
            "--joint trains the encoder of texts, and --no-text leaves texts out. Choose one."
        )
    if mode == "frozen":
        raise TrainingError(
            "--joint trains the encoder of texts, and mode='frozen' the readout only. Choose one."
        )
    if machine.devices > 1 or machine.compile:
        raise TrainingError(
            "--joint works on one device, and without --compile. Leave --devices and --compile out."
        )
    train = source.open("train")
    check_joint(train, joint)
    joint = replace(joint, encoder=joint.encoder or train.manifest["encoder"])
    found = open_encoder(joint.encoder)
    return joint, {**asdict(joint), "encoder": found.name, "encoder_sha256": found.revision}


def _ablations(
    asked: Sequence[str] | Literal["all"], plan: NetworkPlan, start: Path | None, joint: Joint | None
) -> list[str]:
    """Those asked for, in their own order; ``all`` are those that leave something out that is there."""
    if unknown := [name for name in asked if asked != "all" and name not in ABLATIONS]:
        raise TrainingError(
            f"There is no ablation {unknown[0]!r}; choose all, none or {', '.join(ABLATIONS)}."
        )
    there = {
        "text": plan.text,
        "shuffled-text": plan.text,
        "edges": plan.graph,
        "shuffled-edges": plan.graph,
    }
    fits = {name: present and start is None for name, present in there.items()} | {
        "scratch": start is not None,
        "frozen-text": joint is not None,
    }
    if asked == "all":
        return [name for name in ABLATIONS if fits[name]]
    if odd := [name for name in asked if not fits[name]]:
        why = (
            "the network has no such part to leave out"
            if start is None
            else "the pretrained model has learned with it; pretrain without it instead"
        )
        if odd[0] == "scratch":
            why = "it is trained from scratch already"
        if odd[0] == "frozen-text":
            why = "the encoder of texts learns with --joint only"
        raise TrainingError(f"The ablation {odd[0]!r} says nothing here: {why}. Choose others.")
    return [name for name in ABLATIONS if name in asked]


# --------------------------------------------------------------------------- what is left


def _save_best(partial: Path, fits: Mapping[Recipe, Fitted]) -> None:
    """Save the network as planned, of the seed that validation likes best."""
    planned = [recipe for recipe in fits if recipe.ablation is None]
    best = max(planned, key=lambda recipe: fits[recipe].score)
    state = fits[best].weights
    network = best.fitted(best.source.open("train"), state)
    save(network, partial / run_folder.WEIGHTS, adapters_of(state))


def scores(run: Path) -> list[dict[str, Any]]:
    """One row per model, means over seeds; `Classified` names the columns."""
    found = predictions.read(run)
    reached: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for said, rows in predictions.groups(found):
        truth = rows["label_index"].to_numpy()
        guess = predictions.matrix(rows, len(found.classes), said).argmax(1)
        key = rows["model"][0].as_py(), rows["split"][0].as_py()
        reached.setdefault(key, []).append((macro_f1(truth, guess), float((truth == guess).mean())))
    return [
        {
            "model": model["model"],
            "macro-F1 val": float(np.mean([f1 for f1, _ in reached[model["model"], "val"]])),
            "macro-F1 test": float(np.mean([f1 for f1, _ in reached[model["model"], "test"]])),
            "accuracy test": float(np.mean([accuracy for _, accuracy in reached[model["model"], "test"]])),
            "seeds": len(model["seeds"]),
            "seconds": sum(line["seconds"] for line in model["seeds"]),
        }
        for model in found.about["models"]
    ]
