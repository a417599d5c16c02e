"""Metacells: whose sums they are, that they keep within donor and type, and that nothing is counted twice."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pyarrow as pa
import pytest
import toy_store
from scipy.sparse import csr_array
from test_cells_export import no_terms
from test_cli import tosg

from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore, cell_id
from tosg_graph.cells_export import export_cells
from tosg_graph.cohort import parse
from tosg_graph.compact import compact
from tosg_graph.comparison import Arms, compare
from tosg_graph.errors import CellsError, CohortError
from tosg_graph.export import export
from tosg_graph.metacell_methods import METHODS, assign
from tosg_graph.metacells import Metacells, add_metacells
from tosg_graph.pseudobulk import pseudobulk
from tosg_graph.splits import assign_splits
from tosg_graph.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    """Cells 0-59 in ``toy`` and 60-89 in ``more``: of each donor and type five cells, and two or three."""
    made = toy_store.make(tmp_path / "store", 60)
    toy_store.add(made, 60, 30, "more", sex=pa.array([f"sex of d{k % 4}" for k in range(60, 90)]))
    return made


def add(store: AbundanceStore, cells: str = "true", **options: Any) -> Metacells:
    arguments: dict[str, Any] = {"size": 2, "min_cells": 3, **options}
    with AbundanceReader.open(store) as reader:
        return add_metacells(reader, store, cells, no_terms, **arguments)


def stored(store: AbundanceStore) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """The metacells of the store, and their counts."""
    with AbundanceReader.open(store) as reader:
        cells = reader.cells("metacell_of IS NOT NULL", no_terms)
        return cells.to_pylist(), reader.csr(cells["cell_id"].to_pylist(), range(5)).toarray()


def number(member: str) -> int:
    return int(member.split("-")[1])


# --------------------------------------------------------------------------- what they are


def test_a_metacell_is_the_sum_of_its_members(store: AbundanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tosg_graph.metacells.BLOCK", 3)  # several blocks
    monkeypatch.setattr("tosg_graph.metacells.SUMS", 10)  # several chunks per block
    made = add(store)
    rows, counts = stored(store)
    seen: list[str] = []
    for row, found in zip(rows, counts.tolist(), strict=True):
        members = row["metacell_members"]
        wanted = [sum(toy_store.count(number(m), column) for m in members) for column in range(5)]
        assert found == wanted
        assert row["n_counts"] == sum(wanted)
        assert row["n_genes"] == np.count_nonzero(wanted)
        assert row["metacell_size"] == len(members)
        assert row["dataset"] == f"{row['metacell_of']}_metacells"
        assert row["cell_id"] == cell_id(row["dataset"], row["barcode"])
        seen += members
    assert len(seen) == len(set(seen)) == sum(x.cells for x in made.added)
    assert sum(x.counts for x in made.added) == int(counts.sum())


def test_members_are_of_one_dataset_donor_and_type(store: AbundanceStore) -> None:
    add(store)
    rows, _ = stored(store)
    assert {row["metacell_of"] for row in rows} == {"toy", "more"}
    for row in rows:
        numbers = [number(m) for m in row["metacell_members"]]
        assert {f"d{k % 4}" for k in numbers} == {row["donor"]}
        assert {["T cell", "B cell", None][k % 3] for k in numbers} == {row["cell_type"]}
        assert {"toy" if k < 60 else "more" for k in numbers} == {row["metacell_of"]}


def test_cells_that_are_in_no_metacell_are_counted(store: AbundanceStore) -> None:
    made = add(store)
    sizes = Counter(("toy" if k < 60 else "more", k % 4, k % 3) for k in range(90) if k % 3 != 2)
    small = [cells for cells in sizes.values() if cells < 3]
    assert small
    assert made.left_out == {
        "no value in cell_type": 30,
        f"in {len(small)} groups of fewer than 3 cells": sum(small),
    }
    assert sum(x.cells for x in made.added) + sum(made.left_out.values()) == 90


def test_a_group_of_less_than_one_and_a_half_sizes_is_one_metacell(store: AbundanceStore) -> None:
    add(store, size=4)
    rows, _ = stored(store)
    assert all(row["barcode"].endswith("|0000") for row in rows)
    assert {row["metacell_size"] for row in rows if row["metacell_of"] == "toy"} == {5}


def test_columns_on_which_members_agree_are_kept(store: AbundanceStore) -> None:
    add(store)
    rows, _ = stored(store)
    for row in rows:
        assert row["sex"] == (f"sex of {row['donor']}" if row["metacell_of"] == "more" else None)
        assert row["cell_type_id"] in ("CL:0000084", "CL:0000236")


def test_purity_is_the_share_of_the_main_value(store: AbundanceStore) -> None:
    assert {x.purity for x in add(store).added} == {1.0}
    odd = pa.array([None if k == 97 else "odd" if k in (94, 98, 102) else "even" for k in range(90, 110)])
    toy_store.add(store, 90, 20, "third", parity=odd)
    add(store, "dataset = 'third'", purity="parity", size=100, min_cells=1)
    rows, _ = stored(store)
    for row in rows:
        if row["metacell_of"] == "third":
            values = Counter(odd[number(m) - 90].as_py() for m in row["metacell_members"])
            del values[None]
            assert row["metacell_purity"] == max(values.values(), default=0) / row["metacell_size"]
    assert {row["metacell_purity"] for row in rows} != {1.0}


# --------------------------------------------------------------------------- again, and beside cells


def test_the_same_again_changes_nothing_and_says_so(store: AbundanceStore) -> None:
    first = add(store)
    version = store.version()
    again = add(store, "metacell_of IS NULL")
    assert [x.already_present for x in first.added] == [False, False]
    assert [x.already_present for x in again.added] == [True, True]
    assert store.version() == version


def test_other_metacells_need_another_name(store: AbundanceStore) -> None:
    add(store, "dataset = 'toy'")
    before = stored(store)[0]
    with pytest.raises(CellsError, match=r"has a dataset 'toy_metacells' of other cells .* --suffix TEXT"):
        add(store, "dataset = 'toy'", size=5)
    assert stored(store)[0] == before
    add(store, "dataset = 'toy'", size=5, suffix="_large")
    assert len(stored(store)[0]) > len(before)


def test_a_cohort_of_cells_and_their_metacells_is_refused(store: AbundanceStore) -> None:
    add(store)
    with AbundanceReader.open(store) as reader:
        for ask in (
            lambda: reader.aggregate([0], None, "true", no_terms),
            lambda: add_metacells(reader, store, "true", no_terms),
            lambda: compare(reader, parse("true", reader.cell_columns()), no_terms, Arms("donor = 'd0'")),
        ):
            with pytest.raises(
                CohortError, match=r"selects 90 cells and \d+ metacells.*Add AND metacell_of IS NULL"
            ):
                ask()
        [mean] = reader.aggregate([0], None, "metacell_of IS NULL", no_terms)["mean"].to_pylist()
        assert mean == np.mean([toy_store.count(k, 0) for k in range(90)])
    with pytest.raises(CellsError, match="holds metacells, of which none are made"):
        add(store, "metacell_of IS NOT NULL")


@pytest.mark.parametrize("arms", [None, Arms("donor = 'd0'")], ids=["a cohort", "two arms"])
def test_no_bundle_is_made_of_cells_and_their_metacells(
    store: AbundanceStore, tmp_path: Path, arms: Arms | None
) -> None:
    add(store)
    nothing: Any = None  # neither the selection nor the graph is looked at
    with pytest.raises(CohortError, match="Add AND metacell_of IS NULL"):
        export(nothing, nothing, store, cells="true", label="cell_type", out=tmp_path / "b", arms=arms)
    assert not (tmp_path / "b").exists()


def test_sums_per_donor_are_the_same_of_cells_and_of_their_metacells(store: AbundanceStore) -> None:
    add(store, min_cells=1)
    with AbundanceReader.open(store) as reader:
        sums = {}
        for kind in ("IS NULL", "IS NOT NULL"):
            found = pseudobulk(reader, f"metacell_of {kind}", no_terms, min_cells=1)
            keys = zip(
                *(found.matrix.obs[c].to_pylist() for c in ("dataset", "donor", "cell_type")), strict=True
            )
            [counts] = found.matrix.chunks()
            rows = [(d.removesuffix("_metacells"), *rest) for d, *rest in keys]
            sums[kind] = dict(zip(rows, counts.toarray().tolist(), strict=True))
            with pytest.raises(CohortError, match="Add AND metacell_of IS NULL"):
                pseudobulk(reader, "true", no_terms)
    assert sums["IS NULL"] == sums["IS NOT NULL"] != {}


def test_metacells_can_be_written_for_other_programs(store: AbundanceStore, tmp_path: Path) -> None:
    add(store)
    rows, counts = stored(store)
    with AbundanceReader.open(store) as reader:
        for format_ in ("h5ad", "mtx", "parquet"):
            export_cells(reader, "metacell_of IS NOT NULL", no_terms, tmp_path / format_, format_=format_)
    data = anndata.read_h5ad(tmp_path / "h5ad")[[row["cell_id"] for row in rows]]
    assert data.X.toarray().tolist() == counts.tolist()
    assert data.obs["metacell_members"].tolist() == [" ".join(row["metacell_members"]) for row in rows]


def test_metacells_are_sorted_with_the_cells_when_the_store_is_compacted(tmp_path: Path) -> None:
    store, genes = AbundanceStore.open(tmp_path / "store"), [5, 4]  # of even and odd cells
    toy_store.add(store, 60, 30, n_genes=pa.array([genes[k % 2] for k in range(60, 90)], pa.int32()))
    add(store)
    before = stored(store)
    assert compact(store).written is not None
    rows, counts = stored(store)
    moved = {"block", "cell"}
    assert [{k: v for k, v in row.items() if k not in moved} for row in rows] == [
        {k: v for k, v in row.items() if k not in moved} for row in before[0]
    ]
    assert counts.tolist() == before[1].tolist()
    assert verify(store).findings == ()


def test_no_member_crosses_a_split(store: AbundanceStore) -> None:
    """A metacell and its cells are in datasets of different names; its donor is still theirs."""
    add(store)
    with AbundanceReader.open(store) as reader:
        cells = reader.cells("true", no_terms)
    for seed in range(5):
        split = assign_splits(cells, seed=seed).split.to_pylist()
        side = dict(zip(cells["cell_id"].to_pylist(), split, strict=True))
        for row in cells.to_pylist():
            for member in row["metacell_members"] or ():
                assert side[member] == side[row["cell_id"]]


# --------------------------------------------------------------------------- the methods


def blobs(cells: int = 90) -> tuple[csr_array[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cells of three kinds, each with forty genes of its own; kinds take turns."""
    random = np.random.default_rng(0)
    kind = np.arange(cells) % 3
    rate = np.where(np.arange(120)[None] // 40 == kind[:, None], 20.0, 0.5)
    counts = random.poisson(rate).astype(np.int32)
    return csr_array(counts), counts.sum(axis=1, dtype=np.int64), kind


INSTALLED = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(not importlib.util.find_spec(module), reason=f"{module} is not installed"),
    )
    for name, module in (("kmeans", "sklearn"), ("seacells", "SEACells"), ("metacell2", "metacells"))
]


