"""What project.yaml may say: frozen pydantic models, one a section, with their defaults and bounds."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

Kind = Literal["classification", "multilabel", "regression", "tagging"]

#: The metrics that a kind can be judged by; the first is its default.
METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "weighted_f1", "mcc"),
    "multilabel": ("micro_f1", "macro_f1", "subset_accuracy"),
    "regression": ("spearman", "pearson", "mae", "rmse"),
    "tagging": ("entity_f1", "token_accuracy", "token_macro_f1"),
}
#: Metrics of which less is better.
LOWER_IS_BETTER = frozenset({"mae", "rmse"})

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of project.yaml: immutable, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Backbone(Section):
    """The pretrained encoder M."""

    source: str = Field(
        description="a Hugging Face name, a folder, or package:NAME/PATH for weights in a Python package"
    )
    max_tokens: int = Field(128, ge=8, le=8192, description="longer texts are cut; how many is reported")


class NoRouter(Section):
    """The baseline: every task reads the backbone's last hidden states as they are."""

    kind: Literal["none"] = "none"


class LinearRouter(Section):
    """H' = H + U_task H, one square matrix for each task, zero at the start."""

    kind: Literal["linear"]
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")


class MlpRouter(Section):
    """H' = H + U_task ReLU(W2 ReLU(W1 H)): a shared body, an up-projection for each task."""

    kind: Literal["mlp"]
    width: int = Field(128, ge=1, le=8192, description="units of the two hidden layers")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")


class ExpertsRouter(Section):
    """H' = H + sum_e g_e U_e GELU(D_e H) with g = softmax((W h_token + b_task) / tau)."""

    kind: Literal["experts"]
    experts: int = Field(4, ge=1, le=256, description="branches")
    bottleneck: int = Field(64, ge=1, le=8192, description="units inside a branch")
    by_task: bool = Field(True, description="the gate sees the task (b)")
    by_token: bool = Field(True, description="the gate sees the token (W)")
    tau: Positive = Field(1.0, description="temperature of the gate's softmax")
    top_k: int | None = Field(None, ge=1, description="keep only the k largest weights, renormalised")
    learning_rate: Positive = Field(1e-3, description="of the router's own parameters")

    @model_validator(mode="after")
    def _top_k_fits(self) -> "ExpertsRouter":
        if self.top_k is not None and self.top_k > self.experts:
            raise ValueError(f"top_k {self.top_k} is more than experts {self.experts}")
        return self


Router = Annotated[NoRouter | LinearRouter | MlpRouter | ExpertsRouter, Field(discriminator="kind")]
Paths = Annotated[tuple[str, ...], Field(min_length=1)]


class Files(Section):
    """Where the rows of a task are. Without validation or test files they are split off from train."""

    train: str | Paths = Field(description="a file or a list of files; relative to project.yaml")
    validation: str | Paths | None = None
    test: str | Paths | None = None


class Columns(Section):
    """Which columns of the files hold what. Names not given are the ones shown as default."""

    text: str = "text"
    text_pair: str | None = Field(None, description="the second text of a pair")
    label: str = "label"
    tokens: str = Field("tokens", description="tagging: a list of tokens, or tokens separated by spaces")
    tags: str = Field("tags", description="tagging: as many tags as tokens")


class Split(Section):
    """Fractions of the training rows that are split off where a task names no such file."""

    validation: Fraction = 0.1
    test: Fraction = 0.1

    @model_validator(mode="after")
    def _something_is_left(self) -> "Split":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must stay below 1: nothing would be left to train on")
        return self


class Head(Section):
    """F: what turns the routed states into a task's answer."""

    pooling: Literal["mean", "first", "attention"] = Field("mean", description="not used by tagging")
    dropout: Fraction = 0.1


class Task(Section):
    """Something to learn."""

    kind: Kind
    files: Files
    columns: Columns = Columns()
    labels: tuple[str, ...] | None = Field(
        None, min_length=2, description="every label; taken from the training rows when not given"
    )
    separator: str = Field(",", min_length=1, description="multilabel: between labels in a text cell")
    split: Split = Split()
    metric: str | None = Field(None, description="what the task is judged by; the kind's first by default")
    weight: Positive = Field(1.0, description="of the task's loss")
    slices: tuple[str, ...] = Field((), description="columns whose values get scores of their own")
    head: Head = Head()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "Task":
        allowed = METRICS[self.kind]
        if self.metric is not None and self.metric not in allowed:
            raise ValueError(
                f"metric '{self.metric}' does not fit kind {self.kind}; use {', '.join(allowed)}"
            )
        if self.labels is not None:
            if self.kind == "regression":
                raise ValueError("labels do not fit kind regression, whose label is a number")
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            if twice:
                raise ValueError(f"labels are given twice: {', '.join(twice)}")
        return self

    @property
    def judged_by(self) -> str:
        """The name of the metric that the task is judged by."""
        return self.metric or METRICS[self.kind][0]


class Training(Section):
    """How the model learns."""

    epochs: int = Field(3, ge=1, le=1000, description="one epoch draws as many rows as there are")
    batch_size: int = Field(32, ge=1, le=65536, description="rows a step")
    trainable: Literal["all", "frozen"] | Annotated[int, Field(ge=1)] = Field(
        "all", description="all layers, frozen (router and heads alone), or how many top layers"
    )
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = Field(5e-5, description="of the backbone")
    head_learning_rate: Positive = Field(1e-3, description="of the heads")
    schedule: Literal["cosine", "linear", "constant"] = "linear"
    warmup: Fraction = Field(0.1, description="fraction of all steps")
    weight_decay: float = Field(0.01, ge=0)
    dropout: Fraction = Field(0.1, description="inside the trained layers of the backbone")
    clip: Positive | None = Field(1.0, description="largest gradient norm; null switches it off")
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    sampling_temperature: float = Field(
        1.0, ge=1, le=100, description="T of size^(1/T): 1 is proportional, larger favours small tasks"
    )
    early_stopping: int | None = Field(None, ge=1, description="epochs without gain before it stops")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: what the machine has"
    )
    checkpoint_seconds: float = Field(30.0, ge=0, description="between checkpoints")


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


class Promotion(Section):
    """When a challenger becomes champion."""

    model_name: str | None = Field(None, description="in the registry; the project's name by default")
    max_loss: Fraction = Field(
        0.01, description="what a task may lose: the interval's lower end, in its metric"
    )
    min_gain: float = Field(0.0, ge=0, le=1, description="mean gain over the tasks that it must reach")


class Project(Section):
    """project.yaml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="lower case, digits and hyphens")
    seed: int = Field(17, ge=0, le=2**31 - 1)
    backbone: Backbone
    router: Router = NoRouter()
    tasks: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")], Task] = Field(min_length=1)
    validation: Validation = Validation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()

    _root: Path = PrivateAttr(default=Path())

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
