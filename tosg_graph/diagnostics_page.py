"""Diagnostics as one HTML page: verdict, reasons, plots and tables. It holds no script and loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

from tosg_graph.bundle import write_json
from tosg_graph.errors import ExportError
from tosg_graph.offline_page import (
    COLOURS,
    WIDTH,
    badge,
    bar,
    bullets,
    colour,
    html,
    section,
    svg,
    table,
    text,
)

_LABEL = 250  # of a plot's width, for names at the left
_NO_REASON = "No threshold is crossed."
_LINES_SHOWN = 40
_ROWS_SHOWN = 200


def write(found: Mapping[str, Any], path: Path, title: str) -> None:
    """Write what `diagnostics` found as a page, or as JSON where the name ends in ``.json``.

    Raises
    ------
    ExportError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            write_json(found, path)
        else:
            path.write_text(page(found, title), encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}. Choose another file.") from error


def page(found: Mapping[str, Any], title: str) -> str:
    """Return the page of what `diagnostics.describe` or `diagnostics.compare` found; the same input, the same text."""
    return html(title, _parts(found))


def bundle_page(found: Mapping[str, Any]) -> str:
    """Return the page of the content of a bundle's ``diagnostics.json``: the split, and its classes or the cohort."""
    arms = found["comparison"] or found["cohort"]
    parts = [
        f"<p>Verdict of the bundle: {badge(found['verdict'])}</p>",
        section(f"Split by {found['split_unit']}", _split(found)),
        section("Arms beside each other" if found["comparison"] else "The cohort", _parts(arms)),
    ]
    return html(f"Cells labelled by {found['label']}", "\n".join(parts))


def _parts(found: Mapping[str, Any]) -> str:
    parts = [
        _verdict(found),
        section("Arms", _arms(found)),
        section("Match", _match(found)),
        section("Left out", _left_out(found)),
        section("Balance before and after", _love_plot(found)),
        section("Cells per donor", _donor_plot(found)),
        section("Counts per cell", _depth_plot(found)),
        section("Protocol and origin", _overlap_plots(found)),
        section("Figures", _balance_table(found)),
    ]
    return "\n".join(part for part in parts if part)


# --------------------------------------------------------------------------- words and tables


def _verdict(found: Mapping[str, Any]) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in found["notes"])
    unjudged = ", ".join(map(escape, found["unjudged"]))
    return (
        f"<p>Verdict: {badge(found['verdict'])}</p>{bullets(found['reasons'], _NO_REASON)}"
        + (f"<p>Also to know:</p><ul>{notes}</ul>" if notes else "")
        + (
            f"<p>Not judged, because unknown or what the arms are made by: {unjudged}.</p>"
            if unjudged
            else ""
        )
    )


def _split(found: Mapping[str, Any]) -> str:
    sides = found["labels"]
    levels = sorted({label for counts in sides.values() for label in counts})[:_ROWS_SHOWN]
    rows = [[level, *(counts.get(level, 0) for counts in sides.values())] for level in levels]
    rows.append(["donors", *(len(found["donors"][name]) for name in sides)])
    crossing = ", ".join(f"{what.replace('_', ' ')} {count:,}" for what, count in found["overlap"].items())
    return (
        f"{bullets(found['reasons'], _NO_REASON)}{table([found['label'], *sides], rows)}"
        f"<p>On two sides: {escape(crossing)}.</p>"
    )


def _arms(found: Mapping[str, Any]) -> str:
    names = found["names"]
    rows = {
        "cells": "cells",
        "known donors": "donors",
        "datasets": "datasets",
        "share of cells without a known donor": "unknown_donor_share",
        "largest donor": "top_donor",
        "share of the largest donor": "top_donor_share",
        "cells per donor, median": "median_cells_per_donor",
        "counts per cell, median": "median_n_counts",
    }
    body = [[title, *(found["arms"][name][key] for name in names)] for title, key in rows.items()]
    legend = "".join(
        f'<span style="color:{fill}">&#9632;</span> {escape(name)} &nbsp; '
        for name, fill in zip(names, cycle(COLOURS), strict=False)
    )
    return f"<p>{legend}</p>{table(['', *names], body)}"


def _match(found: Mapping[str, Any]) -> str:
    match = found.get("match")
    if not match:
        return ""
    said = "".join(f"<li>{name}: <code>{escape(match[name])}</code></li>" for name in ("case", "control"))
    keys = ", ".join(match["keys"])
    how = f"{match['ratio']} controls per case, equal in {escape(keys)}" if keys else "not matched"
    report = match["report"]
    shown = table(list(report[0]), [list(line.values()) for line in report[:_ROWS_SHOWN]]) if report else ""
    more = f"<p>{len(report) - _ROWS_SHOWN:,} more are in the JSON.</p>" if len(report) > _ROWS_SHOWN else ""
    return f"<ul>{said}<li>{how}</li></ul>{shown}{more}"


def _left_out(found: Mapping[str, Any]) -> str:
    left = found.get("left_out")
    return table(["reason", "cells"], [[x["reason"], x["cells"]] for x in left]) if left else ""


def _balance_table(found: Mapping[str, Any]) -> str:
    apart = ("smd_before", "smd") if len(found["names"]) > 1 else ()
    header = ["column", "level", *found["names"], *("difference before", "difference")[: len(apart)]]
    rows = [
        [line["column"], line["level"], *line["values"], *(line[a] for a in apart)]
        for line in found["balance"]
    ]
    return table(header, rows)


# --------------------------------------------------------------------------- plots


