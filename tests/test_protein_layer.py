"""Proteins in the store: beside the genes of their cells, never in their sums, and in bundles where asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import protein_files as files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from toy_graph import ToyGraph

from tosg_graph import ingest, show
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore, cell_id
from tosg_graph.bundle_features import LayerSource
from tosg_graph.cells import add, add_files, add_measured
from tosg_graph.cells_export import export_cells
from tosg_graph.compact import compact
from tosg_graph.errors import CellsError, CohortError, ExportError, StoreError
from tosg_graph.export import write_bundle
from tosg_graph.layers import FIRST_PROTEIN, PROTEIN
from tosg_graph.measured_features import measured, of_cohort, runs
from tosg_graph.normalise import clr, clr_scales
from tosg_graph.obs import ObsMapping, read_mapping
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings
from tosg_graph.types import CellsLedger, MeasuredCells
from tosg_graph.verify import verify

CELLS = 7
WITH = [4, 1, 6]  # cells of the mudata file that have proteins


def no_terms(*_: str) -> None:
    return None


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    return AbundanceStore.open(tmp_path / "store")


def added(store: AbundanceStore, path: Path, **choices: Any) -> CellsLedger:
    choices = {"mapping": ObsMapping(constants={"cell_type": "T cell"}), **choices}
    return add(path, ToyGraph(files.GENES, 3), store, **choices)  # type: ignore[arg-type]


def of_layer(store: AbundanceStore, ledger: CellsLedger, cells: list[int]) -> np.ndarray:
    assert ledger.proteins
    columns = ledger.proteins.mapping["axis_column"].to_pylist()
    with AbundanceReader.open(store, layer=PROTEIN) as reader:
        found: np.ndarray = reader.csr([cell_id(ledger.dataset, f"c{k}") for k in cells], columns).toarray()
    return found


# --------------------------------------------------------------------------- store


def test_genes_and_proteins_of_a_file_are_one_add(store: AbundanceStore, tmp_path: Path) -> None:
    ledger = added(store, files.in_obsm(tmp_path, CELLS))
    assert ledger.counts_file == ledger.counts_stored == files.genes(CELLS).sum()
    assert ledger.proteins
    assert (ledger.proteins.cells, ledger.proteins.mapped, ledger.proteins.controls) == (CELLS, 2, 1)
    assert ledger.proteins.counts == files.proteins(CELLS).sum()
    assert ledger.proteins.mapping["protein_id"].to_pylist() == ["UniProtKB:P0", "UniProtKB:P2", None]
    assert [record.operation for record in store.log.records()] == ["add"]
    assert of_layer(store, ledger, [3, 0, 6]).tolist() == files.proteins(CELLS)[[3, 0, 6]].tolist()
    assert store.axis(layer=PROTEIN)["feature"].to_pylist() == [
        "IgG1_control",
        "UniProtKB:P0",
        "UniProtKB:P2",
    ]
    assert store.axis(layer=PROTEIN)["gene_id"].to_pylist() == [None, "HGNC:0", "HGNC:2"]
    assert not verify(store).findings
    assert added(store, files.in_obsm(tmp_path, CELLS)).already_present


def test_sums_of_cells_never_mix_layers(store: AbundanceStore, tmp_path: Path) -> None:
    added(store, files.in_obsm(tmp_path, CELLS))
    names = ["barcode", "n_counts", "n_genes", "n_protein_counts", "n_proteins"]
    with AbundanceReader.open(store) as reader:
        rows = sorted(reader.cells("true", no_terms, names).to_pylist(), key=lambda row: str(row["barcode"]))
        assert len(reader.axis) == files.GENES
        everything = reader.csr([cell_id("study", f"c{k}") for k in range(CELLS)], range(files.GENES))
        found = reader.aggregate([1], None, "true", no_terms, ["mean"], "cp10k")["mean"][0].as_py()
    genes, proteins = files.genes(CELLS), files.proteins(CELLS)
    assert everything.toarray().tolist() == genes.tolist()
    assert [[row[n] for n in names[1:]] for row in rows] == [
        [g.sum(), np.count_nonzero(g), p.sum(), np.count_nonzero(p)]
        for g, p in zip(genes.tolist(), proteins.tolist(), strict=True)
        for g, p in [(np.array(g), np.array(p))]
    ]
    assert found == pytest.approx(np.mean([10_000 * g[1] / g.sum() for g in genes]))


def test_a_cell_without_proteins_is_null_and_not_read_as_zero(store: AbundanceStore, tmp_path: Path) -> None:
    ledger = added(store, files.mudata(tmp_path, CELLS, WITH))
    assert store.datasets()["protein_cells"].to_pylist() == [3]
    with AbundanceReader.open(store) as reader:
        rows = reader.cells("true", no_terms, ["barcode", "n_protein_counts"]).to_pylist()
    assert {r["barcode"] for r in rows if r["n_protein_counts"] is not None} == {f"c{k}" for k in WITH}
    assert of_layer(store, ledger, WITH).tolist() == files.proteins(CELLS)[WITH].tolist()
    with pytest.raises(StoreError, match="1 of 1 cells are not in the store"):
        of_layer(store, ledger, [0])
    with AbundanceReader.open(store, layer=PROTEIN) as reader:
        column = reader.axis_columns(["UniProtKB:P2", "HGNC:2"])
        mean = reader.aggregate(list(column.values()), None, "true", no_terms)
        assert mean["cells"].to_pylist() == [3]
        assert mean["mean"][0].as_py() == pytest.approx(files.proteins(CELLS)[WITH, 1].mean())
        with pytest.raises(CohortError, match="'cp10k' is made by the total of genes"):
            reader.aggregate(list(column.values()), None, "true", no_terms, layer="cp10k")
    assert not verify(store).findings


def test_several_processes_add_the_same(store: AbundanceStore, tmp_path: Path) -> None:
    paths = []
    for number, rows in enumerate([WITH, [0, 2]]):
        (tmp_path / str(number)).mkdir()
        paths.append(files.mudata(tmp_path / str(number), CELLS, rows).rename(tmp_path / f"s{number}.h5mu"))
    graph: Any = ToyGraph(files.GENES, 3)
    connect: Any = partial(ToyGraph, files.GENES, 3)
    choices: dict[str, Any] = {"mapping": ObsMapping(), "processes": 2, "connect": connect}
    first, second = add_files(paths, graph, store, **choices)
    assert of_layer(store, first, WITH).tolist() == files.proteins(CELLS)[WITH].tolist()
    assert of_layer(store, second, [2, 0]).tolist() == files.proteins(CELLS)[[2, 0]].tolist()
    assert not verify(store).findings
    assert all(again.already_present for again in add_files(paths, graph, store, **choices))


def test_compaction_and_older_versions_keep_both_layers(store: AbundanceStore, tmp_path: Path) -> None:
    plain = files.write(files.adata(5), tmp_path / "plain.h5ad")
    added(store, plain)
    ledger = added(store, files.mudata(tmp_path, CELLS, WITH))
    before = of_layer(store, ledger, WITH).tolist()
    assert compact(store).written
    assert not verify(store).findings
    assert of_layer(store, ledger, WITH).tolist() == before
    with AbundanceReader.open(store) as reader:
        ids = [cell_id(name, "c3") for name in ("study", "plain")]
        assert reader.csr(ids, range(files.GENES)).toarray().tolist() == [files.genes(4)[3].tolist()] * 2
    with pytest.raises(StoreError, match="Version 0 of the store has no proteins"):
        AbundanceReader.open(store.at(0), layer=PROTEIN)
    (name,) = store.log.file_names("counts", store.log.records()[0].version.counts)
    columns = pq.read_table(store.folder / "counts" / name)["gene"].to_pylist()
    assert columns == sorted(columns)  # one block: proteins lie behind all genes
    assert sum(c >= FIRST_PROTEIN for c in columns) == np.count_nonzero(files.proteins(CELLS)[WITH])


def test_a_failed_add_leaves_neither_layer(
    store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ingest.blocks

    def loses_the_last(*arguments: Any) -> Iterator[Any]:
        for gene, cell, value in honest(*arguments):
            yield gene[:-1], cell[:-1], value[:-1]

    monkeypatch.setattr(ingest, "blocks", loses_the_last)
    with pytest.raises(CellsError, match="Nothing was added"):
        added(store, files.in_obsm(tmp_path, CELLS))
    assert store.version() is None
    assert not [path for path in store.folder.rglob("*") if path.suffix == ".parquet"]


def test_verify_names_a_cell_whose_proteins_differ(store: AbundanceStore, tmp_path: Path) -> None:
    added(store, files.in_obsm(tmp_path, CELLS))
    version = store.version()
    assert version
    cells = store.log.table("cells", version.cells).to_pyarrow_table()
    place = cells.schema.get_field_index("n_protein_counts")
    wrong = pa.array([n + (k == 2) for k, n in enumerate(cells["n_protein_counts"].to_pylist())], pa.int64())
    with store.writer() as append:
        append.replace_cells(cells.set_column(place, "n_protein_counts", wrong).to_reader())
    (finding,) = verify(store).findings
    assert "n_protein_counts of 1 cells differs" in str(finding)


def test_a_mapping_file_says_what_an_antibody_is(store: AbundanceStore, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("proteins: {IgG1_control: G1, G2: none}\ncell_type: {value: T cell}\n")
    ledger = added(store, files.in_obsm(tmp_path, CELLS), mapping=read_mapping(tmp_path / "map.yaml"))
    assert ledger.proteins
    assert ledger.proteins.mapping["protein_id"].to_pylist() == ["UniProtKB:P0", None, "UniProtKB:P1"]


VALUES = st.sampled_from([0, 0, 1, 3, 255, 65_536, 2**31 - 1])


@st.composite
def two_layers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense counts of genes and proteins, and which cells have proteins."""
    cells, genes, proteins = (draw(st.integers(1, 6)) for _ in range(3))
    has = np.array(draw(st.lists(st.booleans(), min_size=cells, max_size=cells)))
    both = [
        np.array(draw(st.lists(VALUES, min_size=cells * n, max_size=cells * n)), np.int32).reshape(cells, n)
        for n in (genes, proteins)
    ]
    return both[0], both[1] * has[:, None], has


