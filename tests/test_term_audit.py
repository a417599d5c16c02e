"""The audit of terms: what it lists, and decisions applied to the store in one commit, without a server."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from test_obs import VOCABULARY
from toy_store import add, count, make

from tosg_graph import cli
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.compact import compact
from tosg_graph.decisions import audit_yaml, read_kept
from tosg_graph.errors import CellsError, StoreError
from tosg_graph.obs import ObsMapping, core_columns
from tosg_graph.rows import write
from tosg_graph.store_versions import versions
from tosg_graph.term_audit import apply, audit
from tosg_graph.verify import verify

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

CELLS = 10
KINDS = ["T cell", "weird cell", "?"]
STAGES = ["25-year-old stage", "an odd stage"]


def columns(size: int, kinds: list[str] = KINDS) -> dict[str, pa.Array]:
    obs = pa.table(
        {
            "cell_type": [kinds[k % len(kinds)] for k in range(size)],
            "development_stage": [STAGES[k % 2] for k in range(size)],
            "age_years": pa.array([None, "60s"] * (size // 2), pa.string()),
            "suspension": ["cell", "tissue piece"] * (size // 2),
        }
    )
    made = core_columns(obs, ObsMapping(), VOCABULARY)
    return {name: column.dictionary_decode() for name, column in made.items()}


def put(store: AbundanceStore, first: int, dataset: str, kinds: list[str] = KINDS) -> None:
    """Cells of a dataset whose core columns are mapped; the toy's own columns of these names give way."""
    import toy_store

    plain = toy_store.cells_table

    def cells_table(*arguments: Any) -> pa.Table:
        made = plain(*arguments)
        return made.drop_columns([c for c in made.column_names if c in columns(2)])

    toy_store.cells_table = cells_table
    try:
        add(store, first, CELLS, dataset, **columns(CELLS, kinds))
    finally:
        toy_store.cells_table = plain


@pytest.fixture
def store(tmp_path: Path) -> AbundanceStore:
    """Two datasets of ten cells."""
    made = AbundanceStore.open(tmp_path / "store")
    put(made, 0, "a")
    put(made, CELLS, "b")
    return made


def listed(store: AbundanceStore, **choices: Any) -> pa.Table:
    with AbundanceReader.open(store) as reader:
        return audit(reader, **choices)


def rows(store: AbundanceStore, *names: str) -> list[tuple[Any, ...]]:
    with AbundanceReader.open(store) as reader:
        found = reader.cells("true", lambda *_: None, list(names))
    return list(zip(*(found[name].to_pylist() for name in names), strict=True))


def edited(store: AbundanceStore, path: Path, changes: dict[str, str], **choices: Any) -> Path:
    """Write the audit as CSV with other ids for some values."""
    write(listed(store, **choices), "csv", path)
    with path.open(newline="") as file:
        content = list(csv.DictReader(file))
    for row in content:
        row["term_id"] = changes.get(row["raw"], row["term_id"])
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, list(content[0]))
        out.writeheader()
        out.writerows(content)
    return path


# --------------------------------------------------------------------------- listing


def test_every_value_is_listed_with_its_term_rule_and_cells(store: AbundanceStore) -> None:
    found = listed(store, columns=["cell_type"]).drop_columns(["candidates"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        ("cell_type", None, "T cell", "CL:0000084", "T cell", "label", 1.0, 8),
        ("cell_type", None, "?", None, None, None, None, 6),
        ("cell_type", None, "weird cell", None, "unmapped", None, 0.0, 6),
    ]


def test_a_dataset_and_the_unmapped_alone(store: AbundanceStore) -> None:
    found = listed(store, dataset="b", unmapped=True, vocabulary=VOCABULARY).to_pylist()
    assert [(r["column"], r["dataset"], r["raw"], r["cells"]) for r in found] == [
        ("cell_type", "b", "weird cell", 3),
        ("development_stage", "b", "an odd stage", 5),
        ("suspension", "b", "tissue piece", 5),
    ]
    assert all(row["candidates"] for row in found[:2])


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"columns": ["donor"]}, "'donor' takes no terms"),
        ({"dataset": "c"}, "no dataset 'c'. It has a, b"),
    ],
)
def test_what_is_not_there_cannot_be_listed(
    store: AbundanceStore, choices: dict[str, Any], says: str
) -> None:
    with pytest.raises(CellsError) as refusal:
        listed(store, **choices)
    assert says in str(refusal.value)


