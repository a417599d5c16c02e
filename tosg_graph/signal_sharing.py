"""Findings of several groups side by side: what they share, and what is of one group alone.

That something is found in one group and not in another does not say that the groups differ (Gelman and Stern 2006,
doi:10.1198/000313006X152649): the second may have had fewer donors. So what is `SPECIFIC` is tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.donor_tests import benjamini_hochberg

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

SHARED, OPPOSITE, SPECIFIC, UNCLEAR, ALONE = "shared", "opposite", "specific", "unclear", "tested in one"
SHARINGS = {
    SHARED: "found in two groups or more, the same way",
    OPPOSITE: "found in two groups or more, up in one and down in another",
    SPECIFIC: "found in one group, which differs from every other one",
    UNCLEAR: "found in one group; the others may be like it",
    ALONE: "found in the one group that could test it",
}
NEAR_P = 0.05  # of a group that goes the same way, though nothing is found there
APART = 1.96  # errors between two groups that differ
WHAT = ("pathways", "edges", "nodes")
_NAMES = {
    "nodes": ("id", "name", "type"),
    "edges": ("source_id", "source_name", "verb", "sign", "target_id", "target_name", "sources", "edge_keys"),
}
_KEYS = {"nodes": ("id",), "edges": ("source_id", "verb", "sign", "target_id"), "pathways": ("id",)}
_KINDS = {"up": 1.0, "down": -1.0, "mixed": 0.0}


@dataclass(frozen=True)
class Values:
    """What G groups say of F features.

    Parameters
    ----------
    difference, error, p, q, way
        float64 ``(G, F)``, NaN where a group did not test a feature; ``way`` is 1, -1, or 0 for both at once.
    found
        bool ``(G, F)``.
    """

    difference: Floats
    error: Floats
    p: Floats
    q: Floats
    way: Floats
    found: Bools

    @property
    def tested(self) -> Bools:
        """Which group tested which feature, bool ``(G, F)``."""
        return ~np.isnan(self.p)


def side_by_side(groups: Mapping[str, pa.Table], what: str, fdr: float) -> pa.Table:
    """Return one row per node, edge or pathway that any group tested; what is shared comes first.

    Parameters
    ----------
    groups
        Name -> its table of `signal_findings.Findings`.
    what
        ``nodes``, ``edges`` or ``pathways``.
    fdr
        Rate of false discoveries, of differences between groups too.

    Returns
    -------
    pyarrow.Table
        Names; ``sharing`` (null where nothing is found) and ``found_in``; ``heterogeneity_p`` and ``_q`` of Cochran's
        test; ``difference:GROUP``, ``error:GROUP``, ``p:GROUP``, ``q:GROUP`` of each group.
    """
    import pyarrow as pa

    tables = list(groups.values())
    rows, names = _aligned(tables, what)
    difference, error, group_p, group_q, found = (
        _values(tables, rows, name) for name in ("difference", "error", "p", "q", "found")
    )
    values = Values(difference, error, group_p, group_q, _ways(tables, rows, what), found == 1)
    p = heterogeneity(values)
    q = np.full(len(p), np.nan)
    q[~np.isnan(p)] = benjamini_hochberg(p[~np.isnan(p)])
    said = sharing(values, q, fdr)
    titles = list(groups)
    found_in = [[titles[g] for g in np.flatnonzero(column)] for column in values.found.T]
    columns: dict[str, Any] = dict(names)
    columns["sharing"] = pa.array(said, pa.string())
    columns["found_in"] = pa.array(found_in, pa.list_(pa.string()))
    columns |= {"heterogeneity_p": _nullable(p), "heterogeneity_q": _nullable(q)}
    for g, title in enumerate(titles):
        for name in ("difference", "error", "p", "q"):
            columns[f"{name}:{title}"] = _nullable(getattr(values, name)[g])
    return pa.table(columns).take(_order(values, said))


def heterogeneity(values: Values) -> Floats:
    """p of Cochran's test that all groups have one difference, float64 ``(F,)``; NaN where fewer than two tell."""
    from scipy.special import chdtrc

    known = values.tested & (values.error > 0)
    weight = np.where(known, 1 / np.where(known, values.error, 1.0) ** 2, 0.0)
    difference = np.where(known, values.difference, 0.0)
    total = weight.sum(axis=0)
    mean = (weight * difference).sum(axis=0) / np.where(total > 0, total, 1.0)
    apart = (weight * (difference - mean) ** 2).sum(axis=0)
    count = known.sum(axis=0)
    p: Floats = np.where(count > 1, chdtrc(np.maximum(count - 1, 1), apart), np.nan)
    return p


