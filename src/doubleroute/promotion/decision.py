"""The decision about a challenger; the rule stands in the package's docstring."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from doubleroute.config import LOWER_IS_BETTER, Promotion
from doubleroute.promotion.findings import Finding, Verdict, finite
from doubleroute.promotion.guards import (
    cost_findings,
    guard_findings,
    router_check_findings,
    router_findings,
)

#: The first reason about a version that there was nothing to compare with.
NO_CHAMPION = "there is no champion yet"


@dataclass(frozen=True)
class Decision:
    """What to do with a challenger and why. ``numbers`` is plain JSON: all that the rule looked at."""

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: dict[str, Any]

    @property
    def promoted(self) -> bool:
        """Whether the challenger becomes champion."""
        return self.verdict == "promote"

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: verdict, reasons, numbers."""
        return {**asdict(self), "reasons": list(self.reasons)}


def decide(
    evaluation: Mapping[str, Any],
    promotion: Promotion,
    challenger: str = "routed",
    champion: str = "champion",
) -> Decision:
    """Decide by the rule of the package's docstring, from evaluation.json alone.

    ``evaluation["models"][name]`` may hold ``digest`` (of the weights) and ``tasks`` (that the model
    answers, for tasks that are no longer in the project); the rest of its shape is that of
    ``training.evaluate``; what ``against_champion`` and ``costs`` would say is not asked where they are
    missing. All reasons are given, not only the first that decided.
    """
    numbers: dict[str, Any] = {
        **promotion.model_dump(mode="json", exclude={"model_name"}),
        "held_out": evaluation.get("held_out"),
        "tasks": {},
        "new_tasks": [],
    }
    checked = router_check_findings(evaluation, promotion, numbers, challenger)
    if champion not in evaluation["models"]:
        refused = any(finding.verdict for finding in checked)
        reasons = (NO_CHAMPION, *(finding.reason for finding in checked))
        return Decision("refuse" if refused else "promote", reasons, numbers)
    same = _same(evaluation, challenger, champion)
    findings = [*_lost_tasks(evaluation, challenger, champion), *same]
    for name, task in evaluation["tasks"].items():
        if challenger not in task["models"]:
            continue
        if champion not in task["models"]:
            findings.append(Finding(None, f"{name}: the champion does not answer this task; not compared"))
            numbers["new_tasks"].append(name)
            continue
        difference = _difference(task, challenger, champion)
        numbers["tasks"][name] = difference
        findings.append(_task_finding(name, difference, promotion))
    findings.append(_mean_finding(numbers, promotion.min_gain))
    findings += guard_findings(evaluation, promotion, numbers)
    findings += cost_findings(evaluation.get("costs"), promotion, numbers, challenger, champion)
    findings += router_findings(evaluation, promotion, numbers, challenger, champion)
    findings += checked
    verdicts = {finding.verdict for finding in findings}
    verdict: Verdict = "promote"
    if same or "cannot tell" in verdicts:
        verdict = "cannot tell"
    if "refuse" in verdicts and not same:
        verdict = "refuse"
    return Decision(verdict, tuple(finding.reason for finding in findings), numbers)


def _lost_tasks(evaluation: Mapping[str, Any], challenger: str, champion: str) -> list[Finding]:
    """A refusal for each task that the champion answers and the challenger does not."""
    tasks = evaluation["tasks"]
    answered = {name for name, task in tasks.items() if challenger in task["models"]}
    had = {name for name, task in tasks.items() if champion in task["models"]}
    had |= set(evaluation["models"][champion].get("tasks") or ())
    return [
        Finding(
            "refuse",
            f"{name}: the champion answers this task and the challenger does not; to drop it for good, "
            "give the model another name (promotion.model_name)",
        )
        for name in sorted(had - answered)
    ]


def _same(evaluation: Mapping[str, Any], challenger: str, champion: str) -> list[Finding]:
    """A finding when both are the same weights: there is nothing to gain and nothing to move."""
    models = evaluation["models"]
    digest = models.get(challenger, {}).get("digest")
    if digest is None or digest != models[champion].get("digest"):
        return []
    return [Finding("cannot tell", "the challenger has the same weights as the champion")]


