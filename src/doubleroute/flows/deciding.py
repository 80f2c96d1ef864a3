"""One look at what arrived: measured, decided, written down. No Prefect: people wait for the answer."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.data.arrivals import HeldOut
from doubleroute.digests import code_digest, digest_of, file_digest
from doubleroute.drift import records
from doubleroute.drift.expected import expected_seconds
from doubleroute.flows import current, watching
from doubleroute.flows.current import Learned
from doubleroute.flows.held_out import tested, usable
from doubleroute.flows.watching import Progress
from doubleroute.integrations.registry import Registry, Version
from doubleroute.integrations.versions import DataVersion
from doubleroute.reports.drift import drift_lines, write_drift_report
from doubleroute.training.selection import weights_of
from doubleroute.workspace import Stage, Workspace


@dataclass(frozen=True)
class Look:
    """What a look found: the champion, by task rows that arrived and rows that it knows with another label
    than they have now (``relabelled``), ``drift`` and ``performance`` (None when nothing arrived), the facts,
    and the folder with drift.html and drift.md (None without drift)."""

    champion: Learned | None
    arrived: dict[str, int]
    relabelled: dict[str, int]
    drift: dict[str, Any] | None
    performance: dict[str, Any]
    facts: dict[str, Any]
    report: Path | None


def look(
    project: Project,
    workspace: Workspace,
    registry: Registry,
    data: DataVersion,
    validated: Stage,
    progress: Progress,
    from_log: bool = False,
    file: Path | None = None,
    now: datetime | None = None,
    decides: bool = True,
) -> Look:
    """Compare the rows that the champion has not seen (or, ``from_log``, the texts that it was asked, or the
    rows of ``file``) with those that it learned from. ``decides``: a decision follows, which the report
    tells beforehand.

    Raises InputError for a champion that remembers no rows.
    """
    champion, held = current.learned(registry, project), tested(registry)
    found: dict[str, Any] | None = None
    stage, arrived, relabelled, new = None, dict[str, int](), dict[str, int](), dict[str, int]()
    if champion is not None:
        fresh = current.arrived(project, validated, champion.seen, held)
        new = {task: current.new_labels(task, each, champion.seen) for task, each in fresh.items()}
        labels = json.loads((validated.path / "labels.json").read_text(encoding="utf-8"))
        known = champion
        if from_log:
            frames = current.asked(project, _about(champion.version, now)["registered"])
            known = replace(champion, sample=current.as_logged(project, champion.sample))
        elif file is not None:
            frames = current.given(project, file, labels)
        else:
            frames, relabelled = current.unlearned(fresh, validated, champion.seen)
        arrived = {task: len(frame) for task, frame in frames.items()}
        if any(arrived.values()):
            stage = watching.check(project, workspace, known, frames, labels, progress)
            found = watching.read_check(stage)
    drift, performance = (found["drift"], found["performance"]) if found else (None, {})
    past, _ = records.read_all(project.root)
    for task, about in performance.items():
        about["estimate_error"] = _estimate_error(
            task, [performance, *(each["facts"]["performance"] for each in past)]
        )
    facts = {
        "now": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S"),
        "champion": champion and _about(champion.version, now),
        "drift": drift and watching.short(drift),
        "performance": performance,
        "new_labels": new,
        "learned_from": champion.seen.labelled if champion else {},
        "retrainings": records.retrainings(past),
        "new_tasks": [task for task in project.tasks if champion and task not in champion.answers],
        **_expected(project, registry, champion, validated, held),
    }
    facts["tried"] = records.tried(past, data.as_dict(), facts, project.retraining)
    report = None
    if stage is not None:
        decision = records.make(project.name, facts, project.retraining) if decides else None
        report = _report(project, workspace, data, stage, performance, arrived, facts, decision)
    return Look(champion, arrived, relabelled, drift, performance, facts, report)


def decide(project: Project, data: DataVersion, found: Look) -> dict[str, Any]:
    """Decide by the project's policy and write the record; give it."""
    report = str(found.report / "drift.html") if found.report else None
    record = records.make(project.name, found.facts, project.retraining, data.as_dict(), report)
    records.write(project.root, record)
    return records.read(project.root, record["id"])


def said(found: Look) -> list[str]:
    """What a look found, for people: a few lines."""
    if found.champion is None:
        return ["there is no champion yet; `doubleroute train` makes one"]
    lines = [f"{task}: {count:,} rows arrived since" for task, count in found.arrived.items()]
    lines += [
        f"{task}: {count:,} rows that the champion knows have another label now"
        for task, count in found.relabelled.items()
        if count
    ]
    if found.drift is None:
        return [*lines, f"nothing arrived since version {found.champion.version.number} learned"]
    lines += drift_lines(found.drift, found.performance)
    return [*lines, f"report: {found.report / 'drift.html'}"] if found.report else lines


def _estimate_error(task: str, performances: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far off the estimate was when labels came last; the newest look comes first."""
    for each in performances:
        about = each.get(task) or {}
        if about.get("estimated") and about.get("current"):
            current = about["current"]
            return {
                "estimated": about["estimated"]["value"],
                "measured": current["value"],
                "rows": current["rows"],
            }
    return None


def _about(version: Version, now: datetime | None) -> dict[str, Any]:
    """When the champion was registered, and its age in days."""
    begun = datetime.fromtimestamp(version.created / 1000, UTC)
    age = ((now or datetime.now(UTC)) - begun).total_seconds() / 86400
    return {
        "version": version.number,
        "registered": begun.strftime("%Y-%m-%dT%H:%M:%S"),
        "age_days": round(age, 3),
    }


def _expected(
    project: Project, registry: Registry, champion: Learned | None, validated: Stage, held: HeldOut | None
) -> dict[str, float | None]:
    """What a retraining should cost in training seconds by the champion's history, and what one in which
    heads alone learn; None where it has none."""
    names = {"expected_seconds": False, "expected_heads_seconds": True}
    path = registry.artifact(champion.version, "history.json") if champion else None
    if champion is None or path is None:
        return dict.fromkeys(names)
    history = json.loads(path.read_text(encoding="utf-8"))
    rows = 0.0
    for task in project.tasks:
        frame = usable(validated, task, "train", held)
        rows += float(weights_of(task, frame, champion.seen, project.retraining).sum())
    heads = next((each["seconds"] for each in history["epochs"] if each.get("rung") == "heads"), None)
    cost = (rows, history["seconds"], history["total_steps"], heads)
    return {
        name: expected_seconds(project.training, project.retraining, *cost, heads_alone=alone)
        for name, alone in names.items()
    }


def _report(
    project: Project,
    workspace: Workspace,
    data: DataVersion,
    stage: Stage,
    performance: Mapping[str, Any],
    arrived: Mapping[str, int],
    facts: Mapping[str, Any],
    decision: Mapping[str, Any] | None,
) -> Path:
    """The folder with drift.html and drift.md."""
    found = watching.read_check(stage)
    shown = decision and {key: decision[key] for key in ("verdict", "reasons", "numbers")}
    about = {
        "project": project.name,
        "model": project.model_name,
        "champion": facts["champion"],
        "arrived": dict(arrived),
        "data_version": data.as_dict(),
        "time": facts["now"],
        "seed": project.seed,
    }
    inputs = {
        "check": file_digest(stage.path / "check.json"),
        "performance": digest_of(performance),
        "decision": digest_of(shown),
        "about": about,
        "code": code_digest("reports"),
    }

    def make(folder: Path) -> None:
        write_drift_report(folder, found["drift"], performance, shown, about)

    return workspace.build("drift-report", inputs, make).path
