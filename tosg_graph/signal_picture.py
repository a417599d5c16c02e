"""The picture of findings: edges and nodes that carry a difference, in the pathways that were found, as SVG and PNG."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

WIDTH, HEIGHT, MARGIN = 960, 780, 70
_TOP, _BOTTOM = 90, 110  # above and below nodes: the title; names of pathways and the key
PATHWAYS, MEMBERS = 6, 14  # that are drawn of the pathways that were found, and of their leading members
_UP, _DOWN, _FLAT = (178, 60, 30), (27, 90, 150), (235, 235, 230)
_HULLS = ("#f2c879", "#a9d0b6", "#c3b5dc", "#f0b3ae", "#b5cfe6", "#d8d2a0")
_NAMES = ("#8a6414", "#2f6b45", "#5b458f", "#9c3a33", "#2c6391", "#6b6218")  # of the areas, in their order
_ROUNDS = 200  # of the layout
_TETHER = 3  # of the spring that holds parts together; an edge has 1
_AROUND = 22  # pixels from the members of a pathway to the edge of its area
_LETTER = 7.2  # pixels, of a bold name
_SAID = "Colours are differences; areas are pathways that were found, with their leading members"
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # of the key of colours
_ARROWS = (  # of the key: what it says, verb, sign
    ("signals", "SIGNALS_TO", 1),
    ("inhibits", "SIGNALS_TO", -1),
    ("ligand of", "LIGAND_OF", 1),
    ("interacts", "INTERACTS_WITH", 0),
)


@dataclass(frozen=True)
class Drawing:
    """What is drawn where.

    Parameters
    ----------
    ids, names
        Of the nodes.
    place
        float64 ``(n, 2)``, pixels.
    difference
        float64 ``(n,)``, -1 to 1: of the node, as a share of the largest.
    edges
        Source and target node, difference as a share of the largest, sign, verb.
    groups
        Name and member nodes of each pathway, the strongest first.
    title, arms
        What was compared; what cases and controls are called.
    """

    ids: list[str]
    names: list[str]
    place: NDArray[np.float64]
    difference: NDArray[np.float64]
    edges: list[tuple[int, int, float, int, str]]
    groups: list[tuple[str, list[int]]]
    title: str
    arms: tuple[str, str]


def drawing(
    nodes: pa.Table, subgraph: pa.Table, pathways: pa.Table, seed: int, by: str, arms: tuple[str, str]
) -> Drawing:
    """Lay findings out; the same findings and seed, the same picture.

    Parameters
    ----------
    nodes, subgraph, pathways
        Tables of `signal_findings.Findings`.
    by, arms
        Column of the cells, and its values of cases and controls.
    """
    shown = pathways.filter(pathways["found"])
    shown = shown.filter(shown["explained_by"].is_null()).slice(0, PATHWAYS)
    leading = [ids[:MEMBERS] for ids in shown["leading"].to_pylist()]
    ends = {id_: name for end in ("source", "target") for id_, name in _pairs(subgraph, end)}
    known = dict(zip(nodes["id"].to_pylist(), nodes["name"].to_pylist(), strict=True))
    ids = sorted({*ends, *(m for members in leading for m in members)})
    at = {id_: k for k, id_ in enumerate(ids)}
    differences = dict(zip(nodes["id"].to_pylist(), nodes["difference"].to_pylist(), strict=True))
    edges = [
        (at[s], at[t], d, sign or 0, verb)
        for s, t, d, sign, verb in zip(
            *(subgraph[c].to_pylist() for c in ("source_id", "target_id", "difference", "sign", "verb")),
            strict=True,
        )
    ]
    largest = max((abs(d) for *_, d, _, _ in edges), default=0) or 1
    groups = [
        (name, [at[m] for m in at if m in set(all_)])
        for name, all_ in zip(shown["name"].to_pylist(), shown["leading"].to_pylist(), strict=True)
    ]
    values = np.array([differences.get(id_, 0.0) for id_ in ids])
    return Drawing(
        ids,
        [ends.get(id_) or known.get(id_) or id_ for id_ in ids],
        _layout(len(ids), edges, groups, seed),
        values / (np.abs(values).max(initial=0) or 1),
        [(s, t, d / largest, sign, verb) for s, t, d, sign, verb in edges],
        groups,
        f"{by}: {arms[0]} against {arms[1]}",
        arms,
    )


def _pairs(table: pa.Table, end: str) -> Any:
    return zip(table[f"{end}_id"].to_pylist(), table[f"{end}_name"].to_pylist(), strict=True)


def _layout(count: int, edges: Any, groups: Any, seed: int) -> NDArray[np.float64]:
    """Springs along edges, and to a point that each pathway has; scaled to the page."""
    import networkx as nx

    if not count:
        return np.empty((0, 2))
    graph = nx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_edges_from((s, t) for s, t, *_ in edges)
    for number, (_, members) in enumerate(groups):
        graph.add_edges_from(((count + number), m) for m in members)
    # Parts that share nothing would push each other into the corners: a weak spring holds each to one point.
    parts = list(nx.connected_components(graph))
    if len(parts) > 1:
        graph.add_edges_from(("middle", max(part), {"weight": _TETHER}) for part in parts)
    found = nx.spring_layout(graph, seed=seed, iterations=_ROUNDS, k=1.6 / np.sqrt(len(graph)))
    place = np.array([found[k] for k in range(count)])
    low, spread = place.min(axis=0), np.maximum(np.ptp(place, axis=0), 1e-9)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - _TOP - _BOTTOM])
    # Rounded, so that the last digits of another machine's arithmetic do not show.
    scaled: NDArray[np.float64] = np.round(np.array([MARGIN, _TOP]) + (place - low) / spread * room, 1)
    return scaled


def _areas(drawn: Drawing) -> list[NDArray[np.float64]]:
    """Outline of each pathway with members: their convex hull, rounded, `_AROUND` wider."""
    turn = np.arange(32) * np.pi / 16
    circle = _AROUND * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    found = []
    for _, members in drawn.groups:
        points = (drawn.place[members][:, None] + circle).reshape(-1, 2)
        found.append(_outline(points))
    return found


def _names_of_areas(drawn: Drawing) -> list[tuple[float, float, str, str]]:
    """Middle, base line, text and colour of each pathway's name: close below its area, where nothing is written."""
    taken = [
        (x, y + up, 3.2 * len(_short(name, 16)))
        for (x, y), name in zip(drawn.place, drawn.names, strict=True)
        for up in (-13, 4)
    ]
    placed = []
    for number, ((name, _), area) in enumerate(zip(drawn.groups, _areas(drawn), strict=True)):
        if not len(area):
            continue
        said = _short(name, 48)
        half = len(said) * _LETTER / 2
        middle, low = float(area[:, 0].mean()), float(area[:, 1].max()) + 13
        places = [
            (min(max(middle + right, half + 8), WIDTH - half - 8), low + down)
            for down in range(0, 40, 4)
            for right in (0, -40, 40, -80, 80)
        ]
        free = (p for p in places if not any(_covers(p, half, other) for other in taken))
        x, y = next(free, places[0])
        taken.append((x, y, half))
        placed.append((round(x, 1), round(y, 1), said, _NAMES[number % len(_NAMES)]))
    return placed


