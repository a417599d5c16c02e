"""Tensors out of a bundle: the right numbers, the same in all modes, and a clear word about damage."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import toy_bundle as toy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor

from tosg_graph import bundle
from tosg_graph.dataset import TosgDataset
from tosg_graph.errors import BundleError
from tosg_graph.export import write_bundle
from tosg_graph.features import Feature
from tosg_graph.resources import schema

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyG scripts functions when imported, which newer torch calls deprecated
    from torch_geometric.data import Batch
    from torch_geometric.nn import GCNConv, SAGEConv

GOLDEN = Path(__file__).parent / "golden" / "v1" / "bundle"
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)  # several shards per split
        write_bundle(toy.selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def expected(k: int, layer: str) -> list[float]:
    """Abundance of the seven toy nodes in cell ``k``."""
    total = sum(toy.count(k, column) for column in range(5))
    row = []
    for node in [*toy.GENES, "pathway", "protein", "protein"]:
        value = float(toy.count(k, toy.AXIS_COLUMN[node])) if node in toy.AXIS_COLUMN else 0.0
        value = value if layer == "counts" else value * 10_000 / total
        row.append(float(np.log1p(value)) if layer == "log1p" else value)
    return row


def number(cell: dict[str, Any]) -> int:
    return int(cell["cell_id"].split("-")[1])


# --------------------------------------------------------------------------- the right numbers


@pytest.mark.parametrize("layer", ["counts", "cp10k", "log1p"])
def test_each_layer_lands_on_the_right_node_and_cell(folder: Path, layer: Any) -> None:
    seen = []
    for split in SPLITS:
        for x, cell in TosgDataset(folder, split=split, layer=layer).iter_cells():
            assert x.shape == (7, 1)
            assert x.dtype == torch.float32
            torch.testing.assert_close(x[:, 0], torch.tensor(expected(number(cell), layer)))
            assert cell["split"] == split
            seen.append(number(cell))
    assert sorted(seen) == list(range(10))


COUNT = st.integers(0, 3) | st.integers(0, 2**31 - 1)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(COUNT, min_size=5, max_size=5), min_size=4, max_size=20), st.integers(1, 9))
def test_any_counts_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[list[int]],
    shard: int,
) -> None:
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", shard)
    monkeypatch.setattr("os.fsync", lambda number: None)
    size, matrix = len(rows), np.array(rows, np.int64)
    columns: dict[str, Any] = {
        "cell_id": [toy.cell_id(k) for k in range(size)],
        "dataset": ["toy"] * size,
        "barcode": [f"BC{k}" for k in range(size)],
        "donor": [f"donor{k // 2}" for k in range(size)],
        "cell_type": ["T cell", "B cell"] * (size // 2) + ["T cell"] * (size % 2),
        "n_counts": matrix.sum(axis=1),
    }
    measured = toy.measured(
        cells=pa.table(columns),
        counts=lambda ids, axis: csr_array(matrix[np.ix_([int(c[5:]) for c in ids], axis)].astype(np.int32)),
    )
    out = tmp_path_factory.mktemp("any") / "b"
    write_bundle(toy.selection(), measured, cohort="true", label="cell_type", out=out)
    picked = [toy.AXIS_COLUMN[gene] for gene in bundle.read_table(out / bundle.GENES)["gene_id"].to_pylist()]
    seen = []
    for split in SPLITS:
        data = TosgDataset(out, split=split)
        numbers = [int(c[5:]) for c in data.cells["cell_id"].to_pylist()]
        raw = data.counts.take(np.arange(len(data)))
        assert raw.matrix.toarray().tolist() == matrix[np.ix_(numbers, picked)].tolist()
        assert raw.totals.tolist() == matrix[numbers].sum(axis=1).tolist()
        seen += numbers
    assert sorted(seen) == list(range(size))


def test_the_topology_is_that_of_the_selection(folder: Path) -> None:
    data = TosgDataset(folder)
    assert data.edge_types == [("Gene", "ENCODES", "Protein"), ("Gene", "SIGNALS_TO", "Gene")]
    assert data.edge_index.tolist() == [[0, 1, 0, 0, 1, 3], [5, 6, 1, 1, 0, 3]]
    assert data.edge_type.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.node_offsets == {"Gene": (0, 4), "Pathway": (4, 5), "Protein": (5, 7)}
    assert data.node_mask.tolist() == [True, True, False, True, False, False, False]
    assert data.text.shape == (7, 4)
    assert data.text[1].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert data.text_mask.tolist() == [True] * 6 + [False]
    assert data.classes == ["B cell", "T cell"]
    assert data.num_classes == 2
    sign = data.edge_attribute(("Gene", "SIGNALS_TO", "Gene"), "sign")
    assert sign[[0, 1, 3]].tolist() == [1.0, -1.0, 1.0]
    assert sign[2].isnan()


def test_labels_belong_to_their_cells(folder: Path) -> None:
    data = TosgDataset(folder)
    for batch in data.batches(3, shuffle=True, seed=1):
        for y, row, x in zip(batch.y.tolist(), batch.rows.tolist(), batch.x, strict=True):
            cell = data.cells.slice(row, 1).to_pylist()[0]
            assert data.classes[y] == cell["label"] == ["T cell", "B cell"][number(cell) % 2]
            assert x[:, 0].tolist() == expected(number(cell), "counts")


def test_batches_cover_all_cells_once_in_a_seeded_order(folder: Path) -> None:
    data = TosgDataset(folder)
    size = len(data)
    plain = torch.cat([b.rows for b in data.batches(4)])
    assert plain.tolist() == list(range(size))
    one, again, other = (
        torch.cat([b.rows for b in data.batches(2, shuffle=True, seed=s)]).tolist() for s in (1, 1, 2)
    )
    assert one == again
    assert sorted(one) == sorted(other) == list(range(size))
    assert one != other
    assert [len(b.y) for b in data.batches(size - 1)] == [size - 1, 1]


def test_the_node_major_view_is_the_transpose(folder: Path) -> None:
    batch = next(TosgDataset(folder).batches(3))
    assert batch.node_major.is_contiguous()
    assert torch.equal(batch.node_major[:, 1], batch.x[1])


def test_hetero_data_has_one_mapping_to_the_node_numbers(folder: Path) -> None:
    data = TosgDataset(folder)
    hetero = data.hetero(0)
    whole = data[0]
    for type_ in data.node_types:
        rows = hetero[type_].node_row
        assert torch.equal(hetero[type_].x, whole.x[rows])
        assert torch.equal(hetero[type_].mask, data.node_mask[rows])
    back = [
        torch.stack([hetero[key[0]].node_row[edges[0]], hetero[key[2]].node_row[edges[1]]])
        for key in data.edge_types
        for edges in [hetero[key].edge_index]
    ]
    assert torch.equal(torch.cat(back, dim=1), data.edge_index)


# --------------------------------------------------------------------------- three modes


@pytest.mark.parametrize("size", [1, 2, 4, 64], ids=lambda n: f"batches of {n}")
@pytest.mark.parametrize("conv", [GCNConv, SAGEConv], ids=lambda c: c.__name__)
def test_the_three_modes_give_equal_results(folder: Path, conv: Any, size: int) -> None:
    shared, block, single = (
        TosgDataset(folder, mode=m, layer="log1p") for m in ("shared", "block_diagonal", "data")
    )  # type: ignore[arg-type]  # each is a mode
    torch.manual_seed(0)
    layer = conv(1, 5)
    modes = zip(*(d.batches(size, shuffle=True, seed=3) for d in (shared, block, single)), strict=True)
    for a, b, c in modes:
        count = len(a.y)
        assert torch.equal(a.x.reshape(-1, 1), b.x)
        assert torch.equal(b.x, c.x)
        assert torch.equal(b.edge_index, c.edge_index)
        assert torch.equal(b.batch, c.batch)
        assert torch.equal(b.ptr, c.ptr)
        assert a.y.tolist() == b.y.tolist() == c.y.tolist()
        assert a.rows.tolist() == b.row.tolist() == c.row.tolist()
        with torch.no_grad():
            out: list[Tensor] = [
                layer(a.x, shared.edge_index).reshape(count * 7, 5),
                layer(b.x, b.edge_index),
                layer(c.x, c.edge_index),
            ]
        torch.testing.assert_close(out[0], out[1], atol=1e-6, rtol=0)
        torch.testing.assert_close(out[1], out[2], atol=1e-6, rtol=0)


def test_the_block_diagonal_index_is_built_once_per_batch_size(folder: Path) -> None:
    data = TosgDataset(folder, mode="block_diagonal")
    first, second = (next(data.batches(2)) for _ in range(2))
    assert first.edge_index.data_ptr() == second.edge_index.data_ptr()
    assert isinstance(first, Batch)


def test_data_objects_work_in_a_loader_of_pyg(folder: Path) -> None:
    from torch_geometric.loader import DataLoader

    data = TosgDataset(folder, mode="data")
    found = torch.cat([b.row for b in DataLoader(data, batch_size=3)])
    assert found.tolist() == list(range(len(data)))


# --------------------------------------------------------------------------- damage


def test_features_come_back_as_they_were_given(tmp_path: Path) -> None:
    # The value of node i in column d is 10 * i + d; node 2 has none.
    grid = np.add.outer(10 * np.arange(7), np.arange(3)).astype(np.float32)
    mask = np.arange(7) != 2
    grid[2] = 0
    one = Feature(np.full((7, 1), 0.5, np.float32), np.ones(7, np.bool_))
    given = toy.measured(features={"fastrp": Feature(grid, mask), "pagerank": one})
    out = tmp_path / "b"
    write_bundle(toy.selection(), given, cohort="true", label="cell_type", out=out, seed=7)
    found = TosgDataset(out)
    assert found.manifest["features"] == {"fastrp": 3, "pagerank": 1}
    assert set(found.manifest["files"]) - set(TosgDataset(GOLDEN).manifest["files"]) >= {
        "features.safetensors"
    }
    assert found.features["fastrp"].numpy().tolist() == grid.tolist()
    assert found.feature_masks["fastrp"].tolist() == mask.tolist()
    assert found.features["pagerank"].dtype == torch.float32
    assert (out / "nodes.parquet").read_bytes() == (GOLDEN / "nodes.parquet").read_bytes()
    (out / "features.safetensors").unlink()
    with pytest.raises(BundleError, match=r"features\.safetensors is missing"):
        TosgDataset(out)


def test_a_bundle_without_features_says_so_with_an_empty_dict(folder: Path) -> None:
    assert TosgDataset(folder).features == {}
    assert TosgDataset(folder).feature_masks == {}
    assert not (folder / "features.safetensors").exists()


def test_the_golden_bundle_of_version_1_can_be_read() -> None:
    manifest = bundle.read_manifest(GOLDEN)
    bundle.verify(GOLDEN, manifest)
    assert manifest["format_version"] == 1
    seen = 0
    for split in SPLITS:
        for x, cell in TosgDataset(GOLDEN, split=split).iter_cells():
            assert x[:, 0].tolist() == expected(number(cell), "counts")
            seen += 1
    assert seen == 10
    assert TosgDataset(GOLDEN).edge_index.tolist() == [[0, 1, 0, 0, 1, 3], [5, 6, 1, 1, 0, 3]]


def read_all(folder: Path, **options: Any) -> None:
    for split in SPLITS:
        data = TosgDataset(folder, split=split, **options)
        _ = data.text, data.edge_index, list(data.batches(4))


def listed(folder: Path) -> list[str]:
    skipped = {"diagnostics.json", "diagnostics.html"}  # for people; the tensors do not need them
    return [
        n for n in bundle.read_manifest(folder)["files"] if n not in skipped and not n.startswith("edges/")
    ]


def test_one_changed_byte_in_any_file_is_named(copy: Path) -> None:
    for name in listed(copy):
        path = copy / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(BundleError, match=f"{path.name} was changed"):
            read_all(copy)
        path.write_bytes(content)
    read_all(copy)


@pytest.mark.parametrize("verify", [True, False], ids=["checksums", "no checksums"])
def test_a_truncated_or_missing_file_is_named(copy: Path, verify: bool) -> None:
    for name in listed(copy):
        path = copy / name
        content = path.read_bytes()
        for kept in (0, 7, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:kept])
            with pytest.raises(BundleError, match=path.name) as error:
                read_all(copy, verify=verify)
            assert "\n" not in str(error.value)
        path.unlink()
        with pytest.raises(BundleError, match=f"{path.name} is missing"):
            read_all(copy, verify=verify)
        path.write_bytes(content)


def change(folder: Path, **keys: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format_version": 2}, "has format version 2, this program reads 1. Upgrade"),
        ({"format_version": None}, "names no format version"),
        ({"files": {"../../etc/passwd": ""}}, "which is not a file of a bundle"),
    ],
    ids=["newer format", "no format", "path outside"],
)
def test_a_manifest_that_cannot_be_trusted_is_refused(copy: Path, keys: Any, message: str) -> None:
    change(copy, **keys)
    with pytest.raises(BundleError, match=message):
        TosgDataset(copy)


def test_a_manifest_that_is_no_json_is_refused(copy: Path) -> None:
    (copy / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        TosgDataset(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is no bundle"):
        TosgDataset(tmp_path)


@pytest.mark.parametrize("keys", [{"split": "Train"}, {"mode": "x"}, {"layer": "tpm"}], ids=str)
def test_unknown_options_are_refused(folder: Path, keys: Any) -> None:
    with pytest.raises(BundleError, match=r"is unknown; choose"):
        TosgDataset(folder, **keys)


# --------------------------------------------------------------------------- the documented reader


def documented_reader() -> str:
    page = Path(__file__).parent.parent / "docs" / "bundle-format.md"
    return page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def test_the_documented_reader_agrees_with_the_dataset(folder: Path) -> None:
    names: dict[str, Any] = {"__name__": "reader"}
    exec(documented_reader(), names)
    for split in SPLITS:
        x, y, edges, nodes = names["read_bundle"](folder, split)
        data = TosgDataset(folder, split=split, layer="log1p")
        whole = data.take(range(len(data)))
        torch.testing.assert_close(torch.from_numpy(x), whole.x[..., 0])
        assert y.tolist() == whole.y.tolist()
        assert np.concatenate(list(edges.values()), axis=1).tolist() == data.edge_index.tolist()
        assert nodes.equals(data.nodes)


def test_the_documented_reader_runs_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(documented_reader())
    done = subprocess.run(
        [sys.executable, "reader.py", str(folder)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.endswith("7 nodes, 6 edges\n"), done.stderr
    assert "tosg_graph" not in documented_reader()


def test_every_manifest_key_and_file_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    contract = schema("bundle")
    tensors = [name.split(".")[-1] for group in contract["tensors"].values() for name in group]
    for name in [*contract["manifest"], *contract["files"].values(), *tensors]:
        assert name in page, name
