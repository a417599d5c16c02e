"""Commands of the abundance store: cells and cohorts."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    cells_query_options,
    comparison_options,
    engine_name,
    engine_options,
    errors,
    parse_pairs,
    parse_parameters,
    platform,
    read_arms,
    read_sampling,
    report_option,
    server_options,
    settings,
    store_version_option,
    write_rows,
)


@click.group()
def cells() -> None:
    """Add cells to the abundance store and look at what is there."""


@cells.command("add")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dataset", help="Name of the dataset [default: the file's stem].")
@click.option("--layer", help="Matrix with the raw counts: X, raw, or a layer's name [default: X].")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="A choice that the format of the file knows. Repeatable.",
)
@click.option(
    "--map", "map_file", type=click.Path(path_type=Path), help="YAML that maps obs columns and terms."
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=OBS",
    help="Take core column NAME (cell_type, donor, disease ...) from obs column OBS. Repeatable.",
)
@click.option(
    "--set",
    "constants",
    multiple=True,
    metavar="NAME=VALUE",
    help="The same value for every cell. Repeatable.",
)
@click.option(
    "--allow-unmapped", is_flag=True, help="Add a file of which hardly any feature is a known gene."
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Read so many of several files at a time [default: one per core].",
)
@click.option("--kept-terms", is_flag=True, help="Let decisions kept by tosg cells terms --apply count too.")
@engine_options
@server_options
def cells_add(
    paths: tuple[Path, ...],
    dataset: str | None,
    layer: str | None,
    options: tuple[str, ...],
    map_file: Path | None,
    columns: tuple[str, ...],
    constants: tuple[str, ...],
    allow_unmapped: bool,
    processes: int | None,
    kept_terms: bool,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Add files or folders with raw counts: .h5ad, .h5mu, 10x, mtx, loom, zarr, OmniCellTOSG, Parquet, Census.

    Example: tosg cells add pbmc.h5ad --column cell_type=cell_type --column donor=patient
    """
    from tosg_graph import show
    from tosg_graph.obs import read_mapping

    if dataset and len(paths) > 1:
        raise click.UsageError("--dataset names one file; add the files one by one.")
    if processes and engine_name() == "ray":
        raise click.UsageError(
            "--processes is of this machine alone; --engine ray takes what the cluster has."
        )
    with platform(uri, user, password, debug) as p:
        mapping = read_mapping(
            map_file, columns=parse_pairs("--column", columns), constants=parse_pairs("--set", constants)
        )
        for ledger in p.add_cells_files(
            paths,
            mapping=mapping,
            layer=layer,
            datasets=[dataset] if dataset else None,
            options=parse_pairs("--option", options),
            allow_unmapped=allow_unmapped,
            kept_terms=kept_terms,
            processes=processes,
        ):
            show.cells_ledger([ledger])
            show.proteins(ledger)
            show.unmapped_values(ledger)


@cells.command("list")
@click.option("--debug", is_flag=True, help="Show the whole trace of an error.")
def cells_list(debug: bool) -> None:
    """List the datasets in the store."""
    from tosg_graph import show
    from tosg_graph.platform import Platform

    with errors(debug):
        p = Platform(settings(None, None, None))
        show.arrow(p.datasets().drop_columns("file_sha256"))
        if (copy := p.row_copy()) and copy.copied_files:
            show.row_copy(copy)


@cells.command("terms")
@click.option("--dataset", help="Of this dataset only.")
@click.option("--column", "columns", multiple=True, help="Of this column only. Repeatable.")
@click.option("--unmapped", is_flag=True, help="Only values without a term.")
@click.option(
    "--apply",
    "decisions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Map the cells in the store as an edited CSV or YAML decides.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "csv", "yaml", "json"]),
    default="table",
    show_default=True,
    help="How the list is written; csv and yaml can be edited and applied.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file.")
