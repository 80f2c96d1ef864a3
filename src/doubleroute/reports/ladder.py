"""What a report says about a ladder of fits: what each rung cost and brought."""

from collections.abc import Iterator, Mapping
from typing import Any

from doubleroute.reports.figures import curve_figure
from doubleroute.reports.svg import Figure
from doubleroute.reports.tables import Table, model_title, models_of
from doubleroute.reports.wording import is_number, number, shown

#: What learned on a rung.
RUNGS = {
    "heads": "heads, solved on stored states",
    "top": "the upper half of the layers that may learn",
    "whole": "all layers that may learn",
}


def ladder_blocks(
    evaluation: Mapping[str, Any], histories: Mapping[str, Mapping[str, Any]]
) -> Iterator[Table | Figure]:
    """For each model that was fitted rung by rung a table of its epochs, and for each task a figure of score
    against seconds; nothing where no model was."""
    climbed = {}
    for name in models_of(histories):
        epochs = histories[name].get("epochs") or []
        if len({epoch.get("rung") for epoch in epochs}) > 1:
            climbed[name] = epochs
    for name, epochs in climbed.items():
        yield _table(evaluation, name, epochs, histories[name]["best_epoch"])
    for task, about in evaluation["tasks"].items():
        metric = about["metric"]
        curves = {
            name: [
                (epoch["seconds"], value)
                for epoch in epochs
                if is_number(value := (epoch["validation"].get(task) or {}).get(metric))
            ]
            for name, epochs in climbed.items()
        }
        if any(curves.values()):
            title = f"{shown(task, 70)}: {shown(metric, 40)} on validation by seconds of training"
            yield curve_figure(curves, shown(metric, 40), title, "second")


def _table(evaluation: Mapping[str, Any], name: str, epochs: list[Mapping[str, Any]], best: int) -> Table:
    tasks = {task: about["metric"] for task, about in evaluation["tasks"].items()}
    rows = []
    for epoch in epochs:
        found = epoch["validation"]
        scores = (number((found.get(task) or {}).get(metric)) for task, metric in tasks.items())
        kept = "kept" if epoch["epoch"] == best else ""
        rows.append((RUNGS[epoch["rung"]], kept, f"{epoch['seconds']:,.1f}", *scores))
    header = ("what learned", "", "seconds", *(f"{shown(task, 70)}, {tasks[task]}" for task in tasks))
    note = (
        "A line an epoch, on the validation rows; seconds of training, without those that storing states "
        "took. The model that is kept is the best by the mean over the tasks."
    )
    title = f"What each stage of training brought, {model_title(name, evaluation)}"
    return Table(title, header, rows, 2, note)
