"""Texts beside the tensors: the right genes in order, what the subgraph says of them, and nothing of the cell."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.sparse import csr_array
from test_cli import tosg

from tosg_graph import bundle
from tosg_graph.errors import ExportError
from tosg_graph.export import write_bundle
from tosg_graph.gene_relations import PHRASES
from tosg_graph.resources import schema
from tosg_graph.sentences import Sentences, TextPlan, Written, holds, top_genes
from tosg_graph.types import Selection


def table(rows: Sequence[Sequence[Any]], negated: bool = False) -> pa.Table:
    """Source row, target row, sign."""
    source, target, sign = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "source_row": pa.array(source, pa.int64()),
            "target_row": pa.array(target, pa.int64()),
            "source": pa.array(["s"] * len(rows)),
            "edge_key": pa.array(range(len(rows)), pa.int64()),
            "sign": pa.array(sign, pa.int64()),
            "negated": pa.array([negated or None] * len(rows), pa.bool_()),
        }
    )


def selection() -> Selection:
    """Genes G0-G3 (rows 0-3), pathways (4-6), protein of G1 (7); G2 is not measured."""
    ids = [*toy.GENES, "P:1", "P:2", "P:3", "UniProtKB:P1"]
    types = ["Gene"] * 4 + ["Pathway"] * 3 + ["Protein"]
    names = ["G0", "G1", "G2", "G3", "growth", "Naive T-cell  activation", "lupus pathway", "PROT1"]
    nodes = pa.table(
        {
            "id": ids,
            "type": types,
            "labels": pa.array([[t] for t in types], pa.list_(pa.string())),
            "name": names,
            "text_sha": ids,
            "text": [None if i == 2 else f"Text of {name}\nwith “two” lines" for i, name in enumerate(names)],
        }
    )
    edges = {
        ("Gene", "ENCODES", "Protein"): table([(1, 7, None)]),
        ("Gene", "PARTICIPATES_IN", "Pathway"): table([(g, p, None) for g in (0, 1, 3) for p in (4, 5, 6)]),
        ("Gene", "SIGNALS_TO", "Gene"): table([(0, 1, 1), (3, 0, None), (2, 0, 1)]),
        ("Gene", "INTERACTS_WITH", "Gene"): table([(0, 3, None)], negated=True),
        ("Gene", "SIGNALS_TO", "Protein"): table([(3, 7, -1), (0, 7, 0)]),
    }
    return Selection(nodes=nodes, edges=edges, query="q", parameters={})


def cells(**changes: Any) -> pa.Table:
    made = toy.cells().append_column("disease", pa.array(["lupus", "normal"] * 6))
    for name, values in changes.items():
        made = made.set_column(made.column_names.index(name), name, pa.array(values))
    return made


def write(out: Path, text: TextPlan | None = TextPlan(), **changes: Any) -> bundle.Manifest:  # noqa: B008
    given: dict[str, Any] = {"cohort": "true", "label": "cell_type", "seed": 7, "out": out, **changes}
    measured = given.pop("measured", toy.measured(cells=cells(), text=np.zeros((8, 4), np.float32), **MASK))
    return write_bundle(given.pop("selection", selection()), measured, text=text, **given)


MASK: dict[str, Any] = {"text_mask": np.ones(8, np.bool_)}


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    content = (folder / "text" / name).read_text(encoding="utf-8")
    assert content == "" or content.endswith("\n")
    return [json.loads(line) for line in content.split("\n")[:-1]]


def of_cells(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        line["cell_id"]: line for split in bundle.SPLITS for line in lines(folder, f"cells-{split}.jsonl")
    }


# --------------------------------------------------------------------------- aligned with the tensors


def test_each_line_is_the_row_of_its_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)
    monkeypatch.setattr("tosg_graph.sentences.PAIRS", 2_500)  # one cell at a time
    manifest = write(tmp_path / "b").content
    table = pq.read_table(tmp_path / "b" / "cells.parquet").to_pylist()
    genes = pq.read_table(tmp_path / "b" / "genes.parquet")["node_row"].to_pylist()
    names = selection().nodes["name"].to_pylist()
    for split in bundle.SPLITS:
        found = lines(tmp_path / "b", f"cells-{split}.jsonl")
        described = [cell for cell in table if cell["split"] == split]
        assert [(x["row"], x["cell_id"], x["label"]) for x in found] == [
            (row, cell["cell_id"], cell["label"]) for row, cell in enumerate(described)
        ]
        row = 0
        for shard in manifest["shards"][split]:
            tensors = load_file(tmp_path / "b" / shard["file"])
            for i in range(shard["cells"]):
                span = slice(tensors["indptr"][i], tensors["indptr"][i + 1])
                counts = zip(tensors["indices"][span], tensors["data"][span], strict=True)
                ranked = [names[genes[g]] for g, _ in sorted(counts, key=lambda x: (-x[1], x[0]))]
                said = found[row]["prompt"].split("\n")[0]
                assert said == f"Genes by abundance: {', '.join(ranked)}."
                row += 1


def test_each_node_has_its_text(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    nodes = selection().nodes
    assert lines(tmp_path / "b", "nodes.jsonl") == [
        {"row": row, **{name: node[name] for name in ("id", "type", "name", "text")}}
        for row, node in enumerate(nodes.to_pylist())
    ]
    assert manifest["text"]["nodes_without_text"] == 1


def test_the_files_are_those_of_the_schema_and_hashed(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b").content
    contract = schema("bundle")
    folder = contract["optional_folders"]["text"]
    names = [f"{folder}/{name}.jsonl" for name in ("nodes", *(f"cells-{s}" for s in bundle.SPLITS))]
    assert [name for name in manifest["files"] if name.startswith(f"{folder}/")] == sorted(names)
    bundle.verify(tmp_path / "b", manifest)
    assert set(manifest["text"]) == {
        "genes",
        "relations",
        "terms",
        "chars",
        "nodes_without_text",
        "names_left_out",
    }
    for name in names:
        key = "nodes" if "nodes" in name else "cells-<split>"
        for line in lines(tmp_path / "b", Path(name).name):
            assert list(line) == list(contract["lines"][key])


def test_nothing_else_changes_and_nothing_is_written_unasked(tmp_path: Path) -> None:
    with_text, without = write(tmp_path / "a").content, write(tmp_path / "b", text=None).content
    assert not (tmp_path / "b" / "text").exists()
    assert "text" not in without
    kept = {name: sha for name, sha in with_text["files"].items() if not name.startswith("text/")}
    assert kept == without["files"]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a").content, write(tmp_path / "b").content
    assert one == two
    other = write(tmp_path / "c", seed=8).content
    assert other["files"]["text/nodes.jsonl"] == one["files"]["text/nodes.jsonl"]
    sentences = [{cell: x["prompt"] for cell, x in of_cells(tmp_path / n).items()} for n in ("a", "c")]
    assert sentences[0] == sentences[1]


# --------------------------------------------------------------------------- what a sentence says


def test_a_sentence_says_what_the_subgraph_says(tmp_path: Path) -> None:
    manifest = write(tmp_path / "b", text=TextPlan(terms=5)).content
    # Axis columns 3 (G0), 2 (G1), 0 (G3): the higher the column, the higher the count.
    assert of_cells(tmp_path / "b")["cell-04"]["prompt"] == (
        "Genes by abundance: G0, G1, G3.\n"
        # by way of the protein of G1 as well; an unknown sign is not told where a known one is; nothing that is negated
        "Relations: G0 activates G1; G3 signals to G0; G3 inhibits G1.\n"
        "Pathways: growth (G0, G1, G3).\n"
        "Question: what is the cell type of this cell?\nAnswer:"
    )
    assert of_cells(tmp_path / "b")["cell-04"]["completion"] == " T cell"
    assert manifest["text"]["names_left_out"] == 2


def test_a_cell_without_a_count_says_so(tmp_path: Path) -> None:
    def nothing(ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
        return csr_array((len(ids), len(columns)), dtype=np.int32)

    measured = toy.measured(cells=cells(), counts=nothing, text=np.zeros((8, 4), np.float32), **MASK)
    write(tmp_path / "b", measured=measured)
    said = {line["prompt"].split("\nQuestion")[0] for line in of_cells(tmp_path / "b").values()}
    assert said == {"Genes by abundance: none."}


def test_equal_counts_stand_in_the_order_of_ids() -> None:
    counts = csr_array(np.array([[5, 7, 5, 0], [1, 1, 1, 1], [0, 0, 0, 0]], np.int32))
    assert top_genes(counts, 3).tolist() == [[1, 0, 2], [0, 1, 2], [-1, -1, -1]]


@pytest.mark.parametrize("chars", [200, 230, 300])
def test_a_sentence_is_never_longer_than_allowed(tmp_path: Path, chars: int) -> None:
    long = selection()
    names = pa.array([f"{n} {'x' * 60}" for n in long.nodes["name"].to_pylist()])
    at = long.nodes.column_names.index("name")
    write(tmp_path / "b", text=TextPlan(chars=chars), selection=replace(
        long, nodes=long.nodes.set_column(at, "name", names)
    ))  # fmt: skip
    for line in of_cells(tmp_path / "b").values():
        sentence = line["prompt"].split("\nQuestion")[0]
        assert len(sentence) <= chars
        for part in sentence.split("\n"):
            assert part.endswith((f"{'x' * 60}.", f"{'x' * 60}).")), "nothing is cut inside a name"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"genes": 0}, "choose 1 to 500"),
        ({"genes": 501}, "501 genes"),
        ({"chars": 199}, "allow 200"),
        ({"terms": -1}, "terms=-1 is below 0"),
    ],
    ids=str,
)
def test_a_length_out_of_bounds_is_refused(changes: dict[str, int], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        TextPlan(**changes)


def test_the_command_line_takes_its_options_together() -> None:
    query = ("export", "--query", "MATCH (n) RETURN n", "--out", "x", "--label", "y")
    assert "Add --text" in tosg(*query, "--text-genes", "3", code=2)
    assert "choose 1 to 500" in tosg(*query, "--text", "--text-genes", "501", code=1)


# --------------------------------------------------------------------------- nothing of the cell


def test_no_sentence_depends_on_what_is_known_of_the_cells(tmp_path: Path) -> None:
    """The same counts with labels, diseases and donors dealt out otherwise: the same sentences."""
    write(tmp_path / "a")
    turned = {name: cells()[name].to_pylist()[::-1] for name in ("cell_type", "disease", "donor")}
    turned["cell_type"] = [*turned["cell_type"][2:], None, "unmapped"]
    other = toy.measured(cells=cells(**turned), text=np.zeros((8, 4), np.float32), **MASK)
    write(tmp_path / "b", measured=other)
    one, two = of_cells(tmp_path / "a"), of_cells(tmp_path / "b")
    assert {cell: x["label"] for cell, x in one.items()} != {cell: x["label"] for cell, x in two.items()}
    assert {cell: x["prompt"] for cell, x in one.items()} == {cell: x["prompt"] for cell, x in two.items()}


def test_no_sentence_holds_a_label_a_disease_or_a_donor(tmp_path: Path) -> None:
    write(tmp_path / "b")
    table = pq.read_table(tmp_path / "b" / "cells.parquet")
    told = {v for name in ("label", "disease", "donor", "barcode") for v in table[name].to_pylist()}
    assert {"T cell", "lupus", "donor1"} <= told
    for line in of_cells(tmp_path / "b").values():
        sentence = " ".join(re.findall(r"\w+", line["prompt"].lower()))
        assert not [v for v in told if " ".join(re.findall(r"\w+", v.lower())) in sentence]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("T cell activation", True),
        ("naive T-CELL activation", True),
        ("T cells", False),
        ("Event cell", False),
        ("cell", False),
        ("", False),
    ],
)
def test_names_are_compared_by_words(name: str, found: bool) -> None:
    assert holds(name, frozenset({("t", "cell"), ("lupus",)})) is found


def test_what_cells_say_of_genes_is_no_annotation(tmp_path: Path) -> None:
    """EXPRESSED_IN is made of cells, those of the test split among them; diseases of genes are not told either."""
    given = selection()
    nodes = given.nodes.to_pylist()
    extra = {"id": "CL:1", "type": "CellType", "labels": ["CellType"], "name": "keratinocyte", "text": None}
    table_of = pa.Table.from_pylist([*nodes, extra], given.nodes.schema)
    edges = {**given.edges, ("Gene", "EXPRESSED_IN", "CellType"): table([(0, 8, None)]),
             ("Gene", "ASSOCIATED_WITH", "CellType"): table([(0, 8, None)])}  # fmt: skip
    order = pa.compute.sort_indices(table_of, [("type", "ascending"), ("id", "ascending")]).to_pylist()
    place = {old: new for new, old in enumerate(order)}
    moved = {
        key: rows.set_column(0, "source_row", pa.array([place[r] for r in rows["source_row"].to_pylist()]))
        .set_column(1, "target_row", pa.array([place[r] for r in rows["target_row"].to_pylist()]))
        for key, rows in edges.items()
    }  # fmt: skip
    measured = toy.measured(cells=cells(), text=np.zeros((9, 4), np.float32), text_mask=np.ones(9, np.bool_))
    write(tmp_path / "a")
    write(
        tmp_path / "b", selection=replace(given, nodes=table_of.take(order), edges=moved), measured=measured
    )
    one, two = of_cells(tmp_path / "a"), of_cells(tmp_path / "b")
    assert {cell: x["prompt"] for cell, x in one.items()} == {cell: x["prompt"] for cell, x in two.items()}


# --------------------------------------------------------------------------- against a plain reading


def plain(counts: list[int], names: list[str], edges: list[tuple[int, str, int, int]], plan: TextPlan) -> str:
    """The sentence of a cell, put together slowly; rows 0-5 are genes, 6-8 proteins, 9-12 pathways."""
    own = {g: {g} for g in range(6)} | {p: set() for p in range(6, 13)}
    for a, verb, b, _ in edges:
        if verb == "ENCODES":
            own[b].add(a)
    ranked = sorted((g for g in range(6) if counts[g]), key=lambda g: (-counts[g], g))[: plan.genes]
    pairs: dict[tuple[int, int], set[int]] = {}
    members: dict[int, set[int]] = {}
    for a, verb, b, sign in edges:
        if verb == "PARTICIPATES_IN":
            members.setdefault(b, set()).update(own[a])
            continue
        for phrase, (said, value, _) in enumerate(PHRASES):
            if said == verb and value == (sign if verb == "SIGNALS_TO" else 0):
                for x in own[a]:
                    for y in own[b]:
                        pair = (min(x, y), max(x, y)) if verb == "INTERACTS_WITH" else (x, y)
                        pairs.setdefault(pair, set()).add(phrase)
    place = {g: rank for rank, g in enumerate(ranked)}
    told = [(max(place[x], place[y]), min(place[x], place[y]), place[x], x, y)
            for x, y in pairs if x in place and y in place]  # fmt: skip
    relations = []
    for *_, x, y in sorted(told)[: plan.relations]:
        phrases = pairs[x, y] - ({2} if pairs[x, y] & {0, 1} else set())
        relations.append(f"{names[x]} {' and '.join(PHRASES[p][2] for p in sorted(phrases))} {names[y]}")
    shared = [(-(len(of & set(ranked)) ** 2) / len(of), p) for p, of in members.items() if of & set(ranked)]
    terms = [
        f"{names[p]} ({', '.join([names[g] for g in ranked if g in members[p]][:5])})"
        for _, p in sorted(shared)[: plan.terms]
    ]
    said = [f"Genes by abundance: {', '.join(names[g] for g in ranked) or 'none'}."]
    said += [f"Relations: {'; '.join(relations)}."] if relations else []
    said += [f"Pathways: {'; '.join(terms)}."] if terms else []
    return "\n".join(said)


TYPES = ["Gene"] * 6 + ["Protein"] * 3 + ["Pathway"] * 4
ACTORS = st.integers(0, 8)
EDGES = st.one_of(
    st.tuples(st.integers(0, 5), st.just("ENCODES"), st.integers(6, 8), st.just(0)),
    st.tuples(ACTORS, st.just("SIGNALS_TO"), ACTORS, st.sampled_from([-1, 0, 1])),
    st.tuples(ACTORS, st.sampled_from(["LIGAND_OF", "INTERACTS_WITH"]), ACTORS, st.just(0)),
    st.tuples(ACTORS, st.just("PARTICIPATES_IN"), st.integers(9, 12), st.just(0)),
)


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4),
    edges=st.lists(EDGES, max_size=25),
    genes=st.integers(1, 7),
    relations=st.integers(0, 5),
    terms=st.integers(0, 3),
)
def test_sentences_are_what_a_plain_reading_gives(
    counts: list[list[int]], edges: list[tuple[int, str, int, int]], genes: int, relations: int, terms: int
) -> None:
    names = [f"n{row}" for row in range(13)]
    by_type: dict[tuple[str, str, str], list[tuple[int, int, int]]] = {}
    for a, verb, b, sign in edges:
        by_type.setdefault((TYPES[a], verb, TYPES[b]), []).append((a, b, sign))
    written = Written(
        nodes=pa.table({"id": names, "type": TYPES, "name": names}),
        genes=pa.table({"node_row": pa.array(range(6), pa.int64())}),
        edges={key: table(rows) for key, rows in by_type.items()},
        cells=pa.table({"label": ["x"]}),
        shards={},
        label="label",
    )
    plan = TextPlan(genes, relations, terms)
    found = list(Sentences(plan, written).of(csr_array(np.array(counts, np.int32))))
    assert found == [plain(cell, names, edges, plan) for cell in counts]
