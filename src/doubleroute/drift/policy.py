"""Retrain, wait or ask: one pure decision with its reasons, from stored numbers and the project's policy.

The rule, on the facts of one look at what arrived (``decide`` says their shape):

1. For a retraining speak: there is no champion; the inputs or a task's labels moved (``on_drift``); a
   task's metric on labelled current rows fell by more than ``max_fall``, or its own of ``max_falls``, for
   certain, that is, the lower end of the fall's 95% interval lies above it; a task has new labelled training
   rows of at least ``new_labels`` of those that the champion learned from; a task that the champion lacks
   has ``min_new_labels`` of them; the champion is older than ``max_age_days``. ``numbers["tasks"]`` are the
   tasks of these reasons, None where one of them is of no task: age, the inputs.
2. A drift speaks only until labels have answered it: where every task's measured fall is for certain at
   most what it may be (the interval's upper end), what moved did no harm and the drift is noted alone.
3. Against it speak, and turn it into a wait: a version was made from this champion, of these data and by this
   policy already, with the same tasks, and it is not champion (``tried``): once more it would be the same;
   the last retraining is less than ``cooldown_hours`` ago; ``max_per_week`` retrainings began in the last
   seven days; ``only_new_tasks`` is on and the champion lacks no task, so that nothing would learn.
4. Against it speak, and turn it into a question: no task that would learn has ``min_new_labels`` new labelled
   training rows (there is nothing new to learn from: label some); it is expected to cost more than
   ``max_seconds``.
5. A fall that is only estimated (no labelled current rows) and above ``max_fall`` for certain asks for
   labels; with a reason of part 1 beside it the retraining goes ahead.
6. Nothing for it: wait. What could not be told, drift or fall, is said and stands for nothing.

A wait (3) goes before a question (4, 5): nobody is asked about what may not be done yet. Without a champion
nothing of part 4 about labels applies. All reasons are given, not only the first that decided.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from doubleroute.config import Retraining

#: A retraining that began so far in the future was noted by a clock that was wrong, and counts for nothing.
AHEAD = timedelta(days=1)
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
    """One sentence, and what it does: speaks for, blocks, asks, asks for labels, or is only said. ``tasks``:
    those that it is about, where it speaks for a retraining of them alone."""

    effect: _Effect
    reason: str
    tasks: tuple[str, ...] = ()


def decide(facts: Mapping[str, Any], policy: Retraining) -> Decision:
    """Decide by the rule of this module's docstring. Pure: the same facts and policy, the same decision.

    ``facts``: {"now": ISO time, "champion": {"age_days", ...} | null, "drift": {"verdict", "moved",
    "tests"} | null, "performance": {task: {"metric", "fall": {"value", "low", "high"} | null,
    "reference", "current", "estimated", "higher_is_better"}}, "new_labels": {task: rows}, "learned_from":
    {task: rows}, "retrainings": [ISO times, newest first], "tried": {"version", "verdict"} | null,
    "new_tasks": [those that the champion lacks], "expected_seconds": s | null, "expected_heads_seconds": s |
    null, where heads alone learn}; what is missing counts as not known. Falls are in units of each task's
    metric, positive is worse.
    """
    numbers: dict[str, Any] = {"policy": _bounds(policy)}
    findings = [
        *_champion(facts, policy, numbers),
        *_performance(facts, policy, numbers),
        *_drift(facts, policy, numbers),
        *_new_labels(facts, policy, numbers),
        *_new_tasks(facts, policy, numbers),
    ]
    speaking = [finding for finding in findings if finding.effect == "for"]
    tasks = dict.fromkeys(task for finding in speaking for task in finding.tasks)
    numbers["tasks"] = list(tasks) if all(finding.tasks for finding in speaking) else None
    findings += [*_pauses(facts, policy, numbers), *_cost(facts, policy, numbers)]
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


def heads_alone(
    facts: Mapping[str, Any], policy: Retraining, speaking: Sequence[str] | None
) -> Sequence[str] | None:
    """The tasks whose heads alone would learn where these (``numbers["tasks"]``) speak for a retraining; None
    where everything would."""
    if policy.start != "champion" or facts.get("champion") is None:
        return None
    if policy.only_new_tasks:
        new: Sequence[str] | None = facts.get("new_tasks")
        return new
    return speaking or None if policy.keep_unmoved else None


def moment(text: str) -> datetime:
    """An ISO 8601 time; one without a zone is UTC."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _bounds(policy: Retraining) -> dict[str, Any]:
    limits = {"max_fall", "max_falls", "new_labels", "max_age_days", "min_new_labels", "cooldown_hours"}
    limits |= {"max_per_week", "max_seconds"}
    return policy.model_dump(mode="json", include={"on_drift", "keep_unmoved", "only_new_tasks", *limits})


