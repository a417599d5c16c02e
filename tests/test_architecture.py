"""Rules of docs/architecture.md that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = sorted((ROOT / "tosg_graph").rglob("*.py"))
LOADERS = sorted((ROOT / "loaders").rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names_read(path: Path) -> set[str]:
    """Dotted attribute names that a file mentions, such as ``os.environ``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("path", LOADERS, ids=lambda p: p.stem)
def test_loaders_know_only_types_errors_and_the_contract(path: Path) -> None:
    ours = {m for m in imported_modules(path) if m.split(".")[0] == "tosg_graph"}
    allowed = ("tosg_graph.types", "tosg_graph.errors", "tosg_graph.contract")
    assert all(m.startswith(allowed) for m in ours), ours


@pytest.mark.parametrize("path", [*PROGRAM, *LOADERS], ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.stem == "settings":
        return
    # A child process may be given a changed copy of the environment; reading one value may not happen here.
    source = path.read_text(encoding="utf-8")
    assert "getenv" not in source
    assert not {"os.environ.get", "os.environ.setdefault"} & names_read(path)
    assert "os.environ[" not in source


@pytest.mark.parametrize("path", [*PROGRAM, *LOADERS], ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_only_resources_reads_packaged_files(path: Path) -> None:
    if path.stem == "resources":
        return
    assert not {m for m in imported_modules(path) if m.startswith("importlib.resources")}


@pytest.mark.parametrize("path", [*PROGRAM, *LOADERS], ids=lambda p: f"{p.parent.name}.{p.stem}")
def test_nothing_is_unpickled(path: Path) -> None:
    assert not {m for m in imported_modules(path) if m.split(".")[0] in {"pickle", "dill", "joblib"}}


def test_every_error_of_the_tree_is_drawn_in_its_picture() -> None:
    from tosg_graph import errors

    children = {
        cls.__name__ for cls in errors.TosgError.__subclasses__() if cls.__module__ == errors.__name__
    }
    assert children
    assert all(name in (errors.__doc__ or "") for name in children)


def test_every_module_is_listed_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [p.stem for p in PROGRAM if not p.stem.startswith("__") and f"`{p.stem}`" not in text]
    assert not missing


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HEAVY = {
    "torch",
    "pandas",
    "scanpy",
    "neo4j",
    "duckdb",
    "deltalake",
    "anndata",
    "sentence_transformers",
    "pyarrow",
}


def test_the_command_line_starts_without_heavy_imports() -> None:
    assert not HEAVY & loaded_by("import tosg_graph.cli")


def test_the_package_itself_imports_nothing_heavy() -> None:
    assert not HEAVY & loaded_by("import tosg_graph")


def test_the_export_path_leaves_torch_alone() -> None:
    modules = "selection, export, abundance, abundance_store, cohort, splits, embeddings, graph, read_guard, correction"
    assert "torch" not in loaded_by(f"from tosg_graph import {modules}")
