"""A comparison out of a real store: who is in which arm, who is left out and why, and the page that shows it."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import toy_store

from tosg_graph import diagnostics, diagnostics_page
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.cohort import parse
from tosg_graph.comparison import Arms, Compared, compare
from tosg_graph.errors import CohortError, ExportError
from tosg_graph.sampling import Sampling

SIZE = 24
STATUS = ["lupus", "healthy", "lupus", "unclassified", "healthy", None]


def expand(column: str, value: str) -> frozenset[str] | None:
    return {"lymphocyte": frozenset({"CL:0000084", "CL:0000236"})}.get(value)


def make(folder: Path, order: int = 1) -> AbundanceStore:
    store = AbundanceStore.open(folder)
    for dataset, first in [("one", 0), ("two", SIZE)][::order]:
        rows = range(first, first + SIZE)
        toy_store.add(
            store,
            first,
            SIZE,
            dataset,
            status=pa.array([STATUS[k % 6] for k in rows], pa.string()),
            sex=pa.array(["fm"[k // 6 % 2] for k in rows]),
            age_years=pa.array([20.0 + k for k in rows]),
        )
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> AbundanceStore:
    return make(tmp_path_factory.mktemp("comparison"))


LUPUS = Arms("status = 'lupus'", "status = 'healthy'")


def run(store: AbundanceStore, arms: Arms = LUPUS, cohort: str = "true", **options: Any) -> Compared:
    with AbundanceReader.open(store) as reader:
        return compare(reader, parse(cohort, reader.cell_columns()), expand, arms, **options)


def numbers(found: Compared, arm: str) -> list[int]:
    pairs = zip(found.cells["cell_id"].to_pylist(), found.cells["arm"].to_pylist(), strict=True)
    return [int(cell.split("-")[1]) for cell, of in pairs if of == arm]


def test_arms_are_the_cells_of_their_expressions_within_the_cohort(store: AbundanceStore) -> None:
    found = run(store, cohort="dataset = 'one'")
    assert numbers(found, "case") == [k for k in range(SIZE) if STATUS[k % 6] == "lupus"]
    assert numbers(found, "control") == [k for k in range(SIZE) if STATUS[k % 6] == "healthy"]
    assert {x.reason: len(x.cell_ids) for x in found.left_out} == {"neither case nor control": 8}


def test_without_a_control_it_is_those_known_not_to_be_cases(store: AbundanceStore) -> None:
    found = run(store, Arms("status = 'lupus'"))
    assert numbers(found, "control") == [k for k in range(2 * SIZE) if STATUS[k % 6] == "healthy"]
    assert {x.reason: len(x.cell_ids) for x in found.left_out} == {
        "not taken for a control: status is 'unclassified'": 8,
        "neither case nor control": 8,  # no status at all
    }


def test_a_word_for_unknown_that_an_arm_names_is_taken(store: AbundanceStore) -> None:
    found = run(store, Arms("status = 'lupus'", "status = 'unclassified'"))
    assert numbers(found, "control") == [k for k in range(2 * SIZE) if k % 6 == 3]


def test_terms_of_an_arm_mean_what_is_below_them(store: AbundanceStore) -> None:
    found = run(
        store, Arms("cell_type = 'lymphocyte' AND sex = 'f'", "cell_type = 'lymphocyte' AND sex = 'm'")
    )
    assert set(found.cells["cell_type"].to_pylist()) == {"T cell", "B cell"}


def test_the_match_holds_after_the_sample(store: AbundanceStore) -> None:
    arms = Arms("status = 'lupus'", "status = 'healthy'", ("dataset", "sex", "age_years:12"))
    for plan in (Sampling(), Sampling(size=20), Sampling(caps=(("arm", 7),)), Sampling(balance=True)):
        found = run(store, arms, sampling=plan, seed=3)
        assert len(numbers(found, "case")) == len(numbers(found, "control")) > 0
        rows = found.cells.to_pylist()
        of = {row["cell_id"]: row for row in rows}
        for row in rows:
            case = of[row["match_group"]]
            assert case["arm"] == "case"
            assert all(row[c] == case[c] for c in ("dataset", "sex"))
            assert row["age_years"] // 12 == case["age_years"] // 12
        assert max(Counter(found.cells["match_group"].to_pylist()).values()) == 2
        every = [c for x in found.left_out for c in x.cell_ids] + [row["cell_id"] for row in rows]
        assert sorted(every) == [toy_store.cell_id(k) for k in range(2 * SIZE)]


def test_the_order_in_which_files_were_added_makes_no_difference(
    store: AbundanceStore, tmp_path: Path
) -> None:
    arms = Arms("status = 'lupus'", "status = 'healthy'", ("sex",))
    turned = run(make(tmp_path / "turned", -1), arms, sampling=Sampling(size=20))
    found = run(store, arms, sampling=Sampling(size=20))
    assert found.cells["cell_id"].to_pylist() == turned.cells["cell_id"].to_pylist()
    assert found.diagnostics == turned.diagnostics


@pytest.mark.parametrize(
    ("arms", "says"),
    [
        (Arms("status = 'lupus'", "sex = 'f'"), "8 cells are case and control at once, first 'cell-00'"),
        (Arms("status = 'lupos'"), "no value 'lupos'. Nearest values: 'lupus'"),
        (Arms("n_counts < 0"), r"No cell is selected by '\(n_counts < 0\) within true'"),
        (Arms("statu = 'lupus'"), "no column 'statu'. Did you mean 'status'"),
        (Arms("status != 'healthy'", "status = 'healthy'", ("sx",)), "no column 'sx'"),
        (Arms("true", "sex = 'f'"), "case and control at once"),
        (Arms("true"), r"No cell is selected by '\(NOT \(true\)\) within true'"),
    ],
)
def test_arms_that_cannot_be_are_refused_in_one_line(store: AbundanceStore, arms: Arms, says: str) -> None:
    with pytest.raises(CohortError, match=says) as refusal:
        run(store, arms)
    assert "\n" not in str(refusal.value)


def test_an_arm_of_unclassified_cells_alone_is_none(store: AbundanceStore) -> None:
    arms = Arms("status = 'lupus'", "status != 'lupus' AND status != 'healthy'")
    with pytest.raises(
        CohortError, match="No cell is a control: not taken for a control: status is 'unclassified'"
    ):
        run(store, arms)


def test_a_column_of_the_store_called_like_one_of_ours_keeps_its_values(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    toy_store.add(
        store, 0, 8, "d", arm=pa.array([f"mine{k}" for k in range(8)]), sex=pa.array(["f", "m"] * 4)
    )
    found = run(store, Arms("sex = 'f'"))
    assert found.cells["obs_arm"].to_pylist() == [f"mine{k}" for k in range(8)]


# --------------------------------------------------------------------------- copies


def copied(folder: Path, status: list[str]) -> AbundanceStore:
    """Dataset ``again`` holds cells 0 and 1 of ``first`` once more: the same barcodes, the same counts."""
    store = AbundanceStore.open(folder)
    toy_store.add(store, 0, 8, "first", status=pa.array(["lupus", "healthy"] * 4))
    with store.writer() as append:
        block = append.next_block
        total = append.write_counts("file-again", toy_store.blocks(0, 2))
        cells = toy_store.cells_table(0, 2, block, "again")
        cells = cells.set_column(0, "cell_id", pa.array(["copy-00", "copy-01"]))
        append.commit(cells.append_column("status", pa.array(status)), toy_store.record("again", 2, total))
    return store


def test_of_copies_one_is_compared(tmp_path: Path) -> None:
    found = run(copied(tmp_path / "store", ["lupus", "healthy"]))
    assert {x.reason: x.cell_ids for x in found.left_out} == {
        "a copy of another cell": ["copy-00", "copy-01"]
    }
    # cell-00 sorts before copy-00, and stays.
    assert found.cells["cell_id"].to_pylist() == [toy_store.cell_id(k) for k in range(8)]


def test_of_copies_in_both_arms_none_is_compared(tmp_path: Path) -> None:
    found = run(copied(tmp_path / "store", ["healthy", "healthy"]))
    assert {x.reason: x.cell_ids for x in found.left_out} == {
        "copies of one cell are case and control": ["cell-00", "copy-00"],
        "a copy of another cell": ["copy-01"],
    }


# --------------------------------------------------------------------------- the page


class Page(HTMLParser):
    """Tags that are open, texts, and attributes that load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.texts, self.loads = list[str](), list[str](), list[str]()
        self.tags = Counter[str]()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loads += [
            f"{tag} {name}" for name, _ in attributes if name in ("src", "href") or name.startswith("on")
        ]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_whole_and_loads_nothing(store: AbundanceStore) -> None:
    arms = Arms("status = 'lupus'", "status = 'healthy'", ("sex",))
    found = run(store, arms, sampling=Sampling(size=20)).diagnostics
    text = diagnostics_page.page(found, "lupus beside healthy")
    page = read(text)
    assert not page.loads
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"https?:|url\(|@import", text)
    assert page.tags["svg"] == 4  # balance, donors, depth, datasets
    assert page.tags["circle"] > 2
    assert page.tags["rect"] >= sum(len(a["cells_per_donor"]) for a in found["arms"].values())
    said = "\n".join(page.texts)
    assert found["verdict"] in page.texts
    for reason in [*found["reasons"], "status = 'lupus'", "not among the 20 drawn"]:
        assert reason in said
    assert diagnostics_page.page(found, "lupus beside healthy") == text


