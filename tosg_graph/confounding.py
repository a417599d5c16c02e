"""How far a difference between arms can be trusted: thresholds, and the reasons why one of them is crossed.

docs/comparisons.md explains every figure and threshold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Judged = tuple[str, str]
"""Verdict and reason."""

VERDICTS = ("ok", "caution", "unreliable")
THRESHOLDS = {
    "donors_caution": 5,  # fewer known donors in an arm
    "donors_unreliable": 2,
    "unknown_donors_caution": 0.2,  # larger share of an arm's cells
    "unknown_donors_unreliable": 0.5,
    "top_donor_caution": 0.5,  # larger share of an arm's cells
    "top_donor_unreliable": 0.8,
    "shared_caution": 0.5,  # smaller share of an arm's cells in values that both arms have
    "shared_unreliable": 0.1,
    "depth_caution": 0.8,  # smaller ratio of median counts
    "depth_unreliable": 0.5,
    "smd_caution": 0.25,  # larger difference
}


def worst(verdicts: Iterable[str]) -> str:
    """Return the most severe of some verdicts; ``ok`` for none."""
    return max(verdicts, key=VERDICTS.index, default="ok")


def judge(found: Mapping[str, Any], pseudo: Sequence[str]) -> list[Judged]:
    """Judge arms, worst first; one arm by its donors.

    Parameters
    ----------
    found
        What `diagnostics.compare` counted.
    pseudo
        Donors that are no person.
    """
    judged = [judged for name, arm in found["arms"].items() for judged in _judge_donors(name, arm)]
    judged += _judge_people(pseudo)
    if len(found["arms"]) > 1:
        judged += judge_overlap(found)
        judged += _judge_depth(found["depth_ratio"])
        judged += _judge_balance(found["balance"])
    return _worst_first(judged)


def judge_overlap(found: Mapping[str, Any]) -> list[Judged]:
    """Judge what sets arms apart beside what they are made by: their datasets, assays and suspensions."""
    return [
        judged for column, overlap in found["overlap"].items() for judged in _judge_column(column, overlap)
    ]


def _worst_first(judged: Iterable[Judged]) -> list[Judged]:
    return sorted(judged, key=lambda item: -VERDICTS.index(item[0]))


def _judge_people(pseudo: Sequence[str]) -> list[Judged]:
    return [
        ("caution", f"the donor {who} is no person: a pseudo-donor hides how people differ") for who in pseudo
    ]


def _judge_donors(name: str, arm: Mapping[str, Any]) -> list[Judged]:
    judged = []
    if arm["donors"] < THRESHOLDS["donors_caution"]:
        few = arm["donors"] < THRESHOLDS["donors_unreliable"]
        said = {0: "no known donor", 1: "one known donor"}.get(arm["donors"], f"{arm['donors']} known donors")
        judged.append(("unreliable" if few else "caution", f"{name} has {said}, too few to compare people"))
    judged += _above(
        arm["unknown_donor_share"], "unknown_donors", f"of the cells of {name} have no known donor"
    )
    top = f"of the cells of {name} are of one donor, {arm['top_donor']}"
    judged += _above(arm["top_donor_share"], "top_donor", top)
    per_donor = arm["median_cells_per_donor"]
    if arm["donors"] > 1 and per_donor is not None and per_donor <= 1:
        judged.append(
            (
                "caution",
                f"half of the donors of {name} or more have one cell or metacell: the spread within a donor is unknown",
            )
        )
    return judged


def _above(share: float | None, rule: str, said: str) -> list[Judged]:
    if share is None or share <= THRESHOLDS[f"{rule}_caution"]:
        return []
    verdict = "unreliable" if share > THRESHOLDS[f"{rule}_unreliable"] else "caution"
    return [(verdict, f"{100 * share:.0f} % {said}")]


def _judge_column(column: str, overlap: Mapping[str, Any]) -> list[Judged]:
    if overlap["jaccard"] is None:
        known = [arm for arm, values in overlap["values"].items() if values]
        return [("caution", f"{column} is known of {', '.join(known)} alone")] if known else []
    if overlap["jaccard"] == 0:
        return [("unreliable", f"the arms share no {column}: its effect cannot be told from theirs")]
    arm, share = min(overlap["shared"].items(), key=lambda item: item[1])
    if share < THRESHOLDS["shared_caution"]:
        verdict = "unreliable" if share < THRESHOLDS["shared_unreliable"] else "caution"
        other = "the other" if len(overlap["shared"]) == 2 else "another"
        said = f"{100 * share:.0f} % of the cells of {arm} have a value of {column} that {other} arm has too"
        return [(verdict, said)]
    return []


def _judge_depth(ratio: float | None) -> list[Judged]:
    if ratio is None or ratio >= THRESHOLDS["depth_caution"]:
        return []
    verdict = "unreliable" if ratio < THRESHOLDS["depth_unreliable"] else "caution"
    return [(verdict, f"the median counts of the arms are as {ratio:.2f} to 1")]


def _judge_balance(balance: Sequence[Mapping[str, Any]]) -> list[Judged]:
    off = [x for x in balance if x["smd"] is None or abs(x["smd"]) > THRESHOLDS["smd_caution"]]
    off = [x for x in off if x["kind"] == "share" or x["smd"] is not None]
    columns = list(dict.fromkeys(x["column"] for x in off))
    if not columns:
        return []
    worst_of = [max(_size(x) for x in off if x["column"] == column) for column in columns]
    said = ", ".join(
        f"{c} {d:.2f}" if d < math.inf else f"{c} wholly" for c, d in zip(columns, worst_of, strict=True)
    )
    return [
        ("caution", f"the arms differ in {said} (standardised difference above {THRESHOLDS['smd_caution']})")
    ]


def _size(line: Mapping[str, Any]) -> float:
    return math.inf if line["smd"] is None else abs(line["smd"])
