"""Commands that ask, and what becomes of the answers: query, export and convert."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    cells_query_options,
    comparison_options,
    correction_options,
    correction_plan,
    edge_options,
    engine_options,
    errors,
    filter_options,
    parameter_option,
    parse_parameters,
    platform,
    read_arms,
    read_edge_task,
    read_hops,
    read_induce,
    read_numbers,
    read_sampling,
    read_split,
    read_text,
    rows_options,
    selection_options,
    server_options,
    split_options,
    store_version_option,
    text_options,
    write_rows,
)


@click.command()
@click.argument("cypher", required=False)
@click.option("--list", "list_", is_flag=True, help="Show the canned questions and their parameters.")
@parameter_option
@click.option(
    "--abundance", metavar="mean,pct", help="Join returned genes with their abundance in the cells."
)
@click.option(
    "--layer",
    type=click.Choice(["counts", "cp10k", "log1p"]),
    default="counts",
    show_default=True,
    help="With --abundance: what the mean is of.",
)
@click.option("--by", metavar="COLUMN", help="Group the cells by this column.")
@click.option("--cells", metavar="EXPR", help="Only the cells of this cohort.")
@filter_options
@click.option("--limit", default=10_000, show_default=True, type=click.IntRange(1), help="Row cap.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds.")
@rows_options
@store_version_option
@engine_options
@server_options
def query(
    cypher: str | None,
    list_: bool,
    parameters: tuple[str, ...],
    abundance: str | None,
    layer: str,
    by: str | None,
    cells: str | None,
    sources: tuple[str, ...],
    license_allow: tuple[str, ...],
    limit: int,
    timeout: float,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Answer a Cypher question, or a canned one by name. Reads only.

    Example: tosg query pathway_genes --param pathway="interferon" --abundance mean,pct --by cell_type
    """
    from tosg_graph import show

    if list_:
        from tosg_graph.query import list_canned

        with errors(debug):
            show.questions(list_canned())
        return
    if not cypher:
        raise click.UsageError(
            "Write a Cypher query or the name of a canned one. `tosg query --list` shows these."
        )
    with platform(uri, user, password, debug) as p:
        rows = p.query(
            cypher,
            parse_parameters(parameters),
            abundance=abundance.split(",") if abundance else None,
            layer=layer,
            by=by,
            cells=cells,
            limit=limit,
            timeout=timeout,
            sources=sources,
            license_allow=license_allow,
            notice=lambda line: click.echo(line, err=True),
        )
        write_rows(rows, format_, out)


