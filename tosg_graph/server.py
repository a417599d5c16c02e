"""A running Neo4j: the one that settings name, or a local one that is started and reused."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tosg_graph.errors import ServerError
from tosg_graph.jars import locked_versions
from tosg_graph.progress import Progress, silent
from tosg_graph.server_config import (
    BOLT_PORT,
    DATABASE,
    HTTP_PORT,
    USER,
    Folders,
    admin_command,
    make_password,
    prepare,
    read_password,
    server_command,
)
from tosg_graph.server_import import ARRAY_DELIMITER, ImportResult, admin_import, finish_import
from tosg_graph.server_process import (
    PortTaken,
    Running,
    ToolFailed,
    any_port,
    find_running,
    find_unrecorded,
    is_ready,
    one_at_a_time,
    port_free,
    run_tool,
    spawn,
    terminate,
    useful_line,
    wait_ready,
)
from tosg_graph.settings import Settings

__all__ = [
    "ARRAY_DELIMITER",
    "DATABASE",
    "ImportResult",
    "ServerAddress",
    "ServerStatus",
    "admin_import",
    "browser_login",
    "check_login",
    "ensure_running",
    "locate",
    "start",
    "status",
    "stop",
    "unreachable",
]

_CONNECT_SECONDS = 10.0
_BOOT_ATTEMPTS = 3


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is and how to log in; ``http`` is the address of its Browser, where known."""

    uri: str
    user: str
    password: str
    http: str | None


@dataclass(frozen=True)
class ServerStatus:
    """What is known of the server ; what only a local one has is None for a named one."""

    running: bool
    uri: str | None
    http: str | None
    version: str | None
    pid: int | None
    home: Path | None
    password_file: Path | None

    def as_facts(self) -> dict[str, str]:
        """Render as label -> text, for showing."""
        facts = {
            "server": "running" if self.running else "not running",
            "address": self.uri,
            "browser": self.http,
            "version": self.version,
            "pid": self.pid,
            "folder": self.home,
            "user": USER if self.home else None,
            "password file": self.password_file,
        }
        return {label: str(value) for label, value in facts.items() if value is not None}


def ensure_running(settings: Settings, progress: Progress | None = None) -> ServerAddress:
    """Address of a server that accepts the login: the named one, or the local one, started if need be.

    Raises
    ------
    ServerError
        It cannot be started or reached, or refuses the password.
    """
    address = locate(settings, progress)
    check_login(settings, address)
    return address


def locate(settings: Settings, progress: Progress | None = None) -> ServerAddress:
    """Like `ensure_running`, without trying the login."""
    if settings.uri:
        return ServerAddress(settings.uri, settings.user, settings.password or "", None)
    return start(settings, progress)


def start(
    settings: Settings,
    progress: Progress | None = None,
    *,
    bolt_port: int | None = None,
    http_port: int | None = None,
) -> ServerAddress:
    """Start the local server, or find it running, and wait until it answers.

    Parameters
    ----------
    bolt_port, http_port
        Insist on these; by default 7687 and 7474, or free ones where those are taken.

    Raises
    ------
    ServerError
        In one line: what stopped it, and what to do.
    """
    progress = progress or silent
    folders = Folders(settings.neo4j_home)
    with _disk_errors(folders):
        running = find_running(folders)
        if running is None or not is_ready(running):
            folders.run.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folders, progress):
                running = _start_locked(settings, folders, progress, bolt_port, http_port)
        return ServerAddress(running.uri, USER, read_password(folders), running.browser)


def stop(settings: Settings, progress: Progress | None = None) -> bool:
    """Stop the local server and wait until all is written; False if it was not running."""
    if settings.uri:
        raise ServerError(f"{settings.uri} was not started by tosg, so tosg does not stop it.")
    progress = progress or silent
    folders = Folders(settings.neo4j_home)
    if not folders.run.is_dir():
        return False
    with _disk_errors(folders), one_at_a_time(folders, progress):
        noted = find_running(folders)
        unrecorded = None if noted else find_unrecorded(folders)
        pid = noted.pid if noted else unrecorded.pid if unrecorded else None
        if pid is not None:
            terminate(pid, progress)
        (folders.run / "server.json").unlink(missing_ok=True)
    return pid is not None


def status(settings: Settings) -> ServerStatus:
    """Say whether the server runs, and where; starts nothing."""
    if settings.uri:
        address = locate(settings)
        try:
            version = check_login(settings, address)
        except ServerError:
            version = None
        return ServerStatus(version is not None, settings.uri, None, version, None, None, None)
    folders = Folders(settings.neo4j_home)
    running = find_running(folders)
    if running is None:
        return ServerStatus(
            False, None, None, locked_versions()["neo4j"], None, folders.home, folders.password
        )
    return ServerStatus(
        is_ready(running),
        running.uri,
        running.browser,
        locked_versions()["neo4j"],
        running.pid,
        folders.home,
        folders.password,
    )


def browser_login(settings: Settings, address: ServerAddress) -> dict[str, str]:
    """Say how to open Neo4j Browser: ``browser`` (address to open), ``user``, where the password is."""
    if settings.uri is None:
        password = str(Folders(settings.neo4j_home).password)
        return {
            "browser": f"{address.http}tosg/open.html?connectURL={address.uri.replace('//', f'//{USER}@')}",
            "user": address.user,
            "password in": password,
            "guide": f"{address.http}tosg/guide.html",
        }
    host = urlsplit(address.uri).hostname or "localhost"
    secure = "+s" in urlsplit(address.uri).scheme
    page = f"https://{host}:7473/browser/" if secure else f"http://{host}:{HTTP_PORT}/browser/"
    return {"browser": page, "user": address.user, "password in": "TOSG_NEO4J_PASSWORD"}


