"""The sections of project.yaml about keeping a model good: drift, retraining, promotion, review, serving."""

import re
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_serializer, field_validator

from doubleroute.config.values import Fraction, ModelName, NotNegative, Positive, Section, TaskName, Text
from doubleroute.config.words import Words

Redaction = Annotated[
    str,
    Field(pattern=r"^(mail|card|phone|re:.+|python:[^:]+:[^:]+)$"),
    Words("mail, card, phone, re:PATTERN or python:MODULE:FUNCTION", "mail, card, phone and the like"),
]


class Drift(Section):
    """When rows that arrived count as moved away from those that the champion learned from."""

    alpha: float = Field(
        0.05, gt=0, le=0.5, description="chance of a false alarm a check, all tests together"
    )
    min_rows: int = Field(100, ge=10, description="with fewer current rows a test says: cannot tell")
    max_rows: int = Field(5000, ge=100, description="rows of either side that are compared; a seeded sample")
    permutations: int = Field(200, ge=100, le=100_000, description="behind the p-value of the embeddings")
    features: int = Field(1024, ge=16, le=65536, description="random Fourier features of the MMD's kernel")
    attribution: bool = Field(True, description="say which words, lengths, sources and rows moved")


class Retraining(Section):
    """The policy: when the model is trained anew, from what, and on which rows."""

    on_drift: bool = Field(True, description="retrain when the inputs or a task's labels moved")
    max_fall: Fraction = Field(
        0.02,
        description="retrain when a task's metric on labelled current rows fell by more, for certain; told "
        "of at least 30 labelled rows that arrived and 30 that were held out",
    )
    max_falls: dict[TaskName, NotNegative] = Field(
        {},
        description="max_fall of a task, by name, where it differs: of a share such as accuracy a fraction, "
        "of mae and rmse in the label's unit",
    )
    new_labels: Fraction | None = Field(
        0.1, description="retrain when so many labelled rows are new, as a share of those learned from"
    )
    max_age_days: Positive | None = Field(None, description="retrain when the champion is older")
    min_new_labels: int = Field(
        20, ge=0, description="with fewer new labelled training rows there is nothing to learn: ask"
    )
    cooldown_hours: float = Field(
        20.0, ge=0, description="after a retraining nothing but a wait; one that fails is tried once more"
    )
    max_per_week: int = Field(3, ge=0, description="retrainings in any seven days")
    max_seconds: Positive | None = Field(
        None, description="ask instead when a retraining is expected to cost more training seconds"
    )
    start: Literal["champion", "pretrained"] = Field("champion", description="the weights to begin with")
    mode: Literal["full", "auto", "heads"] | None = Field(
        None,
        description="training.mode of a retraining from the champion; heads: its heads alone, where all can "
        "be solved (training.mode)",
    )
    effort: float = Field(
        0.2, gt=0, le=1, description="share of training.epochs when it starts from the champion"
    )
    rate: float = Field(
        0.2, gt=0, le=1, description="share of the learning rates when it starts from the champion"
    )
    rows: Literal["all", "recent", "weighted"] = Field(
        "all", description="training rows: all, those of recent_days, or drawn with half_life_days"
    )
    recent_days: Positive = Field(
        365.0, description="of rows: recent, before the newest row; needs columns.time"
    )
    half_life_days: Positive = Field(180.0, description="of rows: weighted; needs columns.time")
    new_rows_weight: float = Field(
        4.0, ge=1, le=100, description="how often a row is drawn that the champion has not seen; 1: as others"
    )
    keep_unmoved: bool = Field(
        False,
        description="freeze all but the heads of the tasks that speak for the retraining, unless a reason of "
        "no task (age, the inputs) does: the other answers stay as they are",
    )
    only_new_tasks: bool = Field(
        False,
        description="freeze all but the heads of tasks that the champion lacks: its answers stay as they are",
    )
    webhook: (
        Annotated[str, Field(pattern=r"^https?://"), Words("an address that begins with http")] | None
    ) = Field(
        None,
        description="each decision, and each look or retraining of a schedule that fails, is sent there as a "
        "POST with JSON",
    )

    @field_serializer("webhook", when_used="json")
    def _without_its_secret(self, webhook: str | None) -> str | None:
        """As reports, records and the registry show it: behind the host often stands a secret."""
        return webhook and "/".join([*webhook.split("/")[:3], "..."])

    @field_validator("only_new_tasks")
    @classmethod
    def _there_is_a_champion_to_keep(cls, only: bool, info: ValidationInfo) -> bool:
        if only and info.data.get("start") == "pretrained":
            raise ValueError("keeps what the champion has, but start is pretrained; write start: champion")
        return only


class RouterChecks(Section):
    """What a router's gate must show on the test rows, or the version is refused, a first one too. Where a
    check is null the report tells its figures and nothing follows from them."""

    min_gain: float | None = Field(
        None,
        ge=0,
        description="what the gate must gain over equal weights in one task at least, for certain, in its "
        "metric; 0: anything",
    )
    max_dead: Fraction | None = Field(None, description="the share of its experts that may be dead")


