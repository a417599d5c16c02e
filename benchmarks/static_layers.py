"""What does one sum over neighbours cost, forward and backward, for eight cells on one graph of 400,000 edges?

`sparse`: one product with the node-major view, as `SharedLayer` does for GCN, SAGE, GIN and GraphConv. `cells_first`:
the same from and to ``(B, N, F)``, with the copies that turn it. `block_diagonal`: PyG's ``SimpleConv`` on eight copies
of the graph, whose index is made beforehand. `direct`: ``SimpleConv`` on ``(B, N, F)``. Every way is a process of its
own, three times in turn.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import command_line

from tosg_graph import memory

SEED = 61
NODES = 50_000
EDGES = 400_000
CELLS = 8
WIDTH = 8
STEPS = 5
ROUNDS = 3
WAYS = ("sparse", "cells_first", "block_diagonal", "direct")


def measure(work: Path, share: float) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    spawn = multiprocessing.get_context("spawn")
    for way in WAYS * ROUNDS:
        with spawn.Pool(1) as pool:
            runs[way].append(pool.apply(one_way, (way, share)))
    sums = [run["sum"] for said in runs.values() for run in said]
    if max(sums) - min(sums) > 1e-4 * abs(max(sums)):
        raise SystemExit(f"The ways do not give the same numbers: {runs}")
    figures = {}
    seconds = {
        way: statistics.median(s for run in said for s in run["seconds"]) for way, said in runs.items()
    }
    for way, said in runs.items():
        figures[f"{way}_ms"] = command_line.figure(seconds[way] * 1000, "ms")
        figures[f"{way}_step_mb"] = command_line.figure(
            statistics.median(run["step"] for run in said) / 1e6, "MB"
        )
    for way in WAYS[2:]:
        figures[f"{way}_ratio_to_sparse"] = command_line.figure(seconds[way] / seconds["sparse"], "")
    return {"name": "static_layers", "machine": command_line.machine(), "figures": figures, "peers": {}}


def one_way(way: str, share: float) -> dict[str, Any]:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # PyG scripts functions when imported, which newer torch calls deprecated
        from torch_geometric.nn import SimpleConv

    from tosg_graph.topology import Topology

    nodes, edges = round(NODES * share), round(EDGES * share)
    torch.manual_seed(SEED)
    topology = Topology(torch.randint(nodes, (2, edges)), nodes)
    given = torch.rand(CELLS, nodes, WIDTH)
    x = given.transpose(0, 1).contiguous() if way == "sparse" else given
    x.requires_grad_()
    weight = torch.rand(nodes, 1, 1) if way == "sparse" else torch.rand(nodes, 1)
    conv = SimpleConv("sum")
    _step(lambda: x * 2, weight)  # touches what every way needs

    def run() -> Any:
        if way == "sparse":
            return (topology.matrix(x) @ x.view(nodes, -1)).view(nodes, CELLS, WIDTH)
        if way == "cells_first":
            turned = x.transpose(0, 1).reshape(nodes, -1)
            return (topology.matrix(x) @ turned).view(nodes, CELLS, WIDTH).transpose(0, 1)
        if way == "direct":
            return conv(x, topology.edge_index)
        index = topology.blocks(CELLS, x.device)
        return conv(x.view(-1, WIDTH), index).view(CELLS, nodes, WIDTH)

    first = _step(run, weight)  # makes matrix and index
    memory.give_back()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: what making them took is not in it
    before, seconds = _memory("VmRSS"), []
    for _ in range(STEPS):
        start = time.perf_counter()
        _step(run, weight)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "step": _memory("VmHWM") - before, "sum": first}


def _step(run: Any, weight: Any) -> float:
    out = (run() * weight).sum()
    out.backward()
    return float(out.detach())


def _memory(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024


if __name__ == "__main__":
    command_line.run(__doc__, "static_layers", (0.1, "a graph of a tenth of the size"), measure)