@click.command()
@selection_options
@parameter_option
@filter_options
@click.option("--cells", "expression", default="true", show_default=True, metavar="EXPR", help="The cohort.")
@cells_query_options
@click.option(
    "--label", metavar="COLUMN", help="Column of the cells that becomes the label [default with --case: arm]."
)
@click.option(
    "--bins",
    metavar="A,B,...",
    help="Edges that make classes of the label's numbers, each bin with its lower one; inf is an edge.",
)
@comparison_options
@split_options
@edge_options
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder to write; must not exist."
)
@click.option("--seed", default=0, show_default=True, help="Split and order of the cells, edge task.")
@click.option("--strict", is_flag=True, help="Refuse cells without the label instead of leaving them out.")
@click.option(
    "--features",
    metavar="NAME[,NAME]",
    help="Numeric node properties, or runs of `tosg gds`, to write along as tensors.",
)
@click.option("--proteins", is_flag=True, help="Join the counts of surface proteins to the picked proteins.")
@click.option(
    "--measured-by",
    type=click.Choice(["any", "all"]),
    default="any",
    show_default=True,
    help="Take genes and proteins that any dataset of the cohort measured, or only those that all did.",
)
@click.option(
    "--no-abundance",
    is_flag=True,
    help="Leave the counts in the store: TosgDataset(OUT, store=...) streams them.",
)
@click.option(
    "--level",
    "levels",
    multiple=True,
    default=["gene"],
    metavar="LEVEL[=POLICY]",
    help="Gather abundance from genes for the picked ones: transcript=copy or =share; protein=sum, =mean or =max.",
)
@correction_options
@text_options
@store_version_option
@engine_options
@server_options
def export(
    queries: tuple[str, ...],
    induce: str | None,
    hops: int | None,
    hop_cap: int | None,
    hop_types: str | None,
    hop_seed: int | None,
    no_cache: bool,
    parameters: tuple[str, ...],
    sources: tuple[str, ...],
    license_allow: tuple[str, ...],
    expression: str,
    cells_query: str | None,
    cells_parameters: tuple[str, ...],
    exact_terms: bool,
    label: str | None,
    bins: str | None,
    case: str | None,
    control: str | None,
    match: str | None,
    ratio: int | None,
    caps: tuple[str, ...],
    balance: bool,
    size: int | None,
    size_by: str | None,
    weight_by: str | None,
    by: str,
    fractions: str | None,
    folds: int | None,
    fold: int | None,
    hold_out: str | None,
    stratify: bool,
    edge_types: str | None,
    edge_fractions: str | None,
    negatives: float | None,
    edge_pairs: str | None,
    out: Path,
    seed: int,
    strict: bool,
    features: str | None,
    proteins: bool,
    measured_by: str,
    no_abundance: bool,
    levels: tuple[str, ...],
    correct: str,
    batch: str | None,
    covariates: tuple[str, ...],
    unseen: str,
    with_text: bool,
    text_genes: int | None,
    text_chars: int | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Write a Cypher-selected subgraph and a cohort as a bundle of tensors for PyTorch Geometric.

    Example: tosg-export --query "MATCH (g:Gene)-[r:PARTICIPATES_IN]->(p:Pathway) RETURN g, r, p"
    --label cell_type --out bundle
    """
    from tosg_graph import show
    from tosg_graph.bundle_draft import refuse_taken
    from tosg_graph.levels import parse_levels

    arms = read_arms(case, control, match, ratio)
    label = label or ("arm" if arms else None)
    if label is None:
        raise click.UsageError("Missing option '--label'.")
    sampling = read_sampling(caps, balance, size, size_by, weight_by)
    split = read_split(by, fractions, folds, fold, hold_out, stratify)
    correction = correction_plan(correct, batch, covariates, unseen)
    edge_task = read_edge_task(edge_types, edge_fractions, negatives, edge_pairs)
    label_bins = read_numbers("--bins", bins, "0,20,40,60,inf")
    with errors(debug):
        text = read_text(with_text, text_genes, text_chars)
        grown = read_hops(hops, hop_cap, hop_types, hop_seed)
        parse_levels(levels)  # before a server is started
    with platform(uri, user, password, debug) as p:
        refuse_taken(out)  # neither a server need be started for that, nor the query run
        cells = p.define_cells(
            expression, cells_query, parse_parameters(cells_parameters), exact_terms=exact_terms
        )
        p.check_columns(cells, [] if arms and label == "arm" else [label])
        picked = p.select(
            queries,
            parse_parameters(parameters),
            cells=cells,
            induce=read_induce(induce),
            hops=grown,
            sources=sources,
            license_allow=license_allow,
            cache=not no_cache,
        )
        manifest = picked.export(
            out,
            label=label,
            seed=seed,
            strict=strict,
            bins=label_bins,
            features=features.split(",") if features else (),
            arms=arms,
            sampling=sampling,
            split=split,
            correct=correction,
            proteins=proteins,
            measured_by=measured_by,
            level=levels,
            text=text,
            edge_task=edge_task,
            abundance=not no_abundance,
        )
        show.facts(manifest.as_facts())


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def convert(bundle: Path, out: Path, debug: bool) -> None:
    """Write a bundle for other programs: .h5ad (AnnData), .graphml, or its edges as .tsv or .parquet.

    Example: tosg convert bundle bundle.h5ad
    """
    from tosg_graph import bundle_formats, show

    with errors(debug):
        show.facts(bundle_formats.convert(bundle, out).as_facts())
