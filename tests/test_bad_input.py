"""What people get wrong, typed as they type it: one line on stderr, exit code 1, nothing left behind."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest

from tosg_graph.graph import Graph
from tosg_graph.settings import Settings

BIN = Path(sys.executable).parent
CELLS = 60
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def world(graph: Graph) -> Graph:
    """Five genes in one pathway, and the release that says that something is loaded."""
    graph.write(
        "UNWIND range(1, 5) AS n CREATE (:Entity:Gene {id: 'HGNC:' + n, name: 'SYM' + n, symbol: 'SYM' + n})"
    )
    graph.write("CREATE (:Entity:Pathway {id: 'P:1', name: 'pathway one'})")
    graph.write(
        "MATCH (g:Gene), (p:Pathway) "
        "CREATE (g)-[:PARTICIPATES_IN {source: 'test', edge_key: toInteger(substring(g.id, 5))}]->(p)"
    )
    return graph


@pytest.fixture
def environment(world: Graph, tmp_path: Path) -> dict[str, str]:
    """The test run's server by name, and a home of its own for store and exports."""
    return {
        **os.environ,
        "TOSG_HOME": str(tmp_path / "home"),
        "TOSG_NEO4J_URI": world.address.uri,
        "TOSG_NEO4J_USER": world.address.user,
        "TOSG_NEO4J_PASSWORD": world.address.password,
    }