@pytest.mark.parametrize(("by", "plots"), [(None, 3), ("status", 4), ("barcode", 4)])
def test_a_cohort_without_arms_has_a_page_too(store: AbundanceStore, by: str | None, plots: int) -> None:
    """One arm is not balanced against anything; thirty have their own places."""
    with AbundanceReader.open(store) as reader:
        found = diagnostics.describe(reader.cells(None, lambda _column, _value: None), by)
    text = diagnostics_page.page(found, "cells")
    page = read(text)
    assert page.tags["svg"] == plots
    for name in found["names"]:
        assert any(name in said for said in page.texts)
    heights = [float(h) for h in re.findall(r'<svg [^>]*height="([0-9.]+)"', text)]
    places = [[float(y) for y in re.findall(r' y[12]?="(-?[0-9.]+)"', svg)] for svg in text.split("<svg")[1:]]
    assert all(min(ys) >= 0 and max(ys) <= height for ys, height in zip(places, heights, strict=True))


def test_names_from_files_are_text_on_the_page(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    evil = "<script>alert('x')</script>&"
    toy_store.add(store, 0, 8, "d", sex=pa.array(["f", "m"] * 4), assay=pa.array([evil] * 8))
    found = run(store, Arms("sex = 'f'", match=("assay",)))
    page = read(diagnostics_page.page(found.diagnostics, evil))
    assert "script" not in page.tags
    assert page.texts.count(evil) > 3


def test_a_page_of_arms_without_donors_says_so(tmp_path: Path) -> None:
    store = AbundanceStore.open(tmp_path / "store")
    toy_store.add(store, 0, 8, "d", sex=pa.array(["f", "m"] * 4))
    found = run(store, Arms("sex = 'f'")).diagnostics
    for arm in found["arms"].values():
        arm |= {"donors": 0, "cells_per_donor": [], "top_donor": None, "top_donor_share": None}
    assert "No donor is known." in read(diagnostics_page.page(found, "t")).texts


def test_a_report_that_cannot_be_written_is_refused(store: AbundanceStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        diagnostics_page.write(run(store).diagnostics, tmp_path / "file" / "page.html", "t")