def _covers(place: tuple[float, float], half: float, other: tuple[float, float, float]) -> bool:
    x, y, width = other
    return abs(place[0] - x) < half + width and abs(place[1] - y) < 13


# --------------------------------------------------------------------------- SVG


def svg(drawn: Drawing) -> str:
    """Return the picture as SVG: colours by difference, arrows by sign, pathways as named areas, and a key."""
    shapes = [
        _MARKERS,
        f'<text x="20" y="30" style="font-size:16px;font-weight:bold">{escape(drawn.title)}</text>',
    ]
    shapes.append(f'<text x="20" y="50" fill="#555">{_SAID}</text>')
    shapes += [_area(area, _HULLS[k % len(_HULLS)]) for k, area in enumerate(_areas(drawn))]
    shapes += [_edge(drawn, *edge) for edge in drawn.edges]
    shapes += [_node(drawn, k) for k in range(len(drawn.ids))]
    shapes += [
        f'<text x="{x}" y="{y}" text-anchor="middle" style="font-weight:bold;fill:{colour}" {_HALO}>'
        f"{escape(said)}</text>"
        for x, y, said, colour in _names_of_areas(drawn)
    ]
    shapes += _key(drawn)
    if not drawn.ids:
        shapes.append(
            f'<text x="{WIDTH // 2}" y="{HEIGHT // 2}" text-anchor="middle">Nothing was found</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(drawn.title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _marker(name: str, path: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" orient="auto" '
        'markerUnits="userSpaceOnUse">'
        f'<path d="{path}" fill="#555" stroke="#555"/></marker>'
    )


