"""A review of a change of the data, step by step: read, compare, find, measure, conclude. No Prefect here:
people and hooks wait for the answer.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from doubleroute.config import LOWER_IS_BETTER, Project, load_project
from doubleroute.config.keeping import FINDINGS
from doubleroute.data.raw import shown
from doubleroute.digests import code_digest, digest_of
from doubleroute.errors import GateError, InputError
from doubleroute.flows.timeline import FitProgress
from doubleroute.flows.validating import beside, validated
from doubleroute.integrations.expectations import user_entries, user_files
from doubleroute.integrations.revisions import Revision, check_versioned, fork_point, revision, staged
from doubleroute.integrations.validation import read_for_validation
from doubleroute.reports.review import write_review
from doubleroute.review import files
from doubleroute.review.acknowledged import FILE as ACKNOWLEDGED
from doubleroute.review.acknowledged import Entry, acknowledge, entries
from doubleroute.review.changes import compare as changes_between
from doubleroute.review.finders import row_findings
from doubleroute.review.findings import Finding, in_order, public, publishable, write_rows
from doubleroute.review.projects import project_findings
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.review.summary import change_rows, file_changes, task_summary, write_changes
from doubleroute.review.verdict import decide
from doubleroute.review.versions import Versions
from doubleroute.review.worse import worse_for_real
from doubleroute.serving.redaction import DEFAULT, redactor
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    from doubleroute.flows.measuring import Measured

CHANGES, ROWS = "changes.jsonl", "findings.jsonl"
#: Findings that only models make, and those that need no row of head.
_BY_MODELS = {"contradicted", "drift", "worse", "worse-loss"}
_WITHOUT_ROWS = {"unreadable", "tasks", "rules"}


@dataclass(frozen=True)
class Side:
    """One version of the data: the rows of each task as they are in its files, {id: text} of the answers that
    it retrieves, the names of the columns of each file, and what its own validation takes out. ``error``: why
    it cannot be read or validated, None when it can; without rows when it cannot be read, without
    ``validated`` in either case."""

    revision: Revision
    project: Project
    rows: dict[str, VersionRows]
    answers: dict[str, dict[str, str]]
    columns: dict[str, list[str]]
    quarantined: dict[str, list[dict[str, Any]]]
    labels: dict[str, list[str]]
    validated: Stage | None
    error: str | None = None


@dataclass
class Review:
    """A review that is being made. ``project``: that of head, whose rules hold, but at home in ``root``."""

    root: Path
    workspace: Workspace
    project: Project
    base: Side
    head: Side
    accepted: list[Entry]
    tasks: dict[str, Versions] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    measured: "Measured | None" = None
    seconds: dict[str, float] = field(default_factory=dict)


def review(
    root: Path,
    base: str,
    head: str | None,
    progress: FitProgress,
    quick: bool = False,
    full: bool = False,
    changes: Sequence[str] = (),
    exact: bool = False,
) -> tuple[dict[str, Any], Path]:
    """Review what ``head`` (a revision; None: what is staged) changes against where it left ``base``.

    ``exact``: against base itself. ``quick``: changes and findings alone, no model. ``full``: also train for
    real. ``changes`` override project.yaml of both versions. Gives review.json's content and the folder that
    holds it, review.html, review.md, changes.jsonl and findings.jsonl. Raises InputError, DataError or
    MachineError when a version or its project.yaml cannot be had or base cannot be read, GateError when
    ``full`` meets another training; data of head that cannot be read are a finding.
    """
    found = read(root, base, head, changes, exact)
    compare(found)
    find(found)
    if not quick:
        measure(found, progress, full)
    return conclude(found)


def read(root: Path, base: str, head: str | None, changes: Sequence[str] = (), exact: bool = False) -> Review:
    """Both versions, read and validated. ``exact``: base itself, and not where head left it."""
    begun = time.perf_counter()
    workspace = Workspace(root)
    before = revision(root, workspace, base if exact else fork_point(root, base, head or "HEAD"))
    before = _called(before, base)
    after = staged(root, workspace) if head is None else revision(root, workspace, head)
    with beside(before.root, root, changes) as ready:
        new = _side(workspace, after, changes, True)
        ready()
    old = _side(workspace, before, changes, False)
    project = new.project.model_copy().at(root)  # a backbone in a folder lies where people put it
    accepted = _accepted(new)
    return Review(root, workspace, project, old, new, accepted, seconds={"read": _since(begun)})


def compare(found: Review) -> None:
    """Match the rows of each task of head; one that base has not, or in another kind, has no rows there."""
    begun = time.perf_counter()
    for task in found.project.tasks if found.head.rows else ():
        after = found.head.rows[task]
        before = found.base.rows.get(task)
        if before is None or before.kind != after.kind:
            before = version_rows(after.kind, {})
        changes = changes_between(before, after, found.project.review.near)
        bad = [side.quarantined.get(task, ()) for side in (found.base, found.head)]
        out = (files.places(bad[0]), files.places(bad[1]))
        found.tasks[task] = Versions(task, before, after, changes, files.refused(bad[1]), out)
    found.files = _files(found)
    found.seconds["changes"] = _since(begun)


def find(found: Review) -> None:
    """What is wrong with the change, apart from what models say."""
    begun, rules = time.perf_counter(), found.project.review
    if found.head.error is not None:
        found.findings.append(files.unreadable(found.head.error, rules))
    for task in found.tasks:
        before, after = (side.quarantined.get(task, []) for side in (found.base, found.head))
        found.findings += files.invalid(task, before, after, rules)
        old, new = (side.answers.get(task, {}) for side in (found.base, found.head))
        found.findings += files.answers(task, old, new, rules)
    finders = {word: _finder(word) for word in DEFAULT}
    least = found.project.validation.min_rows_per_class
    found.findings += row_findings(list(found.tasks.values()), finders, least, rules)
    suites = (_suites(found.base), _suites(found.head)) if found.head.rows else ({}, {})
    found.findings += project_findings(found.base.project, found.head.project, suites)
    if found.head.rows:
        found.findings += files.columns(found.base.columns, found.head.columns, rules)
        found.findings += files.reordered(found.files, rules)
    found.seconds["findings"] = _since(begun)


def measure(found: Review, progress: FitProgress, full: bool) -> None:
    """What the change does to each task's score, and what models say of its rows."""
    from doubleroute.flows import measuring  # brings torch, which the other steps do without

    begun = time.perf_counter()
    others = {each.task for each in found.findings if each.name == "answers"}
    found.measured = measuring.measure(found.project, found.workspace, found.tasks, others, progress)
    found.findings += found.measured.findings
    if full:
        with found.workspace.lock("train", lambda: _busy(found.workspace)):
            found.measured.full = _full(found, found.measured, progress)
        found.findings += worse_for_real(found.measured.full, found.project.review)
    found.seconds["impact"] = _since(begun)