def sharing(values: Values, heterogeneity_q: Floats, fdr: float) -> list[str | None]:
    """Say of each feature what `SHARINGS` lists; None where no group found it."""
    counts = values.found.sum(axis=0).tolist()
    up, down = (np.where(values.found & (values.way == way), 1, 0).sum(axis=0) for way in (1, -1))
    both = ((up > 0) & (down > 0)).tolist()
    said: list[str | None] = [None] * len(counts)
    for at in np.flatnonzero(counts).tolist():
        if counts[at] > 1:
            said[at] = OPPOSITE if both[at] else SHARED
        elif values.tested[:, at].sum() < 2:
            said[at] = ALONE
        else:
            apart = heterogeneity_q[at] <= fdr and _apart(values, at)  # NaN is not apart
            said[at] = SPECIFIC if apart else UNCLEAR
    return said


def _apart(values: Values, at: int) -> bool:
    """Whether the one group that found it differs from each other one that tested it, none of which goes its way."""
    own = int(np.flatnonzero(values.found[:, at])[0])
    others = np.flatnonzero(values.tested[:, at] & ~values.found[:, at])
    same_way = np.sign(values.difference[others, at]) == np.sign(values.difference[own, at])
    near = (values.p[others, at] <= NEAR_P) & same_way
    between = np.abs(values.difference[others, at] - values.difference[own, at])
    error = np.hypot(values.error[others, at], values.error[own, at])
    return not near.any() and bool((between >= APART * error).all())


# --------------------------------------------------------------------------- rows


def _aligned(tables: list[pa.Table], what: str) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Row of each feature in each table, int64 ``(G, F)``, -1 where it is in none, and the features' names."""
    import pyarrow as pa

    at: dict[Any, list[int]] = {}
    origin: dict[Any, tuple[int, int]] = {}
    for g, table in enumerate(tables):
        for key, row in _keys(table, what):
            at.setdefault(key, [-1] * len(tables))[g] = row
            origin.setdefault(key, (g, row))
    same: dict[tuple[int, ...], list[Any]] = {}
    for key in sorted(at):  # pathways with the same members in every group are one
        same.setdefault(tuple(at[key]), []).append(key)
    rows = np.array(list(same), np.int64).reshape(len(same), len(tables)).T
    if what == "pathways":
        return rows, _pathway_names(tables, list(same.values()))
    first = [origin[keys[0]] for keys in same.values()]
    said = [{name: table[name].to_pylist() for name in _NAMES[what]} for table in tables]
    return rows, {
        name: pa.array([said[g][name][row] for g, row in first], tables[0][name].type)
        for name in _NAMES[what]
    }


def _pathway_names(tables: list[pa.Table], same: list[list[str]]) -> dict[str, Any]:
    """Columns of ids and names; of pathways that are one the first whose name some group gives."""
    import pyarrow as pa

    known = {
        key: name
        for t in tables
        for key, name in zip(t["id"].to_pylist(), t["name"].to_pylist(), strict=True)
    }
    ordered = [sorted(keys, key=lambda key: (key not in known, key)) for keys in same]
    return {
        "id": pa.array([keys[0] for keys in ordered], pa.string()),
        "name": pa.array([known.get(keys[0], keys[0]) for keys in ordered], pa.string()),
        "same_as": pa.array([keys[1:] for keys in ordered], pa.list_(pa.string())),
    }


def _keys(table: pa.Table, what: str) -> Iterator[tuple[Any, int]]:
    keys = list(zip(*(table[name].to_pylist() for name in _KEYS[what]), strict=True))
    for row, key in enumerate(keys):
        yield (key if what == "edges" else key[0]), row
    if what == "pathways":
        for row, others in enumerate(table["same_as"].to_pylist()):
            yield from ((other, row) for other in others)


def _values(tables: list[pa.Table], rows: NDArray[np.int64], name: str) -> Floats:
    found = np.full(rows.shape, np.nan)
    for g, table in enumerate(tables):
        there = rows[g] >= 0
        column = table[name].to_numpy().astype(np.float64)
        found[g, there] = column[rows[g, there]]
    return found


def _ways(tables: list[pa.Table], rows: NDArray[np.int64], what: str) -> Floats:
    if what != "pathways":
        return np.sign(_values(tables, rows, "difference"))
    import pyarrow as pa

    kinds = [pa.array([_KINDS[kind] for kind in table["kind"].to_pylist()], pa.float64()) for table in tables]
    return _values([pa.table({"way": kind}) for kind in kinds], rows, "way")


def _order(values: Values, said: list[str | None]) -> NDArray[np.int64]:
    ranks = {name: rank for rank, name in enumerate(SHARINGS)}
    rank = np.array([ranks[s] if s else len(ranks) for s in said], np.int64)
    smallest = np.nanmin(values.p, axis=0) if len(said) else np.empty(0)
    return np.lexsort((smallest, -values.found.sum(axis=0), rank))


def _nullable(values: Floats) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.float64(), from_pandas=True)
