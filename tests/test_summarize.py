"""Expression in the graph: right numbers, replaced as a whole, and nothing dropped without being counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import toy_store
from click.testing import CliRunner

from tosg_graph import cli
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import CellsError, CohortError
from tosg_graph.graph import Graph
from tosg_graph.release import graph_release
from tosg_graph.summarize import Summary, summarize

T, B = "CL:0000084", "CL:0000236"
CELLS_OF = {T: [0, 3, 6, 9], B: [1, 4, 7]}  # of the toy store; cells 2, 5 and 8 have no type
COLUMN_OF = {"HGNC:10": 0, "HGNC:20": 1, "HGNC:30": 2}


@pytest.fixture
def toy(graph: Graph) -> Graph:
    """Three of the four genes of the toy store, and its two cell types."""
    graph.write(
        "UNWIND [10, 20, 30] AS n CREATE (:Entity:Gene {id: 'HGNC:' + n, name: 'S' + n, symbol: 'S' + n})"
    )
    graph.write(
        "UNWIND [['CL:0000084', 'T cell'], ['CL:0000236', 'B cell']] AS t "
        "CREATE (:Entity:CellType {id: t[0], name: t[1]})"
    )
    return graph


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    return toy_store.make(tmp_path / "store")


def run(graph: Graph, store: AbundanceStore, **choices: Any) -> Summary:
    with AbundanceReader.open(store) as reader:
        return summarize(graph, reader, **choices)


def stored(graph: Graph) -> dict[tuple[str, str], tuple[float, float, int]]:
    rows = graph.rows(
        "MATCH (g:Gene)-[r:EXPRESSED_IN]->(t:CellType) RETURN g.id AS g, t.id AS t, r.mean AS mean, "
        "r.fraction AS fraction, r.cells AS cells, r.store_version AS version, r.source AS source"
    )
    assert {row["source"] for row in rows} <= {"expression"}
    assert len({row["version"] for row in rows}) <= 1
    return {(row["g"], row["t"]): (row["mean"], row["fraction"], row["cells"]) for row in rows}


def expected(cells_of: dict[str, list[int]] = CELLS_OF) -> dict[tuple[str, str], tuple[float, float, int]]:
    found = {}
    for gene, column in COLUMN_OF.items():
        for kind, cells in cells_of.items():
            counts = [toy_store.count(k, column) for k in cells]
            share = sum(n > 0 for n in counts) / len(counts)
            found[gene, kind] = (sum(counts) / len(counts), share, len(counts))
    return found


def test_every_number_is_that_of_its_gene_and_cell_type(toy: Graph, store: AbundanceStore) -> None:
    summary = run(toy, store)
    assert stored(toy) == expected()
    assert stored(toy)["HGNC:10", T] == (450.0, 0.75, 4)  # cell 0 has no count of column 0
    assert summary.cell_types == {T: 4, B: 3}
    assert summary.cells == 7
    assert summary.unmapped == {"raw None": 3}
    # `orphan` is no gene, HGNC:50 is none of this graph: both are measured in both types.
    assert summary.features_without_gene == 2
    assert summary.below == 0
    line = summary.ledger
    assert (line.read, line.loaded, line.created, line.rejected) == (10, 6, 6, 4)
    assert line.reasons == {"no gene node": 4}
    assert {e.value for e in line.examples} <= {"orphan", "HGNC:50"}
    source = toy.rows("MATCH (s:Source {key: 'expression'}) RETURN s.version AS version, s.note AS note")
    assert source[0]["version"] == str(summary.store_version)
    assert "at least 0.05" in source[0]["note"]


def test_the_same_store_again_writes_nothing(toy: Graph, store: AbundanceStore) -> None:
    run(toy, store)
    before, release = stored(toy), graph_release(toy)
    line = run(toy, store).ledger
    assert (line.loaded, line.created, line.updated, line.retired) == (6, 0, 0, 0)
    assert (stored(toy), graph_release(toy)) == (before, release)


def test_a_larger_store_replaces_every_number_and_its_version(toy: Graph, store: AbundanceStore) -> None:
    first = run(toy, store)
    toy_store.add(store, 10, 6, "more")
    second = run(toy, store)
    assert second.store_version > first.store_version
    assert second.ledger.updated == 6
    cells_of = {T: [0, 3, 6, 9, 12, 15], B: [1, 4, 7, 10, 13]}
    assert stored(toy) == expected(cells_of)
    versions = toy.rows("MATCH ()-[r:EXPRESSED_IN]->() RETURN collect(DISTINCT r.store_version) AS v")
    assert versions[0]["v"] == [second.store_version]


@pytest.mark.parametrize("before", ["as it was", "hashes lost", "changed by hand"])
def test_what_falls_away_is_removed(toy: Graph, store: AbundanceStore, before: str) -> None:
    run(toy, store)
    if before == "hashes lost":
        shutil.rmtree(toy.settings.stated)
    if before == "changed by hand":
        toy.write("MATCH (:Gene {id: 'HGNC:20'})-[r:EXPRESSED_IN]->(:CellType {id: $b}) DELETE r", b=B)
    line = run(toy, store, cells="cell_type = 'B cell'").ledger
    assert stored(toy) == expected({B: CELLS_OF[B]})
    assert line.retired == 3
    again = run(toy, store, cells="cell_type = 'B cell'").ledger
    assert (again.created, again.updated, again.retired) == (0, 0, 0)


def test_pairs_below_the_threshold_are_counted(toy: Graph, store: AbundanceStore) -> None:
    summary = run(toy, store, min_fraction=0.75)
    assert len(stored(toy)) == 6  # 3 of 4 cells is not below 0.75
    assert summary.below == 2  # HGNC:50: 2 of 4 and 1 of 3
    summary = run(toy, store, min_fraction=0.76)
    assert set(expected()) - set(stored(toy)) == {("HGNC:10", T)}
    assert (summary.below, summary.ledger.retired) == (3, 1)


@pytest.mark.parametrize(
    ("choices", "error", "says"),
    [
        ({"by": "donor"}, CellsError, "'donor' (first: 'd0')"),
        ({"by": "colour"}, CohortError, "no column 'colour'"),
        ({"min_fraction": 1.5}, CellsError, "1.5"),
        ({"cells": "donor = 'd9'"}, CohortError, "'d9'"),
        ({"cells": "cell_type IS NULL"}, CellsError, "'raw None'"),
    ],
    ids=["no cell types", "no column", "out of bounds", "no cells", "only unmapped cells"],
)
def test_what_cannot_be_summarised_leaves_the_graph_alone(
    toy: Graph, store: AbundanceStore, choices: dict[str, Any], error: type[Exception], says: str
) -> None:
    run(toy, store)
    with pytest.raises(error) as refusal:
        run(toy, store, **choices)
    assert says in str(refusal.value)
    assert stored(toy) == expected()


def test_a_column_with_ids_of_cell_types_will_do(toy: Graph, tmp_path: Path) -> None:
    import pyarrow as pa

    store = AbundanceStore.open(tmp_path / "store")
    kinds = [T, B, "CL:9", None, "T cell", B]
    toy_store.add(store, 0, 6, called=pa.array(kinds))
    summary = run(toy, store, by="called", min_fraction=0.0)
    assert summary.cell_types == {T: 1, B: 2}
    assert summary.unmapped == {"CL:9": 1, "T cell": 1, "no value": 1}
    assert stored(toy)["HGNC:30", B] == (302.0, 1.0, 2)
    assert ("HGNC:10", T) not in stored(toy)  # its one cell has no count: at 0, one is needed


@pytest.mark.slow
def test_real_cells_give_the_numbers_of_pandas(graph: Graph, tmp_path: Path, shared_data: Path) -> None:
    """pbmc3k, from the file through the command line to the graph, against means and shares by pandas."""
    import anndata

    file = shared_data / "cells" / "pbmc3k.h5ad"
    data = anndata.read_h5ad(file)
    genes = list(data.var_names[::7])
    graph.write(
        "UNWIND range(0, size($genes) - 1) AS n "
        "CREATE (:Entity:Gene {id: 'HGNC:' + (100 + n), name: $genes[n], symbol: $genes[n]})",
        genes=genes,
    )
    kinds = {"B": "CL:0000236", "NK": "CL:0000623", "DC": "CL:0000451", "FCGR3A+ Mono": "CL:0002396"}
    graph.write("UNWIND $ids AS id CREATE (:Entity:CellType {id: id, name: id})", ids=[*kinds.values()])
    (tmp_path / "map.yaml").write_text(
        "cell_type:\n  column: cell_type\n  terms:\n"
        + "".join(f'    "{kind}": {term}\n' for kind, term in kinds.items())
    )
    address = graph.address
    server = ["--uri", address.uri, "--user", address.user, "--password", address.password or ""]
    for command in (
        ["add", str(file), "--map", str(tmp_path / "map.yaml")],
        ["summarize", "--min-fraction", "0.1"],
    ):
        done = CliRunner().invoke(cli.main, ["cells", *command, *server], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    frame = data.to_df()[genes]
    frame.columns = [f"HGNC:{100 + n}" for n in range(len(genes))]
    by_kind = data.obs["cell_type"].map(kinds)
    mean, share = (
        frame.groupby(by_kind, observed=True).mean(),
        (frame > 0).groupby(by_kind, observed=True).mean(),
    )
    cells = by_kind.value_counts()
    wanted = {
        (gene, kind): (mean.at[kind, gene], share.at[kind, gene], cells[kind])
        for gene in frame.columns
        for kind in kinds.values()
        if share.at[kind, gene] >= 0.1
    }
    assert len(wanted) > 500
    found = stored(graph)
    assert found.keys() == wanted.keys()
    assert [found[pair] for pair in wanted] == [pytest.approx(wanted[pair], rel=1e-6) for pair in wanted]
    unmapped = data.obs["cell_type"].map(lambda kind: kind not in kinds).sum()
    assert f"{unmapped:,} of no known type" in done.output
    assert "Memory CD4 T" in done.output
