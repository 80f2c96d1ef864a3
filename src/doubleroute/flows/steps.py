"""Library functions as Prefect tasks ("steps"): names, retries, artifacts.

Results stay in the workspace, which finds them again by content: Prefect neither caches nor stores them.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from doubleroute.config import Project
from doubleroute.data.arrivals import hold_out, remember
from doubleroute.errors import MachineError
from doubleroute.flows import deciding
from doubleroute.flows.candidate import candidate, champion_of, report, run_key
from doubleroute.flows.held_out import rows_of_champions, tested
from doubleroute.integrations.registry import CHAMPION, Registry, Version
from doubleroute.integrations.validation import validate
from doubleroute.integrations.versions import DataVersion, pull
from doubleroute.integrations.webhook import post
from doubleroute.promotion import Decision, decide
from doubleroute.reports.tables import score_rows, verdicts
from doubleroute.training.encode import encode
from doubleroute.training.evaluate import Champion, evaluate
from doubleroute.training.ladder import fit, store
from doubleroute.workspace import Stage, Workspace

P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R], name: str | None = None, retries: int = 0) -> Task[P, R]:
    """A Prefect task around a plain function. Only errors of the environment are worth a retry."""
    return task(
        function,
        name=name or function.__name__,
        retries=retries,
        retry_delay_seconds=[2 * 3**attempt for attempt in range(retries)],
        retry_condition_fn=_is_environment,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _is_environment(_task: object, _run: object, state: Any) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, MachineError | ConnectionError | TimeoutError)


def _register(
    project: Project,
    workspace: Workspace,
    registry: Registry,
    data: DataVersion,
    validated: Stage,
    fits: Mapping[str, Stage],
    evaluated: Stage,
    reported: Stage,
    decided: str | None = None,
    start: Path | None = None,
) -> Version:
    """The version of the routed model: the champion if it is that very model, else a challenger.
    ``decided``: the decision to retrain that it comes of; ``start``: the ``rows.parquet`` of the version
    whose weights it began with."""
    champion, key = registry.champion(), run_key(fits["routed"], validated)
    if champion is not None and champion.run_key == key:
        registry.model_folder(champion)  # checks its files
        return champion
    known = registry.register_again(key)
    if known is not None:
        return known
    remembered = remember(project, workspace, validated, rows_of_champions(registry), start)
    made = candidate(project, data, validated, fits, evaluated, reported, remembered, decided)
    return registry.register(made)


def _promote(
    project: Project, registry: Registry, version: Version, against: str | None, evaluation: Mapping[str, Any]
) -> Decision:
    """Decide about the version, which was compared with the champion ``against``, and do it."""
    if CHAMPION in version.aliases:
        registry.settle()  # a run may have been killed before it had verified the new champion
        return Decision("promote", ("this very model is the champion already",), {})
    decision = decide(evaluation, project.promotion)
    smoke = f"loaded in a new process it gave its {version.golden} golden answers again"
    numbers = {**decision.numbers, "golden_answers": version.golden}
    decision = replace(decision, reasons=(*decision.reasons, smoke), numbers=numbers)
    taken = registry.taken_back(version)
    if taken:
        why = (
            f"version {version.number} was taken back at {taken['time']}: {taken['reasons'][0]}; "
            f"`doubleroute promote {version.number} --override --reason TEXT` makes it champion all the same"
        )
        return replace(decision, verdict="refuse", reasons=(why, *decision.reasons))
    if decision.promoted:
        registry.promote(version, against, decision.as_dict())
    else:
        registry.record(version, decision.as_dict(), against)
    return decision


def champion_to_compare(
    registry: Registry, fit: Stage, validated: Stage
) -> tuple[str | None, Champion | None]:
    """Number and model of the champion; no model when it is this very version."""
    version = registry.champion()
    if version is None:
        return None, None
    if version.run_key == run_key(fit, validated):
        return version.number, None
    return version.number, champion_of(registry, version)


def keep_out(
    project: Project, workspace: Workspace, registry: Registry, validated: Stage
) -> tuple[Stage, dict[str, int]]:
    """The rows without those in train and validation that a champion was tested on, and how many of each
    task those were."""
    return hold_out(workspace, validated, list(project.tasks), tested(registry))


def tell(project: Project, record: Mapping[str, Any]) -> None:
    """Send a decision to the project's webhook, if it has one; a failure is said and stops nothing."""
    if project.retraining.webhook is None:
        return
    try:
        post(project.retraining.webhook, record)
    except MachineError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)


pull_data = step(pull, "pull", retries=2)
validate_rows = step(validate, "validate")
tokenise = step(encode, "tokenise", retries=1)
store_activations = step(store, "activations")
fit_models = step(fit, "fit")
evaluate_models = step(evaluate, "evaluate")
write_reports = step(report, "report")
register = step(_register, "register", retries=2)
promote = step(_promote, "promote", retries=2)
look = step(deciding.look, "look")
decide_retraining = step(deciding.decide, "decide", retries=1)


def show(project: str, counts: Mapping[str, Any], evaluation: Mapping[str, Any], report_file: Path) -> None:
    """Row counts, scores, verdicts and the report's link as artifacts of the flow run."""
    rows = [
        {"task": name, "split": split, **each}
        for name, splits in counts.items()
        for split, each in splits.items()
    ]
    create_table_artifact(rows, key=f"{project}-rows", description="rows in = rows out + quarantined")
    header, scores = score_rows(evaluation)
    table = [dict(zip(header, row, strict=True)) for row in scores]
    create_table_artifact(table, key=f"{project}-scores", description="scores on the test split")
    said = "\n".join(f"- {verdict}" for verdict in verdicts(evaluation))
    create_markdown_artifact(said, key=f"{project}-verdicts", description="what the scores say")
    create_link_artifact(report_file.as_uri(), link_text="report.html", key=f"{project}-report")
