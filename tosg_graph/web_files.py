"""Files at a source's own address: fetched once, resumed where a transfer broke, checked, kept with their sha256."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tosg_graph.errors import DownloadError
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress
from tosg_graph.settings import Settings
from tosg_graph.types import Source, WebFile

if TYPE_CHECKING:
    from requests import Response

CONNECT_SECONDS = 20
SILENT_SECONDS = 60  # without a single byte
ATTEMPTS = 4  # in a row that bring nothing
PAUSE_SECONDS = 2.0  # after the first of them; longer after each
_CHUNK = 1 << 16  # what a break loses at most
_LEAVE_FREE = 64 << 20  # bytes that a download leaves on the disk


def download(
    source: Source, file: WebFile, settings: Settings, progress: Progress, *, newest: bool = False
) -> Path:
    """Return the path of a file that lies at an address; the cache is asked first.

    A file with a pinned sha256 is that file or an error. For one without, ``<name>.json`` beside it says what
    came: address, sha256, bytes, and what the server said of its age.

    Parameters
    ----------
    newest
        Fetch again what has no pinned sha256; the old one stays until the new one is complete.

    Raises
    ------
    DownloadError
        In one line. What a broken transfer brought is kept and continued by the next call; it never counts.
    """
    if urlsplit(file.url).scheme not in ("https", "http"):
        raise DownloadError(f"{source.key}: {file.url} is no web address; correct the loader.")
    folder = settings.cache / "sources" / "web" / hashlib.sha256(file.url.encode()).hexdigest()[:16]
    target = folder / (PurePosixPath(urlsplit(file.url).path).name or "file")
    if not (newest and file.sha256 is None) and _is_whole(target, file):
        return target
    with _alone(source, folder):
        incoming = folder / "incoming"
        incoming.mkdir(exist_ok=True)
        fetched, said = _retrieve(source, file, incoming / target.name, progress)
        _record(target).unlink(missing_ok=True)
        fetched.replace(target)
        _write_record(target, {"url": file.url, **said})
    return target


def _is_whole(target: Path, file: WebFile) -> bool:
    if not target.is_file():
        return False
    known = file.sha256
    if known is None:
        try:
            known = json.loads(_record(target).read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError):
            return False
    return sha256_of(target) == known


def _record(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _write_record(target: Path, said: dict[str, Any]) -> None:
    part = _record(target).with_suffix(".part")
    part.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(_record(target))


@contextmanager
def _alone(source: Source, folder: Path) -> Iterator[None]:
    """Hold a lock: two writers of one partial file would mix it."""
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as e:
        raise DownloadError(
            f"{source.key}: another process is fetching the same file; wait until it is done."
        ) from e
    except OSError as e:
        raise DownloadError(
            f"{source.key}: {folder} cannot be written ({e.strerror or e}); free space, or set TOSG_CACHE to "
            "a folder on another disk."
        ) from e


def _retrieve(source: Source, file: WebFile, path: Path, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Let pooch fetch and check the file; the transfer itself is `_Transfer`, for pooch does not resume."""
    import pooch

    pooch.get_logger().setLevel("ERROR")
    path.unlink(missing_ok=True)
    transfer = _Transfer(source, file, path.with_name(f"{path.name}.part"), progress)
    known = f"sha256:{file.sha256}" if file.sha256 else None
    try:
        fetched = pooch.retrieve(file.url, known, fname=path.name, path=path.parent, downloader=transfer)
    except ValueError as e:
        found = re.search(r"but got (\w{12})", str(e))
        raise DownloadError(
            f"{source.key}: {file.url} has sha256 {found[1] if found else 'unknown'}..., pinned is "
            f"{str(file.sha256)[:12]}...; it is another or a damaged file. Run again, or give a file with --path."
        ) from e
    return Path(fetched), transfer.said | {"sha256": file.sha256 or pooch.file_hash(fetched)}


