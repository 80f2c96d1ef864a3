"""The command about models: compare."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app, at_commas, load
from doubleroute.console import progress_of, session

if TYPE_CHECKING:
    from doubleroute.config import Project, Router


@app.command()
def compare(
    project: Folder = Path(),
    routers: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Such as experts,mlp:width=64:learning_rate=1e-4; by default the project's router.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="How often each model is trained, twice at least.")
    ] = 3,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Optimizer steps of every fit.")
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.1, max=1000, help="The same in epochs; by default the project's."),
    ] = None,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say whether routing helps: each model at equal steps, over seeds."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        from doubleroute import forks
        from doubleroute.errors import InputError
        from doubleroute.processes import FOR_MODELS

        if steps is not None and epochs is not None:
            raise InputError("give either --steps or --epochs")
        changes = [*(changes or []), *([] if epochs is None else [f"training.epochs={epochs}"])]
        loaded = load(project, changes)
        chosen = _routers(project, changes, loaded, routers)
        forks.keep(FOR_MODELS)  # before torch is here, so that a copy of this process serves
        from doubleroute.flows.comparing import compare as run
        from doubleroute.reports.comparison import comparison_rows, model_rows, score_rows, verdict_lines

        found = run(loaded, chosen, seeds, steps, terminal.note)
        terminal.document = found
        terminal.table(*model_rows(found))
        terminal.line()
        terminal.table(*score_rows(found), words=3)
        terminal.line()
        terminal.table(*comparison_rows(found), words=3)
        terminal.line()
        for line in verdict_lines(found):
            terminal.line(line)
        terminal.line(f"report: {Path(found['folder']) / 'report.html'}")


def _routers(folder: Path, changes: list[str], project: "Project", given: str | None) -> "dict[str, Router]":
    """The routers of --routers by what was written; KIND:KEY=VALUE changes the project's router of that kind,
    or the defaults of another."""
    if given is None:
        return {project.router.kind: project.router}
    from doubleroute.errors import InputError

    found = {}
    for entry in (each.strip() for each in at_commas(given)):
        kind, *keys = re.split(r":(?=\w+=)", entry)  # another colon is a value's
        if not re.fullmatch(r"\w+", kind) or not all("=" in key for key in keys):
            raise InputError(f"--routers '{given}': write it as KIND,KIND:KEY=VALUE:KEY=VALUE")
        # What the project asks of its own router's gate is not asked of these.
        other = ["promotion.router_checks={}"]
        other += [] if kind == project.router.kind else [f"router={{kind: {kind}}}"]
        own = [f"router.{key.strip()}" for key in keys]
        found[entry] = load(folder, [*changes, *other, *own], f"--routers {kind}:").router
    return found
