"""The train flow: from the data to a champion."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from doubleroute.config import Project, load_project
from doubleroute.environment import set_defaults
from doubleroute.flows import libraries
from doubleroute.flows.server import prefect_api
from doubleroute.flows.timeline import FitProgress, Timeline, say_trimmed
from doubleroute.workspace import Workspace


def run(project: Project, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Run the train flow of this project, on the server of PREFECT_API_URL or on a temporary one.

    ``changes`` are the overrides that ``project`` was read with. Another run of the same project is
    waited for, and named on stderr. Gives what ``train`` gives.
    """
    workspace = Workspace(project.root)
    libraries.keep(workspace)
    with prefect_api(workspace, lambda: _say_waiting(workspace), meanwhile=libraries.import_steps):
        return train(str(project.root), list(changes))


@flow(name="train", persist_result=False, validate_parameters=True)
def train(project: str = ".", changes: list[str] | None = None) -> dict[str, Any]:
    """Train, evaluate and register the project's model, and promote it if it is the better one.

    1. pull: the data are what data.dvc says
    2. validate: good rows go on, bad ones into quarantine; a row that was ever held out stays out of training
    3. tokenise: ids and labels, packed
    4. activations: what the frozen layers make of every row, once
    5. fit: the routed model and its baselines, side by side
    6. evaluate: all of them and the champion on the same test rows, with intervals
    7. report: HTML and Markdown
    8. register: a version in MLflow, read back in a new process
    9. promote: the promotion gate decides; the champion's alias moves or stays
    """
    set_defaults()  # a worker of a deployment comes here without our command line
    from doubleroute.flows import steps
    from doubleroute.integrations.registry import Registry
    from doubleroute.integrations.validation import read_summary
    from doubleroute.reports.tables import verdicts
    from doubleroute.training.evaluate import read_evaluation

    loaded = load_project(Path(project), changes or ())
    workspace = Workspace(loaded.root)
    limit = workspace.bounded(loaded.workspace.max_gb * 1e9, say_trimmed)
    with workspace.lock("train", lambda: _say_waiting(workspace)), workspace.scratch(), limit:
        registry, clock = Registry(loaded.root, loaded.model_name), Timeline()
        registry.refuse_read_only()  # told before hours of training, as is
        registry.champion()  # a store that does not answer
        data = clock(steps.pull_data, loaded.root, loaded.all_paths)
        validated = clock(steps.validate_rows, loaded, workspace)
        counts = read_summary(validated)["tasks"]
        validated, kept_out = steps.keep_out(loaded, workspace, registry, validated)
        encoded = clock(steps.tokenise, loaded, workspace, validated)
        with FitProgress() as progress:
            stored = clock(steps.store_activations, loaded, workspace, encoded, progress)
            fits = clock(steps.fit_models, loaded, workspace, validated, encoded, stored, progress)
        against, champion = steps.champion_to_compare(registry, fits["routed"], validated)
        evaluated = clock(steps.evaluate_models, loaded, workspace, validated, encoded, fits, champion)
        evaluation = read_evaluation(evaluated)
        reported = clock(
            steps.write_reports, loaded, workspace, data, validated, fits, evaluated, counts, kept_out
        )
        version = clock(
            steps.register, loaded, workspace, registry, data, validated, fits, evaluated, reported
        )
        decision = clock(steps.promote, loaded, registry, version, against, evaluation)

        steps.show(loaded.name, counts, evaluation, reported.path / "report.html")
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


def _say_waiting(workspace: Workspace) -> None:
    who = workspace.holder("train") or workspace.holder("prefect") or "another process"
    said = f"another run of this project is under way: {who}; waiting for it to end"
    print(said, file=sys.stderr, flush=True)
