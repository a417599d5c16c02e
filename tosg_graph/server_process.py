"""The local server as an operating system process: found again, started, waited for, ended."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tosg_graph.errors import ServerError
from tosg_graph.progress import Progress, silent
from tosg_graph.server_config import Folders

BOOT_SECONDS = 180  # of silence on a slow disk with recovery to do; a usual boot takes 7 to 20
STOP_SECONDS = 120
_POLL_SECONDS = 0.1
# Of the heap, at boot; of the machine, at boot; at work.
_OUT_OF_MEMORY = ("Could not reserve enough space", "Native memory allocation", "OutOfMemoryError")


@dataclass(frozen=True)
class Running:
    """What ``run/server.json`` says: enough to tell our server from a process that reuses its pid."""

    pid: int
    created: float  # start time of the process, seconds since the epoch, as psutil gives it
    bolt: int
    http: int

    @property
    def uri(self) -> str:
        """Bolt address."""
        return f"bolt://127.0.0.1:{self.bolt}"

    @property
    def browser(self) -> str:
        """Address of Neo4j Browser."""
        return f"http://127.0.0.1:{self.http}/browser/"


def find_running(folders: Folders) -> Running | None:
    """Find the server of this home, or None; a stale or reused pid counts as none."""
    try:
        noted = Running(**json.loads((folders.run / "server.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None
    process = _process(noted.pid)
    if process is None or not _serves(process, folders):
        return None
    return noted if abs(process.create_time() - noted.created) < 5 else None


def find_unrecorded(folders: Folders) -> psutil.Process | None:
    """Find a server of this home that nobody noted: its starter was killed before it could."""
    for process in psutil.process_iter():
        if _serves(process, folders):
            return process
    return None


def spawn(command: list[str], folders: Folders, bolt: int, http: int) -> Running:
    """Start the server in a session of its own, so that Ctrl-C at the terminal does not reach it."""
    with (folders.logs / "console.log").open("wb") as console:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd=folders.home,
            start_new_session=True,
        )
    try:
        # Before anything can go wrong: whoever comes next must find it.
        running = Running(child.pid, psutil.Process(child.pid).create_time(), bolt, http)
        fresh = folders.run / "server.json.fresh"
        fresh.write_text(json.dumps(asdict(running)), encoding="utf-8")
        fresh.replace(folders.run / "server.json")
    except BaseException:
        child.kill()
        child.wait()
        raise
    child.returncode = 0  # the child outlives us on purpose; without this Popen warns when it is collected
    return running


def is_ready(running: Running) -> bool:
    """Whether the server listens on both of its ports (itself, not another program) and answers."""
    process = _process(running.pid)
    if process is None:
        return False
    return {running.bolt, running.http} <= _listening(process) and _answers(running.http)


def wait_ready(running: Running, folders: Folders, progress: Progress) -> None:
    """Return when the server answers on both of its own ports.

    Raises
    ------
    ServerError
        The server ended, with the last useful line of its log, or was silent for too long.
    """
    started = time.monotonic()
    while True:
        seconds = time.monotonic() - started
        progress("Starting Neo4j (seconds)", int(seconds), None)
        if _process(running.pid) is None:
            line = died_line(folders, running.created - 1)
            raise PortTaken(line) if "already in use" in line else ServerError(line)
        if is_ready(running):
            progress("Starting Neo4j (seconds)", max(1, int(seconds)), max(1, int(seconds)))
            return
        if seconds > BOOT_SECONDS:
            raise ServerError(
                f"Neo4j (pid {running.pid}) did not answer within {BOOT_SECONDS} s. It keeps trying: run "
                f"the command again, or look into {folders.logs / 'neo4j.log'}."
            )
        time.sleep(_POLL_SECONDS)


def terminate(pid: int, progress: Progress) -> None:
    """End the server cleanly and wait until it has written everything."""
    if (process := _process(pid)) is not None:
        process.terminate()
        wait_gone(pid, progress)


def wait_gone(pid: int, progress: Progress = silent) -> None:
    """Return when the process has ended."""
    started = time.monotonic()
    while _process(pid) is not None:
        seconds = time.monotonic() - started
        progress("Stopping Neo4j (seconds)", int(seconds), None)
        if seconds > STOP_SECONDS:
            raise ServerError(
                f"Neo4j (pid {pid}) did not stop within {STOP_SECONDS} s. Wait and run the command again; "
                f"to end it by force (it recovers at its next start): kill -9 {pid}"
            )
        time.sleep(_POLL_SECONDS)


def run_tool(
    command: list[str], folders: Folders, each_line: Callable[[str], None] | None = None
) -> list[str]:
    """Run one of Neo4j's own tools to its end and return what it printed.

    Raises
    ------
    ToolFailed
        It ended with another status than 0.
    """
    environment = dict(os.environ, NEO4J_HOME=str(folders.home), NEO4J_CONF=str(folders.conf))
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=folders.home,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as child:
        try:
            for line in child.stdout or ():
                lines.append(line.rstrip())
                if each_line:
                    each_line(line)
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        raise ToolFailed(child.returncode, lines)
    return lines


class PortTaken(ServerError):
    """Another program took the port between our look and the server's."""


