"""The report of a replay: the policies in one table and one figure, and why each retrained."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.reports.evaluation import Block, Note, Section, page
from doubleroute.reports.markdown import markdown_report
from doubleroute.reports.svg import COLOURS, Figure, draw_figure
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import anchor, bounds_of, count, interval, is_number, number, shown
from doubleroute.workspace import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

#: Colour, mark and dashes of never, always, the project's policy and the others, told apart without colour.
_LOOKS = {
    "never": ("majority", "x", ":"),
    "always": ("plain", "s", "--"),
    "policy": ("routed", "o", "-"),
}
_OTHERS = (("champion", "^", "-."), ("frozen", "D", ":"), ("other", "v", "--"))
_HEADER = ("policy", "retrainings", "seconds", "of always'", "steps of always'", "gain of always'")


def policy_rows(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and a row for each policy: what it cost and what it gained. For terminal and report.

    Steps beside seconds: the seconds of a busy machine say less.
    """
    tasks = list(found["metrics"])
    header = (*_HEADER, *(f"{shown(task, 30)} {shown(found['metrics'][task], 20)}" for task in tasks))
    rows = [
        (
            shown(name, 40),
            count(each["retrainings"]),
            f"{each['seconds']:,.1f}",
            percent(each["share_of_cost"]),
            percent(each["share_of_steps"]),
            percent(each["share_of_gain"]),
            *(interval(each["total"].get(task)) for task in tasks),
        )
        for name, each in found["policies"].items()
    ]
    return header, rows


def verdict_lines(found: Mapping[str, Any]) -> list[str]:
    """One sentence a policy that decides: what it gained against never and lost against always."""
    return [
        f"{shown(name, 40)}: {_verdict(each, each['against'])}"
        for name, each in found["policies"].items()
        if each["rule"] == "decide"
    ]


def _verdict(each: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    parts = [
        f"{shown(task, 30)} {number(against['never'][task]['value'], signed=True)} "
        f"{bounds_of(against['never'][task])} against never, "
        f"{number(against['always'][task]['value'], signed=True)} {bounds_of(against['always'][task])} "
        "against always"
        for task in each["total"]
    ]
    asks = f", asked {each['asks']} times" if each["asks"] else ""
    gain, seconds, steps = (percent(each[f"share_of_{what}"]) for what in ("gain", "cost", "steps"))
    cost = f"{gain} of always' gain for {seconds} of its seconds and {steps} of its steps"
    return f"{each['retrainings']} retrainings{asks}, {cost}; {'; '.join(parts)}"


def percent(share: Any) -> str:
    """0.3333 -> '33%'."""
    return f"{share:.0%}" if is_number(share) else "–"


def write_replay(folder: Path, found: Mapping[str, Any]) -> None:
    """Write ``report.html`` and ``report.md`` of what ``flows.replay.replay`` found into ``folder``."""
    title = f"{shown(found['project'], 70)}: policies replayed by {shown(found['every'], 20)}"
    sections = sections_of(found)
    verdicts = verdict_lines(found)
    write_text(folder / "report.html", page(title, verdicts, sections))
    write_text(folder / "report.md", markdown_report(title, verdicts, sections))


def sections_of(found: Mapping[str, Any]) -> list[Section]:
    """The sections in the order of reading."""
    header, rows = policy_rows(found)
    note = (
        "Each window was answered by the model that was live before anybody could learn from it. Seconds "
        "are those of training, the first model's not counted; scores have 95% intervals over all windows. "
        "There was no promotion gate: every model that was trained served, also one that the gate of a live "
        "project would have refused."
    )
    figures: list[Block] = [over_time(found, task) for task in found["metrics"]]
    parts: dict[str, list[Block]] = {
        "Policies": [Table("Gain and cost", header, rows, note=note), *figures, gain_figure(found)],
        "Windows": [_windows(found, task) for task in found["metrics"]],
        "Decisions": list(_decisions(found)),
    }
    return [Section(title, anchor(title), blocks) for title, blocks in parts.items() if blocks]


def over_time(found: Mapping[str, Any], task: str) -> Figure:
    """The score of the live model in each window, a line a policy; a ring where a new model began."""
    metric = shown(found["metrics"][task], 40)
    names = [shown(window["name"], 24) for window in found["windows"]]

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for name, (colour, mark, dashes) in _looks(found).items():
            windows = found["policies"][name]["windows"]
            points = [
                (place, window["scores"][task]["value"], window["retrained"])
                for place, window in enumerate(windows)
                if task in window["scores"] and is_number(window["scores"][task]["value"])
            ]
            axes.plot(
                [place for place, _, _ in points],
                [value for _, value, _ in points],
                color=COLOURS[colour],
                marker=mark,
                linestyle=dashes,
                label=shown(name, 30),
            )
            new = [(place, value) for place, value, retrained in points if retrained]
            if found["policies"][name]["rule"] == "decide":
                axes.plot(
                    [place for place, _ in new],
                    [value for _, value in new],
                    color=COLOURS[colour],
                    marker="o",
                    markersize=10,
                    markerfacecolor="none",
                    linestyle="none",
                )
        axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0)
        axes.set_ylabel(metric)
        axes.legend(loc="best")

    ends = [
        f"{shown(name, 30)} {interval(each['total'].get(task))}" for name, each in found["policies"].items()
    ]
    words = f"A ring: a new model, trained before this window. Over all windows: {'; '.join(ends)}."
    return draw_figure(draw, 720, 360, f"{shown(task, 70)}: {metric} of the live model", words)