@server_options
def cells_terms(
    dataset: str | None,
    columns: tuple[str, ...],
    unmapped: bool,
    decisions: Path | None,
    format_: str,
    out: Path | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """List what the obs values were mapped to, or map them anew as an edited list says.

    Example: tosg cells terms --unmapped --format csv --out terms.csv, then tosg cells terms --apply terms.csv
    """
    from tosg_graph import show

    if decisions and (columns or unmapped or out):
        raise click.UsageError(
            "--apply takes its values from FILE: of the others only --dataset goes with it."
        )
    with platform(uri, user, password, debug) as p:
        if decisions:
            show.applied_terms(p.apply_terms(decisions, dataset=dataset))
        else:
            write_rows(p.terms(columns, dataset=dataset, unmapped=unmapped), format_, out)


@cells.command("summarize")
@click.option("--cells", "expression", default="true", show_default=True, metavar="EXPR", help="The cohort.")
@click.option(
    "--by",
    default="cell_type",
    show_default=True,
    metavar="COLUMN",
    help="Column that names the cell type: an ontology column, or one with ids of cell types.",
)
@click.option(
    "--min-fraction",
    type=click.FloatRange(0, 1),
    help="Smallest fraction of cells with a count that makes a relationship [default: 0.05].",
)
@engine_options
@server_options
def cells_summarize(
    expression: str,
    by: str,
    min_fraction: float | None,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Write EXPRESSED_IN (gene to cell type) into the graph, in place of what the last run wrote.

    Example: tosg cells summarize --cells "dataset = 'pbmc'" --min-fraction 0.1
    """
    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        show.expression(p.summarize(expression, by=by, min_fraction=min_fraction))


@click.command()
@click.argument("expression", default="true")
@click.option("--by", multiple=True, help="Count the values of this column. Repeatable.")
@store_version_option
@cells_query_options
@click.option("--save", "name", metavar="NAME", help="Keep it under this name: @NAME then stands for it.")
@click.option("--replace", is_flag=True, help="Save over a cohort of the same name.")
@click.option("--list", "list_", is_flag=True, help="Show the saved cohorts.")
@click.option("--remove", metavar="NAME", help="Forget a saved cohort; the cells stay.")
@comparison_options
@click.option("--seed", default=0, show_default=True, help="Sample and match.")
@report_option
@engine_options
@server_options
def cohort(
    expression: str,
    by: tuple[str, ...],
    cells_query: str | None,
    cells_parameters: tuple[str, ...],
    exact_terms: bool,
    name: str | None,
    replace: bool,
    list_: bool,
    remove: str | None,
    case: str | None,
    control: str | None,
    match: str | None,
    ratio: int | None,
    caps: tuple[str, ...],
    balance: bool,
    size: int | None,
    size_by: str | None,
    seed: int,
    reports: tuple[Path, ...],
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Show what a cohort expression selects, save it under a name, or set cases beside controls.

    Example: tosg cohort "cell_type = 'T cell'" --case "disease = 'lupus'" --control "disease = 'normal'"
    --match sex,age_years:10 --report lupus.html
    """
    from tosg_graph import diagnostics_page, show

    arms, sampling = read_arms(case, control, match, ratio), read_sampling(caps, balance, size, size_by)
    if arms is None and sampling:
        raise click.UsageError("--cap, --balance and --sample belong to a comparison. Add --case EXPR.")
    if arms is not None and by:
        raise click.UsageError(
            "--by counts one cohort, --case compares two parts of it. Leave one of them out."
        )
    if reports and len(by) > 1:
        raise click.UsageError(f"--report sets the values of one column beside each other, not of {len(by)}.")
    if replace and name is None:
        raise click.UsageError("--replace belongs to --save NAME.")
    with platform(uri, user, password, debug) as p:
        if remove is not None:
            p.remove_cohort(remove)
            click.echo(f"The cohort {remove} is forgotten.")
            return
        if list_:
            show.cohorts(p.saved_cohorts())
            return
        cells = p.define_cells(
            expression, cells_query, parse_parameters(cells_parameters), exact_terms=exact_terms
        )
        if name is not None:
            show.cohorts([p.save_cohort(name, cells, replace=replace)])
        if arms is not None:
            found = p.compare(cells, arms, sampling=sampling, seed=seed)
            show.comparison(found.diagnostics)
            for path in reports:
                diagnostics_page.write(found.diagnostics, path, f"{case} beside {control or 'the others'}")
        elif name is None or reports:
            for facet in p.cohort(cells, by):
                show.arrow(facet)
            if not by:
                show.measured(p.measured(cells))
            if reports or not by:
                described = p.describe(cells, *by)
                show.comparison(described) if by else show.cohort(described)
                for path in reports:
                    diagnostics_page.write(described, path, " by ".join((expression, *by)))
