"""Layers of PyG on shared topology: which take it, and that all ways to run one give equal numbers."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import toy_bundle as toy
from scipy.sparse import csr_array
from torch import Tensor, nn

from tosg_graph import attention_kernels, conv_modes, shared_attention
from tosg_graph.conv_modes import conv_mode
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import LayerError
from tosg_graph.export import Measured, write_bundle
from tosg_graph.shared_attention import Scoring, attend
from tosg_graph.shared_layers import SharedLayer
from tosg_graph.topology import Topology
from tosg_graph.types import Selection, StoreVersion

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyG scripts functions when imported, which newer torch calls deprecated
    import torch_geometric.nn as pyg
    from torch_geometric.data import Batch, Data

DOCUMENT = Path(__file__).parent.parent / "docs" / "layers.md"

# Parallel edges (0 -> 1), self-loops (3, 4), and node 6 receives from node 1 only.
EDGES = torch.tensor([[0, 1, 0, 0, 1, 3, 2, 5, 4], [5, 6, 1, 1, 0, 3, 4, 4, 4]])
NODES, WIDTH, OUT = 7, 6, 4
# Layers go wrong where the number of cells is that of something else, so it is one, nodes and edges too.
SIZES = (1, 3, NODES, EDGES.shape[1], 20)


def mlp(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, out), nn.Tanh())


def given() -> dict[str, Tensor]:
    """What layers take beside x and edges; the name of each is the layer's."""
    draw = torch.Generator().manual_seed(5)
    unit = torch.rand(NODES, 3, generator=draw, dtype=torch.double)
    return {
        "edge_attr": torch.rand(EDGES.shape[1], 3, generator=draw, dtype=torch.double),
        "edge_type": torch.arange(EDGES.shape[1]) % 2,
        "node_type": torch.arange(NODES) % 2,
        "neg_edge_index": EDGES.flip(0),
        "pos": torch.rand(NODES, 3, generator=draw, dtype=torch.double),
        "normal": unit / unit.norm(dim=1, keepdim=True),
        "x_0": torch.rand(NODES, WIDTH, generator=draw, dtype=torch.double),
    }


@dataclass(frozen=True)
class Made:
    """How a layer is made for the test, and what it takes beside x and edges."""

    layer: Callable[[], nn.Module]
    needs: tuple[str, ...] = ()
    edges: str = "edge_index"
    shape: tuple[int, ...] = (NODES, WIDTH)


