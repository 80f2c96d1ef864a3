"""Retrain, wait or ask: one pure decision with its reasons, from stored numbers and the project's policy.

The rule, on the facts of one look at what arrived (``decide`` says their shape):

1. For a retraining speak: there is no champion; the inputs or a task's labels moved (``on_drift``); a
   task's metric on labelled current rows fell by more than ``max_fall`` for certain, that is, the lower
   end of the fall's 95% interval lies above it; a task has new labelled training rows of at least
   ``new_labels`` of those that the champion learned from; the champion is older than ``max_age_days``.
2. A drift speaks only until labels have answered it: where every task's measured fall is for certain at
   most ``max_fall`` (the interval's upper end), what moved did no harm and the drift is noted alone.
3. Against it speak, and turn it into a wait: a version was made from this champion, of these data and by this
   policy already, and it is not champion (``tried``): once more it would be the same; the last retraining is
   less than ``cooldown_hours`` ago; ``max_per_week`` retrainings began in the last seven days.
4. Against it speak, and turn it into a question: no task has ``min_new_labels`` new labelled training rows
   (there is nothing new to learn from: label some); it is expected to cost more than ``max_seconds``.
5. A fall that is only estimated (no labelled current rows) and above ``max_fall`` for certain asks for
   labels; with a reason of part 1 beside it the retraining goes ahead.
6. Nothing for it: wait. What could not be told, drift or fall, is said and stands for nothing.

A wait (3) goes before a question (4, 5): nobody is asked about what may not be done yet. Without a champion
nothing of part 4 about labels applies. All reasons are given, not only the first that decided.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from doubleroute.config import Retraining, Training

Verdict = Literal["retrain", "wait", "ask"]
_Effect = Literal["for", "wait", "ask", "label", "note"]


@dataclass(frozen=True)
class Decision:
    """What to do and why. ``numbers`` is plain JSON: all that the rule looked at, bounds included."""

    verdict: Verdict
    reasons: tuple[str, ...]
    numbers: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: verdict, reasons, numbers."""
        return {**asdict(self), "reasons": list(self.reasons)}


@dataclass(frozen=True)
class _Finding:
    """One sentence, and what it does: speaks for, blocks, asks, asks for labels, or is only said."""

    effect: _Effect
    reason: str


def decide(facts: Mapping[str, Any], policy: Retraining) -> Decision:
    """Decide by the rule of this module's docstring. Pure: the same facts and policy, the same decision.

    ``facts``: {"now": ISO time, "champion": {"age_days", ...} | null, "drift": {"verdict", "moved",
    "tests"} | null, "performance": {task: {"metric", "fall": {"value", "low", "high"} | null,
    "reference", "current", "estimated", "higher_is_better"}}, "new_labels": {task: rows}, "learned_from":
    {task: rows}, "retrainings": [ISO times, newest first], "tried": {"version", "verdict"} | null,
    "expected_seconds": s | null}; what is missing counts as not known. Falls are in units of each task's
    metric, positive is worse.
    """
    numbers: dict[str, Any] = {"policy": _bounds(policy)}
    findings = [
        *_champion(facts, policy, numbers),
        *_performance(facts, policy, numbers),
        *_drift(facts, policy, numbers),
        *_new_labels(facts, policy, numbers),
        *_pauses(facts, policy, numbers),
        *_cost(facts, policy, numbers),
    ]
    effects = {finding.effect for finding in findings}
    wanted = "for" in effects
    if wanted and facts.get("champion") is not None:
        findings += _nothing_to_learn(facts, policy, numbers)
        effects = {finding.effect for finding in findings}
    if "wait" in effects or not effects & {"for", "label"}:
        verdict: Verdict = "wait"
    else:
        verdict = "ask" if "ask" in effects or not wanted else "retrain"
    if not effects & {"for", "label"}:
        findings.append(_Finding("note", "nothing speaks for a retraining"))
    return Decision(verdict, tuple(finding.reason for finding in findings), numbers)


def expected_seconds(
    training: Training, retraining: Retraining, rows: float, seconds: float, steps: int, heads: float | None
) -> float | None:
    """What a retraining whose epoch draws so many ``rows`` (what their weights sum to) should cost: the
    ``seconds`` a step of the live model's training of so many ``steps``, times the steps that there would be,
    and in mode auto no more than its budget; of solved heads as long as those of the live model took
    (``heads``). In seconds; None where that says nothing."""
    warm = retraining.start == "champion"
    mode = (retraining.mode if warm else None) or training.mode
    if mode == "heads":
        return None if heads is None else round(heads, 1)
    if not steps:
        return None
    share = retraining.effort if warm else 1.0
    expected = seconds / steps * training.epochs * share * rows / training.batch_size
    if mode == "auto" and training.seconds is not None:
        expected = min(expected, training.seconds)
    return round(expected, 1)


