"""The tables and verdicts of an evaluation as plain strings, for reports, terminal and artifacts.

Every function takes the evaluation as ``evaluation.json`` holds it: a score that is undefined is null.
Order never depends on the order of keys, so that a reloaded evaluation reads like a fresh one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doubleroute.config import LOWER_IS_BETTER
from doubleroute.reports.wording import bounds_of, count, interval, is_number, number, shown

#: The models side by side, in the order of reading, and what a report calls them.
MODELS = {
    "majority": "majority class or constant (no learning)",
    "frozen": "before fine-tuning: frozen backbone, linear head",
    "plain": "plain fine-tuning (no router)",
    "routed": "routed fine-tuning",
    "champion": "champion (serves now)",
}
_SHORT = {"plain": "plain fine-tuning", "majority": "the majority baseline", "frozen": "the frozen backbone"}
_SHORT["champion"] = "the champion"
_HEADLINE = ("routed", "plain", "champion", "frozen", "majority")
_LESS_IS_BETTER = LOWER_IS_BETTER | {"ece"}
_METRICS = ("accuracy", "entity_f1", "micro_f1", "macro_f1", "weighted_f1", "mcc", "spearman", "pearson")
_MOST_SLICES = 40


@dataclass(frozen=True)
class Table:
    """A table of safe strings; the first ``words`` columns hold words, the others numbers."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int = 1
    note: str = ""
    folded: bool = False
    kind: str = "table"


def models_of(names: Iterable[str]) -> list[str]:
    """These models in the order of reading; unknown names come last."""
    order = list(MODELS)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def model_title(name: str, evaluation: Mapping[str, Any]) -> str:
    """What a report calls this model, with the kind of its router."""
    router = evaluation["models"].get(name, {}).get("router")
    if name == "routed" and router:
        return "fine-tuned, no router" if router == "none" else f"{MODELS[name]}, {shown(router, 40)}"
    return MODELS.get(name) or shown(name, 60)


def headline(names: Iterable[str]) -> str:
    """The model that the report is about: the routed one, else the best made of those there are."""
    there = models_of(names)
    return next((name for name in _HEADLINE if name in there), there[0] if there else "")


