"""What project.yaml may say: frozen pydantic models, one a section, with their defaults and bounds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    model_validator,
)

from doubleroute.config.keeping import (
    Drift,
    Promotion,
    Retraining,
    Review,
    RouterChecks,
    Serving,
    WorkspaceLimit,
)
from doubleroute.config.routers import NoRouter, Router
from doubleroute.config.tasks import Task
from doubleroute.config.training import Training
from doubleroute.config.values import (
    OF_MODULES,
    Fraction,
    Name,
    Section,
    TaskName,
    Text,
)
from doubleroute.config.words import Words


class AcrossSections(ValueError):
    """Sections do not fit each other; ``mistakes``: keys, and what is wrong there, told by ``explain``."""

    def __init__(self, mistakes: list[tuple[tuple[str, ...], str]]) -> None:
        super().__init__("sections do not fit each other")
        self.mistakes = mistakes


class Backbone(Section):
    """The pretrained encoder M."""

    source: Text = Field(
        description="a Hugging Face name, a folder, or package:NAME/PATH for weights in a Python package"
    )
    max_tokens: int = Field(128, ge=8, le=8192, description="longer texts are cut; how many is reported")


class Validation(Section):
    """What happens to rows that are wrong."""

    max_invalid: Fraction = Field(0.02, description="share of quarantined rows that stops the run")
    max_characters: int = Field(20_000, ge=1, description="a longer text is a bad row")
    leaks: Literal["quarantine", "warn"] = Field(
        "quarantine", description="the same text in an earlier split: train gives way to validation and test"
    )
    duplicates: Literal["quarantine", "warn"] = Field("warn", description="same text and label in one split")
    conflicts: Literal["quarantine", "warn"] = Field("warn", description="same text, other label, one split")
    min_rows_per_class: int = Field(2, ge=1, description="fewer training rows of a label are a warning")


class Evaluation(Section):
    """How scores are made."""

    bootstrap: int = Field(
        1000,
        ge=100,
        le=100_000,
        description="resamples behind 95% intervals: of scores that are no share of right rows, and of all "
        "in a comparison over seeds",
    )
    baselines: tuple[Literal["majority", "frozen", "plain"], ...] = Field(
        ("majority", "frozen", "plain"),
        description="shown beside the model; plain is router none at the same steps: it doubles the training",
    )


class Project(Section):
    """All of project.yaml."""

    name: Name = Field(description="of the project and, by default, of its model in the registry")
    seed: int = Field(
        # Trainings with several seeds count up from it, and libraries take 31 bits.
        17,
        ge=0,
        le=2_000_000_000,
        description="of splits, sampling, initial weights and bootstrap",
    )
    backbone: Backbone = Field(description="the pretrained encoder M")
    router: Router = Field(NoRouter(), description="R, between backbone and heads")
    tasks: Annotated[dict[TaskName, Task], Words("a section with a name and a section for each task")] = (
        Field(min_length=1, description="what to learn, by name")
    )
    validation: Validation = Field(Validation(), description="what happens to rows that are wrong")
    training: Training = Field(Training(), description="how the model learns")
    evaluation: Evaluation = Field(Evaluation(), description="how scores are made")
    promotion: Promotion = Field(Promotion(), description="when a challenger becomes champion")
    drift: Drift = Field(Drift(), description="when rows that arrived count as moved")
    retraining: Retraining = Field(Retraining(), description="when and how the model is trained anew")
    review: Review = Field(Review(), description="what a change of the data may do")
    serving: Serving = Field(Serving(), description="how the model answers, and what is written down")
    workspace: WorkspaceLimit = Field(
        WorkspaceLimit(), description="how much of the disk the results of stages may take"
    )

    _root: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _sections_fit_each_other(self) -> "Project":
        found = [*self._wrong_names(), *self._wrong_modes()]
        if found:
            raise AcrossSections(found)
        return self

    def _wrong_names(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Keys and what is wrong with names of tasks, there and where they are named."""
        if "data_docs" in self.tasks:
            yield ("tasks", "data_docs"), "Great Expectations' pages have this name; give the task another"
        for task in sorted(OF_MODULES & self.tasks.keys()):
            other = f"give the task another, such as {task}_task"
            yield ("tasks", task), f"PyTorch's containers have something of this name; {other}"
        of_tasks = {
            ("promotion", "margins"): self.promotion.margins,
            ("retraining", "max_falls"): self.retraining.max_falls,
        }
        for key, named in of_tasks.items():
            for task in sorted(set(named) - set(self.tasks)):
                yield (*key, task), f"there is no task '{task}'; there are: {', '.join(self.tasks)}"

    def _wrong_modes(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Keys and why what they ask for cannot be had with the other sections."""
        modes = {"training": self.training.mode}
        if self.retraining.start == "champion" and self.retraining.mode is not None:
            modes["retraining"] = self.retraining.mode
        unsolved = next((name for name, task in self.tasks.items() if not task.has_linear_head), None)
        for section, mode in modes.items():
            if mode == "heads" and unsolved is not None:
                kind = self.tasks[unsolved].kind
                yield (
                    (section, "mode"),
                    f"heads has no solution for tasks.{unsolved}: it is of kind {kind}, or has a CRF or "
                    "weights of its labels; write auto or full",
                )
        routers = self.router.routers if self.router.kind == "stack" else (self.router,)
        if self.promotion.router_checks != RouterChecks() and all(each.kind != "experts" for each in routers):
            yield (
                ("promotion", "router_checks"),
                f"the router, {self.router.kind}, has no gate to check; use kind experts, or take the checks "
                "out",
            )
        if self.retraining.rows != "all" and not any(task.columns.time for task in self.tasks.values()):
            yield ("retraining", "rows"), f"{self.retraining.rows} needs columns.time in a task"

    def at(self, root: Path) -> "Project":
        """Say which folder project.yaml is in."""
        self._root = root.resolve()
        return self

    @property
    def root(self) -> Path:
        """The folder that project.yaml is in."""
        return self._root

    @property
    def model_name(self) -> str:
        """The model's name in the registry."""
        return self.promotion.model_name or self.name

    def paths(self, task: str, split: str) -> tuple[Path, ...]:
        """The files of one task and split, absolute; empty when the split is taken from train."""
        value: Any = getattr(self.tasks[task].files, split)
        names = (value,) if isinstance(value, str) else (value or ())
        return tuple(self.root / name for name in names)

    def answers_path(self, task: str) -> Path | None:
        """The table of answers of a retrieval task, absolute."""
        file = self.tasks[task].answers.file
        return None if file is None else self.root / file

    @property
    def all_paths(self) -> tuple[Path, ...]:
        """The data files of all tasks and splits and the tables of answers, absolute."""
        splits = ("train", "validation", "test")
        rows = [path for task in self.tasks for split in splits for path in self.paths(task, split)]
        return (*rows, *filter(None, map(self.answers_path, self.tasks)))
