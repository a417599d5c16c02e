"""An export that was killed or failed: the same command goes on, and ends in the bytes of one that nobody disturbed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
import toy_bundle as toy
from scipy.sparse import csr_array

from tosg_graph import bundle
from tosg_graph.bundle_draft import BundleDraft, new_draft, refuse_taken
from tosg_graph.bundle_features import LayerSource
from tosg_graph.correction import Plan
from tosg_graph.edge_splits import EdgeTask
from tosg_graph.errors import CorrectionError, EngineError, ExportError, StoreError
from tosg_graph.export import write_bundle
from tosg_graph.levels import Links
from tosg_graph.sentences import TextPlan
from tosg_graph.threads import threads

DONE = 2  # shards that a disturbed run finishes, of three of the training cells
CTRL_C = KeyboardInterrupt("stop")
SHARDS = 7  # of all cells, two in each at most


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)
    monkeypatch.setattr(os, "fsync", lambda number: None)  # a kill loses nothing of what was written


def cells() -> pa.Table:
    """Every cell has a label, a run of two, and, but for every third one, proteins that were measured."""
    table = toy.cells().append_column("run", pa.array(["r1", "r1", "r2"] * 4))
    counted = [None if k % 3 == 2 else 10 * k + 1 for k in range(toy.CELLS)]
    table = table.append_column("n_protein_counts", pa.array(counted, pa.int64()))
    return table.set_column(4, "cell_type", pa.array(["T", "B", "T", "T", "T", "B"] * 2))


PROTEIN_AXIS = pa.table(
    {"column": pa.array([0], pa.int32()), "feature": ["AB1"], "protein_id": ["UniProtKB:P1"]}
)
OF_PROTEINS = LayerSource(
    PROTEIN_AXIS, lambda ids, _: csr_array([[10 * int(c[-2:]) + 1] for c in ids], dtype="int32")
)
LEVEL = Links({"Protein": "sum"}, pa.table({"node_row": pa.array([6], pa.int64()), "gene_id": ["HGNC:99"]}))
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "corrected": {"correct": Plan("combat", "run"), "text": TextPlan()},
    "proteins and levels": {
        "proteins": OF_PROTEINS,
        "links": LEVEL,
        "edge_task": EdgeTask(("ENCODES",), (0.5, 0.5, 0.0), 0),
    },
}


class Asked:
    """The counts of the toy world, and for how many cells they were asked."""

    def __init__(self) -> None:
        self.cells = 0

    def __call__(self, cell_ids: Sequence[str], columns: Sequence[int]) -> csr_array[Any, Any]:
        self.cells += len(cell_ids)
        return toy.counts(cell_ids, columns)


def write(out: Path, **changes: Any) -> bundle.Manifest:
    arguments: dict[str, Any] = {"cohort": "true", "label": "cell_type", "out": out, "seed": 7, **changes}
    selection = arguments.pop("selection", toy.selection())
    of_measured = ("proteins", "links", "counts", "version", "counts_files", "cells")
    given = {name: arguments.pop(name) for name in of_measured if name in arguments}
    return write_bundle(selection, toy.measured(**{"cells": cells(), **given}), **arguments)


def files(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def unfinished(out: Path) -> Path:
    return out.parent / f".{out.name}.unfinished"


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the last write of each shard."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in (folder / "abundance").iterdir()}


def stop(
    out: Path, error: BaseException = CTRL_C, after: int = DONE, says: str = "stop", **changes: Any
) -> dict[str, tuple[int, int]]:
    """Have an export fail after some shards; `identities` of what is left of it."""
    real = BundleDraft.add

    def add(draft: BundleDraft, name: str, write: Callable[[Path], None]) -> None:
        if len(draft.finished) == after:
            raise error
        real(draft, name, write)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BundleDraft, "add", add)
        with pytest.raises(BaseException, match=says) as raised:
            write(out, **changes)
    assert error in (raised.value, raised.value.__cause__)
    left = unfinished(out) / "bundle"
    return identities(left) if left.exists() else {}


# --------------------------------------------------------------------------- the same command goes on


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupted_export_goes_on_and_rewrites_no_finished_shard(tmp_path: Path, way: str) -> None:
    every, rest = Asked(), Asked()
    write(tmp_path / "whole", counts=every, **WAYS[way])
    left = stop(tmp_path / "b", **WAYS[way])
    assert len(left) == DONE
    assert not (tmp_path / "b").exists()
    manifest = write(tmp_path / "b", counts=rest, **WAYS[way]).content
    assert files(tmp_path / "b") == files(tmp_path / "whole")
    assert left.items() <= identities(tmp_path / "b").items()
    kept = [s for split in manifest["shards"].values() for s in split if Path(s["file"]).name in left]
    assert rest.cells == every.cells - sum(shard["cells"] for shard in kept)
    assert len(identities(tmp_path / "b")) == SHARDS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "whole"]


def test_it_may_be_interrupted_again_also_before_it_comes_to_the_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = stop(tmp_path / "b", after=1)
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "write_tensors", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "b")
    second = stop(tmp_path / "b", after=4)
    assert first.items() <= second.items()
    write(tmp_path / "b")
    write(tmp_path / "whole")
    assert second.items() <= identities(tmp_path / "b").items()
    assert files(tmp_path / "b") == files(tmp_path / "whole")


@pytest.mark.parametrize(
    ("error", "left", "message"),
    [
        (
            OSError(errno.ENOSPC, "disk full"),
            DONE,
            r"b cannot be written: disk full\. 2 finished shards stay in .*b\.unf",
        ),
        (StoreError("block 3 cannot be read"), DONE, "block 3"),
        (EngineError("a worker died"), DONE, "a worker died"),
        (CorrectionError("no gene varies"), 0, "no gene varies"),
        (ExportError("3 donors were found"), 0, "3 donors"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_is_left_depends_on_whether_the_same_command_can_succeed(
    tmp_path: Path, error: Exception, left: int, message: str
) -> None:
    assert len(stop(tmp_path / "b", error, says=message)) == left
    assert [p.name for p in tmp_path.iterdir()] == [".b.unfinished"] * bool(left)


def test_a_mistyped_command_between_leaves_the_finished_shards_alone(tmp_path: Path) -> None:
    left = stop(tmp_path / "b")
    with pytest.raises(ExportError, match="no column 'cel_type'"):
        write(tmp_path / "b", label="cel_type")
    write(tmp_path / "b")
    assert left.items() <= identities(tmp_path / "b").items()


def test_a_shard_is_synced_then_named_then_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name = unfinished(tmp_path / "b"), "abundance/train-00000.safetensors"
    seen: list[tuple[str, bool, int]] = []

    def look(what: str) -> None:
        records = len((place / "shards.jsonl").read_text().splitlines()) - 1
        seen.append((what, (place / "bundle" / name).exists(), records))

    def rename(path: Path, target: Path, real: Callable[[Path, Path], Path] = Path.rename) -> Path:
        real(path, target)
        look(f"{path.name} renamed")
        return target

    with new_draft(tmp_path / "b") as draft:
        draft.resume("inputs", lambda *_: None)
        with monkeypatch.context() as patch:
            patch.setattr(bundle, "sync", lambda path: look(f"{path.name} synced"))
            patch.setattr(Path, "rename", rename)
            draft.add(name, lambda path: path.touch())
        look("done")
    assert seen == [("shard synced", False, 0), ("shard renamed", True, 0), ("done", True, 1)]


# --------------------------------------------------------------------------- other inputs


def other_nodes() -> Any:
    """The same genes; a node has another name."""
    chosen = toy.selection()
    names = pa.array(["renamed", *chosen.nodes["name"].to_pylist()[1:]])
    return replace(chosen, nodes=chosen.nodes.set_column(3, "name", names))


DECIDES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 8},
    "label": {"label": "run"},
    "graph": {"selection": other_nodes()},
    "cohort": {"cells": cells().slice(1)},
    "store version": {"version": replace(toy.measured().version, counts=9)},
    "another store": {"counts_files": ["counts-ab.parquet"]},
    "proteins": WAYS["proteins and levels"],
}
DECIDES_NOT: dict[str, dict[str, Any]] = {
    "query": {"selection": replace(toy.selection(), query="MATCH (g:Gene) RETURN g AS gene")},
    "text": {"text": TextPlan()},
    "correction": {"correct": Plan("combat", "run")},
}


@pytest.mark.parametrize("name", [*DECIDES, *DECIDES_NOT])
def test_shards_of_other_inputs_are_removed_and_others_kept(tmp_path: Path, name: str) -> None:
    changes = {**DECIDES, **DECIDES_NOT}[name]
    left = stop(tmp_path / "b")
    write(tmp_path / "b", **changes)
    write(tmp_path / "whole", **changes)
    assert files(tmp_path / "b") == files(tmp_path / "whole")
    kept = left.items() & identities(tmp_path / "b").items()
    assert len(kept) == (DONE if name in DECIDES_NOT else 0)
    assert not unfinished(tmp_path / "b").exists()


@pytest.mark.parametrize("what", ["size", "software"])
def test_shards_of_another_program_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    left = stop(tmp_path / "b")
    if what == "size":
        monkeypatch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 1)
    else:
        monkeypatch.setattr(bundle, "software", lambda: {"python": "4.0"})
    write(tmp_path / "b")
    assert not left.items() & identities(tmp_path / "b").items()
    bundle.verify(tmp_path / "b", bundle.read_manifest(tmp_path / "b"))


def test_an_export_without_abundance_has_none_of_them(tmp_path: Path) -> None:
    stop(tmp_path / "b")
    manifest = write(tmp_path / "b", abundance=False).content
    assert not (tmp_path / "b" / "abundance").exists()
    assert set(manifest["files"]) == set(files(tmp_path / "b")) - {"manifest.json"}


# --------------------------------------------------------------------------- damage


def _cut(place: Path, shards: list[Path]) -> None:
    shards[0].write_bytes(shards[0].read_bytes()[:-1])


def _flip(place: Path, shards: list[Path]) -> None:
    content = bytearray(shards[0].read_bytes())
    content[-1] ^= 1
    shards[0].write_bytes(content)


def _swap(place: Path, shards: list[Path]) -> None:
    one, other = (path.read_bytes() for path in shards[:2])
    shards[0].write_bytes(other)
    shards[1].write_bytes(one)


def _lose(place: Path, shards: list[Path]) -> None:
    shards[0].unlink()


def _cut_journal(place: Path, shards: list[Path]) -> None:
    journal = place / "shards.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])


def _lose_journal(place: Path, shards: list[Path]) -> None:
    (place / "shards.jsonl").unlink()


@pytest.mark.parametrize(
    ("damage", "kept"), [(_cut, 1), (_flip, 1), (_swap, 0), (_lose, 1), (_cut_journal, 1), (_lose_journal, 0)]
)
def test_a_damaged_shard_is_written_again(
    tmp_path: Path, damage: Callable[[Path, list[Path]], None], kept: int
) -> None:
    stop(tmp_path / "b")
    place = unfinished(tmp_path / "b")
    damage(place, sorted((place / "bundle" / "abundance").iterdir()))
    left = identities(place / "bundle")
    write(tmp_path / "b")
    write(tmp_path / "whole")
    assert files(tmp_path / "b") == files(tmp_path / "whole")
    assert len(left.items() & identities(tmp_path / "b").items()) == kept


# --------------------------------------------------------------------------- two at once, and real kills


def test_a_second_export_to_the_same_place_is_told_who_writes_it(tmp_path: Path) -> None:
    out = tmp_path / "b"
    with new_draft(out) as draft:
        for attempt in (write, refuse_taken):
            with pytest.raises(
                ExportError, match=rf"b is being written by process {os.getpid()} on \S+\. Wait"
            ):
                attempt(out)
        (draft.folder / "file").write_text("whole")
    assert (out / "file").read_text() == "whole"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_file_that_is_half_written_is_not_taken_for_a_finished_one(tmp_path: Path) -> None:
    out = tmp_path / "b"
    begun, settled = Event(), Event()

    def write_slowly(path: Path) -> None:  # as safetensors does: under another name beside it
        half = path.with_name(".half")
        half.write_bytes(b"te")
        begun.set()
        assert settled.wait(60)
        half.write_bytes(b"text")
        half.rename(path)

    with new_draft(out) as draft, threads(1) as beside:  # one: it hashes after it has written
        draft.put("text", write_slowly, beside)
        assert begun.wait(60)
        (draft.folder / "other").write_bytes(b"other")
        draft.settle(beside)
        settled.set()
        expected = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("text", "other")}
        assert draft.checksums() == expected
    assert (out / "text").read_bytes() == b"text"


# Forks write a bundle, each at a place of its own. The n-th is killed at its n-th step: before files are synced,
# renamed or removed, or when half of a file of tensors is written. Then the same export is run again. This process
# imports all that they need and never computes: Arrow's threads do not survive a fork.
_KILLED_EVERYWHERE = """
import json, os, signal, sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Event
import safetensors.numpy
import test_bundle_draft as tests
from tosg_graph import bundle, bundle_shards

