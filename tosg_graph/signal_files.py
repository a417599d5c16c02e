"""Findings as a folder.

::

    findings.json      what was compared, of whom, how, what was found, and how far it can be trusted
    nodes.parquet      every tested node      edges.parquet      every tested edge
    pathways.parquet   every tested pathway   subgraph.parquet   the edges of the picture
    report.html        the same for people    subgraph.svg, subgraph.png   the picture
    explained.md, explained.json   where asked for: the evidence for language models

The same findings give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tosg_graph import bundle
from tosg_graph.errors import BundleError, SignalError
from tosg_graph.signal_findings import FORMAT_VERSION, Findings
from tosg_graph.signal_page import page
from tosg_graph.signal_picture import drawing, svg, write_png

FINDINGS, REPORT, SVG, PNG = "findings.json", "report.html", "subgraph.svg", "subgraph.png"
EXPLAINED = ("explained.md", "explained.json")
TABLES = ("nodes", "edges", "pathways", "subgraph")


def write(found: Findings, out: Path, more: Mapping[str, str] | None = None) -> Path:
    """Write findings to the new folder ``out``; it is complete or not there.

    Parameters
    ----------
    more
        Further files, name -> text.

    Raises
    ------
    ExportError
        If it exists or cannot be written.
    """
    out = bundle.refuse_existing(out)
    with bundle.new_bundle(out) as folder:
        for name in TABLES:
            bundle.write_table(getattr(found, name), folder / f"{name}.parquet")
        said = found.about
        case, control = (arm["name"] for arm in said["units"]["arms"])
        by = said["contrast"]["by"]
        drawn = drawing(found.nodes, found.subgraph, found.pathways, said["seed"], by, (case, control))
        picture = svg(drawn)
        (folder / SVG).write_text(picture, encoding="utf-8")
        write_png(drawn, folder / PNG)
        (folder / REPORT).write_text(page(found, picture), encoding="utf-8")
        for name, text in (more or {}).items():
            (folder / name).write_text(text, encoding="utf-8")
        about = {**found.about, "files": bundle.checksums(folder)}
        bundle.write_json(about, folder / FINDINGS)
    return out


def read(folder: Path) -> Findings:
    """Read what `write` wrote.

    Raises
    ------
    SignalError
        If it is no such folder, of a newer format, or a table was changed.
    """
    path = folder / FINDINGS
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files, number = dict(about.pop("files")), int(about["format_version"])
    except (FileNotFoundError, NotADirectoryError):
        made = f"tosg signal {folder} --out" if (folder / bundle.MANIFEST).is_file() else "tosg signal --out"
        raise SignalError(
            f"{folder} holds no findings: it has no {FINDINGS}. Make them with {made}."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SignalError(f"{path} cannot be read: {error}. Make it anew with tosg signal --out.") from error
    if about.get("kind"):
        raise SignalError(
            f"{folder} holds findings of several groups. Each has a folder of its own in {folder / 'groups'}."
        )
    if number > FORMAT_VERSION:
        raise SignalError(
            f"{path} has format {number}, this program reads {FORMAT_VERSION}. Upgrade tosg-graph."
        )
    try:
        bundle.verify(folder, {"files": {f"{name}.parquet": files[f"{name}.parquet"] for name in TABLES}})
        tables = {name: bundle.read_table(folder / f"{name}.parquet") for name in TABLES}
    except (BundleError, OSError, KeyError) as error:
        raise SignalError(f"{folder} is damaged: {error}") from error
    return Findings(about, **tables)
