"""The command about changes of the data: review."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from doubleroute.cli.app import Debug, Folder, Json, Set, app
from doubleroute.console import Terminal, progress_of, session
from doubleroute.errors import InputError

#: What of a review's folder people and programs take with them.
FILES = ("review.json", "review.html", "review.md", "changes.jsonl", "findings.jsonl")


@app.command()
def review(
    base: Annotated[
        str | None,
        typer.Argument(
            metavar="[BASE]",
            help="What the change is to be merged into; by default HEAD~1, with --staged HEAD.",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Argument(metavar="[HEAD]", help="The change: a revision; HEAD by default.")
    ] = None,
    project: Folder = Path(),
    staged: Annotated[
        bool, typer.Option("--staged", help="Review what is staged with git and not committed yet.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Changes and findings alone; no model, no impact.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Measure the impact also by training for real, on both versions.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Log the review in MLflow with its data version; not of a block.")
    ] = False,
    comment: Annotated[
        Literal["github", "gitlab"] | None, typer.Option(help="Post it and set the check there.")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Copy the review's files there.")] = None,
    pre_push: Annotated[
        bool, typer.Option("--pre-push", help="Called by git's hook: review what stdin says is pushed.")
    ] = False,
    changes: Set = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what a change of the data does, before it is merged."""
    with session(as_json=as_json, debug=debug, goes_on=lambda: progress_of(project)) as terminal:
        _check(base, head, staged, pre_push, alone=(full, accept, comment, output))
        if quick and full:
            raise InputError("--quick and --full ask for no model and for whole trainings; give one of them")
        from doubleroute.config import check_folder

        check_folder(project)
        root = project.resolve()
        if output is not None and output.exists() and not output.is_dir():
            raise InputError(f"--output {output} is a file; name a folder")
        place = None
        if comment is not None:
            from doubleroute.integrations.comments import comment_place, post_comment

            place = comment_place(comment, os.environ)
        if pre_push:
            _review_push(terminal, root, changes or [], quick)
            return
        from doubleroute.flows.reviewing import review as make
        from doubleroute.flows.timeline import FitProgress

        into = base or ("HEAD" if staged else "HEAD~1")
        with FitProgress() as progress:
            change = None if staged else head or "HEAD"
            document, folder = make(root, into, change, progress, quick, full, changes or [])
        _show(terminal, document, folder)
        if output is not None:
            _copy(folder, output)
        if place is not None:
            text = (folder / "review.md").read_text(encoding="utf-8")
            url = post_comment(place, document, text)
            terminal.line(f"comment: {url}")
            terminal.document |= {"comment": url}
        if accept:
            _accept(terminal, root, document, folder)
        raise typer.Exit(document["verdict"]["exit_code"])


def _check(base: str | None, head: str | None, staged: bool, pre_push: bool, alone: Sequence[object]) -> None:
    """Raise InputError for options that do not go together; ``alone``: those that a push does not take."""
    if staged and alone[2] is not None:
        raise InputError("--staged has no commit yet that a comment could stand at; leave --comment out")
    if head is not None and staged:
        raise InputError(f"HEAD '{head}' and --staged name two changes; give one of them")
    if pre_push and (base is not None or staged or any(alone)):
        raise InputError(
            "--pre-push takes what is reviewed from stdin; beside it go --quick, --set and --json alone"
        )


def _review_push(terminal: Terminal, root: Path, changes: Sequence[str], quick: bool) -> None:
    """Review every branch of a push that changes the data; the worst verdict counts."""
    from doubleroute.flows.reviewing import review as make
    from doubleroute.flows.timeline import FitProgress
    from doubleroute.integrations.pushes import reviews_of_push
    from doubleroute.review.pushes import pushed

    pairs, passed_over = reviews_of_push(root, pushed(sys.stdin))
    for line in passed_over:
        terminal.line(line)
    documents, code = [], 0
    for base, head in pairs:
        with FitProgress() as progress:
            document, folder = make(root, base, head, progress, quick, False, changes, exact=True)
        documents.append({**document, "folder": str(folder)})
        _show(terminal, document, folder)
        code = max(code, document["verdict"]["exit_code"])
    if not documents and not passed_over:
        terminal.line("nothing that is pushed changes the data")
    terminal.document = {"reviews": documents, "not_reviewed": passed_over}
    raise typer.Exit(code)


def _show(terminal: Terminal, document: Mapping[str, Any], folder: Path) -> None:
    from doubleroute.reports.review import review_lines

    terminal.document = {**document, "folder": str(folder)}
    for line in review_lines(document):
        terminal.line(line)
    terminal.line(f"review: {folder / 'review.html'}")


def _copy(folder: Path, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        beside = output / f".{name}.part"
        shutil.copyfile(folder / name, beside)
        beside.replace(output / name)


def _accept(terminal: Terminal, root: Path, document: Mapping[str, Any], folder: Path) -> None:
    from doubleroute.integrations.registry import Registry
    from doubleroute.integrations.registry_reviews import log_review

    files = [folder / name for name in FILES if not name.endswith(".jsonl")]
    run = log_review(Registry(root, document["model"]), document, files, by_hand=True)
    terminal.line(f"accepted: run {run} in MLflow leads from the data version to this review")
    terminal.document |= {"run": run}
