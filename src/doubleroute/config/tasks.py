"""What project.yaml says of a task: its data, its kind, its head."""

from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from doubleroute.config.kinds import CLASSES, LABELLED_AS, LINEAR, METRICS, NAMELESS, Kind
from doubleroute.config.values import (
    Column,
    Dropout,
    Fraction,
    Label,
    Paths,
    Positive,
    Section,
    Text,
)
from doubleroute.config.words import Words

#: In the order in which a text that stands in two of them is looked for.
SPLITS = ("train", "validation", "test")


class Files(Section):
    """Where the rows of a task are. Without validation or test files they are split off from train."""

    train: Paths = Field(description="a file or a list of files; relative to project.yaml")
    validation: Paths | None = Field(
        None, description="chooses the best epoch; split off from train when null"
    )
    test: Paths | None = Field(None, description="gives the scores; split off from train when null")


class Columns(Section):
    """Which columns of the files hold what. Names not given are the ones shown as default."""

    text: Column = Field("text", description="the text; not used by tagging; span: the question")
    text_pair: Column | None = Field(None, description="the second text of a pair; span: the context, needed")
    label: Column = Field(
        "label",
        description="the label; regression: a number; multilabel: a list, in a text cell as JSON or Python "
        "writes it, or text with separators, where a blank cell says none of the labels, or in a file that "
        "another task uses too no label (a separator alone: none); retrieval: an answer's id; span: a list "
        "of answers, {text, start} each",
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

    pooling: Literal["mean", "first", "attention"] = Field("mean", description="not used by tagging and span")
    dropout: Dropout = Field(0.1, description="before the last layer")
    layer: int | None = Field(
        None,
        ge=1,
        description="the backbone's layer that the task reads, 1 the lowest: no higher one is run for it "
        "unless another task that is asked needs it; null: the last",
    )
    crf: bool = Field(False, description="tagging: also learn which tag follows which (Lafferty et al. 2001)")
    overlap: int = Field(
        64, ge=0, description="span: tokens of the context that two windows in a row share, half at most"
    )
    answer_tokens: int = Field(30, ge=1, description="span: the most tokens that an answer has")


class Task(Section):
    """Something to learn."""

    kind: Kind = Field(description="what sort of task it is")
    files: Files = Field(description="the task's data")
    columns: Columns = Field(Columns(), description="where things are in the files")
    answers: Answers = Field(Answers(), description="retrieval: the table of answers")
    labels: tuple[Label, ...] | None = Field(
        None,
        min_length=2,
        description="every label; taken from the training rows when not given. ordinal: needed, three "
        "or more, lowest first",
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
        None,
        description="classification, multilabel and tagging without crf: of labels in the loss, balanced by "
        "the training rows, or a map; others have 1",
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
        kind = info.data.get("kind")
        if labels is not None and kind in NAMELESS:
            what = "label is a number" if kind == "regression" else "labels are places in a context"
            raise ValueError(f"does not fit kind {kind}, whose {what}; delete it")
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
    def _a_context_is_there_to_be_read(self) -> "Task":
        if self.kind == "span" and self.columns.text_pair is None:
            raise ValueError(
                "kind span needs a question and its context, as in "
                "columns: {text: question, text_pair: context, label: answers}"
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
        kind = info.data.get("kind")
        if head.crf and kind not in ("tagging", None):
            raise ValueError(f"crf does not fit kind {kind}, which has no tags; delete it")
        names, default = ("overlap", "answer_tokens"), Head()
        of_span = [name for name in names if getattr(head, name) != getattr(default, name)]
        if of_span and kind not in ("span", None):
            raise ValueError(f"{of_span[0]} does not fit kind {kind}, which reads no context; delete it")
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
        labels = info.data.get("labels")
        if labels and isinstance(weights, dict):
            implied = ["O", *(f"B-{label[2:]}" for label in labels)] if kind == "tagging" else []
            unknown = sorted(set(weights) - {*labels, *implied})
            if unknown:
                raise ValueError(f"there is no label '{unknown[0]}'; there are: {', '.join(labels)}")
        return weights

    @property
    def has_linear_head(self) -> bool:
        """Whether the head can be solved, as mode heads does."""
        if self.kind == "multilabel" and self.class_weights is not None:
            return False  # its rows have many classes
        return self.kind in LINEAR and not self.head.crf

    @property
    def judged_by(self) -> str:
        """The name of the metric that the task is judged by."""
        return self.metric or METRICS[self.kind][0]
