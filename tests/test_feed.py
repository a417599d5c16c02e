"""Batches for training: every cell once, as many on every rank, the same after a stop and however they are made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy_bundle as toy
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tosg_graph.dataset import TosgDataset
from tosg_graph.dense import Layers, compress, dense, dense_on_device
from tosg_graph.errors import BundleError, FeedError
from tosg_graph.export import write_bundle
from tosg_graph.feed_order import Order
from tosg_graph.raw_rows import RawRows

LAYERS = ("counts", "cp10k", "log1p")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("feed") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)  # several shards per split
        write_bundle(toy.selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)
    return out


def rows_of(batches: Any) -> list[list[int]]:
    return [b.rows.tolist() for b in batches]


# --------------------------------------------------------------------------- the order


def rows_in(order: Order, cells: int, epoch: int, first: int = 0) -> list[list[int]]:
    """Rows of each batch of an epoch, as a feed cuts them."""
    starts = np.arange(0, cells, order.block_cells)
    blocks = np.stack([starts, np.minimum(starts + order.block_cells, cells)], axis=1)
    found = []
    for pool in order.pools(blocks, epoch, first):
        rows = pool.places()[pool.order]
        found += [rows[i : i + order.batch_size].tolist() for i in range(0, len(rows), order.batch_size)]
    return found


ORDERS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 9),
        "shuffle": st.booleans(),
        "seed": st.integers(0, 5),
        "world_size": st.integers(1, 4),
        "uneven": st.sampled_from(["drop", "repeat"]),
        "drop_last": st.booleans(),
        "pool_cells": st.integers(1, 40),
        "block_cells": st.integers(1, 12),
    }
)


@given(ORDERS, st.integers(4, 70), st.integers(0, 3), st.data())
def test_any_way_to_deal_out_cells_is_fair_and_can_be_gone_on_with(
    arguments: dict[str, Any], cells: int, epoch: int, data: st.DataObject
) -> None:
    seen: list[int] = []
    world = arguments["world_size"]
    for rank in range(world):
        order = Order(**arguments, rank=rank)
        batches = rows_in(order, cells, epoch)
        assert len(batches) == order.batches(cells)
        assert all(len(b) == order.batch_size for b in batches[:-1])
        first = data.draw(st.integers(0, len(batches)))
        assert rows_in(order, cells, epoch, first) == batches[first:]
        seen += [row for b in batches for row in b]
    assert set(seen) <= set(range(cells))
    if arguments["drop_last"]:
        return
    if arguments["uneven"] == "repeat":
        assert set(seen) == set(range(cells))
        assert len(seen) == world * -(-cells // world)
    else:
        assert len(seen) == len(set(seen)) == cells // world * world


def test_an_epoch_without_shuffling_is_in_order() -> None:
    order = Order(4, shuffle=False, pool_cells=8, block_cells=3)
    assert rows_in(order, 10, 5) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def flat(seed: int, epoch: int) -> list[int]:
        return [r for b in rows_in(Order(4, seed=seed, pool_cells=16, block_cells=4), 100, epoch) for r in b]

    assert flat(1, 0) == flat(1, 0)
    assert len({tuple(flat(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_cells_that_cannot_be_dealt_out_are_others_in_another_epoch() -> None:
    left_out = set()
    for epoch in range(20):
        seen = {
            r
            for rank in (0, 1)
            for b in rows_in(Order(2, rank=rank, world_size=2, block_cells=2), 7, epoch)
            for r in b
        }
        left_out |= set(range(7)) - seen
    assert len(left_out) > 1


def test_cells_of_distant_blocks_meet_in_a_batch() -> None:
    batches = rows_in(Order(32, pool_cells=512, block_cells=16), 4096, 0)
    # In a random batch of 32 out of 4096 the mean distance from lowest to highest is 31/33 of all.
    spread = np.mean([max(b) - min(b) for b in batches])
    assert spread > 0.8 * 4096 * 31 / 33


# --------------------------------------------------------------------------- batches


@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_holds_the_cells_that_it_names(folder: Path, layer: Any) -> None:
    data = TosgDataset(folder, layer=layer)
    seen = []
    for batch in data.feed(2, seed=3, block_cells=1, pool_cells=4):
        expected = data.take(batch.rows.numpy())
        assert torch.equal(batch.x, expected.x)
        assert torch.equal(batch.y, expected.y)
        seen += batch.rows.tolist()
    assert sorted(seen) == list(range(len(data)))


@pytest.mark.parametrize(
    "how",
    [{"ahead": 0}, {"ahead": 5}, {"reuse": True}, {"workers": 2}, {"device": "cpu"}],
    ids=lambda h: "{}={}".format(*next(iter(h.items()))),
)
def test_the_batches_are_the_same_however_they_are_prepared(folder: Path, how: dict[str, Any]) -> None:
    data = TosgDataset(folder, layer="log1p")
    plain = [(b.rows.tolist(), b.x.clone()) for b in data.feed(2, pool_cells=2, block_cells=1)]
    other = [(b.rows.tolist(), b.x.clone()) for b in data.feed(2, pool_cells=2, block_cells=1, **how)]
    assert [rows for rows, _ in other] == [rows for rows, _ in plain]
    for (_, x), (_, expected) in zip(other, plain, strict=True):
        assert torch.equal(x, expected)


def test_each_iteration_is_another_epoch(folder: Path) -> None:
    feed = TosgDataset(folder).feed(1, block_cells=1)
    orders = []
    for epoch in range(4):
        assert feed.epoch == epoch
        orders.append(rows_of(feed))
    assert len({str(o) for o in orders}) > 1
    feed.set_epoch(1)
    assert rows_of(feed) == orders[1]


@pytest.mark.parametrize("given_first", [0, 1, 2, 4, 5])
def test_a_state_goes_on_after_the_batch_that_was_given_last(folder: Path, given_first: int) -> None:
    def feed() -> Any:
        return TosgDataset(folder).feed(2, seed=5, block_cells=1, pool_cells=2)

    whole = feed()
    expected = rows_of(whole) + rows_of(whole)
    stopped = feed()
    batches = iter(stopped)
    got = [next(batches).rows.tolist() for _ in range(min(given_first, len(stopped)))]
    got += [b.rows.tolist() for b in batches] if given_first > len(stopped) else []
    again = feed()
    again.load_state_dict(stopped.state_dict())
    rest = rows_of(again)
    rest += rows_of(again) if len(got) + len(rest) < len(expected) else []
    assert got + rest == expected


def test_a_state_of_another_feed_is_refused(folder: Path) -> None:
    data = TosgDataset(folder)
    state = data.feed(2, seed=1).state_dict()
    with pytest.raises(FeedError, match=r"seed=1, this one has 2"):
        data.feed(2, seed=2).load_state_dict(state)
    with pytest.raises(FeedError, match=r"has no .batch."):
        data.feed(2).load_state_dict({})


def test_ranks_share_the_cells_and_have_as_many_batches(folder: Path) -> None:
    data = TosgDataset(folder)
    feeds = [data.feed(1, rank=r, world_size=3, block_cells=1) for r in range(3)]
    parts = [[row for rows in rows_of(f) for row in rows] for f in feeds]
    assert len({len(p) for p in parts}) == 1
    assert len({row for p in parts for row in p}) == len(data) // 3 * 3
    evaluation = [data.feed(1, shuffle=False, rank=r, world_size=3) for r in range(3)]
    assert {row for f in evaluation for rows in rows_of(f) for row in rows} == set(range(len(data)))


@pytest.mark.parametrize("mode", ["block_diagonal", "data"])
def test_a_feed_gives_what_the_mode_says(folder: Path, mode: Any) -> None:
    data = TosgDataset(folder, mode=mode, layer="log1p")
    batch = next(iter(data.feed(3)))
    cells = data.take(batch.row.numpy())
    assert torch.equal(batch.x.view(3, -1, 1), cells.x)
    assert batch.edge_index.shape[1] == 3 * data.edge_index.shape[1]
    assert torch.equal(batch.y, cells.y)


def test_an_error_while_batches_are_prepared_reaches_the_one_who_asks(folder: Path, tmp_path: Path) -> None:
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    shard = sorted((damaged / "abundance").glob("train-*"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    feed = TosgDataset(damaged).feed(1, shuffle=False, pool_cells=1)
    batches = iter(feed)
    assert next(batches).rows.tolist() == [0]
    with pytest.raises(BundleError, match=rf"{shard.name} was changed"):
        list(batches)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is below 1"),
        ({"batch_size": 1, "pool_cells": 0}, "pool_cells=0 is below 1"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "rank=2 is not between 0 and world_size - 1 = 1"),
        ({"batch_size": 1, "uneven": "guess"}, "uneven='guess' is unknown; choose drop, repeat"),
        ({"batch_size": 1, "seed": -1}, "seed=-1 is below 0"),
        ({"batch_size": 1, "ahead": -1}, "ahead=-1 and workers=0 cannot be below 0"),
        ({"batch_size": 1, "device": "nowhere"}, "device='nowhere' is no device of PyTorch"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, dict) else "",
)
def test_what_cannot_be_fed_is_refused(folder: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FeedError, match=message):
        TosgDataset(folder).feed(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(FeedError, match=r"PyTorch finds no GPU here\. Use device=.cpu"):
        TosgDataset(folder).feed(1, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("layer", LAYERS)
def test_a_gpu_is_fed_what_the_processor_is(folder: Path, layer: Any) -> None:
    data = TosgDataset(folder, layer=layer)
    here, there = (list(data.feed(2, pool_cells=4, block_cells=1, device=at)) for at in ("cpu", "cuda"))
    assert rows_of(here) == rows_of(there)
    for a, b in zip(here, there, strict=True):
        assert b.x.device.type == "cuda"
        assert a.y.tolist() == b.y.tolist()
        torch.testing.assert_close(b.x.cpu(), a.x, rtol=1e-6, atol=1e-6)


# --------------------------------------------------------------------------- dense


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(LAYERS),
    st.sampled_from(["counts", "clr"]),
    st.sampled_from([200, 30_000, 100_000]),
)
def test_rows_made_dense_are_the_layers_on_their_nodes(
    seed: int, layer: str, of_proteins: str, largest: int
) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, largest, (5, 9)) * (random.random((5, 9)) < 0.5)  # the last two are proteins
    totals, scales = counts[:, :7].sum(axis=1) + 3, 1 + random.random(5)
    nodes = random.permutation(13)[:9]
    expected = np.zeros((5, 13))
    scaled = counts[:, :7] if layer == "counts" else counts[:, :7] * 10_000 / totals[:, None]
    expected[:, nodes[:7]] = np.log1p(scaled) if layer == "log1p" else scaled
    proteins = counts[:, 7:]
    expected[:, nodes[7:]] = np.log1p(proteins / scales[:, None]) if of_proteins == "clr" else proteins
    rows, layers = RawRows(csr_array(counts.astype(np.int32)), totals, scales), Layers(7, layer, of_proteins)
    out = np.full((5, 13), np.nan, np.float32)
    dense(rows, layers, nodes, out)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    compressed = compress(rows)
    assert compressed.data.element_size() <= {200: 1, 30_000: 2, 100_000: 4}[largest]
    x = dense_on_device(compressed, layers, torch.from_numpy(nodes), 13)
    np.testing.assert_allclose(x.numpy(), out, rtol=1e-6)


RANK = """
import json, sys, warnings
warnings.simplefilter("ignore")
import torch
from tosg_graph import TosgDataset

torch.distributed.init_process_group("gloo")
feed = TosgDataset(sys.argv[1]).feed(1, block_cells=1)
rows = [row for batch in feed for row in batch.rows.tolist()]
mine = torch.tensor([len(rows)])
both = [torch.zeros(1, dtype=torch.long) for _ in range(2)]
torch.distributed.all_gather(both, mine)
assert [int(n) for n in both] == [len(feed)] * 2
with open(f"{sys.argv[2]}/{torch.distributed.get_rank()}.json", "w") as file:
    json.dump(rows, file)
torch.distributed.destroy_process_group()
"""


def test_processes_of_torchrun_read_cells_of_their_own(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*run, script, folder, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert len(first) == len(second) == len(TosgDataset(folder)) // 2
    assert not set(first) & set(second)