@settings(max_examples=20, deadline=None)
@given(two_layers())
def test_both_layers_come_out_as_they_went_in(given_: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    genes, proteins, has = given_
    both = csr_array(np.concatenate([genes, proteins], axis=1))
    names = [f"c{k}" for k in range(len(genes))]
    ids = [cell_id("x", name) for name in names]
    measured_cells = MeasuredCells(
        barcodes=names,
        features=[f"G{g}" for g in range(genes.shape[1])],
        feature_ids=[None] * genes.shape[1],
        obs=pa.table({"a": [0] * len(names)}),
        chunks=lambda: iter([both]),
        proteins=[f"own {p}" for p in range(proteins.shape[1])],
        protein_cells=has,
    )
    with tempfile.TemporaryDirectory() as folder:
        store = AbundanceStore.open(Path(folder) / "store")
        graph: Any = ToyGraph(genes.shape[1])
        add_measured(measured_cells, Path("x"), graph, store, mapping=ObsMapping(), dataset="x")
        assert not verify(store).findings
        with AbundanceReader.open(store) as reader:
            assert reader.csr(ids, range(genes.shape[1])).toarray().tolist() == genes.tolist()
        with AbundanceReader.open(store, layer=PROTEIN) as reader:
            some = [one for one, there in zip(ids, has, strict=True) if there]
            found = reader.csr(some, range(proteins.shape[1])).toarray()
            assert found.tolist() == proteins[has].tolist()


# --------------------------------------------------------------------------- what was measured


def test_measured_columns_are_kept_as_runs() -> None:
    table = runs("a", {"gene": [7, 1, 2, 3], "protein": np.array([0])})
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("a", "gene", 1, 3),
        ("a", "gene", 7, 7),
        ("a", "protein", 0, 0),
    ]