_MARKERS = f"<defs>{_marker('activates', 'M0 1 L9 5 L0 9 Z')}{_marker('inhibits', 'M8 0 L10 0 L10 10 L8 10 Z')}</defs>"


_HALO = 'paint-order="stroke" stroke="#fff" stroke-width="3" stroke-linejoin="round"'


def shade(share: float) -> str:
    """Return the colour of a difference, -1 to 1: blue, pale, red."""
    end = _UP if share > 0 else _DOWN
    weight = min(1.0, abs(share)) ** 0.7
    return "#" + "".join(f"{round(a + (b - a) * weight):02x}" for a, b in zip(_FLAT, end, strict=True))


def _edge(drawn: Drawing, source: int, target: int, share: float, sign: int, verb: str) -> str:
    a, b = drawn.place[source], drawn.place[target]
    away = b - a
    length = float(np.hypot(*away)) or 1.0
    said = f"{drawn.names[source]} {verb} {drawn.names[target]}"
    return _line(
        a + away / length * 10, b - away / length * 12, shade(share), 1 + 2.5 * abs(share), sign, verb, said
    )


def _line(a: Any, b: Any, colour: str, width: float, sign: int, verb: str, said: str) -> str:
    head = (
        "" if verb == "INTERACTS_WITH" else f' marker-end="url(#{"inhibits" if sign < 0 else "activates"})"'
    )
    dash = ' stroke-dasharray="5 3"' if verb == "LIGAND_OF" else ""
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{colour}" '
        f'stroke-width="{width:.1f}"{dash}{head}><title>{escape(said)}</title></line>'
    )


def _node(drawn: Drawing, k: int) -> str:
    x, y = drawn.place[k]
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="{shade(float(drawn.difference[k]))}" stroke="#444">'
        f"<title>{escape(drawn.ids[k])}</title></circle>"
        f'<text x="{x:.1f}" y="{y - 13:.1f}" text-anchor="middle" style="font-size:10px" {_HALO}>'
        f"{escape(_short(drawn.names[k], 16))}</text>"
    )