def score_rows(evaluation: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of the short score table: a row for each task and model, with the metric that
    the task is judged by. Narrow enough for a terminal of 80 columns."""
    header = ("task", "model", "metric", "score", "95% interval", "rows")
    rows: list[tuple[str, ...]] = []
    for name, task in evaluation["tasks"].items():
        for model in models_of(task["models"]):
            score = task["models"][model]["scores"].get(task["metric"]) or {}
            cells = (number(score.get("value")), bounds_of(score), count(rows_of(task, model)))
            rows.append((shown(name, 40), shown(model, 20), shown(task["metric"], 40), *cells))
    return header, rows


def verdicts(evaluation: Mapping[str, Any]) -> list[str]:
    """One sentence a task: its score, whether routing helped, and how it stands to the champion."""
    return [_verdict(name, task, evaluation) for name, task in evaluation["tasks"].items()]


def cut_texts(evaluation: Mapping[str, Any]) -> list[str]:
    """A sentence for each task and split, and the stored answers, that has texts longer than
    ``backbone.max_tokens``."""
    return [
        f"{shown(name, 70)}: {count(entry['truncated'])} of {count(entry['rows'])} "
        f"{'stored answers' if split == 'answers' else f'{shown(split, 20)} texts'} are longer than "
        "backbone.max_tokens and were cut"
        for name, splits in evaluation["tokens"].items()
        for split, entry in splits.items()
        if entry["truncated"]
    ]


def scores_table(evaluation: Mapping[str, Any], name: str) -> Table:
    """All metrics of one task: a row for each model, a column for each metric with its interval."""
    task = evaluation["tasks"][name]
    metrics = _metrics(task)
    rows = [
        (
            model_title(model, evaluation),
            *(interval(task["models"][model]["scores"].get(metric)) for metric in metrics),
            count(rows_of(task, model)),
        )
        for model in models_of(task["models"])
    ]
    header = ("model", *(f"{shown(m, 40)}{' ↓' if m in _LESS_IS_BETTER else ''}" for m in metrics), "n")
    note = f"Judged by {shown(task['metric'], 40)}. Brackets: 95% intervals over the n rows."
    if _LESS_IS_BETTER.intersection(metrics):
        note += " ↓: lower is better."
    note += _learned(task)
    return Table(f"{shown(name, 70)}: scores", header, rows, note=note)


def _learned(task: Mapping[str, Any]) -> str:
    """What a table of models beside each other has to say where they are not scored on the same rows."""
    fewer = any(rows_of(task, model) < task["rows"] for model in task["models"])
    return " Rows that a model learned from do not count for it." if fewer else ""


def rows_of(task: Mapping[str, Any], model: str) -> int:
    """How many test rows a model is scored on: all but those that it learned from."""
    return int(task["models"][model].get("rows", task["rows"]))


def differences_table(task: Mapping[str, Any], name: str) -> Table | None:
    """The paired differences of one task, or None when there are none."""
    rows = []
    for entry in task.get("differences") or ():
        first, second, metric = (shown(entry[key], 30) for key in ("model", "against", "metric"))
        verdict = shown(entry["verdict"], 40)
        what = f"{first} against {second} in {metric}{_fewer(task, entry)}"
        rows.append((what, verdict, interval(entry, signed=True)))
    note = (
        "Paired on the same rows; positive: the first is better, also where lower scores are. "
        "Cannot tell: zero lies in the 95% interval."
    )
    title = f"{shown(name, 70)}: differences"
    header = ("comparison", "verdict", "difference")
    return Table(title, header, rows, words=2, note=note) if rows else None


def fairness(evaluation: Mapping[str, Any]) -> str:
    """Whether routed and plain were compared at equal steps and parameters, in one sentence."""
    routed, plain = evaluation["models"].get("routed"), evaluation["models"].get("plain")
    if not routed or not plain or routed.get("router") == "none":
        return ""
    steps = f"{count(routed.get('steps'))} against {count(plain.get('steps'))}"
    if routed.get("steps") == plain.get("steps"):
        steps = f"the same, {count(plain.get('steps'))}"
    mine, other = routed.get("trained_parameters"), plain.get("trained_parameters")
    extra = f" ({mine / other - 1:+.1%})" if is_number(mine) and is_number(other) and other else ""
    return (
        f"Routed and plain: steps {steps}; trained parameters {count(mine)} against {count(other)}{extra}; "
        "one seed each, so a difference as small as that between two seeds says nothing."
    )


def slices_tables(evaluation: Mapping[str, Any], name: str) -> list[Table]:
    """One table for each slice column of a task: a row for each value, a column for each model."""
    task = evaluation["tasks"][name]
    names = models_of(task["models"])
    slices = {model: task["models"][model].get("slices") or {} for model in names}
    tables = []
    for column in sorted({column for by_column in slices.values() for column in by_column}):
        with_column = [model for model in names if column in slices[model]]
        # The first model has all rows: only those that come later may have learned from some.
        sizes = {v: s["rows"] for model in with_column[::-1] for v, s in slices[model][column].items()}
        values = sorted(sizes, key=lambda value: (-sizes[value], value))
        rows = [
            (
                shown(value, 60),
                *(interval(slices[model][column].get(value)) for model in with_column),
                count(sizes[value]),
            )
            for value in values[:_MOST_SLICES]
        ]
        note = f"{shown(task['metric'], 40)}; the largest slices first."
        if len(values) > _MOST_SLICES:
            note += f" {len(values) - _MOST_SLICES:,} smaller slices are left out."
        note += _learned(task)
        header = (shown(column, 40), *(shown(model, 20) for model in with_column), "n")
        tables.append(Table(f"{shown(name, 70)} by {shown(column, 40)}", header, rows, note=note))
    return tables


def _verdict(name: str, task: Mapping[str, Any], evaluation: Mapping[str, Any]) -> str:
    model = headline(task["models"])
    if not model:
        return f"{shown(name, 70)}: no model here answers this task"
    scores = {m: task["models"][m]["scores"].get(task["metric"]) or {} for m in task["models"]}
    mine = scores.get(model, {})
    metric = shown(task["metric"], 40)
    words = f"{shown(name, 70)}: {metric} {interval(mine)}"
    words += f" on {count(rows_of(task, model))} {shown(evaluation['split'], 20)} rows"
    if rows_of(task, model) < task["rows"]:
        words += f" ({count(task['rows'] - rows_of(task, model))} more that it learned from do not count)"
    if not task.get("higher_is_better", True):
        words += " (lower is better; a positive difference is a gain)"
    if model != "routed":
        return f"{words} ({_SHORT.get(model, shown(model, 40))} alone; nothing routed was compared)"
    comparisons = [_compared(task, other) for other in ("plain", "champion") if other in scores]
    if evaluation["models"].get("routed", {}).get("router") == "none":
        comparisons.insert(0, "there is no router: this is plain fine-tuning")
    elif "plain" not in scores:
        comparisons.insert(0, "not compared with plain fine-tuning")
    baseline = _difference(task, "majority") or {}
    ours, base = baseline.get("scores", (None, None))  # on the same rows, which those above need not be
    if is_number(base) and is_number(ours):
        better = ours > base if task.get("higher_is_better", True) else ours < base
        if not better:
            fewer = _fewer(task, baseline)
            comparisons.append(f"no better than the majority baseline ({number(base)}){fewer}")
    return "; ".join([words, *comparisons])


def _compared(task: Mapping[str, Any], other: str) -> str:
    entry = _difference(task, other)
    if entry is None:
        return f"routed against {_SHORT[other]}: no paired difference was made"
    meaning = {
        "better": "better: routing helped here, on one seed",
        "worse": "worse: routing did not help",
        "cannot tell": "cannot tell: nothing here shows that routing helps",
    }
    verdict = shown(entry["verdict"], 40)
    said = meaning.get(verdict, verdict) if other == "plain" else verdict
    return f"routed against {_SHORT[other]}{_fewer(task, entry)}: {interval(entry, signed=True)}, {said}"


def _difference(task: Mapping[str, Any], other: str) -> Mapping[str, Any] | None:
    """The routed model against another in the metric that the task is judged by; None without one."""
    wanted = ("routed", other, task["metric"])
    return next(
        (
            entry
            for entry in task.get("differences") or ()
            if (entry["model"], entry["against"], entry["metric"]) == wanted
        ),
        None,
    )


def _fewer(task: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """On how many rows two models are compared where one of them learned from some, as words to append."""
    rows = entry.get("rows", task["rows"])
    return f" on the {count(rows)} rows that neither learned from" if rows < task["rows"] else ""


def _metrics(task: Mapping[str, Any]) -> list[str]:
    found = {metric for model in task["models"].values() for metric in model["scores"]}

    def place(metric: str) -> tuple[bool, int, str]:
        return metric != task["metric"], _METRICS.index(metric) if metric in _METRICS else 99, metric

    return sorted(found, key=place)
