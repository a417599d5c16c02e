"""Every command of the README runs, and prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import environment, run

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Step:
    command: str
    output: str  # "" where the README shows none


def console_steps(text: str) -> list[Step]:
    steps = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = part.split("\n")
            command = [lines.pop(0)]
            while command[-1].endswith("\\"):
                command[-1] = command[-1][:-1]
                command.append(lines.pop(0).strip())
            steps.append(Step(" ".join(command), "\n".join(lines).strip("\n")))
    return steps


STEPS = console_steps(README)
TOSG_STEPS = [s for s in STEPS if s.command.startswith(("tosg ", "tosg-export "))]


def test_the_readme_shows_commands_and_outputs() -> None:
    assert len(TOSG_STEPS) >= 5
    assert any(step.output for step in TOSG_STEPS)


def test_every_command_is_one_that_is_tested_here() -> None:
    others = [s.command for s in STEPS if s not in TOSG_STEPS]
    assert others == ["make demo", "make test"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_make_commands_exist_and_install_first(target: str) -> None:
    plan = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    last = {"demo": "tosg demo", "test": "scripts/check"}[target]
    assert plan.index("pip install") < plan.index(last)


def test_every_link_of_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert not [link for link in links if "://" not in link and not (ROOT / link).exists()]


def shown(text: str) -> list[str]:
    """Lines without the spaces that tables are padded with."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def example(demo_graph: Graph, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands can run: the demo is done, ``your.h5ad`` exists."""
    folder = tmp_path_factory.mktemp("readme")
    your_cells().write_h5ad(folder / "your.h5ad")
    return folder


def your_cells():  # type: ignore[no-untyped-def]  # AnnData has no types
    import anndata
    import numpy as np
    import pandas as pd

    genes = ["CD3D", "CD3E", "CD19", "MS4A1", "LYZ", "CD14", "NKG7", "GNLY", "STAT1", "IRF1"]
    counts = np.arange(40 * len(genes)).reshape(40, len(genes)) % 97
    obs = pd.DataFrame(
        {"celltype": ["T cell", "B cell", "monocyte", "weird cell"] * 10, "patient": ["p1", "p2"] * 20},
        index=[f"cell{n}" for n in range(40)],
    )
    return anndata.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))


@pytest.mark.slow
def test_the_commands_print_what_the_readme_says(example: Path, settings: Settings) -> None:
    for step in TOSG_STEPS:
        printed = run(step.command, settings, example)
        if step.output:
            assert shown(printed) == shown(step.output), step.command


@pytest.mark.slow
def test_the_python_example_runs(example: Path, settings: Settings, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code) == 1
    done = subprocess.run(
        [sys.executable, "-c", code[0]],
        cwd=tmp_path,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_second_demo_reuses_what_is_there(example: Path, settings: Settings) -> None:
    manifest = settings.home / "exports" / "demo" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    printed = run("tosg demo", settings, example)
    assert manifest.stat().st_mtime_ns == before
    for part in ("hgnc", "CD3D", "browser", "tosg search", "tosg query", "tosg cells add", "tosg evaluate"):
        assert part in printed
    assert_same_scores(printed, README)


MODELS = ("graph", "majority", "logistic", "mlp", "boosting")


def assert_same_scores(printed: str, said: str) -> None:
    """The table of models is there, and says the same; processors differ in the last digits, and clocks more."""
    ours, theirs = scores(printed), scores(said)
    assert tuple(ours) == tuple(theirs) == MODELS
    for model in MODELS:
        assert ours[model] == pytest.approx(theirs[model], abs=0.15), model


def scores(text: str) -> dict[str, list[float]]:
    """Macro-F1 of val and test, and accuracy, of each model."""
    lines = [line.split() for line in text.splitlines()]
    return {
        words[0]: [float(w) for w in words[1:4]] for words in lines if len(words) == 6 and words[0] in MODELS
    }
