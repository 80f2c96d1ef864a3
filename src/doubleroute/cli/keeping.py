"""The commands about policies: replay, decide."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app, at_commas, load
from doubleroute.console import Terminal, progress_of, session

if TYPE_CHECKING:
    from doubleroute.config import Retraining


@app.command()
def replay(
    project: Folder = Path(),
    every: Annotated[
        str,
        typer.Option(metavar="LENGTH", help="Of a window: week, month, quarter, year, or a number of rows."),
    ] = "quarter",
    first: Annotated[
        str,
        typer.Option(metavar="WHEN", help="The first model learns from what came before: a date or a share."),
    ] = "0.3",
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="NAME:KEY=VALUE,...",
            help="Another policy: the project's with these keys of retraining; repeatable. keep_unmoved and "
            "only_new_tasks are not played.",
        ),
    ] = None,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Play retraining policies over the dated history: cost and gain."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        loaded = load(project, changes)
        variants = _variants(project, changes or [], policies or [])
        from doubleroute.flows.replay import policies_of
        from doubleroute.flows.replay import replay as play
        from doubleroute.reports.replay import policy_rows, verdict_lines

        found = play(loaded, policies_of(loaded, variants), every, first)
        terminal.document = found
        terminal.line(f"{len(found['windows'])} windows since {found['windows'][0]['begin'][:10]}")
        terminal.line()
        terminal.table(*policy_rows(found))
        terminal.line()
        for line in verdict_lines(found):
            terminal.line(line)
        terminal.line(f"report: {Path(found['folder']) / 'report.html'}")


@app.command()
def decide(
    project: Folder = Path(),
    replayed: Annotated[
        str | None, typer.Option("--replay", metavar="ID", help="Make this decision again from its record.")
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the decisions so far, or make one of them again."""
    with session(as_json=as_json, debug=debug) as terminal:
        loaded = load(project)
        if replayed is None:
            _show_decisions(terminal, loaded.root)
            return
        from doubleroute.drift.records import read, reproduce

        record = read(loaded.root, replayed)
        again = reproduce(record)
        terminal.document = {
            "id": record["id"],
            "same": again.same,
            "differences": list(again.differences),
            "decision": again.decision.as_dict(),
        }
        terminal.line(f"decision {record['id']} of {record['time']}: {again.decision.verdict}")
        for reason in again.decision.reasons:
            terminal.line(f"  {reason}")
        if not again.same:
            for difference in again.differences:
                terminal.line(f"  differs: {difference}")
            terminal.note("error: the decision made again is not the recorded one")
            raise typer.Exit(2)
        terminal.line("the same as recorded: verdict, reasons and numbers")


def _show_decisions(terminal: Terminal, root: Path) -> None:
    from doubleroute.drift.records import read_all

    found, damaged = read_all(root)
    terminal.document = {"decisions": found, "damaged": damaged}
    for record in found:
        outcome = record["outcome"] or {}
        after = ", forced by hand" if outcome.get("forced") else ""
        after += f", then {outcome['error'] or outcome['verdict'] or 'not finished'}" if outcome else ""
        terminal.line(f"{record['id']}  {record['verdict']}{after}")
    for sentence in damaged:
        terminal.note(f"warning: {sentence}")
    if not found:
        terminal.line("no decision yet; `doubleroute retrain` makes one")


def _variants(project: Path, changes: list[str], given: list[str]) -> "dict[str, Retraining]":
    """The policies of --policy by name."""
    from doubleroute.errors import InputError

    found = {}
    for text in given:
        name, colon, keys = text.partition(":")
        if not (name.strip() and colon and "=" in keys):
            raise InputError(f"--policy '{text}': write it as NAME:KEY=VALUE,KEY=VALUE")
        own = [f"retraining.{key.strip()}" for key in at_commas(keys)]
        option = f"--policy {name.strip()}:"
        found[name.strip()] = load(project, [*changes, *own], option).retraining
    return found
