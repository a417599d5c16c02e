"""Findings of several groups as a clustered heat map, in SVG; the same tables give the same text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from tosg_graph.signal_picture import shade

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 40  # of a map: what is shared first
FULL = 5.0  # errors from no difference at which a colour is full
_CELL, _ROW, _LEFT, _TREE, _NAMES = 46, 16, 330, 104, 100  # pixels
_TITLE, _KEY, _WIDEST = 44, 34, 670  # of it above the tree; below names; room for both


def heat_map(table: pa.Table, groups: Sequence[str], title: str) -> str:
    """Return the map of what was found in any group: rows and columns in the order of average linkage.

    Red is more in the cases, blue more in the controls, by difference over its error; a dot is what was found, a
    cross what a group did not test.

    Parameters
    ----------
    table
        As `signal_sharing.side_by_side` returns.
    """
    shown = table.filter(table["sharing"].is_valid()).slice(0, ROWS)
    if not len(shown):
        return ""
    deviation = np.stack([_deviation(shown, group) for group in groups])  # (G, R)
    found = [set(names) for names in shown["found_in"].to_pylist()]
    columns, tree = order(np.nan_to_num(deviation))
    rows, _ = order(np.nan_to_num(deviation.T))
    width = max(_LEFT + _CELL * len(groups) + 20, _WIDEST)
    height = _TREE + _ROW * len(rows) + _NAMES + _KEY
    shapes = [
        f'<text x="16" y="24" style="font-size:14px;font-weight:bold">{escape(title)}</text>',
        *_key(height - 14),
        *(_branch(join) for join in tree),
    ]
    for y, row in enumerate(rows):
        shapes.append(_text(_LEFT - 8, _TREE + _ROW * y + 12, _name(shown, row), "end"))
        for x, g in enumerate(columns):
            shapes.append(_cell(x, y, float(deviation[g, row]), groups[g] in found[row]))
    for x, g in enumerate(columns):
        at = (_LEFT + _CELL * (x + 0.5), _TREE + _ROW * len(rows) + 12)
        shapes.append(
            f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="end" '
            f'transform="rotate(-45 {at[0]:.1f} {at[1]:.1f})">{escape(_short(groups[g], 20))}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="sans-serif" font-size="11"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def order(values: Floats) -> tuple[list[int], list[tuple[float, float, float, float, float]]]:
    """Order of the rows of ``(n, m)`` values by average linkage, and the tree above them.

    Returns
    -------
    Places, and per join: first and second x in units of a row, their heights, and the height of the join, all as a
    share of the highest.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(values) < 2:
        return list(range(len(values))), []
    joins = linkage(values, "average", optimal_ordering=True)
    leaves = leaves_list(joins).tolist()
    top = joins[:, 2].max() or 1.0
    place = {leaf: (at + 0.5, 0.0) for at, leaf in enumerate(leaves)}
    tree = []
    for number, (a, b, height, _) in enumerate(joins.tolist()):
        (x1, y1), (x2, y2) = place[int(a)], place[int(b)]
        place[len(values) + number] = ((x1 + x2) / 2, height / top)
        tree.append((x1, x2, y1, y2, height / top))
    return leaves, tree


def _deviation(table: pa.Table, group: str) -> Floats:
    difference, error = (
        table[f"{name}:{group}"].to_numpy().astype(np.float64) for name in ("difference", "error")
    )
    known = error > 0
    # A difference of nothing has no error; what was not tested has no difference.
    deviation: Floats = np.where(known, difference / np.where(known, error, 1.0), difference)
    return deviation


def _branch(join: tuple[float, float, float, float, float]) -> str:
    x1, x2, y1, y2, top = join
    tall = _TREE - _TITLE - 6
    left, right = (_LEFT + _CELL * x for x in (x1, x2))
    low, high = ([_TREE - 6 - y * tall for y in (y1, y2)], _TREE - 6 - top * tall)
    return (
        f'<path d="M{left:.1f} {low[0]:.1f}V{high:.1f}H{right:.1f}V{low[1]:.1f}" fill="none" stroke="#777"/>'
    )


def _key(y: float) -> list[str]:
    """What colours, dots and crosses mean, on one line."""
    steps = np.linspace(-1, 1, 5)
    shapes = [_text(110, y, f"controls, −{FULL:g} errors", "end")]
    shapes += [
        f'<rect x="{118 + 22 * k}" y="{y - 10}" width="22" height="12" fill="{shade(float(share))}"/>'
        for k, share in enumerate(steps)
    ]
    shapes += [
        _text(236, y, f"cases, +{FULL:g} errors: difference / its error", "start"),
        f'<circle cx="520" cy="{y - 4}" r="2.5" fill="#222"/>',
        _text(528, y, "found", "start"),
        f'<text x="582" y="{y}" text-anchor="middle" fill="#999">×</text>',
        _text(590, y, "not tested", "start"),
    ]
    return shapes


def _cell(x: int, y: int, deviation: float, found: bool) -> str:
    left, top = _LEFT + _CELL * x, _TREE + _ROW * y
    middle = (left + _CELL / 2, top + _ROW / 2)
    if np.isnan(deviation):
        return f'<text x="{middle[0]:.1f}" y="{top + 12}" text-anchor="middle" fill="#999">×</text>'
    said = (
        f'<rect x="{left}" y="{top}" width="{_CELL - 1}" height="{_ROW - 1}" fill="{shade(deviation / FULL)}">'
        f"<title>{deviation:.1f}</title></rect>"
    )
    return said + (
        f'<circle cx="{middle[0]:.1f}" cy="{middle[1]:.1f}" r="2.5" fill="#222"/>' if found else ""
    )


def _name(table: pa.Table, row: int) -> str:
    return _short(named({name: table[name][row].as_py() for name in table.column_names[:8]}), 52)


def named(row: Mapping[str, Any]) -> str:
    """Return what a row of `signal_sharing.side_by_side` is called."""
    if "verb" in row:
        arrow = {"INTERACTS_WITH": "—"}.get(row["verb"], "⊣" if row["sign"] == -1 else "→")
        return f"{row['source_name']} {arrow} {row['target_name']}"
    return str(row["name"])


def _text(x: float, y: float, said: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(said)}</text>'


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
