"""Fixtures: one real server per run, in a home of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

# No test is timed: a busy machine is not a failure. Fifty examples, where a test does not say.
hypothesis_settings.register_profile("untimed", deadline=None, max_examples=50)
hypothesis_settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
SERVER_FIXTURES = {"settings", "server_graph", "graph", "demo_graph"}
STARTS_SERVERS = {"test_server"}  # of their own
RESTARTS_SERVER = {
    "test_bad_input"
}  # and waits: scripts/check gives it a process of its own, after the others
TRAINS = {"test_training", "test_classification", "test_joint"}  # run after the demo's tests
STARTS_CLUSTER = {"test_engine_ray"}  # of Ray; scripts/check gives it its own process
LOADS_MUCH = {"test_several_are_loaded_together"}  # last: the database takes long to empty after it
ONLY_FILES = {"test_loaders", "test_curated_facts"}  # settings say where the sources' files are
# Servers of tests live for seconds: what the JVM spends on optimising is much of a start. Its launcher reads this.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")
NAMED_SERVER = ("TOSG_NEO4J_URI", "TOSG_NEO4J_USER", "TOSG_NEO4J_PASSWORD", "TOSG_MIRROR", "TOSG_STORE")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the server, and order: fast tests, server tests, tests on the demo graph."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        needed = fixtures & SERVER_FIXTURES and item.path.stem not in ONLY_FILES
        if needed or item.path.stem in STARTS_SERVERS:
            item.add_marker("server")
        if item.path.stem in STARTS_SERVERS:
            item.add_marker("servers")
        if item.path.stem in RESTARTS_SERVER:
            item.add_marker("restarts")
        if item.path.stem in TRAINS:
            item.add_marker("trains")
        if item.path.stem in STARTS_CLUSTER:
            item.add_marker("cluster")
        if "demo_graph" in fixtures:
            item.add_marker("demo")
    items.sort(key=_stage)


def _stage(item: pytest.Item) -> tuple[int, bool]:
    # `graph` empties the database, so whatever reads the demo graph comes after all of it.
    if item.get_closest_marker("demo"):
        return 2, False
    return int(bool(item.get_closest_marker("server"))), item.name in LOADS_MUCH


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's own data, nor a server that the user's environment names."""
    monkeypatch.setenv("TOSG_HOME", str(tmp_path / "tosg-home"))
    for name in NAMED_SERVER:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of this run: a home of its own, a small server, the shared cache."""
    from dataclasses import replace

    from tosg_graph.settings import read_settings

    home = tmp_path_factory.mktemp("tosg-home")
    return replace(
        read_settings(), home=home, uri=None, user="neo4j", password=None, heap="1g", page_cache="512m"
    )


@pytest.fixture(scope="session")
def server_graph(settings: Settings) -> Iterator[Graph]:
    """The connected graph of this run's server, with whatever earlier tests left in it."""
    from tosg_graph import server
    from tosg_graph.graph import Graph

    try:
        with Graph.connect(settings) as graph:
            yield graph
    finally:
        server.stop(settings)


@pytest.fixture
def graph(server_graph: Graph) -> Graph:
    """This run's server with its database emptied; constraints and indexes stay."""
    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
    return server_graph


@pytest.fixture(scope="session")
def demo_graph(server_graph: Graph, settings: Settings) -> Iterator[Graph]:
    """This run's server after `tosg demo`: its graph, its cells and their summary, some vectors, a bundle."""
    from tosg_graph.graph import Graph

    with server_graph.driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS").consume()
    run("tosg demo", settings, settings.home)
    with Graph.connect(
        settings
    ) as graph:  # its import restarts the server, on another port if the old one is taken
        yield graph


def environment(settings: Settings) -> dict[str, str]:
    """Environment of a command that works on this run's server."""
    return {
        **os.environ,
        "TOSG_HOME": str(settings.home),
        "TOSG_NEO4J_HEAP": settings.heap,
        "TOSG_NEO4J_PAGECACHE": settings.page_cache,
    }


def run(command: str, settings: Settings, folder: Path) -> str:
    """Run a command of ours in ``folder`` on this run's server and return what it printed on stdout."""
    words = shlex.split(command)
    words[0] = str(Path(sys.executable).parent / words[0])
    done = subprocess.run(
        words, cwd=folder, env=environment(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data that is not part of the repository; tests that read it are skipped without it."""
    folder = Path(os.environ.get("TOSG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set TOSG_SHARED_DATA")
    return folder
