"""A small world with a rule to learn: cases have more of the genes of one pathway than controls.

12 genes, 6 proteins, 2 pathways; 160 cells of 16 donors, each donor with cases and controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import toy_bundle as toy
from scipy.sparse import csr_array

from tosg_graph.export import write_bundle
from tosg_graph.split_plan import SplitPlan
from tosg_graph.types import Selection

GENES, PROTEINS, PATHWAYS = 12, 6, 2
NODES = GENES + PATHWAYS + PROTEINS
CELLS, DONORS = 160, 16
_RNG = np.random.default_rng(5)
IS_CASE = _RNG.permutation(np.arange(CELLS) // DONORS % 2 == 0)
_RATE = np.where(IS_CASE[:, None] & (np.arange(GENES) < GENES // 2), 12.0, 4.0)
COUNTS = _RNG.poisson(_RATE).astype(np.int32)


def ids() -> list[str]:
    """Genes, pathways, proteins: sorted by type, then id."""
    genes = [f"HGNC:{k:02d}" for k in range(GENES)]
    pathways = [f"WIKIPATHWAYS:WP{k}" for k in range(PATHWAYS)]
    return [*genes, *pathways, *(f"UniProtKB:P{k}" for k in range(PROTEINS))]


def selection(texts: Sequence[str | None] | None = None) -> Selection:
    types = ["Gene"] * GENES + ["Pathway"] * PATHWAYS + ["Protein"] * PROTEINS
    nodes = pa.table(
        {
            "id": ids(),
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": [f"name of {i}" for i in ids()],
            "text_sha": [f"sha{k}" for k in range(NODES)],
        }
    )
    if texts is not None:
        nodes = nodes.append_column("text", pa.array(texts, pa.string()))
    # Genes signal within their pathway, to the next ones; one of them is stated twice, one is mirrored.
    signals = [(a, b) for a in range(GENES) for b in range(GENES) if a // 6 == b // 6 and 0 < (b - a) % 6 < 4]
    rows = [(a, b, 100 + k, "a", 0.5, 1 if k % 3 else -1) for k, (a, b) in enumerate(signals)]
    rows += [(0, 1, 500, "b", None, None)]
    member = [(g, GENES + g // 6, 600 + g, "w", None, None) for g in range(GENES)]
    encodes = [(2 * p, GENES + PATHWAYS + p, 700 + p, "h", None, None) for p in range(PROTEINS)]
    return Selection(
        nodes=nodes,
        edges={
            ("Gene", "ENCODES", "Protein"): toy.edges(encodes),
            ("Gene", "PARTICIPATES_IN", "Pathway"): toy.edges(member),
            ("Gene", "SIGNALS_TO", "Gene"): toy.edges(sorted(rows)),
        },
        query="MATCH (g:Gene) RETURN g",
        parameters={},
    )


def cells(**columns: Sequence[Any]) -> pa.Table:
    given: dict[str, Any] = {
        "cell_id": [f"cell-{k:03d}" for k in range(CELLS)],
        "dataset": ["toy"] * CELLS,
        "barcode": [f"BC{k}" for k in range(CELLS)],
        "donor": [f"donor{k % DONORS:02d}" for k in range(CELLS)],
        "disease": ["case" if case else "control" for case in IS_CASE],
        "n_counts": pa.array([3000] * CELLS, pa.int64()),
    }
    return pa.table({**given, **columns})


def counts(cell_ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
    rows = [int(name.split("-")[1]) for name in cell_ids]
    return csr_array(COUNTS[np.ix_(rows, list(columns))])


def write(
    out: Path,
    *,
    text: bool = True,
    texts: Sequence[str | None] | None = None,
    vectors: Any = None,
    edge_task: Any = None,
    seed: int = 7,
    **columns: Sequence[Any],
) -> Path:
    """Export the world; ``columns`` replace those of the cells."""
    if vectors is None:
        vectors = np.random.default_rng(1).normal(size=(NODES, 8)).astype(np.float32) * text
    axis = pa.table(
        {
            "column": pa.array(range(GENES), pa.int32()),
            "feature": [f"g{k}" for k in range(GENES)],
            "gene_id": ids()[:GENES],
        }
    )
    measured = toy.measured(
        cells=cells(**columns),
        axis=axis,
        counts=counts,
        text=vectors,
        text_mask=np.full(NODES, text),
    )
    more = {} if edge_task is None else {"edge_task": edge_task}
    plan = SplitPlan(fractions=(0.6, 0.2, 0.2))
    write_bundle(
        selection(texts), measured, cohort="true", label="disease", out=out, seed=seed, split=plan, **more
    )
    return out
