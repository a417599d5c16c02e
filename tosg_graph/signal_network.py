"""Scores of nodes and edges out of a trained network: what its messages carry, per donor and arm.

As in `signal_scores`, no cell is kept: strengths are added up by donor while the cells pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph import bundle, run_folder
from tosg_graph.bundle_content import BundleContent
from tosg_graph.contract import is_symmetric
from tosg_graph.errors import SignalError
from tosg_graph.hashes import sha256_of
from tosg_graph.predictions import RUN
from tosg_graph.progress import Progress, silent
from tosg_graph.signal_scores import Contrast, Scores, Units, signaling_edges, units

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from tosg_graph.dataset import TosgDataset
    from tosg_graph.models.model_graph import ModelGraph
    from tosg_graph.models.network import SignalingNetwork

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

BATCH = 64  # cells at once
SEEN = "that the network was trained on"


def strength(
    folder: str | Path,
    contrast: Contrast,
    run: str | Path,
    *,
    all_cells: bool = False,
    store: Any = None,
    progress: Progress = silent,
) -> Scores:
    """Score nodes and edges by what a trained network sends along them; see `SignalingNetwork.edge_strength`.

    Only validation and test cells count, whose donors the training has not seen: the network has learned the training
    cells, so that their differences are partly its own.

    Parameters
    ----------
    run
        What `tosg train` wrote, for this very bundle.
    all_cells
        Take the training cells too; the findings say so.

    Raises
    ------
    SignalError
        If the run is of another bundle, was split by cells, has no messages, or the contrast does not fit the cells.
    BundleError, ModelError
        If the bundle or the network is damaged.
    """
    from tosg_graph.models.checkpoint import load
    from tosg_graph.models.model_graph import model_graph

    content, run = BundleContent.open(folder), Path(run)
    _check(content, run, all_cells)
    apart = {} if all_cells else {SEEN: np.array([s == "train" for s in content.cells["split"].to_pylist()])}
    found = units(content.cells, contrast, apart)
    splits = list(_datasets(content, found, store))
    graph = model_graph(splits[0][0])
    network = load(run / run_folder.WEIGHTS, graph).eval()
    if not network.layers:
        raise SignalError(
            f"The network of {run} sends no messages: it has no graph, or no layers. Train another."
        )
    sums, cells = _sums(network, splits, len(found.table), progress)
    scores = _scores(content, found, graph, sums / cells[:, None])
    network_said = {"sha256": sha256_of(run / run_folder.WEIGHTS), "all_cells": all_cells}
    return replace(scores, notes=_notes(all_cells), network=network_said)


def _check(content: BundleContent, run: Path, all_cells: bool) -> None:
    try:
        said = json.loads((run / RUN).read_text(encoding="utf-8"))
        trained_on = said["bundle_sha256"]
    except (FileNotFoundError, NotADirectoryError):
        raise SignalError(
            f"{run} is no run of tosg train: it has no {RUN}. Name the folder that it wrote."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SignalError(f"{run / RUN} cannot be read: {error}. Train again.") from error
    if trained_on != sha256_of(content.folder / bundle.MANIFEST):
        raise SignalError(
            f"The network of {run} was trained on another bundle than {content.folder}, so which donors it has seen "
            "is not known. Name the bundle that it was trained on."
        )
    if content.manifest["split_unit"] == "cell" and not all_cells:
        raise SignalError(
            f"{content.folder} is split by cells, not by donors: the network of {run} has seen every donor. Export "
            "cells of known donors and train again, or add --all-cells, and the findings say so."
        )


def _notes(all_cells: bool) -> tuple[str, ...]:
    what = (
        "strengths of messages in a trained network: what it attends to, which need not be how cells signal"
    )
    if all_cells:
        return what, "cells that the network was trained on count too: their differences are partly its own"
    return what, "only cells of donors that the training has not seen count; validation cells chose the epoch"


def _datasets(content: BundleContent, found: Units, store: Any) -> Iterator[tuple[TosgDataset, Ints]]:
    """Splits with cells that count, and the unit of each of their cells."""
    from tosg_graph.dataset import TosgDataset

    start = 0
    for split in bundle.SPLITS:
        rows = found.row[start : start + content.manifest["splits"].get(split, 0)]
        start += len(rows)
        if (rows >= 0).any():
            yield TosgDataset(content.folder, split, layer="log1p", store=store), rows


def _sums(
    network: SignalingNetwork, splits: list[tuple[TosgDataset, Ints]], count: int, progress: Progress
) -> tuple[Floats, Floats]:
    """Strength of all edges added up by unit, float64 ``(U, E)``, and cells of each unit."""
    import torch

    from tosg_graph.measured_values import MeasuredValues

    total = torch.zeros(count, network.graph.num_edges, dtype=torch.double)
    cells, done = np.zeros(count), 0
    wanted = sum(int((rows >= 0).sum()) for _, rows in splits)
    for dataset, rows in splits:
        known = MeasuredValues(dataset)
        for batch in dataset.feed(BATCH, shuffle=False, rank=0, world_size=1):
            unit = torch.from_numpy(rows[batch.rows.numpy()])
            kept = unit >= 0
            if kept.any():
                total += network.edge_strength(known.x(batch)[kept], unit[kept], count)
                cells += np.bincount(unit[kept].numpy(), minlength=count)
                done += int(kept.sum())
                progress("Scoring cells", done, wanted)
    return total.numpy(), cells


def _scores(content: BundleContent, found: Units, graph: ModelGraph, by_edge: Floats) -> Scores:
    nodes = len(content.nodes)
    edges = signaling_edges(dict(content.edges()), np.arange(nodes), nodes)
    joined = _added(by_edge, _places(edges.table, graph), len(edges.table))
    source, target = graph.edge_index.numpy()
    by_node = _added(by_edge / 2, source, nodes) + _added(by_edge / 2, target, nodes)
    pathway = np.array([kind == "Pathway" for kind in content.nodes["type"].to_pylist()])
    tested, sent = by_node.any(axis=0) & ~pathway, joined.any(axis=0)
    if not tested.any():
        raise SignalError(f"The network sends nothing along the edges of {content.folder}. Train another.")
    at = np.cumsum(tested) - 1
    sent &= tested[edges.source] & tested[edges.target]
    return Scores(
        units=found,
        nodes=np.flatnonzero(tested),
        values=by_node[:, tested],
        edges=edges.table.take(np.flatnonzero(sent)),
        ends=np.stack([at[edges.source[sent]], at[edges.target[sent]]]),
        edge_values=joined[:, sent],
        fractions=np.full((len(by_edge), int(tested.sum())), np.nan),
        left_out={"edges without a message": int((~sent).sum())} if (~sent).any() else {},
    )


def _added(values: Floats, place: Ints, size: int) -> Floats:
    """Add columns up by their places, float64 ``(U, size)``; those of place -1 count nowhere."""
    return np.stack([np.bincount(place[place >= 0], row[place >= 0], size) for row in values])


def _places(table: pa.Table, graph: ModelGraph) -> Ints:
    """Row of the table for each edge of the network, -1 for edges of other verbs."""
    columns = (table[name].to_pylist() for name in ("source_row", "target_row", "verb", "sign"))
    row = {key: number for number, key in enumerate(zip(*columns, strict=True))}
    found = np.full(graph.num_edges, -1, np.int64)
    source, target = graph.edge_index.tolist()
    for edge, (kind, sign) in enumerate(zip(graph.edge_type.tolist(), graph.sign.tolist(), strict=True)):
        verb = graph.edge_type_names[kind][1]
        here = row.get((source[edge], target[edge], verb, int(sign)), -1)
        if here < 0 and is_symmetric(verb):
            here = row.get((target[edge], source[edge], verb, int(sign)), -1)
        found[edge] = here
    return found
