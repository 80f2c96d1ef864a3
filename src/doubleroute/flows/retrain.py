"""The retrain flow: look, decide, and train from the champion on what the policy says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from doubleroute.config import Project, load_project
from doubleroute.drift import records
from doubleroute.environment import set_defaults
from doubleroute.errors import DoublerouteError, GateError
from doubleroute.flows import libraries
from doubleroute.flows.server import prefect_api
from doubleroute.flows.timeline import Timeline, say_trimmed
from doubleroute.flows.watch import decided, failed, show_decision
from doubleroute.workspace import Workspace


def run(
    project: Project, changes: Sequence[str] = (), force: bool = False, from_log: bool = False
) -> dict[str, Any]:
    """Run the retrain flow of this project, on the server of PREFECT_API_URL or on a temporary one.

    Gives what ``retrain`` gives. Raises GateError when another training of the project is under way.
    """
    workspace = Workspace(project.root)

    def busy() -> None:
        raise _busy(workspace)

    libraries.keep(workspace)
    with prefect_api(workspace, busy, meanwhile=libraries.import_steps):
        return retrain(str(project.root), list(changes), force, from_log)


@flow(name="retrain", persist_result=False, validate_parameters=True)
def retrain(
    project: str = ".",
    changes: list[str] | None = None,
    force: bool = False,
    from_log: bool = False,
    decision: str | None = None,
) -> dict[str, Any]:
    """Look at what arrived, decide, and train a challenger from the champion if the policy says so.

    1. pull, 2. validate: as in the train flow
    3. look: what arrived, measured against what the champion learned from
    4. decide: by the policy; a retraining that a kill cut short goes on. With ``decision``, the id of one
       that was made, there is no new look, and one that was carried out already, or whose champion does not
       serve any more, is left alone
    5. tokenise, activations, fit, evaluate, report, register, promote: as in the train flow, the routed
       model alone, from the weights and on the rows that the policy names
    6. tell: the outcome goes into the record, the artifacts and the webhook
    """
    set_defaults()
    from doubleroute.flows import produce, steps
    from doubleroute.integrations.registry import Registry

    loaded = load_project(Path(project), changes or ())
    workspace = Workspace(loaded.root)

    def busy() -> None:
        raise _busy(workspace)

    limit = workspace.bounded(loaded.workspace.max_gb * 1e9, say_trimmed)
    with workspace.lock("train", busy), workspace.scratch(), limit:
        registry, clock = Registry(loaded.root, loaded.model_name), Timeline()
        data = clock(steps.pull_data, loaded.root, loaded.all_paths)
        validated = clock(steps.validate_rows, loaded, workspace)
        produce.close(loaded.root, registry)
        if decision:
            record, lines = records.read(loaded.root, decision), list[str]()
        else:
            record, lines = decided(loaded, workspace, registry, data, validated, clock, from_log)
        show_decision(loaded.name, record, lines)
        trained: dict[str, Any] | None = None
        champion = registry.champion()
        overtaken = records.is_overtaken(record, champion.number if champion else None)
        done = (record["outcome"] or {}).get("version") or overtaken
        if force or (record["verdict"] == "retrain" and not done):
            records.begin(loaded.root, record["id"], forced=record["verdict"] != "retrain" or bool(done))
            try:
                trained = produce.challenger(loaded, workspace, registry, data, validated, record, clock)
            except Exception as error:  # a kill or Ctrl-C notes nothing, and is gone on with
                named = isinstance(error, DoublerouteError) and str(error)
                said = named or f"{type(error).__name__}: {error}"
                records.set_outcome(loaded.root, record["id"], {"error": said})
                raise
            record = records.set_outcome(loaded.root, record["id"], produce.outcome(trained))
        steps.tell(loaded, record)
        return {
            "record": record,
            "said": lines,
            "trained": trained,
            "stages": clock.stages,
            "seconds": clock.seconds,
        }


retrain.on_failure(failed)
retrain.on_crashed(failed)


def _busy(workspace: Workspace) -> GateError:
    who = workspace.holder("train") or workspace.holder("prefect")
    return GateError(f"a training of this project is under way: {who}; one at a time")
