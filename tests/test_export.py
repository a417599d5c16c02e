"""The bundle on disk: what it holds, that it is the same each time, and that nothing half-made is left."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
from safetensors.numpy import load_file

from tosg_graph import bundle
from tosg_graph.bundle_cells import labelled_cells
from tosg_graph.bundle_features import gene_table
from tosg_graph.correction import Plan
from tosg_graph.errors import CohortError, CorrectionError, ExportError, StoreError
from tosg_graph.export import export, write_bundle
from tosg_graph.history import recorded_exports
from tosg_graph.resources import schema
from tosg_graph.selection import select
from tosg_graph.sentences import TextPlan
from tosg_graph.splits import SplitResult, assign_splits

if TYPE_CHECKING:
    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.graph import Graph


def write(out: Path, **changes: Any) -> bundle.Manifest:
    arguments: dict[str, Any] = {"cohort": "true", "label": "cell_type", "out": out, "seed": 7, **changes}
    chosen = arguments.pop("selection", toy.selection())
    measured = arguments.pop("measured", toy.measured())
    return write_bundle(chosen, measured, **arguments)


def files(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# --------------------------------------------------------------------------- what it holds


def test_the_manifest_and_the_files_are_those_of_the_schema(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    contract = schema("bundle")
    assert sorted(manifest) == sorted([*contract["manifest"], "normalisation", "split"])
    edges = [f"edges/{name}.parquet" for name in manifest["edges"]]
    shards = [s["file"] for split in manifest["shards"].values() for s in split]
    named = [name for key, name in contract["files"].items() if key != "manifest"]
    named.append(contract["optional_files"]["diagnostics_page"])
    assert sorted(manifest["files"]) == sorted([*named, *edges, *shards])
    assert manifest["files"] == {k: v for k, v in files(tmp_path / "b").items() if k != "manifest.json"}


def test_required_columns_and_tensors_have_the_types_of_the_schema(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    columns = schema("bundle")["columns"]
    for name in ("nodes", "genes", "cells"):
        found = {f.name: str(f.type) for f in pq.read_schema(tmp_path / "b" / f"{name}.parquet")}
        for column, kind in columns[name].items():
            assert found[column].replace("large_", "") == {"list": "list<element: string>"}.get(kind, kind), (
                column
            )
    topology = load_file(tmp_path / "b" / "topology.safetensors")
    for name in manifest["edges"]:
        assert topology[f"{name}.edge_index"].dtype == np.int64
    assert {v.dtype.name for k, v in topology.items() if k.endswith((".score", ".sign"))} == {"float32"}


def test_counts_land_on_the_right_gene_and_cell(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    nodes = pq.read_table(tmp_path / "b" / "nodes.parquet")["id"].to_pylist()
    genes = pq.read_table(tmp_path / "b" / "genes.parquet")
    cells = pq.read_table(tmp_path / "b" / "cells.parquet")
    assert [nodes[r] for r in genes["node_row"].to_pylist()] == genes["gene_id"].to_pylist()
    seen = 0
    for shard in (s for split in manifest["shards"].values() for s in split):
        tensors = load_file(tmp_path / "b" / shard["file"])
        for i in range(shard["cells"]):
            k = int(cells["cell_id"][shard["first_row"] + i].as_py().split("-")[1])
            span = slice(tensors["indptr"][i], tensors["indptr"][i + 1])
            found = {
                genes["gene_id"][int(g)].as_py(): int(v)
                for g, v in zip(tensors["indices"][span], tensors["data"][span], strict=True)
            }
            wanted = {gene: toy.count(k, column) for gene, column in toy.AXIS_COLUMN.items()}
            assert found == {gene: value for gene, value in wanted.items() if value}
            assert tensors["n_counts"][i] == sum(toy.count(k, c) for c in range(5))
            seen += 1
    assert seen == 10
    assert manifest["total_counts"] == sum(
        toy.count(k, column) for k in range(10) for column in toy.AXIS_COLUMN.values()
    )


def test_row_zero_parallel_edges_loops_and_isolated_nodes_survive(tmp_path: Path) -> None:
    write(tmp_path / "b")
    topology = load_file(tmp_path / "b" / "topology.safetensors")
    assert topology["Gene__SIGNALS_TO__Gene.edge_index"].tolist() == [[0, 0, 1, 3], [1, 1, 0, 3]]
    assert topology["Gene__ENCODES__Protein.edge_index"].tolist() == [[0, 1], [5, 6]]
    assert topology["node_offsets"].tolist() == [0, 4, 5, 7]  # Gene, Pathway (no edge), Protein
    assert topology["node_has_abundance"].tolist() == [True, True, False, True, False, False, False]
    score = topology["Gene__SIGNALS_TO__Gene.score"]
    assert np.isnan(score[1])
    assert score[[0, 2, 3]].tolist() == [0.5, 0.25, 1.0]
    assert "Gene__ENCODES__Protein.score" not in topology  # no edge of the type states it
    rest = pq.read_table(tmp_path / "b" / "edges" / "Gene__SIGNALS_TO__Gene.parquet")
    assert rest["source"].to_pylist() == ["a", "b", "a", "a"]
    assert rest["edge_key"].to_pylist() == [21, 22, 23, 24]


def test_what_is_left_out_or_masked_is_counted_with_its_reason(tmp_path: Path) -> None:
    dropped = {(d["what"], d["reason"]): d for d in write(tmp_path / "b").content["dropped"]}
    assert {key: d["count"] for key, d in dropped.items()} == {
        ("cells", "no value in cell_type"): 1,
        ("cells", "cell_type is unmapped"): 1,
        ("nodes", "Gene that is not on the gene axis: no abundance"): 1,
        ("features", "on the gene axis, not picked by the query"): 2,
        ("nodes", "Pathway: abundance is per gene"): 1,
        ("nodes", "Protein: abundance is per gene"): 2,
        ("nodes", "no text vector; run tosg embed"): 1,
    }
    assert dropped["cells", "no value in cell_type"]["examples"] == ["cell-10"]
    assert dropped["nodes", "no text vector; run tosg embed"]["examples"] == ["UniProtKB:P2"]


def test_the_diagnostics_count_what_crosses_a_split(tmp_path: Path) -> None:
    write(tmp_path / "b")
    diagnostics = json.loads((tmp_path / "b" / "diagnostics.json").read_text())
    assert diagnostics["overlap"] == dict.fromkeys(
        ("donors", "cell_ids", "barcodes", "copies", "metacell_members"), 0
    )
    assert sorted(d for donors in diagnostics["donors"].values() for d in donors) == [
        "donor0",
        "donor1",
        "donor2",
        "donor3",
    ]
    cells = pq.read_table(tmp_path / "b" / "cells.parquet")
    for split, labels in diagnostics["labels"].items():
        found = cells.filter(pc.equal(cells["split"], split))["label"].to_pylist()
        assert labels == {name: found.count(name) for name in sorted(set(found))}


def test_an_export_whose_cells_cross_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_turns(cells: pa.Table, **given: Any) -> SplitResult:
        sides = pa.array([bundle.SPLITS[k % 3] for k in range(len(cells))])
        return replace(assign_splits(cells, **given), split=sides)

    monkeypatch.setattr("tosg_graph.bundle_cells.assign_splits", by_turns)
    with pytest.raises(ExportError, match="3 donors were found across the splits that were written"):
        write(tmp_path / "b")
    assert left_over(tmp_path) == []


def test_an_obs_column_named_like_one_of_ours_is_kept_under_another_name(tmp_path: Path) -> None:
    cells = toy.cells().append_column("split", pa.array([f"mine{k}" for k in range(toy.CELLS)]))
    write(tmp_path / "b", measured=toy.measured(cells=cells))
    found = pq.read_table(tmp_path / "b" / "cells.parquet")
    assert set(found["split"].to_pylist()) <= set(bundle.SPLITS)
    assert all(
        mine == f"mine{int(cell.split('-')[1])}"
        for mine, cell in zip(found["obs_split"].to_pylist(), found["cell_id"].to_pylist(), strict=True)
    )


def test_shards_hold_a_bounded_number_of_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one")
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)
    manifest = write(tmp_path / "many").content
    assert max(s["cells"] for split in manifest["shards"].values() for s in split) == 2
    for name in bundle.SPLITS:
        whole = [load_file(tmp_path / "one" / s["file"]) for s in one_split(tmp_path / "one", name)]
        parts = [load_file(tmp_path / "many" / s["file"]) for s in manifest["shards"][name]]
        for tensor in ("data", "indices", "n_counts"):
            joined = [
                np.concatenate([t[tensor] for t in shards] or [np.empty(0)]) for shards in (whole, parts)
            ]
            assert joined[0].tolist() == joined[1].tolist()


def one_split(folder: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bundle.read_manifest(folder)["shards"][name]
    return found


# --------------------------------------------------------------------------- the same each time


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_order_of_the_rows_of_the_store_leaves_no_trace(tmp_path: Path) -> None:
    write(tmp_path / "a")
    upside_down = toy.cells().take(pa.array(range(toy.CELLS - 1, -1, -1)))
    write(tmp_path / "b", measured=toy.measured(cells=upside_down))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_another_seed_changes_the_split_and_the_order_of_cells_only(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, seed=seed).content for name, seed in (("a", 1), ("b", 2)))
    differ = {name for name in a["files"] if a["files"].get(name) != b["files"].get(name)}
    assert differ
    assert all(n.startswith(("abundance/", "cells.parquet", "diagnostics.")) for n in differ)
    changed = {key for key in a if a[key] != b[key]}
    assert changed <= {"seed", "split", "splits", "shards", "files", "verdict"}
    tables = [pq.read_table(tmp_path / n / "cells.parquet").sort_by("cell_id") for n in ("a", "b")]
    assert tables[0].drop_columns("split").equals(tables[1].drop_columns("split"))
    assert not tables[0].equals(tables[1])


def test_the_export_path_never_imports_torch(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nimport toy_bundle as toy\n"
        "from tosg_graph.export import write_bundle\nimport tosg_graph.selection\n"
        "given = {'cohort': 'true', 'label': 'cell_type', 'out': Path(sys.argv[1])}\n"
        "write_bundle(toy.selection(), toy.measured(), **given)\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'torch_geometric')))"
    )
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "b")], capture_output=True, text=True, cwd=tests
    )
    assert done.stdout.strip() == "[]", done.stderr
    assert (tmp_path / "b" / "manifest.json").is_file()


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "cel_type"}, "'cel_type' for --label. Did you mean 'cell_type'"),
        (
            {"label": "age_years"},
            "is double, which is no category: 12 different numbers from 20.5 to 31.5. Say where",
        ),
        ({"strict": True}, "2 of 12 cells have no cell_type and --strict is set"),
    ],
    ids=["unknown label", "label is no category", "strict with cells without label"],
)
def test_a_label_that_cannot_be_used_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message) as error:
        write(tmp_path / "b", **changes)
    assert "\n" not in str(error.value)
    assert left_over(tmp_path) == []


def test_a_label_without_any_value_is_refused(tmp_path: Path) -> None:
    empty = toy.cells().set_column(4, "cell_type", pa.array([None] * 11 + ["unmapped"], pa.string()))
    with pytest.raises(ExportError, match="None of the 12 cells has a value in 'cell_type'"):
        write(tmp_path / "b", measured=toy.measured(cells=empty))
    assert left_over(tmp_path) == []


def test_numbers_become_the_bins_that_they_are_in(tmp_path: Path) -> None:
    """Ages are 20.5 + k: a bin holds its lower edge, and what is in none of them is left out and counted."""
    known = [20.5 + k for k in range(toy.CELLS)]
    ages = pa.array([None, float("nan"), *known[2:]])
    cells = toy.cells().set_column(5, "age_years", ages)
    bins = (9.5, 23.5, 26.5, 27.0, 31.5)
    manifest = write(tmp_path / "b", label="age_years", bins=bins, measured=toy.measured(cells=cells)).content
    assert manifest["bins"] == list(bins)
    assert manifest["classes"] == ["[9.5, 23.5)", "[23.5, 26.5)", "[26.5, 27)", "[27, 31.5)"]
    found = pq.read_table(tmp_path / "b" / "cells.parquet")
    for row in found.select(["label", "label_index", "age_years"]).to_pylist():
        number = sum(row["age_years"] >= edge for edge in bins) - 1
        assert (row["label_index"], row["label"]) == (number, manifest["classes"][number])
    left = {d["reason"]: d["examples"] for d in manifest["dropped"] if d["what"] == "cells"}
    assert left == {
        "no value in age_years": ["cell-00", "cell-01"],
        "age_years is in none of the bins": ["cell-11"],
    }


def test_bins_without_an_end_hold_everything_and_empty_ones_are_no_class(tmp_path: Path) -> None:
    bins = (float("-inf"), 10, 25, 28, float("inf"))
    manifest = write(tmp_path / "b", label="age_years", bins=bins, strict=True).content
    assert manifest["bins"] == ["-inf", 10, 25, 28, "inf"]
    assert manifest["classes"] == ["[10, 25)", "[25, 28)", "[28, inf)"]
    assert sum(manifest["splits"].values()) == toy.CELLS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": (20,)}, "bins 20 are not two or more ascending edges. Write them as 0,20,40,60,inf"),
        ({"bins": (20, 20)}, "bins 20,20 are not two or more ascending edges"),
        ({"bins": (0, float("nan"), 40)}, "bins 0,nan,40 are not"),
        ({"bins": (0, 10), "label": "cell_type"}, "'cell_type' is string: it has no numbers for bins"),
        ({"bins": (0, 10)}, "None of the 12 cells has a value in 'age_years' that a bin holds. Choose other"),
        ({"bins": (20, 31), "strict": True}, "1 of 12 cells have no age_years and --strict is set"),
    ],
)
def test_bins_that_cannot_be_used_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExportError, match=message) as error:
        write(tmp_path / "b", **{"label": "age_years", **changes})
    assert "\n" not in str(error.value)
    assert left_over(tmp_path) == []


def test_a_few_whole_numbers_are_categories_and_many_are_a_quantity() -> None:
    few, many = (
        pa.table({"cell_id": [f"c{k:03d}" for k in range(303)], "n": [k % kinds for k in range(303)]})
        for kinds in (100, 101)
    )
    assert labelled_cells(few, "n", True)[0]["label"].to_pylist() == [str(k % 100) for k in range(303)]
    with pytest.raises(
        ExportError, match="'n' is int64, which is no category: 101 different numbers from 0 to 100"
    ):
        labelled_cells(many, "n", True)
    assert set(labelled_cells(many, "n", True, (0, 50, 101))[0]["label"].to_pylist()) == {
        "[0, 50)",
        "[50, 101)",
    }


def test_a_folder_that_exists_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(ExportError, match="exists already"):
        write(tmp_path / "b")
    assert left_over(tmp_path) == ["b"]
    assert left_over(tmp_path / "b") == []


def test_a_folder_in_the_home_is_written_and_refused_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write(Path("~/b")).folder == tmp_path / "b"
    assert left_over(tmp_path) == ["b"]
    with pytest.raises(ExportError, match="exists already"):
        write(Path("~/b"))
    with pytest.raises(ExportError, match="Choose another folder"):
        write(Path("~nobody-of-that-name/b"))


def test_a_selection_without_measured_genes_is_refused(tmp_path: Path) -> None:
    strangers = toy.AXIS.filter(pc.is_in(toy.AXIS["gene_id"], pa.array(["HGNC:99"])))
    with pytest.raises(ExportError, match="None of the 7 picked nodes has abundance: 4 are genes"):
        write(tmp_path / "b", measured=toy.measured(axis=strangers))
    assert left_over(tmp_path) == []


def test_an_axis_with_two_columns_for_a_gene_is_refused() -> None:
    twice = pa.concat_tables([toy.AXIS, toy.AXIS.slice(0, 1)])
    with pytest.raises(StoreError, match="two columns"):
        gene_table(toy.selection().nodes, twice)


@pytest.mark.parametrize(
    ("failure", "raised", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ExportError, "No space left on device"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
        (StoreError("block 3 is damaged"), StoreError, "block 3 is damaged"),
    ],
    ids=["disk full", "Ctrl-C", "damaged store"],
)
def test_an_export_that_fails_half_way_leaves_nothing(
    tmp_path: Path, failure: BaseException, raised: type[BaseException], message: str
) -> None:
    def fail(cell_ids: object, columns: object) -> None:
        assert any(tmp_path.iterdir())  # the export is under way
        raise failure

    with pytest.raises(raised, match=message):
        write(tmp_path / "b", measured=toy.measured(counts=fail))
    assert left_over(tmp_path) == []


def test_a_full_disk_while_a_file_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(ExportError, match="No space left on device"):
        write(tmp_path / "b")
    assert left_over(tmp_path) == []


def test_a_parent_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot be made: .*/file is a file. Choose another folder"):
        write(tmp_path / "file" / "b")


def test_selections_without_edges_can_be_exported(tmp_path: Path) -> None:
    alone = replace(toy.selection(), edges={})
    manifest = write(tmp_path / "b", selection=alone).content
    assert manifest["edges"] == {}
    assert sorted(load_file(tmp_path / "b" / "topology.safetensors")) == [
        "node_has_abundance",
        "node_offsets",
    ]


# --------------------------------------------------------------------------- with the real server and store

GENES, CELLS = 4, 9


def value(cell: int, gene: int) -> int:
    """Raw count of gene ``gene`` (the k of HGNC:k) in cell ``cell``: its digits say where it belongs."""
    return 100 * cell + gene


@pytest.fixture
def store_of_cells(graph: Graph, tmp_path: Path) -> AbundanceStore:
    """Nine cells of three donors; the file's genes run backwards, and one feature has no gene node."""
    import anndata
    import pandas as pd
    from scipy.sparse import csr_matrix

    from tosg_graph.abundance_store import AbundanceStore
    from tosg_graph.cells import add
    from tosg_graph.obs import ObsMapping

    graph.write(
        """
        UNWIND range(1, $genes) AS k
        CREATE (g:Entity:Gene {id: 'HGNC:' + k, name: 'SYM' + k, symbol: 'SYM' + k})
        CREATE (w:Entity:Pathway {id: 'WIKIPATHWAYS:WP' + k, name: 'pathway ' + k})
        CREATE (g)-[:PARTICIPATES_IN {source: 'test', edge_key: k}]->(w)
        """,
        genes=GENES,
    )
    order = list(range(GENES, 0, -1))
    counts = [[value(cell, gene) for gene in order] + [7] for cell in range(CELLS)]
    path = tmp_path / "nine.h5ad"
    anndata.AnnData(
        X=csr_matrix(np.array(counts, np.float32)),
        obs=pd.DataFrame(
            {
                "cell_type": pd.Categorical([["one", "two"][c % 2] for c in range(CELLS)]),
                "donor": [f"donor{c // 3}" for c in range(CELLS)],
                "batch": [f"batch{c}" for c in range(CELLS)],
            },
            index=[f"cell{c}" for c in range(CELLS)],
        ),
        var=pd.DataFrame(index=[*(f"SYM{gene}" for gene in order), "NOT-A-GENE"]),
    ).write_h5ad(path)
    store = AbundanceStore.open(tmp_path / "store")
    add(path, graph, store, mapping=ObsMapping())
    return store


