"""The network: text and measured values fused per node, translation, signaling along the graph, a small readout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from tosg_graph.errors import ModelError
from tosg_graph.models.edge_groups import EdgeGroup, Routes, edge_groups
from tosg_graph.models.fusion import NodeFusion
from tosg_graph.models.graph_layers import GraphLayer, SharedMessages, Topologies, TypedMessages
from tosg_graph.models.model_graph import ModelGraph
from tosg_graph.models.pretraining_heads import AbundanceHead, PairScorer
from tosg_graph.models.readout import Pathways, Readout
from tosg_graph.models.sent_messages import summed_shares
from tosg_graph.models.typed_conv import TypedConv
from tosg_graph.topology import Topology

Conv = Literal["typed", "gcn", "sage", "gin", "gat"]
ReadoutName = Literal["pathway+attention", "pathway", "attention", "mean"]
TRANSLATION = {"transcribe": ("TRANSCRIBED_TO",), "translate": ("TRANSLATED_TO", "ENCODES")}
"""Verbs by which a gene becomes a protein, step by step."""


@dataclass(frozen=True)
class NetworkPlan:
    """What a network is made of; every part can be switched off.

    Parameters
    ----------
    hidden
        H, the size of a node's state.
    layers
        Layers of signaling.
    conv
        ``typed``: weights per edge type, sign and direction; the others are PyG's, which know no types.
    text, abundance, own
        What a node's first state is made of: the vector of its text, its measured value, a learned vector of its own.
    graph
        Messages along edges, and pathways. Without it the network is a set of nodes.
    direction
        Forward and reverse messages have weights of their own; otherwise all edges are passed both ways alike.
    reverse
        Messages also go from target to source; only asked where ``direction`` holds.
    sign
        An inhibiting edge turns its message round (``typed``), or has weights of its own (the others).
    translation
        Messages from genes and transcripts to proteins come first.
    readout
        What is pooled. Where there are no pathways, or no graph, attention over nodes takes their place.
    dropout
        Rate, from 0 to below 1.
    bases
        Of the weights of ``typed``.
    """

    hidden: int = 64
    layers: int = 2
    conv: Conv = "typed"
    text: bool = True
    abundance: bool = True
    own: bool = True
    graph: bool = True
    direction: bool = True
    reverse: bool = True
    sign: bool = True
    translation: bool = True
    readout: ReadoutName = "pathway+attention"
    dropout: float = 0.1
    bases: int = 4

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("conv", self.conv, get_args(Conv)),
            ("readout", self.readout, get_args(ReadoutName)),
        ):
            if value not in allowed:
                raise ModelError(f"{name}={value!r} is unknown; choose {', '.join(allowed)}.")
        for name, number, least in (
            ("hidden", self.hidden, 1),
            ("layers", self.layers, 0),
            ("bases", self.bases, 1),
        ):
            if number < least:
                raise ModelError(f"{name}={number} is below {least}.")
        if not 0 <= self.dropout < 1:
            raise ModelError(f"dropout={self.dropout} is outside 0 to below 1.")
        if self.hidden % 4:
            raise ModelError(
                f"hidden={self.hidden} is not a multiple of 4, the number of heads of attention."
            )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> NetworkPlan:
        """Out of JSON.

        Raises
        ------
        ModelError
            If a field is unknown or a value out of bounds.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - known):
            raise ModelError(f"A plan has no {unknown[0]!r}; it has {', '.join(sorted(known))}.")
        return cls(**given)


