"""How many cells a second does a step of training take in, and how much memory, beside the same step built with PyG?

A step is forward, backward and Adam. First the shapes of the reference: two layers of GCN, and of GAT with 4 heads and
then 1, from 1 to 8 to 8 numbers, 533,458 nodes, 2 million edges, 2 cells. Then 2,000 and 20,000 nodes with ten edges
each: two layers of SAGE and of GAT, 64 wide, mean over nodes and a head; and our own network, which has no peer in PyG.
`shared` is `SharedLayer` on one topology; `batch` the same layers with the same weights on PyG's ``Batch`` of the
cells, made before the clock starts. Outputs and gradients of both are compared first. Every way is a process of its
own, three times in turn, that keeps the memory it freed (`tosg_graph.memory.kept`). `step_gb` is what a step takes
beyond what was held before it.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import command_line

from tosg_graph import memory

SEED = 97
STEPS = 5
ROUNDS = 3
AIM = 3  # times as fast as PyG's block diagonal, on the shapes of the reference
WIDTH = 64
CLASSES = 10


class Case(NamedTuple):
    """A network, the graph and the number of cells; the same layers run both ways."""

    network: str
    nodes: int
    edges: int
    cells: int


REFERENCE = {
    "gcn": Case("reference gcn", 533_458, 2_000_000, 2),
    "gat": Case("reference gat", 533_458, 2_000_000, 2),
}
CACHED = Case("reference gcn, cached", 533_458, 2_000_000, 2)
PLAIN = [
    Case(name, nodes, 10 * nodes, cells)
    for nodes, cells in ((2_000, 64), (20_000, 8))
    for name in ("sage", "gat")
]
OURS = [
    Case(f"ours {conv}", c.nodes, c.edges, c.cells) for c in PLAIN[::2] for conv in ("typed", "gcn", "gat")
]


def measure(work: Path, share: float) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    peers: dict[str, Any] = {}
    full = share == 1.0
    rounds, plain, network = (ROUNDS, PLAIN, OURS) if full else (1, PLAIN[:2], OURS[:2])
    for device in devices():
        prefix = "" if device == "cpu" else f"{device}_"
        for case in (*REFERENCE.values(), *plain):
            compare(case, device)
        for name, case in REFERENCE.items():
            said = turns(scaled(case, share), ("shared", "batch"), device, rounds)
            faster = said["batch"]["seconds"] / said["shared"]["seconds"]
            figures[f"{prefix}{name}_times_faster"] = command_line.figure(faster, "", AIM if full else None)
            describe(figures, peers, f"{prefix}{name}", case, said)
        cached = turns(scaled(CACHED, share), ("batch",), device, rounds)
        describe(figures, peers, f"{prefix}gcn_with_cached_weights", CACHED, cached)
        for case in plain:
            said = turns(scaled(case, share), ("shared", "batch"), device, rounds)
            name = f"{prefix}{case.network}_{case.nodes}_nodes"
            faster = said["batch"]["seconds"] / said["shared"]["seconds"]
            figures[f"{name}_times_faster"] = command_line.figure(faster, "")
            describe(figures, peers, name, case, said)
        for case in network:
            said = turns(scaled(case, share), ("ours",), device, rounds)
            conv = case.network.split()[1]
            name = f"{prefix}{'' if conv == 'typed' else conv + '_network_'}{case.nodes}_nodes"
            rate = case.cells / said["ours"]["seconds"]
            figures[f"cells_per_second_{name}"] = command_line.figure(rate, "cells/s")
            figures[f"peak_gb_{name}"] = command_line.figure(said["ours"]["peak"] / 1e9, "GB")
    return {"name": "train_step", "machine": command_line.machine(), "figures": figures, "peers": peers}


def devices() -> list[str]:
    import torch

    if torch.cuda.is_available():
        return ["cpu", "cuda"]
    print("On a GPU: not measured, there is none.")
    return ["cpu"]


def scaled(case: Case, share: float) -> Case:
    return case._replace(nodes=round(case.nodes * share), edges=round(case.edges * share))


def describe(
    figures: dict[str, Any], peers: dict[str, Any], name: str, case: Case, said: dict[str, dict[str, float]]
) -> None:
    for way, found in said.items():
        into = figures if way == "shared" else peers.setdefault("PyG, Batch", {})
        into[f"{name}_ms"] = command_line.figure(found["seconds"] * 1000, "ms")
        into[f"{name}_cells_per_second"] = command_line.figure(case.cells / found["seconds"], "cells/s")
        into[f"{name}_step_gb"] = command_line.figure(found["step"] / 1e9, "GB")


def turns(case: Case, ways: tuple[str, ...], device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of each way, which take turns; the loss has to be the same after the same steps."""
    said: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    spawn = multiprocessing.get_context("spawn")
    for way in ways * rounds:
        with spawn.Pool(1) as pool:
            said[way].append(pool.apply(run, (case, way, device)))
    losses = [found["loss"] for runs in said.values() for found in runs]
    if max(losses) - min(losses) > 1e-3 * abs(max(losses)):
        raise SystemExit(f"{case}: the ways do not come to the same loss: {losses}")
    return {
        way: {
            "seconds": statistics.median(s for found in runs for s in found["seconds"]),
            **{name: statistics.median(found[name] for found in runs) for name in ("peak", "step")},
        }
        for way, runs in said.items()
    }