DEGREES = torch.bincount(torch.bincount(EDGES[1], minlength=NODES))
LAYERS: dict[str, Made] = {
    "AGNNConv": Made(lambda: pyg.AGNNConv()),
    "APPNP": Made(lambda: pyg.APPNP(2, 0.1)),
    "ARMAConv": Made(lambda: pyg.ARMAConv(WIDTH, OUT, num_stacks=2, num_layers=2)),
    "AntiSymmetricConv": Made(lambda: pyg.AntiSymmetricConv(WIDTH)),
    "CGConv": Made(lambda: pyg.CGConv(WIDTH)),
    "ChebConv": Made(lambda: pyg.ChebConv(WIDTH, OUT, 3)),
    "ClusterGCNConv": Made(lambda: pyg.ClusterGCNConv(WIDTH, OUT)),
    "DNAConv": Made(lambda: pyg.DNAConv(WIDTH), shape=(NODES, 3, WIDTH)),
    "DirGNNConv": Made(lambda: pyg.DirGNNConv(pyg.SAGEConv(WIDTH, OUT))),
    "EGConv": Made(lambda: pyg.EGConv(WIDTH, 8)),
    "EdgeConv": Made(lambda: pyg.EdgeConv(mlp(2 * WIDTH, OUT))),
    "FAConv": Made(lambda: pyg.FAConv(WIDTH), ("x_0",)),
    "FastRGCNConv": Made(lambda: pyg.FastRGCNConv(WIDTH, OUT, 2), ("edge_type",)),
    "FeaStConv": Made(lambda: pyg.FeaStConv(WIDTH, OUT, heads=2)),
    "FiLMConv": Made(lambda: pyg.FiLMConv(WIDTH, OUT, 2), ("edge_type",)),
    "GATConv": Made(lambda: pyg.GATConv(WIDTH, OUT, heads=2)),
    "GATv2Conv": Made(lambda: pyg.GATv2Conv(WIDTH, OUT, heads=2)),
    "GCN2Conv": Made(lambda: pyg.GCN2Conv(WIDTH, 0.1), ("x_0",)),
    "GCNConv": Made(lambda: pyg.GCNConv(WIDTH, OUT)),
    "GENConv": Made(lambda: pyg.GENConv(WIDTH, OUT)),
    "GINConv": Made(lambda: pyg.GINConv(mlp(WIDTH, OUT))),
    "GINEConv": Made(lambda: pyg.GINEConv(mlp(WIDTH, OUT), edge_dim=3), ("edge_attr",)),
    "GMMConv": Made(lambda: pyg.GMMConv(WIDTH, OUT, 3, 2), ("edge_attr",)),
    "GPSConv": Made(lambda: pyg.GPSConv(WIDTH, pyg.GCNConv(WIDTH, WIDTH), heads=2)),
    "GatedGraphConv": Made(lambda: pyg.GatedGraphConv(WIDTH, 2)),
    "GeneralConv": Made(lambda: pyg.GeneralConv(WIDTH, OUT)),
    "GraphConv": Made(lambda: pyg.GraphConv(WIDTH, OUT)),
    "HEATConv": Made(
        lambda: pyg.HEATConv(WIDTH, OUT, 2, 2, 3, 3, 3), ("node_type", "edge_type", "edge_attr")
    ),
    "HypergraphConv": Made(lambda: pyg.HypergraphConv(WIDTH, OUT), edges="hyperedge_index"),
    "LEConv": Made(lambda: pyg.LEConv(WIDTH, OUT)),
    "LGConv": Made(lambda: pyg.LGConv()),
    "MFConv": Made(lambda: pyg.MFConv(WIDTH, OUT)),
    "MixHopConv": Made(lambda: pyg.MixHopConv(WIDTH, OUT)),
    "NNConv": Made(lambda: pyg.NNConv(WIDTH, OUT, nn.Linear(3, WIDTH * OUT)), ("edge_attr",)),
    "PDNConv": Made(lambda: pyg.PDNConv(WIDTH, OUT, 3, 5), ("edge_attr",)),
    "PNAConv": Made(lambda: pyg.PNAConv(WIDTH, OUT, ["mean", "max"], ["identity", "amplification"], DEGREES)),
    "PPFConv": Made(lambda: pyg.PPFConv(mlp(WIDTH + 4, OUT)), ("pos", "normal")),
    "PointGNNConv": Made(lambda: pyg.PointGNNConv(mlp(WIDTH, 3), mlp(WIDTH + 3, 5), mlp(5, WIDTH)), ("pos",)),
    "PointNetConv": Made(lambda: pyg.PointNetConv(mlp(WIDTH + 3, OUT)), ("pos",)),
    "PointTransformerConv": Made(lambda: pyg.PointTransformerConv(WIDTH, OUT), ("pos",)),
    "RGATConv": Made(lambda: pyg.RGATConv(WIDTH, OUT, 2), ("edge_type",)),
    "RGCNConv": Made(lambda: pyg.RGCNConv(WIDTH, OUT, 2), ("edge_type",)),
    "ResGatedGraphConv": Made(lambda: pyg.ResGatedGraphConv(WIDTH, OUT)),
    "SAGEConv": Made(lambda: pyg.SAGEConv(WIDTH, OUT)),
    "SGConv": Made(lambda: pyg.SGConv(WIDTH, OUT, K=2)),
    "SSGConv": Made(lambda: pyg.SSGConv(WIDTH, OUT, alpha=0.1, K=2)),
    "SignedConv": Made(lambda: pyg.SignedConv(WIDTH, OUT, True), ("neg_edge_index",), "pos_edge_index"),
    "SimpleConv": Made(lambda: pyg.SimpleConv()),
    "SuperGATConv": Made(lambda: pyg.SuperGATConv(WIDTH, OUT, heads=2)),
    "TAGConv": Made(lambda: pyg.TAGConv(WIDTH, OUT)),
    "TransformerConv": Made(lambda: pyg.TransformerConv(WIDTH, OUT, heads=2)),
    "WLConvContinuous": Made(lambda: pyg.WLConvContinuous()),
}
PER_EDGE = {"edge_attr", "edge_type"}
WRAPPED = [
    name for name, made in LAYERS.items() if set(made.needs) <= PER_EDGE and made.edges == "edge_index"
]
WRAPPED = [name for name in WRAPPED if LAYERS[name].shape == (NODES, WIDTH)]


def layer(name: str) -> nn.Module:
    torch.manual_seed(1)
    return LAYERS[name].layer().double().eval()


def cells(count: int, *shape: int) -> Tensor:
    """x of a few cells; the second has no abundance at all."""
    x = torch.rand(count, *shape, generator=torch.Generator().manual_seed(count), dtype=torch.double)
    x[1:2] = 0
    return x


