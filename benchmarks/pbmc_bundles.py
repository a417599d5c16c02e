"""Bundles of blood cells with real knowledge, made by the product itself; no question of its own.

The graph: genes of immune pathways (WikiPathways), the steps of signaling between them, their physical interactions,
and the ligands and receptors that they encode. The cells: two files of blood cells from two laboratories' sets of
labels. Their labels become the five terms of the Cell Ontology that both files can tell apart; cells of other types
are left out, and counted. A bundle learns from one file and tests on the other.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tosg_graph.platform import Platform

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"
SOURCES = ("hgnc", "wikipathways", "signaling", "liana", "ppi", "cl")
PATHWAYS = "(?i).*(t-cell|b cell|il-\\d|interferon|chemokine|toll-like|tyrobp|allograft|complement).*"
QUERY = {
    "members": "MATCH (g:Gene)-[r:PARTICIPATES_IN]->(p:Pathway) WHERE p.name =~ $names RETURN g, r, p",
    "ligands": """\
MATCH (g:Gene)-[r:ENCODES]->(q:Protein)
WHERE EXISTS { (g)-[:PARTICIPATES_IN]->(p:Pathway) WHERE p.name =~ $names } AND EXISTS { (q)-[:LIGAND_OF]-(:Protein) }
RETURN g, r, q""",
}
INDUCE = ("SIGNALS_TO", "INTERACTS_WITH", "LIGAND_OF")
B, CD4, CD8, NK, PHAGOCYTE = "CL:0000236", "CL:0000624", "CL:0000625", "CL:0000623", "CL:0000113"
# soupx_pbmc does not tell subtypes of CD4 T cells apart, nor monocytes from dendritic cells, which the ontology has
# below mononuclear phagocytes.
FILES: dict[str, tuple[str, dict[str, str]]] = {
    "pbmc3k": (
        "cell_type",
        {
            **{"B": B, "CD8 T": CD8, "NK": NK, "Naive CD4 T": CD4, "Memory CD4 T": CD4},
            **{"CD14+ Mono": PHAGOCYTE, "FCGR3A+ Mono": PHAGOCYTE, "DC": PHAGOCYTE},
            "Platelet": "unmapped",
        },
    ),
    "soupx_pbmc": (
        "Annotation",
        {"B": B, "T_CD8": CD8, "NK": NK, "T_CD4": CD4, "MNP": PHAGOCYTE, "?": "unmapped"},
    ),
}
SEED = 0
METRICS = ("macro_f1", "accuracy", "auroc")


def make(work: Path) -> dict[str, Path]:
    """Make what is not there yet: dataset that is the test set -> bundle; ``NAME only``: one dataset, split by cell."""
    work.mkdir(parents=True, exist_ok=True)
    bundles = {"soupx_pbmc": work / "test-soupx_pbmc", "soupx_pbmc only": work / "soupx_pbmc-only"}
    if all(folder.is_dir() for folder in bundles.values()):
        return bundles
    from tosg_graph import server
    from tosg_graph.platform import Platform
    from tosg_graph.settings import read_settings

    given = read_settings()
    mirror = given.mirror or (SHARED / "kg" if (SHARED / "kg").is_dir() else None)
    settings = replace(
        given, home=work / "home", uri=None, user="neo4j", password=None, mirror=mirror, store_at=None
    )
    try:
        with Platform(settings) as platform:
            _export(platform, bundles)
    finally:
        server.stop(settings)
    return bundles


def _export(platform: Platform, bundles: dict[str, Path]) -> None:
    from tosg_graph.obs import ObsMapping
    from tosg_graph.split_plan import SplitPlan

    platform.load(*SOURCES)
    for name, (column, terms) in FILES.items():
        mapping = ObsMapping(columns={"cell_type": column}, terms={"cell_type": terms})
        platform.add_cells(SHARED / "cells" / f"{name}.h5ad", mapping=mapping)
    plans = {
        "soupx_pbmc": ("true", SplitPlan(by="study", hold_out="soupx_pbmc", fractions=(0.8, 0.2, 0.0))),
        "soupx_pbmc only": ("dataset = 'soupx_pbmc'", SplitPlan(fractions=(0.5, 0.1, 0.4))),
    }
    picked = platform.select(QUERY, {"names": PATHWAYS}, induce=INDUCE)
    platform.embed(ids=picked.selection.nodes["id"].to_pylist())  # which writes texts anew: pick after it
    for name, (cells, plan) in plans.items():
        picked = platform.select(QUERY, {"names": PATHWAYS}, cells=cells, induce=INDUCE)
        shutil.rmtree(bundles[name], ignore_errors=True)
        picked.export(bundles[name], label="cell_type", seed=SEED, split=plan)


def permuted(folder: Path, out: Path, seed: int) -> Path:
    """Write the bundle again with the labels of train, and those of val, dealt out anew; test keeps its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tosg_graph import bundle
    from tosg_graph.hashes import sha256_of

    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(folder, out)
    cells = pq.read_table(out / bundle.CELLS)
    split, order = np.array(cells["split"].to_pylist()), np.arange(len(cells))
    rng = np.random.default_rng(seed)
    for side in ("train", "val"):
        mine = np.flatnonzero(split == side)
        order[mine] = rng.permutation(mine)
    for column in ("label", "label_index"):
        dealt = cells[column].take(pa.array(order))
        cells = cells.set_column(cells.column_names.index(column), cells.schema.field(column), dealt)
    pq.write_table(cells, out / bundle.CELLS)
    manifest = json.loads((out / bundle.MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][bundle.CELLS] = sha256_of(out / bundle.CELLS)
    bundle.write_json(manifest, out / bundle.MANIFEST)
    return out


# --------------------------------------------------------------------------- what a report says


def scores(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Model -> metric of the test cells -> mean, low, high, min, max, and seconds of a seed."""
    return {model["model"]: {**model["test"], "seconds": model["seconds"]} for model in report["models"]}


def table(report: dict[str, Any]) -> str:
    """Markdown: a row per model."""
    lines = ["| model | macro-F1 | seeds | accuracy | AUROC | s per seed |", "|--|--:|--:|--:|--:|--:|"]
    for name, found in scores(report).items():
        f1 = found["macro_f1"]
        shown = [f"{found[m]['mean']:.3f} [{found[m]['low']:.3f}, {found[m]['high']:.3f}]" for m in METRICS]
        seeds = f"{f1['min']:.3f} to {f1['max']:.3f}"
        lines.append(f"| {name} | {shown[0]} | {seeds} | {shown[1]} | {shown[2]} | {found['seconds']:.0f} |")
    return "\n".join(lines)
