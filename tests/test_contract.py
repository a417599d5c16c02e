"""The contract: good tables pass, each kind of bad one is named down to the value."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tosg_graph import contract
from tosg_graph.errors import ContractError
from tosg_graph.types import EdgeTable, NodeTable, Parsed

ROOT = Path(__file__).parent.parent


def genes(**columns: object) -> NodeTable:
    data = {"id": ["HGNC:11", "HGNC:12", "HGNC:13"], "name": ["A", "B", "C"], "symbol": ["A", "B", "C"]}
    table = pa.table({**data, **columns})
    return NodeTable("hgnc", "genes", "Gene", table, len(table))


def signals(**columns: object) -> EdgeTable:
    data = {"subject": ["HGNC:11", "HGNC:12"], "object": ["HGNC:12", "HGNC:13"], "sign": [1, -1]}
    table = pa.table({**data, **columns})
    return EdgeTable("indra", "signals", "Gene", "SIGNALS_TO", "Gene", table, len(table))


def test_good_tables_pass_whatever_arrow_types_carry_them() -> None:
    wide = genes(
        synonyms=pa.array([["x"], None, []], pa.large_list(pa.large_string())),
        locus_type=pa.array(["a", None, "b"]).dictionary_encode(),
        description=pa.nulls(3),
        xrefs=[["NCBIGene:1", "ENSEMBL:ENSG1"], None, []],
    )
    edges = signals(score=pa.array([0.5, None], pa.float32()), sign=pa.array([0, 1], pa.int8()))
    contract.check(Parsed((wide,), (edges,)))


def test_an_empty_table_passes() -> None:
    contract.check(Parsed((replace(genes(), data=genes().data.slice(0, 0), read=0),), ()))


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": ["HGNC:11", "HGNC:12", "MONDO:13"]}, ["row 3", "'id'", "'MONDO:13'", "HGNC: or ENSEMBL:"]),
        ({"id": ["HGNC:11", "HGNC: 12", "HGNC:13"]}, ["row 2", "'HGNC: 12'"]),
        ({"id": ["HGNC:11", None, "HGNC:13"]}, ["row 2", "'id'", "None", "required"]),
        ({"name": ["A", "", "C"]}, ["row 2", "'name'", "''", "required"]),
        ({"symbol": pa.nulls(3)}, ["row 1", "'symbol'", "required"]),
        ({"colour": ["r", "g", "b"]}, ["'colour'", "not allowed", "alias_symbols"]),
        ({"description": [1, 2, 3]}, ["'description'", "int64", "string"]),
        ({"synonyms": ["x", "y", "z"]}, ["'synonyms'", "list"]),
        ({"synonyms": [["ok"], ["a", "b\x1fc"], []]}, ["row 2", "'synonyms'", "b\\x1fc", "control"]),
        ({"description": ["a\nb\tc", "d", "e\x00"]}, ["row 3", "'description'", "control"]),
        ({"description": ["a", "\uffff", "e"]}, ["row 2", "'description'"]),
        ({"xrefs": [None, ["NCBIGene:1"], ["NCBIGene:2", "1956"]]}, ["row 3", "'xrefs'", "'1956'", "CURIE"]),
    ],
)
def test_a_bad_node_table_is_named_down_to_the_value(columns: dict[str, object], says: list[str]) -> None:
    with pytest.raises(ContractError) as error:
        contract.check(Parsed((genes(**columns),), ()))
    message = str(error.value)
    assert message.startswith("hgnc/genes: ")
    assert "\n" not in message
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"sign": [1, 2]}, ["row 2", "'sign'", "value 2", "-1, 0, 1"]),
        ({"sign": pa.array([1, None])}, ["row 2", "'sign'", "required"]),
        ({"sign": ["+", "-"]}, ["'sign'", "string", "int"]),
        ({"score": [0.5, float("nan")]}, ["row 2", "'score'", "nan", "finite"]),
        ({"score": [float("inf"), 1.0]}, ["row 1", "'score'", "inf"]),
        ({"subject": ["HGNC:11", "EGFR"]}, ["row 2", "'subject'", "'EGFR'", "CURIE"]),
        ({"object": ["HGNC:11", None]}, ["row 2", "'object'", "required"]),
        ({"evidence": [["IDA"], ["IEA"]]}, ["'evidence'", "not allowed"]),
        ({"negated": [1, 0]}, ["'negated'", "bool"]),
    ],
)
def test_a_bad_edge_table_is_named_down_to_the_value(columns: dict[str, object], says: list[str]) -> None:
    with pytest.raises(ContractError) as error:
        contract.check(Parsed((), (signals(**columns),)))
    for part in ["indra/signals: ", *says]:
        assert part in str(error.value)


def test_labels_verbs_and_triples_outside_the_schema_are_refused() -> None:
    cases: list[tuple[NodeTable | EdgeTable, str]] = [
        (replace(genes(), label="Planet"), "Planet"),
        (replace(signals(), verb="LIKES"), "LIKES"),
        (replace(signals(), object_label="Disease"), "SIGNALS_TO from Gene to Disease"),
        (replace(signals(), verb="MAPS_TO", object_label="Planet"), "Planet"),
    ]
    for table, part in cases:
        parsed = Parsed((table,), ()) if isinstance(table, NodeTable) else Parsed((), (table,))
        with pytest.raises(ContractError, match=part):
            contract.check(parsed)


def test_the_row_that_is_named_is_that_of_the_file() -> None:
    table = replace(signals(sign=[1, 2]), rows=pa.array([4, 9], pa.int32()))
    with pytest.raises(ContractError, match="row 9, column 'sign', value 2"):
        contract.check(Parsed((), (table,)))
    with pytest.raises(ContractError, match="names 1 rows of the file for 2"):
        contract.check(Parsed((), (replace(table, rows=pa.array([4], pa.int32())),)))


def test_a_missing_required_column_is_refused() -> None:
    table = genes()
    with pytest.raises(ContractError, match="'symbol' is required and absent"):
        contract.check(Parsed((replace(table, data=table.data.drop_columns("symbol")),), ()))


def test_the_first_of_several_chunks_is_not_the_only_one_checked() -> None:
    table = signals()
    bad = table.data.set_column(2, "sign", pa.array([1, 7]))
    with pytest.raises(ContractError, match=r"row 4, column 'sign', value 7"):
        contract.check(Parsed((), (replace(table, data=pa.concat_tables([table.data, bad]), read=4),)))


def test_one_bad_row_of_many_is_named() -> None:
    n = 200_000
    data = {
        "id": [f"HGNC:{i}" if i != 123_456 else "HGNC 123456" for i in range(n)],
        "name": [f"G{i}" for i in range(n)],
        "symbol": [f"G{i}" for i in range(n)],
        "xrefs": [[f"NCBIGene:{i}", f"ENSEMBL:ENSG{i}"] for i in range(n)],
    }
    table = NodeTable("hgnc", "genes", "Gene", pa.table(data), n)
    with pytest.raises(ContractError, match=r"hgnc/genes.*row 123,?457.*'HGNC 123456'"):
        contract.check(Parsed((table,), ()))


def test_primary_type_is_the_first_in_the_order_of_the_schema() -> None:
    assert contract.primary_type(["Metabolite", "Entity", "Drug"]) == "Drug"
    assert contract.primary_type({"Entity", "CellType"}) == "CellType"
    with pytest.raises(ContractError, match="Entity"):
        contract.primary_type(["Entity"])


def test_the_generated_cypher_is_what_the_schema_says() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate_schema_cypher.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    files = script.generated()
    for name, text in files.items():
        assert (ROOT / "cypher" / name).read_text(encoding="utf-8") == text, (
            "run scripts/generate_schema_cypher.py"
        )
    marked = {
        p.name
        for p in (ROOT / "cypher").glob("*.cypher")
        if p.read_text(encoding="utf-8").startswith(script.MARK)
    }
    assert marked == set(files)


def test_every_label_and_verb_has_its_constraint() -> None:
    text = "\n".join(contract.schema_statements())
    for label in contract.labels():
        assert f"FOR (n:{label}) REQUIRE n.id IS UNIQUE" in text
    for verb in contract.verbs():
        key = contract.load_statements()[f"load_edges_key_{verb.lower()}"]
        assert f"FOR ()-[r:{verb}]-() REQUIRE r.edge_key IS UNIQUE" in key


def test_names_in_the_schema_are_plain_identifiers() -> None:
    names = [*contract.labels(), *contract.verbs(), *contract.stored_node_columns()]
    for verb in contract.verbs():
        names += contract.stored_edge_columns(verb)
    assert all(name.isidentifier() and name.isascii() for name in names)
