"""Networks over text, graph and cells: what each part reads, which way messages go, and what is kept on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import toy_bundle as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import ModelError
from tosg_graph.export import write_bundle
from tosg_graph.models.checkpoint import load, load_shared, save
from tosg_graph.models.edge_groups import Routes, edge_groups
from tosg_graph.models.model_graph import EdgeKey, ModelGraph, model_graph
from tosg_graph.models.network import NetworkPlan, SignalingNetwork
from tosg_graph.models.readout import Pathways
from tosg_graph.models.typed_conv import TypedConv

CONVS = ("typed", "gcn", "sage", "gin", "gat")
SIGNALS = ("Protein", "SIGNALS_TO", "Protein")
ENCODES = ("Gene", "ENCODES", "Protein")
JOINS = ("Protein", "INTERACTS_WITH", "Protein")
MEMBER = ("Protein", "PARTICIPATES_IN", "Pathway")
Edge = tuple[int, int, EdgeKey, float]


def graph_of(types: list[str], edges: list[Edge], measured: list[int] | None = None) -> ModelGraph:
    """A graph whose node n has the id ``n<n>`` and the text ``[n, n * n]``."""
    names, keys = sorted(set(types)), sorted({key for *_, key, _ in edges})
    ends = torch.tensor([[s, t] for s, t, *_ in edges], dtype=torch.long).view(-1, 2).T
    edges_types = torch.tensor([keys.index(key) for *_, key, _ in edges], dtype=torch.long)
    number = torch.arange(len(types), dtype=torch.float32)
    has = torch.zeros(len(types), dtype=torch.bool)
    has[range(len(types)) if measured is None else measured] = True
    found = ModelGraph(
        node_ids=[f"n{k}" for k in range(len(types))],
        node_names=[f"name {k}" for k in range(len(types))],
        node_type=torch.tensor([names.index(t) for t in types]),
        type_names=names,
        edge_index=ends,
        edge_type=edges_types,
        edge_type_names=keys,
        sign=torch.tensor([sign for *_, sign in edges]),
        has_abundance=has,
        text=torch.stack([number, number * number], dim=1),
        text_mask=torch.ones(len(types), dtype=torch.bool),
        members=torch.empty(2, 0, dtype=torch.long),
    )
    return found.without_edges(torch.zeros(len(edges), dtype=torch.bool))  # finds the members


def world() -> ModelGraph:
    """Genes 0-3, a pathway 4, proteins 5-9; every kind of edge, one of them a loop, two of them parallel."""
    types = ["Gene"] * 4 + ["Pathway"] + ["Protein"] * 5
    edges: list[Edge] = [(g, 5 + g, ENCODES, 0.0) for g in range(4)]
    edges += [(5, 6, SIGNALS, 1.0), (6, 7, SIGNALS, -1.0), (5, 6, SIGNALS, -1.0), (7, 7, SIGNALS, 1.0)]
    edges += [(8, 5, SIGNALS, 0.0), (5, 9, JOINS, 0.0), (6, 8, JOINS, 0.0)]
    edges += [(5, 4, MEMBER, 0.0), (6, 4, MEMBER, 0.0), (6, 4, MEMBER, 0.0)]
    return graph_of(types, edges, measured=[0, 1, 2, 3])


def network(of: ModelGraph, classes: int = 3, **plan: Any) -> SignalingNetwork:
    return SignalingNetwork(of, NetworkPlan(**{"hidden": 8, **plan}), classes, seed=1).eval()


def cells(count: int, nodes: int = 10, seed: int = 0) -> Tensor:
    return torch.rand(count, nodes, 1, generator=torch.Generator().manual_seed(seed)) * 5


def chain(sign: float = 1.0) -> ModelGraph:
    """A -> B -> C."""
    return graph_of(["Protein"] * 3, [(0, 1, SIGNALS, sign), (1, 2, SIGNALS, sign)])


def moved(net: SignalingNetwork, x: Tensor, node: int) -> list[bool]:
    """Which nodes change their state when one node is measured otherwise."""
    other = x.clone()
    other[:, node] += 1
    return [bool((a != b).any()) for a, b in zip(net.states(x)[0], net.states(other)[0], strict=True)]


# --------------------------------------------------------------------------- direction and sign


@pytest.mark.parametrize("conv", CONVS)
def test_messages_go_from_source_to_target(conv: Any) -> None:
    net = network(chain(), conv=conv, layers=1, reverse=False)
    x = cells(1, 3)
    assert moved(net, x, 0) == [True, True, False]
    assert moved(net, x, 1) == [False, True, True]
    assert moved(net, x, 2) == [False, False, True]


@pytest.mark.parametrize("conv", CONVS)
def test_reverse_messages_have_weights_of_their_own(conv: Any) -> None:
    net = network(chain(), conv=conv, layers=1)
    assert moved(net, cells(1, 3), 1) == [True, True, True]
    alike = network(chain(), conv=conv, layers=1, direction=False)
    assert moved(alike, cells(1, 3), 1) == [True, True, True]
    assert parameters(alike) < parameters(net)
    turned = replace(chain(), edge_index=chain().edge_index.flip(0))
    x = cells(2, 3)
    assert torch.equal(
        network(turned, conv=conv, direction=False)(x), network(chain(), conv=conv, direction=False)(x)
    )
    assert not torch.allclose(network(turned, conv=conv)(x), network(chain(), conv=conv)(x))


def test_a_gene_reaches_its_protein_through_its_transcript_before_signaling() -> None:
    edges: list[Edge] = [
        (0, 1, ("Gene", "TRANSCRIBED_TO", "Transcript"), 0.0),
        (1, 2, ("Transcript", "TRANSLATED_TO", "Protein"), 0.0),
    ]
    graph = graph_of(["Gene", "Transcript", "Protein"], edges, measured=[0])
    assert moved(network(graph, layers=0), cells(1, 3), 0) == [True, True, True]
    assert moved(network(graph, layers=0, translation=False), cells(1, 3), 0) == [True, False, False]


def test_an_inhibiting_edge_turns_its_message_round() -> None:
    h = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    sums = {}
    for sign in (1.0, -1.0):
        groups = edge_groups(chain(sign))
        conv = network(chain(sign), layers=1).layers[0].messages.conv
        sums[sign] = conv(h, Routes(groups, 3))
    assert sums[1.0].abs().sum() > 0
    torch.testing.assert_close(sums[1.0], -sums[-1.0])


@pytest.mark.parametrize("conv", CONVS)
def test_without_signs_all_edges_are_alike(conv: Any) -> None:
    x = cells(2, 3)
    activates, inhibits = (network(chain(s), conv=conv, sign=False)(x) for s in (1.0, -1.0))
    assert torch.equal(activates, inhibits)


# --------------------------------------------------------------------------- the typed conv, edge by edge


@st.composite
def random_graphs(draw: st.DrawFn) -> ModelGraph:
    nodes = draw(st.integers(1, 6))
    end, key = st.integers(0, nodes - 1), st.sampled_from([SIGNALS, JOINS, ENCODES])
    edges = draw(st.lists(st.tuples(end, end, key, st.sampled_from([1.0, -1.0, 0.0])), max_size=12))
    return graph_of(["Protein"] * nodes, edges)


def edge_by_edge(conv: TypedConv, groups: list[Any], h: Tensor) -> Tensor:
    out = torch.zeros_like(h)
    for group, weight in zip(groups, conv.weights, strict=True):
        for s, t, sign in zip(group.source.tolist(), group.target.tolist(), group.sign.tolist(), strict=True):
            out[t] += sign * conv.up(conv.down(h[s]) @ weight) / group.target.tolist().count(t)
    return out


@settings(max_examples=25, deadline=None)
@given(random_graphs(), st.booleans(), st.booleans(), st.booleans())
def test_the_typed_conv_is_a_loop_over_edges(
    graph: ModelGraph, direction: bool, reverse: bool, sign: bool
) -> None:
    groups = edge_groups(graph, direction=direction, reverse=reverse, sign=sign)
    torch.manual_seed(0)
    conv = TypedConv(4, [g.name for g in groups], 2, 2).double()
    h = torch.randn(graph.num_nodes, 3, 4, dtype=torch.double)
    torch.testing.assert_close(conv(h, Routes(groups, graph.num_nodes)), edge_by_edge(conv, groups, h))


def test_symmetric_verbs_pass_messages_both_ways_by_one_weight() -> None:
    graph = graph_of(["Protein"] * 3, [(0, 1, JOINS, 0.0), (2, 2, JOINS, 0.0)])
    (group,) = edge_groups(graph, reverse=False)
    assert group.name.endswith(" both")
    assert sorted(zip(group.source.tolist(), group.target.tolist(), strict=True)) == [(0, 1), (1, 0), (2, 2)]


# --------------------------------------------------------------------------- cells and nodes


@pytest.mark.parametrize("conv", CONVS)
def test_many_cells_at_once_are_one_cell_at_a_time(conv: Any) -> None:
    net, x = network(world(), conv=conv), cells(4)
    torch.testing.assert_close(net(x), torch.cat([net(one[None]) for one in x]), atol=1e-5, rtol=1e-5)


def test_other_numbers_for_nodes_change_nothing() -> None:
    graph, order = world(), torch.randperm(10, generator=torch.Generator().manual_seed(3))
    place = order.argsort()  # node order[k] becomes node k
    other = replace(
        graph,
        node_ids=[graph.node_ids[n] for n in order],
        node_type=graph.node_type[order],
        edge_index=place[graph.edge_index],
        has_abundance=graph.has_abundance[order],
        text=graph.text[order],
        text_mask=graph.text_mask[order],
        members=place[graph.members],
    )
    net, again, x = network(graph), network(other), cells(3)
    with torch.no_grad():
        assert net.fusion.own is not None
        again.load_state_dict(net.state_dict() | {"fusion.own": net.fusion.own[order]})
    torch.testing.assert_close(again(x[:, order]), net(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(again.states(x[:, order]), net.states(x)[:, order], atol=1e-5, rtol=1e-5)


def test_the_seed_alone_decides_the_first_weights() -> None:
    graph, plan = world(), NetworkPlan(hidden=8)
    torch.manual_seed(5)
    first = SignalingNetwork(graph, plan, 3, seed=7).state_dict()
    torch.manual_seed(6)
    before = torch.random.get_rng_state()
    again = SignalingNetwork(graph, plan, 3, seed=7).state_dict()
    other = SignalingNetwork(graph, plan, 3, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fusion.own"], other["fusion.own"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_is_not_measured_is_no_zero() -> None:
    net, x = network(world()), cells(1)
    zero, unknown, unread = x.clone(), x.clone(), x.clone()
    zero[0, 1], unknown[0, 1], unread[0, 5] = 0.0, torch.nan, 9.0
    assert net(unknown).isfinite().all()
    assert not torch.equal(net(zero), net(unknown))
    assert torch.equal(net(unread), net(x))  # a protein without abundance


def test_values_are_standardised_by_the_scale_that_is_set() -> None:
    net, x = network(world()), cells(2)
    before = net(x)
    net.set_scale(torch.full((10,), 2.0), torch.full((10,), 4.0))
    torch.testing.assert_close(net(x * 4 + 2), before)
    net.set_scale(torch.zeros(10), torch.zeros(10))  # nodes that do not vary
    torch.testing.assert_close(net(x), before)


# --------------------------------------------------------------------------- switches


def parameters(net: SignalingNetwork) -> int:
    return sum(p.numel() for p in net.parameters())


CHANGES = {
    "text": lambda g: replace(g, text=g.text + 1),
    "sign": lambda g: replace(g, sign=-g.sign),
    "graph": lambda g: g.shuffled_edges(1),
}


@pytest.mark.parametrize("part", CHANGES)
def test_a_part_counts_unless_it_is_switched_off(part: str) -> None:
    x, other = cells(2), CHANGES[part](world())
    assert not torch.allclose(network(other)(x), network(world())(x))
    off = {part: False}
    assert torch.equal(network(other, **off)(x), network(world(), **off)(x))


def test_abundance_and_own_vectors_can_be_switched_off() -> None:
    x = cells(2)
    assert not torch.allclose(network(world())(x)[0], network(world())(x)[1])
    silent = network(world(), abundance=False)(x)
    torch.testing.assert_close(silent[0], silent[1])
    assert parameters(network(world())) - parameters(network(world(), own=False)) == 10 * 8


@pytest.mark.parametrize("part", ["text", "abundance", "own", "graph", "translation", "reverse", "sign"])
def test_each_switch_takes_weights_away(part: str) -> None:
    assert parameters(network(world(), **{part: False})) < parameters(network(world()))


def test_only_own_vectors_grow_with_the_graph() -> None:
    small, large = (
        world(),
        graph_of(
            ["Gene"] * 4 + ["Pathway"] + ["Protein"] * 50,
            [
                (s, t, key, sign)
                for (s, t), key, sign in zip(
                    world().edge_index.T.tolist(),
                    [world().edge_type_names[k] for k in world().edge_type],
                    world().sign.tolist(),
                    strict=True,
                )
            ],
        ),
    )
    assert parameters(network(large)) - parameters(network(small)) == 45 * 8


@pytest.mark.parametrize("readout", ["pathway+attention", "pathway", "attention", "mean"])
def test_each_readout_gives_logits(readout: Any) -> None:
    net = network(world(), readout=readout)
    assert net(cells(2)).shape == (2, 3)
    looks = net.attention(cells(3), torch.tensor([0, 1, 1]), 2)
    wanted = {"nodes": "attention" in readout, "pathways": "pathway" in readout}
    assert set(looks) == {name for name, has in wanted.items() if has}
    for found in looks.values():
        torch.testing.assert_close(found.sum(1), torch.tensor([1.0, 2.0], dtype=torch.double))


def test_pathways_are_means_over_members_each_counted_once() -> None:
    graph, h = world(), torch.arange(10.0).view(10, 1, 1)
    pathways = Pathways(graph.members, 10)
    assert pathways.nodes.tolist() == [4]
    assert pathways.means(h).flatten().tolist() == [5.5]


# --------------------------------------------------------------------------- pretraining


def test_pairs_are_directed_where_their_verb_is() -> None:
    net = network(world())
    states, names = net.states(cells(2)), world().edge_type_names
    pairs, turned = torch.tensor([[5, 6], [7, 8]]), torch.tensor([[7, 8], [5, 6]])
    for verb, alike in ((SIGNALS, False), (JOINS, True)):
        kinds = torch.full((2,), names.index(verb))
        forward, back = (net.edge_logits(states, p, kinds) for p in (pairs, turned))
        assert forward.shape == (2, 2)
        assert torch.allclose(forward, back) is alike
    mixed = torch.tensor([names.index(SIGNALS), names.index(JOINS)])
    apart = [net.edge_logits(states, pairs[:, [k]], mixed[[k]]) for k in range(2)]
    torch.testing.assert_close(net.edge_logits(states, pairs, mixed), torch.cat(apart, dim=1))


def test_a_masked_value_is_not_read_and_can_be_asked_for() -> None:
    net, x = network(world(), classes=0), cells(2)
    one, other = x.clone(), x.clone()
    one[:, 2], other[:, 2] = torch.nan, torch.nan
    other[:, 2] = torch.nan
    expected = net.abundance(net.states(one))
    assert expected.shape == (2, 10)
    expected[:, 2].sum().backward()
    assert net.fusion.own is not None
    assert net.fusion.own.grad is not None
    with pytest.raises(ModelError, match="classes=0"):
        net(x)


@pytest.mark.parametrize("conv", CONVS)
def test_hidden_edges_carry_nothing(conv: Any) -> None:
    graph, x = world(), cells(2)
    net = network(graph, conv=conv)
    full, hide = net(x), torch.zeros(graph.num_edges, dtype=torch.bool)
    hide[5] = True
    net.keep_edges(~hide)
    hidden = net(x)
    assert not torch.allclose(hidden, full)
    assert net.edge_strength(x, torch.zeros(2, dtype=torch.long), 1)[0, 5] == 0
    net.keep_edges(None)
    torch.testing.assert_close(net(x), full)


@pytest.mark.parametrize("conv", CONVS)
def test_no_message_passes_along_what_is_said_not_to_be(conv: Any) -> None:
    x, negated = cells(1, 3), torch.tensor([True, False])
    assert moved(network(replace(chain(), negated=negated), conv=conv, reverse=False), x, 0) == [
        True,
        False,
        False,
    ]
    member = torch.zeros(world().num_edges, dtype=torch.bool)
    member[world().edges_of(["PARTICIPATES_IN"])] = True
    none = replace(world(), negated=member).without_edges(torch.zeros_like(member))
    assert not none.members.shape[1]
    assert not torch.equal(network(none)(cells(2)), network(world())(cells(2)))


# --------------------------------------------------------------------------- what carries the signal


@pytest.mark.parametrize("conv", CONVS)
def test_shares_of_edges_add_up_to_the_message(conv: Any) -> None:
    net, x = network(world(), conv=conv, layers=1), cells(3)
    strength = net.edge_strength(x, torch.zeros(3, dtype=torch.long), 1)
    assert strength.shape == (1, world().num_edges)
    (layer,) = net.layers
    with torch.no_grad():
        h = net._first(x, net.fusion.base())
        sent = list(layer.sent(h, net._along))
    whole = {id(s.received): s.received.norm(dim=-1).sum() for s in sent}
    torch.testing.assert_close(strength.sum().float(), torch.stack(list(whole.values())).sum())
    torch.testing.assert_close(net.node_strength(strength).sum(), strength.sum())


@pytest.mark.parametrize("conv", CONVS)
def test_what_is_said_to_be_received_is_what_the_conv_adds_up(conv: Any) -> None:
    net, h = network(world(), conv=conv, layers=1), torch.randn(10, 2, 8)
    (layer,) = net.layers
    sent = list(layer.messages.sent(h, net._along))
    if conv == "typed":
        torch.testing.assert_close(sent[0].received, sum(_delivered(s) for s in sent))
        return
    for s, (_, topology), one in zip(sent, net._along, layer.messages.convs.values(), strict=True):
        loop = s.group.source == s.group.target
        arrive = torch.bincount(s.group.target[~loop], minlength=10)
        without_loop = (torch.bincount(s.group.target[loop], minlength=10) == 0)[:, None]
        for cell in range(2):
            whole = one(h[:, cell], topology.edge_index)
            if conv == "gcn":  # the loops that it adds are no edges of the graph
                own = one.lin(h[:, cell]) * without_loop / (arrive + 1)[:, None]
                torch.testing.assert_close(s.received[:, cell] + own + one.bias, whole)
            elif conv == "gat":
                torch.testing.assert_close(s.received[:, cell] + one.bias, whole)
            elif conv == "sage":
                added = one.lin_l.bias + one.lin_r(h[:, cell])
                torch.testing.assert_close(s.received[:, cell] + added, whole)
            else:
                torch.testing.assert_close(one.nn(s.received[:, cell] + (1 + one.eps) * h[:, cell]), whole)


def _delivered(sent: Any) -> Tensor:
    out = torch.zeros_like(sent.values)
    for part, messages in sent.messages():
        out.index_add_(0, sent.group.target[part], messages)
    return out


def test_strengths_are_kept_apart_by_group_of_cells() -> None:
    net, x = network(world()), cells(3)
    apart = net.edge_strength(x, torch.tensor([1, 0, 1]), 3)
    each = [net.edge_strength(one[None], torch.tensor([0]), 1)[0] for one in x]
    torch.testing.assert_close(apart[0], each[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(apart[1], each[0] + each[2], atol=1e-5, rtol=1e-5)
    assert not apart[2].any()


# --------------------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("conv", ["typed", "gat"])
def test_a_kept_network_is_the_same_network(conv: Any, tmp_path: Path) -> None:
    net, x = network(world(), conv=conv), cells(2)
    save(net, tmp_path / "model.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    again = load(tmp_path / "model.safetensors", world()).eval()
    assert again.plan == net.plan
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda g: replace(g, node_ids=[*g.node_ids[:-1], "other"]), "nodes_sha256"),
        (lambda g: replace(g, text=torch.zeros(10, 3)), "text_dimension"),
        (lambda g: replace(g, encoder="other"), "encoder"),
        (lambda g: replace(g, edge_type_names=[("A", "B", "C"), *g.edge_type_names[1:]]), "edge_types"),
        (lambda g: replace(g, sign=g.sign.abs() * 0), "groups"),
    ],
)
def test_a_checkpoint_of_another_schema_is_refused(change: Any, named: str, tmp_path: Path) -> None:
    save(network(world()), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=f"its {named} is"):
        load(tmp_path / "m.safetensors", change(world()))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "m.json").unlink(), "cannot be read"),
        (lambda f: (f / "m.safetensors").unlink(), "cannot be read"),
        (lambda f: (f / "m.json").write_text("no json"), "not what a checkpoint has"),
        (lambda f: (f / "m.json").write_text("[]"), "not what a checkpoint has"),
        (lambda f: (f / "m.json").write_text('{"format_version": 9}'), "format version 9"),
        (lambda f: (f / "m.safetensors").write_bytes(b"12345678"), "is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage: Any, message: str, tmp_path: Path) -> None:
    save(network(world()), tmp_path / "m.safetensors")
    damage(tmp_path)
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path / "m.safetensors", world())
    assert "\n" not in str(caught.value)


def test_weights_go_over_to_another_graph_by_name(tmp_path: Path) -> None:
    net = network(world(), classes=0)
    save(net, tmp_path / "m.safetensors")
    types = ["Drug", "Gene", "Gene", "Protein", "Protein"]
    targets = ("Drug", "TARGETS", "Protein")
    graph = graph_of(types, [(1, 3, ENCODES, 0.0), (3, 4, SIGNALS, -1.0), (0, 4, targets, 0.0)])
    graph = replace(graph, node_ids=["new", "n1", "n0", "n6", "n5"])
    again, said = load_shared(tmp_path / "m.safetensors", graph, 4, seed=9)
    fresh = SignalingNetwork(graph, net.plan, 4, seed=9)
    assert net.fusion.own is not None
    assert again.fusion.own is not None
    assert torch.equal(again.fusion.own[1:], net.fusion.own[[1, 0, 6, 5]])
    assert torch.equal(again.fusion.own[0], fresh.fusion.own[0])  # type: ignore[index]
    assert torch.equal(again.fusion.kind[1:], net.fusion.kind[[0, 2]])
    mine, before = again.layers[0].messages.conv, net.layers[0].messages.conv
    for name in ("Protein__SIGNALS_TO__Protein signed forward", "Gene__ENCODES__Protein plain reverse"):
        assert torch.equal(mine.mix[mine.groups.index(name)], before.mix[before.groups.index(name)])
    assert torch.equal(mine.bases, before.bases)
    assert said.nodes == (4, 5)
    assert said.new_edge_groups == [f"Drug__TARGETS__Protein plain {way}" for way in ("forward", "reverse")]
    assert "readout.out.weight" in said.new
    assert "layers.0.messages.own.weight" in said.copied
    assert said.as_facts()["own vectors"] == "4 of 5 nodes are in the checkpoint"


def test_weights_do_not_go_over_to_texts_of_another_encoder(tmp_path: Path) -> None:
    save(network(world()), tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="Embed the texts with the same encoder"):
        load_shared(tmp_path / "m.safetensors", replace(world(), encoder="other"), 2, seed=0)


# --------------------------------------------------------------------------- graphs and plans


def test_a_bundle_becomes_a_graph(tmp_path: Path) -> None:
    picked, key = toy.selection(), ("Gene", "SIGNALS_TO", "Gene")
    said = pa.array([None, False, True, None], pa.bool_())
    edges = {**picked.edges, key: picked.edges[key].append_column("negated", said)}
    picked = replace(picked, edges=edges)
    write_bundle(picked, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b", seed=7)
    data = TosgDataset(tmp_path / "b", layer="log1p")
    graph = model_graph(data)
    assert graph.node_ids == [*toy.GENES, "WIKIPATHWAYS:WP1", "UniProtKB:P1", "UniProtKB:P2"]
    assert graph.node_type.tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert graph.sign.tolist() == [0, 0, 1, -1, 0, 1]
    assert graph.stated.tolist() == [True, True, True, True, False, True]
    assert graph.encoder == "toy"
    assert torch.equal(graph.edge_index, data.edge_index)
    assert SignalingNetwork(graph, NetworkPlan(), 2, seed=0)(data.take([0, 1]).x).shape == (2, 2)


def test_shuffled_edges_keep_degrees_of_each_type_and_shuffled_texts_their_type() -> None:
    graph = world()
    shuffled = graph.shuffled_edges(3)
    assert not torch.equal(shuffled.edge_index, graph.edge_index)
    for kind in range(len(graph.edge_type_names)):
        mine = graph.edge_type == kind
        for end in (0, 1):
            assert (
                shuffled.edge_index[end, mine].sort()[0].tolist()
                == graph.edge_index[end, mine].sort()[0].tolist()
            )
    assert torch.equal(graph.shuffled_edges(3).edge_index, shuffled.edge_index)
    texts = graph.shuffled_text(3).text
    assert not torch.equal(texts, graph.text)
    for kind in range(3):
        mine = graph.node_type == kind
        assert texts[mine, 0].sort()[0].tolist() == graph.text[mine, 0].tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conv": "other"}, "choose typed, gcn"),
        ({"readout": "sum"}, "choose pathway"),
        ({"hidden": 6}, "multiple of 4"),
        ({"layers": -1}, "below 0"),
        ({"dropout": 1.0}, "outside 0"),
        ({"depth": 3}, "no 'depth'"),
    ],
)
def test_plans_that_cannot_be_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        NetworkPlan.from_dict(given)


def test_a_plan_goes_through_json() -> None:
    plan = NetworkPlan(hidden=16, conv="gat", text=False)
    assert NetworkPlan.from_dict(json.loads(json.dumps(plan.as_dict()))) == plan


def test_input_of_another_shape_is_refused() -> None:
    with pytest.raises(ModelError, match=r"has to be \(B, 10, 1\)"):
        network(world())(cells(2, 9))


# --------------------------------------------------------------------------- precision


@pytest.mark.parametrize("conv", CONVS)
def test_mixed_precision_gives_nearly_the_same_and_finite_gradients(conv: Any) -> None:
    net, x = network(world(), conv=conv), cells(4)
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x)
    rounded.float().sum().backward()
    torch.testing.assert_close(rounded.float(), exact, atol=0.1, rtol=0.1)
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_training_lowers_the_loss_and_can_be_repeated() -> None:
    x, y = cells(12), torch.arange(12) % 3
    x[:, :3, 0] += 2 * torch.nn.functional.one_hot(y, 3)

    def losses() -> list[float]:
        net = SignalingNetwork(world(), NetworkPlan(hidden=16), 3, seed=2)
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        torch.manual_seed(0)
        found = []
        for _ in range(30):
            loss = torch.nn.functional.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    first = losses()
    assert first[-1] < first[0] / 3
    assert losses() == first