def moment(text: str) -> datetime:
    """An ISO 8601 time; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _bounds(policy: Retraining) -> dict[str, Any]:
    names = ("on_drift", "max_fall", "new_labels", "max_age_days", "min_new_labels", "cooldown_hours")
    return {name: getattr(policy, name) for name in (*names, "max_per_week", "max_seconds")}


def _champion(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    champion = facts.get("champion")
    numbers["age_days"] = None if champion is None else champion.get("age_days")
    if champion is None:
        yield _Finding("for", "there is no champion yet")
    elif policy.max_age_days is not None and numbers["age_days"] is not None:
        text = f"the champion is {numbers['age_days']:.1f} days old"
        if numbers["age_days"] > policy.max_age_days:
            yield _Finding("for", f"{text}, more than max_age_days {policy.max_age_days:g}")
        else:
            yield _Finding("note", f"{text}, within max_age_days {policy.max_age_days:g}")


def _performance(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    """Part 1's falls and part 5."""
    numbers["falls"], numbers["estimated_falls"] = {}, {}
    for task, about in (facts.get("performance") or {}).items():
        fall, metric = about.get("fall"), about["metric"]
        if fall is not None and fall.get("low") is not None and fall.get("high") is not None:
            numbers["falls"][task] = dict(fall)
            yield _measured(task, metric, fall, _rows(about.get("current")), policy.max_fall)
            continue
        lowest = _estimated_fall(about)
        numbers["estimated_falls"][task] = lowest
        if lowest is None:
            rows = _rows(about.get("current"))
            yield _Finding(
                "note", f"{task}: cannot tell whether {metric} fell ({rows} labelled current rows)"
            )
        elif lowest > policy.max_fall:
            text = f"{task}: {metric} is estimated to have fallen by at least {lowest:.4f}"
            more = "more" if _rows(about.get("current")) else "some"
            yield _Finding(
                "label", f"{text}, more than max_fall {policy.max_fall:g}; label {more} current rows"
            )
        else:
            few = "with few" if _rows(about.get("current")) else "without"
            text = f"{task}: {few} labels a fall of {metric} by more than max_fall {policy.max_fall:g}"
            yield _Finding("note", f"{text} is not certain (estimated lower end {lowest:+.4f})")


def _measured(task: str, metric: str, fall: Mapping[str, Any], rows: int, most: float) -> _Finding:
    low, high = fall["low"], fall["high"]
    text = (
        f"{task}: {metric} on labelled current rows fell by {fall['value']:+.4f} "
        f"(95% interval {low:+.4f} to {high:+.4f}, {rows} rows)"
    )
    if low > most:
        return _Finding("for", f"{text}: for certain more than max_fall {most:g}")
    if high <= most:
        return _Finding("note", f"{text}: for certain at most max_fall {most:g}")
    return _Finding("note", f"{text}: cannot tell whether by more than max_fall {most:g}")


def _rows(score: Mapping[str, Any] | None) -> int:
    return int((score or {}).get("rows") or 0)


def _estimated_fall(about: Mapping[str, Any]) -> float | None:
    """The least that an estimate without labels admits: from the reference's unfavourable end to the
    estimate's favourable one; None where either is not known."""
    reference, estimated = about.get("reference"), about.get("estimated")
    higher = about.get("higher_is_better", True)
    ends = ("low", "high") if higher else ("high", "low")
    first, last = (reference or {}).get(ends[0]), (estimated or {}).get(ends[1])
    if first is None or last is None:
        return None
    return float(first - last if higher else last - first)