@pytest.mark.parametrize("method", INSTALLED)
def test_alike_cells_are_put_together_the_same_way_each_time(method: str) -> None:
    counts, totals, kind = blobs()
    found = assign(method, counts, totals, 30, 1)
    assert found.tolist() == assign(method, counts, totals, 30, 1).tolist()
    assert sorted(set(found.tolist()) - {-1}) == list(range(found.max() + 1))
    kept = found >= 0
    assert kept.mean() > 0.8
    for number in range(found.max() + 1):
        assert len(set(kind[found == number].tolist())) == 1
    assert (np.bincount(found[kept]) > 5).all()


def test_kmeans_finds_the_three_kinds() -> None:
    counts, totals, kind = blobs()
    assert assign("kmeans", counts, totals, 30, 0).tolist() == kind.tolist()


@pytest.mark.parametrize(
    "counts",
    [np.zeros((6, 4)), np.ones((6, 1)), np.eye(6), np.vstack([np.zeros((3, 4)), np.ones((3, 4))])],
    ids=["nothing counted", "one gene", "nothing shared", "some cells without counts"],
)
def test_kmeans_takes_poor_data(counts: np.ndarray[Any, Any]) -> None:
    whole = csr_array(counts.astype(np.int32))
    found = assign("kmeans", whole, counts.sum(axis=1).astype(np.int64), 2, 0)
    assert found.shape == (6,)
    assert found[0] == 0
    assert found.min() == 0


