"""Models as they would have been trained at moments of the past, for replays.

What is kept of each model is small, the stage ``past-model`` with what the training cost; the weights are
removed by ``clear``, and trained again only if another model is to begin with them.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doubleroute.config import Project
from doubleroute.data.arrivals import ROWS, Seen, remember
from doubleroute.data.past import rows_before
from doubleroute.data.tables import rows_digest
from doubleroute.digests import code_digest, digest_of, versions_of
from doubleroute.drift.replay import Model
from doubleroute.modeling.routers import resolve
from doubleroute.modeling.source import locate, source_digest
from doubleroute.training import ladder
from doubleroute.training.encode import encode
from doubleroute.training.plan import FROM_NOTHING, Plan, Start
from doubleroute.training.selection import selection
from doubleroute.workspace import Stage, Workspace, write_json

Progress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class PastModel:
    """``digest`` names the weights; ``folder`` is where they are, or were."""

    digest: str
    folder: Path
    seconds: float
    steps: int


class PastModels:
    """The models of one replay. ``boundaries``: for each window the time that it begins at."""

    def __init__(
        self,
        project: Project,
        workspace: Workspace,
        validated: Stage,
        boundaries: Sequence[str],
        progress: Progress,
    ) -> None:
        self.project, self.workspace = project, workspace
        self.validated, self.boundaries = validated, boundaries
        self.progress = progress
        self._known: dict[Model, PastModel] = {}
        self._heavy: set[Path] = set()

    def rows(self, model: Model) -> Stage:
        """The rows that the model learned from, was chosen and judged on."""
        time = self.boundaries[model.at[-1]]
        return rows_before(self.workspace, self.validated, self.project.tasks, time)

    def get(self, model: Model) -> PastModel:
        """Train the model if it is not known."""
        if model not in self._known:
            inputs = self._inputs(model, self.rows(model))
            stage = self.workspace.build("past-model", inputs, lambda folder: self._train(model, folder))
            about = json.loads((stage.path / "model.json").read_text(encoding="utf-8"))
            folder = self.workspace.stages / f"fit-{about['digest']}" / "model"
            self._known[model] = PastModel(about["digest"], folder, about["seconds"], about["steps"])
        return self._known[model]

    def restore(self, model: Model) -> None:
        """Fit a known model once more whose weights are gone: ``clear`` removes them."""
        self._fit(model)

    def clear(self) -> None:
        """Remove the weights and the frozen layers' outputs that were made for these models. What was there
        before stays: the project itself may have trained on just these rows."""
        for path in self._heavy:
            beside = path.with_name(f".{path.name}-cleared")  # nobody takes half of a stage for a whole one
            with suppress(FileNotFoundError):
                path.rename(beside)
            shutil.rmtree(beside, ignore_errors=True)

    def _inputs(self, model: Model, rows: Stage) -> dict[str, Any]:
        project, parent = self.project, model.parent
        before = None if parent is None else self._inputs(parent, self.rows(parent))
        return {
            "rows": rows_digest(rows),
            "recipe": [list(each) for each in model.recipe],
            "parent": before and digest_of(before),
            "known": None if model.follows is None else rows_digest(self.rows(Model((model.follows,)))),
            "backbone": project.backbone.model_dump(mode="json"),
            "files": source_digest(locate(project.backbone.source, project.root)),
            "router": resolve(project.router.model_dump(mode="json"), project.root),
            "tasks": {name: task.model_dump(mode="json") for name, task in project.tasks.items()},
            "training": project.training.model_dump(mode="json", exclude={"checkpoint_seconds"}),
            "seed": project.seed,
            "code": code_digest("data", "kinds", "modeling", "training"),
            "versions": versions_of("torch", "transformers", "tokenizers", "numpy"),
        }

    def _train(self, model: Model, folder: Path) -> None:
        stage = self._fit(model)
        history = json.loads((stage.path / "history.json").read_text(encoding="utf-8"))
        about = {"digest": stage.digest, "seconds": history["seconds"], "steps": history["total_steps"]}
        write_json(folder / "model.json", about)

    def _fit(self, model: Model) -> Stage:
        name = f"before {self.boundaries[model.at[-1]][:10]}"

        def tell(_: str, point: dict[str, Any]) -> None:
            self.progress(name, point)

        rows = self.rows(model)
        recipe = self.project.retraining.model_copy(update=dict(model.recipe))
        project = self.project.model_copy(update={"retraining": recipe})
        plan = self._plan(project, model, rows)
        encoded = encode(project, self.workspace, rows)
        stored = ladder.store(project, self.workspace, encoded, tell, plan, ["routed"])

        def made(stage: Stage | None) -> None:
            if stage is not None and not stage.reused:
                self._heavy.add(stage.path)

        made(encoded)
        made(stored)

        fits = ladder.fit(project, self.workspace, rows, encoded, stored, tell, plan, ["routed"], made)
        return fits["routed"]

    def _plan(self, project: Project, model: Model, rows: Stage) -> Plan:
        """What the model begins with and which rows it draws."""
        if model.parent is None and not model.recipe:
            return FROM_NOTHING
        start, seen, followed = None, None, model.parent
        if model.parent is not None:
            parent = self._fit(model.parent)
            start = Start(parent.path / "model", parent.digest)
        elif model.follows is not None:
            followed = Model((model.follows,))
        if followed is not None:
            remembered = remember(project, self.workspace, self.rows(followed))
            seen = Seen.read(remembered.path / ROWS)
        chosen = selection(project, self.workspace, rows, seen) if "rows" in dict(model.recipe) else None
        return Plan(start, chosen)
