"""docs/bundle-format.md says what schema/bundle.yaml says, and its reader needs nothing of ours."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import toy_bundle as toy
from safetensors.numpy import load_file

from tosg_graph import bundle
from tosg_graph.export import write_bundle
from tosg_graph.resources import schema
from tosg_graph.sentences import TextPlan

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "v1" / "bundle"
PAGE = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
CONTRACT = schema("bundle")


def section(title: str) -> str:
    """Text between a heading and the next one."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def names(text: str) -> set[str]:
    """What stands in back quotes."""
    return set(re.findall(r"`([^`\n]+)`", text))


def keys_of_table(title: str) -> set[str]:
    """Names in the first column of a section's tables."""
    first = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("|")]
    return set().union(*map(names, first))


def test_every_file_is_in_the_table_of_files_and_nothing_else() -> None:
    files = {*CONTRACT["files"].values(), *CONTRACT["optional_files"].values()}
    folders = {*CONTRACT["folders"].values(), *CONTRACT["optional_folders"].values()}
    told = keys_of_table("Files")
    assert {name for name in told if "/" not in name} == files
    assert {name.split("/")[0] for name in told if "/" in name} == folders


def test_every_key_of_the_manifest_is_explained_and_nothing_else() -> None:
    assert keys_of_table("manifest.json") == {*CONTRACT["manifest"], *CONTRACT["optional_manifest"]}


@pytest.mark.parametrize("name", CONTRACT["columns"])
def test_every_required_column_is_explained(name: str) -> None:
    title = "edges/*.parquet" if name == "edges" else f"{name}.parquet"
    assert set(CONTRACT["columns"][name]) <= names(section(title))


@pytest.mark.parametrize("name", CONTRACT["tensors"])
def test_every_tensor_is_explained_with_its_type(name: str) -> None:
    text = section("abundance/*.safetensors" if name.startswith("abundance") else f"{name}.safetensors")
    told = {n.replace("<edge type>", "<key>") for n in names(text)}
    for tensor, (dtype, _) in CONTRACT["tensors"][name].items():
        assert tensor in told
        assert dtype in text


def test_every_field_of_a_line_is_explained() -> None:
    for fields in CONTRACT["lines"].values():
        assert set(fields) <= names(section("text/*.jsonl"))


@pytest.mark.parametrize("path", [None, GOLDEN], ids=["as written now", "golden"])
def test_bundles_hold_what_the_contract_says(path: Path | None, tmp_path: Path) -> None:
    folder = path or tmp_path / "b"
    if path is None:
        write_bundle(
            toy.selection(), toy.measured(), cohort="true", label="cell_type", out=folder, text=TextPlan()
        )
    manifest = bundle.read_manifest(folder)
    assert manifest["format_version"] == CONTRACT["version"] == 1
    assert set(CONTRACT["manifest"]) <= set(manifest)
    assert set(manifest) <= {*CONTRACT["manifest"], *CONTRACT["optional_manifest"]}
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {*manifest["files"], "manifest.json"}
    for name, columns in CONTRACT["columns"].items():
        for file in folder.glob("edges/*.parquet" if name == "edges" else f"{name}.parquet"):
            kinds = {f.name: str(f.type) for f in pq.read_schema(file)}
            for column, kind in columns.items():
                assert kind in kinds[column], (file.name, column)
    for name in ("text", "abundance"):
        for file in folder.glob("abundance/*" if name == "abundance" else f"{name}.safetensors"):
            dtypes = {n: array.dtype.name for n, array in load_file(file).items()}
            assert dtypes == {n: dtype for n, (dtype, _) in CONTRACT["tensors"][name].items()}


# --------------------------------------------------------------------------- the reader of the page


def reader() -> str:
    return PAGE.split("```python\n")[1].split("```")[0]


ALONE = """
import importlib.abc, json, runpy, sys

REFUSED = "tosg_graph loaders torch torch_geometric pandas scipy anndata neo4j duckdb".split()

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"no module named {name}", name=name)

sys.meta_path.insert(0, Refuse())
try:
    import tosg_graph
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("tosg_graph can be imported")
read = runpy.run_path("reader.py")["read_bundle"]
found = {}
for split in ("train", "val", "test"):
    x, y, edges, nodes = read(sys.argv[1], split)
    lists = {name: edge.tolist() for name, edge in edges.items()}
    found[split] = {"x": x.tolist(), "y": y.tolist(), "edges": lists, "nodes": nodes["id"].to_pylist()}
    found[split]["dtype"] = str(x.dtype)
print(json.dumps(found))
"""


def test_the_reader_is_short() -> None:
    assert len(reader().rstrip("\n").splitlines()) <= 40
    assert "tosg_graph" not in reader()


def test_the_reader_reads_the_golden_bundle_without_us(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text(reader())
    command = [sys.executable, "-c", ALONE, str(GOLDEN)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    cells = pq.read_table(GOLDEN / "cells.parquet").to_pylist()
    seen = 0
    for split, read in found.items():
        assert read["nodes"] == toy.selection().nodes["id"].to_pylist()
        assert read["dtype"] == "float32"
        assert read["edges"] == {
            "Gene__ENCODES__Protein": [[0, 1], [5, 6]],
            "Gene__SIGNALS_TO__Gene": [[0, 0, 1, 3], [1, 1, 0, 3]],
        }
        described = [cell for cell in cells if cell["split"] == split]
        for x, y, cell in zip(read["x"], read["y"], described, strict=True):
            k = int(cell["cell_id"].split("-")[1])
            assert y == ["B cell", "T cell"].index(["T cell", "B cell"][k % 2])
            total = sum(toy.count(k, column) for column in range(5))
            wanted = [
                math.log1p(10_000 * toy.count(k, toy.AXIS_COLUMN[node]) / total)
                if node in toy.AXIS_COLUMN
                else 0.0
                for node in read["nodes"]
            ]
            assert x == pytest.approx(wanted, rel=1e-6)
            seen += 1
    assert seen == 10
