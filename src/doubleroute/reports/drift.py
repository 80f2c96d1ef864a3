"""The report of a drift check: one self-contained HTML file, the same in Markdown, and a few lines.

What cannot be told is said to be so, and what the attribution could not verify is left out or marked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubleroute.reports import drift_figures as figures
from doubleroute.reports.details import provenance_blocks
from doubleroute.reports.evaluation import Block, Note, Section, page
from doubleroute.reports.markdown import markdown_report
from doubleroute.reports.moved import moved_blocks, rows_blocks, summary
from doubleroute.reports.tables import Table
from doubleroute.reports.wording import NOTHING, anchor, count, interval, is_number, number, shown
from doubleroute.workspace import write_text

_VERDICTS = {"moved": "The data moved", "not seen": "No drift seen", "cannot tell": "Cannot tell"}
_DECISIONS = {"retrain": "Decision: retrain", "wait": "Decision: wait", "ask": "Decision: ask a person"}


@dataclass(frozen=True)
class Box:
    """What stands first: a few large words, a sentence and its reasons."""

    word: str
    lines: list[str]
    tone: str


def write_drift_report(
    folder: Path,
    drift: Mapping[str, Any],
    performance: Mapping[str, Any],
    decision: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> None:
    """Write ``drift.html`` and ``drift.md`` into ``folder``; the same inputs give the same bytes.

    ``drift``: what ``detectors.measure`` gives, with what ``attribution.attribute`` gives, or None;
    ``performance`` {task: {metric, higher_is_better, reference, current, estimated, estimate_error,
    fall}}, each null where unknown; ``decision`` {verdict, reasons, numbers} or None; ``about``: project,
    data version, champion, time, counts, printed as given.
    Raises MachineError when the files cannot be written.
    """
    title = f"{shown(about.get('project') or 'doubleroute', 70)}: drift"
    boxes = [verdict_box(drift), decision_box(decision)]
    sections = sections_of(drift, performance, decision, about)
    told = page(title, [], sections, "drift.html.jinja", boxes=boxes, about=_about(drift, about))
    write_text(folder / "drift.html", told)
    lines = [_about(drift, about), *(" ".join([f"{box.word}.", *box.lines]) for box in boxes)]
    write_text(folder / "drift.md", markdown_report(title, lines, sections, "drift.html"))


def drift_lines(drift: Mapping[str, Any], performance: Mapping[str, Any]) -> list[str]:
    """The check in a few lines for a terminal: the verdict, what moved in each scope with the strongest
    first, what the attribution could verify, and every task whose metric fell for certain."""
    box = verdict_box(drift)
    lines = [f"{box.word}: {box.lines[0]}", *(f"  {line}" for line in box.lines[1:])]
    falls = ((task, entry) for task, entry in performance.items() if change_of(entry) == "worse")
    return [*lines, *(f"{shown(task, 70)}: {_performance(entry)}" for task, entry in falls)]


def verdict_box(drift: Mapping[str, Any]) -> Box:
    """The verdict in words, with the tests that moved."""
    tests = drift["tests"]
    moved = [test for test in tests if test["verdict"] == "moved"]
    silent = sum(test["verdict"] == "cannot tell" for test in tests)
    rows = f"{count(drift['rows']['current'])} current rows against {count(drift['rows']['reference'])}"
    if drift["verdict"] == "moved":
        scopes = " and ".join(shown(scope, 40) for scope in drift["moved"])
        said = f"{scopes}: {len(moved)} of {len(tests)} tests find a change"
        said += f", {rows}"
    elif drift["verdict"] == "not seen":
        said = f"0 of {len(tests) - silent} tests find a change, {rows}"
    else:
        said = f"{rows} are too few for a test; that is not the same as no drift"
    if silent and drift["verdict"] != "cannot tell":
        said += f"; {silent} {'tests' if silent > 1 else 'test'} cannot tell"
    lines = [f"{said}."]
    for scope in drift["moved"]:
        there = sorted((test for test in moved if test["scope"] == scope), key=_strength, reverse=True)
        what = (f"{shown(test['what'], 40)} ({number(test['effect'])})" for test in there)
        lines.append(f"{shown(scope, 40)}, by effect: {', '.join(what)}")
    found = drift.get("attribution")
    if moved and found:
        lines += summary(found)
        lines += [] if found["held_out"]["better_than_chance"] else [shown(found["held_out"]["said"], 500)]
    return Box(_VERDICTS[drift["verdict"]], lines, drift["verdict"].replace(" ", "-"))


def decision_box(decision: Mapping[str, Any] | None) -> Box:
    """The decision in words, with its reasons."""
    if decision is None:
        return Box("No decision", ["None was asked for: this is a look at the data alone."], "none")
    reasons = [shown(reason, 400) for reason in decision["reasons"]]
    because = ["Because:"] if reasons else ["No reason is recorded."]
    return Box(_DECISIONS[decision["verdict"]], [*because, *reasons], decision["verdict"])


def sections_of(
    drift: Mapping[str, Any],
    performance: Mapping[str, Any],
    decision: Mapping[str, Any] | None,
    about: Mapping[str, Any],
) -> list[Section]:
    """The sections in the order of reading; those that have nothing to show are left out."""
    found = drift.get("attribution")
    sections: dict[str, list[Block]] = {
        "Tests": list(_tests(drift)),
        "Performance": list(_performances(performance)),
        "What moved": list(moved_blocks(found)) if found else [],
        "Labels": list(_labels(drift["label_shift"])),
        "Rows": list(rows_blocks(found)) if found else [],
        "What was compared": [
            *provenance_blocks(about),
            *(_numbers(decision["numbers"]) if decision and decision.get("numbers") else []),
        ],
    }
    return [Section(title, anchor(title), blocks) for title, blocks in sections.items() if blocks]


def change_of(entry: Mapping[str, Any]) -> str:
    """Whether a task's metric got "worse" or "better", or "cannot tell", by the interval of its fall."""
    fall = entry.get("fall")
    if not fall or not (is_number(fall["low"]) and is_number(fall["high"])):
        return "cannot tell"
    return "worse" if fall["low"] > 0 else "better" if fall["high"] < 0 else "cannot tell"


