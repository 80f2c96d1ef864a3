"""The verdict on a change of the data: approve, look or block.

1. A finding counts as the project says (``review.severity``), else as it does by default; changed rules and
   tasks also as the project said before the change.
2. A finding that is acknowledged up to this day does not count.
3. block if a finding that counts blocks; look if one asks for a look; else approve.

What the impact says, predicted or trained for real, enters through the finding ``worse``; here it is told,
whatever it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from doubleroute.config import Review
from doubleroute.review.findings import counted, severity_of

#: What `doubleroute review` exits with.
EXIT_CODES = {"approve": 0, "look": 0, "block": 3}


def decide(
    findings: Sequence[Mapping[str, Any]],
    impact: Mapping[str, Mapping[str, Any]] | None,
    review: Review,
    today: date,
    entries: Sequence[str] = (),
    full: Mapping[str, Mapping[str, Any]] | None = None,
    before: Review | None = None,
) -> dict[str, Any]:
    """Decide from what review.json holds: {"verdict", "reasons", "exit_code"}.

    ``findings``, ``impact`` and ``full``: as in review.json, no impact where it was not measured or not
    trained for real; ``entries``: what ``acknowledged.acknowledge`` says of its entries; ``review`` and
    ``before``: the rules of head and of base. All reasons are given, the worst first.
    """
    counting = [each for each in findings if not _accepted(each, today)]
    by = {
        severity: [each for each in counting if severity_of(each["name"], review, before) == severity]
        for severity in ("block", "look", "note")
    }
    verdict = "block" if by["block"] else "look" if by["look"] else "approve"
    reasons = [f"blocks: {_told(each)}" for each in by["block"]]
    reasons += [f"needs a look: {_told(each)}" for each in by["look"]]
    if not reasons:
        reasons.append("nothing that counts was found")
    if by["note"]:
        names = ", ".join(dict.fromkeys(each["name"] for each in by["note"]))
        reasons.append(f"notes, which stand in nobody's way: {names}")
    reasons += [_acknowledged(each) for each in findings if _accepted(each, today)]
    reasons += entries
    reasons += _impact(impact) if impact else ["what the change does to the scores was not measured"]
    reasons += [f"trained for real, {each}" for each in _impact(full or {})]
    return {"verdict": verdict, "reasons": reasons, "exit_code": EXIT_CODES[verdict]}


def _accepted(finding: Mapping[str, Any], today: date) -> bool:
    said = finding.get("acknowledged")
    return said is not None and date.fromisoformat(said["until"]) >= today


def _told(finding: Mapping[str, Any]) -> str:
    of = f" in {finding['task']}" if finding["task"] else ""
    return f"{finding['name']}{of}: {finding['title']}"


def _acknowledged(finding: Mapping[str, Any]) -> str:
    said = finding["acknowledged"]
    return f"acknowledged until {said['until']}, because {said['reason']}: {_told(finding)}"


def _impact(impact: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the change does to each task's score, in a sentence each."""
    for task, each in impact.items():
        difference = each.get("difference")
        if difference is None or difference.get("value") is None:
            why = f": {each['why']}" if each.get("why") else ""
            yield f"{task}: {each['verdict']}{why}"
            continue
        base, head = _number(each["base"]["value"]), _number(each["head"]["value"])
        by_loss = " by its loss" if each["verdict"] != difference.get("verdict", each["verdict"]) else ""
        yield (
            f"{task}: {each['metric']} {base} before, {head} after, {_signed(difference)} "
            f"on {counted(each['rows'], 'held-out row')}: {each['verdict']}{by_loss}"
        )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _signed(difference: Mapping[str, Any]) -> str:
    value, low, high = (difference.get(key) for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value:+.4f}"
    return f"{value:+.4f} (95% interval {low:+.4f} to {high:+.4f}; above zero is better)"
