"""A bundle as AnnData, NetworkX, GraphML and a list of edges: the same graph, and the same counts, in each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anndata
import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import tosg

import tosg_graph as tg
from tosg_graph import bundle, bundle_anndata, bundle_graph
from tosg_graph.bundle_anndata import adjacency
from tosg_graph.contract import arrow_type, stored_edge_columns, stored_node_columns
from tosg_graph.errors import BundleError, ExportError
from tosg_graph.export import write_bundle
from tosg_graph.types import Selection

GOLDEN = Path(__file__).parent / "golden" / "v1" / "bundle"
EDGES = 11


def selection() -> Selection:
    """The toy graph with an undirected verb, edges that are said to be false, lists and odd names."""
    plain = toy.selection()
    names = ["same", "same", 'naïve "β" <1>', "IFN-γ, a\tb", "HGNC:1", None, "P2"]
    synonyms = pa.array([["one two", "three"], [], None, ["ε"], None, None, None], pa.list_(pa.string()))
    nodes = plain.nodes.set_column(3, "name", pa.array(names)).append_column("synonyms", synonyms)
    pairs = toy.edges(
        [
            (0, 1, 31, "a", 0.5, None),
            (0, 1, 32, "b", 0.75, None),  # parallel
            (0, 2, 33, "a", 0.5, None),  # one end without abundance
            (1, 3, 34, "a", None, None),  # said to be false
            (3, 3, 35, "a", None, None),  # loop
        ]
    ).append_column("negated", pa.array([None, False, None, True, None]))
    return replace(plain, nodes=nodes, edges={**plain.edges, ("Gene", "INTERACTS_WITH", "Gene"): pairs})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("formats") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)  # several shards per split
        write_bundle(selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)
    return out


def ids() -> list[str]:
    found: list[str] = selection().nodes["id"].to_pylist()
    return found


def stated() -> list[dict[str, Any]]:
    """Every edge of the selection with its ends, verb and properties."""
    found = []
    for (_, verb, _), table in selection().edges.items():
        for row in table.to_pylist():
            ends = {"subject": ids()[row.pop("source_row")], "object": ids()[row.pop("target_row")]}
            found.append({"verb": verb, **ends, **row})
    assert len(found) == EDGES
    return sorted(found, key=lambda edge: edge["edge_key"])


def known(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if value is not None}


# --------------------------------------------------------------------------- AnnData


@pytest.fixture(params=["in memory", "read back"])
def made(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> anndata.AnnData:
    if request.param == "in memory":
        return tg.to_anndata(folder)
    tg.convert(folder, tmp_path / "b.h5ad")
    return anndata.read_h5ad(tmp_path / "b.h5ad")


def test_anndata_has_every_count_at_its_cell_and_gene(made: anndata.AnnData, folder: Path) -> None:
    cells = pq.read_table(folder / "cells.parquet").to_pylist()
    assert made.obs_names.tolist() == [cell["cell_id"] for cell in cells]
    assert made.X.dtype == np.int32
    columns = [toy.AXIS_COLUMN[gene] for gene in made.var["gene_ids"]]
    assert made.X.toarray().tolist() == [
        [toy.count(int(cell["cell_id"].split("-")[1]), column) for column in columns] for cell in cells
    ]
    for name in ("label", "split", "donor", "age_years", "n_counts", "label_index"):
        assert made.obs[name].tolist() == [cell[name] for cell in cells]


def test_anndata_names_genes_uniquely_and_keeps_their_ids(made: anndata.AnnData) -> None:
    assert made.var_names.tolist() == ["HGNC:1", "HGNC:2", "IFN-γ, a\tb"]  # two are called "same"
    assert made.var["gene_ids"].tolist() == ["HGNC:1", "HGNC:2", "HGNC:4"]
    assert made.var["node_row"].tolist() == [0, 1, 3]


def test_varp_follows_its_rules(made: anndata.AnnData) -> None:
    dense = {name: matrix.toarray().tolist() for name, matrix in made.varp.items()}
    signals, interacts = "Gene__SIGNALS_TO__Gene", "Gene__INTERACTS_WITH__Gene"
    assert dense == {
        signals: [[0, 2, 0], [1, 0, 0], [0, 0, 1]],  # two sources state 0 -> 1
        f"{signals}.sign": [[0, 0, 0], [0, 0, 0], [0, 0, 1]],  # they contradict each other
        f"{signals}.score": [[0, 0.5, 0], [0.25, 0, 0], [0, 0, 1]],
        interacts: [[0, 2, 0], [2, 0, 0], [0, 0, 1]],  # both directions, the loop once, nothing negated
        f"{interacts}.score": [[0, 0.75, 0], [0.75, 0, 0], [0, 0, 0]],
    }


def test_uns_has_every_node_and_edge(made: anndata.AnnData, folder: Path) -> None:
    told = made.uns["tosg"]
    assert json.loads(told["manifest"]) == bundle.read_manifest(folder)
    assert told["nodes"].index.tolist() == ids()
    for name in ("type", "name"):
        found = [None if v != v else v for v in told["nodes"][name].tolist()]
        assert found == selection().nodes[name].to_pylist()
    lists = [None if v != v else json.loads(v) for v in told["nodes"]["synonyms"].tolist()]
    assert lists == selection().nodes["synonyms"].to_pylist()
    found = []
    for name, table in told["edges"].items():
        for edge in table.astype(object).to_dict("records"):
            ends = {"subject": ids()[edge.pop("source_row")], "object": ids()[edge.pop("target_row")]}
            values = {k: None if v is not v or str(v) in ("nan", "<NA>") else v for k, v in edge.items()}
            found.append({"verb": name.split("__")[1], **ends, **values})
    assert sorted(found, key=lambda edge: edge["edge_key"]) == stated()


def test_anndata_refuses_more_edges_than_it_can_hold(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_anndata, "MOST_EDGES", EDGES - 1)
    with pytest.raises(ExportError, match=r"11 edges, AnnData takes 10: .* edge list: \.parquet"):
        tg.convert(folder, tmp_path / "b.h5ad")
    assert list(tmp_path.iterdir()) == []


PAIR = st.tuples(
    st.integers(0, 4), st.integers(0, 4), st.sampled_from([None, -1, 0, 1]),
    st.sampled_from([None, 0.0, 0.25, 2.0]), st.sampled_from([None, False, True]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(edges=st.lists(PAIR, max_size=12), symmetric=st.booleans())
def test_adjacency_is_what_a_plain_reading_gives(
    edges: list[tuple[int, int, int | None, float | None, bool | None]], symmetric: bool
) -> None:
    column = np.array([1, -1, 0, 2, -1])
    names = [("source_row", pa.int64()), ("target_row", pa.int64()), ("sign", pa.int64())]
    names += [("score", pa.float64()), ("negated", pa.bool_())]
    table = pa.Table.from_pylist([dict(zip([n for n, _ in names], e, strict=True)) for e in edges],
                                 pa.schema(names))  # fmt: skip
    said: dict[tuple[int, int], list[tuple[int | None, float | None]]] = {}
    for a, b, sign, score, negated in edges:
        i, j = int(column[a]), int(column[b])
        if not negated and i >= 0 and j >= 0:
            for pair in {(i, j), (j, i)} if symmetric else {(i, j)}:
                said.setdefault(pair, []).append((sign, score))
    wanted = {name: np.zeros((3, 3)) for name in ("", ".sign", ".score")}
    for pair, rows in said.items():
        signs = {sign for sign, _ in rows} & {1, -1}
        wanted[""][pair] = len(rows)
        wanted[".sign"][pair] = signs.pop() if len(signs) == 1 else 0
        wanted[".score"][pair] = max((score for _, score in rows if score is not None), default=0)
    found = adjacency("INTERACTS_WITH" if symmetric else "SIGNALS_TO", table, column)
    for name, matrix in wanted.items():
        dense = found[name].toarray() if name in found else np.zeros((3, 3))
        assert dense.tolist() == matrix.tolist(), name


# --------------------------------------------------------------------------- NetworkX and GraphML


def test_networkx_has_every_node_and_edge_with_what_it_has(folder: Path) -> None:
    graph = tg.to_networkx(folder)
    nodes = selection().nodes.to_pylist()
    assert list(graph) == ids()
    for row, node in enumerate(nodes):
        assert graph.nodes[node.pop("id")] == {"row": row, **known(node)}
    found = [
        {"subject": a, "object": b, "edge_key": key, **edge}
        for a, b, key, edge in graph.edges(keys=True, data=True)
    ]
    assert sorted(found, key=lambda edge: edge["edge_key"]) == [known(edge) for edge in stated()]
    assert graph.graph == {"query": "MATCH (g:Gene) RETURN g", "graph_release": "0123456789abcdef"}


def test_graphml_is_read_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    tg.convert(folder, tmp_path / "b.graphml")
    found, wanted = nx.read_graphml(tmp_path / "b.graphml"), tg.to_networkx(folder)
    assert list(found) == list(wanted)
    for id_, node in wanted.nodes(data=True):
        lists = {k: json.dumps(v, ensure_ascii=False) for k, v in node.items() if isinstance(v, list)}
        assert found.nodes[id_] == {**node, **lists}
    assert sorted(found.edges(keys=True), key=str) == sorted(wanted.edges(keys=True), key=str)
    for *ends, edge in wanted.edges(keys=True, data=True):
        assert found.edges[tuple(ends)] == edge


def test_graphs_above_a_limit_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(ids()) + EDGES
    assert len(tg.to_networkx(folder, limit=size)) == len(ids())
    with pytest.raises(ExportError, match=f"{size} nodes and edges, NetworkX takes {size - 1}"):
        tg.to_networkx(folder, limit=size - 1)
    assert bundle_graph.MOST_IN_GRAPHML == 200_000
    with pytest.raises(ExportError, match=f"GraphML takes {size - 1}. Export fewer, or take the edge list"):
        bundle_graph.write_graphml(folder, tmp_path / "b.graphml", limit=size - 1)
    assert list(tmp_path.iterdir()) == []


def test_a_character_that_xml_cannot_hold_is_named(tmp_path: Path) -> None:
    plain = toy.selection()
    names = pa.array([*plain.nodes["name"].to_pylist()[:6], "bell\x07"])
    odd = replace(plain, nodes=plain.nodes.set_column(3, "name", names))
    write_bundle(odd, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b")
    with pytest.raises(ExportError, match=r"The name 'bell\\x07' holds the character '\\x07'"):
        tg.convert(tmp_path / "b", tmp_path / "b.graphml")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_parallel_edges_of_one_key_are_not_merged_silently(tmp_path: Path) -> None:
    twins = toy.edges([(0, 1, 21, "a", 0.5, 1), (0, 1, 21, "b", 0.5, 1)])
    chosen = replace(toy.selection(), edges={("Gene", "SIGNALS_TO", "Gene"): twins})
    write_bundle(chosen, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b")
    with pytest.raises(BundleError, match="2 edges of 1 keys"):
        tg.to_networkx(tmp_path / "b")


# --------------------------------------------------------------------------- a list of edges


@pytest.mark.parametrize("ending", ["tsv", "parquet"])
def test_the_edge_list_has_every_edge(
    folder: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_graph, "ROWS", 2)
    path = tmp_path / f"b.{ending}"
    tg.convert(folder, path)
    if ending == "parquet":
        table = pq.read_table(path)
    else:
        types = {"sign": pa.int64(), "negated": pa.bool_(), "subject": pa.string()}
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=types),
        )
    names = [
        "subject",
        "subject_type",
        "verb",
        "object",
        "object_type",
        "sign",
        "score",
        "source",
        "negated",
        "edge_key",
    ]
    assert table.column_names == names
    kinds = dict(zip(ids(), selection().nodes["type"].to_pylist(), strict=True))
    rows = sorted(table.to_pylist(), key=lambda edge: edge["edge_key"])
    assert rows == [
        {**dict.fromkeys(names), **edge, "subject_type": kinds[edge["subject"]],
         "object_type": kinds[edge["object"]]} for edge in stated()
    ]  # fmt: skip


def test_an_id_that_tsv_cannot_hold_is_named(tmp_path: Path) -> None:
    plain = toy.selection()
    odd = replace(plain, nodes=plain.nodes.set_column(0, "id", pa.array([*ids()[:6], "P:a\tb"])))
    write_bundle(odd, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b")
    with pytest.raises(ExportError, match=r"cannot hold an id .* Take \.parquet") as error:
        tg.convert(tmp_path / "b", tmp_path / "b.tsv")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    tg.convert(tmp_path / "b", tmp_path / "b.parquet")
    assert "P:a\tb" in pq.read_table(tmp_path / "b.parquet")["object"].to_pylist()


# --------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("ending", ["h5ad", "graphml", "tsv", "parquet"])
def test_the_golden_bundle_converts_to_the_same_bytes_twice(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / f"{name}.{ending}" for name in ("a", "b")]
    for path in paths:
        assert tosg("convert", str(GOLDEN), str(path)).startswith("file")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("ending", ["h5ad", "graphml", "tsv", "parquet"])
def test_a_bundle_without_edges_converts(tmp_path: Path, ending: str) -> None:
    alone = replace(toy.selection(), edges={})
    write_bundle(alone, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b")
    tg.convert(tmp_path / "b", tmp_path / f"b.{ending}")
    assert (tmp_path / f"b.{ending}").stat().st_size


@pytest.mark.parametrize("ending", ["h5ad", "graphml", "tsv", "parquet"])
def test_columns_without_any_value_convert(tmp_path: Path, ending: str) -> None:
    """Every property of the contract, as a selection has them, most of them null in all rows."""
    plain = toy.selection()
    nodes = with_all(plain.nodes, dict(stored_node_columns()))
    edges = {key: with_all(rows, stored_edge_columns(key[1])) for key, rows in plain.edges.items()}
    full = replace(plain, nodes=nodes, edges=edges)
    write_bundle(full, toy.measured(), cohort="true", label="cell_type", out=tmp_path / "b")
    tg.convert(tmp_path / "b", tmp_path / f"b.{ending}")
    if ending == "h5ad":
        told = anndata.read_h5ad(tmp_path / "b.h5ad").uns["tosg"]["nodes"]
        assert set(nodes.column_names) == {"id", *told.columns}
        assert told["synonyms"].isna().all()


def with_all(rows: pa.Table, columns: dict[str, str]) -> pa.Table:
    for name, kind in columns.items():
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(len(rows), arrow_type(kind)))
    return rows


def test_bad_names_are_refused(tmp_path: Path) -> None:
    assert "no format. Choose .h5ad, .graphml" in tosg(
        "convert", str(GOLDEN), str(tmp_path / "b.pkl"), code=1
    )
    (tmp_path / "b.tsv").write_text("mine")
    assert "exists already" in tosg("convert", str(GOLDEN), str(tmp_path / "b.tsv"), code=1)
    assert (tmp_path / "b.tsv").read_text() == "mine"
    assert "is no bundle" in tosg("convert", str(tmp_path), str(tmp_path / "b.h5ad"), code=1)


def test_the_public_names_are_what_they_say() -> None:
    for name in tg.__all__:
        assert callable(getattr(tg, name)), name
        assert callable(getattr(tg, name)), "the second time as well: no module of that name hides it"
