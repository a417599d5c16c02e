"""What do 120,000,000 cells take: files, disk, memory, hours? Computed from the figures in README.md, not measured.

``python benchmarks/many_cells.py [--cells N] [--processors N]`` prints the table of docs/many-machines.md.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tosg_graph.cell_blocks import BLOCK_CELLS, BLOCK_VALUES
from tosg_graph.counts_files import FILE_BLOCKS

BENCHMARK_CORES = 2  # of the machine that the figures are from
RATE_GENES = 900  # per cell where the rate of an ingest was measured
DEPTHS = {900: "large_bytes_per_cell", 1_166: "real_bytes_per_cell", 2_679: "bytes_per_cell"}


def figure(name: str) -> float:
    """Value of a figure in the README's table."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\|[^|]*\|[^|]*`{name}`[^|]*\| ([\d.,]+)", text, re.MULTILINE)
    if row is None:
        raise KeyError(name)
    return float(row[1].replace(",", ""))


def rows(cells: int, processors: int) -> dict[str, list[str]]:
    """What is computed -> its value at each depth of `DEPTHS`."""
    found: dict[str, list[str]] = {}

    def row(name: str, values: list[float], form: str) -> None:
        found[name] = [form.format(value) for value in values]

    millions = cells / 1e6
    # A block holds fewer cells where they have more than BLOCK_VALUES / BLOCK_CELLS genes.
    blocks = [cells / min(BLOCK_CELLS, BLOCK_VALUES / genes) for genes in DEPTHS]
    hours = [cells * genes / (figure("ingest_cells_per_second") * RATE_GENES) / 3600 for genes in DEPTHS]
    row("blocks", blocks, "{:,.0f}")
    row("files of counts, compacted", [n / FILE_BLOCKS for n in blocks], "{:,.0f}")
    row("store", [cells * figure(name) / 1e9 for name in DEPTHS.values()], "{:,.0f} GB")
    row("ingest, one process", hours, "{:,.1f} h")
    row(f"ingest, {processors} processors", [h / processors for h in hours], "{:,.2f} h")
    row("memory of these", [processors * figure("peak_gb_1m")] * len(DEPTHS), "{:,.0f} GB")
    for name, key in (("facets of all cells", "facet_seconds"), ("one gene, all cells", "one_gene_seconds")):
        seconds = figure(key) * BENCHMARK_CORES * millions
        row(f"{name}, {processors} processors", [seconds / processors] * len(DEPTHS), "{:,.1f} s")
    return found


def table(cells: int, processors: int) -> str:
    """The rows as Markdown."""
    head = ["", *(f"{genes:,} genes per cell" for genes in DEPTHS)]
    lines = [head, ["--", *["--:"] * len(DEPTHS)]]
    lines += [[name, *values] for name, values in rows(cells, processors).items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines).replace("|  |", "| |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=120_000_000)
    parser.add_argument("--processors", type=int, default=64)
    given = parser.parse_args()
    print(table(given.cells, given.processors))
