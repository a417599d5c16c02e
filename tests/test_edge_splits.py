"""Edge tasks: whatever the graph, no pair of nodes is on two sides, compared with sets in plain Python."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import toy_bundle as toy
from click.testing import CliRunner
from hypothesis import event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from test_export import files, left_over, write

from tosg_graph import bundle, cli
from tosg_graph.edge_pairs import count_overlap
from tosg_graph.edge_splits import EdgeSplits, EdgeTask, split_edges
from tosg_graph.errors import BundleError, ExportError
from tosg_graph.resources import schema
from tosg_graph.types import Selection

SIDES = dict(enumerate(bundle.SPLITS))
TYPES = [
    ("Gene", "ENCODES", "Protein"),
    ("Gene", "INTERACTS_WITH", "Gene"),  # symmetric
    ("Gene", "SIGNALS_TO", "Gene"),
    ("Gene", "SIGNALS_TO", "Protein"),
    ("Protein", "SIGNALS_TO", "Gene"),
]
HALVES = (0.5, 0.25, 0.25)


def graph(genes: int, proteins: int, rows: list[tuple[int, int, int, str, bool]]) -> Selection:
    """Edges are (type, source, target, by whom, negated), counted within types; ``score`` is 1000 * source + target."""
    kinds = {"Gene": (0, genes), "Protein": (genes, proteins)}
    kept: dict[tuple[str, str, str], set[tuple[int, int, str, bool]]] = defaultdict(set)
    for number, source, target, by, negated in rows:
        key = TYPES[number]
        if min(kinds[key[0]][1], kinds[key[2]][1]):
            at, to = (kinds[t][0] + k % kinds[t][1] for t, k in ((key[0], source), (key[2], target)))
            if key[1] == "INTERACTS_WITH":
                at, to = min(at, to), max(at, to)
            kept[key].add((at, to, by, negated))
    edges = {
        key: toy.edges(
            [
                (at, to, 10_000 * at + 10 * to + k, by, 1000.0 * at + to, None)
                for k, (at, to, by, _) in enumerate(sorted(found))
            ]
        ).append_column("negated", pa.array([n or None for *_, n in sorted(found)], pa.bool_()))
        for key, found in kept.items()
    }
    types = ["Gene"] * genes + ["Protein"] * proteins
    ids = [f"HGNC:{k + 1}" for k in range(genes)] + [f"UniProtKB:P{k}" for k in range(proteins)]
    labels = pa.array([[t] for t in types], pa.list_(pa.string()))
    return Selection(pa.table({"id": ids, "type": types, "labels": labels, "name": ids}), edges, "", {})


@st.composite
def graphs(draw: st.DrawFn) -> Selection:
    node = st.integers(0, 11)
    edge = st.tuples(
        st.integers(0, len(TYPES) - 1),
        node,
        node,
        st.sampled_from("ab"),
        st.sampled_from([False] * 19 + [True]),
    )
    return graph(
        draw(st.integers(4, 12)), draw(st.integers(0, 8)), draw(st.lists(edge, min_size=20, max_size=60))
    )


def pair_of(task: EdgeTask, verb: str, source: int, target: int) -> tuple[frozenset[int], str]:
    return frozenset((source, target)), verb if task.pairs == "verb" else ""


class Reference:
    """What of a graph is to be dealt, in sets and dicts."""

    def __init__(self, chosen: Selection, task: EdgeTask) -> None:
        self.edges = {
            bundle.edge_name(key): list(
                zip(*(t[c].to_pylist() for c in ("source_row", "target_row", "negated")), strict=True)
            )
            for key, t in chosen.edges.items()
        }
        self.types = sorted(n for n in self.edges if n in task.types or n.split("__")[1] in task.types)
        self.units = {
            n: [pair_of(task, n.split("__")[1], s, t) for s, t, _ in e] for n, e in self.edges.items()
        }
        self.known = {unit for units in self.units.values() for unit in units}
        self.dealt = {
            unit
            for n in self.types
            for unit, (s, t, denied) in zip(self.units[n], self.edges[n], strict=True)
            if s != t and not denied
        }

    def positives(self, name: str) -> dict[object, int]:
        """First position of what each edge states."""
        found: dict[object, int] = {}
        for position, (s, t, denied) in enumerate(self.edges[name]):
            if s != t and not denied:
                found.setdefault(frozenset((s, t)) if "INTERACTS" in name else (s, t), position)
        return found

    def free(self, task: EdgeTask, name: str) -> set[object]:
        """Pairs that could be negatives."""
        rows = [self.edges[name][p][:2] for p in self.positives(name).values()]
        pairs = ((s, t) for s in {s for s, _ in rows} for t in {t for _, t in rows} if s != t)
        return {pair_of(task, name.split("__")[1], s, t) for s, t in pairs} - self.known


def check_refusal(said: str, task: EdgeTask, expected: Reference) -> None:
    """Whether a refusal is right."""
    assert "\n" not in said
    name = said.split(" ")[0]
    if "has no edge" in said:
        assert any(not any(a in (n, n.split("__")[1]) for n in expected.edges) for a in task.types)
    elif "too few" in said:
        event("too few")
        units = {
            pair_of(task, name.split("__")[1], *expected.edges[name][p][:2])
            for p in expected.positives(name).values()
        }
        assert f" {len(units)} pairs" in said
        assert (
            len(units) < 8 or len(expected.types) > 1
        )  # a quarter of 8 pairs is two, if they are dealt by themselves
    else:
        event("too dense")
        assert "too dense" in said
        wanted = sum(task.negatives * len(expected.positives(n)) + 3 for n in expected.types)
        assert len(expected.free(task, name)) < wanted


@hypothesis_settings(max_examples=200)
@given(
    graphs(),
    st.sampled_from(
        [("SIGNALS_TO",), ("INTERACTS_WITH",), ("Gene__SIGNALS_TO__Gene",), ("SIGNALS_TO", "ENCODES")]
    ),
    st.sampled_from([(1.0, 0.0, 0.0), HALVES, (0.5, 0.0, 0.5)]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.sampled_from(["any", "verb"]),
    st.integers(0, 5),
)
def test_any_multigraph_is_dealt_as_the_sets_say(
    chosen: Selection,
    types: tuple[str, ...],
    fractions: tuple[float, ...],
    ratio: float,
    pairs: str,
    seed: int,
) -> None:
    task = EdgeTask(types, fractions, ratio, pairs)
    expected = Reference(chosen, task)
    try:
        found = split_edges(chosen, task, seed)
    except ExportError as error:
        check_refusal(str(error), task, expected)
        return
    event("dealt")
    tensors, facts = found.tensors, found.facts
    sides_of = defaultdict(set)
    for name, units in expected.units.items():
        for unit, side in zip(units, tensors[f"{name}.side"].tolist(), strict=True):
            sides_of[unit].add(side)
    assert all(len(sides) == 1 for sides in sides_of.values())
    assert {unit for unit, sides in sides_of.items() if sides != {-1}} == expected.dealt
    assert facts["types"] == expected.types
    drawn = Counter()
    for name in expected.types:
        wanted, asked = expected.positives(name), []
        for number, split in SIDES.items():
            positions = tensors[f"{name}.{split}.positive"].tolist()
            asked += positions
            assert all(sides_of[expected.units[name][p]] == {number} for p in positions)
            rows = tensors[f"{name}.{split}.negative"]
            assert rows.shape == (2, round(ratio * len(positions)))
            assert rows.dtype == np.int64
            source_type, verb, target_type = name.split("__")
            for s, t in rows.T.tolist():
                assert s != t
                kinds = chosen.nodes["type"]
                assert (kinds[s].as_py(), kinds[t].as_py()) == (source_type, target_type)
                drawn[pair_of(task, verb, s, t)] += 1
                assert verb != "INTERACTS_WITH" or s < t
            assert facts["edges"][name][split]["positives"] == len(positions)
        assert sorted(asked) == sorted(wanted.values())
    assert not set(drawn) & expected.known
    assert set(drawn.values()) <= {1}
    had = {node for edges in expected.edges.values() for s, t, _ in edges for node in (s, t)}
    kept = {
        node
        for name, edges in expected.edges.items()
        for (s, t, _), side in zip(edges, tensors[f"{name}.side"].tolist(), strict=True)
        if side <= 0
        for node in (s, t)
    }
    assert facts["cold_nodes"]["count"] == len(had - kept)
    assert set(facts["cold_nodes"]["examples"]) <= {chosen.nodes["id"][n].as_py() for n in had - kept}
    topology = topology_of(chosen)
    assert set(count_overlap(topology, tensors, kinds_of(chosen), pairs).values()) == {0}


def kinds_of(chosen: Selection) -> list[str]:
    return sorted(set(chosen.nodes["type"].to_pylist()))


def topology_of(chosen: Selection) -> dict[str, Any]:
    types = chosen.nodes["type"].to_pylist()
    sizes = [types.count(kind) for kind in kinds_of(chosen)]
    found: dict[str, Any] = {"node_offsets": np.cumsum([0, *sizes])}
    for key, table in chosen.edges.items():
        rows = [table["source_row"].to_numpy(), table["target_row"].to_numpy()]
        found[f"{bundle.edge_name(key)}.edge_index"] = np.stack(rows)
    return found


def ring(size: int = 40) -> Selection:
    """Genes in a ring, each of whose edges has a parallel one and an interaction; every fourth also a mirrored one."""
    rows = [(2, k, (k + 1) % size, by, False) for k in range(size) for by in "ab"]
    rows += [(2, (k + 1) % size, k, "a", False) for k in range(0, size, 4)]
    rows += [(1, k, (k + 1) % size, "a", False) for k in range(size)]
    rows += [(2, k, k, "a", False) for k in range(3)]
    rows += [(2, k, k + 2, "a", True) for k in range(2)]
    rows += [(0, k, k, "a", False) for k in range(2)]
    return graph(size, 2, rows)


SIGNALS = "Gene__SIGNALS_TO__Gene"


def test_shares_are_those_of_pairs_and_twins_follow() -> None:
    found = split_edges(ring(), EdgeTask(("SIGNALS_TO",), HALVES), 1)
    edges = topology_of(ring())[f"{SIGNALS}.edge_index"]
    pairs = {
        s: {frozenset(edges[:, p]) for p in found.tensors[f"{SIGNALS}.{s}.positive"]} for s in SIDES.values()
    }
    assert {s: len(found) for s, found in pairs.items()} == {"train": 20, "val": 10, "test": 10}
    assert found.facts["not_dealt"] == {SIGNALS: {"loops": 3, "negated": 2}}
    interactions = found.tensors["Gene__INTERACTS_WITH__Gene.side"]
    assert Counter(interactions.tolist()) == {0: 20, 1: 10, 2: 10}
    assert found.facts["message_passing"]["Gene__INTERACTS_WITH__Gene"] == 20
    assert set(found.tensors["Gene__ENCODES__Protein.side"].tolist()) == {-1}


def test_with_pairs_of_a_verb_edges_of_other_verbs_stay() -> None:
    found = split_edges(ring(), EdgeTask(("SIGNALS_TO",), HALVES, pairs="verb"), 1)
    assert set(found.tensors["Gene__INTERACTS_WITH__Gene.side"].tolist()) == {-1}


def test_negatives_of_verbs_without_direction_are_in_the_order_of_their_edges() -> None:
    name = "Gene__INTERACTS_WITH__Gene"
    found = split_edges(ring(), EdgeTask(("INTERACTS_WITH",), HALVES), 1)
    for split in SIDES.values():
        source, target = found.tensors[f"{name}.{split}.negative"]
        assert len(source)
        assert (source < target).all()


def test_pairs_that_another_verb_joins_are_no_negatives_unless_verbs_are_told_apart() -> None:
    """Genes signal in a ring and interact with all but their like modulo 3: those alone are free."""
    size = 24
    rows = [(2, k, (k + 1) % size, "a", False) for k in range(size)]
    rows += [(1, s, t, "a", False) for s in range(size) for t in range(size) if s < t and (s - t) % 3]
    any_, verb = (
        split_edges(graph(size, 0, rows), EdgeTask(("SIGNALS_TO",), HALVES, 3.0, pairs), 0)
        for pairs in ("any", "verb")
    )
    names = [f"{SIGNALS}.{split}.negative" for split in SIDES.values()]
    apart = [{int(s - t) % 3 for name in names for s, t in found.tensors[name].T} for found in (any_, verb)]
    assert apart == [{0}, {0, 1, 2}]


def test_another_seed_deals_otherwise_and_the_same_seed_the_same() -> None:
    task = EdgeTask(("SIGNALS_TO",), HALVES)
    first, again, other = (split_edges(ring(), task, seed).tensors for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first[f"{SIGNALS}.side"], other[f"{SIGNALS}.side"])
    assert not np.array_equal(first[f"{SIGNALS}.train.negative"], other[f"{SIGNALS}.train.negative"])


def test_negatives_have_the_degrees_of_the_edges() -> None:
    """New genes join those that have many edges: of negatives drawn evenly, the degrees would be half of theirs."""
    rng, ends = np.random.default_rng(0), [0, 1]
    rows = []
    for k in range(2, 600):
        for target in {int(t) for t in rng.choice(ends, 4)}:
            rows.append((2, k, target, "a", False))
            ends += [k, target]
    chosen = graph(600, 0, rows)
    found = split_edges(chosen, EdgeTask(("SIGNALS_TO",), HALVES), 0)
    edges = topology_of(chosen)[f"{SIGNALS}.edge_index"]
    degree = np.bincount(edges.ravel(), minlength=600)
    for split in SIDES.values():
        said = found.facts["edges"][SIGNALS][split]
        positive = edges[:, found.tensors[f"{SIGNALS}.{split}.positive"]]
        negative = found.tensors[f"{SIGNALS}.{split}.negative"]
        assert sorted(negative[0]) == sorted(positive[0])  # sources as often as in the edges
        assert said["degree_of_positives"] == round(float(degree[positive].mean()), 3)
        assert said["degree_of_negatives"] == round(float(degree[negative].mean()), 3)
        assert said["degree_of_negatives"] == pytest.approx(said["degree_of_positives"], rel=0.2)
        assert said["degree_of_negatives"] > 1.8 * degree.mean()


def test_the_last_free_pairs_are_found() -> None:
    """Every gene of a half leads to every one of the other, but for one diagonal: it is all that can be drawn."""
    size = 30
    rows = [(2, s, size + t, "a", False) for s in range(size) for t in range(size) if s != t]
    chosen, ratio = graph(2 * size, 0, rows), size / len(rows)
    found = split_edges(chosen, EdgeTask(("SIGNALS_TO",), (1.0, 0.0, 0.0), ratio), 0)
    drawn = found.tensors[f"{SIGNALS}.train.negative"]
    assert sorted(map(tuple, drawn.T.tolist())) == [(k, k + size) for k in range(size)]
    with pytest.raises(
        ExportError, match=r"is too dense: 31 negatives were asked for train, and 30 are left among"
    ):
        split_edges(chosen, EdgeTask(("SIGNALS_TO",), (1.0, 0.0, 0.0), 31 / len(rows)), 0)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (EdgeTask(("SIGNAL_TO",)), "has no edge 'SIGNAL_TO' for --edge-task. Nearest: SIGNALS_TO"),
        (EdgeTask(("SIGNALS_TO", "")), "has no edge '' for --edge-task"),
        (EdgeTask(("Gene__SIGNALS_TO__Protein",)), "has no edge 'Gene__SIGNALS_TO__Protein'"),
        (EdgeTask(("ENCODES",)), "Gene__ENCODES__Protein joins 2 pairs of nodes, too few for val to get 0.1"),
        (EdgeTask(("SIGNALS_TO",), (0.8, 0.3, 0.1)), "The edge fractions .* are not three shares"),
        (EdgeTask(("SIGNALS_TO",), (float("nan"), 0.5, 0.5)), "are not three shares"),
        (EdgeTask(("SIGNALS_TO",), HALVES, -1.0), "-1.0 negatives per edge cannot be drawn"),
        (EdgeTask(("SIGNALS_TO",), HALVES, float("nan")), "nan negatives per edge cannot be drawn"),
        (EdgeTask(("SIGNALS_TO",), HALVES, 1.0, "all"), "'all' is no kind of pair. Choose any or verb"),
        (
            EdgeTask(("SIGNALS_TO",), HALVES, 50.0),
            "too dense: 650 negatives were asked for val, and 238 are left",
        ),
    ],
)
def test_tasks_that_do_not_fit_are_refused(task: EdgeTask, says: str) -> None:
    with pytest.raises(ExportError, match=says) as refusal:
        split_edges(ring(), task, 0)
    assert "\n" not in str(refusal.value)


def test_a_selection_without_edges_has_none_to_predict() -> None:
    with pytest.raises(ExportError, match=r"has no edge 'SIGNALS_TO' for --edge-task\. It has no edges"):
        split_edges(replace(ring(), edges={}), EdgeTask(("SIGNALS_TO",)), 0)


# --------------------------------------------------------------------------- the proof can fail


def moved_edge(tensors: dict[str, Any], _: Any) -> None:
    """One of two parallel edges is moved to another side."""
    tensors[f"{SIGNALS}.side"][1] = (tensors[f"{SIGNALS}.side"][1] + 1) % 3


def twin_with_messages(tensors: dict[str, Any], _: Any) -> None:
    tensors["Gene__INTERACTS_WITH__Gene.side"][:] = -1


def asked_twice(tensors: dict[str, Any], _: Any) -> None:
    name = f"{SIGNALS}.val.positive"
    tensors[name] = np.append(tensors[name], tensors[f"{SIGNALS}.test.positive"][0])


def edge_as_negative(tensors: dict[str, Any], edges: Any) -> None:
    tensors[f"{SIGNALS}.test.negative"][:, 0] = edges[::-1, 0]  # the other way round


def drawn_twice(tensors: dict[str, Any], _: Any) -> None:
    tensors[f"{SIGNALS}.test.negative"][:, 0] = tensors[f"{SIGNALS}.val.negative"][::-1, 0]


def loop_as_negative(tensors: dict[str, Any], _: Any) -> None:
    tensors[f"{SIGNALS}.test.negative"][:, 0] = 20


def protein_as_negative(tensors: dict[str, Any], _: Any) -> None:
    tensors[f"{SIGNALS}.test.negative"][1, 0] = 41


@pytest.mark.parametrize(
    ("tamper", "counted"),
    [
        (moved_edge, {"parallel_edges", "mirrored_edges"}),
        (twin_with_messages, {"held_out_pairs_with_messages"}),
        (asked_twice, {"pairs", "positives_repeated"}),
        (edge_as_negative, {"negatives_that_are_edges"}),
        (drawn_twice, {"negatives_repeated"}),
        (loop_as_negative, {"negatives_to_themselves"}),
        (protein_as_negative, {"negatives_of_other_types"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_crosses_is_counted(tamper: Any, counted: set[str]) -> None:
    topology = topology_of(ring())
    tensors = split_edges(ring(), EdgeTask(("SIGNALS_TO",), HALVES), 1).tensors
    tamper(tensors, topology[f"{SIGNALS}.edge_index"])
    found = count_overlap(topology, tensors, ["Gene", "Protein"], "any")
    assert {name for name, count in found.items() if count} >= counted
    assert all(found[name] < 25 for name in found)


def test_mirrored_edges_alone_are_counted() -> None:
    topology = topology_of(ring())
    tensors = split_edges(ring(), EdgeTask(("SIGNALS_TO",), HALVES), 1).tensors
    mirrored = (topology[f"{SIGNALS}.edge_index"] == [[1], [0]]).all(axis=0)
    tensors[f"{SIGNALS}.side"][mirrored] = (tensors[f"{SIGNALS}.side"][mirrored] + 1) % 3
    found = count_overlap(topology, tensors, ["Gene", "Protein"], "verb")
    assert (found["parallel_edges"], found["mirrored_edges"]) == (0, 1)


# --------------------------------------------------------------------------- in a bundle

TASK = EdgeTask(("SIGNALS_TO",), (0.5, 0.0, 0.5), 0.0)


def in_bundle(out: Path, chosen: Selection, **options: Any) -> dict[str, Any]:
    """Write a bundle around a graph of the tests."""
    nodes = chosen.nodes.append_column("text_sha", pa.array(["sha"] * len(chosen.nodes)))
    size = len(nodes)
    text, mask = np.zeros((size, 4), np.float32), np.ones(size, np.bool_)
    measured = toy.measured(text=text, text_mask=mask)
    given: dict[str, Any] = {"selection": replace(chosen, nodes=nodes), "measured": measured, **options}
    return write(out, **given).content


def test_the_bundle_holds_the_task_and_proves_it(tmp_path: Path) -> None:
    out = tmp_path / "b"
    manifest = in_bundle(out, ring(), edge_task=EdgeTask(("SIGNALS_TO",), HALVES), seed=4)
    said, found = manifest["edge_task"], load_file(out / bundle.EDGE_SPLITS)
    assert bundle.EDGE_SPLITS in manifest["files"]
    assert set(manifest) - set(schema("bundle")["manifest"]) <= set(schema("bundle")["optional_manifest"])
    assert schema("bundle")["optional_files"]["edge_splits"] == bundle.EDGE_SPLITS
    assert said["overlap"] == count_overlap(
        load_file(out / bundle.TOPOLOGY), found, ["Gene", "Protein"], "any"
    )
    assert set(said["overlap"].values()) == {0}
    assert (said["seed"], said["pairs"], said["fractions"], said["negatives"]) == (
        4,
        "any",
        list(HALVES),
        1.0,
    )
    for split, numbers in said["edges"][SIGNALS].items():
        assert found[f"{SIGNALS}.{split}.positive"].shape == (numbers["positives"],)
        assert found[f"{SIGNALS}.{split}.negative"].shape == (2, numbers["negatives"])
    for name, count in manifest["edges"].items():
        assert found[f"{name}.side"].shape == (count,)
        assert found[f"{name}.side"].dtype == np.int8


def test_a_task_leaves_the_other_files_alone_and_its_seed_is_that_of_the_export(tmp_path: Path) -> None:
    task = EdgeTask(("SIGNALS_TO",), HALVES)
    for name, options in (("without", {}), ("a", {"edge_task": task}), ("b", {"edge_task": task})):
        in_bundle(tmp_path / name, ring(), **options)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    without = files(tmp_path / "without")
    differ = {n for n, sha in files(tmp_path / "a").items() if without.get(n) != sha}
    assert differ == {bundle.EDGE_SPLITS, bundle.MANIFEST}
    in_bundle(tmp_path / "c", ring(), edge_task=task, seed=8)
    a, c = files(tmp_path / "a"), files(tmp_path / "c")
    assert a[bundle.EDGE_SPLITS] != c[bundle.EDGE_SPLITS]
    assert a[bundle.TOPOLOGY] == c[bundle.TOPOLOGY]


def test_an_export_whose_edges_cross_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> EdgeSplits:
        found = split_edges(*given)
        twin_with_messages(found.tensors, None)
        return found

    monkeypatch.setattr("tosg_graph.export.split_edges", broken)
    with pytest.raises(ExportError, match="20 held out pairs with messages were found across the splits"):
        in_bundle(tmp_path / "b", ring(), edge_task=EdgeTask(("SIGNALS_TO",), HALVES))
    assert left_over(tmp_path) == []


def test_a_task_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no edge 'TARGETS'"):
        write(tmp_path / "b", edge_task=EdgeTask(("TARGETS",)))
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "task", "bins"),
    [
        ([], None, ()),
        (["--edge-task", "SIGNALS_TO,IS_A"], EdgeTask(("SIGNALS_TO", "IS_A")), ()),
        (
            [
                "--edge-task",
                "IS_A",
                "--edge-fractions",
                "0.5,0,0.5",
                "--negatives",
                "0",
                "--edge-pairs",
                "verb",
            ],
            EdgeTask(("IS_A",), (0.5, 0.0, 0.5), 0.0, "verb"),
            (),
        ),
        (["--bins", "-inf,0,2.5,inf"], None, (-np.inf, 0.0, 2.5, np.inf)),
    ],
    ids=["none", "task alone", "every option", "bins"],
)
def test_options_of_the_command_reach_the_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], task: EdgeTask | None, bins: Any
) -> None:
    given: dict[str, Any] = {}
    picked = SimpleNamespace(
        export=lambda *_, **options: given.update(options) or SimpleNamespace(as_facts=dict)
    )
    monkeypatch.setattr("tosg_graph.platform.Platform.select", lambda *_, **__: picked)
    monkeypatch.setattr("tosg_graph.platform.Platform.check_columns", lambda *_, **__: None)
    command = [
        "export",
        "--query",
        "MATCH (g) RETURN g",
        "--label",
        "sex",
        "--out",
        str(tmp_path / "b"),
        *arguments,
    ]
    done = CliRunner().invoke(cli.main, command)
    assert done.exit_code == 0, done.stderr
    assert (given["edge_task"], given["bins"]) == (task, bins)


def test_people_are_told_what_is_to_be_predicted(tmp_path: Path) -> None:
    in_bundle(tmp_path / "b", ring(), edge_task=EdgeTask(("SIGNALS_TO",), HALVES, 0.5))
    facts = bundle.Manifest(tmp_path / "b", bundle.read_manifest(tmp_path / "b")).as_facts()
    said = "train 26 and 13 negatives, val 12 and 6 negatives, test 12 and 6 negatives"
    assert facts[f"predict {SIGNALS}"] == said


# --------------------------------------------------------------------------- as PyTorch Geometric reads it


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("edges") / "b"
    in_bundle(out, ring(), edge_task=EdgeTask(("SIGNALS_TO",), HALVES), seed=4)
    return out


@pytest.mark.parametrize("split", bundle.SPLITS)
def test_no_message_passes_along_what_is_held_out_in_either_direction(folder: Path, split: str) -> None:
    from tosg_graph.edge_task import edge_task

    found = edge_task(folder, split).with_reverse()
    passing = set(map(tuple, found.edge_index.T.tolist()))
    asked = set(map(tuple, found.edge_label_index[:, found.edge_label == 1].T.tolist()))
    negative = set(map(tuple, found.edge_label_index[:, found.edge_label == 0].T.tolist()))
    assert len(asked) == (found.edge_label == 1).sum()
    assert {(t, s) for s, t in passing} == passing
    assert asked <= passing if split == "train" else not asked & passing
    assert not negative & passing
    assert len(negative) == len(asked)


def test_edges_lead_to_their_attributes_in_both_directions(folder: Path) -> None:
    from tosg_graph.edge_task import edge_task

    topology = load_file(folder / bundle.TOPOLOGY)
    alone = edge_task(folder)
    found = alone.with_reverse()
    loops = int((alone.edge_index[0] == alone.edge_index[1]).sum())
    assert alone.edge_index.shape[1] == sum(
        json.loads((folder / bundle.MANIFEST).read_text())["edge_task"]["message_passing"].values()
    )
    assert set(alone.direction.tolist()) == {1}
    assert loops == 3
    assert found.edge_index.shape[1] == 2 * alone.edge_index.shape[1] - loops
    assert (
        found.with_reverse().edge_index.shape[1]
        == found.edge_index.shape[1] + alone.edge_index.shape[1] - loops
    )
    rows = (found.edge_index.T, found.edge_type, found.edge_position, found.direction)
    for (s, t), number, position, direction in zip(*(r.tolist() for r in rows), strict=True):
        score = topology[f"{bundle.edge_name(found.edge_types[number])}.score"][position]
        source, target = (s, t) if direction == 1 else (t, s)
        assert score == 1000 * source + target


def test_it_is_called_as_pyg_calls_it(folder: Path) -> None:
    from torch_geometric.data import Data
    from torch_geometric.transforms import RandomLinkSplit

    from tosg_graph.edge_task import edge_task

    found = edge_task(folder, "val")
    mine = found.data()
    theirs, _, _ = RandomLinkSplit()(Data(num_nodes=42, edge_index=found.edge_index))
    assert {"edge_index", "edge_label_index", "edge_label"} <= set(theirs.keys()) & set(mine.keys())
    assert all(theirs[k].dtype == mine[k].dtype for k in ("edge_index", "edge_label_index", "edge_label"))
    assert mine.num_nodes == 42
    assert mine.validate()


def test_hetero_data_has_the_numbers_of_each_type(folder: Path) -> None:
    from tosg_graph.edge_task import edge_task

    found = edge_task(folder, "test").with_reverse()
    data = found.hetero()
    assert data.validate()
    assert (data["Gene"].num_nodes, data["Protein"].num_nodes) == (40, 2)
    assert data["Gene", "ENCODES", "Protein"].edge_index.tolist() == [[0, 1], [0, 1]]
    assert data["Protein", "rev_ENCODES", "Gene"].edge_index.tolist() == [[0, 1], [0, 1]]
    signals = data["Gene", "SIGNALS_TO", "Gene"]
    assert signals.edge_label_index.equal(found.edge_label_index)
    assert signals.edge_label.equal(found.edge_label)
    assert "edge_label" not in data["Gene", "ENCODES", "Protein"]
    stored = found.edge_index[:, (found.edge_type == 2) & (found.direction == 1)]
    assert found.edge_types[2] == ("Gene", "SIGNALS_TO", "Gene")
    assert signals.edge_index.equal(stored)


def test_a_model_learns_on_it(folder: Path) -> None:
    """One step of a network on what the reader returns: shapes and types are those that layers take."""
    import torch
    from torch_geometric.nn import SAGEConv

    from tosg_graph.edge_task import edge_task

    data = edge_task(folder).with_reverse().data()
    layer = SAGEConv(3, 8)
    z = layer(torch.ones(data.num_nodes, 3), data.edge_index)
    source, target = data.edge_label_index
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        (z[source] * z[target]).sum(1), data.edge_label
    )
    loss.backward()
    assert layer.lin_l.weight.grad is not None


def test_the_example_of_the_page_runs(folder: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(example.replace('"bundle"', repr(str(folder))), names)
    assert names["data"].edge_label.tolist() == names["train"].edge_label.tolist()
    assert set(names["train"].direction.tolist()) == {1, -1}


def test_tasks_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    from tosg_graph.edge_task import edge_task

    write(tmp_path / "none")
    with pytest.raises(BundleError, match="has no edge task: it was exported without --edge-task"):
        edge_task(tmp_path / "none")
    out = tmp_path / "b"
    in_bundle(out, ring(), edge_task=TASK)
    with pytest.raises(BundleError, match="split='dev' is unknown; choose train, val, test"):
        edge_task(out, "dev")
    assert edge_task(out, "val").edge_label_index.shape == (2, 0)
    tensors = load_file(out / bundle.EDGE_SPLITS)
    name = f"{SIGNALS}.test.positive"
    save_file({**tensors, name: tensors[name][1:]}, out / bundle.EDGE_SPLITS)
    with pytest.raises(BundleError, match="was changed after the export"):
        edge_task(out, "test")
    with pytest.raises(BundleError, match=f"values of {name}, the manifest"):
        edge_task(out, "test", verify=False)
    del tensors[name]
    save_file(tensors, out / bundle.EDGE_SPLITS)
    with pytest.raises(BundleError, match=f"lacks '{name}'"):
        edge_task(out, "test", verify=False)
