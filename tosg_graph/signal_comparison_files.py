"""A comparison of findings as a folder.

::

    findings.json     groups, what was left out and why, how much is shared
    nodes.parquet, edges.parquet, pathways.parquet    a row per feature, columns per group, and what is shared
    pathways.svg, edges.svg, nodes.svg    clustered heat maps
    report.html       the same for people
    groups/00/ ...    what was found in each group, as `tosg_graph.signal_files` writes it

The same findings give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph import bundle, signal_files
from tosg_graph.errors import SignalError
from tosg_graph.offline_page import badge, bullets, html, section, table
from tosg_graph.signal_comparison import KIND, Comparison, beside
from tosg_graph.signal_heatmap import heat_map, named
from tosg_graph.signal_sharing import SHARINGS, WHAT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

_ROWS = 60  # of a table of the page


def write(compared: Comparison, out: Path) -> Path:
    """Write a comparison to the new folder ``out``; it is complete or not there.

    Raises
    ------
    ExportError
        If it exists or cannot be written.
    """
    out = bundle.refuse_existing(out)
    with bundle.new_bundle(out) as folder:
        maps = {}
        for what in WHAT:
            bundle.write_table(getattr(compared, what), folder / f"{what}.parquet")
            maps[what] = heat_map(getattr(compared, what), list(compared.groups), _title(what, compared))
            if maps[what]:
                (folder / f"{what}.svg").write_text(maps[what], encoding="utf-8")
        (folder / "groups").mkdir()
        for number, found in enumerate(compared.groups.values()):
            signal_files.write(found, folder / _group_folder(number))
        (folder / signal_files.REPORT).write_text(page(compared, maps), encoding="utf-8")
        about = {**compared.about, "files": bundle.checksums(folder)}
        bundle.write_json(about, folder / signal_files.FINDINGS)
    return out


def is_comparison(folder: Path) -> bool:
    """Whether `write` made the folder."""
    try:
        said = json.loads((folder / signal_files.FINDINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("kind") == KIND


def read(folder: Path) -> Comparison:
    """Read what `write` wrote; the groups are set side by side again.

    Raises
    ------
    SignalError
        If it is no such folder, or damaged.
    """
    if not is_comparison(folder):
        raise SignalError(f"{folder} holds no comparison. Make one with tosg signal compare --out.")
    about = json.loads((folder / signal_files.FINDINGS).read_text(encoding="utf-8"))
    groups = {
        group["name"]: signal_files.read(folder / _group_folder(number))
        for number, group in enumerate(about["groups"])
    }
    return beside(groups, about["over"], about["left_out"])


def read_results(folders: Iterable[Path]) -> Comparison:
    """Set finished results side by side; a group is called as its folder.

    Raises
    ------
    SignalError
        If one is no result, or they cannot be compared.
    """
    chosen = [folder.resolve() for folder in folders]
    names = [folder.name for folder in chosen]
    if len(set(names)) < len(names):
        names = [f"{folder.parent.name}/{folder.name}" for folder in chosen]
    if len(set(names)) < len(names):
        raise SignalError(f"Two results are called {names[0]!r}. Name each once, or rename a folder.")
    return beside({name: signal_files.read(folder) for name, folder in zip(names, chosen, strict=True)})


def _group_folder(number: int) -> str:
    return f"groups/{number:02d}"  # names of groups are no names of files


# --------------------------------------------------------------------------- page


def _title(what: str, compared: Comparison) -> str:
    over = compared.about["over"]
    return f"{what.capitalize()} that were found in any {over or 'result'}, in the order of average linkage"


def page(compared: Comparison, maps: Mapping[str, str]) -> str:
    """Return the comparison as one HTML page without script; ``maps`` are heat maps as SVG."""
    said = compared.about
    parts = [
        f"<p>Also to know:</p>{bullets(said['notes'])}" if said["notes"] else "",
        section("Groups", _groups(said)),
        section("What is shared", _counts(said)),
        *(section(what.capitalize(), _part(getattr(compared, what), compared, maps[what])) for what in WHAT),
        section("Left out", table(["value", "reason"], [[x["value"], x["reason"]] for x in said["left_out"]]))
        if said["left_out"]
        else "",
        section("How", _how(said)),
    ]
    title = "Signaling side by side" + (f": each {said['over']}" if said["over"] else "")
    return html(title, "\n".join(part for part in parts if part))


def _groups(said: Mapping[str, Any]) -> str:
    rows = []
    for number, group in enumerate(said["groups"]):
        arms = " against ".join(f"{arm['donors']} of {arm['name']}" for arm in group["arms"])
        found = ", ".join(f"{group['tests'][what]['found']:,} {what}" for what in WHAT)
        name = f'<a href="{_group_folder(number)}/{signal_files.REPORT}">{escape(group["name"])}</a>'
        rows.append(
            f"<tr><td>{name}</td><td>{escape(arms)}</td><td>{found}</td><td>{badge(group['verdict'])}</td></tr>"
        )
    return (
        '<div class="scroll"><table><tr><th>group</th><th>donors</th><th>found</th><th>verdict</th></tr>'
        f"{''.join(rows)}</table></div>"
    )


def _counts(said: Mapping[str, Any]) -> str:
    rows = [
        [name, meaning, *(said["sharing"][what][name] for what in WHAT)] for name, meaning in SHARINGS.items()
    ]
    return table(["", "is", *WHAT], rows)


def _part(rows: pa.Table, compared: Comparison, picture: str) -> str:
    groups = list(compared.groups)
    shown = rows.filter(rows["sharing"].is_valid())
    if not len(shown):
        return "<p>None was found in any group.</p>"
    legend = (
        "<p>Red is more in the cases, blue more in the controls, by difference over its error; a dot is what was "
        "found, a cross what a group did not test. Rows and columns are ordered by average linkage.</p>"
    )
    body = [
        [named(row), row["sharing"], *(_value(row, group) for group in groups), row["heterogeneity_q"]]
        for row in shown.slice(0, _ROWS).to_pylist()
    ]
    more = f"<p>{len(shown) - _ROWS:,} more are in the tables.</p>" if len(shown) > _ROWS else ""
    heading = ["", "sharing", *(f"{group}: difference (q)" for group in groups), "q of heterogeneity"]
    return legend + picture + table(heading, body) + more


def _value(row: Mapping[str, Any], group: str) -> str:
    if row[f"q:{group}"] is None:
        return ""
    return f"{row[f'difference:{group}']:.3f} ({row[f'q:{group}']:.2g})"


def _how(said: Mapping[str, Any]) -> str:
    rows = [[name, str(said[name])] for name in ("run", "over", "score", "fdr")]
    rows += [[f"run of {group['name']}", group["run"]] for group in said["groups"]]
    rows += [[f"software: {name}", value] for name, value in sorted(said["software"].items())]
    return table(["", ""], rows)
