"""Members of archives from outside: every entry is checked before any is opened, nothing is executed."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tosg_graph.errors import DownloadError

_CHUNK = 1 << 20
MOST_BYTES = 200 << 30  # of everything in one archive; the largest graphs of others are a tenth of it
MOST_RATIO = 200  # text of databases packs to a tenth, never to a two-hundredth
RATIO_FROM = 64 << 20  # bytes; below, a ratio does no harm
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True)
class _Entry:
    name: str
    size: int
    kind: str  # "file", "folder" or "link"


def extract(member: str, archive: Path, target: Path) -> None:
    """Copy one file out of an archive to ``target``; nothing else is written.

    Raises
    ------
    DownloadError
        If the archive has no such file, is damaged, or holds an entry that no honest archive holds: a path
        that leads out of it, a link, or far more bytes than it has itself.
    """
    if not is_safe_member(member):
        raise DownloadError(f"{member!r} leads out of the archive; pin a path inside it.")
    with _errors(archive, target), _open(archive) as box:
        _check(archive, box)
        _copy_member(box, member, target)


def unpack(archive: Path, folder: Path) -> None:
    """Copy all files of an archive below ``folder``, complete or not at all.

    Raises
    ------
    DownloadError
        As `extract`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        part = Path(name) / "content"
        part.mkdir()
        with _errors(archive, folder), _open(archive) as box:
            for entry in _check(archive, box):
                if entry.kind == "file":
                    target = part / PurePosixPath(entry.name)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _copy_member(box, entry.name, target)
        part.rename(folder)


def is_archive(path: Path) -> bool:
    """Whether a file is named like an archive that `unpack` opens."""
    return path.name.lower().endswith(ENDINGS)


def is_safe_member(member: str) -> bool:
    """Whether a path inside an archive stays inside the folder it is unpacked to."""
    parts = PurePosixPath(member).parts
    return (
        bool(parts)
        and not member.startswith("/")
        and ".." not in parts
        and "\\" not in member
        and ":" not in parts[0]
    )


# --------------------------------------------------------------------------- one look for both kinds

_Box = zipfile.ZipFile | tarfile.TarFile


def _open(archive: Path) -> _Box:
    return zipfile.ZipFile(archive) if archive.suffix in (".whl", ".zip") else tarfile.open(archive)


def _entries(box: _Box) -> Iterator[_Entry]:
    if isinstance(box, zipfile.ZipFile):
        for info in box.infolist():
            is_link = stat.S_ISLNK(info.external_attr >> 16)
            kind = "link" if is_link else "folder" if info.is_dir() else "file"
            yield _Entry(info.filename, info.file_size, kind)
        return
    # One by one: the size of an entry is known before its bytes are read.
    for member in box:
        kind = "file" if member.isfile() else "folder" if member.isdir() else "link"
        yield _Entry(member.name, member.size, kind)


def _check(archive: Path, box: _Box) -> list[_Entry]:
    found: list[_Entry] = []
    own, total = archive.stat().st_size, 0
    for entry in _entries(box):
        # "./" is how tar writes the folder itself.
        if not is_safe_member(entry.name) and not (entry.kind == "folder" and entry.name.strip("./") == ""):
            raise DownloadError(
                f"{archive.name} holds {entry.name[:80]!r}, which leads out of the archive; nothing was opened."
            )
        if entry.kind == "link":
            raise DownloadError(
                f"{archive.name} holds {entry.name[:80]!r}, which is a link or a device; nothing was opened."
            )
        total += entry.size
        if total > MOST_BYTES or (total > RATIO_FROM and total > MOST_RATIO * own):
            raise DownloadError(
                f"{archive.name} has {own:,} bytes and would become more than {total - 1:,}, over {MOST_RATIO} times "
                "as much; nothing was opened. If it is honest, unpack it yourself and give the folder."
            )
        found.append(entry)
    return found


def _copy_member(box: _Box, member: str, target: Path) -> None:
    if isinstance(box, zipfile.ZipFile):
        if member not in box.namelist():
            raise KeyError(member)
        with box.open(member) as content:
            _copy(content, target)
        return
    found = box.extractfile(member) if member in box.getnames() else None
    if found is None:
        raise KeyError(member)
    with found:
        _copy(found, target)


def _copy(member: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(member, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())


@contextmanager
def _errors(archive: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except KeyError as e:
        raise DownloadError(f"{archive.name} has no file {e.args[0]}; give or pin another version.") from e
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        EOFError,
        zlib.error,
        NotImplementedError,
        RuntimeError,
    ) as e:
        raise DownloadError(f"{archive.name} is damaged ({e}); delete it and run again.") from e
    except OSError as e:
        raise DownloadError(f"{target.name} cannot be written ({e}); free space and run again.") from e