def _love_plot(found: Mapping[str, Any]) -> str:
    """Draw each standardised difference, before (ring) and after (dot), largest first."""
    several = len(found["names"]) > 1
    lines = [x for x in found["balance"] if several and (x["smd"] is not None or x["kind"] == "share")]
    lines = sorted(lines, key=lambda x: -max(_extent(x["smd"]), _extent(x["smd_before"], 0)))[:_LINES_SHOWN]
    if not lines:
        return ""
    known = [v for x in lines for v in (x["smd"], x["smd_before"]) if v is not None]
    top = max([0.5, *(abs(v) for v in known)]) * 1.05
    shapes, height = [], 22 * len(lines) + 34
    for bound in (-0.25, -0.1, 0, 0.1, 0.25):
        x = _place(bound, -top, top)
        dash = "" if bound == 0 else ' stroke-dasharray="4 3"'
        shapes.append(f'<line x1="{x}" x2="{x}" y1="4" y2="{height - 26}" stroke="#bbb"{dash}/>')
        shapes.append(text(x, height - 10, f"{bound:g}", "middle"))
    for row, line in enumerate(lines):
        y = 18 + 22 * row
        name = line["column"] if line["level"] is None else f"{line['column']} = {line['level']}"
        shapes.append(text(_LABEL - 8, y + 4, name, "end"))
        # Where one arm has a level wholly and the other not at all, the difference is infinite.
        before = line["smd_before"]
        if before is not None:
            shapes.append(
                f'<circle cx="{_place(before, -top, top)}" cy="{y}" r="5" fill="none" stroke="#888"/>'
            )
        after = top if line["smd"] is None else line["smd"]
        shapes.append(f'<circle cx="{_place(after, -top, top)}" cy="{y}" r="4" fill="{COLOURS[0]}"/>')
    return svg(shapes, height, "Standardised differences: ring before, dot after")


def _extent(value: float | None, absent: float = math.inf) -> float:
    return absent if value is None else abs(value)


def _donor_plot(found: Mapping[str, Any]) -> str:
    """Draw the cells of each donor, largest first, one row of bars per arm."""
    most = max((n for arm in found["arms"].values() for n in arm["cells_per_donor"]), default=0)
    if not most:
        return "<p>No donor is known.</p>"
    shapes = []
    for row, name in enumerate(found["names"]):
        counts = found["arms"][name]["cells_per_donor"]
        base, step = 100 + 130 * row, (WIDTH - _LABEL) / max(1, len(counts))
        shapes.append(text(_LABEL - 8, base - 40, f"{name}: {found['arms'][name]['donors']} donors", "end"))
        shapes.append(text(_LABEL - 8, base - 84, f"{max(counts, default=0):,} cells at most", "end"))
        for place, count in enumerate(counts):
            height, x = 90 * count / most, _LABEL + place * step
            shapes.append(bar(x, base - height, max(1.0, step - 1), height, row))
    return svg(shapes, 130 * len(found["names"]) - 10, "Cells per donor")


def _depth_plot(found: Mapping[str, Any]) -> str:
    """Draw the counts per cell of the arms as steps, each arm to its own height."""
    edges = found["depth"]["edges"]
    if not edges:
        return ""
    shapes, base = [], max(170.0, 30.0 + 20 * len(found["names"]))
    for row, name in enumerate(found["names"]):
        counts = found["depth"]["cells"][name]
        top = max([1, *counts])
        points = [(_place(edges[0], edges[0], edges[-1]), base)]
        for left, right, count in zip(edges, edges[1:], counts, strict=False):
            y = base - 150 * count / top
            points += [(_place(e, edges[0], edges[-1]), y) for e in (left, right)]
        points.append((_place(edges[-1], edges[0], edges[-1]), base))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour(row)}" stroke-width="2"/>')
        shapes.append(text(_LABEL - 8, 40 + 20 * row, name, "end", colour(row)))
    shapes += [
        text(_place(edge, edges[0], edges[-1]), base + 18, f"{10**edge - 1:,.0f}", "middle")
        for edge in (edges[0], edges[-1])
    ]
    return svg(shapes, base + 25, "Counts per cell, on a logarithmic scale")


def _overlap_plots(found: Mapping[str, Any]) -> str:
    """Draw the share of each dataset, assay and suspension in each arm."""
    parts = []
    several = len(found["names"]) > 1
    for column, overlap in found["overlap"].items():
        if (several and overlap["jaccard"] is None) or not any(overlap["values"].values()):
            continue
        values = overlap["values"]
        totals = {name: max(1, sum(values[name].values())) for name in found["names"]}
        levels = sorted({v for counts in values.values() for v in counts})[:_LINES_SHOWN]
        shapes = []
        for row, level in enumerate(levels):
            y = 8 + (8 + 11 * len(found["names"])) * row
            shapes.append(text(_LABEL - 8, y + 14, level, "end"))
            for place, name in enumerate(found["names"]):
                share = values[name].get(level, 0) / totals[name]
                shapes.append(bar(_LABEL, y + 11 * place, (WIDTH - _LABEL) * share, 10, place))
        arms = "both arms" if len(found["names"]) == 2 else "two arms or more"
        unknown = max(overlap["unknown"].values())
        said = (
            f"{column}: {100 * overlap['jaccard']:.0f} % of the values are in {arms}" if several else column
        )
        said += f"; unknown of up to {100 * unknown:.0f} % of the cells" if unknown else ""
        height = 16 + (8 + 11 * len(found["names"])) * len(levels)
        parts.append(f"<p>{escape(said)}</p>" + svg(shapes, height, said))
    return "".join(parts)


def _place(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return round(_LABEL + (WIDTH - _LABEL) * share, 1)