@pytest.fixture
def tosg(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "tosg"), *arguments],
            env=environment | options.pop("env", {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            **options,
        )

    return run


def adata(scale: float = 1.0) -> anndata.AnnData:
    counts = np.arange(CELLS * 5).reshape(CELLS, 5) % 7
    obs = pd.DataFrame(
        {"kind": ["one", "two", "three"] * (CELLS // 3), "donor": [f"d{k % 10}" for k in range(CELLS)]},
        index=[f"c{k}" for k in range(CELLS)],
    )
    return anndata.AnnData(counts * scale, obs=obs, var=pd.DataFrame(index=[f"SYM{n}" for n in range(1, 6)]))


@pytest.fixture
def filled(tosg: Run, tmp_path: Path) -> Path:
    """Folder with a good file that is in the store."""
    adata().write_h5ad(tmp_path / "good.h5ad")
    done = tosg("cells", "add", "good.h5ad")
    assert done.returncode == 0, done.stderr
    return tmp_path


def snapshot(folder: Path) -> dict[str, int]:
    """Files and folders by size; a refused write may leave the lock, and selections that were read to their end."""
    found = {p.relative_to(folder): p.stat().st_size if p.is_file() else -1 for p in folder.rglob("*")}
    return {str(p): size for p, size in found.items() if p.name != "write.lock" and not _kept_selection(p)}


def _kept_selection(path: Path) -> bool:
    return path.parts[:2] == ("home", "selections") and not any(".part" in part for part in path.parts)


def refused(done: subprocess.CompletedProcess[str], says: str, *, lines: int = 1) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    errors = [
        line for line in done.stderr.splitlines() if not re.match(r"^[A-Z][^:]*: [\d,]+(/[\d,]+)?$", line)
    ]
    assert errors[0].startswith("Error: "), done.stderr
    assert len(errors) == lines, done.stderr
    assert says in done.stderr, done.stderr


EXPORT = ("export", "--query", "MATCH (g:Gene)-[r]->(p) RETURN g, r, p", "--label", "kind", "--out", "bundle")


def export(**changes: str) -> tuple[str, ...]:
    arguments = list(EXPORT)
    for name, value in changes.items():
        if f"--{name}" in arguments:
            arguments[arguments.index(f"--{name}") + 1] = value
        else:
            arguments += [f"--{name}", value]
    return tuple(arguments)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": "kinds"}, "Did you mean 'kind'"),
        ({"query": "MATCH (g:Gen) RETURN g"}, "no label 'Gen', did you mean 'Gene'?"),
        ({"query": "MATCH (g)-[r:SIGNAL_TO]->(h) RETURN g, r, h"}, "did you mean 'SIGNALS_TO'?"),
        ({"query": "MATCH (g:Gene {symbool: 'SYM1'}) RETURN g"}, "no property 'symbool'"),
        ({"query": "MATCH (g:Gene {symbol: 'SYM9'}) RETURN g"}, "Looked for 'SYM9'"),
        ({"query": "MATCH (g:Gene) RETURN count(g) AS n"}, "n"),
        ({"query": "MATCH (g:Gene) SET g.evil = 1 RETURN g"}, "read"),
        ({"query": "LOAD CSV FROM 'file:///etc/passwd' AS g RETURN g"}, "LOAD CSV"),
        ({"cells": "kind = 'four'"}, "Nearest values: 'one', 'three', 'two'"),
        ({"cells": "donor = 'd1' AND donor = 'd2'"}, "No cell is selected"),
        ({"cells": "kinds = 'one'"}, "'kind'"),
        ({"cells": "kind = (SELECT 'one')"}, "character 8"),
        ({"out": "there"}, "there"),
        ({"uri": "bolt://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"password": "wrong-password"}, "password"),
    ],
    ids=lambda value: (
        "-".join(value) + "=" + next(iter(value.values()))[:30] if isinstance(value, dict) else ""
    ),
)
def test_an_export_that_cannot_be_made_leaves_nothing(
    tosg: Run, filled: Path, world: Graph, changes: dict[str, str], says: str
) -> None:
    (filled / "there").mkdir()
    (filled / "there" / "mine.txt").write_text("mine")
    before = snapshot(filled)
    refused(tosg(*export(**changes)), says)
    assert snapshot(filled) == before
    assert world.rows("MATCH (g:Gene) WHERE g.evil IS NOT NULL RETURN count(g) AS n") == [{"n": 0}]


def test_a_syntax_error_shows_the_servers_carets(tosg: Run, filled: Path) -> None:
    for done in (tosg("query", "MATCH (g:Gene) RETRUN g"), tosg(*export(query="MATCH (g:Gene) RETRUN g"))):
        refused(done, "Error: ", lines=3)
        text, caret = done.stderr.splitlines()[-2:]
        assert text[caret.index("^") :].startswith("RETRUN")


def test_a_query_over_several_lines_with_comments_works(tosg: Run, filled: Path) -> None:
    query = "// all of it\nMATCH (g:Gene)\n  -[r]->(p) // 'both'\nRETURN g,\n r, p // end"
    done = tosg(*export(query=query))
    assert done.returncode == 0, done.stderr
    assert (filled / "bundle" / "manifest.json").is_file()


def test_the_same_export_again_is_refused_and_a_new_name_gives_the_same_bytes(
    tosg: Run, filled: Path
) -> None:
    assert tosg(*EXPORT).returncode == 0
    refused(tosg(*EXPORT), "bundle")
    assert tosg(*export(out="again")).returncode == 0
    one, two = (
        {p.name: p.read_bytes() for p in (filled / n).rglob("*") if p.is_file()} for n in ("bundle", "again")
    )
    assert one == two


# --------------------------------------------------------------------------- cells


def truncate(path: Path) -> None:
    adata().write_h5ad(path)
    path.write_bytes(path.read_bytes()[:-3000])


FILES: dict[str, tuple[Callable[[Path], Any], tuple[str, ...], str]] = {
    "truncated": (truncate, (), "cannot be read as .h5ad"),
    "text": (lambda p: p.write_text("cell,gene\n"), (), "cannot be read as .h5ad"),
    "missing": (lambda p: None, (), "There is no file"),
    "log-normalised": (lambda p: adata(0.37).write_h5ad(p), (), "does not hold raw counts: cell 'c0'"),
    "no layer": (lambda p: adata().write_h5ad(p), ("--layer", "counts"), "no matrix 'counts'"),
    "no column": (lambda p: adata().write_h5ad(p), ("--column", "cell_type=kinds"), "Nearest: 'kind'"),
    "no core column": (
        lambda p: adata().write_h5ad(p),
        ("--column", "celltype=kind"),
        "Did you mean 'cell_type'?",
    ),
    "no mapping": (lambda p: adata().write_h5ad(p), ("--map", "none.yaml"), "none.yaml cannot be read"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_added_leaves_nothing(tosg: Run, tmp_path: Path, name: str) -> None:
    make, options, says = FILES[name]
    make(tmp_path / "bad.h5ad")
    before = {k: v for k, v in snapshot(tmp_path).items() if "home" not in k}
    refused(tosg("cells", "add", "bad.h5ad", *options), says)
    assert {k: v for k, v in snapshot(tmp_path).items() if "home" not in k} == before
    assert not list((tmp_path / "home").rglob("*.parquet"))


def small_files() -> None:
    """Let no file grow beyond 4 kB in this process: what a full disk looks like to a program."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))


def test_a_disk_that_is_full_while_cells_are_added(tosg: Run, filled: Path) -> None:
    data = adata()
    more = anndata.AnnData(
        np.random.default_rng(0).integers(0, 2**31 - 1, (3_000, 5)).astype(float),
        obs=pd.DataFrame(index=[f"x{k}" for k in range(3_000)]),
        var=data.var,
    )
    more.write_h5ad(filled / "more.h5ad")
    before = (
        snapshot(filled / "home" / "cells")
        if (filled / "home" / "cells").exists()
        else snapshot(filled / "home")
    )
    refused(tosg("cells", "add", "more.h5ad", preexec_fn=small_files), "cannot be written")
    after = (
        snapshot(filled / "home" / "cells")
        if (filled / "home" / "cells").exists()
        else snapshot(filled / "home")
    )
    assert {k for k in after if k.endswith(".parquet")} == {k for k in before if k.endswith(".parquet")}
    assert "good" in tosg("cells", "list").stdout
    assert tosg("cells", "add", "more.h5ad").returncode == 0


def test_a_disk_that_is_full_while_a_bundle_is_written(tosg: Run, filled: Path) -> None:
    before = snapshot(filled)
    refused(tosg(*EXPORT, preexec_fn=small_files), "cannot be written")
    assert snapshot(filled) == before


# --------------------------------------------------------------------------- Ctrl-C


def interrupt(environment: dict[str, str], folder: Path, arguments: tuple[str, ...], at: str) -> str:
    """Press Ctrl-C in the terminal of a command when a line of its progress begins with ``at``."""
    said = ""
    with subprocess.Popen(
        [str(BIN / "tosg"), *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts a background job with Ctrl-C ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as child:
        assert child.stderr
        for line in child.stderr:
            said += line
            if line.startswith(at):
                os.killpg(child.pid, signal.SIGINT)  # a terminal sends it to the whole group
                break
        said += child.stderr.read()
    assert child.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("Interrupted.")
    return said


def test_ctrl_c_during_an_export_leaves_nothing(tosg: Run, filled: Path, environment: dict[str, str]) -> None:
    before = snapshot(filled)
    interrupt(environment, filled, EXPORT, "Writing")
    assert snapshot(filled) == before
    assert tosg(*EXPORT).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("at", ["Merging tables", "Writing nodes"])
def test_ctrl_c_during_a_load_is_repaired_by_the_same_command(
    tosg: Run, world: Graph, tmp_path: Path, environment: dict[str, str], at: str
) -> None:
    before = world.rows("MATCH (s:Release) RETURN count(s) AS n")
    interrupt(environment, tmp_path, ("load", "famplex", "cl"), at)
    assert world.rows("MATCH (s:Release) RETURN count(s) AS n") == before  # no load counts as done
    done = tosg("load", "famplex", "cl")
    assert done.returncode == 0, done.stderr
    assert "cl" in done.stdout


@pytest.mark.slow
def test_ctrl_c_during_the_first_load_keeps_the_server_usable(settings: Settings, tmp_path: Path) -> None:
    """The local server, in a home of its own: interrupted in the bulk import, then asked and stopped."""
    environment = {
        **os.environ,
        "TOSG_HOME": str(tmp_path / "own"),
        "TOSG_NEO4J_HEAP": settings.heap,
        "TOSG_NEO4J_PAGECACHE": settings.page_cache,
    }

    def tosg(*arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "tosg"), *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        interrupt(environment, tmp_path, ("load", "famplex", "cl"), "Bulk import")
        assert "0" in tosg("query", "MATCH (n) RETURN count(n) AS n", "--format", "csv").splitlines()[1]
        assert not list((tmp_path / "own").glob(".import-*"))
        assert "cl" in tosg("load", "famplex", "cl")
    finally:
        tosg("db", "stop")
