"""The evidence of findings as text for a language model: Markdown or JSON of bounded length."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from tosg_graph.errors import SignalError
from tosg_graph.signal_evidence import MOST

Format = Literal["markdown", "json"]
LISTS = ("pathways", "edges", "nodes")
_VERBS = {
    ("SIGNALS_TO", 1): "activates",
    ("SIGNALS_TO", -1): "inhibits",
    ("SIGNALS_TO", 0): "signals to",
    ("LIGAND_OF", 0): "is a ligand of",
    ("INTERACTS_WITH", 0): "interacts with",
}


def prompt(evidence: Mapping[str, Any], *, chars: int, format: Format = "markdown") -> str:
    """Return as many pathways, edges and nodes as fit, as many of each, and how many are left out.

    Parameters
    ----------
    evidence
        Of `signal_evidence.evidence`.
    chars
        At most so many characters.

    Raises
    ------
    SignalError
        If not even the question, the verdict and the limits fit.
    """
    write: Callable[[Mapping[str, Any]], str] = _json if format == "json" else markdown
    for most in range(MOST, -1, -1):
        text = write(_limited(evidence, most))
        if len(text) <= chars:
            return text
    raise SignalError(
        f"chars={chars:,} is too few: the question, its verdict and what cannot be concluded take {len(text):,}. "
        f"Allow {len(text):,} or more."
    )


def _limited(evidence: Mapping[str, Any], most: int) -> dict[str, Any]:
    shown = {name: evidence[name][:most] for name in LISTS}
    return {
        **evidence,
        "found_but_not_shown": {
            name: evidence["tests"][name]["found"] - sum(row.get("found", True) for row in shown[name])
            for name in LISTS
        },
        **shown,
    }


def _json(evidence: Mapping[str, Any]) -> str:
    return json.dumps(evidence, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def markdown(evidence: Mapping[str, Any]) -> str:
    """Return evidence in words."""
    return "\n".join(_lines(evidence)) + "\n"


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    case, control = (arm["name"] for arm in said["compared"]["arms"])
    yield f"# What differs between {case} and {control}"
    yield ""
    yield from (f"- {line}" for line in _head(said))
    yield from _listed("Verdict", [f"**{said['verdict']}**", *said["reasons"], *said["notes"]])
    yield from _listed("What cannot be concluded", said["not_to_be_concluded"])
    yield from _listed("What is missing here", said["missing"])
    yield from _listed("How to read the numbers", [f"{k}: {text}" for k, text in said["scales"].items()])
    hidden = said["found_but_not_shown"]
    for name, write in (("pathways", _pathway), ("edges", _edge), ("nodes", _node)):
        yield from ("", f"## {name.capitalize()}", "")
        yield from (line for row in said[name] for line in write(row, case, control))
        tests = said["tests"][name]
        more = f", {hidden[name]:,} of them not shown" if hidden[name] else ""
        yield f"{tests['found']:,} of {tests['tested']:,} tested were found{more}."


def _head(said: Mapping[str, Any]) -> Iterator[str]:
    asked = said["question"]
    arms = " against ".join(
        f"{arm['donors']} donors ({arm['cells']:,} cells) of {arm['name']}"
        for arm in said["compared"]["arms"]
    )
    own = ", each donor with itself" if said["compared"]["each_donor_with_itself"] else ""
    within = f", within {asked['within']}" if asked["within"] else ""
    yield f"Compared by {asked['by']}{within}: {arms}{own}; donors are the units."
    yield f"Found: at a rate of false discoveries of {asked['rate_of_false_discoveries']:g}, of each kind separately."
    yield f"Run {said['run']}, knowledge of {said['graph_release']}, score: {asked['score']}."


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "", *(f"- {line}" for line in lines))


def _pathway(row: Mapping[str, Any], case: str, control: str) -> Iterator[str]:
    yield f"- **{row['name']}** ({row['id']}): {row['kind']} in {case}, {_rates(row)}, {row['tested']} members tested"
    if row["explained_by"]:
        yield f"  - explained by the stronger {row['explained_by']}"
    if row["same_as"]:
        yield f"  - has the same tested members as {', '.join(row['same_as'])}"
    more = row["leading_known"] - len(row["leading"])
    names = ", ".join(member["name"] or member["id"] for member in row["leading"])
    yield f"  - led by {names or 'no single member'}{f' and {more} more' if more else ''}"
    yield from (f"  {line}" for edge in row["edges"] for line in _edge(edge, case, control))


def _edge(row: Mapping[str, Any], case: str, control: str) -> Iterator[str]:
    verb = _VERBS.get((row["verb"], row["sign"]), f"{row['verb']} (sign {row['sign']})")
    found = "" if row["found"] else ", not found by itself"
    yield (
        f"- {_called(row['source'])} {verb} {_called(row['target'])}: {_means(row, case, control)}, {_rates(row)}"
        f"{found}; stated by {', '.join(row['stated_by'])}{_papers(row)}"
    )


def _node(row: Mapping[str, Any], case: str, control: str) -> Iterator[str]:
    found = "" if row["found"] else ", not found by itself"
    means = f"{_means(row, case, control)}{_shares(row, case, control)}"
    yield f"- **{_called(row)}**, {row['type']}: {means}, {_rates(row)}{found}"
    if row.get("text"):
        yield f"  - {row['text']}"
    for kind in ("drugs", "diseases"):
        if kept := row.get(kind):
            known = row[f"{kind}_known"]
            more = f" and {known - len(kept):,} more" if known > len(kept) else ""
            yield f"  - {kind}: {'; '.join(_other(x) for x in kept)}{more}"


def _other(row: Mapping[str, Any]) -> str:
    how = f" ({', '.join(row['how'])})" if row["how"] else ""
    return f"{_called(row)}{how}, stated by {', '.join(row['stated_by'])}"


def _called(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['id']})" if row["name"] else str(row["id"])


def _rates(row: Mapping[str, Any]) -> str:
    return f"difference {row['difference']:+.3g}, p {row['p']:.2g}, q {row['q']:.2g}"


def _means(row: Mapping[str, Any], case: str, control: str) -> str:
    return f"{row['mean_case']:.3g} in {case}, {row['mean_control']:.3g} in {control}"


def _shares(row: Mapping[str, Any], case: str, control: str) -> str:
    if row["fraction_case"] is None:
        return ""
    return f"; in {row['fraction_case']:.0%} and {row['fraction_control']:.0%} of the cells"


def _papers(row: Mapping[str, Any]) -> str:
    if not row["publications"]:
        return ""
    more = row["publications_known"] - len(row["publications"])
    return f" [{', '.join(row['publications'])}{f' and {more} more' if more else ''}]"