# --------------------------------------------------------------------------- applying


def test_an_edited_audit_maps_the_cells_anew_and_leaves_the_counts(
    store: AbundanceStore, tmp_path: Path
) -> None:
    before = store.version()
    assert before
    ids = rows(store, "cell_id", "block", "cell", "n_counts", "donor")
    path = edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"})
    applied = apply(store, path, VOCABULARY)
    after = store.version()
    assert after
    assert (applied.cells, applied.values) == ({"cell_type": 6}, 2)  # one value in two datasets
    assert (after.counts, after.axis, after.axis_sha256) == (before.counts, before.axis, before.axis_sha256)
    assert after.cells == applied.store_version == before.cells + 1
    assert rows(store, "cell_id", "block", "cell", "n_counts", "donor") == ids
    by_raw = set(
        rows(store, "cell_type_raw", "cell_type", "cell_type_id", "cell_type_rule", "cell_type_score")
    )
    assert by_raw == {
        ("T cell", "T cell", "CL:0000084", "label", 1.0),
        ("weird cell", "B cell", "CL:0000236", "curated", 1.0),
        ("?", None, None, None, None),
    }
    with AbundanceReader.open(store) as reader:
        assert reader.csr(["cell-07", "cell-13"], [0, 3]).toarray().tolist() == [
            [count(7, 0), count(7, 3)],
            [count(13, 0), count(13, 3)],
        ]


