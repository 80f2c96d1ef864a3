"""A challenger for a decision to retrain: from the champion's weights, on the rows that the policy names."""

from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.data.arrivals import ROWS, Seen
from doubleroute.drift import records
from doubleroute.drift.records import Record
from doubleroute.flows import steps
from doubleroute.flows.candidate import RETRAINING_DECISION
from doubleroute.flows.timeline import FitProgress, Timeline
from doubleroute.integrations.registry import Registry, Version
from doubleroute.integrations.validation import read_summary
from doubleroute.integrations.versions import DataVersion
from doubleroute.reports.tables import verdicts
from doubleroute.training.evaluate import read_evaluation
from doubleroute.training.plan import Plan, Start
from doubleroute.training.selection import selection
from doubleroute.workspace import Stage, Workspace


def challenger(
    project: Project,
    workspace: Workspace,
    registry: Registry,
    data: DataVersion,
    validated: Stage,
    record: Record,
    clock: Timeline,
) -> dict[str, Any]:
    """Tokenise, fit, evaluate, register and promote as the train flow does; gives what it gives. The
    baselines are not trained again: what is asked is whether the new model is better than the champion."""
    registry.refuse_read_only()
    counts = read_summary(validated)["tasks"]
    validated, kept_out = steps.keep_out(project, workspace, registry, validated)
    begun = registry.champion()  # when the fit ends another one may serve
    rows = None if begun is None else registry.artifact(begun, ROWS)
    plan = _plan(project, workspace, registry, validated, record, begun, rows)
    start = None if plan.start is None else rows
    encoded = clock(steps.tokenise, project, workspace, validated)
    with FitProgress() as progress:
        stored = clock(steps.store_activations, project, workspace, encoded, progress, plan, ["routed"])
        fits = clock(
            steps.fit_models, project, workspace, validated, encoded, stored, progress, plan, ["routed"]
        )
    against, champion = steps.champion_to_compare(registry, fits["routed"], validated)
    evaluated = clock(steps.evaluate_models, project, workspace, validated, encoded, fits, champion, start)
    evaluation = read_evaluation(evaluated)
    reported = clock(
        steps.write_reports, project, workspace, data, validated, fits, evaluated, counts, kept_out
    )
    version = clock(
        steps.register,
        project,
        workspace,
        registry,
        data,
        validated,
        fits,
        evaluated,
        reported,
        record["id"],
        start,
    )
    decision = clock(steps.promote, project, registry, version, against, evaluation)
    steps.show(project.name, counts, evaluation, reported.path / "report.html")
    return {
        "evaluation": evaluation,
        "verdicts": verdicts(evaluation),
        "version": version.number,
        "decision": decision.as_dict(),
        "report": str(reported.path / "report.html"),
        "data_version": data.as_dict(),
        "counts": counts,
        "kept_out": kept_out,
        "stages": clock.stages,
        "seconds": clock.seconds,
    }


def outcome(trained: dict[str, Any]) -> dict[str, Any]:
    """What a decision record says about what came of it."""
    decision = trained["decision"]
    return {
        "version": trained["version"],
        "verdict": decision["verdict"],
        "reasons": decision["reasons"],
        "seconds": trained["seconds"],
    }


def close(root: Path, registry: Registry) -> None:
    """Note what came of retrainings that a kill cut short after the promotion gate had decided about their
    version: carried out once more they would begin with the champion that they made."""
    cut = {record["id"] for record in records.read_all(root)[0] if records.is_under_way(record)}
    for version in registry.versions() if cut else []:
        record, decision = version.tags.get(RETRAINING_DECISION), version.decision
        if record is None or record not in cut or decision is None:
            continue
        registry.settle()
        # The verdict is noted before the alias moves: a promotion counts when the version was champion.
        if decision["verdict"] != "promote" or version.number in {
            move["version"] for move in registry.history()
        }:
            known = {key: decision[key] for key in ("verdict", "reasons")}
            records.set_outcome(root, record, {"version": version.number, **known})


def _plan(
    project: Project,
    workspace: Workspace,
    registry: Registry,
    validated: Stage,
    record: Record,
    champion: Version | None,
    rows: Path | None,
) -> Plan:
    """What the policy says about weights, rows and tasks; ``rows``: the champion's ``rows.parquet``."""
    if champion is None:
        return Plan()
    chosen = selection(project, workspace, validated, None if rows is None else Seen.read(rows))
    if project.retraining.start == "pretrained":
        return Plan(selection=chosen)
    start = Start(registry.model_folder(champion), champion.digest or champion.source)
    if project.retraining.only_new_tasks:
        return Plan(start, chosen, ())
    return Plan(start, chosen, learning(project, record))


def learning(project: Project, record: Record) -> tuple[str, ...] | None:
    """The tasks whose heads alone learn, which with ``keep_unmoved`` are those that speak for the retraining.
    None for all: a reason is of no task, or nothing speaks for what was forced."""
    speaking = records.speaking(record)
    tasks = tuple(task for task in project.tasks if task in speaking)
    return tasks if project.retraining.keep_unmoved and tasks else None
