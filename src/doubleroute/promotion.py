"""Champion against challenger: one pure decision with its reasons.

The rule, on paired 95% intervals of the difference challenger - champion over the same test rows
(signed so that more is better, in units of each task's metric; see ``training.evaluate``):

1. No champion: promote.
2. A task that the champion answers and the challenger does not: refuse. The same weights: cannot tell.
3. Each task is a non-inferiority test with margin ``max_loss`` (Piaggio et al. 2012, JAMA 308:2594):
   it holds when the interval's lower end is at least -max_loss. It is certainly worse, and the
   challenger refused, when the whole interval lies below zero and the difference below -max_loss.
   Anything between: cannot tell.
4. The mean difference over the compared tasks must reach ``min_gain`` and be above zero. When even
   the mean of the upper ends stays below ``min_gain`` the challenger is refused; otherwise a mean that
   is too small is: cannot tell.

Only "promote" moves the champion. The mean must be above zero even with ``min_gain: 0``, because the
difference of two models changes its sign when they change places: on the same test rows at most one of
the two can replace the other, so equal models never take turns. A task that the champion cannot answer
is not compared and stands in nobody's way. The mean weighs tasks as their metrics are scaled, so
``max_loss`` and ``min_gain`` for a task judged by mae or rmse are in units of its label.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from doubleroute.config import Promotion

Verdict = Literal["promote", "refuse", "cannot tell"]


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


@dataclass(frozen=True)
class _Finding:
    """What one part of the rule says; no verdict means that it does not stand in the way."""

    verdict: Verdict | None
    reason: str


def decide(
    evaluation: Mapping[str, Any],
    promotion: Promotion,
    challenger: str = "routed",
    champion: str = "champion",
) -> Decision:
    """Decide by the rule of this module's docstring, from evaluation.json alone.

    ``evaluation["models"][name]`` may hold ``digest`` (of the weights) and ``tasks`` (that the model
    answers, for tasks that are no longer in the project); the rest of its shape is that of
    ``training.evaluate``. All reasons are given, not only the first that decided.
    """
    numbers: dict[str, Any] = {"max_loss": promotion.max_loss, "min_gain": promotion.min_gain, "tasks": {}}
    if champion not in evaluation["models"]:
        return Decision("promote", ("there is no champion yet",), numbers)
    findings = [*_lost_tasks(evaluation, challenger, champion), *_same(evaluation, challenger, champion)]
    for name, task in evaluation["tasks"].items():
        if challenger not in task["models"]:
            continue
        if champion not in task["models"]:
            findings.append(_Finding(None, f"{name}: the champion does not answer this task; not compared"))
            continue
        difference = _difference(task, challenger, champion)
        numbers["tasks"][name] = difference
        findings.append(_task_finding(name, difference, promotion.max_loss))
    findings.append(_mean_finding(numbers, promotion.min_gain))
    verdicts = {finding.verdict for finding in findings}
    verdict: Verdict = (
        "refuse" if "refuse" in verdicts else "cannot tell" if "cannot tell" in verdicts else "promote"
    )
    return Decision(verdict, tuple(finding.reason for finding in findings), numbers)


def _lost_tasks(evaluation: Mapping[str, Any], challenger: str, champion: str) -> list[_Finding]:
    """A refusal for each task that the champion answers and the challenger does not."""
    tasks = evaluation["tasks"]
    answered = {name for name, task in tasks.items() if challenger in task["models"]}
    had = {name for name, task in tasks.items() if champion in task["models"]}
    had |= set(evaluation["models"][champion].get("tasks") or ())
    return [
        _Finding(
            "refuse",
            f"{name}: the champion answers this task and the challenger does not; to drop it for good, "
            "give the model another name (promotion.model_name)",
        )
        for name in sorted(had - answered)
    ]


def _same(evaluation: Mapping[str, Any], challenger: str, champion: str) -> list[_Finding]:
    """A finding when both are the same weights: there is nothing to gain and nothing to move."""
    models = evaluation["models"]
    digest = models.get(challenger, {}).get("digest")
    if digest is None or digest != models[champion].get("digest"):
        return []
    return [_Finding("cannot tell", "the challenger has the same weights as the champion")]


def _difference(task: Mapping[str, Any], challenger: str, champion: str) -> dict[str, Any]:
    """The paired difference of a task in the metric that it is judged by; ends are None if undefined."""
    metric = task["metric"]
    found: Mapping[str, Any] = next(
        (
            each
            for each in task["differences"]
            if (each["model"], each["against"], each["metric"]) == (challenger, champion, metric)
        ),
        {},
    )
    score = {name: task["models"][name]["scores"].get(metric, {}) for name in (challenger, champion)}
    return {
        "metric": metric,
        "rows": task["rows"],
        "challenger": score[challenger].get("value"),
        "champion": score[champion].get("value"),
        **{key: _finite(found.get(key)) for key in ("value", "low", "high")},
    }


def _task_finding(name: str, numbers: Mapping[str, Any], max_loss: float) -> _Finding:
    """Part 3 of the rule for one task."""
    value, low, high = numbers["value"], numbers["low"], numbers["high"]
    if value is None or low is None or high is None:
        return _Finding(
            "cannot tell",
            f"{name}: {numbers['metric']} has no difference with an interval on {numbers['rows']} rows",
        )
    text = (
        f"{name}: {numbers['metric']} {_number(numbers['challenger'])} against "
        f"{_number(numbers['champion'])} of the champion, difference {value:+.4f} "
        f"(95% interval {low:+.4f} to {high:+.4f}, {numbers['rows']} rows)"
    )
    if low >= -max_loss:
        return _Finding(None, f"{text}: loses no more than max_loss {max_loss:g}")
    if high < 0 and value < -max_loss:
        return _Finding("refuse", f"{text}: is worse, by more than max_loss {max_loss:g}")
    return _Finding("cannot tell", f"{text}: a loss of more than max_loss {max_loss:g} is not ruled out")


def _mean_finding(numbers: dict[str, Any], min_gain: float) -> _Finding:
    """Part 4 of the rule; notes the mean gain in ``numbers``."""
    compared = [task for task in numbers["tasks"].values() if None not in (task["value"], task["high"])]
    numbers["mean_gain"] = None
    if not compared:
        return _Finding("cannot tell", "no task could be compared with the champion")
    mean = math.fsum(task["value"] for task in compared) / len(compared)
    highest = math.fsum(task["high"] for task in compared) / len(compared)
    numbers["mean_gain"] = mean
    over = "1 task" if len(compared) == 1 else f"{len(compared)} tasks"
    text = f"mean gain over {over} {mean:+.4f}"
    if mean >= min_gain and mean > 0:
        return _Finding(None, f"{text}: reaches min_gain {min_gain:g}")
    if highest < min_gain:
        return _Finding("refuse", f"{text}, at most {highest:+.4f}: stays below min_gain {min_gain:g}")
    wanted = f"min_gain {min_gain:g}" if min_gain else "a gain above zero"
    return _Finding("cannot tell", f"{text}: does not reach {wanted}")


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{value:.4f}"
