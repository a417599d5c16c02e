"""Do few labels of one file go further after pretraining on another?

A network is pretrained on PBMC 3k, whose labels it does not read, over the graph of `pbmc_bundles.py`. Then 5, 20 and
100 labels of each type are drawn from half of the cells of soupx_pbmc, anew for each seed, and fitted to: the
pretrained network (all weights, or the readout only), the same network from scratch, and the baselines. They choose on
a tenth of the cells, whose labels all of them see alike, and are tested on the rest.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import classify_pbmc
import command_line
import pbmc_bundles

PER_CLASS = (5, 20, 100)
SEEDS = 3
SCHEDULE: dict[str, Any] = {"epochs": 12, "patience": 4, "learning_rate": 2e-3}


def measure(work: Path, share: float) -> dict[str, Any]:
    small = share < 1
    bundles = pbmc_bundles.make(work)
    started = time.perf_counter()
    schedule = {**SCHEDULE, "epochs": 1} if small else SCHEDULE
    pretrained = pretrain(bundles["soupx_pbmc"], work / "pretrained", schedule)
    pretraining = time.perf_counter() - started
    figures: dict[str, Any] = {"pretraining_seconds": command_line.figure(pretraining, "s")}
    peers: dict[str, Any] = {}
    for number in PER_CLASS[: 1 if small else None]:
        options = {"pretrained": pretrained, "plan": None, "per_class": number, "schedule": schedule}
        given = {
            "fine-tuned": {"ablations": ("scratch",)},
            "frozen": {"mode": "frozen", "ablations": (), "baselines": False},
        }
        for mode, more in given.items():
            run = work / f"few-{number}-{mode}"
            report = classify_pbmc.learn(
                bundles["soupx_pbmc only"], run, seeds=1 if small else SEEDS, **options, **more
            )
            print(f"{number} labels of each type, {mode}", pbmc_bundles.table(report), file=sys.stderr)
            for name, model in pbmc_bundles.scores(report).items():
                shown = f"graph, {mode}" if name == "graph" else name
                peers[f"{number} of each type: {shown}"] = model
                key = f"macro_f1_{number}_{shown.replace(', ', '_').replace(' ', '_').replace('-', '_')}"
                figures[key] = command_line.figure(model["macro_f1"]["mean"], "")
            if mode == "fine-tuned":
                peers[f"{number} of each type: findings"] = report["findings"]
    figures["seconds"] = command_line.figure(time.perf_counter() - started, "s")
    return {"name": "transfer_pbmc", "machine": command_line.machine(), "figures": figures, "peers": peers}


def pretrain(bundle: Path, run: Path, schedule: dict[str, Any]) -> Path:
    import tosg_graph as tg
    from tosg_graph.models.network import NetworkPlan
    from tosg_graph.training import Machine, Schedule

    for left in (run, run.with_name(f"{run.name}.partial")):
        shutil.rmtree(left, ignore_errors=True)
    plan = NetworkPlan(**classify_pbmc.PLAN)
    tg.pretrain(bundle, run, plan=plan, schedule=Schedule(**schedule), machine=Machine(device="cpu"))
    return run


if __name__ == "__main__":
    command_line.run(__doc__, "transfer_pbmc", (0.1, "5 labels of each type, one seed, one epoch"), measure)