class _Transfer:
    """A downloader of pooch: continues ``part`` by HTTP Range and tries again while bytes arrive.

    Parameters
    ----------
    part
        What came so far. ``<part>.mark`` holds the server's mark of its version (ETag or Last-Modified), without
        which a file that is not pinned cannot be continued.
    """

    def __init__(self, source: Source, file: WebFile, part: Path, progress: Progress) -> None:
        self.source, self.file, self.part, self.progress = source, file, part, progress
        self.mark = part.with_name(f"{part.name}.mark")
        self.said: dict[str, Any] = {}

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Bring the whole file to ``output_file``."""
        import requests

        failures = 0
        while True:
            before = self._size()
            try:
                if self._continue(url):
                    break
            except requests.RequestException as e:
                failures = 1 if self._size() > before else failures + 1
                if failures >= ATTEMPTS:
                    raise self._unreachable(e) from e
                time.sleep(PAUSE_SECONDS * failures)
        self.said["bytes"] = self._size()
        self.mark.unlink(missing_ok=True)
        self.part.replace(output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _continue(self, url: str) -> bool:
        """Ask for what is missing; False if the server wants to start over."""
        import requests

        have = self._size()
        mark = self.mark.read_text(encoding="utf-8") if self.mark.is_file() else ""
        if have and not (mark or self.file.sha256):
            self.part.unlink()
            have = 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "tosg-graph"}
        if have:
            headers["Range"] = f"bytes={have}-"
            headers |= {"If-Range": mark} if mark else {}
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, SILENT_SECONDS)
        ) as answer:
            if answer.status_code == 416 or (have and _starts_elsewhere(answer, have)):
                self.part.unlink(missing_ok=True)
                return False
            self._check_answer(answer)
            self._receive(answer, have if answer.status_code == 206 else 0)
        return True

    def _check_answer(self, answer: Response) -> None:
        status = answer.status_code
        if status in (408, 425, 429) or status >= 500:
            answer.raise_for_status()
        if status not in (200, 206):
            raise DownloadError(
                f"{self.source.key}: {self.file.url} answers {status} {answer.reason}. Look for the file at "
                f"{self.source.homepage} and run tosg load {self.source.key} --path FILE."
            )
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(
                f"{self.source.key}: {self.file.url} answers with a web page, not a file. Get the file from "
                f"{self.source.homepage} and run tosg load {self.source.key} --path FILE."
            )

    def _receive(self, answer: Response, have: int) -> None:
        import requests

        is_plain = answer.headers.get("Content-Encoding", "identity") == "identity"
        length = answer.headers.get("Content-Length", "") if is_plain else ""
        total = have + int(length) if length.isdigit() else None
        self._check_space(total, have)
        tag = answer.headers.get("ETag", "")
        mark = "" if tag.startswith("W/") else tag  # a weak one says nothing about bytes
        mark = mark or answer.headers.get("Last-Modified", "")
        self.mark.write_text(mark if is_plain else "", encoding="utf-8")
        dated = {"etag": tag, "last_modified": answer.headers.get("Last-Modified", "")}
        self.said = {name: value for name, value in dated.items() if value}
        done = have
        with self.part.open("ab" if have else "wb") as out:
            for chunk in answer.iter_content(_CHUNK):
                out.write(chunk)
                done += len(chunk)
                self._show(done, total)
            out.flush()
            os.fsync(out.fileno())
        if total is not None and done != total:
            raise requests.ConnectionError(f"ended after {done:,} of {total:,} bytes")
        self._show(done, done)

    def _show(self, done: int, total: int | None) -> None:
        name = PurePosixPath(urlsplit(self.file.url).path).name
        self.progress(f"Fetching {name} (kB)", done // 1000, None if total is None else total // 1000)

    def _check_space(self, total: int | None, have: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if total is not None and total - have + _LEAVE_FREE > free:
            raise DownloadError(
                f"{self.source.key}: {self.file.url} has {total:,} bytes and {self.part.parent} has room for "
                f"{max(0, free - _LEAVE_FREE):,}; free space, or set TOSG_CACHE to a folder on another disk."
            )

    def _unreachable(self, error: Exception) -> DownloadError:
        kept = (
            f" {self._size():,} bytes are kept and the next run goes on from there." if self._size() else ""
        )
        return DownloadError(
            f"{self.source.key}: {self.file.url} could not be fetched ({_reason(error)}).{kept} Check the network and "
            f"run again, or give the file with --path or TOSG_MIRROR."
        )


def _starts_elsewhere(answer: Response, have: int) -> bool:
    said = answer.headers.get("Content-Range", "")
    return answer.status_code == 206 and not said.startswith(f"bytes {have}-")


def _reason(error: Exception) -> str:
    """Last words of a chain of network errors, in one short line."""
    text = str(error.args[0] if error.args else error)
    text = re.sub(r"<[^>]*>:? ?|\(Caused by |HTTPS?Connection(Pool)?\([^)]*\): |Max retries[^(]*", "", text)
    return " ".join(text.split())[-120:].strip("'\"(): ") or type(error).__name__
