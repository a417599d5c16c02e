"""Truncated, swapped and tampered files of a bundle: found by their checksum, and named, whoever reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from test_cli import tosg

import tosg_graph as tg
from tosg_graph import bundle
from tosg_graph.bundle_content import BundleContent
from tosg_graph.errors import BundleError
from tosg_graph.export import write_bundle
from tosg_graph.hashes import sha256_of
from tosg_graph.sentences import TextPlan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards per split, and every optional file that needs no other input."""
    out = tmp_path_factory.mktemp("damage") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tosg_graph.bundle_shards.SHARD_CELLS", 2)
        write_bundle(
            toy.selection(),
            toy.measured(),
            cohort="true",
            label="cell_type",
            out=out,
            seed=7,
            text=TextPlan(),
        )
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(folder, tmp_path / "copy")
    return tmp_path / "copy"


def whole(folder: Path) -> None:
    bundle.verify(folder, bundle.read_manifest(folder))


def tables(folder: Path) -> None:
    content = BundleContent.open(folder)
    _ = content.nodes, content.genes, content.cells, list(content.edges()), list(content.counts())


def tensors(folder: Path) -> None:
    for split in bundle.SPLITS:
        data = tg.TosgDataset(folder, split=split)
        _ = data.text, data.edge_index, list(data.batches(4))
        if "measured" in data.manifest:
            data.measured([0])


# Who reads, and which files of all.
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[str], bool]]] = {
    "verify": (whole, lambda _: True),
    "tables": (tables, lambda n: n.endswith(".parquet") or n.startswith("abundance/")),
    "anndata": (tg.to_anndata, lambda n: n.endswith(".parquet") or n.startswith("abundance/")),
    "networkx": (tg.to_networkx, lambda n: n == "nodes.parquet" or n.startswith("edges/")),
    "dataset": (tensors, lambda n: not n.startswith(("edges/", "text/", "diagnostics."))),
}


def names(folder: Path) -> list[str]:
    return list(bundle.read_manifest(folder)["files"])


@pytest.mark.parametrize("reader", READERS)
def test_each_file_that_is_read_is_found_when_it_was_tampered_with(copy: Path, reader: str) -> None:
    read, touches = READERS[reader]
    read(copy)
    tried = [name for name in names(copy) if touches(name)]
    assert len(tried) > 2
    for name in tried:
        path, content = copy / name, (copy / name).read_bytes()
        middle = len(content) // 2
        for changed in (
            content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],  # one bit
            content[:middle],
            content + b"\0",
            b"",
        ):
            path.write_bytes(changed)
            with pytest.raises(BundleError, match=f"{path.name} was changed after the export") as error:
                read(copy)
            assert "\n" not in str(error.value)
        path.write_bytes(content)
    read(copy)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_byte_of_any_file_counts(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(names(folder)))
    path, content = folder / name, (folder / name).read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = content[at] ^ data.draw(st.integers(1, 255))
    try:
        path.write_bytes(content[:at] + bytes([flipped]) + content[at + 1 :])
        with pytest.raises(BundleError, match=f"{path.name} was changed"):
            whole(folder)
    finally:
        path.write_bytes(content)
    whole(folder)


def swap(one: Path, other: Path) -> None:
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


@pytest.mark.parametrize("reader", ["verify", "tables", "anndata", "dataset"])
def test_two_shards_of_one_size_that_were_swapped_are_named(copy: Path, reader: str) -> None:
    one, other = (copy / s["file"] for s in BundleContent.open(copy).manifest["shards"]["train"][:2])
    assert {k: v.shape for k, v in load_file(one).items()} == {
        k: v.shape for k, v in load_file(other).items()
    }
    swap(one, other)
    with pytest.raises(BundleError, match=r"train-0000[01]\.safetensors was changed after the export"):
        READERS[reader][0](copy)


@pytest.mark.parametrize("reader", READERS)
def test_files_of_another_export_are_named(copy: Path, tmp_path: Path, reader: str) -> None:
    """Each file alone is sound, but it is of other cells, or of another graph."""
    read, touches = READERS[reader]
    other = toy.measured(cells=toy.cells().slice(0, 9), release="another")
    write_bundle(toy.selection(), other, cohort="true", label="cell_type", out=tmp_path / "other", seed=8)
    for name in ("cells.parquet", "abundance/train-00000.safetensors"):
        if touches(name):
            kept = (copy / name).read_bytes()
            shutil.copyfile(tmp_path / "other" / name, copy / name)
            with pytest.raises(BundleError, match=f"{Path(name).name} was changed"):
                read(copy)
            (copy / name).write_bytes(kept)
    read(copy)


