"""The class path of the local server: the jars of ``jars.lock``, fetched once, checked by sha256."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tosg_graph.errors import DownloadError
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import lock_text

_THREADS = 12
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 3
_STAMP = "verified.json"  # path -> [size, mtime_ns] of each jar as it was when its sha256 was last right


@dataclass(frozen=True)
class Jar:
    """One jar of the lock; ``plugin`` says that it holds procedures and belongs in the plugins folder."""

    group: str
    artifact: str
    version: str
    classifier: str
    ext: str
    size: int
    sha256: str
    plugin: bool = False

    @property
    def path(self) -> str:
        """Where it lies in a Maven repository."""
        tail = f"-{self.classifier}" if self.classifier else ""
        name = f"{self.artifact}-{self.version}{tail}.{self.ext}"
        return "/".join([*self.group.split("."), self.artifact, self.version, name])


@cache
def locked_versions() -> dict[str, str]:
    """Versions of ``neo4j``, ``gds`` and ``apoc`` in the lock."""
    versions: dict[str, str] = json.loads(lock_text("jars.lock"))["versions"]
    return versions


@cache
def locked_jars() -> tuple[Jar, ...]:
    """Every jar of the lock, in class path order."""
    return tuple(Jar(**row) for row in json.loads(lock_text("jars.lock"))["jars"])


def fetch_jars(
    folder: Path,
    jars: Sequence[Jar] | None = None,
    progress: Progress | None = None,
    download: Callable[[Jar, Path], Path] | None = None,
) -> list[Path]:
    """Paths of all jars under ``folder``, each with the size and sha256 of the lock.

    What is missing, cut short or changed is fetched again. A jar that was right is hashed again only when
    its size or modification time has changed since.

    Parameters
    ----------
    folder
        Repository folder; shared by all homes, and safe to share between processes.
    jars
        Default: those of the lock.
    download
        ``(jar, empty folder) -> path of the downloaded file``; default: through jgo.

    Raises
    ------
    DownloadError
        A jar cannot be fetched, has another sha256 than the lock, or cannot be written.
    """
    from filelock import FileLock

    jars = locked_jars() if jars is None else jars
    progress = progress or silent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = _read_stamp(folder)
        if all(jar.path in stamp and stamp[jar.path] == _fingerprint(folder / jar.path) for jar in jars):
            return [folder / jar.path for jar in jars]
        with FileLock(folder / ".lock"):
            _complete(folder, jars, progress, download or _download)
    except OSError as error:
        raise DownloadError(
            f"The server's jars cannot be written to {folder}: {error.strerror or error}. "
            "Free some space (200 MB) or set TOSG_CACHE to another folder."
        ) from error
    return [folder / jar.path for jar in jars]


def _complete(
    folder: Path, jars: Sequence[Jar], progress: Progress, download: Callable[[Jar, Path], Path]
) -> None:
    stamp = _read_stamp(folder)  # again: another process may have completed it while we waited for the lock
    missing: list[Jar] = []
    for jar in jars:
        path = folder / jar.path
        seen = _fingerprint(path)
        if seen is None or seen[0] != jar.size:
            missing.append(jar)
        elif stamp.get(jar.path) != seen:
            if sha256_of(path) == jar.sha256:
                stamp[jar.path] = seen
            else:
                missing.append(jar)
    try:
        if missing:
            _fetch_missing(folder, missing, stamp, progress, download)
    finally:
        _write_stamp(folder, stamp)  # an interrupted download goes on where it stopped


def _fetch_missing(
    folder: Path,
    missing: Sequence[Jar],
    stamp: dict[str, list[int]],
    progress: Progress,
    download: Callable[[Jar, Path], Path],
) -> None:
    total = sum(jar.size for jar in missing)
    title = f"Fetching Neo4j {locked_versions()['neo4j']} (bytes)"
    done = 0
    progress(title, done, total)
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=folder))
    pool = ThreadPoolExecutor(_THREADS)
    try:
        futures = [pool.submit(_fetch_one, folder, incoming, jar, download) for jar in missing]
        for future in as_completed(futures):
            jar = future.result()
            fingerprint = _fingerprint(folder / jar.path)
            if fingerprint is not None:
                stamp[jar.path] = fingerprint
            done += jar.size
            progress(title, done, total)
    finally:
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(incoming, ignore_errors=True)


def _fetch_one(folder: Path, incoming: Path, jar: Jar, download: Callable[[Jar, Path], Path]) -> Jar:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            arrived = download(jar, incoming / f"{jar.sha256}.{attempt}")
            found = sha256_of(arrived)
            if found != jar.sha256:
                raise DownloadError(
                    f"{jar.path} arrived with sha256 {found[:12]}… ({arrived.stat().st_size:,} bytes), not "
                    f"{jar.sha256[:12]}… ({jar.size:,} bytes). It was not kept; run the command again."
                )
            break
        except DownloadError:
            if attempt == _ATTEMPTS:
                raise
    target = folder / jar.path
    target.parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(target)
    return jar


def _download(jar: Jar, into: Path) -> Path:
    import requests
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    # A repository cache of its own: jgo writes to the final name while the bytes still arrive.
    repositories = GlobalSettings.load().repositories or {"central": MAVEN_CENTRAL_URL}
    context = MavenContext(
        resolver=PythonResolver(), repo_cache=into, remote_repos=repositories, timeout=_TIMEOUT_SECONDS
    )
    component = context.project(jar.group, jar.artifact).at_version(jar.version)
    try:
        return Path(component.artifact(jar.classifier, jar.ext).resolve())
    # jgo says "not found" as RuntimeError; what requests raises is an OSError, but not one of the disk.
    except (RuntimeError, requests.RequestException) as error:
        raise DownloadError(
            f"{jar.path} cannot be fetched: {_one_line(error)}. Check the network and run the command again; "
            "what has arrived is kept."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _fingerprint(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [found.st_size, found.st_mtime_ns]


def _read_stamp(folder: Path) -> dict[str, list[int]]:
    try:
        stamp: dict[str, list[int]] = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # it only saves time
    return stamp


def _write_stamp(folder: Path, stamp: dict[str, list[int]]) -> None:
    fresh = folder / f"{_STAMP}.{os.getpid()}"
    fresh.write_text(json.dumps(stamp), encoding="utf-8")
    fresh.replace(folder / _STAMP)