bundle_shards.SHARD_CELLS = 6
os.fsync = bundle.sync_all = lambda what: None
base = Path(sys.argv[1])

def in_a_fork(work, *arguments):
    child = os.fork()
    if not child:
        work(*arguments)
        os._exit(0)
    return os.waitpid(child, 0)[1]

def dying_at(moment, out):
    steps = iter(range(10**6))
    def before(module, name, half=False):
        real = getattr(module, name)
        def step(*arguments, **named):
            if next(steps) == moment:
                if half:
                    real(*arguments, **named)
                    os.truncate(arguments[1], os.path.getsize(arguments[1]) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)
        setattr(module, name, step)
    for module, name in ((os, "fsync"), (bundle, "sync_all"), (Path, "rename"), (Path, "unlink")):
        before(module, name)
    before(safetensors.numpy, "save_file", half=True)
    tests.write(out)

def recorded(place):
    if not (place / "bundle").exists() or not (place / "shards.jsonl").exists():
        return {}
    names = [json.loads(line)["file"] for line in (place / "shards.jsonl").read_text().splitlines()[1:]]
    found = {Path(name).name: (place / "bundle" / name).stat() for name in names}
    return {name: (at.st_ino, at.st_mtime_ns) for name, at in found.items()}

def undisturbed(out):
    tests.write(out)
    base.joinpath("modules").write_text(json.dumps([*sys.modules]))

assert in_a_fork(undisturbed, base / "whole") == 0
for name in json.loads(base.joinpath("modules").read_text()):
    with suppress(ImportError):
        import_module(name)
for name in ("bundle", "nodes", "edges"):
    bundle.schema(name)  # which keeps it
bundle.software = lambda found=bundle.software(): found
whole, kept = tests.files(base / "whole"), []
while in_a_fork(dying_at, len(kept), out := base / str(len(kept)) / "b") == signal.SIGKILL:
    found = recorded(tests.unfinished(out))
    if not out.exists():
        assert in_a_fork(tests.write, out) == 0, len(kept)
    assert tests.files(out) == whole, len(kept)
    assert found.items() <= tests.identities(out).items(), len(kept)
    kept.append(len(found))
print(json.dumps(kept))
"""


def test_an_export_that_is_killed_at_any_step_ends_in_the_same_bytes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED_EVERYWHERE, str(tmp_path)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads(done.stdout)
    assert set(kept) == {0, 1, 2, 3}  # finished shards, of three, at each kill
    assert len(kept) > 3 * 3
