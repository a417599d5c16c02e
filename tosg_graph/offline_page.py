"""Pieces of an HTML page that holds no script and loads nothing: text, tables, plots. The same input, the same text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

# In turns; the first two are apart also in grey.
COLOURS = ("#1b6ca8", "#d1782b", "#3f8f5b", "#8a5a9e", "#b3435a", "#6b6b2f", "#2aa1a1", "#7a5230")
WIDTH = 760  # of a plot, in pixels
_VERDICT = {"ok": "#2c7a3f", "caution": "#a86a00", "unreliable": "#b3261e"}
_LETTERS = 38  # of a text in a plot
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 860px; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .2rem .6rem; border-bottom: 1px solid #ddd; }
th { text-align: left; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.verdict { color: #fff; padding: .1rem .6rem; border-radius: .3rem; } .scroll { overflow-x: auto; }
svg { max-width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #333; }
code { background: #f3f3f3; padding: 0 .2rem; }
"""


def html(title: str, body: str) -> str:
    """Return the whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n<h1>{escape(title)}</h1>\n"
        f"{body}\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """Return a part of the page with its heading; nothing where it is empty."""
    return f"<h2>{escape(title)}</h2>\n{body}" if body else ""


def badge(verdict: str) -> str:
    """Return ``ok``, ``caution`` or ``unreliable`` in its colour."""
    return f'<span class="verdict" style="background:{_VERDICT[verdict]}">{verdict}</span>'


def bullets(lines: Iterable[str], none: str = "") -> str:
    """Return a list; ``none`` is what it says where there is nothing to list."""
    said = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{said or (f'<li>{escape(none)}</li>' if none else '')}</ul>"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; numbers are right-aligned, with three decimals where they are not whole."""
    head = "".join(f"<th>{escape(str(name))}</th>" for name in header)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, int | float):
        return (
            f'<td class="n">{value:,}</td>' if isinstance(value, int) else f'<td class="n">{value:,.3f}</td>'
        )
    return f"<td>{escape('' if value is None else str(value))}</td>"


# --------------------------------------------------------------------------- plots


def svg(shapes: Sequence[str], height: float, title: str) -> str:
    """Return a plot `WIDTH` wide."""
    return (
        f'<svg viewBox="0 0 {WIDTH + 20} {height}" width="{WIDTH + 20}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{''.join(shapes)}</svg>"
    )


def colour(place: int) -> str:
    """Return the colour of the arm, model or class at a place."""
    return COLOURS[place % len(COLOURS)]


def bar(x: float, y: float, width: float, height: float, place: int) -> str:
    """Return a rectangle in the colour of a place."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour(place)}"/>'


def text(x: float, y: float, said: str, anchor: str, fill: str = "#333") -> str:
    """Return a text, cut where it is long."""
    short = said if len(said) <= _LETTERS else f"{said[: _LETTERS - 1]}…"
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="fill:{fill}">{escape(short)}</text>'