def chance(p: Any) -> str:
    """A p-value: three decimals, and '<0.001' below."""
    return "<0.001" if is_number(p) and p < 0.0005 else number(p)


def _tests(drift: Mapping[str, Any]) -> Iterator[Block]:
    tests = drift["tests"]
    if not tests:
        yield Note("No test could be made.")
        return
    rows = [
        (
            _name(test),
            shown(test["verdict"], 40),
            chance(test["p_adjusted"]),
            number(test["effect"]),
            " / ".join(map(count, test["rows"])),
        )
        for test in tests
    ]
    note = (
        f"p is corrected over all tests: without drift, {drift['alpha']:.1%} of checks say moved, or fewer. "
        "The effect is 0 for no change and at most 1. Cannot tell: too few rows; not the same as no drift."
    )
    header = ("test", "verdict", "p, adjusted", "effect", "rows, reference / current")
    yield Table("Tests of a change", header, rows, words=2, note=note)
    if any(is_number(test["p_adjusted"]) for test in tests):
        yield figures.tests_figure(tests, drift["alpha"])
    details = [
        (
            _name(test),
            shown(test["method"], 200),
            shown(test["why"], 400),
            shown(test["effect_name"], 80),
            chance(test["p"]),
        )
        for test in tests
    ]
    header = ("test", "method", "why", "effect is", "p alone")
    yield Table("How each test was made", header, details, words=4, folded=True)


