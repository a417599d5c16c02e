"""Which ids name one thing: rules per label, whatever the order of rows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tosg_graph import contract, ledger, merge
from tosg_graph.identity import (
    CIRCULAR,
    NOT_ONE_TO_ONE,
    SEVERAL,
    STORED,
    Identity,
    find_identity,
    judge,
)
from tosg_graph.ids import IdResolver
from tosg_graph.ledger import SAME_ENTITY
from tosg_graph.types import LedgerLine, NodeTable


def nodes(label: str, rows: Mapping[str, list[str] | None], source: str = "s") -> NodeTable:
    data = {
        "id": pa.array(rows, pa.string()),
        "name": [f"{i} of {source}" for i in rows],
        "xrefs": pa.array(rows.values(), pa.list_(pa.string())),
    }
    if label == "Gene":
        data["symbol"] = pa.array(rows, pa.string())
    return NodeTable(source, label.lower(), label, pa.table(data), len(rows))


def joined(label: str, *tables: Mapping[str, list[str] | None]) -> dict[str, str]:
    return find_identity([nodes(label, rows) for rows in tables], {}).entities(label)


def apart(label: str, *tables: Mapping[str, list[str] | None]) -> dict[str, tuple[str, tuple[str, ...]]]:
    found = find_identity([nodes(label, rows) for rows in tables], {}).verdicts.get(label, {})
    return {i: (v.reason, v.candidates) for i, v in found.items() if v.entity is None}


def loaded(*tables: NodeTable) -> tuple[dict[str, dict[str, object]], list[LedgerLine], Identity]:
    accounts = [ledger.open_account(t) for t in tables]
    identity = find_identity(tables, {})
    applied = [identity.apply(t, a) for t, a in zip(tables, accounts, strict=True)]
    merged = merge.merge_nodes([t for t, _ in applied], accounts, [rows for _, rows in applied])
    rows = [row for batch in merged.batches() for row in batch.to_pylist()]
    return {row["id"]: row for row in rows}, [a.line() for a in accounts], identity


HGNC = nodes("Gene", {"HGNC:1": ["NCBIGene:11", "ENSEMBL:E1"], "HGNC:2": ["NCBIGene:12"]}, "hgnc")
HETIONET = nodes("Gene", {"NCBIGene:11": None, "NCBIGene:99": None}, "hetionet")


# --------------------------------------------------------------------------- rows become one node


@pytest.mark.parametrize("tables", [(HGNC, HETIONET), (HETIONET, HGNC)], ids=["hgnc first", "hetionet first"])
def test_a_row_that_another_entity_has_as_xref_joins_it(tables: tuple[NodeTable, ...]) -> None:
    found, lines, _ = loaded(*tables)
    assert set(found) == {"HGNC:1", "HGNC:2", "NCBIGene:99"}
    one = found["HGNC:1"]
    assert one["xrefs"] == ["ENSEMBL:E1", "NCBIGene:11"]
    assert one["sources"] == [t.source for t in tables]
    assert one["name"] == f"{tables[0].data['id'][0]} of {tables[0].source}"  # the first source, as always
    by_source = {line.source: line for line in lines}
    assert by_source["hetionet"].reasons[SAME_ENTITY] == 1
    assert sum(line.loaded for line in lines) == 3
    assert sum(line.merged for line in lines) == 1


def test_the_ids_own_id_becomes_an_xref_where_the_table_has_none() -> None:
    bare = nodes("Gene", {"NCBIGene:12": None}, "bare")
    bare = NodeTable("bare", "gene", "Gene", bare.data.drop_columns(["xrefs"]), 1)
    found, lines, _ = loaded(bare, HGNC)
    assert found["HGNC:2"]["xrefs"] == ["NCBIGene:12"]
    assert [(x.loaded, x.merged) for x in lines] == [(1, 0), (1, 1)]


def test_a_name_that_is_only_the_id_gives_way_to_a_real_one() -> None:
    table = nodes("Gene", {"NCBIGene:12": None}, "bare")
    data = table.data.set_column(1, "name", pa.array(["NCBIGene:12"]))
    found, lines, _ = loaded(replace(table, data=data), HGNC)
    assert found["HGNC:2"]["name"] == "HGNC:2 of hgnc"
    assert "conflicting name, first kept" not in lines[1].reasons


def test_the_merge_ledger_names_row_rule_and_candidates() -> None:
    twice = nodes("Gene", {"HGNC:3": ["NCBIGene:99"], "HGNC:4": ["NCBIGene:99"]}, "other")
    tables = [HGNC, HETIONET, twice]
    rows = loaded(*tables)[2].rows(tables).to_pylist()
    assert rows == [
        {
            **{"source": "hetionet", "table": "gene", "row": 1, "id": "NCBIGene:11", "label": "Gene"},
            **{"entity": "HGNC:1", "rule": "Gene: NCBIGene to HGNC, many", "candidates": ["HGNC:1"]},
            "reason": SAME_ENTITY,
        },
        {
            **{"source": "hetionet", "table": "gene", "row": 2, "id": "NCBIGene:99", "label": "Gene"},
            **{"entity": None, "rule": "Gene: NCBIGene to HGNC, many", "candidates": ["HGNC:3", "HGNC:4"]},
            "reason": SEVERAL,
        },
    ]


def test_endpoints_follow_the_rows() -> None:
    found, _, identity = loaded(HGNC, HETIONET)
    resolver = IdResolver([HGNC], None, {"Gene": identity.entities("Gene")})
    ends, reasons = resolver.resolve("Gene", pa.chunked_array([["NCBIGene:11", "ENSEMBL:E1", "HGNC:2"]]))
    assert ends.to_pylist() == ["HGNC:1", "HGNC:1", "HGNC:2"]
    assert not reasons
    assert set(ends.to_pylist()) <= set(found)


def test_a_stored_node_whose_entity_came_later_is_listed() -> None:
    stored = pa.table(
        {"id": ["NCBIGene:11", "NCBIGene:12"], "sources": [["hetionet"], []], "xrefs": [[], []]}
    )
    stored = stored.set_column(2, "xrefs", pa.array([[], []], pa.list_(pa.string())))
    identity = find_identity([HGNC], {"Gene": stored})
    assert identity.entities("Gene") == {"NCBIGene:11": "HGNC:1", "NCBIGene:12": "HGNC:2"}
    (row,) = identity.rows([HGNC]).to_pylist()
    assert (row["source"], row["row"], row["id"], row["reason"]) == ("hetionet", 0, "NCBIGene:11", STORED)


# --------------------------------------------------------------------------- the rules


def test_previous_ids_join_the_entity_that_replaced_them() -> None:
    assert joined("BiologicalProcess", {"GO:2": ["GO:1"]}, {"GO:1": None}) == {"GO:1": "GO:2"}


def test_chains_end_at_the_best_id() -> None:
    rows = {"HGNC:1": ["ENSEMBL:E"], "ENSEMBL:E": ["NCBIGene:5"], "NCBIGene:5": ["NCBIGene:4"]}
    assert joined("Gene", rows, {"NCBIGene:4": None}) == dict.fromkeys(
        ["ENSEMBL:E", "NCBIGene:5", "NCBIGene:4"], "HGNC:1"
    )


def test_circles_stay_apart_and_what_hangs_on_them_joins_the_one_it_hangs_on() -> None:
    rows = {"GO:1": ["GO:2"], "GO:2": ["GO:1"], "GO:3": None}
    assert joined("BiologicalProcess", rows) == {}
    assert apart("BiologicalProcess", rows) == {"GO:1": (CIRCULAR, ("GO:2",)), "GO:2": (CIRCULAR, ("GO:1",))}
    assert joined("BiologicalProcess", rows | {"GO:2": ["GO:1", "GO:3"]}) == {"GO:3": "GO:2"}


def test_an_id_that_claims_its_entity_stays_apart_whoever_else_claims_that() -> None:
    rows = {"GO:1": ["GO:2"], "GO:2": ["GO:1", "GO:3"], "GO:3": ["GO:1"]}
    assert joined("BiologicalProcess", rows) == {}
    assert set(apart("BiologicalProcess", rows)) == {"GO:1", "GO:2", "GO:3"}


def test_a_lesser_id_does_not_pull_a_better_one() -> None:
    assert joined("Gene", {"NCBIGene:1": ["HGNC:1"], "HGNC:1": None}) == {}


def test_two_claimants_that_are_one_entity_are_one() -> None:
    rows = {"HGNC:1": ["ENSEMBL:E", "NCBIGene:1"], "ENSEMBL:E": ["NCBIGene:1"], "NCBIGene:1": None}
    assert joined("Gene", rows) == {"ENSEMBL:E": "HGNC:1", "NCBIGene:1": "HGNC:1"}


def test_many_diseases_may_join_one_and_one_of_two_joins_none() -> None:
    mondo = {"MONDO:1": ["DOID:1", "OMIM:1", "OMIM:2"], "MONDO:2": ["OMIM:2", "UMLS:3"]}
    others = {"DOID:1": None, "OMIM:1": None, "OMIM:2": None, "UMLS:3": None}
    assert joined("Disease", mondo, others) == {"DOID:1": "MONDO:1", "OMIM:1": "MONDO:1", "UMLS:3": "MONDO:2"}
    assert apart("Disease", mondo, others) == {"OMIM:2": (SEVERAL, ("MONDO:1", "MONDO:2"))}


@pytest.mark.parametrize("label", ["Drug", "Metabolite"])
def test_drugs_and_metabolites_join_only_one_to_one(label: str) -> None:
    one = {"CHEBI:1": ["PUBCHEM.COMPOUND:1"], "CHEBI:2": ["PUBCHEM.COMPOUND:2", "PUBCHEM.COMPOUND:3"]}
    others = {f"PUBCHEM.COMPOUND:{i}": None for i in (1, 2)}
    assert joined(label, one, others) == {"PUBCHEM.COMPOUND:1": "CHEBI:1"}
    assert apart(label, one, others) == {"PUBCHEM.COMPOUND:2": (NOT_ONE_TO_ONE, ("CHEBI:2",))}


def test_one_to_one_counts_the_xrefs_of_all_that_join() -> None:
    rows = {"CHEBI:1": ["DRUGBANK:1", "PUBCHEM.COMPOUND:1"], "DRUGBANK:1": ["PUBCHEM.COMPOUND:2"]}
    assert joined("Drug", rows, {"PUBCHEM.COMPOUND:1": None}) == {"DRUGBANK:1": "CHEBI:1"}


def test_clusters_join_nothing_and_nothing_joins_them() -> None:
    rows = {"BMG:GN000001": ["NCBIGene:1", "BMGC:GN000001"], "NCBIGene:1": None, "BMGC:GN000001": None}
    assert joined("Gene", rows) == {}
    resolver = IdResolver([nodes("Gene", {"BMG:GN1": ["NCBIGene:1"], "HGNC:1": ["NCBIGene:1"]})])
    assert resolver.resolve("Gene", pa.chunked_array([["NCBIGene:1"]]))[0].to_pylist() == ["HGNC:1"]


def test_a_phenotype_never_joins_a_disease() -> None:
    disease, symptom = nodes("Disease", {"MONDO:1": ["MESH:D1"]}), nodes("Phenotype", {"MESH:D1": None})
    assert set(loaded(disease, symptom)[0]) == {"MONDO:1", "MESH:D1"}


def test_rules_name_prefixes_that_ids_of_the_label_may_have() -> None:
    for label in contract.labels():
        rules = contract.identity_rules(label)
        assert set(rules) <= set(contract.id_prefixes(label)) - set(contract.cluster_prefixes())
        assert set(rules.values()) <= {"one", "many"}


# --------------------------------------------------------------------------- any claims

_PREFIXES = {"A": "many", "B": "many", "C": "one"}
_ids = st.tuples(st.sampled_from(sorted(_PREFIXES)), st.integers(1, 4)).map(lambda t: f"{t[0]}:{t[1]}")
_rows = st.dictionaries(_ids, st.frozensets(_ids, max_size=3), max_size=9)


def _judged(rows: Mapping[str, frozenset[str]]) -> dict[str, str]:
    claims = {i: frozenset(o for o in rows if i in rows[o] and o != i) for i in rows}
    held = {i: frozenset(x for x in xrefs if x[0] == "C") for i, xrefs in rows.items()}
    found = judge({i: by for i, by in claims.items() if by}, _PREFIXES, held)
    return {i: v.entity for i, v in found.items() if v.entity is not None}


@given(_rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_decides_nothing(rows: dict[str, frozenset[str]], rng: random.Random) -> None:
    turned = list(rows.items())
    rng.shuffle(turned)
    assert _judged(dict(turned)) == _judged(rows)


@given(_rows)
def test_an_entity_joins_nothing_itself_and_has_a_better_or_equal_prefix(
    rows: dict[str, frozenset[str]],
) -> None:
    found = _judged(rows)
    assert not set(found.values()) & set(found)
    assert all(entity[0] <= i[0] for i, entity in found.items())
    for i, entity in found.items():
        if i[0] == "C":
            members = {entity, *(j for j, to in found.items() if to == entity)}
            assert {x for m in members for x in {m, *rows[m]} if x[0] == "C"} == {i}


@given(_rows)
def test_what_is_stored_as_one_entity_is_found_as_that_again(rows: dict[str, frozenset[str]]) -> None:
    """The united entity claims at least what its members did: the next load of a member finds it."""
    found = _judged(rows)
    for i, entity in found.items():
        united = frozenset(
            x for m in (entity, *(j for j, to in found.items() if to == entity)) for x in {m, *rows[m]}
        )
        assert _judged({entity: united - {entity}, i: rows[i]}).get(i) == entity
