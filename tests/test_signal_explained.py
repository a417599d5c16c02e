"""Evidence for language models, near-copies of pathways, and scores of a trained network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import learning_bundle as world
import numpy as np
import planted_bundle as planted
import pytest
from click.testing import CliRunner
from scipy.sparse import csr_array

import tosg_graph as tg
from tosg_graph import signaling
from tosg_graph.bundle_content import BundleContent
from tosg_graph.cli import main
from tosg_graph.donor_tests import Design
from tosg_graph.errors import SignalError
from tosg_graph.signal_evidence import evidence
from tosg_graph.signal_findings import Findings
from tosg_graph.signal_overlap import explained_by
from tosg_graph.signal_picture import drawing
from tosg_graph.signal_prompt import prompt

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

GROUPS = {"by": "group", "case": "case", "control": "control", "permutations": 200}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained") / "bundle"
    planted.write(out, planted.counts(3.0))
    return out


@pytest.fixture(scope="module")
def folder(bundle: Path) -> Path:
    out = bundle.parent / "findings"
    tg.signal(bundle, **GROUPS, out=out, explain=True, chars=6_000)
    return out


@pytest.fixture(scope="module")
def found(bundle: Path) -> Findings:
    return tg.signal(bundle, **GROUPS)


# --------------------------------------------------------------------------- near-copies


def test_a_set_that_differs_only_where_a_stronger_one_does_is_explained_by_it() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(20, 300))
    values[:10, :10] += 2.0
    values[:10, 100:110] += 2.0
    strong, copy, own, apart = (
        range(30),
        [*range(10), *range(40, 60)],  # shares what differs
        [*range(5), *range(100, 120)],  # shares some, and differs elsewhere too
        range(100, 130),
    )
    inside = [*range(9), 200]  # one member of its own is nothing to test
    members = np.zeros((5, 300))
    for row, chosen in enumerate((strong, copy, own, inside, apart)):
        members[row, list(chosen)] = 1
    design = Design(np.arange(20) < 10, np.zeros(20, np.int64))
    found = explained_by(design, values, csr_array(members), [0, 1, 2, 3], permutations=200, seed=0)
    assert found == {1: 0, 3: 0}
    # What is stronger is kept; what was not found explains nothing.
    assert explained_by(design, values, csr_array(members), [1, 0], permutations=200, seed=0) == {0: 1}
    assert explained_by(design, values, csr_array(members), [0, 4], permutations=200, seed=0) == {}
    assert explained_by(design, values, csr_array(members), [], permutations=200, seed=0) == {}


# --------------------------------------------------------------------------- evidence


def test_evidence_names_what_was_found_what_states_it_and_what_is_missing(
    found: Findings, bundle: Path
) -> None:
    told = evidence(found, BundleContent.open(bundle))
    [pathway] = told["pathways"]
    assert (pathway["id"], pathway["explained_by"]) == ("WIKIPATHWAYS:WP0", None)
    assert {member["id"] for member in pathway["leading"]} == {planted.gene(k) for k in planted.PLANTED}
    assert len(told["edges"]) == 9
    assert {edge["sign"] for edge in told["edges"]} == {1, -1}
    assert told["edges"][0]["stated_by"] == ["toy"]
    node = told["nodes"][0]
    assert node["fraction_case"] == 1.0
    assert node["mean_case"] > node["mean_control"]
    assert "Gene" in node["text"]
    assert [line.split(":")[0] for line in told["missing"]] == ["drugs and diseases", "publications"]
    assert any("associations" in line for line in told["not_to_be_concluded"])
    alone = evidence(found)
    assert "texts of nodes: the bundle was not named" in alone["missing"]
    assert "text" not in alone["nodes"][0]


def test_text_is_bounded_the_same_twice_and_counts_what_it_leaves_out(found: Findings) -> None:
    told = evidence(found)
    for format_ in ("markdown", "json"):
        whole = prompt(told, chars=100_000, format=format_)
        short = prompt(told, chars=len(whole) - 1, format=format_)
        assert len(short) < len(whole)
        assert prompt(evidence(found), chars=100_000, format=format_) == whole
    said = json.loads(short)
    assert 0 < said["found_but_not_shown"]["nodes"] == 10 - len(said["nodes"])
    assert "1 of them not shown" in prompt(told, chars=len(prompt(told, chars=100_000)) - 1)
    with pytest.raises(SignalError, match="too few: the question"):
        prompt(told, chars=100)


def test_what_the_bundle_says_of_drugs_and_diseases_is_told(tmp_path: Path) -> None:
    from tosg_graph.signal_evidence import _around

    class Content:
        """Gene 0 encodes protein 1; drug 2 targets the protein, and 3 the gene; disease 4 is said of the gene."""

        import pyarrow as pa

        nodes = pa.table(
            {
                "id": ["G", "P", "D1", "D2", "X"],
                "name": ["g", "p", "one", "two", "ill"],
                "type": ["Gene", "Protein", "Drug", "Drug", "Disease"],
            }
        )

        def edges(self) -> Any:
            for key, rows in {
                ("Gene", "ENCODES", "Protein"): [(0, 1, 0)],
                ("Drug", "TARGETS", "Protein"): [(2, 1, 0)],
                ("Drug", "TARGETS", "Gene"): [(3, 0, 0)],
                ("Gene", "ASSOCIATED_WITH", "Disease"): [(0, 4, 0)],
            }.items():
                yield key, planted.edges(rows, 0)

    [around] = _around([{"id": "G"}], Content(), None).values()  # type: ignore[arg-type]
    assert [drug["id"] for drug in around["drugs"]] == ["D1", "D2"]
    assert around["diseases"] == [{"id": "X", "name": "ill", "how": [], "stated_by": ["toy"]}]
    assert around["drugs_known"] == 2


def test_the_graph_says_which_drugs_and_diseases_are_around(found: Findings, graph: Graph) -> None:
    graph.write(
        "CREATE (g:Entity:Gene {id: $id}), (p:Entity:Protein {id: 'P'}), (g)-[:ENCODES {source: 'h'}]->(p) "
        "WITH g, p UNWIND range(1, 7) AS k CREATE (d:Entity:Drug {id: 'D' + k, name: 'drug ' + k}) "
        "CREATE (d)-[:TARGETS {source: 'a', action: 'inhibitor'}]->(p) "
        "WITH g, d, k WHERE k = 7 CREATE (d)-[:TARGETS {source: 'b'}]->(g) "
        "CREATE (g)-[:ASSOCIATED_WITH {source: 'c'}]->(:Entity:Disease {id: 'X', name: 'ill'}), "
        "(g)-[:ASSOCIATED_WITH {source: 'c', negated: true}]->(:Entity:Disease {id: 'Y', name: 'not'})",
        id=planted.gene(0),
    )
    told = {node["id"]: node for node in evidence(found, None, graph)["nodes"]}
    node = told[planted.gene(0)]
    assert [drug["id"] for drug in node["drugs"]] == ["D7", "D1", "D2", "D3", "D4"]
    assert node["drugs"][0] == {"id": "D7", "name": "drug 7", "how": ["inhibitor"], "stated_by": ["a", "b"]}
    assert node["drugs_known"] == 7
    assert [disease["id"] for disease in node["diseases"]] == ["X"]
    assert "drugs" not in told[planted.gene(1)]


def test_the_commands_explain(folder: Path, bundle: Path, tmp_path: Path) -> None:
    first = (folder / "explained.md").read_text()
    assert len(first) <= 6_000
    assert json.loads((folder / "explained.json").read_text())["question"]["by"] == "group"
    words = ["signal", "explain", str(folder), "--bundle", str(bundle), "--chars", "6000"]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, done.stdout) == (0, first), done.output
    planted.write(tmp_path / "other", planted.counts(1.0))
    words[4] = str(tmp_path / "other")
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 1
    assert "is not the bundle of the findings" in refused.stderr


# --------------------------------------------------------------------------- a trained network


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    from tosg_graph.models.network import NetworkPlan
    from tosg_graph.training import Machine, Schedule

    folder = tmp_path_factory.mktemp("trained")
    bundle = world.write(folder / "bundle")
    tg.classify(
        bundle,
        folder / "run",
        plan=NetworkPlan(hidden=8, layers=1, dropout=0.0),
        seeds=1,
        ablations=(),
        baselines=False,
        schedule=Schedule(epochs=1, batch_size=32),
        machine=Machine(device="cpu"),
    )
    return bundle, folder / "run"


DISEASE = {"by": "disease", "case": "case", "min_cells": 1, "permutations": 200}


def test_messages_of_unseen_donors_are_added_up_by_donor(trained: tuple[Path, Path]) -> None:
    import torch

    from tosg_graph.measured_values import MeasuredValues
    from tosg_graph.models.checkpoint import load
    from tosg_graph.models.model_graph import model_graph
    from tosg_graph.signal_network import strength
    from tosg_graph.signal_scores import Contrast

    bundle, run = trained
    contrast = Contrast("disease", "case", min_cells=1)
    scores = strength(bundle, contrast, run)
    cells = BundleContent.open(bundle).cells
    seen = {
        d for d, s in zip(cells["donor"].to_pylist(), cells["split"].to_pylist(), strict=True) if s == "train"
    }
    assert seen.isdisjoint(scores.units.table["donor"].to_pylist())
    # One unit by hand: its cells of the test, one after another.
    unit = next(
        k for k, d in enumerate(scores.units.table["donor"].to_pylist()) if d in _donors(cells, "test")
    )
    dataset = tg.TosgDataset(bundle, "test", layer="log1p")
    network = load(run / "model.safetensors", model_graph(dataset)).eval()
    rows = np.flatnonzero(scores.units.row[-len(dataset) :] == unit)
    batch = next(iter(dataset.feed(len(dataset), shuffle=False, rank=0, world_size=1)))
    place = [batch.rows.tolist().index(row) for row in rows.tolist()]
    x = MeasuredValues(dataset).x(batch)[place]
    by_edge = network.edge_strength(x, torch.zeros(len(rows), dtype=torch.long), 1) / len(rows)
    by_node = network.node_strength(by_edge)[0].numpy()
    assert scores.values[unit] == pytest.approx(by_node[scores.nodes], rel=1e-4, abs=1e-6)
    signals = network.graph.edges_of(["SIGNALS_TO"])
    assert scores.edge_values[unit].sum() == pytest.approx(float(by_edge[0, signals].sum()), rel=1e-4)


def _donors(cells: Any, split: str) -> set[str]:
    pairs = zip(cells["donor"].to_pylist(), cells["split"].to_pylist(), strict=True)
    return {donor for donor, side in pairs if side == split}


def test_findings_of_a_network_say_what_they_rest_on(trained: tuple[Path, Path]) -> None:
    bundle, run = trained
    found = tg.signal(bundle, **DISEASE, score="model", run=run)
    assert found.about["score"] == "model"
    assert found.about["left_out"]["cells that the network was trained on"] > 0
    assert any("has not seen" in note for note in found.about["notes"])
    assert {"SIGNALS_TO"} == set(found.edges["verb"].to_pylist())
    everything = tg.signal(bundle, **DISEASE, score="model", run=run, all_cells=True)
    assert any("trained on count too" in note for note in everything.about["notes"])
    assert everything.about["units"]["arms"][0]["donors"] > found.about["units"]["arms"][0]["donors"]
    assert everything.run_id != found.run_id
    assert "what a network attends to" in signaling.explained(found)["explained.md"]


def test_what_a_network_cannot_be_asked_is_refused(
    trained: tuple[Path, Path], bundle: Path, tmp_path: Path
) -> None:
    own, run = trained
    for given, message in (
        ({"score": "model"}, "add --run RUN"),
        ({"run": run}, "choose --score model"),
        ({"all_cells": True}, "Add --score model"),
        ({"score": "model", "run": tmp_path}, "is no run of tosg train"),
        ({"score": "tea"}, "choose activity or model"),
    ):
        with pytest.raises(SignalError, match=message):
            tg.signal(own, **DISEASE, **given)
    with pytest.raises(SignalError, match="trained on another bundle"):
        tg.signal(bundle, **GROUPS, score="model", run=run)


def test_a_near_copy_comes_after_what_explains_it_and_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = planted.selection()
    key = ("Gene", "PARTICIPATES_IN", "Pathway")
    members = planted.edges([*((k, 40 + k // 10, 0) for k in range(40)), *((k, 41, 0) for k in range(10))], 0)
    copied = replace(whole, edges={**whole.edges, key: members})
    monkeypatch.setattr(planted, "selection", lambda: copied)
    planted.write(tmp_path / "bundle", planted.counts(3.0))
    found = tg.signal(tmp_path / "bundle", **{**GROUPS, "permutations": 1_000})
    first, second = found.pathways.to_pylist()[:2]
    assert (first["id"], first["explained_by"]) == ("WIKIPATHWAYS:WP0", None)
    assert (second["id"], second["found"], second["explained_by"]) == ("WIKIPATHWAYS:WP1", True, first["id"])
    assert "1 of them differ only where a stronger one does" in found.as_facts()["pathways found"]
    assert [
        name
        for name, _ in drawing(
            found.nodes, found.subgraph, found.pathways, 0, "group", ("case", "control")
        ).groups
    ] == ["Pathway <0>"]
    assert "explained by the stronger WIKIPATHWAYS:WP0" in signaling.explained(found)["explained.md"]


def test_options_that_would_do_nothing_are_refused(bundle: Path) -> None:
    words = ["signal", str(bundle), "--by", "group", "--case", "case"]
    for more, message in (
        (["--explain"], "into the folder of --out"),
        (["--graph"], "where --explain looks"),
    ):
        refused = CliRunner().invoke(main, [*words, *more])
        assert refused.exit_code == 2
        assert message in refused.stderr
