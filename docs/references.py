"""Write the pages of docs/ that are made from the code; with --check, only say which are stale."""

import sys
from pathlib import Path

import typer
from typer.main import get_command

from doubleroute.cli import app
from doubleroute.config.reference import json_schema, project_file

HERE = Path(__file__).parent


COMMANDS = """\
# The command line

<!-- Made from src/doubleroute/cli/ by `python docs/references.py`; a test holds it. -->

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an error of doubleroute itself: run again with --debug and report it |
| 2 | bad input: an option, project.yaml, a data file, a model folder |
| 3 | refused, by a gate or because another run is at work: [what to do](refused.md) |
| 4 | the machine or a store: disk, permission, server, missing package; whatever `doctor` finds |
| 130, 143 | stopped by Ctrl-C, by SIGTERM: the same command again goes on where it was |

With `--json`, stdout holds exactly one JSON document. An error that keeps a command from its result is
`{"error": {"type", "message", "exit_code"}}`; where a gate, a review, an export, `doctor` or
`decide --replay` says no, the document is the command's own, and the exit code tells. Everything else goes to
stderr. Colours are left out when stdout is no terminal or `NO_COLOR` is set.
"""


def command_line() -> str:
    """The --help of every command, 100 columns wide."""
    group = get_command(app)
    context = typer.Context(group, info_name="doubleroute", max_content_width=100, terminal_width=100)
    parts = [COMMANDS, f"## doubleroute\n\n```text\n{group.get_help(context).strip()}\n```\n"]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context, terminal_width=100)
        parts.append(f"## doubleroute {name}\n\n```text\n{command.get_help(inner).strip()}\n```\n")
    return "\n".join(parts)


def references() -> dict[Path, str]:
    """Every page with the text that it should hold."""
    return {
        HERE / "project-file.md": project_file(),
        HERE / "project.schema.json": json_schema(),
        HERE / "command-line.md": command_line(),
    }


if __name__ == "__main__":
    stale = [path for path, text in references().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(("stale: " if "--check" in sys.argv else "wrote ") + path.name)
        if "--check" not in sys.argv:
            path.write_text(references()[path], encoding="utf-8")
    sys.exit(bool(stale) and "--check" in sys.argv)
