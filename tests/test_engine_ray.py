"""A Ray cluster of several nodes answers as one process does, also when a worker or a node dies."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
import toy_bundle
import toy_store
from click.testing import CliRunner
from ray_functions import after_a_kill, node_of_a_task, square
from test_cells_stream import content, write_file
from test_store_address import bucket, credentials, server  # noqa: F401  # fixtures
from toy_graph import ToyGraph

from tosg_graph import bundle_shards, export, ray_tasks
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add_files
from tosg_graph.cells_export import export_cells
from tosg_graph.cli import main
from tosg_graph.engine import LOCAL, Engine, split_blocks
from tosg_graph.errors import CellsError, CohortError, EngineError, SettingsError, StoreError
from tosg_graph.obs import ObsMapping
from tosg_graph.platform import open as open_platform
from tosg_graph.pseudobulk import pseudobulk, write
from tosg_graph.ray_tasks import ray_engine

ray = pytest.importorskip("ray", reason="pip install 'tosg-graph[ray]'")

NODES = 2
CELLS = 150  # 38 blocks of the toy store: three shards


def no_terms(column: str, value: str) -> None:
    return None


@pytest.fixture(scope="module")
def cluster(server: str) -> Iterator[Any]:  # noqa: F811
    """A head without processors, where the driver is, and nodes of one processor each."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers import `ray_functions`
        patch.setenv("OMP_NUM_THREADS", "1")
        for name, value in credentials(server).items():
            patch.setenv(name, value)
        made = _started(Cluster, small)
    try:
        yield made
    finally:
        made.shutdown()


def _started(cluster: Any, small: dict[str, Any]) -> Any:
    made = cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(NODES):
        made.add_node(num_cpus=1, **small)
    return made


@pytest.fixture(scope="module")
def engine(cluster: Any) -> Iterator[Engine]:
    with ray_engine(cluster.address) as made:
        yield made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    return toy_store.make(tmp_path_factory.mktemp("toy") / "store", CELLS)


@pytest.fixture
def local(store: AbundanceStore) -> Iterator[AbundanceReader]:
    with AbundanceReader.open(store) as reader:
        yield reader


@pytest.fixture
def shared(store: AbundanceStore, engine: Engine) -> Iterator[AbundanceReader]:
    with AbundanceReader.open(store, engine=engine) as reader:
        yield reader


def killing(engine: Engine, marker: Path, at: int) -> Engine:
    """The engine, with a worker that is killed when it begins the task number ``at``."""
    begun = iter(range(10**6))

    def submit(function: Any, *arguments: Any) -> Any:
        if next(begun) != at:
            return engine.submit(function, *arguments)
        return engine.submit(after_a_kill, marker, function, *arguments)

    return Engine(submit, engine.ahead, engine.check, engine.share, engine.split)


# --------------------------------------------------------------------------- the cluster


def test_tasks_run_on_every_node_and_answers_keep_their_order(engine: Engine, tmp_path: Path) -> None:
    found = list(engine.map(node_of_a_task, ((n, tmp_path, NODES) for n in range(NODES))))
    assert [number for number, _ in found] == list(range(NODES))
    assert len({node for _, node in found}) == NODES


def test_a_killed_worker_changes_no_answer(engine: Engine, tmp_path: Path) -> None:
    answers = list(killing(engine, tmp_path / "killed", 3).map(square, ((n,) for n in range(8))))
    assert answers == [n**2 for n in range(8)]
    assert (tmp_path / "killed").exists()


def test_work_that_kills_every_worker_is_one_line(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_tasks, "MAX_RETRIES", 0)
    with pytest.raises(EngineError, match=r"died 1 times at the same work.*What was complete is kept"):
        ray_tasks._submit(ray)(os._exit, 1).result()


def test_errors_of_ours_come_back_as_they_were(engine: Engine, shared: AbundanceReader) -> None:
    with pytest.raises(CohortError, match="no value 'typo'"):
        shared.facets("cell_type = 'typo'", no_terms)
    with pytest.raises(StoreError, match=r"1 of 2 cells are not in the store, first \['nobody'\]") as caught:
        shared.csr([toy_store.cell_id(0), "nobody"], [0])
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------- reads


@pytest.mark.parametrize("cohort", ["true", "cell_type = 'T cell' AND donor IN ('d1', 'd2')"])
def test_facets_are_equal(local: AbundanceReader, shared: AbundanceReader, cohort: str) -> None:
    assert len(split_blocks(range(38))) == 3
    for by in ((), ("donor", "n_counts", "cell_type")):
        assert shared.facets(cohort, no_terms, by) == local.facets(cohort, no_terms, by)


