"""Transcripts and proteins have the abundance of their genes, by the policy that was named, picked genes or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import toy_bundle as toy
import toy_store
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.sparse import csr_array

from tosg_graph import bundle, cli
from tosg_graph.bundle import Manifest
from tosg_graph.bundle_content import BundleContent
from tosg_graph.bundle_features import LayerSource
from tosg_graph.dataset import TosgDataset
from tosg_graph.dense import Layers, compress, dense, dense_on_device
from tosg_graph.errors import BundleError, ExportError
from tosg_graph.export import export, write_bundle
from tosg_graph.gather import Gather
from tosg_graph.levels import Levels, Links, parse_levels, read_links
from tosg_graph.measured_features import MeasuredFeatures
from tosg_graph.platform import Platform
from tosg_graph.raw_rows import RawRows
from tosg_graph.resources import cypher, schema
from tosg_graph.sentences import TextPlan
from tosg_graph.types import Selection

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

SPLITS = ("train", "val", "test")
LAYERS = ("counts", "cp10k", "log1p")
NODES = ["HGNC:1", "HGNC:2", "WP:1", "P:1", "P:2", "P:3", "P:4", "T:1", "T:2", "T:3", "T:4"]
TYPES = ["Gene"] * 2 + ["Pathway"] + ["Protein"] * 4 + ["Transcript"] * 4
COLUMN = {**toy.AXIS_COLUMN, "HGNC:99": 4}  # HGNC:4 and HGNC:99 are not picked, HGNC:3 is not on the axis
GENES_OF = {
    "P:1": ["HGNC:1", "HGNC:99"],
    "P:2": ["HGNC:2", "HGNC:3"],
    "P:3": ["HGNC:2", "HGNC:4", "HGNC:99"],
    "T:1": ["HGNC:1"],
    "T:2": ["HGNC:1"],
    "T:3": ["HGNC:99"],
    "T:4": ["HGNC:3"],
}
POLICIES = [(t, p) for t in ("copy", "share") for p in ("sum", "mean", "max")]


def selection(nodes: Sequence[str] = NODES) -> Selection:
    kept = [(i, t) for i, t in zip(NODES, TYPES, strict=True) if i in nodes]
    ids, types = (list(column) for column in zip(*kept, strict=True))
    table = pa.table(
        {
            "id": ids,
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": [f"name of {i}" for i in ids],
            "text_sha": [f"sha of {i}" for i in ids],
        }
    )
    return Selection(nodes=table, edges={}, query="MATCH (n) RETURN n", parameters={})


def links(policies: dict[str, str], nodes: Sequence[str] = NODES) -> Links:
    levels = {"T": "Transcript", "P": "Protein"}
    pairs = sorted(
        (list(nodes).index(node), gene)
        for node, genes in GENES_OF.items()
        for gene in genes
        if node in nodes and levels[node[0]] in policies
    )
    rows, genes = zip(*pairs, strict=True)
    return Links(policies, pa.table({"node_row": pa.array(rows, pa.int64()), "gene_id": list(genes)}))


def write(out: Path, policies: dict[str, str], nodes: Sequence[str] = NODES, **changes: Any) -> Manifest:
    options = {name: changes.pop(name) for name in ("text", "measured_by") if name in changes}
    text = {"text": np.zeros((len(nodes), 2), np.float32), "text_mask": np.ones(len(nodes), np.bool_)}
    measured = toy.measured(links=links(policies, nodes) if policies else None, **text, **changes)
    return write_bundle(
        selection(nodes), measured, cohort="true", label="cell_type", out=out, seed=7, **options
    )


def number(cell: dict[str, Any]) -> int:
    return int(cell["cell_id"].split("-")[1])


def expected(k: int, policies: dict[str, str], layer: str, nodes: Sequence[str] = NODES) -> list[float]:
    """Raw counts are gathered, then normalised: written out for one cell."""
    total = sum(toy.count(k, column) for column in range(5))
    found = []
    for node in nodes:
        counts = [float(toy.count(k, COLUMN[g])) for g in GENES_OF.get(node, [node]) if g in COLUMN]
        policy = policies.get({"T": "Transcript", "P": "Protein"}.get(node[0], ""), "sum")
        if node[0] in "TP" and {"T": "Transcript", "P": "Protein"}[node[0]] not in policies:
            counts = []
        if policy == "share":
            others = [n for n in nodes if n[0] == "T" and set(GENES_OF[n]) & set(GENES_OF[node])]
            counts = [c / len(others) for c in counts]
        value = {"mean": lambda c: sum(c) / len(c), "max": max}.get(policy, sum)(counts) if counts else 0.0
        value = value if layer == "counts" else value * 10_000 / total
        found.append(float(np.log1p(value)) if layer == "log1p" else value)
    return found


# --------------------------------------------------------------------------- the right numbers


@pytest.mark.parametrize(("of_transcripts", "of_proteins"), POLICIES)
def test_each_policy_gives_each_node_the_counts_of_its_genes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_transcripts: str, of_proteins: str
) -> None:
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)
    policies = {"Protein": of_proteins, "Transcript": of_transcripts}
    manifest = write(tmp_path / "b", policies).content
    seen = 0
    for split in SPLITS:
        for layer in LAYERS:
            data = TosgDataset(tmp_path / "b", split=split, layer=layer)  # type: ignore[arg-type]  # each is one
            raw = data.counts.take(np.arange(len(data)))
            on_device = dense_on_device(compress(raw), data.layers, torch.from_numpy(data.feature_rows), 11)
            fed = next(iter(data.feed(len(data), shuffle=False))).x
            for row, (x, cell) in enumerate(data.iter_cells()):
                wanted = torch.tensor(expected(number(cell), policies, layer))
                torch.testing.assert_close(x[:, 0], wanted)
                torch.testing.assert_close(on_device[row], wanted)
                assert torch.equal(fed[row], x)
                seen += 1
    assert seen == 30
    assert data.node_mask.tolist() == [True, True, False, True, True, True, False, True, True, True, False]
    assert manifest["genes"] == 2
    assert manifest["gather"]["levels"] == {
        "Protein": {
            "policy": of_proteins,
            "along": ["ENCODES", "TRANSCRIBED_TO, TRANSLATED_TO"],
            "nodes": 3,
            "links": 6,
            "several_genes": 2,
            "own_counts": 0,
        },
        "Transcript": {
            "policy": of_transcripts,
            "along": ["TRANSCRIBED_TO"],
            "nodes": 3,
            "links": 3,
            "several_genes": 0,
            "own_counts": 0,
        },
    }
    assert manifest["gather"]["unpicked_genes"] == 2
    kept = sum(toy.count(k, c) for k in range(10) for c in (0, 4))
    assert manifest["gather"]["unpicked_total_counts"] == kept
    assert manifest["total_counts"] == sum(toy.count(k, c) for k in range(10) for c in (2, 3))
    reasons = {d["reason"]: d["examples"] for d in manifest["dropped"]}
    assert reasons["Protein without a measured gene: no abundance"] == ["P:4"]
    assert reasons["Transcript without a measured gene: no abundance"] == ["T:4"]
    assert "Pathway: abundance is per gene" in reasons


def test_a_query_that_picks_no_gene_gets_abundance(tmp_path: Path) -> None:
    nodes = [n for n in NODES if n[0] in "PT"]
    write(tmp_path / "b", {"Protein": "sum"}, nodes, text=TextPlan())
    data = TosgDataset(tmp_path / "b", layer="log1p")
    assert data.manifest["genes"] == 0
    for x, cell in data.iter_cells():
        wanted = expected(number(cell), {"Protein": "sum"}, "log1p", nodes)
        torch.testing.assert_close(x[:, 0], torch.tensor(wanted))
    assert data.node_mask.tolist() == [True, True, True, False, False, False, False, False]


def test_hetero_data_keeps_its_mapping(tmp_path: Path) -> None:
    write(tmp_path / "b", {"Protein": "max", "Transcript": "copy"})
    data = TosgDataset(tmp_path / "b")
    hetero = data.hetero(0)
    for type_ in data.node_types:
        assert torch.equal(hetero[type_].x, data[0].x[hetero[type_].node_row])
        assert torch.equal(hetero[type_].mask, data.node_mask[hetero[type_].node_row])
    assert hetero["Protein"].x.sum() > 0


def test_the_level_of_genes_leaves_no_trace(tmp_path: Path) -> None:
    assert parse_levels(["gene"]) is None
    write(tmp_path / "plain", {})
    write(tmp_path / "gathered", {"Transcript": "copy"})
    plain, other = (bundle.read_manifest(tmp_path / name) for name in ("plain", "gathered"))
    assert set(other["files"]) - set(plain["files"]) == {"gather.safetensors", "unpicked_genes.parquet"}
    assert "gather" not in plain
    for name in ("nodes.parquet", "genes.parquet", "cells.parquet", "text.safetensors"):
        assert plain["files"][name] == other["files"][name]
    theirs = load_file(tmp_path / "gathered" / "abundance" / "train-00000.safetensors")
    for name, values in load_file(tmp_path / "plain" / "abundance" / "train-00000.safetensors").items():
        assert values.tolist() == theirs[name].tolist()
    counts = [next(iter(BundleContent.open(tmp_path / n).counts())).toarray() for n in ("plain", "gathered")]
    assert counts[0].tolist() == counts[1].tolist()


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    policies = {"Protein": "mean", "Transcript": "share"}
    one, two = (write(tmp_path / name, policies).content for name in ("a", "b"))
    assert one == two


# --------------------------------------------------------------------------- beside what was measured


def proteins(measured: Any = None) -> dict[str, Any]:
    """P:1 has counts of its own in all cells but the first two: 10 * k + 1."""
    axis = pa.table({"column": pa.array([0], pa.int32()), "feature": ["CD1"], "protein_id": ["P:1"]})

    def counts(ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
        return csr_array(np.array([[10 * int(i.split("-")[1]) + 1] for i in ids], np.int32).reshape(-1, 1))

    has = pa.array([None, None, *[10 * k + 1 for k in range(2, toy.CELLS)]], pa.int64())
    cells = toy.cells().append_column("n_protein_counts", has)
    return {"proteins": LayerSource(axis, counts, measured), "cells": cells}


def test_a_measured_protein_keeps_its_own_counts(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", {"Protein": "sum"}, **proteins()).content
    level = manifest["gather"]["levels"]["Protein"]
    assert (level["own_counts"], level["nodes"]) == (1, 2)
    reasons = [d["reason"] for d in manifest["dropped"]]
    assert "Protein without a measured gene: no abundance" in reasons
    assert not any("not on the protein axis: no abundance" in r for r in reasons)
    assert pq.read_table(tmp_path / "b" / "unpicked_genes.parquet")["gene_id"].to_pylist() == [
        "HGNC:4",
        "HGNC:99",
    ]
    for layer in LAYERS:
        data = TosgDataset(tmp_path / "b", layer=layer, protein_layer="clr")  # type: ignore[arg-type]  # each is one
        raw = data.counts.take(np.arange(len(data)))
        on_device = dense_on_device(compress(raw), data.layers, torch.from_numpy(data.feature_rows), 11)
        for row, (x, cell) in enumerate(data.iter_cells()):
            k, wanted = number(cell), expected(number(cell), {"Protein": "sum"}, layer)
            own = 10 * k + 1
            wanted[3] = float(np.log1p(own / (1 + own))) if k > 1 else 0.0
            torch.testing.assert_close(x[:, 0], torch.tensor(wanted))
            torch.testing.assert_close(on_device[row], torch.tensor(wanted))


def test_a_gene_of_a_measured_protein_alone_is_not_read(tmp_path: Path) -> None:
    nodes, policies = ["P:1", "P:2", "T:3"], {"Protein": "sum", "Transcript": "copy"}
    manifest = write(tmp_path / "b", policies, nodes, **proteins()).content
    of_others = pq.read_table(tmp_path / "b" / "unpicked_genes.parquet")["gene_id"].to_pylist()
    assert of_others == ["HGNC:2", "HGNC:99"]
    gone = [d for d in manifest["dropped"] if "of a protein that has counts of its own" in d["reason"]]
    assert [(d["count"], d["examples"]) for d in gone] == [(1, ["HGNC:1"])]
    for x, cell in TosgDataset(tmp_path / "b").iter_cells():
        k = number(cell)
        assert x[1:, 0].tolist() == [toy.count(k, 2), toy.count(k, 4)]


def one_column_less(datasets: Sequence[str], columns: Sequence[int]) -> MeasuredFeatures:
    """Datasets ``a`` and ``b``; only ``a`` measured the gene in column 4."""
    names = sorted(set(datasets))
    mask = np.array([[name == "a" or column != 4 for column in columns] for name in names])
    return MeasuredFeatures(names, np.array(columns, np.int32), mask)


def in_two_datasets() -> dict[str, Any]:
    names = ["ab"[k // 6] for k in range(toy.CELLS)]
    at = toy.cells().column_names.index("dataset")
    return {"cells": toy.cells().set_column(at, "dataset", pa.array(names)), "measured": one_column_less}


def test_what_comes_out_of_an_unmeasured_gene_is_unknown(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", {"Protein": "sum", "Transcript": "copy"}, **in_two_datasets()).content
    assert manifest["measured"]["not_measured"] == {"genes": 0, "unpicked_genes": 1}
    for split in SPLITS:
        data = TosgDataset(tmp_path / "b", split=split)
        known = data.measured(range(len(data)))
        for row, cell in zip(known.tolist(), data.cells.to_pylist(), strict=True):
            both = cell["dataset"] == "a"  # P:1, P:3 and T:3 come out of HGNC:99 too
            assert row == [True, True, False, both, True, both, False, True, True, both, False]


def test_genes_that_not_all_datasets_measured_can_be_left_out_of_it(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", {"Protein": "sum"}, measured_by="all", **in_two_datasets()).content
    assert pq.read_table(tmp_path / "b" / "unpicked_genes.parquet")["gene_id"].to_pylist() == ["HGNC:4"]
    assert manifest["gather"]["levels"]["Protein"]["links"] == 4
    for x, cell in TosgDataset(tmp_path / "b").iter_cells():
        k = number(cell)
        assert x[5].item() == toy.count(k, 2) + toy.count(k, 0)


# --------------------------------------------------------------------------- any links


@given(st.integers(0, 2**32 - 1), st.sampled_from(LAYERS), st.sampled_from(["counts", "clr"]))
def test_any_gather_is_what_numpy_says(seed: int, layer: str, of_proteins: str) -> None:
    random = np.random.default_rng(seed)
    genes, own, cells, nodes = 6, 4, 5, 20  # the last two genes are no nodes, two proteins follow
    places = random.permutation(nodes)
    targets = np.sort(places[8 : 8 + random.integers(0, 9)])
    largest = random.random(len(targets)) < 0.5
    pairs = [
        (t, g) for t in targets for g in sorted(random.choice(genes, random.integers(1, 5), replace=False))
    ]
    rows, sources = np.array(pairs, np.int64).reshape(-1, 2).T
    weight = random.choice([1.0, 0.5, 1 / 3], len(rows))
    tensors = {
        "node_row": rows,
        "gene": sources.astype(np.int32),
        "weight": weight,
        "largest": largest[np.searchsorted(targets, rows)],
    }
    counts = random.integers(0, 1000, (cells, genes + 2)) * (random.random((cells, genes + 2)) < 0.5)
    totals, scales = counts[:, :genes].sum(axis=1) + 3, 1 + random.random(cells)
    feature_rows = np.concatenate([places[:own], [-1, -1], places[6:8]])
    wanted = np.zeros((cells, nodes))
    wanted[:, places[:own]] = counts[:, :own]
    for target, is_max in zip(targets, largest, strict=True):
        parts = counts[:, sources[rows == target]] * weight[rows == target]
        wanted[:, target] = parts.max(axis=1) if is_max else parts.sum(axis=1)
    wanted = wanted if layer == "counts" else wanted * 10_000 / totals[:, None]
    wanted = np.log1p(wanted) if layer == "log1p" else wanted
    proteins = counts[:, genes:]
    wanted[:, places[6:8]] = np.log1p(proteins / scales[:, None]) if of_proteins == "clr" else proteins

    raw = RawRows(csr_array(counts.astype(np.int32)), totals, scales)
    gather = Gather(feature_rows, genes, tensors)
    layers = Layers(genes, layer, of_proteins, gather)
    out = np.full((cells, nodes), np.nan, np.float32)
    dense(raw, layers, gather.feature_rows, out)
    np.testing.assert_allclose(out, wanted, rtol=1e-6)
    x = dense_on_device(compress(raw), layers, torch.from_numpy(gather.feature_rows), nodes)
    np.testing.assert_allclose(x.numpy(), wanted, rtol=2e-6)


# --------------------------------------------------------------------------- what is asked for


def test_levels_are_read_with_their_policies() -> None:
    assert parse_levels(["gene,transcript", "protein=max"]) == Levels(
        {"Protein": "max", "Transcript": "copy"}
    )
    assert parse_levels(["protein"]) == Levels({"Protein": "sum"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("protien", "'protien' is no level. Did you mean 'protein'"),
        ("", "'' is no level. Choose gene, transcript, protein"),
        ("protein=copy", "'copy' is no policy of level protein. Choose sum, mean, max"),
        ("gene=sum", "'gene=sum' is no level"),
        ("protein,protein=max", "names protein twice"),
    ],
)
def test_a_level_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        parse_levels([text])
    done = CliRunner().invoke(
        cli.main, ["export", "--query", "RETURN 1", "--label", "x", "--out", "b", "--level", text]
    )
    assert done.exit_code == 1
    assert "--level" in done.output


def test_a_correction_and_a_level_exclude_each_other(tmp_path: Path) -> None:
    anything: Any = object()
    with pytest.raises(ExportError, match=r"Export with one of them"):
        export(
            selection(),
            anything,
            anything,
            cells="true",
            label="x",
            out=tmp_path / "b",
            correct=anything,
            levels=Levels({"Protein": "sum"}),
        )


def test_nodes_whose_genes_were_not_measured_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"None of the 1 picked nodes has abundance"):
        write(tmp_path / "b", {"Transcript": "copy"}, ["T:4"])
    assert not list(tmp_path.iterdir())


def test_a_gather_that_was_changed_is_named(tmp_path: Path) -> None:
    write(tmp_path / "b", {"Protein": "sum"})
    path = tmp_path / "b" / "gather.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(BundleError, match=r"gather.safetensors was changed"):
        TosgDataset(tmp_path / "b")


# --------------------------------------------------------------------------- links out of a graph


class ToldGraph:
    """Answers the statements of routes: (node, gene, source of each step)."""

    def __init__(self, **routes: list[tuple[str, str, list[str]]]) -> None:
        self._routes = {cypher(f"gather_{name}"): rows for name, rows in routes.items()}

    def rows(self, statement: str, ids: list[str]) -> list[dict[str, Any]]:
        rows = [row for row in self._routes[statement] if row[0] in ids]
        found: dict[str, Any] = {"nodes": [n for n, _, _ in rows], "genes": [g for _, g, _ in rows]}
        for step, prefix in enumerate(["", "then_"][: 1 + ("then_" in statement)]):
            found[f"{prefix}sources"] = [s[step] for *_, s in rows]
            found[f"{prefix}licences"] = [""] * len(rows)
        return [found]


class OnlySource:
    """Allows one source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def edge(self, source: str | None, licence: str | None) -> bool:
        return source == self._source and licence is None


