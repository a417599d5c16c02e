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

WIDTH, HEIGHT, MARGIN = 960, 720, 70
PATHWAYS, MEMBERS = 6, 14  # that are drawn of the pathways that were found, and of their leading members
_UP, _DOWN, _FLAT = (178, 60, 30), (27, 90, 150), (235, 235, 230)
_HULLS = ("#f2c879", "#a9d0b6", "#c3b5dc", "#f0b3ae", "#b5cfe6", "#d8d2a0")
_ROUNDS = 200  # of the layout


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
    """

    ids: list[str]
    names: list[str]
    place: NDArray[np.float64]
    difference: NDArray[np.float64]
    edges: list[tuple[int, int, float, int, str]]
    groups: list[tuple[str, list[int]]]


def drawing(nodes: pa.Table, subgraph: pa.Table, pathways: pa.Table, seed: int) -> Drawing:
    """Lay findings out; the same findings and seed, the same picture.

    Parameters
    ----------
    nodes, subgraph, pathways
        Tables of `signal_findings.Findings`.
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
    found = nx.spring_layout(graph, seed=seed, iterations=_ROUNDS, k=1.6 / np.sqrt(len(graph)))
    place = np.array([found[k] for k in range(count)])
    low, spread = place.min(axis=0), np.maximum(np.ptp(place, axis=0), 1e-9)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    # Rounded, so that the last digits of another machine's arithmetic do not show.
    scaled: NDArray[np.float64] = np.round(MARGIN + (place - low) / spread * room, 1)
    return scaled


# --------------------------------------------------------------------------- SVG


def svg(drawn: Drawing, title: str) -> str:
    """Return the picture as SVG: colours by difference, arrows by sign, pathways as named areas."""
    shapes = [_MARKERS]
    shapes += [_hull(drawn, number) for number in range(len(drawn.groups))]
    shapes += [_edge(drawn, *edge) for edge in drawn.edges]
    shapes += [_node(drawn, k) for k in range(len(drawn.ids))]
    shapes += [_group_name(drawn, number) for number in range(len(drawn.groups))]
    if not drawn.ids:
        shapes.append(
            f'<text x="{WIDTH // 2}" y="{HEIGHT // 2}" text-anchor="middle">Nothing was found</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _marker(name: str, path: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="{path}" fill="#555" stroke="#555"/></marker>'
    )


_MARKERS = f"<defs>{_marker('activates', 'M0 1 L9 5 L0 9 Z')}{_marker('inhibits', 'M8 0 L10 0 L10 10 L8 10 Z')}</defs>"


def shade(share: float) -> str:
    """Return the colour of a difference, -1 to 1: blue, pale, red."""
    end = _UP if share > 0 else _DOWN
    weight = min(1.0, abs(share)) ** 0.7
    return "#" + "".join(f"{round(a + (b - a) * weight):02x}" for a, b in zip(_FLAT, end, strict=True))


def _edge(drawn: Drawing, source: int, target: int, share: float, sign: int, verb: str) -> str:
    a, b = drawn.place[source], drawn.place[target]
    away = b - a
    length = float(np.hypot(*away)) or 1.0
    a, b = a + away / length * 10, b - away / length * 12
    head = (
        "" if verb == "INTERACTS_WITH" else f' marker-end="url(#{"inhibits" if sign < 0 else "activates"})"'
    )
    dash = ' stroke-dasharray="5 3"' if verb == "LIGAND_OF" else ""
    width = 1 + 2.5 * abs(share)
    said = escape(f"{drawn.names[source]} {verb} {drawn.names[target]}")
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{shade(share)}" '
        f'stroke-width="{width:.1f}"{dash}{head}><title>{said}</title></line>'
    )


def _node(drawn: Drawing, k: int) -> str:
    x, y = drawn.place[k]
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="9" fill="{shade(float(drawn.difference[k]))}" stroke="#444">'
        f"<title>{escape(drawn.ids[k])}</title></circle>"
        f'<text x="{x:.1f}" y="{y - 13:.1f}" text-anchor="middle">{escape(_short(drawn.names[k], 16))}</text>'
    )


def _hull(drawn: Drawing, number: int) -> str:
    """Area around the members: their hull, widened by a thick round border."""
    points = _outline(drawn.place[drawn.groups[number][1]])
    if not len(points):
        return ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour = _HULLS[number % len(_HULLS)]
    return (
        f'<polygon points="{path}" fill="{colour}" stroke="{colour}" stroke-width="44" stroke-linejoin="round" '
        'opacity="0.3"/>'
    )


def _group_name(drawn: Drawing, number: int) -> str:
    name, members = drawn.groups[number]
    if not members:
        return ""
    points = drawn.place[members]
    x, y = float(points[:, 0].mean()), min(HEIGHT - 8.0, float(points[:, 1].max()) + 32 + 13 * (number % 2))
    return (
        f'<text x="{min(max(x, 150), WIDTH - 150):.1f}" y="{y:.1f}" text-anchor="middle" font-weight="bold" '
        f'fill="#5a4a20">{escape(_short(name, 48))}</text>'
    )


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

    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(HEIGHT, 0)
    axes.axis("off")
    for number, (name, members) in enumerate(drawn.groups):
        points = _outline(drawn.place[members])
        if len(points):
            colour = _HULLS[number % len(_HULLS)]
            axes.fill(*points.T, color=colour, alpha=0.3, linewidth=30, joinstyle="round")
            low = drawn.place[members][:, 1].max() + 32 + 13 * (number % 2)
            axes.text(points[:, 0].mean(), low, _short(name, 48), ha="center", weight="bold", size=7)
    for source, target, share, sign, verb in drawn.edges:
        style = "-" if verb == "INTERACTS_WITH" else "-[,widthB=0.3" if sign < 0 else "-|>"
        axes.annotate(
            "",
            xy=drawn.place[target],
            xytext=drawn.place[source],
            arrowprops={
                "arrowstyle": style,
                "color": shade(share),
                "lw": 0.8 + 1.6 * abs(share),
                "shrinkA": 5,
                "shrinkB": 6,
                "linestyle": "--" if verb == "LIGAND_OF" else "-",
            },
        )
    colours = [shade(float(d)) for d in drawn.difference]
    axes.scatter(
        drawn.place[:, 0], drawn.place[:, 1], s=55, c=colours, edgecolors="#444", linewidths=0.6, zorder=3
    )
    for (x, y), name in zip(drawn.place, drawn.names, strict=True):
        axes.text(x, y - 12, _short(name, 16), ha="center", size=6, zorder=4)
    if not drawn.ids:
        axes.text(WIDTH / 2, HEIGHT / 2, "Nothing was found", ha="center")
    figure.savefig(path, metadata={"Software": None})
