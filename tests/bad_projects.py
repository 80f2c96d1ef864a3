"""Small projects with something wrong in them, and what a refusal must look like."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from doubleroute.cli import app

ROWS = "text,label\n" + "".join(f"text number {n} of many,{('good', 'bad')[n % 2]}\n" for n in range(40))


def call(command: str, project: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    words = [command, "--project", str(project), *arguments]
    return CliRunner().invoke(app, words, env=dict(env or {}))


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def make(root: Path, data: str | bytes | None = ROWS, name: str = "train.csv", more: str = "") -> Path:
    """A project of one classification task, mood, on one file (None: not there)."""
    (root / "data").mkdir(parents=True)
    if data is not None:
        (root / "data" / name).write_bytes(data.encode() if isinstance(data, str) else data)
    (root / "project.yaml").write_text(
        f"name: demo\nbackbone: {{source: backbone}}\ntasks:\n  mood:\n    kind: classification\n"
        f"    files: {{train: data/{name}}}\n{more}"
    )
    return root


def files(root: Path) -> dict[str, bytes]:
    """Every file of a project but the record of its data, the locks, and what keeps them out of git."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "locks" not in path.parts and path.name not in ("data.json", ".gitignore")
    }


def refused(result: Result, code: int) -> str:
    """The message of a refusal under --json: one document on stdout, the same on stderr, no traceback."""
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.stderr
    error = json.loads(result.stdout)["error"]
    assert error["exit_code"] == code
    assert f"error: {error['message']}".encode(errors="backslashreplace").decode() in result.stderr
    return str(error["message"])
