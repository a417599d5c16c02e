"""`tosg cells compact`, `vacuum`, `verify` and `versions`, and reading at a version: no server is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_store
from cell_files import adata, coordinates
from test_cli import tosg
from test_compact import no_terms, three_adds

import tosg_graph as tg
from tosg_graph import store_log
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import StoreError
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings


@pytest.fixture
def store() -> AbundanceStore:
    return three_adds(read_settings().store)


def test_a_store_is_compacted_checked_and_vacuumed(store: AbundanceStore) -> None:
    assert "is sound: 10 files" in tosg("cells", "verify")
    assert "17, store version 4" in tosg("cells", "compact")
    assert "compact already: 17 cells in 1 blocks" in tosg("cells", "compact")
    text = tosg("cells", "vacuum", "--keep-versions", "1", "--dry-run")
    assert "9 files" in text
    assert "would be removed; versions 0, 2, 3 can no longer be read" in text
    assert all(name in text for name in store.files.listing("counts") if name.startswith("file"))
    assert "removed; versions 0, 2, 3 can no longer be read" in tosg(
        "cells", "vacuum", "--keep-versions", "1"
    )
    assert "is sound: 4 files" in tosg("cells", "verify")
    assert tosg("cells", "versions").count("no ") >= 3


def test_the_counts_are_kept_cell_by_cell_while_wanted(store: AbundanceStore) -> None:
    assert "ell by cell" not in tosg("cells", "list")
    assert "Cell by cell: 3 of 3 files of counts, 3 of them written now; " in tosg("cells", "rows")
    assert "Cell by cell: 3 of 3 files of counts; " in tosg("cells", "rows")
    assert "bytes per cell" in tosg("cells", "list")
    assert "is sound: 13 files" in tosg("cells", "verify")
    assert "The copy cell by cell is removed: 3 files." in tosg("cells", "rows", "--remove")
    assert "There is no copy cell by cell." in tosg("cells", "rows", "--remove")
    assert store.files.listing("rows") == {}


def test_what_is_wrong_is_one_line_each_and_exit_code_1(store: AbundanceStore) -> None:
    name = min(store.files.listing("counts"))
    (store.folder / "counts" / name).unlink()
    lines = [x for x in tosg("cells", "verify", code=1).splitlines() if not x.startswith(("Check", "Add"))]
    assert lines[0] == f"file counts/{name}: missing"
    assert all(line.split()[0] in ("file", "block", "dataset") for line in lines)
    assert "has no version 9" in tosg("cells", "verify", "--store-version", "9", code=1)


def test_python_reads_at_a_version(store: AbundanceStore) -> None:
    with tg.open() as p:
        assert p.compact_cells().written == store.version()
        assert p.verify_cells().findings == ()
        assert p.store_versions()["version"].to_pylist() == [4, 3, 2, 0]
        with p.reader(version=2) as reader:
            assert len(reader.cells("true", no_terms)) == 7
    with tg.open(store_version=0) as p:
        assert p.store.datasets()["dataset"].to_pylist() == ["a"]
        with p.reader() as reader:
            assert reader.version.cells == 0
            assert len(reader.cells("true", no_terms)) == 6
        with pytest.raises(StoreError, match=r"Version 0 of .* is only read"):
            toy_store.add(p.store, 40, 1, "more")
        assert p.verify_cells().version.cells == 0


def test_a_cohort_is_counted_at_a_version(store: AbundanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Platform, "graph", None)  # no term is looked up
    words = tosg("cohort", "true", "--by", "dataset", "--store-version", "2").split()
    assert words[words.index("a") :][:6] == ["a", "6", "85.71", "b", "1", "14.29"]
    assert "17" not in words
    assert "c" in tosg("cohort", "true", "--by", "dataset").split()


def test_a_store_of_a_newer_format_is_one_line_and_stays_as_it_is(
    store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store_log, "FORMAT_VERSION", 2)
        toy_store.add(store, 30, 2, "newer")
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")}
    monkeypatch.setattr(Platform, "graph", None)
    adata(coordinates()).write_h5ad(tmp_path / "my.h5ad")
    for command in (
        *(
            ["cells", name]
            for name in ("list", "terms", "compact", "vacuum", "verify", "versions", "metacell")
        ),
        ["cells", "add", str(tmp_path / "my.h5ad")],
        ["cells", "export", "--out", str(tmp_path / "out.h5ad")],
        ["cells", "pseudobulk", "--out", str(tmp_path / "out.parquet")],
        ["cohort", "true"],
        ["export", "--query", "RETURN 1", "--label", "sex", "--out", str(tmp_path / "bundle")],
    ):
        (line,) = tosg(*command, code=1).splitlines()
        assert line.startswith("Error: ")
        assert "store format 2; this version reads up to 1. Update tosg-graph." in line
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*")} == before
    assert {path.name for path in tmp_path.iterdir()} == {"my.h5ad", "tosg-home"}


def test_an_empty_store_says_what_to_do(tmp_path: Path) -> None:
    for command in ("compact", "vacuum", "verify"):
        assert "Add some: tosg cells add FILE.h5ad" in tosg("cells", command, code=1)