def run(case: Case, way: str, device: str) -> dict[str, Any]:
    warnings.simplefilter("ignore")  # PyG scripts functions when imported, which newer torch calls deprecated
    with memory.kept():
        return _timed(case, way, device)


def _timed(case: Case, way: str, device: str) -> dict[str, Any]:
    step, _ = prepared(case, way, device)
    step()  # makes matrices and indexes, and compiles
    step()
    memory.give_back()
    before, seconds, loss = _reset(device), [], 0.0
    for _ in range(STEPS):
        start = time.perf_counter()
        loss = step()
        seconds.append(time.perf_counter() - start)
    peak = _peak(device)
    return {"seconds": seconds, "peak": peak, "step": peak - before, "loss": loss}


def compare(case: Case, device: str) -> None:
    """Compare outputs and gradients of both ways on a small graph; they have the same weights."""
    warnings.simplefilter("ignore")
    small = case._replace(nodes=300, edges=3_000, cells=3)
    found = [prepared(small, way, device)[1]() for way in ("shared", "batch")]
    for a, b in zip(*found, strict=True):
        if (a - b).abs().max() > 1e-5 * b.abs().max().clamp(min=1):
            raise SystemExit(f"{case}: the ways do not give the same numbers.")


def prepared(case: Case, way: str, device: str) -> tuple[Callable[[], float], Callable[[], list[Any]]]:
    """Make a step of training, which gives its loss, and what gives the output and all gradients."""
    import torch

    torch.manual_seed(SEED)
    edges = torch.randint(case.nodes, (2, case.edges))
    x = torch.rand(case.cells, case.nodes, 1)
    label = torch.randint(CLASSES, (case.cells,), device=device)
    network, forward = NETWORKS[way](case, edges, x, device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def loss_of(out: Any) -> Any:
        if out.dim() == 3:  # states, without a head
            return out.square().mean()
        return torch.nn.functional.cross_entropy(out, label)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of(forward())
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def numbers() -> list[Any]:
        out = forward()
        loss_of(out).backward()
        return [out, *(p.grad for p in network.parameters())]

    return step, numbers


def shared(case: Case, edges: Any, x: Any, device: str) -> tuple[Any, Callable[[], Any]]:
    from tosg_graph.shared_layers import SharedLayer
    from tosg_graph.topology import Topology

    network = layers(case).to(device)
    topology, x = Topology(edges.to(device), case.nodes), x.to(device)
    first, second = (SharedLayer(conv, topology) for conv in network[:2])

    def forward() -> Any:
        h = second(first(x).relu())
        return network[2](h.relu().mean(1)) if len(network) > 2 else h

    return network, forward


def batch(case: Case, edges: Any, x: Any, device: str) -> tuple[Any, Callable[[], Any]]:
    from torch_geometric.data import Batch, Data

    network = layers(case).to(device)
    cells = Batch.from_data_list([Data(x=cell, edge_index=edges) for cell in x]).to(device)

    def forward() -> Any:
        h = network[1](network[0](cells.x, cells.edge_index).relu(), cells.edge_index)
        h = h.view(case.cells, case.nodes, -1)
        return network[2](h.relu().mean(1)) if len(network) > 2 else h

    return network, forward


def layers(case: Case) -> Any:
    """PyG's own layers, and a head but for the shapes of the reference."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # PyG scripts functions when imported, which newer torch calls deprecated
        from torch_geometric.nn import GATConv, GCNConv, SAGEConv
    made: dict[str, Callable[[], list[Any]]] = {
        "reference gcn": lambda: [GCNConv(1, 8), GCNConv(8, 8)],
        "reference gcn, cached": lambda: [GCNConv(1, 8, cached=True), GCNConv(8, 8, cached=True)],
        "reference gat": lambda: [GATConv(1, 8, heads=4), GATConv(32, 8)],
        "sage": lambda: [SAGEConv(1, WIDTH), SAGEConv(WIDTH, WIDTH), torch.nn.Linear(WIDTH, CLASSES)],
        "gat": lambda: [
            GATConv(1, WIDTH // 4, heads=4),
            GATConv(WIDTH, WIDTH // 4, heads=4),
            torch.nn.Linear(WIDTH, CLASSES),
        ],
    }
    return torch.nn.ModuleList(made[case.network]())


def ours(case: Case, edges: Any, x: Any, device: str) -> tuple[Any, Callable[[], Any]]:
    """The network of this project on genes and proteins, of as many edges; no texts and no pathways."""
    import torch

    from tosg_graph.models.model_graph import ModelGraph
    from tosg_graph.models.network import NetworkPlan, SignalingNetwork

    names = [f"n{k}" for k in range(case.nodes)]
    types = (torch.arange(case.nodes) >= case.nodes // 2).long()
    keys = [("Gene", "ENCODES", "Protein"), ("Protein", "SIGNALS_TO", "Protein")]
    pairs = torch.stack([torch.arange(case.nodes // 2), torch.arange(case.nodes // 2) + case.nodes // 2])
    signaling = case.nodes // 2 + edges[:, len(pairs[0]) :] % (case.nodes - case.nodes // 2)
    graph = ModelGraph(
        node_ids=names,
        node_names=names,
        node_type=types,
        type_names=["Gene", "Protein"],
        edge_index=torch.cat([pairs, signaling], dim=1),
        edge_type=torch.cat([torch.zeros(pairs.shape[1]), torch.ones(signaling.shape[1])]).long(),
        edge_type_names=keys,
        sign=torch.cat([torch.zeros(pairs.shape[1]), torch.randint(-1, 2, (signaling.shape[1],))]).float(),
        has_abundance=types == 0,
        text=torch.rand(case.nodes, 384),
        text_mask=torch.ones(case.nodes, dtype=torch.bool),
        members=torch.empty(2, 0, dtype=torch.long),
    )
    plan = NetworkPlan(conv=case.network.split()[1])
    network = SignalingNetwork(graph, plan, CLASSES, seed=SEED).to(device)
    given = x.to(device)
    return network, lambda: network(given)


NETWORKS = {"shared": shared, "batch": batch, "ours": ours}


def _reset(device: str) -> int:
    """Let the peak start anew; what is held now, in bytes."""
    import torch

    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    Path("/proc/self/clear_refs").write_text("5")
    return _resident("VmRSS")


def _peak(device: str) -> int:
    import torch

    return _resident("VmHWM") if device == "cpu" else int(torch.cuda.max_memory_allocated())


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) * 1024


if __name__ == "__main__":
    command_line.run(
        __doc__, "train_step", (0.05, "a few graphs of a twentieth of the size, one round"), measure
    )