def run(name: str, conv: nn.Module, x: Tensor) -> Tensor:
    made, extra = LAYERS[name], given()
    named = {need: extra[need] for need in made.needs}
    if "x_0" in named:
        named["x_0"] = named["x_0"].expand_as(x)
    out: Tensor = conv(x=x, **{made.edges: EDGES}, **named)
    return out


def one_by_one(name: str, conv: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([run(name, conv, cell) for cell in x])


def outcome(name: str, size: int) -> str:
    conv, x = layer(name), cells(size, *LAYERS[name].shape)
    with torch.no_grad():
        expected = one_by_one(name, conv, x)
        try:
            found = run(name, conv, x)
        except (RuntimeError, AssertionError, ValueError, IndexError):
            return "raises"
    equal = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
    return "direct" if equal else "silently wrong"


# --------------------------------------------------------------------------- the list


def found_groups() -> dict[str, str]:
    """Outcome of each layer in the installed PyG: the worst over all numbers of cells."""
    worst = {}
    for name in LAYERS:
        seen = {outcome(name, size) for size in SIZES}
        worst[name] = next(o for o in ("silently wrong", "raises", "direct") if o in seen)
    return worst


@pytest.fixture(scope="module")
def groups() -> dict[str, str]:
    return found_groups()


def test_the_list_is_what_the_installed_pyg_does(groups: dict[str, str]) -> None:
    listed = {
        **dict.fromkeys(conv_modes.DIRECT, "direct"),
        **dict.fromkeys(conv_modes.RAISES, "raises"),
        **dict.fromkeys(conv_modes.SILENTLY_WRONG, "silently wrong"),
    }
    assert groups == listed


def test_every_layer_of_pyg_is_run_or_says_why_not() -> None:
    everything = set(pyg.conv.__all__) - {"MessagePassing"}
    assert everything == set(LAYERS) | set(conv_modes.NOT_RUN)
    assert not set(LAYERS) & set(conv_modes.NOT_RUN)


def test_the_document_says_what_was_found(groups: dict[str, str]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8").split("## Which layers")[1]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", text, re.MULTILINE)
    said = {name: (result.strip(), way.strip()) for name, result, way in rows}
    assert len(said) == len(rows)
    wrong = {name: f"silently wrong: {how}" for name, how in conv_modes.SILENTLY_WRONG.items()}
    assert said == {name: (wrong.get(name, groups[name]), documented_way(name)) for name in groups} | {
        name: ("not run", reason) for name, reason in conv_modes.NOT_RUN.items()
    }


def shape_of(name: str, size: int) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(run(name, layer(name), cells(size, NODES, WIDTH)).shape)


def test_layers_go_wrong_as_the_list_says() -> None:
    assert shape_of("PNAConv", 3) == (3 * NODES, OUT)
    assert shape_of("SuperGATConv", 3) == (3 * NODES, 2 * OUT)
    for size in (1, EDGES.shape[1]):
        assert shape_of("NNConv", size) != (size, NODES, OUT)
    assert shape_of("RGCNConv", NODES) == (NODES, NODES, OUT)
    assert outcome("RGCNConv", NODES) == "silently wrong"


def documented_way(name: str) -> str:
    if name not in WRAPPED:
        other = sorted(set(LAYERS[name].needs) - PER_EDGE)
        return "called itself: " + (", ".join(f"`{o}`" for o in other) or "`x` or edges of another form")
    if name in conv_modes.SILENTLY_WRONG:
        return '`how="block_diagonal"`'
    return f"`{conv_mode(type(layer(name)))}`"


def test_layers_that_go_wrong_silently_are_refused_with_the_way_out() -> None:
    for name in conv_modes.SILENTLY_WRONG:
        with pytest.raises(LayerError, match=f"^{name} does not say .*how='block_diagonal'") as raised:
            conv_mode(layer(name))
        assert "\n" not in str(raised.value)
    assert SharedLayer(layer("PNAConv"), Topology(EDGES, NODES), "block_diagonal").how == "block_diagonal"


def test_layers_that_nobody_tested_are_refused() -> None:
    class Mine(pyg.GCNConv):  # type: ignore[misc]  # PyG is not typed
        pass

    with pytest.raises(LayerError, match="Mine is not a layer of torch_geometric"):
        conv_mode(Mine(1, 2))
    for name, reason in conv_modes.NOT_RUN.items():
        with pytest.raises(LayerError, match=reason):
            conv_mode(getattr(pyg.conv, name))


@pytest.mark.parametrize(
    ("conv", "mode"),
    [
        (pyg.SAGEConv(3, 3, aggr="sum"), "sparse"),
        (pyg.SAGEConv(3, 3, aggr="max"), "direct"),
        (pyg.SAGEConv(3, 3, aggr="lstm"), "block_diagonal"),
        (pyg.SAGEConv(3, 3, aggr=["mean", "max"]), "block_diagonal"),
        (pyg.GCNConv(3, 3, aggr="mean"), "direct"),
        (pyg.GINConv(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))), "sparse"),
        (pyg.EdgeConv(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3))), "block_diagonal"),
        (pyg.CGConv(3, batch_norm=True), "block_diagonal"),
        (pyg.DirGNNConv(pyg.GATConv(3, 3, add_self_loops=False)), "block_diagonal"),
        (pyg.GATConv, "sparse"),
        (pyg.GATConv(3, 3, edge_dim=2), "block_diagonal"),
        (pyg.GATConv(3, 3, aggr="max"), "block_diagonal"),
        (pyg.GATv2Conv, "block_diagonal"),
        (pyg.GCNConv, "sparse"),
    ],
)
def test_options_of_a_layer_count(conv: Any, mode: str) -> None:
    assert conv_mode(conv) == mode


