"""What `evaluation.evaluate` found, as one HTML page and as JSON. The page holds no script and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tosg_graph.bundle import write_json
from tosg_graph.errors import EvaluationError
from tosg_graph.metrics import BINS, METRICS, TITLES
from tosg_graph.offline_page import WIDTH, badge, bullets, colour, html, section, svg, table, text

REPORT, COMPARISON = "report", "comparison"
_SIDE = 300  # of a square plot, in pixels
_LEFT = 50  # of it, for numbers
_LINES_LISTED = 60
_CLASSES_DRAWN = 40  # of a confusion matrix
_CELLS_DRAWN = 5  # in a bin of the reliability: the share of fewer jumps from 0 to 1
_MEANING = {
    "ok": "No threshold of the split is crossed.",
    "caution": "Something about the split limits what these figures say of other people; the reasons are below.",
    "unreliable": "These figures say little about other people, whatever their intervals; the reasons are below.",
}

Point = tuple[float, float]


def write(found: Mapping[str, Any], page_path: Path) -> tuple[Path, Path]:
    """Write the page, and the JSON beside it, each complete or not at all; older ones are replaced.

    Returns
    -------
    The page and the JSON.

    Raises
    ------
    EvaluationError
        If they cannot be written, or the page is not named as one.
    """
    data_path = page_path.with_suffix(".json")
    if page_path.suffix.lower() not in (".html", ".htm"):
        raise EvaluationError(
            f"{page_path} is no name of a page; figures go into {data_path.name} beside it. Name the page .html."
        )
    try:
        page_path.parent.mkdir(parents=True, exist_ok=True)
        _replace(data_path, lambda path: write_json(found, path))
        _replace(page_path, lambda path: path.write_text(page(found), encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{page_path} cannot be written: {error.strerror}. Choose another --out."
        ) from error
    return page_path, data_path


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        make(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def page(found: Mapping[str, Any]) -> str:
    """Return the page; the same findings, the same text."""
    models = found["models"]
    parts = [
        _split(found),
        section("What it shows", bullets(found["findings"])),
        section("Models", _models(found)),
        section("Differences", _differences(found)),
        section("ROC and precision-recall curves", _curve_plots(found)),
        section("Calibration", _calibration(models)),
        section("Confusion", "".join(_confusion(model, found["classes"]) for model in models)),
        section("Classes", "".join(_classes(model) for model in models)),
        section("Learning curves", _learning(found["history"])),
        section("Chosen on validation", _chosen(models)),
        section("Cells and donors", _sides(found["runs"])),
        section("How the figures are made", _method(found)),
    ]
    runs = found["runs"]
    title = (
        " against ".join(run["name"] for run in runs)
        if len(runs) > 1
        else f"{runs[0]['label']}, {len(models)} models"
    )
    return html(f"Evaluation: {title}", "\n".join(part for part in parts if part))


# --------------------------------------------------------------------------- words and tables


def _split(found: Mapping[str, Any]) -> str:
    said = []
    for run in found["runs"]:
        whose = f" of {escape(run['name'])}" if len(found["runs"]) > 1 else ""
        said.append(
            f"<p>Verdict of the split{whose}, by {escape(run['split_unit'])}: {badge(run['verdict'])} "
            f"{_MEANING[run['verdict']]}</p>{bullets(run['reasons'])}"
        )
    test = found["test"]
    donors = f" of {test['donors']:,} donors" if test["unit"] == "donor" else ""
    cells = f"<p>{test['cells']:,} test cells{donors}, {len(found['classes'])} classes.</p>"
    return "".join(said) + cells + bullets(test["notes"])


def _models(found: Mapping[str, Any]) -> str:
    rows = [
        [model["model"], len(model["seeds"]), *(interval(model["test"][m]) for m in METRICS), spread(model)]
        for model in found["models"]
    ]
    return table(["model", "seeds", *(TITLES[m] for m in METRICS), "macro-F1 over seeds"], rows)


def interval(figures: Mapping[str, float | None]) -> str:
    """``0.912 [0.880, 0.940]``: mean over seeds, interval over donors."""
    if figures["mean"] is None:
        return "not defined"
    if figures["low"] is None:
        return f"{figures['mean']:.3f}"
    return f"{figures['mean']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"


def spread(model: Mapping[str, Any], metric: str = "macro_f1") -> str:
    """``0.901 to 0.915``: least and largest of the seeds."""
    low, high = (model["test"][metric][name] for name in ("min", "max"))
    return "" if low is None or len(model["seeds"]) < 2 else f"{low:.3f} to {high:.3f}"


def _differences(found: Mapping[str, Any]) -> str:
    rows = [
        [line["model"], line["against"], *(_signed(line["metrics"][m]) for m in METRICS), line["verdict"]]
        for line in found["differences"]
    ]
    return table(["model", "against", *(TITLES[m] for m in METRICS), "by macro-F1"], rows) if rows else ""


def _signed(figures: Mapping[str, Any]) -> str:
    if figures["difference"] is None:
        return "not defined"
    between = "" if figures["low"] is None else f" [{figures['low']:+.3f}, {figures['high']:+.3f}]"
    return f"{figures['difference']:+.3f}{between}"


def _classes(model: Mapping[str, Any]) -> str:
    header = ["class", "cells", "precision", "recall", "F1", "F1 interval", "AUROC", "AUPRC"]
    rows = [
        [
            line["class"],
            line["cells"],
            *(line[name] for name in ("precision", "recall", "f1")),
            "" if line["f1_low"] is None else f"[{line['f1_low']:.3f}, {line['f1_high']:.3f}]",
            line["auroc"],
            line["auprc"],
        ]
        for line in model["by_class"]
    ]
    return f"<p>{escape(model['model'])}, mean over {len(model['seeds'])} seeds</p>{table(header, rows)}"


def _chosen(models: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for model in models:
        said = "; ".join(
            f"seed {line['seed']}: "
            + (", ".join(f"{k} {v}" for k, v in line.items() if k != "seed") or "nothing")
            for line in model["chosen"]
        )
        val = None if model["val"] is None else model["val"]["macro_f1"]
        rows.append([model["model"], val, said, model["parameters"], model["seconds"]])
    header = ["model", "macro-F1 on val", "chosen", "parameters", "seconds per seed"]
    return table(header, rows)


def _sides(runs: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for run in runs:
        sides = run["splits"]
        rows = [
            ["cells", *(side["cells"] for side in sides.values())],
            ["known donors", *(len(side["cells_of_donors"]) for side in sides.values())],
            ["cells of unknown donors", *(side["unknown_donor_cells"] for side in sides.values())],
            [
                "cells of the largest donor",
                *(max(side["cells_of_donors"].values(), default=0) for side in sides.values()),
            ],
        ]
        labels = next(iter(sides.values()))["labels"]
        rows += [[name, *(side["labels"][name] for side in sides.values())] for name in labels]
        whose = f"<p>{escape(run['name'])}</p>" if len(runs) > 1 else ""
        parts.append(whose + table(["", *sides], rows) + _donors(sides))
    return "".join(parts)


def _donors(sides: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [name, donor, cells]
        for name, side in sides.items()
        for donor, cells in sorted(side["cells_of_donors"].items(), key=lambda item: (-item[1], item[0]))
    ]
    more = (
        f"<p>{len(rows) - _LINES_LISTED:,} more donors are in run.json.</p>"
        if len(rows) > _LINES_LISTED
        else ""
    )
    return table(["split", "donor", "cells"], rows[:_LINES_LISTED]) + more if rows else ""


def _method(found: Mapping[str, Any]) -> str:
    made = found["bootstrap"]
    unit = "donors" if found["test"]["unit"] == "donor" else "cells"
    return bullets(
        [
            f"Intervals: {100 * made['level']:.0f} %, percentiles of {made['resamples']:,} resamples of the {unit} of "
            f"the test cells, seed {made['seed']}. All models have the same resamples.",
            "Figures are means over seeds. Intervals do not hold what seeds differ by, which stands beside them.",
            "A difference counts where its interval leaves out zero and every seed has its sign. Many differences are "
            "looked at: one in twenty would leave out zero by chance.",
            "Macro-F1, AUROC (one against the rest) and AUPRC are means over the classes that have test cells.",
            f"ECE: {BINS} bins of equal width of the largest probability. Brier: sum over classes, 0 to 2.",
            "Everything was chosen on validation cells; the test cells were predicted once.",
            *(f"{run['name']}: bundle {run['bundle_sha256'][:16]}" for run in found["runs"]),
        ]
    )


# --------------------------------------------------------------------------- plots


def _axes(
    left: float, top: float, labels: tuple[str, str], ticks: Sequence[str] = ("0", "0.5", "1")
) -> Iterator[str]:
    """Yield the frame of a square plot of what lies between 0 and 1."""
    yield f'<rect x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#bbb"/>'
    for place, said in enumerate(ticks):
        share = place / (len(ticks) - 1)
        yield text(round(left + _SIDE * share, 1), top + _SIDE + 16, said, "middle")
        yield text(left - 6, round(top + _SIDE * (1 - share) + 4, 1), said, "end")
    yield text(left + _SIDE / 2, top + _SIDE + 32, labels[0], "middle")
    yield text(left, top - 6, labels[1], "start")


def _line(points: Sequence[Point], left: float, top: float, place: int) -> str:
    at = [(f"{left + _SIDE * x:.1f}", f"{top + _SIDE * (1 - y):.1f}") for x, y in points]
    if len(at) == 1:
        return f'<circle cx="{at[0][0]}" cy="{at[0][1]}" r="4" fill="{colour(place)}"/>'
    path = " ".join(",".join(point) for point in at)
    return f'<polyline points="{path}" fill="none" stroke="{colour(place)}" stroke-width="2"{_dash(place)}/>'


def _dash(place: int) -> str:
    """Tell lines apart whose colours repeat."""
    return "" if place < 8 else ' stroke-dasharray="6 3"' if place < 16 else ' stroke-dasharray="2 3"'


def _legend(names: Sequence[str], top: float) -> Iterator[str]:
    for place, name in enumerate(names):
        x, y = _LEFT + 370 * (place % 2), top + 18 * (place // 2)
        line = f'x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}"'
        yield f'<line {line} stroke="{colour(place)}" stroke-width="3"{_dash(place)}/>'
        yield text(x + 30, y + 4, name, "start")


def _pair(
    plots: Sequence[tuple[tuple[str, str], Sequence[Sequence[Point]]]],
    names: Sequence[str],
    title: str,
    *,
    diagonal: bool = False,
) -> str:
    """Draw two square plots beside each other, with one legend; ``diagonal``: of equal shares, in the first."""
    shapes: list[str] = []
    top = 24
    for place, (labels, lines) in enumerate(plots):
        left = _LEFT + place * (WIDTH // 2)
        shapes += _axes(left, top, labels)
        if diagonal and not place:
            ends = f'x1="{left}" y1="{top + _SIDE}" x2="{left + _SIDE}" y2="{top}"'
            shapes.append(f'<line {ends} stroke="#bbb"/>')
        shapes += [_line(points, left, top, k) for k, points in enumerate(lines) if points]
    shapes += _legend(names, top + _SIDE + 60)
    return svg(shapes, top + _SIDE + 60 + 18 * -(-len(names) // 2), title)


_CURVES = {
    "roc": ("false-positive rate", "true-positive rate"),
    "pr": ("recall", "precision"),
}


def _curve_plots(found: Mapping[str, Any]) -> str:
    from tosg_graph.evaluation import GRID

    models = [model for model in found["models"] if model["curves"]["roc"]["mean"]]
    if not models:
        return ""

    def points(values: Sequence[float] | None) -> list[Point]:
        return [] if values is None else list(zip(GRID, values, strict=True))

    all_models = [
        (axes, [points(m["curves"][kind]["mean"]) for m in models]) for kind, axes in _CURVES.items()
    ]
    parts = [
        "<p>Means over the classes, of the first seed of each model.</p>",
        _pair(all_models, [m["model"] for m in models], "Curves of the models"),
    ]
    judged = found["differences"][0]["model"] if found["differences"] else None
    main = next((m for m in models if m["model"] == judged), models[0])
    each = [(axes, [points(v) for v in main["curves"][kind]["by_class"]]) for kind, axes in _CURVES.items()]
    parts += [
        f"<p>{escape(main['model'])}, seed {main['shown_seed']}, by class</p>",
        _pair(each, found["classes"], f"Curves of {main['model']}"),
    ]
    return "".join(parts)


def _calibration(models: Sequence[Mapping[str, Any]]) -> str:
    """Draw the share that is right by the probability of the predicted class, and how many cells have which."""
    lines, sizes = [], []
    for model in models:
        bins = model["reliability"]
        whole = sum(bins["cells"]) or 1
        known = [
            (confidence, right, cells)
            for confidence, right, cells in zip(
                bins["confidence"], bins["accuracy"], bins["cells"], strict=True
            )
            if right is not None
        ]
        lines.append([(confidence, right) for confidence, right, cells in known if cells >= _CELLS_DRAWN])
        sizes.append([(confidence, cells / whole) for confidence, _, cells in known])
    plots = [
        (("probability of the predicted class", "share that is right"), lines),
        (("probability of the predicted class", "share of the cells"), sizes),
    ]
    said = (
        "<p>Of the first seed of each model. Below the diagonal a model is surer than it should be. Bins of fewer than "
        f"{_CELLS_DRAWN} cells are left out on the left.</p>"
    )
    return said + _pair(plots, [model["model"] for model in models], "Reliability", diagonal=True)


def _confusion(model: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Draw how the cells of each class are predicted; colour is the share of the row."""
    said = f"<p>{escape(model['model'])}, seed {model['shown_seed']}: rows are true, columns predicted</p>"
    if len(classes) > _CLASSES_DRAWN:
        return said + f"<p>{len(classes)} classes are too many to draw; the counts are in the JSON.</p>"
    label, top = 250, 30
    cell = min(56.0, (WIDTH - label) / len(classes))
    shapes = []
    for row, (name, counts) in enumerate(zip(classes, model["confusion"], strict=True)):
        y, whole = top + cell * row, sum(counts)
        shapes.append(text(label - 8, round(y + cell / 2 + 4, 1), f"{row + 1} {name}", "end"))
        shapes.append(text(round(label + cell * (row + 0.5), 1), top - 8, str(row + 1), "middle"))
        for column, count in enumerate(counts):
            share = count / whole if whole else 0.0
            x = label + cell * column
            shapes.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill="{colour(0)}" '
                f'fill-opacity="{share:.3f}" stroke="#ddd"/>'
            )
            if count and cell > 22:
                fill = "#fff" if share > 0.5 else "#333"
                shapes.append(
                    text(round(x + cell / 2, 1), round(y + cell / 2 + 4, 1), f"{count:,}", "middle", fill)
                )
    return said + svg(shapes, top + cell * len(classes) + 10, f"Confusion of {model['model']}")


