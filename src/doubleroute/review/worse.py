"""The findings ``worse`` and ``worse-loss``: what the impact says, where it says that a score falls; and
``untrained``: that it says nothing of what was asked for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from doubleroute.config import Review
from doubleroute.review.findings import Finding, severity_of

#: Groups of changed rows that the detail names.
_NAMED = 3


def worse(
    task: str, impact: Mapping[str, Any], blame: Sequence[Mapping[str, Any]], review: Review
) -> list[Finding]:
    """``worse`` for a task whose metric falls by more than ``review.max_fall`` for certain; ``worse-loss``
    where it does not and its loss certainly rises, as after a few wrong labels.

    ``impact`` and ``blame``: the task's entries in review.json. Other tasks have none.
    """
    if impact["verdict"] != "worse":
        return []
    metric, loss, rows = impact["difference"], impact["loss"]["difference"], impact["rows"]
    numbers = {"metric": dict(metric), "loss": dict(loss)}
    harmful = [each for each in blame if each["verdict"] == "harms"][:_NAMED]
    named = "; ".join(f"{each['by']} {each['group']} ({each['rows']:,} rows)" for each in harmful)
    fix = (
        f"look at the rows to blame first: {named}" if named else "look at what changed: no group stands out"
    )
    if _falls(metric, review):
        title = _fall(impact["metric"], metric, rows)
        return [Finding("worse", severity_of("worse", review), task, None, rows, title, fix, numbers=numbers)]
    if loss["verdict"] != "worse":
        return []
    allowed = f"does not fall by more than {review.max_fall:g} for certain"
    alone = allowed if metric["verdict"] == "worse" else "alone cannot tell"
    title = (
        f"{_fall('the loss', loss, rows)} and on untouched training rows by models that did not "
        f"learn them; {impact['metric']} {alone}"
    )
    severity = severity_of("worse-loss", review)
    return [Finding("worse-loss", severity, task, None, rows, title, fix, numbers=numbers)]


def worse_for_real(full: Mapping[str, Mapping[str, Any]], review: Review) -> list[Finding]:
    """``worse`` for each task whose metric fell by more than ``review.max_fall`` for certain when both
    versions were trained for real. ``full``: as in review.json."""
    return [
        Finding(
            "worse",
            severity_of("worse", review),
            task,
            None,
            entry["rows"],
            f"trained for real, {_fall(entry['metric'], entry['difference'], entry['rows'])}",
            "look at what changed: the project's own training learns worse from it",
            numbers={"metric": dict(entry["difference"])},
        )
        for task, entry in full.items()
        if entry["verdict"] == "worse" and _falls(entry["difference"], review)
    ]


def untrained(why: str, mend: str, review: Review) -> Finding:
    """``untrained``: training both versions for real was asked for and could not be done."""
    severity = severity_of("untrained", review)
    return Finding("untrained", severity, None, None, 1, f"not trained for real: {why}", mend)


def _falls(metric: Mapping[str, Any], review: Review) -> bool:
    return metric["verdict"] == "worse" and -metric["high"] > review.max_fall


def _fall(what: str, moved: Mapping[str, Any], rows: int) -> str:
    return (
        f"{what} gets worse by {-moved['value']:.4f} "
        f"(95% interval {-moved['high']:.4f} to {-moved['low']:.4f}) on {rows:,} held-out rows"
    )
