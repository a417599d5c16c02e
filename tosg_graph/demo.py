"""The main job once, on real data: load, ask, export, train. What is already there is reused."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import show
from tosg_graph.cells import PBMC68K

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.classification import Classified
    from tosg_graph.platform import Picked, Platform
    from tosg_graph.types import CellsLedger, LedgerLine

PATHWAY = "T-cell receptor signaling pathway"
QUESTION = f"Which genes of the {PATHWAY} do blood cells express, and which cells most?"
QUESTION_CYPHER = """\
MATCH (g:Gene)-[:PARTICIPATES_IN]->(:Pathway {name: $pathway})
RETURN g.id AS gene, g.name AS symbol"""
LABEL = "cell_type"
CELLS = f"dataset = '{PBMC68K}'"  # whatever else is in the store stays out of the demo
# Immune pathways and their genes: enough to tell kinds of blood cells apart.
EXPORT_CYPHER = """\
MATCH (g:Gene)-[r:PARTICIPATES_IN]->(p:Pathway)
WHERE p.name =~ $names
RETURN g, r, p"""
EXPORT_NAMES = "(?i).*(t-cell|b cell|il-\\d|interferon|chemokine|toll-like|tyrobp|allograft|complement).*"
SEED = 0
HIDDEN, LAYERS, EPOCHS, RATE = 32, 1, 8, 0.005  # some seconds, for 560 cells


def run(platform: Platform) -> None:
    """Run the demo and print what it found.

    Raises
    ------
    TosgError
        From the step that failed; the steps before it are kept, so the next run goes on from there.
    """
    started = time.monotonic()
    _say("1/5 Knowledge: the demo graph in Neo4j")
    ledger = _knowledge(platform)
    _say("2/5 Cells: scanpy's bundled blood cells")
    cells = _cells(platform)
    ledger += _expression(platform)
    _say("3/5 A question that needs both")
    answer = _answer(platform)
    _say("4/5 Text embeddings and export")
    bundle, manifest = _bundle(platform)
    _say("5/5 A small network over text, graph and cells, and baselines without a graph")
    fit = _fit(platform, bundle)
    _summary(platform, ledger, cells, answer, bundle, manifest, fit)
    print(f"\nDone in {time.monotonic() - started:.0f} s.")


def _say(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


def _knowledge(platform: Platform) -> list[LedgerLine]:
    """Load the demo graph, or read the ledgers of the loads that are there."""
    from loaders import LOADERS
    from tosg_graph.release import stored_release

    release = stored_release(platform.graph)
    if release:
        held = {line.rsplit(" ", 1)[0] for line in release["contents"]}
        wanted = {k: m.SOURCE.version for k, m in LOADERS.items() if m.SOURCE.in_demo}
        kept = _newest_lines(platform.settings.ledgers, release["releases"])
        if {f"{k} {v}" for k, v in wanted.items()} <= held and wanted.keys() <= kept.keys():
            return [line for key in wanted for line in kept[key]]
    return platform.load("demo")


def _expression(platform: Platform) -> list[LedgerLine]:
    """Summarise the demo's cells into the graph, unless it has a summary, perhaps of the user's own cells."""
    from tosg_graph.release import stored_release
    from tosg_graph.summarize import SOURCE

    release = stored_release(platform.graph)
    if release and any(line.startswith(f"{SOURCE} ") for line in release["contents"]):
        return _newest_lines(platform.settings.ledgers, release["releases"]).get(SOURCE, [])
    return [platform.summarize(CELLS).ledger]


def _newest_lines(folder: Path, releases: Sequence[str]) -> dict[str, list[LedgerLine]]:
    """Ledger lines of each source from the newest release that loaded it; ``releases`` are newest first."""
    from tosg_graph.ledger import from_json

    found: dict[str, list[LedgerLine]] = {}
    for release in releases:
        path = folder / f"{release}.json"
        lines = from_json(path.read_text(encoding="utf-8")) if path.is_file() else []
        for source in {line.source for line in lines} - found.keys():
            found[source] = [line for line in lines if line.source == source]
    return found


def _cells(platform: Platform) -> CellsLedger:
    from tosg_graph.cells import add_scanpy_pbmc

    return add_scanpy_pbmc(platform.graph, platform.store, progress=platform.progress)


def _answer(platform: Platform) -> pa.Table:
    """Per gene, the kind of cell with the highest mean; genes that were not measured are left out here."""
    rows = platform.query(
        QUESTION_CYPHER, {"pathway": PATHWAY}, abundance=["mean", "pct"], by=LABEL, cells=CELLS
    ).to_pandas()
    measured = rows.dropna(subset=["mean"])
    top = measured.sort_values(["mean", "symbol", LABEL], ascending=[False, True, True])
    top = top.drop_duplicates("symbol")[["symbol", LABEL, "mean", "pct", "cells"]]

    import pyarrow as pa

    return pa.Table.from_pandas(top, preserve_index=False)


def _bundle(platform: Platform) -> tuple[Path, dict[str, Any]]:
    """Embed the text of what is exported, and export it; a bundle of the same inputs is kept."""
    parameters = {"names": EXPORT_NAMES}
    platform.embed(ids=platform.select(EXPORT_CYPHER, parameters).selection.nodes["id"].to_pylist())
    picked = platform.select(EXPORT_CYPHER, parameters, cells=CELLS)  # now, for embed writes texts anew
    out = platform.settings.home / "exports" / "demo"
    if not _is_current(out, platform, picked):
        run = _run(platform)
        for old in (out, run, run.with_name(f"{run.name}.partial")):  # what was learned was learned from it
            shutil.rmtree(old, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        picked.export(out, label=LABEL, seed=SEED)
    return out, json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def _fit(platform: Platform, bundle: Path) -> Classified:
    """Train a small network, from one seed and without ablations, beside baselines; a run of this bundle is kept."""
    from tosg_graph.classification import Classified, classify, scores
    from tosg_graph.models.network import NetworkPlan
    from tosg_graph.training import Schedule

    run = _run(platform)
    if run.is_dir():
        return Classified(run, scores(run))
    return classify(
        bundle,
        run,
        plan=NetworkPlan(hidden=HIDDEN, layers=LAYERS),
        schedule=Schedule(epochs=EPOCHS, learning_rate=RATE),
        seeds=1,
        ablations=(),
        progress=platform.progress,
    )


def _run(platform: Platform) -> Path:
    return platform.settings.home / "runs" / "demo"


def _is_current(out: Path, platform: Platform, picked: Picked) -> bool:
    """Tell whether the bundle at ``out`` was made of today's graph and question; its cells never change."""
    from tosg_graph.release import graph_release

    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(
        manifest["cells"] == CELLS
        and manifest["query"] == picked.selection.query
        and manifest["parameters"] == picked.selection.parameters
        and manifest["graph_release"] == graph_release(platform.graph)
        and manifest["seed"] == SEED
    )


