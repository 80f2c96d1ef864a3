"""The watch flow: look at what arrived and decide; a decision to retrain is an event that others hear."""

import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.events import emit_event

from doubleroute.config import Project, load_project
from doubleroute.digests import digest_of
from doubleroute.drift import records
from doubleroute.environment import set_defaults
from doubleroute.errors import InputError
from doubleroute.flows.timeline import FitProgress, Timeline, say_trimmed
from doubleroute.workspace import Stage, Workspace

if TYPE_CHECKING:
    from doubleroute.integrations.registry import Registry
    from doubleroute.integrations.versions import DataVersion

#: A retraining that began so often and never ended is not started again by a look, until its data or champion
#: are others.
MOST_ATTEMPTS = 5
#: How a process ends that somebody stopped: with Ctrl-C or a SIGTERM.
_STOPS = ("-2", "130", "-15", "143")
#: The event of a decision to retrain; ``prefect.yaml`` and ``doubleroute schedule`` start a retraining on it.
RETRAIN = "doubleroute.retrain"


@flow(name="watch", persist_result=False, validate_parameters=True)
def watch(project: str = ".", changes: list[str] | None = None, from_log: bool = False) -> dict[str, Any]:
    """Look at what arrived since the champion learned, decide, and say so.

    1. pull: the data are what data.dvc says
    2. validate: good rows go on, bad ones into quarantine
    3. look: what arrived, measured against what the champion learned from
    4. decide: retrain, wait or ask, by the project's policy; the record is in decisions/. A decision to
       retrain this champion on these data that was not carried out yet stands
    5. tell: artifacts, the webhook, and the event that starts a retraining
    """
    set_defaults()
    loaded = load_project(Path(project), changes or ())
    workspace, clock = Workspace(loaded.root), Timeline()
    with workspace.bounded(loaded.workspace.max_gb * 1e9, say_trimmed, others=("train",)):
        return _watch(loaded, workspace, clock, from_log)


def _watch(loaded: Project, workspace: Workspace, clock: Timeline, from_log: bool) -> dict[str, Any]:
    from doubleroute.flows import steps
    from doubleroute.integrations.registry import Registry

    registry = Registry(loaded.root, loaded.model_name)
    data = clock(steps.pull_data, loaded.root, loaded.all_paths)
    validated = clock(steps.validate_rows, loaded, workspace)
    record, lines = decided(loaded, workspace, registry, data, validated, clock, from_log)
    if lines:
        show_decision(loaded.name, record, lines)
        steps.tell(loaded, record)
    # One that is not carried out yet is told again, unless somebody is at it: its event may be lost.
    if record["verdict"] == "retrain" and workspace.holder("train") is None:
        serving = record["facts"]["champion"] and record["facts"]["champion"]["version"]
        attempts = records.most_attempts(loaded.root, data.as_dict(), serving, loaded.retraining)
        if attempts < MOST_ATTEMPTS:
            resource = {"prefect.resource.id": f"doubleroute.project.{label(loaded)}"}
            emit_event(RETRAIN, resource, payload={"decision": record["id"], "project": str(loaded.root)})
        else:
            error = f"began {attempts} times and never ended; `doubleroute retrain --force` tries once more"
            record = records.set_outcome(loaded.root, record["id"], {"error": error})
            steps.tell(loaded, record)
            say_failure(f"retraining by decision {record['id']}: {error}")
    return {"record": record, "said": lines, "stages": clock.stages, "seconds": clock.seconds}


def decided(
    project: Project,
    workspace: Workspace,
    registry: "Registry",
    data: "DataVersion",
    validated: Stage,
    clock: Timeline,
    from_log: bool,
) -> tuple[records.Record, list[str]]:
    """The decision to retrain that was not carried out yet (``records.unfinished``), without a line; else
    that of a new look, with what the look found in lines."""
    from doubleroute.flows import steps
    from doubleroute.flows.deciding import said

    champion = registry.champion()
    serving = champion.number if champion else None
    record = records.unfinished(project.root, data.as_dict(), serving, project.retraining)
    if record is not None:
        return record, []
    with FitProgress() as progress:
        found = clock(steps.look, project, workspace, registry, data, validated, progress, from_log)
    return clock(steps.decide_retraining, project, data, found), said(found)


@watch.on_failure
@watch.on_crashed
def failed(flow: Any, run: Any, state: Any) -> None:
    """A hook of Prefect's for a flow that failed or was killed. Where a deployment ran it, so that nobody
    waits for it, say so on the terminal and to the webhook: {"project", "flow", "error", "time"}."""
    error = str(state.message).removeprefix("Flow run encountered an exception: ")
    stopped = re.search(r"status code:? (-?\d+)", error)
    if run.deployment_id is None or (state.is_crashed() and (stopped is None or stopped[1] in _STOPS)):
        return
    from doubleroute.flows import steps

    folder = Path(run.parameters.get("project", ".")).resolve()
    say_failure(f"{folder.name}, {flow.name}: {error}")
    with suppress(InputError):  # a project.yaml that is wrong names no webhook
        project = load_project(folder, run.parameters.get("changes") or ())
        about = {"project": project.name, "flow": flow.name, "error": error}
        steps.tell(project, {**about, "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"})


def say_failure(what: str) -> None:
    """On stderr, which `doubleroute schedule` shows."""
    print(f"error: {what}", file=sys.stderr, flush=True)


def label(project: Project) -> str:
    """What a Prefect server knows the project of this folder by: two checkouts of one name are two."""
    return f"{project.name}-{digest_of(str(project.root))[:6]}"


def show_decision(project: str, record: dict[str, Any], lines: list[str]) -> None:
    """The decision and the report's link as artifacts of the flow run."""
    reasons = "\n".join(f"- {each}" for each in [*record["reasons"], *lines])
    said = f"decision {record['id']}: **{record['verdict']}**\n\n{reasons}"
    create_markdown_artifact(said, key=f"{project}-decision", description="retrain, wait or ask")
    if record["report"]:
        link = Path(record["report"]).as_uri()
        create_link_artifact(link, link_text="drift.html", key=f"{project}-drift")
