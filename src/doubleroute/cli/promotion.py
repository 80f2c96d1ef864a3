"""The commands about who is champion: promote, rollback, history."""

import time
from pathlib import Path
from typing import Annotated

import typer

from doubleroute.cli.app import Debug, Folder, Json, app, load, option_for
from doubleroute.console import session

Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; the history keeps it.")]


@app.command()
def promote(
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="A number or alias; by default the challenger.")
    ] = None,
    project: Folder = Path(),
    reason: Reason = None,
    override: Annotated[
        bool, typer.Option("--override", help="Also against the promotion gate's decision; needs --reason.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make a version champion, as the promotion gate decided."""
    with session(as_json=as_json, debug=debug) as terminal:
        loaded, begun = load(project), time.monotonic()
        from doubleroute.integrations.registry import Registry
        from doubleroute.integrations.registry_by_hand import promote_by_hand

        registry = Registry(loaded.root, loaded.model_name)
        done = promote_by_hand(registry, version, reason, override)
        terminal.document = {"model": registry.name, **done, "seconds": round(time.monotonic() - begun, 1)}
        what = f"version {done['version']} of {registry.name}"
        if not done["changed"]:
            terminal.line(f"{what} is champion already; nothing was changed")
            return
        before = f"version {done['from']} was until now" if done["from"] else "there was none before"
        terminal.line(f"{what} is champion: {before}")
        for why in done["reasons"]:
            terminal.line(f"  {why}")
        terminal.line(f"next: `doubleroute rollback{option_for(project)}` takes it back")


@app.command()
def rollback(
    project: Folder = Path(),
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="N", help="A version that was champion; by default the last good one."),
    ] = None,
    reason: Reason = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Make the champion before this one champion again."""
    with session(as_json=as_json, debug=debug) as terminal:
        loaded, begun = load(project), time.monotonic()
        from doubleroute.integrations.registry import Registry

        registry = Registry(loaded.root, loaded.model_name)
        done = registry.rollback((reason or "").strip() or "no reason was given", to)
        seconds = time.monotonic() - begun
        terminal.document = {"model": registry.name, **done, "seconds": round(seconds, 1)}
        for each in done["skipped"]:
            terminal.line(f"skipped: {each}")
        left = f"version {done['from']} was until now" if done["from"] else "there was none"
        terminal.line(
            f"version {done['version']} of {registry.name} is champion again: {left} ({seconds:.1f} s)"
        )


@app.command()
def history(project: Folder = Path(), as_json: Json = False, debug: Debug = False) -> None:
    """Show who was champion when, and why."""
    with session(as_json=as_json, debug=debug) as terminal:
        loaded = load(project)
        from doubleroute.integrations.registry import Registry

        registry = Registry(loaded.root, loaded.model_name)
        moves = registry.history()
        terminal.document = {"model": registry.name, "history": moves}
        if not moves:
            terminal.line(f"model {registry.name} had no champion yet; `doubleroute train` makes one")
            return
        rows = [
            (
                (each["time"] or "unknown").replace("T", " ").replace("+00:00", " UTC"),
                each["version"],
                each["from"] or "-",
                each["by"],
                each["verdict"] or "-",
                each["reasons"][0] if each["reasons"] else "",
            )
            for each in moves
        ]
        terminal.table(("since", "version", "from", "by", "promotion gate", "why"), rows, words=6)