def _area(points: NDArray[np.float64], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{path}" fill="{colour}" opacity="0.3"/>' if path else ""


def _key(drawn: Drawing) -> list[str]:
    """What colours and lines mean, along the lower edge."""
    (case, control), y = (_short(arm, 22) for arm in drawn.arms), HEIGHT - 18
    left, right = _key_of_colours()
    shapes = [f'<text x="{left - 8}" y="{y}" text-anchor="end">more in {escape(control)}</text>']
    shapes += [
        f'<rect x="{left + 18 * k}" y="{y - 11}" width="18" height="13" fill="{shade(share)}"/>'
        for k, share in enumerate(_STEPS)
    ]
    shapes.append(f'<text x="{right + 8}" y="{y}">more in {escape(case)}</text>')
    for x, (said, verb, sign) in zip(_key_of_lines(), _ARROWS, strict=True):
        shapes.append(_line((x, y - 4), (x + 28, y - 4), "#777", 1.5, sign, verb, said))
        shapes.append(f'<text x="{x + 36}" y="{y}">{said}</text>')
    return shapes


def _key_of_colours() -> tuple[int, int]:
    """Left and right end, pixels."""
    return 210, 210 + 18 * len(_STEPS)


def _key_of_lines() -> list[int]:
    """Left end of each line, pixels."""
    return [540 + 104 * k for k in range(len(_ARROWS))]


def _outline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convex hull, counter-clockwise (Andrew's monotone chain)."""
    ordered = sorted({(float(x), float(y)) for x, y in points})
    if len(ordered) < 3:
        return np.array(ordered)

    def chain(sequence: list[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for p in sequence:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], p) <= 0:
                kept.pop()
            kept.append(p)
        return kept[:-1]

    return np.array(chain(ordered) + chain(ordered[::-1]))


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# --------------------------------------------------------------------------- PNG


def write_png(drawn: Drawing, path: Path) -> None:
    """Draw the same with matplotlib; without a date, so that the same findings give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.axis("off")
    halo = [withStroke(linewidth=2, foreground="white")]
    axes.text(20, 30, drawn.title, weight="bold", size=10)
    axes.text(20, 50, _SAID, size=7, color="#555")
    for k, area in enumerate(_areas(drawn)):
        if len(area):
            axes.fill(*area.T, color=_HULLS[k % len(_HULLS)], alpha=0.3, linewidth=0)
    for source, target, share, sign, verb in drawn.edges:
        _arrow(
            axes, drawn.place[source], drawn.place[target], shade(share), 0.8 + 1.6 * abs(share), sign, verb
        )
    colours = [shade(float(d)) for d in drawn.difference]
    axes.scatter(
        drawn.place[:, 0], drawn.place[:, 1], s=55, c=colours, edgecolors="#444", linewidths=0.6, zorder=3
    )
    for (x, y), name in zip(drawn.place, drawn.names, strict=True):
        axes.text(x, y - 12, _short(name, 16), ha="center", size=6, zorder=4, path_effects=halo)
    for x, y, said, colour in _names_of_areas(drawn):
        axes.text(x, y, said, ha="center", weight="bold", size=6.5, color=colour, zorder=5, path_effects=halo)
    _png_key(axes, drawn)
    if not drawn.ids:
        axes.text(WIDTH / 2, HEIGHT / 2, "Nothing was found", ha="center")
    figure.savefig(path, metadata={"Software": None})


def _arrow(axes: Any, a: Any, b: Any, colour: str, width: float, sign: int, verb: str) -> None:
    style = "-" if verb == "INTERACTS_WITH" else "|-|,widthA=0,widthB=0.3" if sign < 0 else "-|>"
    look = {
        "arrowstyle": style,
        "color": colour,
        "lw": width,
        "shrinkA": 5,
        "shrinkB": 6,
        "linestyle": "--" if verb == "LIGAND_OF" else "-",
    }
    axes.annotate("", xy=b, xytext=a, arrowprops=look)


def _png_key(axes: Any, drawn: Drawing) -> None:
    (case, control), y = (_short(arm, 22) for arm in drawn.arms), HEIGHT - 18
    left, right = _key_of_colours()
    axes.text(left - 8, y, f"more in {control}", ha="right", size=7)
    for k, share in enumerate(_STEPS):
        x = left + 18 * k
        axes.fill([x, x + 18, x + 18, x], [y - 11, y - 11, y + 2, y + 2], color=shade(share), linewidth=0)
    axes.text(right + 8, y, f"more in {case}", size=7)
    for x, (said, verb, sign) in zip(_key_of_lines(), _ARROWS, strict=True):
        _arrow(axes, (x - 6, y - 4), (x + 36, y - 4), "#777", 1.0, sign, verb)
        axes.text(x + 38, y, said, size=7)
