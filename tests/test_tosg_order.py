"""Level tosg: an OmniCellTOSG folder comes out of the store as it went in, in its order of nodes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tosg_folder_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, vstack

from loaders import omnicelltosg
from tosg_graph import tosg_folder
from tosg_graph.errors import CellsError, LoadError, TosgError
from tosg_graph.tosg_folder import open_folder, write_folder
from tosg_graph.tosg_order import EDGES, TosgOrder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files.write(tmp_path_factory.mktemp("tosg") / "data", cells=30)


def fingerprint(folder: Path) -> dict[str, str]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def arrays(folder: Path) -> dict[str, bytes]:
    """Every matrix and edge index, as bytes."""
    named = [*(folder / f"{name}.npy" for name in EDGES), *folder.glob("expression_matrix/*.npy")]
    return {path.name: path.read_bytes() for path in named}


def test_a_folder_is_written_again_byte_for_byte(root: Path, tmp_path: Path) -> None:
    before = fingerprint(root)
    folder = open_folder(root, cache=tmp_path / "cache")
    write_folder(folder, tmp_path / "again", at_once=7)
    assert arrays(tmp_path / "again") == arrays(root)
    assert len(arrays(root)) == 5
    for name in ("s_name.csv", "s_desc.csv", "s_bio.csv", "bmg_gene_index.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes()
    name = "cell_metadata_with_mappings.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "again" / name), pd.read_parquet(root / name))
    assert fingerprint(root) == before


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_folder_makes_the_round_trip(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells, genes = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 7))
    values = np.array(
        data.draw(st.lists(st.integers(0, 2**24), min_size=cells * genes, max_size=cells * genes)), np.int64
    ).reshape(cells, genes)
    seed, spare = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 4))
    work = tmp_path_factory.mktemp("any")
    root = work / "data"
    root.mkdir()
    columns = files.layout(genes, seed, spare)
    width = max(3, sum(map(len, columns)) + spare)
    obs = files.metadata(cells)
    files.write_cells(root, obs, values, columns, width, shards=data.draw(st.integers(1, 3)))
    kind = data.draw(st.sampled_from(["int64", "int32", "uint32"]))
    files.write_graph(root, width, data.draw(st.integers(2, 5)), seed, kind)
    folder = open_folder(root, cache=work / "cache")
    write_folder(folder, work / "again", at_once=data.draw(st.integers(1, 4)))
    assert arrays(work / "again") == arrays(root)
    order = folder.order()
    read = vstack(list(folder.counts(folder.cells(), 3)))
    whole = order.expand(read)
    expected = np.zeros((cells, order.num_nodes), np.float32)
    matrices = {p.name: np.load(p) for p in root.glob("expression_matrix/*.npy")}
    table = pd.read_parquet(root / "cell_metadata_with_mappings.parquet")
    for row, (name, at) in enumerate(zip(table["matrix_file_path"], table["matrix_row_idx"], strict=True)):
        expected[row, :width] = matrices[name][at]
    assert whole.dtype == np.float32
    assert np.array_equal(whole, expected)


def test_a_gather_gives_what_expanding_gives_in_any_order_of_genes(root: Path) -> None:
    order = TosgOrder.read(root)
    values = files.counts(4, files.GENES)
    names = [None, "G4", "other", "G0", "G4"]
    columns = order.gather(names)
    wide = order.expand(csr_array(values[:, [1, 4, 2, 0, 3]]), columns)
    for node, gene in enumerate(order.gene_of.tolist()):
        known = {4: 4, 0: 0}.get(gene)
        assert wide[:, node].tolist() == (values[:, known].tolist() if known is not None else [0] * 4)
    assert columns.dtype == np.int64
    assert (columns[order.transcripts :] == -1).all()


def test_a_mapped_file_of_transcripts_alone_is_filled_in_place(root: Path, tmp_path: Path) -> None:
    order, values = TosgOrder.read(root), files.counts(3, files.GENES)
    out = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(3, order.transcripts)
    )
    assert order.expand(values, out=out) is out
    assert np.array_equal(out, order.expand(values)[:, : order.transcripts])


def test_what_the_graph_holds_is_the_folder_s_edges_in_its_rows(root: Path, tmp_path: Path) -> None:
    """The load stores a pair once and by ids; rows and both directions come back."""
    names = {"names": "s_name.csv", "edges": "edge_index.npy", "internal": "internal_edge_index.npy"}
    parsed = omnicelltosg.parse({k: root / v for k, v in {**names, "ppi": "ppi_edge_index.npy"}.items()})
    order, found = TosgOrder.read(root), dict[str, set[tuple[int, int]]]()
    for table in parsed.edges:
        ends = [order.rows_of(table.data[end].to_pylist()).tolist() for end in ("subject", "object")]
        pairs = set(zip(*ends, strict=True))
        mirrored = {(b, a) for a, b in pairs} if table.name == "ppi" else set()
        found.setdefault(table.name.split()[0], set()).update(pairs | mirrored)
    edges = order.edges(root)
    for name in ("internal", "ppi"):
        assert found[name] == set(map(tuple, edges[f"{name}_edge_index"].T.tolist()))


def test_nodes_are_found_by_either_spelling_of_their_id(root: Path) -> None:
    order = TosgOrder.read(root)
    assert order.rows_of(["BMGC:TS000002", "BMGC_PT000001"]).tolist() == [1, order.transcripts]
    with pytest.raises(CellsError, match=r"1 of 2 nodes are not in s_name.csv \(first HGNC:5\)"):
        order.rows_of(["BMGC:TS000002", "HGNC:5"])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("edge_index.npy", lambda e: e[:, 1:], "internal and ppi have"),
        ("ppi_edge_index.npy", lambda e: e + 99, "s_name.csv has 0 to"),
        ("internal_edge_index.npy", lambda e: e - 50, "s_name.csv has 0 to"),
        ("internal_edge_index.npy", lambda e: e.T, "an edge index is"),
        ("edge_index.npy", lambda e: e.astype(float), "an edge index is"),
    ],
    ids=["too few", "no such node", "negative", "turned", "fractions"],
)
def test_edges_that_do_not_fit_are_refused(tmp_path: Path, name: str, change: Any, says: str) -> None:
    root = files.write(tmp_path / "data", cells=2)
    np.save(root / name, change(np.load(root / name)))
    with pytest.raises(LoadError, match=says):
        TosgOrder.read(root).edges(root)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("G0,0;1\nG1,1\n", "another gene has it too"),
        ("G0,999\n", "transcripts"),
        ("G0,x\n", "are not numbers"),
    ],
)
def test_a_gene_index_that_does_not_fit_is_refused(tmp_path: Path, index: str, says: str) -> None:
    root = files.write(tmp_path / "data", cells=2)
    (root / "bmg_gene_index.csv").write_text(f"gene_name,indices\n{index}")
    with pytest.raises(TosgError, match=says):
        TosgOrder.read(root)


# --------------------------------------------------------------------------- read once


def test_the_same_content_is_read_once_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = files.write(tmp_path / "data", cells=5), tmp_path / "cache"
    first = open_folder(root, cache=cache)
    monkeypatch.setattr(tosg_folder, "_read", None)  # reading again would fail
    assert open_folder(root, cache=cache).store == first.store
    moved = root.rename(tmp_path / "moved")
    assert open_folder(moved, cache=cache).store == first.store
    monkeypatch.setattr(tosg_folder, "_content", None)  # and neither is the content hashed again
    assert open_folder(moved, cache=cache).store == first.store


def test_of_several_that_open_a_folder_at_once_one_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, read, calls = files.write(tmp_path / "data", cells=5), tosg_folder._read, []

    def counted(*given: Any) -> None:
        calls.append(given)
        read(*given)

    monkeypatch.setattr(tosg_folder, "_read", counted)
    with ThreadPoolExecutor(3) as pool:
        opened = [pool.submit(open_folder, root, tmp_path / "cache") for _ in range(3)]
        stores = {str(one.result().store) for one in opened}
    assert len(calls) == len(stores) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = files.write(tmp_path / "data", cells=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(CellsError, match=r"cannot be written: Not a directory\. Name another cache_dir"):
        open_folder(root, cache=tmp_path / "file")


def test_a_changed_matrix_is_another_content_even_with_its_old_times(tmp_path: Path) -> None:
    root, cache = files.write(tmp_path / "data", cells=5), tmp_path / "cache"
    first = open_folder(root, cache=cache)
    shard = root / "expression_matrix" / f"{files.SOURCE}_part_0.npy"
    stat, matrix = shard.stat(), np.load(shard)
    np.save(shard, matrix * 2)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = open_folder(root, cache=cache)
    assert second.store != first.store
    cells = second.cells()
    doubled = [int(s) for s in cells["n_counts"].to_pylist()]
    assert sum(doubled) > sum(int(s) for s in first.cells()["n_counts"].to_pylist())


def test_a_folder_that_changes_while_it_is_read_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache, read = files.write(tmp_path / "data", cells=5), tmp_path / "cache", tosg_folder._read

    def and_change(*given: Any) -> None:
        read(*given)
        (root / "bmg_gene_index.csv").touch()

    monkeypatch.setattr(tosg_folder, "_read", and_change)
    with pytest.raises(CellsError, match="changed while it was read"):
        open_folder(root, cache=cache)
    assert not list((cache / "omnicelltosg").glob("*.content"))


def test_a_folder_with_a_fraction_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    root, cache = files.write(tmp_path / "data", cells=5), tmp_path / "cache"
    shard = root / "expression_matrix" / f"{files.SOURCE}_part_0.npy"
    np.save(shard, np.load(shard) / 7)
    for _ in range(2):
        with pytest.raises(CellsError, match=r"cell 'cellxgene_brain_part_0\.npy:"):
            open_folder(root, cache=cache)


@pytest.mark.parametrize("name", ["bmg_gene_index.csv", "cell_metadata_with_mappings.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    root = files.write(tmp_path / "data", cells=2)
    (root / name).unlink()
    with pytest.raises(CellsError, match=name):
        open_folder(root, cache=tmp_path / "cache")


def test_an_existing_folder_is_never_written_over(root: Path, tmp_path: Path) -> None:
    folder = open_folder(root, cache=tmp_path / "cache")
    with pytest.raises(CellsError, match="is there already"):
        write_folder(folder, root)


def test_the_published_gene_index_fits_the_published_nodes(shared_data: Path, tmp_path: Path) -> None:
    index = shared_data / "kg" / "omnicelltosg" / "bmg_gene_index.csv.gz"
    if not index.is_file():
        pytest.skip(f"{index} is missing")
    ids = [f"BMGC_TS{k:06d}" for k in range(412_039)] + [f"BMGC_PT{k:06d}" for k in range(121_419)]
    (tmp_path / "s_name.csv").write_text("BioMedGraphica_Conn_ID,Name\n" + "".join(f"{i},x\n" for i in ids))
    order = TosgOrder.read(tmp_path, index)
    nodes = np.flatnonzero(order.gather(order.genes) >= 0)
    assert (order.num_nodes, order.transcripts, len(order.genes)) == (533_458, 412_039, 41_149)
    assert (len(nodes), nodes.max()) == (48_379, 411_915)
