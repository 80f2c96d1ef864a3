"""The figures of a review: changes with their intervals, labels and lengths before and after."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doubleroute.reports.svg import COLOURS, Figure, draw_figure, legend_above, name_rows
from doubleroute.reports.wording import count, is_number, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

#: Colour and mark of the two versions and of each verdict, told apart without colour too.
_SIDES = {"base": ("plain", "s"), "head": ("routed", "o")}
_BETTER, _WORSE, _UNSURE = ("champion", "^"), ("routed", "D"), ("muted", "o")
_VERDICTS = {"better": _BETTER, "helps": _BETTER, "worse": _WORSE, "harms": _WORSE, "hurts": _WORSE}
_MOST_LABELS = 20
#: Labels of a split that a document holds at most, those that changed most.
TOLD = 200
_ROW = 24
#: Pixels: a figure fits a page of 400.
_WIDTH = 352


def changes_figure(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    title: str,
    axis: str,
    sure_is: str = "lie clear of zero",
    lines: str = "95% intervals",
) -> Figure:
    """A row for each (name, {value, low, high, verdict}); a row whose value is missing says its verdict,
    "cannot tell" where it has none.

    What cannot be told is grey, hollow and dashed. ``axis`` names the horizontal axis; ``sure_is``: what is
    said of the rows with a verdict; ``lines``: what the lines are.
    """

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        axes.axvline(0, color=COLOURS["muted"], linewidth=0.9)
        for place, (_, entry) in enumerate(rows):
            _change(axes, place, entry)
        name_rows(axes, [name for name, _ in rows])
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(axis)

    sure = sum(entry.get("verdict") in _VERDICTS for _, entry in rows)
    words = f"Lines: {lines}. {count(sure)} of {count(len(rows))} {sure_is}; what cannot be "
    words += "told is grey, hollow and dashed."
    return draw_figure(draw, _WIDTH, 72 + _ROW * max(2, len(rows)), title, words)


def labels_figure(counts: Mapping[str, Sequence[int]], title: str, unit: str) -> Figure:
    """How many ``unit``, rows or words, each label has before and after, [base, head], in the order given: at
    most 20 labels."""
    kept = list(counts.items())[:_MOST_LABELS]

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for place, (_, (before, after)) in enumerate(kept):
            axes.plot([before, after], [place, place], color=COLOURS["muted"], linewidth=1.2)
            for (side, (colour, mark)), value in zip(_SIDES.items(), (before, after), strict=True):
                style: dict[str, Any] = {"marker": mark, "color": COLOURS[colour], "linestyle": "none"}
                axes.plot([value], [place], label=side if place == 0 else None, **style)
        name_rows(axes, [shown(label) for label, _ in kept])
        axes.set_xlim(0, 1.05 * max(1, *(max(sides) for _, sides in kept)))
        axes.locator_params(axis="x", nbins=5, integer=True)
        axes.set_xlabel(unit)
        legend_above(axes)

    changed = sum(before != after for before, after in counts.values())
    among = (
        f"the {count(TOLD)} labels that changed most"
        if len(counts) == TOLD
        else f"{count(len(counts))} labels"
    )
    words = f"{count(changed)} of {among} have another number of {unit}."
    if len(counts) > len(kept):
        words += f" The {len(kept)} largest changes are drawn."
    return draw_figure(draw, _WIDTH, 108 + _ROW * len(kept), title, words)


def lengths_figure(lengths: Mapping[str, Any], title: str) -> Figure:
    """How long the texts are before and after, as shares of the rows; ``edges`` in characters.

    The last bar is drawn as wide as the one before: it holds all that is longer, and may reach far.
    """
    edges = list(lengths["edges"])
    if len(edges) > 2:
        edges[-1] = min(edges[-1], 2 * edges[-2] - edges[-3])

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for side, (colour, _) in _SIDES.items():
            total = max(1, sum(lengths[side]))
            line = (0, (4, 2)) if side == "base" else "-"
            shares = [value / total for value in lengths[side]]
            axes.stairs(shares, edges, label=side, color=COLOURS[colour], linestyle=line, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("characters")
        axes.set_ylabel("share of the rows")
        axes.locator_params(axis="x", nbins=6)
        legend_above(axes)

    rows = " and ".join(f"{count(sum(lengths[side]))} {side} rows" for side in _SIDES)
    return draw_figure(draw, _WIDTH, 280, title, f"Texts of {rows}. The last bar holds all that is longer.")


def _change(axes: "Axes", place: int, entry: Mapping[str, Any]) -> None:
    if not is_number(entry.get("value")):
        axes.plot([0], [place], linestyle="none")  # the row keeps its place
        axes.annotate(
            entry.get("verdict", "cannot tell"),
            (0, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS["muted"],
        )
        return
    colour, mark = _VERDICTS.get(entry.get("verdict", ""), _UNSURE)
    unsure = entry.get("verdict") not in _VERDICTS
    if is_number(entry.get("low")) and is_number(entry.get("high")):
        dashes = (0, (3, 2)) if unsure else "-"
        ends = [entry["low"], entry["high"]]
        axes.plot(ends, [place, place], color=COLOURS[colour], linewidth=1.4, linestyle=dashes)
    style: dict[str, Any] = {"marker": mark, "color": COLOURS[colour], "linestyle": "none"}
    if unsure:
        style |= {"markerfacecolor": "none", "markeredgewidth": 1.2}
    axes.plot([entry["value"]], [place], **style)
