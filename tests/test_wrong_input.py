"""What a person types wrongly is one line that teaches, with the right exit status, before any server is started."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import toy_store
from cell_files import adata, coordinates
from click.testing import CliRunner

from tosg_graph import cli
from tosg_graph.abundance import AbundanceReader
from tosg_graph.abundance_store import AbundanceStore
from tosg_graph.errors import CohortError
from tosg_graph.platform import Platform
from tosg_graph.settings import read_settings


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever connects fails, and in no way that a command would translate."""

    def connect(_: Platform) -> None:
        raise RuntimeError("a server was started")

    monkeypatch.setattr(Platform, "graph", property(connect))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a good file, and others that are not."""
    data = adata(coordinates())
    data.obs["kind"] = "T cell"
    data.write_h5ad(tmp_path / "good.h5ad")
    content = (tmp_path / "good.h5ad").read_bytes()
    (tmp_path / "cut.h5ad").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.h5ad").touch()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "several").mkdir()
    shutil.copy(tmp_path / "good.h5ad", tmp_path / "several")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "latin.csv").write_bytes("column,raw,term_id\nsex,é,\n".encode("latin-1"))
    np.save(tmp_path / "values.npy", np.zeros(3))
    return tmp_path


def store() -> AbundanceStore:
    return toy_store.make(read_settings().store)


def refused(arguments: list[str], code: int = 1) -> str:
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == code, (done.exception, done.output)
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("Error: ")
    assert code == 2 or len(done.stderr.strip().splitlines()) == 1
    return line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.h5ad"], "There is no file or folder nowhere.h5ad"),
        (["god.h5ad"], "Did you mean good.h5ad or cut.h5ad?"),
        (["good.h5ad", "nowhere.h5ad"], "There is no file or folder nowhere.h5ad"),
        (["folder"], "folder is a folder of no known format. It holds nothing."),
        (["several"], "Name its files: several/*.h5ad."),
        (["notes.txt"], "notes.txt is of no known format"),
        (["empty.h5ad"], "empty.h5ad cannot be read as .h5ad"),
        (["cut.h5ad"], "Is the download complete?"),
        (["good.h5ad", "--column", "cell_type=knd"], "no obs column 'knd' for cell_type. Nearest: 'kind'"),
        (["good.h5ad", "--column", "cel_type=kind"], "Did you mean 'cell_type'?"),
        (["good.h5ad", "--layer", "raww"], "good.h5ad has no matrix 'raww'"),
        (["good.h5ad", "--option", "rows=cells"], "has no option 'rows'"),
        (["good.h5ad", "--map", "nowhere.yaml"], "nowhere.yaml cannot be read: No such file"),
        (["good.h5ad", "--map", "folder"], "folder cannot be read: Is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_that_cannot_be_added(here: Path, arguments: list[str], says: str) -> None:
    assert says in refused(["cells", "add", *arguments])
    assert not (read_settings().store / "cells").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["good.h5ad", "--column", "kind"], "--column 'kind' is not NAME=VALUE"),
        (["good.h5ad", "several/good.h5ad", "--dataset", "x"], "--dataset names one file"),
        ([], "Missing argument 'PATHS...'"),
    ],
)
def test_options_of_an_add_that_do_not_fit(here: Path, arguments: list[str], says: str) -> None:
    assert says in refused(["cells", "add", *arguments], code=2)


def test_a_good_file_needs_the_graph(here: Path) -> None:
    """Otherwise the tests above would hold of any command."""
    done = CliRunner().invoke(cli.main, ["cells", "add", "good.h5ad"])
    assert str(done.exception) == "a server was started"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere.csv", "nowhere.csv cannot be read: No such file"),
        ("folder", "folder cannot be read: Is a directory"),
        ("other.csv", "there is no column 'column'. It needs column, raw, term_id"),
        ("empty.h5ad", "there is no column 'column'"),
        ("latin.csv", "is no YAML or CSV in UTF-8"),
    ],
)
def test_decisions_that_cannot_be_applied(here: Path, name: str, says: str) -> None:
    store()
    assert says in refused(["cells", "terms", "--apply", name])


@pytest.mark.parametrize(
    "command",
    [
        ["cells", "terms"],
        ["cells", "compact"],
        ["cells", "vacuum"],
        ["cells", "verify"],
        ["cells", "summarize"],
        ["cells", "metacell"],
        ["cells", "export", "--out", "x.h5ad"],
        ["cells", "pseudobulk", "--out", "x.parquet"],
        ["cohort", "true"],
        ["cohort", "true", "--save", "all"],
        ["export", "--query", "MATCH (g) RETURN g", "--label", "sex", "--out", "b"],
        ["query", "MATCH (g) RETURN g", "--abundance", "mean"],
    ],
    ids=" ".join,
)
def test_an_empty_store_says_how_to_fill_it(command: list[str]) -> None:
    assert "no cells yet. Add some: tosg cells add FILE.h5ad" in refused(command)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["cohort", "cel_type = 'T cell'"], "no column 'cel_type'. Did you mean 'cell_type'"),
        (["cohort", "true", "--by", "donr"], "no column 'donr'. Did you mean 'donor'?"),
        (["cohort", "cell_type ="], "ends too early"),
        (["cells", "export", "--cells", "n_count > 1", "--out", "x.h5ad"], "Did you mean 'n_counts'"),
        (["cells", "summarize", "--cells", "n_count > 1"], "Did you mean 'n_counts'"),
        (["cells", "pseudobulk", "--by", "kind", "--out", "x.parquet"], "no column 'kind'"),
        (["cells", "pseudobulk", "--out", "x.csv"], "written as .h5ad or .parquet"),
        (["query", "MATCH (g) RETURN g", "--abundance", "mean", "--cells", "x = 1"], "no column 'x'"),
        (
            ["export", "--query", "MATCH (g) RETURN g", "--label", "cel_type", "--out", "b"],
            "no column 'cel_type'. Did you mean 'cell_type'",
        ),
        (
            ["export", "--query", "MATCH (g) RETURN g", "--label", "donor", "--cells", "x = 1", "--out", "b"],
            "no column 'x'",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_columns_that_are_not_there_and_names_that_cannot_be_written(command: list[str], says: str) -> None:
    store()
    assert says in refused(command)


def test_cohorts_without_terms_need_no_server() -> None:
    store()
    done = CliRunner().invoke(cli.main, ["cohort", "n_counts > 1000", "--save", "rich"])
    assert done.exit_code == 0, done.output
    assert CliRunner().invoke(cli.main, ["cohort", "@rich"]).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["cohort", "true", "--by", "members"],
        ["cohort", "true", "--by", "members", "--report", "x.html"],
        ["cohort", "true", "--case", "n_counts > 2000", "--match", "members"],
        ["cohort", "true", "--case", "n_counts > 2000", "--cap", "members=1"],
        ["cohort", "members = 'a'"],
        ["cells", "pseudobulk", "--by", "members", "--out", "x.parquet"],
        ["cells", "metacell", "--purity", "members", "--min-cells", "1"],
    ],
    ids=" ".join,
)
def test_lists_are_no_values_to_count_by(command: list[str]) -> None:
    folder = AbundanceStore.open(read_settings().store)
    toy_store.add(folder, 0, 10, members=pa.array([["a", "b"]] * 10, pa.list_(pa.string())))
    assert "'members'" in refused(command)


def test_a_column_of_lists_does_not_keep_others_from_being_counted(tmp_path: Path) -> None:
    folder = AbundanceStore.open(read_settings().store)
    toy_store.add(folder, 0, 10, members=pa.array([["a", "b"]] * 10, pa.list_(pa.string())))
    done = CliRunner().invoke(cli.main, ["cohort", "members IS NOT NULL", "--report", "x.json"])
    assert done.exit_code == 0, done.output
    assert "10 of 1 datasets" in done.stdout
    with AbundanceReader.open(folder) as reader, pytest.raises(CohortError, match="several values per cell"):
        reader.aggregate([0], "members", None, lambda *_: None)