def test_links_are_read_along_each_route_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tosg_graph.levels.CHUNK", 2)
    told: Any = ToldGraph(
        transcribed=[("T:3", "HGNC:99", ["a"]), ("T:1", "HGNC:1", ["a"]), ("T:1", "HGNC:1", ["b"])],
        encoded=[("P:2", "HGNC:2", ["b"])],
        translated=[
            ("P:2", "HGNC:2", ["a", "a"]),
            ("P:1", "HGNC:99", ["a", "b"]),
            ("P:1", "HGNC:1", ["a", "a"]),
        ],
    )
    wanted = {"Protein": "sum", "Transcript": "copy"}
    every = read_links(told, selection().nodes, Levels(wanted)).table.to_pydict()
    pairs = [(3, "HGNC:1"), (3, "HGNC:99"), (4, "HGNC:2"), (7, "HGNC:1"), (9, "HGNC:99")]
    assert list(zip(every["node_row"], every["gene_id"], strict=True)) == pairs
    only: Any = OnlySource("a")
    some = read_links(told, selection().nodes, Levels(wanted, only)).table.to_pydict()
    assert list(zip(some["node_row"], some["gene_id"], strict=True)) == [
        p for p in pairs if p != (3, "HGNC:99")
    ]


def test_a_level_without_a_picked_node_is_an_error() -> None:
    told: Any = ToldGraph(transcribed=[], encoded=[], translated=[])
    with pytest.raises(ExportError, match=r"none of the 2 picked nodes is a Protein"):
        read_links(told, selection(NODES[:2]).nodes, Levels({"Protein": "sum"}))


