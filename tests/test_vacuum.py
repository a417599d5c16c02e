"""Versions of a store, and which of them a vacuum keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import toy_store
from test_compact import BLOCK, answers, compact_by, three_adds

from tosg_graph import history
from tosg_graph import vacuum as vacuum_module
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import StoreError
from tosg_graph.store_log import TABLES
from tosg_graph.store_versions import versions
from tosg_graph.vacuum import vacuum
from tosg_graph.verify import verify

DAY = 86_400


def bundle(home: Path, name: str, version: int) -> Path:
    """What an export leaves: a folder with a manifest, and a line in the history."""
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"store": {"cells": version}}))
    history.record_export(home, folder, "release")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 0, 2, 3 by adds (1 brought a column), 4 by a compaction, 5 by an add, 6 by a compaction."""
    store = three_adds(tmp_path_factory.mktemp("template") / "store")
    compact_by(store, BLOCK)
    toy_store.add(store, 17, 3, "d")
    compact_by(store, BLOCK)
    return store.folder


@pytest.fixture
def store(template: Path, home: Path) -> AbundanceStore:
    return AbundanceStore.open(shutil.copytree(template, home / "store"))


def readable(store: AbundanceStore, home: Path) -> list[int]:
    return [row["version"] for row in versions(store, home).to_pylist() if row["readable"]]


def test_versions_say_what_made_them(store: AbundanceStore, home: Path) -> None:
    bundle(home, "b", 5)
    table = versions(store, home)
    assert table.drop_columns(["time"]).to_pydict() == {
        "version": [6, 5, 4, 3, 2, 0],
        "change": ["compact", "add d", "compact", "add c", "add b", "add a"],
        "datasets": [4, 4, 3, 3, 2, 1],
        "cells": [20, 20, 17, 17, 7, 6],
        "readable": [True] * 6,
        "exports": [0, 1, 0, 0, 0, 0],
    }
    assert all(time.startswith("2") and len(time) == 19 for time in table["time"].to_pylist())


def test_the_newest_version_is_enough_for_its_answers(store: AbundanceStore, home: Path) -> None:
    before = answers(store)
    done = vacuum(store, home, keep_versions=1)
    assert done.kept == {6: "newest"}
    assert done.given_up == (0, 2, 3, 4, 5)
    assert answers(store) == before
    assert verify(store).findings == ()
    assert readable(store, home) == [6]
    with pytest.raises(StoreError, match=r"Version 5 of .* lacks .* `tosg cells vacuum` removed it"):
        AbundanceReader.open(store, store.version_at(5))
    toy_store.add(store, 30, 2, "e")
    assert verify(store).findings == ()


def test_a_dry_run_says_the_same_and_removes_nothing(store: AbundanceStore, home: Path) -> None:
    held = {table: store.files.listing(table) for table in TABLES}
    planned = vacuum(store, home, keep_versions=1, dry_run=True)
    assert {table: store.files.listing(table) for table in held} == held
    done = vacuum(store, home, keep_versions=1)
    assert (done.files, done.kept, done.given_up) == (planned.files, planned.kept, planned.given_up)
    gone = {f"{t}/{n}": size for t in held for n, size in held[t].items() if n not in store.files.listing(t)}
    assert done.files == gone
    assert done.bytes == sum(gone.values()) > 0
    again = vacuum(store, home, keep_versions=1)
    assert (again.files, again.given_up) == ({}, ())


def test_versions_of_one_era_share_their_files(store: AbundanceStore, home: Path) -> None:
    done = vacuum(store, home, keep_versions=2)
    assert done.kept == {6: "newest", 5: "one of the newest 2"}
    # An add only appends, so the version before it is still whole.
    assert readable(store, home) == [6, 5, 4]
    assert done.given_up == (0, 2, 3)


def test_what_exports_name_is_kept(store: AbundanceStore, home: Path) -> None:
    folder = bundle(home, "b", 2)
    with AbundanceReader.open(store, store.version_at(2)) as reader:
        before = reader.csr([toy_store.cell_id(6)], range(5)).toarray().tolist()
    done = vacuum(store, home, keep_versions=1)
    assert done.kept == {6: "newest", 2: f"named by the export {folder}"}
    assert readable(store, home) == [6, 2, 0]
    with AbundanceReader.open(store, store.version_at(2)) as reader:
        assert reader.csr([toy_store.cell_id(6)], range(5)).toarray().tolist() == before


def test_an_export_that_was_moved_counts_until_it_is_forgotten(store: AbundanceStore, home: Path) -> None:
    folder = bundle(home, "b", 2)
    folder.rename(home / "elsewhere")
    done = vacuum(store, home, keep_versions=1)
    assert (set(done.kept), done.missing_exports) == ({6, 2}, (folder,))
    done = vacuum(store, home, keep_versions=1, forget_missing=True)
    assert set(done.kept) == {6}
    assert readable(store, home) == [6]


def test_days_count_from_when_a_version_was_replaced(
    store: AbundanceStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = store.log.records()[0].timestamp / 1000
    assert vacuum(store, home).files == {}  # all is of this week
    monkeypatch.setattr(vacuum_module.time, "time", lambda: now + 6.9 * DAY)
    assert set(vacuum(store, home, dry_run=True).kept) >= {6, 5}
    assert vacuum(store, home, keep_days=1, dry_run=True).kept == {6: "newest"}
    monkeypatch.setattr(vacuum_module.time, "time", lambda: now + 8 * DAY)
    assert vacuum(store, home, dry_run=True).kept == {6: "newest"}


def test_foreign_files_go_and_files_of_an_add_in_progress_stay(store: AbundanceStore, home: Path) -> None:
    (store.folder / "counts" / "stray.parquet").write_bytes(b"xx")
    assert vacuum(store, home).files == {"counts/stray.parquet": 2}
    assert verify(store).findings == ()


@pytest.mark.parametrize("bad", [{"keep_days": -1}, {"keep_versions": 0}])
def test_keeping_nothing_is_refused(store: AbundanceStore, home: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="the newest version always is"):
        vacuum(store, home, **bad)


def test_an_empty_store_has_no_versions(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "none")
    assert len(versions(store, tmp_path)) == 0
    with pytest.raises(StoreError, match="holds no cells yet"):
        vacuum(store, tmp_path)