def check_login(settings: Settings, address: ServerAddress) -> str:
    """Log in once and return the server's version.

    Raises
    ------
    ServerError
        The server does not answer, or refuses the login.
    """
    import neo4j
    from neo4j.exceptions import AuthError, DriverError, Neo4jError

    auth = (address.user, address.password) if address.password else None
    try:
        with neo4j.GraphDatabase.driver(
            address.uri,
            auth=auth,
            connection_timeout=_CONNECT_SECONDS,
            connection_acquisition_timeout=_CONNECT_SECONDS,
        ) as driver:
            agent = driver.get_server_info().agent
    except (AuthError, DriverError, Neo4jError, ValueError) as error:
        raise unreachable(settings, address, error) from error
    return str(agent).rpartition("/")[2]


def unreachable(settings: Settings, address: ServerAddress, error: Exception) -> ServerError:
    """Turn what the driver says about a connection into one line with a next step."""
    from neo4j.exceptions import AuthError

    code = getattr(error, "code", None) or ""
    if isinstance(error, AuthError) or code.startswith("Neo.ClientError.Security"):
        if "AuthenticationRateLimit" in code:
            return ServerError(
                f"{address.uri} refuses logins for some seconds after several wrong passwords. Try again."
            )
        if settings.uri is None:
            file = Folders(settings.neo4j_home).password
            return ServerError(
                f"{address.uri} refuses user {address.user!r} with the password in {file}. If it was changed "
                "in Browser, write the new one into that file."
            )
        given = "with the password given" if address.password else "without a password"
        return ServerError(
            f"{address.uri} refuses user {address.user!r} {given}. "
            "Set TOSG_NEO4J_PASSWORD (and TOSG_NEO4J_USER)."
        )
    why = " ".join(str(error).split())[:200]
    if settings.uri is None:
        return ServerError(f"The local server at {address.uri} does not answer: {why} Run: tosg db start")
    return ServerError(
        f"The server {address.uri} does not answer: {why} Check the address (--uri, TOSG_NEO4J_URI), "
        "or leave it away to use a local server."
    )


def _start_locked(
    settings: Settings, folders: Folders, progress: Progress, bolt: int | None, http: int | None
) -> Running:
    running = find_running(folders)  # another process may have started it while we waited
    if running is None and (unrecorded := find_unrecorded(folders)):
        terminate(unrecorded.pid, progress)
    if running is None:
        if finish_import(folders):
            progress("Removed the half-built database of an interrupted import", 1, 1)
        return _boot(settings, folders, progress, bolt, http)
    if not is_ready(running):
        wait_ready(running, folders, progress)
    return running


def _boot(
    settings: Settings, folders: Folders, progress: Progress, bolt: int | None, http: int | None
) -> Running:
    defaults: tuple[int | None, int | None] = (BOLT_PORT, HTTP_PORT)
    for attempt in range(1, _BOOT_ATTEMPTS + 1):
        ports = _port("Bolt", bolt, defaults[0], progress), _port("HTTP", http, defaults[1], progress)
        prepare(settings, *ports, progress)
        if not (folders.data / "databases" / "system").exists():
            _set_first_password(settings, folders)
        read_password(folders)  # a missing file is better known before the server starts
        running = spawn(server_command(settings, folders), folders, *ports)
        try:
            wait_ready(running, folders, progress)
        except PortTaken:
            if attempt == _BOOT_ATTEMPTS or (bolt and http):
                raise
            defaults = (None, None)
        else:
            break
    return running


def _port(name: str, wanted: int | None, default: int | None, progress: Progress) -> int:
    if wanted is not None:
        if not port_free(wanted):
            raise ServerError(f"Port {wanted} ({name}) is in use by another program. Choose another one.")
        return wanted
    if default is not None and port_free(default):
        return default
    port = any_port()
    if default is not None:
        progress(f"Port {default} ({name}) is taken, using {port}", 1, 1)
    return port


def _set_first_password(settings: Settings, folders: Folders) -> None:
    password = read_password(folders) if folders.password.exists() else make_password(folders)
    # An arguments file keeps the password out of the process list.
    secret = folders.run / "password.args"
    secret.touch(mode=0o600)
    try:
        secret.write_text(f"{password}\n", encoding="utf-8")
        run_tool(admin_command(settings, folders, ["dbms", "set-initial-password", f"@{secret}"]), folders)
    except ToolFailed as error:
        raise ServerError(
            f"The first password cannot be set: {useful_line(chr(10).join(error.lines))}"
        ) from error
    finally:
        secret.unlink(missing_ok=True)


@contextmanager
def _disk_errors(folders: Folders) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServerError(
                f"No space left on the disk of {folders.home}. Free some space and run the command again."
            ) from error
        raise ServerError(
            f"The server's folder {folders.home} cannot be used: {error.strerror or error} "
            f"({error.filename or folders.home}). Set TOSG_HOME to a folder that you can write to."
        ) from error