COLUMNS = st.sets(st.integers(0, 30))


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(COLUMNS, COLUMNS)))
def test_what_was_measured_comes_out_as_it_went_in(held: dict[str, tuple[set[int], set[int]]]) -> None:
    parts = [runs(name, {"gene": sorted(g), "protein": sorted(p)}) for name, (g, p) in held.items()]
    table = pa.concat_tables([runs("none", {}), *parts])
    for place, layer in enumerate(("gene", "protein")):
        found = measured(table, [*held, "other"], range(31), layer)
        assert found.datasets == sorted([*held, "other"])
        for name, mask in zip(found.datasets, found.mask, strict=True):
            assert set(np.flatnonzero(mask)) == (held[name][place] if name in held else set())


def two_studies(store: AbundanceStore, folder: Path) -> None:
    """``study`` has G0 to G3 and proteins of some cells; ``other`` has G1, G3 and G5 and no proteins."""
    added(store, files.mudata(folder, CELLS, WITH))
    data = files.adata(4)[:, :3].copy()
    data.var_names = ["G1", "G3", "G5"]
    path = files.write(data, folder / "other.h5ad")
    add(path, ToyGraph(8), store, mapping=ObsMapping(constants={"cell_type": "B cell"}))  # type: ignore[arg-type]


def test_a_gene_that_a_dataset_lacks_is_told_from_zero(store: AbundanceStore, tmp_path: Path) -> None:
    two_studies(store, tmp_path)
    with AbundanceReader.open(store) as reader:
        columns = reader.axis_columns([f"HGNC:{g}" for g in (0, 1, 5)])
        found = reader.measured(["study", "other"], list(columns.values()))
        cells = reader.measured_cells("true", no_terms)
    assert dict(zip(columns, found.mask.T.tolist(), strict=True)) == {
        "HGNC:0": [False, True],
        "HGNC:1": [True, True],
        "HGNC:5": [True, False],
    }
    table = of_cohort(cells, store.measured(), store.axis_rows())
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        ("other", "gene", 4, 3, 2, 5),
        ("study", "gene", CELLS, 4, 2, 5),
        ("study", "protein", 3, 3, 3, 3),
    ]