def _summary(
    platform: Platform,
    ledger: list[LedgerLine],
    cells: CellsLedger,
    answer: pa.Table,
    bundle: Path,
    manifest: dict[str, Any],
    fit: Classified,
) -> None:
    from tosg_graph.server import browser_login
    from tosg_graph.split_plan import SPLITS

    show.load_ledger(ledger)
    show.cells_ledger([cells])
    print("The counts of this data set are reconstructed from normalised values; see docs/cells.md.\n")
    show.arrow(answer.slice(0, 10), f"{QUESTION} (mean: raw counts per cell; pct: % of cells)")
    show.facts(
        {
            "export": bundle,
            "nodes": _counted(manifest["nodes"]),
            "edges": _counted(manifest["edges"]),
            "cells": _counted({split: manifest["splits"][split] for split in SPLITS}),
        }
    )
    print(
        f"\nWhat was learned: {LABEL} of cells, split by {manifest['split_unit']}, verdict {manifest['verdict']}."
    )
    show.classified(fit)
    print()
    show.facts(browser_login(platform.settings, platform.graph.address))
    run, folder = shlex.quote(str(fit.run)), shlex.quote(str(bundle))
    print(
        "\nNext:\n"
        '  tosg search "interferon response"\n'
        "  tosg query --list\n"
        "  tosg cells add your.h5ad --column cell_type=YOUR_COLUMN --column donor=YOUR_COLUMN\n"
        f"  tosg evaluate {run}\n"
        f"  tosg train classify {folder} --out run   # three seeds, and the network with parts left out\n"
        "  tosg signal BUNDLE --by disease --case ... --control ...   # a bundle of cells of several donors"
    )


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
