"""Cells into the store: sums that are equal, refusals that leave nothing, real files of several laboratories."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from tosg_graph import cell_blocks, ingest
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore, cell_id
from tosg_graph.cells import add, add_files, add_scanpy_pbmc
from tosg_graph.errors import CellsError
from tosg_graph.export import export
from tosg_graph.graph import Graph
from tosg_graph.harmonise import term_expander
from tosg_graph.obs import ObsMapping, read_mapping
from tosg_graph.selection import select

GENES = 6
CELLS = 11
MAPPING = ObsMapping({"cell_type": "kind", "donor": "patient"}, {"assay": "10x 3' v2"}, {})


def count(k: int, g: int) -> int:
    return 100 * k + g


@pytest.fixture
def genes(graph: Graph) -> Graph:
    """Six genes G0 .. G5 with ids HGNC:10 .. HGNC:15, and three cell types."""
    graph.write(
        "UNWIND range(0, 5) AS n CREATE (:Entity:Gene {id: 'HGNC:' + (10 + n), name: 'G' + n, symbol: 'G' + n,"
        " ensembl_id: 'ENSG' + n})"
    )
    graph.write(
        "UNWIND [['CL:1', 'lymphocyte'], ['CL:2', 'T cell'], ['CL:3', 'B cell']] AS t "
        "CREATE (:Entity:CellType {id: t[0], name: t[1], synonyms: [t[1] + 's']})"
    )
    graph.write(
        "MATCH (t:CellType), (top:CellType {id: 'CL:1'}) WHERE t.id <> 'CL:1' CREATE (t)-[:IS_A]->(top)"
    )
    return graph


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    return AbundanceStore.open(tmp_path / "store")


def adata(features: list[str] | None = None, first: int = 0) -> anndata.AnnData:
    x = np.array([[count(k, g) for g in range(GENES)] for k in range(first, first + CELLS)], float)
    kinds = ["T cells", "B cell", "mystery", "unknown"]
    obs = pd.DataFrame(
        {
            "kind": [kinds[k % 4] for k in range(CELLS)],
            "patient": [f"p{k % 3}" if k % 5 else None for k in range(CELLS)],
            "score": np.arange(CELLS) / 2,
            "n_counts": 7,
        },
        index=[f"bc{k}" for k in range(first, first + CELLS)],
    )
    var = pd.DataFrame(index=features or ["G5", "G4", "novel", "G2", "ENSG1.7", "G0"])
    return anndata.AnnData(csr_matrix(x), obs=obs, var=var)


def written(folder: Path, data: anndata.AnnData, name: str = "study.h5ad") -> Path:
    data.write_h5ad(folder / name)
    return folder / name


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*.parquet")}


# --------------------------------------------------------------------------- one file


def test_every_count_lands_on_its_cell_and_gene(genes: Graph, store: AbundanceStore, tmp_path: Path) -> None:
    ledger = add(written(tmp_path, adata()), genes, store, mapping=MAPPING)
    total = sum(count(k, g) for k in range(CELLS) for g in range(GENES))
    assert (ledger.counts_file, ledger.counts_stored) == (total, total)
    assert (ledger.cells, ledger.genes_mapped, ledger.own_axis_row, ledger.ambiguous) == (CELLS, 5, 1, 0)
    assert not ledger.already_present
    with AbundanceReader.open(store) as reader:
        columns = reader.axis_columns([f"HGNC:{n}" for n in range(10, 16)])
        assert sorted(columns) == ["HGNC:10", "HGNC:11", "HGNC:12", "HGNC:14", "HGNC:15"]
        # Column of the file -> gene: G5, G4, novel, G2, ENSG1, G0.
        place = {"HGNC:15": 0, "HGNC:14": 1, "HGNC:12": 3, "HGNC:11": 4, "HGNC:10": 5}
        order = [7, 0, 10, 3]
        found = reader.csr([cell_id("study", f"bc{k}") for k in order], [columns[g] for g in place])
        assert found.toarray().tolist() == [[count(k, g) for g in place.values()] for k in order]
        (novel,) = (r["column"] for r in reader.axis.to_pylist() if r["feature"] == "novel")
        assert reader.csr([cell_id("study", "bc4")], [novel]).toarray().tolist() == [[402]]
    mapping = {row["feature"]: row for row in ledger.mapping.to_pylist()}
    assert mapping["ENSG1.7"]["gene_id"] == "HGNC:11"
    assert mapping["novel"]["rule"] == "no such gene"


def test_the_cells_table_has_terms_constants_and_the_other_columns(
    genes: Graph, store: AbundanceStore, tmp_path: Path
) -> None:
    add(written(tmp_path, adata()), genes, store, mapping=MAPPING, dataset="mine")
    with AbundanceReader.open(store) as reader:
        expand = term_expander(genes)
        table = reader.cells("true", expand)
        row = {r["barcode"]: r for r in table.to_pylist()}
        assert row["bc0"]["cell_type"] == "T cell"
        assert row["bc0"]["cell_type_raw"] == "T cells"
        assert row["bc0"]["cell_type_rule"] == "synonym"
        assert row["bc1"]["cell_type_id"] == "CL:3"
        assert row["bc2"]["cell_type"] == "unmapped"
        assert row["bc3"]["cell_type"] is None
        assert row["bc3"]["cell_type_raw"] == "unknown"
        assert row["bc4"]["donor"] == "p1"
        assert row["bc5"]["donor"] is None
        assert {r["assay"] for r in row.values()} == {"10x 3' v2"}
        assert {r["dataset"] for r in row.values()} == {"mine"}
        assert row["bc3"]["score"] == 1.5
        assert row["bc3"]["obs_n_counts"] == 7  # the file's own column of that name is kept beside ours
        assert row["bc3"]["n_counts"] == sum(count(3, g) for g in range(GENES))
        assert row["bc0"]["n_genes"] == GENES - 1
        assert "kind" not in table.column_names
        lymphocytes = reader.cells("cell_type = 'lymphocyte'", expand, ["barcode"])["barcode"].to_pylist()
        assert sorted(lymphocytes) == sorted(f"bc{k}" for k in range(CELLS) if k % 4 in (0, 1))


def test_cells_fill_blocks_sorted_by_what_they_are(
    genes: Graph, store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_blocks, "BLOCK_CELLS", 4)
    add(written(tmp_path, adata()), genes, store, mapping=MAPPING)
    with AbundanceReader.open(store) as reader:
        rows = reader.cells("true", term_expander(genes)).sort_by(
            [("block", "ascending"), ("cell", "ascending")]
        )
        assert [
            b for b, c in zip(rows["block"].to_pylist(), rows["cell"].to_pylist(), strict=True) if c == 0
        ] == [0, 1, 2]
        assert rows["cell_type"].to_pylist() == sorted(
            rows["cell_type"].to_pylist(), key=lambda v: (v is None, v)
        )
        columns = reader.axis_columns(["HGNC:12", "HGNC:10"])
        ids = [cell_id("study", f"bc{k}") for k in range(CELLS)]
        found = reader.csr(ids, [columns["HGNC:12"], columns["HGNC:10"]]).toarray().tolist()
        assert found == [[count(k, 3), count(k, 5)] for k in range(CELLS)]


def test_the_same_file_again_changes_nothing_and_says_so(
    genes: Graph, store: AbundanceStore, tmp_path: Path
) -> None:
    path = written(tmp_path, adata())
    add(path, genes, store, mapping=MAPPING)
    before, version = files(store.folder), store.version()
    for again in (path, written(tmp_path, adata(), "copy.h5ad")):
        ledger = add(again, genes, store, mapping=MAPPING)
        assert ledger.already_present
        assert ledger.dataset == "study"
    assert (files(store.folder), store.version()) == (before, version)


def test_a_second_file_shares_the_axis(genes: Graph, store: AbundanceStore, tmp_path: Path) -> None:
    add(written(tmp_path, adata()), genes, store, mapping=MAPPING)
    other = adata(["novel", "G0", "G1", "G3", "newer", "G5"], first=20)
    add(written(tmp_path, other, "other.h5ad"), genes, store, mapping=MAPPING)
    features = store.axis()["feature"].to_pylist()
    assert len(set(features)) == len(features) == 8
    with AbundanceReader.open(store) as reader:
        column = reader.axis_columns(["HGNC:10"])["HGNC:10"]
        ids = [cell_id("study", "bc3"), cell_id("other", "bc23")]
        assert reader.csr(ids, [column]).toarray().tolist() == [[count(3, 5)], [count(23, 1)]]


def test_several_processes_look_things_up_in_the_same_graph(
    genes: Graph, store: AbundanceStore, tmp_path: Path
) -> None:
    paths = [written(tmp_path, adata(first=20 * n), f"s{n}.h5ad") for n in range(2)]
    ledgers = list(add_files([*paths, paths[0]], genes, store, mapping=MAPPING, processes=2))
    assert [(x.dataset, x.cells, x.already_present) for x in ledgers] == [
        ("s0", CELLS, False),
        ("s1", CELLS, False),
        ("s0", CELLS, True),
    ]
    with AbundanceReader.open(store) as reader:
        found = reader.cells("cell_type = 'lymphocyte'", term_expander(genes), ["barcode", "dataset"])
    assert len(found) == 2 * sum(k % 4 in (0, 1) for k in range(CELLS))


def test_another_file_under_the_same_name_is_refused(
    genes: Graph, store: AbundanceStore, tmp_path: Path
) -> None:
    add(written(tmp_path, adata()), genes, store, mapping=MAPPING)
    with pytest.raises(CellsError, match=r"dataset 'study' with other cells.*--dataset NAME"):
        add(written(tmp_path, adata(first=50)), genes, store, mapping=MAPPING)


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        (ObsMapping({"cell_type": "kinds"}), "no obs column 'kinds' for cell_type. Nearest: 'kind'"),
        (ObsMapping({"age_years": "patient"}), "age_years is 'p1' for a cell"),
        (ObsMapping({"cell_type": "kind"}, terms={"cell_type": {"mystery": "CL:99"}}), "'mystery' is CL:99"),
    ],
)
def test_a_mapping_that_does_not_fit_leaves_nothing(
    genes: Graph, store: AbundanceStore, tmp_path: Path, mapping: ObsMapping, says: str
) -> None:
    with pytest.raises(CellsError) as refusal:
        add(written(tmp_path, adata()), genes, store, mapping=mapping)
    assert says in str(refusal.value)
    assert not files(store.folder)
    assert store.version() is None


def test_another_species_is_refused_unless_it_is_wanted(
    genes: Graph, store: AbundanceStore, tmp_path: Path
) -> None:
    path = written(tmp_path, adata([f"mouse{n}" for n in range(GENES)]))
    with pytest.raises(CellsError, match="only 0 of 6 features are genes"):
        add(path, genes, store, mapping=MAPPING)
    assert add(path, genes, store, mapping=MAPPING, allow_unmapped=True).own_axis_row == GENES


def test_a_sum_that_differs_is_refused(
    genes: Graph, store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ingest.blocks

    def loses_one(*arguments: Any) -> Any:
        for gene, cell, value in honest(*arguments):
            yield gene[1:], cell[1:], value[1:]

    monkeypatch.setattr(ingest, "blocks", loses_one)
    with pytest.raises(CellsError, match="Nothing was added"):
        add(written(tmp_path, adata()), genes, store, mapping=MAPPING)
    assert store.version() is None
    assert not files(store.folder)


def test_ctrl_c_while_writing_leaves_nothing(genes: Graph, store: AbundanceStore, tmp_path: Path) -> None:
    def press(description: str, done: int, _: int | None) -> None:
        if description == "Writing cells":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(written(tmp_path, adata()), genes, store, mapping=MAPPING, progress=press)
    assert not files(store.folder)
    assert add(written(tmp_path, adata()), genes, store, mapping=MAPPING).cells == CELLS


# --------------------------------------------------------------------------- mapping files


def test_a_mapping_file_and_options_come_together(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "cell_type: {column: kind, terms: {mystery: CL:2}}\nassay: {value: Smart-seq2}\ndonor: {column: sample}\n"
    )
    mapping = read_mapping(path, {"donor": "patient"}, {"sex": "female"})
    assert mapping == ObsMapping(
        {"cell_type": "kind", "donor": "patient"},
        {"assay": "Smart-seq2", "sex": "female"},
        {"cell_type": {"mystery": "CL:2"}},
    )


def test_a_missing_mapping_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CellsError, match=r"nowhere.yaml cannot be read"):
        read_mapping(tmp_path / "nowhere.yaml")


# --------------------------------------------------------------------------- real files


def test_the_bundled_blood_cells_are_reconstructed_exactly(
    demo_graph: Graph, store: AbundanceStore, shared_data: Path
) -> None:
    ledger = add_scanpy_pbmc(demo_graph, store)
    assert (ledger.cells, ledger.genes_mapped, ledger.own_axis_row) == (700, 754, 11)
    assert ledger.counts_file == ledger.counts_stored
    assert "reconstructed" in store.datasets()["note"][0].as_py()
    # Somebody else reconstructed the same counts.
    other = read_quietly(shared_data / "cells" / "pbmc68k_reduced_counts_reconstructed.h5ad")
    column = {r["feature"]: r["axis_column"] for r in ledger.mapping.to_pylist()}
    with AbundanceReader.open(store) as reader:
        ids = [cell_id("pbmc68k_reduced", barcode) for barcode in other.obs_names]
        found = reader.csr(ids, [column[feature] for feature in other.var_names])
    assert (found.toarray() == other.X.toarray()).all()


def read_quietly(path: Path) -> anndata.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the files are of older layouts
        return anndata.read_h5ad(path)


REAL = [  # file, obs mapping; features mapped, on a row of their own, of these ambiguous
    ("celltypist_sample.h5ad", {}, 21_154, 11_632, 10),
    ("pbmc3k.h5ad", {}, 12_414, 1_300, 5),
    ("scvi_pbmc_5k.h5ad", {}, 14_219, 2_362, 2),
    ("soupx_pbmc.h5ad", {"cell_type": "Annotation"}, 22_417, 11_277, 4),
]


@pytest.mark.parametrize(("name", "columns", "mapped", "own", "ambiguous"), REAL, ids=[r[0] for r in REAL])
def test_real_files_are_stored_count_by_count(
    demo_graph: Graph,
    store: AbundanceStore,
    shared_data: Path,
    name: str,
    columns: dict[str, str],
    mapped: int,
    own: int,
    ambiguous: int,
) -> None:
    path = shared_data / "cells" / name
    ledger = add(path, demo_graph, store, mapping=ObsMapping(columns))
    data = read_quietly(path)
    expected = csr_matrix(data.X)
    assert (ledger.genes_mapped, ledger.own_axis_row, ledger.ambiguous) == (mapped, own, ambiguous)
    assert ledger.counts_stored == ledger.counts_file == int(expected.sum(dtype="float64"))
    column = {r["feature"]: r["axis_column"] for r in ledger.mapping.to_pylist()}
    assert len(set(column.values())) == data.n_vars
    sample = np.random.default_rng(0).choice(data.n_obs, 50, replace=False)
    with AbundanceReader.open(store) as reader:
        ids = [cell_id(path.stem, data.obs_names[k]) for k in sample]
        found = reader.csr(ids, [column[f] for f in data.var_names])
        assert (found != expected[sample]).nnz == 0
        cells = reader.cells("true", term_expander(demo_graph), ["barcode", "n_counts"])
    sums = dict(
        zip(data.obs_names, np.asarray(expected.sum(axis=1)).ravel().astype(int).tolist(), strict=True)
    )
    assert dict(zip(cells["barcode"].to_pylist(), cells["n_counts"].to_pylist(), strict=True)) == sums


def test_antibodies_of_a_real_file_are_proteins_of_the_graph(
    demo_graph: Graph, store: AbundanceStore, shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "cells" / "scvi_pbmc_5k.h5ad"
    (found,) = (add(path, demo_graph, store, mapping=ObsMapping(constants={"cell_type": "T cell"})).proteins,)
    assert found
    assert (found.cells, found.mapped, found.ambiguous, found.controls) == (200, 23, 5, 0)
    held = read_quietly(path).obsm["protein_expression"]
    assert found.counts == held.sum()
    protein = dict(zip(*(found.mapping[name].to_pylist() for name in ("feature", "protein_id")), strict=True))
    assert protein["CD4_TotalSeqB"] == "UniProtKB:P01730"
    picked = select(
        demo_graph, "MATCH (g:Gene)-[e:ENCODES]->(p:Protein) WHERE g.symbol IN ['CD4', 'CD8A'] RETURN g, e, p"
    )
    made = export(
        picked, demo_graph, store, cells="true", label="cell_type", out=tmp_path / "bundle", proteins=True
    )
    names = list(protein)
    both = [names.index("CD4_TotalSeqB"), names.index("CD8a_TotalSeqB")]
    assert made.content["proteins"]["count"] == 2
    assert made.content["proteins"]["total_counts"] == held[:, both].sum()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("oligodendroglioma.h5ad", "does not hold raw counts: cell "),
        ("scanpy_10x_10k_subset.h5ad", "of 1,000 features are genes of the graph (first unknown: 'Xkr4')"),
    ],
    ids=["estimated counts", "mouse"],
)
def test_real_files_that_are_no_human_counts_are_refused(
    demo_graph: Graph, store: AbundanceStore, shared_data: Path, name: str, says: str
) -> None:
    with pytest.raises(CellsError) as refusal:
        add(shared_data / "cells" / name, demo_graph, store, mapping=ObsMapping())
    assert says in str(refusal.value)
    assert store.version() is None


def test_two_adds_of_the_same_cells_give_the_same_rows(demo_graph: Graph, tmp_path: Path) -> None:
    tables: list[pa.Table] = []
    for name in ("a", "b"):
        store = AbundanceStore.open(tmp_path / name)
        add_scanpy_pbmc(demo_graph, store)
        version = store.version()
        assert version
        tables.append(pa.concat_tables([store.log.table("counts", version.counts).to_pyarrow_table()]))
    assert tables[0].equals(tables[1])
