"""The report of a comparison: does routing help, by how much, for certain, and what was it compared with."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from doubleroute.reports.evaluation import Block, Note, Section, page
from doubleroute.reports.markdown import markdown_report
from doubleroute.reports.review_figures import changes_figure
from doubleroute.reports.svg import Figure
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, anchor, count, interval, is_number, number, shown
from doubleroute.workspace import write_text

_WHAT = {
    "single": "a model of its own: this task's rows of the joint run's batches, no router",
    "shared": "one model for all tasks, no router",
    "dense": "shared, with a residual layer without tasks or gates",
    "router": "shared, with the router",
}
_METHOD = (
    "Positive: the first model is better, also where lower scores are. The interval is the 95% one of this "
    "difference alone, over test rows (bootstrap, paired: all models and seeds meet the same resamples) and "
    "seeds (Student's t on the spread around the means of model and seed). The verdict goes by the p-value "
    "that is corrected for all differences here (Holm): with 19 chances in 20 none of them is a false alarm."
)


def score_rows(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and a row for each task and model: the mean over seeds, and each seed."""
    header = ("task", "model", "metric", "mean", *(f"seed {seed}" for seed in found["seeds"]), "rows")
    rows = [
        (
            shown(name, 40),
            shown(model, 60),
            shown(task["metric"], 40),
            number(_mean(scores)),
            *map(number, scores),
            count(task["rows"]),
        )
        for name, task in found["tasks"].items()
        for model, scores in task["scores"].items()
    ]
    return header, rows


