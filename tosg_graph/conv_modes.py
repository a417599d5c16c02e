"""How each layer of PyTorch Geometric runs on one topology that many cells share.

What PyG's layers do with ``x`` of shape ``(B, N, F)`` is known by running them, not by reading them: its own
table looks for ``node_dim=`` in a constructor, and lists layers that raise. ``tests/test_layers.py`` runs every layer
below in the installed version and compares it with one run per cell; docs/layers.md shows the outcome.
Imports nothing: layers are known by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from tosg_graph.errors import LayerError

if TYPE_CHECKING:
    from torch.nn import Module

Mode = Literal["sparse", "direct", "block_diagonal"]
MODES: tuple[Mode, ...] = get_args(Mode)

_SUMS = {
    "GCNConv": ["sum", "add"],
    "GINConv": ["sum", "add", "mean"],
    "GraphConv": ["sum", "add", "mean"],
    "SAGEConv": ["sum", "add", "mean"],
}
ATTENTION = frozenset({"GATConv"})
"""Layers whose weights of neighbours are made of one number per node; they refuse ``(B, N, F)``."""

SPARSE = frozenset(_SUMS) | ATTENTION
"""Layers that run as sparse products: one where the weights are constant, else one per cell and head."""

DIRECT = frozenset(_SUMS) | {
    *("APPNP", "ARMAConv", "AntiSymmetricConv", "CGConv", "ChebConv", "ClusterGCNConv", "DirGNNConv"),
    *("EdgeConv", "FiLMConv", "GINEConv", "LEConv", "LGConv", "MFConv", "MixHopConv", "PDNConv"),
    *("PointGNNConv", "ResGatedGraphConv", "SGConv", "SSGConv", "SignedConv", "SimpleConv", "TAGConv"),
}
"""Layers that give on ``(B, N, F)`` what they give cell by cell."""

RAISES = frozenset(
    {
        *("AGNNConv", "DNAConv", "EGConv", "FAConv", "FastRGCNConv", "FeaStConv", "GATConv", "GATv2Conv"),
        *("GCN2Conv", "GENConv", "GMMConv", "GPSConv", "GatedGraphConv", "GeneralConv", "HEATConv"),
        *("HypergraphConv", "PPFConv", "PointNetConv", "PointTransformerConv"),
        *("RGATConv", "TransformerConv", "WLConvContinuous"),
    }
)
"""Layers that refuse ``(B, N, F)``, whatever their message says; some let B = 1 pass and are right then."""

SILENTLY_WRONG = {
    "NNConv": "has another shape where B is 1 or the number of edges",
    "PNAConv": "has the shape (B * N, F)",
    "RGCNConv": "has other values where B is N",
    "SuperGATConv": "has the shape (B * N, F)",
}
"""Layers whose output is wrong without a word, for some or all B."""

NOT_RUN = {
    "CuGraphGATConv": "needs cugraph and a GPU",
    "CuGraphRGCNConv": "needs cugraph and a GPU",
    "CuGraphSAGEConv": "needs cugraph and a GPU",
    "DynamicEdgeConv": "makes its own edges; needs pyg-lib",
    "FusedGATConv": "needs dgNN and a GPU",
    "GravNetConv": "makes its own edges; needs pyg-lib",
    "HANConv": "takes dictionaries by node type",
    "HGTConv": "takes dictionaries by node type",
    "HeteroConv": "takes dictionaries by node type",
    "MeshCNNConv": "takes meshes, whose edges have four neighbours each",
    "PANConv": "needs torch-sparse",
    "SplineConv": "needs pyg-lib",
    "WLConv": "takes colours, not numbers",
    "XConv": "makes its own edges; needs pyg-lib",
}
"""Layers that take something else than numbers of nodes and edges, or need more than PyG installs."""

# Aggregations that reduce any dimension; others (lstm, sort, median ...) want nodes in the first one.
_ANY_DIMENSION = ["sum", "add", "mean", "max", "min", "mul", None]


def conv_mode(conv: Module | type[Module]) -> Mode:
    """Say how a layer runs on shared topology: the cheapest way that is known to be right.

    Parameters
    ----------
    conv
        A class of ``torch_geometric.nn.conv``, meaning its default options, or a layer, whose own options count:
        an aggregation other than sum or mean is not a product, and batch normalisation inside a layer takes the
        second dimension of ``(B, N, F)`` for its channels.

    Returns
    -------
    ``sparse``: one sparse product on the node-major view ``(N, B * F)``, or one per cell and head where weights are
    attention. ``direct``: the layer takes ``(B, N, F)``.
    ``block_diagonal``: the layer runs on B copies of the graph, as one graph.

    Raises
    ------
    LayerError
        If the layer is known to be wrong without a word, takes other input, or was never tested.
    """
    cls = conv if isinstance(conv, type) else type(conv)
    mode = _mode_of_class(cls)
    return mode if isinstance(conv, type) else _with_options(conv, mode)


def _mode_of_class(cls: type) -> Mode:
    name = cls.__name__
    if not cls.__module__.startswith("torch_geometric.nn.conv."):
        raise LayerError(
            f"{name} is not a layer of torch_geometric.nn.conv, so nobody tested it on (B, N, F). Pass "
            "how='block_diagonal', which is right for every layer that only passes messages along edges."
        )
    if name in SILENTLY_WRONG:
        raise LayerError(
            f"{name} does not say that it cannot take (B, N, F), but its output {SILENTLY_WRONG[name]}. Pass "
            "how='block_diagonal'."
        )
    if name in SPARSE:
        return "sparse"
    if name in DIRECT:
        return "direct"
    if name in RAISES:
        return "block_diagonal"
    raise LayerError(
        f"{name} was not tested on (B, N, F): it {NOT_RUN.get(name, 'is new')}. docs/layers.md lists the layers that "
        "were."
    )


def _with_options(conv: Any, mode: Mode) -> Mode:
    name = type(conv).__name__
    if name in ATTENTION:  # attributes of edges would count in its scores
        return "sparse" if conv.aggr in _SUMS["GCNConv"] and conv.edge_dim is None else "block_diagonal"
    if mode == "sparse" and conv.aggr in _SUMS[name]:
        return "sparse"
    if mode == "block_diagonal" or any(_needs_two_dimensions(part) for part in conv.modules()):
        return "block_diagonal"
    return "direct"


def _needs_two_dimensions(part: Any) -> bool:
    """Whether a part of a layer reads the second of three dimensions as channels, or nodes in the first."""
    name = type(part).__name__
    return (
        name in RAISES
        or name in SILENTLY_WRONG
        or "BatchNorm" in name
        or "InstanceNorm" in name
        or getattr(part, "aggr", "sum") not in _ANY_DIMENSION
    )