def gain_figure(found: Mapping[str, Any]) -> Figure:
    """Gain over never against training seconds; up and left is better."""

    def draw(canvas: "Canvas") -> None:
        axes = canvas.add_subplot()
        for name, (colour, mark, _) in _looks(found).items():
            each = found["policies"][name]
            if not is_number(each["gain"]):  # where a metric is undefined
                continue
            axes.plot([each["seconds"]], [each["gain"]], color=COLOURS[colour], marker=mark, linestyle="none")
            axes.annotate(
                shown(name, 30), (each["seconds"], each["gain"]), (6, 4), textcoords="offset points"
            )
        axes.set_xlabel("training seconds")
        axes.set_ylabel("gain over never")
        axes.margins(0.2)

    costs = [
        f"{shown(name, 30)} {number(each['gain'], signed=True)} for {each['seconds']:,.0f} s"
        for name, each in found["policies"].items()
    ]
    return draw_figure(draw, 352, 290, "Gain beside cost", f"{'; '.join(costs)}.")


def _looks(found: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    others = iter(_OTHERS * len(found["policies"]))
    return {name: _LOOKS[name] if name in _LOOKS else next(others) for name in found["policies"]}


def _windows(found: Mapping[str, Any], task: str) -> Table:
    rows = []
    for place, window in enumerate(found["windows"]):
        each = [policy["windows"][place] for policy in found["policies"].values()]
        cells = [f"{interval(one['scores'].get(task))}{' *' if one['retrained'] else ''}" for one in each]
        scored = next((one["scores"][task]["rows"] for one in each if task in one["scores"]), 0)
        rows.append((shown(window["name"], 40), count(scored), *cells))
    header = ("window", "rows", *(shown(name, 40) for name in found["policies"]))
    title = f"{shown(task, 70)}: {shown(found['metrics'][task], 40)} of the live model"
    return Table(title, header, rows, note="*: a new model, trained before this window.", folded=True)


def _decisions(found: Mapping[str, Any]) -> Iterator[Block]:
    for name, each in found["policies"].items():
        if each["rule"] == "decide":
            rows = [
                (shown(one["window"], 40), one["verdict"], shown("; ".join(one["reasons"]), 2000))
                for one in each["decisions"]
            ]
            yield Table(f"{shown(name, 40)}: after each window", ("window", "verdict", "reasons"), rows, 3)
    yield Note("An ask counts as a wait: nobody was there to answer.")
