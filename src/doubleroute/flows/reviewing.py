"""A review of a change of the data, step by step: read, compare, find, measure, conclude. No Prefect here:
people and hooks wait for the answer.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.config import LOWER_IS_BETTER, Project, load_project
from doubleroute.errors import DataError
from doubleroute.flows.timeline import FitProgress
from doubleroute.flows.validating import beside, validated
from doubleroute.integrations.revisions import Revision, check_versioned, fork_point, revision, staged
from doubleroute.integrations.validation import read_for_validation
from doubleroute.reports.review import write_review
from doubleroute.review import files
from doubleroute.review.acknowledged import FILE as ACKNOWLEDGED
from doubleroute.review.acknowledged import acknowledge, entries
from doubleroute.review.changes import compare as changes_between
from doubleroute.review.finders import row_findings
from doubleroute.review.findings import Finding, in_order, publishable
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.review.summary import change_rows, file_changes, task_summary, write_changes
from doubleroute.review.verdict import decide
from doubleroute.review.versions import Versions
from doubleroute.serving.redaction import DEFAULT, Redactor, redactor
from doubleroute.workspace import Stage, Workspace, code_digest, digest_of

if TYPE_CHECKING:
    from doubleroute.flows.measuring import Measured

CHANGES = "changes.jsonl"


@dataclass(frozen=True)
class Side:
    """One version of the data: the rows of each task as they are in its files, the names of the columns of
    each file, and what its own validation takes out. ``error``: why it cannot be read or validated, None when
    it can; without rows when it cannot be read, without ``validated`` in either case."""

    revision: Revision
    project: Project
    rows: dict[str, VersionRows]
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
) -> tuple[dict[str, Any], Path]:
    """Review what ``head`` (a revision; None: what is staged) changes against where it left ``base``.

    ``quick``: changes and findings alone, no model. ``full``: also train for real. ``changes`` override
    project.yaml of both versions. Gives review.json's content and the folder that holds it, review.html,
    review.md and changes.jsonl. Raises InputError, DataError or MachineError when a version cannot be had or
    base cannot be read; a head that cannot be read is a finding.
    """
    found = read(root, base, head, changes)
    compare(found)
    find(found)
    if not quick:
        measure(found, progress, full)
    return conclude(found)


def read(root: Path, base: str, head: str | None, changes: Sequence[str] = ()) -> Review:
    """Both versions, read and validated."""
    begun = time.perf_counter()
    workspace = Workspace(root)
    before = revision(root, workspace, fork_point(root, base, head or "HEAD"))
    before = _called(before, base)
    after = staged(root, workspace) if head is None else revision(root, workspace, head)
    with beside(before.root, root, changes) as ready:
        new = _side(workspace, after, changes, True)
        ready()
    old = _side(workspace, before, changes, False)
    project = new.project.model_copy().at(root)  # a backbone in a folder lies where people put it
    return Review(root, workspace, project, old, new, seconds={"read": _since(begun)})


def compare(found: Review) -> None:
    """Match the rows of the tasks that both versions have."""
    begun = time.perf_counter()
    for task in found.project.tasks:
        before, after = found.base.rows.get(task), found.head.rows.get(task)
        if before is not None and after is not None and before.kind == after.kind:
            changes = changes_between(before, after, found.project.review.near)
            refused = files.refused(found.head.quarantined.get(task, ()))
            found.tasks[task] = Versions(task, before, after, changes, refused)
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
    finders = {word: _finder(word) for word in DEFAULT}
    least = found.project.validation.min_rows_per_class
    found.findings += row_findings(list(found.tasks.values()), finders, least, rules)
    if found.head.rows:
        found.findings += files.columns(found.base.columns, found.head.columns, rules)
        found.findings += files.reordered(found.files, rules)
    found.seconds["findings"] = _since(begun)


def measure(found: Review, progress: FitProgress, full: bool) -> None:
    """What the change does to each task's score, and what models say of its rows."""
    from doubleroute.flows import measuring  # brings torch, which the other steps do without

    begun = time.perf_counter()
    found.measured = measuring.measure(found.project, found.workspace, found.tasks, progress)
    found.findings += found.measured.findings
    if full:
        found.measured.full = _full(found, found.measured, progress)
    found.seconds["impact"] = _since(begun)