def resign(folder: Path, name: str, **keys: Any) -> None:
    """What somebody does who changes a file and its checksum: the manifest itself has none."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = sha256_of(folder / name)
    path.write_text(json.dumps({**manifest, **keys}))


def shorten(folder: Path, name: str) -> None:
    table = pq.read_table(folder / name)
    pq.write_table(table.slice(1), folder / name)
    resign(folder, name)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nodes.parquet", "nodes.parquet has 6 nodes, the manifest 7"),
        ("genes.parquet", "genes.parquet has 2 genes, the manifest 3"),
        ("cells.parquet", "cells.parquet has 9 cells, the manifest 10"),
        ("edges/Gene__SIGNALS_TO__Gene.parquet", "Gene.parquet has 3 edges, the manifest 4"),
    ],
)
def test_rows_that_are_missing_are_counted_even_under_a_new_checksum(
    copy: Path, name: str, says: str
) -> None:
    shorten(copy, name)
    with pytest.raises(BundleError, match=says):
        tables(copy)


def test_a_shard_that_misses_a_tensor_or_values_is_named(copy: Path) -> None:
    name = "abundance/val-00000.safetensors"
    sound = load_file(copy / name)
    for changed, says in (
        ({k: v for k, v in sound.items() if k != "indices"}, "lacks 'indices'"),
        ({**sound, "data": sound["data"][:-1]}, "values, the manifest"),
        ({**sound, "indices": sound["indices"][:-1]}, "indices, the manifest"),
        ({**sound, "indptr": sound["indptr"][:-1]}, "cells, the manifest"),
    ):
        save_file({k: v.copy() for k, v in changed.items()}, copy / name)
        resign(copy, name)
        with pytest.raises(BundleError, match=rf"val-00000\.safetensors.*{says}"):
            tables(copy)


def test_a_file_that_is_missing_or_not_listed_is_named(copy: Path) -> None:
    (copy / "text" / "cells-val.jsonl").unlink()
    with pytest.raises(BundleError, match=r"cells-val\.jsonl is missing"):
        BundleContent.open(copy)
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {n: sha for n, sha in manifest["files"].items() if n not in ("genes.parquet",)
                         and not n.startswith("text/")}  # fmt: skip
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"manifest\.json does not list genes\.parquet"):
        tables(copy)


@pytest.mark.parametrize("ending", ["h5ad", "graphml", "tsv", "parquet"])
def test_no_file_is_made_of_a_damaged_bundle(copy: Path, tmp_path: Path, ending: str) -> None:
    (copy / "nodes.parquet").write_bytes(b"PAR1")
    said = tosg("convert", str(copy), str(tmp_path / f"out.{ending}"), code=1)
    assert said.startswith("Error: ")
    assert "nodes.parquet was changed after the export" in said
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def test_damage_in_the_last_shard_leaves_no_file(copy: Path, tmp_path: Path) -> None:
    last = [s["file"] for split in bundle.SPLITS for s in BundleContent.open(copy).manifest["shards"][split]][
        -1
    ]
    (copy / last).write_bytes((copy / last).read_bytes()[:-1])
    with pytest.raises(BundleError, match=Path(last).name):
        tg.convert(copy, tmp_path / "out.h5ad")
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize(
    "name", ["text/../../x", "other/x.parquet", "/etc/passwd", "text/a/b", "..", "text/"]
)
def test_a_path_outside_the_folders_of_a_bundle_is_refused(copy: Path, name: str) -> None:
    path = copy / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="which is not a file of a bundle"):
        BundleContent.open(copy)


def test_an_arrow_error_is_not_what_people_see(copy: Path) -> None:
    """A file whose checksum was made again, and that is still no Parquet."""
    (copy / "nodes.parquet").write_bytes(b"PAR1" * 10)
    resign(copy, "nodes.parquet")
    with pytest.raises(BundleError, match=r"nodes\.parquet cannot be read") as error:
        tables(copy)
    assert not isinstance(error.value, pa.ArrowException)