@pytest.mark.parametrize("by", [None, "donor", "cell_type"])
@pytest.mark.parametrize("layer", ["counts", "log1p"])
def test_aggregates_are_equal(
    local: AbundanceReader, shared: AbundanceReader, by: str | None, layer: str
) -> None:
    one, many = (
        reader.aggregate([3, 0, 4], by, "dataset = 'toy'", no_terms, layer=layer)
        for reader in (local, shared)
    )
    if layer == "counts":
        assert many == one
    assert many.drop(["mean"]) == one.drop(["mean"])
    # Fractions are added up in another order.
    np.testing.assert_allclose(many["mean"].to_numpy(), one["mean"].to_numpy(), rtol=1e-12)
    if by is None and layer == "counts":
        assert one["mean"].to_pylist()[0] == sum(toy_store.count(k, 3) for k in range(CELLS)) / CELLS


def test_a_cohort_comes_out_equal(local: AbundanceReader, shared: AbundanceReader) -> None:
    ids = [toy_store.cell_id(k) for k in range(CELLS - 1, -1, -2)]
    one, many = (list(reader.iter_csr(ids, [4, 1, 0], 7)) for reader in (local, shared))
    assert len(one) == len(many) == 11
    for a, b in zip(one, many, strict=True):
        for part in ("indptr", "indices", "data"):
            assert getattr(a, part).tolist() == getattr(b, part).tolist()
    rows = np.concatenate([part.toarray() for part in many])
    assert rows[1].tolist() == [toy_store.count(CELLS - 3, c) for c in (4, 1, 0)]


@pytest.mark.parametrize("format_", ["mtx", "parquet"])
def test_exported_cells_have_the_same_bytes(
    local: AbundanceReader, shared: AbundanceReader, format_: str, tmp_path: Path
) -> None:
    for name, reader in (("one", local), ("many", shared)):
        export_cells(reader, "donor != 'd1'", no_terms, tmp_path / name, format_=format_)
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_pseudobulk_has_the_same_bytes(
    local: AbundanceReader, shared: AbundanceReader, engine: Engine, tmp_path: Path
) -> None:
    for name, reader in (("one", local), ("many", shared)):
        write(pseudobulk(reader, "true", no_terms), tmp_path / f"{name}.parquet")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()


def test_a_worker_killed_while_counts_are_read_changes_nothing(
    local: AbundanceReader, store: AbundanceStore, engine: Engine, tmp_path: Path
) -> None:
    dying = killing(engine, tmp_path / "killed", at=1)
    with AbundanceReader.open(store, engine=dying) as reader:
        many = reader.aggregate([0, 2], "donor", "true", no_terms)
    assert (tmp_path / "killed").exists()
    assert many == local.aggregate([0, 2], "donor", "true", no_terms)


def test_a_bundle_has_the_same_bytes(
    local: AbundanceReader,
    shared: AbundanceReader,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle_shards, "SHARD_CELLS", 16)
    for name, reader, where in (("one", local, LOCAL), ("many", shared, engine)):
        given = {"cells": reader.cells("true", no_terms), "version": reader.version}
        facts = toy_bundle.measured(**given, counts=reader.csr, engine=where)
        export.write_bundle(
            toy_bundle.selection(), facts, cohort="true", label="cell_type", out=tmp_path / name, seed=3
        )
    found = files(tmp_path / "one")
    assert found == files(tmp_path / "many")
    assert sum(name.startswith("abundance") for name in found) > NODES


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# --------------------------------------------------------------------------- ingest


def added(paths: list[Path], folder: Path, engine: Engine) -> tuple[AbundanceStore, list[Any]]:
    store = AbundanceStore.open(folder)
    graph: Any = ToyGraph(20)
    return store, list(add_files(paths, graph, store, mapping=ObsMapping(), engine=engine))


def test_files_make_the_same_store_though_workers_are_killed(engine: Engine, tmp_path: Path) -> None:
    paths = [write_file(tmp_path, f"s{n}", 9 + n, first=20 * n) for n in range(4)]
    paths.insert(2, Path(shutil.copy(paths[0], tmp_path / "copy.h5ad")))
    one, ledgers = added(paths, tmp_path / "one", LOCAL)
    # Five files are read and four are written: the second one dies while it is read, another while it is written.
    dying = killing(killing(engine, tmp_path / "first", at=1), tmp_path / "second", at=7)
    many, again = added(paths, tmp_path / "many", dying)
    assert (tmp_path / "first").exists()
    assert (tmp_path / "second").exists()
    assert content(one) == content(many)
    assert stored(one) == stored(many)
    assert [x.already_present for x in again] == [x.already_present for x in ledgers]
    assert [x.unmapped for x in again] == [x.unmapped for x in ledgers]
    assert not list(many.folder.glob(".*"))


def stored(store: AbundanceStore) -> dict[str, Counter[str]]:
    """Names of the files, which hold the sha256 of their bytes; those of the axis are Delta's own."""
    return {name: Counter(store.files.listing(name)) for name in ("cells", "counts")}