def _full(found: Review, measured: "Measured", progress: FitProgress) -> dict[str, dict[str, Any]]:
    from doubleroute.flows.training_both import train_both

    stages = [side.validated for side in (found.base, found.head)]
    if stages[0] is None or stages[1] is None:
        name = "base" if stages[0] is None else "head"
        why = f"{name} does not pass its own validation, so that nothing can be trained on it"
        return {task: {"verdict": "cannot tell", "why": why} for task in measured.studies}
    sides = ((found.base.project, stages[0]), (found.project, stages[1]))
    return train_both(sides, found.workspace, found.tasks, measured.studies, progress)


def conclude(found: Review) -> tuple[dict[str, Any], Path]:
    """The verdict, and the folder with everything for people and programs."""
    today = datetime.now(UTC).date()
    marked, said = acknowledge(in_order(found.findings), found.accepted, today, _looked_for(found))
    # What base blots out of its rows stays so in the report of a change that leaves it out. A function of the
    # project's own could be one of the change's own: it is not run on this.
    rules = [word for side in (found.base, found.head) for word in side.project.serving.redact]
    words = [word for word in rules if not word.startswith("python:")]
    if found.base.revision.commit == found.head.revision.commit:
        said.append(
            "base and head are the same commit once what base gained meanwhile is left out: "
            "nothing was compared; are the two swapped?"
        )
    redact = redactor(list(dict.fromkeys([*DEFAULT, *words])))
    findings = [public(publishable(each, redact).as_dict(), redact) for each in marked]
    measured = found.measured
    impact, full = (measured.impact, measured.full) if measured else (None, None)
    compared = {task: (each.base, each.head, each.changes) for task, each in found.tasks.items()}
    total = sum(len(each.changes.changed()) for each in found.tasks.values())
    rows = change_rows(compared, seed=found.project.seed, clean=lambda change: public(change, redact))
    document = {
        "format": 1,
        "project": found.project.name,
        "model": found.project.model_name,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "base": _about(found.base.revision),
        "head": _about(found.head.revision),
        "seconds": found.seconds,
        "verdict": decide(
            findings, impact, found.project.review, today, said, full, found.base.project.review
        ),
        "files": found.files,
        "tasks": public({task: _summary(found, task) for task in found.tasks}, redact),
        "changes": {"total": total, "shown": len(rows), "file": CHANGES, "rows": rows},
        "findings": findings,
        "impact": public(impact or {}, redact),
        "blame": public(measured.blame if measured else {}, redact),
        "full": public(full, redact),
    }

    def make(folder: Path) -> None:
        write_changes(folder / CHANGES, compared)
        write_rows(folder / ROWS, marked)
        write_review(folder, document)

    said_of = {name: value for name, value in document.items() if name not in ("time", "seconds")}
    inputs = {"document": digest_of(said_of), "code": code_digest("reports", "review")}
    return document, found.workspace.build("review", inputs, make).path