def _full(found: Review, measured: "Measured", progress: FitProgress) -> dict[str, dict[str, Any]]:
    from doubleroute.flows.training_both import train_both

    stages = [side.validated for side in (found.base, found.head)]
    if stages[0] is None or stages[1] is None:
        name = "base" if stages[0] is None else "head"
        why = f"{name} does not pass its own validation, so that nothing can be trained on it"
        return {task: {"verdict": "cannot tell", "why": why} for task in measured.studies}
    validated = (stages[0], stages[1])
    return train_both(found.project, found.workspace, found.tasks, measured.studies, validated, progress)


def conclude(found: Review) -> tuple[dict[str, Any], Path]:
    """The verdict, and the folder with everything for people and programs."""
    accepted = _accepted(found)
    today = datetime.now(UTC).date()
    marked, said = acknowledge(in_order(found.findings), accepted, today)
    redact = redactor(DEFAULT)
    findings = [publishable(each, redact).as_dict() for each in marked]
    measured = found.measured
    impact = measured.impact if measured else None
    compared = {task: (each.base, each.head, each.changes) for task, each in found.tasks.items()}
    total = sum(len(each.changes.changed()) for each in found.tasks.values())
    rows = [_redacted(each, redact) for each in change_rows(compared, seed=found.project.seed)]
    document = {
        "format": 1,
        "project": found.project.name,
        "model": found.project.model_name,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "base": _about(found.base.revision),
        "head": _about(found.head.revision),
        "seconds": found.seconds,
        "verdict": decide(findings, impact, found.project.review, today, said),
        "files": found.files,
        "tasks": {task: _summary(found, task) for task in found.tasks},
        "changes": {"total": total, "shown": len(rows), "file": CHANGES, "rows": rows},
        "findings": findings,
        "impact": impact or {},
        "blame": measured.blame if measured else {},
        "full": measured.full if measured else None,
    }

    def make(folder: Path) -> None:
        write_changes(folder / CHANGES, compared)
        write_review(folder, document)

    inputs = {"document": digest_of(document), "code": code_digest("reports", "review")}
    return document, found.workspace.build("review", inputs, make).path


def _side(workspace: Workspace, version: Revision, changes: Sequence[str], may_fail: bool) -> Side:
    """Read and validate one version; what is wrong with it is its ``error`` where it ``may_fail``."""
    project = load_project(version.root, changes)
    check_versioned(version.root, project.all_paths)
    try:
        found = read_for_validation(project)
    except DataError as error:
        if not may_fail:
            raise
        return Side(version, project, {}, {}, {}, {}, None, _within(version, error))
    rows = {task: version_rows(project.tasks[task].kind, each) for task, each in found.rows.items()}
    stage, problem = validated(project, workspace, found)
    if stage is None:
        return Side(version, project, rows, found.columns, {}, {}, None, _within(version, problem))
    return Side(version, project, rows, found.columns, _quarantine(stage), _labels(stage), stage)


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
    return str(error).replace(f"{version.root}/", "")


def _called(version: Revision, name: str) -> Revision:
    return Revision(name, version.commit, version.dvc_md5, version.root, version.files)


def _finder(word: str) -> Any:
    redact = redactor((word,))
    return lambda text: redact(text) != text


def _accepted(found: Review) -> list[Any]:
    """The entries of head's acknowledged.yaml."""
    path = found.head.revision.root / ACKNOWLEDGED
    if not path.is_file():
        return []
    return entries(path.read_text(encoding="utf-8"), found.project.tasks)


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


def _redacted(change: dict[str, Any], redact: Redactor) -> dict[str, Any]:
    """A changed row as the page quotes it: more people read that than the data."""
    found = dict(change)
    for side in ("base", "head"):
        if found[side] is not None:
            row = found[side]
            pair = None if row["pair"] is None else redact(row["pair"])
            found[side] = {**row, "text": redact(row["text"]), "pair": pair}
    return found


def _about(version: Revision) -> dict[str, Any]:
    return {"name": version.name, "commit": version.commit, "dvc_md5": version.dvc_md5}


def _since(begun: float) -> float:
    return round(time.perf_counter() - begun, 2)
