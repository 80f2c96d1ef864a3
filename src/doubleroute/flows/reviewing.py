"""A review of a change of the data, step by step: read, compare, find, measure, conclude. No Prefect here:
people and hooks wait for the answer.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doubleroute.config import LOWER_IS_BETTER, Project
from doubleroute.config.keeping import FINDINGS
from doubleroute.digests import code_digest, digest_of
from doubleroute.errors import GateError, InputError
from doubleroute.flows.review_sides import Side, accepted, max_gb, read_side, suites
from doubleroute.flows.timeline import FitProgress, say_trimmed
from doubleroute.flows.validating import beside
from doubleroute.integrations.revisions import Revision, fork_point, revision, staged
from doubleroute.reports.review import write_review
from doubleroute.review import files
from doubleroute.review.acknowledged import Entry, acknowledge
from doubleroute.review.changes import compare as changes_between
from doubleroute.review.files import Bad
from doubleroute.review.finders import row_findings
from doubleroute.review.findings import Finding, in_order, public, publishable, write_rows
from doubleroute.review.projects import project_findings
from doubleroute.review.rows import version_rows
from doubleroute.review.summary import change_rows, file_changes, task_summary, write_changes
from doubleroute.review.verdict import decide
from doubleroute.review.versions import Versions
from doubleroute.review.worse import untrained, worse_for_real
from doubleroute.serving.redaction import DEFAULT, Redactor, redactor
from doubleroute.workspace import Workspace

if TYPE_CHECKING:
    from doubleroute.flows.measuring import Measured

CHANGES, ROWS = "changes.jsonl", "findings.jsonl"
#: Findings that only models make, and those that need no row of head.
_BY_MODELS = {"contradicted", "drift", "worse", "worse-loss", "untrained"}
_WITHOUT_ROWS = {"unreadable", "tasks", "rules"}
_UNDER_WAY = "a training of this project is under way"


@dataclass
class Review:
    """A review that is being made. ``project``: that of head, whose rules hold, but at home in ``root``.
    ``accepted``: the entries of acknowledged.yaml in head, ``accepted_before``: in base; ``max_gb``: of the
    workspace."""

    root: Path
    workspace: Workspace
    project: Project
    base: Side
    head: Side
    accepted: list[Entry]
    accepted_before: list[Entry]
    max_gb: float
    tasks: dict[str, Versions] = field(default_factory=dict)
    bad: dict[str, Bad] = field(default_factory=dict)
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
    MachineError when a version or its project.yaml cannot be had or base cannot be read, GateError when a
    training is under way that ``full`` would wait for; data of head that cannot be read are a finding.
    """
    if full:
        refuse_beside_a_training(root)
    found = read(root, base, head, changes, exact)
    with bounded(found):
        compare(found)
        find(found)
        if not quick:
            measure(found, progress, full)
        return conclude(found)


def refuse_beside_a_training(root: Path) -> None:
    """Raise GateError where a training is under way: with --full a review trains too."""
    holder = Workspace(root).holder("train")
    if holder is not None:
        raise GateError(f"{_UNDER_WAY}: {holder}; one at a time")


def bounded(found: Review) -> AbstractContextManager[None]:
    """After this what the workspace holds is trimmed to its limit, as after a training; not beside one, which
    reads for as long as it takes what it found when it began."""
    return found.workspace.bounded(found.max_gb * 1e9, say_trimmed, others=("train",))


def read(root: Path, base: str, head: str | None, changes: Sequence[str] = (), exact: bool = False) -> Review:
    """Both versions, read and validated. ``exact``: base itself, and not where head left it."""
    begun = time.perf_counter()
    workspace = Workspace(root)
    before = revision(root, workspace, base if exact else fork_point(root, base, head or "HEAD"))
    before = replace(before, name=base)
    after = staged(root, workspace) if head is None else revision(root, workspace, head)
    with beside(before.root, root, changes) as ready:
        new = read_side(workspace, after, changes, True)
        ready()
    old = read_side(workspace, before, changes, False)
    project = new.project.model_copy().at(root)  # a backbone in a folder lies where people put it
    limit = max_gb(root, old.project, changes)
    known = _accepted_before(old)
    seconds = {"read": _since(begun)}
    return Review(root, workspace, project, old, new, accepted(new), known, limit, seconds=seconds)


def _accepted_before(base: Side) -> list[Entry]:
    """The entries of base; none where they are wrong, which head may mend."""
    try:
        return accepted(base)
    except InputError:
        return []