def test_an_apply_is_a_version_of_its_own_that_can_be_compacted(
    store: AbundanceStore, tmp_path: Path
) -> None:
    before = store.version()
    assert before
    old = rows(store, "cell_id", "cell_type")
    apply(store, edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"}), VOCABULARY)
    new = rows(store, "cell_id", "cell_type")
    assert versions(store, tmp_path)["change"].to_pylist() == ["terms", "add b", "add a"]
    assert rows(store.at(before.cells), "cell_id", "cell_type") == old != new
    assert verify(store).findings == ()
    compact(store)
    assert rows(store, "cell_id", "cell_type") == new
    assert verify(store).findings == ()


def test_the_same_decisions_again_write_nothing(store: AbundanceStore, tmp_path: Path) -> None:
    path = edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"})
    apply(store, path, VOCABULARY)
    files = {
        p: p.stat().st_mtime_ns for p in store.folder.rglob("*") if p.is_file() and p.name != "write.lock"
    }
    again = apply(store, path, VOCABULARY)
    assert (again.cells, again.values) == ({}, 0)
    assert files == {
        p: p.stat().st_mtime_ns for p in store.folder.rglob("*") if p.is_file() and p.name != "write.lock"
    }


def test_an_audit_that_nobody_edited_changes_nothing(store: AbundanceStore, tmp_path: Path) -> None:
    version = store.version()
    assert not apply(store, edited(store, tmp_path / "terms.csv", {}), VOCABULARY).cells
    assert store.version() == version
    assert read_kept(store.folder) == {}


def test_an_add_after_an_apply_keeps_both(store: AbundanceStore, tmp_path: Path) -> None:
    apply(store, edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"}), VOCABULARY)
    put(store, 2 * CELLS, "c")
    kinds = {
        (d, r, t) for d, r, t in rows(store, "dataset", "cell_type_raw", "cell_type") if r == "weird cell"
    }
    assert kinds == {
        ("a", "weird cell", "B cell"),
        ("b", "weird cell", "B cell"),
        ("c", "weird cell", "unmapped"),
    }
    found = [r for r in listed(store, columns=["cell_type"]).to_pylist() if r["raw"] == "weird cell"]
    assert [(r["dataset"], r["term_id"]) for r in found] == [
        ("a", "CL:0000236"),
        ("b", "CL:0000236"),
        ("c", None),
    ]
    with pytest.raises(CellsError, match="means different things in different datasets"):
        audit_yaml(found)


def test_decisions_are_kept_for_later_adds(store: AbundanceStore, tmp_path: Path) -> None:
    apply(store, edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"}), VOCABULARY)
    kept = read_kept(store.folder)
    assert kept == {"cell_type": {"weird cell": "CL:0000236"}}
    mapping = ObsMapping(terms={"cell_type": {"other": "CL:0000084"}}).with_decisions(kept)
    found = core_columns(pa.table({"cell_type": ["weird cell", "other"]}), mapping, VOCABULARY)
    assert found["cell_type"].to_pylist() == ["B cell", "T cell"]


def test_a_decision_for_one_dataset_leaves_the_others_and_is_not_kept(
    store: AbundanceStore, tmp_path: Path
) -> None:
    path = edited(store, tmp_path / "terms.csv", {"weird cell": "CL:0000236"}, dataset="a")
    assert apply(store, path, VOCABULARY).cells == {"cell_type": 3}
    assert {r for r in rows(store, "dataset", "cell_type_raw", "cell_type") if r[1] == "weird cell"} == {
        ("a", "weird cell", "B cell"),
        ("b", "weird cell", "unmapped"),
    }
    assert read_kept(store.folder) == {}


def test_a_stage_that_is_decided_gives_its_ages(store: AbundanceStore, tmp_path: Path) -> None:
    path = edited(
        store, tmp_path / "terms.csv", {"25-year-old stage": "HsapDv:0000242", "tissue piece": "na"}
    )
    assert apply(store, path, VOCABULARY).cells == {"development_stage": 10, "suspension": 10}
    found = set(rows(store, "development_stage_raw", "age_years", "age_bin", "age_years_rule", "suspension"))
    assert found == {
        ("25-year-old stage", 74.5, "aged", "development_stage", "cell"),
        ("an odd stage", 64.5, None, "age_years", "na"),  # an age that was given stays
    }


def test_yaml_is_edited_and_applied_too(store: AbundanceStore, tmp_path: Path) -> None:
    path = tmp_path / "terms.yaml"
    write(listed(store, unmapped=True, vocabulary=VOCABULARY), "yaml", path)
    text = path.read_text()
    assert '"weird cell":   # unmapped, 6 cells; nearest: CL:' in text
    assert not apply(store, path, VOCABULARY).cells
    path.write_text(text.replace('"weird cell": ', '"weird cell": unknown'))
    assert apply(store, path, VOCABULARY).cells == {"cell_type": 6}
    assert ("weird cell", None, "curated") in rows(store, "cell_type_raw", "cell_type", "cell_type_rule")


def test_columns_of_an_older_store_are_mapped_by_decision(tmp_path: Path) -> None:
    store = make(tmp_path / "store", 4)
    add(store, 4, 4, "new", sex=pa.array(["F", "M", "F", None]))  # kept as it was given, without sex_id
    found = listed(store, columns=["sex"]).to_pylist()
    assert [(r["raw"], r["label"], r["cells"]) for r in found] == [("F", "unmapped", 2), ("M", "unmapped", 1)]
    path = edited(store, tmp_path / "terms.csv", {"F": "PATO:0000383", "M": "PATO:0000384"}, columns=["sex"])
    assert apply(store, path, VOCABULARY).cells == {"sex": 3}
    assert sorted(map(str, rows(store, "sex_raw", "sex", "sex_id"))) == sorted(
        map(
            str,
            [
                *[(None, None, None)] * 5,
                *[("F", "female", "PATO:0000383")] * 2,
                ("M", "male", "PATO:0000384"),
            ],
        )
    )


# --------------------------------------------------------------------------- files that cannot be used


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("column,raw\ncell_type,x\n", "line 1: there is no column 'term_id'"),
        ("column,raw,term_id\ncell_typ,weird cell,CL:0000236\n", "line 2: 'cell_typ' takes no terms"),
        (
            "column,raw,term_id\ncell_type,weird cell,CL:99\n",
            "line 2: The mapping says cell_type 'weird cell' is CL:99",
        ),
        ("column,raw,term_id\ncell_type,weird cel,CL:0000236\n", "line 2: no cell has cell_type 'weird cel'"),
        (
            "column,raw,term_id\ncell_type,weird cell,CL:0000236\ncell_type,weird cell,CL:0000084\n",
            "line 3: cell_type 'weird cell' is decided again; line 2 says CL:0000236",
        ),
        (
            "column,dataset,raw,term_id\ncell_type,,weird cell,CL:0000236\ncell_type,a,weird cell,CL:0000084\n",
            "line 3: cell_type 'weird cell' is decided again",
        ),
        ("column,dataset,raw,term_id\ncell_type,c,weird cell,CL:0000236\n", "no cell of dataset 'c' has"),
        ("column,raw,term_id\ncell_type,weird, cell,CL:0000236\n", "line 2: it has more cells than line 1"),
        ("column,raw,term_id\ncell_type,weird cell\n", "line 2: it has fewer cells than line 1"),
        ('column,raw,term_id\ncell_type,"weird cell,CL:0000236\n', "Close the quotes"),
        ("column,raw,term_id,label\ncell_type,T cell,CL:0000084,B cell\n", "line 2: the label says 'B cell'"),
    ],
)
def test_a_line_that_was_edited_wrongly_is_named_and_nothing_changes(
    store: AbundanceStore, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "terms.csv"
    path.write_text(text)
    version = store.version()
    with pytest.raises(CellsError) as refusal:
        apply(store, path, VOCABULARY)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert store.version() == version


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'cell_type:\n  terms:\n    "weird cell": CL:1\n    "weird cell": CL:2\n',
            "line 4: 'weird cell' stands",
        ),
        ("cell_type:\n  terms:\n    weird cell: CL:99\n", "line 3: The mapping says"),
        ("cell_type:\n  terms:\n    weird cell: [CL:99]\n", "line 3: cell_type 'weird cell' needs one id"),
        ("- cell_type\n", "line 1: `one entry per column` is expected"),
        ("cell_type: [", "is no YAML"),
    ],
)
def test_a_yaml_that_was_edited_wrongly_is_refused(
    store: AbundanceStore, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "terms.yaml"
    path.write_text(text)
    with pytest.raises(CellsError) as refusal:
        apply(store, path, VOCABULARY)
    assert says in str(refusal.value)


def test_nothing_can_be_applied_to_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("column,raw,term_id\ncell_type,T cell,CL:0000084\n")
    with pytest.raises(StoreError, match="no cells yet"):
        apply(AbundanceStore.open(tmp_path / "store"), path, VOCABULARY)
    with pytest.raises(CellsError, match=r"nowhere\.csv cannot be read"):
        apply(AbundanceStore.open(tmp_path / "store"), tmp_path / "nowhere.csv", VOCABULARY)


# --------------------------------------------------------------------------- the command


def test_the_command_lists_without_a_server(store: AbundanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOSG_HOME", str(store.folder.parent))
    done = CliRunner().invoke(cli.main, ["cells", "terms", "--unmapped", "--format", "csv"])
    assert done.exit_code == 0, done.stderr
    found = list(csv.DictReader(done.stdout.splitlines()))
    assert [(row["raw"], row["cells"]) for row in found] == [
        ("weird cell", "6"),
        ("an odd stage", "10"),
        ("tissue piece", "10"),
    ]
    done = CliRunner().invoke(cli.main, ["cells", "terms", "--apply", "x.csv", "--unmapped"])
    assert done.exit_code == 2
    assert "only --dataset goes with it" in done.stderr


# --------------------------------------------------------------------------- with the real server


def test_the_command_applies_terms_of_the_graph(
    graph: Graph, settings: Settings, store: AbundanceStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Terms that no installed ontology has; what is below them in the graph is meant from then on."""
    monkeypatch.setenv("TOSG_HOME", str(settings.home))  # its server answers
    monkeypatch.setenv("TOSG_STORE", str(store.folder))
    graph.write(
        "CREATE (:Entity:CellType {id: 'CL:0000084', name: 'T cell'}), "
        "(:Entity:CellType {id: 'CL:7000001', name: 'strange cell'})"
        "<-[:IS_A]-(:Entity:CellType {id: 'CL:7000002', name: 'weirdest cell'})"
    )

    def tosg(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli.main, list(arguments))
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.stderr

    path = edited(store, tmp_path / "terms.csv", {"weird cell": "CL:7000002"})
    said = tosg("cells", "terms", "--apply", str(path))
    assert "cell_type 6" in said
    found = {
        row for row in rows(store, "cell_type_raw", "cell_type", "cell_type_id") if row[0] == "weird cell"
    }
    assert found == {("weird cell", "weirdest cell", "CL:7000002")}
    assert "Nothing to change" in tosg("cells", "terms", "--apply", str(path))
    counted = tosg("cohort", "cell_type = 'strange cell'", "--by", "cell_type").split()
    assert counted[-4:] == ["weirdest", "cell", "6", "100"]
    path = edited(store, tmp_path / "wrong.csv", {"weird cell": "CL:7000003"})
    refused = tosg("cells", "terms", "--apply", str(path), code=1)
    assert "wrong.csv line" in refused
    assert "CL:7000003" in refused