def _most(policy: Retraining, task: str) -> tuple[float, str]:
    """What a task's metric may fall by, and how a reason calls it."""
    own = policy.max_falls.get(task)
    return (
        (policy.max_fall, f"max_fall {policy.max_fall:g}") if own is None else (own, f"its max_fall {own:g}")
    )


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
        most, called = _most(policy, task)
        if fall is not None and fall.get("low") is not None and fall.get("high") is not None:
            numbers["falls"][task] = dict(fall)
            yield _measured(task, metric, fall, _rows(about.get("current")), policy)
            continue
        lowest = _estimated_fall(about)
        numbers["estimated_falls"][task] = lowest
        if lowest is None:
            rows = _rows(about.get("current"))
            yield _Finding(
                "note", f"{task}: cannot tell whether {metric} fell ({rows} labelled current rows)"
            )
        elif lowest > most:
            text = f"{task}: {metric} is estimated to have fallen by at least {lowest:.4f}"
            more = "more" if _rows(about.get("current")) else "some"
            yield _Finding("label", f"{text}, more than {called}; label {more} current rows")
        else:
            few = "with few" if _rows(about.get("current")) else "without"
            text = f"{task}: {few} labels a fall of {metric} by more than {called}"
            yield _Finding("note", f"{text} is not certain (estimated lower end {lowest:+.4f})")


def _measured(task: str, metric: str, fall: Mapping[str, Any], rows: int, policy: Retraining) -> _Finding:
    low, high = fall["low"], fall["high"]
    most, called = _most(policy, task)
    text = (
        f"{task}: {metric} on labelled current rows fell by {fall['value']:+.4f} "
        f"(95% interval {low:+.4f} to {high:+.4f}, {rows} rows)"
    )
    if low > most:
        return _Finding("for", f"{text}: for certain more than {called}", (task,))
    if high <= most:
        return _Finding("note", f"{text}: for certain at most {called}")
    return _Finding("note", f"{text}: cannot tell whether by more than {called}")


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
            most = f"max_fall {policy.max_fall:g}" + (" or its own" if policy.max_falls else "")
            yield _Finding("note", f"{text}; no task fell by more than {most}, for certain")
        else:
            moved = tuple(drift["moved"])
            yield _Finding("for", text, () if "inputs" in moved else moved)


def _harmless(facts: Mapping[str, Any], policy: Retraining) -> bool:
    performance = facts.get("performance") or {}
    highest = {task: (about.get("fall") or {}).get("high") for task, about in performance.items()}
    return bool(highest) and all(
        high is not None and high <= _most(policy, task)[0] for task, high in highest.items()
    )


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
            yield _Finding("for", f"{text}: at least new_labels {policy.new_labels:g}", (task,))
        elif fresh[task]:
            yield _Finding("note", f"{text}: fewer than new_labels {policy.new_labels:g}")


def _new_tasks(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    """Part 1's tasks that the champion lacks, and part 3's ``only_new_tasks``."""
    new = numbers["new_tasks"] = facts.get("new_tasks")
    if new is None or facts.get("champion") is None:
        return
    for task in new:
        rows = numbers["new_labels"].get(task, 0)
        text = f"{task}: the champion lacks this task, and there are {rows} labelled training rows of it"
        if rows >= max(1, policy.min_new_labels):
            yield _Finding("for", f"{text}: at least min_new_labels {policy.min_new_labels}", (task,))
        else:
            yield _Finding("note", f"{text}: fewer than min_new_labels {policy.min_new_labels}")
    if policy.only_new_tasks and not new:
        yield _Finding("wait", "only_new_tasks is on and the champion lacks no task: nothing would learn")


def _pauses(facts: Mapping[str, Any], policy: Retraining, numbers: dict[str, Any]) -> Iterator[_Finding]:
    """Part 3."""
    tried = numbers["tried"] = facts.get("tried")
    if tried is not None:
        text = f"version {tried['version']} was made of these data, and the promotion gate said"
        yield _Finding("wait", f"{text} {tried['verdict']}; `doubleroute retrain --force` tries again")
    now = moment(facts["now"])
    ages = [now - moment(each) for each in facts.get("retrainings") or ()]
    ages = [age for age in ages if age > -AHEAD]
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
    alone = heads_alone(facts, policy, numbers["tasks"]) is not None
    seconds = facts.get("expected_heads_seconds") if alone else None
    if seconds is None:  # steps in which heads alone learn cost no more than whole ones
        seconds = facts.get("expected_seconds")
    numbers["expected_seconds"] = seconds
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
    learn = heads_alone(facts, policy, numbers["tasks"])
    fresh = {task: rows for task, rows in numbers["new_labels"].items() if learn is None or task in learn}
    most = max(fresh.values(), default=0)
    if most >= policy.min_new_labels:
        return
    moved = [scope for scope in (facts.get("drift") or {}).get("moved", ()) if scope in fresh]
    tasks = moved or list(fresh) or list(facts.get("performance") or ())
    wanted = f"label some rows of {', '.join(tasks)}" if tasks else "label some rows"
    text = f"at most {most} new labelled training rows of a task, min_new_labels is {policy.min_new_labels}"
    yield _Finding("ask", f"{text}: there is nothing new to learn from; {wanted}")