# --------------------------------------------------------------------------- bundles


def nodes() -> pa.Table:
    ids = [*(f"HGNC:{g}" for g in (0, 1, 5, 7)), "UniProtKB:P0", "UniProtKB:P1", "UniProtKB:P2"]
    types = ["Gene"] * 4 + ["Protein"] * 3
    labels = pa.array([[t] for t in types], pa.list_(pa.string()))
    return pa.table({"id": ids, "type": types, "labels": labels, "name": ids, "text_sha": ids})


def bundle(store: AbundanceStore, out: Path, **choices: Any) -> dict[str, Any]:
    """A bundle of two studies, labelled by cell type."""
    selection = toy_bundle.selection()
    picked = type(selection)(nodes(), {}, "RETURN 1", {})
    with AbundanceReader.open(store) as genes, AbundanceReader.open(store, layer=PROTEIN) as proteins:
        made = toy_bundle.measured(
            cells=genes.cells("true", no_terms).append_column("kind", pa.array(["a", "b"] * 5 + ["a"])),
            axis=genes.axis,
            counts=genes.csr,
            text=np.zeros((7, 2), np.float32),
            text_mask=np.ones(7, bool),
            measured=genes.measured,
            proteins=LayerSource(proteins.axis, proteins.csr, proteins.measured),
        )
        found = write_bundle(picked, made, cohort="true", label="kind", out=out, **choices)
    return found.content


def test_a_bundle_joins_proteins_and_says_what_was_measured(store: AbundanceStore, tmp_path: Path) -> None:
    from tosg_graph.dataset import TosgDataset

    two_studies(store, tmp_path)
    manifest = bundle(store, tmp_path / "out")
    assert manifest["genes"] == 3
    assert manifest["proteins"]["count"] == 2
    assert manifest["proteins"]["cells"] == 3
    assert manifest["proteins"]["total_counts"] == files.proteins(CELLS)[WITH, :2].sum()
    assert manifest["measured"] == {
        "by": "any",
        "datasets": ["other", "study"],
        "not_measured": {"genes": 2, "proteins": 2},
    }
    assert [
        (d["count"], d["examples"]) for d in manifest["dropped"] if "protein axis: no" in d["reason"]
    ] == [(1, ["UniProtKB:P1"])]
    seen = 0
    for split in ("train", "val", "test"):
        raw, ratio = (
            TosgDataset(tmp_path / "out", split, layer="cp10k", protein_layer=made)  # type: ignore[arg-type]
            for made in ("counts", "clr")
        )
        assert raw.node_mask.tolist() == [True, True, True, False, True, False, True]
        rows = list(range(len(raw)))
        known = raw.measured(rows).tolist()
        for at, cell in enumerate(raw.cells.to_pylist()):
            k, study = int(cell["barcode"][1:]), cell["dataset"] == "study"
            has = study and k in WITH
            wanted = files.proteins(CELLS)[k] if has else np.zeros(3)
            assert raw.take([at]).x[0, [4, 5, 6], 0].tolist() == [wanted[0], 0, wanted[1]]
            scale = np.exp(np.log1p(wanted).mean())
            assert ratio.take([at]).x[0, [4, 6], 0].tolist() == pytest.approx(
                np.log1p(wanted[:2] / scale), rel=1e-6
            )
            assert known[at] == [study, True, not study, False, has, False, has]
            column = 1 if study else 0  # of HGNC:1 in the file
            total = files.genes(CELLS)[k].sum() if study else files.genes(4)[k, :3].sum()
            expected = 10_000 * files.genes(CELLS)[k, column] / total
            assert raw.take([at]).x[0, 1, 0].item() == pytest.approx(expected)
            seen += 1
    assert seen == CELLS + 4