LOADED = """
CREATE (:Source {key: 'x', licence: 'CC0-1.0'}), (:Source {key: 'y', licence: 'CC-BY-4.0'})
CREATE (a:Entity:Gene {id: 'HGNC:10'}), (b:Entity:Gene {id: 'HGNC:20'}), (c:Entity:Gene {id: 'HGNC:30'})
CREATE (t:Entity:Transcript {id: 'T:1', sources: ['x']}), (u:Entity:Transcript {id: 'T:9', sources: ['x']}),
  (p:Entity:Protein {id: 'P:1', sources: ['x']}), (q:Entity:Protein {id: 'P:2', sources: ['x']}),
  (a)-[:TRANSCRIBED_TO {source: 'x'}]->(t)-[:TRANSLATED_TO {source: 'y'}]->(p),
  (c)-[:TRANSCRIBED_TO {source: 'x'}]->(u)-[:TRANSLATED_TO {source: 'x', licence: 'CC0-1.0'}]->(p),
  (b)-[:ENCODES {source: 'x'}]->(q), (a)-[:ENCODES {source: 'x', negated: true}]->(q)
"""


@pytest.mark.parametrize("sources", [None, ["x"]], ids=["all sources", "one source"])
def test_an_export_follows_the_graph(
    graph: Graph, settings: Settings, tmp_path: Path, sources: list[str] | None
) -> None:
    graph.write(LOADED)
    toy_store.make(tmp_path / "home" / "store")
    address = {"uri": graph.address.uri, "password": graph.address.password}
    with Platform(replace(settings, home=tmp_path / "home", **address)) as p:
        picked = p.select("MATCH (n:Protein|Transcript) RETURN n", sources=sources)
        picked.export(tmp_path / "b", label="donor", level="transcript,protein")
    data = TosgDataset(tmp_path / "b")
    assert data.nodes["id"].to_pylist() == ["P:1", "P:2", "T:1", "T:9"]
    for x, cell in data.iter_cells():
        ten, twenty, thirty = (toy_store.count(number(cell), column) for column in range(3))
        both = thirty if sources else ten + thirty  # y alone states that T:1 is translated to P:1
        assert x[:, 0].tolist() == [both, twenty, ten, thirty]


