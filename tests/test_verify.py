"""`tosg cells verify`: a sound store has no findings; whatever is damaged, missing or foreign is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_store
from test_compact import BLOCK, compact_by, three_adds

from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.compact import compact
from tosg_graph.errors import StoreError
from tosg_graph.store_files import StoredFile, StoreFiles
from tosg_graph.verify import verify


def said(store: AbundanceStore) -> list[str]:
    return [str(finding) for finding in verify(store).findings]


def only_file(store: AbundanceStore, table: str) -> Path:
    (name,) = store.files.listing(table)
    return store.folder / table / name


@pytest.mark.parametrize("compacted", [False, True], ids=["as added", "compacted"])
def test_a_sound_store_has_no_findings(tmp_path: Path, compacted: bool) -> None:
    store = three_adds(tmp_path / "store")
    if compacted:
        compact_by(store, BLOCK)
    done = verify(store)
    assert done.findings == ()
    assert (done.cells, done.blocks) == (17, 5 if compacted else 6)
    assert done.counts == sum(toy_store.count(k, c) for k in range(17) for c in range(5))
    assert done.files == (4 if compacted else 10)
    assert done.without_checksum == 0
    assert verify(store, number=0).cells == 6


def test_files_without_a_checksum_are_read_and_compaction_gives_them_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(files: StoreFiles, name: str, part: Path, stem: str, rows: int) -> StoredFile:
        stored = StoredFile(f"{stem}.parquet", part.stat().st_size, rows)
        (Path(files.table(name)) / stored.name).parent.mkdir(parents=True, exist_ok=True)
        part.rename(Path(files.table(name)) / stored.name)
        return stored

    with monkeypatch.context() as patch:
        patch.setattr(StoreFiles, "put", put)
        store = toy_store.make(tmp_path / "store", BLOCK)  # one full block, in order
    done = verify(store)
    assert (done.findings, done.without_checksum) == ((), 2)
    assert compact_by(store, BLOCK).written is not None
    assert verify(store).without_checksum == 0
    assert compact_by(store, BLOCK).written is None
    path = store.folder / "counts" / "file-toy-0000.parquet"
    path.write_bytes(path.read_bytes()[:-5] + b"?" * 5)
    assert str(verify(store, number=0).findings[0]).startswith("file counts/file-toy-0000.parquet: damaged: ")


@pytest.mark.parametrize("table", ["counts", "cells"])
def test_every_changed_byte_is_found(tmp_path: Path, table: str) -> None:
    store = toy_store.make(tmp_path / "store")
    path = only_file(store, table)
    sound = path.read_bytes()
    for at in range(0, len(sound), len(sound) // 20):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        assert said(store)[0] == f"file {table}/{path.name}: damaged: its sha256 is not the one in its name"
    path.write_bytes(sound)
    assert said(store) == []


def test_a_truncated_file_is_named_with_its_datasets_and_blocks(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    toy_store.add(store, 10, 3, "more")
    path = next(p for p in (store.folder / "counts").glob("file-more-*"))
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    total = sum(toy_store.count(k, c) for k in (10, 11, 12) for c in range(5))
    assert said(store) == [
        f"file counts/{path.name}: damaged: {size - 1:,} bytes, {size:,} were written",
        f"block 3: its counts are missing: {total:,} of 3 cells",
        f"dataset more: 0 counts are stored, {total:,} were added",
    ]


def test_a_missing_file_of_cells_is_named_with_its_dataset(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    held = set(store.files.listing("cells"))
    toy_store.add(store, 10, 3, "more")
    (name,) = set(store.files.listing("cells")) - held
    (store.folder / "cells" / name).unlink()
    assert said(store)[0] == f"file cells/{name}: missing"
    assert "dataset more: 0 cells are stored, 3 were added" in said(store)


def test_a_foreign_file_is_named_unless_somebody_is_writing(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    (store.folder / "counts" / "stray.parquet").write_bytes(b"x")
    expected = "file counts/stray.parquet: foreign: no version names it; `tosg cells vacuum` removes it"
    assert said(store) == [expected]
    with store.writer():  # which clears it away
        (store.folder / "counts" / "coming.parquet").write_bytes(b"x")
        import threading

        found: list[str] = []
        other = threading.Thread(target=lambda: found.extend(said(AbundanceStore.open(store.folder))))
        other.start()
        other.join()
        assert found == []


def test_a_damaged_file_that_only_an_older_version_needs_is_named(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    path = only_file(store, "counts")
    compact(store)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert said(store) == [
        f"file counts/{path.name}: damaged: its sha256 is not the one in its name; older versions need it"
    ]


# --------------------------------------------------------------------------- files that are sound, but wrong


def add_wrong(store: AbundanceStore, rows: list[tuple[int, int, int]], **cells: Any) -> None:
    """Add four cells in one block with these ``gene, cell, count``; ``cells`` replaces columns."""
    with store.writer() as append:
        append.extend_axis(toy_store.axis_rows())
        block = tuple(pa.array(part, pa.int32()).to_numpy() for part in zip(*rows, strict=True))
        total = append.write_counts("wrong", iter([block]))
        table = toy_store.cells_table(0, 4, 0)
        sums = [0] * 4
        for _, cell, count in rows:
            sums[3 - min(cell, 3)] += count
        given = {"n_counts": sums, **cells}
        for name, values in given.items():
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(values, table.field(at).type))
        append.commit(table, toy_store.record("toy", 4, total))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        pytest.param([(1, 0, 5), (0, 0, 5)], "not sorted by gene, then cell", id="genes out of order"),
        pytest.param([(1, 2, 5), (1, 0, 5)], "not sorted by gene, then cell", id="cells out of order"),
        pytest.param([(1, 2, 5), (1, 2, 5)], "or one stands there twice", id="a count twice"),
        pytest.param([(1, 2, 0)], "a count is 0; only counts above zero", id="a stored zero"),
        pytest.param([(1, 2, -3)], "a count is -3; only counts above zero", id="a negative count"),
        pytest.param([(1, 4, 1)], "at place 4, but the block has 4 cells", id="a place without a cell"),
        pytest.param([(5, 0, 1)], "axis column 5, but the axis has 5", id="a gene off the axis"),
    ],
)
def test_a_block_that_breaks_the_layout_is_named(
    tmp_path: Path, rows: list[tuple[int, int, int]], problem: str
) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    add_wrong(store, rows)
    assert any(line.startswith("block 0: ") and problem in line for line in said(store))


def test_sums_that_differ_are_named_with_the_first_cell(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    add_wrong(store, [(0, 0, 7), (0, 1, 8)], n_counts=[0, 0, 9, 7])
    assert said(store) == [
        "block 0: n_counts of 1 cells differs, first cell-02: 9 in the cells table, 8 in the counts"
    ]


def test_cells_that_share_an_id_or_a_place_are_named(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    add_wrong(store, [(0, 0, 7)], cell_id=["a", "a", "b", "c"], cell=[0, 1, 1, 2])
    lines = said(store)
    assert "cell a: 2 rows of the cells table have this cell_id" in lines
    assert "block 0: 4 cells are at 3 places from 0 to 2" in lines


def test_cells_of_a_dataset_that_was_never_added_are_named(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    add_wrong(store, [(0, 0, 7)], dataset=["toy", "toy", "toy", "other"])
    lines = said(store)
    assert "dataset other: 1 cells are of a dataset that was never added" in lines
    assert "dataset toy: 3 cells are stored, 4 were added" in lines


def test_an_axis_with_other_rows_is_named(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    store = toy_store.make(tmp_path / "store")
    (name,) = store.files.listing("axis")
    path = store.folder / "axis" / name
    size = path.stat().st_size
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    (log,) = (store.folder / "axis" / "_delta_log").glob("*.json")  # and whoever did it adjusted the log
    log.write_text(log.read_text().replace(f'"size":{size}', f'"size":{path.stat().st_size}'))
    lines = said(store)
    assert lines[0] == "axis 0: its rows are not those that the commit names"
    assert "a count is of axis column 4, but the axis has 4" in lines[1]


def test_a_file_that_never_was_parquet_is_named(tmp_path: Path) -> None:
    store = toy_store.make(tmp_path / "store")
    version = store.version()
    assert version
    (tmp_path / "part").write_bytes(b"no parquet")
    file = store.files.put("counts", tmp_path / "part", "odd", 1)
    said_before = {"axis": 0, "axis_sha256": version.axis_sha256, "measured": 0, "blocks": 3}
    store.log.register_cells(
        [],
        store.log.cells_schema(version),
        {
            "counts": store.log.register_counts([file], version.counts),
            "datasets": store.datasets().to_pylist(),
            **said_before,
        },
    )
    (line,) = said(store)
    assert line.startswith(f"file counts/{file.name}: damaged: ")


def test_a_store_without_cells_and_an_unknown_version_are_errors(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no cells yet"):
        verify(AbundanceStore.open(tmp_path / "none"))
    with pytest.raises(StoreError, match="has no version 7; the newest are 0"):
        verify(toy_store.make(tmp_path / "store"), number=7)
