"""Which gene a measured feature is: the four rules in order, and what happens where they do not decide."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tosg_graph.axis_table import axis_schema
from tosg_graph.errors import CellsError
from tosg_graph.gene_axis import (
    ALIAS,
    AMBIGUOUS,
    ENSEMBL,
    PREVIOUS,
    SECOND,
    SYMBOL,
    UNKNOWN,
    FeatureGene,
    GeneNames,
    check_species,
    map_features,
    new_axis_rows,
    read_gene_names,
)
from tosg_graph.graph import Graph

GENES = GeneNames(
    symbol_of={"HGNC:1": "AAA", "HGNC:2": "BBB", "HGNC:3": "CCC", "HGNC:4": "DDD"},
    by_rule={
        ENSEMBL: {"ENSG1": ("HGNC:1",), "ENSG2": ("HGNC:2",), "ENSG9": ("HGNC:3", "HGNC:4")},
        SYMBOL: {"AAA": ("HGNC:1",), "BBB": ("HGNC:2",), "CCC": ("HGNC:3",), "DDD": ("HGNC:4",)},
        PREVIOUS: {"OLD": ("HGNC:1",), "CCC": ("HGNC:4",), "TWICE": ("HGNC:1", "HGNC:2")},
        ALIAS: {"OLD": ("HGNC:2",), "NICK": ("HGNC:3",), "AAA": ("HGNC:4",)},
    },
)


def one(feature: str, ensembl: str | None = None) -> FeatureGene:
    return map_features([feature], [ensembl], GENES)[0]


@pytest.mark.parametrize(
    ("feature", "ensembl", "gene", "rule"),
    [
        ("AAA", None, "HGNC:1", SYMBOL),
        ("AAA", "ENSG2", "HGNC:2", ENSEMBL),  # the id says more than the name
        ("anything", "ENSG2.17", "HGNC:2", ENSEMBL),  # versions do not matter
        ("ENSG1.5", None, "HGNC:1", ENSEMBL),
        ("CCC", None, "HGNC:3", SYMBOL),  # though a previous symbol of another gene
        ("OLD", None, "HGNC:1", PREVIOUS),  # though an alias of another gene
        ("NICK", None, "HGNC:3", ALIAS),
        ("AAA", "ENSG-unknown", "HGNC:1", SYMBOL),
        ("aaa", None, None, UNKNOWN),  # symbols are case-sensitive: other species write Aaa
        ("RP11-1", None, None, UNKNOWN),
        ("TWICE", None, None, AMBIGUOUS),
        ("x", "ENSG9", None, AMBIGUOUS),
    ],
)
def test_the_rules_apply_in_their_order(
    feature: str, ensembl: str | None, gene: str | None, rule: str
) -> None:
    found = one(feature, ensembl)
    assert (found.feature, found.gene_id, found.rule) == (feature, gene, rule)
    assert found.key == (gene or feature)


def test_an_ambiguous_feature_lists_its_candidates() -> None:
    assert one("TWICE").candidates == ("HGNC:1", "HGNC:2")


@pytest.mark.parametrize("order", [["OLD", "AAA"], ["AAA", "OLD"]])
def test_of_two_features_of_a_gene_the_approved_symbol_wins_in_any_order(order: list[str]) -> None:
    found = {f.feature: f for f in map_features(order, [None, None], GENES)}
    assert (found["AAA"].gene_id, found["AAA"].rule) == ("HGNC:1", SYMBOL)
    assert (found["OLD"].gene_id, found["OLD"].rule, found["OLD"].candidates) == (None, SECOND, ("HGNC:1",))


def test_a_feature_named_like_its_gene_wins_over_one_with_only_the_id() -> None:
    found = map_features(["clone-7", "BBB"], ["ENSG2", None], GENES)
    assert [f.gene_id for f in found] == [None, "HGNC:2"]


def test_no_gene_is_claimed_twice_and_no_feature_is_lost() -> None:
    features = ["AAA", "OLD", "ENSG1", "BBB", "CCC", "NICK", "TWICE", "nobody"]
    found = map_features(features, [None] * len(features), GENES)
    assert [f.feature for f in found] == features
    genes = [f.gene_id for f in found if f.gene_id]
    assert sorted(genes) == ["HGNC:1", "HGNC:2", "HGNC:3"]
    assert len({f.key for f in found}) == len(features)


def test_new_rows_are_those_whose_key_is_not_on_the_axis_yet() -> None:
    axis = pa.table(
        {
            "column": pa.array([0], pa.int32()),
            "feature": ["HGNC:1"],
            "gene_id": ["HGNC:1"],
            "symbol": ["AAA"],
            "rule": [SYMBOL],
        },
        schema=axis_schema(),
    )
    found = new_axis_rows(map_features(["nobody", "BBB", "AAA"], [None] * 3, GENES), axis)
    assert found.to_pylist() == [
        {"feature": "HGNC:2", "gene_id": "HGNC:2", "symbol": "BBB", "rule": SYMBOL},
        {"feature": "nobody", "gene_id": None, "symbol": None, "rule": UNKNOWN},
    ]
    assert len(new_axis_rows([], axis)) == 0


def test_a_file_of_another_species_is_refused() -> None:
    strangers = map_features([f"Gene{n}" for n in range(19)] + ["AAA"], [None] * 20, GENES)
    with pytest.raises(CellsError, match=r"only 1 of 20 features .*'Gene0'.*--allow-unmapped"):
        check_species(strangers, "mouse.h5ad")
    check_species(map_features([f"Gene{n}" for n in range(9)] + ["AAA"], [None] * 10, GENES), "fine.h5ad")


def test_names_are_read_from_the_gene_nodes(graph: Graph) -> None:
    graph.write(
        "CREATE (:Entity:Gene {id: 'HGNC:1', name: 'AAA', symbol: 'AAA', ensembl_id: 'ENSG1',"
        "  previous_symbols: ['OLD', 'O2']}),"
        " (:Entity:Gene {id: 'HGNC:2', name: 'BBB', symbol: 'BBB', alias_symbols: ['OLD', 'O2']}),"
        " (:Entity:Gene {id: 'HGNC:3', name: 'CCC', symbol: 'CCC', alias_symbols: ['O2']})"
    )
    names = read_gene_names(graph)
    assert names.symbol_of == {"HGNC:1": "AAA", "HGNC:2": "BBB", "HGNC:3": "CCC"}
    assert names.by_rule == {
        ENSEMBL: {"ENSG1": ("HGNC:1",)},
        SYMBOL: {"AAA": ("HGNC:1",), "BBB": ("HGNC:2",), "CCC": ("HGNC:3",)},
        PREVIOUS: {"OLD": ("HGNC:1",), "O2": ("HGNC:1",)},
        ALIAS: {"OLD": ("HGNC:2",), "O2": ("HGNC:2", "HGNC:3")},
    }


def test_a_graph_without_genes_says_what_to_load(graph: Graph) -> None:
    with pytest.raises(CellsError, match="tosg load hgnc"):
        read_gene_names(graph)
