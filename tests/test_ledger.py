"""Ledgers add up, or the load fails."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import ledger
from tosg_graph.errors import LedgerError
from tosg_graph.types import LedgerLine, NodeTable, Reject


def table(rows: int, read: int, merged: int = 0, rejects: tuple[Reject, ...] = ()) -> NodeTable:
    data = pa.table({"id": [f"HGNC:{i}" for i in range(rows)], "name": ["n"] * rows})
    return NodeTable("hgnc", "genes", "Gene", data, read, merged, rejects)


def test_an_account_starts_with_what_the_loader_counted() -> None:
    rejects = (Reject(3, "id", "x", "withdrawn"), Reject(5, "id", "y", "withdrawn"))
    account = ledger.open_account(table(10, 15, merged=3, rejects=rejects))
    account.loaded, account.created = 10, 4
    line = account.line()
    assert (line.read, line.loaded, line.merged, line.rejected, line.created) == (15, 10, 3, 2, 4)
    assert line.reasons == {"merged by the loader": 3, "withdrawn": 2}
    assert line.examples == rejects


def test_a_loader_that_loses_a_row_is_refused() -> None:
    with pytest.raises(LedgerError, match=r"hgnc/genes: the loader read 12 rows, but returned 10"):
        ledger.open_account(table(10, 12, merged=1))


@pytest.mark.parametrize(("loaded", "created", "updated"), [(9, 0, 0), (11, 0, 0), (10, 8, 3)])
def test_an_account_that_does_not_add_up_is_refused(loaded: int, created: int, updated: int) -> None:
    account = ledger.open_account(table(10, 10))
    account.loaded, account.created, account.updated = loaded, created, updated
    with pytest.raises(LedgerError, match="hgnc/genes"):
        account.line()


def test_counts_that_differ_name_the_thing() -> None:
    ledger.check_counts({"Gene": 3}, {"Gene": 3})
    ledger.check_counts({"Gene": 0}, {})
    with pytest.raises(
        LedgerError, match=r"IS_A stated by mondo: the database counts 1,999, the load expects 2,000"
    ):
        ledger.check_counts(
            {"Gene": 3, "IS_A stated by mondo": 2000}, {"Gene": 3, "IS_A stated by mondo": 1999}
        )
    with pytest.raises(LedgerError, match="Disease"):
        ledger.check_counts({"Gene": 3}, {"Gene": 3, "Disease": 1})


def test_only_the_first_examples_of_a_reason_are_kept() -> None:
    account = ledger.open_account(table(10, 10))
    account.reject([Reject(i, "id", str(i), f"reason {i % 2}") for i in range(10)])
    assert [e.row for e in account.examples] == [0, 2, 4, 1, 3, 5]  # by reason, in the order of the rows
    assert account.reasons == {"reason 0": 5, "reason 1": 5}


names = st.text(max_size=20)
lines = st.builds(
    LedgerLine,
    *[names] * 2,
    *[st.integers(0, 10**9)] * 6,
    reasons=st.dictionaries(names, st.integers(0, 10**6), max_size=3),
    examples=st.lists(st.builds(Reject, st.integers(1, 10**6), *[names] * 3), max_size=3).map(tuple),
)


@given(st.lists(lines, max_size=4))
def test_a_ledger_survives_its_file_format(written: list[LedgerLine]) -> None:
    assert ledger.from_json(ledger.to_json(written)) == written


def test_the_file_is_complete_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = LedgerLine("hgnc", "genes", 1, 1, 0, 0, 1, 0)
    path = ledger.write(tmp_path / "new", "abc", [line])
    assert ledger.from_json(path.read_text(encoding="utf-8")) == [line]

    def full(self: Path, *args: object, **kwargs: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        ledger.write(tmp_path / "new", "abc", [])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["abc.json"]
    assert ledger.from_json(path.read_text(encoding="utf-8")) == [line]


def test_merges_are_read_back_and_a_release_without_any_has_no_row(tmp_path: Path) -> None:
    rows = pa.table({"id": ["a", "b"], "entity": ["c", None], "reason": [ledger.SAME_ENTITY, "kept apart"]})
    for release in ("r1", "r2"):
        ledger.write(tmp_path, release, [])
    assert ledger.write_merges(tmp_path, "r2", rows.slice(0, 0)) is None
    ledger.write_merges(tmp_path, "r1", rows)
    assert ledger.read_merges(tmp_path, "r1").to_pylist() == rows.to_pylist()
    assert ledger.read_merges(tmp_path, "r1", ambiguous=True)["id"].to_pylist() == ["b"]
    assert len(ledger.read_merges(tmp_path, "r2", ambiguous=True)) == 0
    with pytest.raises(LedgerError, match="'r3' has no ledger"):
        ledger.read_merges(tmp_path, "r3")