class Promotion(Section):
    """When a challenger becomes champion."""

    model_name: ModelName | None = Field(None, description="in the registry; the project's name by default")
    max_loss: Fraction = Field(
        0.01, description="what a task may lose: the interval's lower end, in its metric"
    )
    margins: dict[TaskName, NotNegative] = Field(
        {},
        description="max_loss of a task, by name, where it differs: of a share such as accuracy a fraction, "
        "of mae and rmse in the label's unit",
    )
    min_gain: float = Field(
        0.0, ge=0, le=1, description="mean gain over the tasks that it must reach; of mae and rmse as a share"
    )
    slice_margin: NotNegative = Field(
        0.02,
        description="refused when a slice of a task is certainly worse and lost more than this, in the "
        "task's metric: of a share a fraction, of mae and rmse in the label's unit",
    )
    slice_rows: int = Field(30, ge=5, description="slices with fewer test rows are not compared")
    max_calibration_loss: Fraction = Field(
        0.05, description="refused when a task's calibration error grew by more"
    )
    max_latency_ratio: float = Field(
        1.5, ge=1, description="refused when answering takes so many times longer"
    )
    max_size_ratio: float = Field(2.0, ge=1, description="refused when its files are so many times larger")
    max_dead_experts: Fraction = Field(
        0.5, description="refused when a larger share of the router's experts is given nothing"
    )
    router_checks: RouterChecks = Field(
        RouterChecks(), description="what the router of any version must show, a first one too"
    )


Severity = Literal["block", "look", "note"]
#: What a review can find, and how bad it is where project.yaml does not say otherwise.
FINDINGS: dict[str, Severity] = {
    "unreadable": "block",
    "tasks": "look",
    "rules": "look",
    "invalid": "block",
    "columns": "look",
    "answers": "look",
    "leak": "block",
    "near-leak": "look",
    "leak-across-tasks": "look",
    "duplicate": "note",
    "near-duplicate": "look",
    "conflict": "look",
    "contradicted": "look",
    "new-label": "look",
    "vanished-label": "look",
    "renamed-label": "look",
    "imbalance": "note",
    "drift": "note",
    "held-out": "look",
    "held-out-grew": "note",
    "personal-data": "look",
    "reordered": "note",
    "worse": "block",
    "worse-loss": "look",
    "untrained": "look",
}


_BY_SEVERITY = "; ".join(
    f"{each} for {', '.join(name for name, severity in FINDINGS.items() if severity == each)}"
    for each in ("block", "look", "note")
)


class Review(Section):
    """What a change of the data may do before it is blocked, and how it is looked at."""

    severity: dict[Text, Severity] = Field(
        {}, description=f"of a finding, by its name, where it differs from: {_BY_SEVERITY}"
    )
    max_fall: Fraction = Field(
        0.0, description="the finding `worse`: a task's metric falls by more than this, for certain"
    )
    near: float = Field(0.9, gt=0.5, le=1, description="texts so similar (share of characters) are near")
    seeds: int = Field(5, ge=2, le=100, description="trainings on either version behind the impact")
    max_rows: int = Field(
        20_000,
        ge=100,
        description="rows of a split that models look at, and as many of its changed rows; a seeded sample",
    )
    examples: int = Field(5, ge=1, le=100, description="rows that a finding quotes")

    @field_validator("severity")
    @classmethod
    def _findings_are_known(cls, severity: dict[str, Severity]) -> dict[str, Severity]:
        unknown = sorted(set(severity) - set(FINDINGS))
        if unknown:
            raise ValueError(f"there is no finding '{unknown[0]}'; there are: {', '.join(FINDINGS)}")
        return severity


class WorkspaceLimit(Section):
    """How much of the disk the results of stages may take."""

    max_gb: Positive = Field(
        50.0,
        description="of .doubleroute/stages (1 GB: 1e9 bytes); after a training or a review the stages used "
        "longest ago go first; what was used in the last day stays",
    )


class Serving(Section):
    """How `doubleroute predict` answers, and what it writes down of what was asked; a model that MLflow
    serves takes DOUBLEROUTE_EXPORT and DOUBLEROUTE_REQUEST_LOG instead."""

    precision: Literal["auto", "float32", "int8", "torch"] = Field(
        "auto",
        description="what answers: PyTorch (torch), or the graph of `doubleroute export`; auto: int8, then "
        "float32, where that was exported, else torch; also torch on a GPU",
    )
    margin: Fraction = Field(
        0.005, description="what a task's metric may lose in an exported graph; mae and rmse: as a share"
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="of the processor that answering may use; null: the library's choice"
    )
    log: bool = Field(False, description="keep the texts that were asked and the answers")
    folder: Text = Field("requests", description="of the log; relative to project.yaml")
    max_mb: Positive = Field(64.0, description="of one log file, before the next is begun")
    files: int = Field(10, ge=1, description="log files that are kept; the oldest goes first")
    redact: tuple[Redaction, ...] = Field(
        ("mail", "card", "phone"),
        description="what is blotted out of texts before they are written: mail, card, phone, "
        "a regular expression as re:PATTERN, or a function of yours as python:MODULE:FUNCTION",
    )

    @field_validator("redact")
    @classmethod
    def _patterns_can_be_read(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            try:
                re.compile(word.removeprefix("re:") if word.startswith("re:") else "")
            except re.error as error:
                raise ValueError(f"'{word}' is no regular expression: {error}") from None
        return words
