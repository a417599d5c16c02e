"""What identifies the content of a load: values, never how they are held."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph.release import content_line, release_id
from tosg_graph.types import EdgeTable, Parsed, Source

TOY = Source("toy", "Toy", "1", "CC0-1.0", "https://example.org", 0.0, {})
TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["A:1", "A:2", "", "é"])), min_size=1, max_size=12)


def line(**columns: object) -> str:
    table = EdgeTable("toy", "t", "Gene", "IS_A", "Gene", pa.table(columns), 0, 0, ())
    return content_line(TOY, Parsed(edges=(table,)))


@given(TEXTS, st.integers(0, 12), st.permutations(["A:1", "A:2", "", "é", "never"]))
def test_chunks_and_dictionaries_make_no_difference(
    texts: list[str | None], cut: int, order: list[str]
) -> None:
    codes = pa.array([None if t is None else order.index(t) for t in texts], pa.int32())
    coded = pa.DictionaryArray.from_arrays(codes, pa.array(order))
    own = pa.array(texts, pa.string()).dictionary_encode()
    parts = pa.chunked_array([own[:cut], own[cut:]], own.type)
    assert line(subject=own) == line(subject=coded) == line(subject=parts)


@given(TEXTS, TEXTS)
def test_other_values_are_another_content(one: list[str | None], other: list[str | None]) -> None:
    for encode in (
        lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
        lambda t: pa.array(t, pa.string()),
    ):
        assert (line(subject=encode(one)) == line(subject=encode(other))) == (one == other)


def test_numbers_and_lists() -> None:
    assert line(sign=pa.array([1, None], pa.int8())) == line(sign=pa.array([1, None], pa.int64()))
    lists = [["a"], None, [], ["b", "c"]]
    assert line(x=pa.array(lists, pa.list_(pa.string()))) == line(
        x=pa.array(lists, pa.large_list(pa.string()))
    )
    for other in ([["a"], [], None, ["b", "c"]], [["a"], None, ["b"], ["c"]], [["a", "b"], None, [], ["c"]]):
        assert line(x=pa.array(other, pa.list_(pa.string()))) != line(
            x=pa.array(lists, pa.list_(pa.string()))
        )


@pytest.mark.parametrize("said", [{"version": "2"}, {"licence": "MIT"}, {"key": "other"}, {"terms": "Ask."}])
def test_what_a_source_says_of_itself_counts(said: dict[str, str]) -> None:
    assert content_line(replace(TOY, **said), Parsed()) != content_line(TOY, Parsed())  # type: ignore[arg-type]  # texts only


def test_how_it_was_fetched_does_not_count_and_what_was_before_does() -> None:
    assert content_line(replace(TOY, files_read=("t: x",), size_mb=3.0), Parsed()) == content_line(
        TOY, Parsed()
    )
    assert release_id("", ["a"]) != release_id("before", ["a"])
    assert release_id("", ["a", "b"]) != release_id("", ["b", "a"])