def test_a_refused_file_ends_the_add_after_those_before_it(engine: Engine, tmp_path: Path) -> None:
    paths = [
        write_file(tmp_path, "s0", 9),
        tmp_path / "missing.h5ad",
        write_file(tmp_path, "s2", 9, first=40),
    ]
    store = AbundanceStore.open(tmp_path / "store")
    graph: Any = ToyGraph(20)
    adding = add_files(paths, graph, store, mapping=ObsMapping(), engine=engine)
    assert next(adding).dataset == "s0"
    with pytest.raises(CellsError, match=r"missing\.h5ad"):
        list(adding)
    assert store.datasets()["dataset"].to_pylist() == ["s0"]
    assert not list(store.folder.glob(".*"))


def test_a_store_in_a_bucket_is_written_and_read_with_the_credentials_of_the_machines(
    bucket: str,  # noqa: F811
    engine: Engine,
    tmp_path: Path,
) -> None:
    path = write_file(tmp_path, "study", 20)
    one, _ = added([path], tmp_path / "one", LOCAL)
    there = AbundanceStore.open(tmp_path / "home", bucket)
    graph: Any = ToyGraph(20)
    list(add_files([path], graph, there, mapping=ObsMapping(), engine=engine))
    assert stored(there) == stored(one)
    with AbundanceReader.open(one) as local, AbundanceReader.open(there, engine=engine) as shared:
        for by in (None, "disease"):
            assert shared.aggregate([1, 4], by, "true", no_terms) == local.aggregate(
                [1, 4], by, "true", no_terms
            )


# --------------------------------------------------------------------------- what cannot be used


def test_another_version_on_a_machine_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = ray_tasks.our_version()
    monkeypatch.setattr(ray_tasks, "our_version", lambda: "99.1")
    with pytest.raises(EngineError, match=rf"has tosg-graph {ours}, this one 99\.1\. Install the same"):
        engine.check([])


def test_a_path_that_a_machine_does_not_see_is_named(engine: Engine, tmp_path: Path) -> None:
    engine.check([tmp_path])
    with pytest.raises(EngineError, match=r"machine \S+ \([\d.]+\) .* does not see .*only_here\.h5ad"):
        engine.check([tmp_path, tmp_path / "only_here.h5ad"])


@pytest.mark.parametrize("kind", ["nobody listens", "silent", "another server"])
def test_an_address_without_ray_is_refused_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_tasks, "_CONNECT_SECONDS", 0.5)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        if kind != "nobody listens":
            listener.listen()
        if kind == "another server":
            answers = _answering(listener)
        with pytest.raises(EngineError, match=rf"(No Ray cluster answers|What answers) at {address}"):
            ray_tasks._connect(ray, address)
        if kind == "another server":
            answers.join()


def _answering(listener: socket.socket) -> Any:
    from threading import Thread

    def answer() -> None:
        with listener.accept()[0] as connection:
            connection.recv(99)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    thread = Thread(target=answer)
    thread.start()
    return thread


@pytest.mark.parametrize("address", ["here", "ray://here:10001", ":6379", "here:there"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(EngineError, match=r"no address of a Ray cluster\. Write HOST:PORT"):
        ray_tasks._connect(ray, address)


def test_ctrl_c_while_ray_starts_leaves_no_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.setattr(ray_tasks, "_connect", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt), ray_engine():
        pass
    assert ended == [True]


def test_two_clusters_at_a_time_are_refused(engine: Engine) -> None:
    with (
        pytest.raises(EngineError, match=r"is connected to the Ray cluster at .* not to 127\.0\.0\.1:1\."),
        ray_engine("127.0.0.1:1"),
    ):
        pass
    assert ray.is_initialized()


def test_the_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"pip install 'tosg-graph\[ray\]'"), ray_engine():
        pass


# --------------------------------------------------------------------------- Python and the command line


def test_the_platform_reads_through_the_cluster(
    cluster: Any, engine: Engine, store: AbundanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOSG_STORE", str(store.folder))
    with open_platform(engine="ray", address=cluster.address) as p, p.reader() as reader:
        assert reader.facets("true", no_terms, ["dataset"]) == [
            pa.table({"dataset": ["toy"], "cells": [CELLS], "pct": [100.0]})
        ]
    with pytest.raises(SettingsError, match="choose engine='ray'"):
        open_platform(address=cluster.address)
    with pytest.raises(SettingsError, match="engine='spark'"):
        open_platform(engine="spark")


@pytest.mark.parametrize("format_", ["mtx"])
def test_the_command_writes_the_same_bytes(
    cluster: Any,
    engine: Engine,
    store: AbundanceStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
) -> None:
    monkeypatch.setenv("TOSG_STORE", str(store.folder))
    for name, more in (("one", []), ("many", ["--engine", "ray", "--address", cluster.address])):
        command = ["cells", "export", "--format", format_, "--out", str(tmp_path / name), *more]
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
    assert files(tmp_path / "one") == files(tmp_path / "many")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["cells", "export", "--out", "x", "--address", "a:1"], "Add --engine ray"),
        (["cells", "add", "x.h5ad", "--engine", "ray", "--processes", "2"], "of this machine alone"),
    ],
)
def test_options_that_do_not_go_together_are_misuse(options: list[str], says: str) -> None:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert says in done.output
