"""The commands that keep the model good: drift, retrain, schedule."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app, load
from doubleroute.cli.shows import end_if_refused, show_decision, show_scores, show_stages
from doubleroute.console import Terminal, progress_of, session
from doubleroute.errors import InputError

if TYPE_CHECKING:
    from doubleroute.config import Project
    from doubleroute.flows.deciding import Look
    from doubleroute.integrations.versions import DataVersion

FromLog = Annotated[
    bool, typer.Option("--from-log", help="Look at the texts that the served model was asked.")
]


@app.command()
def drift(
    project: Folder = Path(),
    from_log: FromLog = False,
    source: Annotated[
        Path | None, typer.Option("--input", metavar="FILE", help="Look at the rows of this file.")
    ] = None,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare what arrived with what the champion learned from."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        if from_log and source is not None:
            raise InputError("give one of --from-log and --input")
        loaded = load(project, changes)
        _, found = look_at(loaded, from_log, source)
        show_look(terminal, found)
        terminal.document = {
            "arrived": found.arrived,
            "relabelled": found.relabelled,
            "drift": found.drift,
            "performance": found.performance,
            "facts": found.facts,
            "report": str(found.report / "drift.html") if found.report else None,
        }


@app.command()
def retrain(
    project: Folder = Path(),
    force: Annotated[
        bool, typer.Option("--force", help="Train also when the policy says to wait or to ask.")
    ] = False,
    from_log: FromLog = False,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at what arrived, decide, and train if the policy says so."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        from doubleroute.flows.retrain import run

        result = run(loaded, changes or (), force=force, from_log=from_log)
        terminal.document = result
        for line in result["said"]:
            terminal.line(line)
        record = result["record"]
        terminal.line(f"decision {record['id']}: {record['verdict']}")
        for reason in record["reasons"]:
            terminal.line(f"  {reason}")
        if result["trained"] is None:
            return
        trained = result["trained"]
        terminal.line()
        show_stages(terminal, trained)
        show_scores(terminal, trained)
        decision = trained["decision"]
        show_decision(terminal, f"version {trained['version']} of {loaded.model_name}", decision)
        end_if_refused(terminal, decision)


@app.command()
def schedule(
    project: Folder = Path(),
    cron: Annotated[
        str | None, typer.Option(metavar="CRON", help="When to look, in UTC; by default '0 2 * * *'.")
    ] = None,
    every: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Look so often instead.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look every night, retrain when the policy says so, until stopped."""
    ends = "nothing is scheduled any more"
    with session(as_json=as_json, debug=debug, goes_on=lambda: ends) as terminal:
        if cron is not None and every is not None:
            raise InputError("--cron and --every are two times to look at; give one of them")
        loaded = load(project)
        from doubleroute.flows.schedule import serve

        cron = cron or "0 2 * * *"
        terminal.document = {"project": loaded.name, "cron": None if every else cron, "every": every}
        serve(loaded, cron, every, terminal.line)


def look_at(project: "Project", from_log: bool, source: Path | None = None) -> "tuple[DataVersion, Look]":
    """Pull, validate and look, without a Prefect server and without deciding."""
    from doubleroute.flows.deciding import look
    from doubleroute.flows.timeline import FitProgress
    from doubleroute.integrations.registry import Registry
    from doubleroute.integrations.validation import validate
    from doubleroute.integrations.versions import pull
    from doubleroute.workspace import Workspace

    workspace, registry = Workspace(project.root), Registry(project.root, project.model_name)
    data = pull(project.root, project.all_paths)
    validated = validate(project, workspace)
    with FitProgress() as progress:
        found = look(project, workspace, registry, data, validated, progress, from_log, source, decides=False)
        return data, found


def show_look(terminal: Terminal, found: "Look") -> None:
    """What arrived, what moved, and where the report lies."""
    from doubleroute.flows.deciding import said

    for line in said(found):
        terminal.line(line)
