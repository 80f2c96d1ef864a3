"""The figures of a drift report: tests, embeddings, label shares, lengths and words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doubleroute.reports.svg import COLOURS, Figure, draw_figure, legend_above, name_rows
from doubleroute.reports.wording import count, is_number, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

#: Colour and mark of the sides, told apart without colour too.
_SIDES = {"reference": ("plain", "s"), "current": ("routed", "o")}
_VERDICTS = {"moved": ("routed", "D"), "not seen": ("plain", "o"), "cannot tell": ("muted", "x")}
_LEAST_P = 1e-6
_MOST_LABELS = 20
_MOST_WORDS = 12
_ROW = 24


def tests_figure(tests: Sequence[Mapping[str, Any]], alpha: float) -> Figure:
    """The corrected p-value and the effect of every test that could be made."""
    told = [test for test in tests if is_number(test["p_adjusted"])]
    height = 82 + _ROW * len(told)

    def draw(canvas: "Canvas") -> None:
        left, right = canvas.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for place, test in enumerate(told):
            colour, mark = _VERDICTS[test["verdict"]]
            style: dict[str, Any] = {"marker": mark, "color": COLOURS[colour], "linestyle": "none"}
            left.plot([max(test["p_adjusted"], _LEAST_P)], [place], **style)
            if is_number(test["effect"]):
                right.plot([0, test["effect"]], [place, place], color=COLOURS[colour], linewidth=1.2)
                right.plot([test["effect"]], [place], **style)
        left.axvline(alpha, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (4, 3)))
        left.set_xscale("log")
        left.set_xlim(min([alpha, *(max(t["p_adjusted"], _LEAST_P) for t in told)]) / 2, 1.4)
        left.minorticks_off()
        left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        name_rows(left, [f"{shown(t['scope'], 20)}: {shown(t['what'], 20)}" for t in told])
        left.set_xlabel("p, adjusted (dashed: alpha)")
        right.set_xlim(-0.02, 1.02)
        right.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        right.set_xlabel("effect")
        right.tick_params(left=False)

    moved = sum(test["verdict"] == "moved" for test in told)
    words = (
        f"Left of the dashed line a change is unlikely to be chance; the further left, the surer. {moved} of "
    )
    words += f"{len(told)} tests say moved (diamonds). The effect is 0 for no change and at most 1."
    return draw_figure(draw, 560, height, "Tests: certainty and size of the change", words)


def projection_figure(projection: Mapping[str, Any]) -> Figure:
    """Both samples on the first two principal components of their embeddings."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for side, (colour, mark) in _SIDES.items():
            points = projection[side]
            style: dict[str, Any] = {"marker": mark, "color": COLOURS[colour], "alpha": 0.45}
            style |= {"linestyle": "none", "markersize": 3.2, "markeredgewidth": 0}
            axes.plot([x for x, _ in points], [y for _, y in points], label=side, **style)
        axes.set_xlabel("first component")
        axes.set_ylabel("second component")
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        legend_above(axes)

    sizes = " and ".join(f"{len(projection[side])} {side}" for side in _SIDES)
    shares = sum(share for share in projection["explained"] if is_number(share))
    words = (
        f"{sizes} rows, each a dot; neighbours have like texts. The plane holds {shares:.0%} of the variance."
    )
    return draw_figure(draw, 440, 380, "Embeddings of both sides", words)


def shares_figure(labels: Mapping[str, Mapping[str, Any]], title: str) -> Figure:
    """Shares of labels of both sides, with the interval of the current ones; the largest changes first."""
    order = sorted(labels, key=lambda label: -abs(labels[label]["current"] - labels[label]["reference"]))
    order = order[:_MOST_LABELS]

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for place, label in enumerate(order):
            entry = labels[label]
            if is_number(entry["low"]) and is_number(entry["high"]):
                axes.plot(
                    [entry["low"], entry["high"]], [place, place], color=COLOURS["routed"], linewidth=1.4
                )
            for side, (colour, mark) in _SIDES.items():
                style: dict[str, Any] = {"marker": mark, "color": COLOURS[colour], "linestyle": "none"}
                axes.plot([entry[side]], [place], label=side if place == 0 else None, **style)
        name_rows(axes, [shown(label) for label in order])
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("share of the rows")
        legend_above(axes)

    words = "Current shares are estimated from the answers; the lines are their 95% intervals."
    if len(labels) > len(order):
        words += f" The {len(order)} largest changes of {len(labels):,} labels."
    return draw_figure(draw, 440, 108 + _ROW * len(order), title, words)


def lengths_figure(lengths: Mapping[str, Any]) -> Figure:
    """How long the texts of both sides are, as shares of their rows."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        edges = lengths["edges"]
        for side, (colour, _) in _SIDES.items():
            counts = lengths[side]["counts"]
            total = max(1, sum(counts))
            line = (0, (4, 2)) if side == "reference" else "-"
            shares = [value / total for value in counts]
            axes.stairs(shares, edges, label=side, color=COLOURS[colour], linestyle=line, linewidth=1.6)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("sub-words of a text, after cutting")
        axes.set_ylabel("share of the rows")
        legend_above(axes)

    medians = [f"{side} {lengths[side]['quantiles']['50']:g}" for side in _SIDES]
    words = f"Median: {', '.join(medians)}. The last bin holds all that is longer."
    return draw_figure(draw, 440, 300, "Lengths", words)


def words_figure(words: Mapping[str, Any]) -> Figure:
    """How many times as often each word is used, with its interval, on a logarithmic axis."""
    chosen = [*words["more"][:_MOST_WORDS], *words["less"][:_MOST_WORDS]]
    chosen.sort(key=lambda entry: -entry["times"])

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        axes.axvline(1, color=COLOURS["muted"], linewidth=0.9)
        for place, entry in enumerate(chosen):
            colour = COLOURS["routed" if entry["times"] > 1 else "plain"]
            axes.plot([entry["low"], entry["high"]], [place, place], color=colour, linewidth=1.2)
            mark = "o" if entry["times"] > 1 else "s"
            axes.plot([entry["times"]], [place], marker=mark, color=colour, linestyle="none")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.minorticks_off()
        name_rows(axes, [shown(entry["word"]) for entry in chosen])
        axes.set_xlabel("times as often as in the reference")

    text = f"{count(len(words['more']))} words more often and {count(len(words['less']))} less often, "
    text += "measured on the half that they were not found in; lines: 95% intervals."
    return draw_figure(draw, 440, 70 + 20 * len(chosen), "Words", text)