def _suites(side: Side) -> dict[str, list[dict[str, Any]]]:
    """The expectations of a version that was read, by file."""
    return {
        f"expectations/{path.name}": user_entries(path) for path in user_files(side.revision.root).values()
    }


def _looked_for(found: Review) -> set[str]:
    """The names of the findings that this review could make."""
    if not found.head.rows:
        return _WITHOUT_ROWS
    without = set() if found.measured else _BY_MODELS
    if found.measured and found.measured.full is None:
        without = {"worse"}  # of what --full alone may see
    return FINDINGS.keys() - without - ({"invalid"} if found.head.validated is None else set())


def _side(workspace: Workspace, version: Revision, changes: Sequence[str], may_fail: bool) -> Side:
    """Read and validate one version; what is wrong with it is its ``error`` where it ``may_fail``."""
    try:
        project = load_project(version.root, changes)
        check_versioned(version.root, project.all_paths)
    except InputError as error:
        raise InputError(f"{version.name}: {_within(version, error)}") from None
    try:
        found = read_for_validation(project)
    except InputError as error:  # a DataError, or a wrong file of expectations
        if not may_fail:
            raise InputError(f"{version.name}: {_within(version, error)}") from None
        return Side(version, project, {}, {}, {}, {}, {}, None, _within(version, error))
    rows = {task: version_rows(project.tasks[task].labelled_as, each) for task, each in found.rows.items()}
    stage, problem = validated(project, workspace, found)
    read = (rows, found.answers, found.columns)
    if stage is None:
        return Side(version, project, *read, {}, {}, None, _within(version, problem))
    return Side(version, project, *read, _quarantine(stage), _labels(stage), stage)


def _quarantine(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    # Only "\n" ends a line: texts may hold other characters that splitlines takes for an end.
    for line in (stage.path / "quarantine.jsonl").read_text(encoding="utf-8").split("\n"):
        if line:
            each = json.loads(line)
            found.setdefault(each["task"], []).append(each)
    return found


def _labels(stage: Stage) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((stage.path / "labels.json").read_text(encoding="utf-8"))
    return found


def _within(version: Revision, error: Exception | None) -> str:
    """What is wrong, with paths as they are in the project and not in the folder that holds the version."""
    found = str(error)
    for root in (str(version.root), str(shown(version.root))):
        found = found.replace(f"{root}/", "").replace(root, "the project")
    return found


def _called(version: Revision, name: str) -> Revision:
    return Revision(name, version.commit, version.dvc_md5, version.root, version.files)


def _finder(word: str) -> Any:
    redact = redactor((word,))
    return lambda text: redact(text) != text


def _accepted(head: Side) -> list[Entry]:
    """The entries of head's acknowledged.yaml."""
    path = head.revision.root / ACKNOWLEDGED
    if not path.is_file():
        return []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InputError(f"{head.revision.name}: {ACKNOWLEDGED} {what}") from None
    return entries(text, head.project.tasks)


def _busy(workspace: Workspace) -> NoReturn:
    raise GateError(f"a training of this project is under way: {workspace.holder('train')}; one at a time")


def _files(found: Review) -> list[dict[str, Any]]:
    digests = [
        {f"data/{path}": md5 for path, md5 in side.revision.files.items()}
        for side in (found.base, found.head)
    ]
    return file_changes(found.base.rows, found.head.rows, *digests)


def _summary(found: Review, task: str) -> dict[str, Any]:
    versions, options = found.tasks[task], found.project.tasks[task]
    higher = options.judged_by not in LOWER_IS_BETTER
    summary = task_summary(options.judged_by, higher, versions.base, versions.head, versions.changes)
    labels = {"base": found.base.labels.get(task, []), "head": found.head.labels.get(task, [])}
    return {**summary, "labels": labels}


def _about(version: Revision) -> dict[str, Any]:
    return {"name": version.name, "commit": version.commit, "dvc_md5": version.dvc_md5}


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 2)
