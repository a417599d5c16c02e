"""What this home remembers of releases and exports, so that two releases can be compared without a server.

``stated/releases/<release>.json`` names the file of each source's statements; a source that did not change shares its
file with earlier releases. The newest `KEEP` are kept. ``exports.jsonl`` has one line per finished export.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tosg_graph import stated
from tosg_graph.bundle import MANIFEST
from tosg_graph.errors import LoadError

KEEP = 5
_EXPORTS = "exports.jsonl"


@dataclass(frozen=True)
class KeptRelease:
    """One release whose statements this home keeps.

    Parameters
    ----------
    sources
        Source -> version and content hash, as in ``(:Release).contents``.
    files
        Source -> name of the file of its statements; a source that was loaded elsewhere has none.
    """

    id: str
    number: int
    previous: str
    sources: dict[str, str]
    files: dict[str, str]


def keep(
    folder: Path,
    release: str,
    number: int,
    previous: str,
    contents: Iterable[str],
    written: Mapping[str, str],
) -> None:
    """Remember what a release holds, then forget all but the newest.

    Parameters
    ----------
    contents
        One line per source of the graph: key, version and content hash.
    written
        Source of this load -> name of the file of its statements.
    """
    before = {kept.id: kept for kept in releases(folder)}
    base = before.get(release) or before.get(previous)
    sources = dict(line.split(" ", 1) for line in contents)
    known = {s: name for s, name in base.files.items() if s in sources} if base else {}
    # A load that changed nothing makes no release: what this one was stays as it was recorded.
    files = {**written, **known} if release in before else {**known, **written}
    (folder / "releases").mkdir(parents=True, exist_ok=True)
    now = KeptRelease(release, number, previous, sources, files)
    stated.write_json(folder / "releases" / f"{release}.json", asdict(now))
    prune(folder, KEEP)


def releases(folder: Path) -> list[KeptRelease]:
    """Releases that are kept, oldest first."""
    paths = (folder / "releases").glob("*.json")
    found = [KeptRelease(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return sorted(found, key=lambda kept: (kept.number, kept.id))


def prune(folder: Path, keep: int) -> tuple[int, int]:
    """Forget all but the newest releases, and remove the files that no other names; return how many of each."""
    kept = releases(folder)
    old = kept[: max(0, len(kept) - keep)]
    for release in old:
        (folder / "releases" / f"{release.id}.json").unlink()
    named = {name for release in kept[len(old) :] for name in release.files.values()}
    named |= stated.named_files(folder)
    unused = [path for path in folder.glob("*.parquet") if path.name not in named]
    for path in unused:
        path.unlink()
    return len(old), len(unused)


def find(kept: Sequence[KeptRelease], name: str) -> KeptRelease:
    """Return the release with this id, or the only one whose id begins so.

    Raises
    ------
    LoadError
        If none or several do.
    """
    found = [release for release in kept if release.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise LoadError(f"{name!r} is the beginning of {', '.join(r.id for r in found)}; write more of it.")
    ids = [release.id for release in kept]
    near = difflib.get_close_matches(name, ids, n=1, cutoff=0.0)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise LoadError(
        f"No release {name!r} is kept here.{hint} `tosg kg releases` lists all, and which are kept."
    )


@dataclass(frozen=True)
class RecordedExport:
    """One finished export: its folder, and the version of the abundance store that it names."""

    folder: Path
    store: int | None  # None where it has no cells, or was recorded before this was kept


def record_export(home: Path, out: Path, release: str) -> None:
    """Remember a finished export; one short write at the end of the file, whole or not at all."""
    home.mkdir(parents=True, exist_ok=True)
    said = {"path": str(out.absolute()), "release": release, "store": _store_version(out)}
    line = json.dumps(said, ensure_ascii=False)
    with (home / _EXPORTS).open("ab", buffering=0) as file:
        file.write(f"\n{line}\n".encode())  # the one before may have been cut off


def recorded_exports(home: Path) -> list[Path]:
    """Folders of all exports that were recorded, first made first; a line that was cut off is passed over."""
    return [export.folder for export in exports(home)]


def exports(home: Path) -> list[RecordedExport]:
    """All exports that were recorded, first made first, each folder once as it was made last."""
    try:
        lines = (home / _EXPORTS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: dict[Path, RecordedExport] = {}
    for line in lines:
        try:
            said = json.loads(line)
            folder = Path(said["path"])
        except ValueError:
            continue
        # What the folder says holds; a folder that was moved is known by what was recorded.
        store = _store_version(folder) if folder.is_dir() else said.get("store")
        found[folder] = RecordedExport(folder, store)
    return list(found.values())


def _store_version(out: Path) -> int | None:
    try:
        version = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["store"]["cells"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, int) else None
