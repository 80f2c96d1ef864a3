"""Figures of the benchmarks' page, drawn as the reports' are, with colours that suit any background."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from doubleroute.reports.svg import COLOURS, draw_figure, legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SIZE = (720, 300)
#: What the page of a report gives its variables; here they are fixed.
FIXED = {
    "ink": "#6b7280",
    "muted": "#8b93a1",
    "grid": "#c9ced6",
    "majority": "#9a6b00",
    "frozen": "#7c4dbe",
    "plain": "#c2410c",
    "routed": "#2563eb",
    "champion": "#0f8a5f",
    "other": "#8b93a1",
}
MARKS = {"routed": "o", "plain": "s", "champion": "^", "frozen": "v", "majority": "D"}


def growth_plot(found: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Seconds and growth of the peak memory by rows, both axes logarithmic, a curve for each stage: an SVG
    file's text. What is below a millisecond or a megabyte is drawn there."""

    from matplotlib.ticker import FuncFormatter, NullLocator

    def draw(canvas: "Canvas") -> None:
        labels = (("seconds", "seconds"), ("mb", "growth of peak memory, MB"))
        for place, (key, label) in enumerate(labels, start=1):
            axes: Axes = canvas.add_subplot(1, 2, place)
            for (stage, by_rows), (colour, mark) in zip(found.items(), MARKS.items(), strict=False):
                rows = sorted(by_rows)
                least = 0.001 if key == "seconds" else 1.0
                values = [max(by_rows[each][key], least) for each in rows]
                axes.plot(rows, values, color=COLOURS[colour], marker=mark, label=stage)
            axes.set_xscale("log")
            axes.set_yscale("log")
            counts = sorted({rows for by_rows in found.values() for rows in by_rows})
            axes.set_xticks(counts, [f"{rows:,}" for rows in counts])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.set_xlabel("rows")
            axes.set_ylabel(label)
            if place == 1:
                legend_above(axes)

    words = "Seconds and growth of the peak memory of each stage by rows; the figures stand in the table."
    svg = draw_figure(draw, *SIZE, "How stages grow with the rows", words).svg
    for name, colour in FIXED.items():
        svg = svg.replace(f"var(--{name})", colour)
    size = f'xmlns="http://www.w3.org/2000/svg" width="{SIZE[0]}" height="{SIZE[1]}" font-family="sans-serif"'
    return svg.replace("<svg ", f"<svg {size} ", 1) + "\n"
