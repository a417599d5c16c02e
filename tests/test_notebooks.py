"""The notebooks run on what `tosg demo` makes, and show what they show in the repository."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from conftest import environment

if TYPE_CHECKING:
    from types import ModuleType

    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
APPROXIMATE = "approximate"  # tag of cells whose figures depend on the machine's arithmetic: a fitted model
VARIES = "varies"  # tag of cells whose words depend on it too; that they run is all that is asked
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
TOLERANCE = 0.15  # of a share; other figures of such a cell, relative


def runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "scripts" / "run_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(cell: Any) -> list[str]:
    """What a cell says, without pictures; spaces that tables are padded with do not count."""
    said = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream":
            said += [f"{output['name']}: {line}" for line in output["text"].splitlines()]
        else:
            said += output["data"].get("text/plain", "").splitlines()
            said += re.findall(r"<text[^>]*>([^<]*)</text>", output["data"].get("image/svg+xml", ""))
    return [re.sub(r"\s+", " ", line).strip() for line in said if line.strip()]


def difference(committed: Any, now: Any) -> str:
    """Say where two runs of a cell differ; "" where they agree."""
    tags = committed["metadata"].get("tags", [])
    if VARIES in tags:
        return ""
    before, after = "\n".join(shown(committed)), "\n".join(shown(now))
    if APPROXIMATE not in tags:
        return "" if before == after else f"{before}\n--- now ---\n{after}"
    words = [NUMBER.sub("#", text) for text in (before, after)]
    pairs = zip(NUMBER.findall(before), NUMBER.findall(after), strict=False)
    far = [pair for pair in pairs if not near(*map(float, pair))]
    return "" if words[0] == words[1] and not far else f"{before}\n--- now ---\n{after}\n{far}"


def near(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1, abs(a))


def cell(text: str, *tags: str) -> Any:
    output = nbformat.v4.new_output("execute_result", {"text/plain": text})
    return nbformat.v4.new_code_cell("x", outputs=[output], metadata={"tags": list(tags)})


def test_a_changed_result_is_noticed() -> None:
    assert not difference(cell("STAT1  0.52"), cell("STAT1 0.52"))
    assert difference(cell("STAT1 0.52"), cell("STAT1 0.53"))
    assert not difference(cell("graph 0.52", APPROXIMATE), cell("graph 0.55", APPROXIMATE))
    assert difference(cell("graph 0.52", APPROXIMATE), cell("graph 0.72", APPROXIMATE))
    assert difference(cell("graph 0.52", APPROXIMATE), cell("logistic 0.52", APPROXIMATE))
    assert difference(cell("graph 0.52", APPROXIMATE), cell("graph 0.52 0.52", APPROXIMATE))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_as_the_script_saves_it(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert runner().cleaned(notebook) == notebook, "run scripts/run_notebooks.py"
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), (
        "saved after a run from the top"
    )
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|tmp|root|Users|work)/", text), "names a folder of somebody's machine"
    assert '"stderr"' not in text


def test_there_is_one_for_each_of_three_people() -> None:
    assert len(NOTEBOOKS) == 3
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in NOTEBOOKS if f"(notebooks/{path.name})" not in readme]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_it_showed(
    path: Path, demo_graph: Graph, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    committed = nbformat.read(path, as_version=4)
    now = runner().executed(committed, tmp_path)
    for before, after in zip(committed.cells, now.cells, strict=True):
        assert not difference(before, after), before.source