# --------------------------------------------------------------------------- the format


def test_the_files_hold_what_the_contract_says(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", {"Protein": "sum"}).content
    contract = schema("bundle")
    assert set(manifest) <= {*contract["manifest"], *contract["optional_manifest"]}
    kinds = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "b" / "unpicked_genes.parquet")}
    assert kinds == contract["columns"]["unpicked_genes"]
    dtypes = {n: v.dtype.name for n, v in load_file(tmp_path / "b" / "gather.safetensors").items()}
    assert dtypes == {n: dtype for n, (dtype, _) in contract["tensors"]["gather"].items()}
    shard = load_file(next((tmp_path / "b" / "abundance").glob("train-*")))
    wanted = {**contract["tensors"]["abundance"], **contract["tensors"]["abundance_of_unpicked_genes"]}
    assert {n: v.dtype.name for n, v in shard.items()} == {n: dtype for n, (dtype, _) in wanted.items()}
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["format_version"] == 1


def test_the_lines_of_the_page_gather_as_the_dataset_does(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    lines = next(block for block in page.split("```python\n") if block.startswith("def gathered("))
    names: dict[str, Any] = {}
    exec("import numpy as np\nfrom safetensors.numpy import load_file\n", names)
    exec(lines.split("```")[0], names)
    for policies in ({"Protein": "max", "Transcript": "share"}, {"Protein": "mean"}):
        folder = tmp_path / policies["Protein"]
        write(folder, policies)
        data = TosgDataset(folder)
        shard = data.manifest["shards"]["train"][0]
        nodes, counts = names["gathered"](folder, data.manifest, shard)
        assert nodes.tolist() == data.node_mask[2:].nonzero().flatten().add(2).tolist()  # behind the genes
        x = data.take(range(shard["cells"])).x[..., 0]
        np.testing.assert_allclose(counts, x[:, nodes].T, rtol=1e-6)