def test_a_bundle_may_keep_to_what_all_datasets_measured(store: AbundanceStore, tmp_path: Path) -> None:
    two_studies(store, tmp_path)
    manifest = bundle(store, tmp_path / "out", measured_by="all")
    assert manifest["genes"] == 1
    # `other` measured no protein at all: it keeps nothing from being joined where it was measured.
    assert manifest["measured"]["not_measured"] == {"genes": 0, "proteins": 2}
    (gone,) = (d for d in manifest["dropped"] if d["reason"].startswith("not measured by all"))
    assert (gone["count"], gone["examples"]) == (2, ["HGNC:0", "HGNC:5"])
    with pytest.raises(ExportError, match="any or all datasets measured, not 'some'"):
        bundle(store, tmp_path / "again", measured_by="some")


def test_the_same_bundle_is_the_same_bytes(store: AbundanceStore, tmp_path: Path) -> None:
    two_studies(store, tmp_path)
    one, two = (bundle(store, tmp_path / name)["files"] for name in ("one", "two"))
    assert one == two
    assert {"measured.safetensors", "proteins.parquet"} <= set(one)


def test_clr_is_that_of_the_formula_and_keeps_zero() -> None:
    dense = np.array([[0, 3, 9], [0, 0, 0], [5, 5, 5]])
    scales = clr_scales(csr_array(dense), np.array([3, 3, 3]))
    found = clr(csr_array(dense), scales).toarray()
    wanted = [[np.log1p(x / np.exp(np.log1p(row).sum() / 3)) for x in row] for row in dense]
    assert found == pytest.approx(np.array(wanted))
    assert np.isnan(clr_scales(csr_array((1, 3), dtype=np.int32), np.array([0])))


# --------------------------------------------------------------------------- out again


@pytest.mark.parametrize("format_", ["h5ad", "mtx"])
def test_proteins_go_out_to_other_programs(store: AbundanceStore, tmp_path: Path, format_: str) -> None:
    import anndata
    import scanpy

    added(store, files.mudata(tmp_path, CELLS, WITH))
    with AbundanceReader.open(store, layer=PROTEIN) as reader:
        export_cells(reader, "true", no_terms, tmp_path / "out", format_=format_)
    if format_ == "h5ad":
        data = anndata.read_h5ad(tmp_path / "out")
        barcodes, ids = (
            data.obs["barcode"].tolist(),
            data.var["protein_id"].astype(object).fillna("").tolist(),
        )
    else:
        data = scanpy.read_10x_mtx(tmp_path / "out", gex_only=False)
        barcodes = pq.read_table(tmp_path / "out" / "cells.parquet")["barcode"].to_pylist()
        ids = data.var["gene_ids"].tolist()
    assert set(data.var["feature_types"]) == {"Antibody Capture"}
    wanted = files.proteins(CELLS)[[int(b[1:]) for b in barcodes]]
    found = data.X.toarray()
    assert found[:, ids.index("UniProtKB:P2")].tolist() == wanted[:, 1].tolist()
    assert found.sum(axis=1).tolist() == wanted.sum(axis=1).tolist()
    assert len(barcodes) == 3


def test_the_platform_lists_layers_and_shows_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = AbundanceStore.open(read_settings().store)
    two_studies(store, tmp_path)
    platform = Platform(read_settings())
    names = ["dataset", "genes", "proteins", "protein_cells"]
    assert [[row[n] for n in names] for row in platform.datasets().to_pylist()] == [
        ["study", 4, 3, 3],
        ["other", 3, 0, None],
    ]
    show.measured(platform.measured("true"))
    assert "2 of 5 genes were measured by all 2 datasets" in capsys.readouterr().out
    show.measured(platform.measured("dataset = 'study'"))
    assert "not zero" not in capsys.readouterr().out
    done = platform.export_cells(tmp_path / "proteins.h5ad", layer="protein")
    assert (done.cells, done.features) == (3, 3)
    with (
        platform.reader(layer="protein") as reader,
        pytest.raises(CohortError, match="no value 'other' among the cells with proteins"),
    ):
        reader.cells("dataset = 'other'", no_terms)


def test_an_add_lists_the_antibodies_that_are_no_protein(
    store: AbundanceStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show.proteins(added(store, files.in_obsm(tmp_path, CELLS)))
    said = capsys.readouterr().out
    assert "2 of 3 antibodies, in 7 cells" in said
    assert "IgG1_control" in said
    assert "isotype control" in said
