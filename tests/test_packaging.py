"""What a wheel holds: data inside the package, nothing at the top level that is not ours."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(out),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_tracked_file_of_the_program(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    moved = {"schema/": "tosg_graph/schema/", "cypher/": "tosg_graph/cypher/"}
    tracked = subprocess.run(
        ["git", "ls-files", "tosg_graph", "loaders", "schema", "cypher"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert tracked
    for path in tracked:
        inside = path
        for folder, target in moved.items():
            if path.startswith(folder):
                inside = target + path.removeprefix(folder)
        assert inside in names, f"{path} is missing from the wheel: list its folder in pyproject.toml"


@pytest.mark.slow
def test_the_wheel_has_no_top_level_package_but_ours(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"tosg_graph", "loaders"}


@pytest.mark.slow
def test_the_wheel_runs_alone() -> None:
    bin_ = Path(sys.executable).parent
    done = subprocess.run(
        [ROOT / "scripts" / "check_wheel"],
        env={**os.environ, "TOSG_BIN": str(bin_)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("The wheel runs by itself.\n")
