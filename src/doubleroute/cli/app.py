"""What every command shares: the Typer app, the options, and how the project is read."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from doubleroute.console import Commands

if TYPE_CHECKING:
    from doubleroute.config import Project

app = typer.Typer(
    name="doubleroute",
    cls=Commands,
    help="Routed multi-task fine-tuning of one pretrained transformer, and the pipeline that keeps it good.",
    epilog="Exit codes: 0 done, 2 bad input, 3 refused by a gate, 4 the machine or a store, 130 stopped.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Folder = Annotated[Path, typer.Option("--project", metavar="DIR", help="The folder of project.yaml.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; all else on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value of project.yaml; repeatable."),
]


def load(folder: Path, changes: list[str] | None = None, option: str = "--set") -> "Project":
    """The project; before anything heavy is imported, so that a mistake in it is told at once.

    ``option``: what the changes came from.
    """
    from doubleroute.config import load_project

    return load_project(folder, changes or (), option=option)


def option_for(project: Path) -> str:
    """The --project option to type for this folder."""
    return "" if project == Path() else f" --project {shlex.quote(str(project))}"


def at_commas(text: str) -> list[str]:
    """Split at the commas that no bracket holds."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts
