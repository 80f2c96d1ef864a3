"""What a change does to the project file and the expectations, where that decides what a review can see."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from doubleroute.config import Project
from doubleroute.config.keeping import Severity
from doubleroute.review.findings import Finding, counted, row_digest, severity_of

#: Sections that decide what is found and how bad it is.
_RULES = ("review", "validation", "promotion", "drift")
#: The expectations of a version by file, as they stand there.
Suites = Mapping[str, Sequence[Any]]


def project_findings(base: Project, head: Project, suites: tuple[Suites, Suites]) -> list[Finding]:
    """``tasks``: tasks that came, went or are of another kind, whose rows are all new or gone; ``rules``:
    changed rules of project.yaml and expectations of base's and head's ``suites``, which may be what lets
    the rest of the change pass. How bad they are say base's rules and head's, whichever say worse."""
    return [*_tasks(base, head), *_rules(base, head, suites)]


def _severity(name: str, base: Project, head: Project) -> Severity:
    return severity_of(name, head.review, base.review)


def _tasks(base: Project, head: Project) -> list[Finding]:
    said = [f"{name} is new" for name in head.tasks if name not in base.tasks]
    said += [f"{name} is gone" for name in base.tasks if name not in head.tasks]
    said += [
        f"{name} was {base.tasks[name].kind} and is {task.kind}"
        for name, task in head.tasks.items()
        if name in base.tasks and base.tasks[name].kind != task.kind
    ]
    if not said:
        return []
    title = f"{counted(len(said), 'task')} changed as a whole: {'; '.join(said)}"
    fix = (
        "see that this is meant: a new task has nothing to be compared with, and what is gone is not reviewed"
    )
    rows = [row_digest("", each, None, None) for each in said]
    return [Finding("tasks", _severity("tasks", base, head), None, None, len(said), title, fix, rows=rows)]


def _rules(base: Project, head: Project, suites: tuple[Suites, Suites]) -> list[Finding]:
    lines: list[str] = []
    for section in _RULES:
        lines += _differences(section, _plain(getattr(base, section)), _plain(getattr(head, section)))
    # What a review quotes is blotted out by it.
    lines += _differences("serving.redact", base.serving.redact, head.serving.redact)
    for name, task in head.tasks.items():
        if name in base.tasks:
            lines += _differences(f"tasks.{name}", _plain(base.tasks[name]), _plain(task))
    for file in sorted({*suites[0], *suites[1]}):
        lines += _expectations(file, *(suite.get(file, ()) for suite in suites))
    if not lines:
        return []
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    title = f"{counted(len(lines), 'rule')} changed: {', '.join(lines[:3])}{more}"
    fix = "see that the change of the rules is not what lets the change of the data pass"
    severity = _severity("rules", base, head)
    rows = [row_digest("", each, None, None) for each in lines]
    detail = "\n".join(lines)
    return [Finding("rules", severity, None, None, len(lines), title, fix, detail, rows=rows)]


def _expectations(file: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[str]:
    """The expectations of one file that came or went; one that changed did both."""
    old, new = (
        Counter(json.dumps(each, ensure_ascii=False, sort_keys=True) for each in suite)
        for suite in (before, after)
    )
    for what, each in (("is gone", old - new), ("is new", new - old)):
        for entry in each.elements():
            yield f"{file}: {entry} {what}"


def _plain(section: Any) -> dict[str, Any]:
    found: dict[str, Any] = section.model_dump(mode="json")
    return found


def _differences(place: str, before: Any, after: Any) -> Iterator[str]:
    """What changed, leaf by leaf, as it stands in project.yaml."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _differences(f"{place}.{key}", before.get(key), after.get(key))
    elif before != after:
        yield f"{place} from {_written(before)} to {_written(after)}"


def _written(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