class ToolFailed(Exception):  # caught where the tool is run and turned into a ServerError
    """A Neo4j tool ended with an error; ``lines`` is what it printed."""

    def __init__(self, status: int, lines: list[str]) -> None:
        super().__init__(status, lines)
        self.status = status
        self.lines = lines


def died_line(folders: Folders, since: float = 0.0) -> str:
    """Say in one line why the server ended, from what it logged last.

    Parameters
    ----------
    since
        Start of the server, seconds since the epoch; older lines of ``neo4j.log`` are of earlier starts.
    """
    console = _tail(folders.logs / "console.log")
    log = "\n".join(_lines_since(_tail(folders.logs / "neo4j.log"), since))
    text = f"{log}\n{console}"
    where = folders.logs / "neo4j.log"
    if any(said in text for said in _OUT_OF_MEMORY):
        said = useful_line(console)
        return f"Neo4j ran out of memory and ended: {said} Set TOSG_NEO4J_HEAP to another size, such as 4g."
    if "No space left on device" in text:
        return f"Neo4j ended: no space left on the disk of {folders.home}. Free some space and try again."
    return f"Neo4j ended before it was ready: {useful_line(text)} See {where}."


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 200_000))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _lines_since(text: str, since: float) -> list[str]:
    first = datetime.fromtimestamp(since, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\d{4}-\d\d-\d\d ", line) and line >= first:
            return lines[number:]
    return []


def useful_line(text: str) -> str:
    """Pick the line of a Java log that says what went wrong: the deepest cause, or else the last error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (r"Caused by: ", r"\bERROR\b", r"^(Error|Exception|error|java\.)", r"Exception|Error"):
        found = [line for line in lines if re.search(pattern, line)]
        if found:
            # "2026-01-01 10:00:00.000+0000 ERROR Failed to start" and "Caused by: org.x.SomeException: why"
            line = re.sub(r"^\S+ \S+ +ERROR +|^Caused by: ", "", found[-1])
            line = re.sub(r"^(?:[a-z]\w*\.)+(\w+: )", r"\1", line)
            return line[:300].rstrip(".") + "."
    return (lines[-1][:300] if lines else "it printed nothing").rstrip(".") + "."


@contextmanager
def one_at_a_time(folders: Folders, progress: Progress) -> Iterator[None]:
    """Hold the lock of this home: starts, stops and imports wait for each other, also between processes."""
    from filelock import FileLock, Timeout

    lock = FileLock(folders.run / "lock")
    waited = 0
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            waited += 1
            progress("Another process works on this server; waiting (seconds)", waited, None)
    try:
        yield
    finally:
        lock.release()


def end_leftover_tool(folders: Folders) -> None:
    """End a Neo4j tool of this home whose caller was killed; under the lock no other one is at work."""
    for process in psutil.process_iter():
        try:
            if f"@{folders.class_path}" in process.cmdline() and not _serves(process, folders):
                process.kill()
                process.wait()
        except psutil.Error:
            continue


def port_free(port: int) -> bool:
    """Whether ``port`` can be bound on the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        # As Neo4j binds: a port whose last connection lingers is free.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def any_port() -> int:
    """Ask the system for a free loopback port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _process(pid: int) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            # Our own child stays until it is waited for, which succeeds when its last thread has ended.
            ended = process.ppid() != os.getpid() or os.waitpid(pid, os.WNOHANG)[0] == pid
            return None if ended else process
    except (psutil.Error, ChildProcessError):
        return None
    return process


def _serves(process: psutil.Process, folders: Folders) -> bool:
    try:
        command = process.cmdline()
    except psutil.Error:
        return False
    return f"--home-dir={folders.home}" in command and process.status() != psutil.STATUS_ZOMBIE


def _listening(process: psutil.Process) -> set[int]:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)  # never through a proxy
    try:
        connection.request("GET", "/", headers={"Accept": "application/json"})
        return "neo4j_version" in json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