def _drift(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    """Part 1's drift with part 2."""
    drift = facts.get("drift")
    numbers["drift"] = drift and {"verdict": drift["verdict"], "moved": list(drift["moved"])}
    if drift is None:
        return
    if drift["verdict"] == "cannot tell":
        rows = drift.get("rows")
        few = (
            "rows that the champion knows" if rows and rows["reference"] < rows["current"] else "current rows"
        )
        yield _Finding("note", f"cannot tell whether anything moved: too few {few}")
    elif drift["verdict"] != "moved":
        yield _Finding("note", "no drift was seen")
    else:
        text = f"moved: {', '.join(drift['moved'])} ({_strongest(drift)})"
        numbers["harmless"] = _harmless(facts, policy)
        if not policy.on_drift:
            yield _Finding("note", f"{text}; on_drift is off")
        elif numbers["harmless"]:
            yield _Finding(
                "note", f"{text}; no task fell by more than max_fall {policy.max_fall:g}, for certain"
            )
        else:
            yield _Finding("for", text)


def _harmless(facts: Mapping[str, Any], policy: Retraining) -> bool:
    falls = [each.get("fall") for each in (facts.get("performance") or {}).values()]
    highest = [None if fall is None else fall.get("high") for fall in falls]
    return bool(highest) and all(high is not None and high <= policy.max_fall for high in highest)


def _strongest(drift: Mapping[str, Any]) -> str:
    """The test with the smallest corrected p-value of each scope that moved."""
    found = []
    for scope in drift["moved"]:
        tests = [each for each in drift.get("tests", ()) if each["scope"] == scope]
        known = [each for each in tests if each.get("p_adjusted") is not None]
        if known:
            best = min(known, key=lambda each: (each["p_adjusted"], each["what"]))
            found.append(f"{scope} by {best['what']}, corrected p {best['p_adjusted']:.2g}")
    return "; ".join(found) or "no test has a p-value"


def _new_labels(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    learned, fresh = facts.get("learned_from") or {}, facts.get("new_labels") or {}
    numbers["new_labels"] = dict(fresh)
    numbers["new_share"] = {task: rows / learned[task] for task, rows in fresh.items() if learned.get(task)}
    if policy.new_labels is None:
        return
    for task, share in numbers["new_share"].items():
        text = (
            f"{task}: {fresh[task]} new labelled training rows, {share:.1%} of {learned[task]} learned from"
        )
        if share >= policy.new_labels:
            yield _Finding("for", f"{text}: at least new_labels {policy.new_labels:g}")
        elif fresh[task]:
            yield _Finding("note", f"{text}: fewer than new_labels {policy.new_labels:g}")


def _pauses(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    """Part 3."""
    tried = numbers["tried"] = facts.get("tried")
    if tried is not None:
        text = f"version {tried['version']} was made of these data, and the promotion gate said"
        yield _Finding("wait", f"{text} {tried['verdict']}; `doubleroute retrain --force` tries again")
    now = moment(facts["now"])
    ages = [now - moment(each) for each in facts.get("retrainings") or ()]
    since = min(ages, default=None)
    week = sum(age < timedelta(days=7) for age in ages)
    numbers["hours_since_retraining"] = since and since.total_seconds() / 3600
    numbers["retrainings_in_seven_days"] = week
    if since is not None and since < timedelta(hours=policy.cooldown_hours):
        text = f"the last retraining began {since.total_seconds() / 3600:.1f} hours ago"
        yield _Finding("wait", f"{text}, less than cooldown_hours {policy.cooldown_hours:g}")
    if week >= policy.max_per_week:
        text = f"{week} retrainings in the last seven days"
        yield _Finding("wait", f"{text}: max_per_week is {policy.max_per_week}")


def _cost(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    seconds = numbers["expected_seconds"] = facts.get("expected_seconds")
    if policy.max_seconds is None:
        return
    if seconds is None:
        yield _Finding("note", "cannot tell what a retraining will cost")
    elif seconds > policy.max_seconds:
        text = f"a retraining is expected to take {seconds:.0f} s"
        yield _Finding("ask", f"{text}, more than max_seconds {policy.max_seconds:g}; start it by hand")


def _nothing_to_learn(
    facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]
) -> Iterator[_Finding]:
    """Part 4's labels; names the tasks whose rows should be labelled."""
    fresh = numbers["new_labels"]
    most = max(fresh.values(), default=0)
    if most >= policy.min_new_labels:
        return
    moved = [scope for scope in (facts.get("drift") or {}).get("moved", ()) if scope in fresh]
    tasks = moved or list(fresh) or list(facts.get("performance") or ())
    wanted = f"label some rows of {', '.join(tasks)}" if tasks else "label some rows"
    text = f"at most {most} new labelled training rows of a task, min_new_labels is {policy.min_new_labels}"
    yield _Finding("ask", f"{text}: there is nothing new to learn from; {wanted}")