def test_a_query_and_a_cohort_become_the_right_numbers(
    graph: Graph, store_of_cells: AbundanceStore, tmp_path: Path
) -> None:
    chosen = select(graph, "MATCH (g:Gene)-[r:PARTICIPATES_IN]->(w) WHERE g.id <> 'HGNC:2' RETURN g, r, w")
    out = tmp_path / "bundle"
    manifest = export(
        chosen, graph, store_of_cells, cells="batch <> 'batch8'", label="batch", out=out
    ).content
    nodes = pq.read_table(out / "nodes.parquet")["id"].to_pylist()
    genes = pq.read_table(out / "genes.parquet")
    cells = pq.read_table(out / "cells.parquet")
    assert nodes == [f"HGNC:{k}" for k in (1, 3, 4)] + [f"WIKIPATHWAYS:WP{k}" for k in (1, 3, 4)]
    assert sorted(cells["barcode"].to_pylist()) == [f"cell{c}" for c in range(8)]
    for split, shards in manifest["shards"].items():
        for shard in shards:
            tensors = load_file(out / shard["file"])
            for i in range(shard["cells"]):
                cell = int(cells["label"][shard["first_row"] + i].as_py().removeprefix("batch"))
                assert cells["split"][shard["first_row"] + i].as_py() == split
                span = slice(tensors["indptr"][i], tensors["indptr"][i + 1])
                rows = genes["node_row"].to_numpy()[tensors["indices"][span]]
                found = {nodes[r]: int(v) for r, v in zip(rows, tensors["data"][span], strict=True)}
                assert found == {f"HGNC:{k}": value(cell, k) for k in (1, 3, 4)}
                assert tensors["n_counts"][i] == sum(value(cell, k) for k in (1, 2, 3, 4)) + 7
    assert manifest["split_unit"] == "donor"
    assert manifest["encoder"]


