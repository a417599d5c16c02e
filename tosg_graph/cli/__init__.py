"""The commands: options in, one call into the program, a table or one line out. No logic lives here."""

from __future__ import annotations

import click

from tosg_graph.cli import (
    cells,
    cells_out,
    db,
    evaluation,
    gds,
    kg,
    knowledge,
    learning,
    questions,
    signaling,
    store,
)
from tosg_graph.cli.options import platform, server_options


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="tosg-graph")
def main() -> None:
    """Text-omic signaling graphs: knowledge in Neo4j, cells in Parquet, tensors from a Cypher query.

    Start with `tosg demo`.
    """


@click.command()
@server_options
def demo(uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Do the main job once on real data: load, ask, export, train; a second run reuses what is there."""
    from tosg_graph.demo import run

    with platform(uri, user, password, debug) as p:
        run(p)


for command in (
    cells_out.export,
    cells_out.metacell,
    cells_out.pseudobulk,
    store.compact,
    store.rows,
    store.vacuum,
    store.verify,
    store.versions,
):
    cells.cells.add_command(command)
for command in (
    db.db,
    kg.kg,
    knowledge.load,
    knowledge.search,
    knowledge.annotate,
    knowledge.embed,
    cells.cells,
    cells.cohort,
    questions.query,
    questions.export,
    questions.convert,
    gds.gds,
    learning.train,
    evaluation.evaluate,
    signaling.signal,
    demo,
):
    main.add_command(command)


def export_main() -> None:
    """Entry point of `tosg-export`, the same as `tosg export`."""
    questions.export(prog_name="tosg-export")
