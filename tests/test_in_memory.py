"""PyG's InMemoryDataset out of a bundle: the same graphs as `TosgDataset`, with what programs for PyG do to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy_bundle as toy

from tosg_graph.dataset import TosgDataset  # isort: skip  # quiets a warning of PyG while it is imported
from torch_geometric.loader import DataLoader

from tosg_graph.errors import BundleError
from tosg_graph.export import write_bundle
from tosg_graph.in_memory import TosgInMemoryDataset

GOLDEN = Path(__file__).parent / "golden" / "v1" / "bundle"


@pytest.mark.parametrize("layer", ["counts", "cp10k", "log1p"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_each_graph_is_that_of_the_dataset(split: str, layer: str) -> None:
    wanted = TosgDataset(GOLDEN, split=split, layer=layer)  # type: ignore[arg-type]  # a layer
    found = TosgInMemoryDataset(GOLDEN, split, layer)  # type: ignore[arg-type]
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, (wanted[row] for row in range(len(wanted))), strict=True):
        for name in ("x", "edge_index", "y", "row"):
            assert torch.equal(one[name], other[name])
            assert one[name].dtype == other[name].dtype
        assert torch.equal(one.edge_type, wanted.edge_type)
    assert found.num_classes == wanted.num_classes
    assert found.num_node_features == 1


def test_counts_say_which_cell_and_gene_they_are_of() -> None:
    cells = TosgDataset(GOLDEN).cells["cell_id"].to_pylist()
    for data, cell in zip(TosgInMemoryDataset(GOLDEN, layer="counts"), cells, strict=True):
        k = int(cell.split("-")[1])
        wanted = [float(toy.count(k, toy.AXIS_COLUMN[g])) if g in toy.AXIS_COLUMN else 0.0 for g in toy.GENES]
        assert data.x[:, 0].tolist() == [*wanted, 0.0, 0.0, 0.0]


def test_all_graphs_share_one_topology() -> None:
    found = TosgInMemoryDataset(GOLDEN)
    assert len({data.edge_index.data_ptr() for data in found}) == 1
    assert torch.equal(found.edge_index, TosgDataset(GOLDEN).edge_index)
    assert found.y.shape == (len(found),)


def test_what_pyg_does_to_datasets_works() -> None:
    found = TosgInMemoryDataset(GOLDEN, transform=lambda data: data.update({"twice": 2 * data.x}))
    batch = next(iter(DataLoader(found, batch_size=4)))
    wanted = next(TosgDataset(GOLDEN, mode="data", layer="log1p").batches(4))
    for name in ("x", "edge_index", "y", "row", "batch", "ptr"):
        assert torch.equal(batch[name], wanted[name]), name
    assert torch.equal(batch.twice, 2 * wanted.x)
    assert [data.row.item() for data in found[[3, 1]]] == [3, 1]
    assert sorted(data.row.item() for data in found.shuffle()) == list(range(len(found)))
    copied = found.copy([2, 0])
    for data, row in zip(copied, (2, 0), strict=True):
        assert torch.equal(data.x, found[row].x)
        assert torch.equal(data.edge_index, found.edge_index)


def test_moving_takes_the_topology_along() -> None:
    moved = TosgInMemoryDataset(GOLDEN).to("meta")  # a device without numbers: every machine has it
    assert {tensor.device.type for tensor in moved[0].to_dict().values()} == {"meta"}


def test_a_bundle_that_is_too_large_is_refused() -> None:
    cells = len(TosgDataset(GOLDEN))
    assert len(TosgInMemoryDataset(GOLDEN, most_bytes=4 * cells * 7)) == cells
    with pytest.raises(
        BundleError, match=rf"needs {4 * cells * 7} bytes in memory, {cells} cells of 7 nodes"
    ):
        TosgInMemoryDataset(GOLDEN, most_bytes=4 * cells * 7 - 1)


def test_an_empty_split_is_an_empty_dataset(tmp_path: Path) -> None:
    few = toy.measured(cells=toy.cells().slice(0, 3))  # one donor: all in train
    write_bundle(toy.selection(), few, cohort="true", label="cell_type", out=tmp_path / "b")
    sizes = {s: len(TosgInMemoryDataset(tmp_path / "b", s)) for s in ("train", "val", "test")}
    assert sum(sizes.values()) == 3
    assert 0 in sizes.values()