def _difference(task: Mapping[str, Any], challenger: str, champion: str) -> dict[str, Any]:
    """The paired difference of a task in the metric that it is judged by, on test rows that the champion did
    not learn from (``learned``: how many it did); ends are None if undefined."""
    metric = task["metric"]
    found: Mapping[str, Any] = next(
        (
            each
            for each in task["differences"]
            if (each["model"], each["against"], each["metric"]) == (challenger, champion, metric)
        ),
        {},
    )
    ours, theirs = found.get("scores", (None, None))
    rows = found.get("rows", task["rows"])
    return {
        "metric": metric,
        "rows": rows,
        "learned": task["rows"] - rows,
        "challenger": ours,
        "champion": theirs,
        **{key: finite(found.get(key)) for key in ("value", "low", "high")},
    }


def _task_finding(name: str, numbers: dict[str, Any], promotion: Promotion) -> Finding:
    """Part 3 of the rule for one task; notes its margin in ``numbers``."""
    margin = numbers["margin"] = promotion.margins.get(name, promotion.max_loss)
    called = f"its margin {margin:g}" if name in promotion.margins else f"max_loss {margin:g}"
    value, low, high = numbers["value"], numbers["low"], numbers["high"]
    rows = f"{numbers['rows']} rows"
    if numbers["learned"]:
        rows += f", without {numbers['learned']} that the champion learned from"
    if value is None or low is None or high is None:
        few = "; bring test rows that it did not learn from" if numbers["learned"] else ""
        return Finding(
            "cannot tell", f"{name}: {numbers['metric']} has no difference with an interval on {rows}{few}"
        )
    text = (
        f"{name}: {numbers['metric']} {_number(numbers['challenger'])} against "
        f"{_number(numbers['champion'])} of the champion, difference {value:+.4f} "
        f"(95% interval {low:+.4f} to {high:+.4f}, {rows})"
    )
    if low >= -margin:
        return Finding(None, f"{text}: loses no more than {called}")
    if high < 0 and value < -margin:
        return Finding("refuse", f"{text}: is worse, by more than {called}")
    return Finding("cannot tell", f"{text}: a loss of more than {called} is not ruled out")


def _mean_finding(numbers: dict[str, Any], min_gain: float) -> Finding:
    """Part 4 of the rule; notes the mean gain in ``numbers``."""
    compared = [task for task in numbers["tasks"].values() if None not in (task["value"], task["high"])]
    numbers["mean_gain"] = None
    if not compared:
        return Finding("cannot tell", "no task could be compared with the champion")
    scales = [_scale(task) for task in compared]
    mean, highest = (
        math.fsum(task[end] / scale for task, scale in zip(compared, scales, strict=True)) / len(compared)
        for end in ("value", "high")
    )
    numbers["mean_gain"] = mean
    over = "1 task" if len(compared) == 1 else f"{len(compared)} tasks"
    text = f"mean gain over {over} {mean:+.4f}"
    if mean >= min_gain and mean > 0:
        return Finding(None, f"{text}: reaches min_gain {min_gain:g}")
    if mean >= min_gain and numbers["new_tasks"]:
        more = ", ".join(numbers["new_tasks"])
        return Finding(None, f"{text}: nothing is lost, and the champion does not answer {more}")
    if highest < min_gain:
        return Finding("refuse", f"{text}, at most {highest:+.4f}: stays below min_gain {min_gain:g}")
    wanted = f"min_gain {min_gain:g}" if min_gain else "a gain above zero"
    return Finding("cannot tell", f"{text}: does not reach {wanted}")


def _scale(task: Mapping[str, Any]) -> float:
    """What a gain is divided by before the mean: of an error, which has the label's unit, the mean of the
    error before and after, so that each of two models gains as much over the other as it loses; else 1."""
    if task["metric"] not in LOWER_IS_BETTER:
        return 1.0
    return (task["challenger"] + task["champion"]) / 2 or 1.0


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{value:.4f}"
