"""One node per id and one relationship per key, whatever the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import ids, ledger, merge
from tosg_graph.ids import IdResolver
from tosg_graph.types import EdgeTable, LedgerLine, NodeTable


def nodes(source: str, label: str, **columns: object) -> NodeTable:
    data = pa.table(columns)
    return NodeTable(source, label.lower(), label, data, len(data))


def edges(source: str, verb: str, data: dict[str, object], ends: str = "Gene") -> EdgeTable:
    table = pa.table(data)
    return EdgeTable(source, verb.lower(), ends, verb, ends, table, len(table))


def merged_nodes(*tables: NodeTable) -> tuple[dict[str, dict[str, object]], list[LedgerLine]]:
    accounts = [ledger.open_account(t) for t in tables]
    merged = merge.merge_nodes(tables, accounts)
    rows = [row for batch in merged.batches() for row in batch.to_pylist()]
    assert [row["id"] for row in rows] == merged.ids.to_pylist()
    assert len(merged.owner) == len(rows)
    assert merged.label_counts == Counter(label for row in rows for label in row["labels"])
    return {row["id"]: row for row in rows}, [a.line() for a in accounts]


def merged_edges(*tables: EdgeTable) -> tuple[list[dict[str, object]], list[LedgerLine]]:
    accounts = [ledger.open_account(t) for t in tables]
    genes = nodes(
        "hgnc",
        "Gene",
        id=[f"HGNC:{i}" for i in range(1, 6)],
        name=list("abcde"),
        xrefs=[[f"NCBIGene:{i}"] for i in range(1, 6)],
    )
    merged = merge.merge_edges(tables[0].verb, tables, accounts, IdResolver([genes]))
    return merged.data.to_pylist(), [a.line() for a in accounts]


def test_one_compound_in_two_tables_is_one_node_with_both_labels() -> None:
    metabolite = nodes(
        "chebi", "Metabolite", id=["CHEBI:1", "CHEBI:2"], name=["aspirin", "two"], synonyms=[["b", "a"], None]
    )
    drug = nodes(
        "drugs", "Drug", id=["CHEBI:1"], name=["Aspirin"], synonyms=[["c", "a", ""]], approved=[True]
    )
    found, lines = merged_nodes(metabolite, drug)
    assert set(found) == {"CHEBI:1", "CHEBI:2"}
    both = found["CHEBI:1"]
    assert set(both["labels"]) == {"Metabolite", "Drug"}  # type: ignore[call-overload]  # rows are untyped
    assert both["sources"] == ["chebi", "drugs"]
    assert both["synonyms"] == ["a", "b", "c"]
    assert both["name"] == "aspirin"
    assert both["approved"] is True
    assert both["text"] == "Drug, Metabolite: aspirin\nSynonyms: a; b; c"
    assert (lines[0].loaded, lines[0].merged, lines[1].loaded, lines[1].merged) == (2, 0, 0, 1)
    assert lines[1].reasons == {"conflicting name, first kept": 1, "same id as an earlier row": 1}
    assert [(e.row, e.column, e.value) for e in lines[1].examples] == [(1, "name", "Aspirin")]


def test_the_first_source_in_load_order_wins_and_gaps_are_filled() -> None:
    first = nodes("a", "Protein", id=["UniProtKB:P1"], name=["one"], description=[""])
    second = nodes("b", "Protein", id=["UniProtKB:P1"], name=["uno"], description=["given"])
    assert merged_nodes(first, second)[0]["UniProtKB:P1"]["name"] == "one"
    assert merged_nodes(second, first)[0]["UniProtKB:P1"]["name"] == "uno"
    assert merged_nodes(first, second)[0]["UniProtKB:P1"]["description"] == "given"


def test_rows_of_one_table_with_one_id_are_merged_and_counted() -> None:
    table = nodes(
        "a", "Gene", id=["HGNC:1", "HGNC:2", "HGNC:1"], name=["x", "y", "x"], symbol=["x", "y", "x"]
    )
    found, (line,) = merged_nodes(table)
    assert set(found) == {"HGNC:1", "HGNC:2"}
    assert (line.read, line.loaded, line.merged) == (3, 2, 1)


def test_no_tables_make_no_nodes() -> None:
    assert merged_nodes() == ({}, [])


lists = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=5)), max_size=20
)


@given(lists, st.integers(0, 5))
def test_lists_are_sorted_without_repeats_nulls_and_empties(
    values: list[list[str | None] | None], skip: int
) -> None:
    column = pa.table({"synonyms": pa.array(values, pa.list_(pa.string()))}).slice(skip)
    found = merge._typed(column, "synonyms", "list").to_pylist()
    assert found == [sorted({v for v in value or [] if v}) or None for value in values[skip:]]


def test_endpoints_are_resolved_and_bad_ones_rejected_with_row_and_value() -> None:
    table = edges(
        "indra",
        "SIGNALS_TO",
        {
            "subject": ["NCBIGene:1", "HGNC:2", "HGNC:9", "HGNC:8"],
            "object": ["HGNC:3", "NCBIGene:99", "HGNC:1", "X:1"],
            "sign": [1, -1, 0, 0],
        },
    )
    rows, (line,) = merged_edges(table)
    assert [(r["subject"], r["object"], r["sign"], r["source"]) for r in rows] == [
        ("HGNC:1", "HGNC:3", 1, "indra")
    ]
    assert (line.read, line.loaded, line.rejected) == (4, 1, 3)
    assert line.reasons == {"unknown id": 3}
    assert sorted((e.row, e.column, e.value) for e in line.examples) == [
        (2, "object", "NCBIGene:99"),
        (3, "subject", "HGNC:9"),
        (4, "subject", "HGNC:8"),
    ]


def test_rejects_and_conflicts_name_the_row_of_the_file() -> None:
    table = edges(
        "indra",
        "SIGNALS_TO",
        {
            "subject": ["HGNC:1", "HGNC:9", "HGNC:1"],
            "object": ["HGNC:2", "HGNC:1", "HGNC:2"],
            "sign": [1, 1, -1],
        },
    )
    _, (line,) = merged_edges(replace(table, rows=pa.array([4, 7, 11], pa.int32())))
    assert [(e.row, e.reason) for e in line.examples] == [
        (7, "unknown id"),
        (11, "conflicting sign, first kept"),
    ]
    genes = nodes("a", "Gene", id=["HGNC:1", "HGNC:1"], name=["A1", "A2"], symbol=["A1", "A1"])
    _, (line,) = merged_nodes(replace(genes, rows=pa.array([5, 9], pa.int32())))
    assert [(e.row, e.value) for e in line.examples] == [(9, "A2")]


def test_symmetric_verbs_are_stored_once_smaller_id_first() -> None:
    table = edges(
        "ppi",
        "INTERACTS_WITH",
        {
            "subject": ["HGNC:2", "HGNC:1", "HGNC:3"],
            "object": ["HGNC:1", "HGNC:2", "HGNC:3"],
            "publications": [["PMID:2"], ["PMID:1"], None],
        },
    )
    rows, (line,) = merged_edges(table)
    assert [(r["subject"], r["object"], r["publications"]) for r in rows] == [
        ("HGNC:1", "HGNC:2", ["PMID:1", "PMID:2"]),
        ("HGNC:3", "HGNC:3", None),
    ]
    assert (line.loaded, line.merged) == (2, 1)


def test_two_sources_that_say_the_same_stay_two_relationships() -> None:
    data = {"subject": ["HGNC:1"], "object": ["HGNC:2"], "sign": [1]}
    rows, lines = merged_edges(edges("a", "SIGNALS_TO", data), edges("b", "SIGNALS_TO", data))
    assert [r["source"] for r in rows] == ["a", "b"]
    assert [(x.loaded, x.merged) for x in lines] == [(1, 0), (1, 0)]
    assert len({r["edge_key"] for r in rows}) == 2


def test_the_resource_says_who_states_it() -> None:
    data = {
        "subject": ["HGNC:1"] * 3,
        "object": ["HGNC:2"] * 3,
        "sign": [1, 1, 0],
        "resource": ["SIGNOR", None, "SIGNOR"],
    }
    rows, (line,) = merged_edges(edges("indra", "SIGNALS_TO", data))
    assert [(r["source"], r["sign"]) for r in rows] == [("SIGNOR", 1), ("indra", 1)]
    assert rows[0]["edge_key"] == ids.edge_key("HGNC:1", "SIGNALS_TO", "HGNC:2", "SIGNOR")
    assert line.reasons == {"conflicting sign, first kept": 1, "same relationship as an earlier row": 1}


def test_keys_that_collide_are_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(verb: str, subjects: pa.DictionaryArray, *others: pa.DictionaryArray) -> npt.NDArray[np.int64]:
        return np.array([int(s.split(":")[1]) % 2 for s in subjects.to_pylist()], np.int64)

    monkeypatch.setattr(merge, "edge_keys", narrow)
    table = edges(
        "a",
        "SIGNALS_TO",
        {"subject": ["HGNC:1", "HGNC:2", "HGNC:3", "HGNC:1"], "object": ["HGNC:5"] * 4, "sign": [1, 1, 1, 1]},
    )
    rows, (line,) = merged_edges(table)
    assert [r["subject"] for r in rows] == ["HGNC:1", "HGNC:2"]
    assert (line.read, line.loaded, line.merged, line.rejected) == (4, 2, 1, 1)
    assert line.reasons["edge key collision"] == 1
    assert line.examples[0].row == 3


@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from(["p", "q", None])), max_size=30)
)
def test_rows_of_relationships_always_add_up(rows: Sequence[tuple[int, int, str | None]]) -> None:
    data = {
        "subject": pa.array([f"HGNC:{s}" for s, _, _ in rows], pa.string()),
        "object": pa.array([f"NCBIGene:{o}" for _, o, _ in rows], pa.string()),
        "sign": pa.array([0] * len(rows), pa.int64()),
        "resource": pa.array([r for _, _, r in rows], pa.string()),
    }
    stored, (line,) = merged_edges(edges("a", "SIGNALS_TO", data))
    wanted = {(f"HGNC:{s}", f"HGNC:{o}", r or "a") for s, o, r in rows if s < 6 and o < 6}
    assert {(r["subject"], r["object"], r["source"]) for r in stored} == wanted
    assert line.loaded == len(wanted) == len(stored)
    assert line.rejected == sum(s > 5 or o > 5 for s, o, _ in rows)
