"""What the OmniCellTOSG loader gets wrong, one test each; that a correction never sees test labels is tested with it.

The numbers are those of the list of defects in the background page of issue 5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_bundle
import toy_store
from click.testing import CliRunner

from tosg_graph import cli
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cohort import parse
from tosg_graph.comparison import Arms, compare
from tosg_graph.errors import CohortError
from tosg_graph.export import export, write_bundle
from tosg_graph.matching import Key, match
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings
from tosg_graph.split_plan import SPLITS, SplitPlan
from tosg_graph.splits import assign_splits

ORGANS = [("brain", "UBERON:1"), ("Brain", "UBERON:1"), (None, None), ("lung", "UBERON:2")]
STATUS = ["lupus", "healthy", "unclassified", "unknown"]
SIZE = 24


def expand(column: str, value: str) -> frozenset[str] | None:
    assert column == "organ"
    return {"brain": frozenset({"UBERON:1"}), "lung": frozenset({"UBERON:2"})}.get(value.lower())


def columns(rows: range) -> dict[str, pa.Array]:
    organs = [ORGANS[k % 4] for k in rows]
    return {
        "organ": pa.array([name for name, _ in organs], pa.string()),
        "organ_id": pa.array([id_ for _, id_ in organs], pa.string()),
        "status": pa.array([STATUS[k // 4 % 4] for k in rows], pa.string()),
    }


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    store = AbundanceStore.open(tmp_path / "home" / "store")
    toy_store.add(store, 0, SIZE, "toy", **columns(range(SIZE)))
    return store


@pytest.fixture
def reader(store: AbundanceStore) -> Iterator[AbundanceReader]:
    with AbundanceReader.open(store) as reader:
        yield reader


def fingerprint(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_6_no_cell_is_in_a_match_twice_however_many_would_be_needed() -> None:
    """There: 200 cells against 30 candidates became 173 rows of 29 cells."""
    size = 230
    cells = pa.table(
        {
            "cell_id": [f"c{k:03d}" for k in range(size)],
            "arm": ["case"] * 200 + ["control"] * 30,
            "sex": ["f"] * size,
        }
    )
    found = match(cells, [Key("sex")])
    assert len(found.rows) == len(set(found.rows)) == 60
    assert sum(len(x.cell_ids) for x in found.left_out) == 170


def test_6_no_copy_of_a_training_cell_is_in_the_test_set() -> None:
    """There: 280 of 1,200 test rows were copies."""
    cells = pa.table({"cell_id": [f"c{k:03d}" for k in range(90)], "dataset": ["d"] * 90})
    copies = [f"set{k % 30}" for k in range(90)]  # three of each
    for plan in (SplitPlan(), SplitPlan(folds=3, fold=1)):
        split = assign_splits(cells, seed=1, plan=plan, copies=copies).split.to_pylist()
        sides: dict[str, set[str]] = {}
        for copy, side in zip(copies, split, strict=True):
            sides.setdefault(copy, set()).add(side)
        assert all(len(found) == 1 for found in sides.values())
        assert set(split) == set(SPLITS)


def test_8_the_donors_of_the_test_set_are_neither_shared_nor_always_the_smallest() -> None:
    donors = [f"p{k:02d}" for k in range(20) for _ in range(10 + k)]
    cells = pa.table(
        {
            "cell_id": [f"c{k:04d}" for k in range(len(donors))],
            "dataset": ["d"] * len(donors),
            "donor": donors,
        }
    )
    tested = []
    for seed in range(12):
        split = assign_splits(cells, seed=seed).split.to_pylist()
        sides = {side: {d for d, s in zip(donors, split, strict=True) if s == side} for side in SPLITS}
        assert not sides["train"] & sides["test"]
        assert not sides["val"] & sides["test"]
        tested.append(frozenset(sides["test"]))
    assert len(set(tested)) > 6
    assert len(frozenset().union(*tested)) > 10


def test_9_cells_of_unknown_donors_are_never_one_donor() -> None:
    cells = pa.table(
        {
            "cell_id": [f"c{k:03d}" for k in range(60)],
            "dataset": ["d"] * 60,
            "donor": pa.array([None if k % 2 else f"p{k % 8}" for k in range(60)], pa.string()),
        }
    )
    found = assign_splits(cells, seed=0)
    assert set(found.split.to_pylist()[1::2]) == {"train"}
    assert sum(found.donors.values()) == 4
    assert found.verdict == "caution"


def test_3_an_empty_query_is_an_error_and_leaves_nothing_of_the_one_before(
    store: AbundanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = store.folder.parent
    monkeypatch.setenv("TOSG_HOME", str(home))
    monkeypatch.setattr(Platform, "graph", object())
    with Platform(read_settings()) as p:
        assert p.cohort("status = 'lupus'", ["status"])[0]["cells"].to_pylist() == [8]
        for empty in ("n_counts < 0", "status = 'lupus' AND status = 'healthy'"):
            with pytest.raises(CohortError, match="No cell is selected by"):
                p.cohort(empty, ["status"])
    done = CliRunner().invoke(cli.main, ["cohort", "n_counts < 0"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert sorted(path.name for path in home.iterdir()) == ["store"]  # no result of a query is kept anywhere


@pytest.mark.parametrize("organ", ["brain", "Brain", "BRAIN"])
def test_4_case_matters_neither_with_nor_without_missing_values(reader: AbundanceReader, organ: str) -> None:
    """There: one missing value made a column case-sensitive, and controls always were."""
    every = [k for k in range(SIZE) if ORGANS[k % 4][1] == "UBERON:1"]
    for rest, kept in (("", every), (" AND organ IS NOT NULL", every)):
        found = reader.cells(f"organ = '{organ}'{rest}", expand, ["cell_id"])["cell_id"].to_pylist()
        assert found == [toy_store.cell_id(k) for k in kept]
    arms = Arms("status = 'lupus'", "status = 'healthy'")
    compared = compare(reader, parse(f"organ = '{organ}'", reader.cell_columns()), expand, arms)
    sides = compared.cells["arm"].to_pylist()
    assert (sides.count("case"), sides.count("control")) == (4, 4)


@pytest.mark.parametrize("typo", ["lupos", "helthy", "unclasified", "LUPUS", "x", ""])
def test_5_every_value_that_is_offered_selects_cells(reader: AbundanceReader, typo: str) -> None:
    for column in ("status", "organ", "organ_id", "donor", "dataset", "cell_type_raw"):
        offered = reader.nearest(column, typo)
        assert offered
        for value in offered:
            quoted = value.replace("'", "''")
            no_terms = reader.cells(f"{column} = '{quoted}'", lambda *_: None, ["cell_id"])
            assert len(no_terms)


def test_11_unclassified_is_no_control(reader: AbundanceReader) -> None:
    everyone = parse("true", reader.cell_columns())
    for control in (
        None,
        "status != 'lupus'",
        "NOT status = 'lupus'",
        "status IS NOT NULL AND status <> 'lupus'",
    ):
        found = compare(reader, everyone, expand, Arms("status = 'lupus'", control))
        pairs = zip(found.cells["arm"].to_pylist(), found.cells["status"].to_pylist(), strict=True)
        assert {status for arm, status in pairs if arm == "control"} == {"healthy"}
        left = {x.reason: len(x.cell_ids) for x in found.left_out}
        assert left["not taken for a control: status is 'unclassified'"] == 4
        assert left["not taken for a control: status is 'unknown'"] == 4


def test_7_unknown_is_not_matched_with_unknown() -> None:
    cells = pa.table(
        {
            "cell_id": ["a", "b", "c", "d", "e", "f"],
            "arm": ["case", "control"] * 3,
            "sex": pa.array([None, None, "unknown", "unknown", "f", "f"], pa.string()),
        }
    )
    found = match(cells, [Key("sex")])
    assert found.rows == [4, 5]
    assert {x.reason: x.cell_ids for x in found.left_out} == {
        "case without a match: sex is unknown": ["a", "c"],
        "control without a match: sex is unknown": ["b", "d"],
    }


def test_13_the_genes_of_a_bundle_do_not_depend_on_its_cells(tmp_path: Path) -> None:
    cells = toy_bundle.cells()
    for name, rows in (("first", range(6)), ("second", range(6, 12)), ("all", range(12))):
        some = toy_bundle.measured(cells=cells.take(pa.array(rows)))
        write_bundle(toy_bundle.selection(), some, cohort="true", label="cell_type", out=tmp_path / name)
    genes = [pq.read_table(tmp_path / name / "genes.parquet") for name in ("first", "second", "all")]
    assert genes[0].equals(genes[1])
    assert genes[0].equals(genes[2])
    assert len(genes[0]) == len(toy_bundle.AXIS_COLUMN)


def test_15_nothing_is_written_into_the_data(
    store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facets, saved cohorts, comparisons and exports leave the store as it is, and work where it is read-only."""
    monkeypatch.setenv("TOSG_HOME", str(store.folder.parent))
    monkeypatch.setattr(Platform, "graph", object())
    before = fingerprint(store.folder)
    paths = [store.folder, *store.folder.rglob("*")]
    for path in paths:
        path.chmod(path.stat().st_mode & 0o555)  # for root this is a wish; the fingerprint is what counts
    try:
        with Platform(read_settings()) as p:
            p.cohort("true", ["status"])
            p.save_cohort("everyone", "true")
            p.compare("@everyone", Arms("status = 'lupus'", "status = 'healthy'"))
        with AbundanceReader.open(store) as reader:
            cells = reader.cells("true", lambda *_: None)
            measured = toy_bundle.measured(
                cells=cells, axis=reader.axis, counts=reader.csr, version=reader.version
            )
            chosen = toy_bundle.selection()
            nodes = chosen.nodes.set_column(
                0, "id", pa.array(["HGNC:10", "HGNC:20", *chosen.nodes["id"].to_pylist()[2:]])
            )
            write_bundle(
                replace(chosen, nodes=nodes), measured, cohort="true", label="status", out=tmp_path / "b"
            )
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert fingerprint(store.folder) == before


def test_15_an_export_is_whole_where_the_home_cannot_be_written(
    store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Graph:
        settings = read_settings()

    def read_only(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tosg_graph.export._measure", lambda *_: toy_bundle.measured())
    monkeypatch.setattr("tosg_graph.export.record_export", read_only)
    out = tmp_path / "b"
    export(toy_bundle.selection(), Graph(), store, cells="true", label="cell_type", out=out)  # type: ignore[arg-type]
    assert (out / "manifest.json").is_file()
