"""What project.yaml may say: frozen pydantic models, one a section, with their defaults and bounds."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PrivateAttr,
    ValidationInfo,
    field_validator,
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
from doubleroute.config.kinds import CLASSES, LABELLED_AS, METRICS, Kind
from doubleroute.config.lora import Lora
from doubleroute.config.routers import NoRouter, Router
from doubleroute.config.values import (
    Column,
    Dropout,
    Duration,
    Fraction,
    Label,
    Name,
    Paths,
    Positive,
    Section,
    TaskName,
    Text,
)
from doubleroute.config.words import Words


class Backbone(Section):
    """The pretrained encoder M."""

    source: Text = Field(
        description="a Hugging Face name, a folder, or package:NAME/PATH for weights in a Python package"
    )
    max_tokens: int = Field(128, ge=8, le=8192, description="longer texts are cut; how many is reported")


class Files(Section):
    """Where the rows of a task are. Without validation or test files they are split off from train."""

    train: Paths = Field(description="a file or a list of files; relative to project.yaml")
    validation: Paths | None = Field(
        None, description="chooses the best epoch; split off from train when null"
    )
    test: Paths | None = Field(None, description="gives the scores; split off from train when null")


class Columns(Section):
    """Which columns of the files hold what. Names not given are the ones shown as default."""

    text: Column = Field("text", description="the text; not used by tagging")
    text_pair: Column | None = Field(None, description="the second text of a pair")
    label: Column = Field(
        "label",
        description="the label; regression: a number; multilabel: a list or text; retrieval: an answer's id",
    )
    tokens: Column = Field("tokens", description="tagging: a list of tokens, or tokens separated by spaces")
    tags: Column = Field("tags", description="tagging: as many tags as tokens")
    time: Column | None = Field(None, description="when the row was made: an ISO 8601 date or time")
    key: Column | None = Field(
        None, description="names a row for good: a review of the data matches the rows of two versions by it"
    )


class Answers(Section):
    """The answers that a retrieval task chooses from, a row each; the label of a query is the id of one."""

    file: Text | None = Field(None, description="a file, needed by retrieval; relative to project.yaml")
    id: Column = Field("id", description="the column that names an answer for good")
    text: Column = Field("text", description="the column with what is answered")


class Split(Section):
    """Fractions of the training rows that are split off where a task names no such file."""

    validation: Fraction = Field(0.1, description="of the training rows")
    test: Fraction = Field(0.1, description="of the training rows")

    @model_validator(mode="after")
    def _something_is_left(self) -> "Split":
        if self.validation + self.test >= 1:
            both = f"validation {self.validation:g} + test {self.test:g}"
            raise ValueError(f"{both} must stay below 1, or nothing is left to train on")
        return self


class Head(Section):
    """F: what turns the routed states into a task's answer."""

    pooling: Literal["mean", "first", "attention"] = Field("mean", description="not used by tagging")
    dropout: Dropout = Field(0.1, description="before the last layer")
    crf: bool = Field(False, description="tagging: also learn which tag follows which (Lafferty et al. 2001)")


