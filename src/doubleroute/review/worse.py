"""The findings ``worse`` and ``worse-loss``: what the impact says, where it says that a score falls."""

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
    where the metric cannot tell and its loss certainly rises, as after a few wrong labels.

    ``impact`` and ``blame``: the task's entries in review.json. Other tasks have none.
    """
    if impact["verdict"] != "worse":
        return []
    metric = impact["difference"]
    certain = metric["verdict"] == "worse" and -metric["high"] > review.max_fall
    if metric["verdict"] == "worse" and not certain:
        return []
    moved = metric if certain else impact["loss"]["difference"]
    what = impact["metric"] if certain else "the loss"
    harmful = [each for each in blame if each["verdict"] == "harms"][:_NAMED]
    named = "; ".join(f"{each['by']} {each['group']} ({each['rows']:,} rows)" for each in harmful)
    more = "" if certain else " and on untouched training rows by models that did not learn them"
    beside = more if certain else f"{more}; {impact['metric']} alone cannot tell"
    name = "worse" if certain else "worse-loss"
    return [
        Finding(
            name,
            severity_of(name, review),
            task,
            None,
            impact["rows"],
            f"{what} gets worse by {-moved['value']:.4f} "
            f"(95% interval {-moved['high']:.4f} to {-moved['low']:.4f}) "
            f"on {impact['rows']:,} held-out rows{beside}",
            f"look at the rows to blame first: {named}"
            if named
            else "look at what changed: no group stands out",
            numbers={"metric": dict(metric), "loss": dict(impact["loss"]["difference"])},
        )
    ]
