"""Bundles of a designed cohort: matched on each side, in folds, without a study, thinned, weighted; nothing crosses."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
import toy_store
from click.testing import CliRunner

from tosg_graph import bundle, cli
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.bundle import Manifest
from tosg_graph.comparison import Arms
from tosg_graph.errors import ExportError
from tosg_graph.export import export, write_bundle
from tosg_graph.matching import Key
from tosg_graph.sampling import Sampling
from tosg_graph.saved_cohorts import define
from tosg_graph.selection import select
from tosg_graph.split_plan import SplitPlan

if TYPE_CHECKING:
    from tosg_graph.graph import Graph

SIZE = 120
GOLDEN = Path(__file__).parent / "golden" / "v1" / "bundle"


def count(k: int, column: int) -> int:
    return 100 * k + column + 1


def many(**changes: Any) -> pa.Table:
    """Cells of 20 donors in two studies, cases and controls in turns within each donor."""
    rows = range(SIZE)
    found: dict[str, Any] = {
        "cell_id": [f"cell-{k:03d}" for k in rows],
        "dataset": ["xy"[k // 6 % 2] for k in rows],
        "barcode": [f"bc{k}" for k in rows],
        "donor": [f"p{k // 6}" for k in rows],
        "cell_type": [["T cell", "B cell", "NK cell"][k % 3] for k in rows],
        "sex": ["fm"[k // 12 % 2] for k in rows],
        "arm": ["case" if k % 2 else "control" for k in rows],
        "n_counts": [sum(count(k, c) for c in range(5)) for k in rows],
    }
    return pa.table({**found, **changes})


def write(out: Path, cells: pa.Table | None = None, **options: Any) -> Manifest:
    measured = toy.measured(cells=many() if cells is None else cells)
    given: dict[str, Any] = {"cohort": "true", "label": "cell_type", "out": out, "seed": 3, **options}
    return write_bundle(toy.selection(), measured, **given)


def read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "cells.parquet").to_pylist()
    return rows, json.loads((folder / "diagnostics.json").read_text())


def crossing(rows: list[dict[str, Any]], *columns: str) -> int:
    """How many values of the columns are on two sides: counted here, and not by the program."""
    sides: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        if row[columns[-1]] is not None:
            sides.setdefault(tuple(row[c] for c in columns), set()).add(row["split"])
    return sum(len(found) > 1 for found in sides.values())


ARMS = Arms("status = 'lupus'", "status = 'healthy'", ("sex",))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"split": SplitPlan(stratify=True)},
        {"split": SplitPlan(folds=4, fold=2)},
        {"split": SplitPlan(by="study", hold_out="y")},
        {"arms": ARMS, "keys": [Key("sex")], "label": "arm"},
        {
            "arms": ARMS,
            "keys": [Key("sex")],
            "split": SplitPlan(folds=3, fold=0),
            "sampling": Sampling(size=80),
        },
    ],
    ids=["default", "stratified", "folds", "study", "matched", "matched folds of a sample"],
)
def test_the_manifest_counts_what_crosses_and_it_is_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    manifest = write(tmp_path / "b", **options).content
    rows, diagnostics = read(tmp_path / "b")
    nothing = dict.fromkeys(("donors", "cell_ids", "barcodes", "copies", "metacell_members"), 0)
    if manifest["split_unit"] == "study":
        nothing["studies"] = 0
    assert manifest["split"]["overlap"] == diagnostics["overlap"] == nothing
    assert crossing(rows, "dataset", "donor") == crossing(rows, "cell_id") == 0
    assert {name: sum(row["split"] == name for row in rows) for name in bundle.SPLITS} == manifest["splits"]
    left = sum(d["count"] for d in manifest["dropped"] if d["what"] == "cells")
    assert len(rows) + left == SIZE
    plan = options.get("split", SplitPlan())
    said = manifest["split"]
    assert (said["by"], said["folds"], said["fold"], said["seed"]) == (plan.by, plan.folds, plan.fold, 3)
    assert said["unit"] == manifest["split_unit"] == diagnostics["split_unit"]


def test_a_match_holds_on_each_side_of_the_split(tmp_path: Path) -> None:
    cells = many(arm=["case" if k % 5 < 3 else "control" for k in range(SIZE)])
    manifest = write(tmp_path / "b", cells, arms=ARMS, keys=[Key("sex")], label="arm").content
    rows, diagnostics = read(tmp_path / "b")
    for split in bundle.SPLITS:
        held = Counter((row["sex"], row["arm"]) for row in rows if row["split"] == split)
        assert held
        for sex in ("f", "m"):
            assert held[sex, "case"] == held[sex, "control"]
    of = {row["cell_id"]: row for row in rows}
    assert all(of[row["match_group"]]["split"] == row["split"] for row in rows)
    assert manifest["comparison"] == {
        "case": "status = 'lupus'",
        "control": "status = 'healthy'",
        "keys": ["sex"],
        "ratio": 1,
        "cells": {"case": len(rows) // 2, "control": len(rows) // 2},
        "verdict": diagnostics["comparison"]["verdict"],
    }
    assert diagnostics["comparison"]["match"]["keys"] == ["sex", "split"]
    assert any("case without a match: too few controls" in d["reason"] for d in manifest["dropped"])


def test_the_verdict_is_the_worse_of_split_and_comparison(tmp_path: Path) -> None:
    apart = many(dataset=["x" if k % 2 else "y" for k in range(SIZE)])
    manifest = write(tmp_path / "b", apart, arms=Arms("a", "b"), label="arm").content
    assert manifest["verdict"] == "unreliable"
    assert any("the arms share no dataset" in r for r in read(tmp_path / "b")[1]["comparison"]["reasons"])


def test_the_classes_of_the_label_are_set_beside_each_other(tmp_path: Path) -> None:
    write(tmp_path / "two", label="sex")
    write(tmp_path / "three")
    write(tmp_path / "one", many(cell_type=["T cell"] * SIZE))
    two, three, one = (read(tmp_path / name)[1] for name in ("two", "three", "one"))
    assert two["comparison"]["names"] == ["f", "m"]
    assert three["comparison"]["names"] == ["B cell", "NK cell", "T cell"]
    assert not [line for line in two["comparison"]["balance"] if line["column"] == "sex"]
    assert one["comparison"] is None
    assert one["cohort"]["overlap"]["dataset"]["values"] == {"the cohort": {"x": 60, "y": 60}}


def test_of_three_classes_only_what_sets_them_apart_makes_the_bundle_unreliable(tmp_path: Path) -> None:
    """Of a label of cell types depth and donors differ in any sample; that each is of its own dataset must be said."""
    deep = many(n_counts=[[100, 1000, 9000][k % 3] for k in range(SIZE)])
    assert write(tmp_path / "deep", deep).content["verdict"] == "ok"
    assert read(tmp_path / "deep")[1]["comparison"]["verdict"] == "unreliable"
    apart = write(tmp_path / "apart", many(dataset=["xyz"[k % 3] for k in range(SIZE)])).content
    assert apart["verdict"] == "unreliable"


def test_a_bundle_has_its_diagnostics_as_a_page(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    page = (tmp_path / "b" / "diagnostics.html").read_text()
    assert "diagnostics.html" in manifest["files"]
    diagnostics = read(tmp_path / "b")[1]
    for reason in [*diagnostics["reasons"], *diagnostics["comparison"]["reasons"]]:
        assert reason in page
    assert all(f"<td>{name}</td>" in page for name in manifest["classes"])
    assert "<script" not in page


def test_folds_test_each_donor_once(tmp_path: Path) -> None:
    tested: list[str] = []
    for fold in range(5):
        write(tmp_path / str(fold), split=SplitPlan(folds=5, fold=fold))
        rows, _ = read(tmp_path / str(fold))
        tested += {row["donor"] for row in rows if row["split"] == "test"}
    assert sorted(tested) == sorted({f"p{k // 6}" for k in range(SIZE)})


def test_a_study_that_is_left_out_is_named(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", split=SplitPlan(by="study", fold=1)).content
    rows, _ = read(tmp_path / "b")
    assert {row["dataset"] for row in rows if row["split"] == "test"} == {"y"}
    assert {row["dataset"] for row in rows if row["split"] != "test"} == {"x"}
    assert (manifest["split"]["hold_out"], manifest["split_unit"]) == ("y", "study")


def test_copies_stay_on_one_side_and_say_whose_they_are(tmp_path: Path) -> None:
    """Each cell of the first study is in the second again, under another donor."""
    rows = range(SIZE)
    again = many(
        cell_id=[f"cell-{k + SIZE:03d}" for k in rows],
        dataset=["z"] * SIZE,
        donor=[f"q{k % 60}" for k in rows],
    )
    cells = pa.concat_tables([many(), again])
    twice = toy.counts

    def counts(ids: Any, columns: Any) -> Any:
        return twice([f"cell-{int(i.split('-')[1]) % SIZE}" for i in ids], columns)

    measured = toy.measured(cells=cells, counts=counts)
    out = tmp_path / "b"
    write_bundle(toy.selection(), measured, cohort="true", label="cell_type", out=out, seed=1)
    found, diagnostics = read(out)
    assert crossing(found, "copy_of") == crossing(found, "barcode") == diagnostics["overlap"]["copies"] == 0
    assert {row["split"] for row in found} == set(bundle.SPLITS)
    assert all(row["copy_of"] == f"cell-{int(row['cell_id'].split('-')[1]) % SIZE:03d}" for row in found)


def test_weights_count_each_class_alike_on_each_side(tmp_path: Path) -> None:
    kinds = ["rare" if k % 10 == 0 else "common" for k in range(SIZE)]
    manifest = write(tmp_path / "b", many(cell_type=kinds), sampling=Sampling(weight_by="cell_type")).content
    rows, _ = read(tmp_path / "b")
    for split in bundle.SPLITS:
        sums: Counter[str] = Counter()
        for row in rows:
            if row["split"] == split:
                sums[row["label"]] += row["weight"]
        assert len({round(value, 6) for value in sums.values()}) == 1
        assert sum(sums.values()) == pytest.approx(manifest["splits"][split])
    assert manifest["sampling"]["weight_by"] == "cell_type"


def test_caps_and_balance_are_told(tmp_path: Path) -> None:
    plan = Sampling(caps=(("donor", 3),), balance=True)
    manifest = write(tmp_path / "b", many(donor=[f"p{k % 11}" for k in range(SIZE)]), sampling=plan).content
    rows, _ = read(tmp_path / "b")
    assert max(Counter((row["dataset"], row["donor"]) for row in rows).values()) <= 3
    assert len(set(Counter(row["label"] for row in rows).values())) == 1
    reasons = [d["reason"] for d in manifest["dropped"] if d["what"] == "cells"]
    assert reasons[0] == "beyond 3 cells of one donor"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split": SplitPlan(folds=21, fold=0)}, "21 folds need 21 donors, 20 known"),
        ({"sampling": Sampling(size=500)}, "500 cells cannot be drawn from 120"),
        ({"sampling": Sampling(caps=(("dono", 3),))}, "no column 'dono' to sample by"),
        ({"sampling": Sampling(weight_by="dono")}, "no column 'dono' to sample by"),
        ({"arms": ARMS, "keys": [Key("age_years", 5)]}, "no column 'age_years' to match on"),
    ],
)
def test_plans_that_do_not_fit_leave_no_bundle(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ExportError, match=says) as refusal:
        write(tmp_path / "b", **options)
    assert "\n" not in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_the_same_design_gives_the_same_bytes_whatever_the_order_of_the_rows(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "arms": ARMS,
        "keys": [Key("sex")],
        "split": SplitPlan(folds=3, fold=1),
        "sampling": Sampling(size=90),
    }
    turned = many().take(pa.array(range(SIZE - 1, -1, -1)))
    digests = []
    for name, cells in (("a", many()), ("b", turned)):
        write(tmp_path / name, cells, **options)
        paths = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        digests.append([hashlib.sha256(p.read_bytes()).hexdigest() for p in paths])
    assert digests[0] == digests[1]


def test_without_options_a_bundle_is_what_version_1_was(tmp_path: Path) -> None:
    """Tables, tensors and every key that the golden bundle has; only keys were added since."""
    out = tmp_path / "b"
    write_bundle(toy.selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)
    old, new = bundle.read_manifest(GOLDEN), bundle.read_manifest(out)
    differ = {"software", "files"}
    assert {k: v for k, v in new.items() if k in old and k not in differ} == {
        k: v for k, v in old.items() if k not in differ
    }
    assert set(new) - set(old) == {"normalisation", "split"}
    assert set(new["files"]) - set(old["files"]) == {"diagnostics.html"}
    for name in sorted(old["files"]):
        if name.endswith(".safetensors"):
            assert (out / name).read_bytes() == (GOLDEN / name).read_bytes(), name
        elif name.endswith(".parquet"):
            assert pq.read_table(out / name).equals(pq.read_table(GOLDEN / name)), name
    said, before = (json.loads((folder / "diagnostics.json").read_text()) for folder in (out, GOLDEN))
    assert (said["version"], before.get("version")) == (3, None)
    assert {k: said[k] for k in before if k != "overlap"} == {k: before[k] for k in before if k != "overlap"}
    assert said["overlap"] == {**before["overlap"], "copies": 0, "metacell_members": 0}


def test_a_store_column_called_like_one_of_ours_keeps_its_values(tmp_path: Path) -> None:
    cells = many(weight=[float(k) for k in range(SIZE)])
    write(tmp_path / "b", cells, sampling=Sampling(weight_by="cell_type"))
    found = pq.read_table(tmp_path / "b" / "cells.parquet")
    assert found["obs_weight"].to_pylist() == [float(i.split("-")[1]) for i in found["cell_id"].to_pylist()]
    assert pc.mean(found["weight"]).as_py() == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing option '--label'"),
        (["--label", "sex", "--fractions", "0.8,x,0.1"], "--fractions 0.8,x,0.1 is not numbers"),
        (["--label", "sex", "--control", "sex = 'f'"], "--control belongs to a comparison"),
        (["--label", "sex", "--split", "cell"], "'cell' is not one of"),
        (["--case", "sex = 'f'", "--cap", "sex"], "--cap 'sex' is not NAME=VALUE"),
        (
            ["--label", "age_years", "--bins", "0,20 years"],
            "--bins 0,20 years is not numbers, as in 0,20,40,60,inf",
        ),
        (["--label", "sex", "--negatives", "2"], "--negatives belongs to an edge task. Add --edge-task VERB"),
        (
            ["--label", "sex", "--edge-task", "IS_A", "--edge-fractions", "half"],
            "--edge-fractions half is not numbers",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_before_a_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.setattr("tosg_graph.platform.Platform.graph", None)
    given = ["export", "--query", "MATCH (g) RETURN g", "--out", str(tmp_path / "b"), *arguments]
    done = CliRunner().invoke(cli.main, given)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


# --------------------------------------------------------------------------- with the real server and store


def test_a_question_and_a_comparison_become_a_bundle(graph: Graph, tmp_path: Path) -> None:
    graph.write(
        """
        CREATE (top:Entity:CellType {id: 'CL:0000542', name: 'lymphocyte'})
        CREATE (:Entity:CellType {id: 'CL:0000084', name: 'T cell'})-[:IS_A {source: 't', edge_key: 1}]->(top)
        CREATE (:Entity:CellType {id: 'CL:0000236', name: 'B cell'})-[:IS_A {source: 't', edge_key: 2}]->(top)
        WITH top UNWIND [10, 20, 50] AS k
        CREATE (:Entity:Gene {id: 'HGNC:' + k, name: 'S' + k, symbol: 'S' + k})
        """
    )
    store = AbundanceStore.open(tmp_path / "store")
    toy_store.add(store, 0, 48, "toy", status=pa.array([["lupus", "healthy"][k // 4 % 2] for k in range(48)]))
    definition = define(tmp_path, "true", "MATCH (c:CellType {name: $name}) RETURN c", {"name": "lymphocyte"})
    manifest = export(
        select(graph, "MATCH (g:Gene) RETURN g"),
        graph,
        store,
        cells=definition,
        label="arm",
        arms=Arms("status = 'lupus'", match=("cell_type_id", "donor")),
        split=SplitPlan(folds=4, fold=1),
        out=tmp_path / "b",
    ).content
    assert manifest["cells_query"] == {
        "query": "MATCH (c:CellType {name: $name}) RETURN c",
        "parameters": {"name": "lymphocyte"},
        "exact_terms": False,
        "returned": {"cell_type": ["CL:0000542"]},
        "meant": {"cell_type": 3},
    }
    rows, _ = read(tmp_path / "b")
    assert {row["cell_type"] for row in rows} == {"T cell", "B cell"}
    assert Counter(row["label"] for row in rows) == {"case": len(rows) // 2, "control": len(rows) // 2}
    of = {row["cell_id"]: row for row in rows}
    keys = ("cell_type_id", "donor", "dataset", "split")
    assert all(row[key] == of[row["match_group"]][key] for row in rows for key in keys)
    assert {row["donor"] for row in rows if row["split"] == "test"}.isdisjoint(
        row["donor"] for row in rows if row["split"] != "test"
    )