def test_the_whole_export_is_the_same_twice(
    graph: Graph, store_of_cells: AbundanceStore, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        chosen = select(graph, "MATCH p = (:Gene)-->() RETURN p")
        given: dict[str, Any] = {"cells": "true", "label": "batch", "seed": 3, "text": TextPlan()}
        export(chosen, graph, store_of_cells, out=tmp_path / name, **given)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    for split in bundle.SPLITS:
        for line in (tmp_path / "a" / "text" / f"cells-{split}.jsonl").read_text().splitlines():
            # Gene k is the k-th by id, and has the k-th lowest count; no cell is without a count.
            assert json.loads(line)["prompt"].startswith(
                "Genes by abundance: SYM4, SYM3, SYM2, SYM1.\nPathways: "
            )
    assert recorded_exports(graph.settings.home)[-2:] == [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize(
    ("changes", "raised", "message"),
    [
        ({"label": "bach"}, ExportError, "no column 'bach' for --label. Did you mean 'batch'"),
        ({"cells": "batch = 'batch77'"}, CohortError, "batch"),
        ({"cells": "organ_x = 'lung'"}, CohortError, "organ_x"),
        ({"label": "organ"}, ExportError, "None of the 9 cells has a value in 'organ'"),
        ({"correct": Plan("combat", "donr")}, CorrectionError, "no column 'donr' to correct by"),
    ],
    ids=["unknown label", "empty cohort", "unknown column", "label without values", "no batch column"],
)
def test_bad_input_leaves_no_bundle(
    graph: Graph,
    store_of_cells: AbundanceStore,
    tmp_path: Path,
    changes: dict[str, Any],
    raised: type[Exception],
    message: str,
) -> None:
    chosen = select(graph, "MATCH (g:Gene) RETURN g")
    folder = tmp_path / "out"
    folder.mkdir()
    given: dict[str, Any] = {"cells": "true", "label": "batch", "out": folder / "b", **changes}
    with pytest.raises(raised, match=message) as error:
        export(chosen, graph, store_of_cells, **given)
    assert "\n" not in str(error.value)
    assert left_over(folder) == []


def test_a_store_without_cells_is_refused(graph: Graph, tmp_path: Path) -> None:
    from tosg_graph.abundance_store import AbundanceStore

    empty = AbundanceStore.open(tmp_path / "store")
    with pytest.raises(ExportError, match="The store has no cells yet"):
        export(toy.selection(), graph, empty, cells="true", label="cell_type", out=tmp_path / "b")
