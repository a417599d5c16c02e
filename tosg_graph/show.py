"""Tables for people: what the commands print on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tosg_graph.cells_export import CellsExport
    from tosg_graph.classification import Classified
    from tosg_graph.compact import Compaction
    from tosg_graph.diff import Diff
    from tosg_graph.metacells import Metacells
    from tosg_graph.pretraining import Pretrained
    from tosg_graph.pseudobulk import Pseudobulk
    from tosg_graph.query import CannedQuery
    from tosg_graph.row_copy import RowCopy
    from tosg_graph.saved_cohorts import SavedCohort
    from tosg_graph.signal_comparison import Comparison
    from tosg_graph.signal_findings import Findings
    from tosg_graph.summarize import Summary
    from tosg_graph.term_audit import Applied
    from tosg_graph.types import CellsLedger, LedgerLine
    from tosg_graph.vacuum import Vacuumed
    from tosg_graph.verify import Verification


_PIPE_WIDTH = 140
_UNMAPPED_ROWS = 15
_FINDINGS = 10


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print rows as a table on stdout; numbers are right-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    body = [list(row) for row in rows]
    out = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for place, name in enumerate(columns):
        values = [row[place] for row in body if row[place] is not None]
        numeric = bool(values) and all(isinstance(v, int | float) for v in values)
        out.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        # Text, not str: names such as "[Acyl-carrier]" would be read as markup.
        out.add_row(*(Text(_cell(value)) for value in row))
    # A log or a pipe has no width of its own; 80 would fold every longer name.
    console = Console()
    console = console if console.is_terminal else Console(width=_PIPE_WIDTH)
    console.print(out)


def arrow(rows: pa.Table, title: str | None = None) -> None:
    """Print an Arrow table."""
    table(rows.column_names, zip(*(c.to_pylist() for c in rows.columns), strict=True), title)


def load_ledger(lines: Sequence[LedgerLine]) -> None:
    """Print where the rows of each loaded table went, and why rows were rejected, joined or kept apart."""
    from tosg_graph.identity import VERDICTS

    columns = ["source", "table", "read", "loaded", "merged", "rejected", "created", "updated"]
    if any(x.retired for x in lines):
        columns.append("retired")
    table(columns, ([getattr(x, column) for column in columns] for x in lines))
    rejected = [
        (x.source, x.table, reason, count)
        for x in lines
        for reason, count in x.reasons.items()
        if x.rejected or reason in VERDICTS or reason.startswith("conflicting")
    ]
    if rejected:
        table(("source", "table", "reason", "rows"), rejected, "Rows not loaded as they were")


def diff(found: Diff, as_json: bool) -> None:
    """Print what changed between two releases, and which exports that touches."""
    if as_json:
        import json

        whole = {"before": found.before.id, "after": found.after.id}
        whole |= {"changes": found.changes.to_pylist(), "bundles": found.bundles.to_pylist()}
        print(json.dumps(whole, ensure_ascii=False, indent=1))
        return
    old, new = found.before, found.after
    print(f"from {old.id} (number {old.number}) to {new.id} (number {new.number})")
    if len(found.changes):
        arrow(found.changes)
    else:
        print("No source states anything else.")
    if len(found.bundles):
        arrow(found.bundles, "Exports")


def questions(canned: Sequence[CannedQuery]) -> None:
    """Print canned questions, sorted by topic, in a table for each topic."""
    from itertools import groupby

    columns = ("name", "asks", "parameters")
    for topic, those in groupby(canned, key=lambda question: question.topic):
        table(columns, ((q.name, q.title, q.signature) for q in those), topic.capitalize())


def cells_ledger(ledgers: Sequence[CellsLedger]) -> None:
    """Print what became of each added file."""
    table(
        (
            "dataset",
            "cells",
            "genes mapped",
            "own axis row",
            "ambiguous",
            "counts in file",
            "counts in store",
            "",
        ),
        (
            (
                x.dataset,
                x.cells,
                x.genes_mapped,
                x.own_axis_row,
                x.ambiguous,
                x.counts_file,
                x.counts_stored,
                "already present" if x.already_present else "added",
            )
            for x in ledgers
        ),
    )


def proteins(ledger: CellsLedger) -> None:
    """Print what became of the antibodies of an added file, those that are no protein by name."""
    found = ledger.proteins
    if found is None:
        return
    facts(
        {
            "proteins": f"{found.mapped:,} of {len(found.mapping):,} antibodies, in {found.cells:,} cells, "
            f"{found.counts:,} counts; {found.ambiguous:,} ambiguous, {found.controls:,} isotype controls"
        }
    )
    rows = [row for row in found.mapping.to_pylist() if row["protein_id"] is None]
    names = ("antibody", "rule", "candidates")
    if rows:
        table(names, ((row["feature"], row["rule"], row["candidates"]) for row in rows), "Without a protein")
        print(
            "They keep their counts under their own names. To decide: proteins: {NAME: ID} in a --map FILE.yaml"
        )


def measured(found: pa.Table) -> None:
    """Print what the datasets of a cohort measured, and what some of them did not."""
    arrow(found.select(["dataset", "layer", "cells", "features"]), "Measured")
    for layer in dict.fromkeys(found["layer"].to_pylist()):
        rows = [row for row in found.to_pylist() if row["layer"] == layer]
        both, some = rows[0]["by_all"], rows[0]["by_any"]
        if both < some:
            print(
                f"{both:,} of {some:,} {layer}s were measured by all {len(rows):,} datasets; what a dataset did not "
                "measure is unknown in its cells, not zero."
            )


def unmapped_values(ledger: CellsLedger) -> None:
    """Print the obs values of an added file that have no term, and what to run next."""
    rows = ledger.unmapped
    if rows is None or not len(rows):
        return
    shown = rows.slice(0, _UNMAPPED_ROWS).select(["column", "raw", "cells", "candidates"])
    arrow(shown.rename_columns(["column", "raw", "cells", "nearest"]), "Values without a term")
    more = f"{len(rows) - len(shown):,} more of them. " if len(rows) > len(shown) else ""
    name = shlex.quote(ledger.dataset)
    print(f"{more}To decide them: tosg cells terms --dataset {name} --unmapped --format csv --out terms.csv")
    print("then fill in term_id, and: tosg cells terms --apply terms.csv")


def applied_terms(applied: Applied) -> None:
    """Print what decisions about terms changed."""
    if not applied.cells:
        print("Nothing to change: the cells are mapped so already.")
        return
    cells = ", ".join(f"{column} {count:,}" for column, count in applied.cells.items())
    facts({"values": f"{applied.values:,}", "cells": cells, "store": f"version {applied.store_version}"})


def compaction(done: Compaction) -> None:
    """Print what a compaction did, or that there was nothing to do."""
    if done.written is None:
        print(
            f"The store is compact already: {done.cells:,} cells in {done.blocks:,} blocks. Nothing was written."
        )
        return
    facts(
        {
            "cells": f"{done.cells:,}, store version {done.written.cells}",
            "blocks": f"{done.blocks:,}, before {done.blocks_before:,}",
            "files": f"{done.files:,}, before {done.files_before:,}",
            "size": f"{_bytes(done.bytes)}, before {_bytes(done.bytes_before)}",
            "older versions": "stay readable; `tosg cells vacuum` gives their disk back",
        }
    )


def row_copy(copy: RowCopy) -> None:
    """Print how much of the store is there once more, cell by cell, and what was done about it."""
    if copy.removed:
        print(f"The copy cell by cell is removed: {copy.removed:,} files.")
        return
    if not copy.copied_files:
        print("There is no copy cell by cell. `tosg cells rows` makes it.")
        return
    wrote = f", {copy.written:,} of them written now" if copy.written else ""
    files = f"{copy.copied_files:,} of {copy.counts_files:,} files of counts{wrote}"
    whole = copy.copied_files == copy.counts_files
    each = f", {copy.bytes / copy.cells:,.0f} bytes per cell" if whole else ""
    print(f"Cell by cell: {files}; {_bytes(copy.bytes)}{each}.")


def vacuumed(done: Vacuumed) -> None:
    """Print which versions stay and why, and what was removed or would be."""
    table(("version", "kept because"), done.kept.items())
    if done.files and done.dry_run:
        table(("file", "bytes"), done.files.items(), "Would be removed")
    lost = f"; versions {', '.join(map(str, done.given_up))} can no longer be read" if done.given_up else ""
    verb = "would be removed" if done.dry_run else "removed"
    print(f"{len(done.files):,} files of {_bytes(done.bytes)} {verb}{lost}.")
    for folder in done.missing_exports:
        print(
            f"The export {folder} is not there any more; --forget-missing gives up what only such exports name."
        )


def verification(done: Verification) -> None:
    """Print what was checked, or one line per finding."""
    for finding in done.findings:
        print(finding)
    if done.findings:
        return
    unnamed = f", {done.without_checksum} of them without a checksum" if done.without_checksum else ""
    print(
        f"Version {done.version.cells} is sound: {done.files:,} files of {_bytes(done.bytes)}{unnamed}; "
        f"{done.cells:,} cells in {done.blocks:,} blocks, counts sum to {done.counts:,}."
    )


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def cells_export(written: CellsExport) -> None:
    """Print what was written for other programs."""
    size = f"{written.cells:,} cells, {written.features:,} features, store version {written.store_version}"
    facts({written.format: str(written.path), "holds": size})


def pseudobulk(sums: Pseudobulk, out: Path) -> None:
    """Print what was summed, and which cells were not."""
    facts(
        {
            "sums": str(out),
            "holds": f"{len(sums.matrix.names):,} groups of {sums.cells:,} cells",
            "cells left out": _counted(sums.left_out),
        }
    )


def metacells(made: Metacells) -> None:
    """Print the datasets of metacells that were added, and which cells are in none."""
    table(
        ("dataset", "metacells", "cells", "counts", "purity", ""),
        (
            (
                x.dataset,
                x.metacells,
                x.cells,
                x.counts,
                x.purity,
                "already present" if x.already_present else "added",
            )
            for x in made.added
        ),
    )
    facts({"cells left out": _counted(made.left_out)})


def _counted(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"


def expression(summary: Summary) -> None:
    """Print what was summarised into the graph, and what was left out."""
    load_ledger([summary.ledger])
    types = len(summary.cell_types)
    facts(
        {
            "cells": f"{summary.cells:,} of {types} cell types, store version {summary.store_version}",
            "cells left out": _left_out(summary.unmapped),
            "pairs left out": f"{summary.below:,} of gene and cell type, in too small a fraction of the cells",
            "features left out": f"{summary.features_without_gene:,} that are no gene of the graph",
        }
    )


def _left_out(cells: Mapping[str, int]) -> str:
    if not cells:
        return "none"
    named = ", ".join(f"{name!r} {count:,}" for name, count in cells.items())
    return f"{sum(cells.values()):,} of no known type: {named}"


def cohorts(saved: Sequence[SavedCohort]) -> None:
    """Print saved cohorts, and what each means."""
    table(
        ("name", "expression", "query", "cells when saved", "store version"),
        ((x.name, x.expression, x.query, x.cells, x.store_version) for x in saved),
    )


def cohort(found: Mapping[str, Any]) -> None:
    """Print of whom a cohort without arms is made."""
    [arm] = found["arms"].values()
    unknown = f", {arm['unknown_donor_cells']:,} cells of unknown ones" if arm["unknown_donor_cells"] else ""
    facts(
        {
            "cells": f"{arm['cells']:,} of {arm['datasets']:,} datasets",
            "donors": f"{arm['donors']:,}{unknown}",
            "verdict": found["verdict"],
        }
    )
    for line in [*found["reasons"], *(f"note: {note}" for note in found["notes"])]:
        print(f"  {line}")


def comparison(found: Mapping[str, Any]) -> None:
    """Print arms beside each other, where the other cells went, and how far a difference can be trusted."""
    fields = {
        "cells": "cells",
        "donors": "known donors",
        "unknown_donor_share": "without donor",
        "top_donor_share": "of the largest donor",
        "median_n_counts": "median counts",
    }
    arms = found["arms"]
    table(("arm", *fields.values()), ((name, *(arms[name][f] for f in fields)) for name in found["names"]))
    if report := found.get("match", {}).get("report"):
        table(list(report[0]), (line.values() for line in report), "Match")
    if found["left_out"]:
        table(("reason", "cells"), ((x["reason"], x["cells"]) for x in found["left_out"]), "Not compared")
    print(f"verdict: {found['verdict']}")
    for reason in found["reasons"]:
        print(f"  {reason}")


def evaluation(found: Mapping[str, Any], page: Path) -> None:
    """Print how good the models of a run are, what made the difference, and where to look."""
    from tosg_graph.evaluation_page import interval

    columns = {
        "accuracy": "accuracy",
        "macro_f1": "macro-F1 [95 %]",
        "auroc": "AUROC",
        "auprc": "AUPRC",
        "ece": "ECE",
    }
    rows = []
    for model in found["models"]:
        test = model["test"]
        figures = [interval(test[m]) if m == "macro_f1" else test[m]["mean"] for m in columns]
        rows.append([model["model"], len(model["seeds"]), *figures])
    table(("model", "seeds", *columns.values()), rows)
    for run in found["runs"]:
        why = f" ({'; '.join(run['reasons'])})" if run["reasons"] else ""
        print(f"{run['name']}: split by {run['split_unit']}, verdict {run['verdict']}{why}")
    for line in [*found["test"]["notes"], *found["findings"]]:
        print(f"  {line}")
    print(
        f"Look at {page}: curves, calibration, confusion and classes; its figures are in {page.with_suffix('.json')}."
    )


def classified(found: Classified) -> None:
    """Print what each model reaches, and what to run next."""
    columns = list(found.scores[0])
    table(columns, ([row[name] for name in columns] for row in found.scores), "Means over seeds")
    print(
        "Validation chose; the test cells were predicted once, at the end. Intervals over donors, curves and"
    )
    print(f"calibration: tosg evaluate {shlex.quote(str(found.run))}")
    print(f"What the model was made of, and its limits: {found.run / 'card.md'}")


def pretrained(found: Pretrained) -> None:
    """Print what pretraining reached on validation, simple rules beside it, and what to run next."""
    rows = []
    for name, value in found.metrics.items():
        if ", by " not in name:
            rule = next((n for n in found.metrics if n.startswith(f"{name}, by ")), None)
            rows.append(
                (name, value, found.metrics[rule] if rule else None, rule and rule.rpartition(", by ")[2])
            )
    table(("validation", "network", "simple rule", "which is"), rows)
    print(f"To go on: tosg train classify BUNDLE --from {shlex.quote(str(found.run))} --out RUN")
    print(f"What the model was made of, and its limits: {found.run / 'card.md'}")


def signal(found: Findings) -> None:
    """Print what differs between two groups of cells: the first pathways, edges and nodes of each."""
    facts(found.as_facts())
    pathways = ("found", "name", "tested", "kind", "difference", "p", "q", "explained_by")
    edges = ("found", "source_name", "verb", "target_name", "difference", "p", "q")
    nodes = ("found", "name", "type", "difference", "p", "q")
    for title, rows, columns in (
        ("pathways", found.pathways, pathways),
        ("edges", found.edges, edges),
        ("nodes", found.nodes, nodes),
    ):
        if len(rows):
            arrow(rows.select(columns).slice(0, _FINDINGS), title)


def signal_comparison(compared: Comparison) -> None:
    """Print findings of several groups side by side: the difference in each, marked where it was found."""
    from tosg_graph.signal_heatmap import named

    facts({**compared.as_facts(), "below": "difference in each group, * where it was found"})
    for title, rows in (
        ("pathways", compared.pathways),
        ("edges", compared.edges),
        ("nodes", compared.nodes),
    ):
        shown = rows.filter(rows["sharing"].is_valid()).slice(0, _FINDINGS).to_pylist()
        body = [
            [named(row), row["sharing"], *(_in_group(row, group) for group in compared.groups)]
            for row in shown
        ]
        if body:
            table((title, "sharing", *compared.groups), body)


def _in_group(row: Mapping[str, Any], group: str) -> str:
    difference = row[f"difference:{group}"]
    if difference is None:
        return ""
    return f"{difference:.3g}{'*' if group in row['found_in'] else ''}"


def facts(pairs: Mapping[str, Any]) -> None:
    """Print ``name  value`` lines."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        print(f"{name:<{width}}  {value}")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