class SignalingNetwork(nn.Module):
    """A network over the nodes of a graph, for many cells at once.

    Parameters
    ----------
    graph
        The graph; its edges and texts are no part of the weights.
    plan
        What the network is made of.
    classes
        C; 0: no readout, for pretraining.
    seed
        Decides the first weights.

    Raises
    ------
    ModelError
        If ``classes`` is negative.
    """

    def __init__(self, graph: ModelGraph, plan: NetworkPlan, classes: int, *, seed: int) -> None:
        super().__init__()
        if classes < 0:
            raise ModelError(f"classes={classes} is below 0.")
        self.graph, self.plan, self.classes = graph, plan, classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build()

    def _build(self) -> None:
        graph, plan = self.graph, self.plan
        self.fusion = NodeFusion(graph, plan.hidden, text=plan.text, abundance=plan.abundance, own=plan.own)
        self._translated = _translation(graph) if plan.graph and plan.translation else {}
        self.translation = nn.ModuleDict(
            {
                step: TypedConv(plan.hidden, [g.name for g in groups], plan.bases)
                for step, groups in self._translated.items()
            }
        )
        self._groups = _signaling(graph, plan) if plan.graph else []
        self.layers = nn.ModuleList(
            GraphLayer(plan.hidden, self._messages(), plan.dropout)
            for _ in range(plan.layers if plan.graph else 0)
        )
        self.norm = nn.LayerNorm(plan.hidden)
        self.abundance_head, self.pairs = (
            AbundanceHead(plan.hidden),
            PairScorer(plan.hidden, graph.edge_type_names),
        )
        parts = _readout_parts(plan, graph)
        self.readout = Readout(parts, plan.hidden, self.classes, plan.dropout) if self.classes else None
        self.keep_edges(None)

    def _messages(self) -> TypedMessages | SharedMessages:
        plan, names = self.plan, [group.name for group in self._groups]
        if plan.conv == "typed":
            return TypedMessages(plan.hidden, names, plan.bases)
        return SharedMessages(plan.conv, plan.hidden, names)

    def set_scale(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardise what is measured of each node; best called once, before training.

        Parameters
        ----------
        mean, deviation
            float ``(N,)``: of log1p over the cells of training; kept with the weights. Before, 0 and 1.
        """
        self.fusion.set_scale(mean, deviation)

    def keep_edges(self, keep: Tensor | None) -> None:
        """Let messages pass only along the edges where ``keep``, bool ``(E,)``, is true; None: along all.

        The weights stay as they are, so that pretraining may hide other edges at every step.
        """
        graph = self.graph
        shown = graph.stated if keep is None else graph.stated & keep.cpu()
        self._routes = [
            Routes([g.kept(shown) for g in groups], graph.num_nodes) for groups in self._translated.values()
        ]
        kept = [group.kept(shown) for group in self._groups]
        self._along: Routes | Topologies
        if self.plan.conv == "typed":
            self._along = Routes(kept, graph.num_nodes)
        else:
            self._along = [(g, Topology(torch.stack([g.source, g.target]), graph.num_nodes)) for g in kept]
        self._pathways = Pathways(graph.without_edges(~shown).members, graph.num_nodes)

    def states(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        """States of all nodes.

        Parameters
        ----------
        x
            float ``(B, N, 1)``: log1p of abundance; NaN where it is not known, because it was not measured in the
            cell, or is masked. What nodes without abundance have is not read.
        text
            ``(N, D)`` in place of the graph's vectors, where the encoder is trained too.

        Returns
        -------
        ``(B, N, H)``
        """
        h = self._first(x, self.fusion.base(text))
        for layer in self.layers:
            h = layer(h, self._along)
        out: Tensor = self.norm(h)
        return out.transpose(0, 1)

    def _first(self, x: Tensor, base: Tensor) -> Tensor:
        """States before signaling: ``(N, B, H)``."""
        if x.dim() != 3 or x.shape[1:] != (self.graph.num_nodes, 1):
            raise ModelError(f"x has shape {tuple(x.shape)}; it has to be (B, {self.graph.num_nodes}, 1).")
        h: Tensor = self.fusion(x.transpose(0, 1), base)
        for conv, routes in zip(self.translation.values(), self._routes, strict=True):
            h = h + conv(h, routes)
        return h

    def forward(self, x: Tensor, text: Tensor | None = None) -> Tensor:
        """Logits ``(B, C)`` of ``x`` ``(B, N, 1)``; see `states`."""
        return self.classify(self.states(x, text))

    def classify(self, states: Tensor) -> Tensor:
        """Logits ``(B, C)`` of states ``(B, N, H)``."""
        if self.readout is None:
            raise ModelError("The network was made with classes=0, so it has no readout. Give it classes.")
        out: Tensor = self.readout(states.transpose(0, 1), self._pathways)
        return out

    def abundance(self, states: Tensor, text: Tensor | None = None) -> Tensor:
        """What is expected of every node, log1p: states ``(B, N, H)`` to ``(B, N)``."""
        out: Tensor = self.abundance_head(states, self.fusion.base(text))
        return out

    def edge_logits(self, states: Tensor, pairs: Tensor, edge_type: Tensor) -> Tensor:
        """Whether an edge of a type leads from ``pairs[0]`` to ``pairs[1]``.

        Parameters
        ----------
        states
            ``(B, N, H)``.
        pairs, edge_type
            int64 ``(2, P)`` and ``(P,)``, which is the place in the graph's ``edge_type_names``.

        Returns
        -------
        ``(B, P)``
        """
        out: Tensor = self.pairs(states, pairs, edge_type)
        return out

    # ----------------------------------------------------------------- what carries the signal

    @torch.no_grad()
    def edge_strength(self, x: Tensor, groups: Tensor, n_groups: int) -> Tensor:
        """Strength of every edge, added up over the cells of each group.

        The strength of an edge in a cell is its share in what the receiver of its message gets, ``<m, U> / |U|``, over
        all layers, and both ways where messages go both ways. The shares of a layer that arrive at a node add up to
        ``|U|``, the length of its whole message; with a conv of PyG, each conv has a U of its own. Negative: the
        edge pulls the other way. Take it of a network in ``eval()``.

        Parameters
        ----------
        x
            ``(B, N, 1)``; see `states`.
        groups
            int64 ``(B,)``: group of each cell.

        Returns
        -------
        float64 ``(n_groups, E)``; 0 for edges that `keep_edges` left out.
        """
        h = self._first(x, self.fusion.base())
        total = torch.zeros(n_groups, self.graph.num_edges, dtype=torch.double, device=h.device)
        for layer in self.layers:
            sent = cast(GraphLayer, layer).sent
            total += summed_shares(sent(h, self._along), self.graph.num_edges, groups, n_groups)
            h = layer(h, self._along)
        return total

    def node_strength(self, edge_strength: Tensor) -> Tensor:
        """Strength of every node: half of what its edges carry, ``(n_groups, E)`` to ``(n_groups, N)``.

        An edge counts half for each of its ends, so that all nodes carry what all edges do.
        """
        found = edge_strength.new_zeros(len(edge_strength), self.graph.num_nodes)
        for end in self.graph.edge_index.to(edge_strength.device):
            found.index_add_(1, end, edge_strength / 2)
        return found

    @torch.no_grad()
    def attention(self, x: Tensor, groups: Tensor, n_groups: int) -> dict[str, Tensor]:
        """Where the readout looks, added up over the cells of each group; 1 per cell, the mean over heads.

        Returns
        -------
        ``nodes``: float64 ``(n_groups, N)``; ``pathways``: ``(n_groups, P)``, in the order of `pathway_nodes`. Only
        those that the plan reads out.
        """
        if self.readout is None:
            return {}
        h = self.states(x).transpose(0, 1)
        found = {}
        for name, weights in self.readout.weights(h, self._pathways).items():
            mean = weights.mean(-1).double()  # (N or P, B)
            found[name] = mean.new_zeros(n_groups, len(mean)).index_add_(0, groups, mean.T)
        return found

    @property
    def pathway_nodes(self) -> Tensor:
        """int64 ``(P,)``: the nodes of pathways that have members."""
        return self._pathways.nodes


def _translation(graph: ModelGraph) -> dict[str, list[EdgeGroup]]:
    """Groups of each step of translation that the graph has."""
    forward = edge_groups(graph, reverse=False, sign=False)
    steps = {
        step: [g for g in forward if g.name.split("__")[1] in verbs] for step, verbs in TRANSLATION.items()
    }
    return {step: groups for step, groups in steps.items() if groups}


def _signaling(graph: ModelGraph, plan: NetworkPlan) -> list[EdgeGroup]:
    groups = edge_groups(graph, direction=plan.direction, reverse=plan.reverse, sign=plan.sign)
    return groups if plan.conv == "typed" else _untyped(groups)


def _untyped(groups: list[EdgeGroup]) -> list[EdgeGroup]:
    """Join groups over all types: edges that inhibit apart, and each way of messages."""
    ways = [group.name.rsplit(" ", 1)[1] for group in groups]
    found: dict[str, list[EdgeGroup]] = {}
    for group, way in zip(groups, ways, strict=True):
        # Edges of verbs that know no direction go with those of each way.
        names = sorted({*ways} - {"both"}) if way == "both" else [way]
        for kind, mine in (("inhibiting", group.sign < 0), ("other", group.sign >= 0)):
            part = EdgeGroup(
                group.name, *(t[mine] for t in (group.source, group.target, group.sign, group.edge))
            )
            for name in (names or ["both"]) if mine.any() else []:
                found.setdefault(f"{kind} {name}", []).append(part)
    return [_merged(name, parts) for name, parts in sorted(found.items())]


def _merged(name: str, parts: list[EdgeGroup]) -> EdgeGroup:
    columns = ("source", "target", "sign", "edge")
    return EdgeGroup(name, *(torch.cat([getattr(part, column) for part in parts]) for column in columns))


def _readout_parts(plan: NetworkPlan, graph: ModelGraph) -> tuple[str, ...]:
    parts = plan.readout.split("+")
    if not plan.graph or not graph.members.shape[1]:
        parts = ["attention" if part == "pathway" else part for part in parts]
    return tuple(dict.fromkeys(parts))
