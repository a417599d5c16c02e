"""Queries with names, canned questions, and who gets which parameter; no server."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import hops as growth
from tosg_graph.cli.options import read_hops, read_induce
from tosg_graph.cli.questions import export
from tosg_graph.errors import QueryError
from tosg_graph.hops import Hops, chunks, union, within
from tosg_graph.named_queries import named_queries

A = "MATCH (g:Gene) WHERE g.name = $name RETURN g"
B = "MATCH (d:Drug) WHERE d.name = $drug AND d.score > $least RETURN d"


def read(queries: Any, parameters: dict[str, Any] | None = None) -> list[tuple[str, str, dict[str, Any]]]:
    return [(q.name, q.text, q.parameters) for q in named_queries(queries, parameters)]


def test_queries_are_named_or_have_the_name_of_their_place() -> None:
    assert read(f" genes = {A}; ") == [("genes", A, {})]
    assert [name for name, *_ in read([A, f"drugs={B}", A])] == ["query_1", "drugs", "query_3"]
    assert read({"genes": A})[0][:2] == ("genes", A)


@pytest.mark.parametrize(
    "text",
    ["MATCH p = (a)-->(b) RETURN p", "WITH 1 AS a MATCH (n) WHERE n.x = a RETURN n", "RETURN 1=1 AS x"],
)
def test_no_part_of_a_query_is_taken_for_a_name(text: str) -> None:
    assert read(text) == [("query_1", text, {})]


def test_parameters_go_to_the_queries_that_use_them_or_that_they_name() -> None:
    given = {"name": "STAT1", "drugs.drug": "aspirin", "least": 2, "more.name": "IL6"}
    found = read({"genes": A, "drugs": B, "more": A}, given)
    assert [parameters for *_, parameters in found] == [
        {"name": "STAT1"},
        {"drug": "aspirin", "least": 2},
        {"name": "IL6"},
    ]
    assert read(A, {"name": "x", "unused": 1})[0][2] == {"name": "x", "unused": 1}


def test_a_canned_question_is_given_by_its_name_and_gets_its_defaults() -> None:
    genes, first = named_queries(["pathway_genes", "near=downstream_genes"], {"pathway": "a", "gene": "IL6"})
    assert (genes.name, genes.saved) == ("pathway_genes", "pathway_genes")
    assert (first.name, first.saved) == ("near", "downstream_genes")
    assert genes.parameters == {"pathway": "a", "sources": None}
    assert first.parameters == {"gene": "IL6", "steps": 2, "sources": None}
    assert "$pathway" in genes.text


@pytest.mark.parametrize(
    ("queries", "parameters", "message"),
    [
        ("pathway_gene", {}, "No canned question is called 'pathway_gene'. Did you mean 'pathway_genes'"),
        ("x=pathway_gene", {}, "Did you mean 'pathway_genes'"),
        ("pathway_genes", {}, "needs --param pathway=VALUE"),
        ("pathway_genes", {"pathwy": "a"}, "has no parameter 'pathwy'"),
        ([f"a={A}", f"a={B}"], {}, "Two queries are called 'a'"),
        ({"a b": A}, {}, "'a b' cannot name a query"),
        ([A, B], {"nmae": 1}, "None of the queries query_1, query_2 has a parameter 'nmae'"),
        ({"genes": A}, {"gene.name": 1}, "for a query 'gene', which is not given. Did you mean 'genes'"),
        (A, {"tosg_chunk": 1}, "is used by the export itself"),
        ([], {}, "No query is given"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(queries: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message.replace("$", r"\$")) as error:
        named_queries(queries, parameters)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "hops is 0; it is a number of steps from 1 to 10"),
        ({"steps": 11}, "hops is 11"),
        ({"steps": 1, "cap": 0}, "hop cap is 0"),
        ({"steps": 1, "seed": -1}, "hop seed is -1"),
        ({"steps": 1, "verbs": ("signals_to",)}, "Did you mean 'SIGNALS_TO'"),
    ],
)
def test_hops_out_of_their_bounds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        Hops(**options)


# --------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("given", "induce"),
    [
        ([], False),
        (["--induce"], True),
        (["--induce", "--no-cache"], True),
        (["--induce", "SIGNALS_TO,ENCODES"], ("SIGNALS_TO", "ENCODES")),
        (["--induce=SIGNALS_TO"], ("SIGNALS_TO",)),
    ],
)
def test_induce_is_a_flag_or_takes_types(given: list[str], induce: bool | tuple[str, ...]) -> None:
    arguments = [*given, "--query", "a", "--query", "b=c", "--label", "x", "--out", "y"]
    context = export.make_context("export", arguments)
    assert read_induce(context.params["induce"]) == induce
    assert context.params["queries"] == ("a", "b=c")


def test_options_of_hops_belong_to_hops() -> None:
    assert read_hops(None, None, None, None) is None
    assert read_hops(2, 3, "SIGNALS_TO,ENCODES", 4) == Hops(2, 3, ("SIGNALS_TO", "ENCODES"), 4)
    for alone in ({"cap": 1}, {"types": "ENCODES"}, {"seed": 0}):
        with pytest.raises(click.UsageError, match="belongs to --hops"):
            read_hops(None, **{"cap": None, "types": None, "seed": None, **alone})
    with pytest.raises(click.UsageError, match="Add --hop-cap"):
        read_hops(1, None, None, 7)


# --------------------------------------------------------------------------- the sample of a cap


@given(st.permutations(range(30)), st.integers(1, 5), st.integers(0, 2**63 - 1))
def test_a_sample_does_not_depend_on_the_order_of_the_server(order: list[int], cap: int, seed: int) -> None:
    """Node ``k // 10`` has the relationships ``k``, whose keys are ``-7 * k``."""
    k = np.array(order)
    found = growth._Found(k // 10, k, k + 100, -7 * k)
    kept = {int(x) for x in k[growth._sample(found, Hops(1, cap, seed=seed))]}
    plain = np.arange(30)
    same = growth._Found(plain // 10, plain, plain + 100, -7 * plain)
    assert kept == {int(x) for x in growth._sample(same, Hops(1, cap, seed=seed))}
    assert [sum(x // 10 == node for x in kept) for node in range(3)] == [cap] * 3


def test_another_seed_is_another_sample() -> None:
    k = np.arange(1000)
    found = growth._Found(k * 0, k, k, k)
    samples = {tuple(growth._sample(found, Hops(1, 10, seed=seed))) for seed in range(20)}
    assert len(samples) == 20


@given(st.lists(st.lists(st.integers(0, 20))), st.integers(1, 4))
def test_sets_of_ids(parts: list[list[int]], size: int) -> None:
    arrays = [np.array(part, np.int64) for part in parts]
    every = sorted({x for part in parts for x in part})
    assert union(arrays).tolist() == every
    asked = np.arange(22)
    assert [x for x in asked if within(asked, union(arrays))[x]] == every
    assert [x for part in chunks(union(arrays), size) for x in part] == every
