"""A bundle that is being written: found again after a kill, with its finished shards, and renamed when it is complete.

It lies beside its place, as ``.NAME.unfinished``::

    lock, holder   one process at a time, and which one that is
    bundle/        becomes the bundle
    shard, ...     what is being written
    shards.jsonl   a hash of all that decides the shards, then name and sha256 of each finished one
    kept/          shards of a run before this one, until they are checked

Shards take long, and they alone are kept. All other files are written anew, so that the hash can be of these files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from tosg_graph import bundle
from tosg_graph.errors import EngineError, ExportError, StoreError, TosgError
from tosg_graph.hashes import sha256_of
from tosg_graph.progress import Progress

SHARDS = "abundance"  # their folder in the bundle
_DECIDE_NO_SHARD = {bundle.TEXT, bundle.TOPOLOGY}  # the largest files: no shard waits for their hashes
_LOCK = "lock"


class BundleDraft:
    """A bundle that is being written; see `new_draft`.

    Attributes
    ----------
    folder
        Where its files are written.
    finished
        Shards that need not be written, such as ``abundance/train-00000.safetensors``, and their sha256.
    known
        The same of other files, where it is known.
    """

    def __init__(self, place: Path) -> None:
        self.folder = place / "bundle"
        self.finished: dict[str, str] = {}
        self.known: dict[str, str] = {}
        self._place, self._kept, self._journal = place, place / "kept", place / "shards.jsonl"
        self._hashed: dict[str, Future[str]] = {}

    def clear(self) -> None:
        """Put the shards of a run before this one aside, and remove all else of it."""
        self._kept.mkdir(exist_ok=True)
        for path in (self.folder / SHARDS).glob("*"):
            path.rename(self._kept / path.name)
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir()

    def put(self, name: str, write: Callable[[Path], None], beside: ThreadPoolExecutor) -> None:
        """Have a file written, hashed and put on the disk beside other work; an error comes up in `checksums`."""

        def work() -> str:
            part = self._place / name  # what is in the bundle's own folder is complete, whoever lists it
            write(part)
            part.rename(self.folder / name)
            return self._settled(name, beside)

        self._hashed[name] = beside.submit(work)

    def settle(self, beside: ThreadPoolExecutor) -> None:
        """Have what is there now hashed and put on the disk beside other work, so that the end need not wait."""
        for path in bundle.files(self.folder):  # listed before others come, which are not complete yet
            name = path.relative_to(self.folder).as_posix()
            if name not in self._hashed:
                self._hashed[name] = beside.submit(self._settled, name, beside)

    def _settled(self, name: str, beside: ThreadPoolExecutor) -> str:
        path = self.folder / name
        sha256 = self.known.get(name) or sha256_of(path)
        beside.submit(bundle.sync, path)  # once more at the end, where an error counts
        return sha256

    def resume(self, inputs: object, progress: Progress) -> None:
        """Keep the shards of a run before this one that were made of the same, and whose bytes are as they were.

        Parameters
        ----------
        inputs
            What decides the shards beside the files that are in the folder now; JSON.
        """
        deciding = self.checksums(without=_DECIDE_NO_SHARD)
        self.known |= deciding
        text = json.dumps([deciding, inputs], sort_keys=True)
        inputs_sha256 = hashlib.sha256(text.encode()).hexdigest()
        recorded = self._recorded(inputs_sha256)
        (self.folder / SHARDS).mkdir()
        left = sorted(self._kept.iterdir())
        for number, path in enumerate(left):
            progress("Checking finished shards", number, len(left))
            name = f"{SHARDS}/{path.name}"
            if name in recorded and sha256_of(path) == recorded[name]:
                path.rename(self.folder / name)
                self.finished[name] = recorded[name]
        if left:
            progress("Checking finished shards", len(left), len(left))
        self._begin_journal(inputs_sha256)
        shutil.rmtree(self._kept)

    def add(self, name: str, write: Callable[[Path], None]) -> None:
        """Have a shard written; it is on the disk, and under its name, before it is recorded."""
        part = self._place / "shard"
        write(part)
        bundle.sync(part)
        sha256 = sha256_of(part)
        part.rename(self.folder / name)
        with self._journal.open(
            "a", encoding="utf-8"
        ) as file:  # a power cut may take the line: then it is not kept
            file.write(_line({"file": name, "sha256": sha256}))
        self.finished[name] = sha256

    def checksums(self, without: Container[str] = ()) -> dict[str, str]:
        """Sha256 of every file but the manifest and ``without``, which are not waited for."""
        beside = {name: sha256.result() for name, sha256 in self._hashed.items() if name not in without}
        files = [path for path in bundle.files(self.folder) if path.name not in without]  # all are there now
        return bundle.checksums(self.folder, {**self.known, **beside, **self.finished}, files)

    def shards(self) -> int:
        """How many a next run may keep."""
        aside = [*self._kept.iterdir()] if self._kept.exists() else []
        return len(self.finished) + len(aside)

    def _recorded(self, inputs_sha256: str) -> dict[str, str]:
        """Finished shards by the journal; none where it is of other inputs. A kill may have cut its last line."""
        recorded: dict[str, str] = {}
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            first, *lines = self._journal.read_text(encoding="utf-8").splitlines()
            if json.loads(first)["inputs_sha256"] == inputs_sha256:
                for line in map(json.loads, lines):
                    recorded[line["file"]] = line["sha256"]
        return recorded

    def _begin_journal(self, inputs_sha256: str) -> None:
        part = self._place / "shards.part"
        lines = [{"file": name, "sha256": sha256} for name, sha256 in self.finished.items()]
        part.write_text("".join(map(_line, [{"inputs_sha256": inputs_sha256}, *lines])), encoding="utf-8")
        part.rename(self._journal)


@contextmanager
def new_draft(out: Path) -> Iterator[BundleDraft]:
    """Yield a bundle to write that becomes ``out`` when the block ends without error.

    Ctrl-C, a full disk, or a failure of the store or of a cluster leave its finished shards for the next run; an error
    for what was asked leaves nothing.

    Raises
    ------
    ExportError
        If ``out`` exists, its parent cannot be written, another process writes the same bundle, or the disk fills up.
    """
    out = bundle.refuse_existing(out).absolute()
    place = _place_of(out)
    with _held(place, out):
        draft = BundleDraft(place)
        try:
            bundle.refuse_existing(out)  # by the process that held the lock before
            draft.clear()
            yield draft
            bundle.sync_all([*draft.folder.rglob("*"), draft.folder])
            if out.exists():
                raise ExportError(f"{out} was made by something else meanwhile. Choose another --out.")
            draft.folder.rename(out)
            bundle.sync(out.parent)
        except BaseException as error:
            left = 0 if _refused(error) else draft.shards()
            if not left:
                _remove(place)
            if not isinstance(error, OSError):
                raise
            stays = f"{left} finished shards stay in {place}; the same command goes on with them."
            reason = f"{out} cannot be written: {error.strerror or error}."
            raise ExportError(f"{reason} {stays if left else 'Nothing was left.'}") from error
        _remove(place)


def refuse_taken(out: Path) -> Path:
    """Return the folder that ``out`` names, before any work is done.

    Raises
    ------
    ExportError
        If it exists, or another process is writing it at this moment.
    """
    out = bundle.refuse_existing(out)
    place = _place_of(out.absolute())
    if (place / _LOCK).exists():
        with _held(place, out):
            pass
    return out


def _place_of(out: Path) -> Path:
    return out.parent / f".{out.name}.unfinished"


@contextmanager
def _held(place: Path, out: Path) -> Iterator[None]:
    """Hold the lock of a draft, which ends with this process however that ends."""
    from filelock import FileLock, Timeout

    lock, holder = FileLock(place / _LOCK, timeout=0), place / "holder"
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
    except Timeout as error:
        who = holder.read_text(encoding="utf-8") if holder.exists() else "another process"
        raise ExportError(
            f"{out} is being written by {who}. Wait until it is done, or choose another --out."
        ) from error
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}. Choose another --out.") from error
    try:
        yield
    finally:
        lock.release()


def _refused(error: BaseException) -> bool:
    """Whether the same command cannot succeed: it is about what was asked, not about a disk or a cluster."""
    return isinstance(error, TosgError) and not isinstance(error, (StoreError, EngineError))


def _remove(place: Path) -> None:
    """Remove a draft; the lock last, so that nobody begins another one meanwhile."""
    with suppress(OSError):
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink()
        (place / _LOCK).unlink()
        place.rmdir()


def _line(record: dict[str, str]) -> str:
    return json.dumps(record, sort_keys=True) + "\n"