def compare(found: Review) -> None:
    """Match the rows of each task of head; one that base has not, or in another kind, has no rows there."""
    begun = time.perf_counter()
    validated = (found.base.validated is not None, found.head.validated is not None)
    for task in found.project.tasks if found.head.rows else ():
        after = found.head.rows[task]
        before = found.base.rows.get(task)
        if before is None or before.kind != after.kind:
            before = version_rows(after.kind, {})
        changes = changes_between(before, after, found.project.review.near)
        of_base, of_head = (side.quarantined.get(task, ()) for side in (found.base, found.head))
        bad = files.taken_out((of_base, of_head), validated, (before, after), changes)
        out = (files.places(bad[0]), files.places(bad[1]))
        found.bad[task] = bad
        found.tasks[task] = Versions(task, before, after, changes, files.refused(bad[1]), out)
    found.files = _files(found)
    found.seconds["changes"] = _since(begun)


def find(found: Review) -> None:
    """What is wrong with the change, apart from what models say."""
    begun, rules = time.perf_counter(), found.project.review
    if found.head.error is not None:
        found.findings.append(files.unreadable(found.head.error, rules))
    for task in found.tasks:
        found.findings += files.invalid(found.tasks[task], found.bad[task], rules)
        old, new = (side.answers.get(task, {}) for side in (found.base, found.head))
        found.findings += files.answers(task, old, new, rules)
    finders = {word: _finder(word) for word in DEFAULT}
    least = found.project.validation.min_rows_per_class
    found.findings += row_findings(list(found.tasks.values()), finders, least, rules)
    expected = (suites(found.base), suites(found.head)) if found.head.rows else ({}, {})
    found.findings += project_findings(found.base.project, found.head.project, expected)
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
        _train(found, found.measured, progress)
    found.seconds["impact"] = _since(begun)


def _train(found: Review, measured: "Measured", progress: FitProgress) -> None:
    """Train both versions for real; where that cannot be done it is a finding, and what is measured stays."""
    from doubleroute.flows.training_both import train_both

    rules, before, after = found.project.review, found.base.validated, found.head.validated
    with ExitStack() as held:
        if before is None or after is None:
            name = "base" if before is None else "head"
            why = f"{name} does not pass its own validation, so that nothing can be trained on it"
            mend = f"mend {name}, then `doubleroute review --full` once more"
        elif not _is_alone(found, held):
            why, mend = _UNDER_WAY, "`doubleroute review --full` once more when it has ended"
        else:
            sides = ((found.base.project, before), (found.project, after))
            measured.full = train_both(sides, found.workspace, found.tasks, measured.studies, progress)
            found.findings += worse_for_real(measured.full, rules)
            return
    measured.full = {task: {"verdict": "cannot tell", "why": why} for task in measured.studies}
    if measured.studies:
        found.findings.append(untrained(why, mend, rules))


def _is_alone(found: Review, held: ExitStack) -> bool:
    """Whether no training has begun since the review did; ``held`` then holds the lock of trainings."""

    def busy() -> None:
        raise GateError(_UNDER_WAY)

    try:
        held.enter_context(found.workspace.lock("train", busy))
    except GateError:
        return False
    return True


def conclude(found: Review) -> tuple[dict[str, Any], Path]:
    """The verdict, and the folder with everything for people and programs."""
    today = datetime.now(UTC).date()
    worst_first = in_order(found.findings)
    marked, said = acknowledge(worst_first, found.accepted, today, _looked_for(found), found.accepted_before)
    redact = _redactor(found)
    said += _remarks(found, redact)
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


def _redactor(found: Review) -> Redactor:
    """What blots out of the report what either version does: what base does stays so in the report of a
    change that leaves it out. A function of the project's own could be one of the change's own: it is not run
    on this."""
    rules = [word for side in (found.base, found.head) for word in side.project.serving.redact]
    words = [word for word in rules if not word.startswith("python:")]
    return redactor(list(dict.fromkeys([*DEFAULT, *words])))


def _remarks(found: Review, redact: Redactor) -> list[str]:
    """What the reader of the verdict has to know of base."""
    said = []
    if found.base.revision.commit == found.head.revision.commit:
        said.append(
            "base and head are the same commit once what base gained meanwhile is left out: "
            "nothing was compared; are the two swapped?"
        )
    if found.base.error is not None:
        said.append(
            "base does not pass its own validation; rows that nothing happened to are taken to be refused in "
            f"base as they are in head: {redact(found.base.error.splitlines()[0])}"
        )
    return said


def _looked_for(found: Review) -> set[str]:
    """The names of the findings that this review could make."""
    if not found.head.rows:
        return _WITHOUT_ROWS
    without = set() if found.measured else _BY_MODELS
    if found.measured and found.measured.full is None:
        without = {"worse", "untrained"}  # what --full alone may see
    return FINDINGS.keys() - without - ({"invalid"} if found.head.validated is None else set())


def _finder(word: str) -> Any:
    redact = redactor((word,))
    return lambda text: redact(text) != text


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
