"""Commands of the knowledge graph: load, search, embed."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    filter_options,
    parse_pairs,
    platform,
    rows_options,
    server_options,
    write_rows,
)


@click.command()
@click.argument("source", nargs=-1)
@click.option(
    "--path", type=click.Path(path_type=Path), help="File, folder or archive to read instead of fetching."
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A choice that a source asks for. Repeatable.",
)
@filter_options
@click.option("--newest", is_flag=True, help="Fetch again what an address without a fixed version holds.")
@click.option("--list", "list_", is_flag=True, help="Show source, version, licence and size of each.")
@server_options
def load(
    source: tuple[str, ...],
    path: Path | None,
    options: tuple[str, ...],
    sources: tuple[str, ...],
    license_allow: tuple[str, ...],
    newest: bool,
    list_: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Load knowledge into the graph: SOURCE is a key, `demo`, `all`, or a mapping YAML of your own.

    `all` needs --path FOLDER and loads every source whose files the folder holds. After several sources, what the
    graph holds is counted.

    Examples: tosg load hgnc wikipathways; tosg load all --path my_folder; tosg load my_table.yaml
    """
    from tosg_graph import show
    from tosg_graph.platform import source_table

    if list_:
        rows = source_table()
        show.table(list(rows[0]), (list(row.values()) for row in rows))
        return
    if not source:
        raise click.UsageError("Name a source, `demo`, or a mapping YAML. `tosg load --list` shows all.")
    with platform(uri, user, password, debug) as p:
        lines = p.load(
            *source,
            path=path,
            options=parse_pairs("--option", options),
            newest=newest,
            sources=sources,
            license_allow=license_allow,
            announce=lambda line: click.echo(line, err=True),
        )
        show.load_ledger(lines)
        for table in p.counts() if len({line.source for line in lines}) > 1 else ():
            show.arrow(table)


@click.command()
@click.argument("text")
@click.option("--type", "type_", metavar="LABEL", help="Only this kind, such as Pathway.")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(1, 1000))
@click.option(
    "--hops", type=click.IntRange(1, 3), help="Show what is this many steps around the hits instead."
)
@click.option(
    "--cap",
    default=10,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Of --hops, per entity and step.",
)
@rows_options
@server_options
def search(
    text: str,
    type_: str | None,
    limit: int,
    hops: int | None,
    cap: int,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Find genes, pathways, diseases ... by words and by meaning.

    Examples: tosg search "interferon response"; tosg search STAT1 --limit 1 --hops 1
    """
    from tosg_graph.search import did_you_mean, note

    with platform(uri, user, password, debug) as p:
        found = p.search(text, limit=limit, type=type_)
        if near := did_you_mean(found):
            click.echo(f"Did you mean {' or '.join(map(repr, near))}?", err=True)
        if said := note(found):
            click.echo(said, err=True)
        if hops:
            found = p.neighbourhood(found["id"].to_pylist(), hops=hops, cap=cap)
        write_rows(found, format_, out)


@click.command()
@click.option("--query", help="Cypher that returns the entities to annotate; all without it.")
@server_options
def annotate(query: str | None, uri: str | None, user: str | None, password: str | None, debug: bool) -> None:
    """Draw functions, locations, pathways, diseases, drugs ... from the graph into the texts of entities.

    Example: tosg annotate --query "MATCH (g:Gene)-[:PARTICIPATES_IN]->(:Pathway) RETURN g"
    """
    from dataclasses import asdict

    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        show.facts(asdict(p.annotate(query=query)))


@click.command()
@click.option("--query", help="Cypher that returns the entities to embed; all without it.")
@click.option("--limit", type=click.IntRange(1), help="At most this many.")
@click.option(
    "--encoder",
    metavar="NAME",
    help="A sentence-transformers model: a folder or a name; of --import, what the vectors are called.",
)
@click.option("--replace", is_flag=True, help="Remove the vectors of another encoder first.")
@click.option(
    "--import",
    "import_",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Take the vectors of an OmniCellTOSG folder instead of making some.",
)
@click.option(
    "--text",
    type=click.Choice(["name", "desc", "bio"]),
    help="Of --import: which of its vectors [default: name].",
)
@server_options
def embed(
    query: str | None,
    limit: int | None,
    encoder: str | None,
    replace: bool,
    import_: Path | None,
    text: str | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Annotate and embed the text of entities; can be interrupted and goes on where it was.

    Examples: tosg embed --query "MATCH (p:Pathway) RETURN p"; tosg embed --import FOLDER --encoder biobert
    """
    from dataclasses import asdict

    from tosg_graph import show

    if text and not import_:
        raise click.UsageError("--text goes with --import.")
    if import_ and (query or limit or not encoder):
        raise click.UsageError("--import goes with --encoder NAME, and without --query and --limit.")
    with platform(uri, user, password, debug) as p:
        if import_ and encoder:
            imported = p.import_embeddings(import_, encoder=encoder, text=text or "name", replace=replace)
            show.facts(asdict(imported))
            return
        show.facts(asdict(p.embed(query=query, limit=limit, encoder=encoder, replace=replace)))