def _learning(history: Sequence[Mapping[str, Any]]) -> str:
    """Draw each figure by epoch, a line per model and seed."""
    return "".join(
        _learning_plot(what, [line for line in history if line["what"] == what])
        for what in dict.fromkeys(line["what"] for line in history)
    )


def _learning_plot(what: str, lines: Sequence[Mapping[str, Any]]) -> str:
    values = [v for line in lines for v in line["values"]]
    epochs = [e for line in lines for e in line["epochs"]]
    if not values:
        return ""
    low, high, last, top, height = min(values), max(values), max(epochs), 24, 200
    first, width = min(epochs), WIDTH - _LEFT - 30
    names = list(dict.fromkeys(line["model"] for line in lines))

    def place(epoch: float, value: float) -> str:
        x = _LEFT + width * ((epoch - first) / (last - first) if last > first else 0.5)
        y = top + height * (1 - ((value - low) / (high - low) if high > low else 0.5))
        return f"{x:.1f},{y:.1f}"

    shapes = [f'<rect x="{_LEFT}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#bbb"/>']
    for line in lines:
        points = [place(e, v) for e, v in zip(line["epochs"], line["values"], strict=True)]
        if len(points) == 1:
            points *= 2
        at = names.index(line["model"])
        shapes.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour(at)}"{_dash(at)}/>')
    shapes += [
        text(_LEFT, top - 6, what, "start"),
        text(_LEFT - 6, top + 10, f"{high:.3g}", "end"),
        text(_LEFT - 6, top + height, f"{low:.3g}", "end"),
        text(_LEFT, top + height + 16, f"epoch {first}", "start"),
        text(_LEFT + width, top + height + 16, str(last), "end"),
        *_legend(names, top + height + 40),
    ]
    return svg(shapes, top + height + 40 + 18 * -(-len(names) // 2), what)
