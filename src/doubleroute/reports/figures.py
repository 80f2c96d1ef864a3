"""The report's figures: what is drawn for confusions, reliability, learning curves and residuals."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from doubleroute.reports.svg import COLOURS, Figure, draw_figure
from doubleroute.reports.tables import models_of
from doubleroute.reports.wording import count, is_number, number, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Told apart without colour too.
_MARKS = {"majority": ("x", ":"), "frozen": ("^", ":"), "plain": ("s", "--"), "routed": ("o", "-")}
_POINTS = 60
#: Characters of a label beside the cells of a confusion matrix.
_NAME = 24


def confusion_figure(
    labels: Sequence[str], confusion: Sequence[Sequence[int]], title: str, unit: str
) -> Figure:
    """Truth (rows) against answer (columns); a cell's strength is its share of its row's truth.

    ``unit``: what was counted, rows or words.
    """
    size = len(labels)
    cell = 58 if size <= 4 else 34 if size <= 10 else 22
    margin = 40 + 6 * min(_NAME, max((len(label) for label in labels), default=1))
    width, height = max(240, size * cell + margin), max(210, size * cell + margin)

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        names = [_name(label) for label in labels]
        for row, cells in enumerate(confusion):
            total = sum(cells)
            for column, value in enumerate(cells):
                if value:
                    _cell(axes, row, column, value, value / total, size)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        upright = size > 4 or max(map(len, names), default=0) > 10
        axes.set_xticks(range(size), names, rotation=90 if upright else 0)
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0, labelsize=10 if size <= 10 else 9)
        axes.grid(False)
        axes.set_xlabel("answer")
        axes.set_ylabel("truth")

    total = sum(sum(cells) for cells in confusion)
    right = sum(cells[place] for place, cells in enumerate(confusion))
    words = f"Down the truth, across the answer; {count(right)} of {count(total)} {unit} lie on the diagonal."
    return draw_figure(draw, width, height, title, words)


def reliability_figure(reliability: Mapping[str, Mapping[str, Any]], title: str, share: str) -> Figure:
    """Accuracy against confidence of each model; on the diagonal, a model is as good as it says. ``share``:
    what the accuracy of a bin is a share of."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        for model in models_of(reliability):
            bins = [b for b in reliability[model]["bins"] if b["rows"] and is_number(b["accuracy"])]
            _line(axes, model, [b["confidence"] for b in bins], [b["accuracy"] for b in bins])
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("confidence")
        axes.set_ylabel(share)
        axes.legend(loc="upper left")

    errors = [f"{shown(m, 40)} {number(reliability[m].get('ece'))}" for m in models_of(reliability)]
    words = "On the dashed line a model is as good as it says. "
    return draw_figure(draw, 352, 290, title, f"{words}Expected calibration error: {', '.join(errors)}.")


def curve_figure(
    curves: Mapping[str, Sequence[tuple[Any, Any]]], ylabel: str, title: str, unit: str = "step"
) -> Figure:
    """Lines of (step or another ``unit``, value), one a model; more than 60 points are averaged in groups."""
    from matplotlib.ticker import MaxNLocator

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for model in models_of(curves):
            steps, values = _thin(curves[model])
            _line(axes, model, steps, values, marks=len(steps) <= 12)
        axes.set_xlabel(unit)
        axes.set_ylabel(ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.legend(loc="best")

    ends = []
    for model in models_of(curves):
        points = [(step, value) for step, value in curves[model] if is_number(value)]
        if points:
            ends.append(f"{shown(model, 40)} {number(points[-1][1])} at {unit} {count(round(points[-1][0]))}")
    return draw_figure(draw, 352, 250, title, f"At the end: {', '.join(ends) or 'no point'}.")


def scatter_figure(points: Sequence[Sequence[float]], title: str) -> Figure:
    """Answer against truth of a regression; on the diagonal the answer is right."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        kept = [(truth, answer) for truth, answer in points if is_number(truth) and is_number(answer)]
        ends = [value for point in kept for value in point] or [0.0, 1.0]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=COLOURS["muted"], linewidth=0.9)
        style: dict[str, Any] = {"linestyle": "none", "markersize": 3.2, "alpha": 0.5}
        axes.plot(*_columns(kept), marker="o", markeredgewidth=0, color=COLOURS["routed"], **style)
        axes.set_xlabel("truth")
        axes.set_ylabel("answer")

    return draw_figure(draw, 352, 290, title, f"{len(points):,} rows; on the line the answer is right.")


def residuals_figure(edges: Sequence[float], counts: Sequence[int], title: str) -> Figure:
    """How many rows have which residual (answer minus truth)."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        widths = [high - low for low, high in pairwise(edges)]
        style: dict[str, Any] = {"color": COLOURS["routed"], "alpha": 0.75, "linewidth": 0}
        axes.bar(list(edges[:-1]), list(counts), width=[0.92 * w for w in widths], align="edge", **style)
        axes.axvline(0, color=COLOURS["muted"], linewidth=0.9)
        axes.set_xlabel("answer minus truth")
        axes.set_ylabel("rows")

    return draw_figure(draw, 352, 250, title, f"Residuals of {sum(counts):,} rows.")


def _name(label: str) -> str:
    return shown(label) if len(label) <= _NAME else f"{shown(label[: _NAME - 1])}…"


def _cell(axes: "Axes", row: int, column: int, value: int, share: float, size: int) -> None:
    from matplotlib.patches import Rectangle

    colour = COLOURS["plain" if row == column else "routed"]
    place = (column - 0.48, row - 0.48)
    # 0.55 at most: the number must stay readable on the cell in light and in dark.
    alpha = 0.06 + 0.49 * share
    patch = axes.add_patch(
        Rectangle(place, 0.96, 0.96, color=colour, alpha=alpha, linewidth=0, clip_on=False)
    )
    font = 10 if size <= 10 else 8
    label = axes.text(column, row, _in_cell(value, size), ha="center", va="center", fontsize=font)
    for artist in (patch, label):  # inside the axes anyway; a layout of 900 cells would take seconds
        artist.set_in_layout(False)


def _in_cell(value: int, size: int) -> str:
    """A count that fits its cell: 4200 -> '4,200', in a large matrix '4.2k'."""
    if value < (1_000 if size > 4 else 1_000_000):
        return count(value)
    return f"{value / 1000:.1f}k" if value < 10_000 else f"{value / 1000:,.0f}k"


def _line(axes: "Axes", model: str, xs: Sequence[float], ys: Sequence[float], marks: bool = True) -> None:
    marker, dashes = _MARKS.get(model, ("D", "-."))
    colour = COLOURS.get(model, COLOURS["other"])
    style: dict[str, Any] = {
        "color": colour,
        "linestyle": dashes,
        "markeredgewidth": 0 if marker != "x" else 1.2,
    }
    axes.plot(xs, ys, label=shown(model, 30), marker=marker if marks else "", **style)


def _thin(points: Sequence[tuple[Any, Any]]) -> tuple[list[float], list[float]]:
    """At most 60 points: the means of neighbouring ones."""
    kept = [(float(x), float(y)) for x, y in points if is_number(x) and is_number(y)]
    parts = min(len(kept), _POINTS)
    groups = [kept[part * len(kept) // parts : (part + 1) * len(kept) // parts] for part in range(parts)]
    means = [tuple(sum(column) / len(part) for column in zip(*part, strict=True)) for part in groups]
    return _columns(means)


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