class Task(Section):
    """Something to learn."""

    kind: Kind = Field(description="what sort of task it is")
    files: Files = Field(description="the task's data")
    columns: Columns = Field(Columns(), description="where things are in the files")
    answers: Answers = Field(Answers(), description="retrieval: the table of answers")
    labels: tuple[Label, ...] | None = Field(
        None,
        min_length=2,
        description="every label; taken from the training rows when not given. ordinal: needed, lowest first",
    )
    separator: Text = Field(",", description="multilabel: between labels in a text cell")
    split: Split = Field(
        Split(), description="what is split off from train, seeded, without duplicates across"
    )
    metric: Text | None = Field(None, description="what the task is judged by; the kind's first by default")
    weight: Positive = Field(1.0, description="of the task's loss")
    class_weights: (
        Literal["balanced"]
        | Annotated[dict[Label, Positive], Words("a section with a label and its weight each")]
        | None
    ) = Field(
        None, description="of labels in the loss: balanced by the training rows, or a map; others have 1"
    )
    slices: tuple[Column, ...] = Field((), description="columns whose values get scores of their own")
    head: Head = Field(Head(), description="F of this task")

    @field_validator("metric")
    @classmethod
    def _metric_fits_the_kind(cls, metric: str | None, info: ValidationInfo) -> str | None:
        allowed = METRICS.get(info.data.get("kind", ""))
        if metric is not None and allowed and metric not in allowed:
            raise ValueError(f"'{metric}' does not fit kind {info.data['kind']}; use {', '.join(allowed)}")
        return metric

    @field_validator("labels")
    @classmethod
    def _labels_fit_the_kind(
        cls, labels: tuple[str, ...] | None, info: ValidationInfo
    ) -> tuple[str, ...] | None:
        if labels is not None and info.data.get("kind") == "regression":
            raise ValueError("does not fit kind regression, whose label is a number; delete it")
        if labels is not None and info.data.get("kind") == "retrieval":
            raise ValueError(
                "does not fit kind retrieval, whose labels are the ids of its answers; delete it"
            )
        twice = sorted({label for label in labels or () if labels and labels.count(label) > 1})
        if twice:
            raise ValueError(f"stand twice: {', '.join(twice)}; keep one of each")
        return labels

    @model_validator(mode="after")
    def _an_order_is_given(self) -> "Task":
        if self.kind == "ordinal" and len(self.labels or ()) < 3:
            raise ValueError(
                "kind ordinal needs labels, three or more from the lowest to the highest, "
                'as in labels: ["1", "2", "3"]; two are kind classification'
            )
        return self

    @model_validator(mode="after")
    def _answers_are_there_to_be_found(self) -> "Task":
        if (self.answers.file is None) == (self.kind == "retrieval"):
            raise ValueError(
                "kind retrieval needs a table of answers, as in answers: {file: data/answers.csv}"
                if self.answers.file is None
                else f"answers does not fit kind {self.kind}; delete it, or write kind: retrieval"
            )
        return self

    @field_validator("head")
    @classmethod
    def _head_fits_the_kind(cls, head: Head, info: ValidationInfo) -> Head:
        if head.crf and info.data.get("kind", "tagging") != "tagging":
            raise ValueError(f"crf does not fit kind {info.data['kind']}, which has no tags; delete it")
        if head.crf and info.data.get("class_weights") is not None:
            raise ValueError("crf knows no class_weights; delete one of them")
        return head

    @property
    def labelled_as(self) -> str:
        """The kind whose labels look like this one's."""
        return LABELLED_AS.get(self.kind, self.kind)

    @field_validator("class_weights")
    @classmethod
    def _there_are_classes(cls, weights: Any, info: ValidationInfo) -> Any:
        kind = info.data.get("kind", CLASSES[0])
        if weights is not None and kind not in CLASSES:
            raise ValueError(f"do not fit kind {kind}, but {', '.join(CLASSES)}; delete them")
        return weights

    @property
    def judged_by(self) -> str:
        """The name of the metric that the task is judged by."""
        return self.metric or METRICS[self.kind][0]


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Training(Section):
    """How the model learns."""

    mode: Literal["full", "auto", "heads"] = Field(
        "full",
        description="full: one fit; auto: heads on stored states first, then the upper half of the layers, "
        "then all that may learn, as long as the budget lasts; heads: the first of these alone",
    )
    budget: Duration | None = Field(
        None, description="of mode auto: training seconds in all, as in 90s, 5m or 1h; null: epochs alone"
    )
    epochs: Annotated[float, Field(ge=0.1, le=1000)] = Field(
        3.0, description="one epoch draws as many rows as there are; the last may be a part of one"
    )
    batch_size: int = Field(32, ge=1, le=65536, description="rows a step")
    trainable: Literal["all", "frozen"] | Annotated[int, Field(ge=1)] = Field(
        "all", description="all layers, frozen (router and heads alone), or how many top layers"
    )
    lora: Lora | None = Field(
        None, description="adapters learn in place of the trainable layers' weights (the extra lora)"
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="adamw: Loshchilov & Hutter 2019")
    learning_rate: Positive = Field(5e-5, description="of the backbone")
    head_learning_rate: Positive = Field(1e-3, description="of the heads")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "linear", description="of the learning rates, after the warm-up"
    )
    warmup: Fraction = Field(0.1, description="fraction of all steps")
    weight_decay: float = Field(0.01, ge=0, description="of all weights but biases and norms")
    dropout: Dropout = Field(0.1, description="inside the trained layers of the backbone")
    clip: Positive | None = Field(1.0, description="largest gradient norm; null switches it off")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Szegedy et al. 2016; 0 switches it off")
    sampling: Literal["temperature", "uniform", "annealed"] = Field(
        "temperature",
        description="rows of a task in an epoch: size^(1/T); the same for all; or proportional in the first "
        "epoch and size^(1/T) in the last (Stickland & Murray 2019; their T is 5)",
    )
    sampling_temperature: float = Field(
        1.0, ge=1, le=100, description="T of size^(1/T): 1 is proportional, larger favours small tasks"
    )
    task_weights: Literal["fixed", "uncertainty"] = Field(
        "fixed",
        description="of the tasks' losses: their weight, or times a learned one (Kendall et al. 2018)",
    )
    gradients: Literal["sum", "upgrad", "mgda", "pcgrad", "imtl_g", "aligned_mtl"] = Field(
        "sum", description="of the tasks in a step: summed, or combined by torchjd (the extra mtl)"
    )
    early_stopping: int | None = Field(None, ge=1, description="epochs without gain before it stops")
    task_early_stopping: int | None = Field(
        None,
        ge=1,
        description="epochs without gain in a task's own score before it is drawn a tenth as often; when all "
        "tasks are there it stops",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: what the machine has"
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="between checkpoints")

    @field_validator("budget")
    @classmethod
    def _budget_fits_the_mode(cls, budget: str | None, info: ValidationInfo) -> str | None:
        if budget is not None and info.data.get("mode") != "auto":
            raise ValueError("is kept by mode auto alone; write `mode: auto`, or delete it")
        return budget

    @property
    def seconds(self) -> float | None:
        """The budget in seconds."""
        return None if self.budget is None else float(self.budget[:-1]) * _SECONDS[self.budget[-1]]

    @model_validator(mode="after")
    def _adapters_have_a_layer(self) -> "Training":
        if self.lora is not None and self.trainable == "frozen":
            raise ValueError("lora: with trainable: frozen no layer has adapters; write all or a number")
        return self

    @model_validator(mode="after")
    def _sampling_has_an_effect(self) -> "Training":
        if self.sampling == "annealed" and self.sampling_temperature == 1:
            raise ValueError("sampling: annealed needs a sampling_temperature above 1 to end at; write 5")
        if self.sampling == "uniform" and self.sampling_temperature != 1:
            raise ValueError("sampling_temperature has no effect on sampling: uniform; take one of them out")
        return self


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

    bootstrap: int = Field(1000, ge=100, le=100_000, description="resamples behind each 95% interval")
    baselines: tuple[Literal["majority", "frozen", "plain"], ...] = Field(
        ("majority", "frozen", "plain"),
        description="shown beside the model; plain is router none at the same steps: it doubles the training",
    )


class Project(Section):
    """All of project.yaml."""

    name: Name = Field(description="of the project and, by default, of its model in the registry")
    seed: int = Field(
        17, ge=0, le=2**31 - 1, description="of splits, sampling, initial weights and bootstrap"
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
    def _names_and_columns_are_there(self) -> "Project":
        unknown = sorted(set(self.promotion.margins) - set(self.tasks))
        if unknown:
            raise ValueError(
                f"promotion.margins: there is no task '{unknown[0]}'; there are: {', '.join(self.tasks)}"
            )
        checks = self.promotion.router_checks
        routers = self.router.routers if self.router.kind == "stack" else (self.router,)
        if checks != RouterChecks() and all(each.kind != "experts" for each in routers):
            raise ValueError(
                f"promotion.router_checks: the router, {self.router.kind}, has no gate to check; use kind "
                "experts, or take the checks out"
            )
        timed = any(task.columns.time for task in self.tasks.values())
        if self.retraining.rows != "all" and not timed:
            raise ValueError(f"retraining.rows: {self.retraining.rows} needs columns.time in a task")
        return self

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
