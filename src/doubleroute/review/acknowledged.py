"""acknowledged.yaml, beside project.yaml: findings that somebody looked at and accepts for a while.

    - finding: near-duplicate
      task: intent                  # optional: of this task alone
      rows: [r3f09ac21, r77b01e5d]  # optional: these rows alone, as findings.jsonl lists them
      reason: the same question in two spellings, wanted
      until: 2027-03-31

An entry counts up to its day, that day included. One about a change of the rules names the changes that it
accepts, and counts where base has it already: a change does not accept what it makes of them.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from doubleroute.config.keeping import FINDINGS
from doubleroute.config.yaml_file import KeyPath, Mistake, Notes, Unreadable, dotted, parse
from doubleroute.data.raw import listed, near, short
from doubleroute.errors import InputError
from doubleroute.review.findings import OF_RULES, Finding, counted

FILE = "acknowledged.yaml"
_KEYS = ("finding", "task", "rows", "reason", "until")
_NEEDED = ("finding", "reason", "until")
#: What no entry accepts, what is of no task, and what names no rows.
_NEVER = frozenset({"unreadable"})
_OF_NO_TASK = frozenset({*OF_RULES, "columns", "reordered", "untrained"})
_WITHOUT_ROWS = frozenset(
    {"columns", "reordered", "untrained", "imbalance", "answers", "drift", "worse", "worse-loss"}
)
_SHAPE = "a list of entries, each with the keys finding, reason and until"


@dataclass(frozen=True)
class Entry:
    """One entry. ``index``: its place in the file, from 0; ``line``: where it begins, from 1; ``rows``: None
    for all."""

    index: int
    line: int | None
    finding: str
    task: str | None
    rows: tuple[str, ...] | None
    reason: str
    until: date

    def __str__(self) -> str:
        of = f" of {self.task}" if self.task else ""
        return f"{FILE} line {self.line} ({self.finding}{of})"


def entries(text: str, tasks: Collection[str], file: str = FILE) -> list[Entry]:
    """The entries of a text, none of an empty one. ``tasks``: those that there are; ``file``: how errors
    call the text.

    Raises InputError with every mistake: what is no YAML 1.2, unknown keys, findings and tasks, an empty
    reason, rows that are no list, a day that is none.
    """
    notes = Notes()
    try:
        found = parse(text, notes)
    except Unreadable as error:
        raise InputError(f"{file}: {error}") from None
    if found is None:
        return []
    if not isinstance(found, tuple):
        raise InputError(f"{file} must be {_SHAPE}")
    mistakes = list(notes.mistakes)
    made = [_entry(each, index, notes, mistakes, tasks) for index, each in enumerate(found)]
    if mistakes:
        unique = sorted(set(mistakes), key=lambda mistake: (mistake.line or 0, mistake.key))
        lines = [f"{file} has {counted(len(unique), 'mistake')}:", *(f"  {each.said()}" for each in unique)]
        raise InputError("\n".join(lines))
    return [each for each in made if each is not None]


def acknowledge(
    findings: Sequence[Finding],
    accepted: Sequence[Entry],
    today: date,
    looked_for: Collection[str],
    before: Sequence[Entry] = (),
) -> tuple[list[Finding], list[str]]:
    """The findings, those that entries accept marked so, and what is to be said of entries that are over,
    match nothing, do not name all rows of a finding, or bring themselves what accepts a change of the rules.
    ``looked_for``: the names of the findings that there could have been; of entries about others nobody knows
    whether they match. ``before``: the entries of base.

    Entries with ``rows`` accept a finding when they name all of its rows between them, each as often as it is
    there: one more copy of a row is not accepted by its name.
    """
    said = [
        f"{each} was over on {each.until.isoformat()} and does not count; look again, then renew or delete it"
        for each in accepted
        if each.until < today
    ]
    valid = [each for each in accepted if each.until >= today]
    known = {_written(each) for each in before}
    used: set[int] = set()
    marked = []
    for finding in findings:
        mine = [each for each in valid if _is_about(each, finding)]
        used.update(each.index for each in mine)
        if finding.name in OF_RULES:
            fresh = [each for each in mine if _written(each) not in known]
            said += [
                f"{each} came with this change and does not count: what accepts a change of the rules must "
                "have been merged before it"
                for each in fresh
            ]
            mine = [each for each in mine if each not in fresh]
        whole = next((each for each in mine if each.rows is None), None)
        if whole is not None:
            marked.append(_marked(finding, [whole]))
            continue
        named = Counter(row for each in mine for row in each.rows or ())
        missing = (Counter(finding.rows) - named).total()
        marked.append(_marked(finding, mine) if mine and not missing else finding)
        if mine and missing:
            of = f" in {finding.task}" if finding.task else ""
            said.append(
                f"{mine[0]} leaves {counted(missing, 'row')} of {finding.name}{of} out, so that it does not "
                "count for this finding; name all of its rows, as findings.jsonl beside the review does, "
                "or none for all"
            )
    said += [
        f"{each} matches nothing that this change brought; delete it"
        for each in valid
        if each.index not in used
        and each.finding in looked_for
        and (each.finding not in OF_RULES or _written(each) in known)  # else it is for a change to come
    ]
    return marked, said


def _written(entry: Entry) -> Entry:
    """The entry wherever it stands in its file."""
    return replace(entry, index=0, line=None)


def _is_about(entry: Entry, finding: Finding) -> bool:
    if entry.finding != finding.name or entry.task not in (None, finding.task):
        return False
    return entry.rows is None or not set(entry.rows).isdisjoint(finding.rows)


def _marked(finding: Finding, by: Sequence[Entry]) -> Finding:
    reasons = "; ".join(dict.fromkeys(each.reason for each in by))
    until = min(each.until for each in by).isoformat()
    return replace(finding, acknowledged={"reason": reasons, "until": until, "by": by[0].index})


def _entry(
    value: Any, index: int, notes: Notes, mistakes: list[Mistake], tasks: Collection[str]
) -> Entry | None:
    """One entry, or None where it is wrong in a way that ``mistakes`` then holds."""
    before = len(mistakes)

    def wrong(message: str, *key: str | int) -> None:
        path: KeyPath = (index, *key)
        mistakes.append(Mistake(notes.line(path), dotted(path), message))

    if not isinstance(value, dict):
        wrong(f"must be a section with the keys {listed(_NEEDED)}, and task or rows if you like")
        return None
    for key in value:
        if key not in _KEYS:
            wrong(f"unknown key{near(key, _KEYS) or f'; known here: {listed(_KEYS)}'}", key)
    for key in _NEEDED:
        if key not in value:
            wrong(f"is missing; it {_WHAT[key]}", key)
    name, task, reason = value.get("finding"), value.get("task"), value.get("reason")
    if "finding" in value and not (isinstance(name, str) and name in FINDINGS):
        hint = near(str(name), FINDINGS) or f"; there are: {', '.join(FINDINGS)}"
        wrong(f"there is no finding {short(str(name))!r}{hint}", "finding")
    if str(name) in _NEVER:
        wrong(f"nothing accepts {name}: what could not be read was not compared; mend it", "finding")
    for key, without in (("task", _OF_NO_TASK), ("rows", _WITHOUT_ROWS)):
        if key in value and str(name) in without:
            wrong(f"the finding {name} has no {key}; leave it out", key)
    if task is not None and not (isinstance(task, str) and task in tasks):
        wrong(f"there is no task {short(str(task))!r}; there are: {listed(tasks)}", "task")
    if "reason" in value and not (isinstance(reason, str) and reason.strip()):
        wrong(_WHAT["reason"], "reason")
    rows = _rows(value.get("rows"), index, notes)
    if str(name) in OF_RULES and "rows" not in value:
        wrong(
            f"must name the changes of the {name} that it accepts, as findings.jsonl has them",
            "rows",
        )
    if "rows" in value and not rows:
        wrong(
            "must be a list of rows as the finding has them, as in [r3f09ac21]; leave it out for all", "rows"
        )
    until = _day(value.get("until"))
    if "until" in value and until is None:
        wrong(f"{_WHAT['until']}, not {notes.written.get((index, 'until'), value['until'])}", "until")
    if len(mistakes) > before or until is None:
        return None
    line = notes.line((index,))
    return Entry(index, line, str(name), task, rows or None, str(reason).strip(), until)


_WHAT = {
    "finding": "must be the name of a finding, as in near-leak",
    "reason": "must be text that says why this is accepted",
    "until": "must be a day in quotes or without, as in 2027-03-31",
}


def _rows(value: Any, index: int, notes: Notes) -> tuple[str, ...]:
    """The rows as they are written; empty where they are no list of words."""
    if not isinstance(value, tuple):
        return ()
    found = [notes.written.get((index, "rows", place), each) for place, each in enumerate(value)]
    return tuple(found) if all(isinstance(each, str) and each for each in found) else ()


def _day(value: Any) -> date | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
