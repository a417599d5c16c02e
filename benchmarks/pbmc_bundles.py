"""Bundles of blood cells with real knowledge, made by the product's own loaders, server and export; no question of its own.

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


def make(work: Path) -> dict[str, Path]:
    """Make what is not there yet: dataset that is held out -> bundle."""
    work.mkdir(parents=True, exist_ok=True)
    bundles = {name: work / f"test-{name}" for name in FILES}
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
    names = ", ".join(f"'{name}'" for name in FILES)
    picked = platform.select(
        QUERY, {"names": PATHWAYS}, cells=f"dataset IN ({names}) AND cell_type != 'unmapped'", induce=INDUCE
    )
    platform.embed(ids=picked.selection.nodes["id"].to_pylist())
    for name, folder in bundles.items():
        shutil.rmtree(folder, ignore_errors=True)
        plan = SplitPlan(by="study", hold_out=name, fractions=(0.8, 0.2, 0.0))
        picked.export(folder, label="cell_type", seed=SEED, split=plan)


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


def described(folder: Path) -> dict[str, Any]:
    """Counts of a bundle, for the figures."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {key: manifest[key] for key in ("nodes", "edges", "splits", "classes", "verdict", "left_out") if key in manifest}
