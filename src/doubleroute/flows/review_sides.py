"""One version of the data as a review takes it: read, and validated by its own rules."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from doubleroute.config import Project, load_project
from doubleroute.data.raw import shown
from doubleroute.errors import InputError
from doubleroute.flows.validating import validated
from doubleroute.integrations.expectations import user_entries, user_files
from doubleroute.integrations.revisions import Revision, check_versioned
from doubleroute.integrations.validation import read_for_validation
from doubleroute.review.acknowledged import FILE as ACKNOWLEDGED
from doubleroute.review.acknowledged import Entry, entries
from doubleroute.review.rows import VersionRows, version_rows
from doubleroute.workspace import Stage, Workspace


@dataclass(frozen=True)
class Side:
    """One version of the data: the rows of each task as they are in its files, {id: text} of the answers that
    it retrieves, the names of the columns of each file, and what its own validation takes out; of base, where
    it cannot be validated, what cannot be read as rows. ``error``: why it cannot be read or validated, None
    when it can; without rows when it cannot be read, without ``validated`` in either case."""

    revision: Revision
    project: Project
    rows: dict[str, VersionRows]
    answers: dict[str, dict[str, str]]
    columns: dict[str, list[str]]
    quarantined: dict[str, list[dict[str, Any]]]
    labels: dict[str, list[str]]
    validated: Stage | None
    error: str | None = None


def read_side(workspace: Workspace, version: Revision, changes: Sequence[str], may_fail: bool) -> Side:
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
        bad = {} if may_fail else _by_task(map(asdict, found.bad))
        return Side(version, project, *read, bad, {}, None, _within(version, problem))
    return Side(version, project, *read, _quarantine(stage), _labels(stage), stage)


def _quarantine(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    # Only "\n" ends a line: texts may hold other characters that splitlines takes for an end.
    lines = (stage.path / "quarantine.jsonl").read_text(encoding="utf-8").split("\n")
    return _by_task(json.loads(line) for line in lines if line)


def _by_task(bad: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in bad:
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


def max_gb(root: Path, base: Project, changes: Sequence[str]) -> float:
    """How much the reviewer's workspace may hold, in 1e9 bytes: as the project in ``root`` says, and base
    where that cannot be read. Not as head says, which must not empty it."""
    try:
        return load_project(root, changes).workspace.max_gb
    except InputError:
        return base.workspace.max_gb


def suites(side: Side) -> dict[str, list[dict[str, Any]]]:
    """The expectations of a version that was read, by file."""
    return {
        f"expectations/{path.name}": user_entries(path) for path in user_files(side.revision.root).values()
    }


def accepted(side: Side) -> list[Entry]:
    """The entries of a version's acknowledged.yaml."""
    path = side.revision.root / ACKNOWLEDGED
    if not path.is_file():
        return []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InputError(f"{side.revision.name}: {ACKNOWLEDGED} {what}") from None
    return entries(text, side.project.tasks)