def _performances(performance: Mapping[str, Any]) -> Iterator[Block]:
    if not performance:
        return
    rows = []
    for task, entry in performance.items():
        off = entry.get("estimate_error")
        error = NOTHING
        if off:
            error = f"{number(off['estimated'] - off['measured'], signed=True)} ({count(off['rows'])} rows)"
        rows.append(
            (
                shown(task, 70),
                f"{shown(entry['metric'], 40)}{'' if entry['higher_is_better'] else ' ↓'}",
                change_of(entry),
                *(interval(entry.get(key)) for key in ("reference", "current", "estimated")),
                error,
                interval(entry.get("fall"), signed=True),
            )
        )
    header = (
        "task",
        "metric",
        "verdict",
        "reference",
        "labelled current",
        "estimated",
        "estimate off by",
        "fall",
    )
    note = (
        "Estimated: from the answers' calibrated confidence, without labels; beside it, how far off it was "
        "when labels last came. Fall: positive is worse; where zero lies in its interval, nobody can tell."
    )
    if not all(entry["higher_is_better"] for entry in performance.values()):
        note += " ↓: lower is better."
    yield Table("The champion on what arrived", header, rows, words=3, note=note)
    for task, entry in performance.items():
        yield Note(f"{shown(task, 70)}: {_performance(entry)}.")


def _performance(entry: Mapping[str, Any]) -> str:
    """One sentence on a task's performance."""
    metric = shown(entry["metric"], 40)
    now, before, guess = (entry.get(key) for key in ("current", "reference", "estimated"))
    verdict, fall = change_of(entry), entry.get("fall")
    if verdict == "cannot tell":
        said = f"cannot tell whether {metric} got worse"
        said += f", {interval(fall, signed=True)}" if fall else ""
    else:
        # Positive is worse; what got better is told as a positive gain.
        sign = 1 if verdict == "worse" else -1
        ends = sorted(sign * fall[key] for key in ("low", "high")) if fall else [None, None]
        change = {"value": sign * fall["value"], "low": ends[0], "high": ends[1]} if fall else {}
        said = f"{metric} got {verdict} by {interval(change)}"
    if now:
        said += f"; {interval(now)} on {count(now['rows'])} labelled current rows"
    else:
        said += "; no current row has a label"
    if before:
        said += f", {interval(before)} on {count(before['rows'])} reference rows"
    if guess and not now:
        said += f"; {interval(guess)} is estimated from confidence on {count(guess['rows'])} rows"
    return said


def _labels(shifts: Mapping[str, Any]) -> Iterator[Block]:
    for task, shift in shifts.items():
        if shift["labels"]:
            title = f"{shown(task, 70)}: shares of the labels"
            yield figures.shares_figure(shift["labels"], f"{title} ({shown(shift['method'], 60)})")
        if shift.get("why"):
            unknown = "" if shift["labels"] else "cannot tell the shares of the labels: "
            yield Note(f"{shown(task, 70)}: {unknown}{shown(shift['why'], 300)}.")


def _numbers(numbers: Mapping[str, Any]) -> Iterator[Block]:
    for block in provenance_blocks(numbers):
        if isinstance(block, Table):
            yield Table("Numbers of the decision", block.header, block.rows, words=2, folded=True)


def _strength(test: Mapping[str, Any]) -> float:
    """The effect: a permutation test's p ends at one in the number of permutations, whatever moved."""
    return float(test["effect"] or 0.0)


def _name(test: Mapping[str, Any]) -> str:
    return f"{shown(test['scope'], 60)}: {shown(test['what'], 60)}"


def _about(drift: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """When, and what against what, in one line."""
    version = about.get("champion")
    if isinstance(version, Mapping):
        version = version.get("version")
    parts = [shown(about["time"], 40)] if about.get("time") else []
    parts.append(f"champion: version {shown(str(version), 40)}" if version is not None else "no champion yet")
    parts.append(f"{count(drift['rows']['reference'])} reference rows")
    parts.append(f"{count(drift['rows']['current'])} current rows")
    return " · ".join(parts)
