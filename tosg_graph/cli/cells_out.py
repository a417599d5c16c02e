"""Commands that make something of the cells in the store: files, sums, metacells."""

from __future__ import annotations

from pathlib import Path

import click

from tosg_graph.cli.options import (
    cells_query_options,
    engine_options,
    parse_parameters,
    platform,
    report_option,
    server_options,
    store_version_option,
)

cohort_option = click.option(
    "--cells", "expression", default="true", show_default=True, metavar="EXPR", help="The cohort."
)


@click.command("export")
@cohort_option
@cells_query_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["h5ad", "mtx", "parquet"]),
    default="h5ad",
    show_default=True,
    help="AnnData, a folder as Cell Ranger writes it, or a folder of Parquet with lists.",
)
@click.option(
    "--layer",
    type=click.Choice(["gene", "protein"]),
    default="gene",
    show_default=True,
    help="Counts of genes, or of surface proteins in the cells in which they were measured.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="What to write; must not exist.")
@report_option
@store_version_option
@engine_options
@server_options
def export(
    expression: str,
    cells_query: str | None,
    cells_parameters: tuple[str, ...],
    exact_terms: bool,
    format_: str,
    layer: str,
    out: Path,
    reports: tuple[Path, ...],
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Write the raw counts of a cohort for other programs.

    Example: tosg cells export --cells "cell_type = 'T cell'" --out t_cells.h5ad
    """
    from tosg_graph import diagnostics_page, show

    with platform(uri, user, password, debug) as p:
        cells = p.define_cells(
            expression, cells_query, parse_parameters(cells_parameters), exact_terms=exact_terms
        )
        show.cells_export(p.export_cells(out, cells=cells, format=format_, layer=layer))
        if reports:
            found = p.describe(cells)
            for path in reports:
                diagnostics_page.write(found, path, expression)


@click.command("pseudobulk")
@cohort_option
@cells_query_options
@click.option(
    "--by",
    multiple=True,
    default=("cell_type",),
    show_default=True,
    metavar="COLUMN",
    help="Sum apart by this column, beside dataset and donor. Repeatable.",
)
@click.option(
    "--min-cells", default=10, show_default=True, type=click.IntRange(1), help="Leave out groups of fewer."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, .h5ad or .parquet; must not exist.",
)
@store_version_option
@engine_options
@server_options
def pseudobulk(
    expression: str,
    cells_query: str | None,
    cells_parameters: tuple[str, ...],
    exact_terms: bool,
    by: tuple[str, ...],
    min_cells: int,
    out: Path,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Sum raw counts per dataset, donor and other columns.

    Example: tosg cells pseudobulk --by cell_type --out sums.parquet
    """
    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        cells = p.define_cells(
            expression, cells_query, parse_parameters(cells_parameters), exact_terms=exact_terms
        )
        show.pseudobulk(p.pseudobulk(out, cells=cells, by=by, min_cells=min_cells), out)


@click.command("metacell")
@cohort_option
@cells_query_options
@click.option(
    "--size", default=50, show_default=True, type=click.IntRange(1), help="Cells per metacell, about."
)
@click.option(
    "--method",
    type=click.Choice(["kmeans", "seacells", "metacell2"]),
    default="kmeans",
    show_default=True,
    help="How alike cells are found; the other two are extras to install.",
)
@click.option(
    "--purity",
    default="cell_type_raw",
    show_default=True,
    metavar="COLUMN",
    help="Column whose most frequent value's share is stored as the purity.",
)
@click.option(
    "--min-cells", default=10, show_default=True, type=click.IntRange(1), help="Leave out groups of fewer."
)
@click.option(
    "--suffix", default="_metacells", show_default=True, help="What the name of the new dataset ends in."
)
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of the method."
)
@server_options
def metacell(
    expression: str,
    cells_query: str | None,
    cells_parameters: tuple[str, ...],
    exact_terms: bool,
    size: int,
    method: str,
    purity: str,
    min_cells: int,
    suffix: str,
    seed: int,
    uri: str | None,
    user: str | None,
    password: str | None,
    debug: bool,
) -> None:
    """Sum alike cells of one dataset, donor and cell type, and add the sums as a dataset of their own.

    Example: tosg cells metacell --cells "dataset = 'pbmc'" --size 50
    """
    from tosg_graph import show

    with platform(uri, user, password, debug) as p:
        cells = p.define_cells(
            expression, cells_query, parse_parameters(cells_parameters), exact_terms=exact_terms
        )
        made = p.metacells(
            cells,
            size=size,
            method=method,
            purity=purity,
            min_cells=min_cells,
            suffix=suffix,
            seed=seed,
        )
        show.metacells(made)
