"""What changed between two releases, offline; which exports that touches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_bundle
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import cli, history, stated
from tosg_graph.diff import diff
from tosg_graph.errors import LoadError
from tosg_graph.export import write_bundle
from tosg_graph.settings import Settings, read_settings

Nodes = Mapping[str, int]  # id -> what is said of it
Edges = Mapping[str, Mapping[int, int]]  # verb -> key -> what is said of it


def release(number: int) -> str:
    return f"{number:x}" * 16


def keep(settings: Settings, number: int, sources: Mapping[str, tuple[Nodes, Edges]]) -> None:
    """Record what a load of ``sources`` on top of release ``number - 1`` leaves."""
    written = {}
    for source, (nodes, edges) in sources.items():
        values = pa.array(nodes.values(), pa.uint64())
        types = ["Gene" if i.startswith("HGNC") else "Protein" for i in nodes]
        table = {"id": pa.array(nodes, pa.string()), "label": pa.array(types, pa.string())}
        table |= {"hash": pa.array([v + 1000 * number for v in nodes.values()], pa.uint64()), "own": values}
        of_verb = {
            verb: pa.table({"key": pa.array(k, pa.int64()), "hash": pa.array(k.values(), pa.uint64())})
            for verb, k in edges.items()
        }
        name = stated.write(settings.stated, source, pa.table(table), of_verb.items())
        stated.settle(settings.stated, source, name, release(number))
        written[source] = name
    before = {kept.id: kept for kept in history.releases(settings.stated)}.get(release(number - 1))
    contents = dict(before.sources if before else {}) | {s: f"v{number} sha{n}" for s, n in written.items()}
    history.keep(
        settings.stated,
        release(number),
        number,
        release(number - 1) if number > 1 else "",
        [f"{source} {said}" for source, said in contents.items()],
        written,
    )


@pytest.fixture
def two() -> Settings:
    """`a` changes nodes and relationships, `b` drops a node that `a` states, `c` is the same, `d` is new."""
    settings = read_settings()
    a = {"HGNC:1": 1, "HGNC:2": 2, "HGNC:3": 3, "UniProtKB:P1": 4}
    signals = {"SIGNALS_TO": {21: 1, 22: 1, 23: 1}, "ENCODES": {11: 1}}
    keep(settings, 1, {"a": (a, signals), "b": ({"HGNC:2": 1, "HGNC:4": 1}, {}), "c": ({"HGNC:9": 1}, {})})
    a = {"HGNC:1": 9, "HGNC:2": 2, "HGNC:3": 3, "HGNC:5": 5}
    signals = {"SIGNALS_TO": {21: 1, 22: 7, 25: 1}, "ENCODES": {11: 1}}
    keep(settings, 2, {"a": (a, signals), "b": ({}, {}), "d": ({}, {"IS_A": {99: 1}})})
    return settings


def rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.to_pylist()]


def test_changes_by_source_and_label_or_verb(two: Settings) -> None:
    found = diff(two)
    assert (found.before.id, found.after.id) == (release(1), release(2))
    assert rows(found.changes) == [
        ("a", "nodes", "Gene", 1, 1, 0, ["+HGNC:5", "~HGNC:1"]),
        ("a", "nodes", "Protein", 0, 0, 1, ["-UniProtKB:P1"]),
        ("a", "relationships", "SIGNALS_TO", 1, 1, 1, ["+25", "~22", "-23"]),
        ("b", "nodes", "Gene", 0, 0, 2, ["-HGNC:2", "-HGNC:4"]),
        ("d", "relationships", "IS_A", 1, 0, 0, ["+99"]),
    ]


def test_the_other_way_round_adds_what_was_retired(two: Settings) -> None:
    forth, back = diff(two).changes, diff(two, "2", "1").changes
    assert forth["retired"].to_pylist() == back["added"].to_pylist()
    assert forth["added"].to_pylist() == back["retired"].to_pylist()
    assert forth["changed"].to_pylist() == back["changed"].to_pylist()
    assert not len(diff(two, "1", "1").changes)


def bundle(two: Settings, out: Path, from_release: int) -> Path:
    made = toy_bundle.measured(release=release(from_release))
    write_bundle(toy_bundle.selection(), made, cohort="true", label="cell_type", out=out)
    history.record_export(two.home, out, release(from_release))
    return out


def test_exports_are_touched_by_what_they_hold(two: Settings, tmp_path: Path) -> None:
    """The toy bundle holds HGNC:1 to 4, UniProtKB:P1 and P2, and the keys 11, 12 and 21 to 24."""
    old, new = bundle(two, tmp_path / "old", 1), bundle(two, tmp_path / "new", 2)
    gone = tmp_path / "gone"
    history.record_export(two.home, gone, release(1))
    with (two.home / "exports.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"path": "/cut o')
    empty = tmp_path / "empty"
    empty.mkdir()
    found = {row[0]: row[1:] for row in rows(diff(two, bundles=[old, empty]).bundles)}
    # HGNC:1 changed; HGNC:2 is still stated by `a`; HGNC:4 and UniProtKB:P1 are stated by nobody.
    assert found[str(old)] == (release(1), "touched", 2, 2, 1, 1)
    assert found[str(new)][:2] == (release(2), "made from this release or a later one")
    assert found[str(gone)][1] == "missing"
    assert found[str(empty)][1].startswith("unreadable")
    assert list(found) == [str(old), str(new), str(gone), str(empty)]


def test_a_record_after_one_that_was_cut_off_is_read(two: Settings, tmp_path: Path) -> None:
    (two.home / "exports.jsonl").write_text('{"path": "/cut o')
    history.record_export(two.home, tmp_path / "x", release(1))
    assert history.recorded_exports(two.home) == [tmp_path / "x"]


def test_only_the_newest_releases_are_kept_and_what_they_share_is_one_file(two: Settings) -> None:
    for number in range(3, 9):
        keep(two, number, {"a": ({"HGNC:1": number}, {})})
    kept = history.releases(two.stated)
    assert [r.number for r in kept] == [4, 5, 6, 7, 8]
    assert len({r.files["c"] for r in kept}) == 1
    files = {p.name for p in two.stated.glob("*.parquet")}
    assert files == {name for r in kept for name in r.files.values()}
    assert history.prune(two.stated, 2) == (3, 3)
    assert rows(diff(two).changes) == [("a", "nodes", "Gene", 0, 1, 0, ["~HGNC:1"])]
    with pytest.raises(LoadError, match="No release '4' is kept here"):
        diff(two, "4")


def test_statements_that_are_not_kept_or_hashed_by_another_maker_are_named(
    two: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (two.stated / history.releases(two.stated)[0].files["a"]).unlink()
    monkeypatch.setattr(stated, "hasher", lambda: "another")
    keep(two, 3, {"b": ({"HGNC:4": 1}, {})})
    assert rows(diff(two, "1", "2").changes)[0][:3] == ("a", "unknown", "what it stated is not kept here")
    assert rows(diff(two, "2", "3").changes)[0][:2] == ("b", "unknown")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("zz",), "No release 'zz' is kept here. Did you mean"),
        (("1", "22222222222222223"), "Did you mean 2222222222222222?"),
        (("", "1"), "is not kept here, so there is nothing to compare with"),
    ],
    ids=["unknown", "too long", "no previous"],
)
def test_releases_that_are_not_there_are_one_line(
    two: Settings, arguments: tuple[str, ...], says: str
) -> None:
    done = CliRunner().invoke(cli.main, ["kg", "diff", *arguments])
    assert done.exit_code == 1
    assert says in done.output
    assert len(done.output.strip().splitlines()) == 1


def test_the_command_prints_a_table_or_one_json_object(two: Settings, tmp_path: Path) -> None:
    bundle(two, tmp_path / "old", 1)
    text = CliRunner().invoke(cli.main, ["kg", "diff"]).output
    assert f"from {release(1)} (number 1) to {release(2)} (number 2)" in text
    assert "SIGNALS_TO" in text
    assert "touched" in text
    found = json.loads(CliRunner().invoke(cli.main, ["kg", "diff", "1", "--json"]).output)
    assert found["changes"][0]["examples"] == ["+HGNC:5", "~HGNC:1"]
    assert found["bundles"][0]["nodes_changed"] == 2
    assert "Forgot 1 releases" in CliRunner().invoke(cli.main, ["kg", "prune", "--keep", "1"]).output
    assert len(history.releases(two.stated)) == 1


def test_nothing_is_kept_yet() -> None:
    with pytest.raises(LoadError, match="No release is kept in this home"):
        diff(read_settings())


statements = st.dictionaries(st.integers(0, 20), st.integers(0, 2), max_size=15)


@given(statements, statements)
def test_counts_are_those_of_sets(tmp_path_factory: pytest.TempPathFactory, was: Any, now: Any) -> None:
    from dataclasses import replace

    settings = replace(read_settings(), home=tmp_path_factory.mktemp("home"))
    keep(settings, 1, {"s": ({f"HGNC:{k}": v for k, v in was.items()}, {"IS_A": was})})
    keep(settings, 2, {"s": ({f"HGNC:{k}": v for k, v in now.items()}, {"IS_A": now})})
    wanted = (
        len(now.keys() - was.keys()),
        sum(was[k] != now[k] for k in was.keys() & now.keys()),
        len(was.keys() - now.keys()),
    )
    found = rows(diff(settings).changes)
    assert [row[3:6] for row in found] == ([wanted, wanted] if any(wanted) else [])
