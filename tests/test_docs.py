"""The questions that docs/query.md shows run, and print what the page says they print."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from conftest import ROOT, environment
from test_readme import Step, console_steps, shown

if TYPE_CHECKING:
    from tosg_graph.graph import Graph
    from tosg_graph.settings import Settings

STEPS = console_steps((ROOT / "docs" / "query.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.command[:60])
def test_a_question_of_the_page_prints_what_the_page_says(
    demo_graph: Graph, settings: Settings, step: Step
) -> None:
    from tosg_graph import cli

    program, *arguments = shlex.split(step.command)
    assert program == "tosg"
    done = CliRunner().invoke(cli.main, arguments, env=environment(settings))
    assert done.exit_code == 0, done.stderr
    lines = shown(done.stdout)
    assert len(lines) > 1, "a title and at least one row"
    if step.output:
        assert lines == shown(step.output)