def comparison_rows(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and a row for each difference: what it is, its verdict, its interval, p and corrected p."""
    header = ("task", "comparison", "verdict", "difference", "p", "p, Holm")
    rows: list[tuple[str, ...]] = [
        (
            shown(name, 40),
            _couple(each),
            each["verdict"],
            interval(each, signed=True),
            _chance(each["p"]),
            _chance(each["p_holm"]),
        )
        for name, task in found["tasks"].items()
        for each in task["comparisons"]
    ]
    return header, rows


def model_rows(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and a row for each model: its parameters, and what a fit took."""
    header = ("model", "trained parameters", "of its layer", "steps", "rows", "seconds a fit")
    rows: list[tuple[str, ...]] = [
        (
            shown(each["name"], 60) + (f" {shown(each['task'], 40)}" if each["task"] else ""),
            count(each["trained_parameters"]),
            count(each["router_parameters"]),
            _range(each["steps"]),
            _range(each["rows"]),
            f"{fmean(each['seconds']):,.1f}",
        )
        for each in found["models"]
    ]
    return header, rows


def verdict_lines(found: Mapping[str, Any]) -> list[str]:
    """The answer in plain words, a sentence for each task and router, and negative transfer by name."""
    lines = [f"does routing help: {_answer(found)}"]
    for name, task in found["tasks"].items():
        against = {(each["model"], each["against"]): each for each in task["comparisons"]}
        for router, said in task["routing"].items():
            dense = next(each["name"] for each in found["models"] if each["like"] == router)
            differences = ", ".join(
                f"{interval(against[router, other], signed=True)} against {shown(other, 60)}"
                for other in ("shared", dense)
            )
            lines.append(
                f"{shown(name, 40)}: {shown(router, 60)} {differences} in {shown(task['metric'], 40)} "
                f"on {count(task['rows'])} test rows: {said['verdict']} ({said['why']})"
            )
    return [*lines, *_transfer(found)]


def _answer(found: Mapping[str, Any]) -> str:
    by_verdict: dict[str, list[str]] = {"helps": [], "hurts": [], "cannot tell": []}
    for name, task in found["tasks"].items():
        for router, said in task["routing"].items():
            by_verdict[said["verdict"]].append(f"{shown(router, 60)} on {shown(name, 40)}")
    hurts = f"it certainly hurts: {', '.join(by_verdict['hurts'])}" if by_verdict["hurts"] else ""
    seeds = f"{len(found['seeds'])} seeds"
    if not by_verdict["helps"]:
        said = (
            f"nothing here shows that it does; on no task is a router certainly better, over {seeds}, than "
        )
        said += "the same model without one and than a dense layer of its size"
        return f"{said}; {hurts}" if hurts else said
    parts = [f"yes: {', '.join(by_verdict['helps'])}", hurts]
    if by_verdict["cannot tell"]:
        parts.append(f"cannot tell: {', '.join(by_verdict['cannot tell'])}")
    return "; ".join(part for part in parts if part)


def _transfer(found: Mapping[str, Any]) -> list[str]:
    """Sentences about models of all tasks that are worse than a model of one."""
    if not any(each["role"] == "single" for each in found["models"]):
        return []
    lines = []
    for each in found["negative_transfer"]:
        task = found["tasks"][each["task"]]
        entry = next(
            one for one in task["comparisons"] if (one["model"], one["against"]) == (each["model"], "single")
        )
        lines.append(
            f"negative transfer: {shown(each['task'], 40)}: {shown(each['model'], 60)} is certainly worse "
            f"than a model of its own, {interval(entry, signed=True)} in {shown(task['metric'], 40)}"
        )
    return lines or ["negative transfer: none is certain"]


def write_comparison(folder: Path, found: Mapping[str, Any]) -> None:
    """Write ``report.html`` and ``report.md`` of what ``flows.comparing.compare`` found into ``folder``."""
    title = f"{shown(found['project'], 70)}: does routing help?"
    lines, sections = verdict_lines(found), sections_of(found)
    write_text(folder / "report.html", page(title, lines, sections))
    write_text(folder / "report.md", markdown_report(title, lines, sections))


def sections_of(found: Mapping[str, Any]) -> list[Section]:
    """The sections in the order of reading."""
    figures: list[Block] = [forest_figure(found, task) for task in found["tasks"]]
    differences = Table("Every difference", *comparison_rows(found), words=3, note=_METHOD)
    scores = Table("Mean over seeds", *score_rows(found), words=3, note="On the same test rows, all models.")
    roles = dict.fromkeys(each["role"] for each in found["models"])
    what = Table("The models", ("model", "what it is"), [(role, _WHAT[role]) for role in roles], words=2)
    cost = Table("What a fit took", *model_rows(found), note=_cost_note(found))
    parts: dict[str, list[Block]] = {
        "Differences": [*figures, differences],
        "Scores": [scores],
        "What was compared": [what, cost, Note(_fairness(found))],
    }
    return [Section(title, anchor(title), blocks) for title, blocks in parts.items()]


def forest_figure(found: Mapping[str, Any], task: str) -> Figure:
    """The differences of one task with their intervals; right of zero the first model is better."""
    about, short = found["tasks"][task], _short_names(found)
    rows = [
        (_couple({key: short.get(each[key], each[key]) for key in ("model", "against")}), each)
        for each in about["comparisons"]
    ]
    metric = shown(about["metric"], 40)
    return changes_figure(
        rows, f"{shown(task, 70)}: difference in {metric}", f"gain in {metric}", "are certain"
    )


def _fairness(found: Mapping[str, Any]) -> str:
    seeds = found["seeds"]
    joint = next(each for each in found["models"] if each["role"] == "shared")
    return (
        f"Seeds {seeds[0]} to {seeds[-1]}, {number(found['epochs'])} epochs, {_range(joint['steps'])} "
        "optimizer steps of every model of all tasks, with a seed's rows in the same order, without early "
        "stopping. A model of its own takes those of the steps that have a row of its task. The epoch that "
        "is best on validation is kept, by the mean over tasks, or by the task of a model of its own. The "
        "splits are those of the project's seed."
    )


def _cost_note(found: Mapping[str, Any]) -> str:
    parts = []
    sizes = {each["name"]: each["router_parameters"] for each in found["models"]}
    for each in found["models"]:
        if each["like"]:
            router, dense = sizes[each["like"]], each["router_parameters"]
            parts.append(
                f"{shown(each['name'], 60)} has {count(dense)} parameters in its layer, "
                f"{shown(each['like'], 60)} {count(router)} ({dense / router - 1:+.2%})"
            )
    note = (
        f"{'; '.join(parts)}. Rows: drawn in all steps. Seconds: the mean over seeds; fits that ran side by "
    )
    return note + "side on a busy machine are timed badly."


def _short_names(found: Mapping[str, Any]) -> dict[str, str]:
    """Of routers whose options were given, and their dense layers, the kind, which fits into a figure; where
    two are of one kind, the whole name."""
    models = found["models"]
    routers = [each["name"] for each in models if each["role"] == "router"]
    kinds = [name.partition(":")[0] for name in routers]
    short = {
        name: kind if kinds.count(kind) == 1 else name for name, kind in zip(routers, kinds, strict=True)
    }
    dense = [each for each in models if each["role"] == "dense" and each["name"] != "dense"]
    return short | {each["name"]: f"dense like {short[each['like']]}" for each in dense}


def _couple(each: Mapping[str, Any]) -> str:
    return f"{shown(each['model'], 60)} against {shown(each['against'], 60)}"


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if is_number(score)]
    return fmean(score for score in known if score is not None) if len(known) == len(scores) else None


def _chance(p: Any) -> str:
    if not is_number(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _range(values: list[int]) -> str:
    """'406', or '398 to 404' where seeds differ."""
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)} to {count(high)}"
