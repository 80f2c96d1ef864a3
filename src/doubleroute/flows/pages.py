"""A document and its page, kept as one stage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from doubleroute.digests import code_digest, digest_of
from doubleroute.workspace import Workspace, write_json


def with_page(
    workspace: Workspace,
    name: str,
    file: str,
    found: dict[str, Any],
    write: Callable[[Path, dict[str, Any]], object],
) -> Path:
    """The folder of the stage ``name`` with the document as ``file``, and what ``write`` makes of it beside
    (report.html, report.md)."""

    def make(folder: Path) -> None:
        write_json(folder / file, found)
        write(folder, found)

    inputs = {"document": digest_of(found), "code": code_digest("reports")}
    return workspace.build(name, inputs, make).path