def test_the_list_imports_neither_torch_nor_pyg() -> None:
    code = "import sys, tosg_graph.conv_modes; print(*{'torch', 'torch_geometric'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --------------------------------------------------------------------------- all ways are equal


@pytest.mark.parametrize("node_major", [False, True], ids=["cells first", "nodes first"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_shared_layer_equals_one_run_per_cell(name: str, node_major: bool) -> None:
    conv = layer(name)
    how = "block_diagonal" if name in conv_modes.SILENTLY_WRONG else None
    named = {need: given()[need] for need in LAYERS[name].needs}
    shared = SharedLayer(conv, Topology(EDGES, NODES), how, node_major=node_major, **named)  # type: ignore[arg-type]  # a mode
    for size in (3, 1, 5):
        x = cells(size, NODES, WIDTH)
        with torch.no_grad():
            expected = one_by_one(name, conv, x)
            found = shared(x.transpose(0, 1)).transpose(0, 1) if node_major else shared(x)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def products() -> dict[str, Callable[[], Any]]:
    """Options that change what is multiplied, on the wide and the narrow side of the linear part."""
    return {
        "gcn to fewer": lambda: pyg.GCNConv(WIDTH, 2),
        "gcn to more": lambda: pyg.GCNConv(WIDTH, 9, improved=True),
        "gcn without loops": lambda: pyg.GCNConv(WIDTH, 3, add_self_loops=False, bias=False),
        "gcn not normalised": lambda: pyg.GCNConv(WIDTH, 3, normalize=False),
        "gcn backwards": lambda: pyg.GCNConv(WIDTH, 3, flow="target_to_source"),
        "gcn of unknown width": lambda: pyg.GCNConv(-1, 3),
        "sage mean": lambda: pyg.SAGEConv(WIDTH, 9),
        "sage mean to fewer": lambda: pyg.SAGEConv(WIDTH, 2),
        "sage sum": lambda: pyg.SAGEConv(WIDTH, 3, aggr="sum", normalize=True),
        "sage projected": lambda: pyg.SAGEConv(WIDTH, 3, project=True, root_weight=False),
        "sage backwards": lambda: pyg.SAGEConv(WIDTH, 3, flow="target_to_source"),
        "sage of unknown width": lambda: pyg.SAGEConv(-1, 3),
        "gin": lambda: pyg.GINConv(mlp(WIDTH, 3), eps=0.25, train_eps=True),
        "gin with batch normalisation": lambda: pyg.GINConv(
            nn.Sequential(nn.Linear(WIDTH, 3), nn.BatchNorm1d(3))
        ),
        "gin mean": lambda: pyg.GINConv(mlp(WIDTH, 3), aggr="mean"),
        "graph": lambda: pyg.GraphConv(WIDTH, 3),
        "graph mean to more": lambda: pyg.GraphConv(WIDTH, 9, aggr="mean"),
        "attention": lambda: pyg.GATConv(WIDTH, 4, heads=2),
        "attention averaged backwards": lambda: pyg.GATConv(
            WIDTH, 4, heads=3, concat=False, negative_slope=-0.5, flow="target_to_source"
        ),
        "attention without loops": lambda: pyg.GATConv(
            (WIDTH, WIDTH), 4, heads=2, add_self_loops=False, residual=True, bias=False
        ),
        "attention of many channels": lambda: pyg.GATConv(WIDTH, 33),
        "attention of unknown width": lambda: pyg.GATConv(-1, 4),
    }


def both_ways(make: Callable[[], Any], dtype: torch.dtype, weight: Tensor | None) -> list[list[Tensor]]:
    """Output, gradient of x and of each parameter: by products, and by PyG on the block diagonal; in training."""
    runs: list[list[Tensor]] = []
    for how in ("sparse", "block_diagonal"):
        torch.manual_seed(2)
        x = cells(4, NODES, WIDTH).to(dtype).requires_grad_()
        shared = SharedLayer(make().to(dtype), Topology(EDGES, NODES, weight), how)  # type: ignore[arg-type]  # a mode
        out = shared(x)
        # Every number weighs something else: the squares of what was normalised add up to a constant.
        (out * torch.linspace(0.5, 1.5, out.numel(), dtype=dtype).view(out.shape)).sum().backward()
        parameters = [p.grad for p in shared.parameters() if p.grad is not None]
        assert x.grad is not None
        runs.append([out, x.grad, *parameters])
    return runs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", products())
def test_products_have_the_gradients_of_pyg(name: str, dtype: torch.dtype) -> None:
    found, expected = both_ways(products()[name], dtype, None)
    assert len(found) == len(expected)
    # Batch normalisation divides by a small spread, and multiplies what float32 rounds off by as much.
    single = 1e-4 if "batch" in name else 1e-5 if "attention" in name else 1e-6
    bound = single if dtype == torch.float32 else 1e-12
    for a, b in zip(found, expected, strict=True):
        relative = (a - b).abs().max() / b.abs().max().clamp(min=1)
        assert relative <= bound


@pytest.mark.parametrize("edges_at_once", [1, 50, 10_000])
@pytest.mark.parametrize("name", [name for name in products() if name.startswith("attention")])
def test_attention_on_other_devices_has_the_gradients_of_pyg(
    name: str, edges_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_attention, "EDGES_AT_ONCE", edges_at_once)
    monkeypatch.setattr(shared_attention, "_compiles", lambda like: False)
    monkeypatch.setattr(attention_kernels, "weighted_sums", None)
    found, expected = both_ways(products()[name], torch.float64, None)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def scores_and_values(heads: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(4)
    shapes = ((NODES, heads), (NODES, heads), (NODES, heads, 4))
    return [torch.rand(*s, generator=draw, dtype=torch.double).requires_grad_() for s in shapes]


@pytest.mark.parametrize("compiles", [True, False], ids=["processor", "other devices"])
def test_dropout_of_attention(compiles: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_attention, "_compiles", lambda like: compiles)
    topology = Topology(EDGES, NODES)

    def dropped(*given: Tensor) -> Tensor:
        torch.manual_seed(3)
        return attend(*given, topology, Scoring(slope=0.2, dropout=0.4))

    given = scores_and_values(5)
    assert torch.autograd.gradcheck(dropped, given)  # the backward pass drops what the forward pass did
    every = [part[:, :1].detach().expand(-1, 20_000, *part.shape[2:]) for part in given]
    found, expected = dropped(*every), attend(*every, topology, Scoring(slope=0.2))
    torch.testing.assert_close(found.mean(1), expected.mean(1), rtol=0.02, atol=0)
    # Node 0 receives from node 1 and itself: both are dropped in 0.16 of the cases.
    assert abs((found[0, :, 0] == 0).double().mean() - 0.16) < 0.01


def test_dropout_ends_with_training() -> None:
    conv, x = pyg.GATConv(WIDTH, 4, dropout=0.9), cells(3, NODES, WIDTH).float()
    shared = SharedLayer(conv, Topology(EDGES, NODES))
    trained, again = shared(x), shared(x)
    assert not torch.equal(trained, again)
    expected = SharedLayer(conv.eval(), Topology(EDGES, NODES), "block_diagonal")(x)
    torch.testing.assert_close(shared(x), expected, rtol=1e-5, atol=1e-6)


def test_attention_does_not_depend_on_threads_and_keeps_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    given, runs = scores_and_values(3), []
    for number in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        out = attend(*given, Topology(EDGES, NODES), Scoring(slope=0.2))
        runs.append([out, *torch.autograd.grad(out.square().sum(), given)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    broken = [part.detach().clone() for part in given]
    broken[0][0, 1] = torch.nan  # node 0, which nodes 1 and 5 receive from
    out = attend(*broken, Topology(EDGES, NODES), Scoring(slope=0.2))
    assert out[:, 1].isnan().all(1).tolist() == [True, True, False, False, False, True, False]
    assert not out[:, 0].isnan().any()


def test_attention_of_a_graph_without_edges_is_nothing() -> None:
    scoring = Scoring(slope=0.2, loops=False)
    out = attend(*scores_and_values(2), Topology(EDGES[:, :0], NODES), scoring)
    assert not out.any()
    out.sum().backward()


@pytest.mark.parametrize("name", ["gcn to more", "gcn without loops", "gcn not normalised", "graph"])
def test_weights_of_edges_count(name: str) -> None:
    weight = torch.arange(1, EDGES.shape[1] + 1, dtype=torch.float64) / 3
    found, expected = both_ways(products()[name], torch.float64, weight)
    unweighted, _ = both_ways(products()[name], torch.float64, None)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(found[0], unweighted[0])


def test_a_product_can_be_derived_twice() -> None:
    matrix = Topology(EDGES, NODES).matrix(torch.empty(0, dtype=torch.double), mean=True)
    x = cells(2, NODES)[0].view(NODES, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: matrix @ v, [x])
    assert torch.autograd.gradgradcheck(lambda v: (matrix @ v) ** 2, [x])


def test_half_precision_is_summed_in_float32() -> None:
    # 300 neighbours of 1: bfloat16 cannot count beyond 256.
    star = torch.stack([torch.arange(1, 301), torch.zeros(300, dtype=torch.long)])
    matrix = Topology(star, 301).matrix(torch.empty(0, dtype=torch.bfloat16))
    assert (matrix @ torch.ones(301, 1, dtype=torch.bfloat16))[0].item() == 300
    shared = SharedLayer(pyg.GCNConv(2, 3), Topology(EDGES, NODES))
    x = cells(2, NODES, 2).float()
    with torch.autocast("cpu", torch.bfloat16):
        half = shared(x)
    torch.testing.assert_close(half.float(), shared(x), rtol=0.05, atol=0.05)


def test_matrices_and_indexes_are_made_once() -> None:
    topology, x = Topology(EDGES, NODES), cells(3, NODES, WIDTH)
    first = topology.matrix(x)
    assert topology.matrix(x) is first
    assert topology.matrix(x, mean=True) is not first
    large = topology.blocks(4, x.device)
    small = topology.blocks(3, x.device)  # as of a last batch
    assert small.data_ptr() == large.data_ptr()
    data = [Data(x=cell, edge_index=EDGES) for cell in x]
    assert torch.equal(small, Batch.from_data_list(data).edge_index[:, torch.argsort(torch.arange(27))])
    assert first.csr.col_indices().dtype == torch.int32
    assert torch.equal(first.csr.to_dense().t(), first.transposed.to_dense())
    assert first.csr.to_dense()[1, 0] == 2  # two parallel edges


def test_layers_that_follow_each_other_copy_x_once() -> None:
    topology = Topology(EDGES, NODES)
    layers = [SharedLayer(pyg.GCNConv(WIDTH, WIDTH), topology) for _ in range(2)]
    first = layers[0](cells(3, NODES, WIDTH).float()).relu()
    assert first.transpose(0, 1).is_contiguous()


def test_attributes_of_edges_move_with_the_layer_and_stay_out_of_its_weights() -> None:
    conv = layer("GINEConv")
    shared = SharedLayer(conv, Topology(EDGES, NODES), edge_attr=given()["edge_attr"]).float()
    assert shared.edge_attr.dtype == torch.float32
    assert [name.removeprefix("conv.") for name in shared.state_dict()] == list(conv.state_dict())


# --------------------------------------------------------------------------- what is refused


def test_graphs_that_cannot_be_are_refused() -> None:
    weight = torch.ones(EDGES.shape[1])
    bad: list[tuple[tuple[Any, ...], str]] = [
        ((EDGES, 6), "names nodes 0 to 6; a graph of 6 has 0 to 5"),
        ((EDGES.int(), 7), "it has to be torch.int64"),
        ((EDGES.t(), 7), r"\(9, 2\)"),
        ((EDGES, 7, weight[:4]), r"\(4,\); there are 9 edges"),
        ((EDGES, 7, weight.requires_grad_()), "constant"),
        ((EDGES, 7, torch.full((9,), torch.nan)), "9 values that are not finite"),
    ]
    for arguments, message in bad:
        with pytest.raises(LayerError, match=message):
            Topology(*arguments)
    assert Topology(EDGES[:, :0], 7).num_edges == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: SharedLayer(pyg.GCNConv(2, 2), t, "fast"), "choose sparse, direct, block_diagonal"),
        (lambda t: SharedLayer(pyg.TAGConv(2, 2), t, "sparse"), "not a sum or mean"),
        (lambda t: SharedLayer(pyg.SAGEConv(2, 2, aggr="max"), t, "sparse"), "not a sum or mean"),
        (lambda t: SharedLayer(pyg.GATConv(2, 2, edge_dim=1), t, "sparse"), "no edge_dim"),
        (lambda t: SharedLayer(pyg.SAGEConv(2, 2), t, edge_weight=torch.ones(9)), "belong to the Topology"),
        (lambda t: SharedLayer(pyg.TAGConv(2, 2), t, edge_attr=torch.ones(9)), "does not take 'edge_attr'"),
        (lambda t: SharedLayer(pyg.TAGConv(2, 2), t, edge_weight=torch.ones(4)), "has 4 rows; .* 9 edges"),
        (lambda t: SharedLayer(pyg.FAConv(2), t), "needs 'x_0' too"),
        (lambda t: SharedLayer(pyg.HypergraphConv(2, 2), t), "needs 'hyperedge_index' too"),
        (lambda t: SharedLayer(pyg.GCNConv(2, 2), t)(torch.ones(3, 6, 2)), r"takes \(B, 7, F\)"),
        (lambda t: SharedLayer(pyg.GCNConv(2, 2), t)(torch.ones(7, 2)), r"takes \(B, 7, F\)"),
        (
            lambda t: SharedLayer(pyg.GCNConv(2, 2), t, node_major=True)(torch.ones(3, 7, 2)),
            r"takes \(7, B, F\)",
        ),
    ],
)
def test_misuse_is_refused_in_one_line(make: Callable[[Topology], Any], message: str) -> None:
    with pytest.raises(LayerError, match=message) as raised:
        make(Topology(EDGES, NODES))
    assert "\n" not in str(raised.value)


def test_weights_for_a_layer_that_takes_none_are_refused() -> None:
    topology = Topology(EDGES, NODES, -torch.ones(EDGES.shape[1]))
    with pytest.raises(LayerError, match="SAGEConv does not take 'edge_weight'"):
        SharedLayer(pyg.SAGEConv(2, 2), topology)
    with pytest.raises(LayerError, match="less than 0"):
        SharedLayer(pyg.GCNConv(2, 2), topology)(torch.ones(1, NODES, 2))


# --------------------------------------------------------------------------- the modes of a bundle


def random_bundle() -> tuple[Selection, Measured]:
    """60 cells on 300 nodes and three types of edges: isolated nodes, parallel edges, loops, a cell of zeros."""
    rng = np.random.default_rng(6)
    genes, proteins, count = 200, 100, 60
    ids = [f"HGNC:{k:03d}" for k in range(genes)] + [f"UniProtKB:{k:03d}" for k in range(proteins)]
    types = ["Gene"] * genes + ["Protein"] * proteins

    def edges(number: int, source: tuple[int, int], target: tuple[int, int]) -> pa.Table:
        ends = (rng.integers(*source, number), rng.integers(*target, number))
        doubled = [np.concatenate([end, end[:20]]) for end in ends]  # twenty parallel ones
        rows = zip(*doubled, range(number + 20), strict=True)
        return toy.edges([(int(s), int(t), k, "made up", None, None) for s, t, k in rows])

    nodes = pa.table(
        {
            "id": ids,
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": ids,
            "text_sha": pa.nulls(len(ids), pa.string()),
        }
    )
    # Genes 180 to 199 are in no edge.
    verbs = {
        ("Gene", "ENCODES", "Protein"): edges(150, (0, 180), (200, 300)),
        ("Gene", "SIGNALS_TO", "Gene"): edges(900, (0, 180), (0, 180)),
        ("Protein", "INTERACTS_WITH", "Protein"): edges(400, (200, 300), (200, 300)),
    }
    values = rng.poisson(0.7, (count, genes)).astype(np.int32)
    values[3] = 0
    table = pa.table(
        {
            "cell_id": [f"cell-{k:02d}" for k in range(count)],
            "dataset": ["random"] * count,
            "barcode": [f"BC{k}" for k in range(count)],
            "donor": [f"donor{k % 10}" for k in range(count)],
            "cell_type": [("T cell", "B cell")[k % 2] for k in range(count)],
            "n_counts": values.sum(axis=1, dtype=np.int64),
        }
    )
    measured = Measured(
        cells=table,
        axis=pa.table(
            {"column": pa.array(range(genes), pa.int32()), "feature": ids[:genes], "gene_id": ids[:genes]}
        ),
        counts=lambda wanted, columns: csr_array(
            values[[int(c.split("-")[1]) for c in wanted]][:, list(columns)]
        ),
        version=StoreVersion(cells=1, counts=1, axis=1, axis_sha256="0" * 64),
        text=np.zeros((len(ids), 1), np.float32),
        text_mask=np.zeros(len(ids), np.bool_),
        encoder="none",
        release="none",
    )
    return Selection(nodes, verbs, "MATCH (n) RETURN n", {}), measured


@pytest.fixture(scope="module", params=["toy", "random"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("layers") / "bundle"
    selection, measured = (toy.selection(), toy.measured()) if request.param == "toy" else random_bundle()
    write_bundle(selection, measured, cohort="true", label="cell_type", out=out, seed=7)
    return out


MODELS: dict[str, tuple[Callable[[], Any], float]] = {
    "GCN": (lambda: pyg.GCNConv(1, 8), 1e-6),
    "SAGE mean": (lambda: pyg.SAGEConv(1, 8), 1e-6),
    "SAGE sum": (lambda: pyg.SAGEConv(1, 8, aggr="sum"), 1e-6),
    "GIN": (lambda: pyg.GINConv(mlp(1, 8)), 1e-6),
    "GAT": (lambda: pyg.GATConv(1, 4, heads=2), 1e-5),
    "GATv2": (lambda: pyg.GATv2Conv(1, 4, heads=2), 1e-5),
    "Transformer": (lambda: pyg.TransformerConv(1, 4, heads=2), 1e-5),
}


def outputs(folder: Path, conv: Any, size: int) -> dict[str, Tensor]:
    """Output of each mode and way, ``(cells, N, 8)``; ``one by one`` is PyG on each cell alone."""
    open_as: Callable[[str], TosgDataset] = lambda mode: TosgDataset(folder, mode=mode, layer="log1p")  # type: ignore[arg-type]  # noqa: E731
    data = open_as("shared")
    topology = Topology(data.edge_index, data.num_nodes)
    layer, nodes_first = SharedLayer(conv, topology), SharedLayer(conv, topology, node_major=True)
    batches = list(data.batches(size))
    found = {
        "one by one": torch.stack([conv(data[k].x, data[k].edge_index) for k in range(len(data))]),
        "shared": torch.cat([layer(b.x) for b in batches]),
        "node-major": torch.cat([nodes_first(b.node_major).transpose(0, 1) for b in batches]),
    }
    for mode in ("block_diagonal", "data"):
        runs = [conv(b.x, b.edge_index).view(-1, data.num_nodes, 8) for b in open_as(mode).batches(size)]
        found[mode] = torch.cat(runs)
    return found


@pytest.mark.parametrize("size", [1, 4, 64], ids=lambda n: f"batches of {n}")
@pytest.mark.parametrize("name", MODELS)
def test_all_modes_equal_one_run_per_cell(folder: Path, name: str, size: int) -> None:
    torch.manual_seed(0)
    make, bound = MODELS[name]
    with torch.no_grad():
        found = outputs(folder, make(), size)
    expected = found.pop("one by one")
    largest = max(1.0, expected.abs().max().item())
    for mode, out in found.items():
        assert (out - expected).abs().max().item() <= bound * largest, mode


def test_the_bundles_hold_the_hard_cases(folder: Path) -> None:
    data = TosgDataset(folder, layer="log1p")
    edges = data.edge_index
    pairs = edges[0] * data.num_nodes + edges[1]
    assert len(pairs.unique()) < len(pairs)  # parallel
    assert (edges[0] == edges[1]).any()  # self-loops
    assert len(edges.unique()) < data.num_nodes  # isolated
    assert len(data.edge_types) > 1


# --------------------------------------------------------------------------- on a GPU


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("edges_on", ["cpu", "cuda"])
@pytest.mark.parametrize("name", MODELS)
def test_a_gpu_gives_what_the_processor_gives(name: str, edges_on: str) -> None:
    torch.manual_seed(0)
    make, bound = MODELS[name]
    conv, x = make(), cells(5, NODES, 1).float()
    expected = SharedLayer(conv, Topology(EDGES, NODES))(x)
    on_device = x.to("cuda").requires_grad_()
    found = SharedLayer(conv.to("cuda"), Topology(EDGES.to(edges_on), NODES))(on_device)
    found.sum().backward()
    torch.testing.assert_close(found.cpu(), expected, rtol=bound, atol=bound)
    assert on_device.grad is not None
    assert on_device.grad.isfinite().all()