def test_large_groups_are_clustered_in_piles(store: AbundanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(method: str, counts: Any, *rest: Any) -> Any:
        seen.append(counts.shape[0])
        return assign(method, counts, *rest)

    monkeypatch.setattr("tosg_graph.metacells.assign", watched)
    monkeypatch.setattr("tosg_graph.metacells.PILE", 3)
    made = add(store, "dataset = 'toy'")
    assert sorted(set(seen)) == [2, 3]
    assert sum(seen) == made.added[0].cells == 40


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"size": 0}, CellsError, "size=0 is below 1"),
        ({"min_cells": 0}, CellsError, "min_cells=0 is below 1"),
        (
            {"method": "leiden"},
            CellsError,
            "'leiden' is no method of metacells. Choose kmeans, seacells, metacell2",
        ),
        ({"purity": "cell_tipe"}, CohortError, "no column 'cell_tipe'.*'cell_type'"),
        ({"suffix": ""}, CellsError, "The suffix is empty"),
        ({"cells": "donor = 'd0' AND donor = 'd1'"}, CohortError, "No cell is selected"),
        ({"cells": "cell_type IS NULL"}, CellsError, "None of the 30 cells can be grouped"),
        ({"min_cells": 50}, CellsError, "None of the 16 groups .* has 50 cells, the largest has 5"),
    ],
    ids=["size 0", "min 0", "no method", "a typo", "no suffix", "no cell", "no type", "too many"],
)
def test_what_cannot_be_made_is_refused_and_adds_nothing(
    store: AbundanceStore, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    version = store.version()
    with pytest.raises(error, match=says):
        add(store, options.pop("cells", "true"), **options)
    assert store.version() == version


@pytest.mark.parametrize(("method", "module"), [("seacells", "SEACells"), ("metacell2", "metacells")])
def test_a_method_that_is_not_installed_says_how_to_install_it(
    store: AbundanceStore, monkeypatch: pytest.MonkeyPatch, method: str, module: str
) -> None:
    assert method in METHODS
    monkeypatch.setattr("tosg_graph.metacell_methods.find_spec", lambda _: None)
    with pytest.raises(
        CellsError, match=rf"needs the package {module}.*pip install 'tosg-graph\[{method}\]'"
    ):
        add(store, method=method)


def test_a_sum_that_does_not_fit_is_refused_and_adds_nothing(
    store: AbundanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tosg_graph.metacells._LARGEST", 1000)
    version = store.version()
    with pytest.raises(
        CellsError, match=r"has a sum of [\d,]+, at most 1,000 can be stored. Choose a smaller --size"
    ):
        add(store)
    assert store.version() == version
    assert store.datasets()["dataset"].to_pylist() == ["toy", "more"]


def test_the_command_adds_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOSG_HOME", str(tmp_path))
    toy_store.make(tmp_path / "store", 60)
    said = tosg("cells", "metacell", "--size", "2", "--min-cells", "3")
    assert "toy_metacells" in said
    assert "added" in said
    assert "20 no value in cell_type" in said
    assert "toy_metacells" in tosg("cells", "list")
