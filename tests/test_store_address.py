"""A store at an address: a folder elsewhere, and a bucket of a real server that speaks S3."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import toy_store
from test_cells_stream import matrix, write_file
from test_cli import tosg
from test_compact import BLOCK, answers, compact_by, three_adds
from test_obs import VOCABULARY
from toy_graph import ToyGraph

import tosg_graph as tg
from tosg_graph import abundance
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cells import add_files
from tosg_graph.errors import SettingsError, StoreError
from tosg_graph.obs import ObsMapping
from tosg_graph.row_copy import copy_rows
from tosg_graph.settings import read_settings
from tosg_graph.store_versions import versions
from tosg_graph.term_audit import apply
from tosg_graph.vacuum import vacuum
from tosg_graph.verify import verify


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server for buckets that keeps everything in memory."""
    pytest.importorskip("moto", reason="needs the test extra: moto")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                with urllib.request.urlopen(address):
                    break
            except OSError:
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait()
        log.close()


def credentials(server: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": server,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty place in a bucket, with the environment that finds it."""
    import pyarrow.fs as pafs

    for name, value in credentials(server).items():
        monkeypatch.setenv(name, value)
    filesystem, _ = pafs.FileSystem.from_uri("s3://cells?allow_bucket_creation=true")
    filesystem.create_dir("cells")
    return f"s3://cells/{tmp_path.name}"


def test_a_bucket_answers_like_a_folder(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = three_adds(tmp_path / "here")
    answers_of_counts = answers(here)
    there = three_adds(tmp_path / "lock", bucket)
    assert answers(there) == answers(here)
    assert not list((tmp_path / "lock").glob("*/*.parquet"))
    done = compact_by(there, BLOCK)
    assert (done.blocks, done.files) == (5, 2)
    assert answers(AbundanceStore.open(tmp_path / "lock", bucket)) == answers(here)
    assert verify(there).findings == ()
    assert copy_rows(there).written == 1
    with monkeypatch.context() as patch:
        patch.setattr(abundance, "_FEW_COPIED", 0)
        patch.setattr(abundance, "_CELLS_PER_COLUMN", float("inf"))
        patch.setattr(AbundanceReader, "_from_counts", None)  # is not asked
        assert answers(there) == answers_of_counts
    assert verify(there).findings == ()
    with AbundanceReader.open(there, there.version_at(0)) as reader:
        assert reader.csr([toy_store.cell_id(3)], [1]).toarray().tolist() == [[301]]
    vacuumed = vacuum(there, tmp_path, keep_versions=1)
    assert vacuumed.given_up == (0, 2, 3)
    assert versions(there, tmp_path)["readable"].to_pylist() == [True, False, False, False]
    assert answers(there) == answers(here)
    (name,) = there.files.listing("counts")
    there.files.remove("counts", name)
    assert f"file counts/{name}: missing" in map(str, verify(there).findings)


def test_files_are_added_to_a_bucket(bucket: str, tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "lock", bucket)
    path = write_file(tmp_path, "study", 9)
    (ledger,) = add_files([path], ToyGraph(20), store, mapping=ObsMapping())  # type: ignore[arg-type]
    assert ledger.counts_stored == matrix(9).sum()
    assert verify(store).findings == ()
    (again,) = add_files([path], ToyGraph(20), store, mapping=ObsMapping())  # type: ignore[arg-type]
    assert again.already_present
    assert {p.name for p in store.folder.iterdir()} == {"write.lock"}


def test_terms_are_decided_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    store = three_adds(tmp_path / "lock", bucket)
    path = tmp_path / "terms.csv"
    path.write_text("column,raw,term_id\ncell_type,raw T cell,CL:0000236\n")
    assert apply(store, path, VOCABULARY).cells["cell_type"] > 0
    with AbundanceReader.open(AbundanceStore.open(tmp_path / "lock", bucket)) as reader:
        cells = reader.cells("true", lambda *_: None, ["cell_type", "cell_type_raw"])
    pairs = set(zip(*(cells[name].to_pylist() for name in cells.column_names), strict=True))
    assert {kind for kind, raw in pairs if raw == "raw T cell"} == {"B cell"}


def test_a_failed_add_leaves_nothing_in_a_bucket(bucket: str, tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "lock", bucket)
    for filled in (False, True):
        if filled:
            toy_store.add(store, 0, 6, "a")
        before = {table: store.files.listing(table) for table in ("axis", "counts", "cells")}
        with pytest.raises(ZeroDivisionError):
            fail(store)
        assert {table: store.files.listing(table) for table in before} == before


def fail(store: AbundanceStore) -> None:
    row = ["HGNC:60"]
    with store.writer() as append:
        append.extend_axis(pa.table({"feature": row, "gene_id": row, "symbol": row, "rule": row}))
        append.write_counts("add", toy_store.blocks(6, 4))
        raise ZeroDivisionError


def test_commands_find_the_bucket(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOSG_STORE", bucket)
    with tg.open() as p:
        toy_store.add(p.store, 0, 6, "a")
    assert "toy" not in tosg("cells", "list")
    assert "is sound" in tosg("cells", "verify")
    assert not read_settings().store.joinpath("cells").exists()


def test_a_server_that_does_not_answer_is_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TOSG_STORE", bucket)
    (line,) = tosg("cells", "list", code=1).splitlines()
    assert line.startswith(f"Error: {bucket} cannot be reached: ")
    assert line.endswith("Check TOSG_STORE.")


@pytest.mark.parametrize("form", ["{}", "file://{}"], ids=["path", "file address"])
def test_a_store_may_lie_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    folder = tmp_path / "my store"
    monkeypatch.setenv("TOSG_STORE", form.format(folder))
    with tg.open() as p:
        assert (p.settings.store, p.settings.store_url) == (folder, "")
        toy_store.add(p.store, 0, 6, "a")
    assert (folder / "cells" / "_delta_log").is_dir()


@pytest.mark.parametrize("bad", ["http://x/y", "s3://", "gs://bucket/x"])
def test_an_address_that_cannot_hold_a_store_is_refused(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("TOSG_STORE", bad)
    with pytest.raises(SettingsError, match="cannot hold a store"):
        read_settings()


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"s3://no-such-bucket/x cannot be reached: .*NoSuchBucket"
    ) as caught:
        AbundanceStore.open(tmp_path / "lock", "s3://no-such-bucket/x")
    assert str(caught.value).isprintable()
