"""One contrast in several groups of cells, such as organs: findings of each, side by side."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tosg_graph.bundle_content import BundleContent
from tosg_graph.errors import SignalError
from tosg_graph.matching import is_unclassified
from tosg_graph.progress import Progress, silent
from tosg_graph.signal_findings import FORMAT_VERSION, Findings, SignalPlan, find
from tosg_graph.signal_scores import Contrast, check_value, texts, units
from tosg_graph.signal_sharing import SHARINGS, WHAT, side_by_side

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "comparison"
_SAME = ("score", "fdr")  # of results that can be set side by side
_REASONS = 3  # why groups cannot be compared, in a message


@dataclass(frozen=True)
class Comparison:
    """What several groups of cells have in common, and what not.

    Parameters
    ----------
    about
        Content of ``findings.json``.
    groups
        Name -> what was found there.
    nodes, edges, pathways
        As `signal_sharing.side_by_side` returns.
    """

    about: dict[str, Any]
    groups: dict[str, Findings]
    nodes: pa.Table
    edges: pa.Table
    pathways: pa.Table

    @property
    def run_id(self) -> str:
        """What the comparison is called in the graph: a hash of its runs."""
        return str(self.about["run"])

    def as_facts(self) -> dict[str, str]:
        """Short lines for people."""
        said = self.about
        facts = {"compared": f"{len(self.groups)} groups: {', '.join(self.groups)}"}
        for what in WHAT:
            counts = said["sharing"][what]
            facts[what] = ", ".join(f"{n:,} {name}" for name, n in counts.items() if n) or "none found"
        if said["left_out"]:
            facts["left out"] = "; ".join(f"{x['value']}: {x['reason']}" for x in said["left_out"])
        verdicts = Counter(group["verdict"] for group in said["groups"])
        facts["verdicts"] = ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items()))
        if said["notes"]:
            facts["to know"] = "; ".join(said["notes"])
        return facts


def compare(
    folder: str | Path, plan: SignalPlan, over: str, *, store: Any = None, progress: Progress = silent
) -> Comparison:
    """Find what differs within each value of the column ``over``, and set it side by side.

    Where ``over`` is the column of the contrast itself, each other value is compared with the control.

    Parameters
    ----------
    plan
        Of each value; the case of its contrast counts for nothing where ``over`` is its column.

    Raises
    ------
    SignalError
        If the plan does not fit the bundle, or fewer than two values have enough donors.
    """
    plan.check()
    contrast = plan.contrast
    if contrast.by == over and contrast.control is None:
        raise SignalError(
            f"--over {over} compares each of its values with one: name it with --control VALUE."
        )
    cells = BundleContent.open(folder).cells
    for asked in (contrast.control, None if contrast.by == over else contrast.case):
        check_value(cells, contrast.by, asked)
    possible, left = _possible(cells, contrast, over)
    if len(possible) < 2:
        reasons = "; ".join(
            f"{x['value']}: {x['reason'].partition(' (left out')[0]}" for x in left[:_REASONS]
        )
        why = reasons or (f"only {next(iter(possible))}" if possible else "it has no value")
        raise SignalError(
            f"{len(possible)} value{'' if len(possible) == 1 else 's'} of {over} can be compared, and two are the "
            f"fewest ({why}). Choose another column, or see tosg signal for one of them."
        )
    groups = {}
    for done, (value, own) in enumerate(possible.items()):
        progress(f"Comparing each {over}", done, len(possible))
        groups[value] = find(folder, replace(plan, contrast=own), store=store)
    progress(f"Comparing each {over}", len(possible), len(possible))
    return beside(groups, over, left)


def beside(groups: Mapping[str, Findings], over: str | None = None, left: Sequence[Any] = ()) -> Comparison:
    """Set findings side by side, whatever they are of.

    Parameters
    ----------
    groups
        Name -> findings, two at least.
    over
        Column whose values the names are.
    left
        ``value`` and ``reason`` of what is not there.

    Raises
    ------
    SignalError
        If there are fewer than two, two are one run, or their scores or rates differ.
    """
    if len(groups) < 2:
        raise SignalError(
            f"{len(groups)} {'result is' if len(groups) == 1 else 'results are'} given, and two are the fewest to "
            "compare. Name more, or a bundle and --over COLUMN."
        )
    first = next(iter(groups.values())).about
    for name, found in groups.items():
        for key in _SAME:
            if found.about[key] != first[key]:
                raise SignalError(
                    f"{name} has {key} = {found.about[key]!r}, another result {first[key]!r}. "
                    f"Compare results of one {key}."
                )
    runs = {name: found.run_id for name, found in groups.items()}
    if len(set(runs.values())) < len(runs):
        twice = Counter(runs.values()).most_common(1)[0][0]
        raise SignalError(f"{twice} is given twice. Name each result once.")
    fdr = float(first["fdr"])
    tables = {
        what: side_by_side({name: getattr(f, what) for name, f in groups.items()}, what, fdr) for what in WHAT
    }
    counts = {what: _counts(table) for what, table in tables.items()}
    about = {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "run": _run_id(over, runs),
        "over": over,
        "fdr": fdr,
        "score": first["score"],
        "groups": [_group(name, found.about) for name, found in groups.items()],
        "left_out": list(left),
        "sharing": counts,
        "notes": _notes(groups, over),
        "software": {name: version(name) for name in ("tosg-graph", "numpy", "scipy", "pyarrow")},
    }
    return Comparison(about, dict(groups), **tables)


def _possible(
    cells: pa.Table, contrast: Contrast, over: str
) -> tuple[dict[str, Contrast], list[dict[str, str]]]:
    """Contrast of each value that has enough donors, and why others have none."""
    values = texts(cells, over)
    known = [value for value in values if value is not None and not is_unclassified(value)]
    possible, left = {}, []
    if unknown := len(values) - len(known):
        left.append({"value": "unknown", "reason": f"{unknown:,} cells without a known {over}"})
    for value in sorted(set(known)):
        if over == contrast.by and value == contrast.control:
            continue
        if over == contrast.by:
            own = replace(contrast, case=value)
        else:
            own = replace(contrast, where=(*contrast.where, (over, value)))
        try:
            units(cells, own)
        except SignalError as error:
            left.append({"value": value, "reason": str(error).partition(". ")[0]})
        else:
            possible[value] = own
    return possible, left


def _counts(table: pa.Table) -> dict[str, int]:
    counted = Counter(table["sharing"].to_pylist())
    return {name: counted[name] for name in SHARINGS}


def _run_id(over: str | None, runs: Mapping[str, str]) -> str:
    said = json.dumps([over, sorted(runs.items())])
    return f"comparison_{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _group(name: str, about: Mapping[str, Any]) -> dict[str, Any]:
    arms = about["units"]["arms"]
    return {
        "name": name,
        "run": about["run"],
        "contrast": about["contrast"],
        "bundle": about["bundle"],
        "arms": arms,
        "tests": about["tests"],
        "verdict": about["verdict"],
        "reasons": about["reasons"],
    }


def _notes(groups: Mapping[str, Findings], over: str | None) -> list[str]:
    donors = Counter(
        (unit["dataset"], unit["donor"])
        for found in groups.values()
        for unit in {(u["dataset"], u["donor"]): u for u in found.about["units"]["donors"]}.values()
    )
    notes = []
    if both := sum(n > 1 for n in donors.values()):
        notes.append(
            f"{both:,} of {len(donors):,} donors are in several groups: that these agree is no "
            "replication by other donors"
        )
    releases = {found.about["bundle"]["graph_release"] for found in groups.values()}
    if len(releases) > 1:
        notes.append(
            f"the results are of {len(releases)} releases of the graph, which may state different edges"
        )
    return notes
