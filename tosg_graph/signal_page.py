"""Findings as one HTML page: what was compared, how far to trust it, the picture and the tables. It holds no script."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from tosg_graph.offline_page import badge, bullets, html, section, table

if TYPE_CHECKING:
    import pyarrow as pa

    from tosg_graph.signal_findings import Findings

_ROWS = 50  # of a table
_NO_REASON = "No threshold is crossed."


def page(found: Findings, picture: str) -> str:
    """Return the page; ``picture`` is SVG."""
    said = found.about
    case, control = (arm["name"] for arm in said["units"]["arms"])
    parts = [
        f"<p>Verdict on the comparison: {badge(said['verdict'])}</p>{bullets(said['reasons'], _NO_REASON)}",
        f"<p>Also to know:</p>{bullets(said['notes'])}" if said["notes"] else "",
        section("What was compared", _compared(said)),
        section("What was found", _found(said)),
        section("The subgraph", _legend(case, control) + picture),
        section("Pathways", _pathways(found.pathways)),
        section("Edges", _edges(found.edges, case, control)),
        section("Nodes", _nodes(found.nodes, case, control)),
        section("Left out", table(["what", "count"], sorted(said["left_out"].items()))),
        section("How", _how(said)),
    ]
    title = f"Signaling: {said['contrast']['by']} = {case} against {control}"
    return html(title, "\n".join(part for part in parts if part))


def _compared(said: Mapping[str, Any]) -> str:
    arms = table(
        ["arm", "donors", "cells"], [[a["name"], a["donors"], a["cells"]] for a in said["units"]["arms"]]
    )
    paired = "<p>Each donor has both arms and is compared with itself.</p>" if said["units"]["paired"] else ""
    columns = ("dataset", "donor", "arm", "within", "cells", "n_counts")
    donors = table(columns, [[unit[name] for name in columns] for unit in said["units"]["donors"]])
    return f"{arms}{paired}<details><summary>Donors</summary>{donors}</details>"


def _found(said: Mapping[str, Any]) -> str:
    rows = [[what, counted["found"], counted["tested"]] for what, counted in sorted(said["tests"].items())]
    rate = f"<p>Found: at a rate of false discoveries of {said['fdr']:g}, of each kind separately.</p>"
    return rate + table(["", "found", "tested"], rows)


def _legend(case: str, control: str) -> str:
    return (
        f"<p>Red is more in {escape(case)}, blue more in {escape(control)}; areas are pathways that were found, with "
        "their leading members. Arrows signal, bars inhibit, dashes are ligands of receptors, plain lines interact.</p>"
    )


def _pathways(rows: pa.Table) -> str:
    names = ("found", "explained_by", "name", "id", "tested", "kind", "difference", "score", "p", "q")
    body = [[_value(row[n]) for n in names] + [", ".join(row["leading"][:8])] for row in _top(rows)]
    said = "<p>A pathway that is explained by a stronger one differs only in members that they share.</p>"
    return said + table([*names, "leading members"], body) if body else "<p>None was tested.</p>"


def _edges(rows: pa.Table, case: str, control: str) -> str:
    body = [
        [
            _value(row["found"]),
            row["source_name"],
            row["verb"],
            {1: "+", -1: "−"}.get(row["sign"], ""),
            row["target_name"],
            row["mean_case"],
            row["mean_control"],
            *(_value(row[n]) for n in ("difference", "t", "p", "q")),
            ", ".join(row["sources"]),
        ]
        for row in _top(rows)
    ]
    names = [
        "found",
        "source",
        "verb",
        "sign",
        "target",
        case,
        control,
        "difference",
        "t",
        "p",
        "q",
        "stated by",
    ]
    return table(names, body) if body else "<p>None was tested.</p>"


def _nodes(rows: pa.Table, case: str, control: str) -> str:
    columns = ("found", "name", "id", "type", "mean_case", "mean_control", "difference", "t", "p", "q")
    body = [[_value(row[n]) for n in columns] for row in _top(rows)]
    return table(["found", "name", "id", "type", case, control, "log2 difference", "t", "p", "q"], body)


def _top(rows: pa.Table) -> list[dict[str, Any]]:
    top: list[dict[str, Any]] = rows.slice(0, _ROWS).to_pylist()
    return top


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else ""
    # Small p would be 0.000 as other numbers are written.
    return f"{value:.2g}" if isinstance(value, float) and abs(value) < 0.001 else value


def _how(said: Mapping[str, Any]) -> str:
    rows = [[name, str(said[name])] for name in ("run", "score", "null", "permutations", "fdr", "seed")]
    rows += [[f"contrast: {name}", str(value)] for name, value in sorted(said["contrast"].items())]
    rows += [[f"network: {name}", str(value)] for name, value in sorted(said["network"].items())]
    rows += [[f"bundle: {name}", str(value)] for name, value in sorted(said["bundle"].items())]
    rows += [[f"software: {name}", value] for name, value in sorted(said["software"].items())]
    return table(["", ""], rows)
