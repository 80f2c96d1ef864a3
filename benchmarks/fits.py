"""A fit of a benchmark's own project, stage by stage as `doubleroute train` runs it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from doubleroute.config import Project, load_project
from doubleroute.integrations.validation import validate
from doubleroute.training.encode import encode
from doubleroute.training.fit import Learner
from doubleroute.training.machine import resolve_precision
from doubleroute.training.plan import FROM_NOTHING, Plan
from doubleroute.training.variants import Name, variant
from doubleroute.workspace import Stage, Workspace


class Ready(NamedTuple):
    """A project whose rows are checked and tokenised."""

    project: Project
    workspace: Workspace
    validated: Stage
    encoded: Stage


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """As lines of JSON."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    file.write_text("".join(lines), encoding="utf-8")


def ready(root: Path) -> Ready:
    """Open the project of a folder, check and tokenise its rows."""
    project, workspace = load_project(root), Workspace(root)
    validated = validate(project, workspace)
    return Ready(project, workspace, validated, encode(project, workspace, validated))


def learner_of(
    of: Ready, name: Name = "plain", stored: Stage | None = None, plan: Plan = FROM_NOTHING
) -> Learner:
    """What trains a variant of it, in the precision that this machine is given."""
    chosen = variant(of.project, name)
    return Learner(of.project, chosen, of.validated, of.encoded, stored, resolve_precision("auto"), plan=plan)


def train(learner: Learner, out: Path) -> list[dict[str, Any]]:
    """Train into ``out/model``, which must not be there; the points of its progress."""
    (out / "partial").mkdir(parents=True)
    points: list[dict[str, Any]] = []
    learner.run(out, out / "partial", points.append)
    return points
